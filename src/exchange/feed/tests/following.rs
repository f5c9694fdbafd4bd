//! What followers get: the order, in events whose ids are Zilla's.

use super::*;
use crate::config::EventIdForm;
use crate::mapping::sse_kafka::event::EventForm;

#[test]
fn history_comes_first_and_then_what_happens() {
    let mut kafka = Kafka::new(1);
    kafka.append(0, &[("a", "one", ""), ("b", "two", "")]);
    let mut gateway = Gateway::reading(DELETE, &kafka);
    let id = gateway.subscribe(&all(), None);
    assert_eq!(gateway.records(&kafka, id), "0:0 0:1");
    assert!(gateway.is_following(id));
    kafka.append(0, &[("a", "three", "")]);
    gateway.read(&kafka);
    assert_eq!(gateway.records(&kafka, id), "0:2");
    assert_eq!(gateway.records(&kafka, id), "");
}

#[test]
fn both_forms_of_ids_are_the_same_bytes_in_history_and_live() {
    let mut kafka = Kafka::new(2);
    let mut gateway = Gateway::reading(DELETE, &kafka);
    let keyed = Selection {
        form: Form::Event(EventForm {
            id: EventIdForm::KeyAndEtag,
            has_timestamp: false,
        }),
        ..all()
    };
    let live = [&all(), &keyed].map(|selection| gateway.subscribe(selection, None));
    assert_eq!(live.map(|id| gateway.drain(&kafka, id)), ["", ""]);
    kafka.append(0, &[("key", "one", "")]);
    gateway.read(&kafka);
    kafka.append(1, &[("", "two", "")]);
    gateway.read(&kafka);
    kafka.append(0, &[("key", "-", "")]);
    gateway.read(&kafka);
    let expected = [
        "id:AQQAAgID/0:0\ndata:one\n\nid:AQQAAgIC/1:0\ndata:two\n\nid:AQQABAIC/0:1\nevent:delete\ndata:a2V5\n\n",
        "id:[\"a2V5\",\"AQQAAgID/0:0\"]\ndata:one\n\nid:[null,\"AQQAAgIC/1:0\"]\ndata:two\n\nid:[\"a2V5\",\"AQQABAIC/0:1\"]\nevent:delete\ndata:a2V5\n\n",
    ];
    assert_eq!(live.map(|id| gateway.drain(&kafka, id)), expected);
    let late = gateway.subscribe(&all(), None);
    assert_eq!(
        gateway.drain(&kafka, late),
        "id:AQQAAgID/0:0\ndata:one\n\nid:AQQABAID/0:1\nevent:delete\ndata:a2V5\n\nid:AQQABAIC/1:0\ndata:two\n\n"
    );
}

#[test]
fn an_id_of_one_partition_is_that_of_the_reference() {
    let mut kafka = Kafka::new(1);
    kafka.append(0, &[("a", "v", "")]);
    let mut gateway = Gateway::reading(DELETE, &kafka);
    let id = gateway.subscribe(&all(), None);
    assert_eq!(gateway.drain(&kafka, id), "id:AQIAAg==/0:0\ndata:v\n\n");
}

#[test]
fn filters_choose_by_key_by_header_by_both_and_by_any_of_several() {
    let records = [
        ("a", "v", "x"),
        ("a", "v", "y"),
        ("b", "v", "x"),
        ("", "v", "y"),
        ("c", "-", "x"),
    ];
    let cases: [(&[(&str, &str)], &str); 7] = [
        (&[], "0:0 0:1 0:2 0:3 0:4"),
        (&[("a", "")], "0:0 0:1"),
        (&[("", "x")], "0:0 0:2 0:4"),
        (&[("a", "y")], "0:1"),
        (&[("a", "x"), ("c", "")], "0:0 0:4"),
        (&[("a", ""), ("a", "x"), ("b", "")], "0:0 0:1 0:2"),
        (&[("", "y"), ("b", "")], "0:1 0:2 0:3"),
    ];
    for (filters, expected) in cases {
        let mut kafka = Kafka::new(1);
        let mut gateway = Gateway::reading(DELETE, &kafka);
        let live = gateway.subscribe(&only(filters), None);
        assert_eq!(gateway.records(&kafka, live), "");
        kafka.append(0, &records);
        gateway.read(&kafka);
        assert_eq!(gateway.records(&kafka, live), expected, "live, {filters:?}");
        let late = gateway.subscribe(&only(filters), None);
        assert_eq!(
            gateway.records(&kafka, late),
            expected,
            "history, {filters:?}"
        );
    }
}

