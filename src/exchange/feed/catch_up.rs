//! A subscriber that is not where the order stands: it reads the partitions for itself, one after the other, with ids of its own.
//!
//! History is given as it stands: on a compacted topic the newest record of each key. Rule: a position moves only over what was given, or was looked at and not wanted.

use std::ops::Range;
use std::rc::Rc;

use bytes::Bytes;

use super::channel::{BLOCK_BYTES, Selection};
use super::{ColdRange, EARLIEST, Form, Taken, encode};
use crate::kafka::cache::{Lookup, PartitionView, RecordView, Superseded};
use crate::mapping::http_kafka::fetch::CachedTopic;
use crate::mapping::progress::Progress;
use crate::mapping::sse_kafka::event::EventRecord;

/// Records that one call looks at one by one: some tenths of a millisecond.
const RECORDS_PER_LOOK_MAX: usize = 2_048;

/// What was read of a [`ColdRange`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ColdPiece {
    /// The partition.
    pub partition: usize,
    /// The records that are wanted, in order.
    pub events: Vec<ColdEvent>,
    /// One past the last offset that was looked at.
    pub next_offset: i64,
}

/// A record that was read from Kafka for one subscriber.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColdEvent {
    /// Its offset.
    pub offset: i64,
    /// Its time, milliseconds since 1970.
    pub timestamp_ms: i64,
    /// Its key.
    pub key: Option<Bytes>,
    /// Its value.
    pub value: Option<Bytes>,
    /// Its header `etag`.
    pub etag: Option<Bytes>,
}

impl ColdEvent {
    /// A copy of a record.
    pub fn of(offset: i64, record: &EventRecord<'_>) -> Self {
        Self {
            offset,
            timestamp_ms: record.timestamp_ms,
            key: record.key.map(Bytes::copy_from_slice),
            value: record.value.map(Bytes::copy_from_slice),
            etag: record.etag.map(Bytes::copy_from_slice),
        }
    }

    /// Bytes that it takes, about.
    pub fn bytes(&self) -> usize {
        let parts = [&self.key, &self.value, &self.etag];
        let lengths = parts.into_iter().flatten().map(Bytes::len);
        lengths.sum::<usize>() + size_of::<Self>()
    }

    fn record(&self) -> EventRecord<'_> {
        EventRecord {
            timestamp_ms: self.timestamp_ms,
            key: self.key.as_deref(),
            value: self.value.as_deref(),
            etag: self.etag.as_deref(),
        }
    }
}

/// A subscriber that is behind, or ahead.
pub(super) struct CatchUp {
    /// One for each partition seen so far.
    positions: Vec<i64>,
    resume: Option<Progress>,
    /// The partition to read first.
    turn: usize,
    has_asked_ends: bool,
    /// Partitions of which records are gone, not yet said.
    unsaid_gaps: u64,
    gaps: u64,
}

/// What a look at a partition comes to.
enum Look {
    /// All up to where the order stands was given.
    Done,
    /// There is room for no more, or enough was looked at.
    Full,
    /// The rest is not cached.
    Cold(Range<i64>),
    /// It is ahead.
    Ahead,
}

/// The next record that is wanted.
enum Match<'v> {
    Record(RecordView<'v>),
    /// None before the end.
    None,
    /// None below this offset; what lies above was not looked at.
    Unfinished(i64),
    NotCached,
    /// The cache cannot say yet.
    Unknown,
}

impl CatchUp {
    /// One that goes on after `resume`, or at the start of what it does not name.
    pub(super) fn resuming(resume: Option<&Progress>) -> Self {
        Self {
            positions: Vec::new(),
            resume: resume.cloned(),
            turn: 0,
            has_asked_ends: false,
            unsaid_gaps: 0,
            gaps: 0,
        }
    }

    /// One that had this much.
    pub(super) fn after(progress: &[i64]) -> Self {
        Self {
            positions: progress.to_vec(),
            ..Self::resuming(None)
        }
    }

    /// Gaps that it met since it was last asked.
    pub(super) const fn take_gaps(&mut self) -> u64 {
        std::mem::replace(&mut self.gaps, 0)
    }

