//! Reading a view in offset order: what a subscriber catches up on, and then follows.
//!
//! Part of a view. Its one rule: a scan borrows, so between two scans a reader keeps nothing but an offset, which no
//! repacking changes.

use std::sync::Arc;

use super::chunk::{Chunk, RecordHandle, RecordView};
use super::holdings::{HeldChunk, Holdings};

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
    held: &'a Holdings,
    current: Option<(&'a HeldChunk, u32)>,
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
    pub(super) fn new(held: &'a Holdings, from_offset: i64, superseded: Superseded) -> Self {
        let start = held.around(from_offset).next();
        Self {
            held,
            current: start.map(|(_, holding)| (holding, holding.chunk.lower_bound(from_offset))),
            next_base_offset: start.map_or(from_offset, |(_, first)| first.chunk.next_offset()),
            superseded,
        }
    }
}

impl<'a> Iterator for Scan<'a> {
    type Item = ScanRecord<'a>;

    fn next(&mut self) -> Option<ScanRecord<'a>> {
        loop {
            let (holding, from) = self.current?;
            let record = match self.superseded {
                Superseded::Skip => holding.next_live(from),
                Superseded::Include => (from < holding.chunk.record_count()).then_some(from),
            };
            if let Some(record) = record {
                self.current = Some((holding, record + 1));
                let chunk = &holding.chunk;
                return Some(ScanRecord { chunk, record });
            }
            let next = self.held.from(self.next_base_offset).next();
            self.current = next.map(|(_, holding)| (holding, 0));
            if let Some((_, holding)) = next {
                self.next_base_offset = holding.chunk.next_offset();
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
