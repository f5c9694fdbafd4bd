//! One connection to one broker: a request, its answer, the next request. The shell around [`super::wire`].
//!
//! A broker serves the requests of a connection one after the other, so a connection is used by one task at a time, and long polls have their own.
//! Rule: whatever goes wrong, the connection is dropped and the caller is told whether the request had been written.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use futures_lite::{AsyncReadExt, AsyncWriteExt};
use kafka_protocol::messages::{ApiVersionsRequest, ProduceRequest};
use kafka_protocol::protocol::{Request, StrBytes};

use super::wire::{self, ApiVersions, WireFault};
use crate::clock::Instant;
use crate::runtime::deadline::{Deadline, Deadlines};
use crate::runtime::net::{self, Stream};
use crate::runtime::{self, with_deadline};

/// How long a TCP connect and the version exchange may take, each.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes read at once; frames that are larger are read straight into their own buffer.
const READ_BYTES: usize = 32 << 10;
/// ApiVersions as every broker since 2.4 answers it; older ones answer version 0 with an error and their list.
const API_VERSIONS_VERSION: i16 = 3;
const UNSUPPORTED_VERSION: i16 = 35;

/// Why a call failed. The connection is of no use afterwards.
#[derive(Debug)]
pub enum ConnectionFault {
    /// The name has no address.
    Resolve(io::Error),
    /// Nobody listens, or no route.
    Connect(io::Error),
    /// The connection broke; the request may have been executed.
    Lost(io::Error),
    /// No answer in time; the request may have been executed.
    Timeout,
    /// The broker sent what cannot be understood.
    Wire(WireFault),
}

impl fmt::Display for ConnectionFault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Resolve(error) => write!(formatter, "the name cannot be resolved: {error}"),
            Self::Connect(error) => write!(formatter, "cannot connect: {error}"),
            Self::Lost(error) => write!(formatter, "the connection was lost: {error}"),
            Self::Timeout => write!(formatter, "no answer in time"),
            Self::Wire(fault) => fault.fmt(formatter),
        }
    }
}

impl std::error::Error for ConnectionFault {}

impl From<WireFault> for ConnectionFault {
    fn from(fault: WireFault) -> Self {
        Self::Wire(fault)
    }
}

/// An open connection whose versions are known.
pub struct Connection {
    stream: Stream,
    versions: ApiVersions,
    next_correlation_id: i32,
    out: BytesMut,
    input: BytesMut,
    scratch: Vec<u8>,
    deadline: Deadline,
}

impl fmt::Debug for Connection {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Connection")
            .field("next_correlation_id", &self.next_correlation_id)
            .finish_non_exhaustive()
    }
}

impl Connection {
    /// Resolves, connects to the first address that answers, and asks for the API versions.
    ///
    /// # Errors
    ///
    /// [`ConnectionFault`], within about ten seconds for each address.
    pub async fn open(
        host: &str,
        port: u16,
        deadlines: &std::rc::Rc<Deadlines>,
    ) -> Result<Self, ConnectionFault> {
        let addresses = net::resolve(host, port)
            .await
            .map_err(ConnectionFault::Resolve)?;
        let stream = connect_first(&addresses)
            .await
            .map_err(ConnectionFault::Connect)?;
        let mut connection = Self {
            stream,
            versions: ApiVersions::default(),
            next_correlation_id: 0,
            out: BytesMut::new(),
            input: BytesMut::new(),
            scratch: vec![0; READ_BYTES],
            deadline: deadlines.deadline(),
        };
        connection.negotiate().await?;
        Ok(connection)
    }

    async fn negotiate(&mut self) -> Result<(), ConnectionFault> {
        let request = ApiVersionsRequest::default()
            .with_client_software_name(StrBytes::from_static_str("sluice"))
            .with_client_software_version(StrBytes::from_static_str(env!("CARGO_PKG_VERSION")));
        let (correlation_id, frame) = self
            .exchange(API_VERSIONS_VERSION, &request, CONNECT_TIMEOUT)
            .await?;
        // A broker that does not know the version answers in version 0, whose error code follows the correlation id.
        let unsupported = frame.get(4..6) == Some(&UNSUPPORTED_VERSION.to_be_bytes());
        let version = if unsupported { 0 } else { API_VERSIONS_VERSION };
        let mut response =
            wire::decode_response::<ApiVersionsRequest>(frame, correlation_id, version)?;
        if unsupported && response.api_keys.is_empty() {
            let (correlation_id, frame) = self
                .exchange(0, &ApiVersionsRequest::default(), CONNECT_TIMEOUT)
                .await?;
            response = wire::decode_response::<ApiVersionsRequest>(frame, correlation_id, 0)?;
        }
        self.versions = ApiVersions::new(&response);
        Ok(())
    }

