//! Faults on demand: what a test may make the embedded broker do with one request.
//!
//! One rule: the hook decides by what the request is, never by what the broker knows.

use super::error::ErrorCode;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// What the broker does with one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Serves it.
    None,
    /// Closes the connection without executing it.
    Disconnect,
    /// Executes and answers it, this much later. Later requests of the connection wait behind it.
    Delay(Duration),
    /// Neither executes nor answers it, nor anything that follows; the connection stays open until the client closes it.
    Silence,
    /// Executes it and closes the connection instead of answering: stored, but the client cannot know.
    ApplyThenDisconnect,
    /// Executes it, writes only this many bytes of the answer (the length prefix included), and closes the connection.
    TruncateAnswer(usize),
    /// Answers this code without executing: per partition or topic in Produce, Fetch, `ListOffsets`, Metadata,
    /// `CreateTopics`, `DeleteTopics` and `OffsetCommit`; for the whole request in the other APIs and, for the fetch
    /// session codes 70, 71 and 106, in Fetch. `ApiVersions`, `DescribeConfigs` and `DescribeCluster` ignore it.
    Answer(ErrorCode),
    /// Executes it, but every write to a log file fails half way, as on a full disk. Produce only; without a data
    /// directory it does nothing.
    DiskFull,
}

/// What a [`FaultHook`] may decide by.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    /// The API's number: 0 Produce, 1 Fetch, 3 Metadata and so on.
    pub api_key: i16,
    /// The version that the client chose.
    pub api_version: i16,
    /// The request's place among those of this API since the broker started, from 0.
    pub nth: u64,
    /// The connection's number since the broker started, from 0.
    pub connection: u64,
    /// The request's place among those of its connection, from 0.
    pub nth_on_connection: u64,
    /// The client's address.
    pub peer: SocketAddr,
}

/// Asked for every request before it is executed, on the connection's own thread.
#[derive(Clone)]
pub struct FaultHook(Arc<Decide>);

type Decide = dyn Fn(&Request) -> Fault + Send + Sync;

impl FaultHook {
    /// Makes a hook of a closure.
    pub fn new(decide: impl Fn(&Request) -> Fault + Send + Sync + 'static) -> Self {
        Self(Arc::new(decide))
    }

    /// A hook that does `fault` to the `nth` (from 0) request of the API `api_key`, once.
    pub fn once(api_key: i16, nth: u64, fault: Fault) -> Self {
        Self::new(move |request| {
            if request.api_key == api_key && request.nth == nth {
                fault
            } else {
                Fault::None
            }
        })
    }

    pub(super) fn decide(&self, request: &Request) -> Fault {
        (self.0)(request)
    }
}

impl fmt::Debug for FaultHook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FaultHook")
    }
}
