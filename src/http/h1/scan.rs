//! Finds the end of a message head in bytes that come in any pieces, and refuses garbage as soon as it shows.
//!
//! Its one rule: no byte is looked at twice, so that a head sent byte by byte costs what a whole one costs.

use super::Fault;
use crate::http::chars::find_control;

/// The progress through one head; offsets count from the head's first byte.
#[derive(Debug, Default)]
pub(super) struct Scan {
    at: usize,
    line_start: usize,
    first_line_end: Option<usize>,
}

impl Scan {
    /// Looks on at `bytes`, the head from its first byte. `Some`: its length with the final empty line.
    ///
    /// # Errors
    /// A bare CR or LF, or a control byte other than a tab.
    pub(super) fn scan(&mut self, bytes: &[u8]) -> Result<Option<usize>, Fault> {
        while let Some(ahead) = find_control(&bytes[self.at..]) {
            let at = self.at + ahead;
            self.at = at;
            match (bytes[at], bytes.get(at + 1)) {
                (b'\t', _) => self.at = at + 1,
                (b'\r', None) => return Ok(None),
                (b'\r', Some(b'\n')) if at == self.line_start => return Ok(Some(at + 2)),
                (b'\r', Some(b'\n')) => {
                    self.first_line_end.get_or_insert(at);
                    self.line_start = at + 2;
                    self.at = at + 2;
                }
                (b'\r', Some(_)) => return Err(Fault::BareCr),
                (b'\n', _) => return Err(Fault::BareLf),
                _ => return Err(Fault::ControlByte),
            }
        }
        self.at = bytes.len();
        Ok(None)
    }

    /// Whether no byte of the head was seen.
    pub(super) fn is_new(&self) -> bool {
        self.at == 0
    }

    /// The length of the request line without its CRLF, once it is whole.
    pub(super) fn first_line_end(&self) -> Option<usize> {
        self.first_line_end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_found_in_any_pieces() {
        let head = b"GET / HTTP/1.1\r\nhost: a\r\nx: \t1\r\n\r\nrest";
        for cut in 0..head.len() {
            let mut scan = Scan::default();
            let found = scan.scan(&head[..cut]).unwrap();
            assert_eq!(
                found,
                (cut >= head.len() - 4).then_some(head.len() - 4),
                "cut {cut}"
            );
            assert_eq!(scan.scan(head).unwrap().or(found), Some(head.len() - 4));
            assert_eq!(scan.first_line_end(), Some(14));
        }
    }

    #[test]
    fn garbage_is_refused_when_it_shows() {
        let cases = [
            ("GET / HTTP/1.1\n", Fault::BareLf),
            ("GET\r ", Fault::BareCr),
            ("G\0", Fault::ControlByte),
        ];
        for (text, fault) in cases {
            assert_eq!(
                Scan::default().scan(text.as_bytes()),
                Err(fault),
                "{text:?}"
            );
        }
    }
}
