//! Checked bindings before they are linked: exits are still names, with their places.
//!
//! What could not be read has been reported and has a stand-in here, so that linking finds the other mistakes.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::fields::{Fields, Item};
use super::metric::MetricSet;
use super::mistake::{At, Report};
use super::plan::{Cidr, Correlation, CreateTopic, HttpLimits, When, With};
use crate::route::{Glob, HeaderPattern};

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
    HttpServer(HttpServer),
    HttpKafka(HttpKafka),
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
pub(super) struct HttpServer {
    pub(super) overrides: Vec<(String, String)>,
    pub(super) limits: HttpLimits,
    pub(super) routes: Vec<HttpRoute>,
}

#[derive(Debug)]
pub(super) struct HttpRoute {
    pub(super) when: Vec<Vec<(String, HeaderPattern)>>,
    pub(super) overrides: Vec<(String, String)>,
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
    pub(super) when: Vec<When>,
    pub(super) with: Option<With>,
    /// Where the topic stands, for mistakes.
    pub(super) topic_at: (At, String),
    /// Where the reply topic stands, for mistakes.
    pub(super) reply_at: (At, String),
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

/// The name of the binding that streams go to next.
#[derive(Clone, Debug)]
pub(super) struct Exit {
    pub(super) name: String,
    pub(super) at: At,
    pub(super) path: String,
}

impl Exit {
    /// The `exit` of a binding or route, if it has one.
    pub(super) fn read(fields: &mut Fields<'_>, report: &mut Report) -> Option<Self> {
        let item = fields.optional("exit")?;
        Self::of(&item, report)
    }

    /// The `exit` that a route must have.
    pub(super) fn required(fields: &mut Fields<'_>, report: &mut Report) -> Option<Self> {
        let item = fields.required(report, "exit")?;
        Self::of(&item, report)
    }

    fn of(item: &Item<'_>, report: &mut Report) -> Option<Self> {
        let name = item.text(report)?.to_owned();
        Some(Self {
            name,
            at: item.at,
            path: item.path.clone(),
        })
    }
}

impl Kind {
    /// What it is called in messages.
    pub(super) fn title(&self) -> &'static str {
        match self {
            Self::TcpServer(_) => "tcp server",
            Self::TcpClient { .. } => "tcp client",
            Self::HttpServer(_) => "http server",
            Self::HttpKafka(_) => "http-kafka proxy",
            Self::CacheClient { .. } => "kafka cache_client",
            Self::CacheServer { .. } => "kafka cache_server",
            Self::KafkaClient(_) => "kafka client",
            Self::Refused => "refused binding",
        }
    }

    /// What its exits must be; `None` if it has none.
    pub(super) fn expected_exit(&self) -> Option<&'static str> {
        match self {
            Self::TcpServer(_) => Some("http server"),
            Self::HttpServer(_) => Some("http-kafka proxy"),
            Self::HttpKafka(_) => Some("kafka cache_client"),
            Self::CacheClient { .. } => Some("kafka cache_server"),
            Self::CacheServer { .. } => Some("kafka client"),
            Self::KafkaClient(_) => Some("tcp client"),
            Self::TcpClient { .. } | Self::Refused => None,
        }
    }

    /// All of its exits that could be read.
    pub(super) fn exits(&self) -> Vec<&Exit> {
        match self {
            Self::TcpServer(server) => server
                .routes
                .iter()
                .filter_map(|route| route.exit.as_ref())
                .collect(),
            Self::HttpServer(server) => server
                .routes
                .iter()
                .filter_map(|route| route.exit.as_ref())
                .collect(),
            Self::HttpKafka(proxy) => proxy
                .routes
                .iter()
                .filter_map(|route| route.exit.as_ref())
                .collect(),
            Self::CacheClient { routes }
            | Self::CacheServer { routes, .. }
            | Self::KafkaClient(KafkaClient { routes, .. }) => routes
                .iter()
                .filter_map(|route| route.exit.as_ref())
                .collect(),
            Self::TcpClient { .. } | Self::Refused => Vec::new(),
        }
    }
}
