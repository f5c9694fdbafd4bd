//! What record a request becomes.

use std::time::Duration;

use super::*;
use crate::config::Acks;
use crate::route::Missing;

/// A server with one route, which produces with these keys of `with`.
fn producing(with: &str) -> Arc<HttpServer> {
    mapping(&[&format!(
        "when: [{{path: '/{{id}}'}}], with: {{capability: produce, topic: items, {with}}}"
    )])
}

fn key(server: &HttpServer, head: &RequestHead) -> Option<String> {
    record(server, head).key.map(|key| text(&key))
}

/// Headers as `name=value`, in order.
fn headers(record: &Record) -> Vec<String> {
    let value = |value: &Option<Bytes>| value.as_deref().map_or("null".into(), text);
    record
        .headers
        .iter()
        .map(|(name, content)| format!("{}={}", text(name), value(content)))
        .collect()
}

#[test]
fn without_a_key_template_the_key_is_null() {
    assert_eq!(
        key(
            &producing(""),
            &head(Method::Post, "/1", &[("idempotency-key", "a")])
        ),
        None
    );
}

#[test]
fn a_key_is_made_of_parameters_headers_and_query() {
    let server = producing("key: '${params.id}/${headers.X-Tenant}/${query.page}!'");
    let request = head(
        Method::Put,
        "/a%2Fb?page=1+2&page=9",
        &[("x-tenant", "old"), ("x-tenant", "acme")],
    );
    assert_eq!(key(&server, &request).as_deref(), Some("a/b/acme/1 2!"));
}

#[test]
fn the_idempotency_key_is_the_same_quoted_and_bare() {
    let server = producing("key: '${idempotencyKey}'");
    let of = |value| {
        key(
            &server,
            &head(Method::Post, "/1", &[("Idempotency-Key", value)]),
        )
    };
    assert_eq!(of("8e03978e").as_deref(), Some("8e03978e"));
    assert_eq!(of("\"8e03978e\"").as_deref(), Some("8e03978e"));
    assert_eq!(of("\"").as_deref(), Some("\\\""), "half a quote is none");
    assert_eq!(of("\"a").as_deref(), Some("\\\"a"));
}

#[test]
fn a_request_that_brings_no_idempotency_key_is_given_one() {
    let server = producing("key: '${idempotencyKey}'");
    assert_eq!(
        key(&server, &head(Method::Post, "/1", &[])).as_deref(),
        Some("fresh-1")
    );
    for empty in ["", "\"\""] {
        let request = head(Method::Post, "/1", &[("idempotency-key", empty)]);
        assert_eq!(
            key(&server, &request).as_deref(),
            Some("fresh-1"),
            "all requests with an empty one would be the same item"
        );
    }
}

#[test]
fn key_and_headers_of_a_record_hold_the_same_made_up_key() {
    let server = producing(
        "key: '${idempotencyKey}', overrides: {a: 'x-${idempotencyKey}', b: '${idempotencyKey}'}",
    );
    let record = record(&server, &head(Method::Post, "/1", &[]));
    assert_eq!(record.key.as_deref(), Some(&b"fresh-1"[..]));
    assert_eq!(headers(&record), ["a=x-fresh-1", "b=fresh-1"]);
}

#[test]
fn no_key_is_made_up_for_a_route_that_uses_none() {
    let server = producing("key: '${params.id}'");
    let ids = Ids {
        fresh_key: &|| panic!("nobody asked"),
        is_own: &|_| true,
    };
    let request = head(Method::Post, "/1", &[]);
    let resolved = resolve(&server, &request, Some(&Bytes::new()), ids);
    assert!(resolved.is_ok());
}

#[test]
fn the_idempotency_header_may_have_another_name() {
    let route =
        "{exit: cache_client, with: {capability: produce, topic: items, key: '${idempotencyKey}'}}";
    let server = server(
        "exit: mapping",
        &format!("options: {{idempotency: {{header: X-Request-Id}}}}\nroutes: [{route}]"),
    );
    let request = head(
        Method::Post,
        "/",
        &[("x-request-id", "r1"), ("idempotency-key", "k1")],
    );
    assert_eq!(key(&server, &request).as_deref(), Some("r1"));
}

#[test]
fn a_record_has_the_content_type_and_then_the_overrides_in_their_order_and_nothing_else() {
    let server = producing(
        "overrides: {zebra: '${params.id}', apple: '${headers.x-tenant}', Content-Type: own}",
    );
    let request = [
        ("accept", "*/*"),
        ("Content-Type", "text/plain"),
        ("x-tenant", "acme"),
        ("if-match", "*"),
        ("idempotency-key", "k"),
    ];
    assert_eq!(
        headers(&record(&server, &head(Method::Put, "/7", &request))),
        [
            "content-type=text/plain",
            "zebra=7",
            "apple=acme",
            "Content-Type=own"
        ]
    );
    assert_eq!(
        headers(&record(&producing(""), &head(Method::Put, "/7", &[]))),
        [""; 0]
    );
}

