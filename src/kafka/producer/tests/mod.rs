//! The producer's rules, one test for each. The test is the broker: it takes the requests, answers them or cuts the line.

mod answers;
mod batching;
mod bounds;
mod deadlines;
mod epochs;
mod leaders;
mod retries;
mod topics;

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::kafka::record_batch::{self, BatchHeader, Records};

const BROKER: i32 = 1;
const OTHER_BROKER: i32 = 2;
const PRODUCER_ID: i64 = 7;

/// A producer with one topic, and a clock. It checks by itself that no record gets two outcomes.
struct Bench {
    producer: Producer<u32>,
    topic: TopicId,
    now: Instant,
    submitted: BTreeSet<u32>,
    outcomes: BTreeMap<u32, Result<Ack, ProduceFault>>,
    next_offsets: Vec<i64>,
}

impl Bench {
    fn new(leaders: &[Option<i32>]) -> Self {
        Self::with_limits(leaders, Limits::default())
    }

    fn with_limits(leaders: &[Option<i32>], limits: Limits) -> Self {
        let mut bench = Self::without_metadata(limits);
        bench.producer.handle_identity(PRODUCER_ID, 0);
        bench.leaders(leaders);
        bench.producer.take_stale();
        bench
    }

    fn without_metadata(limits: Limits) -> Self {
        let mut producer = Producer::new(limits, 1);
        let topic = producer.topic("items");
        let (submitted, outcomes) = (BTreeSet::new(), BTreeMap::new());
        Self {
            producer,
            topic,
            now: Instant::ZERO,
            submitted,
            outcomes,
            next_offsets: Vec::new(),
        }
    }

    fn leaders(&mut self, leaders: &[Option<i32>]) {
        self.producer
            .handle_metadata("items", Ok(leaders), self.now);
    }

    /// Submits record `token`, its value saying so, with a key for partition 0 and a minute's time.
    fn submit(&mut self, token: u32) {
        self.submit_as(
            token,
            Acks::InSyncReplicas,
            record(token, Some("a")),
            60_000,
        );
    }

    fn submit_acks(&mut self, token: u32, acks: Acks) {
        self.submit_as(token, acks, record(token, Some("a")), 60_000);
    }

    fn submit_as(&mut self, token: u32, acks: Acks, record: Record, deadline_ms: u64) {
        assert!(self.submitted.insert(token));
        let deadline = self.now + Duration::from_millis(deadline_ms);
        if let Err((token, fault)) = self
            .producer
            .submit(self.topic, acks, record, token, self.now, deadline)
        {
            self.outcomes.insert(token, Err(fault));
        }
    }

    fn advance(&mut self, millis: u64) {
        self.now += Duration::from_millis(millis);
        self.producer.handle_timeout(self.now);
        self.drain();
    }

    /// The next request to [`BROKER`].
    fn poll(&mut self) -> Option<ProduceCall> {
        self.poll_broker(BROKER)
    }

    fn poll_broker(&mut self, broker: i32) -> Option<ProduceCall> {
        self.producer
            .poll_request(broker, self.now, UnixMillis(1_000))
    }

    /// The only batch of the next request to [`BROKER`].
    fn poll_batch(&mut self) -> Sent {
        let call = self.poll().expect("a request is due");
        assert_eq!(call.batches.len(), 1);
        Sent::of(&call.batches[0])
    }

    /// Waits for the retry and takes it.
    fn retry_batch(&mut self) -> Sent {
        let due = self.producer.poll_retry(BROKER).expect("something waits");
        self.now = self.now.max(due);
        self.poll_batch()
    }

    fn answer(&mut self, error: ErrorCode, base_offset: i64) {
        self.answer_partitions(BROKER, &[(0, error, base_offset)]);
    }

    fn answer_partitions(&mut self, broker: i32, answers: &[(i32, ErrorCode, i64)]) {
        let topic = StrBytes::from_static_str("items");
        let outcome = |&(partition, error, base_offset)| PartitionOutcome {
            topic: topic.clone(),
            partition,
            error,
            base_offset,
        };
        let outcomes: Vec<PartitionOutcome> = answers.iter().map(outcome).collect();
        self.producer.handle_response(broker, &outcomes, self.now);
        self.drain();
    }

