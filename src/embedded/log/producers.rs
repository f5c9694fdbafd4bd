//! Idempotent producers of one partition: who wrote which sequences last (KIP-98).
//! Asked by the log before an append, told after it.
//!
//! One rule: deciding changes nothing; only a batch that was stored is remembered.

use crate::embedded::batch::Header;
use crate::embedded::error::ErrorCode;
use std::collections::{HashMap, VecDeque};

/// Batches remembered per producer, Kafka's number: a client has at most five in flight.
const WINDOW: usize = 5;
/// Producers remembered per partition; the one that wrote longest ago is forgotten beyond it.
const PRODUCERS_MAX: usize = 10_000;
/// Sequences wrap from `i32::MAX` to 0.
const SEQUENCE_MASK: u32 = i32::MAX as u32;

#[derive(Debug, Default)]
pub(super) struct Producers {
    by_id: HashMap<i64, Producer>,
}

#[derive(Debug)]
struct Producer {
    epoch: i16,
    /// Oldest first; never empty.
    window: VecDeque<Stored>,
}

#[derive(Clone, Copy, Debug)]
struct Stored {
    first_sequence: i32,
    last_sequence: i32,
    base_offset: i64,
}

/// What to do with a batch that breaks no rule.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Append,
    /// Stored before, at this offset: answer it again, store nothing.
    Duplicate(i64),
}

impl Producers {
    /// Judges the next batch of a producer. A producer without state may start at any sequence, as since Kafka 2.5:
    /// its earlier batches may have been deleted by retention.
    ///
    /// # Errors
    /// `INVALID_PRODUCER_EPOCH`, `OUT_OF_ORDER_SEQUENCE_NUMBER`, and `DUPLICATE_SEQUENCE_NUMBER` for one that lies
    /// wholly behind the window, where Kafka 4 answers out of order: clients must know both.
    pub(super) fn judge(&self, header: &Header) -> Result<Verdict, ErrorCode> {
        let Some(producer) = self.by_id.get(&header.producer_id) else {
            return Ok(Verdict::Append);
        };
        if header.producer_epoch < producer.epoch {
            return Err(ErrorCode::INVALID_PRODUCER_EPOCH);
        }
        if header.producer_epoch > producer.epoch {
            return match header.base_sequence {
                0 => Ok(Verdict::Append),
                _ => Err(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER),
            };
        }
        producer.judge_sequence(header)
    }

    /// Remembers a batch that was stored at `base_offset`.
    pub(super) fn remember(&mut self, header: &Header, base_offset: i64) {
        if header.producer_id < 0 {
            return;
        }
        self.make_room(header.producer_id);
        let producer = self
            .by_id
            .entry(header.producer_id)
            .or_insert_with(|| Producer {
                epoch: header.producer_epoch,
                window: VecDeque::with_capacity(WINDOW),
            });
        if producer.epoch != header.producer_epoch {
            producer.epoch = header.producer_epoch;
            producer.window.clear();
        }
        if producer.window.len() == WINDOW {
            producer.window.pop_front();
        }
        producer.window.push_back(Stored {
            first_sequence: header.base_sequence,
            last_sequence: last_sequence(header),
            base_offset,
        });
    }

    fn make_room(&mut self, newcomer: i64) {
        if self.by_id.len() < PRODUCERS_MAX || self.by_id.contains_key(&newcomer) {
            return;
        }
        let newest_offset =
            |producer: &Producer| producer.window.back().map(|stored| stored.base_offset);
        let idlest = self
            .by_id
            .iter()
            .min_by_key(|(_, producer)| newest_offset(producer))
            .map(|(id, _)| *id);
        if let Some(id) = idlest {
            self.by_id.remove(&id);
        }
    }
}

impl Producer {
    fn judge_sequence(&self, header: &Header) -> Result<Verdict, ErrorCode> {
        let (first, last) = (header.base_sequence, last_sequence(header));
        let same =
            |stored: &&Stored| stored.first_sequence == first && stored.last_sequence == last;
        if let Some(stored) = self.window.iter().find(same) {
            return Ok(Verdict::Duplicate(stored.base_offset));
        }
        let (Some(oldest), Some(newest)) = (self.window.front(), self.window.back()) else {
            return Ok(Verdict::Append);
        };
        if first == sequence_after(newest.last_sequence, 1) {
            return Ok(Verdict::Append);
        }
        if is_before(last, oldest.first_sequence) {
            return Err(ErrorCode::DUPLICATE_SEQUENCE_NUMBER);
        }
        Err(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER)
    }
}

