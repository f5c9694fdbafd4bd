//! Stores made by openssl and keytool (`tests/tls/README.md`), and PEM made here.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

use super::*;

macro_rules! fixture {
    ($name:literal) => {
        include_bytes!(concat!("../../../tests/tls/", $name)).as_slice()
    };
}

fn opened(kind: StoreKind, bytes: &[u8]) -> Store {
    open(kind, bytes, Some("generated")).unwrap()
}

fn aliases(store: &Store) -> (Vec<&str>, Vec<&str>) {
    (
        store.keys.iter().map(|entry| &*entry.alias).collect(),
        store.trust.iter().map(|entry| &*entry.alias).collect(),
    )
}

/// The certificate of a key is first in its chain and fits it.
fn assert_fits(entry: &KeyEntry) {
    assert_eq!(
        certificates::is_of(&entry.chain[0], &entry.key),
        Some(true),
        "{}",
        entry.alias
    );
}

#[test]
fn keys_come_with_their_chains_whoever_wrote_the_store() {
    let stores = [
        (StoreKind::Pkcs12, fixture!("openssl-key.p12")),
        (StoreKind::Pkcs12, fixture!("java-key.p12")),
        (StoreKind::Jks, fixture!("java-key.jks")),
    ];
    for (kind, bytes) in stores {
        let store = opened(kind, bytes);
        assert_eq!(aliases(&store), (vec!["localhost"], vec![]), "{kind:?}");
        assert_eq!(store.keys[0].chain.len(), 2, "{kind:?}");
        assert_fits(&store.keys[0]);
    }
}

#[test]
fn a_store_of_the_old_algorithms_opens() {
    let store = opened(StoreKind::Pkcs12, fixture!("legacy.p12"));
    assert_eq!(aliases(&store), (vec!["legacy"], vec![]));
    assert_fits(&store.keys[0]);
}

#[test]
fn certificates_without_a_key_are_trusted_with_and_without_the_mark_of_java() {
    let stores = [
        (StoreKind::Pkcs12, fixture!("java-trust.p12"), "fixture-ca"),
        (
            StoreKind::Pkcs12,
            fixture!("openssl-trust.p12"),
            "fixture ca",
        ),
        (StoreKind::Jks, fixture!("java-trust.jks"), "fixture-ca"),
    ];
    let expected = &opened(StoreKind::Jks, fixture!("java-trust.jks")).trust[0].certificate;
    for (kind, bytes, alias) in stores {
        let store = opened(kind, bytes);
        assert_eq!(aliases(&store), (vec![], vec![alias]));
        assert_eq!(store.trust[0].certificate, *expected);
    }
}

#[test]
fn no_password_is_the_empty_one() {
    let open = |bytes| open(StoreKind::Pkcs12, bytes, None).unwrap();
    assert_eq!(aliases(&open(fixture!("openssl-empty.p12"))).0, ["empty"]);
    assert_eq!(aliases(&open(fixture!("java-open.p12"))).1, ["fixture-ca"]);
}

#[test]
fn the_first_bytes_tell_java_formats_apart() {
    opened(StoreKind::Jks, fixture!("java-trust.p12"));
    opened(StoreKind::Pkcs12, fixture!("java-trust.jks"));
}

#[test]
fn a_wrong_password_is_said_to_be_that() {
    let stores = [
        fixture!("openssl-key.p12"),
        fixture!("java-trust.p12"),
        fixture!("java-trust.jks"),
        fixture!("java-key.jks"),
    ];
    for bytes in stores {
        let fault = open(StoreKind::Pkcs12, bytes, Some("guess")).unwrap_err();
        assert_eq!(fault, StoreFault::WrongPassword);
    }
}

#[test]
fn a_jks_store_without_a_password_gives_certificates_and_no_keys() {
    let open = |bytes| open(StoreKind::Jks, bytes, None);
    assert_eq!(open(fixture!("java-trust.jks")).unwrap().trust.len(), 1);
    assert_eq!(
        open(fixture!("java-key.jks")).unwrap_err(),
        StoreFault::NoPassword
    );
}

