//! What reads of the items have to show.
//!
//! Sits beside the rest of the truth. Its one rule: a read shows the log up to some offset no earlier than what its process had acknowledged when it came.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use bytes::Bytes;

use crate::clock::Instant;
use crate::exchange::reading::READ_YOUR_WRITES_WAIT;
use crate::kafka::partition::partition_for_key;
use crate::sim::broker::Place;
use crate::sim::gateway::ITEMS_PARTITIONS;
use crate::sim::gateway::exchange::{Ask, Outcome};

/// A write as a client made it.
#[derive(Clone, Debug)]
struct Write {
    key: Bytes,
    is_delete: bool,
}

/// What was true when a read came.
#[derive(Clone, Debug)]
pub(in crate::sim) struct ReadBegun {
    pub(in crate::sim) at: Instant,
    /// What its process had acknowledged, by partition.
    pub(in crate::sim) floors: Vec<i64>,
    /// Where the log ended when its process began.
    pub(in crate::sim) born_at: Vec<i64>,
}

impl ReadBegun {
    /// What a partition has to be read up to in any case.
    fn required(&self, partition: usize, is_fresh: bool) -> i64 {
        let floor = if is_fresh { self.floors[partition] } else { 0 };
        floor.max(self.born_at[partition])
    }
}

/// The log of the items, as it is.
#[derive(Debug, Default)]
pub(in crate::sim) struct ItemsTruth {
    writes: BTreeMap<u64, Write>,
    log: BTreeMap<(usize, i64), u64>,
}

impl ItemsTruth {
    /// A client writes; gives the value that says which write it is.
    pub(in crate::sim) fn written(
        &mut self,
        token: u64,
        key: &Bytes,
        is_delete: bool,
    ) -> Option<Bytes> {
        let key = key.clone();
        self.writes.insert(token, Write { key, is_delete });
        (!is_delete).then(|| token.to_string().into())
    }

    /// The log changed, if the record is an item.
    pub(in crate::sim) fn changed(&mut self, place: Place, token: u64, is_stored: bool) {
        let partition = usize::try_from(place.partition).expect("a partition");
        if !self.writes.contains_key(&token) {
            return;
        }
        if is_stored {
            self.log.insert((partition, place.offset), token);
        } else {
            self.log.remove(&(partition, place.offset));
        }
    }

    /// Whether an answer from the cache is right.
    pub(super) fn check(
        &self,
        ask: &Ask,
        begun: &ReadBegun,
        outcome: &Outcome,
        now: Instant,
    ) -> Result<(), String> {
        match (ask, outcome) {
            (Ask::Put { .. } | Ask::Delete { .. }, Outcome::Answered { status: 204, .. })
            | (Ask::List, Outcome::Cut) => Ok(()),
            (Ask::Get { key, .. }, Outcome::Answered { status: 200, body }) => {
                let partition = partition_of(key);
                let is_fresh = now < begun.at + READ_YOUR_WRITES_WAIT;
                let required = begun.required(partition, is_fresh);
                self.check_value(key, read_token(body), required)
            }
            (Ask::List, Outcome::Listed { body, opened_at }) => {
                self.check_list(body, opened_at, begun)
            }
            _ => Err(format!("answered with {outcome:?}")),
        }
    }

    /// Whether a key may have been missing.
    pub(super) fn check_missing(&self, ask: &Ask, begun: &ReadBegun) -> Result<(), String> {
        let Ask::Get { key, .. } = ask else {
            return Err("not found".to_owned());
        };
        let partition = partition_of(key);
        let required = begun.required(partition, true);
        if self.may_be_missing(key, partition, required) {
            return Ok(());
        }
        Err(format!(
            "not found, although it was there at {partition}/{required} and ever since"
        ))
    }

    fn check_list(&self, body: &Bytes, opened_at: &[i64], begun: &ReadBegun) -> Result<(), String> {
        let listed: Vec<u64> =
            serde_json::from_slice(body).map_err(|error| format!("{error}: {body:?}"))?;
        let mut by_key: BTreeMap<&Bytes, u64> = BTreeMap::new();
        for token in listed {
            let write = self.writes.get(&token).ok_or("of nobody")?;
            if by_key.insert(&write.key, token).is_some() {
                return Err(format!("{:?} is listed twice", write.key));
            }
        }
        for (partition, opened_at) in opened_at.iter().enumerate() {
            let required = begun.required(partition, false);
            if *opened_at < required {
                return Err(format!("{partition} read up to {opened_at} of {required}"));
            }
        }
        let keys: std::collections::BTreeSet<&Bytes> =
            self.writes.values().map(|write| &write.key).collect();
        for key in keys {
            let partition = partition_of(key);
            let opened_at = opened_at[partition];
            match by_key.get(key) {
                Some(token) => self.check_value(key, Some(*token), opened_at)?,
                None if self.may_be_missing(key, partition, opened_at) => {}
                None => {
                    return Err(format!(
                        "{key:?} is missing, and was there at {partition}/{opened_at} and ever since"
                    ));
                }
            }
        }
        Ok(())
    }

    /// A value has to be the newest of its key at `required` or a later one.
    fn check_value(&self, key: &Bytes, token: Option<u64>, required: i64) -> Result<(), String> {
        let partition = partition_of(key);
        let token = token.ok_or("the value is none of ours")?;
        let is_of_key = self
            .writes
            .get(&token)
            .is_some_and(|write| write.key == *key);
        let mut of_key = self.of_key(key, partition);
        let place = of_key.find(|(_, of)| *of == token);
        let Some((offset, _)) = place.filter(|_| is_of_key) else {
            return Err(format!("{token} is not in the log of {key:?}"));
        };
        match self.newest_below(key, partition, required) {
            Some((newest, _)) if newest > offset => Err(format!(
                "{token} at {partition}/{offset}, and {newest} was the newest at {required}"
            )),
            _ => Ok(()),
        }
    }

    /// Whether a key was not there at `required` or at some time since.
    fn may_be_missing(&self, key: &Bytes, partition: usize, required: i64) -> bool {
        let is_delete = |token: &u64| self.writes.get(token).is_some_and(|write| write.is_delete);
        let at_first = self.newest_below(key, partition, required);
        let was_there = at_first.is_some_and(|(_, token)| !is_delete(&token));
        let mut since = self.of_key(key, partition);
        !was_there || since.any(|(offset, token)| offset >= required && is_delete(&token))
    }

    fn newest_below(&self, key: &Bytes, partition: usize, offset: i64) -> Option<(i64, u64)> {
        let below = |record: &(i64, u64)| record.0 < offset;
        self.of_key(key, partition).take_while(below).last()
    }

    /// The records of a key, in order.
    fn of_key<'t>(
        &'t self,
        key: &'t Bytes,
        partition: usize,
    ) -> impl Iterator<Item = (i64, u64)> + 't {
        let log = self.log.range((partition, 0)..(partition + 1, 0));
        let is_of_key = move |token: &u64| {
            self.writes
                .get(token)
                .is_some_and(|write| write.key == *key)
        };
        log.filter(move |(_, token)| is_of_key(token))
            .map(|((_, offset), token)| (*offset, *token))
    }
}

fn partition_of(key: &[u8]) -> usize {
    let count = NonZeroU32::new(ITEMS_PARTITIONS).expect("there are partitions");
    usize::try_from(partition_for_key(key, count)).expect("a partition")
}

fn read_token(body: &[u8]) -> Option<u64> {
    std::str::from_utf8(body).ok()?.parse().ok()
}
