//! Snapshots in Prometheus' text format 0.0.4.
//!
//! Rule: `# HELP` and `# TYPE` once for a family, a series once within it, whatever the configuration calls its bindings.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::family::{FamilyKind, Metric};
use super::names::{Labels, Names};
use super::snapshot::{Series, Snapshot, Value};

/// What `content-type` says of the text.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Writes all values of a snapshot.
pub fn render(snapshot: &Snapshot, names: &Names) -> String {
    let mut out = String::with_capacity(16 << 10);
    write_info(&mut out, names);
    let mut family: Option<Metric> = None;
    // Several routes may have the same labels; to Prometheus they are one series.
    let mut series: BTreeMap<Labels, Snapshot> = BTreeMap::new();
    for (metric, owner, value) in snapshot.iter() {
        if let Metric::Zilla(named) = metric
            && !names.has(owner, named)
        {
            continue;
        }
        if family != Some(metric) {
            write_family(&mut out, family, &series);
            series.clear();
            family = Some(metric);
        }
        series
            .entry(names.labels(owner))
            .or_default()
            .add(metric, Series::Process, value.clone());
    }
    write_family(&mut out, family, &series);
    out
}

fn write_info(out: &mut String, names: &Names) {
    write_head(out, Metric::Info);
    let mut labels = vec![("version".to_owned(), env!("CARGO_PKG_VERSION").to_owned())];
    for (name, value) in &names.attributes {
        let name = label_name(name);
        if !labels.iter().any(|(known, _)| *known == name) {
            labels.push((name, value.clone()));
        }
    }
    write_sample(out, &Metric::Info.name(), &labels, None, "1");
}

/// An attribute's name as a label: `service.name` becomes `service_name`.
fn label_name(name: &str) -> String {
    let is_label = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let mut label: String = name
        .chars()
        .map(|letter| if is_label(letter) { letter } else { '_' })
        .collect();
    // Names that begin with two underscores are Prometheus' own.
    if label.is_empty()
        || label.starts_with(|first: char| first.is_ascii_digit())
        || label.starts_with("__")
    {
        label.insert_str(0, "attribute_");
    }
    label
}

fn write_head(out: &mut String, metric: Metric) {
    let (name, kind) = (metric.name(), metric.kind());
    let _ = writeln!(out, "# HELP {name} {}", metric.help());
    let _ = writeln!(out, "# TYPE {name} {}", kind.as_str());
}

fn write_family(out: &mut String, metric: Option<Metric>, series: &BTreeMap<Labels, Snapshot>) {
    let Some(metric) = metric else { return };
    write_head(out, metric);
    let name = metric.name();
    for (labels, values) in series {
        for (_, _, value) in values.iter() {
            write_value(out, metric, &name, labels, value);
        }
    }
}

fn write_value(out: &mut String, metric: Metric, name: &str, labels: &Labels, value: &Value) {
    let (bounds, scale) = metric.buckets();
    match value {
        Value::Number(number) => write_sample(out, name, labels, None, &number.to_string()),
        Value::Distribution(values) => {
            let counts = values.cumulative(bounds);
            let buckets = bounds.iter().copied().zip(counts);
            write_histogram(
                out,
                (name, labels),
                scale,
                buckets,
                (values.sum(), values.count()),
            );
        }
        Value::Powers(values) => {
            let totals = (values.sum(), values.count());
            write_histogram(out, (name, labels), scale, values.cumulative(), totals);
        }
    }
    debug_assert_eq!(
        matches!(value, Value::Number(_)),
        metric.kind() != FamilyKind::Histogram
    );
}

fn write_histogram(
    out: &mut String,
    (name, labels): (&str, &Labels),
    scale: f64,
    buckets: impl Iterator<Item = (u64, u64)>,
    (sum, count): (u64, u64),
) {
    let bucket = format!("{name}_bucket");
    for (limit, below) in buckets {
        let limit = scaled(limit, scale);
        write_sample(out, &bucket, labels, Some(&limit), &below.to_string());
    }
    write_sample(out, &bucket, labels, Some("+Inf"), &count.to_string());
    let sum = scaled(sum, scale);
    write_sample(out, &format!("{name}_sum"), labels, None, &sum);
    let count = count.to_string();
    write_sample(out, &format!("{name}_count"), labels, None, &count);
}

/// A recorded number in the unit that is shown.
#[expect(
    clippy::cast_precision_loss,
    reason = "Prometheus' own numbers are 64-bit floats"
)]
fn scaled(number: u64, scale: f64) -> String {
    (number as f64 / scale).to_string()
}

fn write_sample(out: &mut String, name: &str, labels: &Labels, limit: Option<&str>, value: &str) {
    out.push_str(name);
    let mut mark = '{';
    let labels = labels
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()));
    for (label, text) in labels.chain(limit.map(|limit| ("le", limit))) {
        let _ = write!(out, "{mark}{label}=\"");
        push_escaped(out, text);
        out.push('"');
        mark = ',';
    }
    if mark == ',' {
        out.push('}');
    }
    let _ = writeln!(out, " {value}");
}

