//! A pool of writers that keeps the gateway busy while its broker suffers, and remembers every answer.

use super::checker::{Outcome, Write, violations};
use super::gateway::Gateway;
use super::http::{Connection, Failure, Http, request};
use super::kafka::Kafka;
use super::{PATIENCE, eventually};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Running writers; each has its own key and connection, and sends the next write after the answer to the last.
pub(crate) struct Writers {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<Vec<Write>>>,
}

struct Shared {
    stop: AtomicBool,
    /// By writer.
    stored: Vec<AtomicUsize>,
    others: AtomicUsize,
}

impl Shared {
    fn stored(&self) -> Vec<usize> {
        self.stored
            .iter()
            .map(|count| count.load(Ordering::SeqCst))
            .collect()
    }
}

impl Writers {
    /// Starts so many against this gateway.
    pub(crate) fn start(gateway: &Gateway, count: usize) -> Self {
        let shared = Arc::new(Shared {
            stop: AtomicBool::new(false),
            stored: (0..count).map(|_| AtomicUsize::new(0)).collect(),
            others: AtomicUsize::new(0),
        });
        let http = gateway.http();
        let thread = |writer| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || write_until_stopped(http, writer, &shared))
        };
        let threads = (0..count).map(thread).collect();
        Self { shared, threads }
    }

    /// Waits until so many more writes were acknowledged.
    #[track_caller]
    pub(crate) fn await_stored(&self, more: usize) {
        let target = self.shared.stored().iter().sum::<usize>() + more;
        eventually("writes are acknowledged", 2 * PATIENCE, || {
            (self.shared.stored().iter().sum::<usize>() >= target).then_some(())
        });
    }

    /// Waits until so many more writes of each writer, and so of each partition, were acknowledged.
    #[track_caller]
    pub(crate) fn await_each_stored(&self, more: usize) {
        let before = self.shared.stored();
        eventually(
            "each writer's writes are acknowledged",
            2 * PATIENCE,
            || {
                let now = self.shared.stored();
                now.iter()
                    .zip(&before)
                    .all(|(now, before)| *now >= before + more)
                    .then_some(())
            },
        );
    }

    /// Waits until a write ended in another way; false when none did in that time.
    pub(crate) fn await_other(&self, patience: Duration) -> bool {
        let deadline = std::time::Instant::now() + patience;
        let before = self.shared.others.load(Ordering::SeqCst);
        while std::time::Instant::now() < deadline {
            if self.shared.others.load(Ordering::SeqCst) > before {
                return true;
            }
            thread::sleep(Duration::from_millis(5));
        }
        false
    }

    /// Lets each finish its write, and returns them all.
    #[track_caller]
    pub(crate) fn stop(self) -> Vec<Vec<Write>> {
        self.shared.stop.store(true, Ordering::SeqCst);
        let join = |thread: JoinHandle<Vec<Write>>| thread.join().expect("a writer");
        self.threads.into_iter().map(join).collect()
    }
}

/// Asserts that the log of the topic keeps what the writers were told.
#[track_caller]
pub(crate) fn assert_promises_kept(
    writers: &[Vec<Write>],
    kafka: &Kafka,
    topic: &str,
    partitions: i32,
) {
    let log: Vec<Vec<String>> = kafka
        .records(topic, partitions)
        .into_iter()
        .map(|partition| {
            let value = |value: Option<Vec<u8>>| {
                String::from_utf8(value.unwrap_or_default()).expect("text")
            };
            partition
                .into_iter()
                .map(|found| value(found.record.value))
                .collect()
        })
        .collect();
    let wrong = violations(writers, &log);
    let count = |outcome| {
        writers
            .iter()
            .flatten()
            .filter(|write| write.outcome == outcome)
            .count()
    };
    let summary = format!(
        "{} stored, {} refused, {} unknown",
        count(Outcome::Stored),
        count(Outcome::Refused),
        count(Outcome::Unknown)
    );
    println!("{summary}");
    assert!(wrong.is_empty(), "{summary}\n{}", wrong.join("\n"));
}

fn write_until_stopped(http: Http, number: usize, shared: &Shared) -> Vec<Write> {
    let mut writes = Vec::new();
    let mut connection = None;
    let path = format!("/items/writer-{number}");
    while !shared.stop.load(Ordering::SeqCst) {
        let value = format!("{number}-{}", writes.len());
        let outcome = write(http, &mut connection, &path, &value);
        let count = if outcome == Outcome::Stored {
            &shared.stored[number]
        } else {
            &shared.others
        };
        count.fetch_add(1, Ordering::SeqCst);
        writes.push(Write { value, outcome });
    }
    writes
}

fn write(http: Http, connection: &mut Option<Connection>, path: &str, value: &str) -> Outcome {
    let stream = connection.get_or_insert_with(|| http.connect());
    let request = request("PUT", path, &[], Some(value.as_bytes()));
    let answer = stream
        .try_send(&request)
        .and_then(|()| stream.receive("PUT"));
    let closing = answer
        .as_ref()
        .map_or(true, |answer| answer.header("connection") == Some("close"));
    if closing {
        *connection = None;
    }
    match answer {
        Ok(answer) => match answer.status {
            200..=299 => Outcome::Stored,
            503 => {
                assert!(
                    answer.header("retry-after").is_some(),
                    "503 without retry-after: {answer:?}"
                );
                // As told, though not as long: hammering a gateway that refuses proves nothing.
                thread::sleep(Duration::from_millis(50));
                Outcome::Refused
            }
            504 => Outcome::Unknown,
            status => panic!("status {status} for a write: {answer:?}"),
        },
        Err(failure @ (Failure::Closed | Failure::Lost(_))) => {
            panic!("the gateway dropped a write without an answer: {failure}")
        }
        Err(failure) => panic!("{failure}"),
    }
}
