//! One classic consumer group as a state machine: who is in it, which generation, who was assigned what.
//! Driven by the coordinator, which holds the lock and does the waiting; time is an argument.
//!
//! One rule: a generation starts only when every member has joined again or has run out of time.
//!
//! ```text
//!            join                  all joined, or deadline        leader's sync
//!   Empty ─────────▶ Joining ──────────────────────────▶ Syncing ───────────────▶ Stable
//!     ▲                 ▲  ▲             join, leave, expiry  │                      │
//!     │ last one left   │  └──────────────────────────────────┴──────────────────────┘
//!     └─────────────────┘
//! ```

use crate::embedded::error::ErrorCode;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Members of one group, and as many ids given out that have not joined yet.
const MEMBERS_MAX: usize = 1_000;
/// How long the first join of an empty group waits for others (Kafka's default is 3 s, made for big deployments).
pub(super) const INITIAL_DELAY: Duration = Duration::from_millis(100);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Phase {
    #[default]
    Empty,
    Joining,
    Syncing,
    Stable,
}

#[derive(Debug)]
pub(super) struct Member {
    pub(super) instance: Option<String>,
    /// In the member's order of preference.
    protocols: Vec<(String, Bytes)>,
    session_timeout: Duration,
    rebalance_timeout: Duration,
    last_seen: Instant,
    /// In a join or sync that has not been answered yet: alive without heartbeats.
    is_waiting: bool,
    assignment: Bytes,
}

/// What a member says when it joins.
pub(super) struct Join {
    /// Empty: a new member.
    pub(super) member_id: String,
    pub(super) instance: Option<String>,
    pub(super) protocol_type: String,
    pub(super) protocols: Vec<(String, Bytes)>,
    pub(super) session_timeout: Duration,
    pub(super) rebalance_timeout: Duration,
    /// The id for a new member.
    pub(super) fresh_id: String,
    /// A new member has to come back with its id (KIP-394).
    pub(super) must_return: bool,
}

/// A refused join: the code, and the member id to answer with it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refused(pub(super) ErrorCode, pub(super) String);

#[derive(Debug, Default)]
pub(super) struct Group {
    pub(super) phase: Phase,
    pub(super) generation: i32,
    pub(super) leader: String,
    pub(super) protocol_type: String,
    pub(super) protocol: String,
    pub(super) members: BTreeMap<String, Member>,
    /// Ids given out by KIP-394, with the time at which they are forgotten.
    promised: BTreeMap<String, Instant>,
    /// When joining ends at the latest.
    deadline: Option<Instant>,
}

impl Group {
    /// Takes a join; `Ok` is the id under which the member now waits for the generation to start.
    pub(super) fn join(&mut self, join: Join, now: Instant) -> Result<String, Refused> {
        let member_id = self.admit(&join, now)?;
        let was_empty = self.members.is_empty();
        let member = Member {
            instance: join.instance,
            protocols: join.protocols,
            session_timeout: join.session_timeout,
            rebalance_timeout: join.rebalance_timeout,
            last_seen: now,
            is_waiting: true,
            assignment: Bytes::new(),
        };
        // A follower that asks again, its answer lost, with nothing changed, does not disturb the others.
        if self.is_repeat(&member_id, &member) {
            return Ok(member_id);
        }
        self.protocol_type = join.protocol_type;
        self.members.insert(member_id.clone(), member);
        self.rebalance(now, if was_empty { Some(INITIAL_DELAY) } else { None });
        if let Some(member) = self.members.get_mut(&member_id) {
            member.is_waiting = true;
        }
        let waits_for_others =
            self.deadline.is_some_and(|deadline| deadline > now) && self.is_first_join();
        if !waits_for_others {
            self.complete_if_all_joined(now);
        }
        Ok(member_id)
    }

