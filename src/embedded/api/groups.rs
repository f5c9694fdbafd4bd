//! The group APIs: requests into calls of the coordinator, its answers into responses.
//!
//! One rule: what differs by version is settled here; the coordinator knows no versions.

use super::{Context, code, text};
use crate::embedded::error::ErrorCode;
use crate::embedded::group::{Committed, JoinRequest, Joined, Speaker, Synced};
use crate::embedded::topics::TopicKey;
use bytes::Bytes;
use kafka_protocol::messages::join_group_response::JoinGroupResponseMember;
use kafka_protocol::messages::leave_group_response::MemberResponse;
use kafka_protocol::messages::offset_commit_response::{
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use kafka_protocol::messages::{
    HeartbeatRequest, HeartbeatResponse, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest,
    LeaveGroupResponse, OffsetCommitRequest, OffsetCommitResponse, OffsetFetchRequest,
    OffsetFetchResponse, SyncGroupRequest, SyncGroupResponse, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

/// What a group keeps is copied: a slice would keep the whole frame that it came in.
fn owned(bytes: &Bytes) -> Bytes {
    Bytes::copy_from_slice(bytes)
}

fn instance(id: Option<&StrBytes>) -> Option<&str> {
    id.map(StrBytes::as_str)
}

pub(super) fn join(context: &Context<'_>, request: &JoinGroupRequest) -> JoinGroupResponse {
    let protocols = request
        .protocols
        .iter()
        .map(|protocol| (protocol.name.to_string(), owned(&protocol.metadata)));
    let has_rebalance_timeout = context.version >= 1;
    let join = JoinRequest {
        group: &request.group_id,
        member_id: &request.member_id,
        instance: instance(request.group_instance_id.as_ref()),
        client_id: &context.client_id,
        protocol_type: &request.protocol_type,
        protocols: protocols.collect(),
        session_timeout_ms: request.session_timeout_ms,
        rebalance_timeout_ms: if has_rebalance_timeout {
            request.rebalance_timeout_ms
        } else {
            request.session_timeout_ms
        },
        must_return: context.version >= 4,
    };
    let refused = context
        .allowed()
        .map_err(|error| (error, request.member_id.to_string()));
    match refused.and_then(|()| context.state.groups.join(join)) {
        Ok(joined) => joined_response(context, joined),
        Err((error, member_id)) => JoinGroupResponse::default()
            .with_error_code(error.0)
            .with_generation_id(-1)
            // Not nullable before version 7.
            .with_protocol_name(Some(text("")))
            .with_member_id(text(member_id)),
    }
}

fn joined_response(context: &Context<'_>, joined: Joined) -> JoinGroupResponse {
    let member = |(id, instance, metadata): (String, Option<String>, Bytes)| {
        let member = JoinGroupResponseMember::default()
            .with_member_id(text(id))
            .with_metadata(metadata);
        if context.version >= 5 {
            member.with_group_instance_id(instance.map(text))
        } else {
            member
        }
    };
    let response = JoinGroupResponse::default()
        .with_generation_id(joined.generation)
        .with_protocol_name(Some(text(joined.protocol)))
        .with_leader(text(joined.leader))
        .with_member_id(text(joined.member_id))
        .with_members(joined.members.into_iter().map(member).collect());
    if context.version >= 7 {
        response.with_protocol_type(Some(text(joined.protocol_type)))
    } else {
        response
    }
}

pub(super) fn sync(context: &Context<'_>, request: &SyncGroupRequest) -> SyncGroupResponse {
    let speaker = Speaker {
        group: &request.group_id,
        generation: request.generation_id,
        member_id: &request.member_id,
        instance: instance(request.group_instance_id.as_ref()),
    };
    let assignments = request.assignments.iter();
    let assignments = assignments
        .map(|each| (each.member_id.to_string(), owned(&each.assignment)))
        .collect();
    match context
        .allowed()
        .and_then(|()| context.state.groups.sync(&speaker, assignments))
    {
        Ok(synced) => synced_response(context, synced),
        Err(error) => SyncGroupResponse::default().with_error_code(error.0),
    }
}

fn synced_response(context: &Context<'_>, synced: Synced) -> SyncGroupResponse {
    let response = SyncGroupResponse::default().with_assignment(synced.assignment);
    if context.version < 5 {
        return response;
    }
    response
        .with_protocol_type(Some(text(synced.protocol_type)))
        .with_protocol_name(Some(text(synced.protocol)))
}

pub(super) fn heartbeat(context: &Context<'_>, request: &HeartbeatRequest) -> HeartbeatResponse {
    let speaker = Speaker {
        group: &request.group_id,
        generation: request.generation_id,
        member_id: &request.member_id,
        instance: instance(request.group_instance_id.as_ref()),
    };
    let beat = context
        .allowed()
        .and_then(|()| context.state.groups.heartbeat(&speaker));
    HeartbeatResponse::default().with_error_code(code(&beat))
}

pub(super) fn leave(context: &Context<'_>, request: &LeaveGroupRequest) -> LeaveGroupResponse {
    let leave = |member_id: &str, instance: Option<&str>| {
        context.allowed().and_then(|()| {
            context
                .state
                .groups
                .leave(&request.group_id, member_id, instance)
        })
    };
    // Until version 2 one member leaves, then several, each with its own answer.
    if context.version < 3 {
        return LeaveGroupResponse::default()
            .with_error_code(code(&leave(&request.member_id, None)));
    }
    let members = request.members.iter().map(|member| {
        let left = leave(
            &member.member_id,
            instance(member.group_instance_id.as_ref()),
        );
        MemberResponse::default()
            .with_member_id(member.member_id.clone())
            .with_group_instance_id(member.group_instance_id.clone())
            .with_error_code(code(&left))
    });
    LeaveGroupResponse::default().with_members(members.collect())
}

pub(super) fn commit(context: &Context<'_>, request: &OffsetCommitRequest) -> OffsetCommitResponse {
    let speaker = Speaker {
        group: &request.group_id,
        generation: request.generation_id_or_member_epoch,
        member_id: &request.member_id,
        instance: instance(request.group_instance_id.as_ref()),
    };
    let mut response = OffsetCommitResponse::default();
    for topic in &request.topics {
        let is_known = context
            .state
            .topics
            .find(&TopicKey::new(&topic.name, Uuid::nil()))
            .is_some();
        let indexes: Vec<_> = topic
            .partitions
            .iter()
            .map(|partition| partition.partition_index)
            .collect();
        let commits = topic.partitions.iter().map(|partition| {
            let committed = Committed {
                offset: partition.committed_offset,
                leader_epoch: partition.committed_leader_epoch,
                metadata: partition
                    .committed_metadata
                    .as_ref()
                    .map(ToString::to_string)
                    .unwrap_or_default(),
            };
            (topic.name.to_string(), partition.partition_index, committed)
        });
        let outcomes = match context.allowed() {
            Err(error) => vec![Err(error); indexes.len()],
            Ok(()) if !is_known => vec![Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION); indexes.len()],
            Ok(()) => context.state.groups.commit(&speaker, commits.collect()),
        };
        let answers = indexes.into_iter().zip(outcomes).map(|(index, outcome)| {
            OffsetCommitResponsePartition::default()
                .with_partition_index(index)
                .with_error_code(code(&outcome))
        });
        let answered = OffsetCommitResponseTopic::default()
            .with_partitions(answers.collect())
            .with_name(topic.name.clone());
        response.topics.push(answered);
    }
    response
}

pub(super) fn fetch_offsets(
    context: &Context<'_>,
    request: &OffsetFetchRequest,
) -> OffsetFetchResponse {
    if context.version < 8 {
        return fetch_offsets_of_one(context, request);
    }
    let groups = request.groups.iter().map(|asked| {
        let topics = asked.topics.as_ref().map(|topics| {
            topics
                .iter()
                .map(|topic| (topic.name.to_string(), topic.partition_indexes.clone()))
                .collect()
        });
        let group = OffsetFetchResponseGroup::default().with_group_id(asked.group_id.clone());
        match context.forced {
            Some(error) => group.with_error_code(error.0),
            None => group.with_topics(several(
                context.state.groups.committed(&asked.group_id, topics),
            )),
        }
    });
    OffsetFetchResponse::default().with_groups(groups.collect())
}

/// Until version 7 one group is asked for, and the structs of its answer have other names.
fn fetch_offsets_of_one(
    context: &Context<'_>,
    request: &OffsetFetchRequest,
) -> OffsetFetchResponse {
    let topics = request.topics.as_ref().map(|topics| {
        topics
            .iter()
            .map(|topic| (topic.name.to_string(), topic.partition_indexes.clone()))
            .collect::<Vec<_>>()
    });
    if let Some(error) = context.forced {
        let response = OffsetFetchResponse::default();
        // Version 1 has no place for it.
        return if context.version >= 2 {
            response.with_error_code(error.0)
        } else {
            response
        };
    }
    let committed = context.state.groups.committed(&request.group_id, topics);
    OffsetFetchResponse::default().with_topics(single(context, committed))
}

fn single(
    context: &Context<'_>,
    topics: Vec<(String, Vec<(i32, Committed)>)>,
) -> Vec<OffsetFetchResponseTopic> {
    let partition = |(index, committed): (i32, Committed)| {
        let partition = OffsetFetchResponsePartition::default()
            .with_partition_index(index)
            .with_committed_offset(committed.offset)
            .with_metadata(Some(text(committed.metadata)));
        // The field came with version 5 and cannot be encoded before.
        if context.version >= 5 {
            partition.with_committed_leader_epoch(committed.leader_epoch)
        } else {
            partition
        }
    };
    let topic = |(name, partitions): (String, Vec<_>)| {
        OffsetFetchResponseTopic::default()
            .with_name(TopicName(text(name)))
            .with_partitions(partitions.into_iter().map(partition).collect())
    };
    topics.into_iter().map(topic).collect()
}

fn several(topics: Vec<(String, Vec<(i32, Committed)>)>) -> Vec<OffsetFetchResponseTopics> {
    let partition = |(index, committed): (i32, Committed)| {
        OffsetFetchResponsePartitions::default()
            .with_partition_index(index)
            .with_committed_offset(committed.offset)
            .with_committed_leader_epoch(committed.leader_epoch)
            .with_metadata(Some(text(committed.metadata)))
    };
    let topic = |(name, partitions): (String, Vec<_>)| {
        OffsetFetchResponseTopics::default()
            .with_name(TopicName(text(name)))
            .with_partitions(partitions.into_iter().map(partition).collect())
    };
    topics.into_iter().map(topic).collect()
}
