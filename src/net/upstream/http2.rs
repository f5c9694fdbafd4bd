//! One HTTP/2 connection to a server (RFC 9113), shared by many requests: a task drives it, and asks the server for a sign of life when it is silent.
//!
//! Rule: a connection that takes no more requests is out of its pool before anybody can ask it for a place.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{Builder, Connection, ResponseFuture, SendRequest};
use h2::{Ping, PingPong, Reason, RecvStream, SendStream};

use super::io::{Io, Watched};
use super::pool::Pool;
use super::stream::{Failure, Outgoing};
use super::{UpstreamFault, UpstreamRequest, head};
use crate::clock::Instant;
use crate::config::ClientLimits;
use crate::http::{Headers, ResponseHead};
use crate::net::GOODBYE;
use crate::net::transport::Transport;
use crate::runtime;
use crate::runtime::deadline::Deadline;
use crate::runtime::notify::Notify;

/// Bytes that the server may send of one answer before they are taken.
const STREAM_WINDOW: u32 = 1 << 20;
/// Bytes that the server may send of all answers before they are taken.
const CONNECTION_WINDOW: u32 = 8 << 20;
/// Bytes of one request that wait for the socket.
const SEND_BUFFER_BYTES: usize = 128 << 10;
/// Streams that we have reset and still remember, so that frames on their way to us are no error.
const RESET_STREAMS_MAX: usize = 64;
/// Streams that are opened before the server has said how many there may be.
const STREAMS_BEFORE_SETTINGS: usize = 100;
/// How far apart signs of life are asked for while answers stand still: gRPC's servers end a connection that asks more often than every five minutes.
const PINGS_APART: Duration = Duration::from_secs(310);

/// What a connection's task shares with its requests.
pub(super) struct Http2 {
    pool: Rc<Pool>,
    /// Until it takes no more requests.
    sender: RefCell<Option<SendRequest<Bytes>>>,
    pub(super) notify: Notify,
    watched: Rc<Watched>,
    /// Requests at work.
    open: Cell<usize>,
    /// When the last request ended, or the first began.
    changed_at: Cell<Instant>,
    /// No sign of life is asked for before this.
    quiet_until: Cell<Instant>,
}

impl Http2 {
    /// Whether another request may begin here.
    pub(super) fn has_room(&self) -> bool {
        let limits = &self.pool.setup.plan.limits;
        let sender = self.sender.borrow();
        sender.as_ref().is_some_and(|sender| {
            let streams_max = sender.current_max_send_streams().min(limits.streams_max);
            self.open.get() < streams_max && is_usable(sender)
        })
    }

    /// An answer moves: the server is there, and may be asked again.
    fn handle_progress(&self) {
        self.quiet_until.set(Instant::ZERO);
    }
}

/// Whether the connection neither broke nor got a GOAWAY.
fn is_usable(sender: &SendRequest<Bytes>) -> bool {
    let mut context = Context::from_waker(Waker::noop());
    // Of a new handle it says nothing but that.
    matches!(sender.clone().poll_ready(&mut context), Poll::Ready(Ok(())))
}

/// One request's place on a connection.
pub(super) struct Slot {
    connection: Rc<Http2>,
}

impl Slot {
    pub(super) fn new(connection: &Rc<Http2>) -> Self {
        let open = connection.open.get();
        if open == 0 {
            connection.changed_at.set(runtime::now());
        }
        connection.open.set(open + 1);
        // Its deadline has to be set anew.
        connection.notify.notify();
        Self {
            connection: connection.clone(),
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let connection = &self.connection;
        connection.open.set(connection.open.get() - 1);
        if connection.open.get() == 0 {
            connection.changed_at.set(runtime::now());
            connection.notify.notify();
        }
        connection.pool.dispatch();
    }
}

/// A connection after its preface.
pub(super) struct Starting {
    connection: Connection<Io<Transport>, Bytes>,
    http2: Rc<Http2>,
}

impl Starting {
    pub(super) async fn new(pool: &Rc<Pool>, transport: Transport) -> Result<Self, UpstreamFault> {
        let watched = Watched::new(runtime::now());
        let io = Io::new(transport, watched.clone());
        let handshake = builder(&pool.setup.plan.limits).handshake::<_, Bytes>(io);
        let (sender, connection) = handshake.await.map_err(|error| fault(&error))?;
        let http2 = Rc::new(Http2 {
            pool: pool.clone(),
            sender: RefCell::new(Some(sender)),
            notify: Notify::default(),
            watched,
            open: Cell::new(0),
            changed_at: Cell::new(runtime::now()),
            quiet_until: Cell::new(Instant::ZERO),
        });
        Ok(Self { connection, http2 })
    }

