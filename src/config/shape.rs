//! Checked bindings before they are linked: exits are still names, with their places.
//!
//! What could not be read has been reported and has a stand-in here, so that linking finds the other mistakes.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use super::catalog::SubjectReference;
use super::guarded::Guarded;
use super::metric::MetricSet;
use super::mistake::At;
use super::plan::{
    AccessControl, Acks, Cidr, ClientLimits, Correlation, CreateTopic, EventIdForm, FilesystemWhen,
    Filter, GrpcCorrelation, GrpcKafkaWith, GrpcWhen, HttpLimits, HttpVersions, KafkaGrpcWhen,
    Mutual, TlsVersions, When, With,
};
use super::reference::{Exit, Reference};
use crate::http::Scheme;
use crate::route::{Glob, HeaderPattern, PathTemplate, Template};

/// A binding of the file.
#[derive(Debug)]
pub(super) struct Binding {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) at: At,
    pub(super) path: String,
    pub(super) metrics: MetricSet,
    pub(super) kind: Kind,
}

impl Binding {
    /// `namespace:name`, as an exit may call it.
    pub(super) fn full_name(&self) -> String {
        format!("{}:{}", self.namespace, self.name)
    }
}

/// What a binding is.
#[derive(Debug)]
pub(super) enum Kind {
    TcpServer(TcpServer),
    TcpClient {
        connect_to: Option<(String, u16)>,
    },
    TlsServer(TlsServer),
    TlsClient(TlsClient),
    HttpServer(HttpServer),
    HttpClient(HttpClient),
    HttpKafka(HttpKafka),
    GrpcServer(GrpcServer),
    GrpcClient(GrpcClient),
    GrpcKafka(GrpcKafka),
    KafkaGrpc(KafkaGrpc),
    Sse(SseServer),
    SseKafka {
        routes: Vec<SseKafkaRoute>,
    },
    HttpFilesystem {
        routes: Vec<HttpFilesystemRoute>,
    },
    Filesystem {
        location: PathBuf,
        follows_links: bool,
    },
    Echo,
    CacheClient {
        routes: Vec<TopicRoute>,
    },
    CacheServer {
        bootstrap: Vec<Bootstrap>,
        routes: Vec<TopicRoute>,
    },
    KafkaClient(KafkaClient),
    /// Refused as a whole; already a mistake, so exits to it are none.
    Refused,
}

#[derive(Debug)]
pub(super) struct TcpServer {
    pub(super) host: String,
    pub(super) ports: Vec<u16>,
    /// Where the ports stand, for mistakes.
    pub(super) ports_at: (At, String),
    pub(super) routes: Vec<TcpRoute>,
}

#[derive(Debug)]
pub(super) struct TcpRoute {
    pub(super) when: Vec<TcpWhen>,
    pub(super) exit: Option<Exit>,
}

#[derive(Debug)]
pub(super) struct TcpWhen {
    pub(super) ports: Vec<RangeInclusive<u16>>,
    pub(super) cidr: Option<Cidr>,
}

#[derive(Debug)]
pub(super) struct TlsServer {
    pub(super) vault: Option<Reference>,
    pub(super) keys: Vec<Reference>,
    pub(super) signers: Vec<Reference>,
    pub(super) trust: Vec<Reference>,
    pub(super) sni: Vec<String>,
    pub(super) alpn: Vec<String>,
    pub(super) versions: TlsVersions,
    /// `None`: as the trust demands.
    pub(super) mutual: Option<Mutual>,
    pub(super) guard: Option<Reference>,
    pub(super) handshake_timeout: Duration,
    pub(super) routes: Vec<TlsRoute>,
}

#[derive(Debug)]
pub(super) struct TlsRoute {
    pub(super) guarded: Vec<Guarded>,
    pub(super) when: Vec<TlsWhen>,
    pub(super) exit: Option<Exit>,
}

#[derive(Debug)]
pub(super) struct TlsWhen {
    pub(super) authority: Option<Glob>,
    pub(super) alpn: Option<String>,
    pub(super) ports: Vec<RangeInclusive<u16>>,
    pub(super) mutual: Option<bool>,
    pub(super) trust: Vec<Reference>,
    pub(super) at: (At, String),
}

#[derive(Debug)]
pub(super) struct TlsClient {
    pub(super) vault: Option<Reference>,
    pub(super) keys: Vec<Reference>,
    pub(super) signers: Vec<Reference>,
    pub(super) trust: Vec<Reference>,
    pub(super) trust_system: bool,
    pub(super) sni: Option<String>,
    pub(super) alpn: Vec<String>,
    pub(super) versions: TlsVersions,
    pub(super) exit: Option<Exit>,
}

