//! Who is known where: which guards are given credentials on the way to a binding.
//!
//! A guard that nobody gives credentials to lets nobody pass; that is legal, and always an oversight.

use std::collections::BTreeSet;

use super::link::Graph;
use super::mistake::Report;
use super::plan::GuardKind;
use super::shape::{Binding, Kind};

/// Reports guards that cannot be what they are used for, in all bindings; and those that never let anybody pass, in `reached`.
pub(super) fn check(graph: &Graph, reached: &BTreeSet<usize>, report: &mut Report) {
    for binding in &graph.bindings {
        check_kind(graph, binding, report);
        check_query(graph, binding, report);
    }
    let known = known_guards(graph);
    for index in reached {
        check_passable(graph, *index, &known[*index], report);
    }
}

/// Certificates are verified by TLS: only there can they be given to a guard, and to one that reads them.
fn check_kind(graph: &Graph, binding: &Binding, report: &mut Report) {
    let Some(reference) = binding.kind.authorization() else {
        return;
    };
    let guard = graph.guard(binding, &reference.name);
    let Some(kind) = guard.and_then(|index| graph.guards[index].kind.as_ref()) else {
        return;
    };
    let reads_certificates = matches!(kind, GuardKind::X509(_));
    match &binding.kind {
        Kind::TlsServer(_) if !reads_certificates => reference.mistake(
            report,
            format!("`{}` does not read certificates (an x509 guard does)", reference.name),
        ),
        Kind::HttpServer(_) if reads_certificates => reference.mistake(
            report,
            format!(
                "anybody can send a certificate: `{}` takes those that TLS has verified (`authorization` of a tls server)",
                reference.name
            ),
        ),
        _ => {}
    }
}

/// Credentials in a URL, in the clear.
fn check_query(graph: &Graph, binding: &Binding, report: &mut Report) {
    if !matches!(binding.kind, Kind::TcpServer(_)) {
        return;
    }
    for exit in binding.kind.exits() {
        let Some(next) = graph.target(binding, exit) else {
            continue;
        };
        let Kind::HttpServer(server) = &graph.bindings[next].kind else {
            continue;
        };
        if let Some(authorization) = &server.authorization
            && !authorization.query.is_empty()
        {
            let (at, path) = &authorization.query_at;
            let message = format!(
                "credentials in URLs without TLS can be read on the way: `{}` leads here directly",
                binding.name
            );
            report.warning(*at, path.as_str(), message);
        }
    }
}

/// For each binding the guards that it, or a server on the way to it, gives credentials to.
fn known_guards(graph: &Graph) -> Vec<BTreeSet<usize>> {
    let own = |binding: &Binding| {
        let reference = binding.kind.authorization()?;
        graph.guard(binding, &reference.name)
    };
    let mut known: Vec<BTreeSet<usize>> = graph
        .bindings
        .iter()
        .map(|binding| own(binding).into_iter().collect())
        .collect();
    let mut open: Vec<usize> = (0..known.len()).collect();
    while let Some(index) = open.pop() {
        for next in graph.targets(index) {
            let added: Vec<usize> = known[index].difference(&known[next]).copied().collect();
            if !added.is_empty() {
                known[next].extend(added);
                open.push(next);
            }
        }
    }
    known
}

fn check_passable(graph: &Graph, index: usize, known: &BTreeSet<usize>, report: &mut Report) {
    let binding = &graph.bindings[index];
    let is_unknown = |name: &str| {
        graph
            .guard(binding, name)
            .is_some_and(|guard| !known.contains(&guard))
    };
    for guarded in binding.kind.guarded() {
        let guard = &guarded.guard;
        if is_unknown(&guard.name) {
            guard.warning(
                report,
                format!(
                    "nobody passes: no server on the way here gives credentials to `{}`",
                    guard.name
                ),
            );
        }
        let kind = graph.guard(binding, &guard.name);
        let kind = kind.and_then(|index| graph.guards[index].kind.as_ref());
        if matches!(kind, Some(GuardKind::Inline(_))) && !guarded.roles.is_empty() {
            guard.warning(report, "nobody passes: an inline guard gives no roles");
        }
    }
    for asked in binding.kind.asked() {
        if is_unknown(&asked.name) {
            asked.warning(
                report,
                format!(
                    "always empty: no server on the way here gives credentials to `{}`",
                    asked.name
                ),
            );
        }
    }
}
