//! A request with a reply: waits for the reply (sync), for the request to be stored (async submit), or asks for the reply to an earlier one (async status).
//!
//! ```text
//!            ┌ Reply ─────────────────────────────▶ the reply
//!  Waiting ──┼ ReplyAt ─▶ Reading ─ found ─────────▶ the reply          (submit: 202)
//!     ▲      ├ Stored ────────────── submit ───────▶ 202
//!     │      ├ NoReply ───────────── status ───────▶ 202
//!     │      └ its time is over ── sync ▶ 504 ── status with `wait` ▶ 202
//!     └── status, and the reply is gone: ask again, once
//! ```

use std::time::Duration;

use crate::clock::Instant;
use crate::error::RequestError;
use crate::exchange::applied_error;
use crate::http::{Body, ResponseHead};
use crate::kafka::correlation::{Place, Reply, ReplyFault, Verdict, Wants};
use crate::kafka::producer::ProduceFault;
use crate::mapping::http_kafka::correlated::{StatusRequest, Submission, answer};
use crate::mapping::http_kafka::fetch::Answer;
use crate::mapping::prefer::applied_wait;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Sync,
    Submit,
    Status,
}

/// What comes next.
#[derive(Clone, Debug)]
pub enum Next {
    /// Nothing until something happens.
    Wait,
    /// The reply lies there: read it.
    Read(Place),
    /// Ask the shard again.
    AskAgain,
    /// Answer.
    Answer(Box<Answer>),
    /// Answer with an error.
    Fail(RequestError),
}

/// A request with a reply.
#[derive(Debug)]
pub struct Correlated {
    kind: Kind,
    deadline: Instant,
    wait: Option<Duration>,
    reply_topic: String,
    reply_header: String,
    accepted: Vec<(String, Vec<u8>)>,
    has_asked_again: bool,
}

impl Correlated {
    /// A request that was accepted at `accepted_at`. It may take `timeout`, or as long as the client prefers up to `wait_max`.
    pub fn submission(
        submission: &Submission,
        timeout: Duration,
        wait_max: Duration,
        accepted_at: Instant,
    ) -> Self {
        let is_async = submission.accepted.is_some();
        let wait = submission.prefer.wait_up_to(wait_max);
        let wait = wait.filter(|_| !is_async);
        Self {
            kind: if is_async { Kind::Submit } else { Kind::Sync },
            deadline: accepted_at + wait.unwrap_or(timeout),
            wait,
            reply_topic: submission.reply_topic.clone(),
            reply_header: submission.reply_header.clone(),
            accepted: submission.accepted.clone().unwrap_or_default(),
            has_asked_again: false,
        }
    }

    /// A question that was accepted at `accepted_at`: without a wait it is answered as soon as it is known whether there is a reply, within `timeout`.
    pub fn status(
        status: &StatusRequest,
        reply_topic: &str,
        timeout: Duration,
        wait_max: Duration,
        accepted_at: Instant,
    ) -> Self {
        let wait = status.prefer.wait_up_to(wait_max);
        Self {
            kind: Kind::Status,
            deadline: accepted_at + wait.unwrap_or(timeout),
            wait,
            reply_topic: reply_topic.to_owned(),
            reply_header: status.reply_header.clone(),
            accepted: status.accepted.clone(),
            has_asked_again: false,
        }
    }

    /// What its waiter wants to be told.
    pub const fn wants(&self) -> Wants {
        match (self.kind, self.wait) {
            (Kind::Submit, _) => Wants::Stored,
            (Kind::Status, None) => Wants::ReplyNow,
            (Kind::Sync, _) | (Kind::Status, Some(_)) => Wants::Reply,
        }
    }

    /// When [`Correlated::handle_timeout`] is due.
    pub const fn poll_timeout(&self) -> Instant {
        self.deadline
    }

    /// The gateway is ending: what may come at any time is waited for until `until` at most, what the client would wait for no longer at all.
    pub fn handle_drain(&mut self, now: Instant, until: Instant) {
        let is_patient = self.kind != Kind::Status || self.wait.is_none();
        self.deadline = self.deadline.min(if is_patient { until } else { now });
    }

    /// Takes what the shard says.
    pub fn handle_verdict(&mut self, verdict: Verdict) -> Next {
        match (self.kind, verdict) {
            (Kind::Submit, Verdict::Reply(_) | Verdict::ReplyAt(_) | Verdict::Stored) => {
                self.accept()
            }
            (_, Verdict::Reply(reply)) => self.reply(&reply),
            (_, Verdict::ReplyAt(place)) => Next::Read(place),
            (Kind::Status, Verdict::NoReply) => self.accept(),
            (_, Verdict::Stored | Verdict::NoReply) => Next::Wait,
            (_, Verdict::Fault(ProduceFault::OutcomeUnknown)) if self.kind == Kind::Sync => {
                Next::Wait
            }
            (_, Verdict::Fault(fault)) => Next::Fail(RequestError::Produce(fault)),
            (_, Verdict::Unavailable) => Next::Fail(self.unknown()),
            (_, Verdict::Overloaded) => Next::Fail(RequestError::RepliesOverloaded),
        }
    }

    /// Takes what the reading of the reply brought.
    pub fn handle_read(&mut self, read: Result<Reply, ReplyFault>) -> Next {
        match read {
            Ok(reply) => self.reply(&reply),
            Err(ReplyFault::Gone) if self.kind == Kind::Status && !self.has_asked_again => {
                self.has_asked_again = true;
                Next::AskAgain
            }
            // Its request has gone to the shard and is not kept: the next repeat will be stored again.
            Err(ReplyFault::Gone) => Next::Fail(RequestError::ReplyGone),
            Err(ReplyFault::Unavailable) => Next::Fail(RequestError::ReplyUnreadable {
                topic: self.reply_topic.clone(),
            }),
        }
    }

    /// Its time is over.
    pub fn handle_timeout(&mut self) -> Next {
        match (self.kind, self.wait) {
            (Kind::Status, Some(_)) => self.accept(),
            (Kind::Status, None) => Next::Fail(self.unknown()),
            (Kind::Sync, None) => Next::Fail(RequestError::NoReply),
            (Kind::Sync, Some(wait)) => {
                Next::Answer(Box::new(applied_error(&RequestError::NoReply, wait)))
            }
            (Kind::Submit, _) => Next::Fail(RequestError::Produce(ProduceFault::OutcomeUnknown)),
        }
    }

    fn unknown(&self) -> RequestError {
        RequestError::RepliesUnknown {
            topic: self.reply_topic.clone(),
        }
    }

    fn reply(&self, reply: &Reply) -> Next {
        let Some(record) = reply.record() else {
            return Next::Fail(RequestError::BadReply);
        };
        match answer(record.headers(), reply.value(), &self.reply_header) {
            Ok(mut answer) => {
                if let Some(wait) = self.wait {
                    let applied = applied_wait(wait);
                    answer.head.headers.push("preference-applied", applied);
                }
                Next::Answer(Box::new(answer))
            }
            Err(error) => Next::Fail(error),
        }
    }

    fn accept(&self) -> Next {
        let mut head = ResponseHead::new(202);
        for (name, value) in &self.accepted {
            head.headers.push(name, value);
        }
        let applied = match (self.kind, self.wait) {
            (Kind::Submit, _) => Some("respond-async".to_owned()),
            (_, wait) => wait.map(applied_wait),
        };
        if let Some(applied) = applied {
            head.headers.push("preference-applied", applied);
        }
        Next::Answer(Box::new(Answer {
            head,
            body: Body::Empty,
        }))
    }
}
