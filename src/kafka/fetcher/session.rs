//! An incremental fetch session with one broker (KIP-227): only what changed is said, by either side. Sans-IO.
//!
//! Keep the wanted partitions and their offsets here, send what [`FetchSession::request`] gives, feed the answer to [`FetchSession::handle_response`].
//! Rule: what the broker believes and what is wanted are kept apart; any doubt about the former starts a new session, which loses nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic, ForgottenTopic};
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::{FetchRequest, FetchResponse, ListOffsetsRequest};

use crate::kafka::error_code::ErrorCode;
use crate::kafka::metadata::topic_name;
use crate::kafka::record_batch::AbortedTransaction;

/// Bytes of one answer, all partitions together. A single batch may be larger: brokers always send at least one.
const RESPONSE_BYTES_MAX: i32 = 8 << 20;
/// Bytes of one partition within an answer.
const PARTITION_BYTES_MAX: i32 = 1 << 20;
/// Only committed records: what belongs to open or aborted transactions is not delivered (KIP-98).
const READ_COMMITTED: i8 = 1;
/// The epoch of a request that starts a session.
const EPOCH_START: i32 = 0;
/// Session id and epoch of a request outside any session.
const NO_SESSION: (i32, i32) = (0, -1);

/// A partition, by name and number.
pub type PartitionKey = (Arc<str>, i32);

/// What an answer says of one partition.
#[derive(Clone, Debug)]
pub struct FetchedPartition {
    /// Which one.
    pub key: PartitionKey,
    /// What went wrong with it, if anything.
    pub error: ErrorCode,
    /// The end of what can be read: committed transactions only.
    pub last_stable_offset: i64,
    /// The first offset that is still there.
    pub log_start_offset: i64,
    /// Transactions that were aborted within the records.
    pub aborted: Vec<AbortedTransaction>,
    /// Record batches, the last one possibly cut short.
    pub records: Bytes,
}

/// What the whole answer means for the session.
#[derive(Debug)]
pub enum FetchOutcome {
    /// What it says of each partition it speaks of.
    Partitions(Vec<FetchedPartition>),
    /// The session is gone; the next request starts another.
    SessionLost(ErrorCode),
}

/// A fetch session with one broker.
#[derive(Debug, Default)]
pub struct FetchSession {
    id: i32,
    epoch: i32,
    wanted: BTreeMap<PartitionKey, i64>,
    /// What the last request left the broker with: partition and the offset asked for.
    told: BTreeMap<PartitionKey, i64>,
}

impl FetchSession {
    /// Wants a partition from `offset` on; also moves one that is wanted already.
    pub fn want(&mut self, key: PartitionKey, offset: i64) {
        self.wanted.insert(key, offset);
    }

    /// Wants a partition no more.
    pub fn forget(&mut self, key: &PartitionKey) {
        self.wanted.remove(key);
    }

    /// Whether nothing is wanted.
    pub fn is_empty(&self) -> bool {
        self.wanted.is_empty()
    }

    /// Whether what the last request asked of a partition is what is wanted of it still. Records from another offset would leave a gap, or come twice.
    pub fn is_current(&self, key: &PartitionKey) -> bool {
        let asked = self.told.get(key);
        asked.is_some() && self.wanted.get(key) == asked
    }

    /// The partitions that are wanted.
    pub fn wanted(&self) -> impl Iterator<Item = &PartitionKey> {
        self.wanted.keys()
    }

    /// The session ended with its connection.
    pub fn reset(&mut self) {
        self.id = 0;
        self.epoch = EPOCH_START;
        self.told.clear();
    }

    /// The next request: everything in a new session, only changes in an old one.
    pub fn request(&mut self, max_wait_ms: i32) -> FetchRequest {
        if self.epoch == EPOCH_START {
            self.told.clear();
        }
        let changed: Vec<(&PartitionKey, i64)> = self
            .wanted
            .iter()
            .filter(|(key, offset)| self.told.get(*key) != Some(offset))
            .map(|(key, offset)| (key, *offset))
            .collect();
        let gone: Vec<&PartitionKey> = self
            .told
            .keys()
            .filter(|key| !self.wanted.contains_key(*key))
            .collect();
        let request = FetchRequest::default()
            .with_replica_id((-1).into())
            .with_max_wait_ms(max_wait_ms)
            .with_min_bytes(1)
            .with_max_bytes(RESPONSE_BYTES_MAX)
            .with_isolation_level(READ_COMMITTED)
            .with_session_id(self.id)
            .with_session_epoch(self.epoch)
            .with_topics(fetch_topics(
                changed.iter().map(|(key, offset)| (*key, *offset)),
            ))
            .with_forgotten_topics_data(forgotten_topics(&gone));
        self.told = self.wanted.clone();
        request
    }

