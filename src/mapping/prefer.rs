//! What a client asks of the way it is answered: `prefer` (RFC 7240) and the one directive of `cache-control` that counts in a request (RFC 9111 5.2.1.4).

use std::time::Duration;

/// The preferences that this gateway knows. Zilla separates them by `;` alone, the RFC by `,`, by several lines and, before parameters, by `;`: all are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Prefer {
    /// `respond-async`: answer 202 once the request is stored.
    pub respond_async: bool,
    /// `wait=N`: how long the answer may take; 0 and none are the same.
    pub wait: Option<Duration>,
}

impl Prefer {
    /// Reads the values of all lines of the field. Of a preference that comes twice the first one counts; what is not understood is left out (RFC 7240 2).
    pub fn parse<'a>(lines: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut prefer = Self::default();
        let mut has_wait = false;
        let parts = lines
            .into_iter()
            .flat_map(|line| line.split(|byte| matches!(byte, b',' | b';')));
        for part in parts {
            let (name, value) = match part.iter().position(|byte| *byte == b'=') {
                Some(at) => (&part[..at], Some(part[at + 1..].trim_ascii())),
                None => (part, None),
            };
            match (name.trim_ascii().to_ascii_lowercase().as_slice(), value) {
                (b"respond-async", None | Some(b"")) => prefer.respond_async = true,
                (b"wait", Some(value)) if !has_wait => {
                    if let Some(seconds) = seconds(value) {
                        has_wait = true;
                        prefer.wait = (seconds > 0).then(|| Duration::from_secs(seconds));
                    }
                }
                _ => {}
            }
        }
        prefer
    }

    /// The wait that is granted.
    pub fn wait_up_to(&self, max: Duration) -> Option<Duration> {
        self.wait.map(|wait| wait.min(max))
    }
}

/// Digits, in quotes or not; more than anybody waits for is a very long time.
fn seconds(value: &[u8]) -> Option<u64> {
    let digits = match value {
        [b'"', inner @ .., b'"'] => inner,
        bare => bare,
    };
    let text = std::str::from_utf8(digits).ok()?;
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().unwrap_or(u64::from(u32::MAX)))
}

/// `preference-applied` for a wait (RFC 7240 3).
pub fn applied_wait(wait: Duration) -> String {
    format!("wait={}", wait.as_secs())
}

/// Whether `cache-control` says `no-cache`: the answer must be checked against Kafka first.
pub fn is_no_cache<'a>(lines: impl IntoIterator<Item = &'a [u8]>) -> bool {
    lines
        .into_iter()
        .flat_map(|line| line.split(|byte| *byte == b','))
        .any(|directive| directive.trim_ascii().eq_ignore_ascii_case(b"no-cache"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefer(lines: &[&str]) -> (bool, Option<u64>) {
        let prefer = Prefer::parse(lines.iter().map(|line| line.as_bytes()));
        (prefer.respond_async, prefer.wait.map(|wait| wait.as_secs()))
    }

    #[test]
    fn both_ways_to_separate_preferences_are_read() {
        assert_eq!(prefer(&["respond-async, wait=5"]), (true, Some(5)));
        assert_eq!(prefer(&["respond-async;wait=5"]), (true, Some(5)));
        assert_eq!(prefer(&["respond-async", "Wait = \"7\""]), (true, Some(7)));
        assert_eq!(prefer(&["wait=5, wait=9"]), (false, Some(5)));
    }

    #[test]
    fn what_is_not_understood_is_left_out() {
        assert_eq!(prefer(&[]), (false, None));
        assert_eq!(
            prefer(&["wait=x, wait=-1, wait=, handling=lenient"]),
            (false, None)
        );
        assert_eq!(prefer(&["wait=0"]), (false, None));
        assert_eq!(
            prefer(&["wait=99999999999999999999"]),
            (false, Some(4_294_967_295))
        );
    }

    #[test]
    fn no_cache_is_found_among_directives() {
        let is = |line: &str| is_no_cache([line.as_bytes()]);
        assert!(is("max-age=0, No-Cache"));
        assert!(!is("no-store"));
        assert!(!is("x-no-cache"));
    }
}
