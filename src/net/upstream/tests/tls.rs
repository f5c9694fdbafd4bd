//! TLS: which version is spoken is what ALPN agrees on, and nobody is spoken to who is not trusted.

use futures_lite::AsyncWriteExt;

use super::*;
use crate::net::adapter::TokioIo;
use crate::net::tls;
use crate::tls::server::Server;
use crate::tls::testing::{self, Authority, route};

/// A client that trusts `trusted`, and a server with a key of `authority`'s that takes `alpn`.
fn world(
    authority: &Authority,
    trusted: &Authority,
    alpn: &[&str],
    address: SocketAddr,
) -> (HttpClient, Rc<Server>) {
    let mut server = testing::server(vec![route("echo", vec![])]);
    server.keys = vec![authority.key("server", &["a.test"])];
    server.alpn = alpn.iter().map(ToString::to_string).collect();
    let mut client = testing::client(vec![trusted.trust()]);
    client.sni = Some("a.test".into());
    let mut plan = plan(address, HttpVersions::Both);
    plan.tls = Some(Arc::new(client));
    (plan, Rc::new(Server::new(Arc::new(server)).unwrap()))
}

#[test]
fn http2_is_spoken_when_alpn_says_so() {
    on_core(async |deadlines| {
        let (address, listener) = listen();
        let authority = Authority::new("Servers");
        let (plan, server) = world(&authority, &authority, &["h2"], address);
        runtime::spawn(async move {
            let stream = listener.accept().await;
            let accepted = tls::accept(&server, stream, 443).await.unwrap();
            assert_eq!(accepted.peer.alpn.as_deref(), Some("h2"));
            let io = TokioIo(accepted.transport);
            let mut connection = h2::server::handshake(io).await.unwrap();
            while let Some(Ok((_, mut respond))) = connection.accept().await {
                let mut sending = respond
                    .send_response(http::Response::new(()), false)
                    .unwrap();
                sending.send_data(Bytes::from_static(b"two"), true).unwrap();
            }
        });
        let upstream = upstream(plan, &deadlines);
        assert_eq!(get(&upstream, "/a").await.unwrap(), "two");
        assert_eq!(get(&upstream, "/b").await.unwrap(), "two");
        assert_eq!(upstream.connections(), 1);
    });
}

#[test]
fn http1_is_spoken_when_alpn_says_so() {
    on_core(async |deadlines| {
        let (address, listener) = listen();
        let authority = Authority::new("Servers");
        let (plan, server) = world(&authority, &authority, &["http/1.1"], address);
        runtime::spawn(async move {
            let stream = listener.accept().await;
            let mut accepted = tls::accept(&server, stream, 443).await.unwrap();
            assert_eq!(accepted.peer.alpn.as_deref(), Some("http/1.1"));
            let transport = &mut accepted.transport;
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\none";
            let mut read = Vec::new();
            while !read.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                futures_lite::AsyncReadExt::read_exact(transport, &mut byte)
                    .await
                    .unwrap();
                read.push(byte[0]);
            }
            transport.write_all(answer).await.unwrap();
            transport.flush().await.unwrap();
            transport.close().await.unwrap();
        });
        let upstream = upstream(plan, &deadlines);
        assert_eq!(get(&upstream, "/a").await.unwrap(), "one");
    });
}

#[test]
fn a_server_that_is_not_trusted_gets_no_request() {
    on_core(async |deadlines| {
        let (address, listener) = listen();
        let (own, other) = (Authority::new("Servers"), Authority::new("Others"));
        let (plan, server) = world(&own, &other, &["h2"], address);
        runtime::spawn(async move {
            let stream = listener.accept().await;
            // The client ends it.
            let _ = tls::accept(&server, stream, 443).await;
        });
        let fault = get(&upstream(plan, &deadlines), "/a").await.unwrap_err();
        assert!(matches!(fault, UpstreamFault::Tls(_)), "{fault}");
        assert_eq!(fault.status(), 502);
    });
}
