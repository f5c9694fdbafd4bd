//! Requests that are repeated: one record, one answer.

use crate::harness::Env;
use crate::harness::config::Mapping;
use crate::harness::http::{Connection, Http, Response, request};
use crate::harness::records::{Logged, Record};
use crate::harness::replier::{Reply, Service};
use crate::harness::timing::takes;
use std::time::Duration;

const KEY: (&str, &str) = ("idempotency-key", "f5a3c9d2-once");

fn put(http: Http, path: &str, body: &str) -> Response {
    http.request("PUT", path, &[KEY], Some(body.as_bytes()))
}

/// A request that is under way.
fn putting(http: Http, more: &[(&str, &str)]) -> Connection {
    let mut client = http.connect();
    let headers = [&[KEY], more].concat();
    client.send(request("PUT", "/items/1", &headers, Some(b"{}")));
    client
}

#[track_caller]
fn answered(mut client: Connection, value: &str) {
    let answer = client.receive("PUT").expect("an answer").expect(200);
    assert_eq!(answer.text(), value);
}

/// The reply to a request, as a service would write it.
fn reply_to(request: &Logged, value: &str) -> Record {
    let id = request.record.get("zilla:correlation-id").expect("an id");
    Record::new("", value)
        .header(":status", "200")
        .header("zilla:correlation-id", id)
}

/// All headers but the date of the answer.
fn undated(answer: &Response) -> Vec<&(String, String)> {
    let headers = answer.headers.iter();
    headers.filter(|(name, _)| name != "date").collect()
}

pub(crate) fn a_repeated_request_is_stored_once(env: &Env) {
    let topics = env.correlated(2);
    let service = Service::reading(&topics.requests, 1).reply_partitions(2);
    let service = service.start(env, |request| vec![Reply::echo(request)]);
    let gateway = env.mapping(&Mapping::sync(&topics));
    let http = gateway.http();
    let first = put(http, "/items/1", "{}").expect(200);
    assert_eq!(first.text(), "/items/1 {}");
    for _ in 0..4 {
        let again = put(http, "/items/1", "{}").expect(200);
        assert_eq!(undated(&again), undated(&first));
        assert_eq!(again.body, first.body);
    }
    // A preference is not part of what is asked; everything else is.
    let prefer = [KEY, ("prefer", "wait=20")];
    http.request("PUT", "/items/1", &prefer, Some(b"{}"))
        .expect(200);
    env.kafka.await_log(&topics.requests, 1, 1);
    put(http, "/items/1", "{ }").expect(200);
    put(http, "/items/2", "{}").expect(200);
    http.request("PUT", "/items/1", &[KEY, ("x-a", "1")], Some(b"{}"))
        .expect(200);
    http.request("POST", "/items/1", &[KEY], Some(b"{}"))
        .expect(200);
    env.kafka.await_log(&topics.requests, 1, 5);
    assert!(
        service.counts().values().all(|count| *count == 1),
        "{:?}",
        service.counts()
    );
}

pub(crate) fn without_a_key_every_request_is_its_own(env: &Env) {
    let topics = env.correlated(1);
    let service = Service::reading(&topics.requests, 1);
    let service = service.start(env, |request| vec![Reply::echo(request)]);
    let gateway = env.mapping(&Mapping::sync(&topics));
    for _ in 0..3 {
        gateway.http().put("/items/1", "{}").expect(200);
    }
    let counts = service.counts();
    assert_eq!(counts.len(), 3, "{counts:?}");
    for id in counts.keys() {
        let parts: Vec<usize> = id.split('-').map(str::len).collect();
        assert_eq!(parts, [8, 4, 4, 4, 12, 32], "{id} is not a UUID and a hash");
    }
}

