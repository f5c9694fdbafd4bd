//! One immutable run of cached records, decoded and inflated once by the owner core and shared by `Arc`.
//!
//! Sits under every other file of the cache. Its one rule: a chunk never changes, so cores share it without locks.
//! What is live, superseded or below the log's start is known by whoever holds the chunk (see `holdings`).

use std::mem::size_of;
use std::sync::Arc;

use bytes::Bytes;

use crate::clock::UnixMillis;
use crate::kafka::record_batch::varint::Reader;
use crate::kafka::record_batch::{HeaderIter, RecordRef, TimestampBase};

/// Names one chunk of one partition; given by the partition's store, never reused within it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChunkId(pub u64);

/// An immutable run of records of one partition, in offset order, in one allocation of their own.
///
/// Beside the record bytes (Kafka record format of batch v2, inflated) it has a table of 16 bytes a record, so that
/// finding, comparing and skipping records touches no record bytes.
#[derive(Debug)]
pub struct Chunk {
    id: ChunkId,
    base_offset: i64,
    next_offset: i64,
    base_timestamp_ms: i64,
    timestamp_ms_max: i64,
    body: Bytes,
    table: Box<[Entry]>,
    /// Absolute timestamps, only where they spread over more than 49 days and so do not fit the table.
    wide_timestamps: Option<Box<[i64]>>,
}

/// What a chunk knows of a record without reading its bytes.
#[derive(Clone, Copy, Debug)]
struct Entry {
    /// Where the record starts in the body; the two top bits say whether it has a key and a value.
    position: u32,
    offset_delta: u32,
    timestamp_delta_ms: u32,
    key_hash: u32,
}

/// A record on its way into a chunk: what [`Entry`] says of it, in full width.
#[derive(Clone, Copy, Debug)]
pub(super) struct RecordMeta {
    pub(super) offset: i64,
    pub(super) timestamp_ms: i64,
    pub(super) key_hash: u32,
    pub(super) has_key: bool,
    pub(super) has_value: bool,
}

/// Collects the records of one chunk, in offset order, copying their bytes.
#[derive(Debug)]
pub(super) struct Draft {
    body: Vec<u8>,
    records: Vec<(u32, RecordMeta)>,
}

/// A record, parsed again from its chunk's bytes without copying.
#[derive(Clone, Debug)]
pub struct RecordView<'a> {
    /// Its offset in the partition.
    pub offset: i64,
    /// When it was created, or appended if the topic says so.
    pub timestamp: UnixMillis,
    /// The key; `None` is Kafka's null key, which is not the empty key.
    pub key: Option<&'a [u8]>,
    /// The value; `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    /// The headers in the order they were written, duplicates and null values included.
    pub headers: HeaderIter<'a>,
}

/// A record that can be kept: it holds its whole chunk in memory, so keep few, and not for long.
#[derive(Clone, Debug)]
pub struct RecordHandle {
    chunk: Arc<Chunk>,
    record: u32,
}

impl Chunk {
    /// The store's name for this chunk.
    pub const fn id(&self) -> ChunkId {
        self.id
    }

    /// Offset of the first record.
    pub const fn base_offset(&self) -> i64 {
        self.base_offset
    }

    /// One past the last offset covered, holes at the end (control batches, compacted records) included.
    pub const fn next_offset(&self) -> i64 {
        self.next_offset
    }

    /// The latest timestamp of its records, in milliseconds.
    pub const fn timestamp_ms_max(&self) -> i64 {
        self.timestamp_ms_max
    }

    /// How many records it holds; at least one.
    pub fn record_count(&self) -> u32 {
        // `Draft::has_room_for` keeps it in range.
        u32::try_from(self.table.len()).unwrap_or(u32::MAX)
    }

    /// Bytes of memory it takes: whole allocations, with an estimate of what the allocator adds.
    pub fn charged_bytes(&self) -> usize {
        let wide_timestamps = self.wide_timestamps.as_ref().map_or(0, |wide| wide.len());
        self.body.len()
            + self.table.len() * RECORD_TABLE_BYTES
            + wide_timestamps * size_of::<i64>()
            + size_of::<Self>()
            + ALLOCATOR_BYTES
    }

