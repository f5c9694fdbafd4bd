//! The service that answers requests: reads the request topic, writes to the reply topic; late, twice, or never.
//!
//! Sits behind the brokers. Its one rule: it reads what is safe and says in each reply which request it is for.

use std::time::Duration;

use bytes::Bytes;

use super::CORRELATION;
use crate::clock::UnixMillis;
use crate::kafka::record_batch::BatchBuilder;
use crate::sim::random::Random;

/// How the service behaves.
#[derive(Clone, Debug)]
pub(super) struct Service {
    /// In thousandths.
    pub(super) never: u64,
    pub(super) twice: u64,
    pub(super) late_max: Duration,
    written: u64,
}

impl Service {
    pub(super) fn drawn(random: &mut Random) -> Self {
        Self {
            never: random.pick(&[0, 100, 400]),
            twice: random.pick(&[0, 200]),
            late_max: random.pick(&[
                Duration::from_millis(5),
                Duration::from_millis(300),
                Duration::from_secs(4),
            ]),
            written: 0,
        }
    }

    /// From now on it answers everything, once and soon.
    pub(super) const fn behave(&mut self) {
        self.never = 0;
        self.twice = 0;
        self.late_max = Duration::from_millis(5);
    }

    /// When to write replies to a request, after now.
    pub(super) fn answers(&self, random: &mut Random) -> Vec<Duration> {
        if random.chance(self.never) {
            return Vec::new();
        }
        let count = 1 + usize::from(random.chance(self.twice));
        let wait = |_| random.between(Duration::from_micros(100), self.late_max);
        (0..count).map(wait).collect()
    }

    /// A reply to `id`: its partition, its body, and the batch that holds it.
    pub(super) fn reply(
        &mut self,
        id: &Bytes,
        partitions: usize,
        random: &mut Random,
    ) -> (usize, Bytes, Bytes) {
        self.written += 1;
        let partition = random.index(partitions);
        let text = String::from_utf8_lossy(id);
        let body = Bytes::from(format!("{text} #{}", self.written));
        let mut builder = BatchBuilder::new();
        let headers = [(CORRELATION, Some(&id[..]))];
        builder.append(UnixMillis(0), None, Some(&body), headers);
        (partition, body, builder.finish(-1, -1, -1).freeze())
    }
}
