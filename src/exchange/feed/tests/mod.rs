//! Tests of the feed: a topic whose logs, caches and readers are all at hand.
//!
//! Each record has the header `etag` that says where it is (`0:7` is offset 7 of partition 0), so that an event says which record it is. Rule: a [`Kafka`] is what
//! is true; a [`Gateway`] has read as much of it as a test lets it.

mod catching_up;
mod following;
mod gaps;
mod memory;
mod messages;
mod model;

use std::sync::LazyLock;

use super::*;
use crate::clock::UnixMillis;
use crate::kafka::cache::{PartitionStore, Policy};
use crate::kafka::record_batch::{Batch, BatchBuilder};
use crate::mapping::http_kafka::fetch::RecordFilter;
use crate::mapping::sse_kafka::last_event_id::progress_of;

const COMPACT: Policy = Policy::COMPACT;
const DELETE: Policy = Policy::DELETE;

/// What the value `big` is: five and a half of them fill a channel.
static BIG: LazyLock<String> = LazyLock::new(|| "b".repeat(CHANNEL_BYTES_MAX * 2 / 11));

/// A record: key (none if empty), value (a tombstone if `-`), header `tag` (none if empty).
type Plain = (&'static str, &'static str, &'static str);

/// The log of a partition.
#[derive(Clone, Debug, Default)]
struct Log {
    start: usize,
    /// Where it began before: who reads it from its beginning may have begun there.
    earlier_starts: Vec<usize>,
    records: Vec<Plain>,
    /// How many logs this partition had before.
    generation: usize,
}

impl Log {
    fn end(&self) -> usize {
        self.records.len()
    }
}

/// A topic in Kafka.
#[derive(Clone, Debug, Default)]
struct Kafka {
    logs: Vec<Log>,
}

impl Kafka {
    fn new(partitions: usize) -> Self {
        Self {
            logs: vec![Log::default(); partitions],
        }
    }

    fn append(&mut self, partition: usize, records: &[Plain]) {
        self.logs[partition].records.extend_from_slice(records);
    }

    /// Another log takes the place of this one.
    fn replace(&mut self, partition: usize) {
        self.logs[partition] = Log {
            generation: self.logs[partition].generation + 1,
            ..Log::default()
        };
    }

    fn ends(&self) -> Vec<i64> {
        let ends = self.logs.iter().map(|log| offset(log.end()));
        ends.collect()
    }

    /// Reads what is not cached, `records_max` records of it; `None`: the log does not begin there any more.
    fn read(
        &self,
        range: ColdRange,
        selection: &Selection,
        records_max: usize,
    ) -> Option<ColdPiece> {
        let log = &self.logs[range.partition];
        let from = index(range.from);
        if from < log.start {
            return None;
        }
        let until = index(range.until).min(log.end()).min(from + records_max);
        let mut events = Vec::new();
        for number in from..until {
            let (key, value, tag) = log.records[number];
            if wants(selection, (key, value, tag))
                && selection.form.can_hold((value != "-").then_some(b""))
            {
                events.push(ColdEvent {
                    offset: offset(number),
                    timestamp_ms: 0,
                    key: (!key.is_empty()).then(|| Bytes::from(key)),
                    value: (value != "-")
                        .then(|| Bytes::from(if value == "big" { &*BIG } else { value })),
                    etag: Some(Bytes::from(etag(range.partition, number, log.generation))),
                });
            }
        }
        Some(ColdPiece {
            partition: range.partition,
            events,
            next_offset: offset(until.max(from)),
        })
    }
}

fn wants(selection: &Selection, (key, _, tag): Plain) -> bool {
    let key = (!key.is_empty()).then_some(key.as_bytes());
    let tag = (!tag.is_empty()).then_some((&b"tag"[..], Some(tag.as_bytes())));
    selection.matches(key, &tag.into_iter())
}

fn etag(partition: usize, number: usize, generation: usize) -> String {
    format!("{partition}:{number}{}", "'".repeat(generation))
}

fn offset(number: usize) -> i64 {
    i64::try_from(number).unwrap()
}

fn index(offset: i64) -> usize {
    usize::try_from(offset).unwrap()
}

/// A topic as a core has read it, and its feed.
struct Gateway {
    policy: Policy,
    stores: Vec<Option<PartitionStore>>,
    feed: Feed,
}

struct Cached<'g>(Policy, &'g [Option<PartitionStore>]);

