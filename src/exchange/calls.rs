//! The reply to a call, put together from the records of its runs: a request may have been run more than once, and its caller sees one run.
//!
//! ```text
//!  one message:   records of each run are held ─ a run ends ─▶ that run is the answer
//!  many messages: the first run seen is passed on as it comes ─┬─ it ends ───────▶ the call ends
//!                                                              └─ another ends ──▶ ABORTED: what was passed on is of a run that was broken off
//! ```
//! Rule: nothing of two runs is ever mixed.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::grpc::status::{Code, Status};
use crate::mapping::grpc::Metadata;
use crate::mapping::grpc_kafka::reply::{Attempt, ReplyBody, ReplyPart};

/// Parts of earlier runs that are held at once; beyond, the first run is taken for the one that goes on.
const HISTORY_MAX: usize = 1_024;
/// Bytes of their messages.
const HISTORY_BYTES_MAX: usize = 1 << 20;
/// Runs of one request that are held at once; of further ones the oldest is forgotten.
const RUNS_MAX: usize = 4;

/// What a call is told next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallOutput {
    /// Its metadata; comes first, if there is any message.
    Begin(Metadata),
    /// A message.
    Message(Bytes),
    /// How it ended; comes last.
    End(Status, Metadata),
}

/// A run whose records are held.
#[derive(Debug)]
struct Run {
    attempt: Attempt,
    metadata: Metadata,
    message: Option<Bytes>,
    has_more: bool,
}

/// The reply to one call.
#[derive(Debug)]
pub struct CallReply {
    /// The method answers with exactly one message.
    is_single: bool,
    runs: VecDeque<Run>,
    /// The run that is passed on, the first one seen; `None`: not known yet.
    chosen: Option<Attempt>,
    /// The run that is known to have its end: there is no other.
    ended: Option<Attempt>,
    /// What was there before the caller came, until all of it is: a run that was closed for want of an answer is not this caller's.
    history: Option<Vec<ReplyPart>>,
    history_bytes: usize,
    has_begun: bool,
    is_over: bool,
    outputs: VecDeque<CallOutput>,
}

impl CallReply {
    /// A reply of which nothing has come. `is_single`: the method answers with exactly one message.
    pub fn new(is_single: bool) -> Self {
        Self {
            is_single,
            runs: VecDeque::new(),
            chosen: None,
            ended: None,
            history: None,
            history_bytes: 0,
            has_begun: false,
            is_over: false,
            outputs: VecDeque::new(),
        }
    }

    /// There may be replies of earlier runs: they are held until [`CallReply::end_history`].
    pub fn begin_history(&mut self) {
        self.history = Some(Vec::new());
    }

    /// All that comes from now on is for this caller; of earlier runs, what may still go on.
    pub fn end_history(&mut self) {
        for part in self.history.take().unwrap_or_default() {
            self.handle(part);
        }
    }

    /// The run that came to its end, of a request that was made before: others are passed over.
    pub fn choose(&mut self, attempt: Attempt) {
        self.ended = Some(attempt);
        self.end_history();
    }

    /// Takes what a record says, in the order of the log.
    pub fn handle(&mut self, part: ReplyPart) {
        let is_other = |ended: &Attempt| *ended != part.attempt;
        if self.is_over || self.ended.as_ref().is_some_and(is_other) {
            return;
        }
        if let Some(history) = &mut self.history {
            if let ReplyBody::End {
                is_served: false, ..
            } = &part.body
            {
                history.retain(|held| held.attempt != part.attempt);
                return;
            }
            if let ReplyBody::Message(message) = &part.body {
                self.history_bytes += message.len();
            }
            history.push(part);
            if history.len() > HISTORY_MAX || self.history_bytes > HISTORY_BYTES_MAX {
                self.end_history();
            }
            return;
        }
        if self.is_single {
            self.hold(part);
        } else {
            self.pass_on(part);
        }
    }

    /// Whether replies of earlier runs are held.
    pub fn has_history(&self) -> bool {
        self.history.is_some()
    }

    /// What the call is told next.
    pub fn poll(&mut self) -> Option<CallOutput> {
        self.outputs.pop_front()
    }

    /// Whether nothing more will come.
    pub fn is_over(&self) -> bool {
        self.is_over
    }

    fn hold(&mut self, part: ReplyPart) {
        let ReplyPart {
            attempt,
            metadata,
            body,
        } = part;
        let mut index = self.runs.iter().position(|run| run.attempt == attempt);
        if index.is_none() {
            if self.runs.len() == RUNS_MAX {
                self.runs.pop_front();
            }
            self.runs.push_back(Run {
                attempt,
                metadata,
                message: None,
                has_more: false,
            });
            index = Some(self.runs.len() - 1);
        }
        let Some(run) = index.and_then(|index| self.runs.get_mut(index)) else {
            return;
        };
        match body {
            ReplyBody::Message(message) => {
                run.has_more |= run.message.is_some();
                run.message = Some(message);
            }
            ReplyBody::End {
                status, trailers, ..
            } => {
                let metadata = std::mem::take(&mut run.metadata);
                let (message, has_more) = (run.message.take(), run.has_more);
                self.end_single(metadata, message, has_more, status, trailers);
            }
        }
    }

    fn end_single(
        &mut self,
        metadata: Metadata,
        message: Option<Bytes>,
        has_more: bool,
        status: Status,
        trailers: Metadata,
    ) {
        // The gRPC statuses' table: a method that answers with one message has answered with another number of them.
        let status = match (&message, status.is_ok()) {
            (_, true) if has_more => Status::new(
                Code::UNIMPLEMENTED,
                "the service answered with more than one message",
            ),
            (None, true) => Status::new(
                Code::UNIMPLEMENTED,
                "the service answered without a message",
            ),
            _ => status,
        };
        if !metadata.is_empty() || status.is_ok() {
            self.outputs.push_back(CallOutput::Begin(metadata));
        }
        if let Some(message) = message.filter(|_| status.is_ok()) {
            self.outputs.push_back(CallOutput::Message(message));
        }
        self.end(status, trailers);
    }

    fn pass_on(&mut self, part: ReplyPart) {
        let ReplyPart {
            attempt,
            metadata,
            body,
        } = part;
        let chosen = self.chosen.get_or_insert_with(|| attempt.clone());
        if *chosen != attempt {
            // Only what is passed on as it comes can be found to be of a run that was broken off: a run that was chosen has its end.
            if matches!(body, ReplyBody::End { .. }) && self.has_begun {
                self.end(
                    Status::new(
                        Code::ABORTED,
                        "the service's run of the call was broken off and another one has ended: repeat the call, with the same idempotency key to get that one's answer",
                    ),
                    Metadata::new(),
                );
            }
            return;
        }
        let is_first = !std::mem::replace(&mut self.has_begun, true);
        match body {
            ReplyBody::Message(message) => {
                if is_first {
                    self.outputs.push_back(CallOutput::Begin(metadata));
                }
                self.outputs.push_back(CallOutput::Message(message));
            }
            ReplyBody::End {
                status, trailers, ..
            } => {
                if is_first && (!metadata.is_empty() || status.is_ok()) {
                    self.outputs.push_back(CallOutput::Begin(metadata));
                }
                self.end(status, trailers);
            }
        }
    }

    fn end(&mut self, status: Status, trailers: Metadata) {
        self.is_over = true;
        self.runs.clear();
        self.outputs.push_back(CallOutput::End(status, trailers));
    }
}
