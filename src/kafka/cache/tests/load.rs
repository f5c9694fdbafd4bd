//! Much data: memory within bounds, no quadratic behaviour, and (ignored, in release) numbers.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use super::super::{Budget, Lookup, Superseded, WalkStep};
use super::*;

/// A small generator, so that runs repeat.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

fn fetch(random: &mut Random, store: &PartitionStore, records: i64, keys: u64) -> ChunkBuilder {
    let mut builder = store.builder();
    let base = store.next_offset();
    let value = "v".repeat(200);
    let end = base + records;
    let records: Vec<Plain> = (base..end)
        .map(|offset| plain(offset, &format!("key-{:08}", random.below(keys)), &value))
        .collect();
    push(&mut builder, &records, end);
    builder
}

/// Random updates of few keys, with a second view fed; returns the most bytes charged after any response.
fn update_keys(updates: i64, keys: u64, limit_bytes: usize) -> usize {
    let mut stores = BTreeMap::from([(0, PartitionStore::new(COMPACT, 0, RETENTION_MS))]);
    let mut view = PartitionView::new(COMPACT);
    let mut budget = Budget::new(limit_bytes);
    let mut random = Random(7);
    let mut charged_max = 0;
    for _ in 0..updates / 1_000 {
        let store = stores.get_mut(&0).unwrap();
        let before = store.charged_bytes();
        let mut out = Vec::new();
        let built = fetch(&mut random, store, 1_000, keys);
        store.append(built, UnixMillis(0), &mut out);
        store.handle_progress(store.next_offset(), 0, &mut out);
        budget.settle(before, store.charged_bytes());
        let mut out: Vec<(i32, Update)> = out.into_iter().map(|update| (0, update)).collect();
        budget.relieve(&mut stores, UnixMillis(0), &mut out);
        assert!(!budget.is_over());
        charged_max = charged_max.max(budget.used_bytes());
        for (_, update) in out {
            view.apply(update);
        }
    }
    assert_eq!(view.evicted_below(), 0, "no key was evicted");
    assert_eq!(view.key_count(), stores[&0].view().key_count());
    assert_eq!(view.chunk_bytes(), stores[&0].view().chunk_bytes());
    charged_max
}

/// Twice the live data, and as much as one response may leave to the next.
fn bound_bytes(keys: usize) -> usize {
    keys * (200 + 12 + 10 + 16) * 2 + (6 << 20)
}

#[test]
fn constant_rewriting_stays_within_twice_the_live_data() {
    let charged = update_keys(100_000, 3_000, usize::MAX / 2);
    assert!(charged < bound_bytes(3_000), "{charged}");
}

#[test]
#[ignore = "ten million updates: run in release"]
fn ten_million_updates_stay_within_twice_the_live_data() {
    let started = now();
    let charged = update_keys(10_000_000, 100_000, usize::MAX / 2);
    let elapsed = started.elapsed();
    println!(
        "charged at most {charged} of {} in {elapsed:?}, rss {} KiB",
        bound_bytes(100_000),
        rss_kib()
    );
    assert!(charged < bound_bytes(100_000), "{charged}");
}

#[test]
fn under_a_budget_dead_bytes_go_before_keys() {
    // Live data is some 5 MB with the index: hardly less than the budget.
    update_keys(100_000, 20_000, 6_500_000);
}

#[test]
fn plain_topics_give_way_to_compacted_ones_and_the_oldest_first() {
    let mut random = Random(1);
    let policies = [COMPACT, DELETE, DELETE];
    let mut stores: BTreeMap<usize, PartitionStore> = policies
        .into_iter()
        .map(|policy| PartitionStore::new(policy, 0, RETENTION_MS))
        .enumerate()
        .collect();
    let mut budget = Budget::new(4 << 20);
    for round in 0..200 {
        for store in stores.values_mut() {
            let before = store.charged_bytes();
            let built = fetch(&mut random, store, 100, 1_000_000);
            store.append(built, UnixMillis(round), &mut Vec::new());
            budget.settle(before, store.charged_bytes());
        }
        budget.relieve(&mut stores, UnixMillis(round), &mut Vec::new());
        assert!(budget.used_bytes() <= budget.limit_bytes());
        let compacted_whole = stores[&0].view().evicted_below() == 0;
        let plain_left = stores[&1].charged_bytes() + stores[&2].charged_bytes();
        assert!(
            compacted_whole || plain_left < 1 << 20,
            "compacted goes last"
        );
        let evicted = stores[&1].view().evicted_below() - stores[&2].view().evicted_below();
        assert!(
            evicted.abs() <= 6_000,
            "the oldest of both, in turn: {evicted}"
        );
    }
}

