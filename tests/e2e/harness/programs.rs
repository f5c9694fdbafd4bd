//! The clients and servers of other languages in `tools/grpc`: grpcio and grpc-go on either side of the gateway.
//!
//! One rule: they print what came of the calls, and a case judges it; what cannot be started fails the case.

use super::tool::{Finished, run};
use super::{PATIENCE, TempDir, eventually, free_ports};
use serde_json::Value;
use std::cell::RefCell;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;

/// Whose library it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Language {
    /// grpcio.
    Python,
    /// grpc-go.
    Go,
}

/// Where `tools/grpc/install.sh` has put what it made.
fn installed(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("target/grpc")
        .join(name);
    assert!(
        path.exists(),
        "target/grpc/{name} is missing: run tools/grpc/install.sh"
    );
    path
}

fn python(script: &str) -> Command {
    let mut command = Command::new(installed("venv/bin/python"));
    let script = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tools/grpc")
        .join(script);
    command.arg(script).env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

impl Language {
    fn command(self, what: &str) -> Command {
        match self {
            Self::Python => python(&format!("{what}.py")),
            Self::Go => {
                let mut command = Command::new(installed("bin/echo"));
                command.arg(what);
                command
            }
        }
    }

    /// Makes calls, and returns what it prints of them.
    ///
    /// # Panics
    /// It cannot be started, or does not know what is asked of it.
    #[track_caller]
    pub(crate) fn client(self, address: SocketAddr, arguments: &[&str]) -> Value {
        let mut command = self.command("client");
        command.arg(address.to_string()).args(arguments);
        printed(&command_line(&command), &run(&mut command, b""))
    }
}

/// Makes one call over grpc-web.
#[track_caller]
pub(crate) fn web(address: SocketAddr, arguments: &[&str]) -> Value {
    let mut command = python("web.py");
    command.arg(format!("http://{address}")).args(arguments);
    printed(&command_line(&command), &run(&mut command, b""))
}

/// Runs grpcurl without TLS.
#[track_caller]
pub(crate) fn grpcurl(address: SocketAddr, before: &[&str], after: &[&str]) -> Finished {
    let mut command = Command::new(installed("bin/grpcurl"));
    command.args(["-plaintext", "-max-time", "30"]).args(before);
    run(command.arg(address.to_string()).args(after), b"")
}

fn command_line(command: &Command) -> String {
    format!("{command:?}")
}

#[track_caller]
fn printed(command: &str, finished: &Finished) -> Value {
    assert_eq!(finished.code, Some(0), "{command}: {finished:?}");
    serde_json::from_str(&finished.stdout)
        .unwrap_or_else(|error| panic!("{command}: {error}: {finished:?}"))
}

/// A line of a server's log.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    /// `begin`, `message`, `end` or `cancelled`.
    pub(crate) event: String,
    /// The idempotency key, or `x-correlation`.
    pub(crate) correlation: String,
    pub(crate) message: String,
    /// Seconds since 1970.
    pub(crate) time: f64,
    pub(crate) metadata: Value,
}

/// Echo as another library serves it, at a port that stays the same. Dropped, it is killed.
pub(crate) struct Service {
    language: Language,
    port: u16,
    dir: TempDir,
    arguments: Vec<String>,
    running: RefCell<Option<Child>>,
}

impl Service {
    /// One that does not run yet.
    pub(crate) fn stopped(language: Language) -> Self {
        Self {
            language,
            port: free_ports(1),
            dir: TempDir::new(),
            arguments: Vec::new(),
            running: RefCell::new(None),
        }
    }

    /// One that listens.
    #[track_caller]
    pub(crate) fn start(language: Language) -> Self {
        let service = Self::stopped(language);
        service.run();
        service
    }

    /// With TLS: a key and its certificate as PEM.
    pub(crate) fn secure(mut self, pem: &str) -> Self {
        let path = self.dir.file("server.pem", pem);
        let path = path.to_str().expect("text").to_owned();
        let with = [
            "--certificate".to_owned(),
            path.clone(),
            "--key".to_owned(),
            path,
        ];
        self.arguments.extend(with);
        self
    }

    /// Starts it, and returns when it listens.
    #[track_caller]
    pub(crate) fn run(&self) {
        let mut command = self.language.command("server");
        command.args(["--port", &self.port.to_string(), "--log"]);
        command.arg(self.log_path()).args(&self.arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("it was installed");
        let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
        *self.running.borrow_mut() = Some(child);
        let mut line = String::new();
        stdout.read_line(&mut line).expect("a line");
        assert_eq!(line, format!("listening {}\n", self.port), "{command:?}");
        // It must not stop because nobody reads on.
        thread::spawn(move || std::io::copy(&mut stdout, &mut std::io::sink()));
    }

    /// Ends it as a crash would.
    pub(crate) fn kill(&self) {
        if let Some(mut child) = self.running.borrow_mut().take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Where it listens.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    fn log_path(&self) -> PathBuf {
        self.dir.path().join("calls.log")
    }

    /// What has happened to its calls so far.
    #[track_caller]
    pub(crate) fn log(&self) -> Vec<Line> {
        let text = fs::read_to_string(self.log_path()).unwrap_or_default();
        // The last line may be on its way.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().map(parsed).collect()
    }

    /// The correlations of the calls that have begun, in their order.
    #[track_caller]
    pub(crate) fn begun(&self) -> Vec<String> {
        let log = self.log().into_iter();
        log.filter(|line| line.event == "begin")
            .map(|line| line.correlation)
            .collect()
    }

    /// Waits for a line.
    #[track_caller]
    pub(crate) fn await_line(&self, what: &str, is_it: impl Fn(&Line) -> bool) -> Line {
        eventually(what, PATIENCE, || self.log().into_iter().find(&is_it))
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.kill();
        if thread::panicking() {
            let log = self.log();
            let last = &log[log.len().saturating_sub(10)..];
            eprintln!("--- the service saw {} events, last {last:?}", log.len());
        }
    }
}

fn parsed(line: &str) -> Line {
    let line: Value = serde_json::from_str(line).expect("a line of JSON");
    let text = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
    Line {
        event: text("event"),
        correlation: text("correlation"),
        message: text("message"),
        time: line["time"].as_f64().unwrap_or_default(),
        metadata: line["metadata"].clone(),
    }
}
