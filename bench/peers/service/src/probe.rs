//! A client without a gateway: requests at a rate into the request topic, replies out of the reply topic. What is left when its figures are taken from the
//! gateway's is the gateway. Open loop, Poisson arrivals, latency from when a request was due, as `load` has them.
#![expect(
    clippy::disallowed_methods,
    reason = "a load generator lives by the clock"
)]

use std::error::Error;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use rdkafka::consumer::BaseConsumer;
use rdkafka::message::{Header, Headers, Message, OwnedHeaders};
use rdkafka::producer::BaseRecord;

use crate::arguments::Arguments;
use crate::client::{CORRELATION_ID, From, Producer, REPLY_TO, consumer};

const BODY_BYTES: usize = 256;
/// After the last request, how long replies are waited for.
const GRACE: Duration = Duration::from_secs(10);
/// How often the reader looks whether all has come, when nothing comes.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// Runs it, and prints the figures.
pub fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let replies = consumer(&arguments.bootstrap, &arguments.reply_topic, From::Now)?;
    let producer = Producer::connect(&arguments.bootstrap, &arguments.topic)?;
    // The first fetch is under way before the first request is.
    let _ = replies.poll(Duration::from_millis(200));
    let start = Instant::now();
    let sent = AtomicU64::new(u64::MAX);
    let received = std::thread::scope(|scope| {
        let reader = scope.spawn(|| receive(&replies, start, &sent).map_err(|e| e.to_string()));
        let count = send(arguments, &producer, start);
        sent.store(*count.as_ref().unwrap_or(&0), Ordering::Relaxed);
        let received = reader.join().map_err(|_| "the reader panicked")?;
        Ok::<_, Box<dyn Error>>((count?, received?))
    });
    let (sent, (latency_us, elapsed)) = received?;
    println!(
        "requests={} errors={} duration_us={} p50_us={} p99_us={} p999_us={}",
        latency_us.len(),
        sent.saturating_sub(latency_us.len()),
        elapsed.as_micros(),
        latency_us.value_at_quantile(0.5),
        latency_us.value_at_quantile(0.99),
        latency_us.value_at_quantile(0.999)
    );
    Ok(())
}

/// Sends requests when they are due; says how many. Their ids are when they were due, in nanoseconds from the start.
fn send(arguments: &Arguments, producer: &Producer, start: Instant) -> Result<u64, Box<dyn Error>> {
    let frame = r#"{"name":""}"#.len();
    let body = format!(r#"{{"name":"{}"}}"#, "x".repeat(BODY_BYTES - frame));
    let mean = Duration::from_secs(1) / arguments.rate;
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut due = Duration::ZERO;
    let mut count = 0_u64;
    while due < arguments.duration {
        std::thread::sleep(due.saturating_sub(start.elapsed()));
        let headers = OwnedHeaders::new_with_capacity(2)
            .insert(Header {
                key: REPLY_TO,
                value: Some(&arguments.reply_topic),
            })
            .insert(Header {
                key: CORRELATION_ID,
                value: Some(&due.as_nanos().to_string()),
            });
        producer.send(
            BaseRecord::to(&arguments.topic)
                .key(&count.to_string())
                .payload(body.as_bytes())
                .headers(headers),
        )?;
        count += 1;
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let uniform = (random >> 11) as f64 / (1_u64 << 53) as f64;
        due += mean.mul_f64(-(1.0 - uniform).ln());
    }
    producer.finish()?;
    Ok(count)
}

/// Reads replies until as many came as were sent.
fn receive(
    replies: &BaseConsumer,
    start: Instant,
    sent: &AtomicU64,
) -> Result<(Histogram<u64>, Duration), Box<dyn Error>> {
    let mut latency_us = Histogram::new_with_bounds(1, 60_000_000, 3)?;
    let mut last = start.elapsed();
    while latency_us.len() < sent.load(Ordering::Relaxed) {
        match replies.poll(LOOK_INTERVAL) {
            Some(reply) => {
                last = start.elapsed();
                let due = Duration::from_nanos(due_ns(&reply?).ok_or("a reply without our id")?);
                let elapsed_us = last.saturating_sub(due).as_micros();
                latency_us.saturating_record(u64::try_from(elapsed_us).unwrap_or(u64::MAX));
            }
            None if start.elapsed() > last + GRACE => break,
            None => {}
        }
    }
    Ok((latency_us, last))
}

fn due_ns(reply: &impl Message) -> Option<u64> {
    let mut headers = reply.headers()?.iter();
    let id = headers.find(|header| header.key == CORRELATION_ID)?.value?;
    std::str::from_utf8(id).ok()?.parse().ok()
}
