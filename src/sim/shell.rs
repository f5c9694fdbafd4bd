//! One core's client, as `kafka/client` is it on real sockets: the same calls in the same order, tasks turned into states.
//!
//! Sits between the workload and the fabric. Its one rule: like the real shell, it moves messages and time and decides nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use super::checker::Checker;
use super::event::{
    CallId, ConnectionId, Endpoint, EndpointEvent, Event, Purpose, Request, Response,
};
use super::fabric::Fabric;
use super::metadata_task::MetadataTask;
use crate::clock::{Instant, UnixMillis};
use crate::kafka::metadata::Metadata;
use crate::kafka::producer::{Acks, Limits, Output, Producer, Record, TopicId};

/// How often deadlines are looked at while any record is outstanding.
pub(super) const PRODUCE_TICK: Duration = Duration::from_millis(20);
const RECONNECT_MIN: Duration = Duration::from_millis(50);
const RECONNECT_MAX: Duration = Duration::from_secs(1);
/// A connection idle for longer is looked at before it is written to.
const TRUSTED_IDLE: Duration = Duration::from_secs(1);
const IDENTIFY_PAUSE: Duration = Duration::from_millis(100);

pub(super) struct Shell {
    pub(super) core: usize,
    pub(super) producer: Producer<u64>,
    pub(super) metadata: Metadata,
    /// The metadata task's state; taken out while it runs.
    pub(super) metadata_task: Option<MetadataTask>,
    /// Records whose outcomes came since the world looked last.
    pub(super) completed: Vec<u64>,
    /// What was acknowledged since the world looked last: topic, partition, one past the last offset.
    pub(super) acked: Vec<(String, i32, i64)>,
    topics: BTreeMap<&'static str, TopicId>,
    lanes: BTreeMap<i32, Lane>,
    /// The tick sleeps until somebody is busy.
    is_tick_parked: bool,
    is_busy_raised: bool,
}

/// A record to be written.
pub(super) struct Write {
    pub(super) topic: &'static str,
    pub(super) acks: Acks,
    pub(super) record: Record,
    pub(super) token: u64,
    pub(super) deadline: Instant,
}

/// The produce connection to one broker.
#[derive(Debug, Default)]
struct Lane {
    state: LaneState,
    connection: Option<ConnectionId>,
    used_at: Instant,
    attempts: u32,
}

#[derive(Debug, Default)]
enum LaneState {
    #[default]
    Waiting,
    Connecting,
    Pausing {
        until: Instant,
    },
    Producing(CallId),
    Identifying(CallId),
}

impl Shell {
    pub(super) fn new(core: usize, limits: Limits, seed: u64) -> Self {
        Self {
            core,
            producer: Producer::new(limits, seed),
            metadata: Metadata::default(),
            metadata_task: Some(MetadataTask::default()),
            completed: Vec::new(),
            acked: Vec::new(),
            topics: BTreeMap::new(),
            lanes: BTreeMap::new(),
            is_tick_parked: false,
            is_busy_raised: false,
        }
    }

    /// `Client::produce_topic`, once for each.
    fn topic(&mut self, name: &'static str, fabric: &mut Fabric) -> TopicId {
        if let Some(id) = self.topics.get(name) {
            return *id;
        }
        let id = self.producer.topic(name);
        self.topics.insert(name, id);
        self.ask_for_stale(fabric);
        let leaders = self
            .metadata
            .topic(name)
            .map(|topic| topic.leaders.clone())
            .filter(|leaders| !leaders.is_empty());
        if let Some(leaders) = leaders {
            self.producer
                .handle_metadata(name, Ok(&leaders), fabric.now());
        }
        id
    }

    /// `Client::produce`.
    pub(super) fn produce(&mut self, write: Write, checker: &mut Checker, fabric: &mut Fabric) {
        let Write {
            topic,
            acks,
            record,
            token,
            deadline,
        } = write;
        let topic = self.topic(topic, fabric);
        let was_idle = self.producer.is_idle();
        let submitted = self
            .producer
            .submit(topic, acks, record, token, fabric.now(), deadline);
        if was_idle {
            self.is_busy_raised = true;
            if std::mem::take(&mut self.is_tick_parked) {
                fabric
                    .schedule
                    .after(Duration::ZERO, Event::Tick { core: self.core });
            }
        }
        match submitted {
            Ok(()) => self.wake_lanes(fabric),
            Err((token, fault)) => {
                self.ask_for_stale(fabric);
                checker.completed(token, Err(fault), fabric.now());
                self.completed.push(token);
            }
        }
    }

