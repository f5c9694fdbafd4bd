//! Who answers a call.

use bytes::Bytes;

use super::fetch::Fetch;
use super::local::{EchoCall, Health, Reflection};
use super::produce::Produce;
use super::remote::Remote;
use crate::clock::Instant;
use crate::grpc::proto::MethodKind;
use crate::grpc::status::Status;
use crate::mapping::grpc::{Metadata, Target};
use crate::net::exchange::Turn;

/// What a callee wants its caller to be told.
pub(super) enum CallStep {
    /// Nothing now.
    Pending,
    /// The call's metadata; only the first counts.
    Begin(Metadata),
    /// A message.
    Message(Bytes),
    /// Messages that are framed already.
    Frames(Bytes),
    /// How the call ended.
    End(Status, Metadata),
}

/// Who answers a call.
pub(super) enum Callee {
    Produce(Box<Produce>),
    Fetch(Box<Fetch>),
    Remote(Box<Remote>),
    Echo(EchoCall),
    Health(Health),
    Reflection(Reflection),
    Refused(Option<Status>),
    Over,
}

impl Callee {
    pub(super) fn new(
        target: Target,
        kind: MethodKind,
        deadline: Option<Instant>,
        now: Instant,
    ) -> Self {
        match target {
            Target::Produce(call) => {
                Self::Produce(Box::new(Produce::new(*call, kind, deadline, now)))
            }
            Target::Fetch(call) => Self::Fetch(Box::new(Fetch::new(*call))),
            Target::Remote(call) => Self::Remote(Box::new(Remote::new(*call, deadline))),
            Target::Echo => Self::Echo(EchoCall::default()),
            Target::Health { is_watch, services } => Self::Health(Health::new(is_watch, services)),
            Target::Reflection(services) => Self::Reflection(Reflection::new(services)),
            Target::Refused(status) => Self::Refused(Some(status)),
        }
    }

    /// Whether it can take a message.
    pub(super) fn wants_message(&self) -> bool {
        match self {
            Self::Produce(produce) => produce.wants_message(),
            Self::Fetch(_) => true,
            Self::Remote(remote) => remote.wants_message(),
            Self::Echo(echo) => echo.wants_message(),
            Self::Health(health) => health.wants_message(),
            Self::Reflection(reflection) => reflection.wants_message(),
            Self::Refused(_) | Self::Over => false,
        }
    }

    /// Takes a message of the client's.
    pub(super) fn handle_message(&mut self, message: Bytes, turn: &mut Turn<'_, '_>) {
        match self {
            Self::Produce(produce) => produce.handle_message(message, turn),
            Self::Fetch(fetch) => fetch.handle_message(&message),
            Self::Remote(remote) => remote.handle_message(message),
            Self::Echo(echo) => echo.handle_message(message),
            Self::Health(health) => health.handle_message(&message),
            Self::Reflection(reflection) => reflection.handle_message(&message),
            Self::Refused(_) | Self::Over => {}
        }
    }

    /// The client has sent all its messages.
    pub(super) fn handle_half_close(&mut self, turn: &mut Turn<'_, '_>) {
        match self {
            Self::Produce(produce) => produce.handle_half_close(turn),
            Self::Fetch(fetch) => fetch.handle_half_close(),
            Self::Remote(remote) => remote.handle_half_close(),
            Self::Echo(echo) => echo.handle_half_close(),
            Self::Health(health) => health.handle_half_close(),
            Self::Reflection(reflection) => reflection.handle_half_close(),
            Self::Refused(_) | Self::Over => {}
        }
    }

    /// The gateway is ending: what would go on for ever ends now.
    pub(super) fn handle_drain(&mut self) {
        match self {
            Self::Fetch(fetch) => fetch.handle_drain(),
            Self::Health(health) => health.handle_drain(),
            Self::Produce(_)
            | Self::Remote(_)
            | Self::Echo(_)
            | Self::Reflection(_)
            | Self::Refused(_)
            | Self::Over => {}
        }
    }

    /// Bytes of messages that it holds.
    pub(super) fn held_bytes(&self) -> usize {
        match self {
            Self::Remote(remote) => remote.held_bytes(),
            Self::Echo(echo) => echo.held_bytes(),
            // What goes to Kafka is charged there; the rest holds what has been written already, or little.
            Self::Produce(_)
            | Self::Fetch(_)
            | Self::Health(_)
            | Self::Reflection(_)
            | Self::Refused(_)
            | Self::Over => 0,
        }
    }

    /// When to poll without being woken.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        match self {
            Self::Produce(produce) => produce.poll_timeout(),
            Self::Fetch(fetch) => Some(fetch.poll_timeout()),
            Self::Remote(_)
            | Self::Echo(_)
            | Self::Health(_)
            | Self::Reflection(_)
            | Self::Refused(_)
            | Self::Over => None,
        }
    }

    /// Goes as far as it can, with room for so many bytes of messages.
    pub(super) fn poll(&mut self, turn: &mut Turn<'_, '_>, room: usize) -> CallStep {
        match self {
            Self::Produce(produce) => produce.poll(turn),
            Self::Fetch(fetch) => fetch.poll(turn, room),
            Self::Remote(remote) => remote.poll(turn),
            Self::Echo(echo) => echo.poll(),
            Self::Health(health) => health.poll(turn),
            Self::Reflection(reflection) => reflection.poll(),
            Self::Refused(status) => match status.take() {
                Some(status) => CallStep::End(status, Metadata::new()),
                None => CallStep::Pending,
            },
            Self::Over => CallStep::Pending,
        }
    }
}
