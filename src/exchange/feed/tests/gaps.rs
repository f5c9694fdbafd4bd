//! Records that are gone: it is said once, where it is so, and nowhere else.

use super::*;

const RECORDS: [Plain; 3] = [("a", "1", ""), ("b", "2", ""), ("a", "3", "")];

#[test]
fn beyond_the_end_is_a_gap_and_then_all_from_the_earliest() {
    let mut kafka = Kafka::new(2);
    kafka.append(0, &RECORDS);
    let mut gateway = Gateway::reading(DELETE, &kafka);
    let id = gateway.subscribe(&all(), Some(&id_at(&[9, 0])));
    assert_eq!(gateway.take(id, 100), Taken::AskEnds);
    assert_eq!(gateway.take(id, 100), Taken::AskEnds, "it was not answered");
    gateway.feed.handle_ends(id, &kafka.ends());
    assert_eq!(gateway.records(&kafka, id), "gap 0:0 0:1 0:2");
    assert!(gateway.is_following(id));
    assert_eq!(gateway.feed.figures().gaps, 1);
}

#[test]
fn ahead_of_what_was_read_but_not_of_the_end_is_no_gap() {
    let mut kafka = Kafka::new(1);
    kafka.append(0, &RECORDS);
    let mut gateway = Gateway::new(DELETE, 1);
    gateway.fetch(&kafka, 0, 1);
    gateway.advance_all();
    let id = gateway.subscribe(&all(), Some(&id_at(&[2])));
    assert_eq!(gateway.take(id, 100), Taken::AskEnds);
    gateway.feed.handle_ends(id, &kafka.ends());
    assert_eq!(gateway.take(id, 100), Taken::Nothing, "asked once");
    gateway.fetch(&kafka, 0, 1);
    gateway.advance_all();
    assert_eq!(gateway.records(&kafka, id), "");
    assert!(gateway.is_following(id));
    gateway.read(&kafka);
    assert_eq!(gateway.records(&kafka, id), "0:2");
    assert_eq!(gateway.feed.figures(), FeedFigures::default());
}

#[test]
fn a_log_that_starts_after_the_position_is_a_gap() {
    let mut kafka = Kafka::new(2);
    kafka.append(0, &RECORDS);
    kafka.logs[0].start = 2;
    let mut gateway = Gateway::reading(DELETE, &kafka);
    for (had, expected) in [(1, "gap 0:2"), (2, "0:2"), (3, ""), (EARLIEST, "0:2")] {
        let id = gateway.subscribe(&all(), Some(&id_at(&[had, EARLIEST])));
        assert_eq!(gateway.records(&kafka, id), expected, "had {had}");
        assert!(gateway.is_following(id));
    }
    assert_eq!(gateway.feed.figures().gaps, 1);
}

#[test]
fn whoever_has_had_nothing_has_missed_nothing_wherever_the_log_starts() {
    for policy in [DELETE, COMPACT] {
        let mut kafka = Kafka::new(2);
        kafka.append(0, &RECORDS);
        kafka.append(1, &RECORDS);
        kafka.logs[0].start = 2;
        // It knows of the partitions before anything of them is read.
        let mut gateway = Gateway::new(policy, 2);
        gateway.reset(1, 1);
        kafka.logs[1].start = 1;
        let id = gateway.subscribe(&all(), None);
        gateway.advance_all();
        assert_eq!(gateway.take(id, 100), Taken::Nothing);
        gateway.read(&kafka);
        assert_eq!(gateway.records(&kafka, id), "0:2 1:1 1:2");
        assert!(gateway.is_following(id));
        assert_eq!(gateway.feed.figures(), FeedFigures::default());
    }
}

#[test]
fn a_log_that_starts_after_what_was_given_on_is_a_gap_for_all_who_follow() {
    let mut kafka = Kafka::new(1);
    kafka.append(0, &RECORDS);
    let mut gateway = Gateway::reading(DELETE, &kafka);
    let ids = [all(), only(&[("a", "")])].map(|selection| gateway.subscribe(&selection, None));
    assert_eq!(
        ids.map(|id| gateway.records(&kafka, id)),
        ["0:0 0:1 0:2", "0:0 0:2"]
    );
    kafka.append(0, &RECORDS);
    kafka.logs[0].start = 5;
    gateway.read(&kafka);
    assert_eq!(
        ids.map(|id| gateway.records(&kafka, id)),
        ["gap 0:5", "gap 0:5"]
    );
    assert_eq!(gateway.feed.follower_count(), 2);
    assert_eq!(gateway.feed.figures().gaps, 2);
}

