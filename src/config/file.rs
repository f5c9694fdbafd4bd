//! Documents: namespaces with vaults, guards, bindings and telemetry.

use std::collections::{HashMap, HashSet};

use super::catalog::{self, Catalog};
use super::fields::{Fields, Item, Named};
use super::guard::NamedGuard;
use super::metric::MetricSet;
use super::mistake::{Report, Spot, suggestion};
use super::node::{Node, Value};
use super::plan::Telemetry;
use super::shape::{Binding, Kind};
use super::source::{Source, is_unresolved};
use super::unsupported::{BINDING_TYPES, Choice, Place};
use super::vault::{self, Vault};
use super::{
    Surroundings, files, grpc, guard, http, http_kafka, kafka, sse, tcp, telemetry, tls, units,
};

/// Binding types of which at least one kind is supported.
const TYPES: [&str; 13] = [
    "tcp",
    "tls",
    "http",
    "http-kafka",
    "grpc",
    "grpc-kafka",
    "kafka-grpc",
    "sse",
    "sse-kafka",
    "http-filesystem",
    "filesystem",
    "echo",
    "kafka",
];

/// What all documents of a file hold.
#[derive(Debug, Default)]
pub(super) struct File {
    pub(super) bindings: Vec<Binding>,
    pub(super) guards: Vec<NamedGuard>,
    pub(super) vaults: Vec<Vault>,
    pub(super) catalogs: Vec<Catalog>,
    pub(super) telemetry: Telemetry,
}

/// Reads all documents.
pub(super) fn read(
    documents: &[Node],
    surroundings: &Surroundings<'_>,
    report: &mut Report,
) -> File {
    let mut file = File::default();
    let mut namespaces: HashMap<&str, usize> = HashMap::new();
    for document in documents {
        let mut fields = Item::root(document).fields(report, Place::File);
        let name = fields.required(report, "name");
        let name = name.and_then(|item| {
            item.parsed(report, units::name)?;
            let name = item.text(report)?;
            let first = *namespaces.entry(name).or_insert(item.at.line);
            if first != item.at.line {
                item.mistake(
                    report,
                    format!("an earlier document is called `{name}` too"),
                );
            }
            Some(name)
        });
        let declared = fields
            .optional("telemetry")
            .map_or_else(MetricSet::default, |item| {
                telemetry::read(&item, &mut file.telemetry, report)
            });
        let name = name.unwrap_or_default();
        for entry in named(&mut fields, "vaults", report) {
            file.vaults
                .push(vault::read(&entry, name, surroundings, report));
        }
        for entry in named(&mut fields, "catalogs", report) {
            file.catalogs
                .push(catalog::read(&entry, name, surroundings, report));
        }
        for entry in named(&mut fields, "guards", report) {
            file.guards.push(guard::read(&entry, name, report));
        }
        for entry in named(&mut fields, "bindings", report) {
            file.bindings
                .push(read_binding(&entry, name, declared, report));
        }
        fields.finish(report);
    }
    file
}

/// What stands under `key` of a document, by name.
fn named<'n>(fields: &mut Fields<'n>, key: &'static str, report: &mut Report) -> Vec<Named<'n>> {
    fields
        .optional(key)
        .filter(|item| !item.node.is_empty())
        .map_or_else(Vec::new, |item| item.entries(report))
}

fn read_binding(
    entry: &Named<'_>,
    namespace: &str,
    declared: MetricSet,
    report: &mut Report,
) -> Binding {
    entry.parsed_key(report, units::name);
    let mut fields = entry.item.fields(report, Place::Binding);
    fields.misplaced("vault", "only a tls binding takes something from a vault");
    let kind = read_kind(&mut fields, report);
    let metrics = match kind {
        Kind::TcpServer(_) | Kind::TlsServer(_) | Kind::HttpServer(_) | Kind::Echo => {
            telemetry::of_binding(&mut fields, declared, report)
        }
        Kind::TcpClient { .. }
        | Kind::TlsClient(_)
        | Kind::HttpClient(_)
        | Kind::HttpKafka(_)
        | Kind::GrpcServer(_)
        | Kind::GrpcClient(_)
        | Kind::GrpcKafka(_)
        | Kind::KafkaGrpc(_)
        | Kind::Sse(_)
        | Kind::SseKafka { .. }
        | Kind::HttpFilesystem { .. }
        | Kind::Filesystem { .. }
        | Kind::CacheClient { .. }
        | Kind::CacheServer { .. }
        | Kind::KafkaClient(_)
        | Kind::Refused => MetricSet::default(),
    };
    if !matches!(kind, Kind::Refused) {
        fields.finish(report);
    }
    Binding {
        namespace: namespace.to_owned(),
        name: entry.key.to_owned(),
        at: entry.key_at,
        path: entry.item.path.clone(),
        metrics,
        kind,
    }
}

