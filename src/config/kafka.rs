//! `kafka` bindings: `cache_client`, `cache_server` and `client`.

use std::collections::BTreeSet;

use super::fields::{Fields, Item};
use super::mistake::Report;
use super::node::Value;
use super::plan::CreateTopic;
use super::reference::Exit;
use super::shape::{Bootstrap, KafkaClient, Kind, TopicRoute};
use super::units;
use super::unsupported::{Choice, Place};
use crate::route::{Braces, Glob, check_topic};

const PARTITIONS_MAX: i64 = 10_000;
/// The broker's own default.
const REPLICATION_FACTOR_DEFAULT: i16 = -1;

/// Reads the options, routes and exit of a `kafka cache_client`.
pub(super) fn cache_client(binding: &mut Fields<'_>, report: &mut Report) -> Kind {
    if let Some(options) = binding.optional("options") {
        let mut options = options.fields(report, Place::Plain);
        for item in options.list(report, "topics") {
            let mut topic = item.fields(report, Place::CacheClientTopic);
            let _ = topic
                .required(report, "name")
                .and_then(|name| name.text(report));
            topic.finish(report);
        }
        options.finish(report);
    }
    Kind::CacheClient {
        routes: read_routes(binding, Place::Plain, report),
    }
}

/// Reads the options, routes and exit of a `kafka cache_server`.
pub(super) fn cache_server(binding: &mut Fields<'_>, report: &mut Report) -> Kind {
    let mut bootstrap = Vec::new();
    let mut names = BTreeSet::new();
    if let Some(options) = binding.optional("options") {
        let mut options = options.fields(report, Place::Plain);
        for item in options.list(report, "bootstrap") {
            let Some(topic) = read_topic(&item, report) else {
                continue;
            };
            if !names.insert(topic.clone()) {
                item.warning(report, format!("`{topic}` stands here twice"));
                continue;
            }
            bootstrap.push(Bootstrap {
                topic,
                at: item.at,
                path: item.path,
            });
        }
        for item in options.list(report, "topics") {
            let mut topic = item.fields(report, Place::CacheServerTopic);
            let _ = topic
                .required(report, "name")
                .and_then(|name| name.text(report));
            if let Some(item) = topic.optional("defaultOffset") {
                let _ = item.word(report, Choice::DefaultOffset, &[("historical", ())]);
            }
            if let Some(item) = topic.optional("deltaType") {
                let _ = item.word(report, Choice::DeltaType, &[("none", ())]);
            }
            topic.finish(report);
        }
        options.finish(report);
    }
    Kind::CacheServer {
        bootstrap,
        routes: read_routes(binding, Place::Plain, report),
    }
}

/// Reads the options, routes (Zilla 1.x) and exit of a `kafka client`.
pub(super) fn client(binding: &mut Fields<'_>, report: &mut Report) -> Kind {
    let mut servers = Vec::new();
    let mut create = Vec::new();
    if let Some(options) = binding.required(report, "options") {
        let mut options = options.fields(report, Place::KafkaClientOptions);
        if let Some(item) = options.required(report, "servers") {
            servers = read_servers(&item, report);
        }
        let items = options.list(report, "create");
        create = read_creates(&items, report);
        options.finish(report);
    }
    if let Some(item) = binding.optional("routes") {
        item.warning(
            report,
            "`routes` of a kafka client are Zilla 1.x; give them to its cache_server",
        );
    }
    Kind::KafkaClient(KafkaClient {
        servers,
        create,
        routes: read_routes(binding, Place::KafkaClientWhen, report),
    })
}

