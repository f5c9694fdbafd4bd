//! Handshakes in memory between clients and servers of the plan.

use std::sync::Arc;

use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::{Acceptor, ServerConnection};
use rustls::{
    AlertDescription, CertificateError, ClientConnection, ConnectionCommon, Error, HandshakeKind,
    ProtocolVersion, SideData,
};

use super::SetupFault;
use super::client::Client;
use super::route::Peer;
use super::server::{Refused, Server};
use super::testing::{self, Authority, exit_of, pinned, route, self_signed};
use super::trust::ClientVerifier;
use crate::clock::UnixMillis;
use crate::config::{Mutual, TlsClient, TlsServer, TlsVersions, TlsWhen};

/// Who ended a handshake, and why.
#[derive(Debug, PartialEq)]
enum Fault {
    Refused(Refused),
    Server(Error),
    Client(Error),
}

struct Ends {
    client: ClientConnection,
    server: ServerConnection,
}

impl Ends {
    fn alpn(&self) -> Option<&[u8]> {
        assert_eq!(self.client.alpn_protocol(), self.server.alpn_protocol());
        self.server.alpn_protocol()
    }

    fn version(&self) -> ProtocolVersion {
        self.server.protocol_version().unwrap()
    }

    fn certificates(&self) -> Vec<CertificateDer<'static>> {
        self.server.peer_certificates().unwrap_or_default().to_vec()
    }

    /// The certificate that the server showed.
    fn shown(&self) -> CertificateDer<'static> {
        self.client.peer_certificates().unwrap()[0].clone()
    }
}

/// Moves what `from` has to `to`.
fn pump<F: SideData, T: SideData>(
    from: &mut ConnectionCommon<F>,
    to: &mut ConnectionCommon<T>,
) -> Result<(), Error> {
    let mut wire = Vec::new();
    while from.wants_write() {
        from.write_tls(&mut wire).unwrap();
    }
    let mut rest = wire.as_slice();
    while !rest.is_empty() {
        to.read_tls(&mut rest).unwrap();
        to.process_new_packets()?;
    }
    Ok(())
}

fn shake(server: &Server, client: &Client, host: &str) -> Result<Ends, Fault> {
    let name = client.server_name(host).unwrap();
    let mut client = ClientConnection::new(client.config().clone(), name).unwrap();
    let mut wire = Vec::new();
    client.write_tls(&mut wire).unwrap();
    let mut acceptor = Acceptor::default();
    acceptor.read_tls(&mut wire.as_slice()).unwrap();
    let accepted = acceptor.accept().unwrap().expect("a hello in one piece");
    let choice = server
        .choose(&accepted.client_hello(), 443)
        .map_err(Fault::Refused)?;
    let mut server = accepted
        .into_connection(choice.config)
        .map_err(|(error, _)| Fault::Server(error))?;
    while client.is_handshaking() || server.is_handshaking() {
        pump(&mut server, &mut client).map_err(Fault::Client)?;
        pump(&mut client, &mut server).map_err(Fault::Server)?;
    }
    // Tickets.
    pump(&mut server, &mut client).map_err(Fault::Client)?;
    Ok(Ends { client, server })
}

/// A server with one key for `a.test`, and a client that trusts it.
struct World {
    authority: Authority,
    clients: Authority,
    server: TlsServer,
    client: TlsClient,
}

impl World {
    fn new() -> Self {
        let authority = Authority::new("Servers");
        let mut server = testing::server(vec![route("echo", vec![])]);
        server.keys = vec![authority.key("server", &["a.test"])];
        Self {
            clients: Authority::new("Clients"),
            client: testing::client(vec![authority.trust()]),
            server,
            authority,
        }
    }

    fn server(&self) -> Server {
        Server::new(Arc::new(self.server.clone())).unwrap()
    }

    fn client(&self) -> Client {
        Client::new(&self.client).unwrap()
    }

    fn shake(&self) -> Result<Ends, Fault> {
        shake(&self.server(), &self.client(), "a.test")
    }
}

fn now() -> UnixMillis {
    UnixMillis(i64::try_from(UnixTime::now().as_secs() * 1000).unwrap())
}

#[test]
fn a_server_is_shared_between_cores() {
    fn assert_shared<T: Send + Sync>() {}
    assert_shared::<Server>();
    assert_shared::<Client>();
}

#[test]
fn certificates_of_clients_are_not_asked_for_asked_for_or_required() {
    let mut world = World::new();
    let key = world.clients.key("client", &["client"]);
    world.server.trust = vec![world.clients.trust()];
    let shaken = |mutual, has_key: bool, world: &mut World| {
        world.server.mutual = mutual;
        world.client.keys = if has_key { vec![key.clone()] } else { vec![] };
        world.shake().map(|ends| ends.certificates().len())
    };
    assert_eq!(shaken(Mutual::None, true, &mut world), Ok(0));
    assert_eq!(shaken(Mutual::Requested, false, &mut world), Ok(0));
    assert_eq!(shaken(Mutual::Requested, true, &mut world), Ok(1));
    assert_eq!(shaken(Mutual::Required, true, &mut world), Ok(1));
    assert_eq!(
        shaken(Mutual::Required, false, &mut world),
        Err(Fault::Server(Error::NoCertificatesPresented))
    );
}

