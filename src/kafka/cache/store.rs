//! The owner core's side of a partition: takes what was fetched, decides what stays in memory, tells every view.
//!
//! Between the fetcher and the views. Its one rule: whatever it does to its own view it emits, in order, so that every
//! other view is the same.
//!
//! ```text
//!  fetch ─▶ ChunkBuilder ─▶ append ─┐
//!  fetch ─▶ handle_progress ────────┼─▶ own view ─▶ updates ─▶ views of other cores
//!  timer ─▶ maintain (repack) ──────┤
//!  budget ─▶ reclaim, evict ────────┘
//! ```
//!
//! Every method that emits appends to `out`; a call emits a bounded number of updates and copies a bounded number of
//! bytes.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use super::chunk::{Chunk, ChunkId};
use super::chunk_builder::{CHUNK_BYTES_TARGET, ChunkBuilder};
use super::holdings::HeldChunk;
use super::repack::{self, Run};
use super::update::{Progress, Update};
use super::view::{PartitionView, Policy};
use super::walk::{WalkId, WalkRefused, WalkStep};
use crate::clock::UnixMillis;

/// Bytes of chunks that stay as they came for a moment.
const FRESH_BYTES_MAX: usize = 256 << 10;

/// The authoritative content of one partition's cache, on its owner core.
#[derive(Debug)]
pub struct PartitionStore {
    view: PartitionView,
    next_chunk_id: u64,
    delete_retention_ms: i64,
    /// Base offsets of new chunks, to be looked at for merging with their neighbours.
    small: BTreeSet<i64>,
    /// What lies from here on stays as it came, for those who follow the end: it came since the last maintenance but one, and is no more than [`FRESH_BYTES_MAX`].
    fresh_from: i64,
    /// Base offsets and bytes of the chunks from there on.
    fresh: VecDeque<(i64, usize)>,
    /// Where the end was at the last maintenance.
    maintained_to: i64,
    /// Where the sweep for old tombstones goes on.
    sweep_offset: i64,
    /// The end of the log as first seen: reading up to here makes it ready.
    warm_at: Option<i64>,
    /// The log's start as the broker said it; the view follows in steps.
    log_start_offset: i64,
}

impl PartitionStore {
    /// An empty store whose first fetch is from `start_offset`. Tombstones are dropped when they are older than
    /// `delete_retention_ms` (`delete.retention.ms` of the topic).
    pub fn new(policy: Policy, start_offset: i64, delete_retention_ms: i64) -> Self {
        let mut store = Self {
            view: PartitionView::new(policy),
            next_chunk_id: 0,
            delete_retention_ms,
            small: BTreeSet::new(),
            fresh_from: start_offset,
            fresh: VecDeque::new(),
            maintained_to: start_offset,
            sweep_offset: 0,
            warm_at: None,
            log_start_offset: 0,
        };
        store.view.apply(Update::Reset {
            start_offset,
            policy,
        });
        store
    }

    /// The owner core's own view.
    pub const fn view(&self) -> &PartitionView {
        &self.view
    }

    /// The offset to fetch from.
    pub const fn next_offset(&self) -> i64 {
        self.view.next_offset()
    }

    /// Memory of this store and its view: chunks, whole, and index.
    pub fn charged_bytes(&self) -> usize {
        self.view.chunk_bytes() + self.view.index_bytes()
    }

    /// What brings a new view to the present state; what is emitted after it continues it.
    pub fn snapshot(&self) -> Vec<Update> {
        let start_offset = self.view.evicted_below();
        let chunks = self.view.held().from(i64::MIN);
        let policy = self.view.policy();
        [Update::Reset {
            start_offset,
            policy,
        }]
        .into_iter()
        .chain(chunks.map(|(_, holding)| restore(holding)))
        .chain([Update::Progress(self.view.progress())])
        .collect()
    }

    /// A builder for the batches of the next fetch response.
    pub const fn builder(&self) -> ChunkBuilder {
        ChunkBuilder::new(self.next_offset())
    }

