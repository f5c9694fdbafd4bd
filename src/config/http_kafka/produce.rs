//! Routes that write records: `capability: produce`, one-way or with a reply.

use super::{Places, read_record_header};
use crate::config::fields::{Fields, Item};
use crate::config::mistake::Report;
use crate::config::plan::{Acks, AsyncHeader, Correlation, Reply, With};
use crate::config::templates::Templates;
use crate::config::units;
use crate::config::unsupported::{Choice, Place};
use crate::route::{Allowed, LocationPattern, Template};

/// Reads what a produce route has besides topic and reply.
pub(super) fn read(
    fields: &mut Fields<'_>,
    topic: Option<Template>,
    reply: Option<Reply>,
    templates: &Templates,
    report: &mut Report,
) -> Option<With> {
    fields.narrow(Place::Plain);
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
    let allowed = super::ALLOWED | Allowed::IDEMPOTENCY_KEY | Allowed::BODY;
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
        reply: reply.map(Box::new),
    })
}

/// Reads `reply-to` and the keys that need it.
pub(super) fn read_reply(
    fields: &mut Fields<'_>,
    templates: &Templates,
    correlation: &Correlation,
    places: &mut Places,
    report: &mut Report,
) -> Option<Reply> {
    let Some(reply_to) = fields.optional("reply-to") else {
        for key in ["correlation-id", "async"] {
            fields.misplaced(key, "only with `reply-to`");
        }
        return None;
    };
    places.reply = (reply_to.at, reply_to.path.clone());
    let topic = templates.topic(&reply_to, super::ALLOWED | Allowed::BODY, report);
    let correlation_header = fields
        .optional("correlation-id")
        .and_then(|item| read_record_header(&item, report))
        .unwrap_or_else(|| correlation.correlation_id.clone());
    let headers = fields
        .optional("async")
        .map_or_else(Vec::new, |item| read_async(&item, templates, report));
    let topic = topic?;
    if !headers.is_empty() && topic.needs_body() {
        reply_to.warning(
            report,
            "a request for the result has no body to find this topic with",
        );
    }
    Some(Reply {
        topic,
        correlation_header,
        headers,
    })
}

fn read_async(item: &Item<'_>, templates: &Templates, report: &mut Report) -> Vec<AsyncHeader> {
    let mut headers = Vec::new();
    let readable = report.mistake_count();
    for entry in item.entries(report) {
        let name = entry.parsed_key(report, async_header_name);
        let value = read_async_value(&entry.item, name.as_deref(), templates, report);
        let Some((name, value)) = name.zip(value) else {
            continue;
        };
        let location = LocationPattern::of(&value);
        if location.as_ref().is_some_and(LocationPattern::is_ambiguous) {
            entry.item.warning(
                report,
                "nothing tells `${correlationId}` from the expression beside it (put `/` or `;` between them)",
            );
        }
        headers.push(AsyncHeader {
            name,
            value,
            location,
        });
    }
    let unasked = headers.iter().all(|header| header.location.is_none());
    if unasked && report.mistake_count() == readable {
        item.warning(
            report,
            "no value is a path with `${correlationId}`: nobody can ask for the result",
        );
    }
    headers
}

fn async_header_name(text: &str) -> Result<String, String> {
    let name = units::header_name(text, false)?;
    let framing = [
        "connection",
        "content-length",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ];
    if framing.contains(&name.as_str()) {
        return Err("is a header that only the server sets".to_owned());
    }
    Ok(name)
}

fn read_async_value(
    item: &Item<'_>,
    name: Option<&str>,
    templates: &Templates,
    report: &mut Report,
) -> Option<Template> {
    let allowed =
        super::ALLOWED | Allowed::IDEMPOTENCY_KEY | Allowed::CORRELATION_ID | Allowed::BODY;
    let value = templates.read(item, allowed, report)?;
    let is_uri = matches!(name, Some("location" | "content-location"));
    let fault = if value.correlation_id_count() > 1 {
        Some("has `${correlationId}` more than once")
    } else if value
        .literals()
        .any(|text| text.contains(|letter: char| letter.is_control()))
    {
        Some("has a control character, which no header may have")
    } else if is_uri && !value.literals().all(is_uri_text) {
        Some("has a character that no URI may have (percent-encode it)")
    } else {
        None
    };
    if let Some(fault) = fault {
        let text = item.quoted(item.text(report).unwrap_or_default());
        item.mistake(report, format!("{text} {fault}"));
    }
    Some(value)
}

/// Whether all characters are unreserved, reserved or `%` (RFC 3986 section 2).
fn is_uri_text(text: &str) -> bool {
    text.bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"-._~:/?#[]@!$&'()*+,;=%".contains(&byte))
}
