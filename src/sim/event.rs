//! What can happen in a world, and what travels through its network.
//!
//! Sits between all its machines. Its one rule: whatever takes time is an event; a further machine gets a [`Purpose`] or an [`Event`] of its own.

use kafka_protocol::messages::{
    DescribeConfigsRequest, DescribeConfigsResponse, MetadataRequest, MetadataResponse,
};

use super::mishap::Repair;
use crate::kafka::error_code::ErrorCode;
use bytes::Bytes;

use crate::kafka::fetcher::FetchedPartition;
use crate::kafka::producer::{Acks, PartitionOutcome, ProduceCall};

/// A task on a core that holds a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Endpoint {
    pub(super) core: usize,
    pub(super) purpose: Purpose,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Purpose {
    Produce {
        broker: i32,
    },
    Metadata,
    /// Follows a partition.
    Follow {
        topic: &'static str,
        partition: i32,
    },
    /// Asks where the reply partitions end that a broker leads.
    Ends {
        broker: i32,
    },
    /// Reads one reply, for a request.
    Read {
        request: u64,
    },
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
    Fetch {
        topic: &'static str,
        partition: i32,
        offset: i64,
    },
    EndOffsets {
        topic: &'static str,
        partitions: Vec<i32>,
    },
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
    Fetch(FetchedPartition),
    EndOffsets(Vec<(i32, Result<i64, ErrorCode>)>),
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
    /// Something happens in a world of whole gateways.
    Gateway(GatewayEvent),
    /// The world pauses.
    Stop,
}

/// What happens to whole cores, their clients and the service.
#[derive(Clone, Debug)]
pub(super) enum GatewayEvent {
    /// A core looks into its mailbox.
    Pump { core: usize },
    /// A core tries again to send what did not fit.
    Resend { core: usize },
    /// A core opens the topics that it needs.
    Open { core: usize },
    /// A core closes exchanges that nobody has asked for in a while.
    Linger { core: usize },
    /// A request's time may be over.
    Poll { core: usize, request: u64 },
    /// A client makes its next request.
    Ask { client: usize },
    /// A client leaves without its answer.
    Vanish { request: u64 },
    /// A process ends, and another one takes its place.
    Restart,
    /// The service reads a request.
    Consume { token: u64 },
    /// The service writes a reply.
    Reply { id: Bytes },
    /// Somebody sends a request again whose reply has just come.
    Repeat { id: Bytes },
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
