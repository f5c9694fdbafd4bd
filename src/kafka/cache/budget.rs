//! The memory of one core's partition stores together.
//!
//! Beside the stores, on their core. Its one rule: what can be had again costs least, so dead bytes go first, then the
//! oldest records of plain topics across all partitions, and keys of compacted topics last.

use std::collections::{BTreeMap, BTreeSet};

use super::store::PartitionStore;
use super::update::Update;
use crate::clock::UnixMillis;

/// Bytes that the stores of a core may take, and what they take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    limit_bytes: usize,
    used_bytes: usize,
}

impl Budget {
    /// A budget of which nothing is used.
    pub const fn new(limit_bytes: usize) -> Self {
        Self {
            limit_bytes,
            used_bytes: 0,
        }
    }

    /// The limit.
    pub const fn limit_bytes(&self) -> usize {
        self.limit_bytes
    }

    /// What is used, as told by [`Budget::settle`].
    pub const fn used_bytes(&self) -> usize {
        self.used_bytes
    }

    /// Whether [`Budget::relieve`] is due.
    pub const fn is_over(&self) -> bool {
        self.used_bytes > self.limit_bytes
    }

    /// Notes that a store went from `before` to `after` charged bytes.
    pub const fn settle(&mut self, before: usize, after: usize) {
        self.used_bytes = self.used_bytes.saturating_sub(before).saturating_add(after);
    }

    /// Brings the stores under the limit, with some room to spare so that this is not due at once again. Emits the
    /// updates with the partition that they belong to.
    pub fn relieve<K: Ord + Clone>(
        &mut self,
        stores: &mut BTreeMap<K, PartitionStore>,
        now: UnixMillis,
        out: &mut Vec<(K, Update)>,
    ) {
        self.used_bytes = stores.values().map(PartitionStore::charged_bytes).sum();
        if !self.is_over() {
            return;
        }
        let spare = (self.limit_bytes / 64).min(SPARE_BYTES_MAX);
        let target = self.limit_bytes - spare;
        for (partition, store) in stores.iter_mut() {
            let needed = self.used_bytes.saturating_sub(target);
            self.on_store(partition, store, out, |store, updates| {
                if needed > 0 {
                    store.reclaim(needed, now, updates);
                }
            });
        }
        for compact in [false, true] {
            self.evict(stores, compact, target, out);
        }
    }

    /// Evicts the oldest front chunk of all partitions of one kind, again and again.
    fn evict<K: Ord + Clone>(
        &mut self,
        stores: &mut BTreeMap<K, PartitionStore>,
        compact: bool,
        target: usize,
        out: &mut Vec<(K, Update)>,
    ) {
        let fronts = stores
            .iter()
            .filter(|(_, store)| store.view().policy().compact == compact)
            .filter_map(|(partition, store)| {
                Some((store.front_timestamp_ms()?, partition.clone()))
            });
        let mut fronts: BTreeSet<(i64, K)> = fronts.collect();
        while self.used_bytes > target
            && let Some((_, partition)) = fronts.pop_first()
        {
            let Some(store) = stores.get_mut(&partition) else {
                continue;
            };
            self.on_store(&partition, store, out, |store, updates| {
                store.evict(1, updates);
            });
            if let Some(timestamp_ms) = store.front_timestamp_ms() {
                fronts.insert((timestamp_ms, partition));
            }
        }
    }

    fn on_store<K: Clone>(
        &mut self,
        partition: &K,
        store: &mut PartitionStore,
        out: &mut Vec<(K, Update)>,
        act: impl FnOnce(&mut PartitionStore, &mut Vec<Update>),
    ) {
        let before = store.charged_bytes();
        let mut updates = Vec::new();
        act(store, &mut updates);
        self.settle(before, store.charged_bytes());
        out.extend(
            updates
                .into_iter()
                .map(|update| (partition.clone(), update)),
        );
    }
}

/// Room made at a time: a few chunks, a few milliseconds.
const SPARE_BYTES_MAX: usize = 4 << 20;
