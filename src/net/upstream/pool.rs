//! The connections to one host and port, and the requests that wait for one.
//!
//! ```text
//!  a request ─▶ waiters ─ dispatch ─▶ a connection with room
//!                  │ grow                     ▲
//!                  └─▶ an attempt ────────────┘ established
//! ```
//! Rule: first come, first served; a connection is begun only while its first waiter is polled, so nothing starts where things are being dropped.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use super::connect::{self, Addresses, Protocol};
use super::http1::{self, Lease};
use super::http2::{self, Http2, Slot};
use super::{Origin, Setup, UpstreamFault};
use crate::runtime::notify::Notify;
use crate::runtime::{self, with_deadline};

/// How long to leave a server alone that takes no further connection, while it has others.
const BACK_OFF: Duration = Duration::from_secs(1);

/// A place for one request.
pub(super) enum Grant {
    Http1(Lease),
    Http2(Slot),
}

type Outcome = Result<Grant, UpstreamFault>;

#[derive(Default)]
struct Waiter {
    outcome: RefCell<Option<Outcome>>,
    notify: Notify,
}

/// The connections to one origin.
pub(super) struct Pool {
    pub(super) origin: Origin,
    pub(super) setup: Rc<Setup>,
    pub(super) addresses: Addresses,
    /// Those that take requests.
    http2: RefCell<Vec<Rc<Http2>>>,
    /// Those without a request; the last one was used last.
    http1: RefCell<Vec<Lease>>,
    /// HTTP/1.1 connections that are about to be without a request.
    pub(super) returning: Cell<usize>,
    /// Attempts, connections, and attempts that have failed and rest.
    places: [Cell<usize>; 3],
    waiters: RefCell<BTreeMap<u64, Rc<Waiter>>>,
    next_waiter: Cell<u64>,
    /// What the last connection spoke.
    protocol: Cell<Option<Protocol>>,
}

#[derive(Clone, Copy)]
enum Stage {
    Attempt,
    Established,
    Resting,
}

/// One of the connections that a pool may have.
pub(super) struct Place {
    pool: Rc<Pool>,
    stage: Stage,
}

impl Place {
    fn new(pool: &Rc<Pool>) -> Self {
        pool.count(Stage::Attempt, 1);
        Self {
            pool: pool.clone(),
            stage: Stage::Attempt,
        }
    }

    fn advance(&mut self, stage: Stage) {
        self.pool.count(self.stage, -1);
        self.stage = stage;
        self.pool.count(stage, 1);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.pool.count(self.stage, -1);
        self.pool.dispatch();
    }
}

impl Pool {
    pub(super) fn new(origin: Origin, setup: Rc<Setup>) -> Rc<Self> {
        Rc::new(Self {
            origin,
            setup,
            addresses: Addresses::default(),
            http2: RefCell::default(),
            http1: RefCell::default(),
            returning: Cell::new(0),
            places: <[Cell<usize>; 3]>::default(),
            waiters: RefCell::default(),
            next_waiter: Cell::new(0),
            protocol: Cell::new(None),
        })
    }

    /// Whether nothing is lost if it is forgotten.
    pub(super) fn is_empty(&self) -> bool {
        self.places() == 0 && self.waiters.borrow().is_empty()
    }

    /// Connections and attempts.
    pub(super) fn places(&self) -> usize {
        self.places.iter().map(Cell::get).sum()
    }

    fn count(&self, stage: Stage, change: isize) {
        let count = &self.places[stage as usize];
        count.set(count.get().saturating_add_signed(change));
    }

    /// A place in the queue; `None`: it is full.
    pub(super) fn enter(self: &Rc<Self>) -> Option<Ticket> {
        let waiter = Rc::new(Waiter::default());
        let number = self.next_waiter.get();
        self.next_waiter.set(number + 1);
        self.waiters.borrow_mut().insert(number, waiter.clone());
        let ticket = Ticket {
            pool: self.clone(),
            number,
            waiter,
        };
        self.dispatch();
        // What can go on at once, and what a connection is yet to be made for, does not count as queued.
        let limits = &self.setup.plan.limits;
        let coming = limits.connections_max.saturating_sub(self.established());
        let queue_len_max = limits.queue_len_max + coming;
        let queue_len = self.waiters.borrow().len();
        (queue_len <= queue_len_max).then_some(ticket)
    }

    fn established(&self) -> usize {
        self.places[Stage::Established as usize].get()
    }

    /// Gives connections with room to those who wait, in order.
    pub(super) fn dispatch(self: &Rc<Self>) {
        loop {
            let first = self.waiters.borrow().first_key_value().map(owned);
            let Some((number, waiter)) = first else {
                return;
            };
            let Some(grant) = self.take() else {
                // It makes a connection if there may be one.
                waiter.notify.notify();
                return;
            };
            self.waiters.borrow_mut().remove(&number);
            *waiter.outcome.borrow_mut() = Some(Ok(grant));
            waiter.notify.notify();
        }
    }

    fn take(&self) -> Option<Grant> {
        let http2 = self.http2.borrow();
        if let Some(found) = http2.iter().find(|connection| connection.has_room()) {
            return Some(Grant::Http2(Slot::new(found)));
        }
        let mut idle = self.http1.borrow_mut();
        while let Some(lease) = idle.pop() {
            if lease.is_open() {
                return Some(Grant::Http1(lease));
            }
        }
        None
    }