    /// The record at `index` (not offset), or `None` past the end.
    pub fn record(&self, index: u32) -> Option<RecordView<'_>> {
        let record = self.parse(index)?;
        Some(RecordView {
            offset: self.offset(index)?,
            timestamp: UnixMillis(self.timestamp_ms(index)?),
            key: record.key,
            value: record.value,
            headers: record.headers(),
        })
    }

    /// Index of the record with exactly this offset.
    pub fn find(&self, offset: i64) -> Option<u32> {
        let index = self.lower_bound(offset);
        (self.offset(index)? == offset).then_some(index)
    }

    /// Index of the first record at or after `offset`; [`Chunk::record_count`] if there is none.
    pub fn lower_bound(&self, offset: i64) -> u32 {
        let index = match u32::try_from(offset.saturating_sub(self.base_offset)) {
            Ok(delta) => self
                .table
                .partition_point(|entry| entry.offset_delta < delta),
            Err(_) if offset < self.base_offset => 0,
            Err(_) => self.table.len(),
        };
        u32::try_from(index).unwrap_or(u32::MAX)
    }

    /// Offset of the record at `index`.
    pub fn offset(&self, index: u32) -> Option<i64> {
        Some(self.base_offset + i64::from(self.entry(index)?.offset_delta))
    }

    pub(super) fn key(&self, index: u32) -> Option<&[u8]> {
        self.key_at(self.key_position(index)?)
    }

    /// Where in the body the length of the record's key stands.
    pub(super) fn key_position(&self, index: u32) -> Option<u32> {
        let mut reader = Reader::new(&self.body, position(self.entry(index)?));
        let _length = reader.varint().ok()?;
        let _attributes = reader.byte().ok()?;
        let _timestamp_delta = reader.varint().ok()?;
        let _offset_delta = reader.varint().ok()?;
        u32::try_from(reader.position()).ok()
    }

    /// The key whose length stands at this byte of the body. Reads no more of the record: its end may be a cache miss
    /// away.
    pub(super) fn key_at(&self, key_position: u32) -> Option<&[u8]> {
        let mut reader = Reader::new(&self.body, key_position as usize);
        reader.nullable_bytes().ok()?
    }

    /// Hash of the key by [`super::key_hash`]; `None` for a null key.
    pub fn key_hash(&self, index: u32) -> Option<u32> {
        let entry = self.entry(index)?;
        (entry.position & HAS_KEY != 0).then_some(entry.key_hash)
    }

    pub(super) fn is_tombstone(&self, index: u32) -> bool {
        self.entry(index)
            .is_some_and(|entry| entry.position & HAS_VALUE == 0)
    }

    /// Bytes that go when this record goes: its own and its table entry.
    pub(super) fn record_bytes(&self, index: u32) -> usize {
        self.raw(index).map_or(0, <[u8]>::len) + RECORD_TABLE_BYTES
    }

    /// Bytes of all records, by the measure of [`Chunk::record_bytes`].
    pub(super) fn all_record_bytes(&self) -> usize {
        self.body.len() + self.table.len() * RECORD_TABLE_BYTES
    }

    /// The record's encoded bytes, for a copy into another chunk.
    pub(super) fn raw(&self, index: u32) -> Option<&[u8]> {
        let start = position(self.entry(index)?);
        let end = self
            .entry(index.checked_add(1)?)
            .map_or(self.body.len(), position);
        self.body.get(start..end)
    }

    pub(super) fn meta(&self, index: u32) -> Option<RecordMeta> {
        let entry = self.entry(index)?;
        Some(RecordMeta {
            offset: self.offset(index)?,
            timestamp_ms: self.timestamp_ms(index)?,
            key_hash: entry.key_hash,
            has_key: entry.position & HAS_KEY != 0,
            has_value: entry.position & HAS_VALUE != 0,
        })
    }

    fn entry(&self, index: u32) -> Option<&Entry> {
        self.table.get(index as usize)
    }

    pub(super) fn timestamp_ms(&self, index: u32) -> Option<i64> {
        if let Some(wide) = &self.wide_timestamps {
            return wide.get(index as usize).copied();
        }
        let delta = self.entry(index)?.timestamp_delta_ms;
        Some(self.base_timestamp_ms + i64::from(delta))
    }

    fn parse(&self, index: u32) -> Option<RecordRef<'_>> {
        // Parsed once already when the chunk was built, so this fails only past the end.
        let position = self.entry(index)?.position & POSITION;
        RecordRef::parse_at(&self.body, position, NO_TIMESTAMP).ok()
    }
}

impl Draft {
    pub(super) const fn new() -> Self {
        Self {
            body: Vec::new(),
            records: Vec::new(),
        }
    }

