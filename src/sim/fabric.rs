//! What all machines of a world share: the clock, the chance, and the network between cores and brokers.
//!
//! Sits between the shells and the brokers. Its one rule: within a connection
//! nothing is reordered or doubled, as in TCP; a connection that breaks says nothing about what had been sent on it, which may still arrive.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::event::{
    Arrival, CallId, ConnectionId, Endpoint, EndpointEvent, Event, Request, Response,
};
use super::faults::Faults;
use super::random::Random;
use super::schedule::Schedule;
use crate::clock::Instant;

/// How long a caller waits for an answer. Shorter than in production, as are all times here: what matters is which is longer than which.
pub(super) const CALL_TIMEOUT: Duration = Duration::from_secs(2);
const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);
/// What arrives late arrives at most this long after its caller gave up.
const LATE_MAX: Duration = Duration::from_secs(6);

#[derive(Debug)]
struct Line {
    broker: i32,
    from: Endpoint,
    last_arrival: Instant,
    last_call: CallId,
}

/// What the network does with one call.
struct Fate {
    arrives_after: Option<Duration>,
    is_answer_lost: bool,
    lost_after: Duration,
}

pub(super) struct Fabric {
    pub(super) schedule: Schedule<Event>,
    pub(super) random: Random,
    pub(super) faults: Faults,
    /// Whether to tell what happens.
    pub(super) is_telling: bool,
    lines: BTreeMap<ConnectionId, Line>,
    /// Connections that a broker closed: it reads nothing from them any more.
    hung_up: BTreeSet<ConnectionId>,
    incarnations: BTreeMap<i32, u64>,
    down: BTreeSet<i32>,
    blocked: BTreeSet<(usize, i32)>,
    last_id: u64,
    pub(super) late_arrivals: u64,
}

impl Fabric {
    pub(super) fn new(random: Random, faults: Faults, is_telling: bool) -> Self {
        Self {
            schedule: Schedule::new(),
            random,
            faults,
            is_telling,
            lines: BTreeMap::new(),
            hung_up: BTreeSet::new(),
            incarnations: BTreeMap::new(),
            down: BTreeSet::new(),
            blocked: BTreeSet::new(),
            last_id: 0,
            late_arrivals: 0,
        }
    }

    pub(super) const fn now(&self) -> Instant {
        self.schedule.now()
    }

    /// Tells what happens, when a run is replayed.
    pub(super) fn tell(&self, what: impl FnOnce() -> String) {
        if self.is_telling {
            eprintln!(
                "{:>12.6} {}",
                Duration::from_nanos(self.now().as_nanos()).as_secs_f64(),
                what()
            );
        }
    }

    pub(super) fn wake(&mut self, endpoint: Endpoint, at: Instant) {
        self.schedule
            .at(at, Event::Endpoint(endpoint, EndpointEvent::Wake));
    }

    /// Opens a connection; [`EndpointEvent::Connected`] follows.
    pub(super) fn connect(&mut self, from: Endpoint, broker: i32) {
        if self.blocked.contains(&(from.core, broker)) {
            return self.schedule.after(
                CONNECT_TIMEOUT,
                Event::Endpoint(from, EndpointEvent::Connected(None)),
            );
        }
        let wait = self.delay();
        let is_failed =
            self.down.contains(&broker) || self.random.chance(self.faults.connect_failed);
        let connection = (!is_failed).then(|| {
            let connection = ConnectionId(self.next_id());
            let line = Line {
                broker,
                from,
                last_arrival: self.now(),
                last_call: CallId(0),
            };
            self.lines.insert(connection, line);
            connection
        });
        self.schedule.after(
            wait,
            Event::Endpoint(from, EndpointEvent::Connected(connection)),
        );
    }

    /// Whether the connection still stands, as its owner would find out by reading from it.
    pub(super) fn is_open(&self, connection: ConnectionId) -> bool {
        self.lines.contains_key(&connection)
    }

    pub(super) fn close(&mut self, connection: ConnectionId) {
        self.lines.remove(&connection);
    }

    /// Sends a request; [`EndpointEvent::Answered`] or [`EndpointEvent::Lost`] follows, or [`EndpointEvent::Written`] when it has no answer.
    pub(super) fn call(
        &mut self,
        from: Endpoint,
        connection: ConnectionId,
        request: Request,
    ) -> CallId {
        let call = CallId(self.next_id());
        let fate = self.fate(from, connection);
        let end = if request.has_answer() {
            EndpointEvent::Lost(call)
        } else {
            EndpointEvent::Written(call)
        };
        let end_after = if request.has_answer() {
            fate.lost_after
        } else {
            Duration::ZERO
        };
        self.schedule.after(end_after, Event::Endpoint(from, end));
        let now = self.now();
        let Some(line) = self.lines.get_mut(&connection) else {
            return call;
        };
        line.last_call = call;
        if let Some(wait) = fate.arrives_after {
            let arrives_at = line.last_arrival.max(now + wait);
            line.last_arrival = arrives_at;
            let broker = line.broker;
            let incarnation = self.incarnation(broker);
            let arrival = Arrival {
                broker,
                request,
                from,
                connection,
                call,
                incarnation,
                is_answer_lost: fate.is_answer_lost,
            };
            self.schedule.at(arrives_at, Event::Arrival(arrival));
        }
        if fate.lost_after < CALL_TIMEOUT {
            self.close(connection);
        }
        call
    }

