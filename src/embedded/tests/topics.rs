//! Topics: created, configured, described, deleted, cleaned.

use super::client::{Batch, Client, broker, now_ms, records, string, topic_name};
use crate::embedded::ErrorCode;
use kafka_protocol::messages::create_topics_request::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig,
};
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{
    ApiKey, CreateTopicsRequest, CreateTopicsResponse, DeleteTopicsRequest, DeleteTopicsResponse,
    DescribeConfigsRequest, DescribeConfigsResponse, MetadataRequest, MetadataResponse,
};

pub(super) fn delete(client: &mut Client, topic: &str) -> ErrorCode {
    let request = DeleteTopicsRequest::default().with_topic_names(vec![topic_name(topic)]);
    let response: DeleteTopicsResponse = client.call(ApiKey::DeleteTopics, 5, &request);
    ErrorCode(response.responses[0].error_code)
}

fn new_topic(name: &str, partitions: i32) -> CreatableTopic {
    CreatableTopic::default()
        .with_name(topic_name(name))
        .with_num_partitions(partitions)
        .with_replication_factor(-1)
}

fn create(client: &mut Client, topics: Vec<CreatableTopic>) -> Vec<ErrorCode> {
    let response: CreateTopicsResponse = client.call(
        ApiKey::CreateTopics,
        7,
        &CreateTopicsRequest::default().with_topics(topics),
    );
    response
        .topics
        .iter()
        .map(|topic| ErrorCode(topic.error_code))
        .collect()
}

fn metadata(client: &mut Client, topic: &str, may_create: bool) -> (ErrorCode, usize) {
    let topic = MetadataRequestTopic::default().with_name(Some(topic_name(topic)));
    let request = MetadataRequest::default()
        .with_topics(Some(vec![topic]))
        .with_allow_auto_topic_creation(may_create);
    let response: MetadataResponse = client.call(ApiKey::Metadata, 12, &request);
    (
        ErrorCode(response.topics[0].error_code),
        response.topics[0].partitions.len(),
    )
}

#[test]
fn topics_are_created_and_deleted_and_wrong_ones_refused() {
    let broker = broker(|config| config.default_partitions = 3);
    let mut client = Client::of(&broker);
    let config = |name: &str, value: &str| {
        CreatableTopicConfig::default()
            .with_name(string(name))
            .with_value(Some(string(value)))
    };
    let assigned =
        |broker: i32| CreatableReplicaAssignment::default().with_broker_ids(vec![broker.into()]);
    let codes = create(
        &mut client,
        vec![
            new_topic("good", -1),
            new_topic("bad name", 1),
            new_topic("", 1),
            new_topic("..", 1),
            new_topic(&"x".repeat(250), 1),
            new_topic(&"x".repeat(249), 1),
            new_topic("none", 0),
            new_topic("many", 1_000_000),
            new_topic("twice", 1),
            new_topic("twice", 1),
            new_topic("replicated", 1).with_replication_factor(3),
            new_topic("strange", 1).with_configs(vec![config("colour", "red")]),
            new_topic("wrong", 1).with_configs(vec![config("retention.ms", "soon")]),
            new_topic("here", -1).with_assignments(vec![assigned(1)]),
            new_topic("there", -1).with_assignments(vec![assigned(2)]),
        ],
    );
    let expected = [
        ErrorCode::NONE,
        ErrorCode::INVALID_TOPIC_EXCEPTION,
        ErrorCode::INVALID_TOPIC_EXCEPTION,
        ErrorCode::INVALID_TOPIC_EXCEPTION,
        ErrorCode::INVALID_TOPIC_EXCEPTION,
        ErrorCode::NONE,
        ErrorCode::INVALID_PARTITIONS,
        ErrorCode::INVALID_PARTITIONS,
        ErrorCode::INVALID_REQUEST,
        ErrorCode::INVALID_REQUEST,
        ErrorCode::INVALID_REPLICATION_FACTOR,
        ErrorCode::INVALID_CONFIG,
        ErrorCode::INVALID_CONFIG,
        ErrorCode::NONE,
        ErrorCode::INVALID_REPLICA_ASSIGNMENT,
    ];
    assert_eq!(codes, expected);
    assert_eq!(metadata(&mut client, "good", false), (ErrorCode::NONE, 3));
    assert_eq!(
        create(&mut client, vec![new_topic("good", 1)]),
        [ErrorCode::TOPIC_ALREADY_EXISTS]
    );
    assert_eq!(delete(&mut client, "good"), ErrorCode::NONE);
    assert_eq!(
        delete(&mut client, "good"),
        ErrorCode::UNKNOWN_TOPIC_OR_PARTITION
    );
    assert_eq!(
        metadata(&mut client, "good", false),
        (ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, 0)
    );
}

