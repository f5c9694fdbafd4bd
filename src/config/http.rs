//! `http` servers.

use std::time::Duration;

use super::fields::{Fields, Item};
use super::mistake::Report;
use super::plan::HttpLimits;
use super::shape::{Exit, HttpRoute, HttpServer, Kind};
use super::units;
use super::unsupported::{Choice, Place};
use crate::route::HeaderPattern;

/// The bounds of every timeout that a file may set.
pub(super) const TIMEOUTS: (Duration, Duration) =
    (Duration::from_millis(1), Duration::from_secs(3_600));

/// Reads the options, routes and exit of an `http server`.
pub(super) fn server(binding: &mut Fields<'_>, report: &mut Report) -> Kind {
    let mut overrides = Vec::new();
    let mut limits = HttpLimits::default();
    if let Some(options) = binding.optional("options") {
        let mut options = options.fields(report, Place::HttpServerOptions);
        read_versions(&mut options, report);
        read_access_control(&mut options, report);
        if let Some(item) = options.optional("overrides") {
            overrides = read_overrides(&item, report);
        }
        if let Some(item) = options.optional("limits") {
            read_limits(&item, &mut limits, report);
        }
        options.finish(report);
    }
    let mut routes = Vec::new();
    for item in binding.list(report, "routes") {
        routes.push(read_route(&item, report));
    }
    if let Some(exit) = Exit::read(binding, report) {
        routes.push(HttpRoute {
            when: Vec::new(),
            overrides: Vec::new(),
            exit: Some(exit),
        });
    }
    if !binding.has("exit") && !binding.has("routes") {
        binding
            .item
            .mistake(report, "leads nowhere (it needs `exit` or `routes`)");
    }
    Kind::HttpServer(HttpServer {
        overrides,
        limits,
        routes,
    })
}

fn read_versions(options: &mut Fields<'_>, report: &mut Report) {
    #[derive(Clone, Copy, PartialEq)]
    enum Version {
        Http11,
        H2,
    }
    let Some(item) = options.optional("versions") else {
        return;
    };
    let words = [("http/1.1", Version::Http11), ("h2", Version::H2)];
    let items = item.list(report);
    let versions: Vec<_> = items
        .iter()
        .filter_map(|item| item.word(report, Choice::Plain, &words))
        .collect();
    if versions.len() < items.len() || !item.is_list() {
        return; // reported
    }
    match (
        versions.contains(&Version::Http11),
        versions.contains(&Version::H2),
    ) {
        (true, true) => item.warning(
            report,
            "`h2` is not supported yet; the server speaks `http/1.1`",
        ),
        (false, true) => item.mistake(report, "`h2` is not supported yet (add `http/1.1`)"),
        (false, false) => item.mistake(report, "the list is empty"),
        (true, false) => {}
    }
}

fn read_access_control(options: &mut Fields<'_>, report: &mut Report) {
    let Some(item) = options.optional("access-control") else {
        return;
    };
    let mut fields = item.fields(report, Place::AccessControl);
    if let Some(policy) = fields.required(report, "policy") {
        let _ = policy.word(report, Choice::AccessControlPolicy, &[("same-origin", ())]);
    }
    fields.finish(report);
}

fn read_limits(item: &Item<'_>, limits: &mut HttpLimits, report: &mut Report) {
    let mut fields = item.fields(report, Place::Plain);
    for (key, low, high, limit) in [
        (
            "head-bytes-max",
            1 << 10,
            1 << 20,
            &mut limits.head_bytes_max,
        ),
        ("body-bytes-max", 0, 1 << 30, &mut limits.body_bytes_max),
    ] {
        if let Some(item) = fields.optional(key) {
            *limit = item
                .notation(report, "a size", |text| units::size(text, low, high))
                .unwrap_or(*limit);
        }
    }
    for (key, low, limit) in [
        ("headers-max", 8, &mut limits.headers_max),
        ("pipeline-max", 1, &mut limits.pipeline_max),
        ("streams-max", 1, &mut limits.streams_max),
    ] {
        let count = fields
            .optional(key)
            .and_then(|item| item.integer(report, low, 1_024));
        *limit = count
            .and_then(|count| usize::try_from(count).ok())
            .unwrap_or(*limit);
    }
    for (key, limit) in [
        ("header-timeout", &mut limits.header_timeout),
        ("idle-timeout", &mut limits.idle_timeout),
        ("body-timeout", &mut limits.body_timeout),
        ("write-timeout", &mut limits.write_timeout),
    ] {
        if let Some(item) = fields.optional(key) {
            *limit = read_timeout(&item, report).unwrap_or(*limit);
        }
    }
    fields.finish(report);
}

/// Reads a timeout within [`TIMEOUTS`].
pub(super) fn read_timeout(item: &Item<'_>, report: &mut Report) -> Option<Duration> {
    item.notation(report, "a duration", |text| {
        units::duration(text, TIMEOUTS.0, TIMEOUTS.1)
    })
}

fn read_route(item: &Item<'_>, report: &mut Report) -> HttpRoute {
    let mut route = item.fields(report, Place::Route);
    let mut when = Vec::new();
    for item in route.list(report, "when") {
        let mut fields = item.fields(report, Place::Plain);
        when.push(
            fields
                .optional("headers")
                .map_or_else(Vec::new, |item| read_patterns(&item, report)),
        );
        fields.finish(report);
    }
    let mut overrides = Vec::new();
    if let Some(with) = route.optional("with") {
        let mut with = with.fields(report, Place::Plain);
        if let Some(headers) = with.optional("headers") {
            let mut headers = headers.fields(report, Place::Plain);
            if let Some(item) = headers.optional("overrides") {
                overrides = read_overrides(&item, report);
            }
            headers.finish(report);
        }
        with.finish(report);
    }
    let exit = Exit::required(&mut route, report);
    route.finish(report);
    HttpRoute {
        when,
        overrides,
        exit,
    }
}

fn read_patterns(item: &Item<'_>, report: &mut Report) -> Vec<(String, HeaderPattern)> {
    let mut patterns = Vec::new();
    for entry in item.entries(report) {
        let name = entry.parsed_key(report, |key| units::header_name(key, true));
        let pattern = entry.item.parsed(report, |text| {
            HeaderPattern::parse(&entry.key.to_ascii_lowercase(), text)
                .map_err(|fault| fault.to_string())
        });
        patterns.extend(name.zip(pattern));
    }
    patterns
}

/// Reads a map of header names and literal values.
fn read_overrides(item: &Item<'_>, report: &mut Report) -> Vec<(String, String)> {
    let mut overrides = Vec::new();
    for entry in item.entries(report) {
        let name = entry.parsed_key(report, |key| units::header_name(key, true));
        let value = entry.item.parsed(report, |text| {
            if text.contains("${") {
                Err("has an expression, which is not supported yet here".to_owned())
            } else if text
                .bytes()
                .any(|byte| byte.is_ascii_control() && byte != b'\t')
            {
                Err("has a control character, which no header may have".to_owned())
            } else {
                Ok(text.to_owned())
            }
        });
        overrides.extend(name.zip(value));
    }
    overrides
}
