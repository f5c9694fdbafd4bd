//! The families of metrics: names, help texts, kinds and buckets. Names have Prometheus' base units, Zilla's are as Zilla has them.

use crate::config::{MetricShape, ZillaMetric};

/// The longest time that distributions of times tell apart: an hour, in microseconds.
pub const TIME_US_MAX: u64 = 3_600_000_000;
/// The largest count or size that the other distributions tell apart.
pub const SIZE_MAX: u64 = 1 << 30;

/// Upper limits in microseconds; shown in seconds.
const TIMES_US: &[u64] = &[
    50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000, 2_500_000, 5_000_000, 10_000_000, 30_000_000,
];
const RECORDS: &[u64] = &[1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000];
const BYTES: &[u64] = &[
    256, 1_024, 4_096, 16_384, 65_536, 262_144, 1_048_576, 4_194_304,
];

/// A family. The order is that of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "each one's help text says what it is")]
pub enum Metric {
    Info,
    ScrapeCoresMissing,
    Requests,
    RequestDuration,
    RequestsMalformed,
    Connections,
    ConnectionsAccepted,
    ConnectionsRefused,
    Panics,
    BodyBytes,
    ProduceAck,
    BatchRecords,
    BatchBytes,
    FetchLag,
    CacheBytes,
    CacheLimitBytes,
    CacheHits,
    CacheMisses,
    ReadsBehind,
    SseStreams,
    SseEvents,
    SseLagged,
    SseGaps,
    TlsHandshakes,
    TlsHandshakesFailed,
    AuthorizationsFailed,
    Floods,
    GrpcCalls,
    RemoteCalls,
    RemoteCallsOpen,
    RemoteRetries,
    Waiters,
    Exchanges,
    RepliesKnown,
    InboxDepth,
    LinesDropped,
    Zilla(ZillaMetric),
}

/// How a family's values are to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FamilyKind {
    /// Only goes up.
    Counter,
    /// Goes up and down.
    Gauge,
    /// A distribution.
    Histogram,
}

impl FamilyKind {
    /// What `# TYPE` says.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

impl Metric {
    /// The name for Prometheus.
    pub fn name(self) -> String {
        match self {
            Self::Zilla(metric) => metric.prometheus_name(),
            own => own.own().0.to_owned(),
        }
    }

    /// What it is, in a sentence.
    pub fn help(self) -> &'static str {
        self.own().1
    }

    /// How its values are to be read.
    pub const fn kind(self) -> FamilyKind {
        match self {
            Self::Requests
            | Self::RequestsMalformed
            | Self::ConnectionsAccepted
            | Self::ConnectionsRefused
            | Self::Panics
            | Self::CacheHits
            | Self::CacheMisses
            | Self::ReadsBehind
            | Self::SseEvents
            | Self::SseLagged
            | Self::SseGaps
            | Self::TlsHandshakes
            | Self::TlsHandshakesFailed
            | Self::AuthorizationsFailed
            | Self::Floods
            | Self::GrpcCalls
            | Self::RemoteCalls
            | Self::RemoteRetries
            | Self::LinesDropped => FamilyKind::Counter,
            Self::RequestDuration | Self::ProduceAck | Self::BatchRecords | Self::BatchBytes => {
                FamilyKind::Histogram
            }
            Self::Info
            | Self::ScrapeCoresMissing
            | Self::Connections
            | Self::BodyBytes
            | Self::FetchLag
            | Self::CacheBytes
            | Self::CacheLimitBytes
            | Self::SseStreams
            | Self::RemoteCallsOpen
            | Self::Waiters
            | Self::Exchanges
            | Self::RepliesKnown
            | Self::InboxDepth => FamilyKind::Gauge,
            Self::Zilla(metric) => match metric.shape() {
                MetricShape::Counter { .. } => FamilyKind::Counter,
                MetricShape::Gauge => FamilyKind::Gauge,
                MetricShape::Sizes | MetricShape::Times => FamilyKind::Histogram,
            },
        }
    }

    /// The upper limits of a distribution's buckets as recorded, and how many of the recorded units make one that is shown.
    pub const fn buckets(self) -> (&'static [u64], f64) {
        match self {
            Self::RequestDuration | Self::ProduceAck => (TIMES_US, 1e6),
            Self::BatchBytes => (BYTES, 1.0),
            Self::Zilla(ZillaMetric::HttpDuration) => (&[], 1e6), // recorded in ns, shown in ms
            _ => (RECORDS, 1.0),
        }
    }

