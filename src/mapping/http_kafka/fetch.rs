//! Reading: from the cached views of a topic to an answer. Decides, for a single item or a collection, and asks to wait or to read Kafka when the cache cannot say.
//!
//! Entity tags (DESIGN: quoted, RFC 9110): on a compacted topic the tag of an item names its record, and 304 means that this very record is still the newest;
//! on other topics it is a cursor, and 304 means that nothing newer matches. Rule: "not found" is only said when all of the topic was looked at.

use std::num::NonZeroU32;

use bytes::Bytes;

use crate::http::{Body, Problem, RequestHead, ResponseHead};
use crate::kafka::cache::{Lookup, PartitionView, Policy, RecordView, Superseded};
use crate::kafka::partition::partition_for_key;
use crate::mapping::prefer::{Prefer, is_no_cache};
use crate::mapping::progress::{IfNoneMatch, Progress, encode_tag, quote};

/// A condition on a record; all parts must match.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordFilter {
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Headers that it must have; any of several with the name will do.
    pub headers: Vec<(Vec<u8>, Vec<u8>)>,
}

impl RecordFilter {
    /// Whether a record has the headers.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "an iterator over borrowed bytes, cloned for each walk over it"
    )]
    pub fn matches_headers<'a>(
        &self,
        headers: impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)> + Clone,
    ) -> bool {
        self.headers.iter().all(|(name, value)| {
            headers
                .clone()
                .any(|(have, with)| have == name && with == Some(value))
        })
    }

    /// Whether a record matches in full.
    pub fn matches<'a>(
        &self,
        key: Option<&[u8]>,
        headers: impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)> + Clone,
    ) -> bool {
        self.key.as_ref().is_none_or(|wanted| key == Some(wanted)) && self.matches_headers(headers)
    }
}

/// What is to be read.
#[derive(Clone, Debug)]
pub struct FetchRequest {
    /// One must match; empty: any record.
    pub filters: Vec<RecordFilter>,
    /// All matches as a JSON array, not the first one.
    pub merge: bool,
    /// What the client prefers.
    pub prefer: Prefer,
    /// The answer has to be as new as Kafka's end (`cache-control: no-cache`).
    pub is_no_cache: bool,
    if_none_match: IfNoneMatch,
}

/// An answer whose body, if any, is at hand.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Status and headers.
    pub head: ResponseHead,
    /// The body.
    pub body: Body,
}

impl From<Problem> for Answer {
    fn from(problem: Problem) -> Self {
        let (head, body) = problem.into_response();
        Self { head, body }
    }
}

/// What the cache says about a single item.
#[derive(Clone, Debug)]
pub enum SingleOutcome {
    /// This.
    Answer(Box<Answer>),
    /// There is none.
    NotFound,
    /// A partition has not been read to its end.
    Warming,
    /// Nothing was found, and nothing below `below` is cached of this partition.
    NotCached {
        /// The partition.
        partition: usize,
        /// Where the cache begins.
        below: i64,
    },
    /// Nothing was found so far, and looking on now would keep the core: ask again.
    Unfinished,
}

/// Below which offset of each partition nothing matches: the cache was searched there, or Kafka.
#[derive(Clone, Debug, Default)]
pub struct Searched {
    below: Vec<i64>,
}

impl Searched {
    /// Nothing in the partition matches below this offset.
    pub fn set(&mut self, partition: usize, below: i64) {
        if self.below.len() <= partition {
            self.below.resize(partition + 1, i64::MIN);
        }
        let known = &mut self.below[partition];
        *known = below.max(*known);
    }

    fn get(&self, partition: usize) -> i64 {
        self.below.get(partition).copied().unwrap_or(i64::MIN)
    }
}

/// Records that one look at a topic examines one by one, for conditions that no index helps with: some tenths of a millisecond.
const RECORDS_PER_LOOK_MAX: usize = 2_048;

/// The cached partitions of a topic.
pub trait CachedTopic {
    /// How many there are.
    fn partition_count(&self) -> usize;
    /// The topic's cleanup policy.
    fn policy(&self) -> Policy;
    /// Looks at a partition; `None` while nothing of it has been read.
    fn with_view<R>(&self, partition: usize, read: impl FnOnce(&PartitionView) -> R) -> Option<R>;
}

