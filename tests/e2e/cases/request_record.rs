//! What a correlated request leaves in Kafka, byte by byte: a service that was written for Zilla reads it.

use crate::harness::config::{Mapping, correlated};
use crate::harness::gateway::Gateway;
use crate::harness::http::request;
use crate::harness::records::Record;
use crate::harness::replier::{Replier, Reply, Service};
use crate::harness::{Correlated, Env};

/// A gateway, a service that echoes, and what it was asked last.
struct Desk {
    gateway: Gateway,
    service: Replier,
}

impl Desk {
    fn new(env: &Env, topics: &Correlated, mapping: &Mapping) -> Self {
        let service = Service::reading(&topics.requests, 1);
        let service = service.start(env, |request| vec![Reply::echo(request)]);
        let gateway = env.mapping(mapping);
        Self { gateway, service }
    }

    /// Sends these bytes, awaits 200, and returns the record that they became.
    #[track_caller]
    fn record_of(&self, method: &str, bytes: impl AsRef<[u8]>) -> Record {
        let before = self.service.requests().len();
        let mut client = self.gateway.http().connect();
        client.send(bytes);
        client.receive(method).expect("an answer").expect(200);
        let mut requests = self.service.requests();
        assert_eq!(requests.len(), before + 1, "one record for one request");
        requests.pop().expect("one").record
    }
}

/// The real run that Zilla's README shows; the id is a hash of everything that precedes it. The name of the reply topic
/// is part of that: no other case may have it.
pub(crate) fn it_has_the_headers_and_the_id_that_zilla_gives_it(env: &Env) {
    let topics = Correlated {
        requests: env.topic(1, &[]),
        replies: "items-responses".to_owned(),
    };
    env.kafka.recreate_topic(&topics.replies, 1, &[]);
    let desk = Desk::new(env, &topics, &Mapping::sync(&topics));
    let bytes = "PUT /items/5cf7a1d5-3772-49ef-86e7-ba6f2c7d7d07 HTTP/1.1\r\nHost: localhost:7114\r\n\
        User-Agent: curl/7.86.0\r\nAccept: */*\r\nIdempotency-Key: 1\r\nContent-Type: application/json\r\n\
        Content-Length: 27\r\n\r\n{\"greeting\":\"Hello, world\"}";
    let record = desk.record_of("PUT", bytes);
    let expected = [
        (":scheme", "http"),
        (":method", "PUT"),
        (":path", "/items/5cf7a1d5-3772-49ef-86e7-ba6f2c7d7d07"),
        (":authority", "localhost:7114"),
        ("user-agent", "curl/7.86.0"),
        ("accept", "*/*"),
        ("idempotency-key", "1"),
        ("content-type", "application/json"),
        ("zilla:reply-to", "items-responses"),
        ("zilla:correlation-id", "1-b664e68dd5c49716688e3ec1c8c68bb6"),
    ];
    assert_eq!(record.shown(), expected);
    let key = b"5cf7a1d5-3772-49ef-86e7-ba6f2c7d7d07";
    assert_eq!(record.key.as_deref(), Some(&key[..]));
    assert_eq!(record.text(), r#"{"greeting":"Hello, world"}"#);
}

/// The headers between `:scheme` and the reply topic, and the value.
fn forwarded(record: &Record, topics: &Correlated) -> Vec<(String, String)> {
    let shown = record.shown();
    let [(scheme, "http"), forwarded @ .., reply_to, (correlation, _)] = &*shown else {
        panic!("{shown:?}");
    };
    assert_eq!((*scheme, *correlation), (":scheme", "zilla:correlation-id"));
    assert_eq!(*reply_to, ("zilla:reply-to", &*topics.replies));
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    forwarded.iter().map(owned).collect()
}

#[track_caller]
fn assert_forwards(desk: &Desk, topics: &Correlated, bytes: &str, expected: &[(&str, &str)]) {
    let method = bytes.split(' ').next().expect("a method");
    let record = desk.record_of(method, bytes);
    let expected = expected
        .iter()
        .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()));
    let expected: Vec<_> = expected.collect();
    assert_eq!(forwarded(&record, topics), expected, "{bytes}");
}

pub(crate) fn it_carries_the_headers_in_their_order(env: &Env) {
    let topics = env.correlated(1);
    let desk = Desk::new(env, &topics, &Mapping::sync(&topics));
    let forwards = |bytes: &str, expected: &[(&str, &str)]| {
        assert_forwards(&desk, &topics, bytes, expected);
    };
    // `host` stays where it was, with the default port; of repeated ones the last value, where the first was; `prefer`,
    // `connection` and `content-length` are left out. The path is as it came, the key is decoded.
    forwards(
        "PUT /items/a%20b?x=1 HTTP/1.1\r\nX-A: 1\r\nConnection: keep-alive\r\nHost: example.com\r\nX-B:  two \r\n\
         content-length: 2\r\nprefer: wait=10\r\nx-a: 3\r\nX-C:\r\n\r\n{}",
        &[
            (":method", "PUT"),
            (":path", "/items/a%20b?x=1"),
            ("x-a", "3"),
            (":authority", "example.com:80"),
            ("x-b", "two"),
            ("x-c", ""),
        ],
    );
    let newest = desk.service.requests().pop().expect("one").record;
    assert_eq!(newest.key.as_deref(), Some(&b"a b"[..]));
    // `transfer-encoding` is kept.
    forwards(
        "POST /items/1 HTTP/1.1\r\nhost: x:1\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
        &[
            (":method", "POST"),
            (":path", "/items/1"),
            (":authority", "x:1"),
            ("transfer-encoding", "chunked"),
        ],
    );
    let newest = desk.service.requests().pop().expect("one").record;
    assert_eq!(newest.text(), "abcde");
    // The authority of a target in absolute form comes first.
    forwards(
        "PUT http://example.com/items/1 HTTP/1.1\r\nx-a: 1\r\nhost: example.com\r\ncontent-length: 0\r\n\r\n",
        &[
            (":method", "PUT"),
            (":path", "/items/1"),
            (":authority", "example.com:80"),
            ("x-a", "1"),
        ],
    );
}

