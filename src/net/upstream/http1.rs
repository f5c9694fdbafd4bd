//! One HTTP/1.1 connection to a server (RFC 9112): `hyper` on the core's socket, one request at a time, kept for the next one.
//!
//! ```text
//!  pool: idle ─ Lease ─▶ Exchange ─ whole ─▶ returned ─ hyper is ready ─▶ idle
//!                            │ dropped before                    │ is not
//!                            └──────────▶ cut ◀──────────────────┘
//! ```
//! Rule: a connection is used again only when both messages were whole, and hyper says so, too.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{Builder, Connection, SendRequest};

use super::io::{HyperIo, Io, Watched};
use super::pool::Pool;
use super::stream::{Failure, Outgoing};
use super::{UpstreamFault, UpstreamRequest, head};
use crate::clock::Instant;
use crate::http::{Headers, Method, ResponseHead};
use crate::net::GOODBYE;
use crate::net::transport::Transport;
use crate::runtime;
use crate::runtime::deadline::Deadline;
use crate::runtime::notify::Notify;

/// The smallest buffer that hyper takes.
const BUFFER_BYTES_MIN: usize = 8 << 10;
/// 101, to which a connection that asks for nothing else can come only by mistake.
const SWITCHING_PROTOCOLS: u16 = 101;

type Sender = SendRequest<RequestBody>;

/// What a connection's task shares with the request that it has.
struct Http1 {
    pool: Rc<Pool>,
    notify: Notify,
    watched: Rc<Watched>,
    /// Given back, until hyper is ready for another request.
    returned: RefCell<Option<Sender>>,
    /// Given back, and not yet looked at: those who wait count on it.
    is_returning: Cell<bool>,
    /// To be closed at once.
    is_cut: Cell<bool>,
    /// It has had a request.
    is_used: Cell<bool>,
}

impl Http1 {
    fn set_returning(&self, is_returning: bool) {
        let was_returning = self.is_returning.replace(is_returning);
        let count = &self.pool.returning;
        count.set(count.get() + usize::from(is_returning) - usize::from(was_returning));
    }
}

/// The right to send a request; dropped without being given back, it closes the connection.
pub(super) struct Lease {
    sender: Option<Sender>,
    connection: Rc<Http1>,
}

impl Lease {
    pub(super) fn is_open(&self) -> bool {
        let is_ready = self.sender.as_ref().is_some_and(Sender::is_ready);
        is_ready && !self.connection.is_cut.get()
    }

    /// Has the task look at whether the connection is to end.
    pub(super) fn notify(&self) {
        self.connection.notify.notify();
    }

    fn give_back(&mut self) {
        if self.connection.is_cut.get() {
            // Its task has ended, so nobody would look at it, and those who wait must not count on it.
            self.sender = None;
            return;
        }
        *self.connection.returned.borrow_mut() = self.sender.take();
        self.connection.set_returning(true);
        self.connection.notify.notify();
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.sender.is_some() {
            self.connection.is_cut.set(true);
            self.connection.notify.notify();
        }
    }
}

/// A connection that has had no request.
pub(super) struct Starting {
    sender: Sender,
    connection: Connection<HyperIo<Transport>, RequestBody>,
    http1: Rc<Http1>,
}

impl Starting {
    pub(super) async fn new(pool: &Rc<Pool>, transport: Transport) -> Result<Self, UpstreamFault> {
        let limits = &pool.setup.plan.limits;
        let watched = Watched::new(runtime::now());
        let io = HyperIo::new(Io::new(transport, watched.clone()));
        let handshake = Builder::new()
            .max_buf_size(limits.head_bytes_max.max(BUFFER_BYTES_MIN))
            .max_headers(limits.headers_max)
            .handshake(io);
        let (sender, connection) = handshake.await.map_err(|error| fault(&error))?;
        Ok(Self {
            sender,
            connection,
            http1: Rc::new(Http1 {
                pool: pool.clone(),
                notify: Notify::default(),
                watched,
                returned: RefCell::new(None),
                is_returning: Cell::new(false),
                is_cut: Cell::new(false),
                is_used: Cell::new(false),
            }),
        })
    }

