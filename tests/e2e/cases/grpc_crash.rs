//! What a gateway that is killed leaves behind, and what others make of it.

use crate::harness::gateway::Gateway;
use crate::harness::grpc::{ECHO, Grpc, find, framed, said};
use crate::harness::grpc_site::{Loop, await_settled};
use crate::harness::programs::{Language, Service};
use crate::harness::records::Logged;
use crate::harness::{Env, PATIENCE, eventually};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Unary calls, each with a key of its own, which is its text.
struct Calls<'c> {
    address: SocketAddr,
    numbers: Range<usize>,
    /// What the service is told before the text.
    before: &'c str,
    is_enough: &'c AtomicBool,
}

impl Calls<'_> {
    /// Makes them over one connection, so many at once, until there is enough or the gateway is killed; which were answered.
    fn run(mut self) -> Vec<String> {
        const TOGETHER: usize = 50;
        let client = Grpc::connect(self.address);
        let mut answered = Vec::new();
        let mut open = VecDeque::new();
        loop {
            while open.len() < TOGETHER && !self.is_enough.load(Ordering::SeqCst) {
                let Some(number) = self.numbers.next() else {
                    break;
                };
                let key = format!("call-{number}");
                let text = said(&format!("{}{key}", self.before));
                let headers = [
                    ("content-type", "application/grpc"),
                    ("te", "trailers"),
                    ("idempotency-key", &*key),
                ];
                let path = format!("/{ECHO}/UnaryEcho");
                let http = client.http();
                let Ok(pending) = http.send("POST", &path, &headers, Some(&framed(&text))) else {
                    drop(http.ending());
                    return answered;
                };
                open.push_back((key, pending));
            }
            let Some((key, pending)) = open.pop_front() else {
                return answered;
            };
            match pending.finish() {
                Ok(answer) => {
                    let failed = find(&answer.headers, "grpc-status");
                    assert_eq!(failed, None, "{key}: {answer:?}");
                    assert_eq!(answer.body, framed(&said(&key)), "{key}");
                    answered.push(key);
                }
                // It was killed, and the connection has ended: nothing else leaves a call without a status.
                Err(_) => drop(client.http().ending()),
            }
        }
    }
}

/// Makes these calls.
fn calls(address: SocketAddr, numbers: Range<usize>) -> Vec<String> {
    let calls = Calls {
        address,
        numbers,
        before: "",
        is_enough: &AtomicBool::new(false),
    };
    calls.run()
}

/// The correlation ids of a topic, each with the records of its id that fulfil a condition.
fn by_id(log: &[Logged], is_it: impl Fn(&Logged) -> bool) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for found in log {
        let id = found.record.get("zilla:correlation-id");
        let id = id.expect("a correlation id").to_owned();
        *counts.entry(id).or_default() += usize::from(is_it(found));
    }
    counts
}

/// Whether a record is the service's own end of a call.
fn is_served_end(found: &Logged) -> bool {
    let record = &found.record;
    record.value.is_none()
        && record.get("zilla:status").is_some()
        && !record
            .headers
            .iter()
            .any(|(name, _)| name == "sluice:unserved")
}

/// The key that a correlation id was made of.
fn key_of(id: &str) -> String {
    id[..id.len() - 33].to_owned()
}

/// Waits until every call of which there is a request has one end.
#[track_caller]
fn await_ends(env: &Env, topics: &Loop, patience: Duration) {
    let partitions = topics.partitions;
    let deadline = Instant::now() + patience;
    loop {
        let requests = env.kafka.log(&topics.requests, partitions);
        let replies = env.kafka.log(&topics.replies, partitions);
        let asked = by_id(&requests, |_| true);
        let ended = by_id(&replies, is_served_end);
        let missing: Vec<_> = asked
            .keys()
            .filter(|id| ended.get(*id) != Some(&1))
            .collect();
        if missing.is_empty() {
            return;
        }
        let shown: Vec<_> = missing
            .iter()
            .take(5)
            .map(|id| (id, ended.get(*id)))
            .collect();
        assert!(
            Instant::now() < deadline,
            "{} of {} calls have not one end in {patience:?}: {shown:?}",
            missing.len(),
            asked.len()
        );
        thread::sleep(Duration::from_millis(200));
    }
}

fn times(service: &Service, event: &str) -> BTreeMap<String, Vec<f64>> {
    let mut times: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for line in service.log() {
        if line.event == event {
            times.entry(line.correlation).or_default().push(line.time);
        }
    }
    times
}

fn seconds_since_1970() -> f64 {
    let now = std::time::SystemTime::now();
    let since = now.duration_since(std::time::UNIX_EPOCH);
    since.expect("after 1970").as_secs_f64()
}

