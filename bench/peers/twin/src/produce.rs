//! The producer: librdkafka, its delivery reports served on the runtime's own thread.
//!
//! librdkafka writes a byte into a pipe when its report queue goes from empty to not empty; the runtime then takes all reports there are, and each wakes a task
//! of the same thread. Tried beside it and never cheaper: `FutureProducer` (a channel, and a wake from another thread, for each delivery), and a polling
//! thread that hands over whole batches. One request in flight lets the next batch grow meanwhile, which is cheaper than five and as fast.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use rdkafka::bindings::{rd_kafka_queue_get_main, rd_kafka_queue_io_event_enable};
use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, FromClientConfigAndContext};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext};
use tokio::net::unix::pipe;

thread_local! {
    /// Who waits for which delivery; the index travels through librdkafka. All on one thread: reports are only taken in [`Producer::serve`].
    static WAITERS: RefCell<Waiters> = RefCell::default();
    static REPORTED: Cell<u64> = const { Cell::new(0) };
}

#[derive(Default)]
struct Waiters {
    slots: Vec<Slot>,
    free: Vec<usize>,
}

enum Slot {
    Free,
    Waiting(Option<Waker>),
    /// Its request is gone; the report frees it.
    Abandoned,
    Delivered(bool),
}

impl Waiters {
    fn add(&mut self) -> usize {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::Free);
            self.slots.len() - 1
        });
        self.slots[index] = Slot::Waiting(None);
        index
    }

    fn remove(&mut self, index: usize) {
        self.slots[index] = Slot::Free;
        self.free.push(index);
    }

    fn handle_report(&mut self, index: usize, stored: bool) -> Option<Waker> {
        match std::mem::replace(&mut self.slots[index], Slot::Delivered(stored)) {
            Slot::Waiting(waker) => waker,
            _ => {
                self.remove(index);
                None
            }
        }
    }

    fn poll_report(&mut self, index: usize, context: &Context<'_>) -> Poll<bool> {
        match &mut self.slots[index] {
            Slot::Delivered(stored) => Poll::Ready(*stored),
            slot => {
                *slot = Slot::Waiting(Some(context.waker().clone()));
                Poll::Pending
            }
        }
    }
}

/// A request's place among the waiters.
struct Ticket(usize);

impl Drop for Ticket {
    fn drop(&mut self) {
        WAITERS.with_borrow_mut(|waiters| match waiters.slots[self.0] {
            Slot::Waiting(_) => waiters.slots[self.0] = Slot::Abandoned,
            _ => waiters.remove(self.0),
        });
    }
}

struct Reports;

impl ClientContext for Reports {}

impl ProducerContext for Reports {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, index: usize) {
        REPORTED.set(REPORTED.get() + 1);
        if let Some(waker) =
            WAITERS.with_borrow_mut(|waiters| waiters.handle_report(index, result.is_ok()))
        {
            waker.wake();
        }
    }
}

/// Writes to one topic.
pub struct Producer {
    inner: BaseProducer<Reports>,
    topic: String,
    _wake: pipe::Sender,
}

impl Producer {
    /// Connects, and serves delivery reports from now on. To be called on the runtime's thread.
    pub fn start(
        bootstrap: &str,
        topic: &str,
        settings: &[(String, String)],
    ) -> Result<Arc<Self>, Box<dyn std::error::Error>> {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", bootstrap)
            .set("acks", "all")
            .set("enable.idempotence", "true")
            .set("linger.ms", "0")
            .set("max.in.flight.requests.per.connection", "1")
            .set("socket.nagle.disable", "true");
        for (name, value) in settings {
            config.set(name, value);
        }
        let inner: BaseProducer<Reports> = BaseProducer::from_config_and_context(&config, Reports)?;
        let (wake, woken) = pipe::pipe()?;
        // SAFETY: the client lives as long as the pipe's ends, both in `Producer` or in the task below that holds it; the payload is static.
        unsafe {
            let queue = rd_kafka_queue_get_main(inner.client().native_ptr());
            rd_kafka_queue_io_event_enable(queue, wake.as_raw_fd(), b"1".as_ptr().cast(), 1);
        }
        let producer = Arc::new(Self {
            inner,
            topic: topic.to_owned(),
            _wake: wake,
        });
        tokio::spawn(producer.clone().serve(woken));
        Ok(producer)
    }

    async fn serve(self: Arc<Self>, woken: pipe::Receiver) {
        let mut bytes = [0; 256];
        loop {
            if woken.readable().await.is_err() {
                return;
            }
            let _ = woken.try_read(&mut bytes);
            let mut before = u64::MAX;
            while before != REPORTED.get() {
                before = REPORTED.get();
                self.inner.poll(Duration::ZERO);
            }
        }
    }

    /// Stores one record without a key; says whether the broker has it.
    pub async fn store(&self, value: &[u8]) -> bool {
        let ticket = Ticket(WAITERS.with_borrow_mut(Waiters::add));
        let record =
            BaseRecord::<(), [u8], usize>::with_opaque_to(&self.topic, ticket.0).payload(value);
        if self.inner.send(record).is_err() {
            WAITERS.with_borrow_mut(|waiters| waiters.slots[ticket.0] = Slot::Delivered(false));
            return false;
        }
        poll_fn(|context| WAITERS.with_borrow_mut(|waiters| waiters.poll_report(ticket.0, context)))
            .await
    }
}
