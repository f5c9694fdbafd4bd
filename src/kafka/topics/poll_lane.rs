//! One broker's poll connection: a fetch session with a long poll over all partitions of this core that the broker leads.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use super::Topics;
use crate::kafka::connection::Connection;
use crate::kafka::error_code::ErrorCode;
use crate::kafka::fetcher::{FetchOutcome, FetchSession, FetchedPartition, PartitionKey};
use crate::runtime::notify::Notify;
use crate::runtime::{self};

/// How long the broker may hold a poll. A partition that is added waits this long at most until it is polled.
const POLL_WAIT_MS: i32 = 500;
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
const RECONNECT_INTERVAL: Duration = Duration::from_millis(200);

/// The poll connection to one broker.
pub(super) struct PollLane {
    session: RefCell<FetchSession>,
    wanted: Notify,
}

impl PollLane {
    /// Polls a partition from where its store stands.
    pub(super) fn add(&self, topics: &Topics, key: &PartitionKey) {
        let offset = topics
            .inner
            .stores
            .borrow()
            .get(key)
            .map(crate::kafka::cache::PartitionStore::next_offset);
        if let Some(offset) = offset {
            self.session.borrow_mut().want(key.clone(), offset);
            self.wanted.notify();
        }
    }

    /// Polls a partition no more.
    pub(super) fn remove(&self, key: &PartitionKey) {
        self.session.borrow_mut().forget(key);
    }

    /// Gives all partitions back to their tasks: the broker cannot be reached, and may lead them no more.
    fn give_back(&self, topics: &Topics) {
        let keys: Vec<PartitionKey> = self.session.borrow().wanted().cloned().collect();
        for key in keys {
            topics.client().want(&key.0, false);
            self.remove(&key);
            topics.kick(&key);
        }
    }
}

impl Topics {
    /// The poll lane of a broker, started if there is none.
    pub(super) fn lane(&self, broker: i32) -> Rc<PollLane> {
        if let Some(lane) = self.inner.lanes.borrow().get(&broker) {
            return lane.clone();
        }
        let lane = Rc::new(PollLane {
            session: RefCell::default(),
            wanted: Notify::default(),
        });
        self.inner.lanes.borrow_mut().insert(broker, lane.clone());
        runtime::spawn(run(self.clone(), broker, lane.clone()));
        lane
    }

    fn kick(&self, key: &PartitionKey) {
        if let Some(owned) = self.inner.owned.borrow().get(key) {
            owned.kick.notify();
        }
    }

    /// The partition has to begin again at its log's start.
    pub(super) fn want_reset(&self, key: &PartitionKey) {
        if let Some(owned) = self.inner.owned.borrow_mut().get_mut(key) {
            owned.reset_wanted = true;
        }
    }
}

async fn run(topics: Topics, broker: i32, lane: Rc<PollLane>) {
    let mut connection: Option<Connection> = None;
    loop {
        if lane.session.borrow().is_empty() {
            connection = None;
            lane.session.borrow_mut().reset();
            lane.wanted.notified().await;
            continue;
        }
        let Some(open) = connection.as_mut() else {
            connection = topics.client().connect(broker).await.ok();
            lane.session.borrow_mut().reset();
            if connection.is_none() {
                lane.give_back(&topics);
                runtime::sleep(RECONNECT_INTERVAL).await;
            }
            continue;
        };
        let request = lane.session.borrow_mut().request(POLL_WAIT_MS);
        match open.call(&request, CALL_TIMEOUT).await {
            Ok(response) => {
                let outcome = lane.session.borrow_mut().handle_response(response);
                match outcome {
                    FetchOutcome::Partitions(fetched) => take(&topics, &lane, &fetched).await,
                    FetchOutcome::SessionLost(error) => {
                        tracing::debug!(broker, %error, "fetch session lost, starting another");
                    }
                }
            }
            Err(fault) => {
                tracing::warn!(broker, %fault, "poll connection lost");
                connection = None;
                lane.session.borrow_mut().reset();
            }
        }
    }
}

async fn take(topics: &Topics, lane: &PollLane, fetched: &[FetchedPartition]) {
    for partition in fetched {
        // Forgotten while the answer was on its way.
        if !lane
            .session
            .borrow()
            .wanted()
            .any(|key| *key == partition.key)
        {
            continue;
        }
        let keep = match partition.error {
            ErrorCode::NONE => !topics.ingest(partition),
            ErrorCode::OFFSET_OUT_OF_RANGE => {
                topics.want_reset(&partition.key);
                false
            }
            error => {
                tracing::debug!(topic = &*partition.key.0, partition = partition.key.1, %error, "cannot poll the partition");
                topics.client().want(&partition.key.0, false);
                false
            }
        };
        if keep {
            let offset = topics
                .inner
                .stores
                .borrow()
                .get(&partition.key)
                .map(crate::kafka::cache::PartitionStore::next_offset);
            if let Some(offset) = offset {
                lane.session
                    .borrow_mut()
                    .want(partition.key.clone(), offset);
            }
        } else {
            lane.remove(&partition.key);
            topics.kick(&partition.key);
        }
        runtime::yield_if_needed().await;
    }
}
