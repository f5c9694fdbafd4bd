//! Tests of the mapping: requests against a plan.

use std::sync::Arc;

use super::*;
use crate::config::{self, EventIdForm, HttpServer};
use crate::http::{Headers, Method, RequestHead, Scheme, Version};
use crate::mapping::access::Anybody;
use crate::mapping::http_kafka::Ids;
use crate::mapping::http_kafka::fetch::RecordFilter;

const CONFIG: &str = "
name: example
bindings:
  north:
    type: tcp
    kind: server
    options: {host: 0.0.0.0, port: 7114}
    exit: http
  http: {type: http, kind: server, exit: sse}
  sse:
    type: sse
    kind: server
    options: {retry: 3000, heartbeat: 20s}
    routes:
      - {when: [{path: /events/*}, {path: /all}], exit: mapping}
      - {when: [{path: /other}], exit: mapping}
  mapping:
    type: sse-kafka
    kind: proxy
    routes:
      - when: [{path: '/events/{topic}/{id}'}]
        exit: cache_client
        with:
          topic: 'events-${params.topic}'
          filters:
            - {key: '${params.id}', headers: {kind: 'a ${params.topic}'}}
            - {headers: {to: everybody}}
          event: {id: '[\"${base64(key)}\",\"${etag}\"]'}
      - {when: [{path: /all}], exit: cache_client, with: {topic: events}}
  cache_client: {type: kafka, kind: cache_client, exit: cache_server}
  cache_server: {type: kafka, kind: cache_server, exit: client}
  client: {type: kafka, kind: client, options: {servers: [\"kafka:9092\"]}, exit: tcp}
  tcp: {type: tcp, kind: client}
";

fn server() -> Arc<HttpServer> {
    let nothing = config::Surroundings {
        env: &|_| None,
        directory: "".as_ref(),
        read_file: &|_| Err(std::io::ErrorKind::NotFound.into()),
    };
    let plan = config::load("zilla.yaml", CONFIG, &nothing).unwrap_or_else(|mistakes| {
        let lines: Vec<_> = mistakes.iter().map(ToString::to_string).collect();
        panic!("{}", lines.join("\n"))
    });
    plan.http_servers()[&0].clone()
}

fn ask(
    method: Method,
    target: &str,
    headers: &[(&str, &str)],
) -> Result<EventsRequest, RequestError> {
    let mut list = Headers::new();
    for (name, value) in headers {
        list.push(name, value);
    }
    let (scheme, version) = (Scheme::Http, Version::Http11);
    let head = RequestHead::new(method, scheme, version, b"a", target.as_bytes(), list);
    let ids = Ids {
        fresh_key: &String::new,
        is_own: &|_| true,
    };
    match crate::mapping::resolve(&server(), &head, None, ids, &Anybody)? {
        crate::mapping::Resolved::Events(request) => Ok(*request),
        other => panic!("no events: {other:?}"),
    }
}

fn get(target: &str, headers: &[(&str, &str)]) -> EventsRequest {
    ask(Method::Get, target, headers).unwrap()
}

fn form(request: &EventsRequest) -> EventForm {
    match request.selection.form {
        Form::Event(form) => form,
        Form::Message(_) => panic!("no events"),
    }
}

fn status(asked: Result<EventsRequest, RequestError>) -> u16 {
    let error = asked.expect_err("it is refused");
    error.problem().into_response().0.status
}

fn progress(offsets: &[(i32, i64)]) -> Progress {
    offsets.iter().copied().collect()
}

#[test]
fn a_request_is_a_topic_from_its_beginning() {
    let request = get("/all", &[]);
    assert_eq!(request.topic, "events");
    assert_eq!(request.selection, Selection::default());
    assert_eq!(request.resume, None);
    let times = (request.retry, request.heartbeat);
    assert_eq!(times, (Duration::from_secs(3), Duration::from_secs(20)));
    let head = request.head();
    assert_eq!(head.status, 200);
    assert_eq!(
        head.headers.get_last("content-type"),
        Some(&b"text/event-stream"[..])
    );
    assert_eq!(
        head.headers.get_last("cache-control"),
        Some(&b"no-cache"[..])
    );
}

#[test]
fn parameters_of_the_path_are_filled_into_topic_and_filters() {
    let request = get("/events/orders/a%20b?x=y", &[]);
    assert_eq!(request.topic, "events-orders");
    let filter = |key: Option<&str>, name: &str, value: &str| RecordFilter {
        key: key.map(|key| key.as_bytes().to_vec()),
        headers: vec![(name.as_bytes().to_vec(), value.as_bytes().to_vec())],
    };
    assert_eq!(
        request.selection.filters,
        [
            filter(Some("a b"), "kind", "a orders"),
            filter(None, "to", "everybody")
        ]
    );
    let form = form(&request);
    assert_eq!(form.id, EventIdForm::KeyAndEtag);
    assert!(!form.has_timestamp);
}

#[test]
fn what_is_not_there_is_not_found() {
    for target in ["/", "/none", "/events", "/other", "/events/orders"] {
        assert_eq!(status(ask(Method::Get, target, &[])), 404, "{target}");
    }
}

#[test]
fn a_topic_that_cannot_be_one_is_refused() {
    let asked = ask(Method::Get, "/events/a%20b/c", &[]);
    assert!((400..500).contains(&status(asked)));
}

#[test]
fn other_methods_are_not_allowed() {
    for method in [Method::Post, Method::Put, Method::Delete] {
        let asked = ask(method, "/all", &[]);
        assert!(matches!(
            asked,
            Err(RequestError::MethodNotAllowed { allow: "GET" })
        ));
        assert_eq!(status(asked), 405);
    }
}

#[test]
fn the_last_event_id_of_the_header_comes_before_that_of_the_query() {
    let header = [("last-event-id", "AQIAAg==")];
    let query = "/all?lastEventId=AQIABA%3D%3D";
    assert_eq!(get(query, &[]).resume, Some(progress(&[(0, 2)])));
    assert_eq!(get(query, &header).resume, Some(progress(&[(0, 1)])));
    assert_eq!(get("/all", &header).resume, Some(progress(&[(0, 1)])));
    let keyed = [("last-event-id", "[\"a2V5\",\"AQQABAIC/revision=42\"]")];
    assert_eq!(
        get("/all", &keyed).resume,
        Some(progress(&[(0, 2), (1, 1)]))
    );
}

#[test]
fn a_last_event_id_that_is_none_of_ours_begins_anew() {
    for id in ["", "7", "AQIAAg", "W/\"AQIAAg==\"", "AQIA+A=="] {
        assert_eq!(get("/all", &[("last-event-id", id)]).resume, None, "{id}");
    }
}

#[test]
fn a_last_event_id_may_be_long_but_not_without_end() {
    let all: Progress = (0..500).map(|partition| (partition, 1 << 40)).collect();
    let id = all.encode();
    assert!(id.len() > 254);
    assert_eq!(get("/all", &[("last-event-id", &id)]).resume, Some(all));
    for target in ["/all", "/none"] {
        let asked = |length| {
            let id = "A".repeat(length);
            ask(Method::Get, target, &[("last-event-id", &id)])
        };
        let too_long = asked(LAST_EVENT_ID_BYTES_MAX + 1);
        assert!(matches!(too_long, Err(RequestError::LastEventId)));
        assert_eq!(status(too_long), 400);
        let longest = asked(LAST_EVENT_ID_BYTES_MAX);
        assert!(!matches!(longest, Err(RequestError::LastEventId)));
    }
    let query = format!(
        "/all?lastEventId={}",
        "A".repeat(LAST_EVENT_ID_BYTES_MAX + 1)
    );
    assert_eq!(status(ask(Method::Get, &query, &[])), 400);
}

#[test]
fn times_are_given_to_those_who_accept_them() {
    let has = |accept: &str| {
        let request = get("/all", &[("accept", accept)]);
        let head = request.head();
        let content_type = head.headers.get_last("content-type").unwrap();
        let is_said = content_type == b"text/event-stream;ext=timestamp";
        assert_eq!(is_said, form(&request).has_timestamp);
        is_said
    };
    assert!(has("text/event-stream;ext=timestamp"));
    assert!(has("text/html, Text/Event-Stream; q=1; ext=timestamp"));
    for accept in [
        "",
        "*/*",
        "text/event-stream",
        "text/event-stream;ext=other",
        "text/html;ext=timestamp, text/event-stream",
    ] {
        assert!(!has(accept), "{accept}");
    }
}
