//! The figures of one core. They are written by that core alone, copied when somebody asks, and added up elsewhere.
//!
//! ```text
//!  core ─ counts ─▶ Metrics ─ snapshot, when asked ─▶ Snapshot ─ merge ─▶ text ─▶ whoever scrapes
//! ```
//! Rule: no lock, no atomic, no hashing of names: bindings and routes are numbers of the plan.

pub mod family;
pub mod figures;
pub mod names;
pub mod snapshot;
pub mod text;

use std::cell::RefCell;
use std::time::Duration;

use super::access::Answered;
use crate::config::ZillaMetric;
use crate::grpc::status::Code;
use crate::http::Method;
use family::{Metric, SIZE_MAX, TIME_US_MAX};
use figures::{Counter, Gauge, LazyDistribution, Powers};
use names::Names;
use snapshot::{Series, Snapshot, Value};

/// What one core has counted since the start.
#[derive(Debug)]
pub struct Metrics {
    /// Connections of clients that are open.
    pub connections: Gauge,
    /// Connections accepted.
    pub connections_accepted: Counter,
    /// Connections closed at once because there were too many.
    pub connections_refused: Counter,
    /// Connections ended by a panic.
    pub panics: Counter,
    /// Connections ended because of what the client sent.
    pub requests_malformed: Counter,
    /// Bytes of request bodies under way.
    pub body_bytes: Gauge,
    /// Reads answered from the cache.
    pub cache_hits: Counter,
    /// Reads that had to look in Kafka.
    pub cache_misses: Counter,
    /// Reads that were answered before the cache had what this process had acknowledged.
    pub reads_behind: Counter,
    /// Event streams that are open.
    pub sse_streams: Gauge,
    /// Events passed on to clients.
    pub sse_events: Counter,
    /// Event streams whose clients were too slow for shared blocks.
    pub sse_lagged: Counter,
    /// Gaps that clients were told of.
    pub sse_gaps: Counter,
    /// TLS handshakes completed.
    pub tls_handshakes: Counter,
    /// TLS handshakes that failed or took too long.
    pub tls_handshakes_failed: Counter,
    /// Credentials that a guard refused.
    pub authorizations_failed: Counter,
    /// HTTP/2 connections closed for a flood.
    pub floods: Counter,
    /// Calls of gRPC that were answered.
    pub grpc_calls: Codes,
    /// Calls found in request topics that were closed.
    pub remote_calls: Codes,
    /// Those that are open.
    pub remote_calls_open: Gauge,
    /// Runs of them that came to nothing and were begun anew.
    pub remote_retries: Counter,
    listeners: Box<[Streams]>,
    servers: Box<[Server]>,
    /// For each http server: each route, then none.
    routes: Box<[RefCell<Vec<Answers>>]>,
    durations: Box<[LazyDistribution]>,
    routes_each: usize,
    produce_ack: LazyDistribution,
    batch_records: LazyDistribution,
    batch_bytes: LazyDistribution,
}

/// A counter for each status of gRPC.
#[derive(Debug, Default)]
pub struct Codes([Counter; 17]);

impl Codes {
    /// One more ended with this status.
    pub fn increment(&self, code: Code) {
        // Numbers from elsewhere are UNKNOWN before they get here.
        if let Some(counter) = self.0.get(usize::from(code.0)) {
            counter.increment();
        }
    }

    fn add_to(&self, out: &mut Snapshot, metric: Metric) {
        for (code, counter) in (0..).zip(&self.0) {
            if counter.value() > 0 {
                out.number(metric, Series::Code(Code(code)), counter.value());
            }
        }
    }
}

/// How often a method was answered with a status.
#[derive(Clone, Copy, Debug)]
struct Answers {
    method: Method,
    status: u16,
    count: u64,
}

/// The streams of a binding, as Zilla counts them.
#[derive(Debug, Default)]
struct Streams {
    opens: Counter,
    /// Connections accepted, or answers begun.
    answers: Counter,
    closes: Counter,
    errors: Counter,
    received: Counter,
    sent: Counter,
    active: Gauge,
}

