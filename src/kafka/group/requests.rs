//! What a member asks its coordinator, and what it is answered: the calls as Kafka's messages. Sans-IO.
//!
//! Rule: what is said here can be said in every version that [`super::super::wire`] speaks.

use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestTopic;
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    FindCoordinatorRequest, FindCoordinatorResponse, GroupId, HeartbeatRequest, JoinGroupRequest,
    JoinGroupResponse, LeaveGroupRequest, LeaveGroupResponse, OffsetCommitRequest,
    OffsetCommitResponse, OffsetFetchRequest, OffsetFetchResponse, SyncGroupRequest,
    SyncGroupResponse,
};
use kafka_protocol::protocol::StrBytes;

use super::GroupConfig;
use super::subscription::by_topic;
use crate::kafka::error_code::ErrorCode;
use crate::kafka::fetcher::PartitionKey;
use crate::kafka::metadata::topic_name;

/// What the groups of consumers are called; tools look into those.
const PROTOCOL_TYPE: StrBytes = StrBytes::from_static_str("consumer");
/// Our assignor. Members with others cannot be in the same group.
const PROTOCOL: StrBytes = StrBytes::from_static_str("sluice-sticky");

/// The broker that keeps the group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Coordinator {
    pub(super) host: String,
    pub(super) port: u16,
}

/// Who speaks, in every request after the join.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Speaker {
    pub(super) member_id: String,
    pub(super) generation: i32,
}

/// A question to be asked. All but the first are for the coordinator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Call {
    /// Any broker: who is the coordinator?
    FindCoordinator,
    /// To be in the next generation; answered when it begins. A new member has no id.
    Join {
        member_id: String,
        subscription: Bytes,
    },
    /// The assignment of this generation; the leader brings those of all members.
    Sync {
        speaker: Speaker,
        assignments: Vec<(String, Bytes)>,
    },
    /// The committed offsets of these.
    FetchOffsets(Vec<PartitionKey>),
    /// The member is alive; is the generation?
    Heartbeat(Speaker),
    /// These are done with up to these offsets.
    Commit {
        speaker: Speaker,
        offsets: Vec<(PartitionKey, i64)>,
    },
    /// The member goes.
    Leave { member_id: String },
}

/// A [`Call`] without what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum CallKind {
    FindCoordinator,
    Join,
    Sync,
    FetchOffsets,
    Heartbeat,
    Commit,
    Leave,
}

impl Call {
    pub(super) const fn kind(&self) -> CallKind {
        match self {
            Self::FindCoordinator => CallKind::FindCoordinator,
            Self::Join { .. } => CallKind::Join,
            Self::Sync { .. } => CallKind::Sync,
            Self::FetchOffsets(_) => CallKind::FetchOffsets,
            Self::Heartbeat(_) => CallKind::Heartbeat,
            Self::Commit { .. } => CallKind::Commit,
            Self::Leave { .. } => CallKind::Leave,
        }
    }
}

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// To [`Call::FindCoordinator`].
    Coordinator(Coordinator),
    /// To [`Call::Join`].
    Joined {
        member_id: String,
        generation: i32,
        leader: String,
        /// For the leader: all members and their subscriptions.
        members: Vec<(String, Bytes)>,
    },
    /// To [`Call::Sync`]: the assignment.
    Synced(Bytes),
    /// To [`Call::FetchOffsets`].
    Offsets(Vec<(PartitionKey, Result<Option<i64>, ErrorCode>)>),
    /// To [`Call::Heartbeat`] and [`Call::Leave`].
    Done,
    /// To [`Call::Commit`].
    Committed(Vec<(PartitionKey, ErrorCode)>),
    /// To any: nothing was done.
    Refused {
        error: ErrorCode,
        /// For a new member: the id to come back with.
        member_id: String,
    },
}

fn refused(error: ErrorCode) -> Answer {
    Answer::Refused {
        error,
        member_id: String::new(),
    }
}

fn string(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn group_id(config: &GroupConfig) -> GroupId {
    GroupId(string(&config.group_id))
}

fn millis(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)
}

