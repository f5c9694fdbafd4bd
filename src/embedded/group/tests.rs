//! One group as a state machine: time goes by as the tests say.

use super::membership::*;
use crate::embedded::error::ErrorCode;
use bytes::Bytes;
use std::time::{Duration, Instant};

const SECOND: Duration = Duration::from_secs(1);

fn join(id: &str, fresh: &str) -> Join {
    Join {
        member_id: id.to_owned(),
        instance: None,
        protocol_type: "consumer".to_owned(),
        protocols: vec![("range".to_owned(), Bytes::new())],
        session_timeout: 10 * SECOND,
        rebalance_timeout: 60 * SECOND,
        fresh_id: fresh.to_owned(),
        must_return: false,
    }
}

fn stable(now: Instant) -> Group {
    let mut group = Group::default();
    group.join(join("", "a"), now).unwrap();
    group.join(join("", "b"), now).unwrap();
    assert!(group.expire(now + INITIAL_DELAY));
    group.sync("a", vec![("b".to_owned(), Bytes::from_static(b"0"))], now);
    assert_eq!((group.phase, group.generation), (Phase::Stable, 1));
    group
}

#[test]
fn members_that_join_together_share_a_generation() {
    let group = stable(Instant::now());
    assert_eq!(group.leader, "a");
    assert_eq!(group.protocol, "range");
    assert_eq!(group.assignment("b"), Ok(Bytes::from_static(b"0")));
}

#[test]
fn a_newcomer_makes_everyone_join_again() {
    let now = Instant::now();
    let mut group = stable(now);
    group.join(join("", "c"), now).unwrap();
    assert!(group.is_joining(1));
    group.join(join("a", ""), now).unwrap();
    group.join(join("b", ""), now).unwrap();
    assert_eq!(
        (group.phase, group.generation, group.members.len()),
        (Phase::Syncing, 2, 3)
    );
}

#[test]
fn a_silent_member_expires_and_the_rest_rebalances() {
    let now = Instant::now();
    let mut group = stable(now);
    let later = now + 9 * SECOND;
    group.check("a", None, 1, later).unwrap();
    assert!(!group.expire(later));
    assert!(group.expire(now + 11 * SECOND));
    assert_eq!((group.phase, group.members.len()), (Phase::Joining, 1));
    group.join(join("a", ""), now + 11 * SECOND).unwrap();
    assert_eq!((group.phase, group.generation), (Phase::Syncing, 2));
}

#[test]
fn a_member_that_does_not_come_back_is_left_behind() {
    let now = Instant::now();
    let mut group = stable(now);
    group.join(join("", "c"), now).unwrap();
    group.join(join("a", ""), now).unwrap();
    assert!(!group.expire(now + 9 * SECOND));
    assert!(group.expire(now + 11 * SECOND));
    assert_eq!((group.phase, group.members.len()), (Phase::Syncing, 2));
    assert_eq!(group.assignment("b"), Err(ErrorCode::UNKNOWN_MEMBER_ID));
}

#[test]
fn a_follower_that_waits_for_the_leader_does_not_expire_and_a_dead_leader_does() {
    let now = Instant::now();
    let mut group = stable(now);
    group.join(join("a", ""), now).unwrap();
    group.join(join("b", ""), now).unwrap();
    group.sync("b", Vec::new(), now);
    assert!(group.expire(now + 11 * SECOND));
    assert!(group.members.contains_key("b") && !group.members.contains_key("a"));
    assert_eq!(group.phase, Phase::Joining);
}

#[test]
fn a_new_member_has_to_return_with_its_id() {
    let now = Instant::now();
    let mut group = Group::default();
    let first = group.join(
        Join {
            must_return: true,
            ..join("", "a")
        },
        now,
    );
    assert_eq!(
        first,
        Err(Refused(ErrorCode::MEMBER_ID_REQUIRED, "a".to_owned()))
    );
    assert_eq!(group.join(join("a", ""), now), Ok("a".to_owned()));
    let stranger = group.join(join("x", ""), now);
    assert_eq!(
        stranger,
        Err(Refused(ErrorCode::UNKNOWN_MEMBER_ID, "x".to_owned()))
    );
}

#[test]
fn a_static_member_that_restarts_fences_its_former_self() {
    let now = Instant::now();
    let mut group = Group::default();
    let instance = || Some("i".to_owned());
    group
        .join(
            Join {
                instance: instance(),
                ..join("", "a")
            },
            now,
        )
        .unwrap();
    group.expire(now + INITIAL_DELAY);
    group
        .join(
            Join {
                instance: instance(),
                ..join("", "b")
            },
            now,
        )
        .unwrap();
    assert_eq!(
        group.check("a", Some("i"), 1, now).err(),
        Some(ErrorCode::FENCED_INSTANCE_ID)
    );
    assert_eq!(group.leave("", Some("i"), now), Ok(()));
    assert_eq!(group.phase, Phase::Empty);
}

#[test]
fn a_protocol_that_nobody_else_knows_is_refused() {
    let now = Instant::now();
    let mut group = stable(now);
    let odd = Join {
        protocols: vec![("odd".to_owned(), Bytes::new())],
        ..join("", "c")
    };
    assert_eq!(
        group.join(odd, now),
        Err(Refused(
            ErrorCode::INCONSISTENT_GROUP_PROTOCOL,
            String::new()
        ))
    );
    assert_eq!(group.phase, Phase::Stable);
}

#[test]
fn a_follower_that_asks_again_does_not_start_a_rebalance() {
    let now = Instant::now();
    let mut group = stable(now);
    assert_eq!(group.join(join("b", ""), now), Ok("b".to_owned()));
    assert_eq!((group.phase, group.generation), (Phase::Stable, 1));
}
