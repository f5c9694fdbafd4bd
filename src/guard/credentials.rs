//! Credentials in a request: where the configuration says they stand, and cut out of the text around them.
//!
//! Before every guard of an http server. Its one rule: what is found is shown to nobody but the guard: [`redact`] keeps it out of the log.

use std::borrow::Cow;

pub use super::pattern::{CredentialsFault, CredentialsPattern};
use crate::config::HttpAuthorization;
use crate::http::{Method, RequestHead};
use crate::route::percent::{self, Plus};

/// The content type of a `POST` that brings new credentials for the streams of its connection.
pub const CHALLENGE_RESPONSE: &str = "application/x-challenge-response";

/// Whether a request is the answer to a challenge: it is taken by the server itself, whatever its path. Its body must be empty, too.
pub fn is_challenge_response(request: &RequestHead) -> bool {
    let content_type = request.headers().get_last("content-type");
    request.method == Method::Post
        && content_type.is_some_and(|value| {
            let media_type = value.split(|byte| *byte == b';').next();
            media_type.is_some_and(|text| {
                text.trim_ascii()
                    .eq_ignore_ascii_case(CHALLENGE_RESPONSE.as_bytes())
            })
        })
}

/// Finds the credentials of requests to one http server: in a cookie, else in a header, else in the query.
#[derive(Clone, Debug)]
pub struct Extractor {
    cookie: Option<(String, CredentialsPattern)>,
    header: Option<(String, CredentialsPattern)>,
    query: Option<(String, CredentialsPattern)>,
}

impl Extractor {
    /// Compiles the first pattern of each place.
    ///
    /// # Errors
    ///
    /// When one of them is not a pattern.
    pub fn new(authorization: &HttpAuthorization) -> Result<Self, CredentialsFault> {
        Ok(Self {
            cookie: first(&authorization.cookies)?,
            header: first(&authorization.headers)?,
            query: first(&authorization.query)?,
        })
    }

    /// The credentials in `request`. Of a header that comes more than once the last counts, of a cookie and a parameter the first.
    pub fn extract<'r>(&self, request: &'r RequestHead) -> Option<Cow<'r, str>> {
        self.in_cookie(request)
            .or_else(|| self.in_header(request))
            .or_else(|| self.in_query(request))
    }

    /// The query parameter that may carry credentials: see [`redact`].
    pub fn query_parameter(&self) -> Option<&str> {
        self.query.as_ref().map(|(name, _)| name.as_str())
    }

    /// What `www-authenticate` says in a 401 (RFC 6750 3, RFC 7617 2): how to come in, and whether it was tried.
    pub fn www_authenticate(&self, was_presented: bool) -> &'static str {
        let is_basic = |(_, pattern): &(String, CredentialsPattern)| pattern.is_basic();
        match (self.header.as_ref().is_some_and(is_basic), was_presented) {
            (true, _) => "Basic realm=\"sluice\", charset=\"UTF-8\"",
            (false, false) => "Bearer",
            (false, true) => "Bearer error=\"invalid_token\"",
        }
    }

    fn in_cookie<'r>(&self, request: &'r RequestHead) -> Option<Cow<'r, str>> {
        let (name, pattern) = self.cookie.as_ref()?;
        // HTTP/2 may split one header into several (RFC 9113 8.2.3).
        let mut cookies = request
            .headers()
            .get_all("cookie")
            .flat_map(|line| line.split(|byte| *byte == b';'));
        let value = cookies.find_map(|cookie| {
            let (key, value) = split_at_equals(cookie.trim_ascii())?;
            (key == name.as_bytes()).then_some(value)
        })?;
        pattern.extract(Cow::Borrowed(value))
    }

    fn in_header<'r>(&self, request: &'r RequestHead) -> Option<Cow<'r, str>> {
        let (name, pattern) = self.header.as_ref()?;
        let value = request.headers().get_last(name)?;
        pattern.extract(Cow::Borrowed(value.trim_ascii()))
    }

    fn in_query<'r>(&self, request: &'r RequestHead) -> Option<Cow<'r, str>> {
        let (name, pattern) = self.query.as_ref()?;
        let value = request
            .query()?
            .split(|byte| *byte == b'&')
            .find_map(|pair| {
                let (key, value) = split_at_equals(pair)?;
                // A `+` stays: credentials have no spaces, but base64 has a plus.
                (*percent::decode(key, Plus::Plus) == *name.as_bytes())
                    .then(|| percent::decode(value, Plus::Plus))
            })?;
        pattern.extract(value)
    }
}

fn first(
    patterns: &[(String, String)],
) -> Result<Option<(String, CredentialsPattern)>, CredentialsFault> {
    let compiled = patterns.first().map(|(name, pattern)| {
        let pattern = CredentialsPattern::parse(pattern)?;
        Ok((name.clone(), pattern))
    });
    compiled.transpose()
}

fn split_at_equals(pair: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = pair.iter().position(|byte| *byte == b'=')?;
    Some((&pair[..at], &pair[at + 1..]))
}

