//! grpc-kafka: the messages of a call become records ([`ProduceCall`]), or records become messages ([`FetchCall`]).

pub mod message;
pub mod produce;
pub mod reply;
#[cfg(test)]
mod tests;

use bytes::Bytes;

use super::access::{Access, select};
use super::grpc::{Asked, CallRequest, Target};
use super::http_kafka::{Ids, fill_in_filter};
use super::progress::Progress;
use super::request::RequestScope;
use crate::config::{GrpcKafka, GrpcKafkaWith};
use crate::error::RequestError;
use crate::exchange::feed::{Form, Selection};
use crate::grpc::status::{Code, Status};
use crate::route::{Params, Template};
use message::{MessageForm, resume_from};
pub use produce::ProduceCall;

/// A call that is answered with the records of a topic.
#[derive(Clone, Debug)]
pub struct FetchCall {
    /// Which cluster of the plan.
    pub cluster: usize,
    /// The topic.
    pub topic: String,
    /// Which of its records, and how they are written.
    pub selection: Selection,
    /// How far the client is; `None`: it has nothing.
    pub resume: Option<Progress>,
}

/// Finds the route of a call and fills in its expressions.
///
/// # Errors
///
/// [`RequestError::Missing`], and what `access` says.
pub(super) fn resolve(
    binding: &GrpcKafka,
    asked: &Asked<'_>,
    ids: Ids<'_>,
    access: &dyn Access,
    call: &mut CallRequest,
) -> Result<(), RequestError> {
    let selected = select(&binding.routes, asked.request, access, |route| {
        asked.meets(&route.when).then_some(())
    });
    let route = match selected {
        Ok((route, ())) => route,
        Err(RequestError::NoRoute) => {
            let status = Status::new(Code::UNIMPLEMENTED, "no route takes this method");
            call.target = Target::Refused(status);
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    call.route = Some(route.number);
    let scope = RequestScope::of_read(asked.request, Params::NONE, access);
    let render = |template: &Template| template.render(&scope).map_err(RequestError::Missing);
    call.target = match &route.with {
        GrpcKafkaWith::Produce {
            topic,
            acks,
            key,
            overrides,
            reply_to,
        } => {
            let overrides = overrides
                .iter()
                .map(|(name, value)| {
                    let name = Bytes::copy_from_slice(name.as_bytes());
                    Ok((name, Bytes::from(render(value)?)))
                })
                .collect::<Result<Vec<_>, RequestError>>()?;
            let record = produce::RecordPlan {
                cluster: route.cluster,
                topic,
                acks: *acks,
                key: key.as_ref().map(render).transpose()?.map(Bytes::from),
                overrides,
                reply_to: reply_to.as_deref(),
            };
            Target::Produce(Box::new(ProduceCall::new(binding, record, asked, ids)))
        }
        GrpcKafkaWith::Fetch { topic, filters } => {
            let filters = filters
                .iter()
                .map(|filter| fill_in_filter(filter, &render))
                .collect::<Result<_, _>>()?;
            let name = &binding.reliability_metadata;
            let binary = format!("{name}-bin");
            let mut sent = asked.metadata.iter();
            let sent = sent.find(|(other, _)| other == name || *other == binary);
            let form = Form::Message(MessageForm {
                field: binding.reliability_field,
            });
            Target::Fetch(Box::new(FetchCall {
                cluster: route.cluster,
                topic: topic.clone(),
                selection: Selection { filters, form },
                resume: sent.and_then(|(_, value)| resume_from(value)),
            }))
        }
    };
    Ok(())
}
