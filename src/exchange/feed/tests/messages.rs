//! The same order as messages of gRPC: whichever way a record comes, its message is the same, and whoever has one can go on after it.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::*;
use crate::mapping::grpc_kafka::message::{MessageForm, resume_from};

const FORM: Form = Form::Message(MessageForm { field: 32_767 });
const TAG: [u8; 3] = [0xfa, 0xff, 0x0f];

fn messages(filters: &[(&str, &str)]) -> Selection {
    Selection {
        form: FORM,
        ..only(filters)
    }
}

/// All that there is for a subscriber now.
fn drain(gateway: &mut Gateway, kafka: &Kafka, id: SubscriberId) -> Vec<u8> {
    gateway.drain_bytes(kafka, id, 1 << 20)
}

/// A message, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Message {
    value: String,
    /// The progress as a client sends it back, unpadded.
    resume: String,
}

fn parse(mut bytes: &[u8]) -> Vec<Message> {
    let mut parsed = Vec::new();
    while let Some((prefix, rest)) = bytes.split_first_chunk::<5>() {
        assert_eq!(prefix[0], 0, "it is not compressed");
        let length = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]);
        let (message, rest) = rest.split_at(usize::try_from(length).unwrap());
        let at = message.windows(3).rposition(|bytes| bytes == TAG).unwrap();
        let (value, field) = message.split_at(at);
        assert_eq!(usize::from(field[3]), field.len() - 4);
        parsed.push(Message {
            value: String::from_utf8(value.to_vec()).unwrap(),
            resume: URL_SAFE_NO_PAD.encode(&field[4..]),
        });
        bytes = rest;
    }
    assert_eq!(bytes, b"", "only whole messages");
    parsed
}

fn values(bytes: &[u8]) -> String {
    let values: Vec<_> = parse(bytes)
        .into_iter()
        .map(|message| message.value)
        .collect();
    values.join(" ")
}

/// A gateway that has read all and kept nothing.
fn cold(kafka: &Kafka) -> Gateway {
    let mut gateway = Gateway::reading(DELETE, kafka);
    for partition in 0..kafka.logs.len() {
        gateway.evict(partition, usize::MAX);
    }
    gateway
}

#[test]
fn a_message_is_that_of_the_reference() {
    let mut kafka = Kafka::new(1);
    kafka.append(0, &[("a", "\x0a\x04test", "")]);
    let expected = b"\0\0\0\0\x0e\x0a\x04test\xfa\xff\x0f\x04\x01\x02\x00\x02";
    for mut gateway in [Gateway::reading(DELETE, &kafka), cold(&kafka)] {
        let id = gateway.subscribe(&messages(&[]), None);
        assert_eq!(drain(&mut gateway, &kafka, id), expected);
    }
}

#[test]
fn history_what_happens_and_what_is_read_from_kafka_are_the_same_bytes() {
    let mut kafka = Kafka::new(1);
    let mut gateway = Gateway::reading(DELETE, &kafka);
    let selections = [
        messages(&[]),
        messages(&[("a", "")]),
        messages(&[("", "x")]),
    ];
    let live = selections
        .each_ref()
        .map(|selection| gateway.subscribe(selection, None));
    for id in live {
        assert_eq!(drain(&mut gateway, &kafka, id), b"");
        assert!(gateway.is_following(id));
    }
    kafka.append(0, &[("a", "one", "x"), ("b", "-", "x"), ("a", "big", "")]);
    gateway.read(&kafka);
    kafka.append(0, &[("a", "-", "x"), ("", "", "x"), ("a", "two", "y")]);
    gateway.read(&kafka);
    let mut cold = cold(&kafka);
    let expected = [
        format!("one {} {} two", *BIG, ""),
        format!("one {} two", *BIG),
        "one ".to_owned(),
    ];
    for ((selection, live), expected) in selections.iter().zip(live).zip(expected) {
        let followed = drain(&mut gateway, &kafka, live);
        assert_eq!(values(&followed), expected);
        let late = gateway.subscribe(selection, None);
        assert!(drain(&mut gateway, &kafka, late) == followed);
        let late = gateway.subscribe(selection, None);
        assert!(gateway.drain_bytes(&kafka, late, 1) == followed);
        let read = cold.subscribe(selection, None);
        assert!(drain(&mut cold, &kafka, read) == followed);
        assert!(gateway.is_following(late) && cold.is_following(read));
    }
    let figures = [gateway, cold].map(|gateway| gateway.feed.figures());
    assert_eq!(figures, [FeedFigures::default(); 2]);
}

