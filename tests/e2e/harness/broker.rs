//! The brokers that a case runs on: the embedded one, in the test's process, and Apache Kafka by `tools/kafka.sh`.
//!
//! One rule: a broker can be taken down and comes back at the same address with the same data, whichever kind it is.

use super::gateway::signal;
use super::tool::{Finished, run};
use super::{PATIENCE, TempDir, eventually, free_ports, unique};
use sluice::embedded::{self, FaultHook};
use std::cell::RefCell;
use std::env;
use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

/// A broker, or a cluster of them.
pub(crate) enum Broker {
    Embedded(Embedded),
    /// Apache Kafka, shared by the cases that leave it running.
    Shared(&'static str),
    /// Apache Kafka, this case's alone.
    Own(Own),
}

impl Broker {
    /// An embedded broker of the case's own.
    pub(crate) fn embedded() -> Self {
        Self::Embedded(Embedded::new(None))
    }

    /// An embedded broker that asks `hook` before each request.
    pub(crate) fn faulty(hook: FaultHook) -> Self {
        Self::Embedded(Embedded::new(Some(hook)))
    }

    /// The Apache Kafka that all cases share: the one at `SLUICE_TEST_KAFKA`, else one that is started for this run.
    #[track_caller]
    pub(crate) fn shared_kafka() -> Self {
        static SHARED: OnceLock<String> = OnceLock::new();
        Self::Shared(SHARED.get_or_init(|| {
            env::var("SLUICE_TEST_KAFKA").unwrap_or_else(|_| {
                let kafka = Nodes::start(1);
                let bootstrap = kafka.bootstrap();
                // It ends with this process.
                std::mem::forget(kafka);
                bootstrap
            })
        }))
    }

    /// An Apache Kafka that the case may take down. Cases that take it take turns.
    #[track_caller]
    pub(crate) fn own_kafka() -> Self {
        static OWN: Mutex<Option<Nodes>> = Mutex::new(None);
        let mut nodes = OWN.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *nodes {
            // The case before may have left it down.
            Some(kafka) => kafka.script(&["start"]),
            none => *none = Some(Nodes::start(1)),
        }
        Self::Own(Own(nodes))
    }

    /// `host:port,…`.
    pub(crate) fn bootstrap(&self) -> String {
        match self {
            Self::Embedded(broker) => broker.address.to_string(),
            Self::Shared(bootstrap) => (*bootstrap).to_owned(),
            Self::Own(own) => own.nodes().bootstrap(),
        }
    }

    /// Ends it as a crash would; its data stays.
    #[track_caller]
    pub(crate) fn kill(&self) {
        match self {
            Self::Embedded(broker) => broker.kill(),
            Self::Shared(_) => panic!("a shared broker stays up"),
            Self::Own(own) => own.nodes().script(&["kill"]),
        }
    }

    /// Starts it again where it was, and returns when it listens.
    #[track_caller]
    pub(crate) fn start(&self) {
        match self {
            Self::Embedded(broker) => broker.start(),
            Self::Shared(_) => panic!("a shared broker stays up"),
            Self::Own(own) => own.nodes().script(&["start"]),
        }
    }

    /// Lets it take connections and requests, and answer nothing.
    #[track_caller]
    pub(crate) fn pause(&self) {
        match self {
            Self::Embedded(broker) => broker.with(embedded::Broker::pause),
            Self::Shared(_) => panic!("a shared broker stays up"),
            Self::Own(own) => own.nodes().signal("STOP"),
        }
    }

    /// Ends a pause.
    #[track_caller]
    pub(crate) fn resume(&self) {
        match self {
            Self::Embedded(broker) => broker.with(embedded::Broker::resume),
            Self::Shared(_) => panic!("a shared broker stays up"),
            Self::Own(own) => own.nodes().signal("CONT"),
        }
    }
}

/// The embedded broker on a directory of its own.
pub(crate) struct Embedded {
    address: SocketAddr,
    dir: TempDir,
    hook: Option<FaultHook>,
    running: RefCell<Option<embedded::Broker>>,
}

impl Embedded {
    #[track_caller]
    fn new(hook: Option<FaultHook>) -> Self {
        let broker = Self {
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, free_ports(1))),
            dir: TempDir::new(),
            hook,
            running: RefCell::new(None),
        };
        broker.start();
        broker
    }

    #[track_caller]
    fn start(&self) {
        let config = embedded::Config {
            listen: self.address,
            dir: Some(self.dir.path().to_owned()),
            fault: self.hook.clone(),
            ..embedded::Config::default()
        };
        let broker = eventually("the embedded broker starts", PATIENCE, || {
            embedded::Broker::start(config.clone()).ok()
        });
        *self.running.borrow_mut() = Some(broker);
    }

    fn kill(&self) {
        let broker = self.running.borrow_mut().take();
        broker.expect("it runs").kill();
    }

    fn with(&self, act: impl FnOnce(&embedded::Broker)) {
        act(self.running.borrow().as_ref().expect("it runs"));
    }
}

