//! HTTP/2 (RFC 9113): the same gateway, many streams to a connection, and clients that mean no good.

use crate::harness::certificates::{Authority, vault};
use crate::harness::config::{Crud, Mapping};
use crate::harness::gateway::Gateway;
use crate::harness::h2::{Http2, Piece};
use crate::harness::http::request;
use crate::harness::replier::{Reply, Service};
use crate::harness::site::Site;
use crate::harness::{Env, PATIENCE, eventually};
use bytes::Bytes;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

const JSON: (&str, &str) = ("content-type", "application/json");
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(crate) fn both_versions_are_spoken_on_one_port(env: &Env) {
    let topic = env.compacted(2);
    let gateway = env.crud(&topic);
    let (http, client) = (gateway.http(), Http2::connect(gateway.address()));
    let put = client.request("PUT", "/items/1", &[JSON], Some(b"[1]"));
    assert!(put.expect(204).body.is_empty());
    let by_http1 = http.get("/items/1").expect(200);
    let by_http2 = client.get("/items/1").expect(200);
    assert_eq!(
        (by_http1.text(), by_http2.text()),
        ("[1]".into(), "[1]".into())
    );
    let etag = by_http2.etag();
    assert_eq!(by_http1.etag(), etag);
    let not_modified = client.request("GET", "/items/1", &[("if-none-match", &etag)], None);
    assert_eq!(not_modified.expect(304).etag(), etag);
    let head = client.request("HEAD", "/items/1", &[], None).expect(200);
    assert_eq!(head.header("content-length"), Some("3"));
    assert!(head.body.is_empty());
    assert_eq!(client.get("/items").expect(200).text(), "[[1]]");
    for (method, path) in [
        ("GET", "/items/2"),
        ("GET", "/nowhere"),
        ("PATCH", "/items/1"),
    ] {
        let answer = client.request(method, path, &[], None).expect(404);
        let kind = answer.header("content-type");
        assert_eq!(kind, Some("application/problem+json"), "{method} {path}");
    }
    // Nothing of the connection stands in what belongs to a stream.
    for name in ["connection", "transfer-encoding", "keep-alive"] {
        assert_eq!(by_http2.header(name), None);
    }
    client.request("DELETE", "/items/1", &[], None).expect(204);
    http.get("/items/1").expect(404);
}

pub(crate) fn a_body_that_is_too_large_costs_its_stream_alone(env: &Env) {
    let topic = env.compacted(1);
    let gateway = env.crud(&topic);
    let client = Http2::connect(gateway.address());
    let large = vec![b'x'; 8 << 20];
    for _ in 0..3 {
        let answer = client.request("PUT", "/items/1", &[], Some(&large));
        answer.expect(413);
        client
            .request("PUT", "/items/2", &[], Some(b"small"))
            .expect(204);
    }
    let most = vec![b'y'; 900_000];
    client
        .request("PUT", "/items/3", &[], Some(&most))
        .expect(204);
    assert!(client.get("/items/3").expect(200).body == most);
    assert!(client.is_open());
    assert_eq!(env.kafka.log(&topic, 1).len(), 4);
}

pub(crate) fn a_hundred_streams_are_answered_side_by_side(env: &Env) {
    let topics = env.correlated(2);
    let gateway = env.mapping(&Mapping::sync(&topics));
    let service = Service::reading(&topics.requests, 1).reply_partitions(2);
    // The replies come in another order than the requests.
    let service = service
        .hold(100)
        .start(env, |request| vec![Reply::bare(&request.record.text())]);
    let client = Http2::connect(gateway.address());
    let pending: Vec<_> = (0..100)
        .map(|n| {
            let (path, body) = (format!("/items/{n}"), format!("body {n}"));
            let sent = client.send("PUT", &path, &[], Some(body.as_bytes()));
            sent.expect("a stream")
        })
        .collect();
    for (n, pending) in pending.into_iter().enumerate() {
        let answer = pending.finish().expect("an answer").expect(200);
        assert_eq!(answer.text(), format!("body {n}"));
    }
    assert_eq!(service.requests().len(), 100);
}

