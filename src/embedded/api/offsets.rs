//! `ListOffsets`: the first and last offset of partitions, and offsets by time.
//!
//! One rule: a special timestamp is answered without one, as Kafka does.

use super::Context;
use crate::embedded::LEADER_EPOCH;
use crate::embedded::error::ErrorCode;
use crate::embedded::log::{Found, Log};
use crate::embedded::sync::lock;
use crate::embedded::topics::{Topic, TopicKey};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};
use kafka_protocol::messages::{ListOffsetsRequest, ListOffsetsResponse};
use uuid::Uuid;

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
/// The record with the greatest timestamp, since version 7.
const NEWEST_TIME: i64 = -3;
/// The earliest offset on local disk, since version 8; here everything is.
const EARLIEST_LOCAL: i64 = -4;

/// "No record" and "no timestamp".
const NOTHING: Found = Found {
    offset: -1,
    timestamp: -1,
};

/// The isolation level makes no difference: without transactions the last stable offset is the high watermark.
pub(super) fn list_offsets(
    context: &Context<'_>,
    request: &ListOffsetsRequest,
) -> ListOffsetsResponse {
    let topics = request
        .topics
        .iter()
        .map(|topic| list_topic(context, topic))
        .collect();
    ListOffsetsResponse::default().with_topics(topics)
}

fn list_topic(context: &Context<'_>, asked: &ListOffsetsTopic) -> ListOffsetsTopicResponse {
    let key = TopicKey::new(&asked.name, Uuid::nil());
    let topic = context
        .allowed()
        .and_then(|()| context.state.topics.find(&key).ok_or(key.unknown()));
    let answer = |partition: &ListOffsetsPartition| {
        let found = topic
            .as_ref()
            .map_err(|error| *error)
            .and_then(|topic| find(topic, partition));
        let response =
            ListOffsetsPartitionResponse::default().with_partition_index(partition.partition_index);
        match found {
            Ok(found) => respond(response, found, context.version),
            Err(error) => respond(response, NOTHING, context.version).with_error_code(error.0),
        }
    };
    let partitions = asked.partitions.iter().map(answer).collect();
    ListOffsetsTopicResponse::default()
        .with_name(asked.name.clone())
        .with_partitions(partitions)
}

fn respond(
    response: ListOffsetsPartitionResponse,
    found: Found,
    version: i16,
) -> ListOffsetsPartitionResponse {
    // The field came with version 4 and cannot be encoded before.
    let has_epoch = version >= 4 && found.offset >= 0;
    response
        .with_offset(found.offset)
        .with_timestamp(found.timestamp)
        .with_leader_epoch(if has_epoch { LEADER_EPOCH } else { -1 })
}

fn find(topic: &Topic, asked: &ListOffsetsPartition) -> Result<Found, ErrorCode> {
    let log = topic
        .log(asked.partition_index)
        .ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
    if asked.current_leader_epoch > LEADER_EPOCH {
        return Err(ErrorCode::UNKNOWN_LEADER_EPOCH);
    }
    let log: &Log = &lock(log);
    let at = |offset| Found { offset, ..NOTHING };
    match asked.timestamp {
        LATEST => Ok(at(log.next_offset())),
        EARLIEST | EARLIEST_LOCAL => Ok(at(log.start_offset())),
        NEWEST_TIME => Ok(log.find_newest_time().unwrap_or(NOTHING)),
        timestamp if timestamp >= 0 => Ok(log.find_time(timestamp).unwrap_or(NOTHING)),
        _ => Err(ErrorCode::UNSUPPORTED_VERSION),
    }
}
