//! One request on the core that took it, as `net/exchange` drives it: asks the producer, the shard of its id or the cache, and ends with one outcome.
//!
//! Sits between the clients and the core. Its one rule: the machines of [`crate::exchange`] decide, this moves messages and time.

use std::time::Duration;

use bytes::Bytes;

use super::core::Core;
use super::message::{Message, Submit, Token};
use super::read::ReplyRead;
use super::{CORRELATION, ITEMS, REPLIES, Shared, WAIT_MAX};
use crate::clock::Instant;
use crate::config;
use crate::error::RequestError;
use crate::exchange::correlated::{Correlated, Next};
use crate::exchange::one_way;
use crate::http::Body;
use crate::kafka::cache::WalkId;
use crate::kafka::correlation::{CorrelationId, Verdict, Waiter};
use crate::kafka::producer::{Ack, ProduceFault, Record};
use crate::mapping::http_kafka::correlated::{StatusRequest, Submission};
use crate::mapping::http_kafka::fetch::{FetchRequest, JsonArray};
use crate::mapping::prefer::Prefer;
use crate::sim::event::GatewayEvent;

/// What a client asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    Put { key: Bytes },
    Delete { key: Bytes },
    Get { key: Bytes, wait: Option<Duration> },
    List,
    Submit(Question),
    Status { id: Bytes, wait: Option<Duration> },
}

/// A request with a reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Question {
    pub(super) id: Bytes,
    /// The client sent no key.
    pub(super) is_ours: bool,
    pub(super) is_async: bool,
    pub(super) wait: Option<Duration>,
}

/// How a request ended.
#[derive(Clone, Debug)]
pub(super) enum Outcome {
    Answered {
        status: u16,
        body: Bytes,
    },
    /// A collection, and up to where each partition was read when it began.
    Listed {
        body: Bytes,
        opened_at: Vec<i64>,
    },
    Failed(RequestError),
    /// The answer was cut short, visibly.
    Cut,
}

/// A request and what has become of it.
#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) ask: Ask,
    pub(super) accepted: Instant,
    pub(super) timeout: Duration,
    pub(super) state: State,
}

#[derive(Debug)]
pub(super) enum State {
    /// The record is on its way.
    Acking,
    /// The shard of its id will say.
    Waiting {
        machine: Box<Correlated>,
        slot: u64,
        verdict: Option<Verdict>,
        is_told: bool,
    },
    /// A reply that came before is being read.
    Fetching {
        machine: Box<Correlated>,
        read: Box<ReplyRead>,
    },
    /// The cache is to be asked.
    Reading {
        machine: Box<crate::exchange::reading::Reading>,
        request: Box<FetchRequest>,
    },
    /// A collection is being written.
    Streaming {
        walks: Vec<(usize, WalkId)>,
        opened_at: Vec<i64>,
        json: JsonArray,
        body: Vec<u8>,
    },
}

impl Core {
    /// Takes a request.
    pub(super) fn begin(&mut self, number: u64, ask: Ask, timeout: Duration, shared: &mut Shared) {
        let accepted = shared.fabric.now();
        match &ask {
            Ask::Put { key } | Ask::Delete { key } => {
                let token = shared.checker.next_token();
                let is_delete = matches!(ask, Ask::Delete { .. });
                let value = shared.truth.items.written(token, key, is_delete);
                let record = Record {
                    key: Some(key.clone()),
                    value,
                    headers: Vec::new(),
                };
                // Before it is given away: the producer may refuse it at once.
                self.writes_in_flight.insert(token, number);
                self.accept(number, ask, timeout, State::Acking, shared);
                self.produce(ITEMS, record, accepted + timeout, shared);
            }
            Ask::Submit(question) => {
                let machine =
                    Correlated::submission(&submission(question), timeout, WAIT_MAX, accepted);
                self.accept_correlated(number, ask, timeout, machine, shared);
            }
            Ask::Status { id, wait } => {
                let status = status_request(id, *wait);
                let machine = Correlated::status(&status, REPLIES, timeout, WAIT_MAX, accepted);
                self.accept_correlated(number, ask, timeout, machine, shared);
            }
            Ask::Get { .. } | Ask::List => {
                let state = super::cached::reading(&ask, timeout, accepted);
                if !std::mem::replace(&mut self.items.is_wanted, true) {
                    let event = GatewayEvent::Open { core: self.number };
                    shared.later(Duration::ZERO, event);
                }
                self.accept(number, ask, timeout, state, shared);
                self.poll(number, shared);
            }
        }
    }

