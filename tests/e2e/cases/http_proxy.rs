//! `http client`: requests go on to another server, over HTTP/1.1, and its answers come back.

use crate::harness::gateway::Gateway;
use crate::harness::grpc_site::http_client;
use crate::harness::h2::{Http2, Piece};
use crate::harness::http::request;
use crate::harness::site::Site;
use crate::harness::upstream::{Upstream, closing};
use crate::harness::{PATIENCE, free_ports};
use bytes::Bytes;
use std::time::{Duration, Instant};

fn proxy(options: &str, port: u16) -> Gateway {
    let options = format!("versions:\n  - http/1.1\n{options}");
    let site = Site::default().route("/*", "west_http_client");
    http_client(site, &options, "", port).start("")
}

/// A server that says what it was asked, and a gateway before it.
fn echoing() -> (Upstream, Gateway) {
    let upstream = Upstream::start();
    let gateway = proxy("", upstream.port());
    (upstream, gateway)
}

pub(crate) fn requests_and_answers_go_on_as_they_came() {
    let (upstream, gateway) = echoing();
    let http = gateway.http();
    let headers = [("x-mine", "1"), ("accept", "text/plain"), ("x-mine", "2")];
    let answer = http
        .request("GET", "/echo/a%20b?q=1&r", &headers, None)
        .expect(200);
    assert_eq!(answer.header("x-upstream"), Some("yes"));
    let seen = upstream.last();
    assert_eq!((&*seen.method, &*seen.target), ("GET", "/echo/a%20b?q=1&r"));
    assert_eq!(seen.all("x-mine"), ["1", "2"]);
    assert_eq!(seen.all("accept"), ["text/plain"]);
    assert!(seen.body.is_empty());
    let host = gateway.address();
    assert_eq!(seen.all("host").len(), 1, "{seen:?} {host}");

    let posted = http.request("POST", "/echo", &[("content-type", "x/y")], Some(b"a body"));
    assert_eq!(posted.expect(200).text(), "POST /echo 6");
    assert_eq!(upstream.last().body, b"a body");
    assert_eq!(upstream.last().all("content-type"), ["x/y"]);
    for method in ["PUT", "PATCH", "DELETE", "OPTIONS"] {
        let answer = http.request(method, "/echo", &[], Some(b"x")).expect(200);
        assert_eq!(answer.text(), format!("{method} /echo 1"));
    }
    let head = http.request("HEAD", "/echo", &[], None).expect(200);
    assert!(head.body.is_empty());
    assert_eq!(upstream.last().method, "HEAD");
    assert_eq!(http.get("/none").expect(204).body, b"");
    assert_eq!(http.get("/missing").expect(404).text(), "no such thing");
    assert_eq!(http.get("/chunked").expect(200).text(), "one two three ");
    assert_eq!(http.get("/until-close").expect(200).text(), "until the end");

    let client = Http2::connect(gateway.address());
    let answer = client
        .request("GET", "/echo?by=h2", &headers, None)
        .expect(200);
    assert_eq!(answer.text(), "GET /echo?by=h2 0");
    // In one field or two: the same (RFC 9110 5.3).
    assert_eq!(upstream.last().all("x-mine").join(", "), "1, 2");
    let answer = client
        .request("POST", "/echo", &[], Some(b"by h2"))
        .expect(200);
    assert_eq!(answer.text(), "POST /echo 5");
    assert_eq!(upstream.last().body, b"by h2");
    assert!(
        client
            .request("HEAD", "/echo", &[], None)
            .expect(200)
            .body
            .is_empty()
    );
    assert!(client.get("/none").expect(204).body.is_empty());
    assert_eq!(client.get("/missing").expect(404).text(), "no such thing");
    assert_eq!(client.get("/chunked").expect(200).text(), "one two three ");
}

