//! `jwt` guards: signed tokens (RFC 7519) and the keys that may sign them (RFC 7517).

use std::collections::BTreeSet;
use std::time::Duration;

use super::{claim, text};
use crate::config::fields::{Fields, Item};
use crate::config::mistake::Report;
use crate::config::plan::{JwkSource, JwtGuard, JwtKeys};
use crate::config::unsupported::{Choice, Place};

const ROLES_DEFAULT: &str = "scope";
const IDENTITY_DEFAULT: &str = "sub";
/// Below an issuer's URL, as in Zilla.
const KEYS_PATH: &str = ".well-known/jwks.json";
/// The longest time before a token's expiry that a stream is challenged: a day, in seconds.
const CHALLENGE_SECS_MAX: i64 = 86_400;

/// Reads the options of a `jwt` guard.
pub(super) fn read(guard: &mut Fields<'_>, report: &mut Report) -> Option<JwtGuard> {
    let options = guard.required(report, "options")?;
    let mut options = options.fields(report, Place::Plain);
    let issuer = needed(&mut options, "issuer", report);
    let audience = needed(&mut options, "audience", report);
    let keys = match options.optional("keys") {
        Some(item) => read_keys(&item, report),
        None => issuer
            .as_ref()
            .and_then(|issuer| derived_keys(issuer, &options.item, report)),
    };
    let roles = read_claim(&mut options, "roles", ROLES_DEFAULT, report);
    let identity = read_claim(&mut options, "identity", IDENTITY_DEFAULT, report);
    let mut attributes = Vec::new();
    if let Some(item) = options.optional("attributes") {
        for entry in item.entries(report) {
            let path = claim(&entry.item, report);
            attributes.extend(path.map(|path| (entry.key.to_owned(), path)));
        }
    }
    let challenge = options
        .optional("challenge")
        .and_then(|item| item.integer(report, 0, CHALLENGE_SECS_MAX))
        .and_then(|seconds| u64::try_from(seconds).ok())
        .filter(|seconds| *seconds > 0)
        .map(Duration::from_secs);
    options.finish(report);
    Some(JwtGuard {
        issuer: issuer?,
        audience: audience?,
        keys: keys?,
        roles,
        identity,
        attributes,
        challenge,
    })
}

/// What Zilla's schema leaves out at the price of refusing every token.
fn needed(options: &mut Fields<'_>, key: &'static str, report: &mut Report) -> Option<String> {
    if !options.has(key) {
        let _ = options.optional(key);
        options.item.mistake(
            report,
            format!("missing key `{key}`: every token would be refused"),
        );
        return None;
    }
    let found = text(options, key, report)?;
    if found.is_empty()
        && let Some(item) = options.optional(key)
    {
        item.mistake(report, "is empty: every token would be refused");
    }
    Some(found)
}

/// Where the keys of `issuer` are if the options do not say.
fn derived_keys(issuer: &str, options: &Item<'_>, report: &mut Report) -> Option<JwtKeys> {
    let url = format!("{}/{KEYS_PATH}", issuer.trim_end_matches('/'));
    if check_url(&url).is_err() {
        options.mistake(
            report,
            "missing key `keys` (they are found by an `issuer` that is a URL only)",
        );
        return None;
    }
    Some(JwtKeys::Url(url))
}

fn read_claim(
    options: &mut Fields<'_>,
    key: &'static str,
    default: &str,
    report: &mut Report,
) -> Vec<String> {
    options
        .optional(key)
        .and_then(|item| claim(&item, report))
        .unwrap_or_else(|| vec![default.to_owned()])
}

fn read_keys(item: &Item<'_>, report: &mut Report) -> Option<JwtKeys> {
    if !item.is_list() {
        let url = item.notation(report, "a list of keys or a URL", |text| {
            check_url(text).map(|()| text.to_owned())
        });
        return url.map(JwtKeys::Url);
    }
    let items = item.list(report);
    if items.is_empty() {
        item.mistake(report, "the list is empty");
    }
    let mut ids = BTreeSet::new();
    let mut keys = Vec::new();
    for item in &items {
        let key = read_key(item, report);
        if !key.kid.is_empty() && !ids.insert(key.kid.clone()) {
            item.mistake(
                report,
                format!("an earlier key has the `kid` `{}` too", key.kid),
            );
        }
        keys.push(key);
    }
    Some(JwtKeys::Inline(keys))
}

fn check_url(text: &str) -> Result<(), String> {
    let address = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"));
    let is_text = text.bytes().all(|byte| byte.is_ascii_graphic());
    if is_text && address.is_some_and(|address| !address.is_empty() && !address.starts_with('/')) {
        Ok(())
    } else {
        Err("is not a URL (write one as `https://example.com/jwks.json`)".to_owned())
    }
}

fn read_key(item: &Item<'_>, report: &mut Report) -> JwkSource {
    let mut fields = item.fields(report, Place::Plain);
    let words = [("RSA", "RSA"), ("EC", "EC"), ("OKP", "OKP")];
    let kty = fields
        .required(report, "kty")
        .and_then(|item| item.word(report, Choice::Plain, &words));
    let kid = fields
        .required(report, "kid")
        .and_then(|item| item.text(report));
    if !fields.has("alg") {
        item.mistake(report, "missing key `alg`: no token could match");
    }
    let key = JwkSource {
        kty: kty.unwrap_or_default().to_owned(),
        kid: kid.unwrap_or_default().to_owned(),
        alg: text(&mut fields, "alg", report),
        usage: text(&mut fields, "use", report),
        n: text(&mut fields, "n", report),
        e: text(&mut fields, "e", report),
        crv: text(&mut fields, "crv", report),
        x: text(&mut fields, "x", report),
        y: text(&mut fields, "y", report),
    };
    fields.finish(report);
    key
}
