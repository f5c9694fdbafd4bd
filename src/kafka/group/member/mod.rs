//! One member of a consumer group: when it joins, beats, commits and leaves, and what it reads in between (Kafka's classic protocol, with incremental
//! assignments as in KIP-429). Sans-IO: one question at a time goes out by [`Member::poll_call`], its answer comes in by [`Member::handle_answer`].
//!
//! ```text
//!               ┌──────── join again: partitions stay, commits go first ◀─────────┐
//!               ▼                                                                 │
//!  start ─▶ Joining ── generation ──▶ Syncing ── assignment ──▶ Stable: beats, offsets of what is new, commits
//!               ▲                        │                        │
//!               └── fenced, or too long without a beat: all partitions are revoked ──┘          any ── leave ──▶ Left
//! ```
//! Rules: a partition is read from its committed offset of *after* the assignment, so that no commit of its former reader is missed; and nothing is held
//! for longer than the coordinator would let it be.

mod trouble;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::GroupConfig;
use super::assignor::assign;
use super::events::{Events, GroupEvent};
use super::holdings::Holdings;
use super::requests::{Answer, Call, CallKind, Coordinator, Speaker};
use super::subscription::{Subscription, decode_assignment, encode_assignment};
use crate::clock::Instant;
use crate::kafka::error_code::ErrorCode;
use crate::kafka::fetcher::PartitionKey;
use trouble::{Reaction, Trouble, Troubles, reaction};

/// The first wait before another attempt, doubled for each further one, and the longest.
const BACKOFF_MIN: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(2);
/// The wait where somebody has to mend something first.
const SLOW_RETRY: Duration = Duration::from_secs(5);
/// How long the first join waits for the topics' metadata: a leader without them would assign nothing.
const METADATA_WAIT: Duration = Duration::from_secs(2);
/// Not in any generation.
const NO_GENERATION: i32 = -1;

/// How many partitions topics have.
pub(super) type Counts = BTreeMap<Arc<str>, i32>;

#[derive(Debug)]
enum Phase {
    /// To join as soon as may be.
    Joining,
    /// In a generation, without an assignment. The leader has those of all members.
    Syncing(Vec<(String, Bytes)>),
    /// In a generation, with an assignment.
    Stable,
    /// Gone for good.
    Left,
}

/// What a leader made its assignments of.
#[derive(Debug)]
struct Leadership {
    /// The topics of all members.
    topics: BTreeSet<Arc<str>>,
    counts: Counts,
}

#[derive(Debug)]
struct InFlight {
    kind: CallKind,
    sent_at: Instant,
    /// Of a commit.
    offsets: Vec<(PartitionKey, i64)>,
}

/// One member.
#[derive(Debug)]
pub(super) struct Member {
    config: GroupConfig,
    topics: BTreeSet<Arc<str>>,
    phase: Phase,
    is_leaving: bool,
    /// The commits from before this join or this leave have been sent, or cannot be.
    is_flushed: bool,
    coordinator: Option<Coordinator>,
    /// Empty: a new member.
    id: String,
    generation: i32,
    leadership: Option<Leadership>,
    holdings: Holdings,
    events: Events,
    counts: Counts,
    metadata_until: Option<Instant>,
    in_flight: Option<InFlight>,
    attempts: u32,
    retry_at: Instant,
    heartbeat_at: Instant,
    offsets_at: Instant,
    commit_at: Instant,
    /// When the coordinator may give what this member holds to others.
    alive_until: Instant,
    troubles: Troubles,
}

impl Member {
    /// A member that has not joined yet.
    pub(super) fn new(config: GroupConfig) -> Self {
        Self {
            topics: config
                .topics
                .iter()
                .map(|topic| topic.as_str().into())
                .collect(),
            troubles: Troubles::new(&config.group_id),
            config,
            phase: Phase::Joining,
            is_leaving: false,
            is_flushed: false,
            coordinator: None,
            id: String::new(),
            generation: NO_GENERATION,
            leadership: None,
            holdings: Holdings::default(),
            events: Events::default(),
            counts: Counts::new(),
            metadata_until: None,
            in_flight: None,
            attempts: 0,
            retry_at: Instant::ZERO,
            heartbeat_at: Instant::ZERO,
            offsets_at: Instant::ZERO,
            commit_at: Instant::ZERO,
            alive_until: Instant::ZERO,
        }
    }