    /// Takes what a fetch brought. A builder that is not from the present [`PartitionStore::next_offset`] (opened
    /// before a reset, or a second one for the same response) is dropped whole: it would leave a gap or repeat.
    pub fn append(&mut self, built: ChunkBuilder, now: UnixMillis, out: &mut Vec<Update>) {
        if built.start_offset() != self.next_offset() {
            return;
        }
        let next_offset = built.next_offset();
        let chunks = built.finish(&mut self.next_chunk_id);
        let appended: usize = chunks.iter().map(Chunk::charged_bytes).sum();
        // Before the new chunks, not after: who follows the end should find every version of what just came.
        self.repack(COPY_BYTES_MIN + COPIES_PER_BYTE * appended, now, out);
        for chunk in chunks {
            self.small.insert(chunk.base_offset());
            self.fresh
                .push_back((chunk.base_offset(), chunk.charged_bytes()));
            self.emit(Update::Append(Arc::new(chunk)), out);
        }
        self.age(self.fresh_from);
        let progress = self.view.progress();
        self.emit_progress(
            Progress {
                next_offset,
                ..progress
            },
            out,
        );
    }

    /// Takes what a fetch response says about the partition: its last stable offset and the log's start; negative ones
    /// (unknown) are ignored. A start that goes back means another log (topic created anew) or a replica that has not
    /// deleted as much yet; they cannot be told apart here, so it resets, which costs a second read but is never wrong.
    pub fn handle_progress(
        &mut self,
        last_stable_offset: i64,
        log_start_offset: i64,
        out: &mut Vec<Update>,
    ) {
        if (0..self.log_start_offset).contains(&log_start_offset) {
            self.reset(log_start_offset, out);
        }
        self.log_start_offset = self.log_start_offset.max(log_start_offset);
        if last_stable_offset >= 0 {
            self.warm_at.get_or_insert(last_stable_offset);
        }
        let next_offset = self.next_offset().max(self.log_start_offset);
        let progress = self.view.progress();
        self.emit_progress(
            Progress {
                next_offset,
                end_offset: last_stable_offset,
                log_start_offset: self.next_log_start(),
                ..progress
            },
            out,
        );
    }

    /// Does what is due with time or was too much for one call: repacking, old tombstones, a log's start that moved
    /// far. To be called about once a second, and bounded like one [`PartitionStore::append`].
    pub fn maintain(&mut self, now: UnixMillis, out: &mut Vec<Update>) {
        let until = std::mem::replace(&mut self.maintained_to, self.view.next_offset());
        self.age(until);
        self.repack(COPY_BYTES_MIN, now, out);
        let progress = Progress {
            log_start_offset: self.next_log_start(),
            ..self.view.progress()
        };
        self.emit_progress(progress, out);
    }

    /// Frees `bytes_needed` from chunks that are at least an eighth dead, if there are such. Returns bytes freed.
    pub fn reclaim(
        &mut self,
        bytes_needed: usize,
        now: UnixMillis,
        out: &mut Vec<Update>,
    ) -> usize {
        let before = self.charged_bytes();
        let mut worth: Vec<(usize, i64)> = self
            .view
            .held()
            .from(i64::MIN)
            .map(|(_, holding)| (holding.dead_bytes(), holding))
            .filter(|(dead, holding)| dead * 8 >= holding.chunk.all_record_bytes())
            .map(|(dead, holding)| (dead, holding.chunk.base_offset()))
            .collect();
        worth.sort_unstable();
        while before.saturating_sub(self.charged_bytes()) < bytes_needed
            && let Some((_, base_offset)) = worth.pop()
        {
            if let Some(run) = Run::of_one(self.view.held(), base_offset) {
                self.replace(&run, now, out);
            }
        }
        before.saturating_sub(self.charged_bytes())
    }

