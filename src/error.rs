//! From what went wrong to what the client is told: the one table of statuses.
//!
//! Grouped by whose fault it is, so that status and retry advice follow from the variant. Rule: a client is told 4xx only for what it can mend, and never told
//! that a record is lost, or stored, when that is not known.

use crate::grpc::status::{Code, Status};
use crate::http::Problem;
use crate::kafka::error_code::ErrorCode;
use crate::kafka::producer::{ProduceFault, Unavailable};
use crate::mapping::progress::IfMatchFault;
use crate::route::Missing;

/// Seconds after which a client may try again when the cluster or this gateway could not serve it.
const RETRY_AFTER_S: u32 = 1;

/// Why a request was not served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestError {
    /// No route matches.
    NoRoute,
    /// A route matches, and the request brings no credentials that are good for it.
    Unauthorized {
        /// What `www-authenticate` says (RFC 9110 11.6.1).
        challenge: &'static str,
    },
    /// A route matches, and who asks has not the roles for it.
    Forbidden,
    /// Credentials cannot be checked at the moment.
    KeysUnavailable,
    /// Calls of gRPC are made by POST.
    NotPost,
    /// What was sent is no call of gRPC.
    NotGrpc,
    /// The server that the gateway asks could not be asked, or does not answer.
    Upstream {
        /// The status: 502, 503 or 504 (RFC 9110 15.6).
        status: u16,
        /// What is wrong with it.
        reason: String,
    },
    /// The path is there for other methods.
    MethodNotAllowed {
        /// Those.
        allow: &'static str,
    },
    /// A last event id that is too long for any of ours.
    LastEventId,
    /// A script of another origin may not ask this.
    Origin,
    /// Too many event streams are open.
    StreamsOverloaded,
    /// An expression of the route finds nothing in the request.
    Missing(Missing),
    /// The rendered topic is no legal name.
    TopicName(String),
    /// There is no such item.
    NotFound,
    /// The record could not be stored, or nobody knows.
    Produce(ProduceFault),
    /// Bodies under way on this core take too much memory.
    BodiesOverloaded,
    /// The topic could not be opened in time.
    TopicUnavailable {
        /// Its name.
        topic: String,
        /// What the broker said.
        reason: Option<ErrorCode>,
    },
    /// The topic is still being read.
    Warming {
        /// Its name.
        topic: String,
    },
    /// The collection does not fit the cache.
    NotCached {
        /// Its name.
        topic: String,
        /// The cache's bytes on this core.
        budget_bytes: usize,
    },
    /// Too many collections of the topic are being read at once.
    CollectionsOverloaded {
        /// Its name.
        topic: String,
    },
    /// What is not cached was looked for in Kafka without an end in sight.
    ColdReadTooLong {
        /// Its name.
        topic: String,
        /// Bytes that were looked at.
        read_bytes: usize,
    },
    /// Kafka could not be asked for what is not cached.
    ColdReadFailed {
        /// Its name.
        topic: String,
    },
    /// `if-match` has a form that a record cannot carry.
    IfMatch(IfMatchFault),
    /// Nobody answered the request in time.
    NoReply,
    /// The reply is none that HTTP knows.
    BadReply,
    /// Kafka cannot say whether the request has its reply already.
    RepliesUnknown {
        /// The reply topic.
        topic: String,
    },
    /// The reply is known of and cannot be read.
    ReplyUnreadable {
        /// The reply topic.
        topic: String,
    },
    /// The reply was there and is not any more.
    ReplyGone,
    /// Too many requests wait for replies.
    RepliesOverloaded,
}

