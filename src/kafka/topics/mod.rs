//! The topics that are read on one core: the partitions it owns and fetches for all, and the views it keeps of those that others fetch. The shell around
//! [`super::cache`] and [`super::fetcher`].
//!
//! ```text
//!  broker ─ poll lane ─▶ owner: decode once ─▶ PartitionStore ──▶ local readers
//!                                                │ Updates (Arc chunks), in order
//!                                                ▼
//!                                             mailbox of each core that reads the topic ─▶ its PartitionView ─▶ its readers
//! ```
//! Rule: a reader is never told less than the truth: not opened, warming and not cached are answers of their own.

mod cold;
mod cold_range;
pub mod floors;
mod owner;
mod reader;
mod waiters;

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::cache::{Budget, PartitionStore, Update};
use super::client::Client;
use super::fetcher::PartitionKey;
use super::follow::Following;
use crate::clock::Instant;
use crate::runtime::deadline::Deadlines;
use crate::runtime::placement::CoreId;
use crate::runtime::{self};
pub use cold::{ColdFault, ColdQuery, ColdRecord, RecordMatcher, find_cold};
use floors::Floors;
use owner::Owned;
pub use reader::{CachedPartitions, EndsTicket, TopicReader, TopicState};
pub use waiters::{Interest, Waiting};

/// How long a topic without readers is kept.
const LINGER: Duration = Duration::from_secs(30);
/// Topics that one core reads at a time; beyond, others are refused until some are closed.
const READERS_MAX: usize = 4096;
/// How often unsent messages are tried again, and how often stores are maintained.
const RESEND_INTERVAL: Duration = Duration::from_millis(1);
const MAINTENANCE_INTERVAL: Duration = Duration::from_secs(1);

/// What the cores tell each other about cached partitions. All of it travels in the data queues.
#[derive(Clone, Debug)]
pub enum CacheMessage {
    /// A core wants a partition's updates. To its owner, which answers with `Updates { fresh: true }`. Refused: sent again a millisecond later.
    Subscribe {
        /// Which cluster of the plan.
        cluster: usize,
        /// The partition.
        key: PartitionKey,
        /// Who wants them.
        reader: CoreId,
    },
    /// A core wants them no more. Nobody answers. Refused: sent again a millisecond later.
    Unsubscribe {
        /// Which cluster of the plan.
        cluster: usize,
        /// The partition.
        key: PartitionKey,
        /// Who wanted them.
        reader: CoreId,
    },
    /// What happened to a partition. From its owner to each subscriber, nobody answers. Refused: kept in the subscriber's outbox and sent again; an outbox that
    /// overflows is replaced by a snapshot.
    Updates {
        /// Which cluster of the plan.
        cluster: usize,
        /// The partition.
        key: PartitionKey,
        /// In order.
        updates: Vec<Update>,
        /// Whether this is a snapshot that replaces all that was there.
        fresh: bool,
    },
}

impl CacheMessage {
    /// Which cluster of the plan it is about.
    pub const fn cluster(&self) -> usize {
        match self {
            Self::Subscribe { cluster, .. }
            | Self::Unsubscribe { cluster, .. }
            | Self::Updates { cluster, .. } => *cluster,
        }
    }
}

/// Sends a message to another core; gives it back when that core's queue is full.
pub type SendToCore = Box<dyn Fn(CoreId, CacheMessage) -> Result<(), CacheMessage>>;

/// What [`Topics`] needs from the core it lives on.
pub struct TopicsParts {
    /// This core, and how many there are.
    pub core: CoreId,
    /// How many cores there are.
    pub cores: usize,
    /// Which cluster of the plan.
    pub cluster: usize,
    /// The core's client of that cluster.
    pub client: Client,
    /// The core's timer.
    pub deadlines: Rc<Deadlines>,
    /// What acknowledged writes require readers to see.
    pub floors: Arc<Floors>,
    /// The way to the other cores.
    pub send: SendToCore,
    /// Bytes of cached chunks on this core.
    pub budget_bytes: usize,
}

impl fmt::Debug for TopicsParts {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("TopicsParts")
            .field("core", &self.core)
            .finish_non_exhaustive()
    }
}

/// The topics of one cluster on one core. Clones are the same.
#[derive(Clone)]
pub struct Topics {
    inner: Rc<Inner>,
}

impl fmt::Debug for Topics {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Topics")
            .field("core", &self.inner.core)
            .field("cluster", &self.inner.cluster)
            .finish_non_exhaustive()
    }
}

