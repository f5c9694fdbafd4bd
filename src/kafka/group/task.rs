//! The shell of a member: carries its calls to the coordinator, over one connection, and tells it the time and how many partitions there are. It decides nothing.
//!
//! Rule: a call that the member has given up is dropped with its connection; a broker would answer it before anything that is asked later.

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use super::member::Counts;
use super::requests::{self, Answer, Call, Coordinator};
use super::{GroupConfig, Inner};
use crate::clock::Instant;
use crate::kafka::client::Client;
use crate::kafka::connection::{Connection, ConnectionFault};
use crate::runtime::deadline::{Deadline, GRANULARITY};
use crate::runtime::{self, with_deadline};

/// How often a leader asks how many partitions there are, and while a topic has none.
const COUNTS_INTERVAL: Duration = Duration::from_secs(30);
const COUNTS_INTERVAL_MISSING: Duration = Duration::from_secs(3);
/// How long any broker may take to name the coordinator: several may have to be tried.
const FIND_TIMEOUT: Duration = Duration::from_secs(20);
/// How long the coordinator may take for what it does at once; no longer than half a session.
const CALL_TIMEOUT_MIN: Duration = Duration::from_millis(500);
const CALL_TIMEOUT_MAX: Duration = Duration::from_secs(5);
/// How much later than the coordinator's own limit a join or a sync is given up.
const WAIT_MARGIN: Duration = Duration::from_secs(5);

/// The connection to the coordinator.
struct Lane {
    coordinator: Coordinator,
    connection: Connection,
}

type Outcome = (Option<Lane>, Result<Answer, String>);
type Calling = Pin<Box<dyn Future<Output = Outcome>>>;

pub(super) async fn run(group: Rc<Inner>) {
    let deadline = group.deadlines.deadline();
    let mut counting = Counting::default();
    let mut lane: Option<Lane> = None;
    let mut calling: Option<Calling> = None;
    group.client.on_change(&group.metadata_changed);
    while !group.client.is_stopped() {
        let now = runtime::now();
        let counted_at = counting.look(&group, now);
        group.member.borrow_mut().handle_timeout(now);
        if !group.member.borrow().is_calling() {
            calling = None;
        }
        let call = group.member.borrow_mut().poll_call(now);
        if let Some(call) = call {
            calling = Some(Box::pin(perform(group.clone(), lane.take(), call)));
        }
        tell(&group);
        if group.member.borrow().is_left() {
            break;
        }
        let at = group.member.borrow().poll_timeout().min(counted_at);
        // Whatever the member may have in mind, others get their turn.
        deadline.set(at.max(now + GRANULARITY));
        if let Some((kept, answer)) = wait(&group, &deadline, calling.as_mut()).await {
            calling = None;
            lane = kept;
            let mut member = group.member.borrow_mut();
            member.handle_answer(answer, runtime::now());
        }
    }
    group.client.forget_change(&group.metadata_changed);
    group.member.borrow_mut().abandon();
    group.ended.notify();
}

fn tell(group: &Inner) {
    if group.member.borrow_mut().take_news() {
        group.notify.notify();
    }
}

/// Waits for the call under way, or for something else to happen.
async fn wait(
    group: &Inner,
    deadline: &Deadline,
    mut calling: Option<&mut Calling>,
) -> Option<Outcome> {
    std::future::poll_fn(|context| {
        if let Some(calling) = &mut calling
            && let Poll::Ready(outcome) = calling.as_mut().poll(context)
        {
            return Poll::Ready(Some(outcome));
        }
        let is_woken = group.wake.poll_notified(context).is_ready()
            | group.metadata_changed.poll_notified(context).is_ready()
            | deadline.poll_expired(context, runtime::now()).is_ready();
        if is_woken {
            Poll::Ready(None)
        } else {
            Poll::Pending
        }
    })
    .await
}

/// Asks how many partitions the topics have, and tells the member what is known.
#[derive(Default)]
struct Counting {
    asked_at: Instant,
    asked: BTreeSet<Arc<str>>,
}

impl Counting {
    /// Returns when to look again.
    fn look(&mut self, group: &Inner, now: Instant) -> Instant {
        let watched = group.member.borrow().watched();
        let counts = counts(&group.client, &watched);
        let has = |topic: &Arc<str>| counts.get(topic).is_some_and(|count| *count > 0);
        let interval = if watched.iter().all(has) {
            COUNTS_INTERVAL
        } else {
            COUNTS_INTERVAL_MISSING
        };
        let is_new = !watched.is_subset(&self.asked);
        let is_leader = group.member.borrow().is_leader();
        group.member.borrow_mut().handle_counts(counts);
        if is_new || is_leader && self.asked_at + interval <= now {
            for topic in &watched {
                group.client.want(topic, false);
            }
            self.asked = watched;
            self.asked_at = now;
        }
        if is_leader {
            self.asked_at + interval
        } else {
            Instant::FAR_FUTURE
        }
    }
}

