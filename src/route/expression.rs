//! Templates: text with `${…}` expressions, filled in per request.
//!
//! Parsed once when the configuration loads. Its one rule: one pass. A value is copied as it is, never looked into, so a
//! client cannot bring in an expression of its own.

use std::borrow::Cow;
use std::fmt;
use std::ops::BitOr;

/// The expressions that a position of the configuration may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowed(u8);

impl Allowed {
    /// `${params.name}`: a value that `when.path` captured.
    pub const PARAMS: Self = Self(1);
    /// `${headers.name}`: a request header.
    pub const HEADERS: Self = Self(2);
    /// `${query.name}`: a parameter of the request's query.
    pub const QUERY: Self = Self(4);
    /// `${idempotencyKey}`: the request's idempotency key, generated if it brought none.
    pub const IDEMPOTENCY_KEY: Self = Self(8);

    /// Everything that is taken from the request as it came: parameters, headers and query.
    pub const REQUEST: Self = Self(1 | 2 | 4);

    const fn includes(self, one: Self) -> bool {
        self.0 & one.0 == one.0
    }
}

impl BitOr for Allowed {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// What is wrong with an expression; each variant holds the text between the braces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExpressionFault {
    /// `${` without `}`; the text after it.
    Unclosed(String),
    /// Not an expression that exists.
    Unknown(String),
    /// A known kind with a name that cannot be, such as `params.` or `headers.a b`.
    BadName(String),
    /// Known, but not in this position.
    NotHere(String),
    /// Known in Zilla or in the design, not built yet.
    NotSupportedYet(String),
}

impl ExpressionFault {
    /// The words an expression may start with, for suggestions.
    pub const KNOWN: [&'static str; 7] = [
        "params",
        "headers",
        "query",
        "idempotencyKey",
        "correlationId",
        "body",
        "guarded",
    ];
}

impl fmt::Display for ExpressionFault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unclosed(text) => write!(formatter, "`${{{text}` has no `}}`"),
            Self::Unknown(text) => write!(formatter, "unknown expression `${{{text}}}`"),
            Self::BadName(text) => {
                write!(formatter, "`${{{text}}}` has no proper name after the dot")
            }
            Self::NotHere(text) => write!(formatter, "`${{{text}}}` is not available here"),
            Self::NotSupportedYet(text) => write!(formatter, "`${{{text}}}` is not supported yet"),
        }
    }
}

impl std::error::Error for ExpressionFault {}

/// Where the values of one request come from. `None` is "the request has none".
pub trait Scope {
    /// The decoded value that the path template captured as `name`.
    fn param(&self, name: &str) -> Option<Cow<'_, [u8]>>;
    /// The request header `name` (lower case).
    fn header(&self, name: &str) -> Option<Cow<'_, [u8]>>;
    /// The decoded query parameter `name`.
    fn query(&self, name: &str) -> Option<Cow<'_, [u8]>>;
    /// The request's idempotency key, brought by the client or generated.
    fn idempotency_key(&self) -> Option<Cow<'_, [u8]>>;
}

/// An expression of a template that this request has no value for: the client's fault (400), naming the expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// The expression as written, such as `${query.id}`.
    pub expression: String,
}

impl fmt::Display for Missing {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "the request has no value for `{}`",
            self.expression
        )
    }
}

impl std::error::Error for Missing {}

/// Text with expressions, parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    parts: Box<[Part]>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(Box<str>),
    Param(Box<str>),
    Header(Box<str>),
    Query(Box<str>),
    IdempotencyKey,
}

impl Template {
    /// Parses `text`, in a position that may use `allowed`.
    ///
    /// # Errors
    /// Every expression that is unclosed, unknown, or not allowed in this position.
    pub fn parse(text: &str, allowed: Allowed) -> Result<Self, Vec<ExpressionFault>> {
        let mut parts = Vec::new();
        let mut faults = Vec::new();
        let mut rest = text;
        while let Some((before, from)) = rest.split_once("${") {
            if !before.is_empty() {
                parts.push(Part::Literal(before.into()));
            }
            let Some((inside, after)) = from.split_once('}') else {
                faults.push(ExpressionFault::Unclosed(from.to_owned()));
                rest = "";
                break;
            };
            match parse_expression(inside.trim(), allowed) {
                Ok(part) => parts.push(part),
                Err(fault) => faults.push(fault),
            }
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(Part::Literal(rest.into()));
        }
        if faults.is_empty() {
            Ok(Self {
                parts: parts.into(),
            })
        } else {
            Err(faults)
        }
    }

    /// The text with the values of `scope` in place.
    ///
    /// # Errors
    /// The first expression without a value.
    pub fn render(&self, scope: &(impl Scope + ?Sized)) -> Result<Vec<u8>, Missing> {
        let mut text = Vec::new();
        for part in &self.parts {
            let value = match part {
                Part::Literal(literal) => Some(Cow::Borrowed(literal.as_bytes())),
                Part::Param(name) => scope.param(name),
                Part::Header(name) => scope.header(name),
                Part::Query(name) => scope.query(name),
                Part::IdempotencyKey => scope.idempotency_key(),
            };
            text.extend_from_slice(&value.ok_or_else(|| part.missing())?);
        }
        Ok(text)
    }

    /// Whether it is the same text for every request.
    pub fn is_literal(&self) -> bool {
        self.as_literal().is_some()
    }

    /// The text, if it is the same for every request.
    pub fn as_literal(&self) -> Option<&str> {
        match &*self.parts {
            [] => Some(""),
            [Part::Literal(text)] => Some(text),
            _ => None,
        }
    }

