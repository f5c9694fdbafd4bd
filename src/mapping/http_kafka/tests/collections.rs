//! How the answer to a collection begins, and its JSON.

use super::*;
use crate::mapping::http_kafka::fetch::JsonArray;

/// The line of the head of a collection's answer: status, content type, etag.
fn said(topic: &Topic, if_none_match: &[&str]) -> String {
    let server = mapping(&[
        "with: {capability: fetch, topic: items, merge: {content-type: application/json}}",
    ]);
    let conditions: Vec<_> = if_none_match
        .iter()
        .map(|value| ("if-none-match", *value))
        .collect();
    let request = fetch(&server, &head(Method::Get, "/", &conditions));
    assert!(request.merge);
    let begun = request.collection(topic);
    assert_eq!(begun.is_unchanged, begun.head.status == 304);
    answer_line(&Answer {
        head: begun.head,
        body: Body::Empty,
    })
}

#[test]
fn the_etag_of_a_collection_is_the_last_offset_of_each_partition() {
    for (offsets, expected) in [
        (&[-1][..], "AQIAAQ=="),
        (&[0], "AQIAAA=="),
        (&[100], "AQIAyAE="),
        (&[1, 1], "AQQAAgIC"),
        (&[2, 1], "AQQABAIC"),
        (&[70, 8192, 0], "AQYAjAECgIABBAA="),
    ] {
        let mut topic = Topic::new(COMPACT, offsets.len());
        for (partition, offset) in offsets
            .iter()
            .enumerate()
            .filter(|(_, offset)| **offset >= 0)
        {
            topic.skip_to(partition, *offset);
            topic.append(partition, &[("a", "value", &[])]);
        }
        assert_eq!(
            said(&topic, &[]),
            format!("200 application/json '{expected}'")
        );
    }
}

#[test]
fn a_tombstone_and_a_hole_at_the_end_count() {
    let mut topic = Topic::new(COMPACT, 1);
    topic.append(0, &[("a", "value", &[]), ("a", "-", &[])]);
    assert_eq!(said(&topic, &[]), "200 application/json 'AQIAAg=='");
    topic.skip_to(0, 5);
    assert_eq!(said(&topic, &[]), "200 application/json 'AQIACA=='");
}

#[test]
fn a_collection_is_unmodified_when_every_partition_ends_where_it_did() {
    for policy in [COMPACT, DELETE] {
        let mut topic = Topic::new(policy, 2);
        topic.append(0, &[("a", "0", &[]), ("b", "1", &[])]);
        let unchanged = "304 application/json 'AQQAAgIB'";
        for listed in [
            "\"AQQAAgIB\"",
            "AQQAAgIB",
            "W/\"AQQAAgIB\"",
            "\"x\", \"AQQAAgIB\"",
            "\"AQQCAQAC\"",
            "*",
        ] {
            assert_eq!(said(&topic, &[listed]), unchanged, "{listed}");
        }
        assert_eq!(said(&topic, &["\"x\"", "\"AQQAAgIB\""]), unchanged);
        for listed in [
            "\"AQIAAg==\"",
            "\"AQQAAAIB\"",
            "\"AQQABAIB\"",
            "\"AQQAAgIB/x\"",
            "\"*\"",
            "garbage",
        ] {
            assert_eq!(
                said(&topic, &[listed]),
                "200 application/json 'AQQAAgIB'",
                "{listed}"
            );
        }
        topic.append(1, &[("c", "2", &[])]);
        assert_eq!(
            said(&topic, &["\"AQQAAgIB\""]),
            "200 application/json 'AQQAAgIA'"
        );
    }
}

fn array(values: &[Option<&str>]) -> String {
    let mut json = JsonArray::default();
    let mut out = Vec::new();
    for value in values {
        json.push(value.map(str::as_bytes), &mut out);
    }
    json.finish(&mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn an_array_leaves_out_null_and_empty_values() {
    assert_eq!(array(&[]), "[]");
    assert_eq!(array(&[None, Some("")]), "[]");
    assert_eq!(array(&[Some("1")]), "[1]");
    assert_eq!(
        array(&[None, Some("{\"a\":1}"), Some(""), None, Some("[2]"), None]),
        "[{\"a\":1},[2]]"
    );
}

#[test]
fn an_array_is_the_same_in_pieces() {
    let mut json = JsonArray::default();
    let mut pieces = Vec::new();
    for value in ["1", "2", "3"] {
        let mut piece = Vec::new();
        json.push(Some(value.as_bytes()), &mut piece);
        pieces.extend(piece);
    }
    json.finish(&mut pieces);
    assert_eq!(pieces, b"[1,2,3]");
}
