//! Putting the process together: sockets, mailboxes, one core after the other, and taking it apart again.

mod core;
pub mod jwks;
mod keys;
mod scrape;
mod startup;
mod stores;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use socket2::Socket;
use tokio::sync::oneshot;

use crate::config::{Listener, ListenerExit, Plan, PrometheusEndpoint};
use crate::guard::key_set::KeySet;
use crate::kafka::replies::ReplyMessage;
use crate::kafka::topics::CacheMessage;
use crate::kafka::topics::floors::Floors;
use crate::net::service::TlsServers;
use crate::observe::Watch;
use crate::observe::lines::Lines;
use crate::observe::metrics::names::Names;
use crate::observe::metrics::snapshot::Snapshot;
use crate::runtime::mailbox::Mailbox;
use crate::runtime::net::{bind, resolve_blocking};
use crate::runtime::placement::CoreSet;
use crate::runtime::{self, StartFault, helper};
pub use startup::{keyed_topics, reply_topics};
pub use stores::{Reload, StoreFile};

/// Control messages of one core: a drain and a "topics are there" at most, with room to spare.
const CONTROL_MESSAGES_MAX: usize = 64;
/// Data messages that wait for one core. An update is at most some megabytes behind an `Arc`, so this bounds bookkeeping, not bulk.
const DATA_MESSAGES_MAX: usize = 4096;
/// Questions for fresh keys that wait for the helper thread.
const KEY_QUESTIONS_MAX: usize = 64;
/// How long a full core is given before the helper thread sends to it again.
const RESEND_INTERVAL: Duration = Duration::from_millis(10);
/// How long the start waits for its cores before it says what it is waiting for.
const READY_NOTICE: Duration = Duration::from_secs(3);

/// What crosses between cores.
#[derive(Debug)]
pub enum CoreMessage {
    /// Finish what is in flight, then end. From the helper thread, in the control queue: one per core and process.
    Drain,
    /// The topics of `options.create` are there, or cannot be made. From core 0, in the control queue: one per core.
    TopicsCreated,
    /// The keys of a guard's issuer. From the helper thread, in the data queue. Refused: sent again ten milliseconds later.
    Keys {
        /// Which guard of the plan.
        guard: usize,
        /// All of its keys.
        keys: Arc<KeySet>,
    },
    /// The tls servers, with keys that were read anew. From the helper thread, in the data queue. Refused: sent again ten milliseconds later.
    TlsServers(Arc<TlsServers>),
    /// Answer with a copy of your figures. From the helper thread, in the data queue. Refused: the scrape goes on without this core and says so.
    Report(oneshot::Sender<Snapshot>),
    /// Cached partitions: see [`CacheMessage`]. In the data queue.
    Cache(CacheMessage),
    /// Replies and who waits for them: see [`ReplyMessage`]. In the data queue.
    Replies {
        /// Which cluster of the plan.
        cluster: usize,
        /// What.
        message: ReplyMessage,
    },
}

/// How to run.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Which cores.
    pub cores: CoreSet,
    /// Bytes of cached chunks on each core; by default a quarter of the memory over all cores.
    pub cache_bytes: Option<usize>,
    /// Whether each request is written to standard output.
    pub access_log: bool,
}

/// Why the gateway did not start.
#[derive(Debug)]
pub enum GatewayFault {
    /// A listening address cannot be had.
    Listen {
        /// Which one.
        address: String,
        /// Why.
        error: io::Error,
    },
    /// The executors.
    Start(StartFault),
    /// The helper thread.
    Helper(io::Error),
    /// Something of the configuration that only shows when it is put to use.
    Setup(String),
    /// A core ended by itself.
    Core(String),
}

