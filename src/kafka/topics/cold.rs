//! Looking in Kafka for an item that is no longer cached: bounded in bytes and time, never counted as "not found" unless all was read.

use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;

use super::{TopicReader, Topics};
use crate::clock::Instant;
use crate::kafka::cache::{Lookup, PartitionView};
use crate::kafka::error_code::ErrorCode;
use crate::kafka::fetcher::{FetchedPartition, PartitionKey, fetched_partitions, single_request};
use crate::kafka::record_batch::{
    AbortedTransactions, Batch, Batches, HeaderIter, Records, Verdict,
};
use crate::runtime::{self};

/// Bytes of records that one request may look at, inflated.
const READ_BYTES_MAX: usize = 256 << 20;
/// Bytes asked for at once.
const FETCH_BYTES_MAX: i32 = 4 << 20;
/// Bytes that one batch may inflate to.
const INFLATED_BYTES_MAX: usize = 64 << 20;
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(10);

/// A record found in Kafka, out of its batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColdRecord {
    /// Its partition.
    pub partition: usize,
    /// Its offset.
    pub offset: i64,
    /// Its value.
    pub value: Option<Bytes>,
    /// Its headers.
    pub headers: Vec<(Bytes, Option<Bytes>)>,
}

/// Decides by key and headers whether a record is wanted.
pub type RecordMatcher = Box<dyn Fn(Option<&[u8]>, HeaderIter<'_>) -> bool>;

/// What to look for.
pub struct ColdQuery {
    /// Whether a record is wanted, by its key and headers.
    pub matches: RecordMatcher,
    /// The partition to look in first.
    pub first: Option<usize>,
    /// Where to begin in each partition, if not at the log's start.
    pub from: Vec<i64>,
}

impl fmt::Debug for ColdQuery {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ColdQuery")
            .field("first", &self.first)
            .field("from", &self.from)
            .finish_non_exhaustive()
    }
}

/// Why nothing can be said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColdFault {
    /// The bound on bytes came first.
    TooLong {
        /// Bytes that were looked at.
        read_bytes: usize,
    },
    /// Kafka did not answer, or not in time.
    Failed,
}

/// Looks for the record that `query` wants in what of the topic is not cached: on a compacted topic the newest of its key, else the oldest match.
///
/// # Errors
///
/// [`ColdFault`].
pub async fn find_cold(
    topics: Topics,
    reader: Rc<TopicReader>,
    query: ColdQuery,
    until: Instant,
) -> Result<Option<ColdRecord>, ColdFault> {
    let first = query.first;
    let order = first
        .into_iter()
        .chain((0..reader.partition_count()).filter(|partition| Some(*partition) != first));
    let is_compacted = reader.policy().compact;
    let mut read_bytes = 0;
    for partition in order {
        let bounds = topics
            .with_view(&reader, partition, |view| {
                (view.log_start_offset(), view.evicted_below())
            })
            .ok_or(ColdFault::Failed)?;
        let asked = query.from.get(partition).copied().unwrap_or(0);
        let mut scan = ColdScan {
            partition,
            next: bounds.0.max(asked),
            end: bounds.1,
            newest: is_compacted,
            found: None,
            found_key: None,
        };
        let Ok(number) = i32::try_from(partition) else {
            continue;
        };
        let key: PartitionKey = (reader.name().clone(), number);
        while scan.wants_more() {
            if runtime::now() >= until {
                return Err(ColdFault::Failed);
            }
            let fetched = fetch(&topics, &key, scan.next, FETCH_BYTES_MAX).await?;
            // On a compacted topic a record counts only if the cache, which has all that is newer, has none of its key.
            let is_superseded = |record_key: Option<&[u8]>| {
                record_key
                    .filter(|_| is_compacted)
                    .is_some_and(|record_key| {
                        let newest = |view: &PartitionView| {
                            matches!(view.newest(record_key), Lookup::Found(_))
                        };
                        topics
                            .with_view(&reader, partition, newest)
                            .unwrap_or(false)
                    })
            };
            let is_wanted = |key: Option<&[u8]>, headers: HeaderIter<'_>| {
                (query.matches)(key, headers) && !is_superseded(key)
            };
            read_bytes += scan.take(&fetched, &is_wanted)?;
            if read_bytes > READ_BYTES_MAX {
                return Err(ColdFault::TooLong { read_bytes });
            }
            runtime::yield_if_needed().await;
        }
        if scan.found.is_some() {
            return Ok(scan.found);
        }
    }
    Ok(None)
}

