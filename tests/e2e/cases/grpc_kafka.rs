//! grpc-kafka: what becomes of a call in Kafka, as Zilla's services expect it, and of records as they answer it.

use crate::harness::grpc::{ECHO, Grpc, framed, said};
use crate::harness::grpc_site::{Loop, grpc_echo, grpc_kafka};
use crate::harness::records::{Logged, Record};
use crate::harness::{Env, PATIENCE, eventually};
use std::thread;
use std::time::{Duration, Instant};

/// The names of Zilla's reference vector, which are hashed; all that may differ is a key.
const VECTOR_ID: &str = "59410e57-3e0f-4b61-9328-f645a7968ac8-479f2c3fb58bc3f04bbe15440a657670";
const VECTOR_KEY: &str = "59410e57-3e0f-4b61-9328-f645a7968ac8";

/// Headers that a library of gRPC adds by itself.
const OF_THE_CLIENT: [(&str, &str); 3] = [
    ("x-custom", "1"),
    ("x-bytes-bin", "AAEC"),
    ("grpc-timeout", "20S"),
];

fn assert_named(record: &Record, names: &[&str]) {
    let found: Vec<&str> = record.headers.iter().map(|(name, _)| &**name).collect();
    assert_eq!(found, names, "{record:?}");
}

pub(crate) fn a_call_without_a_reply_is_answered_when_it_is_stored(env: &Env) {
    let topic = env.topic(1, &[]);
    let site = grpc_kafka(
        "",
        &format!("{ECHO}/*"),
        &format!(
            "capability: produce\ntopic: {topic}\nkey: the key\noverrides:\n  zilla:identity: test"
        ),
    );
    let gateway = env.site(&site);
    let client = Grpc::connect(gateway.address());
    let answer = client.unary("hello", &OF_THE_CLIENT);
    answer.expect_texts(&[""]);
    // It was stored before the answer.
    let log = env.kafka.log(&topic, 1);
    let [Logged { record, .. }] = &*log else {
        panic!("one record and no tombstone: {log:?}");
    };
    assert_eq!(record.key.as_deref(), Some(&b"the key"[..]));
    assert_eq!(record.value, Some(said("hello")));
    let expected = [
        ("zilla:identity", "test"),
        ("meta:x-custom", "1"),
        ("meta:x-bytes-bin", "AAEC"),
        ("meta:grpc-timeout", "20S"),
    ];
    assert_eq!(record.shown(), expected);
    // A stream is a record for each message, in order; an empty message is an empty value, not null.
    let pieces: Vec<_> = ["1", "", "3"]
        .iter()
        .map(|text| framed(&said(text)))
        .collect();
    let pieces: Vec<&[u8]> = pieces.iter().map(|piece| &**piece).collect();
    let answer = client.call("ClientStreamingEcho", &[], &pieces);
    answer.expect_texts(&[""]);
    let log = env.kafka.await_log(&topic, 1, 4);
    let values = log[1..].iter().map(|found| found.record.value.clone());
    assert_eq!(
        values.collect::<Vec<_>>(),
        [Some(said("1")), Some(Vec::new()), Some(said("3"))]
    );
}

/// Answers the calls of a topic by hand: one message and the end, or what the case says.
fn reply(env: &Env, topic: &str, id: &str, records: &[Record]) {
    let records: Vec<Record> = records
        .iter()
        .map(|record| Record {
            key: Some(id.into()),
            ..record.clone().header("zilla:correlation-id", id)
        })
        .collect();
    env.kafka.append(topic, 0, &records);
}

fn message(text: &str) -> Record {
    Record {
        value: Some(said(text)),
        ..Record::default()
    }
}

#[track_caller]
fn id_of(found: &Logged) -> String {
    let id = found.record.get("zilla:correlation-id");
    id.expect("a correlation id").to_owned()
}

pub(crate) fn a_call_is_its_messages_and_a_null(env: &Env) {
    let topics = Loop::new(env, 1, 1);
    let gateway = env.site(&topics.produce());
    let client = Grpc::connect(gateway.address());
    let call = thread::spawn(move || {
        let headers = [OF_THE_CLIENT[0], ("idempotency-key", "my-key")];
        let answer = client.unary("hello", &headers);
        (client, answer)
    });
    let log = env.kafka.await_log(&topics.requests, 1, 2);
    let id = id_of(&log[0]);
    assert!(id.starts_with("my-key-") && id.len() == 7 + 32, "{id}");
    let expected = [
        ("zilla:service", ECHO),
        ("zilla:method", "UnaryEcho"),
        ("zilla:reply-to", &topics.replies),
        ("zilla:correlation-id", &id),
        ("meta:x-custom", "1"),
        ("meta:idempotency-key", "my-key"),
    ];
    for found in &log {
        let shown = found.record.shown();
        let (zillas, own) = shown.split_at(expected.len());
        assert_eq!(zillas, expected);
        // Which of those who come with the key it is of.
        assert!(matches!(own, [("sluice:caller", _)]), "{own:?}");
        assert_eq!(found.record.key.as_deref(), Some(id.as_bytes()));
    }
    assert_eq!(log[0].record.value, Some(said("hello")));
    assert_eq!(log[1].record.value, None);
    // A service of Zilla's: no run, no trailers.
    let first = message("hello back")
        .header("meta:x-served-by", "hand")
        .header("meta:content-length", "3");
    let end = Record::default().header("zilla:status", "0");
    reply(env, &topics.replies, &id, &[first, end]);
    let (client, answer) = call.join().expect("a call");
    let answer = answer.expect_texts(&["hello back"]);
    assert_eq!(answer.header("x-served-by"), Some("hand"));
    assert_eq!(answer.header("content-length"), None);

    // A stream of both sides: message by message, before either is at its end.
    let mut bidi = client.begin("BidirectionalStreamingEcho", &[]);
    for n in 0..3 {
        bidi.say(&format!("there {n}"));
        let log = env.kafka.await_log(&topics.requests, 1, 3 + n);
        let id = id_of(&log[2 + n]);
        assert_eq!(log[2 + n].record.value, Some(said(&format!("there {n}"))));
        let back = message(&format!("back {n}"));
        reply(env, &topics.replies, &id, &[back]);
        assert_eq!(bidi.next(), Some(said(&format!("back {n}"))));
    }
    bidi.finish();
    let log = env.kafka.await_log(&topics.requests, 1, 6);
    assert_eq!(log[5].record.value, None);
    assert_named(
        &log[5].record,
        &[
            "zilla:service",
            "zilla:method",
            "zilla:reply-to",
            "zilla:correlation-id",
        ],
    );
    let end = Record::default()
        .header("zilla:status", "9")
        .header("zilla:message", "not \u{e9}nough");
    reply(env, &topics.replies, &id_of(&log[5]), &[end]);
    let answer = bidi.end().expect(9);
    assert_eq!(answer.trailer("grpc-message"), Some("not %C3%A9nough"));
}

