//! Listeners against the embedded broker: two cores' replies on one executor, with queues between them that can be held up.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Poll;

use super::*;
use crate::clock::Instant;
use crate::embedded::{Broker, Config, ErrorCode, Fault, FaultHook};
use crate::kafka::client::Delivery;
use crate::kafka::correlation::{Known, ReplyFault};
use crate::kafka::follow::Sink;
use crate::kafka::producer;
use crate::observe::metrics::names::Names;
use crate::observe::{ClusterWatch, CoreWatch, Watch};
use crate::runtime::CoreStart;
use crate::runtime::placement::{CoreSet, partition_owner};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(60);
const HEADER: &str = "zilla:correlation-id";
const FETCH: i16 = 1;
const NOT_LEADER_OR_FOLLOWER: ErrorCode = ErrorCode(6);
/// Bytes of the topic that are kept when the broker cleans up, which it does when it is told.
const RETAINED: &str = "1000000";
/// Messages between two cores.
const MAILBOX: usize = 4;

/// Two cores of a process.
struct World {
    replies: [Replies; 2],
    mailboxes: Rc<[Mailbox; 2]>,
    client: Client,
    deadlines: Rc<Deadlines>,
    /// With one partition, which the second core looks through.
    topic: String,
    broker: Arc<Broker>,
}

#[derive(Default)]
struct Mailbox {
    messages: RefCell<VecDeque<ReplyMessage>>,
    filled: Notify,
    is_held: Cell<bool>,
}

fn on_two_cores<F: Future<Output = ()> + 'static>(
    fault: Option<FaultHook>,
    test: impl FnOnce(World) -> F + Send + 'static,
) {
    let config = Config {
        fault,
        clean_every: PATIENCE,
        ..Config::default()
    };
    let broker = Arc::new(Broker::start(config).unwrap());
    let named = |number| format!("replies-{number}");
    let is_of_second = |name: &String| partition_owner(name, 0, 2) == CoreId(1);
    let topic = (0..100).map(named).find(is_of_second).unwrap();
    let settings = [("retention.bytes", RETAINED)];
    broker.create_topic(&topic, 1, &settings).unwrap();
    let shared = broker.clone();
    let main = move |start: CoreStart| test(World::new(&start.deadlines, shared, topic));
    let cores = runtime::start_cores(&CoreSet::Unpinned(1), vec![Box::new(main)]).unwrap();
    cores.join().unwrap();
}

impl World {
    fn new(deadlines: &Rc<Deadlines>, broker: Arc<Broker>, topic: String) -> Self {
        let server = broker.addr();
        let watch = CoreWatch::new(&Watch {
            names: Arc::new(Names::default()),
            events: None,
            accesses: None,
        });
        let client = Client::new(
            vec![(server.ip().to_string(), server.port())],
            producer::Limits::default(),
            1,
            deadlines.clone(),
            Box::new(|_, _, _| {}),
            ClusterWatch::new(watch, 0),
        );
        let mailboxes: Rc<[Mailbox; 2]> = Rc::default();
        let replies = [0, 1].map(|core| {
            let boxes = mailboxes.clone();
            let send = move |to: CoreId, message| boxes[to.0].put(message);
            Replies::new(RepliesParts {
                core: CoreId(core),
                cores: 2,
                client: client.clone(),
                deadlines: deadlines.clone(),
                names: [Bytes::from_static(HEADER.as_bytes())].into(),
                horizon: Duration::from_secs(3600),
                send: Box::new(send),
            })
        });
        for (core, replies) in replies.iter().enumerate() {
            runtime::spawn(run_mailbox(mailboxes.clone(), core, replies.clone()));
        }
        Self {
            replies,
            mailboxes,
            client,
            deadlines: deadlines.clone(),
            topic,
            broker,
        }
    }

    /// An id of a core.
    fn id(&self, core: usize, name: &str) -> CorrelationId {
        let ids = (0..100).map(|number| format!("{name}-{number}"));
        let id = ids
            .into_iter()
            .find(|id| self.replies[core].is_own(id.as_bytes()));
        CorrelationId {
            header: 0,
            id: Bytes::from(id.unwrap()),
        }
    }

    fn listen(&self, core: usize, id: &CorrelationId, is_fresh: bool) -> Listener {
        let notify = Rc::new(Notify::default());
        let listening = self.replies[core].listen(&self.topic, id.clone(), is_fresh, &notify);
        Listener {
            listening: listening.unwrap(),
            notify,
            deadline: self.deadlines.deadline(),
        }
    }

