//! One HTTP/2 connection (RFC 9113): the `h2` crate over the core's socket, one task for the connection and one for each of its streams.
//!
//! ```text
//!  socket ─ Io ─ h2 ─ connection's task ─ a stream opens ─▶ its task ─ exchange
//!                            ▲                                  │
//!                            └── frames to write wake it ◀──────┘
//! ```
//! A stream's task begins when all that was read has been looked at, so that what many streams answer at once goes out in one write. Rule: whatever a client does, its
//! connection holds a bounded number of streams, each with bounded buffers, and none waits for ever.

mod io;
mod stream;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_lite::{AsyncRead, AsyncWrite, FutureExt};
use h2::Reason;
use h2::server::{Builder, Connection};

use super::door::Door;
use super::service::Entry;
use crate::clock::Instant;
use crate::config::HttpLimits;
use crate::net::GOODBYE;
use crate::runtime::deadline::Deadline;
use crate::runtime::notify::Notify;
use crate::runtime::{self, with_deadline};
use io::{Io, Watched};

/// Bytes that a client may send of one stream before we have taken them.
const STREAM_WINDOW: u32 = 256 << 10;
/// Bytes that a client may send of all streams before we have taken them.
const CONNECTION_WINDOW: u32 = 1 << 20;
/// Bytes of one stream's answer that wait for the socket.
const SEND_BUFFER_BYTES: usize = 128 << 10;
/// Streams that we have reset and still remember, so that frames on their way to them are no error.
const RESET_STREAMS_MAX: usize = 64;
/// Streams that a client may take back before we have looked at them.
const PENDING_RESETS_MAX: usize = 20;
/// Streams taken in before others get their turn.
const STREAMS_PER_TURN: usize = 128;

/// What the tasks of a connection share.
pub(super) struct Shared {
    pub(super) door: Door,
    pub(super) client: Option<SocketAddr>,
    pub(super) entry: Entry,
    pub(super) limits: HttpLimits,
    /// Wakes each stream that is open.
    streams: RefCell<BTreeMap<u64, Rc<Notify>>>,
    next_stream: Cell<u64>,
    /// Until when replies are waited for, once the process is ending.
    pub(super) drain_until: Cell<Option<Instant>>,
    /// The connection is gone.
    pub(super) is_over: Cell<bool>,
    /// When the last stream ended.
    idle_since: Cell<Instant>,
}

impl Shared {
    /// Enters a stream.
    fn open(self: &Rc<Self>) -> Opened {
        let id = self.next_stream.get();
        self.next_stream.set(id + 1);
        let notify = Rc::new(Notify::default());
        self.streams.borrow_mut().insert(id, notify.clone());
        Opened {
            shared: self.clone(),
            id,
            notify,
        }
    }

    fn wake_all(&self) {
        for notify in self.streams.borrow().values() {
            notify.notify();
        }
    }
}

/// A stream's place in its connection, given back when it ends.
pub(super) struct Opened {
    pub(super) shared: Rc<Shared>,
    id: u64,
    pub(super) notify: Rc<Notify>,
}

impl Drop for Opened {
    fn drop(&mut self) {
        let shared = &self.shared;
        shared.streams.borrow_mut().remove(&self.id);
        if shared.streams.borrow().is_empty() {
            shared.idle_since.set(runtime::now());
            // The connection's deadline has to be set anew.
            shared.entry.notify.notify();
        }
    }
}

/// Serves a connection until it ends. `first`: what was read of it already.
pub(super) async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    first: Bytes,
    door: Door,
    client: Option<SocketAddr>,
    entry: Entry,
) {
    let now = runtime::now();
    let limits = door.limits();
    let watched = Watched::new(now);
    let io = Io::new(stream, first, watched.clone());
    let deadline = entry.service.deadlines.deadline();
    let handshake = builder(&limits).handshake::<_, Bytes>(io);
    let handshake = async { handshake.await.ok() }.or(async {
        entry.drained().await;
        None
    });
    let until = now + limits.header_timeout;
    let Ok(Some(connection)) = with_deadline(&deadline, until, handshake).await else {
        entry.handle_broken();
        entry.service.watch.metrics.requests_malformed.increment();
        return;
    };
    let shared = Rc::new(Shared {
        door,
        client,
        entry,
        limits,
        streams: RefCell::default(),
        next_stream: Cell::new(0),
        drain_until: Cell::new(None),
        is_over: Cell::new(false),
        idle_since: Cell::new(now),
    });
    let mut shell = Shell {
        connection,
        watched,
        shared: shared.clone(),
        deadline,
        ends_at: None,
    };
    std::future::poll_fn(|context| shell.poll(context)).await;
    shared.is_over.set(true);
    shared.wake_all();
}

