//! Replies on one core: the reply partitions it owns and looks through, the exchanges whose ids are its own, and the requests of its clients that wait. The shell
//! around [`super::correlation`].
//!
//! ```text
//!  request on core A ── Submit, Watch ──▶ core of hash(id): Shard ── produce ──▶ Kafka
//!        ▲                                   │    ▲
//!        └──────────── Told ─────────────────┘    └── Indexed ── core that owns the reply partition ◀── fetch
//!
//!  listener, or whoever looks ── Listen, Look ──▶ the same Shard ── Passed, Missed, Looked ──▶ listener
//! ```
//! Rule: between two cores messages keep their order, and none but a new request is ever refused: what does not fit waits at the sender. What is
//! passed to listeners is dropped instead when too much waits, and they are told: it is in Kafka.

mod listening;
mod passing;
mod pending;
mod scans;
mod shards;
#[cfg(test)]
mod tests;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::client::Client;
use super::correlation::{
    CorrelationId, Limits, Looked, Missed, Place, ReplyRecord, SeenReply, Verdict, Waiter,
};
use super::fetcher::PartitionKey;
use super::follow::Following;
use super::producer::{Acks, Record};
use crate::runtime;
use crate::runtime::deadline::Deadlines;
use crate::runtime::notify::Notify;
use crate::runtime::placement::{CoreId, id_owner};
use listening::{Ear, LookSlot};
pub use listening::{Heard, Listening, Looking};
use passing::MissedOnes;
use pending::Slot;
pub use pending::{Pending, SubmitFault};
use scans::OwnedScan;
use shards::ReplyTopic;

/// Reply topics of one cluster; names can come out of requests, and each costs memory for good.
const TOPICS_MAX: usize = 1000;
/// Messages that wait for one core before the looking through reply partitions pauses, and what is passed to its listeners is dropped.
const OUTBOX_PAUSE: usize = 256;
const RESEND_INTERVAL: Duration = Duration::from_millis(1);

/// A request as it goes to Kafka.
#[derive(Clone, Debug)]
pub struct Request {
    /// The request topic.
    pub topic: String,
    /// When it counts as stored.
    pub acks: Acks,
    /// The record, whole.
    pub record: Record,
}

/// Where a verdict, or a reply that is passed on, has to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Token {
    core: CoreId,
    slot: u64,
}

/// What the cores tell each other about replies. All of it travels in the data queues.
#[derive(Debug)]
pub enum ReplyMessage {
    /// A request to be produced, or joined. To the core of its id, which answers with `Told`. Refused: the client is told 503.
    Submit(Box<Submit>),
    /// Somebody asks for a reply. To the core of its id, which answers with `Told`. Refused: the client is told 503.
    Watch {
        /// Where the reply is to come.
        topic: Arc<str>,
        /// The id.
        id: CorrelationId,
        /// Who waits.
        waiter: Waiter<Token>,
    },
    /// A client is gone. To the core of the id; nobody answers. Refused: waits at the sender.
    Cancel {
        /// The reply topic.
        topic: Arc<str>,
        /// The id.
        id: CorrelationId,
        /// Who is gone.
        token: Token,
    },
    /// A reply is not where it was seen. To the core of the id; nobody answers. Refused: waits at the sender.
    Forget {
        /// The reply topic.
        topic: Arc<str>,
        /// The id.
        id: CorrelationId,
        /// Where it was seen.
        place: Place,
    },
    /// What a waiter waited for. To its core; nobody answers. Refused: waits at the sender; there are no more of them than waiters.
    Told {
        /// Whom.
        slot: u64,
        /// What.
        verdict: Verdict,
    },
    /// Somebody listens to all replies to an id. To the core of the id, which answers with `Passed` for each that comes, `Missed` for those that it had to drop, and
    /// unless `is_fresh` with `Looked`. Refused: the call is told that too many wait.
    Listen {
        /// The reply topic.
        topic: Arc<str>,
        /// The id.
        id: CorrelationId,
        /// Who.
        token: Token,
        /// There are no replies so far.
        is_fresh: bool,
    },
    /// Somebody asks what is known of an id as of now. To the core of the id, which answers with `Looked`. Refused: as `Listen`.
    Look {
        /// The reply topic.
        topic: Arc<str>,
        /// The id.
        id: CorrelationId,
        /// Who.
        token: Token,
    },
    /// A listener, or whoever looked, is gone. To the core of the id; nobody answers. Refused: waits at the sender.
    Unlisten {
        /// The reply topic.
        topic: Arc<str>,
        /// The id.
        id: CorrelationId,
        /// Who is gone.
        token: Token,
    },
    /// Replies to the id of a listener, in order. To its core; nobody answers. Refused: waits at the sender; when too much waits there, replaced by `Missed`.
    Passed {
        /// To whom.
        slot: u64,
        /// The replies.
        records: Vec<ReplyRecord>,
    },
    /// Replies that could not be passed to a listener: it reads them from Kafka. To its core; nobody answers. Refused: waits at the sender; there are no more of them
    /// than listeners.
    Missed {
        /// Whom.
        slot: u64,
        /// Which.
        missed: Vec<Missed>,
    },
    /// What is known of an id. To the core of whoever listens or looks; nobody answers. Refused: waits at the sender; there are no more of them than of those.
    Looked {
        /// Whom.
        slot: u64,
        /// What.
        looked: Looked,
        /// How far the partition of the first reply was indexed then.
        indexed: i64,
    },
    /// A reply partition has to be looked through from now on. To its owner, which answers with `Indexed` to all cores. Refused: waits at the sender.
    Follow {
        /// The partition.
        key: PartitionKey,
        /// How far back, milliseconds.
        horizon_ms: i64,
    },
    /// What was seen in a reply partition, for the shard of the receiver, in order. To every core; nobody answers. Refused: waits at the sender, which looks no
    /// further until it is gone.
    Indexed {
        /// The partition.
        key: PartitionKey,
        /// The log begins anew: what was seen before is void.
        is_reset: bool,
        /// The replies.
        replies: Vec<SeenReply>,
        /// One past the last offset looked at.
        next_offset: i64,
    },
}

