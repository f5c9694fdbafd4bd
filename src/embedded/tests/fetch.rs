//! Fetch: long poll, budgets, sessions by name and by id, offsets by time.

use super::client::{Batch, Client, broker, fetch_request, records, string};
use crate::embedded::ErrorCode;
use kafka_protocol::messages::fetch_request::ForgottenTopic;
use kafka_protocol::messages::{
    ApiKey, FetchRequest, FetchResponse, MetadataRequest, MetadataResponse, TopicName,
};
use std::thread;
use std::time::{Duration, Instant};
use uuid::Uuid;

#[test]
fn an_empty_fetch_waits_its_time_and_an_append_ends_the_wait() {
    let broker = broker(|_| {});
    broker.create_topic("t", 2, &[]).unwrap();
    let mut client = Client::of(&broker);
    let began = Instant::now();
    let empty: FetchResponse = client.call(
        ApiKey::Fetch,
        12,
        &fetch_request("t", &[(0, 0), (1, 0)], 200),
    );
    assert!(began.elapsed() >= Duration::from_millis(200));
    assert!(
        empty.responses[0]
            .partitions
            .iter()
            .all(|partition| partition.error_code == 0)
    );

    client.send(
        ApiKey::Fetch,
        12,
        &fetch_request("t", &[(0, 0), (1, 0)], 15_000),
    );
    thread::sleep(Duration::from_millis(50));
    let appended = Instant::now();
    Client::of(&broker).produce("t", 1, Batch::of("a"));
    let woken: FetchResponse = client.receive(12).unwrap();
    assert!(appended.elapsed() < Duration::from_secs(5));
    assert_eq!(
        records(woken.responses[0].partitions[1].records.as_ref().unwrap()).len(),
        1
    );
}

#[test]
fn a_fetch_waits_until_there_is_as_much_as_it_wants() {
    let broker = broker(|_| {});
    broker.create_topic("t", 1, &[]).unwrap();
    let mut client = Client::of(&broker);
    client.send(
        ApiKey::Fetch,
        12,
        &fetch_request("t", &[(0, 0)], 15_000).with_min_bytes(100),
    );
    let mut producer = Client::of(&broker);
    producer.produce("t", 0, Batch::of("a"));
    producer.produce("t", 0, Batch::of("b"));
    let response: FetchResponse = client.receive(12).unwrap();
    assert_eq!(
        records(
            response.responses[0].partitions[0]
                .records
                .as_ref()
                .unwrap()
        )
        .len(),
        2
    );
}

