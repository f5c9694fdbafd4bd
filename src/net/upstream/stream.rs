//! One request to another server, from the wait for a connection to the last byte of the answer.
//!
//! ```text
//!  waiting ─ a connection ─▶ exchange ─ head ─▶ data … ─▶ trailers ─▶ over
//!     ▲                         │ not processed, and no byte of the body gone: once more
//!     └─────────────────────────┘
//! ```
//! Rule: until the head is there, a deadline runs; after it the caller has the clock. Whichever method is polled, what can move moves.

use std::fmt;
use std::task::{Context, Poll, ready};

use bytes::Bytes;

use super::pool::{Grant, Ticket};
use super::{Upstream, UpstreamFault, UpstreamRequest, http1, http2};
use crate::clock::Instant;
use crate::http::{Headers, ResponseHead};
use crate::runtime;
use crate::runtime::deadline::Deadline;

/// What of the request's body is still to be passed on.
#[derive(Default)]
pub(super) struct Outgoing {
    /// The one piece that waits.
    pub(super) piece: Option<Bytes>,
    /// No further piece comes.
    pub(super) is_finished: bool,
    /// All of it has been passed on.
    pub(super) is_over: bool,
    /// Some of it has been: it cannot be passed on a second time.
    pub(super) has_begun: bool,
}

impl Outgoing {
    /// Forgets what nobody takes.
    pub(super) fn discard(&mut self) {
        self.piece = None;
        self.is_over = self.is_finished;
    }
}

/// Why an exchange ended before the head.
pub(super) struct Failure {
    fault: UpstreamFault,
    /// The request may be sent again.
    is_repeatable: bool,
}

impl Failure {
    pub(super) const fn last(fault: UpstreamFault) -> Self {
        Self {
            fault,
            is_repeatable: false,
        }
    }

    pub(super) const fn again(fault: UpstreamFault) -> Self {
        Self {
            fault,
            is_repeatable: true,
        }
    }
}

enum Phase {
    Waiting(Ticket),
    Http1(Box<http1::Exchange>),
    Http2(Box<http2::Exchange>),
    Over,
}

/// How far the answer has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Awaited,
    /// Its head has.
    Begun,
    /// Its last piece was given out.
    Read,
}

/// A request that is under way; dropped before its end, it is taken back.
///
/// The task that polled last is woken, so all of a stream has to be polled by one task.
pub struct UpstreamStream {
    upstream: Upstream,
    request: UpstreamRequest,
    has_body: bool,
    out: Outgoing,
    phase: Phase,
    /// Come, and not yet taken.
    head: Option<ResponseHead>,
    answer: Answer,
    /// Only the caller says how long the head may take.
    is_patient: bool,
    fault: Option<UpstreamFault>,
    may_repeat: bool,
    /// As the caller has it.
    until: Instant,
    opened_at: Instant,
    /// When the request was whole.
    sent_at: Option<Instant>,
    deadline: Deadline,
}

impl fmt::Debug for UpstreamStream {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("UpstreamStream")
            .field("request", &self.request)
            .field("answer", &self.answer)
            .field("fault", &self.fault)
            .finish_non_exhaustive()
    }
}

impl UpstreamStream {
    pub(super) fn new(
        upstream: &Upstream,
        request: UpstreamRequest,
        has_body: bool,
        until: Instant,
    ) -> Self {
        let mut stream = Self {
            upstream: upstream.clone(),
            request,
            has_body,
            out: Outgoing::default(),
            phase: Phase::Over,
            head: None,
            answer: Answer::Awaited,
            is_patient: false,
            fault: None,
            may_repeat: true,
            until,
            opened_at: runtime::now(),
            sent_at: None,
            deadline: upstream.setup().deadlines.deadline(),
        };
        stream.enter();
        stream
    }

    /// Once there is a connection, the head may take as long as the caller said: some answers begin when there is something to say.
    pub fn be_patient(&mut self) {
        self.is_patient = true;
    }

