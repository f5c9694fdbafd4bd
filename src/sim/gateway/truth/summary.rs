//! What happened to the clients of a run, in numbers.

use crate::error::RequestError;
use crate::kafka::producer::ProduceFault;
use crate::sim::gateway::exchange::{Ask, Outcome};

/// How often each thing happened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GatewaySummary {
    /// One-way writes acknowledged.
    pub written: u64,
    /// Items read.
    pub read: u64,
    /// Items rightly not found.
    pub missing: u64,
    /// Collections written whole.
    pub listed: u64,
    /// Requests answered with their reply.
    pub replied: u64,
    /// Requests accepted, or without a reply yet.
    pub accepted: u64,
    /// Requests whose outcome nobody knows, or whose reply did not come in time.
    pub unknown: u64,
    /// Requests refused because Kafka could not be asked or did not answer.
    pub unavailable: u64,
    /// Requests refused because too much was waiting.
    pub overloaded: u64,
    /// Requests of correlated kind given to a producer.
    pub produced: u64,
    /// Replies that the service wrote.
    pub replies: u64,
    /// Messages that did not fit into the mailbox of a core.
    pub refused: u64,
    /// Times that the looking through replies paused because too much waited for another core.
    pub pauses: u64,
    /// Snapshots sent to cores that read items.
    pub snapshots: u64,
    /// Clients that left before they were answered.
    pub vanished: u64,
    /// Processes that ended and were started anew.
    pub restarts: u64,
    /// Follows from all that happened, in order: the same seed gives the same.
    pub digest: u64,
}

impl GatewaySummary {
    /// Adds the counts of another run.
    pub fn add(&mut self, other: &Self) {
        self.written += other.written;
        self.read += other.read;
        self.missing += other.missing;
        self.listed += other.listed;
        self.replied += other.replied;
        self.accepted += other.accepted;
        self.unknown += other.unknown;
        self.unavailable += other.unavailable;
        self.overloaded += other.overloaded;
        self.produced += other.produced;
        self.replies += other.replies;
        self.refused += other.refused;
        self.pauses += other.pauses;
        self.snapshots += other.snapshots;
        self.vanished += other.vanished;
        self.restarts += other.restarts;
        self.digest ^= other.digest;
    }

    /// Counts an answer.
    pub(super) const fn count(&mut self, ask: &Ask, outcome: &Outcome) {
        let counter = match (ask, outcome) {
            (_, Outcome::Answered { status: 202, .. }) => &mut self.accepted,
            (Ask::Put { .. } | Ask::Delete { .. }, Outcome::Answered { .. }) => &mut self.written,
            (Ask::Submit(_) | Ask::Status { .. }, Outcome::Answered { .. }) => &mut self.replied,
            (_, Outcome::Answered { .. }) => &mut self.read,
            (_, Outcome::Listed { .. }) => &mut self.listed,
            (_, Outcome::Failed(RequestError::NotFound)) => &mut self.missing,
            (
                _,
                Outcome::Failed(
                    RequestError::NoReply | RequestError::Produce(ProduceFault::OutcomeUnknown),
                ),
            ) => &mut self.unknown,
            (_, Outcome::Failed(RequestError::RepliesOverloaded)) => &mut self.overloaded,
            (_, Outcome::Failed(_) | Outcome::Cut) => &mut self.unavailable,
        };
        *counter += 1;
    }

    /// Adds to the digest (FNV-1a, word by word).
    pub(super) fn digest(&mut self, words: &[u64]) {
        for word in words {
            self.digest = (self.digest ^ word).wrapping_mul(0x0100_0000_01b3);
        }
    }
}