#[test]
fn the_partitions_of_all_topics_are_bounded() {
    let broker = broker(|_| {});
    for n in 0..4 {
        broker.create_topic(&format!("t{n}"), 1_000, &[]).unwrap();
    }
    assert_eq!(
        broker.create_topic("over", 1, &[]),
        Err(ErrorCode::POLICY_VIOLATION)
    );
}

#[test]
fn a_request_that_only_validates_creates_nothing() {
    let broker = broker(|_| {});
    let mut client = Client::of(&broker);
    let request = CreateTopicsRequest::default()
        .with_topics(vec![new_topic("t", 2), new_topic("b d", 2)])
        .with_validate_only(true);
    let response: CreateTopicsResponse = client.call(ApiKey::CreateTopics, 7, &request);
    let codes: Vec<_> = response
        .topics
        .iter()
        .map(|topic| ErrorCode(topic.error_code))
        .collect();
    assert_eq!(codes, [ErrorCode::NONE, ErrorCode::INVALID_TOPIC_EXCEPTION]);
    assert_eq!(
        metadata(&mut client, "t", false).0,
        ErrorCode::UNKNOWN_TOPIC_OR_PARTITION
    );
}

#[test]
fn metadata_creates_a_topic_only_when_broker_and_client_allow_it() {
    let strict = broker(|config| config.auto_create_topics = false);
    assert_eq!(
        metadata(&mut Client::of(&strict), "t", true).0,
        ErrorCode::UNKNOWN_TOPIC_OR_PARTITION
    );
    let generous = broker(|config| config.default_partitions = 2);
    let mut client = Client::of(&generous);
    assert_eq!(
        metadata(&mut client, "t", false).0,
        ErrorCode::UNKNOWN_TOPIC_OR_PARTITION
    );
    assert_eq!(metadata(&mut client, "t", true), (ErrorCode::NONE, 2));
    assert_eq!(
        metadata(&mut client, "no/name", true).0,
        ErrorCode::INVALID_TOPIC_EXCEPTION
    );
}

#[test]
fn configs_are_described_with_their_source() {
    let broker = broker(|_| {});
    broker
        .create_topic(
            "t",
            1,
            &[("cleanup.policy", "compact"), ("segment.ms", "100")],
        )
        .unwrap();
    let mut client = Client::of(&broker);
    let resource = |name: &str| {
        DescribeConfigsResource::default()
            .with_resource_type(2)
            .with_resource_name(string(name))
            .with_configuration_keys(None)
    };
    let only = resource("t").with_configuration_keys(Some(vec![string("retention.ms")]));
    let request = DescribeConfigsRequest::default().with_resources(vec![
        resource("t"),
        only,
        resource("none"),
    ]);
    let response: DescribeConfigsResponse = client.call(ApiKey::DescribeConfigs, 4, &request);
    let find = |name: &str| {
        let found = response.results[0]
            .configs
            .iter()
            .find(|config| config.name.as_str() == name)
            .unwrap();
        (
            found.value.as_ref().unwrap().to_string(),
            found.config_source,
            found.config_type,
        )
    };
    assert_eq!(find("cleanup.policy"), ("compact".to_owned(), 1, 7));
    assert_eq!(find("segment.ms"), ("100".to_owned(), 1, 2));
    assert_eq!(find("max.message.bytes"), ("1048588".to_owned(), 5, 3));
    assert_eq!(find("retention.ms"), ("604800000".to_owned(), 5, 5));
    assert_eq!(find("retention.bytes"), ((64 << 20).to_string(), 5, 5));
    for name in [
        "delete.retention.ms",
        "segment.bytes",
        "min.insync.replicas",
    ] {
        assert_eq!(find(name).1, 5, "{name}");
    }
    assert_eq!(response.results[1].configs.len(), 1);
    assert_eq!(
        ErrorCode(response.results[2].error_code),
        ErrorCode::UNKNOWN_TOPIC_OR_PARTITION
    );
}

