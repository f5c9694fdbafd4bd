//! What a listener has not taken yet of the replies to its id: a bounded queue, and from where Kafka has to be read when the queue was not enough.
//!
//! ```text
//!  Held ── looked: none ───────────────────────▶ live ── queue full, or missed on the way ──▶ lagging ── queue taken: read, read, … ──▶ live
//!    │ (an id made up just now begins here ──────▲)                                              ▲
//!    └── looked: known ─── from the first reply on ──────────────────────────────────────────────┘
//! ```
//! Sits in the shell's [`Listening`](crate::kafka::replies::Listening). Rules: each record is handed out once, in the order of its partition; what is passed while
//! its partition lags only says how far has to be read, so that reading and listening meet without a gap.

use std::collections::VecDeque;
use std::time::Duration;

use super::{Known, Looked, Place, ReplyFault, ReplyRecord};
use crate::clock::Instant;

/// Records that may keep the whole batch with which they came; further ones are copied out of it.
const SHARED_MAX: usize = 16;
/// The first and the longest wait before a read that came to nothing is tried again.
const RETRY_MIN: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(1);
/// How long reads may come to nothing.
const READS_WAIT: Duration = Duration::from_secs(30);
/// How long one read may take.
const READ_WAIT: Duration = Duration::from_secs(10);

/// How much a queue may hold; one record, however large, always fits.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    /// Records.
    pub records: usize,
    /// Bytes of records.
    pub bytes: usize,
}

/// Records that were to be passed and were not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Missed {
    /// Their partition.
    pub partition: i32,
    /// The offset of the first.
    pub first: i64,
    /// And of the last.
    pub last: i64,
}

/// What was read of a partition.
#[derive(Clone, Debug)]
pub struct ReadOn {
    /// The replies to the id, in order.
    pub records: Vec<ReplyRecord>,
    /// One past the last offset looked at.
    pub next_offset: i64,
}

/// Where a listener stands in one partition.
#[derive(Debug)]
struct Track {
    partition: i32,
    /// One past the last offset that was queued or passed over.
    next: i64,
    /// One past the last offset that has to be read from Kafka, while it lags.
    read_to: Option<i64>,
}

/// Reads that come to nothing.
#[derive(Clone, Copy, Debug)]
struct Failing {
    since: Instant,
    wait: Duration,
    retry_at: Instant,
}

/// See above.
#[derive(Debug)]
pub struct Backlog {
    /// With their sizes.
    queue: VecDeque<(ReplyRecord, usize)>,
    queued_bytes: usize,
    /// One for each partition with a reply; all of them are expected in one.
    tracks: Vec<Track>,
    /// `None` while the look-up is under way: nothing is handed out.
    looked: Option<Looked>,
    /// The partition of the replies that there were at first, and how far it was indexed then.
    history: Option<(i32, i64)>,
    failing: Option<Failing>,
    fault: Option<ReplyFault>,
}

impl Backlog {
    /// An empty one. `is_fresh`: there were no replies so far, and nobody has to look.
    pub fn new(is_fresh: bool) -> Self {
        Self {
            queue: VecDeque::new(),
            queued_bytes: 0,
            tracks: Vec::new(),
            looked: is_fresh.then_some(Looked::Known(None)),
            history: None,
            failing: None,
            fault: None,
        }
    }

    /// Takes a reply that was just indexed.
    pub fn handle_passed(&mut self, record: ReplyRecord, room: Room) {
        let Place { partition, offset } = record.reply.place;
        let size = record.reply.size();
        let is_full = self.is_full(size, room);
        let track = self.track(partition, offset);
        if offset < track.next {
            return;
        }
        if is_full || track.read_to.is_some() {
            track.miss(offset, offset);
            return;
        }
        track.next = offset + 1;
        self.push(record, size);
    }

    /// Takes that replies were lost on the way.
    pub fn handle_missed(&mut self, missed: Missed) {
        let track = self.track(missed.partition, missed.first);
        if missed.last >= track.next {
            track.miss(missed.first, missed.last);
        }
    }