/// The Apache Kafka that one case at a time has.
pub(crate) struct Own(MutexGuard<'static, Option<Nodes>>);

impl Own {
    fn nodes(&self) -> &Nodes {
        self.0.as_ref().expect("it was started")
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        // A node that is stopped cannot be ended in order.
        self.nodes().resume_all();
    }
}

/// One or three nodes of Apache Kafka. Dropped, or when the process ends in whatever way, they are ended and their
/// data is removed.
pub(crate) struct Nodes {
    count: u16,
    port: u16,
    data: PathBuf,
    /// Cleans up when its input is closed.
    keeper: Child,
}

impl Nodes {
    /// Starts one node or three.
    #[track_caller]
    pub(crate) fn start(count: u16) -> Self {
        static INSTALLED: OnceLock<()> = OnceLock::new();
        INSTALLED.get_or_init(|| {
            let installed = run(Command::new(script_path()).arg("install"), b"");
            assert_eq!(
                installed.code,
                Some(0),
                "tools/kafka.sh install: {installed:?}"
            );
        });
        // Each node takes two ports, ten apart from the next one's.
        let port = free_ports(10 * count);
        let data = Path::new(env!("CARGO_TARGET_TMPDIR")).join(unique("kafka"));
        let keeper = keep(count, port, &data);
        let nodes = Self {
            count,
            port,
            data,
            keeper,
        };
        nodes.script(&["start"]);
        nodes
    }

    pub(crate) fn bootstrap(&self) -> String {
        let mut list = String::new();
        for node in 0..self.count {
            let comma = if node == 0 { "" } else { "," };
            write!(list, "{comma}localhost:{}", self.port + 10 * node).expect("strings take it");
        }
        list
    }

    /// Runs a command of `tools/kafka.sh` on it.
    ///
    /// # Panics
    /// It fails.
    #[track_caller]
    pub(crate) fn script(&self, arguments: &[&str]) {
        let done = run(
            script(self.count, self.port, &self.data).args(arguments),
            b"",
        );
        assert_eq!(done.code, Some(0), "tools/kafka.sh {arguments:?}: {done:?}");
    }

    fn signal(&self, name: &str) {
        let pid = fs::read_to_string(self.data.join("kafka.pid")).expect("it runs");
        signal(pid.trim().parse().expect("a process id"), name);
    }

    fn resume_all(&self) {
        if self.data.join("kafka.pid").exists() {
            self.signal("CONT");
        }
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

/// Runs a class of Kafka's own tools.
pub(crate) fn java_tool(class: &str, arguments: &[&str], input: &str) -> Finished {
    let mut command = Command::new(script_path());
    run(
        command.args(["tool", class]).args(arguments),
        input.as_bytes(),
    )
}

fn script_path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tools/kafka.sh")
}

fn script(count: u16, port: u16, data: &Path) -> Command {
    let mut command = Command::new(script_path());
    command.env("KAFKA_NODES", count.to_string());
    command.env("KAFKA_PORT", port.to_string());
    command.env("KAFKA_DATA", data);
    command
}

/// A process that outlives this one by the moment it takes to end the nodes: it waits for the end of its input, which
/// comes even when this process is killed.
fn keep(count: u16, port: u16, data: &Path) -> Child {
    let mut keeper = Command::new("sh");
    keeper.args([
        "-c",
        "trap '' INT TERM HUP; read _; \"$0\" kill; exec \"$0\" wipe",
    ]);
    keeper.arg(script_path());
    for (name, value) in script(count, port, data).get_envs() {
        keeper.env(name, value.unwrap_or_default());
    }
    keeper
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    keeper.spawn().expect("a shell")
}
