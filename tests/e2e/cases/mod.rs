//! The cases, by what they are about. Each is a function of the environment that it runs on; `main.rs` makes the tests.

pub(crate) mod asynchronous;
pub(crate) mod cli;
pub(crate) mod collection;
pub(crate) mod conditional;
pub(crate) mod crossing;
pub(crate) mod crud;
pub(crate) mod durability;
pub(crate) mod examples;
pub(crate) mod foreign;
pub(crate) mod idempotency;
pub(crate) mod lifecycle;
pub(crate) mod malformed;
pub(crate) mod observe;
pub(crate) mod outage;
pub(crate) mod produce;
pub(crate) mod quickstart;
pub(crate) mod request_record;
pub(crate) mod sizes;
pub(crate) mod sync;
pub(crate) mod waiting;
pub(crate) mod wire;
