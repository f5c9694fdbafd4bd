//! What becomes of a record: the broker's answers, and the one place that decides between "again", "stored", "refused" and "nobody knows".

use kafka_protocol::protocol::StrBytes;

use super::accumulator::{Accumulator, EpochBump};
use super::{AccumulatorId, Batch, ErrorCode, Instant, Producer, TopicId};

/// The acknowledgement a route asks for (`with.acks`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Acks {
    /// None: stored or not, nobody asks (Kafka's `acks=0`).
    None,
    /// The leader's (`acks=1`): lost if the leader dies before it is copied.
    LeaderOnly,
    /// All in-sync replicas' (`acks=all`), idempotent.
    #[default]
    InSyncReplicas,
}

impl Acks {
    /// The value of the produce request's field.
    pub const fn as_wire(self) -> i16 {
        match self {
            Self::None => 0,
            Self::LeaderOnly => 1,
            Self::InSyncReplicas => -1,
        }
    }
}

/// Where a record was stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack {
    /// The partition.
    pub partition: i32,
    /// The offset; not known with acks none, or when the broker only says that it has the batch already.
    pub offset: Option<i64>,
}

/// Why nothing could be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unavailable {
    /// The leader, or the whole cluster, cannot be reached.
    Unreachable,
    /// The broker's own reason.
    Broker(ErrorCode),
    /// The record's deadline came while it was still waiting to be sent.
    Deadline,
}

/// Why a record was not acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProduceFault {
    /// Too much is waiting already; nothing was kept.
    Overloaded {
        /// Bytes waiting.
        queued: usize,
        /// The bound.
        queued_max: usize,
    },
    /// Larger than the topic takes.
    TooLarge {
        /// The largest batch.
        batch_bytes_max: usize,
    },
    /// Certainly not stored: it was never sent, or every attempt was refused.
    Unavailable(Unavailable),
    /// It was sent and no answer came in time: stored, or not, or still to be stored.
    OutcomeUnknown,
    /// The broker refuses it for good.
    Rejected(ErrorCode),
}

/// What the producer has to say.
#[derive(Debug, PartialEq, Eq)]
pub enum Output<T> {
    /// A batch is stored: whoever reads the partition has to see it up to `next_offset`. Comes before its records' outcomes.
    Acked {
        /// The topic.
        topic: StrBytes,
        /// The partition.
        partition: i32,
        /// One past the batch's last offset.
        next_offset: i64,
    },
    /// A record's outcome, exactly one for each.
    Completed {
        /// What [`Producer::submit`] was given.
        token: T,
        /// Stored, or why not.
        result: Result<Ack, ProduceFault>,
    },
}

/// A broker's answer for one partition.
#[derive(Clone, Debug)]
pub struct PartitionOutcome {
    /// The topic.
    pub topic: StrBytes,
    /// The partition.
    pub partition: i32,
    /// What went wrong, if anything.
    pub error: ErrorCode,
    /// The offset of the batch's first record, -1 when not known.
    pub base_offset: i64,
}

/// Whether the batch may be stored in spite of the error. With acks all the leader appends first and then waits for its replicas; one that loses the partition
/// while it waits says so with a code that before the append, and with other acks, means that nothing was stored.
fn may_be_stored(acks: Acks, error: ErrorCode) -> bool {
    let lost_partition = matches!(
        error,
        ErrorCode::NOT_LEADER_OR_FOLLOWER | ErrorCode::UNKNOWN_TOPIC_OR_PARTITION
    );
    error.leaves_outcome_unknown() || (lost_partition && acks == Acks::InSyncReplicas)
}

