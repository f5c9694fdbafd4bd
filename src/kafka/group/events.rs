//! What a member of a group has to be told, in order, until it is taken. Sans-IO.
//!
//! Rule: what was never taken need not be taken back, so the queue holds each partition twice at most: taken away, then given again.

use std::collections::VecDeque;

use crate::kafka::fetcher::PartitionKey;

/// What changed for this member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupEvent {
    /// These are to be read, from the committed offset on; without one, from the earliest.
    Assigned(Vec<(PartitionKey, Option<i64>)>),
    /// These are somebody else's now, or will be: no more work on them. Commits that were made before have been sent as far as they could.
    Revoked(Vec<PartitionKey>),
}

/// Events that wait to be taken.
#[derive(Debug, Default)]
pub(super) struct Events {
    queue: VecDeque<GroupEvent>,
    has_news: bool,
}

impl Events {
    /// These belong to the member from now on.
    pub(super) fn assign(&mut self, partitions: Vec<(PartitionKey, Option<i64>)>) {
        if !partitions.is_empty() {
            self.queue.push_back(GroupEvent::Assigned(partitions));
            self.has_news = true;
        }
    }

    /// These do no more.
    pub(super) fn revoke(&mut self, mut partitions: Vec<PartitionKey>) {
        for event in &mut self.queue {
            if let GroupEvent::Assigned(untaken) = event {
                untaken.retain(|(key, _)| {
                    let found = partitions.iter().position(|revoked| revoked == key);
                    found.map(|at| partitions.swap_remove(at)).is_none()
                });
            }
        }
        self.queue
            .retain(|event| !matches!(event, GroupEvent::Assigned(untaken) if untaken.is_empty()));
        if !partitions.is_empty() {
            partitions.sort();
            self.queue.push_back(GroupEvent::Revoked(partitions));
            self.has_news = true;
        }
    }

    /// The next one.
    pub(super) fn pop(&mut self) -> Option<GroupEvent> {
        self.queue.pop_front()
    }

    /// Whether any has come in since this was asked last.
    pub(super) fn take_news(&mut self) -> bool {
        std::mem::take(&mut self.has_news)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(partition: i32) -> PartitionKey {
        ("items".into(), partition)
    }

    #[test]
    fn what_was_never_taken_is_not_taken_back() {
        let mut events = Events::default();
        events.revoke(vec![key(0)]);
        events.assign(vec![(key(0), Some(5)), (key(1), None)]);
        events.revoke(vec![key(2), key(1), key(0)]);
        assert!(events.take_news());
        assert!(!events.take_news());
        assert_eq!(events.pop(), Some(GroupEvent::Revoked(vec![key(0)])));
        assert_eq!(events.pop(), Some(GroupEvent::Revoked(vec![key(2)])));
        assert_eq!(events.pop(), None);
    }
}
