//! Credentials in a request: where the configuration says they stand, and cut out of the text around them.
//!
//! Before every guard of an http server. Its one rule: patterns are literal text around their placeholders, compiled once, and what is
//! found is shown to nobody but the guard: [`redact`] keeps it out of the log.

use std::borrow::Cow;
use std::fmt;

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use crate::config::HttpAuthorization;
use crate::http::{Method, RequestHead};
use crate::route::percent::{self, Plus};

/// The content type of a `POST` that brings new credentials for the streams of its connection.
pub const CHALLENGE_RESPONSE: &str = "application/x-challenge-response";

const CREDENTIALS: &str = "{credentials}";
const USERNAME: &str = "{username}";
const PASSWORD: &str = "{password}";
/// base64 of RFC 7617, with or without padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

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
        let is_basic =
            |(_, pattern): &(String, CredentialsPattern)| matches!(pattern.form, Form::Basic(_));
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

/// Text around credentials, such as `Bearer {credentials}`, or `Basic {username}:{password}`, where all after the scheme is base64 (RFC 7617).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialsPattern {
    before: String,
    form: Form,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Form {
    /// A run without white space, and the text after it.
    Token { after: String },
    /// base64 of a user name and a password.
    Basic(Pair),
}

impl CredentialsPattern {
    /// Compiles `text`.
    ///
    /// # Errors
    ///
    /// When it has neither `{credentials}` once nor both `{username}` and `{password}` once.
    pub fn parse(text: &str) -> Result<Self, CredentialsFault> {
        if let Some((before, after)) = text.split_once(CREDENTIALS) {
            if [CREDENTIALS, USERNAME, PASSWORD]
                .iter()
                .any(|other| before.contains(other) || after.contains(other))
            {
                return Err(CredentialsFault::TooManyPlaceholders);
            }
            return Ok(Self {
                before: before.to_owned(),
                form: Form::Token {
                    after: after.to_owned(),
                },
            });
        }
        let placeholder = [USERNAME, PASSWORD]
            .iter()
            .filter_map(|name| text.find(name));
        let placeholder = placeholder.min().ok_or(CredentialsFault::NoPlaceholder)?;
        let encoded_at = text[..placeholder].rfind(' ').map_or(0, |space| space + 1);
        Ok(Self {
            before: text[..encoded_at].to_owned(),
            form: Form::Basic(Pair::parse(&text[encoded_at..], USERNAME, PASSWORD)?),
        })
    }

    /// The credentials in `value`, if the whole of it fits: what stands for `{credentials}`, or `name:password` as the pattern has it.
    pub fn extract<'v>(&self, value: Cow<'v, [u8]>) -> Option<Cow<'v, str>> {
        let value = match value {
            Cow::Borrowed(bytes) => Cow::Borrowed(str::from_utf8(bytes).ok()?),
            Cow::Owned(bytes) => Cow::Owned(String::from_utf8(bytes).ok()?),
        };
        match value {
            Cow::Borrowed(text) => self.fit(text),
            Cow::Owned(text) => Some(Cow::Owned(self.fit(&text)?.into_owned())),
        }
    }

    fn fit<'v>(&self, value: &'v str) -> Option<Cow<'v, str>> {
        let rest = strip_before(value, &self.before)?;
        match &self.form {
            Form::Token { after } => {
                let token = rest.strip_suffix(after.as_str())?;
                let is_token = !token.is_empty() && !token.contains(char::is_whitespace);
                is_token.then_some(Cow::Borrowed(token))
            }
            Form::Basic(pair) => {
                let decoded = String::from_utf8(BASE64.decode(rest).ok()?).ok()?;
                let fits = pair.split(&decoded).is_some();
                fits.then_some(Cow::Owned(decoded))
            }
        }
    }
}

/// `value` without `before`. If that is a scheme and a space, the case of the scheme does not matter (RFC 9110 11.1), nor how many spaces
/// follow.
fn strip_before<'v>(value: &'v str, before: &str) -> Option<&'v str> {
    let Some(scheme) = before.strip_suffix(' ') else {
        return value.strip_prefix(before);
    };
    let (start, rest) = value.split_at_checked(scheme.len())?;
    let without_spaces = rest.trim_start_matches(' ');
    let fits = start.eq_ignore_ascii_case(scheme) && without_spaces.len() < rest.len();
    fits.then_some(without_spaces)
}

/// Two placeholders with literal text around and between them. The text between is found where it first stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pair {
    before: String,
    between: String,
    after: String,
    is_swapped: bool,
}

