//! Which key is shown: to a client by the name it asks for, to a server by the authorities it names.
//!
//! Under servers and clients. Its one rule: among keys that fit equally well ECDSA and Ed25519 come before RSA (a tenth of the work), and then the order of the file.

use std::cmp::Reverse;
use std::sync::Arc;

use rustls::client::ResolvesClientCert;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys, SignatureAlgorithm, SignatureScheme};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::keystore::KeyEntry;
use super::keystore::certificates::is_of_another;
use super::{SetupFault, provider};

/// A key that can sign, and what its certificates say.
#[derive(Debug)]
pub(super) struct Identity {
    certified: Arc<CertifiedKey>,
    /// Names that it is for, lower case; the first label may be `*`.
    names: Vec<String>,
    /// The issuers along its chain, as they stand in the certificates.
    issuers: Vec<Vec<u8>>,
}

impl Identity {
    pub(super) fn new(entry: &KeyEntry) -> Result<Self, SetupFault> {
        let fault = |error| SetupFault::BadKey {
            alias: entry.alias.clone(),
            error,
        };
        let key = provider()
            .key_provider
            .load_private_key(entry.key.clone_key())
            .map_err(fault)?;
        let own = entry
            .chain
            .first()
            .ok_or_else(|| fault(Error::NoCertificatesPresented))?;
        if is_of_another(own, &*key) {
            return Err(fault(InconsistentKeys::KeyMismatch.into()));
        }
        let certified = CertifiedKey::new(entry.chain.clone(), key);
        let parsed: Vec<X509Certificate<'_>> = entry
            .chain
            .iter()
            .filter_map(|der| Some(X509Certificate::from_der(der).ok()?.1))
            .collect();
        Ok(Self {
            certified: Arc::new(certified),
            names: parsed.first().map(names).unwrap_or_default(),
            issuers: parsed
                .iter()
                .map(|certificate| certificate.issuer().as_raw().to_vec())
                .collect(),
        })
    }

    fn can_sign(&self, schemes: &[SignatureScheme]) -> bool {
        self.certified.key.choose_scheme(schemes).is_some()
    }

    fn is_rsa(&self) -> bool {
        self.certified.key.algorithm() == SignatureAlgorithm::RSA
    }

    fn fit(&self, name: &str) -> Fit {
        if self.names.iter().any(|known| known == name) {
            return Fit::Exact;
        }
        let is_covered = name.split_once('.').is_some_and(|(_, parent)| {
            let mut known = self.names.iter();
            known.any(|known| known.strip_prefix("*.") == Some(parent))
        });
        if is_covered { Fit::Wildcard } else { Fit::No }
    }
}

/// How well a certificate goes with a name; better is greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fit {
    No,
    /// One label is a `*` (RFC 6125 6.4.3).
    Wildcard,
    Exact,
}

/// The alternative names, or without any the common name, as before RFC 2818.
fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let alternatives = certificate.subject_alternative_name().ok().flatten();
    let mut names: Vec<String> = alternatives
        .iter()
        .flat_map(|extension| &extension.value.general_names)
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(name.to_lowercase()),
            _ => None,
        })
        .collect();
    if names.is_empty() {
        let common = certificate.subject().iter_common_name();
        names.extend(common.filter_map(|name| Some(name.as_str().ok()?.to_lowercase())));
    }
    names
}

/// The keys of a server or client, in the order of the file.
#[derive(Debug)]
pub(super) struct Identities(Vec<Identity>);

impl Identities {
    pub(super) fn new(entries: &[Arc<KeyEntry>]) -> Result<Self, SetupFault> {
        let identities = entries.iter().map(|entry| Identity::new(entry));
        Ok(Self(identities.collect::<Result<_, _>>()?))
    }

