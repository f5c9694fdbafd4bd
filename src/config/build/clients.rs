//! `http` clients with the `tls` and `tcp` clients that they go through.

use std::sync::Arc;

use super::Builder;
use crate::config::mistake::Report;
use crate::config::plan::{HttpClient, HttpVersions, TcpClient, TlsClient};
use crate::config::shape::{self, Binding, Kind};

/// What ALPN calls HTTP/2 (RFC 9113 3.2) and HTTP/1.1 (RFC 7301).
const H2: &str = "h2";
const HTTP11: &str = "http/1.1";

impl Builder<'_> {
    pub(super) fn http_client(
        &self,
        binding: &Binding,
        client: &shape::HttpClient,
        report: &mut Report,
    ) -> Option<HttpClient> {
        let graph = self.graph;
        let exit = client.exit.as_ref()?;
        let next = graph.target(binding, exit)?;
        let (tls, tcp) = match &graph.bindings[next].kind {
            Kind::TlsClient(tls) => {
                let built = self.built.tls_clients.get(&next)?;
                check_protocols(client, built, binding, report);
                let tcp = graph.target(&graph.bindings[next], tls.exit.as_ref()?)?;
                (Some(Arc::clone(built)), tcp)
            }
            _ => (None, next),
        };
        let Kind::TcpClient { connect_to } = &graph.bindings[tcp].kind else {
            return None; // a mistake, reported elsewhere
        };
        let tcp = &graph.bindings[tcp];
        Some(HttpClient {
            namespace: binding.namespace.clone(),
            name: binding.name.clone(),
            number: self.built.http_clients.len(),
            versions: client.versions,
            overrides: client.overrides.clone(),
            tls,
            tcp: Arc::new(TcpClient {
                namespace: tcp.namespace.clone(),
                name: tcp.name.clone(),
                host: connect_to.as_ref().map(|(host, _)| host.clone()),
                port: connect_to.as_ref().map(|(_, port)| *port),
            }),
            limits: client.limits,
        })
    }

    /// The http clients that are built, by their numbers.
    pub(super) fn http_clients(&self) -> Vec<Arc<HttpClient>> {
        let mut clients: Vec<_> = self.built.http_clients.values().cloned().collect();
        clients.sort_by_key(|client| client.number);
        clients
    }
}

/// Protocols that TLS offers and HTTP does not speak come to nothing.
fn check_protocols(
    client: &shape::HttpClient,
    tls: &TlsClient,
    binding: &Binding,
    report: &mut Report,
) {
    let is_spoken = |protocol: &String| match protocol.as_str() {
        H2 => client.versions != HttpVersions::Http11,
        HTTP11 => client.versions != HttpVersions::H2,
        _ => false,
    };
    if !tls.alpn.is_empty() && !tls.alpn.iter().any(is_spoken) {
        let message = format!(
            "speaks none of the protocols that `{}` offers (`options.alpn`)",
            tls.name
        );
        report.mistake(binding.at, binding.path.as_str(), message);
    }
}
