//! Looks through what was fetched of a reply partition for records with a correlation id. Reads headers only.

use std::sync::Arc;

use bytes::Bytes;

use super::{CorrelationId, Place, Reply, ReplyRecord, UNSERVED_HEADER};
use crate::kafka::fetcher::{BatchSink, FetchedPartition, decode_into};
use crate::kafka::record_batch::{BatchHeader, DecodeError, Records};

/// A reply that was seen.
#[derive(Clone, Debug)]
pub struct SeenReply {
    /// To which request.
    pub id: CorrelationId,
    /// What it says.
    pub reply: Reply,
    /// The record has no value: no more replies follow, where there may be many.
    pub is_closing: bool,
}

impl SeenReply {
    /// What it says, without to which request.
    pub fn record(self) -> ReplyRecord {
        ReplyRecord {
            reply: self.reply,
            is_closing: self.is_closing,
        }
    }
}

/// What came of a partition's share of a fetch response.
#[derive(Debug, Default)]
pub struct Scanned {
    /// In the order of the log.
    pub replies: Vec<SeenReply>,
    /// Batches passed over, each with its first offset and the reason.
    pub unreadable: Vec<(i64, DecodeError)>,
    /// The rest of the response is garbage: fetch again.
    pub broken: Option<DecodeError>,
}

/// How far one reply partition has been looked through.
#[derive(Debug)]
pub struct ReplyScan {
    partition: i32,
    names: Arc<[Bytes]>,
    next_offset: i64,
    /// The end of the log as first seen.
    warm_at: Option<i64>,
}

impl ReplyScan {
    /// A scan from `start_offset` on for the headers called `names`.
    pub const fn new(partition: i32, start_offset: i64, names: Arc<[Bytes]>) -> Self {
        Self {
            partition,
            names,
            next_offset: start_offset,
            warm_at: None,
        }
    }

    /// One past the last offset looked at.
    pub const fn next_offset(&self) -> i64 {
        self.next_offset
    }

    /// Whether all that was there at first has been looked at.
    pub fn is_ready(&self) -> bool {
        self.warm_at.is_some_and(|end| self.next_offset >= end)
    }

    /// Takes what was fetched.
    pub fn ingest(&mut self, fetched: &FetchedPartition) -> Scanned {
        let mut pass = Pass {
            partition: self.partition,
            names: &self.names,
            next_offset: self.next_offset,
            replies: Vec::new(),
        };
        let decoded = decode_into(&mut pass, fetched);
        self.next_offset = pass.next_offset;
        if fetched.last_stable_offset >= 0 {
            self.warm_at.get_or_insert(fetched.last_stable_offset);
        }
        Scanned {
            replies: pass.replies,
            unreadable: decoded.unreadable,
            broken: decoded.broken,
        }
    }
}

/// One response on its way through.
struct Pass<'s> {
    partition: i32,
    names: &'s [Bytes],
    next_offset: i64,
    replies: Vec<SeenReply>,
}

impl BatchSink for Pass<'_> {
    fn push_batch(&mut self, header: &BatchHeader, inflated: &Bytes) -> Result<(), DecodeError> {
        let taken = self.replies.len();
        let looked = self.look_through(header, inflated);
        if looked.is_err() {
            self.replies.truncate(taken);
        } else {
            self.skip_to(header.next_offset());
        }
        looked
    }

    fn skip_to(&mut self, next_offset: i64) {
        self.next_offset = self.next_offset.max(next_offset);
    }

    fn next_offset(&self) -> i64 {
        self.next_offset
    }
}

