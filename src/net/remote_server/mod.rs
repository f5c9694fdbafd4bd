//! Calls that are found in request topics (`kafka-grpc`), on one core: a member of the binding's consumer group, the partitions that it was given, and the calls in them.
//!
//! ```text
//!  group ─ partitions ─▶ Following ─ records ─▶ Partition ─ first record of a call ─▶ Call ─▶ service
//!    ▲                                            │  └─ further ones ─▶ the same call      │
//!    └──── first offset of the oldest open call ──┴───────────── over ◀────────────────────┘ replies
//! ```
//! Rules: records wait where they are while there is no room for what they ask for, so a slow service slows the reading down; what is not over is not committed.

mod call;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::upstream::Upstreams;
use crate::clock::Instant;
use crate::config::KafkaGrpc;
use crate::exchange::window::Window;
use crate::grpc::status::{Code, Status};
use crate::kafka::client::{Client, Delivery};
use crate::kafka::fetcher::{BatchSink, FetchedPartition, PartitionKey, decode_into};
use crate::kafka::follow::{Following, Position, Sink, StartAt};
use crate::kafka::group::{Group, GroupConfig, GroupEvent};
use crate::kafka::metadata::TopicPolicy;
use crate::kafka::producer::Acks;
use crate::kafka::record_batch::{BatchHeader, DecodeError, Records};
use crate::kafka::replies::Replies;
use crate::mapping::kafka_grpc::{
    self, Asked, ReplyRecords, RequestBody, RequestRecord, Unreadable,
};
use crate::observe::CoreWatch;
use crate::runtime::deadline::Deadlines;
use crate::runtime::notify::Notify;
use crate::runtime::{self, with_deadline};
use call::Call;

/// Calls of one core and binding that are open at once; further records wait.
const CALLS_MAX: usize = 1_000;
/// Records of one partition that wait for room; beyond, nothing more is fetched.
const WAITING_MAX: usize = 1_000;
/// Bytes of their messages.
const WAITING_BYTES_MAX: usize = 4 << 20;
/// How often partitions are looked at in which nothing goes on.
const STALL_INTERVAL: Duration = Duration::from_secs(1);
/// Calls of one partition that ended before their caller's side did, and are remembered until it does.
const ENDED_MAX: usize = 10_000;

/// What a [`RemoteServer`] needs from the core it lives on.
pub(crate) struct RemoteServerParts {
    /// What it does.
    pub(crate) plan: Arc<KafkaGrpc>,
    /// The core's client of its cluster.
    pub(crate) client: Client,
    /// The replies of its cluster.
    pub(crate) replies: Replies,
    /// The core's http clients.
    pub(crate) upstreams: Rc<Upstreams>,
    /// The core's timer.
    pub(crate) deadlines: Rc<Deadlines>,
    /// What is counted.
    pub(crate) watch: Rc<CoreWatch>,
}

/// One binding on one core. Clones are the same.
#[derive(Clone)]
pub(crate) struct RemoteServer {
    inner: Rc<Inner>,
}

struct Inner {
    plan: Arc<KafkaGrpc>,
    client: Client,
    replies: Replies,
    upstreams: Rc<Upstreams>,
    deadlines: Rc<Deadlines>,
    watch: Rc<CoreWatch>,
    group: Group,
    /// Raised when the group has something to say.
    news: Rc<Notify>,
    following: Following<RemoteServer>,
    partitions: RefCell<BTreeMap<PartitionKey, Rc<Partition>>>,
    calls_open: Cell<usize>,
    is_draining: Cell<bool>,
    /// Raised when a call is over.
    over: Notify,
}

/// A partition that this core was given.
struct Partition {
    key: PartitionKey,
    /// Where the group stood when it was given.
    committed: Option<i64>,
    state: RefCell<PartitionState>,
    room: Notify,
}

#[derive(Default)]
struct PartitionState {
    /// `None`: its reading has not begun.
    window: Option<Window>,
    fetch_offset: i64,
    /// The end of the log as first seen.
    warm_at: Option<i64>,
    /// Records that have been fetched and wait.
    waiting: VecDeque<(i64, Asked)>,
    calls: HashMap<Bytes, Rc<Call>>,
    /// Calls that ended before their caller's side did, and where they began: what comes of them still is of no use.
    ended: HashMap<(Bytes, Option<Bytes>), i64>,
    /// So much waits that nothing more is fetched.
    is_full: bool,
    full_since: Option<Instant>,
}