/// Kafka is the only memory: whoever reads the reply topic knows the answer.
pub(crate) fn a_repeat_is_known_to_other_instances_and_after_a_restart(env: &Env) {
    let topics = env.correlated(2);
    let service = Service::reading(&topics.requests, 1).reply_partitions(2);
    let _service = service.start(env, |request| vec![Reply::echo(request)]);
    let mapping = Mapping::sync(&topics);
    let mut gateway = env.mapping(&mapping);
    let other = env.mapping(&mapping);
    let paths: Vec<String> = (0..4).map(|n| format!("/items/{n}")).collect();
    for path in &paths {
        put(gateway.http(), path, "{}").expect(200);
        // At once after the answer, when the other has perhaps not read the reply yet.
        assert_eq!(
            put(other.http(), path, "{}").expect(200).text(),
            format!("{path} {{}}")
        );
    }
    gateway.signal("KILL");
    gateway.exit_code(Duration::from_secs(10));
    let gateway = env.mapping(&mapping);
    for path in &paths {
        // At once after the start, when it has perhaps not read anything yet.
        assert_eq!(
            put(gateway.http(), path, "{}").expect(200).text(),
            format!("{path} {{}}")
        );
    }
    // Also by one that reads the replies only when they are asked for.
    let lazy = Mapping::default().route(
        &[("", "/items/{id}")],
        &crate::harness::config::correlated(&topics),
    );
    let lazy = env.mapping(&lazy);
    for path in &paths {
        assert_eq!(
            put(lazy.http(), path, "{}").expect(200).text(),
            format!("{path} {{}}")
        );
    }
    env.kafka.await_log(&topics.requests, 1, paths.len());
}

pub(crate) fn a_reply_that_came_while_nobody_listened_is_found(env: &Env) {
    let topics = env.correlated(2);
    let mapping = Mapping::sync(&topics);
    let mut gateway = env.mapping(&mapping);
    let mut client = putting(gateway.http(), &[]);
    let asked = env.kafka.await_log(&topics.requests, 1, 1).remove(0);
    gateway.signal("KILL");
    gateway.exit_code(Duration::from_secs(10));
    client.assert_closes();
    env.kafka
        .append(&topics.replies, 1, &[reply_to(&asked, "meanwhile")]);
    let gateway = env.mapping(&mapping);
    assert_eq!(
        put(gateway.http(), "/items/1", "{}").expect(200).text(),
        "meanwhile"
    );
    env.kafka.await_log(&topics.requests, 1, 1);
}

pub(crate) fn twenty_repeats_at_once_are_stored_once(env: &Env) {
    let topics = env.correlated(2);
    let gateway = env.mapping(&Mapping::sync(&topics));
    let http = gateway.http();
    for round in 1..=3 {
        let path = format!("/items/{round}");
        let start = || {
            let mut client = http.connect();
            client.send(request("PUT", &path, &[KEY], Some(b"{}")));
            client
        };
        let clients: Vec<Connection> = (0..20).map(|_| start()).collect();
        // The reply is written when the first record is there; repeats that come later find it.
        let asked = env
            .kafka
            .await_log(&topics.requests, 1, round)
            .remove(round - 1);
        let value = format!("reply {round}");
        env.kafka
            .append(&topics.replies, 0, &[reply_to(&asked, &value)]);
        for client in clients {
            answered(client, &value);
        }
        env.kafka.await_log(&topics.requests, 1, round);
    }
}

/// Each who asks has a deadline of its own, and nobody's leaving ends the exchange.
pub(crate) fn an_exchange_outlives_the_client_that_began_it(env: &Env) {
    let topics = env.correlated(1);
    let gateway = env.mapping(&Mapping::sync(&topics));
    let http = gateway.http();
    let first = putting(http, &[]);
    env.kafka.await_log(&topics.requests, 1, 1);
    let joined = putting(http, &[]);
    // By the time that this one has its answer the one before has certainly joined; and it shows that it joined, not
    // asked again.
    takes(Duration::from_secs(1), || {
        let mut impatient = putting(http, &[("prefer", "wait=1")]);
        impatient.receive("PUT").expect("an answer").expect(504);
    });
    drop(first);
    // Time to see it go, on either core: as much as some requests take.
    for _ in 0..8 {
        http.get("/nowhere").expect(404);
    }
    let late = putting(http, &[]);
    let asked = env.kafka.await_log(&topics.requests, 1, 1).remove(0);
    env.kafka
        .append(&topics.replies, 0, &[reply_to(&asked, "for all")]);
    answered(joined, "for all");
    answered(late, "for all");
    assert_eq!(put(http, "/items/1", "{}").expect(200).text(), "for all");
    env.kafka.await_log(&topics.requests, 1, 1);
}
