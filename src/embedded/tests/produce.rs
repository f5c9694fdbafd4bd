//! Produce: acks, idempotence, and everything that is refused.

use super::client::{Batch, Client, broker, produce_request, topic_name};
use crate::embedded::ErrorCode;
use bytes::Bytes;
use kafka_protocol::messages::{
    ApiKey, InitProducerIdRequest, InitProducerIdResponse, MetadataRequest, MetadataResponse,
    ProduceResponse, TransactionalId,
};
use std::io::Read;

fn error_of(response: &ProduceResponse) -> ErrorCode {
    ErrorCode(response.responses[0].partition_responses[0].error_code)
}

#[test]
fn records_come_back_at_the_offsets_that_were_answered() {
    let broker = broker(|_| {});
    broker.create_topic("t", 2, &[]).unwrap();
    let mut client = Client::of(&broker);
    let two = Batch::new()
        .record(Some("k"), Some("a"))
        .record(None, None)
        .bytes();
    let first = client.produce("t", 1, two);
    assert_eq!(
        (first.error_code, first.base_offset, first.log_start_offset),
        (0, 0, 0)
    );
    assert_eq!(client.produce("t", 1, Batch::of("c")).base_offset, 2);
    assert_eq!(
        client.values("t", 1, 0),
        [
            (0, Some(b"a".to_vec())),
            (1, None),
            (2, Some(b"c".to_vec()))
        ]
    );
    assert_eq!(client.values("t", 1, 2), [(2, Some(b"c".to_vec()))]);
    assert_eq!(client.values("t", 0, 0), []);
}

#[test]
fn acks_zero_has_no_answer_and_its_failure_closes_the_connection() {
    let broker = broker(|config| config.auto_create_topics = false);
    broker.create_topic("t", 1, &[]).unwrap();
    let mut client = Client::of(&broker);
    client.send(
        ApiKey::Produce,
        9,
        &produce_request("t", 0, Batch::of("a"), 0),
    );
    // The next answer belongs to the next request: its correlation id is checked.
    let _: MetadataResponse = client.call(
        ApiKey::Metadata,
        12,
        &MetadataRequest::default().with_topics(None),
    );
    assert_eq!(client.values("t", 0, 0), [(0, Some(b"a".to_vec()))]);
    client.send(
        ApiKey::Produce,
        9,
        &produce_request("missing", 0, Batch::of("a"), 0),
    );
    assert_eq!(client.stream.read(&mut [0; 8]).unwrap(), 0);
}

#[test]
fn acks_one_is_answered_and_other_acks_are_refused() {
    let broker = broker(|_| {});
    broker.create_topic("t", 1, &[]).unwrap();
    broker
        .create_topic("two", 1, &[("min.insync.replicas", "2")])
        .unwrap();
    let mut client = Client::of(&broker);
    let mut produce = |topic, acks| {
        let request = produce_request(topic, 0, Batch::of("a"), acks);
        error_of(&client.call(ApiKey::Produce, 9, &request))
    };
    assert_eq!(produce("t", 1), ErrorCode::NONE);
    assert_eq!(produce("t", 2), ErrorCode::INVALID_REQUIRED_ACKS);
    assert_eq!(produce("two", 1), ErrorCode::NONE);
    assert_eq!(produce("two", -1), ErrorCode::NOT_ENOUGH_REPLICAS);
}

#[test]
fn what_is_no_proper_batch_is_refused_and_stores_nothing() {
    let broker = broker(|_| {});
    broker.create_topic("t", 1, &[]).unwrap();
    broker
        .create_topic("small", 1, &[("max.message.bytes", "70")])
        .unwrap();
    broker
        .create_topic("compact", 1, &[("cleanup.policy", "compact")])
        .unwrap();
    let mut client = Client::of(&broker);
    let good = Batch::of("a");
    let changed = |at: usize, byte: u8| {
        let mut bytes = good.to_vec();
        bytes[at] = byte;
        Bytes::from(bytes)
    };
    let with_attributes = |attributes| {
        Batch {
            attributes,
            ..Batch::new().record(None, Some("a"))
        }
        .bytes()
    };
    let twice = Bytes::from([&good[..], &good[..]].concat());
    let cases = [
        ("t", Bytes::new(), ErrorCode::INVALID_RECORD),
        ("t", twice, ErrorCode::INVALID_RECORD),
        ("t", changed(16, 1), ErrorCode::INVALID_RECORD),
        ("t", changed(good.len() - 1, 9), ErrorCode::CORRUPT_MESSAGE),
        ("t", changed(11, 1), ErrorCode::CORRUPT_MESSAGE),
        (
            "t",
            good.slice(..good.len() - 1),
            ErrorCode::CORRUPT_MESSAGE,
        ),
        ("t", good.slice(..20), ErrorCode::CORRUPT_MESSAGE),
        ("t", with_attributes(0x20), ErrorCode::INVALID_RECORD),
        ("t", with_attributes(0x10), ErrorCode::INVALID_TXN_STATE),
        ("small", good.clone(), ErrorCode::NONE),
        (
            "small",
            Batch::of("seventy bytes are soon over"),
            ErrorCode::MESSAGE_TOO_LARGE,
        ),
        ("compact", good.clone(), ErrorCode::INVALID_RECORD),
        (
            "missing",
            good.clone(),
            ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
        ),
    ];
    for (topic, batch, expected) in cases {
        assert_eq!(
            ErrorCode(client.produce(topic, 0, batch).error_code),
            expected,
            "{topic}"
        );
    }
    let unknown = client.produce("t", 7, good.clone());
    assert_eq!(
        ErrorCode(unknown.error_code),
        ErrorCode::UNKNOWN_TOPIC_OR_PARTITION
    );
    assert_eq!(client.list_offset("t", -1), (0, -1, 0));
}