pub(crate) fn a_correlation_id_is_zilla_s(env: &Env) {
    let requests = env.topic(1, &[]);
    // The reply topic's name is part of the hash.
    env.kafka.recreate_topic("responses", 1, &[]);
    let proto = "syntax = \"proto3\"; package example; message M { string message = 1; }\
        service EchoService { rpc EchoUnary(M) returns (M); }";
    let site = grpc_kafka(
        "",
        "example.EchoService/*",
        &format!(
            "capability: produce\ntopic: {requests}\nreply-to: responses\noverrides:\n  zilla:identity: test"
        ),
    );
    let site = site.file("protos/fanout.proto", proto);
    let gateway = env.site(&site);
    let client = Grpc::connect(gateway.address());
    let mut call = client.begin_at(
        "/example.EchoService/EchoUnary",
        &[("idempotency-key", VECTOR_KEY)],
    );
    call.say("test");
    call.finish();
    let log = env.kafka.await_log(&requests, 1, 2);
    let expected = [
        ("zilla:identity", "test"),
        ("zilla:service", "example.EchoService"),
        ("zilla:method", "EchoUnary"),
        ("zilla:reply-to", "responses"),
        ("zilla:correlation-id", VECTOR_ID),
        ("meta:idempotency-key", VECTOR_KEY),
    ];
    for found in &log {
        // Behind them, which of those who come with the key it is of.
        assert_eq!(found.record.shown()[..expected.len()], expected);
    }
    let end = Record::default().header("zilla:status", "0");
    reply(env, "responses", VECTOR_ID, &[message("done"), end]);
    call.end().expect_texts(&["done"]);
}

pub(crate) fn nobody_s_reply_is_a_deadline_and_a_null(env: &Env) {
    let topics = Loop::new(env, 1, 1);
    let gateway = env.site(&topics.produce());
    let client = Grpc::connect(gateway.address());
    let begun = Instant::now();
    client.unary("hello", &[("grpc-timeout", "1S")]).expect(4);
    let taken = begun.elapsed();
    assert!(taken >= Duration::from_millis(995), "{taken:?}");
    assert!(taken < Duration::from_secs(3), "{taken:?}");
    // Who comes to it later is told that nobody waits.
    let log = eventually("the call is taken back", PATIENCE, || {
        let log = env.kafka.log(&topics.requests, 1);
        (log.len() == 3).then_some(log)
    });
    assert_eq!(log[2].record.value, None);
    assert_eq!(log[2].record.get("zilla:status"), Some("1"));
    assert_eq!(id_of(&log[2]), id_of(&log[0]));
}

/// The whole way, the service being a gateway's echo: what it takes to go there and back, without another language.
pub(crate) fn calls_go_through_kafka_and_back(env: &Env) {
    let service = grpc_echo("").start("");
    let gateway = env.site(&Loop::new(env, 3, service.address().port()).site());
    let client = Grpc::connect(gateway.address());
    client.unary("hello", &[]).expect_texts(&["hello"]);
    let mut bidi = client.begin("BidirectionalStreamingEcho", &[]);
    for n in 0..5 {
        let text = format!("message {n}");
        bidi.say(&text);
        assert_eq!(bidi.next(), Some(said(&text)));
    }
    bidi.finish();
    assert!(bidi.end().expect(0).messages.is_empty());
    // Many at once, each with its own answer.
    let texts: Vec<String> = (0..50).map(|n| format!("call {n}")).collect();
    let mut calls: Vec<_> = (texts.iter())
        .map(|_| client.begin("UnaryEcho", &[]))
        .collect();
    for (call, text) in calls.iter_mut().zip(&texts).rev() {
        call.say(text);
    }
    for call in &mut calls {
        call.finish();
    }
    for (call, text) in calls.into_iter().zip(&texts) {
        call.end().expect_texts(&[text]);
    }
    // A repeat is the same call.
    let key = [("idempotency-key", "once")];
    client.unary("first", &key).expect_texts(&["first"]);
    client.unary("second", &key).expect_texts(&["first"]);
}
