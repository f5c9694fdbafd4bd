//! One partition's log: the batches that producers sent, in order, in memory and, with a data directory, in a file.
//! Sits between the Produce, Fetch and `ListOffsets` handlers and the file.
//!
//! One rule: what is in memory is what is in the file; a batch enters both or neither.

mod compaction;
mod file;
mod producers;

pub(super) use self::file::Disk;
use self::file::LogFile;
use self::producers::{Producers, Verdict};
use super::batch::{self, Header};
use super::error::ErrorCode;
use super::sync::Signal;
use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// A file is rewritten when retention has made more than half of it dead, and at least this much.
const DEAD_BYTES_MIN: u64 = 1 << 20;

/// What a topic's configuration means for each of its logs.
#[derive(Clone, Debug)]
pub(super) struct Limits {
    /// Oldest batches are dropped beyond this size; a log that is only compacted refuses appends at one and a half
    /// times of it instead, because dropping would lose keys.
    pub(super) bytes_max: usize,
    /// Age in milliseconds at which batches are dropped; `None`: never.
    pub(super) retention_ms: Option<i64>,
    pub(super) message_bytes_max: usize,
    pub(super) tombstone_ms: i64,
    pub(super) is_compacted: bool,
    pub(super) is_deleted_from: bool,
}

/// A batch in the log.
#[derive(Clone, Debug)]
struct Stored {
    header: Header,
    bytes: Bytes,
}

impl Stored {
    fn new(bytes: Bytes) -> Option<Self> {
        Some(Self {
            header: Header::read(&bytes)?,
            bytes,
        })
    }

    fn base_offset(&self) -> i64 {
        self.header.base_offset
    }

    fn last_offset(&self) -> i64 {
        self.header.base_offset + i64::from(self.header.last_offset_delta)
    }
}

/// The answer to an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Appended {
    pub(super) base_offset: i64,
    pub(super) log_start_offset: i64,
}

/// A point found by time: the offset of a record and its timestamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) offset: i64,
    pub(super) timestamp: i64,
}

#[derive(Debug)]
pub(super) struct Log {
    limits: Limits,
    start_offset: i64,
    next_offset: i64,
    /// Bytes of all batches.
    size: usize,
    /// Bytes appended since the last compaction.
    dirty_bytes: usize,
    has_tombstones: bool,
    batches: VecDeque<Stored>,
    producers: Producers,
    file: Option<LogFile>,
    /// Connections that wait for an append; each is woken once and asks again.
    waiters: Vec<Arc<Signal>>,
    /// Set when the topic is deleted or the broker has stopped: what every later append is answered.
    closed: Option<ErrorCode>,
}

impl Log {
    /// Opens the log; without a path it lives in memory only.
    ///
    /// # Errors
    /// Whatever the file system says about the file.
    pub(super) fn open(path: Option<&Path>, limits: Limits, now_ms: i64) -> io::Result<Self> {
        let mut log = Self {
            limits,
            start_offset: 0,
            next_offset: 0,
            size: 0,
            dirty_bytes: 0,
            has_tombstones: false,
            batches: VecDeque::new(),
            producers: Producers::default(),
            file: None,
            waiters: Vec::new(),
            closed: None,
        };
        if let Some(path) = path {
            let file = LogFile::open(path, |header, bytes| {
                log.producers.remember(&header, header.base_offset);
                log.push(Stored { header, bytes });
            })?;
            log.file = Some(file);
            log.find_start();
            log.trim(now_ms);
        }
        Ok(log)
    }

    /// Where the log starts is not in the file: a log that is only compacted starts at 0, whatever compaction left.
    fn find_start(&mut self) {
        if self.limits.is_deleted_from
            && let Some(oldest) = self.batches.front()
        {
            self.start_offset = oldest.base_offset();
        }
    }

    pub(super) fn start_offset(&self) -> i64 {
        self.start_offset
    }

    /// The high watermark, as there is one replica, and the last stable offset, as there are no transactions.
    pub(super) fn next_offset(&self) -> i64 {
        self.next_offset
    }

