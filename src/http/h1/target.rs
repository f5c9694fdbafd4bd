//! The request target and the Host (RFC 9112 3.2, RFC 3986 3.2).
//!
//! Its one rule: where a request goes is told in one way only; a target with an authority of its own overrules Host.

use std::ops::Range;

use super::Fault;
use crate::http::Method;
use crate::http::chars::{is_reg_name, is_target};
use crate::http::message::{RequestText, split_query};

/// Finds the parts of the target that stands at `target` in `head`.
///
/// The authority is empty when the target has none; the path is empty for an absolute form that has none.
pub(super) fn split(
    head: &[u8],
    target: Range<usize>,
    method: Method,
) -> Result<RequestText, Fault> {
    let text = &head[target.clone()];
    if !is_target(text) {
        return Err(Fault::Target);
    }
    let (authority, rest) = match text {
        [b'/', ..] => (0..0, target.clone()),
        b"*" if method == Method::Options => (0..0, target.clone()),
        _ => absolute(text, target.start)?,
    };
    let (path, query) = split_query(head, rest);
    Ok(RequestText {
        target,
        authority,
        path,
        query,
    })
}

/// `http://authority[/path][?query]`: where the authority and the rest stand, `start` added.
fn absolute(text: &[u8], start: usize) -> Result<(Range<usize>, Range<usize>), Fault> {
    let scheme = [b"http://".as_slice(), b"https://"]
        .into_iter()
        .find(|scheme| {
            text.get(..scheme.len())
                .is_some_and(|text| text.eq_ignore_ascii_case(scheme))
        })
        .ok_or(Fault::Target)?;
    let after = &text[scheme.len()..];
    let len = after
        .iter()
        .position(|&byte| matches!(byte, b'/' | b'?'))
        .unwrap_or(after.len());
    if !is_authority(&after[..len]) {
        return Err(Fault::Target);
    }
    let authority = start + scheme.len()..start + scheme.len() + len;
    Ok((authority.clone(), authority.end..start + text.len()))
}

/// Whether `text` is `host[:port]`: a registered name, an IPv4 address or a bracketed IPv6 one; no user information.
pub(super) fn is_authority(text: &[u8]) -> bool {
    let (host_is_valid, port) = if let [b'[', rest @ ..] = text {
        let Some(end) = rest.iter().position(|&byte| byte == b']') else {
            return false;
        };
        let is_address_byte = |byte: &u8| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.');
        (
            end >= 2 && rest[..end].iter().all(is_address_byte),
            &rest[end + 1..],
        )
    } else {
        let end = text
            .iter()
            .position(|&byte| byte == b':')
            .unwrap_or(text.len());
        (is_reg_name(&text[..end]), &text[end..])
    };
    host_is_valid && is_port(port)
}

/// Whether `text` is empty or a colon with up to five digits (RFC 3986 3.2.3 lets them be none) up to 65535.
fn is_port(text: &[u8]) -> bool {
    match text {
        [] => true,
        [b':', digits @ ..] => {
            digits.len() <= 5
                && digits.iter().all(u8::is_ascii_digit)
                && digits
                    .iter()
                    .fold(0, |port, digit| port * 10 + u32::from(digit - b'0'))
                    <= 65_535
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_names_or_addresses_with_an_optional_port() {
        for good in [
            "a",
            "a.example:8080",
            "127.0.0.1:1",
            "[::1]",
            "[::1]:65535",
            "a:",
            "a%20b",
            "a_b",
        ] {
            assert!(is_authority(good.as_bytes()), "{good}");
        }
        for bad in [
            "", ":80", "u@h", "a b", "a/b", "a:65536", "a:+1", "a:1:2", "[::1", "[]", "[::1]x",
            "[g::]", "a?b", "é",
        ] {
            assert!(!is_authority(bad.as_bytes()), "{bad}");
        }
    }

    #[test]
    fn absolute_targets_give_authority_path_and_query() {
        let head = b"GET HTTP://a:1/b?c HTTP/1.1";
        let parts = split(head, 4..18, Method::Get).unwrap();
        assert_eq!(&head[parts.authority], b"a:1");
        assert_eq!(&head[parts.path], b"/b");
        assert_eq!(&head[parts.query.unwrap()], b"c");
    }

    #[test]
    fn other_forms_are_refused() {
        for bad in [
            "*",
            "a",
            "ftp://a/",
            "http://",
            "http://u@a/",
            "http:///a",
            "/a#b",
            "/a\\b",
            "/%zz",
            "?",
            "",
        ] {
            assert_eq!(
                split(bad.as_bytes(), 0..bad.len(), Method::Get).err(),
                Some(Fault::Target),
                "{bad}"
            );
        }
        assert!(split(b"*", 0..1, Method::Options).is_ok());
    }
}
