//! The templates of a route: parsed, and their names checked against what the route captures.

use crate::config::fields::Item;
use crate::config::mistake::{Report, suggestion};
use crate::route::{Allowed, ExpressionFault, Template, TopicFault, check_topic};

/// Reads the templates of one route.
pub(super) struct Templates<'p> {
    /// The names that every `when.path` of the route captures, if they are known.
    pub(super) params: Option<&'p [String]>,
}

impl Templates<'_> {
    /// A template that may use `allowed`.
    pub(super) fn read(
        &self,
        item: &Item<'_>,
        allowed: Allowed,
        report: &mut Report,
    ) -> Option<Template> {
        let text = item.text(report)?;
        let template = match Template::parse(text, allowed) {
            Ok(template) => template,
            Err(faults) => {
                for fault in &faults {
                    let message = if item.is_secret() {
                        "an expression cannot stand here".to_owned()
                    } else {
                        described(fault)
                    };
                    item.mistake(report, message);
                }
                return None;
            }
        };
        let known = self.params?;
        for name in template
            .params()
            .filter(|name| !known.iter().any(|param| param == name))
        {
            item.mistake(report, unknown_param(name, known));
        }
        Some(template)
    }

    /// The name of a topic.
    pub(super) fn topic(
        &self,
        item: &Item<'_>,
        allowed: Allowed,
        report: &mut Report,
    ) -> Option<Template> {
        let template = self.read(item, allowed, report)?;
        let fault = match template.as_literal() {
            Some(name) => check_topic(name.as_bytes()).err(),
            // What the expressions add is checked per request.
            None => template
                .literals()
                .filter_map(|piece| check_topic(piece.as_bytes()).err())
                .find(|fault| matches!(fault, TopicFault::Character | TopicFault::TooLong)),
        };
        if let Some(fault) = fault {
            let text = item.quoted(item.text(report).unwrap_or_default());
            item.mistake(report, format!("{text} {fault}"));
        }
        Some(template)
    }

    /// A map of Kafka header names and templates.
    pub(super) fn map(
        &self,
        item: &Item<'_>,
        allowed: Allowed,
        report: &mut Report,
    ) -> Vec<(String, Template)> {
        let mut templates = Vec::new();
        for entry in item.entries(report) {
            let template = self.read(&entry.item, allowed, report);
            templates.extend(template.map(|template| (entry.key.to_owned(), template)));
        }
        templates
    }
}

fn unknown_param(name: &str, known: &[String]) -> String {
    let listed = known
        .iter()
        .map(|name| format!("`{name}`"))
        .collect::<Vec<_>>()
        .join(", ");
    let captured = if known.is_empty() {
        "nothing is captured by all".to_owned()
    } else {
        format!("they capture {listed}")
    };
    let hint = suggestion(name, known.iter().map(String::as_str));
    format!(
        "`${{params.{name}}}` is not captured by every `when.path` of the route: {captured}{hint}"
    )
}

fn described(fault: &ExpressionFault) -> String {
    match fault {
        ExpressionFault::Unknown(text) => {
            let word = text.split(['.', '[']).next().unwrap_or_default();
            format!("{fault}{}", suggestion(word, ExpressionFault::KNOWN))
        }
        ExpressionFault::Unclosed(_)
        | ExpressionFault::BadName(_)
        | ExpressionFault::NotHere(_)
        | ExpressionFault::NotSupportedYet(_) => fault.to_string(),
    }
}