    /// Its progress, if it stands where the order does, in every partition.
    pub(super) fn has_arrived(&self, order: &[Option<i64>]) -> Option<Rc<[i64]>> {
        let arrived = !order.is_empty()
            && order.len() == self.positions.len()
            && order
                .iter()
                .zip(&self.positions)
                .all(|(order, own)| *order == Some(*own));
        arrived.then(|| Rc::from(&self.positions[..]))
    }

    /// Reads on, `room` bytes or a little more.
    pub(super) fn take(
        &mut self,
        topic: &impl CachedTopic,
        order: &[Option<i64>],
        selection: &Selection,
        room: usize,
    ) -> Taken {
        while self.positions.len() < order.len() {
            // Of this one's end nothing was asked.
            self.has_asked_ends = false;
            let partition = i32::try_from(self.positions.len()).unwrap_or(i32::MAX);
            let resume = self
                .resume
                .as_ref()
                .and_then(|resume| resume.offset(partition));
            // -1 is what an empty partition's last offset looks like.
            self.positions
                .push(resume.filter(|offset| *offset >= 0).unwrap_or(EARLIEST));
        }
        let mut out = Out::new(room.min(BLOCK_BYTES));
        let mut next = Taken::Nothing;
        for step in 0..order.len() {
            let partition = (self.turn + step) % order.len();
            let Some(until) = order[partition] else {
                continue;
            };
            let before = self.positions[partition];
            let look = topic.with_view(partition, |view| {
                self.look(partition, view, until, selection, &mut out)
            });
            match look {
                Some(Look::Full) => {
                    // The others get their share, however fast this one grows; it gets its own, however much they took.
                    let has_moved = self.positions[partition] != before;
                    self.turn = (partition + usize::from(has_moved)) % order.len();
                    next = Taken::LookOn;
                    break;
                }
                Some(Look::Cold(range)) => {
                    self.turn = (partition + 1) % order.len();
                    next = Taken::Cold(ColdRange {
                        partition,
                        from: range.start,
                        until: range.end,
                    });
                    break;
                }
                Some(Look::Ahead) if !self.has_asked_ends => next = Taken::AskEnds,
                None | Some(Look::Done | Look::Ahead) => {}
            }
        }
        if out.bytes.is_empty() {
            return next;
        }
        Taken::Events {
            bytes: Bytes::from(out.bytes),
            count: out.events,
            has_more: true,
        }
    }

    /// The log of a partition was replaced by another one.
    pub(super) fn handle_replaced(&mut self, partition: usize) {
        // What is known of the ends is known no more.
        self.has_asked_ends = false;
        self.lose(partition);
    }

    /// The partitions end there.
    pub(super) fn handle_ends(&mut self, ends: &[i64]) {
        self.has_asked_ends = true;
        for (partition, end) in ends.iter().enumerate() {
            let position = self.positions.get(partition);
            if position.is_some_and(|position| position > end) {
                self.lose(partition);
            }
        }
    }

    /// The log that the client has read is gone: it begins anew.
    fn lose(&mut self, partition: usize) {
        if let Some(position) = self.positions.get_mut(partition) {
            let had_any = std::mem::replace(position, EARLIEST) > 0;
            self.gaps += u64::from(had_any);
            self.unsaid_gaps += u64::from(had_any);
        }
    }

    /// Encodes what was read from Kafka.
    pub(super) fn handle_cold(&mut self, piece: &ColdPiece, form: Form) -> Taken {
        let Some(position) = self.positions.get(piece.partition).copied() else {
            return Taken::Nothing;
        };
        if position == EARLIEST {
            // It was read from a log that is gone.
            return Taken::LookOn;
        }
        let mut out = Out::new(usize::MAX);
        self.say_gaps(form, &mut out);
        for event in piece.events.iter().filter(|event| event.offset >= position) {
            self.positions[piece.partition] = event.offset + 1;
            out.push(form, &self.positions, &event.record());
        }
        let reached = &mut self.positions[piece.partition];
        *reached = piece.next_offset.max(*reached);
        if out.bytes.is_empty() {
            return Taken::LookOn;
        }
        Taken::Events {
            bytes: Bytes::from(out.bytes),
            count: out.events,
            has_more: true,
        }
    }

