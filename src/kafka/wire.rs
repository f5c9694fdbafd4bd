//! Kafka's request and response envelopes: size, header, body, in one buffer. Sans-IO.
//!
//! Bodies are encoded by `kafka-protocol`; record batches are opaque bytes here. Rule: one request is one contiguous write.

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::api_versions_response::ApiVersionsResponse;
use kafka_protocol::messages::{ApiKey, RequestHeader, ResponseHeader};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};

/// A frame larger than this is not a Kafka response (the largest we ask for is 16 MiB of records).
pub const FRAME_BYTES_MAX: usize = 128 << 20;
/// What brokers see as `client.id`.
const CLIENT_ID: &str = "sluice";

/// What was wrong with bytes from a broker, or with a request of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WireFault {
    /// The frame's length is negative, or above [`FRAME_BYTES_MAX`].
    FrameLength(i64),
    /// The body does not decode.
    Malformed(String),
    /// The answer is to another request than the one in flight.
    CorrelationId {
        /// The id of the request in flight.
        expected: i32,
        /// The id that came.
        found: i32,
    },
    /// The broker does not speak a version of this API that we do.
    Unsupported {
        /// The API's key.
        api_key: i16,
        /// What the broker offers.
        broker: Option<(i16, i16)>,
    },
}

impl fmt::Display for WireFault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FrameLength(length) => write!(
                formatter,
                "a frame of {length} bytes is not a Kafka response"
            ),
            Self::Malformed(reason) => {
                write!(formatter, "the broker's answer does not decode: {reason}")
            }
            Self::CorrelationId { expected, found } => write!(
                formatter,
                "the broker answered request {found} while {expected} was asked"
            ),
            Self::Unsupported {
                api_key,
                broker: None,
            } => write!(formatter, "the broker does not offer API {api_key}"),
            Self::Unsupported {
                api_key,
                broker: Some((low, high)),
            } => {
                write!(
                    formatter,
                    "the broker offers API {api_key} in versions {low} to {high} only"
                )
            }
        }
    }
}

impl std::error::Error for WireFault {}

/// The versions that we speak of each API, oldest and newest. The newest are those that name topics rather than number them.
const SPOKEN: &[(ApiKey, i16, i16)] = &[
    (ApiKey::Produce, 3, 11),
    (ApiKey::Fetch, 7, 12),
    (ApiKey::ListOffsets, 2, 7),
    (ApiKey::Metadata, 5, 12),
    (ApiKey::InitProducerId, 0, 4),
    (ApiKey::DescribeConfigs, 1, 4),
    (ApiKey::CreateTopics, 2, 7),
    // Those of a group, each up to the newest that asks for one group at a time and names topics.
    (ApiKey::FindCoordinator, 0, 3),
    (ApiKey::JoinGroup, 1, 9),
    (ApiKey::SyncGroup, 0, 5),
    (ApiKey::Heartbeat, 0, 4),
    (ApiKey::LeaveGroup, 3, 5),
    (ApiKey::OffsetCommit, 2, 8),
    (ApiKey::OffsetFetch, 2, 7),
];

/// Which version of each API to use with one broker.
#[derive(Clone, Debug, Default)]
pub struct ApiVersions {
    offered: Vec<(i16, i16, i16)>,
}

impl ApiVersions {
    /// What the broker says it offers.
    pub fn new(response: &ApiVersionsResponse) -> Self {
        Self {
            offered: response
                .api_keys
                .iter()
                .map(|api| (api.api_key, api.min_version, api.max_version))
                .collect(),
        }
    }

    /// The newest version of request `R` that both sides speak.
    ///
    /// # Errors
    ///
    /// [`WireFault::Unsupported`] when there is none.
    pub fn version_of<R: Request>(&self) -> Result<i16, WireFault> {
        let broker = self
            .offered
            .iter()
            .find(|offer| offer.0 == R::KEY)
            .map(|offer| (offer.1, offer.2));
        let ours = SPOKEN
            .iter()
            .find(|spoken| spoken.0 as i16 == R::KEY)
            .map(|spoken| (spoken.1, spoken.2));
        let fault = WireFault::Unsupported {
            api_key: R::KEY,
            broker,
        };
        let (Some((low, high)), Some((our_low, our_high))) = (broker, ours) else {
            return Err(fault);
        };
        let version = high.min(our_high);
        if version < low.max(our_low) {
            Err(fault)
        } else {
            Ok(version)
        }
    }
}

