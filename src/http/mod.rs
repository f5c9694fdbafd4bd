//! HTTP: one message model for every version, and the connections that speak them.
//!
//! Sits between `net/` (bytes and time) and `route/`, `mapping/` (requests and answers).
//! Its one rule: what a peer sends is judged here and nowhere behind, so later layers see only well-formed requests.

mod chars;
pub mod cors;
pub mod date;
pub mod h1;
pub mod h2;
mod message;
mod problem;

pub use message::{
    Body, ExchangeId, Headers, Method, RequestBody, RequestHead, ResponseHead, Scheme, Version,
};
pub use problem::Problem;
