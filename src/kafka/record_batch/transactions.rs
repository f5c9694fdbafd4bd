//! `read_committed`: which batches of a fetch response a reader may see (KIP-98).
//!
//! Sits between the batch iterator and the cache, one filter per partition of a response. Its one rule: it is shown
//! every batch, in order, or it forgets where a transaction ended.

use std::collections::BTreeSet;

use super::{Batch, ControlRecord, DecodeError, Records};

/// A transaction that the broker says was aborted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AbortedTransaction {
    /// Whose it was.
    pub producer_id: i64,
    /// Offset of its first record.
    pub first_offset: i64,
}

/// What to do with a batch. Either way reading goes on at its [`next_offset`](super::BatchHeader::next_offset).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Its records are for readers.
    Deliver,
    /// Its records were never committed.
    SkipAborted,
    /// It holds markers, no records.
    SkipControl,
}

/// The filter: producers enter as their aborted transaction begins and leave at its abort marker.
#[derive(Clone, Debug, Default)]
pub struct AbortedTransactions {
    /// Latest first, so that the next to begin is at the end.
    ahead: Vec<AbortedTransaction>,
    open_producer_ids: BTreeSet<i64>,
}

impl AbortedTransactions {
    /// A filter for the aborted transactions that came with a partition's records, in any order.
    pub fn new(aborted: impl IntoIterator<Item = AbortedTransaction>) -> Self {
        let mut ahead: Vec<_> = aborted.into_iter().collect();
        ahead.sort_unstable_by_key(|transaction| std::cmp::Reverse(transaction.first_offset));
        Self {
            ahead,
            open_producer_ids: BTreeSet::new(),
        }
    }

    /// Takes the next batch of the partition and says what becomes of it.
    ///
    /// # Errors
    ///
    /// When it is a control batch that cannot be read.
    pub fn handle_batch(&mut self, batch: &Batch) -> Result<Verdict, DecodeError> {
        let header = &batch.header;
        self.open_up_to(header.last_offset());
        if header.is_control() {
            if first_control_record(batch)? == Some(ControlRecord::Abort) {
                self.open_producer_ids.remove(&header.producer_id);
            }
            return Ok(Verdict::SkipControl);
        }
        // The same producer may also write outside transactions; only what it wrote inside is void.
        if header.is_transactional() && self.open_producer_ids.contains(&header.producer_id) {
            return Ok(Verdict::SkipAborted);
        }
        Ok(Verdict::Deliver)
    }

    fn open_up_to(&mut self, last_offset: i64) {
        while let Some(transaction) = self.ahead.pop_if(|next| next.first_offset <= last_offset) {
            self.open_producer_ids.insert(transaction.producer_id);
        }
    }
}

fn first_control_record(batch: &Batch) -> Result<Option<ControlRecord>, DecodeError> {
    let inflated = batch.inflate(CONTROL_BYTES_MAX)?;
    let first = Records::new(&batch.header, &inflated)?.next().transpose()?;
    Ok(first.and_then(|record| record.key.and_then(ControlRecord::parse)))
}

/// A marker takes about 20 bytes, and brokers do not compress them.
const CONTROL_BYTES_MAX: usize = 4096;
