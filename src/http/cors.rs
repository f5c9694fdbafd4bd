//! Cross-origin resource sharing (the Fetch standard, 3.2): which scripts may read answers.
//!
//! Asked before credentials and routes, and again for every answer, errors and `304` included. Its one rule: what depends on the `origin`
//! says so in `vary`, or a shared cache gives one site's answer to another.

use std::borrow::Cow;

use super::{Headers, Method, RequestHead, ResponseHead};
use crate::config::{AccessControl, CrossOrigin};

/// Headers of an answer that every script may read, and those that tell it nothing.
const NEVER_EXPOSED: [&[u8]; 9] = [
    b"cache-control",
    b"content-language",
    b"content-length",
    b"content-type",
    b"expires",
    b"last-modified",
    b"pragma",
    b"server",
    b"date",
];

/// What becomes of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It goes on; its answer is to be decorated.
    Allowed(Grant),
    /// 403: a script of this origin, or with this method or header, may not do it.
    Refused,
    /// It is a question of the browser, and this is the answer, without a body.
    Preflight(ResponseHead),
}

/// Judges `request`.
pub fn decide(control: &AccessControl, request: &RequestHead) -> Decision {
    let headers = request.headers();
    let origin = headers.get_last("origin");
    let is_same = origin.is_some_and(|origin| is_same_origin(origin, request));
    let policy = match control {
        AccessControl::CrossOrigin(policy) if !is_same => Some(policy),
        AccessControl::SameOrigin | AccessControl::CrossOrigin(_) => None,
    };
    let Some(origin) = origin else {
        return Decision::Allowed(Grant {
            is_cross_origin: policy.is_some(),
            origin: None,
        });
    };
    if !is_same && !policy.is_some_and(|policy| allows_origin(policy, origin)) {
        return Decision::Refused;
    }
    let question = Question {
        origin,
        method: headers.get_last("access-control-request-method"),
        headers: requested_headers(headers),
    };
    if request.method == Method::Options && question.is_one() {
        return if policy.is_none_or(|policy| question.is_allowed_by(policy)) {
            Decision::Preflight(question.answer(policy))
        } else {
            Decision::Refused
        };
    }
    Decision::Allowed(Grant {
        is_cross_origin: policy.is_some(),
        origin: Some(origin.into()),
    })
}

/// Who may read the answer to a request; made by [`decide`], and kept until there is an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grant {
    is_cross_origin: bool,
    origin: Option<Box<[u8]>>,
}

impl Grant {
    /// Puts into an answer what `control`, by which the request was judged, says to its browser. An answer that says it already is left
    /// as it is.
    pub fn decorate(&self, control: &AccessControl, answer: &mut ResponseHead) {
        let headers = &mut answer.headers;
        let AccessControl::CrossOrigin(policy) = control else {
            return;
        };
        if headers.get("access-control-allow-origin").is_some() {
            return;
        }
        if !self.is_cross_origin {
            // Another origin's answer would have had more headers.
            return vary_by_origin(headers);
        }
        let exposed = exposed(policy, headers);
        let origin = self.origin.as_deref().filter(|_| names_origin(policy));
        headers.push("access-control-allow-origin", origin.unwrap_or(b"*"));
        if policy.credentials {
            headers.push("access-control-allow-credentials", "true");
        }
        if !exposed.is_empty() {
            headers.push("access-control-expose-headers", exposed);
        }
        if names_origin(policy) {
            vary_by_origin(headers);
        }
    }
}

/// A preflight request.
struct Question<'r> {
    origin: &'r [u8],
    method: Option<&'r [u8]>,
    headers: Option<Cow<'r, [u8]>>,
}

impl Question<'_> {
    fn is_one(&self) -> bool {
        self.method.is_some() || self.headers.is_some()
    }

    /// Whether the method, and every header, is allowed. Method names have a case, header names have none.
    fn is_allowed_by(&self, policy: &CrossOrigin) -> bool {
        let method = match (&policy.methods, self.method) {
            (Some(allowed), Some(method)) => {
                allowed.iter().any(|allowed| allowed.as_bytes() == method)
            }
            _ => true,
        };
        let headers = match (&policy.headers, &self.headers) {
            (Some(allowed), Some(names)) => {
                let mut names = list(names);
                names.all(|name| {
                    allowed
                        .iter()
                        .any(|allowed| allowed.as_bytes().eq_ignore_ascii_case(name))
                })
            }
            _ => true,
        };
        method && headers
    }

    /// The answer under `policy`, or for the same origin. What is listed, or goes with credentials, is named: there `*` has no meaning.
    fn answer(&self, policy: Option<&CrossOrigin>) -> ResponseHead {
        let mut answer = ResponseHead::new(204);
        let headers = &mut answer.headers;
        let names = |list: fn(&CrossOrigin) -> bool| {
            policy.is_none_or(|policy| policy.credentials || list(policy))
        };
        let mut allow = |name: &str, is_named, value: &[u8]| {
            headers.push(name, if is_named { value } else { b"*" });
        };
        let names_origin = names(|policy| policy.origins.is_some());
        allow("access-control-allow-origin", names_origin, self.origin);
        if let Some(method) = self.method {
            let is_named = names(|policy| policy.methods.is_some());
            allow("access-control-allow-methods", is_named, method);
        }
        if let Some(requested) = &self.headers {
            let is_named = names(|policy| policy.headers.is_some());
            allow("access-control-allow-headers", is_named, requested);
        }
        if policy.is_some_and(|policy| policy.credentials) {
            headers.push("access-control-allow-credentials", "true");
        }
        if let Some(max_age) = policy.and_then(|policy| policy.max_age) {
            headers.push("access-control-max-age", max_age.as_secs().to_string());
        }
        if names_origin {
            headers.push("vary", "origin");
        }
        answer
    }
}

