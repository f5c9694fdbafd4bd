//! `sse` servers and `sse-kafka` proxies.

use std::time::Duration;

use super::fields::{Fields, Item};
use super::guarded::read_guarded;
use super::mistake::Report;
use super::plan::EventIdForm;
use super::reference::Exit;
use super::shape::{Kind, SseKafkaRoute, SseRoute, SseServer};
use super::templates::{Templates, params_of_all, read_path};
use super::units;
use super::unsupported::Place;
use crate::route::{Allowed, Braces, Glob};

const RETRY_DEFAULT: Duration = Duration::from_secs(2);
/// The longest `retry`: an hour, in milliseconds.
const RETRY_MS_MAX: i64 = 3_600_000;
const HEARTBEAT_DEFAULT: Duration = Duration::from_secs(15);
/// The bounds of `options.heartbeat`.
const HEARTBEATS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(3_600));

/// Reads the options, routes and exit of an `sse server`.
pub(super) fn server(binding: &mut Fields<'_>, report: &mut Report) -> Kind {
    let mut server = SseServer {
        retry: RETRY_DEFAULT,
        heartbeat: HEARTBEAT_DEFAULT,
        routes: Vec::new(),
    };
    if let Some(options) = binding.optional("options") {
        let mut options = options.fields(report, Place::SseServerOptions);
        let millis = options
            .optional("retry")
            .and_then(|item| item.integer(report, 0, RETRY_MS_MAX));
        if let Some(millis) = millis.and_then(|millis| u64::try_from(millis).ok()) {
            server.retry = Duration::from_millis(millis);
        }
        if let Some(item) = options.optional("heartbeat") {
            let (low, high) = HEARTBEATS;
            let read = |text: &str| units::duration(text, low, high);
            let heartbeat = item.notation(report, "a duration", read);
            server.heartbeat = heartbeat.unwrap_or(server.heartbeat);
        }
        options.finish(report);
    }
    for item in binding.list(report, "routes") {
        server.routes.push(read_route(&item, report));
    }
    if let Some(exit) = Exit::read(binding, report) {
        server.routes.push(SseRoute {
            guarded: Vec::new(),
            when: Vec::new(),
            exit: Some(exit),
        });
    }
    Exit::require_some(binding, report);
    Kind::Sse(server)
}

fn read_route(item: &Item<'_>, report: &mut Report) -> SseRoute {
    let mut route = item.fields(report, Place::Plain);
    let guarded = read_guarded(&mut route, report);
    let mut when = Vec::new();
    for item in route.list(report, "when") {
        let mut fields = item.fields(report, Place::Plain);
        let path = fields.required(report, "path");
        when.extend(path.and_then(|item| item.parsed(report, path_glob)));
        fields.finish(report);
    }
    let exit = Exit::required(&mut route, report);
    route.finish(report);
    SseRoute {
        guarded,
        when,
        exit,
    }
}

fn path_glob(text: &str) -> Result<Glob, String> {
    if text.contains(['{', '}']) {
        return Err("has braces, which capture nothing here (use `*`)".to_owned());
    }
    if text.contains('?') {
        return Err("has a query, which is no part of the path".to_owned());
    }
    if !text.starts_with(['/', '*']) {
        return Err("does not start with `/`".to_owned());
    }
    Glob::parse(text, Braces::Literal).map_err(|fault| fault.to_string())
}

/// Reads the routes of an `sse-kafka proxy`.
pub(super) fn proxy(binding: &mut Fields<'_>, report: &mut Report) -> Kind {
    binding.misplaced(
        "exit",
        "an sse-kafka proxy has no exit of its own: each of its routes has one",
    );
    let mut routes = Vec::new();
    if let Some(item) = binding.required(report, "routes") {
        let items = item.list(report);
        if items.is_empty() && item.is_list() {
            item.mistake(report, "the list is empty");
        }
        routes.extend(items.iter().map(|item| read_kafka_route(item, report)));
    }
    Kind::SseKafka { routes }
}

fn read_kafka_route(item: &Item<'_>, report: &mut Report) -> SseKafkaRoute {
    let mut route = item.fields(report, Place::Plain);
    let guarded = read_guarded(&mut route, report);
    let readable = report.mistake_count();
    let mut when = Vec::new();
    for item in route.list(report, "when") {
        let mut fields = item.fields(report, Place::Plain);
        if !fields.has("path") {
            let _ = fields.required(report, "path");
        }
        when.extend(read_path(&mut fields, report));
        fields.finish(report);
    }
    // With a condition that could not be read nobody knows what it would have captured.
    let params = (report.mistake_count() == readable).then(|| params_of_all(when.iter().map(Some)));
    let templates = Templates::new(params);
    let mut read = SseKafkaRoute {
        guarded,
        asked: Vec::new(),
        when,
        topic: None,
        filters: Vec::new(),
        event_id: EventIdForm::default(),
        topic_at: (item.at, item.path.clone()),
        exit: None,
    };
    if let Some(with) = route.required(report, "with") {
        read_with(&with, &templates, &mut read, report);
    }
    read.asked = templates.into_asked();
    read.exit = Exit::required(&mut route, report);
    route.finish(report);
    read
}

fn read_with(
    item: &Item<'_>,
    templates: &Templates,
    route: &mut SseKafkaRoute,
    report: &mut Report,
) {
    let mut with = item.fields(report, Place::Plain);
    if let Some(item) = with.required(report, "topic") {
        route.topic_at = (item.at, item.path.clone());
        route.topic = templates.topic(&item, Allowed::REQUEST | Allowed::GUARDED, report);
    }
    route.filters = templates.filters(&mut with, report);
    if let Some(item) = with.optional("event") {
        let mut event = item.fields(report, Place::Plain);
        let id = event
            .required(report, "id")
            .and_then(|item| item.parsed(report, event_id));
        route.event_id = id.unwrap_or_default();
        event.finish(report);
    }
    with.finish(report);
}

fn event_id(text: &str) -> Result<EventIdForm, String> {
    const ETAG: &str = "${etag}";
    const KEY_AND_ETAG: &str = r#"["${base64(key)}","${etag}"]"#;
    match text {
        ETAG => Ok(EventIdForm::Etag),
        KEY_AND_ETAG => Ok(EventIdForm::KeyAndEtag),
        _ => Err(format!(
            "cannot stand here, only `{ETAG}` and `{KEY_AND_ETAG}` can"
        )),
    }
}
