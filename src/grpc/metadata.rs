//! Which header fields are metadata: a call's own words, as opposed to what HTTP and gRPC say on each hop.
//!
//! Between the heads of a call and the headers of a record, both ways. Its one rule: a record can never put a field on the wire that
//! decides how the rest of the message is read.
//!
//! `-bin` values stay the base64 that they are on the wire, and names keep their `-bin`, as Zilla's records have it.

/// What belongs to one connection (RFC 9113 8.2.2, RFC 9110 7.6.1 and 11.7): never passed on.
fn is_hop_by_hop(name: &[u8]) -> bool {
    matches!(
        name,
        b"connection"
            | b"http2-settings"
            | b"keep-alive"
            | b"proxy-authenticate"
            | b"proxy-authorization"
            | b"proxy-connection"
            | b"expect"
            | b"te"
            | b"trailer"
            | b"transfer-encoding"
            | b"upgrade"
    )
}

/// What says how this one body is to be read.
fn is_of_the_body(name: &[u8]) -> bool {
    matches!(name, b"content-length" | b"content-type" | b"grpc-encoding")
}

fn is_pseudo(name: &[u8]) -> bool {
    name.first() == Some(&b':')
}

/// Whether a field of a request, by its lower-case name, is metadata.
///
/// As in Zilla, `grpc-timeout`, `grpc-accept-encoding` and what a user agent adds by itself (`accept`) are; unlike there, `content-length` is not, nor is what
/// belongs to the connection: who serves the call has a body and a connection of his own. `service-name` chooses the service (Zilla) and is used up.
pub fn is_metadata(name: &[u8]) -> bool {
    !(is_pseudo(name)
        || is_hop_by_hop(name)
        || is_of_the_body(name)
        || matches!(name, b"host" | b"service-name" | b"user-agent"))
}

/// Whether a field of a service's answer, by its lower-case name, is metadata.
///
/// The status is told apart from it, and `date` is when the answer was made: ours has its own.
pub fn is_reply_metadata(name: &[u8]) -> bool {
    !(is_pseudo(name)
        || is_hop_by_hop(name)
        || is_of_the_body(name)
        || matches!(
            name,
            b"date" | b"grpc-accept-encoding" | b"grpc-message" | b"grpc-status"
        ))
}

/// Whether a name and a value out of a record may be sent as metadata, in a request or in an answer.
///
/// `grpc-` is gRPC's own, but for what only the two ends read: details of a status, attempts, traces. `grpc-timeout` is not sent as it stands: time has gone by.
pub fn may_send(name: &[u8], value: &[u8]) -> bool {
    is_name(name) && is_metadata(name) && !is_reserved(name) && is_value(name, value)
}

/// gRPC's `Header-Name`, which is stricter than HTTP's token.
fn is_name(name: &[u8]) -> bool {
    !name.is_empty()
        && name
            .iter()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'z' | b'_' | b'-' | b'.'))
}

fn is_reserved(name: &[u8]) -> bool {
    let end_to_end = matches!(
        name,
        b"grpc-previous-rpc-attempts"
            | b"grpc-status-details-bin"
            | b"grpc-tags-bin"
            | b"grpc-trace-bin"
    );
    (name.starts_with(b"grpc-") && !end_to_end) || name == b"date"
}

/// gRPC's `ASCII-Value`, without the spaces around it that RFC 9113 8.2.1 forbids; base64, padded or not, if the name says so.
fn is_value(name: &[u8], value: &[u8]) -> bool {
    if name.ends_with(b"-bin") {
        // Several values of one name may be joined by commas.
        return value
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=' | b','));
    }
    value.iter().all(|byte| matches!(byte, 0x20..=0x7e))
        && value.first() != Some(&b' ')
        && value.last() != Some(&b' ')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_passes_on_what_is_not_of_its_hop() {
        for name in [
            "grpc-timeout",
            "grpc-accept-encoding",
            "grpc-trace-bin",
            "custom",
            "custom-bin",
            "accept",
            "authorization",
            "idempotency-key",
            "last-message-id-bin",
        ] {
            assert!(is_metadata(name.as_bytes()), "{name}");
        }
        for name in [
            ":path",
            ":authority",
            "service-name",
            "te",
            "content-type",
            "content-length",
            "user-agent",
            "grpc-encoding",
            "host",
            "connection",
            "keep-alive",
            "transfer-encoding",
            "upgrade",
        ] {
            assert!(!is_metadata(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn an_answer_passes_on_what_is_not_its_status() {
        for name in ["custom", "custom-bin", "server", "grpc-status-details-bin"] {
            assert!(is_reply_metadata(name.as_bytes()), "{name}");
        }
        for name in [
            ":status",
            "content-type",
            "content-length",
            "date",
            "grpc-status",
            "grpc-message",
            "grpc-encoding",
            "grpc-accept-encoding",
            "trailer",
            "connection",
        ] {
            assert!(!is_reply_metadata(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn a_record_sends_nothing_that_decides_how_the_rest_is_read() {
        for (name, value) in [
            ("custom", "a b~"),
            ("custom", ""),
            ("x_1.y", "1"),
            ("custom-bin", "AQIAAg=="),
            ("custom-bin", "AQIAAg,AQ"),
            ("grpc-status-details-bin", "CAU"),
            ("grpc-previous-rpc-attempts", "1"),
        ] {
            assert!(
                may_send(name.as_bytes(), value.as_bytes()),
                "{name}: {value}"
            );
        }
        for (name, value) in [
            ("", "1"),
            (":path", "/x"),
            ("Custom", "1"),
            ("cus tom", "1"),
            ("custom\r\n", "1"),
            ("custom", "1\r\n"),
            ("custom", " 1"),
            ("custom", "1 "),
            ("custom", "\u{fc}"),
            ("custom-bin", "not base64!"),
            ("te", "gzip"),
            ("content-type", "text/plain"),
            ("content-length", "1"),
            ("connection", "close"),
            ("transfer-encoding", "chunked"),
            ("host", "other"),
            ("grpc-status", "0"),
            ("grpc-message", "fine"),
            ("grpc-encoding", "gzip"),
            ("grpc-accept-encoding", "gzip"),
            ("grpc-timeout", "1S"),
            ("grpc-future", "1"),
        ] {
            assert!(
                !may_send(name.as_bytes(), value.as_bytes()),
                "{name}: {value}"
            );
        }
    }
}