/// The headers that are asked for, as one list however many lines they came in.
fn requested_headers(headers: &Headers) -> Option<Cow<'_, [u8]>> {
    let mut lines = headers.get_all("access-control-request-headers");
    let mut all = Cow::Borrowed(lines.next()?);
    for line in lines {
        let all = all.to_mut();
        all.extend_from_slice(b", ");
        all.extend_from_slice(line);
    }
    Some(all)
}

/// Whether answers name the origin: it is one of a list, or gets credentials.
fn names_origin(policy: &CrossOrigin) -> bool {
    policy.credentials || policy.origins.is_some()
}

/// The names of the headers that scripts may read, apart from those that they always may; `*` when there is no reason to name them.
fn exposed(policy: &CrossOrigin, answer: &Headers) -> Vec<u8> {
    let is_listed = |name: &[u8]| {
        let is_it = |listed: &String| listed.as_bytes().eq_ignore_ascii_case(name);
        policy
            .expose
            .as_ref()
            .is_none_or(|list| list.iter().any(is_it))
    };
    let is_exposable = |name: &[u8]| !NEVER_EXPOSED.contains(&name) && is_listed(name);
    let mut names: Vec<&[u8]> = Vec::new();
    for (name, _) in answer.iter() {
        if is_exposable(name) && !names.contains(&name) {
            names.push(name);
        }
    }
    if names.is_empty() || policy.expose.is_some() || policy.credentials {
        names.join(b", ".as_slice())
    } else {
        b"*".to_vec()
    }
}

fn vary_by_origin(headers: &mut Headers) {
    let says_so = |name: &[u8]| name == b"*" || name.eq_ignore_ascii_case(b"origin");
    if !headers.get_all("vary").flat_map(list).any(says_so) {
        headers.push("vary", "origin");
    }
}

/// The elements of a comma-separated list (RFC 9110 5.6.1).
fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value
        .split(|byte| *byte == b',')
        .map(<[u8]>::trim_ascii)
        .filter(|element| !element.is_empty())
}

/// Whether the page comes from where the request goes to.
fn is_same_origin(origin: &[u8], request: &RequestHead) -> bool {
    let own = Origin::new(request.scheme.as_str().as_bytes(), request.authority());
    Origin::parse(origin).is_some_and(|origin| origin == own)
}

/// Whether `origin` is one of the list, be it with or without its scheme's port.
fn allows_origin(policy: &CrossOrigin, origin: &[u8]) -> bool {
    let parsed = Origin::parse(origin);
    policy.origins.as_ref().is_none_or(|allowed| {
        allowed.iter().any(|allowed| {
            let allowed = allowed.as_bytes();
            allowed == origin || (parsed.is_some() && Origin::parse(allowed) == parsed)
        })
    })
}

/// An origin (RFC 6454) of `http` or `https`, without its port if that is the scheme's own.
#[derive(Debug)]
struct Origin<'o> {
    scheme: &'o [u8],
    authority: &'o [u8],
}

impl<'o> Origin<'o> {
    fn parse(text: &'o [u8]) -> Option<Self> {
        let at = text.windows(3).position(|mark| mark == b"://")?;
        let (scheme, authority) = (&text[..at], &text[at + 3..]);
        let is_http = [&b"http"[..], b"https"]
            .iter()
            .any(|known| scheme.eq_ignore_ascii_case(known));
        let is_authority = !authority.is_empty() && !authority.contains(&b'/');
        (is_http && is_authority).then(|| Self::new(scheme, authority))
    }

    fn new(scheme: &'o [u8], authority: &'o [u8]) -> Self {
        let port: &[u8] = if scheme.eq_ignore_ascii_case(b"https") {
            b":443"
        } else {
            b":80"
        };
        Self {
            scheme,
            authority: authority.strip_suffix(port).unwrap_or(authority),
        }
    }
}

impl PartialEq for Origin<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.scheme.eq_ignore_ascii_case(other.scheme)
            && self.authority.eq_ignore_ascii_case(other.authority)
    }
}

#[cfg(test)]
mod tests {
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
}
