//! gRPC-Web (`PROTOCOL-WEB.md`): the same calls for browsers, over any version of HTTP, with trailers in the body.
//!
//! Around the frames of a body. Its one rule: a piece of an answer can be read as soon as it comes, so it is padded by itself.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

use super::status::{Code, Status};
use crate::http::Headers;

/// The flag of the frame that holds the trailers.
pub const TRAILERS_FLAG: u8 = 0x80;

/// What kind of call a `content-type` announces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContentType {
    /// `application/grpc`.
    Native,
    /// `application/grpc-web`.
    Web,
    /// `application/grpc-web-text`: as web, in base64.
    WebText,
}

impl ContentType {
    /// Reads a `content-type`, with `+proto` or without, whatever its parameters. `None`: no gRPC, or messages in another format, to be answered 415.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let kind = value.split(|&byte| byte == b';').next()?.trim_ascii();
        let known: [(&[u8], &[u8], Self); 3] = [
            (b"application/grpc", b"application/grpc+proto", Self::Native),
            (
                b"application/grpc-web",
                b"application/grpc-web+proto",
                Self::Web,
            ),
            (
                b"application/grpc-web-text",
                b"application/grpc-web-text+proto",
                Self::WebText,
            ),
        ];
        known
            .into_iter()
            .find(|(short, long, _)| {
                kind.eq_ignore_ascii_case(short) || kind.eq_ignore_ascii_case(long)
            })
            .map(|(_, _, content_type)| content_type)
    }

    /// What the answer to such a call is.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Native => "application/grpc",
            Self::Web => "application/grpc-web+proto",
            Self::WebText => "application/grpc-web-text+proto",
        }
    }
}

/// Why a body is no base64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextFault {
    /// A group is none.
    Garbage,
    /// The body ends within a group.
    Truncated,
}

impl TextFault {
    /// What the client is told.
    pub fn status(&self) -> Status {
        Status::new(Code::INTERNAL, self.to_string())
    }
}

impl fmt::Display for TextFault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Garbage => "the body of application/grpc-web-text is no base64 (RFC 4648 4)",
            Self::Truncated => {
                "the body of application/grpc-web-text ends within a group of base64: pad it"
            }
        })
    }
}

impl std::error::Error for TextFault {}

/// Base64 in pieces, cut anywhere. Groups may be padded wherever a client flushed.
#[derive(Debug, Default)]
pub struct TextDecoder {
    group: [u8; 4],
    group_len: usize,
}

impl TextDecoder {
    /// At the begin of a body.
    pub const fn new() -> Self {
        Self {
            group: [0; 4],
            group_len: 0,
        }
    }

    /// Appends to `out` what the next piece stands for.
    ///
    /// # Errors
    ///
    /// It is no base64. What follows is not to be decoded.
    pub fn decode(&mut self, piece: &[u8], out: &mut Vec<u8>) -> Result<(), TextFault> {
        let mut rest = piece;
        while let Some((&first, tail)) = rest.split_first() {
            if self.group_len == 0 && rest.len() >= 4 {
                let (groups, others) = rest.split_at(groups_until_padding(rest));
                decode_groups(groups, out)?;
                rest = others;
                continue;
            }
            self.group[self.group_len] = first;
            self.group_len += 1;
            if self.group_len == 4 {
                self.group_len = 0;
                decode_groups(&self.group, out)?;
            }
            rest = tail;
        }
        Ok(())
    }

    /// Takes the end of the body.
    ///
    /// # Errors
    ///
    /// It ends within a group.
    pub fn finish(&self) -> Result<(), TextFault> {
        if self.group_len == 0 {
            Ok(())
        } else {
            Err(TextFault::Truncated)
        }
    }
}

/// The length of the whole groups in `text` up to the first that is padded, with that one.
fn groups_until_padding(text: &[u8]) -> usize {
    let whole = text.len() / 4 * 4;
    match text[..whole].iter().position(|&byte| byte == b'=') {
        Some(at) => at / 4 * 4 + 4,
        None => whole,
    }
}

fn decode_groups(groups: &[u8], out: &mut Vec<u8>) -> Result<(), TextFault> {
    STANDARD
        .decode_vec(groups, out)
        .map_err(|_| TextFault::Garbage)
}

/// A piece of an answer in base64, padded by itself.
pub fn encode_text(piece: &[u8]) -> Bytes {
    STANDARD.encode(piece).into()
}

