//! What all connections of one broker share. Made by [`super::Broker::start`], used by every handler.
//!
//! One rule: the wall clock of the broker is read here, and nowhere else.

use super::Config;
use super::connections::Connections;
use super::error::ErrorCode;
use super::fault::{Fault, Request};
use super::fetch_session::FetchSessions;
use super::group::Groups;
use super::sync::{Signal, lock};
use super::topics::{Topic, TopicKey, Topics};
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Producer ids per millisecond of uptime that a restart is sure not to give out again.
const PRODUCER_IDS_PER_MS: i64 = 1_000;

#[derive(Debug)]
pub(super) struct State {
    pub(super) config: Config,
    pub(super) topics: Topics,
    pub(super) groups: Groups,
    pub(super) fetch_sessions: Mutex<FetchSessions>,
    pub(super) connections: Connections,
    /// Wakes the thread that cleans up, for the stop.
    pub(super) janitor: Signal,
    address: SocketAddr,
    next_producer_id: AtomicI64,
    /// Requests so far, by API.
    requests: Mutex<HashMap<i16, u64>>,
    is_stopping: AtomicBool,
    is_paused: AtomicBool,
}

impl State {
    /// Opens the topics of the data directory; `address` is where the broker listens.
    ///
    /// # Errors
    /// What is wrong with the data directory.
    pub(super) fn open(config: Config, address: SocketAddr) -> io::Result<Self> {
        let now_ms = wall_clock_ms();
        Ok(Self {
            topics: Topics::open(config.dir.clone(), config.retention_bytes, now_ms)?,
            groups: Groups::default(),
            fetch_sessions: Mutex::new(FetchSessions::new(config.fetch_sessions_max)),
            connections: Connections::default(),
            janitor: Signal::default(),
            address,
            // By the clock, as the directory may hold batches of ids given out before.
            next_producer_id: AtomicI64::new(now_ms.saturating_mul(PRODUCER_IDS_PER_MS)),
            requests: Mutex::default(),
            is_stopping: AtomicBool::new(false),
            is_paused: AtomicBool::new(false),
            config,
        })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The port, as the protocol carries it.
    pub(super) fn port(&self) -> i32 {
        self.address.port().into()
    }

    /// Milliseconds since 1970.
    #[expect(
        clippy::unused_self,
        reason = "handlers have no other way to the clock"
    )]
    pub(super) fn now_ms(&self) -> i64 {
        wall_clock_ms()
    }

    pub(super) fn next_producer_id(&self) -> i64 {
        self.next_producer_id.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn partitions_or_default(&self, partitions: i32) -> i32 {
        if partitions == -1 {
            self.config.default_partitions
        } else {
            partitions
        }
    }

    /// Creates a topic; -1 partitions are the configured default.
    ///
    /// # Errors
    /// As [`Topics::create`], or `INVALID_CONFIG`.
    pub(super) fn create_topic(
        &self,
        name: &str,
        partitions: i32,
        config: &[(&str, &str)],
    ) -> Result<Arc<Topic>, ErrorCode> {
        let config = self.topics.config(config.iter().copied())?;
        self.topics.create(
            name,
            self.partitions_or_default(partitions),
            config,
            self.now_ms(),
        )
    }

    /// What [`State::create_topic`] would be answered.
    ///
    /// # Errors
    /// The same.
    pub(super) fn check_topic(
        &self,
        name: &str,
        partitions: i32,
        config: &[(&str, &str)],
    ) -> Result<(), ErrorCode> {
        self.topics.config(config.iter().copied())?;
        self.topics
            .check(name, self.partitions_or_default(partitions))
    }

    /// Deletes a topic and what groups committed for it.
    ///
    /// # Errors
    /// As [`Topics::delete`].
    pub(super) fn delete_topic(&self, key: &TopicKey) -> Result<Arc<Topic>, ErrorCode> {
        let topic = self.topics.delete(key)?;
        self.groups.forget_topic(&topic.name);
        Ok(topic)
    }

    /// What is to be done with a request; `request.nth` is filled in here.
    pub(super) fn fault(&self, mut request: Request) -> Fault {
        let Some(hook) = &self.config.fault else {
            return Fault::None;
        };
        {
            let mut requests = lock(&self.requests);
            let count = requests.entry(request.api_key).or_default();
            request.nth = *count;
            *count += 1;
        }
        hook.decide(&request)
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::SeqCst)
    }

    /// Tells everyone who waits or asks that it is over.
    pub(super) fn begin_stop(&self) {
        self.is_stopping.store(true, Ordering::SeqCst);
        self.groups.stop();
        self.janitor.raise();
        self.connections.raise_all();
    }

    pub(super) fn set_paused(&self, is_paused: bool) {
        self.is_paused.store(is_paused, Ordering::SeqCst);
        self.connections.raise_all();
    }

    /// Holds a connection's thread while the broker is paused.
    pub(super) fn wait_while_paused(&self, signal: &Signal) {
        loop {
            signal.clear();
            if !self.is_paused.load(Ordering::SeqCst) || self.is_stopping() {
                return;
            }
            signal.wait_until(Instant::now() + super::IDLE_WAIT);
        }
    }

    /// Holds a connection's thread until `deadline` or the stop.
    pub(super) fn wait_until(&self, signal: &Signal, deadline: Instant) {
        while !self.is_stopping() && Instant::now() < deadline {
            signal.clear();
            // Looked at again: a stop between the two would have raised the signal before it was cleared.
            if !self.is_stopping() {
                signal.wait_until(deadline);
            }
        }
    }
}

fn wall_clock_ms() -> i64 {
    let since_epoch = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX)
}
