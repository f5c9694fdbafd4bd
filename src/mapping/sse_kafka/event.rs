//! The bytes of an event stream (HTML Living Standard, 9.2 "Server-sent events"): what a record becomes, and what is said between records.
//!
//! Fields stand without a space after the colon, as Zilla writes them; each ends with a line feed. Rule: whatever bytes a record has, a client reads them back as they
//! are, or the field is left out: nothing in a record can begin a field of its own.

use std::fmt::Write as _;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE;

use crate::config::EventIdForm;
use crate::kafka::cache::RecordView;

/// A comment that says nothing: it keeps proxies and clients from taking the stream for dead.
pub const HEARTBEAT: &[u8] = b":\n\n";
/// A comment: records between the last event and the next are gone.
pub const GAP: &[u8] = b": gap\n\n";
/// Asks the client for new credentials (Zilla's continuous authorisation).
pub const CHALLENGE: &[u8] =
    b"event:challenge\ndata:{\"method\":\"POST\",\"headers\":{\"content-type\":\"application/x-challenge-response\"}}\n\n";

/// How events are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventForm {
    /// What their ids hold.
    pub id: EventIdForm,
    /// Whether they begin with the record's time (`accept: text/event-stream;ext=timestamp`).
    pub has_timestamp: bool,
}

/// A record as an event reads it.
#[derive(Clone, Copy, Debug)]
pub struct EventRecord<'r> {
    /// Its time, milliseconds since 1970.
    pub timestamp_ms: i64,
    /// Its key.
    pub key: Option<&'r [u8]>,
    /// Its value; `None`: it was deleted.
    pub value: Option<&'r [u8]>,
    /// Its header `etag`.
    pub etag: Option<&'r [u8]>,
}

impl<'r> EventRecord<'r> {
    /// A cached record.
    pub fn of(record: &RecordView<'r>) -> Self {
        let mut headers = record.headers.clone();
        let etag = headers.find_map(|(name, value)| (name == b"etag").then_some(value));
        Self {
            timestamp_ms: record.timestamp.0,
            key: record.key,
            value: record.value,
            etag: etag.flatten(),
        }
    }
}

impl EventForm {
    /// Appends the event of a record; `progress`: how far a client is that has it, as [`crate::mapping::progress::Progress::encode`] writes it.
    pub fn write(self, out: &mut Vec<u8>, progress: &str, record: &EventRecord<'_>) {
        if self.has_timestamp {
            let mut text = String::with_capacity(24);
            // Writing to a string does not fail.
            let _ = write!(text, "timestamp:{:#x}", record.timestamp_ms);
            push_line(out, text.as_bytes());
        }
        out.extend_from_slice(b"id:");
        match self.id {
            EventIdForm::Etag => push_etag(out, progress, record.etag),
            EventIdForm::KeyAndEtag => {
                match record.key {
                    Some(key) => {
                        out.extend_from_slice(b"[\"");
                        push_base64(out, key);
                        out.extend_from_slice(b"\",\"");
                    }
                    None => out.extend_from_slice(b"[null,\""),
                }
                push_etag(out, progress, record.etag.filter(|etag| is_json_text(etag)));
                out.extend_from_slice(b"\"]");
            }
        }
        out.push(b'\n');
        match (record.value, record.key) {
            (Some(value), _) => push_data(out, value),
            (None, Some(key)) => {
                out.extend_from_slice(b"event:delete\ndata:");
                push_base64(out, key);
                out.push(b'\n');
            }
            (None, None) => out.extend_from_slice(b"event:delete\n"),
        }
        out.push(b'\n');
    }
}

/// Tells the client how long to wait before it connects again, milliseconds.
pub fn retry(millis: u128) -> Vec<u8> {
    format!("retry:{millis}\n\n").into_bytes()
}

fn push_line(out: &mut Vec<u8>, line: &[u8]) {
    out.extend_from_slice(line);
    out.push(b'\n');
}

fn push_base64(out: &mut Vec<u8>, bytes: &[u8]) {
    let start = out.len();
    out.resize(start + bytes.len().div_ceil(3) * 4, 0);
    // There is room for all of it.
    if let Ok(written) = URL_SAFE.encode_slice(bytes, &mut out[start..]) {
        out.truncate(start + written);
    }
}

/// The progress, and the record's own etag if an id may hold it: an id ends at a line break, and one with NUL is ignored.
fn push_etag(out: &mut Vec<u8>, progress: &str, etag: Option<&[u8]>) {
    out.extend_from_slice(progress.as_bytes());
    let is_line =
        |etag: &&[u8]| !etag.is_empty() && !etag.iter().any(|byte| b"\r\n\0".contains(byte));
    if let Some(etag) = etag.filter(is_line) {
        out.push(b'/');
        out.extend_from_slice(etag);
    }
}

