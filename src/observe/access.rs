//! The access log: one line for each request that is answered or breaks off, in the queue of [`super::lines`].
//!
//! `access [<time>] <client> <method> <path> <status> <bytes> <milliseconds>ms <namespace>:<binding> <route>`. What a query says is nobody's business: it is
//! written as `?…`.

use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::events::push_time;
use super::lines::{Lines, push_escaped};
use super::metrics::names::Names;
use crate::clock::UnixMillis;
use crate::http::{Method, RequestHead};

/// Bytes of a path that a line shows.
const PATH_BYTES_MAX: usize = 1024;

/// What a line says of a request's head; kept until the answer is whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    client: Option<SocketAddr>,
    method: Method,
    path: Vec<u8>,
}

impl Asked {
    /// Of a request from `client`.
    pub fn new(client: Option<SocketAddr>, head: &RequestHead) -> Self {
        let path = head.path();
        let mut shown = Vec::with_capacity(path.len().min(PATH_BYTES_MAX) + 4);
        push_escaped(&mut shown, &path[..path.len().min(PATH_BYTES_MAX)]);
        if path.len() > PATH_BYTES_MAX {
            shown.extend_from_slice("…".as_bytes());
        }
        if head.query().is_some() {
            shown.extend_from_slice("?…".as_bytes());
        }
        Self {
            client,
            method: head.method,
            path: shown,
        }
    }
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answered {
    /// The http server.
    pub server: usize,
    /// The route that took it.
    pub route: Option<usize>,
    /// The status; 0: the client was gone before its answer was whole.
    pub status: u16,
    /// Bytes of the answer's body.
    pub sent: u64,
    /// From the head to the end of the answer.
    pub took: Duration,
}

/// Writes the lines of one core.
#[derive(Debug)]
pub struct AccessLog {
    lines: Lines,
    names: Arc<Names>,
}

impl AccessLog {
    /// A log that goes to `lines`.
    pub const fn new(lines: Lines, names: Arc<Names>) -> Self {
        Self { lines, names }
    }

    /// Writes the line of a request that ended at `at`.
    pub fn write(&self, asked: &Asked, answered: &Answered, at: UnixMillis) {
        self.lines.send(line(&self.names, asked, answered, at));
    }
}

fn line(names: &Names, asked: &Asked, answered: &Answered, at: UnixMillis) -> Vec<u8> {
    let mut line = Vec::with_capacity(160);
    line.extend_from_slice(b"access [");
    push_time(&mut line, at);
    line.extend_from_slice(b"] ");
    // Writing to a vector does not fail.
    let _ = match asked.client {
        Some(client) => write!(line, "{client} "),
        None => write!(line, "- "),
    };
    line.extend_from_slice(asked.method.as_str().as_bytes());
    line.push(b' ');
    line.extend_from_slice(&asked.path);
    let _ = match answered.status {
        0 => write!(line, " aborted"),
        status => write!(line, " {status}"),
    };
    let milliseconds = answered.took.as_secs_f64() * 1e3;
    let server = names
        .servers
        .get(answered.server)
        .map_or("", |binding| &binding.full_name);
    let route = names.route_paths(answered.route);
    let _ = writeln!(
        line,
        " {} {milliseconds:.3}ms {server} {route}",
        answered.sent
    );
    line
}

#[cfg(test)]
mod tests {
    use super::super::metrics::names::{Binding, Route};
    use super::*;
    use crate::config::MetricSet;
    use crate::http::{Headers, Scheme, Version};

    #[test]
    fn a_line_hides_the_query_and_escapes_the_path() {
        let names = Names {
            servers: vec![Binding::new("example", "http", MetricSet::default())],
            routes: vec![Route {
                mapping: "mapping".into(),
                paths: "/items/{id}".into(),
            }],
            ..Names::default()
        };
        let head = RequestHead::new(
            Method::Put,
            Scheme::Http,
            Version::Http11,
            b"localhost",
            b"/items/\x7f?token=secret",
            Headers::new(),
        );
        let asked = Asked::new(Some(([127, 0, 0, 1], 4000).into()), &head);
        let answered = Answered {
            server: 0,
            route: Some(0),
            status: 204,
            sent: 12,
            took: Duration::from_micros(1_500),
        };
        let at = UnixMillis(784_111_777_000);
        let written = line(&names, &asked, &answered, at);
        assert_eq!(
            String::from_utf8(written).unwrap(),
            "access [06/Nov/1994:08:49:37 +0000] 127.0.0.1:4000 PUT /items/\\x7f?… 204 12 1.500ms example:http /items/{id}\n"
        );
        let gone = Answered {
            status: 0,
            route: None,
            ..answered
        };
        let written = String::from_utf8(line(&names, &asked, &gone, at)).unwrap();
        assert!(
            written.ends_with(" aborted 12 1.500ms example:http none\n"),
            "{written}"
        );
    }
}
