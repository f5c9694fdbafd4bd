//! How far a reader has come, as text: the entity tag of GET answers and the event id of SSE.
//!
//! Sits beside the mappings, which all speak it. Its one rule: the bytes are Zilla's, so that a client may carry a tag
//! from one gateway to the other; the quotes of RFC 9110 are put around them last and taken off first.
//!
//! ```text
//! tag      = base64url( 0x01, zz(partition count), ( zz(partition id), zz(offset) )* ) [ "/" suffix ]
//! zz       = zigzag varint         base64url = RFC 4648 section 5, padded         suffix = the record's own `etag`
//! AQIAAg==             partition 0 goes on at offset 1
//! AQQABAIC/revision=42 partition 0 at 2, partition 1 at 1; the record calls itself `revision=42`
//! ```

use std::borrow::Cow;
use std::cell::OnceCell;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE;

use crate::kafka::record_batch::varint::{self, Reader};

/// Offsets by partition, each partition once, in ascending order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Progress {
    offsets: Vec<(i32, i64)>,
}

impl Progress {
    /// No partition yet.
    pub const fn new() -> Self {
        Self {
            offsets: Vec::new(),
        }
    }

    /// Sets the offset of a partition.
    pub fn set(&mut self, partition: i32, offset: i64) {
        match self.find(partition) {
            Ok(index) => self.offsets[index].1 = offset,
            Err(index) => self.offsets.insert(index, (partition, offset)),
        }
    }

    /// The offset of a partition, if it is listed.
    pub fn offset(&self, partition: i32) -> Option<i64> {
        self.find(partition).ok().map(|index| self.offsets[index].1)
    }

    /// Partitions and offsets, by ascending partition.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (i32, i64)> + '_ {
        self.offsets.iter().copied()
    }

    /// Partitions that are listed.
    pub const fn len(&self) -> usize {
        self.offsets.len()
    }

    /// Whether no partition is listed.
    pub const fn is_empty(&self) -> bool {
        self.offsets.is_empty()
    }

    /// The text without suffix and without quotes. Partitions with a negative id are left out, as Zilla does.
    pub fn encode(&self) -> String {
        URL_SAFE.encode(self.encode_binary())
    }

    /// What [`Progress::encode`] makes text of.
    pub fn encode_binary(&self) -> Vec<u8> {
        let listed = || self.iter().filter(|&(partition, _)| partition >= 0);
        let mut binary = Vec::with_capacity(BINARY_BYTES_GUESS * (1 + self.len()));
        binary.push(FORMAT_TAG);
        varint::put(&mut binary, listed().map(|_| 1).sum());
        for (partition, offset) in listed() {
            varint::put(&mut binary, partition.into());
            varint::put(&mut binary, offset);
        }
        binary
    }

    /// Reads a text without suffix and without quotes, as [`Progress::decode_binary`] does what is in it.
    pub fn decode(text: &[u8]) -> Option<Self> {
        Self::decode_binary(&URL_SAFE.decode(text).ok()?)
    }

    /// Reads what [`Progress::encode_binary`] writes. `None` for anything but a canonical list; a partition that is
    /// listed twice has the later offset. Offsets are -2 (earliest), -1 (empty) or in a log, so that adding one is safe.
    pub fn decode_binary(binary: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(binary, 0);
        if reader.byte().ok()? != FORMAT_TAG {
            return None;
        }
        let count = reader.length().ok()?;
        // What is allocated follows from bytes that came, not from the count.
        if count > reader.remaining() / PAIR_BYTES_MIN {
            return None;
        }
        let mut offsets = Vec::with_capacity(count);
        for _ in 0..count {
            let partition = reader.varint32().ok().filter(|&partition| partition >= 0)?;
            let offset = reader
                .varint()
                .ok()
                .filter(|offset| (OFFSET_MIN..i64::MAX).contains(offset))?;
            offsets.push((partition, offset));
        }
        (reader.remaining() == 0).then(|| offsets.into_iter().collect())
    }

    fn find(&self, partition: i32) -> Result<usize, usize> {
        self.offsets
            .binary_search_by_key(&partition, |&(listed, _)| listed)
    }
}

