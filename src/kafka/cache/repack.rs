//! Which chunks to copy together, and the copying.
//!
//! Used by the store, never by a view. Its one rule: a copy is paid for. Either it frees at least as many bytes as it
//! copies, or every copied record ends up in a chunk several times the size of the one it left, which can happen only a
//! few times to a record. So all copying together stays within a small multiple of what was ever appended.

use std::collections::VecDeque;

use super::chunk::{Chunk, Draft, RECORD_TABLE_BYTES};
use super::chunk_builder::CHUNK_BYTES_TARGET;
use super::holdings::{HeldChunk, Holdings};

/// Neighbours to be copied together.
#[derive(Debug)]
pub(super) struct Run {
    /// In offset order.
    pub(super) slots: VecDeque<u32>,
    live_bytes: usize,
    base_offset: i64,
    next_offset: i64,
}

/// The chunk at `base_offset`, half dead, with what is half dead above it and below `fresh_from`.
pub(super) fn half_dead_run(held: &Holdings, base_offset: i64, fresh_from: i64) -> Option<Run> {
    let mut run = Run::of_one(held, base_offset).filter(|run| run.next_offset <= fresh_from)?;
    for (slot, next) in held.from(run.next_offset) {
        let half_dead = held.half_dead().contains(&next.chunk.base_offset());
        let is_fresh = next.chunk.next_offset() > fresh_from;
        if !half_dead || is_fresh || !run.push(slot, next) {
            break;
        }
    }
    Some(run)
}

/// The chunk at `base_offset` with its neighbours below `fresh_from`, if together they are much larger than any one of them.
pub(super) fn small_run(held: &Holdings, base_offset: i64, fresh_from: i64) -> Option<Run> {
    let is_old = |chunk: &Chunk| chunk.next_offset() <= fresh_from;
    let mut run = Run::of_one(held, base_offset).filter(|run| run.next_offset <= fresh_from)?;
    let mut below = held.below(run.base_offset).peekable();
    let above = held.from(run.next_offset);
    let mut above = above.take_while(|(_, next)| is_old(&next.chunk)).peekable();
    let mut largest_bytes = run.live_bytes;
    while run.live_bytes < largest_bytes * GROWTH_MIN || run.slots.len() < GROWTH_MIN {
        // The smaller neighbour first: the cheaper copy.
        let below_bytes = below.peek().map_or(usize::MAX, |(_, next)| next.live_bytes);
        let above_bytes = above.peek().map_or(usize::MAX, |(_, next)| next.live_bytes);
        let next = if below_bytes < above_bytes {
            below.next()
        } else {
            above.next()
        };
        let (slot, next) = next?;
        if !run.push(slot, next) {
            return None;
        }
        largest_bytes = largest_bytes.max(next.live_bytes);
    }
    Some(run)
}

/// The live records of `run` that `keep` says to keep, with the first offset that they do not cover.
pub(super) fn merge(
    held: &Holdings,
    run: &Run,
    keep: impl Fn(&Chunk, u32) -> bool,
) -> Option<(Draft, i64)> {
    let holdings = || run.slots.iter().filter_map(|&slot| held.get(slot));
    let records = holdings().map(HeldChunk::live_count).sum();
    let mut draft = Draft::new();
    draft.reserve(run.live_bytes - records * RECORD_TABLE_BYTES, records);
    for holding in holdings() {
        let chunk = &holding.chunk;
        for record in holding.live_records() {
            if let (Some(raw), Some(meta)) = (chunk.raw(record), chunk.meta(record))
                && keep(chunk, record)
            {
                draft.push(raw, meta);
            }
        }
    }
    (!draft.is_empty()).then_some((draft, run.next_offset))
}

impl Run {
    /// The chunk at `base_offset` alone.
    pub(super) fn of_one(held: &Holdings, base_offset: i64) -> Option<Self> {
        let (slot, holding) = held.from(base_offset).next()?;
        (holding.chunk.base_offset() == base_offset).then(|| Self::new(slot, holding))
    }

    pub(super) fn new(slot: u32, holding: &HeldChunk) -> Self {
        Self {
            slots: VecDeque::from([slot]),
            live_bytes: holding.live_bytes,
            base_offset: holding.chunk.base_offset(),
            next_offset: holding.chunk.next_offset(),
        }
    }

    /// Takes a neighbour in, unless that makes more than one chunk can hold.
    fn push(&mut self, slot: u32, next: &HeldChunk) -> bool {
        let base_offset = self.base_offset.min(next.chunk.base_offset());
        let next_offset = self.next_offset.max(next.chunk.next_offset());
        let live_bytes = self.live_bytes + next.live_bytes;
        let fits = live_bytes <= CHUNK_BYTES_TARGET
            && self.slots.len() < RUN_CHUNKS_MAX
            && u32::try_from(next_offset.saturating_sub(base_offset)).is_ok();
        if fits {
            if base_offset < self.base_offset {
                self.slots.push_front(slot);
            } else {
                self.slots.push_back(slot);
            }
            (self.base_offset, self.next_offset) = (base_offset, next_offset);
            self.live_bytes = live_bytes;
        }
        fits
    }

    pub(super) const fn live_bytes(&self) -> usize {
        self.live_bytes
    }
}

/// How much larger than its largest chunk a run must be: a record of 256 bytes is copied four times on its way to 1 MiB.
const GROWTH_MIN: usize = 8;
/// Bounds the planning, which looks at this many neighbours for every chunk appended.
const RUN_CHUNKS_MAX: usize = 32;
