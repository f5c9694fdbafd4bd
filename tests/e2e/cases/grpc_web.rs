//! gRPC-Web (PROTOCOL-WEB.md) over HTTP/1.1, byte by byte, before an echo.

use crate::harness::grpc::{ECHO, framed, said, take_frame};
use crate::harness::grpc_site::grpc_echo;
use crate::harness::http::{Response, request};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

const TRAILERS: u8 = 0x80;

fn path(method: &str) -> String {
    format!("/{ECHO}/{method}")
}

/// The messages of a body, and the lines of the trailers, which come last.
#[track_caller]
fn read(mut body: Vec<u8>) -> (Vec<Vec<u8>>, String) {
    let mut messages = Vec::new();
    while let Some((flag, content)) = take_frame(&mut body) {
        if flag == TRAILERS {
            assert!(body.is_empty(), "behind the trailers: {body:?}");
            return (messages, String::from_utf8(content).expect("lines"));
        }
        assert_eq!(flag, 0);
        messages.push(content);
    }
    panic!("no trailers in {body:?} after {messages:?}");
}

/// Base64 that may be padded anywhere.
#[track_caller]
fn decoded(text: &[u8]) -> Vec<u8> {
    let groups = text.chunks(4);
    let bytes = groups.flat_map(|group| STANDARD.decode(group).expect("base64"));
    bytes.collect()
}

#[track_caller]
fn assert_kind(answer: &Response, kind: &str) {
    let found = answer.header("content-type").unwrap_or_default();
    let found = found.strip_suffix("+proto").unwrap_or(found);
    assert_eq!(found, kind, "{answer:?}");
}

pub(crate) fn browsers_call_over_http_1_1() {
    let gateway = grpc_echo("").start("");
    let http = gateway.http();
    let sent = framed(&said("hello"));
    for kind in ["application/grpc-web+proto", "application/grpc-web"] {
        let headers = [("content-type", kind), ("x-grpc-web", "1")];
        let answer = http.request("POST", &path("UnaryEcho"), &headers, Some(&sent));
        let answer = answer.expect(200);
        assert_kind(&answer, "application/grpc-web");
        let (messages, trailers) = read(answer.body);
        assert_eq!(messages, [said("hello")]);
        assert!(trailers.starts_with("grpc-status: 0\r\n"), "{trailers}");
    }
    // Three messages there, three back.
    let three: Vec<u8> = (0..3).flat_map(|n| framed(&said(&n.to_string()))).collect();
    let headers = [("content-type", "application/grpc-web+proto")];
    let method = path("BidirectionalStreamingEcho");
    let answer = http
        .request("POST", &method, &headers, Some(&three))
        .expect(200);
    let (messages, trailers) = read(answer.body);
    assert_eq!(messages, [said("0"), said("1"), said("2")]);
    assert!(trailers.starts_with("grpc-status: 0\r\n"), "{trailers}");
    // A status without a message is a head, or a body that is nothing but trailers.
    let answer = http
        .request("POST", &path("Nothing"), &headers, Some(&sent))
        .expect(200);
    assert_kind(&answer, "application/grpc-web");
    let code = match answer.header("grpc-status") {
        Some(code) => code.to_owned(),
        None => read(answer.body).1,
    };
    assert!(code.contains("12"), "{code}");
}

pub(crate) fn browsers_call_in_text() {
    let gateway = grpc_echo("").start("");
    let http = gateway.http();
    let one = STANDARD.encode(framed(&said("1")));
    let all = STANDARD.encode([framed(&said("1")), framed(&said("22"))].concat());
    // In one piece, and message by message, each padded by itself.
    let two = format!("{one}{}", STANDARD.encode(framed(&said("22"))));
    for kind in [
        "application/grpc-web-text",
        "application/grpc-web-text+proto",
    ] {
        for text in [&all, &two] {
            let headers = [("content-type", kind), ("accept", kind)];
            let method = path("BidirectionalStreamingEcho");
            let answer = http.request("POST", &method, &headers, Some(text.as_bytes()));
            let answer = answer.expect(200);
            assert_kind(&answer, "application/grpc-web-text");
            let (messages, trailers) = read(decoded(&answer.body));
            assert_eq!(messages, [said("1"), said("22")]);
            assert!(trailers.starts_with("grpc-status: 0\r\n"), "{trailers}");
        }
    }
    let headers = [("content-type", "application/grpc-web-text")];
    for garbage in ["****", "AAA", "AA=A"] {
        let answer = http.request(
            "POST",
            &path("UnaryEcho"),
            &headers,
            Some(garbage.as_bytes()),
        );
        let answer = answer.expect(200);
        let code = match answer.header("grpc-status") {
            Some(code) => code.to_owned(),
            None => read(decoded(&answer.body)).1,
        };
        assert!(code.contains("13"), "{garbage}: {code}");
    }
}

pub(crate) fn a_text_may_come_cut_at_every_byte() {
    let gateway = grpc_echo("").start("");
    let text = STANDARD.encode(framed(&said("a message that is cut")));
    let headers = [
        ("content-type", "application/grpc-web-text"),
        ("transfer-encoding", "chunked"),
    ];
    let mut connection = gateway.http().connect();
    for _ in 0..2 {
        connection.send(request("POST", &path("UnaryEcho"), &headers, None));
        for byte in text.as_bytes() {
            connection.send([b"1\r\n", &[*byte][..], b"\r\n"].concat());
        }
        connection.send("0\r\n\r\n");
        // The connection is used again.
        let answer = connection.receive("POST").expect("an answer").expect(200);
        let (messages, trailers) = read(decoded(&answer.body));
        assert_eq!(messages, [said("a message that is cut")]);
        assert!(trailers.starts_with("grpc-status: 0\r\n"), "{trailers}");
    }
}

/// Answers come while the call goes on.
pub(crate) fn a_web_stream_is_answered_message_by_message() {
    let gateway = grpc_echo("").start("");
    let headers = [
        ("content-type", "application/grpc-web+proto"),
        ("transfer-encoding", "chunked"),
    ];
    let mut connection = gateway.http().connect();
    let method = path("BidirectionalStreamingEcho");
    connection.send(request("POST", &method, &headers, None));
    let mut read = Vec::new();
    let mut next = |connection: &mut crate::harness::http::Connection| loop {
        if let Some(frame) = take_frame(&mut read) {
            break frame;
        }
        let chunk = connection.receive_chunk(crate::harness::PATIENCE);
        read.extend(chunk.expect("a chunk"));
    };
    for n in 0..5 {
        let frame = framed(&said(&n.to_string()));
        let size = format!("{:x}\r\n", frame.len());
        connection.send([size.as_bytes(), &frame, b"\r\n"].concat());
        if n == 0 {
            let (status, _) = connection.receive_head().expect("a head");
            assert_eq!(status, 200);
        }
        assert_eq!(next(&mut connection), (0, said(&n.to_string())));
    }
    connection.send("0\r\n\r\n");
    let (flag, trailers) = next(&mut connection);
    assert_eq!(flag, TRAILERS);
    assert!(trailers.starts_with(b"grpc-status: 0\r\n"), "{trailers:?}");
}
