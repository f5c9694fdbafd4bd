//! `http-kafka` proxies.

use std::time::Duration;

use super::fields::{Fields, Item};
use super::http::read_timeout;
use super::mistake::{At, Report, suggestion};
use super::plan::{Acks, Filter, When, With};
use super::shape::{Exit, HttpKafka, HttpKafkaRoute, Kind};
use super::units;
use super::unsupported::{Choice, Place};
use crate::route::{
    Allowed, ExpressionFault, MethodPattern, PathTemplate, Template, TopicFault, check_topic,
};

const TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);
const IDEMPOTENCY_HEADER_DEFAULT: &str = "idempotency-key";

/// Reads the options and routes of an `http-kafka proxy`.
pub(super) fn proxy(binding: &mut Fields<'_>, report: &mut Report) -> Kind {
    binding.misplaced(
        "exit",
        "an http-kafka proxy has no exit of its own: each of its routes has one",
    );
    let mut idempotency_header = IDEMPOTENCY_HEADER_DEFAULT.to_owned();
    let mut timeout = TIMEOUT_DEFAULT;
    if let Some(options) = binding.optional("options") {
        let mut options = options.fields(report, Place::HttpKafkaOptions);
        if let Some(idempotency) = options.optional("idempotency") {
            let mut fields = idempotency.fields(report, Place::Plain);
            let header = fields.required(report, "header");
            let header =
                header.and_then(|item| item.parsed(report, |text| units::header_name(text, false)));
            idempotency_header = header.unwrap_or(idempotency_header);
            fields.finish(report);
        }
        if let Some(item) = options.optional("timeout") {
            timeout = read_timeout(&item, report).unwrap_or(timeout);
        }
        options.finish(report);
    }
    let mut routes = Vec::new();
    if let Some(item) = binding.required(report, "routes") {
        let items = item.list(report);
        if items.is_empty() && item.is_list() {
            item.mistake(report, "the list is empty");
        }
        routes = items.iter().map(|item| read_route(item, report)).collect();
    }
    Kind::HttpKafka(HttpKafka {
        idempotency_header,
        timeout,
        routes,
    })
}

fn read_route(item: &Item<'_>, report: &mut Report) -> HttpKafkaRoute {
    let mut route = item.fields(report, Place::Route);
    let when_items = route.list(report, "when");
    let readable = report.mistake_count();
    let when: Vec<When> = when_items
        .iter()
        .map(|item| read_when(item, report))
        .collect();
    // With a condition that could not be read nobody knows what it would have captured.
    let params = (report.mistake_count() == readable).then(|| params_of_all(&when));
    let mut topic_at = (item.at, item.path.clone());
    let with = route.required(report, "with").and_then(|with| {
        read_with(
            &with,
            &Templates {
                params: params.as_deref(),
            },
            &mut topic_at,
            report,
        )
    });
    let exit = Exit::required(&mut route, report);
    route.finish(report);
    HttpKafkaRoute {
        when,
        with,
        topic_at,
        exit,
    }
}

fn read_when(item: &Item<'_>, report: &mut Report) -> When {
    let mut fields = item.fields(report, Place::Plain);
    let method = fields.optional("method").and_then(|item| {
        let text = item.text(report)?;
        if text.bytes().all(|byte| byte.is_ascii_alphabetic()) && *text != text.to_ascii_uppercase()
        {
            let upper = text.to_ascii_uppercase();
            item.warning(
                report,
                format!("`{text}` does not match `{upper}`: methods are case-sensitive"),
            );
        }
        item.parsed(report, |text| {
            MethodPattern::parse(text).map_err(|fault| fault.to_string())
        })
    });
    let path = fields.optional("path").and_then(|item| {
        item.parsed(report, |text| {
            if text.contains('?') {
                return Err(
                    "has a query, which is no part of the path (use `${query.name}` in `with`)"
                        .to_owned(),
                );
            }
            PathTemplate::parse(text).map_err(|fault| fault.to_string())
        })
    });
    fields.finish(report);
    When { method, path }
}