#[derive(Debug)]
pub(super) struct HttpServer {
    pub(super) versions: HttpVersions,
    pub(super) authorization: Option<HttpAuthorization>,
    pub(super) access_control: AccessControl,
    pub(super) overrides: Vec<(String, String)>,
    pub(super) limits: HttpLimits,
    pub(super) routes: Vec<HttpRoute>,
}

#[derive(Debug)]
pub(super) struct HttpAuthorization {
    pub(super) guard: Reference,
    pub(super) cookies: Vec<(String, String)>,
    pub(super) headers: Vec<(String, String)>,
    pub(super) query: Vec<(String, String)>,
    /// Where the parameters of the query stand.
    pub(super) query_at: (At, String),
}

#[derive(Debug)]
pub(super) struct HttpRoute {
    pub(super) guarded: Vec<Guarded>,
    pub(super) when: Vec<Vec<(String, HeaderPattern)>>,
    pub(super) overrides: Vec<(String, String)>,
    pub(super) exit: Option<Exit>,
}

/// An `http` client.
#[derive(Debug)]
pub(super) struct HttpClient {
    pub(super) versions: HttpVersions,
    pub(super) overrides: Vec<(String, String)>,
    pub(super) limits: ClientLimits,
    pub(super) exit: Option<Exit>,
}

#[derive(Debug)]
pub(super) struct GrpcServer {
    /// The subjects of its catalog.
    pub(super) catalog: Option<Vec<SubjectReference>>,
    /// Zilla 1.x: the files.
    pub(super) files: Vec<ProtoPath>,
    /// Where the binding stands, for mistakes.
    pub(super) at: (At, String),
    pub(super) message_bytes_max: usize,
    pub(super) health: bool,
    pub(super) reflection: bool,
    pub(super) routes: Vec<GrpcRoute>,
}

/// A file that describes services.
#[derive(Debug)]
pub(super) struct ProtoPath {
    pub(super) path: String,
    pub(super) at: (At, String),
}

#[derive(Debug)]
pub(super) struct GrpcRoute {
    pub(super) guarded: Vec<Guarded>,
    pub(super) when: Vec<GrpcWhen>,
    pub(super) exit: Option<Exit>,
}

#[derive(Debug)]
pub(super) struct GrpcClient {
    pub(super) routes: Vec<GrpcRoute>,
}

#[derive(Debug)]
pub(super) struct GrpcKafka {
    pub(super) reliability_field: u32,
    pub(super) reliability_metadata: String,
    pub(super) idempotency_metadata: String,
    pub(super) correlation: GrpcCorrelation,
    pub(super) timeout: Duration,
    pub(super) horizon: Duration,
    pub(super) routes: Vec<GrpcKafkaRoute>,
}

#[derive(Debug)]
pub(super) struct GrpcKafkaRoute {
    pub(super) guarded: Vec<Guarded>,
    /// The guards that its templates ask.
    pub(super) asked: Vec<Reference>,
    pub(super) when: Vec<GrpcWhen>,
    pub(super) with: Option<GrpcKafkaWith>,
    /// Where the topic stands, for mistakes.
    pub(super) topic_at: (At, String),
    /// Where the reply topic stands, for mistakes.
    pub(super) reply_at: (At, String),
    pub(super) exit: Option<Exit>,
}

#[derive(Debug)]
pub(super) struct KafkaGrpc {
    pub(super) entry: Option<Exit>,
    pub(super) acks: Acks,
    pub(super) idempotency_metadata: String,
    pub(super) correlation: GrpcCorrelation,
    pub(super) timeout: Duration,
    pub(super) horizon: Duration,
    pub(super) session_timeout: Duration,
    pub(super) window: usize,
    pub(super) routes: Vec<KafkaGrpcRoute>,
}

#[derive(Debug)]
pub(super) struct KafkaGrpcRoute {
    pub(super) when: Vec<KafkaGrpcWhen>,
    /// Where the topic and the reply topic of each condition stand, for mistakes.
    pub(super) topics_at: Vec<[(At, String); 2]>,
    pub(super) scheme: Scheme,
    pub(super) authority: String,
    pub(super) exit: Option<Exit>,
}

#[derive(Debug)]
pub(super) struct HttpKafka {
    pub(super) idempotency_header: String,
    pub(super) timeout: Duration,
    pub(super) correlation: Correlation,
    pub(super) wait_max: Duration,
    pub(super) horizon: Duration,
    pub(super) routes: Vec<HttpKafkaRoute>,
}

