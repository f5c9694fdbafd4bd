//! Every version of every API that is advertised can be asked and answered: a field that a version lacks would close
//! the connection.

use super::client::{
    Batch, Client, TempDir, broker, fetch_request, produce_request, string, topic_name,
};
use crate::embedded::Broker;
use crate::embedded::api::VERSIONS;
use bytes::{Buf, Bytes};
use kafka_protocol::messages::*;
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion};

/// Asks in every version, with a request made for it, and gives each answer to `check`.
fn every_version<Request, Response>(
    client: &mut Client,
    api: ApiKey,
    request: impl Fn(i16) -> Request,
    check: impl Fn(i16, Response),
) where
    Request: Encodable + HeaderVersion,
    Response: Decodable + HeaderVersion,
{
    let (_, first, last) = VERSIONS
        .iter()
        .find(|(key, ..)| *key as i16 == api as i16)
        .unwrap();
    for version in *first..=*last {
        let response = client.try_call(api, version, &request(version));
        check(
            version,
            response.unwrap_or_else(|error| panic!("{api:?} version {version}: {error}")),
        );
    }
}

fn with_topic() -> (Broker, Client) {
    let broker = broker(|config| config.auto_create_topics = false);
    broker
        .create_topic("t", 1, &[("retention.ms", "-1")])
        .unwrap();
    let client = Client::of(&broker);
    (broker, client)
}

#[test]
fn produce_and_fetch() {
    let (_broker, mut client) = with_topic();
    for topic in ["t", "missing"] {
        let request = |_| produce_request(topic, 0, Batch::of("a"), -1);
        every_version(
            &mut client,
            ApiKey::Produce,
            request,
            |_, response: ProduceResponse| {
                assert_eq!(response.responses[0].name, topic_name(topic));
            },
        );
    }
    let names: MetadataResponse = client.call(
        ApiKey::Metadata,
        12,
        &MetadataRequest::default().with_topics(None),
    );
    let id = names.topics[0].topic_id;
    let request = |version| {
        let mut request = fetch_request("t", &[(0, 0), (9, 0)], 0)
            .with_session_epoch(if version < 7 { -1 } else { 0 });
        if version >= 13 {
            request.topics[0].topic = topic_name("");
            request.topics[0].topic_id = id;
        }
        request
    };
    every_version(
        &mut client,
        ApiKey::Fetch,
        request,
        |version, response: FetchResponse| {
            let codes: Vec<_> = response.responses[0]
                .partitions
                .iter()
                .map(|partition| partition.error_code)
                .collect();
            assert_eq!(codes, [0, 3], "version {version}");
            assert_eq!(response.session_id != 0, version >= 7);
        },
    );
}

#[test]
fn list_offsets_and_init_producer_id() {
    let (_broker, mut client) = with_topic();
    let request = |_| {
        let at = |index, timestamp| {
            list_offsets_request::ListOffsetsPartition::default()
                .with_partition_index(index)
                .with_timestamp(timestamp)
        };
        let topic = list_offsets_request::ListOffsetsTopic::default()
            .with_name(topic_name("t"))
            .with_partitions(vec![at(0, -1), at(0, 5), at(8, -2)]);
        ListOffsetsRequest::default()
            .with_replica_id((-1).into())
            .with_topics(vec![topic])
    };
    every_version(
        &mut client,
        ApiKey::ListOffsets,
        request,
        |_, response: ListOffsetsResponse| {
            let codes: Vec<_> = response.topics[0]
                .partitions
                .iter()
                .map(|partition| partition.error_code)
                .collect();
            assert_eq!(codes, [0, 0, 3]);
        },
    );
    let request = |_| InitProducerIdRequest::default().with_transactional_id(None);
    every_version(
        &mut client,
        ApiKey::InitProducerId,
        request,
        |_, response: InitProducerIdResponse| {
            assert_eq!(response.error_code, 0);
        },
    );
}

