//! Record batches: any bytes are read without a panic and within their bounds, and what is written is read back.
//!
//! The bytes are taken three times: as they are, as one batch whose frame and checksum fit, and as records to be written.
#![no_main]

use bytes::{Bytes, BytesMut};
use libfuzzer_sys::fuzz_target;
use sluice::clock::UnixMillis;
use sluice::kafka::cache::{ChunkBuilder, PartitionStore, Policy};
use sluice::kafka::record_batch::{
    AbortedTransactions, BATCH_OVERHEAD_BYTES, Batch, BatchBuilder, Batches, Compression,
    ControlRecord, Records, rewrite_producer, split,
};

/// What a batch may inflate to here.
const INFLATED_BYTES_MAX: usize = 64 << 10;
/// Base offset and length, which the length does not count.
const PREFIX_BYTES: usize = 12;

fuzz_target!(|data: &[u8]| {
    read(Bytes::copy_from_slice(data));
    if let Some(framed) = framed(data) {
        read(framed);
    }
    write(data);
});

/// The bytes with the frame of a batch of version 2 around what they say.
fn framed(data: &[u8]) -> Option<Bytes> {
    let mut batch = BytesMut::from(data);
    let length = i32::try_from(batch.len().checked_sub(PREFIX_BYTES)?).ok()?;
    batch.get(BATCH_OVERHEAD_BYTES..)?;
    batch[8..12].copy_from_slice(&length.to_be_bytes());
    batch[16] = 2;
    let checksum = crc32c::crc32c(&batch[21..]);
    batch[17..21].copy_from_slice(&checksum.to_be_bytes());
    Some(batch.freeze())
}

fn read(bytes: Bytes) {
    let mut transactions = AbortedTransactions::new([]);
    for batch in Batches::new(bytes) {
        let Ok(batch) = batch else { return };
        let _ = transactions.handle_batch(&batch);
        read_batch(&batch);
    }
}

fn read_batch(batch: &Batch) {
    let Ok(inflated) = batch.inflate(INFLATED_BYTES_MAX) else {
        return;
    };
    let is_plain = batch.header.compression == Compression::None;
    assert!(is_plain || inflated.len() <= INFLATED_BYTES_MAX);
    let Ok(records) = Records::new(&batch.header, &inflated) else {
        return;
    };
    let mut last = -1;
    let mut is_sound = true;
    for record in records {
        let Ok(record) = record else {
            is_sound = false;
            break;
        };
        assert!(
            record.offset_delta > last && record.offset_delta <= batch.header.last_offset_delta
        );
        last = record.offset_delta;
        let _ = record.headers().count();
        let _ = record.key.map(ControlRecord::parse);
    }
    cache(batch, &inflated, is_sound);
}

/// What can be read can be cached, and found again.
fn cache(batch: &Batch, inflated: &[u8], is_sound: bool) {
    let policy = Policy {
        compact: true,
        delete: false,
    };
    let mut store = PartitionStore::new(policy, 0, 0);
    let mut builder: ChunkBuilder = store.builder();
    assert_eq!(
        builder.push_batch(&batch.header, inflated).is_ok(),
        is_sound
    );
    let mut updates = Vec::new();
    store.append(builder, UnixMillis(0), &mut updates);
    store.handle_progress(store.next_offset(), 0, &mut updates);
    store.maintain(UnixMillis(i64::MAX), &mut updates);
    let scan = store
        .view()
        .scan(0, sluice::kafka::cache::Superseded::Include);
    for record in scan {
        let view = record.view().expect("what a chunk holds parses");
        assert_eq!(view.offset, record.offset());
        let _ = view.key.map(|key| store.view().newest(key));
    }
}

/// A record as it is to be written.
#[derive(Debug, PartialEq, Eq)]
struct Plain<'a> {
    timestamp: UnixMillis,
    key: Option<&'a [u8]>,
    value: Option<&'a [u8]>,
    headers: Vec<(&'a [u8], Option<&'a [u8]>)>,
}

fn write(data: &[u8]) {
    let mut source = Source { rest: data };
    let mut records = Vec::new();
    while !source.rest.is_empty() && records.len() < 100 {
        let timestamp = UnixMillis(i64::from(source.byte()) << (source.byte() % 40));
        let (key, value) = (source.field(), source.field());
        let headers = (0..source.byte() % 4)
            .map(|_| (source.field().unwrap_or_default(), source.field()))
            .collect();
        records.push(Plain {
            timestamp,
            key,
            value,
            headers,
        });
    }
    if records.is_empty() {
        return;
    }
    let mut builder = BatchBuilder::new();
    for record in &records {
        let foretold = builder.size_with(
            record.timestamp,
            record.key,
            record.value,
            record.headers.iter().copied(),
        );
        builder.append(
            record.timestamp,
            record.key,
            record.value,
            record.headers.iter().copied(),
        );
        assert_eq!(builder.size(), foretold);
    }
    let mut bytes = builder.finish(7, 1, 42);
    rewrite_producer(&mut bytes, 8, 2, 43);
    let batch = Batch::parse(bytes.freeze()).expect("what is written is a batch");
    assert_eq!(
        (
            batch.header.producer_id,
            batch.header.producer_epoch,
            batch.header.base_sequence
        ),
        (8, 2, 43)
    );
    let inflated = batch.inflate(0).expect("it is not compressed");
    let read: Result<Vec<_>, _> = Records::new(&batch.header, &inflated)
        .expect("its records follow")
        .collect();
    let read: Vec<_> = read
        .expect("each of them parses")
        .iter()
        .map(|record| Plain {
            timestamp: record.timestamp,
            key: record.key,
            value: record.value,
            headers: record.headers().collect(),
        })
        .collect();
    assert_eq!(read, records);
    if let Some((low, high)) = split(batch.bytes()) {
        let halves = [low, high].map(|half| {
            Batch::parse(half)
                .expect("a half is a batch")
                .header
                .record_count
        });
        assert_eq!(halves[0] + halves[1], batch.header.record_count);
    }
}

/// Takes what is to be written from the input.
struct Source<'a> {
    rest: &'a [u8],
}

impl<'a> Source<'a> {
    fn byte(&mut self) -> u8 {
        let Some((&first, rest)) = self.rest.split_first() else {
            return 0;
        };
        self.rest = rest;
        first
    }

    /// Null one time in eight, else up to 31 bytes.
    fn field(&mut self) -> Option<&'a [u8]> {
        let shape = self.byte();
        let (field, rest) = self
            .rest
            .split_at(self.rest.len().min(usize::from(shape >> 3)));
        self.rest = rest;
        (shape & 7 > 0).then_some(field)
    }
}
