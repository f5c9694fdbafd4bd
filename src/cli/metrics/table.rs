//! From Prometheus' text to a table: `namespace    binding    metric    value`, one line for each series.

use std::collections::BTreeMap;

use crate::config::ZillaMetric;

/// Which series to print; `None`: all.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<'w> {
    pub(super) namespace: Option<&'w str>,
    pub(super) binding: Option<&'w str>,
}

/// A sample of the text.
#[derive(Clone, Debug, PartialEq)]
struct Sample {
    name: String,
    labels: Vec<(String, String)>,
    value: f64,
}

/// A line of the table before its values are known: namespace, binding, metric with its labels.
type Row = (String, String, String);

/// The values of a line.
#[derive(Clone, Debug, Default)]
struct Values {
    number: Option<f64>,
    sum: f64,
    count: f64,
    /// Upper limits and how many values are within, in the order of the text, which ascends.
    buckets: Vec<(f64, f64)>,
}

/// Makes the table of all wanted series in `text`.
pub(super) fn print(text: &str, wanted: Wanted<'_>) -> String {
    let mut rows: Vec<(Row, Values)> = Vec::new();
    let mut places: BTreeMap<Row, usize> = BTreeMap::new();
    let histograms: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" histogram"))
        .collect();
    for sample in text.lines().filter_map(parse) {
        let part = histograms
            .iter()
            .find_map(|family| Some((*family, sample.name.strip_prefix(family)?)))
            .filter(|(_, part)| matches!(*part, "_bucket" | "_sum" | "_count"));
        let family = part.map_or(sample.name.as_str(), |(family, _)| family);
        let Some(row) = row(family, &sample.labels, wanted) else {
            continue;
        };
        let place = *places.entry(row.clone()).or_insert_with(|| {
            rows.push((row, Values::default()));
            rows.len() - 1
        });
        let values = &mut rows[place].1;
        match part.map(|(_, part)| part) {
            Some("_sum") => values.sum = sample.value,
            Some("_count") => values.count = sample.value,
            Some(_) => values
                .buckets
                .extend(limit(&sample).zip(Some(sample.value))),
            None => values.number = Some(sample.value),
        }
    }
    align(&rows)
}

fn row(family: &str, labels: &[(String, String)], wanted: Wanted<'_>) -> Option<Row> {
    let label = |name: &str| {
        labels
            .iter()
            .find(|(label, _)| label == name)
            .map_or("", |(_, value)| value)
    };
    let (namespace, binding) = (label("namespace"), label("binding"));
    let is_wanted = wanted.namespace.is_none_or(|wanted| wanted == namespace)
        && wanted.binding.is_none_or(|wanted| wanted == binding);
    let own: Vec<String> = labels
        .iter()
        .filter(|(name, _)| !matches!(name.as_str(), "namespace" | "binding" | "le"))
        .map(|(name, value)| format!("{name}={value:?}"))
        .collect();
    let named = ZillaMetric::ALL
        .into_iter()
        .find(|metric| metric.prometheus_name() == family);
    let mut metric = named.map_or_else(|| family.to_owned(), |metric| metric.name().to_owned());
    if !own.is_empty() {
        metric = format!("{metric}{{{}}}", own.join(","));
    }
    is_wanted.then(|| (namespace.to_owned(), binding.to_owned(), metric))
}

fn limit(sample: &Sample) -> Option<f64> {
    let (_, limit) = sample.labels.iter().find(|(name, _)| name == "le")?;
    limit.parse().ok()
}

/// Reads a line of the text format; `None` for comments and what is none.
fn parse(line: &str) -> Option<Sample> {
    if line.starts_with('#') {
        return None;
    }
    let end = line.find(['{', ' '])?;
    let (name, mut rest) = line.split_at(end);
    let mut labels = Vec::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        while !rest.starts_with('}') {
            let (label, after) = rest.split_once("=\"")?;
            let (value, after) = unescape(after)?;
            labels.push((label.to_owned(), value));
            rest = after.strip_prefix(',').unwrap_or(after);
        }
        rest = &rest[1..];
    }
    Some(Sample {
        name: name.to_owned(),
        labels,
        value: rest.trim().parse().ok()?,
    })
}

