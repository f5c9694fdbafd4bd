//! What a client can get wrong on an HTTP/1.1 connection, and the status it is told.
//!
//! Its one rule: after a fault the connection ends, since where the next request starts is no longer certain.

use crate::http::{Body, Problem, ResponseHead};

/// A request that is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The first bytes are a TLS handshake.
    TlsOnPlainPort,
    /// A line feed without a carriage return.
    BareLf,
    /// A carriage return without a line feed.
    BareCr,
    /// A NUL or other control byte.
    ControlByte,
    /// Too many empty lines before the request line.
    EmptyLines,
    /// The request line alone passes the bound of a head.
    LineTooLong,
    /// The head passes its bound.
    HeadTooLarge,
    /// More header fields than allowed.
    TooManyHeaders,
    /// The request line is not three parts with one space between each.
    RequestLine,
    /// A request line without a version: HTTP/0.9.
    VersionMissing,
    /// A version other than 1.0 and 1.1.
    Version,
    /// The method is not a token.
    Method,
    /// A method nobody here knows, or CONNECT.
    MethodUnknown,
    /// The request target holds a byte or a form that is not allowed.
    Target,
    /// A header line continued on the next (obs-fold).
    Fold,
    /// Whitespace between a header name and its colon.
    SpaceBeforeColon,
    /// A header name that is not a token, or a line without a colon.
    HeaderName,
    /// A header value with a byte that is not allowed.
    HeaderValue,
    /// HTTP/1.1 without Host.
    HostMissing,
    /// Host more than once.
    HostRepeated,
    /// A Host that is not `name[:port]`.
    HostInvalid,
    /// A content-length that is not one decimal number.
    Length,
    /// Content-length more than once, be they equal.
    LengthRepeated,
    /// Both content-length and transfer-encoding.
    LengthAndEncoding,
    /// A transfer coding other than `chunked`.
    EncodingUnknown,
    /// Transfer-encoding more than once, or a list with `chunked` in it.
    EncodingRepeated,
    /// Transfer-encoding from an HTTP/1.0 client.
    EncodingInHttp10,
    /// An expectation other than `100-continue`.
    Expectation,
    /// The body passes its bound.
    BodyTooLarge,
    /// A chunk size that is not 1 to 16 hexadecimal digits.
    ChunkSize,
    /// Chunk extensions that are malformed or too long.
    ChunkExtension,
    /// A chunk's data is not followed by CRLF.
    ChunkEnd,
    /// A malformed trailer section, or one past its bound.
    Trailer,
    /// The client closed inside a head.
    HeadCutOff,
    /// The client closed inside a body.
    BodyCutOff,
    /// The head took too long.
    HeadTimeout,
    /// The body took too long.
    BodyTimeout,
}

impl Fault {
    /// The status code of the answer.
    pub const fn status(self) -> u16 {
        match self {
            Self::TlsOnPlainPort
            | Self::BareLf
            | Self::BareCr
            | Self::ControlByte
            | Self::EmptyLines
            | Self::RequestLine
            | Self::VersionMissing
            | Self::Method
            | Self::Target
            | Self::Fold
            | Self::SpaceBeforeColon
            | Self::HeaderName
            | Self::HeaderValue
            | Self::HostMissing
            | Self::HostRepeated
            | Self::HostInvalid
            | Self::Length
            | Self::LengthRepeated
            | Self::LengthAndEncoding
            | Self::EncodingRepeated
            | Self::EncodingInHttp10
            | Self::ChunkSize
            | Self::ChunkExtension
            | Self::ChunkEnd
            | Self::Trailer
            | Self::HeadCutOff
            | Self::BodyCutOff => 400,
            Self::HeadTimeout | Self::BodyTimeout => 408,
            Self::BodyTooLarge => 413,
            Self::LineTooLong => 414,
            Self::Expectation => 417,
            Self::HeadTooLarge | Self::TooManyHeaders => 431,
            Self::MethodUnknown | Self::EncodingUnknown => 501,
            Self::Version => 505,
        }
    }

    /// What is wrong, for the client.
    pub const fn detail(self) -> &'static str {
        match self {
            Self::TlsOnPlainPort => "this port speaks plain HTTP, and this is a TLS handshake",
            Self::BareLf => "a line ends in LF without CR",
            Self::BareCr => "a CR is not followed by LF",
            Self::ControlByte => "the head holds a control byte",
            Self::EmptyLines => "too many empty lines before the request line",
            Self::LineTooLong => "the request line is too long",
            Self::HeadTooLarge => "the request head is too large",
            Self::TooManyHeaders => "the request has too many header fields",
            Self::RequestLine => "the request line is not `METHOD target HTTP/1.1`",
            Self::VersionMissing => "the request line has no version; HTTP/0.9 is not spoken here",
            Self::Version => "only HTTP/1.0 and HTTP/1.1 are spoken here",
            Self::Method => "the method is not a token",
            Self::MethodUnknown => "the method is not known",
            Self::Target => "the request target is not a valid path, absolute URI or `*`",
            Self::Fold => "a header field is folded over two lines",
            Self::SpaceBeforeColon => "whitespace before the colon of a header field",
            Self::HeaderName => "a header name is not a token followed by a colon",
            Self::HeaderValue => "a header value holds a byte that is not allowed",
            Self::HostMissing => "an HTTP/1.1 request needs a host header",
            Self::HostRepeated => "more than one host header",
            Self::HostInvalid => "the host is not `name` or `name:port`",
            Self::Length => "content-length is not one decimal number",
            Self::LengthRepeated => "more than one content-length",
            Self::LengthAndEncoding => "both content-length and transfer-encoding",
            Self::EncodingUnknown => "the only transfer coding spoken here is chunked",
            Self::EncodingRepeated => "transfer-encoding is not exactly one `chunked`",
            Self::EncodingInHttp10 => "HTTP/1.0 has no transfer-encoding",
            Self::Expectation => "the only expectation met here is 100-continue",
            Self::BodyTooLarge => "the request body is too large",
            Self::ChunkSize => "a chunk size is not 1 to 16 hexadecimal digits",
            Self::ChunkExtension => "chunk extensions are malformed or too long",
            Self::ChunkEnd => "chunk data is not followed by CRLF",
            Self::Trailer => "the trailer section is malformed or too long",
            Self::HeadCutOff => "the connection ended inside the request head",
            Self::BodyCutOff => "the connection ended inside the request body",
            Self::HeadTimeout => "the request head took too long",
            Self::BodyTimeout => "the request body took too long",
        }
    }

    /// The answer that names the fault.
    pub(super) fn into_response(self) -> (ResponseHead, Body) {
        Problem::new(self.status())
            .detail(self.detail())
            .into_response()
    }
}
