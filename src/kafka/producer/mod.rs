//! The producer of one core: records in, produce requests out, exactly one outcome for each record. Sans-IO.
//!
//! Feed `submit` and `handle_*`, drain [`Producer::poll_output`], send what [`Producer::poll_request`] gives for each broker, one request in flight per broker.
//! There is no linger: what queues while a request is in flight is the next batch.
//!
//! ```text
//!             submit                    poll_request                 answer: stored
//!  record ──▶ queue of (partition, acks) ──▶ batch ──▶ on the wire ──────────────────▶ Completed(Ok)
//!    │            │ deadline: never sent               │  ▲ retriable, disconnect, split: again, same sequence
//!    │            ▼                                    ▼  │
//!    │        Completed(Unavailable)               waits to retry ──delivery timeout──▶ dropped, epoch + 1, sequence 0
//!    └─ topic not known yet: waits for metadata        │ deadline: waiter told OutcomeUnknown, the batch goes on
//! ```
//!
//! Rules: an acknowledged record is stored once (acks all are idempotent, KIP-98, KIP-360); a record whose fate is not known is said to be so, never guessed;
//! a record that was never sent can be refused safely, and is.

mod accumulator;
mod outcome;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::num::NonZeroU32;
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::protocol::StrBytes;

use super::error_code::ErrorCode;
use super::partition::{StickyPartitioner, partition_for_key};
use super::record_batch::{BATCH_OVERHEAD_BYTES, BatchBuilder};
use crate::clock::{Instant, UnixMillis};
use accumulator::{Accumulator, Batch, Queued};
pub use outcome::{Ack, Acks, Output, PartitionOutcome, ProduceFault, Unavailable};

/// Bounds and times of a producer.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Bytes of all records that wait or are in flight; more is refused.
    pub queued_bytes_max: usize,
    /// Bytes of a produce request, all partitions together, from which on it takes no further batch.
    pub request_bytes_max: usize,
    /// Bytes of a batch until the topic's `max.message.bytes` is known.
    pub batch_bytes_max: usize,
    /// How long a batch whose fate is unknown is sent again.
    pub delivery_timeout: Duration,
    /// How long a partition may be without a reachable leader before its unsent records are refused.
    pub unavailable_grace: Duration,
    /// The first wait before a retry; doubled for each further one.
    pub backoff_min: Duration,
    /// The longest wait before a retry.
    pub backoff_max: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            queued_bytes_max: 64 << 20,
            request_bytes_max: 8 << 20,
            batch_bytes_max: 1_048_588, // Kafka's default of `max.message.bytes`
            delivery_timeout: Duration::from_secs(120),
            unavailable_grace: Duration::from_secs(5),
            backoff_min: Duration::from_millis(50),
            backoff_max: Duration::from_secs(1),
        }
    }
}

/// A record to be stored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// The key; none goes to whichever partition is being filled.
    pub key: Option<Bytes>,
    /// The value; none is a tombstone.
    pub value: Option<Bytes>,
    /// Headers in order, duplicates and nulls kept.
    pub headers: Vec<(Bytes, Option<Bytes>)>,
}

impl Record {
    /// Bytes of a batch that holds nothing but this record.
    fn batch_bytes(&self) -> usize {
        let headers = self
            .headers
            .iter()
            .map(|(name, value)| (&name[..], value.as_deref()));
        BatchBuilder::new().size_with(
            UnixMillis(0),
            self.key.as_deref(),
            self.value.as_deref(),
            headers,
        )
    }

    /// Bytes that the record takes in a batch, at most.
    pub fn size_max(&self) -> usize {
        const FIELDS_MAX: usize = 36; // lengths, attributes and deltas, all as long varints
        let headers: usize = self
            .headers
            .iter()
            .map(|(name, value)| 10 + name.len() + value.as_ref().map_or(0, Bytes::len))
            .sum();
        FIELDS_MAX
            + self.key.as_ref().map_or(0, Bytes::len)
            + self.value.as_ref().map_or(0, Bytes::len)
            + headers
    }
}

/// A topic this producer has heard of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TopicId(usize);

type AccumulatorId = usize;

