//! The command line.

use std::net::SocketAddr;
use std::time::Duration;

/// How to call it.
pub const USAGE: &str = "\
usage: load --connect IP:PORT [--rate N] [--requests N | --secs N] [--connections N] [--method M] [--path P] [--body-bytes N] [--keys N]
       load first-answer --connect IP:PORT [--method M] [--path P] [--body-bytes N] --status N -- COMMAND...
{key} in the path is replaced: random below --keys, or 0, 1, 2... up to --requests";

/// What to send, and where.
#[derive(Clone, Debug)]
pub struct Arguments {
    /// Whether to start a command and wait for its first answer.
    pub first_answer: bool,
    pub connect: SocketAddr,
    /// Arrivals a second.
    pub rate: u32,
    pub duration: Duration,
    /// Ends the run before `duration` does.
    pub requests: Option<u64>,
    pub connections: usize,
    pub method: String,
    pub path: String,
    pub body_bytes: usize,
    pub keys: Option<u64>,
    pub status: u16,
    pub command: Vec<String>,
}

impl Arguments {
    /// Reads the command line; `None` when it cannot be understood.
    pub fn parse(words: impl Iterator<Item = String>) -> Option<Self> {
        let mut words = words.peekable();
        let first_answer = words.next_if(|word| word == "first-answer").is_some();
        let mut arguments = Self {
            first_answer,
            connect: SocketAddr::from(([127, 0, 0, 1], 0)),
            rate: 1000,
            duration: Duration::from_secs(5),
            requests: None,
            connections: 64,
            method: "GET".into(),
            path: "/".into(),
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
            let value = words.next()?;
            match name.as_str() {
                "--connect" => arguments.connect = value.parse().ok()?,
                "--rate" => arguments.rate = value.parse().ok().filter(|rate| *rate > 0)?,
                "--secs" => arguments.duration = Duration::from_secs(value.parse().ok()?),
                "--requests" => arguments.requests = Some(value.parse().ok()?),
                "--connections" => arguments.connections = value.parse().ok()?,
                "--method" => arguments.method = value,
                "--path" => arguments.path = value,
                "--body-bytes" => arguments.body_bytes = value.parse().ok()?,
                "--keys" => arguments.keys = Some(value.parse().ok().filter(|keys| *keys > 0)?),
                "--status" => arguments.status = value.parse().ok()?,
                _ => return None,
            }
        }
        let complete =
            arguments.connect.port() != 0 && arguments.first_answer != arguments.command.is_empty();
        complete.then_some(arguments)
    }

    /// The whole request for a key.
    pub fn request(&self, key: u64) -> Vec<u8> {
        let path = self.path.replace("{key}", &key.to_string());
        let mut request = format!(
            "{} {path} HTTP/1.1\r\nhost: {}\r\n",
            self.method, self.connect
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