/// A label's value: backslash, quote and line feed are escaped.
fn push_escaped(out: &mut String, text: &str) {
    for letter in text.chars() {
        match letter {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            other => out.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::figures::{Distribution, Powers};
    use super::super::names::{Binding, Route};
    use super::*;
    use crate::config::{MetricSet, ZillaMetric};
    use crate::http::Method;

    fn names() -> Names {
        let mut metrics = MetricSet::default();
        metrics.insert(ZillaMetric::HttpDuration);
        metrics.insert(ZillaMetric::StreamOpensReceived);
        let server = Binding::new("example", "http", metrics);
        let route = Route {
            mapping: "mapping".into(),
            paths: "/a\\b/\"{id}\"".into(),
        };
        Names {
            servers: vec![server, Binding::default()],
            routes: vec![route.clone(), route],
            attributes: vec![
                ("service.name".into(), "two\nlines".into()),
                ("1st".into(), "1".into()),
            ],
            ..Names::default()
        }
    }

    fn request(route: usize) -> Series {
        Series::Request {
            server: 0,
            route: Some(route),
            method: Method::Get,
            status: 200,
        }
    }

    #[test]
    fn label_values_are_escaped_and_equal_series_are_one() {
        let mut snapshot = Snapshot::default();
        snapshot.number(Metric::Requests, request(0), 1);
        snapshot.number(Metric::Requests, request(1), 2);
        let text = render(&snapshot, &names());
        let sample = r#"sluice_requests_total{namespace="example",binding="http",mapping="mapping",route="/a\\b/\"{id}\"",method="GET",status="200"} 3"#;
        assert!(text.lines().any(|line| line == sample), "{text}");
        assert_eq!(text.matches("\nsluice_requests_total{").count(), 1);
        assert!(
            text.contains(r#"service_name="two\nlines",attribute_1st="1"} 1"#),
            "{text}"
        );
    }

    #[test]
    fn help_and_type_stand_once_before_a_family() {
        let mut snapshot = Snapshot::default();
        for core in 0..3 {
            snapshot.number(Metric::InboxDepth, Series::Core(core), 0);
        }
        snapshot.number(Metric::Panics, Series::Process, 1);
        let text = render(&snapshot, &names());
        for family in ["sluice_info", "sluice_inbox_depth", "sluice_panics_total"] {
            for head in ["HELP", "TYPE"] {
                let head = format!("# {head} {family} ");
                assert_eq!(text.matches(&head).count(), 1, "{text}");
            }
        }
        assert!(
            text.contains("# TYPE sluice_inbox_depth gauge\nsluice_inbox_depth{core=\"0\"} 0\n")
        );
        assert!(text.contains("sluice_panics_total 1\n"));
        assert!(text.ends_with('\n'));
    }

    #[test]
    fn buckets_are_cumulative_and_end_with_infinity() {
        let mut snapshot = Snapshot::default();
        let mut acks = Distribution::new(super::super::family::TIME_US_MAX);
        for value in [40, 60, 3_000, 90_000_000] {
            acks.record(value);
        }
        let acks = Value::Distribution(Box::new(acks));
        snapshot.add(Metric::ProduceAck, Series::Process, acks);
        let text = render(&snapshot, &names());
        let counts: Vec<u64> = text
            .lines()
            .filter(|line| line.starts_with("sluice_produce_ack_seconds_bucket"))
            .map(|line| line.rsplit(' ').next().unwrap().parse().unwrap())
            .collect();
        assert!(counts.is_sorted(), "{text}");
        assert_eq!((counts.first(), counts.last()), (Some(&1), Some(&4)));
        assert!(text.contains("sluice_produce_ack_seconds_bucket{le=\"0.00005\"} 1\n"));
        assert!(text.contains("sluice_produce_ack_seconds_bucket{le=\"+Inf\"} 4\n"));
        assert!(text.contains("sluice_produce_ack_seconds_count 4\n"));
        assert!(
            text.contains("sluice_produce_ack_seconds_sum 90.0031\n"),
            "{text}"
        );
    }

    #[test]
    fn metrics_under_zilla_s_names_are_there_for_the_bindings_that_have_them() {
        let mut snapshot = Snapshot::default();
        for server in 0..2 {
            let mut durations = Powers::default();
            durations.record(3_000_000);
            let durations = Value::Powers(Box::new(durations));
            let duration = Metric::Zilla(ZillaMetric::HttpDuration);
            snapshot.add(duration, Series::Server(server), durations);
            let opens = Metric::Zilla(ZillaMetric::StreamOpensReceived);
            snapshot.number(opens, Series::Server(server), 7);
            let size = Metric::Zilla(ZillaMetric::StreamDataSent);
            snapshot.number(size, Series::Server(server), 7);
        }
        let text = render(&snapshot, &names());
        let labels = "namespace=\"example\",binding=\"http\"";
        assert!(text.contains(&format!("stream_opens_received_total{{{labels}}} 7\n")));
        assert!(text.contains(&format!("http_duration_milliseconds_sum{{{labels}}} 3\n")));
        assert!(text.contains(&format!(
            "http_duration_milliseconds_bucket{{{labels},le=\"4.194304\"}} 1\n"
        )));
        assert!(!text.contains("stream_data_sent"), "{text}");
        assert!(!text.contains("binding=\"\""), "{text}");
    }
}