fn builder(limits: &HttpLimits) -> Builder {
    let mut builder = Builder::new();
    builder
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(u32::try_from(limits.streams_max).unwrap_or(u32::MAX))
        .max_header_list_size(u32::try_from(limits.head_bytes_max).unwrap_or(u32::MAX))
        .max_send_buffer_size(SEND_BUFFER_BYTES)
        .max_concurrent_reset_streams(RESET_STREAMS_MAX)
        .max_pending_accept_reset_streams(PENDING_RESETS_MAX);
    builder
}

struct Shell<S> {
    connection: Connection<Io<S>, Bytes>,
    watched: Rc<Watched>,
    shared: Rc<Shared>,
    deadline: Deadline,
    /// Once it is told to end: when it is cut.
    ends_at: Option<Instant>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Shell<S> {
    /// Ready when the connection is over.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let entry = &self.shared.entry;
        // Taken before anything is looked at: what comes in between raises it again.
        // Until it is down and the waker is with it.
        while entry.notify.poll_notified(context).is_ready() {}
        self.watched.begin_turn();
        let now = runtime::now();
        if entry.service.is_draining() && self.shared.drain_until.get().is_none() {
            let until = now + super::REPLY_DRAIN_WAIT;
            self.shared.drain_until.set(Some(until));
            self.connection.graceful_shutdown();
            self.shared.wake_all();
        }
        for _ in 0..STREAMS_PER_TURN {
            match self.connection.poll_accept(context) {
                Poll::Ready(Some(Ok((request, respond)))) => {
                    stream::start(request, respond, self.shared.open());
                }
                Poll::Ready(Some(Err(error))) => {
                    if error.is_io() {
                        self.shared.entry.handle_broken();
                    } else {
                        let metrics = &self.shared.entry.service.watch.metrics;
                        metrics.requests_malformed.increment();
                    }
                    self.count();
                    return Poll::Ready(());
                }
                Poll::Ready(None) => {
                    self.count();
                    return Poll::Ready(());
                }
                Poll::Pending => return self.poll_clocks(context),
            }
        }
        self.count();
        context.waker().wake_by_ref();
        Poll::Pending
    }

    fn count(&self) {
        let (received, sent) = self.watched.take_moved();
        self.shared.entry.handle_moved(received, sent);
    }

    /// Ends the connection when it floods, stands still or has nothing to do; pending until then.
    fn poll_clocks(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.count();
        loop {
            let now = runtime::now();
            if self.ends_at.is_none() {
                self.judge(now);
            }
            let blocked = self.watched.blocked_since.get();
            let stalls_at = blocked.map(|since| since + self.shared.limits.write_timeout);
            if stalls_at.is_some_and(|at| at <= now) || self.ends_at.is_some_and(|at| at <= now) {
                self.shared.entry.handle_broken();
                return Poll::Ready(());
            }
            let at = [self.ends_at, stalls_at, self.idles_at()];
            let at = at.into_iter().flatten().min();
            self.deadline.set(at.unwrap_or(Instant::FAR_FUTURE));
            if self.deadline.poll_expired(context, now).is_pending() {
                return Poll::Pending;
            }
        }
    }

    /// When it has had nothing to do for too long; `None` while it has.
    fn idles_at(&self) -> Option<Instant> {
        let shared = &self.shared;
        let is_idle = self.ends_at.is_none() && shared.streams.borrow().is_empty();
        is_idle.then(|| shared.idle_since.get() + shared.limits.idle_timeout)
    }

    fn judge(&mut self, now: Instant) {
        if self.watched.is_flooded.get() {
            self.shared.entry.service.watch.metrics.floods.increment();
            self.connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
        } else if self.idles_at().is_some_and(|at| at <= now) {
            self.connection.graceful_shutdown();
        } else if self.shared.drain_until.get().is_some() && self.shared.streams.borrow().is_empty()
        {
            // It was told already. A client that does not answer is not waited for.
        } else {
            return;
        }
        self.ends_at = Some(now + GOODBYE);
        // What says goodbye has to be written.
        self.shared.entry.notify.notify();
    }
}
