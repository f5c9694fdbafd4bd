//! `options.access-control` of an `http` server: whose scripts may read answers (CORS, the Fetch standard).

use std::time::Duration;

use crate::config::fields::{Fields, Item};
use crate::config::mistake::Report;
use crate::config::plan::{AccessControl, CrossOrigin};
use crate::config::units;
use crate::config::unsupported::{Choice, Place};

/// The longest `max-age`: a year, in seconds. Browsers keep much less.
const MAX_AGE_SECS_MAX: i64 = 31_536_000;

/// Reads the policy and, of `cross-origin`, whom it lets in.
pub(super) fn read(item: &Item<'_>, report: &mut Report) -> AccessControl {
    let mut fields = item.fields(report, Place::Plain);
    let words = [("same-origin", false), ("cross-origin", true)];
    let policy = fields
        .required(report, "policy")
        .and_then(|item| item.word(report, Choice::Plain, &words));
    if policy == Some(false) {
        for key in ["allow", "max-age", "expose"] {
            fields.misplaced(key, "only with `policy: cross-origin`");
        }
        fields.finish(report);
        return AccessControl::SameOrigin;
    }
    let allowed = read_cross_origin(&mut fields, report);
    fields.finish(report);
    AccessControl::CrossOrigin(allowed)
}

fn read_cross_origin(fields: &mut Fields<'_>, report: &mut Report) -> CrossOrigin {
    let mut allowed = CrossOrigin::default();
    if let Some(item) = fields.optional("allow") {
        let mut allow = item.fields(report, Place::Plain);
        allowed.origins = texts(&mut allow, "origins", origin, report);
        allowed.methods = texts(&mut allow, "methods", method, report);
        allowed.headers = texts(&mut allow, "headers", header, report);
        let credentials = allow
            .optional("credentials")
            .and_then(|item| item.boolean(report));
        allowed.credentials = credentials.unwrap_or_default();
        if allowed.credentials && !allow.has("origins") {
            item.warning(
                report,
                "without `origins` every site may act with the credentials of its visitors",
            );
        }
        allow.finish(report);
    }
    if let Some(item) = fields.optional("expose") {
        let mut expose = item.fields(report, Place::Plain);
        allowed.expose = texts(&mut expose, "headers", header, report);
        expose.finish(report);
    }
    let seconds = fields
        .optional("max-age")
        .and_then(|item| item.integer(report, 0, MAX_AGE_SECS_MAX));
    allowed.max_age = seconds
        .and_then(|seconds| u64::try_from(seconds).ok())
        .map(Duration::from_secs);
    allowed
}

fn texts(
    fields: &mut Fields<'_>,
    key: &'static str,
    parse: fn(&str) -> Result<String, String>,
    report: &mut Report,
) -> Option<Vec<String>> {
    let item = fields.optional(key)?;
    item.texts(report, |text| {
        if text == "*" {
            return Err(format!("is not needed (leave out `{key}` for all)"));
        }
        parse(text)
    })
}

/// An origin as browsers write it (RFC 6454 section 6.2): scheme, host, and the port if it is not the scheme's.
fn origin(text: &str) -> Result<String, String> {
    let wrong = || "is not an origin (write one as `https://example.com`)".to_owned();
    let authority = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"));
    let authority = authority.ok_or_else(wrong)?;
    let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
    if authority.is_empty() || !authority.bytes().all(is_host) {
        return Err(wrong());
    }
    Ok(text.to_ascii_lowercase())
}

fn method(text: &str) -> Result<String, String> {
    units::header_name(text, false).map_err(|_| "is not a method".to_owned())?;
    Ok(text.to_owned())
}

fn header(text: &str) -> Result<String, String> {
    units::header_name(text, false)
}