#[derive(Debug, Default)]
struct Server {
    streams: Streams,
    request_sizes: RefCell<Powers>,
    response_sizes: RefCell<Powers>,
    /// In nanoseconds.
    durations: RefCell<Powers>,
}

impl Metrics {
    /// A core on which nothing has happened.
    pub fn new(names: &Names) -> Self {
        let routes_each = names.routes.len() + 1;
        let slots = names.servers.len() * routes_each;
        Self {
            connections: Gauge::default(),
            connections_accepted: Counter::default(),
            connections_refused: Counter::default(),
            panics: Counter::default(),
            requests_malformed: Counter::default(),
            body_bytes: Gauge::default(),
            cache_hits: Counter::default(),
            cache_misses: Counter::default(),
            reads_behind: Counter::default(),
            sse_streams: Gauge::default(),
            sse_events: Counter::default(),
            sse_lagged: Counter::default(),
            sse_gaps: Counter::default(),
            tls_handshakes: Counter::default(),
            tls_handshakes_failed: Counter::default(),
            authorizations_failed: Counter::default(),
            floods: Counter::default(),
            grpc_calls: Codes::default(),
            remote_calls: Codes::default(),
            remote_calls_open: Gauge::default(),
            remote_retries: Counter::default(),
            listeners: names.listeners.iter().map(|_| Streams::default()).collect(),
            servers: names.servers.iter().map(|_| Server::default()).collect(),
            routes: (0..slots).map(|_| RefCell::default()).collect(),
            durations: (0..slots)
                .map(|_| LazyDistribution::new(TIME_US_MAX))
                .collect(),
            routes_each,
            produce_ack: LazyDistribution::new(TIME_US_MAX),
            batch_records: LazyDistribution::new(SIZE_MAX),
            batch_bytes: LazyDistribution::new(SIZE_MAX),
        }
    }

    /// A connection to the tcp server with this number was accepted.
    pub fn connection_opened(&self, listener: usize) {
        if let Some(streams) = self.listeners.get(listener) {
            streams.opens.increment();
            streams.answers.increment();
            streams.active.add(1);
        }
    }

    /// Bytes went over a connection to the tcp server with this number.
    pub fn connection_moved(&self, listener: usize, received: usize, sent: usize) {
        if let Some(streams) = self.listeners.get(listener) {
            streams.received.add(received as u64);
            streams.sent.add(sent as u64);
        }
    }

    /// A connection to the tcp server with this number has ended, in order or not.
    pub fn connection_closed(&self, listener: usize, in_order: bool) {
        if let Some(streams) = self.listeners.get(listener) {
            let counter = if in_order {
                &streams.closes
            } else {
                &streams.errors
            };
            counter.increment();
            streams.active.subtract(1);
        }
    }

    /// A request has come to the http server with this number.
    pub fn request_began(&self, server: usize) {
        if let Some(server) = self.servers.get(server) {
            server.streams.opens.increment();
            server.streams.active.add(1);
        }
    }

    /// A request has been answered, or has broken off (status 0).
    pub fn request_ended(&self, method: Method, received: u64, answered: &Answered) {
        let Some(server) = self.servers.get(answered.server) else {
            return;
        };
        let streams = &server.streams;
        streams.active.subtract(1);
        streams.received.add(received);
        streams.sent.add(answered.sent);
        if answered.status == 0 {
            streams.errors.increment();
        } else {
            streams.answers.increment();
            streams.closes.increment();
            server.request_sizes.borrow_mut().record(received);
            server.response_sizes.borrow_mut().record(answered.sent);
            let nanos = u64::try_from(answered.took.as_nanos()).unwrap_or(u64::MAX);
            server.durations.borrow_mut().record(nanos);
        }
        let route = answered.route.unwrap_or(self.routes_each - 1);
        let slot = answered.server * self.routes_each + route.min(self.routes_each - 1);
        self.durations[slot].record(micros(answered.took));
        let mut answers = self.routes[slot].borrow_mut();
        let known = answers
            .iter_mut()
            .find(|known| known.method == method && known.status == answered.status);
        match known {
            Some(known) => known.count += 1,
            None => answers.push(Answers {
                method,
                status: answered.status,
                count: 1,
            }),
        }
    }

