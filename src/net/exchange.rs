//! One request and its answer, between the connection that brought it and the core's Kafka side.
//!
//! ```text
//!             ┌─ produce: Receiving ──whole body──▶ Held ──▶ Acking ──outcome──▶ answer
//!  resolved ──┤
//!             └─ fetch:   Receiving ──▶ Reading ─┬─ found, or not ────▶ answer
//!                          (body is dropped)     ├─ not cached ──▶ Cold ─▶ answer
//!                                                └─ collection ──▶ Streaming ─▶ begin, data …, finish
//! ```

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::collection::{Collection, CollectionStep, Refused};
use super::service::{Service, count};
use crate::clock::Instant;
use crate::error::RequestError;
use crate::http::{Body, ResponseHead};
use crate::kafka::cache::{PartitionView, Policy};
use crate::kafka::client::Delivery;
use crate::kafka::producer::{Acks, Record};
use crate::kafka::topics::{
    CachedPartitions, ColdFault, ColdQuery, ColdRecord, TopicReader, TopicState, Topics, find_cold,
};
use crate::mapping::http_kafka::fetch::{Answer, CachedTopic, FetchRequest, SingleOutcome};
use crate::mapping::http_kafka::{Action, Resolved};
use crate::runtime::notify::Notify;

/// How long a read waits for the cache to have what this process has acknowledged.
const READ_YOUR_WRITES_WAIT: Duration = Duration::from_secs(1);
/// How long a read waits for a topic to be opened and read to its end.
const WARM_WAIT: Duration = Duration::from_secs(5);

/// What earlier requests of a connection are still at. Reads wait for writes and writes for reads, so that a pipeline means what it would mean request by request;
/// reads do not wait for reads, nor writes for writes.
#[derive(Clone, Copy, Default)]
pub(super) struct Before {
    writes: bool,
    reads: bool,
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

/// A read that cannot be answered yet, and until when it waits for a change of its topic.
struct Waiting {
    reader: Rc<TopicReader>,
    until: Instant,
}

/// What the cache says to a read.
enum CacheAnswer {
    Whole(Box<Answer>),
    Collection(ResponseHead, Collection),
    NotFound,
    Warming,
    TooMany,
    CollectionNotCached,
    ItemNotCached,
}

impl CacheAnswer {
    fn of_item(outcome: SingleOutcome) -> Self {
        match outcome {
            SingleOutcome::Answer(answer) => Self::Whole(answer),
            SingleOutcome::NotFound => Self::NotFound,
            SingleOutcome::Warming => Self::Warming,
            SingleOutcome::NotCached { .. } => Self::ItemNotCached,
        }
    }

