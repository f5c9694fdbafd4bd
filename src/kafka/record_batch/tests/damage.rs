//! Record sets that were cut, changed or lie about themselves.

use super::*;

#[test]
fn every_cut_of_a_record_set_gives_whole_batches_and_no_error() {
    let batch = encoded(&a_few());
    let set = [&batch[..], &batch[..]].concat();
    for cut in 0..=set.len() {
        let (samples, error) = decoded_set(&Bytes::copy_from_slice(&set[..cut]));
        assert_eq!(
            (samples.len(), error),
            (cut / batch.len() * 4, None),
            "cut at {cut}"
        );
    }
    let mut batches = Batches::new(batch.slice(..batch.len() - 1));
    assert!(batches.next().is_none());
    assert_eq!(batches.remaining(), batch.len() - 1);
    assert!(Batch::parse(batch.slice(..40)).is_err() && Batch::parse(set.into()).is_err());
}

#[test]
fn every_cut_of_the_records_inside_a_batch_is_an_error() {
    let batch = encoded(&a_few());
    for cut in BATCH_OVERHEAD_BYTES..batch.len() {
        let cut_batch = sealed(batch[..cut].to_vec());
        assert!(decoded_set(&cut_batch).1.is_some(), "cut at {cut}");
    }
    let longer = sealed([&batch[..], &[0]].concat());
    assert!(matches!(
        decoded_set(&longer).1,
        Some(DecodeError::TrailingBytes { have: 1, .. })
    ));
}

#[test]
fn every_changed_byte_under_the_checksum_is_noticed() {
    let batch = encoded(&a_few());
    for at in LENGTH_AT..batch.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut damaged = batch.to_vec();
            damaged[at] ^= flip;
            let (samples, error) = decoded_set(&damaged.into());
            // A length that grew looks like a batch cut off; the leader epoch is not under the checksum.
            let is_cut = at < LENGTH_AT + 4 && samples.is_empty();
            let is_epoch = (LENGTH_AT + 4..MAGIC_AT).contains(&at) && samples == a_few();
            assert!(
                error.is_some() || is_cut || is_epoch,
                "byte {at} ^ {flip:#x}"
            );
        }
    }
}

#[test]
fn lies_in_the_header_are_named() {
    let batch = encoded(&a_few());
    let error = |at, bytes: &[u8]| decoded_set(&patched(&batch, at, bytes)).1.unwrap();
    let have = batch.len() - BATCH_OVERHEAD_BYTES;
    for count in [i32::MAX, -1] {
        assert_eq!(
            error(57, &count.to_be_bytes()),
            DecodeError::BadCount {
                offset: 61,
                count,
                have
            }
        );
    }
    assert_eq!(
        error(0, &[0xff; 8]),
        DecodeError::BadOffset {
            offset: 0,
            value: -1
        }
    );
    assert_eq!(
        error(0, &i64::MAX.to_be_bytes()),
        DecodeError::BadOffset {
            offset: 0,
            value: 3
        }
    );
    assert_eq!(
        error(23, &2_i32.to_be_bytes()),
        DecodeError::BadOffset {
            offset: have - 10,
            value: 3
        }
    );
    for magic in [0_u8, 1, 3] {
        let expected = DecodeError::UnsupportedMagic {
            offset: 0,
            magic: magic.cast_signed(),
        };
        assert_eq!(error(MAGIC_AT, &[magic]), expected);
    }
    for length in [-1, 0, 4, 48] {
        let mut lying = batch.to_vec();
        lying[LENGTH_AT..LENGTH_AT + 4].copy_from_slice(&i32::to_be_bytes(length));
        let expected = DecodeError::BadLength {
            offset: LENGTH_AT,
            length: length.into(),
        };
        assert_eq!(decoded_set(&lying.into()).1, Some(expected));
    }
}

#[test]
fn lies_inside_a_record_are_named() {
    let batch = encoded(&[Sample::new(Some("k"), Some("v"))]);
    // length, attributes, timestamp delta, offset delta, key length, k, value length, v, header count
    let error = |at: usize, byte: u8| {
        let mut payload = batch[BATCH_OVERHEAD_BYTES..].to_vec();
        payload[at] = byte;
        decoded_set(&with_payload(&batch, 0, &payload)).1.unwrap()
    };
    assert_eq!(
        error(0, 15),
        DecodeError::BadLength {
            offset: 0,
            length: -8
        }
    );
    assert_eq!(
        error(0, 126),
        DecodeError::Truncated {
            offset: 1,
            need: 63,
            have: 8
        }
    );
    assert_eq!(
        error(3, 1),
        DecodeError::BadOffset {
            offset: 0,
            value: -1
        }
    );
    assert_eq!(
        error(4, 3),
        DecodeError::BadLength {
            offset: 4,
            length: -2
        }
    );
    assert_eq!(
        error(4, 100),
        DecodeError::Truncated {
            offset: 5,
            need: 50,
            have: 4
        }
    );
    assert_eq!(
        error(8, 2),
        DecodeError::BadCount {
            offset: 9,
            count: 1,
            have: 0
        }
    );
    assert_eq!(
        error(8, 1),
        DecodeError::BadCount {
            offset: 9,
            count: -1,
            have: 0
        }
    );
    assert_eq!(
        error(6, 1),
        DecodeError::BadCount {
            offset: 8,
            count: 59,
            have: 1
        }
    );
}

#[test]
fn a_batch_behind_a_bad_one_is_not_reached() {
    let good = encoded(&a_few());
    let mut bad = good.to_vec();
    bad[70] ^= 1;
    let mut batches = Batches::new([&good[..], &bad[..], &good[..]].concat().into());
    assert!(batches.next().unwrap().is_ok());
    let offset = good.len();
    assert!(
        matches!(batches.next(), Some(Err(DecodeError::ChecksumMismatch { offset: at, .. })) if at == offset)
    );
    assert!(batches.next().is_none());
}
