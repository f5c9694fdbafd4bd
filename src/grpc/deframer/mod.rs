//! Length-prefixed messages (`PROTOCOL-HTTP2.md`): out of a body that comes in pieces, and into one.
//!
//! Between the DATA of a stream and the messages of a call. Its one rule: a piece is kept once, and no memory is taken for bytes that have not come.
//!
//! ```text
//! frame = flag (0 plain, 1 compressed) · length (4 bytes, big-endian) · message
//! ```

use std::collections::VecDeque;
use std::fmt;

use bytes::{Buf, Bytes, BytesMut};

use super::encoding::{self, Encoding, InflateFault};
use super::status::{Code, Status};

#[cfg(test)]
mod tests;

/// The bytes before a message.
pub const PREFIX_BYTES: usize = 5;

/// Pieces below this are copied together: each that is kept costs some words, and may hold on to the whole buffer that it was read into.
const PIECE_BYTES_MIN: usize = 1_024;
/// Where what was copied together becomes a piece of its own.
const TAIL_BYTES_MAX: usize = 8 * 1_024;

/// Why a body is no sequence of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameFault {
    /// A message is longer than what is taken here.
    TooLarge {
        /// Its length.
        bytes: usize,
        /// What is taken.
        max: usize,
    },
    /// A message says it is compressed, and the head does not say how.
    CompressedWithoutEncoding,
    /// Neither plain nor compressed.
    BadFlag(u8),
    /// A compressed message cannot be read.
    Inflate,
    /// A message becomes longer than what is taken here when it is inflated.
    InflatedTooLarge {
        /// What is taken.
        max: usize,
    },
    /// The body ends within a message.
    Truncated,
}

impl FrameFault {
    /// What the peer is told.
    pub fn status(&self) -> Status {
        let code = match self {
            Self::TooLarge { .. } | Self::InflatedTooLarge { .. } => Code::RESOURCE_EXHAUSTED,
            Self::CompressedWithoutEncoding
            | Self::BadFlag(_)
            | Self::Inflate
            | Self::Truncated => Code::INTERNAL,
        };
        Status::new(code, self.to_string())
    }
}

impl fmt::Display for FrameFault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge { bytes, max } => write!(
                formatter,
                "a message of {bytes} bytes is longer than the {max} that are taken: send it in parts"
            ),
            Self::CompressedWithoutEncoding => formatter.write_str(
                "a message is compressed, and there is no grpc-encoding that says how: send grpc-encoding: gzip, or messages as they are",
            ),
            Self::BadFlag(flag) => write!(
                formatter,
                "a message begins with {flag:#04x}, which is neither 0 (plain) nor 1 (compressed): the body is no gRPC"
            ),
            Self::Inflate => {
                formatter.write_str("a compressed message is no gzip, or is damaged: send it again, or not compressed")
            }
            Self::InflatedTooLarge { max } => write!(
                formatter,
                "a compressed message is longer than the {max} bytes that are taken: send it in parts"
            ),
            Self::Truncated => formatter.write_str("the body ends within a message: send the rest of it, or close before it"),
        }
    }
}

impl std::error::Error for FrameFault {}

/// Messages out of a body in pieces: [`Self::push`] each, take messages until there is none, and [`Self::finish`] at the end.
///
/// Memory: what was pushed and not yet taken, and one message. Whoever takes all messages after each push keeps that below `message_bytes_max` and a piece.
#[derive(Debug)]
pub struct Deframer {
    encoding: Encoding,
    message_bytes_max: usize,
    pieces: VecDeque<Bytes>,
    /// Small pieces that came after `pieces`.
    tail: BytesMut,
    buffered_bytes: usize,
    expected: Option<Expected>,
    fault: Option<FrameFault>,
}

/// A message whose prefix has been taken.
#[derive(Clone, Copy, Debug)]
struct Expected {
    compressed: bool,
    bytes: usize,
}

impl Deframer {
    /// For a body whose compressed messages have `encoding`, and whose messages have `message_bytes_max` bytes at most, inflated or not.
    pub fn new(encoding: Encoding, message_bytes_max: usize) -> Self {
        Self {
            encoding,
            message_bytes_max,
            pieces: VecDeque::new(),
            tail: BytesMut::new(),
            buffered_bytes: 0,
            expected: None,
            fault: None,
        }
    }

    /// Takes the next piece of the body.
    pub fn push(&mut self, piece: Bytes) {
        if piece.is_empty() || self.fault.is_some() {
            return;
        }
        let is_first = self.buffered_bytes == 0;
        self.buffered_bytes += piece.len();
        if is_first || piece.len() >= PIECE_BYTES_MIN {
            self.close_tail();
            self.pieces.push_back(piece);
            return;
        }
        self.tail.extend_from_slice(&piece);
        if self.tail.len() >= TAIL_BYTES_MAX {
            self.close_tail();
        }
    }