#[derive(Debug)]
pub(super) struct HttpKafkaRoute {
    pub(super) guarded: Vec<Guarded>,
    /// The guards that its templates ask.
    pub(super) asked: Vec<Reference>,
    pub(super) when: Vec<When>,
    pub(super) with: Option<With>,
    /// Where the topic stands, for mistakes.
    pub(super) topic_at: (At, String),
    /// Where the reply topic stands, for mistakes.
    pub(super) reply_at: (At, String),
    pub(super) exit: Option<Exit>,
}

#[derive(Debug)]
pub(super) struct SseServer {
    pub(super) retry: Duration,
    pub(super) heartbeat: Duration,
    pub(super) routes: Vec<SseRoute>,
}

#[derive(Debug)]
pub(super) struct SseRoute {
    pub(super) guarded: Vec<Guarded>,
    pub(super) when: Vec<Glob>,
    pub(super) exit: Option<Exit>,
}

#[derive(Debug)]
pub(super) struct SseKafkaRoute {
    pub(super) guarded: Vec<Guarded>,
    /// The guards that its templates ask.
    pub(super) asked: Vec<Reference>,
    pub(super) when: Vec<PathTemplate>,
    pub(super) topic: Option<Template>,
    pub(super) filters: Vec<Filter>,
    pub(super) event_id: EventIdForm,
    /// Where the topic stands, for mistakes.
    pub(super) topic_at: (At, String),
    pub(super) exit: Option<Exit>,
}

#[derive(Debug)]
pub(super) struct HttpFilesystemRoute {
    pub(super) guarded: Vec<Guarded>,
    pub(super) when: Vec<FilesystemWhen>,
    pub(super) path: Option<Template>,
    pub(super) exit: Option<Exit>,
}

/// A route of a kafka binding, taken by topic.
#[derive(Debug)]
pub(super) struct TopicRoute {
    /// One of these must match; empty: always.
    pub(super) when: Vec<Glob>,
    pub(super) exit: Option<Exit>,
}

#[derive(Debug)]
pub(super) struct Bootstrap {
    pub(super) topic: String,
    pub(super) at: At,
    pub(super) path: String,
}

#[derive(Debug)]
pub(super) struct KafkaClient {
    pub(super) servers: Vec<(String, u16)>,
    pub(super) create: Vec<CreateTopic>,
    pub(super) routes: Vec<TopicRoute>,
}

