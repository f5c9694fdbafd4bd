//! What a `read_committed` reader is shown.

use super::*;

fn transactional(producer_id: i64, offset: i64, attributes: i16) -> Batch {
    let key: &[u8] = if attributes & COMMIT == COMMIT {
        &[0, 0, 0, 1]
    } else {
        &[0, 0, 0, 0]
    };
    let mut builder = BatchBuilder::new();
    builder.append(UnixMillis(0), Some(key), Some(&[0; 6]), []);
    let batch = builder.finish(producer_id, 0, 0);
    let batch = with_payload(&batch, attributes & 0xff, &batch[BATCH_OVERHEAD_BYTES..]);
    one(&patched(&batch, 0, &offset.to_be_bytes()))
}

const DATA: i16 = 0x10;
const ABORT: i16 = 0x30;
const COMMIT: i16 = 0x130;

#[test]
fn a_committed_reader_sees_nothing_of_an_aborted_transaction_and_all_of_the_next() {
    use Verdict::{Deliver, SkipAborted, SkipControl};
    let aborted = [(2, 4), (1, 0), (1, 6)].map(|(producer_id, first_offset)| AbortedTransaction {
        producer_id,
        first_offset,
    });
    let mut filter = AbortedTransactions::new(aborted);
    for (offset, (producer_id, attributes, verdict)) in [
        (1, DATA, SkipAborted),
        (3, DATA, Deliver),
        (-1, 0, Deliver),
        (1, ABORT, SkipControl),
        (2, DATA, SkipAborted),
        (1, 0, Deliver),
        (1, DATA, SkipAborted),
        (3, COMMIT, SkipControl),
        (2, 0, Deliver), // the same producer, outside its transaction
        (2, ABORT, SkipControl),
        (2, DATA, Deliver),
        (1, ABORT, SkipControl),
        (1, DATA, Deliver),
        (1, COMMIT, SkipControl),
    ]
    .into_iter()
    .enumerate()
    {
        let batch = transactional(producer_id, i64::try_from(offset).unwrap(), attributes);
        assert_eq!(filter.handle_batch(&batch), Ok(verdict), "offset {offset}");
    }
    assert_eq!(ControlRecord::parse(&[0, 0, 0, 2]), None);
    assert_eq!(ControlRecord::parse(&[0]), None);
}
