//! http-kafka: a request becomes a record ([`Action::Produce`]), or is answered from records ([`fetch`]).
//!
//! [`resolve`] finds the route and fills in its expressions; what it returns owns everything it needs, so that the request's head can go.

pub mod fetch;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::cell::OnceCell;
use std::time::Duration;

use bytes::Bytes;

use crate::config::{Acks, Filter, HttpKafkaRoute, HttpServer, When, With};
use crate::error::RequestError;
use crate::http::RequestHead;
use crate::kafka::producer::Record;
use crate::route::{
    BodyPointer, HeaderPattern, MethodPattern, Params, Scope, Template, check_topic,
    find_parameter, split_query,
};

/// What a request asks for.
#[derive(Debug)]
pub struct Resolved {
    /// Which cluster of the plan.
    pub cluster: usize,
    /// The topic, a legal name.
    pub topic: String,
    /// How long it may take in all.
    pub timeout: Duration,
    /// What to do.
    pub action: Action,
}

/// What to do with the topic.
#[derive(Debug)]
pub enum Action {
    /// Store a record.
    Produce {
        /// When it counts as stored.
        acks: Acks,
        /// The record without its value.
        record: Record,
        /// Its value is null whatever the body (DELETE).
        tombstone: bool,
    },
    /// Answer with records.
    Fetch(fetch::FetchRequest),
}

/// Finds the route of a request and fills in its expressions. `fresh_key` makes an idempotency key for a request that brings none.
///
/// # Errors
///
/// [`RequestError::NoRoute`], [`RequestError::Missing`], [`RequestError::TopicName`].
pub fn resolve(
    server: &HttpServer,
    head: &RequestHead,
    fresh_key: &dyn Fn() -> String,
) -> Result<Resolved, RequestError> {
    for http_route in &server.routes {
        if !http_route.when.is_empty()
            && !http_route.when.iter().any(|when| {
                when.iter()
                    .all(|(name, pattern)| matches_header(head, name, pattern))
            })
        {
            continue;
        }
        // The first http route that matches decides; a mapping without a route for the request is 404, as in Zilla.
        let binding = &http_route.exit;
        let request = Request {
            head,
            overrides: [&server.overrides, &http_route.overrides],
        };
        let (route, params) = find_route(&binding.routes, request).ok_or(RequestError::NoRoute)?;
        let scope = RequestScope {
            request,
            params,
            idempotency_header: &binding.idempotency_header,
            fresh_key,
            key: OnceCell::new(),
        };
        return fill_in(route, &scope, binding.timeout);
    }
    Err(RequestError::NoRoute)
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

/// `:path`: of an absolute-form target, what follows the authority.
fn path_and_query(head: &RequestHead) -> &[u8] {
    let length = head.path().len() + head.query().map_or(0, |query| 1 + query.len());
    let target = head.target();
    &target[target.len().saturating_sub(length)..]
}

/// `:authority` as Zilla matches it: with the scheme's default port when it names none.
fn authority_with_port(head: &RequestHead) -> Cow<'_, [u8]> {
    let authority = head.authority();
    let after_address = authority
        .iter()
        .rposition(|byte| *byte == b']')
        .map_or(0, |at| at + 1);
    if authority[after_address..].contains(&b':') {
        return Cow::Borrowed(authority);
    }
    let port: &[u8] = if head.scheme.as_str() == "https" {
        b":443"
    } else {
        b":80"
    };
    Cow::Owned([authority, port].concat())
}

fn find_route<'p>(
    routes: &'p [HttpKafkaRoute],
    request: Request<'p>,
) -> Option<(&'p HttpKafkaRoute, Params<'p>)> {
    routes.iter().find_map(|route| {
        if route.when.is_empty() {
            return Some((route, Params::NONE));
        }
        let may_be_head = matches!(route.with, With::Fetch { .. });
        route
            .when
            .iter()
            .find_map(|when| matches_when(when, request, may_be_head))
            .map(|params| (route, params))
    })
}

fn matches_when<'p>(when: &'p When, request: Request<'p>, may_be_head: bool) -> Option<Params<'p>> {
    // Whoever may GET may HEAD (RFC 9110 9.3.2).
    let is_method = |method: &MethodPattern| {
        method.matches(request.method())
            || (may_be_head && request.method() == "HEAD" && method.matches("GET"))
    };
    if !when.method.as_ref().is_none_or(is_method) {
        return None;
    }
    match &when.path {
        Some(path) => path.matches(request.path()),
        None => Some(Params::NONE),
    }
}

