//! `http-kafka` proxies: their options, routes and conditions; what a route does is read by `produce` and `fetch`.

mod fetch;
mod produce;

use std::time::Duration;

use crate::config::fields::{Fields, Item};
use crate::config::guarded::read_guarded;
use crate::config::http::read_timeout;
use crate::config::mistake::{At, Report};
use crate::config::plan::{Correlation, When, With};
use crate::config::reference::Exit;
use crate::config::shape::{HttpKafka, HttpKafkaRoute, Kind};
use crate::config::templates::{Templates, params_of_all, read_path};
use crate::config::units;
use crate::config::unsupported::{Choice, Place};
use crate::route::{Allowed, MethodPattern};

/// What every value of `with` may take: the request and who sent it.
const ALLOWED: Allowed = Allowed::REQUEST.and(Allowed::GUARDED);
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);
const IDEMPOTENCY_HEADER_DEFAULT: &str = "idempotency-key";
const WAIT_MAX_DEFAULT: Duration = Duration::from_secs(60);
/// The bounds of `options.wait-max`.
const WAITS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(3_600));
const HORIZON_DEFAULT: Duration = Duration::from_secs(24 * 3_600);
/// The bounds of `options.idempotency.horizon`.
const HORIZONS: (Duration, Duration) = (
    Duration::from_secs(60),
    Duration::from_secs(30 * 24 * 3_600),
);

/// Reads the options and routes of an `http-kafka proxy`.
pub(super) fn proxy(binding: &mut Fields<'_>, report: &mut Report) -> Kind {
    binding.misplaced(
        "exit",
        "an http-kafka proxy has no exit of its own: each of its routes has one",
    );
    let mut proxy = HttpKafka {
        idempotency_header: IDEMPOTENCY_HEADER_DEFAULT.to_owned(),
        timeout: TIMEOUT_DEFAULT,
        correlation: Correlation::default(),
        wait_max: WAIT_MAX_DEFAULT,
        horizon: HORIZON_DEFAULT,
        routes: Vec::new(),
    };
    if let Some(options) = binding.optional("options") {
        read_options(&options, &mut proxy, report);
    }
    if let Some(item) = binding.required(report, "routes") {
        let items = item.list(report);
        if items.is_empty() && item.is_list() {
            item.mistake(report, "the list is empty");
        }
        let correlation = &proxy.correlation;
        let routes = items.iter();
        proxy.routes = routes
            .map(|item| read_route(item, correlation, report))
            .collect();
    }
    Kind::HttpKafka(proxy)
}

fn read_options(item: &Item<'_>, proxy: &mut HttpKafka, report: &mut Report) {
    let mut options = item.fields(report, Place::Plain);
    if let Some(idempotency) = options.optional("idempotency") {
        let mut fields = idempotency.fields(report, Place::Plain);
        // Zilla asks for the header; with an option of our own beside it the default will do.
        let header = if fields.has("horizon") {
            fields.optional("header")
        } else {
            fields.required(report, "header")
        };
        let header =
            header.and_then(|item| item.parsed(report, |text| units::header_name(text, false)));
        if let Some(header) = header {
            proxy.idempotency_header = header;
        }
        if let Some(item) = fields.optional("horizon") {
            proxy.horizon = read_duration(&item, HORIZONS, report).unwrap_or(proxy.horizon);
        }
        fields.finish(report);
    }
    if let Some(correlation) = options.optional("correlation") {
        read_correlation(&correlation, &mut proxy.correlation, report);
    }
    if let Some(item) = options.optional("timeout") {
        proxy.timeout = read_timeout(&item, report).unwrap_or(proxy.timeout);
    }
    if let Some(item) = options.optional("wait-max") {
        proxy.wait_max = read_duration(&item, WAITS, report).unwrap_or(proxy.wait_max);
    }
    options.finish(report);
}

fn read_duration(
    item: &Item<'_>,
    (low, high): (Duration, Duration),
    report: &mut Report,
) -> Option<Duration> {
    item.notation(report, "a duration", |text| {
        units::duration(text, low, high)
    })
}

