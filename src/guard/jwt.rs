//! Signed tokens (RFC 7519, in the compact form of RFC 7515): from text to who it is.
//!
//! Between `key_set` and the verdict. Its one rule: nothing of a token is believed before its signature is verified,
//! with a key and an algorithm that the configuration or the issuer chose, never the token.

use std::collections::BTreeSet;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::jwk::{self, Jwk};
use super::key_set::KeySet;
use super::{Refused, Verified};
use crate::clock::UnixMillis;
use crate::config::JwtGuard;

/// Bytes of a token; longer ones are refused unread.
pub const TOKEN_BYTES_MAX: usize = 16 << 10;
/// The largest time in seconds that a token may name: beyond the year 9999 is never.
const SECONDS_MAX: f64 = 253_402_300_799.0;

/// What a `jwt` guard asks of tokens, and what it reads from them.
#[derive(Clone, Debug)]
pub struct TokenRules {
    issuer: String,
    audience: String,
    identity: Claim,
    roles: Claim,
    attributes: Vec<(String, Claim)>,
    challenge: Option<Duration>,
}

impl TokenRules {
    /// The rules of `guard`.
    pub fn new(guard: &JwtGuard) -> Self {
        let attribute = |(name, path): &(String, Vec<String>)| (name.clone(), Claim::new(path));
        Self {
            issuer: guard.issuer.clone(),
            audience: guard.audience.clone(),
            identity: Claim::new(&guard.identity),
            roles: Claim::new(&guard.roles),
            attributes: guard.attributes.iter().map(attribute).collect(),
            challenge: guard.challenge,
        }
    }

    /// Verifies `token` with one of `keys`. Times are compared without leeway.
    ///
    /// # Errors
    ///
    /// Says what is wrong with the token.
    pub fn verify(&self, keys: &KeySet, token: &str, now: UnixMillis) -> Result<Verified, Refused> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(Refused::TooLong);
        }
        let parts = Parts::split(token)?;
        let header = Header::read(parts.header)?;
        check_signature(keys, &header, &parts)?;
        let claims = json(parts.payload)?;
        let expires_at = self.check_claims(&claims, now)?;
        Ok(self.read(&claims, expires_at))
    }

    /// When the token expires, if it is valid now, from this issuer and for this audience.
    fn check_claims(
        &self,
        claims: &Map<String, Value>,
        now: UnixMillis,
    ) -> Result<Option<UnixMillis>, Refused> {
        let expires_at = time(claims, "exp")?;
        if expires_at.is_some_and(|expires_at| now >= expires_at) {
            return Err(Refused::Expired);
        }
        if time(claims, "nbf")?.is_some_and(|not_before| now < not_before) {
            return Err(Refused::NotYetValid);
        }
        if claims.get("iss").and_then(Value::as_str) != Some(&self.issuer) {
            return Err(Refused::OtherIssuer);
        }
        let is_for_us = match claims.get("aud") {
            Some(Value::String(audience)) => *audience == self.audience,
            Some(Value::Array(audiences)) => {
                audiences.iter().any(|audience| *audience == self.audience)
            }
            _ => false,
        };
        if is_for_us {
            Ok(expires_at)
        } else {
            Err(Refused::OtherAudience)
        }
    }

    fn read(&self, claims: &Map<String, Value>, expires_at: Option<UnixMillis>) -> Verified {
        let attributes = self.attributes.iter();
        Verified {
            identity: self
                .identity
                .find(claims)
                .and_then(Value::as_str)
                .map(str::to_owned),
            roles: self.roles.find(claims).and_then(roles),
            attributes: attributes
                .filter_map(|(name, claim)| Some((name.clone(), plain(claim.find(claims)?)?)))
                .collect(),
            issuer: self.issuer.clone(),
            expires_at,
            challenge: self.challenge,
        }
    }
}

/// A token, cut at its dots.
struct Parts<'t> {
    header: &'t str,
    payload: &'t str,
    signature: &'t str,
    /// What is signed: header and payload as they stand.
    message: &'t str,
}

