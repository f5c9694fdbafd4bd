//! A whole request head: request line, header fields, and how the body is framed (RFC 9112 3, 5, 6.3).
//!
//! httparse finds the fields; what it lets pass and this gateway does not is refused here.
//! Its one rule: a body has exactly one length, or there is no request.

use std::ops::Range;

use httparse::Header;

use super::target::{is_authority, split};
use super::{Fault, Limits};
use crate::http::chars::is_token;
use crate::http::message::{Headers, Method, RequestHead, RequestText, Scheme, Version};

/// Header fields that the table on the stack has room for; `Limits::headers_max` cannot go beyond.
const HEADERS_CEILING: usize = 128;
/// Header fields of an ordinary request.
const HEADERS_USUAL: usize = 20;

/// A head that was accepted.
#[derive(Debug)]
pub(super) struct Decoded {
    pub(super) head: RequestHead,
    pub(super) framing: Framing,
    /// Whether the client means to send another request on the connection.
    pub(super) keep_alive: bool,
    /// Whether the client waits for `100 Continue`.
    pub(super) expects_continue: bool,
}

/// Where the body ends (RFC 9112 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// There is none.
    None,
    /// After this many bytes, more than 0.
    Length(u64),
    /// After the last chunk.
    Chunked,
}

/// Reads a head from its first byte to its final CRLFCRLF, already scanned; `line_len` is the request line's length.
///
/// # Errors
/// Whatever makes the request unacceptable; the connection must not be read on.
pub(super) fn decode(
    bytes: &[u8],
    line_len: usize,
    scheme: Scheme,
    limits: &Limits,
) -> Result<Decoded, Fault> {
    let line = RequestLine::read(&bytes[..line_len])?;
    let mut text = split(bytes, line.target, line.method)?;

    // The small table is enough for nearly every request, and clearing the large one costs as much as parsing.
    let (mut few, mut many);
    let block = &bytes[line_len + 2..];
    few = [httparse::EMPTY_HEADER; HEADERS_USUAL];
    let room = limits.headers_max.min(HEADERS_CEILING);
    let mut parsed = httparse::parse_headers(block, &mut few[..room.min(HEADERS_USUAL)]);
    if parsed == Err(httparse::Error::TooManyHeaders) && room > HEADERS_USUAL {
        many = [httparse::EMPTY_HEADER; HEADERS_CEILING];
        parsed = httparse::parse_headers(block, &mut many[..room]);
    }
    let fields = match parsed {
        Ok(httparse::Status::Complete((_, fields))) => fields,
        Ok(httparse::Status::Partial) => return Err(Fault::HeaderName),
        Err(error) => return Err(explain(error, block)),
    };

    let mut buffer = bytes.to_vec();
    if text.path.is_empty() {
        // `http://a?b` means the path `/` (RFC 9112 3.2.1).
        text.path = buffer.len()..buffer.len() + 1;
        buffer.push(b'/');
    }
    let mut headers = Headers::over(buffer, fields.len());
    let mut meaning = Meaning::default();
    for field in fields {
        meaning.take(field)?;
        headers.push_range(
            range_in(bytes, field.name.as_bytes()),
            range_in(bytes, field.value),
        );
    }
    let (framing, keep_alive) = meaning.judge(line.version)?;
    meaning.settle_authority(bytes, line.version, &mut text)?;
    if matches!(framing, Framing::Length(length) if length > limits.body_bytes_max) {
        return Err(Fault::BodyTooLarge);
    }
    Ok(Decoded {
        head: RequestHead::over(line.method, scheme, line.version, headers, &text),
        framing,
        keep_alive,
        expects_continue: meaning.expects_continue
            && line.version == Version::Http11
            && framing != Framing::None,
    })
}

/// `method SP target SP version` (RFC 9112 3).
#[derive(Debug)]
pub(super) struct RequestLine {
    method: Method,
    target: Range<usize>,
    version: Version,
}

impl RequestLine {
    /// Reads the line without its CRLF.
    ///
    /// # Errors
    /// Anything but three parts with one space between each, an unknown method or another version.
    pub(super) fn read(line: &[u8]) -> Result<Self, Fault> {
        let method_end = line
            .iter()
            .position(|&byte| byte == b' ')
            .ok_or(Fault::RequestLine)?;
        let method = Method::from_bytes(&line[..method_end]);
        if method.is_none() && !is_token(&line[..method_end]) {
            return Err(Fault::Method);
        }
        let rest = &line[method_end + 1..];
        let (target_len, version) = if let Some(target) = rest.strip_suffix(b" HTTP/1.1") {
            (target.len(), Version::Http11)
        } else if let Some(target) = rest.strip_suffix(b" HTTP/1.0") {
            (target.len(), Version::Http10)
        } else {
            return Err(explain_version(rest));
        };
        let target = method_end + 1..method_end + 1 + target_len;
        match method {
            Some(Method::Connect) | None => Err(Fault::MethodUnknown),
            Some(method) => Ok(Self {
                method,
                target,
                version,
            }),
        }
    }
}

