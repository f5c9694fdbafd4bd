//! Routes and protocols, row by row.

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
