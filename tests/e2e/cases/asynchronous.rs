//! Requests whose client does not wait but comes back for the reply: Zilla's `http.kafka.async`.

use crate::harness::Env;
use crate::harness::config::Mapping;
use crate::harness::http::{Http, Response, request};
use crate::harness::records::{Logged, Record};
use crate::harness::replier::{Reply, Service};
use crate::harness::timing::{takes, takes_less};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
/// For what is answered at once.
const SOON: Duration = Duration::from_millis(200);

/// Submits, with these preferences, and returns where to ask.
#[track_caller]
fn submit(http: Http, path: &str, key: &str, prefer: &str) -> String {
    let headers = [("prefer", prefer), ("idempotency-key", key)];
    let answer = http.request("PUT", path, &headers, Some(b"{}"));
    accepted(&answer.expect(202).expect_applied("respond-async"))
}

/// Asserts that an answer says to ask (again), and where.
#[track_caller]
fn accepted(answer: &Response) -> String {
    assert_eq!(answer.status, 202, "{answer:?}");
    assert_eq!(answer.header("content-length"), Some("0"));
    assert_eq!(answer.body, b"");
    answer.header("location").expect("a location").to_owned()
}

fn ask(http: Http, location: &str, prefer: &str) -> Response {
    http.request("GET", location, &[("prefer", prefer)], None)
}

fn id_of(request: &Logged) -> &str {
    request.record.get("zilla:correlation-id").expect("an id")
}

fn reply_to(request: &Logged, value: &str) -> Record {
    Record::new("", value)
        .header(":status", "200")
        .header("content-type", "application/json")
        .header("zilla:correlation-id", id_of(request))
}

/// The walkthrough of the example.
pub(crate) fn the_reply_is_fetched_later(env: &Env) {
    let topics = env.correlated(2);
    let gateway = env.mapping(&Mapping::asynchronous(&topics));
    let http = gateway.http();
    let location = submit(http, "/items/5cf7", "1", "respond-async");
    let asked = env.kafka.await_log(&topics.requests, 1, 1).remove(0);
    assert_eq!(location, format!("/items/5cf7;cid={}", id_of(&asked)));
    assert!(id_of(&asked).starts_with("1-"), "{location}");
    assert_eq!(asked.record.get("prefer"), None);
    assert_eq!(asked.record.key.as_deref(), Some(&b"5cf7"[..]));

    assert_eq!(
        accepted(&takes_less(SOON, || http.get(&location))),
        location
    );
    let answer = takes(SECOND, || ask(http, &location, "wait=1"));
    assert_eq!(accepted(&answer.expect_applied("wait=1")), location);

    // Who waits is answered as soon as the reply is there.
    let mut waiting = http.connect();
    waiting.send(request("GET", &location, &[("prefer", "wait=30")], None));
    env.kafka
        .append(&topics.replies, 1, &[reply_to(&asked, "{\"a\":1}")]);
    let check = |answer: Response| {
        let answer = answer.expect(200);
        assert_eq!(answer.text(), "{\"a\":1}");
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert_eq!(answer.header("location"), None);
    };
    takes_less(SECOND, || check(waiting.receive("GET").expect("an answer")));
    // From now on with and without waiting, any number of times; a body changes nothing.
    check(http.get(&location));
    check(ask(http, &location, "wait=10"));
    let body = http.request("GET", &location, &[], Some(b"body"));
    check(body);
    env.kafka.await_log(&topics.requests, 1, 1);
}

pub(crate) fn a_waiting_client_is_woken_by_the_reply(env: &Env) {
    let topics = env.correlated(2);
    let gateway = env.mapping(&Mapping::asynchronous(&topics));
    let http = gateway.http();
    for n in 1..=10 {
        let location = submit(http, &format!("/items/{n}"), "1", "respond-async");
        let asked = env.kafka.await_log(&topics.requests, 1, n).remove(n - 1);
        // Connections of their own, on either core.
        let mut waiting = [
            http.connect(),
            http.connect(),
            http.connect(),
            http.connect(),
        ];
        for client in &mut waiting {
            client.send(request("GET", &location, &[("prefer", "wait=30")], None));
        }
        let reply = reply_to(&asked, &n.to_string());
        env.kafka.append(
            &topics.replies,
            i32::try_from(n % 2).expect("0 or 1"),
            &[reply],
        );
        let begun = std::time::Instant::now();
        for client in &mut waiting {
            let answer = client.receive("GET").expect("an answer").expect(200);
            assert_eq!(answer.text(), n.to_string());
        }
        let taken = begun.elapsed();
        assert!(
            taken < SECOND,
            "{taken:?} from the stored reply to the answers"
        );
    }
}

pub(crate) fn preferences_come_in_every_form(env: &Env) {
    let topics = env.correlated(1);
    let service = Service::reading(&topics.requests, 1);
    let _service = service.start(env, |request| {
        vec![Reply::echo(request).after(Duration::from_millis(300))]
    });
    let gateway = env.mapping(&Mapping::asynchronous(&topics));
    let http = gateway.http();
    let forms = [
        "respond-async",
        "Respond-Async",
        "respond-async, wait=5",
        "wait=5, respond-async",
        "respond-async; wait=5",
        "respond-async;wait=5",
        "handling=lenient, respond-async",
        " respond-async ,",
    ];
    for (n, prefer) in forms.into_iter().enumerate() {
        let location = submit(http, "/items/1", &n.to_string(), prefer);
        let answer = ask(http, &location, "wait=20").expect(200);
        assert_eq!(answer.text(), "/items/1 {}", "{prefer}");
    }
    let lines = [("prefer", "handling=lenient"), ("prefer", "respond-async")];
    accepted(&http.request("PUT", "/items/1", &lines, Some(b"{}")));
    // Without it the same route waits for the reply.
    for prefer in [
        "wait=20",
        "respond-asynchronously",
        "x=\"a, respond-async\"",
    ] {
        let answer = http.request("PUT", "/items/1", &[("prefer", prefer)], Some(b"{}"));
        assert_eq!(answer.expect(200).text(), "/items/1 {}", "{prefer}");
    }
}

