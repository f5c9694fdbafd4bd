//! What the producer promises, checked as it happens.
//!
//! Sits beside everything and is told of everything. Its one rule: it knows only what went in, what came out and what the logs hold, nothing of how.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Arguments;

use bytes::Bytes;

use super::broker::{Change, Cluster, Place};
use super::shell::PRODUCE_TICK;
use crate::clock::Instant;
use crate::kafka::producer::{Ack, Acks, ProduceCall, ProduceFault};

/// How often each thing happened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Records stored and said to be.
    pub stored: u64,
    /// Records of which nobody knows, as far as the writer was told.
    pub unknown: u64,
    /// Records refused because nothing could be sent.
    pub unavailable: u64,
    /// Records refused as too large.
    pub too_large: u64,
    /// Records refused by the broker.
    pub rejected: u64,
    /// Records refused because too much was waiting.
    pub overloaded: u64,
    /// Batches that the broker had already.
    pub duplicates: u64,
    /// Batches sent under an epoch that is not the first.
    pub later_epochs: u64,
    /// Requests that reached a broker after their connection was given up.
    pub late_arrivals: u64,
    /// Records that a change of leader took out of a log again.
    pub truncated: u64,
    /// Follows from all that happened, in order: the same seed gives the same.
    pub digest: u64,
}

impl Summary {
    /// Adds the counts of another run.
    pub fn add(&mut self, other: &Self) {
        self.stored += other.stored;
        self.unknown += other.unknown;
        self.unavailable += other.unavailable;
        self.too_large += other.too_large;
        self.rejected += other.rejected;
        self.overloaded += other.overloaded;
        self.duplicates += other.duplicates;
        self.later_epochs += other.later_epochs;
        self.late_arrivals += other.late_arrivals;
        self.truncated += other.truncated;
        self.digest ^= other.digest;
    }
}

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
    pub(super) const fn new(seed: u64) -> Self {
        Self {
            seed,
            summary: Summary {
                stored: 0,
                unknown: 0,
                unavailable: 0,
                too_large: 0,
                rejected: 0,
                overloaded: 0,
                duplicates: 0,
                later_epochs: 0,
                late_arrivals: 0,
                truncated: 0,
                digest: 0,
            },
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
        const EPOCH_AT: std::ops::Range<usize> = 51..53;
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
        self.digest(&[token, place.offset.cast_unsigned(), u64::from(is_stored)]);
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
        self.digest(&[token, now.as_nanos()]);
        match result {
            Ok(ack) => self.check_ack(token, ack),
            Err(fault) => {
                self.count(fault);
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

    const fn count(&mut self, fault: ProduceFault) {
        let counter = match fault {
            ProduceFault::OutcomeUnknown => &mut self.summary.unknown,
            ProduceFault::Unavailable(_) => &mut self.summary.unavailable,
            ProduceFault::TooLarge { .. } => &mut self.summary.too_large,
            ProduceFault::Rejected(_) => &mut self.summary.rejected,
            ProduceFault::Overloaded { .. } => &mut self.summary.overloaded,
        };
        *counter += 1;
    }

    /// FNV-1a, word by word.
    fn digest(&mut self, words: &[u64]) {
        for word in words {
            self.summary.digest = (self.summary.digest ^ word).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const PLACE: Place = Place {
        partition: 0,
        offset: 3,
    };

    fn checker(acks: Acks) -> Checker {
        let mut checker = Checker::new(1);
        checker.submitted(Submission {
            core: 0,
            topic: "items",
            key: None,
            acks,
            deadline: at(10),
        });
        checker
    }

    fn at(millis: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(millis)
    }

    fn stored(offset: i64) -> Change {
        Change {
            place: Place { offset, ..PLACE },
            token: 0,
            is_stored: true,
        }
    }

    fn ack(offset: i64) -> Result<Ack, ProduceFault> {
        Ok(Ack {
            partition: 0,
            offset: Some(offset),
        })
    }

    #[test]
    fn the_truth_passes() {
        let mut checker = checker(Acks::InSyncReplicas);
        checker.changed(&stored(3));
        checker.acked(0, "items", 0, 4);
        checker.completed(0, ack(3), at(5));
        checker.step(at(100), 10, 10);
    }

    #[test]
    #[should_panic(expected = "SEED=1: record 0 is stored at")]
    fn a_second_copy_is_noticed() {
        let mut checker = checker(Acks::InSyncReplicas);
        checker.changed(&stored(3));
        checker.changed(&stored(4));
    }

    #[test]
    #[should_panic(expected = "after its writer was told Unavailable")]
    fn a_copy_after_a_refusal_is_noticed() {
        let mut checker = checker(Acks::LeaderOnly);
        checker.completed(
            0,
            Err(ProduceFault::Unavailable(
                crate::kafka::producer::Unavailable::Deadline,
            )),
            at(5),
        );
        checker.changed(&stored(3));
    }

    #[test]
    #[should_panic(expected = "and its writer is told TooLarge")]
    fn a_refusal_after_a_copy_is_noticed() {
        let mut checker = checker(Acks::InSyncReplicas);
        checker.changed(&stored(3));
        checker.completed(0, Err(ProduceFault::TooLarge { batch_bytes_max: 1 }), at(5));
    }

    #[test]
    #[should_panic(expected = "and acknowledged at")]
    fn a_wrong_offset_is_noticed() {
        let mut checker = checker(Acks::InSyncReplicas);
        checker.changed(&stored(3));
        checker.acked(0, "items", 0, 5);
        checker.completed(0, ack(4), at(5));
    }

    #[test]
    #[should_panic(expected = "readers were told of 0 only")]
    fn an_outcome_before_its_readers_know_is_noticed() {
        let mut checker = checker(Acks::InSyncReplicas);
        checker.changed(&stored(3));
        checker.completed(0, ack(3), at(5));
    }

    #[test]
    #[should_panic(expected = "never stored")]
    fn an_invented_success_is_noticed() {
        let mut checker = checker(Acks::InSyncReplicas);
        checker.completed(
            0,
            Ok(Ack {
                partition: 0,
                offset: None,
            }),
            at(5),
        );
    }

    #[test]
    #[should_panic(expected = "and then")]
    fn a_second_outcome_is_noticed() {
        let mut checker = checker(Acks::None);
        for _ in 0..2 {
            checker.completed(0, Err(ProduceFault::OutcomeUnknown), at(5));
        }
    }

    #[test]
    #[should_panic(expected = "still waits")]
    fn a_missed_deadline_is_noticed() {
        checker(Acks::None).step(at(31), 0, 0);
    }
}
