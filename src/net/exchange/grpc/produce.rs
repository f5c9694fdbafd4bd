//! A call whose messages become records, answered when they are stored or with the records of a reply topic.
//!
//! ```text
//!  message ─▶ record ─▶ in flight, so many at once ─▶ stored
//!  end     ─▶ null   ─▶ in flight                  ─▶ stored ─┬─ no reply topic: an empty message, OK
//!                                                              └─ else what the reply topic says, as it comes
//! ```
//! A call that comes with an idempotency key may have been made before: first it is found out. What has its answer is not made again.
//! Rule: a caller that goes away before its call is over leaves a record that says so: who serves the call need not wait for it.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;

use super::callee::CallStep;
use crate::clock::Instant;
use crate::error::RequestError;
use crate::exchange::calls::{CallOutput, CallReply};
use crate::grpc::proto::MethodKind;
use crate::grpc::status::{Code, Status};
use crate::kafka::client::{Client, Delivery};
use crate::kafka::correlation::{CorrelationId, Reply, ReplyFault};
use crate::kafka::producer::{Acks, Record, TopicId};
use crate::kafka::replies::{Heard, Listening, Replies, SubmitFault};
use crate::mapping::grpc::Metadata;
use crate::mapping::grpc_kafka::ProduceCall;
use crate::mapping::grpc_kafka::reply::ReplyPart;
use crate::net::exchange::Turn;
use crate::runtime::notify::Notify;
use crate::runtime::{self};

/// Records of one call that are on their way at once.
const IN_FLIGHT_MAX: usize = 64;
/// Bytes of them.
const IN_FLIGHT_BYTES_MAX: usize = 1 << 20;
/// The longest that a record may take to be stored.
const STORE_TIMEOUT: Duration = Duration::from_secs(30);

/// A call whose messages become records.
pub(super) struct Produce {
    call: ProduceCall,
    deadline: Option<Instant>,
    /// When it has been silent for too long, if it has no deadline.
    silent_at: Instant,
    in_flight: VecDeque<(Rc<Delivery>, usize)>,
    in_flight_bytes: usize,
    open: Option<Open>,
    reply: CallReply,
    /// The record that says how the client's side ended is on its way.
    is_half_closed: bool,
    before: Before,
    /// Some record of it may be in the topic.
    has_stored: bool,
    answered: Answered,
    fault: Option<Status>,
}

type ClosingRead = Pin<Box<dyn Future<Output = Result<Reply, ReplyFault>>>>;

/// How much of its answer a call has been given.
#[derive(PartialEq, Eq)]
enum Answered {
    No,
    /// The only message of one without a reply topic.
    Message,
    /// All of it.
    Over,
}

/// Whether the call was made before.
enum Before {
    /// That is being found out.
    Unknown,
    /// It was, and is over: how is being read.
    Reading(ClosingRead),
    /// It was, and is over.
    Over,
    /// It was not, or is not over.
    Nothing,
}

/// What is there once the call is begun.
struct Open {
    client: Client,
    topic: TopicId,
    listening: Option<Listening>,
}

impl Produce {
    pub(super) fn new(
        call: ProduceCall,
        kind: MethodKind,
        deadline: Option<Instant>,
        now: Instant,
    ) -> Self {
        Self {
            deadline,
            silent_at: now + call.timeout,
            in_flight: VecDeque::new(),
            in_flight_bytes: 0,
            open: None,
            reply: CallReply::new(!kind.is_server_streaming()),
            is_half_closed: false,
            before: if call.is_ours || call.reply.is_none() {
                Before::Nothing
            } else {
                Before::Unknown
            },
            has_stored: false,
            answered: Answered::No,
            fault: None,
            call,
        }
    }

    pub(super) fn wants_message(&self) -> bool {
        let is_known = matches!(self.before, Before::Nothing | Before::Over);
        self.fault.is_none()
            && is_known
            && self.in_flight.len() < IN_FLIGHT_MAX
            && self.in_flight_bytes < IN_FLIGHT_BYTES_MAX
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let listening = self.open.as_ref().and_then(|open| open.listening.as_ref());
        let listening = listening.and_then(Listening::poll_timeout);
        let silent = self.deadline.is_none().then_some(self.silent_at);
        [listening, silent].into_iter().flatten().min()
    }

