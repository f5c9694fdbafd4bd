//! Plays whole connections: golden scripts, a table of malformed requests, random streams and random cuts.

use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::clock::{Instant, UnixMillis};
use crate::http::date::imf_fixdate;
use crate::http::{Body, ExchangeId, RequestBody, ResponseHead, Scheme};

struct Upload {
    id: ExchangeId,
    path: Vec<u8>,
    body: Vec<u8>,
}

/// A connection with the application of the scripts behind it.
///
/// `/hello` 200 · `/echo` the body back · `/none` 204 · `/stream` `one`, `two` in chunks · `/abort` breaks off after
/// `one` · `/early` 404 at the head, whatever body follows · `/hold` answers after the next request that is not
/// held · `/evil` a header that would split the answer · `/open` a stream that ends only when the client goes · else 404.
struct Player {
    connection: Connection,
    now: Instant,
    held: Vec<ExchangeId>,
    /// The upload under way.
    upload: Option<Upload>,
    /// What was seen of requests, pieces of bodies joined.
    log: Vec<String>,
    seen: Vec<u8>,
    window: usize,
}

impl Player {
    fn new(limits: Limits) -> Self {
        let now = Instant::from_nanos(1);
        let mut connection = Connection::new(Rc::new(limits), Scheme::Http, now);
        connection.set_date(imf_fixdate(UnixMillis(784_111_777_000)));
        let (held, log, seen) = (Vec::new(), Vec::new(), Vec::new());
        Self {
            connection,
            now,
            held,
            upload: None,
            log,
            seen,
            window: usize::MAX,
        }
    }

    /// Sends bytes as a client would: what the connection does not want yet waits on the wire.
    fn send(&mut self, bytes: &[u8]) {
        if self.connection.wants_input() {
            self.connection.handle_input(bytes, self.now);
        }
        self.work();
    }

    fn work(&mut self) {
        loop {
            while let Some(event) = self.connection.poll_event() {
                self.handle(event);
            }
            let count = self.connection.output().len().min(self.window);
            if count == 0 {
                return;
            }
            self.seen
                .extend_from_slice(&self.connection.output()[..count]);
            self.connection.handle_written(count, self.now);
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Request { id, head, body } => {
                let target = String::from_utf8_lossy(head.target()).into_owned();
                self.log.push(format!("{} {target}", head.method.as_str()));
                match body {
                    RequestBody::Full(bytes) => self.answer(id, head.path(), bytes),
                    RequestBody::Streaming { .. } if head.path() == b"/early" => {
                        self.answer(id, b"/nowhere", Bytes::new());
                    }
                    RequestBody::Streaming { .. } => {
                        self.connection.accept_body(id, self.now);
                        self.upload = Some(Upload {
                            id,
                            path: head.path().to_vec(),
                            body: Vec::new(),
                        });
                    }
                }
            }
            Event::Data { id, bytes } => {
                if let Some(upload) = self.upload.as_mut().filter(|upload| upload.id == id) {
                    upload.body.extend_from_slice(&bytes);
                }
            }
            Event::End { id } => {
                if let Some(upload) = self.upload.take_if(|upload| upload.id == id) {
                    self.answer(id, &upload.path, upload.body.into());
                }
            }
            Event::Aborted { id } => {
                self.log.push(format!("aborted {}", id.0));
                self.upload = None;
            }
            Event::HalfClosed => {
                for id in std::mem::take(&mut self.held) {
                    self.connection.abort(id, self.now);
                }
            }
        }
    }