    /// One turn of `run_produce_tick`.
    pub(super) fn tick(&mut self, checker: &mut Checker, fabric: &mut Fabric) {
        self.producer.handle_timeout(fabric.now());
        let is_idle = self.producer.is_idle();
        self.drain(checker, fabric);
        if !is_idle {
            fabric
                .schedule
                .after(PRODUCE_TICK, Event::Tick { core: self.core });
        } else if std::mem::take(&mut self.is_busy_raised) {
            fabric
                .schedule
                .after(Duration::ZERO, Event::Tick { core: self.core });
        } else {
            self.is_tick_parked = true;
        }
    }

    pub(super) fn handle(
        &mut self,
        purpose: Purpose,
        event: EndpointEvent,
        checker: &mut Checker,
        fabric: &mut Fabric,
    ) {
        match purpose {
            Purpose::Produce { broker } => self.handle_lane(broker, event, checker, fabric),
            Purpose::Metadata => MetadataTask::handle(self, event, checker, fabric),
            // Of the core around it.
            Purpose::Follow { .. } | Purpose::Ends { .. } | Purpose::Read { .. } => {}
        }
    }

    /// `Client::drain_producer`.
    pub(super) fn drain(&mut self, checker: &mut Checker, fabric: &mut Fabric) {
        while let Some(output) = self.producer.poll_output() {
            match output {
                Output::Acked {
                    topic,
                    partition,
                    next_offset,
                } => {
                    checker.acked(self.core, &topic, partition, next_offset);
                    let topic = topic.to_string();
                    self.acked.push((topic, partition, next_offset));
                }
                Output::Completed { token, result } => {
                    fabric.tell(|| format!("core {}: record {token} {result:?}", self.core));
                    checker.completed(token, result, fabric.now());
                    self.completed.push(token);
                }
            }
        }
        self.ask_for_stale(fabric);
        self.wake_lanes(fabric);
    }

    /// `Client::want`.
    pub(super) fn want(&mut self, name: &str, fabric: &mut Fabric) {
        self.metadata.want(name, true);
        fabric.wake(
            Endpoint {
                core: self.core,
                purpose: Purpose::Metadata,
            },
            fabric.now(),
        );
    }

    /// The leader of each partition of a topic, as far as this core knows.
    pub(super) fn leaders(&self, name: &str) -> Vec<Option<i32>> {
        let topic = self.metadata.topic(name);
        topic.map_or_else(Vec::new, |topic| topic.leaders.clone())
    }

    fn ask_for_stale(&mut self, fabric: &mut Fabric) {
        for name in self.producer.take_stale() {
            self.want(&name, fabric);
        }
    }

    fn wake_lanes(&mut self, fabric: &mut Fabric) {
        let now = fabric.now();
        let ready: Vec<i32> = self
            .producer
            .brokers()
            .filter(|broker| {
                self.producer
                    .poll_retry(*broker)
                    .is_some_and(|at| at <= now)
            })
            .collect();
        for broker in ready {
            if matches!(
                self.lanes.entry(broker).or_default().state,
                LaneState::Waiting
            ) {
                fabric.wake(self.lane_endpoint(broker), now);
            }
        }
    }

    const fn lane_endpoint(&self, broker: i32) -> Endpoint {
        Endpoint {
            core: self.core,
            purpose: Purpose::Produce { broker },
        }
    }

    fn lane(&mut self, broker: i32) -> &mut Lane {
        self.lanes.entry(broker).or_default()
    }

