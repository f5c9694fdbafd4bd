//! Requests with a reply: the record that carries one, its correlation id, and the answer made from the reply.
//!
//! Rule: names, order and hash are Zilla's, so that both give the same id to the same request and either finds what the other began.

use std::borrow::Cow;

use bytes::Bytes;
use md5::{Digest, Md5};

use super::{Ids, render_topic};
use crate::config::{Acks, AsyncHeader, HttpKafka, Reply};
use crate::error::RequestError;
use crate::http::{Body, ResponseHead};
use crate::kafka::producer::Record;
use crate::mapping::http_kafka::fetch::Answer;
use crate::mapping::prefer::Prefer;
use crate::mapping::progress::if_match;
use crate::mapping::request::{Request, RequestScope, authority_with_port, path_and_query};
use crate::route::{BodyPointer, Scope, Template};

/// Tries to make an id that belongs to the core that makes it; beyond, any will do.
const OWN_ID_TRIES: u64 = 256;
/// The hash of an id and the `-` before it.
const HASH_LEN: usize = 33;

/// A record to be stored, whose reply is the answer.
#[derive(Debug)]
pub struct Submission {
    /// What ties the reply to it.
    pub id: Bytes,
    /// Whether the id is of our own making: nobody can have used it before.
    pub is_ours: bool,
    /// Where the reply will come.
    pub reply_topic: String,
    /// The record header that holds the id there.
    pub reply_header: String,
    /// When it counts as stored.
    pub acks: Acks,
    /// The record, whole.
    pub record: Record,
    /// What the client prefers.
    pub prefer: Prefer,
    /// The headers of a 202, if one is wanted and offered.
    pub accepted: Option<Vec<(String, Vec<u8>)>>,
}

/// A question for the reply to an earlier request.
#[derive(Debug)]
pub struct StatusRequest {
    /// What ties the reply to that request.
    pub id: Bytes,
    /// The record header that holds it.
    pub reply_header: String,
    /// What the client prefers.
    pub prefer: Prefer,
    /// The headers of a 202.
    pub accepted: Vec<(String, Vec<u8>)>,
}

/// What a route says of its records.
#[derive(Clone, Copy)]
pub(super) struct RecordTemplate<'r> {
    pub(super) acks: Acks,
    pub(super) key: Option<&'r Template>,
    pub(super) overrides: &'r [(String, Template)],
    pub(super) reply: &'r Reply,
}

/// Whether the request asks for the reply to an earlier one; with the reply topic.
pub(super) fn status(
    binding: &HttpKafka,
    reply: &Reply,
    scope: &RequestScope<'_>,
) -> Result<Option<(String, Box<StatusRequest>)>, RequestError> {
    if !matches!(scope.request.method(), "GET" | "HEAD") {
        return Ok(None);
    }
    let mut patterns = reply
        .headers
        .iter()
        .filter_map(|header| header.location.as_ref());
    let path = scope.request.path();
    let Some(id) = patterns.find_map(|pattern| pattern.correlation_id(path)) else {
        return Ok(None);
    };
    let topic = render_topic(&reply.topic, scope)?;
    let accepted = accepted_headers(&reply.headers, &AcceptedScope { scope, id: &id });
    let status = StatusRequest {
        id: Bytes::copy_from_slice(&id),
        reply_header: binding.correlation.correlation_id.clone(),
        prefer: preferences(scope.request),
        accepted,
    };
    Ok(Some((topic, Box::new(status))))
}

pub(super) fn submission(
    binding: &HttpKafka,
    template: RecordTemplate<'_>,
    scope: &RequestScope<'_>,
    body: Bytes,
    ids: Ids<'_>,
) -> Result<Submission, RequestError> {
    let render = |template: &Template| template.render(scope).map_err(RequestError::Missing);
    let reply_topic = render_topic(&template.reply.topic, scope)?;
    let record_key = template.key.map(render).transpose()?.map(Bytes::from);
    let mut headers = forwarded_headers(scope.request)?;
    let header =
        |name: &str, value: Vec<u8>| (Bytes::copy_from_slice(name.as_bytes()), Bytes::from(value));
    let reply_to = &binding.correlation.reply_to;
    headers.push(header(reply_to, reply_topic.clone().into_bytes()));
    for (name, value) in template.overrides {
        headers.push(header(name, render(value)?));
    }
    let hash = hash(record_key.as_deref(), &headers, &body);
    let is_ours = scope.sent_key().is_none();
    // A key that is part of the record already cannot be chosen any more.
    let is_open = is_ours && scope.key.get().is_none();
    let key = scope.idempotency_key().unwrap_or_default();
    let id = if is_open {
        own_id(&key, &hash, ids.is_own)
    } else {
        id_of(&key, &hash)
    };
    headers.push(header(&template.reply.correlation_header, id.clone()));
    let headers = headers
        .into_iter()
        .map(|(name, value)| (name, Some(value)))
        .collect();
    let prefer = preferences(scope.request);
    let is_async = prefer.respond_async && !template.reply.headers.is_empty();
    let accepted = is_async.then(|| {
        let scope = AcceptedScope { scope, id: &id };
        accepted_headers(&template.reply.headers, &scope)
    });
    Ok(Submission {
        id: Bytes::from(id),
        is_ours,
        reply_topic,
        reply_header: binding.correlation.correlation_id.clone(),
        acks: template.acks,
        record: Record {
            key: record_key,
            value: Some(body),
            headers,
        },
        prefer,
        accepted,
    })
}