pub(super) fn find_coordinator(config: &GroupConfig) -> FindCoordinatorRequest {
    FindCoordinatorRequest::default().with_key(string(&config.group_id))
}

pub(super) fn coordinator(response: &FindCoordinatorResponse) -> Answer {
    let error = ErrorCode(response.error_code);
    match u16::try_from(response.port) {
        Ok(port) if error.is_none() => Answer::Coordinator(Coordinator {
            host: response.host.to_string(),
            port,
        }),
        Err(_) if error.is_none() => refused(ErrorCode::COORDINATOR_NOT_AVAILABLE),
        Ok(_) | Err(_) => refused(error),
    }
}

pub(super) fn join(config: &GroupConfig, member_id: &str, subscription: Bytes) -> JoinGroupRequest {
    let protocol = JoinGroupRequestProtocol::default()
        .with_name(PROTOCOL)
        .with_metadata(subscription);
    JoinGroupRequest::default()
        .with_group_id(group_id(config))
        .with_session_timeout_ms(millis(config.session_timeout))
        .with_rebalance_timeout_ms(millis(config.rebalance_timeout))
        .with_member_id(string(member_id))
        .with_protocol_type(PROTOCOL_TYPE)
        .with_protocols(vec![protocol])
}

pub(super) fn joined(response: JoinGroupResponse) -> Answer {
    let error = ErrorCode(response.error_code);
    let member_id = response.member_id.to_string();
    if !error.is_none() {
        return Answer::Refused { error, member_id };
    }
    let members = response.members.into_iter();
    Answer::Joined {
        member_id,
        generation: response.generation_id,
        leader: response.leader.to_string(),
        members: members
            .map(|member| (member.member_id.to_string(), member.metadata))
            .collect(),
    }
}

pub(super) fn sync(
    config: &GroupConfig,
    speaker: &Speaker,
    assignments: Vec<(String, Bytes)>,
) -> SyncGroupRequest {
    let assignments = assignments.into_iter().map(|(member_id, assignment)| {
        SyncGroupRequestAssignment::default()
            .with_member_id(StrBytes::from_string(member_id))
            .with_assignment(assignment)
    });
    SyncGroupRequest::default()
        .with_group_id(group_id(config))
        .with_generation_id(speaker.generation)
        .with_member_id(string(&speaker.member_id))
        .with_protocol_type(Some(PROTOCOL_TYPE))
        .with_protocol_name(Some(PROTOCOL))
        .with_assignments(assignments.collect())
}

pub(super) fn synced(response: SyncGroupResponse) -> Answer {
    match ErrorCode(response.error_code) {
        ErrorCode::NONE => Answer::Synced(response.assignment),
        error => refused(error),
    }
}

pub(super) fn heartbeat(config: &GroupConfig, speaker: &Speaker) -> HeartbeatRequest {
    HeartbeatRequest::default()
        .with_group_id(group_id(config))
        .with_generation_id(speaker.generation)
        .with_member_id(string(&speaker.member_id))
}

/// The answer to what is only done or not.
pub(super) fn done(error_code: i16) -> Answer {
    match ErrorCode(error_code) {
        ErrorCode::NONE => Answer::Done,
        error => refused(error),
    }
}

pub(super) fn leave(config: &GroupConfig, member_id: &str) -> LeaveGroupRequest {
    LeaveGroupRequest::default()
        .with_group_id(group_id(config))
        .with_members(vec![
            MemberIdentity::default().with_member_id(string(member_id)),
        ])
}

pub(super) fn left(response: &LeaveGroupResponse) -> Answer {
    let member = response.members.first();
    let of_member = member.map_or(0, |member| member.error_code);
    done(if response.error_code == 0 {
        of_member
    } else {
        response.error_code
    })
}