    fn say_gaps(&mut self, form: Form, out: &mut Out) {
        for _ in 0..std::mem::take(&mut self.unsaid_gaps) {
            form.write_gap(&mut out.bytes);
        }
    }

    fn look(
        &mut self,
        partition: usize,
        view: &PartitionView,
        until: i64,
        selection: &Selection,
        out: &mut Out,
    ) -> Look {
        let log_start = view.log_start_offset();
        if log_start > until {
            // The order is about to move there. Whoever went first would be ahead of it, and not be told of what happens to the log until then.
            return Look::Done;
        }
        let position = self.positions[partition];
        if position < log_start {
            // Before anything of it was given there is nothing to miss.
            let had_any = position > 0;
            self.positions[partition] = log_start;
            self.gaps += u64::from(had_any);
            self.unsaid_gaps += u64::from(had_any);
        }
        self.say_gaps(selection.form, out);
        if self.positions[partition] > until {
            return Look::Ahead;
        }
        while self.positions[partition] < until {
            if !out.has_room() {
                return Look::Full;
            }
            let from = self.positions[partition];
            match next_match(view, selection, from, until, &mut out.looks_left) {
                Match::Record(record) => {
                    self.positions[partition] = record.offset + 1;
                    out.push(selection.form, &self.positions, &EventRecord::of(&record));
                }
                Match::None => self.positions[partition] = until,
                Match::Unfinished(offset) => {
                    self.positions[partition] = offset;
                    return Look::Full;
                }
                // What lies above is here, and newer than what is read from Kafka.
                Match::NotCached => return Look::Cold(from..until.min(view.evicted_below())),
                Match::Unknown => return Look::Done,
            }
        }
        Look::Done
    }
}

/// What is being written for one call.
struct Out {
    bytes: Vec<u8>,
    events: u32,
    room: usize,
    looks_left: usize,
}

impl Out {
    const fn new(room: usize) -> Self {
        Self {
            bytes: Vec::new(),
            events: 0,
            room,
            looks_left: RECORDS_PER_LOOK_MAX,
        }
    }

    const fn has_room(&self) -> bool {
        self.bytes.len() < self.room && self.looks_left > 0
    }

    fn push(&mut self, form: Form, positions: &[i64], record: &EventRecord<'_>) {
        let progress = encode(positions.iter().copied());
        form.write(&mut self.bytes, &progress, record);
        self.events += 1;
    }
}

/// The first record from `from` on and before `until` that is wanted.
fn next_match<'v>(
    view: &'v PartitionView,
    selection: &Selection,
    from: i64,
    until: i64,
    looks_left: &mut usize,
) -> Match<'v> {
    if from < view.evicted_below() {
        return Match::NotCached;
    }
    if let Some(keys) = selection.keys() {
        return next_of_keys(view, selection, &keys, from..until, looks_left);
    }
    for record in view.scan(from, Superseded::Skip) {
        let offset = record.offset();
        if offset >= until {
            return Match::None;
        }
        if *looks_left == 0 {
            return Match::Unfinished(offset);
        }
        *looks_left -= 1;
        if let Some(record) = record.view()
            && selection.wants(&record)
        {
            return Match::Record(record);
        }
    }
    Match::None
}

fn next_of_keys<'v>(
    view: &'v PartitionView,
    selection: &Selection,
    keys: &[&[u8]],
    range: Range<i64>,
    looks_left: &mut usize,
) -> Match<'v> {
    let mut from = range.start;
    loop {
        if *looks_left == 0 {
            return Match::Unfinished(from);
        }
        *looks_left -= 1;
        let mut first: Option<RecordView<'v>> = None;
        for key in keys {
            match view.oldest_from(key, from) {
                Lookup::Found(record) => {
                    if first
                        .as_ref()
                        .is_none_or(|first| record.offset < first.offset)
                    {
                        first = Some(record);
                    }
                }
                Lookup::Warming if view.policy().compact => return Match::Unknown,
                // What has been read of it has none.
                Lookup::Absent | Lookup::NotCached { .. } | Lookup::Warming => {}
            }
        }
        match first {
            Some(record) if record.offset >= range.end => return Match::None,
            Some(record) if selection.wants(&record) => return Match::Record(record),
            Some(record) => from = record.offset + 1,
            None => return Match::None,
        }
    }
}
