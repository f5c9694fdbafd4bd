//! Kafka's record batch, version 2 (KIP-98), both ways: what a produce request carries and a fetch response holds.
//!
//! Sits between the producer's accumulator or the fetcher and the request envelopes. Its one rule: no record is ever
//! copied into a structure of its own; the encoder writes straight into the batch, the decoder points into it.
//!
//! ```text
//!  0  base offset          i64 ┐ outside the checksum: the broker fills them in when it appends
//!  8  length of what follows i32 │
//! 12  leader epoch         i32 │
//! 16  magic = 2            i8  │
//! 17  crc32c of 21..       u32 ┘
//! 21  attributes           i16   compression (bits 0-2), log append time (3), transactional (4), control (5), delete horizon (6)
//! 23  last offset delta    i32   not the count less one: compaction removes records and keeps the end
//! 27  base timestamp       i64
//! 35  max timestamp        i64
//! 43  producer id, epoch   i64 i16
//! 53  base sequence        i32
//! 57  record count         i32
//! 61  records, compressed as one block:
//!     length, attributes (u8), timestamp delta, offset delta, key, value, header count, (name, value)*
//!     all lengths, deltas and counts are zigzag varints; length -1 is null
//! ```

mod decode;
mod encode;
mod error;
mod header;
mod inflate;
mod record;
mod transactions;
pub(crate) mod varint;

#[cfg(test)]
mod tests;

pub use decode::{Batch, Batches};
pub use encode::{BatchBuilder, record_size_bound, rewrite_producer, sequence_after, split};
pub use error::DecodeError;
pub use header::{BatchHeader, Compression, TimestampBase};
pub use record::{ControlRecord, HeaderIter, RecordRef, Records};
pub use transactions::{AbortedTransaction, AbortedTransactions, Verdict};

/// Bytes before the first record of a batch.
pub const BATCH_OVERHEAD_BYTES: usize = 61;
/// Base offset and length: what precedes the bytes that the length counts.
const LENGTH_PREFIX_BYTES: usize = 12;
const LENGTH_AT: usize = 8;
const MAGIC_AT: usize = 16;
const CRC_AT: usize = 17;
const CRC_FROM: usize = 21;
const PRODUCER_AT: usize = 43;
const MAGIC_V2: i8 = 2;
/// A record of nulls: length, attributes, two deltas, two null lengths, header count, one byte each.
const RECORD_BYTES_MIN: usize = 7;
/// An empty name and a null value, one byte each.
const HEADER_BYTES_MIN: usize = 2;

/// A record header to be encoded: name and value. Names may repeat, order is kept, a null value is not an empty one.
pub type Header<'a> = (&'a [u8], Option<&'a [u8]>);
