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

    /// `${guarded['name'].identity}` and `${guarded['name'].attributes.x}`: what a guard knows of the client.
    pub const GUARDED: Self = Self(64);

    /// Everything that is taken from the request as it came: parameters, headers and query.
    pub const REQUEST: Self = Self(1 | 2 | 4);

    /// Both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    const fn includes(self, one: Self) -> bool {
        self.0 & one.0 == one.0
    }
}

impl BitOr for Allowed {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        self.and(other)
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
    /// `guarded` that does not go on as it must.
    BadGuarded(String),
    /// Known, but not in this position.
    NotHere(String),
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
            Self::BadGuarded(text) => write!(
                formatter,
                "`${{{text}}}` is not understood (write `${{guarded['name'].identity}}` or `${{guarded['name'].attributes.x}}`)"
            ),
            Self::NotHere(text) => write!(formatter, "`${{{text}}}` is not available here"),
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
    Identity(GuardName),
    Attribute(GuardName, Box<str>),
}

/// A guard as an expression calls it, and which one that is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct GuardName {
    pub(super) name: Box<str>,
    /// Its index among the guards of the plan; `None` until the configuration is linked.
    pub(super) index: Option<usize>,
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
            Self::Identity(guard) => write!(formatter, "${{guarded['{}'].identity}}", guard.name),
            Self::Attribute(guard, name) => {
                write!(
                    formatter,
                    "${{guarded['{}'].attributes.{name}}}",
                    guard.name
                )
            }
        }
    }
}

/// Parses the text between the braces, in a position that may use `allowed`.
pub(super) fn parse_expression(text: &str, allowed: Allowed) -> Result<Part, ExpressionFault> {
    if let Some(rest) = text.strip_prefix("guarded")
        && !rest.starts_with(|next: char| next.is_ascii_alphanumeric())
    {
        let part =
            parse_guarded(rest).ok_or_else(|| ExpressionFault::BadGuarded(text.to_owned()))?;
        return here(part, Allowed::GUARDED, text, allowed);
    }
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
        _ => return Err(ExpressionFault::Unknown(text.to_owned())),
    };
    let part = part.ok_or_else(|| ExpressionFault::BadName(text.to_owned()))?;
    here(part, needs, text, allowed)
}

/// `part` where what it `needs` is allowed.
fn here(part: Part, needs: Allowed, text: &str, allowed: Allowed) -> Result<Part, ExpressionFault> {
    if allowed.includes(needs) {
        Ok(part)
    } else {
        Err(ExpressionFault::NotHere(text.to_owned()))
    }
}

/// Parses what follows `guarded`: `['name'].identity` or `['name'].attributes.x`.
fn parse_guarded(text: &str) -> Option<Part> {
    let (name, value) = text.strip_prefix("['")?.split_once("'].")?;
    if name.is_empty() {
        return None;
    }
    let guard = GuardName {
        name: name.into(),
        index: None,
    };
    if value == "identity" {
        return Some(Part::Identity(guard));
    }
    let attribute = value.strip_prefix("attributes.")?;
    (!attribute.is_empty()).then(|| Part::Attribute(guard, attribute.into()))
}

/// Letters, digits and the marks that header names and captured names may have.
fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'))
}