impl FromIterator<(i32, i64)> for Progress {
    /// Any order; of a partition that comes twice, the later offset stays.
    fn from_iter<I: IntoIterator<Item = (i32, i64)>>(offsets: I) -> Self {
        let mut offsets: Vec<_> = offsets.into_iter().collect();
        offsets.sort_by_key(|&(partition, _)| partition);
        offsets.dedup_by(|later, kept| {
            let is_same = later.0 == kept.0;
            if is_same {
                kept.1 = later.1;
            }
            is_same
        });
        Self { offsets }
    }
}

/// Progress as clients are told of it, encoded once for all of them: its bytes, and their text from when it is first asked for.
#[derive(Clone, Debug)]
pub struct EncodedProgress {
    binary: Vec<u8>,
    text: OnceCell<String>,
}

impl EncodedProgress {
    /// What [`Progress::encode_binary`] makes of it.
    pub fn binary(&self) -> &[u8] {
        &self.binary
    }

    /// What [`Progress::encode`] makes of it.
    pub fn text(&self) -> &str {
        self.text.get_or_init(|| URL_SAFE.encode(&self.binary))
    }
}

impl From<&Progress> for EncodedProgress {
    fn from(progress: &Progress) -> Self {
        Self {
            binary: progress.encode_binary(),
            text: OnceCell::new(),
        }
    }
}

/// Progress with the record's own `etag`, if it has one: what an entity tag or event id says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProgressTag {
    /// Where reading goes on.
    pub progress: Progress,
    /// The record header `etag`; an empty one counts as none.
    pub suffix: Option<Vec<u8>>,
}

impl ProgressTag {
    /// The text without quotes, as event ids carry it.
    pub fn encode(&self) -> Vec<u8> {
        encode_tag(&self.progress, self.suffix.as_deref())
    }

    /// Reads a text without quotes. `None` when the part before the first `/` is no progress.
    pub fn decode(text: &[u8]) -> Option<Self> {
        let slash = text.iter().position(|&byte| byte == b'/');
        let (progress, suffix) = text.split_at(slash.unwrap_or(text.len()));
        let suffix = suffix.get(1..).filter(|suffix| !suffix.is_empty());
        Some(Self {
            progress: Progress::decode(progress)?,
            suffix: suffix.map(<[u8]>::to_vec),
        })
    }
}

/// The text of [`ProgressTag::encode`] from borrowed parts.
pub fn encode_tag(progress: &Progress, suffix: Option<&[u8]>) -> Vec<u8> {
    let mut text = progress.encode().into_bytes();
    if let Some(suffix) = suffix.filter(|suffix| !suffix.is_empty()) {
        text.push(b'/');
        text.extend_from_slice(suffix);
    }
    text
}

/// Puts a tag into the form of the `etag` field: `"AQIAAg=="` (RFC 9110 section 8.8.3). What an entity tag may not
/// contain, and `%`, is percent-encoded: a record's own etag can be any bytes, quotes of its own included.
pub fn quote(tag: &[u8]) -> Vec<u8> {
    let mut quoted = Vec::with_capacity(tag.len() + 2);
    quoted.push(b'"');
    for &byte in tag {
        if is_etagc(byte) && byte != b'%' {
            quoted.push(byte);
        } else {
            let hex = |nibble: u8| b"0123456789ABCDEF"[usize::from(nibble)];
            quoted.extend_from_slice(&[b'%', hex(byte >> 4), hex(byte & 0x0f)]);
        }
    }
    quoted.push(b'"');
    quoted
}

/// What `if-none-match` asks (RFC 9110 section 13.1.2).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IfNoneMatch {
    is_any: bool,
    tags: Vec<ProgressTag>,
}

