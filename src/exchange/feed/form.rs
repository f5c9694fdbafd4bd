//! How a record is written for those who follow: as an event of SSE, or as a message of gRPC.
//!
//! Below [`super::channel`] and [`super::catch_up`], above the mappings that know the bytes. Rule: a record has the same bytes for all of a form, whichever way it
//! comes to them.

use crate::mapping::grpc_kafka::message::MessageForm;
use crate::mapping::progress::EncodedProgress;
use crate::mapping::sse_kafka::event::{EventForm, EventRecord, GAP};

/// How records are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Form {
    /// As events of an event stream.
    Event(EventForm),
    /// As messages of a gRPC stream.
    Message(MessageForm),
}

impl Default for Form {
    fn default() -> Self {
        Self::Event(EventForm::default())
    }
}

impl Form {
    /// Whether a record with this value can be written: of a message the value is all there is.
    pub(super) const fn can_hold(self, value: Option<&[u8]>) -> bool {
        match self {
            Self::Event(_) => true,
            Self::Message(_) => value.is_some(),
        }
    }

    /// Appends a record; `progress`: how far a client is that has it.
    pub(super) fn write(
        self,
        out: &mut Vec<u8>,
        progress: &EncodedProgress,
        record: &EventRecord<'_>,
    ) {
        match (self, record.value) {
            (Self::Event(form), _) => form.write(out, progress.text(), record),
            (Self::Message(form), Some(value)) => form.write(out, progress.binary(), value),
            (Self::Message(_), None) => {}
        }
    }

    /// Says that records are gone, where there are words for it.
    pub(super) fn write_gap(self, out: &mut Vec<u8>) {
        match self {
            Self::Event(_) => out.extend_from_slice(GAP),
            Self::Message(_) => {}
        }
    }
}
