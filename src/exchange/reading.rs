//! A read from the cache: decides, each time the cache is asked, whether what it says is the answer or what is worth waiting for, and until when.
//!
//! | the cache says | the answer |
//! |---|---|
//! | found | at once |
//! | unchanged (304) | with `prefer: wait=N` after N, if it stays so |
//! | not found | with `prefer: wait=N` and no condition after N, if it stays so; never while something acknowledged is not read yet |
//! | not looked through yet | after others had their turn |
//! | still reading | within five seconds, else 503 |

use std::time::Duration;

use crate::clock::Instant;
use crate::error::RequestError;
use crate::exchange::applied_error;
use crate::http::ResponseHead;
use crate::kafka::error_code::ErrorCode;
use crate::mapping::http_kafka::fetch::{Answer, SingleOutcome};
use crate::mapping::prefer::applied_wait;

/// How long a read waits for the cache to have what this process has acknowledged.
pub const READ_YOUR_WRITES_WAIT: Duration = Duration::from_secs(1);
/// How long a read waits for a topic to be opened and read to its end, and for Kafka to say where that is.
pub const WARM_WAIT: Duration = Duration::from_secs(5);

/// How far a topic has been opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opened {
    /// Nothing is known yet.
    Opening,
    /// The broker does not know it, or does not say.
    Unknown(ErrorCode),
    /// Its partitions are known.
    Open,
    /// Too many topics are open.
    TooMany,
}

/// What has not been read yet that has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behind {
    /// Nothing.
    Nothing,
    /// What this process has acknowledged.
    Writes,
    /// What was in Kafka when the request came (`cache-control: no-cache`), or nobody knows yet.
    Ends,
}

/// What the cache says. `C` is a collection on its way.
#[derive(Debug)]
pub enum CacheAnswer<C> {
    /// This.
    Found(Box<Answer>),
    /// The client has it already.
    Unchanged(Box<Answer>),
    /// This, piece by piece.
    Collection(C),
    /// There is no such item.
    NotFound,
    /// A partition has not been read to its end.
    Warming,
    /// Too many collections are open.
    TooMany,
    /// Part of the collection is not cached.
    CollectionNotCached,
    /// The item may be in Kafka.
    ItemNotCached,
    /// Not all of the cache was looked at yet.
    Unfinished,
}

impl<C> From<SingleOutcome> for CacheAnswer<C> {
    fn from(outcome: SingleOutcome) -> Self {
        match outcome {
            SingleOutcome::Answer(answer) if answer.head.status == 304 => Self::Unchanged(answer),
            SingleOutcome::Answer(answer) => Self::Found(answer),
            SingleOutcome::NotFound => Self::NotFound,
            SingleOutcome::Warming => Self::Warming,
            SingleOutcome::NotCached { .. } => Self::ItemNotCached,
            SingleOutcome::Unfinished => Self::Unfinished,
        }
    }
}

/// What comes next.
#[derive(Debug)]
pub enum Next<C> {
    /// Nothing until the topic is opened or read further, or until then.
    WaitUntil(Instant),
    /// Nothing until a record comes that may be wanted, or until then.
    WaitForChange(Instant),
    /// Answer.
    Answer(Box<Answer>),
    /// Answer with what comes piece by piece.
    Begin(C),
    /// Ask Kafka.
    Cold,
    /// Ask the cache again, after others had their turn.
    LookOn,
    /// Answer with an error.
    Fail(RequestError),
}

/// A read.
#[derive(Debug)]
pub struct Reading {
    topic: String,
    budget_bytes: usize,
    timeout: Duration,
    wait: Option<Duration>,
    is_conditional: bool,
    since: Instant,
    is_draining: bool,
}

impl Reading {
    /// A read that may begin at `since`. `is_conditional`: the client named what it has.
    pub const fn new(
        topic: String,
        budget_bytes: usize,
        timeout: Duration,
        wait: Option<Duration>,
        is_conditional: bool,
        since: Instant,
    ) -> Self {
        Self {
            topic,
            budget_bytes,
            timeout,
            wait,
            is_conditional,
            since,
            is_draining: false,
        }
    }

    /// It could not begin before.
    pub fn begin_at(&mut self, now: Instant) {
        self.since = now;
    }

