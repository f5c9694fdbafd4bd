//! Tests of the mapping through its public face: requests against plans, and reads against cached partitions.

mod collections;
mod conditions;
mod correlated;
mod missing;
mod produce;
mod routing;
mod single;

use std::cell::Cell;
use std::sync::Arc;

use bytes::Bytes;

use super::fetch::{Answer, CachedTopic, FetchRequest, SingleOutcome};
use super::{Action, Ids, Resolved};
use crate::clock::UnixMillis;
use crate::config::{self, HttpServer};
use crate::error::RequestError;
use crate::http::{Body, Headers, Method, RequestHead, Scheme, Version};
use crate::kafka::cache::{PartitionStore, PartitionView, Policy};
use crate::kafka::producer::Record;
use crate::kafka::record_batch::{Batch, BatchBuilder};
use crate::mapping;
use crate::mapping::access::Anybody;

/// A server whose `http` binding and whose `http-kafka` binding have these lines, in YAML's flow style or with its indentation.
fn server(http: &str, mapping: &str) -> Arc<HttpServer> {
    let indented = |lines: &str| {
        lines
            .trim()
            .lines()
            .fold(String::new(), |text, line| text + "    " + line + "\n")
    };
    let text = FRAME
        .replace("    HTTP\n", &indented(http))
        .replace("    MAPPING\n", &indented(mapping));
    let nothing = config::Surroundings {
        env: &|_| None,
        directory: "".as_ref(),
        read_file: &|_| Err(std::io::ErrorKind::NotFound.into()),
    };
    let plan = config::load("zilla.yaml", &text, &nothing).unwrap_or_else(|mistakes| {
        let lines: Vec<_> = mistakes.iter().map(ToString::to_string).collect();
        panic!("{}\n{text}", lines.join("\n"))
    });
    plan.http_servers()[&0].clone()
}

/// A server that leads everything to an `http-kafka` binding with these routes.
fn mapping(routes: &[&str]) -> Arc<HttpServer> {
    let routes = routes.iter().fold(String::new(), |text, route| {
        text + "  - {exit: cache_client, " + route + "}\n"
    });
    server("exit: mapping", &format!("routes:\n{routes}"))
}

