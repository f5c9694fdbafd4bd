//! Clients of other servers in the plan: what their connections go over, and what they may cost.
//!
//! An `http` or `grpc` client over a `tls` client, if there is one, over a `tcp` client. Rule: every time and every number of things has a bound here.

use std::sync::Arc;
use std::time::Duration;

use super::{HttpVersions, TlsClient};

/// An `http` client.
#[derive(Clone, Debug)]
pub struct HttpClient {
    /// The namespace of the binding.
    pub namespace: String,
    /// The name of the binding.
    pub name: String,
    /// Its place among all http clients of the plan, from 0.
    pub number: usize,
    /// The versions that are spoken. Over TLS, ALPN decides between both; without it, HTTP/2 is spoken only if it is the only one (RFC 9113 3.3).
    pub versions: HttpVersions,
    /// Headers (lower case, pseudo headers too) put into every request.
    pub overrides: Vec<(String, String)>,
    /// What its connections are encrypted by; `None`: they are not.
    pub tls: Option<Arc<TlsClient>>,
    /// Where it connects to.
    pub tcp: Arc<TcpClient>,
    /// What it may cost.
    pub limits: ClientLimits,
}

/// A `tcp` client under an http client.
#[derive(Clone, Debug)]
pub struct TcpClient {
    /// The namespace of the binding.
    pub namespace: String,
    /// The name of the binding.
    pub name: String,
    /// The name or address to connect to; `None`: the one in the request's `:authority`.
    pub host: Option<String>,
    /// The port to connect to; `None`: the one in the request's `:authority`, else the scheme's.
    pub port: Option<u16>,
}

/// Bounds of an http client on one core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientLimits {
    /// From the first look at a name to a connection that takes requests, TLS included; all addresses share it. 1 ms to 1 h, as all times here.
    pub connect_timeout: Duration,
    /// From the end of a request to the head of its answer, and how long a request waits for a connection.
    pub response_timeout: Duration,
    /// How long a connection without a request is kept.
    pub idle_timeout: Duration,
    /// How long a connection with requests may be silent before it is asked whether it is there (HTTP/2's PING).
    pub ping_after: Duration,
    /// How long the answer to that may take before the connection counts as broken.
    pub ping_timeout: Duration,
    /// Connections to one host and port, 1 to 1,024.
    pub connections_max: usize,
    /// Requests of one HTTP/2 connection at work at once, 1 to 10,000; the server may allow fewer.
    pub streams_max: usize,
    /// Requests to one host and port that wait for a connection, 0 to 100,000; those beyond are refused.
    pub queue_len_max: usize,
    /// Status line and headers of an answer, 8 KiB to 1 MiB.
    pub head_bytes_max: usize,
    /// Header lines of an answer over HTTP/1.1, 8 to 1,024.
    pub headers_max: usize,
}

impl Default for ClientLimits {
    /// 5 s to connect, 30 s to answer, 60 s idle, asked after 20 s of silence, 10 s for the reply; 10 connections (Zilla's number) of 100 requests, 1,000
    /// that wait; a head of 32 KiB and 128 headers.
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(5),
            response_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(60),
            ping_after: Duration::from_secs(20),
            ping_timeout: Duration::from_secs(10),
            connections_max: 10,
            streams_max: 100,
            queue_len_max: 1_000,
            head_bytes_max: 32 << 10,
            headers_max: 128,
        }
    }
}
