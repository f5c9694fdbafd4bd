//! One core from its first task to its last: clients, topics, listeners, then messages until the drain.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::time::Duration;

use futures_lite::FutureExt;

use super::startup::{self, Shared};
use super::{CoreMessage, CoreSocket};
use crate::guard::Guards;
use crate::kafka::client::Client;
use crate::kafka::producer::Limits;
use crate::kafka::replies::{Replies, RepliesParts, ReplyMessage};
use crate::kafka::topics::floors::FloorsOfCore;
use crate::kafka::topics::{CacheMessage, Topics, TopicsParts};
use crate::net::accept;
use crate::net::remote_server::{RemoteServer, RemoteServerParts};
use crate::net::service::{Service, ServiceParts, TlsServers};
use crate::net::upstream::Upstreams;
use crate::observe::metrics::family::Metric;
use crate::observe::metrics::snapshot::{Series, Snapshot};
use crate::observe::{ClusterWatch, CoreWatch};
use crate::runtime::net::Listener;
use crate::runtime::notify::Notify;
use crate::runtime::placement::CoreId;
use crate::runtime::{self, CoreStart, with_deadline};

/// How long a drain waits for what is in flight, and then for records without an outcome.
const DRAIN_WAIT: Duration = Duration::from_secs(10);
/// The least that records without an outcome are waited for.
const FLUSH_WAIT: Duration = Duration::from_secs(2);
/// How long calls that were found in topics are waited for; the rest is for telling their consumer groups.
const CALLS_WAIT: Duration = Duration::from_secs(8);
/// How often a core that is done looks whether the others are.
const DRAIN_INTERVAL: Duration = Duration::from_millis(5);
/// Messages taken before others get their turn.
const MESSAGES_PER_TURN: usize = 64;

/// What the message pump raises.
#[derive(Default)]
struct Signals {
    drain: Notify,
    draining: Cell<bool>,
    topics_created: Notify,
}

/// Runs one core until it is drained.
pub(super) async fn run(
    start: CoreStart,
    shared: Arc<Shared>,
    sockets: Vec<CoreSocket>,
    ready: mpsc::Sender<()>,
) {
    let watch = CoreWatch::new(&shared.watch);
    let clients = clients(&start, &shared, &watch);
    let topics = topics(&start, &shared, &clients);
    let replies = replies(&start, &shared, &clients);
    let guards = Rc::new(shared.guards());
    let servers = shared.servers();
    let tls = Rc::new(RefCell::new(shared.tls.clone()));
    let upstreams = Rc::new(Upstreams::new(&shared.http_clients, &start.deadlines));
    let signals = Rc::new(Signals::default());
    runtime::spawn(pump(
        start.id,
        shared.clone(),
        Parts {
            topics: topics.clone(),
            replies: replies.clone(),
            signals: signals.clone(),
            guards: guards.clone(),
            tls: tls.clone(),
            watch: watch.clone(),
        },
    ));
    prepare(&start, &shared, &clients, &topics, &signals).await;
    for (cluster, topic) in startup::reply_topics(&shared.plan) {
        replies[cluster].open(&topic);
    }
    let remote_servers = remote_servers(&start, &shared, &clients, &replies, (&upstreams, &watch));
    let service = Service::new(ServiceParts {
        deadlines: start.deadlines.clone(),
        clients: clients.clone(),
        topics,
        replies,
        servers,
        tls,
        upstreams,
        guards,
        refresh_keys: refresh_keys(&shared),
        watch,
    });
    let stops: Vec<Rc<Notify>> = sockets
        .into_iter()
        .filter_map(|socket| listen(socket, &shared, &service))
        .collect();
    // The main thread has gone only if the process is ending anyway.
    let _ = ready.send(());
    if !signals.draining.get() {
        signals.drain.notified().await;
    }
    for stop in stops {
        stop.notify();
    }
    drain(&start, &shared, (&service, &remote_servers), &clients).await;
}

fn clients(start: &CoreStart, shared: &Arc<Shared>, watch: &Rc<CoreWatch>) -> Vec<Client> {
    let clusters = shared.plan.clusters.iter().zip(&shared.floors);
    let client = |(number, (cluster, floors)): (usize, (&crate::config::Cluster, &Arc<_>))| {
        let servers = cluster
            .connect_to
            .clone()
            .map_or_else(|| cluster.servers.clone(), |server| vec![server]);
        let floors = FloorsOfCore::new(Arc::clone(floors));
        let on_acked = Box::new(move |topic: &str, partition, next_offset| {
            floors.raise(topic, partition, next_offset);
        });
        let client = Client::new(
            servers,
            Limits::default(),
            start.id.0 as u64,
            start.deadlines.clone(),
            on_acked,
            ClusterWatch::new(watch.clone(), number),
        );
        client.never_create(cluster.create.iter().map(|topic| topic.name.clone()));
        client
    };
    clusters.enumerate().map(client).collect()
}