/// A thousand calls, and the gateway is killed in the middle of them.
pub(crate) fn a_killed_gateway_leaves_no_call_without_an_end(env: &Env) {
    let service = Service::start(Language::Go);
    let topics = Loop::new(env, 3, service.port()).option("session-timeout: 6s");
    let gateway = env.site(&topics.site());
    let address = gateway.address();
    let callers: Vec<_> = (0..4)
        .map(|n| thread::spawn(move || calls(address, n * 250..(n + 1) * 250)))
        .collect();
    eventually("calls are under way", PATIENCE, || {
        (service.begun().len() >= 300).then_some(())
    });
    gateway.signal("KILL");
    let killed_at = seconds_since_1970();
    let answered: Vec<String> = callers
        .into_iter()
        .flat_map(|caller| caller.join().expect("a caller"))
        .collect();
    drop(gateway);
    let closed = by_id(&env.kafka.log(&topics.replies, 3), is_served_end);
    let closed: BTreeSet<String> = closed
        .into_iter()
        .filter_map(|(id, ends)| (ends > 0).then(|| key_of(&id)))
        .collect();
    assert!(closed.len() >= 100, "{} were closed before", closed.len());
    for key in &answered {
        assert!(closed.contains(key), "{key} was answered, not stored");
    }
    let requests = by_id(&env.kafka.log(&topics.requests, 3), |_| true);
    assert!(requests.len() > closed.len(), "some were under way");

    let gateway = env.site(&topics.site());
    await_ends(env, &topics, PATIENCE);
    // And new calls are served.
    let answered = calls(gateway.address(), 1_000..1_020);
    assert_eq!(answered.len(), 20);
    await_ends(env, &topics, PATIENCE);
    let begun = times(&service, "begin");
    for id in requests.keys() {
        let key = key_of(id);
        let seen = begun.get(&key);
        let seen = seen.unwrap_or_else(|| panic!("the service never saw {key}"));
        if closed.contains(&key) {
            assert_eq!(
                seen.len(),
                1,
                "{key} was over, and was made again: {seen:?}"
            );
        }
        // Not more often than there were gateways.
        assert!(seen.len() <= 2, "{key}: {seen:?}");
        let late = seen.iter().filter(|at| **at > killed_at + 0.5).count();
        assert!(late <= 1, "{key}: {seen:?}, killed at {killed_at}");
    }
    let known: BTreeSet<&String> = begun.keys().collect();
    assert!(
        known.iter().all(|key| key.starts_with("call-")),
        "{known:?}"
    );
}

fn both(env: &Env, topics: &Loop) -> (Gateway, Gateway) {
    let (one, other) = (env.site(&topics.site()), env.site(&topics.site()));
    // So that they share what there is to do.
    await_settled(&[&one, &other]);
    (one, other)
}

/// Two gateways share a topic of four partitions, and one is killed.
pub(crate) fn two_gateways_share_the_calls_and_one_takes_over(env: &Env) {
    let service = Service::start(Language::Go);
    let topics = Loop::new(env, 4, service.port()).option("session-timeout: 6s");
    let (one, other) = both(env, &topics);
    let answered: Vec<String> = thread::scope(|scope| {
        let callers: Vec<_> = (0..4)
            .map(|n| {
                let address = if n % 2 == 0 {
                    one.address()
                } else {
                    other.address()
                };
                scope.spawn(move || calls(address, n * 100..(n + 1) * 100))
            })
            .collect();
        let joined = callers.into_iter();
        joined
            .flat_map(|caller| caller.join().expect("a caller"))
            .collect()
    });
    assert_eq!(answered.len(), 400);
    let begun = times(&service, "begin");
    assert_eq!(begun.len(), 400);
    let twice: Vec<_> = begun.iter().filter(|(_, at)| at.len() > 1).collect();
    assert!(twice.is_empty(), "{twice:?}");
    await_ends(env, &topics, PATIENCE);

    one.signal("KILL");
    let killed_at = Instant::now();
    let answered = calls(other.address(), 400..480);
    let taken = killed_at.elapsed();
    assert_eq!(answered.len(), 80);
    assert!(taken < Duration::from_secs(11), "{taken:?}");
    let begun = times(&service, "begin");
    assert!(begun.values().all(|at| at.len() == 1));
}

/// Calls go on while one gateway joins another, and while one leaves: some are made again, and each has one end.
pub(crate) fn calls_outlive_that_their_partition_changes_hands(env: &Env) {
    let service = Service::start(Language::Go);
    let topics = Loop::new(env, 4, service.port()).option("session-timeout: 6s");
    let mut one = env.site(&topics.site());
    let front = env.site(&topics.produce());
    let is_enough = AtomicBool::new(false);
    let answered: Vec<String> = thread::scope(|scope| {
        let callers: Vec<_> = (0..2)
            .map(|n| {
                let calls = Calls {
                    address: front.address(),
                    numbers: n * 100_000..(n + 1) * 100_000,
                    before: "sleep=0.2;",
                    is_enough: &is_enough,
                };
                scope.spawn(|| calls.run())
            })
            .collect();
        eventually("calls are under way", PATIENCE, || {
            (service.begun().len() >= 100).then_some(())
        });
        let other = env.site(&topics.site());
        await_settled(&[&one, &other]);
        // The second begins to serve, then the first leaves in order.
        let seen = service.begun().len();
        one.signal("TERM");
        assert_eq!(one.exit_code(Duration::from_secs(20)), Some(0));
        eventually("the calls go on", PATIENCE, || {
            (service.begun().len() >= seen + 300).then_some(())
        });
        is_enough.store(true, Ordering::SeqCst);
        let joined = callers.into_iter();
        let answered = joined.flat_map(|caller| caller.join().expect("a caller"));
        let answered = answered.collect();
        await_ends(env, &topics, PATIENCE);
        answered
    });
    let asked = by_id(&env.kafka.log(&topics.requests, 4), |_| true);
    assert_eq!(asked.len(), answered.len());
    let begun = times(&service, "begin");
    let repeated = begun.values().filter(|at| at.len() > 1).count();
    // What changes hands is what was open: each caller's, at either change.
    assert!(
        repeated <= 2 * 100,
        "{repeated} of {} were made again",
        begun.len()
    );
}