    /// Name and help.
    #[expect(clippy::too_many_lines, reason = "a table")]
    const fn own(self) -> (&'static str, &'static str) {
        match self {
            Self::Info => (
                "sluice_info",
                "Always 1: version and the attributes of the telemetry",
            ),
            Self::ScrapeCoresMissing => (
                "sluice_scrape_cores_missing",
                "Cores that did not answer this scrape in time and are not in its figures",
            ),
            Self::Requests => (
                "sluice_requests_total",
                "Requests by route, method and status",
            ),
            Self::RequestDuration => (
                "sluice_request_duration_seconds",
                "From a request's head to the end of its answer",
            ),
            Self::RequestsMalformed => (
                "sluice_requests_malformed_total",
                "Connections ended because of what the client sent",
            ),
            Self::Connections => ("sluice_connections", "Connections of clients that are open"),
            Self::ConnectionsAccepted => (
                "sluice_connections_total",
                "Connections of clients accepted",
            ),
            Self::ConnectionsRefused => (
                "sluice_connections_refused_total",
                "Connections closed at once because there were too many",
            ),
            Self::Panics => ("sluice_panics_total", "Connections ended by a panic"),
            Self::BodyBytes => ("sluice_body_bytes", "Bytes of request bodies under way"),
            Self::ProduceAck => (
                "sluice_produce_ack_seconds",
                "From sending a produce request to the broker's acknowledgement",
            ),
            Self::BatchRecords => ("sluice_produce_batch_records", "Records in each batch sent"),
            Self::BatchBytes => ("sluice_produce_batch_bytes", "Bytes of each batch sent"),
            Self::FetchLag => (
                "sluice_fetch_lag_records",
                "Offsets between the broker's readable end and what was read, over all partitions of a topic",
            ),
            Self::CacheBytes => ("sluice_cache_bytes", "Bytes of cached records"),
            Self::CacheLimitBytes => (
                "sluice_cache_limit_bytes",
                "Bytes that cached records may take",
            ),
            Self::CacheHits => ("sluice_cache_hits_total", "Reads answered from the cache"),
            Self::CacheMisses => (
                "sluice_cache_misses_total",
                "Reads that had to look in Kafka",
            ),
            Self::ReadsBehind => (
                "sluice_reads_behind_total",
                "Reads answered before the cache had what this process had acknowledged",
            ),
            Self::SseStreams => ("sluice_sse_streams", "Event streams that are open"),
            Self::SseEvents => ("sluice_sse_events_total", "Events passed on to clients"),
            Self::SseLagged => (
                "sluice_sse_lagged_total",
                "Event streams whose clients took so little that they had to read on by themselves",
            ),
            Self::SseGaps => (
                "sluice_sse_gaps_total",
                "Records that were gone before an event stream got to them: how often a client was told of it",
            ),
            Self::TlsHandshakes => ("sluice_tls_handshakes_total", "TLS handshakes completed"),
            Self::TlsHandshakesFailed => (
                "sluice_tls_handshakes_failed_total",
                "TLS handshakes that failed or took too long",
            ),
            Self::AuthorizationsFailed => (
                "sluice_authorizations_failed_total",
                "Credentials that a guard refused",
            ),
            Self::Floods => (
                "sluice_http2_floods_total",
                "HTTP/2 connections closed because they sent frames that do nothing, or took requests back, without end",
            ),
            Self::GrpcCalls => (
                "sluice_grpc_calls_total",
                "Calls of gRPC that were answered, by status",
            ),
            Self::RemoteCalls => (
                "sluice_remote_calls_total",
                "Calls found in request topics that were closed, by status",
            ),
            Self::RemoteCallsOpen => (
                "sluice_remote_calls_open",
                "Calls found in request topics that are open",
            ),
            Self::RemoteRetries => (
                "sluice_remote_retries_total",
                "Runs of calls found in request topics that came to nothing and were begun anew",
            ),
            Self::Waiters => (
                "sluice_waiters",
                "Requests that wait for a reply or for a topic to change",
            ),
            Self::Exchanges => (
                "sluice_exchanges",
                "Correlation ids whose request or reply is on its way",
            ),
            Self::RepliesKnown => (
                "sluice_replies_known",
                "Replies that repeats of their requests would find",
            ),
            Self::InboxDepth => ("sluice_inbox_depth", "Messages that wait for a core"),
            Self::LinesDropped => (
                "sluice_lines_dropped_total",
                "Event and access lines dropped because standard output is read too slowly",
            ),
            Self::Zilla(metric) => ("", zilla_help(metric)),
        }
    }
}

const fn zilla_help(metric: ZillaMetric) -> &'static str {
    match metric {
        ZillaMetric::StreamOpensReceived => "Number of opened received streams",
        ZillaMetric::StreamOpensSent => "Number of opened sent streams",
        ZillaMetric::StreamClosesReceived => "Number of closed received streams",
        ZillaMetric::StreamClosesSent => "Number of closed sent streams",
        ZillaMetric::StreamErrorsReceived => "Number of errors on received streams",
        ZillaMetric::StreamErrorsSent => "Number of errors on sent streams",
        ZillaMetric::StreamDataReceived => "Bytes of data on received streams",
        ZillaMetric::StreamDataSent => "Bytes of data on sent streams",
        ZillaMetric::StreamActiveReceived => "Number of currently active received streams",
        ZillaMetric::StreamActiveSent => "Number of currently active sent streams",
        ZillaMetric::HttpRequestSize => "HTTP request content length",
        ZillaMetric::HttpResponseSize => "HTTP response content length",
        ZillaMetric::HttpActiveRequests => "Number of active HTTP requests",
        ZillaMetric::HttpDuration => "HTTP request to response duration",
    }
}
