//! How a call ended: the codes of gRPC, their text, and the two header fields that carry them.
//!
//! Stands at both ends of a call: what is told to a client, and what a service has told us. Its one rule: whatever number or text a peer
//! sends is some [`Status`]; none is refused.

use std::fmt;

use crate::http::Headers;

/// A status code of gRPC (`statuscodes.md` of its documentation).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Code(pub u8);

impl Code {
    /// The call went well.
    pub const OK: Self = Self(0);
    /// The caller gave it up.
    pub const CANCELLED: Self = Self(1);
    /// Nobody can say more.
    pub const UNKNOWN: Self = Self(2);
    /// The request makes no sense, whatever the state of things.
    pub const INVALID_ARGUMENT: Self = Self(3);
    /// It took longer than the caller waits; it may have been done.
    pub const DEADLINE_EXCEEDED: Self = Self(4);
    /// There is no such thing.
    pub const NOT_FOUND: Self = Self(5);
    /// It is there already.
    pub const ALREADY_EXISTS: Self = Self(6);
    /// Who asks is known, and may not.
    pub const PERMISSION_DENIED: Self = Self(7);
    /// A quota, a limit or memory is used up.
    pub const RESOURCE_EXHAUSTED: Self = Self(8);
    /// Not in the state that things are in.
    pub const FAILED_PRECONDITION: Self = Self(9);
    /// Broken off, by a conflict mostly.
    pub const ABORTED: Self = Self(10);
    /// Past the end.
    pub const OUT_OF_RANGE: Self = Self(11);
    /// There is no such method here.
    pub const UNIMPLEMENTED: Self = Self(12);
    /// Something is broken, on the wire or behind it.
    pub const INTERNAL: Self = Self(13);
    /// Not at the moment; to be tried again.
    pub const UNAVAILABLE: Self = Self(14);
    /// Data is lost.
    pub const DATA_LOSS: Self = Self(15);
    /// Who asks is not known.
    pub const UNAUTHENTICATED: Self = Self(16);

