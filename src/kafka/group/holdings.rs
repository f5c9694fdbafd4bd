//! The partitions that a member holds, and how far each is to be committed. Sans-IO.
//!
//! Rule: a commit belongs to an assignment: it never goes back within one, and ends with it.

use std::collections::{BTreeMap, BTreeSet};

use crate::kafka::fetcher::PartitionKey;

/// One partition.
#[derive(Debug, Default)]
struct Held {
    /// The member has been told, with the committed offset.
    is_announced: bool,
    /// The offset after the last record that is done with.
    wanted: Option<i64>,
    /// What of that the coordinator has.
    stored: Option<i64>,
}

impl Held {
    /// The offset to be committed, if there is any.
    fn outstanding(&self) -> Option<i64> {
        self.wanted.filter(|_| self.wanted != self.stored)
    }
}

/// All that one member holds.
#[derive(Debug, Default)]
pub(super) struct Holdings {
    partitions: BTreeMap<PartitionKey, Held>,
}

impl Holdings {
    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.partitions.is_empty()
    }

    /// All of them.
    pub(super) fn keys(&self) -> BTreeSet<PartitionKey> {
        self.partitions.keys().cloned().collect()
    }

    /// The member holds these and no others; returns those that it was told of and holds no more.
    pub(super) fn replace(&mut self, assigned: BTreeSet<PartitionKey>) -> Vec<PartitionKey> {
        let mut before = std::mem::take(&mut self.partitions);
        for key in assigned {
            let held = before.remove(&key).unwrap_or_default();
            self.partitions.insert(key, held);
        }
        before
            .into_iter()
            .filter(|(_, held)| held.is_announced)
            .map(|(key, _)| key)
            .collect()
    }

    /// Those that the member has not been told of.
    pub(super) fn unannounced(&self) -> Vec<PartitionKey> {
        self.partitions
            .iter()
            .filter(|(_, held)| !held.is_announced)
            .map(|(key, _)| key.clone())
            .collect()
    }

    /// Whether there are any of those.
    pub(super) fn has_unannounced(&self) -> bool {
        self.partitions.values().any(|held| !held.is_announced)
    }

    /// The member is being told; says whether it had not been, and holds the partition.
    pub(super) fn announce(&mut self, key: &PartitionKey) -> bool {
        self.partitions
            .get_mut(key)
            .is_some_and(|held| !std::mem::replace(&mut held.is_announced, true))
    }

    /// Everything before `next_offset` is done with. What is not held, or is behind what was said before, changes nothing.
    pub(super) fn commit(&mut self, key: &PartitionKey, next_offset: i64) {
        if let Some(held) = self.partitions.get_mut(key)
            && held.is_announced
        {
            held.wanted = held.wanted.max(Some(next_offset));
        }
    }

    /// What is to be committed.
    pub(super) fn outstanding(&self) -> Vec<(PartitionKey, i64)> {
        self.partitions
            .iter()
            .filter_map(|(key, held)| Some((key.clone(), held.outstanding()?)))
            .collect()
    }

    /// Whether anything is.
    pub(super) fn has_outstanding(&self) -> bool {
        self.partitions
            .values()
            .any(|held| held.outstanding().is_some())
    }

    /// The coordinator has stored a commit.
    pub(super) fn handle_stored(&mut self, key: &PartitionKey, next_offset: i64) {
        if let Some(held) = self.partitions.get_mut(key) {
            held.stored = Some(next_offset);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(partition: i32) -> PartitionKey {
        ("items".into(), partition)
    }

    fn holding(partitions: impl IntoIterator<Item = i32>) -> Holdings {
        let mut holdings = Holdings::default();
        holdings.replace(partitions.into_iter().map(key).collect());
        for key in holdings.unannounced() {
            assert!(holdings.announce(&key));
        }
        holdings
    }

    #[test]
    fn a_commit_never_goes_back_and_is_outstanding_until_it_is_stored() {
        let mut holdings = holding([0]);
        holdings.commit(&key(0), 7);
        holdings.commit(&key(0), 5);
        assert_eq!(holdings.outstanding(), [(key(0), 7)]);
        holdings.commit(&key(0), 9);
        holdings.handle_stored(&key(0), 7);
        assert_eq!(holdings.outstanding(), [(key(0), 9)]);
        holdings.handle_stored(&key(0), 9);
        assert!(!holdings.has_outstanding());
    }

    #[test]
    fn a_commit_ends_with_its_assignment_and_stays_with_what_stays() {
        let mut holdings = holding([0, 1]);
        holdings.commit(&key(0), 7);
        holdings.commit(&key(1), 8);
        holdings.commit(&key(2), 9);
        assert_eq!(
            holdings.replace([key(1), key(2)].into()),
            [key(0)],
            "what was there and is no more"
        );
        assert_eq!(holdings.outstanding(), [(key(1), 8)]);
        assert_eq!(holdings.unannounced(), [key(2)]);
        holdings.replace([key(0), key(1)].into());
        assert_eq!(holdings.outstanding(), [(key(1), 8)]);
    }

    #[test]
    fn what_nobody_was_told_of_is_neither_committed_nor_revoked() {
        let mut holdings = Holdings::default();
        holdings.replace([key(0)].into());
        holdings.commit(&key(0), 3);
        assert!(!holdings.has_outstanding());
        assert!(holdings.replace(BTreeSet::new()).is_empty());
        assert!(holdings.is_empty());
    }
}