    /// Finds the member's id, or the reason why it may not join.
    fn admit(&mut self, join: &Join, now: Instant) -> Result<String, Refused> {
        let refuse = |code| Err(Refused(code, join.member_id.clone()));
        if !self.is_consistent(join) {
            return refuse(ErrorCode::INCONSISTENT_GROUP_PROTOCOL);
        }
        let holder = join
            .instance
            .as_ref()
            .and_then(|instance| self.holder_of(instance));
        if join.member_id.is_empty() {
            if let Some(old) = holder {
                // The same instance after a restart: the old process, should it still run, is fenced from now on.
                self.members.remove(&old);
            } else if self.members.len().max(self.promised.len()) >= MEMBERS_MAX {
                return refuse(ErrorCode::GROUP_MAX_SIZE_REACHED);
            }
            if join.must_return && join.instance.is_none() {
                self.promised
                    .insert(join.fresh_id.clone(), now + join.session_timeout);
                return Err(Refused(
                    ErrorCode::MEMBER_ID_REQUIRED,
                    join.fresh_id.clone(),
                ));
            }
            return Ok(join.fresh_id.clone());
        }
        if holder.is_some_and(|holder| holder != join.member_id) {
            return refuse(ErrorCode::FENCED_INSTANCE_ID);
        }
        let is_promised = self.promised.remove(&join.member_id).is_some();
        if is_promised || self.members.contains_key(&join.member_id) {
            return Ok(join.member_id.clone());
        }
        refuse(ErrorCode::UNKNOWN_MEMBER_ID)
    }

    /// Whether the protocols offered leave the group one that all its members know.
    fn is_consistent(&self, join: &Join) -> bool {
        if join.protocols.is_empty() || join.protocol_type.is_empty() {
            return false;
        }
        let others = || {
            self.members
                .iter()
                .filter(|(id, _)| **id != join.member_id)
                .map(|(_, member)| member)
        };
        if others().next().is_none() {
            return true;
        }
        let is_common = |name: &str| others().all(|member| member.knows(name));
        join.protocol_type == self.protocol_type
            && join.protocols.iter().any(|(name, _)| is_common(name))
    }

    fn holder_of(&self, instance: &str) -> Option<String> {
        let holds = |member: &Member| member.instance.as_deref() == Some(instance);
        self.members
            .iter()
            .find(|(_, member)| holds(member))
            .map(|(id, _)| id.clone())
    }

    fn is_repeat(&self, member_id: &str, join: &Member) -> bool {
        let known = self.members.get(member_id);
        self.phase == Phase::Stable
            && self.leader != member_id
            && known.is_some_and(|known| known.protocols == join.protocols)
    }

    /// No generation since the group was last empty.
    fn is_first_join(&self) -> bool {
        self.leader.is_empty()
    }

    fn rebalance(&mut self, now: Instant, delay: Option<Duration>) {
        if self.phase == Phase::Joining {
            return;
        }
        self.phase = Phase::Joining;
        for member in self.members.values_mut() {
            member.is_waiting = false;
            member.assignment = Bytes::new();
        }
        let patience = self
            .members
            .values()
            .map(|member| member.rebalance_timeout)
            .max();
        self.deadline = Some(now + delay.or(patience).unwrap_or_default());
    }

    fn complete_if_all_joined(&mut self, now: Instant) {
        if self.phase == Phase::Joining && self.members.values().all(|member| member.is_waiting) {
            self.complete(now);
        }
    }

    /// Starts the next generation with those who joined.
    fn complete(&mut self, now: Instant) {
        self.members.retain(|_, member| member.is_waiting);
        self.deadline = None;
        self.generation = self.generation.wrapping_add(1).max(1);
        if !self.members.contains_key(&self.leader) {
            self.leader = self.members.keys().next().cloned().unwrap_or_default();
        }
        self.phase = if self.members.is_empty() {
            Phase::Empty
        } else {
            Phase::Syncing
        };
        self.protocol = self.common_protocol();
        for member in self.members.values_mut() {
            member.last_seen = now;
            member.is_waiting = false;
        }
    }

    /// The first of the leader's protocols that every member knows.
    fn common_protocol(&self) -> String {
        let offered = self
            .members
            .get(&self.leader)
            .map(|leader| leader.protocols.as_slice());
        let is_common = |name: &str| self.members.values().all(|member| member.knows(name));
        let found = offered
            .unwrap_or_default()
            .iter()
            .find(|(name, _)| is_common(name));
        found.map(|(name, _)| name.clone()).unwrap_or_default()
    }

    /// Whether a join that was taken in `generation` still waits.
    pub(super) fn is_joining(&self, generation: i32) -> bool {
        self.phase == Phase::Joining && self.generation == generation
    }

    /// Whether the leader's assignment for `generation` is still awaited.
    pub(super) fn is_syncing(&self, generation: i32) -> bool {
        self.phase == Phase::Syncing && self.generation == generation
    }

