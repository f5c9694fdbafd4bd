//! Input that has to wait: the beginning of a head, or requests behind a full pipeline.
//!
//! Its one rule: empty, it holds next to nothing, so that ten thousand idle connections are cheap.

use super::answers::IDLE_BYTES_MAX;

/// Bytes that were received and not yet read as requests.
#[derive(Debug, Default)]
pub(super) struct Input {
    bytes: Vec<u8>,
    start: usize,
}

impl Input {
    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(super) fn extend(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    pub(super) fn as_slice(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    /// Drops the first `count` bytes; moves the rest only when that pays.
    pub(super) fn consume(&mut self, count: usize) {
        self.start += count;
        if self.start >= self.bytes.len() {
            self.start = 0;
            self.bytes.clear();
            if self.bytes.capacity() > IDLE_BYTES_MAX {
                self.bytes = Vec::new();
            }
        } else if self.start > self.bytes.len() / 2 {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
    }

    /// The memory held in bytes.
    pub(super) fn bytes_held(&self) -> usize {
        self.bytes.capacity()
    }
}
