//! Linking: from exits by name to a plan.
//!
//! Checks the graph of bindings: exits exist, lead to the right type, run in no circle; ports are free; something listens.
//! `build` then makes what the cores see.

use std::collections::{BTreeMap, BTreeSet};

use super::build::build;
use super::mistake::{At, Report, suggestion};
use super::plan::{Cluster, Listener};
use super::shape::{Binding, Exit, Kind};

/// Listeners and clusters of a plan.
#[derive(Debug, Default)]
pub(super) struct Linked {
    pub(super) listeners: Vec<Listener>,
    pub(super) clusters: Vec<Cluster>,
}

/// Links `bindings`. What is built is complete only if the report has no mistakes.
pub(super) fn link(bindings: Vec<Binding>, report: &mut Report) -> Linked {
    let names = bindings
        .iter()
        .enumerate()
        .map(|(index, binding)| (binding.full_name(), index))
        .collect();
    let graph = Graph { bindings, names };
    graph.check_exits(report);
    graph.check_ports(report);
    let reached = graph.check_reached(report);
    build(&graph, &reached, report)
}

/// The bindings and their names; the edges are their exits.
pub(super) struct Graph {
    pub(super) bindings: Vec<Binding>,
    names: BTreeMap<String, usize>,
}

impl Graph {
    /// The binding that `exit` of `from` names: `name` in the same namespace, or `namespace:name`.
    pub(super) fn target(&self, from: &Binding, exit: &Exit) -> Option<usize> {
        let index = if exit.name.contains(':') {
            self.names.get(&exit.name)
        } else {
            self.names.get(&format!("{}:{}", from.namespace, exit.name))
        };
        index.copied()
    }

    fn targets(&self, from: usize) -> impl Iterator<Item = usize> {
        let binding = &self.bindings[from];
        binding
            .kind
            .exits()
            .into_iter()
            .filter_map(|exit| self.target(binding, exit))
    }

    /// The names by which `from` could call other bindings.
    fn callable<'g>(&'g self, from: &'g Binding) -> impl Iterator<Item = &'g str> {
        let full = self.names.keys().map(String::as_str);
        let near = self
            .bindings
            .iter()
            .filter(|other| other.namespace == from.namespace);
        near.map(|other| other.name.as_str()).chain(full)
    }

    fn check_exits(&self, report: &mut Report) {
        for (index, binding) in self.bindings.iter().enumerate() {
            for exit in binding.kind.exits() {
                if let Some(target) = self.target(binding, exit) {
                    self.check_exit(index, exit, target, report);
                    continue;
                }
                let hint = suggestion(&exit.name, self.callable(binding));
                let message = format!("there is no binding called `{}`{hint}", exit.name);
                report.mistake(exit.at, exit.path.as_str(), message);
            }
        }
    }

    fn check_exit(&self, from: usize, exit: &Exit, target: usize, report: &mut Report) {
        let (binding, next) = (&self.bindings[from], &self.bindings[target]);
        let found = next.kind.title();
        let Some(expected) = binding.kind.expected_exit() else {
            return;
        };
        if matches!(next.kind, Kind::Refused) || expected == found {
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
                .filter(|other| other.kind.title() == expected)
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
                with_article(expected)
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
        let is_listener = |index: &usize| matches!(self.bindings[*index].kind, Kind::TcpServer(_));
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

/// `a tcp server`, `an http server`.
fn with_article(title: &str) -> String {
    let article = if title.starts_with('h') { "an" } else { "a" };
    format!("{article} {title}")
}

/// Whether two hosts may stand for one address.
fn overlap(one: &str, other: &str) -> bool {
    let any = |host: &str| matches!(host, "0.0.0.0" | "::");
    one == other || any(one) || any(other)
}
