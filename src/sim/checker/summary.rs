//! What happened in a run, in numbers.

use crate::kafka::producer::ProduceFault;

/// How often each thing happened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Records stored and said to be.
    pub stored: u64,
    /// Records of which nobody knows, as far as the writer was told.
    pub unknown: u64,
    /// Records refused because nothing could be sent.
    pub unavailable: u64,
    /// Records refused as too large.
    pub too_large: u64,
    /// Records refused by the broker.
    pub rejected: u64,
    /// Records refused because too much was waiting.
    pub overloaded: u64,
    /// Batches that the broker had already.
    pub duplicates: u64,
    /// Batches sent under an epoch that is not the first.
    pub later_epochs: u64,
    /// Requests that reached a broker after their connection was given up.
    pub late_arrivals: u64,
    /// Records that a change of leader took out of a log again.
    pub truncated: u64,
    /// Follows from all that happened, in order: the same seed gives the same.
    pub digest: u64,
}

impl Summary {
    /// Adds the counts of another run.
    pub fn add(&mut self, other: &Self) {
        self.stored += other.stored;
        self.unknown += other.unknown;
        self.unavailable += other.unavailable;
        self.too_large += other.too_large;
        self.rejected += other.rejected;
        self.overloaded += other.overloaded;
        self.duplicates += other.duplicates;
        self.later_epochs += other.later_epochs;
        self.late_arrivals += other.late_arrivals;
        self.truncated += other.truncated;
        self.digest ^= other.digest;
    }

    /// Counts a fault.
    pub(super) const fn count(&mut self, fault: ProduceFault) {
        let counter = match fault {
            ProduceFault::OutcomeUnknown => &mut self.unknown,
            ProduceFault::Unavailable(_) => &mut self.unavailable,
            ProduceFault::TooLarge { .. } => &mut self.too_large,
            ProduceFault::Rejected(_) => &mut self.rejected,
            ProduceFault::Overloaded { .. } => &mut self.overloaded,
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