#[derive(Debug)]
struct Topic<T> {
    name: StrBytes,
    /// Leader of each partition; empty while the topic is not known.
    leaders: Vec<Option<i32>>,
    /// The partitions that have one; all of them while none has.
    available: Vec<i32>,
    accumulators: HashMap<(i32, Acks), AccumulatorId>,
    /// Records that came before the topic was known.
    waiting: VecDeque<(Acks, Queued<T>)>,
    /// Since when records have come in vain, and what the broker said last. After the grace records are refused at once, for as long again; then the next one waits.
    unknown_since: Option<Instant>,
    last_error: Option<ErrorCode>,
    sticky: StickyPartitioner,
    batch_bytes_max: usize,
}

impl<T> Topic<T> {
    fn is_led_by(&self, broker: i32) -> bool {
        self.leaders.contains(&Some(broker))
    }
}

/// One broker: at most one request in flight.
#[derive(Debug, Default)]
struct Lane {
    /// Accumulators with something to send, in the order in which they got it; never one without.
    ready: VecDeque<AccumulatorId>,
    /// Accumulators whose front batch is on the wire.
    in_flight: Vec<AccumulatorId>,
    down_since: Option<Instant>,
}

/// One partition's batch within a [`ProduceCall`].
#[derive(Clone, Debug)]
pub struct PartitionBatch {
    /// The topic.
    pub topic: StrBytes,
    /// The partition.
    pub partition: i32,
    /// How many records it has.
    pub records: usize,
    /// The encoded record batch.
    pub batch: Bytes,
}

/// A produce request to one broker.
#[derive(Clone, Debug)]
pub struct ProduceCall {
    /// The acknowledgement asked for, the same for all batches.
    pub acks: Acks,
    /// One batch for each partition.
    pub batches: Vec<PartitionBatch>,
}

/// The producer of one core. `T` is whatever finds the waiter again.
#[derive(Debug)]
pub struct Producer<T> {
    limits: Limits,
    topics: Vec<Topic<T>>,
    by_name: HashMap<String, TopicId>,
    accumulators: Vec<Accumulator<T>>,
    lanes: BTreeMap<i32, Lane>,
    identity: Option<(i64, i16)>,
    identity_wanted: bool,
    queued_bytes: usize,
    outputs: VecDeque<Output<T>>,
    stale: Vec<StrBytes>,
    /// Brokers that got something to send since the last [`Producer::pop_awakened`].
    awakened: Vec<i32>,
    builder: BatchBuilder,
    seed: u64,
}

impl<T> Producer<T> {
    /// A producer that knows nothing yet. `seed` spreads records without a key.
    pub fn new(limits: Limits, seed: u64) -> Self {
        Self {
            limits,
            topics: Vec::new(),
            by_name: HashMap::new(),
            accumulators: Vec::new(),
            lanes: BTreeMap::new(),
            identity: None,
            identity_wanted: false,
            queued_bytes: 0,
            outputs: VecDeque::new(),
            stale: Vec::new(),
            awakened: Vec::new(),
            builder: BatchBuilder::new(),
            seed,
        }
    }

    /// A topic that was entered before.
    pub fn known_topic(&self, name: &str) -> Option<TopicId> {
        self.by_name.get(name).copied()
    }

    /// How many topics were entered.
    pub fn topic_count(&self) -> usize {
        self.topics.len()
    }

    /// Finds or enters a topic; its metadata is asked for when it is new.
    pub fn topic(&mut self, name: &str) -> TopicId {
        if let Some(id) = self.by_name.get(name) {
            return *id;
        }
        let id = TopicId(self.topics.len());
        self.by_name.insert(name.to_owned(), id);
        let name = StrBytes::from_string(name.to_owned());
        self.topics.push(Topic {
            name: name.clone(),
            leaders: Vec::new(),
            available: Vec::new(),
            accumulators: HashMap::new(),
            waiting: VecDeque::new(),
            unknown_since: None,
            last_error: None,
            sticky: StickyPartitioner::new(self.seed.wrapping_add(id.0 as u64)),
            batch_bytes_max: self.limits.batch_bytes_max,
        });
        self.stale.push(name);
        id
    }

