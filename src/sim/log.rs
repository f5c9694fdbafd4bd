//! One partition's log as Kafka keeps it: batches, the high watermark, and what is remembered of idempotent producers (KIP-98, KIP-360).
//!
//! Sits under the model broker. Its one rule: it decides as `ProducerStateManager` does, for duplicates, gaps and epochs, and forgets nothing below the high
//! watermark.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use crate::kafka::error_code::ErrorCode;
use crate::kafka::record_batch::{BatchHeader, sequence_after};

/// The base offset, which a broker fills in, comes first in a batch.
const BASE_OFFSET_BYTES: usize = 8;
/// Batches of each producer in which a duplicate is recognised.
const DUPLICATE_WINDOW: usize = 5;

/// Where a batch went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Appended {
    New { base_offset: i64 },
    Duplicate { base_offset: i64 },
}

#[derive(Debug, Default)]
pub(super) struct Log {
    batches: Vec<StoredBatch>,
    end: i64,
    high_watermark: i64,
    producers: BTreeMap<i64, ProducerState>,
}

#[derive(Debug)]
struct StoredBatch {
    base_offset: i64,
    tokens: Vec<u64>,
    header: BatchHeader,
    bytes: Bytes,
}

#[derive(Debug)]
struct ProducerState {
    epoch: i16,
    /// First and last sequence, and the base offset, of the newest batches.
    recent: VecDeque<(i32, i32, i64)>,
}

impl Log {
    /// Appends a batch at the end, unless its producer's state forbids it.
    pub(super) fn append(
        &mut self,
        header: &BatchHeader,
        tokens: Vec<u64>,
        bytes: &Bytes,
    ) -> Result<Appended, ErrorCode> {
        if header.producer_id >= 0 {
            if let Some(base_offset) = self.duplicate_of(header) {
                return Ok(Appended::Duplicate { base_offset });
            }
            self.check_sequence(header)?;
        }
        let base_offset = self.end;
        self.end += i64::from(header.record_count);
        let batch = StoredBatch {
            base_offset,
            tokens,
            header: *header,
            bytes: bytes.clone(),
        };
        remember(&mut self.producers, &batch);
        self.batches.push(batch);
        Ok(Appended::New { base_offset })
    }

    /// All replicas have everything.
    pub(super) const fn replicate(&mut self) {
        self.high_watermark = self.end;
    }

    /// Takes away what stands above the high watermark, the newest `count` batches of it at most: the new leader did not have them.
    pub(super) fn truncate(&mut self, count: usize) -> Vec<(i64, u64)> {
        let keep = self.batches.len().saturating_sub(count);
        let unsafe_from = self
            .batches
            .partition_point(|batch| batch.base_offset < self.high_watermark);
        let removed = self.batches.split_off(keep.max(unsafe_from));
        let Some(first) = removed.first() else {
            return Vec::new();
        };
        self.end = first.base_offset;
        self.producers.clear();
        self.batches
            .iter()
            .for_each(|batch| remember(&mut self.producers, batch));
        removed
            .iter()
            .flat_map(|batch| (batch.base_offset..).zip(batch.tokens.iter().copied()))
            .collect()
    }

    /// Some batches from the one that holds `offset` on, as far as all replicas have them.
    pub(super) fn read(&self, offset: i64, batches_max: usize) -> Bytes {
        let is_read = |batch: &StoredBatch| {
            batch.base_offset + i64::from(batch.header.record_count) <= offset
        };
        let first = self.batches.partition_point(is_read);
        let safe = self.batches[first..]
            .iter()
            .take_while(|batch| batch.base_offset < self.high_watermark);
        let mut records = Vec::new();
        for batch in safe.take(batches_max) {
            records.extend_from_slice(&batch.base_offset.to_be_bytes());
            records.extend_from_slice(&batch.bytes[BASE_OFFSET_BYTES..]);
        }
        records.into()
    }

    pub(super) const fn end(&self) -> i64 {
        self.end
    }

    pub(super) const fn high_watermark(&self) -> i64 {
        self.high_watermark
    }

    fn duplicate_of(&self, header: &BatchHeader) -> Option<i64> {
        let state = self
            .producers
            .get(&header.producer_id)
            .filter(|state| state.epoch == header.producer_epoch)?;
        let range = (header.base_sequence, last_sequence(header));
        state
            .recent
            .iter()
            .find(|(first, last, _)| (*first, *last) == range)
            .map(|(_, _, base_offset)| *base_offset)
    }

