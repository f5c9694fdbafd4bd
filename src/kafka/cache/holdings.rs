//! The chunks that a view holds, in offset order, and which of their records are live.
//!
//! Under the key index, the walks and the repacking. Its one rule: every view that applied the same updates has the
//! same live records, so liveness is a bit here and never a question to another core.

use std::collections::{BTreeMap, BTreeSet};
use std::mem::size_of;
use std::sync::Arc;

use super::chunk::{Chunk, ChunkId};
use super::key_index::spread;

/// Where a record is held. Changes when its chunk is repacked; its offset does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) slot: u32,
    pub(super) record: u32,
    /// Where its key stands in the chunk's body, so that keys are compared without a detour over the chunk's table.
    key_position: u32,
}

/// A chunk with what this view knows of its records.
#[derive(Debug)]
pub(super) struct HeldChunk {
    pub(super) chunk: Arc<Chunk>,
    /// Bytes of live records, by the measure of `Chunk::record_bytes`.
    pub(super) live_bytes: usize,
    /// Bytes of those live records that are tombstones.
    pub(super) tombstone_bytes: usize,
    /// One bit a record: superseded, or below the log's start.
    dead: Box<[u64]>,
    /// Per record the offset of the next one with the same key, [`NO_NEXT`] if none; empty on compacted topics.
    links: Box<[i64]>,
}

#[derive(Debug, Default)]
pub(super) struct Holdings {
    slots: Vec<Option<HeldChunk>>,
    free: Vec<u32>,
    by_offset: BTreeMap<i64, u32>,
    by_id: BTreeMap<ChunkId, u32>,
    /// Base offsets of chunks less than half live: worth repacking.
    half_dead: BTreeSet<i64>,
    charged_bytes: usize,
}

impl HeldChunk {
    fn new(chunk: Arc<Chunk>, linked: bool) -> Self {
        let count = chunk.record_count();
        let tombstones = (0..count).filter(|&record| chunk.is_tombstone(record));
        Self {
            live_bytes: chunk.all_record_bytes(),
            tombstone_bytes: tombstones.map(|record| chunk.record_bytes(record)).sum(),
            dead: vec![0; (count as usize).div_ceil(64)].into_boxed_slice(),
            links: vec![NO_NEXT; if linked { count as usize } else { 0 }].into_boxed_slice(),
            chunk,
        }
    }

    /// The place of a record of this chunk, which is in `slot`.
    pub(super) fn place(&self, slot: u32, record: u32) -> Option<Place> {
        let key_position = self.chunk.key_position(record)?;
        Some(Place {
            slot,
            record,
            key_position,
        })
    }

    /// What it adds to the budget: the chunk, and what this view keeps beside it.
    pub(super) fn charged_bytes(&self) -> usize {
        self.chunk.charged_bytes()
            + self.dead.len() * size_of::<u64>()
            + self.links.len() * size_of::<i64>()
            + HOLDING_BYTES
    }

    pub(super) fn live_count(&self) -> usize {
        let dead: u32 = self.dead.iter().map(|word| word.count_ones()).sum();
        (self.chunk.record_count() - dead) as usize
    }

    pub(super) fn dead_bytes(&self) -> usize {
        self.chunk.all_record_bytes() - self.live_bytes
    }

    pub(super) const fn dead_bits(&self) -> &[u64] {
        &self.dead
    }

    pub(super) fn is_live(&self, record: u32) -> bool {
        let word = self.dead.get(record as usize / 64);
        word.is_some_and(|word| word & (1 << (record % 64)) == 0)
    }

    /// The first live record at or after index `from`.
    pub(super) fn next_live(&self, from: u32) -> Option<u32> {
        let mut index = from as usize / 64;
        let mut live = !*self.dead.get(index)? & (u64::MAX << (from % 64));
        while live == 0 {
            index += 1;
            live = !*self.dead.get(index)?;
        }
        let record = u32::try_from(index * 64).ok()? + live.trailing_zeros();
        (record < self.chunk.record_count()).then_some(record)
    }

    /// The live records, by index.
    pub(super) fn live_records(&self) -> impl Iterator<Item = u32> {
        let mut next = 0;
        std::iter::from_fn(move || {
            let record = self.next_live(next)?;
            next = record + 1;
            Some(record)
        })
    }

    fn mark_dead(&mut self, record: u32) {
        if !self.is_live(record) {
            return;
        }
        self.dead[record as usize / 64] |= 1 << (record % 64);
        let bytes = self.chunk.record_bytes(record);
        self.live_bytes -= bytes;
        if self.chunk.is_tombstone(record) {
            self.tombstone_bytes -= bytes;
        }
    }
}