    fn disconnect(&mut self) {
        self.producer.handle_disconnect(BROKER, self.now);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(output) = self.producer.poll_output() {
            match output {
                Output::Acked { next_offset, .. } => self.next_offsets.push(next_offset),
                Output::Completed { token, result } => {
                    assert!(self.submitted.contains(&token));
                    assert_eq!(
                        self.outcomes.insert(token, result),
                        None,
                        "record {token} has two outcomes"
                    );
                }
            }
        }
    }

    fn outcome(&self, token: u32) -> Option<Result<Ack, ProduceFault>> {
        self.outcomes.get(&token).copied()
    }

    fn asks_for_metadata(&mut self) -> bool {
        !self.producer.take_stale().is_empty()
    }

    /// Nothing is owed to anybody, nothing is charged, nothing is due.
    fn assert_done(&mut self) {
        self.drain();
        let told: BTreeSet<u32> = self.outcomes.keys().copied().collect();
        assert_eq!(told, self.submitted, "every record has its outcome");
        assert_eq!(self.producer.queued_bytes(), 0);
        assert!(self.producer.is_idle());
        for broker in [BROKER, OTHER_BROKER] {
            assert_eq!(
                self.producer.poll_retry(broker),
                None,
                "a lane would be kept busy with nothing"
            );
        }
    }
}

/// A batch as the broker sees it.
#[derive(Clone, Debug, PartialEq)]
struct Sent {
    bytes: Bytes,
    header: BatchHeader,
    tokens: Vec<u32>,
}

impl Sent {
    fn of(part: &PartitionBatch) -> Self {
        let batch = record_batch::Batch::parse(part.batch.clone()).unwrap();
        let payload = batch.payload();
        let records = Records::new(&batch.header, &payload).unwrap();
        let token = |value: &[u8]| u32::from_be_bytes(value[..4].try_into().unwrap());
        let tokens = records
            .map(|record| token(record.unwrap().value.unwrap()))
            .collect();
        Self {
            bytes: part.batch.clone(),
            header: batch.header,
            tokens,
        }
    }

    /// Epoch and first sequence.
    fn sequence(&self) -> (i16, i32) {
        (self.header.producer_epoch, self.header.base_sequence)
    }
}

fn record(token: u32, key: Option<&'static str>) -> Record {
    record_of(token, key, 4)
}

/// A record whose value is `value_len` bytes long and starts with the token.
fn record_of(token: u32, key: Option<&'static str>, value_len: usize) -> Record {
    let mut value = token.to_be_bytes().to_vec();
    value.resize(value_len, 0);
    Record {
        key: key.map(|key| Bytes::from_static(key.as_bytes())),
        value: Some(value.into()),
        headers: Vec::new(),
    }
}

/// One key for each of `partition_count` partitions.
fn keys(partition_count: u32) -> Vec<&'static str> {
    let all = ["a", "b", "c", "d", "e", "f", "g", "h"];
    let count = NonZeroU32::new(partition_count).unwrap();
    let key_of = |partition| {
        all.into_iter()
            .find(|key| partition_for_key(key.as_bytes(), count) == partition)
            .unwrap()
    };
    (0..partition_count.cast_signed()).map(key_of).collect()
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "compared with what a record was told"
)]
fn stored_at(offset: i64) -> Option<Result<Ack, ProduceFault>> {
    Some(Ok(Ack {
        partition: 0,
        offset: Some(offset),
    }))
}

const DEADLINE: Option<Result<Ack, ProduceFault>> =
    Some(Err(ProduceFault::Unavailable(Unavailable::Deadline)));
const UNKNOWN: Option<Result<Ack, ProduceFault>> = Some(Err(ProduceFault::OutcomeUnknown));
const UNREACHABLE: Option<Result<Ack, ProduceFault>> =
    Some(Err(ProduceFault::Unavailable(Unavailable::Unreachable)));
