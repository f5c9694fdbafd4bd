//! Calls that the gateway answers by itself: echo, health (gRPC health checking protocol), reflection (gRPC server reflection protocol).

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;

use super::callee::CallStep;
use crate::grpc::health::{ServingStatus, decode_check, encode_response};
use crate::grpc::proto::Services;
use crate::grpc::reflection;
use crate::grpc::status::{Code, Status};
use crate::mapping::grpc::{HEALTH_SERVICE, Metadata};
use crate::net::exchange::Turn;

/// Messages that wait to go back.
const WAITING_MAX: usize = 16;
/// Bytes of them from which on no further one is taken.
const WAITING_BYTES_MAX: usize = 64 << 10;

/// A call that comes back, message by message.
#[derive(Default)]
pub(super) struct EchoCall {
    waiting: VecDeque<Bytes>,
    waiting_bytes: usize,
    is_ended: bool,
}

impl EchoCall {
    pub(super) fn wants_message(&self) -> bool {
        self.waiting.len() < WAITING_MAX && self.waiting_bytes < WAITING_BYTES_MAX
    }

    pub(super) const fn held_bytes(&self) -> usize {
        self.waiting_bytes
    }

    pub(super) fn handle_message(&mut self, message: Bytes) {
        self.waiting_bytes += message.len();
        self.waiting.push_back(message);
    }

    pub(super) fn handle_half_close(&mut self) {
        self.is_ended = true;
    }

    pub(super) fn poll(&mut self) -> CallStep {
        match self.waiting.pop_front() {
            Some(message) => {
                self.waiting_bytes -= message.len();
                CallStep::Message(message)
            }
            None if self.is_ended => CallStep::End(Status::ok(), Metadata::new()),
            None => CallStep::Pending,
        }
    }
}

/// Whether the gateway serves.
pub(super) struct Health {
    is_watch: bool,
    services: Arc<Services>,
    asked: Option<Result<String, Status>>,
    /// What was said last.
    said: Option<ServingStatus>,
    is_ended: bool,
    is_draining: bool,
}

impl Health {
    pub(super) fn new(is_watch: bool, services: Arc<Services>) -> Self {
        Self {
            is_watch,
            services,
            asked: None,
            said: None,
            is_ended: false,
            is_draining: false,
        }
    }

    pub(super) fn wants_message(&self) -> bool {
        !self.is_ended
    }

    pub(super) fn handle_message(&mut self, message: &[u8]) {
        self.asked = Some(decode_check(message));
    }

    pub(super) fn handle_half_close(&mut self) {
        self.is_ended = true;
    }

    pub(super) fn handle_drain(&mut self) {
        self.is_draining = true;
    }

    pub(super) fn poll(&mut self, turn: &Turn<'_, '_>) -> CallStep {
        let service = match &self.asked {
            None => return CallStep::Pending,
            Some(Err(status)) => return CallStep::End(status.clone(), Metadata::new()),
            Some(Ok(service)) => service,
        };
        if !self.is_watch && self.said.is_some() {
            return CallStep::End(Status::ok(), Metadata::new());
        }
        let is_known =
            service.is_empty() || service == HEALTH_SERVICE || self.services.has_service(service);
        let status = if !is_known {
            ServingStatus::ServiceUnknown
        } else if turn.service.is_draining() {
            ServingStatus::NotServing
        } else {
            ServingStatus::Serving
        };
        if !is_known && !self.is_watch {
            let status = Status::new(Code::NOT_FOUND, "there is no such service here");
            return CallStep::End(status, Metadata::new());
        }
        if self.said != Some(status) {
            self.said = Some(status);
            return CallStep::Message(Bytes::from(encode_response(status)));
        }
        if self.is_draining {
            let status = Status::new(Code::UNAVAILABLE, "the gateway is ending");
            return CallStep::End(status, Metadata::new());
        }
        CallStep::Pending
    }
}

/// What the gateway serves.
pub(super) struct Reflection {
    services: Arc<Services>,
    answers: VecDeque<Bytes>,
    is_ended: bool,
}

impl Reflection {
    pub(super) fn new(services: Arc<Services>) -> Self {
        Self {
            services,
            answers: VecDeque::new(),
            is_ended: false,
        }
    }

    pub(super) fn wants_message(&self) -> bool {
        self.answers.len() < WAITING_MAX
    }

    pub(super) fn handle_message(&mut self, message: &[u8]) {
        let answer = reflection::answer(&self.services, &[HEALTH_SERVICE], message);
        self.answers.push_back(Bytes::from(answer));
    }

    pub(super) fn handle_half_close(&mut self) {
        self.is_ended = true;
    }

    pub(super) fn poll(&mut self) -> CallStep {
        match self.answers.pop_front() {
            Some(answer) => CallStep::Message(answer),
            None if self.is_ended => CallStep::End(Status::ok(), Metadata::new()),
            None => CallStep::Pending,
        }
    }
}
