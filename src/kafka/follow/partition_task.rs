//! One followed partition: finds its leader, reads it to the end through look-ups, hands it to the leader's poll lane, and takes it back when that fails.
//!
//! The warm-up does not wait behind a long poll of other partitions.

use std::rc::Rc;
use std::time::Duration;

use futures_lite::FutureExt;

use super::poll_lane::lane;
use super::{Sink, StartAt};
use crate::kafka::error_code::ErrorCode;
use crate::kafka::fetcher::{
    EARLIEST, LATEST, PartitionKey, fetched_partitions, offsets_request, single_request,
};
use crate::runtime::notify::Notify;
use crate::runtime::{self, with_deadline};

const LOOKUP_TIMEOUT: Duration = Duration::from_secs(10);
/// The wait before the next attempt after an error.
const RETRY_INTERVAL: Duration = Duration::from_millis(100);
/// Bytes asked for at once while warming up.
const WARM_BYTES_MAX: i32 = 4 << 20;

/// Why a step has to be made again.
enum Again {
    /// Somebody else leads the partition, or nobody.
    Metadata,
    /// The offset is not in the log.
    OutOfRange,
    /// The broker refuses.
    Refused(ErrorCode),
    /// Anything else.
    Later,
}

pub(super) async fn run<S: Sink>(sink: S, key: PartitionKey, kick: Rc<Notify>) {
    let changed = Rc::new(Notify::default());
    sink.client().on_change(&changed);
    let mut said = None;
    let is_followed = || sink.following().is_followed_by(&key, &kick);
    while is_followed() {
        sink.room(&key).await;
        match read_to_the_end(&sink, &key, &is_followed).await {
            Ok(Some(broker)) => {
                lane(&sink, broker).add(&sink, &key);
                leave_lane(&sink, &key, &kick, &changed).await;
                lane(&sink, broker).remove(&key);
            }
            Ok(None) => break,
            Err(Again::Metadata) => sink.client().want(&key.0, false),
            Err(Again::OutOfRange) => {
                sink.client().want(&key.0, false);
                sink.following().want_reset(&key);
            }
            Err(Again::Refused(error)) if said != Some(error) => {
                tracing::warn!(topic = &*key.0, partition = key.1, %error, "the partition cannot be read, trying on");
                said = Some(error);
            }
            Err(Again::Refused(_) | Again::Later) => {}
        }
        // Whatever it was, it is not over at once; without a pause a broker that refuses would be asked without end.
        if is_followed() {
            let deadline = sink.deadlines().deadline();
            let until = runtime::now() + RETRY_INTERVAL;
            let _ = with_deadline(&deadline, until, changed.notified()).await;
        }
    }
    sink.client().forget_change(&changed);
}

/// Waits until the partition is to be read otherwise than by its lane: it says so, or another topic has come under the name.
async fn leave_lane<S: Sink>(sink: &S, key: &PartitionKey, kick: &Notify, changed: &Notify) {
    loop {
        let kicked = async {
            kick.notified().await;
            true
        };
        let other = async {
            changed.notified().await;
            false
        };
        if kicked.or(other).await {
            return;
        }
        let id = sink.client().topic_id(&key.0);
        if id.is_none_or(|id| sink.following().is_other_topic(key, id)) {
            return;
        }
    }
}

/// Reads until the partition's end; gives the leader it was read from, or `None` when nobody wants it any more.
async fn read_to_the_end<S: Sink>(
    sink: &S,
    key: &PartitionKey,
    is_followed: &impl Fn() -> bool,
) -> Result<Option<i32>, Again> {
    let topic_id = sink.client().topic_id(&key.0).ok_or(Again::Metadata)?;
    let broker = sink.client().leader(&key.0, key.1).ok_or(Again::Metadata)?;
    if sink.following().is_other_topic(key, topic_id) {
        sink.following().want_reset(key);
    }
    if !begin(sink, key, broker, is_followed).await? {
        return Ok(None);
    }
    loop {
        if !is_followed() {
            return Ok(None);
        }
        let position = sink.position(key).ok_or(Again::Later)?;
        if position.is_ready {
            return Ok(Some(broker));
        }
        let request = single_request(key, position.next_offset, WARM_BYTES_MAX);
        let response = sink.client().lookup(broker, &request, LOOKUP_TIMEOUT).await.map_err(|fault| {
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
        if !is_followed() {
            return Ok(None);
        }
        if sink.ingest(&fetched) {
            return Err(Again::Later);
        }
        sink.room(key).await;
        runtime::yield_if_needed().await;
    }
}

fn check(error: ErrorCode) -> Result<(), Again> {
    match error {
        ErrorCode::NONE => Ok(()),
        ErrorCode::OFFSET_OUT_OF_RANGE => Err(Again::OutOfRange),
        error if error.means_stale_metadata() => Err(Again::Metadata),
        error => Err(Again::Refused(error)),
    }
}

/// Makes sure that the sink has begun with the partition, or has begun again where that is wanted; false when nobody wants it any more.
async fn begin<S: Sink>(
    sink: &S,
    key: &PartitionKey,
    broker: i32,
    is_followed: &impl Fn() -> bool,
) -> Result<bool, Again> {
    let is_begun = sink.position(key).is_some();
    if is_begun && !sink.following().is_reset_wanted(key) {
        return Ok(true);
    }
    // The leader may be known a moment before the configuration is.
    let topic = sink.client().topic(&key.0).unwrap_or_default();
    let policy = topic.policy.ok_or(Again::Metadata)?;
    let start_offset = start_offset(sink, key, broker).await?;
    // Another task may have begun with it meanwhile.
    if !is_followed() {
        return Ok(false);
    }
    if is_begun {
        tracing::info!(
            topic = &*key.0,
            partition = key.1,
            offset = start_offset,
            "the partition's log has changed, reading it again"
        );
    }
    sink.following().handle_begun(key, topic.id);
    sink.begin(key, start_offset, &policy);
    Ok(true)
}

async fn start_offset<S: Sink>(sink: &S, key: &PartitionKey, broker: i32) -> Result<i64, Again> {
    match sink.start_at(key) {
        StartAt::Earliest => list_offset(sink, key, broker, EARLIEST).await,
        StartAt::Offset(offset) => {
            let first = list_offset(sink, key, broker, EARLIEST).await?;
            let end = list_offset(sink, key, broker, LATEST).await?;
            if offset < first || offset > end {
                tracing::warn!(
                    topic = &*key.0,
                    partition = key.1,
                    offset,
                    first,
                    end,
                    "the committed offset is not in the log, going on from the first one"
                );
            }
            // Beyond the end: the topic was made anew, and nothing of it has been read.
            Ok(if offset > end {
                first
            } else {
                offset.max(first)
            })
        }
        StartAt::Recent {
            unix_millis,
            records_max,
        } => {
            let end = list_offset(sink, key, broker, LATEST).await?;
            let since = list_offset(sink, key, broker, unix_millis).await?;
            // -1: nothing is as new as that.
            let since = if since < 0 { end } else { since };
            Ok(since.max(end - records_max))
        }
    }
}

async fn list_offset<S: Sink>(
    sink: &S,
    key: &PartitionKey,
    broker: i32,
    timestamp: i64,
) -> Result<i64, Again> {
    let request = offsets_request(&key.0, [key.1], timestamp);
    let response = sink.client().lookup(broker, &request, LOOKUP_TIMEOUT).await.map_err(|fault| {
        tracing::warn!(topic = &*key.0, partition = key.1, %fault, "cannot find the partition's offsets, trying again");
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
