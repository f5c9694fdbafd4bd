//! Where results can be asked for: paths that an asynchronous answer named in its `location`.
//!
//! The way back of [`Template::render_uri`]. Its one rule: as [`PathTemplate`](super::PathTemplate), matching is one pass
//! without backtracking.

use std::borrow::Cow;

use super::expression::Part;
use super::glob::{Builder, Glob};
use super::percent::{self, Plus};
use super::template::Template;

/// The paths that a template with one `${correlationId}` makes.
///
/// Every expression is one or more bytes of any kind. Where several splits are possible literals are as far right as they
/// go: an id begins after the *last* place of the text before it that lets the whole path match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocationPattern {
    /// Matches paths as [`Template::render_uri`] writes them.
    written: Glob,
    /// Matches decoded paths, for those that were encoded differently on their way.
    decoded: Glob,
    is_ambiguous: bool,
}

impl LocationPattern {
    /// The paths that `template` makes; `None` unless it is a path or an http URI whose path has `${correlationId}` exactly
    /// once.
    pub fn of(template: &Template) -> Option<Self> {
        let pieces = path_pieces(template.parts());
        let is_path = matches!(pieces.first(), Some(Piece::Literal(text)) if text.starts_with('/'));
        let has_id = pieces.contains(&Piece::CorrelationId);
        if !is_path || !has_id || template.correlation_id_count() != 1 {
            return None;
        }
        Some(Self {
            written: glob(&pieces, |text| Cow::Borrowed(text.as_bytes())),
            decoded: glob(&pieces, |text| percent::decode(text.as_bytes(), Plus::Plus)),
            is_ambiguous: is_ambiguous(&pieces),
        })
    }

    /// Whether nothing tells the id from an expression before or after it: the text between them is made of bytes that ids
    /// have too (letters, digits and `-._~`), as in `/${params.id}-${correlationId}`.
    pub fn is_ambiguous(&self) -> bool {
        self.is_ambiguous
    }

    /// The decoded correlation id in `path` (without its query), if the whole of it matches.
    pub fn correlation_id<'p>(&self, path: &'p [u8]) -> Option<Cow<'p, [u8]>> {
        if let Some(id) = captured(&self.written, path) {
            return Some(percent::decode(id, Plus::Plus));
        }
        let path = percent::decode(path, Plus::Plus);
        captured(&self.decoded, &path).map(|id| Cow::Owned(id.to_vec()))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Piece<'t> {
    Literal(&'t str),
    Other,
    CorrelationId,
}

/// What of a template makes the path: without scheme and authority, query and fragment.
fn path_pieces(parts: &[Part]) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut in_authority = false;
    for (index, part) in parts.iter().enumerate() {
        let mut text = match part {
            Part::Literal(text) => &**text,
            _ if in_authority => continue,
            Part::CorrelationId => {
                pieces.push(Piece::CorrelationId);
                continue;
            }
            Part::Param(_)
            | Part::Header(_)
            | Part::Query(_)
            | Part::IdempotencyKey
            | Part::Body(_)
            | Part::Identity(_)
            | Part::Attribute(..) => {
                pieces.push(Piece::Other);
                continue;
            }
        };
        if index == 0 {
            let schemes = ["http://", "https://"];
            if let Some(after) = schemes.iter().find_map(|scheme| text.strip_prefix(scheme)) {
                in_authority = true;
                text = after;
            }
        }
        if in_authority {
            let Some(start) = text.find('/') else {
                continue;
            };
            in_authority = false;
            text = &text[start..];
        }
        if let Some(end) = text.find(['?', '#']) {
            pieces.push(Piece::Literal(&text[..end]));
            break;
        }
        pieces.push(Piece::Literal(text));
    }
    pieces
}

