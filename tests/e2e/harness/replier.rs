//! A service behind the gateway: it reads a topic of requests and answers each on the topic that the request names, as
//! any consumer of Zilla's correlated requests does.
//!
//! One rule: it knows nothing of the gateway. It sees records, remembers them, and writes what the case tells it to.

use super::Env;
use super::link::Link;
use super::records::{Logged, Record};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// The longest that it waits for requests before it looks whether it is to stop.
const POLL: Duration = Duration::from_millis(100);

/// One answer to a request.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    record: Record,
    after: Duration,
    partition: Option<i32>,
}

impl Reply {
    /// Without any header but the correlation id.
    pub(crate) fn bare(value: &str) -> Self {
        Self {
            record: Record {
                value: Some(value.into()),
                ..Record::default()
            },
            after: Duration::ZERO,
            partition: None,
        }
    }

    /// With this `:status`.
    pub(crate) fn status(status: &str, value: &str) -> Self {
        Self::bare(value).header(":status", status)
    }

    /// 200, of the request's content type, with its path and its value.
    pub(crate) fn echo(request: &Logged) -> Self {
        let record = &request.record;
        let path = record.get(":path").unwrap_or_default();
        let content_type = record.get("content-type").unwrap_or("text/plain");
        Self::status("200", &format!("{path} {}", record.text()))
            .header("content-type", content_type)
    }

    /// With one more header.
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.record = self.record.header(name, value);
        self
    }

    /// With a null value.
    pub(crate) fn null(mut self) -> Self {
        self.record.value = None;
        self
    }

    /// So long after the request was seen.
    pub(crate) fn after(mut self, delay: Duration) -> Self {
        self.after = delay;
        self
    }

    /// To this partition, not the next in turn.
    pub(crate) fn on_partition(mut self, partition: i32) -> Self {
        self.partition = Some(partition);
        self
    }
}

/// What a [`Replier`] reads, and how.
pub(crate) struct Service {
    topic: String,
    partitions: i32,
    reply_partitions: i32,
    reply_to: &'static str,
    correlation_id: &'static str,
    hold: usize,
}

impl Service {
    /// Reads all records of all partitions of `topic`, and answers to one partition.
    pub(crate) fn reading(topic: &str, partitions: i32) -> Self {
        Self {
            topic: topic.to_owned(),
            partitions,
            reply_partitions: 1,
            reply_to: "zilla:reply-to",
            correlation_id: "zilla:correlation-id",
            hold: 0,
        }
    }

    /// Answers to so many partitions in turn.
    pub(crate) fn reply_partitions(mut self, count: i32) -> Self {
        self.reply_partitions = count;
        self
    }

    /// Takes where to reply and the correlation id from headers of these names.
    pub(crate) fn headers(mut self, reply_to: &'static str, correlation_id: &'static str) -> Self {
        self.reply_to = reply_to;
        self.correlation_id = correlation_id;
        self
    }

    /// Answers nothing until it has seen so many requests; then those first that came last.
    pub(crate) fn hold(mut self, count: usize) -> Self {
        self.hold = count;
        self
    }

    /// Starts it; `answer` says what a request is answered: nothing, once, or several times.
    #[track_caller]
    pub(crate) fn start(
        self,
        env: &Env,
        answer: impl Fn(&Logged) -> Vec<Reply> + Send + 'static,
    ) -> Replier {
        let (_, address) = (env.kafka.leader(&self.topic, 0)).expect("the topic has a leader");
        let link = Link::connect(&address).expect("a connection to the broker");
        let shared = Arc::new(Shared::default());
        let running = Running {
            offsets: vec![0; usize::try_from(self.partitions).expect("a count")],
            service: self,
            link,
            answer: Box::new(answer),
            shared: Arc::clone(&shared),
            due: Vec::new(),
            turn: 0,
        };
        let thread = Some(thread::spawn(|| running.run()));
        Replier { shared, thread }
    }
}

/// A running service. Dropped, it stops.
pub(crate) struct Replier {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    seen: Mutex<Vec<(String, Logged)>>,
}

impl Replier {
    /// Every request seen so far.
    pub(crate) fn requests(&self) -> Vec<Logged> {
        let seen = self.shared.seen();
        seen.iter().map(|(_, request)| request.clone()).collect()
    }

    /// How many requests were seen of each correlation id.
    pub(crate) fn counts(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for (id, _) in self.shared.seen().iter() {
            *counts.entry(id.clone()).or_default() += 1;
        }
        counts
    }
}

impl Drop for Replier {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        let ended = self.thread.take().map(JoinHandle::join);
        if !thread::panicking() {
            assert!(matches!(ended, Some(Ok(()))), "the replying service failed");
        }
    }
}

impl Shared {
    fn seen(&self) -> std::sync::MutexGuard<'_, Vec<(String, Logged)>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A reply that is not yet written.
struct Due {
    at: Instant,
    topic: String,
    reply: Reply,
}

/// What a request is answered.
type Answers = Box<dyn Fn(&Logged) -> Vec<Reply> + Send>;

struct Running {
    service: Service,
    link: Link,
    /// The next to read, by partition.
    offsets: Vec<i64>,
    answer: Answers,
    shared: Arc<Shared>,
    due: Vec<Due>,
    /// Counts replies, to take partitions in turn.
    turn: i32,
}

impl Running {
    fn run(mut self) {
        while !self.shared.stop.load(Ordering::SeqCst) {
            let requests = self
                .link
                .poll(&self.service.topic, &self.offsets, self.wait());
            for request in requests {
                let partition = usize::try_from(request.partition).expect("a partition");
                self.offsets[partition] = request.offset + 1;
                self.take(request);
            }
            self.reply();
        }
    }