    /// The version of `R` that is used on this connection.
    ///
    /// # Errors
    ///
    /// [`WireFault::Unsupported`].
    pub fn version_of<R: Request>(&self) -> Result<i16, WireFault> {
        self.versions.version_of::<R>()
    }

    /// Sends `request` and waits for its answer, at most `timeout` in all.
    ///
    /// # Errors
    ///
    /// [`ConnectionFault`]; drop the connection then.
    pub async fn call<R: Request>(
        &mut self,
        request: &R,
        timeout: Duration,
    ) -> Result<R::Response, ConnectionFault> {
        let version = self.versions.version_of::<R>()?;
        let (correlation_id, frame) = self.exchange(version, request, timeout).await?;
        Ok(wire::decode_response::<R>(frame, correlation_id, version)?)
    }

    /// Sends a produce request with acks 0, which has no answer.
    ///
    /// # Errors
    ///
    /// As [`Connection::call`].
    pub async fn send(
        &mut self,
        request: &ProduceRequest,
        timeout: Duration,
    ) -> Result<(), ConnectionFault> {
        let version = self.versions.version_of::<ProduceRequest>()?;
        self.encode(version, request)?;
        let until = runtime::now() + timeout;
        self.write_out(until).await
    }

    /// Whether the broker has closed the connection while nothing was asked. Anything it says unasked counts as closing too.
    pub async fn is_closed_by_peer(&mut self) -> bool {
        let Self {
            stream, scratch, ..
        } = self;
        let mut read = std::pin::pin!(stream.read(scratch));
        std::future::poll_fn(|context| {
            std::task::Poll::Ready(read.as_mut().poll(context).is_ready())
        })
        .await
    }

    async fn exchange<R: Request>(
        &mut self,
        version: i16,
        request: &R,
        timeout: Duration,
    ) -> Result<(i32, Bytes), ConnectionFault> {
        let correlation_id = self.encode(version, request)?;
        let until = runtime::now() + timeout;
        self.write_out(until).await?;
        let Self {
            stream,
            input,
            scratch,
            deadline,
            ..
        } = self;
        let frame = with_deadline(deadline, until, read_frame(stream, input, scratch)).await;
        Ok((
            correlation_id,
            frame.map_err(|_| ConnectionFault::Timeout)??,
        ))
    }

    fn encode<R: Request>(&mut self, version: i16, request: &R) -> Result<i32, WireFault> {
        let correlation_id = self.next_correlation_id;
        self.next_correlation_id = correlation_id.wrapping_add(1) & i32::MAX;
        self.out.clear();
        wire::encode_request(&mut self.out, correlation_id, version, request)?;
        Ok(correlation_id)
    }

    async fn write_out(&mut self, until: Instant) -> Result<(), ConnectionFault> {
        let Self {
            stream,
            out,
            deadline,
            ..
        } = self;
        let written = with_deadline(deadline, until, stream.write_all(out)).await;
        // A buffer that carried megabytes once is not kept for ever.
        if out.capacity() > 1 << 20 {
            *out = BytesMut::new();
        }
        written
            .map_err(|_| ConnectionFault::Timeout)?
            .map_err(ConnectionFault::Lost)
    }
}

async fn connect_first(addresses: &[SocketAddr]) -> io::Result<Stream> {
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for address in addresses {
        match net::connect(*address, CONNECT_TIMEOUT).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

async fn read_frame(
    stream: &mut Stream,
    input: &mut BytesMut,
    scratch: &mut [u8],
) -> Result<Bytes, ConnectionFault> {
    let closed = || ConnectionFault::Lost(io::ErrorKind::UnexpectedEof.into());
    let length = loop {
        if let Some(length) = wire::frame_length(input)? {
            break length;
        }
        let count = stream.read(scratch).await.map_err(ConnectionFault::Lost)?;
        if count == 0 {
            return Err(closed());
        }
        input.extend_from_slice(&scratch[..count]);
    };
    input.advance(4);
    if input.len() < length && length > READ_BYTES {
        // A large frame gets a buffer of its own, so that nothing is copied twice and what keeps a slice of it keeps no more than it.
        let have = input.len();
        let mut frame = BytesMut::zeroed(length);
        frame[..have].copy_from_slice(input);
        input.clear();
        stream
            .read_exact(&mut frame[have..])
            .await
            .map_err(ConnectionFault::Lost)?;
        return Ok(frame.freeze());
    }
    while input.len() < length {
        let count = stream.read(scratch).await.map_err(ConnectionFault::Lost)?;
        if count == 0 {
            return Err(closed());
        }
        input.extend_from_slice(&scratch[..count]);
    }
    Ok(input.split_to(length).freeze())
}
