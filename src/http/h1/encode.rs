//! Answer heads and chunks as bytes (RFC 9112 4, 5, 7.1).
//!
//! Its one rule: a header that could end its line early is never written; it is left out and counted.

use crate::http::chars::{is_field_value, is_token};
use crate::http::date::DATE_LEN;
use crate::http::problem::push_number;
use crate::http::{Body, ResponseHead};

macro_rules! statuses {
    ($($code:literal $phrase:literal)*) => {
        /// The reason phrase of a status code (IANA registry); empty for one that is not registered.
        pub const fn reason(status: u16) -> &'static str {
            match status { $($code => $phrase,)* _ => "" }
        }

        const fn status_line(status: u16) -> Option<&'static [u8]> {
            match status {
                $($code => Some(concat!("HTTP/1.1 ", $code, " ", $phrase, "\r\n").as_bytes()),)*
                _ => None,
            }
        }
    };
}

statuses! {
    200 "OK" 201 "Created" 202 "Accepted" 203 "Non-Authoritative Information" 204 "No Content" 205 "Reset Content"
    206 "Partial Content" 207 "Multi-Status" 208 "Already Reported" 226 "IM Used"
    300 "Multiple Choices" 301 "Moved Permanently" 302 "Found" 303 "See Other" 304 "Not Modified" 305 "Use Proxy"
    307 "Temporary Redirect" 308 "Permanent Redirect"
    400 "Bad Request" 401 "Unauthorized" 402 "Payment Required" 403 "Forbidden" 404 "Not Found"
    405 "Method Not Allowed" 406 "Not Acceptable" 407 "Proxy Authentication Required" 408 "Request Timeout"
    409 "Conflict" 410 "Gone" 411 "Length Required" 412 "Precondition Failed" 413 "Content Too Large"
    414 "URI Too Long" 415 "Unsupported Media Type" 416 "Range Not Satisfiable" 417 "Expectation Failed"
    421 "Misdirected Request" 422 "Unprocessable Content" 423 "Locked" 424 "Failed Dependency" 425 "Too Early"
    426 "Upgrade Required" 428 "Precondition Required" 429 "Too Many Requests"
    431 "Request Header Fields Too Large" 451 "Unavailable For Legal Reasons"
    500 "Internal Server Error" 501 "Not Implemented" 502 "Bad Gateway" 503 "Service Unavailable"
    504 "Gateway Timeout" 505 "HTTP Version Not Supported" 506 "Variant Also Negotiates" 507 "Insufficient Storage"
    508 "Loop Detected" 511 "Network Authentication Required"
}

/// The interim answer that asks for the body.
pub(super) const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
/// The end of a chunked body, without trailers.
pub(super) const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// How an answer's body is told from what follows it (RFC 9112 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Delivery {
    /// Nothing is said and nothing is sent: 204, 304.
    None,
    /// Nothing is sent, but the answer's own content-length says what a GET would bring: HEAD without a body at hand.
    Declared,
    /// This many bytes.
    Length(u64),
    /// In chunks.
    Chunked,
    /// Until the connection closes: a stream to an HTTP/1.0 client.
    UntilClose,
}

impl Delivery {
    /// The delivery of `body` under `status` to a request of HEAD (`head_only`) or HTTP/1.0.
    pub(super) fn new(status: u16, body: &Body, head_only: bool, http10: bool) -> Self {
        match body {
            _ if matches!(status, 204 | 304) => Self::None,
            Body::Full(bytes) => Self::Length(bytes.len() as u64),
            Body::Sized(length) => Self::Length(*length),
            Body::Empty if head_only => Self::Declared,
            Body::Empty => Self::Length(0),
            Body::Stream if http10 => Self::UntilClose,
            Body::Stream => Self::Chunked,
        }
    }
}

/// What the connection's persistence line says (RFC 9112 9.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Persistence {
    /// Nothing: HTTP/1.1 persists by itself.
    Implied,
    /// `keep-alive`, for an HTTP/1.0 client that asked.
    KeepAlive,
    /// `close`: this answer is the last.
    Close,
}

/// Writes the status line and the persistence line.
pub(super) fn push_start(out: &mut Vec<u8>, status: u16, persistence: Persistence) {
    if let Some(line) = status_line(status) {
        out.extend_from_slice(line);
    } else {
        out.extend_from_slice(b"HTTP/1.1 ");
        push_number(out, u64::from(status));
        out.extend_from_slice(b" \r\n");
    }
    out.extend_from_slice(match persistence {
        Persistence::Implied => b"",
        Persistence::KeepAlive => b"connection: keep-alive\r\n",
        Persistence::Close => b"connection: close\r\n",
    });
}

