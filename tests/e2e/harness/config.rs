//! The configuration that the cases run: Zilla's `http.kafka.crud` example over a topic of the case's own, on a port
//! that the system picks.

use std::fmt::Write as _;

const CRUD: &str = r"---
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
      - when:
          - method: POST
            path: /items
        exit: north_kafka_cache_client
        with:
          capability: produce
          topic: {topic}
          key: ${idempotencyKey}
      - when:
          - method: PUT
            path: /items/{id}
        exit: north_kafka_cache_client
        with:
          capability: produce
          topic: {topic}
          key: ${params.id}
      - when:
          - method: DELETE
            path: /items/{id}
        exit: north_kafka_cache_client
        with:
          capability: produce
          topic: {topic}
          key: ${params.id}
      - when:
          - method: GET
            path: /items
        exit: north_kafka_cache_client
        with:
          capability: fetch
          topic: {topic}
          merge:
            content-type: application/json
      - when:
          - method: GET
            path: /items/{id}
        exit: north_kafka_cache_client
        with:
          capability: fetch
          topic: {topic}
          filters:
            - key: ${params.id}
{routes}  north_kafka_cache_client:
    type: kafka
    kind: cache_client
    exit: south_kafka_cache_server
  south_kafka_cache_server:
    type: kafka
    kind: cache_server
    options:
      bootstrap:
        - {topic}
    exit: south_kafka_client
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
";

/// The CRUD configuration, and what a case changes about it.
pub(crate) struct Crud {
    topic: String,
    port: u16,
    timeout: Option<&'static str>,
    routes: String,
}

impl Crud {
    /// Over this topic, on a port that the system picks.
    pub(crate) fn over(topic: &str) -> Self {
        Self {
            topic: topic.to_owned(),
            port: 0,
            timeout: None,
            routes: String::new(),
        }
    }

    /// On this port.
    pub(crate) fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// With `options.timeout` on the mapping.
    pub(crate) fn timeout(mut self, timeout: &'static str) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// With one more route over the same topic, after the others; `with` is its lines, unindented.
    pub(crate) fn route(mut self, method: &str, path: &str, with: &str) -> Self {
        let head = [
            "      - when:",
            &format!("          - method: {method}"),
            &format!("            path: {path}"),
            "        exit: north_kafka_cache_client",
            "        with:",
            &format!("          topic: {}", self.topic),
        ]
        .join("\n");
        let with = with.replace('\n', "\n          ");
        writeln!(self.routes, "{head}\n          {with}").expect("strings take what is written");
        self
    }

    /// The file's text.
    pub(crate) fn yaml(&self) -> String {
        let options = self.timeout.map_or_else(String::new, |timeout| {
            format!("    options:\n      timeout: {timeout}\n")
        });
        CRUD.replace("{port}", &self.port.to_string())
            .replace("{topic}", &self.topic)
            .replace("{options}", &options)
            .replace("{routes}", &self.routes)
    }
}
