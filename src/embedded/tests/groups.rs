//! Consumer groups over the socket: two members share, offsets are kept, the stop ends all waiting.

use super::client::{Batch, Client, broker, string, topic_name};
use crate::embedded::{Broker, ErrorCode};
use bytes::Bytes;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestGroup;
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    ApiKey, GroupId, HeartbeatRequest, HeartbeatResponse, JoinGroupRequest, JoinGroupResponse,
    LeaveGroupRequest, LeaveGroupResponse, OffsetCommitRequest, OffsetCommitResponse,
    OffsetFetchRequest, OffsetFetchResponse, SyncGroupRequest, SyncGroupResponse,
};
use std::thread;
use std::time::{Duration, Instant};

fn group_id() -> GroupId {
    GroupId(string("g"))
}

fn join_request(member_id: &str, session_timeout_ms: i32) -> JoinGroupRequest {
    let protocol = JoinGroupRequestProtocol::default()
        .with_name(string("range"))
        .with_metadata(Bytes::from_static(b"m"));
    JoinGroupRequest::default()
        .with_group_id(group_id())
        .with_member_id(string(member_id))
        .with_protocol_type(string("consumer"))
        .with_protocols(vec![protocol])
        .with_session_timeout_ms(session_timeout_ms)
        .with_rebalance_timeout_ms(5_000)
}

/// Joins as a new member and, as that asks for, with the id answered.
fn join(client: &mut Client, session_timeout_ms: i32) -> JoinGroupResponse {
    let first: JoinGroupResponse =
        client.call(ApiKey::JoinGroup, 9, &join_request("", session_timeout_ms));
    assert_eq!(ErrorCode(first.error_code), ErrorCode::MEMBER_ID_REQUIRED);
    client.call(
        ApiKey::JoinGroup,
        9,
        &join_request(first.member_id.as_str(), session_timeout_ms),
    )
}

fn sync(client: &mut Client, joined: &JoinGroupResponse) -> SyncGroupResponse {
    let assign =
        |member: &kafka_protocol::messages::join_group_response::JoinGroupResponseMember| {
            let id = member.member_id.clone();
            SyncGroupRequestAssignment::default()
                .with_assignment(Bytes::copy_from_slice(id.as_bytes()))
                .with_member_id(id)
        };
    let request = SyncGroupRequest::default()
        .with_group_id(group_id())
        .with_generation_id(joined.generation_id)
        .with_member_id(joined.member_id.clone())
        .with_assignments(joined.members.iter().map(assign).collect());
    client.call(ApiKey::SyncGroup, 5, &request)
}

fn heartbeat(client: &mut Client, joined: &JoinGroupResponse) -> ErrorCode {
    let request = HeartbeatRequest::default()
        .with_group_id(group_id())
        .with_generation_id(joined.generation_id)
        .with_member_id(joined.member_id.clone());
    let response: HeartbeatResponse = client.call(ApiKey::Heartbeat, 4, &request);
    ErrorCode(response.error_code)
}

/// Two members in a stable group.
fn pair(broker: &Broker) -> [(Client, JoinGroupResponse); 2] {
    let members = [(); 2].map(|()| {
        let mut client = Client::of(broker);
        thread::spawn(move || {
            let joined = join(&mut client, 10_000);
            let synced = sync(&mut client, &joined);
            assert_eq!(synced.error_code, 0);
            assert_eq!(synced.assignment, joined.member_id.as_bytes());
            (client, joined)
        })
    });
    members.map(|member| member.join().unwrap())
}

#[test]
fn two_members_share_a_generation_and_the_leader_assigns() {
    let broker = broker(|_| {});
    let [(mut a, joined_a), (mut b, joined_b)] = pair(&broker);
    assert_eq!(joined_a.generation_id, joined_b.generation_id);
    assert_eq!(joined_a.leader, joined_b.leader);
    assert_eq!(
        joined_a.members.len() + joined_b.members.len(),
        2,
        "only the leader is told the members"
    );
    assert_eq!(heartbeat(&mut a, &joined_a), ErrorCode::NONE);

    let leave = LeaveGroupRequest::default()
        .with_group_id(group_id())
        .with_members(vec![
            kafka_protocol::messages::leave_group_request::MemberIdentity::default()
                .with_member_id(joined_a.member_id.clone()),
        ]);
    let left: LeaveGroupResponse = a.call(ApiKey::LeaveGroup, 5, &leave);
    assert_eq!((left.error_code, left.members[0].error_code), (0, 0));
    assert_eq!(
        heartbeat(&mut b, &joined_b),
        ErrorCode::REBALANCE_IN_PROGRESS
    );
    assert_eq!(heartbeat(&mut a, &joined_a), ErrorCode::UNKNOWN_MEMBER_ID);
    let again: JoinGroupResponse = b.call(
        ApiKey::JoinGroup,
        9,
        &join_request(joined_b.member_id.as_str(), 10_000),
    );
    assert_eq!((again.error_code, again.members.len()), (0, 1));
    assert_eq!(again.generation_id, joined_b.generation_id + 1);
}

