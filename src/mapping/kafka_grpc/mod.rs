//! kafka-grpc: what a record of a request topic asks for ([`RequestRecord`]), which route takes it, and the records that answer it ([`ReplyRecords`]).
//!
//! Rule: a record belongs to the call whose correlation id it carries, whatever came before it.

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::grpc::Metadata;
use super::grpc_kafka::produce::{
    CALLER_HEADER, METADATA_PREFIX, STATUS_HEADER, meta_headers, push_status,
};
use super::grpc_kafka::reply::{ATTEMPT_HEADER, TRAILER_PREFIX};
use crate::clock::UnixMillis;
use crate::config::{GrpcCorrelation, HttpClient, KafkaGrpc, KafkaGrpcRoute, KafkaGrpcWhen};
use crate::grpc::metadata::may_send;
use crate::grpc::status::{Code, Status};
use crate::grpc::timeout::parse_timeout;
use crate::kafka::correlation::UNSERVED_HEADER;
use crate::kafka::producer::Record;
use crate::kafka::record_batch::RecordRef;

/// Metadata that says how long a call may take.
const TIMEOUT_METADATA: &[u8] = b"grpc-timeout";
/// The hash at the end of a correlation id, and the `-` before it.
const HASH_LEN: usize = 33;

/// What a record asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestRecord {
    /// Ties the reply to it.
    pub id: Bytes,
    /// Where the reply goes.
    pub reply_to: String,
    /// How long its call may take from when the record was made.
    pub timeout: Option<Duration>,
    /// When it was made.
    pub timestamp: UnixMillis,
    /// Which of those who may have asked for the call it is of; `None`: there is one.
    pub caller: Option<Bytes>,
    /// What it adds to its call.
    pub body: RequestBody,
    /// What its call is, where it is the first one of it.
    pub call: RequestCall,
}

/// What a request record adds to a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestBody {
    /// A message.
    Message(Bytes),
    /// There are no more messages.
    HalfClose,
    /// Nobody waits for the answer any more.
    Cancelled,
}

/// What a call is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestCall {
    /// Which route takes it: an index into [`KafkaGrpc::routes`].
    pub route: usize,
    /// `package.Service`.
    pub service: String,
    /// The method.
    pub method: String,
    /// Its metadata.
    pub metadata: Metadata,
}

/// A record that cannot be a request, though it names a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// The correlation id.
    pub id: Bytes,
    /// Where the answer goes that says so.
    pub reply_to: String,
}

/// What a record of a request topic is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// A request that a route takes.
    Request(Box<RequestRecord>),
    /// A request that lacks what it takes to be called.
    Unreadable(Unreadable),
    /// Nothing for this binding.
    Other,
}

impl Asked {
    /// Bytes of the message, if there is one.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Request(request) => match &request.body {
                RequestBody::Message(message) => message.len(),
                RequestBody::HalfClose | RequestBody::Cancelled => 0,
            },
            Self::Unreadable(_) | Self::Other => 0,
        }
    }
}

/// Reads a record of `topic`.
pub fn read(server: &KafkaGrpc, topic: &str, record: &RecordRef<'_>) -> Asked {
    let names = &server.correlation;
    let mut found = Found::default();
    let mut metadata = Metadata::new();
    let copy = Bytes::copy_from_slice;
    for (name, value) in record.headers() {
        let value = value.unwrap_or_default();
        if let Some(name) = name.strip_prefix(METADATA_PREFIX) {
            if name == TIMEOUT_METADATA {
                found.timeout = parse_timeout(value);
            } else if may_send(name, value) {
                metadata.push((copy(name), copy(value)));
            }
        } else {
            found.take(names, name, value);
        }
    }
    let (Some(id), Some(reply_to)) = (found.id, found.reply_to) else {
        return Asked::Other;
    };
    let id = copy(id);
    let (Some(service), Some(method)) = (found.service, found.method) else {
        let is_ours = conditions(server).any(|(_, when)| {
            when.topic == topic && when.reply_to == reply_to && matches_rest(when, record)
        });
        return if is_ours {
            Asked::Unreadable(Unreadable { id, reply_to })
        } else {
            Asked::Other
        };
    };
    let route = conditions(server).find(|(_, when)| {
        when.topic == topic
            && when.reply_to == reply_to
            && when
                .service
                .as_ref()
                .is_none_or(|wanted| *wanted == service)
            && when.method.as_ref().is_none_or(|wanted| *wanted == method)
            && matches_rest(when, record)
    });
    let Some((route, _)) = route else {
        return Asked::Other;
    };
    let idempotency = server.idempotency_metadata.as_bytes();
    if !metadata.iter().any(|(name, _)| name == idempotency) {
        // The service tells repeats by it, whoever made it up.
        metadata.push((copy(idempotency), key_of(&id)));
    }
    let body = match record.value {
        Some(message) => RequestBody::Message(copy(message)),
        None if found.is_cancelled => RequestBody::Cancelled,
        None => RequestBody::HalfClose,
    };
    Asked::Request(Box::new(RequestRecord {
        id,
        reply_to,
        timeout: found.timeout,
        timestamp: record.timestamp,
        caller: found.caller.map(copy),
        body,
        call: RequestCall {
            route,
            service,
            method,
            metadata,
        },
    }))
}

