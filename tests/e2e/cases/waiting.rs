//! Reads that wait for what is not there yet: `prefer: wait` (RFC 7240, section 4.3).

use crate::harness::Env;
use crate::harness::http::{Connection, Http, Response, request};
use crate::harness::timing::{takes, takes_less};
use std::time::{Duration, Instant};

const SECOND: Duration = Duration::from_secs(1);
/// From the broker's acknowledgement to the answer: some milliseconds; this much on a loaded machine.
const WAKE: Duration = Duration::from_millis(500);
const WAIT: (&str, &str) = ("prefer", "wait=1");
const LONG_WAIT: (&str, &str) = ("prefer", "wait=30");

fn waiting(http: Http, path: &str, headers: &[(&str, &str)]) -> Connection {
    let mut client = http.connect();
    client.send(request(
        "GET",
        path,
        &[&[LONG_WAIT], headers].concat(),
        None,
    ));
    client
}

/// Reads the answer to a GET, and asserts that it comes soon.
#[track_caller]
fn woken(client: &mut Connection) -> Response {
    let begun = Instant::now();
    let answer = client.receive("GET").expect("an answer");
    let taken = begun.elapsed();
    assert!(taken < WAKE, "answered {taken:?} after it was stored");
    answer
}

pub(crate) fn a_missing_item_is_awaited(env: &Env) {
    let topic = env.compacted(3);
    let gateway = env.crud(&topic);
    let http = gateway.http();
    for n in 0..12_i32 {
        let key = format!("key-{n}");
        let path = format!("/items/{key}");
        let mut clients = [waiting(http, &path, &[]), waiting(http, &path, &[])];
        // Others' records, in its partition too, are not what it waits for.
        for partition in 0..3 {
            let other = format!("other-{n}-{partition}");
            env.kafka.produce(&topic, partition, &other, Some(b"other"));
        }
        env.kafka.produce(&topic, n % 3, &key, Some(b"here"));
        for client in &mut clients {
            let answer = woken(client).expect(200).expect_applied("wait=30");
            assert_eq!(answer.text(), "here");
            answer.etag();
        }
    }
    // What is there already is not waited for.
    let there = http.request("GET", "/items/key-1", &[LONG_WAIT], None);
    assert_eq!(there.expect(200).text(), "here");
    // One that was deleted is missing, until it is there again.
    http.delete("/items/key-1").expect(204);
    let mut client = waiting(http, "/items/key-1", &[]);
    http.put("/items/key-1", "again").expect(204);
    assert_eq!(woken(&mut client).expect(200).text(), "again");
}

pub(crate) fn a_wait_ends_in_time(env: &Env) {
    let topic = env.compacted(3);
    let gateway = env.crud(&topic);
    let http = gateway.http();
    http.put("/items/there", "1").expect(204);
    http.get("/items/missing").expect(404);
    for prefer in [
        "wait=1",
        "Wait=1",
        "wait=\"1\"",
        "respond-async, wait=1",
        "x; wait=1",
    ] {
        let get = || http.request("GET", "/items/missing", &[("prefer", prefer)], None);
        takes(SECOND, get).expect(404).expect_applied("wait=1");
    }
    takes(2 * SECOND, || {
        http.request("GET", "/items/missing", &[("prefer", "wait=2")], None)
    });
    let lines = [("prefer", "handling=lenient"), WAIT];
    takes(SECOND, || {
        http.request("GET", "/items/missing", &lines, None)
    })
    .expect(404);

    let etag = http.get("/items/there").expect(200).etag();
    let headers = [WAIT, ("if-none-match", &*etag)];
    let unchanged = takes(SECOND, || {
        http.request("GET", "/items/there", &headers, None)
    });
    assert_eq!(unchanged.expect(304).expect_applied("wait=1").etag(), etag);

    for prefer in [
        "wait=0",
        "wait",
        "wait=",
        "wait=-1",
        "wait=x",
        "waiting=10",
        "x=\"wait=10\"",
    ] {
        let get = || http.request("GET", "/items/missing", &[("prefer", prefer)], None);
        takes_less(WAKE, get).expect(404);
    }
}

pub(crate) fn a_change_of_an_item_is_awaited(env: &Env) {
    let topic = env.compacted(3);
    let gateway = env.crud(&topic);
    let http = gateway.http();
    http.put("/items/1", "0").expect(204);
    let mut etag = http.get("/items/1").expect(200).etag();
    for n in 1..=10 {
        let bare = etag.trim_matches('"').to_owned();
        let mut clients = [
            waiting(http, "/items/1", &[("if-none-match", &etag)]),
            waiting(http, "/items/1", &[("if-none-match", &bare)]),
        ];
        http.put("/items/2", n.to_string()).expect(204);
        http.put("/items/1", n.to_string()).expect(204);
        for client in &mut clients {
            let answer = woken(client).expect(200);
            assert_eq!(answer.text(), n.to_string());
            assert_ne!(answer.etag(), etag);
        }
        etag = http.get("/items/1").expect(200).etag();
    }
    // A tag that is not the current one has nothing to wait for.
    let old = waiting(http, "/items/1", &[("if-none-match", "\"AQIAAA==\"")]).receive("GET");
    assert_eq!(old.expect("an answer").expect(200).text(), "10");
    // Deleting is a change as well.
    let mut client = waiting(http, "/items/1", &[("if-none-match", &etag)]);
    http.delete("/items/1").expect(204);
    woken(&mut client).expect(404);
}

