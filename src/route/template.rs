//! Templates: text with `${…}` expressions, filled in per request.
//!
//! Parsed once when the configuration loads. Its one rule: one pass. A value is copied as it is, never looked into, so a
//! client cannot bring in an expression of its own.

use std::borrow::Cow;
use std::fmt;

use super::body_pointer::BodyPointer;
use super::expression::{Allowed, ExpressionFault, GuardName, Part, parse_expression};
use super::percent;

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
    /// What ties the request to its reply.
    fn correlation_id(&self) -> Option<Cow<'_, [u8]>>;
    /// The value that `pointer` finds in the request's JSON body.
    fn body(&self, pointer: &BodyPointer) -> Option<Cow<'_, [u8]>>;
    /// Whom `guard` (an index into the guards of the plan) takes the client for; `None` becomes empty text.
    fn identity(&self, guard: usize) -> Option<Cow<'_, [u8]>>;
    /// What `guard` knows of the client under `name`; `None` becomes empty text.
    fn attribute(&self, guard: usize, name: &str) -> Option<Cow<'_, [u8]>>;
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

impl Template {
    /// Text without expressions, whatever is in it.
    pub fn literal(text: &str) -> Self {
        Self {
            parts: Box::new([Part::Literal(text.into())]),
        }
    }

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
            text.extend_from_slice(&value(part, scope)?);
        }
        Ok(text)
    }

    /// As [`render`](Self::render), for a URI reference: values are percent-encoded (RFC 3986 section 2.1), literals stay as
    /// they are.
    ///
    /// Of a value, unreserved characters and `/`, `:` and `@` stay as they are; of a correlation id only the unreserved ones,
    /// so that [`LocationPattern`](super::LocationPattern) sees where it ends.
    ///
    /// # Errors
    /// The first expression without a value.
    pub fn render_uri(&self, scope: &(impl Scope + ?Sized)) -> Result<Vec<u8>, Missing> {
        let mut uri = Vec::new();
        for part in &self.parts {
            let value = value(part, scope)?;
            match part {
                Part::Literal(_) => uri.extend_from_slice(&value),
                Part::CorrelationId => percent::encode(&value, b"", &mut uri),
                Part::Param(_)
                | Part::Header(_)
                | Part::Query(_)
                | Part::IdempotencyKey
                | Part::Body(_)
                | Part::Identity(_)
                | Part::Attribute(..) => percent::encode(&value, b"/:@", &mut uri),
            }
        }
        Ok(uri)
    }

    /// Whether it takes something from the request's body.
    pub fn needs_body(&self) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::Body(_)))
    }

    /// Whether it has `${correlationId}`.
    pub fn uses_correlation_id(&self) -> bool {
        self.correlation_id_count() > 0
    }

    /// How often it has `${correlationId}`.
    pub fn correlation_id_count(&self) -> usize {
        let is_id = |part: &&Part| matches!(part, Part::CorrelationId);
        self.parts.iter().filter(is_id).count()
    }

    pub(super) fn parts(&self) -> &[Part] {
        &self.parts
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

    /// The names of the guards that it asks, as they are written.
    pub fn guards(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Identity(guard) | Part::Attribute(guard, _) => Some(&*guard.name),
            _ => None,
        })
    }

    /// Tells it which guards its names mean, as indexes into the guards of the plan. One that is never told has no values.
    pub fn resolve_guards(&mut self, mut index_of: impl FnMut(&str) -> Option<usize>) {
        for part in &mut self.parts {
            if let Part::Identity(guard) | Part::Attribute(guard, _) = part {
                guard.index = index_of(&guard.name);
            }
        }
    }
}

fn value<'s>(part: &'s Part, scope: &'s (impl Scope + ?Sized)) -> Result<Cow<'s, [u8]>, Missing> {
    let value = match part {
        Part::Literal(literal) => Some(Cow::Borrowed(literal.as_bytes())),
        Part::Param(name) => scope.param(name),
        Part::Header(name) => scope.header(name),
        Part::Query(name) => scope.query(name),
        Part::IdempotencyKey => scope.idempotency_key(),
        Part::CorrelationId => scope.correlation_id(),
        Part::Body(pointer) => scope.body(pointer),
        Part::Identity(guard) => Some(known(guard, |index| scope.identity(index))),
        Part::Attribute(guard, name) => Some(known(guard, |index| scope.attribute(index, name))),
    };
    value.ok_or_else(|| missing(part))
}