    /// Gives up chunks from the front until `bytes_needed` are free or nothing is left. Returns bytes freed.
    ///
    /// On a compacted topic this loses keys, so only when [`PartitionStore::reclaim`] has nothing more to give. Always
    /// from the front: were a newer chunk to go first, a superseded record of one of its keys could pass for the newest.
    pub fn evict(&mut self, bytes_needed: usize, out: &mut Vec<Update>) -> usize {
        let before = self.charged_bytes();
        let mut bytes = 0;
        let mut evicted_below = self.view.evicted_below();
        let mut chunks = Vec::new();
        for (_, holding) in self.view.held().from(i64::MIN) {
            if bytes >= bytes_needed {
                break;
            }
            bytes += holding.charged_bytes();
            evicted_below = holding.chunk.next_offset();
            chunks.push(holding.chunk.id());
        }
        if !chunks.is_empty() {
            self.emit(
                Update::Evict {
                    chunks,
                    evicted_below,
                },
                out,
            );
        }
        before.saturating_sub(self.charged_bytes())
    }

    /// Begins again, empty, at `start_offset`: after a truncation, an offset out of range, or a change of leader that
    /// lost records.
    pub fn reset(&mut self, start_offset: i64, out: &mut Vec<Update>) {
        self.restart(
            self.view.policy(),
            start_offset,
            self.delete_retention_ms,
            out,
        );
    }

    /// [`PartitionStore::reset`] where the topic may have been created anew, with another configuration.
    pub fn restart(
        &mut self,
        policy: Policy,
        start_offset: i64,
        delete_retention_ms: i64,
        out: &mut Vec<Update>,
    ) {
        self.delete_retention_ms = delete_retention_ms;
        self.warm_at = None;
        self.log_start_offset = 0;
        self.small.clear();
        (self.fresh_from, self.maintained_to) = (start_offset, start_offset);
        self.fresh.clear();
        self.sweep_offset = 0;
        self.emit(
            Update::Reset {
                start_offset,
                policy,
            },
            out,
        );
    }

