//! A TLS client: whom it trusts, what it shows, and the name it asks for.
//!
//! Made once from its part of the plan and shared by all cores. Its one rule: the server's certificate is always verified, and for the name that was asked for.

use std::sync::{Arc, OnceLock};

use rustls::ClientConfig;
use rustls::pki_types::{CertificateDer, ServerName};

use super::identity::Identities;
use super::trust::ServerVerifier;
use super::{SetupFault, provider, versions};
use crate::config::TlsClient;

/// A TLS client.
#[derive(Debug)]
pub struct Client {
    config: Arc<ClientConfig>,
    sni: Option<String>,
}

/// A host that cannot be in a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadName(pub String);

impl std::fmt::Display for BadName {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "`{}` is neither a name nor an address", self.0)
    }
}

impl std::error::Error for BadName {}

impl Client {
    /// Makes the client of a plan. The system's certificates are read when one needs them for the first time, and kept; that blocks.
    ///
    /// # Errors
    ///
    /// Keys and certificates that cannot be used; nobody to trust.
    pub fn new(plan: &TlsClient) -> Result<Self, SetupFault> {
        let system = if plan.trust_system {
            system_trust()?
        } else {
            &[]
        };
        let verifier = ServerVerifier::new(plan.trust.clone(), system)?;
        let mut config = ClientConfig::builder_with_provider(provider().clone())
            .with_protocol_versions(versions(plan.versions))
            .map_err(SetupFault::Rustls)?
            // Stricter than rustls' own in nothing, and wider only in what it takes as trusted.
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_cert_resolver(Arc::new(Identities::new(&plan.keys)?));
        config.alpn_protocols = plan
            .alpn
            .iter()
            .map(|one| one.as_bytes().to_vec())
            .collect();
        Ok(Self {
            config: Arc::new(config),
            sni: plan.sni.clone(),
        })
    }

    /// The configuration of its connections.
    pub fn config(&self) -> &Arc<ClientConfig> {
        &self.config
    }

    /// The name to ask `host` for, and to find in its certificate: the plan's `sni`, else the host's own.
    ///
    /// # Errors
    ///
    /// [`BadName`] when that can be no server's name.
    pub fn server_name(&self, host: &str) -> Result<ServerName<'static>, BadName> {
        let name = self.sni.as_deref().unwrap_or(host);
        // RFC 6066 3: without the dot at the end. IPv6 addresses may stand in brackets.
        let bare = name.strip_suffix('.').unwrap_or(name);
        let bare = bare.trim_matches(['[', ']']);
        ServerName::try_from(bare.to_owned()).map_err(|_| BadName(name.to_owned()))
    }
}

/// Whom this system trusts.
fn system_trust() -> Result<&'static [CertificateDer<'static>], SetupFault> {
    static FOUND: OnceLock<Result<Vec<CertificateDer<'static>>, String>> = OnceLock::new();
    let found = FOUND.get_or_init(|| {
        let found = rustls_native_certs::load_native_certs();
        if found.certs.is_empty() {
            let problem = found.errors.first();
            return Err(problem.map_or_else(|| "there are none".to_owned(), ToString::to_string));
        }
        Ok(found.certs)
    });
    match found {
        Ok(certificates) => Ok(certificates),
        Err(problem) => Err(SetupFault::NoSystemTrust(problem.clone())),
    }
}
