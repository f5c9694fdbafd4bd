//! The producer's rules, one test for each. The test is the broker: it takes the requests, answers them or cuts the line.

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
        Self { producer, topic, now: Instant::ZERO, submitted, outcomes, next_offsets: Vec::new() }
    }

    fn leaders(&mut self, leaders: &[Option<i32>]) {
        self.producer.handle_metadata("items", Ok(leaders), self.now);
    }

    /// Submits record `token`, its value saying so, with a key for partition 0 and a minute's time.
    fn submit(&mut self, token: u32) {
        self.submit_as(token, Acks::InSyncReplicas, record(token, Some("a")), 60_000);
    }

    fn submit_acks(&mut self, token: u32, acks: Acks) {
        self.submit_as(token, acks, record(token, Some("a")), 60_000);
    }

    fn submit_as(&mut self, token: u32, acks: Acks, record: Record, deadline_ms: u64) {
        assert!(self.submitted.insert(token));
        let deadline = self.now + Duration::from_millis(deadline_ms);
        if let Err((token, fault)) = self.producer.submit(self.topic, acks, record, token, self.now, deadline) {
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
        self.producer.poll_request(broker, self.now, UnixMillis(1_000))
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
        let outcome = |&(partition, error, base_offset)| PartitionOutcome { topic: topic.clone(), partition, error, base_offset };
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
                    assert_eq!(self.outcomes.insert(token, result), None, "record {token} has two outcomes");
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
            assert_eq!(self.producer.poll_retry(broker), None, "a lane would be kept busy with nothing");
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
        let tokens = records.map(|record| token(record.unwrap().value.unwrap())).collect();
        Self { bytes: part.batch.clone(), header: batch.header, tokens }
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
    Record { key: key.map(|key| Bytes::from_static(key.as_bytes())), value: Some(value.into()), headers: Vec::new() }
}

/// One key for each of `partition_count` partitions.
fn keys(partition_count: u32) -> Vec<&'static str> {
    let all = ["a", "b", "c", "d", "e", "f", "g", "h"];
    let count = NonZeroU32::new(partition_count).unwrap();
    let key_of = |partition| all.into_iter().find(|key| partition_for_key(key.as_bytes(), count) == partition).unwrap();
    (0..partition_count.cast_signed()).map(key_of).collect()
}

fn stored_at(offset: i64) -> Option<Result<Ack, ProduceFault>> {
    Some(Ok(Ack { partition: 0, offset: Some(offset) }))
}

const DEADLINE: Option<Result<Ack, ProduceFault>> = Some(Err(ProduceFault::Unavailable(Unavailable::Deadline)));
const UNKNOWN: Option<Result<Ack, ProduceFault>> = Some(Err(ProduceFault::OutcomeUnknown));
const UNREACHABLE: Option<Result<Ack, ProduceFault>> = Some(Err(ProduceFault::Unavailable(Unavailable::Unreachable)));

// Batching.

#[test]
fn a_record_goes_out_at_once_and_what_queues_meanwhile_is_the_next_batch() {
    let mut bench = Bench::new(&[Some(BROKER)]);
    bench.submit(1);
    assert_eq!(bench.poll_batch().tokens, [1]);
    (2..5).for_each(|token| bench.submit(token));
    assert!(bench.poll().is_none(), "one request in flight");
    assert_eq!(bench.producer.poll_retry(BROKER), None);
    bench.answer(ErrorCode::NONE, 10);
    let second = bench.poll_batch();
    assert_eq!((second.tokens.as_slice(), second.sequence()), ([2, 3, 4].as_slice(), (0, 1)));
    bench.answer(ErrorCode::NONE, 11);
    assert_eq!([1, 2, 4].map(|token| bench.outcome(token)), [stored_at(10), stored_at(11), stored_at(13)]);
    assert_eq!(bench.next_offsets, [11, 14]);
    bench.assert_done();
}

#[test]
fn one_request_carries_several_partitions_each_broker_its_own() {
    let mut bench = Bench::new(&[Some(BROKER), Some(OTHER_BROKER), Some(BROKER)]);
    for (token, key) in (0..).zip(keys(3)) {
        bench.submit_as(token, Acks::InSyncReplicas, record(token, Some(key)), 1_000);
    }
    let partitions = |call: ProduceCall| -> Vec<i32> { call.batches.iter().map(|part| part.partition).collect() };
    assert_eq!(partitions(bench.poll().unwrap()), [0, 2]);
    assert_eq!(partitions(bench.poll_broker(OTHER_BROKER).unwrap()), [1]);
    bench.answer_partitions(BROKER, &[(2, ErrorCode::NONE, 20), (0, ErrorCode::NONE, 0)]);
    bench.answer_partitions(OTHER_BROKER, &[(1, ErrorCode::NONE, 10)]);
    assert_eq!(bench.outcome(1), Some(Ok(Ack { partition: 1, offset: Some(10) })));
    assert_eq!(bench.outcome(2), Some(Ok(Ack { partition: 2, offset: Some(20) })));
    bench.assert_done();
}

