//! What the cases stand on: the gateway as a process, brokers to run it against, an HTTP client that sends exact bytes
//! and reads strictly, Kafka clients that are not ours, and the checker of what was acknowledged.
//!
//! One rule: whatever a case starts ends with the case, also when it panics; and nothing is waited for by time alone,
//! but by a condition with a deadline ([`eventually`]).

pub(crate) mod broker;
pub(crate) mod certificates;
pub(crate) mod checker;
pub(crate) mod config;
pub(crate) mod gateway;
pub(crate) mod grpc;
pub(crate) mod grpc_site;
pub(crate) mod h2;
pub(crate) mod http;
pub(crate) mod kafka;
pub(crate) mod link;
pub(crate) mod programs;
pub(crate) mod records;
pub(crate) mod replier;
pub(crate) mod site;
pub(crate) mod sse;
pub(crate) mod timing;
pub(crate) mod tokens;
pub(crate) mod tool;
pub(crate) mod upstream;
pub(crate) mod writers;

use self::broker::Broker;
use self::config::{Crud, Mapping};
use self::gateway::Gateway;
use self::kafka::Kafka;
use self::site::Site;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use std::{fs, net, process, thread};

/// The longest that anything is waited for. No case passes because of it; it only ends one that hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Two partitions of a key never agree on an order, so most cases take more than one.
pub(crate) const COMPACTED: &[(&str, &str)] = &[("cleanup.policy", "compact")];

/// What a case runs on: a broker, an independent client of it, and names of its own.
pub(crate) struct Env {
    pub(crate) broker: Broker,
    pub(crate) kafka: Kafka,
}

impl Env {
    /// On a broker of the kind given, with a client connected to it.
    pub(crate) fn new(broker: Broker) -> Self {
        let kafka = Kafka::connect(&broker.bootstrap());
        Self { broker, kafka }
    }

    /// A compacted topic that no other case has.
    pub(crate) fn compacted(&self, partitions: i32) -> String {
        self.topic(partitions, COMPACTED)
    }

    /// A topic that no other case has.
    pub(crate) fn topic(&self, partitions: i32, configs: &[(&str, &str)]) -> String {
        let name = unique("items");
        self.kafka.create_topic(&name, partitions, 1, configs);
        name
    }

    /// Topics that no other case has, for requests, in one partition, and their replies.
    pub(crate) fn correlated(&self, reply_partitions: i32) -> Correlated {
        Correlated {
            requests: self.topic(1, &[]),
            replies: self.topic(reply_partitions, &[]),
        }
    }

    /// A gateway with the CRUD routes over `topic`, ready to answer.
    pub(crate) fn crud(&self, topic: &str) -> Gateway {
        self.gateway(&Crud::over(topic))
    }

    /// A gateway with this configuration, ready to answer.
    pub(crate) fn gateway(&self, config: &Crud) -> Gateway {
        Gateway::start(&self.broker.bootstrap(), &config.yaml())
    }

    /// A gateway with this configuration, ready to answer.
    pub(crate) fn site(&self, site: &Site) -> Gateway {
        site.start(&self.broker.bootstrap())
    }

    /// A gateway with this mapping, ready to answer.
    pub(crate) fn mapping(&self, mapping: &Mapping) -> Gateway {
        Gateway::start(&self.broker.bootstrap(), &mapping.yaml())
    }
}

/// The topics of a route that awaits replies.
pub(crate) struct Correlated {
    pub(crate) requests: String,
    pub(crate) replies: String,
}

/// Asks until there is an answer.
///
/// # Panics
/// There is none within `patience`.
#[track_caller]
pub(crate) fn eventually<T>(
    what: &str,
    patience: Duration,
    mut condition: impl FnMut() -> Option<T>,
) -> T {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(answer) = condition() {
            return answer;
        }
        assert!(
            Instant::now() < deadline,
            "waited {patience:?} in vain: {what}"
        );
        thread::sleep(Duration::from_millis(5));
    }
}

/// A name that no other case and no other run has.
pub(crate) fn unique(prefix: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{prefix}-{}-{number}", process::id())
}

/// The first of `count` free ports in a row. They lie below the range that the system takes for outgoing connections:
/// a client that knocks at the port of a broker that is down must not end up connected to itself.
pub(crate) fn free_ports(count: u16) -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let start = u32::from(u16::try_from(process::id() % 180).expect("below 180")) * 100;
    for _ in 0..10_000 {
        let offset = (start + NEXT.fetch_add(u32::from(count), Ordering::Relaxed)) % 20_000;
        let first = 12_000 + u16::try_from(offset).expect("below 20,000");
        if (first..first + count).all(|port| net::TcpListener::bind(("127.0.0.1", port)).is_ok()) {
            return first;
        }
    }
    panic!("no {count} free ports in a row");
}

/// A directory of this test's own, removed at the end.
pub(crate) struct TempDir(PathBuf);

impl TempDir {
    pub(crate) fn new() -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(unique("e2e"));
        fs::create_dir_all(&path).expect("a temporary directory");
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file into it and returns where it is.
    pub(crate) fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, text).expect("a file in the temporary directory");
        path
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
