//! One core of a gateway process: its producer and metadata, its share of the replies and the items, and its clients' requests.
//!
//! Sits between the world and the machines. Its one rule: like the real shells, it moves messages and time and decides nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::exchange::{Exchange, Outcome};
use super::follow::{Follower, Source};
use super::items::Items;
use super::message::Message;
use super::replies::Replies;
use super::{ITEMS, REPLIES, Shared};
use crate::kafka::correlation::{CorrelationId, Limits};
use crate::kafka::producer::{self, ProduceFault};
use crate::kafka::topics::floors::Floors;
use crate::runtime::placement::CoreId;
use crate::sim::event::{EndpointEvent, Event, GatewayEvent, Purpose};
use crate::sim::shell::Shell;

/// Longer than in production, so that messages meet others that wait.
const RESEND_INTERVAL: Duration = Duration::from_millis(10);
const OPEN_INTERVAL: Duration = Duration::from_millis(100);
/// How often exchanges that nobody waits for are looked at.
const LINGER_INTERVAL: Duration = Duration::from_millis(500);

/// A core of a process.
pub(super) struct Core {
    /// Its number among all cores that ever were.
    pub(super) number: usize,
    /// Its index in its process.
    pub(super) index: CoreId,
    pub(super) cores: usize,
    pub(super) process: usize,
    pub(super) shell: Shell,
    pub(super) replies: Replies,
    pub(super) items: Items,
    pub(super) floors: Arc<Floors>,
    pub(super) followers: BTreeMap<Source, Follower>,
    pub(super) exchanges: BTreeMap<u64, Exchange>,
    /// Whose answer a verdict is.
    pub(super) slots: BTreeMap<u64, u64>,
    pub(super) answers: Vec<(u64, Outcome)>,
    /// Records without an outcome, and whose they are.
    pub(super) unfinished: BTreeSet<u64>,
    pub(super) requests_in_flight: BTreeMap<u64, CorrelationId>,
    pub(super) writes_in_flight: BTreeMap<u64, u64>,
    is_resending: bool,
}

/// What a core is made of besides its number.
#[derive(Clone)]
pub(super) struct Kind {
    pub(super) cores: usize,
    pub(super) process: usize,
    pub(super) floors: Arc<Floors>,
    pub(super) producer: producer::Limits,
    pub(super) replies: Limits,
}

impl Core {
    pub(super) fn start(first: usize, index: usize, kind: &Kind, shared: &mut Shared) -> Self {
        let number = first + index;
        shared.mailboxes.open(number);
        let now = shared.fabric.now();
        let tick = Event::Tick { core: number };
        shared.fabric.schedule.at(now, tick);
        let core = Self {
            number,
            index: CoreId(index),
            cores: kind.cores,
            process: kind.process,
            shell: Shell::new(number, kind.producer.clone(), number as u64),
            replies: Replies::new(kind.cores, kind.replies),
            items: Items::default(),
            floors: kind.floors.clone(),
            followers: BTreeMap::new(),
            exchanges: BTreeMap::new(),
            slots: BTreeMap::new(),
            answers: Vec::new(),
            unfinished: BTreeSet::new(),
            requests_in_flight: BTreeMap::new(),
            writes_in_flight: BTreeMap::new(),
            is_resending: false,
        };
        shared.later(Duration::ZERO, GatewayEvent::Open { core: number });
        shared.later(LINGER_INTERVAL, GatewayEvent::Linger { core: number });
        core
    }

    /// The number of another core of the process.
    pub(super) const fn number_of(&self, index: CoreId) -> usize {
        self.number - self.index.0 + index.0
    }

    pub(super) fn handle_endpoint(
        &mut self,
        purpose: Purpose,
        event: EndpointEvent,
        shared: &mut Shared,
    ) {
        match purpose {
            Purpose::Produce { .. } | Purpose::Metadata => {
                self.shell
                    .handle(purpose, event, &mut shared.checker, &mut shared.fabric);
            }
            Purpose::Follow { topic, partition } => {
                self.handle_follow((topic, partition), event, shared);
            }
            Purpose::Ends { broker } => self.handle_ends(broker, event, shared),
            Purpose::Read { request } => self.handle_read(request, event, shared),
        }
    }

