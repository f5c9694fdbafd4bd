//! Handshakes and streams over a pipe with as little room as a busy kernel.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use futures_lite::future::{block_on, zip};
use futures_lite::{AsyncReadExt, FutureExt};

use super::*;
use crate::config::TlsServer;
use crate::tls::testing::{self, Authority, route};

/// One direction of a connection: what is under way, whom it wakes, whether it has ended.
#[derive(Default)]
struct Direction {
    bytes: VecDeque<u8>,
    wakers: Vec<Waker>,
    is_ended: bool,
}

/// A socket whose kernel has little room.
struct Pipe {
    input: Rc<RefCell<Direction>>,
    output: Rc<RefCell<Direction>>,
}

const PIPE_BYTES_MAX: usize = 700;

fn pipe() -> (Pipe, Pipe) {
    let there: Rc<RefCell<Direction>> = Rc::default();
    let back: Rc<RefCell<Direction>> = Rc::default();
    let near = Pipe {
        input: back.clone(),
        output: there.clone(),
    };
    let far = Pipe {
        input: there,
        output: back,
    };
    (near, far)
}

impl Direction {
    fn wait<T>(&mut self, context: &Context<'_>) -> Poll<T> {
        self.wakers.push(context.waker().clone());
        Poll::Pending
    }

    fn wake(&mut self) {
        self.wakers.drain(..).for_each(Waker::wake);
    }
}

impl AsyncRead for Pipe {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut input = self.input.borrow_mut();
        if input.bytes.is_empty() && !input.is_ended {
            return input.wait(context);
        }
        let count = input.bytes.len().min(buffer.len());
        for (place, byte) in buffer.iter_mut().zip(input.bytes.drain(..count)) {
            *place = byte;
        }
        input.wake();
        Poll::Ready(Ok(count))
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut output = self.output.borrow_mut();
        let count = bytes.len().min(PIPE_BYTES_MAX - output.bytes.len());
        if count == 0 {
            return output.wait(context);
        }
        output.bytes.extend(&bytes[..count]);
        output.wake();
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut output = self.output.borrow_mut();
        output.is_ended = true;
        output.wake();
        Poll::Ready(Ok(()))
    }
}

fn world(change: impl FnOnce(&mut TlsServer)) -> (Server, Client) {
    let authority = Authority::new("Servers");
    let mut server = testing::server(vec![route("echo", vec![])]);
    server.keys = vec![authority.key("server", &["a.test"])];
    change(&mut server);
    let mut client = testing::client(vec![authority.trust()]);
    client.alpn = vec!["h2".into()];
    (
        Server::new(Arc::new(server)).unwrap(),
        Client::new(&client).unwrap(),
    )
}

/// Both ends after a handshake over a pipe.
fn connected() -> (Secured<Pipe>, Secured<Pipe>) {
    let (server, client) = world(|_| ());
    let (near, far) = pipe();
    let (accepted, asked) = block_on(zip(
        accept_on(&server, near, 443),
        connect_on(&client, "a.test", far),
    ));
    let ((near, peer), (far, alpn)) = (accepted.unwrap(), asked.unwrap());
    assert_eq!(peer.server_name.as_deref(), Some("a.test"));
    assert_eq!(peer.alpn.as_deref(), Some("h2"));
    assert_eq!(peer.port, 443);
    assert_eq!(peer.alpn, alpn);
    (near, far)
}

/// Runs until nothing moves any more.
fn run_until_idle(mut work: impl Future<Output = ()> + Unpin) {
    let is_over = block_on(async { work.poll(&mut Context::from_waker(Waker::noop())) });
    assert!(is_over.is_pending());
}

#[test]
fn bytes_go_both_ways_through_a_narrow_socket() {
    let (mut near, mut far) = connected();
    let sent: Vec<u8> = (0..200_000_u32).map(|at| (at % 251) as u8).collect();
    let server = async {
        let mut received = vec![0; sent.len()];
        near.read_exact(&mut received).await.unwrap();
        near.write_all(&received).await.unwrap();
        near.close().await.unwrap();
    };
    let client = async {
        far.write_all(&sent).await.unwrap();
        far.flush().await.unwrap();
        let mut received = Vec::new();
        far.read_to_end(&mut received).await.unwrap();
        received
    };
    let ((), received) = block_on(zip(server, client));
    assert!(received == sent);
}

