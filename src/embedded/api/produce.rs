//! Produce and `InitProducerId`.
//!
//! One rule: a partition's outcome is its own; one that fails does not stop the others.

use super::{Context, code};
use crate::embedded::error::ErrorCode;
use crate::embedded::log::Appended;
use crate::embedded::sync::lock;
use crate::embedded::topics::{Topic, TopicKey};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use kafka_protocol::messages::{
    InitProducerIdRequest, InitProducerIdResponse, ProduceRequest, ProduceResponse,
};
use std::sync::Arc;

const ACKS_ALL: i16 = -1;

/// What a produce request comes to.
pub(super) enum Produced {
    Answer(ProduceResponse),
    /// Stored, and the client wants no answer.
    Silent,
    /// Something was not stored and no answer can say so: closing the connection does.
    SilentFailure,
}

pub(super) fn produce(context: &Context<'_>, request: &ProduceRequest) -> Produced {
    let acks = request.acks;
    let allowed = check(context, request);
    let answer = |topic| produce_topic(context, topic, acks, allowed);
    let responses: Vec<_> = request.topic_data.iter().map(answer).collect();
    let mut partitions = responses
        .iter()
        .flat_map(|topic| &topic.partition_responses);
    match acks {
        0 if partitions.any(|partition| partition.error_code != 0) => Produced::SilentFailure,
        0 => Produced::Silent,
        _ => Produced::Answer(ProduceResponse::default().with_responses(responses)),
    }
}

fn check(context: &Context<'_>, request: &ProduceRequest) -> Result<(), ErrorCode> {
    context.allowed()?;
    if !(ACKS_ALL..=1).contains(&request.acks) {
        return Err(ErrorCode::INVALID_REQUIRED_ACKS);
    }
    match request.transactional_id {
        Some(_) => Err(ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED),
        None => Ok(()),
    }
}

fn produce_topic(
    context: &Context<'_>,
    data: &TopicProduceData,
    acks: i16,
    allowed: Result<(), ErrorCode>,
) -> TopicProduceResponse {
    let key = TopicKey::new(&data.name, data.topic_id);
    let topic = allowed.and_then(|()| context.state.topics.find(&key).ok_or(key.unknown()));
    let answer = |partition: &PartitionProduceData| {
        let index = partition.index;
        let appended = topic
            .as_ref()
            .map_err(|error| *error)
            .and_then(|topic| append(context, topic, partition, acks));
        let response = PartitionProduceResponse::default()
            .with_index(index)
            .with_error_code(code(&appended))
            .with_log_append_time_ms(-1);
        match appended {
            Ok(at) => response
                .with_base_offset(at.base_offset)
                .with_log_start_offset(at.log_start_offset),
            Err(_) => response.with_base_offset(-1).with_log_start_offset(-1),
        }
    };
    TopicProduceResponse::default()
        .with_partition_responses(data.partition_data.iter().map(answer).collect())
        .with_name(data.name.clone())
        .with_topic_id(data.topic_id)
}

fn append(
    context: &Context<'_>,
    topic: &Arc<Topic>,
    data: &PartitionProduceData,
    acks: i16,
) -> Result<Appended, ErrorCode> {
    let log = topic
        .log(data.index)
        .ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
    if acks == ACKS_ALL && topic.config.insync_replicas_min() > 1 {
        return Err(ErrorCode::NOT_ENOUGH_REPLICAS);
    }
    let records = data.records.as_ref().ok_or(ErrorCode::INVALID_RECORD)?;
    lock(log).append(records, context.state.now_ms(), context.disk)
}

/// Gives out producer ids for idempotence; transactions are refused.
pub(super) fn init_producer_id(
    context: &Context<'_>,
    request: &InitProducerIdRequest,
) -> InitProducerIdResponse {
    let refused = match request.transactional_id {
        Some(_) => Err(ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED),
        None => context.allowed(),
    };
    match refused {
        Ok(()) => InitProducerIdResponse::default()
            .with_producer_id(context.state.next_producer_id().into())
            .with_producer_epoch(0),
        Err(error) => InitProducerIdResponse::default()
            .with_error_code(error.0)
            .with_producer_id((-1).into())
            .with_producer_epoch(-1),
    }
}