/// Appends `request` with size and header to `out`.
///
/// # Errors
///
/// [`WireFault::Malformed`] when a field cannot be said in this version.
pub fn encode_request<R: Request>(
    out: &mut BytesMut,
    correlation_id: i32,
    version: i16,
    request: &R,
) -> Result<(), WireFault> {
    let start = out.len();
    out.put_i32(0);
    let header = RequestHeader::default()
        .with_request_api_key(R::KEY)
        .with_request_api_version(version)
        .with_correlation_id(correlation_id)
        .with_client_id(Some(StrBytes::from_static_str(CLIENT_ID)));
    header
        .encode(out, R::header_version(version))
        .map_err(malformed)?;
    request.encode(out, version).map_err(malformed)?;
    let length = i32::try_from(out.len() - start - 4).map_err(malformed)?;
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
    Ok(())
}

/// The length of the frame that `bytes` start with, without its own four; `None` = need more.
///
/// # Errors
///
/// [`WireFault::FrameLength`].
pub fn frame_length(bytes: &[u8]) -> Result<Option<usize>, WireFault> {
    let Some(prefix) = bytes.first_chunk::<4>() else {
        return Ok(None);
    };
    let length = i32::from_be_bytes(*prefix);
    match usize::try_from(length) {
        Ok(length) if (4..=FRAME_BYTES_MAX).contains(&length) => Ok(Some(length)),
        _ => Err(WireFault::FrameLength(length.into())),
    }
}

/// Decodes the frame (without its length) that answers request `correlation_id`.
///
/// # Errors
///
/// [`WireFault::CorrelationId`] or [`WireFault::Malformed`]; the connection is of no use afterwards.
pub fn decode_response<R: Request>(
    frame: Bytes,
    correlation_id: i32,
    version: i16,
) -> Result<R::Response, WireFault> {
    let mut frame = frame;
    let header = ResponseHeader::decode(&mut frame, R::Response::header_version(version))
        .map_err(malformed)?;
    if header.correlation_id != correlation_id {
        return Err(WireFault::CorrelationId {
            expected: correlation_id,
            found: header.correlation_id,
        });
    }
    R::Response::decode(&mut frame, version).map_err(malformed)
}

fn malformed(reason: impl fmt::Display) -> WireFault {
    WireFault::Malformed(reason.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use kafka_protocol::messages::api_versions_response::ApiVersion;
    use kafka_protocol::messages::{MetadataRequest, ProduceRequest, produce_request};

    fn offering(api_key: i16, low: i16, high: i16) -> ApiVersions {
        let api = ApiVersion::default()
            .with_api_key(api_key)
            .with_min_version(low)
            .with_max_version(high);
        ApiVersions::new(&ApiVersionsResponse::default().with_api_keys(vec![api]))
    }

    #[test]
    fn the_newest_common_version_is_used_and_a_missing_one_is_named() {
        assert_eq!(offering(3, 0, 13).version_of::<MetadataRequest>(), Ok(12));
        assert_eq!(offering(3, 0, 6).version_of::<MetadataRequest>(), Ok(6));
        assert_eq!(
            offering(3, 13, 14).version_of::<MetadataRequest>(),
            Err(WireFault::Unsupported {
                api_key: 3,
                broker: Some((13, 14))
            })
        );
        assert_eq!(
            offering(3, 0, 13).version_of::<ProduceRequest>(),
            Err(WireFault::Unsupported {
                api_key: 0,
                broker: None
            })
        );
    }

    #[test]
    fn every_version_of_the_produce_request_that_we_speak_encodes() {
        let partition = produce_request::PartitionProduceData::default()
            .with_records(Some(Bytes::from_static(b"batch")));
        let topic = produce_request::TopicProduceData::default()
            .with_name(StrBytes::from_static_str("items").into())
            .with_partition_data(vec![partition]);
        let request = ProduceRequest::default()
            .with_acks(-1)
            .with_topic_data(vec![topic]);
        for version in 3..=11 {
            let mut out = BytesMut::new();
            encode_request(&mut out, 7, version, &request).unwrap();
            assert_eq!(frame_length(&out), Ok(Some(out.len() - 4)));
        }
    }

    #[test]
    fn nonsense_lengths_are_faults_and_short_ones_wait() {
        assert_eq!(frame_length(&[0, 0, 1]), Ok(None));
        assert_eq!(frame_length(&[0xff; 4]), Err(WireFault::FrameLength(-1)));
        assert!(frame_length(b"HTTP/1.1").is_err());
        assert!(decode_response::<MetadataRequest>(Bytes::from_static(&[0; 9]), 1, 12).is_err());
    }
}
