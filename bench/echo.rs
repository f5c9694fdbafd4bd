//! The floor: what an HTTP/1.1 request costs on this runtime when nothing is done with it. Reads, parses the head, skips the body, answers 204.
//!
//! `echo --port PORT --cores SET` serves until it is killed; `bench/run` measures it beside the gateway. Without arguments it asks itself a few questions and ends,
//! so that `cargo test` runs it. Rule: the least that a server on glommio and httparse can do; it checks nothing that the gateway checks.

use std::error::Error;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use futures_lite::{AsyncReadExt, AsyncWriteExt};
use sluice::runtime::net::{self, Bound, Listener, Stream};
use sluice::runtime::placement::CoreSet;
use sluice::runtime::{Cores, core_count, spawn, start_cores};

const USAGE: &str = "usage: echo [--port PORT] [--cores SET]";
const ANSWER: &[u8] = b"HTTP/1.1 204 No Content\r\ndate: Thu, 01 Jan 2026 00:00:00 GMT\r\n\r\n";
const READ_BYTES: usize = 16 << 10;
const HEADERS_MAX: usize = 32;
const CONNECT_TRIES: usize = 500;
const CONNECT_INTERVAL: Duration = Duration::from_millis(10);

fn main() -> Result<(), Box<dyn Error>> {
    let Some((port, cores)) = arguments() else {
        // `cargo test` and `cargo bench` come here, whatever they pass.
        return check();
    };
    let (address, running) = start(port, &cores)?;
    println!("listening on {address}");
    Ok(running.join()?)
}

/// Port and processors, if there is a port.
fn arguments() -> Option<(u16, CoreSet)> {
    let mut words = std::env::args().skip(1);
    let (mut port, mut cores) = (None, CoreSet::Unpinned(1));
    while let Some(name) = words.next() {
        match name.as_str() {
            "--port" => port = Some(words.next()?.parse().ok()?),
            "--cores" => cores = words.next()?.parse().ok()?,
            "--bench" | "--test" => {}
            _ => eprintln!("{USAGE}"),
        }
    }
    port.map(|port| (port, cores))
}

fn start(port: u16, cores: &CoreSet) -> Result<(SocketAddr, Cores), Box<dyn Error>> {
    let Bound { address, sockets } =
        net::bind(SocketAddr::from(([127, 0, 0, 1], port)), core_count(cores))?;
    let mains = sockets
        .into_iter()
        .map(|socket| Box::new(move |_| serve(socket)) as Box<_>)
        .collect();
    Ok((address, start_cores(cores, mains)?))
}

async fn serve(socket: socket2::Socket) {
    let listener = Listener::new(socket).expect("the port was bound before");
    loop {
        let stream = listener.accept().await;
        spawn(async move {
            // However a client goes, the floor does not care.
            let _ = echo(stream).await;
        });
    }
}

async fn echo(mut stream: Stream) -> io::Result<()> {
    let mut bytes = vec![0; READ_BYTES];
    let (mut input, mut output) = (
        Vec::with_capacity(READ_BYTES),
        Vec::with_capacity(READ_BYTES),
    );
    loop {
        let count = stream.read(&mut bytes).await?;
        if count == 0 {
            return Ok(());
        }
        input.extend_from_slice(&bytes[..count]);
        let mut taken = 0;
        while let Some(length) = request_length(&input[taken..])? {
            output.extend_from_slice(ANSWER);
            taken += length;
        }
        input.drain(..taken);
        if !output.is_empty() {
            stream.write_all(&output).await?;
            output.clear();
        }
    }
}

/// Bytes of the request at the front of `input`, head and body; `None` while it is incomplete.
fn request_length(input: &[u8]) -> io::Result<Option<usize>> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    let garbage = |_| io::Error::from(io::ErrorKind::InvalidData);
    let httparse::Status::Complete(head) = request.parse(input).map_err(garbage)? else {
        return Ok(None);
    };
    let length = request
        .headers
        .iter()
        .find(|header| header.name.eq_ignore_ascii_case("content-length"));
    let body = match length {
        Some(header) => std::str::from_utf8(header.value)
            .ok()
            .and_then(|value| value.parse::<usize>().ok()),
        None => Some(0),
    };
    let whole = body
        .and_then(|body| head.checked_add(body))
        .ok_or(io::ErrorKind::InvalidData)?;
    Ok((input.len() >= whole).then_some(whole))
}

/// A few requests of a client of this process, one of them in pieces and two at once.
fn check() -> Result<(), Box<dyn Error>> {
    let (address, _running) = start(0, &CoreSet::Unpinned(1))?;
    let mut client = connect(address)?;
    let post = b"POST /events HTTP/1.1\r\nhost: x\r\nContent-Length: 5\r\n\r\nhello";
    let (first, second) = post.split_at(post.len() - 2);
    for pieces in [
        &[&post[..]][..],
        &[first, second],
        &[b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"],
    ] {
        for piece in pieces {
            client.write_all(piece)?;
        }
        expect_answers(&mut client, 1)?;
    }
    client.write_all(&post.repeat(2))?;
    expect_answers(&mut client, 2)?;
    println!("echo: five requests, five times 204");
    // The core serves for ever; the process ends without it.
    std::process::exit(0)
}

/// The core listens a moment after its port was bound.
fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    for _ in 0..CONNECT_TRIES {
        match TcpStream::connect(address) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                std::thread::sleep(CONNECT_INTERVAL);
            }
            connected => return connected,
        }
    }
    TcpStream::connect(address)
}

fn expect_answers(client: &mut TcpStream, count: usize) -> io::Result<()> {
    let mut answers = vec![0; ANSWER.len() * count];
    client.read_exact(&mut answers)?;
    assert_eq!(answers, ANSWER.repeat(count));
    Ok(())
}
