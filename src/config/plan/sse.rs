//! Server-sent events in the plan.

use std::sync::Arc;
use std::time::Duration;

use super::{Filter, Guarded};
use crate::route::{Glob, PathTemplate, Template};

/// An `sse` server.
#[derive(Clone, Debug)]
pub struct SseServer {
    /// The namespace of the binding.
    pub namespace: String,
    /// The name of the binding.
    pub name: String,
    /// What clients are told to wait before they reconnect: `options.retry`, milliseconds in the file, 2 s by default.
    pub retry: Duration,
    /// The longest silence: then a comment is sent. Own option `options.heartbeat`, 1 s to 1 h, 15 s by default.
    pub heartbeat: Duration,
    /// First match wins; a request that matches none is 404.
    pub routes: Vec<SseRoute>,
}

/// A route of an `sse` server.
#[derive(Clone, Debug)]
pub struct SseRoute {
    /// All of these must let the request pass.
    pub guarded: Vec<Guarded>,
    /// One of these must match the path without its query; empty: always.
    pub when: Vec<Glob>,
    /// Where its streams come from.
    pub exit: Arc<SseKafka>,
}

/// An `sse-kafka` proxy.
#[derive(Clone, Debug)]
pub struct SseKafka {
    /// The namespace of the binding.
    pub namespace: String,
    /// The name of the binding.
    pub name: String,
    /// First match wins; a request that matches none is 404.
    pub routes: Vec<SseKafkaRoute>,
}

/// A route of an `sse-kafka` proxy.
#[derive(Clone, Debug)]
pub struct SseKafkaRoute {
    /// Its place among the mapping routes of the plan (those of http-kafka proxies, too), from 0.
    pub number: usize,
    /// All of these must let the request pass.
    pub guarded: Vec<Guarded>,
    /// One of these must match the path without its query; empty: always.
    pub when: Vec<PathTemplate>,
    /// The topic. A literal is a legal name; what a template renders is to be checked.
    pub topic: Template,
    /// A record must match one of these; empty: any record.
    pub filters: Vec<Filter>,
    /// How events are named.
    pub event_id: EventIdForm,
    /// The cluster, as an index into [`super::Plan::clusters`].
    pub cluster: usize,
}

/// How events are named: `with.event.id`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EventIdForm {
    /// `${etag}`: the place in the topic.
    #[default]
    Etag,
    /// `["${base64(key)}","${etag}"]`: the key, too.
    KeyAndEtag,
}
