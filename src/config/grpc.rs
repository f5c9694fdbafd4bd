//! `grpc` servers and clients, `grpc-kafka` proxies and `kafka-grpc` remote servers.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::catalog;
use super::fields::{Fields, Item};
use super::guarded::read_guarded;
use super::mistake::{At, Report};
use super::node::Value;
use super::plan::{Acks, GrpcCorrelation, GrpcKafkaWith, GrpcWhen, KafkaGrpcWhen, MetadataMatch};
use super::reference::Exit;
use super::shape::{
    GrpcClient, GrpcKafka, GrpcKafkaRoute, GrpcRoute, GrpcServer, KafkaGrpc, KafkaGrpcRoute, Kind,
    ProtoPath,
};
use super::templates::Templates;
use super::units;
use super::unsupported::{Choice, Place};
use crate::http::Scheme;
use crate::route::{Allowed, Braces, Glob, check_topic};

const MESSAGE_BYTES_DEFAULT: usize = 4 << 20;
/// The bounds of `options.message-bytes-max`.
const MESSAGE_BYTES: (usize, usize) = (1 << 10, 64 << 20);
/// The number of the field that Zilla puts at the end of each message of a stream.
const RELIABILITY_FIELD_DEFAULT: u32 = 32_767;
/// The largest field number of Protocol Buffers.
const RELIABILITY_FIELD_MAX: i64 = 536_870_911;
/// Field numbers that Protocol Buffers keep for themselves.
const RESERVED_FIELDS: std::ops::RangeInclusive<u32> = 19_000..=19_999;
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(300);
/// The bounds of `options.timeout`.
const TIMEOUTS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(24 * 3_600));
const HORIZON_DEFAULT: Duration = Duration::from_secs(24 * 3_600);
/// The bounds of `horizon`.
const HORIZONS: (Duration, Duration) = (
    Duration::from_secs(60),
    Duration::from_secs(30 * 24 * 3_600),
);
const SESSION_TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);
/// The bounds of `options.session-timeout`: brokers take 6 s to 30 min unless told otherwise.
const SESSION_TIMEOUTS: (Duration, Duration) = (Duration::from_secs(6), Duration::from_secs(300));
const WINDOW_DEFAULT: usize = 10_000;
/// The bounds of `options.window`.
const WINDOWS: (i64, i64) = (10, 1_000_000);
/// The words of `acks`.
const ACKS: [(&str, Acks); 3] = [
    ("none", Acks::None),
    ("leader_only", Acks::LeaderOnly),
    ("in_sync_replicas", Acks::InSyncReplicas),
];

/// Reads the catalog, options, routes and exit of a `grpc server`.
pub(super) fn server(binding: &mut Fields<'_>, report: &mut Report) -> Kind {
    let mut server = GrpcServer {
        catalog: catalog::references(binding, report),
        files: Vec::new(),
        at: (binding.item.at, binding.item.path.clone()),
        message_bytes_max: MESSAGE_BYTES_DEFAULT,
        health: true,
        reflection: false,
        routes: Vec::new(),
    };
    if let Some(options) = binding.optional("options") {
        let mut options = options.fields(report, Place::Plain);
        // Zilla 1.x: the files themselves.
        for item in options.list(report, "services") {
            let path = item.text(report).map(str::to_owned);
            server.files.extend(path.map(|path| ProtoPath {
                path,
                at: (item.at, item.path.clone()),
            }));
        }
        if let Some(item) = options.optional("message-bytes-max") {
            let (low, high) = MESSAGE_BYTES;
            let size = item.notation(report, "a size", |text| units::size(text, low, high));
            server.message_bytes_max = size.unwrap_or(server.message_bytes_max);
        }
        if let Some(item) = options.optional("health") {
            server.health = item.boolean(report).unwrap_or(server.health);
        }
        if let Some(item) = options.optional("reflection") {
            server.reflection = item.boolean(report).unwrap_or(server.reflection);
        }
        options.finish(report);
    }
    if server.catalog.is_none() && server.files.is_empty() && !binding.has("catalog") {
        binding.item.mistake(
            report,
            "has no services: it needs `catalog` (or `options.services`)",
        );
    }
    server.routes = read_routes(binding, report);
    Kind::GrpcServer(server)
}

