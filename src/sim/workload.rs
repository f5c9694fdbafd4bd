//! Who writes what: writers that wait for an outcome before they write on, and writers that do not.
//!
//! Sits at the near end, above the shells. Its one rule: a value says which record it is, so that the log can be read back.

use std::time::Duration;

use bytes::Bytes;

use super::broker::FORBIDDEN;
use super::random::Random;
use crate::kafka::producer::{Acks, Record};

/// The record header that names a record whose value is its own.
pub(super) const TOKEN_HEADER: &[u8] = b"sim-token";
/// Token and the flag of a bad record.
const VALUE_BYTES_MIN: usize = 9;
const RETRY_AFTER: Duration = Duration::from_millis(300);
const TOPICS: [&str; 6] = ["items", "items", "items", "orders", "later", FORBIDDEN];

/// One client: some records at a time, and when all have their outcomes, the next ones.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) topic: &'static str,
    pub(super) key: Option<Bytes>,
    pub(super) bursts_left: u32,
    /// Outcomes to come.
    pub(super) waits_for: usize,
    acks: Option<Acks>,
    /// The core its connection is on; none: another one for each burst.
    core: Option<usize>,
    burst_max: u64,
    value_bytes_max: u64,
    bad_per_thousand: u64,
    deadline_max: Duration,
    pause_max: Duration,
}

impl Writer {
    /// Any kind of writer.
    pub(super) fn drawn(number: usize, core_count: usize, random: &mut Random) -> Self {
        let has_key = random.chance(700);
        Self {
            topic: random.pick(&TOPICS),
            key: has_key.then(|| Bytes::from(format!("key-{number}"))),
            bursts_left: 5 + u32::try_from(random.below(20)).expect("small"),
            waits_for: 0,
            acks: random.pick(&[
                Some(Acks::InSyncReplicas),
                Some(Acks::InSyncReplicas),
                Some(Acks::LeaderOnly),
                Some(Acks::None),
                None,
            ]),
            core: random.chance(500).then(|| random.index(core_count)),
            burst_max: random.pick(&[1, 1, 3, 12]),
            value_bytes_max: random.pick(&[20, 200, 1_500, 6_000]),
            bad_per_thousand: random.pick(&[0, 0, 0, 100]),
            deadline_max: random.pick(&[
                Duration::from_millis(300),
                Duration::from_secs(3),
                Duration::from_secs(12),
            ]),
            pause_max: random.pick(&[
                Duration::ZERO,
                Duration::from_millis(20),
                Duration::from_millis(800),
                Duration::from_secs(2),
            ]),
        }
    }

    pub(super) fn core(&self, core_count: usize, random: &mut Random) -> usize {
        self.core.unwrap_or_else(|| random.index(core_count))
    }

    pub(super) fn burst_len(&self, random: &mut Random) -> u64 {
        1 + random.below(self.burst_max)
    }

    pub(super) fn acks(&self, random: &mut Random) -> Acks {
        self.acks
            .unwrap_or_else(|| random.pick(&[Acks::InSyncReplicas, Acks::LeaderOnly, Acks::None]))
    }

    pub(super) fn record(&self, token: u64, random: &mut Random) -> Record {
        let value_len = usize::try_from(random.below(self.value_bytes_max)).expect("small");
        let is_bad = random.chance(self.bad_per_thousand);
        Record {
            key: self.key.clone(),
            value: Some(value(token, is_bad, value_len)),
            headers: Vec::new(),
        }
    }

    pub(super) fn deadline(&self, random: &mut Random) -> Duration {
        random.between(Duration::from_millis(5), self.deadline_max)
    }

    /// The wait before the next burst, longer after a refusal.
    pub(super) fn pause(&self, is_refused: bool, random: &mut Random) -> Duration {
        let retry_after = if is_refused {
            RETRY_AFTER
        } else {
            Duration::ZERO
        };
        retry_after + random.between(Duration::ZERO, self.pause_max)
    }
}

/// A value that names its record, at least `len` bytes long.
pub(super) fn value(token: u64, is_bad: bool, len: usize) -> Bytes {
    let mut value = token.to_be_bytes().to_vec();
    value.push(is_bad.into());
    value.resize(len.max(VALUE_BYTES_MIN), b'.');
    value.into()
}

/// The token in a value, and whether the record is a bad one.
pub(super) fn read_value(value: &[u8]) -> Option<(u64, bool)> {
    let (token, rest) = value.split_first_chunk()?;
    Some((u64::from_be_bytes(*token), *rest.first()? != 0))
}
