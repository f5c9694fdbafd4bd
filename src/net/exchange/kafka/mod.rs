//! A request that Kafka answers, between the connection that brought it and the core's Kafka side.
//!
//! ```text
//!             ┌─ one-way:    Receiving ──whole body──▶ Held ──▶ Acking ──outcome──────────────────▶ answer
//!  resolved ──┼─ correlated: Receiving ──whole body──▶ Held ──▶ Waiting ─┬─ reply, stored, time ──▶ answer
//!             │                                                          └─ came before ──▶ Fetching ─▶ answer
//!             └─ read:       Receiving ──▶ Reading ─┬─ found, or not ─────▶ answer
//!                             (body is dropped)     ├─ not cached ──▶ Cold ─▶ answer
//!                                                   └─ collection ──▶ Streaming ─▶ begin, data …, finish
//! ```

mod correlated;
mod read;

use std::rc::Rc;

use bytes::{Bytes, BytesMut};

use super::{Before, Step, Turn};
use crate::clock::Instant;
use crate::error::RequestError;
use crate::exchange::correlated::Correlated;
use crate::exchange::one_way;
use crate::exchange::reading::Reading;
use crate::http::RequestHead;
use crate::kafka::client::Delivery;
use crate::kafka::correlation::Wants;
use crate::kafka::producer::{Acks, Record};
use crate::kafka::replies::Pending;
use crate::mapping::http_kafka::{Action, Resolved};
use crate::net::collection::{Collection, CollectionStep};
use crate::net::service::{BodyCharge, Service};
use crate::runtime::notify::Notify;
use correlated::ReplyRead;
use read::{ColdRead, Read};

enum State {
    /// The body is coming. `head`: what to do is not known before it is here.
    Receiving {
        body: BytesMut,
        head: Option<Box<RequestHead>>,
    },
    /// The record is ready and waits for what came before it on the connection.
    Held { body: Bytes },
    /// The record is on its way.
    Acking { delivery: Rc<Delivery> },
    /// The shard of its id will say.
    Waiting {
        machine: Box<Correlated>,
        pending: Pending,
    },
    /// A reply that came before is being read.
    Fetching {
        machine: Box<Correlated>,
        read: ReplyRead,
    },
    /// The cache is to be asked.
    Reading(Box<Read>),
    /// Kafka is being asked.
    Cold {
        from: Box<Read>,
        read: ColdRead,
        searched_below: Vec<i64>,
    },
    /// A collection is being written.
    Streaming { collection: Box<Collection> },
    /// Refused before anything was begun.
    Refused(RequestError),
}

/// One request and what has become of it.
pub(in crate::net) struct KafkaExchange {
    resolved: Resolved,
    state: State,
    /// When it could begin: its body was here, and what came before it on its connection was over.
    begun: Instant,
    charge: BodyCharge,
}

impl KafkaExchange {
    /// An exchange whose body is still to come.
    pub(in crate::net) fn new(resolved: Resolved, now: Instant) -> Self {
        Self {
            resolved,
            state: State::Receiving {
                body: BytesMut::new(),
                head: None,
            },
            begun: now,
            charge: BodyCharge::default(),
        }
    }

    /// Keeps the head until the body is here, if it is needed then.
    pub(in crate::net) fn keep_head(&mut self, request: RequestHead) {
        if let (Action::NeedsBody, State::Receiving { head, .. }) =
            (&self.resolved.action, &mut self.state)
        {
            *head = Some(Box::new(request));
        }
    }

    fn is_write(&self) -> bool {
        matches!(
            self.resolved.action,
            Action::Produce { .. } | Action::NeedsBody | Action::Submit(_)
        )
    }

    fn is_correlated(&self) -> bool {
        matches!(self.resolved.action, Action::Submit(_))
    }

    /// Whether it gives its answer piece by piece.
    pub(in crate::net) fn is_streaming(&self) -> bool {
        matches!(self.state, State::Streaming { .. })
    }

    /// Whether it waits for something that may never come, for the client's sake alone.
    pub(in crate::net) fn is_waiting(&self) -> bool {
        match &self.state {
            State::Waiting { machine, .. } => machine.wants() == Wants::Reply,
            State::Reading(read) => read.machine.is_waiting(),
            _ => false,
        }
    }

    /// Adds itself to what later requests of the connection may have to wait for. A collection that is being written was begun: what it must show is settled.
    pub(in crate::net) fn add_to(&self, before: &mut Before) {
        before.correlated |= self.is_correlated();
        before.writes |= self.is_write();
        before.reads |= !self.is_write() && !self.is_streaming();
    }

    /// Takes a piece of the body; false when the core has no room for it.
    pub(in crate::net) fn handle_data(&mut self, bytes: &Bytes, service: &Rc<Service>) -> bool {
        // The body of a read means nothing.
        if !self.is_write() {
            return true;
        }
        let State::Receiving { body, .. } = &mut self.state else {
            return true;
        };
        if !self.charge.add(service, bytes.len()) {
            return false;
        }
        body.extend_from_slice(bytes);
        true
    }

    /// The body that came in pieces is whole: gives it, with the head if what to do was not known before.
    pub(in crate::net) fn take_body(&mut self) -> Option<(Bytes, Option<Box<RequestHead>>)> {
        match &mut self.state {
            State::Receiving { body, head } => Some((std::mem::take(body).freeze(), head.take())),
            _ => None,
        }
    }

    /// What to do is known now.
    pub(in crate::net) fn set_resolved(&mut self, resolved: Resolved) {
        self.resolved = resolved;
    }