    /// Takes a record. Its outcome comes as one [`Output::Completed`] with `token`, at `deadline` at the latest (checked by [`Producer::handle_timeout`]).
    ///
    /// # Errors
    ///
    /// Refused at once, with the token: [`ProduceFault::Overloaded`], [`ProduceFault::TooLarge`] or [`ProduceFault::Unavailable`]. Nothing was kept.
    pub fn submit(
        &mut self,
        topic: TopicId,
        acks: Acks,
        record: Record,
        token: T,
        now: Instant,
        deadline: Instant,
    ) -> Result<(), (T, ProduceFault)> {
        let bytes = record.size_max();
        let Some(entry) = self.topics.get_mut(topic.0) else {
            return Err((
                token,
                ProduceFault::Rejected(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
            ));
        };
        if self.queued_bytes + bytes > self.limits.queued_bytes_max {
            return Err((
                token,
                ProduceFault::Overloaded {
                    queued: self.queued_bytes,
                    queued_max: self.limits.queued_bytes_max,
                },
            ));
        }
        if bytes + BATCH_OVERHEAD_BYTES > entry.batch_bytes_max
            && record.batch_bytes() > entry.batch_bytes_max
        {
            return Err((
                token,
                ProduceFault::TooLarge {
                    batch_bytes_max: entry.batch_bytes_max,
                },
            ));
        }
        let queued = Queued {
            record,
            token,
            deadline,
            bytes,
        };
        if entry.leaders.is_empty() {
            let since = entry
                .unknown_since
                .filter(|since| {
                    now.saturating_duration_since(*since) < self.limits.unavailable_grace * 2
                })
                .unwrap_or(now);
            entry.unknown_since = Some(since);
            if now.saturating_duration_since(since) >= self.limits.unavailable_grace {
                let reason = entry
                    .last_error
                    .map_or(Unavailable::Unreachable, Unavailable::Broker);
                self.ask_for(topic);
                return Err((queued.token, ProduceFault::Unavailable(reason)));
            }
            self.queued_bytes += bytes;
            let is_first = entry.waiting.is_empty();
            entry.waiting.push_back((acks, queued));
            if is_first {
                self.ask_for(topic); // the last answer may have been an error after which nobody asks again
            }
            return Ok(());
        }
        let partition = choose_partition(entry, &queued.record);
        let id = self.accumulator(topic, partition, acks);
        if let Some(reason) = self.unreachable(id, now) {
            // Nothing is kept that would ask for it, so ask here: else nobody would find out that the leader is back.
            self.ask_for(topic);
            // Nor is a batch made, after which records without a key would go elsewhere.
            self.topics[topic.0].sticky.on_new_batch(partition);
            return Err((queued.token, ProduceFault::Unavailable(reason)));
        }
        self.queued_bytes += bytes;
        self.accumulators[id].push(queued);
        self.list(id);
        Ok(())
    }

    /// Takes the metadata of a topic: the leader of each partition, or the error.
    pub fn handle_metadata(
        &mut self,
        name: &str,
        leaders: Result<&[Option<i32>], ErrorCode>,
        now: Instant,
    ) {
        let Some(id) = self.by_name.get(name).copied() else {
            return;
        };
        let topic = &mut self.topics[id.0];
        match leaders {
            Ok(leaders) if !leaders.is_empty() => {
                topic.leaders = leaders.to_vec();
                topic.available = available_partitions(leaders);
                topic.unknown_since = None;
                topic.last_error = None;
                for leader in leaders.iter().flatten() {
                    self.lanes.entry(*leader).or_default();
                }
                self.relist(id);
                self.place_waiting(id);
                self.forget_followers();
            }
            Ok(_) => {}
            Err(error) => {
                topic.last_error = Some(error);
                if topic.leaders.is_empty() && !error.is_retriable() {
                    topic.unknown_since = None; // that was an answer: the next record gets one of its own
                    self.refuse_waiting(id, ProduceFault::Rejected(error));
                } else if topic.leaders.is_empty()
                    && topic.unknown_since.is_none()
                    && !topic.waiting.is_empty()
                {
                    topic.unknown_since = Some(now);
                }
            }
        }
    }

    /// Takes the topic's `max.message.bytes`.
    pub fn handle_batch_bytes_max(&mut self, name: &str, bytes: usize) {
        if let Some(id) = self.by_name.get(name) {
            self.topics[id.0].batch_bytes_max = bytes;
        }
    }

    /// Takes the producer id for idempotent batches (`InitProducerId`, KIP-98).
    pub fn handle_identity(&mut self, producer_id: i64, epoch: i16) {
        self.identity = Some((producer_id, epoch));
        self.identity_wanted = false;
    }

    /// Whether `InitProducerId` has to be called.
    pub fn wants_identity(&self) -> bool {
        self.identity_wanted && self.identity.is_none()
    }

    /// Topics whose metadata is missing or known to be old, since the last call.
    pub fn take_stale(&mut self) -> Vec<StrBytes> {
        std::mem::take(&mut self.stale)
    }

    /// Topics whose leaders are not known, with records waiting.
    pub fn unknown_topics(&self) -> impl Iterator<Item = &StrBytes> {
        self.topics
            .iter()
            .filter(|topic| topic.leaders.is_empty() && !topic.waiting.is_empty())
            .map(|topic| &topic.name)
    }

    /// A broker that got something to send since it was last named here.
    pub fn pop_awakened(&mut self) -> Option<i32> {
        self.awakened.pop()
    }

    /// The brokers that lead something.
    pub fn brokers(&self) -> impl Iterator<Item = i32> + '_ {
        self.lanes.keys().copied()
    }

