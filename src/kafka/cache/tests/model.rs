//! Random histories against a naive model: a map from offset to record.

use std::collections::{BTreeMap, BTreeSet};

use proptest::collection::vec;
use proptest::prelude::*;

use super::super::{Lookup, RecordView, Superseded, WalkEnd, WalkId, WalkStep};
use super::*;

#[derive(Clone, Debug)]
enum Step {
    /// One fetch response.
    Append(Vec<StepBatch>),
    /// The last response once more.
    Repeat,
    /// The end of the log is this far ahead.
    Progress(i64),
    /// The log's start goes this far towards the end, in percent.
    LogStart(i64),
    Maintain,
    Reclaim,
    Evict(usize),
    Reset(i64),
    OpenView,
    OpenWalk,
    /// Goes on with every walk by so many steps.
    Walk(usize),
    Wait(i64),
}

fn step() -> impl Strategy<Value = Step> {
    let key = prop_oneof![1 => Just(None), 12 => (0..7_u8).prop_map(Some)];
    let value = prop_oneof![1 => Just(None), 4 => any::<u8>().prop_map(Some)];
    let hole = prop_oneof![4 => Just(0), 1 => 1..4_i64];
    let batch = (
        vec((hole, key, value), 1..6),
        prop_oneof![3 => Just(0), 1 => 0..3_i64],
    );
    prop_oneof![
        30 => vec(batch, 1..3).prop_map(Step::Append),
        2 => Just(Step::Repeat),
        2 => (0..4_i64).prop_map(Step::Progress),
        2 => (0..60_i64).prop_map(Step::LogStart),
        4 => Just(Step::Maintain),
        2 => Just(Step::Reclaim),
        1 => (1..2_000_usize).prop_map(Step::Evict),
        1 => (0..50_i64).prop_map(Step::Reset),
        2 => Just(Step::OpenView),
        4 => Just(Step::OpenWalk),
        10 => (1..4_usize).prop_map(Step::Walk),
        3 => (1..700_i64).prop_map(Step::Wait),
    ]
}

/// Records of (hole before, key, value), and the hole after them.
type StepBatch = (Vec<(i64, Option<u8>, Option<u8>)>, i64);

/// A walk on one of the views, with what it must give.
struct OpenWalk {
    view: usize,
    id: WalkId,
    end: i64,
    /// Records that must come: on compacted topics one per key, else all.
    due: BTreeSet<i64>,
    due_keys: BTreeSet<Vec<u8>>,
    seen_keys: BTreeSet<Vec<u8>>,
    last_offset: i64,
    may_be_lost: bool,
}

struct World {
    bench: Bench,
    compact: bool,
    /// Everything written since the last reset.
    log: BTreeMap<i64, Plain>,
    last_fetch: Vec<(Vec<Plain>, i64)>,
    walks: Vec<OpenWalk>,
}

impl World {
    fn new(policy: Policy) -> Self {
        let mut bench = Bench::new(policy);
        bench.handle_progress(0, 0);
        Self {
            bench,
            compact: policy.compact,
            log: BTreeMap::new(),
            last_fetch: Vec::new(),
            walks: Vec::new(),
        }
    }

    fn run(&mut self, step: Step) {
        match step {
            Step::Append(batches) => self.append(batches),
            Step::Repeat => self.fetch(),
            Step::Progress(ahead) => {
                let end = self.bench.store.next_offset() + ahead;
                let log_start = self.bench.store.view().log_start_offset();
                self.bench.handle_progress(end, log_start);
            }
            Step::LogStart(percent) => self.move_log_start(percent),
            Step::Maintain => self.bench.act(PartitionStore::maintain),
            Step::Reclaim => self.bench.act(|store, now, out| {
                store.reclaim(usize::MAX, now, out);
            }),
            Step::Evict(bytes) => {
                self.walks
                    .iter_mut()
                    .for_each(|walk| walk.may_be_lost = true);
                self.bench.act(|store, _, out| {
                    store.evict(bytes, out);
                });
            }
            Step::Reset(start) => self.reset(start),
            Step::OpenView => self.bench.open_view(),
            Step::OpenWalk => self.open_walk(),
            Step::Walk(steps) => {
                for _ in 0..steps {
                    self.walk();
                }
            }
            Step::Wait(ms) => self.bench.now.0 += ms,
        }
    }