const FRAME: &str = "
name: example
bindings:
  north:
    type: tcp
    kind: server
    options: {host: 0.0.0.0, port: 7114}
    exit: http
  http:
    type: http
    kind: server
    HTTP
  mapping:
    type: http-kafka
    kind: proxy
    MAPPING
  other_mapping:
    type: http-kafka
    kind: proxy
    routes:
      - {exit: cache_client, with: {capability: fetch, topic: other}}
  cache_client: {type: kafka, kind: cache_client, exit: cache_server}
  cache_server: {type: kafka, kind: cache_server, exit: client}
  client: {type: kafka, kind: client, options: {servers: [\"kafka:9092\"]}, exit: tcp}
  tcp: {type: tcp, kind: client}
";

fn head(method: Method, target: &str, headers: &[(&str, &str)]) -> RequestHead {
    head_to(Scheme::Http, "example.com", method, target, headers)
}

fn head_to(
    scheme: Scheme,
    authority: &str,
    method: Method,
    target: &str,
    headers: &[(&str, &str)],
) -> RequestHead {
    let mut list = Headers::new();
    for (name, value) in headers {
        list.push(name, value);
    }
    RequestHead::new(
        method,
        scheme,
        Version::Http11,
        authority.as_bytes(),
        target.as_bytes(),
        list,
    )
}

/// Resolves a request, with `fresh-1`, `fresh-2` … as the idempotency keys that are made up.
fn ask(server: &HttpServer, head: &RequestHead) -> Result<Resolved, RequestError> {
    ask_with(server, head, b"")
}

/// Resolves a request whose body is here.
fn ask_with(
    server: &HttpServer,
    head: &RequestHead,
    body: &'static [u8],
) -> Result<Resolved, RequestError> {
    let made = Cell::new(0);
    let ids = Ids {
        fresh_key: &|| {
            made.set(made.get() + 1);
            format!("fresh-{}", made.get())
        },
        is_own: &|_| true,
    };
    resolve(server, head, Some(&Bytes::from_static(body)), ids)
}

/// Resolves a request that goes to Kafka.
fn resolve(
    server: &HttpServer,
    head: &RequestHead,
    body: Option<&Bytes>,
    ids: Ids<'_>,
) -> Result<Resolved, RequestError> {
    match mapping::resolve(server, head, body, ids, &Anybody)? {
        mapping::Resolved::Kafka(resolved) => Ok(resolved),
        other => panic!("not for Kafka: {other:?}"),
    }
}

/// The topic that a request leads to, or the error.
fn topic(server: &HttpServer, head: &RequestHead) -> Result<String, RequestError> {
    ask(server, head).map(|resolved| resolved.topic)
}

fn record(server: &HttpServer, head: &RequestHead) -> Record {
    match ask(server, head).unwrap().action {
        Action::Produce { record, .. } => record,
        other => panic!("no one-way produce: {other:?}"),
    }
}

fn fetch(server: &HttpServer, head: &RequestHead) -> FetchRequest {
    match ask(server, head).unwrap().action {
        Action::Fetch(fetch) => fetch,
        other => panic!("no read: {other:?}"),
    }
}

fn text(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

const COMPACT: Policy = Policy::COMPACT;
const DELETE: Policy = Policy::DELETE;

/// A topic as a reading core has it: some of its partitions may not have been opened yet.
struct Topic {
    policy: Policy,
    partitions: Vec<Option<PartitionStore>>,
}

impl CachedTopic for Topic {
    fn partition_count(&self) -> usize {
        self.partitions.len()
    }
    fn policy(&self) -> Policy {
        self.policy
    }
    fn with_view<R>(&self, partition: usize, read: impl FnOnce(&PartitionView) -> R) -> Option<R> {
        self.partitions
            .get(partition)?
            .as_ref()
            .map(|store| read(store.view()))
    }
}

/// Key, value, headers; an empty key stands for none, `-` as a value for a tombstone.
type Plain<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)]);

impl Topic {
    /// A topic whose partitions are read to their ends, and empty.
    fn new(policy: Policy, partition_count: usize) -> Self {
        let mut topic = Self {
            policy,
            partitions: Vec::new(),
        };
        for partition in 0..partition_count {
            topic
                .partitions
                .push(Some(PartitionStore::new(policy, 0, i64::MAX)));
            topic.append(partition, &[]);
        }
        topic
    }

    /// Records that a fetch brings, after which the log ends.
    fn append(&mut self, partition: usize, records: &[Plain<'_>]) {
        self.append_with_more(partition, records, 0);
    }

    /// Records that a fetch brings, with `more` to come.
    fn append_with_more(&mut self, partition: usize, records: &[Plain<'_>], more: i64) {
        let store = self.partitions[partition].as_mut().unwrap();
        let mut updates = Vec::new();
        let mut batch = BatchBuilder::new();
        for (key, value, headers) in records {
            let key = (!key.is_empty()).then_some(key.as_bytes());
            let value = (*value != "-").then_some(value.as_bytes());
            batch.append(
                UnixMillis(0),
                key,
                value,
                headers
                    .iter()
                    .map(|(name, value)| (name.as_bytes(), Some(value.as_bytes()))),
            );
        }
        if !records.is_empty() {
            let batch = Batch::parse(batch.finish(-1, -1, -1).freeze()).unwrap();
            let mut header = batch.header;
            header.base_offset = store.next_offset();
            let mut builder = store.builder();
            builder
                .push_batch(&header, &batch.inflate(1 << 20).unwrap())
                .unwrap();
            store.append(builder, UnixMillis(0), &mut updates);
        }
        let log_start = store.view().log_start_offset();
        store.handle_progress(store.next_offset() + more, log_start, &mut updates);
    }

    /// Goes to `offset` without records, as over transaction markers.
    fn skip_to(&mut self, partition: usize, offset: i64) {
        let store = self.partitions[partition].as_mut().unwrap();
        let mut builder = store.builder();
        builder.skip_to(offset);
        store.append(builder, UnixMillis(0), &mut Vec::new());
    }

    /// Forgets all that is cached of a partition so far.
    fn evict(&mut self, partition: usize) {
        let store = self.partitions[partition].as_mut().unwrap();
        store.evict(usize::MAX, &mut Vec::new());
    }
}

/// A read with these filters (YAML) and values of `if-none-match`, one a line.
fn read(filters: &str, if_none_match: &[&str]) -> FetchRequest {
    let server = mapping(&[&format!(
        "with: {{capability: fetch, topic: items, filters: [{filters}]}}"
    )]);
    let conditions: Vec<_> = if_none_match
        .iter()
        .map(|value| ("if-none-match", *value))
        .collect();
    fetch(&server, &head(Method::Get, "/", &conditions))
}

fn of_key(key: &str) -> FetchRequest {
    read(&format!("{{key: {key}}}"), &[])
}

fn unless(key: &str, if_none_match: &[&str], topic: &Topic) -> String {
    said(&read(&format!("{{key: {key}}}"), if_none_match).single(topic))
}

/// Three partitions of a compacted topic; the home of `a` is the second, that of `b` the last one.
fn items() -> Topic {
    let mut topic = Topic::new(COMPACT, 3);
    topic.append(home("b"), &[("b", "one", &[])]);
    topic.append(
        home("a"),
        &[
            ("a", "old", &[("tag", "x")]),
            ("c", "gone", &[]),
            ("a", "new", &[("tag", "y")]),
            ("c", "-", &[]),
        ],
    );
    topic
}

fn home(key: &str) -> usize {
    of_key(key).home_partition(3).unwrap()
}

/// The outcome in a line: `200 AQIAAg== value`, without what is not there.
fn said(outcome: &SingleOutcome) -> String {
    match outcome {
        SingleOutcome::Answer(answer) => answer_line(answer),
        SingleOutcome::NotFound => "not found".into(),
        SingleOutcome::Warming => "warming".into(),
        SingleOutcome::NotCached { partition, below } => {
            format!("not cached: {partition} below {below}")
        }
        SingleOutcome::Unfinished => "unfinished".into(),
    }
}

fn answer_line(answer: &Answer) -> String {
    let mut line = answer.head.status.to_string();
    for (_, value) in answer.head.headers.iter() {
        line += " ";
        line += &text(value).replace("\\\"", "'");
    }
    match &answer.body {
        Body::Full(body) => line + " " + &text(body),
        Body::Empty => line,
        Body::Stream | Body::Sized(_) => panic!("a single item has its body at hand"),
    }
}
