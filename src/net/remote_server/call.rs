//! One call that was found in a request topic: looks whether it is over already, makes it, and writes what comes of it.
//!
//! ```text
//!  look ─┬─ closed ─▶ over
//!        └─ open ─▶ run ─┬─ the service ends it ─▶ replies stored ─▶ closing record stored ─▶ over
//!                    ▲   ├─ its deadline, or nobody waits any more ─▶ closing record ─▶ over
//!                    └───┴─ the service is down, replies cannot be stored: another run, a moment later
//! ```
//! Rule: what a run writes carries the run's own mark, so that nobody takes parts of two runs for one.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use uuid::Uuid;

use super::{Partition, RemoteServer};
use crate::clock::Instant;
use crate::grpc::status::{Code, Status};
use crate::kafka::client::Delivery;
use crate::kafka::correlation::{CorrelationId, Looked};
use crate::kafka::producer::{Acks, ProduceFault, Record, TopicId};
use crate::mapping::kafka_grpc::{ReplyRecords, RequestBody, RequestRecord, client_of};
use crate::net::grpc_client::{ClientCall, ClientStep, OutgoingCall};
use crate::runtime::deadline::Deadline;
use crate::runtime::notify::Notify;
use crate::runtime::{self};

/// Messages of one call that wait for the service.
const WAITING_MAX: usize = 64;
/// Bytes of them, and of those that are kept for another run.
const WAITING_BYTES_MAX: usize = 1 << 20;
/// Reply records of one call that are on their way at once.
const IN_FLIGHT_MAX: usize = 64;
/// Bytes of them.
const IN_FLIGHT_BYTES_MAX: usize = 1 << 20;
/// How long a reply record may take to be stored.
const STORE_TIMEOUT: Duration = Duration::from_secs(60);
/// The first and the longest wait before another run, or another look.
const RETRY_MIN: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(2);

/// A call as its partition knows it.
pub(super) struct Call {
    /// Where its first record lies.
    pub(super) first_offset: i64,
    waiting: RefCell<VecDeque<RequestBody>>,
    waiting_bytes: Cell<usize>,
    /// All of the caller's side has been read.
    pub(super) is_half_closed: Cell<bool>,
    is_cancelled: Cell<bool>,
    /// Somebody else has asked for it, too, and waits for its reply.
    pub(super) is_repeated: Cell<bool>,
    /// It has been open for so long that others wait for it.
    is_given_up: Cell<bool>,
    /// A message found no room and waits in the partition.
    has_refused: Cell<bool>,
    /// Which of those who may have asked for it its records are of.
    pub(super) caller: Option<Bytes>,
    /// The partition is somebody else's.
    is_revoked: Cell<bool>,
    /// When a message last went either way.
    active_at: Cell<Instant>,
    notify: Rc<Notify>,
}

impl Call {
    pub(super) fn new(first_offset: i64, caller: Option<Bytes>, now: Instant) -> Rc<Self> {
        Rc::new(Self {
            first_offset,
            waiting: RefCell::default(),
            waiting_bytes: Cell::new(0),
            is_half_closed: Cell::new(false),
            is_cancelled: Cell::new(false),
            is_repeated: Cell::new(false),
            is_given_up: Cell::new(false),
            has_refused: Cell::new(false),
            caller,
            is_revoked: Cell::new(false),
            active_at: Cell::new(now),
            notify: Rc::new(Notify::default()),
        })
    }

    /// Whether it can take a message. If not, its partition is told when it can take many.
    pub(super) fn has_room(&self) -> bool {
        let has_room = self.waiting.borrow().len() < WAITING_MAX
            && self.waiting_bytes.get() < WAITING_BYTES_MAX;
        self.has_refused.set(!has_room);
        has_room
    }

    /// Whether its partition is to be told that there is room.
    fn takes_more(&self) -> bool {
        let is_half_empty = self.waiting.borrow().len() <= WAITING_MAX / 2
            && self.waiting_bytes.get() <= WAITING_BYTES_MAX / 2;
        is_half_empty && self.has_refused.take()
    }

    /// Takes what a record adds to it.
    pub(super) fn push(&self, body: RequestBody, now: Instant) {
        self.active_at.set(now);
        match body {
            RequestBody::Cancelled => self.is_cancelled.set(true),
            RequestBody::HalfClose => {
                self.is_half_closed.set(true);
                self.waiting.borrow_mut().push_back(body);
            }
            RequestBody::Message(message) => {
                let bytes = self.waiting_bytes.get() + message.len();
                self.waiting_bytes.set(bytes);
                let body = RequestBody::Message(message);
                self.waiting.borrow_mut().push_back(body);
            }
        }
        self.notify.notify();
    }

