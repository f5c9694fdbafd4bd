//! How soon a GET that waits learns of a record that someone else wrote: from that one's ack to the whole answer. One at a time.
#![expect(
    clippy::disallowed_methods,
    reason = "a load generator lives by the clock"
)]

use std::error::Error;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use rdkafka::producer::BaseRecord;

use crate::arguments::Arguments;
use crate::client::Producer;

/// The GET has come to wait when its record is written.
const SETTLE: Duration = Duration::from_millis(25);
const PATIENCE: Duration = Duration::from_secs(30);
/// What is promised of 95 in 100.
const PROMISE_US: u64 = 20_000;

/// Runs it, and prints the figures.
pub fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let producer = Producer::connect(&arguments.bootstrap, &arguments.topic)?;
    let mut stream = TcpStream::connect(arguments.connect)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut after_ack_us = Histogram::<u64>::new_with_bounds(1, 60_000_000, 3)?;
    let mut after_write_us = after_ack_us.clone();
    for sample in 0..arguments.count {
        // A key that no earlier run has used.
        let key = format!("wake-{}-{sample}", std::process::id());
        let value = format!(r#"{{"wake":"{key}"}}"#);
        let path = arguments.path.replace("{key}", &key);
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nhost: {}\r\nprefer: wait=30\r\n\r\n",
            arguments.connect
        )?;
        std::thread::sleep(SETTLE);
        let (written, acked, answered) = std::thread::scope(|scope| {
            let reader = scope.spawn(|| answer(&mut stream, value.as_bytes()));
            let written = Instant::now();
            let record = BaseRecord::to(&arguments.topic)
                .key(&key)
                .payload(value.as_bytes());
            producer.submit(record)?;
            let acked = producer.next_ack()?;
            let answered = reader.join().map_err(|_| "the reader panicked")??;
            Ok::<_, Box<dyn Error>>((written, acked, answered))
        })?;
        let micros = |since| {
            u64::try_from(answered.saturating_duration_since(since).as_micros()).unwrap_or(u64::MAX)
        };
        after_ack_us.saturating_record(micros(acked));
        after_write_us.saturating_record(micros(written));
    }
    println!(
        "samples={} wake_p50_us={} wake_p95_us={} wake_max_us={} write_p50_us={} kept={}",
        arguments.count,
        after_ack_us.value_at_quantile(0.5),
        after_ack_us.value_at_quantile(0.95),
        after_ack_us.max(),
        after_write_us.value_at_quantile(0.5),
        after_ack_us.count_between(0, PROMISE_US)
    );
    Ok(())
}

/// When the answer was whole: its body is `value`.
fn answer(stream: &mut TcpStream, value: &[u8]) -> std::io::Result<Instant> {
    let mut input = Vec::new();
    let mut bytes = [0; 4096];
    while !input.ends_with(value) {
        let count = stream.read(&mut bytes)?;
        input.extend_from_slice(&bytes[..count]);
        if count == 0 || !b"HTTP/1.1 200 ".starts_with(&input[..input.len().min(13)]) {
            return Err(std::io::Error::other(format!(
                "the GET was answered otherwise: {}",
                input.escape_ascii()
            )));
        }
    }
    Ok(Instant::now())
}
