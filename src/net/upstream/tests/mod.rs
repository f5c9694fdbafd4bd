//! Requests to servers of our own making, on a core of its own for each test.

mod http1;
mod http2;
mod tls;

use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc;
use std::task::Poll;
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::*;
use crate::config::{ClientLimits, TcpClient};
use crate::http::ResponseHead;
use crate::runtime::placement::CoreSet;
use crate::runtime::{self, CoreStart, net};

/// How long a test may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Runs a test on a core; what it asserts fails the test.
fn on_core<F: Future<Output = ()> + 'static>(
    test: impl FnOnce(Rc<Deadlines>) -> F + Send + 'static,
) {
    let (done, is_done) = mpsc::channel();
    let main: Box<dyn FnOnce(CoreStart) -> _ + Send> = Box::new(move |start: CoreStart| {
        let deadlines = start.deadlines.clone();
        async move {
            let deadline = deadlines.deadline();
            let until = runtime::now() + PATIENCE;
            let in_time = runtime::with_deadline(&deadline, until, test(deadlines)).await;
            assert!(in_time.is_ok(), "the test does not end");
            let _ = done.send(());
        }
    });
    let cores = runtime::start_cores(&CoreSet::Unpinned(1), vec![main]).unwrap();
    cores.join().unwrap();
    is_done.try_recv().unwrap();
}

/// An address that is listened on.
fn listen() -> (SocketAddr, net::Listener) {
    let mut bound = net::bind("127.0.0.1:0".parse().unwrap(), 1).unwrap();
    let listener = net::Listener::new(bound.sockets.remove(0)).unwrap();
    (bound.address, listener)
}

fn plan(address: SocketAddr, versions: HttpVersions) -> HttpClient {
    HttpClient {
        namespace: "test".into(),
        name: "client".into(),
        number: 0,
        versions,
        overrides: Vec::new(),
        tls: None,
        tcp: Arc::new(TcpClient {
            namespace: "test".into(),
            name: "tcp".into(),
            host: Some(address.ip().to_string()),
            port: Some(address.port()),
        }),
        limits: ClientLimits::default(),
    }
}

fn upstream(plan: HttpClient, deadlines: &Rc<Deadlines>) -> Upstream {
    Upstream::new(&Prepared::new(Arc::new(plan)).unwrap(), deadlines)
}

fn request(method: Method, target: &'static str) -> UpstreamRequest {
    UpstreamRequest {
        method,
        scheme: Scheme::Http,
        authority: Bytes::from_static(b"a.test"),
        target: Bytes::from_static(target.as_bytes()),
        headers: Headers::new(),
    }
}

fn soon() -> Instant {
    runtime::now() + Duration::from_secs(10)
}

async fn head(stream: &mut UpstreamStream) -> Result<ResponseHead, UpstreamFault> {
    poll_fn(|context| stream.poll_head(context)).await
}

/// The rest of an answer: body and trailers.
async fn rest(stream: &mut UpstreamStream) -> Result<(Bytes, Option<Headers>), UpstreamFault> {
    let mut body = BytesMut::new();
    while let Some(piece) = poll_fn(|context| stream.poll_data(context)).await {
        body.extend_from_slice(&piece?);
    }
    let trailers = poll_fn(|context| stream.poll_trailers(context)).await?;
    Ok((body.freeze(), trailers))
}

/// A whole request without a body.
async fn get(upstream: &Upstream, target: &'static str) -> Result<Bytes, UpstreamFault> {
    let mut stream = upstream.open(request(Method::Get, target), false, soon());
    head(&mut stream).await?;
    Ok(rest(&mut stream).await?.0)
}
