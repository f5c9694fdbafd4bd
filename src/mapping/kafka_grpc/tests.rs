//! What request records ask for, and the records that answer them.

use std::sync::Arc;

use super::*;
use crate::config::{self, KafkaGrpc};
use crate::kafka::record_batch::{Batch, BatchBuilder, Records};

const CONFIG: &str = "
name: example
guards: {g: {type: inline}}
bindings:
  remote:
    type: kafka-grpc
    kind: remote_server
    entry: cache_client
    OPTIONS
    routes:
      - when:
          - {topic: requests, reply-to: replies, method: example.EchoService/EchoUnary, key: k, headers: {kind: a, more: b}}
          - {topic: requests, reply-to: replies, method: example.EchoService/EchoBidi}
        with: {scheme: http, authority: localhost}
        exit: service
      - when:
          - {topic: requests, reply-to: other, method: example.EchoService/*}
          - {topic: more, reply-to: replies}
        with: {scheme: http, authority: localhost}
        exit: service
  service:
    type: grpc
    kind: client
    routes:
      - {guarded: {g: []}, exit: guarded}
      - {when: [{method: example.EchoService/EchoUnary, metadata: {to: a}}, {method: example.EchoService/EchoBidi}], exit: first}
      - {when: [{metadata: {data: {base64: AAE=}}}], exit: second}
  guarded: {type: http, kind: client, exit: tcp}
  first: {type: http, kind: client, exit: tcp}
  second: {type: http, kind: client, exit: tcp}
  cache_client: {type: kafka, kind: cache_client, exit: cache_server}
  cache_server: {type: kafka, kind: cache_server, exit: client}
  client: {type: kafka, kind: client, options: {servers: [\"kafka:9092\"]}, exit: tcp}
  tcp: {type: tcp, kind: client}
";

fn server_with(options: &str) -> Arc<KafkaGrpc> {
    let nothing = config::Surroundings {
        env: &|_| None,
        directory: "".as_ref(),
        read_file: &|_| Err(std::io::ErrorKind::NotFound.into()),
    };
    let text = CONFIG.replace("OPTIONS", &format!("options: {{{options}}}"));
    let plan = config::load("zilla.yaml", &text, &nothing).unwrap_or_else(|mistakes| {
        let lines: Vec<_> = mistakes.iter().map(ToString::to_string).collect();
        panic!("{}\n{text}", lines.join("\n"))
    });
    plan.remote_servers[0].clone()
}

type Header<'h> = (&'h str, Option<&'h str>);

const ID: &str = "59410e57-3e0f-4b61-9328-f645a7968ac8-479f2c3fb58bc3f04bbe15440a657670";

/// The headers of a call of this method, with these more.
fn of_method<'h>(method: &'h str, others: &[Header<'h>]) -> Vec<Header<'h>> {
    let known = [
        ("zilla:service", Some("example.EchoService")),
        ("zilla:method", Some(method)),
        ("zilla:reply-to", Some("replies")),
        ("zilla:correlation-id", Some(ID)),
    ];
    known.into_iter().chain(others.iter().copied()).collect()
}

/// Reads a record of 5 s after the epoch.
fn read_with(
    server: &KafkaGrpc,
    topic: &str,
    key: &str,
    value: Option<&str>,
    headers: &[Header<'_>],
) -> Asked {
    let mut builder = BatchBuilder::new();
    builder.append(
        UnixMillis(5_000),
        Some(key.as_bytes()),
        value.map(str::as_bytes),
        headers
            .iter()
            .map(|(name, value)| (name.as_bytes(), value.map(str::as_bytes))),
    );
    let batch = Batch::parse(builder.finish(-1, -1, -1).freeze()).unwrap();
    let inflated = batch.inflate(1 << 20).unwrap();
    let mut records = Records::new(&batch.header, &inflated).unwrap();
    let record = records.next().unwrap().unwrap();
    read(server, topic, &record)
}

fn read_of(headers: &[Header<'_>]) -> Asked {
    read_with(&server_with(""), "requests", "k", Some("hi"), headers)
}

fn request(asked: Asked) -> RequestRecord {
    match asked {
        Asked::Request(request) => *request,
        other => panic!("no request: {other:?}"),
    }
}

fn pairs(metadata: &Metadata) -> Vec<(&str, &str)> {
    let text = |bytes| str::from_utf8(bytes).unwrap();
    metadata
        .iter()
        .map(|(name, value)| (text(name), text(value)))
        .collect()
}

#[test]
fn a_record_says_what_is_called_and_where_the_reply_goes() {
    let found = request(read_of(&of_method(
        "EchoBidi",
        &[
            ("meta:a", Some("1")),
            ("meta:idempotency-key", Some("own")),
            ("meta:data-bin", Some("AAE=")),
            ("meta:grpc-timeout", Some("250m")),
            ("other", Some("x")),
        ],
    )));
    assert_eq!(found.id, ID);
    assert_eq!(found.reply_to, "replies");
    assert_eq!(found.timeout, Some(Duration::from_millis(250)));
    assert_eq!(found.timestamp, UnixMillis(5_000));
    assert_eq!(found.body, RequestBody::Message(Bytes::from_static(b"hi")));
    let call = &found.call;
    assert_eq!(
        (call.route, call.service.as_str(), call.method.as_str()),
        (0, "example.EchoService", "EchoBidi")
    );
    assert_eq!(
        pairs(&call.metadata),
        [("a", "1"), ("idempotency-key", "own"), ("data-bin", "AAE=")]
    );
}

#[test]
fn routes_are_taken_by_topic_reply_topic_service_and_method() {
    let server = server_with("");
    let route = |topic: &str, reply_to: &str, service: &str, method: &str| {
        let headers = [
            ("zilla:correlation-id", Some("c")),
            ("zilla:reply-to", Some(reply_to)),
            ("zilla:service", Some(service)),
            ("zilla:method", Some(method)),
        ];
        match read_with(&server, topic, "x", Some(""), &headers) {
            Asked::Request(request) => Some(request.call.route),
            Asked::Other => None,
            other @ Asked::Unreadable(_) => panic!("{other:?}"),
        }
    };
    let echo = "example.EchoService";
    assert_eq!(route("requests", "replies", echo, "EchoBidi"), Some(0));
    assert_eq!(route("requests", "other", echo, "EchoBidi"), Some(1));
    assert_eq!(route("requests", "other", echo, "Anything"), Some(1));
    assert_eq!(route("more", "replies", "any.Service", "Any"), Some(1));
    // Nobody's, as far as this binding is concerned.
    assert_eq!(route("requests", "replies", echo, "Anything"), None);
    assert_eq!(route("requests", "other", "any.Service", "Any"), None);
    assert_eq!(route("requests", "elsewhere", echo, "EchoBidi"), None);
    assert_eq!(route("more", "other", echo, "EchoBidi"), None);
    assert_eq!(route("others", "replies", echo, "EchoBidi"), None);
}

#[test]
fn routes_are_taken_by_key_and_headers() {
    let server = server_with("");
    let is_taken = |key: &str, headers: &[Header<'_>]| {
        let headers = of_method("EchoUnary", headers);
        let found = read_with(&server, "requests", key, Some(""), &headers);
        matches!(found, Asked::Request(_))
    };
    let (kind, more) = (("kind", Some("a")), ("more", Some("b")));
    assert!(is_taken("k", &[kind, more]));
    assert!(is_taken("k", &[("kind", Some("x")), more, kind]));
    assert!(!is_taken("K", &[kind, more]));
    assert!(!is_taken("k", &[kind]));
    assert!(!is_taken("k", &[kind, ("more", None)]));
    assert!(!is_taken("k", &[kind, ("more", Some("B"))]));
}

#[test]
fn the_service_is_told_the_idempotency_key_that_the_id_was_made_of() {
    let key = |id: &str, others: &[Header<'_>]| {
        let mut headers = of_method("EchoBidi", others);
        headers[3] = ("zilla:correlation-id", Some(id));
        let found = request(read_of(&headers));
        let metadata = pairs(&found.call.metadata);
        let found = metadata
            .iter()
            .filter(|(name, _)| *name == "idempotency-key");
        let values: Vec<_> = found.map(|(_, value)| (*value).to_owned()).collect();
        assert_eq!(values.len(), 1, "{metadata:?}");
        values[0].clone()
    };
    assert_eq!(key(ID, &[]), "59410e57-3e0f-4b61-9328-f645a7968ac8");
    assert_eq!(key("a-b-479f2c3fb58bc3f04bbe15440a657670", &[]), "a-b");
    // An id of another make is as good.
    assert_eq!(key("own", &[]), "own");
    assert_eq!(
        key("a-479f2c3fb58bc3f04bbe15440a65767g", &[]),
        "a-479f2c3fb58bc3f04bbe15440a65767g"
    );
    assert_eq!(
        key("-479f2c3fb58bc3f04bbe15440a657670", &[]),
        "-479f2c3fb58bc3f04bbe15440a657670"
    );
    assert_eq!(key(ID, &[("meta:idempotency-key", Some("sent"))]), "sent");
}

#[test]
fn names_may_be_others_than_zillas() {
    let server = server_with(
        "idempotency: {metadata: x-key}, correlation: {headers: {service: s, method: m, correlation-id: c, reply-to: r}}",
    );
    let headers = [
        ("s", Some("example.EchoService")),
        ("m", Some("EchoBidi")),
        ("c", Some("own")),
        ("r", Some("replies")),
        ("zilla:method", Some("EchoUnary")),
    ];
    let found = request(read_with(&server, "requests", "", Some(""), &headers));
    assert_eq!(found.call.method, "EchoBidi");
    assert_eq!(pairs(&found.call.metadata), [("x-key", "own")]);
    let zillas = of_method("EchoBidi", &[]);
    assert_eq!(
        read_with(&server, "requests", "", Some(""), &zillas),
        Asked::Other
    );
}

#[test]
fn what_cannot_be_metadata_is_left_out_of_a_call() {
    let found = request(read_of(&of_method(
        "EchoBidi",
        &[
            ("meta:grpc-timeout", Some("soon")),
            ("meta::path", Some("/")),
            ("meta:te", Some("trailers")),
            ("meta:content-type", Some("text/plain")),
            ("meta:content-length", Some("1")),
            ("meta:grpc-encoding", Some("gzip")),
            ("meta:Upper", Some("x")),
            ("meta:line", Some("a\nb")),
            ("meta:ok", Some("yes")),
        ],
    )));
    assert_eq!(found.timeout, None);
    assert_eq!(
        pairs(&found.call.metadata),
        [
            ("ok", "yes"),
            ("idempotency-key", "59410e57-3e0f-4b61-9328-f645a7968ac8")
        ]
    );
}

#[test]
fn a_record_without_a_value_says_how_the_clients_side_ended() {
    let server = server_with("");
    let body = |value: Option<&str>, others: &[Header<'_>]| {
        let headers = of_method("EchoBidi", others);
        request(read_with(&server, "requests", "", value, &headers)).body
    };
    assert_eq!(body(None, &[]), RequestBody::HalfClose);
    assert_eq!(
        body(None, &[("zilla:status", Some("0"))]),
        RequestBody::HalfClose
    );
    assert_eq!(
        body(None, &[("zilla:status", Some("1"))]),
        RequestBody::Cancelled
    );
    assert_eq!(body(Some(""), &[]), RequestBody::Message(Bytes::new()));
    assert_eq!(
        body(Some("x"), &[("zilla:status", Some("1"))]),
        RequestBody::Message(Bytes::from_static(b"x"))
    );
}

#[test]
fn a_call_without_a_service_or_a_method_is_answered_all_the_same() {
    let without = |name: &str| {
        let mut headers = of_method("EchoBidi", &[]);
        headers.retain(|(other, _)| *other != name);
        read_with(&server_with(""), "more", "", None, &headers)
    };
    let unreadable = Asked::Unreadable(Unreadable {
        id: Bytes::from_static(ID.as_bytes()),
        reply_to: "replies".to_owned(),
    });
    assert_eq!(without("zilla:service"), unreadable);
    assert_eq!(without("zilla:method"), unreadable);
    assert_eq!(without("zilla:correlation-id"), Asked::Other);
    assert_eq!(without("zilla:reply-to"), Asked::Other);
}

#[test]
fn a_call_without_a_service_is_another_bindings_if_its_replies_go_elsewhere() {
    let headers = [
        ("zilla:correlation-id", Some("c")),
        ("zilla:reply-to", Some("elsewhere")),
    ];
    let server = server_with("");
    assert_eq!(read_with(&server, "more", "", None, &headers), Asked::Other);
    assert_eq!(read_with(&server, "more", "", Some("x"), &[]), Asked::Other);
}

#[test]
fn a_call_goes_to_the_first_client_whose_route_takes_it() {
    let server = server_with("");
    let client = |method: &str, others: &[Header<'_>]| {
        let found = request(read_of(&of_method(method, others)));
        let route = &server.routes[found.call.route];
        client_of(route, &found.call).map(|client| client.name.clone())
    };
    // Whoever made the record is not known here: the guarded route is nobody's.
    assert_eq!(client("EchoBidi", &[]).as_deref(), Some("first"));
    let matched = [("kind", Some("a")), ("more", Some("b"))];
    let with = |other| [matched[0], matched[1], other];
    assert_eq!(
        client("EchoUnary", &with(("meta:to", Some("a")))).as_deref(),
        Some("first")
    );
    assert_eq!(
        client("EchoUnary", &with(("meta:data-bin", Some("AAE")))).as_deref(),
        Some("second")
    );
    assert_eq!(client("EchoUnary", &with(("meta:to", Some("b")))), None);
}

/// The headers in lines: `name=value`.
fn headers(record: &Record) -> Vec<String> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    record
        .headers
        .iter()
        .map(|(name, value)| format!("{}={}", text(name), text(value.as_deref().unwrap_or(b"?"))))
        .collect()
}

fn metadata(pairs: &[(&'static str, &'static str)]) -> Metadata {
    pairs
        .iter()
        .map(|(name, value)| (Bytes::from(*name), Bytes::from(*value)))
        .collect()
}

fn replies() -> ReplyRecords {
    ReplyRecords::new(
        &GrpcCorrelation::default(),
        &Bytes::from_static(b"c-1"),
        Bytes::from_static(b"run"),
    )
}

#[test]
fn the_first_reply_carries_the_metadata_and_the_last_one_the_status() {
    let mut records = replies();
    records.begin(metadata(&[("a", "1"), ("data-bin", "AAE=")]));
    let first = records.message(Bytes::from_static(b"one"));
    let key = Some(Bytes::from_static(b"c-1"));
    assert_eq!(
        (&first.key, first.value.as_deref()),
        (&key, Some(&b"one"[..]))
    );
    assert_eq!(
        headers(&first),
        [
            "zilla:correlation-id=c-1",
            "sluice:attempt=run",
            "meta:a=1",
            "meta:data-bin=AAE="
        ]
    );
    let second = records.message(Bytes::new());
    assert_eq!((&second.key, &second.value), (&key, &Some(Bytes::new())));
    assert_eq!(
        headers(&second),
        ["zilla:correlation-id=c-1", "sluice:attempt=run"]
    );
    let last = records.end(&Status::ok(), &metadata(&[("cost", "5")]), true);
    assert_eq!((&last.key, &last.value), (&key, &None));
    assert_eq!(
        headers(&last),
        [
            "zilla:correlation-id=c-1",
            "sluice:attempt=run",
            "zilla:status=0",
            "trailer:cost=5"
        ]
    );
}

#[test]
fn a_call_that_fails_at_once_has_its_closing_record_alone() {
    let mut records = replies();
    records.begin(metadata(&[("a", "1")]));
    let status = Status::new(Code::NOT_FOUND, "no such thing");
    let last = records.end(&status, &Metadata::new(), true);
    assert_eq!(
        headers(&last),
        [
            "zilla:correlation-id=c-1",
            "sluice:attempt=run",
            "meta:a=1",
            "zilla:status=5",
            "zilla:message=no such thing"
        ]
    );
}

#[test]
fn a_call_that_nobody_served_may_be_run_again() {
    let status = Status::new(Code::UNAVAILABLE, "nobody is there");
    let last = replies().end(&status, &Metadata::new(), false);
    assert_eq!(headers(&last).last().unwrap(), "sluice:unserved=1");
    assert!(headers(&last).contains(&"zilla:status=14".to_owned()));
}
