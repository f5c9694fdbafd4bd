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
pub(crate) struct Glob {
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

impl Glob {
    /// Compiles `text`.
    ///
    /// # Errors
    /// Braces that do not pair, and bad or repeated names, when `braces` are names.
    pub(crate) fn parse(text: &str, braces: Braces) -> Result<Self, PatternFault> {
        let mut prefix = None;
        let mut open_gap: Option<(usize, Option<Box<str>>)> = None;
        let mut gaps: Vec<Gap> = Vec::new();
        let mut literal = Vec::new();
        let mut rest = text;
        while let Some(next) = rest.chars().next() {
            let (name, used) = match (next, braces) {
                ('*', _) => (None, 1),
                ('{', Braces::Names) => {
                    let close = rest.find('}').ok_or(PatternFault::Unclosed)?;
                    (
                        Some(checked_name(&rest[1..close], &gaps, open_gap.as_ref())?),
                        close + 1,
                    )
                }
                ('}', Braces::Names) => return Err(PatternFault::Stray),
                _ => {
                    let (plain, after) = rest.split_at(next.len_utf8());
                    literal.extend_from_slice(plain.as_bytes());
                    rest = after;
                    continue;
                }
            };
            rest = &rest[used..];
            let closed = std::mem::take(&mut literal).into_boxed_slice();
            match open_gap.replace((usize::from(name.is_some()), name)) {
                None => prefix = Some(closed),
                Some((bytes_min, name)) => gaps.push(Gap {
                    bytes_min,
                    name,
                    literal: closed,
                }),
            }
        }
        let closed = literal.into_boxed_slice();
        let prefix = match open_gap {
            None => closed,
            Some((bytes_min, name)) => {
                gaps.push(Gap {
                    bytes_min,
                    name,
                    literal: closed,
                });
                prefix.unwrap_or_default()
            }
        };
        Ok(Self {
            prefix,
            gaps: gaps.into_boxed_slice(),
        })
    }

    /// The names of its gaps, in order.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.gaps.iter().filter_map(|gap| gap.name.as_deref())
    }

    /// Whether the whole of `text` matches.
    pub(crate) fn matches(&self, text: &[u8]) -> bool {
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

fn checked_name(
    name: &str,
    gaps: &[Gap],
    open_gap: Option<&(usize, Option<Box<str>>)>,
) -> Result<Box<str>, PatternFault> {
    let starts_well = name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
    if !starts_well
        || !name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
    {
        return Err(PatternFault::BadName(name.to_owned()));
    }
    let open_name = open_gap.and_then(|(_, name)| name.as_deref());
    if open_name == Some(name) || gaps.iter().any(|gap| gap.name.as_deref() == Some(name)) {
        return Err(PatternFault::RepeatedName(name.to_owned()));
    }
    Ok(name.into())
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
