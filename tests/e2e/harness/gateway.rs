//! The gateway as its users run it: a process with a configuration file.

use super::http::Http;
use super::{PATIENCE, TempDir, eventually, tool};
use std::env;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// The command that runs the gateway's binary; `SLUICE_BIN` names another one than cargo built.
pub(crate) fn command() -> Command {
    let path = env::var_os("SLUICE_BIN").unwrap_or_else(|| env!("CARGO_BIN_EXE_sluice").into());
    let mut command = Command::new(path);
    command.env_remove("KAFKA_BOOTSTRAP_SERVER");
    command
}

/// A running gateway. Dropped, it is killed.
pub(crate) struct Gateway {
    child: Child,
    output: Arc<Mutex<String>>,
    address: SocketAddr,
    dir: TempDir,
}

impl Gateway {
    /// Starts one on two cores and returns when it listens.
    ///
    /// # Panics
    /// It ended, or named no listener in time.
    #[track_caller]
    pub(crate) fn start(bootstrap: &str, yaml: &str) -> Self {
        let dir = TempDir::new();
        let file = dir.file("zilla.yaml", yaml);
        let mut command = command();
        command
            .args(["start", "--cores", "none:2", "-c"])
            .arg(&file);
        command.env("KAFKA_BOOTSTRAP_SERVER", bootstrap);
        Self::spawn(&mut command, dir)
    }

    /// Runs this command and returns when it listens.
    ///
    /// # Panics
    /// It ended, or named no listener in time.
    #[track_caller]
    pub(crate) fn spawn(command: &mut Command, dir: TempDir) -> Self {
        let piped = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = piped
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let output = Arc::new(Mutex::new(String::new()));
        keep_lines(child.stdout.take().expect("piped"), &output);
        keep_lines(child.stderr.take().expect("piped"), &output);
        let mut gateway = Self {
            child,
            output,
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            dir,
        };
        gateway.address = eventually("the gateway names its listener", PATIENCE, || {
            let output = gateway.output();
            let ended = gateway.child.try_wait().expect("a child of ours");
            assert!(ended.is_none(), "the gateway ended: {ended:?}\n{output}");
            listener(&output)
        });
        gateway
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// A client of it.
    pub(crate) fn http(&self) -> Http {
        Http::new(self.address)
    }

    /// Puts another content into a file beside its configuration, at once, as whoever renews certificates does.
    pub(crate) fn replace_file(&self, name: &str, content: &str) {
        let next = self.dir.file(&format!("{name}.next"), content);
        std::fs::rename(next, self.dir.path().join(name)).expect("in the same directory");
    }

    /// What it has printed so far.
    pub(crate) fn output(&self) -> String {
        let output = self.output.lock().unwrap_or_else(PoisonError::into_inner);
        output.clone()
    }

    /// Sends it a signal: `TERM`, `INT`, `HUP`, `KILL`.
    pub(crate) fn signal(&self, name: &str) {
        signal(self.child.id(), name);
    }

    /// Waits for its end: the exit code, `None` when a signal ended it.
    ///
    /// # Panics
    /// It has not ended in time.
    #[track_caller]
    pub(crate) fn exit_code(&mut self, patience: Duration) -> Option<i32> {
        let Some(code) = tool::wait(&mut self.child, patience) else {
            panic!("the gateway did not end in {patience:?}\n{}", self.output());
        };
        code
    }

    /// Asserts that it is there and answers a fresh connection.
    #[track_caller]
    pub(crate) fn assert_serves(&self) {
        let answer = self.http().get("/items/that-nobody-wrote");
        assert_eq!(answer.status, 404, "{answer:?}\n{}", self.output());
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("--- the gateway's output\n{}---", self.output());
        }
    }
}

/// Sends a signal to a process that a test started.
pub(crate) fn signal(process: u32, name: &str) {
    let kill = Command::new("sh")
        .args(["-c", &format!("kill -{name} {process}")])
        .status();
    assert!(
        kill.is_ok_and(|status| status.success()),
        "kill -{name} {process}"
    );
}

fn keep_lines(from: impl Read + Send + 'static, output: &Arc<Mutex<String>>) {
    let output = Arc::clone(output);
    thread::spawn(move || {
        let mut from = BufReader::new(from);
        let mut line = Vec::new();
        while from
            .read_until(b'\n', &mut line)
            .is_ok_and(|count| count > 0)
        {
            let mut output = output.lock().unwrap_or_else(PoisonError::into_inner);
            output.push_str(&String::from_utf8_lossy(&line));
            line.clear();
        }
    });
}

/// The port in the first complete line that names a listener, on the loopback.
fn listener(output: &str) -> Option<SocketAddr> {
    let complete = &output[..output.rfind('\n')?];
    let (_, rest) = complete.split_once(" listens on ")?;
    let (_, rest) = rest.split_once("://")?;
    let hosts = ["127.0.0.1:", "localhost:", "0.0.0.0:"];
    let rest = hosts.iter().find_map(|host| rest.strip_prefix(host))?;
    let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
    Some(SocketAddr::from(([127, 0, 0, 1], digits.parse().ok()?)))
}
