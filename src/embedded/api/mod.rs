//! The APIs that the broker serves: which versions, how a request finds its handler, how an answer becomes a frame.
//! Sits between a connection and the handlers, one file per group of APIs.
//!
//! One rule: a request is checked against [`shape`] before anything is decoded, so that no bytes can make it allocate
//! more than a bounded multiple of themselves.

mod admin;
mod cluster;
mod fetch;
mod groups;
mod offsets;
mod produce;
mod shape;

use super::error::ErrorCode;
use super::log::Disk;
use super::state::State;
use super::sync::Signal;
use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::{ApiKey, RequestHeader, ResponseHeader};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, StrBytes};
use std::fmt;
use std::sync::Arc;

/// The versions served, first to last; clients negotiate within them by `ApiVersions`.
pub(super) const VERSIONS: &[(ApiKey, i16, i16)] = &[
    (ApiKey::Produce, 3, 11),
    (ApiKey::Fetch, 4, 16),
    (ApiKey::ListOffsets, 1, 8),
    (ApiKey::Metadata, 0, 12),
    (ApiKey::OffsetCommit, 2, 8),
    (ApiKey::OffsetFetch, 1, 8),
    (ApiKey::FindCoordinator, 0, 4),
    (ApiKey::JoinGroup, 0, 9),
    (ApiKey::Heartbeat, 0, 4),
    (ApiKey::LeaveGroup, 0, 5),
    (ApiKey::SyncGroup, 0, 5),
    (ApiKey::ApiVersions, 0, 3),
    (ApiKey::CreateTopics, 2, 7),
    (ApiKey::DeleteTopics, 1, 6),
    (ApiKey::InitProducerId, 0, 4),
    (ApiKey::DescribeConfigs, 1, 4),
    (ApiKey::DescribeCluster, 0, 1),
];

/// What a handler may know besides the request itself.
pub(super) struct Context<'a> {
    pub(super) state: &'a State,
    /// The wake-up of the connection's thread.
    pub(super) signal: &'a Arc<Signal>,
    pub(super) version: i16,
    pub(super) client_id: String,
    /// A fault wants this code answered, and nothing done.
    pub(super) forced: Option<ErrorCode>,
    pub(super) disk: Disk,
}

impl Context<'_> {
    /// `Err` when a fault wants the request refused.
    fn allowed(&self) -> Result<(), ErrorCode> {
        self.forced.map_or(Ok(()), Err)
    }
}

/// What a fault does to the execution of a request.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tampering {
    pub(super) forced: Option<ErrorCode>,
    pub(super) disk: Disk,
}

/// What goes back to the client.
#[derive(Debug)]
pub(super) enum Reply {
    /// A whole frame, with its length prefix.
    Frame(BytesMut),
    /// The client asked for none (Produce with acks 0).
    Nothing,
    /// The connection is to be closed, as Kafka does when a produce without acks fails.
    Close,
}

/// Why a request ends its connection.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum RequestFault {
    /// Too short for the fields that every request begins with.
    Short,
    UnknownApi {
        api_key: i16,
        version: i16,
    },
    /// The bytes are not a request of this API.
    Malformed {
        api: ApiKey,
        version: i16,
    },
    /// A handler filled a field that the version lacks: our mistake.
    Unencodable {
        version: i16,
    },
}

impl fmt::Display for RequestFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short => f.write_str("request is shorter than its header"),
            Self::UnknownApi { api_key, version } => {
                write!(f, "api {api_key} version {version} is not served")
            }
            Self::Malformed { api, version } => {
                write!(f, "malformed {api:?} request, version {version}")
            }
            Self::Unencodable { version } => write!(f, "answer does not fit version {version}"),
        }
    }
}

impl std::error::Error for RequestFault {}

/// The first fields of a request; the same in every version.
#[derive(Clone, Copy, Debug)]
pub(super) struct Start {
    pub(super) api_key: i16,
    pub(super) version: i16,
    pub(super) correlation_id: i32,
}

impl Start {
    /// # Errors
    /// [`RequestFault::Short`].
    pub(super) fn read(frame: &[u8]) -> Result<Self, RequestFault> {
        let [k0, k1, v0, v1, c0, c1, c2, c3, ..] = *frame else {
            return Err(RequestFault::Short);
        };
        Ok(Self {
            api_key: i16::from_be_bytes([k0, k1]),
            version: i16::from_be_bytes([v0, v1]),
            correlation_id: i32::from_be_bytes([c0, c1, c2, c3]),
        })
    }
}

/// Executes one request.
///
/// # Errors
/// Why the connection has to be closed.
pub(super) fn execute(
    state: &State,
    signal: &Arc<Signal>,
    start: Start,
    frame: Bytes,
    tampering: Tampering,
) -> Result<Reply, RequestFault> {
    let Some(api) = served(start) else {
        return refuse(start);
    };
    let malformed = || RequestFault::Malformed {
        api,
        version: start.version,
    };
    let header_version = api.request_header_version(start.version);
    if !shape::is_well_formed(api, start.version, header_version, &frame) {
        return Err(malformed());
    }
    let mut body = frame;
    let header = RequestHeader::decode(&mut body, header_version).map_err(|_| malformed())?;
    let context = Context {
        state,
        signal,
        version: start.version,
        client_id: header
            .client_id
            .map(|id| id.to_string())
            .unwrap_or_default(),
        forced: tampering.forced,
        disk: tampering.disk,
    };
    dispatch(
        &Call {
            api,
            start,
            context,
        },
        &mut body,
    )
}