#[test]
fn a_request_never_mixes_kinds_of_acknowledgement_and_none_starves() {
    let mut bench = Bench::new(&[Some(BROKER)]);
    let kinds = [Acks::InSyncReplicas, Acks::LeaderOnly, Acks::None];
    let mut token = 0;
    let mut seen = Vec::new();
    for _ in 0..6 {
        for acks in kinds {
            bench.submit_acks(token, acks);
            token += 1;
        }
        let call = bench.poll().unwrap();
        assert_eq!(call.batches.len(), 1, "the same partition with other acks is another request");
        let has_sequence = Sent::of(&call.batches[0]).header.base_sequence >= 0;
        assert_eq!(has_sequence, call.acks == Acks::InSyncReplicas, "only acks all are idempotent");
        seen.push(call.acks);
        bench.answer(ErrorCode::NONE, 0);
    }
    assert_eq!(seen, [kinds, kinds].concat());
}

#[test]
fn a_full_request_leaves_the_rest_to_the_next() {
    let limits = Limits { request_bytes_max: 100, ..Limits::default() };
    let mut bench = Bench::with_limits(&[Some(BROKER); 3], limits);
    for (token, key) in (0..).zip(keys(3)) {
        bench.submit_as(token, Acks::InSyncReplicas, record_of(token, Some(key), 90), 1_000);
    }
    for partition in 0..3 {
        let call = bench.poll().unwrap();
        assert_eq!((call.batches.len(), call.batches[0].partition), (1, partition));
        bench.answer_partitions(BROKER, &[(partition, ErrorCode::NONE, 0)]);
    }
    bench.assert_done();
}

#[test]
fn a_batch_stays_within_the_topics_max_message_bytes() {
    let mut bench = Bench::new(&[Some(BROKER)]);
    bench.producer.handle_batch_bytes_max("items", 1_000);
    (0..50).for_each(|token| bench.submit_as(token, Acks::InSyncReplicas, record_of(token, Some("a"), 100), 60_000));
    let (mut stored, mut batches) = (0, 0);
    while let Some(call) = bench.poll() {
        let sent = Sent::of(&call.batches[0]);
        assert!(sent.bytes.len() <= 1_000);
        bench.answer(ErrorCode::NONE, stored);
        stored += i64::from(sent.header.record_count);
        batches += 1;
    }
    assert_eq!((stored, batches), (50, 9), "six of these fit by what they take at most");
    bench.assert_done();
}

#[test]
fn a_record_is_too_large_exactly_when_a_batch_of_its_own_is() {
    let header = (Bytes::from_static(b"name"), Some(Bytes::from_static(b"value")));
    let with_headers = |value_len| Record { headers: vec![header.clone(); 20], ..record_of(0, Some("a"), value_len) };
    let fits = with_headers(500);
    let max = fits.batch_bytes();
    for (token, record, is_taken) in [(1, fits, true), (2, with_headers(501), false)] {
        let mut bench = Bench::new(&[Some(BROKER)]);
        bench.producer.handle_batch_bytes_max("items", max);
        bench.submit_as(token, Acks::InSyncReplicas, record, 1_000);
        if is_taken {
            assert_eq!(bench.poll_batch().bytes.len(), max);
            bench.answer(ErrorCode::NONE, 0);
        } else {
            assert_eq!(bench.outcome(token), Some(Err(ProduceFault::TooLarge { batch_bytes_max: max })));
        }
        bench.assert_done();
    }
}

#[test]
fn records_without_a_key_stay_on_one_partition_until_a_batch_of_it_is_made() {
    let mut bench = Bench::new(&[Some(BROKER); 4]);
    (0..5).for_each(|token| bench.submit_as(token, Acks::InSyncReplicas, record(token, None), 1_000));
    let first = bench.poll().unwrap();
    assert_eq!((first.batches.len(), Sent::of(&first.batches[0]).tokens.len()), (1, 5));
    bench.submit_as(5, Acks::InSyncReplicas, record(5, None), 1_000);
    bench.answer_partitions(BROKER, &[(first.batches[0].partition, ErrorCode::NONE, 0)]);
    let second = bench.poll().unwrap();
    assert_ne!(second.batches[0].partition, first.batches[0].partition);
}

#[test]
fn a_record_without_a_key_is_not_tied_to_a_broker_that_is_down() {
    let mut bench = Bench::new(&[Some(BROKER), Some(OTHER_BROKER)]);
    bench.producer.handle_unreachable(BROKER, bench.now);
    bench.advance(5_000);
    (0..10).for_each(|token| bench.submit_as(token, Acks::InSyncReplicas, record(token, None), 1_000));
    let refused = bench.outcomes.values().filter(|outcome| outcome.is_err()).count();
    assert!(refused <= 1, "{refused} of 10 refused although a partition can be written");
}

// What an answer means.

