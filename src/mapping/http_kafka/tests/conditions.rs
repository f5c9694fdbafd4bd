//! `if-none-match` on a single item: equality on compacted topics, a position on others.

use super::*;

mod equality {
    use super::*;

    #[test]
    fn the_listed_etag_of_the_newest_record_is_not_modified() {
        let topic = items();
        let etag = "\"AQICBg==\"";
        for listed in [
            etag,
            "AQICBg==",
            "W/\"AQICBg==\"",
            "\"other\", \"AQICBg==\"",
            "\"AQIAAg==\",AQICBg==",
            "*",
        ] {
            assert_eq!(unless("a", &[listed], &topic), "304 'AQICBg=='", "{listed}");
        }
        assert_eq!(
            unless("a", &["\"AQIAAg==\"", etag], &topic),
            "304 'AQICBg=='",
            "several lines are one list"
        );
    }

    #[test]
    fn any_other_etag_gets_the_item() {
        let topic = items();
        for (listed, what) in [
            ("\"AQICAg==\"", "the one it had before"),
            (
                "\"AQICZA==\"",
                "one beyond the log's end: the topic was created anew",
            ),
            ("\"AQIEAg==\"", "that of another item"),
            ("\"AQIABg==\"", "the same offset of another partition"),
            ("\"AQQCBgAC\"", "more than the item"),
            ("\"AQICBg==/x\"", "another record etag"),
            ("\"*\"", "a quoted star"),
            ("garbage", "not ours"),
            ("", "nothing"),
        ] {
            assert_eq!(
                unless("a", &[listed], &topic),
                "200 'AQICBg==' new",
                "{what}"
            );
        }
    }

    #[test]
    fn the_etag_of_the_record_itself_takes_part() {
        let mut topic = Topic::new(COMPACT, 1);
        topic.append(0, &[("a", "value", &[("etag", "r1")])]);
        assert_eq!(
            unless("a", &["\"AQIAAg==/r1\""], &topic),
            "304 'AQIAAg==/r1'"
        );
        assert_eq!(
            unless("a", &["AQIAAg=="], &topic),
            "200 'AQIAAg==/r1' value"
        );
        assert_eq!(unless("a", &["r1"], &topic), "200 'AQIAAg==/r1' value");
    }

    #[test]
    fn what_is_not_there_is_not_found_whatever_the_condition() {
        let topic = items();
        for listed in ["*", "\"AQICBg==\"", "\"AQICCA==\""] {
            assert_eq!(unless("z", &[listed], &topic), "not found", "{listed}");
            assert_eq!(
                unless("c", &[listed], &topic),
                "not found",
                "{listed}, deleted"
            );
        }
    }

    #[test]
    fn an_empty_item_can_be_unmodified() {
        let mut topic = Topic::new(COMPACT, 1);
        topic.append(0, &[("d", "", &[])]);
        assert_eq!(unless("d", &["AQIAAg=="], &topic), "304 'AQIAAg=='");
    }
}

mod position {
    use super::*;

    fn log() -> Topic {
        let mut topic = Topic::new(DELETE, 1);
        topic.append(0, &[("a", "0", &[]), ("b", "1", &[]), ("a", "2", &[])]);
        topic
    }

    #[test]
    fn a_tag_is_where_the_next_match_is_looked_for() {
        let topic = log();
        assert_eq!(unless("a", &[], &topic), "200 'AQIAAg==' 0");
        assert_eq!(unless("a", &["\"AQIAAg==\""], &topic), "200 'AQIABg==' 2");
        assert_eq!(unless("a", &["AQIABg=="], &topic), "304 'AQIABg=='");
        assert_eq!(
            unless("a", &["W/\"AQIABA==\", \"AQIABg==\""], &topic),
            "200 'AQIABg==' 2",
            "the first one listed"
        );
        assert_eq!(unless("b", &["AQIABA=="], &topic), "304 'AQIABA=='");
        assert_eq!(
            unless("z", &["AQIAAQ=="], &topic),
            "304 'AQIAAQ=='",
            "nothing, as before"
        );
    }

    #[test]
    fn what_is_unmodified_is_said_with_the_tag_that_was_sent() {
        assert_eq!(
            unless("a", &["AQIABg==/extra"], &log()),
            "304 'AQIABg==/extra'"
        );
    }

    #[test]
    fn a_tag_beyond_the_end_of_the_log_or_of_partitions_that_are_not_counts_as_absent() {
        let topic = log();
        assert_eq!(
            unless("a", &["AQIACA=="], &topic),
            "200 'AQIAAg==' 0",
            "the topic was created anew"
        );
        assert_eq!(
            unless("a", &["AQQABgIA"], &topic),
            "200 'AQIAAg==' 0",
            "it has one partition"
        );
        assert_eq!(unless("z", &["AQIACA=="], &topic), "not found");
        assert_eq!(unless("a", &["\"33a64df5\""], &topic), "200 'AQIAAg==' 0");
    }

    #[test]
    fn a_tag_below_the_start_of_the_log_goes_on_there() {
        let mut topic = log();
        let store = topic.partitions[0].as_mut().unwrap();
        store.handle_progress(3, 2, &mut Vec::new());
        assert_eq!(unless("a", &["AQIAAQ=="], &topic), "200 'AQIABg==' 2");
    }

    #[test]
    fn a_star_asks_whether_there_is_any() {
        assert_eq!(unless("a", &["*"], &log()), "304 'AQIAAg=='");
        assert_eq!(unless("z", &["*"], &log()), "not found");
    }

    #[test]
    fn a_newer_tombstone_is_not_found() {
        let mut topic = log();
        topic.append(0, &[("a", "-", &[])]);
        assert_eq!(unless("a", &["AQIABg=="], &topic), "not found");
    }

    #[test]
    fn following_the_tags_gives_every_match_of_all_partitions_once() {
        let mut topic = Topic::new(DELETE, 2);
        topic.append(0, &[("", "0", &[]), ("", "1", &[])]);
        topic.append(1, &[("", "2", &[]), ("", "3", &[])]);
        let mut tags = vec![String::new()];
        let mut values = String::new();
        loop {
            let tag = tags.last().unwrap();
            let SingleOutcome::Answer(answer) = read("", &[tag]).single(&topic) else {
                panic!("{values}")
            };
            if answer.head.status == 304 {
                break;
            }
            let Body::Full(body) = &answer.body else {
                panic!("{answer:?}")
            };
            values += &text(body);
            tags.push(
                String::from_utf8(answer.head.headers.get("etag").unwrap().to_vec()).unwrap(),
            );
            assert!(tags.len() < 10, "it goes in circles: {tags:?}");
        }
        assert_eq!(values, "0123");
        assert_eq!(
            tags.last().unwrap(),
            "\"AQQABAIE\"",
            "a partition once given stays in the tag"
        );
    }
}
