//! Create, read, update, delete over one topic, as a browser or curl would.

use crate::harness::Env;
use crate::harness::http::Response;
use crate::harness::tool::{curl, is_there};

const WIDGET: &[u8] = br#"{"name":"widget"}"#;

pub(crate) fn an_item_is_written_read_and_deleted(env: &Env) {
    let gateway = env.crud(&env.compacted(3));
    let http = gateway.http();
    http.get("/items/1").expect(404);

    let written = http.request(
        "PUT",
        "/items/1",
        &[("content-type", "application/json")],
        Some(WIDGET),
    );
    assert_eq!(written.expect(204).body, b"");
    let read = http.get("/items/1").expect(200);
    assert_eq!(read.body, WIDGET);
    assert_eq!(read.header("content-type"), Some("application/json"));
    assert_eq!(read.header("content-length"), Some("17"));
    let first = read.etag();

    http.put("/items/1", b"[2]").expect(204);
    let read = http.get("/items/1").expect(200);
    assert_eq!(read.body, b"[2]");
    assert_ne!(read.etag(), first);

    http.delete("/items/1").expect(204);
    http.get("/items/1").expect(404);
    http.delete("/items/1").expect(204);
    http.put("/items/1", WIDGET).expect(204);
    assert_eq!(http.get("/items/1").expect(200).body, WIDGET);
}

