//! Kafka's error codes, as far as the embedded broker answers them. Used by every handler.
//!
//! One rule: a code is written once, here, with Kafka's own name.

use std::fmt;

/// An error code of the Kafka protocol, as it stands in a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ErrorCode(pub i16);

macro_rules! error_codes {
    ($($name:ident = $code:literal: $doc:literal;)*) => {
        impl ErrorCode {
            $(#[doc = $doc] pub const $name: Self = Self($code);)*

            /// Kafka's name of the code; `None` for one that this broker never answers by itself.
            pub const fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($code => Some(stringify!($name)),)*
                    _ => None,
                }
            }
        }
    };
}

error_codes! {
    NONE = 0: "No error.";
    OFFSET_OUT_OF_RANGE = 1: "The offset is before the log's start or after its end.";
    CORRUPT_MESSAGE = 2: "A batch is malformed or its checksum is wrong.";
    UNKNOWN_TOPIC_OR_PARTITION = 3: "There is no such topic or partition.";
    MESSAGE_TOO_LARGE = 10: "The batch is larger than the topic's `max.message.bytes`.";
    OFFSET_METADATA_TOO_LARGE = 12: "The metadata beside a committed offset is over 4096 bytes.";
    COORDINATOR_NOT_AVAILABLE = 15: "The group cannot be served now; also: too many groups.";
    INVALID_TOPIC_EXCEPTION = 17: "The topic's name is not a legal one.";
    NOT_ENOUGH_REPLICAS = 19: "`min.insync.replicas` asks for more than the one replica there is.";
    INVALID_REQUIRED_ACKS = 21: "`acks` is none of -1, 0 and 1.";
    ILLEGAL_GENERATION = 22: "The group has moved to another generation.";
    INCONSISTENT_GROUP_PROTOCOL = 23: "The member shares no protocol with the rest of the group.";
    INVALID_GROUP_ID = 24: "The group id is empty.";
    UNKNOWN_MEMBER_ID = 25: "The coordinator does not know this member.";
    INVALID_SESSION_TIMEOUT = 26: "The session timeout is outside of what the coordinator takes.";
    REBALANCE_IN_PROGRESS = 27: "The group is rebalancing: join again.";
    UNSUPPORTED_VERSION = 35: "The version of the API is not served.";
    TOPIC_ALREADY_EXISTS = 36: "There is a topic of this name already.";
    INVALID_PARTITIONS = 37: "The number of partitions is below one or over the bound.";
    INVALID_REPLICATION_FACTOR = 38: "This broker keeps one replica.";
    INVALID_REPLICA_ASSIGNMENT = 39: "A manual assignment names other brokers than this one.";
    INVALID_CONFIG = 40: "A topic config is unknown or has an illegal value.";
    INVALID_REQUEST = 42: "The request contradicts itself.";
    POLICY_VIOLATION = 44: "The broker holds as many partitions as it may.";
    OUT_OF_ORDER_SEQUENCE_NUMBER = 45: "A sequence of an idempotent producer leaves a gap.";
    DUPLICATE_SEQUENCE_NUMBER = 46: "A batch was stored before, too long ago to know its offset.";
    INVALID_PRODUCER_EPOCH = 47: "The producer's epoch is older than one seen before.";
    INVALID_TXN_STATE = 48: "A transactional batch outside of any transaction.";
    TRANSACTIONAL_ID_AUTHORIZATION_FAILED = 53: "Transactions are not served.";
    KAFKA_STORAGE_ERROR = 56: "The log's file or its memory bound refused the write.";
    FETCH_SESSION_ID_NOT_FOUND = 70: "The fetch session was evicted or never existed.";
    INVALID_FETCH_SESSION_EPOCH = 71: "The fetch session's epoch is not the next one.";
    UNKNOWN_LEADER_EPOCH = 75: "The client knows a newer leader epoch than the broker.";
    MEMBER_ID_REQUIRED = 79: "Join again with the member id in this answer (KIP-394).";
    GROUP_MAX_SIZE_REACHED = 81: "The group has as many members as it may.";
    FENCED_INSTANCE_ID = 82: "Another member took over this `group.instance.id`.";
    INVALID_RECORD = 87: "A produce request breaks the rules for record batches.";
    UNKNOWN_TOPIC_ID = 100: "There is no topic of this id.";
    FETCH_SESSION_TOPIC_ID_ERROR = 106: "A fetch session mixed topic names and topic ids.";
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => write!(f, "{name} ({})", self.0),
            None => write!(f, "kafka error {}", self.0),
        }
    }
}

impl std::error::Error for ErrorCode {}
