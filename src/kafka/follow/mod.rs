//! Following partitions: reading each to its end through look-ups, then by the long poll of its leader, for as long as it is wanted. What the records are for
//! is the sink's business ([`super::topics`], [`super::replies`]).
//!
//! ```text
//!  start ─▶ partition task: find the leader ─▶ first offset ─▶ read to the end ─▶ poll lane of the leader
//!                 ▲                                                                  │ error, new leader, sink is full
//!                 └──────────────────────────────────────────────────────────────────┘
//! ```
//! Rule: a sink gets the records of a partition in order, each once, or is told to begin again.

mod partition_task;
mod poll_lane;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::Future;
use std::rc::Rc;

use uuid::Uuid;

use super::client::Client;
use super::fetcher::{FetchedPartition, PartitionKey};
use super::metadata::TopicPolicy;
use crate::runtime::deadline::Deadlines;
use crate::runtime::notify::Notify;
use crate::runtime::{self};
use poll_lane::PollLane;

/// Where the reading of a partition begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartAt {
    /// At the log's first record.
    Earliest,
    /// At this offset, or at the log's first record if it does not have it.
    Offset(i64),
    /// At the first record that is not older than `unix_millis`, but no more than `records_max` before the end.
    Recent {
        /// Milliseconds since 1970.
        unix_millis: i64,
        /// Offsets.
        records_max: i64,
    },
}

/// How far a partition has been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The offset to fetch next.
    pub next_offset: i64,
    /// Whether all that was in the log when the reading began has been read.
    pub is_ready: bool,
}

/// What partitions are followed for. Clones are the same sink.
pub trait Sink: Clone + 'static {
    /// The client to read with.
    fn client(&self) -> &Client;
    /// The core's timer.
    fn deadlines(&self) -> &Rc<Deadlines>;
    /// The partitions that are followed.
    fn following(&self) -> &Following<Self>;
    /// Where a partition is begun.
    fn start_at(&self, key: &PartitionKey) -> StartAt;
    /// How far a partition has been read; `None` before it is begun.
    fn position(&self, key: &PartitionKey) -> Option<Position>;
    /// The reading begins at `start_offset`, or begins again: what came before is void.
    fn begin(&self, key: &PartitionKey, start_offset: i64, policy: &TopicPolicy);
    /// Takes what was fetched; says whether the rest of the response was garbage.
    fn ingest(&self, fetched: &FetchedPartition) -> bool;
    /// Whether the sink can take no more of a partition for now.
    fn is_full(&self, key: &PartitionKey) -> bool;
    /// Waits until it can.
    fn room(&self, key: &PartitionKey) -> impl Future<Output = ()>;
}

/// A partition that is followed.
#[derive(Default)]
struct Followed {
    /// Raised when its task has something to do: a new leader, an error, the end.
    kick: Rc<Notify>,
    /// The topic was created anew, or the offset is out of range: begin again.
    is_reset_wanted: bool,
    /// Which topic of its name is read; nil: not known yet.
    topic_id: Uuid,
}

/// The partitions that one sink follows.
pub struct Following<S> {
    partitions: RefCell<BTreeMap<PartitionKey, Followed>>,
    lanes: RefCell<BTreeMap<i32, Rc<PollLane>>>,
    sink: std::marker::PhantomData<S>,
}

impl<S> Default for Following<S> {
    fn default() -> Self {
        Self {
            partitions: RefCell::default(),
            lanes: RefCell::default(),
            sink: std::marker::PhantomData,
        }
    }
}

impl<S: Sink> Following<S> {
    /// Follows a partition from now on.
    pub fn start(sink: &S, key: PartitionKey) {
        let following = sink.following();
        let kick = {
            let mut partitions = following.partitions.borrow_mut();
            if partitions.contains_key(&key) {
                return;
            }
            partitions.entry(key.clone()).or_default().kick.clone()
        };
        runtime::spawn(partition_task::run(sink.clone(), key, kick));
    }

    /// Follows it no more.
    pub fn stop(&self, key: &PartitionKey) {
        if let Some(followed) = self.partitions.borrow_mut().remove(key) {
            followed.kick.notify();
        }
    }

    /// Whether `kick` is that of the task that follows the partition now.
    fn is_followed_by(&self, key: &PartitionKey, kick: &Rc<Notify>) -> bool {
        let partitions = self.partitions.borrow();
        partitions
            .get(key)
            .is_some_and(|followed| Rc::ptr_eq(&followed.kick, kick))
    }

    fn kick(&self, key: &PartitionKey) {
        if let Some(followed) = self.partitions.borrow().get(key) {
            followed.kick.notify();
        }
    }

    fn want_reset(&self, key: &PartitionKey) {
        if let Some(followed) = self.partitions.borrow_mut().get_mut(key) {
            followed.is_reset_wanted = true;
        }
    }

    fn is_reset_wanted(&self, key: &PartitionKey) -> bool {
        let partitions = self.partitions.borrow();
        partitions
            .get(key)
            .is_some_and(|followed| followed.is_reset_wanted)
    }

    /// The partition is read from its beginning, as one of this topic.
    fn handle_begun(&self, key: &PartitionKey, topic_id: Uuid) {
        if let Some(followed) = self.partitions.borrow_mut().get_mut(key) {
            followed.is_reset_wanted = false;
            followed.topic_id = topic_id;
        }
    }

    /// Whether the topic that has the name now, of this id, is another one than is read. Where neither was known to have an id, it is the one.
    fn is_other_topic(&self, key: &PartitionKey, id: Uuid) -> bool {
        let mut partitions = self.partitions.borrow_mut();
        let Some(followed) = partitions.get_mut(key).filter(|_| !id.is_nil()) else {
            return false;
        };
        if followed.topic_id.is_nil() {
            followed.topic_id = id;
        }
        followed.topic_id != id
    }
}