#[test]
fn a_batch_too_large_is_halved_with_following_sequences_until_the_culprit_is_alone() {
    let mut bench = Bench::new(&[Some(BROKER)]);
    bench.submit(0);
    bench.poll_batch();
    (1..9).for_each(|token| bench.submit_as(token, Acks::InSyncReplicas, record_of(token, Some("a"), if token == 6 { 90 } else { 10 }), 60_000));
    bench.submit(9); // goes to another batch only because of what follows
    bench.answer(ErrorCode::NONE, 0);
    let mut log = vec![0];
    let mut expected_sequence = 1;
    while let Some(call) = bench.poll() {
        let sent = Sent::of(&call.batches[0]);
        if sent.tokens.contains(&6) {
            bench.answer(ErrorCode::MESSAGE_TOO_LARGE, -1);
            expected_sequence = if sent.tokens.len() == 1 { 0 } else { expected_sequence };
            continue;
        }
        assert_eq!(sent.header.base_sequence, expected_sequence, "{:?}", sent.tokens);
        expected_sequence += sent.header.record_count;
        bench.answer(ErrorCode::NONE, i64::try_from(log.len()).unwrap());
        log.extend(sent.tokens);
    }
    assert_eq!(log, [0, 1, 2, 3, 4, 5, 7, 8, 9], "neighbours are stored, in order");
    assert_eq!(bench.outcome(6), Some(Err(ProduceFault::TooLarge { batch_bytes_max: 1_048_588 })));
    assert_eq!(bench.outcome(9), stored_at(8));
    bench.assert_done();
}

#[test]
fn a_bad_record_is_isolated_and_its_neighbours_are_stored_in_order() {
    for acks in [Acks::InSyncReplicas, Acks::LeaderOnly] {
        let mut bench = Bench::new(&[Some(BROKER)]);
        (0..16).for_each(|token| bench.submit_acks(token, acks));
        let mut log = Vec::new();
        while let Some(call) = bench.poll() {
            let sent = Sent::of(&call.batches[0]);
            if sent.tokens.iter().any(|token| [3, 11].contains(token)) {
                bench.answer(ErrorCode::INVALID_RECORD, -1);
            } else {
                bench.answer(ErrorCode::NONE, i64::try_from(log.len()).unwrap());
                log.extend(sent.tokens);
            }
        }
        assert_eq!(log, [0, 1, 2, 4, 5, 6, 7, 8, 9, 10, 12, 13, 14, 15]);
        for bad in [3, 11] {
            assert_eq!(bench.outcome(bad), Some(Err(ProduceFault::Rejected(ErrorCode::INVALID_RECORD))));
        }
        bench.assert_done();
    }
}

#[test]
fn a_duplicate_sequence_is_success() {
    let mut bench = Bench::new(&[Some(BROKER)]);
    bench.submit(1);
    bench.poll_batch();
    bench.answer(ErrorCode::DUPLICATE_SEQUENCE_NUMBER, -1);
    assert_eq!(bench.outcome(1), Some(Ok(Ack { partition: 0, offset: None })));
    bench.assert_done();
}

#[test]
fn a_refusal_for_good_is_told_and_the_next_record_flows() {
    let mut bench = Bench::new(&[Some(BROKER)]);
    bench.submit(1);
    bench.poll_batch();
    bench.submit(2);
    bench.answer(ErrorCode::TOPIC_AUTHORIZATION_FAILED, -1);
    assert_eq!(bench.outcome(1), Some(Err(ProduceFault::Rejected(ErrorCode::TOPIC_AUTHORIZATION_FAILED))));
    assert_eq!(bench.poll_batch().sequence(), (1, 0));
    bench.answer(ErrorCode::NONE, 0);
    bench.assert_done();
}

#[test]
fn an_outlandish_offset_is_no_reason_to_panic() {
    for base_offset in [i64::MAX, i64::MIN, -2] {
        let mut bench = Bench::new(&[Some(BROKER)]);
        (0..3).for_each(|token| bench.submit(token));
        bench.poll_batch();
        bench.answer(ErrorCode::NONE, base_offset);
        bench.assert_done();
    }
}

// Again, or not.

#[test]
fn a_retriable_error_sends_the_same_bytes_again_after_a_growing_wait() {
    let mut bench = Bench::new(&[Some(BROKER)]);
    bench.submit(1);
    let first = bench.poll_batch();
    let mut waits = Vec::new();
    for error in [ErrorCode::NOT_ENOUGH_REPLICAS, ErrorCode::REQUEST_TIMED_OUT, ErrorCode::NOT_ENOUGH_REPLICAS_AFTER_APPEND] {
        bench.answer(error, -1);
        assert!(bench.poll().is_none(), "not before the wait is over");
        let due = bench.producer.poll_retry(BROKER).unwrap();
        waits.push((due - bench.now).as_millis());
        bench.now = due;
        assert_eq!(bench.poll_batch(), first);
    }
    assert_eq!(waits, [50, 100, 200]);
    bench.answer(ErrorCode::NONE, 5);
    assert_eq!(bench.outcome(1), stored_at(5));
    bench.submit(2);
    bench.poll_batch();
    bench.answer(ErrorCode::NOT_ENOUGH_REPLICAS, -1);
    assert_eq!((bench.producer.poll_retry(BROKER).unwrap() - bench.now).as_millis(), 50, "success resets the wait");
}

