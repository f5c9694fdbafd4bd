//! PKCS #12 (RFC 7292), as Java and openssl write it.
//!
//! Decrypting is `p12-keystore`'s; what belongs together is decided here, since openssl's trust stores lack the attribute by which Java marks its own.

use p12_keystore::error::Error;
use p12_keystore::{CertificateBag, Pkcs12Archive, PrivateKeyBag};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use super::certificates::{self, Certificate};
use super::{KeyEntry, Store, StoreFault, StoreKind, TrustEntry};

/// Reads a store; `kind` is what a file of another format is said not to be.
pub(super) fn open(bytes: &[u8], password: &str, kind: StoreKind) -> Result<Store, StoreFault> {
    let Pkcs12Archive { keys, certs, .. } =
        Pkcs12Archive::from_pkcs12(bytes, password).map_err(|error| fault(&error, kind))?;
    let mut certificates = certs
        .iter()
        .map(|bag| Certificate::parse(bag.cert.as_der().to_vec()))
        .collect::<Result<Vec<_>, _>>()?;
    let mut unnamed = 0;
    let mut alias = |name: Option<&String>| {
        name.map_or_else(
            || {
                unnamed += 1;
                unnamed.to_string()
            },
            |name| name.to_lowercase(),
        )
    };
    let mut store = Store::default();
    for key in &keys {
        let alias = alias(key.friendly_name.as_ref());
        store
            .keys
            .push(key_entry(alias, key, &certs, &mut certificates)?);
    }
    for (bag, certificate) in certs.iter().zip(certificates) {
        // Java's mark makes a certificate trusted even if a key's chain has it, too.
        if bag.trusted || !certificate.is_used {
            store.trust.push(TrustEntry {
                alias: alias(bag.friendly_name.as_ref()),
                certificate: certificate.der,
            });
        }
    }
    Ok(store)
}

fn key_entry(
    alias: String,
    bag: &PrivateKeyBag,
    bags: &[CertificateBag],
    certificates: &mut [Certificate],
) -> Result<KeyEntry, StoreFault> {
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(bag.key.as_der().to_vec()));
    // The id is optional, and then the keys themselves tell.
    let by_id = bag.local_key_id.as_ref().and_then(|id| {
        bags.iter()
            .position(|bag| bag.local_key_id.as_deref() == Some(id.as_ref()))
    });
    let leaf = by_id.or_else(|| {
        certificates
            .iter()
            .position(|certificate| certificates::is_of(&certificate.der, &key) == Some(true))
    });
    match leaf {
        Some(leaf) => Ok(KeyEntry {
            alias,
            key,
            chain: certificates::chain(certificates, leaf),
        }),
        None => Err(StoreFault::NoCertificate { alias }),
    }
}

fn fault(error: &Error, kind: StoreKind) -> StoreFault {
    match error {
        // A store without a seal shows a wrong password only by what comes out of the decryption.
        Error::MacError(_) | Error::UnpadError | Error::Pkcs5Error(_) => StoreFault::WrongPassword,
        Error::UnsupportedEncryptionScheme
        | Error::UnsupportedMacAlgorithm
        | Error::UnsupportedCertificateType
        | Error::InvalidParameters => StoreFault::UnknownProtection,
        Error::X509Error(_) => StoreFault::BadCertificate,
        Error::IoError(_)
        | Error::DerError(_)
        | Error::InvalidVersion
        | Error::UnsupportedContentType
        | Error::InvalidLength
        | Error::InvalidData
        | Error::InvalidPrivateKey => StoreFault::Malformed(kind),
    }
}
