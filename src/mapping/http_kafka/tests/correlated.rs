//! Requests with a reply: the record and its correlation id (the reference's vectors), the question for a reply, the answer made of one.

use std::fmt::Write as _;

use super::*;
use crate::http::ResponseHead;
use crate::mapping::http_kafka::correlated::{StatusRequest, Submission, answer};

const KEY: &str = "92d0bf92-63e0-4cfc-ae73-71dee92d1544";

fn submission(server: &HttpServer, head: &RequestHead, body: &'static [u8]) -> Submission {
    match ask_with(server, head, body).unwrap().action {
        Action::Submit(submission) => *submission,
        other => panic!("no request with a reply: {other:?}"),
    }
}

fn status(server: &HttpServer, path: &str, headers: &[(&str, &str)]) -> StatusRequest {
    match ask(server, &head(Method::Get, path, headers))
        .unwrap()
        .action
    {
        Action::Status(status) => *status,
        other => panic!("no question for a reply: {other:?}"),
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn headers(record: &Record) -> Vec<String> {
    record
        .headers
        .iter()
        .map(|(name, value)| format!("{}={}", text(name), text(value.as_deref().unwrap())))
        .collect()
}

/// The route of the reference's vectors.
fn vectors() -> Arc<HttpServer> {
    mapping(&[
        "when: [{path: '/items/{id}'}], with: {capability: produce, topic: items-requests, key: '${params.id}', reply-to: items-replies, overrides: {zilla:identity: test}}",
    ])
}

fn https(method: Method, extra: &[(&str, &str)]) -> RequestHead {
    let path = format!("/items/{KEY}");
    head_to(Scheme::Https, "example.com:9090", method, &path, extra)
}

/// The vectors have `:method` before `:scheme`, as over HTTP/2, and the authority before the path: the hash of HTTP/1.1's order is another one, so the order is
/// put right by hand here and the formula checked.
fn hash_in(order: &[&str], record: &Record, body: &[u8]) -> String {
    use md5::{Digest, Md5};
    let mut md5 = Md5::new();
    md5.update(record.key.as_deref().unwrap());
    for name in order {
        let (_, value) = record
            .headers
            .iter()
            .find(|(have, _)| have == name.as_bytes())
            .unwrap_or_else(|| panic!("{name} is not in the record"));
        md5.update(name.as_bytes());
        md5.update(value.as_deref().unwrap());
    }
    md5.update(body);
    md5.finalize().iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").expect("strings take what is written");
        hex
    })
}

#[test]
fn the_real_run_of_the_reference_has_the_same_id() {
    let server = mapping(&[
        "when: [{path: '/items/{id}'}], with: {capability: produce, topic: items-requests, key: '${params.id}', reply-to: items-responses}",
    ]);
    let request = head_to(
        Scheme::Http,
        "localhost:7114",
        Method::Put,
        "/items/5cf7a1d5-3772-49ef-86e7-ba6f2c7d7d07",
        &[
            ("host", "localhost:7114"),
            ("user-agent", "curl/7.86.0"),
            ("accept", "*/*"),
            ("idempotency-key", "1"),
            ("content-type", "application/json"),
            ("content-length", "28"),
            ("prefer", "wait=5"),
        ],
    );
    let submission = submission(&server, &request, b"{\"greeting\":\"Hello, world\"}");
    assert_eq!(text(&submission.id), "1-b664e68dd5c49716688e3ec1c8c68bb6");
    assert!(!submission.is_ours);
    assert_eq!(
        headers(&submission.record),
        [
            ":scheme=http",
            ":method=PUT",
            ":path=/items/5cf7a1d5-3772-49ef-86e7-ba6f2c7d7d07",
            ":authority=localhost:7114",
            "user-agent=curl/7.86.0",
            "accept=*/*",
            "idempotency-key=1",
            "content-type=application/json",
            "zilla:reply-to=items-responses",
            "zilla:correlation-id=1-b664e68dd5c49716688e3ec1c8c68bb6",
        ]
    );
}