    fn answer(&mut self, id: ExchangeId, path: &[u8], body: Bytes) {
        let now = self.now;
        let ok = ResponseHead::new(200).with("content-type", "text/plain");
        if !body.is_empty() {
            self.log.push(body.escape_ascii().to_string());
        }
        match path {
            b"/hold" => return self.held.push(id),
            b"/hello" => self
                .connection
                .respond(id, &ok, &Body::Full("hello".into()), now),
            b"/echo" => self.connection.respond(id, &ok, &Body::Full(body), now),
            b"/none" => self
                .connection
                .respond(id, &ResponseHead::new(204), &Body::Empty, now),
            b"/evil" => {
                let head = ResponseHead::new(200).with("x", "1\r\ny: 2").with("z", "3");
                self.connection.respond(id, &head, &Body::Empty, now);
            }
            b"/open" => {
                self.connection.respond(id, &ok, &Body::Stream, now);
                return self.held.push(id);
            }
            b"/stream" | b"/abort" => {
                self.connection.respond(id, &ok, &Body::Stream, now);
                self.connection.send_data(id, b"one", now);
                if path == b"/abort" {
                    return self.connection.abort(id, now);
                }
                self.connection.send_data(id, b"two", now);
                self.connection.finish(id, now);
            }
            _ => self
                .connection
                .respond(id, &ResponseHead::new(404), &Body::Empty, now),
        }
        let held = std::mem::take(&mut self.held);
        for id in held {
            self.connection
                .respond(id, &ok, &Body::Full("held".into()), now);
        }
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while self.connection.poll_timeout() <= end {
            self.now = self.connection.poll_timeout().max(self.now);
            self.connection.handle_timeout(self.now);
            self.work();
        }
        self.now = end;
    }
}

/// One line, or several of one kind, of a script.
#[derive(Clone, Debug)]
enum Step {
    Send(Vec<u8>),
    Expect(Vec<u8>),
    Pass(Duration),
    Eof,
    Drain,
    State(String),
}

fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.chars();
    while let Some(char) = rest.next() {
        match (char, char == '\\') {
            (_, false) => bytes.extend_from_slice(char.to_string().as_bytes()),
            (_, true) => match rest.next().expect("an escape has a letter") {
                'r' => bytes.push(b'\r'),
                'n' => bytes.push(b'\n'),
                't' => bytes.push(b'\t'),
                'x' => {
                    let digits: String = rest.by_ref().take(2).collect();
                    bytes.push(u8::from_str_radix(&digits, 16).expect("two hexadecimal digits"));
                }
                other => panic!("unknown escape {other}"),
            },
        }
    }
    bytes
}

fn parse(script: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for line in script
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        let (kind, rest) = line.split_once(' ').unwrap_or((line, ""));
        match (kind, steps.last_mut()) {
            (">", Some(Step::Send(bytes))) | ("<", Some(Step::Expect(bytes))) => {
                bytes.extend(unescape(rest));
            }
            (">", _) => steps.push(Step::Send(unescape(rest))),
            ("<", _) => steps.push(Step::Expect(unescape(rest))),
            ("t", _) => {
                let seconds = rest
                    .trim_start_matches('+')
                    .trim_end_matches('s')
                    .parse()
                    .expect("t +15s");
                steps.push(Step::Pass(Duration::from_secs(seconds)));
            }
            ("eof", _) => steps.push(Step::Eof),
            ("drain", _) => steps.push(Step::Drain),
            ("=", _) => steps.push(Step::State(rest.to_owned())),
            _ => panic!("unknown line {line}"),
        }
    }
    steps
}