    /// What to ask now. Nothing while the last question has no answer.
    pub(super) fn poll_call(&mut self, now: Instant) -> Option<Call> {
        if self.in_flight.is_some() || now < self.retry_at {
            return None;
        }
        let call = self.next_call(now)?;
        let offsets = if let Call::Commit { offsets, .. } = &call {
            offsets.clone()
        } else {
            Vec::new()
        };
        self.in_flight = Some(InFlight {
            kind: call.kind(),
            sent_at: now,
            offsets,
        });
        Some(call)
    }

    fn next_call(&mut self, now: Instant) -> Option<Call> {
        if self.is_leaving && self.id.is_empty() {
            self.phase = Phase::Left;
        }
        if matches!(self.phase, Phase::Left) {
            return None;
        }
        if self.coordinator.is_none() {
            return Some(Call::FindCoordinator);
        }
        if self.is_leaving {
            return Some(self.flush().unwrap_or_else(|| Call::Leave {
                member_id: self.id.clone(),
            }));
        }
        match &self.phase {
            Phase::Joining => self
                .flush()
                .or_else(|| self.may_join(now).then(|| self.join())),
            Phase::Syncing(assignments) => Some(Call::Sync {
                speaker: self.speaker(),
                assignments: assignments.clone(),
            }),
            Phase::Stable => self.next_call_when_stable(now),
            Phase::Left => None,
        }
    }

    /// The commits of before a join or a leave, once.
    fn flush(&self) -> Option<Call> {
        (!self.is_flushed).then(|| self.commits()).flatten()
    }

    /// Whether a leader would know what there is to assign, or has waited for that long enough.
    fn may_join(&self, now: Instant) -> bool {
        let mut topics = self.topics.iter();
        topics.all(|topic| self.counts.contains_key(topic))
            || self.metadata_until.is_none_or(|until| now >= until)
    }

    fn join(&self) -> Call {
        let subscription = Subscription {
            topics: self.topics.clone(),
            owned: self.holdings.keys(),
            generation: (self.generation != NO_GENERATION).then_some(self.generation),
        };
        Call::Join {
            member_id: self.id.clone(),
            subscription: subscription.encode(),
        }
    }

    fn next_call_when_stable(&self, now: Instant) -> Option<Call> {
        if self.heartbeat_at <= now {
            return Some(Call::Heartbeat(self.speaker()));
        }
        if self.offsets_at <= now && self.holdings.has_unannounced() {
            return Some(Call::FetchOffsets(self.holdings.unannounced()));
        }
        (self.commit_at <= now).then(|| self.commits()).flatten()
    }

    fn commits(&self) -> Option<Call> {
        if self.generation == NO_GENERATION || !self.holdings.has_outstanding() {
            return None;
        }
        Some(Call::Commit {
            speaker: self.speaker(),
            offsets: self.holdings.outstanding(),
        })
    }

    fn speaker(&self) -> Speaker {
        Speaker {
            member_id: self.id.clone(),
            generation: self.generation,
        }
    }

    /// When to call [`Member::handle_timeout`] and [`Member::poll_call`] next.
    pub(super) fn poll_timeout(&self) -> Instant {
        let due = if self.in_flight.is_some() {
            Instant::FAR_FUTURE
        } else {
            self.retry_at.max(self.due())
        };
        due.min(self.expires_at())
    }

    /// When there is something to ask, if it may be asked at once.
    fn due(&self) -> Instant {
        match &self.phase {
            Phase::Left => Instant::FAR_FUTURE,
            _ if self.is_leaving || self.coordinator.is_none() => Instant::ZERO,
            Phase::Joining if self.flush().is_none() && !self.may_join(Instant::ZERO) => {
                self.metadata_until.unwrap_or(Instant::ZERO)
            }
            Phase::Joining | Phase::Syncing(_) => Instant::ZERO,
            Phase::Stable => {
                let when = |is_wanted, at| if is_wanted { at } else { Instant::FAR_FUTURE };
                self.heartbeat_at
                    .min(when(self.holdings.has_unannounced(), self.offsets_at))
                    .min(when(self.holdings.has_outstanding(), self.commit_at))
            }
        }
    }