#[test]
fn the_vectors_of_the_reference_hold() {
    let pseudo = [":method", ":scheme", ":authority", ":path"];
    let last = ["zilla:reply-to", "zilla:identity"];
    let put = ["content-type", "idempotency-key"];
    let conditional = ["content-type", "if-match", "idempotency-key"];
    let order = |middle: &[&'static str]| [&pseudo, middle, &last].concat();
    let idempotency = ("idempotency-key", "3f96592e-c8f1-4167-8c46-85f2aabb70a5");
    let json = ("content-type", "application/json");
    let host = ("host", "example.com:9090");
    let body = b"{ \"name\": \"widget\" }";

    let record = submission(
        &vectors(),
        &https(Method::Put, &[host, json, idempotency]),
        body,
    )
    .record;
    assert_eq!(
        hash_in(&order(&put), &record, body),
        "ee284177921a96f23e9b3166f12ca058"
    );
    for tag in ["AQQABAIC/revision=42", "\"AQQABAIC/revision=42\""] {
        let request = https(Method::Put, &[host, json, ("if-match", tag), idempotency]);
        let record = submission(&vectors(), &request, body).record;
        assert_eq!(
            hash_in(&order(&conditional), &record, body),
            "7e0564551d9ebbf052c729eac90d815b"
        );
    }
    let idempotency = ("idempotency-key", "7101a8ea-5745-43c8-8d0c-b2f9baba7004");
    let record = submission(
        &vectors(),
        &https(Method::Delete, &[host, idempotency]),
        b"",
    )
    .record;
    assert_eq!(
        hash_in(&order(&["idempotency-key"]), &record, b""),
        "040487c782b6bfee62fcbd96a008bd4c"
    );
    assert_eq!(
        record.value.as_deref(),
        Some(&b""[..]),
        "a delete with a reply is not a tombstone"
    );
}

#[test]
fn a_condition_without_the_item_s_own_etag_is_left_out_and_one_that_cannot_be_passed_on_is_400() {
    let with = |tag: &str| ask_with(&vectors(), &https(Method::Put, &[("if-match", tag)]), b"");
    match with("\"AQQABAIC\"").unwrap().action {
        Action::Submit(submission) => {
            assert!(
                !headers(&submission.record)
                    .iter()
                    .any(|header| header.starts_with("if-match"))
            );
        }
        other => panic!("{other:?}"),
    }
    for tag in ["*", "W/\"AQQABAIC/1\"", "\"AQQABAIC/1\", \"AQQABAIC/2\""] {
        assert!(matches!(with(tag), Err(RequestError::IfMatch(_))), "{tag}");
    }
}

#[test]
fn of_a_repeated_header_the_last_value_stands_where_the_first_one_stood() {
    let request = https(
        Method::Put,
        &[("a", "1"), ("b", "2"), ("a", "3"), ("connection", "close")],
    );
    let record = submission(&vectors(), &request, b"").record;
    let headers = headers(&record);
    let own: Vec<_> = headers.iter().filter(|header| header.len() == 3).collect();
    assert_eq!(own, ["a=3", "b=2"]);
    assert!(
        !headers
            .iter()
            .any(|header| header.starts_with("connection"))
    );
}

#[test]
fn an_id_of_our_own_is_made_for_our_own_core() {
    let server = vectors();
    let request = https(Method::Put, &[]);
    let ids = Ids {
        fresh_key: &|| "0f96592e-c8f1-4167-8c46-85f2aabb70a5".to_owned(),
        is_own: &|id| id[35] == b'9',
    };
    let resolved = resolve(&server, &request, Some(&Bytes::new()), ids).unwrap();
    let Action::Submit(submission) = resolved.action else {
        panic!("{resolved:?}")
    };
    assert!(submission.is_ours);
    assert!(text(&submission.id).starts_with("0f96592e-c8f1-4167-8c46-85f2aabb70a9-"));
}

/// The route of Zilla's example of asynchronous requests.
fn asynchronous() -> Arc<HttpServer> {
    mapping(&[
        "when: [{method: PUT, path: '/items/{id}'}, {method: GET, path: '/items/{id};cid={cid}'}], with: {capability: produce, topic: items-requests, key: '${params.id}', reply-to: items-replies, async: {location: '/items/${params.id};cid=${correlationId}', x-key: '${idempotencyKey}'}}",
    ])
}

#[test]
fn a_preference_for_async_offers_the_location_and_the_location_asks_for_the_same_id() {
    let server = asynchronous();
    let request = |prefer| {
        head(
            Method::Put,
            "/items/a%20b",
            &[("idempotency-key", "k;1"), ("prefer", prefer)],
        )
    };
    assert_eq!(submission(&server, &request("wait=2"), b"").accepted, None);
    let submission = submission(&server, &request("respond-async, wait=2"), b"");
    let accepted = submission.accepted.unwrap();
    assert_eq!(accepted[1], ("x-key".to_owned(), b"k%3B1".to_vec()));
    let location = text(&accepted[0].1);
    assert!(
        location.starts_with("/items/a%20b;cid=k%3B1-"),
        "{location}"
    );

    let status = status(&server, &location, &[("prefer", "wait=2")]);
    assert_eq!(status.id, submission.id);
    assert_eq!(status.accepted, accepted, "told again as it was");
}

#[test]
fn without_a_body_at_hand_a_request_with_a_reply_asks_for_it() {
    let ids = Ids {
        fresh_key: &|| "k".into(),
        is_own: &|_| true,
    };
    let resolved = resolve(&vectors(), &https(Method::Put, &[]), None, ids).unwrap();
    assert!(matches!(resolved.action, Action::NeedsBody));
    let question = head(Method::Get, "/items/1;cid=x-0", &[]);
    let resolved = resolve(&asynchronous(), &question, None, ids).unwrap();
    assert!(matches!(resolved.action, Action::Status(_)));
}

#[test]
fn values_of_the_body_become_keys_and_those_that_are_not_there_are_named() {
    let server = mapping(&["with: {capability: produce, topic: items, key: '${body.device.id}'}"]);
    let request = head(Method::Post, "/", &[]);
    match ask_with(&server, &request, b"{\"device\":{\"id\":7.0}}")
        .unwrap()
        .action
    {
        Action::Produce { record, .. } => assert_eq!(record.key.as_deref(), Some(&b"7.0"[..])),
        other => panic!("{other:?}"),
    }
    let error = ask_with(&server, &request, b"{\"device\":null}").unwrap_err();
    assert!(
        matches!(&error, RequestError::Missing(missing) if missing.expression == "${body.device.id}")
    );
}

fn reply(
    headers: &[(&str, Option<&str>)],
    value: Option<&'static [u8]>,
) -> Result<(ResponseHead, Body), RequestError> {
    let headers = headers
        .iter()
        .map(|(name, value)| (name.as_bytes(), value.map(str::as_bytes)));
    let answer = answer(
        headers,
        value.map(Bytes::from_static),
        "zilla:correlation-id",
    )?;
    Ok((answer.head, answer.body))
}

#[test]
fn a_reply_is_the_answer_without_what_is_not_for_clients() {
    let (head, body) = reply(
        &[
            ("zilla:correlation-id", Some("1")),
            (":status", Some("201")),
            ("Content-Type", Some("text/plain")),
            ("etag", Some("\"1\"")),
            ("content-length", Some("99")),
            ("x-null", None),
            ("x-split", Some("a\r\nset-cookie: b")),
            ("bad name", Some("x")),
        ],
        Some(b"body"),
    )
    .unwrap();
    assert_eq!(head.status, 201);
    let names: Vec<_> = head
        .headers
        .iter()
        .map(|(name, value)| format!("{}={}", text(name), text(value)))
        .collect();
    assert_eq!(names, ["content-type=text/plain", "etag=\"1\""]);
    assert_eq!(body, Body::Full(Bytes::from_static(b"body")));
}

#[test]
fn a_reply_without_status_is_200_and_one_with_none_that_http_knows_is_502() {
    assert_eq!(
        reply(&[], None).unwrap(),
        (ResponseHead::new(200), Body::Empty)
    );
    assert_eq!(
        reply(&[(":status", Some("204"))], Some(b"x")).unwrap().1,
        Body::Empty
    );
    for status in ["100", "600", "abc", ""] {
        assert_eq!(
            reply(&[(":status", Some(status))], None),
            Err(RequestError::BadReply)
        );
    }
}
