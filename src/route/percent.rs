//! Percent-encoding (RFC 3986 section 2.1): decoding of captured path values and query parameters, encoding of rendered ones.
//!
//! Its one rule: it never fails. What is not `%` and two hexadecimal digits stays as it is.

use std::borrow::Cow;

/// What a `+` means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plus {
    /// Itself, as in a path.
    Plus,
    /// A space, as in a query (`application/x-www-form-urlencoded`).
    Space,
}

/// Decodes `text`, without a copy when there is nothing to decode.
pub(crate) fn decode(text: &[u8], plus: Plus) -> Cow<'_, [u8]> {
    let special = |byte: &u8| *byte == b'%' || (plus == Plus::Space && *byte == b'+');
    let Some(first) = text.iter().position(special) else {
        return Cow::Borrowed(text);
    };
    let mut decoded = Vec::with_capacity(text.len());
    decoded.extend_from_slice(&text[..first]);
    let mut rest = &text[first..];
    while let Some((&byte, after)) = rest.split_first() {
        let (value, after) = match (byte, plus) {
            (b'%', _) => hex_pair(after).unwrap_or((byte, after)),
            (b'+', Plus::Space) => (b' ', after),
            _ => (byte, after),
        };
        decoded.push(value);
        rest = after;
    }
    Cow::Owned(decoded)
}

/// Appends `text` to `encoded`; what is neither unreserved nor one of `kept` becomes `%` and two hexadecimal digits.
pub(crate) fn encode(text: &[u8], kept: &[u8], encoded: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for &byte in text {
        if is_unreserved(byte) || kept.contains(&byte) {
            encoded.push(byte);
        } else {
            let [high, low] = [byte >> 4, byte & 15].map(|digit| DIGITS[usize::from(digit)]);
            encoded.extend_from_slice(&[b'%', high, low]);
        }
    }
}

/// Whether no encoding changes what `byte` means (RFC 3986 section 2.3).
pub(crate) fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

fn hex_pair(text: &[u8]) -> Option<(u8, &[u8])> {
    let ([high, low], after) = text.split_first_chunk::<2>()?;
    Some((hex_digit(*high)? << 4 | hex_digit(*low)?, after))
}

fn hex_digit(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_decode_once_and_bad_ones_stay() {
        let path = |text: &'static str| decode(text.as_bytes(), Plus::Plus).into_owned();
        assert_eq!(path("a%20b+c"), b"a b+c");
        assert_eq!(path("%2520"), b"%20");
        assert_eq!(path("100%"), b"100%");
        assert_eq!(path("%zz%4"), b"%zz%4");
        assert_eq!(path("%ff%00"), b"\xff\0");
        assert_eq!(&*decode(b"a+b%2B", Plus::Space), b"a b+");
        assert!(matches!(decode(b"plain", Plus::Space), Cow::Borrowed(_)));
    }

    #[test]
    fn what_is_encoded_decodes_to_itself() {
        let all: Vec<u8> = (0..=255).collect();
        let mut encoded = Vec::new();
        encode(&all, b"/", &mut encoded);
        assert_eq!(&*decode(&encoded, Plus::Space), all);
        encoded.clear();
        encode(b"a-._~/:%\xff", b"/", &mut encoded);
        assert_eq!(encoded, b"a-._~/%3A%25%FF");
    }
}