impl CachedTopic for Cached<'_> {
    fn partition_count(&self) -> usize {
        self.1.len()
    }
    fn policy(&self) -> Policy {
        self.0
    }
    fn with_view<R>(&self, partition: usize, read: impl FnOnce(&PartitionView) -> R) -> Option<R> {
        let store = self.1.get(partition)?.as_ref()?;
        Some(read(store.view()))
    }
}

impl Gateway {
    /// One that knows of these partitions and has read nothing.
    fn new(policy: Policy, partitions: usize) -> Self {
        let mut gateway = Self {
            policy,
            stores: Vec::new(),
            feed: Feed::default(),
        };
        gateway.open(partitions);
        gateway
    }

    /// One that has read all.
    fn reading(policy: Policy, kafka: &Kafka) -> Self {
        let mut gateway = Self::new(policy, kafka.logs.len());
        gateway.read(kafka);
        gateway
    }

    /// More partitions are there.
    fn open(&mut self, partitions: usize) {
        let policy = self.policy;
        self.stores.resize_with(partitions, || {
            Some(PartitionStore::new(policy, 0, i64::MAX))
        });
    }

    /// Reads all, and puts it in order.
    fn read(&mut self, kafka: &Kafka) {
        for partition in 0..self.stores.len() {
            self.fetch(kafka, partition, usize::MAX);
        }
        self.advance_all();
    }

    /// Reads on, so many records.
    fn fetch(&mut self, kafka: &Kafka, partition: usize, records_max: usize) {
        let log = &kafka.logs[partition];
        let store = self.stores[partition].as_mut().unwrap();
        let from = index(store.next_offset()).max(log.start);
        let until = from.saturating_add(records_max).min(log.end());
        let mut updates = Vec::new();
        // The log's start first, as fetching below it fails.
        store.handle_progress(offset(log.end()), offset(log.start), &mut updates);
        if from < until {
            let mut batch = BatchBuilder::new();
            for number in from..until {
                let (key, value, tag) = log.records[number];
                let value = if value == "big" { &*BIG } else { value };
                let place = etag(partition, number, log.generation);
                let tag = (!tag.is_empty()).then_some((&b"tag"[..], Some(tag.as_bytes())));
                let headers = [(&b"etag"[..], Some(place.as_bytes()))]
                    .into_iter()
                    .chain(tag);
                let key = (!key.is_empty()).then_some(key.as_bytes());
                let value = (value != "-").then_some(value.as_bytes());
                batch.append(UnixMillis(0), key, value, headers);
            }
            let batch = Batch::parse(batch.finish(-1, -1, -1).freeze()).unwrap();
            let mut header = batch.header;
            header.base_offset = offset(from);
            let mut builder = store.builder();
            let inflated = batch.inflate(1 << 26).unwrap();
            builder.push_batch(&header, &inflated).unwrap();
            store.append(builder, UnixMillis(0), &mut updates);
            store.handle_progress(offset(log.end()), offset(log.start), &mut updates);
        }
    }

    /// Lets go of the oldest that is cached of a partition: `bytes`, a chunk at least.
    fn evict(&mut self, partition: usize, bytes: usize) {
        let store = self.stores[partition].as_mut().unwrap();
        store.evict(bytes, &mut Vec::new());
    }

    /// Begins a partition again.
    fn reset(&mut self, partition: usize, start: usize) {
        let store = self.stores[partition].as_mut().unwrap();
        store.reset(offset(start), &mut Vec::new());
    }

    fn advance(&mut self, records_max: usize) -> (Advanced, BTreeSet<SubscriberId>) {
        let mut woken = BTreeSet::new();
        let topic = Cached(self.policy, &self.stores);
        let advanced = self.feed.advance(&topic, records_max, |id| {
            woken.insert(id);
        });
        (advanced, woken)
    }

