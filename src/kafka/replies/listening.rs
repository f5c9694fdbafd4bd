//! Who listens on this core to all replies to an id, and who asks what is known of one.
//!
//! ```text
//!  listen ── Listen ──▶ core of hash(id): Shard ── Passed, Missed, Looked ──▶ Ear: Backlog ──▶ poll_next
//!                                                        Kafka ── read ──────────▲   (history, and what the queue did not hold)
//! ```
//! Rule: what is told and when Kafka is read is decided by [`Backlog`]; here it is carried out, one read of a call at a time.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use super::pending::{SubmitFault, WAITERS_MAX};
use super::{Replies, ReplyMessage, Token};
use crate::clock::Instant;
use crate::kafka::correlation::{
    Backlog, CorrelationId, Known, Looked, Missed, Place, ReadOn, ReplyFault, ReplyRecord,
    ReplyScan, Room, SeenReply,
};
use crate::kafka::error_code::ErrorCode;
use crate::kafka::fetcher::{
    EARLIEST, PartitionKey, fetched_partitions, offsets_request, single_request,
};
use crate::runtime;
use crate::runtime::notify::Notify;
use crate::runtime::placement::id_owner;

/// What the queue of a call holds of the replies that are passed to it.
const PASSED_ROOM: Room = Room {
    records: 1024,
    bytes: 1 << 20,
};
/// What it holds of those that are read from Kafka: about as much as one fetch gives, since what does not fit is fetched again.
const READ_ROOM: Room = Room {
    records: 8192,
    bytes: 1 << 20,
};
/// What it holds of either while the queues of the core hold [`QUEUED_BYTES_MAX`].
const TIGHT_ROOM: Room = Room {
    records: 16,
    bytes: 64 << 10,
};
const QUEUED_BYTES_MAX: usize = 256 << 20;
/// Bytes asked for at once; a batch that is larger comes whole.
const FETCH_BYTES_MAX: i32 = 1 << 20;

/// Where the replies for a listener arrive.
pub(super) struct Ear {
    backlog: RefCell<Backlog>,
    notify: Rc<Notify>,
    /// Over all ears of the core.
    queued_bytes: Rc<Cell<usize>>,
}

impl Ear {
    /// Lets the backlog do something, given the room for what is passed and for what is read.
    fn act<A>(&self, act: impl FnOnce(&mut Backlog, Room, Room) -> A) -> A {
        let total = self.queued_bytes.get();
        let (passed, read) = if total < QUEUED_BYTES_MAX {
            (PASSED_ROOM, READ_ROOM)
        } else {
            (TIGHT_ROOM, TIGHT_ROOM)
        };
        let mut backlog = self.backlog.borrow_mut();
        let before = backlog.queued_bytes();
        let done = act(&mut backlog, passed, read);
        self.queued_bytes
            .set(total - before + backlog.queued_bytes());
        done
    }
}

impl Drop for Ear {
    fn drop(&mut self) {
        let left = self.queued_bytes.get() - self.backlog.borrow().queued_bytes();
        self.queued_bytes.set(left);
    }
}

/// Where the answer arrives to what is known of an id.
pub(super) struct LookSlot {
    looked: Cell<Option<Looked>>,
    notify: Rc<Notify>,
}

/// What a listener hears.
#[derive(Debug)]
pub enum Heard {
    /// The next reply.
    Record(ReplyRecord),
    /// Nothing now: the task is woken when there may be something, at [`Listening::poll_timeout`] it has to ask again.
    Nothing,
    /// Kafka could not be asked for half a minute, or its log begins behind what had to be read next: replies may be lost. Final.
    Fault(ReplyFault),
}

/// A read of a partition, under way.
struct Read {
    partition: i32,
    begun: Instant,
    outcome: Pin<Box<dyn Future<Output = Result<ReadOn, ReplyFault>>>>,
}

/// Follows the replies to an id. Dropping it ends that at once.
pub struct Listening {
    place: Registered,
    ear: Rc<Ear>,
    read: Option<Read>,
}

impl fmt::Debug for Listening {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Listening")
            .field("id", &self.place.id)
            .finish_non_exhaustive()
    }
}

impl Listening {
    /// The next reply, if there is one. Ask until [`Heard::Nothing`]; then the `notify` of [`Replies::listen`] is raised, or the task of `context` woken.
    pub fn poll_next(&mut self, context: &mut Context<'_>, now: Instant) -> Heard {
        loop {
            if let Some(record) = self.ear.act(|backlog, _, _| backlog.pop()) {
                return Heard::Record(record);
            }
            if let Some(fault) = self.ear.backlog.borrow().fault() {
                return Heard::Fault(fault);
            }
            if self.read.is_none() {
                self.read = self.begin_read(now);
            }
            let Some(read) = &mut self.read else {
                return Heard::Nothing;
            };
            let Poll::Ready(outcome) = read.outcome.as_mut().poll(context) else {
                return Heard::Nothing;
            };
            let (partition, begun) = (read.partition, read.begun);
            self.read = None;
            self.ear.act(|backlog, _, room| match outcome {
                Ok(read) => backlog.handle_read(partition, read, room),
                Err(fault) => backlog.handle_read_fault(fault, begun, now),
            });
        }
    }