    fn of_collection(
        topics: &Topics,
        reader: &Rc<TopicReader>,
        request: &FetchRequest,
        view: &CachedPartitions<'_>,
    ) -> Self {
        match Collection::open(topics, reader, request, view) {
            Ok((head, Some(collection))) => Self::Collection(head, collection),
            Ok((head, None)) => Self::Whole(Box::new(Answer {
                head,
                body: Body::Empty,
            })),
            Err(Refused::Warming) => Self::Warming,
            Err(Refused::TooMany) => Self::TooMany,
            Err(Refused::NotCached) => Self::CollectionNotCached,
        }
    }
}

type ColdRead = Pin<Box<dyn Future<Output = Result<Option<ColdRecord>, ColdFault>>>>;

enum State {
    /// The body is coming.
    Receiving { body: BytesMut },
    /// The record is ready and waits for reads that came before it on the connection.
    Held { record: Record },
    /// The record is on its way.
    Acking { delivery: Rc<Delivery> },
    /// The cache is to be asked.
    Reading {
        reader: Option<Rc<TopicReader>>,
        since: Instant,
        wake_at: Instant,
    },
    /// Kafka is being asked.
    Cold {
        reader: Rc<TopicReader>,
        read: ColdRead,
        /// Where the cache began when the reading did: it has to be asked again from there on.
        searched_below: Vec<i64>,
    },
    /// A collection is being written.
    Streaming { collection: Collection },
    /// Refused before anything was begun.
    Refused(RequestError),
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
            },
            accepted: now,
            charged: 0,
            service: None,
        }
    }

    fn is_write(&self) -> bool {
        matches!(self.resolved.action, Action::Produce { .. })
    }

    /// Whether it gives its answer piece by piece.
    pub(super) fn is_streaming(&self) -> bool {
        matches!(self.state, State::Streaming { .. })
    }

    /// Adds itself to what later requests of the connection may have to wait for. A collection that is being written was begun: what it must show is settled.
    pub(super) fn add_to(&self, before: &mut Before) {
        before.writes |= self.is_write();
        before.reads |= !self.is_write() && !self.is_streaming();
    }

    /// Takes a piece of the body; false when the core has no room for it.
    pub(super) fn handle_data(&mut self, bytes: &Bytes, service: &Rc<Service>) -> bool {
        // The body of a read means nothing.
        if !self.is_write() {
            return true;
        }
        let State::Receiving { body } = &mut self.state else {
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

    /// The body that came in pieces is whole.
    pub(super) fn handle_end(&mut self, now: Instant) {
        let State::Receiving { body } = &mut self.state else {
            return;
        };
        let body = std::mem::take(body).freeze();
        self.handle_body(body, now);
    }

    /// The whole body is here: the record can go to the producer, or the reading begin.
    pub(super) fn handle_body(&mut self, body: Bytes, now: Instant) {
        self.state = match &mut self.resolved.action {
            Action::Produce {
                record, tombstone, ..
            } => {
                let mut record: Record = std::mem::take(record);
                record.value = (!*tombstone).then_some(body);
                State::Held { record }
            }
            Action::Fetch(_) => State::Reading {
                reader: None,
                since: now,
                wake_at: now,
            },
        };
    }

    fn produce(
        &mut self,
        record: Record,
        service: &Rc<Service>,
        notify: &Rc<Notify>,
        now: Instant,
    ) {
        let Action::Produce { acks, .. } = &self.resolved.action else {
            return;
        };
        let client = &service.clients[self.resolved.cluster];
        let Some(topic) = client.produce_topic(&self.resolved.topic) else {
            self.state = State::Refused(RequestError::TopicUnavailable {
                topic: self.resolved.topic.clone(),
                reason: None,
            });
            return;
        };
        let delivery = Delivery::new(notify.clone());
        client.produce(
            topic,
            Acks::from(*acks),
            record,
            delivery.clone(),
            now,
            self.accepted + self.resolved.timeout,
        );
        self.state = State::Acking { delivery };
    }

    /// When to poll without being woken.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        match &self.state {
            State::Reading { wake_at, .. } => Some(*wake_at),
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
        if let State::Held { record } = &mut self.state
            && !before.reads
        {
            let record = std::mem::take(record);
            self.produce(record, service, notify, now);
        }
        match &mut self.state {
            State::Receiving { .. } | State::Held { .. } => Step::Pending,
            State::Acking { delivery } => match delivery.outcome() {
                None => Step::Pending,
                Some(Ok(_)) => Step::Respond(Box::new(Answer {
                    head: ResponseHead::new(204),
                    body: Body::Empty,
                })),
                Some(Err(fault)) => Step::Fail(RequestError::Produce(fault)),
            },
            State::Refused(error) => Step::Fail(error.clone()),
            State::Reading { since, wake_at, .. } if before.writes => {
                // It may want to see what they write, so its waits begin after them.
                *since = now;
                *wake_at = Instant::FAR_FUTURE;
                Step::Pending
            }
            State::Reading { .. } => self.poll_reading(service, notify, now),
            State::Cold { .. } => self.poll_cold(context, service, now),
            State::Streaming { collection } => match collection.poll(room) {
                CollectionStep::Pending => Step::Pending,
                CollectionStep::Data(bytes) => Step::Data(bytes),
                CollectionStep::Finish(bytes) => Step::Finish(bytes),
                CollectionStep::Lost => Step::Abort,
            },
        }
    }

    fn poll_reading(&mut self, service: &Rc<Service>, notify: &Rc<Notify>, now: Instant) -> Step {
        let topics = &service.topics[self.resolved.cluster];
        match self.ask_cache(topics, service, now) {
            Ok(step) => {
                // A cold read has to be polled to begin; the connection's next turn does.
                if matches!(self.state, State::Cold { .. }) {
                    notify.notify();
                }
                step
            }
            Err(Waiting { reader, until }) => {
                reader.wait(notify);
                if let State::Reading { wake_at, .. } = &mut self.state {
                    *wake_at = until;
                }
                Step::Pending
            }
        }
    }

    /// The cache's answer, or for what to wait.
    fn ask_cache(
        &mut self,
        topics: &Topics,
        service: &Rc<Service>,
        now: Instant,
    ) -> Result<Step, Waiting> {
        let (Action::Fetch(request), State::Reading { reader, since, .. }) =
            (&self.resolved.action, &mut self.state)
        else {
            return Ok(Step::Pending);
        };
        let opened = reader
            .clone()
            .or_else(|| topics.reader(&self.resolved.topic, now));
        let name = || self.resolved.topic.clone();
        let unavailable = |reason| {
            Step::Fail(RequestError::TopicUnavailable {
                topic: name(),
                reason,
            })
        };
        let Some(open) = opened else {
            return Ok(unavailable(None));
        };
        *reader = Some(open.clone());
        let warm_until = *since + WARM_WAIT.min(self.resolved.timeout);
        let floor_until = *since + READ_YOUR_WRITES_WAIT;
        let wait = |until: Instant| Waiting {
            reader: open.clone(),
            until,
        };
        match open.state() {
            TopicState::Open => {}
            TopicState::Opening | TopicState::Unknown(_) if now < warm_until => {
                return Err(wait(warm_until));
            }
            TopicState::Opening => return Ok(unavailable(None)),
            TopicState::Unknown(error) => return Ok(unavailable(Some(error))),
        }
        let is_behind = !has_reached_floors(topics, &open, request);
        if is_behind && now < floor_until {
            return Err(wait(floor_until));
        }
        if is_behind {
            count(&service.counters.reads_behind);
        }
        let view = topics.cached(&open);
        let outcome = if request.merge {
            CacheAnswer::of_collection(topics, &open, request, &view)
        } else {
            CacheAnswer::of_item(request.single(&view))
        };
        Ok(match outcome {
            CacheAnswer::Whole(answer) => Step::Respond(answer),
            CacheAnswer::Collection(head, collection) => {
                self.state = State::Streaming { collection };
                Step::Begin(head)
            }
            // What was acknowledged and is not read yet must not pass for missing.
            CacheAnswer::NotFound if is_behind => {
                Step::Fail(RequestError::Warming { topic: name() })
            }
            CacheAnswer::NotFound => Step::Fail(RequestError::NotFound),
            CacheAnswer::Warming if now < warm_until => return Err(wait(warm_until)),
            CacheAnswer::Warming => Step::Fail(RequestError::Warming { topic: name() }),
            CacheAnswer::TooMany => {
                Step::Fail(RequestError::CollectionsOverloaded { topic: name() })
            }
            CacheAnswer::CollectionNotCached => Step::Fail(RequestError::NotCached {
                topic: name(),
                budget_bytes: topics.budget_bytes(),
            }),
            CacheAnswer::ItemNotCached => {
                let until = self.accepted + self.resolved.timeout;
                let query = cold_query(request, &view);
                let read = Box::pin(find_cold(topics.clone(), open.clone(), query, until));
                let searched_below = cache_starts(&view);
                self.state = State::Cold {
                    reader: open,
                    read,
                    searched_below,
                };
                Step::Pending
            }
        })
    }

    fn poll_cold(
        &mut self,
        context: &mut Context<'_>,
        service: &Rc<Service>,
        now: Instant,
    ) -> Step {
        let topics = &service.topics[self.resolved.cluster];
        let (
            Action::Fetch(request),
            State::Cold {
                reader,
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
            Poll::Ready(Ok(found)) => {
                let cached = topics.cached(reader);
                let Some(record) = found else {
                    return match request.single_beyond(&cached, searched_below) {
                        SingleOutcome::Answer(answer) => Step::Respond(answer),
                        SingleOutcome::NotFound => Step::Fail(RequestError::NotFound),
                        SingleOutcome::Warming => Step::Fail(RequestError::Warming { topic }),
                        // More was let go of meanwhile, unseen: not found cannot be said.
                        SingleOutcome::NotCached { .. } => {
                            Step::Fail(RequestError::ColdReadFailed { topic })
                        }
                    };
                };
                let cursor = request.cursor(&cached);
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

/// Whether the partitions that matter to a read have what this process has acknowledged.
fn has_reached_floors(topics: &Topics, reader: &TopicReader, request: &FetchRequest) -> bool {
    let count = reader.partition_count();
    match request.home_partition(count) {
        Some(home) => topics.has_reached_floor(reader, home),
        None => (0..count).all(|partition| topics.has_reached_floor(reader, partition)),
    }
}
