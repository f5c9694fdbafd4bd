//! The reading of a reply that came before, as `kafka/replies/pending` does it.
//!
//! Sits under an exchange. Its one rule: what lies there has to be the reply to the id, or it is gone.

use super::core::Core;
use super::exchange::State;
use super::lookup::Lookup;
use super::message::Message;
use super::{REPLIES, RETRY_INTERVAL, Shared};
use crate::clock::Instant;
use crate::kafka::correlation::{CorrelationId, Place, Reply, ReplyFault, ReplyScan};
use crate::kafka::error_code::ErrorCode;
use crate::kafka::fetcher::FetchedPartition;
use crate::sim::event::{Endpoint, EndpointEvent, Purpose, Request, Response};

/// A reply on its way from Kafka.
#[derive(Debug)]
pub(super) struct ReplyRead {
    place: Place,
    until: Instant,
    lookup: Option<Lookup>,
    pub(super) outcome: Option<Result<Reply, ReplyFault>>,
}

impl Core {
    /// Reads the reply to a request that lies at `place`.
    pub(super) fn read_reply(&mut self, number: u64, place: Place, shared: &mut Shared) {
        let Some(mut exchange) = self.exchanges.remove(&number) else {
            return;
        };
        let until = exchange.accepted + exchange.timeout;
        exchange.state = match exchange.state {
            State::Waiting { machine, .. } => State::Fetching {
                machine,
                read: Box::new(ReplyRead {
                    place,
                    until,
                    lookup: None,
                    outcome: None,
                }),
            },
            other => other,
        };
        self.exchanges.insert(number, exchange);
        shared.fabric.wake(self.read_endpoint(number), until);
        self.try_read(number, shared);
    }

    const fn read_endpoint(&self, request: u64) -> Endpoint {
        Endpoint {
            core: self.number,
            purpose: Purpose::Read { request },
        }
    }

    fn reading(&mut self, number: u64) -> Option<&mut ReplyRead> {
        match &mut self.exchanges.get_mut(&number)?.state {
            State::Fetching { read, .. } => Some(read),
            _ => None,
        }
    }

    fn try_read(&mut self, number: u64, shared: &mut Shared) {
        let leaders = self.shell.leaders(REPLIES);
        let endpoint = self.read_endpoint(number);
        let now = shared.fabric.now();
        let Some(read) = self.reading(number) else {
            return;
        };
        if now >= read.until {
            read.outcome = Some(Err(ReplyFault::Unavailable));
            return self.poll(number, shared);
        }
        let Place { partition, offset } = read.place;
        let index = usize::try_from(partition).unwrap_or(usize::MAX);
        let Some(broker) = leaders.get(index).copied().flatten() else {
            return self.read_again(number, shared);
        };
        let request = Request::Fetch {
            topic: REPLIES,
            partition,
            offset,
        };
        let lookup = Lookup::begin(endpoint, broker, request, &mut shared.fabric);
        if let Some(read) = self.reading(number) {
            read.lookup = Some(lookup);
        }
    }

    fn read_again(&mut self, number: u64, shared: &mut Shared) {
        self.shell.want(REPLIES, &mut shared.fabric);
        let at = shared.fabric.now() + RETRY_INTERVAL;
        let endpoint = self.read_endpoint(number);
        if let Some(read) = self.reading(number) {
            shared.fabric.wake(endpoint, at.min(read.until));
        }
    }

    /// Takes what happened between a read and its broker.
    pub(super) fn handle_read(&mut self, number: u64, event: EndpointEvent, shared: &mut Shared) {
        let now = shared.fabric.now();
        let Some(read) = self.reading(number) else {
            return;
        };
        if matches!(event, EndpointEvent::Wake) {
            if now >= read.until || read.lookup.is_none() {
                self.try_read(number, shared);
            }
            return;
        }
        let Some(lookup) = &mut read.lookup else {
            return;
        };
        let Some(outcome) = lookup.handle(event, &mut shared.fabric) else {
            return;
        };
        lookup.close(&mut shared.fabric);
        read.lookup = None;
        let place = read.place;
        let id = self.exchanges.get(&number);
        let Some(id) = id.and_then(|exchange| exchange.ask.correlation()) else {
            return;
        };
        let Some(found) = self.found(&id, place, outcome) else {
            return self.read_again(number, shared);
        };
        if found.is_err() {
            let owner = self.owner_of(&id);
            self.send_or_keep(owner, Message::Forget { id, place }, shared);
        }
        if let Some(read) = self.reading(number) {
            read.outcome = Some(found.map_err(|()| ReplyFault::Gone));
        }
        self.poll(number, shared);
    }

    /// `None`: Kafka could not be asked. `Err`: it is not there.
    fn found(
        &self,
        id: &CorrelationId,
        place: Place,
        outcome: Result<Response, ()>,
    ) -> Option<Result<Reply, ()>> {
        let Ok(Response::Fetch(fetched)) = outcome else {
            return None;
        };
        let fetched: FetchedPartition = fetched;
        match fetched.error {
            ErrorCode::NONE => {}
            ErrorCode::OFFSET_OUT_OF_RANGE => return Some(Err(())),
            _ => return None,
        }
        let names = self.replies.names().clone();
        let mut scan = ReplyScan::new(place.partition, place.offset, names);
        let mut seen = scan.ingest(&fetched).replies.into_iter();
        let found = seen.find(|seen| seen.reply.place == place && seen.id == *id);
        Some(found.map(|seen| seen.reply).ok_or(()))
    }
}
