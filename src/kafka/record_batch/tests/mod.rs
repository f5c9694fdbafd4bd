//! The codec against itself; its children hold it against damage, the codecs, transactions and another implementation.

mod codecs;
mod damage;
mod interop;
mod transactions;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::clock::UnixMillis;

type Blob = Option<Vec<u8>>;

/// A record that owns what it holds.
#[derive(Clone, Debug, PartialEq)]
struct Sample {
    timestamp: i64,
    key: Blob,
    value: Blob,
    headers: Vec<(Vec<u8>, Blob)>,
}

impl Sample {
    fn new(key: Option<&str>, value: Option<&str>) -> Self {
        let owned = |text: Option<&str>| text.map(|text| text.as_bytes().to_vec());
        Self {
            timestamp: 1_700_000_000_000,
            key: owned(key),
            value: owned(value),
            headers: Vec::new(),
        }
    }

    fn headers(&self) -> impl Iterator<Item = Header<'_>> + Clone {
        self.headers
            .iter()
            .map(|(name, value)| (&name[..], value.as_deref()))
    }
}

fn builder(samples: &[Sample]) -> BatchBuilder {
    let mut builder = BatchBuilder::new();
    for sample in samples {
        let (timestamp, key, value) = (
            UnixMillis(sample.timestamp),
            sample.key.as_deref(),
            sample.value.as_deref(),
        );
        let foretold = builder.size_with(timestamp, key, value, sample.headers());
        let before = builder.size().max(BATCH_OVERHEAD_BYTES);
        builder.append(timestamp, key, value, sample.headers());
        assert_eq!(builder.size(), foretold);
        assert!(foretold - before <= record_size_bound(key, value, sample.headers()));
    }
    builder
}

fn encoded(samples: &[Sample]) -> Bytes {
    builder(samples).finish(-1, -1, -1).freeze()
}

fn decoded(batch: &Batch) -> Result<Vec<Sample>, DecodeError> {
    let inflated = batch.inflate(INFLATED_BYTES_MAX)?;
    let sample = |record: RecordRef<'_>| Sample {
        timestamp: record.timestamp.0,
        key: record.key.map(<[u8]>::to_vec),
        value: record.value.map(<[u8]>::to_vec),
        headers: record
            .headers()
            .map(|(name, value)| (name.to_vec(), value.map(<[u8]>::to_vec)))
            .collect(),
    };
    Records::new(&batch.header, &inflated)?
        .map(|record| record.map(sample))
        .collect()
}

/// All records of a record set, and the error that ended it.
fn decoded_set(records: &Bytes) -> (Vec<Sample>, Option<DecodeError>) {
    let mut samples = Vec::new();
    for batch in Batches::new(records.clone()) {
        match batch.and_then(|batch| decoded(&batch)) {
            Ok(more) => samples.extend(more),
            Err(error) => return (samples, Some(error)),
        }
    }
    (samples, None)
}

fn one(bytes: &Bytes) -> Batch {
    Batch::parse(bytes.clone()).unwrap()
}

/// The batch with other records and the checksum made good.
fn with_payload(batch: &[u8], attributes: i16, payload: &[u8]) -> Bytes {
    let mut altered = [&batch[..BATCH_OVERHEAD_BYTES], payload].concat();
    altered[CRC_FROM..CRC_FROM + 2].copy_from_slice(&attributes.to_be_bytes());
    sealed(altered)
}

fn sealed(mut batch: Vec<u8>) -> Bytes {
    let length = i32::try_from(batch.len() - LENGTH_PREFIX_BYTES).unwrap();
    batch[LENGTH_AT..LENGTH_AT + 4].copy_from_slice(&length.to_be_bytes());
    let crc = crc32c::crc32c(&batch[CRC_FROM..]);
    batch[CRC_AT..CRC_FROM].copy_from_slice(&crc.to_be_bytes());
    batch.into()
}

fn patched(batch: &[u8], at: usize, bytes: &[u8]) -> Bytes {
    let mut altered = batch.to_vec();
    altered[at..at + bytes.len()].copy_from_slice(bytes);
    sealed(altered)
}

