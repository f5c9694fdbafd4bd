//! What Zilla knows and this version does not build yet: the one table of refused keys, values and binding types.
//!
//! No key is accepted and ignored. A key is either read by the checks of its place, or stands here and is refused as "not
//! supported yet", or is unknown; a test walks the tables and shows that each entry is refused.

/// A map of the file with keys of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// A map in which everything known is supported.
    Plain,
    File,
    Telemetry,
    BindingTelemetry,
    Binding,
    TcpClient,
    Route,
    TcpWhen,
    TlsClient,
    TlsRoute,
    HttpServerOptions,
    HttpClientOptions,
    CatalogReference,
    RemoteRoute,
    SseServerOptions,
    FilesystemWith,
    Guard,
    VaultOptions,
    Fetch,
    CacheClientTopic,
    CacheServerTopic,
    KafkaClientOptions,
    KafkaClientWhen,
}

/// Keys that are refused as not supported yet.
pub(super) const KEYS: &[(Place, &[&str])] = &[
    (Place::File, &["stores"]),
    (Place::BindingTelemetry, &["attributes"]),
    (Place::Binding, &["catalog", "entry", "telemetry"]),
    (
        Place::TcpClient,
        &["catalog", "entry", "telemetry", "routes"],
    ),
    (
        Place::TlsClient,
        &["catalog", "entry", "telemetry", "routes"],
    ),
    (Place::TlsRoute, &["with"]),
    (Place::Route, &["guarded"]),
    (Place::TcpWhen, &["authority"]),
    (Place::HttpServerOptions, &["requests"]),
    (Place::HttpClientOptions, &["requests", "authorization"]),
    (
        Place::CatalogReference,
        &["id", "strategy", "record", "overlay"],
    ),
    (Place::RemoteRoute, &["guarded"]),
    (Place::SseServerOptions, &["requests"]),
    (Place::FilesystemWith, &["directory"]),
    (Place::Guard, &["store"]),
    (Place::VaultOptions, &["secrets", "revocation"]),
    (Place::Fetch, &["from", "limit"]),
    (Place::CacheClientTopic, &["key", "value"]),
    (Place::CacheServerTopic, &["key", "value", "transforms"]),
    (Place::KafkaClientOptions, &["authorization", "sasl"]),
    (Place::KafkaClientWhen, &["groupId"]),
];

/// A key whose value is one of a few words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    /// Everything known is supported.
    Plain,
    ExporterType,
    EndpointScheme,
    DefaultOffset,
    DeltaType,
    CatalogType,
    SseKind,
    TlsKind,
}

/// Words that are refused as not supported yet.
pub(super) const WORDS: &[(Choice, &[&str])] = &[
    (Choice::ExporterType, &["otlp"]),
    (Choice::EndpointScheme, &["https"]),
    (Choice::DefaultOffset, &["live"]),
    (Choice::DeltaType, &["json_patch"]),
    (
        Choice::CatalogType,
        &[
            "schema-registry",
            "karapace-schema-registry",
            "confluent-schema-registry",
            "apicurio-registry",
            "aws-glue",
        ],
    ),
    (Choice::SseKind, &["client"]),
    (Choice::TlsKind, &["proxy"]),
];

/// Metrics that are refused as not supported yet.
pub(super) const METRICS: &[&str] = &[
    "grpc.request.size",
    "grpc.response.size",
    "grpc.duration",
    "grpc.active.requests",
    "grpc.requests.per.rpc",
    "grpc.responses.per.rpc",
    "engine.workers.utilization",
    "engine.workers.count",
    "engine.workers.capacity",
];

/// Binding types that are refused as not supported yet, with all their kinds.
pub(super) const BINDING_TYPES: &[&str] = &[
    "amqp",
    "asyncapi",
    "fan",
    "kafka-proxy",
    "mcp",
    "mqtt",
    "mqtt-kafka",
    "openapi",
    "openapi-asyncapi",
    "pgsql",
    "pgsql-kafka",
    "proxy",
    "risingwave",
    "ws",
];

/// The keys of `place` that are not supported yet.
pub(super) fn keys(place: Place) -> &'static [&'static str] {
    KEYS.iter()
        .find(|(known, _)| *known == place)
        .map_or(&[], |(_, keys)| keys)
}

/// The words of `choice` that are not supported yet.
pub(super) fn words(choice: Choice) -> &'static [&'static str] {
    WORDS
        .iter()
        .find(|(known, _)| *known == choice)
        .map_or(&[], |(_, words)| words)
}
