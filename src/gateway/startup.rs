//! What the cores share, and what has to be there before they listen: topics created, bootstrap topics read.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::CoreMessage;
use crate::clock::Instant;
use crate::config::{
    Cluster, GrpcKafka, GrpcKafkaRoute, GrpcKafkaWith, HttpKafkaRoute, Plan, With,
};
use crate::guard::Guards;
use crate::kafka::client::{Client, NewTopic};
use crate::kafka::error_code::ErrorCode;
use crate::kafka::topics::floors::Floors;
use crate::kafka::topics::{Interest, Topics};
use crate::net::service::{Server as HttpServer, TlsServers};
use crate::net::upstream::Prepared;
use crate::observe::Watch;
use crate::runtime::deadline::Deadlines;
use crate::runtime::mailbox::Mailbox;
use crate::runtime::notify::Notify;
use crate::runtime::{self, with_deadline};
use crate::tls::server::Server;

/// How long the ports stay closed for the sake of bootstrap topics. Then requests are answered, with 503 where a topic is not ready.
pub(super) const BOOTSTRAP_WAIT: Duration = Duration::from_secs(10);
/// How long the creation of topics is tried before the start goes on without.
const CREATE_WAIT: Duration = Duration::from_secs(10);
const CREATE_RETRY: Duration = Duration::from_millis(200);
/// How often it is tried again after that.
const CREATE_LATER_RETRY: Duration = Duration::from_secs(5);
/// What is assumed of the machine when it does not say how much memory it has.
const MEMORY_ASSUMED_BYTES: usize = 1 << 30;

/// What all cores share, none of it mutable but for mailboxes and floors.
pub(super) struct Shared {
    pub(super) plan: Plan,
    pub(super) mailboxes: Vec<Mailbox<CoreMessage>>,
    /// One for each cluster.
    pub(super) floors: Vec<Arc<Floors>>,
    pub(super) cache_bytes: usize,
    /// Cores that have no connection left, once they are told to end.
    pub(super) drained: AtomicUsize,
    /// The tls servers of the plan as the process began with them: one each for all cores, so that a session may go on anywhere.
    pub(super) tls: Arc<TlsServers>,
    /// The http clients of the plan.
    pub(super) http_clients: Vec<Prepared>,
    /// Asks the helper thread for the keys of a guard.
    pub(super) refresh_keys: mpsc::Sender<usize>,
    /// Who is told what.
    pub(super) watch: Watch,
}

impl Shared {
    /// The guards of the plan for one core. That they can be made was seen when the process started; a core without them would let nobody in.
    pub(super) fn guards(&self) -> Guards {
        Guards::new(&self.plan.guards).unwrap_or_default()
    }

    /// The http servers of the plan for one core. That they can be made was seen when the process started.
    pub(super) fn servers(&self) -> BTreeMap<usize, Rc<HttpServer>> {
        let servers = self.plan.http_servers().into_iter();
        servers
            .filter_map(|(number, plan)| Some((number, HttpServer::new(plan).ok()?)))
            .collect()
    }
}

/// Makes the tls servers of a plan, and sees that all else can be made, too.
///
/// # Errors
///
/// What is wrong, with the binding that it is wrong with.
pub(super) fn prepare_tls(plan: &Plan) -> Result<TlsServers, String> {
    Guards::new(&plan.guards).map_err(|fault| fault.to_string())?;
    for server in plan.http_servers().into_values() {
        HttpServer::new(server).map_err(|fault| format!("{}: {fault}", server.name))?;
    }
    let servers = plan.tls_servers().into_iter().map(|(number, plan)| {
        let server =
            Server::new(plan.clone()).map_err(|fault| format!("{}: {fault}", plan.name))?;
        Ok((number, Arc::new(server)))
    });
    servers.collect()
}

/// Makes the http clients of a plan.
///
/// # Errors
///
/// What is wrong, with the binding that it is wrong with.
pub(super) fn prepare_clients(plan: &Plan) -> Result<Vec<Prepared>, String> {
    let clients = plan.http_clients.iter().map(|client| {
        Prepared::new(Arc::clone(client)).map_err(|fault| format!("{}: {fault}", client.name))
    });
    clients.collect()
}

/// A quarter of the memory that the process may use, over all cores.
pub(super) fn default_cache_bytes(cores: usize) -> usize {
    let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))
        .and_then(|rest| rest.trim().strip_suffix("kB")?.trim().parse::<usize>().ok())
        .map_or(MEMORY_ASSUMED_BYTES, |kib| kib << 10);
    let limit = std::fs::read_to_string("/sys/fs/cgroup/memory.max")
        .ok()
        .and_then(|limit| limit.trim().parse::<usize>().ok());
    limit.map_or(total, |limit| limit.min(total)) / 4 / cores.max(1)
}