    fn accept(
        &mut self,
        number: u64,
        ask: Ask,
        timeout: Duration,
        state: State,
        shared: &mut Shared,
    ) {
        let exchange = Exchange {
            ask,
            accepted: shared.fabric.now(),
            timeout,
            state,
        };
        self.exchanges.insert(number, exchange);
    }

    fn accept_correlated(
        &mut self,
        number: u64,
        ask: Ask,
        timeout: Duration,
        machine: Correlated,
        shared: &mut Shared,
    ) {
        let state = self.waiting(number, Box::new(machine), shared);
        self.accept(number, ask, timeout, state, shared);
        self.ask(number, shared);
    }

    fn waiting(&mut self, number: u64, machine: Box<Correlated>, shared: &mut Shared) -> State {
        let slot = shared.truth.next_slot(shared.fabric.now());
        self.slots.insert(slot, number);
        State::Waiting {
            machine,
            slot,
            verdict: None,
            is_told: false,
        }
    }

    /// Asks the shard of its id.
    fn ask(&mut self, number: u64, shared: &mut Shared) {
        let Some(exchange) = self.exchanges.get(&number) else {
            return;
        };
        let (Some(id), State::Waiting { machine, slot, .. }) =
            (exchange.ask.correlation(), &exchange.state)
        else {
            return;
        };
        let (slot, until) = (*slot, machine.poll_timeout());
        let token = Token {
            core: self.index,
            slot,
        };
        let waiter = Waiter {
            token,
            wants: machine.wants(),
            deadline: until,
        };
        let owner = self.owner_of(&id);
        let message = match &exchange.ask {
            Ask::Submit(question) => Message::Submit(Box::new(Submit {
                id,
                is_ours: question.is_ours,
                record: submission(question).record,
                waiter,
            })),
            _ => Message::Watch { id, waiter },
        };
        if self.try_send(owner, message, shared).is_err() {
            self.slots.remove(&slot);
            shared.truth.summary.refused += 1;
            self.exchanges.remove(&number);
            let failed = Outcome::Failed(RequestError::RepliesOverloaded);
            return self.answers.push((number, failed));
        }
        let wait = until.saturating_duration_since(shared.fabric.now());
        let core = self.number;
        let event = GatewayEvent::Poll {
            core,
            request: number,
        };
        shared.later(wait, event);
        self.poll(number, shared);
    }

    /// A verdict has come.
    pub(super) fn fill_slot(&mut self, slot: u64, verdict: Verdict, shared: &mut Shared) {
        let Some(number) = self.slots.remove(&slot) else {
            return;
        };
        let Some(exchange) = self.exchanges.get_mut(&number) else {
            return;
        };
        if let State::Waiting {
            verdict: place,
            slot: current,
            is_told,
            ..
        } = &mut exchange.state
        {
            if *current != slot || *is_told {
                shared
                    .truth
                    .fail(format_args!("request {number} is told twice: {verdict:?}"));
            }
            *is_told = true;
            *place = Some(verdict);
            self.poll(number, shared);
        }
    }

    /// Goes as far as it can.
    pub(super) fn poll(&mut self, number: u64, shared: &mut Shared) {
        match self.exchanges.get(&number).map(|exchange| &exchange.state) {
            Some(State::Waiting { .. } | State::Fetching { .. }) => {
                self.poll_correlated(number, shared);
            }
            Some(State::Reading { .. }) => self.poll_reading(number, shared),
            Some(State::Streaming { .. }) => self.poll_streaming(number, shared),
            Some(State::Acking) | None => {}
        }
    }

