//! The virtual clock and what is to happen when.
//!
//! Sits under the fabric. Its one rule: time moves only from one event to the next, and events of the same instant happen in the order in which they were
//! entered.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::clock::Instant;

/// Events to come, and the time it is.
#[derive(Debug)]
pub(super) struct Schedule<E> {
    now: Instant,
    entered: u64,
    events: BTreeMap<(Instant, u64), E>,
}

impl<E> Schedule<E> {
    /// Nothing to come. The clock starts beyond zero, lest that pass for "now".
    pub(super) const fn new() -> Self {
        Self {
            now: Instant::from_nanos(1_000_000_000),
            entered: 0,
            events: BTreeMap::new(),
        }
    }

    pub(super) const fn now(&self) -> Instant {
        self.now
    }

    /// Enters an event for `at`, or for now when that is past.
    pub(super) fn at(&mut self, at: Instant, event: E) {
        self.entered += 1;
        self.events.insert((at.max(self.now), self.entered), event);
    }

    pub(super) fn after(&mut self, wait: Duration, event: E) {
        self.at(self.now + wait, event);
    }

    /// Moves the clock to the next event.
    pub(super) fn next(&mut self) -> Option<E> {
        let ((at, _), event) = self.events.pop_first()?;
        self.now = at;
        Some(event)
    }
}
