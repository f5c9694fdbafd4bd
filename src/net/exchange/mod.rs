//! One request and its answer, between the connection that brought it and what answers it: the shell around [`crate::exchange`].
//!
//! | what answers | exchange |
//! |---|---|
//! | Kafka: a record, a reply, a read | [`KafkaExchange`] |
//! | a topic's events | [`Events`] |
//! | a file | [`FileExchange`] |
//! | the request itself | [`Echo`] |
//! | a call of gRPC | [`GrpcExchange`] |
//! | another server | [`Proxy`] |
//!
//! Rule: an exchange never writes; it says what its connection is to write, and is polled again when there is room.

mod echo;
mod events;
mod file;
mod following;
pub(super) mod grpc;
mod kafka;
mod proxy;

use std::rc::Rc;
use std::task::Context;

use bytes::Bytes;

use super::service::Service;
use crate::clock::Instant;
use crate::error::RequestError;
use crate::http::{Headers, RequestHead, ResponseHead};
use crate::mapping::Resolved;
use crate::mapping::http_kafka::fetch::Answer;
use crate::runtime::notify::Notify;
use echo::Echo;
use events::Events;
use file::FileExchange;
use grpc::GrpcExchange;
use kafka::KafkaExchange;
use proxy::Proxy;

/// What earlier requests of a connection are still at. Reads wait for writes and writes for reads, so that a pipeline means what it would mean request by request;
/// reads do not wait for reads, nor writes for writes. Requests with a reply wait for all writes, and all wait for them: the shards that store them keep no order.
#[derive(Clone, Copy, Default)]
pub(super) struct Before {
    writes: bool,
    reads: bool,
    correlated: bool,
}

/// What an exchange wants its connection to do.
pub(super) enum Step {
    /// Nothing now.
    Pending,
    /// Answer; the exchange is over.
    Respond(Box<Answer>),
    /// Answer with an error; the exchange is over.
    Fail(RequestError),
    /// Begin an answer whose body comes in pieces.
    Begin {
        /// Its head.
        head: ResponseHead,
        /// Bytes of the body, if they are known: all of them follow, or the answer is cut.
        length: Option<u64>,
    },
    /// A piece.
    Data(Bytes),
    /// The last piece; the exchange is over.
    Finish(Bytes),
    /// The end of an answer in pieces, with fields behind it (RFC 9110 6.5), left out where the version or the client has no place for them; the exchange is over.
    Trailers(Headers),
    /// Cut the answer short, visibly; the exchange is over.
    Abort,
}

/// What a connection gives an exchange to go on with.
pub(super) struct Turn<'t, 'c> {
    /// Whom to wake.
    pub(super) context: &'t mut Context<'c>,
    /// The core.
    pub(super) service: &'t Rc<Service>,
    /// Wakes the connection, or the stream, too.
    pub(super) notify: &'t Rc<Notify>,
    /// What earlier requests of the connection are still at.
    pub(super) before: Before,
    /// Bytes of answer that may be given now.
    pub(super) room: usize,
    /// When.
    pub(super) now: Instant,
}

/// One request and what has become of it.
#[expect(
    clippy::large_enum_variant,
    reason = "the large one is the frequent one"
)]
pub(super) enum Exchange {
    /// Kafka answers.
    Kafka(KafkaExchange),
    /// A topic's events do.
    Events(Box<Events>),
    /// A file does.
    File(Box<FileExchange>),
    /// The request itself does.
    Echo(Box<Echo>),
    /// A call does, as its callee says.
    Grpc(Box<GrpcExchange>),
    /// Another server does.
    Proxy(Box<Proxy>),
}

impl Exchange {
    /// An exchange whose body is still to come.
    pub(super) fn new(resolved: Resolved, now: Instant) -> Self {
        match resolved {
            Resolved::Kafka(resolved) => Self::Kafka(KafkaExchange::new(resolved, now)),
            Resolved::Events(request) => Self::Events(Box::new(Events::new(*request, now))),
            Resolved::File(request) => Self::File(Box::new(FileExchange::new(*request))),
            Resolved::Echo(head) => Self::Echo(Box::new(Echo::new(&head))),
            Resolved::Grpc(call) => Self::Grpc(Box::new(GrpcExchange::new(*call, now))),
            Resolved::Proxy(request) => Self::Proxy(Box::new(Proxy::new(*request))),
        }
    }

    /// Keeps the head until the body is here, if it is needed then.
    pub(super) fn keep_head(&mut self, request: RequestHead) {
        if let Self::Kafka(exchange) = self {
            exchange.keep_head(request);
        }
    }

    /// Whether it has more of its answer to give as soon as there is room.
    pub(super) fn is_streaming(&self) -> bool {
        match self {
            Self::Kafka(exchange) => exchange.is_streaming(),
            Self::Events(events) => events.may_have_more(),
            Self::File(file) => file.may_have_more(),
            Self::Echo(_) => false,
            Self::Grpc(call) => call.may_have_more(),
            Self::Proxy(proxy) => proxy.may_have_more(),
        }
    }

    /// Whether it takes the body piece by piece while it answers. Others get it whole.
    pub(super) const fn is_duplex(&self) -> bool {
        matches!(self, Self::Grpc(_) | Self::Proxy(_))
    }

    /// Whether its messages have a bound of their own, in place of the body's.
    pub(super) const fn is_call(&self) -> bool {
        matches!(self, Self::Grpc(_))
    }

