//! What one core knows of a partition: chunks that all cores share, and an index of its own.
//!
//! Fed by the [`Update`]s of the partition's store, read by the mappings of the same core. Its one rule: a miss is
//! answered with the reason for it, because "not cached" and "not there" are different answers to a client.

use std::sync::Arc;

use super::chunk::{Chunk, ChunkId, RecordView};
use super::holdings::{HeldChunk, Holdings, Place};
use super::key_index::{KeyIndex, key_hash};
use super::scan::{Scan, Superseded};
use super::update::{Progress, Update};
use super::walk::{WalkId, WalkRefused, WalkStep, Walks};

/// The topic's `cleanup.policy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Only the newest record of a key counts.
    pub compact: bool,
    /// Records go when they are old, or the log is long.
    pub delete: bool,
}

impl Policy {
    /// `cleanup.policy=compact`.
    pub const COMPACT: Self = Self {
        compact: true,
        delete: false,
    };
    /// `cleanup.policy=delete`, Kafka's default.
    pub const DELETE: Self = Self {
        compact: false,
        delete: true,
    };
}

/// The answer to a question by key.
#[derive(Clone, Debug)]
pub enum Lookup<'a> {
    /// This record, which may be a tombstone.
    Found(RecordView<'a>),
    /// There is none in the partition.
    Absent,
    /// There is none in what is cached, but something is missing from it: ask Kafka.
    NotCached {
        /// Nothing below this offset is cached.
        below: i64,
    },
    /// The partition has not been read to its end yet: ask again.
    Warming,
}

/// One partition as one core sees it.
#[derive(Debug)]
pub struct PartitionView {
    policy: Policy,
    held: Holdings,
    index: KeyIndex,
    walks: Walks,
    progress: Progress,
    evicted_below: i64,
    resets: u64,
}

impl PartitionView {
    /// An empty view that waits for its first updates (`PartitionStore::snapshot`).
    pub fn new(policy: Policy) -> Self {
        Self {
            policy,
            held: Holdings::default(),
            index: KeyIndex::new(policy.compact),
            walks: Walks::default(),
            progress: Progress::starting_at(0),
            evicted_below: 0,
            resets: 0,
        }
    }

    /// The view that a snapshot makes, in the place of this one.
    #[must_use]
    pub fn renewed(&self, snapshot: &[Update]) -> Self {
        let mut view = Self::new(self.policy);
        view.walks = self.walks.ended();
        for update in snapshot {
            view.apply(update.clone());
        }
        // A snapshot begins with a reset of its own; that of the log shows in its end.
        let is_replaced = view.next_offset() < self.next_offset();
        view.resets = self.resets + u64::from(is_replaced);
        view
    }

    /// Takes the next update of the store. An update that names chunks this view never got, or repeats offsets it has,
    /// is not one of its stream, and is ignored.
    pub fn apply(&mut self, update: Update) {
        match update {
            Update::Append(chunk) => self.append(&chunk, &[]),
            Update::Restore { chunk, dead } => self.append(&chunk, &dead),
            Update::Replace { removed, added } => self.replace(&removed, added),
            Update::Evict {
                chunks,
                evicted_below,
            } => self.evict(&chunks, evicted_below),
            Update::Progress(progress) => self.handle_progress(progress),
            Update::Reset {
                start_offset,
                policy,
            } => self.reset(start_offset, policy),
        }
    }

