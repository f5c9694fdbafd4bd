//! Why bytes from a broker are not a record batch. Below the decoder; its one rule: every variant says where.

use std::error::Error;
use std::fmt;

use super::Compression;

/// What is wrong with a record set. `offset` counts bytes from the start of the record set for a batch, and from the
/// start of the inflated records for a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// A field reaches past the end of what holds it.
    Truncated {
        /// Where the field starts.
        offset: usize,
        /// Bytes that the field needs.
        need: usize,
        /// Bytes that are left.
        have: usize,
    },
    /// A length is negative where null is not allowed, or too short for the fixed part that it counts.
    BadLength {
        /// Where the length stands.
        offset: usize,
        /// The length as stored.
        length: i64,
    },
    /// A variable-length integer is longer than its type.
    VarintOverflow {
        /// Where the integer starts.
        offset: usize,
    },
    /// A count promises more entries than the bytes could hold, or is negative.
    BadCount {
        /// Where the entries start.
        offset: usize,
        /// The count as stored.
        count: i32,
        /// Bytes that are there for the entries.
        have: usize,
    },
    /// A Kafka offset is negative, does not climb within its batch, or passes the batch's last offset.
    BadOffset {
        /// Where the batch or record starts.
        offset: usize,
        /// The Kafka offset, or offset delta, as stored.
        value: i64,
    },
    /// Bytes follow the last field or record that was announced.
    TrailingBytes {
        /// Where they start.
        offset: usize,
        /// How many there are.
        have: usize,
    },
    /// The batch has another format than version 2: 0 and 1 are the message sets from before Kafka 0.11.
    UnsupportedMagic {
        /// Where the batch starts.
        offset: usize,
        /// The version that it claims.
        magic: i8,
    },
    /// The batch names a codec that Kafka has not defined.
    UnsupportedCompression {
        /// Where the batch starts.
        offset: usize,
        /// The codec's number.
        code: u8,
    },
    /// The checksum over the batch does not match.
    ChecksumMismatch {
        /// Where the batch starts.
        offset: usize,
        /// The checksum as stored.
        stored: u32,
        /// The checksum of the bytes that came.
        computed: u32,
    },
    /// The compressed records are damaged.
    CorruptCompression {
        /// The codec that refused them.
        compression: Compression,
    },
    /// The records would take more room than the caller grants.
    InflatedTooLarge {
        /// The codec that was stopped.
        compression: Compression,
        /// The grant.
        bytes_max: usize,
    },
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Truncated { offset, need, have } => {
                write!(
                    f,
                    "record set ends early at byte {offset}: need {need}, have {have}"
                )
            }
            Self::BadLength { offset, length } => {
                write!(f, "impossible length {length} at byte {offset}")
            }
            Self::VarintOverflow { offset } => write!(f, "varint too long at byte {offset}"),
            Self::BadCount {
                offset,
                count,
                have,
            } => {
                write!(
                    f,
                    "impossible count {count} at byte {offset}: have {have} bytes"
                )
            }
            Self::BadOffset { offset, value } => {
                write!(f, "impossible kafka offset {value} at byte {offset}")
            }
            Self::TrailingBytes { offset, have } => {
                write!(f, "{have} bytes left over at byte {offset}")
            }
            Self::UnsupportedMagic { offset, magic } => {
                write!(
                    f,
                    "record format version {magic} at byte {offset} is not supported, only 2 is"
                )
            }
            Self::UnsupportedCompression { offset, code } => {
                write!(f, "unknown compression codec {code} at byte {offset}")
            }
            Self::ChecksumMismatch {
                offset,
                stored,
                computed,
            } => {
                write!(
                    f,
                    "checksum of the batch at byte {offset} is {computed:08x}, stored {stored:08x}"
                )
            }
            Self::CorruptCompression { compression } => write!(f, "damaged {compression} data"),
            Self::InflatedTooLarge {
                compression,
                bytes_max,
            } => {
                write!(
                    f,
                    "{compression} data inflates to more than {bytes_max} bytes"
                )
            }
        }
    }
}

impl Error for DecodeError {}
