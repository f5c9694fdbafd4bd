//! Records in, a record batch out: the producer's hot path.
//!
//! Sits under the accumulator, one builder per partition. Its one rule: a record is written once, straight into the
//! batch that will be sent; only the header is filled in at the end.

use bytes::{BufMut, Bytes, BytesMut};

use super::{
    BATCH_OVERHEAD_BYTES, Batch, CRC_AT, CRC_FROM, Compression, Header, LENGTH_PREFIX_BYTES,
    MAGIC_V2, PRODUCER_AT, Records, varint,
};
use crate::clock::UnixMillis;

/// Collects records into one uncompressed batch; [`finish`](Self::finish) hands it out and leaves the builder empty.
#[derive(Debug, Default)]
pub struct BatchBuilder {
    /// Empty, or room for the header and then the records so far.
    buffer: BytesMut,
    record_count: i32,
    base_timestamp: UnixMillis,
    max_timestamp: UnixMillis,
}

impl BatchBuilder {
    /// An empty builder that allocates at the first record.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty builder with room for a batch of `capacity_bytes`.
    pub fn with_capacity(capacity_bytes: usize) -> Self {
        Self {
            buffer: BytesMut::with_capacity(capacity_bytes),
            ..Self::default()
        }
    }

    /// Appends a record. Offsets and timestamps are stored as distances from the first record's; timestamps may go back.
    ///
    /// # Panics
    ///
    /// When the batch would pass the 2 GiB that its length field can say. Callers cap batches by
    /// [`size_with`](Self::size_with), far below.
    pub fn append<'a>(
        &mut self,
        timestamp: UnixMillis,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: impl IntoIterator<Item = Header<'a>, IntoIter: Clone>,
    ) {
        let headers = headers.into_iter();
        if self.is_empty() {
            self.base_timestamp = timestamp;
            self.max_timestamp = timestamp;
        }
        let body = self.body(timestamp, key, value, headers.clone());
        let size = self.size_with_body(&body);
        assert!(
            i32::try_from(size).is_ok(),
            "a batch is capped long before its length field is full"
        );

        // One growth for all of it: appending field by field would check the capacity a dozen times.
        let start = self.buffer.len().max(BATCH_OVERHEAD_BYTES);
        self.buffer.resize(size, 0);
        let mut out = &mut self.buffer[start..];
        body.put_start(&mut out);
        put_nullable(&mut out, key);
        put_nullable(&mut out, value);
        varint::put(&mut out, signed(body.header_count));
        for (name, value) in headers {
            put_nullable(&mut out, Some(name));
            put_nullable(&mut out, value);
        }
        debug_assert!(out.is_empty(), "the size foretold is the size written");
        self.max_timestamp = self.max_timestamp.max(timestamp);
        self.record_count += 1;
    }

    /// Bytes of the whole batch if this record were appended: what `max.message.bytes` limits.
    pub fn size_with<'a>(
        &self,
        timestamp: UnixMillis,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: impl IntoIterator<Item = Header<'a>>,
    ) -> usize {
        self.size_with_body(&self.body(timestamp, key, value, headers.into_iter()))
    }

    /// Bytes of the batch so far, header included; zero while there is no record.
    pub fn size(&self) -> usize {
        self.buffer.len()
    }

    /// Records so far.
    pub const fn record_count(&self) -> i32 {
        self.record_count
    }

    /// Whether there is no record yet.
    pub const fn is_empty(&self) -> bool {
        self.record_count == 0
    }

    /// Fills in header and checksum and hands out the batch; the builder is empty again and reuses its memory once the
    /// batch is dropped. Without an idempotent producer all three numbers are -1.
    ///
    /// # Panics
    ///
    /// When there is no record: Kafka refuses an empty batch.
    pub fn finish(
        &mut self,
        producer_id: i64,
        producer_epoch: i16,
        base_sequence: i32,
    ) -> BytesMut {
        assert!(!self.is_empty(), "a batch holds at least one record");
        let mut batch = self.buffer.split();
        let length = i32::try_from(batch.len() - LENGTH_PREFIX_BYTES)
            .expect("append keeps batches below 2 GiB");
        let mut head = &mut batch[..BATCH_OVERHEAD_BYTES];
        head.put_i64(0);
        head.put_i32(length);
        head.put_i32(-1);
        head.put_i8(MAGIC_V2);
        head.put_u32(0);
        head.put_i16(0);
        head.put_i32(self.record_count - 1);
        head.put_i64(self.base_timestamp.0);
        head.put_i64(self.max_timestamp.0);
        head.put_i64(-1);
        head.put_i16(-1);
        head.put_i32(-1);
        head.put_i32(self.record_count);
        rewrite_producer(&mut batch, producer_id, producer_epoch, base_sequence);
        self.record_count = 0;
        batch
    }

    fn size_with_body(&self, body: &Body) -> usize {
        self.buffer.len().max(BATCH_OVERHEAD_BYTES) + varint::size(signed(body.len)) + body.len
    }

    fn body<'a>(
        &self,
        timestamp: UnixMillis,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: impl Iterator<Item = Header<'a>>,
    ) -> Body {
        let base = if self.is_empty() {
            timestamp
        } else {
            self.base_timestamp
        };
        let timestamp_delta = timestamp.0.wrapping_sub(base.0);
        let offset_delta = i64::from(self.record_count);
        let (header_count, headers_len) = headers_size(headers);
        let deltas_len = varint::size(timestamp_delta) + varint::size(offset_delta);
        let len =
            ATTRIBUTES_BYTES + deltas_len + nullable_size(key) + nullable_size(value) + headers_len;
        Body {
            len,
            timestamp_delta,
            offset_delta,
            header_count,
        }
    }
}

