//! What goes together in a batch and in a request.

use super::*;

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
    assert_eq!(
        (second.tokens.as_slice(), second.sequence()),
        ([2, 3, 4].as_slice(), (0, 1))
    );
    bench.answer(ErrorCode::NONE, 11);
    assert_eq!(
        [1, 2, 4].map(|token| bench.outcome(token)),
        [stored_at(10), stored_at(11), stored_at(13)]
    );
    assert_eq!(bench.next_offsets, [11, 14]);
    bench.assert_done();
}

#[test]
fn one_request_carries_several_partitions_each_broker_its_own() {
    let mut bench = Bench::new(&[Some(BROKER), Some(OTHER_BROKER), Some(BROKER)]);
    for (token, key) in (0..).zip(keys(3)) {
        bench.submit_as(token, Acks::InSyncReplicas, record(token, Some(key)), 1_000);
    }
    let partitions = |call: ProduceCall| -> Vec<i32> {
        call.batches.iter().map(|part| part.partition).collect()
    };
    assert_eq!(partitions(bench.poll().unwrap()), [0, 2]);
    assert_eq!(partitions(bench.poll_broker(OTHER_BROKER).unwrap()), [1]);
    bench.answer_partitions(BROKER, &[(2, ErrorCode::NONE, 20), (0, ErrorCode::NONE, 0)]);
    bench.answer_partitions(OTHER_BROKER, &[(1, ErrorCode::NONE, 10)]);
    assert_eq!(
        bench.outcome(1),
        Some(Ok(Ack {
            partition: 1,
            offset: Some(10)
        }))
    );
    assert_eq!(
        bench.outcome(2),
        Some(Ok(Ack {
            partition: 2,
            offset: Some(20)
        }))
    );
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
        assert_eq!(
            call.batches.len(),
            1,
            "the same partition with other acks is another request"
        );
        let has_sequence = Sent::of(&call.batches[0]).header.base_sequence >= 0;
        assert_eq!(
            has_sequence,
            call.acks == Acks::InSyncReplicas,
            "only acks all are idempotent"
        );
        seen.push(call.acks);
        bench.answer(ErrorCode::NONE, 0);
    }
    assert_eq!(seen, [kinds, kinds].concat());
}

#[test]
fn a_full_request_leaves_the_rest_to_the_next() {
    let limits = Limits {
        request_bytes_max: 100,
        ..Limits::default()
    };
    let mut bench = Bench::with_limits(&[Some(BROKER); 3], limits);
    for (token, key) in (0..).zip(keys(3)) {
        bench.submit_as(
            token,
            Acks::InSyncReplicas,
            record_of(token, Some(key), 90),
            1_000,
        );
    }
    for partition in 0..3 {
        let call = bench.poll().unwrap();
        assert_eq!(
            (call.batches.len(), call.batches[0].partition),
            (1, partition)
        );
        bench.answer_partitions(BROKER, &[(partition, ErrorCode::NONE, 0)]);
    }
    bench.assert_done();
}

#[test]
fn a_batch_stays_within_the_topics_max_message_bytes() {
    let mut bench = Bench::new(&[Some(BROKER)]);
    bench.producer.handle_batch_bytes_max("items", 1_000);
    (0..50).for_each(|token| {
        bench.submit_as(
            token,
            Acks::InSyncReplicas,
            record_of(token, Some("a"), 100),
            60_000,
        );
    });
    let (mut stored, mut batches) = (0, 0);
    while let Some(call) = bench.poll() {
        let sent = Sent::of(&call.batches[0]);
        assert!(sent.bytes.len() <= 1_000);
        bench.answer(ErrorCode::NONE, stored);
        stored += i64::from(sent.header.record_count);
        batches += 1;
    }
    assert_eq!(
        (stored, batches),
        (50, 9),
        "six of these fit by what they take at most"
    );
    bench.assert_done();
}

#[test]
fn a_record_is_too_large_exactly_when_a_batch_of_its_own_is() {
    let header = (
        Bytes::from_static(b"name"),
        Some(Bytes::from_static(b"value")),
    );
    let with_headers = |value_len| Record {
        headers: vec![header.clone(); 20],
        ..record_of(0, Some("a"), value_len)
    };
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
            assert_eq!(
                bench.outcome(token),
                Some(Err(ProduceFault::TooLarge {
                    batch_bytes_max: max
                }))
            );
        }
        bench.assert_done();
    }
}

#[test]
fn records_without_a_key_stay_on_one_partition_until_a_batch_of_it_is_made() {
    let mut bench = Bench::new(&[Some(BROKER); 4]);
    (0..5)
        .for_each(|token| bench.submit_as(token, Acks::InSyncReplicas, record(token, None), 1_000));
    let first = bench.poll().unwrap();
    assert_eq!(
        (
            first.batches.len(),
            Sent::of(&first.batches[0]).tokens.len()
        ),
        (1, 5)
    );
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
    (0..10)
        .for_each(|token| bench.submit_as(token, Acks::InSyncReplicas, record(token, None), 1_000));
    let refused = bench
        .outcomes
        .values()
        .filter(|outcome| outcome.is_err())
        .count();
    assert!(
        refused <= 1,
        "{refused} of 10 refused although a partition can be written"
    );
}
