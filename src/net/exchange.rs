//! One request and its answer, between the connection that brought it and the core's Kafka side: the shell around [`crate::exchange`].
//!
//! ```text
//!             ┌─ one-way:    Receiving ──whole body──▶ Held ──▶ Acking ──outcome──────────────────▶ answer
//!  resolved ──┼─ correlated: Receiving ──whole body──▶ Held ──▶ Waiting ─┬─ reply, stored, time ──▶ answer
//!             │                                                          └─ came before ──▶ Fetching ─▶ answer
//!             └─ read:       Receiving ──▶ Reading ─┬─ found, or not ─────▶ answer
//!                             (body is dropped)     ├─ not cached ──▶ Cold ─▶ answer
//!                                                   └─ collection ──▶ Streaming ─▶ begin, data …, finish
//! ```

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};

use super::collection::{Collection, CollectionStep, Refused};
use super::service::Service;
use crate::clock::Instant;
use crate::error::RequestError;
use crate::exchange::correlated::{Correlated, Next};
use crate::exchange::one_way;
use crate::exchange::reading::{self, Behind, CacheAnswer, Opened, Reading};
use crate::http::{Body, RequestHead, ResponseHead};
use crate::kafka::cache::{PartitionView, Policy};
use crate::kafka::client::Delivery;
use crate::kafka::correlation::{CorrelationId, Place, Reply, ReplyFault};
use crate::kafka::producer::{Acks, Record};
use crate::kafka::replies::{Pending, Request, SubmitFault};
use crate::kafka::topics::{
    CachedPartitions, ColdFault, ColdQuery, ColdRecord, EndsTicket, Interest, TopicReader,
    TopicState, Topics, Waiting, find_cold,
};
use crate::mapping::http_kafka::correlated::{StatusRequest, Submission};
use crate::mapping::http_kafka::fetch::{
    Answer, CachedTopic, FetchRequest, Searched, SingleOutcome,
};
use crate::mapping::http_kafka::{Action, Resolved};
use crate::runtime::notify::Notify;

/// What earlier requests of a connection are still at. Reads wait for writes and writes for reads, so that a pipeline means what it would mean request by request;
/// reads do not wait for reads, nor writes for writes. Requests with a reply wait for all writes, and all wait for them: the shards that store them keep no order.
#[derive(Clone, Copy, Default)]
pub(super) struct Before {
    writes: bool,
    reads: bool,
    correlated: bool,
}

/// What an exchange wants its connection to do.
pub(super) enum Step {
    /// Nothing now.
    Pending,
    /// Answer; the exchange is over.
    Respond(Box<Answer>),
    /// Answer with an error; the exchange is over.
    Fail(RequestError),
    /// Begin an answer whose body comes in pieces.
    Begin(ResponseHead),
    /// A piece.
    Data(Bytes),
    /// The last piece; the exchange is over.
    Finish(Bytes),
    /// Cut the answer short, visibly; the exchange is over.
    Abort,
}

type Opening = (ResponseHead, Collection);
type ColdRead = Pin<Box<dyn Future<Output = Result<Option<ColdRecord>, ColdFault>>>>;
type ReplyRead = Pin<Box<dyn Future<Output = Result<Reply, ReplyFault>>>>;

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

/// A read and how far it has come.
struct Read {
    machine: Reading,
    reader: Option<Rc<TopicReader>>,
    /// Its place among those who wait for a change, and whether it waits for that of one key alone.
    waiting: Option<(Waiting, bool)>,
    wake_at: Instant,
    /// Where the topic ended when the request came, if that matters.
    ends: Option<Rc<EndsTicket>>,
    /// Where nothing matches.
    searched: Searched,
    /// Kafka was searched.
    is_cold_read: bool,
}

/// One request and what has become of it.
pub(super) struct Exchange {
    resolved: Resolved,
    state: State,
    accepted: Instant,
    charged: usize,
    service: Option<Rc<Service>>,
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if let Some(service) = &self.service {
            service.release_body(self.charged);
        }
    }
}

impl CachedTopic for CachedPartitions<'_> {
    fn partition_count(&self) -> usize {
        CachedPartitions::partition_count(self)
    }
    fn policy(&self) -> Policy {
        CachedPartitions::policy(self)
    }
    fn with_view<R>(&self, partition: usize, read: impl FnOnce(&PartitionView) -> R) -> Option<R> {
        CachedPartitions::with_view(self, partition, read)
    }
}