    fn append(&mut self, batches: Vec<StepBatch>) {
        let mut next = self.bench.store.next_offset();
        self.last_fetch.clear();
        for (records, hole_after) in batches {
            let mut batch = Vec::new();
            for (hole, key, value) in records {
                let record = Plain {
                    offset: next + hole,
                    timestamp_ms: self.bench.now.0,
                    key: key.map(|key| vec![b'k', key]),
                    value: value.map(|value| vec![value; usize::from(value)]),
                };
                next = record.offset + 1;
                batch.push(record);
            }
            next += hole_after;
            self.last_fetch.push((batch, next));
        }
        for record in self.last_fetch.iter().flat_map(|batch| &batch.0) {
            self.log.insert(record.offset, record.clone());
            if record.value.is_none()
                && let Some(key) = &record.key
                && self.compact
            {
                for walk in &mut self.walks {
                    walk.due_keys.remove(key);
                }
            }
        }
        self.fetch();
    }

    fn fetch(&mut self) {
        let batches = &self.last_fetch;
        self.bench.act(|store, now, out| {
            let mut builder = store.builder();
            for (records, next_offset) in batches {
                push(&mut builder, records, *next_offset);
            }
            store.append(builder, now, out);
        });
    }

    fn move_log_start(&mut self, percent: i64) {
        let view = self.bench.store.view();
        let (start, end) = (view.log_start_offset(), view.next_offset());
        let log_start = start + (end - start) * percent / 100;
        self.bench.handle_progress(end, log_start);
        for walk in &mut self.walks {
            walk.due = walk.due.split_off(&log_start);
            if self.compact {
                let log = self.log.range(log_start..);
                let left: BTreeSet<_> = log.filter_map(|(_, record)| record.key.clone()).collect();
                walk.due_keys.retain(|key| left.contains(key));
            }
        }
    }

    fn reset(&mut self, start: i64) {
        self.log.clear();
        self.last_fetch.clear();
        self.walks
            .iter_mut()
            .for_each(|walk| walk.may_be_lost = true);
        self.bench.act(|store, _, out| store.reset(start, out));
        self.bench.handle_progress(start, start);
    }

    fn open_walk(&mut self) {
        let view = self.walks.len() % self.bench.views.len();
        let Ok(id) = self.bench.views[view].open_walk() else {
            return;
        };
        let live = self.live();
        let present = live.values().filter(|record| record.value.is_some());
        let end = self.bench.store.next_offset();
        self.walks.push(OpenWalk {
            view,
            id,
            end,
            due: live.keys().copied().collect(),
            due_keys: present.filter_map(|record| record.key.clone()).collect(),
            seen_keys: BTreeSet::new(),
            last_offset: -1,
            may_be_lost: false,
        });
    }

    fn walk(&mut self) {
        let compact = self.compact;
        let live = self.live();
        self.walks.retain_mut(|walk| {
            let view = &mut self.bench.views[walk.view];
            match view.walk_next(walk.id) {
                WalkStep::Record(handle) => {
                    let record = owned(&handle.view().unwrap());
                    assert_eq!(
                        live.get(&record.offset),
                        Some(&record),
                        "the newest one, live"
                    );
                    assert_eq!(handle.value_bytes().map(Vec::from), record.value);
                    if compact {
                        if let Some(key) = record.key {
                            assert!(walk.seen_keys.insert(key.clone()), "no key comes twice");
                            walk.due_keys.remove(&key);
                        }
                    } else {
                        assert!(record.offset > walk.last_offset && record.offset < walk.end);
                        assert!(walk.due.remove(&record.offset));
                        walk.last_offset = record.offset;
                    }
                    true
                }
                WalkStep::End(end) => {
                    match end {
                        WalkEnd::Lost => assert!(walk.may_be_lost),
                        WalkEnd::Complete if compact => {
                            assert_eq!(walk.due_keys, BTreeSet::new(), "no key is left out");
                        }
                        WalkEnd::Complete => assert_eq!(walk.due, BTreeSet::new()),
                    }
                    view.close_walk(walk.id);
                    false
                }
            }
        });
    }

    /// What must be cached and live, old tombstones included.
    fn live(&self) -> BTreeMap<i64, Plain> {
        let view = self.bench.store.view();
        let from = view.log_start_offset().max(view.evicted_below());
        let mut live: BTreeMap<i64, Plain> = self
            .log
            .range(from..)
            .map(|(&offset, record)| (offset, record.clone()))
            .collect();
        if self.compact {
            let keyed = live
                .values()
                .filter_map(|record| record.key.clone().map(|key| (key, record.offset)));
            let newest: BTreeMap<Vec<u8>, i64> = keyed.collect();
            live.retain(|offset, record| {
                record.key.as_ref().is_none_or(|key| newest[key] == *offset)
            });
        }
        live
    }

