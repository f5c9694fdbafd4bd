//! Whole files through [`load`]: one fixture per mistake, every file of `config/`, every entry of the "not yet" tables.

mod calls;
mod examples;
mod secured;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::unsupported::{self, Choice, Place};
use super::*;

/// The environment that fixtures see.
fn env(name: &str) -> Option<String> {
    match name {
        "KAFKA_BOOTSTRAP_SERVER" => Some("kafka:9092".into()),
        "EMPTY" => Some(String::new()),
        "ECHO_SERVER_HOST" | "UPSTREAM_HOST" => Some("echo".into()),
        "ECHO_SERVER_PORT" | "UPSTREAM_PORT" => Some("50051".into()),
        "DB_PASSWORD" => Some("hunter2 is my password".into()),
        "KEYSTORE_PASSWORD" | "TRUSTSTORE_PASSWORD" => Some("generated".into()),
        "BROKEN" => Some("[0.0.0.0".into()),
        _ => None,
    }
}

fn yaml_files(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let files = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = files
        .filter(|file| file.extension().is_some_and(|end| end == "yaml"))
        .collect();
    files.sort();
    assert!(!files.is_empty());
    files
}

fn load_file(file: &Path) -> Result<Plan, String> {
    let text = fs::read_to_string(file).unwrap();
    let name = file.file_name().unwrap().to_string_lossy();
    loaded(&name, &text).map_err(|mistakes| lines(&mistakes))
}

/// Loads a text that stands in `tests/config`, where the key stores are (their password is in [`env`]).
fn loaded(file_name: &str, text: &str) -> Result<Plan, Vec<Mistake>> {
    loaded_in("tests/config", file_name, text)
}

/// Loads a text that stands in `folder`.
fn loaded_in(folder: &str, file_name: &str, text: &str) -> Result<Plan, Vec<Mistake>> {
    let surroundings = Surroundings {
        env: &env,
        directory: &Path::new(env!("CARGO_MANIFEST_DIR")).join(folder),
        read_file: &|path| fs::read(path),
    };
    load(file_name, text, &surroundings)
}

fn lines(mistakes: &[Mistake]) -> String {
    let lines: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
    lines.join(
        "
",
    ) + "
"
}

/// The smallest file that works; `edits` replace a text of it, which must be there.
fn edited(edits: &[(&str, &str)]) -> String {
    let mut text = SMALL.to_owned();
    for (from, to) in edits {
        assert!(text.contains(from), "{from}");
        text = text.replacen(from, to, 1);
    }
    text
}

fn plan(text: &str) -> Plan {
    loaded("zilla.yaml", text).unwrap_or_else(|mistakes| panic!("{}\n{text}", lines(&mistakes)))
}

fn refusal(text: &str) -> String {
    loaded("zilla.yaml", text).map_or_else(|mistakes| lines(&mistakes), |_| "no mistake".into())
}