impl IfNoneMatch {
    /// Reads the values of all lines of the field. Members may be quoted, weak (the comparison here is the weak one) or,
    /// as Zilla hands them out, bare; what is not one of our tags counts as absent. So does what follows the 64th
    /// member: a condition that is not seen only costs the client a full answer.
    pub fn parse<'a>(lines: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let members: Vec<_> = lines
            .into_iter()
            .flat_map(Members::new)
            .take(TAGS_MAX)
            .collect();
        let tags = members.iter().filter_map(|member| match member {
            Member::Any => None,
            Member::Tag { text, .. } => ProgressTag::decode(text),
        });
        Self {
            tags: tags.collect(),
            is_any: matches!(members[..], [Member::Any]),
        }
    }

    /// Whether the value is `*`: any item that exists matches.
    pub const fn is_any(&self) -> bool {
        self.is_any
    }

    /// Whether there is no condition: no value, or none that this gateway gave out.
    pub const fn is_absent(&self) -> bool {
        !self.is_any && self.tags.is_empty()
    }

    /// The tags in order, those of other origin left out.
    pub fn tags(&self) -> &[ProgressTag] {
        &self.tags
    }

    /// Whether an item that exists and has this tag matches, so that the answer is 304.
    pub fn matches(&self, progress: &Progress, suffix: Option<&[u8]>) -> bool {
        let suffix = suffix.filter(|suffix| !suffix.is_empty());
        self.is_any
            || self
                .tags
                .iter()
                .any(|tag| tag.progress == *progress && tag.suffix.as_deref() == suffix)
    }
}

/// An `if-match` that this gateway cannot hand on: 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IfMatchFault {
    /// `*`: nobody here knows whether the item exists.
    Any,
    /// A weak tag, which never matches (RFC 9110 section 13.1.1).
    Weak,
    /// More than one tag, where the record has room for one.
    List,
}

/// The record's own etag from the values of all lines of `if-match`; the service behind Kafka evaluates it. `None` when
/// the tag has no suffix or is not ours: then the field is dropped, as in Zilla.
///
/// # Errors
///
/// When the value is legal HTTP that cannot be carried out.
pub fn if_match<'a>(
    lines: impl IntoIterator<Item = &'a [u8]>,
) -> Result<Option<Vec<u8>>, IfMatchFault> {
    let mut members = lines.into_iter().flat_map(Members::new);
    match (members.next(), members.next()) {
        (None, _) => Ok(None),
        (Some(_), Some(_)) => Err(IfMatchFault::List),
        (Some(Member::Any), None) => Err(IfMatchFault::Any),
        (Some(Member::Tag { is_weak: true, .. }), None) => Err(IfMatchFault::Weak),
        (Some(Member::Tag { text, .. }), None) => {
            Ok(ProgressTag::decode(&text).and_then(|tag| tag.suffix))
        }
    }
}

/// One member of a list of entity tags, before it is known whether it holds progress.
enum Member<'a> {
    /// An unquoted `*`.
    Any,
    /// An entity tag, quotes and percent-encoding taken off.
    Tag { is_weak: bool, text: Cow<'a, [u8]> },
}

/// Walks the members of one line. Commas within quotes separate nothing; a quote that is never closed ends the line.
struct Members<'a> {
    rest: &'a [u8],
}

impl<'a> Members<'a> {
    const fn new(line: &'a [u8]) -> Self {
        Self { rest: line }
    }

    fn quoted(&mut self) -> Option<Cow<'a, [u8]>> {
        let end = self
            .rest
            .iter()
            .position(|&byte| byte == b'"')
            .unwrap_or(self.rest.len());
        let (inside, rest) = self.rest.split_at(end);
        let is_closed = !rest.is_empty();
        self.rest = rest.get(1..).unwrap_or_default();
        // Whatever stands between the quote and the next comma makes the member no entity tag.
        let is_clean = self.bare().is_empty();
        (is_closed && is_clean).then(|| percent_decode(inside))
    }

    fn bare(&mut self) -> &'a [u8] {
        let end = self
            .rest
            .iter()
            .position(|&byte| byte == b',')
            .unwrap_or(self.rest.len());
        let (member, rest) = self.rest.split_at(end);
        self.rest = rest;
        member.trim_ascii()
    }
}

