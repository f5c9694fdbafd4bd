//! Epochs and sequences (KIP-98, KIP-360).

use super::*;

#[test]
fn a_sequence_out_of_order_without_an_unknown_attempt_is_sent_again_in_a_new_epoch() {
    for error in [
        ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER,
        ErrorCode::UNKNOWN_PRODUCER_ID,
        ErrorCode::INVALID_PRODUCER_EPOCH,
    ] {
        let mut bench = Bench::new(&[Some(BROKER)]);
        bench.submit(0);
        bench.poll_batch();
        bench.answer(ErrorCode::NONE, 0);
        bench.submit(1);
        assert_eq!(bench.poll_batch().sequence(), (0, 1));
        bench.answer(error, -1);
        let again = bench.retry_batch();
        assert_eq!(
            (again.tokens.as_slice(), again.sequence()),
            ([1].as_slice(), (1, 0))
        );
        bench.submit(2);
        bench.answer(ErrorCode::NONE, 1);
        assert_eq!(bench.poll_batch().sequence(), (1, 1));
        bench.answer(ErrorCode::NONE, 2);
        bench.assert_done();
    }
}

#[test]
fn the_halves_of_a_batch_go_to_a_new_epoch_with_following_sequences() {
    let mut bench = Bench::new(&[Some(BROKER)]);
    (0..7).for_each(|token| bench.submit(token));
    bench.poll_batch();
    bench.answer(ErrorCode::MESSAGE_TOO_LARGE, -1);
    bench.poll_batch();
    bench.answer(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER, -1);
    bench.submit(7);
    for (tokens, sequence) in [(0..3, 0), (3..7, 3), (7..8, 7)] {
        let sent = bench.retry_batch();
        assert_eq!(
            (
                sent.tokens,
                sent.header.producer_epoch,
                sent.header.base_sequence
            ),
            (tokens.collect(), 1, sequence)
        );
        bench.answer(ErrorCode::NONE, 0);
    }
    bench.assert_done();
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
        assert_eq!(
            (bench.outcome(1), bench.outcome(2)),
            (UNKNOWN, UNKNOWN),
            "{refusal}"
        );
        let next = bench.poll_batch();
        assert_eq!(
            (next.tokens.as_slice(), next.sequence()),
            ([3].as_slice(), (1, 0))
        );
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
    let [here, there] = keys(2)[..] else {
        unreachable!()
    };
    bench.submit_as(0, Acks::InSyncReplicas, record(0, Some(here)), 60_000);
    assert!(bench.poll().is_none());
    assert!(
        bench.producer.wants_identity(),
        "asked for when first needed"
    );
    bench.producer.handle_identity(PRODUCER_ID, i16::MAX);
    assert!(!bench.producer.wants_identity());
    bench.submit_as(1, Acks::InSyncReplicas, record(1, Some(there)), 60_000);
    bench.poll().unwrap();
    bench.answer_partitions(
        BROKER,
        &[
            (0, ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER, -1),
            (1, ErrorCode::NONE, 0),
        ],
    );
    bench.advance(1_000);
    assert!(bench.poll().is_none());
    assert!(bench.producer.wants_identity());
    bench.producer.handle_identity(8, 0);
    let again = bench.poll_batch();
    assert_eq!((again.header.producer_id, again.sequence()), (8, (0, 0)));
    bench.answer(ErrorCode::NONE, 0);
    bench.submit_as(2, Acks::InSyncReplicas, record(2, Some(there)), 60_000);
    let elsewhere = Sent::of(&bench.poll().unwrap().batches[0]);
    assert_eq!(
        (elsewhere.header.producer_id, elsewhere.sequence()),
        (PRODUCER_ID, (i16::MAX, 1)),
        "another partition keeps its own"
    );
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
        assert_eq!(
            (half.tokens.as_slice(), half.header.base_sequence),
            (tokens.as_slice(), sequence)
        );
        bench.answer(ErrorCode::NONE, 1);
    }
    bench.submit(5);
    assert_eq!(bench.poll_batch().header.base_sequence, 2);
    bench.answer(ErrorCode::NONE, 5);
    bench.assert_done();
}
