//! The keys of one guard: from the configuration, or a set as an issuer publishes it (RFC 7517 5).
//!
//! Between `jwk` and `jwt`. Its one rule: a published set is bounded, and a key in it that cannot be used never spoils the others.

use std::fmt;

use serde_json::{Map, Value};

use super::jwk::Jwk;
use crate::config::JwkSource;

/// Bytes of a fetched set of keys.
pub const KEY_SET_BYTES_MAX: usize = 1 << 20;
/// Keys in a fetched set.
pub const KEYS_MAX: usize = 1000;

/// The keys of one guard.
#[derive(Clone, Debug, Default)]
pub struct KeySet {
    /// In the order of their names.
    keys: Vec<Jwk>,
    skipped: usize,
}

impl KeySet {
    /// A set of keys of the configuration.
    pub fn new(mut keys: Vec<Jwk>) -> Self {
        keys.sort_by(|one, other| one.kid().cmp(other.kid()));
        Self { keys, skipped: 0 }
    }

    /// Reads a set as an issuer publishes it. Keys without a name, of other kinds and uses, and weak ones are left out (RFC 7517 5).
    ///
    /// # Errors
    ///
    /// When it is too large or not a JSON object with a list of `keys`.
    pub fn parse(json: &[u8]) -> Result<Self, KeySetFault> {
        if json.len() > KEY_SET_BYTES_MAX {
            return Err(KeySetFault::TooLarge);
        }
        let set: Map<String, Value> =
            serde_json::from_slice(json).map_err(|_| KeySetFault::NotAKeySet)?;
        let published = set
            .get("keys")
            .and_then(Value::as_array)
            .ok_or(KeySetFault::NotAKeySet)?;
        if published.len() > KEYS_MAX {
            return Err(KeySetFault::TooManyKeys);
        }
        let keys: Vec<_> = published.iter().filter_map(published_key).collect();
        Ok(Self {
            skipped: published.len() - keys.len(),
            ..Self::new(keys)
        })
    }

    /// How many keys it has.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether it has none: then every token is refused.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// How many keys were left out when it was read.
    pub fn skipped(&self) -> usize {
        self.skipped
    }

    /// The keys called `kid`: usually one, but those of different kinds may share a name (RFC 7517 4.5).
    pub(super) fn named(&self, kid: &str) -> &[Jwk] {
        let start = self.keys.partition_point(|key| key.kid() < kid);
        let count = self.keys[start..]
            .iter()
            .take_while(|key| key.kid() == kid)
            .count();
        &self.keys[start..start + count]
    }
}

impl PartialEq for KeySet {
    /// Whether both verify the same tokens.
    fn eq(&self, other: &Self) -> bool {
        let same = |(one, other): (&Jwk, &Jwk)| one.is_same(other);
        self.keys.len() == other.keys.len() && self.keys.iter().zip(&other.keys).all(same)
    }
}

/// A key of a published set, if it is one to use.
fn published_key(key: &Value) -> Option<Jwk> {
    let key = key.as_object()?;
    let may_verify = |operations: &Value| {
        let mut operations = operations.as_array().into_iter().flatten();
        operations.any(|operation| operation == "verify")
    };
    let is_text = |name| key.get(name).is_none_or(Value::is_string);
    if !key.get("key_ops").is_none_or(may_verify) || !is_text("alg") || !is_text("use") {
        return None;
    }
    let source = JwkSource {
        kty: text(key, "kty")?,
        kid: text(key, "kid")?,
        alg: text(key, "alg"),
        usage: text(key, "use"),
        n: text(key, "n"),
        e: text(key, "e"),
        crv: text(key, "crv"),
        x: text(key, "x"),
        y: text(key, "y"),
    };
    Jwk::fetched(&source).ok()
}

fn text(key: &Map<String, Value>, name: &str) -> Option<String> {
    key.get(name)?.as_str().map(str::to_owned)
}

/// What is wrong with a set of keys. Its words go on from the set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeySetFault {
    /// More than [`KEY_SET_BYTES_MAX`].
    TooLarge,
    /// More than [`KEYS_MAX`].
    TooManyKeys,
    /// Not a JSON object with a list of `keys`.
    NotAKeySet,
}

impl fmt::Display for KeySetFault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge => write!(formatter, "has more than {KEY_SET_BYTES_MAX} bytes"),
            Self::TooManyKeys => write!(formatter, "has more than {KEYS_MAX} keys"),
            Self::NotAKeySet => formatter.write_str("is not a JSON object with a list of `keys`"),
        }
    }
}

impl std::error::Error for KeySetFault {}