fn read_kind(fields: &mut Fields<'_>, report: &mut Report) -> Kind {
    type Read = fn(&mut Fields<'_>, &mut Report) -> Kind;
    const NONE: &[(&str, Read)] = &[];
    let type_item = fields.required(report, "type");
    let kind_item = fields.required(report, "kind");
    let Some(type_item) = type_item else {
        return Kind::Refused;
    };
    let Some(name) = type_item.text(report) else {
        return Kind::Refused;
    };
    let (choice, kinds): (Choice, &[(&str, Read)]) = match name {
        "tcp" => (
            Choice::Plain,
            &[("server", tcp::server), ("client", tcp::client)],
        ),
        "tls" => (
            Choice::TlsKind,
            &[("server", tls::server), ("client", tls::client)],
        ),
        "http" => (
            Choice::Plain,
            &[("server", http::server), ("client", http::client)],
        ),
        "grpc" => (
            Choice::Plain,
            &[("server", grpc::server), ("client", grpc::client)],
        ),
        "grpc-kafka" => (Choice::Plain, &[("proxy", grpc::kafka_proxy)]),
        "kafka-grpc" => (Choice::Plain, &[("remote_server", grpc::remote_server)]),
        "http-kafka" => (Choice::Plain, &[("proxy", http_kafka::proxy)]),
        "sse" => (Choice::SseKind, &[("server", sse::server)]),
        "sse-kafka" => (Choice::Plain, &[("proxy", sse::proxy)]),
        "http-filesystem" => (Choice::Plain, &[("proxy", files::proxy)]),
        "filesystem" => (Choice::Plain, &[("server", files::filesystem)]),
        "echo" => (Choice::Plain, &[("server", files::echo)]),
        "kafka" => (
            Choice::Plain,
            &[
                ("cache_client", kafka::cache_client),
                ("cache_server", kafka::cache_server),
                ("client", kafka::client),
            ],
        ),
        _ => (Choice::Plain, NONE),
    };
    if kinds.is_empty() {
        let shown = type_item.quoted(name);
        if BINDING_TYPES.contains(&name) {
            type_item.mistake(
                report,
                format!("bindings of type {shown} are not supported yet"),
            );
        } else {
            let hint = suggestion(name, TYPES.iter().chain(BINDING_TYPES).copied());
            type_item.mistake(report, format!("unknown type {shown}{hint}"));
        }
        return Kind::Refused;
    }
    let read = kind_item.and_then(|item| item.word(report, choice, kinds));
    read.map_or(Kind::Refused, |read| read(fields, report))
}

/// Reports what no value may hold, wherever it stands: variables without a value, repeated keys, tags.
pub(super) fn check_values(item: &Item<'_>, source: &Source, report: &mut Report) {
    let unresolved = |text: &str, report: &mut Report| {
        for one in source.unresolved_in(text) {
            report.mistake(
                Spot::Original(one.original),
                item.path.as_str(),
                one.message.as_str(),
            );
        }
    };
    match &item.node.value {
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Text(_) => {}
        Value::Unresolved(text) => unresolved(text, report),
        Value::Tagged(tag) => item.mistake(report, format!("the tag `!{tag}` is not known")),
        Value::List(_) => {
            for item in item.list(report) {
                check_values(&item, source, report);
            }
        }
        Value::Map(_) => {
            let mut seen = HashSet::new();
            for entry in item.entries(report) {
                if is_unresolved(entry.key) {
                    unresolved(entry.key, report);
                    continue; // its path has no proper name
                }
                if !seen.insert(entry.key) {
                    report.mistake(
                        entry.key_at,
                        entry.item.path.as_str(),
                        "this key stands here twice",
                    );
                }
                check_values(&entry.item, source, report);
            }
        }
    }
}
