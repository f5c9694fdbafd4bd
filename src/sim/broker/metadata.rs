//! What the model cluster says of itself.
//!
//! Sits beside the produce requests. Its one rule: a change of leader is told late, as news of it takes its time to get round.

use kafka_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult,
};
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{
    DescribeConfigsRequest, DescribeConfigsResponse, MetadataRequest, MetadataResponse,
};
use kafka_protocol::protocol::StrBytes;

use super::{Cluster, FORBIDDEN};
use crate::clock::Instant;
use crate::kafka::error_code::ErrorCode;
use crate::kafka::metadata::topic_name;

impl Cluster {
    pub(super) fn metadata(&self, request: &MetadataRequest, now: Instant) -> MetadataResponse {
        let broker = |id: &i32| {
            let (host, port) = (StrBytes::from_static_str("broker"), 9_000 + *id);
            MetadataResponseBroker::default()
                .with_node_id((*id).into())
                .with_host(host)
                .with_port(port)
        };
        let names = request
            .topics
            .iter()
            .flatten()
            .filter_map(|topic| topic.name.as_ref());
        let topics = names
            .map(|name| self.topic_metadata(name.as_str(), now))
            .collect();
        MetadataResponse::default()
            .with_brokers(self.brokers.iter().map(broker).collect())
            .with_topics(topics)
    }

    fn topic_metadata(&self, name: &str, now: Instant) -> MetadataResponseTopic {
        let answer = MetadataResponseTopic::default().with_name(Some(topic_name(name)));
        let Some(topic) = self.topics.get(name).filter(|topic| topic.exists) else {
            let error = if name == FORBIDDEN {
                ErrorCode::TOPIC_AUTHORIZATION_FAILED
            } else {
                ErrorCode::UNKNOWN_TOPIC_OR_PARTITION
            };
            return answer.with_error_code(error.0);
        };
        let partitions = (0..).zip(&topic.partitions).map(|(index, partition)| {
            let leader = partition.leader_as_told(now).unwrap_or(-1);
            MetadataResponsePartition::default()
                .with_partition_index(index)
                .with_leader_id(leader.into())
        });
        answer.with_partitions(partitions.collect())
    }

    /// The configurations that matter.
    pub(super) fn describe(&self, request: &DescribeConfigsRequest) -> DescribeConfigsResponse {
        let results = request.resources.iter().map(|resource| {
            let bytes_max = self
                .topics
                .get(resource.resource_name.as_str())
                .map_or(0, |topic| topic.batch_bytes_max);
            let config = DescribeConfigsResourceResult::default()
                .with_name(StrBytes::from_static_str("max.message.bytes"))
                .with_value(Some(StrBytes::from_string(bytes_max.to_string())));
            let is_compacted = resource.resource_name.as_str() == COMPACTED;
            let cleanup = if is_compacted { "compact" } else { "delete" };
            let policy = DescribeConfigsResourceResult::default()
                .with_name(StrBytes::from_static_str("cleanup.policy"))
                .with_value(Some(StrBytes::from_static_str(cleanup)));
            DescribeConfigsResult::default()
                .with_resource_name(resource.resource_name.clone())
                .with_configs(vec![config, policy])
        });
        DescribeConfigsResponse::default().with_results(results.collect())
    }
}

/// The topic of which only the newest record of a key counts.
const COMPACTED: &str = "items";
