//! What the pieces on a request's path cost alone: record batches both ways, an HTTP request parsed and answered, a key's partition, a cached key found.
//!
//! `cargo test` runs each once.

use std::hint::black_box;
use std::rc::Rc;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use sluice::clock::{Instant, UnixMillis};
use sluice::http::h1::{Connection, Event, Limits};
use sluice::http::{Body, ResponseHead, Scheme};
use sluice::kafka::cache::{Lookup, PartitionStore, PartitionView, Policy};
use sluice::kafka::partition::murmur2;
use sluice::kafka::record_batch::{Batch, BatchBuilder, Records};

const BATCH_RECORDS: u64 = 64;
const CACHED_KEYS: u64 = 10_000;
const VALUE: [u8; 256] = [b'x'; 256];

fn fill(builder: &mut BatchBuilder) -> Bytes {
    for index in 0..BATCH_RECORDS {
        builder.append(
            UnixMillis(1),
            Some(&index.to_be_bytes()),
            Some(&VALUE),
            [(&b"content-type"[..], Some(&b"application/json"[..]))],
        );
    }
    builder.finish(1, 0, 0).freeze()
}

fn record_batch(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("record batch, 64 records of 256 bytes");
    group.throughput(Throughput::Elements(BATCH_RECORDS));
    let mut builder = BatchBuilder::new();
    group.bench_function("encode", |bencher| bencher.iter(|| fill(&mut builder)));
    let bytes = fill(&mut builder);
    group.bench_function("decode", |bencher| {
        bencher.iter(|| count_bytes(black_box(bytes.clone())));
    });
    group.finish();
}

/// Reads every record and its headers.
fn count_bytes(bytes: Bytes) -> usize {
    let batch = Batch::parse(bytes).expect("our own batch");
    let payload = batch.payload();
    let records = Records::new(&batch.header, &payload).expect("our own batch");
    records
        .map(|record| {
            let record = record.expect("our own record");
            record.value.map_or(0, <[u8]>::len) + record.headers().count()
        })
        .sum()
}

fn http1(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("http/1.1, parsed and answered");
    group.throughput(Throughput::Elements(1));
    let get = b"GET /items/12345 HTTP/1.1\r\nhost: localhost:7114\r\naccept: */*\r\n\r\n".to_vec();
    let post = [&b"POST /events HTTP/1.1\r\nhost: localhost:7114\r\ncontent-type: application/json\r\ncontent-length: 256\r\n\r\n"[..], &VALUE].concat();
    let mut connection = Connection::new(Rc::new(Limits::default()), Scheme::Http, Instant::ZERO);
    let found = Body::Full(Bytes::from_static(&VALUE));
    let head = ResponseHead::new(200)
        .with("content-type", "application/json")
        .with("etag", "\"AQIAAQ==\"");
    group.bench_function("GET, 200", |bencher| {
        bencher.iter(|| exchange(&mut connection, &get, &head, &found));
    });
    let stored = ResponseHead::new(204);
    group.bench_function("POST of 256 bytes, 204", |bencher| {
        bencher.iter(|| exchange(&mut connection, &post, &stored, &Body::Empty));
    });
    group.finish();
}

fn exchange(connection: &mut Connection, request: &[u8], head: &ResponseHead, body: &Body) {
    connection.handle_input(black_box(request), Instant::ZERO);
    let Some(Event::Request { id, .. }) = connection.poll_event() else {
        panic!("a whole request was given")
    };
    connection.respond(id, head, body, Instant::ZERO);
    let written = black_box(connection.output()).len();
    connection.handle_written(written, Instant::ZERO);
}

fn partition(criterion: &mut Criterion) {
    let key = b"0f5e3a52-8c1d-4b9b-9a55-2a4de2f9b1c7";
    criterion.bench_function("murmur2 of 36 bytes", |bencher| {
        bencher.iter(|| murmur2(black_box(key)));
    });
}

fn cache(criterion: &mut Criterion) {
    let store = filled_store();
    let view: &PartitionView = store.view();
    let mut next = 0;
    criterion.bench_function("cached key found among 10,000", |bencher| {
        bencher.iter(|| {
            // A stride that visits every key, so that no line of the index stays warm by luck.
            next = (next + 7_919) % CACHED_KEYS;
            let Lookup::Found(record) = view.newest(&next.to_be_bytes()) else {
                panic!("every key was stored")
            };
            black_box(record.value.map_or(0, <[u8]>::len))
        });
    });
}

fn filled_store() -> PartitionStore {
    let mut store = PartitionStore::new(
        Policy {
            compact: true,
            delete: false,
        },
        0,
        0,
    );
    let mut batch = BatchBuilder::new();
    for key in 0..CACHED_KEYS {
        batch.append(UnixMillis(1), Some(&key.to_be_bytes()), Some(&VALUE), []);
    }
    let batch = Batch::parse(batch.finish(-1, -1, -1).freeze()).expect("our own batch");
    let mut builder = store.builder();
    builder
        .push_batch(&batch.header, &batch.payload())
        .expect("our own batch");
    let mut updates = Vec::new();
    store.append(builder, UnixMillis(1), &mut updates);
    store.handle_progress(CACHED_KEYS.cast_signed(), 0, &mut updates);
    store
}

criterion_group!(benches, record_batch, http1, partition, cache);
criterion_main!(benches);
