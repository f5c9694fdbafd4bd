//! Configurations of gRPC: Zilla's `grpc.*` examples over topics, groups and ports of the case's own.
//!
//! One rule: names of consumer groups come of the names of bindings, so a remote server is called after its topic.

use super::config::indented;
use super::gateway::Gateway;
use super::site::Site;
use super::{Env, PATIENCE, eventually};
use std::collections::BTreeMap;

const CATALOG: &str = "catalogs:
  protos:
    type: filesystem
    options:
      subjects:
        echo:
          path: protos/echo.proto
        fanout:
          path: protos/fanout.proto";

/// A grpc server, with these options, that leads to `exit`.
pub(crate) fn grpc_server(options: &str, exit: &str) -> Site {
    let mut lines = "north_grpc_server:
  type: grpc
  kind: server
  catalog:
    protos:
      - subject: echo
      - subject: fanout
"
    .to_owned();
    if !options.is_empty() {
        lines += "  options:\n";
        lines += &indented(options, 4);
    }
    let exit = format!("exit: {exit}");
    lines += &indented(&exit, 2);
    let echo = include_bytes!("../../../tools/grpc/protos/echo.proto");
    let fanout = include_bytes!("../../../tools/grpc/protos/fanout.proto");
    Site::default()
        .top(CATALOG)
        .file("protos/echo.proto", &echo[..])
        .file("protos/fanout.proto", &fanout[..])
        .route("/*", "north_grpc_server")
        .binding(&lines)
}

/// A grpc server before an echo.
pub(crate) fn grpc_echo(options: &str) -> Site {
    grpc_server(options, "north_echo_server")
        .binding("north_echo_server:\n  type: echo\n  kind: server")
}

/// A grpc server before a grpc-kafka proxy, with these options, whose one route takes `method` and has these lines in `with`.
pub(crate) fn grpc_kafka(options: &str, method: &str, with: &str) -> Site {
    let mut lines = "north_grpc_kafka_mapping:\n  type: grpc-kafka\n  kind: proxy\n".to_owned();
    if !options.is_empty() {
        lines += "  options:\n";
        lines += &indented(options, 4);
    }
    let route = format!(
        "routes:\n  - when:\n      - method: {method}\n    exit: north_kafka_cache_client\n    with:"
    );
    lines += &indented(&route, 2);
    lines += &indented(with, 8);
    grpc_server("", "north_grpc_kafka_mapping")
        .binding(&lines)
        .kafka()
}

/// An http client at a port of this machine: the lines of its options, if any, and of a tls client, if it has one.
pub(crate) fn http_client(site: Site, options: &str, tls: &str, port: u16) -> Site {
    let mut lines = "west_http_client:\n  type: http\n  kind: client\n".to_owned();
    if !options.is_empty() {
        lines += "  options:\n";
        lines += &indented(options, 4);
    }
    if tls.is_empty() {
        lines += "  exit: west_tcp_client\n";
    } else {
        lines += "  exit: west_tls_client\nwest_tls_client:\n  type: tls\n  kind: client\n";
        lines += &indented(tls, 2);
        lines += "  exit: west_tcp_client\n";
    }
    let tcp = format!(
        "west_tcp_client:\n  type: tcp\n  kind: client\n  options:\n    host: localhost\n    port: {port}"
    );
    site.binding(&lines).binding(&tcp)
}

/// A grpc client before such an http client.
pub(crate) fn grpc_client(site: Site, tls: &str, port: u16) -> Site {
    let lines = "west_grpc_client:
  type: grpc
  kind: client
  routes:
    - when:
        - method: grpc.examples.echo.Echo/*
      exit: west_http_client";
    http_client(site.binding(lines), "versions:\n  - h2", tls, port)
}

/// Zilla's `grpc.kafka.proxy`: calls become records, records become calls of a service, and so back.
#[derive(Clone)]
pub(crate) struct Loop {
    pub(crate) requests: String,
    pub(crate) replies: String,
    pub(crate) partitions: i32,
    port: u16,
    options: String,
}

impl Loop {
    /// Over topics of the case's own, of so many partitions each, before a service at this port.
    pub(crate) fn new(env: &Env, partitions: i32, port: u16) -> Self {
        Self {
            requests: env.topic(partitions, &[]),
            replies: env.topic(partitions, &[]),
            partitions,
            port,
            options: String::new(),
        }
    }

    /// With these options, unindented, of the remote server.
    pub(crate) fn option(mut self, lines: &str) -> Self {
        self.options += &indented(lines, 4);
        self
    }

    /// What the grpc-kafka proxy does with a call.
    fn with(&self) -> String {
        format!(
            "capability: produce\ntopic: {}\nreply-to: {}",
            self.requests, self.replies
        )
    }

    /// Only the half that makes records of calls.
    pub(crate) fn produce(&self) -> Site {
        grpc_kafka("", "grpc.examples.echo.Echo/*", &self.with())
    }

    /// Both halves.
    pub(crate) fn site(&self) -> Site {
        let Self {
            requests, replies, ..
        } = self;
        let mut lines = format!(
            "remote_{requests}:\n  type: kafka-grpc\n  kind: remote_server\n  entry: north_kafka_cache_client\n"
        );
        if !self.options.is_empty() {
            lines += "  options:\n";
            lines += &self.options;
        }
        let route = format!(
            "routes:
  - when:
      - topic: {requests}
        reply-to: {replies}
        method: grpc.examples.echo.Echo/*
    with:
      scheme: http
      authority: localhost:{}
    exit: west_grpc_client",
            self.port
        );
        lines += &indented(&route, 2);
        grpc_client(self.produce().binding(&lines), "", self.port)
    }
}

/// Waits until all cores of all of these gateways are in their group together.
#[track_caller]
pub(crate) fn await_settled(gateways: &[&Gateway]) {
    eventually("the group is settled", PATIENCE, || {
        let outputs: Vec<String> = gateways.iter().map(|gateway| gateway.output()).collect();
        // The last generation of each member.
        let mut members = BTreeMap::new();
        for line in outputs.iter().flat_map(|output| output.lines()) {
            if line.contains(" in the group ") {
                members.insert(word(line, "member=")?, word(line, "generation=")?);
            }
        }
        let mut generations = members.values();
        let first = generations.next();
        let is_one = generations.all(|generation| Some(generation) == first);
        (is_one && members.len() == 2 * gateways.len()).then_some(())
    });
}

/// What stands behind a name in a line of the log.
fn word<'l>(line: &'l str, name: &str) -> Option<&'l str> {
    line.split_once(name)?.1.split_whitespace().next()
}