    /// Appends what a producer sent for this partition.
    ///
    /// # Errors
    /// What the producer is to be answered; the log is then as before.
    pub(super) fn append(
        &mut self,
        set: &[u8],
        now_ms: i64,
        disk: Disk,
    ) -> Result<Appended, ErrorCode> {
        self.check_open()?;
        let header = batch::check_produced(set, self.limits.message_bytes_max)?;
        self.check_keys(set, &header)?;
        let verdict = self.producers.judge(&header)?;
        let base_offset = match verdict {
            Verdict::Duplicate(base_offset) => base_offset,
            Verdict::Append => self.store(set, &header, now_ms, disk)?,
        };
        Ok(Appended {
            base_offset,
            log_start_offset: self.start_offset,
        })
    }

    /// A compacted topic takes no record without a key, as Kafka does (seen only in batches that are not compressed).
    fn check_keys(&self, set: &[u8], header: &Header) -> Result<(), ErrorCode> {
        if !self.limits.is_compacted {
            return Ok(());
        }
        let records = batch::records(set, header).unwrap_or_default();
        if records.iter().all(|record| record.key.is_some()) {
            Ok(())
        } else {
            Err(ErrorCode::INVALID_RECORD)
        }
    }

    fn store(
        &mut self,
        set: &[u8],
        header: &Header,
        now_ms: i64,
        disk: Disk,
    ) -> Result<i64, ErrorCode> {
        self.make_room(set.len(), now_ms)?;
        let base_offset = self.next_offset;
        let stored = Stored {
            header: Header {
                base_offset,
                ..*header
            },
            bytes: batch::at_offset(set, base_offset),
        };
        if let Some(file) = &mut self.file {
            file.append(&stored.bytes, disk).map_err(|error| {
                tracing::warn!(%error, "append to log file failed");
                ErrorCode::KAFKA_STORAGE_ERROR
            })?;
        }
        self.producers.remember(header, base_offset);
        self.dirty_bytes += stored.bytes.len();
        self.push(stored);
        self.trim_size();
        self.wake();
        Ok(base_offset)
    }

    /// Keeps a log that may not drop its oldest batches within its bound.
    fn make_room(&mut self, needed: usize, now_ms: i64) -> Result<(), ErrorCode> {
        let (bound, after) = (self.limits.bytes_max, self.size + needed);
        if self.limits.is_deleted_from || after <= bound {
            return Ok(());
        }
        // Not at every append beyond the bound: a compaction walks the whole log.
        if self.dirty_bytes >= bound / 8 {
            self.compact(now_ms);
        }
        if self.size + needed <= bound + bound / 2 {
            return Ok(());
        }
        tracing::warn!(
            size = self.size,
            bound,
            "compacted log is full: its live keys exceed the bound"
        );
        Err(ErrorCode::KAFKA_STORAGE_ERROR)
    }

    fn push(&mut self, stored: Stored) {
        self.size += stored.bytes.len();
        self.next_offset = stored.last_offset() + 1;
        self.batches.push_back(stored);
    }

    /// Drops what retention no longer keeps. The newest batch always stays: the end offset is read from it at a start.
    pub(super) fn trim(&mut self, now_ms: i64) {
        let Some(retention_ms) = self
            .limits
            .retention_ms
            .filter(|_| self.limits.is_deleted_from)
        else {
            return self.trim_size();
        };
        let expired = now_ms.saturating_sub(retention_ms);
        while self.batches.len() > 1 && self.batches[0].header.max_timestamp < expired {
            self.drop_oldest();
        }
        self.trim_size();
    }

    fn trim_size(&mut self) {
        while self.limits.is_deleted_from
            && self.batches.len() > 1
            && self.size > self.limits.bytes_max
        {
            self.drop_oldest();
        }
        let live = self.size as u64;
        let dead = self
            .file
            .as_ref()
            .map_or(0, |file| file.len().saturating_sub(live));
        if dead > live.max(DEAD_BYTES_MIN) {
            self.rewrite();
        }
    }

    fn drop_oldest(&mut self) {
        if let Some(oldest) = self.batches.pop_front() {
            self.size -= oldest.bytes.len();
            self.start_offset = self
                .batches
                .front()
                .map_or(self.next_offset, Stored::base_offset);
        }
    }

    /// Compacts the log if its topic wants it and anything changed. See [`compaction::compact`] for what stays.
    pub(super) fn compact(&mut self, now_ms: i64) {
        let due = self.dirty_bytes > 0 || self.has_tombstones;
        if !self.limits.is_compacted || !due || self.closed.is_some() {
            return;
        }
        let compacted = compaction::compact(&self.batches, now_ms, self.limits.tombstone_ms);
        self.dirty_bytes = 0;
        self.has_tombstones = compacted.has_tombstones;
        self.batches = compacted.batches;
        let size = self.batches.iter().map(|stored| stored.bytes.len()).sum();
        if std::mem::replace(&mut self.size, size) != size {
            self.rewrite();
        }
    }