    /// Whether it waits because the client asked for it, not because something is missing.
    pub fn is_waiting(&self) -> bool {
        self.wait.is_some()
    }

    /// The gateway is ending: nobody waits for a change any more.
    pub fn handle_drain(&mut self) {
        self.is_draining = true;
    }

    /// Whether the client named what it has, as far as the topic knows it.
    pub fn set_conditional(&mut self, is_conditional: bool) {
        self.is_conditional = is_conditional;
    }

    /// Says in an answer's head what was granted.
    pub fn apply_to(&self, head: &mut ResponseHead) {
        if let Some(wait) = self.wait {
            head.headers.push("preference-applied", applied_wait(wait));
        }
    }

    /// Takes how far the topic is opened; `None`: it is open, ask the cache.
    pub fn handle_opened<C>(&self, opened: Opened, now: Instant) -> Option<Next<C>> {
        let until = self.warm_until();
        let reason = match opened {
            Opened::Open => return None,
            Opened::Opening | Opened::Unknown(_) if now < until => {
                return Some(Next::WaitUntil(until));
            }
            Opened::Unknown(error) => Some(error),
            Opened::Opening | Opened::TooMany => None,
        };
        Some(Next::Fail(RequestError::TopicUnavailable {
            topic: self.topic.clone(),
            reason,
        }))
    }

    /// Takes what the cache lacks; `None`: ask it all the same.
    pub fn handle_behind<C>(&self, behind: Behind, now: Instant) -> Option<Next<C>> {
        let until = match behind {
            Behind::Nothing => return None,
            Behind::Writes => self.since + READ_YOUR_WRITES_WAIT,
            Behind::Ends => self.warm_until(),
        };
        if now < until {
            return Some(Next::WaitUntil(until));
        }
        // What was asked for is newer than the cache: an answer from it would be the wrong one.
        (behind == Behind::Ends).then(|| Next::Fail(self.warming()))
    }

    /// Takes what the cache says.
    pub fn handle_cache<C>(&self, answer: CacheAnswer<C>, behind: Behind, now: Instant) -> Next<C> {
        match answer {
            CacheAnswer::Found(answer) => self.answer(answer),
            CacheAnswer::Collection(collection) => Next::Begin(collection),
            CacheAnswer::Unchanged(answer) => self
                .wait_for_change(now)
                .unwrap_or_else(|| self.answer(answer)),
            // What was acknowledged and is not read yet must not pass for missing.
            CacheAnswer::NotFound if behind != Behind::Nothing => Next::Fail(self.warming()),
            CacheAnswer::NotFound if self.is_conditional => self.missing(),
            CacheAnswer::NotFound => self.wait_for_change(now).unwrap_or_else(|| self.missing()),
            CacheAnswer::Warming if now < self.warm_until() => Next::WaitUntil(self.warm_until()),
            CacheAnswer::TooMany => Next::Fail(RequestError::CollectionsOverloaded {
                topic: self.topic.clone(),
            }),
            CacheAnswer::CollectionNotCached => Next::Fail(RequestError::NotCached {
                topic: self.topic.clone(),
                budget_bytes: self.budget_bytes,
            }),
            CacheAnswer::ItemNotCached => Next::Cold,
            CacheAnswer::Unfinished if now < self.since + self.timeout => Next::LookOn,
            CacheAnswer::Warming | CacheAnswer::Unfinished => Next::Fail(self.warming()),
        }
    }

    fn wait_for_change<C>(&self, now: Instant) -> Option<Next<C>> {
        let until = self.since + self.wait?;
        (now < until && !self.is_draining).then_some(Next::WaitForChange(until))
    }

    fn missing<C>(&self) -> Next<C> {
        match self.wait {
            Some(wait) => Next::Answer(Box::new(applied_error(&RequestError::NotFound, wait))),
            None => Next::Fail(RequestError::NotFound),
        }
    }

    fn warm_until(&self) -> Instant {
        self.since + WARM_WAIT.min(self.timeout)
    }

    fn warming(&self) -> RequestError {
        RequestError::Warming {
            topic: self.topic.clone(),
        }
    }

    fn answer<C>(&self, mut answer: Box<Answer>) -> Next<C> {
        self.apply_to(&mut answer.head);
        Next::Answer(answer)
    }
}
