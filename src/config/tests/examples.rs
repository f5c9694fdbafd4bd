//! Zilla's examples of what this version serves, as they are.

use std::fs;
use std::path::Path;

use super::super::*;
use super::calls::{grpc, grpc_kafka};
use super::{http, lines, load_file, loaded_in, yaml_files};
use crate::grpc::proto::MethodKind;
use crate::http::Scheme;

fn example(name: &str) -> Plan {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config/examples");
    load_file(&folder.join(name)).unwrap_or_else(|mistakes| panic!("{mistakes}"))
}

/// An example that brings files of its own.
fn example_in(folder: &str) -> Plan {
    let folder = format!("tests/config/examples/{folder}");
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join(&folder)
        .join("zilla.yaml");
    let text = fs::read_to_string(file).unwrap();
    loaded_in(&folder, "zilla.yaml", &text)
        .unwrap_or_else(|mistakes| panic!("{}", lines(&mistakes)))
}

fn warnings(plan: &Plan) -> Vec<String> {
    plan.warnings.iter().map(ToString::to_string).collect()
}

fn tls(plan: &Plan) -> &TlsServer {
    let Some(ListenerExit::Tls(server)) = plan.listeners[0].routes.first().map(|route| &route.exit)
    else {
        panic!("the listener leads to a tls server");
    };
    server
}

#[test]
fn sse_kafka_fanout_loads() {
    let plan = example("sse.kafka.fanout.yaml");
    assert_eq!(warnings(&plan), [""; 0]);
    let server = http(plan.listeners[0].routes.first().map(|route| &route.exit));
    assert_eq!(
        server.access_control,
        AccessControl::CrossOrigin(CrossOrigin::default())
    );
    let HttpExit::Sse(sse) = &server.routes[0].exit else {
        panic!("events");
    };
    assert_eq!(
        (sse.retry.as_millis(), sse.heartbeat.as_secs()),
        (2_000, 15)
    );
    assert!(sse.routes[0].when.is_empty());
    let route = &sse.routes[0].exit.routes[0];
    assert_eq!(
        route.when[0].names().collect::<Vec<_>>(),
        ["topic", "key", "tag"]
    );
    assert_eq!(
        (route.filters.len(), route.event_id),
        (1, EventIdForm::Etag)
    );
    assert_eq!(plan.clusters[route.cluster].bootstrap, ["events"]);
    assert_eq!(plan.sse_kafka().count(), 1);
    let HttpExit::Filesystem(files) = &server.routes[1].exit else {
        panic!("files");
    };
    let route = &files.routes[0];
    assert_eq!(route.path.params().collect::<Vec<_>>(), ["path"]);
    assert_eq!(route.exit.location, Path::new("/var/www/"));
    assert!(!route.exit.follows_links);
}

#[test]
fn sse_kafka_fanout_jwt_loads() {
    let plan = example("sse.kafka.fanout.jwt.yaml");
    assert_eq!(warnings(&plan), [""; 0]);
    let GuardKind::Jwt(guard) = &plan.guards[0].kind else {
        panic!("a jwt guard");
    };
    assert_eq!(
        (guard.issuer.as_str(), guard.audience.as_str()),
        ("https://auth.example.com", "https://api.example.com")
    );
    assert_eq!(
        (&*guard.roles, &*guard.identity),
        (&["scope".to_owned()][..], &["sub".to_owned()][..])
    );
    assert_eq!(guard.challenge.map(|time| time.as_secs()), Some(10));
    let JwtKeys::Inline(keys) = &guard.keys else {
        panic!("keys of the file");
    };
    let ids: Vec<_> = keys
        .iter()
        .map(|key| (key.kty.as_str(), key.kid.as_str()))
        .collect();
    assert_eq!(ids, [("RSA", "example"), ("EC", "example_ec")]);
    assert_eq!(keys[1].crv.as_deref(), Some("P-256"));
    let tls = tls(&plan);
    assert_eq!(
        (tls.sni.as_slice(), tls.alpn.as_slice()),
        (&["localhost".to_owned()][..], &["h2".to_owned()][..])
    );
    assert_eq!(
        (tls.keys.len(), tls.keys[0].alias.as_str()),
        (1, "localhost")
    );
    assert_eq!((tls.mutual, tls.trust.len()), (Mutual::None, 0));
    let TlsExit::Http(server) = &tls.routes[0].exit else {
        panic!("requests");
    };
    assert_eq!(server.versions, HttpVersions::H2);
    let authorization = server.authorization.as_ref().unwrap();
    assert_eq!(authorization.guard, 0);
    assert_eq!(
        authorization.headers,
        [(
            "authorization".to_owned(),
            "Bearer {credentials}".to_owned()
        )]
    );
    assert_eq!(
        authorization.query,
        [("access_token".to_owned(), "{credentials}".to_owned())]
    );
    let HttpExit::Sse(sse) = &server.routes[0].exit else {
        panic!("events");
    };
    assert_eq!(
        sse.routes[0].guarded,
        [Guarded {
            guard: 0,
            roles: vec!["proxy:stream".to_owned()]
        }]
    );
}

