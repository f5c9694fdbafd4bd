//! The messages of a stream from a topic: what a record becomes, and how a client says after which of them it goes on.
//!
//! ```text
//!  0x00 │ length, u32 │ the record's value │ tag of the field │ length, varint │ progress
//!  └ gRPC's prefix ──┘ └ protobuf: one field more, of wire type 2, which a client keeps or reads ─┘
//! ```
//! A field may be appended to any protobuf message without a look at it. Rule: a value goes out as it is, and what comes back as progress is the beginning if it is
//! none of ours.

use base64::Engine;
use base64::alphabet::{Alphabet, STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use crate::mapping::progress::Progress;

/// How messages are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageForm {
    /// The number of the field with the progress, `options.reliability.field`.
    pub field: u32,
}

impl MessageForm {
    /// Appends the message of a record; `progress`: how far a client is that has it, as [`Progress::encode_binary`] writes it. Nothing, if the message were longer
    /// than its prefix can say, which no record of Kafka comes to.
    pub fn write(self, out: &mut Vec<u8>, progress: &[u8], value: &[u8]) {
        let start = out.len();
        out.reserve(PREFIX_BYTES + value.len() + 2 * VARINT_BYTES_MAX + progress.len());
        out.extend_from_slice(&[0; PREFIX_BYTES]);
        out.extend_from_slice(value);
        push_varint(out, u64::from(self.field) << 3 | LENGTH_DELIMITED);
        push_varint(out, progress.len() as u64);
        out.extend_from_slice(progress);
        match u32::try_from(out.len() - start - PREFIX_BYTES) {
            Ok(length) => out[start + 1..][..4].copy_from_slice(&length.to_be_bytes()),
            Err(_) => out.truncate(start),
        }
    }
}

/// How far a client is, from the value of its metadata `last-message-id` or `last-message-id-bin`: the bytes of the field in base64, of either alphabet, padded or
/// not. `None`: it begins anew.
pub fn resume_from(value: &[u8]) -> Option<Progress> {
    // Whoever hands bytes to a gRPC library has them in the standard alphabet.
    let is_standard = value.iter().any(|byte| matches!(byte, b'+' | b'/'));
    let engine = if is_standard {
        BASE64_STANDARD
    } else {
        BASE64_URL
    };
    Progress::decode_binary(&engine.decode(value).ok()?)
}

/// A varint of protobuf, which is none of Kafka's: it has no zigzag.
fn push_varint(out: &mut Vec<u8>, mut rest: u64) {
    while rest >= 0x80 {
        out.push(rest.to_le_bytes()[0] | 0x80);
        rest >>= 7;
    }
    out.push(rest.to_le_bytes()[0]);
}

const fn lenient(alphabet: &Alphabet) -> GeneralPurpose {
    let padding = DecodePaddingMode::Indifferent;
    let config = GeneralPurposeConfig::new().with_decode_padding_mode(padding);
    GeneralPurpose::new(alphabet, config)
}

const BASE64_URL: GeneralPurpose = lenient(&URL_SAFE);
const BASE64_STANDARD: GeneralPurpose = lenient(&STANDARD);
/// The flag "not compressed", and the length.
const PREFIX_BYTES: usize = 5;
/// Of the tag, and of the length.
const VARINT_BYTES_MAX: usize = 10;
/// The wire type of bytes.
const LENGTH_DELIMITED: u64 = 2;

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose;
    use proptest::prelude::*;

    use super::*;

    fn written(field: u32, progress: &[(i32, i64)], value: &[u8]) -> Vec<u8> {
        let progress: Progress = progress.iter().copied().collect();
        let mut out = b"before".to_vec();
        MessageForm { field }.write(&mut out, &progress.encode_binary(), value);
        out.split_off(6)
    }

    #[test]
    fn a_message_is_its_prefix_the_value_and_the_progress() {
        assert_eq!(
            written(32_767, &[(0, 1)], b"\x0a\x04test"),
            b"\0\0\0\0\x0e\x0a\x04test\xfa\xff\x0f\x04\x01\x02\x00\x02"
        );
        assert_eq!(
            written(32_767, &[(0, 2), (1, 1)], b""),
            b"\0\0\0\0\x0a\xfa\xff\x0f\x06\x01\x04\x00\x04\x02\x02"
        );
    }

    #[test]
    fn the_least_and_the_greatest_number_of_a_field_fit() {
        assert_eq!(
            written(1, &[(0, 1)], b""),
            b"\0\0\0\0\x06\x0a\x04\x01\x02\x00\x02"
        );
        assert_eq!(
            written(536_870_911, &[(0, 1)], b""),
            b"\0\0\0\0\x0a\xfa\xff\xff\xff\x0f\x04\x01\x02\x00\x02"
        );
        // No number of a field, but no panic either.
        assert_eq!(written(u32::MAX, &[], b"").len(), 5 + 5 + 1 + 2);
    }

    #[test]
    fn lengths_over_a_byte_are_said_in_full() {
        let all: Vec<_> = (0..100).map(|partition| (partition, 1)).collect();
        let progress: Progress = all.iter().copied().collect();
        let message = written(2, &all, &[7; 300]);
        let field = progress.encode_binary();
        assert_eq!(field.len(), 1 + 2 + 64 * 2 + 36 * 3);
        let length = 300 + 1 + 2 + field.len();
        assert_eq!(message.len(), 5 + length);
        assert_eq!(message[..5], [0, 0, 0, 2, 30]);
        assert_eq!(length, 2 * 256 + 30);
        assert_eq!(message[305..308], [0x12, 0xef, 0x01]);
        assert_eq!(message[308..], field);
    }

    #[test]
    fn a_client_goes_on_after_the_field_in_either_alphabet_padded_or_not() {
        let one: Progress = [(0, 1)].into_iter().collect();
        assert_eq!(resume_from(b"AQIAAg=="), Some(one.clone()));
        assert_eq!(resume_from(b"AQIAAg"), Some(one));
        let far: Progress = [(0, 524_284)].into_iter().collect();
        assert_eq!(far.encode(), "AQIA-P8_");
        for text in ["AQIA-P8_", "AQIA+P8/"] {
            assert_eq!(resume_from(text.as_bytes()), Some(far.clone()), "{text}");
        }
    }

    #[test]
    fn what_is_no_progress_is_the_beginning() {
        for text in [
            "",
            "7",
            "\"AQIAAg==\"",
            "AQIAAg==/revision=42",
            "AQIA-P8/",
            "AQIAAh==",
            "AgIAAg==",
            "AQIAAg==,AQIAAg==",
        ] {
            assert_eq!(resume_from(text.as_bytes()), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_progress_comes_back(
            offsets in prop::collection::vec((0..i32::MAX, -2..i64::MAX), 0..50),
        ) {
            let progress: Progress = offsets.into_iter().collect();
            let bytes = progress.encode_binary();
            for text in [
                general_purpose::URL_SAFE.encode(&bytes),
                general_purpose::URL_SAFE_NO_PAD.encode(&bytes),
                general_purpose::STANDARD.encode(&bytes),
                general_purpose::STANDARD_NO_PAD.encode(&bytes),
            ] {
                prop_assert_eq!(resume_from(text.as_bytes()), Some(progress.clone()));
            }
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = resume_from(&bytes);
            let _ = resume_from(general_purpose::STANDARD.encode(&bytes).as_bytes());
        }
    }
}
