//! Single behaviours, one test each.

use super::super::{
    CHUNK_BYTES_TARGET, Chunk, Lookup, Superseded, WALKS_MAX, WalkEnd, WalkRefused, WalkStep,
};
use super::*;
use crate::kafka::record_batch::DecodeError;

fn value_of(lookup: &Lookup<'_>) -> Option<String> {
    match lookup {
        Lookup::Found(record) => record
            .value
            .map(|value| String::from_utf8(value.to_vec()).unwrap()),
        _ => None,
    }
}

fn walk_values(bench: &mut Bench, walk: super::super::WalkId) -> Vec<String> {
    let mut values = Vec::new();
    while let WalkStep::Record(record) = bench.views[0].walk_next(walk) {
        values.push(String::from_utf8(record.value_bytes().unwrap().to_vec()).unwrap());
    }
    values
}

#[test]
fn chunks_can_be_shared_between_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<Chunk>();
    shared::<Update>();
}

#[test]
fn a_view_is_warming_until_the_end_first_seen_is_read() {
    let mut bench = Bench::new(COMPACT);
    bench.handle_progress(2, 0);
    assert!(matches!(bench.views[0].newest(b"a"), Lookup::Warming));
    assert_eq!(bench.views[0].open_walk(), Err(WalkRefused::Warming));
    bench.act(|store, now, out| {
        let mut builder = store.builder();
        push(&mut builder, &[plain(0, "a", "1")], 2);
        store.append(builder, now, out);
    });
    assert!(bench.views[0].is_ready());
    assert_eq!(value_of(&bench.views[0].newest(b"a")).as_deref(), Some("1"));
    assert!(matches!(bench.views[0].newest(b"b"), Lookup::Absent));
    // Ready stays, though the log's end runs ahead.
    bench.handle_progress(9, 0);
    assert!(bench.views[0].is_ready());
}

#[test]
fn an_empty_partition_is_ready_at_once() {
    let mut bench = Bench::new(DELETE);
    bench.handle_progress(0, 0);
    assert!(matches!(bench.views[0].oldest(b"a"), Lookup::Absent));
}

#[test]
fn a_plain_topic_knows_both_ends_of_a_key() {
    let mut bench = Bench::new(DELETE);
    bench.append(&[plain(0, "a", "1"), plain(1, "b", "2"), plain(2, "a", "3")]);
    bench.append(&[plain(3, "a", "4")]);
    let view = &bench.views[0];
    assert_eq!(value_of(&view.oldest(b"a")).as_deref(), Some("1"));
    assert_eq!(value_of(&view.oldest_from(b"a", 1)).as_deref(), Some("3"));
    assert_eq!(value_of(&view.newest(b"a")).as_deref(), Some("4"));
    assert!(matches!(view.oldest_from(b"a", 4), Lookup::Absent));
}

#[test]
fn an_empty_key_is_a_key_and_a_null_key_is_not() {
    let mut bench = Bench::new(DELETE);
    let null = Plain {
        key: None,
        ..plain(0, "", "null")
    };
    bench.append(&[null, plain(1, "", "empty")]);
    assert_eq!(
        value_of(&bench.views[0].oldest(b"")).as_deref(),
        Some("empty")
    );
    assert_eq!(bench.views[0].key_count(), 1);
    assert_eq!(bench.views[0].scan(0, Superseded::Skip).count(), 2);
}

#[test]
fn what_the_log_no_longer_has_is_absent_and_what_was_evicted_is_not_cached() {
    let mut bench = Bench::new(DELETE);
    bench.append(&[plain(0, "a", "1"), plain(1, "b", "2")]);
    bench.append(&[plain(2, "c", "3")]);
    bench.handle_progress(3, 1);
    assert!(matches!(bench.views[0].oldest(b"a"), Lookup::Absent));
    assert_eq!(value_of(&bench.views[0].oldest(b"b")).as_deref(), Some("2"));
    bench.act(|store, _, out| {
        store.evict(1, out);
    });
    assert!(matches!(
        bench.views[0].oldest(b"b"),
        Lookup::NotCached { below: 2 }
    ));
    assert!(matches!(
        bench.views[0].oldest(b"c"),
        Lookup::NotCached { below: 2 }
    ));
    assert_eq!(value_of(&bench.views[0].newest(b"c")).as_deref(), Some("3"));
    assert_eq!(
        value_of(&bench.views[0].oldest_from(b"c", 2)).as_deref(),
        Some("3")
    );
    assert_eq!(
        bench.views[0].open_walk(),
        Err(WalkRefused::NotCached { below: 2 })
    );
    // Retention catches up with the cache: a miss is a miss again.
    bench.handle_progress(3, 2);
    assert!(matches!(bench.views[0].oldest(b"b"), Lookup::Absent));
}