    fn poll_correlated(&mut self, number: u64, shared: &mut Shared) {
        let now = shared.fabric.now();
        loop {
            let Some(exchange) = self.exchanges.get_mut(&number) else {
                return;
            };
            let next = match &mut exchange.state {
                State::Waiting {
                    machine, verdict, ..
                } => match verdict.take() {
                    Some(verdict) => machine.handle_verdict(verdict),
                    None if now >= machine.poll_timeout() => machine.handle_timeout(),
                    None => return,
                },
                State::Fetching { machine, read } => match read.outcome.take() {
                    Some(read) => machine.handle_read(read),
                    None => return,
                },
                _ => return,
            };
            match next {
                Next::Wait => {}
                Next::Answer(answer) => {
                    let body = match answer.body {
                        Body::Full(body) => body,
                        _ => Bytes::new(),
                    };
                    let outcome = match answer.head.status {
                        // Of those who preferred a time it comes as an answer, with what was applied.
                        504 => Outcome::Failed(RequestError::NoReply),
                        status => Outcome::Answered { status, body },
                    };
                    return self.finish(number, outcome, shared);
                }
                Next::Fail(error) => return self.finish(number, Outcome::Failed(error), shared),
                Next::Read(place) => return self.read_reply(number, place, shared),
                Next::AskAgain => return self.ask_again(number, shared),
            }
        }
    }

    fn ask_again(&mut self, number: u64, shared: &mut Shared) {
        let Some(Exchange {
            ask,
            accepted,
            timeout,
            state: State::Waiting { machine, .. } | State::Fetching { machine, .. },
        }) = self.exchanges.remove(&number)
        else {
            return;
        };
        let state = self.waiting(number, machine, shared);
        let exchange = Exchange {
            ask,
            accepted,
            timeout,
            state,
        };
        self.exchanges.insert(number, exchange);
        self.ask(number, shared);
    }

    /// The producer has an outcome for a one-way write.
    pub(super) fn write_stored(&mut self, number: u64, result: Result<Ack, ProduceFault>) {
        if self.exchanges.remove(&number).is_none() {
            return;
        }
        let outcome = match one_way::answer(result) {
            Ok(answer) => Outcome::Answered {
                status: answer.head.status,
                body: Bytes::new(),
            },
            Err(error) => Outcome::Failed(error),
        };
        self.answers.push((number, outcome));
    }

    /// Ends a request with its outcome.
    pub(super) fn finish(&mut self, number: u64, outcome: Outcome, shared: &mut Shared) {
        self.let_go(number, shared);
        self.answers.push((number, outcome));
    }

    /// A request is over, or its client is gone: frees what it held.
    pub(super) fn let_go(&mut self, number: u64, shared: &mut Shared) {
        let Some(exchange) = self.exchanges.remove(&number) else {
            return;
        };
        match exchange.state {
            State::Waiting { slot, is_told, .. } => {
                self.slots.remove(&slot);
                let Some(id) = exchange.ask.correlation().filter(|_| !is_told) else {
                    return;
                };
                let token = Token {
                    core: self.index,
                    slot,
                };
                let owner = self.owner_of(&id);
                self.send_or_keep(owner, Message::Cancel { id, token }, shared);
            }
            State::Streaming { walks, .. } => {
                for (partition, walk) in walks {
                    self.items.close_walk(partition, walk);
                }
            }
            State::Acking | State::Fetching { .. } | State::Reading { .. } => {}
        }
    }
}

impl Ask {
    /// The id of a correlated request.
    pub(super) fn correlation(&self) -> Option<CorrelationId> {
        match self {
            Self::Submit(Question { id, .. }) | Self::Status { id, .. } => Some(CorrelationId {
                header: 0,
                id: id.clone(),
            }),
            _ => None,
        }
    }
}

/// What the mapping makes of a request with a reply.
fn submission(question: &Question) -> Submission {
    let name = String::from_utf8_lossy(CORRELATION).into_owned();
    let header = (Bytes::from_static(CORRELATION), Some(question.id.clone()));
    Submission {
        id: question.id.clone(),
        is_ours: question.is_ours,
        reply_topic: REPLIES.to_owned(),
        reply_header: name,
        acks: config::Acks::InSyncReplicas,
        record: Record {
            key: None,
            value: Some(question.id.clone()),
            headers: vec![header],
        },
        prefer: Prefer {
            respond_async: question.is_async,
            wait: question.wait,
        },
        accepted: question.is_async.then(Vec::new),
    }
}

fn status_request(id: &Bytes, wait: Option<Duration>) -> StatusRequest {
    StatusRequest {
        id: id.clone(),
        reply_header: String::from_utf8_lossy(CORRELATION).into_owned(),
        prefer: Prefer {
            respond_async: false,
            wait,
        },
        accepted: Vec::new(),
    }
}
