//! The feeds of a core: one for each topic that somebody follows, with a task that moves it on. The shell around [`Feed`].
//!
//! Blocks go out at once while little happens. When many follow, a round of writes takes its time, and the next block is not begun before that has passed and as much
//! again: the records that come meanwhile share it. Within a round the core looks at its sockets now and then, or whoever publishes would wait for all who listen.
//! Rule: a feed lives as long as it has subscribers.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::permits::Permits;
use crate::clock::Instant;
use crate::exchange::feed::{
    Advanced, ColdPiece, Feed, FeedFigures, Form, Selection, SubscriberId, Taken,
};
use crate::kafka::topics::{Interest, TopicReader, Topics};
use crate::mapping::progress::Progress;
use crate::observe::CoreWatch;
use crate::runtime::notify::Notify;
use crate::runtime::{self};

/// Streams of events and of messages of one core; beyond, 503.
const STREAMS_MAX: usize = 100_000;
/// Reads of Kafka for streams that are far behind, at once on one core; others have the connections to the brokers, too.
const COLD_READS_MAX: usize = 2;
/// Records put in order before others get their turn.
const RECORDS_PER_TURN: usize = 4_096;
/// Followers that write before the core sees to what has come from the network meanwhile.
const WRITES_PER_TURN: usize = 64;
/// So short that it is over when they have written.
const TURN_PAUSE: Duration = Duration::from_micros(10);
/// A block is begun no sooner than twice as long after the one before it as that took to write, unless that is longer than this: then as soon as it is written.
const TICK_MAX: Duration = Duration::from_millis(20);

/// A cluster of the plan and a topic.
type FeedKey = (usize, Arc<str>);

/// The feeds of one core.
#[derive(Debug)]
pub(super) struct Feeds {
    open: RefCell<HashMap<FeedKey, Rc<TopicFeed>>>,
    streams: Cell<usize>,
    cold_reads: Rc<Permits>,
    watch: Rc<CoreWatch>,
}

/// The feed of a topic.
struct TopicFeed {
    topics: Topics,
    reader: Rc<TopicReader>,
    feed: RefCell<Feed>,
    notifies: RefCell<HashMap<SubscriberId, Rc<Notify>>>,
    changed: Rc<Notify>,
    is_over: Cell<bool>,
}

impl std::fmt::Debug for TopicFeed {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("TopicFeed")
            .field("topic", self.reader.name())
            .finish_non_exhaustive()
    }
}

impl Feeds {
    pub(super) fn new(watch: Rc<CoreWatch>) -> Rc<Self> {
        Rc::new(Self {
            open: RefCell::default(),
            streams: Cell::new(0),
            cold_reads: Permits::new(COLD_READS_MAX),
            watch,
        })
    }

    /// Subscribes to a topic; `None` when too many streams are open, or too many topics.
    pub(super) fn subscribe(
        self: &Rc<Self>,
        (cluster, topics): (usize, &Topics),
        topic: &str,
        (selection, resume): (Selection, Option<&Progress>),
        notify: &Rc<Notify>,
        now: Instant,
    ) -> Option<Subscription> {
        if self.streams.get() >= STREAMS_MAX {
            return None;
        }
        let reader = topics.reader(topic, now)?;
        let key = (cluster, reader.name().clone());
        let feed = self
            .open
            .borrow_mut()
            .entry(key.clone())
            .or_insert_with(|| TopicFeed::start(topics, &reader, &self.watch))
            .clone();
        let is_sse = matches!(selection.form, Form::Event(_));
        let id = feed.feed.borrow_mut().subscribe(selection, resume);
        feed.notifies.borrow_mut().insert(id, notify.clone());
        self.streams.set(self.streams.get() + 1);
        if is_sse {
            self.watch.metrics.sse_streams.add(1);
        }
        feed.changed.notify();
        Some(Subscription {
            feeds: self.clone(),
            key,
            feed,
            id,
            is_sse,
        })
    }
}

impl TopicFeed {
    fn start(topics: &Topics, reader: &Rc<TopicReader>, watch: &Rc<CoreWatch>) -> Rc<Self> {
        let feed = Rc::new(Self {
            topics: topics.clone(),
            reader: reader.clone(),
            feed: RefCell::default(),
            notifies: RefCell::default(),
            changed: Rc::new(Notify::default()),
            is_over: Cell::new(false),
        });
        runtime::spawn(run(feed.clone(), watch.clone()));
        feed
    }

