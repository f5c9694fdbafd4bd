//! What all HTTP connections of a core share: clients and topics, the clock's date, bounds and figures.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

pub use super::door::Server;
use super::feeds::Feeds;
use super::upstream::Upstreams;
use crate::clock::Instant;
use crate::guard::Guards;
use crate::http::date::{DATE_LEN, imf_fixdate};
use crate::kafka::client::Client;
use crate::kafka::replies::Replies;
use crate::kafka::topics::Topics;
use crate::observe::CoreWatch;
use crate::runtime::deadline::Deadlines;
use crate::runtime::notify::Notify;
use crate::runtime::{self};
use crate::tls;

/// Bytes read from a socket at once.
const READ_BYTES: usize = 64 << 10;
/// Connections of one core; beyond, new ones are closed at once.
pub const CONNECTIONS_MAX: usize = 50_000;
/// Bytes of request bodies under way on one core; beyond, 503.
pub const BODY_BYTES_MAX: u64 = 128 << 20;
/// How long a date is good for. Clients see it a little old at most.
const DATE_AGE_MAX: Duration = Duration::from_millis(200);

/// The tls servers of the plan, by their numbers.
pub type TlsServers = BTreeMap<usize, Arc<tls::server::Server>>;

/// What a [`Service`] is made of.
pub struct ServiceParts {
    /// The core's timer.
    pub deadlines: Rc<Deadlines>,
    /// The client of each cluster of the plan.
    pub clients: Vec<Client>,
    /// The cached topics of each cluster of the plan.
    pub topics: Vec<Topics>,
    /// The replies of each cluster of the plan.
    pub replies: Vec<Replies>,
    /// The http servers of the plan, by their numbers.
    pub servers: BTreeMap<usize, Rc<Server>>,
    /// The tls servers of the plan; others come in their place when their keys are read anew.
    pub tls: Rc<RefCell<Arc<TlsServers>>>,
    /// The http clients of the plan.
    pub upstreams: Rc<Upstreams>,
    /// The guards of the plan.
    pub guards: Rc<Guards>,
    /// Asks for the keys of a guard anew.
    pub refresh_keys: Box<dyn Fn(usize)>,
    /// What is counted and told.
    pub watch: Rc<CoreWatch>,
}

impl fmt::Debug for ServiceParts {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ServiceParts")
            .finish_non_exhaustive()
    }
}

/// The core as its HTTP connections see it.
pub struct Service {
    /// The core's timer.
    pub deadlines: Rc<Deadlines>,
    /// The client of each cluster of the plan.
    pub clients: Vec<Client>,
    /// The cached topics of each cluster of the plan.
    pub topics: Vec<Topics>,
    /// The replies of each cluster of the plan.
    pub replies: Vec<Replies>,
    /// The http servers of the plan, by their numbers.
    pub servers: BTreeMap<usize, Rc<Server>>,
    /// The tls servers of the plan; others come in their place when their keys are read anew.
    pub tls: Rc<RefCell<Arc<TlsServers>>>,
    /// The http clients of the plan.
    pub upstreams: Rc<Upstreams>,
    /// The guards of the plan.
    pub guards: Rc<Guards>,
    /// Asks for the keys of a guard anew.
    refresh_keys: Box<dyn Fn(usize)>,
    /// The topics that event streams follow.
    pub(super) feeds: Rc<Feeds>,
    /// What is counted and told.
    pub watch: Rc<CoreWatch>,
    scratch: RefCell<Vec<u8>>,
    date: Cell<([u8; DATE_LEN], Instant)>,
    draining: Cell<bool>,
    connections: RefCell<BTreeMap<u64, Rc<Notify>>>,
    next_connection: Cell<u64>,
    emptied: Notify,
}

impl fmt::Debug for Service {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Service").finish_non_exhaustive()
    }
}

impl Service {
    /// A core without connections.
    pub fn new(parts: ServiceParts) -> Rc<Self> {
        Rc::new(Self {
            deadlines: parts.deadlines,
            clients: parts.clients,
            topics: parts.topics,
            replies: parts.replies,
            servers: parts.servers,
            tls: parts.tls,
            upstreams: parts.upstreams,
            guards: parts.guards,
            refresh_keys: parts.refresh_keys,
            feeds: Feeds::new(parts.watch.clone()),
            watch: parts.watch,
            scratch: RefCell::new(vec![0; READ_BYTES]),
            date: Cell::new((imf_fixdate(runtime::unix_now()), runtime::now())),
            draining: Cell::new(false),
            connections: RefCell::default(),
            next_connection: Cell::new(0),
            emptied: Notify::default(),
        })
    }