    async fn look(&self, core: usize, id: &CorrelationId) -> Looked {
        let notify = Rc::new(Notify::default());
        let looking = self.replies[core].look(&self.topic, id.clone(), &notify);
        let looking = looking.unwrap();
        loop {
            if let Some(looked) = looking.verdict() {
                return looked;
            }
            notify.notified().await;
        }
    }

    /// Produces replies, the values of which are numbers; waits until they are stored.
    async fn produce(&self, id: &CorrelationId, numbers: impl IntoIterator<Item = u64>) {
        let values = numbers.into_iter().map(|number| Some(number.to_string()));
        self.produce_values(id, values).await;
    }

    async fn produce_closing(&self, id: &CorrelationId) {
        self.produce_values(id, [None]).await;
    }

    async fn produce_values(
        &self,
        id: &CorrelationId,
        values: impl IntoIterator<Item = Option<String>>,
    ) {
        let topic = self.client.produce_topic(&self.topic).unwrap();
        let stored = Rc::new(Notify::default());
        let mut deliveries = Vec::new();
        for value in values {
            let record = Record {
                key: Some(id.id.clone()),
                value: value.map(Bytes::from),
                headers: vec![(HEADER.into(), Some(id.id.clone()))],
            };
            let delivery = Delivery::new(stored.clone());
            let now = runtime::now();
            let acks = Acks::InSyncReplicas;
            self.client
                .produce(topic, acks, record, delivery.clone(), now, now + PATIENCE);
            deliveries.push(delivery);
        }
        for delivery in deliveries {
            while delivery.outcome().is_none() {
                stored.notified().await;
            }
            delivery.outcome().unwrap().unwrap();
        }
    }

    /// Waits until the records before `end` were looked through and everybody was told.
    async fn indexed(&self, end: i64) {
        let key: PartitionKey = (self.topic.as_str().into(), 0);
        let position = || self.replies[1].position(&key);
        self.until(|| position().is_some_and(|position| position.next_offset >= end))
            .await;
        self.until(|| {
            let outboxes = |replies: &Replies| {
                let outboxes = replies.inner.outboxes.borrow();
                outboxes.iter().map(VecDeque::len).sum::<usize>()
            };
            let is_taken =
                |mailbox: &Mailbox| mailbox.is_held.get() || mailbox.messages.borrow().is_empty();
            self.mailboxes.iter().all(is_taken)
                && (self.mailboxes[1].is_held.get() || outboxes(&self.replies[0]) == 0)
                && outboxes(&self.replies[1]) == 0
        })
        .await;
    }

    async fn until(&self, is_so: impl Fn() -> bool) {
        let until = runtime::now() + PATIENCE;
        while !is_so() {
            assert!(runtime::now() < until, "it takes too long");
            runtime::sleep(Duration::from_millis(1)).await;
        }
    }
}

impl Mailbox {
    fn put(&self, message: ReplyMessage) -> Result<(), ReplyMessage> {
        let mut messages = self.messages.borrow_mut();
        if messages.len() >= MAILBOX {
            return Err(message);
        }
        messages.push_back(message);
        self.filled.notify();
        Ok(())
    }

    fn hold(&self, is_held: bool) {
        self.is_held.set(is_held);
        self.filled.notify();
    }
}

async fn run_mailbox(mailboxes: Rc<[Mailbox; 2]>, core: usize, replies: Replies) {
    let mailbox = &mailboxes[core];
    loop {
        mailbox.filled.notified().await;
        while !mailbox.is_held.get() {
            let message = mailbox.messages.borrow_mut().pop_front();
            let Some(message) = message else { break };
            replies.handle_message(message);
        }
    }
}

struct Listener {
    listening: Listening,
    notify: Rc<Notify>,
    deadline: runtime::deadline::Deadline,
}

impl Listener {
    async fn next(&mut self) -> Result<ReplyRecord, ReplyFault> {
        let until = runtime::now() + PATIENCE;
        std::future::poll_fn(|context| {
            loop {
                match self.listening.poll_next(context, runtime::now()) {
                    Heard::Record(record) => return Poll::Ready(Ok(record)),
                    Heard::Fault(fault) => return Poll::Ready(Err(fault)),
                    Heard::Nothing => {}
                }
                if self.notify.poll_notified(context).is_ready() {
                    continue;
                }
                let at = self.listening.poll_timeout().unwrap_or(until).min(until);
                self.deadline.set(at);
                if self
                    .deadline
                    .poll_expired(context, runtime::now())
                    .is_pending()
                {
                    return Poll::Pending;
                }
                assert!(runtime::now() < until, "nothing is heard");
            }
        })
        .await
    }

