//! YAML documents as trees that know where each value stands.
//!
//! The second step of loading. `serde_yaml` gives places only in its errors, and so does this visitor take them: a scalar is
//! put aside and then refused, and the refusal names the place. One pass, whatever the number of mistakes. A map or list
//! stands where its first key or item stands.

use std::cell::Cell;
use std::collections::HashSet;
use std::fmt;

use serde::de::{
    self, Deserialize as _, DeserializeSeed, EnumAccess, MapAccess, SeqAccess, VariantAccess,
    Visitor,
};

use super::mistake::{At, Report};
use super::source::is_unresolved;

/// The most values that one file may have; aliases count each time they are repeated.
const NODES_MAX: usize = 200_000;

/// The largest file, in bytes, variables replaced.
const TEXT_BYTES_MAX: usize = 1 << 20;

/// The most brackets and braces open at once; the YAML parser's time is quadratic in it.
const FLOW_DEPTH_MAX: usize = 256;

/// A value and its place; `None` for an empty map or list.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) at: Option<At>,
    pub(super) value: Value,
}

/// What a value is.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Null,
    Bool(bool),
    /// Whole or not; as text, since the file's options want text or their own parsing.
    Number(String),
    Text(String),
    /// Text with a variable that has no value: already a mistake, not to be looked at.
    Unresolved(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
    /// A value with a tag such as `!include`.
    Tagged(String),
}

/// A key with its value.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) key_at: At,
    pub(super) node: Node,
}

impl Node {
    /// What it is, for messages.
    pub(super) fn kind(&self) -> &'static str {
        match &self.value {
            Value::Null => "nothing",
            Value::Bool(_) => "a boolean",
            Value::Number(_) => "a number",
            Value::Text(_) | Value::Unresolved(_) => "a string",
            Value::List(_) => "a list",
            Value::Map(_) => "a map",
            Value::Tagged(_) => "a tagged value",
        }
    }

    /// Whether it asks for nothing: null, an empty map or an empty list.
    pub(super) fn is_empty(&self) -> bool {
        match &self.value {
            Value::Null => true,
            Value::List(items) => items.is_empty(),
            Value::Map(entries) => entries.is_empty(),
            _ => false,
        }
    }
}

/// The documents of `text`; those before a syntax error, if there is one.
pub(super) fn documents(text: &str, report: &mut Report) -> Vec<Node> {
    let mut documents = Vec::new();
    if text.len() > TEXT_BYTES_MAX {
        report.mistake(
            At::START,
            "",
            format!("the file is longer than {} MiB", TEXT_BYTES_MAX >> 20),
        );
        return documents;
    }
    if nested_deeper_than(text, FLOW_DEPTH_MAX) {
        report.mistake(
            At::START,
            "",
            format!("more than {FLOW_DEPTH_MAX} brackets and braces are open at once"),
        );
        return documents;
    }
    let budget = Cell::new(NODES_MAX);
    for document in serde_yaml::Deserializer::from_str(text) {
        match (NodeSeed { budget: &budget }).deserialize(document) {
            Ok(node) if matches!(node.value, Value::Null) => {}
            Ok(node) => documents.push(node),
            Err(error) => {
                let at = error.location().map_or(At::START, |location| At {
                    line: location.line(),
                    column: location.column(),
                });
                report.mistake(at, "", without_places(&error.to_string()));
                break;
            }
        }
    }
    documents
}

/// Whether more than `depth_max` brackets may be open at once. Counts those in strings and comments too: no real file leaves
/// that many unclosed.
fn nested_deeper_than(text: &str, depth_max: usize) -> bool {
    let mut depth = 0_usize;
    for byte in text.bytes() {
        match byte {
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > depth_max {
            return true;
        }
    }
    false
}

/// The YAML parser's message without its own line numbers, which count in the substituted text.
fn without_places(message: &str) -> String {
    let mut parts = message.split(" at line ");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let rest = part.trim_start_matches(|letter: char| letter.is_ascii_digit());
        let rest = rest.strip_prefix(" column ").unwrap_or(rest);
        text.push_str(rest.trim_start_matches(|letter: char| letter.is_ascii_digit()));
    }
    text
}

/// Decodes one value.
#[derive(Clone, Copy)]
struct NodeSeed<'b> {
    budget: &'b Cell<usize>,
}

