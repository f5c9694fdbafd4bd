//! The walkthroughs of Zilla's examples that write one way and that only read.

use crate::harness::config::{Mapping, correlated};
use crate::harness::http::request;
use crate::harness::records::Record;
use crate::harness::timing::takes;
use crate::harness::tool::{curl, is_there};
use crate::harness::{Env, PATIENCE, eventually};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// `http.kafka.oneway`.
pub(crate) fn events_are_stored_whatever_the_method(env: &Env) {
    let topic = env.topic(1, &[]);
    let gateway = env.mapping(&Mapping::oneway(&topic));
    let http = gateway.http();
    let greeting = r#"{"greeting":"Hello, world"}"#;
    let json = [
        ("content-type", "application/json"),
        ("idempotency-key", "1"),
    ];
    let stored = http.request("POST", "/events", &json, Some(greeting.as_bytes()));
    let stored = stored.expect(204);
    assert_eq!(stored.body, b"");
    assert_eq!(stored.header("content-type"), None);
    http.put("/events", "2").expect(204);
    http.request("PATCH", "/events?x=1", &[], Some(b""))
        .expect(204);
    http.delete("/events").expect(204);
    http.put("/events/1", "no").expect(404);
    let log = env.kafka.await_log(&topic, 1, 4);
    let records: Vec<&Record> = log.iter().map(|logged| &logged.record).collect();
    let content_type = [("content-type", "application/json")];
    assert_eq!(records[0].shown(), content_type);
    let values: Vec<_> = records
        .iter()
        .map(|record| record.value.as_deref())
        .collect();
    let greeting = greeting.as_bytes();
    assert_eq!(values, [Some(greeting), Some(b"2"), Some(b""), None]);
    for record in &records {
        assert_eq!(record.key, None);
    }
    assert!(records[1..].iter().all(|record| record.headers.is_empty()));
}

/// `http.kafka.cache`, with the tags that its README shows, in quotes.
pub(crate) fn the_cache_answers_with_the_tags_of_the_readme(env: &Env) {
    let topic = env.compacted(1);
    let gateway = env.mapping(&Mapping::cache(&topic));
    let http = gateway.http();
    let empty = http.get("/items").expect(200);
    assert_eq!(
        (empty.text(), empty.etag()),
        ("[]".to_owned(), "\"AQIAAQ==\"".to_owned())
    );
    assert_eq!(empty.header("content-type"), Some("application/json"));
    http.get("/items/5cf7").expect(404);

    let greeting = |value: &str| {
        let value = format!("{{\"greeting\":\"{value}\"}}");
        let record = Record::new("5cf7", &value).header("content-type", "application/json");
        env.kafka.append(&topic, 0, &[record]);
        value
    };
    let first = greeting("Hello, world");
    let item = eventually("the item appears", PATIENCE, || {
        let answer = http.get("/items/5cf7");
        (answer.status == 200).then_some(answer)
    });
    assert_eq!(
        (item.text(), item.etag()),
        (first.clone(), "\"AQIAAg==\"".to_owned())
    );
    assert_eq!(item.header("content-type"), Some("application/json"));
    let items = http.get("/items").expect(200);
    assert_eq!(
        (items.text(), items.etag()),
        (format!("[{first}]"), "\"AQIAAA==\"".to_owned())
    );
    let unchanged = http.get_unless("/items", "AQIAAA==").expect(304);
    assert_eq!(unchanged.header("content-type"), Some("application/json"));

    // As its clients send it: bare.
    let mut waiting = http.connect();
    let headers = [("if-none-match", "AQIAAg=="), ("prefer", "wait=60")];
    waiting.send(request("GET", "/items/5cf7", &headers, None));
    let second = greeting("Hello, again");
    let item = waiting.receive("GET").expect("an answer").expect(200);
    assert_eq!(
        (item.text(), item.etag()),
        (second.clone(), "\"AQIABA==\"".to_owned())
    );
    assert_eq!(
        http.get_unless("/items/5cf7", "AQIABA==")
            .expect(304)
            .etag(),
        "\"AQIABA==\""
    );
    assert_eq!(http.get("/items").expect(200).text(), format!("[{second}]"));

    let wait = [("prefer", "wait=5")];
    let missing = || http.request("GET", "/items/unknown", &wait, None);
    takes(Duration::from_secs(5), missing).expect(404);
    // There is no way to write.
    http.put("/items/5cf7", "{}").expect(404);
}

/// `tools/reply.sh`, as the README tells people to use it. Dropped, it ends.
struct Script(Child);

impl Drop for Script {
    fn drop(&mut self) {
        // It ends with its kcat when its standard input does.
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

pub(crate) fn the_replying_script_answers(env: &Env) {
    if !is_there("kcat") || !is_there("curl") {
        return;
    }
    let topics = env.correlated(2);
    let mapping = Mapping::default()
        .route(&[("", "/items/{id}")], &correlated(&topics))
        .bootstrap(&topics.replies);
    let gateway = env.mapping(&mapping);
    let mut script = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("tools/reply.sh"));
    script.args(["--until-eof", &env.broker.bootstrap(), &topics.requests]);
    let script = script
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let _script = Script(script.spawn().expect("a shell"));
    let url = format!("http://{}/items/1", gateway.address());
    for value in [
        r#"{"greeting":"Hello, world"}"#,
        "two\nlines and a \ttab",
        "'quotes' \"and\" $(id) `id` \\n %s %% * ; & | <>",
        "",
        "ü",
    ] {
        let json = [
            "-H",
            "content-type: application/json",
            "-H",
            "idempotency-key: a, b=c",
        ];
        let data = ["-X", "PUT", "--data-binary", value, "-i", &url];
        let shown = curl(json.iter().chain(&data));
        assert!(shown.starts_with("HTTP/1.1 200 OK\r\n"), "{shown}");
        assert!(
            shown.ends_with(&format!("\r\n\r\n{value}")),
            "{value:?}: {shown:?}"
        );
        assert!(
            shown
                .to_ascii_lowercase()
                .contains("\ncontent-type: application/json\r\n"),
            "{shown}"
        );
    }
}
