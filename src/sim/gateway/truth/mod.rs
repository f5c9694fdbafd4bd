//! What a gateway promises to its clients, checked as it happens.
//!
//! Sits beside all cores and is told of everything. Its one rule: it knows only what clients asked and were answered, what the logs hold, and when a core gave a
//! request to its producer; nothing of how.

mod items;
mod summary;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Arguments;
use std::time::Duration;

use bytes::Bytes;

use super::clients::is_own;
use super::exchange::{Ask, Outcome};
use super::message::Token;
use crate::clock::Instant;
use crate::error::RequestError;
use crate::kafka::correlation::CorrelationId;
use crate::kafka::producer::ProduceFault;
use crate::sim::fabric::Fabric;
pub(super) use items::{ItemsTruth, ReadBegun};
pub use summary::GatewaySummary;

/// How the last production of an id by a process went.
#[derive(Clone, Copy, Debug)]
enum Produced {
    UnderWay,
    Stored(Instant),
    Failed,
}

/// A request that has not ended.
#[derive(Clone, Debug)]
pub(super) struct OpenRequest {
    pub(super) ask: Ask,
    /// What a read has to show.
    pub(super) begun: ReadBegun,
    due: Instant,
}

/// All that was asked, answered and stored.
#[derive(Debug)]
pub(super) struct Truth {
    seed: u64,
    pub(super) summary: GatewaySummary,
    pub(super) items: ItemsTruth,
    /// The ids of records on the request topic, by token.
    pub(super) requests: BTreeMap<u64, Bytes>,
    /// Ids whose request is, or was, in the log.
    stored: BTreeSet<Bytes>,
    /// When the first reply to an id could be read, and the bodies of all.
    replies: BTreeMap<Bytes, (Instant, BTreeSet<Bytes>)>,
    produced: BTreeMap<(usize, Bytes), Produced>,
    /// Who waits at the shards for a request to be produced: process and slot.
    waiting: BTreeMap<(usize, u64), Bytes>,
    /// When the request of a slot was made.
    slots: Vec<Instant>,
    open: BTreeMap<u64, OpenRequest>,
    due: BTreeSet<(Instant, u64)>,
    linger: Duration,
    /// Exchanges are never closed early for want of room.
    is_roomy: bool,
}

impl Truth {
    pub(super) fn new(seed: u64, linger: Duration, is_roomy: bool) -> Self {
        Self {
            seed,
            summary: GatewaySummary::default(),
            items: ItemsTruth::default(),
            requests: BTreeMap::new(),
            stored: BTreeSet::new(),
            replies: BTreeMap::new(),
            produced: BTreeMap::new(),
            waiting: BTreeMap::new(),
            slots: Vec::new(),
            open: BTreeMap::new(),
            due: BTreeSet::new(),
            linger,
            is_roomy,
        }
    }

    /// Ends the run.
    ///
    /// # Panics
    ///
    /// Always, naming the seed.
    pub(super) fn fail(&self, what: Arguments<'_>) -> ! {
        panic!("SEED={}: {what}", self.seed)
    }

    /// A client asks; the answer is due at `due`.
    pub(super) fn asked(&mut self, number: u64, ask: Ask, begun: ReadBegun, due: Instant) {
        self.due.insert((due, number));
        let request = OpenRequest { ask, begun, due };
        self.open.insert(number, request);
    }

    /// A request ends without an answer: its client is gone, or its process.
    pub(super) fn forgotten(&mut self, number: u64) {
        if let Some(request) = self.open.remove(&number) {
            self.due.remove(&(request.due, number));
        }
    }

    /// A request is answered.
    pub(super) fn answered(&mut self, number: u64, outcome: &Outcome, now: Instant) -> Ask {
        let Some(request) = self.open.remove(&number) else {
            self.fail(format_args!(
                "request {number} is answered again, or after its client left: {outcome:?}"
            ))
        };
        self.due.remove(&(request.due, number));
        self.summary.count(&request.ask, outcome);
        self.summary.digest(&[number, now.as_nanos()]);
        match (&request.ask, outcome) {
            (Ask::Submit(question), Outcome::Answered { status, body }) => {
                let is_accepted = question.is_async && *status == 202;
                if !is_accepted {
                    self.check_reply(&question.id, *status, body);
                } else if !self.stored.contains(&question.id) {
                    let id = &question.id;
                    self.fail(format_args!("{id:?} is accepted and was never stored"));
                }
            }
            (Ask::Status { .. }, Outcome::Answered { status: 202, .. }) => {}
            (Ask::Status { id, .. }, Outcome::Answered { status, body }) => {
                self.check_reply(id, *status, body);
            }
            (_, Outcome::Failed(error)) => self.check_error(&request, error, now),
            _ => {
                let checked = self.items.check(&request.ask, &request.begun, outcome, now);
                if let Err(what) = checked {
                    self.fail(format_args!("{:?}: {what}", request.ask));
                }
            }
        }
        request.ask
    }

    fn check_reply(&self, id: &Bytes, status: u16, body: &Bytes) {
        let known = self.replies.get(id);
        if status != 200 || !known.is_some_and(|(_, bodies)| bodies.contains(body)) {
            self.fail(format_args!(
                "{id:?} is answered {status} {body:?}, and its replies are {known:?}"
            ));
        }
    }

