//! The embedded broker: a single-node Kafka-protocol broker inside the process, for the quick start, the tests and a
//! laptop. The gateway talks to it over loopback with the same client code as to Apache Kafka.
//!
//! One rule: it is a development default. One node, no replication, no transactions, no authentication, no TLS, and no
//! fsync: an acknowledged record survives the process (`kill -9`) when there is a data directory, not the machine.
//!
//! Plain threads and locks, the one place of this crate for them: a thread that accepts, one per connection, and one
//! that expires group members and cleans logs. The log keeps the producers' record batches as raw bytes.
//!
//! ```text
//! client ─▶ connections (accept) ─▶ connection (frames, faults) ─▶ api (versions, decode) ─┬─▶ topics ─▶ log ─▶ file
//!                                                                                          ├─▶ fetch_session
//!                                                                                          └─▶ group
//! ```
//!
//! What is not as in Kafka, on purpose:
//! - all batches are held in memory, with a data directory too; retention works by batch, not by segment;
//! - a topic that is only compacted refuses appends when its live keys exceed the bound of a partition;
//! - a record batch that is compressed is never looked into: compaction keeps it whole, and a search by time answers
//!   its first offset;
//! - tombstones age by their own timestamp; the newest batch is neither compacted nor dropped;
//! - committed offsets and group members are forgotten at a stop;
//! - `DUPLICATE_SEQUENCE_NUMBER` is answered for a batch behind the window of five.

#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the embedded broker stands in for another machine: it lives on plain threads, locks and the real clock, and no core ever waits for them"
)]

mod api;
mod batch;
mod connection;
mod connections;
mod error;
mod fault;
mod fetch_session;
mod group;
mod log;
mod state;
mod sync;
#[cfg(test)]
mod tests;
mod topic_config;
mod topics;

pub use self::error::ErrorCode;
pub use self::fault::{Fault, FaultHook, Request};

use self::state::State;
use std::fs::{self, File, TryLockError};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// The one node's id.
const NODE_ID: i32 = 1;
/// The leader never changes.
const LEADER_EPOCH: i32 = 0;
/// How often group members are expired.
const JANITOR_PERIOD: Duration = Duration::from_millis(100);
/// The longest sleep of a thread that waits for a signal only.
const IDLE_WAIT: Duration = Duration::from_secs(3600);
/// How long a stop lets requests under way be answered.
const GRACE: Duration = Duration::from_secs(1);
/// How long the end of the threads is awaited after their sockets were closed; they have nothing left to wait for.
const END_WAIT: Duration = Duration::from_secs(5);

/// How a [`Broker`] is to run.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The host that clients are told to connect to; the port is that of the listener.
    pub advertised_host: String,
    /// Where topics and records are kept; `None`: in memory, gone with the broker.
    pub dir: Option<PathBuf>,
    /// Whether a Metadata request creates a topic that is not there, unless it asks not to.
    pub auto_create_topics: bool,
    /// Partitions of topics that are created without a number.
    pub default_partitions: i32,
    /// Bytes kept per partition, in memory and in its file, unless the topic has its own `retention.bytes`.
    pub retention_bytes: usize,
    /// How often retention and compaction run.
    pub clean_every: Duration,
    /// Connections open at once, each a thread; one more is closed at once.
    pub connections_max: usize,
    /// Fetch sessions kept (KIP-227); a new one evicts the one used longest ago. 0: none are made.
    pub fetch_sessions_max: usize,
    /// Asked for every request what to do with it.
    pub fault: Option<FaultHook>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            advertised_host: Ipv4Addr::LOCALHOST.to_string(),
            dir: None,
            auto_create_topics: true,
            default_partitions: 1,
            retention_bytes: 64 << 20,
            clean_every: Duration::from_secs(15),
            connections_max: 1_000,
            fetch_sessions_max: 1_000,
            fault: None,
        }
    }
}

/// A running broker. Dropped, it stops: connections are closed, its threads have ended, its port and directory are free.
#[derive(Debug)]
pub struct Broker {
    state: Arc<State>,
    accept: Option<JoinHandle<()>>,
    janitor: Option<JoinHandle<()>>,
    /// Keeps other processes out of the data directory.
    dir_lock: Option<File>,
}

impl Broker {
    /// Starts a broker and returns when it listens.
    ///
    /// # Errors
    /// The port is taken, the data directory cannot be used or is in use by another broker, or its list of topics makes
    /// no sense. The message says which.
    pub fn start(config: Config) -> io::Result<Self> {
        let dir_lock = config.dir.as_deref().map(lock_dir).transpose()?;
        let listener = TcpListener::bind(config.listen).map_err(|error| {
            explain(
                &error,
                &format!("embedded broker cannot listen on {}", config.listen),
            )
        })?;
        let address = listener.local_addr()?;
        let dir = config.dir.clone().unwrap_or_default();
        let state = State::open(config, address).map_err(|error| {
            explain(
                &error,
                &format!("embedded broker cannot read {}", dir.display()),
            )
        })?;
        let state = Arc::new(state);
        let mut broker = Self {
            state: Arc::clone(&state),
            accept: None,
            janitor: None,
            dir_lock,
        };
        broker.janitor = Some(spawn("kafka-janitor", {
            let state = Arc::clone(&state);
            move || tidy_up(&state)
        })?);
        broker.accept = Some(spawn("kafka-accept", move || {
            connections::accept_all(&state, &listener);
        })?);
        Ok(broker)
    }

