//! Connections: pipelining, keeping them open and closing them, requests that come in pieces, and slow neighbours.

use crate::harness::Env;
use crate::harness::http::{Connection, request};
use std::thread;
use std::time::{Duration, Instant};

pub(crate) fn ten_pipelined_requests_are_answered_in_order(env: &Env) {
    let gateway = env.crud(&env.compacted(3));
    let http = gateway.http();
    for n in 0..10 {
        http.put(&format!("/items/{n}"), format!("value {n}"))
            .expect(204);
    }
    let mut connection = http.connect();
    let all = (0..10).map(|n| request("GET", &format!("/items/{n}"), &[], None));
    connection.send(all.collect::<Vec<_>>().concat());
    for n in 0..10 {
        let answer = connection.receive("GET").expect("an answer").expect(200);
        assert_eq!(answer.text(), format!("value {n}"));
    }
    // Slow and fast ones, with and without bodies, mixed.
    let mut mixed = Vec::new();
    for n in 0..5 {
        mixed.extend(request(
            "PUT",
            &format!("/items/new-{n}"),
            &[],
            Some(&[b'x'; 5_000]),
        ));
        mixed.extend(request("GET", "/nowhere", &[], None));
    }
    connection.send(mixed);
    for _ in 0..5 {
        connection.receive("PUT").expect("an answer").expect(204);
        connection.receive("GET").expect("an answer").expect(404);
    }
}

pub(crate) fn a_pipelined_get_sees_the_put_before_it(env: &Env) {
    let gateway = env.crud(&env.compacted(3));
    let mut connection = gateway.http().connect();
    for round in 0..20 {
        let mut pipelined = Vec::new();
        for key in 0..5 {
            let path = format!("/items/{key}");
            let value = format!("{round}-{key}");
            pipelined.extend(request("PUT", &path, &[], Some(value.as_bytes())));
            pipelined.extend(request("GET", &path, &[], None));
        }
        connection.send(pipelined);
        for key in 0..5 {
            connection.receive("PUT").expect("an answer").expect(204);
            let read = connection.receive("GET").expect("an answer").expect(200);
            assert_eq!(read.text(), format!("{round}-{key}"));
        }
    }
}

/// RFC 9112, section 9.3.2: only safe requests may be served side by side.
pub(crate) fn a_pipelined_write_does_not_overtake_the_get_before_it(env: &Env) {
    let gateway = env.crud(&env.compacted(3));
    let mut connection = gateway.http().connect();
    for round in 0..20 {
        let (path, value) = ("/items/same", round.to_string());
        let mut pipelined = request("PUT", path, &[], Some(value.as_bytes()));
        pipelined.extend(request("GET", path, &[], None));
        pipelined.extend(request("DELETE", path, &[], None));
        pipelined.extend(request("GET", path, &[], None));
        connection.send(pipelined);
        connection.receive("PUT").expect("an answer").expect(204);
        let read = connection.receive("GET").expect("an answer").expect(200);
        assert_eq!(read.text(), value);
        connection.receive("DELETE").expect("an answer").expect(204);
        connection.receive("GET").expect("an answer").expect(404);
    }
}

pub(crate) fn a_connection_serves_many_requests(env: &Env) {
    let gateway = env.crud(&env.compacted(1));
    let mut connection = gateway.http().connect();
    for n in 0..200 {
        let value = n.to_string();
        connection.send(request("PUT", "/items/1", &[], Some(value.as_bytes())));
        let answer = connection.receive("PUT").expect("an answer").expect(204);
        assert_eq!(answer.header("connection"), None);
        // Empty lines before a request are passed over (RFC 9112, section 2.2).
        connection.send("\r\n");
        connection.send(request("GET", "/items/1", &[], None));
        let answer = connection.receive("GET").expect("an answer").expect(200);
        assert_eq!(answer.text(), value);
    }
}

pub(crate) fn a_connection_closes_when_asked_to(env: &Env) {
    let gateway = env.crud(&env.compacted(1));
    let http = gateway.http();
    for value in ["close", "Close", "keep-alive, close"] {
        let mut connection = http.connect();
        connection.send(request("GET", "/items", &[("connection", value)], None));
        let answer = connection.receive("GET").expect("an answer").expect(200);
        assert_eq!(answer.header("connection"), Some("close"));
        connection.assert_closes();
    }
    // And so does one whose client says that it has sent all: after the answer.
    let mut finished = http.connect();
    finished.send(request("PUT", "/items/1", &[], Some(b"1")));
    finished.finish();
    finished.receive("PUT").expect("an answer").expect(204);
    finished.assert_closes();
}

pub(crate) fn http_1_0_is_answered_and_closed(env: &Env) {
    let gateway = env.crud(&env.compacted(1));
    let http = gateway.http();
    http.put("/items/1", "value").expect(204);
    for path in ["/items/1", "/items"] {
        let mut connection = http.connect();
        connection.send(format!("GET {path} HTTP/1.0\r\nhost: x\r\n\r\n"));
        let answer = connection.receive("GET").expect("an answer").expect(200);
        assert_eq!(
            answer.header("transfer-encoding"),
            None,
            "HTTP/1.0 knows no chunks"
        );
        assert!(answer.text().contains("value"));
        connection.assert_closes();
    }
}

pub(crate) fn a_request_may_come_split_at_every_byte(env: &Env) {
    let gateway = env.crud(&env.compacted(1));
    let http = gateway.http();
    let put = request(
        "PUT",
        "/items/split",
        &[("content-type", "text/plain")],
        Some(b"value"),
    );
    let chunked = b"PUT /items/split HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n3\r\nval\r\n2\r\nue\r\n0\r\n\r\n";
    let get = request("GET", "/items/split", &[], None);
    let mut connection = http.connect();
    let mut exchange = |pieces: &[&[u8]], method, status| {
        for piece in pieces {
            connection.send(piece);
            // Lets the gateway see the piece alone, mostly; nothing depends on it.
            thread::sleep(Duration::from_millis(1));
        }
        connection
            .receive(method)
            .expect("an answer")
            .expect(status)
    };
    for bytes in [&put[..], chunked] {
        for cut in 1..bytes.len() {
            let (head, tail) = bytes.split_at(cut);
            exchange(&[head, tail], "PUT", 204);
        }
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        exchange(&single, "PUT", 204);
    }
    for cut in 1..get.len() {
        let (head, tail) = get.split_at(cut);
        assert_eq!(
            exchange(&[head, tail], "GET", 200).text(),
            "value",
            "cut at {cut}"
        );
    }
}

pub(crate) fn three_hundred_half_open_heads_delay_nobody(env: &Env) {
    let gateway = env.crud(&env.compacted(1));
    let http = gateway.http();
    http.put("/items/1", "value").expect(204);
    let mut half_open: Vec<Connection> = (0..300).map(|_| http.connect()).collect();
    for connection in &mut half_open {
        connection.send("GET /items/1 HTTP/1.1\r\nhost: x\r\nx-sl");
    }
    let mut times: Vec<Duration> = (0..100)
        .map(|_| {
            let start = Instant::now();
            assert_eq!(http.get("/items/1").expect(200).text(), "value");
            start.elapsed()
        })
        .collect();
    times.sort_unstable();
    assert!(
        times[98] < Duration::from_secs(1),
        "slowest: {:?}",
        &times[95..]
    );
    // And they are served as soon as they go on.
    for connection in half_open.iter_mut().step_by(30) {
        connection.send("ow: 1\r\n\r\n");
        assert_eq!(
            connection
                .receive("GET")
                .expect("an answer")
                .expect(200)
                .text(),
            "value"
        );
    }
}
