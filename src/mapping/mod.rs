//! What a request means in Kafka, and what a record means in HTTP. Sans-IO: neither sockets nor clocks nor executors.

pub mod http_kafka;
pub mod prefer;
pub mod progress;