    /// Drives the connection until it is over.
    pub(super) async fn run(self: Box<Self>, deadline: Deadline) {
        let Self {
            mut connection,
            http2,
        } = *self;
        let mut shell = Shell {
            ping: connection.ping_pong(),
            connection,
            http2: http2.clone(),
            streams_max: 0,
            pinged_at: None,
            deadline,
            ends_at: None,
        };
        http2.pool.add_http2(&http2);
        std::future::poll_fn(|context| shell.poll(context)).await;
        shell.retire();
    }
}

fn builder(limits: &ClientLimits) -> Builder {
    let mut builder = Builder::new();
    builder
        .enable_push(false)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .initial_max_send_streams(STREAMS_BEFORE_SETTINGS)
        .max_header_list_size(u32::try_from(limits.head_bytes_max).unwrap_or(u32::MAX))
        .max_send_buffer_size(SEND_BUFFER_BYTES)
        .max_concurrent_reset_streams(RESET_STREAMS_MAX);
    builder
}

struct Shell {
    connection: Connection<Io<Transport>, Bytes>,
    ping: Option<PingPong>,
    http2: Rc<Http2>,
    /// What the server allowed when it was last looked at.
    streams_max: usize,
    /// When a sign of life was asked for that has not come.
    pinged_at: Option<Instant>,
    deadline: Deadline,
    /// Once it is to end: when it is cut.
    ends_at: Option<Instant>,
}

impl Shell {
    /// Ready when the connection is over.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        // Taken before anything is looked at: what comes in between raises it again.
        // Until it is down and the waker is with it.
        while self.http2.notify.poll_notified(context).is_ready() {}
        self.http2.watched.begin_turn();
        if let Poll::Ready(result) = Pin::new(&mut self.connection).poll(context) {
            if let Err(error) = result {
                tracing::debug!(%error, "a connection to a server broke");
            }
            return Poll::Ready(());
        }
        self.look();
        self.poll_clocks(context)
    }

    /// Sees what the server has said of the connection.
    fn look(&mut self) {
        let sender = self.http2.sender.borrow();
        let Some((streams_max, is_usable)) = sender
            .as_ref()
            .map(|sender| (sender.current_max_send_streams(), is_usable(sender)))
        else {
            return;
        };
        drop(sender);
        if !is_usable {
            self.retire();
        } else if streams_max > self.streams_max {
            self.http2.pool.dispatch();
        }
        self.streams_max = streams_max;
    }

    /// Lets no further request begin here.
    fn retire(&self) {
        // Asked for by nobody while it is being dropped.
        let sender = self.http2.sender.take();
        if sender.is_some() {
            self.http2.pool.remove_http2(&self.http2);
        }
    }

