//! The configurations that the cases run: Zilla's `http.kafka` examples over topics of the case's own, on a port that
//! the system picks.

use super::Correlated;
use std::fmt::Write as _;

const FRAME: &str = r"---
name: example
bindings:
  north_tcp_server:
    type: tcp
    kind: server
    options:
      host: 127.0.0.1
      port: {port}
    exit: north_http_server
  north_http_server:
    type: http
    kind: server
    routes:
      - when:
          - headers:
              :scheme: http
        exit: north_http_kafka_mapping
  north_http_kafka_mapping:
    type: http-kafka
    kind: proxy
{options}    routes:
{routes}  north_kafka_cache_client:
    type: kafka
    kind: cache_client
    exit: south_kafka_cache_server
  south_kafka_cache_server:
    type: kafka
    kind: cache_server
{bootstrap}    exit: south_kafka_client
  south_kafka_client:
    type: kafka
    kind: client
    options:
      servers:
        - ${{env.KAFKA_BOOTSTRAP_SERVER}}
    exit: south_tcp_client
  south_tcp_client:
    type: tcp
    kind: client
telemetry:
  exporters:
    stdout_logs_exporter:
      type: stdout
{telemetry}";

/// A file with one http-kafka mapping, and what a case wants in it.
#[derive(Clone, Default)]
pub(crate) struct Mapping {
    port: u16,
    options: String,
    routes: String,
    bootstrap: String,
    telemetry: String,
}

impl Mapping {
    /// Zilla's `http.kafka.oneway`: whatever is sent to `/events` becomes a record.
    pub(crate) fn oneway(topic: &str) -> Self {
        let with = format!("capability: produce\ntopic: {topic}");
        Self::default().route(&[("", "/events")], &with)
    }

    /// Zilla's `http.kafka.cache`: a topic as a collection and as items.
    pub(crate) fn cache(topic: &str) -> Self {
        let fetch = format!("capability: fetch\ntopic: {topic}\n");
        let merge = format!("{fetch}merge:\n  content-type: application/json");
        let filter = format!("{fetch}filters:\n  - key: ${{params.id}}");
        (Self::default().bootstrap(topic))
            .route(&[("GET", "/items")], &merge)
            .route(&[("GET", "/items/{id}")], &filter)
    }

    /// Zilla's `http.kafka.sync`: requests of any method, each answered by its reply.
    pub(crate) fn sync(topics: &Correlated) -> Self {
        (Self::default().bootstrap(&topics.replies))
            .route(&[("", "/items/{id}")], &correlated(topics))
    }

    /// Zilla's `http.kafka.async`: the client comes back for the reply.
    pub(crate) fn asynchronous(topics: &Correlated) -> Self {
        let with =
            correlated(topics) + "\nasync:\n  location: /items/${params.id};cid=${correlationId}";
        let when = [
            ("PUT", "/items/{id}"),
            ("GET", "/items/{id};cid={correlationId}"),
        ];
        (Self::default().bootstrap(&topics.replies)).route(&when, &with)
    }

    /// On this port.
    pub(crate) fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// With these lines after the `stdout` exporter, indented as they are to be: more exporters, then what else `telemetry` has.
    pub(crate) fn telemetry(mut self, telemetry: &str) -> Self {
        telemetry.clone_into(&mut self.telemetry);
        self
    }

    /// With these lines, unindented, among the options of the mapping.
    pub(crate) fn option(mut self, lines: &str) -> Self {
        self.options += &indented(lines, 6);
        self
    }

    /// With one more route after the others: methods (empty: any) and paths, and the lines of its `with`, unindented.
    pub(crate) fn route(mut self, when: &[(&str, &str)], with: &str) -> Self {
        self.routes += "      - when:\n";
        for (method, path) in when {
            if method.is_empty() {
                self.routes += &indented(&format!("- path: {path}"), 10);
            } else {
                let lines = format!("- method: {method}\n  path: {path}");
                self.routes += &indented(&lines, 10);
            }
        }
        self.routes += "        exit: north_kafka_cache_client\n        with:\n";
        self.routes += &indented(with, 10);
        self
    }

    /// With this topic read from the start on.
    pub(crate) fn bootstrap(mut self, topic: &str) -> Self {
        self.bootstrap += &indented(&format!("- {topic}"), 8);
        self
    }

    /// The file's text.
    pub(crate) fn yaml(&self) -> String {
        let under = |head: &str, lines: &str| match lines {
            "" => String::new(),
            lines => format!("{head}{lines}"),
        };
        let bootstrap = under("    options:\n      bootstrap:\n", &self.bootstrap);
        FRAME
            .replace("{port}", &self.port.to_string())
            .replace("{options}", &under("    options:\n", &self.options))
            .replace("{bootstrap}", &bootstrap)
            .replace("{telemetry}", &self.telemetry)
            .replace("{routes}", &self.routes)
    }
}

/// The `with` of a route that awaits replies, keyed by the path's `id`.
pub(crate) fn correlated(topics: &Correlated) -> String {
    format!(
        "capability: produce\ntopic: {}\nkey: ${{params.id}}\nreply-to: {}",
        topics.requests, topics.replies
    )
}

/// These lines, each so many spaces further in.
pub(super) fn indented(lines: &str, by: usize) -> String {
    let mut text = String::new();
    for line in lines.lines() {
        writeln!(text, "{:by$}{line}", "").expect("strings take what is written");
    }
    text
}

/// The CRUD configuration, and what a case changes about it.
pub(crate) struct Crud {
    topic: String,
    mapping: Mapping,
}

impl Crud {
    /// Over this topic, on a port that the system picks.
    pub(crate) fn over(topic: &str) -> Self {
        let produce = |key| format!("capability: produce\ntopic: {topic}\nkey: {key}");
        let id = produce("${params.id}");
        let mapping = Mapping::cache(topic)
            .route(&[("POST", "/items")], &produce("${idempotencyKey}"))
            .route(&[("PUT", "/items/{id}")], &id)
            .route(&[("DELETE", "/items/{id}")], &id);
        Self {
            topic: topic.to_owned(),
            mapping,
        }
    }

    /// On this port.
    pub(crate) fn port(mut self, port: u16) -> Self {
        self.mapping = self.mapping.port(port);
        self
    }

    /// With `options.timeout` on the mapping.
    pub(crate) fn timeout(mut self, timeout: &str) -> Self {
        self.mapping = self.mapping.option(&format!("timeout: {timeout}"));
        self
    }

    /// With these lines after the `stdout` exporter: see [`Mapping::telemetry`].
    pub(crate) fn telemetry(mut self, telemetry: &str) -> Self {
        self.mapping = self.mapping.telemetry(telemetry);
        self
    }

    /// With one more route over the same topic, after the others; `with` is its lines, unindented.
    pub(crate) fn route(mut self, method: &str, path: &str, with: &str) -> Self {
        let with = format!("topic: {}\n{with}", self.topic);
        self.mapping = self.mapping.route(&[(method, path)], &with);
        self
    }

    /// The file's text.
    pub(crate) fn yaml(&self) -> String {
        self.mapping.yaml()
    }
}
