//! Records that others wrote, in whatever way they write.

use crate::harness::broker::{Broker, java_tool};
use crate::harness::kafka::{Batch, Transaction, call, text};
use crate::harness::tool::{is_there, kcat_produce};
use crate::harness::{COMPACTED, Env, PATIENCE, eventually};
use kafka_protocol::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use kafka_protocol::messages::{
    AddPartitionsToTxnRequest, EndTxnRequest, FindCoordinatorRequest, InitProducerIdRequest,
    ProducerId, TopicName, TransactionalId,
};
use kafka_protocol::records::Compression;
use sluice::embedded::{Fault, FaultHook, Request};
use std::time::Duration;

const DESCRIBE_CONFIGS: i16 = 32;

/// Coordinator loading, not available, or not yet done with the transaction before: ask again.
const ASK_AGAIN: [i16; 4] = [14, 15, 16, 51];

const CODECS: [&str; 4] = ["gzip", "snappy", "lz4", "zstd"];

pub(crate) fn records_of_another_client_appear(env: &Env) {
    let topic = env.compacted(1);
    let gateway = env.crud(&topic);
    let http = gateway.http();
    assert_eq!(http.get("/items").expect(200).text(), "[]");
    env.kafka.produce(&topic, 0, "a", Some(b"1"));
    appears(env, http, "/items/a", "1");
    env.kafka.produce(&topic, 0, "a", Some(b"2"));
    appears(env, http, "/items/a", "2");
    assert_eq!(http.get("/items").expect(200).text(), "[2]");
    env.kafka.produce(&topic, 0, "a", None);
    eventually("the tombstone appears", PATIENCE, || {
        (http.get("/items/a").status == 404).then_some(())
    });
    assert_eq!(http.get("/items").expect(200).text(), "[]");
}

/// Whichever core hears of the topic second gets its leaders long before its configuration.
pub(crate) fn a_late_configuration() {
    let hook = |request: &Request| match (request.api_key, request.nth) {
        (DESCRIBE_CONFIGS, 1..) => Fault::Delay(Duration::from_secs(1)),
        _ => Fault::None,
    };
    let env = Env::new(Broker::faulty(FaultHook::new(hook)));
    let topic = env.compacted(4);
    for partition in 0..4 {
        let key = format!("key-{partition}");
        for value in [b"1", b"2"] {
            env.kafka.produce(&topic, partition, &key, Some(value));
        }
    }
    let gateway = env.crud(&topic);
    // Connections of their own land on either core.
    for _ in 0..16 {
        let answer = gateway.http().get("/items").expect(200);
        assert_eq!(answer.text(), "[2,2,2,2]");
    }
}

/// Empty before and after, so that no offset tells of it.
pub(crate) fn a_topic_made_anew_may_be_compacted(env: &Env) {
    let topic = env.topic(2, &[]);
    let gateway = env.crud(&topic);
    for _ in 0..4 {
        assert_eq!(gateway.http().get("/items").expect(200).text(), "[]");
    }
    env.kafka.recreate_topic(&topic, 2, COMPACTED);
    for partition in 0..2 {
        let key = format!("key-{partition}");
        for value in [b"1", b"2"] {
            env.kafka.produce(&topic, partition, &key, Some(value));
        }
    }
    eventually("both cores know that it is compacted", PATIENCE, || {
        let all = (0..8).all(|_| {
            let answer = gateway.http().get("/items");
            answer.status == 200 && answer.text() == "[2,2]"
        });
        all.then_some(())
    });
}

/// Nobody told the gateway that it was written: it takes a moment.
#[track_caller]
fn appears(_env: &Env, http: crate::harness::http::Http, path: &str, value: &str) {
    eventually(&format!("{path} is {value}"), PATIENCE, || {
        let answer = http.get(path);
        assert!(matches!(answer.status, 200 | 404), "{answer:?}");
        (answer.status == 200 && answer.text() == value).then_some(())
    });
}

