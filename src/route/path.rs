//! Path templates: `when.path` of a mapping route.
//!
//! Matched against a request path whose query is already cut off. Its one rule: matching allocates nothing.

use std::borrow::Cow;
use std::fmt;

use super::glob::{Braces, Glob, PatternFault};
use super::percent::{self, Plus};

/// The most names in braces that one template may have.
pub const CAPTURES_MAX: usize = 8;

/// A compiled path such as `/items/{id}` or `/files/*`.
///
/// `*` is any run of bytes, `{name}` one or more bytes of any kind, `/` included; everything else is itself. Where several
/// spans are possible the earliest name takes the most. Unlike Zilla, the query is no part of the path and captured values
/// are percent-decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathTemplate {
    glob: Glob,
    names: Box<[Box<str>]>,
}

impl PathTemplate {
    /// Compiles the text of a template.
    ///
    /// # Errors
    /// The text does not start with `/`, its braces do not pair, a name is bad or repeated, or there are more than
    /// [`CAPTURES_MAX`].
    pub fn parse(text: &str) -> Result<Self, PatternFault> {
        if !text.starts_with('/') {
            return Err(PatternFault::NoLeadingSlash);
        }
        let glob = Glob::parse(text, Braces::Names)?;
        let names: Box<[Box<str>]> = glob.names().map(Box::from).collect();
        if names.len() > CAPTURES_MAX {
            return Err(PatternFault::TooManyNames {
                names_max: CAPTURES_MAX,
            });
        }
        Ok(Self { glob, names })
    }

    /// The values of the names if the whole of `path` (without its query) matches.
    pub fn matches<'p>(&'p self, path: &'p [u8]) -> Option<Params<'p>> {
        let mut params = Params {
            names: &self.names,
            raw: [&[]; CAPTURES_MAX],
        };
        let mut unfilled = self.names.len();
        let matched = self.glob.capture(path, |span| {
            unfilled -= 1; // names come last first
            params.raw[unfilled] = span;
        });
        matched.then_some(params)
    }

    /// The names in braces, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(AsRef::as_ref)
    }
}

impl fmt::Display for PathTemplate {
    /// The text that it was compiled from.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.glob.fmt(formatter)
    }
}

/// What the names of a template stand for in one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Params<'p> {
    names: &'p [Box<str>],
    raw: [&'p [u8]; CAPTURES_MAX],
}

impl<'p> Params<'p> {
    /// No names: what a route without `when.path` gives.
    pub const NONE: Self = Self {
        names: &[],
        raw: [&[]; CAPTURES_MAX],
    };

    /// The percent-decoded value of `name`; sequences that are not percent-encoding stay as they are.
    pub fn get(&self, name: &str) -> Option<Cow<'p, [u8]>> {
        let index = self.names.iter().position(|known| **known == *name)?;
        Some(percent::decode(self.raw[index], Plus::Plus))
    }

    /// Names and decoded values, in the order of the template.
    pub fn iter(&self) -> impl Iterator<Item = (&'p str, Cow<'p, [u8]>)> {
        let decoded = self.raw.iter().map(|raw| percent::decode(raw, Plus::Plus));
        self.names.iter().map(|name| &**name).zip(decoded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The captured values as `name=value` words, or `no match`.
    fn values(template: &str, path: &str) -> String {
        let template = PathTemplate::parse(template).unwrap();
        let Some(params) = template.matches(path.as_bytes()) else {
            return "no match".to_owned();
        };
        let words = params
            .iter()
            .map(|(name, value)| format!("{name}={}", value.escape_ascii()));
        words.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_template_shows_the_text_that_it_was_compiled_from() {
        for text in ["/", "/items/{id}", "/*", "/a/{x}-{y}/*/b", "/é{id}"] {
            assert_eq!(PathTemplate::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn names_capture_one_or_more_of_anything() {
        assert_eq!(values("/items", "/items"), "");
        assert_eq!(values("/items", "/items/1"), "no match");
        assert_eq!(values("/items/{id}", "/items/5"), "id=5");
        assert_eq!(values("/items/{id}", "/items/a/b"), "id=a/b");
        assert_eq!(values("/items/{id}", "/items/"), "no match");
        assert_eq!(values("/a.b", "/a.b"), "");
        assert_eq!(values("/a.b", "/axb"), "no match");
        assert_eq!(values("/files/*", "/files/"), "");
    }

    #[test]
    fn the_first_name_is_the_greedy_one() {
        assert_eq!(values("/{a}/{b}", "/1/2/3"), "a=1/2 b=3");
        assert_eq!(
            values("/items/{id};cid={correlationId}", "/items/1;cid=2;cid=3-f"),
            "id=1;cid=2 correlationId=3-f"
        );
    }

    #[test]
    fn values_are_percent_decoded_and_names_are_looked_up() {
        let template = PathTemplate::parse("/items/{id}").unwrap();
        let params = template.matches(b"/items/a%2Fb%zz").unwrap();
        assert_eq!(params.get("id").as_deref(), Some(&b"a/b%zz"[..]));
        assert_eq!(params.get("other"), None);
        assert_eq!(Params::NONE.get("id"), None);
        assert_eq!(template.names().collect::<Vec<_>>(), ["id"]);
    }

    #[test]
    fn a_template_has_bounds() {
        assert_eq!(
            PathTemplate::parse("items"),
            Err(PatternFault::NoLeadingSlash)
        );
        let eight = "/{a}/{b}/{c}/{d}/{e}/{f}/{g}/{h}";
        assert!(PathTemplate::parse(eight).is_ok());
        assert_eq!(
            PathTemplate::parse(&format!("{eight}/{{i}}")),
            Err(PatternFault::TooManyNames { names_max: 8 })
        );
    }
}