    /// The next reply as text; `end` for a closing one.
    async fn text(&mut self) -> String {
        let record = self.next().await.unwrap();
        let value = record.reply.value();
        assert_eq!(record.is_closing, value.is_none());
        value.map_or_else(
            || "end".to_owned(),
            |value| String::from_utf8_lossy(&value).into_owned(),
        )
    }

    async fn hears(&mut self, numbers: impl IntoIterator<Item = u64>) {
        for number in numbers {
            assert_eq!(self.text().await, number.to_string());
        }
    }

    /// That nothing is there now.
    async fn hears_nothing(&mut self) {
        std::future::poll_fn(|context| {
            let heard = self.listening.poll_next(context, Instant::ZERO);
            assert!(matches!(heard, Heard::Nothing), "{heard:?}");
            Poll::Ready(())
        })
        .await;
    }

    async fn looked(&mut self) -> Option<Known> {
        loop {
            if let Some(known) = self.listening.known() {
                return known;
            }
            self.hears_nothing().await;
            self.notify.notified().await;
        }
    }
}

#[test]
fn replies_are_heard_as_they_come_until_the_closing_one() {
    on_two_cores(None, |world| async move {
        let (ours, theirs) = (world.id(0, "a"), world.id(1, "b"));
        let mut fresh = world.listen(0, &ours, true);
        let mut second = world.listen(1, &ours, true);
        let mut other = world.listen(0, &theirs, true);
        assert_eq!(fresh.listening.known(), Some(None));
        assert_eq!(second.looked().await, None, "the id is not its core's");
        assert_eq!(other.looked().await, None);
        for number in 0..5 {
            world.produce(&ours, [number]).await;
            world.produce(&theirs, [number + 100]).await;
        }
        world.produce_closing(&ours).await;
        for listener in [&mut fresh, &mut second] {
            listener.hears(0..5).await;
            assert_eq!(listener.text().await, "end");
            listener.hears_nothing().await;
        }
        other.hears(100..105).await;
        drop((fresh, second, other));
        let listening = |replies: &Replies| {
            let topics = replies.inner.topics.borrow();
            topics
                .values()
                .map(|topic| topic.listeners())
                .sum::<usize>()
        };
        world
            .until(|| world.replies.iter().all(|replies| listening(replies) == 0))
            .await;
        assert_eq!(world.replies[0].listeners(), 0);
        assert_eq!(world.replies[0].inner.heard_bytes.get(), 0);
    });
}

#[test]
fn replies_that_came_before_are_heard_first_and_each_once() {
    on_two_cores(None, |world| async move {
        let (id, other) = (world.id(0, "a"), world.id(0, "b"));
        world.produce(&other, 0..3).await;
        world.produce(&id, 0..20).await;
        world.produce(&other, 3..5).await;
        for core in [0, 1] {
            let mut listener = world.listen(core, &id, false);
            let known = listener.looked().await.unwrap();
            assert_eq!((known.first.offset, known.closing), (3, None));
            listener.hears(0..20).await;
            listener.hears_nothing().await;
        }
        let mut listener = world.listen(1, &id, false);
        listener.looked().await;
        world.produce(&id, 20..30).await;
        world.indexed(35).await;
        listener.hears(0..30).await;
        world.produce_closing(&id).await;
        assert_eq!(listener.text().await, "end");
    });
}

#[test]
fn a_listener_that_lags_reads_what_its_queue_did_not_hold() {
    on_two_cores(None, |world| async move {
        let (id, other) = (world.id(0, "a"), world.id(0, "b"));
        let mut listeners = [world.listen(0, &id, true), world.listen(1, &id, false)];
        listeners[1].looked().await;
        for round in 0..10 {
            world.produce(&id, round * 500..(round + 1) * 500).await;
            world.produce(&other, 0..10).await;
        }
        world.indexed(5100).await;
        for listener in &mut listeners {
            assert!(listener.listening.queued() <= 1024);
            listener.hears(0..4000).await;
        }
        // While some of it still lags.
        world.produce(&id, 5000..5100).await;
        world.produce_closing(&id).await;
        world.indexed(5201).await;
        for listener in &mut listeners {
            listener.hears(4000..5100).await;
            assert_eq!(listener.text().await, "end");
            listener.hears_nothing().await;
        }
        world.produce(&id, [7]).await;
        listeners[0].hears([7]).await;
    });
}