#[test]
fn a_broken_connection_sends_the_same_sequence_again_and_asks_for_metadata() {
    let mut bench = Bench::new(&[Some(BROKER)]);
    bench.submit(1);
    let first = bench.poll_batch();
    bench.submit(2);
    bench.disconnect();
    assert!(bench.asks_for_metadata());
    assert_eq!(bench.outcome(1), None);
    assert_eq!(bench.retry_batch(), first, "and what came since waits for its turn");
    bench.answer(ErrorCode::NONE, 0);
    assert_eq!(bench.poll_batch().sequence(), (0, 1));
    bench.answer(ErrorCode::NONE, 1);
    bench.assert_done();
}

#[test]
fn without_sequences_a_broken_connection_leaves_the_outcome_unknown_and_nothing_is_sent_again() {
    for acks in [Acks::LeaderOnly, Acks::None] {
        let mut bench = Bench::new(&[Some(BROKER)]);
        bench.submit_acks(1, acks);
        bench.poll_batch();
        bench.disconnect();
        assert_eq!(bench.outcome(1), UNKNOWN);
        bench.advance(10_000);
        assert!(bench.poll().is_none());
        bench.assert_done();
    }
}

#[test]
fn a_clear_refusal_is_sent_again_with_any_acks() {
    let mut bench = Bench::new(&[Some(BROKER)]);
    bench.submit_acks(1, Acks::LeaderOnly);
    let first = bench.poll_batch();
    bench.answer(ErrorCode::NOT_LEADER_OR_FOLLOWER, -1);
    assert_eq!(bench.retry_batch(), first);
    bench.answer(ErrorCode::REQUEST_TIMED_OUT, -1);
    assert_eq!(bench.outcome(1), UNKNOWN);
    bench.assert_done();
}

#[test]
fn a_partition_that_the_answer_leaves_out_counts_as_lost() {
    let mut bench = Bench::new(&[Some(BROKER)]);
    bench.submit(1);
    bench.submit_acks(2, Acks::LeaderOnly);
    let first = bench.poll_batch();
    bench.answer_partitions(BROKER, &[(5, ErrorCode::NONE, 0)]);
    assert_eq!(bench.poll_batch().tokens, [2]);
    bench.answer_partitions(BROKER, &[]);
    assert_eq!(bench.outcome(2), UNKNOWN);
    assert_eq!(bench.retry_batch(), first);
    bench.answer(ErrorCode::NONE, 0);
    bench.assert_done();
}

#[test]
fn acks_none_is_done_when_it_is_written() {
    let mut bench = Bench::new(&[Some(BROKER)]);
    bench.submit_acks(1, Acks::None);
    assert_eq!(bench.poll_batch().header.producer_id, -1);
    bench.producer.handle_sent(BROKER, bench.now);
    bench.drain();
    assert_eq!(bench.outcome(1), Some(Ok(Ack { partition: 0, offset: None })));
    assert_eq!(bench.next_offsets, [] as [i64; 0], "nobody can say where it is");
    bench.assert_done();
}

#[test]
fn a_request_that_never_left_is_sent_again_with_any_acks_and_can_be_refused() {
    for acks in [Acks::InSyncReplicas, Acks::LeaderOnly, Acks::None] {
        let mut bench = Bench::new(&[Some(BROKER)]);
        bench.submit_as(1, acks, record(1, Some("a")), 1_000);
        let first = bench.poll_batch();
        bench.producer.handle_not_sent(BROKER, bench.now);
        assert_eq!(bench.retry_batch(), first);
        bench.producer.handle_not_sent(BROKER, bench.now);
        bench.advance(1_000);
        assert_eq!(bench.outcome(1), DEADLINE);
        bench.assert_done();
    }
}

// Deadlines.

#[test]
fn a_deadline_in_the_queue_means_refused_and_never_sent() {
    let mut bench = Bench::new(&[Some(BROKER)]);
    bench.submit(1);
    bench.poll_batch();
    bench.submit_as(2, Acks::InSyncReplicas, record(2, Some("a")), 100);
    bench.submit_as(3, Acks::InSyncReplicas, record(3, Some("a")), 101);
    bench.advance(100);
    assert_eq!((bench.outcome(2), bench.outcome(3)), (DEADLINE, None));
    bench.answer(ErrorCode::NONE, 0);
    assert_eq!(bench.poll_batch().tokens, [3]);
    bench.answer(ErrorCode::NONE, 1);
    bench.assert_done();
}

#[test]
fn a_queue_that_ran_out_of_time_leaves_nothing_due() {
    let mut bench = Bench::new(&[Some(BROKER), Some(BROKER)]);
    let [here, there] = keys(2)[..] else { unreachable!() };
    bench.submit_as(1, Acks::InSyncReplicas, record(1, Some(here)), 60_000);
    bench.poll().unwrap();
    bench.submit_as(2, Acks::InSyncReplicas, record(2, Some(there)), 100);
    bench.advance(100);
    bench.answer(ErrorCode::NONE, 0);
    bench.assert_done();
}

