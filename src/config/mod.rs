//! Configuration: the text of a `zilla.yaml` in, a checked [`Plan`] or every mistake in it out.
//!
//! Runs once before the first request and at each reload; reads no file, variable or clock itself: [`Surroundings`] do. The steps:
//!
//! ```text
//! text ─ source (variables) ─▶ node (YAML with places) ─▶ file, tcp, tls, http, sse … (checked shapes) ─ link, build ─▶ plan
//! ```
//!
//! Its one rule: no key is accepted and ignored. A key is read, refused as not supported yet, or unknown.

mod build;
mod catalog;
mod fields;
mod file;
mod files;
mod grpc;
mod guard;
mod guarded;
mod http;
mod http_kafka;
mod kafka;
mod link;
mod metric;
mod mistake;
mod names;
mod node;
mod plan;
mod reference;
mod sessions;
mod shape;
mod source;
mod sse;
mod tcp;
mod telemetry;
mod templates;
#[cfg(test)]
mod tests;
mod tls;
mod units;
mod unsupported;
mod vault;

pub use metric::{MetricSet, MetricShape, ZillaMetric};
pub use mistake::{Mistake, Warning};
pub use plan::{
    AccessControl, Acks, AsyncHeader, Cidr, ClientLimits, Cluster, Correlation, CreateTopic,
    CrossOrigin, EchoServer, EventIdForm, FieldPatterns, FilesystemServer, FilesystemWhen, Filter,
    GrpcClient, GrpcClientRoute, GrpcCorrelation, GrpcExit, GrpcKafka, GrpcKafkaRoute,
    GrpcKafkaWith, GrpcRoute, GrpcServer, GrpcWhen, Guard, GuardKind, Guarded, HttpAuthorization,
    HttpClient, HttpExit, HttpFilesystem, HttpFilesystemRoute, HttpKafka, HttpKafkaRoute,
    HttpLimits, HttpRoute, HttpServer, HttpVersions, InlineGuard, JwkSource, JwtGuard, JwtKeys,
    KafkaGrpc, KafkaGrpcRoute, KafkaGrpcWhen, Listener, ListenerExit, ListenerRoute, ListenerWhen,
    MetadataMatch, Mutual, Plan, PrometheusEndpoint, Reply, Secret, SseKafka, SseKafkaRoute,
    SseRoute, SseServer, TcpClient, Telemetry, TlsClient, TlsExit, TlsRoute, TlsServer,
    TlsVersions, TlsWhen, When, With, X509Guard,
};

use std::fmt;
use std::io;
use std::path::Path;

use fields::Item;
use mistake::Report;
use source::Source;

/// What a configuration takes from outside its own text.
#[derive(Clone, Copy)]
pub struct Surroundings<'s> {
    /// Looks up environment variables.
    pub env: &'s dyn Fn(&str) -> Option<String>,
    /// The directory that relative paths start from: that of the configuration's file.
    pub directory: &'s Path,
    /// Reads a key store or a schema, by a path that `directory` has been put before.
    pub read_file: &'s dyn Fn(&Path) -> io::Result<Vec<u8>>,
}

impl fmt::Debug for Surroundings<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Surroundings")
            .field("directory", &self.directory)
            .finish_non_exhaustive()
    }
}

/// Checks the configuration `text`, which the messages call `file_name`.
///
/// # Errors
/// Every mistake in the text, in its order. A YAML syntax error hides what comes after it.
pub fn load(
    file_name: &str,
    text: &str,
    surroundings: &Surroundings<'_>,
) -> Result<Plan, Vec<Mistake>> {
    let source = Source::substitute(text, surroundings.env);
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
    let mut file = file::read(&documents, surroundings, &mut report);
    let telemetry = std::mem::take(&mut file.telemetry);
    let link::Linked {
        listeners,
        clusters,
        guards,
        http_clients,
        remote_servers,
    } = link::link(file, surroundings, &mut report);
    let warnings = report.finish(file_name, &source)?;
    Ok(Plan {
        listeners,
        clusters,
        guards,
        http_clients,
        remote_servers,
        telemetry,
        warnings,
    })
}
