//! What becomes of a request once it is known what it asks for: one machine for each kind of exchange. Sans-IO; the shell is `net::exchange`.
//!
//! | kind | machine |
//! |---|---|
//! | one-way produce | [`one_way`] |
//! | request with a reply: sync, async submit, async status | [`correlated`] |
//! | single read, collection | [`reading`] |
//! | events | [`feed`], one for all streams of a topic |
//!
//! Rule: a machine is told what happened and when, and says what comes next; it ends with exactly one answer or error.

pub mod calls;
pub mod correlated;
pub mod feed;
pub mod one_way;
pub mod reading;
#[cfg(test)]
mod tests;
pub mod window;

use std::time::Duration;

use crate::error::RequestError;
use crate::mapping::http_kafka::fetch::Answer;
use crate::mapping::prefer::applied_wait;

/// An error that comes after as long a wait as the client preferred (RFC 7240 3).
fn applied_error(error: &RequestError, wait: Duration) -> Answer {
    let (mut head, body) = error.problem().into_response();
    head.headers.push("preference-applied", applied_wait(wait));
    Answer { head, body }
}
