//! One HTTP/1.1 connection: reads and writes its socket, drives its [`h1::Connection`] and the exchanges on it.
//!
//! One task, polled when the socket is ready, when an exchange has something, and at deadlines; nothing is spawned per request.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_lite::{AsyncRead, AsyncWrite};

use super::exchange::{Before, Exchange, Step};
use super::service::Entry;
use crate::clock::Instant;
use crate::config::HttpServer;
use crate::error::RequestError;
use crate::http::h1::{Connection, Event, Limits};
use crate::http::{Body, ExchangeId, RequestBody, RequestHead, ResponseHead, Scheme};
use crate::mapping::http_kafka::{self, Ids, Resolved};
use crate::observe::RequestMeter;
use crate::runtime::deadline::Deadline;
use crate::runtime::net::Stream;
use crate::runtime::{self};

/// How long replies are still waited for when the gateway ends: less than a drain takes, so that the answer goes out.
const REPLY_DRAIN_WAIT: Duration = Duration::from_secs(8);
/// Turns of the loop in one poll, so that a client that sends without end does not keep the core to itself.
const TURNS_MAX: usize = 16;

/// Serves a connection until it ends.
pub(super) async fn serve(
    stream: Stream,
    server: Arc<HttpServer>,
    limits: Rc<Limits>,
    entry: Entry,
) {
    let now = runtime::now();
    let deadline = entry.service.deadlines.deadline();
    let connection = Connection::new(limits, Scheme::Http, now);
    // A system call that only the access log needs.
    let wants_client = entry.service.watch.writes_accesses();
    let client = wants_client.then(|| stream.peer_addr().ok()).flatten();
    let mut shell = Shell {
        stream,
        client,
        server,
        connection,
        entry,
        exchanges: VecDeque::new(),
        deadline,
        is_shut: false,
        drain_until: None,
        is_half_closed: false,
    };
    std::future::poll_fn(|context| shell.poll(context)).await;
    if shell.connection.fault().is_some() {
        let metrics = &shell.entry.service.watch.metrics;
        metrics.requests_malformed.increment();
    }
}

struct Shell {
    stream: Stream,
    client: Option<SocketAddr>,
    server: Arc<HttpServer>,
    connection: Connection,
    entry: Entry,
    /// In the order of the requests.
    exchanges: VecDeque<Open>,
    deadline: Deadline,
    is_shut: bool,
    /// Until when replies are waited for, once the process is ending.
    drain_until: Option<Instant>,
    is_half_closed: bool,
}

/// A request that is not answered in full.
struct Open {
    id: ExchangeId,
    exchange: Exchange,
    meter: RequestMeter,
}

impl Shell {
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
            self.poll_exchanges(context, now);
            if self.is_half_closed {
                self.give_up_waits(now);
            }
            match self.poll_write(context, now) {
                Poll::Ready(Err(_)) => return self.broken(),
                Poll::Ready(Ok(())) | Poll::Pending => {}
            }
            if self.connection.is_closed() {
                return Poll::Ready(());
            }
            if self.connection.wants_shutdown() && !self.is_shut {
                self.is_shut = true;
                let _ = Pin::new(&mut self.stream).poll_close(context);
            }
            let again = match self.poll_read(context, now) {
                Poll::Ready(Err(_)) => return self.broken(),
                Poll::Ready(Ok(())) => true,
                // What was written made room for more of an answer, and nothing else would wake us for it.
                Poll::Pending => {
                    self.can_stream() || self.entry.notify.poll_notified(context).is_ready()
                }
            };
            if !again && ready!(self.poll_deadline(context, now)) == Turn::Over {
                return Poll::Ready(());
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
                Event::Request { id, head, body } => self.handle_request(id, head, body, now),
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
        body: RequestBody,
        now: Instant,
    ) {
        let watch = &self.entry.service.watch;
        let mut meter = RequestMeter::begin(watch, self.server.number, &head, self.client, now);
        let whole = match &body {
            RequestBody::Full(bytes) => {
                meter.handle_received(bytes.len());
                Some(bytes)
            }
            RequestBody::Streaming { .. } => None,
        };
        let resolved = match self.resolve(&head, whole) {
            Ok(resolved) => resolved,
            Err(error) => return self.respond_error(id, &error, meter, now),
        };
        meter.set_route(resolved.route);
        let mut exchange = Exchange::new(resolved, now);
        match body {
            RequestBody::Full(bytes) => exchange.handle_body(bytes, &self.entry.service, now),
            RequestBody::Streaming { .. } => {
                exchange.keep_head(head);
                self.connection.accept_body(id, now);
            }
        }
        self.exchanges.push_back(Open {
            id,
            exchange,
            meter,
        });
    }

