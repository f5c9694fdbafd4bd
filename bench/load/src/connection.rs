//! A connection with one request under way at most, and the epoll that tells when its answer comes.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};

use crate::response;

pub struct Connection {
    stream: TcpStream,
    input: Vec<u8>,
    /// When the request under way arrived; none when the connection is idle.
    pub arrived: Option<Instant>,
}

impl Connection {
    /// Connects, and lets `epoll` tell of answers as `index`.
    pub fn open(connect: SocketAddr, epoll: &OwnedFd, index: u64) -> io::Result<Self> {
        let stream = TcpStream::connect(connect)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        epoll::add(
            epoll,
            &stream,
            epoll::EventData::new_u64(index),
            epoll::EventFlags::IN,
        )?;
        Ok(Self {
            stream,
            input: Vec::new(),
            arrived: None,
        })
    }

    /// Sends a request. It is far smaller than a socket buffer, and the buffer is empty: the last request was answered.
    pub fn send(&mut self, arrived: Instant, request: &[u8]) -> io::Result<()> {
        self.arrived = Some(arrived);
        match self.stream.write(request)? {
            written if written == request.len() => Ok(()),
            _ => Err(io::Error::new(
                ErrorKind::WriteZero,
                "the socket took half a request",
            )),
        }
    }

    /// Reads what there is; the status once the answer is whole.
    pub fn receive(&mut self) -> io::Result<Option<u16>> {
        let mut bytes = [0; 16 << 10];
        match self.stream.read(&mut bytes) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(count) => self.input.extend_from_slice(&bytes[..count]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error),
        }
        let found = response::parse(&self.input)
            .map_err(|fault| io::Error::new(ErrorKind::InvalidData, fault))?;
        Ok(found.map(|response| {
            self.input.drain(..response.bytes);
            response.status
        }))
    }
}

/// Waits until `epoll` has something to tell, or the time is over.
pub fn wait(epoll: &OwnedFd, events: &mut Vec<epoll::Event>, timeout: Duration) -> io::Result<()> {
    let timeout = Timespec::try_from(timeout).map_err(io::Error::other)?;
    match epoll::wait(epoll, spare_capacity(events), Some(&timeout)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
