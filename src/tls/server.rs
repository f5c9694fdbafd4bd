//! A TLS server: the configurations that its handshakes get, and the routes that its connections take.
//!
//! Made once from its part of the plan and shared by all cores, so that a session begun on one is resumed on any other.
//! Its one rule: rustls is given one protocol at most, the one that was chosen from the client's hello; with a list it would choose in the
//! server's order, and fail where nothing is in common.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ClientHello, NoClientAuth, ServerSessionMemoryCache};

use super::identity::Identities;
use super::keystore::TrustEntry;
use super::route::{self, Peer};
use super::trust::ClientVerifier;
use super::{SetupFault, provider, versions};
use crate::clock::UnixMillis;
use crate::config::{Guarded, Mutual, TlsExit, TlsServer};

/// Sessions of TLS 1.2 clients that take no tickets; the oldest goes when there are more. All others keep their sessions themselves, as tickets.
const SESSIONS_MAX: usize = 1024;

/// A TLS server.
#[derive(Debug)]
pub struct Server {
    plan: Arc<TlsServer>,
    /// Without a protocol.
    plain: Arc<ServerConfig>,
    /// By protocol, all that the plan names.
    by_protocol: BTreeMap<String, Arc<ServerConfig>>,
    /// One per list of the plan that trusts less than the handshake does; none when there is but one list.
    verifiers: Vec<ClientVerifier>,
}

/// What a handshake goes on with.
#[derive(Clone, Debug)]
pub struct Choice {
    /// The configuration.
    pub config: Arc<ServerConfig>,
}

/// Why a client is turned away at its hello.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It asks for a name that is not in `options.sni`.
    UnknownName(String),
    /// It asks for no name, and `options.sni` has some.
    NoName,
}

impl Refused {
    /// The record that tells the client: a fatal `unrecognized_name` (RFC 6066 3), in the clear like the hello.
    pub const fn alert(&self) -> [u8; 7] {
        match self {
            Self::UnknownName(_) | Self::NoName => [21, 3, 3, 0, 2, 2, 112],
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownName(name) => write!(
                formatter,
                "the client asks for `{name}`, which is not in `sni`"
            ),
            Self::NoName => formatter.write_str("the client asks for no name, and `sni` has some"),
        }
    }
}

impl std::error::Error for Refused {}

impl Server {
    /// Makes the server of a plan.
    ///
    /// # Errors
    ///
    /// Keys and certificates that cannot be used; clients' certificates asked for and nobody trusted.
    pub fn new(plan: Arc<TlsServer>) -> Result<Self, SetupFault> {
        let trust = all_trust(&plan);
        let mutual = asked(&plan);
        let verifier: Arc<dyn ClientCertVerifier> = match mutual {
            Mutual::None => Arc::new(NoClientAuth),
            Mutual::Requested | Mutual::Required => Arc::new(ClientVerifier::new(
                trust.clone(),
                mutual == Mutual::Required,
            )?),
        };
        let mut config = ServerConfig::builder_with_provider(provider().clone())
            .with_protocol_versions(versions(plan.versions))
            .map_err(SetupFault::Rustls)?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::new(Identities::new(&plan.keys)?));
        config.ticketer = Ticketer::new().map_err(SetupFault::Rustls)?;
        config.session_storage = ServerSessionMemoryCache::new(SESSIONS_MAX);
        let verifiers = if mutual == Mutual::None {
            Vec::new()
        } else {
            narrower_verifiers(&plan, &trust)?
        };
        Ok(Self {
            by_protocol: protocols(&plan)
                .map(|protocol| (protocol.to_owned(), with_protocol(&config, protocol)))
                .collect(),
            plain: Arc::new(config),
            verifiers,
            plan,
        })
    }

    /// Its part of the plan.
    pub fn plan(&self) -> &Arc<TlsServer> {
        &self.plan
    }

    /// What a client that says `hello` on `port` (as configured) goes on with.
    ///
    /// # Errors
    ///
    /// [`Refused`] when it asks for a name that this server does not have.
    pub fn choose(&self, hello: &ClientHello<'_>, port: u16) -> Result<Choice, Refused> {
        let server_name = hello.server_name().map(str::to_ascii_lowercase);
        if !self.plan.sni.is_empty() {
            let name = server_name.as_ref().ok_or(Refused::NoName)?;
            if !self.plan.sni.contains(name) {
                return Err(Refused::UnknownName(name.clone()));
            }
        }
        let offered = hello.alpn().into_iter().flatten();
        let protocol = route::choose_protocol(&self.plan, server_name.as_deref(), port, offered);
        let config = protocol.map_or_else(
            || self.plain.clone(),
            |protocol| {
                let known = self.by_protocol.get(protocol).cloned();
                // An echo takes whatever a client thinks of: that is not worth keeping.
                known.unwrap_or_else(|| with_protocol(&self.plain, protocol))
            },
        );
        Ok(Choice { config })
    }

    /// Where the connection of `peer` goes at `now`; the first route that matches. `None`: nowhere, it is closed.
    ///
    /// `is_authorized` says whether guards let it pass; it is asked only for routes that have some and match otherwise.
    pub fn route(
        &self,
        peer: &Peer,
        now: UnixMillis,
        is_authorized: impl Fn(&[Guarded]) -> bool,
    ) -> Option<&TlsExit> {
        let vouch = |entries: &[Arc<TrustEntry>]| {
            // With one list the handshake has verified the certificate by it.
            let mut verifiers = self.verifiers.iter();
            self.verifiers.is_empty()
                || verifiers.any(|verifier| {
                    verifier.trusts(entries) && verifier.vouches_for(&peer.certificates, now)
                })
        };
        route::choose(&self.plan, peer, vouch, is_authorized)
    }
}