impl RemoteServer {
    /// Joins the group; partitions come when it gives them.
    pub(crate) fn start(parts: RemoteServerParts) -> Self {
        let news = Rc::new(Notify::default());
        let config = GroupConfig::new(parts.plan.group_id(), parts.plan.topics())
            .with_session_timeout(parts.plan.session_timeout);
        let group = Group::join(
            parts.client.clone(),
            config,
            parts.deadlines.clone(),
            news.clone(),
        );
        let server = Self {
            inner: Rc::new(Inner {
                plan: parts.plan,
                client: parts.client,
                replies: parts.replies,
                upstreams: parts.upstreams,
                deadlines: parts.deadlines,
                watch: parts.watch,
                group,
                news,
                following: Following::default(),
                partitions: RefCell::default(),
                calls_open: Cell::new(0),
                is_draining: Cell::new(false),
                over: Notify::default(),
            }),
        };
        runtime::spawn(run(server.clone()));
        server
    }

    /// Takes no further call, waits for those that are open, until `until` at most, and leaves the group.
    pub(crate) async fn drain(&self, calls_until: Instant, until: Instant) {
        let inner = &self.inner;
        inner.is_draining.set(true);
        let deadline = inner.deadlines.deadline();
        let over = async {
            while inner.calls_open.get() > 0 {
                inner.over.notified().await;
            }
        };
        if with_deadline(&deadline, calls_until, over).await.is_err() {
            tracing::warn!(
                binding = inner.plan.name,
                calls = inner.calls_open.get(),
                "calls were still open at the end of the drain; they will be made again"
            );
        }
        // Before others are told that they may make them.
        let keys: Vec<PartitionKey> = inner.partitions.borrow().keys().cloned().collect();
        for key in keys {
            self.revoke(&key);
        }
        inner.group.leave(until).await;
    }

    fn assign(&self, key: PartitionKey, committed: Option<i64>) {
        self.revoke(&key);
        let partition = Rc::new(Partition {
            key: key.clone(),
            committed,
            state: RefCell::default(),
            room: Notify::default(),
        });
        self.inner
            .partitions
            .borrow_mut()
            .insert(key.clone(), partition);
        Following::start(self, key);
    }

    fn revoke(&self, key: &PartitionKey) {
        let partition = self.inner.partitions.borrow_mut().remove(key);
        if let Some(partition) = partition {
            self.inner.following.stop(key);
            partition.abandon();
            partition.room.notify();
        }
    }

    fn partition(&self, key: &PartitionKey) -> Option<Rc<Partition>> {
        self.inner.partitions.borrow().get(key).cloned()
    }

    /// Gives the records that wait to the calls that they are for, as far as there is room. What there is no room for is passed over: behind it may stand what ends the calls
    /// that take the room.
    fn advance(&self, partition: &Rc<Partition>) {
        let mut kept = VecDeque::new();
        let mut kept_bytes = 0;
        // What comes behind a record of a call waits with it.
        let mut held: HashSet<Bytes> = HashSet::new();
        loop {
            let next = partition.state.borrow_mut().waiting.pop_front();
            let Some((offset, asked)) = next else { break };
            let id = match &asked {
                Asked::Request(request) => Some(request.id.clone()),
                Asked::Unreadable(_) | Asked::Other => None,
            };
            let is_held = id.as_ref().is_some_and(|id| held.contains(id));
            let left = if is_held {
                Some(asked)
            } else {
                self.give(partition, offset, asked)
            };
            if let Some(asked) = left {
                held.extend(id);
                kept_bytes += asked.bytes();
                kept.push_back((offset, asked));
            }
        }
        {
            let mut state = partition.state.borrow_mut();
            let given = kept
                .front()
                .map_or(state.fetch_offset, |(offset, _)| *offset);
            state.is_full = kept.len() >= WAITING_MAX || kept_bytes >= WAITING_BYTES_MAX;
            if !state.is_full {
                state.full_since = None;
            } else if state.full_since.is_none() {
                state.full_since = Some(runtime::now());
            }
            state.waiting = kept;
            if let Some(window) = &mut state.window {
                window.handle_given(given);
            }
        }
        self.commit(partition);
        if !partition.state.borrow().is_full {
            partition.room.notify();
        }
    }

