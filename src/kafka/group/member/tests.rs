//! A member through the life of its group, answer by answer.

use proptest::prelude::*;

use super::*;
use crate::kafka::group::requests::Call;

const SECOND: Duration = Duration::from_secs(1);

fn key(partition: i32) -> PartitionKey {
    ("items".into(), partition)
}

fn keys(partitions: impl IntoIterator<Item = i32>) -> BTreeSet<PartitionKey> {
    partitions.into_iter().map(key).collect()
}

fn assigned(partitions: impl IntoIterator<Item = i32>, offset: Option<i64>) -> GroupEvent {
    GroupEvent::Assigned(partitions.into_iter().map(|at| (key(at), offset)).collect())
}

fn revoked(partitions: impl IntoIterator<Item = i32>) -> GroupEvent {
    GroupEvent::Revoked(partitions.into_iter().map(key).collect())
}

fn refused(error: ErrorCode) -> Answer {
    Answer::Refused {
        error,
        member_id: String::new(),
    }
}

/// A member, and the time.
struct World {
    member: Member,
    now: Instant,
}

impl World {
    fn new() -> Self {
        let mut member = Member::new(GroupConfig::new("group", ["items".to_owned()]));
        member.handle_counts([("items".into(), 4)].into());
        Self {
            member,
            now: Instant::from_nanos(1),
        }
    }

    /// One that reads partitions 0 and 1, in generation 5.
    fn stable() -> Self {
        let mut world = Self::new();
        world.find();
        world.join(5, [0, 1]);
        world.fetch_offsets(Some(100));
        assert_eq!(world.member.poll_event(), Some(assigned([0, 1], Some(100))));
        world
    }

    fn call(&mut self) -> Call {
        let call = self.member.poll_call(self.now);
        call.unwrap_or_else(|| panic!("nothing to ask: {:?}", self.member))
    }

    /// The next call, after whatever wait it takes.
    fn next_call(&mut self) -> Call {
        loop {
            if let Some(call) = self.member.poll_call(self.now) {
                return call;
            }
            self.now = self.member.poll_timeout();
            assert!(self.now < Instant::FAR_FUTURE, "nothing is waited for");
            self.member.handle_timeout(self.now);
        }
    }

    fn answer(&mut self, answer: Answer) {
        self.member.handle_answer(Ok(answer), self.now);
    }

    fn fail(&mut self) {
        let reason = "it broke".to_owned();
        self.member.handle_answer(Err(reason), self.now);
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.member.handle_timeout(self.now);
    }

    fn find(&mut self) {
        assert_eq!(self.next_call(), Call::FindCoordinator);
        self.answer(Answer::Coordinator(Coordinator {
            host: "broker".to_owned(),
            port: 9092,
        }));
    }

    /// Joins and syncs as one who does not lead; returns what it said it had.
    fn join(&mut self, generation: i32, partitions: impl IntoIterator<Item = i32>) -> Subscription {
        let call = self.next_call();
        self.joined(call, generation, partitions)
    }

    fn joined(
        &mut self,
        call: Call,
        generation: i32,
        partitions: impl IntoIterator<Item = i32>,
    ) -> Subscription {
        let Call::Join { subscription, .. } = call else {
            panic!("{call:?}");
        };
        self.answer(Answer::Joined {
            member_id: "me".to_owned(),
            generation,
            leader: "another".to_owned(),
            members: Vec::new(),
        });
        let Call::Sync {
            speaker,
            assignments,
        } = self.call()
        else {
            panic!("a join is followed by a sync");
        };
        assert_eq!((speaker.generation, assignments.len()), (generation, 0));
        self.answer(Answer::Synced(encode_assignment(&keys(partitions))));
        Subscription::decode(&subscription).unwrap()
    }

