//! Reading on in Kafka where the cache begins too late: one fetch at a time, for one reader.
//!
//! Rule: what is wanted comes in order and whole, or not at all: a reader that goes on at the offset it is given has missed nothing.

use std::ops::Range;
use std::rc::Rc;
use std::time::Duration;

use super::cold::{self, ColdFault};
use super::{TopicReader, Topics};
use crate::kafka::cache::{Lookup, PartitionView, RecordView};
use crate::kafka::fetcher::PartitionKey;
use crate::kafka::record_batch::{AbortedTransactions, Batches, Records};
use crate::runtime::{self};

/// Bytes asked for at once; a batch that is longer comes whole.
const FETCH_BYTES_MAX: i32 = 512 << 10;
/// How long the broker may take.
const READ_WAIT: Duration = Duration::from_secs(10);

impl Topics {
    /// Fetches once from `range.start` on and gives what counts of it to `keep`, in order, until that says that it has enough; returns where to go on. On a compacted
    /// topic records that have a newer one of their key in the cache do not count.
    ///
    /// # Errors
    ///
    /// [`ColdFault::Failed`] when Kafka did not answer, or not in time.
    pub async fn read_range(
        &self,
        reader: &Rc<TopicReader>,
        partition: usize,
        range: Range<i64>,
        mut keep: impl FnMut(&RecordView<'_>) -> bool,
    ) -> Result<i64, ColdFault> {
        let number = i32::try_from(partition).map_err(|_| ColdFault::Failed)?;
        let key: PartitionKey = (reader.name().clone(), number);
        let deadline = self.inner.deadlines.deadline();
        let fetch = cold::fetch(self, &key, range.start, FETCH_BYTES_MAX);
        let fetched = runtime::with_deadline(&deadline, runtime::now() + READ_WAIT, fetch)
            .await
            .map_err(|_| ColdFault::Failed)??;
        let mut transactions = AbortedTransactions::new(fetched.aborted.iter().copied());
        let mut next = range.start;
        for batch in Batches::new(fetched.records) {
            let batch = batch.map_err(|_| ColdFault::Failed)?;
            if let Some(inflated) = cold::delivered(&batch, &mut transactions, next)? {
                for record in
                    Records::new(&batch.header, &inflated).map_err(|_| ColdFault::Failed)?
                {
                    let record = record.map_err(|_| ColdFault::Failed)?;
                    let offset = batch.header.base_offset + i64::from(record.offset_delta);
                    if offset >= range.end {
                        return Ok(range.end);
                    }
                    if offset < next || self.is_superseded(reader, partition, (record.key, offset))
                    {
                        continue;
                    }
                    next = offset + 1;
                    let view = RecordView {
                        offset,
                        timestamp: record.timestamp,
                        key: record.key,
                        value: record.value,
                        headers: record.headers(),
                    };
                    if !keep(&view) {
                        return Ok(next);
                    }
                }
            }
            next = next.max(batch.header.next_offset());
            runtime::yield_if_needed().await;
        }
        // The range lies before the end of what is readable, so there is always something, were it only a marker.
        if next == range.start {
            return Err(ColdFault::Failed);
        }
        Ok(next.min(range.end))
    }

    /// Whether the cache has a newer record of the key.
    fn is_superseded(
        &self,
        reader: &TopicReader,
        partition: usize,
        (key, offset): (Option<&[u8]>, i64),
    ) -> bool {
        let Some(key) = key.filter(|_| reader.policy().compact) else {
            return false;
        };
        let newest = |view: &PartitionView| matches!(view.newest(key), Lookup::Found(newest) if newest.offset > offset);
        self.with_view(reader, partition, newest).unwrap_or(false)
    }
}
