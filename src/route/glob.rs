//! Literal text with gaps: the matcher under path templates, header patterns and topic wildcards.
//!
//! Below everything else of `route`. Its one rule: no backtracking. Literals are placed from the right, each as far right as
//! it goes, which is what a greedy regular expression finds and takes one pass.

use std::fmt;

/// What is wrong with the text of a pattern. Its words go on from the text: `/items/{id` has `{` without `}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PatternFault {
    /// A path that does not start with `/`.
    NoLeadingSlash,
    /// `{` without `}`.
    Unclosed,
    /// `}` without `{`.
    Stray,
    /// Text between braces that is not a name.
    BadName(String),
    /// The same name twice.
    RepeatedName(String),
    /// More named captures than one template may have.
    TooManyNames {
        /// The most that one template may have.
        names_max: usize,
    },
    /// Text that is not a regular expression; the compiler's words.
    Regex(String),
}

impl fmt::Display for PatternFault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoLeadingSlash => formatter.write_str("does not start with `/`"),
            Self::Unclosed => formatter.write_str("has `{` without `}`"),
            Self::Stray => formatter.write_str("has `}` without `{`"),
            Self::BadName(name) => {
                write!(
                    formatter,
                    "has a bad name `{{{name}}}` (letters, digits, `_` and `-`, a letter first)"
                )
            }
            Self::RepeatedName(name) => write!(formatter, "has `{{{name}}}` twice"),
            Self::TooManyNames { names_max } => {
                write!(formatter, "has more than {names_max} names in braces")
            }
            Self::Regex(problem) => write!(formatter, "is not a regular expression: {problem}"),
        }
    }
}

impl std::error::Error for PatternFault {}

/// Whether `{name}` is a gap or plain text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Braces {
    /// `{name}` stands for one or more bytes.
    Names,
    /// Braces are ordinary characters.
    Literal,
}

/// A compiled pattern: `*` is any run of bytes, `{name}` one or more, everything else itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob {
    prefix: Box<[u8]>,
    gaps: Box<[Gap]>,
}

/// A run of unknown bytes, and the literal after it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Gap {
    bytes_min: usize,
    name: Option<Box<str>>,
    literal: Box<[u8]>,
}

impl fmt::Display for Glob {
    /// The text that it was compiled from.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&String::from_utf8_lossy(&self.prefix))?;
        for gap in &self.gaps {
            match &gap.name {
                Some(name) => write!(formatter, "{{{name}}}")?,
                None => formatter.write_str("*")?,
            }
            formatter.write_str(&String::from_utf8_lossy(&gap.literal))?;
        }
        Ok(())
    }
}

impl Glob {
    /// Compiles `text`.
    ///
    /// # Errors
    /// Braces that do not pair, and bad or repeated names, when `braces` are names.
    pub(crate) fn parse(text: &str, braces: Braces) -> Result<Self, PatternFault> {
        let mut builder = Builder::default();
        let mut rest = text;
        while let Some(next) = rest.chars().next() {
            let used = match (next, braces) {
                ('*', _) => {
                    builder.gap(0, None);
                    1
                }
                ('{', Braces::Names) => {
                    let close = rest.find('}').ok_or(PatternFault::Unclosed)?;
                    let name = builder.checked_name(&rest[1..close])?;
                    builder.gap(1, Some(name));
                    close + 1
                }
                ('}', Braces::Names) => return Err(PatternFault::Stray),
                _ => {
                    let plain = next.len_utf8();
                    builder.literal(&rest.as_bytes()[..plain]);
                    plain
                }
            };
            rest = &rest[used..];
        }
        Ok(builder.finish())
    }

    /// The names of its gaps, in order.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.gaps.iter().filter_map(|gap| gap.name.as_deref())
    }

    /// Whether the whole of `text` matches.
    pub fn matches(&self, text: &[u8]) -> bool {
        self.capture(text, |_| ())
    }

    /// As [`matches`](Self::matches), handing out what each *named* gap spans, last gap first. What was handed out is
    /// meaningless if the answer is `false`.
    pub(crate) fn capture<'t>(&self, text: &'t [u8], mut take: impl FnMut(&'t [u8])) -> bool {
        let Some(text) = text.strip_prefix(&*self.prefix) else {
            return false;
        };
        let Some((last, others)) = self.gaps.split_last() else {
            return text.is_empty();
        };
        let Some(open) = text.strip_suffix(&*last.literal) else {
            return false;
        };
        // `gap_end` is where the gap that is being measured ends: its literal is placed, the one before it not yet.
        let mut gap = last;
        let mut gap_end = open.len();
        for before in others.iter().rev() {
            let Some(room) = gap_end.checked_sub(gap.bytes_min) else {
                return false;
            };
            let Some(at) = find_last(&text[..room], &before.literal) else {
                return false;
            };
            if gap.name.is_some() {
                take(&text[at + before.literal.len()..gap_end]);
            }
            gap = before;
            gap_end = at;
        }
        if gap.name.is_some() {
            take(&text[..gap_end]);
        }
        gap_end >= gap.bytes_min
    }
}