impl Pass<'_> {
    fn look_through(&mut self, header: &BatchHeader, inflated: &Bytes) -> Result<(), DecodeError> {
        for record in Records::new(header, inflated)? {
            let record = record?;
            let offset = header.base_offset + i64::from(record.offset_delta);
            if offset < self.next_offset {
                continue;
            }
            // One that the gateway wrote for want of an answer closes nothing for good.
            let is_closing = record.value.is_none()
                && !record.headers().any(|(name, _)| name == UNSERVED_HEADER);
            for (name, value) in record.headers() {
                let known = self.names.iter().position(|known| known == name);
                let (Some(index), Some(value)) = (known, value) else {
                    continue;
                };
                let id = CorrelationId {
                    header: u16::try_from(index).unwrap_or(u16::MAX),
                    id: inflated.slice_ref(value),
                };
                let reply = Reply {
                    place: Place {
                        partition: self.partition,
                        offset,
                    },
                    inflated: inflated.clone(),
                    position: record.span().start,
                    timestamps: header.timestamp_base(),
                };
                self.replies.push(SeenReply {
                    id,
                    reply,
                    is_closing,
                });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::UnixMillis;
    use crate::kafka::error_code::ErrorCode;
    use crate::kafka::record_batch::BatchBuilder;

    type Headers<'h> = &'h [(&'h [u8], Option<&'h [u8]>)];

    fn batch(base_offset: i64, records: &[Headers<'_>]) -> Vec<u8> {
        let mut builder = BatchBuilder::new();
        for headers in records {
            builder.append(UnixMillis(1), None, Some(b"value"), headers.iter().copied());
        }
        let mut bytes = builder.finish(-1, -1, -1).to_vec();
        bytes[..8].copy_from_slice(&base_offset.to_be_bytes());
        bytes
    }

    fn fetched(records: Vec<u8>, last_stable_offset: i64) -> FetchedPartition {
        FetchedPartition {
            key: ("replies".into(), 3),
            error: ErrorCode::NONE,
            last_stable_offset,
            log_start_offset: 0,
            aborted: Vec::new(),
            records: Bytes::from(records),
        }
    }

    fn scan(start_offset: i64) -> ReplyScan {
        let names = [Bytes::from_static(b"zilla:correlation-id")].into();
        ReplyScan::new(3, start_offset, names)
    }

    #[test]
    fn records_with_an_id_are_seen_where_they_lie_and_others_are_passed_over() {
        let mut scan = scan(0);
        let records: [Headers<'_>; 3] = [
            &[
                (b"zilla:correlation-id", Some(b"a")),
                (b":status", Some(b"200")),
            ],
            &[(b"other", Some(b"a")), (b"zilla:correlation-id", None)],
            &[(b"zilla:correlation-id", Some(b"b"))],
        ];
        let scanned = scan.ingest(&fetched(batch(7, &records), 10));
        let seen: Vec<_> = scanned
            .replies
            .iter()
            .map(|seen| (&seen.id.id[..], seen.reply.place))
            .collect();
        let at = |offset| Place {
            partition: 3,
            offset,
        };
        assert_eq!(seen, [(&b"a"[..], at(7)), (&b"b"[..], at(9))]);
        let record = scanned.replies[0].reply.record().unwrap();
        assert_eq!(record.headers().count(), 2);
        assert_eq!((scan.next_offset(), scan.is_ready()), (10, true));
    }

    #[test]
    fn what_was_looked_at_is_not_seen_twice() {
        let mut scan = scan(8);
        let records: [Headers<'_>; 2] = [
            &[(b"zilla:correlation-id", Some(b"a"))],
            &[(b"zilla:correlation-id", Some(b"b"))],
        ];
        let scanned = scan.ingest(&fetched(batch(7, &records), 12));
        assert_eq!(scanned.replies.len(), 1);
        assert_eq!(&scanned.replies[0].id.id[..], b"b");
        assert!(!scan.is_ready());
        let scanned = scan.ingest(&fetched(batch(7, &records), 12));
        assert!(scanned.replies.is_empty());
    }

    #[test]
    fn an_empty_partition_is_ready_at_once() {
        let mut scan = scan(0);
        assert!(!scan.is_ready());
        scan.ingest(&fetched(Vec::new(), 0));
        assert!(scan.is_ready());
    }
}
