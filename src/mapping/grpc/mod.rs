//! grpc servers: a request becomes a call ([`CallRequest`]) of a method that its catalog has, and a route says who answers it.
//!
//! Rule: whoever speaks gRPC is answered in gRPC: what is wrong with a call is a status, not an HTTP error, wherever the protocol has one for it.

#[cfg(test)]
pub(super) mod tests;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::access::{Access, select};
use super::grpc_kafka::{self, FetchCall, ProduceCall};
use super::http_kafka::Ids;
use super::request::Request;
use crate::config::{GrpcClientRoute, GrpcExit, GrpcServer, GrpcWhen, HttpClient};
use crate::error::RequestError;
use crate::grpc::encoding::{Encoding, accepts_gzip};
use crate::grpc::metadata::is_metadata;
use crate::grpc::proto::{MethodKind, Services};
use crate::grpc::status::{Code, Status};
use crate::grpc::timeout::parse_timeout;
use crate::grpc::web::ContentType;
use crate::http::Version;

/// What the health service is called (gRPC health checking protocol).
pub const HEALTH_SERVICE: &str = "grpc.health.v1.Health";
/// What the reflection services are called (gRPC server reflection protocol); older clients know the second alone.
pub const REFLECTION_SERVICES: [&str; 2] = [
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
];

/// Names and values of metadata, in order.
pub type Metadata = Vec<(Bytes, Bytes)>;

/// A call.
#[derive(Debug)]
pub struct CallRequest {
    /// Which mapping route, by its number in the plan, if it is one that is counted.
    pub route: Option<usize>,
    /// How its bytes are written, both ways.
    pub content_type: ContentType,
    /// How its messages are compressed.
    pub encoding: Encoding,
    /// Whether the client takes compressed messages.
    pub accepts_gzip: bool,
    /// The largest message that is taken, inflated.
    pub message_bytes_max: usize,
    /// How many messages go which way.
    pub kind: MethodKind,
    /// How long it may take (`grpc-timeout`); `None`: the client waits for ever.
    pub timeout: Option<Duration>,
    /// Who answers.
    pub target: Target,
}

/// Who answers a call.
#[derive(Debug)]
pub enum Target {
    /// Kafka: its messages become records.
    Produce(Box<ProduceCall>),
    /// Kafka: records become its messages.
    Fetch(Box<FetchCall>),
    /// Another server.
    Remote(Box<RemoteCall>),
    /// The call itself.
    Echo,
    /// Whether the gateway serves.
    Health {
        /// Answers once, and then whenever that changes (`Watch`).
        is_watch: bool,
        /// What there is to ask about.
        services: Arc<Services>,
    },
    /// What the gateway serves.
    Reflection(Arc<Services>),
    /// Nobody.
    Refused(Status),
}

/// A call of another server.
#[derive(Debug)]
pub struct RemoteCall {
    /// Where it goes.
    pub client: Arc<HttpClient>,
    /// `package.Service`.
    pub service: String,
    /// The method.
    pub method: String,
    /// What the client called us.
    pub authority: Bytes,
    /// Its metadata.
    pub metadata: Metadata,
}

/// What is asked of a route.
pub(super) struct Asked<'r> {
    pub(super) request: Request<'r>,
    pub(super) service: &'r str,
    pub(super) method: &'r str,
    pub(super) metadata: &'r Metadata,
}

impl Asked<'_> {
    /// Whether one of the conditions holds; none is always.
    pub(super) fn meets(&self, when: &[GrpcWhen]) -> bool {
        let path = format!("{}/{}", self.service, self.method);
        let find = |name: &str| {
            let mut found = self.metadata.iter();
            let found = found.find(|(other, _)| other == name.as_bytes());
            found.map(|(_, value)| &value[..])
        };
        when.is_empty() || when.iter().any(|when| when.matches(&path, find))
    }
}

/// Finds the method and the routes of a request to a `grpc` server.
///
/// # Errors
///
/// What is no call at all is answered as HTTP, as Zilla does: [`RequestError::NotPost`], [`RequestError::NotGrpc`]; and what `access` says.
pub(super) fn resolve(
    server: &GrpcServer,
    request: Request<'_>,
    ids: Ids<'_>,
    access: &dyn Access,
) -> Result<CallRequest, RequestError> {
    if request.method() != "POST" {
        return Err(RequestError::NotPost);
    }
    let content_type = request.header("content-type");
    let content_type = content_type
        .and_then(ContentType::parse)
        // HTTP/1.1 has no place for the status of a call but gRPC-Web's.
        .filter(|parsed| *parsed != ContentType::Native || request.head.version == Version::Http2)
        .ok_or(RequestError::NotGrpc)?;
    let encoding = request.header("grpc-encoding");
    let mut call = CallRequest {
        route: None,
        content_type,
        encoding: Encoding::Identity,
        accepts_gzip: request
            .header("grpc-accept-encoding")
            .is_some_and(accepts_gzip),
        message_bytes_max: server.message_bytes_max,
        kind: MethodKind::Unary,
        timeout: None,
        target: Target::Echo,
    };
    let Some(encoding) = encoding.map_or(Some(Encoding::Identity), Encoding::from_name) else {
        call.target = unimplemented("messages can be compressed with gzip, or not at all");
        return Ok(call);
    };
    call.encoding = encoding;
    if let Some(timeout) = request.header("grpc-timeout") {
        call.timeout = parse_timeout(timeout);
        if call.timeout.is_none() {
            let status = Status::new(Code::INTERNAL, "the grpc-timeout is none");
            call.target = Target::Refused(status);
            return Ok(call);
        }
    }
    choose(server, request, ids, access, &mut call)?;
    Ok(call)
}

