//! Record batches, version 2, as bytes: header fields, the rules for produced ones, and record boundaries.
//! Sits between the API handlers and the log.
//!
//! One rule: bytes are looked at, never decoded into records, so that what a producer sent (duplicate and null headers,
//! compression, unknown attributes) is what a consumer gets.

use super::error::ErrorCode;
use bytes::{BufMut, Bytes, BytesMut};
use std::ops::Range;

/// Length of a batch's header in bytes; the records follow.
pub(super) const HEADER_BYTES: usize = 61;
/// Bytes before and including the length field, which counts what comes after it.
pub(super) const PREFIX_BYTES: usize = 12;
/// Where the checksum is, and where the bytes start that it covers.
const CRC_AT: usize = 17;
const CRC_FROM: usize = 21;
const LENGTH_AT: usize = 8;
const MAGIC_AT: usize = 16;
const RECORD_COUNT_AT: usize = 57;

const COMPRESSION_MASK: i16 = 0x07;
const TRANSACTIONAL: i16 = 0x10;
const CONTROL: i16 = 0x20;

/// The fields of a batch's header that the broker uses.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    pub(super) base_offset: i64,
    /// Bytes of the whole batch, header included.
    pub(super) size: usize,
    pub(super) attributes: i16,
    pub(super) last_offset_delta: i32,
    pub(super) base_timestamp: i64,
    pub(super) max_timestamp: i64,
    pub(super) producer_id: i64,
    pub(super) producer_epoch: i16,
    pub(super) base_sequence: i32,
    pub(super) record_count: i32,
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

impl Header {
    /// Reads the header at the start of `bytes`; `None` when it is cut short, no v2 batch, or claims an impossible size.
    /// The batch's other bytes need not be there yet.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let length = usize::try_from(i32::from_be_bytes(field(bytes, LENGTH_AT)?)).ok()?;
        let header = Self {
            base_offset: i64::from_be_bytes(field(bytes, 0)?),
            size: length + PREFIX_BYTES,
            attributes: i16::from_be_bytes(field(bytes, 21)?),
            last_offset_delta: i32::from_be_bytes(field(bytes, 23)?),
            base_timestamp: i64::from_be_bytes(field(bytes, 27)?),
            max_timestamp: i64::from_be_bytes(field(bytes, 35)?),
            producer_id: i64::from_be_bytes(field(bytes, 43)?),
            producer_epoch: i16::from_be_bytes(field(bytes, 51)?),
            base_sequence: i32::from_be_bytes(field(bytes, 53)?),
            record_count: i32::from_be_bytes(field(bytes, RECORD_COUNT_AT)?),
        };
        let sane = header.size >= HEADER_BYTES && header.last_offset_delta >= 0;
        (sane && bytes[MAGIC_AT] == 2).then_some(header)
    }

    fn is_compressed(&self) -> bool {
        self.attributes & COMPRESSION_MASK != 0
    }
}

/// Whether the checksum in a whole batch is that of its bytes.
pub(super) fn checksum_matches(batch: &[u8]) -> bool {
    field(batch, CRC_AT).is_some_and(|crc| u32::from_be_bytes(crc) == checksum(batch))
}

fn checksum(batch: &[u8]) -> u32 {
    crc32c::crc32c(batch.get(CRC_FROM..).unwrap_or_default())
}

/// Checks what a producer sent for one partition: exactly one v2 batch, well formed, of at most `message_bytes_max`.
///
/// # Errors
/// As Apache Kafka answers: `INVALID_RECORD`, `MESSAGE_TOO_LARGE`, `CORRUPT_MESSAGE`, `INVALID_TXN_STATE`.
pub(super) fn check_produced(set: &[u8], message_bytes_max: usize) -> Result<Header, ErrorCode> {
    if set.len() > MAGIC_AT && set[MAGIC_AT] != 2 {
        return Err(ErrorCode::INVALID_RECORD);
    }
    if set.is_empty() {
        return Err(ErrorCode::INVALID_RECORD);
    }
    let header = Header::read(set).ok_or(ErrorCode::CORRUPT_MESSAGE)?;
    if header.size > message_bytes_max {
        return Err(ErrorCode::MESSAGE_TOO_LARGE);
    }
    if header.size > set.len() || !checksum_matches(&set[..header.size]) {
        return Err(ErrorCode::CORRUPT_MESSAGE);
    }
    if header.size < set.len() || header.attributes & CONTROL != 0 {
        return Err(ErrorCode::INVALID_RECORD);
    }
    if header.attributes & TRANSACTIONAL != 0 {
        return Err(ErrorCode::INVALID_TXN_STATE);
    }
    check_counts(set, &header)?;
    Ok(header)
}

