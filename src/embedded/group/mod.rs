//! The group coordinator: classic consumer groups and their committed offsets, in memory.
//! Sits between the group handlers and the state machine of each group.
//!
//! One rule: whoever waits here is woken by every change, by time, and by the broker's stop.

mod membership;
mod offsets;
#[cfg(test)]
mod tests;

use self::membership::{Group, Refused};
pub(super) use self::offsets::Committed;
use self::offsets::Offsets;
use super::error::ErrorCode;
use super::sync::{lock, wait_until};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};
use uuid::Uuid;

/// Groups kept; an empty one without offsets makes room for another.
const GROUPS_MAX: usize = 1_000;
/// Kafka's `group.max.session.timeout.ms`. There is no lower bound, so that tests can be quick.
const SESSION_TIMEOUT_MAX: Duration = Duration::from_secs(30 * 60);
/// A sync waits this long for the leader's; its session's end usually comes first.
const SYNC_WAIT_MAX: Duration = Duration::from_secs(60);

/// All groups of the broker.
#[derive(Debug, Default)]
pub(super) struct Groups {
    table: Mutex<Table>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Table {
    groups: BTreeMap<String, Entry>,
    is_stopping: bool,
}

#[derive(Debug, Default)]
struct Entry {
    group: Group,
    offsets: Offsets,
}

/// Who speaks for a member, in every request after the join.
pub(super) struct Speaker<'a> {
    pub(super) group: &'a str,
    pub(super) generation: i32,
    pub(super) member_id: &'a str,
    pub(super) instance: Option<&'a str>,
}

/// A request to join.
pub(super) struct JoinRequest<'a> {
    pub(super) group: &'a str,
    pub(super) member_id: &'a str,
    pub(super) instance: Option<&'a str>,
    pub(super) client_id: &'a str,
    pub(super) protocol_type: &'a str,
    pub(super) protocols: Vec<(String, Bytes)>,
    pub(super) session_timeout_ms: i32,
    pub(super) rebalance_timeout_ms: i32,
    /// Whether the version of the request knows `MEMBER_ID_REQUIRED`.
    pub(super) must_return: bool,
}

/// The answer to a join that brought the member into a generation.
pub(super) struct Joined {
    pub(super) generation: i32,
    pub(super) protocol_type: String,
    pub(super) protocol: String,
    pub(super) leader: String,
    pub(super) member_id: String,
    /// For the leader: id, instance and metadata of every member.
    pub(super) members: Vec<(String, Option<String>, Bytes)>,
}

/// The answer to a sync.
pub(super) struct Synced {
    pub(super) protocol_type: String,
    pub(super) protocol: String,
    pub(super) assignment: Bytes,
}

impl Table {
    /// Finds the group or makes it.
    fn entry(&mut self, name: &str) -> Result<&mut Entry, ErrorCode> {
        if name.is_empty() {
            return Err(ErrorCode::INVALID_GROUP_ID);
        }
        if self.is_stopping {
            return Err(ErrorCode::COORDINATOR_NOT_AVAILABLE);
        }
        if self.groups.len() >= GROUPS_MAX && !self.groups.contains_key(name) {
            self.groups
                .retain(|_, entry| !entry.group.members.is_empty() || !entry.offsets.is_empty());
            if self.groups.len() >= GROUPS_MAX {
                return Err(ErrorCode::COORDINATOR_NOT_AVAILABLE);
            }
        }
        Ok(self.groups.entry(name.to_owned()).or_default())
    }

    fn group(&mut self, name: &str) -> Option<&mut Group> {
        self.groups.get_mut(name).map(|entry| &mut entry.group)
    }
}

impl Groups {
    /// Ends all waiting; every later request is answered `COORDINATOR_NOT_AVAILABLE`.
    pub(super) fn stop(&self) {
        lock(&self.table).is_stopping = true;
        self.changed.notify_all();
    }

    /// Drops silent members and ends joins whose time is over. To be called every 100 ms or so.
    pub(super) fn expire(&self, now: Instant) {
        let mut table = lock(&self.table);
        let mut is_changed = false;
        for entry in table.groups.values_mut() {
            is_changed |= entry.group.expire(now);
        }
        if is_changed {
            self.changed.notify_all();
        }
    }

