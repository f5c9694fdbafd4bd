//! Which record a read of a single item finds, and how it is shown.

use super::*;
use crate::kafka::cache::Superseded;

#[test]
fn the_homes_of_the_keys_are_those_of_the_java_client() {
    assert_eq!((home("a"), home("b")), (1, 2));
    assert_eq!(read("{key: a}, {key: b}", &[]).home_partition(3), None);
    assert_eq!(
        (
            of_key("a").home_partition(0),
            read("", &[]).home_partition(3)
        ),
        (None, None)
    );
}

#[test]
fn a_key_of_a_compacted_topic_has_its_newest_value() {
    let topic = items();
    assert_eq!(said(&of_key("a").single(&topic)), "200 'AQICBg==' new");
    assert_eq!(said(&of_key("b").single(&topic)), "200 'AQIEAg==' one");
    assert_eq!(said(&of_key("z").single(&topic)), "not found");
}

#[test]
fn a_key_of_another_topic_has_its_oldest_value() {
    let mut topic = Topic::new(DELETE, 1);
    topic.append(
        0,
        &[
            ("b", "other", &[]),
            ("a", "first", &[]),
            ("a", "second", &[]),
        ],
    );
    assert_eq!(said(&of_key("a").single(&topic)), "200 'AQIABA==' first");
    assert_eq!(said(&read("", &[]).single(&topic)), "200 'AQIAAg==' other");
}

#[test]
fn a_key_is_found_in_a_partition_that_is_not_its_home() {
    let mut topic = Topic::new(COMPACT, 3);
    topic.append(2, &[("a", "misplaced", &[])]);
    assert_eq!(
        said(&of_key("a").single(&topic)),
        "200 'AQIEAg==' misplaced"
    );
    topic.append(home("a"), &[("a", "at home", &[])]);
    assert_eq!(said(&of_key("a").single(&topic)), "200 'AQICAg==' at home");
}

#[test]
fn deleted_items_are_not_found_and_empty_ones_have_no_content() {
    let mut topic = Topic::new(COMPACT, 1);
    topic.append(
        0,
        &[
            ("a", "value", &[]),
            ("a", "-", &[]),
            ("b", "", &[("content-type", "text/plain")]),
        ],
    );
    assert_eq!(said(&of_key("a").single(&topic)), "not found");
    assert_eq!(
        said(&of_key("b").single(&topic)),
        "204 text/plain 'AQIABg=='"
    );
    let mut log = Topic::new(DELETE, 1);
    log.append(0, &[("a", "-", &[]), ("a", "later", &[])]);
    assert_eq!(
        said(&of_key("a").single(&log)),
        "not found",
        "the oldest match decides"
    );
}

#[test]
fn headers_are_compared_with_the_newest_record_of_a_key() {
    let topic = items();
    assert_eq!(
        said(&read("{key: a, headers: {tag: y}}", &[]).single(&topic)),
        "200 'AQICBg==' new"
    );
    assert_eq!(
        said(&read("{key: a, headers: {tag: x}}", &[]).single(&topic)),
        "not found",
        "only an older value was called x"
    );
    assert_eq!(
        said(&read("{headers: {tag: x}}", &[]).single(&topic)),
        "not found"
    );
}

#[test]
fn on_other_topics_the_oldest_record_with_key_and_headers_is_found() {
    let mut topic = Topic::new(DELETE, 1);
    topic.append(
        0,
        &[
            ("a", "0", &[("tag", "x")]),
            ("a", "1", &[("tag", "y")]),
            ("b", "2", &[("tag", "z")]),
            ("a", "3", &[("tag", "z")]),
        ],
    );
    let single = |filters| said(&read(filters, &[]).single(&topic));
    assert_eq!(single("{key: a, headers: {tag: y}}"), "200 'AQIABA==' 1");
    assert_eq!(single("{key: a, headers: {tag: z}}"), "200 'AQIACA==' 3");
    assert_eq!(single("{headers: {tag: z}}"), "200 'AQIABg==' 2");
    assert_eq!(single("{key: b, headers: {tag: y}}"), "not found");
}