    fn fetch_offsets(&mut self, offset: Option<i64>) {
        let Call::FetchOffsets(wanted) = self.call() else {
            panic!("what is new has an offset");
        };
        let offsets = wanted.into_iter().map(|key| (key, Ok(offset)));
        self.answer(Answer::Offsets(offsets.collect()));
    }

    fn beat(&mut self, error: ErrorCode) {
        let call = self.next_call();
        assert!(matches!(call, Call::Heartbeat(_)), "{call:?}");
        self.answer(if error.is_none() {
            Answer::Done
        } else {
            refused(error)
        });
    }

    /// Takes a commit of these and answers it.
    fn commit(&mut self, expected: &[(i32, i64)], error: ErrorCode) {
        let call = self.next_call();
        self.committed(call, expected, error);
    }

    fn committed(&mut self, call: Call, expected: &[(i32, i64)], error: ErrorCode) {
        let Call::Commit { offsets, .. } = call else {
            panic!("{call:?}");
        };
        let expected: Vec<_> = expected
            .iter()
            .map(|(at, offset)| (key(*at), *offset))
            .collect();
        assert_eq!(offsets, expected);
        let outcomes = offsets.into_iter().map(|(key, _)| (key, error));
        self.answer(Answer::Committed(outcomes.collect()));
    }
}

#[test]
fn a_new_member_comes_back_with_its_id_and_begins_at_the_committed_offsets() {
    let mut world = World::new();
    world.find();
    assert!(matches!(world.call(), Call::Join { member_id, .. } if member_id.is_empty()));
    world.answer(Answer::Refused {
        error: ErrorCode::MEMBER_ID_REQUIRED,
        member_id: "me".to_owned(),
    });
    let again = world.call();
    assert!(matches!(&again, Call::Join { member_id, .. } if member_id == "me"));
    let said = world.joined(again, 1, [1, 3]);
    assert_eq!((said.owned.len(), said.generation), (0, None));
    assert_eq!(
        world.member.poll_event(),
        None,
        "without offsets nothing can be read"
    );
    assert_eq!(world.call(), Call::FetchOffsets(vec![key(1), key(3)]));
    world.answer(Answer::Offsets(vec![
        (key(1), Ok(Some(7))),
        (key(3), Ok(None)),
    ]));
    assert!(world.member.take_news());
    assert_eq!(
        world.member.poll_event(),
        Some(GroupEvent::Assigned(vec![
            (key(1), Some(7)),
            (key(3), None)
        ]))
    );
    world.beat(ErrorCode::NONE);
}

#[test]
fn a_rebalance_commits_first_and_tells_only_what_changed() {
    let mut world = World::stable();
    world.commit_now(0, 110);
    world.beat(ErrorCode::REBALANCE_IN_PROGRESS);
    world.member.commit(&key(0), 120);
    let call = world.call();
    world.committed(call, &[(0, 120)], ErrorCode::NONE);
    let said = world.join(6, [1, 2]);
    assert_eq!((said.owned, said.generation), (keys([0, 1]), Some(5)));
    assert_eq!(world.member.poll_event(), Some(revoked([0])));
    world.fetch_offsets(None);
    assert_eq!(world.member.poll_event(), Some(assigned([2], None)));
    assert_eq!(world.member.poll_event(), None);
}

impl World {
    /// A commit that goes out at once.
    fn commit_now(&mut self, partition: i32, offset: i64) {
        assert!(self.member.commit(&key(partition), offset));
        let call = self.call();
        self.committed(call, &[(partition, offset)], ErrorCode::NONE);
    }
}

#[test]
fn commits_made_while_joining_are_sent_for_what_stays() {
    let mut world = World::stable();
    world.beat(ErrorCode::REBALANCE_IN_PROGRESS);
    let join = world.call();
    world.member.commit(&key(0), 110);
    world.member.commit(&key(1), 120);
    world.joined(join, 6, [1]);
    assert_eq!(world.member.poll_event(), Some(revoked([0])));
    world.commit(&[(1, 120)], ErrorCode::NONE);
}

