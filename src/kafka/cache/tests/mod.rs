//! Tests of the cache through its public face: a store, its updates, and views that get nothing else.

mod behaviour;
mod load;
mod model;

use super::{ChunkBuilder, PartitionStore, PartitionView, Policy, Update};
use crate::clock::UnixMillis;
use crate::kafka::record_batch::{Batch, BatchBuilder, BatchHeader, varint};

const COMPACT: Policy = Policy::COMPACT;
const DELETE: Policy = Policy::DELETE;
const RETENTION_MS: i64 = 1_000;

/// A record as the tests write it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Plain {
    offset: i64,
    timestamp_ms: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
}

fn plain(offset: i64, key: &str, value: &str) -> Plain {
    Plain {
        offset,
        timestamp_ms: offset * 10,
        key: Some(key.into()),
        value: Some(value.into()),
    }
}

fn tombstone(offset: i64, key: &str) -> Plain {
    Plain {
        value: None,
        ..plain(offset, key, "")
    }
}

/// Encodes a batch that may have holes, as a broker's compaction leaves them: header and inflated records.
fn batch(records: &[Plain], next_offset: i64) -> (BatchHeader, Vec<u8>) {
    let base_offset = records
        .first()
        .map_or(next_offset - 1, |first| first.offset);
    let mut template = BatchBuilder::new();
    template.append(UnixMillis(0), None, None, []);
    let mut header = Batch::parse(template.finish(-1, -1, -1).freeze())
        .unwrap()
        .header;
    header.base_offset = base_offset;
    header.last_offset_delta = i32::try_from(next_offset - 1 - base_offset).unwrap();
    header.base_timestamp = UnixMillis(records.first().map_or(0, |first| first.timestamp_ms));
    header.record_count = i32::try_from(records.len()).unwrap();
    let mut bytes = Vec::new();
    for record in records {
        let mut body = vec![0];
        let timestamp_delta = record.timestamp_ms.wrapping_sub(header.base_timestamp.0);
        varint::put(&mut body, timestamp_delta);
        varint::put(&mut body, record.offset - base_offset);
        for field in [&record.key, &record.value] {
            let length = field.as_ref().map_or(-1, |field| length(field));
            varint::put(&mut body, length);
            body.extend_from_slice(field.as_deref().unwrap_or_default());
        }
        varint::put(&mut body, 0);
        varint::put(&mut bytes, length(&body));
        bytes.extend_from_slice(&body);
    }
    (header, bytes)
}

fn length(bytes: &[u8]) -> i64 {
    i64::try_from(bytes.len()).unwrap()
}

fn push(builder: &mut ChunkBuilder, records: &[Plain], next_offset: i64) {
    let (header, bytes) = batch(records, next_offset);
    builder.push_batch(&header, &bytes).unwrap();
}

/// A store with followers that are fed by its updates alone.
struct Bench {
    store: PartitionStore,
    views: Vec<PartitionView>,
    now: UnixMillis,
}

impl Bench {
    fn new(policy: Policy) -> Self {
        let mut bench = Self {
            store: PartitionStore::new(policy, 0, RETENTION_MS),
            views: Vec::new(),
            now: UnixMillis(0),
        };
        bench.open_view();
        bench
    }

    fn open_view(&mut self) {
        let mut view = PartitionView::new(self.store.view().policy());
        for update in self.store.snapshot() {
            view.apply(update);
        }
        self.views.push(view);
    }

    fn act(&mut self, act: impl FnOnce(&mut PartitionStore, UnixMillis, &mut Vec<Update>)) {
        let mut updates = Vec::new();
        act(&mut self.store, self.now, &mut updates);
        for update in updates {
            for view in &mut self.views {
                view.apply(update.clone());
            }
        }
    }

    /// One fetch response with one batch, after which the log ends.
    fn append(&mut self, records: &[Plain]) {
        self.act(|store, now, out| {
            let mut builder = store.builder();
            push(&mut builder, records, records.last().unwrap().offset + 1);
            store.append(builder, now, out);
            let end = store.next_offset();
            let log_start = store.view().log_start_offset();
            store.handle_progress(end, log_start, out);
        });
    }

    fn handle_progress(&mut self, end: i64, log_start: i64) {
        self.act(|store, _, out| store.handle_progress(end, log_start, out));
    }

    /// The store's own view first.
    fn all_views(&self) -> impl Iterator<Item = &PartitionView> {
        std::iter::once(self.store.view()).chain(&self.views)
    }
}