#[test]
fn a_certificate_that_is_expired_or_of_a_stranger_is_refused_even_when_none_is_required() {
    let mut world = World::new();
    world.server.trust = vec![world.clients.trust()];
    world.server.mutual = Mutual::Requested;
    world.client.keys = vec![world.clients.expired("old", &["client"])];
    assert!(matches!(
        world.shake().err(),
        Some(Fault::Server(Error::InvalidCertificate(
            CertificateError::ExpiredContext { .. }
        )))
    ));
    // One that names the same authority, so that the client shows it at all.
    world.client.keys = vec![Authority::new("Clients").key("stranger", &["client"])];
    assert!(matches!(
        world.shake().err(),
        Some(Fault::Server(Error::InvalidCertificate(_)))
    ));
}

#[test]
fn a_certificate_may_be_trusted_as_it_is() {
    let mut world = World::new();
    let own = self_signed("client", &["client"]);
    world.server.mutual = Mutual::Required;
    world.server.trust = vec![pinned(&own)];
    world.client.keys = vec![own.clone()];
    assert_eq!(world.shake().unwrap().certificates(), own.chain);

    let leaf = world.clients.key("leaf", &["client"]);
    let beside = world.clients.key("beside", &["client"]);
    let verifier = ClientVerifier::new(vec![pinned(&leaf)], true).unwrap();
    assert!(verifier.vouches_for(&leaf.chain, now()));
    assert!(!verifier.vouches_for(&beside.chain, now()));
    assert!(!verifier.vouches_for(&[], now()));
}

#[test]
fn a_name_outside_of_the_list_is_refused_and_the_client_told() {
    let mut world = World::new();
    world.server.keys = vec![
        world.authority.key("a", &["a.test"]),
        world.authority.key("b", &["b.test", "127.0.0.1"]),
    ];
    let server = world.server();
    let client = world.client();
    for host in ["a.test", "b.test"] {
        assert!(shake(&server, &client, host).is_ok(), "{host}");
    }
    world.server.sni = vec!["a.test".into()];
    let server = world.server();
    assert!(shake(&server, &client, "A.Test.").is_ok());
    let refused = shake(&server, &client, "b.test").err();
    assert_eq!(
        refused,
        Some(Fault::Refused(Refused::UnknownName("b.test".into())))
    );
    // An address is never a name to ask for.
    let refused = shake(&server, &client, "127.0.0.1").err();
    assert_eq!(refused, Some(Fault::Refused(Refused::NoName)));

    let name = ServerName::try_from("b.test").unwrap();
    let mut client = ClientConnection::new(client.config().clone(), name).unwrap();
    let alert = Refused::NoName.alert();
    client.read_tls(&mut alert.as_slice()).unwrap();
    assert_eq!(
        client.process_new_packets().unwrap_err(),
        Error::AlertReceived(AlertDescription::UnrecognisedName)
    );
}

#[test]
fn the_certificate_goes_with_the_name() {
    let mut world = World::new();
    let (a, b) = (
        world.authority.key("a", &["a.test"]),
        world.authority.key("b", &["*.b.test"]),
    );
    world.server.keys = vec![a.clone(), b.clone()];
    let (server, client) = (world.server(), world.client());
    for (host, expected) in [("a.test", &a), ("x.b.test", &b)] {
        let ends = shake(&server, &client, host).unwrap();
        assert_eq!(ends.shown(), expected.chain[0], "{host}");
    }
}

#[test]
fn the_protocol_is_chosen_in_the_clients_order() {
    let mut world = World::new();
    let spoken = |list: &[&str]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
    let chosen = |world: &World| world.shake().unwrap().alpn().map(<[u8]>::to_vec);
    world.server.alpn = spoken(&["h2", "http/1.1"]);
    world.client.alpn = spoken(&["x", "http/1.1", "h2"]);
    assert_eq!(chosen(&world).as_deref(), Some(&b"http/1.1"[..]));
    world.client.alpn = spoken(&["h2", "http/1.1"]);
    assert_eq!(chosen(&world).as_deref(), Some(&b"h2"[..]));
    world.client.alpn = spoken(&["x"]);
    assert_eq!(chosen(&world), None, "no overlap: without a protocol");
    world.client.alpn = vec![];
    assert_eq!(chosen(&world), None);
    // Nothing in the plan names it, and the echo takes it.
    world.server.alpn = vec![];
    world.client.alpn = spoken(&["acme"]);
    assert_eq!(chosen(&world).as_deref(), Some(&b"acme"[..]));
}

