//! The text of a file after `${{env.NAME}}` is replaced, and the way back to the original places.
//!
//! The first step of loading. Replacement is textual and happens before YAML is parsed, as in Zilla, except that a variable
//! that is unset or empty is a mistake: a marker takes its place, and becomes a mistake where it ends up in a value (one that
//! ends up in a comment harms nobody).

use super::mistake::{At, Spot};

/// Around the number of an unresolved variable; private-use characters. The first is refused where a configuration has it itself,
/// or its values would be taken for ones that are reported already.
const MARK_START: char = '\u{E000}';
const MARK_END: char = '\u{E001}';
const RESERVED: &str = "the character U+E000 cannot stand here";

/// A text with its variables replaced.
#[derive(Debug)]
pub(super) struct Source {
    original: String,
    text: String,
    pieces: Vec<Piece>,
    unresolved: Vec<Unresolved>,
    secrets: Vec<String>,
}

/// A stretch of the text that replaced a variable (byte ranges).
#[derive(Debug)]
struct Piece {
    start: usize,
    end: usize,
    original_start: usize,
    original_end: usize,
}

/// A `${{…}}` without a value.
#[derive(Debug)]
pub(super) struct Unresolved {
    /// Its first byte in the original text.
    pub(super) original: usize,
    /// What is wrong with it.
    pub(super) message: String,
}

impl Source {
    /// Replaces every `${{env.NAME}}` of `original` by what `env` says.
    pub(super) fn substitute(original: &str, env: &dyn Fn(&str) -> Option<String>) -> Self {
        let original = original.strip_prefix('\u{FEFF}').unwrap_or(original);
        let mut source = Self {
            original: original.to_owned(),
            text: String::with_capacity(original.len()),
            pieces: Vec::new(),
            unresolved: Vec::new(),
            secrets: Vec::new(),
        };
        let mut copied = 0;
        while let Some(found) = next_of_interest(&original[copied..]) {
            let start = copied + found;
            source.text.push_str(&original[copied..start]);
            if original[start..].starts_with(MARK_START) {
                copied = start + MARK_START.len_utf8();
                source.mark(start, copied, RESERVED.to_owned());
                continue;
            }
            let line_end = original[start..]
                .find('\n')
                .map_or(original.len(), |length| start + length);
            let Some(length) = original[start..line_end].find("}}") else {
                source.text.push_str("${{");
                copied = start + 3;
                continue;
            };
            let end = start + length + 2;
            source.replace(start, end, env);
            copied = end;
        }
        source.text.push_str(&original[copied..]);
        source
    }

    fn replace(&mut self, start: usize, end: usize, env: &dyn Fn(&str) -> Option<String>) {
        let expression = self.original[start + 3..end - 2].trim().to_owned();
        match resolve(&expression, env) {
            Ok(value) => {
                if names_a_secret(&expression) {
                    self.secrets.push(value.clone());
                }
                self.put(start, end, &value);
            }
            Err(message) => self.mark(start, end, message),
        }
    }

    /// Puts what will be a mistake, if it ends up in a value, in the place of `start..end` of the original.
    fn mark(&mut self, start: usize, end: usize, message: String) {
        let marker = format!("{MARK_START}{}{MARK_END}", self.unresolved.len());
        self.unresolved.push(Unresolved {
            original: start,
            message,
        });
        self.put(start, end, &marker);
    }

    fn put(&mut self, original_start: usize, original_end: usize, text: &str) {
        let start = self.text.len();
        self.text.push_str(text);
        self.pieces.push(Piece {
            start,
            end: self.text.len(),
            original_start,
            original_end,
        });
    }

    /// The text for the YAML parser.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// The unresolved variables that ended up in the scalar `text`.
    pub(super) fn unresolved_in<'s>(
        &'s self,
        text: &'s str,
    ) -> impl Iterator<Item = &'s Unresolved> {
        text.split(MARK_START).skip(1).filter_map(|after| {
            let (number, _) = after.split_once(MARK_END)?;
            self.unresolved.get(number.parse::<usize>().ok()?)
        })
    }

    /// Every unresolved variable, those in comments included.
    pub(super) fn unresolved(&self) -> &[Unresolved] {
        &self.unresolved
    }

    /// The place in the original text; inside a replaced variable it is the variable's start.
    pub(super) fn locate(&self, spot: Spot) -> At {
        let offset = match spot {
            Spot::Original(offset) => offset,
            Spot::Substituted(at) => self.original_offset(offset_of(&self.text, at)),
        };
        place_of(&self.original, offset)
    }

    fn original_offset(&self, offset: usize) -> usize {
        let after = self.pieces.partition_point(|piece| piece.start <= offset);
        match after.checked_sub(1).map(|index| &self.pieces[index]) {
            None => offset,
            Some(piece) if offset < piece.end => piece.original_start,
            Some(piece) => piece.original_end + (offset - piece.end),
        }
    }

    /// `message` without the values of variables whose names say that they are secret.
    pub(super) fn masked(&self, mut message: String) -> String {
        for secret in &self.secrets {
            if message.contains(secret.as_str()) {
                message = message.replace(secret.as_str(), "***");
            }
        }
        message
    }
}

/// Whether `text` stands, wholly or in part, for a variable without a value.
pub(super) fn is_unresolved(text: &str) -> bool {
    text.contains(MARK_START)
}

