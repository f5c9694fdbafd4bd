//! One core's replies, as `kafka/replies` has them: the exchanges whose ids are its own, the reply partitions it looks through, what waits for other cores.
//!
//! Sits under the core. Its one rule: between two cores messages keep their order, and none but a new request is ever refused.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;

use super::core::Core;
use super::lookup::{EndsOutcome, EndsTask};
use super::message::{Message, Submit, Token};
use super::{CORRELATION, OUTBOX_PAUSE, REPLIES, REQUESTS, Shared};
use crate::clock::Instant;
use crate::kafka::correlation::{
    CorrelationId, Limits, ReplyScan, SeenReply, Shard, ShardOutput, Verdict, Waiter,
};
use crate::kafka::fetcher::FetchedPartition;
use crate::kafka::producer::{Acks, ProduceFault, Record};
use crate::runtime::placement::{CoreId, id_owner, partition_owner};
use crate::sim::checker::Submission;
use crate::sim::event::EndpointEvent;
use crate::sim::shell::Write;
use crate::sim::workload;

/// The replies on one core.
#[derive(Debug)]
pub(super) struct Replies {
    pub(super) shard: Shard<Token, Record>,
    names: Arc<[Bytes]>,
    scans: BTreeMap<i32, ReplyScan>,
    ends: Option<EndsTask>,
    /// What waits for each other core, by its index.
    outboxes: Vec<VecDeque<Message>>,
    /// Partitions whose owner was told to look through them.
    followed: usize,
}

impl Replies {
    pub(super) fn new(cores: usize, limits: Limits) -> Self {
        Self {
            shard: Shard::new(limits),
            names: [Bytes::from_static(CORRELATION)].into(),
            scans: BTreeMap::new(),
            ends: None,
            outboxes: (0..cores).map(|_| VecDeque::new()).collect(),
            followed: 0,
        }
    }

    /// Where a partition is to be read on.
    pub(super) fn next_offset(&self, partition: i32) -> i64 {
        self.scans.get(&partition).map_or(0, ReplyScan::next_offset)
    }

    /// The longest of the queues of what waits.
    pub(super) fn outbox_len(&self) -> usize {
        self.outboxes.iter().map(VecDeque::len).max().unwrap_or(0)
    }

    pub(super) const fn names(&self) -> &Arc<[Bytes]> {
        &self.names
    }
}

impl Core {
    /// `run_topic`: has every partition of the reply topic looked through by its owner. True when all are.
    pub(super) fn open_replies(&mut self, shared: &mut Shared) -> bool {
        let count = self.shell.leaders(REPLIES).len();
        for partition in self.replies.followed..count {
            let partition = i32::try_from(partition).unwrap_or(i32::MAX);
            let owner = partition_owner(REPLIES, partition, self.cores);
            self.send_or_keep(owner, Message::Follow { partition }, shared);
        }
        self.replies.followed = self.replies.followed.max(count);
        if count == 0 {
            self.shell.want(REPLIES, &mut shared.fabric);
        }
        count > 0
    }

    /// The core of an id.
    pub(super) fn owner_of(&self, id: &CorrelationId) -> CoreId {
        id_owner(&id.id, self.cores)
    }

    /// Sends a message, behind those that wait already.
    pub(super) fn send_or_keep(&mut self, to: CoreId, message: Message, shared: &mut Shared) {
        if to == self.index {
            return self.handle_message(message, shared);
        }
        let number = self.number_of(to);
        let Some(outbox) = self.replies.outboxes.get_mut(to.0) else {
            return;
        };
        let refused = if outbox.is_empty() {
            let sent = shared.mailboxes.send(number, message, &mut shared.fabric);
            sent.err()
        } else {
            Some(message)
        };
        if let Some(message) = refused {
            outbox.push_back(message);
            self.resend_soon(shared);
        }
    }

    /// Sends a message, or gives it back when it would have to wait.
    pub(super) fn try_send(
        &mut self,
        to: CoreId,
        message: Message,
        shared: &mut Shared,
    ) -> Result<(), Message> {
        if to == self.index {
            self.handle_message(message, shared);
            return Ok(());
        }
        let is_free = self
            .replies
            .outboxes
            .get(to.0)
            .is_some_and(VecDeque::is_empty);
        if is_free {
            let number = self.number_of(to);
            shared.mailboxes.send(number, message, &mut shared.fabric)
        } else {
            Err(message)
        }
    }

    /// Whether so much waits for some core that no more should be made.
    pub(super) fn is_congested(&self, shared: &mut Shared) -> bool {
        let is_congested = self.replies.outbox_len() >= OUTBOX_PAUSE;
        shared.truth.summary.pauses += u64::from(is_congested);
        is_congested
    }

    /// Sends what waits; says whether something is left.
    pub(super) fn resend_replies(&mut self, shared: &mut Shared) -> bool {
        let mut is_left = false;
        let first = self.number_of(CoreId(0));
        for (index, outbox) in self.replies.outboxes.iter_mut().enumerate() {
            while let Some(message) = outbox.pop_front() {
                let sent = shared
                    .mailboxes
                    .send(first + index, message, &mut shared.fabric);
                if let Err(message) = sent {
                    outbox.push_front(message);
                    is_left = true;
                    break;
                }
            }
        }
        is_left
    }

    pub(super) fn submit_here(&mut self, submit: Submit, shared: &mut Shared) {
        let Submit {
            id,
            is_ours,
            record,
            waiter,
        } = submit;
        let token = waiter.token;
        shared.truth.joined(self.process, &id, token);
        let result = self.replies.shard.submit(id, is_ours, record, waiter);
        if result.is_err() {
            shared.truth.left(self.process, token);
            return self.tell(token, Verdict::Overloaded, shared);
        }
        self.drain_shard(shared);
    }