const SMALL: &str = "
name: example
bindings:
  north:
    type: tcp
    kind: server
    options: {host: 0.0.0.0, port: 7114}
    exit: http
  http:
    type: http
    kind: server
    exit: mapping
  mapping:
    type: http-kafka
    kind: proxy
    routes:
      - with: {capability: produce, topic: items}
        exit: cache_client
  cache_client:
    type: kafka
    kind: cache_client
    exit: cache_server
  cache_server:
    type: kafka
    kind: cache_server
    exit: client
  client:
    type: kafka
    kind: client
    options: {servers: [\"kafka:9092\"]}
    exit: tcp
  tcp:
    type: tcp
    kind: client
";

#[test]
fn every_fixture_is_refused_with_the_expected_messages() {
    let mut wrong = Vec::new();
    for file in yaml_files("tests/config") {
        let expected = fs::read_to_string(file.with_extension("txt")).unwrap_or_default();
        let found = load_file(&file).err().unwrap_or_default();
        if expected.is_empty() || found != expected {
            wrong.push(format!(
                "{}: expected\n{expected}found\n{found}",
                file.display()
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_file_of_config_loads_without_a_warning() {
    for file in yaml_files("config") {
        let text = fs::read_to_string(&file).unwrap();
        let name = file.file_name().unwrap().to_string_lossy();
        let plan = loaded_in("config", &name, &text)
            .unwrap_or_else(|mistakes| panic!("{}", lines(&mistakes)));
        assert!(
            plan.warnings.is_empty(),
            "{}: {:?}",
            file.display(),
            plan.warnings
        );
        for cluster in &plan.clusters {
            assert_eq!(cluster.servers, [("kafka".to_owned(), 9092)]);
        }
    }
}

/// A file with the unsupported `key` in a map of the kind `place`.
fn with_key(place: Place, key: &str) -> String {
    let entry = format!("{key}: [x]");
    let flow = |before: &str, after: &str| edited(&[(before, &after.replace('@', &entry))]);
    match place {
        Place::Plain => panic!("a plain place has no such keys"),
        Place::File => flow("name: example", "name: example\n@"),
        Place::Telemetry => panic!("everything known is supported there"),
        Place::BindingTelemetry => flow("exit: http\n", "telemetry: {@}\n    exit: http\n"),
        Place::Binding => flow("kind: proxy", "kind: proxy\n    @"),
        Place::TcpClient => flow(
            "    type: tcp\n    kind: client",
            "    type: tcp\n    @\n    kind: client",
        ),
        Place::Route => flow("    exit: http\n", "    routes: [{@, exit: http}]\n"),
        Place::TcpWhen => flow(
            "    exit: http\n",
            "    routes: [{when: [{@}], exit: http}]\n",
        ),
        Place::TlsClient => flow("bindings:", "bindings:\n  t: {type: tls, kind: client, exit: tcp, @}"),
        Place::TlsRoute => flow(
            "bindings:",
            "vaults: {v: {type: filesystem, options: {keys: {store: tls/localhost.p12, password: generated}}}}
bindings:\n  t: {type: tls, kind: server, vault: v, routes: [{exit: http, @}]}",
        ),
        Place::HttpServerOptions => flow("exit: mapping", "options: {@}\n    exit: mapping"),
        Place::HttpClientOptions => flow(
            "bindings:",
            "bindings:\n  c: {type: http, kind: client, options: {@}, exit: tcp}",
        ),
        Place::CatalogReference => flow(
            "bindings:",
            "catalogs: {c: {type: filesystem, options: {subjects: {s: {path: protos/echo.proto}}}}}
bindings:\n  e: {type: echo, kind: server}\n  g: {type: grpc, kind: server, catalog: {c: [{subject: s, @}]}, exit: e}",
        ),
        Place::RemoteRoute => flow(
            "bindings:",
            "bindings:
  r: {type: kafka-grpc, kind: remote_server, entry: cache_client,
    routes: [{when: [{topic: a, reply-to: b}], with: {scheme: http, authority: a}, exit: g, @}]}
  g: {type: grpc, kind: client, exit: c}
  c: {type: http, kind: client, exit: tcp}",
        ),
        Place::SseServerOptions => flow(
            "bindings:",
            "bindings:\n  s: {type: sse, kind: server, options: {@}, routes: []}",
        ),
        Place::FilesystemWith => flow(
            "bindings:",
            "bindings:
  f: {type: filesystem, kind: server, options: {location: .}}
  h: {type: http-filesystem, kind: proxy, routes: [{exit: f, with: {@}}]}",
        ),
        Place::Guard => flow("bindings:", "guards: {g: {type: inline, @}}\nbindings:"),
        Place::VaultOptions => flow(
            "bindings:",
            "vaults: {v: {type: filesystem, options: {@}}}\nbindings:",
        ),
        Place::Fetch => flow(
            "capability: produce, topic: items",
            "capability: fetch, topic: items, @",
        ),
        Place::CacheClientTopic => flow(
            "exit: cache_server",
            "options: {topics: [{name: a, @}]}\n    exit: cache_server",
        ),
        Place::CacheServerTopic => flow(
            "exit: client",
            "options: {topics: [{name: a, @}]}\n    exit: client",
        ),
        Place::KafkaClientOptions => flow("options: {servers", "options: {@, servers"),
        Place::KafkaClientWhen => flow(
            "exit: tcp",
            "routes: [{when: [{topic: a, @}], exit: tcp}]\n    exit: tcp",
        ),
    }
}

/// A file with the unsupported `word` as the value of a key of the kind `choice`.
fn with_word(choice: Choice, word: &str) -> String {
    let flow = |before: &str, after: &str| edited(&[(before, &after.replace('@', word))]);
    match choice {
        Choice::Plain => panic!("a plain choice has no such words"),
        Choice::ExporterType => flow(
            "name: example",
            "name: example\ntelemetry: {exporters: {a: {type: @}}}",
        ),
        Choice::EndpointScheme => flow(
            "name: example",
            "name: example\ntelemetry: {exporters: {a: {type: prometheus, options: {endpoints: [{scheme: @, port: 7190}]}}}}",
        ),
        Choice::DefaultOffset => flow(
            "exit: client",
            "options: {topics: [{name: a, defaultOffset: @}]}\n    exit: client",
        ),
        Choice::DeltaType => flow(
            "exit: client",
            "options: {topics: [{name: a, deltaType: @}]}\n    exit: client",
        ),
        Choice::CatalogType => flow(
            "name: example",
            "name: example\ncatalogs: {c: {type: @, options: {url: 'http://localhost:8081'}}}",
        ),
        Choice::SseKind => flow("type: http\n    kind: server", "type: sse\n    kind: @"),
        Choice::TlsKind => flow("type: http\n    kind: server", "type: tls\n    kind: @"),
    }
}

#[test]
fn every_entry_of_the_not_yet_tables_is_refused_as_such() {
    for (place, keys) in unsupported::KEYS {
        for key in *keys {
            let refused = refusal(&with_key(*place, key));
            assert!(
                refused.ends_with(&format!("{key}: not supported yet\n")),
                "{place:?}: {refused}"
            );
            assert_eq!(refused.lines().count(), 1, "{refused}");
        }
    }
    for (choice, words) in unsupported::WORDS {
        for word in *words {
            let refused = refusal(&with_word(*choice, word));
            assert!(
                refused.contains(&format!("`{word}` is not supported yet\n")),
                "{choice:?}: {refused}"
            );
        }
    }
    for name in unsupported::METRICS {
        let telemetry = format!("name: example\ntelemetry: {{metrics: [{name}]}}");
        let refused = refusal(&edited(&[("name: example", &telemetry)]));
        assert!(
            refused.ends_with(&format!("metrics[0]: `{name}` is not supported yet\n")),
            "{refused}"
        );
    }
    for name in unsupported::BINDING_TYPES {
        let refused = refusal(&edited(&[("type: http\n", &format!("type: {name}\n"))]));
        assert!(
            refused.contains(&format!(
                "bindings of type `{name}` are not supported yet\n"
            )),
            "{refused}"
        );
    }
}

#[test]
fn an_unsupported_key_that_asks_for_nothing_is_no_mistake() {
    plan(&edited(&[
        (
            "name: example",
            "name: example\ncatalogs: {}\nstores:\nguards: {}\nvaults:\n",
        ),
        ("- with", "- guarded: {}\n        with"),
    ]));
}

#[test]
fn the_defaults_are_in_the_plan() {
    let plan = plan(SMALL);
    assert!(plan.warnings.is_empty(), "{:?}", plan.warnings);
    assert_eq!(plan.telemetry, Telemetry::default());
    let listener = &plan.listeners[0];
    assert_eq!(
        (listener.namespace.as_str(), listener.name.as_str()),
        ("example", "north")
    );
    assert_eq!(
        (listener.host.as_str(), &*listener.ports),
        ("0.0.0.0", &[7114][..])
    );
    let server = http(listener.route("127.0.0.1".parse().unwrap(), 7114));
    assert_eq!(server.limits, HttpLimits::default());
    assert_eq!(server.versions, HttpVersions::Both);
    assert_eq!(server.access_control, AccessControl::SameOrigin);
    assert!(server.authorization.is_none());
    let proxy = mapped(&plan);
    assert_eq!(proxy.idempotency_header, "idempotency-key");
    assert_eq!(proxy.timeout, Duration::from_secs(30));
    let With::Produce {
        topic,
        acks,
        key,
        overrides,
        reply,
    } = &proxy.routes[0].with
    else {
        panic!("a produce route")
    };
    assert_eq!(
        (topic.as_literal(), *acks, key.is_none(), overrides.len()),
        (Some("items"), Acks::InSyncReplicas, true, 0)
    );
    assert!(reply.is_none());
    assert_eq!(proxy.correlation, Correlation::default());
    assert_eq!(proxy.correlation.reply_to, "zilla:reply-to");
    assert_eq!(proxy.correlation.correlation_id, "zilla:correlation-id");
    assert_eq!(proxy.wait_max, Duration::from_secs(60));
    assert_eq!(proxy.horizon, Duration::from_secs(86_400));
    let cluster = &plan.clusters[proxy.routes[0].cluster];
    assert_eq!(
        (cluster.name.as_str(), cluster.connect_to.as_ref()),
        ("client", None)
    );
}

#[test]
fn the_options_are_in_the_plan() {
    let plan = plan(&edited(&[
        ("name: example", "name: example\ntelemetry: {exporters: {out: {type: stdout}}}"),
        ("port: 7114", "port: [0, \"8001-8003\", \"9000\"]"),
        (
            "exit: mapping",
            "options:
      versions: [http/1.1]
      access-control: {policy: same-origin}
      overrides: {X-Gateway: sluice}
      limits: {head-bytes-max: 16KiB, headers-max: 64, body-bytes-max: 2MB, pipeline-max: 8, streams-max: 1024, header-timeout: 1s,
        idle-timeout: PT2M, body-timeout: 500ms, write-timeout: 1.5s}
    routes:
      - when: [{headers: {':path': /a*, Accept: text/*}}, {}]
        with: {headers: {overrides: {x-a: '1'}}}
        exit: mapping",
        ),
        (
            "    routes:
      - with: {capability: produce, topic: items}",
            "    options: {timeout: 5s, idempotency: {header: X-Key}}
    routes:
      - when: [{method: PUT|POST, path: '/{tenant}/{id}'}, {path: '/x/{id};{tenant}'}]
        with:
          capability: produce
          topic: items-${params.tenant}
          acks: leader_only
          key: ${params.id}-${query.part}
          overrides: {trace: '${headers.traceparent}', Key: '${idempotencyKey}'}
        exit: cache_client
      - with:
          capability: fetch
          topic: items
          filters: [{key: k, headers: {a: b}}, {headers: {c: d}}]
          merge: {content-type: application/json, patch: {initial: '[]', path: /-}}",
        ),
        ("exit: client", "options: {bootstrap: [items, events], topics: [{name: items, defaultOffset: historical, deltaType: none}]}\n    exit: client"),
        (
            "options: {servers: [\"kafka:9092\"]}",
            "options:
      servers: ['a:1,b:2', '[::1]:3']
      create: [{name: items, partitions: 3, replication-factor: 2, configs: {cleanup.policy: compact, retention.ms: 1000}}, {name: e}]",
        ),
        ("    type: tcp\n    kind: client", "    type: tcp\n    kind: client\n    options: {host: proxy, port: 9999}"),
    ]));
    assert!(plan.telemetry.stdout_events);
    assert_eq!(plan.listeners[0].ports, [0, 8001, 8002, 8003, 9000]);
    let server = http(plan.listeners[0].route("::1".parse().unwrap(), 8002));
    assert_eq!(
        server.overrides,
        [("x-gateway".to_owned(), "sluice".to_owned())]
    );
    let limits = HttpLimits {
        head_bytes_max: 16 << 10,
        headers_max: 64,
        body_bytes_max: 2_000_000,
        pipeline_max: 8,
        streams_max: 1_024,
        header_timeout: Duration::from_secs(1),
        idle_timeout: Duration::from_secs(120),
        body_timeout: Duration::from_millis(500),
        write_timeout: Duration::from_millis(1_500),
    };
    assert_eq!(server.limits, limits);
    assert_eq!(server.versions, HttpVersions::Http11);
    let route = &server.routes[0];
    assert_eq!(
        (
            route.when.len(),
            route.when[0].len(),
            route.when[0][1].0.as_str()
        ),
        (2, 2, "accept")
    );
    assert_eq!(route.overrides, [("x-a".to_owned(), "1".to_owned())]);
    let proxy = kafka(&route.exit);
    assert_eq!(
        (proxy.timeout, proxy.idempotency_header.as_str()),
        (Duration::from_secs(5), "x-key")
    );
    assert!(
        matches!(&proxy.routes[0].with, With::Produce { acks: Acks::LeaderOnly, overrides, .. } if overrides[1].0 == "Key")
    );
    let With::Fetch {
        filters,
        merge: true,
        ..
    } = &proxy.routes[1].with
    else {
        panic!("a merged fetch route")
    };
    assert_eq!((filters.len(), filters[1].key.is_none()), (2, true));
    let cluster = &plan.clusters[0];
    assert_eq!(
        cluster.servers,
        [
            ("a".to_owned(), 1),
            ("b".to_owned(), 2),
            ("::1".to_owned(), 3)
        ]
    );
    assert_eq!(cluster.bootstrap, ["items", "events"]);
    assert_eq!(cluster.connect_to, Some(("proxy".to_owned(), 9999)));
    assert_eq!(
        (
            cluster.create[0].partitions,
            cluster.create[0].replication_factor
        ),
        (3, 2)
    );
    assert_eq!(
        cluster.create[0].configs[1],
        ("retention.ms".to_owned(), "1000".to_owned())
    );
    assert_eq!(
        (
            cluster.create[1].partitions,
            cluster.create[1].replication_factor
        ),
        (1, -1)
    );
}

/// The routes of the only proxy.
fn mapped(plan: &Plan) -> &HttpKafka {
    kafka(&http(Some(&plan.listeners[0].routes[0].exit)).routes[0].exit)
}

fn kafka(exit: &HttpExit) -> &HttpKafka {
    let HttpExit::Kafka(proxy) = exit else {
        panic!("the route leads to Kafka");
    };
    proxy
}

fn http(exit: Option<&ListenerExit>) -> &HttpServer {
    let Some(ListenerExit::Http(server)) = exit else {
        panic!("the route leads to an http server");
    };
    server
}

/// The reply of a route.
fn reply(route: &HttpKafkaRoute) -> &Reply {
    match &route.with {
        With::Produce {
            reply: Some(reply), ..
        } => reply,
        With::Produce { reply: None, .. } | With::Fetch { .. } => panic!("a route with a reply"),
    }
}

#[test]
fn correlated_requests_are_in_the_plan() {
    let plan = plan(&edited(&[
        (
            "kind: proxy\n",
            "kind: proxy
    options:
      idempotency: {horizon: PT1M}
      correlation: {headers: {reply-to: x-reply, correlation-id: x-id}}
      wait-max: 1h
",
        ),
        (
            "      - with: {capability: produce, topic: items}",
            "      - when: [{path: '/items/{id}'}, {path: '/items/{id};{x}'}]
        with:
          capability: produce
          topic: items-${body./kind}
          key: ${body.device.id}
          overrides: {kind: '${body./kind}'}
          reply-to: replies
          async: {Location: '/items/${params.id};cid=${correlationId}', x-key: '${idempotencyKey} ${headers.a}'}
        exit: cache_client
      - with: {capability: produce, topic: items, reply-to: 'to-${headers.x}', correlation-id: x-own}",
        ),
    ]));
    assert!(plan.warnings.is_empty(), "{:?}", plan.warnings);
    let proxy = mapped(&plan);
    assert_eq!(proxy.wait_max, Duration::from_secs(3_600));
    assert_eq!(proxy.horizon, Duration::from_secs(60));
    assert_eq!(proxy.idempotency_header, "idempotency-key");
    let names = (
        proxy.correlation.reply_to.as_str(),
        proxy.correlation.correlation_id.as_str(),
    );
    assert_eq!(names, ("x-reply", "x-id"));
    let first = reply(&proxy.routes[0]);
    assert_eq!(first.topic.as_literal(), Some("replies"));
    assert_eq!(first.correlation_header, "x-id");
    let names: Vec<&str> = first
        .headers
        .iter()
        .map(|header| header.name.as_str())
        .collect();
    assert_eq!(names, ["location", "x-key"]);
    let location = first.headers[0].location.as_ref().unwrap();
    assert_eq!(
        location.correlation_id(b"/items/5;cid=a-1").as_deref(),
        Some(&b"a-1"[..])
    );
    assert!(first.headers[1].location.is_none());
    let second = reply(&proxy.routes[1]);
    assert!(!second.topic.is_literal() && second.headers.is_empty());
    assert_eq!(second.correlation_header, "x-own");
    assert_eq!(
        crate::gateway::reply_topics(&plan),
        [(0, "replies".to_owned())]
    );
}

#[test]
fn results_that_nobody_can_ask_for_are_odd() {
    let warnings = |with: &str| {
        let text = edited(&[("topic: items", with)]);
        let warnings = plan(&text).warnings;
        warnings.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(
        warnings("topic: a, reply-to: b, async: {location: /x, x-id: '${correlationId}'}"),
        [
            "zilla.yaml:17:68: bindings.mapping.routes[0].with.async: no value is a path with `${correlationId}`: nobody can ask for the result"
        ]
    );
    assert_eq!(
        warnings("topic: a, reply-to: b, async: {location: '/${query.x}-${correlationId}'}"),
        [
            "zilla.yaml:17:78: bindings.mapping.routes[0].with.async.location: nothing tells `${correlationId}` from the expression beside it (put `/` or `;` between them)"
        ]
    );
    assert_eq!(
        warnings("topic: a, reply-to: 'b-${body.x}', async: {location: '/${correlationId}'}"),
        [
            "zilla.yaml:17:57: bindings.mapping.routes[0].with.reply-to: a request for the result has no body to find this topic with"
        ]
    );
}

#[test]
fn a_reply_comes_from_the_cluster_of_its_request() {
    let other = "
  other_server: {type: kafka, kind: cache_server, exit: other_client}
  other_client: {type: kafka, kind: client, options: {servers: ['other:9092']}, exit: tcp}
";
    let routes = "routes: [{when: [{topic: b}], exit: other_server}, {when: [{topic: a}], exit: cache_server}]";
    let found = |with: &str| {
        let text = edited(&[("exit: cache_server", routes), ("topic: items", with)]);
        refusal(&format!("{}{other}", text.trim_end()))
    };
    assert_eq!(
        found("topic: a, reply-to: b"),
        "zilla.yaml:17:57: bindings.mapping.routes[0].with.reply-to: a reply from another cluster is not supported yet\n"
    );
    assert_eq!(
        found("topic: a, reply-to: c"),
        "zilla.yaml:17:57: bindings.mapping.routes[0].with.reply-to: no route of `cache_client` takes the topic `c`\n"
    );
    assert_eq!(found("topic: a, reply-to: a"), "no mistake");
}

#[test]
fn what_no_listener_leads_to_starts_nothing() {
    let second = SMALL
        .replace("name: example", "name: second")
        .replace("exit: http\n", "exit: example:http\n")
        .replace("7114", "7115")
        .replace(
            "exit: client",
            "options: {bootstrap: [late]}\n    exit: client",
        )
        .replace("exit: cache_client", "exit: example:cache_client")
        .replace("servers:", "create: [{name: late}], servers:");
    let plan = plan(&format!("---{SMALL}---{second}---\n"));
    let names: Vec<&str> = plan
        .clusters
        .iter()
        .map(|cluster| cluster.namespace.as_str())
        .collect();
    assert_eq!(names, ["example"]);
    assert!(plan.clusters[0].bootstrap.is_empty());
    assert!(plan.clusters[0].create.is_empty());
    let lonely = edited(&[(
        "bindings:",
        "bindings:
  lonely: {type: kafka, kind: cache_server, options: {bootstrap: [late]}, exit: client}",
    )]);
    let lonely = loaded("zilla.yaml", &lonely).unwrap();
    assert!(lonely.clusters[0].bootstrap.is_empty());
    assert_eq!(lonely.warnings.len(), 1);
}

#[test]
fn telemetry_is_in_the_plan() {
    let plan = plan(&edited(&[
        (
            "name: example",
            "name: example
telemetry:
  attributes: {service.name: gateway}
  metrics: [stream.opens.received, http.request.size, http.duration]
  exporters:
    one: {type: prometheus, options: {endpoints: [{scheme: http, port: 7190, path: /m}, {host: '::1', port: 0}]}}",
        ),
        (
            "exit: mapping",
            "telemetry: {metrics: [http.*]}\n    exit: mapping",
        ),
    ]));
    let telemetry = &plan.telemetry;
    assert_eq!(
        telemetry.attributes,
        [("service.name".to_owned(), "gateway".to_owned())]
    );
    let endpoint = |host: &str, port, path: &str| PrometheusEndpoint {
        host: host.into(),
        port,
        path: path.into(),
    };
    assert_eq!(
        telemetry.prometheus,
        [
            endpoint("0.0.0.0", 7190, "/m"),
            endpoint("::1", 0, "/metrics")
        ]
    );
    let listener = &plan.listeners[0];
    let names = |set: MetricSet| set.iter().map(ZillaMetric::name).collect::<Vec<_>>();
    assert_eq!(
        names(listener.metrics),
        [
            "stream.opens.received",
            "http.request.size",
            "http.duration"
        ],
        "a binding that says nothing has all of them"
    );
    assert_eq!(
        names(http(Some(&listener.routes[0].exit)).metrics),
        ["http.request.size", "http.duration"]
    );
}

#[test]
fn listener_routes_are_taken_by_port_and_network() {
    let routes = "routes:
      - when: [{port: 7114, cidr: 10.0.0.0/8}]
        exit: http
      - when: [{port: \"7115-7116\"}]
        exit: http
";
    let plan = plan(&edited(&[
        ("port: 7114", "port: \"7114-7117\""),
        ("exit: http\n", routes),
    ]));
    let is_taken = |address: &str, port| {
        plan.listeners[0]
            .route(address.parse().unwrap(), port)
            .is_some()
    };
    assert!(is_taken("10.1.2.3", 7114));
    assert!(!is_taken("127.0.0.1", 7114));
    assert!(is_taken("127.0.0.1", 7116));
    assert!(!is_taken("127.0.0.1", 7117));
}

#[test]
fn documents_are_namespaces_that_can_lead_to_each_other() {
    let second = SMALL
        .replace("name: example", "name: second")
        .replace("7114", "7115");
    let second = second.replace("exit: cache_client", "exit: example:cache_client");
    let plan = plan(&format!("---{SMALL}---{second}---\n"));
    assert_eq!(
        plan.listeners
            .iter()
            .map(|listener| listener.namespace.as_str())
            .collect::<Vec<_>>(),
        ["example", "second"]
    );
    assert_eq!(
        plan.clusters.len(),
        1,
        "one client, however many lead to it"
    );
    assert_eq!(
        plan.warnings.len(),
        4,
        "the second document's kafka bindings: {:?}",
        plan.warnings
    );
}

#[test]
fn topics_choose_clusters_by_route() {
    let other = "
  other_server: {type: kafka, kind: cache_server, options: {bootstrap: [audit]}, exit: other_client}
  other_client: {type: kafka, kind: client, options: {servers: ['other:9092']}, exit: tcp}
";
    let routes = "routes: [{when: [{topic: aud*}, {topic: logs}], exit: other_server}]\n    exit: cache_server";
    let produce = "{with: {capability: produce, topic: audit}, exit: cache_client}";
    let text = edited(&[
        ("exit: cache_server", routes),
        ("      - with", &format!("      - {produce}\n      - with")),
    ]);
    let plan = plan(&format!("{}{other}", text.trim_end()));
    let routes = &mapped(&plan).routes;
    let names: Vec<&str> = routes
        .iter()
        .map(|route| plan.clusters[route.cluster].name.as_str())
        .collect();
    assert_eq!(names, ["other_client", "client"]);
    assert_eq!(plan.clusters[routes[0].cluster].bootstrap, ["audit"]);
}

#[test]
fn what_is_odd_is_a_warning_with_its_place() {
    let plan = plan(&edited(&[
        (
            "exit: http\n",
            "exit: http\n    routes: [{when: [{port: 99}]}]\n",
        ),
        ("- with", "- when: [{method: get}]\n        with"),
        ("exit: tcp", "routes: [{when: [{topic: '*'}], exit: tcp}]"),
        (
            "bindings:",
            "bindings:\n  lonely: {type: tcp, kind: client}",
        ),
    ]));
    let warnings: Vec<String> = plan.warnings.iter().map(ToString::to_string).collect();
    let expected = [
        "zilla.yaml:4:3: bindings.lonely: no listener leads here; it is not started",
        "zilla.yaml:10:15: bindings.north.routes[0]: a route without `exit` is Zilla 1.x; the `exit` of the binding is used",
        "zilla.yaml:10:29: bindings.north.routes[0].when[0].port: never matches: the server does not listen there",
        "zilla.yaml:19:25: bindings.mapping.routes[0].when[0].method: `get` does not match `GET`: methods are case-sensitive",
        "zilla.yaml:34:15: bindings.client.routes: `routes` of a kafka client are Zilla 1.x; give them to its cache_server",
    ];
    assert_eq!(warnings, expected);
}

/// Found by the fuzzer: a value with the loader's own marker was taken for one that had been reported.
#[test]
fn a_value_with_a_private_character_is_not_passed_over() {
    let text = edited(&[("type: tcp", "type: t\u{e000}cp")]);
    assert!(
        refusal(&text).starts_with(
            "zilla.yaml:5:12: bindings.north.type: the character U+E000 cannot stand here"
        ),
        "{}",
        refusal(&text)
    );
}

#[test]
fn no_text_makes_the_loader_panic() {
    let file = &yaml_files("config")[0];
    let text = fs::read_to_string(file).unwrap();
    let letters: Vec<char> = text.chars().collect();
    for cut in (0..letters.len()).step_by(31) {
        let _ = loaded("cut.yaml", &letters[..cut].iter().collect::<String>());
        let mut without: Vec<char> = letters.clone();
        without.remove(cut);
        let _ = loaded("without.yaml", &without.iter().collect::<String>());
        for other in ['{', '*', '\0', '\u{E000}', '-'] {
            let mut changed = letters.clone();
            changed[cut] = other;
            let _ = loaded("changed.yaml", &changed.iter().collect::<String>());
        }
    }
}