    /// A produce request was acknowledged after this time.
    pub fn produce_acknowledged(&self, took: Duration) {
        self.produce_ack.record(micros(took));
    }

    /// A batch was sent.
    pub fn batch_sent(&self, records: usize, bytes: usize) {
        self.batch_records.record(records as u64);
        self.batch_bytes.record(bytes as u64);
    }

    /// A copy of it all.
    pub fn snapshot(&self) -> Snapshot {
        let mut out = Snapshot::default();
        for (metric, value) in [
            (Metric::Connections, self.connections.value()),
            (
                Metric::ConnectionsAccepted,
                self.connections_accepted.value(),
            ),
            (Metric::ConnectionsRefused, self.connections_refused.value()),
            (Metric::Panics, self.panics.value()),
            (Metric::RequestsMalformed, self.requests_malformed.value()),
            (Metric::BodyBytes, self.body_bytes.value()),
            (Metric::CacheHits, self.cache_hits.value()),
            (Metric::CacheMisses, self.cache_misses.value()),
            (Metric::ReadsBehind, self.reads_behind.value()),
            (Metric::SseStreams, self.sse_streams.value()),
            (Metric::SseEvents, self.sse_events.value()),
            (Metric::SseLagged, self.sse_lagged.value()),
            (Metric::SseGaps, self.sse_gaps.value()),
            (Metric::TlsHandshakes, self.tls_handshakes.value()),
            (
                Metric::TlsHandshakesFailed,
                self.tls_handshakes_failed.value(),
            ),
            (
                Metric::AuthorizationsFailed,
                self.authorizations_failed.value(),
            ),
            (Metric::Floods, self.floods.value()),
            (Metric::RemoteCallsOpen, self.remote_calls_open.value()),
            (Metric::RemoteRetries, self.remote_retries.value()),
        ] {
            out.number(metric, Series::Process, value);
        }
        for (metric, values) in [
            (Metric::ProduceAck, &self.produce_ack),
            (Metric::BatchRecords, &self.batch_records),
            (Metric::BatchBytes, &self.batch_bytes),
        ] {
            if let Some(values) = values.copy() {
                out.add(metric, Series::Process, Value::Distribution(values));
            }
        }
        self.grpc_calls.add_to(&mut out, Metric::GrpcCalls);
        self.remote_calls.add_to(&mut out, Metric::RemoteCalls);
        for (number, streams) in self.listeners.iter().enumerate() {
            streams.add_to(&mut out, &Series::Listener(number));
        }
        for (number, server) in self.servers.iter().enumerate() {
            server.add_to(&mut out, &Series::Server(number));
        }
        self.add_routes(&mut out);
        out
    }

    fn add_routes(&self, out: &mut Snapshot) {
        for (slot, answers) in self.routes.iter().enumerate() {
            let server = slot / self.routes_each;
            let route = Some(slot % self.routes_each).filter(|route| route + 1 < self.routes_each);
            for answers in &*answers.borrow() {
                let series = Series::Request {
                    server,
                    route,
                    method: answers.method,
                    status: answers.status,
                };
                out.number(Metric::Requests, series, answers.count);
            }
            if let Some(durations) = self.durations[slot].copy() {
                let series = Series::Route { server, route };
                out.add(
                    Metric::RequestDuration,
                    series,
                    Value::Distribution(durations),
                );
            }
        }
    }
}

impl Streams {
    fn add_to(&self, out: &mut Snapshot, series: &Series) {
        let active = self.active.value();
        for (metric, value) in [
            (ZillaMetric::StreamOpensReceived, self.opens.value()),
            (ZillaMetric::StreamOpensSent, self.answers.value()),
            (ZillaMetric::StreamClosesReceived, self.closes.value()),
            (ZillaMetric::StreamClosesSent, self.closes.value()),
            (ZillaMetric::StreamErrorsReceived, self.errors.value()),
            (ZillaMetric::StreamErrorsSent, self.errors.value()),
            (ZillaMetric::StreamDataReceived, self.received.value()),
            (ZillaMetric::StreamDataSent, self.sent.value()),
            (ZillaMetric::StreamActiveReceived, active),
            (ZillaMetric::StreamActiveSent, active),
        ] {
            out.number(Metric::Zilla(metric), series.clone(), value);
        }
    }
}

