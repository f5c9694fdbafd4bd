//! Sync, async submit and async status.

use bytes::Bytes;

use super::{TIMEOUT, WAIT_MAX, at};
use crate::clock::{Instant, UnixMillis};
use crate::config::Acks;
use crate::error::RequestError;
use crate::exchange::correlated::{Correlated, Next};
use crate::http::Body;
use crate::kafka::correlation::{Place, Reply, ReplyFault, ReplyScan, Verdict, Wants};
use crate::kafka::error_code::ErrorCode;
use crate::kafka::fetcher::FetchedPartition;
use crate::kafka::producer::{ProduceFault, Record, Unavailable};
use crate::kafka::record_batch::BatchBuilder;
use crate::mapping::http_kafka::correlated::{StatusRequest, Submission};
use crate::mapping::http_kafka::fetch::Answer;
use crate::mapping::prefer::Prefer;

fn prefer(value: &str) -> Prefer {
    Prefer::parse([value.as_bytes()])
}

/// A request that came at one second.
fn submission(preference: &str, is_async: bool) -> Correlated {
    let submission = Submission {
        id: Bytes::from_static(b"k-0"),
        is_ours: false,
        reply_topic: "replies".into(),
        reply_header: "zilla:correlation-id".into(),
        acks: Acks::InSyncReplicas,
        record: Record::default(),
        prefer: prefer(preference),
        accepted: is_async.then(location),
    };
    Correlated::submission(&submission, TIMEOUT, WAIT_MAX, at(1000))
}

/// A question that came at one second.
fn status(preference: &str) -> Correlated {
    let status = StatusRequest {
        id: Bytes::from_static(b"k-0"),
        reply_header: "zilla:correlation-id".into(),
        prefer: prefer(preference),
        accepted: location(),
    };
    Correlated::status(&status, "replies", TIMEOUT, WAIT_MAX, at(1000))
}

fn location() -> Vec<(String, Vec<u8>)> {
    vec![("location".into(), b"/items/1;cid=k-0".to_vec())]
}

/// A reply with this status.
fn reply(status: &str) -> Reply {
    let mut builder = BatchBuilder::new();
    let headers: [(&[u8], Option<&[u8]>); 2] = [
        (b"zilla:correlation-id", Some(b"k-0")),
        (b":status", Some(status.as_bytes())),
    ];
    builder.append(UnixMillis(1), None, Some(b"done"), headers);
    let fetched = FetchedPartition {
        key: ("replies".into(), 0),
        error: ErrorCode::NONE,
        last_stable_offset: 1,
        log_start_offset: 0,
        aborted: Vec::new(),
        records: Bytes::from(builder.finish(-1, -1, -1).to_vec()),
    };
    let names = [Bytes::from_static(b"zilla:correlation-id")].into();
    let scanned = ReplyScan::new(0, 0, names).ingest(&fetched);
    scanned.replies[0].reply.clone()
}

const PLACE: Place = Place {
    partition: 1,
    offset: 7,
};

fn answer(next: Next) -> Answer {
    match next {
        Next::Answer(answer) => *answer,
        other => panic!("no answer: {other:?}"),
    }
}

fn error(next: Next) -> RequestError {
    match next {
        Next::Fail(error) => error,
        other => panic!("no error: {other:?}"),
    }
}

fn applied(answer: &Answer) -> Option<&[u8]> {
    answer.head.headers.get("preference-applied")
}

#[test]
fn the_time_of_a_request_is_what_the_client_prefers_up_to_the_bound_else_the_route_s() {
    let deadline = |preference: &str, is_async| submission(preference, is_async).poll_timeout();
    assert_eq!(deadline("", false), at(31_000));
    assert_eq!(deadline("wait=5", false), at(6_000));
    assert_eq!(deadline("wait=600", false), at(61_000));
    assert_eq!(
        deadline("respond-async, wait=5", true),
        at(31_000),
        "it waits for no reply"
    );
    assert_eq!(status("").poll_timeout(), at(31_000));
    assert_eq!(status("wait=2").poll_timeout(), at(3_000));
    assert!(deadline("wait=18446744073709551615", false) < Instant::FAR_FUTURE);
}

#[test]
fn each_kind_waits_for_something_else() {
    assert_eq!(submission("wait=5", false).wants(), Wants::Reply);
    assert_eq!(submission("respond-async", true).wants(), Wants::Stored);
    assert_eq!(status("").wants(), Wants::ReplyNow);
    assert_eq!(status("wait=5").wants(), Wants::Reply);
}

