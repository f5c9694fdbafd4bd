//! Requests and answers as every HTTP version, mapping and route sees them.
//!
//! A head is one byte buffer and a table of ranges into it: two allocations however many headers it has.
//! Its one rule: header names are lower-case, and order and duplicates are kept as they came.

use std::fmt;
use std::ops::Range;

use bytes::Bytes;

/// An exchange (one request and its answer) on its connection, counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExchangeId(pub u64);

/// The methods of RFC 9110 9.3 and RFC 5789; any other is answered 501 before a request gets here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Method {
    /// Reads.
    Get,
    /// Reads the head only.
    Head,
    /// Creates or processes.
    Post,
    /// Creates or replaces.
    Put,
    /// Changes a part (RFC 5789).
    Patch,
    /// Removes.
    Delete,
    /// Asks what is possible; also a CORS preflight.
    Options,
    /// Echoes the request.
    Trace,
    /// Opens a tunnel.
    Connect,
}

impl Method {
    /// The method as it stands on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
            Self::Options => "OPTIONS",
            Self::Trace => "TRACE",
            Self::Connect => "CONNECT",
        }
    }

    /// Reads a method; the names are case-sensitive (RFC 9110 9.1). `None`: not one of them.
    pub fn from_bytes(name: &[u8]) -> Option<Self> {
        Some(match name {
            b"GET" => Self::Get,
            b"HEAD" => Self::Head,
            b"POST" => Self::Post,
            b"PUT" => Self::Put,
            b"PATCH" => Self::Patch,
            b"DELETE" => Self::Delete,
            b"OPTIONS" => Self::Options,
            b"TRACE" => Self::Trace,
            b"CONNECT" => Self::Connect,
            _ => return None,
        })
    }
}

/// How the client reached the listener: the `:scheme` of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// Plain TCP.
    Http,
    /// TLS.
    Https,
}

impl Scheme {
    /// `http` or `https`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// The version a request was sent in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// HTTP/1.0: no chunks, no persistence unless asked for.
    Http10,
    /// HTTP/1.1 (RFC 9112).
    Http11,
    /// HTTP/2 (RFC 9113).
    Http2,
}

/// A range of a buffer, half the size of `Range<usize>`.
#[derive(Clone, Copy, Debug, Default)]
struct Span {
    start: u32,
    end: u32,
}

impl Span {
    /// `None` past 4 GiB.
    fn new(range: &Range<usize>) -> Option<Self> {
        Some(Self {
            start: u32::try_from(range.start).ok()?,
            end: u32::try_from(range.end).ok()?,
        })
    }

    fn of(self, bytes: &[u8]) -> &[u8] {
        bytes
            .get(self.start as usize..self.end as usize)
            .unwrap_or_default()
    }
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    name: Span,
    value: Span,
}

/// An ordered list of header fields: lower-case names, values as raw bytes, duplicates kept.
#[derive(Clone, Default)]
pub struct Headers {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
}

impl Headers {
    /// An empty list; allocates at the first push.
    pub const fn new() -> Self {
        Self {
            bytes: Vec::new(),
            entries: Vec::new(),
        }
    }

    /// Appends a field; the name is written in lower case. A list holds less than 4 GiB: what would pass that is left out.
    pub fn push(&mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) {
        if self.entries.capacity() == 0 {
            self.bytes.reserve(256);
            self.entries.reserve(8);
        }
        let name = self.append(name.as_ref());
        let value = self.append(value.as_ref());
        self.push_range(name, value);
    }

    /// Replaces the value of the first field called `name` in its place and removes later ones; appends when there is none.
    pub fn set(&mut self, name: &str, value: impl AsRef<[u8]>) {
        let Some(first) = self
            .entries
            .iter()
            .position(|entry| entry.name.of(&self.bytes) == name.as_bytes())
        else {
            return self.push(name, value);
        };
        let value = self.append(value.as_ref());
        if let Some(value) = Span::new(&value) {
            self.entries[first].value = value;
        }
        let (bytes, mut index) = (&self.bytes, 0);
        self.entries.retain(|entry| {
            index += 1;
            index - 1 <= first || entry.name.of(bytes) != name.as_bytes()
        });
    }

