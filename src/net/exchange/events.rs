//! A stream of events: subscribes to a topic and passes on what there is, keeps the stream alive, and ends it.
//!
//! ```text
//!  Begin ─▶ retry ─▶ events … (comments in between) ─▶ Finish when the gateway ends
//!                        └─ what is not cached is read from Kafka, one piece at a time
//! ```

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;

use super::{Step, Turn};
use crate::clock::Instant;
use crate::error::RequestError;
use crate::exchange::feed::{ColdEvent, ColdPiece, ColdRange, Taken};
use crate::kafka::topics::{ColdFault, EndsTicket};
use crate::mapping::sse_kafka::EventsRequest;
use crate::mapping::sse_kafka::event::{self, EventRecord};
use crate::net::feeds::Subscription;

/// Bytes of records that are read from Kafka at once for one stream.
const COLD_BYTES_MAX: usize = 256 << 10;
/// How long after a failed read of Kafka the next one is tried.
const COLD_RETRY: Duration = Duration::from_secs(1);

type ColdRead = Pin<Box<dyn Future<Output = Result<ColdPiece, ColdFault>>>>;

enum State {
    /// Nothing is written.
    New,
    /// Events are passed on.
    Open(Subscription),
    /// Events are read from Kafka.
    Cold(Subscription, ColdRead),
    /// Kafka could not be read, and is not asked again before this.
    Paused(Subscription, Instant),
    /// Whether the client is ahead of the topic is being found out.
    Asking(Subscription, Rc<EndsTicket>),
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
            State::Paused(_, until) => self.silent_at.min(*until),
            _ => self.silent_at,
        }
    }

    pub(super) fn poll(&mut self, mut turn: Turn<'_, '_>) -> Step {
        if matches!(self.state, State::New) {
            return self.begin(&turn);
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
        match self.next(&mut turn) {
            Taken::Events {
                bytes,
                count,
                has_more,
            } => {
                turn.service.watch.metrics.sse_events.add(count.into());
                let step = self.say(bytes, turn.now);
                self.may_have_more = has_more;
                step
            }
            Taken::LookOn => {
                // Not by its own notification: that would be seen in this very turn.
                turn.context.waker().wake_by_ref();
                self.heartbeat(turn.now)
            }
            Taken::Nothing | Taken::Cold(_) | Taken::AskEnds => self.heartbeat(turn.now),
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
                self.state = State::Open(subscription);
                self.may_have_more = true;
                Step::Begin {
                    head: self.request.head(),
                    length: None,
                }
            }
            None => Step::Fail(RequestError::StreamsOverloaded),
        }
    }

    /// What there is to pass on.
    fn next(&mut self, turn: &mut Turn<'_, '_>) -> Taken {
        loop {
            let taken = match &mut self.state {
                State::Cold(subscription, read) => match read.as_mut().poll(turn.context) {
                    Poll::Pending => return Taken::Nothing,
                    Poll::Ready(Ok(piece)) => subscription.handle_cold(&piece),
                    Poll::Ready(Err(_)) => {
                        self.pause(turn.now + COLD_RETRY);
                        return Taken::Nothing;
                    }
                },
                State::Paused(_, until) if turn.now < *until => return Taken::Nothing,
                State::Open(subscription) | State::Paused(subscription, _) => {
                    subscription.take(turn.room)
                }
                State::Asking(subscription, ticket) => {
                    let (topics, reader) = subscription.topic();
                    let count = reader.partition_count();
                    match (0..count)
                        .map(|index| ticket.end(index))
                        .collect::<Option<Vec<i64>>>()
                    {
                        Some(ends) => {
                            subscription.handle_ends(&ends);
                            subscription.take(turn.room)
                        }
                        // In vain, or before a partition was added.
                        None if ticket.is_answered() => {
                            *ticket = topics.ask_ends(reader, turn.notify, turn.now);
                            return Taken::Nothing;
                        }
                        None => return Taken::Nothing,
                    }
                }
                State::New | State::Over => return Taken::Nothing,
            };
            self.state = match std::mem::replace(&mut self.state, State::Over) {
                State::Open(subscription)
                | State::Cold(subscription, _)
                | State::Paused(subscription, _)
                | State::Asking(subscription, _) => match &taken {
                    Taken::Cold(range) => {
                        let read = read_cold(&subscription, *range);
                        State::Cold(subscription, read)
                    }
                    Taken::AskEnds => {
                        let (topics, reader) = subscription.topic();
                        let ticket = topics.ask_ends(reader, turn.notify, turn.now);
                        State::Asking(subscription, ticket)
                    }
                    Taken::Nothing | Taken::Events { .. } | Taken::LookOn => {
                        State::Open(subscription)
                    }
                },
                state => state,
            };
            match taken {
                // It has to be polled to begin.
                Taken::Cold(_) => {}
                taken => return taken,
            }
        }
    }

    fn pause(&mut self, until: Instant) {
        if let State::Cold(subscription, _) = std::mem::replace(&mut self.state, State::Over) {
            self.state = State::Paused(subscription, until);
        }
    }
}

/// Reads a piece of what is not cached.
fn read_cold(subscription: &Subscription, range: ColdRange) -> ColdRead {
    let (topics, reader) = subscription.topic();
    let (topics, reader) = (topics.clone(), reader.clone());
    let selection = subscription.selection();
    let places = subscription.cold_reads().clone();
    Box::pin(async move {
        let _place = places.take().await;
        let (mut events, mut bytes) = (Vec::new(), 0);
        let next_offset = topics
            .read_range(
                &reader,
                range.partition,
                range.from..range.until,
                |record| {
                    if selection.matches(record.key, &record.headers) {
                        let event = ColdEvent::of(record.offset, &EventRecord::of(record));
                        bytes += event.bytes();
                        events.push(event);
                    }
                    bytes < COLD_BYTES_MAX
                },
            )
            .await?;
        Ok(ColdPiece {
            partition: range.partition,
            events,
            next_offset,
        })
    })
}
