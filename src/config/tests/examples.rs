//! Zilla's examples of what this version serves, as they are.

use std::fs;
use std::path::Path;

use super::super::*;
use super::{http, load_file, yaml_files};

fn example(name: &str) -> Plan {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config/examples");
    load_file(&folder.join(name)).unwrap_or_else(|mistakes| panic!("{mistakes}"))
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
fn no_damage_to_an_example_makes_the_loader_panic() {
    let nothing = Surroundings {
        env: &|_| Some("text".to_owned()),
        directory: Path::new(""),
        read_file: &|_| Err(io::ErrorKind::NotFound.into()),
    };
    for file in yaml_files("tests/config/examples") {
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
