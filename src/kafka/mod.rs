//! The Kafka side: connections, metadata, producer, fetcher and the partition cache of one core.

pub mod cache;
pub mod client;
pub mod connection;
pub mod correlation;
pub mod error_code;
pub mod fetcher;
pub mod follow;
pub mod group;
pub mod metadata;
pub mod partition;
pub mod producer;
pub mod record_batch;
pub mod replies;
pub mod topics;
pub mod wire;
