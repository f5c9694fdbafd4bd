//! One connection: frames in, answers out, one request at a time. Runs on its own thread.
//!
//! One rule: answers leave in the order of the requests, each in one write.

use super::api::{self, Reply, Start, Tampering};
use super::fault::{Fault, Request};
use super::log::Disk;
use super::state::State;
use super::sync::Signal;
use bytes::{Bytes, BytesMut};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Instant;

/// Kafka's `socket.request.max.bytes`; a longer frame ends the connection.
const FRAME_BYTES_MAX: u32 = 100 << 20;
/// Room made for a frame before its bytes are there.
const READ_BYTES: usize = 64 << 10;

pub(super) struct Connection<'a> {
    pub(super) state: &'a State,
    pub(super) signal: &'a Arc<Signal>,
    pub(super) number: u64,
    pub(super) peer: SocketAddr,
}

/// What is left of a request once it was executed.
enum After {
    Continue,
    Close,
}

impl Connection<'_> {
    /// Serves requests until the client or the broker closes.
    ///
    /// # Errors
    /// Why the connection ended, unless the client closed it between two requests.
    pub(super) fn serve(&self, mut stream: TcpStream) -> io::Result<()> {
        let mut nth_on_connection = 0;
        while let Some(frame) = read_frame(&mut stream)? {
            self.state.wait_while_paused(self.signal);
            if self.state.is_stopping() {
                break;
            }
            let start = Start::read(&frame).map_err(io::Error::other)?;
            let fault = self.state.fault(Request {
                api_key: start.api_key,
                api_version: start.version,
                nth: 0,
                connection: self.number,
                nth_on_connection,
                peer: self.peer,
            });
            nth_on_connection += 1;
            match self.handle(&mut stream, start, frame, fault)? {
                After::Continue => {}
                After::Close => break,
            }
        }
        Ok(())
    }

    fn handle(
        &self,
        stream: &mut TcpStream,
        start: Start,
        frame: Bytes,
        fault: Fault,
    ) -> io::Result<After> {
        let mut tampering = Tampering::default();
        match fault {
            Fault::None | Fault::ApplyThenDisconnect | Fault::TruncateAnswer(_) => {}
            Fault::Disconnect => return Ok(After::Close),
            Fault::Delay(time) => self.state.wait_until(self.signal, Instant::now() + time),
            Fault::Silence => return swallow(stream),
            Fault::Answer(code) => tampering.forced = Some(code),
            Fault::DiskFull => tampering.disk = Disk::Full,
        }
        let reply = api::execute(self.state, self.signal, start, frame, tampering)
            .map_err(io::Error::other)?;
        let answer = match reply {
            Reply::Frame(answer) => answer,
            Reply::Nothing => BytesMut::new(),
            Reply::Close => return Ok(After::Close),
        };
        match fault {
            Fault::ApplyThenDisconnect => Ok(After::Close),
            Fault::TruncateAnswer(bytes) => {
                stream.write_all(&answer[..bytes.min(answer.len())])?;
                Ok(After::Close)
            }
            _ => stream.write_all(&answer).map(|()| After::Continue),
        }
    }
}

/// Reads until the client closes.
fn swallow(stream: &mut TcpStream) -> io::Result<After> {
    io::copy(stream, &mut io::sink())?;
    Ok(After::Close)
}

/// Reads one frame without its length; `None` when the client closed before it.
fn read_frame(mut stream: impl Read) -> io::Result<Option<Bytes>> {
    let mut prefix = Vec::with_capacity(4);
    stream.by_ref().take(4).read_to_end(&mut prefix)?;
    let Ok(prefix) = <[u8; 4]>::try_from(prefix.as_slice()) else {
        return if prefix.is_empty() {
            Ok(None)
        } else {
            Err(io::ErrorKind::UnexpectedEof.into())
        };
    };
    let length = u32::from_be_bytes(prefix);
    if length > FRAME_BYTES_MAX {
        let message = format!("frame of {length} bytes, at most {FRAME_BYTES_MAX} are taken");
        return Err(io::Error::new(io::ErrorKind::InvalidData, message));
    }
    // Grows with what arrives, not with what was claimed.
    let mut frame = Vec::with_capacity(
        usize::try_from(length)
            .unwrap_or(usize::MAX)
            .min(READ_BYTES),
    );
    let read = stream
        .by_ref()
        .take(length.into())
        .read_to_end(&mut frame)?;
    if u32::try_from(read) == Ok(length) {
        Ok(Some(frame.into()))
    } else {
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}