    /// The next request to `broker`, when none is in flight there and something is due.
    pub fn poll_request(
        &mut self,
        broker: i32,
        now: Instant,
        timestamp: UnixMillis,
    ) -> Option<ProduceCall> {
        let lane = self.lanes.get_mut(&broker)?;
        if !lane.in_flight.is_empty() || lane.ready.is_empty() {
            return None;
        }
        let mut call: Option<ProduceCall> = None;
        let mut request_bytes = 0;
        for _ in 0..lane.ready.len() {
            let Some(id) = self
                .lanes
                .get_mut(&broker)
                .and_then(|lane| lane.ready.pop_front())
            else {
                break;
            };
            let acks = self.accumulators[id].acks;
            let fits = request_bytes < self.limits.request_bytes_max
                && call.as_ref().is_none_or(|call| call.acks == acks);
            if !fits || self.accumulators[id].retry_at > now || !self.prepare(id, now, timestamp) {
                self.keep_listed(id, broker);
                continue;
            }
            self.accumulators[id].listed_at = None;
            self.accumulators[id].on_wire = true;
            let topic = self.topics[self.accumulators[id].topic.0].name.clone();
            let accumulator = &mut self.accumulators[id];
            let Some(batch) = accumulator.batches.front() else {
                continue;
            };
            request_bytes += batch.bytes.len();
            let part = PartitionBatch {
                topic,
                partition: accumulator.partition,
                records: batch.waiters.len(),
                batch: batch.bytes.clone(),
            };
            call.get_or_insert_with(|| ProduceCall {
                acks,
                batches: Vec::new(),
            })
            .batches
            .push(part);
            if let Some(lane) = self.lanes.get_mut(&broker) {
                lane.in_flight.push(id);
            }
        }
        call
    }

    /// When `broker` is to be turned to next; `None` when nothing waits there. A request need not come of it: the producer id may be missing, or a broker that
    /// could not be reached is to be tried again although nothing is kept for it, since nobody else would find out that it is back.
    pub fn poll_retry(&self, broker: i32) -> Option<Instant> {
        let lane = self.lanes.get(&broker)?;
        if !lane.in_flight.is_empty() {
            return None;
        }
        if lane.down_since.is_some() {
            return Some(Instant::ZERO);
        }
        lane.ready
            .iter()
            .map(|id| self.accumulators[*id].retry_at)
            .min()
    }

    /// Takes the broker's answer to the request in flight. Partitions that it leaves out count as lost with the connection.
    pub fn handle_response(&mut self, broker: i32, outcomes: &[PartitionOutcome], now: Instant) {
        for id in self.take_in_flight(broker) {
            let accumulator = &self.accumulators[id];
            let name = &self.topics[accumulator.topic.0].name;
            match outcomes.iter().find(|outcome| {
                outcome.partition == accumulator.partition && outcome.topic == *name
            }) {
                Some(outcome) => self.settle(id, outcome.error, outcome.base_offset, now),
                None => self.lost(id, now),
            }
            self.list(id);
        }
    }

    /// The request in flight had acks 0 and was written.
    pub fn handle_sent(&mut self, broker: i32, now: Instant) {
        for id in self.take_in_flight(broker) {
            self.settle(id, ErrorCode::NONE, -1, now);
            self.list(id);
        }
    }