    /// Takes the answer to the last request.
    pub fn handle_response(&mut self, response: FetchResponse) -> FetchOutcome {
        let error = ErrorCode(response.error_code);
        if !error.is_none() {
            self.reset();
            return FetchOutcome::SessionLost(error);
        }
        if self.epoch == EPOCH_START {
            self.id = response.session_id;
        }
        // Id 0: the broker has no room for a session; every request then says everything.
        if self.id == 0 {
            self.epoch = EPOCH_START;
        } else {
            self.epoch = if self.epoch == i32::MAX {
                1
            } else {
                self.epoch + 1
            };
        }
        FetchOutcome::Partitions(fetched_partitions(response))
    }
}

/// A request for one partition outside any session, answered at once.
pub fn single_request(key: &PartitionKey, offset: i64, bytes_max: i32) -> FetchRequest {
    let mut topics = fetch_topics(std::iter::once((key, offset)));
    for partition in topics.iter_mut().flat_map(|topic| &mut topic.partitions) {
        partition.partition_max_bytes = bytes_max;
    }
    FetchRequest::default()
        .with_replica_id((-1).into())
        .with_max_wait_ms(0)
        .with_min_bytes(0)
        .with_max_bytes(bytes_max)
        .with_isolation_level(READ_COMMITTED)
        .with_session_id(NO_SESSION.0)
        .with_session_epoch(NO_SESSION.1)
        .with_topics(topics)
}

/// ListOffsets' name for the first offset of a log.
pub const EARLIEST: i64 = -2;
/// ListOffsets' name for the end of a log: with committed transactions only, the last stable offset.
pub const LATEST: i64 = -1;

/// A question for the offsets of some partitions of a topic at a time, in milliseconds since 1970, or [`EARLIEST`], or [`LATEST`] (KIP-79).
pub fn offsets_request(
    topic: &str,
    partitions: impl IntoIterator<Item = i32>,
    timestamp: i64,
) -> ListOffsetsRequest {
    let partitions = partitions.into_iter().map(|partition| {
        ListOffsetsPartition::default()
            .with_partition_index(partition)
            .with_timestamp(timestamp)
    });
    let topic = ListOffsetsTopic::default()
        .with_name(topic_name(topic))
        .with_partitions(partitions.collect());
    ListOffsetsRequest::default()
        .with_replica_id((-1).into())
        .with_isolation_level(READ_COMMITTED)
        .with_topics(vec![topic])
}

/// Everything an answer says, partition by partition.
pub fn fetched_partitions(response: FetchResponse) -> Vec<FetchedPartition> {
    let mut fetched = Vec::new();
    for topic in response.responses {
        let name: Arc<str> = Arc::from(topic.topic.0.as_str());
        fetched.extend(
            topic
                .partitions
                .into_iter()
                .map(|data| fetched_partition(&name, data)),
        );
    }
    fetched
}

fn fetched_partition(topic: &Arc<str>, data: PartitionData) -> FetchedPartition {
    let aborted = data.aborted_transactions.unwrap_or_default();
    FetchedPartition {
        key: (topic.clone(), data.partition_index),
        error: ErrorCode(data.error_code),
        last_stable_offset: if data.last_stable_offset >= 0 {
            data.last_stable_offset
        } else {
            data.high_watermark
        },
        log_start_offset: data.log_start_offset,
        aborted: aborted
            .into_iter()
            .map(|transaction| AbortedTransaction {
                producer_id: transaction.producer_id.0,
                first_offset: transaction.first_offset,
            })
            .collect(),
        records: data.records.unwrap_or_default(),
    }
}

/// Groups by topic; the keys come sorted, so equal names stand together.
fn fetch_topics<'a>(partitions: impl Iterator<Item = (&'a PartitionKey, i64)>) -> Vec<FetchTopic> {
    let mut topics: Vec<FetchTopic> = Vec::new();
    for ((topic, partition), offset) in partitions {
        let entry = FetchPartition::default()
            .with_partition(*partition)
            .with_fetch_offset(offset)
            .with_log_start_offset(-1)
            .with_partition_max_bytes(PARTITION_BYTES_MAX);
        match topics.last_mut() {
            Some(last) if last.topic.0.as_str() == &**topic => last.partitions.push(entry),
            _ => topics.push(
                FetchTopic::default()
                    .with_topic(topic_name(topic))
                    .with_partitions(vec![entry]),
            ),
        }
    }
    topics
}

