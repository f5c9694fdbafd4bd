//! Reads: asks the cache, waits for it to change, looks in Kafka for what it has let go of. What follows from an answer is [`Reading`]'s to decide.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use super::{KafkaExchange, State};
use crate::clock::Instant;
use crate::error::RequestError;
use crate::exchange::reading::{self, Behind, CacheAnswer, Opened, Reading};
use crate::http::{Body, ResponseHead};
use crate::kafka::cache::{PartitionView, Policy};
use crate::kafka::topics::{
    CachedPartitions, ColdFault, ColdQuery, ColdRecord, EndsTicket, Interest, TopicReader,
    TopicState, Topics, Waiting, find_cold,
};
use crate::mapping::http_kafka::Action;
use crate::mapping::http_kafka::fetch::{Answer, CachedTopic, FetchRequest, Searched};
use crate::net::collection::{Collection, Refused};
use crate::net::exchange::Step;
use crate::net::service::Service;
use crate::runtime::notify::Notify;

/// The head of a collection, and what comes behind it.
type Opening = (ResponseHead, Collection);
/// A look into Kafka.
pub(super) type ColdRead = Pin<Box<dyn Future<Output = Result<Option<ColdRecord>, ColdFault>>>>;

/// A read and how far it has come.
pub(super) struct Read {
    pub(super) machine: Reading,
    reader: Option<Rc<TopicReader>>,
    /// Its place among those who wait for a change, and whether it waits for that of one key alone.
    waiting: Option<(Waiting, bool)>,
    pub(super) wake_at: Instant,
    /// Where the topic ended when the request came, if that matters.
    ends: Option<Rc<EndsTicket>>,
    /// Where nothing matches.
    searched: Searched,
    /// Kafka was searched.
    has_asked_kafka: bool,
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

impl KafkaExchange {
    pub(in crate::net) fn poll_reading(
        &mut self,
        context: &mut Context<'_>,
        service: &Rc<Service>,
        notify: &Rc<Notify>,
        now: Instant,
    ) -> Step {
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
            reading::Next::Begin((mut head, collection)) => {
                read.machine.apply_to(&mut head);
                let collection = Box::new(collection);
                self.state = State::Streaming { collection };
                Step::Begin { head, length: None }
            }
            reading::Next::Cold => self.read_cold(service, notify),
            reading::Next::LookOn => {
                // Not by its own notification: that would be seen in this very turn.
                context.waker().wake_by_ref();
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
        let (Some(reader), true) = (from.reader.clone(), !from.has_asked_kafka) else {
            return Step::Fail(RequestError::ColdReadFailed { topic });
        };
        let view = topics.cached(&reader);
        let until = self.begun + self.resolved.timeout;
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

    pub(in crate::net) fn poll_cold(
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
            Poll::Pending if now >= self.begun + self.resolved.timeout => {
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
                from.has_asked_kafka = true;
                let replaced =
                    std::mem::replace(&mut self.state, State::Refused(RequestError::NotFound));
                if let State::Cold { from, .. } = replaced {
                    self.state = State::Reading(from);
                }
                self.poll_reading(context, service, notify, now)
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
                answer.map_or(Step::Fail(RequestError::NotFound), |mut answer| {
                    from.machine.apply_to(&mut answer.head);
                    Step::Respond(answer)
                })
            }
        }
    }
}

impl Read {
    /// A read that has not begun.
    pub(super) fn new(machine: Reading, now: Instant) -> Self {
        Self {
            machine,
            reader: None,
            waiting: None,
            wake_at: now,
            ends: None,
            searched: Searched::default(),
            has_asked_kafka: false,
        }
    }

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
        let view = topics.cached(&reader);
        let answer = if request.merge {
            collection_answer(topics, &reader, request, &view)
        } else {
            request.single_beyond(&view, &mut self.searched).into()
        };
        let is_known = || request.merge || view.policy().compact || request.cursor(&view).is_some();
        self.machine
            .set_conditional(request.is_conditional() && is_known());
        let next = self.machine.handle_cache(answer, behind, now);
        let metrics = &service.watch.metrics;
        match &next {
            reading::Next::Answer(_)
            | reading::Next::Begin(_)
            | reading::Next::Fail(RequestError::NotFound) => {
                metrics.cache_hits.increment();
                if behind == Behind::Writes {
                    metrics.reads_behind.increment();
                }
            }
            reading::Next::Cold => metrics.cache_misses.increment(),
            _ => {}
        }
        next
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
