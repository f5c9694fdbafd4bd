//! The shells around HTTP: they move bytes and time between sockets, connections and the core, and decide nothing.

pub mod accept;
pub mod adapter;
mod collection;
mod door;
mod echo;
mod exchange;
mod feeds;
pub(crate) mod grpc_client;
mod http1;
mod http2;
mod lease;
mod permits;
pub(crate) mod remote_server;
pub mod service;
pub mod tls;
pub mod transport;
pub mod upstream;

use std::time::Duration;

/// How long the last bytes of a connection may take.
const GOODBYE: Duration = Duration::from_secs(1);
/// Turns of the loop in one poll of a connection or stream, so that a client that sends without end does not keep the core to itself.
const TURNS_MAX: usize = 16;
/// How long replies are still waited for when the gateway ends: less than a drain takes, so that the answer goes out.
const REPLY_DRAIN_WAIT: Duration = Duration::from_secs(8);
