//! Accepting connections, and the list of the open ones. Sits between the listener and each connection's thread.
//!
//! One rule: a thread that serves a connection is on the list, and leaves it however it ends.

use super::connection;
use super::state::State;
use super::sync::{Signal, lock, wait_until};
use std::collections::HashMap;
use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// Deep enough for the protocol's nesting, small enough for a thousand of them.
const STACK_BYTES: usize = 256 << 10;
/// After a failed accept, mostly for want of file descriptors.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(10);

#[derive(Debug, Default)]
pub(super) struct Connections {
    open: Mutex<HashMap<u64, Open>>,
    /// Notified when one has ended.
    ended: Condvar,
}

#[derive(Debug)]
struct Open {
    stream: TcpStream,
    signal: Arc<Signal>,
}

/// The place of one connection on the list; gives it up when dropped, also by a panic.
struct Place {
    state: Arc<State>,
    number: u64,
}

impl Drop for Place {
    fn drop(&mut self) {
        let connections = &self.state.connections;
        lock(&connections.open).remove(&self.number);
        connections.ended.notify_all();
    }
}

impl Connections {
    pub(super) fn raise_all(&self) {
        for open in lock(&self.open).values() {
            open.signal.raise();
        }
    }

    /// Shuts all connections down: `Shutdown::Read` lets requests under way be answered.
    pub(super) fn shut_down(&self, how: Shutdown) {
        for open in lock(&self.open).values() {
            // It may be closed already, which is what is wanted.
            let _ = open.stream.shutdown(how);
            open.signal.raise();
        }
    }

    /// Waits until no connection is left, or `patience` is over; says whether none is left.
    pub(super) fn wait_for_end(&self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        let mut open = lock(&self.open);
        while !open.is_empty() && Instant::now() < deadline {
            open = wait_until(&self.ended, open, deadline);
        }
        open.is_empty()
    }
}

/// Accepts until the broker stops. The stop has to connect once to be seen.
pub(super) fn accept_all(state: &Arc<State>, listener: &TcpListener) {
    let mut next_number = 0;
    while !state.is_stopping() {
        match listener.accept() {
            Ok(_) if state.is_stopping() => return,
            Ok((stream, peer)) => {
                if let Err(error) = begin(state, stream, peer, next_number) {
                    tracing::warn!(%peer, %error, "connection refused");
                }
                next_number += 1;
            }
            Err(error) => {
                tracing::warn!(%error, "accept failed");
                thread::sleep(ACCEPT_BACKOFF);
            }
        }
    }
}

fn begin(state: &Arc<State>, stream: TcpStream, peer: SocketAddr, number: u64) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let signal = Arc::new(Signal::default());
    let open = Open {
        stream: stream.try_clone()?,
        signal: Arc::clone(&signal),
    };
    {
        let mut connections = lock(&state.connections.open);
        if connections.len() >= state.config.connections_max {
            return Err(io::Error::other(format!(
                "{} are open already",
                connections.len()
            )));
        }
        connections.insert(number, open);
    }
    let place = Place {
        state: Arc::clone(state),
        number,
    };
    let serve = move || {
        let connection = connection::Connection {
            state: &place.state,
            signal: &signal,
            number,
            peer,
        };
        if let Err(error) = connection.serve(stream) {
            tracing::debug!(%peer, %error, "connection closed");
        }
    };
    // Should there be no thread to be had, the closure is dropped, and with it the place.
    thread::Builder::new()
        .name("kafka-connection".to_owned())
        .stack_size(STACK_BYTES)
        .spawn(serve)?;
    Ok(())
}
