//! One core's client of one cluster: the shell around metadata, producer and fetcher. It moves bytes and time and decides nothing.
//!
//! A broker answers the requests of a connection in order, so that a long poll would hold up a write: each broker gets one connection for produce, one for
//! polls, and a few for look-ups, opened when first needed.

mod ends;
mod lookup;
mod metadata_task;
mod produce_lane;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::{CreateTopicsRequest, MetadataRequest};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use super::connection::{Connection, ConnectionFault};
use super::error_code::ErrorCode;
use super::metadata::{Metadata, Topic, topic_name};
use super::producer::{Ack, Acks, Limits, Output, ProduceFault, Producer, Record, TopicId};
use crate::clock::Instant;
use crate::observe::ClusterWatch;
use crate::observe::events::ClusterEvent;
use crate::runtime::deadline::Deadlines;
use crate::runtime::notify::Notify;
use crate::runtime::{self, with_deadline};
pub use lookup::LookupFault;

/// How often deadlines of records are looked at while any is outstanding.
const PRODUCE_TICK: Duration = Duration::from_millis(20);
/// Topics that one core produces to; names can come out of requests, and each costs memory for good.
const TOPICS_MAX: usize = 10_000;
/// The first and the longest wait between two attempts to connect.
const RECONNECT_MIN: Duration = Duration::from_millis(50);
const RECONNECT_MAX: Duration = Duration::from_secs(1);

/// Where a record's outcome is put, and who is told.
pub struct Delivery {
    outcome: Cell<Option<Result<Ack, ProduceFault>>>,
    listener: Cell<Option<Listener>>,
}

enum Listener {
    Notify(Rc<Notify>),
    Callback(Box<dyn FnOnce(Result<Ack, ProduceFault>)>),
}

impl fmt::Debug for Delivery {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Delivery")
            .field("outcome", &self.outcome)
            .finish_non_exhaustive()
    }
}

impl Delivery {
    /// A delivery that wakes `waiter` when it has its outcome.
    pub fn new(waiter: Rc<Notify>) -> Rc<Self> {
        Self::with_listener(Listener::Notify(waiter))
    }

    /// A delivery that calls `callback` with its outcome, whoever is still there.
    pub fn with_callback(callback: impl FnOnce(Result<Ack, ProduceFault>) + 'static) -> Rc<Self> {
        Self::with_listener(Listener::Callback(Box::new(callback)))
    }

    fn with_listener(listener: Listener) -> Rc<Self> {
        Rc::new(Self {
            outcome: Cell::new(None),
            listener: Cell::new(Some(listener)),
        })
    }

    /// The outcome, once there is one.
    pub fn outcome(&self) -> Option<Result<Ack, ProduceFault>> {
        self.outcome.get()
    }

    pub(super) fn complete(&self, outcome: Result<Ack, ProduceFault>) {
        self.outcome.set(Some(outcome));
        match self.listener.take() {
            Some(Listener::Notify(waiter)) => waiter.notify(),
            Some(Listener::Callback(callback)) => callback(outcome),
            None => {}
        }
    }
}

/// Called for each acknowledged batch, before any of its records' outcomes: topic, partition, one past its last offset.
pub type OnAcked = Box<dyn Fn(&str, i32, i64)>;

/// One core's client of one cluster. Clones are the same client.
#[derive(Clone)]
pub struct Client {
    inner: Rc<Inner>,
}

impl fmt::Debug for Client {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Client")
            .field("servers", &self.inner.servers)
            .finish_non_exhaustive()
    }
}

struct Inner {
    servers: Vec<(String, u16)>,
    deadlines: Rc<Deadlines>,
    metadata: RefCell<Metadata>,
    metadata_wanted: Notify,
    /// Raised whenever the picture of the cluster may have changed.
    changed: RefCell<Vec<Rc<Notify>>>,
    producer: RefCell<Producer<Rc<Delivery>>>,
    producer_busy: Notify,
    lanes: RefCell<BTreeMap<i32, Rc<Notify>>>,
    lookups: RefCell<BTreeMap<i32, Rc<lookup::Pool>>>,
    on_acked: OnAcked,
    watch: ClusterWatch,
    stopped: Cell<bool>,
}