/// What is found in the headers of a record.
#[derive(Default)]
struct Found<'r> {
    id: Option<&'r [u8]>,
    reply_to: Option<String>,
    service: Option<String>,
    method: Option<String>,
    timeout: Option<Duration>,
    caller: Option<&'r [u8]>,
    is_cancelled: bool,
}

impl<'r> Found<'r> {
    fn take(&mut self, names: &GrpcCorrelation, name: &[u8], value: &'r [u8]) {
        let text = || std::str::from_utf8(value).ok().map(str::to_owned);
        if name == names.correlation_id.as_bytes() {
            self.id = Some(value);
        } else if name == names.reply_to.as_bytes() {
            self.reply_to = text();
        } else if name == names.service.as_bytes() {
            self.service = text();
        } else if name == names.method.as_bytes() {
            self.method = text();
        } else if name == CALLER_HEADER {
            self.caller = Some(value);
        } else if name == STATUS_HEADER {
            self.is_cancelled = Code::from_wire(value) != Code::OK;
        }
    }
}

fn conditions(server: &KafkaGrpc) -> impl Iterator<Item = (usize, &KafkaGrpcWhen)> {
    let routes = server.routes.iter().enumerate();
    routes.flat_map(|(index, route)| route.when.iter().map(move |when| (index, when)))
}

fn matches_rest(when: &KafkaGrpcWhen, record: &RecordRef<'_>) -> bool {
    let has = |name: &str, value: &[u8]| {
        let mut headers = record.headers();
        headers.any(|(found, its)| found == name.as_bytes() && its == Some(value))
    };
    let key = when.key.as_deref();
    key.is_none_or(|key| record.key == Some(key))
        && when.headers.iter().all(|(name, value)| has(name, value))
}

/// The idempotency key that a correlation id was made of: what stands before the hash.
fn key_of(id: &Bytes) -> Bytes {
    let at = id.len().saturating_sub(HASH_LEN);
    let is_hashed = id.get(at) == Some(&b'-') && id[at + 1..].iter().all(u8::is_ascii_hexdigit);
    if is_hashed && at > 0 {
        id.slice(..at)
    } else {
        id.clone()
    }
}

/// The http client that a call goes to; `None`: no route of the grpc client takes it.
pub fn client_of<'r>(route: &'r KafkaGrpcRoute, call: &RequestCall) -> Option<&'r Arc<HttpClient>> {
    let path = format!("{}/{}", call.service, call.method);
    let find = |name: &str| {
        let mut found = call.metadata.iter();
        let found = found.find(|(other, _)| other == name.as_bytes());
        found.map(|(_, value)| &value[..])
    };
    // Nobody is known here, so a guarded route lets nobody pass.
    let mut routes = route.exit.routes.iter();
    let taken = routes.find(|route| {
        let is_met =
            route.when.is_empty() || route.when.iter().any(|when| when.matches(&path, find));
        route.guarded.is_empty() && is_met
    });
    taken.map(|route| &route.exit)
}

/// Makes the records of one run of a call.
#[derive(Clone, Debug)]
pub struct ReplyRecords {
    id: Bytes,
    headers: Vec<(Bytes, Option<Bytes>)>,
    /// What the first record carries, until it is made.
    metadata: Option<Metadata>,
}

impl ReplyRecords {
    /// Records of a run that is told apart by `attempt`.
    pub fn new(correlation: &GrpcCorrelation, id: &Bytes, attempt: Bytes) -> Self {
        let name = Bytes::copy_from_slice(correlation.correlation_id.as_bytes());
        Self {
            id: id.clone(),
            headers: vec![
                (name, Some(id.clone())),
                (Bytes::from_static(ATTEMPT_HEADER), Some(attempt)),
            ],
            metadata: None,
        }
    }

    /// The metadata of the answer: the next record carries it.
    pub fn begin(&mut self, metadata: Metadata) {
        self.metadata = Some(metadata);
    }

    /// The record of a message.
    pub fn message(&mut self, message: Bytes) -> Record {
        self.record(Some(message))
    }

    /// The record that closes the call. `is_served`: the service has said how it ended; else a repeat of the call will be run again.
    pub fn end(&mut self, status: &Status, trailers: &Metadata, is_served: bool) -> Record {
        let mut record = self.record(None);
        push_status(&mut record.headers, status);
        record
            .headers
            .extend(meta_headers(TRAILER_PREFIX, trailers));
        if !is_served {
            let name = Bytes::from_static(UNSERVED_HEADER);
            record.headers.push((name, Some(Bytes::from_static(b"1"))));
        }
        record
    }

    fn record(&mut self, value: Option<Bytes>) -> Record {
        let mut headers = self.headers.clone();
        if let Some(metadata) = self.metadata.take() {
            headers.extend(meta_headers(METADATA_PREFIX, &metadata));
        }
        Record {
            key: Some(self.id.clone()),
            value,
            headers,
        }
    }
}
