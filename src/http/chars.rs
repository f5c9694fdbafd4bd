//! Which bytes may stand where in an HTTP message, as one table and one word-wise search.
//!
//! Used by the head scanner, the decoder and the encoder. Its one rule: strictness is a table, never a habit.

const TOKEN: u8 = 1;
const TARGET: u8 = 2;
const REG_NAME: u8 = 4;
const PERCENT: u8 = 8;

/// The classes of every byte: RFC 9110 5.6.2 `token`, a request target's bytes, RFC 3986 `reg-name`.
static CLASSES: [u8; 256] = classes();

const fn classes() -> [u8; 256] {
    let mut classes = [0; 256];
    let mut byte = 0x21;
    while byte < 0x7f {
        // RFC 3986 forbids `[` and `]` in a path or query, but common clients send `a[]=1` as it is, and no
        // server reads anything else into it.
        if !matches!(
            byte,
            b'"' | b'#' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}'
        ) {
            classes[byte as usize] |= TARGET;
        }
        byte += 1;
    }
    set(&mut classes, PERCENT, b"%");
    set(&mut classes, TOKEN, b"!#$%&'*+-.^_`|~");
    set(&mut classes, REG_NAME, b"-._~!$&'()*+,;=%");
    set(&mut classes, TOKEN | REG_NAME, b"0123456789");
    set(
        &mut classes,
        TOKEN | REG_NAME,
        b"ABCDEFGHIJKLMNOPQRSTUVWXYZ",
    );
    set(
        &mut classes,
        TOKEN | REG_NAME,
        b"abcdefghijklmnopqrstuvwxyz",
    );
    classes
}

const fn set(classes: &mut [u8; 256], class: u8, bytes: &[u8]) {
    let mut at = 0;
    while at < bytes.len() {
        classes[bytes[at] as usize] |= class;
        at += 1;
    }
}

/// Whether `byte` may stand in a method or header name (RFC 9110 5.6.2).
pub(super) fn is_token_byte(byte: u8) -> bool {
    CLASSES[usize::from(byte)] & TOKEN != 0
}

/// Whether `bytes` is a non-empty token.
pub(super) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|&byte| is_token_byte(byte))
}

/// Whether `bytes` may be a request target: allowed bytes only, and each `%` followed by two hexadecimal digits.
pub(super) fn is_target(bytes: &[u8]) -> bool {
    is_escaped_text(bytes, TARGET)
}

/// Whether `bytes` may be a host name (RFC 3986 3.2.2 `reg-name`; an IPv4 address is one too), not empty.
pub(super) fn is_reg_name(bytes: &[u8]) -> bool {
    !bytes.is_empty() && is_escaped_text(bytes, REG_NAME)
}

fn is_escaped_text(bytes: &[u8], class: u8) -> bool {
    let (mut all, mut any) = (u8::MAX, 0);
    for &byte in bytes {
        all &= CLASSES[usize::from(byte)];
        any |= CLASSES[usize::from(byte)];
    }
    all & class != 0 && (any & PERCENT == 0 || escapes_are_whole(bytes))
}

fn escapes_are_whole(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(|&byte| byte == b'%') {
        match rest[at..] {
            [_, high, low, ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                rest = &rest[at + 3..];
            }
            _ => return false,
        }
    }
    true
}

/// Whether `bytes` may be a header value: anything but control bytes, a tab excepted (RFC 9110 5.5).
pub(super) fn is_field_value(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    while let Some(at) = find_control(rest) {
        if rest[at] != b'\t' {
            return false;
        }
        rest = &rest[at + 1..];
    }
    true
}

/// Finds the first control byte (below 0x20, or 0x7f), eight bytes at a time.
pub(super) fn find_control(bytes: &[u8]) -> Option<usize> {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const HIGHS: u64 = ONES * 0x80;
    let (words, tail) = bytes.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        // A borrow can only reach bytes above a true hit, so the lowest flag is always right.
        let below_space = word.wrapping_sub(ONES * 0x20) & !word & HIGHS;
        let delete = word ^ (ONES * 0x7f);
        let hits = below_space | (delete.wrapping_sub(ONES) & !delete & HIGHS);
        if hits != 0 {
            return Some(index * 8 + hits.trailing_zeros() as usize / 8);
        }
    }
    let at = tail.iter().position(|&byte| byte.is_ascii_control())?;
    Some(words.len() * 8 + at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_control_byte_is_found_wherever_it_stands() {
        for byte in 0..=u8::MAX {
            for at in 0..20 {
                for fill in [b'a', 0x80, 0xff, b' ', b'~'] {
                    let mut bytes = [fill; 20];
                    bytes[at] = byte;
                    let expected = byte.is_ascii_control().then_some(at);
                    assert_eq!(find_control(&bytes), expected, "byte {byte:#x} at {at}");
                }
            }
        }
        assert_eq!(find_control(b"ab\r\ncd\x00"), Some(2));
    }

    #[test]
    fn percent_signs_need_two_digits() {
        assert!(is_target(b"/a%2Fb%20?x=[1]"));
        for bad in [
            "/%", "/%2", "/%2g", "/%%20", "/a b", "/#x", "/\\", "/\u{e9}",
        ] {
            assert!(!is_target(bad.as_bytes()), "{bad}");
        }
    }

    #[test]
    fn values_hold_tabs_and_high_bytes_but_no_line_ends() {
        assert!(is_field_value(b"a\tb \xc3\xa9"));
        for bad in ["a\rb", "a\nb", "a\0b", "a\x7fb"] {
            assert!(!is_field_value(bad.as_bytes()), "{bad:?}");
        }
    }
}
