//! One owned partition: finds its leader, reads it to the end through look-ups, hands it to the leader's poll lane, and takes it back when that fails.
//!
//! The warm-up does not wait behind a long poll of other partitions. Ends with the last subscriber.

use std::rc::Rc;
use std::time::Duration;

use kafka_protocol::messages::ListOffsetsRequest;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};

use super::Topics;
use crate::kafka::cache::{PartitionStore, Policy};
use crate::kafka::error_code::ErrorCode;
use crate::kafka::fetcher::{PartitionKey, fetched_partitions, single_request};
use crate::kafka::metadata::topic_name;
use crate::runtime::notify::Notify;
use crate::runtime::{self, with_deadline};

const LOOKUP_TIMEOUT: Duration = Duration::from_secs(10);
/// The wait before the next attempt after an error.
const RETRY_INTERVAL: Duration = Duration::from_millis(100);
/// Bytes asked for at once while warming up.
const WARM_BYTES_MAX: i32 = 4 << 20;
/// ListOffsets' name for the first offset of a log.
const EARLIEST: i64 = -2;
const READ_COMMITTED: i8 = 1;

/// Why a step has to be made again.
enum Again {
    /// Somebody else leads the partition, or nobody.
    Metadata,
    /// The offset is not in the log.
    OutOfRange,
    /// Anything else.
    Later,
}

pub(super) async fn run(topics: Topics, key: PartitionKey) {
    let Some(kick) = topics
        .inner
        .owned
        .borrow()
        .get(&key)
        .map(|owned| owned.kick.clone())
    else {
        return;
    };
    let changed = Rc::new(Notify::default());
    topics.client().on_change(&changed);
    while is_owned(&topics, &key, &kick) {
        match read_to_the_end(&topics, &key, &kick).await {
            Ok(Some(broker)) => {
                topics.lane(broker).add(&topics, &key);
                kick.notified().await;
                topics.lane(broker).remove(&key);
            }
            Ok(None) => break,
            Err(again) => {
                match again {
                    Again::Metadata => topics.client().want(&key.0, false),
                    Again::OutOfRange => topics.want_reset(&key),
                    Again::Later => {}
                }
                let deadline = topics.inner.deadlines.deadline();
                let _ = with_deadline(
                    &deadline,
                    runtime::now() + RETRY_INTERVAL,
                    changed.notified(),
                )
                .await;
            }
        }
    }
    topics.client().forget_change(&changed);
}

fn is_owned(topics: &Topics, key: &PartitionKey, kick: &Rc<Notify>) -> bool {
    topics
        .inner
        .owned
        .borrow()
        .get(key)
        .is_some_and(|owned| Rc::ptr_eq(&owned.kick, kick))
}

/// Reads until the partition's end; gives the leader it was read from, or `None` when nobody wants it any more.
async fn read_to_the_end(
    topics: &Topics,
    key: &PartitionKey,
    kick: &Rc<Notify>,
) -> Result<Option<i32>, Again> {
    let broker = topics
        .client()
        .leader(&key.0, key.1)
        .ok_or(Again::Metadata)?;
    prepare_store(topics, key, broker).await?;
    loop {
        if !is_owned(topics, key, kick) {
            return Ok(None);
        }
        let Some((offset, ready)) = topics
            .inner
            .stores
            .borrow()
            .get(key)
            .map(|store| (store.next_offset(), store.view().is_ready()))
        else {
            return Err(Again::Later);
        };
        if ready {
            return Ok(Some(broker));
        }
        let request = single_request(key, offset, WARM_BYTES_MAX);
        let response = topics.client().lookup(broker, &request, LOOKUP_TIMEOUT).await.map_err(|fault| {
            tracing::warn!(topic = &*key.0, partition = key.1, %fault, "cannot read the partition, trying again");
            Again::Metadata
        })?;
        let whole = ErrorCode(response.error_code);
        let fetched = fetched_partitions(response)
            .into_iter()
            .find(|fetched| fetched.key == *key)
            .ok_or(Again::Later)?;
        check(if whole.is_none() {
            fetched.error
        } else {
            whole
        })?;
        if !is_owned(topics, key, kick) {
            return Ok(None);
        }
        if topics.ingest(&fetched) {
            return Err(Again::Later);
        }
        runtime::yield_if_needed().await;
    }
}

fn check(error: ErrorCode) -> Result<(), Again> {
    match error {
        ErrorCode::NONE => Ok(()),
        ErrorCode::OFFSET_OUT_OF_RANGE => Err(Again::OutOfRange),
        error if error.means_stale_metadata() => Err(Again::Metadata),
        _ => Err(Again::Later),
    }
}

/// Makes sure that there is a store, at the log's start when it is new or has to begin again.
async fn prepare_store(topics: &Topics, key: &PartitionKey, broker: i32) -> Result<(), Again> {
    let exists = topics.inner.stores.borrow().contains_key(key);
    let reset = topics
        .inner
        .owned
        .borrow()
        .get(key)
        .is_some_and(|owned| owned.reset_wanted);
    if exists && !reset {
        return Ok(());
    }
    let earliest = earliest_offset(topics, key, broker).await?;
    let topic = topics.client().topic(&key.0).unwrap_or_default();
    if let Some(owned) = topics.inner.owned.borrow_mut().get_mut(key) {
        owned.reset_wanted = false;
        owned.topic_id = topic.id;
    }
    if exists {
        tracing::info!(
            topic = &*key.0,
            partition = key.1,
            offset = earliest,
            "the partition's log has changed, reading it again"
        );
        topics.reset_store(key, earliest);
        return Ok(());
    }
    let policy = topic.policy.unwrap_or_default();
    let retention_ms = i64::try_from(policy.delete_retention.as_millis()).unwrap_or(i64::MAX);
    let store = PartitionStore::new(
        Policy {
            compact: policy.compact,
            delete: policy.delete,
        },
        earliest,
        retention_ms,
    );
    topics.inner.stores.borrow_mut().insert(key.clone(), store);
    Ok(())
}

async fn earliest_offset(topics: &Topics, key: &PartitionKey, broker: i32) -> Result<i64, Again> {
    let partition = ListOffsetsPartition::default()
        .with_partition_index(key.1)
        .with_timestamp(EARLIEST);
    let topic = ListOffsetsTopic::default()
        .with_name(topic_name(&key.0))
        .with_partitions(vec![partition]);
    let request = ListOffsetsRequest::default()
        .with_replica_id((-1).into())
        .with_isolation_level(READ_COMMITTED)
        .with_topics(vec![topic]);
    let response = topics.client().lookup(broker, &request, LOOKUP_TIMEOUT).await.map_err(|fault| {
        tracing::warn!(topic = &*key.0, partition = key.1, %fault, "cannot find the partition's first offset, trying again");
        Again::Metadata
    })?;
    let answer = response
        .topics
        .first()
        .and_then(|topic| topic.partitions.first())
        .ok_or(Again::Later)?;
    check(ErrorCode(answer.error_code))?;
    Ok(answer.offset)
}
