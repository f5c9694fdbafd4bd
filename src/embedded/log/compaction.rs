//! Log compaction: of each key only the newest record stays. Called by the log, on its batches in memory.
//!
//! One rule: offsets never change; what is removed leaves a hole.

use super::Stored;
use crate::embedded::batch;
use bytes::Bytes;
use std::collections::{HashMap, VecDeque};

/// A log's batches after compaction.
pub(super) struct Compacted {
    pub(super) batches: VecDeque<Stored>,
    /// Tombstones stay until they are old enough, so another run is due without any new record.
    pub(super) has_tombstones: bool,
}

/// Keeps the newest record of each key, and tombstones with a timestamp of at most `tombstone_ms` ago.
///
/// The newest batch is left alone, like Kafka's active segment. Compressed batches are kept whole and their keys are
/// not seen; records without a key stay.
pub(super) fn compact(batches: &VecDeque<Stored>, now_ms: i64, tombstone_ms: i64) -> Compacted {
    let newest = newest_offsets(batches);
    let keep_from_ms = now_ms.saturating_sub(tombstone_ms);
    let last = batches.len().saturating_sub(1);
    let mut compacted = Compacted {
        batches: VecDeque::with_capacity(batches.len()),
        has_tombstones: false,
    };
    for (index, stored) in batches.iter().enumerate() {
        if index == last {
            compacted.batches.push_back(stored.clone());
        } else {
            compacted.take(stored, &newest, keep_from_ms);
        }
    }
    compacted
}

fn newest_offsets(batches: &VecDeque<Stored>) -> HashMap<Bytes, i64> {
    let mut newest = HashMap::new();
    for stored in batches {
        for record in batch::records(&stored.bytes, &stored.header).unwrap_or_default() {
            if let Some(key) = record.key {
                newest.insert(
                    stored.bytes.slice(key),
                    stored.base_offset() + record.offset_delta,
                );
            }
        }
    }
    newest
}

impl Compacted {
    fn take(&mut self, stored: &Stored, newest: &HashMap<Bytes, i64>, keep_from_ms: i64) {
        let Some(records) = batch::records(&stored.bytes, &stored.header) else {
            self.batches.push_back(stored.clone());
            return;
        };
        let is_kept = |record: &&batch::Record| {
            let Some(key) = record.key.clone() else {
                return true;
            };
            let is_newest = newest.get(&stored.bytes[key])
                == Some(&(stored.base_offset() + record.offset_delta));
            is_newest && !(record.is_tombstone && record.timestamp < keep_from_ms)
        };
        let kept: Vec<_> = records.iter().filter(is_kept).collect();
        self.has_tombstones |= kept.iter().any(|record| record.is_tombstone);
        if kept.is_empty() {
            return;
        }
        if kept.len() == records.len() {
            self.batches.push_back(stored.clone());
            return;
        }
        // A batch that cannot be rewritten (it can: it was parsed) is better kept than lost.
        let rewritten = batch::retain(&stored.bytes, kept.into_iter());
        self.batches.push_back(
            rewritten
                .and_then(Stored::new)
                .unwrap_or_else(|| stored.clone()),
        );
    }
}