/// What brokers have said. A topic that they have no word of any more keeps what it had: it may be a broker that has just started.
fn counts(client: &Client, watched: &BTreeSet<Arc<str>>) -> Counts {
    let count = |topic: &Arc<str>| {
        let known = client.topic(topic)?;
        let is_answered = !known.leaders.is_empty() || known.error.is_some();
        let count = i32::try_from(known.leaders.len()).unwrap_or(i32::MAX);
        is_answered.then(|| (topic.clone(), count))
    };
    watched.iter().filter_map(count).collect()
}

/// Asks, and returns the connection if it can be used again.
async fn perform(group: Rc<Inner>, lane: Option<Lane>, call: Call) -> Outcome {
    let timeout = timeout(&group.config, &call);
    let until = runtime::now() + timeout;
    let deadline = group.deadlines.deadline();
    let coordinator = group.member.borrow().coordinator().cloned();
    let asking = async {
        let Some(coordinator) = coordinator else {
            let answer = find_coordinator(&group, timeout).await?;
            return Ok::<_, ConnectionFault>((None, answer));
        };
        let kept = lane.filter(|lane| lane.coordinator == coordinator);
        let mut lane = match kept {
            Some(lane) => lane,
            None => open(&group.client, coordinator).await?,
        };
        let answer = ask(&group.config, &mut lane.connection, call, timeout).await?;
        Ok((Some(lane), answer))
    };
    match with_deadline(&deadline, until, asking).await {
        Ok(Ok((lane, answer))) => (lane, Ok(answer)),
        Ok(Err(fault)) => (None, Err(fault.to_string())),
        Err(_) => (None, Err(ConnectionFault::Timeout.to_string())),
    }
}

fn timeout(config: &GroupConfig, call: &Call) -> Duration {
    match call {
        Call::FindCoordinator => FIND_TIMEOUT,
        Call::Join { .. } | Call::Sync { .. } => config.rebalance_timeout + WAIT_MARGIN,
        Call::FetchOffsets(_) | Call::Heartbeat(_) | Call::Commit { .. } | Call::Leave { .. } => {
            (config.session_timeout / 2).clamp(CALL_TIMEOUT_MIN, CALL_TIMEOUT_MAX)
        }
    }
}

async fn open(client: &Client, coordinator: Coordinator) -> Result<Lane, ConnectionFault> {
    let connection = client.open(&coordinator.host, coordinator.port).await?;
    Ok(Lane {
        coordinator,
        connection,
    })
}

async fn find_coordinator(group: &Inner, timeout: Duration) -> Result<Answer, ConnectionFault> {
    let mut connection = group.client.connect_any().await?;
    let request = requests::find_coordinator(&group.config);
    let response = connection.call(&request, timeout).await?;
    Ok(requests::coordinator(&response))
}

async fn ask(
    config: &GroupConfig,
    connection: &mut Connection,
    call: Call,
    timeout: Duration,
) -> Result<Answer, ConnectionFault> {
    match call {
        // Asked without a coordinator only.
        Call::FindCoordinator => {
            let request = requests::find_coordinator(config);
            let response = connection.call(&request, timeout).await?;
            Ok(requests::coordinator(&response))
        }
        Call::Join {
            member_id,
            subscription,
        } => {
            let request = requests::join(config, &member_id, subscription);
            Ok(requests::joined(connection.call(&request, timeout).await?))
        }
        Call::Sync {
            speaker,
            assignments,
        } => {
            let request = requests::sync(config, &speaker, assignments);
            Ok(requests::synced(connection.call(&request, timeout).await?))
        }
        Call::FetchOffsets(wanted) => {
            let request = requests::fetch_offsets(config, &wanted);
            Ok(requests::offsets(
                &connection.call(&request, timeout).await?,
            ))
        }
        Call::Heartbeat(speaker) => {
            let request = requests::heartbeat(config, &speaker);
            let response = connection.call(&request, timeout).await?;
            Ok(requests::done(response.error_code))
        }
        Call::Commit { speaker, offsets } => {
            let request = requests::commit(config, &speaker, &offsets);
            Ok(requests::committed(
                &connection.call(&request, timeout).await?,
            ))
        }
        Call::Leave { member_id } => {
            let request = requests::leave(config, &member_id);
            Ok(requests::left(&connection.call(&request, timeout).await?))
        }
    }
}