/// Reads the routes and exit of a `grpc client`.
pub(super) fn client(binding: &mut Fields<'_>, report: &mut Report) -> Kind {
    if let Some(options) = binding.optional("options") {
        options.fields(report, Place::Plain).finish(report);
    }
    Kind::GrpcClient(GrpcClient {
        routes: read_routes(binding, report),
    })
}

fn read_routes(binding: &mut Fields<'_>, report: &mut Report) -> Vec<GrpcRoute> {
    let mut routes = Vec::new();
    for item in binding.list(report, "routes") {
        let mut route = item.fields(report, Place::Plain);
        let guarded = read_guarded(&mut route, report);
        let when = route.list(report, "when");
        let when = when.iter().map(|item| read_when(item, report)).collect();
        let exit = Exit::required(&mut route, report);
        route.finish(report);
        routes.push(GrpcRoute {
            guarded,
            when,
            exit,
        });
    }
    if let Some(exit) = Exit::read(binding, report) {
        routes.push(GrpcRoute {
            guarded: Vec::new(),
            when: Vec::new(),
            exit: Some(exit),
        });
    }
    Exit::require_some(binding, report);
    routes
}

fn read_when(item: &Item<'_>, report: &mut Report) -> GrpcWhen {
    let mut fields = item.fields(report, Place::Plain);
    let method = fields
        .optional("method")
        .and_then(|item| item.parsed(report, method_glob));
    let metadata = fields
        .optional("metadata")
        .map_or_else(Vec::new, |item| read_metadata(&item, report));
    fields.finish(report);
    GrpcWhen { method, metadata }
}

fn method_glob(text: &str) -> Result<Glob, String> {
    if text.starts_with('/') {
        return Err("starts with `/` (write `package.Service/Method`)".to_owned());
    }
    if !text.contains(['/', '*', '{']) {
        return Err(
            "is not `package.Service/Method` (`package.Service/*` is all of it)".to_owned(),
        );
    }
    Glob::parse(text, Braces::Names).map_err(|fault| fault.to_string())
}

fn read_metadata(item: &Item<'_>, report: &mut Report) -> Vec<MetadataMatch> {
    let mut found = Vec::new();
    for entry in item.entries(report) {
        let name = entry.parsed_key(report, |key| units::header_name(key, false));
        let value = if matches!(entry.item.node.value, Value::Map(_)) {
            let mut fields = entry.item.fields(report, Place::Plain);
            let value = fields
                .required(report, "base64")
                .and_then(|item| item.parsed(report, decoded));
            fields.finish(report);
            name.zip(value)
                .map(|(name, value)| (format!("{name}-bin"), value))
        } else {
            let value = entry.item.text(report).map(|text| text.as_bytes().to_vec());
            name.zip(value)
        };
        found.extend(value.map(|(name, value)| MetadataMatch { name, value }));
    }
    found
}

fn decoded(text: &str) -> Result<Vec<u8>, String> {
    STANDARD
        .decode(text)
        .map_err(|_| "is not base64".to_owned())
}

/// Reads the options and routes of a `grpc-kafka proxy`.
pub(super) fn kafka_proxy(binding: &mut Fields<'_>, report: &mut Report) -> Kind {
    binding.misplaced(
        "exit",
        "a grpc-kafka proxy has no exit of its own: each of its routes has one",
    );
    let mut proxy = GrpcKafka {
        reliability_field: RELIABILITY_FIELD_DEFAULT,
        reliability_metadata: "last-message-id".to_owned(),
        idempotency_metadata: "idempotency-key".to_owned(),
        correlation: GrpcCorrelation::default(),
        timeout: TIMEOUT_DEFAULT,
        horizon: HORIZON_DEFAULT,
        routes: Vec::new(),
    };
    if let Some(options) = binding.optional("options") {
        let mut options = options.fields(report, Place::Plain);
        if let Some(item) = options.optional("reliability") {
            read_reliability(&item, &mut proxy, report);
        }
        if let Some(item) = options.optional("idempotency") {
            let mut fields = item.fields(report, Place::Plain);
            read_name(
                &mut fields,
                "metadata",
                &mut proxy.idempotency_metadata,
                report,
            );
            read_duration(&mut fields, "horizon", HORIZONS, &mut proxy.horizon, report);
            fields.finish(report);
        }
        read_correlation(&mut options, &mut proxy.correlation, report);
        read_duration(
            &mut options,
            "timeout",
            TIMEOUTS,
            &mut proxy.timeout,
            report,
        );
        options.finish(report);
    }
    if let Some(item) = binding.required(report, "routes") {
        let items = item.list(report);
        if items.is_empty() && item.is_list() {
            item.mistake(report, "the list is empty");
        }
        let routes = items.iter();
        proxy.routes = routes.map(|item| read_kafka_route(item, report)).collect();
    }
    Kind::GrpcKafka(proxy)
}

