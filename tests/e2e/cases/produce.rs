//! What a write leaves in Kafka, judged by another client.

use crate::harness::config::Crud;
use crate::harness::http::request;
use crate::harness::kafka::now_millis;
use crate::harness::tool::{is_there, run};
use crate::harness::{Env, PATIENCE, eventually};
use std::collections::BTreeMap;
use std::process::Command;

pub(crate) fn a_delete_leaves_a_null_value_in_kafka(env: &Env) {
    let topic = env.compacted(3);
    let gateway = env.crud(&topic);
    let http = gateway.http();
    http.put("/items/1", b"{}").expect(204);
    // A body of a DELETE is ignored.
    http.request("DELETE", "/items/1", &[], Some(b"body"))
        .expect(204);
    let record = env
        .kafka
        .newest(&topic, 3, "1")
        .expect("the tombstone")
        .record;
    assert_eq!(record.value, None);
    assert_eq!(record.headers, BTreeMap::new());
    if !is_there("kcat") {
        return;
    }
    let mut kcat = Command::new("kcat");
    kcat.args([
        "-C",
        "-e",
        "-q",
        "-b",
        &env.broker.bootstrap(),
        "-t",
        &topic,
        "-f",
        "%k %S\n",
    ]);
    let mut seen: Vec<String> = run(&mut kcat, b"")
        .stdout
        .lines()
        .map(str::to_owned)
        .collect();
    seen.sort();
    assert_eq!(
        seen,
        ["1 -1", "1 2"],
        "kcat shows a null value's length as -1"
    );
}

pub(crate) fn a_post_takes_its_key_from_the_idempotency_key(env: &Env) {
    let topic = env.compacted(3);
    let gateway = env.crud(&topic);
    let http = gateway.http();
    let post = |headers: &[(&str, &str)], body: &str| {
        http.request("POST", "/items", headers, Some(body.as_bytes()))
            .expect(204);
    };
    post(&[("idempotency-key", "first")], "1");
    assert_eq!(http.get("/items/first").expect(200).text(), "1");
    // Repeats are not held back where there is no reply to give again.
    post(&[("Idempotency-Key", "first")], "2");
    assert_eq!(http.get("/items/first").expect(200).text(), "2");

    post(&[], "3");
    post(&[], "4");
    let records = env.kafka.records(&topic, 3).concat();
    let mut keys: Vec<_> = records
        .iter()
        .filter(|found| matches!(found.record.value.as_deref(), Some(b"3" | b"4")))
        .map(|found| String::from_utf8(found.record.key.clone().expect("a key")).expect("text"))
        .collect();
    keys.dedup();
    assert_eq!(keys.len(), 2, "each without a key gets its own: {keys:?}");
    for key in keys {
        let parts: Vec<usize> = key.split('-').map(str::len).collect();
        assert_eq!(parts, [8, 4, 4, 4, 12], "{key} is not a UUID");
        http.get(&format!("/items/{key}")).expect(200);
    }
}

pub(crate) fn a_record_carries_the_content_type_and_nothing_else(env: &Env) {
    let topic = env.compacted(1);
    let gateway = env.crud(&topic);
    let headers = [
        ("Content-Type", "text/plain; charset=utf-8"),
        ("x-other", "1"),
        ("if-match", "\"x\""),
        ("user-agent", "e2e"),
        ("idempotency-key", "unused"),
    ];
    gateway
        .http()
        .request("PUT", "/items/1", &headers, Some(b"v"))
        .expect(204);
    gateway.http().put("/items/2", b"v").expect(204);
    let with = env.kafka.newest(&topic, 1, "1").expect("it").record;
    let content_type = (
        "content-type".to_owned(),
        b"text/plain; charset=utf-8".to_vec(),
    );
    assert_eq!(with.headers, BTreeMap::from([content_type]));
    let without = env.kafka.newest(&topic, 1, "2").expect("it").record;
    assert_eq!(without.headers, BTreeMap::new());
    // Timestamps are the time of the request.
    let age = now_millis() - with.timestamp.timestamp_millis();
    assert!(
        (-5_000..120_000).contains(&age),
        "the record is {age} ms old"
    );
}

pub(crate) fn every_acks_setting_stores_the_record(env: &Env) {
    let topic = env.compacted(1);
    let mut config = Crud::over(&topic);
    for acks in ["none", "leader_only", "in_sync_replicas"] {
        let with = format!("capability: produce\nkey: ${{params.id}}\nacks: {acks}");
        config = config.route("PUT", &format!("/{acks}/{{id}}"), &with);
    }
    let gateway = env.gateway(&config);
    for acks in ["leader_only", "in_sync_replicas", "none"] {
        gateway
            .http()
            .put(&format!("/{acks}/{acks}"), acks)
            .expect(204);
    }
    for acks in ["leader_only", "in_sync_replicas"] {
        let record = env.kafka.newest(&topic, 1, acks).expect(acks).record;
        assert_eq!(record.value.as_deref(), Some(acks.as_bytes()));
    }
    // Without acks the answer says only that it was sent.
    eventually("the record without acks", PATIENCE, || {
        env.kafka.newest(&topic, 1, "none")
    });
}

pub(crate) fn overrides_become_record_headers(env: &Env) {
    let topic = env.compacted(1);
    let with =
        "capability: produce\nkey: ${params.id}\noverrides:\n  source: web\n  item: ${params.id}";
    let fetch = "capability: fetch\nfilters:\n  - headers:\n      item: ${params.id}";
    let config =
        Crud::over(&topic)
            .route("PUT", "/tagged/{id}", with)
            .route("GET", "/tagged/{id}", fetch);
    let gateway = env.gateway(&config);
    let http = gateway.http();
    http.put("/tagged/7", b"{}").expect(204);
    let record = env.kafka.newest(&topic, 1, "7").expect("it").record;
    let header = |name: &str, value: &str| (name.to_owned(), value.as_bytes().to_vec());
    assert_eq!(
        record.headers,
        BTreeMap::from([header("source", "web"), header("item", "7")])
    );
    // And a record can be found by them.
    assert_eq!(http.get("/tagged/7").expect(200).body, b"{}");
    http.get("/tagged/8").expect(404);
}

pub(crate) fn half_sent_uploads_store_nothing(env: &Env) {
    let topic = env.compacted(1);
    let gateway = env.crud(&topic);
    let http = gateway.http();
    http.put("/items/before", b"1").expect(204);
    let before = env.kafka.end_offsets(&topic, 1)[0];
    let whole = request("PUT", "/items/half", &[], Some(&[b'x'; 1000]));
    let chunked = b"PUT /items/half HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    for request in [&whole[..], chunked] {
        // All but one byte, and some places before.
        for cut in [
            request.len() - 1,
            request.len() - 2,
            request.len() - 5,
            request.len() - 8,
            request.len() / 2,
            10,
        ] {
            let mut ends = http.connect();
            ends.send(&request[..cut]);
            ends.finish();
            // Whatever it says to that (400, 408, nothing), it is not 2xx.
            let answer = String::from_utf8_lossy(&ends.receive_all()).into_owned();
            assert!(!answer.contains("HTTP/1.1 2"), "{answer}");
            // A reset as well: with bytes of an answer unread, closing is one.
            let mut resets = http.connect();
            resets.send("GET /items HTTP/1.1\r\nhost: x\r\n\r\n");
            resets.send(&request[..cut]);
            drop(resets);
        }
    }
    http.put("/items/after", b"1").expect(204);
    assert_eq!(env.kafka.end_offsets(&topic, 1)[0], before + 1);
    http.get("/items/half").expect(404);
}
