//! The partitions that this core owns: what is fetched goes into their stores, and from there to every core that reads them.

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::rc::Rc;

use super::{CacheMessage, Topics};
use crate::kafka::cache::{PartitionStore, Update};
use crate::kafka::client::Client;
use crate::kafka::fetcher::{FetchedPartition, PartitionKey, decode_into};
use crate::kafka::follow::{Following, Position, Sink, StartAt};
use crate::kafka::metadata::TopicPolicy;
use crate::runtime::deadline::Deadlines;
use crate::runtime::placement::CoreId;
use crate::runtime::{self};

/// Updates that wait for one core with a full queue. Beyond, they are dropped and it is sent a snapshot instead.
const OUTBOX_MAX: usize = 1024;
/// Updates in one message.
const UPDATES_PER_MESSAGE_MAX: usize = 64;

/// A partition that this core fetches.
pub(super) struct Owned {
    /// The cores that read it.
    pub(super) subscribers: BTreeMap<CoreId, Outbox>,
}

/// What has not reached a subscriber yet.
#[derive(Default)]
pub(super) struct Outbox {
    updates: VecDeque<Update>,
    /// It has to start over: it is new, or it fell behind.
    snapshot_due: bool,
}

impl Topics {
    /// A core wants a partition's updates. The first one starts the fetching.
    pub(super) fn subscribe(&self, key: PartitionKey, reader: CoreId) {
        let started = {
            let mut owned = self.inner.owned.borrow_mut();
            let started = !owned.contains_key(&key);
            let entry = owned.entry(key.clone()).or_insert_with(|| Owned {
                subscribers: BTreeMap::new(),
            });
            entry.subscribers.insert(
                reader,
                Outbox {
                    updates: VecDeque::new(),
                    snapshot_due: true,
                },
            );
            started
        };
        if started {
            Following::start(self, key);
        } else {
            self.flush(&key);
        }
    }

    /// A core wants them no more. The last one ends the fetching.
    pub(super) fn unsubscribe(&self, key: &PartitionKey, reader: CoreId) {
        let mut owned = self.inner.owned.borrow_mut();
        let Some(entry) = owned.get_mut(key) else {
            return;
        };
        entry.subscribers.remove(&reader);
        if entry.subscribers.is_empty() {
            owned.remove(key);
            self.inner.following.stop(key);
            let store = self.inner.stores.borrow_mut().remove(key);
            let freed = store.map_or(0, |store| store.charged_bytes());
            self.inner.budget.borrow_mut().settle(freed, 0);
        }
    }

    fn store_fetched(&self, fetched: &FetchedPartition) -> bool {
        let mut updates = Vec::new();
        let broken = {
            let mut stores = self.inner.stores.borrow_mut();
            let Some(store) = stores.get_mut(&fetched.key) else {
                return false;
            };
            let before = store.charged_bytes();
            let mut builder = store.builder();
            let decoded = decode_into(&mut builder, fetched);
            for (offset, error) in &decoded.unreadable {
                tracing::error!(topic = &*fetched.key.0, partition = fetched.key.1, offset, %error, "a record batch cannot be read and is left out");
            }
            if let Some(error) = &decoded.broken {
                tracing::error!(topic = &*fetched.key.0, partition = fetched.key.1, offset = builder.next_offset(), %error, "the broker's records cannot be read, asking again");
            }
            store.append(builder, runtime::unix_now(), &mut updates);
            store.handle_progress(
                fetched.last_stable_offset,
                fetched.log_start_offset,
                &mut updates,
            );
            self.inner
                .budget
                .borrow_mut()
                .settle(before, store.charged_bytes());
            decoded.broken.is_some()
        };
        self.broadcast(&fetched.key, &updates);
        self.relieve_budget();
        broken
    }

    /// Passes updates on to all subscribers.
    pub(super) fn broadcast(&self, key: &PartitionKey, updates: &[Update]) {
        if updates.is_empty() {
            return;
        }
        let local = {
            let mut owned = self.inner.owned.borrow_mut();
            let Some(entry) = owned.get_mut(key) else {
                return;
            };
            let mut local = false;
            for (core, outbox) in &mut entry.subscribers {
                if *core == self.inner.core {
                    local = true;
                } else if !outbox.snapshot_due {
                    outbox.updates.extend(updates.iter().cloned());
                    if outbox.updates.len() > OUTBOX_MAX {
                        outbox.updates.clear();
                        outbox.snapshot_due = true;
                    }
                }
            }
            local
        };
        self.flush(key);
        if local {
            self.notify_readers(&key.0, updates);
        }
    }

