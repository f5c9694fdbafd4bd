//! All deadlines of one core on one timer: a task sleeps until the earliest, and wakes whoever is due.
//!
//! A deadline that only moves later costs a store, not a timer: its old entry fires, finds the new time, and goes back in.
//! Rule: late by at most [`GRANULARITY`], never early.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::clock::Instant;

/// Deadlines closer together than this fire together.
pub const GRANULARITY: Duration = Duration::from_millis(5);

#[derive(Debug, Default)]
struct Slot {
    /// When to fire, `FAR_FUTURE` when unset.
    at: Cell<Instant>,
    /// Under which time the slot stands in the queue, if it does.
    queued_at: Cell<Option<Instant>>,
    waker: RefCell<Option<Waker>>,
}

/// The deadlines of one core.
#[derive(Debug, Default)]
pub struct Deadlines {
    queue: RefCell<BTreeMap<(Instant, u64), Rc<Slot>>>,
    next_id: Cell<u64>,
    sleeper: RefCell<Option<Waker>>,
}

impl Deadlines {
    /// A new deadline, not set.
    pub fn deadline(self: &Rc<Self>) -> Deadline {
        let id = self.next_id.get();
        self.next_id.set(id + 1);
        let slot = Rc::new(Slot {
            at: Cell::new(Instant::FAR_FUTURE),
            ..Slot::default()
        });
        Deadline {
            slot,
            id,
            owner: self.clone(),
        }
    }

    /// When the timer must look next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.queue.borrow().keys().next().map(|(at, _)| *at)
    }

    /// Wakes all that are due at `now`.
    pub fn handle_timeout(&self, now: Instant) {
        loop {
            let slot = {
                let mut queue = self.queue.borrow_mut();
                let Some(entry) = queue.first_entry().filter(|entry| entry.key().0 <= now) else {
                    return;
                };
                let (key, slot) = entry.remove_entry();
                if slot.at.get() > now && slot.at.get() != Instant::FAR_FUTURE {
                    slot.queued_at.set(Some(slot.at.get()));
                    queue.insert((slot.at.get(), key.1), slot);
                    continue;
                }
                slot.queued_at.set(None);
                slot
            };
            if slot.at.get() <= now
                && let Some(waker) = slot.waker.borrow_mut().take()
            {
                waker.wake();
            }
        }
    }

    /// Resolves when an earlier deadline than the one slept for has come in.
    pub fn poll_changed(&self, context: &Context<'_>, sleeping_until: Option<Instant>) -> Poll<()> {
        let earliest = self.poll_timeout();
        if earliest.is_some()
            && sleeping_until.is_none_or(|until| earliest.is_some_and(|at| at < until))
        {
            return Poll::Ready(());
        }
        *self.sleeper.borrow_mut() = Some(context.waker().clone());
        Poll::Pending
    }
}

/// One deadline that can be set again and again; dropping it takes it out.
#[derive(Debug)]
pub struct Deadline {
    slot: Rc<Slot>,
    id: u64,
    owner: Rc<Deadlines>,
}

impl Deadline {
    /// Sets the time, `FAR_FUTURE` for never.
    pub fn set(&self, at: Instant) {
        self.slot.at.set(at);
        if at == Instant::FAR_FUTURE || self.slot.queued_at.get().is_some_and(|queued| queued <= at)
        {
            return;
        }
        let mut queue = self.owner.queue.borrow_mut();
        if let Some(queued) = self.slot.queued_at.get() {
            queue.remove(&(queued, self.id));
        }
        let earliest = queue.keys().next().is_none_or(|(first, _)| at < *first);
        queue.insert((at, self.id), self.slot.clone());
        self.slot.queued_at.set(Some(at));
        if earliest && let Some(sleeper) = self.owner.sleeper.borrow_mut().take() {
            sleeper.wake();
        }
    }

    /// Whether the time has come; else the task is woken then.
    pub fn poll_expired(&self, context: &Context<'_>, now: Instant) -> Poll<()> {
        if self.slot.at.get() <= now {
            return Poll::Ready(());
        }
        let mut waker = self.slot.waker.borrow_mut();
        if !waker
            .as_ref()
            .is_some_and(|waker| waker.will_wake(context.waker()))
        {
            *waker = Some(context.waker().clone());
        }
        Poll::Pending
    }
}

impl Drop for Deadline {
    fn drop(&mut self) {
        if let Some(queued) = self.slot.queued_at.take() {
            self.owner.queue.borrow_mut().remove(&(queued, self.id));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    struct Count(AtomicUsize);
    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn at(millis: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(millis)
    }

    #[test]
    fn a_deadline_that_moved_later_fires_late_and_once_and_a_dropped_one_never() {
        let deadlines = Rc::new(Deadlines::default());
        let count = Arc::new(Count(AtomicUsize::new(0)));
        let waker = Waker::from(count.clone());
        let context = Context::from_waker(&waker);
        let moved = deadlines.deadline();
        let dropped = deadlines.deadline();
        moved.set(at(10));
        dropped.set(at(10));
        assert!(moved.poll_expired(&context, at(0)).is_pending());
        assert!(dropped.poll_expired(&context, at(0)).is_pending());
        drop(dropped);
        moved.set(at(30));
        deadlines.handle_timeout(at(20));
        assert_eq!(count.0.load(Ordering::Relaxed), 0);
        assert_eq!(deadlines.poll_timeout(), Some(at(30)));
        deadlines.handle_timeout(at(30));
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
        assert!(moved.poll_expired(&context, at(30)).is_ready());
        assert_eq!(deadlines.poll_timeout(), None);
    }

    #[test]
    fn an_earlier_deadline_wakes_the_sleeper() {
        let deadlines = Rc::new(Deadlines::default());
        let count = Arc::new(Count(AtomicUsize::new(0)));
        let waker = Waker::from(count.clone());
        let context = Context::from_waker(&waker);
        let first = deadlines.deadline();
        first.set(at(100));
        assert!(deadlines.poll_changed(&context, Some(at(100))).is_pending());
        let second = deadlines.deadline();
        second.set(at(50));
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
        assert!(deadlines.poll_changed(&context, Some(at(100))).is_ready());
    }
}