/// The last frame of an answer: its trailers as lines. A field whose value would break its line is left out.
pub fn trailers_frame(trailers: &Headers) -> Vec<u8> {
    let mut frame = vec![TRAILERS_FLAG, 0, 0, 0, 0];
    for (name, value) in trailers.iter() {
        if value.iter().any(|byte| matches!(byte, b'\r' | b'\n')) {
            continue;
        }
        for part in [name, b": ", value, b"\r\n"] {
            frame.extend_from_slice(part);
        }
    }
    let bytes = u32::try_from(frame.len() - 5).unwrap_or(u32::MAX); // a list holds less than 4 GiB
    frame[1..5].copy_from_slice(&bytes.to_be_bytes());
    frame
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn content_types_are_read_with_or_without_their_format() {
        let table = [
            ("application/grpc", Some(ContentType::Native)),
            ("application/grpc+proto", Some(ContentType::Native)),
            ("application/grpc;charset=utf-8", Some(ContentType::Native)),
            ("Application/gRPC+Proto ; x=1", Some(ContentType::Native)),
            ("application/grpc-web", Some(ContentType::Web)),
            ("application/grpc-web+proto", Some(ContentType::Web)),
            ("application/grpc-web-text", Some(ContentType::WebText)),
            (
                "application/grpc-web-text+proto",
                Some(ContentType::WebText),
            ),
            ("application/grpc+json", None),
            ("application/grpc-web+json", None),
            ("application/grpcweb", None),
            ("application/json", None),
            ("", None),
        ];
        for (text, content_type) in table {
            assert_eq!(ContentType::parse(text.as_bytes()), content_type, "{text}");
        }
        for kind in [ContentType::Native, ContentType::Web, ContentType::WebText] {
            assert_eq!(ContentType::parse(kind.as_str().as_bytes()), Some(kind));
        }
    }

    fn decode(pieces: &[&str]) -> Result<Vec<u8>, TextFault> {
        let (mut decoder, mut out) = (TextDecoder::new(), Vec::new());
        for piece in pieces {
            decoder.decode(piece.as_bytes(), &mut out)?;
        }
        decoder.finish()?;
        Ok(out)
    }

    #[test]
    fn groups_may_be_padded_within_a_body() {
        assert_eq!(
            decode(&["AAAAAAYKBHRlc3Q="]).unwrap(),
            b"\0\0\0\0\x06\n\x04test"
        );
        assert_eq!(decode(&["YQ==YmM=ZGVmZ2hp"]).unwrap(), b"abcdefghi");
        assert_eq!(
            decode(&["Y", "Q=", "=Y", "mM=Z", "GVmZ2hp"]).unwrap(),
            b"abcdefghi"
        );
        assert_eq!(decode(&[]).unwrap(), b"");
    }

    #[test]
    fn what_is_no_base64_is_refused() {
        for garbage in [
            "A===", "====", "=AAA", "AA=A", "AAA\n", "A-_A", "AAAA AAA", "YR==",
        ] {
            assert_eq!(decode(&[garbage]), Err(TextFault::Garbage), "{garbage:?}");
            let (one, other) = garbage.split_at(2);
            assert_eq!(
                decode(&[one, other]),
                Err(TextFault::Garbage),
                "{garbage:?}"
            );
        }
        for short in ["A", "AA", "AAA", "AAAAA", "AA=", "YQ==Y"] {
            assert_eq!(decode(&[short]), Err(TextFault::Truncated), "{short:?}");
        }
    }

    #[test]
    fn trailers_are_lines_in_a_frame() {
        let mut trailers = Headers::new();
        Status::new(Code::NOT_FOUND, "no item").push_to(&mut trailers);
        trailers.push("X-More", "1");
        trailers.push("x-broken", "1\r\ngrpc-status: 0");
        let text = b"grpc-status: 5\r\ngrpc-message: no item\r\nx-more: 1\r\n";
        let frame = trailers_frame(&trailers);
        assert_eq!(frame[..5], [0x80, 0, 0, 0, 50]);
        assert_eq!(frame[5..], text[..]);
        assert_eq!(trailers_frame(&Headers::new()), [0x80, 0, 0, 0, 0]);
    }

    proptest! {
        #[test]
        fn pieces_that_are_padded_by_themselves_survive_any_cut(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 0..10),
            cuts in prop::collection::vec(0_usize..30, 0..40),
        ) {
            let text: Vec<u8> = pieces.iter().flat_map(|piece| encode_text(piece)).collect();
            let (mut decoder, mut out, mut rest) = (TextDecoder::new(), Vec::new(), &text[..]);
            for cut in cuts {
                let (piece, others) = rest.split_at(cut.min(rest.len()));
                decoder.decode(piece, &mut out).unwrap();
                rest = others;
            }
            decoder.decode(rest, &mut out).unwrap();
            prop_assert_eq!(decoder.finish(), Ok(()));
            prop_assert_eq!(out, pieces.concat());
        }
    }
}
