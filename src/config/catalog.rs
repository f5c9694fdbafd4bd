//! `catalogs`: texts of schemas by subject, read while the configuration is checked.
//!
//! What a text means is up to the binding that asks for it. Its one rule: a catalog is local; registries are refused by name.

use std::collections::BTreeMap;
use std::path::Path;

use super::Surroundings;
use super::fields::{Fields, Named};
use super::mistake::{At, Report, suggestion};
use super::node::Value;
use super::reference::Reference;
use super::units;
use super::unsupported::{Choice, Place};

/// The largest schema, in bytes.
const SCHEMA_BYTES_MAX: usize = 1 << 20;

/// A catalog of the file.
#[derive(Debug)]
pub(super) struct Catalog {
    pub(super) namespace: String,
    pub(super) name: String,
    /// `None`: it could not be read; already a mistake.
    pub(super) subjects: Option<BTreeMap<String, Subject>>,
}

/// A subject of a catalog.
#[derive(Clone, Debug)]
pub(super) struct Subject {
    /// What messages call its text: its path, or its place in the configuration.
    pub(super) name: String,
    /// The text; `None`: it could not be read, already a mistake.
    pub(super) text: Option<String>,
    /// Where it stands, for mistakes in the text.
    pub(super) at: (At, String),
}

/// A subject that a binding asks for.
#[derive(Clone, Debug)]
pub(super) struct SubjectReference {
    pub(super) catalog: Reference,
    pub(super) subject: Reference,
}

#[derive(Clone, Copy)]
enum CatalogType {
    Filesystem,
    Inline,
}

/// Reads a catalog of `namespace` and its files.
pub(super) fn read(
    entry: &Named<'_>,
    namespace: &str,
    surroundings: &Surroundings<'_>,
    report: &mut Report,
) -> Catalog {
    entry.parsed_key(report, units::name);
    let mut catalog = Catalog {
        namespace: namespace.to_owned(),
        name: entry.key.to_owned(),
        subjects: None,
    };
    let mut fields = entry.item.fields(report, Place::Plain);
    let types = [
        ("filesystem", CatalogType::Filesystem),
        ("inline", CatalogType::Inline),
    ];
    let kind = fields
        .required(report, "type")
        .and_then(|item| item.word(report, Choice::CatalogType, &types));
    let Some(kind) = kind else {
        return catalog; // what a catalog of another type may hold is not known
    };
    if let Some(options) = fields.required(report, "options") {
        let mut options = options.fields(report, Place::Plain);
        if let Some(subjects) = options.required(report, "subjects") {
            let subjects = subjects.entries(report).into_iter().map(|entry| {
                let subject = match kind {
                    CatalogType::Filesystem => read_file(&entry, surroundings, report),
                    CatalogType::Inline => read_inline(&entry, report),
                };
                (entry.key.to_owned(), subject)
            });
            catalog.subjects = Some(subjects.collect());
        }
        options.finish(report);
    }
    fields.finish(report);
    catalog
}

fn read_file(entry: &Named<'_>, surroundings: &Surroundings<'_>, report: &mut Report) -> Subject {
    let mut subject = Subject {
        name: entry.key.to_owned(),
        text: None,
        at: (entry.item.at, entry.item.path.clone()),
    };
    let mut fields = entry.item.fields(report, Place::Plain);
    if let Some(item) = fields.required(report, "path")
        && let Some(path) = item.text(report)
    {
        path.clone_into(&mut subject.name);
        subject.at = (item.at, item.path.clone());
        match read_text(path, surroundings) {
            Ok(text) => subject.text = Some(text),
            Err(problem) => item.mistake(report, format!("{} {problem}", item.quoted(path))),
        }
    }
    fields.finish(report);
    subject
}

/// The text of a file below the configuration's directory, or wherever else `path` says.
///
/// # Errors
///
/// What is wrong with it, to be said after its name.
pub(super) fn read_text(path: &str, surroundings: &Surroundings<'_>) -> Result<String, String> {
    let path = surroundings.directory.join(Path::new(path));
    let bytes =
        (surroundings.read_file)(&path).map_err(|error| format!("cannot be read: {error}"))?;
    if bytes.len() > SCHEMA_BYTES_MAX {
        return Err(format!("is longer than {} MiB", SCHEMA_BYTES_MAX >> 20));
    }
    String::from_utf8(bytes).map_err(|_| "is not UTF-8".to_owned())
}

fn read_inline(entry: &Named<'_>, report: &mut Report) -> Subject {
    let mut fields = entry.item.fields(report, Place::Plain);
    let item = fields.required(report, "schema");
    // Each subject has one text, so it has one version, whatever it is called.
    if let Some(version) = fields.optional("version") {
        let _ = version.scalar(report, "a version");
    }
    fields.finish(report);
    let at = item.as_ref().unwrap_or(&entry.item);
    Subject {
        name: entry.key.to_owned(),
        text: item
            .as_ref()
            .and_then(|item| item.text(report).map(str::to_owned)),
        at: (at.at, at.path.clone()),
    }
}

/// The `catalog` of a binding: one catalog, and the subjects that are asked of it.
pub(super) fn references(
    fields: &mut Fields<'_>,
    report: &mut Report,
) -> Option<Vec<SubjectReference>> {
    let item = fields.optional("catalog")?;
    let entries = item.entries(report);
    if entries.is_empty() && matches!(item.node.value, Value::Map(_)) {
        item.mistake(report, "the map is empty");
    }
    let (first, others) = entries.split_first()?;
    for other in others {
        let message = "only one catalog can stand here";
        report.mistake(other.key_at, other.item.path.as_str(), message);
    }
    let mut references = Vec::new();
    let items = first.item.list(report);
    if items.is_empty() && first.item.is_list() {
        first.item.mistake(report, "the list is empty");
    }
    for item in items {
        let mut fields = item.fields(report, Place::CatalogReference);
        let subject = fields.required(report, "subject");
        let subject = subject.and_then(|item| Reference::of(&item, report));
        if let Some(version) = fields.optional("version") {
            let _ = version.scalar(report, "a version");
        }
        fields.finish(report);
        references.extend(subject.map(|subject| SubjectReference {
            catalog: Reference::of_key(first),
            subject,
        }));
    }
    Some(references)
}

impl Catalog {
    /// The subject that `reference` asks for; a mistake where there is none.
    pub(super) fn find(&self, reference: &Reference, report: &mut Report) -> Option<&Subject> {
        let subjects = self.subjects.as_ref()?;
        let found = subjects.get(&reference.name);
        if found.is_none() {
            let hint = suggestion(&reference.name, subjects.keys().map(String::as_str));
            let message = format!(
                "the catalog `{}` has no subject called `{}`{hint}",
                self.name, reference.name
            );
            reference.mistake(report, message);
        }
        found
    }
}
