//! Single reads and collections.

use std::time::Duration;

use super::{TIMEOUT, at};
use crate::clock::Instant;
use crate::error::RequestError;
use crate::exchange::reading::{Behind, CacheAnswer, Next, Opened, Reading};
use crate::http::{Body, ResponseHead};
use crate::kafka::error_code::ErrorCode;
use crate::mapping::http_kafka::fetch::Answer;

type Decision = Next<()>;

/// A read that may begin at one second.
fn reading(wait_s: u64, is_conditional: bool) -> Reading {
    let wait = (wait_s > 0).then(|| Duration::from_secs(wait_s));
    Reading::new("items".into(), 1, TIMEOUT, wait, is_conditional, at(1000))
}

fn found(status: u16) -> CacheAnswer<()> {
    CacheAnswer::Found(answer(status))
}

fn unchanged() -> CacheAnswer<()> {
    CacheAnswer::Unchanged(answer(304))
}

#[expect(clippy::unnecessary_box_returns, reason = "answers come boxed")]
fn answer(status: u16) -> Box<Answer> {
    Box::new(Answer {
        head: ResponseHead::new(status),
        body: Body::Empty,
    })
}

fn cache(reading: &Reading, answer: CacheAnswer<()>, now: Instant) -> Decision {
    reading.handle_cache(answer, Behind::Nothing, now)
}

fn status(next: Decision) -> u16 {
    match next {
        Next::Answer(answer) => answer.head.status,
        Next::Fail(error) => error.problem().into_response().0.status,
        other => panic!("no answer: {other:?}"),
    }
}

#[test]
fn what_is_found_is_answered_at_once_and_the_preference_was_applied() {
    let Next::Answer(answer) = cache(&reading(5, false), found(200), at(1000)) else {
        panic!("it was there")
    };
    assert_eq!(
        answer.head.headers.get("preference-applied"),
        Some(&b"wait=5"[..])
    );
    assert!(matches!(
        cache(&reading(0, false), CacheAnswer::Collection(()), at(1000)),
        Next::Begin(())
    ));
}

#[test]
fn what_is_missing_is_waited_for_as_long_as_the_client_prefers() {
    let waiting = reading(5, false);
    let next = cache(&waiting, CacheAnswer::NotFound, at(5999));
    assert!(matches!(next, Next::WaitForChange(until) if until == at(6000)));
    assert_eq!(
        status(cache(&waiting, CacheAnswer::NotFound, at(6000))),
        404
    );
    assert_eq!(
        status(cache(&reading(0, false), CacheAnswer::NotFound, at(1000))),
        404
    );
}

#[test]
fn what_has_not_changed_is_waited_for_and_what_was_deleted_is_said_at_once() {
    let waiting = reading(5, true);
    let next = cache(&waiting, unchanged(), at(1000));
    assert!(matches!(next, Next::WaitForChange(until) if until == at(6000)));
    assert_eq!(status(cache(&waiting, unchanged(), at(6000))), 304);
    assert_eq!(
        status(cache(&waiting, CacheAnswer::NotFound, at(1000))),
        404
    );
    assert_eq!(status(cache(&reading(0, true), unchanged(), at(1000))), 304);
}

#[test]
fn nothing_is_called_missing_while_something_acknowledged_is_not_read() {
    let plain = reading(0, false);
    let next: Option<Decision> = plain.handle_behind(Behind::Writes, at(1500));
    assert!(matches!(next, Some(Next::WaitUntil(until)) if until == at(2000)));
    assert!(
        plain
            .handle_behind::<()>(Behind::Writes, at(2000))
            .is_none()
    );
    let missing: Decision = plain.handle_cache(CacheAnswer::NotFound, Behind::Writes, at(2000));
    assert_eq!(status(missing), 503);
    let there: Decision = plain.handle_cache(found(200), Behind::Writes, at(2000));
    assert_eq!(status(there), 200);
}

#[test]
fn no_cache_is_never_answered_from_an_old_cache() {
    let plain = reading(0, false);
    let next: Option<Decision> = plain.handle_behind(Behind::Ends, at(1000));
    assert!(matches!(next, Some(Next::WaitUntil(until)) if until == at(6000)));
    assert_eq!(
        status(plain.handle_behind::<()>(Behind::Ends, at(6000)).unwrap()),
        503
    );
    assert!(
        plain
            .handle_behind::<()>(Behind::Nothing, at(1000))
            .is_none()
    );
}

#[test]
fn a_topic_that_is_being_opened_is_waited_for() {
    let plain = reading(0, false);
    for opened in [
        Opened::Opening,
        Opened::Unknown(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
    ] {
        let next: Option<Decision> = plain.handle_opened(opened, at(1000));
        assert!(matches!(next, Some(Next::WaitUntil(until)) if until == at(6000)));
        assert_eq!(
            status(plain.handle_opened::<()>(opened, at(6000)).unwrap()),
            503
        );
    }
    assert_eq!(
        status(
            plain
                .handle_opened::<()>(Opened::TooMany, at(1000))
                .unwrap()
        ),
        503
    );
    assert!(plain.handle_opened::<()>(Opened::Open, at(1000)).is_none());
    let warming = cache(&plain, CacheAnswer::Warming, at(1000));
    assert!(matches!(warming, Next::WaitUntil(until) if until == at(6000)));
    assert_eq!(status(cache(&plain, CacheAnswer::Warming, at(6000))), 503);
}

#[test]
fn the_time_of_a_read_begins_when_it_may_begin() {
    let mut held = reading(5, false);
    held.begin_at(at(9000));
    let next = cache(&held, CacheAnswer::NotFound, at(9000));
    assert!(matches!(next, Next::WaitForChange(until) if until == at(14_000)));
}

#[test]
fn a_long_look_goes_on_within_the_request_s_time() {
    let plain = reading(0, false);
    let next = cache(&plain, CacheAnswer::Unfinished, at(1000));
    assert!(matches!(next, Next::LookOn));
    assert_eq!(
        status(cache(&plain, CacheAnswer::Unfinished, at(31_000))),
        503
    );
}

#[test]
fn what_the_cache_has_let_go_of_is_asked_of_kafka_or_said() {
    let plain = reading(0, false);
    assert!(matches!(
        cache(&plain, CacheAnswer::ItemNotCached, at(1000)),
        Next::Cold
    ));
    let collection = cache(&plain, CacheAnswer::CollectionNotCached, at(1000));
    assert!(matches!(
        collection,
        Next::Fail(RequestError::NotCached {
            budget_bytes: 1,
            ..
        })
    ));
    assert_eq!(status(cache(&plain, CacheAnswer::TooMany, at(1000))), 503);
}