impl<'a> Iterator for Members<'a> {
    type Item = Member<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            while let [b' ' | b'\t' | b',', rest @ ..] = self.rest {
                self.rest = rest;
            }
            if self.rest.is_empty() {
                return None;
            }
            // No bare tag of ours starts like this: `W` alone is no base64.
            let is_weak = self.rest.starts_with(b"W/");
            if is_weak {
                self.rest = &self.rest[2..];
            }
            if let [b'"', rest @ ..] = self.rest {
                self.rest = rest;
                if let Some(text) = self.quoted() {
                    return Some(Member::Tag { is_weak, text });
                }
                continue;
            }
            return Some(match self.bare() {
                b"*" if !is_weak => Member::Any,
                bare => Member::Tag {
                    is_weak,
                    text: Cow::Borrowed(bare),
                },
            });
        }
    }
}

const fn is_etagc(byte: u8) -> bool {
    matches!(byte, 0x21 | 0x23..=0x7e | 0x80..=0xff)
}

/// Undoes the encoding of [`quote`]; a `%` without two hex digits stays.
fn percent_decode(quoted: &[u8]) -> Cow<'_, [u8]> {
    if !quoted.contains(&b'%') {
        return Cow::Borrowed(quoted);
    }
    let digit = |at: usize| {
        quoted
            .get(at)
            .and_then(|&byte| char::from(byte).to_digit(16))
    };
    let mut decoded = Vec::with_capacity(quoted.len());
    let mut at = 0;
    while let Some(&byte) = quoted.get(at) {
        let escaped = digit(at + 1).zip(digit(at + 2)).filter(|_| byte == b'%');
        decoded.push(escaped.map_or(byte, |(high, low)| {
            u8::try_from(high << 4 | low).unwrap_or(byte)
        }));
        at += if escaped.is_some() { 3 } else { 1 };
    }
    Cow::Owned(decoded)
}