impl Holdings {
    /// Takes a chunk in. No other one has its offsets.
    pub(super) fn put(&mut self, chunk: Arc<Chunk>, linked: bool) -> u32 {
        let (base_offset, id) = (chunk.base_offset(), chunk.id());
        let holding = HeldChunk::new(chunk, linked);
        self.charged_bytes += holding.charged_bytes();
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            u32::try_from(self.slots.len() - 1).expect("fewer chunks than records in 64 GiB")
        });
        self.slots[slot as usize] = Some(holding);
        self.by_offset.insert(base_offset, slot);
        self.by_id.insert(id, slot);
        slot
    }

    /// Makes the chunk in a slot unfindable by offset, so that another may stand for its offsets.
    pub(super) fn hide(&mut self, slot: u32) {
        if let Some(holding) = self.get(slot) {
            let base_offset = holding.chunk.base_offset();
            self.by_offset.remove(&base_offset);
            self.half_dead.remove(&base_offset);
        }
    }

    /// Lets go of a chunk.
    pub(super) fn take(&mut self, slot: u32) {
        let Some(holding) = self.slots.get_mut(slot as usize).and_then(Option::take) else {
            return;
        };
        let base_offset = holding.chunk.base_offset();
        // A chunk put in the place of a hidden one may have its base offset.
        if self.by_offset.get(&base_offset) == Some(&slot) {
            self.by_offset.remove(&base_offset);
            self.half_dead.remove(&base_offset);
        }
        self.by_id.remove(&holding.chunk.id());
        self.charged_bytes -= holding.charged_bytes();
        self.free.push(slot);
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(super) fn get(&self, slot: u32) -> Option<&HeldChunk> {
        self.slots.get(slot as usize)?.as_ref()
    }

    pub(super) fn slot_of(&self, id: ChunkId) -> Option<u32> {
        self.by_id.get(&id).copied()
    }

    /// The chunk with the lowest offsets.
    pub(super) fn front(&self) -> Option<u32> {
        self.by_offset.first_key_value().map(|(_, &slot)| slot)
    }

    /// The chunks whose base offset is at least `base_offset`, upwards.
    pub(super) fn from(&self, base_offset: i64) -> impl Iterator<Item = (u32, &HeldChunk)> {
        let slots = self.by_offset.range(base_offset..);
        slots.filter_map(|(_, &slot)| Some((slot, self.get(slot)?)))
    }

    /// The chunks whose base offset is below `base_offset`, downwards.
    pub(super) fn below(&self, base_offset: i64) -> impl Iterator<Item = (u32, &HeldChunk)> {
        let slots = self.by_offset.range(..base_offset).rev();
        slots.filter_map(|(_, &slot)| Some((slot, self.get(slot)?)))
    }

    /// The chunk that would hold `offset`, and those after it.
    pub(super) fn around(&self, offset: i64) -> impl Iterator<Item = (u32, &HeldChunk)> {
        let holder = self.by_offset.range(..=offset).next_back();
        self.from(holder.map_or(offset, |(&base_offset, _)| base_offset))
    }

    pub(super) fn find(&self, offset: i64) -> Option<Place> {
        let (slot, holding) = self.around(offset).next()?;
        let record = holding.chunk.find(offset)?;
        holding.place(slot, record)
    }

    /// The first live record at or after `offset`.
    pub(super) fn next_live(&self, offset: i64) -> Option<Place> {
        self.around(offset).find_map(|(slot, holding)| {
            let record = holding.next_live(holding.chunk.lower_bound(offset))?;
            holding.place(slot, record)
        })
    }

    pub(super) fn chunk_at(&self, place: Place) -> Option<&Arc<Chunk>> {
        Some(&self.get(place.slot)?.chunk)
    }

    pub(super) fn key_at(&self, place: Place) -> Option<&[u8]> {
        self.chunk_at(place)?.key_at(place.key_position)
    }

    pub(super) fn offset_at(&self, place: Place) -> Option<i64> {
        self.chunk_at(place)?.offset(place.record)
    }

    /// The hash of the record's key, as the index wants it.
    pub(super) fn hash_at(&self, place: Place) -> u64 {
        let hash = self
            .chunk_at(place)
            .and_then(|chunk| chunk.key_hash(place.record));
        spread(hash.unwrap_or_default())
    }

    pub(super) fn mark_dead(&mut self, slot: u32, record: u32) {
        let Some(holding) = self.slot_mut(slot) else {
            return;
        };
        holding.mark_dead(record);
        if holding.live_bytes * 2 < holding.chunk.all_record_bytes() {
            let base_offset = holding.chunk.base_offset();
            self.half_dead.insert(base_offset);
        }
    }

    /// Notes that the next record with the same key as the one at `place` is at `next_offset`.
    pub(super) fn link(&mut self, place: Place, next_offset: i64) {
        let links = self.slot_mut(place.slot).map(|holding| &mut holding.links);
        if let Some(link) = links.and_then(|links| links.get_mut(place.record as usize)) {
            *link = next_offset;
        }
    }

    /// The offset noted by [`Holdings::link`].
    pub(super) fn link_at(&self, place: Place) -> Option<i64> {
        let link = *self.get(place.slot)?.links.get(place.record as usize)?;
        (link != NO_NEXT).then_some(link)
    }

    pub(super) fn next_of_same_key(&self, place: Place) -> Option<Place> {
        self.find(self.link_at(place)?)
    }

    /// Base offsets of chunks less than half live.
    pub(super) const fn half_dead(&self) -> &BTreeSet<i64> {
        &self.half_dead
    }

    pub(super) const fn charged_bytes(&self) -> usize {
        self.charged_bytes
    }

    fn slot_mut(&mut self, slot: u32) -> Option<&mut HeldChunk> {
        self.slots.get_mut(slot as usize)?.as_mut()
    }
}

const NO_NEXT: i64 = -1;
/// The slot itself, its nodes in the three maps, and the headers of its two allocations.
const HOLDING_BYTES: usize = size_of::<HeldChunk>() + 128;