#[test]
fn a_commit_that_is_refused_for_a_rebalance_is_kept() {
    let mut world = World::stable();
    world.member.commit(&key(0), 110);
    let call = world.call();
    world.committed(call, &[(0, 110)], ErrorCode::REBALANCE_IN_PROGRESS);
    world.join(6, [0, 1]);
    world.commit(&[(0, 110)], ErrorCode::NONE);
    assert_eq!(world.member.poll_event(), None, "nothing changed");
}

#[test]
fn a_join_waits_for_one_attempt_to_commit_and_no_longer() {
    let mut world = World::stable();
    world.member.commit(&key(0), 110);
    world.beat_instead_of_commit();
    let call = world.call();
    world.committed(call, &[(0, 110)], ErrorCode::NOT_COORDINATOR);
    world.find();
    world.join(6, [0, 1]);
    world.commit(&[(0, 110)], ErrorCode::NONE);
}

impl World {
    /// A heartbeat is due before the commit, and brings a rebalance.
    fn beat_instead_of_commit(&mut self) {
        self.pass(3 * SECOND);
        self.beat(ErrorCode::REBALANCE_IN_PROGRESS);
    }
}

#[test]
fn who_is_unknown_gives_all_up_and_joins_as_somebody_new() {
    for error in [ErrorCode::UNKNOWN_MEMBER_ID, ErrorCode::FENCED_INSTANCE_ID] {
        let mut world = World::stable();
        world.beat(error);
        world.member.commit(&key(0), 110);
        assert_eq!(world.member.poll_event(), Some(revoked([0, 1])));
        let join = world.next_call();
        assert!(matches!(&join, Call::Join { member_id, .. } if member_id.is_empty()));
        let said = world.joined(join, 9, [0]);
        assert!(said.owned.is_empty());
        world.fetch_offsets(Some(105));
        assert_eq!(world.member.poll_event(), Some(assigned([0], Some(105))));
        assert!(
            !world.member.holdings.has_outstanding(),
            "another may have gone on from there"
        );
    }
}

#[test]
fn who_missed_a_generation_gives_all_up_and_keeps_its_id() {
    let mut world = World::stable();
    world.member.commit(&key(0), 110);
    let call = world.call();
    world.committed(call, &[(0, 110)], ErrorCode::ILLEGAL_GENERATION);
    assert_eq!(world.member.poll_event(), Some(revoked([0, 1])));
    let join = world.next_call();
    assert!(matches!(&join, Call::Join { member_id, .. } if member_id == "me"));
}

#[test]
fn a_coordinator_that_moves_is_found_again_and_nothing_else_changes() {
    for error in [
        ErrorCode::NOT_COORDINATOR,
        ErrorCode::COORDINATOR_NOT_AVAILABLE,
        ErrorCode::COORDINATOR_LOAD_IN_PROGRESS,
    ] {
        let mut world = World::stable();
        world.beat(error);
        assert_eq!(world.member.poll_call(world.now), None, "it backs off");
        world.find();
        world.beat(ErrorCode::NONE);
        assert_eq!(world.member.poll_event(), None);
    }
}

#[test]
fn a_broken_connection_is_made_again_and_beats_go_on_at_once() {
    let mut world = World::stable();
    let before = world.now;
    assert!(matches!(world.next_call(), Call::Heartbeat(_)));
    world.fail();
    world.find();
    world.beat(ErrorCode::NONE);
    assert!(world.now - before < 4 * SECOND);
    assert_eq!(world.member.poll_event(), None);
}

