//! Which member of a group reads which partition: computed by the leader, for all of them. Sans-IO.
//!
//! Topics that the same members subscribe to are shared out together. Rule: of those no member has two partitions more than another, and of all ways to
//! see to that the one is taken that moves the fewest partitions; the same input gives the same output, whoever computes it.

#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::subscription::Subscription;
use crate::kafka::fetcher::PartitionKey;

/// Members by their ids.
pub(super) type Members = BTreeMap<String, Subscription>;
/// What each member gets, which may be nothing.
pub(super) type Assignments = BTreeMap<String, BTreeSet<PartitionKey>>;

/// Shares the partitions of `counts` out to those who subscribe to their topics.
pub(super) fn assign(members: &Members, counts: &BTreeMap<Arc<str>, i32>) -> Assignments {
    let mut assignments: Assignments = members
        .keys()
        .map(|id| (id.clone(), BTreeSet::new()))
        .collect();
    let holders = holders(members);
    for (subscribers, partitions) in classes(members, counts) {
        share(&subscribers, partitions, &holders, &mut assignments);
    }
    assignments
}

/// Partitions by who subscribes to their topics, those that the fewest do first: what comes later can even out what came before.
fn classes<'m>(
    members: &'m Members,
    counts: &BTreeMap<Arc<str>, i32>,
) -> Vec<(Vec<&'m str>, Vec<PartitionKey>)> {
    let mut classes: BTreeMap<(usize, Vec<&str>), Vec<PartitionKey>> = BTreeMap::new();
    for (topic, count) in counts {
        let subscribers: Vec<&str> = members
            .iter()
            .filter(|(_, subscription)| subscription.topics.contains(topic))
            .map(|(id, _)| id.as_str())
            .collect();
        if !subscribers.is_empty() {
            classes
                .entry((subscribers.len(), subscribers))
                .or_default()
                .extend((0..*count).map(|partition| (topic.clone(), partition)));
        }
    }
    classes
        .into_iter()
        .map(|((_, subscribers), partitions)| (subscribers, partitions))
        .collect()
}

/// Who has a partition at the moment: of several who say so, the one who got it in the latest generation, and if that does not tell, none.
fn holders(members: &Members) -> BTreeMap<&PartitionKey, &str> {
    let mut claims: BTreeMap<&PartitionKey, (Option<i32>, Option<&str>)> = BTreeMap::new();
    for (id, subscription) in members {
        for key in &subscription.owned {
            let claim = (subscription.generation, Some(id.as_str()));
            claims
                .entry(key)
                .and_modify(|best| {
                    if claim.0 == best.0 {
                        best.1 = None;
                    } else if claim.0 > best.0 {
                        *best = claim;
                    }
                })
                .or_insert(claim);
        }
    }
    claims
        .into_iter()
        .filter_map(|(key, (_, holder))| Some((key, holder?)))
        .collect()
}

/// Shares partitions out to members who all subscribe to their topics.
fn share(
    subscribers: &[&str],
    partitions: Vec<PartitionKey>,
    holders: &BTreeMap<&PartitionKey, &str>,
    assignments: &mut Assignments,
) {
    let mut kept: BTreeMap<&str, Vec<PartitionKey>> =
        subscribers.iter().map(|id| (*id, Vec::new())).collect();
    let mut free = Vec::new();
    let count = partitions.len();
    for key in partitions {
        match holders.get(&key).and_then(|holder| kept.get_mut(holder)) {
            Some(held) => held.push(key),
            None => free.push(key),
        }
    }
    let quotas = quotas(count, &kept, assignments);
    for (id, held) in &mut kept {
        free.extend(held.drain(quotas[id].min(held.len())..));
    }
    free.sort();
    deal(free, subscribers, &quotas, &mut kept);
    for (id, held) in kept {
        if let Some(assignment) = assignments.get_mut(id) {
            assignment.extend(held);
        }
    }
}

/// How many partitions each gets. What is left over after all have the same goes to those who have more already, and then to those who got the least so far.
fn quotas<'m>(
    count: usize,
    kept: &BTreeMap<&'m str, Vec<PartitionKey>>,
    assignments: &Assignments,
) -> BTreeMap<&'m str, usize> {
    let (floor, extra) = (count / kept.len(), count % kept.len());
    let mut order: Vec<&str> = kept.keys().copied().collect();
    let so_far = |id: &str| assignments.get(id).map_or(0, BTreeSet::len);
    order.sort_by_key(|id| (Reverse(kept[id].len() > floor), so_far(id), *id));
    order
        .into_iter()
        .enumerate()
        .map(|(rank, id)| (id, floor + usize::from(rank < extra)))
        .collect()
}

/// Deals partitions round and round to those who have room, so that each gets of every topic.
fn deal<'m>(
    free: Vec<PartitionKey>,
    subscribers: &[&'m str],
    quotas: &BTreeMap<&'m str, usize>,
    kept: &mut BTreeMap<&'m str, Vec<PartitionKey>>,
) {
    let mut free = free.into_iter();
    while free.len() > 0 {
        for id in subscribers {
            let held = kept.entry(id).or_default();
            if held.len() < quotas[id] {
                held.extend(free.next());
            }
        }
    }
}