fn last_sequence(header: &Header) -> i32 {
    sequence_after(
        header.base_sequence,
        header.last_offset_delta.cast_unsigned(),
    )
}

fn sequence_after(sequence: i32, steps: u32) -> i32 {
    (sequence.cast_unsigned().wrapping_add(steps) & SEQUENCE_MASK).cast_signed()
}

/// Whether `sequence` lies in the half of the circle behind `other`.
fn is_before(sequence: i32, other: i32) -> bool {
    let behind = other.cast_unsigned().wrapping_sub(sequence.cast_unsigned()) & SEQUENCE_MASK;
    behind != 0 && behind <= SEQUENCE_MASK / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(epoch: i16, sequence: i32, count: i32) -> Header {
        Header {
            base_offset: 0,
            size: 61,
            attributes: 0,
            last_offset_delta: count - 1,
            base_timestamp: 0,
            max_timestamp: 0,
            producer_id: 7,
            producer_epoch: epoch,
            base_sequence: sequence,
            record_count: count,
        }
    }

    fn store(
        producers: &mut Producers,
        header: &Header,
        offset: i64,
    ) -> Result<Verdict, ErrorCode> {
        let verdict = producers.judge(header)?;
        if verdict == Verdict::Append {
            producers.remember(header, offset);
        }
        Ok(verdict)
    }

    #[test]
    fn a_batch_in_the_window_is_a_duplicate_and_one_behind_it_is_refused() {
        let mut producers = Producers::default();
        for sequence in 0..6 {
            let stored = store(
                &mut producers,
                &batch(0, sequence, 1),
                100 + i64::from(sequence),
            );
            assert_eq!(stored, Ok(Verdict::Append));
        }
        for sequence in 1..6 {
            let again = producers.judge(&batch(0, sequence, 1));
            assert_eq!(again, Ok(Verdict::Duplicate(100 + i64::from(sequence))));
        }
        assert_eq!(
            producers.judge(&batch(0, 0, 1)),
            Err(ErrorCode::DUPLICATE_SEQUENCE_NUMBER)
        );
    }

    #[test]
    fn a_gap_and_an_overlap_are_out_of_order() {
        let mut producers = Producers::default();
        store(&mut producers, &batch(0, 0, 10), 0).unwrap();
        assert_eq!(
            producers.judge(&batch(0, 11, 1)),
            Err(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER)
        );
        assert_eq!(
            producers.judge(&batch(0, 5, 10)),
            Err(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER)
        );
        assert_eq!(
            producers.judge(&batch(0, 0, 9)),
            Err(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER)
        );
    }

    #[test]
    fn sequences_wrap_to_zero() {
        let mut producers = Producers::default();
        store(&mut producers, &batch(0, i32::MAX - 1, 2), 0).unwrap();
        assert_eq!(
            store(&mut producers, &batch(0, 0, 1), 2),
            Ok(Verdict::Append)
        );
        let mut producers = Producers::default();
        store(&mut producers, &batch(0, i32::MAX, 3), 0).unwrap();
        assert_eq!(
            store(&mut producers, &batch(0, 2, 1), 3),
            Ok(Verdict::Append)
        );
    }

    #[test]
    fn an_older_epoch_is_fenced_and_a_newer_one_starts_at_zero() {
        let mut producers = Producers::default();
        store(&mut producers, &batch(3, 40, 1), 0).unwrap();
        assert_eq!(
            producers.judge(&batch(2, 41, 1)),
            Err(ErrorCode::INVALID_PRODUCER_EPOCH)
        );
        assert_eq!(
            producers.judge(&batch(4, 41, 1)),
            Err(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER)
        );
        assert_eq!(
            store(&mut producers, &batch(4, 0, 1), 1),
            Ok(Verdict::Append)
        );
    }

    #[test]
    fn the_producers_remembered_are_bounded() {
        let mut producers = Producers::default();
        for id in 0..=PRODUCERS_MAX {
            let id = i64::try_from(id).unwrap();
            producers.remember(
                &Header {
                    producer_id: id,
                    ..batch(0, 0, 1)
                },
                id,
            );
        }
        assert_eq!(producers.by_id.len(), PRODUCERS_MAX);
        assert!(!producers.by_id.contains_key(&0));
    }
}
