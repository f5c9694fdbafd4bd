//! Patterns of credentials: how they are cut out of the text around them.
//!
//! Under `credentials` and `inline`; compiled once. Its one rule: what is around the placeholders is literal text, no regular expression.

use std::borrow::Cow;
use std::fmt;

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

const CREDENTIALS: &str = "{credentials}";
const USERNAME: &str = "{username}";
const PASSWORD: &str = "{password}";
/// base64 of RFC 7617, with or without padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

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

    /// Whether it takes a user's name and password.
    pub fn is_basic(&self) -> bool {
        matches!(self.form, Form::Basic(_))
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

    fn fit(pattern: &str, value: &str) -> Option<String> {
        let pattern = CredentialsPattern::parse(pattern).unwrap();
        let found = pattern.extract(Cow::Borrowed(value.as_bytes()));
        found.map(Cow::into_owned)
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
}