#[test]
fn history_and_what_comes_meanwhile_meet_without_a_gap() {
    on_two_cores(None, |world| async move {
        let id = world.id(0, "a");
        assert!(world.replies[0].open(&world.topic));
        world.produce(&id, 0..2000).await;
        world.indexed(2000).await;
        let mut listener = world.listen(1, &id, false);
        let done = Rc::new(Cell::new(false));
        let world = Rc::new(world);
        let (producing, is_done, produced) = (world.clone(), done.clone(), id.clone());
        runtime::spawn(async move {
            for round in 20..50 {
                let numbers = round * 100..(round + 1) * 100;
                producing.produce(&produced, numbers).await;
            }
            is_done.set(true);
        });
        listener.hears(0..5000).await;
        world.until(|| done.get()).await;
        world.indexed(5000).await;
        listener.hears_nothing().await;
    });
}

#[test]
fn what_a_core_that_does_not_keep_up_was_not_passed_is_read() {
    on_two_cores(None, |world| async move {
        let id = world.id(0, "a");
        let mut listener = world.listen(1, &id, false);
        listener.looked().await;
        world.indexed(0).await;
        world.mailboxes[1].hold(true);
        let count = 2 * OUTBOX_PAUSE as u64;
        for number in 0..count {
            world.produce(&id, [number]).await;
            world.indexed(number.cast_signed() + 1).await;
        }
        let first = &world.replies[0].inner;
        let waiting = |core: usize| first.outboxes.borrow()[core].len();
        assert!(waiting(1) <= OUTBOX_PAUSE + 1);
        assert_eq!(first.missed.borrow().len(), 1);
        listener.hears_nothing().await;
        world.mailboxes[1].hold(false);
        listener.hears(0..count).await;
        world.produce_closing(&id).await;
        assert_eq!(listener.text().await, "end");
        assert_eq!(first.missed.borrow().len(), 0);
    });
}

#[test]
fn a_read_that_fails_is_tried_again() {
    let failing = Arc::new(AtomicBool::new(false));
    let refused = Arc::new(AtomicU64::new(0));
    let (is_failing, count) = (failing.clone(), refused.clone());
    let hook = FaultHook::new(move |request| {
        if request.api_key == FETCH && is_failing.load(Ordering::Relaxed) {
            count.fetch_add(1, Ordering::Relaxed);
            Fault::Answer(NOT_LEADER_OR_FOLLOWER)
        } else {
            Fault::None
        }
    });
    on_two_cores(Some(hook), move |world| async move {
        let id = world.id(0, "a");
        assert!(world.replies[0].open(&world.topic));
        world.produce(&id, 0..3).await;
        world.indexed(3).await;
        let mut listener = world.listen(0, &id, false);
        listener.looked().await;
        failing.store(true, Ordering::Relaxed);
        while listener.listening.poll_timeout().is_none() {
            std::future::poll_fn(|context| {
                let heard = listener.listening.poll_next(context, runtime::now());
                assert!(matches!(heard, Heard::Nothing), "{heard:?}");
                Poll::Ready(())
            })
            .await;
            runtime::sleep(Duration::from_millis(1)).await;
        }
        failing.store(false, Ordering::Relaxed);
        assert!(refused.load(Ordering::Relaxed) > 0);
        listener.hears(0..3).await;
    });
}

#[test]
fn who_looks_learns_whether_an_id_is_closed() {
    on_two_cores(None, |world| async move {
        let id = world.id(0, "a");
        for core in [0, 1] {
            assert_eq!(world.look(core, &id).await, Looked::Known(None));
        }
        world.produce(&id, 0..2).await;
        let at = |offset| Place {
            partition: 0,
            offset,
        };
        let open = Known {
            first: at(0),
            closing: None,
        };
        let closed = Known {
            closing: Some(at(2)),
            ..open
        };
        assert_eq!(world.look(1, &id).await, Looked::Known(Some(open)));
        world.produce_closing(&id).await;
        assert_eq!(world.look(0, &id).await, Looked::Known(Some(closed)));
        assert_eq!(world.look(1, &id).await, Looked::Known(Some(closed)));
        assert!(world.replies[1].inner.looks.borrow().is_empty());
    });
}

#[test]
fn replies_that_were_deleted_before_they_were_read_are_said_to_be_gone() {
    on_two_cores(None, |world| async move {
        let (id, other) = (world.id(0, "a"), world.id(0, "b"));
        assert!(world.replies[0].open(&world.topic));
        world.produce(&id, 0..3).await;
        world.indexed(3).await;
        let mut listener = world.listen(0, &id, false);
        listener.looked().await;
        for _ in 0..20 {
            let large = Some("x".repeat(100_000));
            world.produce_values(&other, [large]).await;
        }
        world.broker.compact_now();
        assert_eq!(listener.next().await.err(), Some(ReplyFault::Gone));
    });
}