    /// Brings the file down to what is in memory. When it fails the file holds more than memory, which is harmless.
    fn rewrite(&mut self) {
        let Some(file) = &mut self.file else { return };
        if let Err(error) = file.replace(self.batches.iter().map(|stored| &stored.bytes)) {
            tracing::warn!(%error, "log file could not be rewritten: kept as it is");
        }
    }

    /// Whether the log can be read from `offset`: its end is a valid position, one after it is not.
    pub(super) fn contains(&self, offset: i64) -> bool {
        (self.start_offset..=self.next_offset).contains(&offset)
    }

    fn index_of(&self, offset: i64) -> usize {
        self.batches
            .partition_point(|stored| stored.last_offset() < offset)
    }

    /// Bytes from `offset` to the end, counted no further than `enough`.
    pub(super) fn available(&self, offset: i64, enough: usize) -> usize {
        let mut bytes = 0;
        for stored in self.batches.range(self.index_of(offset)..) {
            bytes += stored.bytes.len();
            if bytes >= enough {
                break;
            }
        }
        bytes
    }

    /// Whole batches from the one that holds `offset` on, up to `bytes_max`; with `at_least_one`, the first one
    /// whatever its size (KIP-74).
    pub(super) fn read(&self, offset: i64, bytes_max: usize, at_least_one: bool) -> Bytes {
        let from = self.index_of(offset);
        let (mut count, mut bytes) = (0, 0);
        for stored in self.batches.range(from..) {
            let exempt = at_least_one && count == 0;
            if bytes + stored.bytes.len() > bytes_max && !exempt {
                break;
            }
            bytes += stored.bytes.len();
            count += 1;
        }
        if count == 1 {
            return self.batches[from].bytes.clone();
        }
        let mut out = BytesMut::with_capacity(bytes);
        for stored in self.batches.range(from..from + count) {
            out.extend_from_slice(&stored.bytes);
        }
        out.freeze()
    }

    /// The first record with a timestamp of at least `timestamp`; in a compressed batch, the batch's first offset.
    pub(super) fn find_time(&self, timestamp: i64) -> Option<Found> {
        let stored = self
            .batches
            .iter()
            .find(|stored| stored.header.max_timestamp >= timestamp)?;
        Some(find_in(stored, timestamp))
    }

    /// The record with the greatest timestamp (KIP-734).
    pub(super) fn find_newest_time(&self) -> Option<Found> {
        let newest = self
            .batches
            .iter()
            .rev()
            .max_by_key(|stored| stored.header.max_timestamp)?;
        Some(find_in(newest, newest.header.max_timestamp))
    }

    /// Wakes `signal` at the next append or at the log's end. Each wake-up needs its own call.
    pub(super) fn wake_at_append(&mut self, signal: &Arc<Signal>) {
        self.waiters.push(Arc::clone(signal));
    }

    pub(super) fn stop_waking(&mut self, signal: &Arc<Signal>) {
        self.waiters.retain(|waiter| !Arc::ptr_eq(waiter, signal));
    }

    fn wake(&mut self) {
        for waiter in self.waiters.drain(..) {
            waiter.raise();
        }
    }

    /// # Errors
    /// What [`Log::close`] was told.
    pub(super) fn check_open(&self) -> Result<(), ErrorCode> {
        self.closed.map_or(Ok(()), Err)
    }

    /// Refuses every later append with `code` and leaves the file alone from now on.
    pub(super) fn close(&mut self, code: ErrorCode) {
        self.closed = Some(code);
        self.file = None;
        self.wake();
    }
}

fn find_in(stored: &Stored, timestamp: i64) -> Found {
    let records = batch::records(&stored.bytes, &stored.header).unwrap_or_default();
    match records.iter().find(|record| record.timestamp >= timestamp) {
        Some(record) => Found {
            offset: stored.base_offset() + record.offset_delta,
            timestamp: record.timestamp,
        },
        None => Found {
            offset: stored.base_offset(),
            timestamp: stored.header.max_timestamp,
        },
    }
}
