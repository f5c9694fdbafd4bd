//! One HTTP/1.1 connection: reads and writes its socket, drives its [`h1::Connection`] and the exchanges on it.
//!
//! One task, polled when the socket is ready, when an exchange has something, and at deadlines; nothing is spawned per request.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use futures_lite::{AsyncRead, AsyncWrite};

use super::door::{Door, EXPIRED, Opened, Pass};
use super::exchange::{Before, Exchange, Step, Turn as ExchangeTurn};
use super::lease::Due;
use super::service::Entry;
use super::{GOODBYE, REPLY_DRAIN_WAIT, TURNS_MAX};
use crate::clock::Instant;
use crate::error::RequestError;
use crate::http::h1::{Connection, Event, Limits};
use crate::http::h2::PREFACE;
use crate::http::{Body, ExchangeId, RequestBody, RequestHead};
use crate::mapping::http_kafka::fetch::Answer;
use crate::observe::RequestMeter;
use crate::runtime::deadline::Deadline;
use crate::runtime::{self};

/// What became of a connection.
pub(super) enum Served<S> {
    /// It is over.
    Ended,
    /// The client speaks HTTP/2: these are its first bytes.
    Http2(S, Bytes, Door, Entry),
}

/// Serves a connection until it ends. `may_be_http2`: it may begin with HTTP/2's preface (RFC 9113 3.3).
pub(super) async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    door: Door,
    client: Option<SocketAddr>,
    limits: Rc<Limits>,
    entry: Entry,
    may_be_http2: bool,
) -> Served<S> {
    let now = runtime::now();
    let deadline = entry.service.deadlines.deadline();
    let connection = Connection::new(limits, door.scheme(), now);
    let mut shell = Shell {
        stream,
        client,
        door,
        connection,
        entry,
        exchanges: VecDeque::new(),
        deadline,
        preface: may_be_http2.then(BytesMut::new),
        is_http2: false,
        is_shut: false,
        goodbye_until: None,
        drain_until: None,
        is_half_closed: false,
    };
    std::future::poll_fn(|context| shell.poll(context)).await;
    if shell.is_http2 {
        let first = shell.preface.take().unwrap_or_default();
        return Served::Http2(shell.stream, first.freeze(), shell.door, shell.entry);
    }
    if shell.connection.fault().is_some() {
        let metrics = &shell.entry.service.watch.metrics;
        metrics.requests_malformed.increment();
    }
    Served::Ended
}

struct Shell<S> {
    stream: S,
    client: Option<SocketAddr>,
    door: Door,
    connection: Connection,
    entry: Entry,
    /// In the order of the requests.
    exchanges: VecDeque<Open>,
    deadline: Deadline,
    /// What has come, as long as it may become HTTP/2's preface.
    preface: Option<BytesMut>,
    is_http2: bool,
    is_shut: bool,
    /// Once the connection is over: until when its last bytes may take.
    goodbye_until: Option<Instant>,
    /// Until when replies are waited for, once the process is ending.
    drain_until: Option<Instant>,
    is_half_closed: bool,
}

