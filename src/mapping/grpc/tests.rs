//! Calls against servers: what is checked in which order, and where they go.

use std::borrow::Cow;

use super::*;
use crate::config::{self, Guarded, HttpServer};
use crate::http::{Headers, Method, RequestHead, Scheme, Version};
use crate::mapping::access::Anybody;
use crate::mapping::{self, Resolved};

const CONFIG: &str = "
name: example
guards: {g: {type: inline}, h: {type: inline}}
catalogs:
  texts:
    type: inline
    options:
      subjects:
        echo:
          schema: |
            syntax = \"proto3\";
            package example;
            message EchoMessage { string message = 1; }
            service EchoService {
              rpc EchoUnary(EchoMessage) returns (EchoMessage);
              rpc EchoClient(stream EchoMessage) returns (EchoMessage);
              rpc EchoServer(EchoMessage) returns (stream EchoMessage);
              rpc EchoBidi(stream EchoMessage) returns (stream EchoMessage);
            }
        observed:
          schema: |
            syntax = \"proto3\";
            package grpc.examples.echo;
            message EchoRequest {}
            service Echo { rpc UnaryEcho(EchoRequest) returns (EchoRequest); }
        health:
          schema: |
            syntax = \"proto3\";
            package grpc.health.v1;
            message Own {}
            service Health { rpc Check(stream Own) returns (Own); }
