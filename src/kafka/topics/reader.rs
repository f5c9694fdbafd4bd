//! The topics that requests of this core read: opened at the first read, closed thirty seconds after the last.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::floors::Floor;
use super::waiters::{Interest, Waiters, Waiting};
use super::{CacheMessage, LINGER, READERS_MAX, Topics};
use crate::clock::Instant;
use crate::kafka::cache::{PartitionView, Policy, Update, WalkId, WalkRefused, WalkStep};
use crate::kafka::correlation::Rounds;
use crate::kafka::error_code::ErrorCode;
use crate::kafka::fetcher::PartitionKey;
use crate::runtime::notify::Notify;
use crate::runtime::placement::{CoreId, partition_owner};
use crate::runtime::{self, with_deadline};

/// How often a topic that does not exist is asked for again.
const UNKNOWN_INTERVAL: Duration = Duration::from_millis(500);

/// How long the brokers are asked where a topic ends.
const ENDS_WAIT: Duration = Duration::from_secs(5);

/// One partition, as a reader of this core finds it.
struct Partition {
    owner: CoreId,
    /// This core's own view; none when it owns the partition, whose store has one.
    view: Option<PartitionView>,
    /// The view has begun: what comes before its first snapshot was meant for an earlier one.
    has_begun: bool,
    floor: Floor,
}

/// How far the opening of a topic has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopicState {
    /// Nothing is known yet.
    Opening,
    /// The broker gave this reason; it is asked again.
    Unknown(ErrorCode),
    /// Its partitions are known; each is warming or ready.
    Open,
}

/// A topic that is read on this core.
pub struct TopicReader {
    name: Arc<str>,
    state: Cell<TopicState>,
    partitions: RefCell<Vec<Partition>>,
    policy: Cell<Policy>,
    waiters: Waiters,
    last_read: Cell<Instant>,
    /// Kept also without readers (`options.bootstrap`).
    pinned: Cell<bool>,
    closed: Cell<bool>,
    walks_open: Cell<usize>,
    /// Who asked where the topic ends.
    ends: RefCell<Rounds<Rc<EndsTicket>>>,
}

/// Where a topic ended after somebody asked.
#[derive(Debug)]
pub struct EndsTicket {
    /// One offset each partition, once they are known; none when they cannot be found out.
    ends: RefCell<Option<Vec<i64>>>,
    is_answered: Cell<bool>,
    notify: Rc<Notify>,
}

impl EndsTicket {
    /// One past the last offset of a partition; `None` while it is not known.
    pub fn end(&self, partition: usize) -> Option<i64> {
        self.ends.borrow().as_ref()?.get(partition).copied()
    }

    /// Whether the brokers have answered, or were asked in vain.
    pub fn is_answered(&self) -> bool {
        self.is_answered.get()
    }
}

impl std::fmt::Debug for TopicReader {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("TopicReader")
            .field("name", &self.name)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

impl TopicReader {
    /// The topic.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// How far its opening has come.
    pub fn state(&self) -> TopicState {
        self.state.get()
    }

    /// How many partitions it has, 0 before it is open.
    pub fn partition_count(&self) -> usize {
        self.partitions.borrow().len()
    }

    /// Its cleanup policy; that of Kafka's defaults before it is open.
    pub fn policy(&self) -> Policy {
        self.policy.get()
    }

    /// Raises `notify` at each change of any partition that is of interest, until what is given back is dropped.
    pub fn wait(self: &Rc<Self>, interest: Interest<'_>, notify: &Rc<Notify>) -> Waiting {
        Waiting::new(self, interest, notify)
    }

    /// A partition has changed in this way.
    fn heed(&self, updates: &[Update]) {
        for update in updates {
            // A topic made anew may have another, and not every core asks after it.
            if let Update::Reset { policy, .. } = update {
                self.policy.set(*policy);
            }
        }
        self.waiters.wake(updates);
    }