    /// The connection broke, or no answer came: what was in flight may be stored.
    pub fn handle_disconnect(&mut self, broker: i32, now: Instant) {
        for id in self.take_in_flight(broker) {
            self.lost(id, now);
            self.list(id);
        }
    }

    /// The request never left: nothing of it can be stored by this attempt.
    pub fn handle_not_sent(&mut self, broker: i32, now: Instant) {
        for id in self.take_in_flight(broker) {
            self.accumulators[id].back_off(now, &self.limits);
            self.list(id);
        }
    }

    /// No connection to the broker can be made.
    pub fn handle_unreachable(&mut self, broker: i32, now: Instant) {
        let led: Vec<usize> = (0..self.topics.len())
            .filter(|index| self.topics[*index].is_led_by(broker))
            .collect();
        for index in &led {
            self.ask_for(TopicId(*index));
        }
        if !led.is_empty() {
            self.lanes
                .entry(broker)
                .or_default()
                .down_since
                .get_or_insert(now);
        }
    }

    /// The broker can be reached.
    pub fn handle_connected(&mut self, broker: i32) {
        self.lanes.entry(broker).or_default().down_since = None;
    }

    /// The next outcome.
    pub fn poll_output(&mut self) -> Option<Output<T>> {
        self.outputs.pop_front()
    }

    /// Whether any record has no outcome yet, or any batch is still being delivered.
    pub fn is_idle(&self) -> bool {
        self.queued_bytes == 0 && self.outputs.is_empty()
    }

    /// Bytes of all records that wait or are in flight.
    pub fn queued_bytes(&self) -> usize {
        self.queued_bytes
    }

    /// Ends what is past its time: deadlines of waiters, batches past the delivery timeout, partitions too long without a leader.
    pub fn handle_timeout(&mut self, now: Instant) {
        for index in 0..self.topics.len() {
            self.expire_waiting(TopicId(index), now);
        }
        for id in 0..self.accumulators.len() {
            if self.accumulators[id].earliest_deadline <= now {
                self.expire_records(id, now);
            }
            if !self.accumulators[id].queue.is_empty()
                && let Some(reason) = self.unreachable(id, now)
            {
                self.refuse_queue(id, reason);
            }
            self.expire_batch(id, now);
            if !self.accumulators[id].has_work() {
                self.unlist(id);
            }
        }
    }

    fn take_in_flight(&mut self, broker: i32) -> Vec<AccumulatorId> {
        let ids = self
            .lanes
            .get_mut(&broker)
            .map(|lane| std::mem::take(&mut lane.in_flight))
            .unwrap_or_default();
        for id in &ids {
            self.accumulators[*id].on_wire = false;
        }
        ids
    }

    fn ask_for(&mut self, topic: TopicId) {
        let name = self.topics[topic.0].name.clone();
        if !self.stale.contains(&name) {
            self.stale.push(name);
        }
    }

    fn accumulator(&mut self, topic: TopicId, partition: i32, acks: Acks) -> AccumulatorId {
        let next = self.accumulators.len();
        let id = *self.topics[topic.0]
            .accumulators
            .entry((partition, acks))
            .or_insert(next);
        if id == next {
            self.accumulators
                .push(Accumulator::new(topic, partition, acks));
        }
        id
    }

    fn leader(&self, id: AccumulatorId) -> Option<i32> {
        let accumulator = &self.accumulators[id];
        let index = usize::try_from(accumulator.partition).ok()?;
        self.topics[accumulator.topic.0]
            .leaders
            .get(index)
            .copied()
            .flatten()
    }

    /// Why nothing can be sent for this accumulator, once that has lasted too long.
    fn unreachable(&mut self, id: AccumulatorId, now: Instant) -> Option<Unavailable> {
        let grace = self.limits.unavailable_grace;
        let Some(broker) = self.leader(id) else {
            let since = *self.accumulators[id].leaderless_since.get_or_insert(now);
            return (now.saturating_duration_since(since) >= grace)
                .then_some(Unavailable::Broker(ErrorCode::LEADER_NOT_AVAILABLE));
        };
        self.accumulators[id].leaderless_since = None;
        let since = self.lanes.get(&broker)?.down_since?;
        (now.saturating_duration_since(since) >= grace).then_some(Unavailable::Unreachable)
    }