#[test]
fn a_late_view_does_not_resurrect_a_key_whose_tombstone_is_gone() {
    let mut bench = Bench::new(COMPACT);
    let padding = "x".repeat(300);
    bench.append(&[plain(0, "a", "old"), plain(1, "b", &padding)]);
    bench.append(&[tombstone(2, "a")]);
    bench.now = UnixMillis(RETENTION_MS * 100);
    bench.act(PartitionStore::maintain);
    assert_eq!(
        bench.store.view().scan(0, Superseded::Include).count(),
        2,
        "the old value is still there, dead"
    );
    bench.open_view();
    for view in bench.all_views() {
        assert!(matches!(view.newest(b"a"), Lookup::Absent));
    }
}

#[test]
fn a_tombstone_stays_until_its_time() {
    let mut bench = Bench::new(COMPACT);
    bench.append(&[tombstone(2, "a")]);
    bench.now = UnixMillis(20 + RETENTION_MS);
    bench.act(PartitionStore::maintain);
    assert!(matches!(bench.views[0].newest(b"a"), Lookup::Found(_)));
    bench.now.0 += 1;
    bench.act(PartitionStore::maintain);
    assert!(matches!(bench.views[0].newest(b"a"), Lookup::Absent));
}

#[test]
fn a_tombstone_stays_as_long_as_what_it_deletes_may_lie_where_the_cache_does_not_reach() {
    let mut bench = Bench::new(COMPACT);
    let padding = "x".repeat(300);
    bench.append(&[plain(0, "a", &padding)]);
    bench.act(|store, _, out| {
        store.evict(1, out);
    });
    bench.append(&[tombstone(1, "a")]);
    bench.now = UnixMillis(RETENTION_MS * 100);
    bench.act(PartitionStore::maintain);
    assert!(matches!(bench.views[0].newest(b"a"), Lookup::Found(_)));
    bench.handle_progress(2, 1);
    bench.act(PartitionStore::maintain);
    assert!(matches!(bench.views[0].newest(b"a"), Lookup::Absent));
}

#[test]
fn a_walk_gives_a_rewritten_key_once_with_its_newest_value() {
    let mut bench = Bench::new(COMPACT);
    bench.append(&[
        plain(0, "a", "a0"),
        plain(1, "b", "b0"),
        plain(2, "c", "c0"),
        plain(3, "d", "d0"),
    ]);
    let walk = bench.views[0].open_walk().unwrap();
    let WalkStep::Record(first) = bench.views[0].walk_next(walk) else {
        panic!("a record is due");
    };
    assert_eq!(first.view().unwrap().key, Some(&b"a"[..]));
    bench.append(&[
        plain(4, "a", "a1"),
        plain(5, "b", "b1"),
        tombstone(6, "c"),
        plain(7, "new", "n"),
    ]);
    bench.append(&[plain(8, "b", "b2")]);
    assert_eq!(walk_values(&mut bench, walk), ["d0", "b2"]);
    assert!(matches!(
        bench.views[0].walk_next(walk),
        WalkStep::End(WalkEnd::Complete)
    ));
    bench.views[0].close_walk(walk);
    assert!(matches!(
        bench.views[0].walk_next(walk),
        WalkStep::End(WalkEnd::Lost)
    ));
}

#[test]
fn a_walk_whose_records_are_evicted_or_reset_says_so() {
    let mut bench = Bench::new(DELETE);
    bench.append(&[plain(0, "a", "1")]);
    bench.append(&[plain(1, "a", "2")]);
    let behind = bench.views[0].open_walk().unwrap();
    let ahead = bench.views[0].open_walk().unwrap();
    let _ = bench.views[0].walk_next(ahead);
    bench.act(|store, _, out| {
        store.evict(1, out);
    });
    assert!(matches!(
        bench.views[0].walk_next(behind),
        WalkStep::End(WalkEnd::Lost)
    ));
    assert!(matches!(
        bench.views[0].walk_next(ahead),
        WalkStep::Record(_)
    ));
    bench.act(|store, _, out| store.reset(0, out));
    assert!(matches!(
        bench.views[0].walk_next(ahead),
        WalkStep::End(WalkEnd::Lost)
    ));
}