#[test]
fn parked_fetches_all_see_a_record_and_a_deleted_topic_ends_their_wait() {
    let broker = broker(|_| {});
    broker.create_topic("t", 1, &[]).unwrap();
    let mut clients: Vec<_> = (0..20).map(|_| Client::of(&broker)).collect();
    let park = |clients: &mut Vec<Client>, offset| {
        for client in clients {
            client.send(
                ApiKey::Fetch,
                12,
                &fetch_request("t", &[(0, offset)], 15_000),
            );
        }
        thread::sleep(Duration::from_millis(100));
    };
    park(&mut clients, 0);
    Client::of(&broker).produce("t", 0, Batch::of("a"));
    for client in &mut clients {
        let response: FetchResponse = client.receive(12).unwrap();
        assert_eq!(response.responses[0].partitions[0].high_watermark, 1);
    }
    park(&mut clients, 1);
    super::topics::delete(&mut Client::of(&broker), "t");
    for client in &mut clients {
        let response: FetchResponse = client.receive(12).unwrap();
        let code = ErrorCode(response.responses[0].partitions[0].error_code);
        assert_eq!(code, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    }
}

#[test]
fn budgets_count_whole_batches_and_the_first_is_always_sent() {
    let broker = broker(|_| {});
    broker.create_topic("t", 2, &[]).unwrap();
    let mut client = Client::of(&broker);
    let size = i32::try_from(Batch::of("a").len()).unwrap();
    for partition in [0, 0, 0, 1] {
        client.produce("t", partition, Batch::of("a"));
    }
    let mut counts = |partition_max, max| {
        let mut request = fetch_request("t", &[(0, 0), (1, 0)], 0).with_max_bytes(max);
        for partition in &mut request.topics[0].partitions {
            partition.partition_max_bytes = partition_max;
        }
        let response: FetchResponse = client.call(ApiKey::Fetch, 12, &request);
        let count = |index: usize| {
            records(
                response.responses[0].partitions[index]
                    .records
                    .as_ref()
                    .unwrap(),
            )
            .len()
        };
        (count(0), count(1))
    };
    assert_eq!(counts(1, 1), (1, 0));
    assert_eq!(counts(2 * size + 1, 1 << 20), (2, 1));
    assert_eq!(counts(1 << 20, 3 * size), (3, 0));
    assert_eq!(counts(-1, -1), (1, 0));
}

#[test]
fn positions_outside_of_the_log_and_newer_epochs_are_refused() {
    let broker = broker(|_| {});
    broker.create_topic("t", 1, &[]).unwrap();
    let mut client = Client::of(&broker);
    client.produce("t", 0, Batch::of("a"));
    assert_eq!(
        ErrorCode(client.fetch("t", 0, 1).error_code),
        ErrorCode::NONE
    );
    let outside = client.fetch("t", 0, 2);
    assert_eq!(
        ErrorCode(outside.error_code),
        ErrorCode::OFFSET_OUT_OF_RANGE
    );
    assert_eq!((outside.high_watermark, outside.log_start_offset), (1, 0));
    assert_eq!(
        ErrorCode(client.fetch("t", 0, -5).error_code),
        ErrorCode::OFFSET_OUT_OF_RANGE
    );
    assert_eq!(
        ErrorCode(client.fetch("t", 3, 0).error_code),
        ErrorCode::UNKNOWN_TOPIC_OR_PARTITION
    );
    assert_eq!(
        ErrorCode(client.fetch("no", 0, 0).error_code),
        ErrorCode::UNKNOWN_TOPIC_OR_PARTITION
    );
    let mut request = fetch_request("t", &[(0, 0)], 0);
    request.topics[0].partitions[0].current_leader_epoch = 4;
    let response: FetchResponse = client.call(ApiKey::Fetch, 12, &request);
    assert_eq!(
        ErrorCode(response.responses[0].partitions[0].error_code),
        ErrorCode::UNKNOWN_LEADER_EPOCH
    );
}

fn topic_id(client: &mut Client) -> Uuid {
    let all: MetadataResponse = client.call(
        ApiKey::Metadata,
        12,
        &MetadataRequest::default().with_topics(None),
    );
    all.topics[0].topic_id
}

/// The partitions that an answer has, with the number of records.
fn sent(response: &FetchResponse) -> Vec<(i32, usize)> {
    let partitions = response
        .responses
        .iter()
        .flat_map(|topic| &topic.partitions);
    partitions
        .map(|each| {
            (
                each.partition_index,
                records(each.records.as_ref().unwrap()).len(),
            )
        })
        .collect()
}

fn play_a_session(version: i16) {
    let broker = broker(|_| {});
    broker.create_topic("t", 4, &[]).unwrap();
    let mut client = Client::of(&broker);
    let mut producer = Client::of(&broker);
    let id = topic_id(&mut client);
    let named = |mut request: FetchRequest| {
        for topic in &mut request.topics {
            if version >= 13 {
                topic.topic = TopicName(string(""));
                topic.topic_id = id;
            }
        }
        // From version 15 on the replica is said in a tagged field.
        if version >= 15 {
            request.with_replica_id((-1).into())
        } else {
            request
        }
    };
    let in_session = |session, epoch, partitions: &[(i32, i64)]| {
        named(fetch_request("t", partitions, 0))
            .with_session_id(session)
            .with_session_epoch(epoch)
    };
    producer.produce("t", 1, Batch::of("a"));
    let full: FetchResponse = client.call(
        ApiKey::Fetch,
        version,
        &in_session(0, 0, &[(0, 0), (1, 0), (2, 0)]),
    );
    assert_eq!(sent(&full), [(0, 0), (1, 1), (2, 0)]);
    assert_eq!(full.error_code, 0);
    let session = full.session_id;
    assert_ne!(session, 0);

    let next: FetchResponse =
        client.call(ApiKey::Fetch, version, &in_session(session, 1, &[(1, 1)]));
    assert_eq!(
        (sent(&next), next.session_id),
        (vec![], session),
        "nothing is new"
    );
    producer.produce("t", 2, Batch::of("b"));
    let next: FetchResponse = client.call(ApiKey::Fetch, version, &in_session(session, 2, &[]));
    assert_eq!(sent(&next), [(2, 1)]);

    let topic = ForgottenTopic::default().with_partitions(vec![2]);
    let topic = if version >= 13 {
        topic.with_topic_id(id)
    } else {
        topic.with_topic(TopicName(string("t")))
    };
    let change = in_session(session, 3, &[(3, 0)]).with_forgotten_topics_data(vec![topic]);
    let next: FetchResponse = client.call(ApiKey::Fetch, version, &change);
    assert_eq!(
        sent(&next),
        [(3, 0)],
        "2 is forgotten, 3 is told for the first time"
    );

    let stale: FetchResponse = client.call(ApiKey::Fetch, version, &in_session(session, 3, &[]));
    assert_eq!(
        ErrorCode(stale.error_code),
        ErrorCode::INVALID_FETCH_SESSION_EPOCH
    );
    let closed: FetchResponse =
        client.call(ApiKey::Fetch, version, &in_session(session, -1, &[(1, 0)]));
    assert_eq!((sent(&closed), closed.session_id), (vec![(1, 1)], 0));
    let gone: FetchResponse = client.call(ApiKey::Fetch, version, &in_session(session, 4, &[]));
    assert_eq!(
        ErrorCode(gone.error_code),
        ErrorCode::FETCH_SESSION_ID_NOT_FOUND
    );
}

#[test]
fn a_session_goes_on_by_topic_name() {
    play_a_session(7);
    play_a_session(12);
}

#[test]
fn a_session_goes_on_by_topic_id() {
    play_a_session(13);
    play_a_session(16);
}

#[test]
fn an_incremental_fetch_waits_for_partitions_that_it_does_not_name() {
    let broker = broker(|_| {});
    broker.create_topic("t", 2, &[]).unwrap();
    let mut client = Client::of(&broker);
    let full: FetchResponse = client.call(
        ApiKey::Fetch,
        12,
        &fetch_request("t", &[(0, 0), (1, 0)], 0).with_session_epoch(0),
    );
    let next = fetch_request("t", &[], 15_000)
        .with_session_id(full.session_id)
        .with_session_epoch(1);
    client.send(ApiKey::Fetch, 12, &next);
    thread::sleep(Duration::from_millis(50));
    Client::of(&broker).produce("t", 1, Batch::of("a"));
    let response: FetchResponse = client.receive(12).unwrap();
    assert_eq!(sent(&response), [(1, 1)]);
}

#[test]
fn an_evicted_session_is_not_found() {
    let broker = broker(|config| config.fetch_sessions_max = 1);
    broker.create_topic("t", 1, &[]).unwrap();
    let mut client = Client::of(&broker);
    let mut open = || -> FetchResponse {
        client.call(
            ApiKey::Fetch,
            12,
            &fetch_request("t", &[(0, 0)], 0).with_session_epoch(0),
        )
    };
    let (first, second) = (open().session_id, open().session_id);
    let mut go_on = |session| -> FetchResponse {
        let request = fetch_request("t", &[], 0)
            .with_session_id(session)
            .with_session_epoch(1);
        client.call(ApiKey::Fetch, 12, &request)
    };
    assert_eq!(
        ErrorCode(go_on(first).error_code),
        ErrorCode::FETCH_SESSION_ID_NOT_FOUND
    );
    assert_eq!(go_on(second).error_code, 0);
}

#[test]
fn an_unknown_topic_id_is_told_per_partition() {
    let broker = broker(|_| {});
    let mut client = Client::of(&broker);
    let mut request = fetch_request("", &[(0, 0)], 0);
    request.topics[0].topic_id = Uuid::from_u128(5);
    let response: FetchResponse = client.call(ApiKey::Fetch, 13, &request);
    assert_eq!(response.error_code, 0);
    assert_eq!(
        ErrorCode(response.responses[0].partitions[0].error_code),
        ErrorCode::UNKNOWN_TOPIC_ID
    );
}

#[test]
fn offsets_are_found_by_time() {
    let broker = broker(|_| {});
    broker.create_topic("t", 1, &[]).unwrap();
    let mut client = Client::of(&broker);
    assert_eq!(client.list_offset("t", -3), (0, -1, -1));
    let base = super::client::now_ms();
    let at = |start: i64, deltas: &[i64]| {
        let mut batch = Batch {
            base_timestamp: base + start,
            ..Batch::new()
        };
        for delta in deltas {
            batch = batch.record_at(*delta, None, Some("v"));
        }
        batch.bytes()
    };
    client.produce("t", 0, at(0, &[0, 10, 20]));
    client.produce("t", 0, at(50, &[0, 100, 5]));
    client.produce("t", 0, at(60, &[0]));
    assert_eq!(client.list_offset("t", -2), (0, -1, 0));
    assert_eq!(client.list_offset("t", -1), (0, -1, 7));
    assert_eq!(client.list_offset("t", -3), (0, base + 150, 4));
    assert_eq!(client.list_offset("t", base + 11), (0, base + 20, 2));
    assert_eq!(client.list_offset("t", base + 51), (0, base + 150, 4));
    assert_eq!(client.list_offset("t", base + 151), (0, -1, -1));
    assert_eq!(
        client.list_offset("t", -9).0,
        ErrorCode::UNSUPPORTED_VERSION.0
    );
    assert_eq!(
        client.list_offset("none", -1).0,
        ErrorCode::UNKNOWN_TOPIC_OR_PARTITION.0
    );
}
