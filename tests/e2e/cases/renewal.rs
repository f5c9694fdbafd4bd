//! Streams whose tokens end (the reference's 4.4): asked for a new token in time, renewed by it, cut without.

use super::events::open_streams;
use super::tokens::EVERYWHERE;
use crate::harness::certificates::{Authority, vault};
use crate::harness::gateway::Gateway;
use crate::harness::h2::Http2;
use crate::harness::http::request;
use crate::harness::kafka::now_millis;
use crate::harness::records::Record;
use crate::harness::site::Site;
use crate::harness::sse::{Block, End, Events, Over};
use crate::harness::tokens::{Issuer, now_seconds};
use crate::harness::{Env, PATIENCE, eventually};
use rustls::ClientConfig;
use serde_json::json;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How much later than its token a stream may end.
const LATE_MS: i64 = 2_000;
const CHALLENGE: &str = "event:challenge\ndata:{\"method\":\"POST\",\"headers\":{\"content-type\":\"application/x-challenge-response\"}}\n";
const RESPONSE: (&str, &str) = ("content-type", "application/x-challenge-response");

struct World {
    gateway: Gateway,
    issuer: Issuer,
    config: Arc<ClientConfig>,
    topic: String,
}

impl World {
    /// A gateway with TLS, on whose streams tokens are asked for three seconds before they end.
    fn new(env: &Env) -> Self {
        let topic = env.topic(1, &[]);
        let authority = Authority::new("Servers");
        let issuer = Issuer::new("known");
        let top = issuer.guard("challenge: 3") + &vault(false);
        let tls = "vault: mine\noptions:\n  alpn: [h2, http/1.1]\nexit: north_http_server";
        let site = Site::default()
            .top(&top)
            .file("server.pem", authority.server(&["localhost"]).pem)
            .tls(tls)
            .http(EVERYWHERE)
            .events("/events", "read", "", &format!("topic: {topic}"));
        Self {
            gateway: env.site(&site),
            issuer,
            config: authority.client_config(None, &["h2"], rustls::ALL_VERSIONS),
            topic,
        }
    }

    fn connect(&self) -> Http2 {
        Http2::secure(self.gateway.address(), &self.config)
    }

    /// A token that ends then, seconds since 1970.
    fn token(&self, who: &str, roles: &str, end: i64) -> String {
        let id = format!("{who} {roles} {end}");
        let claims = json!({"sub": who, "scope": roles, "exp": end, "jti": id});
        self.issuer.token(&claims)
    }
}

fn by_header(client: &Http2, token: &str) -> Events {
    let headers = [("authorization", &*format!("Bearer {token}"))];
    let pending = client.send("GET", "/events", &headers, None);
    Events::over_http2(pending.expect("a stream").head().expect("an answer"))
}

fn by_query(client: &Http2, token: &str) -> Events {
    let path = format!("/events?access_token={token}");
    let pending = client.send("GET", &path, &[], None);
    Events::over_http2(pending.expect("a stream").head().expect("an answer"))
}

/// Answers a challenge with this token.
#[track_caller]
fn renew(client: &Http2, path: &str, token: &str) {
    let headers = [RESPONSE, ("authorization", &*format!("Bearer {token}"))];
    let answer = client.request("POST", path, &headers, None).expect(204);
    assert!(answer.body.is_empty());
}

/// Waits for a challenge on any of these streams; says when it came, milliseconds since 1970.
#[track_caller]
fn await_challenge(streams: &mut [Events]) -> i64 {
    eventually("a challenge", PATIENCE, || {
        streams.iter_mut().find_map(|stream| {
            let soon = Instant::now() + Duration::from_millis(10);
            let block = stream.next_block(soon).expect("open")?;
            if block.text.starts_with("retry:") {
                return None;
            }
            assert_eq!(block.text, CHALLENGE);
            Some(now_millis())
        })
    })
}

/// The next event that is no challenge.
#[track_caller]
fn next_record(stream: &mut Events) -> Block {
    loop {
        let block = stream.next();
        if block.text != CHALLENGE {
            return block;
        }
    }
}

/// Waits until the stream is cut, which must be at `end`, seconds since 1970, or a little later.
#[track_caller]
fn assert_cut_at(stream: &mut Events, end: i64) {
    let (blocks, how) = stream.rest();
    let late = now_millis() - end * 1000;
    assert!(matches!(how, End::Cut(_)), "{how:?} after {blocks:?}");
    assert!((0..=LATE_MS).contains(&late), "{late} ms after its end");
}

