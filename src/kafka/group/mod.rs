//! Membership in a consumer group: which partitions of some topics this member reads, and how far it has (Kafka's classic group protocol). One member per core.
//!
//! ```text
//!   Group (handle) ── commit, leave ──▶ member: sans-IO ◀─ answers ─┐
//!     ◀── assigned, revoked ────────────  │  └─ calls ──▶ task: one connection to the coordinator
//!                                         └─ assignor, when it leads
//! ```
//! A generation ends while its members go on reading: each joins the next one with what it has, and is told only what changed. A partition that moves may be read by
//! its old and its new reader for a moment, and its records since the last commit twice: at least once, not exactly once.
//!
//! Rule: a member never gives up; it says what is wrong and tries on, until it leaves.

mod assignor;
mod events;
mod holdings;
mod member;
mod requests;
mod subscription;
mod task;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use super::client::Client;
use super::fetcher::PartitionKey;
use crate::clock::Instant;
use crate::runtime::deadline::Deadlines;
use crate::runtime::notify::Notify;
use crate::runtime::{self, with_deadline};
pub use events::GroupEvent;
use member::Member;

/// Which group, and its times.
#[derive(Clone, Debug)]
pub struct GroupConfig {
    /// The group's name.
    pub group_id: String,
    /// The topics to read; they may be made later.
    pub topics: Vec<String>,
    /// After this long without a word from a member, its partitions are given to others.
    pub session_timeout: Duration,
    /// How long the others wait for a member when a new generation begins.
    pub rebalance_timeout: Duration,
    /// How often the member says that it is alive, and learns of a new generation.
    pub heartbeat_interval: Duration,
    /// The least time between two commits.
    pub commit_interval: Duration,
}

impl GroupConfig {
    /// The usual times: session 10 s, rebalance 30 s, heartbeat 3 s, commit 500 ms.
    pub fn new(group_id: impl Into<String>, topics: impl IntoIterator<Item = String>) -> Self {
        Self {
            group_id: group_id.into(),
            topics: topics.into_iter().collect(),
            session_timeout: Duration::from_secs(10),
            rebalance_timeout: Duration::from_secs(30),
            heartbeat_interval: Duration::from_secs(3),
            commit_interval: Duration::from_millis(500),
        }
    }

    /// With another session timeout, and a heartbeat that fits it: a third, 3 s at most.
    #[must_use]
    pub fn with_session_timeout(mut self, session_timeout: Duration) -> Self {
        self.session_timeout = session_timeout;
        self.heartbeat_interval = (session_timeout / 3).min(Duration::from_secs(3));
        self
    }
}

/// One member of a group. Clones are the same member.
#[derive(Clone)]
pub struct Group {
    inner: Rc<Inner>,
}

struct Inner {
    client: Client,
    config: GroupConfig,
    deadlines: Rc<Deadlines>,
    member: RefCell<Member>,
    /// Raised when there is an event to be taken.
    notify: Rc<Notify>,
    /// Raised when the task has something to do.
    wake: Notify,
    /// Raised when the client's metadata have changed.
    metadata_changed: Rc<Notify>,
    /// Raised when the task has ended.
    ended: Notify,
}

impl fmt::Debug for Group {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Group")
            .field("config", &self.inner.config)
            .finish_non_exhaustive()
    }
}

impl Group {
    /// Joins, and stays in until [`Group::leave`]; a client that is stopped ends the membership too, but the coordinator is not told.
    pub fn join(
        client: Client,
        config: GroupConfig,
        deadlines: Rc<Deadlines>,
        notify: Rc<Notify>,
    ) -> Self {
        let inner = Rc::new(Inner {
            client,
            member: RefCell::new(Member::new(config.clone())),
            config,
            deadlines,
            notify,
            wake: Notify::default(),
            metadata_changed: Rc::default(),
            ended: Notify::default(),
        });
        runtime::spawn(task::run(inner.clone()));
        Self { inner }
    }

    /// What has changed. `notify` is raised when there is something; take until there is nothing.
    pub fn poll_event(&self) -> Option<GroupEvent> {
        self.inner.member.borrow_mut().poll_event()
    }

    /// Everything before `next_offset` is done with. It is sent within the commit interval, before a new generation begins, and before the member leaves.
    /// What the member has not been assigned, or an offset before one given earlier, changes nothing.
    pub fn commit(&self, key: &PartitionKey, next_offset: i64) {
        if self.inner.member.borrow_mut().commit(key, next_offset) {
            self.inner.wake.notify();
        }
    }

    /// Commits what is to be committed and leaves, so that the others need not wait for the session's end. Nothing is sent afterwards, nor after `until`.
    pub async fn leave(&self, until: Instant) {
        let inner = &self.inner;
        inner.member.borrow_mut().leave(runtime::now());
        inner.wake.notify();
        let deadline = inner.deadlines.deadline();
        let left = async {
            while !inner.member.borrow().is_left() {
                inner.ended.notified().await;
            }
        };
        if with_deadline(&deadline, until, left).await.is_err() {
            tracing::warn!(
                group = inner.config.group_id,
                "no time to leave the consumer group: it waits for the session's end"
            );
            inner.member.borrow_mut().abandon();
            inner.wake.notify();
        }
    }
}
