//! Reading a view in offset order: what a subscriber catches up on, and then follows.
//!
//! Part of a view. Its one rule: a scan borrows, so between two scans a reader keeps nothing but an offset, which no repacking changes.

use std::sync::Arc;

use super::chunk::{Chunk, RecordHandle, RecordView};
use super::shelf::{Shelf, Shelved};

/// Whether records that have a newer one of the same key are wanted, on a compacted topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Superseded {
    /// No: a replay gives the newest of each key.
    Skip,
    /// Yes, as far as they are still here: following the end gives every version.
    Include,
}

/// Records in offset order.
#[derive(Debug)]
pub struct Scan<'a> {
    shelf: &'a Shelf,
    current: Option<(&'a Shelved, u32)>,
    /// Where the chunk after the current one may begin.
    next_base_offset: i64,
    superseded: Superseded,
}

/// One record of a scan.
#[derive(Clone, Copy, Debug)]
pub struct ScanRecord<'a> {
    chunk: &'a Arc<Chunk>,
    record: u32,
}

impl<'a> Scan<'a> {
    pub(super) fn new(shelf: &'a Shelf, from_offset: i64, superseded: Superseded) -> Self {
        let start = shelf.around(from_offset).next();
        Self {
            shelf,
            current: start.map(|(_, shelved)| (shelved, shelved.chunk.lower_bound(from_offset))),
            next_base_offset: start.map_or(from_offset, |(_, first)| first.chunk.next_offset()),
            superseded,
        }
    }
}

impl<'a> Iterator for Scan<'a> {
    type Item = ScanRecord<'a>;

    fn next(&mut self) -> Option<ScanRecord<'a>> {
        loop {
            let (shelved, from) = self.current?;
            let record = match self.superseded {
                Superseded::Skip => shelved.next_live(from),
                Superseded::Include => (from < shelved.chunk.record_count()).then_some(from),
            };
            if let Some(record) = record {
                self.current = Some((shelved, record + 1));
                let chunk = &shelved.chunk;
                return Some(ScanRecord { chunk, record });
            }
            let next = self.shelf.from(self.next_base_offset).next();
            self.current = next.map(|(_, shelved)| (shelved, 0));
            if let Some((_, shelved)) = next {
                self.next_base_offset = shelved.chunk.next_offset();
            }
        }
    }
}

impl<'a> ScanRecord<'a> {
    /// The record's offset.
    pub fn offset(&self) -> i64 {
        // A scan never points past the end of a chunk.
        self.chunk.offset(self.record).unwrap_or(i64::MAX)
    }

    /// The record; `None` never happens for a record that a scan gave out.
    pub fn view(&self) -> Option<RecordView<'a>> {
        self.chunk.record(self.record)
    }

    /// The record, to be kept after the scan.
    pub fn handle(&self) -> RecordHandle {
        RecordHandle::new(self.chunk.clone(), self.record)
    }

    /// The chunk that holds it.
    pub const fn chunk(&self) -> &'a Arc<Chunk> {
        self.chunk
    }
}