#[test]
fn what_was_written_goes_out_while_its_writer_only_reads() {
    let (mut near, mut far) = connected();
    let server = async {
        let answer = vec![7; 20_000];
        let mut written = 0;
        while written < answer.len() {
            written += near.write(&answer[written..]).await.unwrap();
        }
        // No flush: only the wish to read on.
        let mut scratch = [0; 16];
        near.read(&mut scratch).await.unwrap()
    };
    let client = async {
        let mut received = vec![0; 20_000];
        far.read_exact(&mut received).await.unwrap();
        far.write_all(b"thanks").await.unwrap();
        far.flush().await.unwrap();
    };
    assert_eq!(block_on(zip(server, client)).0, 6);
}

#[test]
fn a_peer_that_takes_nothing_is_not_written_to_without_end() {
    let (mut near, _far) = connected();
    let mut accepted = 0;
    let mut endless = Box::pin(async {
        loop {
            accepted += near.write(&[1; 10_000]).await.unwrap();
        }
    });
    run_until_idle(&mut endless);
    drop(endless);
    assert!(accepted <= WAITING_BYTES_MAX + PIPE_BYTES_MAX, "{accepted}");
}

#[test]
fn a_close_that_waited_is_finished_by_reading() {
    let (mut near, mut far) = connected();
    let server = async {
        near.write_all(&[1; 5_000]).await.unwrap();
        let begun = poll_fn(|context| Poll::Ready(Pin::new(&mut near).poll_close(context)));
        assert!(begun.await.is_pending());
        assert!(near.write(b"more").await.is_err());
        let mut scratch = [0; 16];
        near.read(&mut scratch).await.unwrap()
    };
    let client = async {
        let mut received = Vec::new();
        far.read_to_end(&mut received).await.unwrap();
        far.close().await.unwrap();
        received.len()
    };
    assert_eq!(block_on(zip(server, client)), (0, 5_000));
}

#[test]
fn an_end_without_a_farewell_is_an_error() {
    let (mut near, far) = connected();
    far.socket().output.borrow_mut().is_ended = true;
    let error = block_on(near.read(&mut [0; 16])).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
}

#[test]
fn a_client_that_is_refused_is_told() {
    let (server, client) = world(|server| server.sni = vec!["b.test".into()]);
    let (near, far) = pipe();
    let (accepted, asked) = block_on(zip(
        accept_on(&server, near, 443),
        connect_on(&client, "a.test", far),
    ));
    assert_eq!(
        accepted.err().unwrap().to_string(),
        "the client asks for `a.test`, which is not in `sni`"
    );
    assert_eq!(
        asked.err().unwrap().to_string(),
        "the handshake failed: received fatal alert: UnrecognisedName"
    );
}

#[test]
fn what_is_not_tls_and_what_just_ends_are_faults() {
    let (server, _) = world(|_| ());
    let fault = |bytes: &'static [u8]| {
        let (near, mut far) = pipe();
        let client = async {
            far.write_all(bytes).await.unwrap();
            far.close().await.unwrap();
        };
        let (accepted, ()) = block_on(zip(accept_on(&server, near, 443), client));
        accepted.err().unwrap()
    };
    let plain = fault(b"GET / HTTP/1.1\r\nhost: a.test\r\n\r\n");
    assert!(matches!(plain, HandshakeFault::Failed(_)), "{plain}");
    let ended = fault(b"\x16\x03\x01");
    assert!(matches!(ended, HandshakeFault::Broken(_)), "{ended}");
}

#[test]
fn a_certificate_that_is_missing_is_its_own_fault() {
    let (server, client) = world(|server| {
        server.trust = vec![Authority::new("Clients").trust()];
        server.mutual = crate::config::Mutual::Required;
    });
    let (near, far) = pipe();
    let client = async {
        // The client of TLS 1.3 is done before the server has looked; it learns by reading.
        if let Ok((mut far, _)) = connect_on(&client, "a.test", far).await {
            assert!(far.read(&mut [0; 16]).await.is_err());
        }
    };
    let (accepted, ()) = block_on(zip(accept_on(&server, near, 443), client));
    let fault = accepted.err().unwrap();
    assert!(
        matches!(fault, HandshakeFault::PeerNotVerified(_)),
        "{fault}"
    );
}
