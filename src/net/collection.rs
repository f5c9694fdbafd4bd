//! A collection on its way to a client: walks over all partitions, one after the other, as fast as the client takes it.

use std::rc::Rc;

use bytes::Bytes;

use crate::http::ResponseHead;
use crate::kafka::cache::{WalkEnd, WalkId, WalkRefused, WalkStep};
use crate::kafka::topics::{TopicReader, Topics};
use crate::mapping::http_kafka::fetch::{CachedTopic, FetchRequest, JsonArray};

/// Records looked at in one go, so that a selective filter over a long topic does not keep the core.
const RECORDS_PER_POLL_MAX: usize = 4096;
/// Bytes of one piece.
const PIECE_BYTES: usize = 64 << 10;

/// Why a collection cannot be begun.
pub(super) enum Refused {
    /// A partition has not been read to its end.
    Warming,
    /// Part of it is not cached.
    NotCached,
    /// Too many are open.
    TooMany,
}

/// What comes next.
pub(super) enum CollectionStep {
    /// Nothing now.
    Pending,
    /// A piece of the body.
    Data(Bytes),
    /// The last piece.
    Finish(Bytes),
    /// It cannot be completed.
    Lost,
}

/// A collection that is being written.
pub(super) struct Collection {
    topics: Topics,
    reader: Rc<TopicReader>,
    request: FetchRequest,
    /// The walks not yet ended, the next one last.
    walks: Vec<(usize, WalkId)>,
    json: JsonArray,
}

impl Drop for Collection {
    fn drop(&mut self) {
        for (partition, walk) in &self.walks {
            self.topics.close_walk(&self.reader, *partition, *walk);
        }
    }
}

impl Collection {
    /// Opens the walks, all at the same moment, and makes the head; no collection when the client has it already.
    pub(super) fn open(
        topics: &Topics,
        reader: &Rc<TopicReader>,
        request: &FetchRequest,
        view: &impl CachedTopic,
    ) -> Result<(ResponseHead, Option<Self>), Refused> {
        let mut collection = Self {
            topics: topics.clone(),
            reader: reader.clone(),
            request: request.clone(),
            walks: Vec::new(),
            json: JsonArray::default(),
        };
        for partition in (0..reader.partition_count()).rev() {
            let walk = topics
                .open_walk(reader, partition)
                .map_err(|refused| match refused {
                    WalkRefused::Warming => Refused::Warming,
                    WalkRefused::NotCached { .. } => Refused::NotCached,
                    WalkRefused::TooMany => Refused::TooMany,
                })?;
            collection.walks.push((partition, walk));
        }
        let head = request.collection(view);
        Ok((head.head, (!head.is_unchanged).then_some(collection)))
    }

    /// Writes on, `room` bytes or a little more.
    pub(super) fn poll(&mut self, room: usize) -> CollectionStep {
        if room == 0 {
            return CollectionStep::Pending;
        }
        let mut out = Vec::new();
        let mut looked_at = 0;
        while out.len() < room.min(PIECE_BYTES) {
            let Some((partition, walk)) = self.walks.last().copied() else {
                self.json.finish(&mut out);
                return CollectionStep::Finish(Bytes::from(out));
            };
            if looked_at == RECORDS_PER_POLL_MAX {
                break;
            }
            looked_at += 1;
            match self.topics.walk_next(&self.reader, partition, walk) {
                WalkStep::Record(record) => {
                    if let Some(record) =
                        record.view().filter(|record| self.request.matches(record))
                    {
                        self.json.push(record.value, &mut out);
                    }
                }
                WalkStep::End(WalkEnd::Complete) => {
                    self.walks.pop();
                    self.topics.close_walk(&self.reader, partition, walk);
                }
                WalkStep::End(WalkEnd::Lost) => return CollectionStep::Lost,
            }
        }
        CollectionStep::Data(Bytes::from(out))
    }
}
