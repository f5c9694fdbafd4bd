//! What acknowledged writes of this process require its readers to see: per partition one offset that only rises.
//!
//! The one thing besides queues that cores share: an atomic per partition, raised once per acknowledged batch *before* any of its answers is written, read before
//! a cached answer is given. A message instead could arrive after the client's next request did, on another core. The lock guards only the finding of that atomic,
//! once per partition and core.
#![expect(
    clippy::disallowed_types,
    reason = "taken when a core first meets a partition, never per request"
)]

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// A partition's floor: one past the newest offset that this process has acknowledged.
#[derive(Clone, Debug, Default)]
pub struct Floor(Arc<AtomicI64>);

impl Floor {
    /// Raises the floor to `next_offset`, unless it is higher.
    pub fn raise(&self, next_offset: i64) {
        self.0.fetch_max(next_offset, Ordering::Release);
    }

    /// The offset that readers have to have read up to.
    pub fn required(&self) -> i64 {
        self.0.load(Ordering::Acquire)
    }

    /// The partition began again: what was acknowledged in its old log can never be seen.
    pub fn reset(&self) {
        self.0.store(0, Ordering::Release);
    }
}

type Partitions = HashMap<i32, Floor>;

/// The floors of all partitions of one cluster that this process has met.
#[derive(Debug, Default)]
pub struct Floors {
    topics: Mutex<HashMap<Arc<str>, Partitions>>,
}

impl Floors {
    /// The floor of a partition, the same for every core.
    pub fn floor(&self, topic: &str, partition: i32) -> Floor {
        let mut topics = self.topics.lock().unwrap_or_else(PoisonError::into_inner);
        if !topics.contains_key(topic) {
            topics.insert(Arc::from(topic), Partitions::new());
        }
        topics
            .get_mut(topic)
            .map(|partitions| partitions.entry(partition).or_default().clone())
            .unwrap_or_default()
    }
}

/// One core's way to the floors: asks the shared ones once for each partition.
#[derive(Debug, Default)]
pub struct FloorsOfCore {
    shared: Arc<Floors>,
    known: std::cell::RefCell<HashMap<String, Partitions>>,
}

impl FloorsOfCore {
    /// A core's way to `shared`.
    pub fn new(shared: Arc<Floors>) -> Self {
        Self {
            shared,
            known: std::cell::RefCell::default(),
        }
    }

    /// Raises a partition's floor.
    pub fn raise(&self, topic: &str, partition: i32, next_offset: i64) {
        let mut known = self.known.borrow_mut();
        if let Some(floor) = known
            .get(topic)
            .and_then(|partitions| partitions.get(&partition))
        {
            return floor.raise(next_offset);
        }
        let floor = self.shared.floor(topic, partition);
        floor.raise(next_offset);
        known
            .entry(topic.to_owned())
            .or_default()
            .insert(partition, floor);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_floor_is_shared_and_only_rises() {
        let floors = Arc::new(Floors::default());
        let core = FloorsOfCore::new(floors.clone());
        let reader = floors.floor("items", 1);
        core.raise("items", 1, 7);
        core.raise("items", 1, 5);
        core.raise("items", 2, 9);
        assert_eq!(reader.required(), 7);
        reader.reset();
        core.raise("items", 1, 3);
        assert_eq!(reader.required(), 3);
    }
}