    /// What there was when it began to listen; `None`: not known yet, `Some(None)`: no replies.
    pub fn known(&self) -> Option<Option<Known>> {
        self.ear.backlog.borrow().known()
    }

    /// Whether a reply was there before this began to listen.
    pub fn is_history(&self, place: Place) -> bool {
        self.ear.backlog.borrow().is_history(place)
    }

    /// Whether all replies have been given that were there before this began to listen.
    pub fn is_history_over(&self) -> bool {
        self.ear.backlog.borrow().is_history_over()
    }

    /// When [`Listening::poll_next`] has something to do, whatever wakes it before.
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.read.is_some() {
            return None;
        }
        self.ear.backlog.borrow().poll_timeout()
    }

    #[cfg(test)]
    pub(super) fn queued(&self) -> usize {
        self.ear.backlog.borrow().len()
    }

    fn begin_read(&self, now: Instant) -> Option<Read> {
        let backlog = self.ear.backlog.borrow();
        let from = backlog.next_read(now)?;
        let timeout = backlog.read_timeout(now);
        let key: PartitionKey = (self.place.topic.clone(), from.partition);
        let (replies, id) = (self.place.replies.clone(), self.place.id.clone());
        let outcome = async move { replies.read_on(&key, &id, from, timeout).await };
        Some(Read {
            partition: from.partition,
            begun: now,
            outcome: Box::pin(outcome),
        })
    }
}

/// Waits for what is known of an id. Dropping it ends that at once.
pub struct Looking {
    place: Registered,
    slot: Rc<LookSlot>,
}

impl fmt::Debug for Looking {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Looking")
            .field("id", &self.place.id)
            .finish_non_exhaustive()
    }
}

impl Looking {
    /// What is known, once it is.
    pub fn verdict(&self) -> Option<Looked> {
        self.slot.looked.get()
    }
}

/// A place among the listeners, or those who look, of the core of an id, given back on every way out.
struct Registered {
    replies: Replies,
    topic: Arc<str>,
    id: CorrelationId,
    number: u64,
}

impl Drop for Registered {
    fn drop(&mut self) {
        let inner = &self.replies.inner;
        inner.ears.borrow_mut().remove(&self.number);
        let look = inner.looks.borrow_mut().remove(&self.number);
        if look.is_some_and(|look| look.looked.get().is_some()) {
            return;
        }
        let message = ReplyMessage::Unlisten {
            topic: self.topic.clone(),
            id: self.id.clone(),
            token: self.replies.token(self.number),
        };
        let owner = id_owner(&self.id.id, inner.cores);
        self.replies.send_or_keep(owner, message);
    }
}

impl Replies {
    /// Follows the replies to an id, from the first on. `is_fresh`: the id was made up by this core just now, nobody can have used it: nothing is looked up, and
    /// records are passed on from now on. `notify` is raised when there may be something.
    ///
    /// When the log of a reply partition begins anew, a listener hears nothing of that, nor of records in it below those that it has heard. What the index of the
    /// id's core has forgotten, or lies behind its horizon, is not known, and not heard.
    ///
    /// # Errors
    ///
    /// [`SubmitFault`].
    pub fn listen(
        &self,
        topic: &str,
        id: CorrelationId,
        is_fresh: bool,
        notify: &Rc<Notify>,
    ) -> Result<Listening, SubmitFault> {
        // Of an id that is another core's, a reply may be indexed there before it hears of the listener.
        let is_fresh = is_fresh && self.is_own(&id.id);
        let ear = Rc::new(Ear {
            backlog: RefCell::new(Backlog::new(is_fresh)),
            notify: notify.clone(),
            queued_bytes: self.inner.heard_bytes.clone(),
        });
        let enter = |number| {
            let mut ears = self.inner.ears.borrow_mut();
            ears.insert(number, ear.clone());
        };
        let message = |topic, id, token| ReplyMessage::Listen {
            topic,
            id,
            token,
            is_fresh,
        };
        let place = self.register(topic, id, enter, message)?;
        Ok(Listening {
            place,
            ear,
            read: None,
        })
    }

    /// What is known of an id as of now, for instance whether it is closed. `notify` is raised when that is known.
    ///
    /// # Errors
    ///
    /// [`SubmitFault`].
    pub fn look(
        &self,
        topic: &str,
        id: CorrelationId,
        notify: &Rc<Notify>,
    ) -> Result<Looking, SubmitFault> {
        let slot = Rc::new(LookSlot {
            looked: Cell::new(None),
            notify: notify.clone(),
        });
        let enter = |number| {
            let mut looks = self.inner.looks.borrow_mut();
            looks.insert(number, slot.clone());
        };
        let message = |topic, id, token| ReplyMessage::Look { topic, id, token };
        let place = self.register(topic, id, enter, message)?;
        Ok(Looking { place, slot })
    }