pub(crate) fn a_delete_has_an_empty_value(env: &Env) {
    let topics = env.correlated(1);
    let desk = Desk::new(env, &topics, &Mapping::sync(&topics));
    for (method, body, value) in [
        ("DELETE", None, ""),
        ("DELETE", Some(&b""[..]), ""),
        ("DELETE", Some(&b"why"[..]), "why"),
        ("GET", None, ""),
        ("POST", Some(&b""[..]), ""),
    ] {
        let record = desk.record_of(method, request(method, "/items/1", &[], body));
        // Not null: that is for routes without a reply.
        assert_eq!(record.value.as_deref(), Some(value.as_bytes()), "{method}");
        assert_eq!(record.get(":method"), Some(method));
    }
}

/// The gateway judges nothing: the suffix is what the service itself put on the item.
pub(crate) fn of_if_match_the_service_s_part_arrives(env: &Env) {
    let topics = env.correlated(1);
    let desk = Desk::new(env, &topics, &Mapping::sync(&topics));
    for (sent, arrives) in [
        ("AQQABAIC/revision=42", Some("revision=42")),
        ("\"AQQABAIC/revision=42\"", Some("revision=42")),
        ("AQIAAg==/a/b", Some("a/b")),
        ("AQQABAIC", None),
        ("\"AQQABAIC\"", None),
    ] {
        let headers = [("x-a", "1"), ("if-match", sent), ("x-b", "2")];
        let record = desk.record_of("PUT", request("PUT", "/items/1", &headers, Some(b"{}")));
        assert_eq!(record.get("if-match"), arrives, "{sent}");
        let names: Vec<&str> = record.shown().iter().map(|(name, _)| *name).collect();
        let at = |name| names.iter().position(|n| *n == name).expect(name);
        let between = if arrives.is_some() { 2 } else { 1 };
        assert_eq!(at("x-b") - at("x-a"), between, "in its place: {names:?}");
    }
    let before = desk.service.requests().len();
    for refused in [
        "*",
        "W/\"AQQABAIC/revision=42\"",
        "\"AQQABAIC/a\", \"AQQABAIC/b\"",
    ] {
        let headers = [("if-match", refused)];
        let answer = desk
            .gateway
            .http()
            .request("PUT", "/items/1", &headers, Some(b"{}"));
        assert_eq!(answer.status, 400, "{refused}: {answer:?}");
    }
    env.kafka.await_log(&topics.requests, 1, before);
}

pub(crate) fn overrides_come_between_the_reply_topic_and_the_id(env: &Env) {
    let topics = env.correlated(1);
    let with =
        correlated(&topics) + "\noverrides:\n  zilla:identity: test\n  a-first: ${params.id}";
    let mapping = Mapping::default().route(&[("PUT", "/items/{id}")], &with);
    let desk = Desk::new(env, &topics, &mapping);
    let put = |path: &str| request("PUT", path, &[("idempotency-key", "1")], Some(b"{}"));
    let record = desk.record_of("PUT", put("/items/7"));
    let shown = record.shown();
    let last: Vec<&str> = shown.iter().rev().take(4).map(|(name, _)| *name).collect();
    let expected = [
        "zilla:correlation-id",
        "a-first",
        "zilla:identity",
        "zilla:reply-to",
    ];
    assert_eq!(last, expected);
    assert_eq!(record.get("zilla:identity"), Some("test"));
    assert_eq!(record.get("a-first"), Some("7"));
}

pub(crate) fn services_may_have_other_names_for_the_headers(env: &Env) {
    let topics = env.correlated(2);
    let names = "correlation:\n  headers:\n    reply-to: x-answer-on\n    correlation-id: x-id";
    let mapping = Mapping::sync(&topics).option(names);
    let service = Service::reading(&topics.requests, 1)
        .reply_partitions(2)
        .headers("x-answer-on", "x-id");
    let service = service.start(env, |request| vec![Reply::echo(request)]);
    let gateway = env.mapping(&mapping);
    for n in 0..4 {
        let path = format!("/items/{n}");
        let answer = gateway.http().put(&path, "{}").expect(200);
        assert_eq!(answer.text(), format!("{path} {{}}"));
        assert_eq!(answer.header("x-id"), None);
    }
    let record = service.requests().remove(0).record;
    assert_eq!(record.get("x-answer-on"), Some(&*topics.replies));
    assert_eq!(record.get("zilla:reply-to"), None);
    assert_eq!(record.get("zilla:correlation-id"), None);
}
