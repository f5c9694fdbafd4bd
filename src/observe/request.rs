//! One request from its head to the end of its answer, for metrics, events and the access log.
//!
//! Rule: however a request ends, it is counted once and no longer active: [`RequestMeter::finish`] says how, dropping says that it broke off.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use super::CoreWatch;
use super::access::{Answered, Asked};
use crate::clock::Instant;
use crate::http::{Method, RequestHead};
use crate::runtime;

/// A request that is under way.
#[derive(Debug)]
pub struct RequestMeter {
    watch: Rc<CoreWatch>,
    server: usize,
    route: Option<usize>,
    method: Method,
    status: u16,
    began: Instant,
    received: u64,
    sent: u64,
    asked: Option<Box<Asked>>,
    is_over: bool,
}

impl RequestMeter {
    /// A request to the http server with this number, from `client` if its address is known.
    pub fn begin(
        watch: &Rc<CoreWatch>,
        server: usize,
        head: &RequestHead,
        client: Option<SocketAddr>,
        now: Instant,
    ) -> Self {
        if let Some(events) = &watch.events {
            events.request_accepted(server, head, runtime::unix_now());
        }
        watch.metrics.request_began(server);
        let is_logged = watch.accesses.is_some();
        Self {
            watch: watch.clone(),
            server,
            route: None,
            method: head.method,
            status: 0,
            began: now,
            received: 0,
            sent: 0,
            asked: is_logged.then(|| Box::new(Asked::new(client, head))),
            is_over: false,
        }
    }

    /// It takes the route with this number.
    pub const fn set_route(&mut self, route: usize) {
        self.route = Some(route);
    }

    /// Bytes of its body have come.
    pub const fn handle_received(&mut self, bytes: usize) {
        self.received += bytes as u64;
    }

    /// The head of its answer is written.
    pub const fn handle_answer(&mut self, status: u16) {
        self.status = status;
    }

    /// Bytes of the answer's body are written.
    pub const fn handle_sent(&mut self, bytes: usize) {
        // An answer to HEAD says how long its body would be, and has none.
        if !matches!(self.method, Method::Head) {
            self.sent += bytes as u64;
        }
    }

    /// The answer is whole.
    pub fn finish(mut self, now: Instant) {
        self.end(self.status, now.saturating_duration_since(self.began));
    }

    fn end(&mut self, status: u16, took: Duration) {
        self.is_over = true;
        let answered = Answered {
            server: self.server,
            route: self.route,
            status,
            sent: self.sent,
            took,
        };
        self.watch
            .metrics
            .request_ended(self.method, self.received, &answered);
        if let (Some(accesses), Some(asked)) = (&self.watch.accesses, &self.asked) {
            accesses.write(asked, &answered, runtime::unix_now());
        }
    }
}

impl Drop for RequestMeter {
    fn drop(&mut self) {
        if !self.is_over {
            let took = runtime::now().saturating_duration_since(self.began);
            self.end(0, took);
        }
    }
}