/// What a guard knows, or empty text: as in Zilla, a client without a session is no fault of the request.
fn known<'s>(guard: &GuardName, ask: impl FnOnce(usize) -> Option<Cow<'s, [u8]>>) -> Cow<'s, [u8]> {
    guard.index.and_then(ask).unwrap_or_default()
}

#[cold]
fn missing(part: &Part) -> Missing {
    Missing {
        expression: part.to_string(),
    }
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
        fn correlation_id(&self) -> Option<Cow<'_, [u8]>> {
            Some(Cow::Borrowed("k/ü-1".as_bytes()))
        }
        fn body(&self, pointer: &BodyPointer) -> Option<Cow<'_, [u8]>> {
            pointer.find(br#"{"a": {"b": ["x y", 1.0]}}"#)
        }
        fn identity(&self, guard: usize) -> Option<Cow<'_, [u8]>> {
            (guard == 1).then_some(Cow::Borrowed(b"ann/"))
        }
        fn attribute(&self, guard: usize, name: &str) -> Option<Cow<'_, [u8]>> {
            (guard == 1 && name == "team.name").then_some(Cow::Borrowed(b"blue"))
        }
    }

    fn everything() -> Allowed {
        Allowed::REQUEST | Allowed::IDEMPOTENCY_KEY | Allowed::CORRELATION_ID | Allowed::BODY
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
    fn values_come_from_the_body_too() {
        assert_eq!(render("${body./a/b/0}:${body.a.b.1}"), Ok("x y:1.0".into()));
        let missing = render("${body./a}").unwrap_err();
        assert_eq!(
            missing.to_string(),
            "the request has no value for `${body./a}`"
        );
        let missing = render("${body.a.c}").unwrap_err();
        assert_eq!(missing.expression, "${body.a.c}");
    }

    #[test]
    fn in_a_uri_values_are_encoded_and_literals_are_not() {
        let template = Template::parse(
            "/a;b/${body.a.b.0}/${params.id};cid=${correlationId}",
            everything(),
        );
        let uri = template.unwrap().render_uri(&Request).unwrap();
        assert_eq!(
            String::from_utf8(uri).unwrap(),
            "/a;b/x%20y/%24%7BidempotencyKey%7D;cid=k%2F%C3%BC-1"
        );
        let template = Template::parse("${query.size}", everything()).unwrap();
        assert!(template.render_uri(&Request).is_err());
    }

    #[test]
    fn what_a_template_needs_is_known() {
        let parse = |text| Template::parse(text, everything()).unwrap();
        assert!(parse("a${body.a}").needs_body());
        assert!(!parse("a${params.body}").needs_body());
        assert!(parse("${correlationId}").uses_correlation_id());
        assert!(!parse("${idempotencyKey}").uses_correlation_id());
        assert_eq!(
            parse("${correlationId}-${correlationId}").correlation_id_count(),
            2
        );
    }

    #[test]
    fn what_guards_know_is_empty_where_they_know_nothing() {
        let text = "${guarded['a'].identity}-${guarded['x:b'].identity}-${guarded['a'].attributes.team.name}-${guarded['a'].attributes.x}";
        let mut template = Template::parse(text, Allowed::GUARDED).unwrap();
        assert_eq!(
            template.guards().collect::<Vec<_>>(),
            ["a", "x:b", "a", "a"]
        );
        assert_eq!(template.render(&Request).unwrap(), b"---");
        template.resolve_guards(|name| (name == "a").then_some(1));
        assert_eq!(template.render(&Request).unwrap(), b"ann/--blue-");
        let uri = template.render_uri(&Request).unwrap();
        assert_eq!(uri, b"ann/--blue-");
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
                "${parms.id}${query.a}${params.}${params}${guarded['g'].identity}${guarded['g']}${guarded.g.identity}${correlationId}${body./a}${body}${body.}${body./~}${x"
            ),
            [
                ExpressionFault::Unknown("parms.id".into()),
                ExpressionFault::NotHere("query.a".into()),
                ExpressionFault::BadName("params.".into()),
                ExpressionFault::BadName("params".into()),
                ExpressionFault::NotHere("guarded['g'].identity".into()),
                ExpressionFault::BadGuarded("guarded['g']".into()),
                ExpressionFault::BadGuarded("guarded.g.identity".into()),
                ExpressionFault::NotHere("correlationId".into()),
                ExpressionFault::NotHere("body./a".into()),
                ExpressionFault::BadName("body".into()),
                ExpressionFault::BadName("body.".into()),
                ExpressionFault::BadName("body./~".into()),
                ExpressionFault::Unclosed("x".into()),
            ]
        );
    }
}