fn unimplemented(message: &str) -> Target {
    Target::Refused(Status::new(Code::UNIMPLEMENTED, message))
}

fn choose(
    server: &GrpcServer,
    request: Request<'_>,
    ids: Ids<'_>,
    access: &dyn Access,
    call: &mut CallRequest,
) -> Result<(), RequestError> {
    let path = std::str::from_utf8(request.path()).unwrap_or_default();
    let named = path
        .strip_prefix('/')
        .and_then(|path| path.rsplit_once('/'));
    let Some((service, method)) = named else {
        call.target = unimplemented("the path is not /package.Service/Method");
        return Ok(());
    };
    let services = &server.services;
    let Some(known) = services.method(service, method) else {
        let own = own_service(server, service, method);
        call.kind = own.as_ref().map_or(MethodKind::Unary, |(kind, _)| *kind);
        call.target = own.map_or_else(
            || {
                unimplemented(&if services.has_service(service) {
                    format!("the service {service} has no method {method}")
                } else {
                    format!("there is no service {service} here")
                })
            },
            |(_, target)| target,
        );
        return Ok(());
    };
    call.kind = known.kind;
    let metadata = metadata(request);
    let asked = Asked {
        request,
        service,
        method,
        metadata: &metadata,
    };
    let selected = select(&server.routes, request, access, |route| {
        asked.meets(&route.when).then_some(())
    });
    let route = match selected {
        Ok((route, ())) => route,
        Err(RequestError::NoRoute) => {
            call.target = unimplemented("no route takes this method");
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    match &route.exit {
        GrpcExit::Echo(_) => call.target = Target::Echo,
        GrpcExit::Kafka(binding) => grpc_kafka::resolve(binding, &asked, ids, access, call)?,
        GrpcExit::Client(client) => {
            let selected = select(
                &client.routes,
                request,
                access,
                |route: &GrpcClientRoute| asked.meets(&route.when).then_some(()),
            );
            call.target = match selected {
                Ok((route, ())) => Target::Remote(Box::new(RemoteCall {
                    client: Arc::clone(&route.exit),
                    service: service.to_owned(),
                    method: method.to_owned(),
                    authority: Bytes::copy_from_slice(request.head.authority()),
                    metadata,
                })),
                Err(RequestError::NoRoute) => {
                    unimplemented("no route of the client takes this method")
                }
                Err(error) => return Err(error),
            };
        }
    }
    Ok(())
}

/// The services that every server has, unless its options or its catalog say otherwise.
fn own_service(server: &GrpcServer, service: &str, method: &str) -> Option<(MethodKind, Target)> {
    let services = Arc::clone(&server.services);
    match (service, method) {
        (HEALTH_SERVICE, "Check") if server.health => {
            let is_watch = false;
            Some((MethodKind::Unary, Target::Health { is_watch, services }))
        }
        (HEALTH_SERVICE, "Watch") if server.health => {
            let is_watch = true;
            Some((
                MethodKind::ServerStreaming,
                Target::Health { is_watch, services },
            ))
        }
        (service, "ServerReflectionInfo")
            if server.reflection && REFLECTION_SERVICES.contains(&service) =>
        {
            Some((MethodKind::Bidi, Target::Reflection(services)))
        }
        _ => None,
    }
}

/// The metadata of a call, in the order of the wire; what http bindings override comes as they say.
fn metadata(request: Request<'_>) -> Metadata {
    let mut metadata: Vec<(&[u8], &[u8])> = request.head.headers().iter().collect();
    for (name, value) in request.overrides.into_iter().flatten() {
        let (name, value) = (name.as_bytes(), value.as_bytes());
        match metadata.iter_mut().find(|(known, _)| *known == name) {
            Some((_, known)) => *known = value,
            None => metadata.push((name, value)),
        }
    }
    let copy = Bytes::copy_from_slice;
    metadata
        .into_iter()
        .filter(|(name, _)| is_metadata(name))
        .map(|(name, value)| (copy(name), copy(value)))
        .collect()
}
