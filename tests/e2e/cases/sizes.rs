//! Large bodies, bodies in chunks, and bodies that ask before they come.

use crate::harness::Env;
use crate::harness::TempDir;
use crate::harness::http::request;
use crate::harness::tool::{curl, is_there};
use std::fs;

/// Bytes that repeat nowhere near a chunk's or a packet's length.
fn bytes(count: usize) -> Vec<u8> {
    (0..count)
        .map(|n| u8::try_from((n * n / 7 + n) % 251).expect("below 251"))
        .collect()
}

/// The body in chunks of growing size, as `transfer-encoding: chunked` frames them.
fn chunked(body: &[u8], first: usize) -> Vec<u8> {
    let mut framed = Vec::new();
    let (mut rest, mut size) = (body, first);
    while !rest.is_empty() {
        let (chunk, after) = rest.split_at(size.min(rest.len()));
        framed.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        framed.extend_from_slice(chunk);
        framed.extend_from_slice(b"\r\n");
        (rest, size) = (after, size * 3 / 2 + 1);
    }
    framed.extend_from_slice(b"0\r\n\r\n");
    framed
}

pub(crate) fn nine_hundred_kilobytes_go_through(env: &Env) {
    let topic = env.compacted(2);
    let gateway = env.crud(&topic);
    let http = gateway.http();
    let large = bytes(900_000);
    for path in ["/items/1", "/items/2", "/items/3"] {
        http.put(path, &large).expect(204);
        let read = http.get(path).expect(200);
        assert_eq!(read.header("content-length"), Some("900000"));
        assert!(read.body == large, "other bytes came back");
    }
    let stored = env.kafka.newest(&topic, 2, "2").expect("it").record;
    assert!(
        stored.value.as_deref() == Some(&large[..]),
        "other bytes were stored"
    );
    http.delete("/items/1").expect(204);
    let json = format!("\"{}\"", "x".repeat(899_998));
    http.put("/items/2", &json).expect(204);
    http.put("/items/3", &json).expect(204);
    let collection = http.get("/items").expect(200);
    assert!(
        collection.text() == format!("[{json},{json}]"),
        "{} bytes",
        collection.body.len()
    );
}

pub(crate) fn eight_megabytes_are_413(env: &Env) {
    let topic = env.compacted(1);
    let gateway = env.crud(&topic);
    let large = bytes(8_000_000);
    let mut connection = gateway.http().connect();
    let answer = connection.upload(&request("PUT", "/items/1", &[], Some(&large)));
    let answer = answer
        .expect("an answer, though the upload is refused")
        .expect(413);
    assert_eq!(
        answer.header("content-type"),
        Some("application/problem+json")
    );
    // Whoever asks first is spared the upload.
    let mut asks = gateway.http().connect();
    asks.send("PUT /items/1 HTTP/1.1\r\nhost: x\r\ncontent-length: 8000000\r\nexpect: 100-continue\r\n\r\n");
    assert_eq!(asks.receive_one("PUT").expect("an answer").status, 413);
    if is_there("curl") {
        let dir = TempDir::new();
        let file = dir.path().join("large");
        fs::write(&file, &large).expect("a file");
        let upload = format!("@{}", file.display());
        let url = format!("http://{}/items/1", gateway.address());
        let code = [
            "-X",
            "PUT",
            "-o",
            "/dev/null",
            "-w",
            "%{http_code}",
            "--data-binary",
            &upload,
            &url,
        ];
        assert_eq!(curl(code), "413");
    }
    gateway.assert_serves();
    gateway.http().get("/items/1").expect(404);
    assert_eq!(env.kafka.end_offsets(&topic, 1), [0]);
}

pub(crate) fn eight_megabytes_in_chunks_are_413(env: &Env) {
    let topic = env.compacted(1);
    let gateway = env.crud(&topic);
    let mut upload =
        b"PUT /items/1 HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    upload.extend(chunked(&bytes(8_000_000), 10_000));
    let answer = gateway.http().connect().upload(&upload);
    answer
        .expect("an answer, though the upload is refused")
        .expect(413);
    gateway.assert_serves();
    assert_eq!(env.kafka.end_offsets(&topic, 1), [0]);
}

pub(crate) fn a_chunked_upload_is_stored_whole(env: &Env) {
    let gateway = env.crud(&env.compacted(1));
    let http = gateway.http();
    let mut connection = http.connect();
    for (size, first) in [(0, 1), (1, 1), (2_000, 1), (300_000, 7), (900_000, 500_000)] {
        let body = bytes(size);
        let path = format!("/items/{size}");
        let head = format!("PUT {path} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n");
        connection.send(&head);
        connection.send(chunked(&body, first));
        connection.receive("PUT").expect("an answer").expect(204);
        let status = if size == 0 { 204 } else { 200 };
        assert!(
            http.get(&path).expect(status).body == body,
            "{size}: other bytes came back"
        );
    }
    // Extensions and trailers are allowed and ignored (RFC 9112, section 7.1).
    connection.send(
        "PUT /items/x HTTP/1.1\r\nhost: x\r\nTransfer-Encoding: Chunked\r\n\r\n\
         3;a=b\r\nabc\r\n0A\r\n0123456789\r\n000;x=\"y\"\r\nx-trailer: 1\r\n\r\n",
    );
    connection.receive("PUT").expect("an answer").expect(204);
    let read = http.get("/items/x").expect(200);
    assert_eq!(read.text(), "abc0123456789");
}

pub(crate) fn an_upload_that_asks_first_is_told_to_go_on(env: &Env) {
    let gateway = env.crud(&env.compacted(1));
    let mut connection = gateway.http().connect();
    connection.send(
        "PUT /items/1 HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\nexpect: 100-continue\r\n\r\n",
    );
    let interim = connection.receive_one("PUT").expect("an interim answer");
    assert_eq!((interim.status, &*interim.headers), (100, &[][..]));
    connection.send("abc");
    assert_eq!(
        connection.receive_one("PUT").expect("an answer").status,
        204
    );
    assert_eq!(gateway.http().get("/items/1").expect(200).text(), "abc");
    // What no route takes is refused before the upload.
    connection.send(
        "PUT /nowhere HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\nexpect: 100-continue\r\n\r\n",
    );
    assert_eq!(
        connection.receive_one("PUT").expect("an answer").status,
        404
    );
}

pub(crate) fn curl_uploads_after_100_continue(env: &Env) {
    if !is_there("curl") {
        return;
    }
    let gateway = env.crud(&env.compacted(1));
    let dir = TempDir::new();
    let body = bytes(900_000);
    let file = dir.path().join("body");
    fs::write(&file, &body).expect("a file");
    let url = format!("http://{}/items/1", gateway.address());
    let data = format!("@{}", file.display());
    let common = [
        "-X",
        "PUT",
        "-H",
        "Expect: 100-continue",
        "--expect100-timeout",
        "30",
        "-w",
        "%{http_code}",
    ];
    for way in [
        &["--data-binary", &*data][..],
        &["-H", "Transfer-Encoding: chunked", "--data-binary", &data],
    ] {
        assert_eq!(curl(common.iter().chain(way).chain(&[&*url])), "204");
        assert!(
            gateway.http().get("/items/1").expect(200).body == body,
            "other bytes came back"
        );
        gateway.http().delete("/items/1").expect(204);
    }
}
