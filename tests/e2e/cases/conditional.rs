//! What a GET finds: entity tags on topics that are compacted and those that are not, and filters.

use crate::harness::Env;
use crate::harness::config::{Crud, Mapping};
use crate::harness::http::{Http, Response};
use crate::harness::records::Record;
use crate::harness::{PATIENCE, eventually};

/// The forms that a tag may be sent in; in a list and over two lines as well.
fn forms(etag: &str) -> [String; 6] {
    let bare = etag.trim_matches('"');
    [
        etag.to_owned(),
        bare.to_owned(),
        format!("W/{etag}"),
        format!("\"other\", {etag}"),
        format!("{etag},\"AQIAAA==\""),
        format!("W/\"other\" ,\tW/{etag}"),
    ]
}

#[track_caller]
fn expect_unchanged(answer: Response, etag: &str) {
    let answer = answer.expect(304);
    assert_eq!(answer.etag(), etag);
    assert_eq!(answer.body, b"");
}

/// Waits until a read without conditions gives this.
#[track_caller]
fn appears(http: Http, path: &str, value: &str) -> Response {
    eventually(&format!("{path} is {value}"), PATIENCE, || {
        let answer = http.get(path);
        (answer.status == 200 && answer.text() == value).then_some(answer)
    })
}

/// Equality: the tag names a record, and is good as long as that record is the newest of the key.
pub(crate) fn on_a_compacted_topic_a_tag_names_a_record(env: &Env) {
    let topic = env.compacted(3);
    let gateway = env.crud(&topic);
    let http = gateway.http();
    let written = |path: &str, value: &str| {
        http.put(path, value).expect(204);
        http.get(path).expect(200).etag()
    };
    let first = written("/items/1", "1");
    let other = written("/items/2", "1");
    for form in forms(&first) {
        expect_unchanged(http.get_unless("/items/1", &form), &first);
    }
    // Not one of another item, be its record older or newer; not one beyond what there is.
    for not_its in [
        &*other,
        "\"AQIAAA==\"",
        "\"AQIAyAE=\"",
        "\"AQYAyAECyAEEyAE=\"",
    ] {
        if not_its != first {
            http.get_unless("/items/1", not_its).expect(200);
        }
    }
    // The same bytes again are another record; the old tag is of no use for it, nor when the item has gone and is back.
    let second = written("/items/1", "1");
    assert_ne!(second, first);
    http.get_unless("/items/1", &first).expect(200);
    http.delete("/items/1").expect(204);
    for tag in [&*first, &second, "*", "\"other\""] {
        http.get_unless("/items/1", tag).expect(404);
    }
    let third = written("/items/1", "1");
    for tag in [&first, &second] {
        assert_eq!(http.get_unless("/items/1", tag).expect(200).etag(), third);
    }
    expect_unchanged(http.get_unless("/items/1", &third), &third);
    expect_unchanged(http.get_unless("/items/1", "*"), &third);
    http.get_unless("/items/missing", &third).expect(404);
    http.get_unless("/items/missing", "*").expect(404);
}

/// The service's own etag is part of the tag: it comes back in `if-match`.
pub(crate) fn the_etag_of_a_record_is_part_of_its_tag(env: &Env) {
    let topic = env.compacted(1);
    let gateway = env.crud(&topic);
    let http = gateway.http();
    let record = Record::new("1", "{}").header("etag", "revision=42");
    env.kafka
        .append(&topic, 0, &[Record::new("0", "{}"), record]);
    let etag = appears(http, "/items/1", "{}").etag();
    assert_eq!(etag, "\"AQIABA==/revision=42\"");
    for form in forms(&etag) {
        expect_unchanged(http.get_unless("/items/1", &form), &etag);
    }
    assert_eq!(appears(http, "/items/0", "{}").etag(), "\"AQIAAg==\"");
}

