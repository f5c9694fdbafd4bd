//! Which scripts may read answers (the reference's 2.3.7, with DESIGN.md's stricter preflight).

use super::tokens::HEADERS;
use crate::harness::gateway::Gateway;
use crate::harness::http::Response;
use crate::harness::site::Site;
use crate::harness::sse::Over;
use crate::harness::tokens::Issuer;
use serde_json::json;

const FRIEND: &str = "https://app.example.com";
const FOE: &str = "https://evil.example.com";

fn ask(gateway: &Gateway, method: &str, path: &str, headers: &[(&str, &str)]) -> Response {
    let http1 = Over::Http1.request(gateway, method, path, headers);
    let http2 = Over::Http2.request(gateway, method, path, headers);
    assert_eq!(http1.status, http2.status, "{method} {path} {headers:?}");
    for name in NAMES {
        assert_eq!(http1.header(name), http2.header(name), "{name}");
    }
    http2
}

const NAMES: [&str; 7] = [
    "access-control-allow-origin",
    "access-control-allow-methods",
    "access-control-allow-headers",
    "access-control-allow-credentials",
    "access-control-expose-headers",
    "access-control-max-age",
    "vary",
];

/// Asserts which of the headers of this matter an answer has; the others it must not have.
#[track_caller]
fn assert_says(answer: &Response, expected: &[(&str, &str)]) {
    for name in NAMES {
        let said = expected.iter().find(|(n, _)| *n == name);
        let value = said.map(|(_, value)| *value);
        assert_eq!(answer.header(name), value, "{name} of {answer:?}");
    }
}

fn site() -> Site {
    Site::default()
        .echo("/echo", "")
        .file("files/a.txt", "a")
        .files("/files/{path}", "files")
}

fn preflight<'h>(origin: &'h str, method: &'h str, headers: &'h str) -> Vec<(&'h str, &'h str)> {
    let mut all = vec![
        ("origin", origin),
        ("access-control-request-method", method),
    ];
    if !headers.is_empty() {
        all.push(("access-control-request-headers", headers));
    }
    all
}

pub(crate) fn without_a_policy_other_origins_are_refused() {
    let gateway = site().start("");
    let own = format!("http://localhost:{}", gateway.address().port());
    assert_says(&ask(&gateway, "GET", "/echo", &[]).expect(200), &[]);
    let refused = Over::Http2.request(&gateway, "GET", "/echo", &[("origin", FRIEND)]);
    assert_says(&refused.expect(403), &[]);
    let refused = Over::Http1.request(&gateway, "GET", "/echo", &[("origin", "null")]);
    assert_says(&refused.expect(403), &[]);
    // Its own pages' requests have an origin, too.
    let same = Over::Http2.request(&gateway, "GET", "/echo", &[("origin", &own)]);
    same.expect(200);
}

pub(crate) fn any_origin_may_be_let_in() {
    let gateway = site()
        .http("access-control:\n  policy: cross-origin")
        .start("");
    let any = ("access-control-allow-origin", "*");
    let headers = preflight(FOE, "PUT", "x-a, x-b");
    let answer = ask(&gateway, "OPTIONS", "/nowhere", &headers).expect(204);
    let all = [
        any,
        ("access-control-allow-methods", "*"),
        ("access-control-allow-headers", "*"),
    ];
    assert_says(&answer, &all);
    assert!(answer.body.is_empty());
    // Errors and 304 are as readable as the rest, with an origin and without.
    for headers in [&[][..], &[("origin", FOE)]] {
        let missing = ask(&gateway, "GET", "/nowhere", headers).expect(404);
        assert_says(&missing, &[any]);
        let file = ask(&gateway, "GET", "/files/a.txt", headers).expect(200);
        let etag = file.etag();
        let exposed = ("access-control-expose-headers", "*");
        assert_says(&file, &[any, exposed]);
        let known = [headers, &[("if-none-match", &*etag)]].concat();
        let known = ask(&gateway, "GET", "/files/a.txt", &known).expect(304);
        assert_says(&known, &[any, exposed]);
        let method = ask(&gateway, "DELETE", "/files/a.txt", headers).expect(405);
        assert_eq!(method.header("access-control-allow-origin"), Some("*"));
    }
}

