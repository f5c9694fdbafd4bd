//! The `prometheus` exporter: asks every core for its figures, adds them up, and answers over HTTP. All of it on the helper thread.
//!
//! ```text
//!  GET /metrics ─▶ h1::Connection ─▶ Report to each core's data queue ─▶ its snapshot, by oneshot ─▶ merge ─▶ text
//! ```
//! Rule: a core copies its figures and goes on; one that is too busy to be asked, or to answer within a second, is left out and counted as missing.

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use socket2::Socket;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::time::{Instant as TokioInstant, sleep, sleep_until, timeout_at};

use super::CoreMessage;
use super::startup::Shared;
use crate::clock::Instant;
use crate::http::date::imf_fixdate;
use crate::http::h1::{Connection, Event, Limits};
use crate::http::{Body, Method, Problem, RequestHead, ResponseHead, Scheme};
use crate::observe::metrics::family::Metric;
use crate::observe::metrics::snapshot::{Series, Snapshot};
use crate::observe::metrics::text;
use crate::runtime;

/// How long the cores may take to answer.
const CORES_WAIT: Duration = Duration::from_secs(1);
/// Connections of one endpoint; beyond, new ones are closed at once.
const CONNECTIONS_MAX: usize = 16;
/// Connections the kernel keeps until they are accepted.
const BACKLOG: i32 = 64;
/// Bytes of a request body that are read away; a scrape has none.
const BODY_BYTES_MAX: u64 = 64 << 10;
/// Bytes read at once.
const READ_BYTES: usize = 4 << 10;
/// How long to leave `accept` alone when the process is out of descriptors or memory.
const ACCEPT_BACK_OFF: Duration = Duration::from_millis(100);

/// An endpoint of the plan, bound.
pub(super) struct Endpoint {
    pub(super) socket: Socket,
    pub(super) path: String,
}

/// Answers on all endpoints for as long as the process lives. To be called on the helper thread.
pub(super) fn start(endpoints: Vec<Endpoint>, shared: &Arc<Shared>) {
    for endpoint in endpoints {
        let scrape = Rc::new(Scrape {
            path: endpoint.path,
            shared: shared.clone(),
            open: Cell::new(0),
        });
        match listener(endpoint.socket) {
            Ok(listener) => {
                tokio::task::spawn_local(accept(listener, scrape));
            }
            Err(error) => tracing::error!(%error, "metrics cannot be asked for"),
        }
    }
}

fn listener(socket: Socket) -> io::Result<TcpListener> {
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    TcpListener::from_std(socket.into())
}

/// One endpoint.
struct Scrape {
    path: String,
    shared: Arc<Shared>,
    open: Cell<usize>,
}

/// A connection's place, given back when it ends.
struct Place(Rc<Scrape>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.open.set(self.0.open.get() - 1);
    }
}

async fn accept(listener: TcpListener, scrape: Rc<Scrape>) {
    let limits = Rc::new(Limits {
        body_bytes_max: BODY_BYTES_MAX,
        pipeline_max: 1,
        ..Limits::default()
    });
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "accept failed, trying again");
                sleep(ACCEPT_BACK_OFF).await;
                continue;
            }
        };
        if scrape.open.get() < CONNECTIONS_MAX {
            scrape.open.set(scrape.open.get() + 1);
            let (place, limits) = (Place(scrape.clone()), limits.clone());
            tokio::task::spawn_local(async move {
                // A client that is gone is told nothing.
                let _ = serve(stream, &place.0, limits).await;
            });
        }
    }
}

async fn serve(mut stream: TcpStream, scrape: &Scrape, limits: Rc<Limits>) -> io::Result<()> {
    let mut connection = Connection::new(limits, Scheme::Http, runtime::now());
    let mut input = vec![0; READ_BYTES];
    let mut is_shut = false;
    loop {
        connection.set_date(imf_fixdate(runtime::unix_now()));
        while let Some(event) = connection.poll_event() {
            if let Event::Request { id, head, .. } = event {
                let (head, body) = scrape.answer(&head).await;
                connection.respond(id, &head, &body, runtime::now());
            }
        }
        if connection.is_closed() {
            return Ok(());
        }
        if connection.wants_shutdown() && !is_shut {
            is_shut = true;
            stream.shutdown().await?;
        }
        turn(&mut stream, &mut connection, &mut input).await?;
    }
}

/// Waits for the socket or the next deadline, and passes on what happened.
async fn turn(
    stream: &mut TcpStream,
    connection: &mut Connection,
    input: &mut [u8],
) -> io::Result<()> {
    let due = wake_at(connection.poll_timeout());
    let wants_write = !connection.output().is_empty();
    let wants_read = connection.wants_input();
    let (mut reader, mut writer) = stream.split();
    tokio::select! {
        biased;
        written = writer.write(connection.output()), if wants_write => {
            let count = written?;
            connection.handle_written(count, runtime::now());
        }
        read = reader.read(input), if wants_read => match read? {
            0 => connection.handle_eof(runtime::now()),
            count => connection.handle_input(&input[..count], runtime::now()),
        },
        () = sleep_until(due) => connection.handle_timeout(runtime::now()),
    }
    Ok(())
}

/// A deadline on tokio's clock.
fn wake_at(deadline: Instant) -> TokioInstant {
    // Also for "never": waking once a minute costs nothing.
    const WAIT_MAX: Duration = Duration::from_secs(60);
    let left = deadline.saturating_duration_since(runtime::now());
    TokioInstant::now() + left.min(WAIT_MAX)
}

impl Scrape {
    async fn answer(&self, request: &RequestHead) -> (ResponseHead, Body) {
        if request.path() != self.path.as_bytes() {
            return Problem::new(404).into_response();
        }
        if !matches!(request.method, Method::Get | Method::Head) {
            let (mut head, body) = Problem::new(405).into_response();
            head.headers.push("allow", "GET, HEAD");
            return (head, body);
        }
        let snapshot = ask_cores(&self.shared).await;
        let text = text::render(&snapshot, &self.shared.watch.names);
        let mut head = ResponseHead::new(200);
        head.headers.push("content-type", text::CONTENT_TYPE);
        (head, Body::Full(Bytes::from(text)))
    }
}

/// The figures of all cores that answer in time, added up.
async fn ask_cores(shared: &Shared) -> Snapshot {
    let until = TokioInstant::now() + CORES_WAIT;
    let mut missing = 0;
    let mut answers = Vec::new();
    for mailbox in &shared.mailboxes {
        let (answer, answered) = oneshot::channel();
        match mailbox.send_data(CoreMessage::Report(answer)) {
            Ok(()) => answers.push(answered),
            Err(_) => missing += 1,
        }
    }
    let mut total = Snapshot::default();
    for answered in answers {
        match timeout_at(until, answered).await {
            Ok(Ok(snapshot)) => total.merge(snapshot),
            Ok(Err(_)) | Err(_) => missing += 1,
        }
    }
    total.number(Metric::ScrapeCoresMissing, Series::Process, missing);
    let dropped = shared.watch.lines_dropped();
    total.number(Metric::LinesDropped, Series::Process, dropped);
    total
}