    /// Begins as many connections as those who wait need.
    fn grow(self: &Rc<Self>) {
        let limits = &self.setup.plan.limits;
        let each = match self.protocol.get() {
            Some(Protocol::Http1) => 1,
            Some(Protocol::Http2) | None => limits.streams_max.max(1),
        };
        let waiting = self.waiters.borrow().len();
        let needed = waiting.saturating_sub(self.returning.get()).div_ceil(each);
        let attempts = &self.places[Stage::Attempt as usize];
        while attempts.get() < needed && self.places() < limits.connections_max {
            let place = Place::new(self);
            runtime::spawn_contained(attempt(self.clone(), place), || {
                tracing::error!("the task of a connection to a server panicked; the rest goes on");
            });
        }
    }

    /// A connection takes requests from now on.
    pub(super) fn add_http2(self: &Rc<Self>, connection: &Rc<Http2>) {
        self.http2.borrow_mut().push(connection.clone());
        self.dispatch();
    }

    /// A connection takes no more requests.
    pub(super) fn remove_http2(self: &Rc<Self>, connection: &Rc<Http2>) {
        let mut all = self.http2.borrow_mut();
        all.retain(|other| !Rc::ptr_eq(other, connection));
        drop(all);
        self.dispatch();
    }

    /// A connection has no request.
    pub(super) fn add_http1(self: &Rc<Self>, lease: Lease) {
        self.http1.borrow_mut().push(lease);
        self.dispatch();
    }

    /// Takes a connection out that is in no use.
    pub(super) fn remove_http1(&self, is_it: impl Fn(&Lease) -> bool) -> Option<Lease> {
        let mut idle = self.http1.borrow_mut();
        let at = idle.iter().position(is_it)?;
        Some(idle.remove(at))
    }

    /// Closes those without a request: one of them was found closed by the server, and the others are as old.
    pub(super) fn distrust_idle(&self) {
        let idle = self.http1.take();
        drop(idle);
    }

    /// Has every connection look at whether it is to end.
    pub(super) fn drain(&self) {
        for connection in self.http2.borrow().iter() {
            connection.notify.notify();
        }
        for lease in self.http1.borrow().iter() {
            lease.notify();
        }
    }

    /// Tells `fault` to those who wait and came before `end`.
    fn fail(self: &Rc<Self>, fault: &UpstreamFault, end: u64) {
        let mut waiters = self.waiters.borrow_mut();
        let later = waiters.split_off(&end);
        let failed = std::mem::replace(&mut *waiters, later);
        drop(waiters);
        for waiter in failed.into_values() {
            *waiter.outcome.borrow_mut() = Some(Err(fault.clone()));
            waiter.notify.notify();
        }
    }
}

fn owned((number, waiter): (&u64, &Rc<Waiter>)) -> (u64, Rc<Waiter>) {
    (*number, waiter.clone())
}

/// Makes a connection and drives it to its end.
async fn attempt(pool: Rc<Pool>, mut place: Place) {
    let end = pool.next_waiter.get();
    let deadline = pool.setup.deadlines.deadline();
    let until = runtime::now() + pool.setup.plan.limits.connect_timeout;
    let connecting = establish(&pool, until);
    match with_deadline(&deadline, until, connecting).await {
        Ok(Ok(Established::Http1(connection))) => {
            pool.protocol.set(Some(Protocol::Http1));
            place.advance(Stage::Established);
            connection.run(deadline).await;
        }
        Ok(Ok(Established::Http2(connection))) => {
            pool.protocol.set(Some(Protocol::Http2));
            place.advance(Stage::Established);
            connection.run(deadline).await;
        }
        Ok(Err(fault)) => fail(&pool, place, &fault, end).await,
        Err(runtime::Elapsed) => fail(&pool, place, &UpstreamFault::Timeout, end).await,
    }
}

enum Established {
    Http1(Box<http1::Starting>),
    Http2(Box<http2::Starting>),
}

async fn establish(
    pool: &Rc<Pool>,
    until: crate::clock::Instant,
) -> Result<Established, UpstreamFault> {
    let (transport, protocol) = connect::connect(pool, until).await?;
    Ok(match protocol {
        Protocol::Http1 => {
            let starting = http1::Starting::new(pool, transport).await?;
            Established::Http1(Box::new(starting))
        }
        Protocol::Http2 => {
            let starting = http2::Starting::new(pool, transport).await?;
            Established::Http2(Box::new(starting))
        }
    })
}

/// What a failed attempt means for those who wait: the end, unless there are connections that may yet take them.
async fn fail(pool: &Rc<Pool>, mut place: Place, fault: &UpstreamFault, end: u64) {
    let origin = &pool.origin;
    tracing::debug!(host = origin.host, port = origin.port, %fault, "no connection to the server");
    place.advance(Stage::Resting);
    if pool.established() > 0 {
        runtime::sleep(BACK_OFF).await;
    } else if pool.places[Stage::Attempt as usize].get() == 0 {
        pool.fail(fault, end);
    }
}

/// A request's place in the queue, given back when it is dropped.
pub(super) struct Ticket {
    pool: Rc<Pool>,
    number: u64,
    waiter: Rc<Waiter>,
}

impl Ticket {
    /// Ready with a connection, or with the reason why there is none.
    pub(super) fn poll(&self, context: &Context<'_>) -> Poll<Outcome> {
        // Until it is down and the waker is with it.
        while self.waiter.notify.poll_notified(context).is_ready() {}
        if self.waiter.outcome.borrow().is_none() {
            self.pool.grow();
        }
        match self.waiter.outcome.take() {
            Some(outcome) => Poll::Ready(outcome),
            None => Poll::Pending,
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let waited = self.pool.waiters.borrow_mut().remove(&self.number);
        // A connection that was granted and not taken goes to the next.
        drop(self.waiter.outcome.take());
        if waited.is_some() {
            self.pool.dispatch();
        }
    }
}
