//! What goes wrong with the cluster as a whole, and how it is mended.
//!
//! Sits beside the broker and the fabric. Its one rule: every mishap ends, by a [`Repair`] or by [`mend`].

use std::time::Duration;

use super::broker::Cluster;
use super::event::Event;
use super::fabric::Fabric;

/// The end of a mishap.
#[derive(Debug)]
pub(super) enum Repair {
    /// The broker is back and leads what nobody leads.
    BringUp(i32),
    /// The partition has a leader again.
    Lead { topic: &'static str, index: usize },
    /// Core and broker hear each other again.
    Unblock { core: usize, broker: i32 },
    /// The topic is created, or takes larger batches again.
    Restore {
        topic: &'static str,
        batch_bytes_max: usize,
    },
}

/// Something goes wrong, and is mended later.
pub(super) fn strike(cluster: &mut Cluster, core_count: usize, fabric: &mut Fabric) {
    let lasts = fabric
        .random
        .between(Duration::from_millis(20), Duration::from_secs(4));
    let broker = fabric.random.pick(&cluster.brokers);
    let repair = match fabric.random.below(6) {
        0 | 1 => return move_some_leader(cluster, Some(broker), fabric).map_or((), drop),
        2 => match move_some_leader(cluster, None, fabric) {
            Some((topic, index)) => Repair::Lead { topic, index },
            None => return,
        },
        3 => {
            take_down(cluster, broker, fabric);
            Repair::BringUp(broker)
        }
        4 => {
            let core = fabric.random.index(core_count);
            fabric.tell(|| format!("core {core} and broker {broker} do not hear each other"));
            fabric.block(core, broker);
            Repair::Unblock { core, broker }
        }
        _ => match shrink(cluster, fabric) {
            Some(repair) => repair,
            None => return,
        },
    };
    fabric.schedule.after(lasts, Event::Repair(repair));
}

pub(super) fn repair(repair: &Repair, cluster: &mut Cluster, fabric: &mut Fabric) {
    fabric.tell(|| format!("{repair:?}"));
    match *repair {
        Repair::BringUp(broker) => {
            fabric.bring_up(broker);
            for (topic, index) in led_by(cluster, None) {
                cluster.move_leader(topic, index, Some(broker), fabric);
            }
        }
        Repair::Lead { topic, index } => {
            if led_by(cluster, None).contains(&(topic, index)) {
                let up: Vec<i32> = cluster
                    .brokers
                    .iter()
                    .copied()
                    .filter(|broker| !fabric.is_down(*broker))
                    .collect();
                if !up.is_empty() {
                    let leader = fabric.random.pick(&up);
                    cluster.move_leader(topic, index, Some(leader), fabric);
                }
            }
        }
        Repair::Unblock { core, broker } => fabric.unblock(core, broker),
        Repair::Restore {
            topic,
            batch_bytes_max,
        } => {
            if let Some(topic) = cluster.topics.get_mut(topic) {
                topic.batch_bytes_max = batch_bytes_max;
            }
        }
    }
}

/// Ends all mishaps.
pub(super) fn mend(cluster: &mut Cluster, core_count: usize, fabric: &mut Fabric) {
    for broker in cluster.brokers.clone() {
        repair(&Repair::BringUp(broker), cluster, fabric);
        (0..core_count).for_each(|core| fabric.unblock(core, broker));
    }
}

fn move_some_leader(
    cluster: &mut Cluster,
    leader: Option<i32>,
    fabric: &mut Fabric,
) -> Option<(&'static str, usize)> {
    if leader.is_some_and(|leader| fabric.is_down(leader)) {
        return None;
    }
    let all: Vec<(&'static str, usize)> = partitions(cluster)
        .map(|(topic, index, _)| (topic, index))
        .collect();
    let (topic, index) = fabric.random.pick(&all);
    cluster.move_leader(topic, index, leader, fabric);
    Some((topic, index))
}

fn take_down(cluster: &mut Cluster, broker: i32, fabric: &mut Fabric) {
    fabric.tell(|| format!("broker {broker} is down"));
    fabric.take_down(broker);
    let up: Vec<i32> = cluster
        .brokers
        .iter()
        .copied()
        .filter(|other| !fabric.is_down(*other))
        .collect();
    for (topic, index) in led_by(cluster, Some(broker)) {
        let has_heir = !up.is_empty() && fabric.random.chance(700);
        let heir = has_heir.then(|| fabric.random.pick(&up));
        cluster.move_leader(topic, index, heir, fabric);
    }
}

fn shrink(cluster: &mut Cluster, fabric: &mut Fabric) -> Option<Repair> {
    let names: Vec<&'static str> = cluster.topics.keys().copied().collect();
    let name = fabric.random.pick(&names);
    let topic = cluster.topics.get_mut(name)?;
    let repair = Repair::Restore {
        topic: name,
        batch_bytes_max: super::world::BATCH_BYTES_MAX,
    };
    topic.batch_bytes_max = fabric.random.pick(&[300, 700, 1_500]);
    fabric.tell(|| format!("{name} takes batches of {} bytes", topic.batch_bytes_max));
    Some(repair)
}

fn led_by(cluster: &Cluster, leader: Option<i32>) -> Vec<(&'static str, usize)> {
    partitions(cluster)
        .filter(|(_, _, led_by)| *led_by == leader)
        .map(|(topic, index, _)| (topic, index))
        .collect()
}

fn partitions(cluster: &Cluster) -> impl Iterator<Item = (&'static str, usize, Option<i32>)> + '_ {
    cluster.topics.iter().flat_map(|(name, topic)| {
        (0..)
            .zip(&topic.partitions)
            .map(|(index, partition)| (*name, index, partition.leader))
    })
}
