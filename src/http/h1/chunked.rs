//! Reads request bodies: a known length, or chunks (RFC 9112 7.1) decoded as they come.
//!
//! Its one rule: data is given on as it arrives, but a body counts only when its end was seen, trailers included.

use bytes::Bytes;

use super::Fault;
use super::decode::Framing;
use crate::http::chars::is_token_byte;

/// Bytes of chunk extensions in one body; they mean nothing here. Beyond: 400.
const EXTENSION_BYTES_MAX: usize = 4 * 1024;
/// Bytes of a trailer section, which is checked and dropped. Beyond: 400.
const TRAILER_BYTES_MAX: usize = 8 * 1024;
/// Digits of a chunk size: as many as 64 bits hold.
const SIZE_DIGITS_MAX: u32 = 16;

/// A body under way.
#[derive(Clone, Debug)]
pub(super) enum BodyReader {
    /// Bytes still to come, more than 0.
    Length(u64),
    /// Chunks.
    Chunked(Chunked),
}

/// What a piece of input brought.
#[derive(Debug)]
pub(super) struct Piece {
    /// Input bytes that belong to the body.
    pub(super) used: usize,
    pub(super) data: Bytes,
    /// The body is whole; what follows is the next request.
    pub(super) done: bool,
}

impl BodyReader {
    /// `None`: there is no body.
    pub(super) fn new(framing: Framing, body_bytes_max: u64) -> Option<Self> {
        match framing {
            Framing::None => None,
            Framing::Length(length) => Some(Self::Length(length)),
            Framing::Chunked => Some(Self::Chunked(Chunked::new(body_bytes_max))),
        }
    }

    /// The body's length, if it was told and nothing was read yet.
    pub(super) fn length(&self) -> Option<u64> {
        match self {
            Self::Length(remaining) => Some(*remaining),
            Self::Chunked(_) => None,
        }
    }

    /// Takes what belongs to the body.
    ///
    /// # Errors
    /// Broken chunk framing, or more data than allowed.
    pub(super) fn read(&mut self, bytes: &[u8]) -> Result<Piece, Fault> {
        match self {
            Self::Length(remaining) => {
                let used = usize::try_from(*remaining)
                    .map_or(bytes.len(), |remaining| remaining.min(bytes.len()));
                *remaining -= used as u64;
                Ok(Piece {
                    used,
                    data: Bytes::copy_from_slice(&bytes[..used]),
                    done: *remaining == 0,
                })
            }
            Self::Chunked(chunked) => {
                let mut data = Vec::new();
                let (used, done) = chunked.decode(bytes, &mut data)?;
                Ok(Piece {
                    used,
                    data: Bytes::from(data),
                    done,
                })
            }
        }
    }
}

/// An incremental decoder of one chunked body.
///
/// ```text
///  ┌▶ Size ──▶ Extension ──▶ SizeLf ──▶ Data ──▶ DataCr ──▶ DataLf ─┐
///  │   └───────────────────────▲  │ size 0                         │
///  └──────────────────────────────┼────────────────────────────────┘
///        ┌───────────◀── TrailerLf ◀── TrailerValue ◀─┐
///        ▼                        ▼                   │
///     LineStart ◀─────────────────┘  ──▶ TrailerName ─┘
///        └──▶ EndLf ──▶ Done
/// ```
#[derive(Clone, Debug)]
pub(super) struct Chunked {
    state: State,
    /// The size of the chunk being read, then what is left of it.
    chunk: u64,
    /// Data bytes that the body may still bring.
    room: u64,
    extension_bytes: usize,
    trailer_bytes: usize,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Size { digits: u32 },
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    LineStart,
    TrailerName,
    TrailerValue,
    TrailerLf,
    EndLf,
    Done,
}

impl Chunked {
    pub(super) fn new(body_bytes_max: u64) -> Self {
        Self {
            state: State::Size { digits: 0 },
            chunk: 0,
            room: body_bytes_max,
            extension_bytes: 0,
            trailer_bytes: 0,
        }
    }

    /// Appends the data in `bytes` to `data`; how many bytes belong to the body, and whether it is whole.
    ///
    /// # Errors
    /// Broken framing, or more data than allowed.
    pub(super) fn decode(
        &mut self,
        bytes: &[u8],
        data: &mut Vec<u8>,
    ) -> Result<(usize, bool), Fault> {
        let mut at = 0;
        while at < bytes.len() {
            if matches!(self.state, State::Data) {
                let rest = &bytes[at..];
                let count =
                    usize::try_from(self.chunk).map_or(rest.len(), |chunk| chunk.min(rest.len()));
                data.extend_from_slice(&rest[..count]);
                at += count;
                self.chunk -= count as u64;
                if self.chunk == 0 {
                    self.state = State::DataCr;
                }
                continue;
            }
            self.state = self.frame_byte(bytes[at])?;
            at += 1;
            if matches!(self.state, State::Done) {
                return Ok((at, true));
            }
        }
        Ok((at, false))
    }