    pub(super) const fn waiters(&self) -> &Waiters {
        &self.waiters
    }
}

/// The cached partitions of a topic, for whoever only looks.
#[derive(Clone, Copy, Debug)]
pub struct CachedPartitions<'t> {
    topics: &'t Topics,
    reader: &'t TopicReader,
}

impl CachedPartitions<'_> {
    /// How many partitions there are.
    pub fn partition_count(&self) -> usize {
        self.reader.partition_count()
    }

    /// The topic's cleanup policy.
    pub fn policy(&self) -> Policy {
        self.reader.policy()
    }

    /// Looks at a partition; `None` while nothing of it has been read.
    pub fn with_view<R>(
        &self,
        partition: usize,
        read: impl FnOnce(&PartitionView) -> R,
    ) -> Option<R> {
        self.topics.with_view(self.reader, partition, read)
    }
}

impl Topics {
    /// The cached partitions of a topic.
    pub fn cached<'t>(&'t self, reader: &'t TopicReader) -> CachedPartitions<'t> {
        CachedPartitions {
            topics: self,
            reader,
        }
    }
}

impl Topics {
    /// The reader of a topic, opened if it is not open; `None` when too many are.
    pub fn reader(&self, name: &str, now: Instant) -> Option<Rc<TopicReader>> {
        if let Some(reader) = self.inner.readers.borrow().get(name) {
            reader.last_read.set(now);
            return Some(reader.clone());
        }
        if self.inner.readers.borrow().len() >= READERS_MAX {
            return None;
        }
        let name: Arc<str> = Arc::from(name);
        let reader = Rc::new(TopicReader {
            name: name.clone(),
            state: Cell::new(TopicState::Opening),
            partitions: RefCell::default(),
            policy: Cell::new(Policy::DELETE),
            waiters: Waiters::default(),
            last_read: Cell::new(now),
            pinned: Cell::new(false),
            closed: Cell::new(false),
            walks_open: Cell::new(0),
            ends: RefCell::default(),
        });
        self.inner.readers.borrow_mut().insert(name, reader.clone());
        runtime::spawn(run_reader(self.clone(), reader.clone()));
        Some(reader)
    }

    /// Opens a topic for good; `None` when too many are open.
    pub fn pin(&self, name: &str, now: Instant) -> Option<Rc<TopicReader>> {
        let reader = self.reader(name, now)?;
        reader.pinned.set(true);
        Some(reader)
    }

    /// Whether every partition of a topic has been read to its end.
    pub fn is_ready(&self, reader: &TopicReader) -> bool {
        let count = reader.partition_count();
        count > 0
            && (0..count).all(|index| {
                self.with_view(reader, index, PartitionView::is_ready)
                    .unwrap_or(false)
            })
    }

    /// Whether the partition has been read as far as this process has acknowledged writes to it.
    pub fn has_reached_floor(&self, reader: &TopicReader, partition: usize) -> bool {
        let Some(required) = reader
            .partitions
            .borrow()
            .get(partition)
            .map(|partition| partition.floor.required())
        else {
            return false;
        };
        required == 0
            || self
                .with_view(reader, partition, |view| view.next_offset() >= required)
                .unwrap_or(false)
    }

    /// Whether the partition has been read up to `end`.
    pub fn has_reached(&self, reader: &TopicReader, partition: usize, end: i64) -> bool {
        self.with_view(reader, partition, |view| view.next_offset() >= end)
            .unwrap_or(false)
    }

    /// Asks the brokers where a topic ends; `notify` is raised when they have answered. One question is under way at a time, however many ask.
    pub fn ask_ends(
        &self,
        reader: &Rc<TopicReader>,
        notify: &Rc<Notify>,
        now: Instant,
    ) -> Rc<EndsTicket> {
        let ticket = Rc::new(EndsTicket {
            ends: RefCell::new(None),
            is_answered: Cell::new(false),
            notify: notify.clone(),
        });
        if reader.ends.borrow_mut().ask(ticket.clone()) {
            runtime::spawn(run_ends(self.clone(), reader.clone(), now));
        }
        ticket
    }

