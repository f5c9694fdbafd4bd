//! Many requests that wait, one on each connection, and are answered when the script lets something happen.
//!
//! `waiting` is printed once all were sent. A line on standard input is the script's word that the answers may come: the clock starts there, and what came before
//! is an error. Rule: a connection that fails is one error, not the end of the run.
#![expect(
    clippy::disallowed_methods,
    reason = "a load generator lives by the clock"
)]

use std::fmt;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use rustix::event::epoll;

use crate::arguments::Arguments;
use crate::connection::{Connection, wait};

/// Epoll's name for standard input.
const STANDARD_INPUT: u64 = u64::MAX;
/// How long the line on standard input is waited for.
const HOLD_MAX: Duration = Duration::from_secs(120);
/// How long answers are waited for after it.
const GRACE: Duration = Duration::from_secs(60);

/// What came of it.
#[derive(Debug)]
pub struct Figures {
    waiters: usize,
    /// Answers other than 2xx, those before the line, and connections that failed.
    failed: u64,
    unanswered: usize,
    /// From the line to each answer.
    answered_us: Histogram<u64>,
}

impl fmt::Display for Figures {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "waiters={} errors={} first_us={} half_us={} last_us={}",
            self.waiters,
            self.failed + self.unanswered as u64,
            self.answered_us.min(),
            self.answered_us.value_at_quantile(0.5),
            self.answered_us.max()
        )
    }
}

/// Runs it.
///
/// # Errors
///
/// The kernel's, when it has no more descriptors or ports; and when nothing comes on standard input in two minutes.
pub fn run(arguments: &Arguments) -> io::Result<Figures> {
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let mut connections = open_all(arguments, &epoll)?;
    epoll::add(
        &epoll,
        io::stdin(),
        epoll::EventData::new_u64(STANDARD_INPUT),
        epoll::EventFlags::IN,
    )?;
    println!("waiting");
    let mut figures = Figures {
        waiters: connections.len(),
        failed: 0,
        unanswered: connections.len(),
        answered_us: Histogram::new_with_bounds(1, 600_000_000, 3).map_err(io::Error::other)?,
    };
    let mut released: Option<Instant> = None;
    let mut until = Instant::now() + HOLD_MAX;
    let mut events = Vec::with_capacity(1024);
    while figures.unanswered > 0 {
        let now = Instant::now();
        if now > until {
            break;
        }
        wait(&epoll, &mut events, until - now)?;
        let now = Instant::now();
        for event in events.drain(..) {
            let index = event.data.u64();
            if index == STANDARD_INPUT {
                read_line(&epoll)?;
                released = Some(now);
                until = now + GRACE;
                continue;
            }
            let slot = usize::try_from(index)
                .ok()
                .and_then(|index| connections.get_mut(index));
            let Some(slot) = slot else { continue };
            let Some(connection) = slot else { continue };
            let status = match connection.receive() {
                Ok(None) => continue,
                Ok(Some(status)) => Some(status),
                Err(_) => None,
            };
            *slot = None;
            figures.unanswered -= 1;
            let succeeded = status.is_some_and(|status| (200..300).contains(&status));
            match released {
                Some(released) if succeeded => {
                    let elapsed_us =
                        u64::try_from((now - released).as_micros()).unwrap_or(u64::MAX);
                    figures.answered_us.saturating_record(elapsed_us);
                }
                _ => figures.failed += 1,
            }
        }
    }
    if released.is_none() {
        return Err(io::Error::new(
            io::ErrorKind::TimedOut,
            format!(
                "{} of {} were answered before their time, or nothing came on standard input",
                figures.failed, figures.waiters
            ),
        ));
    }
    Ok(figures)
}

/// Opens all connections, each with its request on the way.
fn open_all(arguments: &Arguments, epoll: &OwnedFd) -> io::Result<Vec<Option<Connection>>> {
    (0..arguments.connections as u64)
        .map(|index| {
            let mut connection = Connection::open(arguments.connect, epoll, index)?;
            connection.send(Instant::now(), &arguments.request(index))?;
            Ok(Some(connection))
        })
        .collect()
}

/// Takes the line. The end of the input is as good as one: the script is gone.
fn read_line(epoll: &OwnedFd) -> io::Result<()> {
    let mut bytes = [0; 64];
    let _ = io::stdin().read(&mut bytes)?;
    epoll::delete(epoll, io::stdin())?;
    Ok(())
}