    /// The name in gRPC's documentation; a number without one is `UNKNOWN`.
    pub const fn name(self) -> &'static str {
        match self.0 {
            0 => "OK",
            1 => "CANCELLED",
            3 => "INVALID_ARGUMENT",
            4 => "DEADLINE_EXCEEDED",
            5 => "NOT_FOUND",
            6 => "ALREADY_EXISTS",
            7 => "PERMISSION_DENIED",
            8 => "RESOURCE_EXHAUSTED",
            9 => "FAILED_PRECONDITION",
            10 => "ABORTED",
            11 => "OUT_OF_RANGE",
            12 => "UNIMPLEMENTED",
            13 => "INTERNAL",
            14 => "UNAVAILABLE",
            15 => "DATA_LOSS",
            16 => "UNAUTHENTICATED",
            _ => "UNKNOWN",
        }
    }

    /// Reads a `grpc-status`; what is no code, or none that is known here, is `UNKNOWN`.
    pub fn from_wire(value: &[u8]) -> Self {
        let number = match *value {
            [digit @ b'0'..=b'9'] => digit - b'0',
            [b'1', digit @ b'0'..=b'6'] => 10 + digit - b'0',
            _ => return Self::UNKNOWN,
        };
        Self(number)
    }

    /// The code as it stands in `grpc-status`.
    pub fn to_wire(self) -> String {
        self.0.to_string()
    }

    /// What an answer without `grpc-status` means (`http-grpc-status-mapping.md`).
    pub const fn from_http(status: u16) -> Self {
        match status {
            400 => Self::INTERNAL,
            401 => Self::UNAUTHENTICATED,
            403 => Self::PERMISSION_DENIED,
            404 => Self::UNIMPLEMENTED,
            429 | 502..=504 => Self::UNAVAILABLE,
            _ => Self::UNKNOWN,
        }
    }

    /// What the reset of a stream means, by its error code of RFC 9113 7 (`PROTOCOL-HTTP2.md`, Errors).
    pub const fn from_h2_reason(reason: u32) -> Self {
        match reason {
            0x7 => Self::UNAVAILABLE,        // REFUSED_STREAM: nothing was done
            0x8 => Self::CANCELLED,          // CANCEL
            0xb => Self::RESOURCE_EXHAUSTED, // ENHANCE_YOUR_CALM
            0xc => Self::PERMISSION_DENIED,  // INADEQUATE_SECURITY
            _ => Self::INTERNAL,
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// How long an encoded `grpc-message` may be, in bytes. Clients take 8 KiB of metadata in all, and one that gets more loses the status with the message.
pub const MESSAGE_BYTES_MAX: usize = 4_096;

/// The end of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// What happened.
    pub code: Code,
    /// The same for a human being; may be empty.
    pub message: String,
}

impl Status {
    /// All went well.
    pub const fn ok() -> Self {
        Self::bare(Code::OK)
    }

    /// A code without a message.
    pub const fn bare(code: Code) -> Self {
        Self {
            code,
            message: String::new(),
        }
    }

    /// A code and what to know about it.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }

    /// Whether the call went well.
    pub fn is_ok(&self) -> bool {
        self.code == Code::OK
    }

    /// The status in trailers, or in the head of an answer without a body. `None`: there is no `grpc-status`.
    pub fn from_headers(headers: &Headers) -> Option<Self> {
        let code = Code::from_wire(headers.get("grpc-status")?);
        let message = headers.get("grpc-message").unwrap_or_default();
        Some(Self::new(code, decode_message(message)))
    }

    /// Appends `grpc-status`, and `grpc-message` if there is one, cut at [`MESSAGE_BYTES_MAX`].
    pub fn push_to(&self, headers: &mut Headers) {
        headers.push("grpc-status", self.code.to_wire());
        if !self.message.is_empty() {
            headers.push("grpc-message", encode_message(&self.message));
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.code.name())?;
        if !self.message.is_empty() {
            write!(formatter, ": {}", self.message)?;
        }
        Ok(())
    }
}

/// Percent-encodes a `grpc-message`: all but visible ASCII and space, and `%` itself. Cut before the character that would pass [`MESSAGE_BYTES_MAX`].
pub fn encode_message(message: &str) -> String {
    let mut encoded = String::with_capacity(message.len().min(MESSAGE_BYTES_MAX));
    for character in message.chars() {
        let plain = matches!(character, ' '..='~') && character != '%';
        let bytes = if plain { 1 } else { 3 * character.len_utf8() };
        if encoded.len() + bytes > MESSAGE_BYTES_MAX {
            break;
        }
        if plain {
            encoded.push(character);
        } else {
            push_escaped(&mut encoded, character);
        }
    }
    encoded
}

fn push_escaped(encoded: &mut String, character: char) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for byte in character.encode_utf8(&mut [0; 4]).bytes() {
        encoded.push('%');
        encoded.push(char::from(DIGITS[usize::from(byte >> 4)]));
        encoded.push(char::from(DIGITS[usize::from(byte & 0xf)]));
    }
}

