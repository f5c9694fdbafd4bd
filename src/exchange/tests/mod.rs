//! The machines of exchanges against a clock that the tests turn.

mod calls;
mod correlated;
mod reading;

use std::time::Duration;

use crate::clock::Instant;

/// So many milliseconds after the start.
fn at(millis: u64) -> Instant {
    Instant::ZERO + Duration::from_millis(millis)
}

const TIMEOUT: Duration = Duration::from_secs(30);
const WAIT_MAX: Duration = Duration::from_secs(60);
