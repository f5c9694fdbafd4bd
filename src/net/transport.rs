//! What a connection's bytes go over: a socket, or TLS on it.
//!
//! Between `runtime::net` and the protocols, which see one stream. Its one rule: what TLS owes to the socket goes out whenever the stream is polled for anything.
//!
//! # What callers must do
//!
//! A write to TLS that was accepted may still wait for room in the socket, [`WAITING_BYTES_MAX`] at most. The task is woken when there is room, and any
//! poll of the stream then sends it; so a task that reads, writes or flushes each time it is polled needs nothing more. Before a stream is dropped,
//! `poll_close` (or `poll_flush`) has to have been ready, or its last bytes are lost.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_lite::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsStream;

use super::adapter::{FuturesIo, TokioIo};
use crate::runtime::net::Stream;

/// Encrypted bytes that wait for room in the socket; also how much is encrypted at a time.
pub const WAITING_BYTES_MAX: usize = 32 << 10;

/// The stream of a connection.
#[derive(Debug)]
pub enum Transport {
    /// As it comes.
    Plain(Stream),
    /// Encrypted.
    Tls(Box<Secured<Stream>>),
}

impl Transport {
    /// The client's address.
    ///
    /// # Errors
    ///
    /// The kernel's, when the socket is gone.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.socket().peer_addr().map_err(io::Error::from)
    }

    /// Our own.
    ///
    /// # Errors
    ///
    /// The kernel's, when the socket is gone.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket().local_addr().map_err(io::Error::from)
    }

    /// Whether it is encrypted.
    pub const fn is_tls(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    fn socket(&self) -> &Stream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(secured) => secured.socket(),
        }
    }
}

impl From<Stream> for Transport {
    fn from(stream: Stream) -> Self {
        Self::Plain(stream)
    }
}

impl AsyncRead for Transport {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(secured) => Pin::new(&mut **secured).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Transport {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(secured) => Pin::new(&mut **secured).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(secured) => Pin::new(&mut **secured).poll_flush(context),
        }
    }

    fn poll_close(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_close(context),
            Self::Tls(secured) => Pin::new(&mut **secured).poll_close(context),
        }
    }
}

/// TLS on a stream, after the handshake.
///
/// An idle one keeps what rustls keeps: its keys, and 4 KiB to read into; both directions' buffers are freed as they empty.
#[derive(Debug)]
pub struct Secured<S> {
    stream: FuturesIo<TlsStream<TokioIo<S>>>,
    closing: Closing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Closing {
    /// Not asked for.
    No,
    /// `close_notify` waits for room in the socket.
    Begun,
    Done,
}

impl<S> Secured<S> {
    pub(super) fn new(stream: impl Into<TlsStream<TokioIo<S>>>) -> Self {
        Self {
            stream: FuturesIo(stream.into()),
            closing: Closing::No,
        }
    }

    /// What it is on.
    pub fn socket(&self) -> &S {
        &self.stream.0.get_ref().0.0
    }

    /// Whether rustls has something for the socket.
    fn owes(&self) -> bool {
        match &self.stream.0 {
            TlsStream::Client(stream) => stream.get_ref().1.wants_write(),
            TlsStream::Server(stream) => stream.get_ref().1.wants_write(),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Secured<S> {
    /// Sends what is owed as far as there is room; what remains wakes the task when there is more.
    fn push(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        let pushed = if self.closing == Closing::Begun {
            self.poll_closed(context)
        } else if self.owes() {
            Pin::new(&mut self.stream).poll_flush(context)
        } else {
            return Ok(());
        };
        match pushed {
            Poll::Ready(result) => result,
            Poll::Pending => Ok(()),
        }
    }

    fn poll_closed(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.closing == Closing::Done {
            return Poll::Ready(Ok(()));
        }
        self.closing = Closing::Begun;
        let result = ready!(Pin::new(&mut self.stream).poll_close(context));
        self.closing = Closing::Done;
        Poll::Ready(result)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Secured<S> {
    /// As any stream; an end without `close_notify` is an error (RFC 8446 6.1), since anybody on the way can cause it.
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        self.push(context)?;
        let result = Pin::new(&mut self.stream).poll_read(context, buffer);
        // What was read may ask for an answer of rustls' own, such as new keys.
        if !matches!(result, Poll::Ready(Err(_))) {
            self.push(context)?;
        }
        result
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Secured<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.closing != Closing::No {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.closing {
            Closing::No => Pin::new(&mut self.stream).poll_flush(context),
            Closing::Begun | Closing::Done => self.poll_closed(context),
        }
    }

    fn poll_close(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_closed(context)
    }
}
