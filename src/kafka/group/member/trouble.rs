//! What a coordinator's error makes a member do, and what is said about it: once, and again when it changes. Sans-IO.

use std::collections::BTreeMap;
use std::fmt;

use crate::kafka::error_code::ErrorCode;
use crate::kafka::group::requests::CallKind;

/// What to do after an error; of several the last in this order decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reaction {
    /// Somebody has to mend something.
    RetrySlowly,
    /// It may go away by itself.
    Retry,
    /// With the id that was given (KIP-394).
    ComeBack,
    /// The coordinator is not there, or not there yet.
    FindCoordinator,
    /// A generation ends; partitions are kept until the next is known.
    Rejoin,
    /// The group has gone on without the member; whether it knows the id still.
    Fenced {
        /// It does.
        keeps_id: bool,
    },
}

impl Reaction {
    /// Whether the member goes on as it was, and asks again later.
    pub(super) const fn is_patient(self) -> bool {
        matches!(self, Self::Retry | Self::RetrySlowly)
    }
}

/// What an error means for a member.
pub(super) const fn reaction(error: ErrorCode) -> Reaction {
    match error {
        ErrorCode::COORDINATOR_LOAD_IN_PROGRESS
        | ErrorCode::COORDINATOR_NOT_AVAILABLE
        | ErrorCode::NOT_COORDINATOR => Reaction::FindCoordinator,
        ErrorCode::REBALANCE_IN_PROGRESS => Reaction::Rejoin,
        ErrorCode::MEMBER_ID_REQUIRED => Reaction::ComeBack,
        ErrorCode::ILLEGAL_GENERATION => Reaction::Fenced { keeps_id: true },
        ErrorCode::UNKNOWN_MEMBER_ID | ErrorCode::FENCED_INSTANCE_ID => {
            Reaction::Fenced { keeps_id: false }
        }
        error if error.is_retriable() => Reaction::Retry,
        _ => Reaction::RetrySlowly,
    }
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// No answer, and why.
    Unreachable(String),
    /// The coordinator's answer.
    Refused(ErrorCode),
    /// An assignment that makes no sense: its leader speaks another protocol under the same name.
    Undecodable,
    /// No beat was answered for the time of the session.
    Expired,
}

impl fmt::Display for Trouble {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(reason) => formatter.write_str(reason),
            Self::Refused(ErrorCode::GROUP_AUTHORIZATION_FAILED) => {
                write!(formatter, "not allowed: grant Read on the group")
            }
            Self::Refused(ErrorCode::INCONSISTENT_GROUP_PROTOCOL) => {
                write!(
                    formatter,
                    "the group's members are consumers of another kind: use another group"
                )
            }
            Self::Refused(ErrorCode::INVALID_SESSION_TIMEOUT) => write!(
                formatter,
                "the session timeout is not between the broker's group.min.session.timeout.ms and group.max.session.timeout.ms"
            ),
            Self::Refused(error) => error.fmt(formatter),
            Self::Undecodable => write!(formatter, "the assignment does not decode"),
            Self::Expired => {
                write!(
                    formatter,
                    "no answer for as long as the session lasts: what was assigned may be another's"
                )
            }
        }
    }
}

/// What has been said and has not ended.
#[derive(Debug)]
pub(super) struct Troubles {
    group: String,
    told: BTreeMap<CallKind, Trouble>,
}

impl Troubles {
    pub(super) fn new(group: &str) -> Self {
        Self {
            group: group.to_owned(),
            told: BTreeMap::new(),
        }
    }

    /// Says what is wrong with a call, unless it was wrong before.
    pub(super) fn tell(&mut self, kind: CallKind, trouble: Trouble) {
        if self.told.get(&kind) == Some(&trouble) {
            return;
        }
        tracing::warn!(group = self.group, call = ?kind, reason = %trouble, "trouble with the consumer group, trying on");
        self.told.insert(kind, trouble);
    }

    /// A call went well.
    pub(super) fn end(&mut self, kind: CallKind) {
        self.told.remove(&kind);
    }

    /// What is wrong at the moment with a call.
    #[cfg(test)]
    pub(super) fn of(&self, kind: CallKind) -> Option<&Trouble> {
        self.told.get(&kind)
    }
}
