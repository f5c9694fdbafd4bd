//! The plan: what a checked configuration comes down to, and all that the cores get to see of it.
//!
//! The last step of loading. Plain, immutable, shared as one `Arc` by all cores; nothing is optional that has a default,
//! every exit is resolved, every pattern and template compiled.

mod client;
mod files;
mod grpc;
mod guard;
mod sse;
mod tls;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use super::metric::MetricSet;
use super::mistake::Warning;
use crate::route::{HeaderPattern, LocationPattern, MethodPattern, PathTemplate, Template};
pub use client::{ClientLimits, HttpClient, TcpClient};
pub use files::{
    EchoServer, FilesystemServer, FilesystemWhen, HttpFilesystem, HttpFilesystemRoute,
};
pub use grpc::{
    GrpcClient, GrpcClientRoute, GrpcCorrelation, GrpcExit, GrpcKafka, GrpcKafkaRoute,
    GrpcKafkaWith, GrpcRoute, GrpcServer, GrpcWhen, KafkaGrpc, KafkaGrpcRoute, KafkaGrpcWhen,
    MetadataMatch,
};
pub use guard::{
    FieldPatterns, Guard, GuardKind, Guarded, HttpAuthorization, InlineGuard, JwkSource, JwtGuard,
    JwtKeys, Secret, X509Guard,
};
pub use sse::{EventIdForm, SseKafka, SseKafkaRoute, SseRoute, SseServer};
pub use tls::{Mutual, TlsClient, TlsExit, TlsRoute, TlsServer, TlsVersions, TlsWhen};

/// A checked configuration.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where to listen; empty only where there are remote servers.
    pub listeners: Vec<Listener>,
    /// The Kafka clusters that routes lead to.
    pub clusters: Vec<Cluster>,
    /// The guards that routes name.
    pub guards: Vec<Guard>,
    /// The http clients that routes lead to, by their numbers.
    pub http_clients: Vec<Arc<HttpClient>>,
    /// The remote servers: they serve topics, not listeners.
    pub remote_servers: Vec<Arc<KafkaGrpc>>,
    /// Who is told what happens.
    pub telemetry: Telemetry,
    /// What is odd in the file.
    pub warnings: Vec<Warning>,
}

impl Plan {
    /// The http servers that some listener leads to, each once, by their numbers.
    pub fn http_servers(&self) -> BTreeMap<usize, &Arc<HttpServer>> {
        let mut servers = BTreeMap::new();
        for route in self.listeners.iter().flat_map(|listener| &listener.routes) {
            match &route.exit {
                ListenerExit::Http(server) => {
                    servers.insert(server.number, server);
                }
                ListenerExit::Tls(tls) => {
                    for route in &tls.routes {
                        if let TlsExit::Http(server) = &route.exit {
                            servers.insert(server.number, server);
                        }
                    }
                }
                ListenerExit::Echo(_) => {}
            }
        }
        servers
    }

    /// The tls servers that some listener leads to, each once, by their numbers.
    pub fn tls_servers(&self) -> BTreeMap<usize, &Arc<TlsServer>> {
        let routes = self.listeners.iter().flat_map(|listener| &listener.routes);
        let servers = routes.filter_map(|route| match &route.exit {
            ListenerExit::Tls(server) => Some((server.number, server)),
            ListenerExit::Http(_) | ListenerExit::Echo(_) => None,
        });
        servers.collect()
    }

    /// The http-kafka proxies that some listener leads to; one may come more than once.
    pub fn http_kafka(&self) -> impl Iterator<Item = &Arc<HttpKafka>> {
        let servers = self.http_servers().into_values();
        servers.flat_map(|server| {
            server.routes.iter().filter_map(|route| match &route.exit {
                HttpExit::Kafka(proxy) => Some(proxy),
                HttpExit::Sse(_)
                | HttpExit::Filesystem(_)
                | HttpExit::Grpc(_)
                | HttpExit::Client(_)
                | HttpExit::Echo(_) => None,
            })
        })
    }

    /// The sse-kafka proxies that some listener leads to; one may come more than once.
    pub fn sse_kafka(&self) -> impl Iterator<Item = &Arc<SseKafka>> {
        let servers = self.http_servers().into_values();
        let servers = servers.flat_map(|server| {
            server.routes.iter().filter_map(|route| match &route.exit {
                HttpExit::Sse(sse) => Some(sse),
                HttpExit::Kafka(_)
                | HttpExit::Filesystem(_)
                | HttpExit::Grpc(_)
                | HttpExit::Client(_)
                | HttpExit::Echo(_) => None,
            })
        });
        servers.flat_map(|sse| sse.routes.iter().map(|route| &route.exit))
    }