impl FetchRequest {
    /// A request with these filters and the conditions of `head`.
    pub fn new(filters: Vec<RecordFilter>, merge: bool, head: &RequestHead) -> Self {
        Self {
            filters,
            merge,
            prefer: Prefer::parse(head.headers().get_all("prefer")),
            is_no_cache: is_no_cache(head.headers().get_all("cache-control")),
            if_none_match: IfNoneMatch::parse(head.headers().get_all("if-none-match")),
        }
    }

    /// Whether the client named what it has.
    pub fn is_conditional(&self) -> bool {
        !self.if_none_match.is_absent()
    }

    /// The wanted key, when one is wanted.
    pub fn only_key(&self) -> Option<&[u8]> {
        match &self.filters[..] {
            [RecordFilter { key: Some(key), .. }] => Some(key),
            _ => None,
        }
    }

    /// The partition where records of the wanted key belong, when one key is wanted.
    pub fn home_partition(&self, partition_count: usize) -> Option<usize> {
        let key = self.only_key()?;
        let count = NonZeroU32::new(u32::try_from(partition_count).ok()?)?;
        usize::try_from(partition_for_key(key, count)).ok()
    }

    /// Whether a record is wanted.
    pub fn matches(&self, record: &RecordView<'_>) -> bool {
        self.filters.is_empty()
            || self
                .filters
                .iter()
                .any(|filter| filter.matches(record.key, record.headers.clone()))
    }

    /// Answers from the cache.
    pub fn single(&self, topic: &impl CachedTopic) -> SingleOutcome {
        self.single_beyond(topic, &mut Searched::default())
    }

    /// Answers from the cache where it was not `searched` before, and notes what was searched now.
    pub fn single_beyond(
        &self,
        topic: &impl CachedTopic,
        searched: &mut Searched,
    ) -> SingleOutcome {
        if self.is_cursor_unread(topic) {
            return SingleOutcome::Warming;
        }
        let cursor = self.cursor(topic);
        let home = self.home_partition(topic.partition_count());
        // The key's own partition first: nearly always that is where it is, and the others need not even be read yet.
        let order = home
            .into_iter()
            .chain((0..topic.partition_count()).filter(|partition| Some(*partition) != home));
        let mut gap = None;
        let mut budget = RECORDS_PER_LOOK_MAX;
        for partition in order {
            let asked = cursor
                .as_ref()
                .and_then(|cursor| cursor.offset(i32::try_from(partition).ok()?))
                .unwrap_or(i64::MIN);
            let below = searched.get(partition);
            let looked = topic.with_view(partition, |view| {
                // A log that ends before what was searched is another one.
                let is_same_log = below <= view.next_offset();
                let from = if is_same_log { asked.max(below) } else { asked };
                let found = self.find(view, from, &mut budget);
                match found {
                    Found::Nothing => searched.set(partition, view.next_offset()),
                    Found::Unfinished(offset) => searched.set(partition, offset),
                    Found::Record(_) | Found::NotCached(_) | Found::Warming => {}
                }
                self.look(&found, partition, cursor.is_some())
            });
            match looked.unwrap_or(Some(SingleOutcome::Warming)) {
                None => {}
                // Only a key's own partition is sure to have its record: elsewhere another one, that is cached, does as well.
                Some(missing @ SingleOutcome::NotCached { .. }) if home != Some(partition) => {
                    gap = gap.or(Some(missing));
                }
                Some(outcome) => return outcome,
            }
        }
        gap.unwrap_or_else(|| self.nothing_found(cursor.as_ref()))
    }

    /// The answer once every partition was looked at in vain, the cold ones in Kafka too.
    pub fn nothing_found(&self, cursor: Option<&Progress>) -> SingleOutcome {
        match (cursor, self.if_none_match.tags().first()) {
            (Some(_), Some(tag)) => {
                let head = ResponseHead::new(304).with("etag", quote(&tag.encode()));
                SingleOutcome::Answer(Box::new(Answer {
                    head,
                    body: Body::Empty,
                }))
            }
            _ => SingleOutcome::NotFound,
        }
    }

    /// Where to look on from, on a topic that is not compacted: the first tag listed, unless it is from another log.
    pub fn cursor(&self, topic: &impl CachedTopic) -> Option<Progress> {
        let progress = self.progress_asked(topic)?;
        let is_within = |(partition, offset): (i32, i64)| {
            let partition = usize::try_from(partition).ok()?;
            topic.with_view(partition, |view| offset <= view.end_offset())
        };
        progress
            .iter()
            .all(|entry| is_within(entry).unwrap_or(false))
            .then(|| progress.clone())
    }

