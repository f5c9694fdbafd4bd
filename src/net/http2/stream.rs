//! One stream of an HTTP/2 connection: a request, its exchange and the answer.
//!
//! Rule: a piece of the answer is asked of the exchange only when the one before it is with the client's flow control, so a client that takes nothing costs one piece.

use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::Request;

use super::Opened;
use crate::clock::Instant;
use crate::error::RequestError;
use crate::http::h2::head;
use crate::http::{Body, Headers, Method, Problem, RequestBody, ResponseHead};
use crate::mapping::http_kafka::fetch::Answer;
use crate::net::TURNS_MAX;
use crate::net::door::{EXPIRED, Pass};
use crate::net::exchange::{Before, Exchange, Step, Turn};
use crate::net::lease::Due;
use crate::observe::RequestMeter;
use crate::runtime::deadline::Deadline;
use crate::runtime::{self};

/// Bytes of answer that are asked of an exchange at once.
const PIECE_BYTES: usize = 64 << 10;
/// How long a client may go on sending a body that was answered before its end. A stream that is reset at once looks to some clients as if there were no answer.
const LINGER: Duration = Duration::from_secs(1);

/// Starts the task of a stream.
pub(super) fn start(request: Request<RecvStream>, respond: SendResponse<Bytes>, opened: Opened) {
    let service = opened.shared.entry.service.clone();
    let task = async move {
        // Behind the connection's task, which is still reading.
        runtime::yield_now().await;
        serve(request, respond, opened).await;
    };
    runtime::spawn_contained(task, move || {
        service.watch.metrics.panics.increment();
        tracing::error!("a stream's task panicked; the stream is reset, the rest goes on");
    });
}

async fn serve(request: Request<RecvStream>, mut respond: SendResponse<Bytes>, opened: Opened) {
    let (parts, body) = request.into_parts();
    let shared = opened.shared.clone();
    let service = &shared.entry.service;
    let now = runtime::now();
    // Taken back before it was looked at: nothing is begun.
    if std::future::poll_fn(|context| Poll::Ready(respond.poll_reset(context).is_ready())).await {
        return;
    }
    let Ok(request) = head::request_head(&parts, shared.door.scheme()) else {
        service.watch.metrics.requests_malformed.increment();
        let response = head::response(&ResponseHead::new(501), Some(0), &service.date(now));
        // A client that has gone meanwhile needs no answer.
        let _ = respond.send_response(response, true);
        return;
    };
    let meter = RequestMeter::begin(
        &service.watch,
        shared.door.number(),
        &request,
        shared.client,
        now,
    );
    let is_whole = body.is_end_stream();
    let mut shell = Shell {
        method: request.method,
        respond,
        sending: None,
        receiving: (!is_whole).then_some(body),
        exchange: None,
        pass: Pass::default(),
        meter: Some(meter),
        out: None,
        is_last: false,
        trailers: None,
        is_held: false,
        deadline: service.deadlines.deadline(),
        heard_at: now,
        taken_at: now,
        received: 0,
        answered_at: None,
        opened,
    };
    let body = if is_whole {
        RequestBody::Full(Bytes::new())
    } else {
        RequestBody::Streaming {
            length: None,
            expects_continue: false,
        }
    };
    shell.open(request, &body, now);
    std::future::poll_fn(|context| shell.poll(context)).await;
}

struct Shell {
    method: Method,
    respond: SendResponse<Bytes>,
    /// Once the head is sent.
    sending: Option<SendStream<Bytes>>,
    /// Until the whole body is here.
    receiving: Option<RecvStream>,
    exchange: Option<Exchange>,
    pass: Pass,
    meter: Option<RequestMeter>,
    /// What the client's flow control has not let through.
    out: Option<Bytes>,
    /// `out` is the end.
    is_last: bool,
    /// What comes behind the last piece.
    trailers: Option<Headers>,
    /// The exchange wanted no more of the body when that was last looked at.
    is_held: bool,
    deadline: Deadline,
    /// When a byte of the body last came.
    heard_at: Instant,
    /// When the client last took a byte of the answer, or there was none to take.
    taken_at: Instant,
    received: u64,
    answered_at: Option<Instant>,
    opened: Opened,
}

/// Whether a stream goes on.
#[derive(PartialEq, Eq)]
enum Life {
    Goes,
    Over,
}

