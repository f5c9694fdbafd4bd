//! What is wrong in a `.proto` file, and where.
//!
//! From the compiler's diagnostics to lines of the configuration's report. Its one rule: a mistake names a place that an editor can open.

use std::fmt;

use miette::{Diagnostic, LabeledSpan};

/// Something wrong in a `.proto` file; none of the files is used.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProtoMistake {
    /// The file as it was named, or as it was imported.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1. Behind letters that are not ASCII the compiler counts too far, by their further bytes.
    pub column: usize,
    /// What is wrong, and how to mend it if the compiler knows.
    pub message: String,
}

impl fmt::Display for ProtoMistake {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            file,
            line,
            column,
            message,
        } = self;
        write!(formatter, "{file}:{line}:{column}: {message}")
    }
}

impl std::error::Error for ProtoMistake {}

/// All that the compiler found in one file; `text` is the one of the file that it names, as far as that is known.
pub(super) fn mistakes<'t>(
    error: &protox::Error,
    opened: &str,
    text: impl Fn(&str) -> Option<&'t str>,
) -> Vec<ProtoMistake> {
    let file = error.file().unwrap_or(opened);
    let text = text(file).unwrap_or_default();
    let related = error.related().into_iter().flatten();
    std::iter::once(error as &dyn Diagnostic)
        .chain(related)
        .map(|diagnostic| mistake(diagnostic, file, text))
        .collect()
}

fn mistake(diagnostic: &dyn Diagnostic, file: &str, text: &str) -> ProtoMistake {
    let offset = primary_label(diagnostic).map_or(0, |label| label.offset());
    let (line, column) = place(text, offset);
    let message = match diagnostic.help() {
        Some(help) => format!("{diagnostic} ({help})"),
        None => diagnostic.to_string(),
    };
    ProtoMistake {
        file: file.to_owned(),
        line,
        column,
        message,
    }
}

/// The label at what is wrong, rather than at what it is in conflict with.
fn primary_label(diagnostic: &dyn Diagnostic) -> Option<LabeledSpan> {
    let labels: Vec<_> = diagnostic.labels()?.collect();
    let is_wrong =
        |label: &&LabeledSpan| matches!(label.label(), Some("found here" | "defined again here"));
    labels.iter().find(is_wrong).or(labels.first()).cloned()
}

/// Line and column, from 1, of a byte of `text`.
fn place(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    let line = before.matches('\n').count() + 1;
    (line, before[line_start..].chars().count() + 1)
}
