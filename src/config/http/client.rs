//! `http` clients: their options and exit.

use super::{read_overrides, read_timeout, read_versions};
use crate::config::fields::{Fields, Item};
use crate::config::mistake::Report;
use crate::config::plan::{ClientLimits, HttpVersions};
use crate::config::reference::Exit;
use crate::config::shape::{HttpClient, Kind};
use crate::config::unsupported::Place;

/// Reads the options and exit of an `http client`.
pub(in crate::config) fn client(binding: &mut Fields<'_>, report: &mut Report) -> Kind {
    let mut client = HttpClient {
        versions: HttpVersions::default(),
        overrides: Vec::new(),
        limits: ClientLimits::default(),
        exit: None,
    };
    if let Some(options) = binding.optional("options") {
        let mut options = options.fields(report, Place::HttpClientOptions);
        options.misplaced("access-control", "only an http server has it");
        if let Some(item) = options.optional("versions") {
            client.versions = read_versions(&item, report).unwrap_or_default();
        }
        if let Some(item) = options.optional("overrides") {
            client.overrides = read_overrides(&item, report);
        }
        if let Some(item) = options.optional("limits") {
            read_limits(&item, &mut client.limits, report);
        }
        options.finish(report);
    }
    client.exit = Exit::required(binding, report);
    Kind::HttpClient(client)
}

fn read_limits(item: &Item<'_>, limits: &mut ClientLimits, report: &mut Report) {
    let mut fields = item.fields(report, Place::Plain);
    for (key, high, limit) in [
        ("connections-max", 1_024, &mut limits.connections_max),
        ("streams-max", 1_024, &mut limits.streams_max),
    ] {
        let count = fields
            .optional(key)
            .and_then(|item| item.integer(report, 1, high));
        *limit = count
            .and_then(|count| usize::try_from(count).ok())
            .unwrap_or(*limit);
    }
    for (key, limit) in [
        ("connect-timeout", &mut limits.connect_timeout),
        ("response-timeout", &mut limits.response_timeout),
        ("idle-timeout", &mut limits.idle_timeout),
    ] {
        if let Some(item) = fields.optional(key) {
            *limit = read_timeout(&item, report).unwrap_or(*limit);
        }
    }
    fields.finish(report);
}
