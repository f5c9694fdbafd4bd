//! Requests against policies, one test per rule.

use std::time::Duration;

use super::*;
use crate::http::{Scheme, Version};

type Fields<'f> = &'f [(&'f str, &'f str)];

fn any() -> CrossOrigin {
    CrossOrigin::default()
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn listed() -> CrossOrigin {
    CrossOrigin {
        origins: Some(texts(&[
            "https://app.example",
            "http://other.example:80",
            "null",
        ])),
        methods: Some(texts(&["PUT", "POST"])),
        headers: Some(texts(&["x-one", "x-two"])),
        max_age: Some(Duration::from_secs(10)),
        ..any()
    }
}

fn with_credentials() -> CrossOrigin {
    CrossOrigin {
        credentials: true,
        ..any()
    }
}

fn ask(control: &AccessControl, method: Method, fields: Fields<'_>) -> Decision {
    let mut headers = Headers::new();
    for (name, value) in fields {
        headers.push(name, value);
    }
    let (scheme, version) = (Scheme::Https, Version::Http11);
    let authority = b"Own.example:443";
    decide(
        control,
        &RequestHead::new(method, scheme, version, authority, b"/", headers),
    )
}

/// The decorated headers of an answer with these, to a GET with this origin; `None`: refused.
fn answer(
    control: &AccessControl,
    origin: Option<&str>,
    fields: Fields<'_>,
) -> Option<Vec<(String, String)>> {
    let asked: Vec<_> = origin.iter().map(|origin| ("origin", *origin)).collect();
    let Decision::Allowed(grant) = ask(control, Method::Get, &asked) else {
        return None;
    };
    let mut answer = ResponseHead::new(200);
    for (name, value) in fields {
        answer.headers.push(name, value);
    }
    grant.decorate(control, &mut answer);
    Some(owned(&answer.headers).split_off(fields.len()))
}

fn owned(headers: &Headers) -> Vec<(String, String)> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let owned = headers
        .iter()
        .map(|(name, value)| (text(name), text(value)));
    owned.collect()
}

fn fields(fields: Fields<'_>) -> Vec<(String, String)> {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    fields.iter().map(owned).collect()
}

fn cross(policy: CrossOrigin) -> AccessControl {
    AccessControl::CrossOrigin(policy)
}

fn preflight(control: &AccessControl, asked: Fields<'_>) -> Option<Vec<(String, String)>> {
    match ask(control, Method::Options, asked) {
        Decision::Preflight(answer) => {
            assert_eq!(answer.status, 204);
            Some(owned(&answer.headers))
        }
        Decision::Refused => None,
        Decision::Allowed(_) => panic!("it goes on"),
    }
}

const ORIGIN: (&str, &str) = ("access-control-allow-origin", "*");
const VARY: (&str, &str) = ("vary", "origin");
const METHOD: &str = "access-control-request-method";
const HEADERS: &str = "access-control-request-headers";

#[test]
fn the_same_origin_is_that_of_scheme_host_and_port() {
    let same = AccessControl::SameOrigin;
    for origin in ["https://own.example", "HTTPS://own.EXAMPLE:443"] {
        assert_eq!(answer(&same, Some(origin), &[]), Some(vec![]), "{origin}");
    }
    for origin in [
        "http://own.example",
        "https://own.example:80",
        "https://own.example.evil",
        "https://own.example/",
        "https://",
        "ftp://own.example",
        "null",
        "",
    ] {
        assert_eq!(answer(&same, Some(origin), &[]), None, "{origin}");
    }
}

#[test]
fn a_request_without_an_origin_is_no_scripts() {
    assert_eq!(answer(&AccessControl::SameOrigin, None, &[]), Some(vec![]));
    let all = fields(&[ORIGIN]);
    assert_eq!(answer(&cross(any()), None, &[]), Some(all));
    // Another request's answer would name its origin.
    let some = fields(&[ORIGIN, VARY]);
    assert_eq!(answer(&cross(listed()), None, &[]), Some(some));
}

#[test]
fn without_a_list_all_origins_may_read() {
    let all = fields(&[ORIGIN]);
    for origin in ["https://a", "null", "x"] {
        assert_eq!(answer(&cross(any()), Some(origin), &[]), Some(all.clone()));
    }
}

#[test]
fn a_listed_origin_is_named_and_another_is_refused() {
    for origin in [
        "https://app.example",
        "https://app.example:443",
        "http://other.example",
        "http://other.example:80",
        "null",
    ] {
        let named = fields(&[("access-control-allow-origin", origin), VARY]);
        assert_eq!(answer(&cross(listed()), Some(origin), &[]), Some(named));
    }
    for origin in [
        "http://app.example",
        "https://app.example:80",
        "https://a",
        "",
    ] {
        assert_eq!(
            answer(&cross(listed()), Some(origin), &[]),
            None,
            "{origin}"
        );
    }
}

#[test]
fn the_own_origin_needs_no_headers_but_a_cache_must_know() {
    for policy in [any(), listed()] {
        let own = answer(&cross(policy), Some("https://own.example"), &[]);
        assert_eq!(own, Some(fields(&[VARY])));
    }
}

#[test]
fn credentials_have_the_origin_named() {
    let named = fields(&[
        ("access-control-allow-origin", "https://a"),
        ("access-control-allow-credentials", "true"),
        VARY,
    ]);
    let control = cross(with_credentials());
    assert_eq!(answer(&control, Some("https://a"), &[]), Some(named));
}

