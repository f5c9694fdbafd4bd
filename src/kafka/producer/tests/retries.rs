//! What is sent again, and what must not be.

use super::*;

#[test]
fn a_retriable_error_sends_the_same_bytes_again_after_a_growing_wait() {
    let mut bench = Bench::new(&[Some(BROKER)]);
    bench.submit(1);
    let first = bench.poll_batch();
    let mut waits = Vec::new();
    for error in [
        ErrorCode::NOT_ENOUGH_REPLICAS,
        ErrorCode::REQUEST_TIMED_OUT,
        ErrorCode::NOT_ENOUGH_REPLICAS_AFTER_APPEND,
    ] {
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
    assert_eq!(
        (bench.producer.poll_retry(BROKER).unwrap() - bench.now).as_millis(),
        50,
        "success resets the wait"
    );
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
    assert_eq!(
        bench.retry_batch(),
        first,
        "and what came since waits for its turn"
    );
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
    assert_eq!(
        bench.outcome(1),
        Some(Ok(Ack {
            partition: 0,
            offset: None
        }))
    );
    assert_eq!(
        bench.next_offsets,
        [] as [i64; 0],
        "nobody can say where it is"
    );
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