#[test]
fn who_follows_what_is_rare_is_not_told_of_a_gap_where_there_was_nothing_for_him() {
    let mut kafka = Kafka::new(1);
    kafka.append(0, &[("rare", "v", "")]);
    let mut gateway = Gateway::reading(DELETE, &kafka);
    let rare = only(&[("rare", "")]);
    let ids = [&rare, &rare].map(|selection| gateway.subscribe(selection, None));
    assert_eq!(ids.map(|id| gateway.records(&kafka, id)), ["0:0", "0:0"]);
    for _ in 0..3 {
        kafka.append(0, &RECORDS);
        gateway.read(&kafka);
        // One of them is polled now and then, to see whether it is alive.
        assert_eq!(gateway.take(ids[0], 100), Taken::Nothing);
    }
    kafka.logs[0].start = kafka.logs[0].end();
    gateway.read(&kafka);
    kafka.append(0, &[("rare", "v", "")]);
    gateway.fetch(&kafka, 0, 1);
    gateway.evict(0, usize::MAX);
    gateway.advance_all();
    assert!(!gateway.is_following(ids[0]));
    let range = ColdRange {
        partition: 0,
        from: 10,
        until: 11,
    };
    assert_eq!(gateway.take(ids[1], 100), Taken::Cold(range), "and no more");
    assert_eq!(ids.map(|id| gateway.records(&kafka, id)), ["0:10", "0:10"]);
    assert_eq!(gateway.feed.figures().gaps, 0);
}

#[test]
fn another_log_is_a_gap_for_all_who_had_something_of_the_old_one() {
    for policy in [DELETE, COMPACT] {
        let mut kafka = Kafka::new(2);
        kafka.append(0, &RECORDS);
        kafka.append(1, &RECORDS);
        let mut gateway = Gateway::reading(policy, &kafka);
        let follower = gateway.subscribe(&all(), None);
        gateway.drain(&kafka, follower);
        let behind = gateway.subscribe(&all(), Some(&id_at(&[1, 3])));
        let Taken::Events { count: 1, .. } = gateway.take(behind, 1) else {
            panic!("one at a time")
        };
        let fresh = gateway.subscribe(&all(), None);
        // Something that was not taken before; it is not to come after the gap.
        kafka.append(1, &[("c", "4", "")]);
        gateway.read(&kafka);
        kafka.replace(0);
        gateway.reset(0, 0);
        gateway.advance_all();
        kafka.append(
            0,
            &[
                ("a", "1", ""),
                ("a", "2", ""),
                ("b", "3", ""),
                ("c", "4", ""),
            ],
        );
        gateway.read(&kafka);
        let newest = if policy.compact { "" } else { "0:0' " };
        let told = format!("gap {newest}0:1' 0:2' 0:3' 1:3");
        assert_eq!(in_order(&gateway.records(&kafka, follower)), told);
        assert_eq!(in_order(&gateway.records(&kafka, behind)), told);
        let history = gateway.records(&kafka, fresh);
        assert!(
            !history.contains("gap") && history.contains("0:3'"),
            "{history}"
        );
        assert_eq!(gateway.feed.follower_count(), 3, "and no end of it");
        assert_eq!(gateway.feed.figures().gaps, 2);
        kafka.append(0, &[("a", "5", "")]);
        gateway.read(&kafka);
        for id in [follower, behind, fresh] {
            assert_eq!(gateway.records(&kafka, id), "0:4'");
        }
    }
}

/// The same, by place.
fn in_order(seen: &str) -> String {
    let mut places: Vec<_> = seen.split(' ').collect();
    places.sort_by_key(|place| (*place != "gap", *place));
    places.join(" ")
}

#[test]
fn another_log_that_is_empty_is_told_of_when_that_is_known() {
    let mut kafka = Kafka::new(1);
    kafka.append(0, &RECORDS);
    let mut gateway = Gateway::reading(DELETE, &kafka);
    let id = gateway.subscribe(&all(), None);
    gateway.drain(&kafka, id);
    kafka.replace(0);
    gateway.reset(0, 0);
    gateway.advance_all();
    gateway.read(&kafka);
    assert_eq!(gateway.records(&kafka, id), "gap");
    assert!(gateway.is_following(id));
}

#[test]
fn nobody_runs_ahead_to_where_the_log_starts() {
    let mut kafka = Kafka::new(1);
    let mut gateway = Gateway::reading(DELETE, &kafka);
    kafka.append(0, &RECORDS);
    kafka.logs[0].start = 3;
    let id = gateway.subscribe(&all(), None);
    gateway.fetch(&kafka, 0, 0);
    assert_eq!(gateway.take(id, 100), Taken::Nothing);
    kafka.replace(0);
    gateway.reset(0, 0);
    gateway.advance_all();
    kafka.append(0, &RECORDS);
    gateway.read(&kafka);
    assert_eq!(gateway.records(&kafka, id), "0:0' 0:1' 0:2'");
    assert!(gateway.is_following(id));
}

#[test]
fn what_was_read_of_a_log_that_is_gone_is_not_passed_on() {
    let mut kafka = Kafka::new(1);
    kafka.append(0, &RECORDS);
    let mut gateway = Gateway::reading(DELETE, &kafka);
    gateway.evict(0, usize::MAX);
    let id = gateway.subscribe(&all(), Some(&id_at(&[1])));
    let Taken::Cold(range) = gateway.take(id, 100) else {
        panic!("it is not cached")
    };
    let piece = kafka.read(range, &all(), 10).unwrap();
    kafka.replace(0);
    gateway.reset(0, 0);
    gateway.advance_all();
    assert_eq!(gateway.feed.handle_cold(id, &piece), Taken::LookOn);
    kafka.append(0, &RECORDS);
    gateway.read(&kafka);
    assert_eq!(gateway.records(&kafka, id), "gap 0:0' 0:1' 0:2'");
}
