//! What the process says about itself: log lines, metrics, events, accesses.
//!
//! A core writes its own figures and queues its own lines; it waits for nobody who reads them.

pub mod access;
pub mod events;
pub mod lines;
pub mod log;
pub mod metrics;
mod request;

use std::rc::Rc;
use std::sync::Arc;

use crate::guard::Refused;
use crate::runtime;
use access::AccessLog;
use events::{ClusterEvent, Events};
use lines::Lines;
use metrics::Metrics;
use metrics::names::Names;
pub use request::RequestMeter;

/// Who is told what, for all cores.
#[derive(Clone, Debug)]
pub struct Watch {
    /// What the plan's numbers are called.
    pub names: Arc<Names>,
    /// Where events go; `None`: nobody asked for them.
    pub events: Option<Lines>,
    /// Where accesses go; `None`: nobody asked for them.
    pub accesses: Option<Lines>,
}

impl Watch {
    /// The lines that could not be written.
    pub fn lines_dropped(&self) -> u64 {
        let lines = self.events.as_ref().or(self.accesses.as_ref());
        lines.map_or(0, Lines::dropped)
    }

    /// Waits until the lines that were queued are written, a second at most. Not for cores.
    pub fn flush(&self) {
        if let Some(lines) = self.events.as_ref().or(self.accesses.as_ref()) {
            lines.flush();
        }
    }

    /// Events of the calling thread.
    pub fn events(&self) -> Option<Events> {
        let lines = self.events.clone()?;
        Some(Events::new(lines, self.names.clone()))
    }
}

/// One core, watched.
#[derive(Debug)]
pub struct CoreWatch {
    /// What was counted.
    pub metrics: Metrics,
    events: Option<Events>,
    accesses: Option<AccessLog>,
}

impl CoreWatch {
    /// A core on which nothing has happened.
    pub fn new(watch: &Watch) -> Rc<Self> {
        let accesses = watch.accesses.clone();
        Rc::new(Self {
            metrics: Metrics::new(&watch.names),
            events: watch.events(),
            accesses: accesses.map(|lines| AccessLog::new(lines, watch.names.clone())),
        })
    }

    /// A guard lets somebody not in.
    pub fn authorization_failed(&self, guard: usize, refused: Refused) {
        self.metrics.authorizations_failed.increment();
        if let Some(events) = &self.events {
            events.authorization_failed(guard, refused, runtime::unix_now());
        }
    }

    /// A TLS handshake came to nothing.
    pub fn tls_failed(&self, server: usize, kind: &str, reason: &str) {
        self.metrics.tls_handshakes_failed.increment();
        if let Some(events) = &self.events {
            events.tls_failed(server, kind, reason, runtime::unix_now());
        }
    }

    /// Whether accesses are written, and so clients' addresses wanted.
    pub fn writes_accesses(&self) -> bool {
        self.accesses.is_some()
    }
}

/// A cluster of the plan as one core's client of it is watched.
#[derive(Clone, Debug)]
pub struct ClusterWatch {
    core: Rc<CoreWatch>,
    cluster: usize,
}

impl ClusterWatch {
    /// The watch over the cluster with this number.
    pub const fn new(core: Rc<CoreWatch>, cluster: usize) -> Self {
        Self { core, cluster }
    }

    /// The core's figures.
    pub fn metrics(&self) -> &Metrics {
        &self.core.metrics
    }

    /// Tells an event, if anybody wants to hear it.
    pub fn tell(&self, event: ClusterEvent<'_>) {
        if let Some(events) = &self.core.events {
            events.cluster(self.cluster, event, runtime::unix_now());
        }
    }
}
