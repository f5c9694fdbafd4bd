//! HTTP/2 (RFC 9113) as far as it is not the `h2` crate's: heads as the rest of the gateway has them, and what a client may send without getting anything done.

pub mod flood;
pub mod head;

/// What a client sends first (RFC 9113 3.4).
pub const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