impl RequestError {
    /// The answer.
    pub fn problem(&self) -> Problem {
        match self {
            Self::NoRoute => Problem::new(404).detail("no route matches this method and path"),
            Self::Unauthorized { challenge } => Problem::new(401)
                .detail("the route needs credentials, and there are none, or they are not valid")
                .header("www-authenticate", challenge),
            Self::Forbidden => Problem::new(403).detail("the credentials are valid, and do not have the roles that the route needs"),
            Self::KeysUnavailable => retriable("the keys that check tokens cannot be fetched at the moment"),
            Self::MethodNotAllowed { allow } => Problem::new(405).detail("the path is there for other methods").header("allow", allow),
            Self::NotPost => Problem::new(405).detail("calls of gRPC are made by POST").header("allow", "POST").header("grpc-status", Code::INTERNAL.to_wire()),
            Self::NotGrpc => Problem::new(415).detail("calls of gRPC have the content-type application/grpc, application/grpc-web or application/grpc-web-text"),
            Self::Upstream { status: 503, reason } => retriable(reason),
            Self::Upstream { status, reason } => Problem::new(*status).detail(reason),
            Self::LastEventId => Problem::new(400).detail("the last event id is longer than any that this gateway gives"),
            Self::Origin => Problem::new(403).detail("scripts of this origin may not ask this (CORS): see `access-control` of the http binding"),
            Self::StreamsOverloaded => retriable("too many event streams are open"),
            Self::Missing(missing) => Problem::new(400).detail(&missing.to_string()),
            Self::TopicName(name) => Problem::new(400).detail("the request names a topic that Kafka does not allow").member("topic", name),
            Self::NotFound => Problem::new(404).detail("there is no such item"),
            Self::Produce(fault) => produce_problem(*fault),
            Self::BodiesOverloaded => retriable("too many request bodies are under way"),
            Self::TopicUnavailable { topic, reason } => {
                let problem = retriable("the topic cannot be read at the moment").member("topic", topic);
                reason.map_or(problem.clone(), |reason| problem.member("kafka_error", reason.name()))
            }
            Self::Warming { topic } => retriable("the topic is still being read").member("topic", topic),
            Self::NotCached { topic, budget_bytes } => Problem::new(503)
                .detail("the collection does not fit the cache: give it more with --cache-bytes")
                .member("topic", topic)
                .number("cache_bytes", *budget_bytes as u64),
            Self::CollectionsOverloaded { topic } => retriable("too many clients are reading this collection").member("topic", topic),
            Self::ColdReadTooLong { topic, read_bytes } => Problem::new(503)
                .detail("the item is not in the cache, and looking for it in Kafka was given up: give the cache more with --cache-bytes")
                .member("topic", topic)
                .number("read_bytes", *read_bytes as u64),
            Self::ColdReadFailed { topic } => retriable("the item is not in the cache, and Kafka cannot be asked").member("topic", topic),
            Self::IfMatch(IfMatchFault::Any) => Problem::new(400).detail("`if-match: *` cannot be passed on: send the item's etag"),
            Self::IfMatch(IfMatchFault::Weak) => Problem::new(400).detail("`if-match` takes no weak etag (RFC 9110 13.1.1)"),
            Self::IfMatch(IfMatchFault::List) => Problem::new(400).detail("`if-match` can pass on one etag, not a list"),
            Self::NoReply => Problem::new(504)
                .detail("no reply came in time; the request may be stored: repeat it with the same idempotency key to wait on, which does not store it twice"),
            Self::BadReply => Problem::new(502).detail("the service's reply has a `:status` that is none"),
            Self::RepliesUnknown { topic } => {
                retriable("Kafka cannot say whether the request was made before; it was not made now").member("topic", topic)
            }
            Self::ReplyUnreadable { topic } => retriable("the reply is there, and Kafka cannot be asked for it").member("topic", topic),
            Self::ReplyGone => retriable("the reply is no longer in Kafka; a repeat will be made again"),
            Self::RepliesOverloaded => retriable("too many requests are waiting for replies; this one was not made"),
        }
    }
}

impl RequestError {
    /// The answer to a call of gRPC.
    pub fn status(&self) -> Status {
        let (status, detail) = self.problem().into_parts();
        let code = match self {
            Self::NoRoute => Code::UNIMPLEMENTED,
            Self::Produce(ProduceFault::TooLarge { .. }) => Code::RESOURCE_EXHAUSTED,
            _ => match status {
                400 => Code::INVALID_ARGUMENT,
                401 => Code::UNAUTHENTICATED,
                403 => Code::PERMISSION_DENIED,
                404 => Code::NOT_FOUND,
                413 => Code::RESOURCE_EXHAUSTED,
                503 => Code::UNAVAILABLE,
                504 => Code::DEADLINE_EXCEEDED,
                _ => Code::INTERNAL,
            },
        };
        Status::new(code, detail)
    }
}

