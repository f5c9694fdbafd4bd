//! What a guard says: who it is, or why not.
//!
//! Given by `jwt`, `x509` and `inline`, read by sessions and the log. Its one rule: no words here repeat what was presented.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use crate::clock::UnixMillis;

/// Somebody whom a guard has let in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Who it is. `None` for a token that does not say so: it may come in, but no other token can speak for it.
    pub identity: Option<String>,
    /// What it may do. `None` for a token without a roles claim, which passes no guarded route at all.
    pub roles: Option<BTreeSet<String>>,
    /// Names and values, in the order of the configuration; those that the token lacks are left out.
    pub attributes: Vec<(String, String)>,
    /// Who vouches for it: the `iss` of a token, the issuer's name in a certificate, or nobody (empty).
    pub issuer: String,
    /// From when on it is not valid any more; `None`: never.
    pub expires_at: Option<UnixMillis>,
    /// How long before that the client may be asked for a new token.
    pub challenge: Option<Duration>,
}

impl Verified {
    /// The value of the attribute called `name`.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes
            .iter()
            .find_map(|(key, value)| (key == name).then_some(value.as_str()))
    }
}

/// Why somebody is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// There is no guard of that number: a mistake of ours, which lets nobody in.
    NoGuard,
    /// The keys have not been fetched yet. Not the client's fault: 503 with `retry-after`, all others are 401.
    KeysUnavailable,
    /// Longer than anything of its kind.
    TooLong,
    /// Not a signed token, certificate or whatever the guard takes.
    Malformed,
    /// A token that does not name its key.
    NoKeyId,
    /// A token of a key that is not known.
    UnknownKey,
    /// A token of an algorithm that its key is not for.
    WrongAlgorithm,
    /// A token with extensions that must be understood (RFC 7515 4.1.11).
    CriticalExtension,
    /// A signature that does not belong to the token.
    BadSignature,
    /// Over.
    Expired,
    /// Not valid yet.
    NotYetValid,
    /// From another issuer, or none.
    OtherIssuer,
    /// For another audience, or none.
    OtherAudience,
    /// A certificate without the field that is the identity.
    NoIdentity,
}

impl Refused {
    /// The status of the answer: 503 (with `retry-after`) when it is not the client's fault, else 401 (with `www-authenticate`).
    pub const fn status(self) -> u16 {
        match self {
            Self::KeysUnavailable => 503,
            Self::NoGuard
            | Self::TooLong
            | Self::Malformed
            | Self::NoKeyId
            | Self::UnknownKey
            | Self::WrongAlgorithm
            | Self::CriticalExtension
            | Self::BadSignature
            | Self::Expired
            | Self::NotYetValid
            | Self::OtherIssuer
            | Self::OtherAudience
            | Self::NoIdentity => 401,
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::NoGuard => "there is no such guard",
            Self::KeysUnavailable => "the keys of the issuer are not there yet",
            Self::TooLong => "too long",
            Self::Malformed => "malformed",
            Self::NoKeyId => "does not name its key",
            Self::UnknownKey => "names a key that is not known",
            Self::WrongAlgorithm => "has an algorithm that its key is not for",
            Self::CriticalExtension => "has critical extensions",
            Self::BadSignature => "the signature is wrong",
            Self::Expired => "expired",
            Self::NotYetValid => "not valid yet",
            Self::OtherIssuer => "from another issuer",
            Self::OtherAudience => "for another audience",
            Self::NoIdentity => "does not say who it is",
        })
    }
}

impl std::error::Error for Refused {}
