//! Programs of others: curl, kcat, and the plain running of a command to its end.
//!
//! One rule: where `CI` is set a missing program is a failure; elsewhere the step that needs it is left out, aloud.

use super::PATIENCE;
use std::ffi::OsStr;
use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How a command ended and what it said.
#[derive(Debug)]
pub(crate) struct Finished {
    /// `None`: ended by a signal.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs a command to its end, with `input` on its standard input.
///
/// # Panics
/// It cannot be started, or has not ended in [`PATIENCE`]; then it is killed.
#[track_caller]
pub(crate) fn run(command: &mut Command, input: &[u8]) -> Finished {
    let piped = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = piped
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let mut stdin = child.stdin.take().expect("piped");
    let stdout = collect(child.stdout.take().expect("piped"));
    let stderr = collect(child.stderr.take().expect("piped"));
    let input = input.to_vec();
    // Whoever does not read its input closes it; that shows in the exit code.
    let writer = thread::spawn(move || drop(stdin.write_all(&input)));
    let code = wait(&mut child, PATIENCE);
    if code.is_none() {
        let _ = child.kill();
        let _ = child.wait();
    }
    let text = |thread: thread::JoinHandle<Vec<u8>>| {
        String::from_utf8_lossy(&thread.join().expect("reads")).into_owned()
    };
    drop(writer);
    let (stdout, stderr) = (text(stdout), text(stderr));
    let Some(code) = code else {
        panic!("{command:?} did not end in {PATIENCE:?}\n{stdout}\n{stderr}");
    };
    Finished {
        code,
        stdout,
        stderr,
    }
}

/// Waits for a child's end: its exit code (`None` inside: by a signal), or `None` when it is still running.
#[expect(
    clippy::option_option,
    reason = "still running, and ended without a code, are two things"
)]
pub(crate) fn wait(child: &mut Child, patience: Duration) -> Option<Option<i32>> {
    let deadline = Instant::now() + patience;
    while Instant::now() < deadline {
        if let Some(status) = child.try_wait().expect("a child of ours") {
            return Some(status.code());
        }
        thread::sleep(Duration::from_millis(5));
    }
    None
}

fn collect(mut from: impl Read + Send + 'static) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = from.read_to_end(&mut bytes);
        bytes
    })
}

/// Whether a program is there. Where `CI` is set it has to be.
#[track_caller]
pub(crate) fn is_there(program: &str) -> bool {
    let found = Command::new("sh")
        .args(["-c", &format!("command -v {program}")])
        .stdout(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    assert!(
        found || std::env::var_os("CI").is_none(),
        "{program} is missing, and this is CI"
    );
    if !found {
        eprintln!("{program} is not installed: this part is left out");
    }
    found
}

/// Runs curl with these arguments and returns what it printed.
///
/// # Panics
/// Curl failed.
#[track_caller]
pub(crate) fn curl<I: IntoIterator<Item: AsRef<OsStr>>>(arguments: I) -> String {
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--max-time", "60"]);
    let finished = run(command.args(arguments), b"");
    assert_eq!(finished.code, Some(0), "{command:?}: {finished:?}");
    finished.stdout
}

/// Produces with kcat; `input` is lines of `key:value`.
///
/// # Panics
/// Kcat failed.
#[track_caller]
pub(crate) fn kcat_produce(bootstrap: &str, topic: &str, arguments: &[&str], input: &str) {
    let mut command = Command::new("kcat");
    command.args([
        "-P", "-b", bootstrap, "-t", topic, "-K", ":", "-X", "acks=all",
    ]);
    // Keys go where the Java client puts them.
    command.args(["-X", "topic.partitioner=murmur2_random"]);
    let finished = run(command.args(arguments), input.as_bytes());
    assert_eq!(finished.code, Some(0), "{command:?}: {finished:?}");
}
