//! `sluice start`.

use std::process::ExitCode;
use std::sync::Arc;

use super::{
    EXIT_CONFIG, Loaded, SERVERS_VARIABLE, Source, StartArguments, embedded, environment,
    print_warnings,
};
use crate::config::Plan;
use crate::gateway::{self, Addresses, Options, Reload};
use crate::observe::log;

pub(super) fn run(arguments: &StartArguments) -> ExitCode {
    let level = if arguments.verbose {
        tracing::Level::DEBUG
    } else {
        tracing::Level::INFO
    };
    if let Err(error) = log::start(level) {
        eprintln!("sluice: cannot start logging: {error}");
        return ExitCode::FAILURE;
    }
    // With a file, a broker is embedded only on request: a mistyped variable must not look like a working cluster.
    let quickstart = arguments.config.is_none();
    let wants_broker =
        arguments.embedded || (quickstart && environment(SERVERS_VARIABLE).is_none());
    let broker = match wants_broker.then(|| embedded::start(arguments)).transpose() {
        Ok(broker) => broker,
        Err(error) => {
            eprintln!("sluice: {error}");
            return ExitCode::FAILURE;
        }
    };
    let address = broker.as_ref().map(|broker| broker.addr().to_string());
    let env = move |name: &str| {
        if name == SERVERS_VARIABLE {
            address.clone().or_else(|| environment(name))
        } else {
            environment(name)
        }
    };
    let source = match &arguments.config {
        Some(file) => Source::of_file(file),
        None => Ok(Source::quickstart()),
    };
    let loaded = source.and_then(|source| Ok((source.load_or_say(&env)?, source)));
    let (Loaded { plan, stores }, source) = match loaded {
        Ok(loaded) => loaded,
        Err(code) => return code,
    };
    print_warnings(&plan);
    if let Some(broker) = &broker {
        embedded::create_missing_topics(broker, &plan);
        println!(
            "embedded Kafka broker on {} (one node, no fsync: for development only; set {SERVERS_VARIABLE} to use a cluster)",
            broker.addr()
        );
    }
    let options = Options {
        cores: arguments.cores.clone().unwrap_or_default(),
        cache_bytes: arguments.cache_bytes,
        access_log: arguments.access_log,
    };
    let reload = Reload {
        stores,
        load: Arc::new(move || {
            if source.has_changed() {
                tracing::warn!(
                    file = source.name,
                    "the configuration has changed, and takes effect with the next start; keys are read as the one that is running has them"
                );
            }
            let loaded = source.load(&env).map_err(|mistakes| {
                let mistakes: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
                mistakes.join("; ")
            })?;
            Ok(loaded.plan)
        }),
    };
    let result = gateway::run(plan, &options, reload, |addresses| {
        announce(addresses, quickstart);
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("sluice: {fault}");
            ExitCode::FAILURE
        }
    }
}

fn announce(addresses: &Addresses, quickstart: bool) {
    for listener in &addresses.listeners {
        println!(
            "{} listens on {}://{}",
            listener.binding, listener.scheme, listener.address
        );
    }
    for url in &addresses.metrics {
        println!("metrics on {url}");
    }
    if quickstart && let Some(first) = addresses.listeners.first() {
        let port = first.address.port();
        println!(
            "try:  curl -i -X PUT localhost:{port}/items/1 -H 'content-type: application/json' -d '{{\"name\":\"widget\"}}'"
        );
        println!("      curl -i localhost:{port}/items/1");
    }
}

/// The topics that routes look items up in by key, or that are read from the start: on an embedded broker they are made compacted.
pub(super) fn cached_topics(plan: &Plan) -> Vec<String> {
    let bootstrap = plan
        .clusters
        .iter()
        .flat_map(|cluster| cluster.bootstrap.iter().cloned());
    let keyed = gateway::keyed_topics(plan)
        .into_iter()
        .map(|(_, topic)| topic);
    let created: Vec<&str> = plan
        .clusters
        .iter()
        .flat_map(|cluster| &cluster.create)
        .map(|topic| topic.name.as_str())
        .collect();
    // Replies have no keys as a rule, and a compacted topic takes no record without one.
    let replies = gateway::reply_topics(plan);
    let is_reply = |topic: &str| replies.iter().any(|(_, reply)| reply == topic);
    let mut topics: Vec<String> = bootstrap
        .filter(|topic| !is_reply(topic))
        .chain(keyed)
        .filter(|topic| !created.contains(&topic.as_str()))
        .collect();
    topics.sort();
    topics.dedup();
    topics
}

/// The exit code of a configuration that cannot be used.
pub(super) fn config_fault() -> ExitCode {
    ExitCode::from(EXIT_CONFIG)
}