#[test]
fn a_deadline_on_the_wire_tells_the_waiter_and_the_batch_goes_on() {
    let mut bench = Bench::new(&[Some(BROKER)]);
    bench.submit_as(1, Acks::InSyncReplicas, record(1, Some("a")), 100);
    bench.submit(2);
    let first = bench.poll_batch();
    bench.advance(100);
    assert_eq!((bench.outcome(1), bench.outcome(2)), (UNKNOWN, None));
    bench.disconnect();
    assert_eq!(bench.retry_batch(), first, "both records: they are in the sequence");
    bench.answer(ErrorCode::NONE, 4);
    assert_eq!(bench.outcome(2), stored_at(5));
    assert_eq!(bench.next_offsets, [6]);
    bench.assert_done();
}

#[test]
fn a_batch_that_was_only_ever_refused_is_not_sent_after_its_last_deadline() {
    let mut bench = Bench::new(&[Some(BROKER)]);
    bench.submit_as(1, Acks::InSyncReplicas, record(1, Some("a")), 100);
    bench.submit_as(2, Acks::InSyncReplicas, record(2, Some("a")), 200);
    bench.poll_batch();
    bench.answer(ErrorCode::NOT_ENOUGH_REPLICAS, -1);
    bench.advance(100);
    assert_eq!(bench.outcome(1), UNKNOWN, "the batch may still be stored");
    bench.advance(100);
    assert_eq!(bench.outcome(2), DEADLINE);
    assert!(bench.poll().is_none());
    bench.assert_done();
    bench.submit(3);
    assert_eq!(bench.poll_batch().sequence(), (1, 0), "no gap in the sequence");
}

#[test]
fn past_the_delivery_timeout_the_batch_is_dropped_and_the_next_starts_a_new_epoch() {
    let limits = Limits { delivery_timeout: Duration::from_secs(2), ..Limits::default() };
    let mut bench = Bench::with_limits(&[Some(BROKER)], limits);
    bench.submit(0);
    bench.poll_batch();
    bench.answer(ErrorCode::NONE, 0);
    bench.submit(1);
    assert_eq!(bench.poll_batch().sequence(), (0, 1));
    bench.submit(2);
    bench.advance(2_500);
    assert_eq!(bench.outcome(1), None, "an answer may be on its way");
    bench.disconnect();
    bench.advance(0);
    assert_eq!(bench.outcome(1), UNKNOWN);
    let next = bench.poll_batch();
    assert_eq!((next.tokens.as_slice(), next.sequence()), ([2].as_slice(), (1, 0)));
    bench.answer(ErrorCode::NONE, 1);
    bench.assert_done();
}

// Epochs and sequences.

#[test]
fn a_sequence_out_of_order_without_an_unknown_attempt_is_sent_again_in_a_new_epoch() {
    for error in [ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER, ErrorCode::UNKNOWN_PRODUCER_ID, ErrorCode::INVALID_PRODUCER_EPOCH] {
        let mut bench = Bench::new(&[Some(BROKER)]);
        bench.submit(0);
        bench.poll_batch();
        bench.answer(ErrorCode::NONE, 0);
        bench.submit(1);
        assert_eq!(bench.poll_batch().sequence(), (0, 1));
        bench.answer(error, -1);
        let again = bench.retry_batch();
        assert_eq!((again.tokens.as_slice(), again.sequence()), ([1].as_slice(), (1, 0)));
        bench.submit(2);
        bench.answer(ErrorCode::NONE, 1);
        assert_eq!(bench.poll_batch().sequence(), (1, 1));
        bench.answer(ErrorCode::NONE, 2);
        bench.assert_done();
    }
}

/// Whatever the broker refuses after an attempt whose end nobody saw may be stored already: a second copy under other sequences would not be recognised.
#[test]
fn a_refusal_after_an_unknown_attempt_leaves_the_outcome_unknown() {
    let refusals = [
        ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER,
        ErrorCode::INVALID_PRODUCER_EPOCH,
        ErrorCode::MESSAGE_TOO_LARGE,
        ErrorCode::INVALID_RECORD,
        ErrorCode::TOPIC_AUTHORIZATION_FAILED,
    ];
    for refusal in refusals {
        let mut bench = Bench::new(&[Some(BROKER)]);
        bench.submit(1);
        bench.submit(2);
        bench.poll_batch();
        bench.submit(3);
        bench.disconnect();
        bench.retry_batch();
        bench.answer(refusal, -1);
        assert_eq!((bench.outcome(1), bench.outcome(2)), (UNKNOWN, UNKNOWN), "{refusal}");
        let next = bench.poll_batch();
        assert_eq!((next.tokens.as_slice(), next.sequence()), ([3].as_slice(), (1, 0)));
        bench.answer(ErrorCode::NONE, 9);
        bench.assert_done();
    }
}

