//! sse and sse-kafka: a request becomes a place among those who follow a topic ([`EventsRequest`]), and records become [`event`]s.

pub mod event;
pub mod last_event_id;
#[cfg(test)]
mod tests;

use std::time::Duration;

use super::access::{Access, select};
use super::http_kafka::{fill_in_filter, render_topic};
use super::progress::Progress;
use super::request::{Request, RequestScope};
use crate::config::SseServer;
use crate::error::RequestError;
use crate::exchange::feed::{Form, Selection};
use crate::http::ResponseHead;
use crate::route::{Params, Template};
use event::EventForm;
use last_event_id::{LAST_EVENT_ID_BYTES_MAX, last_event_id, progress_of};

/// A request for the events of a topic.
#[derive(Clone, Debug)]
pub struct EventsRequest {
    /// Which route, by its number in the plan.
    pub route: usize,
    /// Which cluster of the plan.
    pub cluster: usize,
    /// The topic, a legal name.
    pub topic: String,
    /// Which of its records, and how their events are written.
    pub selection: Selection,
    /// How far the client is; `None`: it has nothing.
    pub resume: Option<Progress>,
    /// What the client is told to wait before it connects again.
    pub retry: Duration,
    /// The longest silence.
    pub heartbeat: Duration,
}

impl EventsRequest {
    /// How the answer begins.
    pub fn head(&self) -> ResponseHead {
        let content_type = match self.selection.form {
            Form::Event(EventForm {
                has_timestamp: true,
                ..
            }) => "text/event-stream;ext=timestamp",
            Form::Event(_) | Form::Message(_) => "text/event-stream",
        };
        ResponseHead::new(200)
            .with("content-type", content_type)
            .with("cache-control", "no-cache")
    }
}

/// Finds the routes of a request to an `sse` server and fills in their expressions.
///
/// # Errors
///
/// [`RequestError::NoRoute`], [`RequestError::MethodNotAllowed`], [`RequestError::LastEventId`], [`RequestError::Missing`], [`RequestError::TopicName`], and what
/// `access` says.
pub(super) fn resolve(
    server: &SseServer,
    request: Request<'_>,
    access: &dyn Access,
) -> Result<EventsRequest, RequestError> {
    if request.method() != "GET" {
        return Err(RequestError::MethodNotAllowed { allow: "GET" });
    }
    let id = last_event_id(request.head);
    if id
        .as_ref()
        .is_some_and(|id| id.len() > LAST_EVENT_ID_BYTES_MAX)
    {
        return Err(RequestError::LastEventId);
    }
    let path = request.path();
    let (sse_route, ()) = select(&server.routes, request, access, |route| {
        let matches = route.when.is_empty() || route.when.iter().any(|when| when.matches(path));
        matches.then_some(())
    })?;
    let (route, params) = select(&sse_route.exit.routes, request, access, |route| {
        if route.when.is_empty() {
            return Some(Params::NONE);
        }
        route.when.iter().find_map(|when| when.matches(path))
    })?;
    let scope = RequestScope::of_read(request, params, access);
    let render = |template: &Template| template.render(&scope).map_err(RequestError::Missing);
    let filters = route
        .filters
        .iter()
        .map(|filter| fill_in_filter(filter, &render))
        .collect::<Result<_, _>>()?;
    let form = Form::Event(EventForm {
        id: route.event_id,
        has_timestamp: wants_timestamp(request),
    });
    Ok(EventsRequest {
        route: route.number,
        cluster: route.cluster,
        topic: render_topic(&route.topic, &scope)?,
        selection: Selection { filters, form },
        resume: id.and_then(|id| progress_of(&id)),
        retry: server.retry,
        heartbeat: server.heartbeat,
    })
}

/// Whether the client asks for times in events: `accept: text/event-stream;ext=timestamp`.
fn wants_timestamp(request: Request<'_>) -> bool {
    let accept = request.header("accept").unwrap_or_default();
    accept.split(|byte| *byte == b',').any(|range| {
        let mut parts = range.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
        parts
            .next()
            .is_some_and(|kind| kind.eq_ignore_ascii_case(b"text/event-stream"))
            && parts.any(|part| part.eq_ignore_ascii_case(b"ext=timestamp"))
    })
}
