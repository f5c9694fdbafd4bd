//! Committed offsets of one group. Part of the coordinator; lost when the broker stops, as they are kept in memory only.
//!
//! One rule: the number of offsets and the size of each are bounded.

use crate::embedded::error::ErrorCode;
use std::collections::BTreeMap;

/// Kafka's `offset.metadata.max.bytes`.
const METADATA_BYTES_MAX: usize = 4096;
/// Partitions per group.
const OFFSETS_MAX: usize = 10_000;

/// What a consumer committed for one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::embedded) struct Committed {
    pub(in crate::embedded) offset: i64,
    pub(in crate::embedded) leader_epoch: i32,
    pub(in crate::embedded) metadata: String,
}

impl Committed {
    /// The answer for a partition without a commit.
    pub(super) fn none() -> Self {
        Self {
            offset: -1,
            leader_epoch: -1,
            metadata: String::new(),
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Offsets {
    by_topic: BTreeMap<String, BTreeMap<i32, Committed>>,
}

impl Offsets {
    pub(super) fn commit(
        &mut self,
        topic: &str,
        partition: i32,
        committed: Committed,
    ) -> Result<(), ErrorCode> {
        if committed.metadata.len() > METADATA_BYTES_MAX {
            return Err(ErrorCode::OFFSET_METADATA_TOO_LARGE);
        }
        let count: usize = self.by_topic.values().map(BTreeMap::len).sum();
        let is_new = self.find(topic, partition).is_none();
        if is_new && count >= OFFSETS_MAX {
            return Err(ErrorCode::COORDINATOR_NOT_AVAILABLE);
        }
        self.by_topic
            .entry(topic.to_owned())
            .or_default()
            .insert(partition, committed);
        Ok(())
    }

    pub(super) fn find(&self, topic: &str, partition: i32) -> Option<&Committed> {
        self.by_topic.get(topic)?.get(&partition)
    }

    /// Every topic and partition with a commit.
    pub(super) fn all(&self) -> Vec<(String, Vec<i32>)> {
        let partitions = |offsets: &BTreeMap<i32, Committed>| offsets.keys().copied().collect();
        self.by_topic
            .iter()
            .map(|(topic, offsets)| (topic.clone(), partitions(offsets)))
            .collect()
    }

    pub(super) fn forget_topic(&mut self, topic: &str) {
        self.by_topic.remove(topic);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_topic.is_empty()
    }
}
