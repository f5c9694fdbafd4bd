//! A small HTTP/1.1 server for the gateway to ask: it does what a path says, and remembers what it was asked.
//!
//! One rule: it never closes a connection unless the path says so; so what is closed otherwise was closed by the gateway.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// A request as it came.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) target: String,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Seen {
    /// All values of a header.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        let named = self.headers.iter().filter(|(other, _)| other == name);
        named.map(|(_, value)| value.as_str()).collect()
    }
}

#[derive(Default)]
struct Shared {
    seen: Mutex<Vec<Seen>>,
    connections: AtomicUsize,
    stop: AtomicBool,
}

/// The last bytes of an answer, and whether the connection goes on.
type Last = std::io::Result<(Vec<u8>, bool)>;

/// What is done with a request whose head has been read.
type Act = fn(&mut Seen, &mut BufReader<TcpStream>, usize) -> Last;

/// A running server. Dropped, it stops.
pub(crate) struct Upstream {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl Upstream {
    /// One that does what a path says.
    pub(crate) fn start() -> Self {
        Self::with(act)
    }

    /// One that does this; the number is that of the request on its connection, from 0.
    pub(crate) fn with(act: Act) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared::default());
        let of_thread = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if of_thread.stop.load(Ordering::SeqCst) {
                    break;
                }
                of_thread.connections.fetch_add(1, Ordering::SeqCst);
                let shared = Arc::clone(&of_thread);
                thread::spawn(move || drop(serve(stream, &shared, act)));
            }
        });
        Self { address, shared }
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// How many connections have been made to it.
    pub(crate) fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// All requests so far.
    pub(crate) fn all(&self) -> Vec<Seen> {
        let seen = self.shared.seen.lock();
        seen.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The last request.
    #[track_caller]
    pub(crate) fn last(&self) -> Seen {
        self.all().pop().expect("a request")
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        // Wakes it.
        let _ = TcpStream::connect(self.address);
    }
}

fn serve(stream: TcpStream, shared: &Shared, act: Act) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    let mut number = 0;
    while let Some(mut seen) = read_head(&mut stream)? {
        let done = act(&mut seen, &mut stream, number);
        shared
            .seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(seen);
        // Only now: whoever has all of the answer may look at what was seen.
        let (last, goes_on) = done?;
        stream.get_mut().write_all(&last)?;
        if !goes_on {
            break;
        }
        number += 1;
    }
    Ok(())
}

fn read_head(stream: &mut BufReader<TcpStream>) -> std::io::Result<Option<Seen>> {
    let mut line = String::new();
    if stream.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace().map(str::to_owned);
    let mut seen = Seen {
        method: words.next().unwrap_or_default(),
        target: words.next().unwrap_or_default(),
        ..Seen::default()
    };
    loop {
        let mut line = String::new();
        stream.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else {
            return Ok(Some(seen));
        };
        let field = (name.to_ascii_lowercase(), value.trim().to_owned());
        seen.headers.push(field);
    }
}