impl Shell {
    fn open(&mut self, request: crate::http::RequestHead, body: &RequestBody, now: Instant) {
        let shared = self.opened.shared.clone();
        let Some(meter) = &mut self.meter else { return };
        let opened = shared.door.open(request, body, meter, now);
        self.pass = opened.pass;
        match opened.outcome {
            Ok(exchange) => self.exchange = Some(exchange),
            Err(answer) => self.respond(*answer, now),
        }
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let shared = self.opened.shared.clone();
        // Taken before anything is looked at: what comes in between raises it again.
        let _ = self.opened.notify.poll_notified(context);
        for _ in 0..TURNS_MAX {
            let now = runtime::now();
            if shared.is_over.get() || self.is_taken_back(context) {
                return Poll::Ready(());
            }
            if let (Some(until), Some(exchange)) = (shared.drain_until.get(), &mut self.exchange) {
                exchange.handle_drain(now, until);
            }
            if self.keep_lease(now) == Life::Over {
                return Poll::Ready(());
            }
            self.poll_body(context, now);
            if self.poll_send(context, now) == Life::Over {
                return Poll::Ready(());
            }
            let has_more = self.poll_exchange(context, now);
            if self.poll_send(context, now) == Life::Over {
                return Poll::Ready(());
            }
            if has_more && self.out.is_none() && self.exchange.is_some() {
                continue;
            }
            if self.is_held && self.wants_data() {
                continue;
            }
            let is_written = self.out.is_none() && self.trailers.is_none();
            if self.exchange.is_none() && is_written && !self.lingers(now) {
                return Poll::Ready(());
            }
            if self.opened.notify.poll_notified(context).is_ready() {
                // By way of the executor, so that a stream that is always told something does not keep the core.
                context.waker().wake_by_ref();
                self.opened.notify.notify();
                return Poll::Pending;
            }
            let at = self.next_timeout(now);
            if at <= now {
                if self.handle_timeout(now) == Life::Over {
                    return Poll::Ready(());
                }
                continue;
            }
            self.deadline.set(at);
            if self.deadline.poll_expired(context, now).is_pending() {
                return Poll::Pending;
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }

    /// Ends what has outlived the sessions that let it in, and asks for new ones in time.
    fn keep_lease(&mut self, now: Instant) -> Life {
        let Some(exchange) = &mut self.exchange else {
            return Life::Goes;
        };
        let has_begun = self.sending.is_some();
        match self.pass.due(exchange, has_begun) {
            Due::Nothing => Life::Goes,
            Due::Challenge => {
                exchange.challenge();
                Life::Goes
            }
            Due::Over if exchange.expire(&EXPIRED) => Life::Goes,
            Due::Over if has_begun => {
                self.reset(Reason::NO_ERROR);
                Life::Over
            }
            Due::Over => {
                self.fail(&EXPIRED, now);
                Life::Goes
            }
        }
    }

    /// Whether the client has reset the stream, or the connection broke.
    fn is_taken_back(&mut self, context: &mut Context<'_>) -> bool {
        match &mut self.sending {
            Some(sending) => sending.poll_reset(context).is_ready(),
            None => self.respond.poll_reset(context).is_ready(),
        }
    }

    fn poll_body(&mut self, context: &mut Context<'_>, now: Instant) {
        loop {
            let was_held = self.is_held;
            self.is_held = !self.wants_data();
            if was_held && !self.is_held {
                // The client could not send meanwhile.
                self.heard_at = now;
            }
            let Some(body) = self.receiving.as_mut().filter(|_| !self.is_held) else {
                return;
            };
            let Poll::Ready(data) = body.poll_data(context) else {
                return;
            };
            match data {
                Some(Ok(bytes)) => {
                    // A stream that is over needs no more room.
                    let _ = body.flow_control().release_capacity(bytes.len());
                    self.heard_at = now;
                    self.handle_data(&bytes, now);
                }
                Some(Err(_)) => {
                    self.receiving = None;
                    self.exchange = None;
                }
                None => {
                    self.receiving = None;
                    self.handle_end(now);
                }
            }
        }
    }

    /// Whether it is a call, whose body may be silent for as long as the two like.
    fn is_call(&self) -> bool {
        self.exchange.as_ref().is_some_and(Exchange::is_call)
    }

    /// Whether more of the body is to be read now.
    fn wants_data(&self) -> bool {
        self.exchange.as_ref().is_none_or(Exchange::wants_data)
    }

    fn handle_data(&mut self, bytes: &Bytes, now: Instant) {
        let shared = self.opened.shared.clone();
        if let Some(meter) = &mut self.meter {
            meter.handle_received(bytes.len());
        }
        self.received += bytes.len() as u64;
        let Some(exchange) = &mut self.exchange else {
            return;
        };
        let is_too_large = self.received > shared.limits.body_bytes_max as u64;
        if self.sending.is_some() && !exchange.is_duplex() {
            // The answer has begun without it.
        } else if is_too_large && !exchange.is_call() {
            if self.sending.is_some() {
                self.exchange = None;
                return self.reset(Reason::CANCEL);
            }
            let problem = Problem::new(413)
                .detail("the request's body is larger than this gateway takes")
                .number("body_bytes_max", shared.limits.body_bytes_max as u64);
            self.refuse(problem.into(), now);
        } else if !exchange.handle_data(bytes, &shared.entry.service) {
            self.fail(&RequestError::BodiesOverloaded, now);
        }
    }

    fn handle_end(&mut self, now: Instant) {
        let shared = self.opened.shared.clone();
        let Some(exchange) = &mut self.exchange else {
            return;
        };
        if let Err(error) = shared.door.handle_body(exchange, &self.pass, now) {
            self.fail(&error, now);
        }
    }

    /// Lets the exchange go as far as it can; says whether it may have more at once.
    fn poll_exchange(&mut self, context: &mut Context<'_>, now: Instant) -> bool {
        let shared = self.opened.shared.clone();
        let room = if self.out.is_none() { PIECE_BYTES } else { 0 };
        let Some(exchange) = &mut self.exchange else {
            return false;
        };
        let step = exchange.poll(Turn {
            context,
            service: &shared.entry.service,
            notify: &self.opened.notify,
            before: Before::default(),
            room,
            now,
        });
        match step {
            Step::Pending => return false,
            Step::Respond(answer) => self.refuse(*answer, now),
            Step::Fail(error) => self.fail(&error, now),
            Step::Begin { head, length } => {
                if let Some(meter) = &mut self.meter {
                    meter.handle_answer(head.status);
                }
                let is_head = self.method == Method::Head;
                self.send_head(head, length, is_head, now);
                if is_head {
                    self.exchange = None;
                    self.finish(now);
                }
            }
            Step::Data(bytes) => self.put(bytes, now),
            Step::Finish(bytes) => {
                self.exchange = None;
                self.is_last = true;
                self.put(bytes, now);
            }
            Step::Trailers(trailers) => {
                self.exchange = None;
                self.trailers = Some(trailers);
            }
            Step::Abort => {
                self.exchange = None;
                self.out = None;
                self.reset(Reason::INTERNAL_ERROR);
            }
        }
        self.exchange.is_some()
    }

    fn put(&mut self, bytes: Bytes, now: Instant) {
        if let Some(meter) = &mut self.meter {
            meter.handle_sent(bytes.len());
        }
        self.taken_at = now;
        self.out = Some(bytes);
    }

    fn fail(&mut self, error: &RequestError, now: Instant) {
        self.refuse(self.pass.refusal(error), now);
    }

    /// Answers, and ends the exchange.
    fn refuse(&mut self, answer: Answer, now: Instant) {
        self.exchange = None;
        if self.sending.is_some() {
            self.out = None;
            return self.reset(Reason::CANCEL);
        }
        self.respond(answer, now);
    }

    fn respond(&mut self, answer: Answer, now: Instant) {
        let Answer { head, body } = answer;
        let (full, length) = match body {
            Body::Full(bytes) => {
                let length = bytes.len() as u64;
                (bytes, Some(length))
            }
            Body::Empty | Body::Stream | Body::Sized(_) => {
                // RFC 9110 8.6: a 204 or 304 says nothing of a length; an answer to a call that is nothing but its status has no body to speak of, either.
                let has_length = !matches!(head.status, 204 | 304) && !self.pass.speaks_grpc();
                (Bytes::new(), has_length.then_some(0))
            }
        };
        let is_bodiless = full.is_empty() || self.method == Method::Head;
        if let Some(meter) = &mut self.meter {
            meter.handle_answer(head.status);
            meter.handle_sent(full.len());
        }
        self.send_head(head, length, is_bodiless, now);
        if is_bodiless {
            self.finish(now);
        } else {
            self.is_last = true;
            self.taken_at = now;
            self.out = Some(full);
        }
    }

    fn send_head(&mut self, mut head: ResponseHead, length: Option<u64>, ends: bool, now: Instant) {
        let shared = &self.opened.shared;
        let date = shared.entry.service.date(now);
        self.pass.decorate(&mut head);
        let response = head::response(&head, length, &date);
        match self.respond.send_response(response, ends) {
            Ok(sending) => self.sending = Some(sending),
            // The client has gone; the stream's next look at itself says so.
            Err(_) => self.exchange = None,
        }
    }

    /// Passes on what the client's flow control lets through.
    fn poll_send(&mut self, context: &mut Context<'_>, now: Instant) -> Life {
        let Some(out) = &mut self.out else {
            return self.send_trailers(now);
        };
        let Some(sending) = &mut self.sending else {
            return Life::Goes;
        };
        if self.is_last && out.is_empty() {
            return self.send_last(Bytes::new(), now);
        }
        while !out.is_empty() {
            sending.reserve_capacity(out.len());
            match sending.poll_capacity(context) {
                Poll::Ready(Some(Ok(capacity))) => {
                    let piece = out.split_to(capacity.min(out.len()));
                    if piece.is_empty() {
                        continue;
                    }
                    self.taken_at = now;
                    if self.is_last && out.is_empty() {
                        return self.send_last(piece, now);
                    }
                    if sending.send_data(piece, false).is_err() {
                        return Life::Over;
                    }
                }
                Poll::Ready(Some(Err(_)) | None) => return Life::Over,
                Poll::Pending => return Life::Goes,
            }
        }
        self.out = None;
        self.send_trailers(now)
    }

    /// Ends the answer with what comes behind its last piece.
    fn send_trailers(&mut self, now: Instant) -> Life {
        let (Some(trailers), Some(sending)) = (&self.trailers, &mut self.sending) else {
            return Life::Goes;
        };
        let trailers = head::trailers(trailers);
        self.trailers = None;
        if sending.send_trailers(trailers).is_err() {
            return Life::Over;
        }
        self.finish(now);
        Life::Goes
    }

    fn send_last(&mut self, bytes: Bytes, now: Instant) -> Life {
        self.out = None;
        let Some(sending) = &mut self.sending else {
            return Life::Over;
        };
        if sending.send_data(bytes, true).is_err() {
            return Life::Over;
        }
        self.finish(now);
        Life::Goes
    }

    /// The answer is whole.
    fn finish(&mut self, now: Instant) {
        if let Some(meter) = self.meter.take() {
            meter.finish(now);
            self.answered_at = Some(now);
        }
    }

    /// Whether the rest of the body is still taken, to no purpose but the client's.
    fn lingers(&self, now: Instant) -> bool {
        let most = 2 * self.opened.shared.limits.body_bytes_max as u64;
        self.receiving.is_some()
            && self.received <= most
            && self.answered_at.is_some_and(|at| now < at + LINGER)
    }

    fn reset(&mut self, reason: Reason) {
        match &mut self.sending {
            Some(sending) => sending.send_reset(reason),
            None => self.respond.send_reset(reason),
        }
    }

    fn next_timeout(&self, now: Instant) -> Instant {
        let limits = &self.opened.shared.limits;
        let exchange = self.exchange.as_ref();
        let exchange = exchange.and_then(|exchange| self.pass.poll_timeout(exchange, now));
        let stalls = self
            .out
            .as_ref()
            .map(|_| self.taken_at + limits.write_timeout);
        // An answer that has begun does not need the body.
        let waits = self.sending.is_none() && !self.is_held && !self.is_call();
        let receiving = self.receiving.as_ref().filter(|_| waits);
        let body = receiving.map(|_| self.heard_at + limits.body_timeout);
        let lingers = self.answered_at.map(|at| at + LINGER);
        let times = [exchange, stalls, body, lingers];
        times
            .into_iter()
            .flatten()
            .min()
            .unwrap_or(Instant::FAR_FUTURE)
    }

    /// What is due is done; the exchange does its own.
    fn handle_timeout(&mut self, now: Instant) -> Life {
        let limits = self.opened.shared.limits;
        if self.out.is_some() && self.taken_at + limits.write_timeout <= now {
            self.reset(Reason::CANCEL);
            return Life::Over;
        }
        let waits = self.sending.is_none() && !self.is_held && !self.is_call();
        let waits_for_body = self.receiving.is_some() && waits;
        if waits_for_body && self.heard_at + limits.body_timeout <= now {
            self.receiving = None;
            let problem = Problem::new(408).detail("the request's body did not come in time");
            self.refuse(problem.into(), now);
        }
        Life::Goes
    }
}
