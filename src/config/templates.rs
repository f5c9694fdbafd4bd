//! The templates of a route: parsed, and their names checked against what the route captures.

use std::cell::RefCell;

use super::fields::{Fields, Item};
use super::mistake::{Report, suggestion};
use super::plan::Filter;
use super::reference::Reference;
use super::unsupported::Place;
use crate::route::{Allowed, ExpressionFault, PathTemplate, Template, TopicFault, check_topic};

/// Reads the templates of one route.
pub(super) struct Templates {
    /// The names that every `when.path` of the route captures, if they are known.
    params: Option<Vec<String>>,
    /// The guards that templates ask, each where it is asked.
    asked: RefCell<Vec<Reference>>,
}

impl Templates {
    /// Templates of a route that captures `params`; `None`: nobody knows what, a condition could not be read.
    pub(super) fn new(params: Option<Vec<String>>) -> Self {
        Self {
            params,
            asked: RefCell::default(),
        }
    }

    /// The guards that the templates ask.
    pub(super) fn into_asked(self) -> Vec<Reference> {
        self.asked.into_inner()
    }

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
        let asked = template.guards().map(|name| Reference {
            name: name.to_owned(),
            at: item.at,
            path: item.path.clone(),
        });
        self.asked.borrow_mut().extend(asked);
        let known = self.params.as_deref()?;
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

    /// The `filters` of a route that reads records.
    pub(super) fn filters(&self, fields: &mut Fields<'_>, report: &mut Report) -> Vec<Filter> {
        self.filters_of(fields, Allowed::REQUEST | Allowed::GUARDED, report)
    }

    /// The `filters` of a route that reads records, with what their values may use.
    pub(super) fn filters_of(
        &self,
        fields: &mut Fields<'_>,
        allowed: Allowed,
        report: &mut Report,
    ) -> Vec<Filter> {
        let mut filters = Vec::new();
        for item in fields.list(report, "filters") {
            let mut filter = item.fields(report, Place::Plain);
            let key = filter
                .optional("key")
                .and_then(|item| self.read(&item, allowed, report));
            let headers = filter.optional("headers");
            let headers = headers.map_or_else(Vec::new, |item| self.map(&item, allowed, report));
            filter.finish(report);
            filters.push(Filter { key, headers });
        }
        filters
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

/// Reads the `path` of a condition, in which names in braces capture.
pub(super) fn read_path(fields: &mut Fields<'_>, report: &mut Report) -> Option<PathTemplate> {
    let item = fields.optional("path")?;
    item.parsed(report, |text| {
        if text.contains('?') {
            return Err(
                "has a query, which is no part of the path (use `${query.name}` in `with`)"
                    .to_owned(),
            );
        }
        PathTemplate::parse(text).map_err(|fault| fault.to_string())
    })
}

/// The names that every condition captures: only these have a value whichever of them matched.
pub(super) fn params_of_all<'w>(
    mut paths: impl Iterator<Item = Option<&'w PathTemplate>>,
) -> Vec<String> {
    let names = |path: Option<&PathTemplate>| -> Vec<String> {
        path.iter()
            .flat_map(|path| path.names().map(str::to_owned))
            .collect()
    };
    let mut common = paths.next().map_or_else(Vec::new, names);
    for other in paths {
        let captured = names(other);
        common.retain(|name| captured.contains(name));
    }
    common
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
        | ExpressionFault::BadGuarded(_)
        | ExpressionFault::NotHere(_) => fault.to_string(),
    }
}
