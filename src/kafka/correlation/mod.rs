//! Requests and the replies that belong to them, told apart by correlation id. Sans-IO; the shell is [`super::replies`].
//!
//! ```text
//!  request ─▶ shard of its id: exchange ──▶ produce            reply partition ─▶ scan: (id, reply) ─▶ shard of the id ─▶ its waiters
//!                │ key sent by the client: seen already?                                     └─▶ index: id → where the reply lies
//!                └─▶ all reply partitions indexed up to their ends of now? ─▶ only then: produce
//!
//!  listener ─▶ shard of its id: looks once as above, then every reply is passed ──▶ its backlog: history from Kafka, then what was passed
//! ```
//! Rule: an exchange belongs to its id, not to a client: whoever asks with the same id joins it, and it survives all of them.

mod backlog;
mod index;
mod rounds;
mod scan;
mod shard;
#[cfg(test)]
mod tests;

use bytes::Bytes;

use super::record_batch::{RecordRef, TimestampBase};
pub use backlog::{Backlog, Missed, ReadOn, Room};
pub use index::{Known, Place, ReplyIndex};
pub use rounds::Rounds;
pub use scan::{ReplyScan, Scanned, SeenReply};
pub use shard::{Limits, Looked, Overloaded, Shard, ShardOutput, Verdict, Waiter, Wants};

/// The record header of a closing record that the gateway wrote for want of an answer: the call may be made again.
pub const UNSERVED_HEADER: &[u8] = b"sluice:unserved";

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

    /// The bytes of the record.
    pub fn size(&self) -> usize {
        self.record().map_or(0, |record| record.span().len())
    }

    /// The same on a copy of its own bytes: the batch with which it came can go.
    #[must_use]
    pub fn detached(&self) -> Self {
        let Some(span) = self.record().map(|record| record.span()) else {
            return self.clone();
        };
        let record = &self.inflated[span.start as usize..span.end as usize];
        Self {
            place: self.place,
            inflated: Bytes::copy_from_slice(record),
            position: 0,
            timestamps: self.timestamps,
        }
    }
}

/// One of the replies to an id.
#[derive(Clone, Debug)]
pub struct ReplyRecord {
    /// What it says.
    pub reply: Reply,
    /// It has no value: no more replies follow.
    pub is_closing: bool,
}

/// A reply that is known of cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyFault {
    /// Kafka cannot be asked for it.
    Unavailable,
    /// It is not there any more.
    Gone,
}
