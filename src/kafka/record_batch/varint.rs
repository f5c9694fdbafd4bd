//! Zigzag varints as protobuf's `sint` and Kafka's records write them, and the bounded reader that both decoders share.
//!
//! Below everything in this folder and `mapping/progress.rs`. Its one rule: no read passes the end of the slice.

use bytes::BufMut;

use super::DecodeError;

/// Bytes of the longest 64-bit varint.
pub(crate) const VARINT_BYTES_MAX: usize = 10;

/// Bytes that `value` takes.
pub(crate) const fn size(value: i64) -> usize {
    let significant_bits = u64::BITS - (zigzag(value) | 1).leading_zeros();
    significant_bits.div_ceil(7) as usize
}

/// Appends `value`.
#[inline]
pub(crate) fn put(out: &mut impl BufMut, value: i64) {
    let mut rest = zigzag(value);
    // Most lengths and deltas are below 64: one store, no loop.
    if rest < 0x80 {
        return out.put_u8(rest.to_le_bytes()[0]);
    }
    let mut encoded = [0; VARINT_BYTES_MAX];
    let mut len = 0;
    while rest >= 0x80 {
        encoded[len] = rest.to_le_bytes()[0] | 0x80;
        rest >>= 7;
        len += 1;
    }
    encoded[len] = rest.to_le_bytes()[0];
    out.put_slice(&encoded[..=len]);
}

const fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

/// Reads from a slice and remembers where it is, so that errors can say so.
#[derive(Clone, Debug)]
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Reader<'a> {
    /// A reader of `bytes` that starts at `position`, which may lie beyond the end.
    pub(crate) const fn new(bytes: &'a [u8], position: usize) -> Self {
        Self { bytes, position }
    }

    #[inline]
    pub(crate) const fn position(&self) -> usize {
        self.position
    }

    /// Bytes left to read.
    #[inline]
    pub(crate) const fn remaining(&self) -> usize {
        self.bytes.len().saturating_sub(self.position)
    }

    /// Takes the next `len` bytes.
    #[inline]
    pub(crate) fn take(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        let taken = self
            .bytes
            .get(self.position..)
            .and_then(|rest| rest.get(..len));
        let taken = taken.ok_or_else(|| self.truncated(len))?;
        self.position += len;
        Ok(taken)
    }

    /// Takes one byte.
    #[inline]
    pub(crate) fn byte(&mut self) -> Result<u8, DecodeError> {
        let byte = *self
            .bytes
            .get(self.position)
            .ok_or_else(|| self.truncated(1))?;
        self.position += 1;
        Ok(byte)
    }

    /// Takes a varint of at most 64 bits.
    #[inline]
    pub(crate) fn varint(&mut self) -> Result<i64, DecodeError> {
        // Most take one byte or two, and a record is made of seven of them.
        let raw = match self.bytes.get(self.position..) {
            Some(&[first @ 0..0x80, ..]) => {
                self.position += 1;
                u64::from(first)
            }
            Some(&[first, second @ 0..0x80, ..]) => {
                self.position += 2;
                u64::from(first & 0x7f) | u64::from(second) << 7
            }
            _ => self.long_varint()?,
        };
        Ok((raw >> 1).cast_signed() ^ -(raw & 1).cast_signed())
    }

    #[cold]
    fn long_varint(&mut self) -> Result<u64, DecodeError> {
        let start = self.position;
        let mut raw = 0;
        for shift in (0..u64::BITS).step_by(7) {
            let byte = self.byte()?;
            let part = u64::from(byte & 0x7f);
            if (part << shift) >> shift != part {
                break;
            }
            raw |= part << shift;
            if byte < 0x80 {
                return Ok(raw);
            }
        }
        Err(DecodeError::VarintOverflow { offset: start })
    }

    /// Takes a varint of at most 32 bits.
    #[inline]
    pub(crate) fn varint32(&mut self) -> Result<i32, DecodeError> {
        let offset = self.position;
        i32::try_from(self.varint()?).map_err(|_| DecodeError::VarintOverflow { offset })
    }

    /// Takes a length that may not be null.
    #[inline]
    pub(crate) fn length(&mut self) -> Result<usize, DecodeError> {
        let offset = self.position;
        let length = self.varint32()?;
        usize::try_from(length).map_err(|_| DecodeError::BadLength {
            offset,
            length: length.into(),
        })
    }

    /// Takes a length and that many bytes, where length -1 stands for null.
    #[inline]
    pub(crate) fn nullable_bytes(&mut self) -> Result<Option<&'a [u8]>, DecodeError> {
        let offset = self.position;
        match self.varint32()? {
            -1 => Ok(None),
            length => match usize::try_from(length) {
                Ok(length) => self.take(length).map(Some),
                Err(_) => Err(DecodeError::BadLength {
                    offset,
                    length: length.into(),
                }),
            },
        }
    }

    #[cold]
    fn truncated(&self, need: usize) -> DecodeError {
        DecodeError::Truncated {
            offset: self.position,
            need,
            have: self.remaining(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encoded(value: i64) -> Vec<u8> {
        let mut out = Vec::new();
        put(&mut out, value);
        out
    }

    #[test]
    fn small_values_of_either_sign_are_short() {
        for (value, bytes) in [
            (0, &[0][..]),
            (-1, &[1]),
            (63, &[126]),
            (64, &[0x80, 1]),
            (-65, &[0x81, 1]),
        ] {
            assert_eq!(encoded(value), bytes, "{value}");
        }
        assert_eq!(encoded(i64::MIN).len(), VARINT_BYTES_MAX);
    }

    #[test]
    fn a_varint_longer_than_its_type_is_refused() {
        let endless = [0xff; 11];
        assert_eq!(
            Reader::new(&endless, 0).varint(),
            Err(DecodeError::VarintOverflow { offset: 0 })
        );
        let sixty_five_bits = [0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 2];
        assert_eq!(
            Reader::new(&sixty_five_bits, 0).varint(),
            Err(DecodeError::VarintOverflow { offset: 0 })
        );
        let thirty_three_bits = encoded(i64::from(i32::MAX) + 1);
        assert_eq!(
            Reader::new(&thirty_three_bits, 0).varint32(),
            Err(DecodeError::VarintOverflow { offset: 0 })
        );
    }

    #[test]
    fn a_reader_placed_past_the_end_only_errs() {
        let mut reader = Reader::new(&[1, 2], 9);
        assert_eq!(reader.remaining(), 0);
        assert_eq!(
            reader.byte(),
            Err(DecodeError::Truncated {
                offset: 9,
                need: 1,
                have: 0
            })
        );
        assert_eq!(
            reader.take(usize::MAX),
            Err(DecodeError::Truncated {
                offset: 9,
                need: usize::MAX,
                have: 0
            })
        );
    }

    proptest! {
        #[test]
        fn every_value_comes_back_and_takes_the_size_foretold(value in any::<i64>(), shift in 0..64) {
            let value = value >> shift;
            let bytes = encoded(value);
            prop_assert_eq!(bytes.len(), size(value));
            let mut reader = Reader::new(&bytes, 0);
            prop_assert_eq!(reader.varint(), Ok(value));
            prop_assert_eq!(reader.remaining(), 0);
        }
    }
}
