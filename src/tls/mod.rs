//! TLS: what is in key stores, and servers and clients made of it.
//!
//! Between the sockets and HTTP. Sans-IO: configurations of rustls, and which of them and which route a handshake gets; `net::tls` moves the bytes.

pub mod client;
mod identity;
pub mod keystore;
pub mod route;
pub mod server;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod trust;

use std::fmt;
use std::sync::{Arc, OnceLock};

use rustls::SupportedProtocolVersion;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::version::{TLS12, TLS13};

use crate::config::TlsVersions;

/// Why a server or client cannot be made of its part of the plan.
#[derive(Clone, Debug)]
pub enum SetupFault {
    /// A key that cannot sign, or is not that of its certificate.
    BadKey {
        /// What its store calls it.
        alias: String,
        /// What is wrong with it.
        error: rustls::Error,
    },
    /// A trusted certificate that cannot vouch for others.
    BadTrust {
        /// What its store calls it.
        alias: String,
        /// What is wrong with it.
        error: rustls::Error,
    },
    /// There is nobody to trust: certificates are asked for, and none could be accepted.
    NoTrust,
    /// The system's certificates were asked for, and cannot be found; its words.
    NoSystemTrust(String),
    /// What rustls refuses otherwise.
    Rustls(rustls::Error),
}

impl fmt::Display for SetupFault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadKey { alias, error } => {
                write!(formatter, "the key `{alias}` cannot be used: {error}")
            }
            Self::BadTrust { alias, error } => {
                write!(
                    formatter,
                    "the certificate `{alias}` cannot be trusted: {error}"
                )
            }
            Self::NoTrust => {
                formatter.write_str("certificates have to be verified, and none is trusted")
            }
            Self::NoSystemTrust(problem) => {
                write!(
                    formatter,
                    "the system's certificates cannot be found: {problem}"
                )
            }
            Self::Rustls(error) => error.fmt(formatter),
        }
    }
}

impl std::error::Error for SetupFault {}

/// The one provider of cryptography. Never rustls' default of the process: a second provider anywhere in the binary would make it panic.
fn provider() -> &'static Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    PROVIDER.get_or_init(|| Arc::new(aws_lc_rs::default_provider()))
}

fn versions(versions: TlsVersions) -> &'static [&'static SupportedProtocolVersion] {
    static BOTH: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];
    match versions {
        TlsVersions::All => &BOTH,
        TlsVersions::Tls12 => &BOTH[1..],
        TlsVersions::Tls13 => &BOTH[..1],
    }
}