    /// The value of the first field called `name` (lower-case).
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.iter()
            .find_map(|(key, value)| (key == name.as_bytes()).then_some(value))
    }

    /// The value of the last field called `name` (lower-case).
    pub fn get_last(&self, name: &str) -> Option<&[u8]> {
        self.iter()
            .rev()
            .find_map(|(key, value)| (key == name.as_bytes()).then_some(value))
    }

    /// The values of all fields called `name` (lower-case), in order.
    pub fn get_all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.iter()
            .filter_map(move |(key, value)| (key == name.as_bytes()).then_some(value))
    }

    /// Names and values in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&[u8], &[u8])> + ExactSizeIterator {
        self.entries
            .iter()
            .map(|entry| (entry.name.of(&self.bytes), entry.value.of(&self.bytes)))
    }

    /// The number of fields.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no field.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Removes every field and keeps the memory, so that one list can serve many answers.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.entries.clear();
    }

    /// A list over a raw message head, to be filled by [`Self::push_range`].
    pub(crate) fn over(bytes: Vec<u8>, fields: usize) -> Self {
        Self {
            bytes,
            entries: Vec::with_capacity(fields),
        }
    }

    /// Appends a field whose name and value already stand in the buffer.
    pub(crate) fn push_range(&mut self, name: Range<usize>, value: Range<usize>) {
        if let (Some(name_span), Some(value)) = (Span::new(&name), Span::new(&value)) {
            self.bytes[name].make_ascii_lowercase();
            self.entries.push(Entry {
                name: name_span,
                value,
            });
        }
    }

    /// Appends text that belongs to no field and says where it stands.
    fn append(&mut self, text: &[u8]) -> Range<usize> {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(text);
        start..self.bytes.len()
    }
}

impl PartialEq for Headers {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Headers {}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fields = self.iter().map(|(name, value)| {
            let secret = matches!(
                name,
                b"authorization" | b"cookie" | b"set-cookie" | b"proxy-authorization"
            );
            let value = if secret {
                "***".into()
            } else {
                String::from_utf8_lossy(value)
            };
            (String::from_utf8_lossy(name), value)
        });
        f.debug_map().entries(fields).finish()
    }
}

/// Where the text of a request line stands in the buffer of the headers.
#[derive(Clone, Debug, Default)]
pub(crate) struct RequestText {
    pub(crate) target: Range<usize>,
    pub(crate) authority: Range<usize>,
    pub(crate) path: Range<usize>,
    pub(crate) query: Option<Range<usize>>,
}

/// A request's head, the same for every version.
///
/// Over HTTP/1.1 `host` stays among the headers, where the client put it.
#[derive(Clone)]
pub struct RequestHead {
    /// The method.
    pub method: Method,
    /// How the client reached us, not what an absolute-form target says.
    pub scheme: Scheme,
    /// The version the request was sent in.
    pub version: Version,
    // The spans below point into this list's buffer, which therefore is never given out mutably.
    headers: Headers,
    target: Span,
    authority: Span,
    path: Span,
    query: Option<Span>,
}

impl RequestHead {
    /// A head from its parts: the target in origin form or `*` (that is HTTP/2's `:path`).
    pub fn new(
        method: Method,
        scheme: Scheme,
        version: Version,
        authority: &[u8],
        target: &[u8],
        mut headers: Headers,
    ) -> Self {
        let authority = headers.append(authority);
        let target = headers.append(target);
        let (path, query) = split_query(&headers.bytes, target.clone());
        Self::over(
            method,
            scheme,
            version,
            headers,
            &RequestText {
                target,
                authority,
                path,
                query,
            },
        )
    }

    /// A head whose text already stands in the buffer of `headers`.
    pub(crate) fn over(
        method: Method,
        scheme: Scheme,
        version: Version,
        headers: Headers,
        text: &RequestText,
    ) -> Self {
        Self {
            method,
            scheme,
            version,
            headers,
            target: Span::new(&text.target).unwrap_or_default(),
            authority: Span::new(&text.authority).unwrap_or_default(),
            path: Span::new(&text.path).unwrap_or_default(),
            query: text.query.as_ref().and_then(Span::new),
        }
    }

    /// The header fields in wire order.
    pub fn headers(&self) -> &Headers {
        &self.headers
    }

    /// The request target as sent (RFC 9112 3.2), query included.
    pub fn target(&self) -> &[u8] {
        self.target.of(&self.headers.bytes)
    }

