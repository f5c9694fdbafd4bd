//! Record batches (Kafka's format v2, `DefaultRecordBatch`), encoded and decoded by hand: neither rskafka nor the
//! `kafka-protocol` crate keeps the order, the repeats and the nulls of record headers, and those are what the cases are about.
//!
//! One rule: nothing is repaired. What is not an uncompressed, well-formed batch fails the case.

/// A record, as its writer meant it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    /// In order; names may repeat, values may be null.
    pub(crate) headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Record {
    /// With a key and a value, without headers.
    pub(crate) fn new(key: &str, value: &str) -> Self {
        Self {
            key: Some(key.into()),
            value: Some(value.into()),
            headers: Vec::new(),
        }
    }

    /// With one more header.
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), Some(value.into())));
        self
    }

    /// The last value of a header.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let mut latest_first = self.headers.iter().rev();
        let (_, value) = latest_first.find(|(n, _)| n == name)?;
        std::str::from_utf8(value.as_deref()?).ok()
    }

    /// The value as text; null is empty.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(self.value.as_deref().unwrap_or_default()).into_owned()
    }

    /// Headers in order, for comparisons.
    ///
    /// # Panics
    /// One is null or not text.
    #[track_caller]
    pub(crate) fn shown(&self) -> Vec<(&str, &str)> {
        let text = |value: &'_ Option<Vec<u8>>| value.is_some();
        assert!(
            self.headers.iter().all(|(_, value)| text(value)),
            "{self:?}"
        );
        let shown = self.headers.iter().map(|(name, value)| {
            let value = value.as_deref().unwrap_or_default();
            (name.as_str(), std::str::from_utf8(value).expect("text"))
        });
        shown.collect()
    }
}

/// A record where the log has it.
#[derive(Clone, Debug)]
pub(crate) struct Logged {
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) record: Record,
}

/// Encodes one batch.
pub(crate) fn encode(records: &[Record], timestamp_ms: i64) -> Vec<u8> {
    let count = i32::try_from(records.len()).expect("a batch is small");
    // From the attributes on: what the checksum covers.
    let mut body = Vec::new();
    body.extend(0_i16.to_be_bytes());
    body.extend((count - 1).to_be_bytes());
    body.extend(timestamp_ms.to_be_bytes());
    body.extend(timestamp_ms.to_be_bytes());
    body.extend((-1_i64).to_be_bytes());
    body.extend((-1_i16).to_be_bytes());
    body.extend((-1_i32).to_be_bytes());
    body.extend(count.to_be_bytes());
    for (delta, record) in (0..).zip(records) {
        let one = encode_record(record, delta);
        put_length(&mut body, one.len());
        body.extend(one);
    }
    let mut batch = Vec::new();
    batch.extend(0_i64.to_be_bytes());
    // Leader epoch, magic and checksum are counted too.
    let length = i32::try_from(body.len() + 9).expect("a batch is small");
    batch.extend(length.to_be_bytes());
    batch.extend((-1_i32).to_be_bytes());
    batch.push(2);
    batch.extend(crc32c::crc32c(&body).to_be_bytes());
    batch.extend(body);
    batch
}

fn encode_record(record: &Record, offset_delta: i64) -> Vec<u8> {
    let mut bytes = vec![0];
    put_varint(&mut bytes, 0);
    put_varint(&mut bytes, offset_delta);
    put_bytes(&mut bytes, record.key.as_deref());
    put_bytes(&mut bytes, record.value.as_deref());
    put_length(&mut bytes, record.headers.len());
    for (name, value) in &record.headers {
        put_bytes(&mut bytes, Some(name.as_bytes()));
        put_bytes(&mut bytes, value.as_deref());
    }
    bytes
}

fn put_bytes(to: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        Some(bytes) => {
            put_length(to, bytes.len());
            to.extend_from_slice(bytes);
        }
        None => put_varint(to, -1),
    }
}

fn put_length(to: &mut Vec<u8>, length: usize) {
    put_varint(to, i64::try_from(length).expect("a batch is small"));
}

/// Zig-zag, seven bits a byte, the lowest first.
fn put_varint(to: &mut Vec<u8>, value: i64) {
    let mut left = (value.cast_unsigned() << 1) ^ (value >> 63).cast_unsigned();
    while left > 0x7f {
        to.push(u8::try_from(left & 0x7f).expect("seven bits") | 0x80);
        left >>= 7;
    }
    to.push(u8::try_from(left).expect("seven bits"));
}

