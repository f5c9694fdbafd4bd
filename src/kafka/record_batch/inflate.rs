//! Compressed records to plain ones. Sits between a batch and its records; its one rule: whatever the compressed bytes
//! claim, memory stays within a small factor of what the caller grants.

use std::io::{ErrorKind, Read};

use bytes::{Buf, Bytes};
use flate2::bufread::MultiGzDecoder;

use super::{Compression, DecodeError};

/// Inflates `payload`; uncompressed, it comes back as it is.
pub(super) fn inflate(
    compression: Compression,
    payload: Bytes,
    bytes_max: usize,
) -> Result<Bytes, DecodeError> {
    match compression {
        Compression::None => Ok(payload),
        Compression::Gzip => {
            Inflation::new(compression, bytes_max).read(&payload, MultiGzDecoder::new(&payload[..]))
        }
        Compression::Snappy => Inflation::new(compression, bytes_max).snappy(&payload),
        Compression::Lz4 => Inflation::new(compression, bytes_max).lz4(&payload),
        Compression::Zstd => Inflation::new(compression, bytes_max).zstd(&payload),
    }
}

/// One run of a codec, within its grant.
struct Inflation {
    compression: Compression,
    bytes_max: usize,
    inflated: Vec<u8>,
}

impl Inflation {
    const fn new(compression: Compression, bytes_max: usize) -> Self {
        Self {
            compression,
            bytes_max,
            inflated: Vec::new(),
        }
    }

    /// Drains a streaming decoder of `payload`, one byte past the grant at most.
    fn read(mut self, payload: &[u8], decoder: impl Read) -> Result<Bytes, DecodeError> {
        // Sized by bytes that really came, not by what they claim to hold.
        self.inflated.reserve(
            payload
                .len()
                .saturating_mul(RATIO_GUESS)
                .min(self.bytes_max),
        );
        let stop_at = u64::try_from(self.bytes_max)
            .unwrap_or(u64::MAX)
            .saturating_add(1);
        let read = decoder.take(stop_at).read_to_end(&mut self.inflated);
        if self.inflated.len() > self.bytes_max {
            return Err(self.too_large());
        }
        match read {
            Ok(_) => Ok(self.finish()),
            Err(error) if error.kind() == ErrorKind::OutOfMemory => Err(self.too_large()),
            Err(_) => Err(self.corrupt()),
        }
    }

    fn lz4(self, payload: &[u8]) -> Result<Bytes, DecodeError> {
        // The decoder also knows the legacy format, which Kafka never wrote and which starts by asking for 8 MiB.
        if !payload.starts_with(&LZ4_FRAME_MAGIC) {
            return Err(self.corrupt());
        }
        self.read(payload, lz4_flex::frame::FrameDecoder::new(payload))
    }

    fn zstd(self, payload: &[u8]) -> Result<Bytes, DecodeError> {
        // libzstd's own limit on the window, 128 MiB of address space, stays: the highest levels need all of it, and
        // only pages that output was written to become resident.
        match zstd::stream::read::Decoder::with_buffer(payload) {
            Ok(decoder) => self.read(payload, decoder),
            Err(_) => Err(self.corrupt()),
        }
    }

    /// Java clients frame snappy blocks in a format of their library's; most others write one raw block.
    fn snappy(mut self, payload: &[u8]) -> Result<Bytes, DecodeError> {
        if !payload.starts_with(XERIAL_MAGIC) || payload.len() < XERIAL_HEADER_BYTES {
            self.snappy_block(payload)?;
            return Ok(self.finish());
        }
        let mut rest = &payload[XERIAL_HEADER_BYTES..];
        while !rest.is_empty() {
            let block_len = rest.try_get_u32().map_err(|_| self.corrupt())? as usize;
            let block = rest.split_off(..block_len).ok_or_else(|| self.corrupt())?;
            self.snappy_block(block)?;
        }
        Ok(self.finish())
    }

    fn snappy_block(&mut self, block: &[u8]) -> Result<(), DecodeError> {
        let declared = snap::raw::decompress_len(block).map_err(|_| self.corrupt())?;
        if declared > block.len().saturating_mul(SNAPPY_RATIO_MAX) {
            return Err(self.corrupt());
        }
        let start = self.inflated.len();
        if declared > self.bytes_max - start {
            return Err(self.too_large());
        }
        self.inflated.resize(start + declared, 0);
        let written = snap::raw::Decoder::new().decompress(block, &mut self.inflated[start..]);
        match written {
            Ok(written) if written == declared => Ok(()),
            _ => Err(self.corrupt()),
        }
    }

    /// Gives spare capacity back: the cache charges what is allocated, and keeps it long.
    fn finish(mut self) -> Bytes {
        self.inflated.shrink_to_fit();
        Bytes::from(self.inflated)
    }

    const fn corrupt(&self) -> DecodeError {
        DecodeError::CorruptCompression {
            compression: self.compression,
        }
    }

    const fn too_large(&self) -> DecodeError {
        DecodeError::InflatedTooLarge {
            compression: self.compression,
            bytes_max: self.bytes_max,
        }
    }
}

/// JSON usually shrinks to between a third and a sixth.
const RATIO_GUESS: usize = 4;
/// Snappy's densest element is a copy: three bytes stand for 64.
const SNAPPY_RATIO_MAX: usize = 22;
const LZ4_FRAME_MAGIC: [u8; 4] = 0x184D_2204_u32.to_le_bytes();
/// Followed by two 32-bit versions that no reader looks at, then blocks: length, raw snappy.
const XERIAL_MAGIC: &[u8; 8] = b"\x82SNAPPY\0";
const XERIAL_HEADER_BYTES: usize = 16;