/// The names that every condition captures: only these have a value whichever of them matched.
fn params_of_all(when: &[When]) -> Vec<String> {
    let names = |when: &When| -> Vec<String> {
        when.path
            .iter()
            .flat_map(|path| path.names().map(str::to_owned))
            .collect()
    };
    let Some((first, others)) = when.split_first() else {
        return Vec::new();
    };
    let mut common = names(first);
    for other in others {
        let captured = names(other);
        common.retain(|name| captured.contains(name));
    }
    common
}

#[derive(Clone, Copy)]
enum Capability {
    Produce,
    Fetch,
}

fn read_with(
    item: &Item<'_>,
    templates: &Templates<'_>,
    topic_at: &mut (At, String),
    report: &mut Report,
) -> Option<With> {
    let mut fields = item.fields(report, Place::Plain);
    let words = [
        ("produce", Capability::Produce),
        ("fetch", Capability::Fetch),
    ];
    let capability = fields.required(report, "capability");
    let capability = capability.and_then(|item| item.word(report, Choice::Plain, &words));
    let topic = fields.required(report, "topic").and_then(|item| {
        *topic_at = (item.at, item.path.clone());
        templates.topic(&item, report)
    });
    let Some(capability) = capability else {
        return None; // which keys belong here depends on the capability
    };
    let with = match capability {
        Capability::Produce => read_produce(&mut fields, topic, templates, report),
        Capability::Fetch => read_fetch(&mut fields, topic, templates, report),
    };
    fields.finish(report);
    with
}

fn read_produce(
    fields: &mut Fields<'_>,
    topic: Option<Template>,
    templates: &Templates<'_>,
    report: &mut Report,
) -> Option<With> {
    fields.narrow(Place::Produce);
    for key in ["filters", "merge"] {
        fields.misplaced(key, "only with `capability: fetch`");
    }
    let words = [
        ("none", Acks::None),
        ("leader_only", Acks::LeaderOnly),
        ("in_sync_replicas", Acks::InSyncReplicas),
    ];
    let acks = fields
        .optional("acks")
        .and_then(|item| item.word(report, Choice::Plain, &words));
    let allowed = Allowed::REQUEST | Allowed::IDEMPOTENCY_KEY;
    let key = fields
        .optional("key")
        .and_then(|item| templates.read(&item, allowed, report));
    let overrides = fields.optional("overrides");
    let overrides = overrides.map_or_else(Vec::new, |item| templates.map(&item, allowed, report));
    Some(With::Produce {
        topic: topic?,
        acks: acks.unwrap_or(Acks::InSyncReplicas),
        key,
        overrides,
    })
}

fn read_fetch(
    fields: &mut Fields<'_>,
    topic: Option<Template>,
    templates: &Templates<'_>,
    report: &mut Report,
) -> Option<With> {
    fields.narrow(Place::Fetch);
    for key in [
        "acks",
        "key",
        "overrides",
        "reply-to",
        "correlation-id",
        "async",
    ] {
        fields.misplaced(key, "only with `capability: produce`");
    }
    let mut filters = Vec::new();
    for item in fields.list(report, "filters") {
        let mut filter = item.fields(report, Place::Plain);
        let key = filter
            .optional("key")
            .and_then(|item| templates.read(&item, Allowed::REQUEST, report));
        let headers = filter.optional("headers");
        let headers = headers.map_or_else(Vec::new, |item| {
            templates.map(&item, Allowed::REQUEST, report)
        });
        filter.finish(report);
        filters.push(Filter { key, headers });
    }
    let merge = fields.optional("merge");
    if let Some(item) = &merge {
        check_merge(item, report);
    }
    Some(With::Fetch {
        topic: topic?,
        filters,
        merge: merge.is_some(),
    })
}

