//! Many clients of one event stream, and records published at a rate: when each event gets to each client.
//!
//! `open` is printed once every stream has its head; with `--hold` a line on standard input is waited for then, so that a script can look at idle streams. A record
//! carries the moment at which it was due, so a latency is from then to the event's arrival, Kafka included (open loop). Rule: what is not received in time is counted.
#![expect(
    clippy::disallowed_methods,
    reason = "a load generator lives by the clock"
)]

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use memchr::memmem;
use rustix::event::epoll;

use crate::arguments::Arguments;
use crate::connection::{Connection, wait};

/// How long the last events are waited for.
const GRACE: Duration = Duration::from_secs(5);
/// How long streams that have opened are given to follow.
const SETTLE: Duration = Duration::from_millis(500);
/// How long the heads of all streams may take.
const OPEN_MAX: Duration = Duration::from_secs(60);
/// Digits of the moment in a record.
const DIGITS: usize = 16;
const MARK: &[u8] = b"\"due\":\"";
/// Epoll's number of the first publishing connection.
const PUBLISHERS: u64 = 1 << 32;
/// Connections that publish, in turn.
const PUBLISHERS_MAX: usize = 16;

/// What came of it.
#[derive(Debug)]
pub struct Figures {
    clients: usize,
    published: u64,
    received: u64,
    missing: u64,
    failed: u64,
    elapsed: Duration,
    reads: u64,
    latency_us: Histogram<u64>,
    stored_us: Histogram<u64>,
}

impl fmt::Display for Figures {
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let per_read = self.received as f64 / self.reads.max(1) as f64;
        write!(
            formatter,
            "requests={} errors={} duration_us={} clients={} published={} p50_us={} p99_us={} p999_us={} max_us={} stored_p50_us={} events_per_read={per_read:.1}",
            self.received,
            self.failed + self.missing,
            self.elapsed.as_micros(),
            self.clients,
            self.published,
            self.latency_us.value_at_quantile(0.5),
            self.latency_us.value_at_quantile(0.99),
            self.latency_us.value_at_quantile(0.999),
            self.latency_us.max(),
            self.stored_us.value_at_quantile(0.5),
        )
    }
}

/// One client.
struct Stream {
    socket: TcpStream,
    /// The end of what came, in which a moment may begin.
    tail: Vec<u8>,
    has_head: bool,
    received: u64,
}

/// Runs it.
///
/// # Errors
///
/// The kernel's, when it has no more descriptors or ports; and when the streams do not open.
pub fn run(arguments: &Arguments) -> io::Result<Figures> {
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let started = Instant::now();
    let mut figures = Figures {
        clients: arguments.connections,
        published: 0,
        received: 0,
        missing: 0,
        failed: 0,
        elapsed: Duration::ZERO,
        reads: 0,
        latency_us: Histogram::new_with_bounds(1, 600_000_000, 3).map_err(io::Error::other)?,
        stored_us: Histogram::new_with_bounds(1, 600_000_000, 3).map_err(io::Error::other)?,
    };
    let mut streams = (0..arguments.connections as u64)
        .map(|index| open(arguments, &epoll, index).map(Some))
        .collect::<io::Result<Vec<_>>>()?;
    let mut publishers = Vec::new();
    for index in 0..PUBLISHERS_MAX as u64 {
        publishers.push(Connection::open(
            arguments.connect,
            &epoll,
            PUBLISHERS + index,
        )?);
    }
    let mut events = Vec::with_capacity(4_096);
    let mut scratch = vec![0; 256 << 10];
    let mut pump = |pause, streams: &mut [Option<Stream>], figures: &mut Figures| {
        wait(&epoll, &mut events, pause)?;
        for event in events.drain(..) {
            receive(streams, event.data.u64(), &mut scratch, started, figures);
        }
        io::Result::Ok(())
    };
    let until = started + OPEN_MAX;
    while streams.iter().flatten().any(|stream| !stream.has_head) {
        if Instant::now() > until {
            return Err(io::Error::new(
                ErrorKind::TimedOut,
                "not every stream opened",
            ));
        }
        pump(Duration::from_millis(100), &mut streams, &mut figures)?;
    }
    println!("open");
    if arguments.hold {
        let _ = io::stdin().read(&mut [0; 64])?;
    }
    // Who has just opened follows a moment later; what was there before is not what is measured.
    let follow = Instant::now() + SETTLE;
    while Instant::now() < follow {
        pump(Duration::from_millis(10), &mut streams, &mut figures)?;
    }
    for stream in streams.iter_mut().flatten() {
        stream.received = 0;
    }
    (figures.received, figures.reads) = (0, 0);
    figures.latency_us.reset();
    publish(
        arguments,
        &epoll,
        (&mut streams, &mut publishers),
        started,
        &mut figures,
    )?;
    let expected = figures.published;
    let short = streams
        .iter()
        .flatten()
        .map(|stream| expected.saturating_sub(stream.received));
    figures.missing = short.sum();
    Ok(figures)
}

