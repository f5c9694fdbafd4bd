//! The events of the `stdout` exporter, one line each, as Zilla 1.x writes them: `<namespace>:<binding> [<time>] <NAME> <text>`.

use std::cell::RefCell;
use std::io::Write as _;
use std::sync::Arc;

use super::lines::{Lines, push_escaped};
use super::metrics::names::Names;
use crate::clock::UnixMillis;
use crate::guard::Refused;
use crate::guard::credentials::redact;
use crate::http::date::imf_fixdate;
use crate::http::{RequestHead, Scheme};

/// The binding of what happens to the process itself.
const ENGINE: &str = "engine:events";

/// Writes a time as `21/Nov/2026:11:22:36 +0000`.
pub fn push_time(out: &mut Vec<u8>, at: UnixMillis) {
    // `Sun, 06 Nov 1994 08:49:37 GMT`
    let date = imf_fixdate(at);
    for (part, mark) in [(5..7, b'/'), (8..11, b'/'), (12..16, b':'), (17..25, b' ')] {
        out.extend_from_slice(&date[part]);
        out.push(mark);
    }
    out.extend_from_slice(b"+0000");
}

/// What happens between a core and a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClusterEvent<'e> {
    /// A broker's name has no address.
    DnsFailed {
        /// The name.
        host: &'e str,
    },
    /// A broker cannot be connected to.
    ConnectionFailed {
        /// Its name.
        host: &'e str,
        /// Its port.
        port: u16,
        /// Why.
        reason: &'e str,
    },
    /// A broker refuses a batch, for now or for good.
    ProduceError {
        /// The topic.
        topic: &'e str,
        /// The partition.
        partition: i32,
        /// The broker's error code by name.
        error: &'e str,
    },
}

/// The events of one thread.
#[derive(Debug)]
pub struct Events {
    lines: Lines,
    names: Arc<Names>,
    /// The time as text, good for its second.
    time: RefCell<(i64, Vec<u8>)>,
}

impl Events {
    /// Events that go to `lines`.
    pub fn new(lines: Lines, names: Arc<Names>) -> Self {
        Self {
            lines,
            names,
            time: RefCell::default(),
        }
    }

    /// The process serves.
    pub fn engine_started(&self, at: UnixMillis) {
        self.emit(ENGINE, at, "ENGINE_STARTED", |line| {
            line.extend_from_slice(b"Engine Started.");
        });
    }

    /// The process has drained and ends.
    pub fn engine_stopped(&self, at: UnixMillis) {
        self.emit(ENGINE, at, "ENGINE_STOPPED", |line| {
            line.extend_from_slice(b"Engine Stopped.");
        });
    }

    /// A request has come to an http server, before anything is made of it.
    pub fn request_accepted(&self, server: usize, head: &RequestHead, at: UnixMillis) {
        let Some(binding) = self.names.servers.get(server) else {
            return;
        };
        let name = "BINDING_HTTP_REQUEST_ACCEPTED";
        self.emit(&binding.full_name, at, name, |line| {
            let none = Vec::new();
            let secret = self.names.secret_parameters.get(server).unwrap_or(&none);
            let secret: Vec<&str> = secret.iter().map(String::as_str).collect();
            push_request(line, head, &redact(head.target(), &secret));
        });
    }

    /// A guard lets somebody not in.
    pub fn authorization_failed(&self, guard: usize, refused: Refused, at: UnixMillis) {
        let Some((name, kind)) = self.names.guards.get(guard) else {
            return;
        };
        self.emit(
            name,
            at,
            &format!("GUARD_{kind}_AUTHORIZATION_FAILED"),
            |line| {
                // Writing to a vector does not fail.
                let _ = write!(line, "{kind} authorization failed: {refused}.");
            },
        );
    }

    /// A TLS handshake came to nothing; `kind` as in `BINDING_TLS_HANDSHAKE_FAILED`.
    pub fn tls_failed(&self, server: usize, kind: &str, reason: &str, at: UnixMillis) {
        let Some(name) = self.names.tls_servers.get(server) else {
            return;
        };
        self.emit(name, at, &format!("BINDING_TLS_{kind}"), |line| {
            push_escaped(line, reason.as_bytes());
        });
    }

