//! How long answers take.
//!
//! One rule: what has to take its time must never be early; that it is not late is asked of one try in three, since a
//! loaded machine delays anyone now and then, and a gateway that is late is late each time.

use std::time::{Duration, Instant};

/// How much later than due an answer may come.
pub(crate) const SLACK: Duration = Duration::from_millis(50);

/// Clocks of two processes and their timers' grain.
const GRAIN: Duration = Duration::from_millis(5);

/// Asserts that an exchange takes `wait`, and no more than [`SLACK`] longer; it is done up to three times. Returns what
/// the last one gave.
///
/// # Panics
/// It ends early, or late each time.
#[track_caller]
pub(crate) fn takes<T>(wait: Duration, mut exchange: impl FnMut() -> T) -> T {
    let mut tries = Vec::new();
    loop {
        let begun = Instant::now();
        let given = exchange();
        let taken = begun.elapsed();
        assert!(taken + GRAIN >= wait, "{taken:?} is less than {wait:?}");
        if taken <= wait + SLACK {
            return given;
        }
        tries.push(taken);
        assert!(tries.len() < 3, "{wait:?} took {tries:?}");
    }
}

/// Asserts that an exchange takes less than `most`, in one of three times.
///
/// # Panics
/// It takes longer each time.
#[track_caller]
pub(crate) fn takes_less<T>(most: Duration, mut exchange: impl FnMut() -> T) -> T {
    let mut tries = Vec::new();
    loop {
        let begun = Instant::now();
        let given = exchange();
        let taken = begun.elapsed();
        if taken < most {
            return given;
        }
        tries.push(taken);
        assert!(tries.len() < 3, "{tries:?}, and not less than {most:?}");
    }
}