    /// Sends what waits in the outboxes of a partition; says whether something is left.
    fn flush(&self, key: &PartitionKey) -> bool {
        let stores = self.inner.stores.borrow();
        // Before the first fetch there is nothing to say; the snapshot goes out with it.
        let Some(store) = stores.get(key) else {
            return false;
        };
        let mut owned = self.inner.owned.borrow_mut();
        let Some(entry) = owned.get_mut(key) else {
            return false;
        };
        let mut left = false;
        for (core, outbox) in entry
            .subscribers
            .iter_mut()
            .filter(|(core, _)| **core != self.inner.core)
        {
            while outbox.snapshot_due || !outbox.updates.is_empty() {
                let fresh = outbox.snapshot_due;
                let updates = if fresh {
                    store.snapshot()
                } else {
                    outbox
                        .updates
                        .iter()
                        .take(UPDATES_PER_MESSAGE_MAX)
                        .cloned()
                        .collect()
                };
                let count = updates.len();
                let message = CacheMessage::Updates {
                    cluster: self.inner.cluster,
                    key: key.clone(),
                    updates,
                    fresh,
                };
                if (self.inner.send)(*core, message).is_err() {
                    left = true;
                    break;
                }
                if fresh {
                    outbox.snapshot_due = false;
                    outbox.updates.clear();
                } else {
                    outbox.updates.drain(..count);
                }
            }
        }
        if left {
            self.inner.resending.notify();
        }
        left
    }

    /// Sends what waits in all outboxes; says whether something is left.
    pub(super) fn flush_outboxes(&self) -> bool {
        let keys: Vec<PartitionKey> = self.inner.owned.borrow().keys().cloned().collect();
        let mut left = false;
        for key in &keys {
            left |= self.flush(key);
        }
        left
    }

    /// Brings the stores under the budget.
    fn relieve_budget(&self) {
        let mut out = Vec::new();
        {
            let mut budget = self.inner.budget.borrow_mut();
            if !budget.is_over() {
                return;
            }
            budget.relieve(
                &mut self.inner.stores.borrow_mut(),
                runtime::unix_now(),
                &mut out,
            );
        }
        self.broadcast_all(out);
    }

    /// Repacks, drops old tombstones, follows the logs' starts. Once a second.
    pub(super) fn maintain_stores(&self) {
        let now = runtime::unix_now();
        let mut out = Vec::new();
        for (key, store) in self.inner.stores.borrow_mut().iter_mut() {
            let before = store.charged_bytes();
            let mut updates = Vec::new();
            store.maintain(now, &mut updates);
            self.inner
                .budget
                .borrow_mut()
                .settle(before, store.charged_bytes());
            out.extend(updates.into_iter().map(|update| (key.clone(), update)));
        }
        self.broadcast_all(out);
        self.relieve_budget();
    }

    fn broadcast_all(&self, out: Vec<(PartitionKey, Update)>) {
        let mut by_partition: BTreeMap<PartitionKey, Vec<Update>> = BTreeMap::new();
        for (key, update) in out {
            by_partition.entry(key).or_default().push(update);
        }
        for (key, updates) in by_partition {
            self.broadcast(&key, &updates);
        }
    }
}

impl Sink for Topics {
    fn client(&self) -> &Client {
        &self.inner.client
    }

    fn deadlines(&self) -> &Rc<Deadlines> {
        &self.inner.deadlines
    }

    fn following(&self) -> &Following<Self> {
        &self.inner.following
    }

    fn start_at(&self, _key: &PartitionKey) -> StartAt {
        StartAt::Earliest
    }

    fn position(&self, key: &PartitionKey) -> Option<Position> {
        self.inner.stores.borrow().get(key).map(|store| Position {
            next_offset: store.next_offset(),
            is_ready: store.view().is_ready(),
        })
    }

    fn begin(&self, key: &PartitionKey, start_offset: i64, policy: &TopicPolicy) {
        let retention_ms = i64::try_from(policy.delete_retention.as_millis()).unwrap_or(i64::MAX);
        let policy = policy.cleanup();
        // What was acknowledged lies below the end that makes the partition ready; or in another log.
        self.inner.floors.floor(&key.0, key.1).reset();
        let mut stores = self.inner.stores.borrow_mut();
        let Some(store) = stores.get_mut(key) else {
            let store = PartitionStore::new(policy, start_offset, retention_ms);
            stores.insert(key.clone(), store);
            return;
        };
        let mut updates = Vec::new();
        store.restart(policy, start_offset, retention_ms, &mut updates);
        drop(stores);
        self.broadcast(key, &updates);
    }

    fn ingest(&self, fetched: &FetchedPartition) -> bool {
        self.store_fetched(fetched)
    }

    /// Never: what does not fit is let go of.
    fn is_full(&self, _key: &PartitionKey) -> bool {
        false
    }

    fn room(&self, _key: &PartitionKey) -> impl Future<Output = ()> {
        std::future::ready(())
    }
}
