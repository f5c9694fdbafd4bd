//! How the model cluster answers a produce request.
//!
//! Sits under the cluster, over the logs. Its one rule: it checks in Kafka's order (leader, replicas, size, records, sequence); before the append nothing is
//! stored, after it everything is, whatever the answer says.

use std::time::Duration;

use bytes::Bytes;

use super::{Change, Cluster, Place};
use crate::kafka::error_code::ErrorCode;
use crate::kafka::producer::{Acks, PartitionBatch, PartitionOutcome, ProduceCall};
use crate::kafka::record_batch::{Batch, BatchHeader, Records};
use crate::sim::event::Response;
use crate::sim::fabric::Fabric;
use crate::sim::log::Appended;
use crate::sim::workload;

impl Cluster {
    pub(super) fn produce(
        &mut self,
        broker: i32,
        call: &ProduceCall,
        fabric: &mut Fabric,
    ) -> (Option<Response>, Duration) {
        let mut wait = Duration::ZERO;
        let mut outcomes = Vec::new();
        for part in &call.batches {
            let (error, base_offset) = match self.produce_batch(broker, call.acks, part, fabric) {
                Ok(base_offset) => (ErrorCode::NONE, base_offset),
                Err(error) => (error, -1),
            };
            fabric.tell(|| {
                format!(
                    "broker {broker}: {}/{} {:?} -> {error} at {base_offset}",
                    part.topic, part.partition, call.acks
                )
            });
            if error == ErrorCode::REQUEST_TIMED_OUT {
                wait = REPLICAS_TIMEOUT;
            }
            outcomes.push(PartitionOutcome {
                topic: part.topic.clone(),
                partition: part.partition,
                error,
                base_offset,
            });
        }
        // With acks none there is no other way to say that something went wrong.
        let is_closed =
            call.acks == Acks::None && outcomes.iter().any(|outcome| !outcome.error.is_none());
        ((!is_closed).then_some(Response::Produce(outcomes)), wait)
    }

    fn produce_batch(
        &mut self,
        broker: i32,
        acks: Acks,
        part: &PartitionBatch,
        fabric: &mut Fabric,
    ) -> Result<i64, ErrorCode> {
        let index =
            usize::try_from(part.partition).map_err(|_| ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
        let found = self
            .topics
            .iter_mut()
            .find(|(name, topic)| **name == part.topic.as_str() && topic.exists);
        let (&name, topic) = found.ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
        let partition = topic
            .partitions
            .get_mut(index)
            .ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
        if partition.leader != Some(broker) {
            return Err(ErrorCode::NOT_LEADER_OR_FOLLOWER);
        }
        if fabric.random.chance(fabric.faults.batch_refused) {
            return Err(refusal(acks, fabric));
        }
        if part.batch.len() > topic.batch_bytes_max {
            return Err(ErrorCode::MESSAGE_TOO_LARGE);
        }
        let (header, tokens) = read(&part.batch)?;
        let answer = match partition.log.append(&header, tokens.clone(), &part.batch)? {
            Appended::New { base_offset } => {
                let places = (base_offset..).map(|offset| Place {
                    partition: part.partition,
                    offset,
                });
                let changes = places.zip(tokens).map(|(place, token)| Change {
                    place,
                    token,
                    is_stored: true,
                });
                self.journal.extend(changes);
                Ok(base_offset)
            }
            Appended::Duplicate { base_offset } => {
                self.duplicates += 1;
                if self.is_old {
                    Err(ErrorCode::DUPLICATE_SEQUENCE_NUMBER)
                } else {
                    Ok(base_offset)
                }
            }
        };
        if fabric.random.chance(fabric.faults.batch_stored_unsaid) {
            return Err(self.leave_unsaid(name, index, acks, fabric));
        }
        if acks == Acks::InSyncReplicas || fabric.random.chance(700) {
            partition.log.replicate();
        }
        answer
    }

    /// Stored by the leader, but not yet by its replicas when it has to answer.
    fn leave_unsaid(
        &mut self,
        topic: &'static str,
        index: usize,
        acks: Acks,
        fabric: &mut Fabric,
    ) -> ErrorCode {
        if acks != Acks::InSyncReplicas {
            return ErrorCode::KAFKA_STORAGE_ERROR;
        }
        let errors = [
            ErrorCode::REQUEST_TIMED_OUT,
            ErrorCode::NOT_ENOUGH_REPLICAS_AFTER_APPEND,
            ErrorCode::NOT_LEADER_OR_FOLLOWER,
        ];
        let error = fabric.random.pick(&errors);
        if error == ErrorCode::NOT_LEADER_OR_FOLLOWER {
            let leader = fabric.random.pick(&self.brokers);
            self.move_leader(topic, index, Some(leader), fabric);
        }
        error
    }
}

/// Why a leader does not store a batch that is good.
fn refusal(acks: Acks, fabric: &mut Fabric) -> ErrorCode {
    let always = [
        ErrorCode::KAFKA_STORAGE_ERROR,
        ErrorCode::REQUEST_TIMED_OUT,
        ErrorCode::NOT_LEADER_OR_FOLLOWER,
    ];
    let with_acks_all = [
        ErrorCode::NOT_ENOUGH_REPLICAS,
        ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER,
        ErrorCode::UNKNOWN_PRODUCER_ID,
        ErrorCode::INVALID_PRODUCER_EPOCH,
        ErrorCode::TOPIC_AUTHORIZATION_FAILED,
    ];
    if acks == Acks::InSyncReplicas && fabric.random.chance(700) {
        fabric.random.pick(&with_acks_all)
    } else {
        fabric.random.pick(&always)
    }
}

/// Tokens of a batch's records; one bad record spoils it.
fn read(batch: &Bytes) -> Result<(BatchHeader, Vec<u64>), ErrorCode> {
    let batch = Batch::parse(batch.clone()).map_err(|_| ErrorCode::CORRUPT_MESSAGE)?;
    let payload = batch.payload();
    let records = Records::new(&batch.header, &payload).map_err(|_| ErrorCode::CORRUPT_MESSAGE)?;
    let mut tokens = Vec::new();
    for record in records {
        let record = record.map_err(|_| ErrorCode::CORRUPT_MESSAGE)?;
        let in_header = record
            .headers()
            .find(|(name, _)| *name == workload::TOKEN_HEADER);
        let (token, is_bad) = in_header
            .map_or(record.value, |(_, value)| value)
            .and_then(workload::read_value)
            .ok_or(ErrorCode::CORRUPT_MESSAGE)?;
        if is_bad {
            return Err(ErrorCode::INVALID_RECORD);
        }
        tokens.push(token);
    }
    Ok((batch.header, tokens))
}

/// How long a leader waits for its replicas; shorter than callers wait for it.
const REPLICAS_TIMEOUT: Duration = Duration::from_millis(1_500);
