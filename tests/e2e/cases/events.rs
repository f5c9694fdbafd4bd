//! Event streams (the reference's section 4, with DESIGN.md's section 9): what a client sees of a topic, byte for byte, over
//! both versions of HTTP.

use super::observe::exporter;
use crate::harness::Env;
use crate::harness::gateway::Gateway;
use crate::harness::http::Http;
use crate::harness::kafka::now_millis;
use crate::harness::records::Record;
use crate::harness::site::Site;
use crate::harness::sse::{End, Over, progress};
use crate::harness::timing::takes_less;
use crate::harness::{PATIENCE, eventually, unique};
use std::time::{Duration, Instant};

const DRAIN: Duration = Duration::from_secs(10);

/// `/events` is all of the topic.
pub(super) fn stream(env: &Env, topic: &str, options: &str) -> Gateway {
    env.site(&Site::default().events("/events", "", options, &format!("topic: {topic}")))
}

pub(crate) fn a_stream_begins_at_once_and_goes_on_live(env: &Env) {
    for over in Over::BOTH {
        let topic = env.topic(1, &[]);
        let gateway = stream(env, &topic, "retry: 1500");
        // There is nothing to say yet, but that it is a stream.
        let mut early = over.open(&gateway, "/events", &[]);
        assert_eq!(early.header("content-type"), Some("text/event-stream"));
        assert_eq!(early.header("cache-control"), Some("no-cache"));
        let deadline = Instant::now() + PATIENCE;
        let first = early.next_block(deadline).expect("open").expect("in time");
        assert_eq!(first.text, "retry:1500\n");
        env.kafka.append(&topic, 0, &[Record::new("a", "one")]);
        assert_eq!(early.next().text, "id:AQIAAg==\ndata:one\n");
        // Who comes later gets the same, and both what comes then.
        let mut late = over.open(&gateway, "/events", &[]);
        assert_eq!(late.next().text, "id:AQIAAg==\ndata:one\n");
        env.kafka.append(&topic, 0, &[Record::new("a", "two")]);
        for stream in [&mut early, &mut late] {
            assert_eq!(stream.next().text, "id:AQIABA==\ndata:two\n", "{over:?}");
        }
    }
}

pub(crate) fn an_event_has_the_bytes_of_its_record(env: &Env) {
    let records = [
        Record::new("k", ""),
        Record::new("k", "a\nb\r\nc\rd"),
        Record::new("k", "x\n"),
        Record::new("k", " lead"),
        Record::new("k", "id:forged\n\nevent:forged"),
        Record::new("k", "v").header("etag", "rev-7"),
        Record {
            value: None,
            ..Record::new("a key/?", "")
        },
        Record {
            key: None,
            value: None,
            headers: Vec::new(),
        },
        Record {
            key: None,
            ..Record::new("", "{\"ü\":1}")
        },
        Record::new("k", "v").header("etag", "a\nevent:forged"),
    ];
    let rest = [
        "data:\n",
        "data:a\ndata:b\ndata:c\ndata:d\n",
        "data:x\ndata:\n",
        "data:  lead\n",
        "data:id:forged\ndata:\ndata:event:forged\n",
        "data:v\n",
        "event:delete\ndata:YSBrZXkvPw==\n",
        "event:delete\n",
        "data:{\"ü\":1}\n",
        "data:v\n",
    ];
    let topic = env.topic(1, &[]);
    let gateway = stream(env, &topic, "");
    let mut live: Vec<_> = Over::BOTH
        .iter()
        .map(|over| over.open(&gateway, "/events", &[]))
        .collect();
    env.kafka.append(&topic, 0, &records);
    let history = Over::BOTH.map(|over| over.open(&gateway, "/events", &[]));
    live.extend(history);
    for mut stream in live {
        for (next, rest) in (1..).zip(rest) {
            let etag = if next == 6 { "/rev-7" } else { "" };
            let expected = format!("id:{}{etag}\n{rest}", progress(&[next]));
            assert_eq!(stream.next().text, expected);
        }
    }
}

pub(crate) fn ids_may_have_the_key(env: &Env) {
    let topic = env.topic(1, &[]);
    let with = format!("topic: {topic}\nevent:\n  id: '[\"${{base64(key)}}\",\"${{etag}}\"]'");
    let gateway = env.site(&Site::default().events("/events", "", "", &with));
    let keyless = Record {
        key: None,
        ..Record::new("", "y")
    };
    let tagged = Record::new("AAP", "z").header("etag", "e");
    let records = [Record::new("AAP", "x"), keyless, tagged];
    env.kafka.append(&topic, 0, &records);
    let ids = [
        "[\"QUFQ\",\"AQIAAg==\"]",
        "[null,\"AQIABA==\"]",
        "[\"QUFQ\",\"AQIABg==/e\"]",
    ];
    let mut stream = Over::Http1.open(&gateway, "/events", &[]);
    for id in ids {
        assert_eq!(stream.next().id(), id);
    }
    // Each is a place to go on from: Zilla starts over.
    for (id, rest) in ids.iter().zip([&["y", "z"][..], &["z"], &[]]) {
        let mut resumed = Over::Http1.open(&gateway, "/events", &[("last-event-id", id)]);
        assert_eq!(resumed.take_data(rest.len()), rest);
    }
}

