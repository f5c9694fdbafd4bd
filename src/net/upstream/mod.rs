//! Requests to other servers: one core's connections of every http client of the plan, HTTP/2 or HTTP/1.1, over TLS or not.
//!
//! ```text
//!  open ─▶ UpstreamStream ─ waits in its ─▶ Pool ─ connect: name, addresses, TLS ─▶ http1 | http2: a task for each connection
//!              ▲                              │                                          │
//!              └──────── a place ─────────────┴◀───────── room again ────────────────────┘
//! ```
//! A stream is polled, never awaited, so that an exchange's own loop can drive it. Rule: nothing waits for ever before the head of an answer, nothing is
//! held without a bound, and whatever a server does ends in an [`UpstreamFault`] of those who asked it.
//!
//! # Bounds
//!
//! Of one http client on one core: [`ORIGINS_MAX`] hosts and ports; the rest is in [`crate::config::ClientLimits`]. An HTTP/2 connection holds 8 MiB of answers that nobody
//! has taken, 1 MiB of them of one stream, and 128 KiB of each request; an HTTP/1.1 connection holds its read buffer (the largest head) and one piece each way.

mod connect;
mod fault;
mod head;
mod http1;
mod http2;
mod io;
mod pool;
mod stream;
#[cfg(test)]
mod tests;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;

use crate::clock::Instant;
use crate::config::{HttpClient, HttpVersions};
use crate::http::{Headers, Method, Scheme};
use crate::runtime::deadline::Deadlines;
use crate::tls::SetupFault;
use crate::tls::client::Client;

pub use fault::UpstreamFault;
use pool::{Pool, Ticket};
pub use stream::UpstreamStream;

/// Hosts and ports that one http client knows at once; requests to further ones are refused while all of those are in use.
pub const ORIGINS_MAX: usize = 256;

/// An http client whose certificates and keys have been looked at; all cores share it.
#[derive(Clone, Debug)]
pub struct Prepared {
    plan: Arc<HttpClient>,
    tls: Option<Arc<Client>>,
}

impl Prepared {
    /// Makes the TLS client of a plan; reads the system's certificates if it trusts them, so it may block.
    ///
    /// # Errors
    ///
    /// Keys and certificates that cannot be used; nobody to trust.
    pub fn new(plan: Arc<HttpClient>) -> Result<Self, SetupFault> {
        let tls = match &plan.tls {
            Some(tls) => {
                let mut tls = (**tls).clone();
                if tls.alpn.is_empty() {
                    tls.alpn = alpn(plan.versions);
                }
                Some(Arc::new(Client::new(&tls)?))
            }
            None => None,
        };
        Ok(Self { plan, tls })
    }
}

/// What to offer when the tls client does not say.
fn alpn(versions: HttpVersions) -> Vec<String> {
    let names: &[&str] = match versions {
        HttpVersions::Both => &["h2", "http/1.1"],
        HttpVersions::Http11 => &["http/1.1"],
        HttpVersions::H2 => &["h2"],
    };
    names.iter().map(ToString::to_string).collect()
}

/// The http clients of one core.
#[derive(Debug)]
pub struct Upstreams {
    all: BTreeMap<usize, Upstream>,
}

impl Upstreams {
    /// Those of a plan.
    pub fn new(clients: &[Prepared], deadlines: &Rc<Deadlines>) -> Self {
        let all = clients
            .iter()
            .map(|client| (client.plan.number, Upstream::new(client, deadlines)));
        Self { all: all.collect() }
    }

    /// The one with this number in the plan.
    pub fn get(&self, number: usize) -> Option<&Upstream> {
        self.all.get(&number)
    }

    /// Closes every connection that has nothing to do, now or later; requests that are under way, and those they ask for, go on.
    pub fn drain(&self) {
        for upstream in self.all.values() {
            upstream.drain();
        }
    }
}

/// What the pools of an http client share.
struct Setup {
    plan: Arc<HttpClient>,
    tls: Option<Arc<Client>>,
    deadlines: Rc<Deadlines>,
    is_draining: Cell<bool>,
}

/// One http client of one core: its connections, by host and port.
#[derive(Clone)]
pub struct Upstream {
    setup: Rc<Setup>,
    pools: Rc<RefCell<BTreeMap<Origin, Rc<Pool>>>>,
}

impl fmt::Debug for Upstream {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Upstream")
            .field("name", &self.setup.plan.name)
            .field("connections", &self.connections())
            .finish_non_exhaustive()
    }
}

/// Where connections go.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Origin {
    host: String,
    port: u16,
}

/// The head of a request.
#[derive(Clone, Debug)]
pub struct UpstreamRequest {
    /// The method; CONNECT is not sent.
    pub method: Method,
    /// What HTTP/2 is told as `:scheme`. Whether the connection is encrypted is the plan's to say.
    pub scheme: Scheme,
    /// Host and port, as `:authority` or `host`.
    pub authority: Bytes,
    /// Path and query, or `*`.
    pub target: Bytes,
    /// The other headers. Those that frame a message or are about a connection are left out; a `content-length` is kept for a body, and must be right.
    pub headers: Headers,
}

impl Upstream {
    /// One without connections.
    pub fn new(client: &Prepared, deadlines: &Rc<Deadlines>) -> Self {
        Self {
            setup: Rc::new(Setup {
                plan: client.plan.clone(),
                tls: client.tls.clone(),
                deadlines: deadlines.clone(),
                is_draining: Cell::new(false),
            }),
            pools: Rc::default(),
        }
    }

    /// Begins a request; it goes out as the stream is polled. `has_body`: pieces follow, and [`UpstreamStream::finish`]. `until`: when the head must be there.
    ///
    /// Never fails at once: faults come out of the stream.
    pub fn open(
        &self,
        mut request: UpstreamRequest,
        has_body: bool,
        until: Instant,
    ) -> UpstreamStream {
        head::override_with(&mut request, &self.setup.plan.overrides);
        UpstreamStream::new(self, request, has_body, until)
    }

    /// Connections that are there or being made.
    pub fn connections(&self) -> usize {
        let pools = self.pools.borrow();
        pools.values().map(|pool| pool.places()).sum()
    }

    fn setup(&self) -> &Setup {
        &self.setup
    }

    /// Puts a request into the queue of its origin.
    fn enter(&self, request: &UpstreamRequest) -> Result<Ticket, UpstreamFault> {
        let origin = head::origin(request, &self.setup.plan).ok_or(UpstreamFault::Unsendable)?;
        let pool = self.pool(origin).ok_or(UpstreamFault::Busy)?;
        pool.enter().ok_or(UpstreamFault::Busy)
    }

    fn pool(&self, origin: Origin) -> Option<Rc<Pool>> {
        let mut pools = self.pools.borrow_mut();
        if let Some(pool) = pools.get(&origin) {
            return Some(pool.clone());
        }
        if pools.len() >= ORIGINS_MAX {
            pools.retain(|_, pool| !pool.is_empty());
        }
        if pools.len() >= ORIGINS_MAX {
            return None;
        }
        let pool = Pool::new(origin.clone(), self.setup.clone());
        pools.insert(origin, pool.clone());
        Some(pool)
    }

    fn drain(&self) {
        self.setup.is_draining.set(true);
        for pool in self.pools.borrow().values() {
            pool.drain();
        }
    }
}