/// Plays a script with its client bytes cut where `cut` says: by offset in all that the client sends.
fn play(name: &str, steps: &[Step], cut: impl Fn(usize) -> bool) {
    let mut player = Player::new(Limits {
        body_bytes_max: 100_000,
        ..Limits::default()
    });
    let mut offset = 0;
    for (number, step) in steps.iter().enumerate() {
        match step {
            Step::Send(bytes) => {
                let mut start = 0;
                for end in 1..=bytes.len() {
                    if end == bytes.len() || cut(offset + end) {
                        player.send(&bytes[start..end]);
                        start = end;
                    }
                }
                offset += bytes.len();
            }
            Step::Expect(bytes) => {
                let seen = std::mem::take(&mut player.seen);
                assert_eq!(
                    seen.escape_ascii().to_string(),
                    bytes.escape_ascii().to_string(),
                    "{name} step {number}"
                );
            }
            Step::Pass(time) => player.pass(*time),
            Step::Eof => {
                player.connection.handle_eof(player.now);
                player.work();
            }
            Step::Drain => {
                player.connection.drain(player.now);
                player.work();
            }
            Step::State(expected) => {
                let connection = &player.connection;
                let state = match (
                    connection.is_closed(),
                    connection.wants_reset(),
                    connection.wants_shutdown(),
                ) {
                    (true, true, _) => "reset",
                    (true, false, _) => "closed",
                    (false, _, true) => "shutdown",
                    (false, _, false) => "open",
                };
                assert_eq!(state, expected, "{name} step {number}");
            }
        }
        if !matches!(
            step,
            Step::Send(_) | Step::Pass(_) | Step::Eof | Step::Drain
        ) {
            assert_eq!(
                player.seen.escape_ascii().to_string(),
                "",
                "{name}: unexpected output after step {number}"
            );
        }
    }
    assert_eq!(
        player.seen.escape_ascii().to_string(),
        "",
        "{name}: unexpected output at the end"
    );
}

#[test]
fn golden_scripts_play_whole_and_cut_at_every_byte() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/http1");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).expect("the scripts are in the repository") {
        let path = entry.unwrap().path();
        let steps = parse(&std::fs::read_to_string(&path).unwrap());
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let sent: usize = steps
            .iter()
            .map(|step| {
                if let Step::Send(bytes) = step {
                    bytes.len()
                } else {
                    0
                }
            })
            .sum();
        play(&name, &steps, |_| false);
        play(&format!("{name}, byte by byte"), &steps, |_| true);
        for at in 1..sent {
            play(&format!("{name}, cut at {at}"), &steps, |offset| {
                offset == at
            });
        }
        count += 1;
    }
    assert!(count >= 10, "only {count} scripts were found");
}

/// The status of the first answer to `input`, and whether the connection lives on.
fn outcome(input: &[u8], byte_by_byte: bool) -> (String, bool) {
    let mut player = Player::new(Limits {
        body_bytes_max: 1000,
        ..Limits::default()
    });
    let pieces = if byte_by_byte { 1 } else { input.len() };
    input.chunks(pieces).for_each(|piece| player.send(piece));
    let text = String::from_utf8_lossy(&player.seen).into_owned();
    let status = text.split(' ').nth(1).unwrap_or("").to_owned();
    let open = !player.connection.is_closed() && !player.connection.wants_shutdown();
    let mut heads = text.rmatch_indices("HTTP/1.1 ").map(|(at, _)| &text[at..]);
    let last = heads
        .find(|head| head.as_bytes()[9].is_ascii_digit())
        .unwrap_or_default();
    assert_eq!(
        open || text.is_empty(),
        !last.contains("connection: close"),
        "{text}"
    );
    if !open && !text.is_empty() {
        assert!(
            last.contains("application/problem+json") && last.contains("\"detail\""),
            "{text}"
        );
    }
    (status, open)
}