    /// Gives the next message; `None`: the rest of it has not come. A message within one piece is a slice of it, any other is copied once.
    ///
    /// # Errors
    ///
    /// The body is no sequence of messages that are taken here; every further call says the same.
    pub fn poll_message(&mut self) -> Result<Option<Bytes>, FrameFault> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        self.take_message().inspect_err(|&fault| self.fail(fault))
    }

    /// Takes the end of the body, when [`Self::poll_message`] has no more.
    ///
    /// # Errors
    ///
    /// A fault before, or a message that is not complete.
    pub fn finish(&self) -> Result<(), FrameFault> {
        match self.fault {
            Some(fault) => Err(fault),
            None if self.buffered_bytes > 0 || self.expected.is_some() => {
                Err(FrameFault::Truncated)
            }
            None => Ok(()),
        }
    }

    /// The bytes that were pushed and have not been taken as messages.
    pub fn buffered_bytes(&self) -> usize {
        self.buffered_bytes
    }

    fn take_message(&mut self) -> Result<Option<Bytes>, FrameFault> {
        let expected = match self.expected {
            Some(expected) => expected,
            None if self.buffered_bytes < PREFIX_BYTES => return Ok(None),
            None => self.take_prefix()?,
        };
        if self.buffered_bytes < expected.bytes {
            self.expected = Some(expected);
            return Ok(None);
        }
        self.expected = None;
        let message = self.take(expected.bytes);
        if !expected.compressed {
            return Ok(Some(message));
        }
        let max = self.message_bytes_max;
        match encoding::inflate(&message, max) {
            Ok(message) => Ok(Some(message)),
            Err(InflateFault::Broken) => Err(FrameFault::Inflate),
            Err(InflateFault::TooLarge) => Err(FrameFault::InflatedTooLarge { max }),
        }
    }

    /// Takes a prefix that is there.
    fn take_prefix(&mut self) -> Result<Expected, FrameFault> {
        let mut prefix = self.take(PREFIX_BYTES);
        let compressed = match (prefix.get_u8(), self.encoding) {
            (0, Encoding::Identity | Encoding::Gzip) => false,
            (1, Encoding::Gzip) => true,
            (1, Encoding::Identity) => return Err(FrameFault::CompressedWithoutEncoding),
            (flag, Encoding::Identity | Encoding::Gzip) => return Err(FrameFault::BadFlag(flag)),
        };
        let (bytes, max) = (prefix.get_u32() as usize, self.message_bytes_max);
        if bytes > max {
            return Err(FrameFault::TooLarge { bytes, max });
        }
        Ok(Expected { compressed, bytes })
    }

    /// Takes `count` bytes that are there.
    fn take(&mut self, count: usize) -> Bytes {
        if count == 0 {
            return Bytes::new();
        }
        self.buffered_bytes -= count;
        self.close_tail();
        if let Some(first) = self.pieces.front_mut() {
            if first.len() == count {
                return self.pieces.pop_front().unwrap_or_default();
            }
            if first.len() > count {
                return first.split_to(count);
            }
        }
        self.gather(count)
    }

    /// Copies `count` bytes of several pieces together.
    fn gather(&mut self, count: usize) -> Bytes {
        let mut gathered = Vec::with_capacity(count);
        while let Some(mut piece) = self.pieces.pop_front() {
            let missing = count - gathered.len();
            if piece.len() > missing {
                gathered.extend_from_slice(&piece.split_to(missing));
                self.pieces.push_front(piece);
                break;
            }
            gathered.extend_from_slice(&piece);
            if gathered.len() == count {
                break;
            }
        }
        debug_assert_eq!(gathered.len(), count, "no more is taken than is there");
        gathered.into()
    }

    fn close_tail(&mut self) {
        if !self.tail.is_empty() {
            self.pieces.push_back(self.tail.split().freeze());
        }
    }

    /// Remembers the fault, and nothing else: what comes after it is not looked at.
    fn fail(&mut self, fault: FrameFault) {
        self.fault = Some(fault);
        self.pieces = VecDeque::new();
        self.tail = BytesMut::new();
        self.buffered_bytes = 0;
    }
}

/// The prefix of a message that is not compressed.
///
/// # Panics
///
/// The message has 4 GiB or more. Those of Kafka and of a [`Deframer`] are shorter.
pub fn frame_prefix(message_bytes: usize) -> [u8; PREFIX_BYTES] {
    prefix(0, message_bytes)
}

/// Appends a message and its prefix, compressed if that makes it shorter.
///
/// # Panics
///
/// The message has 4 GiB or more, see [`frame_prefix`].
pub fn frame(out: &mut Vec<u8>, message: &[u8], compress: Encoding) {
    match compress {
        Encoding::Identity => frame_plain(out, message),
        Encoding::Gzip => {
            let start = out.len();
            out.extend_from_slice(&[0; PREFIX_BYTES]);
            encoding::compress(message, out);
            let compressed_bytes = out.len() - start - PREFIX_BYTES;
            if compressed_bytes < message.len() {
                out[start..start + PREFIX_BYTES].copy_from_slice(&prefix(1, compressed_bytes));
            } else {
                out.truncate(start);
                frame_plain(out, message);
            }
        }
    }
}

fn frame_plain(out: &mut Vec<u8>, message: &[u8]) {
    out.reserve(PREFIX_BYTES + message.len());
    out.extend_from_slice(&frame_prefix(message.len()));
    out.extend_from_slice(message);
}

fn prefix(flag: u8, bytes: usize) -> [u8; PREFIX_BYTES] {
    let bytes = u32::try_from(bytes).expect("a message is shorter than 4 GiB");
    let [first, second, third, fourth] = bytes.to_be_bytes();
    [flag, first, second, third, fourth]
}