#[test]
fn one_partition_that_fails_does_not_stop_the_other() {
    let broker = broker(|_| {});
    broker.create_topic("t", 1, &[]).unwrap();
    let mut client = Client::of(&broker);
    let mut request = produce_request("t", 5, Batch::of("a"), -1);
    let good = produce_request("t", 0, Batch::of("b"), -1).topic_data[0].partition_data[0].clone();
    request.topic_data[0].partition_data.push(good);
    let response: ProduceResponse = client.call(ApiKey::Produce, 9, &request);
    let codes: Vec<_> = response.responses[0]
        .partition_responses
        .iter()
        .map(|p| p.error_code)
        .collect();
    assert_eq!(codes, [3, 0]);
    assert_eq!(client.values("t", 0, 0).len(), 1);
}

#[test]
fn an_idempotent_batch_is_stored_once() {
    let broker = broker(|_| {});
    broker.create_topic("t", 1, &[]).unwrap();
    let mut client = Client::of(&broker);
    let ids: InitProducerIdResponse = client.call(
        ApiKey::InitProducerId,
        4,
        &InitProducerIdRequest::default().with_transactional_id(None),
    );
    let id = ids.producer_id.0;
    let mut produce = |epoch, sequence, count| {
        let response = client.produce("t", 0, Batch::idempotent(id, epoch, sequence, count));
        (ErrorCode(response.error_code), response.base_offset)
    };
    for sequence in 0..7 {
        assert_eq!(
            produce(0, sequence, 1),
            (ErrorCode::NONE, i64::from(sequence))
        );
    }
    assert_eq!(
        produce(0, 3, 1),
        (ErrorCode::NONE, 3),
        "in the window: the first offset again"
    );
    assert_eq!(produce(0, 0, 1), (ErrorCode::DUPLICATE_SEQUENCE_NUMBER, -1));
    assert_eq!(
        produce(0, 9, 1),
        (ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER, -1)
    );
    assert_eq!(
        produce(1, 7, 1),
        (ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER, -1)
    );
    assert_eq!(produce(1, 0, 1), (ErrorCode::NONE, 7));
    assert_eq!(produce(0, 7, 1), (ErrorCode::INVALID_PRODUCER_EPOCH, -1));
    assert_eq!(client.list_offset("t", -1), (0, -1, 8));
}

#[test]
fn producer_ids_differ_and_transactions_are_refused() {
    let broker = broker(|_| {});
    let mut client = Client::of(&broker);
    let mut init = |transactional_id| -> InitProducerIdResponse {
        let request = InitProducerIdRequest::default().with_transactional_id(transactional_id);
        client.call(ApiKey::InitProducerId, 4, &request)
    };
    assert_ne!(init(None).producer_id, init(None).producer_id);
    let refused = init(Some(TransactionalId(topic_name("x").0)));
    assert_eq!(
        ErrorCode(refused.error_code),
        ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED
    );
}

#[test]
fn a_full_compacted_topic_refuses_rather_than_loses_keys() {
    let broker = broker(|config| config.retention_bytes = 2_000);
    broker
        .create_topic("t", 1, &[("cleanup.policy", "compact")])
        .unwrap();
    let mut client = Client::of(&broker);
    for round in 0..200 {
        let stored = client.produce("t", 0, Batch::keyed(&format!("k{}", round % 5), Some("v")));
        assert_eq!(stored.error_code, 0, "five live keys always fit");
    }
    let codes: Vec<_> = (0..100)
        .map(|n| {
            ErrorCode(
                client
                    .produce("t", 0, Batch::keyed(&format!("n{n}"), Some("v")))
                    .error_code,
            )
        })
        .collect();
    assert_eq!(codes[0], ErrorCode::NONE);
    assert_eq!(codes[99], ErrorCode::KAFKA_STORAGE_ERROR);
    assert_eq!(client.fetch("t", 0, 0).error_code, 0);
}