pub(crate) fn some_origins_may_do_some_things() {
    let policy = format!(
        "access-control:
  policy: cross-origin
  allow:
    origins: [{FRIEND}]
    methods: [GET, PUT]
    headers: [x-a, Content-Type]
    credentials: true
  max-age: 10
  expose:
    headers: [etag]"
    );
    let issuer = Issuer::new("known");
    let site = Site::default()
        .top(&issuer.guard(""))
        .http(&policy)
        .http(HEADERS)
        .echo("/echo", "read")
        .file("files/a.txt", "a")
        .files("/files/{path}", "files");
    let gateway = site.start("");
    let friend = ("access-control-allow-origin", FRIEND);
    let credentials = ("access-control-allow-credentials", "true");
    let exposed = ("access-control-expose-headers", "etag");
    let asked = ask(
        &gateway,
        "OPTIONS",
        "/echo",
        &preflight(FRIEND, "PUT", "X-A, content-type"),
    );
    let asked = asked.expect(204);
    for (name, value) in [
        friend,
        ("access-control-allow-methods", "PUT"),
        ("access-control-allow-headers", "X-A, content-type"),
        ("access-control-max-age", "10"),
    ] {
        assert_eq!(asked.header(name), Some(value), "{asked:?}");
    }
    let port = ask(
        &gateway,
        "OPTIONS",
        "/echo",
        &preflight("https://app.example.com:443", "GET", ""),
    );
    port.expect(204);
    for (origin, method, headers) in [
        (FOE, "GET", ""),
        ("http://app.example.com", "GET", ""),
        ("https://app.example.com.evil.com", "GET", ""),
        ("null", "GET", ""),
        (FRIEND, "DELETE", ""),
        (FRIEND, "get", ""),
        (FRIEND, "GET", "x-b"),
        // Zilla takes one for all.
        (FRIEND, "GET", "x-a, x-b"),
    ] {
        let headers = preflight(origin, method, headers);
        let refused = ask(&gateway, "OPTIONS", "/echo", &headers).expect(403);
        let allowed = refused.header("access-control-allow-methods");
        assert_eq!(allowed, None, "{headers:?}");
    }
    let token = format!("Bearer {}", issuer.token(&json!({"scope": "read"})));
    let from = |origin: &'static str| vec![("origin", origin), ("authorization", &*token)];
    let answer = ask(&gateway, "GET", "/echo", &from(FRIEND)).expect(200);
    assert_eq!(answer.header("access-control-allow-origin"), Some(FRIEND));
    assert_eq!(answer.header("vary"), Some("origin"));
    ask(&gateway, "GET", "/echo", &from(FOE)).expect(403);
    // The script learns why it was refused.
    let refused = ask(&gateway, "GET", "/echo", &[("origin", FRIEND)]).expect(401);
    assert_eq!(refused.header("access-control-allow-origin"), Some(FRIEND));
    assert_eq!(
        refused.header("access-control-allow-credentials"),
        Some("true")
    );
    let file = ask(&gateway, "GET", "/files/a.txt", &[("origin", FRIEND)]).expect(200);
    assert_says(&file, &[friend, credentials, exposed, ("vary", "origin")]);
    let etag = file.etag();
    let known = [("origin", FRIEND), ("if-none-match", &*etag)];
    let known = ask(&gateway, "GET", "/files/a.txt", &known).expect(304);
    assert_says(&known, &[friend, credentials, exposed, ("vary", "origin")]);
    // A cache must not give this one to a script of another origin.
    let plain = ask(&gateway, "GET", "/files/a.txt", &[]).expect(200);
    assert_eq!(plain.header("vary"), Some("origin"));
}
