//! One broker's poll connection: a fetch session with a long poll over all partitions that the sink follows and the broker leads.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use super::Sink;
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
#[derive(Default)]
pub(super) struct PollLane {
    session: RefCell<FetchSession>,
    wanted: Notify,
}

impl PollLane {
    /// Polls a partition from where the sink stands.
    pub(super) fn add<S: Sink>(&self, sink: &S, key: &PartitionKey) {
        if let Some(position) = sink.position(key) {
            self.session
                .borrow_mut()
                .want(key.clone(), position.next_offset);
            self.wanted.notify();
        }
    }

    /// Polls a partition no more.
    pub(super) fn remove(&self, key: &PartitionKey) {
        self.session.borrow_mut().forget(key);
    }

    /// Gives all partitions back to their tasks: the broker cannot be reached, and may lead them no more.
    fn give_back<S: Sink>(&self, sink: &S) {
        let keys: Vec<PartitionKey> = self.session.borrow().wanted().cloned().collect();
        for key in keys {
            sink.client().want(&key.0, false);
            self.remove(&key);
            sink.following().kick(&key);
        }
    }
}

/// The poll lane of a broker, started if there is none.
pub(super) fn lane<S: Sink>(sink: &S, broker: i32) -> Rc<PollLane> {
    let lanes = &sink.following().lanes;
    if let Some(lane) = lanes.borrow().get(&broker) {
        return lane.clone();
    }
    let lane = Rc::new(PollLane::default());
    lanes.borrow_mut().insert(broker, lane.clone());
    runtime::spawn(run(sink.clone(), broker, lane.clone()));
    lane
}

async fn run<S: Sink>(sink: S, broker: i32, lane: Rc<PollLane>) {
    let mut connection: Option<Connection> = None;
    loop {
        if lane.session.borrow().is_empty() {
            connection = None;
            lane.session.borrow_mut().reset();
            lane.wanted.notified().await;
            continue;
        }
        let Some(open) = connection.as_mut() else {
            connection = sink.client().connect(broker).await.ok();
            lane.session.borrow_mut().reset();
            if connection.is_none() {
                lane.give_back(&sink);
                runtime::sleep(RECONNECT_INTERVAL).await;
            }
            continue;
        };
        let request = lane.session.borrow_mut().request(POLL_WAIT_MS);
        match open.call(&request, CALL_TIMEOUT).await {
            Ok(response) => {
                let outcome = lane.session.borrow_mut().handle_response(response);
                match outcome {
                    FetchOutcome::Partitions(fetched) => take(&sink, &lane, &fetched).await,
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

async fn take<S: Sink>(sink: &S, lane: &PollLane, fetched: &[FetchedPartition]) {
    for partition in fetched {
        let key = &partition.key;
        // Forgotten or begun again while the answer was on its way, or while others were taken.
        if !lane.session.borrow().is_current(key) {
            continue;
        }
        let keep = match partition.error {
            ErrorCode::NONE => !sink.ingest(partition) && !sink.is_full(key),
            ErrorCode::OFFSET_OUT_OF_RANGE => {
                sink.client().want(&key.0, false);
                sink.following().want_reset(key);
                false
            }
            error => {
                tracing::debug!(topic = &*key.0, partition = key.1, %error, "cannot poll the partition");
                sink.client().want(&key.0, false);
                false
            }
        };
        if let Some(position) = sink.position(key).filter(|_| keep) {
            let mut session = lane.session.borrow_mut();
            session.want(key.clone(), position.next_offset);
        } else {
            lane.remove(key);
            sink.following().kick(key);
        }
        runtime::yield_if_needed().await;
    }
}
