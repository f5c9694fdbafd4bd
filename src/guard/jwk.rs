//! A public key that tokens are signed with (RFC 7517).
//!
//! Before `key_set`, which holds several. Its one rule: a key says here, once, for which algorithms it is good, and a token never
//! gets to choose another; symmetric keys and `none` are none of them.

use std::fmt;

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use jsonwebtoken::{Algorithm, DecodingKey};

use crate::config::JwkSource;

/// Bits of an RSA modulus: fewer are weak (RFC 7518 3.3), more are beyond what is verified here.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;
/// Bytes of an RSA exponent.
const RSA_EXPONENT_BYTES_MAX: usize = 4;

/// base64url, with or without padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::URL_SAFE,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// A public key, with its name and the algorithms it is good for.
#[derive(Clone, Debug)]
pub struct Jwk {
    source: JwkSource,
    algorithms: Vec<Algorithm>,
    key: DecodingKey,
}

impl Jwk {
    /// A key of the configuration. One without `alg` is good for nothing, as Zilla has it: no token ever matches it.
    ///
    /// # Errors
    ///
    /// When it is of a kind that is not known, incomplete, weak, not for signatures, or does not fit its own `alg`.
    pub fn new(source: &JwkSource) -> Result<Self, JwkFault> {
        Self::with(source, |_| Vec::new())
    }

    /// A key of an issuer. One without `alg` is good for all that its kind can do: many issuers leave it out.
    pub(super) fn fetched(source: &JwkSource) -> Result<Self, JwkFault> {
        Self::with(source, |kind| kind.algorithms().to_vec())
    }

    fn with(
        source: &JwkSource,
        without_alg: impl FnOnce(Kind) -> Vec<Algorithm>,
    ) -> Result<Self, JwkFault> {
        if source.usage.as_ref().is_some_and(|usage| usage != "sig") {
            return Err(JwkFault::NotForSignatures);
        }
        let kind = Kind::of(source)?;
        let algorithms = match &source.alg {
            None => without_alg(kind),
            Some(name) => {
                let algorithm = algorithm(name).ok_or(JwkFault::UnknownAlgorithm)?;
                if !kind.algorithms().contains(&algorithm) {
                    return Err(JwkFault::AlgorithmDoesNotFit);
                }
                vec![algorithm]
            }
        };
        Ok(Self {
            source: source.clone(),
            algorithms,
            key: kind.key(source)?,
        })
    }

    /// What tokens call it.
    pub fn kid(&self) -> &str {
        &self.source.kid
    }

    /// The algorithms it is good for; empty: no token ever matches it.
    pub fn algorithms(&self) -> &[Algorithm] {
        &self.algorithms
    }

    /// Whether both verify the same tokens.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.source == other.source && self.algorithms == other.algorithms
    }

    /// The key itself.
    pub(super) fn key(&self) -> &DecodingKey {
        &self.key
    }
}

/// The kinds of keys that are known.
#[derive(Clone, Copy)]
enum Kind {
    Rsa,
    P256,
    P384,
    Ed25519,
}

impl Kind {
    fn of(source: &JwkSource) -> Result<Self, JwkFault> {
        match (source.kty.as_str(), source.crv.as_deref()) {
            ("RSA", _) => Ok(Self::Rsa),
            ("EC", Some("P-256")) => Ok(Self::P256),
            ("EC", Some("P-384")) => Ok(Self::P384),
            ("OKP", Some("Ed25519")) => Ok(Self::Ed25519),
            ("EC" | "OKP", None) => Err(JwkFault::Missing("crv")),
            ("EC" | "OKP", Some(_)) => Err(JwkFault::UnknownCurve),
            _ => Err(JwkFault::UnknownKind),
        }
    }

    fn algorithms(self) -> &'static [Algorithm] {
        match self {
            Self::Rsa => &[
                Algorithm::RS256,
                Algorithm::RS384,
                Algorithm::RS512,
                Algorithm::PS256,
                Algorithm::PS384,
                Algorithm::PS512,
            ],
            Self::P256 => &[Algorithm::ES256],
            Self::P384 => &[Algorithm::ES384],
            Self::Ed25519 => &[Algorithm::EdDSA],
        }
    }

    fn key(self, source: &JwkSource) -> Result<DecodingKey, JwkFault> {
        match self {
            Self::Rsa => rsa_key(source),
            Self::P256 => ec_key(source, 32),
            Self::P384 => ec_key(source, 48),
            Self::Ed25519 => Ok(DecodingKey::from_ed_der(&sized(
                "x",
                source.x.as_ref(),
                32,
            )?)),
        }
    }
}

