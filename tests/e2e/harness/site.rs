//! Configurations beyond http-kafka: guards, TLS, event streams, files and echoes, put together from pieces of YAML, on a
//! port that the system picks.
//!
//! One rule: what a case is about stands in the case; here is only what leads to it.

use super::TempDir;
use super::config::indented;
use super::gateway::{Gateway, command};

const TCP: &str = "  north_tcp_server:
    type: tcp
    kind: server
    options:
      host: 127.0.0.1
      port: 0
    exit: ";

const HTTP: &str = "  north_http_server:
    type: http
    kind: server
";

const KAFKA: &str = "  north_kafka_cache_client:
    type: kafka
    kind: cache_client
    exit: south_kafka_cache_server
  south_kafka_cache_server:
    type: kafka
    kind: cache_server
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
";

const TELEMETRY: &str = "telemetry:
  exporters:
    stdout_logs_exporter:
      type: stdout
";

const PROMETHEUS: &str = "    prometheus_exporter:
      type: prometheus
      options:
        endpoints:
          - scheme: http
            host: 127.0.0.1
            port: 0
            path: /metrics
";

/// A file, and the directory that it and what it names lie in.
#[derive(Clone, Default)]
pub(crate) struct Site {
    top: String,
    tls: String,
    http: String,
    routes: String,
    bindings: String,
    kafka: bool,
    telemetry: String,
    files: Vec<(String, Vec<u8>)>,
    arguments: Vec<String>,
}

impl Site {
    /// With these lines, unindented, before the bindings: guards, vaults.
    pub(crate) fn top(mut self, lines: &str) -> Self {
        self.top += &indented(lines, 0);
        self
    }

    /// With a tls server before the http server; its lines after `kind`, unindented.
    pub(crate) fn tls(mut self, lines: &str) -> Self {
        self.tls = indented(lines, 4);
        self
    }

    /// With these options, unindented, of the http server.
    pub(crate) fn http(mut self, lines: &str) -> Self {
        self.http += &indented(lines, 6);
        self
    }

    /// With one more route of the http server.
    pub(crate) fn route(self, path: &str, exit: &str) -> Self {
        self.guarded_route(path, "", exit)
    }

    /// With one more route of the http server that is guarded by `g` and asks for these roles.
    pub(crate) fn guarded_route(mut self, path: &str, roles: &str, exit: &str) -> Self {
        let guarded = match roles {
            "" => String::new(),
            roles => format!("  guarded:\n    g: [{roles}]\n"),
        };
        let lines =
            format!("- when:\n    - headers:\n        :path: {path}\n{guarded}  exit: {exit}");
        self.routes += &indented(&lines, 6);
        self
    }

    /// With one more binding: its lines, unindented, its name the first.
    pub(crate) fn binding(mut self, lines: &str) -> Self {
        self.bindings += &indented(lines, 2);
        self
    }

    /// With a cluster, for bindings that are given in full.
    pub(crate) fn kafka(mut self) -> Self {
        self.kafka = true;
        self
    }

    /// With an echo server behind the http server, under this path.
    pub(crate) fn echo(self, path: &str, roles: &str) -> Self {
        self.guarded_route(path, roles, "north_echo_server")
            .binding("north_echo_server:\n  type: echo\n  kind: server")
    }

    /// With the files of this directory, which lies beside the configuration, behind the http server.
    pub(crate) fn files(self, path: &str, directory: &str) -> Self {
        let glob = path.split('{').next().unwrap_or_default();
        let lines = format!(
            "east_http_filesystem_mapping:
  type: http-filesystem
  kind: proxy
  routes:
    - when:
        - path: {path}
      with:
        path: ${{params.path}}
      exit: east_filesystem_server
east_filesystem_server:
  type: filesystem
  kind: server
  options:
    location: {directory}
    symlinks: follow"
        );
        self.route(&format!("{glob}*"), "east_http_filesystem_mapping")
            .binding(&lines)
    }