/// `target` with `***` for the values of the query parameters called `names`, for the log.
pub fn redact<'t>(target: &'t [u8], names: &[&str]) -> Cow<'t, [u8]> {
    let Some(query_at) = target.iter().position(|byte| *byte == b'?') else {
        return Cow::Borrowed(target);
    };
    let is_secret = |key: &[u8]| {
        let key = percent::decode(key, Plus::Plus);
        names.iter().any(|name| *key == *name.as_bytes())
    };
    let mut redacted = target[..=query_at].to_vec();
    let mut has_secret = false;
    for (index, pair) in target[query_at + 1..]
        .split(|byte| *byte == b'&')
        .enumerate()
    {
        if index > 0 {
            redacted.push(b'&');
        }
        match split_at_equals(pair) {
            Some((key, _)) if is_secret(key) => {
                has_secret = true;
                redacted.extend_from_slice(key);
                redacted.extend_from_slice(b"=***");
            }
            _ => redacted.extend_from_slice(pair),
        }
    }
    if has_secret {
        Cow::Owned(redacted)
    } else {
        Cow::Borrowed(target)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{Headers, Scheme, Version};

    fn owned(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        let pair = |(name, pattern): &(&str, &str)| ((*name).to_owned(), (*pattern).to_owned());
        pairs.iter().map(pair).collect()
    }

    fn extractor() -> Extractor {
        Extractor::new(&HttpAuthorization {
            guard: 0,
            cookies: owned(&[("session", "{credentials}"), ("second", "{credentials}")]),
            headers: owned(&[("authorization", "Bearer {credentials}")]),
            query: owned(&[("access_token", "{credentials}")]),
        })
        .unwrap()
    }

    fn request(target: &str, fields: &[(&str, &str)]) -> RequestHead {
        let mut headers = Headers::new();
        for (name, value) in fields {
            headers.push(name, value);
        }
        let (scheme, version) = (Scheme::Https, Version::Http2);
        RequestHead::new(
            Method::Get,
            scheme,
            version,
            b"a",
            target.as_bytes(),
            headers,
        )
    }

    fn found(target: &str, fields: &[(&str, &str)]) -> Option<String> {
        let request = request(target, fields);
        extractor().extract(&request).map(Cow::into_owned)
    }

    #[test]
    fn a_client_is_told_how_to_come_in() {
        let bearer = extractor();
        assert_eq!(bearer.www_authenticate(false), "Bearer");
        let tried = bearer.www_authenticate(true);
        assert_eq!(tried, "Bearer error=\"invalid_token\"");
        let basic = Extractor::new(&HttpAuthorization {
            guard: 0,
            cookies: Vec::new(),
            headers: owned(&[("authorization", "Basic {username}:{password}")]),
            query: Vec::new(),
        });
        assert!(basic.unwrap().www_authenticate(true).starts_with("Basic "));
    }

    #[test]
    fn a_cookie_counts_before_a_header_and_a_header_before_the_query() {
        let cookie = ("cookie", "a=b; session=c1; session=c2");
        let header = ("authorization", "Bearer h");
        let target = "/x?access_token=q&access_token=r";
        assert_eq!(found(target, &[header, cookie]).as_deref(), Some("c1"));
        assert_eq!(found(target, &[header]).as_deref(), Some("h"));
        assert_eq!(found(target, &[]).as_deref(), Some("q"));
        assert_eq!(found("/x", &[]), None);
    }

    #[test]
    fn a_place_that_does_not_fit_leaves_it_to_the_next() {
        let fields = [("cookie", "session="), ("authorization", "Basic eDp5")];
        assert_eq!(found("/?access_token=q", &fields).as_deref(), Some("q"));
    }

    #[test]
    fn only_the_first_of_the_configured_cookies_counts_and_its_name_is_exact() {
        assert_eq!(found("/", &[("cookie", "second=x")]), None);
        assert_eq!(found("/", &[("cookie", "Session=x; xsession=y")]), None);
        let split = [("cookie", "a=b"), ("cookie", "session=x=y")];
        assert_eq!(found("/", &split).as_deref(), Some("x=y"));
    }

    #[test]
    fn the_value_of_a_parameter_is_decoded_and_keeps_its_plus() {
        let found = |target| found(target, &[]);
        assert_eq!(found("/?access%5Ftoken=a%2Eb+c").as_deref(), Some("a.b+c"));
        assert_eq!(found("/?access_token=a%20b"), None);
        assert_eq!(found("/?access_token=%ff"), None);
        assert_eq!(found("/?access_token"), None);
    }

    #[test]
    fn credentials_in_a_query_are_not_logged() {
        let shown = |target: &'static str| {
            let redacted = redact(target.as_bytes(), &["access_token"]);
            String::from_utf8(redacted.into_owned()).unwrap()
        };
        assert_eq!(
            shown("/a?b=c&access_token=x=y&access%5ftoken=z&d"),
            "/a?b=c&access_token=***&access%5ftoken=***&d"
        );
        for plain in [
            "/access_token=a",
            "/?access_token",
            "/?b=access_token&&",
            "*",
        ] {
            assert_eq!(shown(plain), plain);
        }
    }

    #[test]
    fn the_answer_to_a_challenge_is_a_post_of_its_content_type() {
        let request = |method, content_type: &str| {
            let mut headers = Headers::new();
            headers.push("content-type", content_type);
            RequestHead::new(method, Scheme::Https, Version::Http2, b"a", b"/x", headers)
        };
        let is_one = |method, content_type| is_challenge_response(&request(method, content_type));
        assert!(is_one(Method::Post, "application/x-challenge-response"));
        assert!(is_one(
            Method::Post,
            "Application/X-Challenge-Response; a=b"
        ));
        assert!(!is_one(Method::Post, "application/json"));
        assert!(!is_one(Method::Put, "application/x-challenge-response"));
    }
}