#[test]
fn all_headers_of_a_filter_must_be_there_and_any_of_one_name_will_do() {
    let mut topic = Topic::new(DELETE, 1);
    topic.append(
        0,
        &[
            ("", "0", &[("tag", "x")]),
            ("", "1", &[("tag", "x"), ("tag", "y"), ("size", "9")]),
        ],
    );
    let single = |filters| said(&read(filters, &[]).single(&topic));
    assert_eq!(single("{headers: {tag: y}}"), "200 'AQIABA==' 1");
    assert_eq!(single("{headers: {tag: x, size: '9'}}"), "200 'AQIABA==' 1");
    assert_eq!(
        single("{headers: {Tag: x}}"),
        "not found",
        "names of record headers are bytes"
    );
}

#[test]
fn of_several_filters_one_is_enough_and_the_oldest_record_is_taken() {
    let mut topic = Topic::new(DELETE, 1);
    topic.append(
        0,
        &[
            ("c", "0", &[]),
            ("b", "1", &[("tag", "x")]),
            ("a", "2", &[]),
        ],
    );
    let single = |filters| said(&read(filters, &[]).single(&topic));
    assert_eq!(single("{key: a}, {key: b}"), "200 'AQIABA==' 1");
    assert_eq!(
        single("{key: a}, {key: b, headers: {tag: y}}"),
        "200 'AQIABg==' 2"
    );
    assert_eq!(single("{key: z}, {headers: {tag: x}}"), "200 'AQIABA==' 1");
    assert_eq!(single("{key: y}, {key: z}"), "not found");
}

#[test]
fn whether_a_record_is_wanted_is_said_alike_for_collections() {
    let mut topic = Topic::new(DELETE, 1);
    topic.append(
        0,
        &[
            ("a", "0", &[("tag", "x")]),
            ("b", "1", &[("tag", "x")]),
            ("", "2", &[("tag", "y")]),
        ],
    );
    let wanted = |filters| {
        let request = read(filters, &[]);
        let store = topic.partitions[0].as_ref().unwrap();
        let records = store
            .view()
            .scan(0, Superseded::Include)
            .filter_map(|record| record.view());
        records
            .filter(|record| request.matches(record))
            .map(|record| text(record.value.unwrap()))
            .collect::<String>()
    };
    assert_eq!(wanted(""), "012");
    assert_eq!(wanted("{key: a}"), "0");
    assert_eq!(wanted("{headers: {tag: x}}"), "01");
    assert_eq!(
        wanted("{key: b, headers: {tag: x}}, {headers: {tag: y}}"),
        "12"
    );
}

#[test]
fn of_the_headers_of_a_record_only_content_type_and_etag_are_shown() {
    let mut topic = Topic::new(COMPACT, 1);
    let headers = [
        ("x-other", "1"),
        ("content-type", "text/plain"),
        ("etag", "revision=42"),
        (":status", "201"),
        ("content-type", "later"),
    ];
    topic.append(0, &[("a", "value", &headers)]);
    let SingleOutcome::Answer(answer) = of_key("a").single(&topic) else {
        panic!("it is there")
    };
    let shown: Vec<_> = answer
        .head
        .headers
        .iter()
        .map(|(name, value)| (text(name), text(value)))
        .collect();
    let shown: Vec<_> = shown
        .iter()
        .map(|(name, value)| (&name[..], &value[..]))
        .collect();
    assert_eq!(
        shown,
        [
            ("content-type", "text/plain"),
            ("etag", "\\\"AQIAAg==/revision=42\\\"")
        ]
    );
}

#[test]
fn the_etag_of_an_item_is_its_next_offset_as_zilla_writes_it_and_quoted() {
    for (offset, expected) in [
        (0, "AQIAAg=="),
        (1, "AQIABA=="),
        (3, "AQIACA=="),
        (99, "AQIAyAE="),
    ] {
        let mut topic = Topic::new(COMPACT, 1);
        topic.skip_to(0, offset);
        topic.append(0, &[("a", "value", &[])]);
        assert_eq!(
            said(&of_key("a").single(&topic)),
            format!("200 '{expected}' value")
        );
    }
}

#[test]
fn a_value_is_bytes() {
    let mut topic = Topic::new(COMPACT, 1);
    topic.append(0, &[("a", "\0\r\n{", &[("etag", "a\"\r\nb")])]);
    assert_eq!(
        said(&of_key("a").single(&topic)),
        "200 'AQIAAg==/a%22%0D%0Ab' \\x00\\r\\n{"
    );
}