    fn resolve(
        &self,
        head: &RequestHead,
        body: Option<&bytes::Bytes>,
    ) -> Result<Resolved, RequestError> {
        let replies = self.entry.service.replies.first();
        let ids = Ids {
            fresh_key: &|| uuid::Uuid::new_v4().to_string(),
            is_own: &|id| replies.is_none_or(|replies| replies.is_own(id)),
        };
        http_kafka::resolve(&self.server, head, body, ids)
    }

    /// A body that came in pieces is whole.
    fn handle_end(&mut self, id: ExchangeId, now: Instant) {
        let find = |open: &&mut Open| open.id == id;
        let taken = self.exchanges.iter_mut().find(find);
        let Some((body, head)) = taken.and_then(|open| open.exchange.take_body()) else {
            return;
        };
        let resolved = head
            .map(|head| self.resolve(&head, Some(&body)))
            .transpose();
        let resolved = match resolved {
            Ok(resolved) => resolved,
            Err(error) => return self.refuse(id, &error, now),
        };
        let service = &self.entry.service;
        if let Some(open) = self.exchanges.iter_mut().find(find) {
            if let Some(resolved) = resolved {
                open.exchange.set_resolved(resolved);
            }
            open.exchange.handle_body(body, service, now);
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

    /// Lets every exchange go as far as it can, in order.
    fn poll_exchanges(&mut self, context: &mut Context<'_>, now: Instant) {
        let mut before = Before::default();
        let mut index = 0;
        while index < self.exchanges.len() {
            let is_first = index == 0;
            let Open {
                id,
                exchange,
                meter,
            } = &mut self.exchanges[index];
            let id = *id;
            let room = if is_first {
                self.connection.stream_room()
            } else {
                0
            };
            match exchange.poll(
                context,
                &self.entry.service,
                &self.entry.notify,
                before,
                room,
                now,
            ) {
                Step::Pending => {
                    exchange.add_to(&mut before);
                    index += 1;
                }
                Step::Respond(answer) => {
                    if let Some(open) = self.exchanges.remove(index) {
                        self.respond(id, &answer.head, &answer.body, open.meter, now);
                    }
                }
                Step::Fail(error) => {
                    if let Some(open) = self.exchanges.remove(index) {
                        self.respond_error(id, &error, open.meter, now);
                    }
                }
                Step::Begin(head) => {
                    meter.handle_answer(head.status);
                    self.connection.respond(id, &head, &Body::Stream, now);
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
            self.respond_error(id, error, open.meter, now);
        }
    }

    fn respond_error(
        &mut self,
        id: ExchangeId,
        error: &RequestError,
        meter: RequestMeter,
        now: Instant,
    ) {
        let (head, body) = error.problem().into_response();
        self.respond(id, &head, &body, meter, now);
    }

    fn respond(
        &mut self,
        id: ExchangeId,
        head: &ResponseHead,
        body: &Body,
        mut meter: RequestMeter,
        now: Instant,
    ) {
        self.connection.respond(id, head, body, now);
        meter.handle_answer(head.status);
        if let Body::Full(bytes) = body {
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
        Poll::Ready(Ok(()))
    }

    fn poll_read(&mut self, context: &mut Context<'_>, now: Instant) -> Poll<std::io::Result<()>> {
        if !self.connection.wants_input() {
            return Poll::Pending;
        }
        let service = self.entry.service.clone();
        let mut scratch = service.scratch();
        let count = ready!(Pin::new(&mut self.stream).poll_read(context, &mut scratch))?;
        if count == 0 {
            self.connection.handle_eof(now);
        } else {
            self.entry.handle_moved(count, 0);
            self.connection.handle_input(&scratch[..count], now);
        }
        Poll::Ready(Ok(()))
    }

    /// Pending until the earliest deadline; past it, what is due is done.
    fn poll_deadline(&mut self, context: &Context<'_>, now: Instant) -> Poll<Turn> {
        let exchanges = self
            .exchanges
            .iter()
            .filter_map(|open| open.exchange.poll_timeout())
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