pub(crate) fn curl_does_the_walkthrough(env: &Env) {
    if !is_there("curl") {
        return;
    }
    let gateway = env.crud(&env.compacted(3));
    let items = format!("http://{}/items", gateway.address());
    let item = format!("{items}/1");
    let status = ["--output", "/dev/null", "--write-out", "%{http_code}"];
    let json = "content-type: application/json";
    let put = ["-X", "PUT", &item, "-H", json, "-d", r#"{"name":"widget"}"#];
    assert_eq!(curl(status.iter().chain(&put)), "204");
    let shown = curl(["-i", &item]);
    assert!(shown.starts_with("HTTP/1.1 200 OK\r\n"), "{shown}");
    assert!(
        shown.to_ascii_lowercase().contains("\r\netag: \""),
        "{shown}"
    );
    assert!(shown.ends_with("\r\n\r\n{\"name\":\"widget\"}"), "{shown}");
    assert_eq!(curl([&items]), r#"[{"name":"widget"}]"#);
    let delete = ["-X", "DELETE", &item];
    assert_eq!(curl(status.iter().chain(&delete)), "204");
    assert_eq!(curl(status.iter().chain(&[&*item])), "404");
    assert_eq!(curl([&items]), "[]");
}

/// RFC 9110, section 13.1.2; bare values as Zilla's clients send them.
pub(crate) fn a_listed_etag_is_answered_304(env: &Env) {
    let gateway = env.crud(&env.compacted(3));
    let http = gateway.http();
    http.put("/items/1", WIDGET).expect(204);
    http.put("/items/2", b"{}").expect(204);
    http.put("/items/2", b"[]").expect(204);
    let etag = http.get("/items/1").expect(200).etag();
    let of_another = http.get("/items/2").expect(200).etag();
    assert_ne!(etag, of_another);

    let bare = etag.trim_matches('"');
    let unchanged = |answer: Response| {
        let answer = answer.expect(304);
        assert_eq!(answer.etag(), etag);
        assert_eq!(answer.body, b"");
    };
    unchanged(http.get_unless("/items/1", &etag));
    unchanged(http.get_unless("/items/1", bare));
    unchanged(http.get_unless("/items/1", &format!("W/{etag}")));
    unchanged(http.get_unless("/items/1", &format!("\"other\", {etag}")));
    unchanged(http.get_unless("/items/1", &format!("W/\"other\" ,\t W/{etag},\"third\"")));
    unchanged(http.get_unless("/items/1", "*"));
    let two_lines = [("if-none-match", "\"other\""), ("if-none-match", &*etag)];
    unchanged(http.request("GET", "/items/1", &two_lines, None));

    for etag in [&*of_another, "\"other\"", "other", "\"", "W/", ","] {
        let answer = http.get_unless("/items/1", etag).expect(200);
        assert_eq!(answer.body, WIDGET, "if-none-match: {etag}");
    }
    http.get_unless("/items/3", "*").expect(404);

    http.put("/items/1", b"[2]").expect(204);
    assert_eq!(http.get_unless("/items/1", &etag).expect(200).body, b"[2]");
    http.delete("/items/1").expect(204);
    http.get_unless("/items/1", "*").expect(404);
    http.get_unless("/items/1", &etag).expect(404);
}

pub(crate) fn an_item_of_another_content_type_keeps_it(env: &Env) {
    let gateway = env.crud(&env.compacted(1));
    let http = gateway.http();
    let bytes: Vec<u8> = (0..=255).collect();
    let octets = [("content-type", "application/octet-stream")];
    http.request("PUT", "/items/1", &octets, Some(&bytes))
        .expect(204);
    let read = http.get("/items/1").expect(200);
    assert_eq!(read.body, bytes);
    assert_eq!(
        read.header("content-type"),
        Some("application/octet-stream")
    );

    http.put("/items/2", b"plain").expect(204);
    let read = http.get("/items/2").expect(200);
    assert_eq!(read.header("content-type"), None);
}

pub(crate) fn an_empty_body_is_an_empty_value(env: &Env) {
    let topic = env.compacted(1);
    let gateway = env.crud(&topic);
    let http = gateway.http();
    http.put("/items/1", b"").expect(204);
    let record = env.kafka.newest(&topic, 1, "1").expect("it was stored");
    assert_eq!(
        record.record.value.as_deref(),
        Some(&b""[..]),
        "empty, not null"
    );
    let read = http.get("/items/1").expect(204);
    read.etag();

    // A request without any body at all is the same.
    http.request("PUT", "/items/2", &[], None).expect(204);
    let record = env.kafka.newest(&topic, 1, "2").expect("it was stored");
    assert_eq!(record.record.value.as_deref(), Some(&b""[..]));
}

/// RFC 9110, section 9.3.2.
pub(crate) fn head_is_get_without_the_body(env: &Env) {
    let gateway = env.crud(&env.compacted(1));
    let http = gateway.http();
    http.put("/items/1", WIDGET).expect(204);
    let etag = http.get("/items/1").expect(200).etag();
    let mut connection = http.connect();
    connection.send(
        "HEAD /items/1 HTTP/1.1\r\nhost: x\r\n\r\nHEAD /items HTTP/1.1\r\nhost: x\r\n\r\n\
         HEAD /items/2 HTTP/1.1\r\nhost: x\r\n\r\nGET /items/1 HTTP/1.1\r\nhost: x\r\n\r\n",
    );
    let mut answer = |method| connection.receive(method).expect("an answer");
    let item = answer("HEAD").expect(200);
    assert_eq!(item.etag(), etag);
    assert_eq!(item.header("content-length"), Some("17"));
    answer("HEAD").expect(200);
    answer("HEAD").expect(404);
    assert_eq!(answer("GET").expect(200).body, WIDGET);
}

pub(crate) fn what_no_route_takes_is_404(env: &Env) {
    let gateway = env.crud(&env.compacted(1));
    let http = gateway.http();
    let mut connection = http.connect();
    for (method, path) in [
        ("GET", "/"),
        ("GET", "/item"),
        ("GET", "/items/"),
        ("GET", "/itemss/1"),
        ("GET", "/ITEMS/1"),
        ("PATCH", "/items/1"),
        ("PUT", "/items"),
        ("DELETE", "/items"),
        ("OPTIONS", "/items"),
    ] {
        connection.send(format!("{method} {path} HTTP/1.1\r\nhost: x\r\n\r\n"));
        let answer = connection.receive(method).expect("an answer");
        assert_eq!(answer.status, 404, "{method} {path}");
        // RFC 9457.
        assert_eq!(
            answer.header("content-type"),
            Some("application/problem+json"),
            "{method} {path}"
        );
        let problem: serde_json::Value = serde_json::from_slice(&answer.body).expect("JSON");
        assert_eq!(problem["status"], 404, "{problem}");
    }
}

pub(crate) fn a_query_is_not_part_of_the_path(env: &Env) {
    let topic = env.compacted(1);
    let gateway = env.crud(&topic);
    let http = gateway.http();
    http.put("/items/1?x=1&y", WIDGET).expect(204);
    assert!(env.kafka.newest(&topic, 1, "1").is_some());
    assert_eq!(http.get("/items/1").expect(200).body, WIDGET);
    assert_eq!(http.get("/items/1?").expect(200).body, WIDGET);
    assert_eq!(http.get("/items/1?a/b?=%20").expect(200).body, WIDGET);
    assert_eq!(
        http.get("/items?x=1").expect(200).text(),
        r#"[{"name":"widget"}]"#
    );
}

pub(crate) fn a_key_is_percent_decoded_and_may_hold_slashes(env: &Env) {
    let topic = env.compacted(1);
    let gateway = env.crud(&topic);
    let http = gateway.http();
    for (path, key) in [
        ("/items/a%20b", "a b"),
        ("/items/c%2Fd", "c/d"),
        ("/items/e/f", "e/f"),
        ("/items/g+h", "g+h"),
        ("/items/%c3%bc", "ü"),
        ("/items/%25", "%"),
        ("/items/i%3Fj", "i?j"),
    ] {
        http.put(path, key).expect(204);
        assert!(
            env.kafka.newest(&topic, 1, key).is_some(),
            "{path}: no key {key:?}"
        );
        assert_eq!(http.get(path).expect(200).text(), key, "{path}");
    }
    assert_eq!(http.get("/items/%61%20b").expect(200).text(), "a b");
    assert_eq!(http.get("/items/e%2Ff").expect(200).text(), "e/f");
    for path in ["/items/%", "/items/%4", "/items/%zz"] {
        http.get(path).expect(400);
    }
}
