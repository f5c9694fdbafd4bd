//! A fetch response's record set, batch by batch.
//!
//! Sits under the fetcher. Its one rule: a batch is handed out whole and checked, or not at all; a broker cuts the last
//! one wherever the response is full, and that is an end, not an error.

use bytes::{Buf, Bytes};

use super::{
    BATCH_OVERHEAD_BYTES, BatchHeader, CRC_AT, CRC_FROM, DecodeError, LENGTH_AT,
    LENGTH_PREFIX_BYTES, MAGIC_AT, MAGIC_V2, inflate,
};

/// Walks the batches of a record set, without copying. Ends at the first error.
#[derive(Clone, Debug)]
pub struct Batches {
    records: Bytes,
    position: usize,
    failed: bool,
}

impl Batches {
    /// Starts at the first batch of `records`.
    pub const fn new(records: Bytes) -> Self {
        Self {
            records,
            position: 0,
            failed: false,
        }
    }

    /// Bytes not yet read. After the end: the size of the batch that was cut off, of which a reader that got no whole
    /// batch must ask for more.
    pub fn remaining(&self) -> usize {
        self.records.len() - self.position
    }

    fn next_batch(&mut self) -> Result<Option<Batch>, DecodeError> {
        let rest = &self.records[self.position..];
        let Some(len) = batch_len(rest, self.position)?.filter(|&len| len <= rest.len()) else {
            return Ok(None);
        };
        let batch = Batch::parse_at(
            self.records.slice(self.position..self.position + len),
            self.position,
        )?;
        self.position += len;
        Ok(Some(batch))
    }
}

impl Iterator for Batches {
    type Item = Result<Batch, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let next = self.next_batch();
        self.failed = next.is_err();
        next.transpose()
    }
}

/// One batch, its checksum verified.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The fixed part.
    pub header: BatchHeader,
    bytes: Bytes,
}

impl Batch {
    /// Reads a buffer that holds one batch and nothing else, as a produce request does.
    ///
    /// # Errors
    ///
    /// When it is anything but one whole batch of version 2.
    pub fn parse(bytes: Bytes) -> Result<Self, DecodeError> {
        let need = batch_len(&bytes, 0)?.unwrap_or(BATCH_OVERHEAD_BYTES);
        let have = bytes.len();
        if have < need {
            return Err(DecodeError::Truncated {
                offset: 0,
                need,
                have,
            });
        }
        if have > need {
            return Err(DecodeError::TrailingBytes {
                offset: need,
                have: have - need,
            });
        }
        Self::parse_at(bytes, 0)
    }

    fn parse_at(bytes: Bytes, offset: usize) -> Result<Self, DecodeError> {
        let magic = bytes[MAGIC_AT].cast_signed();
        if magic != MAGIC_V2 {
            return Err(DecodeError::UnsupportedMagic { offset, magic });
        }
        if bytes.len() < BATCH_OVERHEAD_BYTES {
            let length = (&bytes[LENGTH_AT..]).get_i32().into();
            return Err(DecodeError::BadLength {
                offset: offset + LENGTH_AT,
                length,
            });
        }
        let stored = (&bytes[CRC_AT..]).get_u32();
        let computed = crc32c::crc32c(&bytes[CRC_FROM..]);
        if stored != computed {
            return Err(DecodeError::ChecksumMismatch {
                offset,
                stored,
                computed,
            });
        }
        let header = BatchHeader::parse(&bytes, offset)?;
        Ok(Self { header, bytes })
    }

    /// The batch as it came.
    pub const fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The records as they came, compressed or not.
    pub fn payload(&self) -> Bytes {
        self.bytes.slice(BATCH_OVERHEAD_BYTES..)
    }

    /// The records, inflated, for [`Records`](super::Records). Uncompressed ones are not copied, nor measured against
    /// `bytes_max`: they are in memory already.
    ///
    /// # Errors
    ///
    /// When the compressed bytes are damaged, or would inflate to more than `bytes_max`.
    pub fn inflate(&self, bytes_max: usize) -> Result<Bytes, DecodeError> {
        inflate::inflate(self.header.compression, self.payload(), bytes_max)
    }
}

/// Bytes of the batch that `rest` starts with, `None` when its length field is cut off. At least enough to hold a magic
/// byte, which stands at the same place in every version.
fn batch_len(rest: &[u8], offset: usize) -> Result<Option<usize>, DecodeError> {
    if rest.len() < LENGTH_PREFIX_BYTES {
        return Ok(None);
    }
    let length = (&rest[LENGTH_AT..]).get_i32();
    match usize::try_from(length) {
        Ok(length) if LENGTH_PREFIX_BYTES + length > MAGIC_AT => {
            Ok(Some(LENGTH_PREFIX_BYTES + length))
        }
        _ => Err(DecodeError::BadLength {
            offset: offset + LENGTH_AT,
            length: length.into(),
        }),
    }
}