    /// The grpc-kafka proxies that some listener leads to; one may come more than once.
    pub fn grpc_kafka(&self) -> impl Iterator<Item = &Arc<GrpcKafka>> {
        let servers = self.http_servers().into_values();
        let servers = servers.flat_map(|server| {
            server.routes.iter().filter_map(|route| match &route.exit {
                HttpExit::Grpc(grpc) => Some(grpc),
                HttpExit::Kafka(_)
                | HttpExit::Sse(_)
                | HttpExit::Filesystem(_)
                | HttpExit::Client(_)
                | HttpExit::Echo(_) => None,
            })
        });
        servers.flat_map(|grpc| {
            grpc.routes.iter().filter_map(|route| match &route.exit {
                GrpcExit::Kafka(proxy) => Some(proxy),
                GrpcExit::Client(_) | GrpcExit::Echo(_) => None,
            })
        })
    }
}

/// What the exporters of all namespaces come down to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Telemetry {
    /// Names and values that describe this process.
    pub attributes: Vec<(String, String)>,
    /// Whether a `stdout` exporter asks for events.
    pub stdout_events: bool,
    /// Where metrics can be asked for.
    pub prometheus: Vec<PrometheusEndpoint>,
}

/// An address on which a `prometheus` exporter answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrometheusEndpoint {
    /// The name or address to listen on; own option `host`.
    pub host: String,
    /// The port; 0 is the system's choice.
    pub port: u16,
    /// The path, from `/`.
    pub path: String,
}

/// A `tcp` server.
#[derive(Clone, Debug)]
pub struct Listener {
    /// The namespace of the binding.
    pub namespace: String,
    /// The name of the binding.
    pub name: String,
    /// The name or address to listen on.
    pub host: String,
    /// The ports, each once; 0 is the system's choice, and the only one that may stand in several listeners.
    pub ports: Vec<u16>,
    /// The metrics under Zilla's names that it has.
    pub metrics: MetricSet,
    /// First match wins; a connection that matches none is closed.
    pub routes: Vec<ListenerRoute>,
}

impl Listener {
    /// The server for a connection accepted on `address`, where `port` is the port *as configured* (0 stays 0).
    pub fn route(&self, address: IpAddr, port: u16) -> Option<&ListenerExit> {
        let local = SocketAddr::new(address, port);
        self.routes
            .iter()
            .find(|route| route.matches(local))
            .map(|route| &route.exit)
    }
}

/// A route of a listener.
#[derive(Clone, Debug)]
pub struct ListenerRoute {
    /// One of these must match; empty: always.
    pub when: Vec<ListenerWhen>,
    /// Where its connections go.
    pub exit: ListenerExit,
}

/// Where the connections of a listener's route go.
#[derive(Clone, Debug)]
pub enum ListenerExit {
    /// To a server of requests.
    Http(Arc<HttpServer>),
    /// To be decrypted.
    Tls(Arc<TlsServer>),
    /// Back.
    Echo(Arc<EchoServer>),
}

impl ListenerRoute {
    fn matches(&self, local: SocketAddr) -> bool {
        self.when.is_empty() || self.when.iter().any(|when| when.matches(local))
    }
}

/// A condition on the local address of a connection.
#[derive(Clone, Debug, Default)]
pub struct ListenerWhen {
    /// Its port is in one of these; empty: any port.
    pub ports: Vec<RangeInclusive<u16>>,
    /// Its address is in this network.
    pub cidr: Option<Cidr>,
}

impl ListenerWhen {
    fn matches(&self, local: SocketAddr) -> bool {
        let port =
            self.ports.is_empty() || self.ports.iter().any(|range| range.contains(&local.port()));
        port && self.cidr.is_none_or(|cidr| cidr.contains(local.ip()))
    }
}

/// A network: an address and the number of leading bits that count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    network: IpAddr,
    prefix_len: u8,
}