/// With acks all, a leader that is deposed while it waits for its replicas has stored the batch, and the new one may have it.
#[test]
fn a_deposed_leader_leaves_the_outcome_unknown_with_acks_all() {
    let mut bench = Bench::new(&[Some(BROKER)]);
    bench.submit_as(1, Acks::InSyncReplicas, record(1, Some("a")), 1_000);
    let first = bench.poll_batch();
    bench.answer(ErrorCode::NOT_LEADER_OR_FOLLOWER, -1);
    bench.leaders(&[None]);
    bench.advance(1_000);
    assert_eq!(bench.outcome(1), UNKNOWN);
    bench.leaders(&[Some(BROKER)]);
    assert_eq!(bench.retry_batch(), first);
    bench.answer(ErrorCode::NONE, 0);
    bench.assert_done();
}

#[test]
fn a_producer_id_without_epochs_left_is_replaced() {
    let mut bench = Bench::without_metadata(Limits::default());
    bench.leaders(&[Some(BROKER), Some(BROKER)]);
    let [here, there] = keys(2)[..] else { unreachable!() };
    bench.submit_as(0, Acks::InSyncReplicas, record(0, Some(here)), 60_000);
    assert!(bench.poll().is_none());
    assert!(bench.producer.wants_identity(), "asked for when first needed");
    bench.producer.handle_identity(PRODUCER_ID, i16::MAX);
    assert!(!bench.producer.wants_identity());
    bench.submit_as(1, Acks::InSyncReplicas, record(1, Some(there)), 60_000);
    bench.poll().unwrap();
    bench.answer_partitions(BROKER, &[(0, ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER, -1), (1, ErrorCode::NONE, 0)]);
    bench.advance(1_000);
    assert!(bench.poll().is_none());
    assert!(bench.producer.wants_identity());
    bench.producer.handle_identity(8, 0);
    let again = bench.poll_batch();
    assert_eq!((again.header.producer_id, again.sequence()), (8, (0, 0)));
    bench.answer(ErrorCode::NONE, 0);
    bench.submit_as(2, Acks::InSyncReplicas, record(2, Some(there)), 60_000);
    let elsewhere = Sent::of(&bench.poll().unwrap().batches[0]);
    assert_eq!((elsewhere.header.producer_id, elsewhere.sequence()), (PRODUCER_ID, (i16::MAX, 1)), "another partition keeps its own");
    bench.answer_partitions(BROKER, &[(1, ErrorCode::NONE, 1)]);
    bench.assert_done();
}

#[test]
fn sequences_wrap_to_zero_after_the_largest() {
    let mut bench = Bench::new(&[Some(BROKER)]);
    bench.submit(0);
    bench.poll_batch();
    bench.producer.accumulators[0].next_sequence = i32::MAX - 1;
    bench.answer(ErrorCode::NONE, 0);
    (1..5).for_each(|token| bench.submit(token));
    assert_eq!(bench.poll_batch().header.base_sequence, i32::MAX - 1);
    bench.answer(ErrorCode::MESSAGE_TOO_LARGE, -1);
    for (tokens, sequence) in [([1, 2], i32::MAX - 1), ([3, 4], 0)] {
        let half = bench.poll_batch();
        assert_eq!((half.tokens.as_slice(), half.header.base_sequence), (tokens.as_slice(), sequence));
        bench.answer(ErrorCode::NONE, 1);
    }
    bench.submit(5);
    assert_eq!(bench.poll_batch().header.base_sequence, 2);
    bench.answer(ErrorCode::NONE, 5);
    bench.assert_done();
}

// Leaders.

#[test]
fn a_change_of_leader_moves_the_work_to_the_other_broker_at_once() {
    let mut bench = Bench::new(&[Some(BROKER)]);
    bench.submit(1);
    let first = bench.poll_batch();
    bench.submit(2);
    bench.answer(ErrorCode::NOT_LEADER_OR_FOLLOWER, -1);
    assert!(bench.asks_for_metadata());
    bench.leaders(&[Some(OTHER_BROKER)]);
    assert_eq!(bench.producer.poll_retry(BROKER), None);
    let moved = bench.poll_broker(OTHER_BROKER).unwrap();
    assert_eq!(Sent::of(&moved.batches[0]), first, "without waiting, the same bytes");
    bench.answer_partitions(OTHER_BROKER, &[(0, ErrorCode::NONE, 0)]);
    let next = bench.poll_broker(OTHER_BROKER).unwrap();
    assert_eq!(Sent::of(&next.batches[0]).tokens, [2]);
    bench.answer_partitions(OTHER_BROKER, &[(0, ErrorCode::NONE, 1)]);
    bench.assert_done();
}

#[test]
fn a_change_of_leader_while_on_the_wire_waits_for_the_old_ones_answer() {
    let mut bench = Bench::new(&[Some(BROKER)]);
    bench.submit(1);
    let first = bench.poll_batch();
    bench.submit(2);
    bench.leaders(&[Some(OTHER_BROKER)]);
    assert!(bench.poll_broker(OTHER_BROKER).is_none(), "the second record must not pass the first");
    bench.disconnect();
    bench.now = bench.producer.poll_retry(OTHER_BROKER).unwrap();
    let moved = bench.poll_broker(OTHER_BROKER).unwrap();
    assert_eq!(Sent::of(&moved.batches[0]), first);
}