    /// The key for a client that asks for `name` and can check `schemes`: one that it can check, before one that goes with the name, before one that is cheap.
    fn for_server(
        &self,
        name: Option<&str>,
        schemes: &[SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        let name = name.map(str::to_ascii_lowercase);
        let best = self.0.iter().min_by_key(|identity| {
            let fit = name.as_deref().map_or(Fit::No, |name| identity.fit(name));
            (
                Reverse(identity.can_sign(schemes)),
                Reverse(fit),
                identity.is_rsa(),
            )
        });
        best.map(|identity| identity.certified.clone())
    }

    /// The key for a server that accepts what `issuers` signed (empty: it does not say), if there is one.
    fn for_client(
        &self,
        issuers: &[&[u8]],
        schemes: &[SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        let is_accepted = |identity: &&Identity| {
            let mut along = identity.issuers.iter();
            issuers.is_empty() || along.any(|issuer| issuers.contains(&issuer.as_slice()))
        };
        let usable = self.0.iter().filter(|identity| identity.can_sign(schemes));
        let best = usable
            .filter(is_accepted)
            .min_by_key(|identity| identity.is_rsa());
        best.map(|identity| identity.certified.clone())
    }
}

impl ResolvesServerCert for Identities {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.for_server(hello.server_name(), hello.signature_schemes())
    }
}

impl ResolvesClientCert for Identities {
    fn resolve(
        &self,
        root_hint_subjects: &[&[u8]],
        sigschemes: &[SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        self.for_client(root_hint_subjects, sigschemes)
    }

    fn has_certs(&self) -> bool {
        !self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256};

    use super::*;
    use crate::tls::keystore::{StoreKind, open};
    use crate::tls::testing::Authority;

    const BOTH: [SignatureScheme; 2] = [
        SignatureScheme::RSA_PSS_SHA256,
        SignatureScheme::ECDSA_NISTP256_SHA256,
    ];

    #[test]
    fn the_key_goes_with_the_name_then_with_the_client_then_it_is_cheap() {
        let authority = Authority::new("Authority");
        let wild = authority.key_of(&PKCS_ECDSA_P256_SHA256, "wild", &["*.a.test"]);
        let rsa = authority.key_of(&PKCS_RSA_SHA256, "rsa", &["x.a.test", "both.test"]);
        let ecdsa = authority.key_of(&PKCS_ECDSA_P256_SHA256, "ecdsa", &["both.test"]);
        let identities = Identities::new(&[wild.clone(), rsa.clone(), ecdsa.clone()]).unwrap();
        let chosen = |name, schemes: &[SignatureScheme]| {
            identities.for_server(name, schemes).unwrap().cert[0].clone()
        };
        let [only_rsa, only_ecdsa] = BOTH.map(|scheme| [scheme]);
        for (name, schemes, expected) in [
            (Some("x.a.test"), BOTH.as_slice(), &rsa),
            (Some("X.A.Test"), &BOTH, &rsa),
            (Some("y.a.test"), &BOTH, &wild),
            (Some("z.y.a.test"), &BOTH, &wild),
            (Some("both.test"), &BOTH, &ecdsa),
            (Some("both.test"), &only_rsa, &rsa),
            (Some("x.a.test"), &only_ecdsa, &wild),
            (Some("unknown.test"), &BOTH, &wild),
            (Some("unknown.test"), &only_rsa, &rsa),
            (None, &BOTH, &wild),
        ] {
            assert_eq!(chosen(name, schemes), expected.chain[0], "{name:?}");
        }
    }

    #[test]
    fn a_wildcard_stands_for_one_label() {
        let authority = Authority::new("Authority");
        let entry = authority.key_of(&PKCS_ECDSA_P256_SHA256, "wild", &["*.a.test"]);
        let identity = Identity::new(&entry).unwrap();
        assert_eq!(identity.fit("x.a.test"), Fit::Wildcard);
        assert_eq!(identity.fit("y.x.a.test"), Fit::No);
        assert_eq!(identity.fit("a.test"), Fit::No);
        assert_eq!(identity.fit("*.a.test"), Fit::Exact);
    }

    #[test]
    fn a_client_shows_a_key_whose_authority_the_server_knows() {
        let (known, other) = (Authority::new("Known"), Authority::new("Other"));
        let first = other.key("first", &["first"]);
        let second = known.key("second", &["second"]);
        let identities = Identities::new(&[first.clone(), second.clone()]).unwrap();
        let name = known.subject();
        let chosen = |issuers: &[&[u8]]| {
            identities
                .for_client(issuers, &BOTH)
                .map(|key| key.cert[0].clone())
        };
        assert_eq!(chosen(&[&name]), Some(second.chain[0].clone()));
        assert_eq!(chosen(&[]), Some(first.chain[0].clone()));
        assert_eq!(chosen(&[b"nobody"]), None);
    }

    #[test]
    fn a_certificate_of_the_first_version_is_shown_under_its_common_name() {
        let bytes = include_bytes!("../../tests/tls/version-1.p12");
        let store = open(StoreKind::Pkcs12, bytes, Some("generated")).unwrap();
        let identity = Identity::new(&store.keys[0]).unwrap();
        assert_eq!(identity.fit("localhost"), Fit::Exact);
    }

    #[test]
    fn a_key_that_is_not_that_of_its_certificate_is_refused() {
        let authority = Authority::new("Authority");
        let (one, other) = (authority.key("one", &["a"]), authority.key("other", &["a"]));
        let mixed = KeyEntry {
            alias: "mixed".into(),
            key: one.key.clone_key(),
            chain: other.chain.clone(),
        };
        let fault = Identity::new(&mixed).unwrap_err();
        assert!(matches!(fault, SetupFault::BadKey { alias, .. } if alias == "mixed"));
    }
}