/// A configuration shares all but the protocol: keys, verifier, tickets and sessions.
fn with_protocol(config: &ServerConfig, protocol: &str) -> Arc<ServerConfig> {
    let mut config = config.clone();
    config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
    Arc::new(config)
}

/// The protocols that clients can be expected to settle on.
fn protocols(plan: &TlsServer) -> impl Iterator<Item = &str> {
    let of_routes = plan.routes.iter().flat_map(|route| &route.when);
    let of_routes = of_routes.filter_map(|when| when.alpn.as_deref());
    let spoken = plan.alpn.iter().map(String::as_str);
    spoken.chain(of_routes).chain(["h2", "http/1.1"])
}

/// The lists of those who may have signed a client's certificate: the server's own, then those of its routes.
fn trust_lists(plan: &TlsServer) -> impl Iterator<Item = &Vec<Arc<TrustEntry>>> {
    let of_routes = plan.routes.iter().flat_map(|route| &route.when);
    let lists = std::iter::once(&plan.trust).chain(of_routes.map(|when| &when.trust));
    lists.filter(|list| !list.is_empty())
}

/// All of whom may have signed a client's certificate, each once.
fn all_trust(plan: &TlsServer) -> Vec<Arc<TrustEntry>> {
    let mut all = Vec::new();
    for entry in trust_lists(plan).flatten() {
        if !all.contains(entry) {
            all.push(entry.clone());
        }
    }
    all
}

/// Whether clients are asked for certificates: also when only a route has a use for them.
fn asked(plan: &TlsServer) -> Mutual {
    let mut conditions = plan.routes.iter().flat_map(|route| &route.when);
    let is_of_use = conditions.any(|when| when.mutual == Some(true) || !when.trust.is_empty());
    if plan.mutual == Mutual::None && is_of_use {
        Mutual::Requested
    } else {
        plan.mutual
    }
}

/// A verifier for each list, if some list is less than `all`.
fn narrower_verifiers(
    plan: &TlsServer,
    all: &[Arc<TrustEntry>],
) -> Result<Vec<ClientVerifier>, SetupFault> {
    let mut verifiers: Vec<ClientVerifier> = Vec::new();
    if trust_lists(plan).all(|list| list == all) {
        return Ok(verifiers);
    }
    for list in trust_lists(plan) {
        if !verifiers.iter().any(|verifier| verifier.trusts(list)) {
            verifiers.push(ClientVerifier::new(list.clone(), true)?);
        }
    }
    Ok(verifiers)
}
