//! The 61 bytes before the records of a batch, read as one value. Below the batch iterator; its one rule: what it
//! returns is consistent, so that no later arithmetic on offsets or lengths can overflow.

use std::fmt;

use bytes::Buf;

use super::{BATCH_OVERHEAD_BYTES, DecodeError, RECORD_BYTES_MIN};
use crate::clock::UnixMillis;

/// The fixed part of a record batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    /// Offset of the first record that the batch was written with, never negative.
    pub base_offset: i64,
    /// Distance from the base offset to the last offset of the batch, never negative; compaction keeps it.
    pub last_offset_delta: i32,
    /// Leader epoch at the append, -1 when unknown (KIP-320).
    pub partition_leader_epoch: i32,
    /// How the records are compressed.
    pub compression: Compression,
    /// Timestamp that the records' deltas count from; the delete horizon if there is one.
    pub base_timestamp: UnixMillis,
    /// Latest timestamp of the batch, or the append time of all of it.
    pub max_timestamp: UnixMillis,
    /// Id of the idempotent or transactional producer, -1 without.
    pub producer_id: i64,
    /// Epoch of that producer, -1 without.
    pub producer_epoch: i16,
    /// Sequence of the first record, -1 without.
    pub base_sequence: i32,
    /// Records in the batch, never negative; zero when compaction removed all of them.
    pub record_count: i32,
    attributes: i16,
}

impl BatchHeader {
    /// Reads the header of a batch that stands at byte `offset` of its record set; magic and checksum are the caller's.
    pub(super) fn parse(batch: &[u8], offset: usize) -> Result<Self, DecodeError> {
        let mut fields: &[u8] =
            batch
                .first_chunk::<BATCH_OVERHEAD_BYTES>()
                .ok_or(DecodeError::Truncated {
                    offset,
                    need: BATCH_OVERHEAD_BYTES,
                    have: batch.len(),
                })?;
        let base_offset = fields.get_i64();
        let _length = fields.get_i32();
        let partition_leader_epoch = fields.get_i32();
        let (_magic, _crc) = (fields.get_i8(), fields.get_u32());
        let attributes = fields.get_i16();
        let header = Self {
            base_offset,
            last_offset_delta: fields.get_i32(),
            partition_leader_epoch,
            compression: Compression::from_attributes(attributes, offset)?,
            base_timestamp: UnixMillis(fields.get_i64()),
            max_timestamp: UnixMillis(fields.get_i64()),
            producer_id: fields.get_i64(),
            producer_epoch: fields.get_i16(),
            base_sequence: fields.get_i32(),
            record_count: fields.get_i32(),
            attributes,
        };
        header.check(batch.len() - BATCH_OVERHEAD_BYTES, offset)?;
        Ok(header)
    }

    fn check(&self, payload_len: usize, offset: usize) -> Result<(), DecodeError> {
        if self.base_offset < 0 {
            return Err(DecodeError::BadOffset {
                offset,
                value: self.base_offset,
            });
        }
        // One more than the last offset must exist too: it is where the next fetch starts.
        let beyond = i64::MAX - self.base_offset <= i64::from(self.last_offset_delta);
        if self.last_offset_delta < 0 || beyond {
            return Err(DecodeError::BadOffset {
                offset,
                value: self.last_offset_delta.into(),
            });
        }
        if self.compression == Compression::None {
            self.check_count(payload_len, offset + BATCH_OVERHEAD_BYTES)
        } else if self.record_count < 0 {
            Err(DecodeError::BadCount {
                offset,
                count: self.record_count,
                have: payload_len,
            })
        } else {
            Ok(())
        }
    }

    /// Refuses a count that `records_len` bytes of inflated records cannot hold, before anything is sized by it.
    pub(super) fn check_count(&self, records_len: usize, offset: usize) -> Result<(), DecodeError> {
        let held_max = records_len / RECORD_BYTES_MIN;
        match usize::try_from(self.record_count) {
            Ok(count) if count <= held_max => Ok(()),
            _ => Err(DecodeError::BadCount {
                offset,
                count: self.record_count,
                have: records_len,
            }),
        }
    }

    /// Offset of the last record that the batch was written with.
    pub const fn last_offset(&self) -> i64 {
        self.base_offset + self.last_offset_delta as i64
    }

    /// Offset at which reading goes on after this batch, also when its last records were compacted away.
    pub const fn next_offset(&self) -> i64 {
        self.last_offset() + 1
    }

    /// Whether the broker stamped the batch when it appended it.
    pub const fn is_log_append_time(&self) -> bool {
        self.attributes & 0x08 != 0
    }

    /// Whether the batch belongs to a transaction.
    pub const fn is_transactional(&self) -> bool {
        self.attributes & 0x10 != 0
    }

    /// Whether the batch holds transaction markers instead of records.
    pub const fn is_control(&self) -> bool {
        self.attributes & 0x20 != 0
    }

    /// When compaction may remove the tombstones of the batch (KIP-534), if it decided so already.
    pub fn delete_horizon(&self) -> Option<UnixMillis> {
        (self.attributes & 0x40 != 0).then_some(self.base_timestamp)
    }

    /// What the timestamps of the records count from; all that a cache must keep to read a record again.
    pub const fn timestamp_base(&self) -> TimestampBase {
        if self.is_log_append_time() {
            TimestampBase::LogAppendTime(self.max_timestamp)
        } else {
            TimestampBase::CreateTime(self.base_timestamp)
        }
    }
}

/// What the timestamps of a batch's records mean (KIP-32).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimestampBase {
    /// Each record has its own: this plus its delta.
    CreateTime(UnixMillis),
    /// All records have this one.
    LogAppendTime(UnixMillis),
}

impl TimestampBase {
    /// The timestamp of a record with this delta. Wraps like the subtraction that made the delta.
    pub(super) const fn at(self, delta_ms: i64) -> UnixMillis {
        match self {
            Self::CreateTime(base) => UnixMillis(base.0.wrapping_add(delta_ms)),
            Self::LogAppendTime(all) => all,
        }
    }
}

/// How the records of a batch are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// RFC 1952.
    Gzip,
    /// Snappy, in one raw block or in the framing of the Java library (xerial).
    Snappy,
    /// The LZ4 frame format.
    Lz4,
    /// RFC 8878 (KIP-110).
    Zstd,
}

impl Compression {
    fn from_attributes(attributes: i16, offset: usize) -> Result<Self, DecodeError> {
        match attributes.to_be_bytes()[1] & 0x07 {
            0 => Ok(Self::None),
            1 => Ok(Self::Gzip),
            2 => Ok(Self::Snappy),
            3 => Ok(Self::Lz4),
            4 => Ok(Self::Zstd),
            code => Err(DecodeError::UnsupportedCompression { offset, code }),
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "uncompressed",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        })
    }
}
