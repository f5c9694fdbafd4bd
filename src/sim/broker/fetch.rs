//! How the model cluster answers those who read: fetches, the ends of logs; and how others write to it.
//!
//! Sits beside the produce requests. Its one rule: nothing above the high watermark is shown.

use std::time::Duration;

use bytes::Bytes;

use super::{Cluster, Partition};
use crate::kafka::error_code::ErrorCode;
use crate::kafka::fetcher::FetchedPartition;
use crate::kafka::record_batch::Batch;
use crate::sim::event::Response;
use crate::sim::fabric::Fabric;
use crate::sim::log::Appended;

/// The longest that a fetch with nothing to bring is kept.
const POLL_WAIT_MAX: Duration = Duration::from_millis(100);
/// Batches in one answer.
const BATCHES_MAX: u64 = 6;

impl Cluster {
    /// Answers a fetch of one partition; one that has nothing to bring is kept for a while.
    pub(super) fn fetch(
        &self,
        broker: i32,
        (topic, partition, offset): (&'static str, i32, i64),
        fabric: &mut Fabric,
    ) -> (Response, Duration) {
        let mut fetched = FetchedPartition {
            key: (topic.into(), partition),
            error: ErrorCode::NONE,
            last_stable_offset: -1,
            log_start_offset: -1,
            aborted: Vec::new(),
            records: Bytes::new(),
        };
        match self.led(broker, topic, partition, fabric) {
            Err(error) => fetched.error = error,
            Ok(Partition { log, .. }) if offset > log.high_watermark() => {
                fetched.error = ErrorCode::OFFSET_OUT_OF_RANGE;
            }
            Ok(Partition { log, .. }) => {
                let batches_max = 1 + fabric.random.below(BATCHES_MAX);
                fetched.last_stable_offset = log.high_watermark();
                fetched.log_start_offset = 0;
                fetched.records = log.read(offset, usize::try_from(batches_max).expect("few"));
            }
        }
        let is_empty = fetched.error.is_none() && fetched.records.is_empty();
        let wait = if is_empty {
            fabric.random.between(Duration::ZERO, POLL_WAIT_MAX)
        } else {
            Duration::ZERO
        };
        (Response::Fetch(fetched), wait)
    }

    /// Where partitions end (ListOffsets, read committed).
    pub(super) fn end_offsets(
        &self,
        broker: i32,
        topic: &'static str,
        partitions: &[i32],
        fabric: &mut Fabric,
    ) -> Response {
        let end = |partition: &i32| {
            let led = self.led(broker, topic, *partition, fabric);
            (*partition, led.map(|led| led.log.high_watermark()))
        };
        Response::EndOffsets(partitions.iter().map(end).collect())
    }

    fn led(
        &self,
        broker: i32,
        topic: &'static str,
        partition: i32,
        fabric: &mut Fabric,
    ) -> Result<&Partition, ErrorCode> {
        let index = usize::try_from(partition).ok();
        let topic = self.topics.get(topic).filter(|topic| topic.exists);
        let found = index.and_then(|index| topic?.partitions.get(index));
        let found = found.ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
        if found.leader != Some(broker) || fabric.random.chance(fabric.faults.read_refused) {
            return Err(ErrorCode::NOT_LEADER_OR_FOLLOWER);
        }
        Ok(found)
    }

    /// How many partitions a topic has.
    pub(in crate::sim) fn partition_count(&self, topic: &str) -> usize {
        let topic = self.topics.get(topic);
        topic.map_or(0, |topic| topic.partitions.len())
    }

    /// A batch of a producer that is no part of the simulation, on all replicas at once; false while nobody leads the partition.
    pub(in crate::sim) fn append_foreign(
        &mut self,
        topic: &str,
        partition: usize,
        batch: &Bytes,
    ) -> bool {
        let topic = self.topics.get_mut(topic);
        let found = topic.and_then(|topic| topic.partitions.get_mut(partition));
        let (Some(found), Ok(parsed)) = (found, Batch::parse(batch.clone())) else {
            return false;
        };
        if found.leader.is_none() {
            return false;
        }
        let appended = found.log.append(&parsed.header, Vec::new(), batch);
        found.log.replicate();
        matches!(appended, Ok(Appended::New { .. }))
    }
}