impl<'de> DeserializeSeed<'de> for NodeSeed<'_> {
    type Value = Node;

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        let left = self.budget.get().checked_sub(1);
        self.budget.set(
            left.ok_or_else(|| de::Error::custom(format_args!("more than {NODES_MAX} values")))?,
        );
        let mut scalar = None;
        match deserializer.deserialize_any(NodeVisitor {
            seed: self,
            scalar: &mut scalar,
        }) {
            Ok(node) => Ok(node),
            Err(error) => match scalar {
                Some(value) => Ok(Node {
                    at: Some(place_in(&error.to_string())),
                    value,
                }),
                None => Err(error),
            },
        }
    }
}

/// The place that ends the message of an error; an error on the very first character has none.
fn place_in(message: &str) -> At {
    let place = message.rsplit_once(" at line ").and_then(|(_, place)| {
        let (line, column) = place.split_once(" column ")?;
        Some(At {
            line: line.parse().ok()?,
            column: column.parse().ok()?,
        })
    });
    place.unwrap_or(At::START)
}

struct NodeVisitor<'b, 's> {
    seed: NodeSeed<'b>,
    scalar: &'s mut Option<Value>,
}

impl NodeVisitor<'_, '_> {
    fn put_aside<E: de::Error>(self, value: Value) -> Result<Node, E> {
        *self.scalar = Some(value);
        Err(E::custom(""))
    }
}