    /// Ends the connection when it is dead or has nothing to do; pending until then.
    fn poll_clocks(&mut self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            let now = runtime::now();
            if let Some(ping) = &mut self.ping
                && let Poll::Ready(Ok(_)) = ping.poll_pong(context)
            {
                self.pinged_at = None;
            }
            if self.idles_at().is_some_and(|at| at <= now) {
                self.retire();
                self.ends_at = Some(now + GOODBYE);
                // What says goodbye has to be written.
                context.waker().wake_by_ref();
            }
            let pings_at = self.pings_at();
            if pings_at.is_some_and(|at| at <= now) && self.is_dead(now) {
                return Poll::Ready(());
            }
            if self.ends_at.is_some_and(|at| at <= now) {
                return Poll::Ready(());
            }
            let at = [self.ends_at, self.pings_at(), self.idles_at()];
            let at = at.into_iter().flatten().min();
            self.deadline.set(at.unwrap_or(Instant::FAR_FUTURE));
            if self.deadline.poll_expired(context, now).is_pending() {
                return Poll::Pending;
            }
        }
    }

    /// When it has had nothing to do for too long; `None` while it has, or is told to end.
    fn idles_at(&self) -> Option<Instant> {
        let http2 = &self.http2;
        if self.ends_at.is_some() || http2.open.get() > 0 {
            return None;
        }
        let setup = &http2.pool.setup;
        let is_over = setup.is_draining.get() || http2.sender.borrow().is_none();
        let idle_timeout = setup.plan.limits.idle_timeout;
        let wait = if is_over {
            Duration::ZERO
        } else {
            idle_timeout
        };
        Some(http2.changed_at.get() + wait)
    }

    /// When a sign of life is to be asked for, or should have come.
    fn pings_at(&self) -> Option<Instant> {
        let http2 = &self.http2;
        if http2.open.get() == 0 {
            return None;
        }
        let limits = &http2.pool.setup.plan.limits;
        if let Some(pinged_at) = self.pinged_at {
            return Some(pinged_at + limits.ping_timeout);
        }
        let quiet_since = http2.watched.heard_at.get().max(http2.changed_at.get());
        Some((quiet_since + limits.ping_after).max(http2.quiet_until.get()))
    }

    /// Asks for a sign of life, or sees that none came.
    fn is_dead(&mut self, now: Instant) -> bool {
        if let Some(pinged_at) = self.pinged_at.take() {
            return self.http2.watched.heard_at.get() <= pinged_at;
        }
        self.http2.quiet_until.set(now + PINGS_APART);
        if let Some(ping) = &mut self.ping
            && ping.send_ping(Ping::opaque()).is_ok()
        {
            self.pinged_at = Some(now);
            self.http2.notify.notify();
        }
        false
    }
}

/// One request on its connection.
pub(super) struct Exchange {
    /// Until the head has come.
    respond: Option<ResponseFuture>,
    /// Until the request is whole, or the server wants no more of it.
    sending: Option<SendStream<Bytes>>,
    receiving: Option<RecvStream>,
    /// After all that is on it.
    slot: Slot,
}

impl Exchange {
    /// Sends the head.
    pub(super) fn begin(
        slot: Slot,
        request: &UpstreamRequest,
        has_body: bool,
    ) -> Result<Self, Failure> {
        let Some(head) = head::http2(request, has_body) else {
            return Err(Failure::last(UpstreamFault::Unsendable));
        };
        let sender = slot.connection.sender.borrow().clone();
        let unprocessed = || Failure::again(UpstreamFault::Lost { unprocessed: true });
        let mut sender = sender.ok_or_else(unprocessed)?;
        match sender.send_request(head, !has_body) {
            Ok((respond, sending)) => Ok(Self {
                respond: Some(respond),
                sending: Some(sending),
                receiving: None,
                slot,
            }),
            Err(error) if error.is_io() || error.is_go_away() => Err(unprocessed()),
            Err(_) => Err(Failure::last(UpstreamFault::Unsendable)),
        }
    }