    fn may_be_dropped(&self, record: &Plain) -> bool {
        let old = record.timestamp_ms + RETENTION_MS < self.bench.now.0;
        self.compact && record.key.is_some() && record.value.is_none() && old
    }

    fn check(&self) {
        let live = self.live();
        let mut first = None;
        for view in self.bench.all_views() {
            let scanned = self.check_scan(view, &live);
            assert_eq!(first.get_or_insert_with(|| scanned.clone()), &scanned);
            for key in 0..8_u8 {
                self.check_key(view, &live, &[b'k', key]);
            }
            assert_eq!(view.next_offset(), self.bench.store.next_offset());
            assert_eq!(view.end_offset(), self.bench.store.view().end_offset());
            assert_eq!(
                view.evicted_below(),
                self.bench.store.view().evicted_below()
            );
        }
    }

    fn check_scan(&self, view: &PartitionView, live: &BTreeMap<i64, Plain>) -> Vec<i64> {
        let scanned: Vec<Plain> = view
            .scan(0, Superseded::Skip)
            .map(|record| owned(&record.view().unwrap()))
            .collect();
        let mut missing = live.clone();
        for record in &scanned {
            assert_eq!(missing.remove(&record.offset).as_ref(), Some(record));
        }
        assert!(
            missing.values().all(|record| self.may_be_dropped(record)),
            "{missing:?}"
        );

        let every = view
            .scan(0, Superseded::Include)
            .map(|record| record.offset());
        let every: Vec<i64> = every.collect();
        assert!(every.is_sorted_by(|a, b| a < b));
        assert!(scanned.iter().all(|record| every.contains(&record.offset)));
        assert!(every.iter().all(|offset| self.log.contains_key(offset)));

        let offsets: Vec<i64> = scanned.iter().map(|record| record.offset).collect();
        for &from in offsets.iter().step_by(9) {
            let tail = view
                .scan(from, Superseded::Skip)
                .map(|record| record.offset());
            assert!(tail.eq(offsets.iter().copied().filter(|&offset| offset >= from)));
        }
        offsets
    }

    fn check_key(&self, view: &PartitionView, live: &BTreeMap<i64, Plain>, key: &[u8]) {
        let of_key = || {
            live.values()
                .filter(|record| record.key.as_deref() == Some(key))
        };
        let missing = view.evicted_below() > view.log_start_offset();
        match (view.newest(key), of_key().next_back()) {
            (Lookup::Warming, _) => assert!(!view.is_ready()),
            (Lookup::Found(found), expected) => assert_eq!(Some(&owned(&found)), expected),
            (Lookup::Absent, expected) => {
                assert!(!missing && expected.is_none_or(|record| self.may_be_dropped(record)));
            }
            (Lookup::NotCached { below }, expected) => {
                assert!(missing && below == view.evicted_below());
                assert!(expected.is_none_or(|record| self.may_be_dropped(record)));
            }
        }
        if self.compact {
            return;
        }
        for from in (0..view.next_offset() + 2).step_by(3) {
            let expected = of_key().find(|record| record.offset >= from);
            match view.oldest_from(key, from) {
                Lookup::Found(found) => assert_eq!(Some(&owned(&found)), expected),
                Lookup::Absent => assert!(view.is_ready() && expected.is_none()),
                Lookup::Warming => assert!(!view.is_ready() && expected.is_none()),
                Lookup::NotCached { below } => assert!(missing && from < below),
            }
        }
    }
}

fn owned(record: &RecordView<'_>) -> Plain {
    Plain {
        offset: record.offset,
        timestamp_ms: record.timestamp.0,
        key: record.key.map(<[u8]>::to_vec),
        value: record.value.map(<[u8]>::to_vec),
    }
}

fn every_view_equals_the_model(policy: Policy, steps: Vec<Step>) {
    let mut world = World::new(policy);
    for step in steps {
        world.run(step);
        world.check();
    }
    while !world.walks.is_empty() {
        world.walk();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_view_of_a_compacted_topic_equals_the_model(steps in vec(step(), 1..80)) {
        every_view_equals_the_model(COMPACT, steps);
    }

    #[test]
    fn every_view_of_a_plain_topic_equals_the_model(steps in vec(step(), 1..80)) {
        every_view_equals_the_model(DELETE, steps);
    }
}