fn preferences(request: Request<'_>) -> Prefer {
    Prefer::parse(request.head.headers().get_all("prefer"))
}

/// The headers of a 202 that have all their values.
fn accepted_headers(
    headers: &[AsyncHeader],
    scope: &AcceptedScope<'_, '_>,
) -> Vec<(String, Vec<u8>)> {
    let rendered = headers.iter().filter_map(|header| {
        let value = header.value.render_uri(scope).ok()?;
        Some((header.name.clone(), value))
    });
    rendered.collect()
}

/// The request's headers as the record carries them: pseudo headers first, `host` as `:authority` where it stands, of repeated ones the last value where the
/// first one stood; without what belongs to the connection or to this gateway. Then the overrides of the http routes, in place or at the end.
fn forwarded_headers(request: Request<'_>) -> Result<Vec<(Bytes, Bytes)>, RequestError> {
    let head = request.head;
    let authority = (!head.authority().is_empty()).then(|| authority_with_port(head));
    let is_absolute = !head.target().starts_with(b"/") && head.target() != b"*";
    let mut headers: Vec<(&[u8], Cow<'_, [u8]>)> = vec![
        (b":scheme", head.scheme.as_str().as_bytes().into()),
        (b":method", head.method.as_str().as_bytes().into()),
        (b":path", path_and_query(head).into()),
    ];
    if is_absolute && let Some(authority) = &authority {
        headers.push((b":authority", authority.clone()));
    }
    for (name, value) in head.headers().iter() {
        let (name, value) = match name {
            b"connection" | b"http2-settings" | b"content-length" | b"prefer" => continue,
            b"host" => match &authority {
                Some(authority) => (&b":authority"[..], authority.clone()),
                None => continue,
            },
            name => (name, value.into()),
        };
        set(&mut headers, name, value);
    }
    for (name, value) in request.overrides.into_iter().flatten() {
        set(&mut headers, name.as_bytes(), value.as_bytes().into());
    }
    let condition = head.headers().get_all("if-match");
    let condition = if_match(condition).map_err(RequestError::IfMatch)?;
    match condition {
        Some(condition) => set(&mut headers, b"if-match", condition.into()),
        None => headers.retain(|(name, _)| name != b"if-match"),
    }
    let copy = |(name, value): (&[u8], Cow<'_, [u8]>)| {
        (
            Bytes::copy_from_slice(name),
            Bytes::from(value.into_owned()),
        )
    };
    Ok(headers.into_iter().map(copy).collect())
}

fn set<'h>(headers: &mut Vec<(&'h [u8], Cow<'h, [u8]>)>, name: &'h [u8], value: Cow<'h, [u8]>) {
    match headers.iter_mut().find(|(have, _)| *have == name) {
        Some((_, have)) => *have = value,
        None => headers.push((name, value)),
    }
}

/// Lower-case hex MD5 over key, headers (reply topic and overrides among them) and body, nothing in between.
fn hash(key: Option<&[u8]>, headers: &[(Bytes, Bytes)], body: &[u8]) -> String {
    let mut md5 = Md5::new();
    md5.update(key.unwrap_or_default());
    for (name, value) in headers {
        md5.update(name);
        md5.update(value);
    }
    md5.update(body);
    let mut hex = String::with_capacity(HASH_LEN);
    for byte in md5.finalize() {
        for digit in [byte >> 4, byte & 15] {
            hex.push(char::from(b"0123456789abcdef"[usize::from(digit)]));
        }
    }
    hex
}

