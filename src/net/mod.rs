//! The shells around HTTP: they move bytes and time between sockets, connections and the core, and decide nothing.

pub mod accept;
pub mod adapter;
mod collection;
mod exchange;
mod http1;
pub mod service;
pub mod tls;
pub mod transport;