#[test]
fn creating_and_deleting_keys_for_ever_takes_no_memory_for_ever() {
    let mut bench = Bench::new(COMPACT);
    let mut charged_max = 0;
    for round in 0..2_000_i64 {
        let base = round * 20;
        let created = (0..10).map(|i| plain(base + i, &format!("key-{}", base + i), "some value"));
        let deleted = (0..10).map(|i| tombstone(base + 10 + i, &format!("key-{}", base + i)));
        let records = created.chain(deleted).map(|record| Plain {
            timestamp_ms: round * 10,
            ..record
        });
        bench.now = UnixMillis(round * 10);
        bench.append(&records.collect::<Vec<_>>());
        bench.act(PartitionStore::maintain);
        charged_max = charged_max.max(bench.store.charged_bytes());
    }
    // 100 rounds of tombstones are younger than the retention: 1,000 of some 40 bytes, twice, and the index.
    assert!(charged_max < 400_000, "{charged_max}");
}

#[test]
fn a_hot_key_does_not_slow_down() {
    for policy in [COMPACT, DELETE] {
        let started = now();
        let mut bench = Bench::new(policy);
        for offset in 0..5_000 {
            bench.append(&[plain(offset, "hot", "value")]);
        }
        assert!(started.elapsed().as_secs() < 20, "{:?}", started.elapsed());
    }
}

#[test]
#[ignore = "prints numbers: run in release with --nocapture"]
fn numbers() {
    for policy in [COMPACT, DELETE] {
        println!("{policy:?}, a million updates of 100,000 keys, 200 bytes each");
        let mut random = Random(3);
        let updates = numbers_of_a_store(policy, &mut random);
        let mut view = PartitionView::new(policy);
        let started = now();
        for update in updates {
            view.apply(update);
        }
        print_each("view apply", started, 1_000_000);
        numbers_of_lookups(&view, &mut random);
        numbers_of_reading(&mut view);
    }
}

fn numbers_of_a_store(policy: Policy, random: &mut Random) -> Vec<Update> {
    let mut store = PartitionStore::new(policy, 0, RETENTION_MS);
    let mut updates = Vec::new();
    let mut append = Duration::ZERO;
    for _ in 0..1_000 {
        let built = fetch(random, &store, 1_000, 100_000);
        let started = now();
        store.append(built, UnixMillis(0), &mut updates);
        append += started.elapsed();
    }
    store.handle_progress(store.next_offset(), 0, &mut updates);
    println!("  append: {} ns each", append.as_nanos() / 1_000_000);
    updates
}

fn numbers_of_lookups(view: &PartitionView, random: &mut Random) {
    let keys: Vec<String> = (0..1_000_000)
        .map(|_| format!("key-{:08}", random.below(100_000)))
        .collect();
    let found = |key: &String| matches!(view.newest(key.as_bytes()), Lookup::Found(_));
    let started = now();
    let all_found = keys.iter().filter(|key| found(key)).count();
    print_each("newest of all keys", started, keys.len());
    let started = now();
    for _ in 0..1_000 {
        assert!(keys[..1_000].iter().filter(|key| found(key)).count() > 900);
    }
    print_each("newest of 1,000 keys", started, 1_000_000);

    let map: HashMap<&[u8], Box<[u8]>, foldhash::quality::RandomState> = view
        .scan(0, Superseded::Skip)
        .filter_map(|record| record.view())
        .filter_map(|record| Some((record.key?, record.value?.into())))
        .collect();
    let started = now();
    let in_map = keys.iter().filter(|key| map.contains_key(key.as_bytes()));
    assert_eq!(in_map.count(), all_found);
    print_each(
        "a plain map of borrowed keys, for comparison",
        started,
        keys.len(),
    );
}

fn numbers_of_reading(view: &mut PartitionView) {
    let started = now();
    let values = view
        .scan(0, Superseded::Skip)
        .filter_map(|record| record.view()?.value);
    let (count, bytes) = values.fold((0, 0), |(count, bytes), value| {
        (count + 1, bytes + value.len())
    });
    print_each("scan", started, count);
    let walk = view.open_walk().unwrap();
    let started = now();
    let mut walked = 0;
    while let WalkStep::Record(_) = view.walk_next(walk) {
        walked += 1;
    }
    print_each("walk", started, walked);
    let (chunks, index) = (view.chunk_bytes(), view.index_bytes());
    println!("  {bytes} bytes of values in {chunks} bytes of chunks, {index} of index");
}

fn print_each(what: &str, started: Instant, count: usize) {
    let nanos = started.elapsed().as_nanos() / u128::try_from(count).unwrap();
    println!("  {what}: {nanos} ns each");
}

#[expect(clippy::disallowed_methods, reason = "tests may read a clock")]
fn now() -> Instant {
    Instant::now()
}

fn rss_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok())
        .unwrap_or(0)
}
