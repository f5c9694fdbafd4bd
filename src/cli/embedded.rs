//! The embedded broker of `sluice start`.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use super::StartArguments;
use super::start::cached_topics;
use crate::config::Plan;
use crate::embedded::{Broker, Config};
use crate::gateway;

/// Starts the broker where the arguments say.
///
/// # Errors
///
/// When its port is taken or its directory cannot be used.
pub(super) fn start(arguments: &StartArguments) -> io::Result<Broker> {
    let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, arguments.embedded_port));
    Broker::start(Config {
        listen,
        dir: arguments.embedded_dir.clone(),
        ..Config::default()
    })
}

/// Creates what the plan reads by key, and the topics that replies come in. On a real cluster that is the operator's to do; here nobody else will.
pub(super) fn create_missing_topics(broker: &Broker, plan: &Plan) {
    for topic in cached_topics(plan) {
        // It is there already when the broker has a directory from an earlier run.
        let _ = broker.create_topic(&topic, 1, &[("cleanup.policy", "compact")]);
    }
    for (_, topic) in gateway::reply_topics(plan) {
        let _ = broker.create_topic(&topic, 1, &[]);
    }
}
