//! `guards`: who may come in, and as whom.

mod jwt;
mod x509;

use super::fields::{Fields, Item, Named};
use super::mistake::Report;
use super::plan::{GuardKind, InlineGuard, Secret};
use super::units;
use super::unsupported::{Choice, Place};

/// A guard of the file.
#[derive(Debug)]
pub(super) struct NamedGuard {
    pub(super) namespace: String,
    pub(super) name: String,
    /// `None`: refused, and already a mistake.
    pub(super) kind: Option<GuardKind>,
}

/// Reads a guard of `namespace`.
pub(super) fn read(entry: &Named<'_>, namespace: &str, report: &mut Report) -> NamedGuard {
    type Read = fn(&mut Fields<'_>, &mut Report) -> Option<GuardKind>;
    entry.parsed_key(report, units::name);
    let mut fields = entry.item.fields(report, Place::Guard);
    let words: [(&str, Read); 3] = [
        ("jwt", |guard, report| {
            jwt::read(guard, report).map(GuardKind::Jwt)
        }),
        ("inline", |guard, report| {
            Some(GuardKind::Inline(inline(guard, report)))
        }),
        ("x509", |guard, report| {
            Some(GuardKind::X509(x509::read(guard, report)))
        }),
    ];
    let read = fields
        .required(report, "type")
        .and_then(|item| item.word(report, Choice::Plain, &words));
    let kind = read.and_then(|read| {
        if let Some(item) = fields.optional("kind") {
            item.warning(report, "`kind` of a guard is Zilla 1.x and says nothing");
        }
        let kind = read(&mut fields, report);
        fields.finish(report);
        kind
    });
    NamedGuard {
        namespace: namespace.to_owned(),
        name: entry.key.to_owned(),
        kind,
    }
}

fn inline(guard: &mut Fields<'_>, report: &mut Report) -> InlineGuard {
    let mut inline = InlineGuard::default();
    if let Some(options) = guard.optional("options") {
        let mut options = options.fields(report, Place::Plain);
        inline.identity = text(&mut options, "identity", report);
        inline.credentials = text(&mut options, "credentials", report).map(Secret::new);
        if let Some(item) = options.optional("format") {
            inline.format = item.parsed(report, format);
        }
        options.finish(report);
    }
    inline
}

/// How identity and credentials stand in one text.
fn format(text: &str) -> Result<String, String> {
    let once = |placeholder: &str| text.matches(placeholder).count() == 1;
    if once("{identity}") && once("{credentials}") {
        Ok(text.to_owned())
    } else {
        Err("needs `{identity}` and `{credentials}`, each once".to_owned())
    }
}

fn text(fields: &mut Fields<'_>, key: &'static str, report: &mut Report) -> Option<String> {
    let item = fields.optional(key)?;
    item.text(report).map(str::to_owned)
}

/// The path of a claim: names with dots between them.
fn claim(item: &Item<'_>, report: &mut Report) -> Option<Vec<String>> {
    item.parsed(report, |text| {
        let steps: Vec<String> = text.split('.').map(str::to_owned).collect();
        if steps.iter().any(String::is_empty) {
            return Err("is not the path of a claim (names with dots between them)".to_owned());
        }
        Ok(steps)
    })
}
