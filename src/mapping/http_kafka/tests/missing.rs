//! Reads of what is not cached, or not cached yet.

use super::*;
use crate::mapping::http_kafka::fetch::Searched;

#[test]
fn a_partition_that_has_not_been_read_to_its_end_is_waited_for() {
    let mut topic = Topic::new(COMPACT, 0);
    topic.partitions.extend([None, None, None]);
    assert_eq!(said(&of_key("a").single(&topic)), "warming");
    topic.partitions[home("a")] = Some(PartitionStore::new(COMPACT, 0, i64::MAX));
    topic.append_with_more(home("a"), &[("a", "old", &[])], 1);
    assert_eq!(
        said(&of_key("a").single(&topic)),
        "warming",
        "a newer one may follow"
    );
    topic.append(home("a"), &[("b", "value", &[])]);
    assert_eq!(
        said(&of_key("a").single(&topic)),
        "200 'AQICAg==' old",
        "the other partitions need not be read"
    );
    assert_eq!(
        said(&of_key("z").single(&topic)),
        "warming",
        "it may be in one of the others"
    );
}

#[test]
fn the_oldest_value_of_a_key_is_known_before_the_partition_is_read_to_its_end() {
    let mut topic = Topic::new(DELETE, 1);
    topic.partitions = vec![Some(PartitionStore::new(DELETE, 0, i64::MAX))];
    topic.append_with_more(
        0,
        &[("a", "first", &[]), ("b", "second", &[("tag", "x")])],
        5,
    );
    assert_eq!(said(&of_key("a").single(&topic)), "200 'AQIAAg==' first");
    assert_eq!(said(&of_key("z").single(&topic)), "warming");
    assert_eq!(
        said(&read("{key: b}, {headers: {tag: x}}", &[]).single(&topic)),
        "warming"
    );
}

#[test]
fn a_tag_is_not_taken_for_a_foreign_one_while_the_log_is_read() {
    let mut topic = Topic::new(DELETE, 2);
    topic.partitions = vec![Some(PartitionStore::new(DELETE, 0, i64::MAX)), None];
    topic.append_with_more(0, &[("a", "first", &[])], 4);
    assert_eq!(
        unless("a", &["AQIACg=="], &topic),
        "warming",
        "its offset 5 is not read yet"
    );
    topic.append(
        0,
        &[
            ("a", "1", &[]),
            ("a", "2", &[]),
            ("a", "3", &[]),
            ("a", "4", &[]),
        ],
    );
    assert_eq!(
        unless("a", &["AQQACgIA"], &topic),
        "warming",
        "the other partition is not open yet"
    );
    topic.partitions[1] = Some(PartitionStore::new(DELETE, 0, i64::MAX));
    topic.append(1, &[]);
    assert_eq!(unless("a", &["AQQACgIA"], &topic), "304 'AQQACgIA'");
}

#[test]
fn what_is_not_cached_is_never_said_to_be_not_there() {
    let mut topic = Topic::new(COMPACT, 1);
    topic.append(0, &[("a", "old", &[]), ("b", "old", &[("tag", "x")])]);
    topic.evict(0);
    topic.append(0, &[("a", "new", &[])]);
    assert_eq!(said(&of_key("a").single(&topic)), "200 'AQIABg==' new");
    assert_eq!(said(&of_key("b").single(&topic)), "not cached: 0 below 2");
    assert_eq!(
        said(&read("{headers: {tag: x}}", &[]).single(&topic)),
        "not cached: 0 below 2"
    );
    assert_eq!(said(&read("", &[]).single(&topic)), "not cached: 0 below 2");
    assert_eq!(
        said(&read("{key: a}, {key: b}", &[]).single(&topic)),
        "not cached: 0 below 2",
        "b may be older"
    );
    assert_eq!(unless("b", &["*"], &topic), "not cached: 0 below 2");
}