pub(in crate::mapping) fn id_of(key: &[u8], hash: &str) -> Vec<u8> {
    [key, b"-", hash.as_bytes()].concat()
}

/// An id whose exchange belongs to this core: no request of ours has to hop for the sake of a name that we choose ourselves. Counts a random UUID's last group up.
pub(in crate::mapping) fn own_id(
    key: &[u8],
    hash: &str,
    is_own: &dyn Fn(&[u8]) -> bool,
) -> Vec<u8> {
    let id = id_of(key, hash);
    let last = key.len().saturating_sub(12);
    let group = std::str::from_utf8(&key[last..])
        .ok()
        .and_then(|group| u64::from_str_radix(group, 16).ok());
    let Some(group) = group else { return id };
    (0..OWN_ID_TRIES)
        .map(|step| {
            let group = group.wrapping_add(step) & 0xffff_ffff_ffff;
            let group = format!("{group:012x}");
            id_of(&[&key[..last], group.as_bytes()].concat(), hash)
        })
        .find(|id| is_own(id))
        .unwrap_or(id)
}

/// The answer to a request from the reply to it: status, headers and body as the record has them. `reply_header` is not for clients, nor is what cannot stand in an
/// HTTP header or is the connection's to write.
///
/// # Errors
///
/// [`RequestError::BadReply`] when the status is none.
pub fn answer<'r>(
    headers: impl Iterator<Item = (&'r [u8], Option<&'r [u8]>)> + Clone,
    value: Option<Bytes>,
    reply_header: &str,
) -> Result<Answer, RequestError> {
    let status = headers
        .clone()
        .find(|(name, _)| *name == b":status")
        .and_then(|(_, value)| value);
    let status = match status {
        None => 200,
        Some(text) => std::str::from_utf8(text)
            .ok()
            .and_then(|text| text.parse().ok())
            .filter(|status| (200..=599).contains(status))
            .ok_or(RequestError::BadReply)?,
    };
    let mut head = ResponseHead::new(status);
    for (name, value) in headers {
        let Some(value) = value else { continue };
        let is_ours = name == reply_header.as_bytes() || is_of_the_connection(name);
        if !is_ours && is_header_name(name) && is_header_value(value) {
            head.headers.push(name, value);
        }
    }
    let is_bare = matches!(status, 204 | 304);
    let body = match value.filter(|value| !value.is_empty() && !is_bare) {
        Some(value) => Body::Full(value),
        None => Body::Empty,
    };
    Ok(Answer { head, body })
}

fn is_of_the_connection(name: &[u8]) -> bool {
    const NAMES: [&[u8]; 8] = [
        b"content-length",
        b"transfer-encoding",
        b"connection",
        b"keep-alive",
        b"proxy-connection",
        b"upgrade",
        b"te",
        b"trailer",
    ];
    NAMES.iter().any(|of| name.eq_ignore_ascii_case(of)) || name.eq_ignore_ascii_case(b"date")
}

/// A token (RFC 9110 5.6.2).
fn is_header_name(name: &[u8]) -> bool {
    let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !name.is_empty() && name.iter().all(is_token)
}

/// Nothing that ends a line (RFC 9110 5.5).
fn is_header_value(value: &[u8]) -> bool {
    value
        .iter()
        .all(|byte| *byte == b'\t' || (*byte >= b' ' && *byte != 0x7f))
}

/// What the headers of a 202 see: the request, and its correlation id, which holds the idempotency key of the first one.
struct AcceptedScope<'s, 'r> {
    scope: &'s RequestScope<'r>,
    id: &'s [u8],
}

impl Scope for AcceptedScope<'_, '_> {
    fn param(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        self.scope.param(name)
    }

    fn header(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        self.scope.header(name)
    }

    fn query(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        self.scope.query(name)
    }

    fn idempotency_key(&self) -> Option<Cow<'_, [u8]>> {
        let key = self.id.get(..self.id.len().checked_sub(HASH_LEN)?)?;
        Some(key.into())
    }

    fn correlation_id(&self) -> Option<Cow<'_, [u8]>> {
        Some(self.id.into())
    }

    fn body(&self, pointer: &BodyPointer) -> Option<Cow<'_, [u8]>> {
        self.scope.body(pointer)
    }

    fn identity(&self, guard: usize) -> Option<Cow<'_, [u8]>> {
        self.scope.identity(guard)
    }

    fn attribute(&self, guard: usize, name: &str) -> Option<Cow<'_, [u8]>> {
        self.scope.attribute(guard, name)
    }
}
