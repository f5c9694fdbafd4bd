//! The records of calls, the calls that records answer, and what reply records say.

use std::sync::Arc;

use super::produce::ProduceCall;
use super::reply::{ReplyBody, ReplyPart};
use super::*;
use crate::clock::UnixMillis;
use crate::config::{Acks, HttpServer};
use crate::http::Method;
use crate::kafka::correlation::{Reply, ReplyScan};
use crate::kafka::error_code::ErrorCode;
use crate::kafka::fetcher::FetchedPartition;
use crate::kafka::producer::Record;
use crate::kafka::record_batch::BatchBuilder;
use crate::mapping::access::Anybody;
use crate::mapping::grpc::tests::{KEY, KnownTo, ask, call, kafka_server};
use crate::mapping::http_kafka::fetch::RecordFilter;

const UNARY: &str = "/example.EchoService/EchoUnary";
/// The hash of `EchoUnary` with its reply in `responses` and an override of the value `test`, as Zilla computes it.
const HASH: &str = "479f2c3fb58bc3f04bbe15440a657670";

fn with_route(with: &str) -> Arc<HttpServer> {
    kafka_server(&format!(
        "routes: [{{with: {{{with}}}, exit: cache_client}}]"
    ))
}

fn produce(server: &HttpServer, headers: &[(&str, &str)]) -> ProduceCall {
    match call(server, UNARY, headers).target {
        Target::Produce(call) => *call,
        other => panic!("no records: {other:?}"),
    }
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

#[test]
fn the_correlation_id_is_zillas() {
    let server = with_route(
        "capability: produce, topic: requests, overrides: {custom: test}, reply-to: responses",
    );
    let expected = format!("{KEY}-{HASH}");
    let sent = produce(&server, &[("idempotency-key", KEY)]);
    assert_eq!((sent.id, sent.is_ours), (expected.clone().into(), false));
    let made_up = produce(&server, &[]);
    assert_eq!((made_up.id, made_up.is_ours), (expected.into(), true));
    // Neither metadata, nor the key, nor the topic of the requests are in it; an empty key is none.
    let other = with_route(
        "capability: produce, topic: other, key: k, overrides: {other: test}, reply-to: responses",
    );
    let sent = produce(&other, &[("idempotency-key", ""), ("a", "b")]);
    assert_eq!(sent.id, format!("{KEY}-{HASH}"));
    assert!(sent.is_ours);
}

/// What Zilla wrote for its example `grpc.kafka.echo`.
#[test]
fn the_correlation_id_is_the_one_that_zilla_was_seen_to_write() {
    let server = with_route("capability: produce, topic: echo-messages, reply-to: echo-messages");
    let path = "/grpc.examples.echo.Echo/UnaryEcho";
    let Target::Produce(found) = call(&server, path, &[("idempotency-key", "k")]).target else {
        panic!("no records");
    };
    assert!(found.id.starts_with(b"k-c4c953f5"), "{:?}", found.id);
}

#[test]
fn what_tells_calls_apart_is_in_the_correlation_id() {
    let id = |with: &str, method: &str| {
        let server = with_route(with);
        match call(&server, &format!("/example.EchoService/{method}"), &[]).target {
            Target::Produce(call) => call.id,
            other => panic!("no records: {other:?}"),
        }
    };
    let ids = [
        id("capability: produce, topic: a, reply-to: b", "EchoUnary"),
        id("capability: produce, topic: a, reply-to: b", "EchoBidi"),
        id("capability: produce, topic: a, reply-to: c", "EchoUnary"),
        id(
            "capability: produce, topic: a, reply-to: b, overrides: {x: y}",
            "EchoUnary",
        ),
    ];
    for (index, one) in ids.iter().enumerate() {
        assert!(!ids[index + 1..].contains(one), "{ids:?}");
    }
}

#[test]
fn the_names_of_record_headers_are_in_the_correlation_id() {
    let named = kafka_server(
        "options: {idempotency: {metadata: x-key}, correlation: {headers: {service: s, method: m, correlation-id: c, reply-to: r}}}
    routes: [{with: {capability: produce, topic: requests, overrides: {custom: test}, reply-to: responses}, exit: cache_client}]",
    );
    let call = produce(&named, &[("x-key", "k"), ("idempotency-key", "other")]);
    assert!(call.id.starts_with(b"k-"));
    assert_ne!(call.id, format!("k-{HASH}"));
    assert_eq!(call.reply.as_ref().unwrap().header, "c");
    assert_eq!(
        headers(&call.half_close())[1..5],
        [
            "s=example.EchoService".to_owned(),
            "m=EchoUnary".to_owned(),
            "r=responses".to_owned(),
            format!("c={}", str::from_utf8(&call.id).unwrap()),
        ]
    );
}

#[test]
fn the_headers_of_a_record_come_in_zillas_order() {
    let server = with_route(
        "capability: produce, topic: requests, acks: leader_only, overrides: {Custom: test, zilla:identity: bob}, reply-to: responses",
    );
    let call = produce(
        &server,
        &[
            ("idempotency-key", "k"),
            ("grpc-timeout", "1S"),
            ("data-bin", "AAE="),
            ("te", "trailers"),
            ("custom", "own"),
        ],
    );
    let id = str::from_utf8(&call.id).unwrap();
    let expected = [
        "Custom=test",
        "zilla:identity=bob",
        "zilla:service=example.EchoService",
        "zilla:method=EchoUnary",
        "zilla:reply-to=responses",
        &format!("zilla:correlation-id={id}"),
        "meta:idempotency-key=k",
        "meta:grpc-timeout=1S",
        "meta:data-bin=AAE=",
        "meta:custom=own",
        // Own, behind all that is Zilla's.
        "sluice:caller=59410e57-3e0f-4b61-9328-f645a7968ac8",
    ];
    let message = call.message(Bytes::from_static(b"\x0a\x04test"));
    assert_eq!(headers(&message), expected);
    assert_eq!(message.value.as_deref(), Some(&b"\x0a\x04test"[..]));
    assert_eq!(message.key.as_ref(), Some(&call.id));
    assert_eq!(
        (call.topic.as_str(), call.acks),
        ("requests", Acks::LeaderOnly)
    );
    assert_eq!(call.reply.as_ref().unwrap().topic, "responses");
    let half_close = call.half_close();
    assert_eq!(
        (half_close.key, half_close.value),
        (Some(call.id.clone()), None)
    );
    assert_eq!(headers(&call.half_close()), expected);
}

#[test]
fn a_record_of_a_call_that_is_cancelled_says_so() {
    let server = with_route("capability: produce, topic: requests, reply-to: responses");
    let call = produce(&server, &[("idempotency-key", "k")]);
    let cancelled = call.cancelled();
    assert_eq!(
        (cancelled.key.as_ref(), cancelled.value.as_ref()),
        (Some(&call.id), None)
    );
    let (before, after) = (headers(&call.half_close()), headers(&cancelled));
    assert_eq!(after[..before.len()], before);
    assert_eq!(after[before.len()], "zilla:status=1");
    assert!(after[before.len() + 1].starts_with("zilla:message="));
}

#[test]
fn an_empty_message_is_no_tombstone() {
    let server = with_route("capability: produce, topic: requests, reply-to: responses");
    let record = produce(&server, &[]).message(Bytes::new());
    assert_eq!(record.value, Some(Bytes::new()));
}

#[test]
fn a_route_may_have_a_key_of_its_own() {
    let server = with_route("capability: produce, topic: requests, key: k, reply-to: responses");
    let call = produce(&server, &[]);
    let key = Some(Bytes::from_static(b"k"));
    assert_eq!(call.message(Bytes::new()).key, key);
    assert_eq!(call.half_close().key, key);
    assert_eq!(call.cancelled().key, key);
    assert_ne!(call.id, "k");
}

#[test]
fn identities_are_filled_in() {
    let server = with_route(
        "capability: produce, topic: requests, key: \"k-${guarded['h'].identity}\",
      overrides: {who: \"${guarded['g'].identity}\", team: \"${guarded['g'].attributes.team}\"}, reply-to: responses",
    );
    let asked = |access: &dyn Access| {
        let headers = [("content-type", "application/grpc")];
        match ask(&server, Method::Post, UNARY, &headers, access)
            .unwrap()
            .target
        {
            Target::Produce(call) => *call,
            other => panic!("no records: {other:?}"),
        }
    };
    let known = asked(&KnownTo(&[0, 1]));
    let who = headers(&known.half_close());
    assert!(who[0].starts_with("who=ann-"), "{who:?}");
    assert_eq!(who[1], "team=");
    let key = known.half_close().key.unwrap();
    assert!(key.starts_with(b"k-ann-"), "{key:?}");
    assert_ne!(&key[6..], &who[0].as_bytes()[8..], "two guards");
    // Whom nobody knows has an empty identity, and another call than somebody who is known.
    let unknown = asked(&Anybody);
    assert_eq!(headers(&unknown.half_close())[0], "who=");
    assert_eq!(unknown.half_close().key.as_deref(), Some(&b"k-"[..]));
    assert_ne!(known.id, unknown.id);
}

#[test]
fn one_way_records_name_no_call() {
    let server = with_route("capability: produce, topic: items, overrides: {custom: test}");
    let call = produce(&server, &[("idempotency-key", "k"), ("a", "b")]);
    assert!(call.reply.is_none());
    let record = call.message(Bytes::from_static(b"x"));
    assert_eq!(
        headers(&record),
        ["custom=test", "meta:idempotency-key=k", "meta:a=b"]
    );
    // Without a topic for replies the id is the key alone.
    assert_eq!(record.key.as_deref(), Some(&b"k"[..]));
    let made_up = produce(&server, &[]).message(Bytes::new());
    assert_eq!(made_up.key.as_deref(), Some(KEY.as_bytes()));
}

#[test]
fn routes_are_taken_by_method_and_metadata_and_guards() {
    let server = kafka_server(
        "routes:
      - {when: [{method: example.EchoService/EchoUnary, metadata: {to: a}}], with: {capability: produce, topic: a}, exit: cache_client}
      - {guarded: {g: []}, with: {capability: produce, topic: b}, exit: cache_client}
      - {when: [{method: example.EchoService/EchoBidi}], with: {capability: produce, topic: c}, exit: cache_client}",
    );
    let topic = |path: &str, to: &str, access: &dyn Access| {
        let headers = [("content-type", "application/grpc"), ("to", to)];
        ask(&server, Method::Post, path, &headers, access).map(|call| match call.target {
            Target::Produce(found) => (call.route, found.topic),
            other => panic!("no records: {other:?}"),
        })
    };
    let taken = |number, topic: &str| Ok((Some(number), topic.to_owned()));
    let bidi = "/example.EchoService/EchoBidi";
    assert_eq!(topic(UNARY, "a", &KnownTo(&[0])), taken(0, "a"));
    assert_eq!(topic(UNARY, "b", &KnownTo(&[0])), taken(1, "b"));
    assert_eq!(topic(bidi, "a", &KnownTo(&[])), taken(2, "c"));
    assert_eq!(
        topic(UNARY, "b", &KnownTo(&[])),
        Err(RequestError::Forbidden)
    );
    let none = kafka_server(
        "routes: [{when: [{method: a/b}], with: {capability: produce, topic: a}, exit: cache_client}]",
    );
    let refused = call(&none, UNARY, &[]);
    let Target::Refused(status) = refused.target else {
        panic!("{refused:?}");
    };
    assert_eq!(
        status.to_string(),
        "UNIMPLEMENTED: no route takes this method"
    );
    assert_eq!(refused.route, None);
}

fn fetched(mapping: &str, headers: &[(&str, &str)]) -> FetchCall {
    match call(&kafka_server(mapping), UNARY, headers).target {
        Target::Fetch(call) => *call,
        other => panic!("not from a topic: {other:?}"),
    }
}

#[test]
fn a_stream_of_records_goes_on_where_the_client_is() {
    let mapping = "routes: [{with: {capability: fetch, topic: messages}, exit: cache_client}]";
    let one: Progress = [(0, 1)].into_iter().collect();
    for headers in [
        &[("last-message-id", "AQIAAg")][..],
        &[("last-message-id", "AQIAAg==")],
        &[("last-message-id-bin", "AQIAAg==")],
    ] {
        assert_eq!(
            fetched(mapping, headers).resume,
            Some(one.clone()),
            "{headers:?}"
        );
    }
    for headers in [
        &[][..],
        &[("last-message-id", "?")],
        &[("last-id", "AQIAAg")],
    ] {
        assert_eq!(fetched(mapping, headers).resume, None, "{headers:?}");
    }
    let found = fetched(mapping, &[]);
    assert_eq!(found.topic, "messages");
    assert!(found.selection.filters.is_empty());
    assert_eq!(
        found.selection.form,
        Form::Message(MessageForm { field: 32_767 })
    );
}

#[test]
fn a_stream_of_records_may_be_filtered_and_have_names_of_its_own() {
    let mapping = "options: {reliability: {field: 7, metadata: last-id}}
    routes: [{with: {capability: fetch, topic: messages, filters: [{key: k, headers: {who: \"${guarded['g'].identity}\"}}]}, exit: cache_client}]";
    let found = fetched(mapping, &[("last-id", "AQIAAg")]);
    assert!(found.resume.is_some());
    assert_eq!(
        found.selection.form,
        Form::Message(MessageForm { field: 7 })
    );
    let expected = RecordFilter {
        key: Some(b"k".to_vec()),
        headers: vec![(b"who".to_vec(), Vec::new())],
    };
    assert_eq!(found.selection.filters, [expected]);
}

/// What a reply record says.
fn part(value: Option<&[u8]>, headers: &[(&str, Option<&str>)]) -> ReplyPart {
    let mut builder = BatchBuilder::new();
    let id: (&[u8], Option<&[u8]>) = (b"zilla:correlation-id", Some(b"k-0"));
    let others = headers
        .iter()
        .map(|(name, value)| (name.as_bytes(), value.map(str::as_bytes)));
    builder.append(
        UnixMillis(1),
        Some(b"k-0"),
        value,
        std::iter::once(id).chain(others),
    );
    let fetched = FetchedPartition {
        key: ("replies".into(), 0),
        error: ErrorCode::NONE,
        last_stable_offset: 1,
        log_start_offset: 0,
        aborted: Vec::new(),
        records: Bytes::from(builder.finish(-1, -1, -1).to_vec()),
    };
    let names = [Bytes::from_static(b"zilla:correlation-id")].into();
    let mut scan = ReplyScan::new(0, 0, names);
    let seen = scan.ingest(&fetched).replies.pop().unwrap();
    let reply: Reply = seen.record().reply;
    ReplyPart::of(&reply).unwrap()
}

fn metadata(pairs: &[(&'static str, &'static str)]) -> super::super::grpc::Metadata {
    pairs
        .iter()
        .map(|(name, value)| (Bytes::from(*name), Bytes::from(*value)))
        .collect()
}

#[test]
fn a_reply_with_a_value_is_a_message() {
    let found = part(
        Some(b"\x0a\x04test"),
        &[
            ("meta:a", Some("1")),
            ("meta:data-bin", Some("AAE=")),
            ("a", Some("2")),
            ("meta:a", Some("3")),
            ("sluice:attempt", Some("run")),
        ],
    );
    assert_eq!(
        found,
        ReplyPart {
            attempt: Some(Bytes::from_static(b"run")),
            metadata: metadata(&[("a", "1"), ("data-bin", "AAE="), ("a", "3")]),
            body: ReplyBody::Message(Bytes::from_static(b"\x0a\x04test")),
        }
    );
    let empty = part(Some(b""), &[("zilla:status", Some("5"))]);
    assert_eq!(empty.body, ReplyBody::Message(Bytes::new()));
    assert_eq!(empty.attempt, None);
}

#[test]
fn a_reply_without_a_value_is_the_end() {
    let status = |headers: &[(&str, Option<&str>)]| match part(None, headers).body {
        ReplyBody::End { status, .. } => status.to_string(),
        ReplyBody::Message(_) => panic!("a message"),
    };
    assert_eq!(status(&[]), "OK");
    assert_eq!(status(&[("zilla:status", Some("0"))]), "OK");
    assert_eq!(
        status(&[
            ("zilla:status", Some("5")),
            ("zilla:message", Some("no such thing"))
        ]),
        "NOT_FOUND: no such thing"
    );
    assert_eq!(status(&[("zilla:status", Some("16"))]), "UNAUTHENTICATED");
    assert_eq!(status(&[("zilla:status", Some("17"))]), "UNKNOWN");
    assert_eq!(status(&[("zilla:status", None)]), "UNKNOWN");
    let found = part(
        None,
        &[
            ("zilla:status", Some("0")),
            ("trailer:cost", Some("5")),
            ("meta:a", Some("b")),
        ],
    );
    assert_eq!(found.metadata, metadata(&[("a", "b")]));
    let ReplyBody::End { trailers, .. } = found.body else {
        panic!("a message");
    };
    assert_eq!(trailers, metadata(&[("cost", "5")]));
}

#[test]
fn what_cannot_be_metadata_is_left_out_of_a_reply() {
    let bad = [
        ("meta:", Some("x")),
        ("meta:Upper", Some("x")),
        ("meta:bad name", Some("x")),
        ("meta::status", Some("500")),
        ("meta:content-type", Some("text/plain")),
        ("meta:content-length", Some("5")),
        ("meta:transfer-encoding", Some("chunked")),
        ("meta:connection", Some("close")),
        ("meta:grpc-status", Some("0")),
        ("meta:grpc-encoding", Some("gzip")),
        ("meta:line", Some("a\r\nb: c")),
        ("meta:data-bin", Some("%")),
        ("trailer:grpc-status", Some("0")),
        ("trailer:Upper", Some("x")),
    ];
    let found = part(None, &bad);
    assert_eq!(found.metadata, metadata(&[]));
    let ReplyBody::End {
        status, trailers, ..
    } = found.body
    else {
        panic!("a message");
    };
    assert!(status.is_ok());
    assert_eq!(trailers, metadata(&[]));
}
