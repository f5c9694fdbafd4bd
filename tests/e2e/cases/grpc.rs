//! gRPC as it is on the wire (gRPC over HTTP/2), by a client that frames as it likes, before an echo.

use crate::harness::gateway::Gateway;
use crate::harness::grpc::{Answer, ECHO, Grpc, flagged, framed, gzipped, said};
use crate::harness::grpc_site::grpc_echo;
use std::time::{Duration, Instant};

const RESOURCE_EXHAUSTED: u16 = 8;
const UNIMPLEMENTED: u16 = 12;
const INTERNAL: u16 = 13;
const DEADLINE_EXCEEDED: u16 = 4;
const NOT_FOUND: u16 = 5;

fn echo(options: &str) -> (Gateway, Grpc) {
    let gateway = grpc_echo(options).start("");
    let client = Grpc::connect(gateway.address());
    (gateway, client)
}

pub(crate) fn calls_of_every_kind_are_answered() {
    let (_gateway, client) = echo("");
    let answer = client.unary("hello", &[("x-mine", "1")]);
    assert_eq!(answer.header("content-type"), Some("application/grpc"));
    let answer = answer.expect_texts(&["hello"]);
    assert_eq!(answer.trailer("grpc-message"), None, "{answer:?}");
    client.unary("", &[]).expect_texts(&[""]);

    let mut bidi = client.begin("BidirectionalStreamingEcho", &[]);
    for n in 0..20 {
        let text = format!("message {n}");
        bidi.say(&text);
        // Each comes back before the next is sent.
        assert_eq!(bidi.next(), Some(said(&text)));
    }
    bidi.finish();
    let end = bidi.end().expect(0);
    assert!(end.messages.is_empty(), "{end:?}");
    assert_eq!(end.trailer("grpc-status"), Some("0"));
}

pub(crate) fn a_message_may_be_cut_anywhere() {
    let (_gateway, client) = echo("");
    let whole = framed(&said("a message that is cut"));
    for at in 1..whole.len() {
        let (one, other) = whole.split_at(at);
        let answer = client.call("UnaryEcho", &[], &[one, other]);
        answer.expect_texts(&["a message that is cut"]);
    }
    let bytes: Vec<&[u8]> = whole.chunks(1).collect();
    let answer = client.call("UnaryEcho", &[], &bytes);
    answer.expect_texts(&["a message that is cut"]);
    // Several messages in one frame, and the begin of another.
    let three = [framed(&said("1")), framed(&said("2")), framed(&said("3"))].concat();
    for at in 0..three.len() {
        let (one, other) = three.split_at(at);
        let answer = client.call("BidirectionalStreamingEcho", &[], &[one, other]);
        answer.expect_texts(&["1", "2", "3"]);
    }
    // What ends within a message was cut off on its way.
    for at in 1..whole.len() {
        let answer = client.call("UnaryEcho", &[], &[&whole[..at]]);
        assert!(answer.expect(INTERNAL).messages.is_empty());
    }
    assert!(client.http().is_open());
}

pub(crate) fn messages_may_be_compressed() {
    let (_gateway, client) = echo("");
    let text = "compress me ".repeat(100);
    let gzip = [("grpc-encoding", "gzip"), ("grpc-accept-encoding", "gzip")];
    let sent = gzipped(&said(&text));
    assert!(sent.len() < 200);
    let answer = client.call("UnaryEcho", &gzip, &[&sent]);
    let answer = answer.expect_texts(&[&text]);
    assert_eq!(answer.header("grpc-encoding"), Some("gzip"));
    // Any message may stay as it is.
    let answer = client.call(
        "BidirectionalStreamingEcho",
        &gzip,
        &[&sent, &framed(&said("small"))],
    );
    answer.expect_texts(&[&text, "small"]);
    // Who takes none is sent none.
    let answer = client.call("UnaryEcho", &gzip[..1], &[&sent]);
    let answer = answer.expect_texts(&[&text]);
    assert_ne!(answer.header("grpc-encoding"), Some("gzip"));

    let unasked = client.call("UnaryEcho", &[], &[&sent]).expect(INTERNAL);
    assert!(unasked.messages.is_empty());
    let broken = flagged(1, b"this is no gzip");
    client.call("UnaryEcho", &gzip, &[&broken]).expect(INTERNAL);
    let other = [("grpc-encoding", "snappy")];
    let refused = client
        .call("UnaryEcho", &other, &[&sent])
        .expect(UNIMPLEMENTED);
    let accepted = refused.trailer("grpc-accept-encoding").unwrap_or_default();
    assert!(accepted.contains("gzip"), "{refused:?}");
}

pub(crate) fn a_message_has_a_size_at_most() {
    let (_gateway, client) = echo("message-bytes-max: 64KiB");
    let most = "x".repeat((64 << 10) - 4);
    client.unary(&most, &[]).expect_texts(&[&most]);
    let more = "x".repeat(64 << 10);
    client.unary(&more, &[]).expect(RESOURCE_EXHAUSTED);
    // What is said of its size is enough, and it counts as it is inflated.
    let head = [0, 0x7f, 0xff, 0xff, 0xff];
    client
        .call("UnaryEcho", &[], &[&head])
        .expect(RESOURCE_EXHAUSTED);
    let bomb = gzipped(&said(&"x".repeat(10 << 20)));
    assert!(bomb.len() < 64 << 10);
    let gzip = [("grpc-encoding", "gzip")];
    client
        .call("UnaryEcho", &gzip, &[&bomb])
        .expect(RESOURCE_EXHAUSTED);
    // The call is over, the connection is not.
    client.unary("and on", &[]).expect_texts(&["and on"]);
}