pub(crate) fn what_is_about_a_connection_goes_no_further() {
    let (upstream, gateway) = echoing();
    let headers = [
        ("connection", "keep-alive, x-hop"),
        ("x-hop", "mine"),
        ("keep-alive", "timeout=5"),
        ("te", "gzip"),
        ("proxy-connection", "keep-alive"),
        ("upgrade", "h2c"),
        ("x-end", "stays"),
    ];
    let answer = gateway
        .http()
        .request("GET", "/hops", &headers, None)
        .expect(200);
    let seen = upstream.last();
    for name in ["x-hop", "keep-alive", "te", "proxy-connection", "upgrade"] {
        assert!(seen.all(name).is_empty(), "{name}: {seen:?}");
    }
    assert!(
        !seen.all("connection").concat().contains("x-hop"),
        "{seen:?}"
    );
    assert_eq!(seen.all("x-end"), ["stays"]);
    for name in ["x-hop", "keep-alive", "proxy-connection", "upgrade"] {
        assert_eq!(answer.header(name), None, "{answer:?}");
    }
    assert_eq!(answer.header("x-end"), Some("stays"));
}

pub(crate) fn bodies_go_on_as_they_come() {
    let (upstream, gateway) = echoing();
    let mut connection = gateway.http().connect();
    for _ in 0..2 {
        let headers = [("transfer-encoding", "chunked")];
        connection.send(request("POST", "/mirror", &headers, None));
        for n in 0..5 {
            connection.send(format!("7\r\npiece {n}\r\n"));
            // Each comes back before the next is sent.
            if n == 0 {
                let (status, _) = connection.receive_head().expect("a head");
                assert_eq!(status, 200);
            }
            let mut got = Vec::new();
            while got.len() < 7 {
                got.extend(connection.receive_chunk(PATIENCE).expect("a chunk"));
            }
            assert_eq!(got, format!("piece {n}").as_bytes());
        }
        connection.send("0\r\n\r\n");
        let end = connection.receive_chunk(PATIENCE).expect("the last chunk");
        assert!(end.is_empty(), "{end:?}");
        assert_eq!(upstream.last().body.len(), 35);
    }
    let client = Http2::connect(gateway.address());
    let (pending, mut upload) = (client.begin("POST", "/mirror", &[], false)).expect("a stream");
    upload
        .send_data(Bytes::from_static(b"piece 0"), false)
        .expect("room");
    let mut incoming = pending.head().expect("a head");
    for n in 1..5 {
        let mut got = Vec::new();
        while got.len() < 7 {
            match incoming.next(PATIENCE).expect("a piece") {
                Piece::Bytes(bytes) => got.extend_from_slice(&bytes),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(got, format!("piece {}", n - 1).as_bytes());
        let piece = Bytes::from(format!("piece {n}"));
        upload.send_data(piece, n == 4).expect("room");
    }
    // More than any buffer holds, there and back.
    let large: Vec<u8> = (0..1_000_000_u32)
        .flat_map(u32::to_be_bytes)
        .take(900_000)
        .collect();
    let answer = client
        .request("POST", "/mirror", &[], Some(&large))
        .expect(200);
    assert!(answer.body == large);
    let answer = gateway
        .http()
        .request("POST", "/mirror", &[], Some(&large))
        .expect(200);
    assert!(answer.body == large);
}

pub(crate) fn connections_are_used_again() {
    let (upstream, gateway) = echoing();
    let mut connection = gateway.http().connect();
    let mut ask = |path: &str| {
        connection.send(request("GET", path, &[], None));
        connection.receive("GET").expect("an answer").expect(200)
    };
    for n in 0..20 {
        assert_eq!(
            ask(&format!("/echo?{n}")).text(),
            format!("GET /echo?{n} 0")
        );
    }
    assert_eq!(upstream.connections(), 1, "one core, one connection");
    // One that says that it closes is not used again, and nobody notices.
    for _ in 0..3 {
        assert_eq!(ask("/until-close").text(), "until the end");
        assert_eq!(ask("/echo").text(), "GET /echo 0");
    }
    assert!(upstream.connections() <= 7, "{}", upstream.connections());
    // One that was closed while nobody used it is none either.
    for _ in 0..3 {
        assert_eq!(ask("/closes-after").text(), "and goes");
        assert_eq!(ask("/echo").text(), "GET /echo 0");
    }
}

pub(crate) fn what_the_server_does_not_answer_is_told() {
    // Nobody is there.
    let port = free_ports(1);
    let gateway = proxy("limits:\n  response-timeout: 1s", port);
    let client = Http2::connect(gateway.address());
    gateway.http().get("/echo").expect(502);
    client.get("/echo").expect(502);
    gateway
        .http()
        .request("POST", "/echo", &[], Some(b"x"))
        .expect(502);

    let upstream = Upstream::start();
    let gateway = proxy("limits:\n  response-timeout: 1s", upstream.port());
    let client = Http2::connect(gateway.address());
    let begun = Instant::now();
    gateway.http().get("/silent").expect(504);
    let taken = begun.elapsed();
    assert!(taken >= Duration::from_millis(990), "{taken:?}");
    assert!(taken < Duration::from_secs(4), "{taken:?}");
    client.get("/silent").expect(504);
    // What breaks off before it has begun, and what is no HTTP.
    gateway.http().get("/breaks").expect(502);
    gateway.http().get("/garbage").expect(502);
    client.get("/garbage").expect(502);
    // What breaks off later breaks off.
    let broken = gateway
        .http()
        .try_request("GET", "/breaks-later", &[], None);
    assert!(broken.is_err(), "{broken:?}");
    let broken = client.try_request("GET", "/breaks-later", &[], None);
    assert!(broken.is_err(), "{broken:?}");
    assert_eq!(client.get("/echo").expect(200).text(), "GET /echo 0");
    // A client that leaves takes its request with it.
    let headers = [("content-length", "10")];
    let mut leaves = gateway.http().connect();
    leaves.send(request("POST", "/mirror", &headers, None));
    leaves.send("12345");
    let (status, _) = leaves.receive_head().expect("a head");
    assert_eq!(status, 200);
    drop(leaves);
    assert_eq!(
        gateway.http().get("/echo").expect(200).text(),
        "GET /echo 0"
    );
}

/// A request that may be made twice is, when the connection turns out to be closed; another is not.
pub(crate) fn only_what_may_be_repeated_is_repeated() {
    let upstream = Upstream::with(closing);
    let gateway = proxy("", upstream.port());
    let http = gateway.http();
    for _ in 0..5 {
        // Its connection is closed as soon as the next request has been read.
        let answer = http.get("/first");
        assert!(matches!(answer.status, 200 | 502), "{answer:?}");
        let posted = http.request("POST", "/second", &[], Some(b"x"));
        assert!(matches!(posted.status, 200 | 502), "{posted:?}");
    }
    let posts = upstream.all();
    let posts = posts.iter().filter(|seen| seen.method == "POST");
    assert_eq!(posts.count(), 5, "none is made twice");
}

/// The other server may be one of HTTP/2: here, a gateway that echoes.
pub(crate) fn the_server_may_speak_http_2() {
    let upstream = Site::default().echo("/*", "").start("");
    let site = Site::default().route("/*", "west_http_client");
    let port = upstream.address().port();
    let gateway = http_client(site, "versions:\n  - h2", "", port).start("");
    let large = vec![b'z'; 900_000];
    for body in [&b""[..], b"a body", &large] {
        let by_http1 = gateway.http().request("POST", "/echo", &[], Some(body));
        assert!(by_http1.expect(200).body == body);
        let client = Http2::connect(gateway.address());
        let by_http2 = client.request("POST", "/echo", &[], Some(body));
        assert!(by_http2.expect(200).body == body);
    }
    gateway.http().get("/echo").expect(200);
    let client = Http2::connect(gateway.address());
    let pending: Vec<_> = (0..60)
        .map(|n| {
            let body = format!("body {n}");
            let sent = client.send("PUT", "/echo", &[], Some(body.as_bytes()));
            sent.expect("a stream")
        })
        .collect();
    for (n, pending) in pending.into_iter().enumerate() {
        let answer = pending.finish().expect("an answer").expect(200);
        assert_eq!(answer.text(), format!("body {n}"));
    }
}