    /// Whether a broker is there to read what arrives.
    pub(super) fn is_received(&mut self, arrival: &Arrival) -> bool {
        let is_late = !self.lines.contains_key(&arrival.connection);
        let is_same_process = !self.down.contains(&arrival.broker)
            && self.incarnation(arrival.broker) == arrival.incarnation;
        let is_received = is_same_process && !self.hung_up.contains(&arrival.connection);
        self.late_arrivals += u64::from(is_late && is_received);
        is_received
    }

    /// Sends the answer `wait` from now; none closes the connection.
    pub(super) fn answer(&mut self, arrival: &Arrival, response: Option<Response>, wait: Duration) {
        let Some(response) = response else {
            return self.hang_up(arrival.connection);
        };
        if !arrival.is_answer_lost && arrival.request.has_answer() {
            let wait = wait + self.delay();
            self.schedule.after(
                wait,
                Event::Endpoint(
                    arrival.from,
                    EndpointEvent::Answered(arrival.call, response),
                ),
            );
        }
    }

    /// Stops a broker: its connections break, what is under way to it is lost.
    pub(super) fn take_down(&mut self, broker: i32) {
        self.down.insert(broker);
        *self.incarnations.entry(broker).or_default() += 1;
        let cut: Vec<ConnectionId> = self
            .lines
            .iter()
            .filter(|(_, line)| line.broker == broker)
            .map(|(connection, _)| *connection)
            .collect();
        for connection in cut {
            self.hang_up(connection);
        }
    }

    /// Closes a connection from the broker's side: whoever waits for an answer finds out soon.
    fn hang_up(&mut self, connection: ConnectionId) {
        self.hung_up.insert(connection);
        if let Some(line) = self.lines.remove(&connection) {
            let wait = self.delay();
            self.schedule.after(
                wait,
                Event::Endpoint(line.from, EndpointEvent::Lost(line.last_call)),
            );
        }
    }

    pub(super) fn bring_up(&mut self, broker: i32) {
        self.down.remove(&broker);
    }

    pub(super) fn is_down(&self, broker: i32) -> bool {
        self.down.contains(&broker)
    }

    /// Lets nothing through between a core and a broker, without telling either.
    pub(super) fn block(&mut self, core: usize, broker: i32) {
        self.blocked.insert((core, broker));
    }

    pub(super) fn unblock(&mut self, core: usize, broker: i32) {
        self.blocked.remove(&(core, broker));
    }

    fn fate(&mut self, from: Endpoint, connection: ConnectionId) -> Fate {
        let delay = self.delay();
        let Some(broker) = self.lines.get(&connection).map(|line| line.broker) else {
            return Fate {
                arrives_after: None,
                is_answer_lost: true,
                lost_after: delay,
            };
        };
        // Half of the breaks are told at once by a reset, the others by nothing.
        let noticed_after = if self.random.chance(500) {
            self.delay()
        } else {
            CALL_TIMEOUT
        };
        if self.blocked.contains(&(from.core, broker)) {
            return Fate {
                arrives_after: None,
                is_answer_lost: true,
                lost_after: CALL_TIMEOUT,
            };
        }
        if self.random.chance(self.faults.request_lost) {
            return Fate {
                arrives_after: None,
                is_answer_lost: true,
                lost_after: noticed_after,
            };
        }
        if self.random.chance(self.faults.request_late) {
            let late = self.random.between(Duration::ZERO, LATE_MAX);
            return Fate {
                arrives_after: Some(noticed_after + late),
                is_answer_lost: true,
                lost_after: noticed_after,
            };
        }
        if self.random.chance(self.faults.answer_lost) {
            return Fate {
                arrives_after: Some(delay),
                is_answer_lost: true,
                lost_after: noticed_after,
            };
        }
        Fate {
            arrives_after: Some(delay),
            is_answer_lost: false,
            lost_after: CALL_TIMEOUT,
        }
    }

    fn delay(&mut self) -> Duration {
        self.random
            .between(Duration::from_micros(50), self.faults.delay_max)
    }

    fn incarnation(&self, broker: i32) -> u64 {
        self.incarnations.get(&broker).copied().unwrap_or(0)
    }

    const fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }
}