/// See [`ReplyMessage::Submit`].
#[derive(Debug)]
pub struct Submit {
    topic: Arc<str>,
    id: CorrelationId,
    is_ours: bool,
    request: Request,
    waiter: Waiter<Token>,
}

/// Sends a message to another core; gives it back when that core's queue is full.
pub type SendToCore = Box<dyn Fn(CoreId, ReplyMessage) -> Result<(), ReplyMessage>>;

/// What [`Replies`] needs from the core it lives on.
pub struct RepliesParts {
    /// This core.
    pub core: CoreId,
    /// How many cores there are.
    pub cores: usize,
    /// The core's client of the cluster.
    pub client: Client,
    /// The core's timer.
    pub deadlines: Rc<Deadlines>,
    /// The record headers that carry correlation ids.
    pub names: Arc<[Bytes]>,
    /// How far back replies are looked for when a topic is opened.
    pub horizon: Duration,
    /// The way to the other cores.
    pub send: SendToCore,
}

impl fmt::Debug for RepliesParts {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("RepliesParts")
            .field("core", &self.core)
            .finish_non_exhaustive()
    }
}

/// The replies of one cluster on one core. Clones are the same.
#[derive(Clone)]
pub struct Replies {
    inner: Rc<Inner>,
}

impl fmt::Debug for Replies {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Replies")
            .field("core", &self.inner.core)
            .finish_non_exhaustive()
    }
}

struct Inner {
    core: CoreId,
    cores: usize,
    client: Client,
    deadlines: Rc<Deadlines>,
    names: Arc<[Bytes]>,
    horizon: Duration,
    send: SendToCore,
    limits: Limits,
    topics: RefCell<HashMap<Arc<str>, Rc<ReplyTopic>>>,
    scans: RefCell<BTreeMap<PartitionKey, OwnedScan>>,
    following: Following<Replies>,
    /// The requests of this core that wait.
    slots: RefCell<HashMap<u64, Rc<Slot>>>,
    next_slot: Cell<u64>,
    /// Bytes of requests that wait for look-ups.
    queued_bytes: Rc<Cell<usize>>,
    /// The listeners of this core, by the number of their slot.
    ears: RefCell<HashMap<u64, Rc<Ear>>>,
    /// Those of this core who look.
    looks: RefCell<HashMap<u64, Rc<LookSlot>>>,
    /// Bytes of records in the queues of listeners.
    heard_bytes: Rc<Cell<usize>>,
    /// What listeners on other cores could not be passed.
    missed: RefCell<MissedOnes>,
    /// What waits for each other core, by its number.
    outboxes: RefCell<Vec<VecDeque<ReplyMessage>>>,
    resending: Notify,
}

impl Replies {
    /// Starts with no topic.
    pub fn new(parts: RepliesParts) -> Self {
        let outboxes = (0..parts.cores).map(|_| VecDeque::new()).collect();
        let inner = Rc::new(Inner {
            core: parts.core,
            cores: parts.cores,
            client: parts.client,
            deadlines: parts.deadlines,
            names: parts.names,
            horizon: parts.horizon,
            send: parts.send,
            limits: Limits::default(),
            topics: RefCell::default(),
            scans: RefCell::default(),
            following: Following::default(),
            slots: RefCell::default(),
            next_slot: Cell::new(0),
            queued_bytes: Rc::default(),
            ears: RefCell::default(),
            looks: RefCell::default(),
            heard_bytes: Rc::default(),
            missed: RefCell::default(),
            outboxes: RefCell::new(outboxes),
            resending: Notify::default(),
        });
        let replies = Self { inner };
        runtime::spawn(run_resend(replies.clone()));
        runtime::spawn(shards::run_lingering(replies.clone()));
        replies
    }

