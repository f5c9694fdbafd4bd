//! PEM (RFC 7468): plain keys and certificates in any order.
//!
//! A file has no aliases. An entry's is the common name of its certificate, lower case; without one, or when it is taken, the entry's number
//! among all of the file from 1, keys first.

use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::{PemObject, SectionKind};

use super::certificates::{self, Certificate};
use super::{KeyEntry, Store, StoreFault, StoreKind, TrustEntry};

/// Keys that need a password, in PKCS #8 and in openssl's old form.
const ENCRYPTED: [&[u8]; 2] = [b"BEGIN ENCRYPTED PRIVATE KEY", b"Proc-Type: 4,ENCRYPTED"];

pub(super) fn open(bytes: &[u8]) -> Result<Store, StoreFault> {
    let holds = |mark: &[u8]| bytes.windows(mark.len()).any(|window| window == mark);
    if ENCRYPTED.into_iter().any(holds) {
        return Err(StoreFault::EncryptedKey);
    }
    let (keys, mut certificates) = sections(bytes)?;
    if keys.is_empty() && certificates.is_empty() {
        return Err(StoreFault::Malformed(StoreKind::Pem));
    }
    let mut aliases = Aliases::default();
    let mut store = Store::default();
    for key in keys {
        let leaf = leaf_of(&key, &certificates, aliases.given.len() + 1)?;
        store.keys.push(KeyEntry {
            alias: aliases.next(&certificates[leaf]),
            key,
            chain: certificates::chain(&mut certificates, leaf),
        });
    }
    for certificate in certificates.into_iter().filter(|one| !one.is_used) {
        store.trust.push(TrustEntry {
            alias: aliases.next(&certificate),
            certificate: certificate.der,
        });
    }
    Ok(store)
}

fn sections(bytes: &[u8]) -> Result<(Vec<PrivateKeyDer<'static>>, Vec<Certificate>), StoreFault> {
    let mut keys = Vec::new();
    let mut certificates = Vec::new();
    for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(bytes) {
        let (kind, der) = section.map_err(|_| StoreFault::Malformed(StoreKind::Pem))?;
        if kind == SectionKind::Certificate {
            certificates.push(Certificate::parse(der)?);
        } else if let Some(key) = PrivateKeyDer::from_pem(kind, der) {
            keys.push(key);
        }
    }
    Ok((keys, certificates))
}

/// Where the certificate of `key` is, which is entry `number`.
fn leaf_of(
    key: &PrivateKeyDer<'static>,
    certificates: &[Certificate],
    number: usize,
) -> Result<usize, StoreFault> {
    for (place, certificate) in certificates.iter().enumerate() {
        match certificates::is_of(&certificate.der, key) {
            Some(true) => return Ok(place),
            Some(false) => {}
            None => {
                return Err(StoreFault::BadKey {
                    alias: number.to_string(),
                });
            }
        }
    }
    Err(StoreFault::NoCertificate {
        alias: number.to_string(),
    })
}

#[derive(Default)]
struct Aliases {
    given: Vec<String>,
}

impl Aliases {
    fn next(&mut self, certificate: &Certificate) -> String {
        let number = self.given.len() + 1;
        let alias = certificate
            .common_name
            .clone()
            .filter(|name| !self.given.contains(name))
            .unwrap_or_else(|| number.to_string());
        self.given.push(alias.clone());
        alias
    }
}
