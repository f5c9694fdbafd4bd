//! Questions to a broker on connections of their own: one question, and where the partitions of the reply topic end.
//!
//! Sits between a core and the fabric, as `kafka/client/lookup` and `ends` do on real sockets. Its one rule: a question has one outcome.

use std::collections::BTreeMap;
use std::time::Duration;

use super::RETRY_INTERVAL;
use crate::clock::Instant;
use crate::sim::event::{
    CallId, ConnectionId, Endpoint, EndpointEvent, Purpose, Request, Response,
};
use crate::sim::fabric::Fabric;
use crate::sim::shell::Shell;

/// How long the ends of a topic are asked for. Shorter than in production, as all times here.
const ENDS_WAIT: Duration = Duration::from_secs(2);

/// A connection and the question asked over it.
#[derive(Debug)]
pub(super) struct Lookup {
    endpoint: Endpoint,
    broker: i32,
    request: Option<Request>,
    connection: Option<ConnectionId>,
    call: Option<CallId>,
}

impl Lookup {
    /// Connects to a broker and asks.
    pub(super) fn begin(
        endpoint: Endpoint,
        broker: i32,
        request: Request,
        fabric: &mut Fabric,
    ) -> Self {
        fabric.connect(endpoint, broker);
        Self {
            endpoint,
            broker,
            request: Some(request),
            connection: None,
            call: None,
        }
    }

    /// Whether another question to `broker` can go the same way.
    pub(super) fn is_open_to(&self, broker: i32, fabric: &Fabric) -> bool {
        let is_idle = self.request.is_none() && self.call.is_none();
        let is_open = |connection| fabric.is_open(connection);
        is_idle && self.broker == broker && self.connection.is_some_and(is_open)
    }

    /// Asks over the connection that is there.
    pub(super) fn ask(&mut self, request: Request, fabric: &mut Fabric) {
        if let Some(connection) = self.connection {
            self.call = Some(fabric.call(self.endpoint, connection, request));
        }
    }

    /// Takes what happened; gives the outcome, an error when there is no answer.
    pub(super) fn handle(
        &mut self,
        event: EndpointEvent,
        fabric: &mut Fabric,
    ) -> Option<Result<Response, ()>> {
        match event {
            EndpointEvent::Connected(connection) => {
                let request = self.request.take()?;
                self.connection = connection;
                if connection.is_none() {
                    return Some(Err(()));
                }
                self.ask(request, fabric);
                None
            }
            EndpointEvent::Answered(call, response) if self.call == Some(call) => {
                self.call = None;
                Some(Ok(response))
            }
            EndpointEvent::Lost(call) if self.call == Some(call) => {
                self.call = None;
                self.close(fabric);
                Some(Err(()))
            }
            _ => None,
        }
    }

    pub(super) fn close(&mut self, fabric: &mut Fabric) {
        if let Some(connection) = self.connection.take() {
            fabric.close(connection);
        }
    }
}

/// What is known of a topic's ends.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum EndsOutcome {
    Pending,
    Known(Vec<i64>),
    Unknown,
}

/// `Client::end_offsets`: asks the leaders of all partitions, again and again until its time is over.
#[derive(Debug)]
pub(super) struct EndsTask {
    topic: &'static str,
    until: Instant,
    asked: BTreeMap<i32, Lookup>,
    ends: Vec<Option<i64>>,
    is_failed: bool,
    again_at: Option<Instant>,
}

impl EndsTask {
    pub(super) fn begin(topic: &'static str, shell: &mut Shell, fabric: &mut Fabric) -> Self {
        let mut task = Self {
            topic,
            until: fabric.now() + ENDS_WAIT,
            asked: BTreeMap::new(),
            ends: Vec::new(),
            is_failed: false,
            again_at: None,
        };
        task.ask(shell, fabric);
        task
    }

    fn ask(&mut self, shell: &mut Shell, fabric: &mut Fabric) {
        let leaders = shell.leaders(self.topic);
        self.again_at = None;
        self.is_failed = false;
        self.ends = vec![None; leaders.len()];
        let mut by_broker: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
        for (partition, leader) in (0..).zip(&leaders) {
            match leader {
                Some(leader) => by_broker.entry(*leader).or_default().push(partition),
                None => self.is_failed = true,
            }
        }
        if self.is_failed || leaders.is_empty() {
            return self.pause(shell, fabric);
        }
        for (broker, partitions) in by_broker {
            let endpoint = Endpoint {
                core: shell.core,
                purpose: Purpose::Ends { broker },
            };
            let topic = self.topic;
            let request = Request::EndOffsets { topic, partitions };
            let lookup = Lookup::begin(endpoint, broker, request, fabric);
            self.asked.insert(broker, lookup);
        }
    }

    fn pause(&mut self, shell: &mut Shell, fabric: &mut Fabric) {
        shell.want(self.topic, fabric);
        let at = self.until.min(fabric.now() + RETRY_INTERVAL);
        self.again_at = Some(at);
        let purpose = Purpose::Ends { broker: 0 };
        let core = shell.core;
        fabric.wake(Endpoint { core, purpose }, at);
    }

    /// Takes what happened between the core and a broker.
    pub(super) fn handle(
        &mut self,
        broker: i32,
        event: EndpointEvent,
        shell: &mut Shell,
        fabric: &mut Fabric,
    ) -> EndsOutcome {
        if matches!(event, EndpointEvent::Wake) {
            if self.again_at.is_none_or(|at| at > fabric.now()) {
                return EndsOutcome::Pending;
            }
            if fabric.now() >= self.until {
                return EndsOutcome::Unknown;
            }
            self.ask(shell, fabric);
            return EndsOutcome::Pending;
        }
        let Some(lookup) = self.asked.get_mut(&broker) else {
            return EndsOutcome::Pending;
        };
        let Some(outcome) = lookup.handle(event, fabric) else {
            return EndsOutcome::Pending;
        };
        lookup.close(fabric);
        self.asked.remove(&broker);
        self.take(outcome);
        if !self.asked.is_empty() {
            return EndsOutcome::Pending;
        }
        let ends: Option<Vec<i64>> = self.ends.iter().copied().collect();
        match ends {
            Some(ends) if !self.is_failed => EndsOutcome::Known(ends),
            _ => {
                self.pause(shell, fabric);
                EndsOutcome::Pending
            }
        }
    }

    fn take(&mut self, outcome: Result<Response, ()>) {
        let Ok(Response::EndOffsets(answers)) = outcome else {
            self.is_failed = true;
            return;
        };
        for (partition, answer) in answers {
            let slot = usize::try_from(partition).ok();
            let slot = slot.and_then(|index| self.ends.get_mut(index));
            match (slot, answer) {
                (Some(slot), Ok(end)) => *slot = Some(end),
                _ => self.is_failed = true,
            }
        }
    }
}
