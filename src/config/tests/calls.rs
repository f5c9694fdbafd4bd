//! gRPC and http clients: what is in the plan.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::super::*;
use super::{edited, http, plan, refusal};
use crate::grpc::proto::MethodKind;
use crate::http::Scheme;
use crate::route::Template;

/// The smallest file whose http server leads to these bindings, first of all to `calls`.
fn with_calls(bindings: &str) -> String {
    let bindings = format!("bindings:\n{}", bindings.trim_start_matches('\n'));
    edited(&[
        ("exit: mapping", "exit: calls"),
        ("bindings:", bindings.trim_end()),
    ])
    .replace(MAPPING, "")
}

/// A proxy that nothing leads to any more.
const MAPPING: &str = "
  mapping:
    type: http-kafka
    kind: proxy
    routes:
      - with: {capability: produce, topic: items}
        exit: cache_client";

/// The smallest file with a grpc-kafka proxy of these options and routes.
fn with_mapping(options: &str, routes: &str) -> String {
    with_calls(&format!(
        "
  calls: {{type: grpc, kind: server, options: {{services: [protos/echo.proto]}}, exit: proxy}}
  proxy:
    type: grpc-kafka
    kind: proxy
    options: {{{options}}}
    routes: [{routes}]
"
    ))
}

fn warnings(plan: &Plan) -> Vec<String> {
    plan.warnings.iter().map(ToString::to_string).collect()
}

pub(super) fn grpc(plan: &Plan) -> &GrpcServer {
    let server = http(plan.listeners[0].routes.first().map(|route| &route.exit));
    let HttpExit::Grpc(server) = &server.routes[0].exit else {
        panic!("calls");
    };
    server
}

pub(super) fn grpc_kafka(exit: &GrpcExit) -> &GrpcKafka {
    let GrpcExit::Kafka(proxy) = exit else {
        panic!("the route leads to Kafka");
    };
    proxy
}

fn text(template: Option<&Template>) -> &str {
    template.and_then(Template::as_literal).unwrap()
}

#[test]
fn the_defaults_of_a_grpc_server_are_in_the_plan() {
    let plan = plan(&with_calls(
        "
  calls: {type: grpc, kind: server, options: {services: [protos/echo.proto]}, exit: echo}
  echo: {type: echo, kind: server}
",
    ));
    let server = grpc(&plan);
    assert_eq!(
        (server.namespace.as_str(), server.name.as_str()),
        ("example", "calls")
    );
    assert_eq!(server.message_bytes_max, 4 << 20);
    assert_eq!((server.health, server.reflection), (true, false));
    let route = &server.routes[0];
    assert!(route.when.is_empty() && route.guarded.is_empty());
    assert!(matches!(route.exit, GrpcExit::Echo(_)));
    let method = server.services.method("example.EchoService", "EchoUnary");
    assert_eq!(method.unwrap().kind, MethodKind::Unary);
}

