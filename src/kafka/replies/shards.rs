//! The exchanges whose ids are this core's: does what their [`Shard`] asks for.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::passing::Passes;
use super::{Replies, ReplyMessage, Request, Submit, TOPICS_MAX, Token};
use crate::kafka::client::Delivery;
use crate::kafka::correlation::{CorrelationId, Shard, ShardOutput, Verdict, Waiter};
use crate::kafka::producer::{ProduceFault, Unavailable};
use crate::runtime::notify::Notify;
use crate::runtime::placement::partition_owner;
use crate::runtime::{self, with_deadline};

/// Bytes of requests of one core that wait for look-ups; beyond, 503. What is being produced is bounded by the producer.
const QUEUED_BYTES_MAX: usize = 64 << 20;
/// How long the ends of a reply topic are asked for before those who wait are told that they cannot be found out.
const ENDS_WAIT: Duration = Duration::from_secs(5);
/// How long the fate of a record is waited for that may be sent again: longer than a producer tries.
const FATE_WAIT: Duration = Duration::from_secs(180);
/// How often a reply topic that does not exist is asked for again, and one that does is looked at for new partitions.
const UNKNOWN_INTERVAL: Duration = Duration::from_millis(500);
const KNOWN_INTERVAL: Duration = Duration::from_secs(30);
/// How often exchanges that nobody waits for are looked at.
const LINGER_INTERVAL: Duration = Duration::from_secs(1);

/// A reply topic, as this core has to do with it.
pub(super) struct ReplyTopic {
    name: Arc<str>,
    shard: RefCell<Shard<Token, Queued>>,
}

/// A request that is not produced yet, and the bytes that it takes until then.
pub(super) struct Queued {
    request: Request,
    _charge: Charge,
}

/// Bytes of requests that wait for their look-ups, given back however that ends.
struct Charge {
    total: Rc<Cell<usize>>,
    bytes: usize,
}

impl Charge {
    /// `None` when there is no room.
    fn take(total: &Rc<Cell<usize>>, bytes: usize) -> Option<Self> {
        let new = total.get() + bytes;
        if new > QUEUED_BYTES_MAX {
            return None;
        }
        total.set(new);
        Some(Self {
            total: total.clone(),
            bytes,
        })
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.total.set(self.total.get() - self.bytes);
    }
}

impl ReplyTopic {
    pub(super) fn exchanges_open(&self) -> usize {
        self.shard.borrow().exchanges_open()
    }

    #[cfg(test)]
    pub(super) fn listeners(&self) -> usize {
        self.shard.borrow().listeners()
    }

    pub(super) fn replies_known(&self) -> usize {
        self.shard.borrow().replies_known()
    }
}

impl Replies {
    /// Opens a reply topic, for good; false when too many are open.
    pub fn open(&self, name: &str) -> bool {
        self.topic(name).is_some()
    }

    /// The name under which an open topic is known.
    pub(super) fn topic_name(&self, name: &str) -> Option<Arc<str>> {
        self.topic(name).map(|topic| topic.name.clone())
    }

    fn topic(&self, name: &str) -> Option<Rc<ReplyTopic>> {
        if let Some(topic) = self.inner.topics.borrow().get(name) {
            return Some(topic.clone());
        }
        if self.inner.topics.borrow().len() >= TOPICS_MAX {
            return None;
        }
        let name: Arc<str> = Arc::from(name);
        let topic = Rc::new(ReplyTopic {
            name: name.clone(),
            shard: RefCell::new(Shard::new(self.inner.limits)),
        });
        self.inner
            .topics
            .borrow_mut()
            .insert(name.clone(), topic.clone());
        runtime::spawn(run_topic(self.clone(), name));
        Some(topic)
    }

    /// Lets a shard do something, then does what it asks for.
    pub(super) fn with_shard(&self, name: &str, act: impl FnOnce(&mut Shard<Token, Queued>)) {
        if let Some(topic) = self.topic(name) {
            act(&mut topic.shard.borrow_mut());
            self.drain_shard(&topic);
        }
    }

    pub(super) fn submit_here(&self, submit: Submit) {
        let Submit {
            topic,
            id,
            is_ours,
            request,
            waiter,
        } = submit;
        let token = waiter.token;
        let bytes = request.record.size_max();
        let Some(charge) = Charge::take(&self.inner.queued_bytes, bytes) else {
            return self.tell(token, Verdict::Overloaded);
        };
        let request = Queued {
            request,
            _charge: charge,
        };
        let mut refused = true;
        self.with_shard(&topic, |shard| {
            refused = shard.submit(id, is_ours, request, waiter).is_err();
        });
        if refused {
            self.tell(token, Verdict::Overloaded);
        }
    }