#[test]
fn what_could_be_read_in_two_ways_is_refused_and_ends_the_connection() {
    let long = |count| "a".repeat(count);
    let cases: Vec<(&str, String)> = vec![
        // The request line.
        ("400", "GET / HTTP/1.1\nhost: a\n\n".into()),
        ("400", "GET / HTTP/1.1\r\nhost: a\n\r\n".into()),
        ("400", "GET / HTTP/1.1\rhost: a\r\n\r\n".into()),
        ("400", "GET / HTTP/1.1\r\nhost: a\r\nx: 1\r2\r\n\r\n".into()),
        ("400", "GET /\r\n".into()),
        ("400", "GET /\r\n\r\n".into()),
        ("400", "GET  / HTTP/1.1\r\nhost: a\r\n\r\n".into()),
        ("400", "GET / HTTP/1.1 \r\nhost: a\r\n\r\n".into()),
        ("400", "GET / / HTTP/1.1\r\nhost: a\r\n\r\n".into()),
        ("400", "GET\t/\tHTTP/1.1\r\nhost: a\r\n\r\n".into()),
        ("400", " GET / HTTP/1.1\r\nhost: a\r\n\r\n".into()),
        ("400", "G@T / HTTP/1.1\r\nhost: a\r\n\r\n".into()),
        ("400", "GET / http/1.1\r\nhost: a\r\n\r\n".into()),
        ("400", "GET / HTTP/11\r\nhost: a\r\n\r\n".into()),
        ("400", "GET\r\n\r\n".into()),
        ("400", "\u{16}\u{3}\u{1}".into()),
        ("400", "\0".into()),
        ("400", "\r\n\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n".into()),
        ("501", "get / HTTP/1.1\r\nhost: a\r\n\r\n".into()),
        ("501", "BREW / HTTP/1.1\r\nhost: a\r\n\r\n".into()),
        ("501", "CONNECT a:443 HTTP/1.1\r\nhost: a\r\n\r\n".into()),
        ("505", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".into()),
        ("505", "GET / HTTP/1.2\r\nhost: a\r\n\r\n".into()),
        ("505", "GET / HTTP/3.0\r\nhost: a\r\n\r\n".into()),
        ("505", "GET / HTTP/2\r\nhost: a\r\n\r\n".into()),
        ("505", "GET / HTTP/0.9\r\nhost: a\r\n\r\n".into()),
        // The target.
        ("400", "GET * HTTP/1.1\r\nhost: a\r\n\r\n".into()),
        ("400", "GET a HTTP/1.1\r\nhost: a\r\n\r\n".into()),
        ("400", "GET /#a HTTP/1.1\r\nhost: a\r\n\r\n".into()),
        ("400", "GET /a\\b HTTP/1.1\r\nhost: a\r\n\r\n".into()),
        ("400", "GET /%g0 HTTP/1.1\r\nhost: a\r\n\r\n".into()),
        ("400", "GET /\u{e9} HTTP/1.1\r\nhost: a\r\n\r\n".into()),
        ("400", "GET /\"<>^`{|} HTTP/1.1\r\nhost: a\r\n\r\n".into()),
        ("400", "GET http://u@a/ HTTP/1.1\r\nhost: a\r\n\r\n".into()),
        ("400", "GET ftp://a/ HTTP/1.1\r\nhost: a\r\n\r\n".into()),
        ("414", format!("GET /{}", long(40_000))),
        ("414", format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", long(40_000))),
        // Header fields.
        ("431", format!("GET / HTTP/1.1\r\nhost: a\r\nx: {}", long(40_000))),
        ("431", format!("GET / HTTP/1.1\r\nhost: a\r\n{}\r\n", "x: 1\r\n".repeat(128))),
        ("400", "GET / HTTP/1.1\r\nhost: a\r\nx: 1\r\n 2\r\n\r\n".into()),
        ("400", "GET / HTTP/1.1\r\nhost: a\r\n\tx: 1\r\n\r\n".into()),
        ("400", "GET / HTTP/1.1\r\nhost : a\r\n\r\n".into()),
        ("400", "GET / HTTP/1.1\r\nhost: a\r\nx y: 1\r\n\r\n".into()),
        ("400", "GET / HTTP/1.1\r\nhost: a\r\nx\r\n\r\n".into()),
        ("400", "GET / HTTP/1.1\r\nhost: a\r\n: 1\r\n\r\n".into()),
        ("400", "GET / HTTP/1.1\r\nhost: a\r\nx: \0\r\n\r\n".into()),
        ("400", "GET / HTTP/1.1\r\nhost: a\r\nx: \u{7f}\r\n\r\n".into()),
        // Host.
        ("400", "GET / HTTP/1.1\r\n\r\n".into()),
        ("400", "GET / HTTP/1.1\r\nhost: a\r\nHost: a\r\n\r\n".into()),
        ("400", "GET / HTTP/1.1\r\nhost:\r\n\r\n".into()),
        ("400", "GET / HTTP/1.1\r\nhost: u@a\r\n\r\n".into()),
        ("400", "GET / HTTP/1.1\r\nhost: a b\r\n\r\n".into()),
        ("400", "GET / HTTP/1.1\r\nhost: a/b\r\n\r\n".into()),
        ("400", "GET http://a/ HTTP/1.1\r\n\r\n".into()),
        // The body's length.
        ("400", "POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: +3\r\n\r\nabc".into()),
        ("400", "POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: -3\r\n\r\nabc".into()),
        ("400", "POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 0x3\r\n\r\nabc".into()),
        ("400", "POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 3, 3\r\n\r\nabc".into()),
        ("400", "POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 3 3\r\n\r\nabc".into()),
        ("400", "POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length:\r\n\r\nabc".into()),
        ("400", "POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ncontent-length: 3\r\n\r\nabc".into()),
        ("400", "POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 18446744073709551616\r\n\r\n".into()),
        ("413", "POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 18446744073709551615\r\n\r\n".into()),
        ("413", "POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 1001\r\n\r\n".into()),
        ("400", "POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n".into()),
        ("400", "POST /echo HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ncontent-length: 3\r\n\r\n".into()),
        ("400", "POST /echo HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked, chunked\r\n\r\n".into()),
        ("400", "POST /echo HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked,\r\n\r\n".into()),
        ("400", "POST /echo HTTP/1.1\r\nhost: a\r\ntransfer-encoding:\r\n\r\n".into()),
        (
            "400",
            "POST /echo HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n"
                .into(),
        ),
        ("400", "POST /echo HTTP/1.0\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n".into()),
        ("501", "POST /echo HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip, chunked\r\n\r\n".into()),
        ("501", "POST /echo HTTP/1.1\r\nhost: a\r\ntransfer-encoding: identity\r\n\r\n".into()),
        ("501", "POST /echo HTTP/1.1\r\nhost: a\r\ntransfer-encoding: xchunked\r\n\r\n".into()),
        ("501", "POST /echo HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked;q=1\r\n\r\n".into()),
        ("417", "POST /echo HTTP/1.1\r\nhost: a\r\nexpect: tea\r\ncontent-length: 3\r\n\r\n".into()),
        // Chunks; the decoder has a table of its own.
        ("400", "POST /echo HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0x3\r\nabc\r\n".into()),
        ("413", "POST /echo HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3e9\r\n".into()),
    ];
    for (status, input) in &cases {
        let input = format!("{input}GET /hello HTTP/1.1\r\nhost: a\r\n\r\n");
        for byte_by_byte in [false, true] {
            let shown = &input[..input.len().min(150)];
            assert_eq!(
                outcome(input.as_bytes(), byte_by_byte),
                ((*status).to_owned(), false),
                "{shown:?}"
            );
        }
    }
}

#[test]
fn what_is_unusual_but_clear_is_accepted() {
    let cases = [
        "\r\n\r\nGET /hello HTTP/1.1\r\nhost: a\r\n\r\n",
        "GET http://b:80/hello HTTP/1.1\r\nhost: a\r\n\r\n",
        "GET HTTPS://b/hello HTTP/1.1\r\nhost: a\r\n\r\n",
        "GET /hello?a[]=%20&b=1?2 HTTP/1.1\r\nhost: [::1]:80\r\n\r\n",
        "GET /hello HTTP/1.1\r\nhost:a\r\nx:\r\ny: \t \r\nz:  a\tb \r\nw: \u{e9}\r\n\r\n",
        "POST /echo HTTP/1.1\r\nhost: a\r\ntransfer-encoding: Chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nx: y\r\n\r\n",
        "POST /echo HTTP/1.1\r\nHOST: a\r\nContent-Length: 0003\r\n\r\nabc",
        "GET /hello HTTP/1.0\r\nconnection: x, Keep-Alive\r\n\r\n",
    ];
    for input in cases {
        for byte_by_byte in [false, true] {
            assert_eq!(
                outcome(input.as_bytes(), byte_by_byte),
                ("200".to_owned(), true),
                "{input:?}"
            );
        }
    }
    assert_eq!(
        outcome(b"OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n", false),
        ("404".to_owned(), true)
    );
}

#[test]
fn a_target_with_an_authority_overrules_the_host() {
    let limits = Rc::new(Limits::default());
    let mut connection = Connection::new(limits, Scheme::Https, Instant::ZERO);
    connection.handle_input(
        b"GET http://b?c HTTP/1.1\r\nX: 1\r\nHost: a\r\n\r\n",
        Instant::ZERO,
    );
    let Some(Event::Request { head, .. }) = connection.poll_event() else {
        panic!("no request")
    };
    assert_eq!(
        (head.authority(), head.path(), head.query()),
        (&b"b"[..], &b"/"[..], Some(&b"c"[..]))
    );
    assert_eq!(head.scheme, Scheme::Https);
    let fields: Vec<_> = head.headers().iter().collect();
    assert_eq!(fields, [(&b"x"[..], &b"1"[..]), (b"host", b"a")]);
}

#[test]
fn a_client_that_reads_nothing_stops_the_reading_and_is_cut_off() {
    let limits = Limits {
        output_bytes_max: 1000,
        pipeline_max: 4,
        ..Limits::default()
    };
    let mut player = Player::new(limits);
    player.window = 0;
    let requests = b"GET /hello HTTP/1.1\r\nhost: a\r\n\r\n".repeat(100);
    player.send(&requests);
    assert!(!player.connection.wants_input());
    assert!(player.connection.output().len() < 1000 + 4 * 120);
    assert_eq!(player.connection.stream_room(), 0);
    player.pass(Duration::from_secs(29));
    assert!(!player.connection.is_closed());
    player.pass(Duration::from_secs(2));
    assert!(player.connection.is_closed() && player.connection.wants_reset());
}

#[test]
fn a_full_pipeline_stops_the_reading_until_an_answer_is_given() {
    let mut connection = Connection::new(
        Rc::new(Limits {
            pipeline_max: 2,
            ..Limits::default()
        }),
        Scheme::Http,
        Instant::ZERO,
    );
    connection.handle_input(
        &b"GET / HTTP/1.1\r\nhost: a\r\n\r\n".repeat(5),
        Instant::ZERO,
    );
    let mut ids = Vec::new();
    for expected in [2, 3, 4, 5, 5] {
        while let Some(event) = connection.poll_event() {
            let Event::Request { id, .. } = event else {
                panic!("unexpected {event:?}")
            };
            ids.push(id);
        }
        assert_eq!(ids.len(), expected);
        assert_eq!(connection.wants_input(), connection.exchanges_open() < 2);
        let id = ExchangeId(ids.len().min(4) as u64 - 1);
        let oldest = ExchangeId(ids.len() as u64 - connection.exchanges_open() as u64);
        connection.respond(
            oldest.min(id),
            &ResponseHead::new(200),
            &Body::Empty,
            Instant::ZERO,
        );
    }
    assert!(connection.wants_input());
}

#[test]
fn a_slow_head_and_a_slow_body_are_told_so() {
    let mut player = Player::new(Limits::default());
    player.send(b"GET / HTTP/1.1\r\n");
    for _ in 0..20 {
        player.pass(Duration::from_secs(1));
        player.send(b"x");
    }
    assert!(player.seen.starts_with(b"HTTP/1.1 408 "));
    let mut player = Player::new(Limits::default());
    player.send(b"POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 1000\r\n\r\n");
    for _ in 0..60 {
        player.pass(Duration::from_secs(1));
        player.send(b"x");
    }
    assert!(
        player.seen.starts_with(b"HTTP/1.1 408 "),
        "a byte a second is below the minimum rate"
    );
    assert_eq!(player.log.last().unwrap(), "aborted 0");
}

#[test]
fn an_idle_connection_holds_next_to_nothing() {
    let mut player = Player::new(Limits::default());
    let body = "x".repeat(500_000);
    player.send(
        format!(
            "POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
        .as_bytes(),
    );
    player.send(&b"GET /hold HTTP/1.1\r\nhost: a\r\n\r\n".repeat(20));
    player.send(b"GET /hello HTTP/1.1\r\nhost: a\r\n\r\n");
    assert_eq!(player.connection.exchanges_open(), 0);
    let held = player.connection.bytes_held();
    assert!(held < 4096, "an idle connection holds {held} bytes");
}

/// A request whose body is in chunks, the first of which has come, and whose answer has begun.
fn both_under_way() -> (Connection, ExchangeId) {
    let now = Instant::ZERO;
    let mut connection = Connection::new(Rc::new(Limits::default()), Scheme::Http, now);
    connection.handle_input(
        b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n",
        now,
    );
    let Some(Event::Request { id, .. }) = connection.poll_event() else {
        panic!("a request")
    };
    assert!(matches!(connection.poll_event(), Some(Event::Data { .. })));
    connection.respond(id, &ResponseHead::new(200), &Body::Stream, now);
    connection.send_data(id, b"one", now);
    (connection, id)
}

#[test]
fn a_body_goes_on_beside_an_answer_that_goes_on() {
    let (mut connection, id) = both_under_way();
    let now = Instant::ZERO;
    connection.handle_input(b"3\r\ndef\r\n", now);
    assert!(matches!(connection.poll_event(), Some(Event::Data { bytes, .. }) if bytes == "def"));
    connection.handle_input(b"0\r\n\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n", now);
    assert!(matches!(connection.poll_event(), Some(Event::End { .. })));
    assert!(matches!(
        connection.poll_event(),
        Some(Event::Request { .. })
    ));
    connection.finish(id, now);
    assert!(connection.output().ends_with(b"3\r\none\r\n0\r\n\r\n"));
}

#[test]
fn the_rest_of_a_body_is_dropped_when_its_answer_has_ended() {
    let (mut connection, id) = both_under_way();
    let now = Instant::ZERO;
    connection.finish(id, now);
    connection.handle_input(
        b"3\r\ndef\r\n0\r\n\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n",
        now,
    );
    assert!(matches!(
        connection.poll_event(),
        Some(Event::Request { .. })
    ));
}

#[test]
fn a_body_that_breaks_off_breaks_its_answer_off() {
    let (mut connection, _) = both_under_way();
    let now = Instant::ZERO;
    connection.handle_input(b"no chunk\r\n", now);
    assert!(matches!(
        connection.poll_event(),
        Some(Event::Aborted { .. })
    ));
    assert!(connection.output().ends_with(b"3\r\none\r\n"));
    connection.handle_written(usize::MAX, now);
    assert!(connection.wants_shutdown() || connection.is_closed());
}

fn requests() -> impl Strategy<Value = Vec<u8>> {
    let body = prop::collection::vec(any::<u8>(), 1..300);
    let known = body.clone().prop_map(|body| {
        let head = format!(
            "POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        [head.into_bytes(), body].concat()
    });
    let chunked = prop::collection::vec(body, 0..4).prop_map(|chunks| {
        let mut text =
            b"PUT /echo HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
        for chunk in &chunks {
            encode::push_chunk(&mut text, chunk);
        }
        text.extend_from_slice(b"0\r\nx: y\r\n\r\n");
        text
    });
    let plain = prop::sample::select(vec!["/hello", "/hold", "/none", "/stream", "/x?y"]).prop_map(
        |path| format!("\r\nGET {path} HTTP/1.1\r\nHost: a\r\nx: 1\r\n\r\n").into_bytes(),
    );
    prop_oneof![known, chunked, plain]
}

/// Plays `input` in pieces of the given sizes, in turn.
fn play_pieces(input: &[u8], sizes: &[usize]) -> (Vec<String>, Vec<u8>) {
    let mut player = Player::new(Limits::default());
    let (mut rest, mut sizes) = (input, sizes.iter().cycle());
    while !rest.is_empty() {
        let size = sizes
            .next()
            .map_or(rest.len(), |size| (*size).min(rest.len()));
        player.send(&rest[..size]);
        rest = &rest[size..];
    }
    player.send(b"GET /hello HTTP/1.1\r\nhost: a\r\n\r\n");
    player.log.retain(|line| !line.is_empty());
    (player.log, player.seen)
}

proptest! {
    #[test]
    fn any_cut_of_the_input_gives_the_same_requests_and_answers(
        stream in prop::collection::vec(requests(), 1..8),
        sizes in prop::collection::vec(1_usize..200, 1..6),
    ) {
        let input = stream.concat();
        // Whole requests at a time: what a polite client does.
        let mut polite = Player::new(Limits::default());
        for request in &stream {
            polite.send(request);
        }
        polite.send(b"GET /hello HTTP/1.1\r\nhost: a\r\n\r\n");
        polite.log.retain(|line| !line.is_empty());
        let cut = play_pieces(&input, &sizes);
        prop_assert_eq!(&polite.log, &cut.0);
        prop_assert_eq!(polite.seen.escape_ascii().to_string(), cut.1.escape_ascii().to_string());
    }

    #[test]
    fn answers_in_any_order_are_written_in_the_order_of_the_requests(
        order in Just((0_u64..10).collect::<Vec<_>>()).prop_shuffle(),
        streams in prop::collection::vec(any::<bool>(), 10),
    ) {
        let now = Instant::ZERO;
        let mut connection = Connection::new(Rc::new(Limits::default()), Scheme::Http, now);
        connection.handle_input(&b"GET / HTTP/1.1\r\nhost: a\r\n\r\n".repeat(10), now);
        while connection.poll_event().is_some() {}
        let mut expected = Vec::new();
        for (number, stream) in streams.iter().enumerate() {
            let text = format!("<{number}>");
            expected.push(if *stream {
                format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\n{text}\r\n0\r\n\r\n")
            } else {
                format!("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n{text}")
            });
        }
        for number in order {
            let (id, text) = (ExchangeId(number), format!("<{number}>"));
            if streams[usize::try_from(number).unwrap()] {
                connection.respond(id, &ResponseHead::new(200), &Body::Stream, now);
                connection.send_data(id, text.as_bytes(), now);
                connection.finish(id, now);
            } else {
                connection.respond(id, &ResponseHead::new(200), &Body::Full(text.into()), now);
            }
        }
        prop_assert_eq!(String::from_utf8_lossy(connection.output()), expected.concat());
        connection.handle_written(usize::MAX, now);
        prop_assert_eq!(connection.stream_room(), Limits::default().output_bytes_max);
        prop_assert_eq!(connection.exchanges_open(), 0);
    }

    #[test]
    fn random_input_ends_in_an_answer_or_a_close(
        pieces in prop::collection::vec(
            prop_oneof![
                prop::collection::vec(any::<u8>(), 0..60),
                requests(),
                "(GET|POST|HTTP/1.1|host: a|content-length: [0-9]{1,3}|transfer-encoding: chunked|expect: 100-continue|[ /:;\\r\\n]|\\r\\n){1,8}"
                    .prop_map(String::into_bytes),
            ],
            0..12,
        ),
        size in 1_usize..100,
        drain in any::<bool>(),
    ) {
        let mut player = Player::new(Limits::default());
        player.connection.set_date(imf_fixdate(UnixMillis(0)));
        for piece in pieces.concat().chunks(size) {
            player.send(piece);
        }
        if drain {
            player.connection.drain(player.now);
            player.work();
        }
        player.connection.handle_eof(player.now);
        player.work();
        for id in std::mem::take(&mut player.held) {
            player.connection.abort(id, player.now);
        }
        player.work();
        prop_assert!(player.connection.is_closed());
        prop_assert!(player.connection.poll_event().is_none());
        prop_assert_eq!(player.connection.poll_timeout(), Instant::FAR_FUTURE);
    }
}
