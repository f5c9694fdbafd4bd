//! `telemetry`: which metrics exist, who exports them, and what a binding wants of them.

use regex_lite::Regex;

use super::fields::{Fields, Item, Named};
use super::metric::{MetricSet, ZillaMetric};
use super::mistake::{Report, suggestion};
use super::plan::{PrometheusEndpoint, Telemetry};
use super::unsupported::{self, Choice, Place};

const ALL_ADDRESSES: &str = "0.0.0.0";
const DEFAULT_PATH: &str = "/metrics";
/// Endpoints that one file may have.
const ENDPOINTS_MAX: usize = 16;

/// Reads the telemetry of a namespace: adds to `telemetry` and gives the metrics that the namespace's bindings may have.
pub(super) fn read(item: &Item<'_>, telemetry: &mut Telemetry, report: &mut Report) -> MetricSet {
    let mut fields = item.fields(report, Place::Telemetry);
    let mut declared = MetricSet::default();
    for item in fields.list(report, "metrics") {
        if let Some(metric) = read_metric(&item, report) {
            declared.insert(metric);
        }
    }
    if let Some(attributes) = fields.optional("attributes") {
        for entry in attributes.entries(report) {
            read_attribute(&entry, telemetry, report);
        }
    }
    if let Some(exporters) = fields.optional("exporters") {
        for entry in exporters.entries(report) {
            read_exporter(&entry.item, telemetry, report);
        }
    }
    fields.finish(report);
    declared
}

fn read_metric(item: &Item<'_>, report: &mut Report) -> Option<ZillaMetric> {
    let name = item.text(report)?;
    let known = ZillaMetric::ALL
        .into_iter()
        .find(|metric| metric.name() == name);
    if known.is_none() {
        let shown = item.quoted(name);
        if unsupported::METRICS.contains(&name) {
            item.mistake(report, format!("{shown} is not supported yet"));
        } else {
            let names = ZillaMetric::ALL.iter().map(|metric| metric.name());
            let hint = suggestion(name, names.chain(unsupported::METRICS.iter().copied()));
            item.mistake(report, format!("unknown metric {shown}{hint}"));
        }
    }
    known
}

fn read_attribute(entry: &Named<'_>, telemetry: &mut Telemetry, report: &mut Report) {
    let Some(value) = entry.item.scalar(report, "a string") else {
        return;
    };
    telemetry.attributes.retain(|(name, _)| name != entry.key);
    telemetry.attributes.push((entry.key.to_owned(), value));
}

fn read_exporter(item: &Item<'_>, telemetry: &mut Telemetry, report: &mut Report) {
    type Read = fn(&mut Fields<'_>, &mut Telemetry, &mut Report);
    let kinds: [(&str, Read); 2] = [
        ("stdout", |_, telemetry, _| telemetry.stdout_events = true),
        ("prometheus", read_prometheus),
    ];
    let mut exporter = item.fields(report, Place::Plain);
    let read = exporter
        .required(report, "type")
        .and_then(|item| item.word(report, Choice::ExporterType, &kinds));
    // What an exporter of another type may hold is not known.
    if let Some(read) = read {
        read(&mut exporter, telemetry, report);
        exporter.finish(report);
    }
}

fn read_prometheus(exporter: &mut Fields<'_>, telemetry: &mut Telemetry, report: &mut Report) {
    let Some(options) = exporter.required(report, "options") else {
        return;
    };
    let mut options = options.fields(report, Place::Plain);
    if let Some(endpoints) = options.required(report, "endpoints") {
        for item in endpoints.list(report) {
            let endpoint = read_endpoint(&item, report);
            if telemetry.prometheus.len() == ENDPOINTS_MAX {
                item.mistake(
                    report,
                    format!("a file may have {ENDPOINTS_MAX} endpoints at most"),
                );
                return;
            }
            telemetry.prometheus.extend(endpoint);
        }
    }
    options.finish(report);
}

fn read_endpoint(item: &Item<'_>, report: &mut Report) -> Option<PrometheusEndpoint> {
    let mut fields = item.fields(report, Place::Plain);
    if let Some(scheme) = fields.optional("scheme") {
        let _ = scheme.word(report, Choice::EndpointScheme, &[("http", ())]);
    }
    let host = fields
        .optional("host")
        .map_or(Some(ALL_ADDRESSES.to_owned()), |item| {
            item.text(report).map(str::to_owned)
        });
    let port = fields
        .required(report, "port")
        .and_then(|item| item.integer(report, 0, i64::from(u16::MAX)))
        .and_then(|port| u16::try_from(port).ok());
    let path = fields
        .optional("path")
        .map_or(Some(DEFAULT_PATH.to_owned()), |item| {
            item.parsed(report, |text| {
                let is_plain = text.bytes().all(|byte| byte.is_ascii_graphic());
                if text.starts_with('/') && is_plain && !text.contains(['?', '#']) {
                    Ok(text.to_owned())
                } else {
                    Err("is no path (write `/metrics`)".to_owned())
                }
            })
        });
    fields.finish(report);
    Some(PrometheusEndpoint {
        host: host?,
        port: port?,
        path: path?,
    })
}

/// The metrics that a binding is to have: all that are declared, or those that one of its own `telemetry.metrics` matches.
pub(super) fn of_binding(
    binding: &mut Fields<'_>,
    declared: MetricSet,
    report: &mut Report,
) -> MetricSet {
    let Some(item) = binding.optional("telemetry") else {
        return declared;
    };
    let mut fields = item.fields(report, Place::BindingTelemetry);
    let mut wanted = if fields.has("metrics") {
        MetricSet::default()
    } else {
        declared
    };
    for item in fields.list(report, "metrics") {
        // As in Zilla: a regular expression over the whole name, in which nobody escapes the dots.
        let pattern = item.parsed(report, |text| {
            Regex::new(&format!("^(?:{text})$"))
                .map_err(|error| format!("is no regular expression: {error}"))
        });
        let Some(pattern) = pattern else { continue };
        let matching = declared
            .iter()
            .filter(|metric| pattern.is_match(metric.name()));
        let mut matches_any = false;
        for metric in matching {
            matches_any = true;
            wanted.insert(metric);
        }
        if !matches_any {
            item.warning(
                report,
                "matches none of the metrics under `telemetry.metrics`",
            );
        }
    }
    fields.finish(report);
    wanted
}