    /// The whole body is here: the record can go on its way, or the reading begin.
    pub(in crate::net) fn handle_body(&mut self, body: Bytes, service: &Rc<Service>, now: Instant) {
        self.begun = now;
        self.state = match &self.resolved.action {
            Action::Produce { .. } | Action::NeedsBody | Action::Submit(_) | Action::Status(_) => {
                State::Held { body }
            }
            Action::Fetch(request) => {
                let topics = &service.topics[self.resolved.cluster];
                let machine = Reading::new(
                    self.resolved.topic.clone(),
                    topics.budget_bytes(),
                    self.resolved.timeout,
                    request.prefer.wait_up_to(self.resolved.wait_max),
                    request.is_conditional(),
                    now,
                );
                State::Reading(Box::new(Read::new(machine, now)))
            }
        };
    }

    /// The gateway is ending: nobody is kept waiting for what may never come, and for replies until `until` at most.
    pub(in crate::net) fn handle_drain(&mut self, now: Instant, until: Instant) {
        match &mut self.state {
            State::Waiting { machine, .. } => machine.handle_drain(now, until),
            State::Reading(read) => read.machine.handle_drain(),
            _ => {}
        }
    }

    /// When to poll without being woken.
    pub(in crate::net) fn poll_timeout(&self) -> Option<Instant> {
        match &self.state {
            State::Reading(read) => Some(read.wake_at),
            State::Waiting { machine, .. } => Some(machine.poll_timeout()),
            State::Fetching { .. } | State::Cold { .. } => Some(self.begun + self.resolved.timeout),
            State::Receiving { .. }
            | State::Held { .. }
            | State::Acking { .. }
            | State::Streaming { .. }
            | State::Refused(_) => None,
        }
    }

    /// Goes as far as it can.
    pub(in crate::net) fn poll(&mut self, turn: Turn<'_, '_>) -> Step {
        let Turn {
            context,
            service,
            notify,
            before,
            room,
            now,
        } = turn;
        if let State::Held { body } = &mut self.state
            && self.resolved.action.may_begin(before)
        {
            let body = std::mem::take(body);
            self.begin(body, service, notify, now);
        }
        match &mut self.state {
            State::Receiving { .. } | State::Held { .. } => Step::Pending,
            State::Acking { delivery } => match delivery.outcome().map(one_way::answer) {
                None => Step::Pending,
                Some(Ok(answer)) => Step::Respond(Box::new(answer)),
                Some(Err(error)) => Step::Fail(error),
            },
            State::Refused(error) => Step::Fail(error.clone()),
            State::Waiting { .. } | State::Fetching { .. } => {
                self.poll_correlated(context, service, notify, now)
            }
            State::Reading(read) if before.writes => {
                // It may want to see what they write, so its waits begin after them.
                self.begun = now;
                read.machine.begin_at(now);
                read.wake_at = Instant::FAR_FUTURE;
                Step::Pending
            }
            State::Reading(_) => self.poll_reading(context, service, notify, now),
            State::Cold { .. } => self.poll_cold(context, service, notify, now),
            State::Streaming { collection } => match collection.poll(room) {
                CollectionStep::Pending => Step::Pending,
                CollectionStep::Data(bytes) => Step::Data(bytes),
                CollectionStep::Finish(bytes) => Step::Finish(bytes),
                CollectionStep::Lost => Step::Abort,
            },
        }
    }

    fn begin(&mut self, body: Bytes, service: &Rc<Service>, notify: &Rc<Notify>, now: Instant) {
        self.begun = now;
        let (timeout, wait_max) = (self.resolved.timeout, self.resolved.wait_max);
        self.state = match &mut self.resolved.action {
            Action::Produce {
                acks,
                record,
                tombstone,
            } => {
                let mut record: Record = std::mem::take(record);
                record.value = (!*tombstone).then_some(body);
                let acks = Acks::from(*acks);
                self.produce(acks, record, service, notify, now)
            }
            Action::Submit(submission) => {
                let machine = Correlated::submission(submission, timeout, wait_max, now);
                self.ask(Box::new(machine), service, notify)
            }
            Action::Status(status) => {
                let topic = &self.resolved.topic;
                let machine = Correlated::status(status, topic, timeout, wait_max, now);
                self.ask(Box::new(machine), service, notify)
            }
            // Neither comes here: reads are not held, and what needs the body got it.
            Action::Fetch(_) | Action::NeedsBody => State::Refused(RequestError::NoRoute),
        };
    }

    fn produce(
        &self,
        acks: Acks,
        record: Record,
        service: &Rc<Service>,
        notify: &Rc<Notify>,
        now: Instant,
    ) -> State {
        let client = &service.clients[self.resolved.cluster];
        let Some(topic) = client.produce_topic(&self.resolved.topic) else {
            return State::Refused(RequestError::TopicUnavailable {
                topic: self.resolved.topic.clone(),
                reason: None,
            });
        };
        let delivery = Delivery::new(notify.clone());
        let deadline = self.begun + self.resolved.timeout;
        client.produce(topic, acks, record, delivery.clone(), now, deadline);
        State::Acking { delivery }
    }
}

impl Action {
    /// Whether a held request need not wait for what came before it on its connection.
    fn may_begin(&self, before: Before) -> bool {
        match self {
            Self::Produce { .. } => !before.reads && !before.correlated,
            Self::Submit(_) => !before.reads && !before.writes,
            Self::Status(_) | Self::Fetch(_) | Self::NeedsBody => !before.writes,
        }
    }
}