    /// Whether a partition that the tag names has not been read to its end, so that nobody knows yet if the tag is from this log.
    fn is_cursor_unread(&self, topic: &impl CachedTopic) -> bool {
        let named = self
            .progress_asked(topic)
            .into_iter()
            .flat_map(Progress::iter);
        let mut named = named.filter_map(|(partition, _)| usize::try_from(partition).ok());
        named.any(|partition| {
            partition < topic.partition_count()
                && !topic
                    .with_view(partition, PartitionView::is_ready)
                    .unwrap_or(false)
        })
    }

    fn progress_asked(&self, topic: &impl CachedTopic) -> Option<&Progress> {
        let tag = self
            .if_none_match
            .tags()
            .first()
            .filter(|_| !topic.policy().compact)?;
        Some(&tag.progress)
    }

    /// Makes the answer to a record that was found; `None` for a tombstone. `next_offset` is one past its offset, `is_cursor` whether it was looked for from
    /// [`FetchRequest::cursor`] on.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "an iterator over borrowed bytes, cloned for each walk over it"
    )]
    pub fn answer<'a>(
        &self,
        partition: usize,
        next_offset: i64,
        value: Option<&[u8]>,
        headers: impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)> + Clone,
        is_cursor: bool,
    ) -> Option<Box<Answer>> {
        let value = value?;
        // What was given stays in: without it the next read would begin those partitions anew.
        let given = self.if_none_match.tags().first().filter(|_| is_cursor);
        let mut progress = given.map_or_else(Progress::default, |tag| tag.progress.clone());
        progress.set(i32::try_from(partition).unwrap_or(i32::MAX), next_offset);
        let header = |name: &[u8]| {
            headers
                .clone()
                .find(|(have, _)| *have == name)
                .and_then(|(_, value)| value)
        };
        let suffix = header(b"etag");
        let etag = quote(&encode_tag(&progress, suffix));
        if !is_cursor && self.if_none_match.matches(&progress, suffix) {
            return Some(Box::new(Answer {
                head: ResponseHead::new(304).with("etag", etag),
                body: Body::Empty,
            }));
        }
        let mut head = ResponseHead::new(if value.is_empty() { 204 } else { 200 });
        if let Some(content_type) = header(b"content-type") {
            head = head.with("content-type", content_type);
        }
        let body = if value.is_empty() {
            Body::Empty
        } else {
            Body::Full(Bytes::copy_from_slice(value))
        };
        Some(Box::new(Answer {
            head: head.with("etag", etag),
            body,
        }))
    }

    /// What one partition says; `None`: nothing, the others are to be asked.
    fn look(&self, found: &Found<'_>, partition: usize, is_cursor: bool) -> Option<SingleOutcome> {
        match found {
            Found::Record(record) => {
                let answer = self.answer(
                    partition,
                    record.offset + 1,
                    record.value,
                    record.headers.clone(),
                    is_cursor,
                );
                Some(answer.map_or(SingleOutcome::NotFound, SingleOutcome::Answer))
            }
            Found::NotCached(below) => Some(SingleOutcome::NotCached {
                partition,
                below: *below,
            }),
            Found::Warming => Some(SingleOutcome::Warming),
            Found::Unfinished(_) => Some(SingleOutcome::Unfinished),
            Found::Nothing => None,
        }
    }

    fn find<'v>(&self, view: &'v PartitionView, from: i64, budget: &mut usize) -> Found<'v> {
        if self.filters.is_empty() {
            return scan(view, from, &RecordFilter::default(), budget);
        }
        // Each has a share of its own, or the first would leave the others where they are, and the partition with them.
        let share = (*budget / self.filters.len()).max(1);
        let found = self.filters.iter().map(|filter| {
            let mut left = share;
            let found = match &filter.key {
                Some(key) => find_key(view, from, filter, key, &mut left),
                None => scan(view, from, filter, &mut left),
            };
            *budget = budget.saturating_sub(share - left);
            found
        });
        found.fold(Found::Nothing, Found::or)
    }

    /// The head of a collection's answer, as the topic stands now; 304 needs no more than it.
    pub fn collection(&self, topic: &impl CachedTopic) -> CollectionHead {
        let mut progress = Progress::default();
        for partition in 0..topic.partition_count() {
            let newest = topic
                .with_view(partition, |view| view.next_offset() - 1)
                .unwrap_or(-1);
            progress.set(i32::try_from(partition).unwrap_or(i32::MAX), newest);
        }
        let is_unchanged = self.if_none_match.matches(&progress, None);
        let head = ResponseHead::new(if is_unchanged { 304 } else { 200 })
            .with("content-type", "application/json")
            .with("etag", quote(progress.encode().as_bytes()));
        CollectionHead { head, is_unchanged }
    }
}

