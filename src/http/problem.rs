//! Error answers as `application/problem+json` (RFC 9457).
//!
//! Used by every layer that refuses a request. Its one rule: nothing internal in it, only what the client can act on.

use bytes::Bytes;

use super::h1::reason;
use super::{Body, Headers, ResponseHead};

/// A problem in the making: type `about:blank`, so the title is the status' own phrase.
#[derive(Clone, Debug)]
pub struct Problem {
    status: u16,
    detail: String,
    json: Vec<u8>,
    headers: Headers,
}

impl Problem {
    /// A problem with nothing but its status (400 to 599).
    pub fn new(status: u16) -> Self {
        let mut json = Vec::with_capacity(160);
        json.extend_from_slice(b"{\"type\":\"about:blank\",\"title\":");
        push_string(&mut json, reason(status));
        json.extend_from_slice(b",\"status\":");
        push_number(&mut json, u64::from(status));
        Self {
            status,
            detail: String::new(),
            json,
            headers: Headers::new(),
        }
    }

    /// Says what is wrong with this very request.
    #[must_use]
    pub fn detail(mut self, detail: &str) -> Self {
        detail.clone_into(&mut self.detail);
        self.member("detail", detail)
    }

    /// Its status and what is wrong, for answers that are not of HTTP.
    pub fn into_parts(self) -> (u16, String) {
        (self.status, self.detail)
    }

    /// Adds an extension member (RFC 9457 3.2): a name of letters, digits and `_`.
    #[must_use]
    pub fn member(mut self, name: &str, value: &str) -> Self {
        self.key(name);
        push_string(&mut self.json, value);
        self
    }

    /// Adds an extension member that is a number.
    #[must_use]
    pub fn number(mut self, name: &str, value: u64) -> Self {
        self.key(name);
        push_number(&mut self.json, value);
        self
    }

    /// Says in how many seconds to try again (RFC 9110 10.2.3).
    #[must_use]
    pub fn retry_after(self, seconds: u32) -> Self {
        let mut text = Vec::new();
        push_number(&mut text, u64::from(seconds));
        self.header("retry-after", text)
    }

    /// Adds a header field to the answer.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers.push(name, value);
        self
    }

    /// The answer: head with `content-type` and those of the problem, and the JSON text.
    pub fn into_response(mut self) -> (ResponseHead, Body) {
        self.json.push(b'}');
        let mut head =
            ResponseHead::new(self.status).with("content-type", "application/problem+json");
        for (name, value) in self.headers.iter() {
            head.headers.push(name, value);
        }
        (head, Body::Full(Bytes::from(self.json)))
    }

    fn key(&mut self, name: &str) {
        self.json.push(b',');
        push_string(&mut self.json, name);
        self.json.push(b':');
    }
}

/// Writes a JSON string (RFC 8259 7).
fn push_string(json: &mut Vec<u8>, text: &str) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    json.push(b'"');
    for &byte in text.as_bytes() {
        match byte {
            b'"' | b'\\' => json.extend_from_slice(&[b'\\', byte]),
            b'\n' => json.extend_from_slice(b"\\n"),
            b'\r' => json.extend_from_slice(b"\\r"),
            b'\t' => json.extend_from_slice(b"\\t"),
            0..0x20 => {
                json.extend_from_slice(b"\\u00");
                json.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
            }
            _ => json.push(byte),
        }
    }
    json.push(b'"');
}

/// Writes a decimal number without the formatting machinery.
pub(super) fn push_number(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0; 20];
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = b'0' + u8::try_from(number % 10).unwrap_or(0);
        number /= 10;
        if number == 0 {
            return out.extend_from_slice(&digits[start..]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_one_json_object() {
        let (head, body) = Problem::new(503)
            .detail("partition 3 has no leader")
            .number("limit_bytes", u64::MAX)
            .retry_after(2)
            .into_response();
        assert_eq!(
            head.headers.get("content-type"),
            Some(b"application/problem+json".as_slice())
        );
        assert_eq!(head.headers.get("retry-after"), Some(b"2".as_slice()));
        let text = r#"{"type":"about:blank","title":"Service Unavailable","status":503,"detail":"partition 3 has no leader","limit_bytes":18446744073709551615}"#;
        assert_eq!(body, Body::Full(Bytes::from_static(text.as_bytes())));
    }

    #[test]
    fn strings_are_escaped() {
        let mut json = Vec::new();
        push_string(&mut json, "a\"b\\c\n\r\t\u{1}\u{1f}é");
        assert_eq!(json, "\"a\\\"b\\\\c\\n\\r\\t\\u0001\\u001fé\"".as_bytes());
    }
}