    pub(super) fn watch_here(&self, topic: &str, id: CorrelationId, waiter: Waiter<Token>) {
        let token = waiter.token;
        let mut refused = true;
        self.with_shard(topic, |shard| refused = shard.watch(id, waiter).is_err());
        if refused {
            self.tell(token, Verdict::Overloaded);
        }
    }

    fn tell(&self, token: Token, verdict: Verdict) {
        let slot = token.slot;
        self.send_or_keep(token.core, ReplyMessage::Told { slot, verdict });
    }

    fn drain_shard(&self, topic: &Rc<ReplyTopic>) {
        loop {
            let output = topic.shard.borrow_mut().poll_output();
            match output {
                Some(ShardOutput::Pass { token, record }) => {
                    self.pass_all(Passes::gather(token, record, || {
                        topic.shard.borrow_mut().poll_pass()
                    }));
                }
                Some(ShardOutput::Looked {
                    token,
                    looked,
                    indexed,
                }) => self.tell_looked(token, looked, indexed),
                Some(ShardOutput::Tell { token, verdict }) => self.tell(token, verdict),
                Some(ShardOutput::Produce {
                    id,
                    request,
                    deadline,
                }) => self.produce(&topic.name, id, request.request, deadline),
                Some(ShardOutput::LookUpEnds) => {
                    runtime::spawn(look_up_ends(self.clone(), topic.name.clone()));
                }
                None => return,
            }
        }
    }

    fn produce(
        &self,
        name: &Arc<str>,
        id: CorrelationId,
        request: Request,
        deadline: crate::clock::Instant,
    ) {
        let client = &self.inner.client;
        let (replies, name) = (self.clone(), name.clone());
        let delivery = Delivery::with_callback(move |outcome| {
            replies.with_shard(&name, |shard| {
                shard.handle_stored(&id, outcome.map(|_| ()), runtime::now());
            });
        });
        match client.produce_topic(&request.topic) {
            Some(topic) => client.produce(
                topic,
                request.acks,
                request.record,
                delivery,
                runtime::now(),
                deadline.min(runtime::now() + FATE_WAIT),
            ),
            None => delivery.complete(Err(ProduceFault::Unavailable(Unavailable::Unreachable))),
        }
    }
}

async fn look_up_ends(replies: Replies, name: Arc<str>) {
    let until = runtime::now() + ENDS_WAIT;
    let ends = replies.inner.client.end_offsets(&name, until).await;
    if ends.is_none() {
        tracing::warn!(
            topic = &*name,
            "cannot find out where the reply topic ends: repeats are refused"
        );
    }
    replies.with_shard(&name, |shard| shard.handle_ends(ends.as_deref()));
}

/// Has every partition of a reply topic looked through by its owner, those that come later too.
async fn run_topic(replies: Replies, name: Arc<str>) {
    let changed = Rc::new(Notify::default());
    let client = replies.inner.client.clone();
    client.on_change(&changed);
    client.want(&name, false);
    let deadline = replies.inner.deadlines.deadline();
    let horizon_ms = i64::try_from(replies.inner.horizon.as_millis()).unwrap_or(i64::MAX);
    let mut followed = 0;
    loop {
        let count = client.topic(&name).map_or(0, |topic| topic.leaders.len());
        let count = i32::try_from(count).unwrap_or(i32::MAX);
        for partition in followed..count {
            let key = (name.clone(), partition);
            let owner = partition_owner(&name, partition, replies.inner.cores);
            replies.send_or_keep(owner, ReplyMessage::Follow { key, horizon_ms });
        }
        followed = followed.max(count);
        let wait = if count == 0 {
            client.want(&name, false);
            UNKNOWN_INTERVAL
        } else {
            KNOWN_INTERVAL
        };
        let _ = with_deadline(&deadline, runtime::now() + wait, changed.notified()).await;
    }
}

/// Closes exchanges that nobody has asked for in a while.
pub(super) async fn run_lingering(replies: Replies) {
    loop {
        runtime::sleep(LINGER_INTERVAL).await;
        let now = runtime::now();
        for topic in replies.inner.topics.borrow().values() {
            topic.shard.borrow_mut().handle_timeout(now);
        }
    }
}