fn topics(start: &CoreStart, shared: &Arc<Shared>, clients: &[Client]) -> Vec<Topics> {
    let count = clients.len().max(1);
    let topics = |(cluster, client): (usize, &Client)| {
        let mailboxes = shared.clone();
        let send = move |to: CoreId, message: CacheMessage| match mailboxes.mailboxes[to.0]
            .send_data(CoreMessage::Cache(message))
        {
            Err(CoreMessage::Cache(refused)) => Err(refused),
            Ok(()) | Err(_) => Ok(()),
        };
        Topics::new(TopicsParts {
            core: start.id,
            cores: start.cores,
            cluster,
            client: client.clone(),
            deadlines: start.deadlines.clone(),
            floors: shared.floors[cluster].clone(),
            send: Box::new(send),
            budget_bytes: shared.cache_bytes / count,
        })
    };
    clients.iter().enumerate().map(topics).collect()
}

fn replies(start: &CoreStart, shared: &Arc<Shared>, clients: &[Client]) -> Vec<Replies> {
    let replies = |(cluster, client): (usize, &Client)| {
        let mailboxes = shared.clone();
        let send = move |to: CoreId, message: ReplyMessage| {
            let message = CoreMessage::Replies { cluster, message };
            match mailboxes.mailboxes[to.0].send_data(message) {
                Err(CoreMessage::Replies { message, .. }) => Err(message),
                Ok(()) | Err(_) => Ok(()),
            }
        };
        let (names, horizon) = startup::reply_names(&shared.plan, cluster);
        Replies::new(RepliesParts {
            core: start.id,
            cores: start.cores,
            client: client.clone(),
            deadlines: start.deadlines.clone(),
            names,
            horizon,
            send: Box::new(send),
        })
    };
    clients.iter().enumerate().map(replies).collect()
}

/// Serves the calls in topics.
fn remote_servers(
    start: &CoreStart,
    shared: &Arc<Shared>,
    clients: &[Client],
    replies: &[Replies],
    (upstreams, watch): (&Rc<Upstreams>, &Rc<CoreWatch>),
) -> Vec<RemoteServer> {
    let plans = shared.plan.remote_servers.iter();
    let server = |plan: &Arc<crate::config::KafkaGrpc>| {
        RemoteServer::start(RemoteServerParts {
            plan: plan.clone(),
            client: clients[plan.cluster].clone(),
            replies: replies[plan.cluster].clone(),
            upstreams: upstreams.clone(),
            deadlines: start.deadlines.clone(),
            watch: watch.clone(),
        })
    };
    plans.map(server).collect()
}

/// How the connections of a core ask for the keys of a guard.
fn refresh_keys(shared: &Arc<Shared>) -> Box<dyn Fn(usize)> {
    let shared = shared.clone();
    Box::new(move |guard| {
        // A full queue has questions enough in it; the next token with a strange key asks again.
        let _ = shared.refresh_keys.try_send(guard);
    })
}

/// Hands out what other cores and the helper send.
async fn pump(id: CoreId, shared: Arc<Shared>, parts: Parts) {
    let mailbox = &shared.mailboxes[id.0];
    let dispatch = |message| parts.dispatch(message, id, mailbox.len());
    loop {
        let first = std::future::poll_fn(|context| mailbox.poll_take(context)).await;
        dispatch(first);
        for _ in 1..MESSAGES_PER_TURN {
            let Some(message) = mailbox.take() else { break };
            dispatch(message);
        }
        runtime::yield_now().await;
    }
}

/// Whom messages are for.
struct Parts {
    topics: Vec<Topics>,
    replies: Vec<Replies>,
    signals: Rc<Signals>,
    guards: Rc<Guards>,
    tls: Rc<RefCell<Arc<TlsServers>>>,
    watch: Rc<CoreWatch>,
}

impl Parts {
    /// Passes a message on. `waiting`: how many wait behind it.
    fn dispatch(&self, message: CoreMessage, id: CoreId, waiting: usize) {
        match message {
            CoreMessage::Drain => {
                self.signals.draining.set(true);
                self.signals.drain.notify();
            }
            CoreMessage::TopicsCreated => self.signals.topics_created.notify(),
            CoreMessage::Cache(message) => {
                if let Some(topics) = self.topics.get(message.cluster()) {
                    topics.handle_message(message);
                }
            }
            CoreMessage::Replies { cluster, message } => {
                if let Some(replies) = self.replies.get(cluster) {
                    replies.handle_message(message);
                }
            }
            CoreMessage::Keys { guard, keys } => self.guards.set_keys(guard, keys),
            CoreMessage::TlsServers(servers) => *self.tls.borrow_mut() = servers,
            // Whoever asked may have given up waiting.
            CoreMessage::Report(answer) => drop(answer.send(self.report(id, waiting))),
        }
    }