#[test]
fn a_compacted_topic_gives_the_newest_of_its_history_and_then_every_version() {
    let mut kafka = Kafka::new(1);
    kafka.append(
        0,
        &[
            ("a", "1", ""),
            ("b", "1", ""),
            ("a", "2", ""),
            ("b", "-", ""),
        ],
    );
    let mut gateway = Gateway::reading(COMPACT, &kafka);
    let selections = [all(), only(&[("a", "")]), only(&[("b", "")])];
    let ids = selections.map(|selection| gateway.subscribe(&selection, None));
    assert_eq!(
        ids.map(|id| gateway.records(&kafka, id)),
        ["0:2 0:3", "0:2", "0:3"]
    );
    kafka.append(0, &[("a", "3", ""), ("a", "4", ""), ("b", "2", "")]);
    gateway.read(&kafka);
    assert_eq!(
        ids.map(|id| gateway.records(&kafka, id)),
        ["0:4 0:5 0:6", "0:4 0:5", "0:6"]
    );
}

#[test]
fn a_compacted_topic_that_was_opened_by_its_first_subscriber_gives_the_newest_only() {
    let mut kafka = Kafka::new(1);
    kafka.append(0, &[("a", "1", ""), ("a", "2", ""), ("a", "3", "")]);
    // Not even how many partitions there are is known.
    let mut gateway = Gateway::new(COMPACT, 0);
    let id = gateway.subscribe(&all(), None);
    gateway.advance_all();
    assert_eq!(gateway.records(&kafka, id), "");
    gateway.open(1);
    gateway.advance_all();
    assert_eq!(gateway.records(&kafka, id), "");
    gateway.fetch(&kafka, 0, 2);
    gateway.advance_all();
    assert_eq!(gateway.records(&kafka, id), "", "it is not read to its end");
    gateway.read(&kafka);
    assert_eq!(gateway.records(&kafka, id), "0:2");
    assert!(gateway.is_following(id));
}

#[test]
fn a_topic_that_is_not_compacted_is_given_while_it_is_read() {
    let mut kafka = Kafka::new(2);
    kafka.append(0, &[("a", "1", ""), ("a", "2", ""), ("b", "3", "")]);
    kafka.append(1, &[("a", "1", "")]);
    let mut gateway = Gateway::new(DELETE, 2);
    gateway.stores[1] = None;
    let ids = [all(), only(&[("a", "")])].map(|selection| gateway.subscribe(&selection, None));
    for (step, expected) in ["0:0", "0:1", "0:2"].into_iter().enumerate() {
        gateway.fetch(&kafka, 0, 1);
        let (_, woken) = gateway.advance(100);
        assert!(woken.contains(&ids[0]));
        assert_eq!(gateway.records(&kafka, ids[0]), expected);
        let of_key = if step < 2 { expected } else { "" };
        assert_eq!(gateway.records(&kafka, ids[1]), of_key);
    }
    gateway.open(2);
    gateway.stores[1] = Some(PartitionStore::new(DELETE, 0, i64::MAX));
    gateway.read(&kafka);
    assert_eq!(ids.map(|id| gateway.records(&kafka, id)), ["1:0", "1:0"]);
    assert_eq!(gateway.feed.follower_count(), 2);
}

