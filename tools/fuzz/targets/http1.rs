//! An HTTP/1.1 connection under any bytes in any cuts: it never panics, and where the cuts fall changes nothing.
//!
//! The first byte chooses the cuts and what the application does, the rest is what the client sends.
#![no_main]

use std::rc::Rc;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use sluice::clock::Instant;
use sluice::http::h1::{Connection, Event, Limits};
use sluice::http::{Body, ExchangeId, Headers, RequestBody, RequestHead, ResponseHead, Scheme};

const ANSWER: &str = r"HTTP/1.1 204 No Content\r\n";
const INTERIM: &str = r"HTTP/1.1 100 Continue\r\n\r\n";

fuzz_target!(|data: &[u8]| {
    let Some((&seed, stream)) = data.split_first() else {
        return;
    };
    let whole = Client::polite(stream, stream.len());
    for size in [1, 2 + usize::from(seed) % 64] {
        assert_eq!(
            Client::polite(stream, size),
            whole,
            "cut every {size} bytes"
        );
    }
    play_wildly(stream, seed);
});

/// Bounds that short inputs reach.
fn limits() -> Rc<Limits> {
    Rc::new(Limits {
        head_bytes_max: 512,
        headers_max: 8,
        body_bytes_max: 300,
        pipeline_max: 3,
        output_bytes_max: 600,
        ..Limits::default()
    })
}

/// A request that came whole.
#[derive(Debug, PartialEq, Eq)]
struct Request {
    start: String,
    headers: Headers,
    body: Vec<u8>,
}

impl Request {
    fn new(head: &RequestHead, body: &[u8]) -> Self {
        let (method, target) = (head.method.as_str(), head.target().escape_ascii());
        let start = format!(
            "{method} {target} {:?} {:?}",
            head.version,
            head.authority().escape_ascii().to_string()
        );
        Self {
            start,
            headers: head.headers().clone(),
            body: body.to_vec(),
        }
    }
}

/// What is seen of a connection from both sides.
#[derive(Debug, PartialEq, Eq)]
struct Client {
    requests: Vec<Request>,
    /// The answers when nothing was wrong: of several mistakes in one head, the first to be seen depends on the cuts. Without the
    /// interim ones, since whether a client has to be told to go on depends on what it has sent.
    answers: String,
    has_fault: bool,
    is_closed: bool,
}

impl Client {
    /// Sends the stream in pieces to an application that answers every request once it is whole.
    fn polite(stream: &[u8], size: usize) -> Self {
        let now = Instant::from_nanos(1);
        let mut connection = Connection::new(limits(), Scheme::Http, now);
        let (mut requests, mut upload, mut answers) = (Vec::new(), None, Vec::new());
        let mut work = |connection: &mut Connection| loop {
            while let Some(event) = connection.poll_event() {
                let whole: Option<(ExchangeId, Request)> = match event {
                    Event::Request {
                        id,
                        head,
                        body: RequestBody::Full(body),
                    } => Some((id, Request::new(&head, &body))),
                    Event::Request {
                        id,
                        head,
                        body: RequestBody::Streaming { .. },
                    } => {
                        connection.accept_body(id, now);
                        upload = Some((id, Request::new(&head, b"")));
                        None
                    }
                    Event::Data { id, bytes } => {
                        let (open, request) = upload.as_mut().expect("data follows a request");
                        assert_eq!(*open, id);
                        assert!(!bytes.is_empty());
                        request.body.extend_from_slice(&bytes);
                        None
                    }
                    Event::End { id } => upload.take().filter(|(open, _)| *open == id),
                    Event::Aborted { id } => {
                        assert_eq!(upload.take().expect("what is aborted was begun").0, id);
                        None
                    }
                    Event::HalfClosed => None,
                };
                if let Some((id, request)) = whole {
                    connection.respond(id, &ResponseHead::new(204), &Body::Empty, now);
                    requests.push(request);
                }
            }
            let count = connection.output().len();
            if count == 0 {
                return;
            }
            answers.extend_from_slice(connection.output());
            connection.handle_written(count, now);
        };
        for piece in stream.chunks(size.max(1)) {
            connection.handle_input(piece, now);
            work(&mut connection);
        }
        connection.handle_eof(now);
        work(&mut connection);
        assert_eq!(connection.exchanges_open(), 0, "every request was answered");
        let answers = answers.escape_ascii().to_string().replace(INTERIM, "");
        assert_eq!(answers.matches(ANSWER).count(), requests.len());
        let has_fault = connection.fault().is_some();
        Self {
            requests,
            has_fault,
            answers: if has_fault { String::new() } else { answers },
            is_closed: connection.is_closed(),
        }
    }
}

/// An application that answers early, late, in pieces or never, to a client that may be slow: all that counts is that nothing panics and that it ends.
fn play_wildly(stream: &[u8], seed: u8) {
    let mut dice = u64::from(seed) + 1;
    let mut roll = |sides: u64| {
        dice = dice
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (dice >> 33) % sides
    };
    let mut now = Instant::from_nanos(1);
    let mut connection = Connection::new(limits(), Scheme::Https, now);
    let mut open = Vec::new();
    let mut rest = stream;
    while !rest.is_empty() || roll(4) > 0 {
        let count = usize::try_from(roll(40)).unwrap_or(0).min(rest.len());
        connection.handle_input(&rest[..count], now);
        rest = &rest[count..];
        while let Some(event) = connection.poll_event() {
            if let Event::Request { id, .. } = event {
                open.push(id);
            }
        }
        if let Some(&id) = open.get(usize::try_from(roll(4)).unwrap_or(0)) {
            match roll(7) {
                0 => connection.respond(id, &ResponseHead::new(204), &Body::Empty, now),
                1 => connection.respond(
                    id,
                    &ResponseHead::new(200).with("x", b"\r\n"),
                    &Body::Full("body".into()),
                    now,
                ),
                2 => connection.respond(id, &ResponseHead::new(200), &Body::Stream, now),
                3 => connection.send_data(id, b"piece", now),
                4 => connection.finish(id, now),
                5 => connection.abort(id, now),
                _ => connection.accept_body(id, now),
            }
        }
        let written = connection
            .output()
            .len()
            .min(usize::try_from(roll(100)).unwrap_or(0));
        connection.handle_written(written, now);
        match roll(40) {
            0 => connection.drain(now),
            1 => connection.handle_eof(now),
            2 => {
                now = now + Duration::from_secs(roll(20));
                connection.handle_timeout(now);
            }
            _ => {}
        }
    }
    for _ in 0..100 {
        now = now.max(
            connection
                .poll_timeout()
                .min(now + Duration::from_secs(100)),
        );
        connection.handle_timeout(now);
        for id in open.drain(..) {
            connection.abort(id, now);
            connection.finish(id, now);
        }
        while let Some(event) = connection.poll_event() {
            if let Event::Request { id, .. } = event {
                open.push(id);
            }
        }
        connection.handle_written(connection.output().len(), now);
    }
    assert!(connection.is_closed(), "it has had time enough");
}