fn blob() -> impl Strategy<Value = Blob> {
    prop::option::of(prop::collection::vec(any::<u8>(), 0..80))
}

fn samples() -> impl Strategy<Value = Vec<Sample>> {
    let name = prop_oneof![
        Just(b"same".to_vec()),
        prop::collection::vec(any::<u8>(), 0..8)
    ];
    let headers = prop::collection::vec((name, blob()), 0..5);
    let sample = (any::<i64>(), blob(), blob(), headers);
    let sample = sample.prop_map(|(timestamp, key, value, headers)| Sample {
        timestamp,
        key,
        value,
        headers,
    });
    prop::collection::vec(sample, 1..20)
}

fn a_few() -> Vec<Sample> {
    let mut rich = Sample::new(Some(""), Some("value"));
    rich.headers = vec![
        (b"a".to_vec(), None),
        (b"a".to_vec(), Some(Vec::new())),
        (b"b".to_vec(), Some(b"1".to_vec())),
    ];
    vec![
        Sample::new(None, None),
        rich,
        Sample::new(Some("key"), Some("")),
        Sample::new(Some("key"), None),
    ]
}

#[test]
fn a_batch_looks_as_the_protocol_says_byte_by_byte() {
    let batch = encoded(&[Sample {
        timestamp: 5,
        ..Sample::new(Some("k"), Some("v"))
    }]);
    let head = [
        &[0; 8][..],
        &[0, 0, 0, 58],
        &[0xff; 4],
        &[2],
        &batch[CRC_AT..CRC_FROM],
        &[0, 0],
        &[0; 4],
        &[0, 0, 0, 0, 0, 0, 0, 5],
        &[0, 0, 0, 0, 0, 0, 0, 5],
        &[0xff; 14],
        &[0, 0, 0, 1],
    ];
    assert_eq!(&batch[..BATCH_OVERHEAD_BYTES], head.concat());
    assert_eq!(
        &batch[BATCH_OVERHEAD_BYTES..],
        [16, 0, 0, 0, 2, b'k', 2, b'v', 0]
    );
}

#[test]
fn null_empty_and_repeated_stay_apart() {
    assert_eq!(decoded(&one(&encoded(&a_few()))), Ok(a_few()));
}

#[test]
fn a_builder_is_empty_after_finish_and_starts_afresh() {
    let mut builder = builder(&a_few());
    let first = builder.finish(7, 1, 3);
    assert!(builder.is_empty() && builder.size() == 0);
    let mut late = Sample::new(None, Some("late"));
    late.timestamp += 9;
    builder.append(UnixMillis(late.timestamp), None, late.value.as_deref(), []);
    let second = one(&builder.finish(7, 1, 7).freeze());
    assert_eq!(
        (second.header.record_count, second.header.base_timestamp),
        (1, UnixMillis(late.timestamp))
    );
    assert_eq!(decoded(&second), Ok(vec![late]));
    assert_eq!(one(&first.freeze()).header.record_count, 4);
}

#[test]
fn a_batch_can_be_sent_again_under_another_epoch() {
    let mut batch = builder(&a_few()).finish(7, 1, 3);
    rewrite_producer(&mut batch, 7, 2, 0);
    let batch = one(&batch.freeze());
    assert_eq!(
        (
            batch.header.producer_id,
            batch.header.producer_epoch,
            batch.header.base_sequence
        ),
        (7, 2, 0)
    );
    assert_eq!(decoded(&batch), Ok(a_few()));
}