/// Creates the topics of `options.create` that are missing. Says what went wrong and goes on: the routes that need them will answer 503.
pub(super) async fn create_topics(clusters: &[Cluster], clients: &[Client]) {
    for (cluster, client) in clusters
        .iter()
        .zip(clients)
        .filter(|(cluster, _)| !cluster.create.is_empty())
    {
        let topics: Vec<NewTopic> = cluster
            .create
            .iter()
            .map(|topic| NewTopic {
                name: topic.name.clone(),
                partitions: topic.partitions,
                replication_factor: topic.replication_factor,
                configs: topic.configs.clone(),
            })
            .collect();
        let until = runtime::now() + CREATE_WAIT;
        while let Err(fault) = create_once(client, &topics).await {
            if fault.is_final || runtime::now() >= until {
                tracing::error!(
                    cluster = cluster.name,
                    fault = fault.reason,
                    "the topics of options.create could not be created; going on without, and trying on"
                );
                runtime::spawn(keep_creating(client.clone(), topics, fault.reason));
                break;
            }
            runtime::sleep(CREATE_RETRY).await;
        }
    }
}

/// Why not all topics are there.
struct CreateFault {
    reason: String,
    /// Trying again at once would not help.
    is_final: bool,
}

async fn create_once(client: &Client, topics: &[NewTopic]) -> Result<(), CreateFault> {
    let outcomes = client.create_topics(topics, CREATE_WAIT).await;
    let outcomes = outcomes.map_err(|fault| CreateFault {
        reason: fault.to_string(),
        is_final: false,
    })?;
    let mut fault: Option<CreateFault> = None;
    for (topic, error, reason) in outcomes {
        match error {
            ErrorCode::NONE => tracing::info!(topic, "topic created"),
            ErrorCode::TOPIC_ALREADY_EXISTS => {}
            error => {
                let fault = fault.get_or_insert_with(|| CreateFault {
                    reason: format!("{topic}: {error} {reason}"),
                    is_final: false,
                });
                fault.is_final |= !error.is_retriable();
            }
        }
    }
    fault.map_or(Ok(()), Err)
}

/// Tries for as long as the gateway runs: what stood in the way may be a cluster that is still starting.
async fn keep_creating(client: Client, topics: Vec<NewTopic>, mut said: String) {
    while !client.is_stopped() {
        runtime::sleep(CREATE_LATER_RETRY).await;
        match create_once(&client, &topics).await {
            Ok(()) => return tracing::info!("all topics of options.create are there"),
            Err(fault) if fault.reason != said => {
                tracing::error!(
                    fault = fault.reason,
                    "the topics of options.create still cannot be created"
                );
                said = fault.reason;
            }
            Err(_) => {}
        }
    }
}

/// Opens the bootstrap topics and waits until they are read, for [`BOOTSTRAP_WAIT`] at most.
pub(super) async fn warm_up(plan: &Plan, topics: &[Topics], deadlines: &Rc<Deadlines>) {
    let now = runtime::now();
    let deadline = deadlines.deadline();
    let notify = Rc::new(Notify::default());
    let mut pinned = Vec::new();
    for (index, (cluster, topics)) in plan.clusters.iter().zip(topics).enumerate() {
        let cached = cluster
            .bootstrap
            .iter()
            .filter(|name| is_read(plan, index, name));
        pinned
            .extend(cached.filter_map(|name| topics.pin(name, now).map(|reader| (topics, reader))));
    }
    for (topics, reader) in pinned {
        let _waiting = reader.wait(Interest::All, &notify);
        while !topics.is_ready(&reader) {
            if with_deadline(&deadline, now + BOOTSTRAP_WAIT, notify.notified())
                .await
                .is_err()
            {
                tracing::warn!(
                    topic = &**reader.name(),
                    "the bootstrap topic is not read yet, opening the port all the same"
                );
                break;
            }
        }
    }
}

/// Whether a bootstrap topic is worth caching: not one that only replies come in, which are indexed instead.
fn is_read(plan: &Plan, cluster: usize, name: &str) -> bool {
    let may_read = |route: &HttpKafkaRoute| match &route.with {
        With::Fetch { topic, .. } => {
            route.cluster == cluster && topic.as_literal().is_none_or(|topic| topic == name)
        }
        With::Produce { .. } => false,
    };
    let may_stream = |(_, route): (&GrpcKafka, &GrpcKafkaRoute)| match &route.with {
        GrpcKafkaWith::Fetch { topic, .. } => route.cluster == cluster && topic == name,
        GrpcKafkaWith::Produce { .. } => false,
    };
    !reply_topics(plan).contains(&(cluster, name.to_owned()))
        || mapped_routes(plan).any(may_read)
        || grpc_routes(plan).any(may_stream)
}

/// Warns of routes that look items up by key in a topic that keeps all records: every such answer is the *oldest* record of its key.
pub(super) async fn warn_of_uncompacted(plan: &Plan, clients: &[Client]) {
    let until = runtime::now() + BOOTSTRAP_WAIT;
    for (cluster, topic) in keyed_topics(plan) {
        let Some(client) = clients.get(cluster) else {
            continue;
        };
        client.want(&topic, false);
        let policy = described(client, &topic, until).await;
        if policy.is_some_and(|policy| !policy.compact) {
            tracing::warn!(
                topic,
                "a route looks items up by key, but the topic is not compacted: it will answer with the oldest record of the key (set cleanup.policy=compact)"
            );
        }
    }
}

