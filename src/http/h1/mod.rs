//! The server side of HTTP/1.0 and HTTP/1.1 (RFC 9110, RFC 9112), sans-IO.
//!
//! [`Connection`] is the state machine: bytes and time in, events and bytes out. Below it, each alone and pure:
//! `scan` (where a head ends), `decode` (what a head says), `target`, `chunked`, `encode`, `answers` (one after the other, in order).
//! Its one rule: what two readers could understand differently is refused, and nothing behind it is read.

mod answers;
mod chunked;
mod conn;
mod decode;
mod encode;
mod fault;
mod input;
mod limits;
mod pace;
mod scan;
mod target;
#[cfg(test)]
mod tests;

pub use conn::{Connection, Event};
pub use encode::reason;
pub use fault::Fault;
pub use limits::Limits;