pub(crate) fn sigterm_says_goodbye_and_finishes_what_is_in_flight(env: &Env) {
    let topic = env.compacted(1);
    let mut gateway = env.crud(&topic);
    let client = Http2::connect(gateway.address());
    let idle = Http2::connect(gateway.address());
    idle.get("/items").expect(200);
    let headers = [("content-length", "4")];
    let begun = client.begin("PUT", "/items/1", &headers, false);
    let (pending, mut upload) = begun.expect("a stream");
    upload
        .send_data(Bytes::from_static(b"ab"), false)
        .expect("room");
    // Streams of a connection come in order: what follows it is answered after it has begun.
    client.get("/items").expect(200);
    gateway.signal("TERM");
    assert_eq!(idle.ending(), Ok(()), "GOAWAY without an error");
    upload
        .send_data(Bytes::from_static(b"cd"), true)
        .expect("room");
    pending.finish().expect("an answer").expect(204);
    assert_eq!(client.ending(), Ok(()));
    assert_eq!(gateway.exit_code(Duration::from_secs(10)), Some(0));
    assert_eq!(env.kafka.log(&topic, 1)[0].record.text(), "abcd");
}

pub(crate) fn a_stream_that_takes_nothing_is_reset_and_disturbs_nobody() {
    let authority = Authority::new("Servers");
    let large = "x".repeat(500_000);
    let site = Site::default()
        .top(&vault(false))
        .file("server.pem", authority.server(&["localhost"]).pem)
        .file("files/large", large.clone())
        .file("files/small", "small")
        .tls("vault: mine\noptions:\n  alpn: [h2]\nexit: north_http_server")
        .http("limits:\n  write-timeout: 1s")
        .files("/files/{path}", "files");
    let gateway = site.start("");
    let config = authority.client_config(None, &["h2"], rustls::ALL_VERSIONS);
    let mut settings = h2::client::Builder::new();
    settings.initial_window_size(1_000);
    let client = Http2::connect_with(gateway.address(), Some(&config), &settings);
    let slow = client
        .send("GET", "/files/large", &[], None)
        .expect("a stream");
    let mut slow = slow.head().expect("a head");
    let mut got = 0;
    let error = loop {
        // What is never given back is the window.
        match slow.peek(PATIENCE) {
            Ok(Piece::Bytes(piece)) => got += piece.len(),
            Ok(other) => panic!("{other:?} after {got}"),
            Err(error) => break error,
        }
        assert_eq!(client.get("/files/small").expect(200).text(), "small");
    };
    assert!(error.is_reset(), "{error}");
    assert!(got <= 1_000, "{got}");
    assert_eq!(client.get("/files/small").expect(200).text(), "small");
    let quick = Http2::secure(gateway.address(), &config);
    assert!(quick.get("/files/large").expect(200).text() == large);
}

/// A frame (RFC 9113, 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a small frame");
    let mut frame = length.to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// Connects and sends the preface and empty settings.
fn raw(address: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("an option");
    let hello = [PREFACE, &frame(4, 0, 0, &[])].concat();
    stream.write_all(&hello).expect("sent");
    stream
}

/// The head of `GET /items`, in HPACK's static table and literals (RFC 7541).
fn get_items() -> Vec<u8> {
    let mut block = vec![0x82, 0x86, 0x04, 6];
    block.extend(b"/items");
    block.extend([0x01, 9]);
    block.extend(b"localhost");
    block
}

/// Sends frames until the peer has had enough; says how many it took.
fn flood(address: SocketAddr, mut nth: impl FnMut(u32) -> Vec<u8>) -> Option<u32> {
    const FRAMES_MAX: u32 = 200_000;
    let mut stream = raw(address);
    let mut reader = stream.try_clone().expect("another handle");
    // Its answers are read, or it would only be stuck.
    let drained = std::thread::spawn(move || {
        let mut bytes = [0; 16 << 10];
        while reader.read(&mut bytes).is_ok_and(|count| count > 0) {}
    });
    let mut sent = None;
    for n in (0..FRAMES_MAX).step_by(50) {
        let frames: Vec<u8> = (n..n + 50).flat_map(&mut nth).collect();
        if let Err(error) = stream.write_all(&frames) {
            assert_ne!(error.kind(), ErrorKind::WouldBlock, "it stays open");
            sent = Some(n);
            break;
        }
    }
    let _ = stream.shutdown(std::net::Shutdown::Both);
    drained.join().expect("a reader");
    sent
}