/// Position: the tag says how far the client has read, and whatever matches behind that is new.
pub(crate) fn on_another_topic_a_tag_is_a_cursor(env: &Env) {
    let topic = env.topic(1, &[]);
    let gateway = env.mapping(&Mapping::cache(&topic));
    let http = gateway.http();
    let records = [
        Record::new("1", "first"),
        Record::new("2", "other"),
        Record::new("1", "second"),
        Record::new("1", "second").header("etag", "e"),
    ];
    env.kafka.append(&topic, 0, &records);
    // The oldest match; from its tag on the next one, and so on.
    let first = appears(http, "/items/1", "first").etag();
    assert_eq!(first, "\"AQIAAg==\"");
    let step = |from: &str, value: &str, to: &str| {
        for form in [from, from.trim_matches('"'), &format!("W/{from}")] {
            let answer = http.get_unless("/items/1", form).expect(200);
            assert_eq!(
                (answer.text(), answer.etag()),
                (value.to_owned(), to.to_owned())
            );
        }
    };
    step("\"AQIAAA==\"", "first", "\"AQIAAg==\"");
    step(&first, "second", "\"AQIABg==\"");
    step("\"AQIABg==\"", "second", "\"AQIACA==/e\"");
    // At the end nothing is new, for any key.
    for path in ["/items/1", "/items/2", "/items/missing"] {
        expect_unchanged(http.get_unless(path, "\"AQIACA==/e\""), "\"AQIACA==/e\"");
    }
    // Beyond the end it is not a cursor of this topic: as if there were none.
    let beyond = http.get_unless("/items/1", "\"AQIAyAE=\"").expect(200);
    assert_eq!(beyond.text(), "first");
    for unknown in ["\"other\"", "AQIAAg", "\"AQIA+A==\""] {
        assert_eq!(
            http.get_unless("/items/1", unknown).expect(200).text(),
            "first"
        );
    }
    http.get("/items/missing").expect(404);
    // A tombstone is what is new.
    let tombstone = Record {
        value: None,
        ..Record::new("1", "")
    };
    env.kafka.append(&topic, 0, &[tombstone]);
    eventually("the tombstone appears", PATIENCE, || {
        let status = http.get_unless("/items/1", "\"AQIACA==/e\"").status;
        assert!(matches!(status, 304 | 404), "{status}");
        (status == 404).then_some(())
    });
}

/// Conditions in one filter all have to hold; of several filters one.
pub(crate) fn filters_are_an_or_of_ands(env: &Env) {
    let topic = env.compacted(2);
    let filters = "filters:\n  - key: a-${params.id}\n  - headers:\n      color: red\n      size: ${params.id}\n  \
        - key: c-${params.id}\n    headers:\n      color: blue";
    let merge = format!("capability: fetch\n{filters}\nmerge:\n  content-type: application/json");
    let config = Crud::over(&topic)
        .route("GET", "/found/{id}", &merge)
        .route("GET", "/one/{id}", &format!("capability: fetch\n{filters}"));
    let gateway = env.gateway(&config);
    let http = gateway.http();
    let records = [
        Record::new("a-1", "1"),
        Record::new("b-1", "2"),
        Record::new("d-1", "3")
            .header("color", "red")
            .header("size", "1"),
        Record::new("d-2", "4")
            .header("color", "red")
            .header("size", "2"),
        Record::new("d-3", "5").header("color", "red"),
        Record::new("d-4", "6").header("size", "1"),
        // Any of several headers of the name will do; names and values are compared as they are.
        Record::new("d-5", "7")
            .header("color", "green")
            .header("color", "red")
            .header("size", "1"),
        Record::new("d-6", "8")
            .header("Color", "red")
            .header("size", "1"),
        Record::new("d-7", "9")
            .header("color", "red ")
            .header("size", "1"),
        Record::new("c-1", "10").header("color", "blue"),
        Record::new("c-2", "11").header("color", "green"),
        // Its newest record decides, and that one does not match.
        Record::new("d-8", "12")
            .header("color", "red")
            .header("size", "1"),
        Record::new("d-8", "13"),
        Record::new("end", "14"),
    ];
    env.kafka.append(&topic, 0, &records);
    let also = Record::new("d-9", "15")
        .header("color", "red")
        .header("size", "1");
    env.kafka
        .append(&topic, 1, &[also, Record::new("end-1", "16")]);
    appears(http, "/items/end", "14");
    appears(http, "/items/end-1", "16");
    let found = |id: &str| {
        let answer = http.get(&format!("/found/{id}")).expect(200);
        let mut values: Vec<u8> = serde_json::from_slice(&answer.body).expect("a JSON array");
        values.sort_unstable();
        values
    };
    assert_eq!(found("1"), [1, 3, 7, 10, 15]);
    assert_eq!(found("2"), [4]);
    assert_eq!(found("3"), [0_u8; 0]);
    assert_eq!(http.get("/one/2").expect(200).text(), "4");
    let one = http.get("/one/1").expect(200).text();
    assert!(matches!(&*one, "1" | "3" | "7" | "10" | "15"), "{one}");
    http.get("/one/3").expect(404);
}
