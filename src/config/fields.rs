//! Reading values of the file: the right kind or a mistake, no key left over.
//!
//! Every function that gives `None` for a value that is there has reported why. Its one rule: a check says what it expected
//! and goes on, so that the next mistake is found too.

use super::mistake::{At, Report, suggestion};
use super::node::{Entry, Node, Value};
use super::source::{is_unresolved, names_a_secret};
use super::unsupported::{self, Choice, Place};

/// A value of the file and the keys that lead to it.
#[derive(Clone, Debug)]
pub(super) struct Item<'n> {
    pub(super) node: &'n Node,
    pub(super) path: String,
    pub(super) at: At,
}

impl<'n> Item<'n> {
    /// A document.
    pub(super) fn root(node: &'n Node) -> Self {
        Self {
            node,
            path: String::new(),
            at: node.at.unwrap_or(At::START),
        }
    }

    fn under(&self, node: &'n Node, at: At, step: &str) -> Self {
        Self {
            node,
            path: format!("{}{step}", self.path),
            at: node.at.unwrap_or(at),
        }
    }

    fn entry(&self, entry: &'n Entry) -> Self {
        self.under(&entry.node, entry.key_at, &self.step(&entry.key))
    }

    /// How `key` continues the path.
    fn step(&self, key: &str) -> String {
        let plain = key
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
        match (plain && !key.is_empty(), self.path.is_empty()) {
            (true, true) => key.to_owned(),
            (true, false) => format!(".{key}"),
            (false, _) => format!("['{}']", key.escape_debug()),
        }
    }

    /// Reports a mistake at this value.
    pub(super) fn mistake(&self, report: &mut Report, message: impl Into<String>) {
        report.mistake(self.at, self.path.as_str(), message);
    }

    /// Reports a warning at this value.
    pub(super) fn warning(&self, report: &mut Report, message: impl Into<String>) {
        report.warning(self.at, self.path.as_str(), message);
    }

    /// `text` in backticks, or stars if a key on the way here says that it is a secret.
    pub(super) fn quoted(&self, text: &str) -> String {
        const SHOWN_MAX: usize = 100;
        if self.is_secret() {
            return "`***`".to_owned();
        }
        let mut shown: String = text.chars().take(SHOWN_MAX).collect();
        if shown.contains(|letter: char| letter.is_control()) {
            shown = shown.escape_debug().to_string();
        }
        let rest = if text.chars().nth(SHOWN_MAX).is_some() {
            "…"
        } else {
            ""
        };
        format!("`{shown}{rest}`")
    }

    fn expected(&self, report: &mut Report, what: &str) {
        if matches!(self.node.value, Value::Unresolved(_) | Value::Tagged(_)) {
            return; // reported for every value, wherever it stands
        }
        let hint = match &self.node.value {
            Value::Number(_) | Value::Bool(_) if what == "a string" => " (put it in quotes)",
            _ => "",
        };
        self.mistake(
            report,
            format!("expected {what}, found {}{hint}", self.node.kind()),
        );
    }

