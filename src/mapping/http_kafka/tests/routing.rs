//! Which route a request takes.

use std::rc::Rc;

use super::*;
use crate::clock::Instant;
use crate::http::h1::{Connection, Event, Limits};

const ITEMS: &[&str] = &[
    "when: [{method: POST, path: /items}], with: {capability: produce, topic: posted}",
    "when: [{method: PUT|PATCH, path: '/items/{id}'}], with: {capability: produce, topic: 'put-${params.id}'}",
    "when: [{method: GET, path: '/files/*'}, {method: GET, path: /file}], with: {capability: fetch, topic: files}",
    "when: [{method: GET, path: '/items/{id}'}], with: {capability: fetch, topic: item, filters: [{key: '${params.id}'}]}",
    "when: [{method: GET, path: /items}], with: {capability: fetch, topic: items, merge: {content-type: application/json}}",
    "when: [{method: GET, path: /late}], with: {capability: produce, topic: late}",
    "when: [{path: '/any/{id}'}], with: {capability: fetch, topic: any}",
];

#[test]
fn the_first_route_with_the_method_and_the_path_is_taken() {
    let server = mapping(ITEMS);
    for (method, target, expected) in [
        (Method::Post, "/items", "posted"),
        (Method::Put, "/items/7", "put-7"),
        (Method::Patch, "/items/7", "put-7"),
        (Method::Get, "/files/", "files"),
        (Method::Get, "/file", "files"),
        (Method::Get, "/items/7", "item"),
        (Method::Get, "/items", "items"),
        (Method::Get, "/late", "late"),
        (Method::Delete, "/any/7", "any"),
    ] {
        assert_eq!(
            topic(&server, &head(method, target, &[])).as_deref(),
            Ok(expected),
            "{method:?} {target}"
        );
    }
    for (method, target) in [
        (Method::Delete, "/items/7"),
        (Method::Post, "/items/"),
        (Method::Get, "/items/"),
        (Method::Get, "/Items"),
        (Method::Get, "/"),
        (Method::Options, "*"),
    ] {
        assert_eq!(
            topic(&server, &head(method, target, &[])),
            Err(RequestError::NoRoute),
            "{method:?} {target}"
        );
    }
}

#[test]
fn a_route_without_conditions_takes_what_is_left() {
    let server = mapping(&[
        ITEMS[0],
        "with: {capability: produce, topic: rest}",
        ITEMS[4],
    ]);
    assert_eq!(
        topic(&server, &head(Method::Post, "/items", &[])).as_deref(),
        Ok("posted")
    );
    assert_eq!(
        topic(&server, &head(Method::Get, "/items", &[])).as_deref(),
        Ok("rest"),
        "what stands after it is never reached"
    );
}

#[test]
fn who_may_get_a_read_may_head_it_but_no_write() {
    let server = mapping(ITEMS);
    let head = |target| topic(&server, &head(Method::Head, target, &[]));
    assert_eq!(head("/items/7").as_deref(), Ok("item"));
    assert_eq!(head("/items").as_deref(), Ok("items"));
    assert_eq!(
        head("/late"),
        Err(RequestError::NoRoute),
        "a HEAD must not write"
    );
}

#[test]
fn a_capture_spans_slashes_is_percent_decoded_and_has_no_query() {
    let server = mapping(&[
        "when: [{path: '/items/{id}'}], with: {capability: produce, topic: items, key: '${params.id}'}",
    ]);
    let key = |target| {
        text(
            &record(&server, &head(Method::Put, target, &[]))
                .key
                .unwrap(),
        )
    };
    assert_eq!(key("/items/a/b"), "a/b");
    assert_eq!(key("/items/a%20b%2Fc+d?x=1"), "a b/c+d");
    assert_eq!(key("/items/100%"), "100%");
    assert_eq!(key("/items/%ff"), "\\xff");
    assert_eq!(
        key("/items/$%7BidempotencyKey%7D"),
        "${idempotencyKey}",
        "a value is never expanded"
    );
}

#[test]
fn the_query_decides_nothing() {
    let server = mapping(ITEMS);
    assert_eq!(
        topic(&server, &head(Method::Get, "/items?x=/items/7", &[])).as_deref(),
        Ok("items")
    );
    assert_eq!(
        topic(&server, &head(Method::Get, "/items/?x", &[])),
        Err(RequestError::NoRoute)
    );
}

/// A server with these conditions (each an item of `when`) on the http route to the mapping, and none after it.
fn with_headers(when: &str) -> Arc<HttpServer> {
    server(
        &format!("routes: [{{when: {when}, exit: mapping}}]"),
        "routes: [{exit: cache_client, with: {capability: fetch, topic: items}}]",
    )
}

fn is_taken(server: &HttpServer, head: &RequestHead) -> bool {
    topic(server, head).is_ok()
}

#[test]
fn an_http_route_wants_all_headers_of_one_of_its_conditions() {
    let server = with_headers(
        "[{headers: {x-tenant: 'acme-*', x-tier: gold}}, {headers: {':method': DELETE}}]",
    );
    let get = |headers: &[_]| is_taken(&server, &head(Method::Get, "/", headers));
    assert!(get(&[("x-tenant", "acme-eu"), ("x-tier", "gold")]));
    assert!(get(&[("X-Tenant", "acme-"), ("X-Tier", "gold")]));
    assert!(!get(&[("x-tenant", "acme-eu")]), "one is missing");
    assert!(!get(&[("x-tenant", "other"), ("x-tier", "gold")]));
    assert!(
        !get(&[("x-tenant", "the-acme-eu"), ("x-tier", "gold")]),
        "the whole value counts"
    );
    assert!(
        get(&[
            ("x-tier", "tin"),
            ("x-tenant", "acme-1"),
            ("x-tier", "gold")
        ]),
        "the last of several counts"
    );
    assert!(!get(&[
        ("x-tier", "gold"),
        ("x-tenant", "acme-1"),
        ("x-tier", "tin")
    ]));
    assert!(is_taken(&server, &head(Method::Delete, "/", &[])));
}

