//! Key → record, without a copy of any key.
//!
//! Part of a view; its entries are places in the holdings, its hashes and comparisons come from chunks. Its one rule: an
//! entry always points at a live record.

use std::hash::{BuildHasher, Hasher};
use std::sync::LazyLock;

use foldhash::quality::RandomState;
use hashbrown::HashTable;

use super::holdings::{Holdings, Place};

/// Hash of a record key, the same on every core of this process and different in every process: keys come from
/// outside, and must not be able to aim at one bucket.
pub fn key_hash(key: &[u8]) -> u32 {
    static SEEDS: LazyLock<RandomState> = LazyLock::new(RandomState::default);
    let mut hasher = SEEDS.build_hasher();
    hasher.write(key);
    let hash = hasher.finish();
    // Chunks keep 32 bits a record, so that no index ever hashes a key again.
    (hash >> 32) as u32
}

/// The keys of a partition.
#[derive(Debug)]
pub(super) enum KeyIndex {
    /// Compacted topics: the newest record of a key is the only one that counts.
    Newest(HashTable<Place>),
    /// Other topics: both ends of a key's records. What lies between is linked by the holdings.
    Ends(HashTable<KeyEnds>),
}

#[derive(Clone, Copy, Debug)]
pub(super) struct KeyEnds {
    oldest: Place,
    newest: Place,
}

impl KeyIndex {
    pub(super) fn new(compact: bool) -> Self {
        if compact {
            Self::Newest(HashTable::new())
        } else {
            Self::Ends(HashTable::new())
        }
    }

    /// Notes a record that is held already and newer than all others. Returns the newest one of its key before it.
    pub(super) fn insert(
        &mut self,
        held: &Holdings,
        place: Place,
        hash: u32,
        key: &[u8],
    ) -> Option<Place> {
        let same_key = |other: Place| held.key_at(other) == Some(key);
        let wide = spread(hash);
        match self {
            Self::Newest(table) => {
                if let Some(newest) = table.find_mut(wide, |newest| same_key(*newest)) {
                    return Some(std::mem::replace(newest, place));
                }
                table.insert_unique(wide, place, |place| held.hash_at(*place));
            }
            Self::Ends(table) => {
                if let Some(ends) = table.find_mut(wide, |ends| same_key(ends.newest)) {
                    return Some(std::mem::replace(&mut ends.newest, place));
                }
                let ends = KeyEnds {
                    oldest: place,
                    newest: place,
                };
                table.insert_unique(wide, ends, |ends| held.hash_at(ends.newest));
            }
        }
        None
    }

    /// Forgets a record that is about to go; older ones of its key are gone already.
    pub(super) fn remove(&mut self, held: &Holdings, place: Place, hash: u32) {
        let wide = spread(hash);
        match self {
            Self::Newest(table) => {
                if let Ok(entry) = table.find_entry(wide, |newest| *newest == place) {
                    entry.remove();
                }
            }
            Self::Ends(table) => {
                let Ok(mut entry) = table.find_entry(wide, |ends| ends.oldest == place) else {
                    return;
                };
                match held.next_of_same_key(place) {
                    Some(next) => entry.get_mut().oldest = next,
                    None => drop(entry.remove()),
                }
            }
        }
    }

    /// Follows a record that was copied to another chunk.
    pub(super) fn relocate(&mut self, hash: u32, from: Place, to: Place) {
        let wide = spread(hash);
        match self {
            Self::Newest(table) => {
                if let Some(newest) = table.find_mut(wide, |newest| *newest == from) {
                    *newest = to;
                }
            }
            Self::Ends(table) => {
                let at_an_end = |ends: &KeyEnds| ends.oldest == from || ends.newest == from;
                let Some(ends) = table.find_mut(wide, at_an_end) else {
                    return;
                };
                if ends.oldest == from {
                    ends.oldest = to;
                }
                if ends.newest == from {
                    ends.newest = to;
                }
            }
        }
    }

    pub(super) fn newest(&self, held: &Holdings, key: &[u8]) -> Option<Place> {
        self.ends(held, key).map(|ends| ends.newest)
    }

    pub(super) fn oldest(&self, held: &Holdings, key: &[u8]) -> Option<Place> {
        self.ends(held, key).map(|ends| ends.oldest)
    }

    fn ends(&self, held: &Holdings, key: &[u8]) -> Option<KeyEnds> {
        let wide = spread(key_hash(key));
        let same_key = |other: Place| held.key_at(other) == Some(key);
        match self {
            Self::Newest(table) => {
                let place = *table.find(wide, |newest| same_key(*newest))?;
                Some(KeyEnds {
                    oldest: place,
                    newest: place,
                })
            }
            Self::Ends(table) => table.find(wide, |ends| same_key(ends.newest)).copied(),
        }
    }

    pub(super) fn key_count(&self) -> usize {
        match self {
            Self::Newest(table) => table.len(),
            Self::Ends(table) => table.len(),
        }
    }

    pub(super) fn allocated_bytes(&self) -> usize {
        match self {
            Self::Newest(table) => table.allocation_size(),
            Self::Ends(table) => table.allocation_size(),
        }
    }

    /// Gives memory back after many keys went; cheap when few did.
    pub(super) fn shrink(&mut self, held: &Holdings) {
        match self {
            Self::Newest(table) if is_sparse(table) => {
                table.shrink_to(table.len() * 2, |place| held.hash_at(*place));
            }
            Self::Ends(table) if is_sparse(table) => {
                table.shrink_to(table.len() * 2, |ends| held.hash_at(ends.newest));
            }
            Self::Newest(_) | Self::Ends(_) => {}
        }
    }
}

fn is_sparse<T>(table: &HashTable<T>) -> bool {
    table.capacity() > SHRINK_CAPACITY_MIN && table.len() < table.capacity() / 8
}

/// 32 bits of hash to 64: buckets are chosen by the low bits, tags by the top ones.
pub(super) const fn spread(hash: u32) -> u64 {
    (hash as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

const SHRINK_CAPACITY_MIN: usize = 1024;