impl<T> Producer<T> {
    /// Decides on the front batch by the broker's answer.
    pub(super) fn settle(
        &mut self,
        id: AccumulatorId,
        error: ErrorCode,
        base_offset: i64,
        now: Instant,
    ) {
        let accumulator = &mut self.accumulators[id];
        let Some(maybe_stored) = accumulator.batches.front().map(|front| front.maybe_stored) else {
            return;
        };
        match error {
            ErrorCode::NONE | ErrorCode::DUPLICATE_SEQUENCE_NUMBER => self.stored(id, base_offset),
            // A refusal speaks of this attempt only. Had an earlier one been stored, another copy, under new sequences or in parts, would be stored a second time.
            error if maybe_stored && !error.is_retriable() => {
                self.drop_front(id, ProduceFault::OutcomeUnknown);
            }
            ErrorCode::MESSAGE_TOO_LARGE | ErrorCode::RECORD_LIST_TOO_LARGE => {
                if !accumulator.split_front() {
                    let batch_bytes_max = self.topics[accumulator.topic.0].batch_bytes_max;
                    self.drop_front(id, ProduceFault::TooLarge { batch_bytes_max });
                }
            }
            // One bad record spoils its batch: halve it until the bad one is alone.
            ErrorCode::INVALID_RECORD if accumulator.split_front() => {}
            ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER
            | ErrorCode::UNKNOWN_PRODUCER_ID
            | ErrorCode::INVALID_PRODUCER_EPOCH => {
                accumulator.back_off(now, &self.limits);
                self.bump_epoch(id);
            }
            error if error.is_retriable() => {
                let (topic, acks) = (accumulator.topic, accumulator.acks);
                if error.means_stale_metadata() {
                    self.ask_for(topic);
                }
                self.again(id, may_be_stored(acks, error), now);
            }
            error => self.drop_front(id, ProduceFault::Rejected(error)),
        }
    }

    /// The front batch was on the wire when the connection broke.
    pub(super) fn lost(&mut self, id: AccumulatorId, now: Instant) {
        self.ask_for(self.accumulators[id].topic);
        self.again(id, true, now);
    }

    fn again(&mut self, id: AccumulatorId, maybe_stored: bool, now: Instant) {
        let accumulator = &mut self.accumulators[id];
        let Some(front) = accumulator.batches.front_mut() else {
            return;
        };
        front.maybe_stored |= maybe_stored;
        if front.maybe_stored && accumulator.acks != Acks::InSyncReplicas {
            // Without sequences the broker cannot tell a second copy: say that we do not know rather than store it twice.
            return self.drop_front(id, ProduceFault::OutcomeUnknown);
        }
        accumulator.back_off(now, &self.limits);
    }

    /// The front batch is settled, one way or the other: the next one starts without waiting.
    fn take_front(&mut self, id: AccumulatorId) -> Option<Batch<T>> {
        let accumulator = &mut self.accumulators[id];
        let batch = accumulator.batches.pop_front()?;
        accumulator.attempts = 0;
        accumulator.retry_at = Instant::ZERO;
        self.queued_bytes -= batch.charged;
        Some(batch)
    }

    fn stored(&mut self, id: AccumulatorId, base_offset: i64) {
        let Some(batch) = self.take_front(id) else {
            return;
        };
        let Accumulator {
            topic, partition, ..
        } = self.accumulators[id];
        if base_offset >= 0 {
            let topic = self.topics[topic.0].name.clone();
            let next_offset = base_offset.saturating_add_unsigned(batch.waiters.len() as u64);
            self.outputs.push_back(Output::Acked {
                topic,
                partition,
                next_offset,
            });
        }
        for (index, waiter) in batch.waiters.into_iter().enumerate() {
            if let Some((token, _)) = waiter {
                let offset =
                    (base_offset >= 0).then(|| base_offset.saturating_add_unsigned(index as u64));
                self.outputs.push_back(Output::Completed {
                    token,
                    result: Ok(Ack { partition, offset }),
                });
            }
        }
    }

    /// Gives the front batch up. Its sequences may or may not be used, so the partition goes on with a new epoch, which also keeps a late copy of it out.
    fn drop_front(&mut self, id: AccumulatorId, fault: ProduceFault) {
        let Some(batch) = self.take_front(id) else {
            return;
        };
        self.tell(batch, fault);
        self.bump_epoch(id);
    }

    fn tell(&mut self, batch: Batch<T>, fault: ProduceFault) {
        let tokens = batch.waiters.into_iter().flatten();
        self.outputs
            .extend(tokens.map(|(token, _)| Output::Completed {
                token,
                result: Err(fault),
            }));
    }

    /// Goes on under the next epoch; a partition that has used up its epochs waits for a new producer id.
    fn bump_epoch(&mut self, id: AccumulatorId) {
        if self.accumulators[id].bump_epoch() == EpochBump::Exhausted {
            self.identity = None;
            self.identity_wanted = true;
        }
    }