    pub(super) fn handle_message(&mut self, message: Bytes, turn: &mut Turn<'_, '_>) {
        self.silent_at = turn.now + self.call.timeout;
        if matches!(self.before, Before::Over) {
            return;
        }
        self.store(self.call.message(message), turn);
    }

    pub(super) fn handle_half_close(&mut self, turn: &mut Turn<'_, '_>) {
        self.is_half_closed = true;
        if self.call.reply.is_some() && !matches!(self.before, Before::Over) {
            self.store(self.call.half_close(), turn);
        }
    }

    fn store(&mut self, record: Record, turn: &mut Turn<'_, '_>) {
        if let Err(status) = self.open(turn) {
            self.fault = Some(status);
            return;
        }
        let Some(open) = &self.open else { return };
        let bytes = record.size_max();
        let delivery = Delivery::new(turn.notify.clone());
        let until = turn.now + STORE_TIMEOUT;
        let until = self.deadline.map_or(until, |deadline| deadline.min(until));
        let acks = Acks::from(self.call.acks);
        open.client
            .produce(open.topic, acks, record, delivery.clone(), turn.now, until);
        self.has_stored = true;
        self.in_flight_bytes += bytes;
        self.in_flight.push_back((delivery, bytes));
    }

    /// Listens for the reply before the first record goes, and finds the topic.
    fn open(&mut self, turn: &Turn<'_, '_>) -> Result<(), Status> {
        if self.open.is_some() {
            return Ok(());
        }
        let call = &self.call;
        let client = &turn.service.clients[call.cluster];
        let topic = client.produce_topic(&call.topic);
        let topic = topic.ok_or_else(|| unavailable(&call.topic))?;
        let listening = call.reply.as_ref().map(|reply| {
            let replies = &turn.service.replies[call.cluster];
            let id = self.correlation_id(replies);
            let heard = replies.listen(&reply.topic, id, call.is_ours, turn.notify);
            heard.map_err(|fault| match fault {
                SubmitFault::Overloaded => RequestError::RepliesOverloaded.status(),
                SubmitFault::TooManyTopics => unavailable(&reply.topic),
            })
        });
        self.open = Some(Open {
            client: client.clone(),
            topic,
            listening: listening.transpose()?,
        });
        Ok(())
    }

    pub(super) fn poll(&mut self, turn: &mut Turn<'_, '_>) -> CallStep {
        self.settle();
        if let Some(status) = &self.fault {
            return CallStep::End(status.clone(), Metadata::new());
        }
        if self.call.reply.is_none() {
            return self.poll_stored();
        }
        if let Err(status) = self.poll_before(turn) {
            self.fault = Some(status.clone());
            return CallStep::End(status, Metadata::new());
        }
        if let Before::Reading(_) = self.before {
            return self.wait(turn.now);
        }
        loop {
            match self.reply.poll() {
                Some(CallOutput::Begin(metadata)) => return CallStep::Begin(metadata),
                Some(CallOutput::Message(message)) => return CallStep::Message(message),
                Some(CallOutput::End(status, trailers)) => {
                    self.answered = Answered::Over;
                    return CallStep::End(status, trailers);
                }
                None => {}
            }
            let Some(listening) = self.open.as_mut().and_then(|open| open.listening.as_mut())
            else {
                return self.wait(turn.now);
            };
            match listening.poll_next(turn.context, turn.now) {
                Heard::Record(record) => {
                    self.silent_at = turn.now + self.call.timeout;
                    if !listening.is_history(record.reply.place) && listening.is_history_over() {
                        self.reply.end_history();
                    }
                    if let Some(part) = ReplyPart::of(&record.reply) {
                        self.reply.handle(part);
                    }
                }
                Heard::Nothing if listening.is_history_over() && self.reply.has_history() => {
                    self.reply.end_history();
                }
                Heard::Nothing => return self.wait(turn.now),
                Heard::Fault(fault) => {
                    let status = reply_fault(fault);
                    self.fault = Some(status.clone());
                    return CallStep::End(status, Metadata::new());
                }
            }
        }
    }

