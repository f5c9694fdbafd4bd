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
mod tests;
