//! Linking: from exits by name to a plan.
//!
//! Checks the graph of bindings: exits exist, lead to the right type, run in no circle; ports are free; something listens.
//! `build` then makes what the cores see.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Surroundings;
use super::build::build;
use super::catalog::{Catalog, SubjectReference};
use super::file::File;
use super::guard::NamedGuard;
use super::mistake::{At, Report};
use super::names::Names;
use super::plan::{Cluster, Guard, HttpClient, KafkaGrpc, Listener};
use super::reference::{Exit, Reference};
use super::sessions;
use super::shape::{Binding, Kind};
use super::vault::Vault;

/// Listeners, clusters and guards of a plan.
#[derive(Debug, Default)]
pub(super) struct Linked {
    pub(super) listeners: Vec<Listener>,
    pub(super) clusters: Vec<Cluster>,
    pub(super) guards: Vec<Guard>,
    pub(super) http_clients: Vec<Arc<HttpClient>>,
    pub(super) remote_servers: Vec<Arc<KafkaGrpc>>,
}

/// Links the bindings of `file`; relative paths start from the directory of its `surroundings`. What is built is complete only if the report has no
/// mistakes.
pub(super) fn link(file: File, surroundings: &Surroundings<'_>, report: &mut Report) -> Linked {
    let graph = Graph::of(file);
    graph.check_exits(report);
    graph.check_references(report);
    graph.check_ports(report);
    let reached = graph.check_reached(report);
    sessions::check(&graph, &reached, report);
    build(&graph, &reached, surroundings, report)
}

/// The bindings and their names; the edges are their exits. Guards and vaults stand beside them.
pub(super) struct Graph {
    pub(super) bindings: Vec<Binding>,
    names: Names,
    pub(super) guards: Vec<NamedGuard>,
    guard_names: Names,
    vaults: Vec<Vault>,
    vault_names: Names,
    catalogs: Vec<Catalog>,
    catalog_names: Names,
}

impl Graph {
    fn of(file: File) -> Self {
        let bindings = file.bindings.iter();
        let guards = file.guards.iter();
        let vaults = file.vaults.iter();
        let catalogs = file.catalogs.iter();
        Self {
            names: Names::of(bindings.map(|binding| (&*binding.namespace, &*binding.name))),
            guard_names: Names::of(guards.map(|guard| (&*guard.namespace, &*guard.name))),
            vault_names: Names::of(vaults.map(|vault| (&*vault.namespace, &*vault.name))),
            bindings: file.bindings,
            guards: file.guards,
            catalog_names: Names::of(catalogs.map(|catalog| (&*catalog.namespace, &*catalog.name))),
            vaults: file.vaults,
            catalogs: file.catalogs,
        }
    }

    /// The binding that `exit` of `from` names.
    pub(super) fn target(&self, from: &Binding, exit: &Exit) -> Option<usize> {
        self.names.find(&from.namespace, &exit.name)
    }

    /// The guard that `from` calls `name`.
    pub(super) fn guard(&self, from: &Binding, name: &str) -> Option<usize> {
        self.guard_names.find(&from.namespace, name)
    }

    /// The vault of `from`, if it has one.
    pub(super) fn vault(&self, from: &Binding) -> Option<&Vault> {
        let name = &from.kind.vault()?.name;
        let index = self.vault_names.find(&from.namespace, name)?;
        Some(&self.vaults[index])
    }

    /// The catalog that `from` calls `name`.
    pub(super) fn catalog(&self, from: &Binding, name: &str) -> Option<&Catalog> {
        let index = self.catalog_names.find(&from.namespace, name)?;
        Some(&self.catalogs[index])
    }

    /// The bindings that the exits of `from` lead to.
    pub(super) fn targets(&self, from: usize) -> impl Iterator<Item = usize> {
        let binding = &self.bindings[from];
        binding
            .kind
            .exits()
            .into_iter()
            .filter_map(|exit| self.target(binding, exit))
    }

    fn check_exits(&self, report: &mut Report) {
        for (index, binding) in self.bindings.iter().enumerate() {
            for exit in binding.kind.exits() {
                if let Some(target) = self.target(binding, exit) {
                    self.check_exit(index, exit, target, report);
                    continue;
                }
                let hint = self.names.hint(&binding.namespace, &exit.name);
                let message = format!("there is no binding called `{}`{hint}", exit.name);
                report.mistake(exit.at, exit.path.as_str(), message);
            }
        }
    }

    /// Guards, vaults and catalogs that are named must be there.
    fn check_references(&self, report: &mut Report) {
        for binding in &self.bindings {
            let kind = &binding.kind;
            let guarded = kind.guarded().into_iter().map(|guarded| &guarded.guard);
            for reference in guarded.chain(kind.asked()).chain(kind.authorization()) {
                check_name(reference, "guard", binding, &self.guard_names, report);
            }
            if let Some(reference) = kind.vault() {
                check_name(reference, "vault", binding, &self.vault_names, report);
            }
            // All of a binding's subjects are of one catalog.
            if let Some(SubjectReference { catalog, .. }) = kind.subjects().first() {
                check_name(catalog, "catalog", binding, &self.catalog_names, report);
            }
        }
    }