#[test]
fn a_partition_without_a_leader_refuses_after_the_grace_and_flows_when_it_has_one() {
    let mut bench = Bench::new(&[Some(BROKER)]);
    bench.leaders(&[None]);
    bench.submit(1);
    assert!(bench.asks_for_metadata());
    bench.advance(4_999);
    assert_eq!(bench.outcome(1), None);
    bench.advance(1);
    let leaderless = Some(Err(ProduceFault::Unavailable(Unavailable::Broker(ErrorCode::LEADER_NOT_AVAILABLE))));
    assert_eq!(bench.outcome(1), leaderless);
    bench.submit(2);
    assert_eq!(bench.outcome(2), leaderless, "at once");
    assert!(bench.asks_for_metadata());
    bench.assert_done();
    bench.leaders(&[Some(BROKER)]);
    bench.submit(3);
    assert_eq!(bench.poll_batch().tokens, [3]);
    bench.answer(ErrorCode::NONE, 0);
    bench.assert_done();
}

#[test]
fn a_second_time_without_a_leader_has_a_grace_of_its_own() {
    let mut bench = Bench::new(&[None]);
    bench.submit_as(1, Acks::InSyncReplicas, record(1, Some("a")), 100);
    bench.advance(100);
    bench.leaders(&[Some(BROKER)]);
    bench.advance(60_000);
    bench.leaders(&[None]);
    bench.submit(2);
    assert_eq!(bench.outcome(2), None);
    bench.leaders(&[Some(BROKER)]);
    assert_eq!(bench.poll_batch().tokens, [2]);
}

#[test]
fn an_unreachable_broker_refuses_after_the_grace_and_is_tried_until_it_is_back() {
    let mut bench = Bench::new(&[Some(BROKER)]);
    bench.submit(1);
    bench.producer.handle_unreachable(BROKER, bench.now);
    assert!(bench.asks_for_metadata());
    bench.advance(4_999);
    assert_eq!(bench.outcome(1), None);
    bench.producer.handle_unreachable(BROKER, bench.now);
    bench.advance(1);
    assert_eq!(bench.outcome(1), UNREACHABLE);
    bench.submit(2);
    assert_eq!(bench.outcome(2), UNREACHABLE, "at once");
    assert_eq!(bench.producer.queued_bytes(), 0);
    assert!(bench.producer.poll_retry(BROKER).is_some(), "nobody else would find out that it is back");
    bench.producer.handle_connected(BROKER);
    bench.assert_done();
    bench.submit(3);
    assert_eq!(bench.poll_batch().tokens, [3]);
    bench.answer(ErrorCode::NONE, 0);
    bench.assert_done();
}

#[test]
fn an_unreachable_broker_that_leads_nothing_any_more_is_left_alone() {
    let mut bench = Bench::new(&[Some(BROKER)]);
    bench.submit(1);
    bench.producer.handle_unreachable(BROKER, bench.now);
    bench.leaders(&[Some(OTHER_BROKER)]);
    bench.producer.handle_unreachable(BROKER, bench.now);
    assert_eq!(bench.producer.poll_retry(BROKER), None);
    assert!(bench.poll_broker(OTHER_BROKER).is_some());
}

// Topics that are not known.

#[test]
fn records_for_an_unknown_topic_wait_for_its_metadata_and_then_flow_in_order() {
    let mut bench = Bench::without_metadata(Limits::default());
    bench.producer.handle_identity(PRODUCER_ID, 0);
    assert!(bench.asks_for_metadata());
    (1..4).for_each(|token| bench.submit(token));
    assert!(bench.asks_for_metadata());
    bench.producer.handle_metadata("items", Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION), bench.now);
    assert_eq!(bench.producer.unknown_topics().count(), 1);
    bench.advance(4_000);
    bench.leaders(&[Some(BROKER)]);
    assert_eq!(bench.producer.unknown_topics().count(), 0);
    assert_eq!(bench.poll_batch().tokens, [1, 2, 3]);
    bench.answer(ErrorCode::NONE, 0);
    bench.assert_done();
}

#[test]
fn a_topic_unknown_for_the_grace_refuses_at_once_and_keeps_asking() {
    let mut bench = Bench::without_metadata(Limits::default());
    bench.submit_as(1, Acks::InSyncReplicas, record(1, Some("a")), 1_000);
    bench.submit(2);
    bench.advance(1_000);
    assert_eq!(bench.outcome(1), DEADLINE);
    bench.producer.handle_metadata("items", Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION), bench.now);
    bench.advance(4_000);
    let unknown_topic = Some(Err(ProduceFault::Unavailable(Unavailable::Broker(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION))));
    assert_eq!(bench.outcome(2), unknown_topic);
    bench.assert_done();
    for (token, wait_ms) in [(3, 0), (4, 20), (5, 60_000)] {
        bench.asks_for_metadata();
        bench.advance(wait_ms);
        bench.submit(token);
        assert_eq!(bench.outcome(token), unknown_topic);
        assert!(bench.asks_for_metadata(), "else the topic would stay unknown after it was created");
    }
    bench.producer.handle_identity(PRODUCER_ID, 0);
    bench.leaders(&[Some(BROKER)]);
    bench.submit(6);
    assert_eq!(bench.poll_batch().tokens, [6]);
}