fn read_reliability(item: &Item<'_>, proxy: &mut GrpcKafka, report: &mut Report) {
    let mut fields = item.fields(report, Place::Plain);
    if let Some(item) = fields.optional("field") {
        let number = item.integer(report, 1, RELIABILITY_FIELD_MAX);
        if let Some(number) = number.and_then(|number| u32::try_from(number).ok()) {
            if RESERVED_FIELDS.contains(&number) {
                item.mistake(
                    report,
                    "19000 to 19999 are reserved for Protocol Buffers themselves",
                );
            }
            proxy.reliability_field = number;
        }
    }
    read_name(
        &mut fields,
        "metadata",
        &mut proxy.reliability_metadata,
        report,
    );
    fields.finish(report);
}

/// Reads the name of metadata: a header's, in lower case.
fn read_name(fields: &mut Fields<'_>, key: &'static str, name: &mut String, report: &mut Report) {
    let read = fields
        .optional(key)
        .and_then(|item| item.parsed(report, |text| units::header_name(text, false)));
    if let Some(read) = read {
        *name = read;
    }
}

fn read_duration(
    fields: &mut Fields<'_>,
    key: &'static str,
    (low, high): (Duration, Duration),
    duration: &mut Duration,
    report: &mut Report,
) {
    let read = fields.optional(key).and_then(|item| {
        item.notation(report, "a duration", |text| {
            units::duration(text, low, high)
        })
    });
    *duration = read.unwrap_or(*duration);
}

fn read_correlation(
    options: &mut Fields<'_>,
    correlation: &mut GrpcCorrelation,
    report: &mut Report,
) {
    let Some(item) = options.optional("correlation") else {
        return;
    };
    let mut fields = item.fields(report, Place::Plain);
    if let Some(headers) = fields.optional("headers") {
        let mut names = headers.fields(report, Place::Plain);
        for (key, name) in [
            ("service", &mut correlation.service),
            ("method", &mut correlation.method),
            ("correlation-id", &mut correlation.correlation_id),
            ("reply-to", &mut correlation.reply_to),
        ] {
            let read = names.optional(key).and_then(|item| {
                item.parsed(report, |text| {
                    if text.is_empty() {
                        Err("is not the name of a record header".to_owned())
                    } else {
                        Ok(text.to_owned())
                    }
                })
            });
            if let Some(read) = read {
                *name = read;
            }
        }
        names.finish(report);
        let mut all = [
            &correlation.service,
            &correlation.method,
            &correlation.correlation_id,
            &correlation.reply_to,
        ];
        all.sort();
        if let Some(twice) = all.windows(2).find(|pair| pair[0] == pair[1]) {
            let name = headers.quoted(twice[0]);
            headers.mistake(report, format!("{name} cannot be two headers"));
        }
    }
    fields.finish(report);
}

#[derive(Clone, Copy)]
enum Capability {
    Produce,
    Fetch,
}

fn read_kafka_route(item: &Item<'_>, report: &mut Report) -> GrpcKafkaRoute {
    let mut route = item.fields(report, Place::Plain);
    let guarded = read_guarded(&mut route, report);
    let when = route.list(report, "when");
    let when = when.iter().map(|item| read_when(item, report)).collect();
    let templates = Templates::new(Some(Vec::new()));
    let start = (item.at, item.path.clone());
    let mut read = GrpcKafkaRoute {
        guarded,
        asked: Vec::new(),
        when,
        with: None,
        topic_at: start.clone(),
        reply_at: start,
        exit: None,
    };
    if let Some(with) = route.required(report, "with") {
        read.with = read_with(&with, &templates, &mut read, report);
    }
    read.asked = templates.into_asked();
    read.exit = Exit::required(&mut route, report);
    route.finish(report);
    read
}

