//! Bounds and order, whatever happens.

use super::*;

#[test]
fn beyond_the_bound_a_record_is_refused_and_room_comes_back() {
    let bytes = record(0, Some("a")).size_max();
    let limits = Limits {
        queued_bytes_max: 3 * bytes,
        ..Limits::default()
    };
    let mut bench = Bench::with_limits(&[Some(BROKER)], limits);
    (0..4).for_each(|token| bench.submit(token));
    let overloaded = ProduceFault::Overloaded {
        queued: 3 * bytes,
        queued_max: 3 * bytes,
    };
    assert_eq!(bench.outcome(3), Some(Err(overloaded)));
    bench.poll_batch();
    bench.submit(4);
    assert_eq!(
        bench.outcome(4),
        Some(Err(overloaded)),
        "in flight counts too"
    );
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
        let stored: Vec<u32> = bench
            .outcomes
            .iter()
            .filter(|(_, outcome)| outcome.is_ok())
            .map(|(token, _)| *token)
            .collect();
        assert_eq!(log, stored);
        bench.assert_done();
    }
}