#[test]
fn a_session_without_a_beat_ends_and_takes_everything_with_it() {
    let mut world = World::stable();
    world.beat(ErrorCode::NONE);
    let beaten_at = world.now;
    assert!(matches!(world.next_call(), Call::Heartbeat(_)));
    // The answer never comes.
    assert_eq!(world.member.poll_timeout(), beaten_at + 10 * SECOND);
    world.pass(10 * SECOND);
    assert!(!world.member.is_calling(), "the call is given up");
    assert_eq!(world.member.poll_event(), Some(revoked([0, 1])));
    world.find();
    let join = world.call();
    assert!(matches!(&join, Call::Join { member_id, .. } if member_id == "me"));
    world.joined(join, 8, [0]);
    world.fetch_offsets(None);
    assert_eq!(world.member.poll_event(), Some(assigned([0], None)));
}

#[test]
fn a_join_that_is_waited_for_keeps_the_session_and_one_that_failed_does_not() {
    let mut world = World::stable();
    world.beat(ErrorCode::REBALANCE_IN_PROGRESS);
    assert!(matches!(world.call(), Call::Join { .. }));
    world.pass(25 * SECOND);
    assert_eq!(world.member.poll_event(), None);
    world.fail();
    world.pass(Duration::ZERO);
    assert_eq!(world.member.poll_event(), Some(revoked([0, 1])));
}

#[test]
fn commits_are_gathered_for_the_interval() {
    let mut world = World::stable();
    world.commit_now(0, 101);
    let sent_at = world.now;
    assert!(world.member.commit(&key(0), 102));
    assert!(!world.member.commit(&key(1), 103));
    world.member.commit(&key(0), 90);
    world.member.commit(&key(3), 90);
    assert_eq!(world.member.poll_call(world.now), None);
    world.commit(&[(0, 102), (1, 103)], ErrorCode::NONE);
    assert_eq!(world.now - sent_at, Duration::from_millis(500));
    world.beat(ErrorCode::NONE);
}

#[test]
fn commits_that_are_not_allowed_are_tried_slowly_and_beats_go_on() {
    let mut world = World::stable();
    world.member.commit(&key(0), 101);
    let sent_at = world.now;
    world.commit(&[(0, 101)], ErrorCode::TOPIC_AUTHORIZATION_FAILED);
    world.beat(ErrorCode::NONE);
    assert!(world.member.troubles.of(CallKind::Commit).is_some());
    world.commit(&[(0, 101)], ErrorCode::NONE);
    assert_eq!(world.now - sent_at, SLOW_RETRY);
    assert!(world.member.troubles.of(CallKind::Commit).is_none());
}

#[test]
fn offsets_that_cannot_be_had_yet_are_asked_for_again_while_the_member_beats() {
    let mut world = World::new();
    world.find();
    world.join(1, [0, 1]);
    assert!(matches!(world.call(), Call::FetchOffsets(_)));
    world.answer(Answer::Offsets(vec![
        (key(0), Ok(None)),
        (key(1), Err(ErrorCode::UNKNOWN_SERVER_ERROR)),
    ]));
    assert_eq!(world.member.poll_event(), Some(assigned([0], None)));
    world.beat(ErrorCode::NONE);
    assert_eq!(world.next_call(), Call::FetchOffsets(vec![key(1)]));
    world.answer(Answer::Offsets(vec![(key(1), Ok(Some(3)))]));
    assert_eq!(world.member.poll_event(), Some(assigned([1], Some(3))));
}

#[test]
fn what_was_taken_away_before_its_offsets_came_was_never_assigned() {
    let mut world = World::new();
    world.find();
    world.join(1, [0, 1]);
    assert!(matches!(world.call(), Call::FetchOffsets(_)));
    world.answer(refused(ErrorCode::REBALANCE_IN_PROGRESS));
    let said = world.join(2, [1]);
    assert_eq!(said.owned, keys([0, 1]));
    assert_eq!(world.call(), Call::FetchOffsets(vec![key(1)]));
    assert_eq!(world.member.poll_event(), None);
}

