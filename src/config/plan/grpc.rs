//! gRPC in the plan: servers and clients, and the mappings between calls and topics in both directions.

use std::sync::Arc;
use std::time::Duration;

use super::{Acks, EchoServer, Filter, Guarded, HttpClient};
use crate::grpc::proto::Services;
use crate::http::Scheme;
use crate::route::{Glob, Template};

/// A `grpc` server.
#[derive(Clone, Debug)]
pub struct GrpcServer {
    /// The namespace of the binding.
    pub namespace: String,
    /// The name of the binding.
    pub name: String,
    /// The services of its catalog; a call of any other is UNIMPLEMENTED.
    pub services: Arc<Services>,
    /// The largest message that is taken, inflated, 1 KiB to 64 MiB; own option `options.message-bytes-max`, 4 MiB by default.
    pub message_bytes_max: usize,
    /// Whether `grpc.health.v1.Health` is answered; own option `options.health`, on by default.
    pub health: bool,
    /// Whether `grpc.reflection.v1` is answered; own option `options.reflection`, off by default.
    pub reflection: bool,
    /// First match wins; a call that matches none is UNIMPLEMENTED.
    pub routes: Vec<GrpcRoute>,
}

/// A route of a `grpc` server.
#[derive(Clone, Debug)]
pub struct GrpcRoute {
    /// All of these must let the call pass.
    pub guarded: Vec<Guarded>,
    /// One of these must match; empty: always.
    pub when: Vec<GrpcWhen>,
    /// Where its calls go.
    pub exit: GrpcExit,
}

/// Where the calls of a route go.
#[derive(Clone, Debug)]
pub enum GrpcExit {
    /// To a topic, or to be answered from one.
    Kafka(Arc<GrpcKafka>),
    /// To another server.
    Client(Arc<GrpcClient>),
    /// Back.
    Echo(Arc<EchoServer>),
}

/// A condition on a call; all parts must match.
#[derive(Clone, Debug)]
pub struct GrpcWhen {
    /// `package.Service/Method`, with wildcards; `None`: any.
    pub method: Option<Glob>,
    /// Metadata that must be there with these values.
    pub metadata: Vec<MetadataMatch>,
}

impl GrpcWhen {
    /// Whether it matches the call of `path` (`package.Service/Method`), whose metadata `find` looks up.
    pub fn matches<'m>(&self, path: &str, find: impl Fn(&str) -> Option<&'m [u8]>) -> bool {
        let method = self.method.as_ref();
        method.is_none_or(|method| method.matches(path.as_bytes()))
            && self
                .metadata
                .iter()
                .all(|one| find(&one.name).is_some_and(|found| one.is(found)))
    }
}

/// A value that metadata must have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetadataMatch {
    /// The name, lower case; of a binary value with its `-bin`.
    pub name: String,
    /// The value; of a binary one the bytes that it stands for.
    pub value: Vec<u8>,
}

impl MetadataMatch {
    /// Whether `found`, as it stands in a header, is the value.
    fn is(&self, found: &[u8]) -> bool {
        use base64::Engine as _;
        use base64::engine::general_purpose::STANDARD_NO_PAD;
        if !self.name.ends_with("-bin") {
            return found == self.value;
        }
        let unpadded = found.iter().rposition(|byte| *byte != b'=');
        let unpadded = &found[..unpadded.map_or(0, |last| last + 1)];
        STANDARD_NO_PAD
            .decode(unpadded)
            .is_ok_and(|decoded| decoded == self.value)
    }
}

/// A `grpc` client.
#[derive(Clone, Debug)]
pub struct GrpcClient {
    /// The namespace of the binding.
    pub namespace: String,
    /// The name of the binding.
    pub name: String,
    /// First match wins; a call that matches none is UNIMPLEMENTED.
    pub routes: Vec<GrpcClientRoute>,
}

/// A route of a `grpc` client.
#[derive(Clone, Debug)]
pub struct GrpcClientRoute {
    /// All of these must let the call pass.
    pub guarded: Vec<Guarded>,
    /// One of these must match; empty: always.
    pub when: Vec<GrpcWhen>,
    /// Where its calls go.
    pub exit: Arc<HttpClient>,
}

/// Names of the record headers that make calls of records: `options.correlation.headers`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrpcCorrelation {
    /// Holds the service.
    pub service: String,
    /// Holds the method.
    pub method: String,
    /// Holds the correlation id.
    pub correlation_id: String,
    /// Holds the topic to reply to.
    pub reply_to: String,
}

impl Default for GrpcCorrelation {
    /// Zilla's names.
    fn default() -> Self {
        Self {
            service: "zilla:service".to_owned(),
            method: "zilla:method".to_owned(),
            correlation_id: "zilla:correlation-id".to_owned(),
            reply_to: "zilla:reply-to".to_owned(),
        }
    }
}