struct Inner {
    core: CoreId,
    cores: usize,
    cluster: usize,
    client: Client,
    deadlines: Rc<Deadlines>,
    floors: Arc<Floors>,
    send: SendToCore,
    readers: RefCell<HashMap<Arc<str>, Rc<TopicReader>>>,
    /// Apart from `owned`, because the budget works on all of them at once.
    stores: RefCell<BTreeMap<PartitionKey, PartitionStore>>,
    owned: RefCell<BTreeMap<PartitionKey, Owned>>,
    budget: RefCell<Budget>,
    following: Following<Topics>,
    /// Subscriptions that the owner's queue had no room for.
    unsent: RefCell<VecDeque<(CoreId, CacheMessage)>>,
    resending: runtime::notify::Notify,
}

impl Topics {
    /// Starts with no topic.
    pub fn new(parts: TopicsParts) -> Self {
        let inner = Rc::new(Inner {
            core: parts.core,
            cores: parts.cores,
            cluster: parts.cluster,
            client: parts.client,
            deadlines: parts.deadlines,
            floors: parts.floors,
            send: parts.send,
            readers: RefCell::default(),
            stores: RefCell::default(),
            owned: RefCell::default(),
            budget: RefCell::new(Budget::new(parts.budget_bytes)),
            following: Following::default(),
            unsent: RefCell::default(),
            resending: runtime::notify::Notify::default(),
        });
        let topics = Self { inner };
        runtime::spawn(run_resend(topics.clone()));
        runtime::spawn(run_maintenance(topics.clone()));
        topics
    }

    /// Takes a message of another core.
    pub fn handle_message(&self, message: CacheMessage) {
        match message {
            CacheMessage::Subscribe { key, reader, .. } => self.subscribe(key, reader),
            CacheMessage::Unsubscribe { key, reader, .. } => self.unsubscribe(&key, reader),
            CacheMessage::Updates {
                key,
                updates,
                fresh,
                ..
            } => self.apply_updates(&key, &updates, fresh),
        }
    }

    /// Bytes that the cached chunks of this core's partitions take.
    pub fn cached_bytes(&self) -> usize {
        self.inner.budget.borrow().used_bytes()
    }

    /// Requests that wait for a topic to change.
    pub fn waiters(&self) -> usize {
        let readers = self.inner.readers.borrow();
        readers.values().map(|reader| reader.waiters().len()).sum()
    }

    /// The most bytes they may take.
    pub fn budget_bytes(&self) -> usize {
        self.inner.budget.borrow().limit_bytes()
    }

    /// How far this core is behind the brokers in what it fetches: each topic with the offsets that it has not read, of all its partitions.
    pub fn lags(&self) -> BTreeMap<Arc<str>, u64> {
        let mut lags: BTreeMap<Arc<str>, u64> = BTreeMap::new();
        for ((topic, _), store) in &*self.inner.stores.borrow() {
            let view = store.view();
            let unread = view.end_offset().saturating_sub(view.next_offset());
            *lags.entry(topic.clone()).or_default() += u64::try_from(unread).unwrap_or(0);
        }
        lags
    }

    /// The client they are fetched with.
    pub fn client(&self) -> &Client {
        &self.inner.client
    }

    fn send_or_keep(&self, to: CoreId, message: CacheMessage) {
        if to == self.inner.core {
            return self.handle_message(message);
        }
        // Behind one that waits, or an unsubscription could overtake its subscription.
        let mut unsent = self.inner.unsent.borrow_mut();
        if !unsent.is_empty() {
            return unsent.push_back((to, message));
        }
        if let Err(message) = (self.inner.send)(to, message) {
            unsent.push_back((to, message));
            self.inner.resending.notify();
        }
    }

    /// Sends what waits; says whether something is left.
    fn resend(&self) -> bool {
        let mut unsent = self.inner.unsent.borrow_mut();
        while let Some((to, message)) = unsent.pop_front() {
            if let Err(message) = (self.inner.send)(to, message) {
                unsent.push_front((to, message));
                break;
            }
        }
        let left = !unsent.is_empty();
        drop(unsent);
        self.flush_outboxes() || left
    }
}

async fn run_resend(topics: Topics) {
    loop {
        topics.inner.resending.notified().await;
        while topics.resend() {
            runtime::sleep(RESEND_INTERVAL).await;
        }
    }
}

async fn run_maintenance(topics: Topics) {
    let mut closed_at = Instant::ZERO;
    loop {
        runtime::sleep(MAINTENANCE_INTERVAL).await;
        topics.maintain_stores();
        let now = runtime::now();
        if now.saturating_duration_since(closed_at) > LINGER / 10 {
            closed_at = now;
            topics.close_unread(now);
        }
    }
}