pub(crate) fn one_answer_renews_all_streams_of_a_connection(env: &Env) {
    let world = World::new(env);
    let client = world.connect();
    let begun = now_seconds();
    let (first_end, last_end) = (begun + 6, begun + 12);
    let mut streams = [
        by_header(&client, &world.token("alice", "read", first_end)),
        by_query(&client, &world.token("alice", "read", first_end)),
    ];
    let asked = await_challenge(&mut streams);
    let early = first_end * 1000 - asked;
    assert!((0..=3_000).contains(&early), "{early} ms before its end");
    let new = world.token("alice", "read", last_end);
    renew(&client, "/any/path", &new);
    eventually("the first end is over", PATIENCE, || {
        (now_millis() > first_end * 1000 + 500).then_some(())
    });
    env.kafka
        .append(&world.topic, 0, &[Record::new("a", "after")]);
    for stream in &mut streams {
        assert_eq!(next_record(stream).data(), "after");
    }
    let [first, second] = &mut streams;
    std::thread::scope(|scope| {
        scope.spawn(|| assert_cut_at(first, last_end));
        scope.spawn(|| assert_cut_at(second, last_end));
    });
    assert!(client.is_open(), "the connection has nothing to do with it");
    by_header(&client, &world.token("alice", "read", now_seconds() + 60));
}

pub(crate) fn what_does_not_cover_a_stream_does_not_renew_it(env: &Env) {
    let world = World::new(env);
    let (client, other) = (world.connect(), world.connect());
    let end = now_seconds() + 5;
    let mut stream = by_header(&client, &world.token("alice", "read write", end));
    let late = end + 60;
    // Fewer roles, somebody else, no token of ours, none at all; and the right one, elsewhere.
    renew(&client, "/events", &world.token("alice", "read", late));
    renew(&client, "/", &world.token("bob", "read write", late));
    renew(&client, "/", "garbage");
    client.request("POST", "/", &[RESPONSE], None).expect(204);
    renew(&other, "/", &world.token("alice", "read write", late));
    assert_cut_at(&mut stream, end);
}

pub(crate) fn a_stream_that_takes_nothing_is_cut_too(env: &Env) {
    let world = World::new(env);
    let mut settings = h2::client::Builder::new();
    settings.initial_window_size(0);
    let address = world.gateway.address();
    let client = Http2::connect_with(address, Some(&world.config), &settings);
    let end = now_seconds() + 2;
    let mut stream = by_header(&client, &world.token("alice", "read", end));
    let records = vec![Record::new("a", &"x".repeat(1_000)); 100];
    env.kafka.append(&world.topic, 0, &records);
    assert_cut_at(&mut stream, end);
}

pub(crate) fn without_tls_a_connection_is_cut_when_its_token_ends(env: &Env) {
    let topic = env.topic(1, &[]);
    let issuer = Issuer::new("known");
    let site = Site::default()
        .top(&issuer.guard("challenge: 1"))
        .http(EVERYWHERE)
        .counted()
        .events("/events", "read", "", &format!("topic: {topic}"));
    let gateway = env.site(&site);
    let end = now_seconds() + 3;
    let token = issuer.token(&json!({"scope": "read", "exp": end}));
    let path = format!("/events?access_token={token}");
    let mut stream = Over::Http1.open(&gateway, &path, &[]);
    let mut stalled = gateway.http().connect();
    stalled.send(request("GET", &path, &[], None));
    assert_eq!(stalled.receive_head().expect("a head").0, 200);
    // More than the socket takes for one that does not read.
    let records = vec![Record::new("a", &"x".repeat(10_000)); 50];
    for _ in 0..20 {
        env.kafka.append(&topic, 0, &records);
    }
    assert_eq!(stream.take(1000).len(), 1000);
    // The second connection renews nothing.
    let new = issuer.token(&json!({"scope": "read", "exp": end + 60}));
    let headers = [RESPONSE, ("authorization", &*format!("Bearer {new}"))];
    let answer = gateway.http().request("POST", "/", &headers, Some(b""));
    answer.expect(204);
    assert_cut_at(&mut stream, end);
    eventually("the one that stalls is cut", Duration::from_secs(3), || {
        (open_streams(&gateway) == 0).then_some(())
    });
}
