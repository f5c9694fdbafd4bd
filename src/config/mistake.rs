//! Mistakes in a configuration file, and where they are.
//!
//! Every check writes into one [`Report`] and goes on, so that a user sees all mistakes at once.

use std::fmt;
use std::sync::Arc;

use super::source::Source;

/// Something wrong in a configuration file; it is not loaded.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mistake {
    /// The file as the caller named it.
    pub file: Arc<str>,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// The keys that lead to the place, such as `bindings.http.routes[0].exit`; empty for the file as a whole.
    pub path: String,
    /// What is wrong, and what to write instead if that is known. Never holds a secret.
    pub message: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}:{}: ", self.file, self.line, self.column)?;
        if !self.path.is_empty() {
            write!(formatter, "{}: ", self.path)?;
        }
        formatter.write_str(&self.message)
    }
}

impl std::error::Error for Mistake {}

/// Something odd in a configuration file that is loaded nevertheless.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Warning(pub Mistake);

impl fmt::Display for Warning {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// A place in the text that the YAML parser saw: after substitution, line and column from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct At {
    pub(super) line: usize,
    pub(super) column: usize,
}

impl At {
    pub(super) const START: Self = Self { line: 1, column: 1 };
}

/// Where a remark points to.
#[derive(Clone, Copy, Debug)]
pub(super) enum Spot {
    /// Into the substituted text.
    Substituted(At),
    /// A byte of the original text.
    Original(usize),
}

impl From<At> for Spot {
    fn from(at: At) -> Self {
        Self::Substituted(at)
    }
}

/// Everything found so far, in no order.
#[derive(Debug, Default)]
pub(super) struct Report {
    mistakes: Vec<Remark>,
    warnings: Vec<Remark>,
}

#[derive(Debug)]
struct Remark {
    spot: Spot,
    path: String,
    message: String,
}

impl Report {
    pub(super) fn mistake(
        &mut self,
        spot: impl Into<Spot>,
        path: impl Into<String>,
        message: impl Into<String>,
    ) {
        self.mistakes.push(Remark {
            spot: spot.into(),
            path: path.into(),
            message: message.into(),
        });
    }

    pub(super) fn warning(
        &mut self,
        spot: impl Into<Spot>,
        path: impl Into<String>,
        message: impl Into<String>,
    ) {
        self.warnings.push(Remark {
            spot: spot.into(),
            path: path.into(),
            message: message.into(),
        });
    }

    pub(super) fn has_mistakes(&self) -> bool {
        !self.mistakes.is_empty()
    }

    /// How many mistakes there are so far.
    pub(super) fn mistake_count(&self) -> usize {
        self.mistakes.len()
    }

    /// The warnings if there are no mistakes, else the mistakes; in the order of the file, places as in the original text.
    pub(super) fn finish(self, file: &str, source: &Source) -> Result<Vec<Warning>, Vec<Mistake>> {
        let file: Arc<str> = file.into();
        let locate = |remarks: Vec<Remark>| {
            let mut located: Vec<Mistake> = remarks
                .into_iter()
                .map(|remark| remark.locate(&file, source))
                .collect();
            located.sort();
            located.dedup();
            located
        };
        if self.mistakes.is_empty() {
            Ok(locate(self.warnings).into_iter().map(Warning).collect())
        } else {
            Err(locate(self.mistakes))
        }
    }
}

impl Remark {
    fn locate(self, file: &Arc<str>, source: &Source) -> Mistake {
        let at = source.locate(self.spot);
        Mistake {
            file: Arc::clone(file),
            line: at.line,
            column: at.column,
            path: source.masked(self.path),
            message: source.masked(self.message),
        }
    }
}

/// The word of `known` that `word` was probably meant to be.
pub(super) fn nearest<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    const LENGTH_MAX: usize = 64;
    const CANDIDATES_MAX: usize = 1_000;
    let word: Vec<char> = word
        .chars()
        .map(|letter| letter.to_ascii_lowercase())
        .take(LENGTH_MAX + 1)
        .collect();
    if word.len() > LENGTH_MAX {
        return None;
    }
    // One slip is always believed, more only in longer words.
    let distance_max = (word.len() / 3).clamp(1, 4);
    known
        .into_iter()
        .take(CANDIDATES_MAX)
        .filter(|candidate| candidate.len() <= LENGTH_MAX)
        .map(|candidate| (distance(&word, candidate), candidate))
        .filter(|(distance, candidate)| {
            *distance <= distance_max && *distance < candidate.chars().count()
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// ` (did you mean …?)`, or nothing.
pub(super) fn suggestion<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> String {
    nearest(word, known).map_or_else(String::new, |word| format!(" (did you mean `{word}`?)"))
}

/// Edit distance where swapping two neighbours is one edit (optimal string alignment).
fn distance(word: &[char], candidate: &str) -> usize {
    let candidate: Vec<char> = candidate
        .chars()
        .map(|letter| letter.to_ascii_lowercase())
        .collect();
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=candidate.len()).collect();
    for (row, letter) in word.iter().enumerate() {
        let mut current = vec![row + 1];
        for (column, other) in candidate.iter().enumerate() {
            let replaced = last[column] + usize::from(letter != other);
            let mut best = replaced.min(last[column + 1] + 1).min(current[column] + 1);
            let swapped = row > 0
                && column > 0
                && word[row - 1] == *other
                && *letter == candidate[column - 1];
            if swapped {
                best = best.min(before_last[column - 1] + 1);
            }
            current.push(best);
        }
        before_last = std::mem::replace(&mut last, current);
    }
    last[candidate.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_recognised_and_a_stranger_is_not() {
        let known = ["topic", "key", "overrides", "http", "tcp"];
        assert_eq!(nearest("tpoic", known), Some("topic"));
        assert_eq!(nearest("Topics", known), Some("topic"));
        assert_eq!(nearest("htp", known), Some("http"));
        assert_eq!(nearest("override", known), Some("overrides"));
        assert_eq!(nearest("colour", known), None);
        assert_eq!(nearest("x", known), None);
        assert_eq!(nearest("", known), None);
        assert_eq!(nearest(&"x".repeat(100_000), known), None);
    }
}