/// Says what is wrong with a line that ends neither in `HTTP/1.1` nor in `HTTP/1.0`; `rest` follows the method.
fn explain_version(rest: &[u8]) -> Fault {
    let Some(at) = rest.iter().rposition(|&byte| byte == b' ') else {
        return Fault::VersionMissing;
    };
    match &rest[at + 1..] {
        [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', minor @ ..] if is_minor(minor) => {
            Fault::Version
        }
        _ => Fault::RequestLine,
    }
}

fn is_minor(text: &[u8]) -> bool {
    matches!(text, [] | [b'.', b'0'..=b'9'])
}

/// What the header fields say about the connection, the body and the host.
#[derive(Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is one header's yes or no, in any combination"
)]
struct Meaning<'a> {
    host: Option<&'a [u8]>,
    length: Option<u64>,
    chunked: bool,
    close: bool,
    keep_alive: bool,
    expects_continue: bool,
}

impl<'a> Meaning<'a> {
    fn take(&mut self, field: &Header<'a>) -> Result<(), Fault> {
        // The length first: nearly every field is none of these, and this tells it from one number.
        match field.name.len() {
            4 if field.name.eq_ignore_ascii_case("host") => self.take_host(field.value),
            6 if field.name.eq_ignore_ascii_case("expect") => self.take_expect(field.value),
            10 if field.name.eq_ignore_ascii_case("connection") => {
                self.take_connection(field.value);
                Ok(())
            }
            14 if field.name.eq_ignore_ascii_case("content-length") => {
                self.take_length(field.value)
            }
            17 if field.name.eq_ignore_ascii_case("transfer-encoding") => {
                self.take_encoding(field.value)
            }
            _ => Ok(()),
        }
    }

    fn take_host(&mut self, value: &'a [u8]) -> Result<(), Fault> {
        if self.host.is_some() {
            return Err(Fault::HostRepeated);
        }
        if !is_authority(value) {
            return Err(Fault::HostInvalid);
        }
        self.host = Some(value);
        Ok(())
    }

    fn take_expect(&mut self, value: &[u8]) -> Result<(), Fault> {
        if !value.eq_ignore_ascii_case(b"100-continue") {
            return Err(Fault::Expectation);
        }
        self.expects_continue = true;
        Ok(())
    }

    fn take_connection(&mut self, value: &[u8]) {
        for option in value.split(|&byte| byte == b',') {
            let option = option.trim_ascii();
            self.close |= option.eq_ignore_ascii_case(b"close");
            self.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
        }
    }

    fn take_length(&mut self, value: &[u8]) -> Result<(), Fault> {
        if self.length.is_some() {
            return Err(Fault::LengthRepeated);
        }
        if value.is_empty() {
            return Err(Fault::Length);
        }
        let mut length: u64 = 0;
        for &byte in value {
            if !byte.is_ascii_digit() {
                return Err(Fault::Length);
            }
            let longer = length
                .checked_mul(10)
                .and_then(|length| length.checked_add(u64::from(byte - b'0')));
            length = longer.ok_or(Fault::Length)?;
        }
        self.length = Some(length);
        Ok(())
    }