    /// The newest record with this key. Keys are never null here: null keys are not indexed.
    pub fn newest(&self, key: &[u8]) -> Lookup<'_> {
        if !self.progress.ready {
            return Lookup::Warming;
        }
        let place = self.index.newest(&self.held, key);
        match place.and_then(|place| self.record_at(place)) {
            Some(record) => Lookup::Found(record),
            None => self.miss(self.progress.log_start_offset),
        }
    }

    /// The oldest record with this key; on compacted topics, where only the newest counts, that one.
    pub fn oldest(&self, key: &[u8]) -> Lookup<'_> {
        self.oldest_from(key, i64::MIN)
    }

    /// The oldest record with this key at or after `from_offset`; on compacted topics the newest, if it is there.
    ///
    /// Takes constant time when `from_offset` is above the newest or not above the oldest record of the key, else time
    /// proportional to the records between `from_offset` and the answer (about a nanosecond each).
    pub fn oldest_from(&self, key: &[u8], from_offset: i64) -> Lookup<'_> {
        if self.policy.compact {
            return match self.newest(key) {
                Lookup::Found(record) if record.offset < from_offset => Lookup::Absent,
                lookup => lookup,
            };
        }
        let from_offset = from_offset.max(self.progress.log_start_offset);
        if self.is_missing_from(from_offset) {
            return self.miss(from_offset);
        }
        let place = self.oldest_place_from(key, from_offset);
        match place.and_then(|place| self.record_at(place)) {
            Some(record) => Lookup::Found(record),
            None => self.miss(from_offset),
        }
    }

    /// The cached records at or after `from_offset`, in offset order, null keys included.
    ///
    /// When `from_offset` is below [`PartitionView::evicted_below`], it begins where the cache does.
    pub fn scan(&self, from_offset: i64, superseded: Superseded) -> Scan<'_> {
        let from_offset = from_offset.max(self.progress.log_start_offset);
        Scan::new(&self.held, from_offset, superseded)
    }

    /// Starts a walk over the partition as it is now, see [`WalkStep`]. On compacted topics it gives the newest value
    /// of every key and leaves deleted ones out, on others every record in order. Must be closed.
    ///
    /// # Errors
    ///
    /// When not all of the partition is here, or too many walks are open.
    pub fn open_walk(&mut self) -> Result<WalkId, WalkRefused> {
        if !self.progress.ready {
            return Err(WalkRefused::Warming);
        }
        let start = self.progress.log_start_offset;
        if self.is_missing_from(start) {
            let below = self.evicted_below;
            return Err(WalkRefused::NotCached { below });
        }
        self.walks.open(start, self.progress.next_offset)
    }

    /// Goes one step further on a walk.
    pub fn walk_next(&mut self, walk: WalkId) -> WalkStep {
        self.walks.next(walk, &self.held, self.policy.compact)
    }

    /// Ends a walk, at its end or before.
    pub fn close_walk(&mut self, walk: WalkId) {
        self.walks.close(walk);
    }

    /// The policy that it was opened with.
    pub const fn policy(&self) -> Policy {
        self.policy
    }

    /// Whether all that was in the log when it was opened has been read.
    pub const fn is_ready(&self) -> bool {
        self.progress.ready
    }

    /// One past the last offset read: a read that must see offset `o` waits until this is above `o`.
    pub const fn next_offset(&self) -> i64 {
        self.progress.next_offset
    }

    /// One past the last offset that was readable at the broker, as of the last fetch.
    pub const fn end_offset(&self) -> i64 {
        self.progress.end_offset
    }

    /// Nothing below this offset is cached.
    pub const fn evicted_below(&self) -> i64 {
        self.evicted_below
    }

    /// How often the log was replaced by another one: offsets of before mean nothing after.
    pub const fn resets(&self) -> u64 {
        self.resets
    }

    /// The log's first offset.
    pub const fn log_start_offset(&self) -> i64 {
        self.progress.log_start_offset
    }

    /// How many different keys are indexed.
    pub fn key_count(&self) -> usize {
        self.index.key_count()
    }

    /// Memory of this view without the shared chunks' own: index and walks.
    pub fn index_bytes(&self) -> usize {
        self.index.allocated_bytes() + self.walks.charged_bytes()
    }

    /// Memory of the chunks it holds, each as a whole, with what this view keeps beside each.
    pub fn chunk_bytes(&self) -> usize {
        self.held.charged_bytes()
    }

    pub(super) const fn held(&self) -> &Holdings {
        &self.held
    }

    pub(super) const fn progress(&self) -> Progress {
        self.progress
    }

    fn miss(&self, from_offset: i64) -> Lookup<'static> {
        if self.is_missing_from(from_offset) {
            let below = self.evicted_below;
            Lookup::NotCached { below }
        } else if self.progress.ready {
            Lookup::Absent
        } else {
            Lookup::Warming
        }
    }

    /// Whether the log may have records at or after `from_offset` that were here once, or never.
    fn is_missing_from(&self, from_offset: i64) -> bool {
        self.evicted_below > from_offset.max(self.progress.log_start_offset)
    }

    fn record_at(&self, place: Place) -> Option<RecordView<'_>> {
        self.held.chunk_at(place)?.record(place.record)
    }

    fn oldest_place_from(&self, key: &[u8], from_offset: i64) -> Option<Place> {
        let oldest = self.index.oldest(&self.held, key)?;
        if self.held.offset_at(oldest)? >= from_offset {
            return Some(oldest);
        }
        let newest = self.index.newest(&self.held, key)?;
        if self.held.offset_at(newest)? < from_offset {
            return None;
        }
        let hash = Some(key_hash(key));
        self.held.around(from_offset).find_map(|(slot, holding)| {
            let chunk = &holding.chunk;
            let mut records = chunk.lower_bound(from_offset)..chunk.record_count();
            let same_key =
                |&record: &u32| chunk.key_hash(record) == hash && chunk.key(record) == Some(key);
            holding.place(slot, records.find(same_key)?)
        })
    }

    fn append(&mut self, chunk: &Arc<Chunk>, dead: &[u64]) {
        if chunk.base_offset() < self.progress.next_offset {
            return;
        }
        self.progress.next_offset = chunk.next_offset();
        self.progress.end_offset = self.progress.end_offset.max(chunk.next_offset());
        let slot = self.held.put(chunk.clone(), !self.policy.compact);
        for record in 0..chunk.record_count() {
            if is_set(dead, record) {
                self.held.mark_dead(slot, record);
            }
        }
        for (place, hash, offset) in self.live_keys(slot) {
            if let Some(key) = chunk.key(place.record) {
                self.index_newest(place, hash, key, offset);
            }
        }
    }

    fn index_newest(&mut self, place: Place, hash: u32, key: &[u8], offset: i64) {
        let Some(before) = self.index.insert(&self.held, place, hash, key) else {
            return;
        };
        if !self.policy.compact {
            self.held.link(before, offset);
        } else if let Some(from) = self.held.offset_at(before) {
            self.held.mark_dead(before.slot, before.record);
            self.walks.handle_moved(from, offset);
        }
    }

    fn replace(&mut self, removed: &[ChunkId], added: Option<Arc<Chunk>>) {
        let slots: Option<Vec<u32>> = removed.iter().map(|&id| self.held.slot_of(id)).collect();
        let Some(slots) = slots else {
            return;
        };
        for &slot in &slots {
            self.held.hide(slot);
        }
        let target = added.map(|chunk| self.held.put(chunk, !self.policy.compact));
        for slot in slots {
            self.move_live_records(slot, target);
            self.held.take(slot);
        }
    }

    /// Moves what is live in `slot` to `target`, where its offset is there; drops it from the index where not.
    fn move_live_records(&mut self, slot: u32, target: Option<u32>) {
        for (from, hash, offset) in self.live_keys(slot) {
            let to = target.and_then(|target| {
                let holding = self.held.get(target)?;
                holding.place(target, holding.chunk.find(offset)?)
            });
            match to {
                Some(to) => {
                    if let Some(next_offset) = self.held.link_at(from) {
                        self.held.link(to, next_offset);
                    }
                    self.index.relocate(hash, from, to);
                }
                None => self.index.remove(&self.held, from, hash),
            }
        }
    }

    fn evict(&mut self, chunks: &[ChunkId], evicted_below: i64) {
        for &id in chunks {
            if let Some(slot) = self.held.slot_of(id) {
                self.drop_front(slot, true);
            }
        }
        self.evicted_below = self.evicted_below.max(evicted_below);
        self.index.shrink(&self.held);
    }

    /// Lets go of the chunk with the lowest offsets.
    fn drop_front(&mut self, slot: u32, still_in_kafka: bool) {
        let next_offset = self
            .held
            .get(slot)
            .map(|holding| holding.chunk.next_offset());
        if let Some(next_offset) = next_offset
            && still_in_kafka
        {
            self.walks.handle_evict(next_offset, &self.held);
        }
        for (place, hash, _) in self.live_keys(slot) {
            self.index.remove(&self.held, place, hash);
        }
        self.held.take(slot);
    }

    fn handle_progress(&mut self, progress: Progress) {
        let next_offset = progress.next_offset.max(self.progress.next_offset);
        self.progress = Progress {
            next_offset,
            ..progress
        };
        self.trim();
    }

    /// Lets go of what is below the log's start.
    fn trim(&mut self) {
        let log_start = self.progress.log_start_offset;
        while let Some(slot) = self.held.front()
            && let Some(holding) = self.held.get(slot)
            && holding.chunk.base_offset() < log_start
        {
            if holding.chunk.next_offset() <= log_start {
                self.drop_front(slot, false);
                continue;
            }
            self.trim_records(slot, log_start);
            break;
        }
        self.index.shrink(&self.held);
    }

    fn trim_records(&mut self, slot: u32, log_start: i64) {
        while let Some(holding) = self.held.get(slot)
            && let Some(record) = holding.next_live(0)
            && let Some(offset) = holding.chunk.offset(record)
            && offset < log_start
        {
            let place = holding.place(slot, record);
            if let (Some(place), Some(hash)) = (place, holding.chunk.key_hash(record)) {
                self.index.remove(&self.held, place, hash);
            }
            self.held.mark_dead(slot, record);
        }
    }

    fn reset(&mut self, start_offset: i64, policy: Policy) {
        self.policy = policy;
        self.held.clear();
        self.index = KeyIndex::new(self.policy.compact);
        self.walks.handle_reset();
        self.progress = Progress::starting_at(start_offset);
        self.evicted_below = start_offset;
        self.resets += 1;
    }

    /// Place, key hash and offset of the live records with a key, oldest first.
    fn live_keys(&self, slot: u32) -> Vec<(Place, u32, i64)> {
        let keyed = |holding: &HeldChunk, record: u32| {
            let hash = holding.chunk.key_hash(record)?;
            let offset = holding.chunk.offset(record)?;
            Some((holding.place(slot, record)?, hash, offset))
        };
        self.held.get(slot).map_or_else(Vec::new, |holding| {
            let live = holding.live_records();
            live.filter_map(|record| keyed(holding, record)).collect()
        })
    }
}

fn is_set(bits: &[u64], record: u32) -> bool {
    let word = bits.get(record as usize / 64);
    word.is_some_and(|word| word & (1 << (record % 64)) != 0)
}