impl fmt::Display for GatewayFault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listen { address, error } if error.kind() == io::ErrorKind::AddrInUse => {
                write!(
                    formatter,
                    "cannot listen on {address}: another process does (`ss -ltnp` shows which); stop it or choose another port"
                )
            }
            Self::Listen { address, error } if error.kind() == io::ErrorKind::PermissionDenied => {
                write!(
                    formatter,
                    "cannot listen on {address}: {error}; ports below 1024 need CAP_NET_BIND_SERVICE"
                )
            }
            Self::Listen { address, error } => {
                write!(formatter, "cannot listen on {address}: {error}")
            }
            Self::Start(fault) => fault.fmt(formatter),
            Self::Helper(error) => {
                write!(formatter, "the helper thread cannot be started: {error}")
            }
            Self::Setup(error) => formatter.write_str(error),
            Self::Core(error) => write!(formatter, "a core ended: {error}"),
        }
    }
}

impl std::error::Error for GatewayFault {}

/// A listening address of the plan, bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listening {
    /// The tcp server's name.
    pub binding: String,
    /// What is spoken there, as URLs have it: `http`, `https`, or `tcp` where bytes come back as they are.
    pub scheme: &'static str,
    /// Its address, with the port the system chose if 0 was asked for.
    pub address: SocketAddr,
}

/// All that the process listens on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    /// The tcp servers.
    pub listeners: Vec<Listening>,
    /// The URLs of the `prometheus` exporters.
    pub metrics: Vec<String>,
}

/// What one core gets to listen on: the listener's index in the plan, the port as configured, the socket.
type CoreSocket = (usize, u16, Socket);

/// Runs the gateway until it is told to stop. `on_ready` is called once, when every listener answers.
///
/// # Errors
///
/// [`GatewayFault`].
pub fn run(
    plan: Plan,
    options: &Options,
    reload: Reload,
    on_ready: impl FnOnce(&Addresses),
) -> Result<(), GatewayFault> {
    let cores = runtime::core_count(&options.cores);
    let tls = startup::prepare_tls(&plan).map_err(GatewayFault::Setup)?;
    let http_clients = startup::prepare_clients(&plan).map_err(GatewayFault::Setup)?;
    let (listeners, sockets) = bind_all(&plan, cores)?;
    let (metrics, endpoints) = bind_endpoints(&plan.telemetry.prometheus)?;
    let watch = watch(&plan, options).map_err(GatewayFault::Helper)?;
    let events = watch.events();
    let (refresh_keys, keys_wanted) = tokio::sync::mpsc::channel(KEY_QUESTIONS_MAX);
    let shared = Arc::new(startup::Shared {
        floors: plan
            .clusters
            .iter()
            .map(|_| Arc::new(Floors::default()))
            .collect(),
        mailboxes: (0..cores)
            .map(|_| Mailbox::new(CONTROL_MESSAGES_MAX, DATA_MESSAGES_MAX))
            .collect(),
        drained: AtomicUsize::new(0),
        cache_bytes: options
            .cache_bytes
            .unwrap_or_else(|| startup::default_cache_bytes(cores)),
        tls: Arc::new(tls),
        http_clients,
        refresh_keys,
        watch,
        plan,
    });
    let (ready, wait_ready) = mpsc::channel();
    let mains = sockets
        .into_iter()
        .map(|sockets| {
            let (shared, ready) = (shared.clone(), ready.clone());
            let main = move |start: runtime::CoreStart| core::run(start, shared, sockets, ready);
            Box::new(main) as Box<dyn FnOnce(runtime::CoreStart) -> _ + Send>
        })
        .collect();
    drop(ready);
    let mailboxes = shared.clone();
    let on_signal = move |count| {
        if count > 1 {
            // Told twice: the operator does not want to wait for what is in flight.
            std::process::exit(1);
        }
        for mailbox in &mailboxes.mailboxes {
            mailbox.send_control(CoreMessage::Drain);
        }
    };
    let helped = shared.clone();
    let begin = move || {
        scrape::start(endpoints, &helped);
        keys::start(&helped, keys_wanted);
        stores::start(&helped, reload);
    };
    helper::start(on_signal, begin).map_err(GatewayFault::Helper)?;
    let running = runtime::start_cores(&options.cores, mains).map_err(GatewayFault::Start)?;
    if all_ready(&wait_ready, cores) {
        on_ready(&Addresses { listeners, metrics });
        if let Some(events) = &events {
            events.engine_started(runtime::unix_now());
        }
    }
    let ended = running.join().map_err(GatewayFault::Core);
    if let Some(events) = &events {
        events.engine_stopped(runtime::unix_now());
    }
    shared.watch.flush();
    ended
}

