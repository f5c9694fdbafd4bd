//! Tokens (the reference's section 7.1, with DESIGN.md's section 9): who comes in, as whom, and what others are told.

use crate::harness::Env;
use crate::harness::gateway::Gateway;
use crate::harness::http::Response;
use crate::harness::records::Record;
use crate::harness::site::Site;
use crate::harness::sse::Over;
use crate::harness::tokens::{self, Issuer, now_seconds};
use crate::harness::{PATIENCE, eventually};
use jsonwebtoken::{Algorithm, Header};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::thread;

pub(super) const HEADERS: &str = "authorization:
  g:
    credentials:
      headers:
        authorization: Bearer {credentials}";

pub(super) const EVERYWHERE: &str = "authorization:
  g:
    credentials:
      cookies:
        access_token: \"{credentials}\"
      headers:
        authorization: Bearer {credentials}
      query:
        access_token: \"{credentials}\"";

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

#[track_caller]
fn assert_unauthorized(answer: &Response, what: &str) {
    assert_eq!(answer.status, 401, "{what}: {answer:?}");
    let challenge = answer.header("www-authenticate");
    assert_eq!(challenge, Some("Bearer error=\"invalid_token\""), "{what}");
}

/// Tokens that are refused, and why.
fn refused(issuer: &Issuer) -> Vec<(&'static str, String)> {
    let role = json!({"scope": "read"});
    let with = |name: &str, value: Value| {
        let mut claims = role.clone();
        claims[name] = value;
        issuer.token(&claims)
    };
    let other = Issuer::new("known");
    let mut header = Header::new(Algorithm::ES256);
    let nameless = issuer.signed(&header, &role);
    header.kid = Some("unknown".to_owned());
    let unknown = issuer.signed(&header, &role);
    let good = issuer.token(&role);
    let mut parts = good.split('.');
    let [head, claims, signature] = [(); 3].map(|()| parts.next().expect("three parts"));
    let forged = issuer.token(&json!({"scope": "read", "sub": "mallory"}));
    let forged = forged.split('.').nth(1).expect("claims");
    vec![
        ("bad signature", other.token(&role)),
        ("other claims", format!("{head}.{forged}.{signature}")),
        ("no signature", format!("{head}.{claims}.")),
        ("none", issuer.unsigned(&role)),
        ("expired", with("exp", json!(now_seconds() - 1))),
        ("not yet valid", with("nbf", json!(now_seconds() + 60))),
        (
            "other issuer",
            with("iss", json!("https://other.example.com")),
        ),
        ("no issuer", with("iss", Value::Null)),
        ("other audience", with("aud", json!("other"))),
        ("other audiences", with("aud", json!(["other", "another"]))),
        ("no audience", with("aud", Value::Null)),
        ("unknown kid", unknown),
        ("no kid", nameless),
        ("garbage", "garbage".to_owned()),
        ("dots", "a.b.c".to_owned()),
        ("twice", format!("{good}.{good}")),
    ]
}

pub(crate) fn who_has_no_good_token_is_told_so(env: &Env) {
    let topic = env.compacted(1);
    let issuer = Issuer::new("known");
    let produce = format!("capability: produce\ntopic: {topic}\nkey: ${{params.id}}");
    let site = Site::default()
        .top(&issuer.guard(""))
        .http(HEADERS)
        .echo("/echo", "read")
        .mapping(
            "/items/*",
            "read, write",
            &[("PUT", "/items/{id}", &produce)],
        )
        .events("/events", "read", "", &format!("topic: {topic}"));
    let gateway = env.site(&site);
    // Whatever stands behind the server: the same answer.
    let targets = [("GET", "/echo"), ("PUT", "/items/1"), ("GET", "/events")];
    for over in Over::BOTH {
        for (method, path) in targets {
            let without = over.request(&gateway, method, path, &[]);
            assert_unauthorized(&without, path);
            for (what, token) in refused(&issuer) {
                let headers = [("authorization", &*bearer(&token))];
                let answer = over.request(&gateway, method, path, &headers);
                assert_unauthorized(&answer, &format!("{over:?} {path} {what}"));
            }
        }
        let basic = [("authorization", "Basic YTpi")];
        let basic = over.request(&gateway, "GET", "/echo", &basic);
        assert_unauthorized(&basic, "basic");

        let reader = bearer(&issuer.token(&json!({"scope": "read other"})));
        let reader = [("authorization", &*reader)];
        over.request(&gateway, "GET", "/echo", &reader).expect(200);
        over.request(&gateway, "PUT", "/items/1", &reader)
            .expect(403);
        // What there is no route to is not there for anybody; a role has nothing to do with it.
        over.request(&gateway, "GET", "/nowhere", &reader)
            .expect(404);
        let nobody = bearer(&issuer.token(&json!({"scope": "other"})));
        let nobody = [("authorization", &*nobody)];
        over.request(&gateway, "GET", "/events", &nobody)
            .expect(403);
        let roleless = bearer(&issuer.token(&json!({})));
        let roleless = [("authorization", &*roleless)];
        over.request(&gateway, "GET", "/echo", &roleless)
            .expect(403);

        let writer = json!({"scope": ["write", "read"], "aud": ["x", tokens::AUDIENCE]});
        let writer = bearer(&issuer.token(&writer));
        let writer = [("authorization", &*writer)];
        over.request(&gateway, "PUT", "/items/1", &writer)
            .expect(204);
        let stream = over.open(&gateway, "/events", &writer);
        assert_eq!(stream.status, 200);
        let endless = issuer.token(&json!({"scope": "read", "exp": null}));
        let endless = [("authorization", &*bearer(&endless))];
        over.request(&gateway, "GET", "/echo", &endless).expect(200);
    }
    // Nothing of the refused was stored.
    assert_eq!(env.kafka.log(&topic, 1).len(), Over::BOTH.len());
}