    /// Tells waiters whose deadline has passed: unsent records leave, sent ones go on without their waiter.
    pub(super) fn expire_records(&mut self, id: AccumulatorId, now: Instant) {
        self.abandon_batches(id, now);
        let accumulator = &mut self.accumulators[id];
        let mut earliest = Instant::FAR_FUTURE;
        let mut expired = Vec::new();
        for batch in &mut accumulator.batches {
            for waiter in &mut batch.waiters {
                match waiter {
                    Some((_, deadline)) if *deadline <= now => expired.extend(
                        waiter
                            .take()
                            .map(|(token, _)| (token, ProduceFault::OutcomeUnknown)),
                    ),
                    Some((_, deadline)) => earliest = earliest.min(*deadline),
                    None => {}
                }
            }
        }
        let mut left = std::collections::VecDeque::with_capacity(accumulator.queue.len());
        let mut freed = 0;
        for queued in accumulator.queue.drain(..) {
            if queued.deadline <= now {
                freed += queued.bytes;
                expired.push((
                    queued.token,
                    ProduceFault::Unavailable(Unavailable::Deadline),
                ));
            } else {
                earliest = earliest.min(queued.deadline);
                left.push_back(queued);
            }
        }
        accumulator.queue = left;
        accumulator.earliest_deadline = earliest;
        self.queued_bytes -= freed;
        self.outputs
            .extend(expired.into_iter().map(|(token, fault)| Output::Completed {
                token,
                result: Err(fault),
            }));
    }

    /// Refuses batches that are certainly not stored and for which nobody waits beyond `now`; dropped here, they never will be stored.
    fn abandon_batches(&mut self, id: AccumulatorId, now: Instant) {
        let is_over = |batch: &Batch<T>| {
            batch
                .waiters
                .iter()
                .flatten()
                .all(|(_, deadline)| *deadline <= now)
        };
        while self.accumulators[id].is_front_unsent()
            && self.accumulators[id].batches.front().is_some_and(is_over)
        {
            self.drop_front(id, ProduceFault::Unavailable(Unavailable::Deadline));
        }
    }

    /// Refuses all unsent records of the partition.
    pub(super) fn refuse_queue(&mut self, id: AccumulatorId, reason: Unavailable) {
        let queue = std::mem::take(&mut self.accumulators[id].queue);
        for queued in queue {
            self.queued_bytes -= queued.bytes;
            self.outputs.push_back(Output::Completed {
                token: queued.token,
                result: Err(ProduceFault::Unavailable(reason)),
            });
        }
    }

    /// Gives up a batch that is past its delivery timeout and not on the wire right now.
    pub(super) fn expire_batch(&mut self, id: AccumulatorId, now: Instant) {
        let overdue = self.accumulators[id].is_overdue(now, self.limits.delivery_timeout);
        if overdue && !self.accumulators[id].on_wire {
            let unsent = self.accumulators[id].is_front_unsent();
            let fault = if unsent {
                ProduceFault::Unavailable(Unavailable::Deadline)
            } else {
                ProduceFault::OutcomeUnknown
            };
            self.drop_front(id, fault);
        }
    }

    /// Ends records that wait for a topic nobody knows.
    pub(super) fn expire_waiting(&mut self, id: TopicId, now: Instant) {
        let topic = &mut self.topics[id.0];
        if topic.waiting.is_empty() {
            return;
        }
        let since = *topic.unknown_since.get_or_insert(now);
        if now.saturating_duration_since(since) >= self.limits.unavailable_grace {
            let reason = topic
                .last_error
                .map_or(Unavailable::Unreachable, Unavailable::Broker);
            return self.refuse_waiting(id, ProduceFault::Unavailable(reason));
        }
        let mut left = std::collections::VecDeque::new();
        for (acks, queued) in std::mem::take(&mut topic.waiting) {
            if queued.deadline <= now {
                self.queued_bytes -= queued.bytes;
                let result = Err(ProduceFault::Unavailable(Unavailable::Deadline));
                self.outputs.push_back(Output::Completed {
                    token: queued.token,
                    result,
                });
            } else {
                left.push_back((acks, queued));
            }
        }
        self.topics[id.0].waiting = left;
    }

    pub(super) fn refuse_waiting(&mut self, id: TopicId, fault: ProduceFault) {
        for (_, queued) in std::mem::take(&mut self.topics[id.0].waiting) {
            self.queued_bytes -= queued.bytes;
            self.outputs.push_back(Output::Completed {
                token: queued.token,
                result: Err(fault),
            });
        }
    }
}
