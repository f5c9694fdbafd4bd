//! The requests of this core's clients that wait for a stored request or a reply, and the reading of replies that came before.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::{Replies, ReplyMessage, Request, Submit, Token};
use crate::clock::Instant;
use crate::kafka::correlation::{
    CorrelationId, Place, Reply, ReplyFault, ReplyScan, Verdict, Waiter, Wants,
};
use crate::kafka::error_code::ErrorCode;
use crate::kafka::fetcher::{PartitionKey, fetched_partitions, single_request};
use crate::runtime::notify::Notify;
use crate::runtime::placement::{CoreId, id_owner};
use crate::runtime::{self};

/// Requests of one core that wait; beyond, 503.
pub(super) const WAITERS_MAX: usize = 100_000;
/// Bytes asked for to get one reply; a batch that is larger comes whole.
const REPLY_BYTES_MAX: i32 = 64 << 10;
const RETRY_INTERVAL: Duration = Duration::from_millis(100);

/// Why a request was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubmitFault {
    /// Too many wait, or too much waits for the core of its id.
    Overloaded,
    /// Too many reply topics are in use.
    TooManyTopics,
}

/// Where a verdict arrives.
pub(super) struct Slot {
    verdict: RefCell<Option<Verdict>>,
    notify: Rc<Notify>,
}

/// A request that waits. Dropping it frees its waiter at once.
pub struct Pending {
    replies: Replies,
    topic: Arc<str>,
    id: CorrelationId,
    number: u64,
    slot: Rc<Slot>,
    is_told: bool,
}

impl std::fmt::Debug for Pending {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Pending")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl Pending {
    /// What it is told, once.
    pub fn verdict(&mut self) -> Option<Verdict> {
        let verdict = self.slot.verdict.borrow_mut().take();
        self.is_told |= verdict.is_some();
        verdict
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.replies.inner.slots.borrow_mut().remove(&self.number);
        if !self.is_told && self.slot.verdict.borrow().is_none() {
            let owner = id_owner(&self.id.id, self.replies.inner.cores);
            let message = ReplyMessage::Cancel {
                topic: self.topic.clone(),
                id: self.id.clone(),
                token: self.replies.token(self.number),
            };
            self.replies.send_or_keep(owner, message);
        }
    }
}

impl Replies {
    /// Has a request produced, unless one with its id is on its way or has its reply. `notify` is raised when there is a verdict.
    ///
    /// # Errors
    ///
    /// [`SubmitFault`]; nothing was produced.
    #[expect(clippy::too_many_arguments, reason = "all of it describes one request")]
    pub fn submit(
        &self,
        topic: &str,
        id: CorrelationId,
        is_ours: bool,
        request: Request,
        wants: Wants,
        deadline: Instant,
        notify: &Rc<Notify>,
    ) -> Result<Pending, SubmitFault> {
        let send = |topic: Arc<str>, id: CorrelationId, waiter| {
            ReplyMessage::Submit(Box::new(Submit {
                topic,
                id,
                is_ours,
                request,
                waiter,
            }))
        };
        self.wait(topic, id, wants, deadline, notify, send)
    }

    /// Waits for the reply to a request that somebody else made.
    ///
    /// # Errors
    ///
    /// [`SubmitFault`].
    pub fn watch(
        &self,
        topic: &str,
        id: CorrelationId,
        wants: Wants,
        deadline: Instant,
        notify: &Rc<Notify>,
    ) -> Result<Pending, SubmitFault> {
        let send = |topic, id, waiter| ReplyMessage::Watch { topic, id, waiter };
        self.wait(topic, id, wants, deadline, notify, send)
    }