impl Kind {
    /// What it is called in messages.
    pub(super) fn title(&self) -> &'static str {
        match self {
            Self::TcpServer(_) => "tcp server",
            Self::TcpClient { .. } => "tcp client",
            Self::TlsServer(_) => "tls server",
            Self::TlsClient(_) => "tls client",
            Self::HttpServer(_) => "http server",
            Self::HttpClient(_) => "http client",
            Self::GrpcServer(_) => "grpc server",
            Self::GrpcClient(_) => "grpc client",
            Self::GrpcKafka(_) => "grpc-kafka proxy",
            Self::KafkaGrpc(_) => "kafka-grpc remote_server",
            Self::HttpKafka(_) => "http-kafka proxy",
            Self::Sse(_) => "sse server",
            Self::SseKafka { .. } => "sse-kafka proxy",
            Self::HttpFilesystem { .. } => "http-filesystem proxy",
            Self::Filesystem { .. } => "filesystem server",
            Self::Echo => "echo server",
            Self::CacheClient { .. } => "kafka cache_client",
            Self::CacheServer { .. } => "kafka cache_server",
            Self::KafkaClient(_) => "kafka client",
            Self::Refused => "refused binding",
        }
    }

    /// What its exits may be; empty if it has none.
    pub(super) fn expected_exits(&self) -> &'static [&'static str] {
        match self {
            Self::TcpServer(_) => &["http server", "tls server", "echo server"],
            Self::TlsServer(_) => &["http server", "echo server"],
            Self::HttpServer(_) => &[
                "http-kafka proxy",
                "sse server",
                "http-filesystem proxy",
                "grpc server",
                "http client",
                "echo server",
            ],
            Self::HttpClient(_) => &["tcp client", "tls client"],
            Self::GrpcServer(_) => &["grpc-kafka proxy", "grpc client", "echo server"],
            Self::GrpcClient(_) => &["http client"],
            // Its entry, and its exits; which is which is looked at when it is built.
            Self::KafkaGrpc(_) => &["grpc client", "kafka cache_client"],
            Self::HttpKafka(_) | Self::SseKafka { .. } | Self::GrpcKafka(_) => {
                &["kafka cache_client"]
            }
            Self::Sse(_) => &["sse-kafka proxy"],
            Self::HttpFilesystem { .. } => &["filesystem server"],
            Self::CacheClient { .. } => &["kafka cache_server"],
            Self::CacheServer { .. } => &["kafka client"],
            Self::KafkaClient(_) | Self::TlsClient(_) => &["tcp client"],
            Self::TcpClient { .. } | Self::Filesystem { .. } | Self::Echo | Self::Refused => &[],
        }
    }

    /// All of its exits that could be read.
    pub(super) fn exits(&self) -> Vec<&Exit> {
        match self {
            Self::TcpServer(server) => some(&server.routes, |route| &route.exit),
            Self::TlsServer(server) => some(&server.routes, |route| &route.exit),
            Self::TlsClient(client) => client.exit.iter().collect(),
            Self::HttpServer(server) => some(&server.routes, |route| &route.exit),
            Self::HttpClient(client) => client.exit.iter().collect(),
            Self::HttpKafka(proxy) => some(&proxy.routes, |route| &route.exit),
            Self::GrpcServer(server) => some(&server.routes, |route| &route.exit),
            Self::GrpcClient(client) => some(&client.routes, |route| &route.exit),
            Self::GrpcKafka(proxy) => some(&proxy.routes, |route| &route.exit),
            Self::KafkaGrpc(server) => {
                let mut exits = some(&server.routes, |route| &route.exit);
                exits.extend(&server.entry);
                exits
            }
            Self::Sse(server) => some(&server.routes, |route| &route.exit),
            Self::SseKafka { routes } => some(routes, |route| &route.exit),
            Self::HttpFilesystem { routes } => some(routes, |route| &route.exit),
            Self::CacheClient { routes }
            | Self::CacheServer { routes, .. }
            | Self::KafkaClient(KafkaClient { routes, .. }) => some(routes, |route| &route.exit),
            Self::TcpClient { .. } | Self::Filesystem { .. } | Self::Echo | Self::Refused => {
                Vec::new()
            }
        }
    }

    /// What its routes ask of guards.
    pub(super) fn guarded(&self) -> Vec<&Guarded> {
        match self {
            Self::TlsServer(server) => all(&server.routes, |route| &route.guarded),
            Self::HttpServer(server) => all(&server.routes, |route| &route.guarded),
            Self::HttpKafka(proxy) => all(&proxy.routes, |route| &route.guarded),
            Self::GrpcServer(server) => all(&server.routes, |route| &route.guarded),
            Self::GrpcClient(client) => all(&client.routes, |route| &route.guarded),
            Self::GrpcKafka(proxy) => all(&proxy.routes, |route| &route.guarded),
            Self::Sse(server) => all(&server.routes, |route| &route.guarded),
            Self::SseKafka { routes } => all(routes, |route| &route.guarded),
            Self::HttpFilesystem { routes } => all(routes, |route| &route.guarded),
            Self::TcpServer(_)
            | Self::TcpClient { .. }
            | Self::TlsClient(_)
            | Self::HttpClient(_)
            | Self::KafkaGrpc(_)
            | Self::Filesystem { .. }
            | Self::Echo
            | Self::CacheClient { .. }
            | Self::CacheServer { .. }
            | Self::KafkaClient(_)
            | Self::Refused => Vec::new(),
        }
    }

    /// The guards that its templates ask.
    pub(super) fn asked(&self) -> Vec<&Reference> {
        match self {
            Self::HttpKafka(proxy) => all(&proxy.routes, |route| &route.asked),
            Self::SseKafka { routes } => all(routes, |route| &route.asked),
            Self::GrpcKafka(proxy) => all(&proxy.routes, |route| &route.asked),
            _ => Vec::new(),
        }
    }

    /// The guard that it gives credentials to.
    pub(super) fn authorization(&self) -> Option<&Reference> {
        match self {
            Self::TlsServer(server) => server.guard.as_ref(),
            Self::HttpServer(server) => server.authorization.as_ref().map(|found| &found.guard),
            _ => None,
        }
    }

    /// The subjects that it asks a catalog for.
    pub(super) fn subjects(&self) -> &[SubjectReference] {
        match self {
            Self::GrpcServer(server) => server.catalog.as_deref().unwrap_or_default(),
            _ => &[],
        }
    }

    /// The vault that it takes keys and trust from.
    pub(super) fn vault(&self) -> Option<&Reference> {
        match self {
            Self::TlsServer(server) => server.vault.as_ref(),
            Self::TlsClient(client) => client.vault.as_ref(),
            _ => None,
        }
    }
}

fn some<R, T>(routes: &[R], part: impl Fn(&R) -> &Option<T>) -> Vec<&T> {
    routes
        .iter()
        .filter_map(|route| part(route).as_ref())
        .collect()
}

fn all<R, T>(routes: &[R], part: impl Fn(&R) -> &Vec<T>) -> Vec<&T> {
    routes.iter().flat_map(part).collect()
}