#[test]
fn compaction_keeps_the_newest_record_of_each_key_at_its_offset() {
    let broker = broker(|_| {});
    broker
        .create_topic(
            "t",
            1,
            &[
                ("cleanup.policy", "compact"),
                ("delete.retention.ms", "1000"),
            ],
        )
        .unwrap();
    let mut client = Client::of(&broker);
    let old = Batch {
        base_timestamp: now_ms() - 10_000,
        ..Batch::new()
    };
    client.produce(
        "t",
        0,
        old.clone()
            .record(Some("a"), Some("1"))
            .record(Some("b"), Some("1"))
            .bytes(),
    );
    client.produce(
        "t",
        0,
        old.record(Some("gone"), Some("1"))
            .record(Some("gone"), None)
            .bytes(),
    );
    client.produce(
        "t",
        0,
        Batch::new()
            .record(Some("b"), None)
            .record(Some("c"), Some("1"))
            .bytes(),
    );
    client.produce("t", 0, Batch::keyed("a", Some("2")));
    broker.compact_now();
    let set = client.fetch("t", 0, 0);
    let left: Vec<_> = records(set.records.as_ref().unwrap())
        .into_iter()
        .map(|r| (r.offset, r.value))
        .collect();
    let expected = [
        (4, None),
        (5, Some(b"1".to_vec())),
        (6, Some(b"2".to_vec())),
    ];
    assert_eq!(
        left, expected,
        "the old tombstone is gone, the young one stays"
    );
    assert_eq!((set.high_watermark, set.log_start_offset), (7, 0));
    assert_eq!(
        client.values("t", 0, 2).len(),
        3,
        "a fetch from inside a hole goes on behind it"
    );
    assert_eq!(
        client
            .produce("t", 0, Batch::keyed("d", Some("1")))
            .base_offset,
        7
    );
}

#[test]
fn a_compressed_batch_is_kept_whole() {
    let broker = broker(|_| {});
    broker
        .create_topic("t", 1, &[("cleanup.policy", "compact")])
        .unwrap();
    let mut client = Client::of(&broker);
    // The broker does not look inside, so that any bytes do.
    let compressed = Batch {
        attributes: 1,
        ..Batch::new().record(Some("k"), Some("1"))
    };
    assert_eq!(client.produce("t", 0, compressed.bytes()).error_code, 0);
    client.produce("t", 0, Batch::keyed("k", Some("2")));
    client.produce("t", 0, Batch::keyed("k", Some("3")));
    broker.compact_now();
    assert_eq!(
        client
            .values("t", 0, 0)
            .iter()
            .map(|(offset, _)| *offset)
            .collect::<Vec<_>>(),
        [0, 2]
    );
}

#[test]
fn retention_moves_the_start_and_spares_the_newest_batch() {
    let broker = broker(|_| {});
    broker
        .create_topic("by-size", 1, &[("retention.bytes", "200")])
        .unwrap();
    broker
        .create_topic("by-age", 1, &[("retention.ms", "1000")])
        .unwrap();
    let mut client = Client::of(&broker);
    for _ in 0..10 {
        client.produce("by-size", 0, Batch::of("a"));
    }
    let old = Batch {
        base_timestamp: now_ms() - 5_000,
        ..Batch::new()
    }
    .record(None, Some("a"))
    .bytes();
    client.produce("by-age", 0, old.clone());
    client.produce("by-age", 0, old);
    broker.compact_now();
    let (_, _, start) = client.list_offset("by-size", -2);
    assert!((7..10).contains(&start), "{start}");
    assert_eq!(client.list_offset("by-age", -2), (0, -1, 1));
    assert_eq!(
        ErrorCode(client.fetch("by-size", 0, 0).error_code),
        ErrorCode::OFFSET_OUT_OF_RANGE
    );
}