    /// [`PartitionView::open_walk`] on the owner core.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn open_walk(&mut self) -> Result<WalkId, WalkRefused> {
        self.view.open_walk()
    }

    /// [`PartitionView::walk_next`] on the owner core.
    pub fn walk_next(&mut self, walk: WalkId) -> WalkStep {
        self.view.walk_next(walk)
    }

    /// [`PartitionView::close_walk`] on the owner core.
    pub fn close_walk(&mut self, walk: WalkId) {
        self.view.close_walk(walk);
    }

    /// When the oldest of what would go first was written, for the choice between partitions.
    pub(super) fn front_timestamp_ms(&self) -> Option<i64> {
        let (_, holding) = self.view.held().from(i64::MIN).next()?;
        Some(holding.chunk.timestamp_ms_max())
    }

    fn emit(&mut self, update: Update, out: &mut Vec<Update>) {
        self.view.apply(update.clone());
        out.push(update);
    }

    fn emit_progress(&mut self, mut progress: Progress, out: &mut Vec<Update>) {
        progress.ready |= self
            .warm_at
            .is_some_and(|warm_at| progress.next_offset >= warm_at);
        progress.end_offset = progress.end_offset.max(progress.next_offset);
        if progress != self.view.progress() {
            self.emit(Update::Progress(progress), out);
        }
    }

    /// How far the view's log start may go in one step: dropping a record costs an index update on every core.
    fn next_log_start(&self) -> i64 {
        let mut records = 0;
        for (_, holding) in self.view.held().from(i64::MIN) {
            records += holding.chunk.record_count();
            if holding.chunk.next_offset() >= self.log_start_offset {
                break;
            }
            if records >= DROPPED_RECORDS_MAX {
                return holding.chunk.next_offset();
            }
        }
        self.log_start_offset
    }

    /// What lies below `until` is no longer fresh, nor what is more than there may be.
    fn age(&mut self, until: i64) {
        let mut bytes: usize = self.fresh.iter().map(|(_, bytes)| bytes).sum();
        while let Some((base_offset, own)) = self.fresh.front()
            && (*base_offset < until || bytes > FRESH_BYTES_MAX)
        {
            bytes -= own;
            self.fresh.pop_front();
        }
        let first = self.fresh.front().map(|(base_offset, _)| *base_offset);
        self.fresh_from = first.unwrap_or_else(|| self.view.next_offset());
    }

    fn repack(&mut self, allowance_bytes: usize, now: UnixMillis, out: &mut Vec<Update>) {
        self.sweep_tombstones(now, out);
        let mut copied = 0;
        while copied < allowance_bytes
            && let Some(run) = self.next_run()
        {
            copied += run.live_bytes() + REPLACE_BYTES;
            self.replace(&run, now, out);
        }
    }

    fn next_run(&mut self) -> Option<Run> {
        let held = self.view.held();
        let is_old = |&base_offset: &i64| base_offset < self.fresh_from;
        if let Some(&base_offset) = held.half_dead().first().filter(|first| is_old(first))
            && let Some(run) = repack::half_dead_run(held, base_offset, self.fresh_from)
        {
            return Some(run);
        }
        while self.small.first().is_some_and(is_old)
            && let Some(base_offset) = self.small.pop_first()
        {
            if let Some(run) = repack::small_run(held, base_offset, self.fresh_from) {
                return Some(run);
            }
        }
        None
    }

    fn replace(&mut self, run: &Run, now: UnixMillis, out: &mut Vec<Update>) {
        let held = self.view.held();
        let chunks = run.slots.iter().filter_map(|&slot| held.get(slot));
        let removed = chunks.map(|holding| holding.chunk.id()).collect();
        let keep = |chunk: &Chunk, record| !self.is_old_tombstone(chunk, record, now);
        let merged = repack::merge(held, run, keep);
        let added = merged.and_then(|(draft, next_offset)| {
            let chunk = draft.seal(ChunkId(self.next_chunk_id), next_offset)?;
            self.next_chunk_id += 1;
            Some(Arc::new(chunk))
        });
        if let Some(chunk) = &added {
            self.small.insert(chunk.base_offset());
        }
        self.emit(Update::Replace { removed, added }, out);
    }

    fn is_old_tombstone(&self, chunk: &Chunk, record: u32, now: UnixMillis) -> bool {
        self.may_drop_tombstones()
            && chunk.key_hash(record).is_some()
            && chunk.is_tombstone(record)
            && (chunk.timestamp_ms(record)).is_some_and(|written| self.is_old(written, now))
    }

    /// Only while nothing was given up: what was deleted may still lie where the cache does not reach, and be found there by whoever looks in Kafka.
    fn may_drop_tombstones(&self) -> bool {
        self.view.policy().compact && self.view.evicted_below() <= self.view.log_start_offset()
    }

    fn is_old(&self, timestamp_ms: i64, now: UnixMillis) -> bool {
        timestamp_ms.saturating_add(self.delete_retention_ms) < now.0
    }

    /// Looks at a few chunks, and repacks those that old tombstones make half dead.
    fn sweep_tombstones(&mut self, now: UnixMillis, out: &mut Vec<Update>) {
        if !self.may_drop_tombstones() {
            return;
        }
        for _ in 0..SWEPT_CHUNKS_MAX {
            let next = self.view.held().from(self.sweep_offset).next();
            let Some((slot, holding)) = next else {
                self.sweep_offset = 0;
                return;
            };
            self.sweep_offset = holding.chunk.next_offset();
            let reclaimable = holding.dead_bytes() + holding.tombstone_bytes;
            if holding.tombstone_bytes > 0
                && reclaimable * 2 >= holding.chunk.all_record_bytes()
                && self.is_old(holding.chunk.timestamp_ms_max(), now)
            {
                let run = Run::new(slot, holding);
                self.replace(&run, now, out);
            }
        }
    }
}

fn restore(holding: &HeldChunk) -> Update {
    Update::Restore {
        chunk: holding.chunk.clone(),
        dead: holding.dead_bits().into(),
    }
}

/// Bytes that one call may copy in any case, beside one chunk: half a millisecond.
const COPY_BYTES_MIN: usize = CHUNK_BYTES_TARGET;
/// Bytes that it may copy for each one appended: more than repacking needs in the long run, so that no backlog stays.
const COPIES_PER_BYTE: usize = 8;
/// What replacing a chunk costs beside the copying, as bytes: bounds the updates of a call.
const REPLACE_BYTES: usize = 4096;
/// Records that a moved log start drops in one step, beside one chunk: a few milliseconds on each core.
const DROPPED_RECORDS_MAX: u32 = 65_536;
const SWEPT_CHUNKS_MAX: usize = 4;
