//! Who is trusted: authorities, and certificates that are trusted as they are.
//!
//! Under servers and clients. rustls takes authorities alone, and refuses a certificate that is its own authority; Java takes whatever is in the trust store, also the peer's
//! very certificate. Its one rule: one that is trusted as it is still has to be valid now, and is for the server's name like any other.

use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore,
    SignatureScheme,
};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::keystore::TrustEntry;
use super::{SetupFault, provider};
use crate::clock::UnixMillis;

/// The certificates of `entries`, and those of the system that rustls can use.
fn roots(
    entries: &[Arc<TrustEntry>],
    system: &[CertificateDer<'static>],
) -> Result<Arc<RootCertStore>, SetupFault> {
    let mut roots = RootCertStore::empty();
    for entry in entries {
        roots
            .add(entry.certificate.clone())
            .map_err(|error| SetupFault::BadTrust {
                alias: entry.alias.clone(),
                error,
            })?;
    }
    // A system has hundreds, and always an odd one among them.
    roots.add_parsable_certificates(system.iter().cloned());
    if roots.is_empty() {
        return Err(SetupFault::NoTrust);
    }
    Ok(Arc::new(roots))
}

/// Certificates that are trusted as they are.
#[derive(Debug)]
struct Pinned(Vec<Arc<TrustEntry>>);

impl Pinned {
    /// Whether it is one of them; an error when it is, and its time has passed or not come.
    fn check(&self, certificate: &CertificateDer<'_>, now: UnixTime) -> Result<bool, Error> {
        if !self.0.iter().any(|entry| entry.certificate == *certificate) {
            return Ok(false);
        }
        let (_, parsed) = X509Certificate::from_der(certificate)
            .map_err(|_| Error::from(CertificateError::BadEncoding))?;
        let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        if now < parsed.validity().not_before.timestamp() {
            return Err(CertificateError::NotValidYet.into());
        }
        if now > parsed.validity().not_after.timestamp() {
            return Err(CertificateError::Expired.into());
        }
        Ok(true)
    }
}

/// Verifies clients' certificates.
#[derive(Debug)]
pub(super) struct ClientVerifier {
    pinned: Pinned,
    webpki: Arc<dyn ClientCertVerifier>,
    is_mandatory: bool,
}

impl ClientVerifier {
    /// Trusts `entries`; clients must show a certificate if `is_mandatory`.
    pub(super) fn new(
        entries: Vec<Arc<TrustEntry>>,
        is_mandatory: bool,
    ) -> Result<Self, SetupFault> {
        let roots = roots(&entries, &[])?;
        let webpki = WebPkiClientVerifier::builder_with_provider(roots, provider().clone())
            .build()
            .map_err(|_| SetupFault::NoTrust)?;
        Ok(Self {
            pinned: Pinned(entries),
            webpki,
            is_mandatory,
        })
    }

    /// Whether it trusts exactly `entries`.
    pub(super) fn trusts(&self, entries: &[Arc<TrustEntry>]) -> bool {
        self.pinned.0 == entries
    }

    /// Whether `certificates`, a client's own first, are trusted at `now`.
    pub(super) fn vouches_for(
        &self,
        certificates: &[CertificateDer<'static>],
        now: UnixMillis,
    ) -> bool {
        let since_epoch = Duration::from_millis(u64::try_from(now.0).unwrap_or(0));
        certificates.split_first().is_some_and(|(own, others)| {
            let now = UnixTime::since_unix_epoch(since_epoch);
            self.verify_client_cert(own, others, now).is_ok()
        })
    }
}

impl ClientCertVerifier for ClientVerifier {
    fn client_auth_mandatory(&self) -> bool {
        self.is_mandatory
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.webpki.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if self.pinned.check(end_entity, now)? {
            return Ok(ClientCertVerified::assertion());
        }
        self.webpki
            .verify_client_cert(end_entity, intermediates, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.webpki.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.webpki.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.webpki.supported_verify_schemes()
    }
}

/// Verifies servers' certificates and names.
#[derive(Debug)]
pub(super) struct ServerVerifier {
    pinned: Pinned,
    webpki: Arc<WebPkiServerVerifier>,
}

impl ServerVerifier {
    /// Trusts `entries` and, as authorities, `system`.
    pub(super) fn new(
        entries: Vec<Arc<TrustEntry>>,
        system: &[CertificateDer<'static>],
    ) -> Result<Self, SetupFault> {
        let roots = roots(&entries, system)?;
        let webpki = WebPkiServerVerifier::builder_with_provider(roots, provider().clone())
            .build()
            .map_err(|_| SetupFault::NoTrust)?;
        Ok(Self {
            pinned: Pinned(entries),
            webpki,
        })
    }
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.pinned.check(end_entity, now)? {
            verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
            return Ok(ServerCertVerified::assertion());
        }
        self.webpki
            .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.webpki.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.webpki.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.webpki.supported_verify_schemes()
    }
}