#[test]
fn a_sync_request_is_answered_by_its_reply_and_by_nothing_before_it() {
    let mut sync = submission("wait=5", false);
    assert!(matches!(sync.handle_verdict(Verdict::Stored), Next::Wait));
    assert!(matches!(sync.handle_verdict(Verdict::NoReply), Next::Wait));
    let unknown = Verdict::Fault(ProduceFault::OutcomeUnknown);
    assert!(
        matches!(sync.handle_verdict(unknown), Next::Wait),
        "the reply may come all the same"
    );
    let answer = answer(sync.handle_verdict(Verdict::Reply(reply("201"))));
    assert_eq!(answer.head.status, 201);
    assert_eq!(applied(&answer), Some(&b"wait=5"[..]));
    assert_eq!(answer.body, Body::Full(Bytes::from_static(b"done")));
}

#[test]
fn a_sync_request_without_a_reply_is_504() {
    assert_eq!(
        error(submission("", false).handle_timeout()),
        RequestError::NoReply
    );
}

#[test]
fn a_request_that_was_not_made_says_so() {
    let unavailable = ProduceFault::Unavailable(Unavailable::Unreachable);
    let cases = [
        (
            Verdict::Fault(unavailable),
            RequestError::Produce(unavailable),
        ),
        (
            Verdict::Unavailable,
            RequestError::RepliesUnknown {
                topic: "replies".into(),
            },
        ),
        (Verdict::Overloaded, RequestError::RepliesOverloaded),
    ];
    for (verdict, expected) in cases {
        for is_async in [false, true] {
            let mut machine = submission("", is_async);
            assert_eq!(error(machine.handle_verdict(verdict.clone())), expected);
        }
    }
}

#[test]
fn an_async_request_is_accepted_when_it_is_stored_or_has_its_reply() {
    for verdict in [
        Verdict::Stored,
        Verdict::ReplyAt(PLACE),
        Verdict::Reply(reply("200")),
    ] {
        let answer = answer(submission("respond-async", true).handle_verdict(verdict));
        assert_eq!(answer.head.status, 202);
        assert_eq!(
            answer.head.headers.get("location"),
            Some(&b"/items/1;cid=k-0"[..])
        );
        assert_eq!(applied(&answer), Some(&b"respond-async"[..]));
        assert_eq!(answer.body, Body::Empty);
    }
    let unknown = ProduceFault::OutcomeUnknown;
    let fault = submission("respond-async", true).handle_verdict(Verdict::Fault(unknown));
    assert_eq!(error(fault), RequestError::Produce(unknown));
    let late = submission("respond-async", true).handle_timeout();
    assert_eq!(error(late), RequestError::Produce(unknown));
}

#[test]
fn a_question_is_answered_202_until_there_is_a_reply() {
    let none = answer(status("").handle_verdict(Verdict::NoReply));
    assert_eq!((none.head.status, applied(&none)), (202, None));
    let late = answer(status("wait=2").handle_timeout());
    assert_eq!(
        (late.head.status, applied(&late)),
        (202, Some(&b"wait=2"[..]))
    );
    let reply = answer(status("wait=2").handle_verdict(Verdict::Reply(reply("200"))));
    assert_eq!(reply.head.status, 200);
    let unknown = status("").handle_timeout();
    assert!(
        matches!(error(unknown), RequestError::RepliesUnknown { .. }),
        "nobody knows that there is none"
    );
}

#[test]
fn a_reply_that_came_before_is_read_and_one_that_is_gone_is_asked_for_once_more() {
    let mut question = status("");
    let known = question.handle_verdict(Verdict::ReplyAt(PLACE));
    assert!(matches!(known, Next::Read(PLACE)));
    let gone = question.handle_read(Err(ReplyFault::Gone));
    assert!(matches!(gone, Next::AskAgain));
    let gone = question.handle_read(Err(ReplyFault::Gone));
    assert_eq!(error(gone), RequestError::ReplyGone);
    let gone = submission("", false).handle_read(Err(ReplyFault::Gone));
    assert_eq!(error(gone), RequestError::ReplyGone);
    let unavailable = submission("", false).handle_read(Err(ReplyFault::Unavailable));
    assert!(matches!(
        error(unavailable),
        RequestError::ReplyUnreadable { .. }
    ));
    let read = answer(submission("", false).handle_read(Ok(reply("200"))));
    assert_eq!(read.head.status, 200);
}

#[test]
fn a_reply_that_http_does_not_know_is_502() {
    let bad = submission("", false).handle_verdict(Verdict::Reply(reply("99")));
    assert_eq!(error(bad), RequestError::BadReply);
}