fn retriable(detail: &str) -> Problem {
    Problem::new(503).detail(detail).retry_after(RETRY_AFTER_S)
}

fn produce_problem(fault: ProduceFault) -> Problem {
    match fault {
        ProduceFault::Overloaded { queued_max, .. } => {
            retriable("too many records are waiting to be stored; this one was not")
                .number("queued_bytes_max", queued_max as u64)
        }
        ProduceFault::TooLarge { batch_bytes_max } => Problem::new(413)
            .detail("the record is larger than the topic's max.message.bytes")
            .number("max_message_bytes", batch_bytes_max as u64),
        ProduceFault::Unavailable(Unavailable::Unreachable) => {
            retriable("Kafka cannot be reached; the record was not stored")
        }
        ProduceFault::Unavailable(Unavailable::Broker(reason)) => {
            retriable("Kafka cannot take the record now; it was not stored")
                .member("kafka_error", reason.name())
        }
        ProduceFault::Unavailable(Unavailable::Deadline) => {
            retriable("the record could not be sent in time; it was not stored")
        }
        ProduceFault::OutcomeUnknown => Problem::new(504)
            .detail("Kafka did not answer in time; whether the record is stored is not known"),
        ProduceFault::Rejected(reason) => rejected(reason),
    }
}

/// What the broker refuses for good: the client's doing only where the record itself is at fault.
fn rejected(reason: ErrorCode) -> Problem {
    let (status, detail) = match reason {
        ErrorCode::INVALID_RECORD => (
            400,
            "Kafka refuses the record: a compacted topic needs a key",
        ),
        ErrorCode::TOPIC_AUTHORIZATION_FAILED => (502, "the gateway may not write to the topic"),
        _ => (502, "Kafka refuses the record"),
    };
    Problem::new(status)
        .detail(detail)
        .member("kafka_error", reason.name())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(error: &RequestError) -> u16 {
        error.problem().into_response().0.status
    }

    #[test]
    fn only_what_the_client_can_mend_is_its_fault() {
        let produce = |fault| status(&RequestError::Produce(fault));
        assert_eq!(produce(ProduceFault::OutcomeUnknown), 504);
        assert_eq!(
            produce(ProduceFault::Unavailable(Unavailable::Unreachable)),
            503
        );
        assert_eq!(
            produce(ProduceFault::Unavailable(Unavailable::Deadline)),
            503
        );
        assert_eq!(
            produce(ProduceFault::Overloaded {
                queued: 1,
                queued_max: 1
            }),
            503
        );
        assert_eq!(produce(ProduceFault::TooLarge { batch_bytes_max: 1 }), 413);
        assert_eq!(
            produce(ProduceFault::Rejected(ErrorCode::INVALID_RECORD)),
            400
        );
        assert_eq!(
            produce(ProduceFault::Rejected(
                ErrorCode::TOPIC_AUTHORIZATION_FAILED
            )),
            502
        );
        assert_eq!(status(&RequestError::NoRoute), 404);
        assert_eq!(
            status(&RequestError::Missing(Missing {
                expression: "params.id".into()
            })),
            400
        );
    }

    #[test]
    fn what_may_be_tried_again_says_when() {
        let (head, _) = RequestError::Produce(ProduceFault::Unavailable(Unavailable::Unreachable))
            .problem()
            .into_response();
        assert_eq!(head.headers.get("retry-after"), Some(&b"1"[..]));
        let (head, _) = RequestError::Produce(ProduceFault::OutcomeUnknown)
            .problem()
            .into_response();
        assert_eq!(
            head.headers.get("retry-after"),
            None,
            "repeating it could store it twice"
        );
    }
}