    /// Reads a partition's view; `None` while its owner has not read anything yet.
    pub fn with_view<R>(
        &self,
        reader: &TopicReader,
        partition: usize,
        read: impl FnOnce(&PartitionView) -> R,
    ) -> Option<R> {
        let partitions = reader.partitions.borrow();
        let found = partitions.get(partition)?;
        if let Some(view) = &found.view {
            // Before that, it does not even know where the log starts.
            found.has_begun.then(|| read(view))
        } else {
            let key = (reader.name.clone(), i32::try_from(partition).ok()?);
            self.inner
                .stores
                .borrow()
                .get(&key)
                .map(|store| read(store.view()))
        }
    }

    /// Starts a walk over a partition; see [`PartitionView::open_walk`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn open_walk(&self, reader: &TopicReader, partition: usize) -> Result<WalkId, WalkRefused> {
        let opened = self.with_walks(
            reader,
            partition,
            PartitionView::open_walk,
            crate::kafka::cache::PartitionStore::open_walk,
        );
        let opened = opened.unwrap_or(Err(WalkRefused::Warming));
        if opened.is_ok() {
            reader.walks_open.set(reader.walks_open.get() + 1);
        }
        opened
    }

    /// The next record of a walk.
    pub fn walk_next(&self, reader: &TopicReader, partition: usize, walk: WalkId) -> WalkStep {
        let lost = WalkStep::End(crate::kafka::cache::WalkEnd::Lost);
        self.with_walks(
            reader,
            partition,
            |view| view.walk_next(walk),
            |store| store.walk_next(walk),
        )
        .unwrap_or(lost)
    }

    /// Ends a walk.
    pub fn close_walk(&self, reader: &TopicReader, partition: usize, walk: WalkId) {
        self.with_walks(
            reader,
            partition,
            |view| view.close_walk(walk),
            |store| store.close_walk(walk),
        );
        reader
            .walks_open
            .set(reader.walks_open.get().saturating_sub(1));
        reader.last_read.set(runtime::now());
    }

    fn with_walks<R>(
        &self,
        reader: &TopicReader,
        partition: usize,
        remote: impl FnOnce(&mut PartitionView) -> R,
        own: impl FnOnce(&mut crate::kafka::cache::PartitionStore) -> R,
    ) -> Option<R> {
        let mut partitions = reader.partitions.borrow_mut();
        if let Some(view) = &mut partitions.get_mut(partition)?.view {
            Some(remote(view))
        } else {
            let key = (reader.name.clone(), i32::try_from(partition).ok()?);
            self.inner.stores.borrow_mut().get_mut(&key).map(own)
        }
    }

    /// Takes updates of a partition that another core owns.
    pub(super) fn apply_updates(&self, key: &PartitionKey, updates: &[Update], fresh: bool) {
        let Some(reader) = self.inner.readers.borrow().get(&key.0).cloned() else {
            return;
        };
        {
            let mut partitions = reader.partitions.borrow_mut();
            let Some(partition) = usize::try_from(key.1)
                .ok()
                .and_then(|index| partitions.get_mut(index))
            else {
                return;
            };
            let Some(view) = &mut partition.view else {
                return;
            };
            if fresh {
                *view = view.renewed(updates);
                partition.has_begun = true;
            } else if partition.has_begun {
                for update in updates {
                    view.apply(update.clone());
                }
            } else {
                return;
            }
        }
        reader.heed(updates);
    }

    pub(super) fn notify_readers(&self, topic: &Arc<str>, updates: &[Update]) {
        let reader = self.inner.readers.borrow().get(topic).cloned();
        if let Some(reader) = reader {
            reader.heed(updates);
        }
    }

    /// Closes topics that nobody has read for a while.
    pub(super) fn close_unread(&self, now: Instant) {
        let unread: Vec<Rc<TopicReader>> = {
            let readers = self.inner.readers.borrow();
            let is_unread = |reader: &&Rc<TopicReader>| {
                !reader.pinned.get()
                    && reader.walks_open.get() == 0
                    && reader.waiters.is_empty()
                    && now.saturating_duration_since(reader.last_read.get()) > LINGER
            };
            readers.values().filter(is_unread).cloned().collect()
        };
        for reader in unread {
            self.inner.readers.borrow_mut().remove(&reader.name);
            reader.closed.set(true);
            let owners: Vec<CoreId> = reader
                .partitions
                .borrow()
                .iter()
                .map(|partition| partition.owner)
                .collect();
            for (partition, owner) in (0..).zip(owners) {
                let key = (reader.name.clone(), partition);
                self.send_or_keep(
                    owner,
                    CacheMessage::Unsubscribe {
                        cluster: self.inner.cluster,
                        key,
                        reader: self.inner.core,
                    },
                );
            }
        }
    }
}