#[test]
fn what_the_application_says_itself_stays() {
    let own = [("access-control-allow-origin", "https://b")];
    for origin in [None, Some("https://a")] {
        let added = answer(&cross(with_credentials()), origin, &own);
        assert_eq!(added, Some(vec![]));
    }
    for own in [[("vary", "accept, Origin")], [("vary", "*")]] {
        let added = answer(&cross(listed()), Some("null"), &own).unwrap();
        assert!(!added.contains(&("vary".into(), "origin".into())));
    }
    let added = answer(&cross(listed()), Some("null"), &[("vary", "accept")]);
    assert!(added.unwrap().contains(&("vary".into(), "origin".into())));
}

#[test]
fn exposed_headers_are_all_or_those_that_are_listed() {
    let exposed = |policy, headers| {
        let added = answer(&cross(policy), Some("https://a"), headers).unwrap();
        let name = "access-control-expose-headers";
        let mut lines = added.into_iter().filter(|(key, _)| key == name);
        let line = lines.next().map(|(_, value)| value);
        assert_eq!(lines.next(), None);
        line
    };
    let list = |credentials| CrossOrigin {
        expose: Some(texts(&["etag", "content-type"])),
        credentials,
        ..any()
    };
    let safe = [("content-type", "a"), ("date", "b"), ("cache-control", "c")];
    assert_eq!(exposed(any(), &safe), None);
    assert_eq!(exposed(list(false), &safe), None);
    let more = [("etag", "a"), ("x-a", "b"), ("date", "c"), ("x-a", "d")];
    assert_eq!(exposed(any(), &more).as_deref(), Some("*"));
    assert_eq!(exposed(list(false), &more).as_deref(), Some("etag"));
    let with = with_credentials();
    assert_eq!(exposed(with, &more).as_deref(), Some("etag, x-a"));
    assert_eq!(exposed(list(true), &more).as_deref(), Some("etag"));
}

#[test]
fn errors_and_304_are_decorated_too() {
    let control = cross(any());
    let asked = [("origin", "https://a")];
    let Decision::Allowed(grant) = ask(&control, Method::Get, &asked) else {
        panic!("allowed")
    };
    for status in [304, 404, 503] {
        let mut answer = ResponseHead::new(status);
        grant.decorate(&control, &mut answer);
        assert_eq!(owned(&answer.headers), fields(&[ORIGIN]));
    }
}

#[test]
fn a_preflight_has_an_origin_and_asks_for_a_method_or_headers() {
    let is_one = |method, fields: Fields<'_>| {
        let decision = ask(&cross(any()), method, fields);
        matches!(decision, Decision::Preflight(_))
    };
    let origin = ("origin", "https://a");
    assert!(is_one(Method::Options, &[origin, (METHOD, "PUT")]));
    assert!(is_one(Method::Options, &[origin, (HEADERS, "x")]));
    assert!(!is_one(Method::Options, &[origin]));
    assert!(!is_one(Method::Options, &[(METHOD, "PUT")]));
    assert!(!is_one(Method::Get, &[origin, (METHOD, "PUT")]));
}

#[test]
fn a_preflight_without_lists_is_answered_with_stars() {
    let asked = [
        ("origin", "https://a"),
        (METHOD, "PUT"),
        (HEADERS, "x-one, y"),
    ];
    let stars = fields(&[
        ORIGIN,
        ("access-control-allow-methods", "*"),
        ("access-control-allow-headers", "*"),
    ]);
    assert_eq!(preflight(&cross(any()), &asked), Some(stars));
}

#[test]
fn a_preflight_is_answered_with_what_it_asks_for_when_there_are_lists() {
    let asked = [
        ("origin", "https://app.example:443"),
        (METHOD, "PUT"),
        (HEADERS, "X-Two,x-one"),
    ];
    let named = fields(&[
        ("access-control-allow-origin", "https://app.example:443"),
        ("access-control-allow-methods", "PUT"),
        ("access-control-allow-headers", "X-Two,x-one"),
        ("access-control-max-age", "10"),
        VARY,
    ]);
    assert_eq!(preflight(&cross(listed()), &asked), Some(named));
}

#[test]
fn a_preflight_with_credentials_names_everything() {
    let asked = [
        ("origin", "https://a"),
        (METHOD, "PUT"),
        (HEADERS, "x"),
        (HEADERS, "y"),
    ];
    let named = fields(&[
        ("access-control-allow-origin", "https://a"),
        ("access-control-allow-methods", "PUT"),
        ("access-control-allow-headers", "x, y"),
        ("access-control-allow-credentials", "true"),
        VARY,
    ]);
    assert_eq!(preflight(&cross(with_credentials()), &asked), Some(named));
}

#[test]
fn every_part_of_a_preflight_must_be_allowed() {
    let asked = |origin, method, headers| {
        let asked = [("origin", origin), (METHOD, method), (HEADERS, headers)];
        preflight(&cross(listed()), &asked).is_some()
    };
    let app = "https://app.example";
    assert!(asked(app, "PUT", "x-one"));
    assert!(asked(app, "PUT", ""));
    assert!(!asked("https://a", "PUT", "x-one"));
    assert!(!asked(app, "put", "x-one"));
    assert!(!asked(app, "DELETE", "x-one"));
    assert!(!asked(app, "PUT", "x-one, x-three"));
}

#[test]
fn a_preflight_to_the_own_origin_needs_no_policy() {
    let same = AccessControl::SameOrigin;
    let own = [("origin", "https://own.example"), (METHOD, "DELETE")];
    let named = fields(&[
        ("access-control-allow-origin", "https://own.example"),
        ("access-control-allow-methods", "DELETE"),
        VARY,
    ]);
    assert_eq!(preflight(&same, &own), Some(named.clone()));
    assert_eq!(preflight(&cross(listed()), &own), Some(named));
    let foreign = [("origin", "https://a"), (METHOD, "GET")];
    assert_eq!(preflight(&same, &foreign), None);
}
