//! What the cluster is: `ApiVersions`, Metadata, `DescribeCluster`, `FindCoordinator`.
//!
//! One rule: there is one node, this one, and it leads and coordinates everything.

use super::{Context, VERSIONS, text};
use crate::embedded::error::ErrorCode;
use crate::embedded::topics::{Topic, TopicKey};
use crate::embedded::{LEADER_EPOCH, NODE_ID};
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::describe_cluster_response::DescribeClusterBroker;
use kafka_protocol::messages::find_coordinator_response::Coordinator;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{
    ApiVersionsRequest, ApiVersionsResponse, DescribeClusterRequest, DescribeClusterResponse,
    FindCoordinatorRequest, FindCoordinatorResponse, MetadataRequest, MetadataResponse, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use std::sync::Arc;
use uuid::Uuid;

/// "Not asked for", in the fields for authorized operations.
const NO_OPERATIONS: i32 = i32::MIN;

pub(super) fn api_versions(_: &Context<'_>, _: &ApiVersionsRequest) -> ApiVersionsResponse {
    versions(ErrorCode::NONE)
}

pub(super) fn versions(error: ErrorCode) -> ApiVersionsResponse {
    let describe = |(api, first, last): &(_, i16, i16)| {
        ApiVersion::default()
            .with_api_key(*api as i16)
            .with_min_version(*first)
            .with_max_version(*last)
    };
    ApiVersionsResponse::default()
        .with_error_code(error.0)
        .with_api_keys(VERSIONS.iter().map(describe).collect())
}

pub(super) fn describe_cluster(
    context: &Context<'_>,
    _: &DescribeClusterRequest,
) -> DescribeClusterResponse {
    let state = context.state;
    let broker = DescribeClusterBroker::default()
        .with_broker_id(NODE_ID.into())
        .with_host(text(&*state.config.advertised_host))
        .with_port(state.port());
    DescribeClusterResponse::default()
        .with_cluster_id(text(state.topics.cluster_id()))
        .with_controller_id(NODE_ID.into())
        .with_cluster_authorized_operations(NO_OPERATIONS)
        .with_brokers(vec![broker])
}

pub(super) fn find_coordinator(
    context: &Context<'_>,
    request: &FindCoordinatorRequest,
) -> FindCoordinatorResponse {
    let (host, port) = (
        text(&*context.state.config.advertised_host),
        context.state.port(),
    );
    let error = context.forced.unwrap_or(ErrorCode::NONE).0;
    // Until version 3 one key is asked for and answered in the response itself, then several, each in its own struct.
    if context.version < 4 {
        return FindCoordinatorResponse::default()
            .with_error_code(error)
            .with_node_id(NODE_ID.into())
            .with_host(host)
            .with_port(port);
    }
    let answer = |key: &StrBytes| {
        Coordinator::default()
            .with_key(key.clone())
            .with_error_code(error)
            .with_node_id(NODE_ID.into())
            .with_host(host.clone())
            .with_port(port)
    };
    FindCoordinatorResponse::default()
        .with_coordinators(request.coordinator_keys.iter().map(answer).collect())
}

pub(super) fn metadata(context: &Context<'_>, request: &MetadataRequest) -> MetadataResponse {
    let state = context.state;
    let may_create = state.config.auto_create_topics
        && (context.version < 4 || request.allow_auto_topic_creation);
    let topics = match &request.topics {
        // In version 0 an empty list asks for all topics, since then null does.
        Some(asked) if context.version > 0 || !asked.is_empty() => asked
            .iter()
            .map(|topic| metadata_of(context, topic, may_create))
            .collect(),
        _ => state
            .topics
            .all()
            .iter()
            .map(|topic| describe(topic))
            .collect(),
    };
    let broker = MetadataResponseBroker::default()
        .with_node_id(NODE_ID.into())
        .with_host(text(&*state.config.advertised_host))
        .with_port(state.port());
    MetadataResponse::default()
        .with_brokers(vec![broker])
        .with_cluster_id(Some(text(state.topics.cluster_id())))
        .with_controller_id(NODE_ID.into())
        .with_cluster_authorized_operations(NO_OPERATIONS)
        .with_topics(topics)
}

fn metadata_of(
    context: &Context<'_>,
    asked: &MetadataRequestTopic,
    may_create: bool,
) -> MetadataResponseTopic {
    let name = asked
        .name
        .as_ref()
        .map(|name| name.to_string())
        .unwrap_or_default();
    let found = context
        .allowed()
        .and_then(|()| find_or_create(context, &name, asked.topic_id, may_create));
    match found {
        Ok(topic) => describe(&topic),
        Err(error) => MetadataResponseTopic::default()
            .with_error_code(error.0)
            // Null has a place in the answer only since version 12; before, an id alone cannot be asked for.
            .with_name(if context.version >= 12 {
                asked.name.clone()
            } else {
                Some(TopicName(text(name)))
            })
            .with_topic_id(asked.topic_id)
            .with_topic_authorized_operations(NO_OPERATIONS),
    }
}

fn find_or_create(
    context: &Context<'_>,
    name: &str,
    id: Uuid,
    may_create: bool,
) -> Result<Arc<Topic>, ErrorCode> {
    let key = TopicKey::new(name, id);
    if let Some(topic) = context.state.topics.find(&key) {
        return Ok(topic);
    }
    if matches!(key, TopicKey::Id(_)) || !may_create {
        return Err(key.unknown());
    }
    match context.state.create_topic(name, -1, &[]) {
        // Another connection was quicker.
        Err(ErrorCode::TOPIC_ALREADY_EXISTS) => {
            context.state.topics.find(&key).ok_or(key.unknown())
        }
        created => created,
    }
}

fn describe(topic: &Topic) -> MetadataResponseTopic {
    let partition = |index| {
        MetadataResponsePartition::default()
            .with_partition_index(index)
            .with_leader_id(NODE_ID.into())
            .with_leader_epoch(LEADER_EPOCH)
            .with_replica_nodes(vec![NODE_ID.into()])
            .with_isr_nodes(vec![NODE_ID.into()])
    };
    MetadataResponseTopic::default()
        .with_name(Some(TopicName(text(&*topic.name))))
        .with_topic_id(topic.id)
        .with_topic_authorized_operations(NO_OPERATIONS)
        .with_partitions((0..topic.partition_count()).map(partition).collect())
}