#[test]
fn the_scheme_is_that_of_the_listener() {
    let server = with_headers("[{headers: {':scheme': https}}]");
    assert!(is_taken(
        &server,
        &head_to(Scheme::Https, "example.com", Method::Get, "/", &[])
    ));
    assert!(!is_taken(
        &server,
        &head_to(Scheme::Http, "example.com", Method::Get, "/", &[])
    ));
}

#[test]
fn an_authority_without_a_port_has_the_default_of_the_scheme() {
    let matches = |pattern: &str, scheme, authority| {
        let server = with_headers(&format!("[{{headers: {{':authority': '{pattern}'}}}}]"));
        is_taken(&server, &head_to(scheme, authority, Method::Get, "/", &[]))
    };
    assert!(matches("example.com:80", Scheme::Http, "example.com"));
    assert!(matches("example.com:443", Scheme::Https, "example.com"));
    assert!(!matches("example.com:80", Scheme::Https, "example.com"));
    assert!(matches(
        "example.com:7114",
        Scheme::Http,
        "example.com:7114"
    ));
    assert!(
        !matches("example.com", Scheme::Http, "example.com"),
        "as in Zilla: the port is always there"
    );
    assert!(matches("example.com:*", Scheme::Http, "example.com"));
    assert!(matches("\\[::1\\]:80", Scheme::Http, "[::1]"));
    assert!(matches("\\[::1\\]:8080", Scheme::Http, "[::1]:8080"));
    assert!(
        !matches("*", Scheme::Http, ""),
        "an HTTP/1.0 client that names none has none"
    );
}

#[test]
fn a_path_condition_sees_the_query_and_no_absolute_form() {
    let server =
        with_headers("[{headers: {':path': '/items/{id}'}}, {headers: {':path': '/search?q=*'}}]");
    let get = |target| is_taken(&server, &head(Method::Get, target, &[]));
    assert!(get("/items/1") && get("/items/1?x=1") && !get("/items/") && !get("/other/1"));
    let absolute =
        received(b"GET http://example.com/items/1?x=1 HTTP/1.1\r\nhost: example.com\r\n\r\n");
    assert_eq!(
        (absolute.path(), absolute.query()),
        (&b"/items/1"[..], Some(&b"x=1"[..]))
    );
    assert!(is_taken(&server, &absolute));
}

/// The head of a request as a connection reads it.
fn received(bytes: &[u8]) -> RequestHead {
    let now = Instant::from_nanos(1);
    let mut connection = Connection::new(Rc::new(Limits::default()), Scheme::Http, now);
    connection.handle_input(bytes, now);
    let Some(Event::Request { head, .. }) = connection.poll_event() else {
        panic!("no request")
    };
    head
}

#[test]
fn the_first_http_route_that_matches_decides_even_if_its_mapping_has_no_route() {
    let http = "
routes:
  - {when: [{headers: {x-tenant: acme}}], exit: mapping}
  - {exit: other_mapping}";
    let server = server(
        http,
        "routes: [{exit: cache_client, when: [{path: /items}], with: {capability: fetch, topic: items}}]",
    );
    let get = |target, headers: &[_]| topic(&server, &head(Method::Get, target, headers));
    assert_eq!(
        get("/items", &[("x-tenant", "acme")]).as_deref(),
        Ok("items")
    );
    assert_eq!(
        get("/else", &[("x-tenant", "acme")]),
        Err(RequestError::NoRoute)
    );
    assert_eq!(get("/else", &[]).as_deref(), Ok("other"));
}

#[test]
fn without_an_http_route_there_is_no_route() {
    let server = with_headers("[{headers: {x-tenant: acme}}]");
    assert_eq!(
        topic(&server, &head(Method::Get, "/", &[])),
        Err(RequestError::NoRoute)
    );
}

#[test]
fn overrides_of_the_http_routes_reach_the_mapping_and_not_the_choice_of_the_http_route() {
    let http = "
options: {overrides: {':path': /server, x-from: server}}
routes:
  - {when: [{headers: {':path': /moved}}], exit: mapping, with: {headers: {overrides: {':method': PUT, ':path': '/items/9?page=2'}}}}
  - {when: [{headers: {':path': /kept}}], exit: mapping}";
    let routes = "
routes:
  - {exit: cache_client, when: [{method: PUT, path: '/items/{id}'}], with: {capability: produce, topic: items, key: '${params.id}-${query.page}-${headers.x-from}'}}
  - {exit: cache_client, when: [{method: GET, path: /server}], with: {capability: fetch, topic: server}}";
    let server = server(http, routes);
    assert_eq!(
        text(
            &record(
                &server,
                &head(Method::Get, "/moved", &[("x-from", "client")])
            )
            .key
            .unwrap()
        ),
        "9-2-server"
    );
    assert_eq!(
        topic(&server, &head(Method::Get, "/kept", &[])).as_deref(),
        Ok("server")
    );
    assert_eq!(
        topic(&server, &head(Method::Get, "/server", &[])),
        Err(RequestError::NoRoute)
    );
}