    fn check_sequence(&self, header: &BatchHeader) -> Result<(), ErrorCode> {
        // A producer of which nothing is known may start anywhere (KIP-360).
        let Some(state) = self.producers.get(&header.producer_id) else {
            return Ok(());
        };
        if header.producer_epoch < state.epoch {
            return Err(ErrorCode::INVALID_PRODUCER_EPOCH);
        }
        let last = state
            .recent
            .back()
            .filter(|_| header.producer_epoch == state.epoch);
        let expected = last.map_or(0, |(_, last, _)| sequence_after(*last, 1));
        if header.base_sequence == expected {
            Ok(())
        } else {
            Err(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER)
        }
    }
}

fn remember(producers: &mut BTreeMap<i64, ProducerState>, batch: &StoredBatch) {
    let header = &batch.header;
    if header.producer_id < 0 {
        return;
    }
    let new = || ProducerState {
        epoch: header.producer_epoch,
        recent: VecDeque::new(),
    };
    let state = producers.entry(header.producer_id).or_insert_with(new);
    if state.epoch != header.producer_epoch {
        *state = new();
    }
    if state.recent.len() == DUPLICATE_WINDOW {
        state.recent.pop_front();
    }
    state.recent.push_back((
        header.base_sequence,
        last_sequence(header),
        batch.base_offset,
    ));
}

fn last_sequence(header: &BatchHeader) -> i32 {
    sequence_after(header.base_sequence, header.last_offset_delta)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::UnixMillis;
    use crate::kafka::record_batch::{Batch, BatchBuilder};

    fn header(producer: (i64, i16), sequence: i32, count: u8) -> (BatchHeader, Vec<u64>) {
        let mut builder = BatchBuilder::new();
        (0..count).for_each(|_| builder.append(UnixMillis(0), None, None, []));
        let batch =
            Batch::parse(builder.finish(producer.0, producer.1, sequence).freeze()).unwrap();
        (batch.header, (0..count.into()).collect())
    }

    fn append(
        log: &mut Log,
        producer: (i64, i16),
        sequence: i32,
        count: u8,
    ) -> Result<Appended, ErrorCode> {
        let (header, tokens) = header(producer, sequence, count);
        log.append(&header, tokens, &Bytes::new())
    }

    #[test]
    fn a_log_recognises_the_last_five_batches_of_a_producer_and_gaps_and_old_epochs() {
        let mut log = Log::default();
        for batch in 0..6 {
            let base_offset = i64::from(batch) * 2;
            assert_eq!(
                append(&mut log, (1, 0), batch * 2, 2),
                Ok(Appended::New { base_offset })
            );
        }
        assert_eq!(
            append(&mut log, (1, 0), 2, 2),
            Ok(Appended::Duplicate { base_offset: 2 })
        );
        assert_eq!(
            append(&mut log, (1, 0), 0, 2),
            Err(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER),
            "beyond the window"
        );
        assert_eq!(
            append(&mut log, (1, 0), 2, 1),
            Err(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER),
            "part of a batch is not the batch"
        );
        assert_eq!(
            append(&mut log, (1, 0), 14, 1),
            Err(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER)
        );
        assert_eq!(
            append(&mut log, (1, 1), 3, 1),
            Err(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER),
            "a new epoch starts at zero"
        );
        assert_eq!(
            append(&mut log, (1, 1), 0, 1),
            Ok(Appended::New { base_offset: 12 })
        );
        assert_eq!(
            append(&mut log, (1, 0), 12, 1),
            Err(ErrorCode::INVALID_PRODUCER_EPOCH)
        );
        assert_eq!(
            append(&mut log, (2, 0), 9, 1),
            Ok(Appended::New { base_offset: 13 }),
            "of an unknown producer anything goes"
        );
        assert_eq!(
            append(&mut log, (-1, -1), -1, 1),
            Ok(Appended::New { base_offset: 14 })
        );
    }

    #[test]
    fn a_log_loses_only_what_nobody_was_promised_and_its_producers_with_it() {
        let mut log = Log::default();
        append(&mut log, (1, 0), 0, 2).unwrap();
        log.replicate();
        append(&mut log, (1, 0), 2, 2).unwrap();
        append(&mut log, (1, 1), 0, 1).unwrap();
        assert_eq!(log.truncate(1), [(4, 0)]);
        assert_eq!(
            append(&mut log, (1, 0), 4, 1),
            Ok(Appended::New { base_offset: 4 }),
            "the newer epoch is forgotten"
        );
        assert_eq!(log.truncate(usize::MAX), [(2, 0), (3, 1), (4, 0)]);
        assert_eq!((log.end(), log.high_watermark()), (2, 2));
        assert_eq!(
            append(&mut log, (1, 0), 2, 2),
            Ok(Appended::New { base_offset: 2 })
        );
    }
}