    /// Enters the accumulator into its leader's lane, if it has something to send and is not on the wire.
    fn list(&mut self, id: AccumulatorId) {
        let accumulator = &self.accumulators[id];
        if !accumulator.has_work() || accumulator.listed_at.is_some() || accumulator.on_wire {
            return;
        }
        let Some(broker) = self.leader(id) else {
            return self.ask_for(self.accumulators[id].topic);
        };
        self.keep_listed(id, broker);
        if !self.awakened.contains(&broker) {
            self.awakened.push(broker);
        }
    }

    fn keep_listed(&mut self, id: AccumulatorId, broker: i32) {
        self.accumulators[id].listed_at = Some(broker);
        self.lanes.entry(broker).or_default().ready.push_back(id);
    }

    /// A lane lists only what has something to send: one that is due and sends nothing would keep its task running for nothing.
    fn unlist(&mut self, id: AccumulatorId) {
        let listed_at = self.accumulators[id].listed_at.take();
        if let Some(lane) = listed_at.and_then(|broker| self.lanes.get_mut(&broker)) {
            lane.ready.retain(|ready| *ready != id);
        }
    }

    /// Moves the topic's accumulators to the lanes of their present leaders.
    fn relist(&mut self, topic: TopicId) {
        let mut ids: Vec<AccumulatorId> = self.topics[topic.0]
            .accumulators
            .values()
            .copied()
            .collect();
        ids.sort_unstable(); // the map's order differs from run to run
        for id in ids {
            let leader = self.leader(id);
            if leader.is_some() {
                self.accumulators[id].leaderless_since = None;
            }
            let listed_at = self.accumulators[id].listed_at;
            if listed_at.is_some() && listed_at != leader {
                self.unlist(id);
                self.accumulators[id].retry_at = Instant::ZERO;
            }
            self.list(id);
        }
    }

    /// A broker that leads nothing any more is not tried again.
    fn forget_followers(&mut self) {
        for (broker, lane) in &mut self.lanes {
            if lane.down_since.is_some()
                && !self.topics.iter().any(|topic| topic.is_led_by(*broker))
            {
                lane.down_since = None;
            }
        }
    }

    fn place_waiting(&mut self, topic: TopicId) {
        let waiting = std::mem::take(&mut self.topics[topic.0].waiting);
        for (acks, queued) in waiting {
            let partition = choose_partition(&mut self.topics[topic.0], &queued.record);
            let id = self.accumulator(topic, partition, acks);
            self.accumulators[id].push(queued);
            self.list(id);
        }
    }

    /// Makes sure that a batch stands at the front; false when the producer id is missing.
    fn prepare(&mut self, id: AccumulatorId, now: Instant, timestamp: UnixMillis) -> bool {
        let accumulator = &mut self.accumulators[id];
        if accumulator.acks == Acks::InSyncReplicas && accumulator.identity.is_none() {
            let Some(identity) = self.identity else {
                self.identity_wanted = true;
                return false;
            };
            accumulator.adopt_identity(identity);
        }
        let topic = &mut self.topics[accumulator.topic.0];
        if accumulator.batches.is_empty() {
            let Some(batch) =
                accumulator.build(&mut self.builder, topic.batch_bytes_max, now, timestamp)
            else {
                return false;
            };
            if batch.has_null_key {
                topic.sticky.on_new_batch(accumulator.partition);
            }
            accumulator.batches.push_back(batch);
        }
        true
    }
}

fn available_partitions(leaders: &[Option<i32>]) -> Vec<i32> {
    let led: Vec<i32> = (0..)
        .zip(leaders)
        .filter(|(_, leader)| leader.is_some())
        .map(|(partition, _)| partition)
        .collect();
    if led.is_empty() {
        (0..).zip(leaders).map(|(partition, _)| partition).collect()
    } else {
        led
    }
}

fn choose_partition<T>(topic: &mut Topic<T>, record: &Record) -> i32 {
    let count = u32::try_from(topic.leaders.len())
        .ok()
        .and_then(NonZeroU32::new);
    match (&record.key, count) {
        (Some(key), Some(count)) => partition_for_key(key, count),
        _ => topic.sticky.partition(&topic.available).unwrap_or(0),
    }
}