/// The measures of one record.
struct Body {
    /// Bytes after the length prefix.
    len: usize,
    timestamp_delta: i64,
    offset_delta: i64,
    header_count: usize,
}

impl Body {
    fn put_start(&self, out: &mut impl BufMut) {
        varint::put(out, signed(self.len));
        out.put_u8(0);
        varint::put(out, self.timestamp_delta);
        varint::put(out, self.offset_delta);
    }
}

/// Bytes that a record takes in any batch at most. With [`BATCH_OVERHEAD_BYTES`] it says, before anything is queued,
/// whether the record fits into a batch of its own.
pub fn record_size_bound<'a>(
    key: Option<&[u8]>,
    value: Option<&[u8]>,
    headers: impl IntoIterator<Item = Header<'a>>,
) -> usize {
    let (_, headers_len) = headers_size(headers.into_iter());
    let start_max =
        VARINT32_BYTES_MAX + ATTRIBUTES_BYTES + varint::VARINT_BYTES_MAX + VARINT32_BYTES_MAX;
    start_max + nullable_size(key) + nullable_size(value) + headers_len
}

/// Gives an encoded batch another producer id, epoch and base sequence, for sending it again under a new epoch (KIP-360).
///
/// # Panics
///
/// When `batch` is shorter than a batch's header: only what [`BatchBuilder::finish`] returned is sent again.
pub fn rewrite_producer(
    batch: &mut [u8],
    producer_id: i64,
    producer_epoch: i16,
    base_sequence: i32,
) {
    let mut fields = &mut batch[PRODUCER_AT..BATCH_OVERHEAD_BYTES];
    fields.put_i64(producer_id);
    fields.put_i16(producer_epoch);
    fields.put_i32(base_sequence);
    let crc = crc32c::crc32c(&batch[CRC_FROM..]);
    batch[CRC_AT..CRC_FROM].copy_from_slice(&crc.to_be_bytes());
}

/// Halves a batch that a broker found too large, by bytes, order kept, sequences continued. `None` for one record:
/// nothing smaller can be sent.
///
/// # Panics
///
/// When `batch` is not one that [`BatchBuilder::finish`] returned.
pub fn split(batch: &Bytes) -> Option<(Bytes, Bytes)> {
    let batch = Batch::parse(batch.clone()).expect(OURS);
    let header = batch.header;
    assert!(header.compression == Compression::None, "{OURS}");
    if header.record_count < 2 {
        return None;
    }
    let payload = batch.payload();
    let half = payload.len() / 2;
    let mut first = BatchBuilder::with_capacity(batch.bytes().len());
    let mut second = BatchBuilder::with_capacity(batch.bytes().len());
    for record in Records::new(&header, &payload).expect(OURS) {
        let record = record.expect(OURS);
        let is_first_half = first.is_empty() || record.span().end as usize <= half;
        let target = if is_first_half {
            &mut first
        } else {
            &mut second
        };
        target.append(record.timestamp, record.key, record.value, record.headers());
    }
    let second_sequence = sequence_after(header.base_sequence, first.record_count());
    let finish = |mut half: BatchBuilder, sequence| {
        half.finish(header.producer_id, header.producer_epoch, sequence)
    };
    Some((
        finish(first, header.base_sequence).freeze(),
        finish(second, second_sequence).freeze(),
    ))
}

/// The sequence that follows `record_count` records from `sequence`: after `i32::MAX` comes 0 (KIP-98), and -1, no
/// idempotence, stays.
pub const fn sequence_after(sequence: i32, record_count: i32) -> i32 {
    if sequence < 0 {
        sequence
    } else {
        sequence.wrapping_add(record_count) & i32::MAX
    }
}

fn headers_size<'a>(headers: impl Iterator<Item = Header<'a>>) -> (usize, usize) {
    let (mut count, mut len) = (0, 0);
    for (name, value) in headers {
        count += 1;
        len += nullable_size(Some(name)) + nullable_size(value);
    }
    (count, varint::size(signed(count)) + len)
}

fn nullable_size(bytes: Option<&[u8]>) -> usize {
    bytes.map_or(1, |bytes| varint::size(signed(bytes.len())) + bytes.len())
}

fn put_nullable(out: &mut impl BufMut, bytes: Option<&[u8]>) {
    match bytes {
        None => varint::put(out, -1),
        Some(bytes) => {
            varint::put(out, signed(bytes.len()));
            out.put_slice(bytes);
        }
    }
}

fn signed(len: usize) -> i64 {
    i64::try_from(len).expect("no slice is longer than isize::MAX")
}

const ATTRIBUTES_BYTES: usize = 1;
const VARINT32_BYTES_MAX: usize = 5;
const OURS: &str = "a batch that is split came from our own encoder";