/// Whether the name of a key or variable says that its value is nobody's business.
pub(super) fn names_a_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["password", "passphrase", "credential", "secret", "token"]
        .iter()
        .any(|word| name.contains(word))
}

/// Where the next variable begins, or the next character that looks like a marker.
fn next_of_interest(text: &str) -> Option<usize> {
    let mut letters = text.char_indices();
    let is_found =
        |&(at, letter): &(usize, char)| letter == MARK_START || text[at..].starts_with("${{");
    letters.find(is_found).map(|(at, _)| at)
}

fn resolve(expression: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    let Some(name) = expression.strip_prefix("env.") else {
        return Err(format!(
            "`${{{{{expression}}}}}` is not known (only `${{{{env.NAME}}}}` is)"
        ));
    };
    match env(name) {
        Some(value) if value.contains(MARK_START) => {
            Err(format!("environment variable `{name}`: {RESERVED}"))
        }
        Some(value) if !value.is_empty() => Ok(value),
        Some(_) => Err(format!("environment variable `{name}` is empty")),
        None => Err(format!("environment variable `{name}` is not set")),
    }
}

/// The byte at a line and column as the YAML parser counts them: in characters, with all of YAML 1.1's line breaks.
fn offset_of(text: &str, at: At) -> usize {
    let mut place = At::START;
    let mut letters = text.char_indices().peekable();
    while let Some((offset, letter)) = letters.next() {
        if place.line > at.line || (place.line == at.line && place.column >= at.column) {
            return offset;
        }
        let in_pair = letter == '\r' && letters.peek().is_some_and(|(_, next)| *next == '\n');
        if !in_pair && matches!(letter, '\n' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}') {
            place = At {
                line: place.line + 1,
                column: 1,
            };
        } else {
            place.column += 1;
        }
    }
    text.len()
}

/// Line and column of a byte, as an editor shows them.
fn place_of(text: &str, offset: usize) -> At {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    At {
        line: before.matches('\n').count() + 1,
        column: before[line_start..].chars().count() + 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(name: &str) -> Option<String> {
        match name {
            "HOST" => Some("a-much-longer-host".into()),
            "LINES" => Some("one\ntwo".into()),
            "EMPTY" => Some(String::new()),
            "DB_PASSWORD" => Some("hunter2".into()),
            _ => None,
        }
    }

    fn at(line: usize, column: usize) -> At {
        At { line, column }
    }

    #[test]
    fn places_survive_the_substitution() {
        let source = Source::substitute("a: ${{ env.HOST }}:1 x\nb: ${{env.LINES}} y\nc: z", &env);
        assert_eq!(
            source.text(),
            "a: a-much-longer-host:1 x\nb: one\ntwo y\nc: z"
        );
        let place = |line, column| source.locate(Spot::Substituted(at(line, column)));
        assert_eq!(place(1, 1), at(1, 1));
        assert_eq!(place(1, 4), at(1, 4));
        assert_eq!(place(1, 20), at(1, 4), "inside the value");
        assert_eq!(place(1, 25), at(1, 22), "the x");
        assert_eq!(place(3, 2), at(2, 4), "the second line of a value");
        assert_eq!(place(3, 5), at(2, 19), "the y");
        assert_eq!(place(4, 4), at(3, 4));
        assert_eq!(place(99, 1), at(3, 5), "beyond the end");
    }

    #[test]
    fn what_has_no_value_is_marked_and_said() {
        let source = Source::substitute(
            "é: ${{env.NONE}}${{env.EMPTY}} ${{file.x}} ${{ open\n}}",
            &env,
        );
        let found: Vec<_> = source
            .unresolved_in(source.text())
            .map(|one| (one.original, one.message.as_str()))
            .collect();
        assert_eq!(
            found,
            [
                (4, "environment variable `NONE` is not set"),
                (17, "environment variable `EMPTY` is empty"),
                (32, "`${{file.x}}` is not known (only `${{env.NAME}}` is)"),
            ]
        );
        assert!(source.text().ends_with("${{ open\n}}"));
        assert_eq!(source.locate(Spot::Original(17)), at(1, 17));
    }

    #[test]
    fn a_character_that_looks_like_a_marker_is_a_mistake_and_no_marker() {
        let env = |_: &str| Some("a\u{E000}0\u{E001}".to_owned());
        let source = Source::substitute("t\u{E000}cp\u{E001}: ${{env.MARKED}}", &env);
        let found: Vec<_> = source
            .unresolved_in(source.text())
            .map(|one| (one.original, one.message.as_str()))
            .collect();
        assert_eq!(
            found,
            [
                (1, RESERVED),
                (
                    11,
                    "environment variable `MARKED`: the character U+E000 cannot stand here"
                ),
            ]
        );
    }

    #[test]
    fn values_of_secret_variables_are_masked() {
        let source = Source::substitute("${{env.DB_PASSWORD}} ${{env.HOST}}", &env);
        assert_eq!(
            source.masked("no hunter2 at a-much-longer-host".into()),
            "no *** at a-much-longer-host"
        );
    }

    #[test]
    fn a_byte_order_mark_and_carriage_returns_do_not_shift_places() {
        let source = Source::substitute("\u{FEFF}a: 1\r\nb: 2\r\n", &env);
        assert_eq!(source.locate(Spot::Substituted(at(2, 4))), at(2, 4));
    }
}
