//! TLS servers and clients: aliases become keys and certificates of the vault.

use std::sync::Arc;

use super::Builder;
use crate::config::link::Graph;
use crate::config::mistake::Report;
use crate::config::plan::{Mutual, TlsClient, TlsExit, TlsRoute, TlsServer, TlsWhen};
use crate::config::reference::Reference;
use crate::config::shape::{self, Binding};
use crate::config::vault::{self, Aliased, Shelf, Vault};
use crate::tls::keystore::{KeyEntry, TrustEntry};

impl Builder<'_> {
    pub(super) fn tls_server(
        &mut self,
        binding: &Binding,
        server: &shape::TlsServer,
        report: &mut Report,
    ) -> Option<TlsServer> {
        let vault = self.graph.vault(binding)?;
        let keys = keys(vault, &server.keys, &server.signers, report);
        let mutual = mutual(server);
        let trust = match mutual {
            Mutual::None => Vec::new(),
            Mutual::Requested | Mutual::Required => trust(vault, &server.trust, report),
        };
        check_server(server, vault, mutual, report);
        let mut routes = Vec::new();
        for route in &server.routes {
            let when = route.when.iter();
            let when = when
                .map(|when| tls_when(when, vault, mutual, &trust, report))
                .collect();
            let guarded = self.guarded(binding, &route.guarded);
            let exit = self.tls_exit(binding, route);
            routes.extend(exit.map(|exit| TlsRoute {
                guarded,
                when,
                exit,
            }));
        }
        let guard = server.guard.as_ref();
        Some(TlsServer {
            namespace: binding.namespace.clone(),
            name: binding.name.clone(),
            number: self.built.tls.len(),
            metrics: binding.metrics,
            keys,
            trust,
            sni: server.sni.clone(),
            alpn: server.alpn.clone(),
            versions: server.versions,
            mutual,
            guard: guard.and_then(|guard| self.guard(binding, &guard.name)),
            handshake_timeout: server.handshake_timeout,
            routes,
        })
    }

    fn tls_exit(&self, binding: &Binding, route: &shape::TlsRoute) -> Option<TlsExit> {
        let next = self.graph.target(binding, route.exit.as_ref()?)?;
        let http = self.built.http.get(&next).cloned().map(TlsExit::Http);
        http.or_else(|| self.built.echoes.get(&next).cloned().map(TlsExit::Echo))
    }
}

/// What a server lacks.
fn check_server(server: &shape::TlsServer, vault: &Vault, mutual: Mutual, report: &mut Report) {
    let Some(named) = &server.vault else {
        return; // reported
    };
    let name = &vault.name;
    if matches!(vault.keys, Shelf::Absent) && server.keys.is_empty() {
        let message = format!("the vault `{name}` has no `keys`, and a server needs one");
        named.mistake(report, message);
    }
    let is_asking = mutual != Mutual::None;
    if is_asking && matches!(vault.trust, Shelf::Absent) && server.trust.is_empty() {
        let message =
            format!("clients are asked for certificates, but the vault `{name}` has no `trust`");
        named.mistake(report, message);
    }
    if let Some(guard) = &server.guard
        && !is_asking
    {
        guard.warning(report, "clients are not asked for certificates (`mutual`)");
    }
}

/// Whether clients show certificates, where the options do not say: if someone is trusted to have signed them.
fn mutual(server: &shape::TlsServer) -> Mutual {
    let mut conditions = server.routes.iter().flat_map(|route| &route.when);
    let is_asked = conditions.any(|when| when.mutual == Some(true));
    server.mutual.unwrap_or(if !server.trust.is_empty() {
        Mutual::Required
    } else if is_asked {
        // Other routes may do without.
        Mutual::Requested
    } else {
        Mutual::None
    })
}

fn tls_when(
    when: &shape::TlsWhen,
    vault: &Vault,
    mutual: Mutual,
    trusted: &[Arc<TrustEntry>],
    report: &mut Report,
) -> TlsWhen {
    let never = match (mutual, when.mutual) {
        (Mutual::None, Some(true)) => Some("clients are not asked for certificates (`mutual`)"),
        (Mutual::Required, Some(false)) => Some("every client shows a certificate (`mutual`)"),
        _ => None,
    };
    if let Some(reason) = never {
        let (at, path) = &when.at;
        report.warning(*at, path.as_str(), format!("never matches: {reason}"));
    }
    let mut signed_by = Vec::new();
    if !when.trust.is_empty() {
        signed_by = trust(vault, &when.trust, report);
        if mutual != Mutual::None && !trusted.is_empty() {
            for name in &when.trust {
                let alias = name.name.to_lowercase();
                let is_known = signed_by.iter().any(|entry| entry.alias == alias);
                if is_known && !trusted.iter().any(|entry| entry.alias == alias) {
                    name.warning(report, "never matches: `options.trust` does not have it");
                }
            }
        }
    }
    TlsWhen {
        authority: when.authority.clone(),
        alpn: when.alpn.clone(),
        ports: when.ports.clone(),
        mutual: when.mutual,
        trust: signed_by,
    }
}