pub(crate) fn what_is_no_call_is_refused() {
    let (_gateway, client) = echo("");
    let path = format!("/{ECHO}/UnaryEcho");
    let http = client.http();
    http.request("GET", &path, &[], None).expect(405);
    for kind in ["application/json", "application/grpc+json", "text/plain"] {
        let headers = [("content-type", kind), ("te", "trailers")];
        let answer = http.request("POST", &path, &headers, Some(&framed(&said("x"))));
        answer.expect(415);
    }
    http.request("POST", &path, &[], Some(b"x")).expect(415);
    let message = framed(&said("x"));
    for path in [
        format!("/{ECHO}/NoSuchMethod"),
        "/no.such.Service/UnaryEcho".to_owned(),
        format!("/{ECHO}"),
        "/".to_owned(),
    ] {
        let mut stream = client.begin_at(&path, &[]);
        stream.send(&message);
        stream.finish();
        let answer = stream.end().expect(UNIMPLEMENTED);
        assert!(answer.trailer("grpc-message").is_some(), "{answer:?}");
        assert_eq!(answer.header("content-type"), Some("application/grpc"));
    }
    // One message is what a unary method takes.
    client.call("UnaryEcho", &[], &[]).expect(UNIMPLEMENTED);
    let two = client.call("UnaryEcho", &[], &[&message, &message]);
    two.expect(UNIMPLEMENTED);
    // Flags that nobody has defined.
    let flag = flagged(2, &said("x"));
    client.call("UnaryEcho", &[], &[&flag]).expect(INTERNAL);
    client.unary("and on", &[]).expect_texts(&["and on"]);
}

pub(crate) fn a_deadline_is_kept() {
    let (_gateway, client) = echo("");
    for (timeout, wait) in [("300m", 300), ("1S", 1_000), ("200000u", 200)] {
        let begun = Instant::now();
        let mut stream = client.begin("BidirectionalStreamingEcho", &[("grpc-timeout", timeout)]);
        stream.say("one");
        assert_eq!(stream.next(), Some(said("one")));
        // Its client says nothing more.
        stream.end().expect(DEADLINE_EXCEEDED);
        let taken = begun.elapsed();
        let wait = Duration::from_millis(wait);
        assert!(
            taken + Duration::from_millis(5) >= wait,
            "{timeout}: {taken:?}"
        );
        assert!(
            taken < wait + Duration::from_secs(2),
            "{timeout}: {taken:?}"
        );
    }
    let mut silent = client.begin("UnaryEcho", &[("grpc-timeout", "100m")]);
    let status = silent
        .headers()
        .into_iter()
        .find(|(name, _)| name == "grpc-status");
    assert_eq!(status.map(|(_, code)| code).as_deref(), Some("4"));
    silent.end().expect(DEADLINE_EXCEEDED);
    client
        .unary("soon", &[("grpc-timeout", "30S")])
        .expect_texts(&["soon"]);
    for none in ["", "5", "S", "1x", "-1S", "123456789S"] {
        let answer = client.unary("x", &[("grpc-timeout", none)]);
        answer.expect(INTERNAL);
    }
}

fn check(client: &Grpc, service: &str) -> Answer {
    let mut stream = client.begin_at("/grpc.health.v1.Health/Check", &[]);
    stream.say(service);
    stream.finish();
    stream.end()
}

pub(crate) fn its_health_can_be_asked_for() {
    let (gateway, client) = echo("");
    for service in ["", ECHO, "grpc.health.v1.Health"] {
        let answer = check(&client, service).expect(0);
        assert_eq!(answer.messages, [[0x08, 1]], "{service}: SERVING");
    }
    check(&client, "no.such.Service").expect(NOT_FOUND);
    let mut watch = client.begin_at("/grpc.health.v1.Health/Watch", &[]);
    watch.say(ECHO);
    watch.finish();
    assert_eq!(watch.next().as_deref(), Some(&[0x08, 1][..]));
    gateway.signal("TERM");
    // Whoever balances load is told first.
    assert_eq!(watch.next().as_deref(), Some(&[0x08, 2][..]), "NOT_SERVING");
    let (_gateway, client) = echo("health: false");
    check(&client, "").expect(UNIMPLEMENTED);
}

pub(crate) fn a_client_that_resets_disturbs_nobody() {
    let (_gateway, client) = echo("");
    let mut others = client.begin("BidirectionalStreamingEcho", &[]);
    for n in 0..50 {
        let mut stream = client.begin("BidirectionalStreamingEcho", &[]);
        stream.say("half a message");
        assert_eq!(stream.next(), Some(said("half a message")));
        stream.send(&[0, 0, 0, 0, 9, 1, 2]);
        stream.cancel();
        let text = format!("{n}");
        others.say(&text);
        assert_eq!(others.next(), Some(said(&text)));
    }
    others.finish();
    others.end().expect(0);
}
