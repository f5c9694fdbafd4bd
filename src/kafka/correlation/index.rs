//! Where the reply to each correlation id lies. Keeps hashes, not ids, and places, not replies: about 60 bytes each.
//!
//! Rule: the first reply to an id counts; what is found is checked against the record itself by whoever reads it.

use std::collections::VecDeque;
use std::hash::BuildHasher;

use foldhash::quality::RandomState;
use hashbrown::HashMap;

use super::CorrelationId;

/// Where a reply lies in its topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The partition.
    pub partition: i32,
    /// The offset.
    pub offset: i64,
}

/// The newest replies of a topic, at most so many.
#[derive(Debug)]
pub struct ReplyIndex {
    places: HashMap<u128, Place, RandomState>,
    /// In the order in which they came. May name what is gone, and what came again twice.
    order: VecDeque<u128>,
    hashers: [RandomState; 2],
    entries_max: usize,
}

impl ReplyIndex {
    /// An index that forgets the oldest beyond `entries_max`.
    pub fn new(entries_max: usize) -> Self {
        Self {
            places: HashMap::default(),
            order: VecDeque::new(),
            hashers: [RandomState::default(), RandomState::default()],
            entries_max: entries_max.max(1),
        }
    }

    /// Enters a reply, unless there is one.
    pub fn insert(&mut self, id: &CorrelationId, place: Place) {
        let hash = self.hash(id);
        if self.places.contains_key(&hash) {
            return;
        }
        while self.order.len() >= self.entries_max {
            if let Some(oldest) = self.order.pop_front() {
                self.places.remove(&oldest);
            }
        }
        self.order.push_back(hash);
        self.places.insert(hash, place);
    }

    /// Where the reply to `id` lies, if one was seen.
    pub fn get(&self, id: &CorrelationId) -> Option<Place> {
        self.places.get(&self.hash(id)).copied()
    }

    /// The reply that was seen at `place` is not there any more.
    pub fn remove(&mut self, id: &CorrelationId, place: Place) {
        let hash = self.hash(id);
        if self.places.get(&hash) == Some(&place) {
            self.places.remove(&hash);
        }
    }

    /// The log of a partition has begun anew: its offsets mean nothing any more.
    pub fn forget_partition(&mut self, partition: i32) {
        self.places.retain(|_, place| place.partition != partition);
        let places = &self.places;
        self.order.retain(|hash| places.contains_key(hash));
    }

    /// How many replies are known.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Two hashes with keys of this process: nobody outside can make two ids meet.
    fn hash(&self, id: &CorrelationId) -> u128 {
        let [high, low] = [0, 1].map(|index: usize| u128::from(self.hashers[index].hash_one(id)));
        high << 64 | low
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn id(text: &str) -> CorrelationId {
        CorrelationId {
            header: 0,
            id: Bytes::copy_from_slice(text.as_bytes()),
        }
    }

    fn at(partition: i32, offset: i64) -> Place {
        Place { partition, offset }
    }

    #[test]
    fn the_first_reply_counts_and_the_oldest_is_forgotten() {
        let mut index = ReplyIndex::new(2);
        index.insert(&id("a"), at(0, 1));
        index.insert(&id("a"), at(1, 9));
        assert_eq!(index.get(&id("a")), Some(at(0, 1)));
        index.insert(&id("b"), at(0, 2));
        index.insert(&id("c"), at(0, 3));
        assert_eq!(index.get(&id("a")), None);
        assert_eq!(index.len(), 2);
    }

    #[test]
    fn the_header_is_part_of_the_id() {
        let mut index = ReplyIndex::new(2);
        index.insert(&id("a"), at(0, 1));
        let other = CorrelationId {
            header: 1,
            ..id("a")
        };
        assert_eq!(index.get(&other), None);
    }

    #[test]
    fn a_partition_that_begins_anew_is_forgotten_and_makes_room() {
        let mut index = ReplyIndex::new(2);
        index.insert(&id("a"), at(0, 1));
        index.insert(&id("b"), at(1, 1));
        index.forget_partition(0);
        assert_eq!(
            (index.get(&id("a")), index.get(&id("b"))),
            (None, Some(at(1, 1)))
        );
        index.insert(&id("c"), at(0, 0));
        assert_eq!(index.get(&id("b")), Some(at(1, 1)));
        index.remove(&id("b"), at(1, 2));
        assert_eq!(index.get(&id("b")), Some(at(1, 1)));
        index.remove(&id("b"), at(1, 1));
        assert_eq!(index.get(&id("b")), None);
    }
}
