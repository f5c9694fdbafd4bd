//! One core's share of the cached topic, as `kafka/topics` has it: the partitions it owns and fetches for all, and its views of those that others fetch.
//!
//! Sits under the core. Its one rule: a subscriber gets every update in order, or a snapshot instead.

use std::collections::{BTreeMap, VecDeque};

use super::core::Core;
use super::message::Message;
use super::{ITEMS, Shared};
use crate::clock::UnixMillis;
use crate::kafka::cache::{
    PartitionStore, PartitionView, Policy, Update, WalkEnd, WalkId, WalkRefused, WalkStep,
};
use crate::kafka::fetcher::{FetchedPartition, decode_into};
use crate::mapping::http_kafka::fetch::CachedTopic;
use crate::runtime::placement::{CoreId, partition_owner};

/// Updates that wait for one core with a full queue; beyond, it is sent a snapshot. Far fewer than in production: that has to happen.
const OUTBOX_MAX: usize = 3;
const UPDATES_PER_MESSAGE_MAX: usize = 2;
/// Tombstones are kept for long enough that no run outlives one.
const DELETE_RETENTION_MS: i64 = 3_600_000;
const POLICY: Policy = Policy::COMPACT;

/// The items on one core.
#[derive(Debug, Default)]
pub(super) struct Items {
    stores: BTreeMap<i32, PartitionStore>,
    /// Partitions that this core fetches, with what has not reached their subscribers yet.
    owned: BTreeMap<i32, BTreeMap<CoreId, Outbox>>,
    /// This core's own views; none where it owns the partition. Empty until the topic is open.
    views: Vec<Option<PartitionView>>,
    /// Subscriptions that the owner's queue had no room for.
    unsent: VecDeque<(CoreId, Message)>,
    /// Somebody reads the topic here.
    pub(super) is_wanted: bool,
    /// Something may have come that readers wait for.
    pub(super) is_changed: bool,
}

#[derive(Debug, Default)]
struct Outbox {
    updates: VecDeque<Update>,
    is_snapshot_due: bool,
}

impl Items {
    /// Where a partition is to be read on.
    pub(super) fn next_offset(&self, partition: i32) -> i64 {
        let store = self.stores.get(&partition);
        store.map_or(0, PartitionStore::next_offset)
    }

    pub(super) const fn is_open(&self) -> bool {
        !self.views.is_empty()
    }

    /// Starts a walk over a partition.
    pub(super) fn open_walk(&mut self, partition: usize) -> Result<WalkId, WalkRefused> {
        let opened = match self.views.get_mut(partition) {
            Some(Some(view)) => Some(view.open_walk()),
            _ => self.store_mut(partition).map(PartitionStore::open_walk),
        };
        opened.unwrap_or(Err(WalkRefused::Warming))
    }

    pub(super) fn walk_next(&mut self, partition: usize, walk: WalkId) -> WalkStep {
        let step = match self.views.get_mut(partition) {
            Some(Some(view)) => Some(view.walk_next(walk)),
            _ => self.store_mut(partition).map(|store| store.walk_next(walk)),
        };
        step.unwrap_or(WalkStep::End(WalkEnd::Lost))
    }

    pub(super) fn close_walk(&mut self, partition: usize, walk: WalkId) {
        match self.views.get_mut(partition) {
            Some(Some(view)) => view.close_walk(walk),
            _ => {
                if let Some(store) = self.store_mut(partition) {
                    store.close_walk(walk);
                }
            }
        }
    }

    fn store_mut(&mut self, partition: usize) -> Option<&mut PartitionStore> {
        self.stores.get_mut(&i32::try_from(partition).ok()?)
    }

    /// Passes updates on to all subscribers.
    fn broadcast(&mut self, partition: i32, updates: &[Update]) {
        for outbox in self.owned.entry(partition).or_default().values_mut() {
            if outbox.is_snapshot_due {
                continue;
            }
            outbox.updates.extend(updates.iter().cloned());
            if outbox.updates.len() > OUTBOX_MAX {
                outbox.updates.clear();
                outbox.is_snapshot_due = true;
            }
        }
        self.is_changed = true;
    }
}

impl CachedTopic for Items {
    fn partition_count(&self) -> usize {
        self.views.len()
    }

    fn policy(&self) -> Policy {
        POLICY
    }

    fn with_view<R>(&self, partition: usize, read: impl FnOnce(&PartitionView) -> R) -> Option<R> {
        if let Some(view) = self.views.get(partition)? {
            return Some(read(view));
        }
        let store = self.stores.get(&i32::try_from(partition).ok()?)?;
        Some(read(store.view()))
    }
}

impl Core {
    /// `run_reader`: opens the topic as soon as its metadata is known. True when that is done.
    pub(super) fn open_items(&mut self, shared: &mut Shared) -> bool {
        if self.items.is_open() {
            return true;
        }
        let known = self.shell.metadata.topic(ITEMS);
        let known = known.filter(|topic| topic.policy.is_some());
        let count = known.map_or(0, |topic| topic.leaders.len());
        if count == 0 {
            self.shell.want(ITEMS, &mut shared.fabric);
            return false;
        }
        for partition in 0..i32::try_from(count).unwrap_or(i32::MAX) {
            let owner = partition_owner(ITEMS, partition, self.cores);
            let view = (owner != self.index).then(|| PartitionView::new(POLICY));
            self.items.views.push(view);
            let reader = self.index;
            let message = Message::Subscribe { partition, reader };
            self.send_items(owner, message, shared);
        }
        self.items.is_changed = true;
        true
    }