#[test]
fn http_proxy_jwt_loads() {
    let plan = example("http.proxy.jwt.yaml");
    assert_eq!(warnings(&plan), [""; 0]);
    let server = http(plan.listeners[0].routes.first().map(|route| &route.exit));
    assert_eq!(
        server.routes[0].guarded,
        [Guarded {
            guard: 0,
            roles: vec!["echo:stream".to_owned()]
        }]
    );
    assert!(matches!(server.routes[0].exit, HttpExit::Echo(_)));
    assert!(plan.clusters.is_empty());
}

#[test]
fn tls_echo_loads() {
    let plan = example("tls.echo.yaml");
    assert_eq!(
        warnings(&plan),
        [
            "tls.echo.yaml:41:11: bindings.north_tls_server.options.trust[1]: the vault `my_servers` has no `other-ca` under `trust` (there is `client-ca`)"
        ]
    );
    let tls = tls(&plan);
    assert_eq!((tls.mutual, tls.guard), (Mutual::Requested, Some(0)));
    let trusted: Vec<_> = tls.trust.iter().map(|entry| entry.alias.as_str()).collect();
    assert_eq!(trusted, ["client-ca"]);
    let GuardKind::X509(guard) = &plan.guards[0].kind else {
        panic!("an x509 guard");
    };
    assert_eq!(guard.identity, "subject.cn");
    assert_eq!(
        guard.roles[0].1[0][1],
        ("subject.cn".to_owned(), "client-*".to_owned())
    );
    assert_eq!(tls.routes[0].guarded[0].roles, ["client"]);
    assert_eq!(tls.routes[0].when[0].alpn.as_deref(), Some("secure-echo"));
    assert!(tls.routes[1].guarded.is_empty());
    assert!(matches!(tls.routes[1].exit, TlsExit::Echo(_)));
}

#[test]
fn grpc_echo_loads() {
    let plan = example_in("grpc.echo");
    assert_eq!(warnings(&plan), [""; 0]);
    let server = grpc(&plan);
    let kind = |method| server.services.method("example.EchoService", method);
    assert_eq!(kind("EchoUnary").unwrap().kind, MethodKind::Unary);
    assert_eq!(kind("EchoBidiStream").unwrap().kind, MethodKind::Bidi);
    let route = &server.routes[0];
    assert!(matches!(route.exit, GrpcExit::Echo(_)));
    let method = route.when[0].method.as_ref().unwrap();
    assert!(method.matches(b"example.EchoService/EchoUnary"));
    assert!(!method.matches(b"example.OtherService/EchoUnary"));
    assert!(plan.clusters.is_empty());
}

#[test]
fn grpc_kafka_echo_loads() {
    let plan = example_in("grpc.kafka.echo");
    assert_eq!(warnings(&plan), [""; 0]);
    let server = grpc(&plan);
    for (method, kind) in [
        ("UnaryEcho", MethodKind::Unary),
        ("ServerStreamingEcho", MethodKind::ServerStreaming),
        ("ClientStreamingEcho", MethodKind::ClientStreaming),
        ("BidirectionalStreamingEcho", MethodKind::Bidi),
    ] {
        let found = server.services.method("grpc.examples.echo.Echo", method);
        assert_eq!(found.unwrap().kind, kind, "{method}");
    }
    let proxy = grpc_kafka(&server.routes[0].exit);
    assert_eq!(proxy.name, "north_grpc_kafka_mapping");
    let GrpcKafkaWith::Produce {
        topic,
        acks: Acks::LeaderOnly,
        reply_to: Some(reply_to),
        ..
    } = &proxy.routes[0].with
    else {
        panic!("{:?}", proxy.routes[0].with);
    };
    // The requests are their own replies.
    assert_eq!(
        (topic.as_str(), reply_to.as_str()),
        ("echo-messages", "echo-messages")
    );
    assert_eq!(plan.clusters[0].bootstrap, ["echo-messages"]);
}

