//! The queues between cores: what a message costs from one, two and four senders, and how long it takes to a core that sleeps.
//!
//! With `--bench` (which `cargo bench` passes) at full size, else at a tiny one, so that `cargo test` runs it. Messages are what cores really send each other:
//! an update of a cached partition, made by the sender, dropped by the receiver.
#![expect(
    clippy::disallowed_methods,
    reason = "a bench reads the clock and starts threads"
)]

use std::error::Error;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use sluice::clock::UnixMillis;
use sluice::kafka::cache::{PartitionStore, Policy, Update};
use sluice::kafka::record_batch::{Batch, BatchBuilder};
use sluice::kafka::topics::CacheMessage;
use sluice::runtime::mailbox::Mailbox;
use sluice::runtime::placement::CoreSet;
use sluice::runtime::{CoreStart, sleep, start_cores};

/// As the gateway's own mailboxes.
const QUEUE_MAX: usize = 4096;
/// Longer than any core spins before it sleeps.
const PAUSE: Duration = Duration::from_micros(200);
/// Far longer than all round trips take.
const PATIENCE: Duration = Duration::from_secs(120);

type Queues = Arc<Mailbox<CacheMessage>>;

fn main() -> Result<(), Box<dyn Error>> {
    let full = std::env::args().any(|word| word == "--bench");
    let (messages, round_trips) = if full {
        (4_000_000, 20_000)
    } else {
        (20_000, 50)
    };
    let message = message()?;
    for senders in [1, 2, 4] {
        throughput(&message, senders, messages / senders);
    }
    ping_pong(&message, round_trips)
}

/// An update with a chunk of one record, as a fetch of a quiet partition brings it.
fn message() -> Result<CacheMessage, Box<dyn Error>> {
    let mut batch = BatchBuilder::new();
    batch.append(UnixMillis(0), Some(b"key"), Some(&[b'x'; 256]), []);
    let batch = Batch::parse(batch.finish(-1, -1, -1).freeze())?;
    let mut store = PartitionStore::new(
        Policy {
            compact: true,
            delete: false,
        },
        0,
        0,
    );
    let mut builder = store.builder();
    builder.push_batch(&batch.header, &batch.payload())?;
    let mut updates: Vec<Update> = Vec::new();
    store.append(builder, UnixMillis(0), &mut updates);
    Ok(CacheMessage::Updates {
        cluster: 0,
        key: (Arc::from("items-snapshots"), 0),
        updates,
        fresh: false,
    })
}

/// Many threads send, this one takes: nobody sleeps, so the queue itself is measured.
fn throughput(message: &CacheMessage, senders: usize, each: usize) {
    let mailbox: Queues = Arc::new(Mailbox::new(QUEUE_MAX, QUEUE_MAX));
    let start = Instant::now();
    let threads: Vec<_> = (0..senders)
        .map(|_| {
            let (mailbox, message) = (mailbox.clone(), message.clone());
            thread::spawn(move || (0..each).for_each(|_| send(&mailbox, message.clone())))
        })
        .collect();
    for _ in 0..senders * each {
        while mailbox.take().is_none() {
            // With fewer processors than threads, the sender may need this one.
            thread::yield_now();
        }
    }
    for sender in threads {
        sender.join().expect("senders do not panic");
    }
    let nanos = start.elapsed().as_nanos() / (senders * each) as u128;
    println!(
        "mailbox: {senders} senders to 1: {nanos} ns a message ({} messages)",
        senders * each
    );
}

fn send(mailbox: &Queues, mut message: CacheMessage) {
    while let Err(back) = mailbox.send_data(message) {
        message = back;
        thread::yield_now();
    }
}

/// Two cores, each asleep when the other's message comes.
fn ping_pong(message: &CacheMessage, round_trips: usize) -> Result<(), Box<dyn Error>> {
    let boxes: [Queues; 2] = std::array::from_fn(|_| Arc::new(Mailbox::new(QUEUE_MAX, QUEUE_MAX)));
    let (report, results) = mpsc::channel();
    let mains = (0..2)
        .map(|index| {
            let (own, other) = (boxes[index].clone(), boxes[1 - index].clone());
            let (message, report) = (message.clone(), report.clone());
            let main = move |_: CoreStart| async move {
                if index == 1 {
                    for _ in 0..round_trips {
                        send(&other, poll_fn(|context| own.poll_take(context)).await);
                    }
                    return;
                }
                let mut nanos = Vec::with_capacity(round_trips);
                for _ in 0..round_trips {
                    sleep(PAUSE).await;
                    let start = Instant::now();
                    send(&other, message.clone());
                    poll_fn(|context| own.poll_take(context)).await;
                    nanos.push(start.elapsed().as_nanos());
                }
                // The receiver outlives the cores.
                let _ = report.send(nanos);
            };
            Box::new(main) as Box<_>
        })
        .collect();
    let cores = start_cores(&CoreSet::Unpinned(2), mains)?;
    // A core that sleeps over a message would sleep for ever: nothing else happens here.
    let mut nanos = results
        .recv_timeout(PATIENCE)
        .map_err(|_| "a core slept over a message: its wake-up was lost")?;
    cores.join()?;
    nanos.sort_unstable();
    let at = |per_mille: usize| nanos[(nanos.len() - 1) * per_mille / 1000] / 1000;
    println!(
        "mailbox: there and back between two sleeping cores: p50 {} us, p99 {} us, p99.9 {} us",
        at(500),
        at(990),
        at(999)
    );
    println!(
        "mailbox: rung {} and {} times in {round_trips} round trips",
        boxes[0].wakeups(),
        boxes[1].wakeups()
    );
    Ok(())
}
