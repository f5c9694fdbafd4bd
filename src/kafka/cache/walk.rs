//! A walk over a whole partition that survives rewriting: for the merged collection, where every key must come once.
//!
//! Part of a view. Its one rule: a key that was there when the walk was opened comes once, with a value that was its
//! newest at some time since, however often it is rewritten meanwhile; what cannot be kept up is said (`WalkEnd::Lost`),
//! not left out.
//!
//! ```text
//!            position            end (next offset at open)
//!   emitted ────┤ in order, newest only ├──── not looked at, but for `pending`
//!                     o ──── rewritten ──────────▶ n ∈ pending
//! ```

use std::collections::BTreeSet;

use super::chunk::RecordHandle;
use super::holdings::Holdings;

/// Names an open walk of a view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WalkId(u64);

/// The next thing on a walk.
#[derive(Clone, Debug)]
pub enum WalkStep {
    /// A record.
    Record(RecordHandle),
    /// Nothing more; the walk may be closed.
    End(WalkEnd),
}

/// How a walk ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WalkEnd {
    /// Everything was given out.
    Complete,
    /// Records not yet given out were evicted or reset, or there is no such walk: cut the answer, do not finish it.
    Lost,
}

/// Why a walk cannot be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WalkRefused {
    /// The partition has not been read to its end yet.
    Warming,
    /// Part of it is not cached.
    NotCached {
        /// Nothing below this offset is cached.
        below: i64,
    },
    /// [`WALKS_MAX`] are open.
    TooMany,
}

/// Most walks that are open at a time on one view.
pub const WALKS_MAX: usize = 64;

#[derive(Debug)]
struct Walk {
    id: WalkId,
    /// Everything below has been given out, has moved to `pending`, or is gone.
    position: i64,
    end: i64,
    /// Offsets at or above `end` of keys that were rewritten before they were given out. At most one per key that is
    /// live below `end`: some 16 bytes each.
    pending: BTreeSet<i64>,
    lost: bool,
}

/// The open walks of a view.
#[derive(Debug, Default)]
pub(super) struct Walks {
    open: Vec<Walk>,
    opened: u64,
}

impl Walks {
    pub(super) fn open(&mut self, start: i64, end: i64) -> Result<WalkId, WalkRefused> {
        if self.open.len() >= WALKS_MAX {
            return Err(WalkRefused::TooMany);
        }
        let id = WalkId(self.opened);
        self.opened += 1;
        self.open.push(Walk {
            id,
            position: start,
            end,
            pending: BTreeSet::new(),
            lost: false,
        });
        Ok(id)
    }

    /// None of them: all are lost, and no number is given again.
    pub(super) fn ended(&self) -> Self {
        Self {
            open: Vec::new(),
            opened: self.opened,
        }
    }

    pub(super) fn close(&mut self, id: WalkId) {
        self.open.retain(|walk| walk.id != id);
    }

    pub(super) fn next(&mut self, id: WalkId, held: &Holdings, skip_tombstones: bool) -> WalkStep {
        let Some(walk) = self.open.iter_mut().find(|walk| walk.id == id) else {
            return WalkStep::End(WalkEnd::Lost);
        };
        while !walk.lost {
            let Some(record) = walk.next(held) else {
                return WalkStep::End(WalkEnd::Complete);
            };
            if !(skip_tombstones && record.chunk().is_tombstone(record.index())) {
                return WalkStep::Record(record);
            }
        }
        WalkStep::End(WalkEnd::Lost)
    }

    /// A key's newest record is at `to` now, no longer at `from`.
    pub(super) fn handle_moved(&mut self, from: i64, to: i64) {
        for walk in &mut self.open {
            let unread = (walk.position..walk.end).contains(&from) || walk.pending.remove(&from);
            if unread && !walk.lost {
                walk.pending.insert(to);
            }
        }
    }

    /// The chunk with these offsets is about to be evicted, all below it is gone.
    pub(super) fn handle_evict(&mut self, next_offset: i64, held: &Holdings) {
        for walk in &mut self.open {
            let unread = held
                .next_live(walk.position)
                .and_then(|place| held.offset_at(place));
            let unread = unread.is_some_and(|offset| offset < next_offset.min(walk.end));
            if unread || walk.pending.range(..next_offset).next().is_some() {
                walk.lose();
            }
        }
    }

    pub(super) fn handle_reset(&mut self) {
        for walk in &mut self.open {
            walk.lose();
        }
    }

    pub(super) fn charged_bytes(&self) -> usize {
        let pending = self.open.iter().map(|walk| walk.pending.len());
        pending.sum::<usize>() * PENDING_BYTES
    }
}

impl Walk {
    fn lose(&mut self) {
        self.lost = true;
        self.pending.clear();
    }

    fn next(&mut self, held: &Holdings) -> Option<RecordHandle> {
        if let Some(place) = held.next_live(self.position)
            && let Some(chunk) = held.chunk_at(place)
            && let Some(offset) = chunk.offset(place.record)
            && offset < self.end
        {
            self.position = offset + 1;
            return Some(RecordHandle::new(chunk.clone(), place.record));
        }
        self.position = self.position.max(self.end);
        while let Some(offset) = self.pending.pop_first() {
            // Gone without a successor: a tombstone past its time, or below the log's start.
            let Some(place) = held.find(offset) else {
                continue;
            };
            if let Some(holding) = held.get(place.slot)
                && holding.is_live(place.record)
            {
                return Some(RecordHandle::new(holding.chunk.clone(), place.record));
            }
        }
        None
    }
}

/// An offset in a B-tree whose nodes are half to wholly full.
const PENDING_BYTES: usize = 16;
