//! Key stores: private keys with their certificates, and certificates that are trusted, by alias.
//!
//! PKCS #12 (RFC 7292), Java's JKS and PEM (RFC 7468) come down to the same [`Store`]. Sans-IO: bytes in, entries out.
//! Its one rule: what a store holds is never shown, neither by `Debug` nor by a fault.

pub(super) mod certificates;
mod jks;
mod pem;
mod pkcs12;
#[cfg(test)]
mod tests;

use std::fmt;

use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// The largest store that is read, in bytes; the bundle of all public authorities has a quarter of a megabyte.
pub const STORE_BYTES_MAX: usize = 4 << 20;

/// What the configuration says a store is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreKind {
    /// RFC 7292.
    Pkcs12,
    /// Java's own format before PKCS #12.
    Jks,
    /// Text, RFC 7468.
    Pem,
}

/// What was in a store, in its order.
#[derive(Debug, Default)]
pub struct Store {
    /// Private keys.
    pub keys: Vec<KeyEntry>,
    /// Certificates that go with no key.
    pub trust: Vec<TrustEntry>,
}

/// A private key and the certificates that go with it.
pub struct KeyEntry {
    /// What the store calls it, lower case.
    pub alias: String,
    /// The private key.
    pub key: PrivateKeyDer<'static>,
    /// The certificate of the key, then those that vouch for it, in order.
    pub chain: Vec<CertificateDer<'static>>,
}

impl fmt::Debug for KeyEntry {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("KeyEntry")
            .field("alias", &self.alias)
            .finish_non_exhaustive()
    }
}

/// A certificate that is trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustEntry {
    /// What the store calls it, lower case.
    pub alias: String,
    /// The certificate.
    pub certificate: CertificateDer<'static>,
}

/// What is wrong with a store. Its words go on from its name: the store `tls/localhost.p12` cannot be opened with this password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreFault {
    /// More than [`STORE_BYTES_MAX`].
    TooLarge,
    /// The seal does not fit, or what was decrypted makes no sense.
    WrongPassword,
    /// Keys that are encrypted, and no password.
    NoPassword,
    /// Not the format that was promised, or cut short.
    Malformed(StoreKind),
    /// Encryption or a seal that is not known here.
    UnknownProtection,
    /// An encrypted key where only plain ones can be.
    EncryptedKey,
    /// A certificate that is none.
    BadCertificate,
    /// A key that is none, or of a kind that TLS has no use for.
    BadKey {
        /// What the store calls it.
        alias: String,
    },
    /// A key, and no certificate that goes with it.
    NoCertificate {
        /// What the store calls the key.
        alias: String,
    },
}

impl fmt::Display for StoreFault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge => write!(formatter, "is larger than {} MiB", STORE_BYTES_MAX >> 20),
            Self::WrongPassword => formatter.write_str("cannot be opened with this password"),
            Self::NoPassword => formatter.write_str("holds a key, which needs a password"),
            Self::Malformed(StoreKind::Pkcs12) => {
                formatter.write_str("is not a PKCS #12 file, or is damaged")
            }
            Self::Malformed(StoreKind::Jks) => {
                formatter.write_str("is not a JKS file, or is damaged")
            }
            Self::Malformed(StoreKind::Pem) => {
                formatter.write_str("is not a PEM file, or is damaged")
            }
            Self::UnknownProtection => {
                formatter.write_str("is encrypted or sealed in a way that is not supported")
            }
            Self::EncryptedKey => {
                formatter.write_str("holds an encrypted key, which PEM stores may not")
            }
            Self::BadCertificate => {
                formatter.write_str("holds a certificate that cannot be read (X.509)")
            }
            Self::BadKey { alias } => write!(
                formatter,
                "holds a key `{alias}` that cannot be used (RSA, ECDSA and Ed25519 can)"
            ),
            Self::NoCertificate { alias } => {
                write!(formatter, "has no certificate for its key `{alias}`")
            }
        }
    }
}

impl std::error::Error for StoreFault {}

/// Reads a store.
///
/// As in Java, the first bytes and not `kind` tell PKCS #12 and JKS apart: what `keytool` writes to `x.jks` is PKCS #12 unless it is told otherwise.
/// No `password` is the empty one, and leaves the seal of a JKS store unchecked.
///
/// # Errors
///
/// [`StoreFault`], when it cannot be read as a whole.
pub fn open(kind: StoreKind, bytes: &[u8], password: Option<&str>) -> Result<Store, StoreFault> {
    if bytes.len() > STORE_BYTES_MAX {
        return Err(StoreFault::TooLarge);
    }
    match kind {
        StoreKind::Pkcs12 | StoreKind::Jks if jks::is_jks(bytes) => jks::open(bytes, password),
        StoreKind::Pkcs12 | StoreKind::Jks => {
            pkcs12::open(bytes, password.unwrap_or_default(), kind)
        }
        StoreKind::Pem => pem::open(bytes),
    }
}