pub(crate) fn of_a_compacted_topic_a_client_gets_the_newest_of_each_key(env: &Env) {
    let topic = env.compacted(1);
    let tombstone = Record {
        value: None,
        ..Record::new("c", "")
    };
    let records = [
        Record::new("a", "old"),
        Record::new("b", "b"),
        Record::new("c", "c"),
        Record::new("a", "new"),
        tombstone,
    ];
    env.kafka.append(&topic, 0, &records);
    let gateway = stream(env, &topic, "");
    for over in Over::BOTH {
        let mut stream = over.open(&gateway, "/events", &[]);
        assert_eq!(stream.next().text, "id:AQIABA==\ndata:b\n");
        assert_eq!(stream.next().text, "id:AQIACA==\ndata:new\n");
        let deleted = stream.next();
        assert_eq!(deleted.text, "id:AQIACg==\nevent:delete\ndata:Yw==\n");
    }
    // Live, nothing is left out.
    let mut stream = Over::Http1.open(&gateway, "/events", &[]);
    stream.take(3);
    let records = ["1", "2", "3"].map(|value| Record::new("a", value));
    env.kafka.append(&topic, 0, &records);
    assert_eq!(stream.take_data(3), ["1", "2", "3"]);
}

pub(crate) fn filters_come_from_the_path(env: &Env) {
    let with = "topic: ${params.topic}\nfilters:\n  - key: ${params.key}\n    headers:\n      tag: ${params.tag}";
    let site = Site::default().events("/events/{topic}/{key}/{tag}", "", "", with);
    let gateway = env.site(&site);
    let record = |key: &str, tag: &str, value: &str| Record::new(key, value).header("tag", tag);
    for over in Over::BOTH {
        let topic = env.topic(2, &[]);
        let write = |partition, wanted: &str| {
            let records = [
                record("a b", "y", "another tag"),
                record("a b", "x", wanted),
                record("a", "x", "another key"),
                Record::new("a b", "no tag"),
            ];
            env.kafka.append(&topic, partition, &records);
        };
        write(0, "history");
        let path = format!("/events/{topic}/a%20b/x?access=1");
        let mut stream = over.open(&gateway, &path, &[]);
        assert_eq!(stream.next().data(), "history", "{over:?}");
        let mut other = over.open(&gateway, &format!("/events/{topic}/b/x"), &[]);
        write(1, "live");
        assert_eq!(stream.next().data(), "live", "{over:?}");
        env.kafka.append(&topic, 0, &[record("b", "x", "for b")]);
        assert_eq!(other.next().data(), "for b");
        write(0, "end");
        assert_eq!(stream.next().data(), "end");
    }
}

pub(crate) fn a_silent_stream_is_kept_alive(env: &Env) {
    let topic = env.topic(1, &[]);
    let gateway = stream(env, &topic, "heartbeat: 1s");
    for over in Over::BOTH {
        let mut stream = over.open(&gateway, "/events", &[]);
        let mut next = || {
            let deadline = Instant::now() + PATIENCE;
            let block = stream.next_block(deadline).expect("open");
            block.expect("in time").text
        };
        assert_eq!(next(), "retry:2000\n");
        // A second after the gateway wrote the one before, which may have been some time on its way.
        let most = Duration::from_millis(1_500);
        assert_eq!(takes_less(most, &mut next), ":\n");
        assert_eq!(takes_less(most, &mut next), ":\n");
    }
}

pub(crate) fn what_is_no_stream_is_refused(env: &Env) {
    let topic = env.topic(1, &[]);
    let gateway = stream(env, &topic, "");
    for over in Over::BOTH {
        for method in ["POST", "PUT", "DELETE", "HEAD"] {
            let answer = over.request(&gateway, method, "/events", &[]);
            assert_eq!(answer.status, 405, "{over:?} {method} {answer:?}");
            assert_eq!(answer.header("allow"), Some("GET"));
        }
        let answer = over.request(&gateway, "GET", "/elsewhere", &[]);
        assert_eq!(answer.status, 404, "{answer:?}");
        let long = "A".repeat(9_000);
        let id = [("last-event-id", &*long)];
        let answer = over.request(&gateway, "GET", "/events", &id).expect(400);
        assert_eq!(
            answer.header("content-type"),
            Some("application/problem+json")
        );
        let path = format!("/events?lastEventId={long}");
        over.request(&gateway, "GET", &path, &[]).expect(400);
    }
}

pub(crate) fn a_topic_may_come_later_than_its_clients(env: &Env) {
    let topic = unique("later");
    let gateway = stream(env, &topic, "");
    let mut streams = Over::BOTH.map(|over| over.open(&gateway, "/events", &[]));
    env.kafka.create_topic(&topic, 1, 1, &[]);
    env.kafka.append(&topic, 0, &[Record::new("a", "first")]);
    for stream in &mut streams {
        assert_eq!(stream.next().text, "id:AQIAAg==\ndata:first\n");
    }
    env.kafka.append(&topic, 0, &[Record::new("a", "second")]);
    for stream in &mut streams {
        assert_eq!(stream.next().data(), "second");
    }
}