    /// Joins and waits for the generation to start.
    ///
    /// # Errors
    /// The code, and the member id that goes with it.
    pub(super) fn join(&self, request: JoinRequest<'_>) -> Result<Joined, (ErrorCode, String)> {
        let asked_id = request.member_id.to_owned();
        let fail = |code| (code, asked_id.clone());
        let group_name = request.group;
        let join = checked(request).map_err(fail)?;
        let mut table = lock(&self.table);
        let group = &mut table.entry(group_name).map_err(fail)?.group;
        let joined = group.join(join, Instant::now());
        let generation = group.generation;
        // Also a refused join can have changed something: a static member that came back removed its former self.
        self.changed.notify_all();
        let member_id = joined.map_err(|Refused(code, id)| (code, id))?;
        let mut table = self.wait_joined(table, group_name, generation);
        answer_join(&mut table, group_name, generation, &member_id)
            .map_err(|code| (code, member_id))
    }

    fn wait_joined<'a>(
        &self,
        mut table: MutexGuard<'a, Table>,
        name: &str,
        generation: i32,
    ) -> MutexGuard<'a, Table> {
        loop {
            let is_stopping = table.is_stopping;
            let group = table
                .group(name)
                .filter(|group| group.is_joining(generation) && !is_stopping);
            let Some(deadline) = group.and_then(|group| group.deadline()) else {
                return table;
            };
            let now = Instant::now();
            if deadline <= now {
                table.group(name).map(|group| group.expire(now));
                self.changed.notify_all();
                continue;
            }
            table = wait_until(&self.changed, table, deadline);
        }
    }

    /// Brings or awaits the assignments of a generation.
    ///
    /// # Errors
    /// The code to answer.
    pub(super) fn sync(
        &self,
        speaker: &Speaker<'_>,
        assignments: Vec<(String, Bytes)>,
    ) -> Result<Synced, ErrorCode> {
        let now = Instant::now();
        let mut table = lock(&self.table);
        let group = table
            .group(speaker.group)
            .ok_or(ErrorCode::UNKNOWN_MEMBER_ID)?;
        group.check(speaker.member_id, speaker.instance, speaker.generation, now)?;
        group.sync(speaker.member_id, assignments, now);
        self.changed.notify_all();
        let deadline = now + SYNC_WAIT_MAX;
        while !table.is_stopping && Instant::now() < deadline {
            if !table
                .group(speaker.group)
                .is_some_and(|group| group.is_syncing(speaker.generation))
            {
                break;
            }
            table = wait_until(&self.changed, table, deadline);
        }
        let group = table
            .group(speaker.group)
            .ok_or(ErrorCode::UNKNOWN_MEMBER_ID)?;
        if group.generation != speaker.generation {
            return Err(ErrorCode::REBALANCE_IN_PROGRESS);
        }
        let assignment = group.assignment(speaker.member_id)?;
        Ok(Synced {
            protocol_type: group.protocol_type.clone(),
            protocol: group.protocol.clone(),
            assignment,
        })
    }

    /// Notes that a member is alive.
    ///
    /// # Errors
    /// The code to answer, `REBALANCE_IN_PROGRESS` when it has to join again.
    pub(super) fn heartbeat(&self, speaker: &Speaker<'_>) -> Result<(), ErrorCode> {
        let mut table = lock(&self.table);
        let group = table
            .group(speaker.group)
            .ok_or(ErrorCode::UNKNOWN_MEMBER_ID)?;
        group.check(
            speaker.member_id,
            speaker.instance,
            speaker.generation,
            Instant::now(),
        )?;
        if group.is_joining(speaker.generation) {
            Err(ErrorCode::REBALANCE_IN_PROGRESS)
        } else {
            Ok(())
        }
    }

    /// Removes one member.
    ///
    /// # Errors
    /// The code to answer for this member.
    pub(super) fn leave(
        &self,
        group: &str,
        member_id: &str,
        instance: Option<&str>,
    ) -> Result<(), ErrorCode> {
        let mut table = lock(&self.table);
        let group = table.group(group).ok_or(ErrorCode::UNKNOWN_MEMBER_ID)?;
        let left = group.leave(member_id, instance, Instant::now());
        self.changed.notify_all();
        left
    }

    /// Commits offsets, all or, when the speaker is refused, none; the answers stand in the order of `commits`.
    pub(super) fn commit(
        &self,
        speaker: &Speaker<'_>,
        commits: Vec<(String, i32, Committed)>,
    ) -> Vec<Result<(), ErrorCode>> {
        let count = commits.len();
        let mut table = lock(&self.table);
        let entry = match table.entry(speaker.group) {
            Ok(entry) => entry,
            Err(code) => return vec![Err(code); count],
        };
        if let Err(code) = may_commit(&mut entry.group, speaker) {
            return vec![Err(code); count];
        }
        let commit = |(topic, partition, committed): (String, i32, Committed)| {
            entry.offsets.commit(&topic, partition, committed)
        };
        commits.into_iter().map(commit).collect()
    }

    /// What is committed for the partitions `wanted`, or for all that the group has.
    pub(super) fn committed(
        &self,
        group: &str,
        wanted: Option<Vec<(String, Vec<i32>)>>,
    ) -> Vec<(String, Vec<(i32, Committed)>)> {
        let table = lock(&self.table);
        let offsets = table.groups.get(group).map(|entry| &entry.offsets);
        let wanted = wanted
            .or_else(|| offsets.map(Offsets::all))
            .unwrap_or_default();
        let look = |topic: &str, partition| {
            let found = offsets
                .and_then(|offsets| offsets.find(topic, partition))
                .cloned();
            (partition, found.unwrap_or_else(Committed::none))
        };
        let answer = |(topic, partitions): (String, Vec<i32>)| {
            let found = partitions
                .into_iter()
                .map(|partition| look(&topic, partition))
                .collect();
            (topic, found)
        };
        wanted.into_iter().map(answer).collect()
    }

    /// Forgets the offsets of a topic that was deleted.
    pub(super) fn forget_topic(&self, topic: &str) {
        for entry in lock(&self.table).groups.values_mut() {
            entry.offsets.forget_topic(topic);
        }
    }
}