    /// A string.
    pub(super) fn text(&self, report: &mut Report) -> Option<&'n str> {
        if let Value::Text(text) = &self.node.value {
            return Some(text);
        }
        self.expected(report, "a string");
        None
    }

    /// `true` or `false`.
    pub(super) fn boolean(&self, report: &mut Report) -> Option<bool> {
        if let Value::Bool(value) = self.node.value {
            return Some(value);
        }
        self.expected(report, "`true` or `false`");
        None
    }

    /// The texts of a list, each read by `parse`; an empty list is a mistake, `None` when there was one.
    pub(super) fn texts<T>(
        &self,
        report: &mut Report,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<Vec<T>> {
        let items = self.list(report);
        if items.is_empty() && self.is_list() {
            self.mistake(report, "the list is empty");
        }
        let parsed = items.iter().filter_map(|item| item.parsed(report, &parse));
        let parsed: Vec<T> = parsed.collect();
        (!parsed.is_empty() && parsed.len() == items.len()).then_some(parsed)
    }

    /// A string, number or boolean as text: for options whose notation is their own.
    pub(super) fn scalar(&self, report: &mut Report, what: &str) -> Option<String> {
        match &self.node.value {
            Value::Text(text) | Value::Number(text) => Some(text.clone()),
            Value::Bool(value) => Some(value.to_string()),
            _ => {
                self.expected(report, what);
                None
            }
        }
    }

    /// A value with a notation of its own, read by `parse`; a bare number gets there too, to be told what it lacks.
    pub(super) fn notation<T>(
        &self,
        report: &mut Report,
        what: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let text = self.scalar(report, what)?;
        self.judged(report, &text, parse(&text))
    }

    /// The value of `result`, or `None` and a mistake made of `text` and what is wrong with it.
    pub(super) fn judged<T>(
        &self,
        report: &mut Report,
        text: &str,
        result: Result<T, String>,
    ) -> Option<T> {
        let problem = match result {
            Ok(value) => return Some(value),
            Err(problem) => problem,
        };
        let text = self.quoted(text);
        // Advice may repeat the text.
        let problem = if self.is_secret() {
            "cannot stand here"
        } else {
            &problem
        };
        self.mistake(report, format!("{text} {problem}"));
        None
    }

    /// Whether a key on the way here says that the value is nobody's business.
    pub(super) fn is_secret(&self) -> bool {
        names_a_secret(&self.path)
    }

    /// Whether it is a list.
    pub(super) fn is_list(&self) -> bool {
        matches!(self.node.value, Value::List(_))
    }

    /// A whole number from `low` to `high`.
    pub(super) fn integer(&self, report: &mut Report, low: i64, high: i64) -> Option<i64> {
        let (Value::Number(text) | Value::Text(text)) = &self.node.value else {
            self.expected(report, "a whole number");
            return None;
        };
        let number = text
            .parse::<i64>()
            .ok()
            .filter(|number| (low..=high).contains(number));
        if number.is_none() {
            let text = self.quoted(text);
            self.mistake(
                report,
                format!("{text} is not a whole number from {low} to {high}"),
            );
        }
        number
    }

    /// A string read by `parse`, whose error is the message.
    pub(super) fn parsed<T>(
        &self,
        report: &mut Report,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let text = self.text(report)?;
        self.judged(report, text, parse(text))
    }

    /// One of a few words.
    pub(super) fn word<T: Copy>(
        &self,
        report: &mut Report,
        choice: Choice,
        words: &[(&str, T)],
    ) -> Option<T> {
        let text = self.text(report)?;
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
            return Some(*value);
        }
        let later = unsupported::words(choice);
        let shown = self.quoted(text);
        if later.contains(&text) {
            self.mistake(report, format!("{shown} is not supported yet"));
        } else {
            let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            let listed = known
                .iter()
                .map(|word| format!("`{word}`"))
                .collect::<Vec<_>>()
                .join(", ");
            let hint = suggestion(text, known.iter().chain(later).copied());
            let hint = if hint.is_empty() {
                format!(" (expected {listed})")
            } else {
                hint
            };
            self.mistake(report, format!("unknown value {shown}{hint}"));
        }
        None
    }

    /// The items of a list; an empty one when it is none.
    pub(super) fn list(&self, report: &mut Report) -> Vec<Self> {
        let Value::List(items) = &self.node.value else {
            self.expected(report, "a list");
            return Vec::new();
        };
        let numbered = items.iter().enumerate();
        numbered
            .map(|(index, item)| self.under(item, self.at, &format!("[{index}]")))
            .collect()
    }

    /// The entries of a map whose keys are the user's own; empty when it is none.
    pub(super) fn entries(&self, report: &mut Report) -> Vec<Named<'n>> {
        let Value::Map(entries) = &self.node.value else {
            self.expected(report, "a map");
            return Vec::new();
        };
        let named = |entry: &'n Entry| Named {
            key: &entry.key,
            key_at: entry.key_at,
            item: self.entry(entry),
        };
        entries.iter().map(named).collect()
    }

    /// The entries of a map whose keys are the file format's; none when it is no map.
    pub(super) fn fields(&self, report: &mut Report, place: Place) -> Fields<'n> {
        Fields {
            entries: self.entries(report),
            item: self.clone(),
            place,
            asked: Vec::new(),
            misplaced: Vec::new(),
        }
    }
}

