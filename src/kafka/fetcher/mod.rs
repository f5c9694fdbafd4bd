//! Reading partitions: fetch sessions, and what comes out of a fetch response. Sans-IO; the shell is [`super::topics`].

mod decode;
mod session;

pub use decode::{BatchSink, Decoded, decode_into};
pub use session::{
    FetchOutcome, FetchSession, FetchedPartition, PartitionKey, fetched_partitions, single_request,
};