/// Who is told what: one queue for events and accesses, if anybody wants either.
fn watch(plan: &Plan, options: &Options) -> io::Result<Watch> {
    let wants_events = plan.telemetry.stdout_events;
    let lines = (wants_events || options.access_log)
        .then(Lines::start)
        .transpose()?;
    Ok(Watch {
        names: Arc::new(Names::new(plan)),
        events: lines.clone().filter(|_| wants_events),
        accesses: lines.filter(|_| options.access_log),
    })
}

/// Binds the addresses of the `prometheus` exporters.
fn bind_endpoints(
    endpoints: &[PrometheusEndpoint],
) -> Result<(Vec<String>, Vec<scrape::Endpoint>), GatewayFault> {
    let mut urls = Vec::new();
    let mut bound = Vec::new();
    for endpoint in endpoints {
        let (address, sockets) = bind_one(&endpoint.host, endpoint.port, 1)?;
        urls.push(format!("http://{address}{}", endpoint.path));
        bound.extend(sockets.into_iter().map(|socket| scrape::Endpoint {
            socket,
            path: endpoint.path.clone(),
        }));
    }
    Ok((urls, bound))
}

/// Binds the first address of a name, once per core.
fn bind_one(
    host: &str,
    port: u16,
    cores: usize,
) -> Result<(SocketAddr, Vec<Socket>), GatewayFault> {
    let fault = |error| GatewayFault::Listen {
        address: format!("{host}:{port}"),
        error,
    };
    let addresses = resolve_blocking(host, port).map_err(fault)?;
    let address = addresses
        .first()
        .copied()
        .ok_or_else(|| fault(io::ErrorKind::NotFound.into()))?;
    let bound = bind(address, cores).map_err(fault)?;
    Ok((bound.address, bound.sockets))
}

/// Waits until every core listens; false when one ended before.
fn all_ready(ready: &mpsc::Receiver<()>, cores: usize) -> bool {
    for _ in 0..cores {
        match ready.recv_timeout(READY_NOTICE) {
            Ok(()) => continue,
            Err(RecvTimeoutError::Timeout) => {
                tracing::info!("reading the bootstrap topics before the first port opens");
            }
            Err(RecvTimeoutError::Disconnected) => return false,
        }
        if ready.recv().is_err() {
            return false;
        }
    }
    true
}

/// What is spoken on an address. On a wildcard address routes may differ by network: then it is what the last of them speaks.
fn scheme(listener: &Listener, address: SocketAddr, port: u16) -> &'static str {
    let last = || listener.routes.last().map(|route| &route.exit);
    match listener.route(address.ip(), port).or_else(last) {
        Some(ListenerExit::Tls(_)) => "https",
        Some(ListenerExit::Echo(_)) => "tcp",
        Some(ListenerExit::Http(_)) | None => "http",
    }
}

/// Binds every address of the plan once per core.
fn bind_all(
    plan: &Plan,
    cores: usize,
) -> Result<(Vec<Listening>, Vec<Vec<CoreSocket>>), GatewayFault> {
    let mut listening = Vec::new();
    let mut sockets: Vec<Vec<CoreSocket>> = (0..cores).map(|_| Vec::new()).collect();
    for (index, listener) in plan.listeners.iter().enumerate() {
        for port in &listener.ports {
            let (address, bound) = bind_one(&listener.host, *port, cores)?;
            listening.push(Listening {
                binding: listener.name.clone(),
                scheme: scheme(listener, address, *port),
                address,
            });
            for (core, socket) in sockets.iter_mut().zip(bound) {
                core.push((index, *port, socket));
            }
        }
    }
    Ok((listening, sockets))
}