#[test]
fn the_progress_is_that_over_all_partitions() {
    let mut kafka = Kafka::new(2);
    let mut gateway = Gateway::reading(DELETE, &kafka);
    let live = gateway.subscribe(&messages(&[]), None);
    assert_eq!(drain(&mut gateway, &kafka, live), b"");
    for (partition, value) in [(0, "one"), (1, "two"), (0, "three")] {
        kafka.append(partition, &[("a", value, "")]);
        gateway.read(&kafka);
    }
    // The texts are those of events, padding aside.
    let message = |value: &str, resume: &str| Message {
        value: value.into(),
        resume: resume.into(),
    };
    assert_eq!(
        parse(&drain(&mut gateway, &kafka, live)),
        [
            message("one", "AQQAAgID"),
            message("two", "AQQAAgIC"),
            message("three", "AQQABAIC")
        ]
    );
    let late = gateway.subscribe(&messages(&[]), None);
    assert_eq!(
        parse(&drain(&mut gateway, &kafka, late)),
        [
            message("one", "AQQAAgID"),
            message("three", "AQQABAID"),
            message("two", "AQQABAIC")
        ]
    );
}

#[test]
fn a_record_without_a_value_is_no_message_and_the_next_one_is_after_it() {
    let mut kafka = Kafka::new(1);
    let records = [
        ("a", "-", ""),
        ("a", "one", ""),
        ("b", "-", ""),
        ("c", "-", ""),
    ];
    kafka.append(0, &records);
    let expected = [Message {
        value: "one".into(),
        resume: "AQIABA".into(),
    }];
    for mut gateway in [Gateway::reading(DELETE, &kafka), cold(&kafka)] {
        let id = gateway.subscribe(&messages(&[]), None);
        assert_eq!(parse(&drain(&mut gateway, &kafka, id)), expected);
        assert!(gateway.is_following(id));
        let mut kafka = kafka.clone();
        kafka.append(0, &[("b", "-", "")]);
        gateway.read(&kafka);
        assert_eq!(drain(&mut gateway, &kafka, id), b"");
        kafka.append(0, &[("b", "two", "")]);
        gateway.read(&kafka);
        let later = parse(&drain(&mut gateway, &kafka, id));
        assert_eq!((later.len(), later[0].resume.as_str()), (1, "AQIADA"));
    }
}

#[test]
fn a_compacted_topic_gives_the_newest_values_and_of_those_that_were_deleted_nothing() {
    let mut kafka = Kafka::new(1);
    kafka.append(
        0,
        &[
            ("a", "1", ""),
            ("b", "1", ""),
            ("b", "-", ""),
            ("a", "2", ""),
        ],
    );
    let mut gateway = Gateway::reading(COMPACT, &kafka);
    let ids = [
        messages(&[]),
        messages(&[("a", "")]),
        messages(&[("b", "")]),
    ]
    .map(|selection| gateway.subscribe(&selection, None));
    let given = ids.map(|id| values(&drain(&mut gateway, &kafka, id)));
    assert_eq!(given, ["2", "2", ""]);
    assert_eq!(gateway.feed.follower_count(), 3);
}

