//! Which protocol a handshake settles on and which route its connection takes: pure functions over the plan.
//!
//! Under [`super::server`]. Its one rule: a certificate opens a route only if it is trusted for that route. What a route's own `trust` vouches for is
//! no certificate at all on the routes beside it.

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::testing::{entry, exit_of, glob, http, route, server};

    /// Who of `trusted` vouches for the peer's certificate.
    fn taken(server: &TlsServer, peer: &Peer, trusted: &str) -> Option<String> {
        let vouch = |entries: &[Arc<TrustEntry>]| entries.iter().any(|one| one.alias == trusted);
        choose(server, peer, vouch, |_| true).map(exit_of)
    }

    fn peer() -> Peer {
        Peer {
            port: 443,
            ..Peer::default()
        }
    }

    fn with_certificate() -> Peer {
        Peer {
            certificates: vec![CertificateDer::from(vec![1])],
            ..peer()
        }
    }

    #[test]
    fn the_first_route_whose_conditions_hold_is_taken() {
        let authority = TlsWhen {
            authority: Some(glob("*.a.test")),
            ..TlsWhen::default()
        };
        let alpn = TlsWhen {
            alpn: Some("h2".into()),
            ..TlsWhen::default()
        };
        let ports = TlsWhen {
            ports: vec![8000..=8010, 9000..=9000],
            ..TlsWhen::default()
        };
        let plan = server(vec![
            route("authority", vec![authority]),
            route("alpn or port", vec![alpn, ports]),
            route("any", vec![]),
        ]);
        let named = |name: &str| Peer {
            server_name: Some(name.into()),
            ..peer()
        };
        let spoken = |alpn: &str| Peer {
            alpn: Some(alpn.into()),
            ..peer()
        };
        let on = |port| Peer { port, ..peer() };
        for (peer, expected) in [
            (named("x.a.test"), "authority"),
            (named("a.test"), "any"),
            (peer(), "any"),
            (spoken("h2"), "alpn or port"),
            (spoken("http/1.1"), "any"),
            (on(8010), "alpn or port"),
            (on(8011), "any"),
            (on(9000), "alpn or port"),
        ] {
            assert_eq!(
                taken(&plan, &peer, "").as_deref(),
                Some(expected),
                "{peer:?}"
            );
        }
    }

    #[test]
    fn all_parts_of_a_condition_have_to_hold() {
        let when = TlsWhen {
            authority: Some(glob("a.test")),
            alpn: Some("h2".into()),
            ports: vec![443..=443],
            ..TlsWhen::default()
        };
        let plan = server(vec![route("only", vec![when])]);
        let full = Peer {
            server_name: Some("a.test".into()),
            alpn: Some("h2".into()),
            ..peer()
        };
        assert!(taken(&plan, &full, "").is_some());
        for broken in [
            Peer {
                server_name: None,
                ..full.clone()
            },
            Peer {
                alpn: None,
                ..full.clone()
            },
            Peer {
                port: 444,
                ..full.clone()
            },
        ] {
            assert_eq!(taken(&plan, &broken, ""), None, "{broken:?}");
        }
    }

    #[test]
    fn certificates_choose_between_routes() {
        let shown = |mutual| TlsWhen {
            mutual: Some(mutual),
            ..TlsWhen::default()
        };
        let mut plan = server(vec![
            route("shown", vec![shown(true)]),
            route("not shown", vec![shown(false)]),
        ]);
        plan.mutual = Mutual::Requested;
        plan.trust = vec![entry("ours")];
        let taken = |peer: &Peer, trusted| taken(&plan, peer, trusted);
        assert_eq!(taken(&with_certificate(), "ours").as_deref(), Some("shown"));
        assert_eq!(taken(&peer(), "ours").as_deref(), Some("not shown"));
        assert_eq!(
            taken(&with_certificate(), "of another route").as_deref(),
            Some("not shown")
        );
    }

    #[test]
    fn what_a_route_trusts_itself_opens_that_route_alone() {
        let own = TlsWhen {
            mutual: Some(true),
            trust: vec![entry("partner")],
            ..TlsWhen::default()
        };
        let mut plan = server(vec![route("partner", vec![own]), route("rest", vec![])]);
        plan.mutual = Mutual::Required;
        plan.trust = vec![entry("ours")];
        assert_eq!(
            taken(&plan, &with_certificate(), "partner").as_deref(),
            Some("partner")
        );
        assert_eq!(
            taken(&plan, &with_certificate(), "ours").as_deref(),
            Some("rest")
        );
        plan.routes.remove(0);
        assert_eq!(taken(&plan, &with_certificate(), "partner"), None);
        assert_eq!(taken(&plan, &peer(), "ours"), None);
    }

    #[test]
    fn a_guard_that_refuses_leads_on_to_the_next_route() {
        let mut guarded = route("guarded", vec![]);
        guarded.guarded = vec![Guarded {
            guard: 0,
            roles: vec!["client".into()],
        }];
        let plan = server(vec![guarded, route("open", vec![])]);
        let taken = |passes| {
            let found = choose(&plan, &peer(), |_| false, |_| passes);
            found.map(exit_of).unwrap()
        };
        assert_eq!(taken(true), "guarded");
        assert_eq!(taken(false), "open");
    }

    #[test]
    fn the_protocol_is_the_clients_first_that_is_spoken_and_taken() {
        let when = |alpn: &str| TlsWhen {
            alpn: Some(alpn.into()),
            ..TlsWhen::default()
        };
        let chosen = |plan: &TlsServer, offered: &[&str]| {
            let offered = offered.iter().map(|one| one.as_bytes());
            choose_protocol(plan, Some("a.test"), 443, offered).map(str::to_owned)
        };
        let mut plan = server(vec![route("any", vec![])]);
        assert_eq!(chosen(&plan, &["x", "h2"]).as_deref(), Some("x"));
        plan.alpn = vec!["h2".into(), "http/1.1".into()];
        assert_eq!(
            chosen(&plan, &["x", "http/1.1", "h2"]).as_deref(),
            Some("http/1.1")
        );
        assert_eq!(chosen(&plan, &["x"]), None);
        assert_eq!(chosen(&plan, &[]), None);
        plan.routes = vec![route("h2", vec![when("h2")])];
        assert_eq!(chosen(&plan, &["http/1.1", "h2"]).as_deref(), Some("h2"));
        let elsewhere = TlsWhen {
            authority: Some(glob("b.test")),
            ..when("h2")
        };
        let other_port = TlsWhen {
            ports: vec![80..=80],
            ..when("h2")
        };
        plan.routes = vec![route("h2", vec![elsewhere, other_port])];
        assert_eq!(chosen(&plan, &["h2"]), None);
        assert_eq!(
            choose_protocol(&plan, None, 443, [b"\xff".as_slice()].into_iter()),
            None
        );
    }

    #[test]
    fn an_http_exit_takes_the_versions_it_speaks() {
        let mut plan = server(vec![]);
        let chosen = |plan: &TlsServer, offered: [&'static [u8]; 3]| {
            choose_protocol(plan, None, 443, offered.into_iter())
        };
        let offered: [&'static [u8]; 3] = [b"spdy/3", b"h2", b"http/1.1"];
        for (versions, expected) in [
            (HttpVersions::Both, "h2"),
            (HttpVersions::Http11, "http/1.1"),
            (HttpVersions::H2, "h2"),
        ] {
            plan.routes = vec![http("web", versions)];
            assert_eq!(chosen(&plan, offered), Some(expected));
        }
        plan.routes.insert(0, route("back", vec![]));
        assert_eq!(chosen(&plan, offered), Some("spdy/3"));
    }
}
