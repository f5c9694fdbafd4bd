//! Tokens of every kind, good and bad, against the guards of a plan; one test per row.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, crypto};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519};
use serde_json::{Value, json};

use super::jwk::JwkFault;
use super::jwt::TOKEN_BYTES_MAX;
use super::key_set::{KEY_SET_BYTES_MAX, KEYS_MAX, KeySetFault};
use super::*;
use crate::config::JwkSource;

const NOW: UnixMillis = UnixMillis(1_700_000_000_000);
const NOW_SECONDS: i64 = NOW.0 / 1000;

/// A key pair made for this run.
struct Signer {
    private: EncodingKey,
    public: JwkSource,
}

struct Signers {
    rsa: Signer,
    p256: Signer,
    p384: Signer,
    ed25519: Signer,
    /// An RSA key that no guard knows.
    stranger: EncodingKey,
}

static SIGNERS: LazyLock<Signers> = LazyLock::new(|| Signers {
    rsa: rsa(),
    p256: ec(
        &KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap(),
        "P-256",
    ),
    p384: ec(
        &KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap(),
        "P-384",
    ),
    ed25519: ed25519(),
    stranger: rsa().private,
});

fn base64(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn source(kty: &str, kid: &str) -> JwkSource {
    JwkSource {
        kty: kty.into(),
        kid: kid.into(),
        ..JwkSource::default()
    }
}

fn rsa() -> Signer {
    let pair =
        KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048).unwrap();
    // PKCS #8 wraps the key of PKCS #1 into 26 bytes when that has 2048 bits.
    let private = EncodingKey::from_rsa_der(&pair.serialize_der()[26..]);
    let jwk = jsonwebtoken::jwk::Jwk::from_encoding_key(&private, Algorithm::RS256).unwrap();
    let jwk = serde_json::to_value(jwk).unwrap();
    let text = |name: &str| jwk[name].as_str().map(str::to_owned);
    Signer {
        private,
        public: JwkSource {
            n: text("n"),
            e: text("e"),
            ..source("RSA", "rsa")
        },
    }
}

fn ec(pair: &KeyPair, curve: &str) -> Signer {
    let point = &pair.public_key_raw()[1..];
    let (x, y) = point.split_at(point.len() / 2);
    Signer {
        private: EncodingKey::from_ec_der(&pair.serialize_der()),
        public: JwkSource {
            crv: Some(curve.into()),
            x: Some(base64(x)),
            y: Some(base64(y)),
            ..source("EC", curve)
        },
    }
}

fn ed25519() -> Signer {
    let pair = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    Signer {
        private: EncodingKey::from_ed_der(&pair.serialize_der()),
        public: JwkSource {
            crv: Some("Ed25519".into()),
            x: Some(base64(pair.public_key_raw())),
            ..source("OKP", "ed")
        },
    }
}

/// The public key of `signer` under a name of its own, for one algorithm.
fn key(signer: &Signer, kid: &str, alg: Option<&str>) -> JwkSource {
    JwkSource {
        kid: kid.into(),
        alg: alg.map(str::to_owned),
        ..signer.public.clone()
    }
}

fn path(text: &str) -> Vec<String> {
    text.split('.').map(str::to_owned).collect()
}

fn guards(keys: JwtKeys) -> Guards {
    let guard = JwtGuard {
        issuer: "https://issuer.example".into(),
        audience: "https://api.example".into(),
        keys,
        roles: path("scope"),
        identity: path("sub"),
        attributes: vec![
            ("tenant".into(), path("org.tenant")),
            ("level".into(), path("level")),
            ("staff".into(), path("https://issuer.example/staff")),
            ("list".into(), path("list")),
        ],
        challenge: Some(Duration::from_secs(10)),
    };
    Guards::new(&[Guard {
        namespace: "test".into(),
        name: "jwt".into(),
        kind: GuardKind::Jwt(guard),
    }])
    .unwrap()
}

/// Guards with one key of each algorithm, called as the algorithm.
fn known() -> Guards {
    let all = &*SIGNERS;
    let rsa = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"];
    let mut keys: Vec<_> = rsa
        .iter()
        .map(|alg| key(&all.rsa, alg, Some(alg)))
        .collect();
    keys.push(key(&all.p256, "ES256", Some("ES256")));
    keys.push(key(&all.p384, "ES384", Some("ES384")));
    keys.push(key(&all.ed25519, "EdDSA", Some("EdDSA")));
    keys.push(key(&all.rsa, "no alg", None));
    guards(JwtKeys::Inline(keys))
}

