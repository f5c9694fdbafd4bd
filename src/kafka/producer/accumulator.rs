//! What waits for one partition with one kind of acknowledgement: unsent records, and batches in the order in which they must be stored.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::{Acks, Limits, Record, TopicId};
use crate::clock::{Instant, UnixMillis};
use crate::kafka::record_batch::{self, BATCH_OVERHEAD_BYTES, BatchBuilder};

/// A record that was not sent yet.
#[derive(Debug)]
pub(super) struct Queued<T> {
    pub(super) record: Record,
    pub(super) token: T,
    pub(super) deadline: Instant,
    pub(super) bytes: usize,
}

/// Who waits for a record of a batch, until when; taken when told.
pub(super) type Waiter<T> = Option<(T, Instant)>;

/// An encoded batch. It keeps its sequence for as long as it is sent again.
#[derive(Debug)]
pub(super) struct Batch<T> {
    pub(super) bytes: Bytes,
    pub(super) waiters: Vec<Waiter<T>>,
    /// What its records were charged with.
    pub(super) charged: usize,
    pub(super) created: Instant,
    /// An attempt ended without a clear answer. Such a batch is never split and never given other sequences: the broker knows it by them.
    pub(super) maybe_stored: bool,
    pub(super) has_null_key: bool,
}

/// Whether a producer id has epochs left: there are 32,767.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EpochBump {
    Done,
    Exhausted,
}

#[derive(Debug)]
pub(super) struct Accumulator<T> {
    pub(super) topic: TopicId,
    pub(super) partition: i32,
    pub(super) acks: Acks,
    pub(super) queue: VecDeque<Queued<T>>,
    /// The front one is sent first; more than one only after a split.
    pub(super) batches: VecDeque<Batch<T>>,
    /// Producer id and epoch of this partition's batches.
    pub(super) identity: Option<(i64, i16)>,
    pub(super) next_sequence: i32,
    pub(super) retry_at: Instant,
    pub(super) attempts: u32,
    /// The lane it is listed in.
    pub(super) listed_at: Option<i32>,
    /// The front batch is in a request that has no answer yet.
    pub(super) on_wire: bool,
    pub(super) leaderless_since: Option<Instant>,
    /// No waiter's deadline is before this.
    pub(super) earliest_deadline: Instant,
}

/// The sequence that follows `count` records which start at `sequence`.
fn sequence_after(sequence: i32, count: usize) -> i32 {
    record_batch::sequence_after(sequence, i32::try_from(count).unwrap_or(i32::MAX))
}

/// How many records an encoded batch of ours holds.
fn record_count(batch: &Bytes) -> usize {
    record_batch::Batch::parse(batch.clone()).map_or(0, |batch| {
        usize::try_from(batch.header.record_count).unwrap_or(0)
    })
}

/// A copy of `batch` under another producer id, epoch and sequence. The records stay as they are.
fn with_producer(batch: &Bytes, (producer_id, epoch): (i64, i16), sequence: i32) -> Bytes {
    let mut copy = BytesMut::from(&batch[..]);
    record_batch::rewrite_producer(&mut copy, producer_id, epoch, sequence);
    copy.freeze()
}

impl<T> Accumulator<T> {
    pub(super) fn new(topic: TopicId, partition: i32, acks: Acks) -> Self {
        Self {
            topic,
            partition,
            acks,
            queue: VecDeque::new(),
            batches: VecDeque::new(),
            identity: None,
            next_sequence: 0,
            retry_at: Instant::ZERO,
            attempts: 0,
            listed_at: None,
            on_wire: false,
            leaderless_since: None,
            earliest_deadline: Instant::FAR_FUTURE,
        }
    }

    pub(super) fn push(&mut self, queued: Queued<T>) {
        self.earliest_deadline = self.earliest_deadline.min(queued.deadline);
        self.queue.push_back(queued);
    }

    pub(super) fn has_work(&self) -> bool {
        !self.queue.is_empty() || !self.batches.is_empty()
    }

    /// Doubles the wait before the next attempt.
    pub(super) fn back_off(&mut self, now: Instant, limits: &Limits) {
        let wait = limits
            .backoff_min
            .saturating_mul(1 << self.attempts.min(16))
            .min(limits.backoff_max);
        // Partitions of one broker must not all come back in the same instant; the partition number is jitter enough.
        let jitter = wait.mul_f64(f64::from(self.partition.unsigned_abs() % 8) / 32.0);
        self.attempts += 1;
        self.retry_at = now + wait + jitter;
    }

