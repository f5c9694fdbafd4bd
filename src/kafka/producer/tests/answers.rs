//! What a broker's answer means.

use super::*;

#[test]
fn a_batch_too_large_is_halved_with_following_sequences_until_the_culprit_is_alone() {
    let mut bench = Bench::new(&[Some(BROKER)]);
    bench.submit(0);
    bench.poll_batch();
    (1..9).for_each(|token| {
        bench.submit_as(
            token,
            Acks::InSyncReplicas,
            record_of(token, Some("a"), if token == 6 { 90 } else { 10 }),
            60_000,
        );
    });
    bench.submit(9); // goes to another batch only because of what follows
    bench.answer(ErrorCode::NONE, 0);
    let mut log = vec![0];
    let mut expected_sequence = 1;
    while let Some(call) = bench.poll() {
        let sent = Sent::of(&call.batches[0]);
        if sent.tokens.contains(&6) {
            bench.answer(ErrorCode::MESSAGE_TOO_LARGE, -1);
            expected_sequence = if sent.tokens.len() == 1 {
                0
            } else {
                expected_sequence
            };
            continue;
        }
        assert_eq!(
            sent.header.base_sequence, expected_sequence,
            "{:?}",
            sent.tokens
        );
        expected_sequence += sent.header.record_count;
        bench.answer(ErrorCode::NONE, i64::try_from(log.len()).unwrap());
        log.extend(sent.tokens);
    }
    assert_eq!(
        log,
        [0, 1, 2, 3, 4, 5, 7, 8, 9],
        "neighbours are stored, in order"
    );
    assert_eq!(
        bench.outcome(6),
        Some(Err(ProduceFault::TooLarge {
            batch_bytes_max: 1_048_588
        }))
    );
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
            assert_eq!(
                bench.outcome(bad),
                Some(Err(ProduceFault::Rejected(ErrorCode::INVALID_RECORD)))
            );
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
    assert_eq!(
        bench.outcome(1),
        Some(Ok(Ack {
            partition: 0,
            offset: None
        }))
    );
    bench.assert_done();
}

#[test]
fn a_refusal_for_good_is_told_and_the_next_record_flows() {
    let mut bench = Bench::new(&[Some(BROKER)]);
    bench.submit(1);
    bench.poll_batch();
    bench.submit(2);
    bench.answer(ErrorCode::TOPIC_AUTHORIZATION_FAILED, -1);
    assert_eq!(
        bench.outcome(1),
        Some(Err(ProduceFault::Rejected(
            ErrorCode::TOPIC_AUTHORIZATION_FAILED
        )))
    );
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