#[test]
fn leaving_commits_first_and_says_nothing_afterwards() {
    let mut world = World::stable();
    world.member.commit(&key(1), 140);
    world.member.leave(world.now);
    world.commit(&[(1, 140)], ErrorCode::NONE);
    assert_eq!(
        world.call(),
        Call::Leave {
            member_id: "me".to_owned()
        }
    );
    world.answer(Answer::Done);
    assert!(world.member.is_left());
    world.member.commit(&key(1), 150);
    world.pass(100 * SECOND);
    assert_eq!(world.member.poll_call(world.now), None);
    assert_eq!(world.member.poll_timeout(), Instant::FAR_FUTURE);
    assert_eq!(world.member.poll_event(), None);
}

#[test]
fn leaving_goes_on_when_commits_are_refused_and_looks_for_a_coordinator_that_moved() {
    let mut world = World::stable();
    world.member.commit(&key(1), 140);
    world.member.leave(world.now);
    world.commit(&[(1, 140)], ErrorCode::NOT_COORDINATOR);
    world.find();
    world.commit(&[(1, 140)], ErrorCode::REBALANCE_IN_PROGRESS);
    assert!(matches!(world.next_call(), Call::Leave { .. }));
    world.fail();
    world.find();
    assert!(matches!(world.next_call(), Call::Leave { .. }));
    world.answer(refused(ErrorCode::UNKNOWN_MEMBER_ID));
    assert!(world.member.is_left());
}

#[test]
fn leaving_does_not_wait_for_commits_that_cannot_be_made() {
    for error in [
        ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
        ErrorCode::TOPIC_AUTHORIZATION_FAILED,
        ErrorCode::ILLEGAL_GENERATION,
    ] {
        let mut world = World::stable();
        world.member.commit(&key(1), 140);
        world.member.leave(world.now);
        world.commit(&[(1, 140)], error);
        assert!(matches!(world.next_call(), Call::Leave { .. }));
    }
}

#[test]
fn leaving_does_not_wait_for_a_join_and_who_never_joined_is_gone_at_once() {
    let mut world = World::stable();
    world.beat(ErrorCode::REBALANCE_IN_PROGRESS);
    assert!(matches!(world.call(), Call::Join { .. }));
    world.member.leave(world.now);
    assert!(!world.member.is_calling());
    assert!(matches!(world.call(), Call::Leave { .. }));

    let mut world = World::new();
    world.member.leave(world.now);
    assert_eq!(world.member.poll_call(world.now), None);
    assert!(world.member.is_left());
}

impl World {
    /// Joins as the leader of itself and another, who has partition 3.
    fn lead(&mut self, generation: i32) -> BTreeMap<String, BTreeSet<PartitionKey>> {
        let Call::Join { subscription, .. } = self.next_call() else {
            panic!("to lead one has to join");
        };
        let another = Subscription {
            topics: ["items".into()].into(),
            owned: keys([3]),
            generation: Some(4),
        };
        self.answer(Answer::Joined {
            member_id: "me".to_owned(),
            generation,
            leader: "me".to_owned(),
            members: vec![
                ("me".to_owned(), subscription),
                ("another".to_owned(), another.encode()),
                ("garbled".to_owned(), Bytes::from_static(&[0xff; 9])),
            ],
        });
        let Call::Sync { assignments, .. } = self.call() else {
            panic!("a join is followed by a sync");
        };
        let assignments: BTreeMap<_, _> = assignments
            .into_iter()
            .map(|(id, bytes)| (id, decode_assignment(&bytes).unwrap()))
            .collect();
        self.answer(Answer::Synced(encode_assignment(&assignments["me"])));
        assignments
    }
}

#[test]
fn a_leader_assigns_for_all_and_again_when_there_are_other_partitions() {
    let mut world = World::new();
    world.find();
    let assignments = world.lead(1);
    assert_eq!(assignments["me"], keys([1, 2]));
    assert_eq!(assignments["another"], keys([0, 3]));
    assert!(assignments["garbled"].is_empty());
    world.fetch_offsets(None);
    world.member.handle_counts([("items".into(), 4)].into());
    world.beat(ErrorCode::NONE);
    world.member.handle_counts([("items".into(), 6)].into());
    let assignments = world.lead(2);
    assert_eq!(assignments["me"], keys([1, 2, 4]));
    assert_eq!(assignments["another"], keys([0, 3, 5]));
}