    /// Encodes what is queued, up to `batch_bytes_max`, at least one record.
    pub(super) fn build(
        &mut self,
        builder: &mut BatchBuilder,
        batch_bytes_max: usize,
        now: Instant,
        timestamp: UnixMillis,
    ) -> Option<Batch<T>> {
        let mut waiters = Vec::with_capacity(self.queue.len());
        let (mut bytes, mut charged, mut has_null_key) = (BATCH_OVERHEAD_BYTES, 0, false);
        while let Some(next) = self.queue.front() {
            if !waiters.is_empty() && bytes + next.bytes > batch_bytes_max {
                break;
            }
            bytes += next.bytes;
            let Some(queued) = self.queue.pop_front() else {
                break;
            };
            let Queued {
                record,
                token,
                deadline,
                bytes,
            } = queued;
            let headers = record
                .headers
                .iter()
                .map(|(name, value)| (&name[..], value.as_deref()));
            builder.append(
                timestamp,
                record.key.as_deref(),
                record.value.as_deref(),
                headers,
            );
            has_null_key |= record.key.is_none();
            charged += bytes;
            waiters.push(Some((token, deadline)));
        }
        if waiters.is_empty() {
            return None;
        }
        let (producer_id, epoch, sequence) = match (self.acks, self.identity) {
            (Acks::InSyncReplicas, Some((id, epoch))) => (id, epoch, self.next_sequence),
            _ => (-1, -1, -1),
        };
        let encoded = builder.finish(producer_id, epoch, sequence).freeze();
        self.next_sequence = sequence_after(self.next_sequence, waiters.len());
        Some(Batch {
            bytes: encoded,
            waiters,
            charged,
            created: now,
            maybe_stored: false,
            has_null_key,
        })
    }

    /// Whether the front batch is certainly not stored: no attempt under way, none that ended without a clear answer.
    pub(super) fn is_front_unsent(&self) -> bool {
        !self.on_wire
            && self
                .batches
                .front()
                .is_some_and(|front| !front.maybe_stored)
    }

    /// Splits the front batch in two, the sequences following each other; false when it holds one record.
    pub(super) fn split_front(&mut self) -> bool {
        let Some(batch) = self.batches.front() else {
            return false;
        };
        let Some((first, second)) = record_batch::split(&batch.bytes) else {
            return false;
        };
        let Some(mut batch) = self.batches.pop_front() else {
            return false;
        };
        let first_count = record_count(&first).min(batch.waiters.len());
        let rest = batch.waiters.split_off(first_count);
        let rest_charged = batch.charged / 2;
        let second = Batch {
            bytes: second,
            waiters: rest,
            charged: rest_charged,
            ..batch_times(&batch)
        };
        batch.bytes = first;
        batch.charged -= rest_charged;
        self.batches.push_front(second);
        self.batches.push_front(batch);
        true
    }

    /// Starts over with the next epoch and sequence zero, for whatever is still to be sent (KIP-360).
    pub(super) fn bump_epoch(&mut self) -> EpochBump {
        let Some((producer_id, epoch)) = self.identity.take() else {
            return EpochBump::Done;
        };
        let Some(epoch) = epoch.checked_add(1) else {
            return EpochBump::Exhausted;
        };
        self.adopt_identity((producer_id, epoch));
        EpochBump::Done
    }

    /// Goes on under another producer id or epoch: sequences start at zero, batches that are encoded already are given theirs.
    pub(super) fn adopt_identity(&mut self, identity: (i64, i16)) {
        self.identity = Some(identity);
        let mut sequence = 0;
        for batch in &mut self.batches {
            batch.bytes = with_producer(&batch.bytes, identity, sequence);
            sequence = sequence_after(sequence, batch.waiters.len());
        }
        self.next_sequence = sequence;
    }

    /// The delivery timeout of the front batch has passed.
    pub(super) fn is_overdue(&self, now: Instant, delivery_timeout: Duration) -> bool {
        self.batches
            .front()
            .is_some_and(|batch| now.saturating_duration_since(batch.created) >= delivery_timeout)
    }
}

fn batch_times<T>(batch: &Batch<T>) -> Batch<T> {
    Batch {
        bytes: Bytes::new(),
        waiters: Vec::new(),
        charged: 0,
        created: batch.created,
        maybe_stored: false,
        has_null_key: batch.has_null_key,
    }
}
