//! Where the replies to each correlation id begin, and where they end. Keeps hashes, not ids, and places, not replies: about 70 bytes each.
//!
//! Rule: the first reply to an id counts, and the first closing record that follows it in its partition; what is found is checked against the record itself by
//! whoever reads it.

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

/// What is known of an id that has a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// Its first reply.
    pub first: Place,
    /// The first record without a value among its replies, of those in the partition of the first.
    pub closing: Option<Place>,
}

/// Two halves instead of one number of 128 bits, which would be aligned to 16 bytes and cost 8 more an entry.
type Hash = [u64; 2];

/// 24 bytes.
#[derive(Clone, Copy, Debug)]
struct Entry {
    first_offset: i64,
    /// [`NOT_CLOSED`], or where it was.
    closing_offset: i64,
    /// Of both.
    partition: i32,
}

const NOT_CLOSED: i64 = -1;

impl Entry {
    const fn new(place: Place, is_closing: bool) -> Self {
        Self {
            first_offset: place.offset,
            closing_offset: if is_closing { place.offset } else { NOT_CLOSED },
            partition: place.partition,
        }
    }

    const fn at(&self, offset: i64) -> Place {
        Place {
            partition: self.partition,
            offset,
        }
    }

    const fn first(&self) -> Place {
        self.at(self.first_offset)
    }

    fn closing(&self) -> Option<Place> {
        (self.closing_offset != NOT_CLOSED).then(|| self.at(self.closing_offset))
    }
}

/// The newest replies of a topic, at most so many.
#[derive(Debug)]
pub struct ReplyIndex {
    entries: HashMap<Hash, Entry, RandomState>,
    /// In the order in which they came. May name what is gone, and what came again twice.
    order: VecDeque<Hash>,
    hashers: [RandomState; 2],
    entries_max: usize,
}

impl ReplyIndex {
    /// An index that forgets the oldest beyond `entries_max`.
    pub fn new(entries_max: usize) -> Self {
        Self {
            entries: HashMap::default(),
            order: VecDeque::new(),
            hashers: [RandomState::default(), RandomState::default()],
            entries_max: entries_max.max(1),
        }
    }

    /// Enters a reply, unless there is one; a closing one in the same partition then says where the replies end. An id that was forgotten begins anew.
    pub fn insert(&mut self, id: &CorrelationId, place: Place, is_closing: bool) {
        let hash = self.hash(id);
        if let Some(entry) = self.entries.get_mut(&hash) {
            let is_end = is_closing
                && entry.partition == place.partition
                && entry.closing_offset == NOT_CLOSED;
            if is_end {
                entry.closing_offset = place.offset;
            }
            return;
        }
        while self.order.len() >= self.entries_max {
            if let Some(oldest) = self.order.pop_front() {
                self.entries.remove(&oldest);
            }
        }
        self.order.push_back(hash);
        self.entries.insert(hash, Entry::new(place, is_closing));
    }

    /// Where the first reply to `id` lies, if one was seen.
    pub fn get(&self, id: &CorrelationId) -> Option<Place> {
        self.entries.get(&self.hash(id)).map(Entry::first)
    }

    /// What is known of the replies to `id`, if one was seen.
    pub fn known(&self, id: &CorrelationId) -> Option<Known> {
        let entry = self.entries.get(&self.hash(id))?;
        Some(Known {
            first: entry.first(),
            closing: entry.closing(),
        })
    }

    /// The reply that was seen at `place` is not there any more. With the first one goes all that is known of its id.
    pub fn remove(&mut self, id: &CorrelationId, place: Place) {
        let hash = self.hash(id);
        let Some(entry) = self.entries.get_mut(&hash) else {
            return;
        };
        if entry.first() == place {
            self.entries.remove(&hash);
        } else if entry.closing() == Some(place) {
            entry.closing_offset = NOT_CLOSED;
        }
    }

