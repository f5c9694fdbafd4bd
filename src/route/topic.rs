//! The names that Kafka allows for topics (`org.apache.kafka.common.internals.Topic`).
//!
//! Checked when a literal name is loaded, and again for every name that a template renders from a request.

use std::fmt;

/// The longest topic name, in bytes.
pub const TOPIC_BYTES_MAX: usize = 249;

/// Why a name cannot be a topic's. Its words go on from the name: `a/b` is no topic name: ….
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopicFault {
    /// No characters at all.
    Empty,
    /// `.` or `..`.
    Dots,
    /// More than [`TOPIC_BYTES_MAX`] bytes.
    TooLong,
    /// A byte other than letters, digits, `.`, `_` and `-`.
    Character,
}

impl fmt::Display for TopicFault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => formatter.write_str("is no topic name: it is empty"),
            Self::Dots => {
                formatter.write_str("is no topic name: Kafka keeps `.` and `..` for itself")
            }
            Self::TooLong => write!(
                formatter,
                "is no topic name: it has more than {TOPIC_BYTES_MAX} characters"
            ),
            Self::Character => formatter
                .write_str("is no topic name: it may have letters, digits, `.`, `_` and `-` only"),
        }
    }
}

impl std::error::Error for TopicFault {}

/// Checks a topic name.
///
/// # Errors
/// The first rule that `name` breaks.
pub fn check_topic(name: &[u8]) -> Result<(), TopicFault> {
    match name {
        [] => Err(TopicFault::Empty),
        b"." | b".." => Err(TopicFault::Dots),
        _ if name.len() > TOPIC_BYTES_MAX => Err(TopicFault::TooLong),
        _ if !name
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')) =>
        {
            Err(TopicFault::Character)
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topic_names_follow_kafkas_rules() {
        assert_eq!(check_topic(b"items-snapshots_1.x"), Ok(()));
        assert_eq!(check_topic(b""), Err(TopicFault::Empty));
        assert_eq!(check_topic(b".."), Err(TopicFault::Dots));
        assert_eq!(check_topic(b"a/b"), Err(TopicFault::Character));
        assert_eq!(check_topic(&[b'a'; TOPIC_BYTES_MAX]), Ok(()));
        assert_eq!(
            check_topic(&[b'a'; TOPIC_BYTES_MAX + 1]),
            Err(TopicFault::TooLong)
        );
    }
}