/// How the answer to a collection begins.
#[derive(Clone, Debug)]
pub struct CollectionHead {
    /// Status and headers.
    pub head: ResponseHead,
    /// The client has it already: there is no body.
    pub is_unchanged: bool,
}

/// What a partition has for one filter, or all of them.
enum Found<'v> {
    /// The record that counts, which may be a tombstone.
    Record(RecordView<'v>),
    Nothing,
    NotCached(i64),
    Warming,
    /// Nothing below this offset; what lies above was not looked at.
    Unfinished(i64),
}

impl Found<'_> {
    /// What two filters find together: the older record, unless an older one may be where nobody has looked.
    fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::Warming, _) | (_, Self::Warming) => Self::Warming,
            (Self::NotCached(below), _) | (_, Self::NotCached(below)) => Self::NotCached(below),
            (Self::Unfinished(one), Self::Unfinished(other)) => Self::Unfinished(one.min(other)),
            (Self::Record(record), Self::Unfinished(below))
            | (Self::Unfinished(below), Self::Record(record)) => {
                if record.offset < below {
                    Self::Record(record)
                } else {
                    Self::Unfinished(below)
                }
            }
            (Self::Record(one), Self::Record(other)) => {
                Self::Record(if other.offset < one.offset {
                    other
                } else {
                    one
                })
            }
            (Self::Nothing, found) | (found, Self::Nothing) => found,
        }
    }
}

fn find_key<'v>(
    view: &'v PartitionView,
    mut from: i64,
    filter: &RecordFilter,
    key: &[u8],
    budget: &mut usize,
) -> Found<'v> {
    loop {
        if *budget == 0 {
            return Found::Unfinished(from);
        }
        *budget -= 1;
        match view.oldest_from(key, from) {
            Lookup::Found(record) if filter.matches_headers(record.headers.clone()) => {
                return Found::Record(record);
            }
            // On a compacted topic only the newest record of the key counts, and it does not match.
            Lookup::Found(_) if view.policy().compact => return Found::Nothing,
            Lookup::Found(record) => from = record.offset + 1,
            Lookup::NotCached { below } if from < below => return Found::NotCached(below),
            // Nothing is missing from where it was looked.
            Lookup::Absent | Lookup::NotCached { .. } => return Found::Nothing,
            Lookup::Warming => return Found::Warming,
        }
    }
}

fn scan<'v>(
    view: &'v PartitionView,
    from: i64,
    filter: &RecordFilter,
    budget: &mut usize,
) -> Found<'v> {
    if !view.is_ready() {
        return Found::Warming;
    }
    let from = from.max(view.log_start_offset());
    if from < view.evicted_below() {
        return Found::NotCached(view.evicted_below());
    }
    for record in view.scan(from, Superseded::Skip) {
        if *budget == 0 {
            return Found::Unfinished(record.offset());
        }
        *budget -= 1;
        let Some(record) = record.view() else {
            continue;
        };
        if filter.matches_headers(record.headers.clone()) {
            return Found::Record(record);
        }
    }
    Found::Nothing
}

/// Writes the values of a collection as a JSON array, piece by piece.
#[derive(Clone, Copy, Debug, Default)]
pub struct JsonArray {
    begun: bool,
}

impl JsonArray {
    /// Appends a value, which is JSON text already; null and empty ones are left out.
    pub fn push(&mut self, value: Option<&[u8]>, out: &mut Vec<u8>) {
        let Some(value) = value.filter(|value| !value.is_empty()) else {
            return;
        };
        out.push(if self.begun { b',' } else { b'[' });
        self.begun = true;
        out.extend_from_slice(value);
    }

    /// Ends the array.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        if !self.begun {
            out.push(b'[');
        }
        out.push(b']');
    }
}
