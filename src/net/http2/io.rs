//! The socket as the `h2` crate reads and writes it: tokio's traits over ours, with an eye on floods and on a client that takes nothing.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use futures_lite::{AsyncRead, AsyncWrite};
use tokio::io::ReadBuf;

use crate::clock::Instant;
use crate::http::h2::flood::FloodMeter;
use crate::runtime;

/// Reads from the socket in one turn of the connection, so that a client that sends without end does not keep the core to itself.
const READS_PER_TURN: u32 = 32;
/// What a connection begins with (RFC 9113 3.4), bytes.
const PREFACE_BYTES: usize = 24;
/// What is read from the socket where so little is asked for.
const AHEAD_BYTES: usize = 1 << 10;

/// What the connection's task sees of the socket.
#[derive(Debug)]
pub(super) struct Watched {
    flood: RefCell<FloodMeter>,
    /// The client sends what brings nothing, without end.
    pub(super) is_flooded: Cell<bool>,
    /// Since when the socket takes no byte of those that wait.
    pub(super) blocked_since: Cell<Option<Instant>>,
    /// Reads that the socket still gets in this turn of the connection.
    reads_left: Cell<u32>,
    /// Bytes moved and not yet counted: in, out.
    moved: Cell<(usize, usize)>,
}

impl Watched {
    pub(super) fn new(now: Instant) -> Rc<Self> {
        Rc::new(Self {
            flood: RefCell::new(FloodMeter::new(now)),
            is_flooded: Cell::new(false),
            blocked_since: Cell::new(None),
            reads_left: Cell::new(READS_PER_TURN),
            moved: Cell::new((0, 0)),
        })
    }

    /// The connection's task is polled anew.
    pub(super) fn begin_turn(&self) {
        self.reads_left.set(READS_PER_TURN);
    }

    /// Bytes moved since the last call: in, out.
    pub(super) fn take_moved(&self) -> (usize, usize) {
        self.moved.take()
    }
}

/// A socket, before it what was read of it already and is still to be looked at.
pub(super) struct Io<S> {
    stream: S,
    first: Bytes,
    watched: Rc<Watched>,
}

impl<S> Io<S> {
    pub(super) const fn new(stream: S, first: Bytes, watched: Rc<Watched>) -> Self {
        Self {
            stream,
            first,
            watched,
        }
    }

    /// Reads more than was asked for, and keeps it.
    fn poll_ahead(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>>
    where
        S: AsyncRead + Unpin,
    {
        let mut ahead = [0; AHEAD_BYTES];
        let count = ready!(Pin::new(&mut self.stream).poll_read(context, &mut ahead))?;
        self.first = Bytes::copy_from_slice(&ahead[..count]);
        Poll::Ready(Ok(()))
    }

    fn handle_read(&self, bytes: &[u8]) {
        let now = runtime::now();
        let watched = &self.watched;
        let (received, sent) = watched.moved.get();
        watched.moved.set((received + bytes.len(), sent));
        if watched.flood.borrow_mut().handle_input(bytes, now).is_err() {
            watched.is_flooded.set(true);
        }
    }
}

impl<S: AsyncRead + Unpin> tokio::io::AsyncRead for Io<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.watched.is_flooded.get() {
            // Nothing more is taken from it; the connection's task is about to close it.
            return Poll::Pending;
        }
        let reads_left = self.watched.reads_left.get();
        if reads_left == 0 {
            self.watched.begin_turn();
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.watched.reads_left.set(reads_left - 1);
        // The preface is asked for alone. What comes behind one that is none must not be left in the socket: closing it would reset the
        // connection, where the client is to see that it ends.
        if self.first.is_empty() && buffer.remaining() <= PREFACE_BYTES {
            ready!(self.poll_ahead(context))?;
            if self.first.is_empty() {
                return Poll::Ready(Ok(()));
            }
        }
        if self.first.has_remaining() {
            let count = self.first.len().min(buffer.remaining());
            let piece = self.first.split_to(count);
            buffer.put_slice(&piece);
            self.handle_read(&piece);
            return Poll::Ready(Ok(()));
        }
        let room = buffer.initialize_unfilled();
        let count = ready!(Pin::new(&mut self.stream).poll_read(context, room))?;
        buffer.advance(count);
        let filled = buffer.filled();
        self.handle_read(&filled[filled.len() - count..]);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> tokio::io::AsyncWrite for Io<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        let watched = &self.watched;
        match &written {
            Poll::Pending if watched.blocked_since.get().is_none() => {
                watched.blocked_since.set(Some(runtime::now()));
            }
            Poll::Ready(Ok(count)) => {
                watched.blocked_since.set(None);
                watched.flood.borrow_mut().handle_sent(*count);
                let (received, sent) = watched.moved.get();
                watched.moved.set((received, sent + count));
            }
            Poll::Pending | Poll::Ready(Err(_)) => {}
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_close(context)
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    /// Reads once, `room` bytes at most.
    fn read(io: &mut Io<&[u8]>, room: usize) -> Vec<u8> {
        let mut space = vec![0; room];
        let mut buffer = ReadBuf::new(&mut space);
        let mut context = Context::from_waker(Waker::noop());
        let polled = tokio::io::AsyncRead::poll_read(Pin::new(io), &mut context, &mut buffer);
        assert!(matches!(polled, Poll::Ready(Ok(()))));
        buffer.filled().to_vec()
    }

    fn io(first: &'static [u8], stream: &'static [u8]) -> Io<&'static [u8]> {
        Io::new(
            stream,
            Bytes::from_static(first),
            Watched::new(Instant::ZERO),
        )
    }

    #[test]
    fn what_comes_behind_the_preface_is_not_left_in_the_socket() {
        let sent = b"INVALID CONNECTION PREFACE\r\n\r\n";
        let mut io = io(b"", sent);
        assert_eq!(read(&mut io, PREFACE_BYTES), &sent[..PREFACE_BYTES]);
        assert!(io.stream.is_empty());
        assert_eq!(read(&mut io, 4_096), &sent[PREFACE_BYTES..]);
        assert_eq!(read(&mut io, 4_096), b"");
        assert_eq!(read(&mut io, PREFACE_BYTES), b"", "the end stays the end");
    }

    #[test]
    fn what_was_read_before_comes_first_and_each_byte_is_counted_once() {
        let mut io = io(b"abc", b"defg");
        let pieces = [2, 8, 3, 8].map(|room| read(&mut io, room));
        assert_eq!(pieces, [&b"ab"[..], b"c", b"def", b"g"]);
        assert_eq!(io.watched.take_moved(), (7, 0));
    }
}