    fn check_error(&self, request: &OpenRequest, error: &RequestError, now: Instant) {
        let ask = &request.ask;
        let is_right = match error {
            RequestError::NotFound => {
                let checked = self.items.check_missing(ask, &request.begun);
                if let Err(what) = checked {
                    self.fail(format_args!("{ask:?} at {now:?}: {what}"));
                }
                true
            }
            RequestError::Produce(_) => {
                matches!(ask, Ask::Put { .. } | Ask::Delete { .. } | Ask::Submit(_))
            }
            RequestError::NoReply => matches!(ask, Ask::Submit(_)),
            RequestError::RepliesUnknown { .. }
            | RequestError::RepliesOverloaded
            | RequestError::ReplyUnreadable { .. } => ask.correlation().is_some(),
            RequestError::TopicUnavailable { .. } | RequestError::Warming { .. } => {
                matches!(ask, Ask::Get { .. } | Ask::List)
            }
            _ => false,
        };
        if !is_right {
            self.fail(format_args!("{ask:?} is answered with {error:?}"));
        }
    }

    /// A number for a wait at a shard.
    pub(super) fn next_slot(&mut self, now: Instant) -> u64 {
        self.slots.push(now);
        self.slots.len() as u64 - 1
    }

    /// A waiter reaches the shard of its id with a request.
    pub(super) fn joined(&mut self, process: usize, id: &CorrelationId, token: Token) {
        self.waiting.insert((process, token.slot), id.id.clone());
    }

    /// A waiter was told, or is gone.
    pub(super) fn left(&mut self, process: usize, token: Token) {
        self.waiting.remove(&(process, token.slot));
    }

    /// A process gives a request to its producer.
    pub(super) fn produces(&mut self, process: usize, id: &CorrelationId, fabric: &Fabric) {
        let now = fabric.now();
        self.summary.produced += 1;
        fabric.tell(|| format!("process {process} produces {:?}", id.id));
        if let Some((replied_at, _)) = self.replies.get(&id.id) {
            let came_before = |slot: u64| {
                let index = usize::try_from(slot).unwrap_or(usize::MAX);
                self.slots.get(index).is_some_and(|came| came < replied_at)
            };
            let mut waiting = self.waiting.range((process, 0)..(process + 1, 0));
            if !waiting.any(|((_, slot), waits_for)| *waits_for == id.id && came_before(*slot)) {
                self.fail(format_args!(
                    "process {process} produces {:?}, and its reply was there at {replied_at:?}, before any of those who ask came",
                    id.id
                ));
            }
        }
        let last = self
            .produced
            .insert((process, id.id.clone()), Produced::UnderWay);
        let is_second = match last {
            // One of our own is let go of with its clients, who cannot know it before they are answered.
            Some(Produced::UnderWay) => !is_own(&id.id),
            Some(Produced::Stored(at)) => {
                self.is_roomy && !is_own(&id.id) && now < at + self.linger
            }
            Some(Produced::Failed) | None => false,
        };
        if is_second {
            self.fail(format_args!(
                "process {process} produces {:?} again, the last time went {last:?}",
                id.id
            ));
        }
    }

    /// A process knows how the producing went.
    pub(super) fn stored(
        &mut self,
        process: usize,
        id: &CorrelationId,
        result: Result<(), ProduceFault>,
        now: Instant,
    ) {
        let produced = match result {
            Ok(()) => Produced::Stored(now),
            Err(_) => Produced::Failed,
        };
        self.produced.insert((process, id.id.clone()), produced);
    }

    /// The log of requests holds a record.
    pub(super) fn request_in_log(&mut self, token: u64) -> Option<Bytes> {
        let id = self.requests.get(&token)?.clone();
        self.stored.insert(id.clone());
        Some(id)
    }

    /// A reply can be read.
    pub(super) fn replied(&mut self, id: &Bytes, body: Bytes, now: Instant) {
        let new = || (now, BTreeSet::new());
        let (_, bodies) = self.replies.entry(id.clone()).or_insert_with(new);
        bodies.insert(body);
        self.summary.replies += 1;
    }

    /// A process is gone, with all who waited.
    pub(super) fn stopped(&mut self, process: usize) {
        let gone: Vec<(usize, u64)> = self
            .waiting
            .range((process, 0)..(process + 1, 0))
            .map(|(key, _)| *key)
            .collect();
        for key in gone {
            self.waiting.remove(&key);
        }
    }

    /// After each step: nobody waits beyond the time.
    pub(super) fn step(&self, now: Instant) {
        if let Some((due, number)) = self.due.first()
            && *due < now
        {
            let request = self.open.get(number);
            self.fail(format_args!(
                "request {number} was due at {due:?} and has no answer: {request:?}"
            ));
        }
    }

    /// At the end nobody waits.
    pub(super) fn finish(&self) {
        if let Some((number, request)) = self.open.first_key_value() {
            self.fail(format_args!("request {number} has no answer: {request:?}"));
        }
    }
}