impl Cidr {
    /// A network, unless `prefix_len` is longer than the address.
    pub fn new(network: IpAddr, prefix_len: u8) -> Option<Self> {
        let bits = if network.is_ipv4() { 32 } else { 128 };
        (prefix_len <= bits).then_some(Self {
            network,
            prefix_len,
        })
    }

    /// Whether `address` is in the network. An IPv4 address in IPv6 clothes counts as IPv4.
    pub fn contains(self, address: IpAddr) -> bool {
        let differing_from = match (self.network, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                (own.to_bits() ^ other.to_bits()).leading_zeros()
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                (own.to_bits() ^ other.to_bits()).leading_zeros()
            }
            _ => return false,
        };
        differing_from >= u32::from(self.prefix_len)
    }
}

/// An `http` server.
#[derive(Clone, Debug)]
pub struct HttpServer {
    /// The namespace of the binding.
    pub namespace: String,
    /// The name of the binding.
    pub name: String,
    /// Headers (lower case) put into every request before routing on is done by the exit.
    pub overrides: Vec<(String, String)>,
    /// Its place among all http servers of the plan, from 0.
    pub number: usize,
    /// The metrics under Zilla's names that it has.
    pub metrics: MetricSet,
    /// The versions that are spoken.
    pub versions: HttpVersions,
    /// Where credentials are found; `None`: nobody is asked for any.
    pub authorization: Option<HttpAuthorization>,
    /// Whose scripts may read answers (CORS).
    pub access_control: AccessControl,
    /// What a connection may cost.
    pub limits: HttpLimits,
    /// First match wins; a request that matches none is 404.
    pub routes: Vec<HttpRoute>,
}

/// Which versions an http server speaks: `options.versions`. With both, ALPN decides, and without TLS the first bytes do (RFC 9113 3.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HttpVersions {
    /// Both.
    #[default]
    Both,
    /// HTTP/1.1 alone.
    Http11,
    /// HTTP/2 alone.
    H2,
}

/// Whose scripts may read answers: `options.access-control`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AccessControl {
    /// Those that come from the same origin.
    #[default]
    SameOrigin,
    /// Those of other origins, too.
    CrossOrigin(CrossOrigin),
}

/// What scripts of other origins may do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CrossOrigin {
    /// `allow.origins`; `None`: all.
    pub origins: Option<Vec<String>>,
    /// `allow.methods`; `None`: all.
    pub methods: Option<Vec<String>>,
    /// `allow.headers`, lower case; `None`: all.
    pub headers: Option<Vec<String>>,
    /// `allow.credentials`.
    pub credentials: bool,
    /// `max-age`.
    pub max_age: Option<Duration>,
    /// `expose.headers`, lower case; `None`: all, unless there are credentials.
    pub expose: Option<Vec<String>>,
}

/// Bounds of one HTTP connection; own option `options.limits`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpLimits {
    /// `head-bytes-max`: request line and headers, 1 KiB to 1 MiB.
    pub head_bytes_max: usize,
    /// `headers-max`: header lines, 8 to 1024.
    pub headers_max: usize,
    /// `body-bytes-max`: request body, 0 B to 1 GiB.
    pub body_bytes_max: usize,
    /// `pipeline-max`: requests of one HTTP/1.1 connection at work at once, 1 to 1024.
    pub pipeline_max: usize,
    /// `streams-max`: requests of one HTTP/2 connection at work at once, 1 to 1024 (RFC 9113 5.1.2).
    pub streams_max: usize,
    /// `header-timeout`: from the first byte of a head to its last, 1 ms to 1 h, as all timeouts here.
    pub header_timeout: Duration,
    /// `idle-timeout`: without a request.
    pub idle_timeout: Duration,
    /// `body-timeout`: without a byte of a body that is under way.
    pub body_timeout: Duration,
    /// `write-timeout`: without the client taking a byte of an answer.
    pub write_timeout: Duration,
}

impl Default for HttpLimits {
    /// A head of 32 KiB and 128 headers, a body of 1 MiB (what Kafka's `message.max.bytes` allows), 64 requests (256 over HTTP/2), 10 s for a
    /// head, 60 s idle, 30 s for the rest.
    fn default() -> Self {
        Self {
            head_bytes_max: 32 << 10,
            headers_max: 128,
            body_bytes_max: 1 << 20,
            pipeline_max: 64,
            streams_max: 256,
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(60),
            body_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(30),
        }
    }
}

