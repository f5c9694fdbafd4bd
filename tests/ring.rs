//! The io_uring shim in a program that is not the gateway: it is linked, it sees every ring, and a connection works over them.
//!
//! Alone in its file because the counters are those of the process: one executor, so the numbers are known.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use futures_lite::{AsyncReadExt, AsyncWriteExt};
use sluice::runtime::net::{self, Bound, Listener};
use sluice::runtime::placement::CoreSet;
use sluice::runtime::{ring, start_cores};

/// Rings of one glommio executor: main, latency, poll, and one to find out what the kernel can do.
const RINGS_PER_EXECUTOR: u32 = 4;
/// The poll ring cannot take the flag.
const RINGS_FLAGGED: u32 = 3;
/// How long the test may wait for its own executor.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(20);

#[test]
fn every_ring_of_an_executor_passes_the_shim_and_carries_an_echo() {
    assert_eq!(ring::rings(), (0, 0), "nothing has been started yet");
    let Bound {
        address,
        mut sockets,
    } = net::bind(SocketAddr::from(([127, 0, 0, 1], 0)), 1).expect("a free port");
    let socket = sockets.pop().expect("one core, one socket");
    let cores = start_cores(
        &CoreSet::Unpinned(1),
        vec![Box::new(move |_| echo_once(socket))],
    )
    .expect("io_uring");

    assert_eq!(ask(address, b"over the rings"), b"over the rings");
    cores.join().expect("the executor ended well");
    let flagged = if takes_cooperative_rings() {
        RINGS_FLAGGED
    } else {
        0
    };
    assert_eq!(ring::rings(), (RINGS_PER_EXECUTOR, flagged));
}

/// Gives one connection its bytes back until it stops sending.
async fn echo_once(socket: socket2::Socket) {
    let listener = Listener::new(socket).expect("the port was bound before");
    let mut stream = listener.accept().await;
    let mut bytes = [0; 64];
    loop {
        let count = stream.read(&mut bytes).await.expect("the client is there");
        if count == 0 {
            return;
        }
        stream
            .write_all(&bytes[..count])
            .await
            .expect("the client reads");
    }
}

fn ask(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    // Until the executor listens, the kernel refuses.
    let mut tries = 0;
    let mut stream = loop {
        match TcpStream::connect(address) {
            Ok(stream) => break stream,
            Err(error) if tries == 500 => panic!("nobody listens: {error}"),
            Err(_) => tries += 1,
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    stream
        .set_read_timeout(Some(CLIENT_TIMEOUT))
        .expect("a timeout above zero");
    stream.write_all(bytes).expect("the executor reads");
    stream
        .shutdown(std::net::Shutdown::Write)
        .expect("the connection is open");
    let mut answer = Vec::new();
    stream
        .read_to_end(&mut answer)
        .expect("the executor answers");
    answer
}

/// Whether this kernel knows `IORING_SETUP_COOP_TASKRUN`: 5.19 and later.
fn takes_cooperative_rings() -> bool {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").expect("Linux");
    let mut numbers = release
        .split(|mark: char| !mark.is_ascii_digit())
        .map(|number| number.parse().unwrap_or(0));
    let (major, minor): (u32, u32) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    (major, minor) >= (5, 19)
}
