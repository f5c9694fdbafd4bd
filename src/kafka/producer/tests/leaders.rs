//! Leaders that move, are missing or cannot be reached.

use super::*;

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
    assert_eq!(
        Sent::of(&moved.batches[0]),
        first,
        "without waiting, the same bytes"
    );
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
    assert!(
        bench.poll_broker(OTHER_BROKER).is_none(),
        "the second record must not pass the first"
    );
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
    let leaderless = Some(Err(ProduceFault::Unavailable(Unavailable::Broker(
        ErrorCode::LEADER_NOT_AVAILABLE,
    ))));
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
    assert!(
        bench.producer.poll_retry(BROKER).is_some(),
        "nobody else would find out that it is back"
    );
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
