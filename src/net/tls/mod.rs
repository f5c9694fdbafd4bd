//! Handshakes on sockets: bytes between rustls and the stream, until there is a [`Transport`].
//!
//! Between `net::accept` and the protocols. It decides nothing: `tls::server` does. Its one rule: no timer of its own, the caller has the deadline for
//! all of a handshake; dropped, it leaves nothing behind but a closed socket.

#[cfg(test)]
mod tests;

use std::fmt;
use std::io;

use futures_lite::{AsyncRead, AsyncWrite, AsyncWriteExt};
use rustls::CommonState;
use rustls::server::Acceptor;
use tokio_rustls::{LazyConfigAcceptor, TlsConnector};

use super::adapter::TokioIo;
use super::transport::{Secured, Transport, WAITING_BYTES_MAX};
use crate::runtime::net::Stream;
use crate::tls::client::{BadName, Client};
use crate::tls::route::Peer;
use crate::tls::server::{Refused, Server};

/// A connection after its handshake.
#[derive(Debug)]
pub struct Accepted {
    /// Its stream.
    pub transport: Transport,
    /// Who is at the other end, for [`Server::route`].
    pub peer: Peer,
}

/// Why a handshake came to nothing. Names of the peer's are as rustls checked them; no secret is in it.
#[derive(Debug)]
pub enum HandshakeFault {
    /// The connection ended or broke.
    Broken(io::Error),
    /// The client asks for what the server does not have.
    Refused(Refused),
    /// The peer's certificate is missing or not accepted.
    PeerNotVerified(rustls::Error),
    /// The two do not agree, or one of them does not speak TLS.
    Failed(rustls::Error),
    /// The server's name cannot be asked for.
    BadName(BadName),
}

impl fmt::Display for HandshakeFault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Broken(error) => write!(formatter, "the connection broke: {error}"),
            Self::Refused(refused) => refused.fmt(formatter),
            Self::PeerNotVerified(error) => {
                write!(formatter, "the peer is not verified: {error}")
            }
            Self::Failed(error) => write!(formatter, "the handshake failed: {error}"),
            Self::BadName(name) => name.fmt(formatter),
        }
    }
}

impl std::error::Error for HandshakeFault {}

impl From<io::Error> for HandshakeFault {
    fn from(error: io::Error) -> Self {
        match error.downcast::<rustls::Error>() {
            Ok(
                error @ (rustls::Error::InvalidCertificate(_)
                | rustls::Error::NoCertificatesPresented),
            ) => Self::PeerNotVerified(error),
            Ok(error) => Self::Failed(error),
            Err(error) => Self::Broken(error),
        }
    }
}

/// Shakes hands with a client that connected to `port` (as configured).
///
/// # Errors
///
/// [`HandshakeFault`]; the client has been told as far as TLS has words for it.
pub async fn accept(
    server: &Server,
    stream: Stream,
    port: u16,
) -> Result<Accepted, HandshakeFault> {
    let (secured, peer) = accept_on(server, stream, port).await?;
    Ok(Accepted {
        transport: Transport::Tls(Box::new(secured)),
        peer,
    })
}

/// As [`accept`], on any stream.
///
/// # Errors
///
/// As [`accept`].
pub async fn accept_on<S: AsyncRead + AsyncWrite + Unpin>(
    server: &Server,
    stream: S,
    port: u16,
) -> Result<(Secured<S>, Peer), HandshakeFault> {
    let mut start = LazyConfigAcceptor::new(Acceptor::default(), TokioIo(stream)).await?;
    let hello = start.client_hello();
    let server_name = hello.server_name().map(str::to_ascii_lowercase);
    let choice = match server.choose(&hello, port) {
        Ok(choice) => choice,
        Err(refused) => {
            // The client's loss if it does not get it: the connection ends either way.
            let _ = start.io.0.write_all(&refused.alert()).await;
            let _ = start.io.0.close().await;
            return Err(HandshakeFault::Refused(refused));
        }
    };
    let handshake = start.into_stream_with(choice.config, |connection| {
        connection.set_buffer_limit(Some(WAITING_BYTES_MAX));
    });
    let stream = handshake.await?;
    let peer = Peer {
        server_name,
        port,
        ..peer(stream.get_ref().1)
    };
    Ok((Secured::new(stream), peer))
}

/// Shakes hands as a client with `host`, on a stream that leads there.
///
/// # Errors
///
/// [`HandshakeFault`].
pub async fn connect(
    client: &Client,
    host: &str,
    stream: Stream,
) -> Result<Transport, HandshakeFault> {
    let (secured, _) = connect_on(client, host, stream).await?;
    Ok(Transport::Tls(Box::new(secured)))
}

/// As [`connect`], on any stream; also says which protocol was agreed on.
///
/// # Errors
///
/// As [`connect`].
pub async fn connect_on<S: AsyncRead + AsyncWrite + Unpin>(
    client: &Client,
    host: &str,
    stream: S,
) -> Result<(Secured<S>, Option<String>), HandshakeFault> {
    let name = client.server_name(host).map_err(HandshakeFault::BadName)?;
    let connector = TlsConnector::from(client.config().clone());
    let handshake = connector.connect_with(name, TokioIo(stream), |connection| {
        connection.set_buffer_limit(Some(WAITING_BYTES_MAX));
    });
    let stream = handshake.await?;
    let alpn = peer(stream.get_ref().1).alpn;
    Ok((Secured::new(stream), alpn))
}

fn peer(connection: &CommonState) -> Peer {
    let alpn = connection.alpn_protocol();
    Peer {
        alpn: alpn.map(|protocol| String::from_utf8_lossy(protocol).into_owned()),
        certificates: connection
            .peer_certificates()
            .unwrap_or_default()
            .iter()
            .map(|certificate| certificate.clone().into_owned())
            .collect(),
        ..Peer::default()
    }
}