    /// Checks who speaks, and notes that it is alive.
    pub(super) fn check(
        &mut self,
        member_id: &str,
        instance: Option<&str>,
        generation: i32,
        now: Instant,
    ) -> Result<&mut Member, ErrorCode> {
        let holder = instance.and_then(|instance| self.holder_of(instance));
        if holder.is_some_and(|holder| holder != member_id) {
            return Err(ErrorCode::FENCED_INSTANCE_ID);
        }
        let current = self.generation;
        let member = self
            .members
            .get_mut(member_id)
            .ok_or(ErrorCode::UNKNOWN_MEMBER_ID)?;
        if generation != current {
            return Err(ErrorCode::ILLEGAL_GENERATION);
        }
        member.last_seen = now;
        Ok(member)
    }

    /// Takes a sync of a checked member; the leader's brings the assignments and makes the group stable.
    pub(super) fn sync(
        &mut self,
        member_id: &str,
        assignments: Vec<(String, Bytes)>,
        now: Instant,
    ) {
        if self.phase != Phase::Syncing {
            return;
        }
        if self.leader != member_id {
            if let Some(member) = self.members.get_mut(member_id) {
                member.is_waiting = true;
            }
            return;
        }
        for (id, assignment) in assignments {
            if let Some(member) = self.members.get_mut(&id) {
                member.assignment = assignment;
            }
        }
        self.phase = Phase::Stable;
        for member in self.members.values_mut() {
            member.is_waiting = false;
            member.last_seen = now;
        }
    }

    /// The assignment of a member in a stable group.
    pub(super) fn assignment(&self, member_id: &str) -> Result<Bytes, ErrorCode> {
        match self.members.get(member_id) {
            None => Err(ErrorCode::UNKNOWN_MEMBER_ID),
            Some(_) if self.phase != Phase::Stable => Err(ErrorCode::REBALANCE_IN_PROGRESS),
            Some(member) => Ok(member.assignment.clone()),
        }
    }

    /// Removes a member, named by its id or else by its instance.
    pub(super) fn leave(
        &mut self,
        member_id: &str,
        instance: Option<&str>,
        now: Instant,
    ) -> Result<(), ErrorCode> {
        let holder = instance.and_then(|instance| self.holder_of(instance));
        let id = match holder {
            Some(holder) if member_id.is_empty() => holder,
            Some(holder) if holder != member_id => return Err(ErrorCode::FENCED_INSTANCE_ID),
            _ => member_id.to_owned(),
        };
        let was_promised = self.promised.remove(&id).is_some();
        if self.members.remove(&id).is_some() {
            self.after_removal(now);
        } else if !was_promised {
            return Err(ErrorCode::UNKNOWN_MEMBER_ID);
        }
        Ok(())
    }

    /// Drops members that were silent for too long and ends a join whose time is over; says whether anything changed.
    pub(super) fn expire(&mut self, now: Instant) -> bool {
        self.promised.retain(|_, until| *until > now);
        let count = self.members.len();
        self.members.retain(|_, member| {
            member.is_waiting
                || now.saturating_duration_since(member.last_seen) < member.session_timeout
        });
        let is_over = self.deadline.is_some_and(|deadline| deadline <= now);
        if self.phase == Phase::Joining && is_over {
            self.complete(now);
            return true;
        }
        if self.members.len() == count {
            return false;
        }
        self.after_removal(now);
        true
    }

    fn after_removal(&mut self, now: Instant) {
        if self.members.is_empty() {
            self.phase = Phase::Empty;
            self.deadline = None;
            self.leader.clear();
            return;
        }
        let was_first_join = self.phase == Phase::Joining && self.is_first_join();
        self.rebalance(now, None);
        if !was_first_join {
            self.complete_if_all_joined(now);
        }
    }

    /// When the join under way ends at the latest.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }
}

impl Member {
    fn knows(&self, protocol: &str) -> bool {
        self.protocols.iter().any(|(name, _)| name == protocol)
    }

    /// What the member said about itself for `protocol`.
    pub(super) fn metadata(&self, protocol: &str) -> Bytes {
        let found = self.protocols.iter().find(|(name, _)| name == protocol);
        found
            .map(|(_, metadata)| metadata.clone())
            .unwrap_or_default()
    }
}
