//! What becomes of a request once it is known what it asks for: one machine for each kind of exchange. Sans-IO; the shell is `net::exchange`.
//!
//! | kind | machine |
//! |---|---|
//! | one-way produce | [`one_way`] |
//! | request with a reply: sync, async submit, async status | [`correlated`] |
//! | single read, collection | [`reading`] |
//!
//! Rule: a machine is told what happened and when, and says what comes next; it ends with exactly one answer or error.

pub mod correlated;
pub mod one_way;
pub mod reading;
#[cfg(test)]
mod tests;