fn fill_in(
    route: &HttpKafkaRoute,
    scope: &RequestScope<'_>,
    timeout: Duration,
) -> Result<Resolved, RequestError> {
    let render = |template: &Template| template.render(scope).map_err(RequestError::Missing);
    let topic_template = route.with.topic();
    let topic = match topic_template.as_literal() {
        Some(literal) => literal.to_owned(),
        None => checked_topic(&render(topic_template)?)?,
    };
    let action = match &route.with {
        With::Produce {
            acks,
            key,
            overrides,
            ..
        } => {
            let key = key.as_ref().map(render).transpose()?.map(Bytes::from);
            let mut headers = Vec::new();
            if let Some(content_type) = scope.request.header("content-type") {
                headers.push((
                    Bytes::from_static(b"content-type"),
                    Some(Bytes::copy_from_slice(content_type)),
                ));
            }
            for (name, value) in overrides {
                headers.push((
                    Bytes::copy_from_slice(name.as_bytes()),
                    Some(Bytes::from(render(value)?)),
                ));
            }
            Action::Produce {
                acks: *acks,
                record: Record {
                    key,
                    value: None,
                    headers,
                },
                tombstone: scope.request.method() == "DELETE",
            }
        }
        With::Fetch { filters, merge, .. } => {
            let filters = filters
                .iter()
                .map(|filter| fill_in_filter(filter, &render))
                .collect::<Result<_, _>>()?;
            Action::Fetch(fetch::FetchRequest::new(
                filters,
                *merge,
                scope.request.head,
            ))
        }
    };
    Ok(Resolved {
        cluster: route.cluster,
        topic,
        timeout,
        action,
    })
}

fn fill_in_filter(
    filter: &Filter,
    render: &impl Fn(&Template) -> Result<Vec<u8>, RequestError>,
) -> Result<fetch::RecordFilter, RequestError> {
    let headers = filter
        .headers
        .iter()
        .map(|(name, value)| Ok((name.clone().into_bytes(), render(value)?)));
    Ok(fetch::RecordFilter {
        key: filter.key.as_ref().map(render).transpose()?,
        headers: headers.collect::<Result<_, RequestError>>()?,
    })
}

fn checked_topic(name: &[u8]) -> Result<String, RequestError> {
    let text = || String::from_utf8_lossy(name).into_owned();
    match check_topic(name) {
        Ok(()) => Ok(text()),
        Err(_) => Err(RequestError::TopicName(text())),
    }
}

/// A request as the mapping sees it: the overrides of the http routes come before what the client sent.
#[derive(Clone, Copy)]
struct Request<'r> {
    head: &'r RequestHead,
    /// Of the server, then of the route.
    overrides: [&'r [(String, String)]; 2],
}

impl<'r> Request<'r> {
    fn overridden(self, name: &str) -> Option<&'r str> {
        let mut latest_first = self
            .overrides
            .into_iter()
            .rev()
            .flat_map(|list| list.iter().rev());
        latest_first
            .find(|(header, _)| header == name)
            .map(|(_, value)| value.as_str())
    }

    fn header(self, name: &str) -> Option<&'r [u8]> {
        self.overridden(name)
            .map(str::as_bytes)
            .or_else(|| self.head.headers().get_last(name))
    }

    fn method(self) -> &'r str {
        self.overridden(":method")
            .unwrap_or(self.head.method.as_str())
    }

    fn path(self) -> &'r [u8] {
        self.overridden(":path")
            .map_or(self.head.path(), |target| split_query(target.as_bytes()).0)
    }

    fn query(self) -> Option<&'r [u8]> {
        self.overridden(":path")
            .map_or(self.head.query(), |target| split_query(target.as_bytes()).1)
    }
}

/// What expressions see of a request.
struct RequestScope<'r> {
    request: Request<'r>,
    params: Params<'r>,
    idempotency_header: &'r str,
    fresh_key: &'r dyn Fn() -> String,
    key: OnceCell<Vec<u8>>,
}

impl Scope for RequestScope<'_> {
    fn param(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        self.params.get(name)
    }

    fn header(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        self.request.header(name).map(Cow::Borrowed)
    }

    fn query(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        find_parameter(self.request.query()?, name)
    }

    /// The same for every expression of a request, made up when the client sent none; an empty one is none.
    fn idempotency_key(&self) -> Option<Cow<'_, [u8]>> {
        let key = self.key.get_or_init(|| {
            let sent = self
                .request
                .header(self.idempotency_header)
                .map(unquoted)
                .filter(|key| !key.is_empty());
            sent.map_or_else(|| (self.fresh_key)().into_bytes(), <[u8]>::to_vec)
        });
        Some(Cow::Borrowed(key))
    }

    fn correlation_id(&self) -> Option<Cow<'_, [u8]>> {
        None
    }

    fn body(&self, _: &BodyPointer) -> Option<Cow<'_, [u8]>> {
        None
    }
}

/// The key itself: the header is a quoted string by its draft (Idempotency-Key draft-07), a bare one by custom.
fn unquoted(key: &[u8]) -> &[u8] {
    match key {
        [b'"', inner @ .., b'"'] => inner,
        bare => bare,
    }
}

impl From<Acks> for crate::kafka::producer::Acks {
    fn from(acks: Acks) -> Self {
        match acks {
            Acks::None => Self::None,
            Acks::LeaderOnly => Self::LeaderOnly,
            Acks::InSyncReplicas => Self::InSyncReplicas,
        }
    }
}
