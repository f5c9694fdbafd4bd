//! Which of a store's certificates belong together: the one of a key, and those that vouch for it.
//!
//! Under the readers of PKCS #12 and PEM, whose files hold a heap of certificates. Its one rule: each is looked at once per chain, so that circles end.

use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::SigningKey;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::StoreFault;

/// A certificate of a store, with what it says of itself.
pub(super) struct Certificate {
    pub(super) der: CertificateDer<'static>,
    /// The first common name of its subject, lower case.
    pub(super) common_name: Option<String>,
    subject: Vec<u8>,
    issuer: Vec<u8>,
    /// It is in a key's chain.
    pub(super) is_used: bool,
}

impl Certificate {
    pub(super) fn parse(der: Vec<u8>) -> Result<Self, StoreFault> {
        let (_, parsed) =
            X509Certificate::from_der(&der).map_err(|_| StoreFault::BadCertificate)?;
        let common_name = parsed
            .subject()
            .iter_common_name()
            .find_map(|name| name.as_str().ok())
            .map(str::to_lowercase);
        Ok(Self {
            common_name,
            subject: parsed.subject().as_raw().to_vec(),
            issuer: parsed.issuer().as_raw().to_vec(),
            is_used: false,
            der: CertificateDer::from(der),
        })
    }
}

/// Whether `certificate` is that of another key than `key`. Not rustls' own comparison, which refuses to read certificates of X.509's first version:
/// servers show those all the same, as Zilla's examples do.
pub(in crate::tls) fn is_of_another(
    certificate: &CertificateDer<'_>,
    key: &dyn SigningKey,
) -> bool {
    let Some(public) = key.public_key() else {
        return false;
    };
    X509Certificate::from_der(certificate).map_or(true, |(_, parsed)| {
        parsed.public_key().raw != public.as_ref()
    })
}

/// Whether `certificate` is that of `key`; `None` when the key is of a kind that TLS has no use for.
pub(super) fn is_of(certificate: &CertificateDer<'_>, key: &PrivateKeyDer<'_>) -> Option<bool> {
    let key = any_supported_type(key).ok()?;
    Some(!is_of_another(certificate, &*key))
}

/// The certificate at `leaf`, its issuer, and so on up to one that signed itself or whose issuer is not here; all are marked as used.
pub(super) fn chain(certificates: &mut [Certificate], leaf: usize) -> Vec<CertificateDer<'static>> {
    let mut places = vec![leaf];
    let mut last = leaf;
    while let Some(issuer) = issuer_of(certificates, last).filter(|at| !places.contains(at)) {
        places.push(issuer);
        last = issuer;
    }
    places
        .into_iter()
        .map(|place| {
            certificates[place].is_used = true;
            certificates[place].der.clone()
        })
        .collect()
}

fn issuer_of(certificates: &[Certificate], place: usize) -> Option<usize> {
    let issuer = &certificates[place].issuer;
    if *issuer == certificates[place].subject {
        return None;
    }
    certificates
        .iter()
        .position(|candidate| candidate.subject == *issuer)
}