    /// The literal pieces between the expressions.
    pub fn literals(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| {
            if let Part::Literal(text) = part {
                Some(&**text)
            } else {
                None
            }
        })
    }

    /// The names of its `${params.name}` expressions.
    pub fn params(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| {
            if let Part::Param(name) = part {
                Some(&**name)
            } else {
                None
            }
        })
    }
}

impl Part {
    #[cold]
    fn missing(&self) -> Missing {
        let expression = match self {
            Self::Literal(text) => text.to_string(),
            Self::Param(name) => format!("${{params.{name}}}"),
            Self::Header(name) => format!("${{headers.{name}}}"),
            Self::Query(name) => format!("${{query.{name}}}"),
            Self::IdempotencyKey => "${idempotencyKey}".to_owned(),
        };
        Missing { expression }
    }
}

fn parse_expression(text: &str, allowed: Allowed) -> Result<Part, ExpressionFault> {
    let (word, name) = match text.split_once('.') {
        Some((word, name)) => (word, Some(name)),
        None => (text, None),
    };
    let (needs, part) = match (word, name) {
        ("params", Some(name)) => (
            Allowed::PARAMS,
            is_name(name).then(|| Part::Param(name.into())),
        ),
        ("headers", Some(name)) => (
            Allowed::HEADERS,
            is_name(name).then(|| Part::Header(name.to_ascii_lowercase().into())),
        ),
        ("query", Some(name)) => (
            Allowed::QUERY,
            (!name.is_empty()).then(|| Part::Query(name.into())),
        ),
        ("idempotencyKey", None) => (Allowed::IDEMPOTENCY_KEY, Some(Part::IdempotencyKey)),
        ("params" | "headers" | "query", None) => {
            return Err(ExpressionFault::BadName(text.to_owned()));
        }
        ("correlationId", None) | ("body", _) => {
            return Err(ExpressionFault::NotSupportedYet(text.to_owned()));
        }
        _ if text.starts_with("guarded[") => {
            return Err(ExpressionFault::NotSupportedYet(text.to_owned()));
        }
        _ => return Err(ExpressionFault::Unknown(text.to_owned())),
    };
    let part = part.ok_or_else(|| ExpressionFault::BadName(text.to_owned()))?;
    if allowed.includes(needs) {
        Ok(part)
    } else {
        Err(ExpressionFault::NotHere(text.to_owned()))
    }
}

/// Letters, digits and the marks that header names and captured names may have.
fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Request;

    impl Scope for Request {
        fn param(&self, name: &str) -> Option<Cow<'_, [u8]>> {
            (name == "id").then_some(Cow::Borrowed(b"${idempotencyKey}"))
        }
        fn header(&self, name: &str) -> Option<Cow<'_, [u8]>> {
            (name == "x-tenant").then_some(Cow::Borrowed(b"acme"))
        }
        fn query(&self, name: &str) -> Option<Cow<'_, [u8]>> {
            (name == "page").then_some(Cow::Borrowed(b"2"))
        }
        fn idempotency_key(&self) -> Option<Cow<'_, [u8]>> {
            Some(Cow::Borrowed(b"key"))
        }
    }

    fn everything() -> Allowed {
        Allowed::PARAMS | Allowed::HEADERS | Allowed::QUERY | Allowed::IDEMPOTENCY_KEY
    }

    fn render(text: &str) -> Result<String, Missing> {
        let rendered = Template::parse(text, everything())
            .unwrap()
            .render(&Request)?;
        Ok(String::from_utf8(rendered).unwrap())
    }

    fn faults(text: &str) -> Vec<ExpressionFault> {
        Template::parse(text, Allowed::PARAMS).unwrap_err()
    }

    #[test]
    fn text_and_expressions_mix() {
        assert_eq!(
            render("dev_${headers.X-Tenant}-${query.page}/${ idempotencyKey }$"),
            Ok("dev_acme-2/key$".into())
        );
        assert_eq!(render(""), Ok(String::new()));
    }

    #[test]
    fn a_value_is_never_expanded_again() {
        assert_eq!(render("${params.id}"), Ok("${idempotencyKey}".into()));
    }

    #[test]
    fn a_missing_value_is_named() {
        let missing = render("a${query.size}").unwrap_err();
        assert_eq!(
            missing.to_string(),
            "the request has no value for `${query.size}`"
        );
    }

    #[test]
    fn literals_are_known_as_such() {
        let template = Template::parse("items-$5", everything()).unwrap();
        assert_eq!(template.as_literal(), Some("items-$5"));
        let template = Template::parse("a${params.b}c${params.d}", everything()).unwrap();
        assert!(!template.is_literal());
        assert_eq!(template.literals().collect::<Vec<_>>(), ["a", "c"]);
        assert_eq!(template.params().collect::<Vec<_>>(), ["b", "d"]);
    }

    #[test]
    fn every_fault_of_a_text_is_found() {
        assert_eq!(
            faults(
                "${parms.id}${query.a}${params.}${params}${guarded['g'].identity}${correlationId}${body./a}${x"
            ),
            [
                ExpressionFault::Unknown("parms.id".into()),
                ExpressionFault::NotHere("query.a".into()),
                ExpressionFault::BadName("params.".into()),
                ExpressionFault::BadName("params".into()),
                ExpressionFault::NotSupportedYet("guarded['g'].identity".into()),
                ExpressionFault::NotSupportedYet("correlationId".into()),
                ExpressionFault::NotSupportedYet("body./a".into()),
                ExpressionFault::Unclosed("x".into()),
            ]
        );
    }
}
