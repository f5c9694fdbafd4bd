//! Requests with a reply: asks the shard of the id, waits for what it says, reads replies that came before. What follows from it is [`Correlated`]'s to decide.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;

use super::{KafkaExchange, State};
use crate::clock::Instant;
use crate::error::RequestError;
use crate::exchange::correlated::{Correlated, Next};
use crate::kafka::correlation::{CorrelationId, Place, Reply, ReplyFault};
use crate::kafka::producer::Acks;
use crate::kafka::replies::{Request, SubmitFault};
use crate::mapping::http_kafka::Action;
use crate::mapping::http_kafka::correlated::{StatusRequest, Submission};
use crate::net::exchange::Step;
use crate::net::service::Service;
use crate::runtime::notify::Notify;

/// The reading of a reply that came before.
pub(super) type ReplyRead = Pin<Box<dyn Future<Output = Result<Reply, ReplyFault>>>>;

impl KafkaExchange {
    /// Asks the shard of its id.
    pub(super) fn ask(
        &mut self,
        machine: Box<Correlated>,
        service: &Rc<Service>,
        notify: &Rc<Notify>,
    ) -> State {
        let replies = &service.replies[self.resolved.cluster];
        let Some((topic, id)) = self.correlation(service) else {
            return State::Refused(RequestError::NoRoute);
        };
        let (wants, deadline) = (machine.wants(), machine.poll_timeout());
        let topic = topic.to_owned();
        let asked = match &mut self.resolved.action {
            Action::Submit(submission) => {
                let request = Request {
                    topic: self.resolved.topic.clone(),
                    acks: Acks::from(submission.acks),
                    record: std::mem::take(&mut submission.record),
                };
                let is_ours = submission.is_ours;
                replies.submit(&topic, id, is_ours, request, wants, deadline, notify)
            }
            _ => replies.watch(&topic, id, wants, deadline, notify),
        };
        match asked {
            Ok(pending) => State::Waiting { machine, pending },
            Err(SubmitFault::Overloaded) => State::Refused(RequestError::RepliesOverloaded),
            Err(SubmitFault::TooManyTopics) => State::Refused(RequestError::TopicUnavailable {
                topic,
                reason: None,
            }),
        }
    }

    /// The reply topic and the id of a correlated request.
    fn correlation(&self, service: &Service) -> Option<(&str, CorrelationId)> {
        let replies = &service.replies[self.resolved.cluster];
        let id = |header: &str, id: &Bytes| CorrelationId {
            header: replies.header_number(header),
            id: id.clone(),
        };
        match &self.resolved.action {
            Action::Submit(submission) => {
                let Submission {
                    id: value,
                    reply_topic,
                    reply_header,
                    ..
                } = &**submission;
                Some((reply_topic, id(reply_header, value)))
            }
            Action::Status(status) => {
                let StatusRequest {
                    id: value,
                    reply_header,
                    ..
                } = &**status;
                Some((&self.resolved.topic, id(reply_header, value)))
            }
            _ => None,
        }
    }

    pub(in crate::net) fn poll_correlated(
        &mut self,
        context: &mut Context<'_>,
        service: &Rc<Service>,
        notify: &Rc<Notify>,
        now: Instant,
    ) -> Step {
        loop {
            let next = match &mut self.state {
                State::Waiting { machine, pending } => match pending.verdict() {
                    Some(verdict) => machine.handle_verdict(verdict),
                    None if now >= machine.poll_timeout() => machine.handle_timeout(),
                    None => return Step::Pending,
                },
                State::Fetching { machine, read } => match read.as_mut().poll(context) {
                    Poll::Ready(read) => machine.handle_read(read),
                    Poll::Pending if now >= self.begun + self.resolved.timeout => {
                        machine.handle_read(Err(ReplyFault::Unavailable))
                    }
                    Poll::Pending => return Step::Pending,
                },
                State::Refused(error) => return Step::Fail(error.clone()),
                _ => return Step::Pending,
            };
            match next {
                Next::Wait => {}
                Next::Answer(answer) => return Step::Respond(answer),
                Next::Fail(error) => return Step::Fail(error),
                Next::Read(place) => self.fetch_reply(place, service),
                Next::AskAgain => {
                    let replaced =
                        std::mem::replace(&mut self.state, State::Refused(RequestError::NoReply));
                    if let State::Fetching { machine, .. } | State::Waiting { machine, .. } =
                        replaced
                    {
                        self.state = self.ask(machine, service, notify);
                    }
                }
            }
        }
    }

    /// Reads a reply that came before.
    fn fetch_reply(&mut self, place: Place, service: &Rc<Service>) {
        let Some((topic, id)) = self.correlation(service) else {
            return;
        };
        let (topic, replies) = (
            topic.to_owned(),
            service.replies[self.resolved.cluster].clone(),
        );
        // A client that waits only a moment for a reply that is there gets it all the same.
        let until = self.begun + self.resolved.timeout;
        let read = Box::pin(async move { replies.read(&topic, &id, place, until).await });
        let replaced = std::mem::replace(&mut self.state, State::Refused(RequestError::NoReply));
        self.state = match replaced {
            State::Waiting { machine, .. } => State::Fetching { machine, read },
            other => other,
        };
    }
}