    /// Others have waited for it long enough.
    pub(super) fn give_up(&self) {
        self.is_given_up.set(true);
        self.notify.notify();
    }

    /// The partition is somebody else's: nothing more is done.
    pub(super) fn revoke(&self) {
        self.is_revoked.set(true);
        self.notify.notify();
    }

    fn pop(&self) -> Option<RequestBody> {
        let body = self.waiting.borrow_mut().pop_front()?;
        if let RequestBody::Message(message) = &body {
            self.waiting_bytes
                .set(self.waiting_bytes.get() - message.len());
        }
        Some(body)
    }
}

/// How a run ended.
enum RunEnd {
    /// Its closing record is stored.
    Closed,
    /// It came to nothing.
    Again(Status),
    /// It is not ours any more.
    Revoked,
}

/// Sees to a call until it is over.
pub(super) async fn serve(
    server: RemoteServer,
    partition: Rc<Partition>,
    call: Rc<Call>,
    request: RequestRecord,
) {
    // Its first turn comes while its partition is being looked at.
    runtime::yield_now().await;
    let mut work = Work::new(server, partition, call, request);
    if work.is_to_be_run().await {
        let mut wait = RETRY_MIN;
        loop {
            match work.run().await {
                RunEnd::Closed | RunEnd::Revoked => break,
                RunEnd::Again(status) => {
                    let metrics = &work.server.inner.watch.metrics;
                    metrics.remote_retries.increment();
                    work.last_fault = Some(status);
                    work.is_spent = work.sent.is_none();
                }
            }
            work.pause(wait).await;
            wait = RETRY_MAX.min(2 * wait);
        }
    }
}

/// A call that is being seen to. Dropped, however that comes about, the call is over.
struct Work {
    server: RemoteServer,
    partition: Rc<Partition>,
    call: Rc<Call>,
    request: RequestRecord,
    /// When it has to be over, if its caller has said so.
    deadline: Option<Instant>,
    timer: Deadline,
    /// What was sent to the service, for another run; `None`: too much to keep.
    sent: Option<Vec<Bytes>>,
    sent_bytes: usize,
    has_sent_all: bool,
    /// It cannot be made again from its beginning: it can only be closed.
    is_spent: bool,
    last_fault: Option<Status>,
}

impl Drop for Work {
    fn drop(&mut self) {
        self.server
            .handle_over(&self.partition, &self.request.id, &self.call);
    }
}

impl Work {
    fn new(
        server: RemoteServer,
        partition: Rc<Partition>,
        call: Rc<Call>,
        request: RequestRecord,
    ) -> Self {
        let deadline = request.timeout.map(|timeout| {
            // What is left of it since the record was made, by a clock that may differ from the writer's.
            let age_ms = runtime::unix_now().0.saturating_sub(request.timestamp.0);
            let age = Duration::from_millis(u64::try_from(age_ms).unwrap_or(0));
            runtime::now() + timeout.saturating_sub(age)
        });
        let timer = server.inner.deadlines.deadline();
        Self {
            server,
            partition,
            call,
            request,
            deadline,
            timer,
            sent: Some(Vec::new()),
            sent_bytes: 0,
            has_sent_all: false,
            is_spent: false,
            last_fault: None,
        }
    }

    /// When it has to be over.
    fn ends_at(&self) -> Instant {
        let silent_at = self.call.active_at.get() + self.server.inner.plan.timeout;
        self.deadline.unwrap_or(silent_at)
    }

    /// Whether it is only to be closed.
    fn is_over_due(&self) -> bool {
        self.is_spent || self.ends_at() <= runtime::now()
    }

    /// Whether its reply is still to come. Asks until somebody knows.
    async fn is_to_be_run(&mut self) -> bool {
        let replies = self.server.inner.replies.clone();
        let plan = self.server.inner.plan.clone();
        let id = CorrelationId {
            header: replies.header_number(&plan.correlation.correlation_id),
            id: self.request.id.clone(),
        };
        let mut wait = RETRY_MIN;
        loop {
            let looking = replies.look(&self.request.reply_to, id.clone(), &self.call.notify);
            if let Ok(looking) = looking {
                let looked = std::future::poll_fn(|context| {
                    // Until it is down and the waker is with it.
                    while self.call.notify.poll_notified(context).is_ready() {}
                    if self.call.is_revoked.get() {
                        return Poll::Ready(None);
                    }
                    looking
                        .verdict()
                        .map_or(Poll::Pending, |looked| Poll::Ready(Some(looked)))
                });
                match looked.await {
                    None => return false,
                    Some(Looked::Known(known)) => {
                        return known.is_none_or(|known| known.closing.is_none());
                    }
                    Some(Looked::Unavailable | Looked::Overloaded) => {}
                }
            }
            self.pause(wait).await;
            if self.call.is_revoked.get() {
                return false;
            }
            wait = RETRY_MAX.min(2 * wait);
        }
    }