pub(crate) fn floods_end_their_connection_alone(env: &Env) {
    let topic = env.compacted(1);
    let gateway = env.crud(&topic);
    let other = Http2::connect(gateway.address());
    other
        .request("PUT", "/items/1", &[], Some(b"1"))
        .expect(204);
    let address = gateway.address();
    let stream = |n: u32| 2 * n + 1;
    let settings = |n: u32| {
        frame(
            4,
            0,
            0,
            &[&[0, 4, 0, 1][..], &n.to_be_bytes()[2..]].concat(),
        )
    };
    let ended = [
        (
            "ping",
            flood(address, |n| frame(6, 0, 0, &u64::from(n).to_be_bytes())),
        ),
        ("settings", flood(address, settings)),
        (
            "rapid reset",
            flood(address, |n| {
                let open = frame(1, 5, stream(n), &get_items());
                [open, frame(3, 0, stream(n), &8_u32.to_be_bytes())].concat()
            }),
        ),
        (
            "empty data",
            flood(address, |n| match n {
                0 => frame(1, 4, 1, &get_items()),
                _ => frame(0, 0, 1, &[]),
            }),
        ),
        (
            "empty continuations",
            flood(address, |n| match n {
                0 => frame(1, 0, 1, &get_items()),
                _ => frame(9, 0, 1, &[]),
            }),
        ),
    ];
    for (what, ended) in ended {
        println!("{what}: ended after {ended:?} frames at most");
        assert!(ended.is_some(), "{what} goes on and on");
    }
    assert!(other.is_open());
    assert_eq!(other.get("/items/1").expect(200).text(), "1");
    gateway.http().get("/items/1").expect(200);
}

pub(crate) fn a_connection_has_so_many_streams_and_no_more(env: &Env) {
    let topic = env.compacted(1);
    let gateway = env.site(&Site::default().http("limits:\n  streams-max: 5").events(
        "/events",
        "",
        "",
        &format!("topic: {topic}"),
    ));
    let client = Http2::connect(gateway.address());
    let open = || client.send("GET", "/events", &[], None).expect("a stream");
    let mut streams = vec![open().head().expect("a head")];
    eventually("its settings are here", PATIENCE, || {
        (client.streams_max() == 5).then_some(())
    });
    streams.extend((1..5).map(|_| open().head().expect("a head")));
    // A client that does not care is told (RFC 9113, 5.1.2).
    let mut rude = raw(gateway.address());
    for n in 0..6 {
        let mut block = vec![0x82, 0x86, 0x04, 7];
        block.extend(b"/events");
        rude.write_all(&frame(1, 5, 2 * n + 1, &block))
            .expect("sent");
    }
    let mut refused = None;
    while refused.is_none() {
        let mut head = [0; 9];
        rude.read_exact(&mut head).expect("a frame");
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        rude.read_exact(&mut payload).expect("a frame");
        if head[3] == 3 {
            refused = Some((head[8], payload[3]));
        }
    }
    assert_eq!(refused, Some((11, 7)), "REFUSED_STREAM for the sixth");
    drop(streams);
    open().head().expect("a head");
}

/// The preface may come in pieces, and what is nearly one is no request of HTTP/1.1 either.
pub(crate) fn the_preface_decides(env: &Env) {
    let topic = env.compacted(1);
    let gateway: Gateway = env.gateway(&Crud::over(&topic));
    let mut stream = TcpStream::connect(gateway.address()).expect("a connection");
    stream.set_nodelay(true).expect("an option");
    stream.set_read_timeout(Some(PATIENCE)).expect("an option");
    for byte in [PREFACE, &frame(4, 0, 0, &[])].concat() {
        stream.write_all(&[byte]).expect("sent");
    }
    let mut head = [0; 9];
    stream.read_exact(&mut head).expect("a frame");
    assert_eq!(head[3], 4, "settings come first");
    let mut wrong = gateway.http().connect();
    wrong.send("PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n");
    let told = wrong.receive_all();
    assert!(
        told.is_empty() || told.starts_with(b"HTTP/1.1 "),
        "{told:?}"
    );
    // An upgrade is not taken, only answered.
    let headers = [
        ("connection", "upgrade, http2-settings"),
        ("upgrade", "h2c"),
        ("http2-settings", "AAMAAABkAAQAAP__"),
    ];
    let mut upgrade = gateway.http().connect();
    upgrade.send(request("GET", "/items", &headers, None));
    upgrade.receive("GET").expect("an answer").expect(200);
}
