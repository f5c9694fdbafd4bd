//! What the store of a partition tells every view of it.
//!
//! Produced by `store` on the owner core, sent in order to each core that reads the topic, applied by `view`. Its one
//! rule: the same updates in the same order give every view the same content, so a view never asks anything back.

use std::sync::Arc;

use super::chunk::{Chunk, ChunkId};
use super::view::Policy;

/// One step of a partition's cached content. Cheap to clone: bulk data is behind `Arc`.
#[derive(Clone, Debug)]
pub enum Update {
    /// Records above all that was there.
    Append(Arc<Chunk>),
    /// A chunk as a new view must take it (see `PartitionStore::snapshot`): those of its records whose bits are set in
    /// `dead` (bit `i % 64` of word `i / 64`) are superseded or below the log's start. Without this, a view that is
    /// opened late would take a superseded record for the newest of its key, once the tombstone above it is gone.
    Restore {
        /// The chunk, above all that was there.
        chunk: Arc<Chunk>,
        /// One bit a record.
        dead: Box<[u64]>,
    },
    /// Live records moved together: same offsets, same content, fewer bytes. Only tombstones older than the
    /// topic's `delete.retention.ms` may be missing from `added`.
    Replace {
        /// Neighbours, in offset order.
        removed: Vec<ChunkId>,
        /// Their live records, if there are any.
        added: Option<Arc<Chunk>>,
    },
    /// Chunks given up for want of memory, from the front. What was in them is still in Kafka.
    Evict {
        /// In offset order.
        chunks: Vec<ChunkId>,
        /// Nothing below this offset is cached any more.
        evicted_below: i64,
    },
    /// Where the partition stands.
    Progress(Progress),
    /// Everything so far is void (truncation, topic created anew, resync): begin again, empty, at this offset. Open
    /// walks are lost.
    Reset {
        /// The first offset that will be cached.
        start_offset: i64,
        /// The topic's from here on.
        policy: Policy,
    },
}

/// Where a partition stands, as of its last fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// One past the last offset fetched, holes included.
    pub next_offset: i64,
    /// One past the last offset that a `read_committed` consumer may read: the last stable offset.
    pub end_offset: i64,
    /// The log's first offset. May lag what the broker said by a few calls: a long log is let go of in steps.
    pub log_start_offset: i64,
    /// Whether all that was in the log when it was opened has been read.
    pub ready: bool,
}

impl Progress {
    /// Nothing read, nothing known.
    pub(super) const fn starting_at(start_offset: i64) -> Self {
        Self {
            next_offset: start_offset,
            end_offset: start_offset,
            log_start_offset: 0,
            ready: false,
        }
    }
}