#[test]
fn one_who_does_not_lead_leaves_other_partitions_to_the_leader() {
    let mut world = World::stable();
    world.member.handle_counts([("items".into(), 6)].into());
    world.beat(ErrorCode::NONE);
}

#[test]
fn a_topic_that_is_not_there_is_assigned_when_it_is() {
    let mut world = World::new();
    world.member.handle_counts([("items".into(), 0)].into());
    world.find();
    assert!(world.lead(1).values().all(BTreeSet::is_empty));
    world.beat(ErrorCode::NONE);
    world.member.handle_counts([("items".into(), 2)].into());
    assert_eq!(world.lead(2)["me"], keys([1]));
}

#[test]
fn the_first_join_waits_for_metadata_but_not_for_ever() {
    let mut world = World::new();
    world.member.handle_counts(Counts::new());
    world.find();
    let found_at = world.now;
    assert_eq!(world.member.poll_call(world.now), None);
    assert!(matches!(world.next_call(), Call::Join { .. }));
    assert_eq!(world.now - found_at, METADATA_WAIT);
}

#[test]
fn what_somebody_has_to_mend_is_tried_slowly() {
    for error in [
        ErrorCode::GROUP_AUTHORIZATION_FAILED,
        ErrorCode::INCONSISTENT_GROUP_PROTOCOL,
        ErrorCode::INVALID_SESSION_TIMEOUT,
        ErrorCode::GROUP_MAX_SIZE_REACHED,
    ] {
        let mut world = World::new();
        world.find();
        let asked_at = world.now;
        assert!(matches!(world.call(), Call::Join { .. }));
        world.answer(refused(error));
        let told = world.member.troubles.of(CallKind::Join);
        assert_eq!(told, Some(&Trouble::Refused(error)));
        assert!(matches!(world.next_call(), Call::Join { .. }));
        assert_eq!(world.now - asked_at, SLOW_RETRY);
    }
}

#[test]
fn an_assignment_that_makes_no_sense_is_none() {
    let mut world = World::new();
    world.find();
    assert!(matches!(world.call(), Call::Join { .. }));
    world.answer(Answer::Joined {
        member_id: "me".to_owned(),
        generation: 1,
        leader: "another".to_owned(),
        members: Vec::new(),
    });
    assert!(matches!(world.call(), Call::Sync { .. }));
    world.answer(Answer::Synced(Bytes::from_static(&[0, 0, 0xff])));
    assert_eq!(world.member.poll_call(world.now), None);
    assert!(matches!(world.next_call(), Call::Join { .. }));
}

/// What may happen to a member.
#[derive(Clone, Debug)]
enum Step {
    Well(Vec<i32>),
    Refuse(i16),
    Fail,
    Pass(u64),
    Commit(i32, i64),
    Counts(i32),
    Take,
    Leave,
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => proptest::collection::vec(0..5_i32, 0..5).prop_map(Step::Well),
        3 => prop_oneof![Just(3), Just(14), Just(15), Just(16), Just(22), Just(25), Just(27), Just(29), Just(30), Just(79), Just(82)]
            .prop_map(Step::Refuse),
        2 => Just(Step::Fail),
        6 => (0..12_000_u64).prop_map(Step::Pass),
        6 => (0..5_i32, 0..1_000_i64).prop_map(|(partition, offset)| Step::Commit(partition, offset)),
        1 => (0..5_i32).prop_map(Step::Counts),
        4 => Just(Step::Take),
        1 => Just(Step::Leave),
    ]
}

