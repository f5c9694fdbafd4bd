//! Vaults, TLS, guards and what else came with them: what ends up in the plan, and what is odd.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use super::super::*;
use super::{edited, http, kafka, plan, refusal};
use crate::route::{BodyPointer, Scope};
use crate::tls::keystore::KeyEntry;

/// A vault with everything: the keys `localhost`, signed by `client-ca`, and `other`; trust and signers `client-ca`.
const VAULT: &str = "
vaults:
  vault:
    type: filesystem
    options:
      keys: {store: tls/localhost.p12, password: \"${{env.KEYSTORE_PASSWORD}}\"}
      trust: {store: tls/client-ca.p12, type: pkcs12, password: \"${{env.TRUSTSTORE_PASSWORD}}\"}
      signers: {store: tls/client-ca.p12, password: \"${{env.TRUSTSTORE_PASSWORD}}\", entries: [Client-CA]}
";
const GUARDS: &str = "
guards:
  jwt: {type: jwt, options: {issuer: 'https://issuer/', audience: api}}
  x509: {type: x509}
  inline: {type: inline}
";

/// The smallest file with a tls server of these options and routes before its http server.
fn with_tls(options: &str, routes: &str) -> String {
    let server = format!(
        "{VAULT}{GUARDS}
bindings:
  secure:
    type: tls
    kind: server
    vault: vault
    options: {{{options}}}
    {routes}"
    );
    edited(&[
        ("exit: http\n", "exit: secure\n"),
        ("bindings:", server.trim_start()),
    ])
}

fn tls(plan: &Plan) -> &TlsServer {
    let ListenerExit::Tls(server) = &plan.listeners[0].routes[0].exit else {
        panic!("the listener leads to a tls server");
    };
    server
}

fn aliases(keys: &[Arc<KeyEntry>]) -> Vec<&str> {
    let mut aliases: Vec<_> = keys.iter().map(|key| key.alias.as_str()).collect();
    aliases.sort_unstable();
    aliases
}

fn warnings(text: &str) -> Vec<String> {
    let warnings = plan(text).warnings;
    warnings
        .iter()
        .map(|warning| {
            let Mistake { path, message, .. } = &warning.0;
            format!("{path}: {message}")
        })
        .collect()
}

#[test]
fn without_names_everything_of_a_vault_is_used() {
    let loaded = plan(&with_tls("", "exit: http"));
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    let server = tls(&loaded);
    assert_eq!(aliases(&server.keys), ["localhost", "other"]);
    assert_eq!((server.mutual, server.trust.len()), (Mutual::None, 0));
    assert_eq!(server.versions, TlsVersions::All);
    assert_eq!(server.handshake_timeout, Duration::from_secs(10));
    assert_eq!((server.number, server.guard), (0, None));
    let loaded = plan(&with_tls("mutual: required", "exit: http"));
    assert_eq!(tls(&loaded).trust[0].alias, "client-ca");
}

#[test]
fn the_options_of_tls_are_in_the_plan() {
    let loaded = plan(&with_tls(
        "keys: [OTHER, localhost], trust: [client-ca], version: TLSv1.3, sni: [Localhost.], alpn: [h2],
      handshake-timeout: 1s, authorization: {x509: {credentials: {certificates: pem}}}",
        "routes: [{when: [{authority: '*.Example.com', alpn: h2, port: [7114, '1-2'], mutual: required}, {trust: [client-ca]}],
      guarded: {'example:x509': [a, '${method}']}, exit: http}]",
    ));
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    let server = tls(&loaded);
    let order: Vec<_> = server.keys.iter().map(|key| key.alias.as_str()).collect();
    assert_eq!(order, ["other", "localhost"]);
    assert_eq!(server.mutual, Mutual::Required, "someone is trusted");
    assert_eq!(server.versions, TlsVersions::Tls13);
    assert_eq!(
        (&*server.sni, &*server.alpn),
        (&["localhost".to_owned()][..], &["h2".to_owned()][..])
    );
    assert_eq!(server.handshake_timeout, Duration::from_secs(1));
    let route = &server.routes[0];
    let first = &route.when[0];
    assert!(first.authority.as_ref().unwrap().matches(b"a.example.com"));
    assert_eq!(
        (&*first.ports, first.mutual),
        (&[7114..=7114, 1..=2][..], Some(true))
    );
    assert_eq!(
        (route.when[1].trust.len(), route.when[1].mutual),
        (1, Some(true))
    );
    assert_eq!(
        route.guarded,
        [Guarded {
            guard: server.guard.unwrap(),
            roles: vec!["a".into(), "${method}".into()]
        }]
    );
    assert_eq!(loaded.guards.len(), 1, "only guards that are named");
}

#[test]
fn signers_choose_among_keys() {
    let loaded = plan(&with_tls("signers: [client-ca]", "exit: http"));
    assert_eq!(aliases(&tls(&loaded).keys), ["localhost"]);
}

#[test]
fn a_route_that_wants_certificates_has_clients_asked() {
    let routes = "routes: [{when: [{trust: [client-ca]}], exit: http}, {exit: http}]";
    let loaded = plan(&with_tls("", routes));
    assert_eq!(tls(&loaded).mutual, Mutual::Requested);
    assert_eq!(tls(&loaded).trust.len(), 1);
}

#[test]
fn conditions_that_never_hold_are_odd() {
    let when = |options, when: &str| {
        let found = warnings(&with_tls(
            options,
            &format!("routes: [{{when: [{{{when}}}], exit: http}}, {{exit: http}}]"),
        ));
        assert_eq!(found.len(), 1, "{found:?}");
        found[0].replace("bindings.secure.routes[0].when[0]", "…")
    };
    assert_eq!(
        when("mutual: none", "mutual: required"),
        "…: never matches: clients are not asked for certificates (`mutual`)"
    );
    assert_eq!(
        when("mutual: required", "mutual: none"),
        "…: never matches: every client shows a certificate (`mutual`)"
    );
    assert_eq!(
        when("alpn: [h2]", "alpn: echo"),
        "….alpn: never matches: `options.alpn` does not have it"
    );
}

#[test]
fn tls_to_brokers_is_refused_after_it_is_checked() {
    let client = |options: &str| {
        let client = format!(
            "{}bindings:\n  tls: {{type: tls, kind: client, vault: vault, options: {{{options}}}, exit: tcp}}",
            VAULT.trim_start()
        );
        refusal(&edited(&[
            ("exit: tcp", "exit: tls"),
            ("bindings:", &client),
        ]))
    };
    let only = "zilla.yaml:39:11: bindings.client.exit: TLS to brokers is not supported yet\n";
    assert_eq!(
        client(
            "trust: [client-ca], trustcacerts: true, sni: [kafka], alpn: [h2], keys: [localhost]"
        ),
        only
    );
    let found = client("trust: [nobody]");
    assert!(found.contains("options.trust[0]: the vault `vault` has no `nobody` under `trust` (there is `client-ca`)"), "{found}");
    assert!(found.contains(only), "{found}");
}

#[test]
fn keys_of_an_issuer_are_below_its_url() {
    let text = format!("{}bindings:", GUARDS.trim_start());
    let loaded = plan(&edited(&[
        ("bindings:", &text),
        (
            "exit: mapping",
            "options: {authorization: {jwt: {credentials: {cookies: {token: '{credentials}'}}}}}\n    exit: mapping",
        ),
    ]));
    let GuardKind::Jwt(guard) = &loaded.guards[0].kind else {
        panic!("a jwt guard");
    };
    let JwtKeys::Url(url) = &guard.keys else {
        panic!("keys of the issuer");
    };
    assert_eq!(url, "https://issuer/.well-known/jwks.json");
}

#[test]
fn the_options_of_guards_are_in_the_plan() {
    let guards = "guards:
  jwt: {type: jwt, options: {issuer: me, audience: api, keys: 'http://localhost/keys', roles: realm.roles, identity: email,
    attributes: {team: x.team}, challenge: 0}}
  x509: {type: x509, options: {attributes: {team: subject.OU}}}
  inline: {type: inline, options: {format: '{identity}:{credentials}', identity: a, credentials: b}}
bindings:";
    let routes = "routes: [{guarded: {jwt: [], x509: [a], inline: []}, exit: mapping}]";
    let loaded = plan(&edited(&[("bindings:", guards), ("exit: mapping", routes)]));
    let named: Vec<_> = loaded
        .guards
        .iter()
        .map(|guard| guard.name.as_str())
        .collect();
    assert_eq!(named, ["jwt", "x509", "inline"]);
    let (GuardKind::Jwt(jwt), GuardKind::X509(x509), GuardKind::Inline(inline)) = (
        &loaded.guards[0].kind,
        &loaded.guards[1].kind,
        &loaded.guards[2].kind,
    ) else {
        panic!("one of each");
    };
    assert_eq!(
        (&*jwt.roles, jwt.challenge),
        (&["realm".to_owned(), "roles".to_owned()][..], None)
    );
    assert_eq!(
        (&*jwt.identity, jwt.attributes[0].1.len()),
        (&["email".to_owned()][..], 2)
    );
    assert!(matches!(&jwt.keys, JwtKeys::Url(url) if url == "http://localhost/keys"));
    assert_eq!(
        (x509.identity.as_str(), x509.attributes[0].1.as_str()),
        ("subject.dn", "subject.ou")
    );
    assert_eq!(inline.credentials.as_ref().map(Secret::reveal), Some("b"));
}

#[test]
fn a_guard_that_nobody_gives_credentials_to_is_odd() {
    let text = format!("{}bindings:", GUARDS.trim_start());
    let guarded = |guarded: &str| {
        warnings(&edited(&[
            ("bindings:", &text),
            (
                "exit: mapping",
                "options: {authorization: {jwt: {credentials: {headers: {X-Token: '{credentials}'}, query: {t: '{credentials}'}}}}}\n    exit: mapping",
            ),
            ("- with", &format!("- guarded: {{{guarded}}}\n        with")),
            (
                "topic: items",
                "topic: items, key: \"${guarded['x509'].identity}-${guarded['jwt'].attributes.x}\"",
            ),
        ]))
    };
    let query = "bindings.http.options.authorization.jwt.credentials.query: credentials in URLs without TLS can be read on the way: `north` leads here directly";
    let empty = "bindings.mapping.routes[0].with.key: always empty: no server on the way here gives credentials to `x509`";
    assert_eq!(guarded("jwt: [a]"), [query, empty]);
    assert_eq!(
        guarded("inline: [a]"),
        [
            query,
            "bindings.mapping.routes[0].guarded.inline: nobody passes: an inline guard gives no roles",
            "bindings.mapping.routes[0].guarded.inline: nobody passes: no server on the way here gives credentials to `inline`",
            empty,
        ]
    );
}

#[test]
fn the_session_of_tls_is_known_behind_it() {
    let text = with_tls(
        "trust: [client-ca], authorization: {x509: {credentials: {certificates: pem}}}",
        "exit: http",
    );
    let text = text.replacen("- with", "- guarded: {x509: [a]}\n        with", 1);
    assert_eq!(warnings(&text), [""; 0]);
}

/// A request of which only one guard knows something.
struct Known(usize);
impl Scope for Known {
    fn param(&self, _: &str) -> Option<Cow<'_, [u8]>> {
        None
    }
    fn header(&self, _: &str) -> Option<Cow<'_, [u8]>> {
        None
    }
    fn query(&self, _: &str) -> Option<Cow<'_, [u8]>> {
        None
    }
    fn idempotency_key(&self) -> Option<Cow<'_, [u8]>> {
        None
    }
    fn correlation_id(&self) -> Option<Cow<'_, [u8]>> {
        None
    }
    fn body(&self, _: &BodyPointer) -> Option<Cow<'_, [u8]>> {
        None
    }
    fn identity(&self, guard: usize) -> Option<Cow<'_, [u8]>> {
        (guard == self.0).then_some(Cow::Borrowed(b"ann"))
    }
    fn attribute(&self, _: usize, _: &str) -> Option<Cow<'_, [u8]>> {
        None
    }
}

