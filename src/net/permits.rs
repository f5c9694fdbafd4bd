//! A few places for what many may want at once: whoever comes first gets one first.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use crate::runtime::notify::Notify;

/// Places for one core.
#[derive(Debug)]
pub(super) struct Permits {
    free: Cell<usize>,
    waiting: RefCell<VecDeque<Rc<Notify>>>,
}

/// A place, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Permit {
    permits: Rc<Permits>,
}

impl Permits {
    pub(super) fn new(count: usize) -> Rc<Self> {
        Rc::new(Self {
            free: Cell::new(count),
            waiting: RefCell::default(),
        })
    }

    /// Waits for a place.
    pub(super) async fn take(self: &Rc<Self>) -> Permit {
        if self.free.get() > 0 && self.waiting.borrow().is_empty() {
            self.free.set(self.free.get() - 1);
        } else {
            let turn = Turn {
                permits: self,
                notify: Rc::new(Notify::default()),
                is_taken: Cell::new(false),
            };
            self.waiting.borrow_mut().push_back(turn.notify.clone());
            turn.notify.notified().await;
            turn.is_taken.set(true);
        }
        Permit {
            permits: self.clone(),
        }
    }

    /// Hands a place to whoever has waited longest, or keeps it.
    fn give(&self) {
        match self.waiting.borrow_mut().pop_front() {
            Some(next) => next.notify(),
            None => self.free.set(self.free.get() + 1),
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.permits.give();
    }
}

/// One who waits. Dropped before he took the place that was handed to him, he hands it on.
struct Turn<'p> {
    permits: &'p Permits,
    notify: Rc<Notify>,
    is_taken: Cell<bool>,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if self.is_taken.get() {
            return;
        }
        let mut waiting = self.permits.waiting.borrow_mut();
        let before = waiting.len();
        waiting.retain(|other| !Rc::ptr_eq(other, &self.notify));
        let was_handed = waiting.len() == before;
        drop(waiting);
        if was_handed {
            self.permits.give();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    #[test]
    fn places_go_round_in_order_and_none_is_lost_with_one_who_leaves() {
        let context = &mut Context::from_waker(Waker::noop());
        let permits = Permits::new(1);
        let Poll::Ready(first) = pin!(permits.take()).poll(context) else {
            panic!("one is free");
        };
        let mut leaver = Box::pin(permits.take());
        let mut handed = Box::pin(permits.take());
        let mut last = pin!(permits.take());
        assert!(leaver.as_mut().poll(context).is_pending());
        assert!(handed.as_mut().poll(context).is_pending());
        assert!(last.as_mut().poll(context).is_pending());
        drop(leaver);
        drop(first);
        // It was the second's, who leaves without having looked.
        drop(handed);
        let Poll::Ready(permit) = last.as_mut().poll(context) else {
            panic!("it was handed on");
        };
        drop(permit);
        assert_eq!(permits.free.get(), 1);
        assert!(permits.waiting.borrow().is_empty());
    }
}
