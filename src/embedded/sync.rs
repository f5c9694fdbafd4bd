//! Locks and wake-ups of the embedded broker. Below every other file of the folder.
//!
//! One rule: no thread of the broker sleeps without a way to be woken, or stopping it would hang.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Locks `mutex`, also after a panic of another holder.
///
/// A connection's panic ends that connection only. What it guarded is changed in steps that are each valid, so going
/// on is better than turning one bad request into a dead broker.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits on `condvar` until it is notified or `deadline` has come.
pub(super) fn wait_until<'a, T>(
    condvar: &Condvar,
    guard: MutexGuard<'a, T>,
    deadline: Instant,
) -> MutexGuard<'a, T> {
    let left = deadline.saturating_duration_since(Instant::now());
    let waited = condvar.wait_timeout(guard, left);
    waited.unwrap_or_else(PoisonError::into_inner).0
}

/// The wake-up of one connection's thread: raised by appends, by the end of a pause and by the broker's stop.
///
/// Level-triggered: a raise before the wait is not lost.
#[derive(Debug, Default)]
pub(super) struct Signal {
    raised: Mutex<bool>,
    changed: Condvar,
}

impl Signal {
    pub(super) fn raise(&self) {
        *lock(&self.raised) = true;
        self.changed.notify_all();
    }

    /// Forgets earlier raises. Whoever calls this must look at the state of the world afterwards, not before.
    pub(super) fn clear(&self) {
        *lock(&self.raised) = false;
    }

    /// Waits for a raise, at most until `deadline`.
    pub(super) fn wait_until(&self, deadline: Instant) {
        let mut raised = lock(&self.raised);
        while !*raised && Instant::now() < deadline {
            raised = wait_until(&self.changed, raised, deadline);
        }
    }
}