    /// Asks the issuer of a guard for its keys, earlier than it is its turn.
    pub(super) fn refresh_keys(&self, guard: usize) {
        (self.refresh_keys)(guard);
    }

    /// The buffer that sockets are read into; used within one poll only.
    pub(super) fn scratch(&self) -> std::cell::RefMut<'_, Vec<u8>> {
        self.scratch.borrow_mut()
    }

    /// The `date` header's value.
    pub(super) fn date(&self, now: Instant) -> [u8; DATE_LEN] {
        let (date, made) = self.date.get();
        if now.saturating_duration_since(made) < DATE_AGE_MAX {
            return date;
        }
        let date = imf_fixdate(runtime::unix_now());
        self.date.set((date, now));
        date
    }

    /// Takes room for body bytes; false when there is none.
    fn charge_body(&self, bytes: usize) -> bool {
        let under_way = &self.watch.metrics.body_bytes;
        if under_way.value() + bytes as u64 > BODY_BYTES_MAX {
            return false;
        }
        under_way.add(bytes as u64);
        true
    }

    /// Gives room for body bytes back.
    fn release_body(&self, bytes: usize) {
        self.watch.metrics.body_bytes.subtract(bytes as u64);
    }

    /// Enters a connection to the tcp server with this number; `None` when there are too many.
    pub(super) fn enter(self: &Rc<Self>, listener: usize) -> Option<Entry> {
        let metrics = &self.watch.metrics;
        if self.connections.borrow().len() >= CONNECTIONS_MAX {
            metrics.connections_refused.increment();
            return None;
        }
        metrics.connections_accepted.increment();
        metrics.connections.add(1);
        metrics.connection_opened(listener);
        let id = self.next_connection.get();
        self.next_connection.set(id + 1);
        let notify = Rc::new(Notify::default());
        self.connections.borrow_mut().insert(id, notify.clone());
        Some(Entry {
            service: self.clone(),
            id,
            notify,
            listener,
            is_broken: Cell::new(false),
        })
    }

    /// Whether connections are to end after what is in flight.
    pub fn is_draining(&self) -> bool {
        self.draining.get()
    }

    /// Tells every connection to end after what is in flight.
    pub fn drain(&self) {
        self.draining.set(true);
        for notify in self.connections.borrow().values() {
            notify.notify();
        }
    }

    /// Connections that are open.
    pub fn connections_open(&self) -> usize {
        self.connections.borrow().len()
    }

    /// Waits until no connection is open.
    pub async fn emptied(&self) {
        while self.connections_open() > 0 {
            self.emptied.notified().await;
        }
    }
}

/// Room for the bytes of one body, given back when it is dropped.
#[derive(Debug, Default)]
pub(super) struct BodyCharge {
    service: Option<Rc<Service>>,
    bytes: usize,
}

impl BodyCharge {
    /// Takes room for more bytes; false when there is none.
    pub(super) fn add(&mut self, service: &Rc<Service>, bytes: usize) -> bool {
        let has_room = service.charge_body(bytes);
        if has_room {
            self.service.get_or_insert_with(|| service.clone());
            self.bytes += bytes;
        }
        has_room
    }
}

impl BodyCharge {
    /// Takes room for so many bytes in all, or gives some back; false when there is none for more.
    pub(super) fn set(&mut self, service: &Rc<Service>, bytes: usize) -> bool {
        if bytes > self.bytes {
            return self.add(service, bytes - self.bytes);
        }
        service.release_body(self.bytes - bytes);
        self.bytes = bytes;
        true
    }
}

impl Drop for BodyCharge {
    fn drop(&mut self) {
        if let Some(service) = &self.service {
            service.release_body(self.bytes);
        }
    }
}

/// A connection's place in its service, given back when it ends.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) service: Rc<Service>,
    id: u64,
    pub(super) notify: Rc<Notify>,
    listener: usize,
    is_broken: Cell<bool>,
}

impl Entry {
    /// Bytes went over the connection.
    pub(super) fn handle_moved(&self, received: usize, sent: usize) {
        let metrics = &self.service.watch.metrics;
        metrics.connection_moved(self.listener, received, sent);
    }

    /// Waits until the process is ending. For a connection whose notifications nobody else takes.
    pub(super) async fn drained(&self) {
        while !self.service.is_draining() {
            self.notify.notified().await;
        }
    }

    /// The connection does not end in order.
    pub(super) fn handle_broken(&self) {
        self.is_broken.set(true);
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let metrics = &self.service.watch.metrics;
        metrics.connections.subtract(1);
        metrics.connection_closed(self.listener, !self.is_broken.get());
        self.service.connections.borrow_mut().remove(&self.id);
        if self.service.is_draining() {
            self.service.emptied.notify();
        }
    }
}