/// The answer to a call that goes well.
fn well(call: &Call, partitions: &[i32], generation: &mut i32) -> Answer {
    match call {
        Call::FindCoordinator => Answer::Coordinator(Coordinator {
            host: "broker".to_owned(),
            port: 9092,
        }),
        Call::Join { subscription, .. } => {
            *generation += 1;
            let leader = if partitions.len().is_multiple_of(2) {
                "me"
            } else {
                "another"
            };
            Answer::Joined {
                member_id: "me".to_owned(),
                generation: *generation,
                leader: leader.to_owned(),
                members: vec![("me".to_owned(), subscription.clone())],
            }
        }
        Call::Sync { .. } => Answer::Synced(encode_assignment(&keys(partitions.iter().copied()))),
        Call::FetchOffsets(wanted) => {
            let offsets = wanted.iter().take(partitions.len().max(1));
            Answer::Offsets(offsets.map(|key| (key.clone(), Ok(None))).collect())
        }
        Call::Heartbeat(_) | Call::Leave { .. } => Answer::Done,
        Call::Commit { offsets, .. } => {
            let outcomes = offsets.iter();
            Answer::Committed(
                outcomes
                    .map(|(key, _)| (key.clone(), ErrorCode::NONE))
                    .collect(),
            )
        }
    }
}

proptest! {
    /// Whatever is answered and whenever: events tell a story that makes sense, only what is held is committed, it never asks without a pause, and
    /// one who has left is silent.
    #[test]
    fn whatever_happens_the_member_tells_a_story_that_makes_sense(
        steps in proptest::collection::vec(any_step(), 1..120),
    ) {
        let mut member = Member::new(GroupConfig::new("group", ["items".to_owned()]));
        let mut now = Instant::from_nanos(1);
        let mut calling: Option<Call> = None;
        let mut held: BTreeSet<PartitionKey> = BTreeSet::new();
        let mut generation = 0;
        for step in steps {
            match step {
                Step::Well(partitions) => if let Some(call) = calling.take() {
                    member.handle_answer(Ok(well(&call, &partitions, &mut generation)), now);
                },
                Step::Refuse(error) => if let Some(call) = calling.take() {
                    let error = ErrorCode(error);
                    let answer = match call {
                        Call::Commit { offsets, .. } => Answer::Committed(offsets.into_iter().map(|(key, _)| (key, error)).collect()),
                        _ => Answer::Refused { error, member_id: "given".to_owned() },
                    };
                    member.handle_answer(Ok(answer), now);
                },
                Step::Fail => if calling.take().is_some() {
                    member.handle_answer(Err("broken".to_owned()), now);
                },
                Step::Pass(millis) => now += Duration::from_millis(millis),
                Step::Commit(partition, offset) => { member.commit(&key(partition), offset); }
                Step::Counts(count) => member.handle_counts([("items".into(), count)].into()),
                Step::Take => while let Some(event) = member.poll_event() {
                    match event {
                        GroupEvent::Assigned(partitions) => for (key, _) in partitions {
                            prop_assert!(held.insert(key.clone()), "{key:?} twice");
                        },
                        GroupEvent::Revoked(partitions) => for key in partitions {
                            prop_assert!(held.remove(&key), "{key:?} was not held");
                        },
                    }
                },
                Step::Leave => member.leave(now),
            }
            member.handle_timeout(now);
            if !member.is_calling() {
                calling = None;
            }
            if let Some(call) = member.poll_call(now) {
                prop_assert!(calling.is_none(), "one question at a time");
                if let Call::Commit { offsets, .. } = &call {
                    let holdings = member.holdings.keys();
                    prop_assert!(offsets.iter().all(|(key, _)| holdings.contains(key)));
                }
                calling = Some(call);
            }
            prop_assert!(member.poll_timeout() > now, "it would be asked again at once");
            prop_assert_eq!(calling.is_some(), member.is_calling());
            prop_assert!(!member.is_left() || calling.is_none());
        }
    }
}
