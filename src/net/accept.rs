//! Accepts connections of one listener on one core, and starts a task for each: decrypted where a tls server is in the way, then served by what the routes lead to.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use futures_lite::{AsyncRead, AsyncWrite, AsyncWriteExt, FutureExt};

use super::GOODBYE;
use super::door::{Door, Server};
use super::echo;
use super::http1::{self, Served};
use super::http2;
use super::service::{Entry, Service};
use super::tls::{self, HandshakeFault};
use super::transport::Transport;
use crate::config::{
    Guarded, HttpServer, HttpVersions, Listener as ListenerPlan, ListenerExit, TlsExit,
};
use crate::guard::session::{Session, Sessions};
use crate::http::Scheme;
use crate::runtime::net::{Listener, Stream};
use crate::runtime::{self, with_deadline};
use crate::tls::route::Peer;
use crate::tls::server::Server as TlsServer;

/// Accepts for ever. `number` is the listener's place in the plan, `port` the port as configured, which the plan's routes speak of.
pub async fn run(
    listener: Listener,
    plan: ListenerPlan,
    (number, port): (usize, u16),
    service: Rc<Service>,
) {
    loop {
        let stream = listener.accept().await;
        let Ok(local) = stream.local_addr() else {
            continue;
        };
        let Some(exit) = plan.route(local.ip(), port) else {
            continue;
        };
        if let Some(entry) = service.enter(number) {
            start(stream, exit.clone(), port, entry);
        }
    }
}

fn start(stream: Stream, exit: ListenerExit, port: u16, entry: Entry) {
    let service = entry.service.clone();
    runtime::spawn_contained(serve(stream, exit, port, entry), move || {
        service.watch.metrics.panics.increment();
        tracing::error!("a connection's task panicked; the connection is closed, the rest goes on");
    });
}

async fn serve(stream: Stream, exit: ListenerExit, port: u16, entry: Entry) {
    // A system call that only the access log needs.
    let wants_client = entry.service.watch.writes_accesses();
    let client = wants_client.then(|| stream.peer_addr().ok()).flatten();
    match exit {
        ListenerExit::Http(server) => {
            let Some(server) = server_of(&entry, &server) else {
                return;
            };
            let door = Door::new(server.clone(), Scheme::Http, entry.service.clone(), None);
            let speaks = server.plan.versions;
            serve_http((stream, client), &server, door, entry, speaks).await;
        }
        ListenerExit::Echo(_) => echo::serve(Transport::Plain(stream), entry).await,
        ListenerExit::Tls(plan) => {
            let server = entry.service.tls.borrow().get(&plan.number).cloned();
            if let Some(server) = server {
                // Apart, as below: a task is as large as the largest thing that it may come to.
                Box::pin(serve_tls(stream, client, port, &server, entry)).await;
            }
        }
    }
}

fn server_of(entry: &Entry, plan: &Arc<HttpServer>) -> Option<Rc<Server>> {
    entry.service.servers.get(&plan.number).cloned()
}

async fn serve_http<S: AsyncRead + AsyncWrite + Unpin>(
    (stream, client): (S, Option<SocketAddr>),
    server: &Server,
    door: Door,
    entry: Entry,
    speaks: HttpVersions,
) {
    if speaks == HttpVersions::H2 {
        return Box::pin(http2::serve(stream, Bytes::new(), door, client, entry)).await;
    }
    let may_be_http2 = speaks == HttpVersions::Both;
    let limits = server.limits.clone();
    let outcome = http1::serve(stream, door, client, limits, entry, may_be_http2).await;
    if let Served::Http2(stream, first, door, entry) = outcome {
        Box::pin(http2::serve(stream, first, door, client, entry)).await;
    }
}

async fn serve_tls(
    stream: Stream,
    client: Option<SocketAddr>,
    port: u16,
    server: &TlsServer,
    entry: Entry,
) {
    let service = entry.service.clone();
    let plan = server.plan();
    let deadline = service.deadlines.deadline();
    let until = runtime::now() + plan.handshake_timeout;
    let failed = |kind: &str, reason: &str| service.watch.tls_failed(plan.number, kind, reason);
    let handshake = async { Some(tls::accept(server, stream, port).await) }.or(async {
        entry.drained().await;
        None
    });
    let accepted = match with_deadline(&deadline, until, handshake).await {
        Ok(Some(Ok(accepted))) => accepted,
        Ok(None) => return,
        Ok(Some(Err(fault))) => {
            entry.handle_broken();
            return failed(event_of(&fault), &fault.to_string());
        }
        Err(_) => {
            entry.handle_broken();
            return failed("HANDSHAKE_TIMEOUT", "the handshake took too long");
        }
    };
    service.watch.metrics.tls_handshakes.increment();
    let session = identify(&service, plan.guard, &accepted.peer);
    let passes = |guarded: &[Guarded]| {
        let session = session.as_ref();
        let passes = |one: &Guarded| session.is_some_and(|session| session.passes(one, "", ""));
        guarded.iter().all(passes)
    };
    let mut transport = accepted.transport;
    let Some(exit) = server.route(&accepted.peer, runtime::unix_now(), passes) else {
        // The client is told that this is the end, if it listens.
        let _ = with_deadline(&deadline, runtime::now() + GOODBYE, transport.close()).await;
        return failed("PROTOCOL_REJECTED", "no route takes the connection");
    };
    match exit {
        TlsExit::Echo(_) => echo::serve(transport, entry).await,
        TlsExit::Http(plan) => {
            let Some(server) = server_of(&entry, plan) else {
                return;
            };
            let speaks = match accepted.peer.alpn.as_deref() {
                Some("h2") => HttpVersions::H2,
                Some("http/1.1") => HttpVersions::Http11,
                _ => server.plan.versions,
            };
            let door = Door::new(server.clone(), Scheme::Https, service, session);
            serve_http((transport, client), &server, door, entry, speaks).await;
        }
    }
}

/// Whom the guard of a tls server takes the client for.
fn identify(service: &Service, guard: Option<usize>, peer: &Peer) -> Option<Rc<Session>> {
    let guard = guard.filter(|_| !peer.certificates.is_empty())?;
    let now = runtime::unix_now();
    match service.guards.verify_chain(guard, &peer.certificates, now) {
        Ok(verified) => Some(Sessions::default().authorize(guard, &verified)),
        Err(refused) => {
            service.watch.authorization_failed(guard, refused);
            None
        }
    }
}

/// What events call a fault.
const fn event_of(fault: &HandshakeFault) -> &'static str {
    match fault {
        HandshakeFault::Broken(_) => "TLS_FAILED",
        HandshakeFault::Refused(_) => "KEY_REJECTED",
        HandshakeFault::PeerNotVerified(_) => "PEER_NOT_VERIFIED",
        HandshakeFault::Failed(_) | HandshakeFault::BadName(_) => "HANDSHAKE_FAILED",
    }
}
