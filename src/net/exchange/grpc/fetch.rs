//! A call that is answered with the records of a topic, for as long as the client likes.

use super::callee::CallStep;
use crate::clock::Instant;
use crate::error::RequestError;
use crate::grpc::status::{Code, Status};
use crate::mapping::grpc::Metadata;
use crate::mapping::grpc_kafka::FetchCall;
use crate::net::exchange::Turn;
use crate::net::exchange::following::Following;

enum State {
    /// The client's message has not come.
    New,
    /// It has, and nothing was said yet.
    Asked,
    Open(Following),
    /// It will end with this.
    Refused(Status),
}

/// A call that is answered with the records of a topic.
pub(super) struct Fetch {
    call: FetchCall,
    state: State,
}

impl Fetch {
    pub(super) const fn new(call: FetchCall) -> Self {
        Self {
            call,
            state: State::New,
        }
    }

    /// Zilla's clients say nothing in their message; what one might mean by saying something nobody knows.
    pub(super) fn handle_message(&mut self, message: &[u8]) {
        if !message.is_empty() {
            let message = "the method takes an empty message: where to go on is said by metadata";
            self.state = State::Refused(Status::new(Code::INVALID_ARGUMENT, message));
        } else if matches!(self.state, State::New) {
            self.state = State::Asked;
        }
    }

    pub(super) fn handle_half_close(&mut self) {
        if matches!(self.state, State::New) {
            self.state = State::Asked;
        }
    }

    pub(super) fn handle_drain(&mut self) {
        let message = "the gateway is ending: go on elsewhere from the last message";
        self.state = State::Refused(Status::new(Code::UNAVAILABLE, message));
    }

    pub(super) const fn poll_timeout(&self) -> Instant {
        match &self.state {
            State::Open(following) => following.poll_timeout(),
            State::New | State::Asked | State::Refused(_) => Instant::FAR_FUTURE,
        }
    }

    pub(super) fn poll(&mut self, turn: &mut Turn<'_, '_>, room: usize) -> CallStep {
        match &mut self.state {
            State::New => CallStep::Pending,
            State::Asked => self.begin(turn),
            State::Open(following) => {
                match following.poll(turn.context, turn.notify, room, turn.now) {
                    Some(piece) => CallStep::Frames(piece.bytes),
                    None => CallStep::Pending,
                }
            }
            State::Refused(status) => CallStep::End(status.clone(), Metadata::new()),
        }
    }

    fn begin(&mut self, turn: &Turn<'_, '_>) -> CallStep {
        let call = &self.call;
        let subscribed = turn.service.feeds.subscribe(
            (call.cluster, &turn.service.topics[call.cluster]),
            &call.topic,
            (call.selection.clone(), call.resume.as_ref()),
            turn.notify,
            turn.now,
        );
        match subscribed {
            Some(subscription) => {
                self.state = State::Open(Following::new(subscription));
                CallStep::Begin(Metadata::new())
            }
            None => CallStep::End(RequestError::StreamsOverloaded.status(), Metadata::new()),
        }
    }
}