    /// Drives the connection until it is over.
    pub(super) async fn run(self: Box<Self>, deadline: Deadline) {
        let Self {
            sender,
            connection,
            http1,
        } = *self;
        *http1.returned.borrow_mut() = Some(sender);
        let mut shell = Shell {
            connection,
            http1: http1.clone(),
            idle_since: None,
            ends_at: None,
            deadline,
        };
        std::future::poll_fn(|context| shell.poll(context)).await;
        http1.is_cut.set(true);
        http1.set_returning(false);
        // Not dropped while the pool looks at it.
        drop(shell.take_idle());
    }
}

struct Shell {
    connection: Connection<HyperIo<Transport>, RequestBody>,
    http1: Rc<Http1>,
    /// Since when the pool has it; may be past if a request has it by now.
    idle_since: Option<Instant>,
    /// Once it is to end: when it is cut.
    ends_at: Option<Instant>,
    deadline: Deadline,
}

impl Shell {
    /// Ready when the connection is over.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        // Taken before anything is looked at: what comes in between raises it again.
        // Until it is down and the waker is with it.
        while self.http1.notify.poll_notified(context).is_ready() {}
        if self.http1.is_cut.get() {
            return Poll::Ready(());
        }
        self.http1.watched.begin_turn();
        if let Poll::Ready(result) = Pin::new(&mut self.connection).poll(context) {
            if let Err(error) = result {
                tracing::debug!(%error, "a connection to a server broke");
            }
            return Poll::Ready(());
        }
        self.take_returned(context);
        self.poll_clocks(context)
    }

    /// Gives the connection to the pool when hyper is done with the last request.
    fn take_returned(&mut self, context: &mut Context<'_>) {
        let Some(mut sender) = self.http1.returned.take() else {
            return;
        };
        self.http1.set_returning(false);
        match sender.poll_ready(context) {
            Poll::Ready(Ok(())) => {
                self.ends_at = None;
                self.idle_since = Some(runtime::now());
                self.http1.pool.add_http1(Lease {
                    sender: Some(sender),
                    connection: self.http1.clone(),
                });
            }
            // It ends by itself, now that nobody can send.
            Poll::Ready(Err(_)) => drop(sender),
            Poll::Pending => {
                let until = runtime::now() + GOODBYE;
                self.ends_at.get_or_insert(until);
                *self.http1.returned.borrow_mut() = Some(sender);
                // Those who counted on it make another.
                self.http1.pool.dispatch();
            }
        }
    }

    /// Takes the connection out of the pool, if it is there.
    fn take_idle(&self) -> Option<Lease> {
        let http1 = &self.http1;
        let is_ours = |lease: &Lease| Rc::ptr_eq(&lease.connection, http1);
        http1.pool.remove_http1(is_ours)
    }

    /// Ends the connection when it has nothing to do for too long; pending until then.
    fn poll_clocks(&mut self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            let now = runtime::now();
            if self.idles_at().is_some_and(|at| at <= now) {
                self.idle_since = None;
                if let Some(mut lease) = self.take_idle() {
                    // With its last sender gone, hyper says goodbye and ends.
                    lease.sender = None;
                    self.ends_at = Some(now + GOODBYE);
                    context.waker().wake_by_ref();
                }
            }
            if self.ends_at.is_some_and(|at| at <= now) {
                return Poll::Ready(());
            }
            let at = [self.ends_at, self.idles_at()].into_iter().flatten().min();
            self.deadline.set(at.unwrap_or(Instant::FAR_FUTURE));
            if self.deadline.poll_expired(context, now).is_pending() {
                return Poll::Pending;
            }
        }
    }

    fn idles_at(&self) -> Option<Instant> {
        let setup = &self.http1.pool.setup;
        let idle_timeout = setup.plan.limits.idle_timeout;
        let is_draining = setup.is_draining.get();
        let since = self.idle_since?;
        Some(if is_draining {
            since
        } else {
            since + idle_timeout
        })
    }
}

