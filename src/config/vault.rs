//! `vaults`: stores of keys and certificates, opened while the configuration is checked.
//!
//! Its one rule: a password is used and never kept, and no message has one.

use std::path::Path;
use std::sync::Arc;

use super::Surroundings;
use super::fields::{Fields, Item, Named};
use super::mistake::{Report, suggestion};
use super::units;
use super::unsupported::{Choice, Place};
use crate::tls::keystore::{self, KeyEntry, Store, StoreKind, TrustEntry};

/// A vault of the file.
#[derive(Debug, Default)]
pub(super) struct Vault {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) keys: Shelf<KeyEntry>,
    pub(super) trust: Shelf<TrustEntry>,
    /// Certificates of those who may have signed a key.
    pub(super) signers: Shelf<TrustEntry>,
}

/// What one store of a vault holds.
#[derive(Debug, Default)]
pub(super) enum Shelf<T> {
    /// The vault has no such store.
    #[default]
    Absent,
    /// It could not be read or opened; already a mistake.
    Broken,
    /// These.
    Entries(Vec<Arc<T>>),
}

impl<T> Shelf<T> {
    /// What it holds; none if it is absent or broken.
    pub(super) fn entries(&self) -> &[Arc<T>] {
        match self {
            Self::Entries(entries) => entries,
            Self::Absent | Self::Broken => &[],
        }
    }

    /// Whether what it holds is unknown.
    pub(super) fn is_broken(&self) -> bool {
        matches!(self, Self::Broken)
    }
}

/// What an alias is looked up in.
pub(super) trait Aliased {
    /// What the store calls it, lower case.
    fn alias(&self) -> &str;
}

impl Aliased for KeyEntry {
    fn alias(&self) -> &str {
        &self.alias
    }
}

impl Aliased for TrustEntry {
    fn alias(&self) -> &str {
        &self.alias
    }
}

/// The entry called `alias`, compared as Java's key stores do: without regard to case.
///
/// # Errors
/// There is none; the words say which there are.
pub(super) fn find<T: Aliased>(entries: &[Arc<T>], alias: &str) -> Result<Arc<T>, String> {
    const SHOWN_MAX: usize = 10;
    let wanted = alias.to_lowercase();
    if let Some(found) = entries.iter().find(|entry| entry.alias() == wanted) {
        return Ok(Arc::clone(found));
    }
    let aliases = entries.iter().map(|entry| entry.alias());
    let hint = suggestion(&wanted, aliases.clone());
    let shown: Vec<String> = aliases
        .take(SHOWN_MAX)
        .map(|alias| format!("`{alias}`"))
        .collect();
    let more = if entries.len() > SHOWN_MAX {
        ", …"
    } else {
        ""
    };
    Err(match (hint.is_empty(), shown.is_empty()) {
        (false, _) => hint,
        (true, true) => " (there are none)".to_owned(),
        (true, false) => format!(" (there is {}{more})", shown.join(", ")),
    })
}

/// Reads a vault of `namespace` and opens its stores.
pub(super) fn read(
    entry: &Named<'_>,
    namespace: &str,
    surroundings: &Surroundings<'_>,
    report: &mut Report,
) -> Vault {
    entry.parsed_key(report, units::name);
    let mut vault = Vault {
        namespace: namespace.to_owned(),
        name: entry.key.to_owned(),
        keys: Shelf::Broken,
        trust: Shelf::Broken,
        signers: Shelf::Broken,
    };
    let mut fields = entry.item.fields(report, Place::Plain);
    let kind = fields
        .required(report, "type")
        .and_then(|item| item.word(report, Choice::Plain, &[("filesystem", ())]));
    if kind.is_none() {
        return vault; // what a vault of another type may hold is not known
    }
    if let Some(options) = fields.required(report, "options") {
        let mut options = options.fields(report, Place::VaultOptions);
        let opened = |store: Store| store.keys;
        vault.keys = shelf(&mut options, "keys", surroundings, opened, report);
        let opened = |store: Store| store.trust;
        vault.trust = shelf(&mut options, "trust", surroundings, opened, report);
        vault.signers = shelf(&mut options, "signers", surroundings, opened, report);
        if options.has("signers") && !options.has("keys") {
            options
                .item
                .mistake(report, "`signers` choose among `keys`, and there are none");
        }
        options.finish(report);
    }
    fields.finish(report);
    vault
}

fn shelf<T: Aliased>(
    options: &mut Fields<'_>,
    key: &'static str,
    surroundings: &Surroundings<'_>,
    part: impl Fn(Store) -> Vec<T>,
    report: &mut Report,
) -> Shelf<T> {
    let Some(item) = options.optional(key) else {
        return Shelf::Absent;
    };
    let mut fields = item.fields(report, Place::Plain);
    let kind = fields
        .optional("type")
        .map_or(Some(StoreKind::Pkcs12), |item| {
            let words = [
                ("pkcs12", StoreKind::Pkcs12),
                ("jks", StoreKind::Jks),
                ("pem", StoreKind::Pem),
            ];
            item.word(report, Choice::Plain, &words)
        });
    let password = match fields.optional("password") {
        Some(item) => item.scalar(report, "a string").map(Some),
        None => Some(None),
    };
    let path = fields.required(report, "store");
    let wanted = fields.optional("entries").map_or(Some(Vec::new()), |item| {
        item.texts(report, |text| Ok(text.to_owned()))
            .map(|_| item.list(report))
    });
    fields.finish(report);
    let (Some(kind), Some(password), Some(path), Some(wanted)) = (kind, password, path, wanted)
    else {
        return Shelf::Broken;
    };
    let Some(store) = open(&path, kind, password.as_deref(), surroundings, report) else {
        return Shelf::Broken;
    };
    let all: Vec<Arc<T>> = part(store).into_iter().map(Arc::new).collect();
    if all.is_empty() {
        let what = if key == "keys" {
            "private key"
        } else {
            "trusted certificate"
        };
        path.mistake(report, format!("the store has no {what}"));
        return Shelf::Broken;
    }
    if wanted.is_empty() {
        return Shelf::Entries(all);
    }
    chosen(&all, &wanted, report).map_or(Shelf::Broken, Shelf::Entries)
}

/// Those of `all` that `entries` names.
fn chosen<T: Aliased>(
    all: &[Arc<T>],
    entries: &[Item<'_>],
    report: &mut Report,
) -> Option<Vec<Arc<T>>> {
    let mut chosen = Vec::new();
    for item in entries {
        let alias = item.text(report)?;
        match find(all, alias) {
            Ok(entry) => chosen.push(entry),
            Err(hint) => {
                let alias = item.quoted(alias);
                item.mistake(report, format!("the store has no entry {alias}{hint}"));
            }
        }
    }
    (chosen.len() == entries.len()).then_some(chosen)
}

fn open(
    item: &Item<'_>,
    kind: StoreKind,
    password: Option<&str>,
    surroundings: &Surroundings<'_>,
    report: &mut Report,
) -> Option<Store> {
    let name = item.text(report)?;
    let path = surroundings.directory.join(Path::new(name));
    let shown = item.quoted(name);
    let bytes = match (surroundings.read_file)(&path) {
        Ok(bytes) => bytes,
        Err(error) => {
            item.mistake(report, format!("the store {shown} cannot be read: {error}"));
            return None;
        }
    };
    match keystore::open(kind, &bytes, password) {
        Ok(store) => Some(store),
        Err(fault) => {
            item.mistake(report, format!("the store {shown} {fault}"));
            None
        }
    }
}
