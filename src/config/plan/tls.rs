//! TLS in the plan: vaults, servers and clients.
//!
//! Stores are read and opened while the configuration is checked, so that what is wrong with them is a mistake with a place; the plan holds keys and certificates.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use super::{EchoServer, Guarded, HttpServer};
use crate::config::metric::MetricSet;
use crate::route::Glob;
use crate::tls::keystore::{KeyEntry, TrustEntry};

/// A `tls` server.
#[derive(Clone, Debug)]
pub struct TlsServer {
    /// The namespace of the binding.
    pub namespace: String,
    /// The name of the binding.
    pub name: String,
    /// Its place among all tls servers of the plan, from 0.
    pub number: usize,
    /// The metrics under Zilla's names that it has.
    pub metrics: MetricSet,
    /// The keys it may show, in the order of the file, never empty; `signers` have been applied.
    pub keys: Vec<Arc<KeyEntry>>,
    /// Who may have signed clients' certificates.
    pub trust: Vec<Arc<TrustEntry>>,
    /// Names (lower case) that clients may ask for; empty: any, also none.
    pub sni: Vec<String>,
    /// Protocols that may be agreed on; empty: whatever a route takes.
    pub alpn: Vec<String>,
    /// The versions that are spoken.
    pub versions: TlsVersions,
    /// Whether clients show certificates.
    pub mutual: Mutual,
    /// The guard that is given the client's verified certificates (`authorization`), as an index into [`super::Plan::guards`].
    pub guard: Option<usize>,
    /// How long a handshake may take, 1 ms to 1 h; own option `options.handshake-timeout`, 10 s by default.
    pub handshake_timeout: Duration,
    /// First match wins; a connection that matches none is closed.
    pub routes: Vec<TlsRoute>,
}

/// Which versions of TLS are spoken: `options.version`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TlsVersions {
    /// 1.2 and 1.3.
    #[default]
    All,
    /// 1.2 alone.
    Tls12,
    /// 1.3 alone.
    Tls13,
}

/// Whether clients show certificates: `options.mutual`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mutual {
    /// They are not asked.
    #[default]
    None,
    /// They are asked, and may go without. One that is shown must be trusted.
    Requested,
    /// They must.
    Required,
}

/// A route of a `tls` server.
#[derive(Clone, Debug)]
pub struct TlsRoute {
    /// All of these must let the connection pass.
    pub guarded: Vec<Guarded>,
    /// One of these must match; empty: always.
    pub when: Vec<TlsWhen>,
    /// Where its connections go.
    pub exit: TlsExit,
}

/// Where the decrypted connections of a route go.
#[derive(Clone, Debug)]
pub enum TlsExit {
    /// To a server of requests.
    Http(Arc<HttpServer>),
    /// Back.
    Echo(Arc<EchoServer>),
}

/// A condition on a handshake; all parts must hold.
#[derive(Clone, Debug, Default)]
pub struct TlsWhen {
    /// The name that the client asked for, lower case.
    pub authority: Option<Glob>,
    /// The protocol agreed on.
    pub alpn: Option<String>,
    /// The local port is in one of these; empty: any.
    pub ports: Vec<RangeInclusive<u16>>,
    /// Whether the client must have shown a certificate (`mutual: required`), or must not have (`none`).
    pub mutual: Option<bool>,
    /// The client's certificate must be signed by one of these; empty: any. Non-empty implies `mutual: required`.
    pub trust: Vec<Arc<TrustEntry>>,
}

/// A `tls` client.
#[derive(Clone, Debug)]
pub struct TlsClient {
    /// The namespace of the binding.
    pub namespace: String,
    /// The name of the binding.
    pub name: String,
    /// The keys it may show.
    pub keys: Vec<Arc<KeyEntry>>,
    /// Who may have signed the server's certificate.
    pub trust: Vec<Arc<TrustEntry>>,
    /// Whether those whom the system trusts are trusted, too.
    pub trust_system: bool,
    /// The name to ask for instead of the server's own.
    pub sni: Option<String>,
    /// Protocols to offer, in order.
    pub alpn: Vec<String>,
    /// The versions that are spoken.
    pub versions: TlsVersions,
}