/// `merge` has one form, written out with constants.
fn check_merge(item: &Item<'_>, report: &mut Report) {
    let mut fields = item.fields(report, Place::Plain);
    let content_type = fields.required(report, "content-type");
    check_constant(content_type, "application/json", report);
    if let Some(patch) = fields.optional("patch") {
        let mut patch = patch.fields(report, Place::Plain);
        for (key, constant) in [("initial", "[]"), ("path", "/-")] {
            let item = patch.required(report, key);
            check_constant(item, constant, report);
        }
        patch.finish(report);
    }
    fields.finish(report);
}

fn check_constant(item: Option<Item<'_>>, constant: &str, report: &mut Report) {
    let Some(item) = item else { return };
    let Some(text) = item.text(report) else {
        return;
    };
    if text != constant {
        let text = item.quoted(text);
        item.mistake(
            report,
            format!("{text} cannot stand here, only `{constant}` can"),
        );
    }
}

/// Reads the templates of one route.
struct Templates<'p> {
    /// The names that every `when.path` of the route captures, if they are known.
    params: Option<&'p [String]>,
}

impl Templates<'_> {
    fn read(&self, item: &Item<'_>, allowed: Allowed, report: &mut Report) -> Option<Template> {
        let text = item.text(report)?;
        let template = match Template::parse(text, allowed) {
            Ok(template) => template,
            Err(faults) => {
                for fault in &faults {
                    let message = if item.is_secret() {
                        "an expression cannot stand here".to_owned()
                    } else {
                        described(fault)
                    };
                    item.mistake(report, message);
                }
                return None;
            }
        };
        let known = self.params?;
        for name in template
            .params()
            .filter(|name| !known.iter().any(|param| param == name))
        {
            item.mistake(report, unknown_param(name, known));
        }
        Some(template)
    }

    fn topic(&self, item: &Item<'_>, report: &mut Report) -> Option<Template> {
        let template = self.read(item, Allowed::REQUEST, report)?;
        let fault = match template.as_literal() {
            Some(name) => check_topic(name.as_bytes()).err(),
            // What the expressions add is checked per request.
            None => template
                .literals()
                .filter_map(|piece| check_topic(piece.as_bytes()).err())
                .find(|fault| matches!(fault, TopicFault::Character | TopicFault::TooLong)),
        };
        if let Some(fault) = fault {
            let text = item.quoted(item.text(report).unwrap_or_default());
            item.mistake(report, format!("{text} {fault}"));
        }
        Some(template)
    }

    /// A map of Kafka header names and templates.
    fn map(
        &self,
        item: &Item<'_>,
        allowed: Allowed,
        report: &mut Report,
    ) -> Vec<(String, Template)> {
        let mut templates = Vec::new();
        for entry in item.entries(report) {
            let template = self.read(&entry.item, allowed, report);
            templates.extend(template.map(|template| (entry.key.to_owned(), template)));
        }
        templates
    }
}

fn unknown_param(name: &str, known: &[String]) -> String {
    let listed = known
        .iter()
        .map(|name| format!("`{name}`"))
        .collect::<Vec<_>>()
        .join(", ");
    let captured = if known.is_empty() {
        "nothing is captured by all".to_owned()
    } else {
        format!("they capture {listed}")
    };
    let hint = suggestion(name, known.iter().map(String::as_str));
    format!(
        "`${{params.{name}}}` is not captured by every `when.path` of the route: {captured}{hint}"
    )
}

fn described(fault: &ExpressionFault) -> String {
    match fault {
        ExpressionFault::Unknown(text) => {
            let word = text.split(['.', '[']).next().unwrap_or_default();
            format!("{fault}{}", suggestion(word, ExpressionFault::KNOWN))
        }
        ExpressionFault::Unclosed(_)
        | ExpressionFault::BadName(_)
        | ExpressionFault::NotHere(_)
        | ExpressionFault::NotSupportedYet(_) => fault.to_string(),
    }
}