    /// Makes room for what is to come, exactly when it is empty: growing by doubling leaves holes in the heap.
    pub(super) fn reserve(&mut self, body_bytes: usize, records: usize) {
        self.body.reserve(body_bytes);
        self.records.reserve(records);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    pub(super) fn body_bytes(&self) -> usize {
        self.body.len()
    }

    /// Whether a record fits: offsets are kept as 32-bit distances and positions in 30 bits.
    pub(super) fn has_room_for(&self, record_bytes: usize, offset: i64) -> bool {
        let base = self.records.first().map_or(offset, |first| first.1.offset);
        self.body.len() + record_bytes <= BODY_BYTES_MAX
            && u32::try_from(offset.saturating_sub(base)).is_ok()
    }

    /// Adds a record; the caller has asked [`Draft::has_room_for`] and goes up in offsets.
    pub(super) fn push(&mut self, raw: &[u8], meta: RecordMeta) {
        assert!(
            self.has_room_for(raw.len(), meta.offset),
            "a chunk's records fit 32-bit distances"
        );
        let position = u32::try_from(self.body.len()).unwrap_or(u32::MAX);
        self.body.extend_from_slice(raw);
        self.records.push((position, meta));
    }

    /// Makes the chunk, covering offsets up to `next_offset`; `None` if there are no records.
    pub(super) fn seal(mut self, id: ChunkId, next_offset: i64) -> Option<Chunk> {
        let base_offset = self.records.first()?.1.offset;
        let times = self.records.iter().map(|record| record.1.timestamp_ms);
        let base_timestamp_ms = times.clone().min()?;
        let timestamp_ms_max = times.clone().max()?;
        let narrow = u32::try_from(timestamp_ms_max.saturating_sub(base_timestamp_ms)).is_ok();
        let wide_timestamps = (!narrow).then(|| times.collect());
        self.body.shrink_to_fit();
        Some(Chunk {
            id,
            base_offset,
            next_offset,
            base_timestamp_ms,
            timestamp_ms_max,
            body: Bytes::from(self.body),
            table: self
                .records
                .iter()
                .map(|(position, meta)| Entry::new(*position, meta, base_offset, base_timestamp_ms))
                .collect(),
            wide_timestamps,
        })
    }
}

impl Entry {
    fn new(position: u32, meta: &RecordMeta, base_offset: i64, base_timestamp_ms: i64) -> Self {
        let key_flag = if meta.has_key { HAS_KEY } else { 0 };
        let value_flag = if meta.has_value { HAS_VALUE } else { 0 };
        let timestamp_delta = meta.timestamp_ms.saturating_sub(base_timestamp_ms);
        Self {
            position: position | key_flag | value_flag,
            offset_delta: u32::try_from(meta.offset - base_offset).unwrap_or(u32::MAX),
            // Saturates only where the wide table is read instead.
            timestamp_delta_ms: u32::try_from(timestamp_delta).unwrap_or(u32::MAX),
            key_hash: meta.key_hash,
        }
    }
}

impl RecordHandle {
    pub(super) const fn new(chunk: Arc<Chunk>, record: u32) -> Self {
        Self { chunk, record }
    }

    /// The record; `None` never happens for a handle that a view gave out.
    pub fn view(&self) -> Option<RecordView<'_>> {
        self.chunk.record(self.record)
    }

    /// The value as a slice that shares the chunk's bytes (and keeps them in memory); `None` for a tombstone.
    pub fn value_bytes(&self) -> Option<Bytes> {
        let value = self.chunk.parse(self.record)?.value?;
        Some(self.chunk.body.slice_ref(value))
    }

    /// The chunk that holds the record.
    pub const fn chunk(&self) -> &Arc<Chunk> {
        &self.chunk
    }

    /// Index of the record in its chunk.
    pub const fn index(&self) -> u32 {
        self.record
    }
}

fn position(entry: &Entry) -> usize {
    (entry.position & POSITION) as usize
}

const HAS_KEY: u32 = 1 << 31;
const HAS_VALUE: u32 = 1 << 30;
const POSITION: u32 = HAS_VALUE - 1;
/// The most that a position of 30 bits can point into.
pub(super) const BODY_BYTES_MAX: usize = POSITION as usize;
/// Timestamps come from the table: a chunk's records are from many batches, with bases of their own.
const NO_TIMESTAMP: TimestampBase = TimestampBase::LogAppendTime(UnixMillis(0));
/// Bytes that the table takes a record.
pub(super) const RECORD_TABLE_BYTES: usize = size_of::<Entry>();
/// Headers of up to four allocations (chunk with its two counters, body, its shared counter, table).
const ALLOCATOR_BYTES: usize = 96;