#[test]
fn the_options_of_a_grpc_server_are_in_the_plan() {
    let text = with_calls(
        "
  calls:
    type: grpc
    kind: server
    catalog: {texts: [{subject: echo, version: latest}, {subject: more}]}
    options: {services: [protos/echo.proto], message-bytes-max: 1KiB, health: false, reflection: true}
    routes:
      - when:
          - {method: own.Echo/Tell, metadata: {Team: a b, data: {base64: '+/8='}}}
          - method: own.*/{any}
          - {}
        exit: south
      - guarded: {own: []}
        exit: echo
    exit: south
  south: {type: grpc, kind: client, routes: [{when: [{method: own.Echo/*}], exit: web}], exit: web}
  web: {type: http, kind: client, exit: tcp}
  echo: {type: echo, kind: server}
",
    );
    let text = text.replacen(
        "name: example",
        "name: example
guards: {own: {type: inline}}
catalogs:
  texts:
    type: inline
    options:
      subjects:
        echo: {version: '1', schema: 'syntax = \"proto3\"; package own; import \"protos/echo.proto\"; service Echo { rpc Tell(stream example.EchoMessage) returns (stream example.EchoMessage); }'}
        more: {schema: 'syntax = \"proto3\"; package own; message None {} service More { rpc Up(stream None) returns (None); rpc Down(None) returns (stream None); }'}",
        1,
    );
    let plan = plan(&text);
    let server = grpc(&plan);
    let kind = |service: &str, method: &str| {
        let method = server.services.method(service, method);
        method.map(|method| method.kind)
    };
    assert_eq!(kind("own.Echo", "Tell"), Some(MethodKind::Bidi));
    assert_eq!(kind("own.More", "Up"), Some(MethodKind::ClientStreaming));
    assert_eq!(kind("own.More", "Down"), Some(MethodKind::ServerStreaming));
    assert_eq!(
        kind("example.EchoService", "EchoUnary"),
        Some(MethodKind::Unary)
    );
    assert_eq!(
        (server.message_bytes_max, server.health, server.reflection),
        (1_024, false, true)
    );
    let [first, second, last] = &server.routes[..] else {
        panic!("{:?}", server.routes);
    };
    assert_eq!(
        first.when[0].metadata,
        [
            MetadataMatch {
                name: "team".to_owned(),
                value: b"a b".to_vec()
            },
            MetadataMatch {
                name: "data-bin".to_owned(),
                value: vec![0xfb, 0xff]
            },
        ]
    );
    let matches = |when: &GrpcWhen, path: &str| when.matches(path, |_| None);
    assert!(matches(&first.when[1], "own.Echo/Tell"));
    assert!(!matches(&first.when[1], "example.EchoService/EchoUnary"));
    assert!(matches(&first.when[2], "example.EchoService/EchoUnary"));
    assert_eq!(second.guarded.len(), 1);
    assert!(last.when.is_empty() && last.guarded.is_empty());
    let (GrpcExit::Client(one), GrpcExit::Client(other)) = (&first.exit, &last.exit) else {
        panic!("clients");
    };
    assert!(Arc::ptr_eq(one, other), "each shared thing once");
    assert_eq!(one.routes.len(), 2);
    assert!(Arc::ptr_eq(&one.routes[0].exit, &plan.http_clients[0]));
    assert_eq!(plan.http_clients.len(), 1);
}

/// A file whose grpc server asks for these subjects, with files of these texts beside the configuration.
fn with_files(binding: &str, subjects: &str, files: &[(&str, &str)]) -> Result<Plan, Vec<Mistake>> {
    let text = with_calls(&format!(
        "
  calls: {{type: grpc, kind: server, {binding}, exit: echo}}
  echo: {{type: echo, kind: server}}
"
    ));
    let catalogs = format!(
        "name: example\ncatalogs: {{files: {{type: filesystem, options: {{subjects: {{{subjects}}}}}}}}}"
    );
    let text = text.replacen("name: example", &catalogs, 1);
    let surroundings = Surroundings {
        env: &|_| None,
        directory: Path::new("somewhere"),
        read_file: &|path| {
            let mut files = files.iter();
            let found = files.find(|(name, _)| Path::new("somewhere").join(name) == path);
            let found = found.map(|(_, text)| text.as_bytes().to_vec());
            found.ok_or_else(|| io::ErrorKind::NotFound.into())
        },
    };
    load("zilla.yaml", &text, &surroundings)
}

const TYPES: &str = "syntax = \"proto3\"; package own; message Type {}";
const SERVICE: &str = "syntax = \"proto3\"; package own; import \"types.proto\"; service Own { rpc Tell(Type) returns (Type); }";

#[test]
fn imports_are_found_beside_the_file_and_beside_the_configuration() {
    for types in ["types.proto", "protos/types.proto"] {
        let files = [("protos/own.proto", SERVICE), (types, TYPES)];
        let catalog = "catalog: {files: [{subject: own}]}";
        let plan = with_files(catalog, "own: {path: protos/own.proto}", &files).unwrap();
        assert!(grpc(&plan).services.method("own.Own", "Tell").is_some());
        let services = "options: {services: [protos/own.proto]}";
        let plan = with_files(services, "", &files).unwrap();
        assert!(grpc(&plan).services.method("own.Own", "Tell").is_some());
    }
}

#[test]
fn a_file_may_be_named_and_imported_too() {
    let files = [("own.proto", SERVICE), ("types.proto", TYPES)];
    for subjects in [
        "{subject: own}, {subject: types}",
        "{subject: types}, {subject: own}",
    ] {
        let plan = with_files(
            &format!("catalog: {{files: [{subjects}]}}, options: {{services: [own.proto]}}"),
            "own: {path: own.proto}, types: {path: types.proto}",
            &files,
        );
        let plan = plan.unwrap_or_else(|mistakes| panic!("{mistakes:?}"));
        assert!(grpc(&plan).services.method("own.Own", "Tell").is_some());
    }
}

#[test]
fn a_file_may_be_named_by_its_path_and_imported_from_beside() {
    let files = [("protos/own.proto", SERVICE), ("protos/types.proto", TYPES)];
    let plan = with_files(
        "catalog: {files: [{subject: own}, {subject: types}]}",
        "own: {path: protos/own.proto}, types: {path: protos/types.proto}",
        &files,
    );
    let plan = plan.unwrap_or_else(|mistakes| panic!("{mistakes:?}"));
    assert!(grpc(&plan).services.method("own.Own", "Tell").is_some());
}

#[test]
fn a_mistake_in_an_import_is_told() {
    let files = [
        ("own.proto", SERVICE),
        (
            "types.proto",
            "syntax = \"proto3\";\npackage own;\nmessage Type { Missing x = 1; }",
        ),
    ];
    let catalog = "catalog: {files: [{subject: own}]}";
    let mistakes = with_files(catalog, "own: {path: own.proto}", &files).unwrap_err();
    let lines: Vec<_> = mistakes.iter().map(ToString::to_string).collect();
    let [line] = &lines[..] else {
        panic!("{lines:?}");
    };
    assert!(line.starts_with("zilla.yaml:"), "{line}");
    assert!(
        line.contains("types.proto:3:16: name 'Missing' is not defined"),
        "{line}"
    );
}

#[test]
fn guarded_calls_that_nobody_can_make_are_odd() {
    let text = with_calls(
        "
  calls: {type: grpc, kind: server, options: {services: [protos/echo.proto]}, routes: [{guarded: {own: []}, exit: proxy}]}
  proxy: {type: grpc-kafka, kind: proxy, routes: [{guarded: {own: []}, exit: cache_client,
    with: {capability: produce, topic: a, key: \"${guarded['own'].identity}\"}}]}
",
    );
    let text = text.replacen(
        "name: example",
        "name: example\nguards: {own: {type: inline}}",
        1,
    );
    let found = warnings(&plan(&text));
    let nobody = "nobody passes: no server on the way here gives credentials to `own`";
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(
        found[0].ends_with(nobody) && found[1].ends_with(nobody),
        "{found:?}"
    );
    assert!(found[2].contains("with.key: always empty"), "{found:?}");
}

#[test]
fn the_defaults_of_a_grpc_kafka_proxy_are_in_the_plan() {
    let plan = plan(&with_mapping(
        "",
        "{with: {capability: produce, topic: a}, exit: cache_client},
      {with: {capability: fetch, topic: b}, exit: cache_client}",
    ));
    assert_eq!(warnings(&plan), [""; 0]);
    let proxy = grpc_kafka(&grpc(&plan).routes[0].exit);
    assert_eq!(
        (
            proxy.reliability_field,
            proxy.reliability_metadata.as_str(),
            proxy.idempotency_metadata.as_str()
        ),
        (32_767, "last-message-id", "idempotency-key")
    );
    let GrpcCorrelation {
        service,
        method,
        correlation_id,
        reply_to,
    } = &proxy.correlation;
    assert_eq!(
        [service, method, correlation_id, reply_to],
        [
            "zilla:service",
            "zilla:method",
            "zilla:correlation-id",
            "zilla:reply-to"
        ]
    );
    assert_eq!(proxy.timeout, Duration::from_secs(300));
    let GrpcKafkaWith::Produce {
        topic,
        acks: Acks::InSyncReplicas,
        key: None,
        overrides,
        reply_to: None,
    } = &proxy.routes[0].with
    else {
        panic!("{:?}", proxy.routes[0].with);
    };
    assert_eq!((topic.as_str(), overrides.len()), ("a", 0));
    let GrpcKafkaWith::Fetch { topic, filters } = &proxy.routes[1].with else {
        panic!("{:?}", proxy.routes[1].with);
    };
    assert_eq!((topic.as_str(), filters.len()), ("b", 0));
    assert_eq!((proxy.routes[0].number, proxy.routes[1].number), (0, 1));
}

#[test]
fn the_options_of_a_grpc_kafka_proxy_are_in_the_plan() {
    let plan = plan(&with_mapping(
        "reliability: {field: 536870911, metadata: Last-Id}, idempotency: {metadata: X-Key, horizon: 1m}, timeout: 24h,
      correlation: {headers: {service: s, method: m, correlation-id: c, reply-to: r}}",
        "{when: [{method: example.EchoService/EchoUnary, metadata: {a: b}}],
      with: {capability: produce, topic: a, acks: none, key: k, overrides: {Z: '1', y: two}, reply-to: b}, exit: cache_client},
      {with: {capability: produce, topic: a, reply-to: a}, exit: cache_client},
      {with: {capability: fetch, topic: b, filters: [{key: k, headers: {h: v}}]}, exit: cache_client}",
    ));
    let proxy = grpc_kafka(&grpc(&plan).routes[0].exit);
    assert_eq!(
        (
            proxy.reliability_field,
            proxy.reliability_metadata.as_str(),
            proxy.idempotency_metadata.as_str()
        ),
        (536_870_911, "last-id", "x-key")
    );
    assert_eq!(
        (proxy.timeout, proxy.horizon),
        (Duration::from_secs(86_400), Duration::from_secs(60))
    );
    let own = GrpcCorrelation {
        service: "s".to_owned(),
        method: "m".to_owned(),
        correlation_id: "c".to_owned(),
        reply_to: "r".to_owned(),
    };
    assert_eq!(proxy.correlation, own);
    let GrpcKafkaWith::Produce {
        acks: Acks::None,
        key,
        overrides,
        reply_to: Some(reply_to),
        ..
    } = &proxy.routes[0].with
    else {
        panic!("{:?}", proxy.routes[0].with);
    };
    assert_eq!((text(key.as_ref()), reply_to.as_str()), ("k", "b"));
    let pairs: Vec<_> = overrides
        .iter()
        .map(|(name, value)| (name.as_str(), text(Some(value))))
        .collect();
    assert_eq!(pairs, [("Z", "1"), ("y", "two")]);
    let GrpcKafkaWith::Fetch { filters, .. } = &proxy.routes[2].with else {
        panic!("{:?}", proxy.routes[2].with);
    };
    assert_eq!(text(filters[0].key.as_ref()), "k");
    assert_eq!(proxy.routes[0].cluster, proxy.routes[2].cluster);
    let mut topics = crate::gateway::reply_topics(&plan);
    topics.sort();
    assert_eq!(topics, [(0, "a".to_owned()), (0, "b".to_owned())]);
}

/// A file with nothing but a remote server of these options and routes, and what it leads to.
fn with_remote(options: &str, routes: &str) -> String {
    format!(
        "
name: example
bindings:
  remote:
    type: kafka-grpc
    kind: remote_server
    entry: cache_client
    options: {{{options}}}
    routes: [{routes}]
  service: {{type: grpc, kind: client, exit: web}}
  web: {{type: http, kind: client, exit: tcp}}
  cache_client: {{type: kafka, kind: cache_client, exit: cache_server}}
  cache_server: {{type: kafka, kind: cache_server, exit: client}}
  client: {{type: kafka, kind: client, options: {{servers: ['kafka:9092']}}, exit: tcp}}
  tcp: {{type: tcp, kind: client}}
"
    )
}

#[test]
fn a_remote_server_needs_no_listener() {
    let plan = plan(&with_remote(
        "",
        "{when: [{topic: a, reply-to: b}], with: {scheme: http, authority: localhost}, exit: service}",
    ));
    assert_eq!(warnings(&plan), [""; 0]);
    assert!(plan.listeners.is_empty());
    assert_eq!((plan.clusters.len(), plan.http_clients.len()), (1, 1));
    let server = &plan.remote_servers[0];
    assert_eq!(server.group_id(), "zilla:example-remote");
    assert!(matches!(server.acks, Acks::InSyncReplicas));
    assert_eq!(server.idempotency_metadata, "idempotency-key");
    assert_eq!(server.correlation, GrpcCorrelation::default());
    assert_eq!(
        (server.timeout, server.session_timeout, server.window),
        (Duration::from_secs(300), Duration::from_secs(10), 10_000)
    );
    let route = &server.routes[0];
    assert_eq!(
        (route.scheme, route.authority.as_str()),
        (Scheme::Http, "localhost")
    );
    let when = &route.when[0];
    assert_eq!((when.topic.as_str(), when.reply_to.as_str()), ("a", "b"));
    assert!(when.service.is_none() && when.method.is_none());
    assert!(when.key.is_none() && when.headers.is_empty());
}

#[test]
fn the_options_of_a_remote_server_are_in_the_plan() {
    let plan = plan(&with_remote(
        "acks: none, idempotency: {metadata: X-Key}, timeout: 1s, horizon: 30d, session-timeout: 5m, window: 1000000,
      correlation: {headers: {service: s, method: m, correlation-id: c, reply-to: r}}",
        "{when: [{topic: b, reply-to: z, method: own.Echo/Tell, key: k, headers: {H: v}}, {topic: a, reply-to: y, method: own.Echo/*},
      {topic: a, reply-to: z, method: '*/*'}, {topic: a, reply-to: z, method: '*/Tell'}],
      with: {scheme: https, authority: 'echo:50051'}, exit: service},
      {when: [{topic: c, reply-to: y}], with: {scheme: http, authority: '[::1]:1'}, exit: service}",
    ));
    let server = &plan.remote_servers[0];
    assert!(matches!(server.acks, Acks::None));
    assert_eq!(server.idempotency_metadata, "x-key");
    assert_eq!(server.correlation.reply_to, "r");
    assert_eq!(
        (
            server.timeout,
            server.horizon,
            server.session_timeout,
            server.window
        ),
        (
            Duration::from_secs(1),
            Duration::from_secs(30 * 86_400),
            Duration::from_secs(300),
            1_000_000
        )
    );
    assert_eq!(server.topics(), ["a", "b", "c"]);
    assert_eq!(server.reply_topics(), ["y", "z"]);
    let [first, second] = &server.routes[..] else {
        panic!("{:?}", server.routes);
    };
    assert_eq!(
        (first.scheme, first.authority.as_str()),
        (Scheme::Https, "echo:50051")
    );
    assert_eq!(second.authority, "[::1]:1");
    let methods: Vec<_> = first
        .when
        .iter()
        .map(|when| (when.service.as_deref(), when.method.as_deref()))
        .collect();
    assert_eq!(
        methods,
        [
            (Some("own.Echo"), Some("Tell")),
            (Some("own.Echo"), None),
            (None, None),
            (None, Some("Tell")),
        ]
    );
    assert_eq!(first.when[0].key.as_deref(), Some(&b"k"[..]));
    assert_eq!(first.when[0].headers, [("H".to_owned(), b"v".to_vec())]);
}

/// The smallest file that leads to an http client of these options, which leads to `exit`.
fn with_client(options: &str, exit: &str) -> String {
    with_calls(&format!(
        "
  calls: {{type: http, kind: client, options: {{{options}}}, exit: {exit}}}
"
    ))
    .replacen(
        "name: example",
        "name: example
vaults: {vault: {type: filesystem, options: {trust: {store: tls/client-ca.p12, password: generated}}}}",
        1,
    )
}

#[test]
fn the_defaults_of_an_http_client_are_in_the_plan() {
    let plan = plan(&with_client("", "tcp"));
    let client = &plan.http_clients[0];
    assert_eq!((client.name.as_str(), client.number), ("calls", 0));
    assert_eq!(client.versions, HttpVersions::Both);
    assert!(client.overrides.is_empty() && client.tls.is_none());
    assert_eq!(client.limits, ClientLimits::default());
    assert_eq!((client.tcp.host.as_ref(), client.tcp.port), (None, None));
    let server = http(plan.listeners[0].routes.first().map(|route| &route.exit));
    let HttpExit::Client(exit) = &server.routes[0].exit else {
        panic!("another server");
    };
    assert!(Arc::ptr_eq(exit, client));
}

#[test]
fn the_options_of_an_http_client_are_in_the_plan() {
    let text = with_client(
        "versions: [h2], overrides: {':authority': a, X-Y: z}, limits: {connections-max: 1024, streams-max: 1, connect-timeout: 1s,
    response-timeout: 2s, idle-timeout: 3s}",
        "secure",
    );
    let text = text.replacen(
        "  tcp:\n    type: tcp\n    kind: client",
        "  secure: {type: tls, kind: client, vault: vault, options: {trust: [client-ca], sni: [echo], alpn: [http/1.1, h2]}, exit: tcp}
  tcp:
    type: tcp
    kind: client
    options: {host: echo, port: 443}",
        1,
    );
    let plan = plan(&text);
    let client = &plan.http_clients[0];
    assert_eq!(client.versions, HttpVersions::H2);
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(
        client.overrides,
        [pair(":authority", "a"), pair("x-y", "z")]
    );
    let expected = ClientLimits {
        connections_max: 1_024,
        streams_max: 1,
        connect_timeout: Duration::from_secs(1),
        response_timeout: Duration::from_secs(2),
        idle_timeout: Duration::from_secs(3),
        ..ClientLimits::default()
    };
    assert_eq!(client.limits, expected);
    let tls = client.tls.as_ref().unwrap();
    assert_eq!(tls.sni.as_deref(), Some("echo"));
    assert_eq!(tls.alpn, ["http/1.1", "h2"]);
    assert_eq!(
        (client.tcp.host.as_deref(), client.tcp.port),
        (Some("echo"), Some(443))
    );
}

#[test]
fn http_over_tls_may_leave_the_protocols_to_each_other() {
    let secure = |versions: &str, alpn: &str| {
        let text = with_client(&format!("versions: [{versions}]"), "secure");
        text.replacen(
            "  tcp:\n",
            &format!("  secure: {{type: tls, kind: client, vault: vault, options: {{alpn: [{alpn}]}}, exit: tcp}}\n  tcp:\n"),
            1,
        )
    };
    for (versions, alpn) in [
        ("h2, http/1.1", "h2"),
        ("h2, http/1.1", "http/1.1"),
        ("h2", "h2, other"),
        ("http/1.1", "h2, http/1.1"),
    ] {
        plan(&secure(versions, alpn));
    }
    for (versions, alpn) in [
        ("h2", "http/1.1"),
        ("http/1.1", "h2"),
        ("h2, http/1.1", "other"),
    ] {
        let refused = refusal(&secure(versions, alpn));
        assert_eq!(
            refused,
            "zilla.yaml:5:3: bindings.calls: speaks none of the protocols that `secure` offers (`options.alpn`)\n"
        );
    }
}