#[test]
fn templates_know_their_guards() {
    let text = format!("{}bindings:", GUARDS.trim_start());
    let loaded = plan(&edited(&[
        ("bindings:", &text),
        (
            "exit: mapping",
            "options: {authorization: {inline: {credentials: {headers: {x: 'a {username} {password}'}}}}}\n    exit: mapping",
        ),
        (
            "topic: items",
            "topic: items, overrides: {who: \"${guarded['example:inline'].identity}\"}",
        ),
    ]));
    let server = http(Some(&loaded.listeners[0].routes[0].exit));
    let With::Produce { overrides, .. } = &kafka(&server.routes[0].exit).routes[0].with else {
        panic!("a produce route");
    };
    let guard = server.authorization.as_ref().unwrap().guard;
    assert_eq!(overrides[0].1.render(&Known(guard)).unwrap(), b"ann");
}

#[test]
fn the_options_of_cors_are_in_the_plan() {
    let options = "options:
      versions: [h2, http/1.1]
      access-control:
        policy: cross-origin
        allow: {origins: ['https://Example.com:8443'], methods: [GET, PUT], headers: [X-A], credentials: true}
        max-age: 60
        expose: {headers: [ETag]}
    exit: mapping";
    let loaded = plan(&edited(&[("exit: mapping", options)]));
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    let server = http(Some(&loaded.listeners[0].routes[0].exit));
    let list = |text: &str| Some(vec![text.to_owned()]);
    let expected = CrossOrigin {
        origins: list("https://example.com:8443"),
        methods: Some(vec!["GET".to_owned(), "PUT".to_owned()]),
        headers: list("x-a"),
        credentials: true,
        max_age: Some(Duration::from_secs(60)),
        expose: list("etag"),
    };
    assert_eq!(server.access_control, AccessControl::CrossOrigin(expected));
    assert_eq!(server.versions, HttpVersions::Both);
}