const FORMAT_TAG: u8 = 1;
/// A partition below 64 at an offset below two million.
const BINARY_BYTES_GUESS: usize = 5;
const PAIR_BYTES_MIN: usize = 2;
/// Kafka's name for "the earliest there is".
const OFFSET_MIN: i64 = -2;
/// Members of a list that are looked at.
const TAGS_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The vectors of Zilla's own scripts.
    const VECTORS: [(&[(i32, i64)], &str); 9] = [
        (&[(0, -1)], "AQIAAQ=="),
        (&[(0, 0)], "AQIAAA=="),
        (&[(0, 1)], "AQIAAg=="),
        (&[(0, 2)], "AQIABA=="),
        (&[(0, 4)], "AQIACA=="),
        (&[(0, 100)], "AQIAyAE="),
        (&[(0, 1), (1, 1)], "AQQAAgIC"),
        (&[(0, 2), (1, 1)], "AQQABAIC"),
        (&[(0, 70), (1, 8192), (2, 0)], "AQYAjAECgIABBAA="),
    ];

    fn progress(offsets: &[(i32, i64)]) -> Progress {
        offsets.iter().copied().collect()
    }

    fn parse(lines: &[&str]) -> IfNoneMatch {
        IfNoneMatch::parse(lines.iter().map(|line| line.as_bytes()))
    }

    fn if_match_of(line: &str) -> Result<Option<Vec<u8>>, IfMatchFault> {
        if_match([line.as_bytes()])
    }

    #[test]
    fn progress_is_written_and_read_as_zilla_does() {
        for (offsets, text) in VECTORS {
            assert_eq!(progress(offsets).encode(), text);
            assert_eq!(
                Progress::decode(text.as_bytes()),
                Some(progress(offsets)),
                "{text}"
            );
        }
        assert_eq!(Progress::decode(b"AQA="), Some(Progress::new()));
    }

    #[test]
    fn a_record_tag_follows_a_slash_and_may_hold_more_of_them() {
        let tag = ProgressTag {
            progress: progress(&[(0, 2), (1, 1)]),
            suffix: Some(b"revision=42".to_vec()),
        };
        assert_eq!(tag.encode(), b"AQQABAIC/revision=42");
        assert_eq!(ProgressTag::decode(b"AQQABAIC/revision=42"), Some(tag));
        assert_eq!(
            ProgressTag::decode(b"AQQABAIC/a/b")
                .unwrap()
                .suffix
                .as_deref(),
            Some(&b"a/b"[..])
        );
        assert_eq!(ProgressTag::decode(b"AQQABAIC/").unwrap().suffix, None);
    }

    #[test]
    fn what_is_no_progress_counts_as_absent() {
        let rejects = [
            "\"AQIAAg==\"",
            "W/\"AQIAAg==\"",
            "AQIAAg",
            "AQIA+A==",
            "AQIAAg==, AQIABA==",
            "",
            "/",
            "/x",
        ];
        for text in rejects {
            assert_eq!(ProgressTag::decode(text.as_bytes()), None, "{text}");
        }
        let binaries: [&[u8]; 9] = [
            &[],
            &[2, 0],                            // another format
            &[1],                               // no count
            &[1, 1],                            // a negative count
            &[1, 0xfe, 0xff, 0xff, 0xff, 0x0f], // a count without entries
            &[1, 2, 1, 0],                      // a negative partition
            &[1, 2, 0, 5],                      // an offset before the earliest
            &[1, 2, 0, 0, 0],                   // more than was counted
            &[
                1, 2, 0, 0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1,
            ], // one more would overflow
        ];
        for binary in binaries {
            assert_eq!(
                Progress::decode(URL_SAFE.encode(binary).as_bytes()),
                None,
                "{binary:?}"
            );
        }
    }

    #[test]
    fn partitions_come_in_any_order_and_the_last_word_counts() {
        let text = URL_SAFE.encode([1, 6, 4, 2, 0, 4, 4, 6]);
        assert_eq!(
            Progress::decode(text.as_bytes()),
            Some(progress(&[(0, 2), (2, 3)]))
        );
        let mut built = Progress::new();
        for (partition, offset) in [(2, 1), (0, 2), (2, 3)] {
            built.set(partition, offset);
        }
        assert_eq!(built, progress(&[(0, 2), (2, 3)]));
        assert_eq!(
            (built.offset(2), built.offset(1), built.len()),
            (Some(3), None, 2)
        );
        assert_eq!(progress(&[(-1, 7), (0, 1)]).encode(), "AQIAAg==");
    }

    #[test]
    fn bare_quoted_weak_and_listed_tags_all_count_over_several_lines() {
        let condition = parse(&[
            "AQIAAg== ,\t\"AQIABA==\"",
            "",
            "W/\"AQIACA==\", W/AQIAAA==,,",
        ]);
        let expected: Vec<_> = [1, 2, 4, 0].map(|offset| progress(&[(0, offset)])).to_vec();
        assert_eq!(
            condition
                .tags()
                .iter()
                .map(|tag| tag.progress.clone())
                .collect::<Vec<_>>(),
            expected
        );
        assert!(
            condition.matches(&expected[2], None) && condition.matches(&expected[2], Some(b""))
        );
        assert!(
            !condition.matches(&expected[2], Some(b"x"))
                && !condition.matches(&progress(&[(0, 9)]), None)
        );
    }

    #[test]
    fn commas_within_quotes_separate_nothing() {
        let condition = parse(&["\"AQIAAg==/a,b\", \"AQIABA==/c\""]);
        let suffixes: Vec<_> = condition
            .tags()
            .iter()
            .map(|tag| tag.suffix.clone().unwrap())
            .collect();
        assert_eq!(suffixes, [b"a,b".to_vec(), b"c".to_vec()]);
    }

    #[test]
    fn a_star_is_any_only_when_it_is_all_there_is() {
        assert!(parse(&["*"]).is_any() && parse(&[" * "]).matches(&Progress::new(), None));
        assert!(
            parse(&["\"*\""]).is_absent()
                && parse(&["*, *"]).is_absent()
                && parse(&["W/*"]).is_absent()
        );
        let mixed = parse(&["*", "AQIAAg=="]);
        assert!(!mixed.is_any() && mixed.tags().len() == 1);
    }

    #[test]
    fn tags_of_other_origin_and_malformed_members_are_left_out() {
        for line in [
            "",
            ",",
            "\"AQIAAg==",
            "\"AQIAAg==\"x",
            "\"33a64df5\"",
            "W/",
            "w/\"AQIAAg==\"",
        ] {
            assert!(parse(&[line]).is_absent(), "{line}");
        }
        assert_eq!(parse(&["\"AQIAAg==\"x, AQIABA=="]).tags().len(), 1);
        assert!(parse(&[]).is_absent());
    }

    #[test]
    fn a_list_without_end_costs_a_bounded_amount() {
        assert_eq!(
            parse(&[&"AQIAAg==,".repeat(100_000)]).tags().len(),
            TAGS_MAX
        );
    }

    #[test]
    fn the_etag_field_is_quoted_and_survives_a_record_tag_with_quotes() {
        assert_eq!(quote(b"AQIAAg=="), b"\"AQIAAg==\"");
        let awkward = encode_tag(&progress(&[(0, 1)]), Some(b"\"50% \xff\""));
        let quoted = quote(&awkward);
        assert_eq!(quoted, b"\"AQIAAg==/%2250%25%20\xff%22\"");
        let condition = IfNoneMatch::parse([&quoted[..]]);
        assert!(condition.matches(&progress(&[(0, 1)]), Some(b"\"50% \xff\"")));
    }

    #[test]
    fn if_match_hands_on_the_record_tag_of_one_strong_tag() {
        assert_eq!(
            if_match_of("AQIAAg==/revision=42"),
            Ok(Some(b"revision=42".to_vec()))
        );
        assert_eq!(
            if_match_of("\"AQIAAg==/revision=42\""),
            Ok(Some(b"revision=42".to_vec()))
        );
        assert_eq!(
            (
                if_match_of("AQIAAg=="),
                if_match_of("\"other\""),
                if_match_of("")
            ),
            (Ok(None), Ok(None), Ok(None))
        );
        assert_eq!(if_match_of("*"), Err(IfMatchFault::Any));
        assert_eq!(if_match_of("W/\"AQIAAg==/x\""), Err(IfMatchFault::Weak));
        assert_eq!(
            if_match_of("AQIAAg==/x, AQIABA==/x"),
            Err(IfMatchFault::List)
        );
    }

    proptest! {
        #[test]
        fn any_progress_and_record_tag_come_back(
            offsets in prop::collection::vec((0..i32::MAX, -2..i64::MAX), 0..200),
            suffix in prop::option::of(prop::collection::vec(any::<u8>(), 1..40)),
        ) {
            let tag = ProgressTag { progress: progress(&offsets), suffix };
            let text = tag.encode();
            prop_assert_eq!(ProgressTag::decode(&text), Some(tag.clone()));
            let condition = IfNoneMatch::parse([&quote(&text)[..]]);
            prop_assert_eq!(condition.tags(), &[tag][..]);
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = ProgressTag::decode(&bytes);
            let _ = Progress::decode(URL_SAFE.encode(&bytes).as_bytes());
            let _ = IfNoneMatch::parse([&bytes[..]]);
            let _ = if_match([&bytes[..]]);
        }
    }
}