#[test]
fn grpc_kafka_fanout_loads() {
    let plan = example_in("grpc.kafka.fanout");
    assert_eq!(warnings(&plan), [""; 0]);
    let server = grpc(&plan);
    let method = server
        .services
        .method("example.FanoutService", "FanoutServerStream");
    assert_eq!(method.unwrap().kind, MethodKind::ServerStreaming);
    assert_eq!(method.unwrap().input, "google.protobuf.Empty");
    let route = &grpc_kafka(&server.routes[0].exit).routes[0];
    let method = route.when[0].method.as_ref().unwrap();
    assert!(method.matches(b"example.FanoutService/FanoutServerStream"));
    assert!(!method.matches(b"example.FanoutService/Other"));
    let GrpcKafkaWith::Fetch { topic, filters } = &route.with else {
        panic!("{:?}", route.with);
    };
    assert_eq!((topic.as_str(), filters.len()), ("messages", 0));
}

#[test]
fn grpc_kafka_proxy_loads() {
    let plan = example_in("grpc.kafka.proxy");
    assert_eq!(warnings(&plan), [""; 0]);
    let proxy = grpc_kafka(&grpc(&plan).routes[0].exit);
    let [remote] = &plan.remote_servers[..] else {
        panic!("{:?}", plan.remote_servers);
    };
    assert_eq!(
        remote.group_id(),
        "zilla:example-west_kafka_grpc_remote_server"
    );
    assert!(matches!(remote.acks, Acks::LeaderOnly));
    assert_eq!(remote.cluster, proxy.routes[0].cluster);
    assert_eq!(plan.clusters.len(), 1);
    assert_eq!(remote.topics(), ["echo-requests"]);
    assert_eq!(remote.reply_topics(), ["echo-responses"]);
    let route = &remote.routes[0];
    assert_eq!(
        (route.scheme, route.authority.as_str()),
        (Scheme::Http, "echo:50051")
    );
    let when = &route.when[0];
    assert_eq!(
        (when.service.as_deref(), when.method.as_deref()),
        (Some("grpc.examples.echo.Echo"), None)
    );
    let client = &route.exit.routes[0].exit;
    assert_eq!(client.versions, HttpVersions::H2);
    assert!(client.tls.is_none());
    assert_eq!(
        (client.tcp.host.as_deref(), client.tcp.port),
        (Some("echo"), Some(50_051))
    );
}

#[test]
fn grpc_proxy_loads() {
    let plan = example_in("grpc.proxy");
    assert_eq!(warnings(&plan), [""; 0]);
    assert_eq!(plan.listeners[0].ports, [7_151, 7_153]);
    let GrpcExit::Client(client) = &grpc(&plan).routes[0].exit else {
        panic!("another server");
    };
    assert_eq!(client.name, "south_grpc_client");
    assert!(client.routes[0].when.is_empty());
    assert_eq!(client.routes[0].exit.tcp.port, Some(50_051));
    assert_eq!(plan.tls_servers().len(), 1);
    assert_eq!(plan.http_servers().len(), 1, "both ports lead to it");
}

#[test]
fn http_proxy_loads() {
    let plan = example_in("http.proxy");
    assert_eq!(warnings(&plan), [""; 0]);
    let TlsExit::Http(server) = &tls(&plan).routes[0].exit else {
        panic!("requests");
    };
    let names: Vec<_> = server.routes[0].when[0]
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    assert_eq!(names, [":scheme", ":path"]);
    let HttpExit::Client(client) = &server.routes[0].exit else {
        panic!("another server");
    };
    assert_eq!(client.versions, HttpVersions::Both);
    let tls = client.tls.as_ref().unwrap();
    assert_eq!(
        (&*tls.alpn, tls.sni.as_deref()),
        (&["h2".to_owned()][..], Some("nginx"))
    );
    assert_eq!(
        (client.tcp.host.as_deref(), client.tcp.port),
        (Some("nginx"), Some(443))
    );
}

#[test]
fn no_damage_to_an_example_makes_the_loader_panic() {
    let nothing = Surroundings {
        env: &|_| Some("text".to_owned()),
        directory: Path::new(""),
        read_file: &|_| Err(io::ErrorKind::NotFound.into()),
    };
    let mut files = yaml_files("tests/config/examples");
    for folder in ["grpc.kafka.proxy", "http.proxy"] {
        files.extend(yaml_files(&format!("tests/config/examples/{folder}")));
    }
    for file in files {
        let text = fs::read_to_string(file).unwrap();
        let letters: Vec<char> = text.chars().collect();
        for cut in (0..letters.len()).step_by(37) {
            let _ = load(
                "cut.yaml",
                &letters[..cut].iter().collect::<String>(),
                &nothing,
            );
            for other in ['{', '\'', '-', ':', 'ü'] {
                let mut changed = letters.clone();
                changed[cut] = other;
                let _ = load(
                    "changed.yaml",
                    &changed.iter().collect::<String>(),
                    &nothing,
                );
            }
        }
    }
}
