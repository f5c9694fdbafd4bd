//! The codec judged by another implementation, `kafka-protocol`'s record layer, in both directions.

use bytes::BytesMut;
use kafka_protocol::indexmap::IndexMap;
use kafka_protocol::protocol::StrBytes;
use kafka_protocol::records::{
    Compression as TheirCompression, Record as TheirRecord, RecordBatchDecoder, RecordBatchEncoder,
    RecordEncodeOptions, TimestampType,
};

use super::*;

fn theirs(samples: &[Sample]) -> Vec<TheirRecord> {
    let record = |(index, sample): (usize, &Sample)| TheirRecord {
        transactional: false,
        control: false,
        delete_horizon: false,
        partition_leader_epoch: -1,
        producer_id: -1,
        producer_epoch: -1,
        timestamp_type: TimestampType::Creation,
        offset: i64::try_from(index).unwrap(),
        sequence: i32::try_from(index).unwrap() - 1,
        timestamp: sample.timestamp,
        key: sample.key.clone().map(Bytes::from),
        value: sample.value.clone().map(Bytes::from),
        headers: sample
            .headers
            .iter()
            .map(|(name, value)| (text(name), value.clone().map(Bytes::from)))
            .collect(),
    };
    samples.iter().enumerate().map(record).collect()
}

fn text(name: &[u8]) -> StrBytes {
    StrBytes::from_string(String::from_utf8_lossy(name).into_owned())
}

fn as_sample(record: &TheirRecord) -> Sample {
    Sample {
        timestamp: record.timestamp,
        key: record.key.as_deref().map(<[u8]>::to_vec),
        value: record.value.as_deref().map(<[u8]>::to_vec),
        headers: record
            .headers
            .iter()
            .map(|(name, value)| {
                (
                    name.as_bytes().to_vec(),
                    value.as_deref().map(<[u8]>::to_vec),
                )
            })
            .collect(),
    }
}

/// What the other codec can express: header names unique and UTF-8, timestamps that leave room for their differences.
fn expressible(mut samples: Vec<Sample>) -> Vec<Sample> {
    for sample in &mut samples {
        sample.timestamp >>= 2;
        let unique: IndexMap<_, _> = sample
            .headers
            .drain(..)
            .map(|(name, value)| (text(&name), value))
            .collect();
        sample.headers = unique
            .into_iter()
            .map(|(name, value)| (name.as_bytes().to_vec(), value))
            .collect();
    }
    samples
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn another_implementation_reads_what_we_write(samples in samples()) {
        let samples = expressible(samples);
        let set = RecordBatchDecoder::decode(&mut encoded(&samples)).unwrap();
        prop_assert_eq!(set.records.iter().map(as_sample).collect::<Vec<_>>(), samples);
    }

    #[test]
    fn we_read_what_another_implementation_writes(samples in samples(), codec in 0_usize..5) {
        use TheirCompression::{Gzip, Lz4, None, Snappy, Zstd};
        let samples = expressible(samples);
        let options = RecordEncodeOptions { version: 2, compression: [None, Gzip, Snappy, Lz4, Zstd][codec] };
        let mut bytes = BytesMut::new();
        RecordBatchEncoder::encode(&mut bytes, &theirs(&samples), &options).unwrap();
        prop_assert_eq!(decoded_set(&bytes.freeze()), (samples, Option::None));
    }
}