fn is_ambiguous(pieces: &[Piece<'_>]) -> bool {
    let mut sides = pieces.split(|piece| *piece == Piece::CorrelationId);
    let before = sides.next().unwrap_or_default();
    let after = sides.next().unwrap_or_default();
    runs_on(before.iter().rev()) || runs_on(after.iter())
}

/// Whether the id, whose nearest neighbour comes first, may end anywhere on this side.
fn runs_on<'t>(mut neighbours: impl Iterator<Item = &'t Piece<'t>>) -> bool {
    match neighbours.next() {
        Some(Piece::Literal(text)) => {
            neighbours.next().is_some() && text.bytes().all(percent::is_unreserved)
        }
        Some(Piece::Other | Piece::CorrelationId) => true,
        None => false,
    }
}

/// `bytes_of` says how literals are matched.
fn glob<'t>(pieces: &[Piece<'t>], bytes_of: impl Fn(&'t str) -> Cow<'t, [u8]>) -> Glob {
    let mut builder = Builder::default();
    for piece in pieces {
        match piece {
            Piece::Literal(text) => builder.literal(&bytes_of(text)),
            Piece::Other => builder.gap(1, None),
            Piece::CorrelationId => builder.gap(1, Some("correlationId".into())),
        }
    }
    builder.finish()
}