    pub(super) fn handle_event(&mut self, event: &GatewayEvent, shared: &mut Shared) {
        match *event {
            GatewayEvent::Pump { .. } => self.pump(shared),
            GatewayEvent::Resend { .. } => self.resend(shared),
            GatewayEvent::Open { .. } => self.open(shared),
            GatewayEvent::Linger { .. } => {
                self.replies.shard.handle_timeout(shared.fabric.now());
                shared.later(LINGER_INTERVAL, event.clone());
            }
            GatewayEvent::Poll { request, .. } => self.poll(request, shared),
            _ => {}
        }
    }

    /// Some messages out of the mailbox; the others have to wait for their turn.
    fn pump(&mut self, shared: &mut Shared) {
        for _ in 0..=shared.fabric.random.below(8) {
            let Some(message) = shared.mailboxes.take(self.number) else {
                break;
            };
            self.handle_message(message, shared);
        }
        shared.mailboxes.leave(self.number, &mut shared.fabric);
    }

    pub(super) fn handle_message(&mut self, message: Message, shared: &mut Shared) {
        match message {
            Message::Submit(submit) => self.submit_here(*submit, shared),
            Message::Watch { id, waiter } => self.watch_here(id, waiter, shared),
            Message::Cancel { id, token } => self.cancel_here(&id, token, shared),
            Message::Forget { id, place } => self.replies.shard.forget(&id, place),
            Message::Told { slot, verdict } => self.fill_slot(slot, verdict, shared),
            Message::Follow { partition } => self.follow((REPLIES, partition), shared),
            Message::Indexed {
                partition,
                is_reset,
                replies,
                next_offset,
            } => self.take_indexed(partition, is_reset, replies, next_offset, shared),
            Message::Subscribe { partition, reader } => self.subscribe(partition, reader, shared),
            Message::Updates {
                partition,
                updates,
                is_fresh,
            } => self.apply_updates(partition, updates, is_fresh),
        }
    }

    /// Opens what is not open yet.
    fn open(&mut self, shared: &mut Shared) {
        let has_replies = self.open_replies(shared);
        let has_items = !self.items.is_wanted || self.open_items(shared);
        if !has_replies || !has_items {
            let event = GatewayEvent::Open { core: self.number };
            shared.later(OPEN_INTERVAL, event);
        }
    }

    /// What did not fit is tried again in a moment.
    pub(super) fn resend_soon(&mut self, shared: &mut Shared) {
        if !std::mem::replace(&mut self.is_resending, true) {
            let event = GatewayEvent::Resend { core: self.number };
            shared.later(RESEND_INTERVAL, event);
        }
    }

    fn resend(&mut self, shared: &mut Shared) {
        self.is_resending = false;
        let are_replies_left = self.resend_replies(shared);
        if self.resend_items(shared) || are_replies_left {
            self.resend_soon(shared);
        }
    }

    /// Passes on what the producer says, and looks at the readers again if anything may have come for them.
    pub(super) fn settle(&mut self, shared: &mut Shared) {
        loop {
            for (topic, partition, next_offset) in std::mem::take(&mut self.shell.acked) {
                self.floors.floor(&topic, partition).raise(next_offset);
            }
            let completed = std::mem::take(&mut self.shell.completed);
            if completed.is_empty() {
                break;
            }
            for token in completed {
                self.finish_record(token, shared);
            }
        }
        if std::mem::take(&mut self.items.is_changed) {
            self.poll_readers(shared);
        }
    }

    fn finish_record(&mut self, token: u64, shared: &mut Shared) {
        self.unfinished.remove(&token);
        let Some(result) = shared.checker.result(token) else {
            return;
        };
        if let Some(id) = self.requests_in_flight.remove(&token) {
            self.request_stored(&id, result.map(|_| ()), shared);
        } else if let Some(request) = self.writes_in_flight.remove(&token) {
            self.write_stored(request, result);
        }
    }

    /// The process ends: of what was under way nobody will know.
    pub(super) fn stop(self, shared: &mut Shared) {
        let now = shared.fabric.now();
        shared.mailboxes.close(self.number);
        for token in &self.unfinished {
            // The producer may have said it already, to nobody.
            if shared.checker.result(*token).is_none() {
                let unknown = Err(ProduceFault::OutcomeUnknown);
                shared.checker.completed(*token, unknown, now);
            }
        }
    }

    /// What a partition of the items has to be read up to.
    pub(super) fn floor(&self, partition: usize) -> i64 {
        let partition = i32::try_from(partition).unwrap_or(i32::MAX);
        self.floors.floor(ITEMS, partition).required()
    }
}
