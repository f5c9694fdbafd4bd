//! http-kafka: a request becomes a record ([`produce`]), or is answered from records ([`fetch`]).
//!
//! [`resolve`] finds the route and fills in its expressions; what it returns owns everything it needs, so that the request's head can go.

pub mod fetch;

use std::borrow::Cow;
use std::cell::OnceCell;

use bytes::Bytes;

use crate::config::{Acks, Filter, HttpKafkaRoute, HttpServer, When, With};
use crate::error::RequestError;
use crate::http::{Method, RequestHead};
use crate::kafka::producer::Record;
use crate::route::{Params, Scope, Template, check_topic, find_parameter};
use std::time::Duration;

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
pub fn resolve(server: &HttpServer, head: &RequestHead, fresh_key: &dyn Fn() -> String) -> Result<Resolved, RequestError> {
    for http_route in &server.routes {
        let overrides = [&server.overrides[..], &http_route.overrides[..]];
        if !http_route.when.is_empty() && !http_route.when.iter().any(|when| when.iter().all(|(name, pattern)| matches_header(head, name, pattern))) {
            continue;
        }
        // The first http route that matches decides; a mapping without a route for the request is 404, as in Zilla.
        let binding = &http_route.exit;
        let (route, params) = find_route(&binding.routes, head).ok_or(RequestError::NoRoute)?;
        let scope = RequestScope { head, params, overrides, idempotency_header: &binding.idempotency_header, fresh_key, key: OnceCell::new() };
        return fill_in(route, &scope, binding.timeout);
    }
    Err(RequestError::NoRoute)
}

fn matches_header(head: &RequestHead, name: &str, pattern: &crate::route::HeaderPattern) -> bool {
    match name {
        ":scheme" => pattern.matches(head.scheme.as_str().as_bytes()),
        ":method" => pattern.matches(head.method.as_str().as_bytes()),
        ":path" => pattern.matches(head.target()),
        ":authority" => pattern.matches(&authority_with_port(head)),
        name => head.headers().get_last(name).is_some_and(|value| pattern.matches(value)),
    }
}

/// `:authority` as Zilla matches it: with the scheme's default port when it names none.
fn authority_with_port(head: &RequestHead) -> Cow<'_, [u8]> {
    let authority = head.authority();
    let after_address = authority.iter().rposition(|byte| *byte == b']').map_or(0, |at| at + 1);
    if authority[after_address..].contains(&b':') {
        return Cow::Borrowed(authority);
    }
    let port: &[u8] = if head.scheme.as_str() == "https" { b":443" } else { b":80" };
    Cow::Owned([authority, port].concat())
}

fn find_route<'p>(routes: &'p [HttpKafkaRoute], head: &'p RequestHead) -> Option<(&'p HttpKafkaRoute, Params<'p>)> {
    routes.iter().find_map(|route| {
        if route.when.is_empty() {
            return Some((route, Params::NONE));
        }
        let may_be_head = matches!(route.with, With::Fetch { .. });
        route.when.iter().find_map(|when| matches_when(when, head, may_be_head)).map(|params| (route, params))
    })
}

fn matches_when<'p>(when: &'p When, head: &'p RequestHead, may_be_head: bool) -> Option<Params<'p>> {
    // Whoever may GET may HEAD (RFC 9110 9.3.2).
    let is_method = |method: &crate::route::MethodPattern| {
        method.matches(head.method.as_str()) || (may_be_head && head.method == Method::Head && method.matches(Method::Get.as_str()))
    };
    if !when.method.as_ref().is_none_or(is_method) {
        return None;
    }
    match &when.path {
        Some(path) => path.matches(head.path()),
        None => Some(Params::NONE),
    }
}

fn fill_in(route: &HttpKafkaRoute, scope: &RequestScope<'_>, timeout: Duration) -> Result<Resolved, RequestError> {
    let render = |template: &Template| template.render(scope).map_err(RequestError::Missing);
    let topic_template = route.with.topic();
    let topic = match topic_template.as_literal() {
        Some(literal) => literal.to_owned(),
        None => checked_topic(&render(topic_template)?)?,
    };
    let action = match &route.with {
        With::Produce { acks, key, overrides, .. } => {
            let key = key.as_ref().map(render).transpose()?.map(Bytes::from);
            let mut headers = Vec::new();
            if let Some(content_type) = scope.header("content-type") {
                headers.push((Bytes::from_static(b"content-type"), Some(Bytes::copy_from_slice(&content_type))));
            }
            for (name, value) in overrides {
                headers.push((Bytes::copy_from_slice(name.as_bytes()), Some(Bytes::from(render(value)?))));
            }
            Action::Produce { acks: *acks, record: Record { key, value: None, headers }, tombstone: scope.head.method == Method::Delete }
        }
        With::Fetch { filters, merge, .. } => {
            let filters = filters.iter().map(|filter| fill_in_filter(filter, &render)).collect::<Result<_, _>>()?;
            Action::Fetch(fetch::FetchRequest::new(filters, *merge, scope.head))
        }
    };
    Ok(Resolved { cluster: route.cluster, topic, timeout, action })
}

fn fill_in_filter(filter: &Filter, render: &impl Fn(&Template) -> Result<Vec<u8>, RequestError>) -> Result<fetch::RecordFilter, RequestError> {
    let headers = filter.headers.iter().map(|(name, value)| Ok((name.clone().into_bytes(), render(value)?)));
    Ok(fetch::RecordFilter { key: filter.key.as_ref().map(render).transpose()?, headers: headers.collect::<Result<_, RequestError>>()? })
}

fn checked_topic(name: &[u8]) -> Result<String, RequestError> {
    let text = || String::from_utf8_lossy(name).into_owned();
    match check_topic(name) {
        Ok(()) => Ok(text()),
        Err(_) => Err(RequestError::TopicName(text())),
    }
}

/// What expressions see of a request. The overrides of the http routes come before its own headers.
struct RequestScope<'r> {
    head: &'r RequestHead,
    params: Params<'r>,
    overrides: [&'r [(String, String)]; 2],
    idempotency_header: &'r str,
    fresh_key: &'r dyn Fn() -> String,
    key: OnceCell<Vec<u8>>,
}

impl Scope for RequestScope<'_> {
    fn param(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        self.params.get(name)
    }

    fn header(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        let overridden = self.overrides.iter().rev().flat_map(|list| list.iter().rev()).find(|(header, _)| header == name);
        match overridden {
            Some((_, value)) => Some(Cow::Borrowed(value.as_bytes())),
            None => self.head.headers().get_last(name).map(Cow::Borrowed),
        }
    }

    fn query(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        find_parameter(self.head.query()?, name)
    }

    /// The same for every expression of a request, made up when the client sent none.
    fn idempotency_key(&self) -> Option<Cow<'_, [u8]>> {
        let key = self.key.get_or_init(|| match self.header(self.idempotency_header) {
            Some(key) => unquoted(&key).to_vec(),
            None => (self.fresh_key)().into_bytes(),
        });
        Some(Cow::Borrowed(key))
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