    /// What the lane's task does when what it awaits comes.
    fn handle_lane(
        &mut self,
        broker: i32,
        event: EndpointEvent,
        checker: &mut Checker,
        fabric: &mut Fabric,
    ) {
        let now = fabric.now();
        let lane = self.lane(broker);
        match (&lane.state, event) {
            (LaneState::Waiting, EndpointEvent::Wake) => {}
            (LaneState::Pausing { until }, EndpointEvent::Wake) if *until <= now => {}
            (LaneState::Connecting, EndpointEvent::Connected(Some(connection))) => {
                (lane.connection, lane.attempts) = (Some(connection), 0);
                self.producer.handle_connected(broker);
                self.drain(checker, fabric);
                if self.serve(broker, checker, fabric) {
                    return;
                }
            }
            (LaneState::Connecting, EndpointEvent::Connected(None)) => {
                let until = now + reconnect_wait(lane.attempts, now);
                lane.attempts += 1;
                lane.state = LaneState::Pausing { until };
                self.producer.handle_unreachable(broker, now);
                self.drain(checker, fabric);
                return fabric.wake(self.lane_endpoint(broker), until);
            }
            (
                LaneState::Producing(current),
                EndpointEvent::Answered(call, Response::Produce(outcomes)),
            ) if *current == call => {
                lane.used_at = now;
                self.producer.handle_response(broker, &outcomes, now);
            }
            (LaneState::Producing(current), EndpointEvent::Written(call)) if *current == call => {
                lane.used_at = now;
                self.producer.handle_sent(broker, now);
            }
            (LaneState::Producing(current), EndpointEvent::Lost(call)) if *current == call => {
                lane.hang_up(fabric);
                self.producer.handle_disconnect(broker, now);
            }
            (
                LaneState::Identifying(current),
                EndpointEvent::Answered(call, Response::InitProducerId(result)),
            ) if *current == call => {
                lane.used_at = now;
                let Ok((producer_id, epoch)) = result else {
                    let until = now + IDENTIFY_PAUSE;
                    lane.state = LaneState::Pausing { until };
                    return fabric.wake(self.lane_endpoint(broker), until);
                };
                self.producer.handle_identity(producer_id, epoch);
            }
            (LaneState::Identifying(current), EndpointEvent::Lost(call)) if *current == call => {
                lane.hang_up(fabric);
            }
            _ => return, // of a connection or a call that was given up
        }
        self.lane(broker).state = LaneState::Waiting;
        self.drain(checker, fabric);
        self.run_lane(broker, checker, fabric);
    }

    /// The loop of `produce_lane::run`, until it awaits something.
    fn run_lane(&mut self, broker: i32, checker: &mut Checker, fabric: &mut Fabric) {
        let now = fabric.now();
        for _ in 0..TURNS_MAX {
            let Some(due) = self.producer.poll_retry(broker) else {
                return;
            };
            let endpoint = self.lane_endpoint(broker);
            if due > now {
                return fabric.wake(endpoint, due);
            }
            let lane = self.lane(broker);
            let is_doubtful = now.saturating_duration_since(lane.used_at) > TRUSTED_IDLE;
            lane.connection
                .take_if(|connection| is_doubtful && !fabric.is_open(*connection));
            if lane.connection.is_none() {
                lane.state = LaneState::Connecting;
                return fabric.connect(endpoint, broker);
            }
            if self.serve(broker, checker, fabric) {
                return;
            }
        }
        checker.fail(format_args!(
            "core {}: something is always due at broker {broker}, and nothing is sent",
            self.core
        ));
    }

    /// Sends what is ready; false when nothing is.
    fn serve(&mut self, broker: i32, checker: &mut Checker, fabric: &mut Fabric) -> bool {
        let Some(connection) = self.lane(broker).connection else {
            return false;
        };
        let endpoint = self.lane_endpoint(broker);
        if self.producer.wants_identity() {
            let call = fabric.call(endpoint, connection, Request::InitProducerId);
            self.lane(broker).state = LaneState::Identifying(call);
            return true;
        }
        let timestamp =
            UnixMillis(i64::try_from(fabric.now().as_nanos() / 1_000_000).unwrap_or(i64::MAX));
        let Some(call) = self.producer.poll_request(broker, fabric.now(), timestamp) else {
            self.drain(checker, fabric);
            return false;
        };
        checker.sent(&call);
        let call = fabric.call(endpoint, connection, Request::Produce(call));
        self.lane(broker).state = LaneState::Producing(call);
        true
    }
}

impl Lane {
    fn hang_up(&mut self, fabric: &mut Fabric) {
        if let Some(connection) = self.connection.take() {
            fabric.close(connection);
        }
    }
}

/// The wait before the next attempt to connect, as in the real shell.
pub(super) fn reconnect_wait(attempts: u32, now: Instant) -> Duration {
    let wait = RECONNECT_MIN
        .saturating_mul(1 << attempts.min(10))
        .min(RECONNECT_MAX);
    let jitter = u32::try_from(now.as_nanos() % 256).unwrap_or(0);
    wait / 2 + wait.mul_f64(f64::from(jitter) / 512.0)
}

/// Turns of a lane in one instant: one finds out that the producer id is missing, the next asks for it.
const TURNS_MAX: u32 = 3;
