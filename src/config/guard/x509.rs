//! `x509` guards: certificates that TLS has verified.

use super::Fields;
use crate::config::fields::Item;
use crate::config::mistake::Report;
use crate::config::plan::{FieldPatterns, X509Guard};
use crate::config::unsupported::Place;

const IDENTITY_DEFAULT: &str = "subject.dn";

/// Reads the options of an `x509` guard.
pub(super) fn read(guard: &mut Fields<'_>, report: &mut Report) -> X509Guard {
    let mut read = X509Guard {
        identity: IDENTITY_DEFAULT.to_owned(),
        attributes: Vec::new(),
        roles: Vec::new(),
    };
    let Some(options) = guard.optional("options") else {
        return read;
    };
    let mut options = options.fields(report, Place::Plain);
    if let Some(item) = options.optional("identity") {
        read.identity = item.parsed(report, field).unwrap_or(read.identity);
    }
    if let Some(item) = options.optional("attributes") {
        for entry in item.entries(report) {
            let field = entry.item.parsed(report, field);
            read.attributes
                .extend(field.map(|field| (entry.key.to_owned(), field)));
        }
    }
    if let Some(item) = options.optional("roles") {
        for entry in item.entries(report) {
            let alternatives = read_alternatives(&entry.item, report);
            read.roles.push((entry.key.to_owned(), alternatives));
        }
    }
    options.finish(report);
    read
}

/// A list of maps from fields to wildcard patterns.
fn read_alternatives(item: &Item<'_>, report: &mut Report) -> Vec<FieldPatterns> {
    let mut alternatives = Vec::new();
    for item in item.list(report) {
        let mut fields = Vec::new();
        for entry in item.entries(report) {
            let name = entry.parsed_key(report, field);
            let pattern = entry.item.text(report).map(str::to_owned);
            fields.extend(name.zip(pattern));
        }
        if item.node.is_empty() {
            // Every certificate would have the role.
            item.mistake(report, "names no field");
        }
        alternatives.push(fields);
    }
    alternatives
}

/// A field of a certificate: an attribute of one of its names, or a whole name.
fn field(text: &str) -> Result<String, String> {
    let attribute = text
        .strip_prefix("subject.")
        .or_else(|| text.strip_prefix("issuer."));
    let is_word =
        |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if attribute.is_some_and(is_word) {
        Ok(text.to_ascii_lowercase())
    } else {
        Err("is not a field (write one as `subject.cn`, `subject.dn` or `issuer.cn`)".to_owned())
    }
}
