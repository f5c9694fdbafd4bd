//! The collection: every key's newest value as one JSON array.

use crate::harness::Env;
use crate::harness::http::{Http, request};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

pub(crate) fn two_hundred_concurrent_writes_are_read_back_at_once(env: &Env) {
    let topic = env.compacted(3);
    let gateway = env.crud(&topic);
    let http = gateway.http();
    let document = |n: u64| format!(r#"{{"key":"key-{n}","n":{n}}}"#);
    thread::scope(|scope| {
        for n in 0..200_u64 {
            scope.spawn(move || {
                let path = format!("/items/key-{n}");
                let mut writer = http.connect();
                // Connections of their own land on either core.
                let mut readers = [http.connect(), http.connect(), http.connect()];
                writer.send(request("PUT", &path, &[], Some(document(n).as_bytes())));
                writer.receive("PUT").expect("an answer").expect(204);
                for reader in &mut readers {
                    reader.send(request("GET", &path, &[], None));
                    let read = reader.receive("GET").expect("an answer").expect(200);
                    assert_eq!(read.text(), document(n));
                }
            });
        }
    });
    let collection = whole_collection(http);
    let expected = (0..200).map(|n| (format!("key-{n}"), n));
    assert_eq!(collection, expected.collect());
    let stored: i64 = env.kafka.end_offsets(&topic, 3).iter().sum();
    assert_eq!(stored, 200);
}

/// `key` → `n`; every key exactly once.
#[track_caller]
fn whole_collection(http: Http) -> BTreeMap<String, u64> {
    let answer = http.get("/items").expect(200);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let items: Vec<Value> = serde_json::from_slice(&answer.body)
        .unwrap_or_else(|error| panic!("not a JSON array: {error}: {}", answer.text()));
    let mut collection = BTreeMap::new();
    for item in items {
        let key = item["key"].as_str().expect("a key").to_owned();
        let earlier = collection.insert(key, item["n"].as_u64().expect("a number"));
        assert_eq!(earlier, None, "{item} is there twice");
    }
    collection
}

pub(crate) fn a_collection_under_constant_rewriting_is_whole(env: &Env) {
    const KEYS: usize = 40;
    let gateway = env.crud(&env.compacted(3));
    let http = gateway.http();
    let acknowledged: Vec<AtomicU64> = (0..KEYS).map(|_| AtomicU64::new(0)).collect();
    let write = |key: usize, n: u64| {
        let path = format!("/items/key-{key:02}");
        // Long enough that an answer takes more than one write.
        let document = format!(
            r#"{{"key":"key-{key:02}","n":{n},"filler":"{}"}}"#,
            "x".repeat(2_000)
        );
        http.put(&path, document).expect(204);
        acknowledged[key].store(n, Ordering::SeqCst);
    };
    (0..KEYS).for_each(|key| write(key, 1));
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for writer in 0..4 {
            let (write, stop) = (&write, &stop);
            scope.spawn(move || {
                for n in 2.. {
                    for key in (writer..KEYS).step_by(4) {
                        if stop.load(Ordering::SeqCst) {
                            return;
                        }
                        write(key, n);
                    }
                }
            });
        }
        let stop = StopOnDrop(&stop);
        for round in 0..60 {
            let before: Vec<u64> = acknowledged
                .iter()
                .map(|n| n.load(Ordering::SeqCst))
                .collect();
            let collection = whole_collection(http);
            assert_eq!(
                collection.len(),
                KEYS,
                "round {round}: {:?}",
                collection.keys()
            );
            for ((key, n), before) in collection.iter().zip(before) {
                assert!(
                    *n >= before,
                    "round {round}: {key} is at {n}, {before} was acknowledged"
                );
            }
        }
        drop(stop);
    });
}

/// Ends the writers also when an assertion fails; the scope would wait for them for ever.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

pub(crate) fn a_collection_leaves_out_the_deleted_and_the_empty(env: &Env) {
    let gateway = env.crud(&env.compacted(1));
    let http = gateway.http();
    assert_eq!(http.get("/items").expect(200).text(), "[]");
    for (path, value) in [
        ("/items/a", "1"),
        ("/items/b", "2"),
        ("/items/c", "3"),
        ("/items/d", "4"),
    ] {
        http.put(path, value).expect(204);
    }
    http.delete("/items/b").expect(204);
    http.put("/items/c", "").expect(204);
    http.put("/items/a", "5").expect(204);
    let answer = http.get("/items").expect(200);
    let mut values: Vec<u64> = serde_json::from_slice(&answer.body).expect("a JSON array");
    values.sort_unstable();
    assert_eq!(values, [4, 5]);
}

pub(crate) fn a_collection_has_an_etag_of_its_state(env: &Env) {
    let gateway = env.crud(&env.compacted(3));
    let http = gateway.http();
    let empty = http.get("/items").expect(200).etag();
    http.get_unless("/items", &empty).expect(304);
    http.put("/items/a", "1").expect(204);
    let one = http.get_unless("/items", &empty).expect(200).etag();
    assert_ne!(one, empty);
    for etag in [
        &*one,
        one.trim_matches('"'),
        &format!("W/{one}"),
        &format!("\"x\", {one}"),
    ] {
        let answer = http.get_unless("/items", etag).expect(304);
        assert_eq!(answer.etag(), one);
    }
    http.delete("/items/a").expect(204);
    let answer = http.get_unless("/items", &one).expect(200);
    assert_eq!(answer.text(), "[]");
    assert_ne!(answer.etag(), one);
}