#[test]
fn walks_are_bounded() {
    let mut bench = Bench::new(COMPACT);
    bench.handle_progress(0, 0);
    let walks: Vec<_> = (0..WALKS_MAX)
        .map(|_| bench.views[0].open_walk().unwrap())
        .collect();
    assert_eq!(bench.views[0].open_walk(), Err(WalkRefused::TooMany));
    bench.views[0].close_walk(walks[0]);
    assert!(bench.views[0].open_walk().is_ok());
}

#[test]
fn a_repeated_or_stale_response_changes_nothing() {
    let mut bench = Bench::new(DELETE);
    let stale = bench.store.builder();
    bench.append(&[plain(0, "a", "1"), plain(1, "a", "2")]);
    bench.append(&[plain(1, "a", "2"), plain(2, "a", "3")]);
    bench.act(|store, now, out| {
        store.append(stale, now, out);
        assert!(out.is_empty());
    });
    let offsets = bench.views[0]
        .scan(0, Superseded::Skip)
        .map(|record| record.offset());
    assert_eq!(offsets.collect::<Vec<_>>(), [0, 1, 2]);
}

#[test]
fn a_view_ignores_updates_that_are_not_its_own() {
    let mut bench = Bench::new(DELETE);
    bench.append(&[plain(0, "a", "1")]);
    let mut updates = bench.store.snapshot();
    updates.push(Update::Replace {
        removed: vec![super::super::ChunkId(99)],
        added: None,
    });
    updates.push(Update::Evict {
        chunks: vec![super::super::ChunkId(98)],
        evicted_below: 0,
    });
    for update in updates
        .into_iter()
        .filter(|update| !matches!(update, Update::Reset { .. }))
    {
        bench.views[0].apply(update);
    }
    assert_eq!(bench.views[0].scan(0, Superseded::Skip).count(), 1);
}

#[test]
fn a_log_start_that_goes_back_resets() {
    let mut bench = Bench::new(DELETE);
    bench.append(&[plain(0, "a", "1"), plain(1, "a", "2")]);
    bench.handle_progress(2, 1);
    bench.handle_progress(2, 0);
    assert_eq!(bench.store.next_offset(), 0);
    assert!(!bench.views[0].is_ready());
    assert_eq!(bench.views[0].scan(0, Superseded::Skip).count(), 0);
}

#[test]
fn a_topic_made_anew_may_be_compacted_in_every_view() {
    let mut bench = Bench::new(DELETE);
    bench.append(&[plain(0, "a", "1"), plain(1, "a", "2")]);
    bench.act(|store, _, out| store.restart(COMPACT, 0, i64::MAX, out));
    bench.append(&[plain(0, "a", "3"), plain(1, "a", "4")]);
    for view in &bench.views {
        assert_eq!(view.policy(), COMPACT);
        assert_eq!(view.scan(0, Superseded::Skip).count(), 1);
    }
}

#[test]
fn a_log_start_beyond_what_was_read_moves_the_fetching_on() {
    let mut bench = Bench::new(DELETE);
    bench.append(&[plain(0, "a", "1")]);
    bench.handle_progress(9, 7);
    assert_eq!(bench.store.next_offset(), 7);
    assert!(matches!(bench.views[0].oldest(b"a"), Lookup::Absent));
}

#[test]
fn a_long_log_is_let_go_of_in_steps() {
    let mut bench = Bench::new(DELETE);
    let records: Vec<Plain> = (0..200_000)
        .map(|offset| plain(offset, "k", "0123456789"))
        .collect();
    bench.append(&records);
    bench.handle_progress(200_000, 200_000);
    let after_one_step = bench.views[0].log_start_offset();
    assert!(
        after_one_step > 0 && after_one_step < 200_000,
        "{after_one_step}"
    );
    for _ in 0..4 {
        bench.act(PartitionStore::maintain);
    }
    assert_eq!(bench.views[0].log_start_offset(), 200_000);
    assert_eq!(bench.views[0].chunk_bytes(), 0);
    assert_eq!(bench.views[0].key_count(), 0);
}