fn rsa_key(source: &JwkSource) -> Result<DecodingKey, JwkFault> {
    let modulus = member("n", source.n.as_ref())?;
    let modulus = without_leading_zeros(&modulus);
    let bits = modulus.first().map_or(0, |first| {
        modulus.len() * 8 - first.leading_zeros() as usize
    });
    if !RSA_BITS.contains(&bits) {
        return Err(JwkFault::RsaSize { bits });
    }
    let exponent = member("e", source.e.as_ref())?;
    let exponent = without_leading_zeros(&exponent);
    // With an exponent of 1 anybody can sign.
    let is_fine = match exponent {
        [] | [1] => false,
        [.., last] => exponent.len() <= RSA_EXPONENT_BYTES_MAX && last % 2 == 1,
    };
    if !is_fine {
        return Err(JwkFault::RsaExponent);
    }
    Ok(DecodingKey::from_rsa_raw_components(modulus, exponent))
}

/// A key from the coordinates of its point, which are as long as the curve has them (RFC 7518 6.2.1.2).
fn ec_key(source: &JwkSource, coordinate_bytes: usize) -> Result<DecodingKey, JwkFault> {
    // SEC 1 2.3.3: 4 says that both coordinates follow.
    let mut point = vec![4];
    point.extend(sized("x", source.x.as_ref(), coordinate_bytes)?);
    point.extend(sized("y", source.y.as_ref(), coordinate_bytes)?);
    Ok(DecodingKey::from_ec_der(&point))
}

fn sized(name: &'static str, text: Option<&String>, bytes: usize) -> Result<Vec<u8>, JwkFault> {
    let value = member(name, text)?;
    if value.len() == bytes {
        Ok(value)
    } else {
        Err(JwkFault::WrongSize(name))
    }
}

fn member(name: &'static str, text: Option<&String>) -> Result<Vec<u8>, JwkFault> {
    let text = text.ok_or(JwkFault::Missing(name))?;
    let url_safe: Vec<u8> = text
        .bytes()
        .map(|byte| match byte {
            b'+' => b'-',
            b'/' => b'_',
            _ => byte,
        })
        .collect();
    BASE64
        .decode(url_safe)
        .map_err(|_| JwkFault::NotBase64(name))
}

fn without_leading_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    &number[zeros..]
}

/// The algorithm called `name` (RFC 7518 3.1, RFC 8037 3.1), if it is one with a public key that is known here.
pub(super) fn algorithm(name: &str) -> Option<Algorithm> {
    Some(match name {
        "RS256" => Algorithm::RS256,
        "RS384" => Algorithm::RS384,
        "RS512" => Algorithm::RS512,
        "PS256" => Algorithm::PS256,
        "PS384" => Algorithm::PS384,
        "PS512" => Algorithm::PS512,
        "ES256" => Algorithm::ES256,
        "ES384" => Algorithm::ES384,
        "EdDSA" => Algorithm::EdDSA,
        _ => return None,
    })
}

/// What is wrong with a key. Its words go on from the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JwkFault {
    /// A `kty` that is none of `RSA`, `EC` and `OKP`; also `oct`, which would let everybody sign who can verify.
    UnknownKind,
    /// A `crv` that is none of `P-256`, `P-384` and `Ed25519`, or not of this `kty`.
    UnknownCurve,
    /// An `alg` that is not one with a public key that is known.
    UnknownAlgorithm,
    /// An `alg` that is of another kind of key.
    AlgorithmDoesNotFit,
    /// `use` says something else.
    NotForSignatures,
    /// A member that its kind needs is not there.
    Missing(&'static str),
    /// A member is neither base64url nor base64.
    NotBase64(&'static str),
    /// A member is not as long as the curve has it.
    WrongSize(&'static str),
    /// An RSA key that is too small to be safe, or larger than any.
    RsaSize {
        /// How many bits its modulus has.
        bits: usize,
    },
    /// An RSA exponent that is even, 1, or longer than four bytes.
    RsaExponent,
}

impl fmt::Display for JwkFault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownKind => {
                formatter.write_str("is of a kind that is not known (`RSA`, `EC`, `OKP`)")
            }
            Self::UnknownCurve => {
                formatter.write_str("has a `crv` that is not known (`P-256`, `P-384`, `Ed25519`)")
            }
            Self::UnknownAlgorithm => formatter.write_str(
                "has an `alg` that is not known (`RS256`, `RS384`, `RS512`, `PS256`, `PS384`, `PS512`, `ES256`, `ES384`, `EdDSA`)",
            ),
            Self::AlgorithmDoesNotFit => {
                formatter.write_str("has an `alg` that is of another kind of key")
            }
            Self::NotForSignatures => formatter.write_str("is not for signatures (`use`)"),
            Self::Missing(name) => write!(formatter, "has no `{name}`"),
            Self::NotBase64(name) => write!(formatter, "has a `{name}` that is not base64url"),
            Self::WrongSize(name) => {
                write!(formatter, "has a `{name}` that is not as long as its curve has it")
            }
            Self::RsaSize { bits } => write!(
                formatter,
                "has {bits} bits, not {} to {}",
                RSA_BITS.start(),
                RSA_BITS.end()
            ),
            Self::RsaExponent => formatter.write_str("has an `e` that no RSA key should have"),
        }
    }
}

impl std::error::Error for JwkFault {}