async fn described(
    client: &Client,
    topic: &str,
    until: Instant,
) -> Option<crate::kafka::metadata::TopicPolicy> {
    while runtime::now() < until {
        if let Some(policy) = client.topic(topic).and_then(|topic| topic.policy) {
            return Some(policy);
        }
        runtime::sleep(CREATE_RETRY).await;
    }
    None
}

/// Every http-kafka route that a listener leads to.
fn mapped_routes(plan: &Plan) -> impl Iterator<Item = &HttpKafkaRoute> {
    plan.http_kafka().flat_map(|proxy| &proxy.routes)
}

fn each_once(mut topics: Vec<(usize, String)>) -> Vec<(usize, String)> {
    topics.sort();
    topics.dedup();
    topics
}

/// The topics that some route reads by key, each once, with their cluster.
pub fn keyed_topics(plan: &Plan) -> Vec<(usize, String)> {
    let keyed = mapped_routes(plan).filter_map(|route| match &route.with {
        With::Fetch {
            topic,
            filters,
            merge: false,
        } if filters.iter().any(|filter| filter.key.is_some()) => {
            Some((route.cluster, topic.as_literal()?.to_owned()))
        }
        With::Fetch { .. } | With::Produce { .. } => None,
    });
    each_once(keyed.collect())
}

/// The topics that some route writes to, each once: their metadata is fetched before the first request needs it.
pub(super) fn produced_topics(plan: &Plan) -> Vec<(usize, String)> {
    let produced = mapped_routes(plan).filter_map(|route| match &route.with {
        With::Produce { topic, .. } => Some((route.cluster, topic.as_literal()?.to_owned())),
        With::Fetch { .. } => None,
    });
    let called = grpc_routes(plan).filter_map(|(_, route)| match &route.with {
        GrpcKafkaWith::Produce { topic, .. } => Some((route.cluster, topic.clone())),
        GrpcKafkaWith::Fetch { .. } => None,
    });
    let answered = plan.remote_servers.iter().flat_map(|server| {
        let topics = server.reply_topics().into_iter();
        topics.map(|topic| (server.cluster, topic))
    });
    each_once(produced.chain(called).chain(answered).collect())
}

/// Every grpc-kafka route that a listener leads to, with its binding.
fn grpc_routes(plan: &Plan) -> impl Iterator<Item = (&GrpcKafka, &GrpcKafkaRoute)> {
    let bindings = plan.grpc_kafka();
    bindings.flat_map(|binding| binding.routes.iter().map(move |route| (&**binding, route)))
}

/// The topics that some route waits for replies in, each once, with their cluster.
pub fn reply_topics(plan: &Plan) -> Vec<(usize, String)> {
    let replies = mapped_routes(plan).filter_map(|route| match &route.with {
        With::Produce {
            reply: Some(reply), ..
        } => Some((route.cluster, reply.topic.as_literal()?.to_owned())),
        With::Produce { reply: None, .. } | With::Fetch { .. } => None,
    });
    let called = grpc_routes(plan).filter_map(|(_, route)| match &route.with {
        GrpcKafkaWith::Produce { reply_to, .. } => Some((route.cluster, reply_to.clone()?)),
        GrpcKafkaWith::Fetch { .. } => None,
    });
    let served = plan.remote_servers.iter().flat_map(|server| {
        let topics = server.reply_topics().into_iter();
        topics.map(|topic| (server.cluster, topic))
    });
    each_once(replies.chain(called).chain(served).collect())
}

/// The record headers that carry correlation ids in the replies of a cluster, each once, and how far back replies are to be known.
pub(super) fn reply_names(plan: &Plan, cluster: usize) -> (Arc<[Bytes]>, Duration) {
    let bindings = plan
        .http_kafka()
        .filter(|binding| binding.routes.iter().any(|route| route.cluster == cluster));
    let of_http = bindings.map(|binding| (&binding.correlation.correlation_id, binding.horizon));
    let of_grpc = grpc_routes(plan)
        .filter(|(_, route)| route.cluster == cluster)
        .map(|(binding, _)| (&binding.correlation.correlation_id, binding.horizon));
    let servers = plan.remote_servers.iter();
    let of_servers = servers
        .filter(|server| server.cluster == cluster)
        .map(|server| (&server.correlation.correlation_id, server.horizon));
    let mut names = Vec::new();
    let mut horizon = Duration::ZERO;
    for (name, its_horizon) in of_http.chain(of_grpc).chain(of_servers) {
        if !names.contains(&name.as_bytes()) {
            names.push(name.as_bytes());
        }
        horizon = horizon.max(its_horizon);
    }
    (
        names.into_iter().map(Bytes::copy_from_slice).collect(),
        horizon,
    )
}
