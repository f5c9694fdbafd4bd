//! `options.authorization` of an `http` server: where it finds a client's credentials, and the guard that they are for.

use crate::config::fields::{Fields, Item};
use crate::config::guarded::only_guard;
use crate::config::mistake::Report;
use crate::config::reference::Reference;
use crate::config::shape::HttpAuthorization;
use crate::config::units;
use crate::config::unsupported::Place;

/// Reads the guard and the patterns of its credentials.
pub(super) fn read(item: &Item<'_>, report: &mut Report) -> Option<HttpAuthorization> {
    let entry = only_guard(item, report)?;
    let mut authorization = HttpAuthorization {
        guard: Reference::of_key(&entry),
        cookies: Vec::new(),
        headers: Vec::new(),
        query: Vec::new(),
        query_at: (item.at, item.path.clone()),
    };
    let mut fields = entry.item.fields(report, Place::Plain);
    if let Some(item) = fields.required(report, "credentials") {
        let mut credentials = item.fields(report, Place::Plain);
        authorization.cookies = read_patterns(&mut credentials, "cookies", report);
        authorization.headers = read_patterns(&mut credentials, "headers", report);
        authorization.query = read_patterns(&mut credentials, "query", report);
        if let Some(item) = credentials.optional("query") {
            authorization.query_at = (item.at, item.path);
        }
        let places = ["cookies", "headers", "query"];
        if !places.iter().any(|place| credentials.has(place)) {
            item.mistake(
                report,
                "says nowhere to look (it needs `headers`, `cookies` or `query`)",
            );
        }
        credentials.finish(report);
    }
    fields.finish(report);
    Some(authorization)
}

/// A map of names and of patterns such as `Bearer {credentials}`.
fn read_patterns(
    fields: &mut Fields<'_>,
    key: &'static str,
    report: &mut Report,
) -> Vec<(String, String)> {
    let Some(item) = fields.optional(key) else {
        return Vec::new();
    };
    let mut patterns = Vec::new();
    for entry in item.entries(report) {
        let name = if key == "headers" {
            entry.parsed_key(report, |key| units::header_name(key, false))
        } else {
            Some(entry.key.to_owned())
        };
        let Some(pattern) = entry.item.text(report) else {
            continue;
        };
        let has = |placeholder: &str| pattern.matches(placeholder).count() == 1;
        let is_one = has("{credentials}");
        let are_two = has("{username}") && has("{password}");
        // A pattern is no secret, but its path says that it is: it would be shown as stars.
        if is_one == are_two {
            entry.item.mistake(
                report,
                "the pattern needs either `{credentials}` or both `{username}` and `{password}`, each once",
            );
        }
        patterns.extend(name.map(|name| (name, pattern.to_owned())));
    }
    patterns
}
