//! What a record of a reply topic says to a call: a message, or how the call ended.

use bytes::Bytes;

use super::produce::{MESSAGE_HEADER, METADATA_PREFIX, STATUS_HEADER};
use crate::grpc::metadata::may_send;
use crate::grpc::status::{Code, Status};
use crate::kafka::correlation::{Reply, UNSERVED_HEADER};
use crate::mapping::grpc::Metadata;

/// The record header that tells the runs of a request apart, where it was run more than once: own, Zilla knows nothing of runs.
pub const ATTEMPT_HEADER: &[u8] = b"sluice:attempt";
/// What the names of record headers begin with that hold trailing metadata: own, Zilla does not pass it on.
pub const TRAILER_PREFIX: &[u8] = b"trailer:";

/// Which run of a request a reply is of; `None`: the service does not say.
pub type Attempt = Option<Bytes>;

/// What a reply record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplyPart {
    /// The run that it is of.
    pub attempt: Attempt,
    /// Metadata, if it is the first of its run.
    pub metadata: Metadata,
    /// What it adds.
    pub body: ReplyBody,
}

/// What a reply record adds to a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplyBody {
    /// A message.
    Message(Bytes),
    /// The end.
    End {
        /// How it ended.
        status: Status,
        /// Trailing metadata.
        trailers: Metadata,
        /// Whether the service has said so; else the call can be made again.
        is_served: bool,
    },
}

impl ReplyPart {
    /// Reads a reply record. What cannot be metadata of a call is left out.
    pub fn of(reply: &Reply) -> Option<Self> {
        let record = reply.record()?;
        let mut attempt = None;
        let mut metadata = Metadata::new();
        let mut trailers = Metadata::new();
        let mut status = Status::ok();
        let mut is_served = true;
        for (name, value) in record.headers() {
            let value = value.unwrap_or_default();
            if let Some(name) = name.strip_prefix(METADATA_PREFIX) {
                push(&mut metadata, name, value);
            } else if let Some(name) = name.strip_prefix(TRAILER_PREFIX) {
                push(&mut trailers, name, value);
            } else if name == ATTEMPT_HEADER {
                attempt = Some(Bytes::copy_from_slice(value));
            } else if name == UNSERVED_HEADER {
                is_served = false;
            } else if name == STATUS_HEADER {
                status.code = Code::from_wire(value);
            } else if name == MESSAGE_HEADER {
                status.message = String::from_utf8_lossy(value).into_owned();
            }
        }
        let body = match reply.value() {
            Some(message) => ReplyBody::Message(message),
            None => ReplyBody::End {
                status,
                trailers,
                is_served,
            },
        };
        Some(Self {
            attempt,
            metadata,
            body,
        })
    }
}

fn push(metadata: &mut Metadata, name: &[u8], value: &[u8]) {
    if may_send(name, value) {
        metadata.push((Bytes::copy_from_slice(name), Bytes::copy_from_slice(value)));
    }
}
