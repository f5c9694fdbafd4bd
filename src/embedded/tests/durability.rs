//! The data directory: what survives a restart, a cut file, a full disk.

use super::client::{Batch, Client, TempDir, now_ms, records};
use crate::embedded::{Broker, Config, ErrorCode, Fault, FaultHook};
use std::fs;
use std::path::PathBuf;

fn config(dir: &TempDir) -> Config {
    Config {
        dir: Some(dir.0.clone()),
        ..Config::default()
    }
}

fn segment(dir: &TempDir, partition: &str) -> PathBuf {
    dir.0.join(partition).join("00000000000000000000.log")
}

#[test]
fn topics_records_configs_and_producers_survive_a_restart() {
    let dir = TempDir::new();
    {
        let broker = Broker::start(config(&dir)).unwrap();
        broker
            .create_topic("t", 2, &[("max.message.bytes", "100")])
            .unwrap();
        let mut client = Client::of(&broker);
        client.produce("t", 1, Batch::idempotent(5, 0, 0, 1));
        client.produce("t", 1, Batch::idempotent(5, 0, 1, 1));
    }
    let broker = Broker::start(config(&dir)).unwrap();
    assert_eq!(
        broker.create_topic("t", 2, &[]),
        Err(ErrorCode::TOPIC_ALREADY_EXISTS)
    );
    let mut client = Client::of(&broker);
    assert_eq!(client.values("t", 1, 0).len(), 2);
    assert_eq!(
        client
            .produce("t", 1, Batch::idempotent(5, 0, 1, 1))
            .base_offset,
        1,
        "a duplicate"
    );
    assert_eq!(
        client
            .produce("t", 1, Batch::idempotent(5, 0, 2, 1))
            .base_offset,
        2
    );
    let large = client.produce("t", 1, Batch::of(&"x".repeat(100)));
    assert_eq!(ErrorCode(large.error_code), ErrorCode::MESSAGE_TOO_LARGE);
}

#[test]
fn a_deleted_topic_leaves_no_files_and_may_come_again() {
    let dir = TempDir::new();
    let broker = Broker::start(config(&dir)).unwrap();
    broker.create_topic("t", 2, &[]).unwrap();
    let mut client = Client::of(&broker);
    client.produce("t", 0, Batch::of("a"));
    super::topics::delete(&mut client, "t");
    assert!(!segment(&dir, "t-0").exists() && !dir.0.join("t-1").exists());
    broker.create_topic("t", 1, &[]).unwrap();
    assert_eq!(client.values("t", 0, 0), []);
    drop(broker);
    assert_eq!(
        Client::of(&Broker::start(config(&dir)).unwrap()).list_offset("t", -1),
        (0, -1, 0)
    );
}

#[test]
fn files_that_are_not_ours_are_left_alone() {
    let dir = TempDir::new();
    let broker = Broker::start(config(&dir)).unwrap();
    fs::create_dir(dir.0.join("t-0")).unwrap();
    let letter = dir.0.join("t-0").join("letter.txt");
    fs::write(&letter, "dear").unwrap();
    broker.create_topic("t", 1, &[]).unwrap();
    super::topics::delete(&mut Client::of(&broker), "t");
    assert!(letter.exists());
}

#[test]
fn a_log_cut_at_any_byte_of_its_last_batch_keeps_the_batches_before() {
    let dir = TempDir::new();
    {
        let broker = Broker::start(config(&dir)).unwrap();
        broker.create_topic("t", 1, &[]).unwrap();
        let mut client = Client::of(&broker);
        for value in ["a", "b", "c"] {
            client.produce("t", 0, Batch::of(value));
        }
    }
    let path = segment(&dir, "t-0");
    let whole = fs::read(&path).unwrap();
    let size = whole.len() / 3;
    for cut in 2 * size..whole.len() {
        fs::write(&path, &whole[..cut]).unwrap();
        let broker = Broker::start(config(&dir)).unwrap();
        let mut client = Client::of(&broker);
        assert_eq!(client.values("t", 0, 0).len(), 2, "cut at {cut}");
        assert_eq!(fs::metadata(&path).unwrap().len(), 2 * size as u64);
        assert_eq!(client.produce("t", 0, Batch::of("d")).base_offset, 2);
        assert_eq!(client.values("t", 0, 0).len(), 3);
    }
}