    /// Takes what the look-up said. `indexed`: how far the partition of the first reply was indexed; what lies beyond is passed.
    pub fn handle_looked(&mut self, looked: Looked, indexed: i64) {
        self.looked = Some(looked);
        let first = match looked {
            Looked::Known(Some(Known { first, .. })) => first,
            Looked::Known(None) => return,
            Looked::Unavailable | Looked::Overloaded => {
                self.fault = Some(ReplyFault::Unavailable);
                return;
            }
        };
        let mut places = self.queue.iter().map(|(record, _)| record.reply.place);
        if places.any(|place| place == first) {
            // Everything since the first was passed.
            return;
        }
        self.queue
            .retain(|(record, _)| record.reply.place.partition != first.partition);
        self.queued_bytes = self.queue.iter().map(|(_, size)| size).sum();
        self.history = Some((first.partition, indexed));
        let track = self.track(first.partition, first.offset);
        let passed_to = track.next.max(track.read_to.unwrap_or(i64::MIN));
        track.read_to = Some(indexed.max(passed_to).max(first.offset + 1));
        track.next = first.offset;
    }

    /// Takes what was read of a partition from where [`Backlog::next_read`] said.
    pub fn handle_read(&mut self, partition: i32, read: ReadOn, room: Room) {
        self.failing = None;
        for record in read.records {
            let offset = record.reply.place.offset;
            let size = record.reply.size();
            let is_full = self.is_full(size, room);
            let track = self.track(partition, offset);
            if offset < track.next {
                continue;
            }
            if is_full {
                track.miss(offset, offset);
                return;
            }
            track.next = offset + 1;
            self.push(record, size);
        }
        let track = self.track(partition, read.next_offset);
        track.next = track.next.max(read.next_offset);
        track.read_to = track.read_to.filter(|to| track.next < *to);
    }

    /// Takes that a read that was `begun` then came to nothing. `Unavailable` is tried again for half a minute.
    pub fn handle_read_fault(&mut self, fault: ReplyFault, begun: Instant, now: Instant) {
        let failing = self.failing.get_or_insert(Failing {
            since: begun,
            wait: RETRY_MIN,
            retry_at: now,
        });
        failing.retry_at = now + failing.wait;
        failing.wait = RETRY_MAX.min(failing.wait * 2);
        if fault == ReplyFault::Gone || now >= failing.since + READS_WAIT {
            self.fault = Some(fault);
        }
    }

    /// The next record.
    pub fn pop(&mut self) -> Option<ReplyRecord> {
        self.known()?;
        let (record, size) = self.queue.pop_front()?;
        self.queued_bytes -= size;
        Some(record)
    }

    /// From where Kafka has to be read now.
    pub fn next_read(&self, now: Instant) -> Option<Place> {
        let is_time = self.failing.is_none_or(|failing| failing.retry_at <= now);
        self.lagging().filter(|_| is_time)
    }

    /// How long a read may take that begins now.
    pub fn read_timeout(&self, now: Instant) -> Duration {
        let until = self.failing.map_or(now, |failing| failing.since) + READS_WAIT;
        READ_WAIT.min(until.saturating_duration_since(now))
    }

    /// When a read is to be tried again.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let failing = self.failing?;
        self.lagging().map(|_| failing.retry_at)
    }

    /// What is known of the replies that there were at first; `None`: nothing so far.
    pub fn known(&self) -> Option<Option<Known>> {
        match self.looked? {
            Looked::Known(known) => Some(known),
            Looked::Unavailable | Looked::Overloaded => None,
        }
    }

    /// Whether a reply was there before anybody listened.
    pub fn is_history(&self, place: Place) -> bool {
        self.history
            .is_some_and(|(partition, end)| place.partition == partition && place.offset < end)
    }

    /// Whether all replies have been handed out that were there before anybody listened.
    pub fn is_history_over(&self) -> bool {
        let Some((partition, end)) = self.history else {
            return self.known().is_some();
        };
        let mut tracks = self.tracks.iter();
        let track = tracks.find(|track| track.partition == partition);
        let is_queued = |(record, _): &(ReplyRecord, usize)| self.is_history(record.reply.place);
        track.is_none_or(|track| track.next >= end) && !self.queue.iter().any(is_queued)
    }

    /// Why no more records will come.
    pub const fn fault(&self) -> Option<ReplyFault> {
        self.fault
    }

    /// Bytes of records in the queue.
    pub const fn queued_bytes(&self) -> usize {
        self.queued_bytes
    }

    /// Records in the queue.
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// Whether nothing is in the queue.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Where a partition has to be read on, once the queue is empty.
    fn lagging(&self) -> Option<Place> {
        if !self.queue.is_empty() || self.known().is_none() || self.fault.is_some() {
            return None;
        }
        let track = self.tracks.iter().find(|track| track.read_to.is_some())?;
        Some(Place {
            partition: track.partition,
            offset: track.next,
        })
    }

    fn is_full(&self, size: usize, room: Room) -> bool {
        !self.queue.is_empty()
            && (self.queue.len() >= room.records || self.queued_bytes + size > room.bytes)
    }

    fn push(&mut self, mut record: ReplyRecord, size: usize) {
        if self.queue.len() >= SHARED_MAX {
            record.reply = record.reply.detached();
        }
        self.queue.push_back((record, size));
        self.queued_bytes += size;
    }

    /// Where it stands in a partition; at `offset` when nothing was heard of it so far.
    fn track(&mut self, partition: i32, offset: i64) -> &mut Track {
        let mut tracks = self.tracks.iter();
        let index = tracks.position(|track| track.partition == partition);
        let index = index.unwrap_or(self.tracks.len());
        if index == self.tracks.len() {
            self.tracks.push(Track {
                partition,
                next: offset,
                read_to: None,
            });
        }
        &mut self.tracks[index]
    }
}