impl Server {
    fn add_to(&self, out: &mut Snapshot, series: &Series) {
        self.streams.add_to(out, series);
        let active = Metric::Zilla(ZillaMetric::HttpActiveRequests);
        out.number(active, series.clone(), self.streams.active.value());
        for (metric, values) in [
            (ZillaMetric::HttpRequestSize, &self.request_sizes),
            (ZillaMetric::HttpResponseSize, &self.response_sizes),
            (ZillaMetric::HttpDuration, &self.durations),
        ] {
            let values = Value::Powers(Box::new(values.borrow().clone()));
            out.add(Metric::Zilla(metric), series.clone(), values);
        }
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::names::{Binding, Route};
    use super::*;

    fn metrics() -> Metrics {
        Metrics::new(&Names {
            servers: vec![Binding::default(); 2],
            routes: vec![Route::default(); 3],
            ..Names::default()
        })
    }

    fn answered(server: usize, route: Option<usize>, status: u16) -> Answered {
        Answered {
            server,
            route,
            status,
            sent: 10,
            took: Duration::from_millis(2),
        }
    }

    fn number(snapshot: &Snapshot, metric: Metric, series: &Series) -> Option<u64> {
        snapshot
            .iter()
            .find(|(name, owner, _)| *name == metric && *owner == series)
            .map(|(_, _, value)| match value {
                Value::Number(number) => *number,
                Value::Distribution(values) => values.count(),
                Value::Powers(values) => values.count(),
            })
    }

    #[test]
    fn requests_are_counted_by_server_route_method_and_status() {
        let metrics = metrics();
        for (server, route, status) in [
            (0, Some(0), 204),
            (0, Some(0), 204),
            (0, Some(0), 503),
            (1, Some(2), 200),
            (1, None, 404),
            (7, Some(9), 200),
        ] {
            metrics.request_began(server);
            metrics.request_ended(Method::Put, 5, &answered(server, route, status));
        }
        let snapshot = metrics.snapshot();
        let count = |server, route, status| {
            let series = Series::Request {
                server,
                route,
                method: Method::Put,
                status,
            };
            number(&snapshot, Metric::Requests, &series)
        };
        assert_eq!(count(0, Some(0), 204), Some(2));
        assert_eq!(count(0, Some(0), 503), Some(1));
        assert_eq!(count(1, Some(2), 200), Some(1));
        assert_eq!(count(1, None, 404), Some(1));
        assert_eq!(count(1, Some(1), 200), None);
        let route = Series::Route {
            server: 0,
            route: Some(0),
        };
        assert_eq!(number(&snapshot, Metric::RequestDuration, &route), Some(3));
    }

    #[test]
    fn a_request_that_breaks_off_is_an_error_and_no_longer_active() {
        let metrics = metrics();
        metrics.request_began(0);
        metrics.request_began(0);
        metrics.request_ended(Method::Get, 0, &answered(0, Some(1), 0));
        let snapshot = metrics.snapshot();
        let count = |metric| number(&snapshot, Metric::Zilla(metric), &Series::Server(0));
        assert_eq!(count(ZillaMetric::StreamOpensReceived), Some(2));
        assert_eq!(count(ZillaMetric::StreamErrorsSent), Some(1));
        assert_eq!(count(ZillaMetric::StreamClosesSent), Some(0));
        assert_eq!(count(ZillaMetric::HttpActiveRequests), Some(1));
        assert_eq!(count(ZillaMetric::HttpDuration), Some(0));
    }

    #[test]
    fn a_snapshot_can_leave_its_core() {
        fn sendable<T: Send + 'static>() {}
        sendable::<Snapshot>();
    }
}
