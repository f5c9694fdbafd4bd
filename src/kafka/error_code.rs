//! Kafka's error codes, by what a client has to do about them.

/// An `error_code` of a broker's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ErrorCode(pub i16);

impl ErrorCode {
    /// The broker does not know what went wrong with it.
    pub const UNKNOWN_SERVER_ERROR: Self = Self(-1);
    /// No error.
    pub const NONE: Self = Self(0);
    /// The offset is before the log's start or after its end.
    pub const OFFSET_OUT_OF_RANGE: Self = Self(1);
    /// The batch's checksum does not hold.
    pub const CORRUPT_MESSAGE: Self = Self(2);
    /// No such topic or partition, as far as this broker knows.
    pub const UNKNOWN_TOPIC_OR_PARTITION: Self = Self(3);
    /// An election is under way.
    pub const LEADER_NOT_AVAILABLE: Self = Self(5);
    /// The broker asked does not lead the partition (any more).
    pub const NOT_LEADER_OR_FOLLOWER: Self = Self(6);
    /// The broker gave up waiting for its replicas; the batch may be stored.
    pub const REQUEST_TIMED_OUT: Self = Self(7);
    /// The batch is larger than `max.message.bytes`.
    pub const MESSAGE_TOO_LARGE: Self = Self(10);
    /// A connection between brokers broke.
    pub const NETWORK_EXCEPTION: Self = Self(13);
    /// A coordinator is still loading its log.
    pub const COORDINATOR_LOAD_IN_PROGRESS: Self = Self(14);
    /// There is no coordinator at the moment.
    pub const COORDINATOR_NOT_AVAILABLE: Self = Self(15);
    /// The coordinator has moved.
    pub const NOT_COORDINATOR: Self = Self(16);
    /// Not a legal topic name.
    pub const INVALID_TOPIC_EXCEPTION: Self = Self(17);
    /// The batch is larger than a segment.
    pub const RECORD_LIST_TOO_LARGE: Self = Self(18);
    /// Fewer in-sync replicas than `min.insync.replicas`; nothing was stored.
    pub const NOT_ENOUGH_REPLICAS: Self = Self(19);
    /// The same, found out after the leader had stored the batch.
    pub const NOT_ENOUGH_REPLICAS_AFTER_APPEND: Self = Self(20);
    /// The group has begun another generation without this member.
    pub const ILLEGAL_GENERATION: Self = Self(22);
    /// The group's members speak another protocol than this one.
    pub const INCONSISTENT_GROUP_PROTOCOL: Self = Self(23);
    /// Not a legal group name.
    pub const INVALID_GROUP_ID: Self = Self(24);
    /// The group does not know the member (any more).
    pub const UNKNOWN_MEMBER_ID: Self = Self(25);
    /// The broker takes other session timeouts only.
    pub const INVALID_SESSION_TIMEOUT: Self = Self(26);
    /// The members of the group have to join again.
    pub const REBALANCE_IN_PROGRESS: Self = Self(27);
    /// No ACL for the topic.
    pub const TOPIC_AUTHORIZATION_FAILED: Self = Self(29);
    /// No ACL for the group.
    pub const GROUP_AUTHORIZATION_FAILED: Self = Self(30);
    /// The topic is there already.
    pub const TOPIC_ALREADY_EXISTS: Self = Self(36);
    /// Only the controller can do this, and this broker is not it.
    pub const NOT_CONTROLLER: Self = Self(41);
    /// A batch of this producer is missing before this one.
    pub const OUT_OF_ORDER_SEQUENCE_NUMBER: Self = Self(45);
    /// The broker has this batch already.
    pub const DUPLICATE_SEQUENCE_NUMBER: Self = Self(46);
    /// A newer epoch of this producer has written to the partition.
    pub const INVALID_PRODUCER_EPOCH: Self = Self(47);
    /// The broker's disk failed.
    pub const KAFKA_STORAGE_ERROR: Self = Self(56);
    /// The broker has forgotten this producer.
    pub const UNKNOWN_PRODUCER_ID: Self = Self(59);
    /// The fetch session is gone.
    pub const FETCH_SESSION_ID_NOT_FOUND: Self = Self(70);
    /// The fetch session is at another epoch.
    pub const INVALID_FETCH_SESSION_EPOCH: Self = Self(71);
    /// The leader epoch asked with is old.
    pub const FENCED_LEADER_EPOCH: Self = Self(74);
    /// The leader epoch asked with is newer than the broker's.
    pub const UNKNOWN_LEADER_EPOCH: Self = Self(75);
    /// No offset can be given at the moment.
    pub const OFFSET_NOT_AVAILABLE: Self = Self(78);
    /// A new member has to come back with the id that it was given.
    pub const MEMBER_ID_REQUIRED: Self = Self(79);
    /// The group takes no further member.
    pub const GROUP_MAX_SIZE_REACHED: Self = Self(81);
    /// Another process is this static member now.
    pub const FENCED_INSTANCE_ID: Self = Self(82);
    /// The record is not acceptable (for example a null key on a compacted topic).
    pub const INVALID_RECORD: Self = Self(87);

    /// Whether the code says that all went well.
    pub const fn is_none(self) -> bool {
        self.0 == 0
    }