    /// Those on this core who listen.
    pub fn listeners(&self) -> usize {
        self.inner.ears.borrow().len()
    }

    fn register(
        &self,
        topic: &str,
        id: CorrelationId,
        enter: impl FnOnce(u64),
        message: impl FnOnce(Arc<str>, CorrelationId, Token) -> ReplyMessage,
    ) -> Result<Registered, SubmitFault> {
        let topic = self.topic_name(topic).ok_or(SubmitFault::TooManyTopics)?;
        if self.listeners().max(self.inner.looks.borrow().len()) >= WAITERS_MAX {
            return Err(SubmitFault::Overloaded);
        }
        let number = self.inner.next_slot.get();
        self.inner.next_slot.set(number + 1);
        // Before it is asked for: the answer may come at once.
        enter(number);
        let message = message(topic.clone(), id.clone(), self.token(number));
        let owner = id_owner(&id.id, self.inner.cores);
        if self.try_send(owner, message).is_err() {
            self.inner.ears.borrow_mut().remove(&number);
            self.inner.looks.borrow_mut().remove(&number);
            return Err(SubmitFault::Overloaded);
        }
        Ok(Registered {
            replies: self.clone(),
            topic,
            id,
            number,
        })
    }

    fn with_ear(&self, number: u64, act: impl FnOnce(&mut Backlog, Room)) {
        let ear = self.inner.ears.borrow().get(&number).cloned();
        if let Some(ear) = ear {
            ear.act(|backlog, room, _| act(backlog, room));
            ear.notify.notify();
        }
    }

    pub(super) fn hear(&self, number: u64, records: Vec<ReplyRecord>) {
        self.with_ear(number, |backlog, room| {
            for record in records {
                backlog.handle_passed(record, room);
            }
        });
    }

    pub(super) fn hear_missed(&self, number: u64, missed: Vec<Missed>) {
        self.with_ear(number, |backlog, _| {
            for missed in missed {
                backlog.handle_missed(missed);
            }
        });
    }

    pub(super) fn hear_looked(&self, number: u64, looked: Looked, indexed: i64) {
        let slot = self.inner.looks.borrow().get(&number).cloned();
        match slot {
            Some(slot) => {
                slot.looked.set(Some(looked));
                slot.notify.notify();
            }
            None => self.with_ear(number, |backlog, _| backlog.handle_looked(looked, indexed)),
        }
    }

    /// Fetches once from `from` on; gives the replies to `id`.
    async fn read_on(
        &self,
        key: &PartitionKey,
        id: &CorrelationId,
        from: Place,
        timeout: Duration,
    ) -> Result<ReadOn, ReplyFault> {
        let client = &self.inner.client;
        let until = runtime::now() + timeout;
        let unavailable = || {
            client.want(&key.0, false);
            ReplyFault::Unavailable
        };
        let broker = client.leader(&key.0, key.1).ok_or_else(unavailable)?;
        let request = single_request(key, from.offset, FETCH_BYTES_MAX);
        let response = client.lookup(broker, &request, timeout).await;
        let response = response.map_err(|_| unavailable())?;
        let mut fetched = fetched_partitions(response).into_iter();
        let fetched = fetched.find(|fetched| fetched.key == *key);
        let fetched = fetched.ok_or_else(unavailable)?;
        if fetched.error == ErrorCode::OFFSET_OUT_OF_RANGE {
            let left = until.saturating_duration_since(runtime::now());
            let start = self.log_start(broker, key, left).await;
            // One that ends before is of a leader that does not know yet how far it goes.
            let is_gone = start.is_some_and(|start| start > from.offset);
            return Err(if is_gone {
                ReplyFault::Gone
            } else {
                unavailable()
            });
        }
        if !fetched.error.is_none() {
            return Err(unavailable());
        }
        let mut scan = ReplyScan::new(from.partition, from.offset, self.inner.names.clone());
        let scanned = scan.ingest(&fetched);
        for (offset, error) in &scanned.unreadable {
            tracing::error!(topic = &*key.0, partition = key.1, offset, %error, "a record batch of replies cannot be read and is left out");
        }
        let seen = scanned.replies.into_iter().filter(|seen| seen.id == *id);
        let read = ReadOn {
            records: seen.map(SeenReply::record).collect(),
            next_offset: scan.next_offset(),
        };
        if read.next_offset > from.offset {
            Ok(read)
        } else {
            Err(unavailable())
        }
    }

    /// Where the log of a partition begins.
    async fn log_start(&self, broker: i32, key: &PartitionKey, timeout: Duration) -> Option<i64> {
        let request = offsets_request(&key.0, [key.1], EARLIEST);
        let response = self.inner.client.lookup(broker, &request, timeout).await;
        let response = response.ok()?;
        let answer = response.topics.first()?.partitions.first()?;
        ErrorCode(answer.error_code)
            .is_none()
            .then_some(answer.offset)
    }
}
