//! Names that stand for something else in the file, with their places: exits, guards, vaults and what vaults hold.

use super::fields::{Fields, Item, Named};
use super::mistake::{At, Report};

/// The name of the binding that streams go to next.
#[derive(Clone, Debug)]
pub(super) struct Exit {
    pub(super) name: String,
    pub(super) at: At,
    pub(super) path: String,
}

impl Exit {
    /// The `exit` of a binding or route, if it has one.
    pub(super) fn read(fields: &mut Fields<'_>, report: &mut Report) -> Option<Self> {
        let item = fields.optional("exit")?;
        Self::of(&item, report)
    }

    /// The `exit` that a route must have.
    pub(super) fn required(fields: &mut Fields<'_>, report: &mut Report) -> Option<Self> {
        let item = fields.required(report, "exit")?;
        Self::of(&item, report)
    }

    /// Reports a binding that has neither an `exit` nor routes with exits of their own.
    pub(super) fn require_some(binding: &Fields<'_>, report: &mut Report) {
        if !binding.has("exit") && !binding.has("routes") {
            binding
                .item
                .mistake(report, "leads nowhere (it needs `exit` or `routes`)");
        }
    }

    /// The text of `item` as the name of a binding.
    pub(super) fn of(item: &Item<'_>, report: &mut Report) -> Option<Self> {
        let name = item.text(report)?.to_owned();
        Some(Self {
            name,
            at: item.at,
            path: item.path.clone(),
        })
    }
}

/// The name of a guard, a vault or what a vault holds, and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Reference {
    pub(super) name: String,
    pub(super) at: At,
    pub(super) path: String,
}

impl Reference {
    /// The text of `item` as a name.
    pub(super) fn of(item: &Item<'_>, report: &mut Report) -> Option<Self> {
        let name = item.text(report)?.to_owned();
        Some(Self {
            name,
            at: item.at,
            path: item.path.clone(),
        })
    }

    /// The key of an entry as a name.
    pub(super) fn of_key(entry: &Named<'_>) -> Self {
        Self {
            name: entry.key.to_owned(),
            at: entry.key_at,
            path: entry.item.path.clone(),
        }
    }

    /// Reports a mistake at the name.
    pub(super) fn mistake(&self, report: &mut Report, message: impl Into<String>) {
        report.mistake(self.at, self.path.as_str(), message);
    }

    /// Reports a warning at the name.
    pub(super) fn warning(&self, report: &mut Report, message: impl Into<String>) {
        report.warning(self.at, self.path.as_str(), message);
    }
}