    /// Takes a message of another core.
    pub fn handle_message(&self, message: ReplyMessage) {
        match message {
            ReplyMessage::Submit(submit) => self.submit_here(*submit),
            ReplyMessage::Watch { topic, id, waiter } => self.watch_here(&topic, id, waiter),
            ReplyMessage::Cancel { topic, id, token } => {
                self.with_shard(&topic, |shard| shard.cancel(&id, &token));
            }
            ReplyMessage::Forget { topic, id, place } => {
                self.with_shard(&topic, |shard| shard.forget(&id, place));
            }
            ReplyMessage::Told { slot, verdict } => self.fill_slot(slot, verdict),
            ReplyMessage::Listen {
                topic,
                id,
                token,
                is_fresh,
            } => self.listen_here(&topic, id, token, is_fresh),
            ReplyMessage::Look { topic, id, token } => self.look_here(&topic, id, token),
            ReplyMessage::Unlisten { topic, id, token } => self.with_shard(&topic, |shard| {
                shard.unlisten(&id, &token);
                shard.cancel_look(&id, &token);
            }),
            ReplyMessage::Passed { slot, records } => self.hear(slot, records),
            ReplyMessage::Missed { slot, missed } => self.hear_missed(slot, missed),
            ReplyMessage::Looked {
                slot,
                looked,
                indexed,
            } => self.hear_looked(slot, looked, indexed),
            ReplyMessage::Follow { key, horizon_ms } => self.follow(key, horizon_ms),
            ReplyMessage::Indexed {
                key,
                is_reset,
                replies,
                next_offset,
            } => self.with_shard(&key.0, |shard| {
                shard.handle_indexed(key.1, is_reset, replies, next_offset);
            }),
        }
    }

    /// The number of a record header that carries correlation ids.
    pub fn header_number(&self, name: &str) -> u16 {
        let known = self
            .inner
            .names
            .iter()
            .position(|known| known == name.as_bytes());
        known
            .and_then(|index| u16::try_from(index).ok())
            .unwrap_or(u16::MAX)
    }

    /// Whether exchanges of this id are this core's.
    pub fn is_own(&self, id: &[u8]) -> bool {
        id_owner(id, self.inner.cores) == self.inner.core
    }

    /// Requests of this core's clients that wait.
    pub fn waiters(&self) -> usize {
        self.inner.slots.borrow().len()
    }

    /// Exchanges of this core's ids that are open.
    pub fn exchanges_open(&self) -> usize {
        let topics = self.inner.topics.borrow();
        topics.values().map(|topic| topic.exchanges_open()).sum()
    }

    /// Replies that this core remembers.
    pub fn replies_known(&self) -> usize {
        let topics = self.inner.topics.borrow();
        topics.values().map(|topic| topic.replies_known()).sum()
    }

    /// Sends a message, behind those that wait already.
    fn send_or_keep(&self, to: CoreId, message: ReplyMessage) {
        if to == self.inner.core {
            return self.handle_message(message);
        }
        let mut outboxes = self.inner.outboxes.borrow_mut();
        let Some(outbox) = outboxes.get_mut(to.0) else {
            return;
        };
        let refused = if outbox.is_empty() {
            (self.inner.send)(to, message).err()
        } else {
            Some(message)
        };
        if let Some(message) = refused {
            outbox.push_back(message);
            self.inner.resending.notify();
        }
    }

    /// Sends a message, or gives it back when it would have to wait.
    fn try_send(&self, to: CoreId, message: ReplyMessage) -> Result<(), ReplyMessage> {
        if to == self.inner.core {
            self.handle_message(message);
            return Ok(());
        }
        let is_free = self
            .inner
            .outboxes
            .borrow()
            .get(to.0)
            .is_some_and(VecDeque::is_empty);
        if is_free {
            (self.inner.send)(to, message)
        } else {
            Err(message)
        }
    }

    /// Whether so much waits for some core that no more should be made.
    fn is_congested(&self) -> bool {
        let outboxes = self.inner.outboxes.borrow();
        outboxes.iter().any(|outbox| outbox.len() >= OUTBOX_PAUSE)
    }

    /// Sends what waits; says whether something is left.
    fn resend(&self) -> bool {
        let mut is_left = false;
        for (core, outbox) in self.inner.outboxes.borrow_mut().iter_mut().enumerate() {
            while let Some(message) = outbox.pop_front() {
                if let Err(message) = (self.inner.send)(CoreId(core), message) {
                    outbox.push_front(message);
                    is_left = true;
                    break;
                }
            }
        }
        is_left | self.send_missed()
    }
}

async fn run_resend(replies: Replies) {
    loop {
        replies.inner.resending.notified().await;
        while replies.resend() {
            runtime::sleep(RESEND_INTERVAL).await;
        }
    }
}