#[test]
fn cluster() {
    let (broker, mut client) = with_topic();
    let request = |_| ApiVersionsRequest::default();
    every_version(
        &mut client,
        ApiKey::ApiVersions,
        request,
        |_, response: ApiVersionsResponse| {
            assert_eq!(response.api_keys.len(), VERSIONS.len());
        },
    );
    let asked = |name: &str| {
        metadata_request::MetadataRequestTopic::default().with_name(Some(topic_name(name)))
    };
    let request =
        |_| MetadataRequest::default().with_topics(Some(vec![asked("t"), asked("missing")]));
    every_version(
        &mut client,
        ApiKey::Metadata,
        request,
        |_, response: MetadataResponse| {
            assert_eq!(
                (response.topics[0].error_code, response.topics[1].error_code),
                (0, 3)
            );
            assert_eq!(response.brokers[0].port, i32::from(broker.addr().port()));
        },
    );
    let all = |version| {
        MetadataRequest::default().with_topics(if version == 0 { Some(vec![]) } else { None })
    };
    every_version(
        &mut client,
        ApiKey::Metadata,
        all,
        |_, response: MetadataResponse| {
            assert_eq!(response.topics.len(), 1);
        },
    );
    let none = |version| {
        MetadataRequest::default().with_topics(if version == 0 { None } else { Some(vec![]) })
    };
    let none: MetadataResponse = client.call(ApiKey::Metadata, 1, &none(1));
    assert_eq!(none.topics.len(), 0);
    let request = |_| DescribeClusterRequest::default();
    every_version(
        &mut client,
        ApiKey::DescribeCluster,
        request,
        |_, response: DescribeClusterResponse| {
            assert_eq!(response.brokers.len(), 1);
        },
    );
    let request = |version| match version {
        4.. => FindCoordinatorRequest::default().with_coordinator_keys(vec![string("g")]),
        _ => FindCoordinatorRequest::default().with_key(string("g")),
    };
    every_version(
        &mut client,
        ApiKey::FindCoordinator,
        request,
        |version, response: FindCoordinatorResponse| {
            let port = if version >= 4 {
                response.coordinators[0].port
            } else {
                response.port
            };
            assert_eq!(port, i32::from(broker.addr().port()));
        },
    );
}

#[test]
fn topics_and_configs() {
    let (_broker, mut client) = with_topic();
    let request = |version: i16| {
        let topic = |name: String| {
            let config = create_topics_request::CreatableTopicConfig::default()
                .with_name(string("cleanup.policy"))
                .with_value(Some(string("compact")));
            create_topics_request::CreatableTopic::default()
                .with_name(topic_name(&name))
                .with_num_partitions(2)
                .with_replication_factor(1)
                .with_configs(vec![config])
        };
        CreateTopicsRequest::default()
            .with_topics(vec![topic(format!("v{version}")), topic("b d".to_owned())])
    };
    every_version(
        &mut client,
        ApiKey::CreateTopics,
        request,
        |_, response: CreateTopicsResponse| {
            assert_eq!(
                (response.topics[0].error_code, response.topics[1].error_code),
                (0, 17)
            );
        },
    );
    let request = |_| {
        let resource = |kind, name: &str| {
            describe_configs_request::DescribeConfigsResource::default()
                .with_resource_type(kind)
                .with_resource_name(string(name))
                .with_configuration_keys(None)
        };
        DescribeConfigsRequest::default().with_resources(vec![
            resource(2, "v2"),
            resource(2, "missing"),
            resource(4, "1"),
        ])
    };
    every_version(
        &mut client,
        ApiKey::DescribeConfigs,
        request,
        |_, response: DescribeConfigsResponse| {
            assert_eq!(
                (
                    response.results[0].error_code,
                    response.results[1].error_code
                ),
                (0, 3)
            );
            assert!(response.results[0].configs.len() >= 7);
        },
    );
    let request = |version: i16| {
        let names = [format!("v{}", version + 1), "missing".to_owned()];
        if version < 6 {
            return DeleteTopicsRequest::default()
                .with_topic_names(names.iter().map(|name| topic_name(name)).collect());
        }
        let topic = |name| {
            delete_topics_request::DeleteTopicState::default().with_name(Some(topic_name(name)))
        };
        let by_id = delete_topics_request::DeleteTopicState::default()
            .with_topic_id(uuid::Uuid::from_u128(7));
        DeleteTopicsRequest::default().with_topics(vec![topic(&names[0]), topic(&names[1]), by_id])
    };
    every_version(
        &mut client,
        ApiKey::DeleteTopics,
        request,
        |version, response: DeleteTopicsResponse| {
            let codes: Vec<_> = response
                .responses
                .iter()
                .map(|topic| topic.error_code)
                .collect();
            assert_eq!(
                codes,
                if version < 6 {
                    vec![0, 3]
                } else {
                    vec![0, 3, 100]
                }
            );
        },
    );
}