pub(crate) fn sigterm_ends_streams_in_order(env: &Env) {
    let topic = env.topic(1, &[]);
    let mut gateway = stream(env, &topic, "");
    env.kafka.append(&topic, 0, &[Record::new("a", "one")]);
    let mut streams = Over::BOTH.map(|over| over.open(&gateway, "/events", &[]));
    for stream in &mut streams {
        assert_eq!(stream.next().data(), "one");
    }
    gateway.signal("TERM");
    for stream in &mut streams {
        assert_eq!(stream.rest(), (Vec::new(), End::Finished));
    }
    assert_eq!(gateway.exit_code(DRAIN), Some(0));
}

/// How many streams a gateway has open, as it counts them itself.
pub(super) fn open_streams(gateway: &Gateway) -> u64 {
    let metrics = Http::new(exporter(gateway));
    let text = metrics.get("/metrics").expect(200).text();
    let gauges = text
        .lines()
        .filter(|line| line.starts_with("sluice_sse_streams"));
    let values = gauges.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
    values.sum()
}

pub(crate) fn clients_that_leave_are_forgotten(env: &Env) {
    let topic = env.topic(1, &[]);
    let site = Site::default().events("/events", "", "heartbeat: 1s", &format!("topic: {topic}"));
    let gateway = env.site(&site.counted());
    let streams: Vec<_> = Over::BOTH
        .iter()
        .cycle()
        .take(20)
        .map(|over| over.open(&gateway, "/events", &[]))
        .collect();
    assert_eq!(open_streams(&gateway), 20);
    drop(streams);
    eventually("they are forgotten", PATIENCE, || {
        (open_streams(&gateway) == 0).then_some(())
    });
}

pub(crate) fn times_are_given_to_those_who_ask(env: &Env) {
    let topic = env.topic(1, &[]);
    let gateway = stream(env, &topic, "");
    let before = now_millis();
    env.kafka.append(&topic, 0, &[Record::new("a", "one")]);
    let after = now_millis();
    let accept = [("accept", "text/event-stream;ext=timestamp")];
    for over in Over::BOTH {
        let mut stream = over.open(&gateway, "/events", &accept);
        let kind = stream.header("content-type");
        assert_eq!(kind, Some("text/event-stream;ext=timestamp"));
        let event = stream.next().text;
        let rest = event.strip_prefix("timestamp:0x");
        let (hex, rest) = rest.and_then(|rest| rest.split_once('\n')).expect(&event);
        assert_eq!(rest, "id:AQIAAg==\ndata:one\n");
        let time = i64::from_str_radix(hex, 16).expect("hexadecimal");
        assert!((before..=after).contains(&time), "{event}");
    }
}

pub(crate) fn a_stream_outlives_an_outage_of_its_broker(env: &Env) {
    let topic = env.topic(2, &[]);
    let gateway = stream(env, &topic, "");
    let mut streams = Over::BOTH.map(|over| over.open(&gateway, "/events", &[]));
    env.kafka.append(&topic, 0, &[Record::new("a", "before")]);
    let mut ids = Vec::new();
    for stream in &mut streams {
        let event = stream.next();
        assert_eq!(event.data(), "before");
        ids.push(event.id().to_owned());
    }
    env.broker.kill();
    // Who comes now gets what is cached, and the rest later.
    let mut meanwhile = Over::Http1.open(&gateway, "/events", &[]);
    assert_eq!(meanwhile.next().data(), "before");
    let mut resumed = Over::Http2.open(&gateway, "/events", &[("last-event-id", &ids[0])]);
    env.broker.start();
    env.kafka.append(&topic, 1, &[Record::new("a", "after")]);
    for stream in streams.iter_mut().chain([&mut meanwhile, &mut resumed]) {
        assert_eq!(stream.next().data(), "after");
    }
}

pub(crate) fn a_topic_that_is_made_anew_is_a_gap(env: &Env) {
    let topic = unique("anew");
    env.kafka.create_topic(&topic, 1, 1, &[]);
    let gateway = stream(env, &topic, "");
    let mut streams = Over::BOTH.map(|over| over.open(&gateway, "/events", &[]));
    let records = ["1", "2", "3"].map(|value| Record::new("a", value));
    env.kafka.append(&topic, 0, &records);
    for stream in &mut streams {
        assert_eq!(stream.take_data(3), ["1", "2", "3"]);
    }
    env.kafka.recreate_topic(&topic, 1, &[]);
    env.kafka.append(&topic, 0, &[Record::new("a", "new")]);
    for stream in &mut streams {
        assert_eq!(stream.next().text, ": gap\n");
        assert_eq!(stream.next().text, "id:AQIAAg==\ndata:new\n");
    }
}
