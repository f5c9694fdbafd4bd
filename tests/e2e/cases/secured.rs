//! TLS (the reference's 2.2): who is let in by name, protocol and certificate, and who disturbs nobody.

use crate::harness::certificates::{Authority, Secured, vault};
use crate::harness::gateway::Gateway;
use crate::harness::h2::Http2;
use crate::harness::http::Http;
use crate::harness::site::Site;
use crate::harness::{Env, PATIENCE, eventually};
use rustls::ALL_VERSIONS;
use rustls::version::{TLS12, TLS13};
use std::time::{Duration, Instant};

const GET: &[u8] = b"GET /echo HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";

/// An echo over HTTP behind a tls server with these options.
fn echo(authority: &Authority, options: &str) -> Gateway {
    let tls = format!("vault: mine\noptions:\n{options}exit: north_http_server");
    let site = Site::default()
        .top(&vault(false))
        .file(
            "server.pem",
            authority.server(&["localhost", "other.test"]).pem,
        )
        .tls(&tls)
        .echo("/echo", "");
    site.start("")
}

pub(crate) fn a_protocol_and_a_version_are_agreed_on() {
    let authority = Authority::new("Servers");
    let gateway = echo(&authority, "  alpn: [h2, http/1.1]\n");
    let address = gateway.address();
    for version in [&TLS12, &TLS13] {
        for (offered, agreed) in [
            (&["h2", "http/1.1"][..], Some(&b"h2"[..])),
            (&["http/1.1"], Some(b"http/1.1")),
            (&["http/1.1", "h2"], Some(b"http/1.1")),
            (&[], None),
        ] {
            let config = authority.client_config(None, offered, &[version]);
            let mut client = Secured::connect(address, &config, "localhost").expect("TLS");
            assert_eq!(client.alpn(), agreed, "{offered:?}");
            if agreed == Some(b"h2") {
                let answer = Http2::secure(address, &config).get("/echo");
                answer.expect(200);
            } else {
                let answer = client.exchange_all(GET).expect("an answer");
                assert!(answer.starts_with(b"HTTP/1.1 200 OK\r\n"), "{answer:?}");
            }
        }
    }
}

pub(crate) fn only_names_that_are_served_are_let_in() {
    let authority = Authority::new("Servers");
    let gateway = echo(&authority, "  sni: [localhost]\n");
    for version in [&TLS12, &TLS13] {
        let config = authority.client_config(None, &[], &[version]);
        // The certificate would do for both.
        let refused = Secured::connect(gateway.address(), &config, "other.test");
        assert!(refused.is_err(), "{version:?}");
        let mut client = Secured::connect(gateway.address(), &config, "localhost").expect("TLS");
        let answer = client.exchange_all(GET).expect("an answer");
        assert!(answer.starts_with(b"HTTP/1.1 200 OK\r\n"), "{answer:?}");
    }
    let stranger = Authority::new("Strangers").client_config(None, &[], ALL_VERSIONS);
    let refused = Secured::connect(gateway.address(), &stranger, "localhost");
    assert!(refused.is_err(), "our side trusts nobody else");
}

/// Old connections go on, new ones get the new certificate, and a store that cannot be used changes nothing.
pub(crate) fn keys_are_read_anew() {
    let (first, second) = (Authority::new("First"), Authority::new("Second"));
    let gateway = echo(&first, "  alpn: [http/1.1]\n");
    let connects = |authority: &Authority| {
        let config = authority.client_config(None, &["http/1.1"], ALL_VERSIONS);
        Secured::connect(gateway.address(), &config, "localhost")
    };
    let head = b"GET /echo HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let mut old = connects(&first).expect("TLS");
    old.exchange(head, 1).expect("an answer");
    gateway.replace_file("server.pem", &second.server(&["localhost"]).pem);
    eventually("new connections get the new certificate", PATIENCE, || {
        // Each core for itself.
        let all = (0..16).all(|_| connects(&second).is_ok());
        all.then_some(())
    });
    assert!(connects(&first).is_err(), "the old one is gone");
    let answer = old.exchange_all(GET).expect("an answer");
    let answers = String::from_utf8_lossy(&answer)
        .matches("TTP/1.1 200 OK")
        .count();
    assert_eq!(answers, 2);

    gateway.replace_file("server.pem", "no key");
    gateway.signal("HUP");
    eventually("it is said", PATIENCE, || {
        let output = gateway.output();
        (output.contains("cannot be used") && output.contains("server.pem")).then_some(())
    });
    let mut client = connects(&second).expect("TLS");
    let answer = client.exchange_all(GET).expect("an answer");
    assert!(answer.starts_with(b"HTTP/1.1 200 OK\r\n"), "{answer:?}");
}

