//! http-kafka: a request becomes a record ([`Action::Produce`]), or is answered from records ([`fetch`]).
//!
//! [`super::resolve`] finds the route and fills in its expressions; what it returns owns everything it needs, so that the request's head can go.

pub mod correlated;
pub mod fetch;
#[cfg(test)]
mod tests;

use std::cell::OnceCell;
use std::time::Duration;

use bytes::Bytes;

use super::access::{Access, select};
use super::request::{Request, RequestScope};
use crate::config::{Acks, Filter, HttpKafka, HttpKafkaRoute, When, With};
use crate::error::RequestError;
use crate::kafka::producer::Record;
use crate::route::{MethodPattern, Params, Template, check_topic};

/// What a request asks for.
#[derive(Debug)]
pub struct Resolved {
    /// Which route, by its number in the plan.
    pub route: usize,
    /// Which cluster of the plan.
    pub cluster: usize,
    /// The topic, a legal name.
    pub topic: String,
    /// How long it may take in all.
    pub timeout: Duration,
    /// The longest wait that a client is granted.
    pub wait_max: Duration,
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
    /// Store a record and answer with the reply to it, or that it is stored.
    Submit(Box<correlated::Submission>),
    /// Answer with the reply to an earlier request.
    Status(Box<correlated::StatusRequest>),
    /// Answer with records.
    Fetch(fetch::FetchRequest),
    /// The record is made from the body: ask again when it is here.
    NeedsBody,
}

/// What [`super::resolve`] needs besides the request.
#[derive(Clone, Copy)]
pub struct Ids<'i> {
    /// Makes an idempotency key for a request that brings none: a random UUID.
    pub fresh_key: &'i dyn Fn() -> String,
    /// Whether exchanges of a correlation id belong to this core: ids of our own making are made so that they do.
    pub is_own: &'i dyn Fn(&[u8]) -> bool,
}

impl std::fmt::Debug for Ids<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Ids").finish_non_exhaustive()
    }
}

/// Finds the route of a request to an `http-kafka` proxy and fills in its expressions.
///
/// # Errors
///
/// [`RequestError::NoRoute`], [`RequestError::Missing`], [`RequestError::TopicName`], [`RequestError::IfMatch`], and what `access` says.
pub(super) fn resolve(
    binding: &HttpKafka,
    request: Request<'_>,
    body: Option<&Bytes>,
    ids: Ids<'_>,
    access: &dyn Access,
) -> Result<Resolved, RequestError> {
    let (route, params) = select(&binding.routes, request, access, |route| {
        params_of(route, request)
    })?;
    let scope = RequestScope {
        request,
        params,
        body: body.map(|body| &body[..]),
        idempotency_header: &binding.idempotency_header,
        fresh_key: ids.fresh_key,
        key: OnceCell::new(),
        access,
    };
    fill_in(binding, route, &scope, body, ids)
}

/// What the path captures, if the route matches.
fn params_of<'p>(route: &'p HttpKafkaRoute, request: Request<'p>) -> Option<Params<'p>> {
    if route.when.is_empty() {
        return Some(Params::NONE);
    }
    let may_be_head = matches!(route.with, With::Fetch { .. });
    let mut conditions = route.when.iter();
    conditions.find_map(|when| matches_when(when, request, may_be_head))
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
    binding: &HttpKafka,
    route: &HttpKafkaRoute,
    scope: &RequestScope<'_>,
    body: Option<&Bytes>,
    ids: Ids<'_>,
) -> Result<Resolved, RequestError> {
    let resolved = |topic, action| Resolved {
        route: route.number,
        cluster: route.cluster,
        topic,
        timeout: binding.timeout,
        wait_max: binding.wait_max,
        action,
    };
    if let With::Produce {
        reply: Some(reply), ..
    } = &route.with
        && let Some((topic, status)) = correlated::status(binding, reply, scope)?
    {
        return Ok(resolved(topic, Action::Status(status)));
    }
    if body.is_none() && needs_body(&route.with) {
        return Ok(resolved(String::new(), Action::NeedsBody));
    }
    let topic = render_topic(route.with.topic(), scope)?;
    let action = match &route.with {
        With::Produce {
            acks,
            key,
            overrides,
            reply: None,
            ..
        } => one_way(*acks, key.as_ref(), overrides, scope)?,
        With::Produce {
            acks,
            key,
            overrides,
            reply: Some(reply),
            ..
        } => {
            let record = correlated::RecordTemplate {
                acks: *acks,
                key: key.as_ref(),
                overrides,
                reply,
            };
            let body = body.cloned().unwrap_or_default();
            let submission = correlated::submission(binding, record, scope, body, ids)?;
            Action::Submit(Box::new(submission))
        }
        With::Fetch { filters, merge, .. } => {
            let render =
                |template: &Template| template.render(scope).map_err(RequestError::Missing);
            let filters = filters
                .iter()
                .map(|filter| fill_in_filter(filter, &render))
                .collect::<Result<_, _>>()?;
            let head = scope.request.head;
            Action::Fetch(fetch::FetchRequest::new(filters, *merge, head))
        }
    };
    Ok(resolved(topic, action))
}

/// Whether a record cannot be made before its body is here.
fn needs_body(with: &With) -> bool {
    match with {
        With::Fetch { .. } => false,
        With::Produce { reply: Some(_), .. } => true,
        With::Produce {
            topic,
            key,
            overrides,
            ..
        } => {
            topic.needs_body()
                || key.as_ref().is_some_and(Template::needs_body)
                || overrides.iter().any(|(_, value)| value.needs_body())
        }
    }
}

fn one_way(
    acks: Acks,
    key: Option<&Template>,
    overrides: &[(String, Template)],
    scope: &RequestScope<'_>,
) -> Result<Action, RequestError> {
    let render = |template: &Template| template.render(scope).map_err(RequestError::Missing);
    let key = key.map(render).transpose()?.map(Bytes::from);
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
    Ok(Action::Produce {
        acks,
        record: Record {
            key,
            value: None,
            headers,
        },
        tombstone: scope.request.method() == "DELETE",
    })
}

pub(super) fn render_topic(
    template: &Template,
    scope: &RequestScope<'_>,
) -> Result<String, RequestError> {
    match template.as_literal() {
        Some(literal) => Ok(literal.to_owned()),
        None => checked_topic(&template.render(scope).map_err(RequestError::Missing)?),
    }
}

pub(super) fn fill_in_filter(
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

impl From<Acks> for crate::kafka::producer::Acks {
    fn from(acks: Acks) -> Self {
        match acks {
            Acks::None => Self::None,
            Acks::LeaderOnly => Self::LeaderOnly,
            Acks::InSyncReplicas => Self::InSyncReplicas,
        }
    }
}
