//! The records of one inflated batch, each a view into its bytes.
//!
//! Sits under the cache and the reply scan. Its one rule: [`Records`] checks everything once, so that
//! [`RecordRef::parse_at`] may later read any one record again from nothing but its position.

use std::iter::FusedIterator;
use std::ops::Range;

use bytes::Buf;

use super::varint::Reader;
use super::{BatchHeader, DecodeError, HEADER_BYTES_MIN, Header, TimestampBase};
use crate::clock::UnixMillis;

/// Walks the records of a batch in order. Ends at the first error.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    inflated: &'a [u8],
    position: u32,
    left: i32,
    offset_delta_min: i32,
    offset_delta_max: i32,
    timestamps: TimestampBase,
}

impl<'a> Records<'a> {
    /// Starts at the first record of `inflated`, which is what [`Batch::inflate`](super::Batch::inflate) returned for
    /// the batch with this header.
    ///
    /// # Errors
    ///
    /// When the header counts more records than the bytes can hold, or there are 4 GiB of them.
    pub fn new(header: &BatchHeader, inflated: &'a [u8]) -> Result<Self, DecodeError> {
        header.check_count(inflated.len(), 0)?;
        position_of(inflated.len())?;
        Ok(Self {
            inflated,
            position: 0,
            left: header.record_count,
            offset_delta_min: 0,
            offset_delta_max: header.last_offset_delta,
            timestamps: header.timestamp_base(),
        })
    }

    #[inline]
    fn next_record(&mut self) -> Result<Option<RecordRef<'a>>, DecodeError> {
        let start = self.position as usize;
        if self.left == 0 {
            return match self.inflated.len() - start {
                0 => Ok(None),
                have => Err(DecodeError::TrailingBytes {
                    offset: start,
                    have,
                }),
            };
        }
        let record = RecordRef::parse_at(self.inflated, self.position, self.timestamps)?;
        record.headers.check()?;
        let value = record.offset_delta;
        if value < self.offset_delta_min || value > self.offset_delta_max {
            return Err(DecodeError::BadOffset {
                offset: start,
                value: value.into(),
            });
        }
        self.offset_delta_min = value.saturating_add(1);
        self.left -= 1;
        self.position = record.span.end;
        Ok(Some(record))
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<RecordRef<'a>, DecodeError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let next = self.next_record();
        if next.is_err() {
            self.inflated = &[];
            (self.position, self.left) = (0, 0);
        }
        next.transpose()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        // One more than the records: bytes after the last one come out as an error.
        (0, usize::try_from(self.left).ok().map(|left| left + 1))
    }
}

impl FusedIterator for Records<'_> {}

/// One record, borrowed from the inflated bytes of its batch.
#[derive(Clone, Debug)]
pub struct RecordRef<'a> {
    /// Distance from the batch's base offset.
    pub offset_delta: i32,
    /// When it was created, or appended if the topic says so.
    pub timestamp: UnixMillis,
    /// The key; null is not empty.
    pub key: Option<&'a [u8]>,
    /// The value; null is a tombstone, empty is not.
    pub value: Option<&'a [u8]>,
    headers: HeaderIter<'a>,
    span: Range<u32>,
}

impl<'a> RecordRef<'a> {
    /// Reads the record that starts at byte `position` of `inflated`: where a [`span`](Self::span) started. Headers are
    /// not looked at before they are asked for.
    ///
    /// # Errors
    ///
    /// When no record starts there.
    #[inline]
    pub fn parse_at(
        inflated: &'a [u8],
        position: u32,
        timestamps: TimestampBase,
    ) -> Result<Self, DecodeError> {
        let mut prefix = Reader::new(inflated, position as usize);
        let length = prefix.length()?;
        let start = prefix.position();
        prefix.take(length)?;
        let end = prefix.position();

        let mut body = Reader::new(&inflated[..end], start);
        let _attributes = body.byte()?;
        let timestamp = timestamps.at(body.varint()?);
        let offset_delta = body.varint32()?;
        let key = body.nullable_bytes()?;
        let value = body.nullable_bytes()?;
        let headers = HeaderIter::parse(body)?;
        Ok(Self {
            offset_delta,
            timestamp,
            key,
            value,
            headers,
            span: position..position_of(end)?,
        })
    }

    /// The headers in order, repeated names and null values included.
    pub fn headers(&self) -> HeaderIter<'a> {
        self.headers.clone()
    }

    /// The bytes of the record, its length prefix included, within the inflated bytes of its batch.
    pub fn span(&self) -> Range<u32> {
        self.span.clone()
    }
}

/// Walks the headers of a record. Cheap to clone, so [`BatchBuilder::append`](super::BatchBuilder::append) takes it as
/// it is.
#[derive(Clone, Debug)]
pub struct HeaderIter<'a> {
    reader: Reader<'a>,
    headers_left: i32,
}

impl<'a> HeaderIter<'a> {
    #[inline]
    fn parse(mut reader: Reader<'a>) -> Result<Self, DecodeError> {
        let headers_left = reader.varint32()?;
        let (offset, have) = (reader.position(), reader.remaining());
        match usize::try_from(headers_left) {
            Ok(count) if count <= have / HEADER_BYTES_MIN => Ok(Self {
                reader,
                headers_left,
            }),
            _ => Err(DecodeError::BadCount {
                offset,
                count: headers_left,
                have,
            }),
        }
    }

    #[inline]
    fn next_header(&mut self) -> Result<Header<'a>, DecodeError> {
        let name_len = self.reader.length()?;
        let name = self.reader.take(name_len)?;
        Ok((name, self.reader.nullable_bytes()?))
    }

    /// Whether all headers can be read and the last ends where the record does.
    #[inline]
    fn check(&self) -> Result<(), DecodeError> {
        if self.headers_left == 0 && self.reader.remaining() == 0 {
            return Ok(());
        }
        let mut ahead = self.clone();
        for _ in 0..self.headers_left {
            ahead.next_header()?;
        }
        match ahead.reader.remaining() {
            0 => Ok(()),
            have => Err(DecodeError::TrailingBytes {
                offset: ahead.reader.position(),
                have,
            }),
        }
    }
}

impl<'a> Iterator for HeaderIter<'a> {
    type Item = Header<'a>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.headers_left == 0 {
            return None;
        }
        // Records have been checked before; bytes that never were may end early here, but cannot do worse.
        let header = self.next_header().ok();
        self.headers_left = if header.is_some() {
            self.headers_left - 1
        } else {
            0
        };
        header
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, usize::try_from(self.headers_left).ok())
    }
}

impl FusedIterator for HeaderIter<'_> {}

/// What a control batch says about the transaction of its producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControlRecord {
    /// The transaction is void.
    Abort,
    /// The transaction stands.
    Commit,
}

impl ControlRecord {
    /// Reads the key of a control record: version and type, 16 bits each. `None` for types that concern no consumer.
    pub fn parse(mut key: &[u8]) -> Option<Self> {
        let _version = key.try_get_i16().ok()?;
        match key.try_get_i16().ok()? {
            0 => Some(Self::Abort),
            1 => Some(Self::Commit),
            _ => None,
        }
    }
}

#[inline]
fn position_of(index: usize) -> Result<u32, DecodeError> {
    u32::try_from(index).map_err(|_| DecodeError::BadLength {
        offset: 0,
        length: i64::try_from(index).unwrap_or(i64::MAX),
    })
}
