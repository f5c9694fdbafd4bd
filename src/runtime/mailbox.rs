//! What crosses between cores: per core two bounded lock-free queues, many producers, one consumer.
//!
//! *Control* holds what must not be refused (sized for the credits outstanding); *data* may be refused, and its sender has a defined answer.
//! Rule: sending never blocks, and a sleeping core is rung exactly once for what piled up.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use std::task::{Context, Poll};

use atomic_waker::AtomicWaker;
use crossbeam::queue::ArrayQueue;

/// The two queues of one core.
#[derive(Debug)]
pub struct Mailbox<M> {
    control: ArrayQueue<M>,
    data: ArrayQueue<M>,
    waker: AtomicWaker,
    parked: AtomicBool,
    wakeups: AtomicU64,
}

impl<M> Mailbox<M> {
    /// A mailbox that holds at most `control_max` control and `data_max` data messages.
    pub fn new(control_max: usize, data_max: usize) -> Self {
        Self {
            control: ArrayQueue::new(control_max),
            data: ArrayQueue::new(data_max),
            waker: AtomicWaker::new(),
            parked: AtomicBool::new(false),
            wakeups: AtomicU64::new(0),
        }
    }

    /// Sends a message whose room was reserved beforehand.
    ///
    /// # Panics
    ///
    /// When the queue is full: the sender held no credit, which is a defect of ours.
    pub fn send_control(&self, message: M) {
        assert!(
            self.control.push(message).is_ok(),
            "control messages are sent within their credits"
        );
        self.ring();
    }

    /// Sends a message that may be refused.
    ///
    /// # Errors
    ///
    /// Gives the message back when the queue is full; nothing was sent.
    pub fn send_data(&self, message: M) -> Result<(), M> {
        self.data.push(message)?;
        self.ring();
        Ok(())
    }

    /// The next message, control first.
    pub fn take(&self) -> Option<M> {
        self.control.pop().or_else(|| self.data.pop())
    }

    /// Waits for a message: announces the sleep, then looks once more, so that no sender is missed between the two.
    pub fn poll_take(&self, context: &Context<'_>) -> Poll<M> {
        if let Some(message) = self.take() {
            return Poll::Ready(message);
        }
        self.waker.register(context.waker());
        self.parked.store(true, Ordering::Release);
        fence(Ordering::SeqCst);
        match self.take() {
            Some(message) => {
                self.parked.store(false, Ordering::Relaxed);
                Poll::Ready(message)
            }
            None => Poll::Pending,
        }
    }

    /// Messages waiting, both queues.
    pub fn len(&self) -> usize {
        self.control.len() + self.data.len()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.control.is_empty() && self.data.is_empty()
    }

    /// How often a sender had to ring this core since the start.
    pub fn wakeups(&self) -> u64 {
        self.wakeups.load(Ordering::Relaxed)
    }

    fn ring(&self) {
        // Pairs with the fence in `poll_take`: either we see it parked, or it sees our message.
        fence(Ordering::SeqCst);
        if self.parked.load(Ordering::Relaxed) && self.parked.swap(false, Ordering::AcqRel) {
            self.wakeups.fetch_add(1, Ordering::Relaxed);
            self.waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn control_comes_before_data_and_a_full_data_queue_gives_the_message_back() {
        let mailbox = Mailbox::new(2, 1);
        assert_eq!(mailbox.send_data(1), Ok(()));
        assert_eq!(mailbox.send_data(2), Err(2));
        mailbox.send_control(3);
        assert_eq!(
            [mailbox.take(), mailbox.take(), mailbox.take()],
            [Some(3), Some(1), None]
        );
    }

    #[test]
    #[should_panic(expected = "within their credits")]
    fn control_beyond_its_credits_is_a_defect() {
        let mailbox = Mailbox::new(1, 1);
        mailbox.send_control(1);
        mailbox.send_control(2);
    }

    #[test]
    fn no_message_of_four_senders_is_lost_while_the_receiver_sleeps_and_wakes() {
        const EACH: u64 = 20_000;
        let mailbox = Arc::new(Mailbox::new(1, 64));
        let total = std::thread::scope(|scope| {
            for _ in 0..4 {
                let mailbox = mailbox.clone();
                scope.spawn(move || {
                    for number in 1..=EACH {
                        let mut message = number;
                        while let Err(refused) = mailbox.send_data(message) {
                            message = refused;
                            std::thread::yield_now();
                        }
                    }
                });
            }
            futures_lite::future::block_on(async {
                let mut total = 0;
                for _ in 0..4 * EACH {
                    total += std::future::poll_fn(|context| mailbox.poll_take(context)).await;
                }
                total
            })
        });
        assert_eq!(total, 4 * EACH * (EACH + 1) / 2);
        assert!(mailbox.is_empty());
    }
}