#[test]
fn a_cut_or_damaged_store_is_refused_without_a_panic() {
    for bytes in [fixture!("java-key.jks"), fixture!("java-trust.jks")] {
        for end in 0..bytes.len() {
            assert!(open(StoreKind::Jks, &bytes[..end], Some("generated")).is_err());
            // Without its seal, the structure alone has to hold.
            let _ = open(StoreKind::Jks, &bytes[..end], None);
        }
    }
    let bytes = fixture!("java-open.p12");
    for at in 0..bytes.len() {
        assert!(open(StoreKind::Pkcs12, &bytes[..at], None).is_err());
        let mut damaged = bytes.to_vec();
        damaged[at] ^= 0x81;
        let _ = open(StoreKind::Pkcs12, &damaged, None);
    }
    assert_eq!(
        open(StoreKind::Pkcs12, b"-----BEGIN", None).unwrap_err(),
        StoreFault::Malformed(StoreKind::Pkcs12)
    );
}

#[test]
fn a_store_beyond_the_limit_is_refused_unread() {
    let fault = open(StoreKind::Pem, &vec![b'\n'; STORE_BYTES_MAX + 1], None).unwrap_err();
    assert_eq!(fault, StoreFault::TooLarge);
    assert_eq!(fault.to_string(), "is larger than 4 MiB");
}

fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn leaf(issuer: &CertifiedIssuer<'static, KeyPair>, name: &str) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![name.to_lowercase()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    let certificate = params.signed_by(&key, issuer).unwrap();
    (key.serialize_pem(), certificate.pem())
}

#[test]
fn pem_keys_find_their_certificates_in_any_order() {
    let issuer = authority("Authority");
    let other = authority("Other");
    let (key_a, leaf_a) = leaf(&issuer, "A.Test");
    let (key_b, leaf_b) = leaf(&issuer, "B.Test");
    let text = [leaf_b, issuer.pem(), key_a, other.pem(), key_b, leaf_a].concat();
    let store = open(StoreKind::Pem, text.as_bytes(), None).unwrap();
    assert_eq!(aliases(&store), (vec!["a.test", "b.test"], vec!["other"]));
    for entry in &store.keys {
        assert_fits(entry);
        assert_eq!(entry.chain[1..], [issuer.der().clone()]);
    }
}

#[test]
fn a_pem_entry_without_a_name_of_its_own_has_its_number() {
    let first = authority("Same");
    let second = authority("Same");
    let text = [first.pem(), second.pem()].concat();
    let store = open(StoreKind::Pem, text.as_bytes(), None).unwrap();
    assert_eq!(aliases(&store), (vec![], vec!["same", "2"]));
}

#[test]
fn what_pem_cannot_hold_is_said() {
    let issuer = authority("Authority");
    let (key, _) = leaf(&issuer, "a.test");
    let text = [key, issuer.pem()].concat();
    let fault = |text: &str| open(StoreKind::Pem, text.as_bytes(), None).unwrap_err();
    assert_eq!(
        fault(&text),
        StoreFault::NoCertificate { alias: "1".into() }
    );
    assert_eq!(fault("hello"), StoreFault::Malformed(StoreKind::Pem));
    let encrypted =
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAA==\n-----END ENCRYPTED PRIVATE KEY-----\n";
    assert_eq!(fault(encrypted), StoreFault::EncryptedKey);
    assert_eq!(
        fault(encrypted).to_string(),
        "holds an encrypted key, which PEM stores may not"
    );
}

#[test]
fn an_entry_never_shows_its_key() {
    let store = opened(StoreKind::Jks, fixture!("java-key.jks"));
    assert_eq!(
        format!("{:?}", store.keys[0]),
        r#"KeyEntry { alias: "localhost", .. }"#
    );
}