bindings:
  north: {type: tcp, kind: server, options: {host: 0.0.0.0, port: 7114}, exit: http}
  http: {type: http, kind: server, HTTP}
  calls: {type: grpc, kind: server, CALLS}
  mapping:
    type: grpc-kafka
    kind: proxy
    MAPPING
  south:
    type: grpc
    kind: client
    routes:
      - when: [{method: example.EchoService/EchoUnary, metadata: {to: south}}, {method: example.EchoService/EchoBidi}]
        exit: web
      - {guarded: {g: []}, exit: web}
  web: {type: http, kind: client, exit: tcp}
  echo: {type: echo, kind: server}
  cache_client: {type: kafka, kind: cache_client, exit: cache_server}
  cache_server: {type: kafka, kind: cache_server, exit: client}
  client: {type: kafka, kind: client, options: {servers: [\"kafka:9092\"]}, exit: tcp}
  tcp: {type: tcp, kind: client}
";
const ROUTES: &str = "routes: [{with: {capability: produce, topic: items}, exit: cache_client}]";
const ECHO: &str = "catalog: {texts: [{subject: echo}]}, exit: echo";

fn load(http: &str, calls: &str, mapping: &str) -> Arc<HttpServer> {
    let text = CONFIG
        .replace("HTTP", http)
        .replace("CALLS", calls)
        .replace("MAPPING", mapping);
    let nothing = config::Surroundings {
        env: &|_| None,
        directory: "".as_ref(),
        read_file: &|_| Err(std::io::ErrorKind::NotFound.into()),
    };
    let plan = config::load("zilla.yaml", &text, &nothing).unwrap_or_else(|mistakes| {
        let lines: Vec<_> = mistakes.iter().map(ToString::to_string).collect();
        panic!("{}\n{text}", lines.join("\n"))
    });
    plan.http_servers()[&0].clone()
}

/// A server whose grpc binding is made of this, in YAML's flow style.
fn server(calls: &str) -> Arc<HttpServer> {
    load("exit: calls", calls, ROUTES)
}

/// A server that leads all calls to a grpc-kafka binding of these lines.
pub(in crate::mapping) fn kafka_server(mapping: &str) -> Arc<HttpServer> {
    load(
        "exit: calls",
        "catalog: {texts: [{subject: echo}, {subject: observed}]}, exit: mapping",
        mapping,
    )
}

pub(in crate::mapping) const KEY: &str = "59410e57-3e0f-4b61-9328-f645a7968ac8";

/// Somebody whom the guards know that are named, under their numbers.
pub(in crate::mapping) struct KnownTo(pub(in crate::mapping) &'static [usize]);

impl Access for KnownTo {
    fn may_pass(&self, guarded: &[Guarded], _: &str, _: &[u8]) -> bool {
        guarded.iter().all(|one| self.0.contains(&one.guard))
    }

    fn refusal(&self) -> RequestError {
        RequestError::Forbidden
    }

    fn identity(&self, guard: usize) -> Option<Cow<'_, [u8]>> {
        self.0
            .contains(&guard)
            .then(|| Cow::Owned(format!("ann-{guard}").into_bytes()))
    }

    fn attribute(&self, _: usize, _: &str) -> Option<Cow<'_, [u8]>> {
        None
    }
}

pub(in crate::mapping) fn ask(
    server: &HttpServer,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    access: &dyn Access,
) -> Result<CallRequest, RequestError> {
    let mut list = Headers::new();
    for (name, value) in headers {
        list.push(name, value);
    }
    let authority = b"example.com:7114";
    let target = path.as_bytes();
    let head = RequestHead::new(
        method,
        Scheme::Http,
        Version::Http2,
        authority,
        target,
        list,
    );
    let ids = Ids {
        fresh_key: &|| KEY.to_owned(),
        is_own: &|_| true,
    };
    match mapping::resolve(server, &head, None, ids, access)? {
        Resolved::Grpc(call) => Ok(*call),
        other => panic!("no call: {other:?}"),
    }
}

/// A call with these headers more than it needs.
pub(in crate::mapping) fn call(
    server: &HttpServer,
    path: &str,
    headers: &[(&str, &str)],
) -> CallRequest {
    let headers = [&[("content-type", "application/grpc")], headers].concat();
    ask(server, Method::Post, path, &headers, &Anybody).unwrap()
}

/// Where a call goes, in a word or with the status.
fn place(call: &CallRequest) -> String {
    match &call.target {
        Target::Produce(_) => "produce".to_owned(),
        Target::Fetch(_) => "fetch".to_owned(),
        Target::Remote(_) => "remote".to_owned(),
        Target::Echo => "echo".to_owned(),
        Target::Health {
            is_watch: false, ..
        } => "check".to_owned(),
        Target::Health { is_watch: true, .. } => "watch".to_owned(),
        Target::Reflection(_) => "reflection".to_owned(),
        Target::Refused(status) => status.to_string(),
    }
}

fn placed(server: &HttpServer, path: &str, headers: &[(&str, &str)]) -> String {
    place(&call(server, path, headers))
}

const UNARY: &str = "/example.EchoService/EchoUnary";

#[test]
fn what_is_no_post_is_405_with_a_status() {
    let server = server(ECHO);
    for method in [Method::Get, Method::Put, Method::Options] {
        let refused = ask(&server, method, "/nowhere", &[], &Anybody);
        assert_eq!(refused.unwrap_err(), RequestError::NotPost);
    }
    let (head, _) = RequestError::NotPost.problem().into_response();
    assert_eq!(head.status, 405);
    assert_eq!(head.headers.get("grpc-status"), Some(&b"13"[..]));
}

#[test]
fn a_content_type_that_is_no_grpc_is_415() {
    let server = server(ECHO);
    for content_type in [
        "",
        "application/json",
        "application/grpc+json",
        "application/grpcs",
        "text/plain",
    ] {
        let headers = [("content-type", content_type)];
        let refused = ask(&server, Method::Post, "/nowhere", &headers, &Anybody);
        assert_eq!(
            refused.unwrap_err(),
            RequestError::NotGrpc,
            "{content_type}"
        );
    }
    let refused = ask(&server, Method::Post, UNARY, &[], &Anybody);
    assert_eq!(refused.unwrap_err(), RequestError::NotGrpc);
    let (head, _) = RequestError::NotGrpc.problem().into_response();
    assert_eq!(head.status, 415);
}

#[test]
fn the_content_types_of_grpc_and_of_grpc_web_are_calls() {
    let server = server(ECHO);
    for (content_type, expected) in [
        ("application/grpc", ContentType::Native),
        ("application/grpc+proto", ContentType::Native),
        ("application/grpc-web+proto", ContentType::Web),
        ("application/grpc-web", ContentType::Web),
        ("application/grpc-web-text", ContentType::WebText),
    ] {
        let headers = [("content-type", content_type)];
        let call = ask(&server, Method::Post, UNARY, &headers, &Anybody).unwrap();
        assert_eq!(call.content_type, expected);
        assert_eq!(place(&call), "echo");
    }
}

#[test]
fn a_method_is_one_of_the_catalog() {
    let server = server(ECHO);
    for (method, kind) in [
        ("EchoUnary", MethodKind::Unary),
        ("EchoClient", MethodKind::ClientStreaming),
        ("EchoServer", MethodKind::ServerStreaming),
        ("EchoBidi", MethodKind::Bidi),
    ] {
        let call = call(&server, &format!("/example.EchoService/{method}"), &[]);
        assert_eq!((call.kind, place(&call)), (kind, "echo".to_owned()));
    }
    for (path, why) in [
        (
            "/example.EchoService/Echo",
            "the service example.EchoService has no method Echo",
        ),
        (
            "/example.EchoService/echounary",
            "the service example.EchoService has no method echounary",
        ),
        (
            "/example.EchoService/",
            "the service example.EchoService has no method ",
        ),
        (
            "/EchoService/EchoUnary",
            "there is no service EchoService here",
        ),
        (
            "/a/example.EchoService/EchoUnary",
            "there is no service a/example.EchoService here",
        ),
        ("/EchoUnary", "the path is not /package.Service/Method"),
        ("/", "the path is not /package.Service/Method"),
    ] {
        assert_eq!(
            placed(&server, path, &[]),
            format!("UNIMPLEMENTED: {why}"),
            "{path}"
        );
    }
}

#[test]
fn no_header_names_the_service_since_guards_look_at_the_path() {
    let server = server(ECHO);
    let named = [("service-name", "example.EchoService")];
    assert_eq!(
        placed(&server, "/any/EchoUnary", &named),
        "UNIMPLEMENTED: there is no service any here"
    );
    let other = [("service-name", "other")];
    assert_eq!(placed(&server, UNARY, &other), "echo");
}

#[test]
fn the_first_route_that_matches_takes_the_call() {
    let server = server(
        "catalog: {texts: [{subject: echo}]}, routes: [
      {when: [{method: example.EchoService/EchoUnary}], exit: echo},
      {when: [{method: example.EchoService/EchoB*}, {method: '*/EchoServer'}], exit: mapping}]",
    );
    assert_eq!(placed(&server, UNARY, &[]), "echo");
    assert_eq!(
        placed(&server, "/example.EchoService/EchoBidi", &[]),
        "produce"
    );
    assert_eq!(
        placed(&server, "/example.EchoService/EchoServer", &[]),
        "produce"
    );
    assert_eq!(
        placed(&server, "/example.EchoService/EchoClient", &[]),
        "UNIMPLEMENTED: no route takes this method"
    );
}

#[test]
fn metadata_that_a_route_asks_for_must_be_there() {
    let server = server(
        "catalog: {texts: [{subject: echo}]}, routes: [{when: [{metadata: {Team: red, data: {base64: '+/8='}}}], exit: echo}]",
    );
    let none = "UNIMPLEMENTED: no route takes this method";
    for (headers, expected) in [
        (&[("team", "red"), ("data-bin", "+/8=")][..], "echo"),
        (&[("team", "red"), ("data-bin", "+/8")], "echo"),
        (
            &[("data-bin", "+/8"), ("more", ""), ("team", "red")],
            "echo",
        ),
        (&[("team", "Red"), ("data-bin", "+/8=")], none),
        (&[("team", "red"), ("data-bin", "+/9=")], none),
        (&[("team", "red"), ("data-bin", "%")], none),
        (&[("team", "red"), ("data", "+/8=")], none),
        (&[("data-bin", "+/8=")], none),
        (&[("team", "red")], none),
        (&[], none),
    ] {
        assert_eq!(placed(&server, UNARY, headers), expected, "{headers:?}");
    }
}

#[test]
fn guarded_routes_let_only_those_pass_who_may() {
    let ask = |calls: &str, access: &dyn Access| {
        let headers = [("content-type", "application/grpc")];
        ask(&server(calls), Method::Post, UNARY, &headers, access).map(|call| place(&call))
    };
    let only = "catalog: {texts: [{subject: echo}]}, routes: [{guarded: {g: []}, exit: echo}]";
    assert_eq!(ask(only, &KnownTo(&[0])), Ok("echo".to_owned()));
    assert_eq!(ask(only, &KnownTo(&[])), Err(RequestError::Forbidden));
    assert!(matches!(
        ask(only, &Anybody),
        Err(RequestError::Unauthorized { .. })
    ));
    let both = "catalog: {texts: [{subject: echo}]}, routes: [{guarded: {g: []}, exit: echo}], exit: mapping";
    assert_eq!(ask(both, &KnownTo(&[])), Ok("produce".to_owned()));
    let elsewhere = "catalog: {texts: [{subject: echo}]}, routes: [{guarded: {g: []}, when: [{method: a/b}], exit: echo}]";
    assert_eq!(
        ask(elsewhere, &KnownTo(&[])),
        Ok("UNIMPLEMENTED: no route takes this method".to_owned())
    );
    // What the call is told, once it is known to be one.
    assert_eq!(
        RequestError::Forbidden.status().code,
        Code::PERMISSION_DENIED
    );
    let challenge = "Bearer";
    assert_eq!(
        RequestError::Unauthorized { challenge }.status().code,
        Code::UNAUTHENTICATED
    );
}

#[test]
fn an_encoding_that_is_not_spoken_is_unimplemented() {
    let server = server(ECHO);
    for (encoding, expected) in [
        ("identity", Some(Encoding::Identity)),
        ("gzip", Some(Encoding::Gzip)),
        ("deflate", None),
        ("snappy", None),
        ("gzip, gzip", None),
    ] {
        let call = call(&server, UNARY, &[("grpc-encoding", encoding)]);
        match expected {
            Some(expected) => {
                assert_eq!((call.encoding, place(&call)), (expected, "echo".to_owned()));
            }
            None => assert_eq!(
                place(&call),
                "UNIMPLEMENTED: messages can be compressed with gzip, or not at all"
            ),
        }
    }
    let call = call(&server, UNARY, &[]);
    assert_eq!(
        (call.encoding, call.accepts_gzip),
        (Encoding::Identity, false)
    );
    assert_eq!(call.message_bytes_max, 4 << 20);
}

#[test]
fn gzip_is_answered_to_those_who_take_it() {
    let server = server(ECHO);
    for (accepted, expected) in [("identity, gzip", true), ("deflate", false)] {
        let call = call(&server, UNARY, &[("grpc-accept-encoding", accepted)]);
        assert_eq!(call.accepts_gzip, expected);
    }
}

#[test]
fn a_timeout_is_the_clients_and_a_broken_one_ends_the_call() {
    let server = server(ECHO);
    for (timeout, expected) in [
        ("1S", Duration::from_secs(1)),
        ("250m", Duration::from_millis(250)),
        ("0n", Duration::ZERO),
    ] {
        let call = call(&server, UNARY, &[("grpc-timeout", timeout)]);
        assert_eq!(
            (call.timeout, place(&call)),
            (Some(expected), "echo".to_owned())
        );
    }
    assert_eq!(call(&server, UNARY, &[]).timeout, None);
    for timeout in ["", "1", "S", "123456789S", "1s", "-1S"] {
        let call = call(&server, UNARY, &[("grpc-timeout", timeout)]);
        assert_eq!(place(&call), "INTERNAL: the grpc-timeout is none");
    }
}

#[test]
fn health_is_answered_unless_it_is_switched_off_or_of_the_catalog() {
    let on = server(ECHO);
    let call = call(&on, "/grpc.health.v1.Health/Check", &[]);
    assert_eq!(
        (call.kind, place(&call)),
        (MethodKind::Unary, "check".to_owned())
    );
    let Target::Health { services, .. } = &call.target else {
        panic!("{call:?}");
    };
    assert!(services.has_service("example.EchoService"));
    let watch = self::call(&on, "/grpc.health.v1.Health/Watch", &[]);
    assert_eq!(
        (watch.kind, place(&watch)),
        (MethodKind::ServerStreaming, "watch".to_owned())
    );
    assert!(placed(&on, "/grpc.health.v1.Health/List", &[]).starts_with("UNIMPLEMENTED"));
    let off = server("catalog: {texts: [{subject: echo}]}, options: {health: false}, exit: echo");
    assert_eq!(
        placed(&off, "/grpc.health.v1.Health/Check", &[]),
        "UNIMPLEMENTED: there is no service grpc.health.v1.Health here"
    );
    let own = server("catalog: {texts: [{subject: echo}, {subject: health}]}, exit: echo");
    let call = self::call(&own, "/grpc.health.v1.Health/Check", &[]);
    assert_eq!(
        (call.kind, place(&call)),
        (MethodKind::ClientStreaming, "echo".to_owned())
    );
}

#[test]
fn reflection_is_answered_where_it_is_switched_on() {
    let on = server("catalog: {texts: [{subject: echo}]}, options: {reflection: true}, exit: echo");
    let off = server(ECHO);
    for service in REFLECTION_SERVICES {
        let path = format!("/{service}/ServerReflectionInfo");
        let call = call(&on, &path, &[]);
        assert_eq!(
            (call.kind, place(&call)),
            (MethodKind::Bidi, "reflection".to_owned())
        );
        assert_eq!(
            placed(&off, &path, &[]),
            format!("UNIMPLEMENTED: there is no service {service} here")
        );
    }
}

#[test]
fn a_call_of_another_server_takes_its_metadata_along() {
    let server = load(
        "options: {overrides: {x-gateway: sluice, to: south}}, exit: calls",
        "catalog: {texts: [{subject: echo}]}, exit: south",
        ROUTES,
    );
    let call = call(
        &server,
        UNARY,
        &[
            ("te", "trailers"),
            ("user-agent", "test"),
            ("grpc-timeout", "1S"),
            ("host", "elsewhere"),
            ("content-length", "5"),
            ("service-name", "example.EchoService"),
            ("to", "north"),
            ("data-bin", "AAE="),
            ("a", "1"),
            ("a", "2"),
        ],
    );
    let Target::Remote(remote) = &call.target else {
        panic!("{call:?}");
    };
    assert_eq!(
        (remote.service.as_str(), remote.method.as_str()),
        ("example.EchoService", "EchoUnary")
    );
    assert_eq!(remote.client.name, "web");
    assert_eq!(remote.authority, "example.com:7114");
    let metadata: Vec<_> = remote
        .metadata
        .iter()
        .map(|(name, value)| (&name[..], &value[..]))
        .collect();
    let expected: [(&[u8], &[u8]); 6] = [
        (b"grpc-timeout", b"1S"),
        (b"to", b"south"),
        (b"data-bin", b"AAE="),
        (b"a", b"1"),
        (b"a", b"2"),
        (b"x-gateway", b"sluice"),
    ];
    assert_eq!(metadata, expected);
}

#[test]
fn a_client_has_routes_of_its_own() {
    let server = server("catalog: {texts: [{subject: echo}]}, exit: south");
    let headers = [("content-type", "application/grpc"), ("to", "north")];
    let ask = |access: &dyn Access| {
        ask(&server, Method::Post, UNARY, &headers, access).map(|call| place(&call))
    };
    assert_eq!(placed(&server, UNARY, &[("to", "south")]), "remote");
    assert_eq!(
        placed(&server, "/example.EchoService/EchoBidi", &[]),
        "remote"
    );
    assert_eq!(ask(&KnownTo(&[0])), Ok("remote".to_owned()));
    assert_eq!(ask(&KnownTo(&[])), Err(RequestError::Forbidden));
}