fn served(start: Start) -> Option<ApiKey> {
    let has_key = |api: ApiKey| api as i16 == start.api_key;
    let row = VERSIONS.iter().find(|(api, ..)| has_key(*api))?;
    (row.1..=row.2).contains(&start.version).then_some(row.0)
}

/// A client that tries a newer `ApiVersions` is told the versions in the oldest form (KIP-511); any other unknown
/// request ends the connection, as its answer could not be read.
fn refuse(start: Start) -> Result<Reply, RequestFault> {
    if start.api_key != ApiKey::ApiVersions as i16 {
        return Err(RequestFault::UnknownApi {
            api_key: start.api_key,
            version: start.version,
        });
    }
    let answer = cluster::versions(ErrorCode::UNSUPPORTED_VERSION);
    encode(start.correlation_id, &answer, 0).map(Reply::Frame)
}

struct Call<'a> {
    api: ApiKey,
    start: Start,
    context: Context<'a>,
}

fn dispatch(call: &Call<'_>, body: &mut Bytes) -> Result<Reply, RequestFault> {
    match call.api {
        ApiKey::Produce => call.produce(body),
        ApiKey::Fetch => call.answer(body, fetch::fetch),
        ApiKey::ListOffsets => call.answer(body, offsets::list_offsets),
        ApiKey::Metadata => call.answer(body, cluster::metadata),
        ApiKey::ApiVersions => call.answer(body, cluster::api_versions),
        ApiKey::DescribeCluster => call.answer(body, cluster::describe_cluster),
        ApiKey::FindCoordinator => call.answer(body, cluster::find_coordinator),
        ApiKey::InitProducerId => call.answer(body, produce::init_producer_id),
        ApiKey::CreateTopics => call.answer(body, admin::create_topics),
        ApiKey::DeleteTopics => call.answer(body, admin::delete_topics),
        ApiKey::DescribeConfigs => call.answer(body, admin::describe_configs),
        ApiKey::JoinGroup => call.answer(body, groups::join),
        ApiKey::SyncGroup => call.answer(body, groups::sync),
        ApiKey::Heartbeat => call.answer(body, groups::heartbeat),
        ApiKey::LeaveGroup => call.answer(body, groups::leave),
        ApiKey::OffsetCommit => call.answer(body, groups::commit),
        ApiKey::OffsetFetch => call.answer(body, groups::fetch_offsets),
        _ => Err(RequestFault::UnknownApi {
            api_key: call.start.api_key,
            version: call.start.version,
        }),
    }
}

impl Call<'_> {
    fn decode<Request: Decodable>(&self, body: &mut Bytes) -> Result<Request, RequestFault> {
        let version = self.start.version;
        Request::decode(body, version).map_err(|_| RequestFault::Malformed {
            api: self.api,
            version,
        })
    }

    fn answer<Request, Response>(
        &self,
        body: &mut Bytes,
        handler: fn(&Context<'_>, &Request) -> Response,
    ) -> Result<Reply, RequestFault>
    where
        Request: Decodable,
        Response: Encodable + HeaderVersion,
    {
        let response = handler(&self.context, &self.decode(body)?);
        encode(self.start.correlation_id, &response, self.start.version).map(Reply::Frame)
    }

    fn produce(&self, body: &mut Bytes) -> Result<Reply, RequestFault> {
        let produced = produce::produce(&self.context, &self.decode(body)?);
        match produced {
            produce::Produced::Answer(response) => {
                encode(self.start.correlation_id, &response, self.start.version).map(Reply::Frame)
            }
            produce::Produced::Silent => Ok(Reply::Nothing),
            produce::Produced::SilentFailure => Ok(Reply::Close),
        }
    }
}

fn encode<Response>(
    correlation_id: i32,
    response: &Response,
    version: i16,
) -> Result<BytesMut, RequestFault>
where
    Response: Encodable + HeaderVersion,
{
    const LENGTH_BYTES: usize = 4;
    let unencodable = RequestFault::Unencodable { version };
    let mut frame = BytesMut::zeroed(LENGTH_BYTES);
    let header = ResponseHeader::default().with_correlation_id(correlation_id);
    let header_version = Response::header_version(version);
    let encoded = header
        .encode(&mut frame, header_version)
        .and_then(|()| response.encode(&mut frame, version));
    let length = u32::try_from(frame.len() - LENGTH_BYTES);
    let (Ok(()), Ok(length)) = (encoded, length) else {
        return Err(unencodable);
    };
    frame[..LENGTH_BYTES].copy_from_slice(&length.to_be_bytes());
    Ok(frame)
}

/// A protocol string of our own text.
fn text(text: impl Into<String>) -> StrBytes {
    StrBytes::from_string(text.into())
}

/// The code of a result, 0 for success.
fn code<T>(result: &Result<T, ErrorCode>) -> i16 {
    result.as_ref().err().copied().unwrap_or(ErrorCode::NONE).0
}
