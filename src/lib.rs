#![doc = include_str!("ARCHITECTURE.md")]

pub mod cli;
pub mod clock;
pub mod config;
pub mod embedded;
pub mod error;
pub mod exchange;
pub mod gateway;
pub mod grpc;
pub mod guard;
pub mod http;
pub mod kafka;
pub mod mapping;
pub mod net;
pub mod observe;
pub mod route;
pub mod runtime;
#[doc(hidden)]
pub mod sim;
pub mod tls;