    fn check_exit(&self, from: usize, exit: &Exit, target: usize, report: &mut Report) {
        let (binding, next) = (&self.bindings[from], &self.bindings[target]);
        let found = next.kind.title();
        let expected = binding.kind.expected_exits();
        if expected.is_empty() || matches!(next.kind, Kind::Refused) || expected.contains(&found) {
            return;
        }
        if let (Kind::KafkaClient(_), Kind::TlsClient(_)) = (&binding.kind, &next.kind) {
            report.mistake(
                exit.at,
                exit.path.as_str(),
                "TLS to brokers is not supported yet",
            );
            return;
        }
        // Types only lead forwards, so every circle has an exit of the wrong type; say the more helpful of the two.
        let message = if let Some(way) = self.way(target, from) {
            let names: Vec<&str> = way
                .iter()
                .map(|index| self.bindings[*index].name.as_str())
                .collect();
            format!(
                "leads in a circle: {} -> {}",
                binding.name,
                names.join(" -> ")
            )
        } else {
            let candidates: Vec<&Binding> = self
                .bindings
                .iter()
                .filter(|other| expected.contains(&other.kind.title()))
                .collect();
            let hint = match candidates[..] {
                [only] => format!(" (such as `{}`)", only.name),
                _ => String::new(),
            };
            let own = with_article(binding.kind.title());
            format!(
                "`{}` is {}; {own} leads to {}{hint}",
                exit.name,
                with_article(found),
                listed(expected)
            )
        };
        report.mistake(exit.at, exit.path.as_str(), message);
    }

    /// The bindings on a way from `start` to `end`, both included.
    fn way(&self, start: usize, end: usize) -> Option<Vec<usize>> {
        let mut came_from = BTreeMap::from([(start, start)]);
        let mut open = vec![start];
        while let Some(index) = open.pop() {
            if index == end {
                let mut way = vec![end];
                let mut last = end;
                while last != start {
                    last = came_from[&last];
                    way.push(last);
                }
                way.reverse();
                return Some(way);
            }
            for next in self.targets(index) {
                came_from.entry(next).or_insert_with(|| {
                    open.push(next);
                    index
                });
            }
        }
        None
    }

    fn check_ports(&self, report: &mut Report) {
        let mut taken: BTreeMap<u16, Vec<(&str, &Binding)>> = BTreeMap::new();
        for binding in &self.bindings {
            let Kind::TcpServer(server) = &binding.kind else {
                continue;
            };
            for port in server.ports.iter().filter(|port| **port != 0) {
                let others = taken.entry(*port).or_default();
                if let Some((_, other)) =
                    others.iter().find(|(host, _)| overlap(host, &server.host))
                {
                    let (at, path) = &server.ports_at;
                    report.mistake(
                        *at,
                        path.as_str(),
                        format!("port {port} is taken by `{}` already", other.name),
                    );
                }
                others.push((&server.host, binding));
            }
        }
    }

    /// Something must listen; what no listener leads to is odd. Gives the bindings that listeners lead to.
    fn check_reached(&self, report: &mut Report) -> BTreeSet<usize> {
        let is_listener = |index: &usize| {
            let kind = &self.bindings[*index].kind;
            matches!(kind, Kind::TcpServer(_) | Kind::KafkaGrpc(_))
        };
        let mut open: Vec<usize> = (0..self.bindings.len()).filter(is_listener).collect();
        // What was refused may be the listener that is missing.
        let refused = self
            .bindings
            .iter()
            .any(|binding| matches!(binding.kind, Kind::Refused));
        let unread = self.bindings.is_empty() && report.has_mistakes();
        if open.is_empty() && !refused && !unread {
            let message = if self.bindings.is_empty() {
                "no bindings"
            } else {
                "nothing listens: no `tcp` `server`"
            };
            report.mistake(At::START, "", message);
        }
        let mut reached: BTreeSet<usize> = open.iter().copied().collect();
        while let Some(index) = open.pop() {
            open.extend(self.targets(index).filter(|next| reached.insert(*next)));
        }
        for (index, binding) in self.bindings.iter().enumerate() {
            if !reached.contains(&index) {
                report.warning(
                    binding.at,
                    binding.path.as_str(),
                    "no listener leads here; it is not started",
                );
            }
        }
        reached
    }
}

fn check_name(
    reference: &Reference,
    what: &str,
    from: &Binding,
    names: &Names,
    report: &mut Report,
) {
    if names.find(&from.namespace, &reference.name).is_none() {
        let hint = names.hint(&from.namespace, &reference.name);
        let message = format!("there is no {what} called `{}`{hint}", reference.name);
        reference.mistake(report, message);
    }
}

/// `an http server, a tls server or an echo server`.
fn listed(titles: &[&str]) -> String {
    let titles: Vec<String> = titles.iter().map(|title| with_article(title)).collect();
    match titles.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
        None => String::new(),
    }
}

/// `a tcp server`, `an http server`.
fn with_article(title: &str) -> String {
    let article = if title.starts_with(['h', 'e']) || title.starts_with("ss") {
        "an"
    } else {
        "a"
    };
    format!("{article} {title}")
}

/// Whether two hosts may stand for one address.
fn overlap(one: &str, other: &str) -> bool {
    let any = |host: &str| matches!(host, "0.0.0.0" | "::");
    one == other || any(one) || any(other)
}