#[test]
fn credentials_for_every_origin_are_odd() {
    let options = "options: {access-control: {policy: cross-origin, allow: {credentials: true}}}\n    exit: mapping";
    assert_eq!(
        warnings(&edited(&[("exit: mapping", options)])),
        [
            "bindings.http.options.access-control.allow: without `origins` every site may act with the credentials of its visitors"
        ]
    );
}

#[test]
fn the_options_of_events_and_files_are_in_the_plan() {
    let more = "bindings:
  events: {type: sse, kind: server, options: {retry: 0, heartbeat: 1m}, routes: [{when: [{path: /a/*}, {path: '*'}], exit: feed}]}
  feed:
    type: sse-kafka
    kind: proxy
    routes:
      - when: [{path: '/{id}'}]
        with: {topic: \"t-${params.id}\", filters: [{key: '${query.k}'}], event: {id: '[\"${base64(key)}\",\"${etag}\"]'}}
        exit: cache_client
  pages:
    type: http-filesystem
    kind: proxy
    routes: [{when: [{method: GET, path: '/{path}'}], with: {path: 'site/${params.path}'}, exit: disk}]
  disk: {type: filesystem, kind: server, options: {location: www, symlinks: follow}}";
    let routes = "routes: [{when: [{headers: {':path': /events*}}], exit: events}, {exit: pages}]";
    let loaded = plan(&edited(&[("bindings:", more), ("exit: mapping", routes)]));
    let server = http(Some(&loaded.listeners[0].routes[0].exit));
    let (HttpExit::Sse(sse), HttpExit::Filesystem(files)) =
        (&server.routes[0].exit, &server.routes[1].exit)
    else {
        panic!("events and files");
    };
    assert_eq!(
        (sse.retry, sse.heartbeat),
        (Duration::ZERO, Duration::from_secs(60))
    );
    assert!(sse.routes[0].when[0].matches(b"/a/b") && !sse.routes[0].when[0].matches(b"/b"));
    let route = &sse.routes[0].exit.routes[0];
    assert_eq!((route.event_id, route.number), (EventIdForm::KeyAndEtag, 0));
    assert!(!route.topic.is_literal());
    let files = &files.routes[0];
    assert!(files.when[0].method.is_some() && files.exit.follows_links);
    assert!(files.exit.location.ends_with("tests/config/www"));
}