impl Client {
    /// A client that connects when it has something to ask. Its tasks run until [`Client::stop`].
    pub fn new(
        servers: Vec<(String, u16)>,
        limits: Limits,
        seed: u64,
        deadlines: Rc<Deadlines>,
        on_acked: OnAcked,
        watch: ClusterWatch,
    ) -> Self {
        let inner = Rc::new(Inner {
            servers,
            deadlines,
            metadata: RefCell::default(),
            metadata_wanted: Notify::default(),
            changed: RefCell::default(),
            producer: RefCell::new(Producer::new(limits, seed)),
            producer_busy: Notify::default(),
            lanes: RefCell::default(),
            lookups: RefCell::default(),
            on_acked,
            watch,
            stopped: Cell::new(false),
        });
        let client = Self { inner };
        runtime::spawn(metadata_task::run(client.clone()));
        runtime::spawn(run_produce_tick(client.clone()));
        client
    }

    /// Enters a topic for producing; its metadata is fetched when it is new. `None` when there are ten thousand already.
    pub fn produce_topic(&self, name: &str) -> Option<TopicId> {
        if let Some(known) = self.inner.producer.borrow().known_topic(name) {
            return Some(known);
        }
        if self.inner.producer.borrow().topic_count() >= TOPICS_MAX {
            return None;
        }
        let id = self.inner.producer.borrow_mut().topic(name);
        self.ask_for_stale();
        // What is known already need not wait for the next answer.
        let leaders = self
            .inner
            .metadata
            .borrow()
            .topic(name)
            .map(|topic| topic.leaders.clone())
            .filter(|leaders| !leaders.is_empty());
        if let Some(leaders) = leaders {
            self.inner
                .producer
                .borrow_mut()
                .handle_metadata(name, Ok(&leaders), runtime::now());
        }
        Some(id)
    }

    /// Produces a record; the outcome goes to `delivery`, at `deadline` at the latest (within 20 ms).
    pub fn produce(
        &self,
        topic: TopicId,
        acks: Acks,
        record: Record,
        delivery: Rc<Delivery>,
        now: Instant,
        deadline: Instant,
    ) {
        let submitted = {
            let mut producer = self.inner.producer.borrow_mut();
            let was_idle = producer.is_idle();
            let submitted = producer.submit(topic, acks, record, delivery, now, deadline);
            if was_idle {
                self.inner.producer_busy.notify();
            }
            submitted
        };
        match submitted {
            Ok(()) => self.wake_lanes(),
            Err((delivery, fault)) => {
                self.ask_for_stale();
                delivery.complete(Err(fault));
            }
        }
    }

    /// Bytes of records without an outcome.
    pub fn queued_bytes(&self) -> usize {
        self.inner.producer.borrow().queued_bytes()
    }

    /// Asks for a topic's metadata.
    pub fn want(&self, name: &str, create: bool) {
        self.inner.metadata.borrow_mut().want(name, create);
        self.inner.metadata_wanted.notify();
    }

    /// These topics are created by [`Client::create_topics`], and by no broker that is asked for them.
    pub fn never_create(&self, names: impl IntoIterator<Item = String>) {
        self.inner.metadata.borrow_mut().never_create(names);
    }

    /// What is known of a topic.
    pub fn topic(&self, name: &str) -> Option<Topic> {
        self.inner.metadata.borrow().topic(name).cloned()
    }

    /// The id of a topic: another one when it was deleted and created again; `None` when there is none, as far as is known.
    pub fn topic_id(&self, name: &str) -> Option<Uuid> {
        let metadata = self.inner.metadata.borrow();
        let topic = metadata.topic(name)?;
        let is_gone = topic.error == Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
        (!is_gone).then_some(topic.id)
    }

