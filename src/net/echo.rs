//! The raw echo server: bytes come back as they came (Zilla's `echo` behind tcp or tls).

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_lite::{AsyncRead, AsyncWrite};

use super::service::Entry;
use super::transport::Transport;
use super::{GOODBYE, TURNS_MAX};
use crate::runtime::deadline::Deadline;
use crate::runtime::{self};

/// How long a client may neither send nor take a byte.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// Bytes that have come and not gone back.
const HELD_BYTES_MAX: usize = 16 << 10;

/// Echoes until the client ends, stands still, or the process drains.
pub(super) async fn serve(transport: Transport, entry: Entry) {
    let deadline = entry.service.deadlines.deadline();
    deadline.set(runtime::now() + IDLE_TIMEOUT);
    let mut echo = Echo {
        transport,
        held: Vec::new(),
        has_ended: false,
        deadline,
        entry,
    };
    std::future::poll_fn(|context| echo.poll(context)).await;
}

struct Echo {
    transport: Transport,
    held: Vec<u8>,
    has_ended: bool,
    deadline: Deadline,
    entry: Entry,
}

impl Echo {
    /// Ready when the connection is over.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        // Until it is down and the waker is with it.
        while self.entry.notify.poll_notified(context).is_ready() {}
        if self.entry.service.is_draining() && !self.has_ended {
            // What has come still goes back.
            self.has_ended = true;
            self.deadline.set(runtime::now() + GOODBYE);
        }
        for _ in 0..TURNS_MAX {
            match self.turn(context) {
                Poll::Ready(Ok(true)) if self.has_ended => {}
                Poll::Ready(Ok(true)) => self.deadline.set(runtime::now() + IDLE_TIMEOUT),
                Poll::Ready(Ok(false)) => return Poll::Ready(()),
                Poll::Ready(Err(_)) => {
                    self.entry.handle_broken();
                    return Poll::Ready(());
                }
                Poll::Pending => {
                    ready!(self.deadline.poll_expired(context, runtime::now()));
                    self.entry.handle_broken();
                    return Poll::Ready(());
                }
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }

    /// Moves bytes one way; false at the end.
    fn turn(&mut self, context: &mut Context<'_>) -> Poll<std::io::Result<bool>> {
        let transport = Pin::new(&mut self.transport);
        if !self.held.is_empty() {
            let count = ready!(transport.poll_write(context, &self.held))?;
            self.held.drain(..count);
            self.entry.handle_moved(0, count);
            return Poll::Ready(Ok(count > 0));
        }
        if self.has_ended {
            ready!(transport.poll_close(context))?;
            return Poll::Ready(Ok(false));
        }
        ready!(Pin::new(&mut self.transport).poll_flush(context))?;
        let service = self.entry.service.clone();
        let mut scratch = service.scratch();
        let room = &mut scratch[..HELD_BYTES_MAX];
        let count = ready!(Pin::new(&mut self.transport).poll_read(context, room))?;
        self.held.extend_from_slice(&room[..count]);
        self.has_ended = count == 0;
        if self.has_ended {
            self.deadline.set(runtime::now() + GOODBYE);
        }
        self.entry.handle_moved(count, 0);
        Poll::Ready(Ok(true))
    }
}