    /// Moves the order on; says whom to wake, and whether there is more.
    fn advance(&self) -> (Vec<Rc<Notify>>, Advanced) {
        let mut woken = Vec::new();
        let view = self.topics.cached(&self.reader);
        let notifies = self.notifies.borrow();
        let advanced = self
            .feed
            .borrow_mut()
            .advance(&view, RECORDS_PER_TURN, |id| {
                woken.extend(notifies.get(&id).cloned());
            });
        (woken, advanced)
    }
}

async fn run(feed: Rc<TopicFeed>, watch: Rc<CoreWatch>) {
    let waiting = feed.reader.wait(Interest::All, &feed.changed);
    let mut next_at = Instant::ZERO;
    let mut told = FeedFigures::default();
    while !feed.is_over.get() {
        feed.changed.notified().await;
        let early = next_at.saturating_duration_since(runtime::now());
        if !early.is_zero() {
            runtime::sleep(early).await;
        }
        loop {
            let began = runtime::now();
            let (woken, advanced) = feed.advance();
            write_round(&woken).await;
            let took = runtime::now().saturating_duration_since(began);
            next_at = began + took.max(TICK_MAX.min(2 * took));
            // Those of messages are not for these metrics.
            let figures = feed.feed.borrow().figures();
            watch.metrics.sse_gaps.add(figures.gaps - told.gaps);
            watch.metrics.sse_lagged.add(figures.lagged - told.lagged);
            told = figures;
            if advanced == Advanced::All || feed.is_over.get() {
                break;
            }
            runtime::yield_now().await;
        }
    }
    drop(waiting);
}

/// Lets all of them write.
async fn write_round(woken: &[Rc<Notify>]) {
    let mut turns = woken.chunks(WRITES_PER_TURN).peekable();
    while let Some(turn) = turns.next() {
        for notify in turn {
            notify.notify();
        }
        if turns.peek().is_some() {
            // A timer, however short: the executor looks at its rings when it has nothing to run.
            runtime::sleep(TURN_PAUSE).await;
        } else {
            // Behind those who write.
            runtime::yield_now().await;
        }
    }
}

/// A place among those who follow a topic, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Subscription {
    feeds: Rc<Feeds>,
    key: FeedKey,
    feed: Rc<TopicFeed>,
    id: SubscriberId,
    /// It counts as an event stream.
    is_sse: bool,
}

impl Subscription {
    /// What there is for it, `room` bytes or a little more.
    pub(super) fn take(&self, room: usize) -> Taken {
        let view = self.feed.topics.cached(&self.feed.reader);
        self.feed.feed.borrow_mut().take(self.id, &view, room)
    }

    /// What was in Kafka alone is read.
    pub(super) fn handle_cold(&self, piece: &ColdPiece) -> Taken {
        self.feed.feed.borrow_mut().handle_cold(self.id, piece)
    }

    /// Where the partitions end.
    pub(super) fn handle_ends(&self, ends: &[i64]) {
        self.feed.feed.borrow_mut().handle_ends(self.id, ends);
    }

    /// The places for reading Kafka.
    pub(super) fn cold_reads(&self) -> &Rc<Permits> {
        &self.feeds.cold_reads
    }

    /// Which records it wants.
    pub(super) fn selection(&self) -> Selection {
        let feed = self.feed.feed.borrow();
        feed.selection(self.id).cloned().unwrap_or_default()
    }

    /// The topic as this core reads it.
    pub(super) fn topic(&self) -> (&Topics, &Rc<TopicReader>) {
        (&self.feed.topics, &self.feed.reader)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.feed.notifies.borrow_mut().remove(&self.id);
        let mut feed = self.feed.feed.borrow_mut();
        feed.unsubscribe(self.id);
        self.feeds.streams.set(self.feeds.streams.get() - 1);
        if self.is_sse {
            self.feeds.watch.metrics.sse_streams.subtract(1);
        }
        if feed.subscriber_count() == 0 {
            self.feed.is_over.set(true);
            self.feeds.open.borrow_mut().remove(&self.key);
            self.feed.changed.notify();
        }
    }
}