#[test]
fn a_batch_too_large_is_halved_until_one_record_is_left() {
    let large = Sample::new(None, Some(&"x".repeat(1000)));
    let all = [a_few(), vec![large.clone()], a_few()].concat();
    let mut queue = vec![builder(&all).finish(9, 4, i32::MAX - 1).freeze()];
    let (mut singles, mut sequence) = (Vec::new(), i32::MAX - 1);
    while let Some(batch) = queue.pop() {
        if let Some((first, second)) = split(&batch) {
            queue.extend([second, first]);
            continue;
        }
        let batch = one(&batch);
        let header = batch.header;
        assert_eq!(
            (
                header.producer_id,
                header.producer_epoch,
                header.base_sequence
            ),
            (9, 4, sequence)
        );
        sequence = sequence_after(sequence, 1);
        singles.extend(decoded(&batch).unwrap());
    }
    assert_eq!(singles, all);
    assert_eq!(sequence_after(i32::MAX, 1), 0);
    assert_eq!(sequence_after(-1, 5), -1);
}

#[test]
fn offsets_follow_the_header_also_where_compaction_left_gaps() {
    let batch = encoded(&a_few());
    let moved = patched(&batch, 0, &1000_i64.to_be_bytes());
    let header = one(&patched(&moved, 23, &41_i32.to_be_bytes())).header;
    assert_eq!(
        (
            header.base_offset,
            header.last_offset(),
            header.next_offset()
        ),
        (1000, 1041, 1042)
    );
    let emptied = patched(&batch[..BATCH_OVERHEAD_BYTES], 57, &0_i32.to_be_bytes());
    assert_eq!(one(&emptied).header.next_offset(), 4);
    assert_eq!(decoded(&one(&emptied)), Ok(Vec::new()));
}

#[test]
fn under_log_append_time_every_record_has_the_batchs_time() {
    let batch = patched(&encoded(&a_few()), 35, &77_i64.to_be_bytes());
    let batch = one(&with_payload(&batch, 0x08, &batch[BATCH_OVERHEAD_BYTES..]));
    assert!(
        decoded(&batch)
            .unwrap()
            .iter()
            .all(|sample| sample.timestamp == 77)
    );
}

#[test]
fn attribute_bits_are_told_apart() {
    let batch = encoded(&a_few());
    let header = |attributes| {
        one(&with_payload(
            &batch,
            attributes,
            &batch[BATCH_OVERHEAD_BYTES..],
        ))
        .header
    };
    assert!(header(0x10).is_transactional() && !header(0x10).is_control());
    assert!(header(0x20).is_control() && header(0x20).delete_horizon().is_none());
    assert_eq!(
        header(0x40).delete_horizon(),
        Some(header(0x40).base_timestamp)
    );
    let unknown = Batch::parse(with_payload(&batch, 5, &[])).unwrap_err();
    assert_eq!(
        unknown,
        DecodeError::UnsupportedCompression { offset: 0, code: 5 }
    );
}

#[test]
fn a_record_is_read_again_from_its_position_alone() {
    let batch = one(&encoded(&a_few()));
    let payload = batch.payload();
    for record in Records::new(&batch.header, &payload).unwrap() {
        let record = record.unwrap();
        let again =
            RecordRef::parse_at(&payload, record.span().start, batch.header.timestamp_base())
                .unwrap();
        assert_eq!(
            (again.key, again.value, again.timestamp),
            (record.key, record.value, record.timestamp)
        );
        assert!(again.headers().eq(record.headers()) && again.span() == record.span());
    }
    assert!(RecordRef::parse_at(&payload, u32::MAX, batch.header.timestamp_base()).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn what_is_encoded_is_decoded(samples in samples()) {
        prop_assert_eq!(decoded_set(&encoded(&samples)), (samples, None));
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), codec in 0_i16..5) {
        let _ = decoded_set(&bytes.clone().into());
        let batch = encoded(&a_few());
        let _ = decoded_set(&with_payload(&batch, codec, &bytes));
        let _ = RecordRef::parse_at(&bytes, 0, TimestampBase::CreateTime(UnixMillis(0))).map(|it| it.headers().count());
        let lz4_start = [&0x184D_2204_u32.to_le_bytes()[..], &bytes].concat();
        let _ = decoded_set(&with_payload(&batch, 3, &lz4_start));
    }
}

const INFLATED_BYTES_MAX: usize = 16 << 20;
