//! The command line.

use std::net::SocketAddr;
use std::time::Duration;

/// How to call it.
pub const USAGE: &str = "\
usage: service echo  --bootstrap HOST:PORT --topic T [--hold]
       service fill  --bootstrap HOST:PORT --topic T --count N [--hold]
       service probe --bootstrap HOST:PORT --topic T --reply-topic T [--rate N] [--secs N]
       service wake  --bootstrap HOST:PORT --topic T --connect IP:PORT --path P [--count N]
--hold: `ready` is printed, and nothing sent until a line comes on standard input. {key} in the path is replaced.";

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Answer request records.
    Echo,
    /// Write records with the keys 0, 1, 2...
    Fill,
    /// Be a client without a gateway.
    Probe,
    /// Wake GETs that wait.
    Wake,
}

/// With what.
#[derive(Clone, Debug)]
pub struct Arguments {
    pub command: Command,
    pub bootstrap: String,
    pub topic: String,
    pub reply_topic: String,
    /// Requests a second.
    pub rate: u32,
    pub duration: Duration,
    /// Records or samples.
    pub count: u64,
    pub connect: SocketAddr,
    pub path: String,
    pub hold: bool,
}

impl Arguments {
    /// Reads the command line; `None` when it cannot be understood.
    pub fn parse(mut words: impl Iterator<Item = String>) -> Option<Self> {
        let command = match words.next()?.as_str() {
            "echo" => Command::Echo,
            "fill" => Command::Fill,
            "probe" => Command::Probe,
            "wake" => Command::Wake,
            _ => return None,
        };
        let mut arguments = Self {
            command,
            bootstrap: String::new(),
            topic: String::new(),
            reply_topic: String::new(),
            rate: 500,
            duration: Duration::from_secs(5),
            count: 100,
            connect: SocketAddr::from(([127, 0, 0, 1], 0)),
            path: String::new(),
            hold: false,
        };
        while let Some(name) = words.next() {
            if name == "--hold" {
                arguments.hold = true;
                continue;
            }
            let value = words.next()?;
            match name.as_str() {
                "--bootstrap" => arguments.bootstrap = value,
                "--topic" => arguments.topic = value,
                "--reply-topic" => arguments.reply_topic = value,
                "--rate" => arguments.rate = value.parse().ok().filter(|rate| *rate > 0)?,
                "--secs" => arguments.duration = Duration::from_secs(value.parse().ok()?),
                "--count" => arguments.count = value.parse().ok()?,
                "--connect" => arguments.connect = value.parse().ok()?,
                "--path" => arguments.path = value,
                _ => return None,
            }
        }
        let complete = !arguments.bootstrap.is_empty()
            && !arguments.topic.is_empty()
            && (command == Command::Probe) != arguments.reply_topic.is_empty()
            && (command == Command::Wake) == (arguments.connect.port() != 0);
        complete.then_some(arguments)
    }
}
