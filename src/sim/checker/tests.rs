//! The checker notices what it is there for.

use std::time::Duration;

use super::*;

const PLACE: Place = Place {
    partition: 0,
    offset: 3,
};

fn checker(acks: Acks) -> Checker {
    let mut checker = Checker::new(1);
    checker.submitted(Submission {
        core: 0,
        topic: "items",
        key: None,
        acks,
        deadline: at(10),
    });
    checker
}

fn at(millis: u64) -> Instant {
    Instant::ZERO + Duration::from_millis(millis)
}

fn stored(offset: i64) -> Change {
    Change {
        place: Place { offset, ..PLACE },
        token: 0,
        is_stored: true,
    }
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "compared with what a record was told"
)]
fn ack(offset: i64) -> Result<Ack, ProduceFault> {
    Ok(Ack {
        partition: 0,
        offset: Some(offset),
    })
}

#[test]
fn the_truth_passes() {
    let mut checker = checker(Acks::InSyncReplicas);
    checker.changed(&stored(3));
    checker.acked(0, "items", 0, 4);
    checker.completed(0, ack(3), at(5));
    checker.step(at(100), 10, 10);
}

#[test]
#[should_panic(expected = "SEED=1: record 0 is stored at")]
fn a_second_copy_is_noticed() {
    let mut checker = checker(Acks::InSyncReplicas);
    checker.changed(&stored(3));
    checker.changed(&stored(4));
}

#[test]
#[should_panic(expected = "after its writer was told Unavailable")]
fn a_copy_after_a_refusal_is_noticed() {
    let mut checker = checker(Acks::LeaderOnly);
    checker.completed(
        0,
        Err(ProduceFault::Unavailable(
            crate::kafka::producer::Unavailable::Deadline,
        )),
        at(5),
    );
    checker.changed(&stored(3));
}

#[test]
#[should_panic(expected = "and its writer is told TooLarge")]
fn a_refusal_after_a_copy_is_noticed() {
    let mut checker = checker(Acks::InSyncReplicas);
    checker.changed(&stored(3));
    checker.completed(0, Err(ProduceFault::TooLarge { batch_bytes_max: 1 }), at(5));
}

#[test]
#[should_panic(expected = "and acknowledged at")]
fn a_wrong_offset_is_noticed() {
    let mut checker = checker(Acks::InSyncReplicas);
    checker.changed(&stored(3));
    checker.acked(0, "items", 0, 5);
    checker.completed(0, ack(4), at(5));
}

#[test]
#[should_panic(expected = "readers were told of 0 only")]
fn an_outcome_before_its_readers_know_is_noticed() {
    let mut checker = checker(Acks::InSyncReplicas);
    checker.changed(&stored(3));
    checker.completed(0, ack(3), at(5));
}

#[test]
#[should_panic(expected = "never stored")]
fn an_invented_success_is_noticed() {
    let mut checker = checker(Acks::InSyncReplicas);
    checker.completed(
        0,
        Ok(Ack {
            partition: 0,
            offset: None,
        }),
        at(5),
    );
}

#[test]
#[should_panic(expected = "and then")]
fn a_second_outcome_is_noticed() {
    let mut checker = checker(Acks::None);
    for _ in 0..2 {
        checker.completed(0, Err(ProduceFault::OutcomeUnknown), at(5));
    }
}

#[test]
#[should_panic(expected = "still waits")]
fn a_missed_deadline_is_noticed() {
    checker(Acks::None).step(at(31), 0, 0);
}
