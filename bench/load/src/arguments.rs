//! The command line.

use std::net::SocketAddr;
use std::time::Duration;

/// How to call it.
pub const USAGE: &str = "\
usage: load --connect IP:PORT [--rate N] [--requests N | --secs N] [--connections N] [--method M] [--path P] [--body-bytes N] [--keys N]
       load first-answer --connect IP:PORT [--method M] [--path P] [--body-bytes N] --status N -- COMMAND...
       load fanout --connect IP:PORT [--connections N] [--rate N] [--secs N] [--path P] [--publish-path P] [--body-bytes N] [--hold]
       load wait --connect IP:PORT [--connections N] [--method M] [--path P] [--header 'NAME: VALUE'] [--body-bytes N]
{key} in the path is replaced: random below --keys, or 0, 1, 2... up to --requests";

/// What to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Latency at a rate.
    OpenLoop,
    /// A command's way to its first answer.
    FirstAnswer,
    /// Requests that wait, one on each connection.
    Wait,
    /// Event streams, and what is published to them.
    FanOut,
}

/// What to send, and where.
#[derive(Clone, Debug)]
pub struct Arguments {
    pub mode: Mode,
    pub connect: SocketAddr,
    /// Arrivals a second.
    pub rate: u32,
    pub duration: Duration,
    /// Ends the run before `duration` does.
    pub requests: Option<u64>,
    pub connections: usize,
    pub method: String,
    pub path: String,
    /// Where records are published that streams bring.
    pub publish_path: String,
    /// Streams stay idle until a line comes on standard input.
    pub hold: bool,
    /// Header lines beside the usual ones, each with its line end.
    pub headers: String,
    pub body_bytes: usize,
    pub keys: Option<u64>,
    pub status: u16,
    pub command: Vec<String>,
}

impl Arguments {
    /// Reads the command line; `None` when it cannot be understood.
    pub fn parse(words: impl Iterator<Item = String>) -> Option<Self> {
        let mut words = words.peekable();
        let mode = match words.peek().map(String::as_str) {
            Some("first-answer") => Mode::FirstAnswer,
            Some("wait") => Mode::Wait,
            Some("fanout") => Mode::FanOut,
            _ => Mode::OpenLoop,
        };
        if mode != Mode::OpenLoop {
            words.next();
        }
        let mut arguments = Self {
            mode,
            connect: SocketAddr::from(([127, 0, 0, 1], 0)),
            rate: 1000,
            duration: Duration::from_secs(5),
            requests: None,
            connections: 64,
            method: "GET".into(),
            path: "/".into(),
            publish_path: "/events".into(),
            hold: false,
            headers: String::new(),
            body_bytes: 0,
            keys: None,
            status: 200,
            command: Vec::new(),
        };
        while let Some(name) = words.next() {
            if name == "--" {
                arguments.command = words.collect();
                break;
            }
            if name == "--hold" {
                arguments.hold = true;
                continue;
            }
            let value = words.next()?;
            match name.as_str() {
                "--connect" => arguments.connect = value.parse().ok()?,
                "--rate" => arguments.rate = value.parse().ok().filter(|rate| *rate > 0)?,
                "--secs" => arguments.duration = Duration::from_secs(value.parse().ok()?),
                "--requests" => arguments.requests = Some(value.parse().ok()?),
                "--connections" => arguments.connections = value.parse().ok()?,
                "--method" => arguments.method = value,
                "--path" => arguments.path = value,
                "--publish-path" => arguments.publish_path = value,
                "--header" => arguments.headers += &format!("{value}\r\n"),
                "--body-bytes" => arguments.body_bytes = value.parse().ok()?,
                "--keys" => arguments.keys = Some(value.parse().ok().filter(|keys| *keys > 0)?),
                "--status" => arguments.status = value.parse().ok()?,
                _ => return None,
            }
        }
        let has_command = !arguments.command.is_empty();
        let complete = arguments.connect.port() != 0 && has_command == (mode == Mode::FirstAnswer);
        complete.then_some(arguments)
    }

    /// The whole request for a key.
    pub fn request(&self, key: u64) -> Vec<u8> {
        let path = self.path.replace("{key}", &key.to_string());
        let mut request = format!(
            "{} {path} HTTP/1.1\r\nhost: {}\r\n{}",
            self.method, self.connect, self.headers
        );
        if self.body_bytes == 0 {
            return (request + "\r\n").into_bytes();
        }
        request += &format!(
            "content-type: application/json\r\ncontent-length: {}\r\n\r\n",
            self.body_bytes
        );
        let frame = r#"{"name":""}"#.len();
        request += &format!(
            r#"{{"name":"{}"}}"#,
            "x".repeat(self.body_bytes.saturating_sub(frame))
        );
        request.into_bytes()
    }
}
