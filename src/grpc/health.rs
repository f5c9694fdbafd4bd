//! `grpc.health.v1.Health`: whether a service can be called at the moment.
//!
//! The messages of a service that the gateway offers itself; who knows the answer is the caller. Its one rule: the empty name is the gateway as a whole.

use prost::Message;

use super::status::{Code, Status};

/// The service, as in a path.
pub const SERVICE: &str = "grpc.health.v1.Health";

/// How a service does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ServingStatus {
    /// Nobody knows yet.
    Unknown,
    /// It can be called.
    Serving,
    /// It cannot.
    NotServing,
    /// There is no such service. Only said by `Watch`; `Check` ends with `NOT_FOUND`.
    ServiceUnknown,
}

impl ServingStatus {
    const fn number(self) -> i32 {
        match self {
            Self::Unknown => 0,
            Self::Serving => 1,
            Self::NotServing => 2,
            Self::ServiceUnknown => 3,
        }
    }
}

#[derive(Message)]
struct HealthCheckRequest {
    #[prost(string, tag = "1")]
    service: String,
}

#[derive(Message)]
struct HealthCheckResponse {
    #[prost(int32, tag = "1")]
    status: i32,
}

/// The service that `Check` or `Watch` asks for.
///
/// # Errors
///
/// The message is no `HealthCheckRequest`.
pub fn decode_check(request: &[u8]) -> Result<String, Status> {
    HealthCheckRequest::decode(request)
        .map(|request| request.service)
        .map_err(|error| Status::new(Code::INVALID_ARGUMENT, error.to_string()))
}

/// A `HealthCheckResponse`.
pub fn encode_response(status: ServingStatus) -> Vec<u8> {
    let status = status.number();
    HealthCheckResponse { status }.encode_to_vec()
}

/// What `Check` ends with when there is no such service.
pub fn unknown_service() -> Status {
    Status::new(Code::NOT_FOUND, "unknown service")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_is_found_or_is_empty() {
        assert_eq!(decode_check(b""), Ok(String::new()));
        assert_eq!(decode_check(b"\n\x03a.B"), Ok("a.B".to_owned()));
        assert_eq!(decode_check(b"\x10\x01\n\x03a.B"), Ok("a.B".to_owned()));
        for broken in [&b"\n"[..], b"\n\x05a", b"\n\x01\xff", b"\xff"] {
            let status = decode_check(broken).unwrap_err();
            assert_eq!(status.code, Code::INVALID_ARGUMENT);
        }
    }

    #[test]
    fn an_answer_is_one_number() {
        assert_eq!(encode_response(ServingStatus::Unknown), b"");
        assert_eq!(encode_response(ServingStatus::Serving), b"\x08\x01");
        assert_eq!(encode_response(ServingStatus::NotServing), b"\x08\x02");
        assert_eq!(encode_response(ServingStatus::ServiceUnknown), b"\x08\x03");
    }
}