impl Track {
    /// The records from `first` to `last` have to be read. Before the first of them there is nothing that was not queued.
    fn miss(&mut self, first: i64, last: i64) {
        if self.read_to.is_none() {
            self.next = self.next.max(first);
        }
        self.read_to = Some(self.read_to.unwrap_or(i64::MIN).max(last + 1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::UnixMillis;
    use crate::kafka::correlation::Reply;
    use crate::kafka::record_batch::TimestampBase;
    use bytes::Bytes;

    const ROOM: Room = Room {
        records: 3,
        bytes: 1000,
    };

    const fn at(partition: i32, offset: i64) -> Place {
        Place { partition, offset }
    }

    fn record(place: Place) -> ReplyRecord {
        let reply = Reply {
            place,
            inflated: Bytes::new(),
            position: 0,
            timestamps: TimestampBase::CreateTime(UnixMillis(0)),
        };
        ReplyRecord {
            reply,
            is_closing: false,
        }
    }

    fn pass(backlog: &mut Backlog, offsets: impl IntoIterator<Item = i64>) {
        for offset in offsets {
            backlog.handle_passed(record(at(0, offset)), ROOM);
        }
    }

    fn read(backlog: &mut Backlog, offsets: &[i64], next_offset: i64) {
        let records = offsets.iter().map(|offset| record(at(0, *offset)));
        let read = ReadOn {
            records: records.collect(),
            next_offset,
        };
        backlog.handle_read(0, read, ROOM);
    }

    fn taken(backlog: &mut Backlog) -> Vec<i64> {
        std::iter::from_fn(|| backlog.pop())
            .map(|record| record.reply.place.offset)
            .collect()
    }

    fn first_at(offset: i64) -> Looked {
        Looked::Known(Some(Known {
            first: at(0, offset),
            closing: None,
        }))
    }

    #[test]
    fn records_are_handed_out_in_order_and_once() {
        let mut backlog = Backlog::new(true);
        pass(&mut backlog, [4, 6, 6, 4]);
        backlog.handle_passed(record(at(1, 0)), ROOM);
        assert_eq!(taken(&mut backlog), [4, 6, 0], "of two partitions");
        pass(&mut backlog, [6]);
        assert_eq!(taken(&mut backlog), [0; 0]);
        assert_eq!(backlog.next_read(Instant::ZERO), None);
    }

    #[test]
    fn what_does_not_fit_is_read_when_the_queue_is_taken_until_nothing_is_missing() {
        let mut backlog = Backlog::new(true);
        pass(&mut backlog, 0..5);
        assert_eq!(backlog.next_read(Instant::ZERO), None, "the queue first");
        assert_eq!(taken(&mut backlog), [0, 1, 2]);
        assert_eq!(backlog.next_read(Instant::ZERO), Some(at(0, 3)));
        pass(&mut backlog, [5, 6]);
        read(&mut backlog, &[3, 4, 5], 6);
        assert_eq!(taken(&mut backlog), [3, 4, 5]);
        assert_eq!(backlog.next_read(Instant::ZERO), Some(at(0, 6)));
        // The read sees more than was passed so far.
        read(&mut backlog, &[6, 7], 8);
        assert_eq!(taken(&mut backlog), [6, 7]);
        assert_eq!(backlog.next_read(Instant::ZERO), None);
        pass(&mut backlog, [7, 8]);
        assert_eq!(taken(&mut backlog), [8]);
    }

    #[test]
    fn what_is_read_and_does_not_fit_is_read_again() {
        let mut backlog = Backlog::new(true);
        backlog.handle_missed(Missed {
            partition: 0,
            first: 2,
            last: 7,
        });
        assert_eq!(backlog.next_read(Instant::ZERO), Some(at(0, 2)));
        read(&mut backlog, &[2, 3, 5, 6, 7], 8);
        assert_eq!(taken(&mut backlog), [2, 3, 5]);
        assert_eq!(backlog.next_read(Instant::ZERO), Some(at(0, 6)));
        read(&mut backlog, &[6, 7], 8);
        assert_eq!(taken(&mut backlog), [6, 7]);
        assert_eq!(backlog.next_read(Instant::ZERO), None);
    }

    #[test]
    fn nothing_is_handed_out_before_the_look_up_and_history_comes_before_what_was_passed() {
        let mut backlog = Backlog::new(false);
        pass(&mut backlog, [10, 12]);
        assert_eq!((backlog.pop().is_none(), backlog.known()), (true, None));
        assert_eq!(backlog.next_read(Instant::ZERO), None);
        backlog.handle_looked(first_at(3), 11);
        assert_eq!(backlog.next_read(Instant::ZERO), Some(at(0, 3)));
        read(&mut backlog, &[3, 5], 12);
        assert_eq!(taken(&mut backlog), [3, 5]);
        assert_eq!(
            backlog.next_read(Instant::ZERO),
            Some(at(0, 12)),
            "12 was passed"
        );
        pass(&mut backlog, [13]);
        read(&mut backlog, &[12, 13], 14);
        pass(&mut backlog, [13, 14]);
        assert_eq!(taken(&mut backlog), [12, 13, 14]);
    }

    #[test]
    fn an_id_without_replies_and_one_whose_replies_were_all_passed_are_live_at_once() {
        let mut backlog = Backlog::new(false);
        pass(&mut backlog, [10]);
        backlog.handle_looked(first_at(10), 11);
        assert_eq!(taken(&mut backlog), [10]);
        assert_eq!(backlog.next_read(Instant::ZERO), None);
        let mut backlog = Backlog::new(false);
        backlog.handle_looked(Looked::Known(None), i64::MIN);
        assert_eq!(backlog.known(), Some(None));
        pass(&mut backlog, [10]);
        assert_eq!(taken(&mut backlog), [10]);
    }

    #[test]
    fn history_is_read_as_far_as_was_indexed_although_a_broker_does_not_know_of_it_yet() {
        let mut backlog = Backlog::new(false);
        backlog.handle_looked(first_at(3), 9);
        read(&mut backlog, &[3], 4);
        assert_eq!(taken(&mut backlog), [3]);
        assert_eq!(backlog.next_read(Instant::ZERO), Some(at(0, 4)));
        read(&mut backlog, &[8], 9);
        assert_eq!(taken(&mut backlog), [8]);
        assert_eq!(backlog.next_read(Instant::ZERO), None);
    }

    #[test]
    fn reads_are_tried_again_with_growing_waits_for_half_a_minute() {
        let mut backlog = Backlog::new(false);
        backlog.handle_looked(first_at(3), 9);
        let (mut now, mut tries) = (Instant::from_nanos(1), 0);
        while backlog.fault().is_none() {
            assert!(backlog.read_timeout(now) <= READ_WAIT);
            assert_eq!(backlog.next_read(now), Some(at(0, 3)));
            backlog.handle_read_fault(ReplyFault::Unavailable, now, now);
            assert!(backlog.fault().is_some() || backlog.next_read(now).is_none());
            now = backlog.poll_timeout().unwrap_or(now);
            tries += 1;
        }
        assert_eq!(backlog.fault(), Some(ReplyFault::Unavailable));
        assert_eq!(tries, 35);
        assert_eq!(backlog.poll_timeout(), None);
    }

    #[test]
    fn a_read_that_succeeds_gives_the_next_ones_their_time_back() {
        let mut backlog = Backlog::new(false);
        backlog.handle_looked(first_at(3), 9);
        let begun = Instant::from_nanos(1);
        backlog.handle_read_fault(ReplyFault::Unavailable, begun, begun);
        read(&mut backlog, &[], 5);
        let later = begun + READS_WAIT;
        backlog.handle_read_fault(ReplyFault::Unavailable, later, later);
        assert_eq!(backlog.fault(), None);
        backlog.handle_read_fault(ReplyFault::Gone, later, later);
        assert_eq!(backlog.fault(), Some(ReplyFault::Gone), "at once");
    }

    #[test]
    fn a_look_up_that_fails_is_final() {
        let mut backlog = Backlog::new(false);
        pass(&mut backlog, [1]);
        backlog.handle_looked(Looked::Unavailable, i64::MIN);
        assert!(backlog.pop().is_none());
        assert_eq!(backlog.fault(), Some(ReplyFault::Unavailable));
    }

    #[test]
    fn a_record_that_is_too_large_fits_into_an_empty_queue() {
        let mut backlog = Backlog::new(true);
        let none = Room {
            records: 0,
            bytes: 0,
        };
        backlog.handle_passed(record(at(0, 1)), none);
        assert_eq!(taken(&mut backlog), [1]);
    }

    /// Replies of an id in a log, on their way to a listener.
    struct Model {
        backlog: Backlog,
        /// The log: whether each record is a reply to the id.
        log: Vec<bool>,
        /// How far the shard has it.
        indexed: usize,
        /// What the shard has dropped and not said yet.
        missed: Option<Missed>,
        taken: Vec<i64>,
        state: u64,
    }

    impl Model {
        fn below(&mut self, limit: u64) -> u64 {
            self.state ^= self.state << 13;
            self.state ^= self.state >> 7;
            self.state ^= self.state << 17;
            self.state % limit
        }

        fn is_ours(&self, offset: usize) -> bool {
            self.log.get(offset).is_some_and(|is_ours| *is_ours)
        }

        fn index(&mut self, is_listening: bool, is_congested: bool) {
            if self.indexed >= self.log.len() {
                return;
            }
            let (offset, is_ours) = (
                self.indexed.cast_signed() as i64,
                self.is_ours(self.indexed),
            );
            self.indexed += 1;
            if !is_ours || !is_listening {
                return;
            }
            if is_congested || self.missed.is_some() {
                let missed = self.missed.get_or_insert(Missed {
                    partition: 0,
                    first: offset,
                    last: offset,
                });
                missed.last = offset;
            } else {
                self.backlog.handle_passed(record(at(0, offset)), ROOM);
            }
        }

        fn say_missed(&mut self) {
            if let Some(missed) = self.missed.take() {
                self.backlog.handle_missed(missed);
            }
        }

        fn look(&mut self) {
            let first = (0..self.indexed).find(|offset| self.is_ours(*offset));
            let known = first.map(|first| Known {
                first: at(0, first.cast_signed() as i64),
                closing: None,
            });
            let indexed = self.indexed.cast_signed() as i64;
            self.backlog.handle_looked(Looked::Known(known), indexed);
        }

        /// A read that ends anywhere before the end of the log, and then perhaps something that is passed before its answer is there.
        fn read(&mut self) {
            let Some(from) = self.backlog.next_read(Instant::FAR_FUTURE) else {
                return;
            };
            let start = usize::try_from(from.offset).unwrap();
            assert!(start < self.log.len(), "nothing is read that is not there");
            let room = (self.log.len() - start) as u64;
            let end = start + 1 + usize::try_from(self.below(room)).unwrap();
            let ours = (start..end).filter(|offset| self.is_ours(*offset));
            let records = ours.map(|offset| record(at(0, offset.cast_signed() as i64)));
            let read = ReadOn {
                records: records.collect(),
                next_offset: end.cast_signed() as i64,
            };
            for _ in 0..self.below(4) {
                self.index(true, false);
            }
            self.backlog.handle_read(0, read, ROOM);
        }

        fn take(&mut self) {
            let taken = self.backlog.pop();
            self.taken
                .extend(taken.map(|record| record.reply.place.offset));
        }
    }

    #[test]
    fn every_reply_is_heard_once_and_in_order_whatever_comes_when() {
        for seed in 1..2_000 {
            let mut model = Model {
                backlog: Backlog::new(false),
                log: Vec::new(),
                indexed: 0,
                missed: None,
                taken: Vec::new(),
                state: seed,
            };
            let (listens_at, looks_after) = (model.below(60), model.below(30));
            for step in 0..200 {
                let is_ours = model.below(3) > 0;
                let is_listening = step >= listens_at;
                match model.below(9) {
                    0..3 => model.log.push(is_ours),
                    3..5 => model.index(is_listening, model.state.is_multiple_of(8)),
                    5 => model.say_missed(),
                    6 => model.read(),
                    _ => model.take(),
                }
                if step == listens_at + looks_after {
                    model.look();
                }
            }
            while model.indexed < model.log.len() {
                model.index(true, false);
            }
            model.say_missed();
            while !model.backlog.is_empty() || model.backlog.next_read(Instant::ZERO).is_some() {
                model.read();
                model.take();
            }
            let ours = (0..model.log.len()).filter(|offset| model.is_ours(*offset));
            let ours: Vec<_> = ours.map(|offset| offset.cast_signed() as i64).collect();
            assert_eq!(model.taken, ours, "seed {seed}");
        }
    }
}
