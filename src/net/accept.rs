//! Accepts connections of one listener on one core, and starts a task for each.

use std::rc::Rc;
use std::sync::Arc;

use super::http1;
use super::service::{Entry, Service};
use crate::config::{HttpLimits, HttpServer, Listener as ListenerPlan, ListenerExit};
use crate::http::h1;
use crate::runtime::net::{Listener, Stream};
use crate::runtime::{self};

/// Accepts for ever. `number` is the listener's place in the plan, `port` the port as configured, which the plan's routes speak of.
pub async fn run(
    listener: Listener,
    plan: ListenerPlan,
    (number, port): (usize, u16),
    service: Rc<Service>,
) {
    let limits: Vec<(Arc<HttpServer>, Rc<h1::Limits>)> = plan
        .routes
        .iter()
        .filter_map(|route| match &route.exit {
            ListenerExit::Http(server) => {
                Some((server.clone(), Rc::new(limits_of(&server.limits))))
            }
            ListenerExit::Tls(_) | ListenerExit::Echo(_) => None,
        })
        .collect();
    loop {
        let stream = listener.accept().await;
        let Ok(local) = stream.local_addr() else {
            continue;
        };
        let Some(ListenerExit::Http(server)) = plan.route(local.ip(), port) else {
            continue;
        };
        let Some((server, limits)) = limits.iter().find(|(known, _)| Arc::ptr_eq(known, server))
        else {
            continue;
        };
        if let Some(entry) = service.enter(number) {
            start(stream, server.clone(), limits.clone(), entry);
        }
    }
}

fn start(stream: Stream, server: Arc<HttpServer>, limits: Rc<h1::Limits>, entry: Entry) {
    let service = entry.service.clone();
    runtime::spawn_contained(http1::serve(stream, server, limits, entry), move || {
        service.watch.metrics.panics.increment();
        tracing::error!("a connection's task panicked; the connection is closed, the rest goes on");
    });
}

fn limits_of(limits: &HttpLimits) -> h1::Limits {
    h1::Limits {
        head_bytes_max: limits.head_bytes_max,
        headers_max: limits.headers_max.min(128),
        body_bytes_max: limits.body_bytes_max as u64,
        pipeline_max: limits.pipeline_max,
        header_timeout: limits.header_timeout,
        idle_timeout: limits.idle_timeout,
        body_timeout: limits.body_timeout,
        write_timeout: limits.write_timeout,
        ..h1::Limits::default()
    }
}