/// Builds a `tls` client.
pub(super) fn client(
    graph: &Graph,
    binding: &Binding,
    client: &shape::TlsClient,
    report: &mut Report,
) -> Option<TlsClient> {
    let none = Vault::default();
    let from_vault = [&client.keys, &client.signers, &client.trust];
    let vault = match &client.vault {
        Some(_) => graph.vault(binding)?,
        None if from_vault.iter().all(|names| names.is_empty()) => &none,
        None => return None, // reported
    };
    let read = TlsClient {
        namespace: binding.namespace.clone(),
        name: binding.name.clone(),
        keys: keys(vault, &client.keys, &client.signers, report),
        trust: trust(vault, &client.trust, report),
        trust_system: client.trust_system,
        sni: client.sni.clone(),
        alpn: client.alpn.clone(),
        versions: client.versions,
    };
    if !read.trust_system && client.trust.is_empty() && matches!(vault.trust, Shelf::Absent) {
        let message = "trusts nobody (`trustcacerts: true` trusts whom the system trusts)";
        report.mistake(binding.at, binding.path.as_str(), message);
    }
    Some(read)
}

/// The keys that `named` names, or those that `signers` have signed, or all.
fn keys(
    vault: &Vault,
    named: &[Reference],
    signers: &[Reference],
    report: &mut Report,
) -> Vec<Arc<KeyEntry>> {
    if !named.is_empty() {
        return each(&vault.keys, named, |name, hint| {
            name.mistake(report, missing(vault, "keys", name, hint));
        });
    }
    let Some(first) = signers.first() else {
        return vault.keys.entries().to_vec();
    };
    let trusted = each(&vault.signers, signers, |name, hint| {
        name.mistake(report, missing(vault, "signers", name, hint));
    });
    let all = vault.keys.entries().iter();
    let signed: Vec<_> = all
        .filter(|key| trusted.iter().any(|signer| is_signed_by(key, signer)))
        .cloned()
        .collect();
    if signed.is_empty() && trusted.len() == signers.len() && !vault.keys.is_broken() {
        let message = format!("no key of the vault `{}` is signed by them", vault.name);
        first.mistake(report, message);
    }
    signed
}

/// The certificates that `named` names, or all. As in Zilla some of them may be missing, which is odd; all is a mistake.
fn trust(vault: &Vault, named: &[Reference], report: &mut Report) -> Vec<Arc<TrustEntry>> {
    if named.is_empty() {
        return vault.trust.entries().to_vec();
    }
    let entries = vault.trust.entries();
    let is_known = |name: &Reference| vault::find(entries, &name.name).is_ok();
    let is_any_known = named.iter().any(is_known);
    each(&vault.trust, named, |name, hint| {
        let message = missing(vault, "trust", name, hint);
        if is_any_known {
            name.warning(report, message);
        } else {
            name.mistake(report, message);
        }
    })
}

/// What `named` names of `shelf`; `refuse` is told of every name that is not there, with a hint.
fn each<T: Aliased>(
    shelf: &Shelf<T>,
    named: &[Reference],
    mut refuse: impl FnMut(&Reference, &str),
) -> Vec<Arc<T>> {
    let mut found = Vec::new();
    if shelf.is_broken() {
        return found;
    }
    for name in named {
        match vault::find(shelf.entries(), &name.name) {
            Ok(entry) => found.push(entry),
            Err(hint) => refuse(name, &hint),
        }
    }
    found
}

fn missing(vault: &Vault, store: &str, name: &Reference, hint: &str) -> String {
    format!(
        "the vault `{}` has no `{}` under `{store}`{hint}",
        vault.name, name.name
    )
}

/// Whether a certificate of the key's chain names `signer` as its issuer (RFC 5280 section 4.1.2.4).
fn is_signed_by(key: &KeyEntry, signer: &TrustEntry) -> bool {
    let Ok((_, signer)) = x509_parser::parse_x509_certificate(&signer.certificate) else {
        return false;
    };
    key.chain.iter().any(|certificate| {
        x509_parser::parse_x509_certificate(certificate).is_ok_and(|(_, certificate)| {
            certificate.issuer().as_raw() == signer.subject().as_raw()
        })
    })
}
