//! One HTTP/1.1 connection: reads and writes its socket, drives its [`h1::Connection`] and the exchanges on it.
//!
//! One task, polled when the socket is ready, when an exchange has something, and at deadlines; nothing is spawned per request.

use std::collections::VecDeque;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_lite::{AsyncRead, AsyncWrite};

use super::exchange::{Before, Exchange, Step};
use super::service::{Entry, count};
use crate::clock::Instant;
use crate::config::HttpServer;
use crate::error::RequestError;
use crate::http::h1::{Connection, Event, Limits};
use crate::http::{ExchangeId, RequestBody, RequestHead, Scheme};
use crate::mapping::http_kafka::{self, Ids, Resolved};
use crate::runtime::deadline::Deadline;
use crate::runtime::net::Stream;
use crate::runtime::{self};

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
    let mut shell = Shell {
        stream,
        server,
        connection,
        entry,
        exchanges: VecDeque::new(),
        deadline,
        is_shut: false,
        is_drained: false,
    };
    std::future::poll_fn(|context| shell.poll(context)).await;
}

struct Shell {
    stream: Stream,
    server: Arc<HttpServer>,
    connection: Connection,
    entry: Entry,
    /// In the order of the requests.
    exchanges: VecDeque<(ExchangeId, Exchange)>,
    deadline: Deadline,
    is_shut: bool,
    is_drained: bool,
}

impl Shell {
    /// Ready when the connection is over.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let mut now = runtime::now();
        self.connection.set_date(self.entry.service.date(now));
        if self.entry.service.is_draining() && !self.is_drained {
            self.is_drained = true;
            self.connection.drain(now);
        }
        for _ in 0..TURNS_MAX {
            // Taken before the exchanges are looked at: what comes in between raises it again.
            let _ = self.entry.notify.poll_notified(context);
            self.handle_events(now);
            self.poll_exchanges(context, now);
            match self.poll_write(context, now) {
                Poll::Ready(Err(_)) => return Poll::Ready(()),
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
                Poll::Ready(Err(_)) => return Poll::Ready(()),
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

    fn can_stream(&self) -> bool {
        self.connection.stream_room() > 0
            && self
                .exchanges
                .front()
                .is_some_and(|(_, exchange)| exchange.is_streaming())
    }

    fn handle_events(&mut self, now: Instant) {
        while let Some(event) = self.connection.poll_event() {
            match event {
                Event::Request { id, head, body } => self.handle_request(id, head, body, now),
                Event::Data { id, bytes } => {
                    let service = &self.entry.service;
                    let taken = self
                        .exchanges
                        .iter_mut()
                        .find(|(open, _)| *open == id)
                        .is_none_or(|(_, exchange)| exchange.handle_data(&bytes, service));
                    if !taken {
                        self.refuse(id, &RequestError::BodiesOverloaded, now);
                    }
                }
                Event::End { id } => self.handle_end(id, now),
                Event::Aborted { id } => self.exchanges.retain(|(open, _)| *open != id),
                Event::HalfClosed => self.handle_half_closed(now),
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
        count(&self.entry.service.counters.requests);
        let whole = match &body {
            RequestBody::Full(bytes) => Some(bytes),
            RequestBody::Streaming { .. } => None,
        };
        let resolved = match self.resolve(&head, whole) {
            Ok(resolved) => resolved,
            Err(error) => return self.respond_error(id, &error, now),
        };
        let mut exchange = Exchange::new(resolved, now);
        match body {
            RequestBody::Full(bytes) => exchange.handle_body(bytes, &self.entry.service, now),
            RequestBody::Streaming { .. } => {
                exchange.keep_head(head);
                self.connection.accept_body(id, now);
            }
        }
        self.exchanges.push_back((id, exchange));
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
        let taken = self
            .exchanges
            .iter_mut()
            .find(|(open, _)| *open == id)
            .and_then(|(_, exchange)| exchange.take_body());
        let Some((body, head)) = taken else { return };
        let resolved = head
            .map(|head| self.resolve(&head, Some(&body)))
            .transpose();
        let resolved = match resolved {
            Ok(resolved) => resolved,
            Err(error) => return self.refuse(id, &error, now),
        };
        let service = &self.entry.service;
        if let Some((_, exchange)) = self.exchanges.iter_mut().find(|(open, _)| *open == id) {
            if let Some(resolved) = resolved {
                exchange.set_resolved(resolved);
            }
            exchange.handle_body(body, service, now);
        }
    }

    /// The client sends no more. Whoever closes its sending half may still read what comes at once; but nobody is kept waiting for one that has most likely gone:
    /// the two cannot be told apart.
    fn handle_half_closed(&mut self, now: Instant) {
        let waiting: Vec<ExchangeId> = self
            .exchanges
            .iter()
            .filter(|(_, exchange)| exchange.is_waiting())
            .map(|(id, _)| *id)
            .collect();
        for id in waiting {
            self.exchanges.retain(|(open, _)| *open != id);
            self.connection.abort(id, now);
        }
    }

    /// Lets every exchange go as far as it can, in order.
    fn poll_exchanges(&mut self, context: &mut Context<'_>, now: Instant) {
        let mut before = Before::default();
        let mut index = 0;
        while index < self.exchanges.len() {
            let is_first = index == 0;
            let (id, exchange) = &mut self.exchanges[index];
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
                    self.connection
                        .respond(*id, &answer.head, &answer.body, now);
                    self.exchanges.remove(index);
                }
                Step::Fail(error) => {
                    let id = *id;
                    self.exchanges.remove(index);
                    self.respond_error(id, &error, now);
                }
                Step::Begin(head) => {
                    self.connection
                        .respond(*id, &head, &crate::http::Body::Stream, now);
                }
                Step::Data(bytes) => {
                    self.connection.send_data(*id, &bytes, now);
                    // One piece a turn, so that others get theirs.
                    index += 1;
                }
                Step::Finish(bytes) => {
                    self.connection.send_data(*id, &bytes, now);
                    self.connection.finish(*id, now);
                    self.exchanges.remove(index);
                }
                Step::Abort => {
                    self.connection.abort(*id, now);
                    self.exchanges.remove(index);
                }
            }
        }
    }

    fn refuse(&mut self, id: ExchangeId, error: &RequestError, now: Instant) {
        self.exchanges.retain(|(open, _)| *open != id);
        self.respond_error(id, error, now);
    }

    fn respond_error(&mut self, id: ExchangeId, error: &RequestError, now: Instant) {
        let (head, body) = error.problem().into_response();
        self.connection.respond(id, &head, &body, now);
    }

    fn poll_write(&mut self, context: &mut Context<'_>, now: Instant) -> Poll<std::io::Result<()>> {
        while !self.connection.output().is_empty() {
            let count =
                ready!(Pin::new(&mut self.stream).poll_write(context, self.connection.output()))?;
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
            self.connection.handle_input(&scratch[..count], now);
        }
        Poll::Ready(Ok(()))
    }

    /// Pending until the earliest deadline; past it, what is due is done.
    fn poll_deadline(&mut self, context: &Context<'_>, now: Instant) -> Poll<Turn> {
        let exchanges = self
            .exchanges
            .iter()
            .filter_map(|(_, exchange)| exchange.poll_timeout())
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
