//! From the start of a process to its first right answer, as a client sees it that tries again every half millisecond.
#![expect(
    clippy::disallowed_methods,
    reason = "a load generator lives by the clock"
)]

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::arguments::Arguments;
use crate::response;

const RETRY_INTERVAL: Duration = Duration::from_micros(500);
const PATIENCE: Duration = Duration::from_secs(30);

/// Starts the command, and ends it after its first answer with the wanted status. Says how long that took.
///
/// # Errors
///
/// When the command cannot be started, or does not answer so in thirty seconds.
pub fn run(arguments: &Arguments) -> io::Result<Duration> {
    let (program, rest) = arguments
        .command
        .split_first()
        .ok_or(io::ErrorKind::InvalidInput)?;
    let start = Instant::now();
    let mut child = Command::new(program)
        .args(rest)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let elapsed = loop {
        if ask(arguments).is_ok_and(|status| status == arguments.status) {
            break Ok(start.elapsed());
        }
        if start.elapsed() > PATIENCE || child.try_wait()?.is_some() {
            break Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "the command gave no such answer",
            ));
        }
        std::thread::sleep(RETRY_INTERVAL);
    };
    child.kill()?;
    child.wait()?;
    elapsed
}

fn ask(arguments: &Arguments) -> io::Result<u16> {
    let mut stream = TcpStream::connect(arguments.connect)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(&arguments.request(0))?;
    let mut input = Vec::new();
    let mut bytes = [0; 4096];
    loop {
        let count = stream.read(&mut bytes)?;
        input.extend_from_slice(&bytes[..count]);
        match response::parse(&input) {
            Ok(Some(response)) => return Ok(response.status),
            Ok(None) if count > 0 => {}
            _ => return Err(io::ErrorKind::InvalidData.into()),
        }
    }
}