/// Reads a `grpc-message`. An escape that is none stands for itself, and bytes that are no UTF-8 are replaced: a status is never lost for its text.
pub fn decode_message(value: &[u8]) -> String {
    let mut decoded = Vec::with_capacity(value.len());
    let mut rest = value;
    while let [first, tail @ ..] = rest {
        let escaped = match tail {
            [high, low, ..] if *first == b'%' => hex(*high).zip(hex(*low)),
            _ => None,
        };
        if let Some((high, low)) = escaped {
            decoded.push(high << 4 | low);
            rest = &tail[2..];
        } else {
            decoded.push(*first);
            rest = tail;
        }
    }
    String::from_utf8(decoded)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_code_survives_the_wire_and_no_other_number_is_one() {
        for number in 0..=16 {
            let code = Code(number);
            assert_eq!(Code::from_wire(code.to_wire().as_bytes()), code);
        }
        for strange in ["", "17", "99", "-1", "00", "014", "1x", "x", "1000000000"] {
            assert_eq!(
                Code::from_wire(strange.as_bytes()),
                Code::UNKNOWN,
                "{strange}"
            );
        }
        assert_eq!(Code::UNAVAILABLE.name(), "UNAVAILABLE");
        assert_eq!(Code::UNKNOWN.name(), "UNKNOWN");
        assert_eq!(Code(200).name(), "UNKNOWN");
    }

    #[test]
    fn an_answer_that_is_no_grpc_has_a_code_too() {
        let table = [
            (200, Code::UNKNOWN),
            (400, Code::INTERNAL),
            (401, Code::UNAUTHENTICATED),
            (403, Code::PERMISSION_DENIED),
            (404, Code::UNIMPLEMENTED),
            (415, Code::UNKNOWN),
            (429, Code::UNAVAILABLE),
            (500, Code::UNKNOWN),
            (502, Code::UNAVAILABLE),
            (503, Code::UNAVAILABLE),
            (504, Code::UNAVAILABLE),
        ];
        for (status, code) in table {
            assert_eq!(Code::from_http(status), code, "{status}");
        }
    }

    #[test]
    fn a_reset_has_a_code() {
        let table = [
            (0x0, Code::INTERNAL),
            (0x2, Code::INTERNAL),
            (0x7, Code::UNAVAILABLE),
            (0x8, Code::CANCELLED),
            (0xb, Code::RESOURCE_EXHAUSTED),
            (0xc, Code::PERMISSION_DENIED),
            (0xd, Code::INTERNAL),
            (u32::MAX, Code::INTERNAL),
        ];
        for (reason, code) in table {
            assert_eq!(Code::from_h2_reason(reason), code, "{reason:#x}");
        }
    }

    #[test]
    fn a_message_is_encoded_as_the_interop_tests_have_it() {
        // special_status_message of gRPC's interop test descriptions.
        let message =
            "\t\ntest with whitespace\r\nand Unicode BMP \u{263a} and non-BMP \u{1f608}\t\n";
        let encoded = "%09%0Atest with whitespace%0D%0Aand Unicode BMP %E2%98%BA and non-BMP %F0%9F%98%88%09%0A";
        assert_eq!(encode_message(message), encoded);
        assert_eq!(decode_message(encoded.as_bytes()), message);
        assert_eq!(encode_message("100 %~"), "100 %25~");
    }

    #[test]
    fn a_broken_message_is_read_as_far_as_it_goes() {
        assert_eq!(decode_message(b"%"), "%");
        assert_eq!(decode_message(b"50% off%2"), "50% off%2");
        assert_eq!(decode_message(b"%zz%41"), "%zzA");
        assert_eq!(decode_message(b"%%41"), "%A");
        assert_eq!(decode_message(b"%ff"), "\u{fffd}");
    }

    #[test]
    fn a_long_message_is_cut_between_two_characters() {
        let encoded = encode_message(&"\u{263a}".repeat(1_000));
        assert_eq!(encoded.len(), MESSAGE_BYTES_MAX / 9 * 9);
        assert!(
            decode_message(encoded.as_bytes())
                .chars()
                .all(|character| character == '\u{263a}')
        );
    }

    #[test]
    fn a_status_is_written_to_trailers_and_found_there() {
        let mut trailers = Headers::new();
        assert_eq!(Status::from_headers(&trailers), None);
        let status = Status::new(Code::NOT_FOUND, "no \u{fc}ber-item");
        status.push_to(&mut trailers);
        assert_eq!(
            trailers.get("grpc-message"),
            Some(&b"no %C3%BCber-item"[..])
        );
        assert_eq!(Status::from_headers(&trailers), Some(status));
        let mut trailers = Headers::new();
        Status::ok().push_to(&mut trailers);
        assert_eq!(
            trailers.iter().collect::<Vec<_>>(),
            [(&b"grpc-status"[..], &b"0"[..])]
        );
    }

    proptest! {
        #[test]
        fn any_short_message_survives(message in ".{0,200}") {
            let encoded = encode_message(&message);
            prop_assert!(encoded.bytes().all(|byte| (0x20..=0x7e).contains(&byte)));
            prop_assert_eq!(decode_message(encoded.as_bytes()), message);
        }
    }
}