    fn advance_all(&mut self) {
        assert_eq!(self.advance(usize::MAX).0, Advanced::All);
    }

    fn take(&mut self, id: SubscriberId, room: usize) -> Taken {
        let topic = Cached(self.policy, &self.stores);
        self.feed.take(id, &topic, room)
    }

    fn subscribe(&mut self, selection: &Selection, resume: Option<&str>) -> SubscriberId {
        let resume = resume.map(|id| progress_of(id.as_bytes()).unwrap());
        self.feed.subscribe(selection.clone(), resume.as_ref())
    }

    /// All that there is for a subscriber now.
    fn drain(&mut self, kafka: &Kafka, id: SubscriberId) -> String {
        self.drain_by(kafka, id, 1 << 20)
    }

    /// The same in small pieces.
    fn drain_by(&mut self, kafka: &Kafka, id: SubscriberId, room: usize) -> String {
        String::from_utf8(self.drain_bytes(kafka, id, room)).unwrap()
    }

    /// The same of whatever form.
    fn drain_bytes(&mut self, kafka: &Kafka, id: SubscriberId, room: usize) -> Vec<u8> {
        let mut given = Vec::new();
        let mut taken = self.take(id, room);
        for _ in 0..100_000 {
            let next = match taken {
                Taken::Nothing => return given,
                Taken::Events { bytes, .. } => {
                    given.extend_from_slice(&bytes);
                    None
                }
                Taken::LookOn => None,
                Taken::AskEnds => {
                    self.feed.handle_ends(id, &kafka.ends());
                    None
                }
                Taken::Cold(range) => {
                    let selection = self.feed.selection(id).unwrap().clone();
                    match kafka.read(range, &selection, room) {
                        Some(piece) => Some(self.feed.handle_cold(id, &piece)),
                        None => return given,
                    }
                }
            };
            taken = next.unwrap_or_else(|| self.take(id, room));
        }
        panic!("it never comes to an end");
    }

    /// Which records there are for a subscriber now, as `0:7 1:3 gap 0:0'`.
    fn records(&mut self, kafka: &Kafka, id: SubscriberId) -> String {
        seen(&self.drain(kafka, id))
    }

    fn is_following(&self, id: SubscriberId) -> bool {
        !self.feed.catching_up.contains(&id)
    }

    /// Bytes that the feed holds: blocks, and what is being written.
    fn held_bytes(&self) -> usize {
        let channels = self.feed.channels.values();
        channels.map(Channel::bytes_when_sealed).sum()
    }
}

/// The id of who has so much of each partition.
fn id_at(offsets: &[i64]) -> String {
    encode(offsets.iter().copied()).text().to_owned()
}

/// Events and comments, in order.
fn events(text: &str) -> impl Iterator<Item = &str> {
    text.split_terminator("\n\n")
}

/// The id of an event; `None`: it is a comment.
fn id_of(event: &str) -> Option<&str> {
    event.strip_prefix("id:")?.lines().next()
}

/// Where the record of an event is.
fn place_of(event: &str) -> Option<&str> {
    Some(id_of(event)?.split_once('/')?.1.trim_end_matches("\"]"))
}

fn seen(text: &str) -> String {
    let names = events(text).map(|event| place_of(event).unwrap_or(event.trim_start_matches(": ")));
    names.collect::<Vec<_>>().join(" ")
}

fn all() -> Selection {
    Selection::default()
}

fn filter(key: &str, tag: &str) -> RecordFilter {
    let tag = (!tag.is_empty()).then(|| (b"tag".to_vec(), tag.into()));
    RecordFilter {
        key: (!key.is_empty()).then(|| key.into()),
        headers: tag.into_iter().collect(),
    }
}

fn only(filters: &[(&str, &str)]) -> Selection {
    Selection {
        filters: filters.iter().map(|(key, tag)| filter(key, tag)).collect(),
        ..Selection::default()
    }
}
