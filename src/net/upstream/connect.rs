//! The way to a server: its name, its addresses one after the other, TLS, and which version of HTTP is spoken then.
//!
//! Rule: no timer of its own; the caller has the deadline for all of it, and each address gets its share of what is left.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use super::pool::Pool;
use super::{Setup, UpstreamFault};
use crate::clock::Instant;
use crate::config::HttpVersions;
use crate::net::tls;
use crate::net::transport::Transport;
use crate::runtime;
use crate::runtime::net;

/// How long addresses are used before the resolver is asked anew.
const ADDRESSES_KEPT: Duration = Duration::from_secs(5);
/// Addresses that are tried, and kept, of one name.
const ADDRESSES_MAX: usize = 16;
/// The least that an address gets of the time that is left.
const SHARE_MIN: Duration = Duration::from_millis(1);

/// What is spoken on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Http1,
    Http2,
}

/// The addresses of a host as they were last resolved.
#[derive(Debug, Default)]
pub(super) struct Addresses {
    found: RefCell<Rc<[SocketAddr]>>,
    found_at: Cell<Instant>,
    /// Which one is tried first by the next connection.
    first: Cell<usize>,
}

impl Addresses {
    /// Does without those that just failed where others did not, until the resolver is asked anew: one that only costs time costs it once.
    fn leave_out(&self, failed: &[SocketAddr]) {
        if failed.is_empty() {
            return;
        }
        let mut found = self.found.borrow_mut();
        let left = found.iter().filter(|address| !failed.contains(address));
        *found = left.copied().collect();
    }

    #[cfg(test)]
    pub(super) fn found(&self) -> Rc<[SocketAddr]> {
        self.found.borrow().clone()
    }

    /// As from a resolver.
    #[cfg(test)]
    pub(super) fn keep(&self, found: &[SocketAddr], now: Instant) {
        *self.found.borrow_mut() = found.into();
        self.found_at.set(now);
    }

    fn forget(&self) {
        *self.found.borrow_mut() = Rc::default();
    }

    async fn resolve(&self, host: &str, port: u16) -> io::Result<Rc<[SocketAddr]>> {
        let kept = self.found.borrow().clone();
        if !kept.is_empty() && runtime::now() < self.found_at.get() + ADDRESSES_KEPT {
            return Ok(kept);
        }
        let mut found = net::resolve(host, port).await?;
        found.truncate(ADDRESSES_MAX);
        let found: Rc<[SocketAddr]> = found.into();
        *self.found.borrow_mut() = found.clone();
        self.found_at.set(runtime::now());
        Ok(found)
    }

    /// The place of the first to try of so many.
    fn rotate(&self, count: usize) -> usize {
        let first = self.first.get() % count.max(1);
        self.first.set(first + 1);
        first
    }
}

/// Connects to the pool's server, until `until` at most.
pub(super) async fn connect(
    pool: &Pool,
    until: Instant,
) -> Result<(Transport, Protocol), UpstreamFault> {
    let origin = &pool.origin;
    let addresses = &pool.addresses;
    let found = addresses.resolve(&origin.host, origin.port).await;
    let found = found.map_err(|error| UpstreamFault::Resolve(Rc::new(error)))?;
    let first = addresses.rotate(found.len());
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    let mut failed = Vec::new();
    for tried in 0..found.len() {
        let left = until.saturating_duration_since(runtime::now());
        let others = u32::try_from(found.len() - tried).unwrap_or(u32::MAX);
        let share = (left / others).max(SHARE_MIN);
        let address = found[(first + tried) % found.len()];
        match net::connect(address, share).await {
            Ok(stream) => {
                addresses.leave_out(&failed);
                // A socket that is gone already says so when it is used.
                let _ = net::keep_alive(&stream);
                return secure(&pool.setup, &origin.host, stream).await;
            }
            Err(error) => {
                failed.push(address);
                last = error;
            }
        }
    }
    addresses.forget();
    if last.kind() == io::ErrorKind::TimedOut {
        return Err(UpstreamFault::Timeout);
    }
    Err(UpstreamFault::Connect(Rc::new(last)))
}

async fn secure(
    setup: &Setup,
    host: &str,
    stream: net::Stream,
) -> Result<(Transport, Protocol), UpstreamFault> {
    let versions = setup.plan.versions;
    let Some(client) = &setup.tls else {
        let protocol = match versions {
            HttpVersions::H2 => Protocol::Http2,
            HttpVersions::Both | HttpVersions::Http11 => Protocol::Http1,
        };
        return Ok((Transport::Plain(stream), protocol));
    };
    let secured = tls::connect_on(client, host, stream).await;
    let (secured, alpn) = secured.map_err(|fault| UpstreamFault::Tls(Rc::new(fault)))?;
    let protocol = match (alpn.as_deref(), versions) {
        (Some("h2"), _) | (None, HttpVersions::H2) => Protocol::Http2,
        (Some(_) | None, _) => Protocol::Http1,
    };
    Ok((Transport::Tls(Box::new(secured)), protocol))
}
