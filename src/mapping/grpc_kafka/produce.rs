//! Calls that become records: one for each message, and one with a null value that says how the client's side of the call ended.
//!
//! Rule: names, order and hash are Zilla's, so that either's services answer the other's callers.

use std::time::Duration;

use bytes::Bytes;
use md5::{Digest, Md5};

use crate::config::{Acks, GrpcKafka};
use crate::grpc::status::{Code, Status};
use crate::kafka::producer::Record;
use crate::mapping::grpc::{Asked, Metadata};
use crate::mapping::http_kafka::Ids;
use crate::mapping::http_kafka::correlated::{id_of, own_id};

/// The record header that tells the requests of one id apart where a client chose it and may have asked more than once: own, Zilla takes them for one.
pub const CALLER_HEADER: &[u8] = b"sluice:caller";
/// What the names of record headers that hold metadata begin with.
pub const METADATA_PREFIX: &[u8] = b"meta:";
/// The record header that holds the status of a call, in the record that closes it.
pub const STATUS_HEADER: &[u8] = b"zilla:status";
/// The record header that holds the message of that status.
pub const MESSAGE_HEADER: &[u8] = b"zilla:message";

/// What a route says of its records, filled in.
#[derive(Debug)]
pub(super) struct RecordPlan<'r> {
    pub(super) cluster: usize,
    pub(super) topic: &'r str,
    pub(super) acks: Acks,
    pub(super) key: Option<Bytes>,
    pub(super) overrides: Vec<(Bytes, Bytes)>,
    pub(super) reply_to: Option<&'r str>,
}

/// A call whose messages become records.
#[derive(Clone, Debug)]
pub struct ProduceCall {
    /// Which cluster of the plan.
    pub cluster: usize,
    /// Where the records go.
    pub topic: String,
    /// When one counts as stored.
    pub acks: Acks,
    /// Ties the reply to the call.
    pub id: Bytes,
    /// Whether the id is of our own making: nobody can have used it before.
    pub is_ours: bool,
    /// Where the reply comes; `None`: the call is answered when all is stored.
    pub reply: Option<ReplyTo>,
    /// How long it may go without a message in either direction, if it has no deadline of its own.
    pub timeout: Duration,
    /// The key of all its records: they lie in one partition, in order.
    key: Bytes,
    /// The headers of all its records.
    headers: Vec<(Bytes, Option<Bytes>)>,
}

/// Where the reply to a call comes.
#[derive(Clone, Debug)]
pub struct ReplyTo {
    /// The topic.
    pub topic: String,
    /// The record header that holds the id there.
    pub header: String,
}

impl ProduceCall {
    pub(super) fn new(
        binding: &GrpcKafka,
        plan: RecordPlan<'_>,
        asked: &Asked<'_>,
        ids: Ids<'_>,
    ) -> Self {
        let names = &binding.correlation;
        let sent = asked.metadata.iter();
        let sent = sent
            .filter(|(name, _)| name == binding.idempotency_metadata.as_bytes())
            .map(|(_, value)| value)
            .find(|key| !key.is_empty());
        let hash = plan.reply_to.map(|_| hash(binding, &plan, asked));
        let id = match (sent, hash) {
            (Some(key), Some(hash)) => id_of(key, &hash),
            (None, Some(hash)) => own_id((ids.fresh_key)().as_bytes(), &hash, ids.is_own),
            // No reply is to be found by it, so as Zilla does: the key alone, which records get as theirs.
            (Some(key), None) => key.to_vec(),
            (None, None) => (ids.fresh_key)().into_bytes(),
        };
        let id = Bytes::from(id);
        let copy = |text: &str| Bytes::copy_from_slice(text.as_bytes());
        let mut headers: Vec<(Bytes, Option<Bytes>)> = plan
            .overrides
            .into_iter()
            .map(|(name, value)| (name, Some(value)))
            .collect();
        if let Some(reply_to) = plan.reply_to {
            headers.extend([
                (copy(&names.service), Some(copy(asked.service))),
                (copy(&names.method), Some(copy(asked.method))),
                (copy(&names.reply_to), Some(copy(reply_to))),
                (copy(&names.correlation_id), Some(id.clone())),
            ]);
        }
        headers.extend(meta_headers(METADATA_PREFIX, asked.metadata));
        if plan.reply_to.is_some() && sent.is_some() {
            let name = Bytes::from_static(CALLER_HEADER);
            headers.push((name, Some(Bytes::from((ids.fresh_key)()))));
        }
        Self {
            cluster: plan.cluster,
            topic: plan.topic.to_owned(),
            acks: plan.acks,
            is_ours: sent.is_none(),
            reply: plan.reply_to.map(|topic| ReplyTo {
                topic: topic.to_owned(),
                header: names.correlation_id.clone(),
            }),
            timeout: binding.timeout,
            key: plan.key.unwrap_or_else(|| id.clone()),
            id,
            headers,
        }
    }

    /// The record of a message.
    pub fn message(&self, message: Bytes) -> Record {
        Record {
            key: Some(self.key.clone()),
            value: Some(message),
            headers: self.headers.clone(),
        }
    }

    /// The record that says that the client has sent all.
    pub fn half_close(&self) -> Record {
        Record {
            key: Some(self.key.clone()),
            value: None,
            headers: self.headers.clone(),
        }
    }

    /// The record that says that the client has gone. Zilla writes the same as when it has sent all, and its services cannot tell; ours find the status in it.
    pub fn cancelled(&self) -> Record {
        let mut record = self.half_close();
        push_status(
            &mut record.headers,
            &Status::new(Code::CANCELLED, "the client has gone"),
        );
        record
    }
}

/// Record headers that hold metadata.
pub fn meta_headers<'m>(
    prefix: &'static [u8],
    metadata: &'m Metadata,
) -> impl Iterator<Item = (Bytes, Option<Bytes>)> + 'm {
    metadata.iter().map(move |(name, value)| {
        let name = [prefix, name].concat();
        (Bytes::from(name), Some(value.clone()))
    })
}

/// The record headers of a status.
pub fn push_status(headers: &mut Vec<(Bytes, Option<Bytes>)>, status: &Status) {
    headers.push((
        Bytes::from_static(STATUS_HEADER),
        Some(Bytes::from(status.code.to_wire())),
    ));
    if !status.message.is_empty() {
        headers.push((
            Bytes::from_static(MESSAGE_HEADER),
            Some(Bytes::from(status.message.clone())),
        ));
    }
}

/// What the id of a call holds besides the key: hexadecimal digits. Neither its messages nor its key are in it.
fn hash(binding: &GrpcKafka, plan: &RecordPlan<'_>, asked: &Asked<'_>) -> String {
    use std::fmt::Write as _;
    let names = &binding.correlation;
    let mut md5 = Md5::new();
    md5.update(names.service.as_bytes());
    md5.update(asked.service.as_bytes());
    md5.update(names.method.as_bytes());
    md5.update(asked.method.as_bytes());
    md5.update(names.reply_to.as_bytes());
    md5.update(plan.reply_to.unwrap_or_default().as_bytes());
    for (_, value) in &plan.overrides {
        md5.update(value);
    }
    let mut text = String::with_capacity(32);
    for byte in md5.finalize() {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}