#[test]
fn a_large_batch_becomes_many_chunks_and_a_huge_record_one() {
    let mut bench = Bench::new(DELETE);
    let value = "v".repeat(100_000);
    let mut records: Vec<Plain> = (0..30).map(|offset| plain(offset, "k", &value)).collect();
    records.push(plain(30, "huge", &"h".repeat(3 * CHUNK_BYTES_TARGET)));
    records.push(plain(31, "k", "last"));
    bench.append(&records);
    let chunks: Vec<u64> = bench.views[0]
        .scan(0, Superseded::Skip)
        .map(|record| record.chunk().id().0)
        .collect();
    assert_eq!(chunks[0], chunks[9], "ten records of 100 kB fit");
    assert_eq!(chunks.iter().max(), Some(&4));
    assert_eq!(
        value_of(&bench.views[0].newest(b"huge")).map(|value| value.len()),
        Some(3 * CHUNK_BYTES_TARGET)
    );
}

#[test]
fn every_version_stays_for_a_moment_for_those_who_follow_the_end() {
    let mut bench = Bench::new(COMPACT);
    let versions = |bench: &Bench, from| bench.views[0].scan(from, Superseded::Include).count();
    for offset in 0..100 {
        bench.append(&[plain(offset, "k", "the same key again and again")]);
    }
    assert_eq!(versions(&bench, 0), 100);
    bench.act(PartitionStore::maintain);
    assert_eq!(versions(&bench, 0), 100, "some of it came just now");
    bench.append(&[plain(100, "k", "and again")]);
    bench.act(PartitionStore::maintain);
    assert_eq!(versions(&bench, 100), 1);
    assert!(versions(&bench, 0) < 100, "what is old is packed away");
}

#[test]
fn small_chunks_of_a_trickle_are_merged() {
    let mut bench = Bench::new(DELETE);
    for offset in 0..5_000 {
        bench.append(&[plain(offset, "k", "a trickle of records, one by one")]);
        if offset % 10 == 9 {
            bench.act(PartitionStore::maintain);
        }
    }
    let mut chunks: Vec<u64> = bench.views[0]
        .scan(0, Superseded::Skip)
        .map(|record| record.chunk().id().0)
        .collect();
    assert_eq!(chunks.len(), 5_000);
    chunks.dedup();
    assert!(chunks.len() < 40, "{} chunks", chunks.len());
}

#[test]
fn a_malformed_batch_leaves_the_builder_as_it_was() {
    let mut builder = ChunkBuilder::new(0);
    push(&mut builder, &[plain(0, "a", "1")], 1);
    let (header, mut bytes) = batch(&[plain(1, "b", "2"), plain(2, "c", "3")], 3);
    bytes.pop();
    let fault: DecodeError = builder.push_batch(&header, &bytes).unwrap_err();
    assert!(!fault.to_string().is_empty());
    assert_eq!(builder.next_offset(), 1);
    assert_eq!(
        builder
            .finish(&mut 0)
            .iter()
            .map(Chunk::record_count)
            .collect::<Vec<_>>(),
        [1]
    );
}

#[test]
fn timestamps_and_offsets_that_lie_far_apart_come_back() {
    let mut bench = Bench::new(DELETE);
    let far = 1 << 40;
    let times = [i64::MAX, 5, 0, i64::MIN, 7, 8, 9, 10, 11];
    for (offset, timestamp_ms) in (far - 2..).zip(times) {
        // The second half is more than 32 bits of offsets away from the first.
        let offset = if offset < far { offset - far } else { offset } + far;
        bench.append(&[Plain {
            timestamp_ms,
            ..plain(offset, "k", "v")
        }]);
        bench.act(PartitionStore::maintain);
    }
    let found = bench.views[0]
        .scan(0, Superseded::Skip)
        .map(|record| record.view().unwrap().timestamp.0);
    assert_eq!(found.collect::<Vec<_>>(), times);
    assert_eq!(bench.views[0].newest(b"k").offset(), Some(2 * far + 6));
}

impl Lookup<'_> {
    fn offset(&self) -> Option<i64> {
        match self {
            Self::Found(record) => Some(record.offset),
            _ => None,
        }
    }
}