#[test]
fn groups() {
    let (_broker, mut client) = with_topic();
    let group = || GroupId(string("g"));
    let joining = |version: i16, group: GroupId| {
        let protocol =
            join_group_request::JoinGroupRequestProtocol::default().with_name(string("range"));
        let request = JoinGroupRequest::default()
            .with_group_id(group)
            .with_session_timeout_ms(10_000)
            .with_rebalance_timeout_ms(if version >= 1 { 10_000 } else { -1 })
            .with_protocol_type(string("consumer"))
            .with_protocols(vec![protocol]);
        // A static member, where there are any, joins in one step.
        if version >= 5 {
            request.with_group_instance_id(Some(string("i")))
        } else {
            request
        }
    };
    let request = |version| joining(version, GroupId(string(&format!("g{version}"))));
    every_version(
        &mut client,
        ApiKey::JoinGroup,
        request,
        |version, response: JoinGroupResponse| {
            assert_eq!(
                response.error_code,
                if version == 4 { 79 } else { 0 },
                "version {version}"
            );
        },
    );
    let joined: JoinGroupResponse = client.call(ApiKey::JoinGroup, 3, &joining(3, group()));
    let member = || joined.member_id.clone();
    let request = |_| {
        let assignment = sync_group_request::SyncGroupRequestAssignment::default()
            .with_member_id(member())
            .with_assignment(Bytes::from_static(b"all"));
        SyncGroupRequest::default()
            .with_group_id(group())
            .with_generation_id(joined.generation_id)
            .with_member_id(member())
            .with_assignments(vec![assignment])
    };
    every_version(
        &mut client,
        ApiKey::SyncGroup,
        request,
        |_, mut response: SyncGroupResponse| {
            assert_eq!(response.error_code, 0);
            assert_eq!(response.assignment.get_u8(), b'a');
        },
    );
    let request = |_| {
        HeartbeatRequest::default()
            .with_group_id(group())
            .with_generation_id(joined.generation_id)
            .with_member_id(member())
    };
    every_version(
        &mut client,
        ApiKey::Heartbeat,
        request,
        |_, response: HeartbeatResponse| {
            assert_eq!(response.error_code, 0);
        },
    );
    let request = |version| match version {
        0..3 => LeaveGroupRequest::default()
            .with_group_id(group())
            .with_member_id(string("x")),
        _ => LeaveGroupRequest::default()
            .with_group_id(group())
            .with_members(vec![
                leave_group_request::MemberIdentity::default().with_member_id(string("x")),
            ]),
    };
    every_version(
        &mut client,
        ApiKey::LeaveGroup,
        request,
        |version, response: LeaveGroupResponse| {
            let code = if version < 3 {
                response.error_code
            } else {
                response.members[0].error_code
            };
            assert_eq!(code, 25);
        },
    );
}

#[test]
fn committed_offsets() {
    let (_broker, mut client) = with_topic();
    let group = || GroupId(string("g"));
    let request = |version: i16| {
        let partition = offset_commit_request::OffsetCommitRequestPartition::default()
            .with_committed_offset(version.into())
            .with_committed_metadata(Some(string("")));
        let topic = offset_commit_request::OffsetCommitRequestTopic::default()
            .with_name(topic_name("t"))
            .with_partitions(vec![partition]);
        OffsetCommitRequest::default()
            .with_group_id(group())
            .with_generation_id_or_member_epoch(-1)
            .with_topics(vec![topic])
    };
    every_version(
        &mut client,
        ApiKey::OffsetCommit,
        request,
        |_, response: OffsetCommitResponse| {
            assert_eq!(response.topics[0].partitions[0].error_code, 0);
        },
    );
    let request = |version| {
        if version < 8 {
            let topic = offset_fetch_request::OffsetFetchRequestTopic::default()
                .with_name(topic_name("t"))
                .with_partition_indexes(vec![0, 1]);
            return OffsetFetchRequest::default()
                .with_group_id(group())
                .with_topics(Some(vec![topic]));
        }
        let topic = offset_fetch_request::OffsetFetchRequestTopics::default()
            .with_name(topic_name("t"))
            .with_partition_indexes(vec![0, 1]);
        let asked = offset_fetch_request::OffsetFetchRequestGroup::default()
            .with_group_id(group())
            .with_topics(Some(vec![topic]));
        OffsetFetchRequest::default().with_groups(vec![asked])
    };
    every_version(
        &mut client,
        ApiKey::OffsetFetch,
        request,
        |version, response: OffsetFetchResponse| {
            let offsets: Vec<_> = if version < 8 {
                response.topics[0]
                    .partitions
                    .iter()
                    .map(|partition| partition.committed_offset)
                    .collect()
            } else {
                response.groups[0].topics[0]
                    .partitions
                    .iter()
                    .map(|partition| partition.committed_offset)
                    .collect()
            };
            assert_eq!(offsets, [8, -1]);
        },
    );
}

#[test]
fn a_newer_api_versions_is_answered_in_the_oldest_form() {
    let dir = TempDir::new();
    let broker = broker(|config| config.dir = Some(dir.0.clone()));
    let mut client = Client::of(&broker);
    client.send(ApiKey::ApiVersions, 4, &ApiVersionsRequest::default());
    let response: ApiVersionsResponse = client.receive(0).unwrap();
    assert_eq!(
        (response.error_code, response.api_keys.len()),
        (35, VERSIONS.len())
    );
    let _: ApiVersionsResponse =
        client.call(ApiKey::ApiVersions, 3, &ApiVersionsRequest::default());
}
