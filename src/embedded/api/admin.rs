//! `CreateTopics`, `DeleteTopics`, `DescribeConfigs`.
//!
//! One rule: one topic's failure is its own; the others of the request go through.

use super::{Context, code, text};
use crate::embedded::NODE_ID;
use crate::embedded::error::ErrorCode;
use crate::embedded::topic_config::Described;
use crate::embedded::topics::{Topic, TopicKey};
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::create_topics_response::CreatableTopicResult;
use kafka_protocol::messages::delete_topics_response::DeletableTopicResult;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult,
};
use kafka_protocol::messages::{
    BrokerId, CreateTopicsRequest, CreateTopicsResponse, DeleteTopicsRequest, DeleteTopicsResponse,
    DescribeConfigsRequest, DescribeConfigsResponse, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use std::collections::HashMap;
use std::sync::Arc;
use uuid::Uuid;

/// `ConfigResource.Type.TOPIC`.
const TOPIC_RESOURCE: i8 = 2;
/// `ConfigSource.DYNAMIC_TOPIC_CONFIG`.
const SET_FOR_TOPIC: i8 = 1;
/// `ConfigSource.DEFAULT_CONFIG`.
const DEFAULT: i8 = 5;

pub(super) fn create_topics(
    context: &Context<'_>,
    request: &CreateTopicsRequest,
) -> CreateTopicsResponse {
    let mut asked: HashMap<String, usize> = HashMap::new();
    for topic in &request.topics {
        *asked.entry(topic.name.to_string()).or_default() += 1;
    }
    let create = |topic: &CreatableTopic| {
        let is_repeated = asked
            .get(topic.name.as_str())
            .is_some_and(|count| *count > 1);
        let created = if is_repeated {
            Err(ErrorCode::INVALID_REQUEST)
        } else {
            create(context, topic, request.validate_only)
        };
        created_result(context, topic, &created)
    };
    CreateTopicsResponse::default().with_topics(request.topics.iter().map(create).collect())
}

/// `None` when the request was only to be checked.
fn create(
    context: &Context<'_>,
    topic: &CreatableTopic,
    validate_only: bool,
) -> Result<Option<Arc<Topic>>, ErrorCode> {
    context.allowed()?;
    let partitions = check_layout(topic)?;
    let value =
        |value: &Option<StrBytes>| value.as_ref().map(ToString::to_string).unwrap_or_default();
    let pairs: Vec<_> = topic
        .configs
        .iter()
        .map(|config| (config.name.to_string(), value(&config.value)))
        .collect();
    let pairs: Vec<_> = pairs
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    if validate_only {
        return context
            .state
            .check_topic(&topic.name, partitions, &pairs)
            .map(|()| None);
    }
    context
        .state
        .create_topic(&topic.name, partitions, &pairs)
        .map(Some)
}

/// The number of partitions asked for, -1 for the default.
fn check_layout(topic: &CreatableTopic) -> Result<i32, ErrorCode> {
    if topic.assignments.is_empty() {
        let fits = matches!(topic.replication_factor, -1 | 1);
        return if fits {
            Ok(topic.num_partitions)
        } else {
            Err(ErrorCode::INVALID_REPLICATION_FACTOR)
        };
    }
    let is_here = |brokers: &[BrokerId]| brokers == [BrokerId(NODE_ID)];
    let mut indexes: Vec<_> = topic
        .assignments
        .iter()
        .map(|assignment| assignment.partition_index)
        .collect();
    indexes.sort_unstable();
    let count = i32::try_from(indexes.len()).map_err(|_| ErrorCode::INVALID_PARTITIONS)?;
    let is_complete = indexes.into_iter().eq(0..count);
    if is_complete
        && topic
            .assignments
            .iter()
            .all(|assignment| is_here(&assignment.broker_ids))
    {
        Ok(count)
    } else {
        Err(ErrorCode::INVALID_REPLICA_ASSIGNMENT)
    }
}

fn created_result(
    context: &Context<'_>,
    asked: &CreatableTopic,
    created: &Result<Option<Arc<Topic>>, ErrorCode>,
) -> CreatableTopicResult {
    let result = CreatableTopicResult::default()
        .with_name(asked.name.clone())
        .with_error_code(code(created));
    let (partitions, id) = match created {
        Ok(Some(topic)) => (topic.partition_count(), topic.id),
        Ok(None) => (
            context.state.partitions_or_default(asked.num_partitions),
            Uuid::nil(),
        ),
        Err(error) => {
            return result
                .with_error_message(Some(text(error.to_string())))
                .with_num_partitions(-1)
                .with_replication_factor(-1);
        }
    };
    let result = result
        .with_num_partitions(partitions)
        .with_replication_factor(1)
        .with_configs(Some(Vec::new()));
    // The id came with version 7 and cannot be encoded before.
    if context.version >= 7 {
        result.with_topic_id(id)
    } else {
        result
    }
}

pub(super) fn delete_topics(
    context: &Context<'_>,
    request: &DeleteTopicsRequest,
) -> DeleteTopicsResponse {
    let by_name = request
        .topic_names
        .iter()
        .map(|name| (name.to_string(), Uuid::nil()));
    let by_either = request.topics.iter().map(|topic| {
        let name = topic
            .name
            .as_ref()
            .map(|name| name.to_string())
            .unwrap_or_default();
        (name, topic.topic_id)
    });
    let delete = |(name, id): (String, Uuid)| {
        let key = TopicKey::new(&name, id);
        let deleted = context
            .allowed()
            .and_then(|()| context.state.delete_topic(&key));
        let (name, id) = match &deleted {
            Ok(topic) => (topic.name.clone(), topic.id),
            Err(_) => (name, id),
        };
        deleted_result(context, name, id, code(&deleted))
    };
    DeleteTopicsResponse::default().with_responses(by_name.chain(by_either).map(delete).collect())
}

fn deleted_result(
    context: &Context<'_>,
    name: String,
    id: Uuid,
    error: i16,
) -> DeletableTopicResult {
    let is_nameless = context.version >= 6 && name.is_empty();
    let result = DeletableTopicResult::default()
        .with_error_code(error)
        .with_name(if is_nameless {
            None
        } else {
            Some(TopicName(text(name)))
        });
    if context.version >= 6 {
        result.with_topic_id(id)
    } else {
        result
    }
}

pub(super) fn describe_configs(
    context: &Context<'_>,
    request: &DescribeConfigsRequest,
) -> DescribeConfigsResponse {
    let results = request
        .resources
        .iter()
        .map(|resource| describe(context, resource))
        .collect();
    DescribeConfigsResponse::default().with_results(results)
}

/// Of other resources than topics nothing can be configured: they are answered empty.
fn describe(context: &Context<'_>, resource: &DescribeConfigsResource) -> DescribeConfigsResult {
    let result = DescribeConfigsResult::default()
        .with_resource_type(resource.resource_type)
        .with_resource_name(resource.resource_name.clone());
    if resource.resource_type != TOPIC_RESOURCE {
        return result;
    }
    let key = TopicKey::new(&resource.resource_name, Uuid::nil());
    let Some(topic) = context.state.topics.find(&key) else {
        return result.with_error_code(key.unknown().0);
    };
    let wanted = &resource.configuration_keys;
    let is_wanted = |described: &Described| {
        wanted
            .as_ref()
            .is_none_or(|names| names.iter().any(|name| name.as_str() == described.name))
    };
    let configs = topic
        .config
        .describe()
        .filter(is_wanted)
        .map(|described| describe_one(context, described));
    result.with_configs(configs.collect())
}

fn describe_one(context: &Context<'_>, described: Described) -> DescribeConfigsResourceResult {
    let result = DescribeConfigsResourceResult::default()
        .with_name(text(described.name))
        .with_value(Some(text(described.value)))
        .with_config_source(if described.is_set {
            SET_FOR_TOPIC
        } else {
            DEFAULT
        });
    // The type came with version 3 and cannot be encoded before.
    if context.version >= 3 {
        result.with_config_type(described.kind)
    } else {
        result
    }
}
