//! A call that another server answers.

use bytes::Bytes;

use super::callee::CallStep;
use crate::clock::Instant;
use crate::grpc::status::{Code, Status};
use crate::http::Scheme;
use crate::mapping::grpc::{Metadata, RemoteCall};
use crate::net::exchange::Turn;
use crate::net::grpc_client::{ClientCall, ClientStep, OutgoingCall};

/// Messages that wait until the call is begun.
const WAITING_MAX: usize = 1;

/// A call that another server answers.
pub(super) struct Remote {
    call: RemoteCall,
    deadline: Option<Instant>,
    outgoing: Option<ClientCall>,
    waiting: Vec<Bytes>,
    is_ended: bool,
}

impl Remote {
    pub(super) const fn new(call: RemoteCall, deadline: Option<Instant>) -> Self {
        Self {
            call,
            deadline,
            outgoing: None,
            waiting: Vec::new(),
            is_ended: false,
        }
    }

    pub(super) fn wants_message(&self) -> bool {
        match &self.outgoing {
            Some(outgoing) => outgoing.wants_message(),
            None => self.waiting.len() < WAITING_MAX,
        }
    }

    pub(super) fn held_bytes(&self) -> usize {
        let waiting: usize = self.waiting.iter().map(Bytes::len).sum();
        waiting + self.outgoing.as_ref().map_or(0, ClientCall::held_bytes)
    }

    pub(super) fn handle_message(&mut self, message: Bytes) {
        match &mut self.outgoing {
            Some(outgoing) => outgoing.send(&message),
            None => self.waiting.push(message),
        }
    }

    pub(super) fn handle_half_close(&mut self) {
        self.is_ended = true;
        if let Some(outgoing) = &mut self.outgoing {
            outgoing.finish();
        }
    }

    pub(super) fn poll(&mut self, turn: &mut Turn<'_, '_>) -> CallStep {
        if self.outgoing.is_none() {
            self.begin(turn);
        }
        let Some(outgoing) = &mut self.outgoing else {
            let status = Status::new(Code::INTERNAL, "the gateway has no such http client");
            return CallStep::End(status, Metadata::new());
        };
        match outgoing.poll(turn.context) {
            ClientStep::Pending => CallStep::Pending,
            ClientStep::Begin(metadata) => CallStep::Begin(metadata),
            ClientStep::Message(message) => CallStep::Message(message),
            ClientStep::End(status, trailers) => CallStep::End(status, trailers),
        }
    }

    fn begin(&mut self, turn: &Turn<'_, '_>) {
        let Some(upstream) = turn.service.upstreams.get(self.call.client.number) else {
            return;
        };
        let scheme = if self.call.client.tls.is_some() {
            Scheme::Https
        } else {
            Scheme::Http
        };
        let call = OutgoingCall {
            scheme,
            authority: self.call.authority.clone(),
            service: &self.call.service,
            method: &self.call.method,
            metadata: &self.call.metadata,
            deadline: self.deadline.unwrap_or(Instant::FAR_FUTURE),
        };
        let mut outgoing = ClientCall::new(upstream, &call, turn.now);
        for message in self.waiting.drain(..) {
            outgoing.send(&message);
        }
        if self.is_ended {
            outgoing.finish();
        }
        self.outgoing = Some(outgoing);
    }
}
