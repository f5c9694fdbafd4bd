//! Routes that answer with records: `capability: fetch`.

use crate::config::fields::{Fields, Item};
use crate::config::mistake::Report;
use crate::config::plan::With;
use crate::config::templates::Templates;
use crate::config::unsupported::Place;
use crate::route::Template;

/// Reads what a fetch route has besides the topic.
pub(super) fn read(
    fields: &mut Fields<'_>,
    topic: Option<Template>,
    templates: &Templates,
    report: &mut Report,
) -> Option<With> {
    fields.narrow(Place::Fetch);
    for key in [
        "acks",
        "key",
        "overrides",
        "reply-to",
        "correlation-id",
        "async",
    ] {
        fields.misplaced(key, "only with `capability: produce`");
    }
    let filters = templates.filters(fields, report);
    let merge = fields.optional("merge");
    if let Some(item) = &merge {
        check_merge(item, report);
    }
    Some(With::Fetch {
        topic: topic?,
        filters,
        merge: merge.is_some(),
    })
}

/// `merge` has one form, written out with constants.
fn check_merge(item: &Item<'_>, report: &mut Report) {
    let mut fields = item.fields(report, Place::Plain);
    let content_type = fields.required(report, "content-type");
    check_constant(content_type, "application/json", report);
    if let Some(patch) = fields.optional("patch") {
        let mut patch = patch.fields(report, Place::Plain);
        for (key, constant) in [("initial", "[]"), ("path", "/-")] {
            let item = patch.required(report, key);
            check_constant(item, constant, report);
        }
        patch.finish(report);
    }
    fields.finish(report);
}

fn check_constant(item: Option<Item<'_>>, constant: &str, report: &mut Report) {
    let Some(item) = item else { return };
    let Some(text) = item.text(report) else {
        return;
    };
    if text != constant {
        let text = item.quoted(text);
        item.mistake(
            report,
            format!("{text} cannot stand here, only `{constant}` can"),
        );
    }
}
