//! Expressions: what stands between `${` and `}` in a template.
//!
//! Parsed when the configuration loads, by [`Template`](super::Template). Its one rule: which expressions a position may use
//! is decided here and once, so a request never meets one that cannot have a value.

use std::fmt;
use std::ops::BitOr;

use super::body_pointer::BodyPointer;

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
    /// `${correlationId}`: what ties a request to its reply.
    pub const CORRELATION_ID: Self = Self(16);
    /// `${body./pointer}` or `${body.name.name}`: a value of the request's JSON body.
    pub const BODY: Self = Self(32);

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

/// A piece of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Literal(Box<str>),
    Param(Box<str>),
    Header(Box<str>),
    Query(Box<str>),
    IdempotencyKey,
    CorrelationId,
    Body(BodyPointer),
}

/// The expression as it is written.
impl fmt::Display for Part {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Literal(text) => formatter.write_str(text),
            Self::Param(name) => write!(formatter, "${{params.{name}}}"),
            Self::Header(name) => write!(formatter, "${{headers.{name}}}"),
            Self::Query(name) => write!(formatter, "${{query.{name}}}"),
            Self::IdempotencyKey => formatter.write_str("${idempotencyKey}"),
            Self::CorrelationId => formatter.write_str("${correlationId}"),
            Self::Body(pointer) => write!(formatter, "${{body.{pointer}}}"),
        }
    }
}

/// Parses the text between the braces, in a position that may use `allowed`.
pub(super) fn parse_expression(text: &str, allowed: Allowed) -> Result<Part, ExpressionFault> {
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
        ("correlationId", None) => (Allowed::CORRELATION_ID, Some(Part::CorrelationId)),
        ("body", Some(name)) => (Allowed::BODY, BodyPointer::parse(name).map(Part::Body)),
        ("params" | "headers" | "query" | "body", None) => {
            return Err(ExpressionFault::BadName(text.to_owned()));
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