#[test]
fn a_changed_byte_ends_the_log_before_its_batch() {
    let dir = TempDir::new();
    {
        let broker = Broker::start(config(&dir)).unwrap();
        broker.create_topic("t", 1, &[]).unwrap();
        let mut client = Client::of(&broker);
        client.produce("t", 0, Batch::of("a"));
        client.produce("t", 0, Batch::of("b"));
    }
    let path = segment(&dir, "t-0");
    let mut bytes = fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&path, bytes).unwrap();
    let broker = Broker::start(config(&dir)).unwrap();
    assert_eq!(Client::of(&broker).list_offset("t", -1), (0, -1, 1));
}

#[test]
fn a_full_disk_is_told_and_leaves_the_log_as_it_was() {
    let dir = TempDir::new();
    let fault = Some(FaultHook::once(0, 1, Fault::DiskFull));
    {
        let broker = Broker::start(Config {
            fault,
            ..config(&dir)
        })
        .unwrap();
        broker.create_topic("t", 1, &[]).unwrap();
        let mut client = Client::of(&broker);
        assert_eq!(
            client
                .produce("t", 0, Batch::idempotent(5, 0, 0, 1))
                .error_code,
            0
        );
        let failed = client.produce("t", 0, Batch::idempotent(5, 0, 1, 1));
        assert_eq!(ErrorCode(failed.error_code), ErrorCode::KAFKA_STORAGE_ERROR);
        assert_eq!(client.values("t", 0, 0).len(), 1);
        let retried = client.produce("t", 0, Batch::idempotent(5, 0, 1, 1));
        assert_eq!((retried.error_code, retried.base_offset), (0, 1));
    }
    let broker = Broker::start(config(&dir)).unwrap();
    assert_eq!(Client::of(&broker).values("t", 0, 0).len(), 2);
}

#[test]
fn compaction_and_retention_shrink_the_file_and_survive_a_restart() {
    let dir = TempDir::new();
    let big = "x".repeat(100_000);
    let open = || Broker::start(config(&dir)).unwrap();
    {
        let broker = open();
        broker
            .create_topic("compact", 1, &[("cleanup.policy", "compact")])
            .unwrap();
        broker
            .create_topic("short", 1, &[("retention.bytes", "250000")])
            .unwrap();
        let mut client = Client::of(&broker);
        for _ in 0..40 {
            client.produce("compact", 0, Batch::keyed("k", Some(&big)));
            client.produce("short", 0, Batch::of(&big));
        }
        broker.compact_now();
        assert!(fs::metadata(segment(&dir, "compact-0")).unwrap().len() < 250_000);
        assert!(fs::metadata(segment(&dir, "short-0")).unwrap().len() < 2_000_000);
    }
    let broker = open();
    let mut client = Client::of(&broker);
    let left = client.fetch("compact", 0, 0);
    assert_eq!((left.log_start_offset, left.high_watermark), (0, 40));
    let offsets: Vec<_> = records(left.records.as_ref().unwrap())
        .iter()
        .map(|record| record.offset)
        .collect();
    assert_eq!(offsets, [39]);
    assert_eq!(
        (
            client.list_offset("short", -2).2,
            client.list_offset("short", -1).2
        ),
        (38, 40)
    );
}

#[test]
fn age_is_looked_at_when_a_log_is_opened() {
    let dir = TempDir::new();
    {
        let broker = Broker::start(config(&dir)).unwrap();
        broker
            .create_topic("t", 1, &[("retention.ms", "60000")])
            .unwrap();
        let old = Batch {
            base_timestamp: now_ms() - 100_000,
            ..Batch::new()
        }
        .record(None, Some("a"))
        .bytes();
        let mut client = Client::of(&broker);
        client.produce("t", 0, old);
        client.produce("t", 0, Batch::of("b"));
    }
    let broker = Broker::start(config(&dir)).unwrap();
    assert_eq!(Client::of(&broker).list_offset("t", -2), (0, -1, 1));
}
