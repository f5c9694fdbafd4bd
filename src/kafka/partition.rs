//! Which partition a record goes to: the Java client's choice by key, and a sticky one without (KIP-480).
//!
//! Sits between a mapping and the producer. Its one rule: the same key always meets the same partition, whichever
//! client wrote it.

use std::num::NonZeroU32;

/// The partition of `key` among `partition_count`, as Java's default partitioner computes it. An empty key is a key.
pub fn partition_for_key(key: &[u8], partition_count: NonZeroU32) -> i32 {
    // Clearing the sign is part of the algorithm: an absolute value would choose differently.
    let positive = murmur2(key).cast_unsigned() & i32::MAX.cast_unsigned();
    (positive % partition_count).cast_signed()
}

/// `MurmurHash2`, 32 bits, with the seed of Kafka's clients.
pub fn murmur2(data: &[u8]) -> i32 {
    let (blocks, tail) = data.as_chunks::<4>();
    // Truncated as in the algorithm; Java arrays are shorter anyway.
    let mut hash = SEED ^ u32::try_from(data.len() & 0xffff_ffff).unwrap_or(u32::MAX);
    for block in blocks {
        let mut mixed = u32::from_le_bytes(*block).wrapping_mul(MULTIPLIER);
        mixed ^= mixed >> 24;
        hash = hash.wrapping_mul(MULTIPLIER) ^ mixed.wrapping_mul(MULTIPLIER);
    }
    if !tail.is_empty() {
        let mut last = [0; 4];
        last[..tail.len()].copy_from_slice(tail);
        hash = (hash ^ u32::from_le_bytes(last)).wrapping_mul(MULTIPLIER);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(MULTIPLIER);
    (hash ^ (hash >> 15)).cast_signed()
}

/// Chooses for the records of one topic that have no key: one partition until a batch of it was sent, then another, so
/// that batches fill up and partitions still share the load.
#[derive(Clone, Debug)]
pub struct StickyPartitioner {
    current: Option<i32>,
    /// Not chosen again at once if there is any other.
    previous: Option<i32>,
    random_state: u64,
}

impl StickyPartitioner {
    /// A partitioner whose choices follow from `seed`; cores take different ones, lest all write to the same partition.
    pub const fn new(seed: u64) -> Self {
        Self {
            current: None,
            previous: None,
            random_state: seed,
        }
    }

    /// The partition of the next record, one of `available`: those with a leader, or all when none has one. `None` when
    /// that is empty.
    pub fn partition(&mut self, available: &[i32]) -> Option<i32> {
        let current = self.current.filter(|current| available.contains(current));
        self.current = current.or_else(|| self.choose(available));
        self.current
    }

    /// Takes note that a batch of `partition` was sent: the next record goes elsewhere.
    pub fn on_new_batch(&mut self, partition: i32) {
        if self.current == Some(partition) {
            self.previous = self.current.take();
        }
    }

    fn choose(&mut self, available: &[i32]) -> Option<i32> {
        let excluded = self
            .previous
            .and_then(|previous| available.iter().position(|&id| id == previous));
        let excluded = excluded.filter(|_| available.len() > 1);
        let candidates = available.len() - usize::from(excluded.is_some());
        let drawn = self.draw(candidates)?;
        let skip_excluded = usize::from(excluded.is_some_and(|excluded| drawn >= excluded));
        Some(available[drawn + skip_excluded])
    }

    /// An index below `candidates` (`SplitMix64`; the bias of the remainder is far below what a partition's load shows).
    fn draw(&mut self, candidates: usize) -> Option<usize> {
        self.random_state = self.random_state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random_state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let random = usize::try_from((mixed ^ (mixed >> 31)) >> 33).expect("31 bits fit");
        random.checked_rem(candidates)
    }
}

const SEED: u32 = 0x9747_b28c;
const MULTIPLIER: u32 = 0x5bd1_e995;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn hashes_equal_those_of_the_java_client() {
        for (key, hash) in [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            (
                "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8",
                -58_897_971,
            ),
            ("abc", 479_470_107),
        ] {
            assert_eq!(murmur2(key.as_bytes()), hash, "{key}");
        }
    }

    #[test]
    fn a_negative_hash_loses_its_sign_bit_and_not_its_sign() {
        let three = NonZeroU32::new(3).unwrap();
        let cleared = i64::from(i32::MAX) + 1 - 973_932_308;
        assert_eq!(i64::from(partition_for_key(b"21", three)), cleared % 3);
        assert_eq!(partition_for_key(b"abc", three), 479_470_107 % 3);
        assert_eq!(partition_for_key(b"", NonZeroU32::MIN), 0);
    }

    #[test]
    fn without_a_key_records_stick_until_a_batch_was_sent() {
        let mut sticky = StickyPartitioner::new(1);
        let available = [0, 1, 2, 3];
        let first = sticky.partition(&available).unwrap();
        assert!((0..100).all(|_| sticky.partition(&available) == Some(first)));
        sticky.on_new_batch(first + 1);
        assert_eq!(
            sticky.partition(&available),
            Some(first),
            "another partition's batch changes nothing"
        );
        sticky.on_new_batch(first);
        assert_ne!(sticky.partition(&available), Some(first));
    }

    #[test]
    fn a_partition_that_lost_its_leader_is_left_at_once() {
        let mut sticky = StickyPartitioner::new(7);
        let first = sticky.partition(&[0, 1, 2]).unwrap();
        let others: Vec<i32> = [0, 1, 2].into_iter().filter(|&id| id != first).collect();
        assert!(others.contains(&sticky.partition(&others).unwrap()));
        assert_eq!(sticky.partition(&[]), None);
        assert_eq!(sticky.partition(&[9]), Some(9));
        sticky.on_new_batch(9);
        assert_eq!(sticky.partition(&[9]), Some(9), "the only one there is");
    }

    #[test]
    fn batches_spread_evenly_and_the_same_seed_gives_the_same_choices() {
        let available = [4, 5, 6, 7];
        let choices = |seed| -> Vec<i32> {
            let mut sticky = StickyPartitioner::new(seed);
            let next = |_| {
                let chosen = sticky.partition(&available).unwrap();
                sticky.on_new_batch(chosen);
                chosen
            };
            (0..4000).map(next).collect()
        };
        assert_eq!(choices(3), choices(3));
        assert_ne!(choices(3), choices(4));
        let mut counts = BTreeMap::new();
        for id in choices(3) {
            *counts.entry(id).or_insert(0) += 1;
        }
        assert!(
            counts.len() == 4 && counts.values().all(|count| (800..1200).contains(count)),
            "{counts:?}"
        );
    }
}
