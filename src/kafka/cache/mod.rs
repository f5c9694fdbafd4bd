//! The partition cache: what a core keeps of the Kafka partitions that it owns or reads.
//!
//! Sits between the fetcher and the mappings. Its one rule: record bytes are stored once per process, in immutable
//! `Chunk`s that all cores share; everything that changes belongs to one core.
//!
//! ```text
//!              owner core                                   every core with readers (the owner too)
//!  fetch ─▶ ChunkBuilder ─▶ PartitionStore ── Update, in order ──▶ PartitionView ◀── newest, oldest, scan, walk
//!                             │ repack, evict                        │ chunks (Arc), live bits, key index
//!                           Budget
//! ```

mod budget;
mod chunk;
mod chunk_builder;
mod holdings;
mod key_index;
mod repack;
mod scan;
mod store;
mod update;
mod view;
mod walk;

#[cfg(test)]
mod tests;

pub use budget::Budget;
pub use chunk::{Chunk, ChunkId, RecordHandle, RecordView};
pub use chunk_builder::{CHUNK_BYTES_TARGET, ChunkBuilder};
pub use key_index::key_hash;
pub use scan::{Scan, ScanRecord, Superseded};
pub use store::PartitionStore;
pub use update::{Progress, Update};
pub use view::{Lookup, PartitionView, Policy};
pub use walk::{WALKS_MAX, WalkEnd, WalkId, WalkRefused, WalkStep};
