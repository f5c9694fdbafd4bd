//! Names of bindings, guards and vaults, as others may call them: `name` in the same namespace, or `namespace:name`.

use std::collections::BTreeMap;

use super::mistake::suggestion;

/// The places of named things in their list.
#[derive(Debug, Default)]
pub(super) struct Names(BTreeMap<String, usize>);

impl Names {
    /// The names of a list, each with its namespace.
    pub(super) fn of<'n>(names: impl Iterator<Item = (&'n str, &'n str)>) -> Self {
        let full = names.map(|(namespace, name)| format!("{namespace}:{name}"));
        Self(full.zip(0..).collect())
    }

    /// The place of what `name` stands for in `namespace`.
    pub(super) fn find(&self, namespace: &str, name: &str) -> Option<usize> {
        if name.contains(':') {
            self.0.get(name).copied()
        } else {
            self.0.get(&format!("{namespace}:{name}")).copied()
        }
    }

    /// ` (did you mean …?)`, or nothing.
    pub(super) fn hint(&self, namespace: &str, name: &str) -> String {
        let full = self.0.keys().map(String::as_str);
        let near = full.clone().filter_map(|other| {
            let (space, name) = other.split_once(':')?;
            (space == namespace).then_some(name)
        });
        suggestion(name, near.chain(full))
    }
}
