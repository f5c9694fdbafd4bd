//! What can happen in a world, and what travels through its network.
//!
//! Sits between all its machines. Its one rule: whatever takes time is an event; a further machine gets a [`Purpose`] or an [`Event`] of its own.

use kafka_protocol::messages::{
    DescribeConfigsRequest, DescribeConfigsResponse, MetadataRequest, MetadataResponse,
};

use super::mishap::Repair;
use crate::kafka::error_code::ErrorCode;
use crate::kafka::producer::{Acks, PartitionOutcome, ProduceCall};

/// A task on a core that holds a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Endpoint {
    pub(super) core: usize,
    pub(super) purpose: Purpose,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Purpose {
    Produce { broker: i32 },
    Metadata,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ConnectionId(pub(super) u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct CallId(pub(super) u64);

#[derive(Clone, Debug)]
pub(super) enum Request {
    Produce(ProduceCall),
    InitProducerId,
    Metadata(MetadataRequest),
    DescribeConfigs(DescribeConfigsRequest),
}

impl Request {
    pub(super) const fn has_answer(&self) -> bool {
        !matches!(
            self,
            Self::Produce(ProduceCall {
                acks: Acks::None,
                ..
            })
        )
    }
}

#[derive(Clone, Debug)]
pub(super) enum Response {
    Produce(Vec<PartitionOutcome>),
    InitProducerId(Result<(i64, i16), ErrorCode>),
    Metadata(MetadataResponse),
    DescribeConfigs(DescribeConfigsResponse),
}

/// Whatever happens at an instant.
#[derive(Debug)]
pub(super) enum Event {
    /// A request reaches a broker.
    Arrival(Arrival),
    /// Something happens to a connection, or a task of a core has waited long enough.
    Endpoint(Endpoint, EndpointEvent),
    /// A core looks at the deadlines of its records.
    Tick { core: usize },
    /// A writer has something to write.
    Write { writer: usize },
    /// Something goes wrong.
    Mishap,
    /// And is mended.
    Repair(Repair),
    /// The world pauses.
    Stop,
}

#[derive(Debug)]
pub(super) enum EndpointEvent {
    Wake,
    Connected(Option<ConnectionId>),
    /// A request without an answer has left.
    Written(CallId),
    Answered(CallId, Response),
    /// The connection broke, or no answer came in time.
    Lost(CallId),
}

/// A request on its way to a broker, and the way back.
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) broker: i32,
    pub(super) request: Request,
    pub(super) from: Endpoint,
    pub(super) connection: ConnectionId,
    pub(super) call: CallId,
    /// The process it was sent to: one that was restarted knows nothing of old connections.
    pub(super) incarnation: u64,
    pub(super) is_answer_lost: bool,
}
