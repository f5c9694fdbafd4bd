//! Sockets: listeners bound before the cores start, connections out, names resolved off the core.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};

use super::ring;

/// A TCP connection of this core.
pub type Stream = glommio::net::TcpStream;

/// How long a connection is silent before the kernel asks whether the other end is there, and how often it asks again (nine times, as Linux has it).
const KEEPALIVE: TcpKeepalive = TcpKeepalive::new()
    .with_time(Duration::from_secs(60))
    .with_interval(Duration::from_secs(15));
/// Connections the kernel keeps for us until we accept them.
const BACKLOG: i32 = 4096;
/// How long to wait for a predecessor's port, and between two attempts.
const TAKE_OVER_WAIT: Duration = Duration::from_secs(1);
const TAKE_OVER_RETRY: Duration = Duration::from_millis(20);
/// How long to leave `accept` alone when the process is out of descriptors or memory.
const ACCEPT_BACK_OFF: Duration = Duration::from_millis(20);

/// One listening address: a socket per core, bound but not yet listening.
#[derive(Debug)]
pub struct Bound {
    /// The address, with the port that was chosen when 0 was asked for.
    pub address: SocketAddr,
    /// One socket for each core, to be given to [`Listener::new`] there.
    pub sockets: Vec<Socket>,
}

/// Binds `address` once for each of `cores`.
///
/// # Errors
///
/// When the address is taken (also by a process that shares its ports, which the kernel alone would not say) or not ours.
pub fn bind(address: SocketAddr, cores: usize) -> io::Result<Bound> {
    // SO_REUSEPORT lets a second gateway bind beside a first one and steal half of its connections, so ask without it first.
    let probe = probe(address)?;
    let mut actual = address;
    actual.set_port(
        probe
            .local_addr()?
            .as_socket()
            .map_or(address.port(), |local| local.port()),
    );
    drop(probe);
    let sockets = (0..cores)
        .map(|_| {
            let socket = socket_for(actual)?;
            socket.set_reuse_port(true)?;
            socket.bind(&actual.into())?;
            Ok(socket)
        })
        .collect::<io::Result<_>>()?;
    Ok(Bound {
        address: actual,
        sockets,
    })
}

/// A socket bound alone. The kernel closes the listeners of a process some 100 ms after its io_uring is gone, so a successor has to be patient.
fn probe(address: SocketAddr) -> io::Result<Socket> {
    let mut waited = Duration::ZERO;
    loop {
        let socket = socket_for(address)?;
        let bound = socket.bind(&address.into()).and_then(|()| {
            if address.port() == 0 {
                Ok(())
            } else {
                socket.listen(1)
            }
        });
        match bound {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && waited < TAKE_OVER_WAIT => {
                std::thread::sleep(TAKE_OVER_RETRY);
                waited += TAKE_OVER_RETRY;
            }
            bound => return bound.map(|()| socket),
        }
    }
}

fn socket_for(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    // What is accepted inherits it: a peer that is gone without a word is noticed even while nothing is sent.
    socket.set_tcp_keepalive(&KEEPALIVE)?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    Ok(socket)
}

/// A listening socket of this core.
pub struct Listener {
    inner: glommio::net::TcpListener,
}

impl std::fmt::Debug for Listener {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Listener").finish_non_exhaustive()
    }
}

impl Listener {
    /// Starts listening.
    ///
    /// # Errors
    ///
    /// The kernel's refusal.
    pub fn new(socket: Socket) -> io::Result<Self> {
        socket.listen(BACKLOG)?;
        Ok(Self {
            inner: ring::listener(socket),
        })
    }

    /// The next connection. Being out of descriptors or memory is waited out, never fatal.
    pub async fn accept(&self) -> Stream {
        loop {
            match self.inner.accept().await {
                Ok(stream) => {
                    // A socket that is gone already fails here; its first read says so.
                    let _ = stream.set_nodelay(true);
                    return stream;
                }
                Err(error) => {
                    tracing::warn!(%error, "accept failed, trying again");
                    super::sleep(ACCEPT_BACK_OFF).await;
                }
            }
        }
    }
}

/// Connects with `TCP_NODELAY`.
///
/// # Errors
///
/// The kernel's, or `TimedOut`.
pub async fn connect(address: SocketAddr, timeout: Duration) -> io::Result<Stream> {
    let stream = Stream::connect_timeout(address, timeout)
        .await
        .map_err(io::Error::from)?;
    stream.set_nodelay(true).map_err(io::Error::from)?;
    Ok(stream)
}

/// Lets the kernel ask a silent peer whether it is still there, as it does for the connections that we accept.
///
/// # Errors
///
/// The kernel's, when the socket is gone.
pub fn keep_alive(stream: &Stream) -> io::Result<()> {
    ring::with_socket(stream, |socket| socket.set_tcp_keepalive(&KEEPALIVE))
}

/// The addresses of `host`, looked up on a thread that may block.
///
/// # Errors
///
/// The resolver's, or `NotFound` when the name has no address.
pub async fn resolve(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    if let Ok(address) = host.trim_matches(['[', ']']).parse() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let name = (host.to_owned(), port);
    super::blocking(move || resolve_blocking(&name.0, name.1)).await
}

/// The addresses of `host`; blocks.
///
/// # Errors
///
/// As [`resolve`].
pub fn resolve_blocking(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let mut found: Vec<SocketAddr> = (host.trim_matches(['[', ']']), port)
        .to_socket_addrs()?
        .collect();
    // `localhost` often has both; most test brokers listen on IPv4 alone.
    found.sort_by_key(SocketAddr::is_ipv6);
    if found.is_empty() {
        return Err(io::Error::new(
            io::ErrorKind::NotFound,
            format!("`{host}` has no address"),
        ));
    }
    Ok(found)
}