    /// Whether another attempt can succeed without anybody mending anything.
    pub const fn is_retriable(self) -> bool {
        matches!(
            self,
            Self::UNKNOWN_TOPIC_OR_PARTITION
                | Self::LEADER_NOT_AVAILABLE
                | Self::NOT_LEADER_OR_FOLLOWER
                | Self::REQUEST_TIMED_OUT
                | Self::NETWORK_EXCEPTION
                | Self::COORDINATOR_LOAD_IN_PROGRESS
                | Self::COORDINATOR_NOT_AVAILABLE
                | Self::NOT_COORDINATOR
                | Self::NOT_ENOUGH_REPLICAS
                | Self::NOT_ENOUGH_REPLICAS_AFTER_APPEND
                | Self::NOT_CONTROLLER
                | Self::KAFKA_STORAGE_ERROR
                | Self::FENCED_LEADER_EPOCH
                | Self::UNKNOWN_LEADER_EPOCH
                | Self::OFFSET_NOT_AVAILABLE
        )
    }

    /// Whether the code means that our picture of who leads what is old.
    pub const fn means_stale_metadata(self) -> bool {
        matches!(
            self,
            Self::UNKNOWN_TOPIC_OR_PARTITION
                | Self::LEADER_NOT_AVAILABLE
                | Self::NOT_LEADER_OR_FOLLOWER
                | Self::NETWORK_EXCEPTION
                | Self::KAFKA_STORAGE_ERROR
                | Self::FENCED_LEADER_EPOCH
                | Self::UNKNOWN_LEADER_EPOCH
        )
    }

    /// Whether the batch may have been stored although the answer is an error.
    pub const fn leaves_outcome_unknown(self) -> bool {
        matches!(
            self,
            Self::REQUEST_TIMED_OUT
                | Self::NOT_ENOUGH_REPLICAS_AFTER_APPEND
                | Self::NETWORK_EXCEPTION
                | Self::KAFKA_STORAGE_ERROR
        )
    }

    /// Kafka's name for the code.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NONE => "NONE",
            Self::OFFSET_OUT_OF_RANGE => "OFFSET_OUT_OF_RANGE",
            Self::CORRUPT_MESSAGE => "CORRUPT_MESSAGE",
            Self::UNKNOWN_TOPIC_OR_PARTITION => "UNKNOWN_TOPIC_OR_PARTITION",
            Self::LEADER_NOT_AVAILABLE => "LEADER_NOT_AVAILABLE",
            Self::NOT_LEADER_OR_FOLLOWER => "NOT_LEADER_OR_FOLLOWER",
            Self::REQUEST_TIMED_OUT => "REQUEST_TIMED_OUT",
            Self::MESSAGE_TOO_LARGE => "MESSAGE_TOO_LARGE",
            Self::NETWORK_EXCEPTION => "NETWORK_EXCEPTION",
            Self::COORDINATOR_LOAD_IN_PROGRESS => "COORDINATOR_LOAD_IN_PROGRESS",
            Self::COORDINATOR_NOT_AVAILABLE => "COORDINATOR_NOT_AVAILABLE",
            Self::NOT_COORDINATOR => "NOT_COORDINATOR",
            Self::INVALID_TOPIC_EXCEPTION => "INVALID_TOPIC_EXCEPTION",
            Self::RECORD_LIST_TOO_LARGE => "RECORD_LIST_TOO_LARGE",
            Self::NOT_ENOUGH_REPLICAS => "NOT_ENOUGH_REPLICAS",
            Self::NOT_ENOUGH_REPLICAS_AFTER_APPEND => "NOT_ENOUGH_REPLICAS_AFTER_APPEND",
            Self::ILLEGAL_GENERATION => "ILLEGAL_GENERATION",
            Self::INCONSISTENT_GROUP_PROTOCOL => "INCONSISTENT_GROUP_PROTOCOL",
            Self::INVALID_GROUP_ID => "INVALID_GROUP_ID",
            Self::UNKNOWN_MEMBER_ID => "UNKNOWN_MEMBER_ID",
            Self::INVALID_SESSION_TIMEOUT => "INVALID_SESSION_TIMEOUT",
            Self::REBALANCE_IN_PROGRESS => "REBALANCE_IN_PROGRESS",
            Self::TOPIC_AUTHORIZATION_FAILED => "TOPIC_AUTHORIZATION_FAILED",
            Self::GROUP_AUTHORIZATION_FAILED => "GROUP_AUTHORIZATION_FAILED",
            Self::TOPIC_ALREADY_EXISTS => "TOPIC_ALREADY_EXISTS",
            Self::NOT_CONTROLLER => "NOT_CONTROLLER",
            Self::OUT_OF_ORDER_SEQUENCE_NUMBER => "OUT_OF_ORDER_SEQUENCE_NUMBER",
            Self::DUPLICATE_SEQUENCE_NUMBER => "DUPLICATE_SEQUENCE_NUMBER",
            Self::INVALID_PRODUCER_EPOCH => "INVALID_PRODUCER_EPOCH",
            Self::KAFKA_STORAGE_ERROR => "KAFKA_STORAGE_ERROR",
            Self::UNKNOWN_PRODUCER_ID => "UNKNOWN_PRODUCER_ID",
            Self::MEMBER_ID_REQUIRED => "MEMBER_ID_REQUIRED",
            Self::GROUP_MAX_SIZE_REACHED => "GROUP_MAX_SIZE_REACHED",
            Self::FENCED_INSTANCE_ID => "FENCED_INSTANCE_ID",
            Self::INVALID_RECORD => "INVALID_RECORD",
            _ => "error",
        }
    }
}

impl std::fmt::Display for ErrorCode {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} ({})", self.name(), self.0)
    }
}