    fn take_encoding(&mut self, value: &[u8]) -> Result<(), Fault> {
        let codings = || value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii);
        if self.chunked || value.is_empty() {
            return Err(Fault::EncodingRepeated);
        }
        if codings().any(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case(b"chunked")) {
            return Err(Fault::EncodingUnknown);
        }
        if !value.eq_ignore_ascii_case(b"chunked") {
            return Err(Fault::EncodingRepeated);
        }
        self.chunked = true;
        Ok(())
    }

    /// The body's framing, and whether the connection persists (RFC 9112 6.3, 9.3).
    fn judge(&self, version: Version) -> Result<(Framing, bool), Fault> {
        let framing = match (self.length, self.chunked) {
            (Some(_), true) => return Err(Fault::LengthAndEncoding),
            (None, true) if version == Version::Http10 => return Err(Fault::EncodingInHttp10),
            (None, true) => Framing::Chunked,
            (None | Some(0), false) => Framing::None,
            (Some(length), false) => Framing::Length(length),
        };
        Ok((
            framing,
            !self.close && (version == Version::Http11 || self.keep_alive),
        ))
    }

    /// The target's authority if it has one, else the Host (RFC 9112 3.2.2, 3.3).
    fn settle_authority(
        &self,
        bytes: &[u8],
        version: Version,
        text: &mut RequestText,
    ) -> Result<(), Fault> {
        match self.host {
            None if version == Version::Http11 => Err(Fault::HostMissing),
            Some(host) if text.authority.is_empty() => {
                text.authority = range_in(bytes, host);
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

/// Where `part`, a slice of `whole`, stands in it.
fn range_in(whole: &[u8], part: &[u8]) -> Range<usize> {
    // httparse gives an empty value as an empty slice of the input or of nowhere.
    if part.is_empty() {
        return 0..0;
    }
    let start = part.as_ptr().addr() - whole.as_ptr().addr();
    start..start + part.len()
}

/// Says what httparse did not like; only asked when it did not.
fn explain(error: httparse::Error, fields: &[u8]) -> Fault {
    match error {
        httparse::Error::TooManyHeaders => Fault::TooManyHeaders,
        httparse::Error::HeaderValue => Fault::HeaderValue,
        httparse::Error::Version => Fault::Version,
        httparse::Error::Token | httparse::Error::NewLine | httparse::Error::Status => {
            Fault::RequestLine
        }
        httparse::Error::HeaderName => {
            let mut lines = fields
                .split(|&byte| byte == b'\n')
                .map(<[u8]>::trim_ascii_end);
            lines.find_map(explain_line).unwrap_or(Fault::HeaderName)
        }
    }
}

fn explain_line(line: &[u8]) -> Option<Fault> {
    if matches!(line, [b' ' | b'\t', ..]) {
        return Some(Fault::Fold);
    }
    let name = line.split(|&byte| byte == b':').next()?;
    (matches!(name, [.., b' ' | b'\t']) && is_token(name.trim_ascii_end()))
        .then_some(Fault::SpaceBeforeColon)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(head: &str) -> Option<Fault> {
        let line_len = head.find("\r\n").unwrap();
        decode(head.as_bytes(), line_len, Scheme::Http, &Limits::default()).err()
    }

    #[test]
    fn a_fault_in_the_fields_is_named() {
        let cases = [
            ("x: 1\r\n 2\r\n", Fault::Fold),
            (" x: 1\r\n", Fault::Fold),
            ("x : 1\r\n", Fault::SpaceBeforeColon),
            ("x y: 1\r\n", Fault::HeaderName),
            ("x\r\n", Fault::HeaderName),
            ("host: b\r\n", Fault::HostRepeated),
            (
                "content-length: 1\r\nContent-Length: 1\r\n",
                Fault::LengthRepeated,
            ),
            (
                "content-length: 1\r\nTransfer-Encoding: chunked\r\n",
                Fault::LengthAndEncoding,
            ),
            (
                "transfer-encoding: chunked\r\ntransfer-encoding: gzip\r\n",
                Fault::EncodingRepeated,
            ),
            ("expect: 200-ok\r\n", Fault::Expectation),
        ];
        for (fields, expected) in cases {
            let head = format!("POST / HTTP/1.1\r\nhost: a\r\n{fields}\r\n");
            assert_eq!(fault(&head), Some(expected), "{fields:?}");
        }
    }

    #[test]
    fn many_header_fields_are_fine_up_to_the_bound() {
        for count in [0, 19, 20, 127] {
            let head = format!(
                "GET / HTTP/1.1\r\nhost: a\r\n{}\r\n",
                "x: 1\r\n".repeat(count)
            );
            assert_eq!(fault(&head), None, "{count}");
        }
        let head = format!(
            "GET / HTTP/1.1\r\nhost: a\r\n{}\r\n",
            "x: 1\r\n".repeat(128)
        );
        assert_eq!(fault(&head), Some(Fault::TooManyHeaders));
    }

    #[test]
    fn the_line_may_be_all_there_is() {
        assert_eq!(fault("GET / HTTP/1.0\r\n\r\n"), None);
        assert_eq!(fault("GET / HTTP/1.1\r\n\r\n"), Some(Fault::HostMissing));
        assert_eq!(fault("GET HTTP/1.1\r\n\r\n"), Some(Fault::VersionMissing));
    }
}
