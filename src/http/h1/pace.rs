//! The clock of one request body: it may pause for a while, and crawl for as long, but not crawl on.
//!
//! Its one rule: a client earns time with bytes, so that what it holds here costs it something too.

use std::time::Duration;

use super::Limits;
use crate::clock::Instant;

/// How fast a body comes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    started: Instant,
    last: Instant,
    received: u64,
}

impl Pace {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            started: now,
            last: now,
            received: 0,
        }
    }

    pub(super) fn add(&mut self, count: usize, now: Instant) {
        self.received += count as u64;
        self.last = now;
    }

    /// When the body is too slow.
    pub(super) fn deadline(&self, limits: &Limits) -> Instant {
        let silence = self.last + limits.body_timeout;
        match self
            .received
            .saturating_mul(1000)
            .checked_div(limits.body_rate_min)
        {
            Some(earned_ms) => {
                silence.min(self.started + limits.body_timeout + Duration::from_millis(earned_ms))
            }
            None => silence,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_earn_time_up_to_the_longest_pause() {
        let limits = Limits {
            body_timeout: Duration::from_secs(10),
            body_rate_min: 100,
            ..Limits::default()
        };
        let at = |seconds| Instant::ZERO + Duration::from_secs(seconds);
        let mut pace = Pace::new(at(0));
        assert_eq!(pace.deadline(&limits), at(10));
        pace.add(300, at(9));
        assert_eq!(pace.deadline(&limits), at(13));
        pace.add(10_000, at(10));
        assert_eq!(pace.deadline(&limits), at(20));
        assert_eq!(
            pace.deadline(&Limits {
                body_rate_min: 0,
                ..limits
            }),
            at(20)
        );
    }
}