fn forgotten_topics(partitions: &[&PartitionKey]) -> Vec<ForgottenTopic> {
    let mut topics: Vec<ForgottenTopic> = Vec::new();
    for (topic, partition) in partitions {
        match topics.last_mut() {
            Some(last) if last.topic.0.as_str() == &**topic => last.partitions.push(*partition),
            _ => topics.push(
                ForgottenTopic::default()
                    .with_topic(topic_name(topic))
                    .with_partitions(vec![*partition]),
            ),
        }
    }
    topics
}

#[cfg(test)]
mod tests {
    use super::*;
    use kafka_protocol::messages::fetch_response::FetchableTopicResponse;

    fn key(partition: i32) -> PartitionKey {
        ("items".into(), partition)
    }

    fn asked(request: &FetchRequest) -> Vec<(i32, i64)> {
        request
            .topics
            .iter()
            .flat_map(|topic| &topic.partitions)
            .map(|partition| (partition.partition, partition.fetch_offset))
            .collect()
    }

    #[test]
    fn a_session_says_everything_first_and_then_only_what_changed() {
        let mut session = FetchSession::default();
        session.want(key(0), 5);
        session.want(key(1), 7);
        let first = session.request(500);
        assert_eq!((first.session_id, first.session_epoch), (0, 0));
        assert_eq!(asked(&first), [(0, 5), (1, 7)]);
        session.handle_response(FetchResponse::default().with_session_id(9));
        session.want(key(1), 8);
        let second = session.request(500);
        assert_eq!((second.session_id, second.session_epoch), (9, 1));
        assert_eq!(asked(&second), [(1, 8)]);
        session.handle_response(FetchResponse::default().with_session_id(9));
        session.forget(&key(0));
        let third = session.request(500);
        assert_eq!(third.session_epoch, 2);
        assert_eq!(asked(&third), []);
        assert_eq!(third.forgotten_topics_data[0].partitions, [0]);
    }

    #[test]
    fn an_answer_from_an_offset_that_is_wanted_no_more_is_left_out() {
        let answer = || {
            let partitions =
                (0..3).map(|partition| PartitionData::default().with_partition_index(partition));
            let topic = FetchableTopicResponse::default()
                .with_topic(topic_name("items"))
                .with_partitions(partitions.collect());
            FetchResponse::default()
                .with_session_id(9)
                .with_responses(vec![topic])
        };
        let taken = |session: &mut FetchSession| match session.handle_response(answer()) {
            FetchOutcome::Partitions(fetched) => {
                let keys = fetched.into_iter().map(|one| one.key);
                let current = keys.filter(|key| session.is_current(key));
                current.map(|(_, partition)| partition).collect()
            }
            FetchOutcome::SessionLost(_) => Vec::new(),
        };
        let mut session = FetchSession::default();
        for partition in 0..3 {
            session.want(key(partition), 5);
        }
        session.request(500);
        // Begun again, and given up, while the answer was on its way.
        session.want(key(1), 0);
        session.forget(&key(2));
        assert_eq!(taken(&mut session), [0]);
        assert_eq!(asked(&session.request(500)), [(1, 0)]);
        assert_eq!(taken(&mut session), [0, 1]);
    }

    #[test]
    fn a_lost_session_starts_over_with_everything() {
        let mut session = FetchSession::default();
        session.want(key(0), 5);
        session.request(500);
        session.handle_response(FetchResponse::default().with_session_id(9));
        session.request(500);
        let outcome = session.handle_response(FetchResponse::default().with_error_code(70));
        assert!(matches!(
            outcome,
            FetchOutcome::SessionLost(ErrorCode::FETCH_SESSION_ID_NOT_FOUND)
        ));
        let again = session.request(500);
        assert_eq!(
            (again.session_id, again.session_epoch, asked(&again)),
            (0, 0, vec![(0, 5)])
        );
    }

    #[test]
    fn a_broker_without_room_for_sessions_is_told_everything_each_time() {
        let mut session = FetchSession::default();
        session.want(key(0), 5);
        for _ in 0..3 {
            let request = session.request(500);
            assert_eq!(
                (request.session_id, request.session_epoch, asked(&request)),
                (0, 0, vec![(0, 5)])
            );
            session.handle_response(FetchResponse::default());
        }
    }

    #[test]
    fn the_epoch_wraps_to_one_not_to_zero() {
        let mut session = FetchSession {
            id: 9,
            epoch: i32::MAX,
            ..FetchSession::default()
        };
        session.handle_response(FetchResponse::default().with_session_id(9));
        assert_eq!(session.request(500).session_epoch, 1);
    }
}