    /// Gives a record back for which there is no room.
    fn give(&self, partition: &Rc<Partition>, offset: i64, asked: Asked) -> Option<Asked> {
        let request = match asked {
            Asked::Request(request) => request,
            Asked::Unreadable(unreadable) => {
                self.refuse(partition, offset, &unreadable);
                return None;
            }
            Asked::Other => return None,
        };
        let now = runtime::now();
        let mut state = partition.state.borrow_mut();
        if let Some(call) = state.calls.get(&request.id).cloned() {
            return give_to(&call, &mut state, offset, request, now);
        }
        let ended = (request.id.clone(), request.caller.clone());
        if let Some(first) = state.ended.get(&ended).copied() {
            if let Some(window) = &mut state.window {
                window.extend(first, offset);
            }
            if !matches!(request.body, RequestBody::Message(_)) {
                state.ended.remove(&ended);
            }
            return None;
        }
        if request.body == RequestBody::Cancelled {
            return None;
        }
        let has_room = self.inner.calls_open.get() < CALLS_MAX && !self.inner.is_draining.get();
        let is_beyond = state
            .window
            .as_ref()
            .is_none_or(|window| window.is_beyond(offset));
        if !has_room || is_beyond {
            return Some(Asked::Request(request));
        }
        self.open(partition, &mut state, offset, *request, now);
        None
    }

    fn open(
        &self,
        partition: &Rc<Partition>,
        state: &mut PartitionState,
        offset: i64,
        request: RequestRecord,
        now: Instant,
    ) {
        let call = Call::new(offset, request.caller.clone(), now);
        call.push(request.body.clone(), now);
        state.calls.insert(request.id.clone(), call.clone());
        if let Some(window) = &mut state.window {
            window.open(offset);
        }
        self.inner.calls_open.set(self.inner.calls_open.get() + 1);
        self.inner.watch.metrics.remote_calls_open.add(1);
        let task = call::serve(self.clone(), partition.clone(), call, request);
        runtime::spawn_contained(task, || {
            tracing::error!(
                "a call that was found in a topic panicked; it is left as it is, the rest goes on"
            );
        });
    }

    /// Ends the oldest call of a partition in which nothing can go on for its sake.
    fn look_for_stalls(&self) {
        let now = runtime::now();
        let all: Vec<Rc<Partition>> = self.inner.partitions.borrow().values().cloned().collect();
        for partition in all {
            let state = partition.state.borrow();
            let stalls = state
                .full_since
                .is_some_and(|since| since + self.inner.plan.timeout <= now);
            let oldest = state.window.as_ref().and_then(Window::oldest);
            let mut calls = state.calls.values();
            let call = calls.find(|call| Some(call.first_offset) == oldest);
            if let Some(call) = call.filter(|_| stalls) {
                tracing::warn!(
                    topic = &*partition.key.0,
                    partition = partition.key.1,
                    offset = call.first_offset,
                    "a call has been open for so long that no others can be served: it is given up"
                );
                call.give_up();
            }
        }
    }

    /// A call is over, or not ours any more.
    fn handle_over(&self, partition: &Rc<Partition>, id: &Bytes, call: &Rc<Call>) {
        let inner = &self.inner;
        inner
            .calls_open
            .set(inner.calls_open.get().saturating_sub(1));
        inner.watch.metrics.remote_calls_open.subtract(1);
        {
            let mut state = partition.state.borrow_mut();
            let is_current = state
                .calls
                .get(id)
                .is_some_and(|known| Rc::ptr_eq(known, call));
            if is_current {
                state.calls.remove(id);
                if let Some(window) = &mut state.window {
                    window.close(call.first_offset);
                }
                if !call.is_half_closed.get() {
                    state.remember_ended(id, call);
                }
            }
        }
        inner.over.notify();
        // Others may have waited for the room.
        let all: Vec<Rc<Partition>> = inner.partitions.borrow().values().cloned().collect();
        for partition in all {
            self.advance(&partition);
        }
    }

    /// A call has taken a message.
    fn handle_room(&self, partition: &Rc<Partition>) {
        if !partition.state.borrow().waiting.is_empty() {
            self.advance(partition);
        }
    }