/// An entry of a map whose keys are the user's own.
#[derive(Clone, Debug)]
pub(super) struct Named<'n> {
    pub(super) key: &'n str,
    pub(super) key_at: At,
    pub(super) item: Item<'n>,
}

impl Named<'_> {
    /// The key read by `parse`, whose error is the message.
    pub(super) fn parsed_key<T>(
        &self,
        report: &mut Report,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let problem = match parse(self.key) {
            Ok(value) => return Some(value),
            Err(problem) => problem,
        };
        if !is_unresolved(self.key) {
            let key = self.item.quoted(self.key);
            report.mistake(
                self.key_at,
                self.item.path.as_str(),
                format!("{key} {problem}"),
            );
        }
        None
    }
}

/// A map with known keys; [`finish`](Self::finish) reports those that nobody asked for.
#[derive(Debug)]
pub(super) struct Fields<'n> {
    pub(super) item: Item<'n>,
    place: Place,
    entries: Vec<Named<'n>>,
    asked: Vec<&'static str>,
    misplaced: Vec<(&'static str, &'static str)>,
}

impl<'n> Fields<'n> {
    /// The value of `key`, if it is there.
    pub(super) fn optional(&mut self, key: &'static str) -> Option<Item<'n>> {
        if !self.asked.contains(&key) {
            self.asked.push(key);
        }
        self.entries
            .iter()
            .find(|entry| entry.key == key)
            .map(|entry| entry.item.clone())
    }

    /// The value of `key`; a mistake if it is not there.
    pub(super) fn required(&mut self, report: &mut Report, key: &'static str) -> Option<Item<'n>> {
        let found = self.optional(key);
        // A value of the wrong kind has been reported; what it lacks is no second mistake.
        if found.is_none() && matches!(self.item.node.value, Value::Map(_)) {
            self.item.mistake(report, format!("missing key `{key}`"));
        }
        found
    }

    /// The items of the list under `key`; empty when there is none.
    pub(super) fn list(&mut self, report: &mut Report, key: &'static str) -> Vec<Item<'n>> {
        self.optional(key)
            .map_or_else(Vec::new, |item| item.list(report))
    }

    /// Whether `key` is there.
    pub(super) fn has(&self, key: &str) -> bool {
        self.entries.iter().any(|entry| entry.key == key)
    }

    /// Says of `key`, if it is there, what is wrong with having it here.
    pub(super) fn misplaced(&mut self, key: &'static str, message: &'static str) {
        self.misplaced.push((key, message));
    }

    /// Narrows the place once the binding's type is known.
    pub(super) fn narrow(&mut self, place: Place) {
        self.place = place;
    }

    /// Reports every key that was not asked for.
    pub(super) fn finish(self, report: &mut Report) {
        let later = unsupported::keys(self.place);
        let left_over =
            |entry: &&Named<'_>| !self.asked.contains(&entry.key) && !is_unresolved(entry.key);
        for entry in self.entries.iter().filter(left_over) {
            let misplaced = self.misplaced.iter().find(|(key, _)| *key == entry.key);
            let message = if let Some((_, message)) = misplaced {
                (*message).to_owned()
            } else if later.contains(&entry.key) {
                if entry.item.node.is_empty() {
                    continue; // asks for nothing, so nothing is ignored
                }
                "not supported yet".to_owned()
            } else {
                format!(
                    "unknown key{}",
                    suggestion(entry.key, self.asked.iter().chain(later).copied())
                )
            };
            report.mistake(entry.key_at, entry.item.path.as_str(), message);
        }
    }
}