fn checked(request: JoinRequest<'_>) -> Result<membership::Join, ErrorCode> {
    let millis = |ms: i32| u64::try_from(ms).map(Duration::from_millis).ok();
    let session_timeout = millis(request.session_timeout_ms)
        .filter(|timeout| !timeout.is_zero() && *timeout <= SESSION_TIMEOUT_MAX)
        .ok_or(ErrorCode::INVALID_SESSION_TIMEOUT)?;
    let rebalance_timeout = millis(request.rebalance_timeout_ms).unwrap_or(session_timeout);
    Ok(membership::Join {
        member_id: request.member_id.to_owned(),
        instance: request.instance.map(str::to_owned),
        protocol_type: request.protocol_type.to_owned(),
        protocols: request.protocols,
        session_timeout,
        rebalance_timeout: rebalance_timeout.min(SESSION_TIMEOUT_MAX),
        fresh_id: format!(
            "{}-{}",
            request.instance.unwrap_or(request.client_id),
            Uuid::new_v4()
        ),
        must_return: request.must_return,
    })
}

fn answer_join(
    table: &mut Table,
    name: &str,
    joined_in: i32,
    member_id: &str,
) -> Result<Joined, ErrorCode> {
    if table.is_stopping {
        return Err(ErrorCode::COORDINATOR_NOT_AVAILABLE);
    }
    let group = table.group(name).ok_or(ErrorCode::UNKNOWN_MEMBER_ID)?;
    if !group.members.contains_key(member_id) {
        return Err(ErrorCode::UNKNOWN_MEMBER_ID);
    }
    // Another rebalance began before this thread got to run: the generation it waited for is over.
    if group.is_joining(group.generation) && group.generation != joined_in {
        return Err(ErrorCode::REBALANCE_IN_PROGRESS);
    }
    let is_leader = group.leader == member_id;
    let describe = |(id, member): (&String, &membership::Member)| {
        (
            id.clone(),
            member.instance.clone(),
            member.metadata(&group.protocol),
        )
    };
    Ok(Joined {
        generation: group.generation,
        protocol_type: group.protocol_type.clone(),
        protocol: group.protocol.clone(),
        leader: group.leader.clone(),
        member_id: member_id.to_owned(),
        members: if is_leader {
            group.members.iter().map(describe).collect()
        } else {
            Vec::new()
        },
    })
}

/// A consumer outside of any generation may commit only while the group has no members.
fn may_commit(group: &mut Group, speaker: &Speaker<'_>) -> Result<(), ErrorCode> {
    if speaker.generation < 0 && group.members.is_empty() {
        return Ok(());
    }
    group.check(
        speaker.member_id,
        speaker.instance,
        speaker.generation,
        Instant::now(),
    )?;
    if group.is_syncing(speaker.generation) {
        Err(ErrorCode::REBALANCE_IN_PROGRESS)
    } else {
        Ok(())
    }
}