pub(crate) fn a_token_comes_by_cookie_header_or_query(env: &Env) {
    let issuer = Issuer::new("known");
    let site = Site::default()
        .top(&issuer.guard(""))
        .http(EVERYWHERE)
        .echo("/echo", "read");
    let gateway = env.site(&site.argument("--access-log"));
    let good = issuer.token(&json!({"scope": "read"}));
    let bad = issuer.token(&json!({"scope": "read", "exp": now_seconds() - 1}));
    for over in Over::BOTH {
        let ask = |path: &str, headers: &[(&str, &str)]| {
            over.request(&gateway, "GET", path, headers).status
        };
        let query = |token: &str| format!("/echo?a=1&access_token={token}&b=2");
        assert_eq!(ask("/echo", &[("authorization", &bearer(&good))]), 200);
        assert_eq!(ask(&query(&good), &[]), 200);
        let cookie = |token: &str| format!("a=1; access_token={token}; b=2");
        assert_eq!(ask("/echo", &[("cookie", &cookie(&good))]), 200);
        // The cookie counts before the header, and the header before the query.
        let both = [
            ("cookie", &*cookie(&good)),
            ("authorization", &*bearer(&bad)),
        ];
        assert_eq!(ask(&query(&bad), &both), 200);
        let both = [
            ("cookie", &*cookie(&bad)),
            ("authorization", &*bearer(&good)),
        ];
        assert_eq!(ask(&query(&good), &both), 401);
        assert_eq!(ask(&query(&bad), &[("authorization", &bearer(&good))]), 200);
        assert_eq!(ask(&query(&bad), &[]), 401);
        assert_eq!(ask("/echo?other=1", &[]), 401);
    }
    assert_silent_about(gateway, &[&good, &bad]);
}

/// Asserts that nothing that it prints, to its very end, has one of these, or a part of it.
#[track_caller]
fn assert_silent_about(mut gateway: Gateway, tokens: &[&str]) {
    gateway.signal("TERM");
    assert_eq!(gateway.exit_code(PATIENCE), Some(0));
    let output = eventually("the last event", PATIENCE, || {
        let output = gateway.output();
        output.contains("ENGINE_STOPPED").then_some(output)
    });
    assert!(output.contains("BINDING_HTTP_REQUEST_ACCEPTED"), "{output}");
    assert!(
        output.contains("GUARD_JWT_AUTHORIZATION_FAILED"),
        "{output}"
    );
    assert!(output.contains("access ["), "{output}");
    for token in tokens {
        for part in token.split('.') {
            assert!(!output.contains(part), "{part} is in\n{output}");
        }
    }
}