impl Exchange {
    /// An exchange whose body is still to come.
    pub(super) fn new(resolved: Resolved, now: Instant) -> Self {
        Self {
            resolved,
            state: State::Receiving {
                body: BytesMut::new(),
                head: None,
            },
            accepted: now,
            charged: 0,
            service: None,
        }
    }

    /// Keeps the head until the body is here, if it is needed then.
    pub(super) fn keep_head(&mut self, request: RequestHead) {
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
    pub(super) fn is_streaming(&self) -> bool {
        matches!(self.state, State::Streaming { .. })
    }

    /// Whether it waits for something that may never come, for the client's sake alone.
    pub(super) fn is_waiting(&self) -> bool {
        match &self.state {
            State::Waiting { .. } => true,
            State::Reading(read) => read.machine.is_waiting(),
            _ => false,
        }
    }

    /// Adds itself to what later requests of the connection may have to wait for. A collection that is being written was begun: what it must show is settled.
    pub(super) fn add_to(&self, before: &mut Before) {
        before.correlated |= self.is_correlated();
        before.writes |= self.is_write();
        before.reads |= !self.is_write() && !self.is_streaming();
    }

    /// Takes a piece of the body; false when the core has no room for it.
    pub(super) fn handle_data(&mut self, bytes: &Bytes, service: &Rc<Service>) -> bool {
        // The body of a read means nothing.
        if !self.is_write() {
            return true;
        }
        let State::Receiving { body, .. } = &mut self.state else {
            return true;
        };
        if !service.charge_body(bytes.len()) {
            return false;
        }
        self.service.get_or_insert_with(|| service.clone());
        self.charged += bytes.len();
        body.extend_from_slice(bytes);
        true
    }

    /// The body that came in pieces is whole: gives it, with the head if what to do was not known before.
    pub(super) fn take_body(&mut self) -> Option<(Bytes, Option<Box<RequestHead>>)> {
        match &mut self.state {
            State::Receiving { body, head } => Some((std::mem::take(body).freeze(), head.take())),
            _ => None,
        }
    }

    /// What to do is known now.
    pub(super) fn set_resolved(&mut self, resolved: Resolved) {
        self.resolved = resolved;
    }

    /// The whole body is here: the record can go on its way, or the reading begin.
    pub(super) fn handle_body(&mut self, body: Bytes, service: &Rc<Service>, now: Instant) {
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
                State::Reading(Box::new(Read {
                    machine,
                    reader: None,
                    waiting: None,
                    wake_at: now,
                    ends: None,
                    searched: Searched::default(),
                    is_cold_read: false,
                }))
            }
        };
    }

    /// The gateway is ending: nobody is kept waiting for what may never come, and for replies until `until` at most.
    pub(super) fn handle_drain(&mut self, now: Instant, until: Instant) {
        match &mut self.state {
            State::Waiting { machine, .. } => machine.handle_drain(now, until),
            State::Reading(read) => read.machine.handle_drain(),
            _ => {}
        }
    }

    /// When to poll without being woken.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        match &self.state {
            State::Reading(read) => Some(read.wake_at),
            State::Waiting { machine, .. } | State::Fetching { machine, .. } => {
                Some(machine.poll_timeout())
            }
            State::Cold { .. } => Some(self.accepted + self.resolved.timeout),
            State::Receiving { .. }
            | State::Held { .. }
            | State::Acking { .. }
            | State::Streaming { .. }
            | State::Refused(_) => None,
        }
    }

    /// Goes as far as it can. `before`: what earlier requests of the connection are still at. `room`: bytes of answer that may be given now.
    pub(super) fn poll(
        &mut self,
        context: &mut Context<'_>,
        service: &Rc<Service>,
        notify: &Rc<Notify>,
        before: Before,
        room: usize,
        now: Instant,
    ) -> Step {
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
                read.machine.begin_at(now);
                read.wake_at = Instant::FAR_FUTURE;
                Step::Pending
            }
            State::Reading(_) => self.poll_reading(service, notify, now),
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
        let deadline = self.accepted + self.resolved.timeout;
        client.produce(topic, acks, record, delivery.clone(), now, deadline);
        State::Acking { delivery }
    }

    /// Asks the shard of its id.
    fn ask(
        &mut self,
        machine: Box<Correlated>,
        service: &Rc<Service>,
        notify: &Rc<Notify>,
    ) -> State {
        let replies = &service.replies[self.resolved.cluster];
        let Some((topic, id)) = self.correlation(service) else {
            return State::Refused(RequestError::NoRoute);
        };
        let (wants, deadline) = (machine.wants(), machine.poll_timeout());
        let topic = topic.to_owned();
        let asked = match &mut self.resolved.action {
            Action::Submit(submission) => {
                let request = Request {
                    topic: self.resolved.topic.clone(),
                    acks: Acks::from(submission.acks),
                    record: std::mem::take(&mut submission.record),
                };
                let is_ours = submission.is_ours;
                replies.submit(&topic, id, is_ours, request, wants, deadline, notify)
            }
            _ => replies.watch(&topic, id, wants, deadline, notify),
        };
        match asked {
            Ok(pending) => State::Waiting { machine, pending },
            Err(SubmitFault::Overloaded) => State::Refused(RequestError::RepliesOverloaded),
            Err(SubmitFault::TooManyTopics) => State::Refused(RequestError::TopicUnavailable {
                topic,
                reason: None,
            }),
        }
    }

    /// The reply topic and the id of a correlated request.
    fn correlation(&self, service: &Service) -> Option<(&str, CorrelationId)> {
        let replies = &service.replies[self.resolved.cluster];
        let id = |header: &str, id: &Bytes| CorrelationId {
            header: replies.header_number(header),
            id: id.clone(),
        };
        match &self.resolved.action {
            Action::Submit(submission) => {
                let Submission {
                    id: value,
                    reply_topic,
                    reply_header,
                    ..
                } = &**submission;
                Some((reply_topic, id(reply_header, value)))
            }
            Action::Status(status) => {
                let StatusRequest {
                    id: value,
                    reply_header,
                    ..
                } = &**status;
                Some((&self.resolved.topic, id(reply_header, value)))
            }
            _ => None,
        }
    }

    fn poll_correlated(
        &mut self,
        context: &mut Context<'_>,
        service: &Rc<Service>,
        notify: &Rc<Notify>,
        now: Instant,
    ) -> Step {
        loop {
            let next = match &mut self.state {
                State::Waiting { machine, pending } => match pending.verdict() {
                    Some(verdict) => machine.handle_verdict(verdict),
                    None if now >= machine.poll_timeout() => machine.handle_timeout(),
                    None => return Step::Pending,
                },
                State::Fetching { machine, read } => match read.as_mut().poll(context) {
                    Poll::Ready(read) => machine.handle_read(read),
                    Poll::Pending => return Step::Pending,
                },
                State::Refused(error) => return Step::Fail(error.clone()),
                _ => return Step::Pending,
            };
            match next {
                Next::Wait => {}
                Next::Answer(answer) => return Step::Respond(answer),
                Next::Fail(error) => return Step::Fail(error),
                Next::Read(place) => self.fetch_reply(place, service),
                Next::AskAgain => {
                    let replaced =
                        std::mem::replace(&mut self.state, State::Refused(RequestError::NoReply));
                    if let State::Fetching { machine, .. } | State::Waiting { machine, .. } =
                        replaced
                    {
                        self.state = self.ask(machine, service, notify);
                    }
                }
            }
        }
    }

    /// Reads a reply that came before.
    fn fetch_reply(&mut self, place: Place, service: &Rc<Service>) {
        let Some((topic, id)) = self.correlation(service) else {
            return;
        };
        let (topic, replies) = (
            topic.to_owned(),
            service.replies[self.resolved.cluster].clone(),
        );
        // A client that waits only a moment for a reply that is there gets it all the same.
        let until = self.accepted + self.resolved.timeout;
        let read = Box::pin(async move { replies.read(&topic, &id, place, until).await });
        let replaced = std::mem::replace(&mut self.state, State::Refused(RequestError::NoReply));
        self.state = match replaced {
            State::Waiting { machine, .. } => State::Fetching { machine, read },
            other => other,
        };
    }

    fn poll_reading(&mut self, service: &Rc<Service>, notify: &Rc<Notify>, now: Instant) -> Step {
        let topics = &service.topics[self.resolved.cluster];
        let (Action::Fetch(request), State::Reading(read)) =
            (&self.resolved.action, &mut self.state)
        else {
            return Step::Pending;
        };
        let next = read.ask_cache(topics, request, &self.resolved.topic, service, notify, now);
        match next {
            reading::Next::WaitUntil(until) => {
                read.wait(Interest::All, notify);
                read.wake_at = until;
                Step::Pending
            }
            reading::Next::WaitForChange(until) => {
                let interest = request.only_key().map_or(Interest::All, Interest::Key);
                read.wait(interest, notify);
                read.wake_at = until;
                Step::Pending
            }
            reading::Next::Answer(answer) => Step::Respond(answer),
            reading::Next::Fail(error) => Step::Fail(error),
            reading::Next::Begin((head, collection)) => {
                let collection = Box::new(collection);
                self.state = State::Streaming { collection };
                Step::Begin(head)
            }
            reading::Next::Cold => self.read_cold(service, notify),
            reading::Next::LookOn => {
                notify.notify();
                read.wake_at = Instant::FAR_FUTURE;
                Step::Pending
            }
        }
    }

    fn read_cold(&mut self, service: &Rc<Service>, notify: &Rc<Notify>) -> Step {
        let topics = &service.topics[self.resolved.cluster];
        let topic = self.resolved.topic.clone();
        let replaced = std::mem::replace(&mut self.state, State::Refused(RequestError::NotFound));
        let (Action::Fetch(request), State::Reading(from)) = (&self.resolved.action, replaced)
        else {
            return Step::Pending;
        };
        // More was let go of while Kafka was searched, unseen: not found cannot be said.
        let (Some(reader), true) = (from.reader.clone(), !from.is_cold_read) else {
            return Step::Fail(RequestError::ColdReadFailed { topic });
        };
        let view = topics.cached(&reader);
        let until = self.accepted + self.resolved.timeout;
        let query = cold_query(request, &view);
        let searched_below = cache_starts(&view);
        let read = Box::pin(find_cold(topics.clone(), reader.clone(), query, until));
        self.state = State::Cold {
            from,
            read,
            searched_below,
        };
        // It has to be polled to begin; the connection's next turn does.
        notify.notify();
        Step::Pending
    }

    fn poll_cold(
        &mut self,
        context: &mut Context<'_>,
        service: &Rc<Service>,
        notify: &Rc<Notify>,
        now: Instant,
    ) -> Step {
        let topics = &service.topics[self.resolved.cluster];
        let (
            Action::Fetch(request),
            State::Cold {
                from,
                read,
                searched_below,
            },
        ) = (&self.resolved.action, &mut self.state)
        else {
            return Step::Pending;
        };
        let topic = self.resolved.topic.clone();
        match read.as_mut().poll(context) {
            Poll::Pending if now >= self.accepted + self.resolved.timeout => {
                Step::Fail(RequestError::ColdReadFailed { topic })
            }
            Poll::Pending => Step::Pending,
            Poll::Ready(Err(ColdFault::TooLong { read_bytes })) => {
                Step::Fail(RequestError::ColdReadTooLong { topic, read_bytes })
            }
            Poll::Ready(Err(ColdFault::Failed)) => {
                Step::Fail(RequestError::ColdReadFailed { topic })
            }
            Poll::Ready(Ok(None)) => {
                for (partition, below) in std::mem::take(searched_below).into_iter().enumerate() {
                    from.searched.set(partition, below);
                }
                from.is_cold_read = true;
                let replaced =
                    std::mem::replace(&mut self.state, State::Refused(RequestError::NotFound));
                if let State::Cold { from, .. } = replaced {
                    self.state = State::Reading(from);
                }
                self.poll_reading(service, notify, now)
            }
            Poll::Ready(Ok(Some(record))) => {
                let Some(reader) = &from.reader else {
                    return Step::Fail(RequestError::ColdReadFailed { topic });
                };
                let cursor = request.cursor(&topics.cached(reader));
                let headers = record
                    .headers
                    .iter()
                    .map(|(name, value)| (&name[..], value.as_deref()));
                let answer = request.answer(
                    record.partition,
                    record.offset + 1,
                    record.value.as_deref(),
                    headers,
                    cursor.is_some(),
                );
                answer.map_or(Step::Fail(RequestError::NotFound), Step::Respond)
            }
        }
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

impl Read {
    /// Waits for a change of the topic. A waiter that is there already stays, unless it waits for less.
    fn wait(&mut self, interest: Interest<'_>, notify: &Rc<Notify>) {
        let is_narrow = interest != Interest::All;
        if self
            .waiting
            .as_ref()
            .is_some_and(|(_, narrow)| *narrow == is_narrow)
        {
            return;
        }
        self.waiting = self
            .reader
            .as_ref()
            .map(|reader| (reader.wait(interest, notify), is_narrow));
    }

    /// The cache's answer, or for what to wait.
    fn ask_cache(
        &mut self,
        topics: &Topics,
        request: &FetchRequest,
        topic: &str,
        service: &Service,
        notify: &Rc<Notify>,
        now: Instant,
    ) -> reading::Next<Opening> {
        if self.reader.is_none() {
            self.reader = topics.reader(topic, now);
        }
        let reader = self.reader.clone();
        let opened = match reader.as_ref().map(|reader| reader.state()) {
            None => Opened::TooMany,
            Some(TopicState::Opening) => Opened::Opening,
            Some(TopicState::Unknown(error)) => Opened::Unknown(error),
            Some(TopicState::Open) => Opened::Open,
        };
        if let Some(next) = self.machine.handle_opened(opened, now) {
            return next;
        }
        let Some(reader) = reader else {
            return reading::Next::Fail(RequestError::NotFound);
        };
        let behind = self.behind(topics, &reader, request, notify, now);
        if let Some(next) = self.machine.handle_behind(behind, now) {
            return next;
        }
        if behind == Behind::Writes {
            service.watch.metrics.reads_behind.increment();
        }
        let view = topics.cached(&reader);
        let answer = if request.merge {
            collection_answer(topics, &reader, request, &view)
        } else {
            item_answer(request.single_beyond(&view, &mut self.searched))
        };
        match &answer {
            CacheAnswer::Found(_)
            | CacheAnswer::Unchanged(_)
            | CacheAnswer::Collection(_)
            | CacheAnswer::NotFound => service.watch.metrics.cache_hits.increment(),
            CacheAnswer::ItemNotCached => service.watch.metrics.cache_misses.increment(),
            CacheAnswer::Warming
            | CacheAnswer::Unfinished
            | CacheAnswer::TooMany
            | CacheAnswer::CollectionNotCached => {}
        }
        self.machine.handle_cache(answer, behind, now)
    }

    fn behind(
        &mut self,
        topics: &Topics,
        reader: &Rc<TopicReader>,
        request: &FetchRequest,
        notify: &Rc<Notify>,
        now: Instant,
    ) -> Behind {
        let count = reader.partition_count();
        let home = request.home_partition(count);
        let mut partitions =
            (0..count).filter(|partition| home.is_none_or(|home| home == *partition));
        if request.is_no_cache {
            let ticket = self
                .ends
                .get_or_insert_with(|| topics.ask_ends(reader, notify, now));
            let has_read = |partition: usize| {
                let end = ticket.end(partition);
                end.is_some_and(|end| topics.has_reached(reader, partition, end))
            };
            // All of them: others may put a key wherever they like.
            if !(0..count).all(has_read) {
                return Behind::Ends;
            }
        }
        if partitions.all(|partition| topics.has_reached_floor(reader, partition)) {
            Behind::Nothing
        } else {
            Behind::Writes
        }
    }
}

fn item_answer(outcome: SingleOutcome) -> CacheAnswer<Opening> {
    match outcome {
        SingleOutcome::Answer(answer) if answer.head.status == 304 => {
            CacheAnswer::Unchanged(answer)
        }
        SingleOutcome::Answer(answer) => CacheAnswer::Found(answer),
        SingleOutcome::NotFound => CacheAnswer::NotFound,
        SingleOutcome::Warming => CacheAnswer::Warming,
        SingleOutcome::NotCached { .. } => CacheAnswer::ItemNotCached,
        SingleOutcome::Unfinished => CacheAnswer::Unfinished,
    }
}

fn collection_answer(
    topics: &Topics,
    reader: &Rc<TopicReader>,
    request: &FetchRequest,
    view: &CachedPartitions<'_>,
) -> CacheAnswer<Opening> {
    match Collection::open(topics, reader, request, view) {
        Ok((head, Some(collection))) => CacheAnswer::Collection((head, collection)),
        Ok((head, None)) => CacheAnswer::Unchanged(Box::new(Answer {
            head,
            body: Body::Empty,
        })),
        Err(Refused::Warming) => CacheAnswer::Warming,
        Err(Refused::TooMany) => CacheAnswer::TooMany,
        Err(Refused::NotCached) => CacheAnswer::CollectionNotCached,
    }
}

/// Where the cache of each partition begins.
fn cache_starts(topic: &CachedPartitions<'_>) -> Vec<i64> {
    let start = |partition| topic.with_view(partition, PartitionView::evicted_below);
    (0..topic.partition_count())
        .map(|partition| start(partition).unwrap_or(0))
        .collect()
}

fn cold_query(request: &FetchRequest, topic: &CachedPartitions<'_>) -> ColdQuery {
    let count = topic.partition_count();
    let cursor = request.cursor(topic);
    let from = (0..).take(count).map(|partition| {
        cursor
            .as_ref()
            .and_then(|cursor| cursor.offset(partition))
            .unwrap_or(0)
    });
    let filters = request.filters.clone();
    ColdQuery {
        first: request.home_partition(count),
        from: from.collect(),
        matches: Box::new(move |key, headers| {
            filters.is_empty()
                || filters
                    .iter()
                    .any(|filter| filter.matches(key, headers.clone()))
        }),
    }
}