    fn commit(&self, partition: &Rc<Partition>) {
        let is_ours = self
            .partition(&partition.key)
            .is_some_and(|known| Rc::ptr_eq(&known, partition));
        let mut state = partition.state.borrow_mut();
        if let Some(window) = state.window.as_mut().filter(|_| is_ours)
            && let Some(offset) = window.poll_commit()
        {
            self.inner.group.commit(&partition.key, offset);
        }
    }

    /// Answers a request that lacks what it takes to be called.
    fn refuse(&self, partition: &Rc<Partition>, offset: i64, unreadable: &Unreadable) {
        let inner = &self.inner;
        let Some(topic) = inner.client.produce_topic(&unreadable.reply_to) else {
            return tracing::warn!(
                topic = unreadable.reply_to,
                "too many topics are written to"
            );
        };
        if let Some(window) = &mut partition.state.borrow_mut().window {
            window.open(offset);
        }
        let correlation = &inner.plan.correlation;
        let mut records = ReplyRecords::new(correlation, &unreadable.id, Bytes::from_static(b"0"));
        let status = Status::new(
            Code::INTERNAL,
            "the record does not say which method it calls",
        );
        let record = records.end(&status, &Vec::new(), true);
        let (server, partition) = (self.clone(), partition.clone());
        let delivery = Delivery::with_callback(move |outcome| {
            if let Err(fault) = outcome {
                tracing::warn!(
                    ?fault,
                    "a request that cannot be read could not be answered"
                );
            }
            if let Some(window) = &mut partition.state.borrow_mut().window {
                window.close(offset);
            }
            server.commit(&partition);
        });
        let now = runtime::now();
        let until = now + inner.plan.timeout;
        let acks = Acks::from(inner.plan.acks);
        inner
            .client
            .produce(topic, acks, record, delivery, now, until);
    }
}

impl Partition {
    /// Nothing more is done about its calls.
    fn abandon(&self) {
        let mut state = self.state.borrow_mut();
        state.waiting.clear();
        state.ended.clear();
        state.is_full = false;
        state.full_since = None;
        for call in std::mem::take(&mut state.calls).into_values() {
            call.revoke();
        }
    }
}

impl PartitionState {
    fn remember_ended(&mut self, id: &Bytes, call: &Call) {
        if self.ended.len() >= ENDED_MAX {
            // Those that are still to come are few; which of them are forgotten makes no difference.
            self.ended.clear();
        }
        let ended = (id.clone(), call.caller.clone());
        self.ended.insert(ended, call.first_offset);
    }
}

/// Gives a record to its call; gives it back when there is no room for it.
fn give_to(
    call: &Rc<Call>,
    state: &mut PartitionState,
    offset: i64,
    request: Box<RequestRecord>,
    now: Instant,
) -> Option<Asked> {
    if call.caller != request.caller {
        // Somebody asks once more for what is under way: its reply will do for both.
        call.is_repeated.set(true);
        return None;
    }
    let is_cancelled = request.body == RequestBody::Cancelled;
    if call.is_half_closed.get() {
        if !is_cancelled {
            call.is_repeated.set(true);
        } else if !call.is_repeated.get() {
            call.push(RequestBody::Cancelled, now);
        }
    } else if is_cancelled || request.body == RequestBody::HalfClose || call.has_room() {
        call.push(request.body, now);
    } else {
        return Some(Asked::Request(request));
    }
    if let Some(window) = &mut state.window {
        window.extend(call.first_offset, offset);
    }
    None
}

/// Does what the group says.
async fn run(server: RemoteServer) {
    let deadline = server.inner.deadlines.deadline();
    while !server.inner.client.is_stopped() {
        let until = runtime::now() + STALL_INTERVAL;
        let _ = with_deadline(&deadline, until, server.inner.news.notified()).await;
        server.look_for_stalls();
        while let Some(event) = server.inner.group.poll_event() {
            match event {
                GroupEvent::Assigned(partitions) => {
                    for (key, committed) in partitions {
                        tracing::info!(
                            binding = server.inner.plan.name,
                            topic = &*key.0,
                            partition = key.1,
                            ?committed,
                            "serving the calls of a partition"
                        );
                        server.assign(key, committed);
                    }
                }
                GroupEvent::Revoked(partitions) => {
                    for key in &partitions {
                        tracing::info!(
                            binding = server.inner.plan.name,
                            topic = &*key.0,
                            partition = key.1,
                            "the partition's calls are another's to serve"
                        );
                        server.revoke(key);
                    }
                }
            }
        }
    }
}