/// A label's value up to its closing quote, and what comes after that.
fn unescape(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => value.push(match letters.next()?.1 {
                'n' => '\n',
                other => other,
            }),
            other => value.push(other),
        }
    }
    None
}

impl Values {
    fn show(&self) -> String {
        if let Some(number) = self.number {
            return number.to_string();
        }
        let average = if self.count > 0.0 {
            self.sum / self.count
        } else {
            0.0
        };
        // Bounds of buckets: no value is known more exactly.
        let quantile = |share: f64| {
            let rank = (self.count * share).max(1.0);
            let reached = self.buckets.iter().find(|(_, count)| *count >= rank);
            reached.map_or("0".to_owned(), |(limit, _)| format!("<={limit}"))
        };
        format!(
            "[min: {} | p50: {} | p99: {} | max: {} | cnt: {} | avg: {average:.6}]",
            quantile(0.0),
            quantile(0.5),
            quantile(0.99),
            quantile(1.0),
            self.count
        )
    }
}

fn align(rows: &[(Row, Values)]) -> String {
    const GAP: usize = 4;
    let width = |title: &str, cell: fn(&Row) -> &str| {
        let widest = rows.iter().map(|(row, _)| cell(row).chars().count()).max();
        widest.unwrap_or(0).max(title.len()) + GAP
    };
    let namespaces = width("namespace", |row| &row.0);
    let bindings = width("binding", |row| &row.1);
    let metrics = width("metric", |row| &row.2);
    let line = |namespace: &str, binding: &str, metric: &str, value: &str| {
        format!("{namespace:namespaces$}{binding:bindings$}{metric:metrics$}{value}\n")
    };
    let mut out = line("namespace", "binding", "metric", "value");
    for ((namespace, binding, metric), values) in rows {
        out += &line(namespace, binding, metric, &values.show());
    }
    out + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"# HELP stream_opens_received_total Number of opened received streams
# TYPE stream_opens_received_total counter
stream_opens_received_total{namespace="example",binding="north"} 24
# TYPE sluice_requests_total counter
sluice_requests_total{namespace="example",binding="http",route="/a\\\"b\"",method="GET"} 3
# TYPE http_request_size_bytes histogram
http_request_size_bytes_bucket{namespace="example",binding="http",le="2"} 0
http_request_size_bytes_bucket{namespace="example",binding="http",le="4"} 3
http_request_size_bytes_bucket{namespace="example",binding="http",le="+Inf"} 4
http_request_size_bytes_sum{namespace="example",binding="http"} 10
http_request_size_bytes_count{namespace="example",binding="http"} 4
# TYPE sluice_panics_total counter
sluice_panics_total 0
not a sample
{
broken{a="
"#;

    fn lines(wanted: Wanted<'_>) -> Vec<String> {
        let table = print(TEXT, wanted);
        assert!(table.ends_with("\n\n"), "{table}");
        let squeeze = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        table.trim_end().lines().map(squeeze).collect()
    }

    #[test]
    fn series_are_lines_under_zilla_s_names() {
        let all = Wanted {
            namespace: None,
            binding: None,
        };
        assert_eq!(
            lines(all),
            [
                "namespace binding metric value",
                "example north stream.opens.received 24",
                r#"example http sluice_requests_total{route="/a\\\"b\"",method="GET"} 3"#,
                "example http http.request.size [min: <=4 | p50: <=4 | p99: <=inf | max: <=inf | cnt: 4 | avg: 2.500000]",
                "sluice_panics_total 0",
            ]
        );
    }

    #[test]
    fn a_binding_can_be_asked_for() {
        let north = Wanted {
            namespace: Some("example"),
            binding: Some("north"),
        };
        assert_eq!(lines(north).len(), 2);
        let nowhere = Wanted {
            namespace: Some("elsewhere"),
            binding: None,
        };
        assert_eq!(lines(nowhere).len(), 1);
    }
}