/// A route of an `http` server.
#[derive(Clone, Debug)]
pub struct HttpRoute {
    /// All of these must let the request pass.
    pub guarded: Vec<Guarded>,
    /// One of these must match, with all of its headers (lower-case names); empty: always.
    pub when: Vec<Vec<(String, HeaderPattern)>>,
    /// Headers (lower case) put into the request, after those of the server.
    pub overrides: Vec<(String, String)>,
    /// Where its requests go.
    pub exit: HttpExit,
}

/// Where the requests of a route go.
#[derive(Clone, Debug)]
pub enum HttpExit {
    /// To Kafka, or to be answered from it.
    Kafka(Arc<HttpKafka>),
    /// To be answered by events.
    Sse(Arc<SseServer>),
    /// To be answered by files.
    Filesystem(Arc<HttpFilesystem>),
    /// To be calls.
    Grpc(Arc<GrpcServer>),
    /// To another server.
    Client(Arc<HttpClient>),
    /// Back.
    Echo(Arc<EchoServer>),
}

/// An `http-kafka` proxy.
#[derive(Clone, Debug)]
pub struct HttpKafka {
    /// The namespace of the binding.
    pub namespace: String,
    /// The name of the binding.
    pub name: String,
    /// The request header (lower case) that holds the idempotency key.
    pub idempotency_header: String,
    /// How long a request may take, 1 ms to 1 h; own option `options.timeout`.
    pub timeout: Duration,
    /// Record headers of correlated requests and their replies.
    pub correlation: Correlation,
    /// The longest `prefer: wait` that is granted, 1 s to 1 h; a longer one is cut to it. Own option `options.wait-max`.
    pub wait_max: Duration,
    /// How far back replies are known for repeats, 1 min to 30 days; own option `options.idempotency.horizon`.
    pub horizon: Duration,
    /// First match wins; a request that matches none is 404.
    pub routes: Vec<HttpKafkaRoute>,
}

/// Names of the record headers that tie replies to requests: `options.correlation.headers`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Correlation {
    /// Holds the topic to reply to.
    pub reply_to: String,
    /// Holds the correlation id; in replies always under this name.
    pub correlation_id: String,
}

impl Default for Correlation {
    /// Zilla's names.
    fn default() -> Self {
        Self {
            reply_to: "zilla:reply-to".to_owned(),
            correlation_id: "zilla:correlation-id".to_owned(),
        }
    }
}

/// A route of an `http-kafka` proxy.
#[derive(Clone, Debug)]
pub struct HttpKafkaRoute {
    /// Its place among the mapping routes of the plan (those of sse-kafka proxies, too), from 0.
    pub number: usize,
    /// All of these must let the request pass.
    pub guarded: Vec<Guarded>,
    /// One of these must match; empty: always.
    pub when: Vec<When>,
    /// What to do with its requests.
    pub with: With,
    /// The cluster, as an index into [`Plan::clusters`].
    pub cluster: usize,
}

/// A condition on a request.
#[derive(Clone, Debug)]
pub struct When {
    /// The method; `None`: any.
    pub method: Option<MethodPattern>,
    /// The path without its query; `None`: any.
    pub path: Option<PathTemplate>,
}

/// What a mapping route does.
#[derive(Clone, Debug)]
pub enum With {
    /// Writes a record.
    Produce {
        /// The topic. A literal is a legal name; what a template renders is to be checked.
        topic: Template,
        /// When a record counts as written.
        acks: Acks,
        /// The key; `None`: a null key.
        key: Option<Template>,
        /// Record headers to add, in order.
        overrides: Vec<(String, Template)>,
        /// Where the answer comes from; `None`: it is written when the record is stored.
        reply: Option<Box<Reply>>,
    },
    /// Answers with records.
    Fetch {
        /// The topic. A literal is a legal name; what a template renders is to be checked.
        topic: Template,
        /// A record must match one of these; empty: any record.
        filters: Vec<Filter>,
        /// Whether to answer with a JSON array of all matches instead of the first.
        merge: bool,
    },
}

impl With {
    /// The topic it writes to or reads.
    pub fn topic(&self) -> &Template {
        match self {
            Self::Produce { topic, .. } | Self::Fetch { topic, .. } => topic,
        }
    }