impl Sink for RemoteServer {
    fn client(&self) -> &Client {
        &self.inner.client
    }

    fn deadlines(&self) -> &Rc<Deadlines> {
        &self.inner.deadlines
    }

    fn following(&self) -> &Following<Self> {
        &self.inner.following
    }

    fn start_at(&self, key: &PartitionKey) -> StartAt {
        let committed = self
            .partition(key)
            .and_then(|partition| partition.committed);
        committed.map_or(StartAt::Earliest, StartAt::Offset)
    }

    fn position(&self, key: &PartitionKey) -> Option<Position> {
        let partition = self.partition(key)?;
        let state = partition.state.borrow();
        state.window.as_ref()?;
        Some(Position {
            next_offset: state.fetch_offset,
            is_ready: state.warm_at.is_some_and(|end| state.fetch_offset >= end),
        })
    }

    fn begin(&self, key: &PartitionKey, start_offset: i64, _policy: &TopicPolicy) {
        let Some(partition) = self.partition(key) else {
            return;
        };
        partition.abandon();
        let mut state = partition.state.borrow_mut();
        state.window = Some(Window::new(start_offset, self.inner.plan.window));
        state.fetch_offset = start_offset;
        state.warm_at = None;
    }

    fn ingest(&self, fetched: &FetchedPartition) -> bool {
        let key = &fetched.key;
        let Some(partition) = self.partition(key) else {
            return false;
        };
        if partition.state.borrow().window.is_none() {
            // An answer to whoever had the partition before.
            return false;
        }
        let mut pass = Pass {
            plan: &self.inner.plan,
            topic: &key.0,
            next_offset: partition.state.borrow().fetch_offset,
            found: VecDeque::new(),
        };
        let decoded = decode_into(&mut pass, fetched);
        for (offset, error) in &decoded.unreadable {
            tracing::error!(topic = &*key.0, partition = key.1, offset, %error, "a record batch of requests cannot be read and is left out");
        }
        if let Some(error) = &decoded.broken {
            tracing::error!(topic = &*key.0, partition = key.1, offset = pass.next_offset, %error, "the broker's requests cannot be read, asking again");
        }
        {
            let mut state = partition.state.borrow_mut();
            state.fetch_offset = pass.next_offset;
            state.waiting.append(&mut pass.found);
            if fetched.last_stable_offset >= 0 {
                state.warm_at.get_or_insert(fetched.last_stable_offset);
            }
        }
        self.advance(&partition);
        decoded.broken.is_some()
    }

    fn is_full(&self, key: &PartitionKey) -> bool {
        self.partition(key)
            .is_some_and(|partition| partition.state.borrow().is_full)
    }

    fn room(&self, key: &PartitionKey) -> impl Future<Output = ()> {
        let partition = self.partition(key);
        let server = self.clone();
        async move {
            let Some(partition) = partition else { return };
            let is_ours = || {
                let known = server.partition(&partition.key);
                known.is_some_and(|known| Rc::ptr_eq(&known, &partition))
            };
            while is_ours() && partition.state.borrow().is_full {
                partition.room.notified().await;
            }
        }
    }
}

/// One response on its way through.
struct Pass<'p> {
    plan: &'p KafkaGrpc,
    topic: &'p str,
    next_offset: i64,
    found: VecDeque<(i64, Asked)>,
}

impl BatchSink for Pass<'_> {
    fn push_batch(&mut self, header: &BatchHeader, inflated: &Bytes) -> Result<(), DecodeError> {
        let taken = self.found.len();
        for record in Records::new(header, inflated)? {
            let record = record.inspect_err(|_| self.found.truncate(taken))?;
            let offset = header.base_offset + i64::from(record.offset_delta);
            if offset >= self.next_offset {
                let asked = kafka_grpc::read(self.plan, self.topic, &record);
                self.found.push_back((offset, asked));
            }
        }
        self.skip_to(header.next_offset());
        Ok(())
    }

    fn skip_to(&mut self, next_offset: i64) {
        self.next_offset = self.next_offset.max(next_offset);
    }

    fn next_offset(&self) -> i64 {
        self.next_offset
    }
}
