//! Whole cores in a simulated world: processes of several cores each, their clients, the brokers, and the service that answers requests.
//!
//! Sits beside [`super::world`], which has the producer alone, and shares fabric, brokers and the producer's shell with it. Its one rule: what is sans-IO is driven
//! as the real shells drive it (`kafka/replies`, `kafka/topics`, `kafka/follow`, `net/exchange`), with queues so small that they overflow.
//!
//! ```text
//!  clients ──▶ exchange ─┬─ write ───────────▶ shell (producer, metadata) ──▶ fabric ──▶ brokers ◀── service
//!     ▲                  ├─ with a reply ─▶ mailbox ─▶ shard of the id ──┘                  │
//!     │                  └─ read ─▶ items: store or view ◀─ mailbox ◀─ follower ◀──────────┘
//!     └── outcome ──▶ truth: is it so?
//! ```

mod cached;
mod clients;
mod core;
mod exchange;
mod follow;
mod items;
mod lookup;
mod message;
mod read;
mod replies;
mod service;
mod truth;
mod world;

use std::time::Duration;

use super::checker::Checker;
use super::event::{Event, GatewayEvent};
use super::fabric::Fabric;
use message::Mailboxes;
pub use truth::GatewaySummary;
use truth::Truth;
pub use world::GatewayWorld;

const ITEMS: &str = "items";
const REQUESTS: &str = "requests";
const REPLIES: &str = "replies";
const ITEMS_PARTITIONS: u32 = 3;
/// The record header that carries correlation ids.
const CORRELATION: &[u8] = b"zilla:correlation-id";
/// The wait before the next attempt after an error.
const RETRY_INTERVAL: Duration = Duration::from_millis(100);
/// Messages that wait for one core before the looking through replies pauses. Far fewer than in production: that has to happen.
const OUTBOX_PAUSE: usize = 4;
/// The longest wait that a client is granted.
const WAIT_MAX: Duration = Duration::from_secs(2);

/// What all cores share: the world's half of every call.
struct Shared {
    fabric: Fabric,
    checker: Checker,
    truth: Truth,
    mailboxes: Mailboxes,
}

impl Shared {
    /// Something happens `wait` from now.
    fn later(&mut self, wait: Duration, event: GatewayEvent) {
        self.fabric.schedule.after(wait, Event::Gateway(event));
    }
}
