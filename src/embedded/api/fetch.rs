//! Fetch: long poll, byte budgets, incremental sessions.
//!
//! One rule: a waiting fetch is registered at a log under the same lock under which it found too little there, so no
//! append can slip between.

use super::Context;
use crate::embedded::LEADER_EPOCH;
use crate::embedded::error::ErrorCode;
use crate::embedded::fetch_session::{PartitionKey, SessionRequest, Told, Wish};
use crate::embedded::log::Log;
use crate::embedded::sync::lock;
use crate::embedded::topics::{Topic, TopicKey};
use bytes::Bytes;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::fetch_response::{FetchableTopicResponse, PartitionData};
use kafka_protocol::messages::{FetchRequest, FetchResponse, TopicName};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use uuid::Uuid;

/// A fetch waits no longer, whatever it asks for: a client that is gone would keep its thread.
const WAIT_MAX: Duration = Duration::from_secs(30);
/// Record bytes of one answer, whatever was asked for; Kafka's `fetch.max.bytes`.
const ANSWER_BYTES_MAX: usize = 55 << 20;
/// Topic ids replaced names in this version.
const FIRST_VERSION_WITH_IDS: i16 = 13;

pub(super) fn fetch(context: &Context<'_>, request: &FetchRequest) -> FetchResponse {
    fetch_or_fail(context, request)
        .unwrap_or_else(|error| FetchResponse::default().with_error_code(error.0))
}

/// `Err` is for the session; what is wrong with a partition stands in its answer.
fn fetch_or_fail(
    context: &Context<'_>,
    request: &FetchRequest,
) -> Result<FetchResponse, ErrorCode> {
    if let Some(error) = context.forced.filter(|error| is_of_session(*error)) {
        return Err(error);
    }
    let wait = Duration::from_millis(u64::try_from(request.max_wait_ms).unwrap_or(0)).min(WAIT_MAX);
    let deadline = Instant::now() + wait;
    let bytes_min = usize::try_from(request.min_bytes).unwrap_or(0);
    let bytes_max = usize::try_from(request.max_bytes)
        .unwrap_or(0)
        .min(ANSWER_BYTES_MAX);
    let wanted = session_request(context, request);
    let plan = lock(&context.state.fetch_sessions).begin(wanted)?;
    let targets = find_targets(context, &plan.wishes);
    wait_for_records(context, &targets, bytes_min, deadline);
    let answers = read_all(&targets, bytes_max);
    let told: Vec<_> = answers.iter().map(told).collect();
    let topics: Vec<_> = plan
        .wishes
        .iter()
        .map(|wish| wish.key.topic.clone())
        .collect();
    let verdict = lock(&context.state.fetch_sessions).end(plan, &told)?;
    let sent = topics
        .into_iter()
        .zip(answers)
        .zip(verdict.is_sent)
        .filter_map(|(answer, is_sent)| is_sent.then_some(answer));
    Ok(FetchResponse::default()
        .with_session_id(verdict.session_id)
        .with_responses(by_topic(sent)))
}

fn is_of_session(error: ErrorCode) -> bool {
    matches!(
        error,
        ErrorCode::FETCH_SESSION_ID_NOT_FOUND
            | ErrorCode::INVALID_FETCH_SESSION_EPOCH
            | ErrorCode::FETCH_SESSION_TOPIC_ID_ERROR
    )
}

fn session_request(context: &Context<'_>, request: &FetchRequest) -> SessionRequest {
    let uses_topic_ids = context.version >= FIRST_VERSION_WITH_IDS;
    let key = |name: &str, id| {
        if uses_topic_ids {
            TopicKey::Id(id)
        } else {
            TopicKey::Name(name.to_owned())
        }
    };
    let wishes = |topic: &FetchTopic| {
        let topic_key = key(&topic.topic, topic.topic_id);
        let wish = |partition: &FetchPartition| wish(&topic_key, partition);
        topic.partitions.iter().map(wish).collect::<Vec<_>>()
    };
    let mut forgotten = Vec::new();
    for topic in &request.forgotten_topics_data {
        let topic_key = key(&topic.topic, topic.topic_id);
        forgotten.extend(topic.partitions.iter().map(|partition| PartitionKey {
            topic: topic_key.clone(),
            partition: *partition,
        }));
    }
    SessionRequest {
        id: request.session_id,
        epoch: request.session_epoch,
        uses_topic_ids,
        wishes: request.topics.iter().flat_map(wishes).collect(),
        forgotten,
    }
}

fn wish(topic: &TopicKey, partition: &FetchPartition) -> Wish {
    Wish {
        key: PartitionKey {
            topic: topic.clone(),
            partition: partition.partition,
        },
        fetch_offset: partition.fetch_offset,
        bytes_max: partition.partition_max_bytes,
        leader_epoch: partition.current_leader_epoch,
    }
}

/// A wish and what it is about.
struct Target {
    wish: Wish,
    topic: Result<Arc<Topic>, ErrorCode>,
}

fn find_targets(context: &Context<'_>, wishes: &[Wish]) -> Vec<Target> {
    let mut found: HashMap<&TopicKey, Result<Arc<Topic>, ErrorCode>> = HashMap::new();
    let find = |key: &TopicKey| {
        context
            .allowed()
            .and_then(|()| context.state.topics.find(key).ok_or(key.unknown()))
    };
    let mut targets = Vec::with_capacity(wishes.len());
    for wish in wishes {
        let key = &wish.key.topic;
        let topic = found.entry(key).or_insert_with(|| find(key)).clone();
        targets.push(Target {
            wish: wish.clone(),
            topic,
        });
    }
    targets
}

