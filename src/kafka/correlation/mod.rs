//! Requests and the replies that belong to them, told apart by correlation id. Sans-IO; the shell is [`super::replies`].
//!
//! ```text
//!  request ─▶ shard of its id: exchange ──▶ produce            reply partition ─▶ scan: (id, reply) ─▶ shard of the id ─▶ its waiters
//!                │ key sent by the client: seen already?                                     └─▶ index: id → where the reply lies
//!                └─▶ all reply partitions indexed up to their ends of now? ─▶ only then: produce
//! ```
//! Rule: an exchange belongs to its id, not to a client: whoever asks with the same id joins it, and it survives all of them.

mod index;
mod rounds;
mod scan;
mod shard;
#[cfg(test)]
mod tests;

use bytes::Bytes;

use super::record_batch::{RecordRef, TimestampBase};
pub use index::{Place, ReplyIndex};
pub use rounds::Rounds;
pub use scan::{ReplyScan, Scanned, SeenReply};
pub use shard::{Limits, Overloaded, Shard, ShardOutput, Verdict, Waiter, Wants};

/// A correlation id as it stands in one of the record headers that carry such ids.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CorrelationId {
    /// Which header: an index into the cluster's list of names.
    pub header: u16,
    /// Its value.
    pub id: Bytes,
}

/// A reply record, still encoded: decoded by whoever answers with it.
#[derive(Clone, Debug)]
pub struct Reply {
    /// Where it lies.
    pub place: Place,
    inflated: Bytes,
    position: u32,
    timestamps: TimestampBase,
}

impl Reply {
    /// The record; `None` never, since it was read once already.
    pub fn record(&self) -> Option<RecordRef<'_>> {
        RecordRef::parse_at(&self.inflated, self.position, self.timestamps).ok()
    }

    /// The record's value, not copied.
    pub fn value(&self) -> Option<Bytes> {
        let value = self.record()?.value?;
        Some(self.inflated.slice_ref(value))
    }
}

/// A reply that is known of cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyFault {
    /// Kafka cannot be asked for it.
    Unavailable,
    /// It is not there any more.
    Gone,
}
