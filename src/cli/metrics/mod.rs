//! `sluice metrics`: asks a running gateway's `prometheus` exporter, and prints a table.

mod table;

use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::{EXIT_CONFIG, environment, load_file};
use crate::config::PrometheusEndpoint;

const DEFAULT_URL: &str = "http://127.0.0.1:7190/metrics";
/// How long the gateway may take to accept, and then to send each piece of its answer.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes of an answer; more is not a gateway's.
const ANSWER_BYTES_MAX: u64 = 64 << 20;
/// What a configuration needs to have metrics.
const HOW_TO: &str = "does the gateway run, and does its configuration have this?\n\
    telemetry:\n  exporters:\n    prometheus:\n      type: prometheus\n      options:\n        endpoints:\n          - scheme: http\n            port: 7190\n            path: /metrics";

#[derive(Debug, Args)]
pub(super) struct MetricsArguments {
    /// The gateway's configuration, to find its `prometheus` exporter.
    #[arg(short, long, value_name = "FILE", conflicts_with = "url")]
    config: Option<PathBuf>,
    /// Where the exporter answers. Default: `http://127.0.0.1:7190/metrics`.
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// Only the metrics of this namespace.
    #[arg(long, value_name = "NAMESPACE")]
    namespace: Option<String>,
    /// Only the metrics of this binding.
    binding: Option<String>,
}

/// Why there is no table.
enum Failure {
    /// The arguments or the configuration are at fault.
    Config(String),
    /// The gateway did not answer as it should.
    Gateway(String),
}

pub(super) fn run(arguments: &MetricsArguments) -> ExitCode {
    let url = match &arguments.config {
        Some(file) => match load_file(file, &environment) {
            Ok(plan) => url_of(plan.telemetry.prometheus.first()),
            Err(code) => return code,
        },
        None => Ok(arguments
            .url
            .clone()
            .unwrap_or_else(|| DEFAULT_URL.to_owned())),
    };
    match url.and_then(|url| fetch(&url)) {
        Ok(text) => {
            let wanted = table::Wanted {
                namespace: arguments.namespace.as_deref(),
                binding: arguments.binding.as_deref(),
            };
            // A reader that has seen enough (`| head`) is no failure.
            let _ = std::io::stdout().write_all(table::print(&text, wanted).as_bytes());
            ExitCode::SUCCESS
        }
        Err(Failure::Config(message)) => {
            eprintln!("sluice: {message}");
            ExitCode::from(EXIT_CONFIG)
        }
        Err(Failure::Gateway(message)) => {
            eprintln!("sluice: {message}");
            ExitCode::FAILURE
        }
    }
}

fn url_of(endpoint: Option<&PrometheusEndpoint>) -> Result<String, Failure> {
    let Some(endpoint) = endpoint else {
        let message = format!("the configuration has no `prometheus` exporter: {HOW_TO}");
        return Err(Failure::Config(message));
    };
    if endpoint.port == 0 {
        let message = "the port of the `prometheus` exporter is 0, which the system chose: give --url as `sluice start` printed it";
        return Err(Failure::Config(message.to_owned()));
    }
    let host = match endpoint.host.as_str() {
        "0.0.0.0" => "127.0.0.1".to_owned(),
        "::" => "[::1]".to_owned(),
        host if host.contains(':') && !host.starts_with('[') => format!("[{host}]"),
        host => host.to_owned(),
    };
    Ok(format!("http://{host}:{}{}", endpoint.port, endpoint.path))
}

/// Asks for the text behind `url`.
fn fetch(url: &str) -> Result<String, Failure> {
    let rest = url.strip_prefix("http://").ok_or_else(|| {
        Failure::Config(format!(
            "`{url}` is no URL of the kind http://host:port/path"
        ))
    })?;
    let (authority, path) = rest
        .find('/')
        .map_or((rest, "/metrics"), |at| rest.split_at(at));
    if url.contains(|letter: char| letter.is_whitespace() || letter.is_control()) {
        return Err(Failure::Config("the URL has a space in it".to_owned()));
    }
    let answer = ask(authority, path)
        .map_err(|error| Failure::Gateway(format!("no answer from {url} ({error}): {HOW_TO}")))?;
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .ok_or_else(|| Failure::Gateway(format!("what answers at {url} does not speak HTTP")))?;
    let status = head.split(' ').nth(1).unwrap_or_default();
    if status != "200" {
        return Err(Failure::Gateway(format!(
            "{url} answered {status}: {HOW_TO}"
        )));
    }
    Ok(body.to_owned())
}

fn ask(authority: &str, path: &str) -> std::io::Result<String> {
    let has_port = authority
        .rsplit_once(':')
        .is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let address = if has_port {
        authority.to_owned()
    } else {
        format!("{authority}:80")
    };
    let mut last = std::io::Error::from(std::io::ErrorKind::NotFound);
    for address in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, TIMEOUT) {
            Ok(stream) => return exchange(stream, authority, path),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// HTTP/1.0: the answer ends with the connection and is never in chunks.
fn exchange(mut stream: TcpStream, authority: &str, path: &str) -> std::io::Result<String> {
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    write!(stream, "GET {path} HTTP/1.0\r\nhost: {authority}\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
