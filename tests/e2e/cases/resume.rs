//! Event streams that go on where they broke off: nothing lost, nothing repeated, and said when that cannot be.

use super::events::stream;
use crate::harness::Env;
use crate::harness::records::Record;
use crate::harness::sse::{Block, Events, Over, progress};
use std::collections::BTreeSet;

const PARTITIONS: i32 = 3;

/// Writes rounds of one record to each partition; values say where and which.
fn write_rounds(env: &Env, topic: &str, rounds: std::ops::Range<usize>) {
    for round in rounds {
        for partition in 0..PARTITIONS {
            let value = format!("{partition}/{round}");
            env.kafka
                .append(topic, partition, &[Record::new("k", &value)]);
        }
    }
}

/// The offsets that follow from what has come so far, which the id of the last event has to say.
#[track_caller]
fn assert_ids_add_up(events: &[Block]) {
    let mut next = [-2; PARTITIONS as usize];
    for event in events {
        let data = event.data();
        let (partition, round) = data.split_once('/').expect("ours");
        let partition: usize = partition.parse().expect("a partition");
        let round: i64 = round.parse().expect("a round");
        assert!(round + 1 > next[partition], "out of order: {events:?}");
        next[partition] = round + 1;
        assert_eq!(event.id(), progress(&next), "{events:?}");
    }
}

pub(crate) fn at_every_id_another_gateway_goes_on(env: &Env) {
    let topic = env.topic(PARTITIONS, &[]);
    let first = stream(env, &topic, "");
    // Half of it is history, half comes live.
    write_rounds(env, &topic, 0..5);
    let mut events = Over::Http1.open(&first, "/events", &[]);
    let mut seen = events.take(15);
    write_rounds(env, &topic, 5..10);
    seen.extend(events.take(15));
    assert_ids_add_up(&seen);
    let all: BTreeSet<String> = seen.iter().map(Block::data).collect();
    assert_eq!(all.len(), seen.len());

    let second = stream(env, &topic, "");
    let mut resumed: Vec<Events> = Vec::new();
    for (count, over) in (1..=seen.len()).zip(Over::BOTH.into_iter().cycle()) {
        let id = seen[count - 1].id();
        let mut stream = over.open(&second, "/events", &[("last-event-id", id)]);
        let rest: BTreeSet<String> = stream.take_data(seen.len() - count).into_iter().collect();
        let had: BTreeSet<String> = seen[..count].iter().map(Block::data).collect();
        assert_eq!(&rest | &had, all, "after {count}");
        assert_eq!(rest.len() + count, all.len(), "after {count}");
        resumed.push(stream);
    }
    // And nothing more than that, before what comes next.
    write_rounds(env, &topic, 10..11);
    for stream in &mut resumed {
        let next: BTreeSet<String> = stream.take_data(3).into_iter().collect();
        assert_eq!(next, ["0/10", "1/10", "2/10"].map(str::to_owned).into());
    }
}

pub(crate) fn an_id_comes_by_header_or_query(env: &Env) {
    let topic = env.topic(1, &[]);
    let gateway = stream(env, &topic, "");
    let records = ["0", "1", "2", "3"].map(|value| Record::new("a", value));
    env.kafka.append(&topic, 0, &records);
    let header = |id: &'static str| [("last-event-id", id)];
    let all = ["0", "1", "2", "3"];
    for over in Over::BOTH {
        let check = |path: &str, headers: &[(&str, &str)], from: usize| {
            let mut stream = over.open(&gateway, path, headers);
            let data = stream.take_data(all.len() - from);
            assert_eq!(data, all[from..], "{over:?} {path} {headers:?}");
        };
        check("/events", &header("AQIABA=="), 2);
        check("/events?lastEventId=AQIABA==", &[], 2);
        check("/events?x=1&lastEventId=AQIABA%3D%3D", &[], 2);
        // The header is newer: a browser adds it to the address that it began with.
        check("/events?lastEventId=AQIABA==", &header("AQIABg=="), 3);
        check("/events", &header("AQIABA==/an-etag"), 2);
        check("/events", &header("[\"YQ==\",\"AQIABA==\"]"), 2);
        // What is none of ours means the beginning.
        for other in ["", "garbage", "AQIABA", "[1,2]", "\"AQIABA==\""] {
            check("/events", &[("last-event-id", other)], 0);
        }
    }
}

pub(crate) fn an_id_beyond_the_end_is_a_gap(env: &Env) {
    let topic = env.topic(2, &[]);
    let gateway = stream(env, &topic, "");
    env.kafka
        .append(&topic, 0, &[Record::new("a", "0"), Record::new("a", "1")]);
    env.kafka.append(&topic, 1, &[Record::new("a", "other")]);
    for (others, over) in (1..).zip(Over::BOTH) {
        let id = progress(&[100, others]);
        let mut stream = over.open(&gateway, "/events", &[("last-event-id", &id)]);
        assert_eq!(stream.next().text, ": gap\n", "{over:?}");
        assert_eq!(stream.take_data(2), ["0", "1"], "{over:?}");
        // Said once.
        let live = format!("live over {over:?}");
        env.kafka.append(&topic, 1, &[Record::new("a", &live)]);
        assert_eq!(stream.next().data(), live);
    }
}

/// Only the embedded broker lets go of records as soon as they are too many.
pub(crate) fn what_retention_took_is_a_gap(env: &Env) {
    let configs = [("retention.bytes", "2000"), ("cleanup.policy", "delete")];
    let topic = env.topic(1, &configs);
    let first = stream(env, &topic, "");
    let mut early = Over::Http1.open(&first, "/events", &[]);
    let value = |n: usize| format!("{n:0200}");
    for n in 0..3 {
        env.kafka.append(&topic, 0, &[Record::new("a", &value(n))]);
    }
    let id = early.next().id().to_owned();
    early.take(2);
    for n in 3..40 {
        env.kafka.append(&topic, 0, &[Record::new("a", &value(n))]);
        // Who follows is not touched by it.
        assert_eq!(early.next().data(), value(n));
    }
    // A gateway that has none of it in its cache.
    let second = stream(env, &topic, "");
    for over in Over::BOTH {
        let mut late = over.open(&second, "/events", &[("last-event-id", &id)]);
        assert_eq!(late.next().text, ": gap\n", "{over:?}");
        let oldest: usize = late.next().data().parse().expect("a number");
        assert!((2..40).contains(&oldest), "{oldest}");
        let rest: Vec<String> = (oldest + 1..40).map(value).collect();
        assert_eq!(late.take_data(rest.len()), rest);
        // A new client has missed nothing.
        let mut new = over.open(&second, "/events", &[]);
        assert_eq!(
            new.next().text,
            format!(
                "id:{}\ndata:{}\n",
                progress(&[i64::try_from(oldest).expect("small") + 1]),
                value(oldest)
            )
        );
    }
}