    /// Waits until a piece of the body may be sent: there is a connection, and room for a piece.
    ///
    /// Also ready when the server wants no more of it, which is no fault: the answer says what became of the request.
    pub fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), UpstreamFault>> {
        self.drive(context);
        if let Some(fault) = &self.fault {
            return Poll::Ready(Err(fault.clone()));
        }
        if self.out.piece.is_some() {
            return Poll::Pending;
        }
        match &mut self.phase {
            Phase::Waiting(_) => Poll::Pending,
            Phase::Http1(exchange) => exchange.poll_room(context).map(Ok),
            Phase::Http2(exchange) => exchange.poll_room(context).map(Ok),
            Phase::Over => Poll::Ready(Ok(())),
        }
    }

    /// Takes a piece of the body, after [`Self::poll_ready`]. It goes out as the stream is polled, and as the server has room.
    ///
    /// A piece that comes before the last one went is put behind it, so that one that did not wait loses nothing but its bound.
    pub fn send_data(&mut self, bytes: Bytes) {
        let is_over = matches!(self.phase, Phase::Over);
        if is_over || self.out.is_finished || !self.has_body {
            return;
        }
        self.out.piece = Some(match self.out.piece.take() {
            Some(first) => [first, bytes].concat().into(),
            None => bytes,
        });
    }

    /// Ends the body; a piece that waits goes out first, as the stream is polled.
    pub fn finish(&mut self) {
        self.out.is_finished = true;
        match &mut self.phase {
            Phase::Http1(exchange) => exchange.finish(&mut self.out),
            Phase::Http2(exchange) => exchange.finish(&mut self.out),
            Phase::Waiting(_) | Phase::Over => {}
        }
    }

    /// Waits for the head of the answer; interim ones (1xx) are left out. Ready with a head once.
    pub fn poll_head(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<ResponseHead, UpstreamFault>> {
        self.drive(context);
        if let Some(head) = self.head.take() {
            return Poll::Ready(Ok(head));
        }
        match &self.fault {
            Some(fault) => Poll::Ready(Err(fault.clone())),
            None => Poll::Pending,
        }
    }

    /// Waits for the next piece of the answer, `None` at its end. The server is told that there is room again as pieces are taken.
    pub fn poll_data(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, UpstreamFault>>> {
        self.drive(context);
        if self.answer == Answer::Read {
            return Poll::Ready(None);
        }
        if let Some(fault) = &self.fault {
            return Poll::Ready(Some(Err(fault.clone())));
        }
        if self.answer == Answer::Awaited {
            return Poll::Pending;
        }
        let data = match &mut self.phase {
            Phase::Http1(exchange) => ready!(exchange.poll_data(context)),
            Phase::Http2(exchange) => ready!(exchange.poll_data(context)),
            Phase::Waiting(_) | Phase::Over => None,
        };
        match &data {
            Some(Ok(_)) => {}
            Some(Err(fault)) => self.end(fault.clone()),
            None => self.answer = Answer::Read,
        }
        Poll::Ready(data)
    }

    /// Waits for the trailers, after the last piece; `None`: there are none. Ready with trailers once.
    ///
    /// Only then, or when the stream is dropped, does its place on the connection go to the next request.
    pub fn poll_trailers(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<Option<Headers>, UpstreamFault>> {
        self.drive(context);
        if let Some(fault) = &self.fault {
            return Poll::Ready(Err(fault.clone()));
        }
        if self.answer != Answer::Read {
            return Poll::Pending;
        }
        let trailers = match &mut self.phase {
            Phase::Http1(exchange) => Ok(exchange.take_trailers()),
            Phase::Http2(exchange) => ready!(exchange.poll_trailers(context)),
            Phase::Waiting(_) | Phase::Over => Ok(None),
        };
        match &trailers {
            Err(fault) => self.end(fault.clone()),
            // A connection whose request is whole goes to the next.
            Ok(_) if !self.has_body || self.out.is_over => self.phase = Phase::Over,
            Ok(_) => {}
        }
        Poll::Ready(trailers)
    }

    /// Takes the request back: the stream is reset, or the connection closed.
    pub fn cancel(&mut self) {
        if !matches!(self.phase, Phase::Over) {
            self.end(UpstreamFault::Lost { unprocessed: false });
        }
    }

    fn end(&mut self, fault: UpstreamFault) {
        self.fault = Some(fault);
        self.out.discard();
        // What is dropped here takes itself back.
        self.phase = Phase::Over;
    }

    /// Asks for a connection.
    fn enter(&mut self) {
        match self.upstream.enter(&self.request) {
            Ok(ticket) => self.phase = Phase::Waiting(ticket),
            Err(fault) => self.end(fault),
        }
    }

    /// Moves what can move.
    fn drive(&mut self, context: &mut Context<'_>) {
        loop {
            let step = match &mut self.phase {
                Phase::Waiting(ticket) => match ticket.poll(context) {
                    Poll::Ready(Ok(grant)) => self.begin(grant),
                    Poll::Ready(Err(fault)) => Err(Failure::last(fault)),
                    Poll::Pending => break,
                },
                Phase::Http1(_) | Phase::Http2(_) => {
                    if self.poll_exchange(context) {
                        break;
                    }
                    continue;
                }
                Phase::Over => return,
            };
            if let Err(failure) = step {
                self.handle_failure(failure);
            }
        }
        if self.answer == Answer::Awaited {
            self.deadline.set(self.head_by());
            if self
                .deadline
                .poll_expired(context, runtime::now())
                .is_ready()
            {
                self.end(UpstreamFault::Timeout);
            }
        }
    }

    fn begin(&mut self, grant: Grant) -> Result<(), Failure> {
        if !self.has_body {
            self.sent_at = Some(runtime::now());
        }
        let (request, has_body) = (&self.request, self.has_body);
        self.phase = match grant {
            Grant::Http1(lease) => {
                Phase::Http1(Box::new(http1::Exchange::begin(lease, request, has_body)?))
            }
            Grant::Http2(slot) => {
                Phase::Http2(Box::new(http2::Exchange::begin(slot, request, has_body)?))
            }
        };
        Ok(())
    }

    /// Says whether there is nothing more to do now.
    fn poll_exchange(&mut self, context: &mut Context<'_>) -> bool {
        if self.answer == Answer::Awaited {
            let head = match &mut self.phase {
                Phase::Http1(exchange) => exchange.poll_head(context),
                Phase::Http2(exchange) => exchange.poll_head(context),
                Phase::Waiting(_) | Phase::Over => Poll::Pending,
            };
            match head {
                Poll::Ready(Ok(head)) => {
                    self.answer = Answer::Begun;
                    self.head = Some(head);
                    self.deadline.set(Instant::FAR_FUTURE);
                }
                Poll::Ready(Err(failure)) => {
                    self.handle_failure(failure);
                    return false;
                }
                Poll::Pending => {}
            }
        }
        if self.has_body && !self.out.is_over {
            match &mut self.phase {
                Phase::Http1(exchange) => exchange.push(context, &mut self.out),
                Phase::Http2(exchange) => exchange.push(context, &mut self.out),
                Phase::Waiting(_) | Phase::Over => {}
            }
        }
        if self.out.is_over && self.sent_at.is_none() {
            self.sent_at = Some(runtime::now());
        }
        true
    }

    fn handle_failure(&mut self, failure: Failure) {
        if let Phase::Http1(exchange) = &self.phase {
            exchange.recover(&mut self.out);
        }
        let is_whole = !self.out.has_begun;
        if failure.is_repeatable && is_whole && self.may_repeat {
            self.may_repeat = false;
            self.sent_at = None;
            self.out.is_over = false;
            self.enter();
        } else {
            self.end(failure.fault);
        }
    }

    /// When the head must be there. A body that is on its way makes it later, as far as the caller lets it.
    fn head_by(&self) -> Instant {
        let is_waiting = matches!(self.phase, Phase::Waiting(_));
        let since = if is_waiting {
            Some(self.opened_at)
        } else if self.is_patient {
            None
        } else {
            self.sent_at
        };
        let response_timeout = self.upstream.setup().plan.limits.response_timeout;
        let own = since.map_or(Instant::FAR_FUTURE, |since| since + response_timeout);
        own.min(self.until)
    }
}
