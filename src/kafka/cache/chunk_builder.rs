//! Turns the decoded batches of one fetch response into chunks.
//!
//! Runs on the owner core between the record batch decoder and the store. Its one rule: record bytes are checked here,
//! once; whatever is in a chunk parses.

use std::ops::Range;

use super::chunk::{BODY_BYTES_MAX, Chunk, ChunkId, Draft, RecordMeta};
use super::key_index::key_hash;
use crate::kafka::record_batch::{BatchHeader, DecodeError, RecordRef, Records};

/// Collects batches, in increasing offset order, into chunks of about [`CHUNK_BYTES_TARGET`].
///
/// The bytes are always copied, once per instance: fetch buffers hold many partitions and inflated batches have any
/// size, but a chunk is exactly one allocation, charged exactly, and small batches share one.
#[derive(Debug)]
pub struct ChunkBuilder {
    start_offset: i64,
    next_offset: i64,
    open: Draft,
    /// Full ones, with the first offset that they do not cover.
    full: Vec<(Draft, i64)>,
    /// The batch in hand, checked but not yet taken.
    staged: Vec<(Range<u32>, RecordMeta)>,
}

/// Bytes of records that a chunk is filled up to; only a single larger record makes a larger chunk.
pub const CHUNK_BYTES_TARGET: usize = 1 << 20;

impl ChunkBuilder {
    /// A builder that ignores everything below `next_offset`: a fetch from the middle of a batch, or one repeated after
    /// a reconnect, brings records that are known already.
    pub const fn new(next_offset: i64) -> Self {
        Self {
            start_offset: next_offset,
            next_offset,
            open: Draft::new(),
            full: Vec::new(),
            staged: Vec::new(),
        }
    }

    pub(super) const fn start_offset(&self) -> i64 {
        self.start_offset
    }

    /// One past the last offset taken.
    pub const fn next_offset(&self) -> i64 {
        self.next_offset
    }

    /// Takes a batch of data records with its inflated bytes; for others see [`ChunkBuilder::skip_to`].
    ///
    /// # Errors
    ///
    /// If a record is malformed; nothing of the batch is taken then.
    pub fn push_batch(&mut self, header: &BatchHeader, inflated: &[u8]) -> Result<(), DecodeError> {
        if header.next_offset() <= self.next_offset {
            return Ok(());
        }
        self.stage(header, inflated)?;
        for (span, meta) in std::mem::take(&mut self.staged) {
            let left = &inflated[span.start as usize..];
            self.push(left, span.len(), meta);
        }
        self.skip_to(header.next_offset());
        Ok(())
    }

    /// Goes past offsets without data: control batches and aborted transactions.
    pub fn skip_to(&mut self, next_offset: i64) {
        self.next_offset = self.next_offset.max(next_offset);
    }

    /// The chunks, with ids from `next_id` on, in offset order.
    pub(super) fn finish(self, next_id: &mut u64) -> Vec<Chunk> {
        let last = (self.open, self.next_offset);
        let drafts = self.full.into_iter().chain([last]);
        drafts
            .filter_map(|(draft, next_offset)| {
                let chunk = draft.seal(ChunkId(*next_id), next_offset)?;
                *next_id += 1;
                Some(chunk)
            })
            .collect()
    }

    /// Parses the whole batch before any of it is taken.
    fn stage(&mut self, header: &BatchHeader, inflated: &[u8]) -> Result<(), DecodeError> {
        self.staged.clear();
        for record in Records::new(header, inflated)? {
            let record = record?;
            let span = record.span();
            if span.len() > BODY_BYTES_MAX {
                return Err(DecodeError::BadLength {
                    offset: span.start as usize,
                    length: i64::from(span.end - span.start),
                });
            }
            // The header has been checked to keep this in range.
            let offset = header
                .base_offset
                .saturating_add(record.offset_delta.into());
            if offset >= self.next_offset {
                self.staged.push((span, meta(offset, &record)));
            }
        }
        Ok(())
    }

    /// Takes the record that is the first `record_bytes` of `left`, which is what is left of its batch.
    fn push(&mut self, left: &[u8], record_bytes: usize, meta: RecordMeta) {
        let full = self.open.body_bytes() + record_bytes > CHUNK_BYTES_TARGET;
        if (full || !self.open.has_room_for(record_bytes, meta.offset)) && !self.open.is_empty() {
            let draft = std::mem::replace(&mut self.open, Draft::new());
            self.full.push((draft, self.next_offset));
        }
        if self.open.is_empty() {
            self.open.reserve(left.len().min(CHUNK_BYTES_TARGET), 0);
        }
        self.next_offset = meta.offset + 1;
        self.open.push(&left[..record_bytes], meta);
    }
}

fn meta(offset: i64, record: &RecordRef<'_>) -> RecordMeta {
    RecordMeta {
        offset,
        timestamp_ms: record.timestamp.0,
        key_hash: record.key.map_or(0, key_hash),
        has_key: record.key.is_some(),
        has_value: record.value.is_some(),
    }
}