/// A producer's offsets are dense: delta 0 to count minus one. Compaction relies on it.
fn check_counts(batch: &[u8], header: &Header) -> Result<(), ErrorCode> {
    let bad_sequence =
        header.producer_id >= 0 && (header.base_sequence < 0 || header.producer_epoch < 0);
    if header.record_count < 1
        || header.record_count - 1 != header.last_offset_delta
        || bad_sequence
    {
        return Err(ErrorCode::INVALID_RECORD);
    }
    if header.is_compressed() {
        return Ok(());
    }
    let records = records(batch, header).ok_or(ErrorCode::INVALID_RECORD)?;
    let dense = records
        .iter()
        .map(|r| r.offset_delta)
        .eq(0..i64::from(header.record_count));
    if dense {
        Ok(())
    } else {
        Err(ErrorCode::INVALID_RECORD)
    }
}

/// A copy of `batch` that stands at `base_offset`. Neither offset nor leader epoch is under the checksum.
pub(super) fn at_offset(batch: &[u8], base_offset: i64) -> Bytes {
    let mut placed = BytesMut::with_capacity(batch.len());
    placed.put_i64(base_offset);
    placed.put_slice(&batch[LENGTH_AT..PREFIX_BYTES]);
    placed.put_i32(super::LEADER_EPOCH);
    placed.put_slice(&batch[MAGIC_AT..]);
    placed.freeze()
}

/// One record inside a batch, as places in the batch's bytes.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) timestamp: i64,
    pub(super) offset_delta: i64,
    /// `None`: the record has no key.
    pub(super) key: Option<Range<usize>>,
    /// The value is null.
    pub(super) is_tombstone: bool,
    /// The whole record with its length.
    pub(super) span: Range<usize>,
}

/// The records of a whole batch; `None` when it is compressed, a control batch, or malformed.
pub(super) fn records(batch: &[u8], header: &Header) -> Option<Vec<Record>> {
    if header.is_compressed() || header.attributes & CONTROL != 0 {
        return None;
    }
    let mut found = Vec::new();
    let mut at = HEADER_BYTES;
    while at < batch.len() {
        let record = record_at(batch, at, header.base_timestamp)?;
        at = record.span.end;
        found.push(record);
    }
    (usize::try_from(header.record_count) == Ok(found.len())).then_some(found)
}

fn record_at(batch: &[u8], start: usize, base_timestamp: i64) -> Option<Record> {
    let mut at = start;
    let length = usize::try_from(varint(batch, &mut at)?).ok()?;
    let end = at.checked_add(length).filter(|end| *end <= batch.len())?;
    let body = &batch[..end];
    at += 1; // attributes, unused
    let timestamp = base_timestamp.checked_add(varint(body, &mut at)?)?;
    let offset_delta = varint(body, &mut at)?;
    let key = nullable(body, &mut at)?;
    let value = nullable(body, &mut at)?;
    let is_tombstone = value.is_none();
    Some(Record {
        timestamp,
        offset_delta,
        key,
        is_tombstone,
        span: start..end,
    })
}

/// A length and that many bytes; the inner `None` is a null.
#[expect(
    clippy::option_option,
    reason = "malformed and null are different answers"
)]
fn nullable(bytes: &[u8], at: &mut usize) -> Option<Option<Range<usize>>> {
    let length = varint(bytes, at)?;
    if length < 0 {
        return Some(None);
    }
    let start = *at;
    *at = start
        .checked_add(usize::try_from(length).ok()?)
        .filter(|end| *end <= bytes.len())?;
    Some(Some(start..*at))
}

/// A zigzag variable-length integer, at most ten bytes.
fn varint(bytes: &[u8], at: &mut usize) -> Option<i64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let byte = *bytes.get(*at)?;
        *at += 1;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some((value >> 1).cast_signed() ^ -(value & 1).cast_signed());
        }
    }
    None
}

/// The batch with only the records `kept`, at the same offsets: base offset and last offset delta stay, so the
/// offsets of what is gone are holes, as in a log that Kafka compacted.
pub(super) fn retain<'a>(
    batch: &[u8],
    kept: impl ExactSizeIterator<Item = &'a Record>,
) -> Option<Bytes> {
    let count = i32::try_from(kept.len()).ok()?;
    let mut out = BytesMut::with_capacity(batch.len());
    out.put_slice(batch.get(..HEADER_BYTES)?);
    for record in kept {
        out.put_slice(batch.get(record.span.clone())?);
    }
    let length = i32::try_from(out.len() - PREFIX_BYTES).ok()?;
    out[LENGTH_AT..PREFIX_BYTES].copy_from_slice(&length.to_be_bytes());
    out[RECORD_COUNT_AT..HEADER_BYTES].copy_from_slice(&count.to_be_bytes());
    let crc = checksum(&out);
    out[CRC_AT..CRC_FROM].copy_from_slice(&crc.to_be_bytes());
    Some(out.freeze())
}