#[test]
fn a_second_connection_resumes_the_first_ones_session() {
    for versions in [TlsVersions::Tls12, TlsVersions::Tls13] {
        let mut world = World::new();
        world.server.versions = versions;
        world.server.trust = vec![world.clients.trust()];
        world.server.mutual = Mutual::Required;
        world.client.keys = vec![world.clients.key("client", &["client"])];
        world.client.alpn = vec!["h2".into()];
        let (server, client) = (world.server(), world.client());
        let first = shake(&server, &client, "a.test").unwrap();
        assert_eq!(first.server.handshake_kind(), Some(HandshakeKind::Full));
        let second = shake(&server, &client, "a.test").unwrap();
        assert_eq!(second.server.handshake_kind(), Some(HandshakeKind::Resumed));
        assert_eq!(second.certificates(), first.certificates(), "{versions:?}");
        assert_eq!(second.alpn(), Some(&b"h2"[..]));
        // Another server of the same plan has keys of its own for tickets.
        let elsewhere = shake(&world.server(), &client, "a.test").unwrap();
        assert_eq!(elsewhere.server.handshake_kind(), Some(HandshakeKind::Full));
    }
}

#[test]
fn versions_are_those_of_the_plan() {
    let mut world = World::new();
    assert_eq!(world.shake().unwrap().version(), ProtocolVersion::TLSv1_3);
    world.server.versions = TlsVersions::Tls12;
    assert_eq!(world.shake().unwrap().version(), ProtocolVersion::TLSv1_2);
    world.client.versions = TlsVersions::Tls13;
    assert!(world.shake().is_err());
    world.server.versions = TlsVersions::Tls13;
    assert_eq!(world.shake().unwrap().version(), ProtocolVersion::TLSv1_3);
    world.client.versions = TlsVersions::Tls12;
    assert!(world.shake().is_err());
}

#[test]
fn a_client_verifies_who_signed_and_for_which_name() {
    let mut world = World::new();
    assert!(matches!(
        shake(&world.server(), &world.client(), "b.test").err(),
        Some(Fault::Client(Error::InvalidCertificate(_)))
    ));
    world.client.sni = Some("a.test".into());
    assert!(shake(&world.server(), &world.client(), "b.test").is_ok());
    world.client.trust = vec![world.clients.trust()];
    assert!(matches!(
        world.shake().err(),
        Some(Fault::Client(Error::InvalidCertificate(_)))
    ));
}

#[test]
fn a_server_that_is_trusted_as_it_is_still_needs_the_name_and_to_be_in_time() {
    let mut world = World::new();
    let own = self_signed("server", &["a.test"]);
    world.server.keys = vec![own.clone()];
    world.client.trust = vec![pinned(&own)];
    assert!(world.shake().is_ok());
    assert!(shake(&world.server(), &world.client(), "b.test").is_err());
    let old = world.authority.expired("old", &["a.test"]);
    world.server.keys = vec![old.clone()];
    world.client.trust = vec![pinned(&old)];
    assert_eq!(
        world.shake().err(),
        Some(Fault::Client(CertificateError::Expired.into()))
    );
}

#[test]
fn a_route_may_trust_others_than_the_server() {
    let mut world = World::new();
    let partners = Authority::new("Partners");
    let own = TlsWhen {
        mutual: Some(true),
        trust: vec![partners.trust()],
        ..TlsWhen::default()
    };
    let shown = TlsWhen {
        mutual: Some(true),
        ..TlsWhen::default()
    };
    world.server.routes = vec![
        route("partners", vec![own]),
        route("clients", vec![shown]),
        route("rest", vec![]),
    ];
    world.server.trust = vec![world.clients.trust()];
    let server = world.server();
    let partner = partners.key("partner", &["x"]);
    let client = world.clients.key("client", &["x"]);
    let mut taken = |keys, now| {
        world.client.keys = keys;
        let ends = shake(&server, &world.client(), "a.test").unwrap();
        let peer = Peer {
            certificates: ends.certificates(),
            ..Peer::default()
        };
        exit_of(server.route(&peer, now, |_| true).unwrap())
    };
    assert_eq!(taken(vec![partner.clone()], now()), "partners");
    assert_eq!(taken(vec![client], now()), "clients");
    assert_eq!(taken(vec![], now()), "rest");
    // A resumed session may outlive the certificate that it began with.
    let late = UnixMillis(i64::MAX);
    assert_eq!(taken(vec![partner], late), "rest");
}

#[test]
fn nobody_to_trust_is_a_fault_before_anybody_connects() {
    let mut world = World::new();
    world.server.mutual = Mutual::Required;
    let fault = Server::new(Arc::new(world.server)).unwrap_err();
    assert!(matches!(fault, SetupFault::NoTrust), "{fault}");
    world.client.trust.clear();
    let fault = Client::new(&world.client).unwrap_err();
    assert!(matches!(fault, SetupFault::NoTrust), "{fault}");
    world.client.trust = vec![testing::entry("nonsense")];
    let fault = Client::new(&world.client).unwrap_err();
    assert!(matches!(fault, SetupFault::BadTrust { alias, .. } if alias == "nonsense"));
}

#[test]
fn a_host_is_asked_for_without_the_dot_at_its_end() {
    let client = World::new().client();
    let name = |host| client.server_name(host);
    assert_eq!(name("a.test."), Ok(ServerName::try_from("a.test").unwrap()));
    assert_eq!(name("[::1]"), Ok(ServerName::try_from("::1").unwrap()));
    assert!(name("a b").is_err());
    assert!(name("").is_err());
}