    /// Whether requests are still being held back.
    fn holds(&self) -> bool {
        self.shared.seen().len() < self.service.hold
    }

    fn wait(&self) -> Duration {
        let next = self.due.iter().map(|due| due.at).min();
        match next {
            Some(at) if !self.holds() => at.saturating_duration_since(Instant::now()).min(POLL),
            _ => POLL,
        }
    }

    fn take(&mut self, request: Logged) {
        let header = |name| request.record.get(name).map(str::to_owned);
        let id = header(self.service.correlation_id);
        let topic = header(self.service.reply_to);
        let (Some(id), Some(topic)) = (id, topic) else {
            panic!("a request without a way to answer it: {request:?}");
        };
        let now = Instant::now();
        for mut reply in (self.answer)(&request) {
            reply.record = reply.record.header(self.service.correlation_id, &id);
            let due = Due {
                at: now + reply.after,
                topic: topic.clone(),
                reply,
            };
            if self.service.hold == 0 {
                self.due.push(due);
            } else {
                self.due.insert(0, due);
            }
        }
        self.shared.seen().push((id, request));
    }

    fn reply(&mut self) {
        if self.holds() {
            return;
        }
        let now = Instant::now();
        let mut batches: BTreeMap<(String, i32), Vec<Record>> = BTreeMap::new();
        for due in self.due.extract_if(.., |due| due.at <= now) {
            let turn = self.turn % self.service.reply_partitions;
            self.turn += 1;
            let partition = due.reply.partition.unwrap_or(turn);
            let batch = batches.entry((due.topic, partition)).or_default();
            batch.push(due.reply.record);
        }
        for ((topic, partition), records) in batches {
            let code = self.link.append(&topic, partition, &records);
            assert_eq!(code, 0, "a reply to {topic}/{partition}");
        }
    }
}

mod tests {
    use super::{Reply, Service};
    use crate::harness::broker::Broker;
    use crate::harness::records::{Logged, Record};
    use crate::harness::{Env, PATIENCE, eventually};
    use std::time::{Duration, Instant};

    fn ask(env: &Env, topic: &str, partition: i32, id: &str, path: &str) {
        let record = Record::new("key", &format!("value of {id}"))
            .header(":path", path)
            .header("x-reply-to", "replies")
            .header("x-id", id);
        env.kafka.append(topic, partition, &[record]);
    }

    fn shown(log: &[Logged]) -> Vec<(i32, &str, String)> {
        let shown = |found: &'_ Logged| (found.partition, found.record.text());
        let ids = log
            .iter()
            .map(|found| found.record.get("x-id").unwrap_or("none"));
        let shown = log.iter().map(shown).zip(ids);
        shown
            .map(|((partition, text), id)| (partition, id, text))
            .collect()
    }

    #[test]
    fn the_replying_service_answers_as_it_is_told() {
        let env = Env::new(Broker::embedded());
        env.kafka.create_topic("requests", 2, 1, &[]);
        env.kafka.create_topic("replies", 2, 1, &[]);
        let service = Service::reading("requests", 2)
            .reply_partitions(2)
            .headers("x-reply-to", "x-id")
            .hold(3);
        let service = service.start(&env, |request| match request.record.get(":path") {
            Some("/twice") => {
                let later = Reply::bare("later").after(Duration::from_millis(150));
                vec![Reply::echo(request), later.on_partition(0)]
            }
            Some("/never") => Vec::new(),
            _ => vec![Reply::echo(request)],
        });
        ask(&env, "requests", 0, "a", "/a");
        eventually("the first is seen", PATIENCE, || {
            (service.counts().len() == 1).then_some(())
        });
        ask(&env, "requests", 1, "b", "/b");
        eventually("the second is seen", PATIENCE, || {
            (service.counts().len() == 2).then_some(())
        });
        env.kafka.await_log("replies", 2, 0);
        ask(&env, "requests", 1, "b", "/never");
        // The last one first, to one partition after the other.
        let log = env.kafka.await_log("replies", 2, 2);
        let (a, b) = ("/a value of a".to_owned(), "/b value of b".to_owned());
        assert_eq!(shown(&log), [(0, "b", b), (1, "a", a)]);
        let headers = log[0].record.shown();
        let expected = [
            (":status", "200"),
            ("content-type", "text/plain"),
            ("x-id", "b"),
        ];
        assert_eq!(headers, expected);

        let begun = Instant::now();
        ask(&env, "requests", 0, "c", "/twice");
        let log = env.kafka.await_log("replies", 2, 4);
        assert!(begun.elapsed() >= Duration::from_millis(150));
        let twice = "/twice value of c".to_owned();
        assert!(shown(&log).contains(&(0, "c", twice)), "{log:?}");
        assert!(
            shown(&log).contains(&(0, "c", "later".to_owned())),
            "{log:?}"
        );
        let counts: Vec<usize> = service.counts().into_values().collect();
        assert_eq!(counts, [1, 2, 1]);
        assert_eq!(service.requests().len(), 4);
    }
}