#[test]
fn a_topic_that_is_refused_for_good_rejects_what_waits_and_asks_anew_for_the_next() {
    let mut bench = Bench::without_metadata(Limits::default());
    bench.submit(1);
    let rejected = Some(Err(ProduceFault::Rejected(ErrorCode::TOPIC_AUTHORIZATION_FAILED)));
    bench.producer.handle_metadata("items", Err(ErrorCode::TOPIC_AUTHORIZATION_FAILED), bench.now);
    bench.drain();
    assert_eq!(bench.outcome(1), rejected);
    bench.asks_for_metadata();
    bench.advance(60_000);
    bench.submit(2);
    assert_eq!(bench.outcome(2), None);
    assert!(bench.asks_for_metadata());
    bench.producer.handle_metadata("items", Err(ErrorCode::TOPIC_AUTHORIZATION_FAILED), bench.now);
    bench.drain();
    assert_eq!(bench.outcome(2), rejected);
    bench.assert_done();
}

#[test]
fn an_error_about_a_known_topic_changes_nothing() {
    let mut bench = Bench::new(&[Some(BROKER)]);
    bench.submit(1);
    bench.producer.handle_metadata("items", Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION), bench.now);
    bench.producer.handle_metadata("items", Ok(&[]), bench.now);
    bench.producer.handle_metadata("nobody asked", Ok(&[Some(9)]), bench.now);
    assert_eq!(bench.poll_batch().tokens, [1]);
}

// Bounds.

#[test]
fn beyond_the_bound_a_record_is_refused_and_room_comes_back() {
    let bytes = record(0, Some("a")).size_max();
    let limits = Limits { queued_bytes_max: 3 * bytes, ..Limits::default() };
    let mut bench = Bench::with_limits(&[Some(BROKER)], limits);
    (0..4).for_each(|token| bench.submit(token));
    let overloaded = ProduceFault::Overloaded { queued: 3 * bytes, queued_max: 3 * bytes };
    assert_eq!(bench.outcome(3), Some(Err(overloaded)));
    bench.poll_batch();
    bench.submit(4);
    assert_eq!(bench.outcome(4), Some(Err(overloaded)), "in flight counts too");
    bench.answer(ErrorCode::NONE, 0);
    (5..8).for_each(|token| bench.submit(token));
    bench.poll_batch();
    bench.answer(ErrorCode::NONE, 3);
    bench.assert_done();
}

#[test]
fn a_split_batch_gives_back_what_it_was_charged_with() {
    let mut bench = Bench::new(&[Some(BROKER)]);
    (0..7).for_each(|token| bench.submit(token));
    while bench.poll().is_some() {
        bench.answer(ErrorCode::MESSAGE_TOO_LARGE, -1);
    }
    assert_eq!(bench.outcomes.len(), 7);
    bench.assert_done();
}

/// Each record's first answer is drawn from all there are; in the end the log holds each stored one once, and in order.
#[test]
fn order_within_a_partition_survives_whatever_is_answered() {
    let answers = [
        ErrorCode::NONE,
        ErrorCode::NOT_ENOUGH_REPLICAS,
        ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER,
        ErrorCode::MESSAGE_TOO_LARGE,
        ErrorCode::NOT_LEADER_OR_FOLLOWER,
        ErrorCode::INVALID_RECORD,
        ErrorCode::REQUEST_TIMED_OUT,
    ];
    for shift in 0..answers.len() {
        let mut bench = Bench::new(&[Some(BROKER)]);
        let mut log = Vec::new();
        for turn in 0..100 {
            let turn_tokens = 3 * turn..3 * turn + 3;
            turn_tokens.for_each(|token| bench.submit(token));
            bench.now = bench.producer.poll_retry(BROKER).unwrap().max(bench.now);
            let sent = bench.poll_batch();
            let answer = answers[(shift + turn as usize * 3) % answers.len()];
            if answer.is_none() {
                log.extend(&sent.tokens);
            }
            bench.answer(answer, 0);
        }
        while bench.producer.poll_retry(BROKER).is_some() {
            log.extend(bench.retry_batch().tokens);
            bench.answer(ErrorCode::NONE, 0);
        }
        assert!(log.is_sorted_by(|a, b| a < b), "{log:?}");
        let stored: Vec<u32> = bench.outcomes.iter().filter(|(_, outcome)| outcome.is_ok()).map(|(token, _)| *token).collect();
        assert_eq!(log, stored);
        bench.assert_done();
    }
}