fn read_correlation(item: &Item<'_>, correlation: &mut Correlation, report: &mut Report) {
    let mut fields = item.fields(report, Place::Plain);
    if let Some(headers) = fields.optional("headers") {
        let mut names = headers.fields(report, Place::Plain);
        for (key, name) in [
            ("reply-to", &mut correlation.reply_to),
            ("correlation-id", &mut correlation.correlation_id),
        ] {
            if let Some(item) = names.optional(key) {
                *name = read_record_header(&item, report).unwrap_or_else(|| name.clone());
            }
        }
        names.finish(report);
        if correlation.reply_to == correlation.correlation_id {
            let name = headers.quoted(&correlation.reply_to);
            headers.mistake(report, format!("{name} cannot be both headers"));
        }
    }
    fields.finish(report);
}

/// The name of a record header: Kafka takes any text, an empty one is a slip.
fn read_record_header(item: &Item<'_>, report: &mut Report) -> Option<String> {
    item.parsed(report, |text| {
        if text.is_empty() {
            Err("is not the name of a record header".to_owned())
        } else {
            Ok(text.to_owned())
        }
    })
}

fn read_route(item: &Item<'_>, correlation: &Correlation, report: &mut Report) -> HttpKafkaRoute {
    let mut route = item.fields(report, Place::Route);
    let when_items = route.list(report, "when");
    let readable = report.mistake_count();
    let when: Vec<When> = when_items
        .iter()
        .map(|item| read_when(item, report))
        .collect();
    // With a condition that could not be read nobody knows what it would have captured.
    let params = (report.mistake_count() == readable)
        .then(|| params_of_all(when.iter().map(|when| when.path.as_ref())));
    let start = (item.at, item.path.clone());
    let mut places = Places {
        topic: start.clone(),
        reply: start,
    };
    let templates = Templates::new(params);
    let guarded = read_guarded(&mut route, report);
    let with = route
        .required(report, "with")
        .and_then(|with| read_with(&with, &templates, correlation, &mut places, report));
    let exit = Exit::required(&mut route, report);
    route.finish(report);
    HttpKafkaRoute {
        guarded,
        asked: templates.into_asked(),
        when,
        with,
        topic_at: places.topic,
        reply_at: places.reply,
        exit,
    }
}

fn read_when(item: &Item<'_>, report: &mut Report) -> When {
    let mut fields = item.fields(report, Place::Plain);
    let method = read_method(&mut fields, report);
    let path = read_path(&mut fields, report);
    fields.finish(report);
    When { method, path }
}

/// Reads the `method` of a condition.
pub(super) fn read_method(fields: &mut Fields<'_>, report: &mut Report) -> Option<MethodPattern> {
    let item = fields.optional("method")?;
    let text = item.text(report)?;
    if text.bytes().all(|byte| byte.is_ascii_alphabetic()) && *text != text.to_ascii_uppercase() {
        let upper = text.to_ascii_uppercase();
        item.warning(
            report,
            format!("`{text}` does not match `{upper}`: methods are case-sensitive"),
        );
    }
    item.parsed(report, |text| {
        MethodPattern::parse(text).map_err(|fault| fault.to_string())
    })
}

/// Where the topics of a route stand, for mistakes that are found later.
struct Places {
    topic: (At, String),
    reply: (At, String),
}

#[derive(Clone, Copy)]
enum Capability {
    Produce,
    Fetch,
}

fn read_with(
    item: &Item<'_>,
    templates: &Templates,
    correlation: &Correlation,
    places: &mut Places,
    report: &mut Report,
) -> Option<With> {
    let mut fields = item.fields(report, Place::Plain);
    let words = [
        ("produce", Capability::Produce),
        ("fetch", Capability::Fetch),
    ];
    let capability = fields.required(report, "capability");
    let capability = capability.and_then(|item| item.word(report, Choice::Plain, &words));
    let allowed = match capability {
        Some(Capability::Fetch) => ALLOWED,
        Some(Capability::Produce) | None => ALLOWED | Allowed::BODY,
    };
    let topic = fields.required(report, "topic").and_then(|item| {
        places.topic = (item.at, item.path.clone());
        templates.topic(&item, allowed, report)
    });
    let Some(capability) = capability else {
        return None; // which keys belong here depends on the capability
    };
    let with = match capability {
        Capability::Produce => {
            let reply = produce::read_reply(&mut fields, templates, correlation, places, report);
            produce::read(&mut fields, topic, reply, templates, report)
        }
        Capability::Fetch => fetch::read(&mut fields, topic, templates, report),
    };
    fields.finish(report);
    with
}