pub(crate) fn compressed_batches_appear(env: &Env) {
    let topic = env.compacted(1);
    let gateway = env.crud(&topic);
    let long = format!("\"{}\"", "abcdefgh".repeat(1_000));
    for (name, compression) in [
        ("none", Compression::None),
        ("gzip", Compression::Gzip),
        ("snappy", Compression::Snappy),
        ("lz4", Compression::Lz4),
        ("zstd", Compression::Zstd),
    ] {
        let (first, second) = (format!("{name}-1"), format!("{name}-2"));
        let items = [(&*first, "1"), (&*second, &*long)];
        let batch = Batch {
            compression,
            items: &items,
            transaction: None,
        };
        env.kafka.produce_batch(&topic, 0, &batch);
        appears(env, gateway.http(), &format!("/items/{second}"), &long);
        assert_eq!(
            gateway
                .http()
                .get(&format!("/items/{first}"))
                .expect(200)
                .text(),
            "1"
        );
        if is_there("kcat") {
            let input = format!("kcat-{name}:{long}\n");
            kcat_produce(&env.broker.bootstrap(), &topic, &["-z", name], &input);
            appears(env, gateway.http(), &format!("/items/kcat-{name}"), &long);
        }
    }
    let answer = gateway.http().get("/items").expect(200);
    let items: Vec<serde_json::Value> = serde_json::from_slice(&answer.body).expect("a JSON array");
    assert_eq!(items.len(), if is_there("kcat") { 15 } else { 10 });
}

pub(crate) fn java_compression(env: &Env) {
    let topic = env.compacted(3);
    let gateway = env.crud(&topic);
    let bootstrap = env.broker.bootstrap();
    let long = format!("\"{}\"", "abcdefgh".repeat(1_000));
    for codec in CODECS {
        let arguments = [
            "--bootstrap-server",
            &bootstrap,
            "--topic",
            &topic,
            "--compression-codec",
            codec,
            "--property",
            "parse.key=true",
            "--property",
            "key.separator=:",
            "--property",
            "parse.headers=true",
            "--property",
            "headers.delimiter=|",
        ];
        let input = format!("a:1,a:2,content-type:text/plain|java-{codec}:{long}\n");
        let done = java_tool("org.apache.kafka.tools.ConsoleProducer", &arguments, &input);
        assert_eq!(done.code, Some(0), "{done:?}");
        let path = format!("/items/java-{codec}");
        appears(env, gateway.http(), &path, &long);
        assert_eq!(
            gateway.http().get(&path).header("content-type"),
            Some("text/plain")
        );
    }
}

/// Only writers that partition as the Java client does put a key where we would look first.
pub(crate) fn a_key_is_found_in_whatever_partition_it_lies(env: &Env) {
    let topic = env.compacted(3);
    let gateway = env.crud(&topic);
    for partition in 0..3 {
        let key = format!("same-{partition}");
        env.kafka.produce(&topic, partition, &key, Some(b"1"));
        env.kafka
            .produce(&topic, partition, &format!("other-{partition}"), Some(b"2"));
        appears(env, gateway.http(), &format!("/items/{key}"), "1");
        appears(
            env,
            gateway.http(),
            &format!("/items/other-{partition}"),
            "2",
        );
    }
}

pub(crate) fn kcat_records_with_repeated_and_null_headers_appear(env: &Env) {
    if !is_there("kcat") {
        return;
    }
    let topic = env.compacted(3);
    let gateway = env.crud(&topic);
    // `n` alone is a null header.
    let headers = [
        "-H",
        "a=1",
        "-H",
        "n",
        "-H",
        "content-type=text/plain",
        "-H",
        "a=2",
        "-H",
        "a=",
    ];
    kcat_produce(&env.broker.bootstrap(), &topic, &headers, "k:plain text\n");
    appears(env, gateway.http(), "/items/k", "plain text");
    let answer = gateway.http().get("/items/k").expect(200);
    assert_eq!(answer.header("content-type"), Some("text/plain"));
    assert_eq!(answer.header("a"), None, "only the content type is shown");
    // And the gateway writes on.
    gateway.http().put("/items/k", b"{}").expect(204);
    assert_eq!(gateway.http().get("/items/k").expect(200).body, b"{}");
}