/// A `grpc-kafka` proxy.
#[derive(Clone, Debug)]
pub struct GrpcKafka {
    /// The namespace of the binding.
    pub namespace: String,
    /// The name of the binding.
    pub name: String,
    /// The number of the field that says how far a stream has come.
    pub reliability_field: u32,
    /// The metadata that a stream goes on from.
    pub reliability_metadata: String,
    /// The metadata that holds the idempotency key.
    pub idempotency_metadata: String,
    /// Record headers of requests and their replies.
    pub correlation: GrpcCorrelation,
    /// How long a call without a deadline of its own may go without a message in either direction, 1 s to 24 h; own option `options.timeout`, 5 min.
    pub timeout: Duration,
    /// How far back replies are known for repeats, 1 min to 30 days; own option `options.idempotency.horizon`.
    pub horizon: Duration,
    /// First match wins; a call that matches none is UNIMPLEMENTED.
    pub routes: Vec<GrpcKafkaRoute>,
}

/// A route of a `grpc-kafka` proxy.
#[derive(Clone, Debug)]
pub struct GrpcKafkaRoute {
    /// Its place among the mapping routes of the plan, from 0.
    pub number: usize,
    /// All of these must let the call pass.
    pub guarded: Vec<Guarded>,
    /// One of these must match; empty: always.
    pub when: Vec<GrpcWhen>,
    /// What to do with its calls.
    pub with: GrpcKafkaWith,
    /// The cluster, as an index into [`super::Plan::clusters`].
    pub cluster: usize,
}

/// What a route of a `grpc-kafka` proxy does.
#[derive(Clone, Debug)]
pub enum GrpcKafkaWith {
    /// Writes a record for each message.
    Produce {
        /// The topic.
        topic: String,
        /// When a record counts as written.
        acks: Acks,
        /// The key; `None`: the correlation id.
        key: Option<Template>,
        /// Record headers to add, in order.
        overrides: Vec<(String, Template)>,
        /// Where the answer comes from; `None`: it is an empty message when all records are stored.
        reply_to: Option<String>,
    },
    /// Answers with a message for each record.
    Fetch {
        /// The topic.
        topic: String,
        /// A record must match one of these; empty: any record.
        filters: Vec<Filter>,
    },
}

/// A `kafka-grpc` remote server.
#[derive(Clone, Debug)]
pub struct KafkaGrpc {
    /// The namespace of the binding.
    pub namespace: String,
    /// The name of the binding.
    pub name: String,
    /// When a reply counts as written.
    pub acks: Acks,
    /// The metadata that holds the idempotency key.
    pub idempotency_metadata: String,
    /// Record headers of requests and their replies.
    pub correlation: GrpcCorrelation,
    /// How long a call without a deadline of its own may go without a message in either direction, 1 s to 24 h; own option `options.timeout`, 5 min.
    pub timeout: Duration,
    /// How far back replies are looked through for calls that are over, 1 min to 30 days; own option `options.horizon`.
    pub horizon: Duration,
    /// After how long without a sign of life another takes over, 6 s to 5 min; own option `options.session-timeout`, 10 s.
    pub session_timeout: Duration,
    /// Records that are read beyond the oldest open call of a partition, 10 to 1,000,000; own option `options.window`, 10,000.
    pub window: usize,
    /// First match wins.
    pub routes: Vec<KafkaGrpcRoute>,
    /// The cluster, as an index into [`super::Plan::clusters`].
    pub cluster: usize,
}

impl KafkaGrpc {
    /// The consumer group that all instances share.
    pub fn group_id(&self) -> String {
        format!("zilla:{}-{}", self.namespace, self.name)
    }

    /// The request topics, each once.
    pub fn topics(&self) -> Vec<String> {
        let mut topics: Vec<String> = self.conditions().map(|when| when.topic.clone()).collect();
        topics.sort();
        topics.dedup();
        topics
    }

    /// The reply topics, each once.
    pub fn reply_topics(&self) -> Vec<String> {
        let mut topics: Vec<String> = self
            .conditions()
            .map(|when| when.reply_to.clone())
            .collect();
        topics.sort();
        topics.dedup();
        topics
    }

    fn conditions(&self) -> impl Iterator<Item = &KafkaGrpcWhen> {
        self.routes.iter().flat_map(|route| &route.when)
    }
}

/// A route of a `kafka-grpc` remote server.
#[derive(Clone, Debug)]
pub struct KafkaGrpcRoute {
    /// One of these must match; never empty.
    pub when: Vec<KafkaGrpcWhen>,
    /// The `:scheme` of its calls.
    pub scheme: Scheme,
    /// The `:authority` of its calls.
    pub authority: String,
    /// Where its calls go.
    pub exit: Arc<GrpcClient>,
}

/// A condition on a request record; all parts must match.
#[derive(Clone, Debug)]
pub struct KafkaGrpcWhen {
    /// The topic that it is read from.
    pub topic: String,
    /// The topic that it wants its reply in.
    pub reply_to: String,
    /// Its service; `None`: any.
    pub service: Option<String>,
    /// Its method; `None`: any.
    pub method: Option<String>,
    /// Its key; `None`: any.
    pub key: Option<Vec<u8>>,
    /// Record headers and their values.
    pub headers: Vec<(String, Vec<u8>)>,
}