pub(super) fn commit(
    config: &GroupConfig,
    speaker: &Speaker,
    offsets: &[(PartitionKey, i64)],
) -> OffsetCommitRequest {
    let mut topics: Vec<OffsetCommitRequestTopic> = Vec::new();
    for ((topic, partition), offset) in offsets {
        let partition = OffsetCommitRequestPartition::default()
            .with_partition_index(*partition)
            .with_committed_offset(*offset)
            .with_committed_metadata(Some(StrBytes::from_static_str("")));
        match topics.last_mut().filter(|last| **topic == *last.name.0) {
            Some(last) => last.partitions.push(partition),
            None => topics.push(
                OffsetCommitRequestTopic::default()
                    .with_name(topic_name(topic))
                    .with_partitions(vec![partition]),
            ),
        }
    }
    OffsetCommitRequest::default()
        .with_group_id(group_id(config))
        .with_generation_id_or_member_epoch(speaker.generation)
        .with_member_id(string(&speaker.member_id))
        .with_topics(topics)
}

pub(super) fn committed(response: &OffsetCommitResponse) -> Answer {
    let topics = response.topics.iter();
    let partitions = topics.flat_map(|topic| {
        topic.partitions.iter().map(|partition| {
            let key = (topic.name.0.as_str().into(), partition.partition_index);
            (key, ErrorCode(partition.error_code))
        })
    });
    Answer::Committed(partitions.collect())
}

pub(super) fn fetch_offsets(config: &GroupConfig, wanted: &[PartitionKey]) -> OffsetFetchRequest {
    let topics = by_topic(wanted.iter()).into_iter();
    let topics = topics.map(|(topic, partitions)| {
        OffsetFetchRequestTopic::default()
            .with_name(topic_name(&topic))
            .with_partition_indexes(partitions)
    });
    OffsetFetchRequest::default()
        .with_group_id(group_id(config))
        .with_topics(Some(topics.collect()))
}

pub(super) fn offsets(response: &OffsetFetchResponse) -> Answer {
    let error = ErrorCode(response.error_code);
    if !error.is_none() {
        return refused(error);
    }
    let topics = response.topics.iter();
    let partitions = topics.flat_map(|topic| {
        topic.partitions.iter().map(|partition| {
            let key = (topic.name.0.as_str().into(), partition.partition_index);
            let offset = match ErrorCode(partition.error_code) {
                // -1: nothing is committed.
                ErrorCode::NONE => Ok(Some(partition.committed_offset).filter(|at| *at >= 0)),
                error => Err(error),
            };
            (key, offset)
        })
    });
    Answer::Offsets(partitions.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::wire::encode_request;
    use bytes::BytesMut;
    use kafka_protocol::protocol::Request;

    fn encodes<R: Request>(request: &R, versions: std::ops::RangeInclusive<i16>) {
        for version in versions {
            let mut out = BytesMut::new();
            encode_request(&mut out, 1, version, request)
                .unwrap_or_else(|fault| panic!("API {} in {version}: {fault}", R::KEY));
        }
    }

    #[test]
    fn every_request_can_be_said_in_every_version_that_we_speak() {
        let config = GroupConfig::new("group", ["items".to_owned()]);
        let speaker = Speaker {
            member_id: "me".to_owned(),
            generation: 3,
        };
        let keys: Vec<PartitionKey> = vec![("items".into(), 0), ("items".into(), 2)];
        let offsets: Vec<_> = keys.iter().map(|key| (key.clone(), 7)).collect();
        encodes(&find_coordinator(&config), 0..=3);
        encodes(&join(&config, "me", Bytes::from_static(b"s")), 1..=9);
        let assignments = vec![("me".to_owned(), Bytes::from_static(b"a"))];
        encodes(&sync(&config, &speaker, assignments), 0..=5);
        encodes(&heartbeat(&config, &speaker), 0..=4);
        encodes(&leave(&config, "me"), 3..=5);
        encodes(&commit(&config, &speaker, &offsets), 2..=8);
        encodes(&fetch_offsets(&config, &keys), 2..=7);
    }

    #[test]
    fn a_coordinator_without_an_address_is_none() {
        let response = FindCoordinatorResponse::default().with_port(-1);
        assert_eq!(
            coordinator(&response),
            refused(ErrorCode::COORDINATOR_NOT_AVAILABLE)
        );
    }
}