    /// Something happened between this core and a cluster.
    pub fn cluster(&self, cluster: usize, event: ClusterEvent<'_>, at: UnixMillis) {
        let (Some(kafka), Some(tcp)) = (
            self.names.clusters.get(cluster),
            self.names.tcp_clients.get(cluster),
        ) else {
            return;
        };
        match event {
            ClusterEvent::DnsFailed { host } => {
                self.emit(tcp, at, "BINDING_TCP_DNS_FAILED", |line| {
                    push_escaped(line, host.as_bytes());
                });
            }
            ClusterEvent::ConnectionFailed { host, port, reason } => {
                let name = "BINDING_KAFKA_BROKER_CONNECTION_FAILED";
                self.emit(&kafka.full_name, at, name, |line| {
                    push_escaped(line, host.as_bytes());
                    // Writing to a vector does not fail.
                    let _ = write!(line, ":{port} ");
                    push_text(line, reason);
                });
            }
            ClusterEvent::ProduceError {
                topic,
                partition,
                error,
            } => {
                self.emit(
                    &kafka.full_name,
                    at,
                    "BINDING_KAFKA_PRODUCE_ERROR",
                    |line| {
                        push_escaped(line, topic.as_bytes());
                        let _ = write!(line, "-{partition} {error}");
                    },
                );
            }
        }
    }

    fn emit(&self, binding: &str, at: UnixMillis, name: &str, text: impl FnOnce(&mut Vec<u8>)) {
        let mut line = Vec::with_capacity(160);
        line.extend_from_slice(binding.as_bytes());
        line.extend_from_slice(b" [");
        self.push_cached_time(&mut line, at);
        line.extend_from_slice(b"] ");
        line.extend_from_slice(name.as_bytes());
        line.push(b' ');
        text(&mut line);
        line.push(b'\n');
        self.lines.send(line);
    }

    fn push_cached_time(&self, line: &mut Vec<u8>, at: UnixMillis) {
        let mut time = self.time.borrow_mut();
        let (second, text) = &mut *time;
        if text.is_empty() || *second != at.0 / 1_000 {
            *second = at.0 / 1_000;
            text.clear();
            push_time(text, at);
        }
        line.extend_from_slice(text);
    }
}

/// Text of ours or of the system's: spaces stay.
fn push_text(line: &mut Vec<u8>, text: &str) {
    for (index, word) in text.split(' ').enumerate() {
        if index > 0 {
            line.push(b' ');
        }
        push_escaped(line, word.as_bytes());
    }
}

/// `- GET http://host:port/path`: nobody is known by name yet, the port is the scheme's when the client named none.
fn push_request(line: &mut Vec<u8>, head: &RequestHead, target: &[u8]) {
    line.extend_from_slice(b"- ");
    line.extend_from_slice(head.method.as_str().as_bytes());
    line.push(b' ');
    let is_absolute = !target.starts_with(b"/") && target != b"*";
    if is_absolute {
        return push_escaped(line, target);
    }
    line.extend_from_slice(head.scheme.as_str().as_bytes());
    line.extend_from_slice(b"://");
    let authority = head.authority();
    push_escaped(line, authority);
    let after_address = authority
        .iter()
        .rposition(|byte| *byte == b']')
        .map_or(0, |at| at + 1);
    if !authority.is_empty() && !authority[after_address..].contains(&b':') {
        line.extend_from_slice(match head.scheme {
            Scheme::Http => b":80",
            Scheme::Https => b":443",
        });
    }
    push_escaped(line, target);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{Headers, Method, Version};

    fn request(authority: &[u8], target: &[u8]) -> String {
        let head = RequestHead::new(
            Method::Get,
            Scheme::Http,
            Version::Http11,
            authority,
            target,
            Headers::new(),
        );
        let mut line = Vec::new();
        push_request(&mut line, &head, head.target());
        String::from_utf8(line).unwrap()
    }

    #[test]
    fn times_are_those_of_an_access_log() {
        let mut out = Vec::new();
        push_time(&mut out, UnixMillis(784_111_777_999));
        assert_eq!(out, b"06/Nov/1994:08:49:37 +0000");
    }

    #[test]
    fn a_request_is_written_with_its_port() {
        assert_eq!(
            request(b"localhost:7114", b"/items?a=b"),
            "- GET http://localhost:7114/items?a=b"
        );
        assert_eq!(
            request(b"example.com", b"/"),
            "- GET http://example.com:80/"
        );
        assert_eq!(request(b"[::1]", b"/"), "- GET http://[::1]:80/");
        assert_eq!(request(b"", b"/"), "- GET http:///");
        assert_eq!(
            request(b"a", b"/x\nexample:http [now] FORGED"),
            r"- GET http://a:80/x\x0aexample:http\x20[now]\x20FORGED"
        );
    }
}
