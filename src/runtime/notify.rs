//! A flag that one task of a core waits for and any of its other tasks may raise.

use std::cell::{Cell, RefCell};
use std::task::{Context, Poll, Waker};

/// Raised once or many times before it is seen, it is seen once.
#[derive(Debug, Default)]
pub struct Notify {
    raised: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Notify {
    /// Raises the flag and wakes the waiter.
    pub fn notify(&self) {
        self.raised.set(true);
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }

    /// Lowers the flag if it is raised; else the task is woken when it is.
    pub fn poll_notified(&self, context: &Context<'_>) -> Poll<()> {
        if self.raised.take() {
            return Poll::Ready(());
        }
        let mut waker = self.waker.borrow_mut();
        if !waker
            .as_ref()
            .is_some_and(|waker| waker.will_wake(context.waker()))
        {
            *waker = Some(context.waker().clone());
        }
        Poll::Pending
    }

    /// Waits until the flag is raised, and lowers it.
    pub async fn notified(&self) {
        std::future::poll_fn(|context| self.poll_notified(context)).await;
    }
}