/// Writes the fields and the empty line; the number of fields that were left out because they were malformed.
pub(super) fn push_fields(
    out: &mut Vec<u8>,
    head: &ResponseHead,
    delivery: Delivery,
    date: Option<&[u8; DATE_LEN]>,
) -> u64 {
    let mut dropped = 0;
    for (name, value) in head.headers.iter() {
        if is_ours(name, delivery, date.is_some()) {
            continue;
        }
        if is_token(name) && is_field_value(value) {
            push_field(out, name, value);
        } else {
            dropped += 1;
        }
    }
    if let Some(date) = date {
        push_field(out, b"date", date);
    }
    match delivery {
        Delivery::None | Delivery::Declared | Delivery::UntilClose => {}
        Delivery::Length(length) => {
            out.extend_from_slice(b"content-length: ");
            push_number(out, length);
            out.extend_from_slice(b"\r\n");
        }
        Delivery::Chunked => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
    }
    out.extend_from_slice(b"\r\n");
    dropped
}

/// Whether a field is the connection's to write, or means only the next hop (RFC 9110 7.6.1).
fn is_ours(name: &[u8], delivery: Delivery, dated: bool) -> bool {
    match name {
        b"connection" | b"transfer-encoding" | b"keep-alive" | b"proxy-connection" | b"upgrade" => {
            true
        }
        b"content-length" => delivery != Delivery::Declared,
        b"date" => dated,
        _ => false,
    }
}

fn push_field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Writes one chunk; nothing for empty data, which would end the body.
pub(super) fn push_chunk(out: &mut Vec<u8>, data: &[u8]) {
    if data.is_empty() {
        return;
    }
    push_hex(out, data.len());
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(data);
    out.extend_from_slice(b"\r\n");
}

fn push_hex(out: &mut Vec<u8>, number: usize) {
    let digits = (usize::BITS - number.leading_zeros()).div_ceil(4).max(1);
    for shift in (0..digits).rev() {
        out.push(b"0123456789abcdef"[number >> (shift * 4) & 15]);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn encode(head: &ResponseHead, body: &Body, head_only: bool, http10: bool) -> (String, u64) {
        let mut out = Vec::new();
        push_start(&mut out, head.status, Persistence::Implied);
        let delivery = Delivery::new(head.status, body, head_only, http10);
        let dropped = push_fields(&mut out, head, delivery, None);
        (String::from_utf8(out).unwrap(), dropped)
    }

    #[test]
    fn the_delivery_follows_status_method_and_version() {
        let head = ResponseHead::new(200).with("content-length", "77");
        let full = Body::Full(Bytes::from_static(b"abc"));
        let length = |text: &str| format!("HTTP/1.1 200 OK\r\ncontent-length: {text}\r\n\r\n");
        assert_eq!(encode(&head, &full, false, false).0, length("3"));
        assert_eq!(encode(&head, &full, true, false).0, length("3"));
        assert_eq!(encode(&head, &Body::Empty, true, false).0, length("77"));
        assert_eq!(encode(&head, &Body::Empty, false, false).0, length("0"));
        assert_eq!(
            encode(&head, &Body::Stream, false, true).0,
            "HTTP/1.1 200 OK\r\n\r\n"
        );
        let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
        assert_eq!(encode(&head, &Body::Stream, false, false).0, chunked);
        let not_modified = ResponseHead {
            status: 304,
            ..head
        };
        assert_eq!(
            encode(&not_modified, &full, false, false).0,
            "HTTP/1.1 304 Not Modified\r\n\r\n"
        );
    }

    #[test]
    fn malformed_fields_are_left_out_and_counted() {
        let mut head = ResponseHead::new(299);
        for (name, value) in [
            ("a", "1\r\nset-cookie: x"),
            ("b\n", "1"),
            (":status", "200"),
            ("", "1"),
            ("c", "\0"),
            ("d", "ok"),
            ("Connection", "upgrade"),
        ] {
            head.headers.push(name, value);
        }
        let expected = "HTTP/1.1 299 \r\nd: ok\r\ncontent-length: 0\r\n\r\n";
        assert_eq!(
            encode(&head, &Body::Empty, false, false),
            (expected.to_owned(), 5)
        );
    }

    #[test]
    fn chunk_sizes_are_hexadecimal() {
        for (number, text) in [
            (0, "0"),
            (9, "9"),
            (15, "f"),
            (16, "10"),
            (0xabcd, "abcd"),
            (usize::MAX, "ffffffffffffffff"),
        ] {
            let mut out = Vec::new();
            push_hex(&mut out, number);
            assert_eq!(out, text.as_bytes());
        }
        let mut out = Vec::new();
        push_chunk(&mut out, b"");
        assert!(out.is_empty());
    }
}