#[test]
fn partitions_that_are_added_are_given_from_their_start() {
    for (policy, late) in [(DELETE, "0:0 1:0 1:1"), (COMPACT, "0:0 1:1")] {
        let mut kafka = Kafka::new(1);
        kafka.append(0, &[("a", "v", "")]);
        let mut gateway = Gateway::reading(policy, &kafka);
        let id = gateway.subscribe(&all(), None);
        assert_eq!(gateway.records(&kafka, id), "0:0");
        kafka.logs.push(Log::default());
        kafka.append(1, &[("b", "1", ""), ("b", "2", "")]);
        gateway.open(2);
        let behind = gateway.subscribe(&all(), None);
        let resumed = gateway.subscribe(&all(), Some("AQIAAg=="));
        // In one go, and what is given is told of.
        gateway.fetch(&kafka, 1, 10);
        let (advanced, woken) = gateway.advance(100);
        assert_eq!((advanced, woken.len()), (Advanced::All, 3));
        assert_eq!(
            gateway.drain(&kafka, id),
            "id:AQQAAgIC/1:0\ndata:1\n\nid:AQQAAgIE/1:1\ndata:2\n\n"
        );
        assert_eq!(gateway.records(&kafka, behind), late);
        assert_eq!(
            gateway.records(&kafka, resumed),
            late.trim_start_matches("0:0 ")
        );
        assert_eq!(gateway.feed.follower_count(), 3);
    }
}

#[test]
fn small_steps_give_the_same_as_one() {
    let mut kafka = Kafka::new(3);
    let mut gateways = [1, 2, 3, 5, usize::MAX].map(|step| {
        let mut gateway = Gateway::reading(DELETE, &kafka);
        let id = gateway.subscribe(&all(), None);
        assert_eq!(gateway.records(&kafka, id), "");
        (step, gateway, id)
    });
    for partition in 0..3 {
        for _ in 0..=partition {
            kafka.append(partition, &[("a", "v", ""), ("b", "v", "")]);
        }
    }
    for (step, gateway, id) in &mut gateways {
        for partition in 0..3 {
            gateway.fetch(&kafka, partition, 100);
        }
        let mut seen = String::new();
        for _ in 0..100 {
            let (advanced, woken) = gateway.advance(*step);
            let news = gateway.records(&kafka, *id);
            assert_eq!(woken.contains(id), !news.is_empty(), "step {step}");
            seen = seen + &news + " ";
            if advanced == Advanced::All {
                break;
            }
        }
        let mut places: Vec<_> = seen.split_whitespace().collect();
        // Which partition comes first is open, but within each it is by offset.
        places.sort_by_key(|place| place.split(':').next());
        assert_eq!(
            places.join(" "),
            "0:0 0:1 1:0 1:1 1:2 1:3 2:0 2:1 2:2 2:3 2:4 2:5",
            "step {step}"
        );
    }
}

#[test]
fn a_step_of_nothing_gives_nothing_and_says_so() {
    let mut kafka = Kafka::new(1);
    let mut gateway = Gateway::reading(DELETE, &kafka);
    kafka.append(0, &[("a", "v", "")]);
    gateway.fetch(&kafka, 0, 1);
    assert_eq!(gateway.advance(0).0, Advanced::More);
    assert_eq!(gateway.advance(1).0, Advanced::All);
}

#[test]
fn whoever_is_not_subscribed_gets_nothing() {
    let kafka = Kafka::new(1);
    let mut gateway = Gateway::reading(DELETE, &kafka);
    let id = gateway.subscribe(&all(), None);
    gateway.feed.unsubscribe(id);
    gateway.feed.unsubscribe(id);
    assert_eq!(gateway.take(id, 100), Taken::Nothing);
    assert_eq!(
        gateway.feed.handle_cold(id, &ColdPiece::default()),
        Taken::Nothing
    );
    gateway.feed.handle_ends(id, &[3]);
    assert_eq!(gateway.feed.selection(id), None);
}