    /// Waits, unless there is nothing to wait for any more.
    async fn pause(&mut self, wait: Duration) {
        let (now, ends_at) = (runtime::now(), self.ends_at());
        // What is late already gains nothing by being tried without end.
        let until = now + wait;
        let until = if now < ends_at {
            until.min(ends_at)
        } else {
            until
        };
        let was_cancelled = self.call.is_cancelled.get();
        self.timer.set(until);
        let (call, timer) = (&self.call, &mut self.timer);
        std::future::poll_fn(|context| {
            while call.notify.poll_notified(context).is_ready() {}
            if call.is_revoked.get() || (call.is_cancelled.get() && !was_cancelled) {
                return Poll::Ready(());
            }
            timer.poll_expired(context, runtime::now())
        })
        .await;
    }

    /// Makes the call once.
    async fn run(&mut self) -> RunEnd {
        let server = self.server.clone();
        let inner = &server.inner;
        let Some(topic) = inner.client.produce_topic(&self.request.reply_to) else {
            let message = "the gateway writes to too many topics";
            return RunEnd::Again(Status::new(Code::UNAVAILABLE, message));
        };
        let attempt = Uuid::new_v4().simple().to_string();
        let records = ReplyRecords::new(
            &inner.plan.correlation,
            &self.request.id,
            Bytes::from(attempt),
        );
        let mut run = Run {
            outgoing: if self.is_over_due() {
                None
            } else {
                self.begin()
            },
            topic,
            records,
            in_flight: VecDeque::new(),
            in_flight_bytes: 0,
            is_ending: false,
            is_bare: false,
        };
        std::future::poll_fn(|context| self.poll_run(&mut run, context)).await
    }

    /// Calls the service; `None`: nobody takes the call.
    fn begin(&mut self) -> Option<ClientCall> {
        let inner = &self.server.inner;
        let route = inner.plan.routes.get(self.request.call.route)?;
        let client = client_of(route, &self.request.call)?;
        let upstream = inner.upstreams.get(client.number)?;
        let outgoing = OutgoingCall {
            scheme: route.scheme,
            authority: Bytes::copy_from_slice(route.authority.as_bytes()),
            service: &self.request.call.service,
            method: &self.request.call.method,
            metadata: &self.request.call.metadata,
            deadline: self.deadline.unwrap_or(Instant::FAR_FUTURE),
        };
        let mut outgoing = ClientCall::new(upstream, &outgoing, runtime::now());
        for message in self.sent.iter().flatten() {
            outgoing.send(message);
        }
        if self.has_sent_all {
            outgoing.finish();
        }
        Some(outgoing)
    }

    fn poll_run(&mut self, run: &mut Run, context: &mut Context<'_>) -> Poll<RunEnd> {
        // Until it is down and the waker is with it.
        while self.call.notify.poll_notified(context).is_ready() {}
        if self.call.is_revoked.get() {
            return Poll::Ready(RunEnd::Revoked);
        }
        if let Err(fault) = run.settle() {
            if let ProduceFault::TooLarge { .. } = fault
                && !run.is_bare
            {
                // Another run would not make it smaller.
                let message = "what the service says is larger than the reply topic takes";
                let status = Status::new(Code::RESOURCE_EXHAUSTED, message);
                run.in_flight.clear();
                run.records.begin(Vec::new());
                run.is_bare = true;
                self.end(run, &status, true);
            } else {
                let message = "the reply could not be stored";
                return Poll::Ready(RunEnd::Again(Status::new(Code::UNAVAILABLE, message)));
            }
        }
        if run.is_ending {
            return run.poll_closed();
        }
        let now = runtime::now();
        if self.call.is_cancelled.get() {
            let status = Status::new(Code::CANCELLED, "the caller has gone");
            self.end(run, &status, false);
            return run.poll_closed();
        }
        if self.call.is_given_up.get() {
            let message = "the call was open for so long that no others could be served";
            self.end(run, &Status::new(Code::ABORTED, message), false);
            return run.poll_closed();
        }
        // Before the service is asked: what it says when the time is over is not what kept it from answering.
        if self.is_over_due() {
            let message = "the service did not answer in time";
            let late = || Status::new(Code::DEADLINE_EXCEEDED, message);
            let status = self.last_fault.clone().unwrap_or_else(late);
            self.end(run, &status, false);
            return run.poll_closed();
        }
        if let Some(end) = self.poll_service(run, context, now) {
            return Poll::Ready(end);
        }
        if run.is_ending {
            return run.poll_closed();
        }
        self.timer.set(self.ends_at());
        if self.timer.poll_expired(context, now).is_ready() {
            context.waker().wake_by_ref();
        }
        Poll::Pending
    }