/// Whether bytes can stand in a JSON string as they are.
fn is_json_text(bytes: &[u8]) -> bool {
    !bytes
        .iter()
        .any(|&byte| byte < 0x20 || byte == b'"' || byte == b'\\')
}

/// One `data` line for each line of the value. A client takes CR, LF and CR LF for the end of a line, and joins the lines with LF; it drops one space after the colon.
fn push_data(out: &mut Vec<u8>, value: &[u8]) {
    let mut rest = value;
    loop {
        let end = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
        let (line, after) = match end {
            Some(at) => {
                let is_pair = rest[at..].starts_with(b"\r\n");
                (&rest[..at], Some(&rest[at + 1 + usize::from(is_pair)..]))
            }
            None => (rest, None),
        };
        out.extend_from_slice(b"data:");
        if line.first() == Some(&b' ') {
            out.push(b' ');
        }
        push_line(out, line);
        match after {
            Some(after) => rest = after,
            None => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record<'r>(
        key: Option<&'r [u8]>,
        value: Option<&'r [u8]>,
        etag: Option<&'r [u8]>,
    ) -> EventRecord<'r> {
        EventRecord {
            timestamp_ms: 0x1_8c00,
            key,
            value,
            etag,
        }
    }

    fn written(form: EventForm, record: &EventRecord<'_>) -> String {
        let mut out = Vec::new();
        form.write(&mut out, "AQIAAg==", record);
        String::from_utf8(out).unwrap()
    }

    const KEYED: EventForm = EventForm {
        id: EventIdForm::KeyAndEtag,
        has_timestamp: false,
    };

    #[test]
    fn an_event_is_its_id_and_a_data_line_for_each_line_of_the_value() {
        let plain = EventForm::default();
        let data = |value: &str| written(plain, &record(None, Some(value.as_bytes()), None));
        assert_eq!(data("a"), "id:AQIAAg==\ndata:a\n\n");
        assert_eq!(data(""), "id:AQIAAg==\ndata:\n\n");
        assert_eq!(data("a\nb\n"), "id:AQIAAg==\ndata:a\ndata:b\ndata:\n\n");
        assert_eq!(data("a\r\nb\rc"), "id:AQIAAg==\ndata:a\ndata:b\ndata:c\n\n");
        assert_eq!(
            data(" a\n  b"),
            "id:AQIAAg==\ndata:  a\ndata:   b\n\n",
            "one space is the client's to drop"
        );
    }

    #[test]
    fn an_id_has_the_key_and_the_etag_of_the_record_when_they_are_asked_for_and_there() {
        let value = Some(&b"v"[..]);
        assert_eq!(
            written(
                EventForm::default(),
                &record(None, value, Some(b"revision=42"))
            ),
            "id:AQIAAg==/revision=42\ndata:v\n\n"
        );
        assert_eq!(
            written(KEYED, &record(Some(b"key"), value, Some(b"revision=42"))),
            "id:[\"a2V5\",\"AQIAAg==/revision=42\"]\ndata:v\n\n"
        );
        assert_eq!(
            written(KEYED, &record(None, value, None)),
            "id:[null,\"AQIAAg==\"]\ndata:v\n\n"
        );
    }

    #[test]
    fn an_etag_that_an_id_cannot_hold_is_left_out() {
        let value = Some(&b"v"[..]);
        for etag in ["a\nevent:x", "a\rb", "a\0b", ""] {
            assert_eq!(
                written(
                    EventForm::default(),
                    &record(None, value, Some(etag.as_bytes()))
                ),
                "id:AQIAAg==\ndata:v\n\n"
            );
        }
        assert_eq!(
            written(KEYED, &record(None, value, Some(b"a\"b"))),
            "id:[null,\"AQIAAg==\"]\ndata:v\n\n"
        );
    }

    #[test]
    fn a_null_value_is_a_delete_event_with_the_key() {
        assert_eq!(
            written(EventForm::default(), &record(Some(b"key"), None, None)),
            "id:AQIAAg==\nevent:delete\ndata:a2V5\n\n"
        );
        assert_eq!(
            written(EventForm::default(), &record(None, None, None)),
            "id:AQIAAg==\nevent:delete\n\n"
        );
    }

    #[test]
    fn the_time_comes_first_where_it_was_asked_for() {
        let form = EventForm {
            has_timestamp: true,
            ..EventForm::default()
        };
        assert_eq!(
            written(form, &record(None, Some(b"v"), None)),
            "timestamp:0x18c00\nid:AQIAAg==\ndata:v\n\n"
        );
    }
}
