//! The open loop: requests arrive when the clock says so, whether or not earlier ones were answered, and their latency counts from then. One thread.
#![expect(
    clippy::disallowed_methods,
    reason = "a load generator lives by the clock"
)]

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, ErrorKind};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use rustix::event::epoll;

use crate::arguments::Arguments;
use crate::connection::{Connection, wait};

/// After the last arrival, how long answers are waited for.
const GRACE: Duration = Duration::from_secs(10);

/// What came of a run.
#[derive(Debug)]
pub struct Figures {
    /// Answers of any status.
    pub answered: u64,
    /// Answers other than 2xx, and requests that got none.
    pub failed: u64,
    /// From the first arrival to the last answer.
    pub elapsed: Duration,
    pub latency_us: Histogram<u64>,
}

impl fmt::Display for Figures {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = |quantile| self.latency_us.value_at_quantile(quantile);
        write!(
            formatter,
            "requests={} errors={} duration_us={} p50_us={} p99_us={} p999_us={}",
            self.answered,
            self.failed,
            self.elapsed.as_micros(),
            at(0.5),
            at(0.99),
            at(0.999)
        )
    }
}

/// Arrivals of a Poisson process, the same in every run.
struct Arrivals {
    next: Instant,
    mean: Duration,
    random: u64,
    left: Option<u64>,
    until: Instant,
    keys: Option<u64>,
    key: u64,
}

impl Arrivals {
    fn new(arguments: &Arguments, now: Instant) -> Self {
        Self {
            next: now,
            mean: Duration::from_secs(1) / arguments.rate,
            random: 0x9e37_79b9_7f4a_7c15,
            left: arguments.requests,
            until: arguments.requests.map_or(now + arguments.duration, |_| {
                now + Duration::from_secs(3600)
            }),
            keys: arguments.keys,
            key: 0,
        }
    }

    /// xorshift64.
    fn random(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }

    fn is_over(&self) -> bool {
        self.left == Some(0) || self.next >= self.until
    }

    /// The next arrival if it is due, and its key.
    fn take(&mut self, now: Instant) -> Option<(Instant, u64)> {
        if self.is_over() || self.next > now {
            return None;
        }
        let arrived = self.next;
        self.left = self.left.map(|left| left - 1);
        let uniform = (self.random() >> 11) as f64 / (1u64 << 53) as f64;
        self.next += self.mean.mul_f64(-(1.0 - uniform).ln());
        let key = match self.keys {
            Some(keys) => self.random() % keys,
            None => self.key,
        };
        self.key += 1;
        Some((arrived, key))
    }
}

/// Runs it.
///
/// # Errors
///
/// The kernel's, or the peer's: a closed connection ends the run, as the figures of the rest would mean something else.
pub fn run(arguments: &Arguments) -> io::Result<Figures> {
    // Sleeps end when they should, not 50 microseconds later.
    rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1))?;
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let mut connections = (0..arguments.connections as u64)
        .map(|index| Connection::open(arguments.connect, &epoll, index))
        .collect::<io::Result<Vec<_>>>()?;
    let mut idle: Vec<usize> = (0..connections.len()).rev().collect();
    let mut waiting: VecDeque<(Instant, u64)> = VecDeque::new();
    let mut events = Vec::with_capacity(connections.len());
    let start = Instant::now();
    let mut arrivals = Arrivals::new(arguments, start);
    let mut figures = Figures {
        answered: 0,
        failed: 0,
        elapsed: Duration::ZERO,
        latency_us: Histogram::new_with_bounds(1, 60_000_000, 3).map_err(io::Error::other)?,
    };
    let mut last_answer = start;
    loop {
        let mut now = Instant::now();
        while let Some(arrival) = arrivals.take(now) {
            waiting.push_back(arrival);
        }
        while !waiting.is_empty() && !idle.is_empty() {
            if let (Some((arrived, key)), Some(index)) = (waiting.pop_front(), idle.pop()) {
                connections[index].send(arrived, &arguments.request(key))?;
            }
        }
        let under_way = connections.len() - idle.len();
        if arrivals.is_over() && under_way == 0 && waiting.is_empty() {
            break;
        }
        now = Instant::now();
        let wake_at = if arrivals.is_over() {
            last_answer.max(arrivals.next) + GRACE
        } else {
            arrivals.next
        };
        if arrivals.is_over() && now > wake_at {
            break;
        }
        wait(&epoll, &mut events, wake_at.saturating_duration_since(now))?;
        now = Instant::now();
        for event in events.drain(..) {
            let index = usize::try_from(event.data.u64()).unwrap_or(usize::MAX);
            let Some(connection) = connections.get_mut(index) else {
                continue;
            };
            let Some(status) = connection.receive()? else {
                continue;
            };
            let Some(arrived) = connection.arrived.take() else {
                return Err(io::Error::new(
                    ErrorKind::InvalidData,
                    "an answer that nobody asked for",
                ));
            };
            idle.push(index);
            last_answer = now;
            figures.answered += 1;
            figures.failed += u64::from(!(200..300).contains(&status));
            let latency_us = u64::try_from(now.saturating_duration_since(arrived).as_micros())
                .unwrap_or(u64::MAX);
            figures.latency_us.saturating_record(latency_us);
        }
    }
    figures.failed +=
        u64::try_from(connections.len() - idle.len() + waiting.len()).unwrap_or(u64::MAX);
    figures.elapsed = last_answer - start;
    Ok(figures)
}