fn read_with(
    item: &Item<'_>,
    templates: &Templates,
    route: &mut GrpcKafkaRoute,
    report: &mut Report,
) -> Option<GrpcKafkaWith> {
    let mut fields = item.fields(report, Place::Plain);
    let words = [
        ("produce", Capability::Produce),
        ("fetch", Capability::Fetch),
    ];
    let capability = fields.required(report, "capability");
    let capability = capability.and_then(|item| item.word(report, Choice::Plain, &words));
    let topic = fields.required(report, "topic").and_then(|item| {
        route.topic_at = (item.at, item.path.clone());
        read_topic(&item, report)
    });
    let capability = capability?; // which keys belong here depends on it
    let with = match capability {
        Capability::Produce => {
            fields.misplaced("filters", "only with `capability: fetch`");
            let acks = read_acks(&mut fields, report);
            let key = fields
                .optional("key")
                .and_then(|item| templates.read(&item, Allowed::GUARDED, report));
            let overrides = fields.optional("overrides").map_or_else(Vec::new, |item| {
                templates.map(&item, Allowed::GUARDED, report)
            });
            let reply_to = fields.optional("reply-to").and_then(|item| {
                route.reply_at = (item.at, item.path.clone());
                read_topic(&item, report)
            });
            topic.map(|topic| GrpcKafkaWith::Produce {
                topic,
                acks,
                key,
                overrides,
                reply_to,
            })
        }
        Capability::Fetch => {
            for key in ["acks", "key", "overrides", "reply-to"] {
                fields.misplaced(key, "only with `capability: produce`");
            }
            let filters = templates.filters_of(&mut fields, Allowed::GUARDED, report);
            topic.map(|topic| GrpcKafkaWith::Fetch { topic, filters })
        }
    };
    fields.finish(report);
    with
}

fn read_acks(fields: &mut Fields<'_>, report: &mut Report) -> Acks {
    fields
        .optional("acks")
        .and_then(|item| item.word(report, Choice::Plain, &ACKS))
        .unwrap_or(Acks::InSyncReplicas)
}

fn read_topic(item: &Item<'_>, report: &mut Report) -> Option<String> {
    item.parsed(report, |text| {
        check_topic(text.as_bytes())
            .map(|()| text.to_owned())
            .map_err(|fault| fault.to_string())
    })
}

/// Reads the entry, options and routes of a `kafka-grpc remote_server`.
pub(super) fn remote_server(binding: &mut Fields<'_>, report: &mut Report) -> Kind {
    binding.misplaced(
        "exit",
        "a kafka-grpc remote server has no exit of its own: each of its routes has one",
    );
    let mut server = KafkaGrpc {
        entry: None,
        acks: Acks::InSyncReplicas,
        idempotency_metadata: "idempotency-key".to_owned(),
        correlation: GrpcCorrelation::default(),
        timeout: TIMEOUT_DEFAULT,
        horizon: HORIZON_DEFAULT,
        session_timeout: SESSION_TIMEOUT_DEFAULT,
        window: WINDOW_DEFAULT,
        routes: Vec::new(),
    };
    server.entry = binding
        .required(report, "entry")
        .and_then(|item| Exit::of(&item, report));
    if let Some(options) = binding.optional("options") {
        let mut options = options.fields(report, Place::Plain);
        server.acks = read_acks(&mut options, report);
        if let Some(item) = options.optional("idempotency") {
            let mut fields = item.fields(report, Place::Plain);
            read_name(
                &mut fields,
                "metadata",
                &mut server.idempotency_metadata,
                report,
            );
            fields.finish(report);
        }
        read_correlation(&mut options, &mut server.correlation, report);
        read_duration(
            &mut options,
            "timeout",
            TIMEOUTS,
            &mut server.timeout,
            report,
        );
        read_duration(
            &mut options,
            "horizon",
            HORIZONS,
            &mut server.horizon,
            report,
        );
        let session = &mut server.session_timeout;
        read_duration(
            &mut options,
            "session-timeout",
            SESSION_TIMEOUTS,
            session,
            report,
        );
        let window = options
            .optional("window")
            .and_then(|item| item.integer(report, WINDOWS.0, WINDOWS.1));
        server.window = window
            .and_then(|window| usize::try_from(window).ok())
            .unwrap_or(server.window);
        options.finish(report);
    }
    if let Some(item) = binding.required(report, "routes") {
        let items = item.list(report);
        if items.is_empty() && item.is_list() {
            item.mistake(report, "the list is empty");
        }
        let routes = items.iter();
        server.routes = routes.map(|item| read_remote_route(item, report)).collect();
    }
    Kind::KafkaGrpc(server)
}

