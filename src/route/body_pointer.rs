//! JSON pointers (RFC 6901) into request bodies: `${body./device/id}` and `${body.device.id}`.
//!
//! Parsed when the configuration loads, run once for each expression and request. Its one rule: one pass over the body, with a
//! stack that is bounded by the pointer, whatever the client sends.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// The place of a value in a JSON document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BodyPointer {
    written: Box<str>,
    /// The unescaped names and indexes from the root on; never empty.
    tokens: Box<[Box<str>]>,
}

impl BodyPointer {
    /// Parses a JSON pointer that begins with `/`, or names with dots between them; `None` if it is neither.
    ///
    /// Names with dots may not be empty nor have `/` or `~`: what needs them is written as a pointer.
    pub fn parse(text: &str) -> Option<Self> {
        let tokens: Option<Box<[Box<str>]>> = match text.strip_prefix('/') {
            Some(tokens) => tokens.split('/').map(unescaped).collect(),
            None => text.split('.').map(plain_name).collect(),
        };
        Some(Self {
            written: text.into(),
            tokens: tokens?,
        })
    }

    /// The value in the JSON text `body`: the text of a string; a number or boolean as it is written.
    ///
    /// `None` if it is absent, null, an object or an array, or if `body` is no JSON text (RFC 8259). Of members with the same
    /// name the last one counts.
    pub fn find<'b>(&self, body: &'b [u8]) -> Option<Cow<'b, [u8]>> {
        let body = std::str::from_utf8(body).ok()?; // serde_json does not look into strings that it skips
        let mut json = serde_json::Deserializer::from_str(body);
        let tokens = &self.tokens;
        let found = Descent { tokens }.deserialize(&mut json).ok()?;
        json.end().ok()?;
        scalar_text(found?)
    }
}

/// As it was written, without the `body.` before it.
impl fmt::Display for BodyPointer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.written)
    }
}

/// The name that a token of a pointer stands for: `~1` is `/`, `~0` is `~` (RFC 6901 section 4).
fn unescaped(token: &str) -> Option<Box<str>> {
    let mut pieces = token.split('~');
    let mut name = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let (mark, rest) = match piece.strip_prefix('0') {
            Some(rest) => ('~', rest),
            None => ('/', piece.strip_prefix('1')?),
        };
        name.push(mark);
        name.push_str(rest);
    }
    Some(name.into())
}

fn plain_name(name: &str) -> Option<Box<str>> {
    let plain = !name.is_empty() && !name.contains(['/', '~']);
    plain.then(|| name.into())
}

/// The text of a string, number or boolean, of which `raw` is the JSON text.
fn scalar_text(raw: &str) -> Option<Cow<'_, [u8]>> {
    match raw.as_bytes() {
        [b'"', inner @ .., b'"'] if !inner.contains(&b'\\') => Some(Cow::Borrowed(inner)),
        [b'"', ..] => {
            let text: String = serde_json::from_str(raw).ok()?;
            Some(Cow::Owned(text.into_bytes()))
        }
        [b'{' | b'[' | b'n', ..] | [] => None,
        text => Some(Cow::Borrowed(text)),
    }
}

/// On the way to the value: what is left of the pointer at the value that is being read.
#[derive(Clone, Copy)]
struct Descent<'p> {
    tokens: &'p [Box<str>],
}

/// The JSON text of the value, if it is there.
impl<'de> DeserializeSeed<'de> for Descent<'_> {
    type Value = Option<&'de str>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        if self.tokens.is_empty() {
            <&RawValue>::deserialize(json).map(|raw| Some(raw.get()))
        } else {
            json.deserialize_any(self)
        }
    }
}

impl<'de> Visitor<'de> for Descent<'_> {
    type Value = Option<&'de str>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("any JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let Some((name, tokens)) = self.tokens.split_first() else {
            return Ok(None);
        };
        let mut found = None;
        while let Some(is_it) = members.next_key_seed(IsName(name))? {
            if is_it {
                found = members.next_value_seed(Descent { tokens })?;
            } else {
                members.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let Some((index, tokens)) = self.tokens.split_first() else {
            return Ok(None);
        };
        let mut found = None;
        if let Some(index) = array_index(index) {
            for _ in 0..index {
                if items.next_element::<IgnoredAny>()?.is_none() {
                    return Ok(None);
                }
            }
            found = items.next_element_seed(Descent { tokens })?.flatten();
        }
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(found)
    }

    // Scalars have nothing below them.
    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }
    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(None)
    }
    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(None)
    }
    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(None)
    }
    fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
        Ok(None)
    }
    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
}

/// An index of an array: digits without a leading zero (RFC 6901 section 4).
fn array_index(token: &str) -> Option<usize> {
    let digits = token.bytes().all(|byte| byte.is_ascii_digit());
    let plain = digits && (token.len() == 1 || !token.starts_with('0'));
    plain.then(|| token.parse().ok()).flatten()
}

/// Whether a member has the name that is looked for.
struct IsName<'p>(&'p str);