/// The client's key is part of the id, and so of the location: it must not break out of the path.
pub(crate) fn a_location_is_a_path_whatever_the_key_holds(env: &Env) {
    let topics = env.correlated(1);
    let service = Service::reading(&topics.requests, 1);
    let service = service.start(env, |request| vec![Reply::echo(request)]);
    let gateway = env.mapping(&Mapping::asynchronous(&topics));
    let http = gateway.http();
    for key in [
        "a b",
        "a?b#c",
        "a/b",
        "100%25",
        "\"quoted, twice\"x",
        "<a>{b}|^`\\",
    ] {
        let location = submit(http, "/items/a%20b", key, "respond-async");
        let is_of_a_path = |byte: u8| byte.is_ascii_graphic() && !b"?#\"<>{}|^`\\".contains(&byte);
        assert!(location.bytes().all(is_of_a_path), "{key}: {location}");
        let answer = ask(http, &location, "wait=20").expect(200);
        assert_eq!(answer.text(), "/items/a%20b {}", "{key}");
        let newest = service.requests().pop().expect("it was answered");
        assert!(id_of(&newest).starts_with(key), "{key}: {}", id_of(&newest));
    }
}

pub(crate) fn any_instance_knows_the_location(env: &Env) {
    let topics = env.correlated(2);
    let mapping = Mapping::asynchronous(&topics);
    let mut first = env.mapping(&mapping);
    let second = env.mapping(&mapping);
    let location = submit(first.http(), "/items/1", "1", "respond-async");
    let unanswered = submit(first.http(), "/items/2", "2", "respond-async");
    assert_eq!(accepted(&second.http().get(&location)), location);
    let asked = env.kafka.await_log(&topics.requests, 1, 2).remove(0);
    let mut waiting = second.http().connect();
    waiting.send(request("GET", &location, &[("prefer", "wait=30")], None));
    env.kafka
        .append(&topics.replies, 1, &[reply_to(&asked, "1")]);
    assert_eq!(
        waiting
            .receive("GET")
            .expect("an answer")
            .expect(200)
            .text(),
        "1"
    );
    assert_eq!(
        ask(first.http(), &location, "wait=30").expect(200).text(),
        "1"
    );
    first.signal("KILL");
    first.exit_code(Duration::from_secs(10));

    // One that starts now has it from the topic, at once and without waiting.
    let third = env.mapping(&mapping);
    assert_eq!(third.http().get(&location).expect(200).text(), "1");
    assert_eq!(accepted(&third.http().get(&unanswered)), unanswered);
    // Submitting it again is answered with the same location.
    assert_eq!(
        submit(third.http(), "/items/1", "1", "respond-async"),
        location
    );
    env.kafka.await_log(&topics.requests, 1, 2);
}

pub(crate) fn a_repeated_submission_is_stored_once(env: &Env) {
    let topics = env.correlated(2);
    let gateway = env.mapping(&Mapping::asynchronous(&topics));
    let http = gateway.http();
    let location = submit(http, "/items/1", "1", "respond-async");
    let asked = env.kafka.await_log(&topics.requests, 1, 1).remove(0);
    // While there is no reply, one after the other and at once.
    for _ in 0..3 {
        assert_eq!(submit(http, "/items/1", "1", "respond-async"), location);
    }
    let headers = [("prefer", "respond-async"), ("idempotency-key", "1")];
    let put = request("PUT", "/items/1", &headers, Some(b"{}"));
    let mut clients: Vec<_> = (0..10).map(|_| http.connect()).collect();
    for client in &mut clients {
        client.send(&put);
    }
    for client in &mut clients {
        let answer = client.receive("PUT").expect("an answer");
        assert_eq!(accepted(&answer), location);
    }
    // The same request without the preference joins.
    let mut joined = http.connect();
    joined.send(request(
        "PUT",
        "/items/1",
        &[("idempotency-key", "1")],
        Some(b"{}"),
    ));
    env.kafka
        .append(&topics.replies, 1, &[reply_to(&asked, "once")]);
    assert_eq!(
        joined.receive("PUT").expect("an answer").expect(200).text(),
        "once"
    );
    // And when there is one: still a location, where the reply is.
    assert_eq!(submit(http, "/items/1", "1", "respond-async"), location);
    assert_eq!(http.get(&location).expect(200).text(), "once");
    env.kafka.await_log(&topics.requests, 1, 1);
}

pub(crate) fn what_nobody_submitted_is_never_ready(env: &Env) {
    let topics = env.correlated(2);
    let gateway = env.mapping(&Mapping::asynchronous(&topics));
    let http = gateway.http();
    // The id alone counts: it cannot be told from one whose reply is still to come.
    for location in [
        "/items/1;cid=1-00000000000000000000000000000000",
        "/items/1;cid=x",
    ] {
        assert_eq!(accepted(&takes_less(SOON, || http.get(location))), location);
        let answer = takes(SECOND, || ask(http, location, "wait=1"));
        assert_eq!(accepted(&answer), location);
    }
    for (method, path) in [
        ("GET", "/items/1"),
        ("GET", "/items/1;cid="),
        ("POST", "/items/1"),
        ("DELETE", "/items/1"),
        ("GET", "/items/"),
    ] {
        http.request(method, path, &[], None).expect(404);
    }
    env.kafka.await_log(&topics.requests, 1, 0);
}
