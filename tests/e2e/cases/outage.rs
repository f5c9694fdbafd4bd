//! The broker is down, or silent: writers learn it in time, and the gateway recovers by itself.

use crate::harness::checker::{Outcome, Write};
use crate::harness::config::Crud;
use crate::harness::http::{Http, Response};
use crate::harness::writers::assert_promises_kept;
use crate::harness::{Env, PATIENCE, eventually};
use std::time::{Duration, Instant};

/// `options.timeout` of the mapping.
const TIMEOUT: Duration = Duration::from_secs(3);
/// How much later than that an answer may be on a busy machine.
const SLACK: Duration = Duration::from_secs(3);

/// One write, answered in time: stored, 503 with `retry-after`, or 504.
#[track_caller]
fn write(http: Http, writes: &mut Vec<Write>) -> Outcome {
    let value = format!("value-{}", writes.len());
    let start = Instant::now();
    let answer = http.put(&format!("/items/{value}"), &value);
    in_time(start, &answer);
    let outcome = match answer.status {
        204 => Outcome::Stored,
        503 => Outcome::Refused,
        504 => Outcome::Unknown,
        _ => panic!("{answer:?}"),
    };
    writes.push(Write { value, outcome });
    outcome
}

#[track_caller]
fn in_time(start: Instant, answer: &Response) {
    let took = start.elapsed();
    assert!(
        took < TIMEOUT + SLACK,
        "answered after {took:?}: {answer:?}"
    );
    if answer.status == 503 {
        let seconds = answer.header("retry-after").expect("retry-after with 503");
        assert!(
            seconds.bytes().all(|byte| byte.is_ascii_digit()),
            "retry-after: {seconds}"
        );
    }
    if answer.status >= 400 {
        assert_eq!(
            answer.header("content-type"),
            Some("application/problem+json"),
            "{answer:?}"
        );
    }
}

/// A read while the broker is away: what is cached, or an error that says to come again; in time.
#[track_caller]
fn read(http: Http, path: &str) {
    let start = Instant::now();
    let answer = http.get(path);
    in_time(start, &answer);
    assert!(matches!(answer.status, 200 | 503 | 504), "{answer:?}");
}

#[track_caller]
fn recovers(http: Http, writes: &mut Vec<Write>) {
    eventually("a write is stored again", PATIENCE, || {
        (write(http, writes) == Outcome::Stored).then_some(())
    });
    let last = &writes.last().expect("one at least").value;
    assert_eq!(
        http.get(&format!("/items/{last}")).expect(200).text(),
        *last
    );
}

pub(crate) fn writes_fail_fast_while_the_broker_is_down_and_recover(env: &Env) {
    let topic = env.topic(2, &[]);
    let gateway = env.gateway(&Crud::over(&topic).timeout("3s"));
    let http = gateway.http();
    let mut writes = Vec::new();
    assert_eq!(write(http, &mut writes), Outcome::Stored);
    // Enough that each core has it.
    for _ in 0..8 {
        assert_eq!(http.get("/items/value-0").expect(200).text(), "value-0");
    }
    for _ in 0..2 {
        env.broker.kill();
        for _ in 0..4 {
            assert_ne!(write(http, &mut writes), Outcome::Stored);
            read(http, "/items/value-0");
            read(http, "/items");
        }
        env.broker.start();
        recovers(http, &mut writes);
        assert_eq!(http.get("/items/value-0").expect(200).text(), "value-0");
    }
    assert_promises_kept(&[writes], &env.kafka, &topic, 2);
}

pub(crate) fn a_gateway_starts_without_its_broker(env: &Env) {
    let topic = env.topic(2, &[]);
    env.kafka.produce(&topic, 1, "before", Some(b"1"));
    env.broker.kill();
    let gateway = env.gateway(&Crud::over(&topic).timeout("3s"));
    let http = gateway.http();
    let mut writes = Vec::new();
    for _ in 0..3 {
        // Nothing was sent to anyone: it is certain that nothing was stored.
        assert_eq!(write(http, &mut writes), Outcome::Refused);
        // Never "not found": it does not know.
        let start = Instant::now();
        let answer = http.get("/items/before");
        in_time(start, &answer);
        assert!(matches!(answer.status, 503 | 504), "{answer:?}");
    }
    env.broker.start();
    recovers(http, &mut writes);
    assert_eq!(http.get("/items/before").expect(200).text(), "1");
}

pub(crate) fn a_silent_broker_is_504_within_the_deadline(env: &Env) {
    let topic = env.topic(2, &[]);
    let gateway = env.gateway(&Crud::over(&topic).timeout("3s"));
    let http = gateway.http();
    let mut writes = Vec::new();
    // Enough that each core has met the broker.
    for _ in 0..16 {
        assert_eq!(write(http, &mut writes), Outcome::Stored);
    }
    env.broker.pause();
    // It was sent, and nobody said what became of it.
    assert_eq!(write(http, &mut writes), Outcome::Unknown);
    for _ in 0..2 {
        assert_ne!(write(http, &mut writes), Outcome::Stored);
        read(http, "/items/value-0");
    }
    env.broker.resume();
    recovers(http, &mut writes);
    assert_promises_kept(&[writes], &env.kafka, &topic, 2);
}
