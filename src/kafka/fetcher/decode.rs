//! From the bytes of a fetch response to records: inflates, leaves out what was never committed, skips what cannot be read.
//!
//! Rule: a batch that cannot be read is said and passed over; it must not stop the partition for ever, nor take the process down.

use bytes::Bytes;

use super::FetchedPartition;
use crate::kafka::cache::ChunkBuilder;
use crate::kafka::record_batch::{
    AbortedTransactions, Batch, BatchHeader, Batches, DecodeError, Verdict,
};

/// Bytes that one batch may inflate to. Beyond, it is passed over: a broker lets through batches of `max.message.bytes` *compressed*.
const INFLATED_BYTES_MAX: usize = 128 << 20;

/// What became of a partition's share of a fetch response.
#[derive(Debug, Default)]
pub struct Decoded {
    /// Batches taken or rightly left out.
    pub batches: usize,
    /// Batches passed over, each with its first offset and the reason.
    pub unreadable: Vec<(i64, DecodeError)>,
    /// The rest of the response is garbage: fetch again from where the sink stands.
    pub broken: Option<DecodeError>,
}

/// Where the committed batches of a partition go.
pub trait BatchSink {
    /// Takes a batch of data records with its inflated bytes. What lies below [`BatchSink::next_offset`] is known already and left out.
    ///
    /// # Errors
    ///
    /// If a record is malformed; nothing of the batch is taken then.
    fn push_batch(&mut self, header: &BatchHeader, inflated: &Bytes) -> Result<(), DecodeError>;
    /// Passes over what lies below `next_offset`.
    fn skip_to(&mut self, next_offset: i64);
    /// One past the last offset taken or passed over.
    fn next_offset(&self) -> i64;
}

impl BatchSink for ChunkBuilder {
    fn push_batch(&mut self, header: &BatchHeader, inflated: &Bytes) -> Result<(), DecodeError> {
        Self::push_batch(self, header, inflated)
    }

    fn skip_to(&mut self, next_offset: i64) {
        Self::skip_to(self, next_offset);
    }

    fn next_offset(&self) -> i64 {
        Self::next_offset(self)
    }
}

/// Decodes what was fetched into `sink`.
pub fn decode_into(sink: &mut impl BatchSink, fetched: &FetchedPartition) -> Decoded {
    let mut decoded = Decoded::default();
    let mut transactions = AbortedTransactions::new(fetched.aborted.iter().copied());
    for batch in Batches::new(fetched.records.clone()) {
        match batch {
            Ok(batch) => match take(sink, &mut transactions, &batch) {
                Ok(()) => decoded.batches += 1,
                Err(error) => {
                    decoded.unreadable.push((batch.header.base_offset, error));
                    sink.skip_to(batch.header.next_offset());
                }
            },
            Err(error) => {
                decoded.broken = Some(error);
                break;
            }
        }
    }
    decoded
}

fn take(
    sink: &mut impl BatchSink,
    transactions: &mut AbortedTransactions,
    batch: &Batch,
) -> Result<(), DecodeError> {
    match transactions.handle_batch(batch)? {
        Verdict::Deliver => {
            // Known already: a fetch from the middle of a batch brings all of it, and is not worth inflating when nothing of it is new.
            if batch.header.next_offset() > sink.next_offset() {
                sink.push_batch(&batch.header, &batch.inflate(INFLATED_BYTES_MAX)?)?;
            }
        }
        Verdict::SkipAborted | Verdict::SkipControl => sink.skip_to(batch.header.next_offset()),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    use crate::clock::UnixMillis;
    use crate::kafka::cache::{Lookup, PartitionStore, Policy};
    use crate::kafka::error_code::ErrorCode;
    use crate::kafka::record_batch::BatchBuilder;

    fn batch(base_offset: i64, key: &str) -> Vec<u8> {
        let mut builder = BatchBuilder::new();
        builder.append(UnixMillis(1), Some(key.as_bytes()), Some(b"value"), []);
        let mut bytes = builder.finish(-1, -1, -1).to_vec();
        bytes[..8].copy_from_slice(&base_offset.to_be_bytes());
        bytes
    }

    fn fetched(records: Vec<u8>) -> FetchedPartition {
        FetchedPartition {
            key: ("items".into(), 0),
            error: ErrorCode::NONE,
            last_stable_offset: 3,
            log_start_offset: 0,
            aborted: Vec::new(),
            records: Bytes::from(records),
        }
    }

    #[test]
    fn a_batch_that_lies_about_its_records_is_passed_over_and_the_next_one_read() {
        let mut spoiled = batch(1, "b");
        let end = spoiled.len() - 1;
        spoiled[end] = 9; // one header more than there are bytes for
        let crc = crc32c::crc32c(&spoiled[21..]);
        spoiled[17..21].copy_from_slice(&crc.to_be_bytes());
        let records = [batch(0, "a"), spoiled, batch(2, "c")].concat();
        let mut store = PartitionStore::new(Policy::COMPACT, 0, 1_000);
        let mut builder = store.builder();
        let decoded = decode_into(&mut builder, &fetched(records));
        assert_eq!(
            (
                decoded.batches,
                decoded.unreadable.len(),
                decoded.broken.is_none()
            ),
            (2, 1, true)
        );
        let mut updates = Vec::new();
        store.append(builder, UnixMillis(2), &mut updates);
        store.handle_progress(3, 0, &mut updates);
        assert!(matches!(store.view().newest(b"c"), Lookup::Found(_)));
        assert!(matches!(store.view().newest(b"b"), Lookup::Absent));
    }
}