    /// All of its templates.
    pub(super) fn templates_mut(&mut self) -> Vec<&mut Template> {
        match self {
            Self::Produce {
                topic,
                key,
                overrides,
                reply,
                acks: _,
            } => {
                let mut templates = vec![topic];
                templates.extend(key);
                templates.extend(overrides.iter_mut().map(|(_, template)| template));
                if let Some(reply) = reply {
                    templates.push(&mut reply.topic);
                    templates.extend(reply.headers.iter_mut().map(|header| &mut header.value));
                }
                templates
            }
            Self::Fetch {
                topic,
                filters,
                merge: _,
            } => {
                let mut templates = vec![topic];
                templates.extend(filters.iter_mut().flat_map(Filter::templates_mut));
                templates
            }
        }
    }
}

/// How a written record is answered: by a record of another topic.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The reply topic. A literal is a legal name; what a template renders is to be checked.
    pub topic: Template,
    /// The header of the *request* record that holds the correlation id; replies have it under
    /// [`Correlation::correlation_id`].
    pub correlation_header: String,
    /// HTTP headers of a 202, in order; empty: `prefer: respond-async` is not granted.
    pub headers: Vec<AsyncHeader>,
}

/// An HTTP header of the answer to an asynchronous request.
#[derive(Clone, Debug)]
pub struct AsyncHeader {
    /// Its name, lower case; none that frames the message.
    pub name: String,
    /// Its value. Literals have no control characters, and those of `location` only what a URI may have; what a request
    /// adds is safe when rendered by [`Template::render_uri`].
    pub value: Template,
    /// Finds the correlation id in the path of a later request, if the value is a path with one.
    pub location: Option<LocationPattern>,
}

/// A condition on a record; all parts must match.
#[derive(Clone, Debug)]
pub struct Filter {
    /// The record's key; `None`: any.
    pub key: Option<Template>,
    /// Record headers and their values.
    pub headers: Vec<(String, Template)>,
}

impl Filter {
    /// All of its templates.
    pub(super) fn templates_mut(&mut self) -> impl Iterator<Item = &mut Template> {
        let headers = self.headers.iter_mut().map(|(_, template)| template);
        self.key.iter_mut().chain(headers)
    }
}

/// When a record counts as written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acks {
    /// When it is sent.
    None,
    /// When the leader has it.
    LeaderOnly,
    /// When all replicas that are in sync have it.
    InSyncReplicas,
}

/// A Kafka cluster: a `kafka` client with its `tcp` client.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// The namespace of the kafka client.
    pub namespace: String,
    /// The name of the kafka client.
    pub name: String,
    /// Hosts and ports to ask for the cluster's brokers; never empty.
    pub servers: Vec<(String, u16)>,
    /// Topics to read from the start on; each once.
    pub bootstrap: Vec<String>,
    /// Topics to create at the start if they are missing; own option `options.create`.
    pub create: Vec<CreateTopic>,
    /// The tcp client that connects to it, as `namespace:name`.
    pub tcp_client: String,
    /// The host and port to connect to in place of every broker's own, if the tcp client has options.
    pub connect_to: Option<(String, u16)>,
}

/// A topic to create if it is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateTopic {
    /// Its name.
    pub name: String,
    /// Its number of partitions, 1 to 10,000.
    pub partitions: i32,
    /// Its number of replicas; -1: the broker's default.
    pub replication_factor: i16,
    /// Its configuration, such as `cleanup.policy`.
    pub configs: Vec<(String, String)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_can_be_shared_by_all_cores() {
        fn shared<T: Send + Sync>() {}
        shared::<Plan>();
    }

    #[test]
    fn a_network_contains_its_addresses() {
        let contains = |network: &str, prefix_len, address: &str| {
            Cidr::new(network.parse().unwrap(), prefix_len)
                .unwrap()
                .contains(address.parse().unwrap())
        };
        assert!(contains("10.0.0.0", 8, "10.255.0.1"));
        assert!(!contains("10.0.0.0", 8, "11.0.0.1"));
        assert!(contains("10.0.0.0", 0, "11.0.0.1"));
        assert!(contains("10.0.0.1", 32, "10.0.0.1"));
        assert!(contains("10.0.0.0", 8, "::ffff:10.1.1.1"));
        assert!(contains("fd00::", 8, "fd12::1"));
        assert!(!contains("fd00::", 8, "10.0.0.1"));
        assert_eq!(Cidr::new("10.0.0.0".parse().unwrap(), 33), None);
    }
}
