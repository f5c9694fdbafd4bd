//! `http` servers: their options, routes and conditions.

mod access_control;
mod authorization;
mod client;

pub(super) use client::client;

use std::time::Duration;

use crate::config::fields::{Fields, Item};
use crate::config::guarded::read_guarded;
use crate::config::mistake::Report;
use crate::config::plan::{AccessControl, HttpLimits, HttpVersions};
use crate::config::reference::Exit;
use crate::config::shape::{HttpRoute, HttpServer, Kind};
use crate::config::units;
use crate::config::unsupported::{Choice, Place};
use crate::route::HeaderPattern;

/// The bounds of every timeout that a file may set.
pub(super) const TIMEOUTS: (Duration, Duration) =
    (Duration::from_millis(1), Duration::from_secs(3_600));

/// Reads the options, routes and exit of an `http server`.
pub(super) fn server(binding: &mut Fields<'_>, report: &mut Report) -> Kind {
    let mut server = HttpServer {
        versions: HttpVersions::default(),
        authorization: None,
        access_control: AccessControl::default(),
        overrides: Vec::new(),
        limits: HttpLimits::default(),
        routes: Vec::new(),
    };
    if let Some(options) = binding.optional("options") {
        let mut options = options.fields(report, Place::HttpServerOptions);
        if let Some(item) = options.optional("versions") {
            server.versions = read_versions(&item, report).unwrap_or_default();
        }
        if let Some(item) = options.optional("authorization") {
            server.authorization = authorization::read(&item, report);
        }
        if let Some(item) = options.optional("access-control") {
            server.access_control = access_control::read(&item, report);
        }
        if let Some(item) = options.optional("overrides") {
            server.overrides = read_overrides(&item, report);
        }
        if let Some(item) = options.optional("limits") {
            read_limits(&item, &mut server.limits, report);
        }
        options.finish(report);
    }
    for item in binding.list(report, "routes") {
        server.routes.push(read_route(&item, report));
    }
    if let Some(exit) = Exit::read(binding, report) {
        server.routes.push(HttpRoute {
            guarded: Vec::new(),
            when: Vec::new(),
            overrides: Vec::new(),
            exit: Some(exit),
        });
    }
    Exit::require_some(binding, report);
    Kind::HttpServer(server)
}

fn read_versions(item: &Item<'_>, report: &mut Report) -> Option<HttpVersions> {
    let words = [("http/1.1", HttpVersions::Http11), ("h2", HttpVersions::H2)];
    let items = item.list(report);
    let versions: Vec<_> = items
        .iter()
        .filter_map(|item| item.word(report, Choice::Plain, &words))
        .collect();
    if versions.is_empty() && items.is_empty() && item.is_list() {
        item.mistake(report, "the list is empty");
    }
    let first = *versions.first()?;
    let is_one = versions.iter().all(|version| *version == first);
    Some(if is_one { first } else { HttpVersions::Both })
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
    let guarded = read_guarded(&mut route, report);
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
        guarded,
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