    fn wait(
        &self,
        topic: &str,
        id: CorrelationId,
        wants: Wants,
        deadline: Instant,
        notify: &Rc<Notify>,
        message: impl FnOnce(Arc<str>, CorrelationId, Waiter<Token>) -> ReplyMessage,
    ) -> Result<Pending, SubmitFault> {
        let topic = self.topic_name(topic).ok_or(SubmitFault::TooManyTopics)?;
        if self.waiters() >= WAITERS_MAX {
            return Err(SubmitFault::Overloaded);
        }
        let number = self.inner.next_slot.get();
        self.inner.next_slot.set(number + 1);
        let slot = Rc::new(Slot {
            verdict: RefCell::new(None),
            notify: notify.clone(),
        });
        self.inner.slots.borrow_mut().insert(number, slot.clone());
        let waiter = Waiter {
            token: self.token(number),
            wants,
            deadline,
        };
        let owner = id_owner(&id.id, self.inner.cores);
        let message = message(topic.clone(), id.clone(), waiter);
        if self.try_send(owner, message).is_err() {
            self.inner.slots.borrow_mut().remove(&number);
            return Err(SubmitFault::Overloaded);
        }
        Ok(Pending {
            replies: self.clone(),
            topic,
            id,
            number,
            slot,
            is_told: false,
        })
    }

    pub(super) fn token(&self, slot: u64) -> Token {
        Token {
            core: self.inner.core,
            slot,
        }
    }

    pub(super) fn fill_slot(&self, number: u64, verdict: Verdict) {
        let slot = self.inner.slots.borrow().get(&number).cloned();
        if let Some(slot) = slot {
            *slot.verdict.borrow_mut() = Some(verdict);
            slot.notify.notify();
        }
    }

    /// Reads the reply to `id` that lies at `place`. One that is not there any more is forgotten.
    ///
    /// # Errors
    ///
    /// [`ReplyFault`].
    pub async fn read(
        &self,
        topic: &str,
        id: &CorrelationId,
        place: Place,
        until: Instant,
    ) -> Result<Reply, ReplyFault> {
        let topic = self.topic_name(topic).ok_or(ReplyFault::Unavailable)?;
        let key: PartitionKey = (topic, place.partition);
        loop {
            let left = until.saturating_duration_since(runtime::now());
            if left.is_zero() {
                return Err(ReplyFault::Unavailable);
            }
            match self.read_once(&key, id, place, left).await {
                Some(Ok(reply)) => return Ok(reply),
                Some(Err(())) => {
                    let owner: CoreId = id_owner(&id.id, self.inner.cores);
                    let message = ReplyMessage::Forget {
                        topic: key.0,
                        id: id.clone(),
                        place,
                    };
                    self.send_or_keep(owner, message);
                    return Err(ReplyFault::Gone);
                }
                None => {
                    self.inner.client.want(&key.0, false);
                    runtime::sleep(RETRY_INTERVAL.min(left)).await;
                }
            }
        }
    }

    /// `None`: Kafka could not be asked. `Err`: it is not there.
    async fn read_once(
        &self,
        key: &PartitionKey,
        id: &CorrelationId,
        place: Place,
        timeout: Duration,
    ) -> Option<Result<Reply, ()>> {
        let client = &self.inner.client;
        let broker = client.leader(&key.0, key.1)?;
        let request = single_request(key, place.offset, REPLY_BYTES_MAX);
        let response = client.lookup(broker, &request, timeout).await.ok()?;
        let fetched = fetched_partitions(response)
            .into_iter()
            .find(|fetched| fetched.key == *key)?;
        match fetched.error {
            ErrorCode::NONE => {}
            ErrorCode::OFFSET_OUT_OF_RANGE => return Some(Err(())),
            _ => return None,
        }
        let mut scan = ReplyScan::new(place.partition, place.offset, self.inner.names.clone());
        let seen = scan.ingest(&fetched).replies;
        let found = seen
            .into_iter()
            .find(|seen| seen.reply.place == place && seen.id == *id);
        // A new leader may not know yet that its log goes as far: only what was looked at and is not there is gone.
        let was_looked_at =
            scan.next_offset() > place.offset || fetched.log_start_offset > place.offset;
        match found {
            Some(seen) => Some(Ok(seen.reply)),
            None => was_looked_at.then_some(Err(())),
        }
    }
}