    /// `Topics::send_or_keep`.
    fn send_items(&mut self, to: CoreId, message: Message, shared: &mut Shared) {
        if to == self.index {
            return self.handle_message(message, shared);
        }
        if !self.items.unsent.is_empty() {
            return self.items.unsent.push_back((to, message));
        }
        let number = self.number_of(to);
        if let Err(message) = shared.mailboxes.send(number, message, &mut shared.fabric) {
            self.items.unsent.push_back((to, message));
            self.resend_soon(shared);
        }
    }

    /// A core wants a partition's updates. The first one starts the fetching.
    pub(super) fn subscribe(&mut self, partition: i32, reader: CoreId, shared: &mut Shared) {
        let outbox = Outbox {
            updates: VecDeque::new(),
            is_snapshot_due: true,
        };
        let subscribers = self.items.owned.entry(partition).or_default();
        if reader != self.index {
            subscribers.insert(reader, outbox);
        }
        self.follow((ITEMS, partition), shared);
        self.flush(partition, shared);
    }

    /// Takes what was fetched of an owned partition.
    pub(super) fn store_fetched(
        &mut self,
        partition: i32,
        fetched: &FetchedPartition,
        shared: &mut Shared,
    ) {
        let now =
            UnixMillis(i64::try_from(shared.fabric.now().as_nanos() / 1_000_000).unwrap_or(0));
        let new = || PartitionStore::new(POLICY, 0, DELETE_RETENTION_MS);
        let store = self.items.stores.entry(partition).or_insert_with(new);
        let mut updates = Vec::new();
        let mut builder = store.builder();
        let decoded = decode_into(&mut builder, fetched);
        if decoded.broken.is_some() || !decoded.unreadable.is_empty() {
            shared
                .truth
                .fail(format_args!("items cannot be read: {decoded:?}"));
        }
        store.append(builder, now, &mut updates);
        store.handle_progress(
            fetched.last_stable_offset,
            fetched.log_start_offset,
            &mut updates,
        );
        if shared.fabric.random.chance(100) {
            store.maintain(now, &mut updates);
        }
        if !updates.is_empty() {
            self.items.broadcast(partition, &updates);
            self.flush(partition, shared);
        }
    }

    /// Takes updates of a partition that another core owns.
    pub(super) fn apply_updates(&mut self, partition: i32, updates: Vec<Update>, is_fresh: bool) {
        let index = usize::try_from(partition).unwrap_or(usize::MAX);
        let Some(Some(view)) = self.items.views.get_mut(index) else {
            return;
        };
        if is_fresh {
            *view = PartitionView::new(POLICY);
        }
        for update in updates {
            view.apply(update);
        }
        self.items.is_changed = true;
    }

    /// Sends what waits for the subscribers of a partition; says whether something is left.
    fn flush(&mut self, partition: i32, shared: &mut Shared) -> bool {
        let first = self.number_of(CoreId(0));
        let Some(store) = self.items.stores.get(&partition) else {
            return false;
        };
        let Some(subscribers) = self.items.owned.get_mut(&partition) else {
            return false;
        };
        let mut is_left = false;
        for (core, outbox) in subscribers {
            while outbox.is_snapshot_due || !outbox.updates.is_empty() {
                let is_fresh = outbox.is_snapshot_due;
                let updates = if is_fresh {
                    store.snapshot()
                } else {
                    let updates = outbox.updates.iter();
                    updates.take(UPDATES_PER_MESSAGE_MAX).cloned().collect()
                };
                let count = updates.len();
                let message = Message::Updates {
                    partition,
                    updates,
                    is_fresh,
                };
                let to = first + core.0;
                if shared
                    .mailboxes
                    .send(to, message, &mut shared.fabric)
                    .is_err()
                {
                    is_left = true;
                    break;
                }
                if is_fresh {
                    shared.truth.summary.snapshots += 1;
                    outbox.is_snapshot_due = false;
                    outbox.updates.clear();
                } else {
                    outbox.updates.drain(..count);
                }
            }
        }
        if is_left {
            self.resend_soon(shared);
        }
        is_left
    }

    /// Sends what waits; says whether something is left.
    pub(super) fn resend_items(&mut self, shared: &mut Shared) -> bool {
        while let Some((to, message)) = self.items.unsent.pop_front() {
            let number = self.number_of(to);
            if let Err(message) = shared.mailboxes.send(number, message, &mut shared.fabric) {
                self.items.unsent.push_front((to, message));
                break;
            }
        }
        let mut is_left = !self.items.unsent.is_empty();
        let owned: Vec<i32> = self.items.owned.keys().copied().collect();
        for partition in owned {
            is_left |= self.flush(partition, shared);
        }
        is_left
    }

    /// What waits to be sent about items: subscriptions, and the longest queue of updates.
    pub(super) fn items_waiting(&self) -> (usize, usize) {
        let outboxes = self.items.owned.values().flat_map(BTreeMap::values);
        let longest = outboxes.map(|outbox| outbox.updates.len()).max();
        (self.items.unsent.len(), longest.unwrap_or(0))
    }
}

/// The longest queue of updates that there may be.
pub(super) const UPDATES_WAITING_MAX: usize = OUTBOX_MAX;