    /// The leader of a partition.
    pub fn leader(&self, topic: &str, partition: i32) -> Option<i32> {
        self.inner.metadata.borrow().leader(topic, partition)
    }

    /// Raises `notify` whenever metadata has changed.
    pub fn on_change(&self, notify: &Rc<Notify>) {
        self.inner.changed.borrow_mut().push(notify.clone());
    }

    /// Raises it no more.
    pub fn forget_change(&self, notify: &Rc<Notify>) {
        self.inner
            .changed
            .borrow_mut()
            .retain(|other| !Rc::ptr_eq(other, notify));
    }

    /// Opens a connection to a broker.
    ///
    /// # Errors
    ///
    /// [`ConnectionFault`]; `None` inside when the broker's address is not known.
    pub async fn connect(&self, broker: i32) -> Result<Connection, Option<ConnectionFault>> {
        let address = self
            .inner
            .metadata
            .borrow()
            .broker(broker)
            .cloned()
            .ok_or(None)?;
        self.open(&address.host, address.port).await.map_err(Some)
    }

    /// Opens a connection to an address; says so when that fails.
    pub(super) async fn open(&self, host: &str, port: u16) -> Result<Connection, ConnectionFault> {
        let opened = Connection::open(host, port, &self.inner.deadlines).await;
        if let Err(fault) = &opened {
            let reason = &fault.to_string();
            self.inner.watch.tell(match fault {
                ConnectionFault::Resolve(_) => ClusterEvent::DnsFailed { host },
                ConnectionFault::Connect(_)
                | ConnectionFault::Lost(_)
                | ConnectionFault::Timeout
                | ConnectionFault::Wire(_) => ClusterEvent::ConnectionFailed { host, port, reason },
            });
        }
        opened
    }

    /// Creates the topics that are missing (`CreateTopics`, KIP-4); returns name and outcome of each.
    ///
    /// # Errors
    ///
    /// When no broker could be asked.
    pub async fn create_topics(
        &self,
        topics: &[NewTopic],
        timeout: Duration,
    ) -> Result<Vec<(String, ErrorCode, String)>, ConnectionFault> {
        let timeout_ms = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
        let request = CreateTopicsRequest::default()
            .with_topics(topics.iter().map(NewTopic::as_wire).collect())
            .with_timeout_ms(timeout_ms);
        // Only the controller creates topics; every broker since 2.4 passes the request on, older ones name it.
        let mut connection = self.connect_any().await?;
        let known = connection
            .call(
                &MetadataRequest::default().with_topics(Some(Vec::new())),
                timeout,
            )
            .await?;
        let controller = known
            .brokers
            .iter()
            .find(|broker| broker.node_id == known.controller_id);
        if let Some(broker) = controller
            && let Ok(port) = u16::try_from(broker.port)
        {
            connection = self.open(&broker.host, port).await?;
        }
        let response = connection.call(&request, timeout).await?;
        let outcome =
            |result: &kafka_protocol::messages::create_topics_response::CreatableTopicResult| {
                let reason = result
                    .error_message
                    .as_ref()
                    .map(ToString::to_string)
                    .unwrap_or_default();
                (
                    result.name.0.to_string(),
                    ErrorCode(result.error_code),
                    reason,
                )
            };
        Ok(response.topics.iter().map(outcome).collect())
    }

    /// A connection to whichever broker answers: the known ones first, then the configured servers.
    ///
    /// # Errors
    ///
    /// The last one's.
    pub async fn connect_any(&self) -> Result<Connection, ConnectionFault> {
        let known: Vec<(String, u16)> = self
            .inner
            .metadata
            .borrow()
            .brokers()
            .map(|(_, broker)| (broker.host.clone(), broker.port))
            .collect();
        let mut last = ConnectionFault::Timeout;
        for (host, port) in known.iter().chain(&self.inner.servers) {
            match self.open(host, *port).await {
                Ok(connection) => return Ok(connection),
                Err(fault) => last = fault,
            }
        }
        Err(last)
    }

