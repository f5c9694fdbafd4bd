//! `grpc-encoding`: how messages are compressed, each by itself.
//!
//! Between a frame and its message. Its one rule: a message that is inflated takes no more memory than was granted, whatever it claims.

use std::io::{Read, Write};

use bytes::Bytes;
use flate2::Compression;
use flate2::bufread::MultiGzDecoder;
use flate2::write::GzEncoder;

/// What `grpc-accept-encoding` says for us.
pub const ACCEPTED: &str = "identity,gzip";

/// Messages are text and numbers mostly; a guess of how much larger they are than their gzip.
const RATIO_GUESS: usize = 4;

/// The compression of messages that say they are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// There is none.
    Identity,
    /// RFC 1952.
    Gzip,
}

/// Why a message cannot be inflated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InflateFault {
    /// It is no gzip, or not all of it, or its checksum is wrong.
    Broken,
    /// It is larger than what is granted.
    TooLarge,
}

impl Encoding {
    /// Reads a `grpc-encoding`. `None`: one that is not spoken here, to be answered `UNIMPLEMENTED` with [`ACCEPTED`].
    pub fn from_name(name: &[u8]) -> Option<Self> {
        [Self::Identity, Self::Gzip]
            .into_iter()
            .find(|encoding| name.eq_ignore_ascii_case(encoding.name().as_bytes()))
    }

    /// The name in `grpc-encoding`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Gzip => "gzip",
        }
    }
}

/// Whether a peer with this `grpc-accept-encoding` reads gzip.
pub fn accepts_gzip(grpc_accept_encoding: &[u8]) -> bool {
    grpc_accept_encoding
        .split(|&byte| byte == b',')
        .any(|name| Encoding::from_name(name.trim_ascii()) == Some(Encoding::Gzip))
}

/// Appends the gzip of `message`.
pub fn compress(message: &[u8], out: &mut Vec<u8>) {
    let mut encoder = GzEncoder::new(out, Compression::fast());
    // A `Vec` takes whatever is written to it.
    let written = encoder
        .write_all(message)
        .and_then(|()| encoder.try_finish());
    debug_assert!(written.is_ok(), "{written:?}");
}

/// Inflates `payload` to `bytes_max` at most.
///
/// # Errors
///
/// It is no gzip, or more comes out of it.
pub fn inflate(payload: &[u8], bytes_max: usize) -> Result<Bytes, InflateFault> {
    // Sized by bytes that really came, not by what they claim to hold.
    let guess = payload.len().saturating_mul(RATIO_GUESS).min(bytes_max);
    let mut message = Vec::with_capacity(guess);
    let stop_at = u64::try_from(bytes_max)
        .unwrap_or(u64::MAX)
        .saturating_add(1);
    let read = MultiGzDecoder::new(payload)
        .take(stop_at)
        .read_to_end(&mut message);
    if message.len() > bytes_max {
        return Err(InflateFault::TooLarge);
    }
    read.map_err(|_| InflateFault::Broken)?;
    Ok(message.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gzip(message: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        compress(message, &mut out);
        out
    }

    #[test]
    fn names_are_read_whatever_their_case() {
        assert_eq!(Encoding::from_name(b"identity"), Some(Encoding::Identity));
        assert_eq!(Encoding::from_name(b"gzip"), Some(Encoding::Gzip));
        assert_eq!(Encoding::from_name(b"GZIP"), Some(Encoding::Gzip));
        for other in [&b""[..], b"deflate", b"snappy", b"gzip "] {
            assert_eq!(Encoding::from_name(other), None);
        }
    }

    #[test]
    fn gzip_is_found_in_a_list() {
        assert!(accepts_gzip(b"gzip"));
        assert!(accepts_gzip(b"identity, deflate,\tgzip"));
        assert!(accepts_gzip(ACCEPTED.as_bytes()));
        assert!(!accepts_gzip(b""));
        assert!(!accepts_gzip(b"identity,xgzip,gzipx"));
    }

    #[test]
    fn a_message_survives_compression() {
        for message in [&b""[..], b"a", &[7; 10_000]] {
            assert_eq!(
                inflate(&gzip(message), message.len()),
                Ok(Bytes::copy_from_slice(message))
            );
        }
    }

    #[test]
    fn inflation_ends_at_its_grant() {
        let bomb = gzip(&vec![0; 10_000_000]);
        assert_eq!(inflate(&bomb, 1_000), Err(InflateFault::TooLarge));
        assert_eq!(inflate(&gzip(b"abc"), 2), Err(InflateFault::TooLarge));
        assert_eq!(inflate(&gzip(b"abc"), 3), Ok(Bytes::from_static(b"abc")));
    }

    #[test]
    fn what_is_no_gzip_is_broken() {
        let whole = gzip(b"some text");
        let mut wrong = whole.clone();
        let checksum = wrong.len() - 8;
        wrong[checksum] ^= 1;
        for broken in [&b""[..], b"plain", &whole[..whole.len() - 1], &wrong] {
            assert_eq!(inflate(broken, 1_000), Err(InflateFault::Broken));
        }
    }
}