/// Good claims with `changes`; `null` takes one away.
fn claims(changes: &Value) -> Value {
    let mut claims = json!({
        "iss": "https://issuer.example",
        "aud": "https://api.example",
        "sub": "alice",
        "scope": "read write",
        "nbf": NOW_SECONDS - 60,
        "exp": NOW_SECONDS + 60,
    });
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(name);
        } else {
            claims[name] = value.clone();
        }
    }
    claims
}

fn encoded(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

fn signed(header: &Value, claims: &Value, key: &EncodingKey, algorithm: Algorithm) -> String {
    let message = format!("{}.{}", encoded(header), encoded(claims));
    let signature = crypto::sign(message.as_bytes(), key, algorithm).unwrap();
    format!("{message}.{signature}")
}

/// A token of the key that is called as its algorithm.
fn token_of(alg: &str, signer: &Signer, claims: &Value) -> String {
    let header = json!({"alg": alg, "kid": alg, "typ": "JWT"});
    signed(&header, claims, &signer.private, alg.parse().unwrap())
}

fn token(changes: &Value) -> String {
    token_of("ES256", &SIGNERS.p256, &claims(changes))
}

/// A token with this header and the signature that `alg` asks for, of the RSA key.
fn token_with_header(header: &Value) -> String {
    signed(
        header,
        &claims(&json!({})),
        &SIGNERS.rsa.private,
        Algorithm::RS256,
    )
}

fn verify(token: &str) -> Result<Rc<Verified>, Refused> {
    known().verify(0, token, NOW)
}

macro_rules! good {
    ($($name:ident: $token:expr;)*) => {$(
        #[test]
        fn $name() {
            let verified = verify(&$token).unwrap();
            assert_eq!(verified.identity.as_deref(), Some("alice"));
        }
    )*};
}

macro_rules! bad {
    ($($name:ident: $token:expr => $refused:ident;)*) => {$(
        #[test]
        fn $name() {
            assert_eq!(verify(&$token), Err(Refused::$refused));
        }
    )*};
}

good! {
    rs256_is_good: token_of("RS256", &SIGNERS.rsa, &claims(&json!({})));
    rs384_is_good: token_of("RS384", &SIGNERS.rsa, &claims(&json!({})));
    rs512_is_good: token_of("RS512", &SIGNERS.rsa, &claims(&json!({})));
    ps256_is_good: token_of("PS256", &SIGNERS.rsa, &claims(&json!({})));
    ps384_is_good: token_of("PS384", &SIGNERS.rsa, &claims(&json!({})));
    ps512_is_good: token_of("PS512", &SIGNERS.rsa, &claims(&json!({})));
    es256_is_good: token_of("ES256", &SIGNERS.p256, &claims(&json!({})));
    es384_is_good: token_of("ES384", &SIGNERS.p384, &claims(&json!({})));
    eddsa_is_good: token_of("EdDSA", &SIGNERS.ed25519, &claims(&json!({})));
    one_of_several_audiences_is_good: token(&json!({"aud": ["other", "https://api.example"]}));
    a_token_without_times_is_good: token(&json!({"exp": null, "nbf": null}));
    a_token_is_good_from_its_first_second: token(&json!({"nbf": NOW_SECONDS}));
    a_fraction_of_a_second_counts: token(&json!({"exp": f64::from(1_700_000_000) + 0.5}));
    an_end_beyond_all_calendars_is_good: token(&json!({"exp": u64::MAX}));
}

bad! {
    a_foreign_signature_is_refused: signed(
        &json!({"alg": "RS256", "kid": "RS256"}), &claims(&json!({})), &SIGNERS.stranger, Algorithm::RS256
    ) => BadSignature;
    other_claims_under_a_good_signature_are_refused: {
        let good = token(&json!({}));
        let parts: Vec<_> = good.split('.').collect();
        let forged = encoded(&claims(&json!({"sub": "root"})));
        format!("{}.{forged}.{}", parts[0], parts[2])
    } => BadSignature;
    no_signature_is_refused: {
        let good = token(&json!({}));
        format!("{}.", good.rsplit_once('.').unwrap().0)
    } => BadSignature;
    an_expired_token_is_refused: token(&json!({"exp": NOW_SECONDS - 1})) => Expired;
    a_token_is_expired_at_its_end: token(&json!({"exp": NOW_SECONDS})) => Expired;
    an_end_before_time_is_refused: token(&json!({"exp": -1e300})) => Expired;
    a_token_of_the_future_is_refused: token(&json!({"nbf": NOW_SECONDS + 1})) => NotYetValid;
    an_end_that_is_no_number_is_refused: token(&json!({"exp": "never"})) => Malformed;
    another_audience_is_refused: token(&json!({"aud": "https://other.example"})) => OtherAudience;
    other_audiences_are_refused: token(&json!({"aud": ["a", ["https://api.example"]]})) => OtherAudience;
    no_audience_is_refused: token(&json!({"aud": null})) => OtherAudience;
    another_issuer_is_refused: token(&json!({"iss": "https://issuer.example/"})) => OtherIssuer;
    no_issuer_is_refused: token(&json!({"iss": null})) => OtherIssuer;
    an_unknown_key_is_refused: token_with_header(&json!({"alg": "RS256", "kid": "x"})) => UnknownKey;
    no_key_is_refused: token_with_header(&json!({"alg": "RS256"})) => NoKeyId;
    a_key_without_an_algorithm_matches_nothing:
        token_with_header(&json!({"alg": "RS256", "kid": "no alg"})) => WrongAlgorithm;
    another_algorithm_than_the_keys_is_refused:
        token_with_header(&json!({"alg": "RS256", "kid": "RS512"})) => WrongAlgorithm;
    another_kind_of_algorithm_is_refused:
        token_with_header(&json!({"alg": "RS256", "kid": "ES256"})) => WrongAlgorithm;
    none_is_refused: {
        let header = encoded(&json!({"alg": "none", "kid": "RS256"}));
        format!("{header}.{}.", encoded(&claims(&json!({}))))
    } => WrongAlgorithm;
    a_public_key_as_a_secret_is_refused: {
        // Key confusion: everybody has the public key, and would sign with it.
        let modulus = SIGNERS.rsa.public.n.as_ref().unwrap();
        let secret = EncodingKey::from_secret(modulus.as_bytes());
        signed(&json!({"alg": "HS256", "kid": "RS256"}), &claims(&json!({})), &secret, Algorithm::HS256)
    } => WrongAlgorithm;
    critical_extensions_are_refused:
        token_with_header(&json!({"alg": "RS256", "kid": "RS256", "crit": ["b64"], "b64": false})) => CriticalExtension;
    a_null_extension_is_refused:
        token_with_header(&json!({"alg": "RS256", "kid": "RS256", "crit": null})) => CriticalExtension;
    a_header_without_an_algorithm_is_refused: token_with_header(&json!({"kid": "RS256"})) => Malformed;
    a_key_that_is_no_text_is_refused: token_with_header(&json!({"alg": "RS256", "kid": 1})) => Malformed;
    a_header_that_is_no_object_is_refused: token_with_header(&json!(["RS256", "RS256"])) => Malformed;
    claims_that_are_no_object_are_refused: token_of("ES256", &SIGNERS.p256, &json!("alice")) => Malformed;
    garbage_is_refused: "garbage" => Malformed;
    nothing_is_refused: "" => Malformed;
    dots_are_refused: "..." => Malformed;
    what_is_not_base64_is_refused: "*.*.*" => Malformed;
    an_encrypted_token_is_refused: "a.b.c.d.e" => Malformed;
    a_deep_header_is_refused: format!("{}.a.a", URL_SAFE_NO_PAD.encode("[".repeat(10_000))) => Malformed;
    a_token_that_is_too_long_is_refused: "x".repeat(TOKEN_BYTES_MAX + 1) => TooLong;
}

#[test]
fn no_cut_and_no_changed_byte_of_a_token_comes_in() {
    let good = token(&json!({}));
    let guards = known();
    for cut in 0..good.len() {
        assert!(guards.verify(0, &good[..cut], NOW).is_err());
    }
    for at in (0..good.len()).step_by(7) {
        let mut changed = good.clone().into_bytes();
        changed[at] ^= 1;
        let changed = String::from_utf8(changed).unwrap();
        assert!(guards.verify(0, &changed, NOW).is_err(), "{at}");
    }
}

#[test]
fn a_token_tells_who_it_is_and_what_it_may() {
    let verified = verify(&token(&json!({
        "org": {"tenant": "acme"},
        "level": 3,
        "https://issuer.example/staff": true,
        "list": ["no", "text"],
    })))
    .unwrap();
    let expected = Verified {
        identity: Some("alice".into()),
        roles: Some(["read".to_owned(), "write".to_owned()].into()),
        attributes: [("tenant", "acme"), ("level", "3"), ("staff", "true")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .to_vec(),
        issuer: "https://issuer.example".into(),
        expires_at: Some(UnixMillis(NOW.0 + 60_000)),
        challenge: Some(Duration::from_secs(10)),
    };
    assert_eq!(*verified, expected);
    assert_eq!(verified.attribute("level"), Some("3"));
    assert_eq!(verified.attribute("list"), None);
}

#[test]
fn roles_are_a_list_or_words_and_else_there_is_no_claim() {
    let roles = |scope: Value| {
        verify(&token(&json!({"scope": scope})))
            .unwrap()
            .roles
            .clone()
    };
    let both = Some(["a".to_owned(), "b".to_owned()].into());
    assert_eq!(roles(json!(["a", 1, "b"])), both);
    assert_eq!(roles(json!(" b  a\ta ")), both);
    assert_eq!(roles(json!("")), Some([].into()));
    assert_eq!(roles(json!({"a": 1})), None);
    assert_eq!(roles(json!(null)), None);
}

#[test]
fn a_token_without_an_identity_comes_in_without_one() {
    let identity = |sub: Value| {
        verify(&token(&json!({"sub": sub})))
            .unwrap()
            .identity
            .clone()
    };
    assert_eq!(identity(json!(null)), None);
    assert_eq!(identity(json!(1)), None);
}

#[test]
fn what_is_refused_says_why_without_the_token() {
    let bad = token(&json!({"sub": "secret", "exp": 1}));
    let refused = verify(&bad).unwrap_err().to_string();
    assert_eq!(refused, "expired");
}

#[test]
fn a_known_token_is_not_verified_again_and_still_expires() {
    let guards = known();
    let token = token(&json!({}));
    let first = guards.verify(0, &token, NOW).unwrap();
    assert!(Rc::ptr_eq(&first, &guards.verify(0, &token, NOW).unwrap()));
    let end = UnixMillis(NOW.0 + 60_000);
    assert_eq!(guards.verify(0, &token, end), Err(Refused::Expired));
    assert_eq!(guards.verify(0, &token, end), Err(Refused::Expired));
}

/// The set of keys that an issuer publishes.
fn published(keys: &[Value]) -> Arc<KeySet> {
    Arc::new(KeySet::parse(json!({"keys": keys}).to_string().as_bytes()).unwrap())
}

fn published_key(signer: &Signer, kid: &str) -> Value {
    let public = &signer.public;
    json!({
        "kty": public.kty, "kid": kid, "use": "sig", "crv": public.crv,
        "n": public.n, "e": public.e, "x": public.x, "y": public.y,
    })
}

fn fetched() -> Guards {
    guards(JwtKeys::Url("https://issuer.example/keys".into()))
}

#[test]
fn keys_that_are_not_there_yet_are_not_the_clients_fault() {
    let guards = fetched();
    let refused = guards.verify(0, &token(&json!({})), NOW);
    assert_eq!(refused, Err(Refused::KeysUnavailable));
    assert!(!guards.wants_keys(0), "they are being fetched anyway");
}

#[test]
fn a_fetched_key_without_an_algorithm_is_good_for_all_of_its_kind() {
    let guards = fetched();
    guards.set_keys(0, published(&[published_key(&SIGNERS.rsa, "key")]));
    let claims = claims(&json!({}));
    for (alg, algorithm) in [("RS256", Algorithm::RS256), ("PS512", Algorithm::PS512)] {
        let header = json!({"alg": alg, "kid": "key"});
        let token = signed(&header, &claims, &SIGNERS.rsa.private, algorithm);
        assert!(guards.verify(0, &token, NOW).is_ok(), "{alg}");
    }
    let header = json!({"alg": "ES256", "kid": "key"});
    let token = signed(&header, &claims, &SIGNERS.p256.private, Algorithm::ES256);
    assert_eq!(guards.verify(0, &token, NOW), Err(Refused::WrongAlgorithm));
}

#[test]
fn keys_of_two_kinds_may_share_a_name() {
    let guards = fetched();
    let keys = [&SIGNERS.rsa, &SIGNERS.p256].map(|signer| published_key(signer, "ES256"));
    guards.set_keys(0, published(&keys));
    assert!(guards.verify(0, &token(&json!({})), NOW).is_ok());
}

#[test]
fn a_new_set_of_keys_forgets_what_the_old_one_verified() {
    let guards = fetched();
    let old = [published_key(&SIGNERS.p256, "ES256")];
    guards.set_keys(0, published(&old));
    let token = token(&json!({}));
    let first = guards.verify(0, &token, NOW).unwrap();
    guards.set_keys(0, published(&old));
    let same = guards.verify(0, &token, NOW).unwrap();
    assert!(Rc::ptr_eq(&first, &same), "equal keys forget nothing");
    guards.set_keys(0, published(&[published_key(&SIGNERS.rsa, "new")]));
    assert_eq!(guards.verify(0, &token, NOW), Err(Refused::UnknownKey));
}

#[test]
fn an_unknown_key_asks_for_fresh_ones_every_thirty_seconds_at_most() {
    let guards = fetched();
    guards.set_keys(0, published(&[]));
    let token = token(&json!({}));
    let asks = |after: i64| {
        let now = UnixMillis(NOW.0 + after);
        assert_eq!(guards.verify(0, &token, now), Err(Refused::UnknownKey));
        guards.wants_keys(0)
    };
    assert!(asks(0));
    assert!(!asks(29_999));
    assert!(asks(30_000));
    assert!(!asks(30_001));
    assert!(asks(-100_000), "a clock that was set back");
    assert!(!guards.wants_keys(0));
    assert!(!guards.wants_keys(7));
}

#[test]
fn keys_of_the_configuration_are_neither_wanted_nor_replaced() {
    let guards = known();
    guards.set_keys(0, published(&[]));
    assert!(guards.verify(0, &token(&json!({})), NOW).is_ok());
    let unknown = token_with_header(&json!({"alg": "RS256", "kid": "x"}));
    assert!(guards.verify(0, &unknown, NOW).is_err());
    assert!(!guards.wants_keys(0));
}

#[test]
fn a_guard_that_is_not_there_lets_nobody_in() {
    let refused = known().verify(1, &token(&json!({})), NOW);
    assert_eq!(refused, Err(Refused::NoGuard));
    let none: [Vec<u8>; 0] = [];
    assert_eq!(known().verify_chain(0, &none, NOW), Err(Refused::Malformed));
}

/// A change to a key, and what is wrong then.
type Row = (fn(&mut JwkSource), JwkFault);

fn fault(change: impl FnOnce(&mut JwkSource), of: &Signer) -> Option<JwkFault> {
    let mut source = of.public.clone();
    change(&mut source);
    Jwk::new(&source).err()
}

#[test]
fn an_rsa_key_is_taken_in_both_alphabets_and_with_padding() {
    let plain = |key: &mut JwkSource| {
        let bytes = URL_SAFE_NO_PAD.decode(key.n.as_ref().unwrap()).unwrap();
        key.n = Some(STANDARD.encode([&[0], &bytes[..]].concat()));
        key.e = Some("AQAB".into());
        key.alg = Some("RS256".into());
    };
    assert_eq!(fault(plain, &SIGNERS.rsa), None);
}

#[test]
fn a_weak_or_broken_rsa_key_is_refused() {
    let with_n = |bytes: usize| fault(|key| key.n = Some(base64(&vec![0xff; bytes])), &SIGNERS.rsa);
    assert_eq!(with_n(128), Some(JwkFault::RsaSize { bits: 1024 }));
    assert_eq!(with_n(0), Some(JwkFault::RsaSize { bits: 0 }));
    assert_eq!(with_n(256), None);
    assert_eq!(with_n(1025), Some(JwkFault::RsaSize { bits: 8200 }));
    for exponent in [&[][..], &[0], &[1], &[4], &[1, 0, 0, 0, 1]] {
        let fault = fault(|key| key.e = Some(base64(exponent)), &SIGNERS.rsa);
        assert_eq!(fault, Some(JwkFault::RsaExponent), "{exponent:?}");
    }
    let fault = |change: fn(&mut JwkSource)| fault(change, &SIGNERS.rsa);
    assert_eq!(fault(|key| key.n = None), Some(JwkFault::Missing("n")));
    let broken = fault(|key| key.e = Some("*".into()));
    assert_eq!(broken, Some(JwkFault::NotBase64("e")));
}

#[test]
fn a_key_must_fit_its_kind_its_curve_its_use_and_its_algorithm() {
    let p256 = |change: fn(&mut JwkSource)| fault(change, &SIGNERS.p256);
    let rows: [Row; 10] = [
        (|key| key.kty = "oct".into(), JwkFault::UnknownKind),
        (|key| key.crv = Some("P-521".into()), JwkFault::UnknownCurve),
        (
            |key| key.crv = Some("Ed25519".into()),
            JwkFault::UnknownCurve,
        ),
        (|key| key.crv = None, JwkFault::Missing("crv")),
        (
            |key| key.crv = Some("P-384".into()),
            JwkFault::WrongSize("x"),
        ),
        (|key| key.y = Some("AQAB".into()), JwkFault::WrongSize("y")),
        (
            |key| key.usage = Some("enc".into()),
            JwkFault::NotForSignatures,
        ),
        (
            |key| key.alg = Some("HS256".into()),
            JwkFault::UnknownAlgorithm,
        ),
        (
            |key| key.alg = Some("none".into()),
            JwkFault::UnknownAlgorithm,
        ),
        (
            |key| key.alg = Some("RS256".into()),
            JwkFault::AlgorithmDoesNotFit,
        ),
    ];
    for (change, expected) in rows {
        assert_eq!(p256(change), Some(expected));
    }
    let longer = |key: &mut JwkSource| key.x = Some(base64(&[0; 33]));
    assert_eq!(
        fault(longer, &SIGNERS.ed25519),
        Some(JwkFault::WrongSize("x"))
    );
}

#[test]
fn a_key_in_the_configuration_that_is_wrong_is_named() {
    let guard = Guard {
        namespace: "test".into(),
        name: "jwt".into(),
        kind: GuardKind::Jwt(JwtGuard {
            issuer: String::new(),
            audience: String::new(),
            keys: JwtKeys::Inline(vec![SIGNERS.p256.public.clone(), source("oct", "a")]),
            roles: Vec::new(),
            identity: Vec::new(),
            attributes: Vec::new(),
            challenge: None,
        }),
    };
    assert_eq!(
        Guards::new(&[guard]).unwrap_err().to_string(),
        "guard test:jwt: keys[1] is of a kind that is not known (`RSA`, `EC`, `OKP`)"
    );
}

#[test]
fn a_published_set_leaves_out_what_it_does_not_know() {
    let with = |changes: Value| {
        let mut key = published_key(&SIGNERS.p256, "key");
        for (name, value) in changes.as_object().unwrap() {
            key[name] = value.clone();
        }
        key
    };
    let set = published(&[
        with(json!({})),
        with(json!({"key_ops": ["sign", "verify"], "x5c": ["a"], "new": {}})),
        with(json!({"use": "enc"})),
        with(json!({"use": 1})),
        with(json!({"key_ops": ["sign"]})),
        with(json!({"kid": null})),
        with(json!({"kty": "oct", "k": "AQAB"})),
        with(json!({"crv": "secp256k1"})),
        with(json!({"alg": "HS256"})),
        with(json!({"alg": 1})),
        json!("text"),
    ]);
    assert_eq!((set.len(), set.skipped()), (2, 9));
    assert!(!set.is_empty());
}

#[test]
fn a_published_set_is_bounded_and_has_a_form() {
    let parse = |text: &str| KeySet::parse(text.as_bytes()).err();
    let not_one = Some(KeySetFault::NotAKeySet);
    for text in [
        "",
        "{}",
        "[]",
        "<html>",
        r#"{"keys":{}}"#,
        r#"{"keys":null}"#,
    ] {
        assert_eq!(parse(text), not_one, "{text}");
    }
    assert_eq!(parse(r#"{"keys":[],"more":1}"#), None);
    let many = |count: usize| format!(r#"{{"keys":[{}]}}"#, vec!["0"; count].join(","));
    assert_eq!(parse(&many(KEYS_MAX)), None);
    assert_eq!(parse(&many(KEYS_MAX + 1)), Some(KeySetFault::TooManyKeys));
    let long = " ".repeat(KEY_SET_BYTES_MAX + 1);
    assert_eq!(parse(&long), Some(KeySetFault::TooLarge));
}