impl<'t> Parts<'t> {
    fn split(token: &'t str) -> Result<Self, Refused> {
        let (message, signature) = token.rsplit_once('.').ok_or(Refused::Malformed)?;
        let (header, payload) = message.split_once('.').ok_or(Refused::Malformed)?;
        // More dots are an encrypted token (RFC 7516).
        if payload.contains('.') {
            return Err(Refused::Malformed);
        }
        Ok(Self {
            header,
            payload,
            signature,
            message,
        })
    }
}

/// What is read of a token's header (RFC 7515 4.1); keys and certificates in it are not.
struct Header {
    alg: String,
    kid: Option<String>,
    has_critical: bool,
}

impl Header {
    fn read(part: &str) -> Result<Self, Refused> {
        let mut members = json(part)?;
        let mut text = |name| match members.remove(name) {
            Some(Value::String(text)) => Ok(Some(text)),
            None => Ok(None),
            Some(_) => Err(Refused::Malformed),
        };
        Ok(Self {
            alg: text("alg")?.ok_or(Refused::Malformed)?,
            kid: text("kid")?,
            has_critical: members.contains_key("crit"),
        })
    }
}

fn check_signature(keys: &KeySet, header: &Header, parts: &Parts<'_>) -> Result<(), Refused> {
    if header.has_critical {
        return Err(Refused::CriticalExtension);
    }
    let kid = header.kid.as_ref().ok_or(Refused::NoKeyId)?;
    let named = keys.named(kid);
    if named.is_empty() {
        return Err(Refused::UnknownKey);
    }
    let algorithm = jwk::algorithm(&header.alg).ok_or(Refused::WrongAlgorithm)?;
    let is_for_it = |key: &&Jwk| key.algorithms().contains(&algorithm);
    let mut fitting = named.iter().filter(is_for_it).peekable();
    if fitting.peek().is_none() {
        return Err(Refused::WrongAlgorithm);
    }
    let verifies = |key: &Jwk| {
        let message = parts.message.as_bytes();
        jsonwebtoken::crypto::verify(parts.signature, message, key.key(), algorithm)
            .unwrap_or(false)
    };
    if fitting.any(verifies) {
        Ok(())
    } else {
        Err(Refused::BadSignature)
    }
}

/// The members of an object: only they are JSON here, for a structure would also be read from a list.
fn json(part: &str) -> Result<Map<String, Value>, Refused> {
    let text = URL_SAFE_NO_PAD
        .decode(part)
        .map_err(|_| Refused::Malformed)?;
    serde_json::from_slice(&text).map_err(|_| Refused::Malformed)
}

/// A claim in seconds since 1970, whole or not (RFC 7519 2, `NumericDate`).
fn time(claims: &Map<String, Value>, name: &str) -> Result<Option<UnixMillis>, Refused> {
    let Some(value) = claims.get(name) else {
        return Ok(None);
    };
    let seconds = value.as_f64().ok_or(Refused::Malformed)?;
    #[expect(
        clippy::cast_possible_truncation,
        reason = "within the bounds it is exact to the millisecond"
    )]
    let millis = (seconds.clamp(0.0, SECONDS_MAX) * 1000.0) as i64;
    Ok(Some(UnixMillis(millis)))
}

/// Where a claim stands.
#[derive(Clone, Debug)]
struct Claim {
    /// The whole path as one name: issuers name their own claims by URLs, which have dots.
    name: String,
    path: Vec<String>,
}

impl Claim {
    fn new(path: &[String]) -> Self {
        Self {
            name: path.join("."),
            path: path.to_vec(),
        }
    }

    fn find<'c>(&self, claims: &'c Map<String, Value>) -> Option<&'c Value> {
        if let Some(value) = claims.get(&self.name) {
            return Some(value);
        }
        let (first, rest) = self.path.split_first()?;
        rest.iter()
            .try_fold(claims.get(first)?, |value, name| value.get(name))
    }
}

/// The roles in a claim: a list of texts, or one text of words (RFC 8693 4.2). `None`: it is neither.
fn roles(claim: &Value) -> Option<BTreeSet<String>> {
    match claim {
        Value::String(words) => Some(words.split_whitespace().map(str::to_owned).collect()),
        Value::Array(list) => {
            let texts = list.iter().filter_map(Value::as_str);
            Some(texts.map(str::to_owned).collect())
        }
        _ => None,
    }
}

/// A text, number or truth value as text.
fn plain(claim: &Value) -> Option<String> {
    match claim {
        Value::String(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(claim.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}