#[test]
fn overrides_of_the_http_route_come_before_those_of_the_server_and_the_headers_of_the_client() {
    let http = "
options: {overrides: {x-a: server, x-b: server, content-type: application/json}}
routes: [{exit: mapping, with: {headers: {overrides: {x-b: route}}}}]";
    let route = "routes: [{exit: cache_client, with: {capability: produce, topic: items, key: '${headers.x-a} ${headers.x-b} ${headers.x-c}'}}]";
    let server = server(http, route);
    let client = [
        ("x-a", "client"),
        ("x-b", "client"),
        ("x-c", "client"),
        ("content-type", "text/plain"),
    ];
    let record = record(&server, &head(Method::Put, "/", &client));
    assert_eq!(record.key.as_deref(), Some(&b"server route client"[..]));
    assert_eq!(headers(&record), ["content-type=application/json"]);
}

#[test]
fn only_delete_writes_a_tombstone() {
    let server = producing("key: '${params.id}'");
    for (method, expected) in [
        (Method::Delete, true),
        (Method::Put, false),
        (Method::Post, false),
        (Method::Patch, false),
        (Method::Get, false),
    ] {
        let Action::Produce {
            tombstone, record, ..
        } = ask(&server, &head(method, "/7", &[])).unwrap().action
        else {
            panic!("it is a write")
        };
        assert_eq!((tombstone, record.value), (expected, None), "{method:?}");
    }
}

#[test]
fn acks_and_timeout_are_those_of_the_route_and_the_binding() {
    let routes = "
options: {timeout: 5s}
routes:
  - {exit: cache_client, when: [{path: /none}], with: {capability: produce, topic: items, acks: none}}
  - {exit: cache_client, when: [{path: /leader}], with: {capability: produce, topic: items, acks: leader_only}}
  - {exit: cache_client, with: {capability: produce, topic: items}}";
    let server = server("exit: mapping", routes);
    for (path, expected) in [
        ("/none", Acks::None),
        ("/leader", Acks::LeaderOnly),
        ("/", Acks::InSyncReplicas),
    ] {
        let resolved = ask(&server, &head(Method::Put, path, &[])).unwrap();
        assert_eq!(
            (resolved.timeout, resolved.cluster),
            (Duration::from_secs(5), 0)
        );
        assert!(
            matches!(resolved.action, Action::Produce { acks, .. } if acks == expected),
            "{path}"
        );
    }
}

#[test]
fn a_topic_may_come_from_the_request_and_must_be_a_legal_name() {
    let server = mapping(&[
        "when: [{path: '/{topic}'}], with: {capability: produce, topic: '${params.topic}'}",
    ]);
    let put = |target: &str| topic(&server, &head(Method::Put, target, &[]));
    assert_eq!(
        put("/items-snapshots_1.x").as_deref(),
        Ok("items-snapshots_1.x")
    );
    assert_eq!(put("/caf%65").as_deref(), Ok("cafe"));
    let long = "a".repeat(250);
    for (target, name) in [
        ("/a/b", "a/b"),
        ("/..", ".."),
        ("/a%20b", "a b"),
        ("/%c3%a9", "é"),
        ("/%ff", "\u{fffd}"),
        (&format!("/{long}"), &long),
    ] {
        assert_eq!(
            put(target),
            Err(RequestError::TopicName(name.into())),
            "{target}"
        );
    }
    let empty = mapping(&["with: {capability: fetch, topic: '${query.topic}'}"]);
    assert_eq!(
        topic(&empty, &head(Method::Get, "/?topic=", &[])),
        Err(RequestError::TopicName(String::new()))
    );
}

#[test]
fn an_expression_without_a_value_is_a_fault_of_the_client_and_is_named() {
    let missing =
        |server: &HttpServer| match ask(server, &head(Method::Put, "/7?size=1", &[("x-a", "")]))
            .unwrap_err()
        {
            RequestError::Missing(Missing { expression }) => expression,
            other => panic!("{other:?}"),
        };
    assert_eq!(
        missing(&producing("key: '${headers.X-Tenant}'")),
        "${headers.x-tenant}"
    );
    assert_eq!(
        missing(&producing("key: 'a-${query.page}'")),
        "${query.page}"
    );
    assert_eq!(
        missing(&producing(
            "overrides: {a: '${headers.x-a}', b: '${headers.x-b}'}"
        )),
        "${headers.x-b}"
    );
    assert_eq!(
        missing(&mapping(&[
            "with: {capability: produce, topic: 'items-${query.topic}'}"
        ])),
        "${query.topic}"
    );
    assert_eq!(
        missing(&mapping(&[
            "with: {capability: fetch, topic: items, filters: [{key: '${query.key}'}]}"
        ])),
        "${query.key}"
    );
    assert_eq!(
        missing(&mapping(&[
            "with: {capability: fetch, topic: items, filters: [{headers: {a: '${headers.x-b}'}}]}"
        ])),
        "${headers.x-b}"
    );
    let answer = RequestError::Missing(Missing {
        expression: "${query.page}".into(),
    })
    .problem()
    .into_response();
    assert_eq!(answer.0.status, 400);
    assert!(format!("{:?}", answer.1).contains("${query.page}"));
}