/// Routes by topic, and the exit as the last of them.
fn read_routes(binding: &mut Fields<'_>, place: Place, report: &mut Report) -> Vec<TopicRoute> {
    let mut routes = Vec::new();
    for item in binding.list(report, "routes") {
        let mut route = item.fields(report, Place::Route);
        let mut when = Vec::new();
        let mut unconditional = true;
        for item in route.list(report, "when") {
            unconditional = false;
            let mut fields = item.fields(report, place);
            let topic = fields.required(report, "topic");
            when.extend(topic.and_then(|item| {
                item.parsed(report, |text| {
                    Glob::parse(text, Braces::Literal).map_err(|fault| fault.to_string())
                })
            }));
            fields.finish(report);
        }
        let exit = Exit::required(&mut route, report);
        route.finish(report);
        if unconditional || !when.is_empty() {
            routes.push(TopicRoute { when, exit });
        }
    }
    if let Some(exit) = Exit::read(binding, report) {
        routes.push(TopicRoute {
            when: Vec::new(),
            exit: Some(exit),
        });
    }
    if routes.is_empty() && !binding.has("routes") && !binding.has("exit") {
        binding
            .item
            .mistake(report, "leads nowhere (it needs `exit`)");
    }
    routes
}

/// Items of `host:port`; one item may hold several, separated by commas, since variables carry lists that way.
fn read_servers(item: &Item<'_>, report: &mut Report) -> Vec<(String, u16)> {
    let items = item.list(report);
    if items.is_empty() && item.is_list() {
        item.mistake(report, "the list is empty");
    }
    let mut servers = Vec::new();
    for item in &items {
        let Some(text) = item.text(report) else {
            continue;
        };
        for server in text.split(',').map(str::trim) {
            servers.extend(item.judged(report, server, units::server(server)));
        }
    }
    servers
}

fn read_creates(items: &[Item<'_>], report: &mut Report) -> Vec<CreateTopic> {
    let mut names = BTreeSet::new();
    let mut create = Vec::new();
    for item in items {
        let mut fields = item.fields(report, Place::Plain);
        let name = fields
            .required(report, "name")
            .and_then(|item| read_topic(&item, report));
        if let Some(name) = name.as_ref().filter(|name| !names.insert((*name).clone())) {
            item.mistake(report, format!("`{name}` stands here twice"));
        }
        let partitions = fields
            .optional("partitions")
            .and_then(|item| item.integer(report, 1, PARTITIONS_MAX));
        let factor = fields
            .optional("replication-factor")
            .and_then(|item| read_factor(&item, report));
        let configs = fields
            .optional("configs")
            .map_or_else(Vec::new, |item| read_configs(&item, report));
        fields.finish(report);
        create.extend(name.map(|name| {
            CreateTopic {
                name,
                partitions: partitions
                    .and_then(|count| i32::try_from(count).ok())
                    .unwrap_or(1),
                replication_factor: factor.unwrap_or(REPLICATION_FACTOR_DEFAULT),
                configs,
            }
        }));
    }
    create
}

fn read_factor(item: &Item<'_>, report: &mut Report) -> Option<i16> {
    let factor = item.integer(report, -1, i64::from(i16::MAX))?;
    if factor == 0 {
        item.mistake(
            report,
            "`0` is no number of replicas (leave it out for the broker's default)",
        );
        return None;
    }
    i16::try_from(factor).ok()
}

/// A map of topic configuration: names and values as Kafka writes them, so numbers and booleans need no quotes.
fn read_configs(item: &Item<'_>, report: &mut Report) -> Vec<(String, String)> {
    let mut configs = Vec::new();
    for entry in item.entries(report) {
        let value = match &entry.item.node.value {
            Value::List(_) => {
                entry.item.mistake(
                    report,
                    "expected a string, found a list (Kafka writes lists as `a,b`)",
                );
                None
            }
            _ => entry.item.scalar(report, "a string"),
        };
        configs.extend(value.map(|value| (entry.key.to_owned(), value)));
    }
    configs
}

fn read_topic(item: &Item<'_>, report: &mut Report) -> Option<String> {
    item.parsed(report, |text| {
        check_topic(text.as_bytes())
            .map(|()| text.to_owned())
            .map_err(|fault| fault.to_string())
    })
}
