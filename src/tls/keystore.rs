//! Key stores: private keys with their certificates, and certificates that are trusted, by alias.

use std::fmt;

use rustls::pki_types::{CertificateDer, PrivateKeyDer};

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