fn read_remote_route(item: &Item<'_>, report: &mut Report) -> KafkaGrpcRoute {
    let mut route = item.fields(report, Place::RemoteRoute);
    let (mut when, mut topics_at) = (Vec::new(), Vec::new());
    if let Some(conditions) = route.required(report, "when") {
        let items = conditions.list(report);
        if items.is_empty() && conditions.is_list() {
            conditions.mistake(report, "the list is empty");
        }
        for item in &items {
            if let Some((read, places)) = read_remote_when(item, report) {
                when.push(read);
                topics_at.push(places);
            }
        }
    }
    let (mut scheme, mut authority) = (None, None);
    if let Some(with) = route.required(report, "with") {
        let mut fields = with.fields(report, Place::Plain);
        let schemes = [("http", Scheme::Http), ("https", Scheme::Https)];
        scheme = fields
            .required(report, "scheme")
            .and_then(|item| item.word(report, Choice::Plain, &schemes));
        authority = fields
            .required(report, "authority")
            .and_then(|item| item.parsed(report, read_authority));
        fields.finish(report);
    }
    let exit = Exit::required(&mut route, report);
    route.finish(report);
    KafkaGrpcRoute {
        when,
        topics_at,
        scheme: scheme.unwrap_or(Scheme::Http),
        authority: authority.unwrap_or_default(),
        exit,
    }
}

/// A host with or without a port.
fn read_authority(text: &str) -> Result<String, String> {
    let is_host = units::host_name(text).is_ok() || units::server(text).is_ok();
    if is_host {
        Ok(text.to_owned())
    } else {
        Err("is not `host` or `host:port`".to_owned())
    }
}

/// A condition, and where its topics stand.
fn read_remote_when(
    item: &Item<'_>,
    report: &mut Report,
) -> Option<(KafkaGrpcWhen, [(At, String); 2])> {
    let mut places = [const { None }; 2];
    let [topic_at, reply_at] = &mut places;
    let mut fields = item.fields(report, Place::Plain);
    let topic = fields.required(report, "topic").and_then(|item| {
        *topic_at = Some((item.at, item.path.clone()));
        read_topic(&item, report)
    });
    let reply_to = fields.required(report, "reply-to").and_then(|item| {
        *reply_at = Some((item.at, item.path.clone()));
        let reply_to = read_topic(&item, report);
        if reply_to.is_some() && reply_to == topic {
            // The record that closes a request would count as the one that closes its reply.
            item.mistake(
                report,
                "is the topic of the requests: replies need their own",
            );
        }
        reply_to
    });
    let method = fields
        .optional("method")
        .and_then(|item| item.parsed(report, service_and_method));
    let key = fields
        .optional("key")
        .and_then(|item| item.text(report).map(|text| text.as_bytes().to_vec()));
    let mut headers = Vec::new();
    if let Some(item) = fields.optional("headers") {
        for entry in item.entries(report) {
            let value = entry.item.text(report);
            headers.extend(value.map(|value| (entry.key.to_owned(), value.as_bytes().to_vec())));
        }
    }
    fields.finish(report);
    let (service, method) = method.unwrap_or_default();
    let [topic_at, reply_at] = places;
    let when = KafkaGrpcWhen {
        topic: topic?,
        reply_to: reply_to?,
        service,
        method,
        key,
        headers,
    };
    Some((when, [topic_at?, reply_at?]))
}

/// `Service/Method`; `*` is any.
fn service_and_method(text: &str) -> Result<(Option<String>, Option<String>), String> {
    let (service, method) = text
        .split_once('/')
        .filter(|(service, method)| !service.is_empty() && !method.is_empty())
        .ok_or("is not `package.Service/Method` (`package.Service/*` is all of it)")?;
    let named = |name: &str| match name {
        "*" => Ok(None),
        name if name.contains(['*', '/', '{']) => {
            Err("can have `*` for a whole method or service, not for a part".to_owned())
        }
        name => Ok(Some(name.to_owned())),
    };
    Ok((named(service)?, named(method)?))
}