    /// Waits until every record has its outcome, at most until `until`; says whether all have.
    pub async fn flush(&self, until: Instant) -> bool {
        let deadline = self.inner.deadlines.deadline();
        let idle = async {
            while !self.inner.producer.borrow().is_idle() {
                runtime::sleep(Duration::from_millis(2)).await;
            }
        };
        with_deadline(&deadline, until, idle).await.is_ok()
    }

    /// Ends the client's tasks at their next turn.
    pub fn stop(&self) {
        self.inner.stopped.set(true);
        self.inner.metadata_wanted.notify();
        self.inner.producer_busy.notify();
        for lane in self.inner.lanes.borrow().values() {
            lane.notify();
        }
    }

    /// Whether it has been told to stop.
    pub fn is_stopped(&self) -> bool {
        self.inner.stopped.get()
    }

    /// Hands out what the producer has to say, then wakes the lanes that got something to send.
    fn drain_producer(&self) {
        loop {
            let output = self.inner.producer.borrow_mut().poll_output();
            match output {
                Some(Output::Acked {
                    topic,
                    partition,
                    next_offset,
                }) => (self.inner.on_acked)(&topic, partition, next_offset),
                Some(Output::Completed { token, result }) => token.complete(result),
                None => break,
            }
        }
        self.ask_for_stale();
        self.wake_lanes();
    }

    fn ask_for_stale(&self) {
        let stale = self.inner.producer.borrow_mut().take_stale();
        for name in &stale {
            self.want(name, true);
        }
    }

    /// Wakes the lanes of brokers that got something to send, starting those that do not exist yet.
    fn wake_lanes(&self) {
        loop {
            let awakened = self.inner.producer.borrow_mut().pop_awakened();
            let Some(broker) = awakened else { return };
            let existing = self.inner.lanes.borrow().get(&broker).cloned();
            if let Some(lane) = existing {
                lane.notify();
            } else {
                let lane = Rc::new(Notify::default());
                self.inner.lanes.borrow_mut().insert(broker, lane.clone());
                runtime::spawn(produce_lane::run(self.clone(), broker, lane));
            }
        }
    }
}

/// A topic to be created.
#[derive(Clone, Debug)]
pub struct NewTopic {
    /// Its name.
    pub name: String,
    /// How many partitions.
    pub partitions: i32,
    /// How many copies, -1 for the broker's default.
    pub replication_factor: i16,
    /// Its configuration.
    pub configs: Vec<(String, String)>,
}

impl NewTopic {
    fn as_wire(&self) -> CreatableTopic {
        let configs = self.configs.iter().map(|(name, value)| {
            CreatableTopicConfig::default()
                .with_name(StrBytes::from_string(name.clone()))
                .with_value(Some(StrBytes::from_string(value.clone())))
        });
        CreatableTopic::default()
            .with_name(topic_name(&self.name))
            .with_num_partitions(self.partitions)
            .with_replication_factor(self.replication_factor)
            .with_configs(configs.collect())
    }
}

/// Ends records that are past their deadlines, for as long as any is outstanding.
async fn run_produce_tick(client: Client) {
    let deadline = client.inner.deadlines.deadline();
    while !client.is_stopped() {
        let now = runtime::now();
        let idle = {
            let mut producer = client.inner.producer.borrow_mut();
            producer.handle_timeout(now);
            producer.is_idle()
        };
        client.drain_producer();
        if idle {
            client.inner.producer_busy.notified().await;
        } else {
            let _ =
                with_deadline(&deadline, now + PRODUCE_TICK, std::future::pending::<()>()).await;
        }
    }
}

/// The wait before the next attempt to connect: doubling, with a jitter that differs from core to core.
fn reconnect_wait(attempts: u32, now: Instant) -> Duration {
    let wait = RECONNECT_MIN
        .saturating_mul(1 << attempts.min(10))
        .min(RECONNECT_MAX);
    let jitter = u32::try_from(now.as_nanos() % 256).unwrap_or(0);
    wait / 2 + wait.mul_f64(f64::from(jitter) / 512.0)
}