pub(crate) fn a_change_of_the_collection_is_awaited(env: &Env) {
    let topic = env.compacted(3);
    let gateway = env.crud(&topic);
    let http = gateway.http();
    let mut etag = http.get("/items").expect(200).etag();
    for n in 0..6_i32 {
        let mut client = waiting(http, "/items", &[("if-none-match", &etag)]);
        env.kafka
            .produce(&topic, n % 3, "same", Some(n.to_string().as_bytes()));
        let answer = woken(&mut client).expect(200);
        assert!(answer.text().contains(&n.to_string()), "{}", answer.text());
        assert_ne!(answer.etag(), etag);
        etag = answer.etag();
    }
    let headers = [WAIT, ("if-none-match", &*etag)];
    let unchanged = takes(SECOND, || http.request("GET", "/items", &headers, None));
    assert_eq!(unchanged.expect(304).etag(), etag);
    // Without a tag there is an answer already.
    takes_less(WAKE, || http.request("GET", "/items", &[LONG_WAIT], None)).expect(200);
}

pub(crate) fn no_cache_sees_what_another_client_has_just_stored(env: &Env) {
    let topic = env.compacted(3);
    let gateway = env.crud(&topic);
    let mut clients = [gateway.http().connect(), gateway.http().connect()];
    for n in 0..50_i32 {
        let value = n.to_string();
        env.kafka.produce(&topic, 1, "1", Some(value.as_bytes()));
        for client in &mut clients {
            let no_cache = [("cache-control", "no-cache")];
            client.send(request("GET", "/items/1", &no_cache, None));
            let item = client.receive("GET").expect("an answer").expect(200);
            assert_eq!(item.text(), value);
            let also = [("cache-control", "max-age=0, No-Cache")];
            client.send(request("GET", "/items", &also, None));
            let collection = client.receive("GET").expect("an answer").expect(200);
            assert_eq!(collection.text(), format!("[{value}]"));
        }
    }
    let etag = gateway.http().get("/items/1").expect(200).etag();
    env.kafka.produce(&topic, 1, "1", Some(b"changed"));
    let headers = [("if-none-match", &*etag), ("cache-control", "no-cache")];
    let item = gateway.http().request("GET", "/items/1", &headers, None);
    assert_eq!(item.expect(200).text(), "changed");
    env.kafka.produce(&topic, 1, "1", None);
    gateway
        .http()
        .request("GET", "/items/1", &headers[1..], None)
        .expect(404);
}

pub(crate) fn waiting_clients_that_leave_disturb_nobody(env: &Env) {
    let topic = env.compacted(3);
    let gateway = env.crud(&topic);
    let http = gateway.http();
    let path = |n: usize| format!("/items/key-{}", n % 10);
    let mut clients: Vec<_> = (0..100)
        .map(|n| Some(waiting(http, &path(n), &[])))
        .collect();
    clients
        .iter_mut()
        .skip(1)
        .step_by(3)
        .for_each(|client| *client = None);
    // Writing is not held up by them, nor is reading.
    http.get("/items/other").expect(404);
    for n in 0..10 {
        http.put(&path(n), n.to_string()).expect(204);
    }
    for (n, client) in clients.iter_mut().enumerate() {
        let Some(client) = client else { continue };
        let answer = client.receive("GET").expect("an answer").expect(200);
        assert_eq!(answer.text(), (n % 10).to_string());
    }
    assert!(!gateway.output().contains("panic"), "{}", gateway.output());
}

/// An orderly end does not wait for what may never come.
pub(crate) fn sigterm_ends_the_waiting(env: &Env) {
    let topic = env.compacted(1);
    let mut gateway = env.crud(&topic);
    // When the first is answered the second has been read as well.
    let headers = [LONG_WAIT];
    let requests = [
        request("GET", "/items/missing", &[], None),
        request("GET", "/items/missing", &headers, None),
    ];
    let mut client = gateway.http().connect();
    client.send(requests.concat());
    client.receive("GET").expect("an answer").expect(404);
    gateway.signal("TERM");
    // As if its time were up, or refused for a while; never cut off.
    let answer = client.receive("GET").expect("an answer");
    assert!(matches!(answer.status, 404 | 503), "{answer:?}");
    assert_eq!(gateway.exit_code(Duration::from_secs(15)), Some(0));
}