    /// Takes one byte that is not data.
    fn frame_byte(&mut self, byte: u8) -> Result<State, Fault> {
        match (self.state, byte) {
            (State::Size { digits }, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F')
                if digits < SIZE_DIGITS_MAX =>
            {
                let digit = char::from(byte).to_digit(16).map_or(0, u64::from);
                self.chunk = self.chunk << 4 | digit;
                Ok(State::Size { digits: digits + 1 })
            }
            (State::Size { digits: 1.. }, b';')
            | (State::Extension, b'\t' | b' '..=0x7e | 0x80..) => self.count_extension(),
            (State::Size { digits: 1.. } | State::Extension, b'\r') => Ok(State::SizeLf),
            (State::SizeLf, b'\n') if self.chunk == 0 => Ok(State::LineStart),
            (State::SizeLf, b'\n') => {
                // Checked before the data comes: a client that announces too much need not send it.
                self.room = self
                    .room
                    .checked_sub(self.chunk)
                    .ok_or(Fault::BodyTooLarge)?;
                Ok(State::Data)
            }
            (State::DataCr, b'\r') => Ok(State::DataLf),
            (State::DataLf, b'\n') => Ok(State::Size { digits: 0 }),
            (State::LineStart, b'\r') => Ok(State::EndLf),
            (State::LineStart | State::TrailerName, byte) if is_token_byte(byte) => {
                self.count_trailer(State::TrailerName)
            }
            (State::TrailerName, b':') => self.count_trailer(State::TrailerValue),
            (State::TrailerValue, b'\t' | b' '..=0x7e | 0x80..) => {
                self.count_trailer(State::TrailerValue)
            }
            (State::TrailerValue, b'\r') => Ok(State::TrailerLf),
            (State::TrailerLf, b'\n') => Ok(State::LineStart),
            (State::EndLf, b'\n') => Ok(State::Done),
            (state, _) => Err(state.fault()),
        }
    }

    fn count_extension(&mut self) -> Result<State, Fault> {
        self.extension_bytes += 1;
        if self.extension_bytes > EXTENSION_BYTES_MAX {
            Err(Fault::ChunkExtension)
        } else {
            Ok(State::Extension)
        }
    }

    fn count_trailer(&mut self, next: State) -> Result<State, Fault> {
        self.trailer_bytes += 1;
        if self.trailer_bytes > TRAILER_BYTES_MAX {
            Err(Fault::Trailer)
        } else {
            Ok(next)
        }
    }
}

impl State {
    /// What an unexpected byte means in this state.
    const fn fault(self) -> Fault {
        match self {
            Self::Size { .. } => Fault::ChunkSize,
            Self::Extension | Self::SizeLf => Fault::ChunkExtension,
            Self::Data | Self::DataCr | Self::DataLf => Fault::ChunkEnd,
            Self::LineStart
            | Self::TrailerName
            | Self::TrailerValue
            | Self::TrailerLf
            | Self::EndLf
            | Self::Done => Fault::Trailer,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::encode::push_chunk;
    use super::*;

    fn decode(text: &[u8]) -> Result<(Vec<u8>, usize, bool), Fault> {
        let mut data = Vec::new();
        let (used, done) = Chunked::new(1000).decode(text, &mut data)?;
        Ok((data, used, done))
    }

    #[test]
    fn chunks_extensions_and_trailers_are_read_to_their_end() {
        let text = b"3;a=\"b c\"\r\nabc\r\n0A\r\n0123456789\r\n0\r\nx: y\r\nz:\r\n\r\nGET";
        assert_eq!(
            decode(text).unwrap(),
            (b"abc0123456789".to_vec(), text.len() - 3, true)
        );
    }

    #[test]
    fn broken_framing_is_refused() {
        let cases: [(&[u8], Fault); 22] = [
            (b"\r\n", Fault::ChunkSize),
            (b"+3\r\n", Fault::ChunkSize),
            (b"-3\r\n", Fault::ChunkSize),
            (b"0x3\r\n", Fault::ChunkSize),
            (b" 3\r\n", Fault::ChunkSize),
            (b"3 \r\n", Fault::ChunkSize),
            (b"3\n", Fault::ChunkSize),
            (b";a\r\n", Fault::ChunkSize),
            (b"00000000000000003\r\n", Fault::ChunkSize),
            (b"ffffffffffffffff\r\n", Fault::BodyTooLarge),
            (b"3e9\r\n", Fault::BodyTooLarge),
            (b"3;\n", Fault::ChunkExtension),
            (b"3;a\x00\r\n", Fault::ChunkExtension),
            (b"3;a\rb", Fault::ChunkExtension),
            (b"3\r3", Fault::ChunkExtension),
            (b"3\r\nabcd", Fault::ChunkEnd),
            (b"3\r\nabc\n", Fault::ChunkEnd),
            (b"3\r\nabc\r0", Fault::ChunkEnd),
            (b"0\r\n x: y\r\n\r\n", Fault::Trailer),
            (b"0\r\nx : y\r\n\r\n", Fault::Trailer),
            (b"0\r\nx: y\n\r\n", Fault::Trailer),
            (b"0\r\n\r\r", Fault::Trailer),
        ];
        for (text, fault) in cases {
            assert_eq!(decode(text).err(), Some(fault), "{}", text.escape_ascii());
        }
    }

    #[test]
    fn extensions_and_trailers_have_a_bound() {
        let long = [b"3;".as_slice(), &[b'a'; EXTENSION_BYTES_MAX]].concat();
        assert_eq!(decode(&long).err(), Some(Fault::ChunkExtension));
        let long = [
            b"0\r\n".as_slice(),
            &b"x: y\r\n".repeat(TRAILER_BYTES_MAX / 4 + 1),
        ]
        .concat();
        assert_eq!(decode(&long).err(), Some(Fault::Trailer));
    }

    proptest! {
        #[test]
        fn what_was_encoded_is_decoded_in_any_pieces(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..8),
            piece in 1_usize..30,
        ) {
            let mut text = Vec::new();
            for chunk in &chunks {
                push_chunk(&mut text, chunk);
            }
            text.extend_from_slice(b"0\r\n\r\n");
            let (mut chunked, mut data, mut done) = (Chunked::new(1000), Vec::new(), false);
            for part in text.chunks(piece) {
                prop_assert!(!done);
                done = chunked.decode(part, &mut data).unwrap().1;
            }
            prop_assert!(done);
            prop_assert_eq!(data, chunks.concat());
        }
    }
}