#[test]
fn the_oldest_match_of_a_log_may_be_where_nothing_is_cached() {
    let mut topic = Topic::new(DELETE, 1);
    topic.append(0, &[("a", "0", &[]), ("a", "1", &[])]);
    topic.evict(0);
    topic.append(0, &[("a", "2", &[])]);
    assert_eq!(said(&of_key("a").single(&topic)), "not cached: 0 below 2");
    assert_eq!(
        unless("a", &["AQIABA=="], &topic),
        "200 'AQIABg==' 2",
        "from offset 2 on all is here"
    );
    assert_eq!(unless("a", &["AQIAAg=="], &topic), "not cached: 0 below 2");
}

#[test]
fn a_home_that_cannot_say_comes_before_a_find_elsewhere() {
    let mut topic = Topic::new(COMPACT, 3);
    topic.append(home("a"), &[("a", "evicted", &[])]);
    topic.evict(home("a"));
    topic.append(0, &[("a", "misplaced", &[("tag", "x")])]);
    assert_eq!(said(&of_key("a").single(&topic)), "not cached: 1 below 1");
    assert_eq!(
        said(&read("{headers: {tag: x}}", &[]).single(&topic)),
        "200 'AQIAAg==' misplaced",
        "any match is as good"
    );
    assert_eq!(
        said(&read("{headers: {tag: y}}", &[]).single(&topic)),
        "not cached: 1 below 1"
    );
}

#[test]
fn after_kafka_was_searched_in_vain_what_is_cached_decides() {
    for policy in [COMPACT, DELETE] {
        let mut topic = Topic::new(policy, 1);
        topic.append(0, &[("x", "0", &[]), ("x", "1", &[])]);
        topic.evict(0);
        topic.append(0, &[("a", "2", &[("tag", "x")])]);
        let beyond = |filters| said(&read(filters, &[]).single_beyond(&topic, &mut searched(2)));
        assert_eq!(beyond("{key: a}"), "200 'AQIABg==' 2", "{policy:?}");
        assert_eq!(beyond("{headers: {tag: x}}"), "200 'AQIABg==' 2");
        assert_eq!(beyond("{key: z}"), "not found");
        assert_eq!(beyond("{key: z}, {headers: {tag: x}}"), "200 'AQIABg==' 2");
        assert_eq!(
            said(&read("{key: z}", &[]).single_beyond(&topic, &mut searched(1))),
            "not cached: 0 below 2",
            "more was evicted meanwhile"
        );
    }
    let mut log = Topic::new(DELETE, 1);
    log.append(0, &[("x", "0", &[]), ("x", "1", &[])]);
    log.evict(0);
    assert_eq!(
        said(&read("{key: a}", &["AQIAAg=="]).single_beyond(&log, &mut searched(2))),
        "304 'AQIAAg=='"
    );
}

/// Nothing matches below this offset of the first partition.
fn searched(below: i64) -> Searched {
    let mut searched = Searched::default();
    searched.set(0, below);
    searched
}

#[test]
fn a_condition_without_an_index_is_looked_for_bit_by_bit_and_never_twice() {
    for policy in [COMPACT, DELETE] {
        let mut topic = Topic::new(policy, 2);
        let keys: Vec<String> = (0..5000).map(|key| key.to_string()).collect();
        let none: &[(&str, &str)] = &[];
        let records: Vec<_> = keys.iter().map(|key| (&key[..], "v", none)).collect();
        topic.append(0, &records);
        topic.append(1, &records);
        let request = read("{headers: {tag: x}}", &[]);
        let mut searched = Searched::default();
        let mut looks = 0;
        while said(&request.single_beyond(&topic, &mut searched)) == "unfinished" {
            looks += 1;
        }
        assert_eq!(looks, 4, "{policy:?}");
        assert_eq!(
            said(&request.single_beyond(&topic, &mut searched)),
            "not found"
        );
        topic.append(1, &[("late", "l", &[("tag", "x")])]);
        let several = read(
            "{headers: {tag: y}}, {headers: {tag: z}}, {key: late2}",
            &[],
        );
        let mut searched_for_several = Searched::default();
        let mut looks = 0;
        while said(&several.single_beyond(&topic, &mut searched_for_several)) == "unfinished" {
            looks += 1;
            assert!(looks < 50, "several conditions get on together");
        }
        let found = said(&request.single_beyond(&topic, &mut searched));
        assert!(
            found.ends_with(" l"),
            "{found}: one look is enough, the rest was looked at"
        );
    }
}
