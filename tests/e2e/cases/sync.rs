//! Requests that become records, each answered by the reply to it: Zilla's `http.kafka.sync`.

use crate::harness::Env;
use crate::harness::config::Mapping;
use crate::harness::http::{Http, Response, request};
use crate::harness::records::Record;
use crate::harness::replier::{Reply, Service};
use crate::harness::timing::takes;
use serde_json::Value;
use std::time::Duration;

const GREETING: &str = r#"{"greeting":"Hello, world"}"#;
const JSON: (&str, &str) = ("content-type", "application/json");

/// The walkthrough of the example, with a service that somebody plays by hand.
pub(crate) fn a_request_is_answered_by_its_reply(env: &Env) {
    let topics = env.correlated(1);
    let gateway = env.mapping(&Mapping::sync(&topics));
    let mut client = gateway.http().connect();
    let headers = [("idempotency-key", "1"), JSON];
    client.send(request(
        "PUT",
        "/items/1",
        &headers,
        Some(GREETING.as_bytes()),
    ));

    let asked = env.kafka.await_log(&topics.requests, 1, 1).remove(0).record;
    assert_eq!(asked.key.as_deref(), Some(&b"1"[..]));
    assert_eq!(asked.text(), GREETING);
    let id = asked.get("zilla:correlation-id").expect("an id");
    let (key, hash) = id.split_once('-').expect("a key and a hash");
    let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    assert!(
        key == "1" && hash.len() == 32 && hash.bytes().all(is_hex),
        "{id}"
    );

    // Others' replies before it, without an id, with a null one, with one that only begins like it.
    let mut null = Record::new("1", "null");
    null.headers.push(("zilla:correlation-id".to_owned(), None));
    let reply = |id: &str, value: &str| {
        Record::new("any", value)
            .header(":status", "200")
            .header("content-type", "application/json")
            .header("zilla:correlation-id", id)
    };
    let others = [
        Record::new("1", "none"),
        null,
        reply("", "empty"),
        reply(&id[..id.len() - 1], "shorter"),
        reply(&format!("{id}0"), "longer"),
        reply("2-00000000000000000000000000000000", "another"),
    ];
    env.kafka.append(&topics.replies, 0, &others);
    env.kafka
        .append(&topics.replies, 0, &[reply(id, r#"{"greeting":"Hello"}"#)]);
    let answer = client.receive("PUT").expect("an answer").expect(200);
    assert_eq!(answer.text(), r#"{"greeting":"Hello"}"#);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("content-length"), Some("20"));
    let pseudo = |(name, _): &&(String, String)| name.starts_with(':') || name.starts_with("zilla");
    assert_eq!(answer.headers.iter().find(pseudo), None);
    env.kafka.await_log(&topics.requests, 1, 1);
}

/// Answers each path of the table with the reply of the table.
fn replies() -> Vec<(&'static str, Reply)> {
    vec![
        ("/items/no-status", Reply::bare("value")),
        ("/items/none", Reply::status("204", "ignored")),
        ("/items/changed", Reply::status("412", "changed")),
        ("/items/null", Reply::status("200", "").null()),
        ("/items/null-none", Reply::status("204", "").null()),
        ("/items/empty", Reply::status("404", "")),
        (
            "/items/length",
            Reply::status("201", "value").header("content-length", "5"),
        ),
        (
            "/items/headers",
            Reply::status("201", "{}")
                .header("content-type", "application/vnd.e2e+json; charset=utf-8")
                .header("etag", "\"revision=42\"")
                .header("location", "/items/headers?x=1;y")
                .header("set-cookie", "a=1")
                .header("X-Extra", "with  two  spaces")
                .header("set-cookie", "b=2"),
        ),
    ]
}

pub(crate) fn a_reply_decides_status_headers_and_body(env: &Env) {
    let topics = env.correlated(1);
    let service = Service::reading(&topics.requests, 1);
    let _service = service.start(env, |request| {
        let path = request.record.get(":path").expect("a path");
        let mut table = replies().into_iter();
        let reply = table
            .find(|(wanted, _)| *wanted == path)
            .expect("in the table");
        vec![reply.1]
    });
    let gateway = env.mapping(&Mapping::sync(&topics));
    let mut client = gateway.http().connect();
    // On one connection: a body that is too long or too short would show in the next answer.
    let mut ask = |path: &str, status: u16, body: &str, length: Option<&str>| -> Response {
        client.send(request("PUT", path, &[], Some(b"{}")));
        let answer = client.receive("PUT").expect(path).expect(status);
        assert_eq!(answer.text(), body, "{path}");
        assert_eq!(answer.header("content-length"), length, "{path}");
        answer
    };
    ask("/items/no-status", 200, "value", Some("5"));
    ask("/items/none", 204, "", None);
    ask("/items/changed", 412, "changed", Some("7"));
    ask("/items/null", 200, "", Some("0"));
    ask("/items/null-none", 204, "", None);
    ask("/items/empty", 404, "", Some("0"));
    ask("/items/length", 201, "value", Some("5"));
    let answer = ask("/items/headers", 201, "{}", Some("2"));
    let content_type = "application/vnd.e2e+json; charset=utf-8";
    assert_eq!(answer.header("content-type"), Some(content_type));
    assert_eq!(answer.header("etag"), Some("\"revision=42\""));
    assert_eq!(answer.header("location"), Some("/items/headers?x=1;y"));
    assert_eq!(answer.header("x-extra"), Some("with  two  spaces"));
    let cookies = answer
        .headers
        .iter()
        .filter(|(name, _)| name == "set-cookie");
    let cookies: Vec<&str> = cookies.map(|(_, value)| value.as_str()).collect();
    assert_eq!(cookies, ["a=1", "b=2"]);
}

/// Whoever may write to the reply topic could otherwise write answers to others' requests.
pub(crate) fn a_reply_cannot_break_the_framing_of_its_answer(env: &Env) {
    const EVIL: [(&str, &str); 10] = [
        ("x-one", "1\r\nx-evil: 1"),
        ("x-two", "1\r\n\r\nHTTP/1.1 200 OK\r\nx-evil: 1\r\n\r\n"),
        ("x-three", "1\nx-evil: 1"),
        ("x-evil: 1\r\nx-four", "1"),
        ("x-evil evil", "1"),
        ("", "1"),
        ("transfer-encoding", "chunked"),
        ("content-length", "3"),
        (":status", "2000"),
        (":status", "200 OK\r\nx-evil: 1"),
    ];
    let topics = env.correlated(1);
    let service = Service::reading(&topics.requests, 1);
    let _service = service.start(env, |request| {
        let at = request.record.text();
        let reply = match at.parse::<usize>() {
            Ok(at) => Reply::bare("value").header(EVIL[at].0, EVIL[at].1),
            Err(_) => Reply::status("200", "good"),
        };
        vec![reply]
    });
    let gateway = env.mapping(&Mapping::sync(&topics).option("timeout: 10s"));
    for (at, evil) in EVIL.iter().enumerate() {
        let mut client = gateway.http().connect();
        client.send(request(
            "PUT",
            "/items/1",
            &[],
            Some(at.to_string().as_bytes()),
        ));
        // Left out, or refused as a whole, whichever; but a well-formed answer.
        let answer = client
            .receive("PUT")
            .unwrap_or_else(|failure| panic!("{evil:?}: {failure}"));
        assert!(matches!(answer.status, 200 | 502), "{evil:?}: {answer:?}");
        assert_eq!(answer.header("x-evil"), None, "{evil:?}");
        if answer.header("connection") == Some("close") {
            client.assert_closes();
            client = gateway.http().connect();
        }
        client.send(request("PUT", "/items/1", &[], Some(b"good")));
        let answer = client.receive("PUT").expect("an answer").expect(200);
        assert_eq!(answer.text(), "good", "after {evil:?}");
    }
}

pub(crate) fn without_a_reply_it_is_504_in_time(env: &Env) {
    let topics = env.correlated(2);
    let gateway = env.mapping(&Mapping::sync(&topics).option("timeout: 2s"));
    let http = gateway.http();
    let expect_504 = |answer: Response| {
        let answer = answer.expect(504);
        assert_eq!(
            answer.header("content-type"),
            Some("application/problem+json")
        );
        let problem: Value = serde_json::from_slice(&answer.body).expect("JSON");
        assert_eq!(problem["status"], 504, "{problem}");
        answer
    };
    let ask =
        |prefer: &[(&str, &str)]| expect_504(http.request("PUT", "/items/1", prefer, Some(b"{}")));
    // The first request ever also waits for the topics; not this way.
    let answer = ask(&[]);
    assert_eq!(answer.header("preference-applied"), None);
    for prefer in [
        "wait=1",
        "respond-async, wait=1",
        "handling=lenient; x, wait=\"1\"",
    ] {
        let answer = takes(Duration::from_secs(1), || ask(&[("prefer", prefer)]));
        answer.expect_applied("wait=1");
    }
    takes(Duration::from_secs(2), || ask(&[]));
}

/// A wait that ends says nothing about the exchange after it on the connection.
pub(crate) fn a_reply_after_the_504_is_not_the_next_answer(env: &Env) {
    let topics = env.correlated(1);
    let service = Service::reading(&topics.requests, 1);
    let _service = service.start(env, |request| {
        let late = request.record.text() == "late";
        let delay = Duration::from_millis(if late { 1_200 } else { 400 });
        vec![Reply::echo(request).after(delay)]
    });
    let gateway = env.mapping(&Mapping::sync(&topics));
    let mut client = gateway.http().connect();
    for round in 0..2 {
        let path = format!("/items/{round}");
        client.send(request(
            "PUT",
            &path,
            &[("prefer", "wait=1")],
            Some(b"late"),
        ));
        client.receive("PUT").expect("an answer").expect(504);
        client.send(request("PUT", &path, &[], Some(b"soon")));
        let answer = client.receive("PUT").expect("an answer").expect(200);
        assert_eq!(answer.text(), format!("{path} soon"));
    }
}

pub(crate) fn a_key_may_come_from_the_body(env: &Env) {
    let topics = env.correlated(1);
    let service = Service::reading(&topics.requests, 1).start(env, |r| vec![Reply::echo(r)]);
    let with = |key: &str| {
        format!(
            "capability: produce\ntopic: {}\nkey: {key}\nreply-to: {}",
            topics.requests, topics.replies
        )
    };
    let mapping = Mapping::default()
        .route(&[("POST", "/items")], &with("${body./id}"))
        .route(
            &[("POST", "/orders")],
            &with("order-${body./order/lines/0/sku}"),
        );
    let gateway = env.mapping(&mapping);
    let http = gateway.http();
    let post = |path: &str, body: &str| http.request("POST", path, &[JSON], Some(body.as_bytes()));
    let key = |http: Http, path: &str, body: &str| {
        http.request("POST", path, &[JSON], Some(body.as_bytes()))
            .expect(200);
        let newest = service.requests().pop().expect("it was answered").record;
        assert_eq!(newest.text(), body, "the body arrives as it was sent");
        String::from_utf8(newest.key.expect("a key")).expect("text")
    };
    assert_eq!(key(http, "/items", r#"{ "id" : "a b" }"#), "a b");
    assert_eq!(key(http, "/items", r#"{"id":17,"name":"x"}"#), "17");
    assert_eq!(
        key(http, "/items", "{\"id\":\"\\u00fc\\\"${params.id}\"}"),
        "ü\"${params.id}"
    );
    let order = r#"{"order":{"lines":[{"sku":"s-1"},{"sku":"s-2"}]}}"#;
    assert_eq!(key(http, "/orders", order), "order-s-1");

    let before = service.requests().len();
    for body in ["{}", r#"{"ID":"1"}"#, "[]", "", "{\"id\":", "no JSON"] {
        let answer = post("/items", body).expect(400);
        assert!(
            answer.text().contains("body./id"),
            "{body}: {}",
            answer.text()
        );
    }
    let answer = post("/orders", r#"{"order":{"lines":[]}}"#).expect(400);
    assert!(
        answer.text().contains("body./order/lines/0/sku"),
        "{}",
        answer.text()
    );
    env.kafka.await_log(&topics.requests, 1, before);
}