/// Zilla's `tls.echo`, with guards: what comes is sent back, for whom the route lets in.
pub(crate) fn certificates_give_roles() {
    let servers = Authority::new("Servers");
    let clients = Authority::new("Test Client CA");
    let guard = "guards:
  g:
    type: x509
    options:
      identity: subject.cn
      roles:
        client:
          - issuer.cn: Test Client CA
            subject.cn: client-*
";
    for mutual in ["required", "requested"] {
        let tls = format!(
            "vault: mine
options:
  mutual: {mutual}
  alpn: [echo, secure-echo]
  authorization:
    g:
      credentials:
        certificates: pem
routes:
  - when:
      - alpn: secure-echo
    guarded:
      g: [client]
    exit: north_echo_server
  - when:
      - alpn: echo
    exit: north_echo_server
"
        );
        let site = Site::default()
            .top(&(vault(true) + guard))
            .file("server.pem", servers.server(&["localhost"]).pem)
            .file("trust.pem", clients.pem())
            .tls(&tls)
            .binding("north_echo_server:\n  type: echo\n  kind: server");
        let gateway = site.start("");
        let one = clients.client("client-1");
        let admin = clients.client("admin");
        // Signed by another of the same name.
        let forged = Authority::new("Test Client CA").client("client-1");
        let anonymous = mutual == "requested";
        for version in [&TLS12, &TLS13] {
            let is_echoed = |who, alpn: &str| {
                let config = servers.client_config(who, &[alpn], &[version]);
                let client = Secured::connect(gateway.address(), &config, "localhost");
                let bytes = vec![b'x'; 100_000];
                client
                    .and_then(|mut client| client.exchange(&bytes, bytes.len()))
                    .is_ok_and(|back| back == bytes)
            };
            let shown = format!("{mutual} {version:?}");
            assert!(is_echoed(Some(&one), "secure-echo"), "{shown}");
            assert!(is_echoed(Some(&one), "echo"), "{shown}");
            assert!(!is_echoed(Some(&admin), "secure-echo"), "{shown}");
            assert!(is_echoed(Some(&admin), "echo"), "{shown}");
            assert!(!is_echoed(Some(&forged), "echo"), "{shown}");
            assert!(!is_echoed(None, "secure-echo"), "{shown}");
            assert_eq!(is_echoed(None, "echo"), anonymous, "{shown}");
        }
    }
}

pub(crate) fn who_shakes_no_hands_is_let_go_and_disturbs_nobody() {
    let authority = Authority::new("Servers");
    let gateway = echo(&authority, "  handshake-timeout: 300ms\n");
    let plain = Http::new(gateway.address());
    let mut silent: Vec<_> = (0..20).map(|_| plain.connect()).collect();
    let begun = Instant::now();
    let mut half = plain.connect();
    half.send(b"\x16\x03\x01\x02\x00\x01");
    for _ in 0..20 {
        // Whatever it is told, it is no answer of HTTP, and the end.
        let mut lost = plain.connect();
        lost.send("GET /echo HTTP/1.1\r\nhost: localhost\r\n\r\n");
        let told = lost.receive_all();
        assert!(!told.starts_with(b"HTTP/"), "{told:?}");
    }
    let config = authority.client_config(None, &["h2"], ALL_VERSIONS);
    Http2::secure(gateway.address(), &config)
        .get("/echo")
        .expect(200);
    for client in &mut silent {
        client.assert_closes();
    }
    half.receive_all();
    let taken = begun.elapsed();
    assert!(taken < PATIENCE / 2, "{taken:?}");
    assert!(taken >= Duration::from_millis(295), "{taken:?}");
}

pub(crate) fn sessions_are_taken_up_on_whatever_core() {
    let authority = Authority::new("Servers");
    let gateway = echo(&authority, "  alpn: [http/1.1]\n");
    for version in [&TLS12, &TLS13] {
        let config = authority.client_config(None, &["http/1.1"], &[version]);
        let resumed = (0..16).filter(|_| {
            let client = Secured::connect(gateway.address(), &config, "localhost");
            let mut client = client.expect("TLS");
            let answer = client.exchange_all(GET).expect("an answer");
            assert!(answer.starts_with(b"HTTP/1.1 200 OK\r\n"), "{answer:?}");
            client.is_resumed()
        });
        // The kernel spreads them over two cores; the first has nothing to take up.
        assert_eq!(resumed.count(), 15, "{version:?}");
    }
}

pub(crate) fn whom_a_certificate_names_may_be_part_of_a_record(env: &Env) {
    let topic = env.topic(1, &[]);
    let (servers, clients) = (Authority::new("Servers"), Authority::new("Clients"));
    let guard = "guards:
  g:
    type: x509
    options:
      identity: subject.cn
      roles:
        writer:
          - subject.cn: client-*
";
    let tls = "vault: mine
options:
  mutual: required
  alpn: [h2]
  authorization:
    g:
      credentials:
        certificates: pem
exit: north_http_server
";
    let with = format!("capability: produce\ntopic: {topic}\nkey: ${{guarded['g'].identity}}");
    let site = Site::default()
        .top(&(vault(true) + guard))
        .file("server.pem", servers.server(&["localhost"]).pem)
        .file("trust.pem", clients.pem())
        .tls(tls)
        .mapping("/notes", "writer", &[("POST", "/notes", &with)]);
    let gateway = env.site(&site);
    for (name, status) in [("client-1", 204), ("admin", 403), ("client-2", 204)] {
        let identity = clients.client(name);
        let config = servers.client_config(Some(&identity), &["h2"], ALL_VERSIONS);
        let client = Http2::secure(gateway.address(), &config);
        let answer = client.request("POST", "/notes", &[], Some(name.as_bytes()));
        answer.expect(status);
    }
    let keys = env.kafka.await_log(&topic, 1, 2).into_iter();
    let keys: Vec<_> = keys.map(|found| found.record.key.expect("a key")).collect();
    assert_eq!(keys, [b"client-1", b"client-2"]);
}
