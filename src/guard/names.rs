//! Names in certificates, as text.
//!
//! Under `x509`. Its one rule: what is written is what Java writes, for the configurations that compare with it.

use x509_parser::asn1_rs::{Any, BmpString, Tag, ToDer, UniversalString};
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

/// Attributes of names: what fields call them, their object identifiers, and what RFC 2253 calls them, if it does.
pub(super) const ATTRIBUTES: [(&str, &str, Option<&str>); 14] = [
    ("cn", "2.5.4.3", Some("CN")),
    ("l", "2.5.4.7", Some("L")),
    ("st", "2.5.4.8", Some("ST")),
    ("o", "2.5.4.10", Some("O")),
    ("ou", "2.5.4.11", Some("OU")),
    ("c", "2.5.4.6", Some("C")),
    ("street", "2.5.4.9", Some("STREET")),
    ("dc", "0.9.2342.19200300.100.1.25", Some("DC")),
    ("uid", "0.9.2342.19200300.100.1.1", Some("UID")),
    ("sn", "2.5.4.4", None),
    ("serialnumber", "2.5.4.5", None),
    ("title", "2.5.4.12", None),
    ("givenname", "2.5.4.42", None),
    ("emailaddress", "1.2.840.113549.1.9.1", None),
];

/// A name as text (RFC 2253, and where that leaves a choice, what Java's `X500Principal.getName()` makes of it).
pub(super) fn distinguished_name(name: &X509Name<'_>) -> String {
    let mut parts: Vec<String> = name
        .iter_rdn()
        .map(|relative| {
            let attributes: Vec<_> = relative.iter().map(attribute).collect();
            attributes.join("+")
        })
        .collect();
    parts.reverse();
    parts.join(",")
}

fn attribute(attribute: &AttributeTypeAndValue<'_>) -> String {
    let oid = attribute.attr_type().to_id_string();
    let value = attribute.attr_value();
    let keyword = ATTRIBUTES
        .iter()
        .find_map(|(_, known, keyword)| (*known == oid).then_some(*keyword).flatten());
    // What has no keyword is written as its encoding (RFC 2253 2.4).
    match (keyword, text(value)) {
        (Some(keyword), Some(text)) => format!("{keyword}={}", escaped(&text)),
        (Some(keyword), None) => format!("{keyword}=#{}", encoding(value)),
        (None, _) => format!("{oid}=#{}", encoding(value)),
    }
}

/// Escapes what has a meaning in a name; `=` and `#` too, as Java does.
fn escaped(text: &str) -> String {
    let leading = text.len() - text.trim_start_matches(' ').len();
    let trailing = text.trim_end_matches(' ').len();
    let mut escaped = String::with_capacity(text.len());
    for (at, character) in text.char_indices() {
        match character {
            '\0' => escaped.push_str("\\00"),
            ',' | '=' | '+' | '<' | '>' | '#' | ';' | '"' | '\\' => {
                escaped.extend(['\\', character]);
            }
            ' ' if at < leading || at >= trailing => escaped.push_str("\\ "),
            _ => escaped.push(character),
        }
    }
    escaped
}

/// The encoding of `value` in hexadecimal digits.
fn encoding(value: &Any<'_>) -> String {
    let bytes = value.to_der_vec().unwrap_or_default();
    bytes.iter().fold(String::new(), |mut text, byte| {
        text.extend(
            [byte >> 4, byte & 15]
                .map(|digit| char::from_digit(u32::from(digit), 16).unwrap_or('0')),
        );
        text
    })
}

/// The text of a value of one of ASN.1's kinds of texts.
pub(super) fn text(value: &Any<'_>) -> Option<String> {
    match value.tag() {
        Tag::Utf8String | Tag::PrintableString | Tag::Ia5String | Tag::NumericString => {
            String::from_utf8(value.as_bytes().to_vec()).ok()
        }
        // Latin-1, as everybody writes it.
        Tag::T61String => Some(value.as_bytes().iter().copied().map(char::from).collect()),
        Tag::BmpString => Some(BmpString::try_from(value.clone()).ok()?.string()),
        Tag::UniversalString => Some(UniversalString::try_from(value.clone()).ok()?.string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use x509_parser::prelude::FromDer;

    use super::*;

    /// A field of ASN.1 with less than 128 bytes.
    fn field(tag: u8, content: &[u8]) -> Vec<u8> {
        let length = u8::try_from(content.len()).unwrap();
        [&[tag, length], content].concat()
    }

    /// A name with one common name, of this kind of text.
    fn common_name(tag: u8, value: &[u8]) -> String {
        let attribute = [field(6, &[0x55, 4, 3]), field(tag, value)].concat();
        let name = field(0x30, &field(0x31, &field(0x30, &attribute)));
        let (_, name) = X509Name::from_der(&name).unwrap();
        distinguished_name(&name)
    }

    #[test]
    fn a_name_is_written_as_java_writes_it() {
        let utf8 = |text: &str| common_name(12, text.as_bytes());
        for (text, written) in [
            ("  a ", r"CN=\ \ a\ "),
            ("  ", r"CN=\ \ "),
            ("#a", r"CN=\#a"),
            ("a=#\"<b>;\\+,", r#"CN=a\=\#\"\<b\>\;\\\+\,"#),
            ("a\0b", r"CN=a\00b"),
            ("a\tb\n", "CN=a\tb\n"),
            ("", "CN="),
            ("\u{e9}", "CN=\u{e9}"),
        ] {
            assert_eq!(utf8(text), written);
        }
    }

    #[test]
    fn other_kinds_of_text_are_read_and_what_is_none_is_written_as_its_encoding() {
        assert_eq!(common_name(20, &[0xe9]), "CN=\u{e9}");
        assert_eq!(common_name(30, &[0, 0xe9]), "CN=\u{e9}");
        assert_eq!(common_name(4, b"1"), "CN=#040131");
    }
}