    /// Whether more of the body is to be read now.
    pub(super) fn wants_data(&self) -> bool {
        match self {
            Self::Grpc(call) => call.wants_data(),
            Self::Proxy(proxy) => proxy.wants_data(),
            Self::Kafka(_) | Self::Events(_) | Self::File(_) | Self::Echo(_) => true,
        }
    }

    /// The body that it takes piece by piece is over.
    pub(super) fn handle_end(&mut self) {
        match self {
            Self::Grpc(call) => call.handle_end(),
            Self::Proxy(proxy) => proxy.handle_end(),
            Self::Kafka(_) | Self::Events(_) | Self::File(_) | Self::Echo(_) => {}
        }
    }

    /// Ends with a status of its own, now that what let it in has ended; false if it has no such thing.
    pub(super) fn expire(&mut self, error: &RequestError) -> bool {
        match self {
            Self::Grpc(call) => {
                call.expire(error);
                true
            }
            Self::Kafka(_) | Self::Events(_) | Self::File(_) | Self::Echo(_) | Self::Proxy(_) => {
                false
            }
        }
    }

    /// Whether it waits for something that may never come, for the client's sake alone.
    pub(super) fn is_waiting(&self) -> bool {
        match self {
            Self::Kafka(exchange) => exchange.is_waiting(),
            Self::Events(_) => true,
            Self::Grpc(call) => call.is_waiting(),
            Self::Proxy(proxy) => proxy.is_endless(),
            Self::File(_) | Self::Echo(_) => false,
        }
    }

    /// Adds itself to what later requests of the connection may have to wait for.
    pub(super) fn add_to(&self, before: &mut Before) {
        if let Self::Kafka(exchange) = self {
            exchange.add_to(before);
        }
    }

    /// Takes a piece of the body; false when the core has no room for it.
    pub(super) fn handle_data(&mut self, bytes: &Bytes, service: &Rc<Service>) -> bool {
        match self {
            Self::Kafka(exchange) => exchange.handle_data(bytes, service),
            Self::Echo(echo) => echo.handle_data(bytes, service),
            Self::Grpc(call) => {
                call.handle_data(bytes, service);
                true
            }
            Self::Proxy(proxy) => {
                proxy.handle_data(bytes);
                true
            }
            // The body of a read means nothing.
            Self::Events(_) | Self::File(_) => true,
        }
    }

    /// The body that came in pieces is whole: gives it, with the head if what to do was not known before.
    pub(super) fn take_body(&mut self) -> Option<(Bytes, Option<Box<RequestHead>>)> {
        match self {
            Self::Kafka(exchange) => exchange.take_body(),
            Self::Echo(echo) => Some((echo.take_body(), None)),
            Self::Events(_) | Self::File(_) => Some((Bytes::new(), None)),
            Self::Grpc(_) | Self::Proxy(_) => None,
        }
    }

    /// What to do is known now.
    pub(super) fn set_resolved(&mut self, resolved: Resolved) {
        if let (Self::Kafka(exchange), Resolved::Kafka(resolved)) = (self, resolved) {
            exchange.set_resolved(resolved);
        }
    }

    /// The whole body is here: what was asked for can begin.
    pub(super) fn handle_body(&mut self, body: Bytes, service: &Rc<Service>, now: Instant) {
        match self {
            Self::Kafka(exchange) => exchange.handle_body(body, service, now),
            Self::Echo(echo) => echo.handle_body(body),
            Self::Events(_) | Self::File(_) => {}
            Self::Grpc(_) | Self::Proxy(_) => {
                if !body.is_empty() {
                    // One piece of what an HTTP/1.1 client sent with its head: there is room, or the next one is refused.
                    let _ = self.handle_data(&body, service);
                }
                self.handle_end();
            }
        }
    }

    /// The gateway is ending: nobody is kept waiting for what may never come, and for replies until `until` at most.
    pub(super) fn handle_drain(&mut self, now: Instant, until: Instant) {
        match self {
            Self::Kafka(exchange) => exchange.handle_drain(now, until),
            Self::Events(events) => events.handle_drain(),
            Self::Grpc(call) => call.handle_drain(until),
            Self::File(_) | Self::Echo(_) | Self::Proxy(_) => {}
        }
    }

    /// Whether it can ask the client for new credentials.
    pub(super) const fn can_challenge(&self) -> bool {
        matches!(self, Self::Events(_))
    }

    /// Asks the client for new credentials.
    pub(super) fn challenge(&mut self) {
        if let Self::Events(events) = self {
            events.challenge();
        }
    }

    /// When to poll without being woken.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        match self {
            Self::Kafka(exchange) => exchange.poll_timeout(),
            Self::Events(events) => Some(events.poll_timeout()),
            Self::Grpc(call) => call.poll_timeout(),
            Self::Proxy(proxy) => proxy.poll_timeout(),
            Self::File(_) | Self::Echo(_) => None,
        }
    }

    /// Goes as far as it can.
    pub(super) fn poll(&mut self, mut turn: Turn<'_, '_>) -> Step {
        match self {
            Self::Kafka(exchange) => exchange.poll(turn),
            Self::Events(events) => events.poll(&mut turn),
            Self::File(file) => file.poll(turn.context, turn.room),
            Self::Echo(echo) => echo.poll(),
            Self::Grpc(call) => call.poll(turn),
            Self::Proxy(proxy) => proxy.poll(&mut turn),
        }
    }
}