    /// Host and port as the client named them; empty when an HTTP/1.0 client named none.
    pub fn authority(&self) -> &[u8] {
        self.authority.of(&self.headers.bytes)
    }

    /// The path without the query, not decoded; `*` for a server-wide OPTIONS.
    pub fn path(&self) -> &[u8] {
        self.path.of(&self.headers.bytes)
    }

    /// What follows the first `?`, not decoded.
    pub fn query(&self) -> Option<&[u8]> {
        self.query.map(|query| query.of(&self.headers.bytes))
    }
}

impl fmt::Debug for RequestHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestHead")
            .field("method", &self.method)
            .field("scheme", &self.scheme)
            .field("version", &self.version)
            .field("authority", &String::from_utf8_lossy(self.authority()))
            .field("target", &String::from_utf8_lossy(self.target()))
            .field("headers", &self.headers)
            .finish_non_exhaustive()
    }
}

/// Splits `range` of `bytes` at its first `?`.
pub(crate) fn split_query(
    bytes: &[u8],
    range: Range<usize>,
) -> (Range<usize>, Option<Range<usize>>) {
    match bytes[range.clone()].iter().position(|&byte| byte == b'?') {
        Some(at) => (
            range.start..range.start + at,
            Some(range.start + at + 1..range.end),
        ),
        None => (range, None),
    }
}

/// The body of a request as it is first seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestBody {
    /// The whole body, empty when there is none.
    Full(Bytes),
    /// More comes as events of its own.
    Streaming {
        /// The length in bytes, if the client told it.
        length: Option<u64>,
        /// The client waits for `100 Continue` before it sends the body.
        expects_continue: bool,
    },
}

/// The head of an answer.
///
/// Framing headers (`content-length`, `transfer-encoding`, `connection`, `date`) are the connection's to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResponseHead {
    /// The status code, 200 to 999.
    pub status: u16,
    /// The header fields, written in this order.
    pub headers: Headers,
}

impl ResponseHead {
    /// An answer without headers.
    pub const fn new(status: u16) -> Self {
        Self {
            status,
            headers: Headers::new(),
        }
    }

    /// Adds a header field.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers.push(name, value);
        self
    }
}

/// The body of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// None.
    Empty,
    /// All of it. An answer to HEAD is given the body of the GET too, for its length.
    Full(Bytes),
    /// Data follows piece by piece, its end is told.
    Stream,
    /// Data follows piece by piece, so many bytes of it and no other number.
    Sized(u64),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_keep_order_and_duplicates() {
        let mut headers = Headers::new();
        headers.push("A", "1");
        headers.push("b", "2");
        headers.push("a", "3");
        assert_eq!(headers.get("a"), Some(b"1".as_slice()));
        assert_eq!(headers.get_last("a"), Some(b"3".as_slice()));
        assert_eq!(headers.get_all("a").collect::<Vec<_>>(), [b"1", b"3"]);
        assert_eq!(headers.get("c"), None);
        assert_eq!(headers.len(), 3);
    }

    #[test]
    fn setting_a_header_replaces_the_first_in_its_place() {
        let mut headers = Headers::new();
        for (name, value) in [("a", "1"), ("b", "2"), ("a", "3")] {
            headers.push(name, value);
        }
        headers.set("a", "four");
        headers.set("c", "5");
        let fields: Vec<_> = headers.iter().collect();
        assert_eq!(
            fields,
            [
                (b"a".as_slice(), b"four".as_slice()),
                (b"b", b"2"),
                (b"c", b"5")
            ]
        );
    }

    #[test]
    fn a_head_from_parts_knows_path_and_query() {
        let head = RequestHead::new(
            Method::Get,
            Scheme::Https,
            Version::Http2,
            b"a:443",
            b"/x?y=1?2",
            Headers::new(),
        );
        assert_eq!(head.path(), b"/x");
        assert_eq!(head.query(), Some(b"y=1?2".as_slice()));
        assert_eq!(head.authority(), b"a:443");
        assert_eq!(head.target(), b"/x?y=1?2");
    }

    #[test]
    fn debug_output_hides_credentials() {
        let head = ResponseHead::new(200)
            .with("authorization", "Bearer secret")
            .with("x", "seen");
        let text = format!("{head:?}");
        assert!(
            text.contains("***") && text.contains("seen") && !text.contains("secret"),
            "{text}"
        );
    }
}
