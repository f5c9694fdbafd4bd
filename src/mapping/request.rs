//! A request as the mapping sees it, and where the values of its expressions come from.

use std::borrow::Cow;
use std::cell::OnceCell;

use super::access::Access;
use crate::http::RequestHead;
use crate::route::{BodyPointer, Params, Scope, find_parameter, split_query};

/// A request as the mapping sees it: the overrides of the http routes come before what the client sent.
#[derive(Clone, Copy)]
pub(super) struct Request<'r> {
    pub(super) head: &'r RequestHead,
    /// Of the server, then of the route.
    pub(super) overrides: [&'r [(String, String)]; 2],
}

impl<'r> Request<'r> {
    pub(super) fn overridden(self, name: &str) -> Option<&'r str> {
        let mut latest_first = self
            .overrides
            .into_iter()
            .rev()
            .flat_map(|list| list.iter().rev());
        latest_first
            .find(|(header, _)| header == name)
            .map(|(_, value)| value.as_str())
    }

    pub(super) fn header(self, name: &str) -> Option<&'r [u8]> {
        self.overridden(name)
            .map(str::as_bytes)
            .or_else(|| self.head.headers().get_last(name))
    }

    pub(super) fn method(self) -> &'r str {
        self.overridden(":method")
            .unwrap_or(self.head.method.as_str())
    }

    pub(super) fn path(self) -> &'r [u8] {
        self.overridden(":path")
            .map_or(self.head.path(), |target| split_query(target.as_bytes()).0)
    }

    pub(super) fn query(self) -> Option<&'r [u8]> {
        self.overridden(":path")
            .map_or(self.head.query(), |target| split_query(target.as_bytes()).1)
    }
}

/// What expressions see of a request.
pub(super) struct RequestScope<'r> {
    pub(super) request: Request<'r>,
    pub(super) params: Params<'r>,
    /// The whole body, once it is here.
    pub(super) body: Option<&'r [u8]>,
    pub(super) idempotency_header: &'r str,
    pub(super) fresh_key: &'r dyn Fn() -> String,
    /// The idempotency key, once somebody asked for it.
    pub(super) key: OnceCell<Vec<u8>>,
    /// Who asks.
    pub(super) access: &'r dyn Access,
}

impl<'r> RequestScope<'r> {
    /// What a read sees: it has neither a body nor an idempotency key.
    pub(super) fn of_read(
        request: Request<'r>,
        params: Params<'r>,
        access: &'r dyn Access,
    ) -> Self {
        Self {
            request,
            params,
            body: None,
            idempotency_header: "",
            fresh_key: &String::new,
            key: OnceCell::new(),
            access,
        }
    }

    /// The idempotency key that the client sent; an empty one is none.
    pub(super) fn sent_key(&self) -> Option<&[u8]> {
        self.request
            .header(self.idempotency_header)
            .map(unquoted)
            .filter(|key| !key.is_empty())
    }
}

impl Scope for RequestScope<'_> {
    fn param(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        self.params.get(name)
    }

    fn header(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        self.request.header(name).map(Cow::Borrowed)
    }

    fn query(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        find_parameter(self.request.query()?, name)
    }

    /// The same for every expression of a request, made up when the client sent none; an empty one is none.
    fn idempotency_key(&self) -> Option<Cow<'_, [u8]>> {
        let key = self.key.get_or_init(|| {
            self.sent_key()
                .map_or_else(|| (self.fresh_key)().into_bytes(), <[u8]>::to_vec)
        });
        Some(Cow::Borrowed(key))
    }

    fn correlation_id(&self) -> Option<Cow<'_, [u8]>> {
        None
    }

    fn body(&self, pointer: &BodyPointer) -> Option<Cow<'_, [u8]>> {
        pointer.find(self.body?)
    }

    fn identity(&self, guard: usize) -> Option<Cow<'_, [u8]>> {
        self.access.identity(guard)
    }

    fn attribute(&self, guard: usize, name: &str) -> Option<Cow<'_, [u8]>> {
        self.access.attribute(guard, name)
    }
}

/// The key itself: the header is a quoted string by its draft (Idempotency-Key draft-07), a bare one by custom.
fn unquoted(key: &[u8]) -> &[u8] {
    match key {
        [b'"', inner @ .., b'"'] => inner,
        bare => bare,
    }
}

/// `:path`: of an absolute-form target, what follows the authority.
pub(super) fn path_and_query(head: &RequestHead) -> &[u8] {
    let length = head.path().len() + head.query().map_or(0, |query| 1 + query.len());
    let target = head.target();
    &target[target.len().saturating_sub(length)..]
}

/// `:authority` as Zilla matches it: with the scheme's default port when it names none.
pub(super) fn authority_with_port(head: &RequestHead) -> Cow<'_, [u8]> {
    let authority = head.authority();
    let after_address = authority
        .iter()
        .rposition(|byte| *byte == b']')
        .map_or(0, |at| at + 1);
    if authority[after_address..].contains(&b':') {
        return Cow::Borrowed(authority);
    }
    let port: &[u8] = if head.scheme.as_str() == "https" {
        b":443"
    } else {
        b":80"
    };
    Cow::Owned([authority, port].concat())
}