    /// With an http-kafka proxy behind the http server: each route's method, path and `with`, unindented.
    pub(crate) fn mapping(
        mut self,
        path: &str,
        roles: &str,
        routes: &[(&str, &str, &str)],
    ) -> Self {
        self.kafka = true;
        let mut lines =
            "north_http_kafka_mapping:\n  type: http-kafka\n  kind: proxy\n  routes:\n".to_owned();
        for (method, path, with) in routes {
            let route = format!(
                "- when:\n    - method: {method}\n      path: {path}\n  exit: north_kafka_cache_client\n  with:\n"
            );
            lines += &indented(&route, 4);
            lines += &indented(with, 8);
        }
        self.guarded_route(path, roles, "north_http_kafka_mapping")
            .binding(&lines)
    }

    /// With event streams under this path: options of the sse server, and the `with` of the sse-kafka proxy.
    pub(crate) fn events(mut self, path: &str, roles: &str, options: &str, with: &str) -> Self {
        self.kafka = true;
        let mut lines = "north_sse_server:\n  type: sse\n  kind: server\n".to_owned();
        if !options.is_empty() {
            lines += "  options:\n";
            lines += &indented(options, 4);
        }
        lines += "  exit: north_sse_kafka_mapping\n";
        lines += "north_sse_kafka_mapping:\n  type: sse-kafka\n  kind: proxy\n  routes:\n";
        let when =
            format!("- when:\n    - path: {path}\n  exit: north_kafka_cache_client\n  with:\n");
        lines += &indented(&when, 4);
        lines += &indented(with, 8);
        let glob = path.split('{').next().unwrap_or_default();
        let glob = if glob == path {
            glob.to_owned()
        } else {
            format!("{glob}*")
        };
        self.guarded_route(&glob, roles, "north_sse_server")
            .binding(&lines)
    }

    /// With what it counts on a port of its own.
    pub(crate) fn counted(mut self) -> Self {
        PROMETHEUS.clone_into(&mut self.telemetry);
        self
    }

    /// With a file beside the configuration.
    pub(crate) fn file(mut self, name: &str, content: impl Into<Vec<u8>>) -> Self {
        self.files.push((name.to_owned(), content.into()));
        self
    }

    /// Started with one more argument.
    pub(crate) fn argument(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    /// The text of the file.
    pub(crate) fn yaml(&self) -> String {
        let mut yaml = format!("---\nname: example\n{}bindings:\n{TCP}", self.top);
        let has_http = !self.routes.is_empty();
        if self.tls.is_empty() {
            yaml += "north_http_server\n";
        } else {
            yaml += "north_tls_server\n  north_tls_server:\n    type: tls\n    kind: server\n";
            yaml += &self.tls;
        }
        if has_http {
            yaml += HTTP;
            if !self.http.is_empty() {
                yaml += "    options:\n";
                yaml += &self.http;
            }
            yaml += "    routes:\n";
            yaml += &self.routes;
        }
        yaml += &self.bindings;
        if self.kafka {
            yaml += KAFKA;
        }
        yaml += TELEMETRY;
        yaml += &self.telemetry;
        yaml
    }

    /// Starts a gateway with it on two cores.
    ///
    /// # Panics
    /// It ends, or does not listen in time.
    #[track_caller]
    pub(crate) fn start(&self, bootstrap: &str) -> Gateway {
        let dir = TempDir::new();
        let file = dir.file("zilla.yaml", &self.yaml());
        for (name, content) in &self.files {
            let path = dir.path().join(name);
            let folder = path.parent().expect("below the directory");
            std::fs::create_dir_all(folder).expect("a folder");
            std::fs::write(path, content).expect("a file");
        }
        let mut start = command();
        start
            .env("KAFKA_BOOTSTRAP_SERVER", bootstrap)
            .args(["start", "--cores", "none:2"])
            .args(&self.arguments)
            .arg("-c")
            .arg(&file);
        Gateway::spawn(&mut start, dir)
    }
}
