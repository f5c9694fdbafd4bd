//! `guarded`: what a route asks of guards; and the one guard that a server gives credentials to.

use super::fields::{Fields, Item, Named};
use super::mistake::Report;
use super::reference::Reference;

/// What a route asks of a guard.
#[derive(Clone, Debug)]
pub(super) struct Guarded {
    pub(super) guard: Reference,
    pub(super) roles: Vec<String>,
}

/// Reads the `guarded` of a route: guards and the roles that they must give, all of them.
pub(super) fn read_guarded(route: &mut Fields<'_>, report: &mut Report) -> Vec<Guarded> {
    let Some(item) = route.optional("guarded") else {
        return Vec::new();
    };
    let mut guarded = Vec::new();
    for entry in item.entries(report) {
        let roles = entry.item.list(report);
        let roles = roles
            .iter()
            .filter_map(|item| item.text(report).map(str::to_owned))
            .collect();
        guarded.push(Guarded {
            guard: Reference::of_key(&entry),
            roles,
        });
    }
    guarded
}

/// The only guard of an `authorization` and what stands under it.
pub(super) fn only_guard<'n>(item: &Item<'n>, report: &mut Report) -> Option<Named<'n>> {
    let mut entries = item.entries(report).into_iter();
    let first = entries.next()?;
    for other in entries {
        let message = "only one guard can be given credentials";
        report.mistake(other.key_at, other.item.path.as_str(), message);
    }
    Some(first)
}
