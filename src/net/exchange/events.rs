//! A stream of events: subscribes to a topic and passes on what there is, keeps the stream alive, and ends it.
//!
//! ```text
//!  Begin ─▶ retry ─▶ events … (comments in between) ─▶ Finish when the gateway ends
//!                        └─ what there is, [`Following`] finds
//! ```

use bytes::Bytes;

use super::following::{Following, Piece};
use super::{Step, Turn};
use crate::clock::Instant;
use crate::error::RequestError;
use crate::mapping::sse_kafka::EventsRequest;
use crate::mapping::sse_kafka::event;

enum State {
    /// Nothing is written.
    New,
    /// Events are passed on.
    Open(Following),
    Over,
}

/// What a stream owes its client besides events. A challenge may take the place of the greeting: it matters more than when to come back.
#[derive(Clone, Copy, Default)]
enum Owed {
    #[default]
    Nothing,
    /// When to come back.
    Greeting,
    /// That it needs new credentials.
    Challenge,
}

/// A stream of events.
pub(in crate::net) struct Events {
    request: EventsRequest,
    state: State,
    /// When the stream has been silent for too long.
    silent_at: Instant,
    /// What is to be written before the next event.
    owed: Owed,
    may_have_more: bool,
    /// There was no room when it was last looked at.
    is_blocked: bool,
    is_draining: bool,
}

impl Events {
    pub(super) fn new(request: EventsRequest, now: Instant) -> Self {
        Self {
            request,
            state: State::New,
            silent_at: now,
            owed: Owed::Greeting,
            may_have_more: true,
            is_blocked: false,
            is_draining: false,
        }
    }

    pub(super) const fn may_have_more(&self) -> bool {
        self.may_have_more
    }

    pub(super) const fn handle_drain(&mut self) {
        self.is_draining = true;
    }

    /// Asks the client for new credentials as soon as there is room.
    pub(super) const fn challenge(&mut self) {
        self.owed = Owed::Challenge;
    }

    /// When to look again; while there is no room, room is what is waited for.
    pub(super) fn poll_timeout(&self) -> Instant {
        if self.is_blocked {
            return Instant::FAR_FUTURE;
        }
        match &self.state {
            State::Open(following) => self.silent_at.min(following.poll_timeout()),
            State::New | State::Over => self.silent_at,
        }
    }

    pub(super) fn poll(&mut self, turn: &mut Turn<'_, '_>) -> Step {
        if matches!(self.state, State::New) {
            return self.begin(turn);
        }
        self.is_blocked = turn.room == 0;
        if self.is_draining {
            self.state = State::Over;
            // A client that takes nothing is not waited for: it goes on from its last id elsewhere.
            return if self.is_blocked {
                Step::Abort
            } else {
                Step::Finish(Bytes::new())
            };
        }
        if self.is_blocked {
            // What woke it may be to be written as soon as there is room, and is not told again.
            self.may_have_more = true;
            return Step::Pending;
        }
        self.may_have_more = false;
        match std::mem::take(&mut self.owed) {
            Owed::Nothing => {}
            Owed::Greeting => {
                let retry = event::retry(self.request.retry.as_millis());
                return self.say(Bytes::from(retry), turn.now);
            }
            Owed::Challenge => {
                return self.say(Bytes::from_static(event::CHALLENGE), turn.now);
            }
        }
        let next = match &mut self.state {
            State::Open(following) => {
                following.poll(turn.context, turn.notify, turn.room, turn.now)
            }
            State::New | State::Over => None,
        };
        match next {
            Some(Piece {
                bytes,
                count,
                has_more,
            }) => {
                turn.service.watch.metrics.sse_events.add(count.into());
                let step = self.say(bytes, turn.now);
                self.may_have_more = has_more;
                step
            }
            None => self.heartbeat(turn.now),
        }
    }

    fn say(&mut self, bytes: Bytes, now: Instant) -> Step {
        self.silent_at = now + self.request.heartbeat;
        self.may_have_more = true;
        Step::Data(bytes)
    }

    fn heartbeat(&mut self, now: Instant) -> Step {
        if now < self.silent_at {
            return Step::Pending;
        }
        let step = self.say(Bytes::from_static(event::HEARTBEAT), now);
        self.may_have_more = false;
        step
    }

    fn begin(&mut self, turn: &Turn<'_, '_>) -> Step {
        let request = &self.request;
        let topics = &turn.service.topics[request.cluster];
        let subscribed = turn.service.feeds.subscribe(
            (request.cluster, topics),
            &request.topic,
            (request.selection.clone(), request.resume.as_ref()),
            turn.notify,
            turn.now,
        );
        match subscribed {
            Some(subscription) => {
                self.state = State::Open(Following::new(subscription));
                self.may_have_more = true;
                Step::Begin {
                    head: self.request.head(),
                    length: None,
                }
            }
            None => Step::Fail(RequestError::StreamsOverloaded),
        }
    }
}