    /// Passes messages to the service and takes what it says.
    fn poll_service(
        &mut self,
        run: &mut Run,
        context: &mut Context<'_>,
        now: Instant,
    ) -> Option<RunEnd> {
        if run.outgoing.is_none() {
            let status = Status::new(Code::UNIMPLEMENTED, "no route of the grpc client takes it");
            self.end(run, &status, true);
            return None;
        }
        loop {
            self.pass_messages(run);
            if run.is_full() {
                // What is stored wakes us.
                return None;
            }
            let outgoing = run.outgoing.as_mut()?;
            match outgoing.poll(context) {
                ClientStep::Pending => {
                    let may_pass_more =
                        outgoing.wants_message() && !self.call.waiting.borrow().is_empty();
                    if may_pass_more {
                        continue;
                    }
                    return None;
                }
                ClientStep::Begin(metadata) => run.records.begin(metadata),
                ClientStep::Message(message) => {
                    self.call.active_at.set(now);
                    let record = run.records.message(message);
                    self.store(run, record);
                }
                ClientStep::End(status, trailers) => {
                    let is_broken = outgoing.is_broken();
                    if outgoing.may_be_repeated() && self.sent.is_some() && now < self.ends_at() {
                        return Some(RunEnd::Again(status));
                    }
                    let record = run.records.end(&status, &trailers, !is_broken);
                    self.close(run, &status, record);
                    return None;
                }
            }
        }
    }

    fn pass_messages(&mut self, run: &mut Run) {
        let Some(outgoing) = &mut run.outgoing else {
            return;
        };
        let mut has_passed = false;
        while outgoing.wants_message() {
            match self.call.pop() {
                Some(RequestBody::Message(message)) => {
                    outgoing.send(&message);
                    self.sent_bytes += message.len();
                    match &mut self.sent {
                        Some(sent) if self.sent_bytes <= WAITING_BYTES_MAX => sent.push(message),
                        _ => self.sent = None,
                    }
                }
                Some(RequestBody::HalfClose) => {
                    self.has_sent_all = true;
                    outgoing.finish();
                }
                Some(RequestBody::Cancelled) => {}
                None => break,
            }
            has_passed = true;
        }
        if has_passed && self.call.takes_more() {
            self.server.handle_room(&self.partition);
        }
    }

    /// Closes the call for the service.
    fn end(&self, run: &mut Run, status: &Status, is_served: bool) {
        let record = run.records.end(status, &Vec::new(), is_served);
        self.close(run, status, record);
    }

    fn close(&self, run: &mut Run, status: &Status, record: Record) {
        let metrics = &self.server.inner.watch.metrics;
        metrics.remote_calls.increment(status.code);
        run.close();
        self.store(run, record);
    }

    fn store(&self, run: &mut Run, record: Record) {
        let inner = &self.server.inner;
        let (now, bytes) = (runtime::now(), record.size_max());
        let delivery = Delivery::new(self.call.notify.clone());
        let acks = Acks::from(inner.plan.acks);
        inner.client.produce(
            run.topic,
            acks,
            record,
            delivery.clone(),
            now,
            now + STORE_TIMEOUT,
        );
        run.in_flight_bytes += bytes;
        run.in_flight.push_back((delivery, bytes));
    }
}

/// One run of a call.
struct Run {
    outgoing: Option<ClientCall>,
    topic: TopicId,
    records: ReplyRecords,
    in_flight: VecDeque<(Rc<Delivery>, usize)>,
    in_flight_bytes: usize,
    /// The closing record is on its way.
    is_ending: bool,
    /// It says nothing of what the service has said.
    is_bare: bool,
}

impl Run {
    /// Takes in what became of records that were on their way, in their order.
    fn settle(&mut self) -> Result<(), ProduceFault> {
        while let Some((delivery, bytes)) = self.in_flight.front() {
            match delivery.outcome() {
                None => break,
                Some(Ok(_)) => self.in_flight_bytes -= bytes,
                Some(Err(fault)) => return Err(fault),
            }
            self.in_flight.pop_front();
        }
        Ok(())
    }

    fn is_full(&self) -> bool {
        self.in_flight.len() >= IN_FLIGHT_MAX || self.in_flight_bytes >= IN_FLIGHT_BYTES_MAX
    }

    /// Nothing more is wanted of the service.
    fn close(&mut self) {
        self.is_ending = true;
        if let Some(mut outgoing) = self.outgoing.take() {
            outgoing.cancel();
        }
    }

    fn poll_closed(&self) -> Poll<RunEnd> {
        if self.in_flight.is_empty() {
            Poll::Ready(RunEnd::Closed)
        } else {
            Poll::Pending
        }
    }
}
