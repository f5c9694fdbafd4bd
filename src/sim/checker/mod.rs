//! What the producer promises, checked as it happens.
//!
//! Sits beside everything and is told of everything. Its one rule: it knows only what went in, what came out and what the logs hold, nothing of how.

mod summary;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Arguments;

use bytes::Bytes;

use super::broker::{Change, Cluster, Place};
use super::shell::PRODUCE_TICK;
use crate::clock::Instant;
use crate::kafka::producer::{Ack, Acks, ProduceCall, ProduceFault};
pub use summary::Summary;

/// A record as it was submitted.
#[derive(Clone, Debug)]
pub(super) struct Submission {
    pub(super) core: usize,
    pub(super) topic: &'static str,
    pub(super) key: Option<Bytes>,
    pub(super) acks: Acks,
    pub(super) deadline: Instant,
}

#[derive(Debug)]
struct Entry {
    submission: Submission,
    result: Option<Result<Ack, ProduceFault>>,
    /// Where it stands now, and whether it ever stood anywhere.
    place: Option<Place>,
    was_stored: bool,
    /// The newest acknowledged record of its key when it was submitted.
    follows: Option<Place>,
}

/// One producer's records of one partition with one kind of acknowledgement.
type Stream = (usize, &'static str, i32, Acks);

#[derive(Debug)]
pub(super) struct Checker {
    seed: u64,
    pub(super) summary: Summary,
    entries: Vec<Entry>,
    outstanding: BTreeSet<(Instant, u64)>,
    newest_of_key: BTreeMap<(&'static str, Bytes), Place>,
    newest_of_stream: BTreeMap<Stream, u64>,
    next_offsets: BTreeMap<(usize, String, i32), i64>,
}

impl Checker {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            seed,
            summary: Summary::default(),
            entries: Vec::new(),
            outstanding: BTreeSet::new(),
            newest_of_key: BTreeMap::new(),
            newest_of_stream: BTreeMap::new(),
            next_offsets: BTreeMap::new(),
        }
    }

    /// Ends the run.
    ///
    /// # Panics
    ///
    /// Always, naming the seed.
    pub(super) fn fail(&self, what: Arguments<'_>) -> ! {
        panic!("SEED={}: {what}", self.seed)
    }

    /// The token of the next record.
    pub(super) const fn next_token(&self) -> u64 {
        self.entries.len() as u64
    }

    pub(super) fn submitted(&mut self, submission: Submission) {
        let token = self.next_token();
        self.outstanding.insert((submission.deadline, token));
        let key = submission.key.clone().map(|key| (submission.topic, key));
        let follows = key.and_then(|key| self.newest_of_key.get(&key).copied());
        self.entries.push(Entry {
            submission,
            result: None,
            place: None,
            was_stored: false,
            follows,
        });
    }

    /// A request leaves.
    pub(super) fn sent(&mut self, call: &ProduceCall) {
        let partitions: BTreeSet<(&str, i32)> = call
            .batches
            .iter()
            .map(|part| (part.topic.as_str(), part.partition))
            .collect();
        if call.batches.is_empty() || partitions.len() != call.batches.len() {
            self.fail(format_args!(
                "a request without batches, or with two of one partition: {partitions:?}"
            ));
        }
        let is_later =
            |batch: &Bytes| batch[EPOCH_AT] != [0, 0] && call.acks == Acks::InSyncReplicas;
        self.summary.later_epochs += call
            .batches
            .iter()
            .filter(|part| is_later(&part.batch))
            .count() as u64;
    }

    /// A log changed.
    pub(super) fn changed(&mut self, change: &Change) {
        let Change {
            place,
            token,
            is_stored,
        } = *change;
        self.summary
            .digest(&[token, place.offset.cast_unsigned(), u64::from(is_stored)]);
        let Some(entry) = usize::try_from(token)
            .ok()
            .and_then(|index| self.entries.get_mut(index))
        else {
            self.fail(format_args!(
                "the log holds record {token}, which nobody wrote"
            ))
        };
        if !is_stored {
            entry.place = None;
            self.summary.truncated += 1;
            return;
        }
        let first = entry.place.replace(place);
        entry.was_stored = true;
        let result = entry.result;
        if let Some(first) = first {
            self.fail(format_args!(
                "record {token} is stored at {place:?} although it is at {first:?}"
            ));
        }
        if let Some(Err(fault)) = result
            && fault != ProduceFault::OutcomeUnknown
        {
            self.fail(format_args!(
                "record {token} is stored at {place:?} after its writer was told {fault:?}"
            ));
        }
    }

    /// A batch is acknowledged, before its records are.
    pub(super) fn acked(&mut self, core: usize, topic: &str, partition: i32, next_offset: i64) {
        let newest = self
            .next_offsets
            .entry((core, topic.to_owned(), partition))
            .or_default();
        *newest = next_offset.max(*newest);
    }

    /// A record has its outcome.
    pub(super) fn completed(
        &mut self,
        token: u64,
        result: Result<Ack, ProduceFault>,
        now: Instant,
    ) {
        let index = usize::try_from(token).expect("an index");
        let Some(entry) = self.entries.get_mut(index) else {
            self.fail(format_args!("record {token} was never submitted"))
        };
        let deadline = entry.submission.deadline;
        if let Some(first) = entry.result.replace(result) {
            self.fail(format_args!(
                "record {token} was told {first:?} and then {result:?}"
            ));
        }
        let was_stored = entry.was_stored;
        self.outstanding.remove(&(deadline, token));
        self.summary.digest(&[token, now.as_nanos()]);
        match result {
            Ok(ack) => self.check_ack(token, ack),
            Err(fault) => {
                self.summary.count(fault);
                if fault != ProduceFault::OutcomeUnknown && was_stored {
                    self.fail(format_args!(
                        "record {token} was stored, and its writer is told {fault:?}"
                    ));
                }
            }
        }
    }

    fn check_ack(&mut self, token: u64, ack: Ack) {
        self.summary.stored += 1;
        let Entry {
            submission,
            place,
            was_stored,
            follows,
            ..
        } = &self.entries[usize::try_from(token).expect("an index")];
        let Submission {
            core,
            topic,
            acks,
            ref key,
            ..
        } = *submission;
        let (place, was_stored, follows, key) = (*place, *was_stored, *follows, key.clone());
        let stream = (core, topic, ack.partition, acks);
        if let Some(newer) = self.newest_of_stream.insert(stream, token)
            && newer > token
        {
            self.fail(format_args!(
                "record {token} is acknowledged after record {newer}, which was submitted later"
            ));
        }
        if let Some(offset) = ack.offset {
            let next_offset = self
                .next_offsets
                .get(&(core, topic.to_owned(), ack.partition))
                .copied()
                .unwrap_or(0);
            if next_offset <= offset {
                self.fail(format_args!("record {token} is acknowledged at {offset}, and readers were told of {next_offset} only"));
            }
        }
        if acks == Acks::None {
            return;
        }
        if !was_stored {
            self.fail(format_args!(
                "record {token} was never stored, and is acknowledged at {ack:?}"
            ));
        }
        let is_said_right = |place: Place| {
            place.partition == ack.partition
                && ack.offset.is_none_or(|offset| offset == place.offset)
        };
        match place {
            Some(place) if is_said_right(place) => {
                if follows.is_some_and(|earlier| {
                    earlier.partition != place.partition || earlier.offset >= place.offset
                }) && acks == Acks::InSyncReplicas
                {
                    self.fail(format_args!(
                        "record {token} at {place:?} was written after {follows:?} was acknowledged"
                    ));
                }
                if acks == Acks::InSyncReplicas
                    && let Some(key) = key
                {
                    self.newest_of_key.insert((topic, key), place);
                }
            }
            None if acks == Acks::LeaderOnly => {} // lost with its leader before the answer came
            place => self.fail(format_args!(
                "record {token} is at {place:?} and acknowledged at {ack:?}"
            )),
        }
    }

    /// After each step: nobody waits beyond the deadline, nothing is queued beyond the bound.
    pub(super) fn step(&self, now: Instant, queued_bytes: usize, queued_bytes_max: usize) {
        if let Some((deadline, token)) = self.outstanding.first()
            && *deadline + PRODUCE_TICK < now
        {
            self.fail(format_args!(
                "record {token} still waits {:?} after its deadline",
                now - *deadline
            ));
        }
        if queued_bytes > queued_bytes_max {
            self.fail(format_args!(
                "{queued_bytes} bytes are queued, and {queued_bytes_max} allowed"
            ));
        }
    }

    /// At the end: every record has its outcome, and what was promised with acks all still stands.
    pub(super) fn finish(&self, cluster: &Cluster) {
        if let Some((_, token)) = self.outstanding.first() {
            self.fail(format_args!("record {token} has no outcome"));
        }
        for (token, entry) in (0_u64..).zip(&self.entries) {
            let Submission { topic, acks, .. } = entry.submission;
            let is_promised = matches!(entry.result, Some(Ok(_))) && acks == Acks::InSyncReplicas;
            let Some(place) = entry.place else {
                if is_promised {
                    self.fail(format_args!("record {token} was acknowledged and is gone"));
                }
                continue;
            };
            let Some(log) = cluster.log(topic, place.partition) else {
                self.fail(format_args!("record {token} is in no log"))
            };
            if log.end() <= place.offset || (is_promised && log.high_watermark() <= place.offset) {
                self.fail(format_args!(
                    "record {token} at {place:?} is beyond the log's end or high watermark"
                ));
            }
        }
    }

    /// What a record was told.
    pub(super) fn result(&self, token: u64) -> Option<Result<Ack, ProduceFault>> {
        self.entries.get(usize::try_from(token).ok()?)?.result
    }
}

/// Where a batch says its epoch.
const EPOCH_AT: std::ops::Range<usize> = 51..53;
