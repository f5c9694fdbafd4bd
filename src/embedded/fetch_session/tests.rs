//! Incremental fetch sessions, driven without a broker.

use super::*;

fn wish(partition: i32) -> Wish {
    let key = PartitionKey {
        topic: TopicKey::Name("t".to_owned()),
        partition,
    };
    Wish {
        key,
        fetch_offset: 0,
        bytes_max: 1 << 20,
        leader_epoch: -1,
    }
}

fn request(id: i32, epoch: i32, partitions: &[i32], forgotten: &[i32]) -> SessionRequest {
    SessionRequest {
        id,
        epoch,
        uses_topic_ids: false,
        wishes: partitions.iter().copied().map(wish).collect(),
        forgotten: forgotten
            .iter()
            .map(|partition| wish(*partition).key)
            .collect(),
    }
}

fn told(high_watermark: i64, has_records: bool) -> Told {
    Told {
        error: ErrorCode::NONE,
        high_watermark,
        log_start_offset: 0,
        has_records,
    }
}

fn opened(sessions: &mut FetchSessions, partitions: &[i32]) -> i32 {
    let plan = sessions.begin(request(0, 0, partitions, &[])).unwrap();
    let answers = vec![told(0, false); partitions.len()];
    sessions.end(plan, &answers).unwrap().session_id
}

fn partitions(plan: &Plan) -> Vec<i32> {
    plan.wishes.iter().map(|wish| wish.key.partition).collect()
}

#[test]
fn an_incremental_answer_holds_only_what_is_news() {
    let mut sessions = FetchSessions::new(4);
    let id = opened(&mut sessions, &[0, 1, 2]);
    let plan = sessions.begin(request(id, 1, &[], &[])).unwrap();
    assert_eq!(partitions(&plan), [0, 1, 2]);
    let verdict = sessions
        .end(plan, &[told(5, true), told(0, false), told(7, false)])
        .unwrap();
    assert_eq!(
        verdict,
        Verdict {
            session_id: id,
            is_sent: vec![true, false, true]
        }
    );
    let plan = sessions.begin(request(id, 2, &[], &[])).unwrap();
    assert_eq!(
        partitions(&plan),
        [1, 2, 0],
        "the one that had records goes last"
    );
    let verdict = sessions
        .end(plan, &[told(0, false), told(7, false), told(5, false)])
        .unwrap();
    assert_eq!(verdict.is_sent, [false, false, false]);
}

#[test]
fn an_error_is_told_each_time_and_its_end_too() {
    let mut sessions = FetchSessions::new(4);
    let id = opened(&mut sessions, &[0]);
    let error = Told {
        error: ErrorCode::OFFSET_OUT_OF_RANGE,
        ..told(0, false)
    };
    for (epoch, answer, news) in [
        (1, error, true),
        (2, error, true),
        (3, told(0, false), true),
        (4, told(0, false), false),
    ] {
        let plan = sessions.begin(request(id, epoch, &[], &[])).unwrap();
        assert_eq!(
            sessions.end(plan, &[answer]).unwrap().is_sent,
            [news],
            "epoch {epoch}"
        );
    }
}

#[test]
fn partitions_come_and_go() {
    let mut sessions = FetchSessions::new(4);
    let id = opened(&mut sessions, &[0, 1]);
    let plan = sessions.begin(request(id, 1, &[2], &[0])).unwrap();
    assert_eq!(partitions(&plan), [1, 2]);
    let plan = sessions.begin(request(id, 2, &[], &[1, 2])).unwrap();
    assert_eq!(sessions.end(plan, &[]).unwrap().session_id, NO_SESSION);
    assert_eq!(
        sessions.begin(request(id, 3, &[], &[])).unwrap_err(),
        ErrorCode::FETCH_SESSION_ID_NOT_FOUND
    );
}

#[test]
fn a_wrong_epoch_an_unknown_id_and_a_closed_session_are_refused() {
    let mut sessions = FetchSessions::new(4);
    let id = opened(&mut sessions, &[0]);
    assert_eq!(
        sessions.begin(request(id, 2, &[], &[])).unwrap_err(),
        ErrorCode::INVALID_FETCH_SESSION_EPOCH
    );
    assert_eq!(
        sessions.begin(request(id ^ 1, 1, &[], &[])).unwrap_err(),
        ErrorCode::FETCH_SESSION_ID_NOT_FOUND
    );
    let ids = SessionRequest {
        uses_topic_ids: true,
        ..request(id, 1, &[], &[])
    };
    assert_eq!(
        sessions.begin(ids).unwrap_err(),
        ErrorCode::FETCH_SESSION_TOPIC_ID_ERROR
    );
    sessions.begin(request(id, FINAL_EPOCH, &[0], &[])).unwrap();
    assert_eq!(
        sessions.begin(request(id, 1, &[], &[])).unwrap_err(),
        ErrorCode::FETCH_SESSION_ID_NOT_FOUND
    );
}

#[test]
fn two_requests_at_once_on_a_session_cannot_both_be_answered() {
    let mut sessions = FetchSessions::new(4);
    let id = opened(&mut sessions, &[0]);
    let first = sessions.begin(request(id, 1, &[], &[])).unwrap();
    let second = sessions.begin(request(id, 2, &[], &[])).unwrap();
    assert_eq!(
        sessions.end(first, &[told(0, false)]),
        Err(ErrorCode::INVALID_FETCH_SESSION_EPOCH)
    );
    assert!(sessions.end(second, &[told(0, false)]).is_ok());
}

#[test]
fn the_session_used_longest_ago_is_evicted() {
    let mut sessions = FetchSessions::new(2);
    let (first, second) = (opened(&mut sessions, &[0]), opened(&mut sessions, &[0]));
    sessions.begin(request(first, 1, &[], &[])).unwrap();
    let third = opened(&mut sessions, &[0]);
    assert_eq!(
        sessions.begin(request(second, 1, &[], &[])).unwrap_err(),
        ErrorCode::FETCH_SESSION_ID_NOT_FOUND
    );
    assert!(sessions.begin(request(first, 2, &[], &[])).is_ok());
    assert!(sessions.begin(request(third, 1, &[], &[])).is_ok());
}

#[test]
fn epochs_wrap_to_one() {
    let mut sessions = FetchSessions::new(1);
    let id = opened(&mut sessions, &[0]);
    sessions.sessions.get_mut(&id).unwrap().epoch = i32::MAX;
    sessions.begin(request(id, i32::MAX, &[], &[])).unwrap();
    assert!(sessions.begin(request(id, 1, &[], &[])).is_ok());
}