    /// The log of a partition has begun anew: its offsets mean nothing any more.
    pub fn forget_partition(&mut self, partition: i32) {
        self.entries.retain(|_, entry| entry.partition != partition);
        let entries = &self.entries;
        self.order.retain(|hash| entries.contains_key(hash));
    }

    /// How many replies are known.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Two hashes with keys of this process: nobody outside can make two ids meet.
    fn hash(&self, id: &CorrelationId) -> Hash {
        [self.hashers[0].hash_one(id), self.hashers[1].hash_one(id)]
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
        index.insert(&id("a"), at(0, 1), false);
        index.insert(&id("a"), at(1, 9), false);
        assert_eq!(index.get(&id("a")), Some(at(0, 1)));
        index.insert(&id("b"), at(0, 2), false);
        index.insert(&id("c"), at(0, 3), false);
        assert_eq!(index.get(&id("a")), None);
        assert_eq!(index.len(), 2);
    }

    #[test]
    fn the_header_is_part_of_the_id() {
        let mut index = ReplyIndex::new(2);
        index.insert(&id("a"), at(0, 1), false);
        let other = CorrelationId {
            header: 1,
            ..id("a")
        };
        assert_eq!(index.get(&other), None);
    }

    #[test]
    fn a_partition_that_begins_anew_is_forgotten_and_makes_room() {
        let mut index = ReplyIndex::new(2);
        index.insert(&id("a"), at(0, 1), false);
        index.insert(&id("b"), at(1, 1), false);
        index.forget_partition(0);
        assert_eq!(
            (index.get(&id("a")), index.get(&id("b"))),
            (None, Some(at(1, 1)))
        );
        index.insert(&id("c"), at(0, 0), false);
        assert_eq!(index.get(&id("b")), Some(at(1, 1)));
        index.remove(&id("b"), at(1, 2));
        assert_eq!(index.get(&id("b")), Some(at(1, 1)));
        index.remove(&id("b"), at(1, 1));
        assert_eq!(index.get(&id("b")), None);
    }

    #[test]
    fn the_first_closing_record_of_the_partition_of_the_first_reply_counts() {
        let mut index = ReplyIndex::new(3);
        index.insert(&id("a"), at(0, 1), false);
        let open = Known {
            first: at(0, 1),
            closing: None,
        };
        assert_eq!(index.known(&id("a")), Some(open));
        index.insert(&id("a"), at(1, 2), true);
        assert_eq!(index.known(&id("a")), Some(open), "in another partition");
        index.insert(&id("a"), at(0, 4), true);
        index.insert(&id("a"), at(0, 5), true);
        let closed = Known {
            closing: Some(at(0, 4)),
            ..open
        };
        assert_eq!(index.known(&id("a")), Some(closed));
        index.insert(&id("b"), at(0, 0), true);
        let at_once = Known {
            first: at(0, 0),
            closing: Some(at(0, 0)),
        };
        assert_eq!(index.known(&id("b")), Some(at_once), "at offset 0 too");
        assert_eq!(index.known(&id("c")), None);
        assert_eq!(size_of::<Entry>(), 24);
    }

    #[test]
    fn a_closing_record_that_is_gone_is_forgotten_alone_and_the_first_reply_with_all() {
        let mut index = ReplyIndex::new(3);
        index.insert(&id("a"), at(0, 1), false);
        index.insert(&id("a"), at(0, 4), true);
        index.remove(&id("a"), at(0, 4));
        assert_eq!(index.known(&id("a")).and_then(|known| known.closing), None);
        assert_eq!(index.get(&id("a")), Some(at(0, 1)));
        index.insert(&id("a"), at(0, 6), true);
        index.remove(&id("a"), at(0, 1));
        assert_eq!(index.known(&id("a")), None);
        index.insert(&id("b"), at(1, 1), true);
        index.forget_partition(1);
        assert_eq!(index.known(&id("b")), None);
    }
}