#[test]
fn a_client_resumes_after_any_message_wherever_it_is_read_from() {
    let mut kafka = Kafka::new(3);
    for number in 0..12 {
        let value = ["0", "1", "-", "3", "4", "5", "6", "-", "8", "9", "10", "11"][number];
        kafka.append(number % 3, &[("a", value, "")]);
    }
    let mut first = Gateway::new(DELETE, 3);
    for partition in 0..3 {
        first.fetch(&kafka, partition, 0);
    }
    first.advance_all();
    let live = first.subscribe(&messages(&[]), None);
    assert_eq!(drain(&mut first, &kafka, live), b"");
    for _ in 0..4 {
        for partition in [2, 0, 1] {
            first.fetch(&kafka, partition, 1);
            first.advance(1);
        }
    }
    first.advance_all();
    let followed = parse(&drain(&mut first, &kafka, live));
    let late = first.subscribe(&messages(&[]), None);
    let caught_up = parse(&drain(&mut first, &kafka, late));
    for everything in [followed, caught_up] {
        assert_eq!(everything.len(), 10);
        for (number, message) in everything.iter().enumerate() {
            let resume = resume_from(message.resume.as_bytes()).unwrap();
            for mut second in [Gateway::reading(DELETE, &kafka), cold(&kafka)] {
                let selection = messages(&[]);
                let id = second.feed.subscribe(selection, Some(&resume));
                let later = parse(&drain(&mut second, &kafka, id));
                let both = everything[..=number].iter().chain(&later);
                let mut both: Vec<_> = both.map(|message| &message.value).collect();
                both.sort_unstable();
                let mut all: Vec<_> = everything.iter().map(|message| &message.value).collect();
                all.sort_unstable();
                assert_eq!(both, all, "after {message:?}");
            }
        }
    }
}

#[test]
fn a_gap_is_counted_and_nothing_is_written() {
    let mut kafka = Kafka::new(1);
    kafka.append(0, &[("a", "1", ""), ("a", "2", ""), ("a", "3", "")]);
    let mut gateway = Gateway::new(DELETE, 1);
    kafka.logs[0].start = 2;
    gateway.reset(0, 2);
    gateway.read(&kafka);
    let resume = resume_from(id_at(&[1]).as_bytes()).unwrap();
    let of_messages = gateway.feed.subscribe(messages(&[]), Some(&resume));
    assert_eq!(values(&drain(&mut gateway, &kafka, of_messages)), "3");
    let mut figures = FeedFigures {
        message_gaps: 1,
        ..FeedFigures::default()
    };
    assert_eq!(gateway.feed.figures(), figures);
    let of_events = gateway.feed.subscribe(all(), Some(&resume));
    assert_eq!(gateway.records(&kafka, of_events), "gap 0:2");
    figures.gaps = 1;
    assert_eq!(gateway.feed.figures(), figures);
}

#[test]
fn whoever_follows_messages_too_slowly_reads_on_by_himself_and_counts_apart() {
    let mut kafka = Kafka::new(1);
    let mut gateway = Gateway::reading(DELETE, &kafka);
    let id = gateway.subscribe(&messages(&[]), None);
    assert_eq!(drain(&mut gateway, &kafka, id), b"");
    for _ in 0..8 {
        kafka.append(0, &[("a", "big", ""), ("a", "-", "")]);
        gateway.read(&kafka);
    }
    let late = gateway.subscribe(&messages(&[]), None);
    let all = drain(&mut gateway, &kafka, late);
    assert_eq!(parse(&all).len(), 8);
    assert!(drain(&mut gateway, &kafka, id) == all);
    let expected = FeedFigures {
        message_lagged: 1,
        ..FeedFigures::default()
    };
    assert_eq!(gateway.feed.figures(), expected);
}

#[test]
fn events_and_messages_of_the_same_records_do_not_mix() {
    let mut kafka = Kafka::new(1);
    let mut gateway = Gateway::reading(DELETE, &kafka);
    let other = Selection {
        form: Form::Message(MessageForm { field: 1 }),
        ..all()
    };
    let ids = [all(), messages(&[]), other].map(|selection| gateway.subscribe(&selection, None));
    for id in ids {
        assert_eq!(drain(&mut gateway, &kafka, id), b"");
    }
    kafka.append(0, &[("a", "-", ""), ("a", "v", "")]);
    gateway.read(&kafka);
    let given = ids.map(|id| drain(&mut gateway, &kafka, id));
    let expected: [&[u8]; 3] = [
        b"id:AQIAAg==/0:0\nevent:delete\ndata:YQ==\n\nid:AQIABA==/0:1\ndata:v\n\n",
        b"\0\0\0\0\x09v\xfa\xff\x0f\x04\x01\x02\x00\x04",
        b"\0\0\0\0\x07v\x0a\x04\x01\x02\x00\x04",
    ];
    assert_eq!(given, expected);
}