impl<'de> Visitor<'de> for NodeVisitor<'_, '_> {
    type Value = Node;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a value")
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Node, E> {
        self.put_aside(Value::Bool(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Node, E> {
        self.put_aside(Value::Number(value.to_string()))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Node, E> {
        self.put_aside(Value::Number(value.to_string()))
    }

    fn visit_i128<E: de::Error>(self, value: i128) -> Result<Node, E> {
        self.put_aside(Value::Number(value.to_string()))
    }

    fn visit_u128<E: de::Error>(self, value: u128) -> Result<Node, E> {
        self.put_aside(Value::Number(value.to_string()))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Node, E> {
        self.put_aside(Value::Number(value.to_string()))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Node, E> {
        let text = value.to_owned();
        self.put_aside(if is_unresolved(value) {
            Value::Unresolved(text)
        } else {
            Value::Text(text)
        })
    }

    fn visit_unit<E: de::Error>(self) -> Result<Node, E> {
        self.put_aside(Value::Null)
    }

    fn visit_none<E: de::Error>(self) -> Result<Node, E> {
        self.put_aside(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(self.seed)? {
            list.push(item);
        }
        Ok(Node {
            at: list.first().and_then(|first| first.at),
            value: Value::List(list),
        })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut pairs: A) -> Result<Node, A::Error> {
        let mut entries = Vec::new();
        let mut merged = Vec::new();
        while let Some(key) = pairs.next_key_seed(self.seed)? {
            let node = pairs.next_value_seed(self.seed)?;
            let key_at = key.at.unwrap_or(At::START);
            let key =
                key_text(key.value).ok_or_else(|| de::Error::custom("a key is plain text"))?;
            if key == "<<" && is_mergeable(&node) {
                merge_into(&mut merged, node);
            } else {
                entries.push(Entry { key, key_at, node });
            }
        }
        let at = entries
            .iter()
            .chain(&merged)
            .next()
            .map(|first| first.key_at);
        let mut keys: HashSet<String> = entries.iter().map(|own| own.key.clone()).collect();
        merged.retain(|entry| keys.insert(entry.key.clone()));
        entries.append(&mut merged);
        Ok(Node {
            at,
            value: Value::Map(entries),
        })
    }

    fn visit_enum<A: EnumAccess<'de>>(self, tagged: A) -> Result<Node, A::Error> {
        let (tag, value) = tagged.variant_seed(TagSeed)?;
        let node = value.newtype_variant_seed(self.seed)?;
        Ok(Node {
            at: node.at,
            value: Value::Tagged(tag),
        })
    }
}

fn key_text(key: Value) -> Option<String> {
    match key {
        Value::Text(text) | Value::Number(text) | Value::Unresolved(text) => Some(text),
        Value::Bool(value) => Some(value.to_string()),
        Value::Null => Some("null".to_owned()),
        Value::List(_) | Value::Map(_) | Value::Tagged(_) => None,
    }
}

/// Whether a value of `<<` is a map or a list of maps.
fn is_mergeable(node: &Node) -> bool {
    match &node.value {
        Value::Map(_) => true,
        Value::List(items) => items.iter().all(|item| matches!(item.value, Value::Map(_))),
        _ => false,
    }
}

/// Collects the entries that `<<` brings in.
fn merge_into(merged: &mut Vec<Entry>, node: Node) {
    match node.value {
        Value::Map(mut entries) => merged.append(&mut entries),
        Value::List(items) => items.into_iter().for_each(|item| merge_into(merged, item)),
        _ => {}
    }
}

/// Decodes the name of a tag.
struct TagSeed;

impl<'de> DeserializeSeed<'de> for TagSeed {
    type Value = String;

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        String::deserialize(deserializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(text: &str) -> Vec<Node> {
        let mut report = Report::default();
        let documents = documents(text, &mut report);
        assert!(!report.has_mistakes(), "{report:?}");
        documents
    }

    fn refusal(text: &str) -> String {
        let mut report = Report::default();
        documents(text, &mut report);
        format!("{report:?}")
    }

    /// Every scalar and key with its place.
    fn places(node: &Node) -> Vec<String> {
        let place = |at: Option<At>| {
            at.map_or_else(|| "?".into(), |at| format!("{}:{}", at.line, at.column))
        };
        match &node.value {
            Value::Map(entries) => entries
                .iter()
                .flat_map(|entry| {
                    let key = format!("{}@{}", entry.key, place(Some(entry.key_at)));
                    std::iter::once(key).chain(places(&entry.node))
                })
                .collect(),
            Value::List(items) => items.iter().flat_map(places).collect(),
            Value::Text(text) | Value::Number(text) => vec![format!("{text}@{}", place(node.at))],
            other => vec![format!("{other:?}@{}", place(node.at))],
        }
    }

    #[test]
    fn every_key_and_scalar_knows_its_place() {
        let documents = decode(
            "a: 1\nb:\n  - x: 'y z'\n    q: ~\n  - [2.5, \"t\"]\n---\né: {k: true, \"é\": v}\n",
        );
        assert_eq!(
            places(&documents[0]),
            [
                "a@1:1", "1@1:4", "b@2:1", "x@3:5", "y z@3:8", "q@4:5", "Null@4:8", "2.5@5:6",
                "t@5:11"
            ]
        );
        assert_eq!(
            places(&documents[1]),
            ["é@7:1", "k@7:5", "Bool(true)@7:8", "é@7:14", "v@7:19"]
        );
    }

    #[test]
    fn aliases_and_merge_keys_are_followed() {
        let documents = decode(
            "base: &base {a: 1, b: 2}\none:\n  <<: *base\n  b: 3\ntwo:\n  <<: [*base, {c: 4}]\n",
        );
        let Value::Map(entries) = &documents[0].value else {
            panic!("a map")
        };
        assert_eq!(
            places(&entries[1].node),
            ["b@4:3", "3@4:6", "a@1:14", "1@1:17"]
        );
        assert_eq!(
            places(&entries[2].node),
            ["a@1:14", "1@1:17", "b@1:20", "2@1:23", "c@6:16", "4@6:19"]
        );
    }

    #[test]
    fn a_syntax_error_says_where_and_what() {
        let refused = refusal("a: 1\nb: [1, 2\nc: 3\n");
        assert!(refused.contains("line: 3"), "{refused}");
        assert!(!refused.contains("at line"), "{refused}");
        assert!(refusal("a: *nowhere").contains("unknown anchor"));
        assert!(refusal("? [a]\n: b").contains("a key is plain text"));
    }

    #[test]
    fn depth_and_repetition_are_bounded() {
        assert!(refusal(&"[".repeat(100_000)).contains("open at once"));
        let nested = |depths: &mut dyn Iterator<Item = usize>| -> String {
            depths
                .flat_map(|depth| [" ".repeat(depth), "a:\n".to_owned()])
                .collect()
        };
        refusal(&nested(&mut (0..5_000).map(|line| line % 400)));
        let deep = nested(&mut (0..400));
        assert!(refusal(&deep).contains("recursion limit"));
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..12 {
            let before = format!("*a{}", level - 1);
            let ten = vec![before; 10].join(", ");
            bomb.extend([format!("a{level}: &a{level} ["), ten, "]\n".to_owned()]);
        }
        let refused = refusal(&bomb);
        assert!(
            refused.contains("repetition limit") || refused.contains("values"),
            "{refused}"
        );
        assert!(refusal("a: &a [*a]").contains("recursion limit"));
    }
}