#[test]
fn a_silent_member_loses_its_place() {
    let broker = broker(|_| {});
    let mut client = Client::of(&broker);
    let joined = join(&mut client, 200);
    assert_eq!(sync(&mut client, &joined).error_code, 0);
    assert_eq!(heartbeat(&mut client, &joined), ErrorCode::NONE);
    thread::sleep(Duration::from_millis(600));
    assert_eq!(
        heartbeat(&mut client, &joined),
        ErrorCode::UNKNOWN_MEMBER_ID
    );
}

#[test]
fn requests_of_no_member_are_refused() {
    let broker = broker(|_| {});
    let mut client = Client::of(&broker);
    let mut code = |request: &JoinGroupRequest| {
        let response: JoinGroupResponse = client.call(ApiKey::JoinGroup, 9, request);
        ErrorCode(response.error_code)
    };
    assert_eq!(
        code(&join_request("stranger", 1_000)),
        ErrorCode::UNKNOWN_MEMBER_ID
    );
    assert_eq!(
        code(&join_request("", 0)),
        ErrorCode::INVALID_SESSION_TIMEOUT
    );
    assert_eq!(
        code(&join_request("", 1_000).with_group_id(GroupId(string("")))),
        ErrorCode::INVALID_GROUP_ID
    );
    assert_eq!(
        code(&join_request("", 1_000).with_protocols(vec![])),
        ErrorCode::INCONSISTENT_GROUP_PROTOCOL
    );
}

fn commit(
    client: &mut Client,
    generation: i32,
    member: &str,
    topic: &str,
    offset: i64,
) -> ErrorCode {
    let partition = OffsetCommitRequestPartition::default()
        .with_partition_index(0)
        .with_committed_offset(offset)
        .with_committed_metadata(Some(string("note")));
    let topic = OffsetCommitRequestTopic::default()
        .with_name(topic_name(topic))
        .with_partitions(vec![partition]);
    let request = OffsetCommitRequest::default()
        .with_group_id(group_id())
        .with_generation_id_or_member_epoch(generation)
        .with_member_id(string(member))
        .with_topics(vec![topic]);
    let response: OffsetCommitResponse = client.call(ApiKey::OffsetCommit, 8, &request);
    ErrorCode(response.topics[0].partitions[0].error_code)
}

#[test]
fn offsets_are_committed_by_members_and_by_anyone_while_there_are_none() {
    let broker = broker(|_| {});
    broker.create_topic("t", 1, &[]).unwrap();
    let mut client = Client::of(&broker);
    client.produce("t", 0, Batch::of("a"));
    assert_eq!(commit(&mut client, -1, "", "t", 1), ErrorCode::NONE);
    assert_eq!(
        commit(&mut client, -1, "", "none", 1),
        ErrorCode::UNKNOWN_TOPIC_OR_PARTITION
    );
    let all = OffsetFetchRequest::default().with_groups(vec![
        OffsetFetchRequestGroup::default()
            .with_group_id(group_id())
            .with_topics(None),
    ]);
    let fetched: OffsetFetchResponse = client.call(ApiKey::OffsetFetch, 8, &all);
    let partition = &fetched.groups[0].topics[0].partitions[0];
    assert_eq!(
        (
            partition.committed_offset,
            partition.metadata.as_ref().unwrap().as_str()
        ),
        (1, "note")
    );

    let joined = join(&mut client, 10_000);
    sync(&mut client, &joined);
    let (member, generation) = (joined.member_id.as_str(), joined.generation_id);
    assert_eq!(
        commit(&mut client, -1, "", "t", 2),
        ErrorCode::UNKNOWN_MEMBER_ID
    );
    assert_eq!(
        commit(&mut client, generation + 1, member, "t", 2),
        ErrorCode::ILLEGAL_GENERATION
    );
    assert_eq!(
        commit(&mut client, generation, member, "t", 2),
        ErrorCode::NONE
    );

    super::topics::delete(&mut client, "t");
    let fetched: OffsetFetchResponse = client.call(ApiKey::OffsetFetch, 8, &all);
    assert_eq!(
        fetched.groups[0].topics.len(),
        0,
        "the offsets go with the topic"
    );
}

#[test]
fn a_stop_ends_the_wait_of_a_follower() {
    let broker = broker(|_| {});
    let [(mut a, joined_a), (mut b, joined_b)] = pair(&broker);
    let (leader, follower) = if joined_a.members.is_empty() {
        (&mut b, &mut a)
    } else {
        (&mut a, &mut b)
    };
    let (leads, follows) = if joined_a.members.is_empty() {
        (joined_b, joined_a)
    } else {
        (joined_a, joined_b)
    };
    leader.send(
        ApiKey::JoinGroup,
        9,
        &join_request(leads.member_id.as_str(), 10_000),
    );
    follower.send(
        ApiKey::JoinGroup,
        9,
        &join_request(follows.member_id.as_str(), 10_000),
    );
    let joined: JoinGroupResponse = follower.receive(9).unwrap();
    let request = SyncGroupRequest::default()
        .with_group_id(group_id())
        .with_generation_id(joined.generation_id)
        .with_member_id(joined.member_id.clone());
    follower.send(ApiKey::SyncGroup, 5, &request);
    thread::sleep(Duration::from_millis(50));
    let began = Instant::now();
    drop(broker);
    assert!(began.elapsed() < Duration::from_secs(1));
}
