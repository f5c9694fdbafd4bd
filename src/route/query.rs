//! The query of a request target: cut off, and searched for one parameter.
//!
//! Its one rule: names and values are compared and given decoded (`+` is a space), the first of several counts.

use std::borrow::Cow;

use super::percent::{self, Plus};

/// Splits a request target into its path and, after the first `?`, its query (RFC 3986 section 3.4).
pub fn split_query(target: &[u8]) -> (&[u8], Option<&[u8]>) {
    match target.iter().position(|byte| *byte == b'?') {
        Some(at) => (&target[..at], Some(&target[at + 1..])),
        None => (target, None),
    }
}

/// The decoded value of the first parameter called `name` in `query` (without `?`); empty when it has no `=`.
pub fn find_parameter<'q>(query: &'q [u8], name: &str) -> Option<Cow<'q, [u8]>> {
    query.split(|byte| *byte == b'&').find_map(|pair| {
        let (key, value) = match pair.iter().position(|byte| *byte == b'=') {
            Some(at) => (&pair[..at], &pair[at + 1..]),
            None => (pair, &[][..]),
        };
        (!pair.is_empty() && *percent::decode(key, Plus::Space) == *name.as_bytes())
            .then(|| percent::decode(value, Plus::Space))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_cut_at_its_first_question_mark() {
        assert_eq!(split_query(b"/a?b?c"), (&b"/a"[..], Some(&b"b?c"[..])));
        assert_eq!(split_query(b"/a?"), (&b"/a"[..], Some(&b""[..])));
        assert_eq!(split_query(b"/a"), (&b"/a"[..], None));
    }

    #[test]
    fn the_first_parameter_of_a_name_is_found_decoded() {
        let find =
            |query: &'static str, name| find_parameter(query.as_bytes(), name).map(Cow::into_owned);
        assert_eq!(find("a=1&b=2&a=3", "a"), Some(b"1".to_vec()));
        assert_eq!(find("a=x+y%26z", "a"), Some(b"x y&z".to_vec()));
        assert_eq!(find("%61=1", "a"), Some(b"1".to_vec()));
        assert_eq!(find("a", "a"), Some(Vec::new()));
        assert_eq!(find("a=b=c", "a"), Some(b"b=c".to_vec()));
        assert_eq!(find("&&", ""), None);
        assert_eq!(find("ab=1", "a"), None);
    }
}
