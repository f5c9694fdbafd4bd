//! gRPC over HTTP/2 and its kind for browsers: statuses, frames, metadata, and what is known of services. Both ends of a call are written with it.
//!
//! Sits beside `http/`, between `net/` (bytes and time) and `mapping/` (messages and records). Its one rule: a message is taken as it is, never parsed;
//! only the services that the gateway itself offers, health and reflection, look into theirs.

pub mod deframer;
pub mod encoding;
pub mod health;
pub mod metadata;
pub mod proto;
pub mod reflection;
pub mod status;
pub mod timeout;
pub mod web;

pub use deframer::{Deframer, FrameFault, frame, frame_prefix};
pub use encoding::Encoding;
pub use proto::{Method, MethodKind, ProtoFile, ProtoMistake, Service, Services};
pub use status::{Code, Status};
pub use timeout::{encode_timeout, parse_timeout};
pub use web::ContentType;
