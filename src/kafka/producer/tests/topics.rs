//! Topics that are not known, and errors about those that are.

use super::*;

#[test]
fn records_for_an_unknown_topic_wait_for_its_metadata_and_then_flow_in_order() {
    let mut bench = Bench::without_metadata(Limits::default());
    bench.producer.handle_identity(PRODUCER_ID, 0);
    assert!(bench.asks_for_metadata());
    (1..4).for_each(|token| bench.submit(token));
    assert!(bench.asks_for_metadata());
    bench.producer.handle_metadata(
        "items",
        Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
        bench.now,
    );
    assert_eq!(bench.producer.unknown_topics().count(), 1);
    bench.advance(4_000);
    bench.leaders(&[Some(BROKER)]);
    assert_eq!(bench.producer.unknown_topics().count(), 0);
    assert_eq!(bench.poll_batch().tokens, [1, 2, 3]);
    bench.answer(ErrorCode::NONE, 0);
    bench.assert_done();
}

#[test]
fn a_topic_unknown_for_the_grace_refuses_at_once_for_as_long_again_and_keeps_asking() {
    let mut bench = Bench::without_metadata(Limits::default());
    bench.submit_as(1, Acks::InSyncReplicas, record(1, Some("a")), 1_000);
    bench.submit(2);
    bench.advance(1_000);
    assert_eq!(bench.outcome(1), DEADLINE);
    bench.producer.handle_metadata(
        "items",
        Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
        bench.now,
    );
    bench.advance(4_000);
    let unknown_topic = Some(Err(ProduceFault::Unavailable(Unavailable::Broker(
        ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
    ))));
    assert_eq!(bench.outcome(2), unknown_topic);
    bench.assert_done();
    for (token, wait_ms) in [(3, 0), (4, 20), (5, 4_979)] {
        bench.asks_for_metadata();
        bench.advance(wait_ms);
        bench.submit(token);
        assert_eq!(bench.outcome(token), unknown_topic);
        assert!(
            bench.asks_for_metadata(),
            "else the topic would stay unknown after it was created"
        );
    }
    bench.advance(1);
    bench.submit(6);
    assert_eq!(
        bench.outcome(6),
        None,
        "the verdict is old: somebody may have created the topic"
    );
    bench.producer.handle_identity(PRODUCER_ID, 0);
    bench.leaders(&[Some(BROKER)]);
    assert_eq!(bench.poll_batch().tokens, [6]);
}

#[test]
fn a_topic_that_is_refused_for_good_rejects_what_waits_and_asks_anew_for_the_next() {
    let mut bench = Bench::without_metadata(Limits::default());
    bench.submit(1);
    let rejected = Some(Err(ProduceFault::Rejected(
        ErrorCode::TOPIC_AUTHORIZATION_FAILED,
    )));
    bench.producer.handle_metadata(
        "items",
        Err(ErrorCode::TOPIC_AUTHORIZATION_FAILED),
        bench.now,
    );
    bench.drain();
    assert_eq!(bench.outcome(1), rejected);
    bench.asks_for_metadata();
    bench.advance(6_000);
    bench.submit(2);
    assert_eq!(
        bench.outcome(2),
        None,
        "it is not told what the first one was told"
    );
    assert!(bench.asks_for_metadata());
    bench.producer.handle_metadata(
        "items",
        Err(ErrorCode::TOPIC_AUTHORIZATION_FAILED),
        bench.now,
    );
    bench.drain();
    assert_eq!(bench.outcome(2), rejected);
    bench.assert_done();
}

#[test]
fn an_error_about_a_known_topic_changes_nothing() {
    let mut bench = Bench::new(&[Some(BROKER)]);
    bench.submit(1);
    bench.producer.handle_metadata(
        "items",
        Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
        bench.now,
    );
    bench.producer.handle_metadata("items", Ok(&[]), bench.now);
    bench
        .producer
        .handle_metadata("nobody asked", Ok(&[Some(9)]), bench.now);
    assert_eq!(bench.poll_batch().tokens, [1]);
}