impl<'de> DeserializeSeed<'de> for IsName<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<bool, D::Error> {
        json.deserialize_str(self)
    }
}

impl Visitor<'_> for IsName<'_> {
    type Value = bool;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the name of a member")
    }

    fn visit_str<E>(self, name: &str) -> Result<bool, E> {
        Ok(name == self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn find(pointer: &str, body: &str) -> Option<String> {
        let pointer = BodyPointer::parse(pointer).unwrap();
        let found = pointer.find(body.as_bytes())?;
        Some(String::from_utf8(found.into_owned()).unwrap())
    }

    #[test]
    fn scalars_are_found_and_nothing_else_is() {
        let body = r#" {"s": "a\"\u00e9", "plain": "x y", "": "empty", "n": [1.0, -2e+3, 12345678901234567890123],
            "t": true, "f": false, "null": null, "o": {"a/b": {"m~n": "deep"}}} "#;
        for (pointer, value) in [
            ("/s", Some("a\"é")),
            ("/plain", Some("x y")),
            ("/", Some("empty")),
            ("/n/0", Some("1.0")),
            ("/n/1", Some("-2e+3")),
            ("n.2", Some("12345678901234567890123")),
            ("t", Some("true")),
            ("/f", Some("false")),
            ("/o/a~1b/m~0n", Some("deep")),
            ("/null", None),
            ("/o", None),
            ("/n", None),
            ("/n/3", None),
            ("/n/00", None),
            ("/n/+1", None),
            ("/n/-", None),
            ("/n/99999999999999999999999", None),
            ("/s/x", None),
            ("/t/x", None),
            ("/n/0/x", None),
            ("/null/x", None),
            ("/absent", None),
        ] {
            assert_eq!(find(pointer, body).as_deref(), value, "{pointer}");
        }
    }

    #[test]
    fn the_last_of_members_with_the_same_name_counts() {
        assert_eq!(find("/a", r#"{"a": 1, "a": 2}"#).as_deref(), Some("2"));
        assert_eq!(find("/a", r#"{"a": 1, "\u0061": 2}"#).as_deref(), Some("2"));
        assert_eq!(find("/a/b", r#"{"a": {"b": 1}, "a": 2}"#), None);
        assert_eq!(find("/a", r#"{"a": 1, "a": null}"#), None);
    }

    #[test]
    fn what_is_not_json_has_no_values() {
        for body in [
            "",
            "{",
            r#"{"a": 1"#,
            r#"{"a": 1}}"#,
            r#"{"a": 1, }"#,
            r#"{"a": 01}"#,
            r#"{"a": "\ud800"}"#,
            r#"{"a": 1, "b": x}"#,
            "a=1",
        ] {
            assert_eq!(find("/a", body), None, "{body}");
        }
        let pointer = BodyPointer::parse("/a").unwrap();
        assert_eq!(pointer.find(b"{\"a\": 1, \"b\": \"\xff\"}"), None);
    }

    #[test]
    fn depth_costs_no_stack() {
        let depth = 200_000;
        let (open, close) = ("[".repeat(depth), "]".repeat(depth));
        let body = format!(r#"{{"b": {open}{close}, "a": 1}}"#);
        assert_eq!(find("/a", &body).as_deref(), Some("1"));
        let body = format!("{open}1{close}");
        assert_eq!(find(&"/0".repeat(depth), &body), None);
        assert_eq!(find(&"/0".repeat(100), &"[".repeat(depth)), None);
    }

    #[test]
    fn a_pointer_is_well_formed() {
        for wrong in [
            "", "/a~", "/a~2", "/~", ".", "a.", ".a", "a..b", "a/b", "a~0",
        ] {
            assert_eq!(BodyPointer::parse(wrong), None, "{wrong}");
        }
        let dotted = BodyPointer::parse("device.id").unwrap();
        assert_eq!(dotted.to_string(), "device.id");
        assert_eq!(
            dotted.tokens,
            BodyPointer::parse("/device/id").unwrap().tokens
        );
    }

    #[test]
    fn text_without_escapes_is_not_copied() {
        let pointer = BodyPointer::parse("/a").unwrap();
        assert!(matches!(
            pointer.find(br#"{"a": "b"}"#),
            Some(Cow::Borrowed(_))
        ));
    }

    proptest! {
        #[test]
        fn it_agrees_with_a_tree(body in r#"[\[\]{}",:01a.\\e -]{0,24}"#, pointer in "(/[01ae]{0,2}){1,3}") {
            let tree: Option<serde_json::Value> = serde_json::from_str(&body).ok();
            let expected = tree.and_then(|tree| {
                let value = tree.pointer(&pointer)?;
                value.as_str().map(str::to_owned)
            });
            let found = find(&pointer, &body);
            // Of numbers the tree does not keep the notation.
            if expected.is_some() {
                prop_assert_eq!(found, expected);
            }
        }

        #[test]
        fn no_bytes_make_it_panic(body in prop::collection::vec(any::<u8>(), 0..64)) {
            let pointer = BodyPointer::parse("/a/0").unwrap();
            let _ = pointer.find(&body);
        }
    }
}