impl Target {
    /// Calls `act` on the log, if the partition exists and the position is one it can be read from.
    fn with_log<T>(&self, act: impl FnOnce(&mut Log) -> T) -> Result<T, ErrorCode> {
        let topic = self.topic.as_ref().map_err(|error| *error)?;
        let log = topic
            .log(self.wish.key.partition)
            .ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
        if self.wish.leader_epoch > LEADER_EPOCH {
            return Err(ErrorCode::UNKNOWN_LEADER_EPOCH);
        }
        let mut log = lock(log);
        // The topic was deleted while this fetch waited.
        log.check_open()?;
        Ok(act(&mut log))
    }
}

/// Waits until `bytes_min` are there, something is wrong, or it is time.
fn wait_for_records(
    context: &Context<'_>,
    targets: &[Target],
    bytes_min: usize,
    deadline: Instant,
) {
    loop {
        context.signal.clear();
        let is_ready = is_ready(context, targets, bytes_min);
        if is_ready || context.state.is_stopping() || Instant::now() >= deadline {
            break;
        }
        context.signal.wait_until(deadline);
        // Partitions that did not wake us still hold a registration each; they are made anew in the next round.
        unregister(context, targets);
    }
    unregister(context, targets);
}

fn is_ready(context: &Context<'_>, targets: &[Target], bytes_min: usize) -> bool {
    let mut available = 0;
    for target in targets {
        let offset = target.wish.fetch_offset;
        let found = target.with_log(|log| {
            let bytes = log
                .contains(offset)
                .then(|| log.available(offset, bytes_min))?;
            log.wake_at_append(context.signal);
            Some(bytes)
        });
        match found {
            Ok(Some(bytes)) => available += bytes,
            Ok(None) | Err(_) => return true,
        }
    }
    available >= bytes_min
}

fn unregister(context: &Context<'_>, targets: &[Target]) {
    for target in targets {
        // An error means that there is no log, or that it was closed and has woken everyone.
        let _ = target.with_log(|log| log.stop_waking(context.signal));
    }
}

fn read_all(targets: &[Target], bytes_max: usize) -> Vec<PartitionData> {
    let mut bytes_left = bytes_max;
    let mut is_first = true;
    let mut answers = Vec::with_capacity(targets.len());
    for target in targets {
        let wanted = usize::try_from(target.wish.bytes_max).unwrap_or(0);
        let read = target.with_log(|log| {
            read(
                log,
                target.wish.fetch_offset,
                wanted.min(bytes_left),
                is_first,
            )
        });
        let answer = read
            .unwrap_or_else(failed)
            .with_partition_index(target.wish.key.partition);
        let bytes = answer.records.as_ref().map_or(0, Bytes::len);
        bytes_left = bytes_left.saturating_sub(bytes);
        is_first &= bytes == 0;
        answers.push(answer);
    }
    answers
}

fn read(log: &Log, offset: i64, bytes_max: usize, at_least_one: bool) -> PartitionData {
    if !log.contains(offset) {
        return failed(ErrorCode::OFFSET_OUT_OF_RANGE)
            .with_high_watermark(log.next_offset())
            .with_last_stable_offset(log.next_offset())
            .with_log_start_offset(log.start_offset());
    }
    failed(ErrorCode::NONE)
        .with_high_watermark(log.next_offset())
        .with_last_stable_offset(log.next_offset())
        .with_log_start_offset(log.start_offset())
        .with_records(Some(log.read(offset, bytes_max, at_least_one)))
}

/// An answer without records or offsets.
fn failed(error: ErrorCode) -> PartitionData {
    PartitionData::default()
        .with_error_code(error.0)
        .with_high_watermark(-1)
        .with_last_stable_offset(-1)
        .with_log_start_offset(-1)
        .with_preferred_read_replica((-1).into())
        .with_records(Some(Bytes::new()))
}

fn told(answer: &PartitionData) -> Told {
    Told {
        error: ErrorCode(answer.error_code),
        high_watermark: answer.high_watermark,
        log_start_offset: answer.log_start_offset,
        has_records: answer
            .records
            .as_ref()
            .is_some_and(|records| !records.is_empty()),
    }
}

/// Gathers neighbours of the same topic.
fn by_topic(
    answers: impl Iterator<Item = (TopicKey, PartitionData)>,
) -> Vec<FetchableTopicResponse> {
    let mut topics: Vec<(TopicKey, Vec<PartitionData>)> = Vec::new();
    for (key, answer) in answers {
        match topics.last_mut() {
            Some((last, partitions)) if *last == key => partitions.push(answer),
            _ => topics.push((key, vec![answer])),
        }
    }
    let respond = |(key, partitions)| {
        let (name, id) = match key {
            TopicKey::Name(name) => (name, Uuid::nil()),
            TopicKey::Id(id) => (String::new(), id),
        };
        FetchableTopicResponse::default()
            .with_topic(TopicName(super::text(name)))
            .with_topic_id(id)
            .with_partitions(partitions)
    };
    topics.into_iter().map(respond).collect()
}