/// Asks where a topic ends, for as long as somebody wants to know.
async fn run_ends(topics: Topics, reader: Rc<TopicReader>, mut now: Instant) {
    loop {
        let until = now + ENDS_WAIT;
        let ends = topics.client().end_offsets(&reader.name, until).await;
        let (answered, is_more) = reader.ends.borrow_mut().finish();
        for ticket in answered {
            ticket.ends.borrow_mut().clone_from(&ends);
            ticket.is_answered.set(true);
            ticket.notify.notify();
        }
        if !is_more {
            return;
        }
        now = runtime::now();
    }
}

/// Opens a topic as soon as its metadata is known, and adds the partitions that it gets later.
async fn run_reader(topics: Topics, reader: Rc<TopicReader>) {
    let changed = Rc::new(Notify::default());
    let client = topics.client().clone();
    client.on_change(&changed);
    client.want(&reader.name, false);
    let deadline = topics.inner.deadlines.deadline();
    while !reader.closed.get() {
        let known = client.topic(&reader.name);
        let wait = match known {
            Some(topic) if !topic.leaders.is_empty() && topic.policy.is_some() => {
                // Once it is read, who reads it knows better (`heed`).
                if let Some(policy) = topic.policy.filter(|_| reader.partition_count() == 0) {
                    reader.policy.set(policy.cleanup());
                }
                open_partitions(&topics, &reader, topic.leaders.len());
                LINGER
            }
            Some(topic) => {
                if let Some(error) = topic.error {
                    reader.state.set(TopicState::Unknown(error));
                    reader.waiters.wake_all();
                    client.want(&reader.name, false);
                }
                UNKNOWN_INTERVAL
            }
            None => UNKNOWN_INTERVAL,
        };
        let _ = with_deadline(&deadline, runtime::now() + wait, changed.notified()).await;
    }
    client.forget_change(&changed);
}

fn open_partitions(topics: &Topics, reader: &Rc<TopicReader>, count: usize) {
    let first = reader.partition_count();
    for index in first..count {
        let Ok(partition) = i32::try_from(index) else {
            return;
        };
        let owner = partition_owner(&reader.name, partition, topics.inner.cores);
        let view = (owner != topics.inner.core).then(|| PartitionView::new(reader.policy.get()));
        let floor = topics.inner.floors.floor(&reader.name, partition);
        reader.partitions.borrow_mut().push(Partition {
            owner,
            view,
            has_begun: false,
            floor,
        });
        let key = (reader.name.clone(), partition);
        topics.send_or_keep(
            owner,
            CacheMessage::Subscribe {
                cluster: topics.inner.cluster,
                key,
                reader: topics.inner.core,
            },
        );
    }
    if first < count || reader.state.get() != TopicState::Open {
        reader.state.set(TopicState::Open);
        reader.waiters.wake_all();
    }
}
