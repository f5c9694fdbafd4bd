//! A topic's configuration: which keys there are, their defaults, and what they mean for its logs.
//! Used by topic creation and `DescribeConfigs`.
//!
//! One rule: a key that Kafka does not know is refused, and so is a value that Kafka would refuse.

use super::error::ErrorCode;
use super::log::Limits;
use std::collections::BTreeMap;

/// Longest value of a key that is stored without a meaning here.
const VALUE_BYTES_MAX: usize = 4096;

#[derive(Clone, Copy)]
enum Kind {
    /// `delete`, `compact`, or both.
    Policy,
    /// A whole number of at least this.
    Int(i64),
    /// As `Int`, in 64 bits.
    Long(i64),
    /// Kept and described, without effect here.
    Stored,
}

struct Key {
    name: &'static str,
    /// `None`: not described unless it was set.
    default: Option<&'static str>,
    kind: Kind,
}

const fn key(name: &'static str, default: &'static str, kind: Kind) -> Key {
    Key {
        name,
        default: Some(default),
        kind,
    }
}

const fn stored(name: &'static str) -> Key {
    Key {
        name,
        default: None,
        kind: Kind::Stored,
    }
}

const RETENTION_BYTES: &str = "retention.bytes";

const KEYS: &[Key] = &[
    key("cleanup.policy", "delete", Kind::Policy),
    key("delete.retention.ms", "86400000", Kind::Long(0)),
    key("max.message.bytes", "1048588", Kind::Int(0)),
    key("min.insync.replicas", "1", Kind::Int(1)),
    // Its default is the broker's bound; see `TopicConfig::value`.
    key(RETENTION_BYTES, "-1", Kind::Long(-1)),
    key("retention.ms", "604800000", Kind::Long(-1)),
    key("segment.bytes", "1073741824", Kind::Int(14)),
    stored("compression.gzip.level"),
    stored("compression.lz4.level"),
    stored("compression.type"),
    stored("compression.zstd.level"),
    stored("file.delete.delay.ms"),
    stored("flush.messages"),
    stored("flush.ms"),
    stored("follower.replication.throttled.replicas"),
    stored("index.interval.bytes"),
    stored("leader.replication.throttled.replicas"),
    stored("local.retention.bytes"),
    stored("local.retention.ms"),
    stored("max.compaction.lag.ms"),
    stored("message.timestamp.after.max.ms"),
    stored("message.timestamp.before.max.ms"),
    stored("message.timestamp.type"),
    stored("min.cleanable.dirty.ratio"),
    stored("min.compaction.lag.ms"),
    stored("preallocate"),
    stored("remote.storage.enable"),
    stored("segment.index.bytes"),
    stored("segment.jitter.ms"),
    stored("segment.ms"),
    stored("unclean.leader.election.enable"),
];

/// What was set for one topic, checked.
#[derive(Clone, Debug, Default)]
pub(super) struct TopicConfig {
    set: BTreeMap<&'static str, String>,
    retention_bytes_default: usize,
}

/// One line of `DescribeConfigs`.
pub(super) struct Described {
    pub(super) name: &'static str,
    pub(super) value: String,
    /// Set for this topic, as against a default.
    pub(super) is_set: bool,
    /// Kafka's `ConfigDef.Type` number.
    pub(super) kind: i8,
}