/// One piece of a request's body on its way to hyper.
#[derive(Default)]
struct Channel {
    piece: RefCell<Option<Bytes>>,
    is_ended: Cell<bool>,
    /// hyper has taken a piece.
    is_begun: Cell<bool>,
    reader: RefCell<Option<Waker>>,
    writer: RefCell<Option<Waker>>,
}

fn wake(waker: &RefCell<Option<Waker>>) {
    let waker = waker.take();
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// The body as hyper asks for it.
struct RequestBody {
    /// `None`: there is none.
    channel: Option<Rc<Channel>>,
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Some(channel) = &self.channel else {
            return Poll::Ready(None);
        };
        let piece = channel.piece.take();
        if let Some(piece) = piece {
            channel.is_begun.set(true);
            wake(&channel.writer);
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        if channel.is_ended.get() {
            return Poll::Ready(None);
        }
        *channel.reader.borrow_mut() = Some(context.waker().clone());
        Poll::Pending
    }

    fn is_end_stream(&self) -> bool {
        self.channel.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        if self.channel.is_none() {
            SizeHint::with_exact(0)
        } else {
            SizeHint::default()
        }
    }
}

type Responding =
    Pin<Box<dyn Future<Output = Result<Response<Incoming>, TrySendError<Request<RequestBody>>>>>>;

/// One request on its connection.
pub(super) struct Exchange {
    lease: Lease,
    /// Until the head has come.
    responding: Option<Responding>,
    channel: Option<Rc<Channel>>,
    incoming: Option<Incoming>,
    trailers: Option<Headers>,
    is_read: bool,
    /// It may be sent again if the connection turns out to be closed: it is not its first, and the request does no harm twice (RFC 9110 9.2.2).
    is_repeatable: bool,
    /// Bytes of the connection before this request.
    received_before: u64,
}

impl Exchange {
    /// Sends the head.
    pub(super) fn begin(
        mut lease: Lease,
        request: &UpstreamRequest,
        has_body: bool,
    ) -> Result<Self, Failure> {
        let Some(head) = head::http1(request, has_body) else {
            lease.give_back();
            return Err(Failure::last(UpstreamFault::Unsendable));
        };
        let channel = has_body.then(Rc::<Channel>::default);
        let head = head.map(|()| RequestBody {
            channel: channel.clone(),
        });
        let connection = &lease.connection;
        let is_idempotent = !matches!(request.method, Method::Post | Method::Patch);
        let is_repeatable = connection.is_used.replace(true) && is_idempotent;
        let received_before = connection.watched.received.get();
        let Some(sender) = &mut lease.sender else {
            return Err(Failure::again(UpstreamFault::Lost { unprocessed: true }));
        };
        Ok(Self {
            responding: Some(Box::pin(sender.try_send_request(head))),
            lease,
            channel,
            incoming: None,
            trailers: None,
            is_read: false,
            is_repeatable,
            received_before,
        })
    }

    /// Ready once.
    pub(super) fn poll_head(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<ResponseHead, Failure>> {
        let Some(responding) = &mut self.responding else {
            return Poll::Pending;
        };
        let result = ready!(responding.as_mut().poll(context));
        self.responding = None;
        Poll::Ready(match result {
            Ok(response) if response.status().as_u16() == SWITCHING_PROTOCOLS => {
                let what = "it changes to another protocol, which it was not asked for";
                Err(Failure::last(UpstreamFault::Protocol(what.into())))
            }
            Ok(response) => {
                let (parts, body) = response.into_parts();
                self.is_read = body.is_end_stream();
                self.incoming = Some(body);
                Ok(head::response(parts.status.as_u16(), &parts.headers))
            }
            Err(error) => Err(self.failure(&error)),
        })
    }

    fn failure(&self, error: &TrySendError<Request<RequestBody>>) -> Failure {
        let fault = fault(error.error());
        let watched = &self.lease.connection.watched;
        let received = watched.received.get() - self.received_before;
        let head_bytes_max = self.lease.connection.pool.setup.plan.limits.head_bytes_max;
        let is_lost = matches!(fault, UpstreamFault::Lost { .. });
        if error.message().is_some() {
            // Not a byte of it was written.
            self.lease.connection.pool.distrust_idle();
            Failure::again(UpstreamFault::Lost { unprocessed: true })
        } else if error.error().is_parse() && received >= head_bytes_max as u64 {
            Failure::last(UpstreamFault::TooLarge)
        } else if is_lost && received == 0 && self.is_repeatable {
            self.lease.connection.pool.distrust_idle();
            Failure::again(fault)
        } else {
            Failure::last(fault)
        }
    }

    /// Ready when there is room for a piece, or nobody who takes one.
    pub(super) fn poll_room(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some(channel) = &self.channel else {
            return Poll::Ready(());
        };
        if channel.piece.borrow().is_none() || Rc::strong_count(channel) == 1 {
            return Poll::Ready(());
        }
        *channel.writer.borrow_mut() = Some(context.waker().clone());
        Poll::Pending
    }

    /// Passes on a piece when the last one was taken. What the server does not take any more is dropped: its answer, or the lack of one, says why.
    pub(super) fn push(&mut self, context: &mut Context<'_>, out: &mut Outgoing) {
        let Some(channel) = &self.channel else {
            return;
        };
        out.has_begun = channel.is_begun.get();
        if Rc::strong_count(channel) == 1 {
            // hyper has let go of it.
            out.discard();
            return;
        }
        if channel.piece.borrow().is_some() {
            *channel.writer.borrow_mut() = Some(context.waker().clone());
            return;
        }
        if let Some(piece) = out.piece.take()
            && !piece.is_empty()
        {
            *channel.piece.borrow_mut() = Some(piece);
            *channel.writer.borrow_mut() = Some(context.waker().clone());
            wake(&channel.reader);
        }
        self.finish(out);
    }

    /// Ends the request, if all of it has been passed on.
    pub(super) fn finish(&self, out: &mut Outgoing) {
        if let Some(channel) = &self.channel
            && out.piece.is_none()
            && out.is_finished
        {
            channel.is_ended.set(true);
            out.is_over = true;
            wake(&channel.reader);
        }
    }

    /// Takes back what hyper has not taken, for another connection.
    pub(super) fn recover(&self, out: &mut Outgoing) {
        let Some(channel) = &self.channel else { return };
        out.has_begun = channel.is_begun.get();
        out.is_over = false;
        let piece = channel.piece.take();
        out.piece = match (piece, out.piece.take()) {
            (Some(first), Some(second)) => Some([first, second].concat().into()),
            (first, second) => first.or(second),
        };
    }

    /// The next piece; the next one is read only after this one was taken.
    pub(super) fn poll_data(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, UpstreamFault>>> {
        let Some(incoming) = &mut self.incoming else {
            return Poll::Pending;
        };
        loop {
            let frame = ready!(Pin::new(&mut *incoming).poll_frame(context));
            return Poll::Ready(match frame {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => Some(Ok(data)),
                    Err(frame) => {
                        let trailers = frame.into_trailers().ok();
                        self.trailers = trailers.as_ref().map(head::fields);
                        continue;
                    }
                },
                Some(Err(error)) => Some(Err(fault(&error))),
                None => {
                    self.is_read = true;
                    None
                }
            });
        }
    }

    /// After the last piece.
    pub(super) fn take_trailers(&mut self) -> Option<Headers> {
        self.trailers.take()
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let is_sent = self
            .channel
            .as_ref()
            .is_none_or(|channel| channel.is_ended.get());
        if self.is_read && is_sent {
            self.incoming = None;
            self.lease.give_back();
        }
    }
}

/// What an error of `hyper` says.
fn fault(error: &hyper::Error) -> UpstreamFault {
    if error.is_parse() {
        UpstreamFault::Protocol(error.to_string())
    } else {
        UpstreamFault::Lost { unprocessed: false }
    }
}