/// What the only gap with a name spans.
fn captured<'t>(glob: &Glob, text: &'t [u8]) -> Option<&'t [u8]> {
    let mut span = None;
    let matched = glob.capture(text, |id| span = Some(id));
    span.filter(|_| matched)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{Allowed, BodyPointer, Scope};
    use super::*;

    fn template(text: &str) -> Template {
        Template::parse(text, Allowed::REQUEST | Allowed::CORRELATION_ID).unwrap()
    }

    /// The correlation id in `path`, or `no match`.
    fn id(text: &str, path: &str) -> String {
        let pattern = LocationPattern::of(&template(text)).unwrap();
        let found = pattern.correlation_id(path.as_bytes());
        found.map_or_else(|| "no match".to_owned(), |id| id.escape_ascii().to_string())
    }

    #[test]
    fn the_whole_path_matches_or_nothing_does() {
        let text = "/items/${params.id};cid=${correlationId}";
        assert_eq!(id(text, "/items/5;cid=1-e75a"), "1-e75a");
        assert_eq!(id(text, "/items/5"), "no match");
        assert_eq!(id(text, "/items/;cid=1"), "no match");
        assert_eq!(id(text, "/items/5;cid="), "no match");
        assert_eq!(id(text, "/x/items/5;cid=1"), "no match");
        assert_eq!(id("/${correlationId}/state", "/1/state"), "1");
        assert_eq!(id("/${correlationId}/state", "/1/state/"), "no match");
    }

    #[test]
    fn an_id_begins_after_the_last_place_of_the_text_before_it() {
        let text = "/items/${params.id};cid=${correlationId}";
        assert_eq!(id(text, "/items/1;cid=2;cid=3-f"), "3-f");
        assert_eq!(id("/${params.a}/${correlationId}", "/1/2/3"), "3");
        let text = "/${params.a};cid=${correlationId};v=${query.v}";
        assert_eq!(id(text, "/a;cid=1;cid=2;v=3"), "2");
        assert_eq!(id(text, "/a;cid=1;v=2;cid=3"), "1");
    }

    #[test]
    fn encoding_makes_no_difference() {
        let text = "/items/${params.id};cid=${correlationId}";
        assert_eq!(id(text, "/items/5;cid=a%2Fb%252F"), "a/b%2F");
        assert_eq!(id(text, "/it%65ms/5%3Bcid%3D1%252F"), "1%2F");
        assert_eq!(id("/a%20b/${correlationId}", "/a%20b/1"), "1");
        assert_eq!(id("/a%2fb/${correlationId}", "/a%2Fb/1"), "1");
        // What came with a parameter is no literal.
        assert_eq!(id(text, "/items/5%3Bcid%3D1;cid=2%3Bcid%3D3"), "2;cid=3");
    }

    #[test]
    fn only_the_path_of_a_uri_counts() {
        let text = "https://${headers.host}:8080/items/${correlationId}?wait=${query.wait}";
        assert_eq!(id(text, "/items/1"), "1");
        assert_eq!(id("http://example/${correlationId}#x", "/1"), "1");
        for without in [
            "/items",
            "/items?cid=${correlationId}",
            "/items#${correlationId}",
            "${correlationId}",
            "items/${correlationId}",
            "https://${correlationId}/items",
            "https://example",
            "/${correlationId}/${correlationId}",
        ] {
            assert_eq!(LocationPattern::of(&template(without)), None, "{without}");
        }
    }

    #[test]
    fn an_id_needs_a_mark_between_it_and_its_neighbours() {
        let is_ambiguous =
            |text: &str| LocationPattern::of(&template(text)).unwrap().is_ambiguous();
        for clear in [
            "/${correlationId}",
            "/a-${correlationId}-b",
            "/${params.a}/${correlationId}",
            "/${params.a}-c=${correlationId};${params.b}",
        ] {
            assert!(!is_ambiguous(clear), "{clear}");
        }
        for ambiguous in [
            "/${params.a}${correlationId}",
            "/${params.a}-${correlationId}",
            "/${correlationId}.${params.a}",
            "/${correlationId}${params.a}",
        ] {
            assert!(is_ambiguous(ambiguous), "{ambiguous}");
        }
    }

    struct Values<'v> {
        param: &'v [u8],
        id: &'v [u8],
    }

    impl Scope for Values<'_> {
        fn param(&self, _: &str) -> Option<Cow<'_, [u8]>> {
            Some(Cow::Borrowed(self.param))
        }
        fn header(&self, _: &str) -> Option<Cow<'_, [u8]>> {
            None
        }
        fn query(&self, _: &str) -> Option<Cow<'_, [u8]>> {
            None
        }
        fn idempotency_key(&self) -> Option<Cow<'_, [u8]>> {
            None
        }
        fn correlation_id(&self) -> Option<Cow<'_, [u8]>> {
            Some(Cow::Borrowed(self.id))
        }
        fn body(&self, _: &BodyPointer) -> Option<Cow<'_, [u8]>> {
            None
        }
        fn identity(&self, _: usize) -> Option<Cow<'_, [u8]>> {
            None
        }
        fn attribute(&self, _: usize, _: &str) -> Option<Cow<'_, [u8]>> {
            None
        }
    }

    proptest! {
        #[test]
        fn the_id_of_a_rendered_location_is_found_again(
            param in prop::collection::vec(any::<u8>(), 1..12),
            id in prop::collection::vec(prop_oneof![any::<u8>(), Just(b'/'), Just(b';'), Just(b'=')], 1..12),
        ) {
            for text in [
                "/items/${params.id};cid=${correlationId}",
                "/items/${params.id}/${correlationId}",
                "/${correlationId}",
                "/${params.id};${correlationId};${params.id}",
            ] {
                let template = template(text);
                let uri = template.render_uri(&Values { param: &param, id: &id }).unwrap();
                let legal = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~/:@;=%".contains(byte);
                prop_assert!(uri.iter().all(legal));
                let pattern = LocationPattern::of(&template).unwrap();
                let found = pattern.correlation_id(&uri);
                prop_assert_eq!(found.as_deref(), Some(&*id));
            }
        }

        #[test]
        fn an_id_is_found_however_its_path_was_encoded_on_the_way(
            id in "[a-z0-9-]{1,8}",
            encoded in prop::collection::vec(any::<bool>(), 24),
        ) {
            let mut path = Vec::new();
            for (byte, encoded) in format!("/items/5;cid={id}").bytes().zip(&encoded) {
                if *encoded {
                    path.extend_from_slice(format!("%{byte:02x}").as_bytes());
                } else {
                    path.push(byte);
                }
            }
            let pattern = LocationPattern::of(&template("/items/${params.id};cid=${correlationId}"));
            let pattern = pattern.unwrap();
            let found = pattern.correlation_id(&path);
            prop_assert_eq!(found.as_deref(), Some(id.as_bytes()));
        }

        #[test]
        fn no_path_makes_it_panic(path in prop::collection::vec(prop_oneof![any::<u8>(), Just(b'%'), Just(b'/')], 0..32)) {
            let pattern = LocationPattern::of(&template("/${params.a}/${correlationId}%2F${params.b}")).unwrap();
            let _ = pattern.correlation_id(&path);
        }
    }
}
