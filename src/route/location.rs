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
        })
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
            | Part::Body(_) => {
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
