//! What a request means in Kafka, and what a record means in HTTP. Sans-IO: neither sockets nor clocks nor executors.
//!
//! ```text
//!  http server ─ first route that matches and lets pass ─┬─ http-kafka ─▶ [`http_kafka::Resolved`]
//!                                                        ├─ sse, sse-kafka ─▶ [`sse_kafka::EventsRequest`]
//!                                                        ├─ http-filesystem ─▶ [`files::FileRequest`]
//!                                                        ├─ grpc, grpc-kafka ─▶ [`grpc::CallRequest`]
//!                                                        ├─ http client ─▶ [`proxy::ProxyRequest`]
//!                                                        └─ echo
//! ```

pub mod access;
pub mod files;
pub mod grpc;
pub mod grpc_kafka;
pub mod http_kafka;
pub mod kafka_grpc;
pub mod prefer;
pub mod progress;
pub mod proxy;
mod request;
pub mod sse_kafka;

use bytes::Bytes;

use crate::config::{HttpExit, HttpServer};
use crate::error::RequestError;
use crate::http::RequestHead;
use crate::route::HeaderPattern;
use access::{Access, select};
use http_kafka::Ids;
use request::{Request, authority_with_port, path_and_query};

/// What a request asks for.
#[derive(Debug)]
pub enum Resolved {
    /// To be stored in Kafka, or answered from it.
    Kafka(http_kafka::Resolved),
    /// The events of a topic.
    Events(Box<sse_kafka::EventsRequest>),
    /// A file.
    File(Box<files::FileRequest>),
    /// Itself.
    Echo(RequestHead),
    /// A call of gRPC.
    Grpc(Box<grpc::CallRequest>),
    /// What another server answers.
    Proxy(Box<proxy::ProxyRequest>),
}

impl Resolved {
    /// The route that it takes, by its number in the plan, if it is one that is counted.
    pub fn route(&self) -> Option<usize> {
        match self {
            Self::Kafka(resolved) => Some(resolved.route),
            Self::Events(request) => Some(request.route),
            Self::Grpc(call) => call.route,
            Self::File(_) | Self::Echo(_) | Self::Proxy(_) => None,
        }
    }
}

/// Finds the routes of a request, binding by binding, and fills in their expressions. Without `body`, which is the whole one, a route that makes its record from it
/// comes out as [`http_kafka::Action::NeedsBody`].
///
/// # Errors
///
/// [`RequestError::NoRoute`], what `access` says where routes match and none lets the request pass, and what http-kafka and sse-kafka refuse.
pub fn resolve(
    server: &HttpServer,
    head: &RequestHead,
    body: Option<&Bytes>,
    ids: Ids<'_>,
    access: &dyn Access,
) -> Result<Resolved, RequestError> {
    let as_sent = Request {
        head,
        overrides: [&server.overrides, &[]],
    };
    // The first http route that matches decides; a mapping without a route for the request is 404, as in Zilla.
    let (route, ()) = select(&server.routes, as_sent, access, |route| {
        let matches = |when: &Vec<(String, HeaderPattern)>| {
            when.iter()
                .all(|(name, pattern)| matches_header(head, name, pattern))
        };
        (route.when.is_empty() || route.when.iter().any(matches)).then_some(())
    })?;
    let request = Request {
        head,
        overrides: [&server.overrides, &route.overrides],
    };
    Ok(match &route.exit {
        HttpExit::Kafka(binding) => {
            Resolved::Kafka(http_kafka::resolve(binding, request, body, ids, access)?)
        }
        HttpExit::Sse(server) => {
            Resolved::Events(Box::new(sse_kafka::resolve(server, request, access)?))
        }
        HttpExit::Filesystem(binding) => {
            Resolved::File(Box::new(files::resolve(binding, request, access)?))
        }
        HttpExit::Echo(_) => Resolved::Echo(head.clone()),
        HttpExit::Grpc(server) => {
            Resolved::Grpc(Box::new(grpc::resolve(server, request, ids, access)?))
        }
        HttpExit::Client(client) => {
            Resolved::Proxy(Box::new(proxy::ProxyRequest::of(client, request)))
        }
    })
}

fn matches_header(head: &RequestHead, name: &str, pattern: &HeaderPattern) -> bool {
    match name {
        ":scheme" => pattern.matches(head.scheme.as_str().as_bytes()),
        ":method" => pattern.matches(head.method.as_str().as_bytes()),
        ":path" => pattern.matches(path_and_query(head)),
        ":authority" => !head.authority().is_empty() && pattern.matches(&authority_with_port(head)),
        name => head
            .headers()
            .get_last(name)
            .is_some_and(|value| pattern.matches(value)),
    }
}