    /// Ready once.
    pub(super) fn poll_head(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<ResponseHead, Failure>> {
        let Some(respond) = &mut self.respond else {
            return Poll::Pending;
        };
        let Poll::Ready(result) = Pin::new(respond).poll(context) else {
            return Poll::Pending;
        };
        self.respond = None;
        Poll::Ready(match result {
            Ok(response) => {
                self.slot.connection.handle_progress();
                let (parts, body) = response.into_parts();
                self.receiving = Some(body);
                Ok(head::response(parts.status.as_u16(), &parts.headers))
            }
            Err(error) => Err(match fault(&error) {
                fault @ UpstreamFault::Lost { unprocessed: true } => Failure::again(fault),
                fault => Failure::last(fault),
            }),
        })
    }

    /// Ready when there is room for a piece, or nobody who takes one.
    pub(super) fn poll_room(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some(sending) = &mut self.sending else {
            return Poll::Ready(());
        };
        sending.reserve_capacity(1);
        while sending.capacity() == 0 {
            match sending.poll_capacity(context) {
                Poll::Ready(Some(Ok(_))) => {}
                Poll::Ready(Some(Err(_)) | None) => {
                    self.sending = None;
                    return Poll::Ready(());
                }
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(())
    }

    /// Passes on what flow control lets through. What the server does not take any more is dropped: its answer, or the lack of one, says why.
    pub(super) fn push(&mut self, context: &mut Context<'_>, out: &mut Outgoing) {
        while let (Some(sending), Some(piece)) = (&mut self.sending, &mut out.piece) {
            sending.reserve_capacity(piece.len());
            let room = sending.capacity().min(piece.len());
            if room == 0 && !piece.is_empty() {
                match sending.poll_capacity(context) {
                    Poll::Ready(Some(Ok(_))) => {}
                    Poll::Ready(Some(Err(_)) | None) => self.sending = None,
                    Poll::Pending => return,
                }
                continue;
            }
            let part = piece.split_to(room);
            if piece.is_empty() {
                out.piece = None;
            }
            let is_last = out.piece.is_none() && out.is_finished;
            out.has_begun = true;
            out.is_over = is_last;
            if (is_last || !part.is_empty()) && sending.send_data(part, is_last).is_err() {
                self.sending = None;
            }
        }
        self.finish(out);
    }

    /// Ends the request, if all of it has been passed on or is not wanted.
    pub(super) fn finish(&mut self, out: &mut Outgoing) {
        let Some(sending) = &mut self.sending else {
            return out.discard();
        };
        if out.piece.is_none() && out.is_finished && !out.is_over {
            // The answer, or the lack of one, says it if the server does not want it.
            let _ = sending.send_data(Bytes::new(), true);
            out.is_over = true;
        }
    }

    /// The next piece; its room is the server's again.
    pub(super) fn poll_data(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, UpstreamFault>>> {
        let Some(receiving) = &mut self.receiving else {
            return Poll::Pending;
        };
        let Poll::Ready(data) = receiving.poll_data(context) else {
            return Poll::Pending;
        };
        self.slot.connection.handle_progress();
        Poll::Ready(match data {
            Some(Ok(bytes)) => {
                // A stream that is over needs no more room.
                let _ = receiving.flow_control().release_capacity(bytes.len());
                Some(Ok(bytes))
            }
            // RFC 9113 8.1: the answer is whole, the rest of the request is not wanted.
            Some(Err(error)) if error.reason() == Some(Reason::NO_ERROR) && error.is_reset() => {
                None
            }
            Some(Err(error)) => Some(Err(fault(&error))),
            None => None,
        })
    }

    /// After the last piece.
    pub(super) fn poll_trailers(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<Option<Headers>, UpstreamFault>> {
        let Some(receiving) = &mut self.receiving else {
            return Poll::Pending;
        };
        let Poll::Ready(trailers) = receiving.poll_trailers(context) else {
            return Poll::Pending;
        };
        Poll::Ready(match trailers {
            Ok(trailers) => Ok(trailers.as_ref().map(head::fields)),
            Err(error) if error.reason() == Some(Reason::NO_ERROR) && error.is_reset() => Ok(None),
            Err(error) => Err(fault(&error)),
        })
    }
}

/// What an error of `h2` says.
fn fault(error: &h2::Error) -> UpstreamFault {
    let is_of_server = error.is_remote();
    match error.reason() {
        // Of streams that the server's GOAWAY leaves out (RFC 9113 6.8).
        Some(_) if is_of_server && error.is_go_away() => UpstreamFault::Lost { unprocessed: true },
        Some(Reason::REFUSED_STREAM) if is_of_server => UpstreamFault::Lost { unprocessed: true },
        Some(reason) if is_of_server => UpstreamFault::Reset(reason.into()),
        _ if error.is_io() => UpstreamFault::Lost { unprocessed: false },
        _ => UpstreamFault::Protocol(error.to_string()),
    }
}
