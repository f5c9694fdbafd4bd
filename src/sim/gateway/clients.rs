//! The clients: one request at a time each, on any core of any process, with keys that many of them use.
//!
//! Sits above the cores. Its one rule: a client that leaves says nothing, as when its connection breaks.

use std::time::Duration;

use bytes::Bytes;

use super::exchange::{Ask, Question};
use crate::sim::random::Random;

/// Keys of items: few, so that writes and reads meet.
const KEYS: u64 = 6;
/// Idempotency keys that are in use at a time.
const IDS: u64 = 3;

/// In thousandths: a client sends an id that the gateway made, which it was told.
const OWN_ID_SENT: u64 = 50;
const OWN_ID: &str = "own-";

/// Whether an id is of the gateway's making: its exchange does not linger.
pub(super) fn is_own(id: &[u8]) -> bool {
    id.starts_with(OWN_ID.as_bytes())
}

fn own_id(number: u64) -> Bytes {
    format!("{OWN_ID}{number}").into()
}

/// What all clients do.
#[derive(Clone, Debug)]
pub(super) struct Habits {
    /// The pause between two requests.
    pub(super) pause_max: Duration,
    /// In thousandths: leaves before the answer.
    pub(super) vanishes: u64,
    /// In thousandths: takes an idempotency key that nobody used yet.
    pub(super) new_id: u64,
    pub(super) timeout: Duration,
    /// Ids taken so far.
    ids: u64,
    own_ids: u64,
}

impl Habits {
    pub(super) fn drawn(random: &mut Random) -> Self {
        Self {
            pause_max: random.pick(&[
                Duration::from_millis(20),
                Duration::from_millis(200),
                Duration::from_millis(600),
            ]),
            vanishes: random.pick(&[0, 50, 300]),
            new_id: random.pick(&[50, 200, 500]),
            timeout: random.pick(&[Duration::from_millis(800), Duration::from_secs(3)]),
            ids: 0,
            own_ids: 0,
        }
    }

    /// Any request.
    pub(super) fn ask(&mut self, random: &mut Random) -> Ask {
        match random.below(16) {
            0..=2 => Ask::Put { key: key(random) },
            3 => Ask::Delete { key: key(random) },
            4 | 5 => Ask::Get {
                key: key(random),
                wait: wait(random),
            },
            6 => Ask::List,
            7 => self.own(random),
            8..=9 => Ask::Status {
                id: self.id(random),
                wait: wait(random),
            },
            _ => Ask::Submit(Question {
                id: self.id(random),
                is_ours: false,
                is_async: random.chance(300),
                wait: wait(random),
            }),
        }
    }

    /// A request with an id of the gateway's making.
    pub(super) fn own(&mut self, random: &mut Random) -> Ask {
        self.own_ids += 1;
        Ask::Submit(Question {
            id: own_id(self.own_ids),
            is_ours: true,
            is_async: random.chance(300),
            wait: None,
        })
    }

    /// A request with a key that is sent again and again while the first is under way.
    pub(super) fn repeated(&mut self) -> Ask {
        self.ids += 1;
        Ask::Submit(Question {
            id: format!("key-{}", self.ids).into(),
            is_ours: false,
            is_async: false,
            wait: None,
        })
    }

    /// One of the newest ids, which others use too.
    fn id(&mut self, random: &mut Random) -> Bytes {
        if self.own_ids > 0 && random.chance(OWN_ID_SENT) {
            return own_id(self.own_ids);
        }
        if self.ids == 0 || random.chance(self.new_id) {
            self.ids += 1;
        }
        let number = self.ids.saturating_sub(random.below(IDS)).max(1);
        format!("key-{number}").into()
    }
}

/// A key of an item.
pub(super) fn key(random: &mut Random) -> Bytes {
    format!("item-{}", random.below(KEYS)).into()
}

fn wait(random: &mut Random) -> Option<Duration> {
    random.chance(300).then(|| Duration::from_secs(1))
}