/// Reads the next piece of a body; nothing at its end. `left`: what is to come of one whose length is known.
fn read_piece(
    seen: &Seen,
    stream: &mut BufReader<TcpStream>,
    left: &mut usize,
) -> std::io::Result<Vec<u8>> {
    if seen.all("transfer-encoding").is_empty() {
        if *left == 0 {
            return Ok(Vec::new());
        }
        let piece = stream.fill_buf()?;
        let piece = piece[..piece.len().min(*left)].to_vec();
        if piece.is_empty() {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        stream.consume(piece.len());
        *left -= piece.len();
        return Ok(piece);
    }
    let mut line = String::new();
    stream.read_line(&mut line)?;
    let size = usize::from_str_radix(line.trim_end(), 16).map_err(std::io::Error::other)?;
    let mut piece = vec![0; size + 2];
    stream.read_exact(&mut piece)?;
    piece.truncate(size);
    Ok(piece)
}

fn length(seen: &Seen) -> usize {
    let lengths = seen.all("content-length");
    lengths
        .first()
        .map_or(0, |length| length.parse().expect("a length"))
}

fn read_body(seen: &mut Seen, stream: &mut BufReader<TcpStream>) -> std::io::Result<()> {
    let mut left = length(seen);
    if left == 0 && seen.all("transfer-encoding").is_empty() {
        return Ok(());
    }
    loop {
        let piece = read_piece(seen, stream, &mut left)?;
        if piece.is_empty() {
            return Ok(());
        }
        seen.body.extend(piece);
    }
}

/// A whole answer with this body.
fn answer(status: &str, headers: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n{headers}\r\n{body}").into_bytes()
}

/// Does what the path says.
fn act(seen: &mut Seen, stream: &mut BufReader<TcpStream>, _: usize) -> Last {
    let path = seen.target.split('?').next().unwrap_or_default().to_owned();
    if path == "/mirror" {
        return mirror(seen, stream);
    }
    read_body(seen, stream)?;
    let whole = |bytes: Vec<u8>| Ok((bytes, true));
    let first = |stream: &mut BufReader<TcpStream>, text: &str| -> std::io::Result<()> {
        stream.get_mut().write_all(text.as_bytes())
    };
    match &*path {
        "/none" => whole(b"HTTP/1.1 204 No Content\r\nx-upstream: yes\r\n\r\n".to_vec()),
        "/missing" => whole(answer("404 Not Found", "", "no such thing")),
        "/hops" => {
            let headers = "connection: x-hop\r\nx-hop: 1\r\nkeep-alive: timeout=9\r\nproxy-connection: a\r\nx-end: stays\r\n";
            whole(answer("200 OK", headers, ""))
        }
        "/chunked" => {
            first(
                stream,
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
            )?;
            first(stream, "4\r\none \r\n")?;
            first(stream, "4;x=y\r\ntwo \r\n")?;
            whole(b"6\r\nthree \r\n0\r\n\r\n".to_vec())
        }
        "/until-close" => {
            first(stream, "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nuntil ")?;
            Ok((b"the end".to_vec(), false))
        }
        "/closes-after" => Ok((answer("200 OK", "", "and goes"), false)),
        "/silent" => {
            // Until the other side has had enough.
            let _ = stream.read(&mut [0]);
            Ok((Vec::new(), false))
        }
        "/breaks" => Ok((Vec::new(), false)),
        "/garbage" => Ok((b"this is no HTTP at all\r\n\r\n".to_vec(), false)),
        "/breaks-later" => {
            let text = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nnot all";
            Ok((text.as_bytes().to_vec(), false))
        }
        _ => {
            let body = format!("{} {} {}", seen.method, seen.target, seen.body.len());
            let mut bytes = answer("200 OK", "x-upstream: yes\r\n", &body);
            if seen.method == "HEAD" {
                bytes.truncate(bytes.len() - body.len());
            }
            whole(bytes)
        }
    }
}

/// Sends a body back piece by piece, while it comes.
fn mirror(seen: &mut Seen, stream: &mut BufReader<TcpStream>) -> Last {
    let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    stream.get_mut().write_all(head.as_bytes())?;
    let mut left = length(seen);
    loop {
        let piece = read_piece(seen, stream, &mut left)?;
        if piece.is_empty() {
            return Ok((b"0\r\n\r\n".to_vec(), true));
        }
        let size = format!("{:x}\r\n", piece.len());
        let chunk = [size.as_bytes(), &piece, b"\r\n"].concat();
        stream.get_mut().write_all(&chunk)?;
        seen.body.extend(piece);
    }
}

/// Answers the first request of a connection, and leaves with the second one unanswered.
pub(crate) fn closing(seen: &mut Seen, stream: &mut BufReader<TcpStream>, number: usize) -> Last {
    read_body(seen, stream)?;
    if number == 0 {
        Ok((answer("200 OK", "", "the first"), true))
    } else {
        Ok((Vec::new(), false))
    }
}