pub(super) async fn fetch(
    topics: &Topics,
    key: &PartitionKey,
    offset: i64,
    bytes_max: i32,
) -> Result<FetchedPartition, ColdFault> {
    let broker = topics
        .client()
        .leader(&key.0, key.1)
        .ok_or(ColdFault::Failed)?;
    let request = single_request(key, offset, bytes_max);
    let response = topics
        .client()
        .lookup(broker, &request, LOOKUP_TIMEOUT)
        .await
        .map_err(|_| ColdFault::Failed)?;
    let fetched = fetched_partitions(response)
        .into_iter()
        .find(|fetched| fetched.key == *key);
    fetched
        .filter(|fetched| fetched.error == ErrorCode::NONE)
        .ok_or(ColdFault::Failed)
}

/// The records of a batch that was not aborted, unless all lie before `from`.
pub(super) fn delivered(
    batch: &Batch,
    transactions: &mut AbortedTransactions,
    from: i64,
) -> Result<Option<Bytes>, ColdFault> {
    let verdict = transactions.handle_batch(batch);
    if verdict.map_err(|_| ColdFault::Failed)? != Verdict::Deliver
        || batch.header.next_offset() <= from
    {
        return Ok(None);
    }
    let inflated = batch.inflate(INFLATED_BYTES_MAX);
    inflated.map(Some).map_err(|_| ColdFault::Failed)
}

struct ColdScan {
    partition: usize,
    next: i64,
    end: i64,
    newest: bool,
    found: Option<ColdRecord>,
    found_key: Option<Bytes>,
}

impl ColdScan {
    fn wants_more(&self) -> bool {
        self.next < self.end && (self.newest || self.found.is_none())
    }

    /// Looks through what was fetched; gives the bytes looked at.
    fn take(
        &mut self,
        fetched: &FetchedPartition,
        is_wanted: &impl Fn(Option<&[u8]>, HeaderIter<'_>) -> bool,
    ) -> Result<usize, ColdFault> {
        let mut transactions = AbortedTransactions::new(fetched.aborted.iter().copied());
        let from = self.next;
        let mut bytes = 0;
        for batch in Batches::new(fetched.records.clone()) {
            let batch = batch.map_err(|_| ColdFault::Failed)?;
            if let Some(inflated) = delivered(&batch, &mut transactions, from)? {
                bytes += inflated.len();
                for record in
                    Records::new(&batch.header, &inflated).map_err(|_| ColdFault::Failed)?
                {
                    let record = record.map_err(|_| ColdFault::Failed)?;
                    let offset = batch.header.base_offset + i64::from(record.offset_delta);
                    let wanted =
                        (from..self.end).contains(&offset) && (self.newest || self.found.is_none());
                    if wanted && is_wanted(record.key, record.headers()) {
                        let copy = |bytes: &[u8]| Bytes::copy_from_slice(bytes);
                        let headers = record
                            .headers()
                            .map(|(name, value)| (copy(name), value.map(copy)))
                            .collect();
                        self.found = Some(ColdRecord {
                            partition: self.partition,
                            offset,
                            value: record.value.map(copy),
                            headers,
                        });
                        self.found_key = record.key.map(copy);
                    } else if wanted && self.newest && self.found_key.as_deref() == record.key {
                        // A newer record of the key does not match: the older one no longer counts.
                        self.found = None;
                        self.found_key = None;
                    }
                }
            }
            self.next = self.next.max(batch.header.next_offset());
        }
        // Nothing readable before the end: there is nothing.
        if self.next == from {
            self.next = self.end;
        }
        Ok(bytes.max(fetched.records.len()))
    }
}
