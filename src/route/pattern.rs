//! Header and method patterns: `when.headers` of an http route and `when.method` of a mapping route.
//!
//! Zilla's patterns may hold regular expressions. Its one rule: what is not one never pays for one.

use regex_lite::Regex;

use super::glob::{Braces, Glob, PatternFault};
use super::query::split_query;

/// A compiled header pattern. The whole value must match.
///
/// `.` is itself, `*` any run, `{name}` one or more bytes; with any other character that is special in regular expressions
/// the rest of the text is one. For `:path`, a pattern that does not end in `*` also matches with any query after it.
#[derive(Clone, Debug)]
pub struct HeaderPattern {
    matcher: HeaderMatcher,
    any_query: bool,
}

#[derive(Clone, Debug)]
enum HeaderMatcher {
    Literal(Box<[u8]>),
    Glob(Glob),
    Regex(Regex),
}

impl HeaderPattern {
    /// Compiles the pattern `text` for the header `name` (lower case; `:path` for the query rule).
    ///
    /// # Errors
    /// Braces that do not pair, a bad or repeated name, or text that is no regular expression.
    pub fn parse(name: &str, text: &str) -> Result<Self, PatternFault> {
        let glob = Glob::parse(text, Braces::Names);
        let matcher = if text.contains(['(', ')', '[', ']', '|', '+', '?', '^', '$', '\\']) {
            HeaderMatcher::Regex(whole(&as_regex(text))?)
        } else if text.contains(['*', '{', '}']) {
            HeaderMatcher::Glob(glob?)
        } else {
            HeaderMatcher::Literal(text.as_bytes().into())
        };
        Ok(Self {
            matcher,
            any_query: name == ":path" && !text.ends_with('*'),
        })
    }

    /// Whether the whole of `value` matches. A value that is not UTF-8 matches no regular expression.
    pub fn matches(&self, value: &[u8]) -> bool {
        self.matches_whole(value) || (self.any_query && self.matches_whole(split_query(value).0))
    }

    fn matches_whole(&self, value: &[u8]) -> bool {
        match &self.matcher {
            HeaderMatcher::Literal(literal) => **literal == *value,
            HeaderMatcher::Glob(glob) => glob.matches(value),
            HeaderMatcher::Regex(regex) => {
                std::str::from_utf8(value).is_ok_and(|value| regex.is_match(value))
            }
        }
    }
}

/// A compiled method pattern: a regular expression that must match the whole method.
#[derive(Clone, Debug)]
pub struct MethodPattern(MethodMatcher);

#[derive(Clone, Debug)]
enum MethodMatcher {
    Words(Box<[Box<str>]>),
    Regex(Regex),
}

impl MethodPattern {
    /// Compiles `text`; plain words and lists such as `GET|HEAD` are compared as they are.
    ///
    /// # Errors
    /// Text that is not a regular expression.
    pub fn parse(text: &str) -> Result<Self, PatternFault> {
        let plain = |word: &str| {
            !word.is_empty()
                && word
                    .bytes()
                    .all(|byte| byte.is_ascii_alphabetic() || byte == b'-')
        };
        if text.split('|').all(plain) {
            return Ok(Self(MethodMatcher::Words(
                text.split('|').map(Box::from).collect(),
            )));
        }
        whole(text).map(|regex| Self(MethodMatcher::Regex(regex)))
    }

    /// Whether the whole of `method` matches; methods are case-sensitive (RFC 9110 section 9.1).
    pub fn matches(&self, method: &str) -> bool {
        match &self.0 {
            MethodMatcher::Words(words) => words.iter().any(|word| **word == *method),
            MethodMatcher::Regex(regex) => regex.is_match(method),
        }
    }
}

/// A regular expression that must match the whole text.
fn whole(text: &str) -> Result<Regex, PatternFault> {
    let refused = |error: regex_lite::Error| PatternFault::Regex(error.to_string());
    // Alone first: `a)(b` is no expression, but would be one between the brackets below.
    Regex::new(text).map_err(refused)?;
    Regex::new(&format!(r"\A(?:{text})\z")).map_err(refused)
}

/// Zilla's pattern language as a regular expression: `.` literal, `*` any run, `{name}` one or more; an escape stays.
fn as_regex(text: &str) -> String {
    let mut regex = String::with_capacity(text.len() * 2);
    let mut rest = text.chars();
    while let Some(next) = rest.next() {
        match next {
            '.' => regex.push_str(r"\."),
            '*' => regex.push_str(".*"),
            '\\' => {
                regex.push('\\');
                regex.extend(rest.next());
            }
            '{' if rest
                .as_str()
                .starts_with(|first: char| first.is_ascii_alphabetic()) =>
            {
                regex.push_str(".+");
                // Up to the brace, or to the end when there is none.
                rest.by_ref().find(|inner| *inner == '}');
            }
            _ => regex.push(next),
        }
    }
    regex
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(name: &str, pattern: &str, value: &str) -> bool {
        HeaderPattern::parse(name, pattern)
            .unwrap()
            .matches(value.as_bytes())
    }

    #[test]
    fn a_header_pattern_matches_the_whole_value() {
        assert!(header(":scheme", "http", "http"));
        assert!(!header(":scheme", "http", "https"));
        assert!(header(":authority", "example.com:*", "example.com:80"));
        assert!(!header(":authority", "example.com:*", "example-com:80"));
        assert!(header("x", "a{name}c", "abc"));
        assert!(!header("x", "a{name}c", "ac"));
    }

    #[test]
    fn other_special_characters_make_it_a_regular_expression() {
        assert!(header(
            "content-type",
            "application/(json|xml)",
            "application/xml"
        ));
        assert!(!header(
            "content-type",
            "application/(json|xml)",
            "application/xmls"
        ));
        assert!(header("x", r"a\+b.c*", "a+b.cd"));
        assert!(!header("x", r"a\+b.c*", "a+bxcd"));
        assert!(header("x", "(a|b){id}", "bz"));
        assert!(!HeaderPattern::parse("x", "[a-z]").unwrap().matches(b"\xff"));
    }

    #[test]
    fn a_path_pattern_tolerates_a_query() {
        assert!(header(":path", "/items", "/items?x=1"));
        assert!(header(":path", "/items/{id}", "/items/5?x=1"));
        assert!(header(":path", "/(a|b)", "/b?c"));
        assert!(!header(":path", "/items", "/items/5"));
        assert!(!header("x-path", "/items", "/items?x=1"));
        assert!(header(":path", "/items*", "/items?x=1"));
    }

    #[test]
    fn a_method_is_a_word_a_list_or_an_expression() {
        let matches = |pattern, method| MethodPattern::parse(pattern).unwrap().matches(method);
        assert!(matches("GET", "GET"));
        assert!(!matches("GET", "get"));
        assert!(matches("GET|HEAD", "HEAD"));
        assert!(!matches("GET|HEAD", "GETHEAD"));
        assert!(matches("P.*", "PATCH"));
        assert!(!matches("P.*|D", "DELETE"));
    }

    #[test]
    fn what_is_no_expression_is_refused() {
        assert!(matches!(
            MethodPattern::parse("GET("),
            Err(PatternFault::Regex(_))
        ));
        assert!(matches!(
            MethodPattern::parse("a)(b"),
            Err(PatternFault::Regex(_))
        ));
        assert!(matches!(
            HeaderPattern::parse("x", "[a"),
            Err(PatternFault::Regex(_))
        ));
        assert!(matches!(
            HeaderPattern::parse("x", "{a"),
            Err(PatternFault::Unclosed)
        ));
    }
}
