//! A record without a reply: 204 once it is stored as the route asks.

use crate::error::RequestError;
use crate::http::{Body, ResponseHead};
use crate::kafka::producer::{Ack, ProduceFault};
use crate::mapping::http_kafka::fetch::Answer;

/// The answer to a record with this outcome.
///
/// # Errors
///
/// [`RequestError::Produce`].
pub fn answer(outcome: Result<Ack, ProduceFault>) -> Result<Answer, RequestError> {
    match outcome {
        Ok(_) => Ok(Answer {
            head: ResponseHead::new(204),
            body: Body::Empty,
        }),
        Err(fault) => Err(RequestError::Produce(fault)),
    }
}