impl Pair {
    /// Compiles `text` with the placeholders `first` and `second`, in either order.
    pub(super) fn parse(text: &str, first: &str, second: &str) -> Result<Self, CredentialsFault> {
        let at = |name: &str| text.find(name).ok_or(CredentialsFault::NoPlaceholder);
        let is_swapped = at(second)? < at(first)?;
        let (left, right) = if is_swapped {
            (second, first)
        } else {
            (first, second)
        };
        let (before, rest) = text
            .split_once(left)
            .ok_or(CredentialsFault::NoPlaceholder)?;
        let (between, after) = rest
            .split_once(right)
            .ok_or(CredentialsFault::NoPlaceholder)?;
        if between.is_empty() {
            return Err(CredentialsFault::NothingBetween);
        }
        if [between, after]
            .iter()
            .any(|text| text.contains(left) || text.contains(right))
        {
            return Err(CredentialsFault::TooManyPlaceholders);
        }
        Ok(Self {
            before: before.to_owned(),
            between: between.to_owned(),
            after: after.to_owned(),
            is_swapped,
        })
    }

    /// What stands for the first and the second placeholder, if the whole of `text` fits.
    pub(super) fn split<'t>(&self, text: &'t str) -> Option<(&'t str, &'t str)> {
        let inner = text
            .strip_prefix(self.before.as_str())?
            .strip_suffix(self.after.as_str())?;
        let (left, right) = inner.split_once(self.between.as_str())?;
        Some(if self.is_swapped {
            (right, left)
        } else {
            (left, right)
        })
    }
}

/// What is wrong with a pattern of credentials. Its words go on from the pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CredentialsFault {
    /// A placeholder is not there.
    NoPlaceholder,
    /// A placeholder that is there twice, or with others that exclude it.
    TooManyPlaceholders,
    /// Two placeholders with nothing between them, so that nobody knows where one ends.
    NothingBetween,
}

impl fmt::Display for CredentialsFault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::NoPlaceholder => "lacks a placeholder",
            Self::TooManyPlaceholders => "has too many placeholders",
            Self::NothingBetween => "has nothing between its placeholders",
        })
    }
}

impl std::error::Error for CredentialsFault {}

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

    fn fit(pattern: &str, value: &str) -> Option<String> {
        let pattern = CredentialsPattern::parse(pattern).unwrap();
        let found = pattern.extract(Cow::Borrowed(value.as_bytes()));
        found.map(Cow::into_owned)
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
    fn a_header_must_fit_as_a_whole_and_its_scheme_in_any_case() {
        let bearer = |value| fit("Bearer {credentials}", value);
        assert_eq!(bearer("bEARER  a.b.c").as_deref(), Some("a.b.c"));
        for other in [
            "Bearer",
            "Bearer ",
            "Bearera",
            "Bearer a b",
            "a",
            "Basic a",
            "Bear\u{e9}r",
        ] {
            assert_eq!(bearer(other), None, "{other}");
        }
        assert_eq!(fit("<{credentials}>", "<a>").as_deref(), Some("a"));
        assert_eq!(fit("<{credentials}>", "<a"), None);
        assert_eq!(fit("{credentials}", "\u{a0}"), None);
    }

    #[test]
    fn the_pattern_is_text_and_not_a_regular_expression() {
        assert_eq!(fit(".*{credentials}", "xxa"), None);
        assert_eq!(fit(".*{credentials}", ".*a").as_deref(), Some("a"));
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
    fn a_name_and_a_password_are_decoded_and_cut_at_the_first_colon() {
        let basic = |value| fit("Basic {username}:{password}", value);
        assert_eq!(
            basic("basic dXNlcjpwYTpzcw==").as_deref(),
            Some("user:pa:ss")
        );
        assert_eq!(basic("Basic dXNlcjpwYTpzcw").as_deref(), Some("user:pa:ss"));
        assert_eq!(basic("Basic dXNlcg=="), None);
        assert_eq!(basic("Basic user:pass"), None);
        assert_eq!(basic("Basic /w=="), None);
    }

    #[test]
    fn a_pattern_without_its_placeholders_is_refused() {
        let fault = |text| CredentialsPattern::parse(text).unwrap_err();
        assert_eq!(fault("Bearer"), CredentialsFault::NoPlaceholder);
        assert_eq!(fault("{username}"), CredentialsFault::NoPlaceholder);
        assert_eq!(
            fault("{username}{password}"),
            CredentialsFault::NothingBetween
        );
        let twice = CredentialsFault::TooManyPlaceholders;
        assert_eq!(fault("{credentials}{credentials}"), twice);
        assert_eq!(fault("{username}:{credentials}"), twice);
        assert_eq!(fault("{username}:{password}:{username}"), twice);
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
