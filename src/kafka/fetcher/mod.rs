//! Reading partitions: fetch sessions, and what comes out of a fetch response. Sans-IO; the shell is [`super::topics`].

mod decode;
mod session;

pub use decode::{BatchSink, Decoded, decode_into};
pub use session::{
    EARLIEST, FetchOutcome, FetchSession, FetchedPartition, LATEST, PartitionKey,
    fetched_partitions, offsets_request, single_request,
};
