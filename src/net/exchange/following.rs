//! One who follows a topic: what there is for it next, wherever that has to come from. Event streams and calls that stream from a topic have one each.
//!
//! ```text
//!  Open ─ what comes next is in Kafka alone ─▶ Cold ─ it cannot be read ─▶ Paused ─▶ Open
//!    └─── it is ahead of what was read here ─▶ Asking ─ where the partitions end ─▶ Open
//! ```
//! Rule: what is waited for wakes whoever polls, or [`Following::poll_timeout`] says when to poll again.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;

use crate::clock::Instant;
use crate::exchange::feed::{ColdEvent, ColdPiece, ColdRange, Taken};
use crate::kafka::topics::{ColdFault, EndsTicket};
use crate::mapping::sse_kafka::event::EventRecord;
use crate::net::feeds::Subscription;
use crate::runtime::notify::Notify;

/// Bytes of records that are read from Kafka at once for one stream.
const COLD_BYTES_MAX: usize = 256 << 10;
/// How long after a failed read of Kafka the next one is tried.
const COLD_RETRY: Duration = Duration::from_secs(1);

type ColdRead = Pin<Box<dyn Future<Output = Result<ColdPiece, ColdFault>>>>;

enum State {
    /// What the feed has is passed on.
    Open,
    /// Records are read from Kafka.
    Cold(ColdRead),
    /// Kafka could not be read, and is not asked again before this.
    Paused(Instant),
    /// Whether the client is ahead of the topic is being found out.
    Asking(Rc<EndsTicket>),
}

/// What there is to pass on.
pub(super) struct Piece {
    /// Whole events with the comments between them, or whole messages.
    pub(super) bytes: Bytes,
    /// How many.
    pub(super) count: u32,
    /// There may be more at once; else it is woken when there may be.
    pub(super) has_more: bool,
}

/// One who follows a topic.
pub(super) struct Following {
    subscription: Subscription,
    state: State,
}

impl Following {
    pub(super) const fn new(subscription: Subscription) -> Self {
        Self {
            subscription,
            state: State::Open,
        }
    }

    /// When to poll without being woken.
    pub(super) const fn poll_timeout(&self) -> Instant {
        match &self.state {
            State::Paused(until) => *until,
            State::Open | State::Cold(_) | State::Asking(_) => Instant::FAR_FUTURE,
        }
    }

    /// What there is to pass on, `room` bytes or a little more, or as much as was read from Kafka at once. `None`: nothing now, and what may change that wakes
    /// `context` or `notify`, which is the one that it subscribed with.
    pub(super) fn poll(
        &mut self,
        context: &mut Context<'_>,
        notify: &Rc<Notify>,
        room: usize,
        now: Instant,
    ) -> Option<Piece> {
        loop {
            match self.take(context, notify, room, now)? {
                Taken::Nothing => {
                    self.state = State::Open;
                    return None;
                }
                Taken::Events {
                    bytes,
                    count,
                    has_more,
                } => {
                    self.state = State::Open;
                    return Some(Piece {
                        bytes,
                        count,
                        has_more,
                    });
                }
                Taken::LookOn => {
                    self.state = State::Open;
                    // Not by its own notification: that would be seen in this very turn.
                    context.waker().wake_by_ref();
                    return None;
                }
                // It has to be polled to begin.
                Taken::Cold(range) => {
                    self.state = State::Cold(read_cold(&self.subscription, range));
                }
                Taken::AskEnds => {
                    self.state = State::Asking(self.ask_ends(notify, now));
                    return None;
                }
            }
        }
    }

    /// What the feed says to what has come meanwhile; `None`: what is waited for has not come.
    fn take(
        &mut self,
        context: &mut Context<'_>,
        notify: &Rc<Notify>,
        room: usize,
        now: Instant,
    ) -> Option<Taken> {
        match &mut self.state {
            State::Cold(read) => match read.as_mut().poll(context) {
                Poll::Pending => None,
                Poll::Ready(Ok(piece)) => Some(self.subscription.handle_cold(&piece)),
                Poll::Ready(Err(_)) => {
                    self.state = State::Paused(now + COLD_RETRY);
                    None
                }
            },
            State::Paused(until) if now < *until => None,
            State::Open | State::Paused(_) => Some(self.subscription.take(room)),
            State::Asking(ticket) => {
                let (_, reader) = self.subscription.topic();
                let ends = (0..reader.partition_count()).map(|index| ticket.end(index));
                match ends.collect::<Option<Vec<i64>>>() {
                    Some(ends) => {
                        self.subscription.handle_ends(&ends);
                        Some(self.subscription.take(room))
                    }
                    // In vain, or before a partition was added.
                    None if ticket.is_answered() => {
                        self.state = State::Asking(self.ask_ends(notify, now));
                        None
                    }
                    None => None,
                }
            }
        }
    }

    fn ask_ends(&self, notify: &Rc<Notify>, now: Instant) -> Rc<EndsTicket> {
        let (topics, reader) = self.subscription.topic();
        topics.ask_ends(reader, notify, now)
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
                    if selection.wants(record) {
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