pub(crate) fn who_asks_may_be_part_of_a_record_and_of_a_filter(env: &Env) {
    let topic = env.topic(2, &[]);
    let issuer = Issuer::new("known");
    let produce = format!(
        "capability: produce\ntopic: {topic}\nkey: ${{guarded['g'].identity}}\noverrides:\n  team: ${{guarded['g'].attributes.team}}"
    );
    let own = format!("topic: {topic}\nfilters:\n  - key: ${{guarded['g'].identity}}");
    let site = Site::default()
        .top(&issuer.guard("attributes:\n  team: org.team"))
        .http(EVERYWHERE)
        .mapping("/notes", "write", &[("POST", "/notes", &produce)])
        .events("/own", "read", "", &own);
    let gateway = env.site(&site);
    let token = |who: &str, team: &str| {
        let claims = json!({"sub": who, "scope": "read write", "org": {"team": team}});
        issuer.token(&claims)
    };
    let (alice, bob) = (token("alice", "red"), token("bob", "blue"));
    let open =
        |over: Over, who: &str| over.open(&gateway, &format!("/own?access_token={who}"), &[]);
    let mut streams = Over::BOTH.map(|over| (open(over, &alice), open(over, &bob)));
    let http = gateway.http();
    for (who, note) in [
        (&alice, "from alice"),
        (&bob, "from bob"),
        (&alice, "again"),
    ] {
        let headers = [("authorization", &*bearer(who))];
        let posted = http.request("POST", "/notes", &headers, Some(note.as_bytes()));
        posted.expect(204);
    }
    let log = env.kafka.await_log(&topic, 2, 3);
    let of = |value: &str| {
        let found = log.iter().find(|found| found.record.text() == value);
        found.expect("it was stored").record.clone()
    };
    assert_eq!(of("from bob").key.as_deref(), Some(&b"bob"[..]));
    assert_eq!(of("from bob").get("team"), Some("blue"));
    assert_eq!(of("again").key.as_deref(), Some(&b"alice"[..]));
    for (alices, bobs) in &mut streams {
        assert_eq!(alices.take_data(2), ["from alice", "again"]);
        assert_eq!(bobs.next().data(), "from bob");
    }
    env.kafka.append(&topic, 0, &[Record::new("bob", "end")]);
    for (_, bobs) in &mut streams {
        assert_eq!(bobs.next().data(), "end");
    }
}

/// An issuer's own server: answers any request with what its key set is now.
struct KeyServer {
    address: SocketAddr,
    keys: Arc<Mutex<Value>>,
}

impl KeyServer {
    fn start(keys: Value) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let address = listener.local_addr().expect("bound");
        let keys = Arc::new(Mutex::new(keys));
        let served = keys.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                let mut request = [0; 4_096];
                let _ = stream.read(&mut request);
                let body = served.lock().expect("a lock").to_string();
                let length = body.len();
                let _ = write!(
                    stream,
                    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
                );
            }
        });
        Self { address, keys }
    }
}

pub(crate) fn keys_come_from_a_url_and_change(env: &Env) {
    let (old, new) = (Issuer::new("old"), Issuer::new("new"));
    let server = KeyServer::start(json!({"keys": [old.jwk()]}));
    let url = format!("keys: http://{}/jwks.json", server.address);
    let site = Site::default()
        .top(&tokens::guard(&url))
        .http(HEADERS)
        .echo("/echo", "read");
    let gateway = env.site(&site);
    let ask = |issuer: &Issuer| {
        let token = bearer(&issuer.token(&json!({"scope": "read"})));
        let headers = [("authorization", &*token)];
        gateway
            .http()
            .request("GET", "/echo", &headers, None)
            .status
    };
    // As soon as the port is open, or soon after: never as a refusal for good.
    eventually("the keys are there", PATIENCE, || match ask(&old) {
        200 => Some(()),
        503 => None,
        status => panic!("{status}"),
    });
    assert_eq!(ask(&new), 401);
    *server.keys.lock().expect("a lock") = json!({"keys": [old.jwk(), new.jwk()]});
    // A name that is not known has the keys fetched again, though not for each such token.
    eventually("the new key is there", PATIENCE, || {
        (ask(&new) == 200).then_some(())
    });
    assert_eq!(ask(&old), 200);
    *server.keys.lock().expect("a lock") = json!({"keys": [new.jwk()]});
    assert_eq!(ask(&new), 200);
}

pub(crate) fn without_keys_nobody_is_told_that_a_token_is_bad(env: &Env) {
    let closed = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let address = closed.local_addr().expect("bound");
    drop(closed);
    let site = Site::default()
        .top(&tokens::guard(&format!("keys: http://{address}/jwks.json")))
        .http(HEADERS)
        .echo("/echo", "read");
    let gateway = env.site(&site);
    let token = bearer(&Issuer::new("any").token(&json!({"scope": "read"})));
    let headers = [("authorization", &*token)];
    let answer = gateway
        .http()
        .request("GET", "/echo", &headers, None)
        .expect(503);
    assert!(answer.header("retry-after").is_some(), "{answer:?}");
    assert_unauthorized(&gateway.http().get("/echo"), "no token");
}
