//! Every bound of one HTTP/1.1 connection, with what happens at it.

use std::time::Duration;

/// The bounds of a connection; shared by all connections of a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a request head, request line and final empty line included. Beyond: 414 in the request line, 431 after it.
    pub head_bytes_max: usize,
    /// Header fields of a request, 128 at most. Beyond: 431.
    pub headers_max: usize,
    /// Bytes of a request body without its framing. Beyond: 413.
    pub body_bytes_max: u64,
    /// Requests read and not yet answered in full. At it: no more is read from the client.
    pub pipeline_max: usize,
    /// Answer bytes waiting for the client, over which no more is read and a shell should not produce more.
    pub output_bytes_max: usize,
    /// From the first byte of a head to its last. Beyond: 408.
    pub header_timeout: Duration,
    /// Without an exchange, before the first and between two. Beyond: closed without a word.
    pub idle_timeout: Duration,
    /// Without a byte of a body that is awaited. Beyond: 408.
    pub body_timeout: Duration,
    /// Bytes a second that a body must bring on average after its first `body_timeout`; 0: any pace will do. Below: 408.
    pub body_rate_min: u64,
    /// Without the client taking a byte of the answers that wait for it. Beyond: cut off.
    pub write_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head_bytes_max: 32 * 1024,
            headers_max: 128,
            // What a Kafka broker takes as a message by default (`message.max.bytes`), less room for the record's own fields.
            body_bytes_max: 1_000_000,
            pipeline_max: 32,
            output_bytes_max: 256 * 1024,
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(75),
            body_timeout: Duration::from_secs(30),
            body_rate_min: 240,
            write_timeout: Duration::from_secs(30),
        }
    }
}