/// Publishes at the rate, and takes what comes, until all has come or its time is over.
fn publish(
    arguments: &Arguments,
    epoll: &std::os::fd::OwnedFd,
    (streams, publishers): (&mut [Option<Stream>], &mut [Connection]),
    started: Instant,
    figures: &mut Figures,
) -> io::Result<()> {
    let begin = Instant::now();
    let end = begin + arguments.duration;
    let gap = Duration::from_secs(1) / arguments.rate;
    let mut due = begin;
    let mut idle: VecDeque<usize> = (0..publishers.len()).collect();
    let mut events = Vec::with_capacity(4_096);
    let mut scratch = vec![0; 256 << 10];
    loop {
        let now = Instant::now();
        while due <= now && due < end {
            let Some(publisher) = idle.pop_front() else {
                break;
            };
            publishers[publisher].send(due, &record(arguments, due - started))?;
            figures.published += 1;
            due += gap;
        }
        let wanted = figures.published * arguments.connections as u64;
        let is_done = due >= end && idle.len() == publishers.len() && figures.received >= wanted;
        if is_done || now > end + GRACE {
            figures.elapsed = now - begin;
            return Ok(());
        }
        let pause = if due < end {
            due.saturating_duration_since(now)
        } else {
            Duration::from_millis(10)
        };
        wait(epoll, &mut events, pause.min(Duration::from_millis(10)))?;
        for event in events.drain(..) {
            let number = event.data.u64();
            if number < PUBLISHERS {
                receive(streams, number, &mut scratch, started, figures);
                continue;
            }
            let index = usize::try_from(number - PUBLISHERS).unwrap_or(0);
            let publisher = &mut publishers[index];
            if let Some(status) = publisher.receive()? {
                if let Some(arrived) = publisher.arrived.take() {
                    figures
                        .stored_us
                        .saturating_record(micros(arrived.elapsed()));
                }
                figures.failed += u64::from(!(200..300).contains(&status));
                idle.push_back(index);
            }
        }
    }
}

fn open(arguments: &Arguments, epoll: &std::os::fd::OwnedFd, index: u64) -> io::Result<Stream> {
    let mut socket = TcpStream::connect(arguments.connect)?;
    let head = format!(
        "GET {} HTTP/1.1\r\nhost: {}\r\naccept: text/event-stream\r\n\r\n",
        arguments.path, arguments.connect
    );
    socket.write_all(head.as_bytes())?;
    socket.set_nonblocking(true)?;
    let data = epoll::EventData::new_u64(index);
    epoll::add(epoll, &socket, data, epoll::EventFlags::IN)?;
    Ok(Stream {
        socket,
        tail: Vec::new(),
        has_head: false,
        received: 0,
    })
}

/// Takes what a client got. A stream that fails is an error of its own, not the end of the run.
fn receive(
    streams: &mut [Option<Stream>],
    index: u64,
    scratch: &mut [u8],
    started: Instant,
    figures: &mut Figures,
) {
    let slot = usize::try_from(index)
        .ok()
        .and_then(|index| streams.get_mut(index));
    let Some(slot) = slot else { return };
    let Some(stream) = slot else { return };
    let kept = stream.tail.len();
    scratch[..kept].copy_from_slice(&stream.tail);
    let count = match stream.socket.read(&mut scratch[kept..]) {
        Ok(0) => None,
        Ok(count) => Some(count),
        Err(error) if error.kind() == ErrorKind::WouldBlock => return,
        Err(_) => None,
    };
    let Some(count) = count else {
        figures.failed += 1;
        *slot = None;
        return;
    };
    stream.has_head = true;
    let bytes = &scratch[..kept + count];
    let now_us = micros(started.elapsed());
    let mut from = 0;
    let mut found = 0;
    for at in memmem::find_iter(bytes, MARK) {
        let digits = at + MARK.len()..at + MARK.len() + DIGITS;
        let Some(text) = bytes.get(digits.clone()) else {
            break;
        };
        let due_us = text.iter().fold(0, |number, digit| {
            number * 10 + u64::from(digit.wrapping_sub(b'0') % 10)
        });
        figures
            .latency_us
            .saturating_record(now_us.saturating_sub(due_us).max(1));
        found += 1;
        from = digits.end;
    }
    stream.received += found;
    figures.received += found;
    figures.reads += u64::from(found > 0);
    let keep = bytes.len() - from.max(bytes.len().saturating_sub(MARK.len() + DIGITS));
    stream.tail.clear();
    stream.tail.extend_from_slice(&bytes[bytes.len() - keep..]);
}

/// A request that publishes a record which says when it was due.
fn record(arguments: &Arguments, due: Duration) -> Vec<u8> {
    let due = format!(
        "{{\"due\":\"{:0width$}\",\"pad\":\"",
        micros(due),
        width = DIGITS
    );
    let pad = arguments.body_bytes.saturating_sub(due.len() + 2);
    let body = format!("{due}{}\"}}", "x".repeat(pad));
    let head = format!(
        "POST {} HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        arguments.publish_path,
        arguments.connect,
        body.len()
    );
    [head, body].concat().into_bytes()
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