    fn report(&self, id: CoreId, waiting: usize) -> Snapshot {
        let mut report = self.watch.metrics.snapshot();
        let waiting = waiting as u64;
        report.number(Metric::InboxDepth, Series::Core(id.0), waiting);
        for (cluster, topics) in self.topics.iter().enumerate() {
            let (used, limit) = (topics.cached_bytes() as u64, topics.budget_bytes() as u64);
            report.number(Metric::CacheBytes, Series::Process, used);
            report.number(Metric::CacheLimitBytes, Series::Process, limit);
            for (topic, lag) in topics.lags() {
                report.number(Metric::FetchLag, Series::Topic { cluster, topic }, lag);
            }
        }
        for (topics, replies) in self.topics.iter().zip(&self.replies) {
            let waiters = (topics.waiters() + replies.waiters()) as u64;
            report.number(Metric::Waiters, Series::Process, waiters);
            let (open, known) = (replies.exchanges_open(), replies.replies_known());
            report.number(Metric::Exchanges, Series::Process, open as u64);
            report.number(Metric::RepliesKnown, Series::Process, known as u64);
        }
        report
    }
}

/// Creates topics (core 0, the others wait for it) and reads the bootstrap ones.
async fn prepare(
    start: &CoreStart,
    shared: &Arc<Shared>,
    clients: &[Client],
    topics: &[Topics],
    signals: &Rc<Signals>,
) {
    let plan = &shared.plan;
    let deadline = start.deadlines.deadline();
    if plan
        .clusters
        .iter()
        .any(|cluster| !cluster.create.is_empty())
    {
        if start.id == CoreId(0) {
            startup::create_topics(&plan.clusters, clients)
                .or(async { signals.drain.notified().await })
                .await;
            for mailbox in &shared.mailboxes[1..] {
                mailbox.send_control(CoreMessage::TopicsCreated);
            }
        } else {
            let created = signals
                .topics_created
                .notified()
                .or(signals.drain.notified());
            let _ = with_deadline(
                &deadline,
                runtime::now() + 2 * startup::BOOTSTRAP_WAIT,
                created,
            )
            .await;
        }
    }
    if signals.draining.get() {
        return;
    }
    // Only now: asking for a topic's metadata may make the broker create it, with its defaults instead of ours.
    for (cluster, topic) in startup::produced_topics(plan) {
        clients[cluster].produce_topic(&topic);
    }
    startup::warm_up(plan, topics, &start.deadlines)
        .or(signals.drain.notified())
        .await;
    if start.id == CoreId(0) {
        let (shared, clients) = (shared.clone(), clients.to_vec());
        runtime::spawn(async move { startup::warn_of_uncompacted(&shared.plan, &clients).await });
    }
}

/// Starts to listen; gives what stops it.
fn listen(
    (index, port, socket): CoreSocket,
    shared: &Arc<Shared>,
    service: &Rc<Service>,
) -> Option<Rc<Notify>> {
    let plan = shared.plan.listeners.get(index)?.clone();
    let listener = match Listener::new(socket) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(listener = plan.name, %error, "cannot listen");
            return None;
        }
    };
    let stop = Rc::new(Notify::default());
    let (service, stopped) = (service.clone(), stop.clone());
    runtime::spawn(async move {
        stopped
            .notified()
            .or(accept::run(listener, plan, (index, port), service))
            .await;
    });
    Some(stop)
}

async fn drain(
    start: &CoreStart,
    shared: &Shared,
    (service, remote_servers): (&Rc<Service>, &[RemoteServer]),
    clients: &[Client],
) {
    let now = runtime::now();
    let (calls_until, until) = (now + CALLS_WAIT, now + DRAIN_WAIT);
    service.drain();
    let left = Rc::new(Cell::new(remote_servers.len()));
    for server in remote_servers {
        let (server, left) = (server.clone(), left.clone());
        runtime::spawn(async move {
            server.drain(calls_until, until).await;
            left.set(left.get() - 1);
        });
    }
    let deadline = start.deadlines.deadline();
    if with_deadline(&deadline, until, service.emptied())
        .await
        .is_err()
    {
        tracing::warn!(
            connections = service.connections_open(),
            "connections were still open at the end of the drain"
        );
    }
    while left.get() > 0 && runtime::now() < until {
        runtime::sleep(DRAIN_INTERVAL).await;
    }
    service.upstreams.drain();
    // Other cores' requests may still need this one: their partitions, their correlation ids.
    shared.drained.fetch_add(1, Ordering::AcqRel);
    while shared.drained.load(Ordering::Acquire) < start.cores && runtime::now() < until {
        runtime::sleep(DRAIN_INTERVAL).await;
    }
    // Whatever the connections took of the time, records without an outcome get some of their own.
    let until = until.max(runtime::now() + FLUSH_WAIT);
    for client in clients {
        if !client.flush(until).await {
            tracing::error!(
                bytes = client.queued_bytes(),
                "records without an outcome were given up at the end of the drain"
            );
        }
        client.stop();
    }
}
