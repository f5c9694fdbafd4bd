//! Which protocol a handshake settles on and which route its connection takes: pure functions over the plan.
//!
//! Under [`super::server`]. Its one rule: a certificate opens a route only if it is trusted for that route. What a route's own `trust` vouches for is
//! no certificate at all on the routes beside it.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use rustls::pki_types::CertificateDer;

use super::keystore::TrustEntry;
use crate::config::{Guarded, HttpVersions, Mutual, TlsExit, TlsRoute, TlsServer, TlsWhen};

/// What a handshake came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peer {
    /// The name that the client asked for, lower case.
    pub server_name: Option<String>,
    /// The protocol agreed on.
    pub alpn: Option<String>,
    /// The client's verified certificate and what it sent to vouch for it; empty: none was shown.
    pub certificates: Vec<CertificateDer<'static>>,
    /// The local port as configured, which the plan's routes speak of.
    pub port: u16,
}

/// The first protocol, in the client's order, that the server speaks and some route takes (RFC 7301 3.2). `None`: the handshake goes on without one.
pub(super) fn choose_protocol<'o>(
    server: &TlsServer,
    server_name: Option<&str>,
    port: u16,
    offered: impl Iterator<Item = &'o [u8]>,
) -> Option<&'o str> {
    offered
        .filter_map(|protocol| std::str::from_utf8(protocol).ok())
        .find(|protocol| {
            let is_spoken = server.alpn.is_empty() || server.alpn.iter().any(|one| one == protocol);
            let mut routes = server.routes.iter();
            is_spoken && routes.any(|route| takes(route, server_name, port, protocol))
        })
}

/// Whether connections that settle on `protocol` may come to this route.
fn takes(route: &TlsRoute, server_name: Option<&str>, port: u16, protocol: &str) -> bool {
    let understands = |when: &TlsWhen| {
        let asked = when.alpn.as_deref();
        asked.map_or_else(|| speaks(&route.exit, protocol), |alpn| alpn == protocol)
    };
    if route.when.is_empty() {
        return speaks(&route.exit, protocol);
    }
    let mut alternatives = route.when.iter();
    alternatives.any(|when| {
        matches_name(when, server_name) && matches_port(when, port) && understands(when)
    })
}

/// Whether an exit that no condition speaks for can go on in `protocol`; an agreement that it cannot keep would be worse than none.
fn speaks(exit: &TlsExit, protocol: &str) -> bool {
    match exit {
        TlsExit::Echo(_) => true,
        TlsExit::Http(server) => match server.versions {
            HttpVersions::Both => matches!(protocol, "h2" | "http/1.1"),
            HttpVersions::Http11 => protocol == "http/1.1",
            HttpVersions::H2 => protocol == "h2",
        },
    }
}

/// The first route that `peer` may take. `vouch` says whether its certificates are trusted by a list of the plan's, `is_authorized` whether guards let it pass.
pub(super) fn choose<'p>(
    server: &'p TlsServer,
    peer: &Peer,
    vouch: impl Fn(&[Arc<TrustEntry>]) -> bool,
    is_authorized: impl Fn(&[Guarded]) -> bool,
) -> Option<&'p TlsExit> {
    let is_trusted = |entries: &[Arc<TrustEntry>]| {
        !peer.certificates.is_empty() && !entries.is_empty() && vouch(entries)
    };
    let matches = |when: &TlsWhen| {
        matches_name(when, peer.server_name.as_deref())
            && matches_port(when, peer.port)
            && (when.alpn.is_none() || when.alpn == peer.alpn)
            && matches_certificate(when, server, is_trusted)
    };
    let any = TlsWhen::default();
    let found = server.routes.iter().find(|route| {
        let may = if route.when.is_empty() {
            matches(&any)
        } else {
            route.when.iter().any(matches)
        };
        may && (route.guarded.is_empty() || is_authorized(&route.guarded))
    });
    found.map(|route| &route.exit)
}

fn matches_name(when: &TlsWhen, server_name: Option<&str>) -> bool {
    when.authority.as_ref().is_none_or(|authority| {
        server_name.is_some_and(|server_name| authority.matches(server_name.as_bytes()))
    })
}

fn matches_port(when: &TlsWhen, port: u16) -> bool {
    when.ports.is_empty() || when.ports.iter().any(|ports| ports.contains(&port))
}

fn matches_certificate(
    when: &TlsWhen,
    server: &TlsServer,
    is_trusted: impl Fn(&[Arc<TrustEntry>]) -> bool,
) -> bool {
    if !when.trust.is_empty() {
        return is_trusted(&when.trust);
    }
    match (when.mutual, server.mutual) {
        (Some(true), _) | (None, Mutual::Required) => is_trusted(&server.trust),
        (Some(false), _) => !is_trusted(&server.trust),
        (None, Mutual::None | Mutual::Requested) => true,
    }
}