    /// When what is held has been held for too long. A join or a sync that the coordinator has not answered keeps the member alive.
    fn expires_at(&self) -> Instant {
        let is_awaited = self.in_flight.as_ref().is_some_and(InFlight::keeps_alive);
        if is_awaited || self.holdings.is_empty() || matches!(self.phase, Phase::Left) {
            Instant::FAR_FUTURE
        } else {
            self.alive_until
        }
    }

    /// Revokes what may be another's by now.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if self.expires_at() > now {
            return;
        }
        self.troubles.tell(CallKind::Heartbeat, Trouble::Expired);
        self.in_flight = None;
        self.coordinator = None;
        self.retry_at = now;
        self.revoke_all();
    }

    /// Whether a question is under way. When none is, the shell drops the one that it has, and its connection.
    pub(super) const fn is_calling(&self) -> bool {
        self.in_flight.is_some()
    }

    /// Whom to ask.
    pub(super) const fn coordinator(&self) -> Option<&Coordinator> {
        self.coordinator.as_ref()
    }

    /// What has changed for the member.
    pub(super) fn poll_event(&mut self) -> Option<GroupEvent> {
        self.events.pop()
    }

    /// Whether there are events since this was asked last.
    pub(super) fn take_news(&mut self) -> bool {
        self.events.take_news()
    }

    /// Everything before `next_offset` is done with; says whether that makes something to do.
    pub(super) fn commit(&mut self, key: &PartitionKey, next_offset: i64) -> bool {
        let had = self.holdings.has_outstanding();
        self.holdings.commit(key, next_offset);
        !had && self.holdings.has_outstanding()
    }

    /// Leaves, after what is to be committed. A join or a sync under way is abandoned.
    pub(super) fn leave(&mut self, now: Instant) {
        if self.is_leaving {
            return;
        }
        self.is_leaving = true;
        self.is_flushed = false;
        self.retry_at = now;
        if self.in_flight.as_ref().is_some_and(InFlight::keeps_alive) {
            self.in_flight = None;
        }
    }

    /// Gives up without another word.
    pub(super) fn abandon(&mut self) {
        self.phase = Phase::Left;
        self.in_flight = None;
    }

    /// Whether it has left, or given up.
    pub(super) const fn is_left(&self) -> bool {
        matches!(self.phase, Phase::Left)
    }

    /// Whether it assigns for the others.
    pub(super) const fn is_leader(&self) -> bool {
        self.leadership.is_some()
    }

    /// The topics whose partitions it has to know.
    pub(super) fn watched(&self) -> BTreeSet<Arc<str>> {
        let led = self.leadership.iter().flat_map(|led| &led.topics);
        self.topics.iter().chain(led).cloned().collect()
    }

    /// Takes how many partitions topics have; none for one that there is not. Those that nobody has answered for are missing.
    pub(super) fn handle_counts(&mut self, counts: Counts) {
        self.counts = counts;
        self.rejoin_if_counts_changed();
    }

    fn rejoin_if_counts_changed(&mut self) {
        let is_old = self
            .leadership
            .as_ref()
            .is_some_and(|led| led.counts != known(&led.topics, &self.counts));
        if is_old && matches!(self.phase, Phase::Stable) {
            tracing::info!(
                group = self.config.group_id,
                "a topic has other partitions than before, assigning again"
            );
            self.rejoin();
        }
    }

    fn rejoin(&mut self) {
        self.phase = Phase::Joining;
        self.is_flushed = false;
    }

    /// Takes the answer to the question under way, or the reason why there is none.
    pub(super) fn handle_answer(&mut self, answer: Result<Answer, String>, now: Instant) {
        let Some(call) = self.in_flight.take() else {
            return;
        };
        match answer {
            Err(reason) => self.handle_failure(call.kind, reason, now),
            Ok(Answer::Refused { error, member_id }) => {
                self.handle_refused(call.kind, error, member_id, now);
            }
            Ok(Answer::Committed(outcomes)) => self.handle_committed(&call, &outcomes, now),
            Ok(Answer::Offsets(offsets)) => self.handle_offsets(offsets, now),
            Ok(answer) => {
                self.troubles.end(call.kind);
                self.handle_success(&call, answer, now);
            }
        }
    }

    fn handle_success(&mut self, call: &InFlight, answer: Answer, now: Instant) {
        if call.kind != CallKind::FindCoordinator {
            self.attempts = 0;
        }
        match answer {
            Answer::Coordinator(coordinator) => {
                self.coordinator = Some(coordinator);
                self.metadata_until.get_or_insert(now + METADATA_WAIT);
            }
            Answer::Joined {
                member_id,
                generation,
                leader,
                members,
            } => {
                let assignments = self.lead(leader == member_id, members);
                self.id = member_id;
                self.generation = generation;
                self.alive_until = now + self.config.session_timeout;
                self.phase = Phase::Syncing(assignments);
            }
            Answer::Synced(assignment) => self.handle_assignment(&assignment, now),
            Answer::Done if call.kind == CallKind::Leave => self.phase = Phase::Left,
            Answer::Done => {
                self.alive_until = call.sent_at + self.config.session_timeout;
                self.heartbeat_at = call.sent_at + self.config.heartbeat_interval;
            }
            // Told apart before.
            Answer::Committed(_) | Answer::Offsets(_) | Answer::Refused { .. } => {}
        }
    }

    /// As the leader, assigns for all members.
    fn lead(&mut self, is_leader: bool, members: Vec<(String, Bytes)>) -> Vec<(String, Bytes)> {
        self.leadership = None;
        if !is_leader {
            return Vec::new();
        }
        // One who cannot be understood gets nothing.
        let members: BTreeMap<String, Subscription> = members
            .into_iter()
            .map(|(id, bytes)| (id, Subscription::decode(&bytes).unwrap_or_default()))
            .collect();
        let topics = members
            .values()
            .flat_map(|subscription| subscription.topics.iter().cloned())
            .collect();
        let counts = known(&topics, &self.counts);
        let assignments = assign(&members, &counts);
        self.leadership = Some(Leadership { topics, counts });
        assignments
            .into_iter()
            .map(|(id, partitions)| (id, encode_assignment(&partitions)))
            .collect()
    }

    fn handle_assignment(&mut self, assignment: &[u8], now: Instant) {
        let Some(mut assigned) = decode_assignment(assignment) else {
            self.troubles.tell(CallKind::Sync, Trouble::Undecodable);
            self.retry_at = now + SLOW_RETRY;
            return self.rejoin();
        };
        assigned.retain(|(topic, _)| self.topics.contains(topic));
        tracing::info!(
            group = self.config.group_id,
            member = self.id,
            generation = self.generation,
            partitions = assigned.len(),
            "in the group"
        );
        let revoked = self.holdings.replace(assigned);
        self.events.revoke(revoked);
        self.phase = Phase::Stable;
        self.alive_until = now + self.config.session_timeout;
        self.heartbeat_at = now + self.config.heartbeat_interval;
        self.offsets_at = now;
        self.rejoin_if_counts_changed();
    }

    fn handle_offsets(
        &mut self,
        offsets: Vec<(PartitionKey, Result<Option<i64>, ErrorCode>)>,
        now: Instant,
    ) {
        let mut assigned = Vec::new();
        let mut worst = None;
        for (key, outcome) in offsets {
            match outcome {
                Ok(offset) if self.holdings.announce(&key) => assigned.push((key, offset)),
                Ok(_) => {}
                Err(error) => worst = Some(worse(worst, error)),
            }
        }
        self.events.assign(assigned);
        // Should the answer have left some out.
        self.offsets_at = now + BACKOFF_MAX;
        let Some(error) = worst else {
            self.attempts = 0;
            return self.troubles.end(CallKind::FetchOffsets);
        };
        self.handle_refused(CallKind::FetchOffsets, error, String::new(), now);
        // Beats go on while these offsets are waited for.
        if reaction(error).is_patient() {
            self.offsets_at = std::mem::replace(&mut self.retry_at, now);
        }
    }

    fn handle_committed(
        &mut self,
        call: &InFlight,
        outcomes: &[(PartitionKey, ErrorCode)],
        now: Instant,
    ) {
        let mut worst = None;
        for (key, error) in outcomes {
            let sent = call.offsets.iter().find(|(sent, _)| sent == key);
            match sent {
                Some((_, offset)) if error.is_none() => self.holdings.handle_stored(key, *offset),
                Some(_) | None if error.is_none() => {}
                Some(_) | None => worst = Some(worse(worst, *error)),
            }
        }
        self.commit_at = call.sent_at + self.config.commit_interval;
        let Some(error) = worst else {
            self.attempts = 0;
            self.is_flushed |= !self.is_leaving;
            return self.troubles.end(CallKind::Commit);
        };
        self.handle_refused(CallKind::Commit, error, String::new(), now);
        // Who leaves looks for a coordinator that has moved; what else is in the way, a topic that is gone perhaps, is not waited for.
        self.is_flushed |= !self.is_leaving || reaction(error) != Reaction::FindCoordinator;
        // What stands in the way of commits alone does not stand in the way of beats.
        if reaction(error).is_patient() {
            self.commit_at = std::mem::replace(&mut self.retry_at, now).max(self.commit_at);
        }
    }

    /// The coordinator did not do it.
    fn handle_refused(
        &mut self,
        kind: CallKind,
        error: ErrorCode,
        member_id: String,
        now: Instant,
    ) {
        let reaction = reaction(error);
        if kind == CallKind::Leave
            && !matches!(reaction, Reaction::FindCoordinator | Reaction::Retry)
        {
            self.phase = Phase::Left;
            return;
        }
        match reaction {
            Reaction::Rejoin => {
                self.rejoin();
                if kind == CallKind::Join {
                    self.back_off(now);
                }
            }
            Reaction::ComeBack if self.id.is_empty() && !member_id.is_empty() => {
                self.id = member_id;
            }
            Reaction::Fenced { keeps_id } => {
                self.troubles.tell(kind, Trouble::Refused(error));
                if !keeps_id {
                    self.id.clear();
                }
                self.revoke_all();
                self.back_off(now);
            }
            Reaction::FindCoordinator | Reaction::Retry => {
                if reaction == Reaction::FindCoordinator {
                    self.coordinator = None;
                }
                self.back_off(now);
                // A coordinator that has just been made or moved says so for a moment.
                if self.attempts > ATTEMPTS_UNTOLD {
                    self.troubles.tell(kind, Trouble::Refused(error));
                }
            }
            Reaction::ComeBack | Reaction::RetrySlowly => {
                self.troubles.tell(kind, Trouble::Refused(error));
                self.retry_at = now + SLOW_RETRY;
            }
        }
    }

    /// The connection broke, or was never there: perhaps the coordinator is elsewhere by now.
    fn handle_failure(&mut self, kind: CallKind, reason: String, now: Instant) {
        self.troubles.tell(kind, Trouble::Unreachable(reason));
        self.coordinator = None;
        self.is_flushed |= kind == CallKind::Commit && !self.is_leaving;
        if kind == CallKind::Heartbeat {
            self.heartbeat_at = now;
        }
        self.back_off(now);
    }

    /// All that is held may be another's: it is read again from the committed offset, should it come back.
    fn revoke_all(&mut self) {
        let revoked = self.holdings.replace(BTreeSet::new());
        self.events.revoke(revoked);
        self.generation = NO_GENERATION;
        self.leadership = None;
        self.phase = Phase::Joining;
        self.is_flushed = true;
    }

    fn back_off(&mut self, now: Instant) {
        let wait = BACKOFF_MIN
            .saturating_mul(1 << self.attempts.min(10))
            .min(BACKOFF_MAX);
        self.attempts = self.attempts.saturating_add(1);
        // Members of several cores do not all come at once.
        let jitter = u32::try_from(now.as_nanos() % 256).unwrap_or(0);
        self.retry_at = now + wait / 2 + wait.mul_f64(f64::from(jitter) / 512.0);
    }
}

/// Failures of the coordinator that are not told: about a second of them.
const ATTEMPTS_UNTOLD: u32 = 4;

/// The error that decides among several.
fn worse(worst: Option<ErrorCode>, error: ErrorCode) -> ErrorCode {
    worst
        .filter(|worst| reaction(*worst) >= reaction(error))
        .unwrap_or(error)
}

impl InFlight {
    /// While the coordinator lets it wait, it does not count the member's beats.
    fn keeps_alive(&self) -> bool {
        matches!(self.kind, CallKind::Join | CallKind::Sync)
    }
}

/// The partitions of those of the topics that have any.
fn known(topics: &BTreeSet<Arc<str>>, counts: &Counts) -> Counts {
    counts
        .iter()
        .filter(|(topic, count)| **count > 0 && topics.contains(*topic))
        .map(|(topic, count)| (topic.clone(), *count))
        .collect()
}
