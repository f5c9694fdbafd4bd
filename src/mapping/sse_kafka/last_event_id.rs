//! Where a stream is to go on: the id of the last event that a client has seen, from `last-event-id` or the query.
//!
//! Rule: what is no id of ours means the beginning, never an error: a client cannot mend what its browser remembers.

use std::borrow::Cow;

use crate::http::RequestHead;
use crate::mapping::progress::{Progress, ProgressTag};
use crate::route::find_parameter;

/// Bytes of a last event id; a longer one is refused. Zilla takes 254, which an id over a hundred partitions does not fit in.
pub const LAST_EVENT_ID_BYTES_MAX: usize = 8 << 10;

/// The id that a request brings: the header before the query parameter `lastEventId`; an empty one is none.
pub fn last_event_id(head: &RequestHead) -> Option<Cow<'_, [u8]>> {
    let header = head.headers().get_last("last-event-id").map(Cow::Borrowed);
    let found = header.or_else(|| find_parameter(head.query()?, "lastEventId"));
    found.filter(|id| !id.is_empty())
}

/// How far the client is; `None`: it begins anew. Takes both forms of ids, with and without the etag of a record.
pub fn progress_of(id: &[u8]) -> Option<Progress> {
    let tag = match id.strip_prefix(b"[") {
        None => id,
        Some(rest) => {
            let rest = rest.strip_suffix(b"\"]")?;
            // A key is base64url or null: neither has a comma or quotes in it.
            let comma = rest.iter().position(|&byte| byte == b',')?;
            let (key, tag) = rest.split_at(comma);
            let is_key = key == b"null"
                || (key.len() >= 2 && key.starts_with(b"\"") && key.ends_with(b"\""));
            tag.strip_prefix(b",\"").filter(|_| is_key)?
        }
    };
    Some(ProgressTag::decode(tag)?.progress)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{Headers, Method, Scheme, Version};

    fn head(target: &str, id: Option<&str>) -> RequestHead {
        let mut headers = Headers::new();
        if let Some(id) = id {
            headers.push("last-event-id", id);
        }
        let (scheme, version) = (Scheme::Https, Version::Http2);
        RequestHead::new(
            Method::Get,
            scheme,
            version,
            b"a",
            target.as_bytes(),
            headers,
        )
    }

    #[test]
    fn the_header_comes_before_the_query_which_is_decoded() {
        let found = |target, id| last_event_id(&head(target, id)).map(Cow::into_owned);
        assert_eq!(found("/e?lastEventId=b", Some("a")), Some(b"a".to_vec()));
        assert_eq!(
            found("/e?x=1&lastEventId=AQIAAg%3D%3D", None),
            Some(b"AQIAAg==".to_vec())
        );
        assert_eq!(found("/e?lastEventId=", None), None);
        assert_eq!(found("/e", Some("")), None);
        assert_eq!(found("/e", None), None);
    }

    #[test]
    fn all_four_forms_of_an_id_say_how_far_the_client_is() {
        let progress: Progress = [(0, 2), (1, 1)].into_iter().collect();
        for id in [
            "AQQABAIC",
            "AQQABAIC/revision=42",
            "[\"a2V5\",\"AQQABAIC/revision=42\"]",
            "[\"a2V5\",\"AQQABAIC\"]",
            "[null,\"AQQABAIC\"]",
            "[null,\"AQQABAIC/a,\\\"b\"]",
        ] {
            assert_eq!(progress_of(id.as_bytes()), Some(progress.clone()), "{id}");
        }
    }

    #[test]
    fn what_is_no_id_of_ours_is_none() {
        for id in [
            "",
            "abc",
            "AQQABAI",
            "[",
            "[]",
            "[\"]",
            "[\"a2V5\"]",
            "[a,\"AQQABAIC\"]",
            "[null,AQQABAIC]",
            "\"AQQABAIC\"",
        ] {
            assert_eq!(progress_of(id.as_bytes()), None, "{id}");
        }
    }
}