/// Decodes the batches of a fetch response: offsets and records. A last batch that is cut off, as brokers do, is left out.
///
/// # Panics
/// They are compressed or malformed.
#[track_caller]
pub(crate) fn decode(mut bytes: &[u8]) -> Vec<(i64, Record)> {
    let mut records = Vec::new();
    while let Some(length) = bytes.get(8..12) {
        let length = 12 + usize::try_from(i32::from_be_bytes(fixed(length))).expect("a length");
        let Some(batch) = bytes.get(..length) else {
            break;
        };
        decode_batch(batch, &mut records);
        bytes = &bytes[length..];
    }
    records
}

#[track_caller]
fn decode_batch(batch: &[u8], to: &mut Vec<(i64, Record)>) {
    let base_offset = i64::from_be_bytes(fixed(&batch[..8]));
    assert_eq!(batch[16], 2, "magic");
    let checksum = u32::from_be_bytes(fixed(&batch[17..21]));
    assert_eq!(crc32c::crc32c(&batch[21..]), checksum, "checksum");
    let attributes = i16::from_be_bytes(fixed(&batch[21..23]));
    assert_eq!(attributes & 0x27, 0, "compressed, or a control batch");
    let count = i32::from_be_bytes(fixed(&batch[57..61]));
    let mut rest = &batch[61..];
    for _ in 0..count {
        let mut record = take_bytes(&mut rest).expect("a record has a length");
        assert_eq!(take(&mut record, 1), [0], "attributes of a record");
        take_varint(&mut record);
        let offset = base_offset + take_varint(&mut record);
        let key = take_bytes(&mut record).map(<[u8]>::to_vec);
        let value = take_bytes(&mut record).map(<[u8]>::to_vec);
        let headers = (0..take_varint(&mut record)).map(|_| {
            let name = take_bytes(&mut record).expect("a header has a name");
            let name = String::from_utf8(name.to_vec()).expect("header names are text");
            (name, take_bytes(&mut record).map(<[u8]>::to_vec))
        });
        let headers = headers.collect();
        assert!(record.is_empty(), "left over in a record: {record:?}");
        let record = Record {
            key,
            value,
            headers,
        };
        to.push((offset, record));
    }
    assert!(rest.is_empty(), "left over in a batch: {rest:?}");
}

#[track_caller]
fn fixed<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.try_into().expect("so many bytes")
}

#[track_caller]
fn take<'b>(from: &mut &'b [u8], count: usize) -> &'b [u8] {
    from.split_off(..count).expect("a whole record")
}

/// Bytes behind their length; `None`: null.
#[track_caller]
fn take_bytes<'b>(from: &mut &'b [u8]) -> Option<&'b [u8]> {
    let length = take_varint(from);
    (length != -1).then(|| take(from, usize::try_from(length).expect("a length")))
}

#[track_caller]
fn take_varint(from: &mut &[u8]) -> i64 {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let byte = take(from, 1)[0];
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return (value >> 1).cast_signed() ^ -(value & 1).cast_signed();
        }
    }
    panic!("a number of more than 64 bits");
}

mod tests {
    use super::{Record, decode, encode};
    use bytes::Bytes;
    use kafka_protocol::records::RecordBatchDecoder;

    fn samples() -> Vec<Record> {
        let long = "x".repeat(300);
        let mut nulls = Record::new("b", &long).header("a", "1").header("a", "2");
        nulls.headers.push(("n".to_owned(), None));
        let tombstone = Record {
            key: Some(Vec::new()),
            ..Record::default()
        };
        vec![Record::new("a", ""), nulls, tombstone, Record::default()]
    }

    #[test]
    fn record_batches_keep_the_order_the_repeats_and_the_nulls_of_headers() {
        let samples = samples();
        let mut bytes = encode(&samples, 1_700_000_000_000);
        bytes.extend(encode(&samples[..1], 0));
        // A second batch that is cut off.
        bytes.pop();
        let decoded = decode(&bytes);
        let offsets: Vec<i64> = decoded.iter().map(|(offset, _)| *offset).collect();
        assert_eq!(offsets, [0, 1, 2, 3]);
        let records: Vec<Record> = decoded.into_iter().map(|(_, record)| record).collect();
        assert_eq!(records, samples);
    }

    #[test]
    fn record_batches_are_read_by_another_implementation() {
        let samples = samples();
        let mut bytes = Bytes::from(encode(&samples, 1));
        let read = RecordBatchDecoder::decode(&mut bytes).expect("well-formed");
        for (read, sample) in read.records.iter().zip(&samples) {
            assert_eq!(read.key.as_deref(), sample.key.as_deref());
            assert_eq!(read.value.as_deref(), sample.value.as_deref());
        }
        assert_eq!(read.records.len(), samples.len());
        let headers = &read.records[1].headers;
        assert_eq!(headers.len(), 2, "it keeps one of the repeats");
    }
}
