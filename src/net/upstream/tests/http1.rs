//! HTTP/1.1 with servers that read heads and write what a script says.

use futures_lite::{AsyncReadExt, AsyncWriteExt};

use super::*;

/// A connection of a scripted server.
struct Peer {
    stream: net::Stream,
    read: Vec<u8>,
}

impl Peer {
    async fn accept(listener: &net::Listener) -> Self {
        Self {
            stream: listener.accept().await,
            read: Vec::new(),
        }
    }

    /// What has come up to and with `end`; the rest is kept.
    async fn read_to(&mut self, end: &str) -> String {
        loop {
            let found = self
                .read
                .windows(end.len())
                .position(|window| window == end.as_bytes());
            if let Some(at) = found {
                let rest = self.read.split_off(at + end.len());
                let text = std::mem::replace(&mut self.read, rest);
                return String::from_utf8(text).unwrap();
            }
            let mut space = [0; 4_096];
            let count = self.stream.read(&mut space).await.unwrap();
            assert!(count > 0, "the client ended the connection");
            self.read.extend_from_slice(&space[..count]);
        }
    }

    async fn head(&mut self) -> String {
        self.read_to("\r\n\r\n").await
    }

    async fn write(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    /// Waits until the client has ended the connection.
    async fn ended(&mut self) {
        let mut space = [0; 64];
        let count = self.stream.read(&mut space).await.unwrap_or(0);
        assert_eq!(count, 0, "{:?}", &space[..count]);
    }
}

const EMPTY: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

#[test]
fn requests_one_after_the_other_share_a_connection_and_two_at_once_do_not() {
    on_core(async |deadlines| {
        let (address, listener) = listen();
        let upstream = upstream(plan(address, HttpVersions::Both), &deadlines);
        runtime::spawn(async move {
            let mut first = Peer::accept(&listener).await;
            for target in ["/a", "/b"] {
                let head = first.head().await;
                assert!(
                    head.starts_with(&format!("GET {target} HTTP/1.1\r\n")),
                    "{head}"
                );
                assert!(head.contains("host: a.test\r\n"), "{head}");
                first
                    .write("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
                    .await;
            }
            first.head().await;
            let mut second = Peer::accept(&listener).await;
            second.head().await;
            second.write(EMPTY).await;
            first.write(EMPTY).await;
        });
        assert_eq!(get(&upstream, "/a").await.unwrap(), "ok");
        assert_eq!(get(&upstream, "/b").await.unwrap(), "ok");
        assert_eq!(upstream.connections(), 1);
        let one = get(&upstream, "/c");
        let other = get(&upstream, "/d");
        let (one, other) = futures_lite::future::zip(one, other).await;
        assert_eq!((one.unwrap(), other.unwrap()), (Bytes::new(), Bytes::new()));
        assert_eq!(upstream.connections(), 2);
    });
}

#[test]
fn bodies_go_in_chunks_both_ways_and_trailers_come() {
    on_core(async |deadlines| {
        let (address, listener) = listen();
        let upstream = upstream(plan(address, HttpVersions::Http11), &deadlines);
        runtime::spawn(async move {
            let mut peer = Peer::accept(&listener).await;
            let head = peer.head().await;
            assert!(head.contains("transfer-encoding: chunked\r\n"), "{head}");
            assert!(!head.contains("te: gzip"), "{head}");
            let body = peer.read_to("0\r\n\r\n").await;
            assert_eq!(body, "3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n");
            peer.write("HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n")
                .await;
            peer.write("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n")
                .await;
            peer.write("4\r\nfour\r\n0\r\nx-sum: 9\r\n\r\n").await;
            peer.head().await;
            peer.write(EMPTY).await;
        });
        let mut put = request(Method::Put, "/a");
        put.headers.push("te", "gzip");
        put.headers.push("connection", "close");
        let mut stream = upstream.open(put, true, soon());
        for piece in ["one", "two"] {
            poll_fn(|context| stream.poll_ready(context)).await.unwrap();
            stream.send_data(Bytes::from_static(piece.as_bytes()));
        }
        poll_fn(|context| stream.poll_ready(context)).await.unwrap();
        stream.finish();
        assert_eq!(head(&mut stream).await.unwrap().status, 200);
        let (body, trailers) = rest(&mut stream).await.unwrap();
        assert_eq!(body, "four");
        assert_eq!(trailers.unwrap().get("x-sum"), Some(&b"9"[..]));
        assert_eq!(get(&upstream, "/b").await.unwrap(), "");
        assert_eq!(upstream.connections(), 1, "the connection is used again");
    });
}

#[test]
fn a_connection_that_was_closed_while_idle_is_replaced_unless_the_request_could_do_harm_twice() {
    on_core(async |deadlines| {
        let (address, listener) = listen();
        let upstream = upstream(plan(address, HttpVersions::Http11), &deadlines);
        runtime::spawn(async move {
            for _ in 0..2 {
                let mut peer = Peer::accept(&listener).await;
                peer.head().await;
                peer.write(EMPTY).await;
                // Closes when the next request has been written, and takes nothing of it.
                peer.head().await;
            }
        });
        get(&upstream, "/a").await.unwrap();
        get(&upstream, "/b").await.unwrap();
        let mut stream = upstream.open(request(Method::Post, "/c"), false, soon());
        let fault = head(&mut stream).await.unwrap_err();
        assert!(
            matches!(fault, UpstreamFault::Lost { unprocessed: false }),
            "{fault}"
        );
        assert_eq!(fault.status(), 502);
    });
}

#[test]
fn an_answer_to_head_has_no_body_and_neither_has_one_without_content() {
    on_core(async |deadlines| {
        let (address, listener) = listen();
        let upstream = upstream(plan(address, HttpVersions::Http11), &deadlines);
        runtime::spawn(async move {
            let mut peer = Peer::accept(&listener).await;
            for answer in [
                "HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n",
                "HTTP/1.1 204 No Content\r\n\r\n",
                "HTTP/1.1 304 Not Modified\r\ncontent-length: 7\r\n\r\n",
            ] {
                peer.head().await;
                peer.write(answer).await;
            }
        });
        for (method, status) in [(Method::Head, 200), (Method::Get, 204), (Method::Get, 304)] {
            let mut stream = upstream.open(request(method, "/a"), false, soon());
            assert_eq!(head(&mut stream).await.unwrap().status, status);
            assert_eq!(rest(&mut stream).await.unwrap().0, "");
        }
        assert_eq!(upstream.connections(), 1);
    });
}

#[test]
fn a_slow_taker_stops_the_server_and_a_cancelled_request_closes_the_connection() {
    on_core(async |deadlines| {
        let (address, listener) = listen();
        let upstream = upstream(plan(address, HttpVersions::Http11), &deadlines);
        let sent = Rc::new(Cell::new(0));
        let count = sent.clone();
        runtime::spawn(async move {
            let mut peer = Peer::accept(&listener).await;
            peer.head().await;
            peer.write("HTTP/1.1 200 OK\r\n\r\n").await;
            let piece = vec![7; 65_536];
            while peer.stream.write_all(&piece).await.is_ok() {
                count.set(count.get() + 65_536);
            }
        });
        let mut stream = upstream.open(request(Method::Get, "/a"), false, soon());
        head(&mut stream).await.unwrap();
        let mut before = 1;
        while before != sent.get() {
            before = sent.get();
            runtime::sleep(Duration::from_millis(100)).await;
        }
        let piece = poll_fn(|context| stream.poll_data(context)).await;
        assert!(piece.unwrap().is_ok());
        stream.cancel();
        let data = poll_fn(|context| stream.poll_data(context)).await;
        assert!(matches!(data, Some(Err(UpstreamFault::Lost { .. }))));
        while upstream.connections() > 0 {
            runtime::yield_now().await;
        }
    });
}

#[test]
fn what_is_no_answer_is_a_fault() {
    on_core(async |deadlines| {
        let (address, listener) = listen();
        let upstream = upstream(plan(address, HttpVersions::Http11), &deadlines);
        let long = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "x".repeat(100_000));
        let answers = [
            "nonsense\r\n\r\n".to_owned(),
            "HTTP/1.1 101 Switching Protocols\r\n\r\n".to_owned(),
            "HTTP/1.1 200 OK\r\ncontent-length: 9".to_owned(),
            long,
        ];
        runtime::spawn(async move {
            for answer in answers {
                let mut peer = Peer::accept(&listener).await;
                peer.head().await;
                // The client may have seen enough before it is all written.
                let _ = peer.stream.write_all(answer.as_bytes()).await;
            }
        });
        let nonsense = get(&upstream, "/a").await.unwrap_err();
        assert!(matches!(nonsense, UpstreamFault::Protocol(_)), "{nonsense}");
        let other = get(&upstream, "/a").await.unwrap_err();
        assert!(matches!(other, UpstreamFault::Protocol(_)), "{other}");
        let ended = get(&upstream, "/a").await.unwrap_err();
        assert!(
            matches!(ended, UpstreamFault::Lost { unprocessed: false }),
            "{ended}"
        );
        let large = get(&upstream, "/a").await.unwrap_err();
        assert!(matches!(large, UpstreamFault::TooLarge), "{large}");
    });
}

#[test]
fn idle_connections_end_after_their_time_and_when_the_gateway_drains() {
    on_core(async |deadlines| {
        let (address, listener) = listen();
        let mut plan = plan(address, HttpVersions::Http11);
        plan.limits.idle_timeout = Duration::from_millis(50);
        let upstream = upstream(plan, &deadlines);
        let ended = Rc::new(Cell::new(0));
        let count = ended.clone();
        runtime::spawn(async move {
            for _ in 0..2 {
                let mut peer = Peer::accept(&listener).await;
                peer.head().await;
                peer.write(EMPTY).await;
                peer.ended().await;
                count.set(count.get() + 1);
            }
        });
        get(&upstream, "/a").await.unwrap();
        while ended.get() < 1 {
            runtime::sleep(Duration::from_millis(5)).await;
        }
        upstream.drain();
        get(&upstream, "/b").await.unwrap();
        while ended.get() < 2 {
            runtime::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(upstream.connections(), 0);
    });
}