/// A request that is not answered in full.
struct Open {
    id: ExchangeId,
    exchange: Exchange,
    pass: Pass,
    meter: RequestMeter,
    /// The head of its answer is written.
    has_begun: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Shell<S> {
    /// Ready when the connection is over.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let mut now = runtime::now();
        self.connection.set_date(self.entry.service.date(now));
        if self.entry.service.is_draining() && self.drain_until.is_none() {
            self.drain_until = Some(now + REPLY_DRAIN_WAIT);
            self.connection.drain(now);
        }
        for _ in 0..TURNS_MAX {
            // Taken before the exchanges are looked at: what comes in between raises it again.
            let _ = self.entry.notify.poll_notified(context);
            self.handle_events(now);
            if let Some(until) = self.drain_until {
                for open in &mut self.exchanges {
                    open.exchange.handle_drain(now, until);
                }
            }
            self.keep_leases(now);
            self.poll_exchanges(context, now);
            if self.is_half_closed {
                self.give_up_waits(now);
            }
            match self.poll_write(context, now) {
                Poll::Ready(Err(_)) => return self.broken(),
                Poll::Ready(Ok(())) | Poll::Pending => {}
            }
            if self.connection.is_closed() {
                return self.poll_goodbye(context, now);
            }
            if self.connection.wants_shutdown() && !self.is_shut {
                self.is_shut = Pin::new(&mut self.stream).poll_close(context).is_ready();
            }
            let read = self.poll_read(context, now);
            if self.is_http2 {
                return Poll::Ready(());
            }
            let again = match read {
                Poll::Ready(Err(_)) => return self.broken(),
                Poll::Ready(Ok(())) => true,
                // What was written made room for more of an answer, and nothing else would wake us for it.
                Poll::Pending => {
                    self.can_stream() || self.entry.notify.poll_notified(context).is_ready()
                }
            };
            if !again && ready!(self.poll_deadline(context, now)) == Turn::Over {
                return self.poll_goodbye(context, now);
            }
            now = runtime::now();
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }

    fn broken(&self) -> Poll<()> {
        self.entry.handle_broken();
        Poll::Ready(())
    }

    fn can_stream(&self) -> bool {
        self.connection.stream_room() > 0
            && self
                .exchanges
                .front()
                .is_some_and(|open| open.exchange.is_streaming())
    }

    fn handle_events(&mut self, now: Instant) {
        while let Some(event) = self.connection.poll_event() {
            match event {
                Event::Request { id, head, body } => self.handle_request(id, head, &body, now),
                Event::Data { id, bytes } => {
                    let service = &self.entry.service;
                    let open = self.exchanges.iter_mut().find(|open| open.id == id);
                    let taken = open.is_none_or(|open| {
                        open.meter.handle_received(bytes.len());
                        open.exchange.handle_data(&bytes, service)
                    });
                    if !taken {
                        self.refuse(id, &RequestError::BodiesOverloaded, now);
                    }
                }
                Event::End { id } => self.handle_end(id, now),
                Event::Aborted { id } => self.exchanges.retain(|open| open.id != id),
                Event::HalfClosed => self.is_half_closed = true,
            }
        }
    }

    fn handle_request(
        &mut self,
        id: ExchangeId,
        head: RequestHead,
        body: &RequestBody,
        now: Instant,
    ) {
        let watch = &self.entry.service.watch;
        let mut meter = RequestMeter::begin(watch, self.door.number(), &head, self.client, now);
        if let RequestBody::Full(bytes) = body {
            meter.handle_received(bytes.len());
        }
        let Opened { outcome, pass } = self.door.open(head, body, &mut meter, now);
        match outcome {
            Ok(exchange) => {
                if let RequestBody::Streaming { .. } = body {
                    self.connection.accept_body(id, now);
                }
                if self.exchanges.capacity() == 0 {
                    // Most have one at a time, and a stream that one alone.
                    self.exchanges.reserve_exact(1);
                }
                self.exchanges.push_back(Open {
                    id,
                    exchange,
                    pass,
                    meter,
                    has_begun: false,
                });
            }
            Err(answer) => self.respond(id, *answer, &pass, meter, now),
        }
    }

    /// A body that came in pieces is whole.
    fn handle_end(&mut self, id: ExchangeId, now: Instant) {
        let mut exchanges = self.exchanges.iter_mut();
        let Some(open) = exchanges.find(|open| open.id == id) else {
            return;
        };
        if let Err(error) = self.door.handle_body(&mut open.exchange, &open.pass, now) {
            self.refuse(id, &error, now);
        }
    }

    /// The client sends no more. Whoever closes its sending half may still read what comes at once; but nobody is kept waiting for one that has most likely gone:
    /// the two cannot be told apart.
    fn give_up_waits(&mut self, now: Instant) {
        let waiting = self
            .exchanges
            .iter()
            .filter(|open| open.exchange.is_waiting());
        let waiting: Vec<ExchangeId> = waiting.map(|open| open.id).collect();
        for id in waiting {
            self.exchanges.retain(|open| open.id != id);
            self.connection.abort(id, now);
        }
    }

    /// Ends what has outlived the sessions that let it in, and asks for new ones in time.
    fn keep_leases(&mut self, now: Instant) {
        let mut index = 0;
        while let Some(open) = self.exchanges.get_mut(index) {
            match open.pass.due(&open.exchange, open.has_begun) {
                Due::Nothing => index += 1,
                Due::Challenge => {
                    open.exchange.challenge();
                    index += 1;
                }
                Due::Over if open.exchange.expire(&EXPIRED) => index += 1,
                Due::Over => {
                    let id = open.id;
                    if open.has_begun {
                        self.connection.abort(id, now);
                        self.exchanges.remove(index);
                    } else {
                        self.refuse(id, &EXPIRED, now);
                    }
                }
            }
        }
    }

    /// Lets every exchange go as far as it can, in order.
    fn poll_exchanges(&mut self, context: &mut Context<'_>, now: Instant) {
        let mut before = Before::default();
        let mut index = 0;
        while index < self.exchanges.len() {
            let is_first = index == 0;
            let Open {
                id,
                exchange,
                pass,
                meter,
                has_begun,
            } = &mut self.exchanges[index];
            let id = *id;
            let room = if is_first {
                self.connection.stream_room()
            } else {
                0
            };
            let turn = ExchangeTurn {
                context,
                service: &self.entry.service,
                notify: &self.entry.notify,
                before,
                room,
                now,
            };
            match exchange.poll(turn) {
                Step::Pending => {
                    exchange.add_to(&mut before);
                    index += 1;
                }
                Step::Respond(answer) => {
                    if let Some(open) = self.exchanges.remove(index) {
                        self.respond(id, *answer, &open.pass, open.meter, now);
                    }
                }
                Step::Fail(error) => self.refuse(id, &error, now),
                Step::Begin { mut head, length } => {
                    *has_begun = true;
                    pass.decorate(&mut head);
                    meter.handle_answer(head.status);
                    let body = length.map_or(Body::Stream, Body::Sized);
                    self.connection.respond(id, &head, &body, now);
                }
                Step::Data(bytes) => {
                    meter.handle_sent(bytes.len());
                    self.connection.send_data(id, &bytes, now);
                    // One piece a turn, so that others get theirs.
                    index += 1;
                }
                Step::Finish(bytes) => {
                    meter.handle_sent(bytes.len());
                    self.connection.send_data(id, &bytes, now);
                    self.connection.finish(id, now);
                    if let Some(open) = self.exchanges.remove(index) {
                        open.meter.finish(now);
                    }
                }
                // Its answers are in chunks only where their length is not known, and few clients look for fields behind them.
                Step::Trailers(_) => {
                    self.connection.finish(id, now);
                    if let Some(open) = self.exchanges.remove(index) {
                        open.meter.finish(now);
                    }
                }
                Step::Abort => {
                    self.connection.abort(id, now);
                    self.exchanges.remove(index);
                }
            }
        }
    }

    fn refuse(&mut self, id: ExchangeId, error: &RequestError, now: Instant) {
        let index = self.exchanges.iter().position(|open| open.id == id);
        if let Some(open) = index.and_then(|index| self.exchanges.remove(index)) {
            if open.has_begun {
                return self.connection.abort(id, now);
            }
            let answer = open.pass.refusal(error);
            self.respond(id, answer, &open.pass, open.meter, now);
        }
    }

    fn respond(
        &mut self,
        id: ExchangeId,
        mut answer: Answer,
        pass: &Pass,
        mut meter: RequestMeter,
        now: Instant,
    ) {
        pass.decorate(&mut answer.head);
        self.connection.respond(id, &answer.head, &answer.body, now);
        meter.handle_answer(answer.head.status);
        if let Body::Full(bytes) = &answer.body {
            meter.handle_sent(bytes.len());
        }
        meter.finish(now);
    }

    fn poll_write(&mut self, context: &mut Context<'_>, now: Instant) -> Poll<std::io::Result<()>> {
        while !self.connection.output().is_empty() {
            let count =
                ready!(Pin::new(&mut self.stream).poll_write(context, self.connection.output()))?;
            self.entry.handle_moved(0, count);
            self.connection.handle_written(count, now);
        }
        Pin::new(&mut self.stream).poll_flush(context)
    }

    /// What was written has to be sent before the stream goes: TLS may still hold some of it.
    fn poll_goodbye(&mut self, context: &mut Context<'_>, now: Instant) -> Poll<()> {
        let until = *self.goodbye_until.get_or_insert(now + GOODBYE);
        if Pin::new(&mut self.stream).poll_close(context).is_ready() {
            return Poll::Ready(());
        }
        self.deadline.set(until);
        self.deadline.poll_expired(context, now)
    }

    fn poll_read(&mut self, context: &mut Context<'_>, now: Instant) -> Poll<std::io::Result<()>> {
        if self.is_held() {
            self.connection.hold_body(now);
            return Poll::Pending;
        }
        if !self.connection.wants_input() {
            return Poll::Pending;
        }
        let service = self.entry.service.clone();
        let mut scratch = service.scratch();
        let count = ready!(Pin::new(&mut self.stream).poll_read(context, &mut scratch))?;
        if count == 0 {
            self.connection.handle_eof(now);
        } else if self.preface.is_some() {
            self.handle_first(&scratch[..count], now);
        } else {
            self.entry.handle_moved(count, 0);
            self.connection.handle_input(&scratch[..count], now);
        }
        Poll::Ready(Ok(()))
    }

    /// Whether the exchange whose body is coming wants no more of it for now: the client waits (TCP's flow control).
    fn is_held(&self) -> bool {
        let last = self.exchanges.back();
        last.is_some_and(|open| !open.exchange.wants_data())
    }

    /// The first bytes decide about the version.
    fn handle_first(&mut self, bytes: &[u8], now: Instant) {
        let Some(mut first) = self.preface.take() else {
            return;
        };
        first.extend_from_slice(bytes);
        let count = first.len().min(PREFACE.len());
        if first[..count] != PREFACE[..count] {
            self.entry.handle_moved(first.len(), 0);
            return self.connection.handle_input(&first, now);
        }
        self.is_http2 = count == PREFACE.len();
        self.preface = Some(first);
    }

    /// Pending until the earliest deadline; past it, what is due is done.
    fn poll_deadline(&mut self, context: &Context<'_>, now: Instant) -> Poll<Turn> {
        let exchanges = self
            .exchanges
            .iter()
            .filter_map(|open| open.pass.poll_timeout(&open.exchange, now))
            .min();
        let at = self
            .connection
            .poll_timeout()
            .min(exchanges.unwrap_or(Instant::FAR_FUTURE));
        self.deadline.set(at);
        ready!(self.deadline.poll_expired(context, now));
        if self.connection.poll_timeout() <= now {
            self.connection.handle_timeout(now);
        }
        Poll::Ready(if self.connection.is_closed() {
            Turn::Over
        } else {
            Turn::Again
        })
    }
}

#[derive(PartialEq, Eq)]
enum Turn {
    Again,
    Over,
}