    /// Finds out whether the call was made before.
    fn poll_before(&mut self, turn: &mut Turn<'_, '_>) -> Result<(), Status> {
        if matches!(self.before, Before::Unknown) {
            if self.open.is_none() {
                self.reply.begin_history();
                self.open(turn)?;
            }
            let listening = self.open.as_ref().and_then(|open| open.listening.as_ref());
            let known = listening.and_then(Listening::known);
            let closing = known.map(|known| known.and_then(|known| known.closing));
            match (closing, &self.call.reply) {
                (None, _) => {}
                (Some(Some(place)), Some(reply)) => {
                    let replies = turn.service.replies[self.call.cluster].clone();
                    let (topic, id) = (reply.topic.clone(), self.correlation_id(&replies));
                    let until = turn.now + STORE_TIMEOUT;
                    let read = async move { replies.read(&topic, &id, place, until).await };
                    self.before = Before::Reading(Box::pin(read));
                }
                (Some(_), _) => self.before = Before::Nothing,
            }
        }
        if let Before::Reading(read) = &mut self.before
            && let Poll::Ready(read) = read.as_mut().poll(turn.context)
        {
            let reply = read.map_err(reply_fault)?;
            let part = ReplyPart::of(&reply);
            self.before = Before::Over;
            self.reply.choose(part.and_then(|part| part.attempt));
        }
        Ok(())
    }

    fn correlation_id(&self, replies: &Replies) -> CorrelationId {
        let header = self.call.reply.as_ref().map(|reply| &reply.header);
        CorrelationId {
            header: header.map_or(u16::MAX, |header| replies.header_number(header)),
            id: self.call.id.clone(),
        }
    }

    fn wait(&mut self, now: Instant) -> CallStep {
        if self.deadline.is_some() || now < self.silent_at {
            return CallStep::Pending;
        }
        let status = Status::new(
            Code::DEADLINE_EXCEEDED,
            "neither side has said anything for the longest that the gateway waits (`options.timeout`)",
        );
        CallStep::End(status, Metadata::new())
    }

    /// Without a reply topic the answer is that all is stored.
    fn poll_stored(&mut self) -> CallStep {
        if !self.is_half_closed || !self.in_flight.is_empty() {
            return CallStep::Pending;
        }
        if self.answered == Answered::No {
            self.answered = Answered::Message;
            return CallStep::Message(Bytes::new());
        }
        self.answered = Answered::Over;
        CallStep::End(Status::ok(), Metadata::new())
    }

    /// Takes in what became of records that were on their way, in their order.
    fn settle(&mut self) {
        while let Some((delivery, bytes)) = self.in_flight.front() {
            match delivery.outcome() {
                None => return,
                Some(Ok(_)) => self.in_flight_bytes -= bytes,
                Some(Err(fault)) => {
                    self.fault = Some(RequestError::Produce(fault).status());
                    self.in_flight.clear();
                    return;
                }
            }
            self.in_flight.pop_front();
        }
    }
}

impl Drop for Produce {
    /// Whoever serves the call is told that nobody waits for it. If that cannot be stored, its own deadline ends it.
    fn drop(&mut self) {
        let Some(open) = self
            .open
            .as_ref()
            .filter(|_| self.answered != Answered::Over)
        else {
            return;
        };
        let is_kept = !self.call.is_ours && self.is_half_closed && self.fault.is_none();
        let is_made = matches!(self.before, Before::Nothing) && self.has_stored;
        if self.call.reply.is_none() || is_kept || !is_made {
            // Whoever has an idempotency key may come back for the answer.
            return;
        }
        let now = runtime::now();
        let delivery = Delivery::new(Rc::new(Notify::default()));
        let acks = Acks::from(self.call.acks);
        let record = self.call.cancelled();
        open.client
            .produce(open.topic, acks, record, delivery, now, now + STORE_TIMEOUT);
    }
}

fn unavailable(topic: &str) -> Status {
    let error = RequestError::TopicUnavailable {
        topic: topic.to_owned(),
        reason: None,
    };
    error.status()
}

fn reply_fault(fault: ReplyFault) -> Status {
    match fault {
        ReplyFault::Unavailable => Status::new(
            Code::UNAVAILABLE,
            "Kafka cannot be asked for the reply; the call may have been made",
        ),
        ReplyFault::Gone => Status::new(Code::DATA_LOSS, "the reply is no longer in Kafka"),
    }
}
