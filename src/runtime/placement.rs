//! Where things live: which core owns a partition or an id, and which processors the cores run on.
//!
//! Rule: a pure function of names and counts, the same on every core and in every instance of one process.

use std::fmt;
use std::str::FromStr;

/// One of the process's cores: an index from 0, not a processor number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CoreId(pub usize);

/// FNV-1a over a name and a number: stable, cheap, and good enough to spread a few thousand partitions.
fn hash(name: &[u8], number: u64) -> u64 {
    let bytes = name.iter().copied().chain(number.to_le_bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    hash ^ (hash >> 32)
}

/// The core that fetches and keeps partition `partition` of `topic`.
///
/// The partitions of one topic go round robin over the cores, starting at the topic's hash, so that any topic with at least as many partitions as cores uses them all.
pub fn partition_owner(topic: &str, partition: i32, cores: usize) -> CoreId {
    let cores = cores.max(1) as u64;
    let start = hash(topic.as_bytes(), 0) % cores;
    let index = (start + u64::from(partition.unsigned_abs()) % cores) % cores;
    CoreId(usize::try_from(index).unwrap_or(0))
}

/// The core that knows who waits for the correlation id `id`, and which replies to it were seen.
pub fn id_owner(id: &[u8], cores: usize) -> CoreId {
    let index = hash(id, 0) % cores.max(1) as u64;
    CoreId(usize::try_from(index).unwrap_or(0))
}

/// Which processors to run on (`--cores`).
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum CoreSet {
    /// All that the process may use.
    #[default]
    Available,
    /// These processors, one core pinned to each.
    Pinned(Vec<usize>),
    /// So many cores, not pinned: for tests that run many gateways side by side.
    Unpinned(usize),
}

/// Why a `--cores` value was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoreSetFault(String);

impl fmt::Display for CoreSetFault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "`{}` names no processors: write `0-3`, `0,2` or `none:2` (two cores, not pinned)",
            self.0
        )
    }
}

impl std::error::Error for CoreSetFault {}

impl FromStr for CoreSet {
    type Err = CoreSetFault;

    fn from_str(text: &str) -> Result<Self, CoreSetFault> {
        let fault = || CoreSetFault(text.to_owned());
        if let Some(rest) = text.strip_prefix("none") {
            let count = if rest.is_empty() {
                1
            } else {
                rest.strip_prefix(':')
                    .and_then(|count| count.parse().ok())
                    .ok_or_else(fault)?
            };
            return if (1..=1024).contains(&count) {
                Ok(Self::Unpinned(count))
            } else {
                Err(fault())
            };
        }
        let mut processors = Vec::new();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let first: usize = first.trim().parse().map_err(|_| fault())?;
            let last: usize = last.trim().parse().map_err(|_| fault())?;
            if first > last || last > 4095 {
                return Err(fault());
            }
            processors.extend(first..=last);
        }
        processors.sort_unstable();
        processors.dedup();
        Ok(Self::Pinned(processors))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_of_a_topic_use_every_core() {
        for cores in 1..9 {
            let mut owners: Vec<_> = (0..16)
                .map(|partition| partition_owner("items", partition, cores))
                .collect();
            owners.sort_unstable();
            owners.dedup();
            assert_eq!(owners.len(), cores);
        }
    }

    #[test]
    fn core_sets_are_read_and_mistakes_are_named() {
        assert_eq!("0-2,5".parse(), Ok(CoreSet::Pinned(vec![0, 1, 2, 5])));
        assert_eq!("none:3".parse(), Ok(CoreSet::Unpinned(3)));
        assert_eq!("none".parse(), Ok(CoreSet::Unpinned(1)));
        for bad in ["", "3-1", "a", "none:0", "none:x", "1,,2", "-1"] {
            assert!(bad.parse::<CoreSet>().is_err(), "{bad}");
        }
    }
}