    pub(super) fn watch_here(
        &mut self,
        id: CorrelationId,
        waiter: Waiter<Token>,
        shared: &mut Shared,
    ) {
        let token = waiter.token;
        if self.replies.shard.watch(id, waiter).is_err() {
            return self.tell(token, Verdict::Overloaded, shared);
        }
        self.drain_shard(shared);
    }

    pub(super) fn cancel_here(&mut self, id: &CorrelationId, token: Token, shared: &mut Shared) {
        shared.truth.left(self.process, token);
        self.replies.shard.cancel(id, &token);
        self.drain_shard(shared);
    }

    pub(super) fn take_indexed(
        &mut self,
        partition: i32,
        is_reset: bool,
        replies: Vec<SeenReply>,
        next_offset: i64,
        shared: &mut Shared,
    ) {
        self.replies
            .shard
            .handle_indexed(partition, is_reset, replies, next_offset);
        self.drain_shard(shared);
    }

    fn tell(&mut self, token: Token, verdict: Verdict, shared: &mut Shared) {
        let slot = token.slot;
        self.send_or_keep(token.core, Message::Told { slot, verdict }, shared);
    }

    /// Does what the shard asks for.
    pub(super) fn drain_shard(&mut self, shared: &mut Shared) {
        while let Some(output) = self.replies.shard.poll_output() {
            match output {
                ShardOutput::Tell { token, verdict } => {
                    shared.truth.left(self.process, token);
                    self.tell(token, verdict, shared);
                }
                ShardOutput::Produce {
                    id,
                    request,
                    deadline,
                } => self.produce_request(id, request, deadline, shared),
                ShardOutput::LookUpEnds => {
                    if self.replies.ends.is_some() {
                        let process = self.process;
                        shared.truth.fail(format_args!(
                            "process {process} looks up the ends twice at a time"
                        ));
                    }
                    let task = EndsTask::begin(REPLIES, &mut self.shell, &mut shared.fabric);
                    self.replies.ends = Some(task);
                }
                ShardOutput::Pass { .. } | ShardOutput::Looked { .. } => {
                    let process = self.process;
                    shared.truth.fail(format_args!(
                        "process {process} tells somebody who neither listens nor looks"
                    ));
                }
            }
        }
    }

    fn produce_request(
        &mut self,
        id: CorrelationId,
        record: Record,
        deadline: Instant,
        shared: &mut Shared,
    ) {
        shared.truth.produces(self.process, &id, &shared.fabric);
        let token = self.produce(REQUESTS, record, deadline, shared);
        shared.truth.requests.insert(token, id.id.clone());
        self.requests_in_flight.insert(token, id);
    }

    /// The producer has an outcome for a request.
    pub(super) fn request_stored(
        &mut self,
        id: &CorrelationId,
        result: Result<(), ProduceFault>,
        shared: &mut Shared,
    ) {
        let now = shared.fabric.now();
        shared.truth.stored(self.process, id, result, now);
        self.replies.shard.handle_stored(id, result, now);
        self.drain_shard(shared);
    }

    /// Something happened on the way to where the reply topic ends.
    pub(super) fn handle_ends(&mut self, broker: i32, event: EndpointEvent, shared: &mut Shared) {
        let Some(task) = &mut self.replies.ends else {
            return;
        };
        let ends = match task.handle(broker, event, &mut self.shell, &mut shared.fabric) {
            EndsOutcome::Pending => return,
            EndsOutcome::Known(ends) => Some(ends),
            EndsOutcome::Unknown => None,
        };
        self.replies.ends = None;
        self.replies.shard.handle_ends(ends.as_deref());
        self.drain_shard(shared);
    }

    /// Looks through what was fetched of a reply partition, and tells every core what was seen for it.
    pub(super) fn scan_fetched(
        &mut self,
        partition: i32,
        fetched: &FetchedPartition,
        shared: &mut Shared,
    ) {
        let names = &self.replies.names;
        let new = || ReplyScan::new(partition, 0, names.clone());
        let scan = self.replies.scans.entry(partition).or_insert_with(new);
        let scanned = scan.ingest(fetched);
        let next_offset = scan.next_offset();
        if scanned.broken.is_some() || !scanned.unreadable.is_empty() {
            shared
                .truth
                .fail(format_args!("replies cannot be read: {scanned:?}"));
        }
        let mut by_core: Vec<Vec<SeenReply>> = vec![Vec::new(); self.cores];
        for seen in scanned.replies {
            let owner = self.owner_of(&seen.id);
            by_core[owner.0].push(seen);
        }
        for (core, replies) in by_core.into_iter().enumerate() {
            let message = Message::Indexed {
                partition,
                is_reset: false,
                replies,
                next_offset,
            };
            self.send_or_keep(CoreId(core), message, shared);
        }
    }

    /// A record on its way to Kafka; gives its token.
    pub(super) fn produce(
        &mut self,
        topic: &'static str,
        mut record: Record,
        deadline: Instant,
        shared: &mut Shared,
    ) -> u64 {
        let token = shared.checker.next_token();
        let name = Bytes::from_static(workload::TOKEN_HEADER);
        let value = workload::value(token, false, 0);
        record.headers.push((name, Some(value)));
        shared.checker.submitted(Submission {
            core: self.number,
            topic,
            key: record.key.clone(),
            acks: Acks::InSyncReplicas,
            // A look-up may have taken longer than whoever asked could wait.
            deadline: deadline.max(shared.fabric.now()),
        });
        let write = Write {
            topic,
            acks: Acks::InSyncReplicas,
            record,
            token,
            deadline,
        };
        self.unfinished.insert(token);
        self.shell
            .produce(write, &mut shared.checker, &mut shared.fabric);
        token
    }
}