pub(crate) fn the_topic_is_read_from_its_beginning(env: &Env) {
    let topic = env.compacted(2);
    for n in 0..50 {
        let value = n.to_string();
        env.kafka.produce(
            &topic,
            n % 2,
            &format!("key-{}", n % 10),
            Some(value.as_bytes()),
        );
    }
    let gateway = env.crud(&topic);
    // From the first answer on: never "not found" because it has not been read yet.
    for n in 40..50 {
        let path = format!("/items/key-{}", n % 10);
        assert_eq!(gateway.http().get(&path).expect(200).text(), n.to_string());
    }
    let answer = gateway.http().get("/items").expect(200);
    let mut values: Vec<i32> = serde_json::from_slice(&answer.body).expect("a JSON array");
    values.sort_unstable();
    assert_eq!(values, (40..50).collect::<Vec<_>>());
}

pub(crate) fn aborted_transaction(env: &Env) {
    let topic = env.compacted(1);
    let gateway = env.crud(&topic);
    let address = env.kafka.any_address();
    // Makes the broker create the topic where it keeps transactions.
    let coordinator = FindCoordinatorRequest::default()
        .with_key(text(&topic))
        .with_key_type(1);
    eventually("a transaction coordinator", PATIENCE, || {
        let code = call(address, 3, &coordinator).error_code;
        assert!(
            code == 0 || ASK_AGAIN.contains(&code),
            "coordinator: error {code}"
        );
        (code == 0).then_some(())
    });
    let transaction = |committed: bool, items: &[(&str, &str)]| {
        let id = TransactionalId(text(&topic));
        let init = InitProducerIdRequest::default()
            .with_transactional_id(Some(id.clone()))
            .with_transaction_timeout_ms(60_000);
        let producer = eventually("a producer id", PATIENCE, || {
            let answer = call(address, 4, &init);
            let code = answer.error_code;
            assert!(code == 0 || ASK_AGAIN.contains(&code), "init: error {code}");
            (code == 0).then_some(answer)
        });
        let partitions = AddPartitionsToTxnTopic::default()
            .with_name(TopicName(text(&topic)))
            .with_partitions(vec![0]);
        let add = AddPartitionsToTxnRequest::default()
            .with_v3_and_below_transactional_id(id.clone())
            .with_v3_and_below_producer_id(producer.producer_id)
            .with_v3_and_below_producer_epoch(producer.producer_epoch)
            .with_v3_and_below_topics(vec![partitions]);
        eventually("the partition is in the transaction", PATIENCE, || {
            let answer = call(address, 3, &add);
            let code = answer.results_by_topic_v3_and_below[0].results_by_partition[0]
                .partition_error_code;
            assert!(code == 0 || ASK_AGAIN.contains(&code), "add: error {code}");
            (code == 0).then_some(())
        });
        let batch = Batch {
            compression: Compression::None,
            items,
            transaction: Some(Transaction {
                id: id.clone(),
                producer_id: producer.producer_id.0,
                producer_epoch: producer.producer_epoch,
            }),
        };
        env.kafka.produce_batch(&topic, 0, &batch);
        let end = EndTxnRequest::default()
            .with_transactional_id(id)
            .with_producer_id(ProducerId(producer.producer_id.0))
            .with_producer_epoch(producer.producer_epoch)
            .with_committed(committed);
        eventually("the transaction ends", PATIENCE, || {
            let code = call(address, 3, &end).error_code;
            assert!(code == 0 || ASK_AGAIN.contains(&code), "end: error {code}");
            (code == 0).then_some(())
        });
    };
    transaction(true, &[("kept", "1"), ("rewritten", "1")]);
    transaction(false, &[("rewritten", "2"), ("never", "2")]);
    transaction(true, &[("last", "3")]);
    let http = gateway.http();
    appears(env, http, "/items/last", "3");
    http.get("/items/never").expect(404);
    assert_eq!(http.get("/items/kept").expect(200).text(), "1");
    assert_eq!(http.get("/items/rewritten").expect(200).text(), "1");
    let mut values: Vec<u8> =
        serde_json::from_slice(&http.get("/items").expect(200).body).expect("a JSON array");
    values.sort_unstable();
    assert_eq!(values, [1, 1, 3]);
}