    /// Where the broker listens.
    pub fn addr(&self) -> SocketAddr {
        self.state.address()
    }

    /// Creates a topic; -1 partitions are the configured default.
    ///
    /// # Errors
    /// What a `CreateTopics` request would be answered, such as [`ErrorCode::TOPIC_ALREADY_EXISTS`].
    pub fn create_topic(
        &self,
        name: &str,
        partitions: i32,
        config: &[(&str, &str)],
    ) -> Result<(), ErrorCode> {
        self.state.create_topic(name, partitions, config).map(drop)
    }

    /// Applies retention and compaction now.
    pub fn compact_now(&self) {
        clean(&self.state);
    }

    /// Lets requests wait, unexecuted, until [`Broker::resume`]; connections are still accepted. Requests under way
    /// are not held.
    pub fn pause(&self) {
        self.state.set_paused(true);
    }

    /// Ends a pause; the requests that waited are executed.
    pub fn resume(&self) {
        self.state.set_paused(false);
    }

    /// Stops in order: no new connections or requests, answers under way are sent, parked fetches return what there
    /// is. The same as dropping.
    pub fn stop(self) {
        drop(self);
    }

    /// Stops at once, as a crash of the broker would look to clients: answers under way are lost.
    pub fn kill(mut self) {
        self.end(Duration::ZERO);
    }

    fn end(&mut self, grace: Duration) {
        if grace.is_zero() {
            // Before anyone is woken: a parked fetch would still get its answer out.
            self.state.connections.shut_down(Shutdown::Both);
        }
        self.state.begin_stop();
        if let Some(accept) = self.accept.take() {
            self.wake_accept();
            end_of(accept);
        }
        if !grace.is_zero() {
            self.state.connections.shut_down(Shutdown::Read);
            self.state.connections.wait_for_end(grace);
        }
        self.state.connections.shut_down(Shutdown::Both);
        if !self.state.connections.wait_for_end(END_WAIT) {
            tracing::warn!("embedded broker: a connection did not end");
        }
        if let Some(janitor) = self.janitor.take() {
            end_of(janitor);
        }
        self.state.topics.close();
        self.dir_lock = None;
    }

    fn wake_accept(&self) {
        let mut address = self.addr();
        if address.ip().is_unspecified() {
            address.set_ip(match address.ip() {
                IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
                IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
            });
        }
        // Should it fail, another connection is already there to be accepted.
        let _ = TcpStream::connect_timeout(&address, GRACE);
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if self.dir_lock.is_some() || self.accept.is_some() || self.janitor.is_some() {
            self.end(GRACE);
        }
    }
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    thread::Builder::new().name(name.to_owned()).spawn(run)
}

fn end_of(thread: JoinHandle<()>) {
    // A panic in it has been printed; the broker ends either way.
    let _ = thread.join();
}

/// Adds to an error what was being done.
fn explain(error: &io::Error, what: &str) -> io::Error {
    io::Error::new(error.kind(), format!("{what}: {error}"))
}

/// Makes the data directory and keeps others out of it for as long as the file is open.
fn lock_dir(dir: &Path) -> io::Result<File> {
    let explain = |error: &io::Error| {
        explain(
            error,
            &format!("data directory {} cannot be used", dir.display()),
        )
    };
    fs::create_dir_all(dir).map_err(|error| explain(&error))?;
    let options = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(dir.join("lock"));
    let file = options.map_err(|error| explain(&error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            let message = format!(
                "data directory {} is in use by another broker",
                dir.display()
            );
            Err(io::Error::new(io::ErrorKind::ResourceBusy, message))
        }
        Err(TryLockError::Error(error)) => Err(explain(&error)),
    }
}

/// The janitor's thread: group sessions often, logs now and then, until the stop.
fn tidy_up(state: &State) {
    let mut next_clean = Instant::now() + state.config.clean_every;
    while !state.is_stopping() {
        state.janitor.wait_until(Instant::now() + JANITOR_PERIOD);
        let now = Instant::now();
        state.groups.expire(now);
        if now >= next_clean {
            clean(state);
            next_clean = now + state.config.clean_every;
        }
    }
}

fn clean(state: &State) {
    let now_ms = state.now_ms();
    state.topics.trim(now_ms);
    state.topics.compact(now_ms);
}
