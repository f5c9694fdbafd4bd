//! Configuration: the text of a `zilla.yaml` in, a checked [`Plan`] or every mistake in it out.
//!
//! Runs once before the first request and at each reload; reads no file, variable or clock itself. The steps:
//!
//! ```text
//! text ─ source (variables) ─▶ node (YAML with places) ─▶ file, tcp, http, http_kafka, kafka (checked shapes) ─ link, build ─▶ plan
//! ```
//!
//! Its one rule: no key is accepted and ignored. A key is read, refused as not supported yet, or unknown.

mod build;
mod fields;
mod file;
mod http;
mod http_kafka;
mod kafka;
mod link;
mod metric;
mod mistake;
mod node;
mod plan;
mod shape;
mod source;
mod tcp;
mod telemetry;
#[cfg(test)]
mod tests;
mod units;
mod unsupported;

pub use metric::{MetricSet, MetricShape, ZillaMetric};
pub use mistake::{Mistake, Warning};
pub use plan::{
    AccessControl, Acks, AsyncHeader, Cidr, Cluster, Correlation, CreateTopic, CrossOrigin,
    EchoServer, EventIdForm, FilesystemServer, FilesystemWhen, Filter, Guard, GuardKind, Guarded,
    HttpAuthorization, HttpExit, HttpFilesystem, HttpFilesystemRoute, HttpKafka, HttpKafkaRoute,
    HttpLimits, HttpRoute, HttpServer, HttpVersions, InlineGuard, JwkSource, JwtGuard, JwtKeys,
    Listener, ListenerExit, ListenerRoute, ListenerWhen, Mutual, Plan, PrometheusEndpoint, Reply,
    Secret, SseKafka, SseKafkaRoute, SseRoute, SseServer, Telemetry, TlsClient, TlsExit, TlsRoute,
    TlsServer, TlsVersions, TlsWhen, When, With, X509Guard,
};

use fields::Item;
use mistake::Report;
use source::Source;

/// Checks the configuration `text`, which the messages call `file_name`; `env` looks up environment variables.
///
/// # Errors
/// Every mistake in the text, in its order. A YAML syntax error hides what comes after it.
pub fn load(
    file_name: &str,
    text: &str,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Plan, Vec<Mistake>> {
    let source = Source::substitute(text, env);
    let mut report = Report::default();
    let documents = node::documents(source.text(), &mut report);
    if report.has_mistakes() {
        // The rest of the file is unread: its variables are all that is left to say.
        for one in source.unresolved() {
            report.mistake(
                mistake::Spot::Original(one.original),
                "",
                one.message.as_str(),
            );
        }
        return Err(report.finish(file_name, &source).err().unwrap_or_default());
    }
    for document in &documents {
        file::check_values(&Item::root(document), &source, &mut report);
    }
    let file::File {
        bindings,
        telemetry,
    } = file::read(&documents, &mut report);
    let link::Linked {
        listeners,
        clusters,
    } = link::link(bindings, &mut report);
    let warnings = report.finish(file_name, &source)?;
    Ok(Plan {
        listeners,
        clusters,
        guards: Vec::new(),
        telemetry,
        warnings,
    })
}
