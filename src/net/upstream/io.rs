//! The connection's bytes as `h2` and `hyper` read and write them, with an eye on when the server was last heard.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use futures_lite::{AsyncRead, AsyncWrite};
use hyper::rt::{Read, ReadBufCursor, Write};
use tokio::io::ReadBuf;

use crate::clock::Instant;
use crate::runtime;

/// Reads from the socket in one turn of the connection, so that a server that sends without end does not keep the core to itself.
const READS_PER_TURN: u32 = 32;

/// What the connection's task sees of the socket.
#[derive(Debug)]
pub(super) struct Watched {
    reads_left: Cell<u32>,
    /// When the last byte came.
    pub(super) heard_at: Cell<Instant>,
    /// Bytes that came.
    pub(super) received: Cell<u64>,
}

impl Watched {
    pub(super) fn new(now: Instant) -> Rc<Self> {
        Rc::new(Self {
            reads_left: Cell::new(READS_PER_TURN),
            heard_at: Cell::new(now),
            received: Cell::new(0),
        })
    }

    /// The connection's task is polled anew.
    pub(super) fn begin_turn(&self) {
        self.reads_left.set(READS_PER_TURN);
    }
}

/// A stream that is watched.
pub(super) struct Io<S> {
    stream: S,
    watched: Rc<Watched>,
}

impl<S> Io<S> {
    pub(super) const fn new(stream: S, watched: Rc<Watched>) -> Self {
        Self { stream, watched }
    }
}

impl<S: AsyncRead + Unpin> tokio::io::AsyncRead for Io<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let reads_left = self.watched.reads_left.get();
        if reads_left == 0 {
            self.watched.begin_turn();
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.watched.reads_left.set(reads_left - 1);
        let room = buffer.initialize_unfilled();
        let count = ready!(Pin::new(&mut self.stream).poll_read(context, room))?;
        buffer.advance(count);
        if count > 0 {
            let watched = &self.watched;
            watched.heard_at.set(runtime::now());
            watched.received.set(watched.received.get() + count as u64);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> tokio::io::AsyncWrite for Io<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_close(context)
    }
}

/// Bytes that are read at a time for `hyper`.
const SPACE_BYTES: usize = 16 << 10;

/// The same for `hyper`, whose own buffer cannot be read into without `unsafe`: bytes are copied once.
pub(super) struct HyperIo<S> {
    io: Io<S>,
    space: Box<[u8]>,
}

impl<S> HyperIo<S> {
    pub(super) fn new(io: Io<S>) -> Self {
        Self {
            io,
            space: vec![0; SPACE_BYTES].into(),
        }
    }
}

impl<S: AsyncRead + Unpin> Read for HyperIo<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        mut cursor: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { io, space } = &mut *self;
        let room = cursor.remaining().min(space.len());
        let mut buffer = ReadBuf::new(&mut space[..room]);
        ready!(tokio::io::AsyncRead::poll_read(
            Pin::new(io),
            context,
            &mut buffer
        ))?;
        cursor.put_slice(buffer.filled());
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> Write for HyperIo<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io.stream).poll_close(context)
    }
}
