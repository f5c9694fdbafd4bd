//! What a deadline means, before, during and after the sending.

use super::*;

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
    let [here, there] = keys(2)[..] else {
        unreachable!()
    };
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
    assert_eq!(
        bench.retry_batch(),
        first,
        "both records: they are in the sequence"
    );
    bench.answer(ErrorCode::NONE, 4);
    assert_eq!(bench.outcome(2), stored_at(5));
    assert_eq!(bench.next_offsets, [6]);
    bench.assert_done();
}

#[test]
fn a_deadline_on_the_wire_is_never_a_refusal_even_if_nobody_waits_any_more() {
    let mut bench = Bench::new(&[Some(BROKER)]);
    bench.submit_as(1, Acks::InSyncReplicas, record(1, Some("a")), 100);
    let first = bench.poll_batch();
    bench.advance(100);
    assert_eq!(bench.outcome(1), UNKNOWN);
    bench.disconnect();
    bench.advance(1_000);
    assert_eq!(bench.retry_batch(), first);
    bench.answer(ErrorCode::NONE, 0);
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
    assert_eq!(
        bench.poll_batch().sequence(),
        (1, 0),
        "no gap in the sequence"
    );
}

#[test]
fn past_the_delivery_timeout_the_batch_is_dropped_and_the_next_starts_a_new_epoch() {
    let limits = Limits {
        delivery_timeout: Duration::from_secs(2),
        ..Limits::default()
    };
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
    assert_eq!(
        (next.tokens.as_slice(), next.sequence()),
        ([2].as_slice(), (1, 0))
    );
    bench.answer(ErrorCode::NONE, 1);
    bench.assert_done();
}
