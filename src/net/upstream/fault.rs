//! Why a request came to nothing at the other server, and what an HTTP client is told of it.

use std::fmt;
use std::io;
use std::rc::Rc;

use crate::net::tls::HandshakeFault;

/// Why there is no answer, or no more of it. Many requests may share one.
#[derive(Clone, Debug)]
pub enum UpstreamFault {
    /// The request cannot be written: its target, authority or a header is none.
    Unsendable,
    /// The server's name has no address.
    Resolve(Rc<io::Error>),
    /// None of its addresses takes connections; the error is the last one's.
    Connect(Rc<io::Error>),
    /// No handshake with it.
    Tls(Rc<HandshakeFault>),
    /// No connection or no head of an answer in time.
    Timeout,
    /// All connections are busy, and too many requests wait for one already.
    Busy,
    /// The server took the stream back (an error code of RFC 9113 7).
    Reset(u32),
    /// The connection ended or broke.
    Lost {
        /// The server says that it has not looked at the request: it may be sent again (RFC 9113 8.7).
        unprocessed: bool,
    },
    /// The head of the answer is larger than the limit.
    TooLarge,
    /// What the server sends is not the protocol.
    Protocol(String),
}

impl UpstreamFault {
    /// The status for a client that waits for the answer's head.
    pub const fn status(&self) -> u16 {
        match self {
            Self::Unsendable => 400,
            Self::Resolve(_)
            | Self::Connect(_)
            | Self::Tls(_)
            | Self::Reset(_)
            | Self::Lost { .. }
            | Self::TooLarge
            | Self::Protocol(_) => 502,
            Self::Busy => 503,
            Self::Timeout => 504,
        }
    }

    /// Whether the server is sure not to have acted on the request.
    pub const fn is_unprocessed(&self) -> bool {
        match self {
            Self::Unsendable
            | Self::Resolve(_)
            | Self::Connect(_)
            | Self::Tls(_)
            | Self::Busy
            | Self::Lost { unprocessed: true } => true,
            Self::Timeout
            | Self::Reset(_)
            | Self::Lost { unprocessed: false }
            | Self::TooLarge
            | Self::Protocol(_) => false,
        }
    }
}

impl fmt::Display for UpstreamFault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsendable => formatter.write_str("the request cannot be written"),
            Self::Resolve(error) => write!(formatter, "the server's name has no address: {error}"),
            Self::Connect(error) => write!(formatter, "no connection to the server: {error}"),
            Self::Tls(fault) => write!(formatter, "no TLS with the server: {fault}"),
            Self::Timeout => formatter.write_str("the server did not answer in time"),
            Self::Busy => formatter.write_str("too many requests wait for the server"),
            Self::Reset(code) => write!(formatter, "the server reset the stream: code {code}"),
            Self::Lost { unprocessed: true } => {
                formatter.write_str("the server ended the connection before it took the request")
            }
            Self::Lost { unprocessed: false } => {
                formatter.write_str("the connection to the server broke")
            }
            Self::TooLarge => formatter.write_str("the head of the server's answer is too large"),
            Self::Protocol(what) => write!(formatter, "the server breaks the protocol: {what}"),
        }
    }
}

impl std::error::Error for UpstreamFault {}
