//! What is not HTTP/1.1, or could be read in two ways: refused, closed, never stored, and the gateway serves on.

use crate::harness::Env;
use crate::harness::gateway::Gateway;
use std::env;

/// Sent after each malformed request: whoever still reads on answers it.
const SMUGGLED: &str = "PUT /items/smuggled HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\nx";

/// What is wrong, the request, and the statuses it may get.
#[rustfmt::skip] // one request a line
const MALFORMED: &[(&str, &str, &[u16])] = &[
    ("no host", "PUT /items/1 HTTP/1.1\r\ncontent-length: 1\r\n\r\nx", &[400]),
    ("two hosts", "PUT /items/1 HTTP/1.1\r\nhost: x\r\nhost: x\r\ncontent-length: 1\r\n\r\nx", &[400]),
    ("a host with a path", "PUT /items/1 HTTP/1.1\r\nhost: x/y\r\ncontent-length: 1\r\n\r\nx", &[400]),
    ("a host with a space", "PUT /items/1 HTTP/1.1\r\nhost: x y\r\ncontent-length: 1\r\n\r\nx", &[400]),
    ("length and chunked", "PUT /items/1 HTTP/1.1\r\nhost: x\r\ncontent-length: 6\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", &[400]),
    ("chunked and length", "PUT /items/1 HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n", &[400]),
    ("two lengths", "PUT /items/1 HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nxy", &[400]),
    ("the same length twice", "PUT /items/1 HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 1\r\n\r\nx", &[400]),
    ("a list of lengths", "PUT /items/1 HTTP/1.1\r\nhost: x\r\ncontent-length: 1, 1\r\n\r\nx", &[400]),
    ("+3", "PUT /items/1 HTTP/1.1\r\nhost: x\r\ncontent-length: +3\r\n\r\nabc", &[400]),
    ("-3", "PUT /items/1 HTTP/1.1\r\nhost: x\r\ncontent-length: -3\r\n\r\nabc", &[400]),
    ("0x3", "PUT /items/1 HTTP/1.1\r\nhost: x\r\ncontent-length: 0x3\r\n\r\nabc", &[400]),
    ("3 3", "PUT /items/1 HTTP/1.1\r\nhost: x\r\ncontent-length: 3 3\r\n\r\nabc", &[400]),
    ("an empty length", "PUT /items/1 HTTP/1.1\r\nhost: x\r\ncontent-length:\r\n\r\n", &[400]),
    ("a length that wraps", "PUT /items/1 HTTP/1.1\r\nhost: x\r\ncontent-length: 18446744073709551619\r\n\r\nabc", &[400, 413]),
    ("a chunk size that wraps", "PUT /items/1 HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n10000000000000003\r\nabc\r\n0\r\n\r\n", &[400, 413]),
    ("a chunk size with a sign", "PUT /items/1 HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n+3\r\nabc\r\n0\r\n\r\n", &[400]),
    ("a chunk size with a prefix", "PUT /items/1 HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n", &[400]),
    ("a chunk size after a space", "PUT /items/1 HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n 3\r\nabc\r\n0\r\n\r\n", &[400]),
    ("no chunk size", "PUT /items/1 HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n\r\nabc\r\n0\r\n\r\n", &[400]),
    ("a chunk size that is none", "PUT /items/1 HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\ng\r\nabc\r\n0\r\n\r\n", &[400]),
    ("a chunk line of LF alone", "PUT /items/1 HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n3\nabc\r\n0\r\n\r\n", &[400]),
    ("an extension with LF", "PUT /items/1 HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n3;a\nabc\r\n0\r\n\r\n", &[400]),
    ("a chunk longer than it says", "PUT /items/1 HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n", &[400]),
    ("a trailer that is no header", "PUT /items/1 HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n0\r\nno trailer\r\n\r\n", &[400]),
    ("an unknown coding", "PUT /items/1 HTTP/1.1\r\nhost: x\r\ntransfer-encoding: gzip\r\n\r\n", &[400, 501]),
    ("an unknown coding, chunked", "PUT /items/1 HTTP/1.1\r\nhost: x\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n", &[400, 501]),
    ("chunked, then an unknown coding", "PUT /items/1 HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked, gzip\r\n\r\n0\r\n\r\n", &[400, 501]),
    ("chunked twice", "PUT /items/1 HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked, chunked\r\n\r\n0\r\n\r\n", &[400, 501]),
    ("two codings", "PUT /items/1 HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\ntransfer-encoding: identity\r\n\r\n0\r\n\r\n", &[400, 501]),
    ("nearly chunked", "PUT /items/1 HTTP/1.1\r\nhost: x\r\ntransfer-encoding: xchunked\r\n\r\n0\r\n\r\n", &[400, 501]),
    ("an empty coding", "PUT /items/1 HTTP/1.1\r\nhost: x\r\ntransfer-encoding:\r\n\r\n", &[400, 501]),
    ("chunked in HTTP/1.0", "PUT /items/1 HTTP/1.0\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", &[400]),
    ("a folded header", "PUT /items/1 HTTP/1.1\r\nhost: x\r\nx-a: 1\r\n 2\r\ncontent-length: 1\r\n\r\nx", &[400]),
    ("a folded header, by a tab", "PUT /items/1 HTTP/1.1\r\nhost: x\r\nx-a: 1\r\n\t2\r\ncontent-length: 1\r\n\r\nx", &[400]),
    ("a space before the first header", "PUT /items/1 HTTP/1.1\r\n host: x\r\nhost: x\r\ncontent-length: 1\r\n\r\nx", &[400]),
    ("a space before the colon", "PUT /items/1 HTTP/1.1\r\nhost: x\r\ncontent-length : 1\r\n\r\nx", &[400]),
    ("a tab before the colon", "PUT /items/1 HTTP/1.1\r\nhost: x\r\ntransfer-encoding\t: chunked\r\n\r\n0\r\n\r\n", &[400]),
    ("no colon", "PUT /items/1 HTTP/1.1\r\nhost: x\r\nheader\r\ncontent-length: 1\r\n\r\nx", &[400]),
    ("no header name", "PUT /items/1 HTTP/1.1\r\nhost: x\r\n: value\r\ncontent-length: 1\r\n\r\nx", &[400]),
    ("a header name that is no token", "PUT /items/1 HTTP/1.1\r\nhost: x\r\nx(y): 1\r\ncontent-length: 1\r\n\r\nx", &[400]),
    ("NUL in a value", "PUT /items/1 HTTP/1.1\r\nhost: x\r\nx-a: a\0b\r\ncontent-length: 1\r\n\r\nx", &[400]),
    ("NUL in a name", "PUT /items/1 HTTP/1.1\r\nhost: x\r\nx\0a: b\r\ncontent-length: 1\r\n\r\nx", &[400]),
    ("NUL in the path", "PUT /items/1\0 HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\nx", &[400]),
    ("NUL first", "\0PUT /items/1 HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\nx", &[400]),
    ("CR in a value", "PUT /items/1 HTTP/1.1\r\nhost: x\r\nx-a: a\rb\r\ncontent-length: 1\r\n\r\nx", &[400]),
    ("lines of LF alone", "PUT /items/1 HTTP/1.1\nhost: x\ncontent-length: 1\n\nx", &[400]),
    ("one line of LF alone", "PUT /items/1 HTTP/1.1\r\nhost: x\ncontent-length: 1\r\n\r\nx", &[400]),
    ("HTTP/3.0", "PUT /items/1 HTTP/3.0\r\nhost: x\r\ncontent-length: 1\r\n\r\nx", &[505]),
    ("HTTP/2.0", "PUT /items/1 HTTP/2.0\r\nhost: x\r\ncontent-length: 1\r\n\r\nx", &[505]),
    ("the preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &[400, 505]),
    ("http in lower case", "PUT /items/1 http/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\nx", &[400, 505]),
    ("HTTP/1.10", "PUT /items/1 HTTP/1.10\r\nhost: x\r\ncontent-length: 1\r\n\r\nx", &[400, 505]),
    ("no version", "PUT /items/1\r\nhost: x\r\ncontent-length: 1\r\n\r\nx", &[400, 505]),
    ("two spaces before the path", "PUT  /items/1 HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\nx", &[400]),
    ("a space in the path", "PUT /items/1 2 HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\nx", &[400, 505]),
    ("no slash first", "PUT items/1 HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\nx", &[400]),
    ("a star that is not for OPTIONS", "PUT * HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\nx", &[400]),
    ("user and password", "PUT http://u:p@x/items/1 HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\nx", &[400]),
    ("a method that is no token", "P@T /items/1 HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\nx", &[400]),
    ("no method", " /items/1 HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\nx", &[400]),
    ("a bad escape in the key", "PUT /items/%zz HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 1\r\n\r\nx", &[400]),
];

pub(crate) fn malformed_requests_are_refused_and_store_nothing(env: &Env) {
    let topic = env.compacted(1);
    let gateway = env.crud(&topic);
    let mut wrong = Vec::new();
    for (what, request, statuses) in MALFORMED {
        let mut connection = gateway.http().connect();
        connection.send(request);
        // The peer may have closed already.
        let _ = connection.try_send(SMUGGLED.as_bytes());
        let answers = statuses_of(&connection.receive_all());
        let refused = match &*answers {
            // A close says it as well.
            [] => true,
            [status] => statuses.contains(status),
            _ => false,
        };
        if !refused {
            wrong.push(format!(
                "{what}: {answers:?} instead of one of {statuses:?}"
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    gateway.assert_serves();
    assert_eq!(
        env.kafka.end_offsets(&topic, 1),
        [0],
        "something was stored"
    );
}

/// The final answers in what came back.
fn statuses_of(bytes: &[u8]) -> Vec<u16> {
    let text = String::from_utf8_lossy(bytes);
    let lines = text.split("\r\n").filter_map(|line| {
        // A body has no line end before the next answer.
        let (_, status) = line.rsplit_once("HTTP/1.1 ")?;
        status.get(..3)?.parse().ok()
    });
    lines.filter(|status| *status >= 200).collect()
}

/// A proxy before us may have read the body in the other way: what follows it must not be taken for a request.
pub(crate) fn ambiguous_bodies_are_never_read_as_a_second_request(env: &Env) {
    let topic = env.compacted(1);
    let gateway = env.crud(&topic);
    let smuggled = format!("0\r\n\r\n{SMUGGLED}");
    for (what, headers) in [
        (
            "CL.TE",
            format!(
                "content-length: {}\r\ntransfer-encoding: chunked\r\n",
                smuggled.len()
            ),
        ),
        (
            "TE.CL",
            "transfer-encoding: chunked\r\ncontent-length: 5\r\n".to_owned(),
        ),
        (
            "TE.TE",
            "transfer-encoding: chunked\r\ntransfer-encoding: x\r\n".to_owned(),
        ),
        (
            "CL.CL",
            format!(
                "content-length: 5\r\ncontent-length: {}\r\n",
                smuggled.len()
            ),
        ),
        (
            "hidden TE",
            "transfer-encoding:\x0bchunked\r\ncontent-length: 5\r\n".to_owned(),
        ),
        (
            "folded TE",
            "transfer-encoding:\r\n chunked\r\ncontent-length: 5\r\n".to_owned(),
        ),
    ] {
        let mut connection = gateway.http().connect();
        connection.send("GET /items HTTP/1.1\r\nhost: x\r\n\r\n");
        let _ = connection.try_send(
            format!("PUT /items/1 HTTP/1.1\r\nhost: x\r\n{headers}\r\n{smuggled}").as_bytes(),
        );
        let answers = statuses_of(&connection.receive_all());
        assert!(matches!(&*answers, [200, 400 | 501]), "{what}: {answers:?}");
    }
    gateway.assert_serves();
    assert_eq!(
        env.kafka.end_offsets(&topic, 1),
        [0],
        "something was stored"
    );
}

pub(crate) fn oversized_heads_are_refused(env: &Env) {
    let gateway = env.crud(&env.compacted(1));
    let long = "a".repeat(100_000);
    let many = "x-many: some value\r\n".repeat(5_000);
    for (what, request, statuses) in [
        (
            "a long value",
            format!("GET /items HTTP/1.1\r\nhost: x\r\nx: {long}\r\n\r\n"),
            &[431][..],
        ),
        (
            "a long name",
            format!("GET /items HTTP/1.1\r\nhost: x\r\n{long}: x\r\n\r\n"),
            &[431],
        ),
        (
            "many headers",
            format!("GET /items HTTP/1.1\r\nhost: x\r\n{many}\r\n"),
            &[431],
        ),
        (
            "a long path",
            format!("GET /items/{long} HTTP/1.1\r\nhost: x\r\n\r\n"),
            &[414],
        ),
        (
            "a long method",
            format!("{long} /items HTTP/1.1\r\nhost: x\r\n\r\n"),
            &[400, 414, 431, 501],
        ),
        (
            "a head without end",
            format!("GET /items HTTP/1.1\r\nhost: x\r\nx: {long}"),
            &[431],
        ),
        ("a line without end", long.clone(), &[400, 414, 431, 501]),
    ] {
        let mut connection = gateway.http().connect();
        let answer = connection.upload(request.as_bytes());
        let answer = answer.unwrap_or_else(|failure| panic!("{what}: {failure}"));
        assert!(statuses.contains(&answer.status), "{what}: {answer:?}");
        connection.assert_closes();
    }
    // What most servers take is taken.
    let fair = "a".repeat(15_000);
    gateway
        .http()
        .request("GET", "/items", &[("x", &fair)], None)
        .expect(200);
    gateway.assert_serves();
}

pub(crate) fn a_tls_hello_is_refused(env: &Env) {
    let gateway = env.crud(&env.compacted(1));
    // A record of 512 bytes that holds a ClientHello, TLS 1.2 on the outside (RFC 8446, section 4.1.2).
    let mut hello = vec![
        0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03, 0x03,
    ];
    hello.resize(5 + 512, 0xa5);
    refuses(&gateway, &hello);
    gateway.assert_serves();
}

pub(crate) fn random_bytes_do_no_harm(env: &Env) {
    let topic = env.compacted(1);
    let gateway = env.crud(&topic);
    let seed = env::var("SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or(0x5eed);
    let mut random = Random(seed);
    for round in 0..150 {
        let length = usize::try_from(random.next() % 3_000).expect("fits") + 1;
        let mut bytes: Vec<u8> = (0..length)
            .map(|_| random.next().to_le_bytes()[0])
            .collect();
        // A part of them begins like a request, or is one with a few bytes changed.
        match round % 3 {
            0 => {}
            1 => {
                bytes.splice(..0, *b"PUT /items/1 HTTP/1.1\r\nhost: x\r\n");
            }
            _ => {
                bytes = b"GET /items/1?x=y HTTP/1.1\r\nhost: x\r\naccept: */*\r\nuser-agent: e2e\r\n\r\n".to_vec();
                for _ in 0..3 {
                    let at = usize::try_from(random.next()).expect("64 bits") % bytes.len();
                    bytes[at] = random.next().to_le_bytes()[0];
                }
            }
        }
        println!("SEED={seed} round {round}");
        refuses(&gateway, &bytes);
    }
    gateway.assert_serves();
    assert_eq!(
        env.kafka.end_offsets(&topic, 1),
        [0],
        "something was stored"
    );
}

/// Whatever it answers, it is no success of a write, and the connection ends.
#[track_caller]
fn refuses(gateway: &Gateway, bytes: &[u8]) {
    let mut connection = gateway.http().connect();
    let _ = connection.try_send(bytes);
    connection.finish();
    let answers = statuses_of(&connection.receive_all());
    assert!(answers.iter().all(|status| *status != 204), "{answers:?}");
}

/// xorshift64*.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }
}