impl TopicConfig {
    /// Checks what was asked for; `retention_bytes_default` is the broker's bound per partition.
    ///
    /// # Errors
    /// `INVALID_CONFIG` for an unknown key or an illegal value.
    pub(super) fn new<'a>(
        pairs: impl IntoIterator<Item = (&'a str, &'a str)>,
        retention_bytes_default: usize,
    ) -> Result<Self, ErrorCode> {
        let mut set = BTreeMap::new();
        for (name, value) in pairs {
            let key = KEYS
                .iter()
                .find(|key| key.name == name)
                .ok_or(ErrorCode::INVALID_CONFIG)?;
            if !key.kind.allows(value) {
                return Err(ErrorCode::INVALID_CONFIG);
            }
            set.insert(key.name, value.to_owned());
        }
        Ok(Self {
            set,
            retention_bytes_default,
        })
    }

    /// What was set, in the order of the names.
    pub(super) fn pairs(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.set.iter().map(|(name, value)| (*name, value.as_str()))
    }

    /// What the configuration means for a log.
    pub(super) fn limits(&self) -> Limits {
        let is_compacted = self.has_policy("compact");
        let is_deleted_from = self.has_policy("delete");
        let retention_bytes = usize::try_from(self.number(RETENTION_BYTES)).ok();
        Limits {
            bytes_max: retention_bytes
                .filter(|_| is_deleted_from)
                .unwrap_or(self.retention_bytes_default),
            retention_ms: Some(self.number("retention.ms")).filter(|ms| *ms >= 0),
            message_bytes_max: usize::try_from(self.number("max.message.bytes"))
                .unwrap_or(usize::MAX),
            tombstone_ms: self.number("delete.retention.ms"),
            is_compacted,
            is_deleted_from,
        }
    }

    /// How many replicas a write with acks all wants in sync; there is one.
    pub(super) fn insync_replicas_min(&self) -> i64 {
        self.number("min.insync.replicas")
    }

    /// Every key that has a value.
    pub(super) fn describe(&self) -> impl Iterator<Item = Described> {
        KEYS.iter().filter_map(|key| {
            let value = self.value(key)?;
            Some(Described {
                name: key.name,
                value,
                is_set: self.set.contains_key(key.name),
                kind: key.kind.number(),
            })
        })
    }

    fn has_policy(&self, wanted: &str) -> bool {
        self.text("cleanup.policy")
            .split(',')
            .any(|policy| policy.trim() == wanted)
    }

    fn number(&self, name: &str) -> i64 {
        self.text(name).trim().parse().unwrap_or_default()
    }

    fn text(&self, name: &str) -> String {
        KEYS.iter()
            .find(|key| key.name == name)
            .and_then(|key| self.value(key))
            .unwrap_or_default()
    }

    fn value(&self, key: &Key) -> Option<String> {
        if let Some(value) = self.set.get(key.name) {
            return Some(value.clone());
        }
        if key.name == RETENTION_BYTES {
            return Some(self.retention_bytes_default.to_string());
        }
        key.default.map(str::to_owned)
    }
}

impl Kind {
    fn allows(self, value: &str) -> bool {
        // Control characters would break the file of topics.
        if value.contains(char::is_control) {
            return false;
        }
        match self {
            Self::Policy => value
                .split(',')
                .all(|policy| matches!(policy.trim(), "delete" | "compact")),
            Self::Int(min) => value
                .trim()
                .parse::<i32>()
                .is_ok_and(|number| i64::from(number) >= min),
            Self::Long(min) => value
                .trim()
                .parse::<i64>()
                .is_ok_and(|number| number >= min),
            Self::Stored => value.len() <= VALUE_BYTES_MAX,
        }
    }

    const fn number(self) -> i8 {
        match self {
            Self::Stored => 2,
            Self::Int(_) => 3,
            Self::Long(_) => 5,
            Self::Policy => 7,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_keys_and_illegal_values_are_refused() {
        for pair in [
            ("retention.tms", "1"),
            ("cleanup.policy", "compact,erase"),
            ("cleanup.policy", ""),
            ("retention.ms", "-2"),
            ("retention.ms", "1h"),
            ("max.message.bytes", "-1"),
            ("max.message.bytes", "3000000000"),
            ("min.insync.replicas", "0"),
            ("compression.type", "a\nb"),
            ("retention.ms", "1\n"),
        ] {
            assert_eq!(
                TopicConfig::new([pair], 1).err(),
                Some(ErrorCode::INVALID_CONFIG),
                "{pair:?}"
            );
        }
    }

    #[test]
    fn policies_combine_and_defaults_are_those_of_kafka() {
        let config = TopicConfig::new(
            [
                ("cleanup.policy", "compact, delete"),
                ("retention.bytes", "10"),
            ],
            99,
        )
        .unwrap();
        let limits = config.limits();
        assert!(limits.is_compacted && limits.is_deleted_from);
        assert_eq!(
            (limits.bytes_max, limits.message_bytes_max),
            (10, 1_048_588)
        );
        let plain = TopicConfig::new([], 99).unwrap().limits();
        assert!(!plain.is_compacted && plain.is_deleted_from);
        assert_eq!(
            (plain.bytes_max, plain.retention_ms),
            (99, Some(604_800_000))
        );
    }

    #[test]
    fn retention_does_not_shrink_a_topic_that_is_only_compacted() {
        let config = TopicConfig::new(
            [("cleanup.policy", "compact"), ("retention.bytes", "10")],
            99,
        )
        .unwrap();
        assert_eq!(config.limits().bytes_max, 99);
    }
}
