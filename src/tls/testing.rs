//! Plans, authorities and keys for the tests of TLS; made while they run.

use std::sync::Arc;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair,
    PKCS_ECDSA_P256_SHA256, SignatureAlgorithm, date_time_ymd,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::keystore::{KeyEntry, TrustEntry};
use crate::config::{
    AccessControl, EchoServer, HttpLimits, HttpServer, HttpVersions, MetricSet, Mutual, TlsClient,
    TlsExit, TlsRoute, TlsServer, TlsVersions, TlsWhen,
};
use crate::route::{Braces, Glob};

/// Who signs certificates.
pub(crate) struct Authority {
    name: String,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        Self {
            name: name.to_lowercase(),
            issuer: CertifiedIssuer::self_signed(params, key).unwrap(),
        }
    }

    /// Its own certificate, to be trusted.
    pub(crate) fn trust(&self) -> Arc<TrustEntry> {
        Arc::new(TrustEntry {
            alias: self.name.clone(),
            certificate: self.issuer.der().clone(),
        })
    }

    /// Its name as it stands in certificates.
    pub(crate) fn subject(&self) -> Vec<u8> {
        let (_, parsed) = X509Certificate::from_der(self.issuer.der()).unwrap();
        parsed.subject().as_raw().to_vec()
    }

    /// A key for `names`.
    pub(crate) fn key(&self, alias: &str, names: &[&str]) -> Arc<KeyEntry> {
        self.key_of(&PKCS_ECDSA_P256_SHA256, alias, names)
    }

    pub(crate) fn key_of(
        &self,
        algorithm: &'static SignatureAlgorithm,
        alias: &str,
        names: &[&str],
    ) -> Arc<KeyEntry> {
        self.sign(
            alias,
            &KeyPair::generate_for(algorithm).unwrap(),
            &params(names),
        )
    }

    /// A key whose certificate has expired.
    pub(crate) fn expired(&self, alias: &str, names: &[&str]) -> Arc<KeyEntry> {
        let mut params = params(names);
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2021, 1, 1);
        self.sign(alias, &KeyPair::generate().unwrap(), &params)
    }

    fn sign(&self, alias: &str, key: &KeyPair, params: &CertificateParams) -> Arc<KeyEntry> {
        let certificate = params.signed_by(key, &self.issuer).unwrap();
        key_entry(alias, key, certificate.der())
    }
}

/// A key whose certificate is its own authority, as `openssl req -x509` makes them.
pub(crate) fn self_signed(alias: &str, names: &[&str]) -> Arc<KeyEntry> {
    let key = KeyPair::generate().unwrap();
    let mut params = params(names);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let certificate = params.self_signed(&key).unwrap();
    key_entry(alias, &key, certificate.der())
}

fn params(names: &[&str]) -> CertificateParams {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    CertificateParams::new(names).unwrap()
}

fn key_entry(alias: &str, key: &KeyPair, certificate: &CertificateDer<'static>) -> Arc<KeyEntry> {
    Arc::new(KeyEntry {
        alias: alias.into(),
        key: PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der())),
        chain: vec![certificate.clone()],
    })
}

/// The certificate of a key, to be trusted as it is.
pub(crate) fn pinned(entry: &KeyEntry) -> Arc<TrustEntry> {
    Arc::new(TrustEntry {
        alias: entry.alias.clone(),
        certificate: entry.chain[0].clone(),
    })
}

/// An entry that nothing but its alias is looked at of.
pub(crate) fn entry(alias: &str) -> Arc<TrustEntry> {
    Arc::new(TrustEntry {
        alias: alias.into(),
        certificate: CertificateDer::from(alias.as_bytes().to_vec()),
    })
}

pub(crate) fn glob(text: &str) -> Glob {
    Glob::parse(text, Braces::Literal).unwrap()
}

/// A server that any client may speak to.
pub(crate) fn server(routes: Vec<TlsRoute>) -> TlsServer {
    TlsServer {
        namespace: "test".into(),
        name: "tls".into(),
        number: 0,
        metrics: MetricSet::default(),
        keys: Vec::new(),
        trust: Vec::new(),
        sni: Vec::new(),
        alpn: Vec::new(),
        versions: TlsVersions::All,
        mutual: Mutual::None,
        guard: None,
        handshake_timeout: Duration::from_secs(10),
        routes,
    }
}

/// A client that trusts `trust` and shows nothing.
pub(crate) fn client(trust: Vec<Arc<TrustEntry>>) -> TlsClient {
    TlsClient {
        namespace: "test".into(),
        name: "tls".into(),
        keys: Vec::new(),
        trust,
        trust_system: false,
        sni: None,
        alpn: Vec::new(),
        versions: TlsVersions::All,
    }
}

/// A route to an echo of this name.
pub(crate) fn route(name: &str, when: Vec<TlsWhen>) -> TlsRoute {
    TlsRoute {
        guarded: Vec::new(),
        when,
        exit: TlsExit::Echo(Arc::new(EchoServer {
            namespace: "test".into(),
            name: name.into(),
            metrics: MetricSet::default(),
        })),
    }
}

/// A route without conditions to an http server.
pub(crate) fn http(name: &str, versions: HttpVersions) -> TlsRoute {
    let server = HttpServer {
        namespace: "test".into(),
        name: name.into(),
        overrides: Vec::new(),
        number: 0,
        metrics: MetricSet::default(),
        versions,
        authorization: None,
        access_control: AccessControl::SameOrigin,
        limits: HttpLimits::default(),
        routes: Vec::new(),
    };
    TlsRoute {
        exit: TlsExit::Http(Arc::new(server)),
        ..route(name, Vec::new())
    }
}

/// The name of what a route leads to.
pub(crate) fn exit_of(exit: &TlsExit) -> String {
    match exit {
        TlsExit::Echo(echo) => echo.name.clone(),
        TlsExit::Http(http) => http.name.clone(),
    }
}
