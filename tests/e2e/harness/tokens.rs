//! Who issues tokens (RFC 7519): a key made for the case, and compact JWS signed with it.

use super::kafka::now_millis;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData};
use serde_json::{Value, json};

pub(crate) const ISSUER: &str = "https://auth.example.com";
pub(crate) const AUDIENCE: &str = "https://api.example.com";

/// An issuer with one key.
pub(crate) struct Issuer {
    key: KeyPair,
    kid: String,
}

impl Issuer {
    /// With a fresh key of this name.
    pub(crate) fn new(kid: &str) -> Self {
        Self {
            key: KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key"),
            kid: kid.to_owned(),
        }
    }

    /// The public key as JSON, which is YAML, too (RFC 7517).
    pub(crate) fn jwk(&self) -> Value {
        // An uncompressed point: 4, x, y (SEC 1, 2.3.3).
        let (x, y) = self.key.der_bytes()[1..].split_at(32);
        let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
        let kid = &self.kid;
        json!({"kty": "EC", "crv": "P-256", "x": x, "y": y, "alg": "ES256", "kid": kid, "use": "sig"})
    }

    /// The lines of a `jwt` guard called `g` that takes its tokens; `more` options, unindented.
    pub(crate) fn guard(&self, more: &str) -> String {
        guard(&format!("keys: [{}]\n{more}", self.jwk()))
    }

    /// A token with these claims beside issuer, audience and an expiry in an hour; a claim that is null is left out.
    pub(crate) fn token(&self, claims: &Value) -> String {
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some(self.kid.clone());
        self.signed(&header, claims)
    }

    /// A token with this header.
    pub(crate) fn signed(&self, header: &Header, claims: &Value) -> String {
        let key = EncodingKey::from_ec_der(self.key.serialized_der());
        encode(header, &with_defaults(claims), &key).expect("a token")
    }

    /// A token that says it needs no signature (RFC 7519, 6.1).
    pub(crate) fn unsigned(&self, claims: &Value) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let header = json!({"alg": "none", "typ": "JWT", "kid": self.kid});
        format!("{}.{}.", part(&header), part(&with_defaults(claims)))
    }
}

/// These claims beside those that every token of the issuer has; what is null is left out.
fn with_defaults(claims: &Value) -> Value {
    let end = now_seconds() + 3600;
    let mut all = json!({"iss": ISSUER, "aud": AUDIENCE, "sub": "alice", "exp": end});
    let fields = all.as_object_mut().expect("an object");
    for (name, value) in claims.as_object().expect("an object") {
        fields.insert(name.clone(), value.clone());
    }
    fields.retain(|_, value| !value.is_null());
    all
}

/// The lines of a `jwt` guard called `g` with these options, unindented.
pub(crate) fn guard(options: &str) -> String {
    let mut lines = format!(
        "guards:\n  g:\n    type: jwt\n    options:\n      issuer: {ISSUER}\n      audience: {AUDIENCE}\n"
    );
    lines += &super::config::indented(options, 6);
    lines
}

/// Seconds since 1970.
pub(crate) fn now_seconds() -> i64 {
    now_millis() / 1000
}
