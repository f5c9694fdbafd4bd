//! How often things go wrong. Its one rule: everything that can go wrong by chance is listed here, and [`Faults::NONE`] turns all of it off.

use std::time::Duration;

use super::random::Random;

/// How often things go wrong, in thousandths of the occasions, and how long things take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults {
    /// Calls whose request never arrives; the connection breaks.
    pub request_lost: u64,
    /// Calls that are executed and whose answer never arrives; the connection breaks.
    pub answer_lost: u64,
    /// Calls whose request arrives after the caller has given the connection up: a late copy of what it may have sent again.
    pub request_late: u64,
    /// Attempts to connect that fail.
    pub connect_failed: u64,
    /// Batches that the leader refuses without storing them.
    pub batch_refused: u64,
    /// Batches that the leader stores and answers with an error.
    pub batch_stored_unsaid: u64,
    /// Fetches and look-ups of offsets that the leader refuses.
    pub read_refused: u64,
    /// The mean time between mishaps of the whole: leaders move, brokers restart, lines are dead.
    pub mishap_interval: Option<Duration>,
    /// The longest way in one direction.
    pub delay_max: Duration,
}

impl Faults {
    /// Nothing goes wrong.
    pub const NONE: Self = Self {
        request_lost: 0,
        answer_lost: 0,
        request_late: 0,
        connect_failed: 0,
        batch_refused: 0,
        batch_stored_unsaid: 0,
        read_refused: 0,
        mishap_interval: None,
        delay_max: Duration::from_millis(2),
    };

    /// Each kind rare, frequent or not at all, so that they meet in all combinations.
    pub(super) fn drawn(random: &mut Random) -> Self {
        let mut rate = || random.pick(&[0, 0, 10, 50, 200]);
        Self {
            request_lost: rate(),
            answer_lost: rate(),
            request_late: rate(),
            connect_failed: rate(),
            batch_refused: rate(),
            batch_stored_unsaid: rate(),
            read_refused: 0,
            mishap_interval: random.pick(&[
                None,
                Some(Duration::from_millis(200)),
                Some(Duration::from_secs(1)),
            ]),
            delay_max: random.pick(&[
                Duration::from_millis(1),
                Duration::from_millis(20),
                Duration::from_millis(300),
            ]),
        }
    }
}