/// Puts a pattern together from left to right.
#[derive(Debug, Default)]
pub(super) struct Builder {
    prefix: Box<[u8]>,
    gaps: Vec<Gap>,
    /// The literal since the last gap.
    literal: Vec<u8>,
}

impl Builder {
    pub(super) fn literal(&mut self, bytes: &[u8]) {
        self.literal.extend_from_slice(bytes);
    }

    /// A run of at least `bytes_min` unknown bytes; the span of one with a name is handed out.
    pub(super) fn gap(&mut self, bytes_min: usize, name: Option<Box<str>>) {
        self.close();
        self.gaps.push(Gap {
            bytes_min,
            name,
            literal: Box::default(),
        });
    }

    pub(super) fn finish(mut self) -> Glob {
        self.close();
        Glob {
            prefix: self.prefix,
            gaps: self.gaps.into_boxed_slice(),
        }
    }

    /// The literal so far belongs to the gap before it.
    fn close(&mut self) {
        let literal = std::mem::take(&mut self.literal).into_boxed_slice();
        match self.gaps.last_mut() {
            Some(gap) => gap.literal = literal,
            None => self.prefix = literal,
        }
    }

    fn checked_name(&self, name: &str) -> Result<Box<str>, PatternFault> {
        let starts_well =
            name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        if !starts_well || !name.bytes().all(is_plain) {
            return Err(PatternFault::BadName(name.to_owned()));
        }
        if self
            .gaps
            .iter()
            .any(|gap| gap.name.as_deref() == Some(name))
        {
            return Err(PatternFault::RepeatedName(name.to_owned()));
        }
        Ok(name.into())
    }
}

fn find_last(text: &[u8], literal: &[u8]) -> Option<usize> {
    if literal.is_empty() {
        return Some(text.len());
    }
    text.windows(literal.len())
        .rposition(|window| window == literal)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn glob(text: &str) -> Glob {
        Glob::parse(text, Braces::Names).unwrap()
    }

    #[test]
    fn a_pattern_matches_the_whole_text() {
        assert!(glob("/items").matches(b"/items"));
        assert!(!glob("/items").matches(b"/items/"));
        assert!(!glob("/items").matches(b"/item"));
        assert!(glob("*").matches(b""));
        assert!(glob("a*").matches(b"a"));
        assert!(glob("a*c*e").matches(b"abcde"));
        assert!(!glob("a*c*e").matches(b"abcd"));
        assert!(glob("*b*").matches(b"abc"));
        assert!(!glob("a*a").matches(b"a"), "literals never overlap");
        assert!(!glob("{x}").matches(b""), "a name is at least one byte");
        assert!(glob("{x}*{y}").matches(b"ab"));
        assert!(!glob("{x}*{y}").matches(b"a"));
    }

    #[test]
    fn it_agrees_with_a_greedy_regular_expression() {
        let patterns = [
            "/{a}/{b}",
            "/{a}*{b}",
            "{a}x{b}x*",
            "a{a}",
            "{a}aa{b}",
            "*a{a}a",
            "a*",
            "{a}{b}",
        ];
        let mut texts = vec![String::new()];
        for length in 0..6 {
            let longer: Vec<String> = texts
                .iter()
                .filter(|t| t.len() == length)
                .flat_map(|t| ["a", "x", "/"].map(|c| format!("{t}{c}")))
                .collect();
            texts.extend(longer);
        }
        for pattern in patterns {
            let regex = pattern
                .replace('*', ".*")
                .replace("{a}", "(?<a>.+)")
                .replace("{b}", "(?<b>.+)");
            let regex = regex_lite::Regex::new(&format!("^(?:{regex})$")).unwrap();
            let glob = glob(pattern);
            for text in &texts {
                let mut spans = Vec::new();
                let found = glob.capture(text.as_bytes(), |span| spans.push(span));
                let expected = regex.captures(text);
                assert_eq!(found, expected.is_some(), "{pattern} on {text}");
                if let Some(captures) = expected {
                    let names: Vec<&str> = glob.names().collect();
                    spans.reverse();
                    for (name, span) in names.iter().zip(spans) {
                        assert_eq!(
                            captures[*name].as_bytes(),
                            span,
                            "{name} of {pattern} on {text}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn a_hostile_text_costs_no_more_than_its_length() {
        let pattern = glob("/{a}/*/{b}/*/{c}/*/{d}/*x");
        let text = "/".repeat(32 * 1024);
        assert!(!pattern.matches(text.as_bytes()));
    }

    #[test]
    fn bad_braces_and_names_are_refused() {
        let fault = |text| Glob::parse(text, Braces::Names).unwrap_err();
        assert_eq!(fault("/{id"), PatternFault::Unclosed);
        assert_eq!(fault("/id}"), PatternFault::Stray);
        assert_eq!(fault("/{}"), PatternFault::BadName(String::new()));
        assert_eq!(fault("/{1}"), PatternFault::BadName("1".into()));
        assert_eq!(
            fault("/{a}/{b}/{a}"),
            PatternFault::RepeatedName("a".into())
        );
        assert_eq!(fault("/{a}{a}"), PatternFault::RepeatedName("a".into()));
        assert!(Glob::parse("a{b", Braces::Literal).unwrap().matches(b"a{b"));
    }
}
