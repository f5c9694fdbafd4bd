//! A topic as streams of events or messages, on one core: the records of all partitions in one order, each encoded once for all who follow the same selection of them.
//!
//! ```text
//!  views of the partitions ─ advance ─▶ one order ─▶ channel (all records)      ─ blocks ─▶ followers
//!            │                                   ├─▶ channel (key = a)          ─ blocks ─▶ followers
//!            │                                   └─▶ channel (key = b, tag = c) ─ blocks ─▶ followers
//!            └─ each subscriber that is behind reads for itself, with ids of its own, until it stands where the order does: then it follows
//! ```
//! Sans-IO: it is told when the views have changed, and says whom to wake. A *position* is the next offset to give of a partition; the positions of all partitions are
//! a progress, which event ids and messages carry. Rule: whoever has a progress has been given everything before it, once, or was told of the gap; a stream of
//! messages has no words for one, there it is counted alone.

mod catch_up;
mod channel;
mod form;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

use bytes::Bytes;

use crate::kafka::cache::{PartitionView, RecordView, Superseded};
use crate::mapping::http_kafka::fetch::CachedTopic;
use crate::mapping::progress::{EncodedProgress, Progress};
use crate::mapping::sse_kafka::event::EventRecord;
use catch_up::CatchUp;
pub use catch_up::{ColdEvent, ColdPiece};
use channel::{BLOCK_BYTES, Channel};
pub use channel::{CHANNEL_BYTES_MAX, FEED_BYTES_MAX, Selection};
pub use form::Form;

/// Where Kafka's "earliest" stands in a progress: nothing of the partition has been given.
const EARLIEST: i64 = -2;

/// Names a subscriber of a feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubscriberId(u64);

type ChannelId = u64;

/// What there is for a subscriber.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Taken {
    /// Nothing now; it is woken when there may be.
    Nothing,
    /// Events and comments between them, or messages.
    Events {
        /// Whole ones.
        bytes: Bytes,
        /// How many.
        count: u32,
        /// There may be more at once; else it is woken when there may be.
        has_more: bool,
    },
    /// Records were looked at and none was wanted; there are more to look at.
    LookOn,
    /// What comes next is in Kafka alone: read it and call [`Feed::handle_cold`].
    Cold(ColdRange),
    /// It is ahead of what was read here: find out where the partitions end and call [`Feed::handle_ends`].
    AskEnds,
}

/// A part of a partition that is not cached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ColdRange {
    /// The partition.
    pub partition: usize,
    /// The first offset that is wanted.
    pub from: i64,
    /// One past the last.
    pub until: i64,
}

/// How far [`Feed::advance`] came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advanced {
    /// All that has been read is in order.
    All,
    /// There is more: call again soon.
    More,
}

/// What the subscribers have met with, ever.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FeedFigures {
    /// Records that were gone before a subscriber to events got to them: how often that was said.
    pub gaps: u64,
    /// Followers of events that were too slow and read on by themselves.
    pub lagged: u64,
    /// Records that were gone before a subscriber to messages got to them: how often.
    pub message_gaps: u64,
    /// Followers of messages that were too slow and read on by themselves.
    pub message_lagged: u64,
}

impl FeedFigures {
    const fn count_gaps(&mut self, form: Form, gaps: u64) {
        match form {
            Form::Event(_) => self.gaps += gaps,
            Form::Message(_) => self.message_gaps += gaps,
        }
    }

    const fn count_lagged(&mut self, form: Form) {
        match form {
            Form::Event(_) => self.lagged += 1,
            Form::Message(_) => self.message_lagged += 1,
        }
    }
}

/// Why all followers have to read for themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scattered {
    /// What comes next for them was let go of.
    Lagged,
    /// A log was replaced.
    Replaced,
}

enum State {
    CatchingUp(Box<CatchUp>),
    Following {
        /// The block that comes next.
        next: u64,
        /// How far it is.
        progress: Rc<[i64]>,
    },
}

struct Subscriber {
    channel: ChannelId,
    state: State,
}

/// A topic as streams of events or messages.
pub struct Feed {
    /// Where the order stands; `None`: the partition is not read far enough to begin.
    positions: Vec<Option<i64>>,
    /// How often each partition's log had been replaced when it was last looked at.
    resets: Vec<u64>,
    /// The order as of the last call of [`Feed::advance`]: whoever has taken all blocks is as far.
    head: Rc<[i64]>,
    channels: BTreeMap<ChannelId, Channel>,
    by_selection: HashMap<Selection, ChannelId>,
    /// Channels that want records of certain keys alone, under each of them.
    by_key: HashMap<Vec<u8>, Vec<ChannelId>>,
    /// The other channels.
    unkeyed: BTreeSet<ChannelId>,
    subscribers: HashMap<SubscriberId, Subscriber>,
    catching_up: BTreeSet<SubscriberId>,
    next_id: u64,
    /// The partition to go on with first.
    turn: usize,
    /// Bytes of all blocks.
    bytes: usize,
    /// Followers were sent to read for themselves since subscribers were last woken.
    has_scattered: bool,
    figures: FeedFigures,
}

impl Default for Feed {
    fn default() -> Self {
        Self {
            positions: Vec::new(),
            resets: Vec::new(),
            head: Rc::from([]),
            channels: BTreeMap::new(),
            by_selection: HashMap::new(),
            by_key: HashMap::new(),
            unkeyed: BTreeSet::new(),
            subscribers: HashMap::new(),
            catching_up: BTreeSet::new(),
            next_id: 0,
            turn: 0,
            bytes: 0,
            has_scattered: false,
            figures: FeedFigures::default(),
        }
    }
}

impl std::fmt::Debug for Feed {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Feed")
            .field("positions", &self.positions)
            .field("channels", &self.channels.len())
            .field("subscribers", &self.subscribers.len())
            .finish_non_exhaustive()
    }
}

impl Feed {
    /// Adds a subscriber that goes on after `resume`, or begins with all that there is.
    pub fn subscribe(&mut self, selection: Selection, resume: Option<&Progress>) -> SubscriberId {
        let id = SubscriberId(self.fresh_id());
        let channel = self.channel(selection);
        if let Some(channel) = self.channels.get_mut(&channel) {
            channel.subscribers += 1;
        }
        let state = State::CatchingUp(Box::new(CatchUp::resuming(resume)));
        self.subscribers.insert(id, Subscriber { channel, state });
        self.catching_up.insert(id);
        id
    }

    /// Takes a subscriber out.
    pub fn unsubscribe(&mut self, id: SubscriberId) {
        let Some(subscriber) = self.subscribers.remove(&id) else {
            return;
        };
        self.catching_up.remove(&id);
        let Some(channel) = self.channels.get_mut(&subscriber.channel) else {
            return;
        };
        channel.subscribers -= 1;
        if let State::Following { next, .. } = subscriber.state {
            let before = channel.bytes();
            channel.leave(id, next);
            self.bytes -= before - channel.bytes();
        }
        if channel.subscribers == 0 {
            self.close_channel(subscriber.channel);
        }
    }

    /// Subscribers that there are.
    pub fn subscriber_count(&self) -> usize {
        self.subscribers.len()
    }

    /// Subscribers that follow.
    pub fn follower_count(&self) -> usize {
        self.subscribers.len() - self.catching_up.len()
    }

    /// What its subscribers have met with.
    pub const fn figures(&self) -> FeedFigures {
        self.figures
    }

    /// The selection of a subscriber.
    pub fn selection(&self, id: SubscriberId) -> Option<&Selection> {
        let channel = self.subscribers.get(&id)?.channel;
        Some(&self.channels.get(&channel)?.selection)
    }

    /// Goes on as far as the partitions have been read, over `records_max` records at most, and tells `wake` whom there may be something for.
    pub fn advance(
        &mut self,
        topic: &impl CachedTopic,
        mut records_max: usize,
        mut wake: impl FnMut(SubscriberId),
    ) -> Advanced {
        self.positions.resize(topic.partition_count(), None);
        self.resets.resize(topic.partition_count(), 0);
        let mut advanced = Advanced::All;
        let count = self.positions.len();
        for step in 0..count {
            let partition = (self.turn + step) % count;
            let step = topic.with_view(partition, |view| {
                self.advance_partition(partition, view, &mut records_max)
            });
            if step == Some(Advanced::More) {
                advanced = Advanced::More;
            }
        }
        // Another first the next time, or one that never ends would be all there is.
        self.turn = (self.turn + 1) % count.max(1);
        let has_moved = snapshot(&self.positions).ne(self.head.iter().copied());
        if has_moved {
            self.head = snapshot(&self.positions).collect();
        }
        self.seal();
        for channel in self.channels.values_mut() {
            if std::mem::take(&mut channel.has_news) {
                channel.followers.iter().copied().for_each(&mut wake);
            }
        }
        if has_moved || std::mem::take(&mut self.has_scattered) {
            self.catching_up.iter().copied().for_each(&mut wake);
        }
        advanced
    }

    /// What there is for a subscriber, `room` bytes or a little more.
    pub fn take(&mut self, id: SubscriberId, topic: &impl CachedTopic, room: usize) -> Taken {
        let Some(subscriber) = self.subscribers.get_mut(&id) else {
            return Taken::Nothing;
        };
        let Some(channel) = self.channels.get_mut(&subscriber.channel) else {
            return Taken::Nothing;
        };
        if let State::Following { next, progress } = &mut subscriber.state {
            let held = channel.bytes();
            if let Some(piece) = channel.take(*next, room) {
                self.bytes -= held - channel.bytes();
                *next += piece.blocks;
                *progress = piece.progress;
                return Taken::Events {
                    bytes: piece.bytes,
                    count: piece.events,
                    has_more: *next < channel.next_number(),
                };
            }
            if !channel.has_lost(*next) {
                // What was looked at since and not wanted is behind it as well: were it to read by itself some day, it would look for records that are gone.
                *progress = self.head.clone();
                return Taken::Nothing;
            }
            let behind = CatchUp::after(progress);
            channel.leave(id, *next);
            self.bytes -= held - channel.bytes();
            subscriber.state = State::CatchingUp(Box::new(behind));
            self.catching_up.insert(id);
            self.figures.count_lagged(channel.selection.form);
        }
        let State::CatchingUp(behind) = &mut subscriber.state else {
            return Taken::Nothing;
        };
        let taken = behind.take(topic, &self.positions, &channel.selection, room);
        let gaps = behind.take_gaps();
        self.figures.count_gaps(channel.selection.form, gaps);
        if taken == Taken::Nothing
            && let Some(progress) = behind.has_arrived(&self.positions)
        {
            channel.followers.insert(id);
            subscriber.state = State::Following {
                next: channel.next_number(),
                progress,
            };
            self.catching_up.remove(&id);
        }
        taken
    }

    /// What was asked for by [`Taken::Cold`] has been read.
    pub fn handle_cold(&mut self, id: SubscriberId, piece: &ColdPiece) -> Taken {
        let Some(subscriber) = self.subscribers.get_mut(&id) else {
            return Taken::Nothing;
        };
        let channel = self.channels.get(&subscriber.channel);
        match (&mut subscriber.state, channel) {
            (State::CatchingUp(behind), Some(channel)) => {
                behind.handle_cold(piece, channel.selection.form)
            }
            _ => Taken::Nothing,
        }
    }

    /// Where the partitions end, as asked for by [`Taken::AskEnds`].
    pub fn handle_ends(&mut self, id: SubscriberId, ends: &[i64]) {
        if let Some(subscriber) = self.subscribers.get_mut(&id)
            && let State::CatchingUp(behind) = &mut subscriber.state
        {
            behind.handle_ends(ends);
        }
    }

    fn fresh_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    fn channel(&mut self, selection: Selection) -> ChannelId {
        if let Some(known) = self.by_selection.get(&selection) {
            return *known;
        }
        let id = self.fresh_id();
        match selection.keys() {
            None => {
                self.unkeyed.insert(id);
            }
            Some(mut keys) => {
                keys.sort_unstable();
                keys.dedup();
                for key in keys {
                    self.by_key.entry(key.to_vec()).or_default().push(id);
                }
            }
        }
        self.by_selection.insert(selection.clone(), id);
        self.channels.insert(id, Channel::new(selection));
        id
    }

    fn close_channel(&mut self, id: ChannelId) {
        let Some(channel) = self.channels.remove(&id) else {
            return;
        };
        self.bytes -= channel.bytes();
        self.by_selection.remove(&channel.selection);
        self.unkeyed.remove(&id);
        for key in channel.selection.keys().unwrap_or_default() {
            if let Some(channels) = self.by_key.get_mut(key) {
                channels.retain(|other| *other != id);
                if channels.is_empty() {
                    self.by_key.remove(key);
                }
            }
        }
    }

    fn advance_partition(
        &mut self,
        partition: usize,
        view: &PartitionView,
        records_max: &mut usize,
    ) -> Advanced {
        let is_other =
            std::mem::replace(&mut self.resets[partition], view.resets()) != view.resets();
        if self.positions[partition].is_some_and(|at| is_other || view.next_offset() < at) {
            self.handle_replaced(partition);
        }
        // Until it is ready a compacted topic would be given with all its history instead of the newest of each key; and before anything is read, not even the
        // log's start is known.
        let has_begun = !view.policy().compact && view.next_offset() > view.evicted_below();
        if !view.is_ready() && !has_begun {
            return Advanced::All;
        }
        let mut position = self.positions[partition].unwrap_or_else(|| {
            // Whoever follows has nothing of it yet. All others read for themselves what there is.
            let is_followed = self.follower_count() > 0;
            if is_followed {
                view.log_start_offset()
            } else {
                view.next_offset()
            }
        });
        let first = view.evicted_below().max(view.log_start_offset());
        if position < first && position < view.next_offset() {
            // Let go of before it was given on: all read for themselves, from Kafka what has to be, and see what is gone.
            self.scatter(Scattered::Lagged);
            self.positions[partition] = Some(view.next_offset());
            return Advanced::All;
        }
        for record in view.scan(position, Superseded::Include) {
            if *records_max == 0 {
                self.positions[partition] = Some(position);
                return Advanced::More;
            }
            *records_max -= 1;
            position = record.offset() + 1;
            self.positions[partition] = Some(position);
            if let Some(record) = record.view() {
                self.give(&record);
            }
        }
        self.positions[partition] = Some(view.next_offset());
        Advanced::All
    }

    /// Gives a record to the channels that want it.
    fn give(&mut self, record: &RecordView<'_>) {
        let event = EventRecord::of(record);
        let share = share(self.channels.len());
        let keyed = record.key.and_then(|key| self.by_key.get(key));
        let candidates = keyed.into_iter().flatten().chain(&self.unkeyed);
        let (mut progress, mut after) = (None, None);
        for id in candidates {
            let Some(channel) = self.channels.get_mut(id) else {
                continue;
            };
            if channel.followers.is_empty() || !channel.selection.wants(record) {
                continue;
            }
            let progress = progress.get_or_insert_with(|| encode(snapshot(&self.positions)));
            if channel.push(progress, &event) >= BLOCK_BYTES.min(share / 2) {
                let after = after.get_or_insert_with(|| snapshot(&self.positions).collect());
                seal_one(channel, after, share, &mut self.bytes);
            }
        }
    }

    /// Ends all blocks that are being written.
    fn seal(&mut self) {
        let share = share(self.channels.len());
        for channel in self.channels.values_mut() {
            if channel.is_open() {
                seal_one(channel, &self.head, share, &mut self.bytes);
            }
        }
    }

    /// Another log than before: nothing of it was given, and whoever had something of the old one is told.
    fn handle_replaced(&mut self, partition: usize) {
        self.scatter(Scattered::Replaced);
        self.positions[partition] = None;
        for subscriber in self.subscribers.values_mut() {
            if let State::CatchingUp(behind) = &mut subscriber.state {
                behind.handle_replaced(partition);
            }
        }
    }

    /// All followers read for themselves from where they are.
    fn scatter(&mut self, why: Scattered) {
        self.has_scattered = true;
        for (id, subscriber) in &mut self.subscribers {
            let State::Following { next, progress } = &subscriber.state else {
                continue;
            };
            let mut behind = CatchUp::after(progress);
            if let Some(channel) = self.channels.get_mut(&subscriber.channel) {
                if *next == channel.next_number() {
                    behind = CatchUp::after(&self.head);
                }
                let held = channel.bytes();
                channel.leave(*id, *next);
                self.bytes -= held - channel.bytes();
                if why == Scattered::Lagged {
                    self.figures.count_lagged(channel.selection.form);
                }
            }
            subscriber.state = State::CatchingUp(Box::new(behind));
            self.catching_up.insert(*id);
        }
    }
}

/// What each of so many channels may hold when all of them together hold too much.
fn share(channels: usize) -> usize {
    (FEED_BYTES_MAX / channels.max(1)).min(2 * BLOCK_BYTES)
}

fn seal_one(channel: &mut Channel, progress: &Rc<[i64]>, share: usize, bytes: &mut usize) {
    *bytes -= channel.bytes();
    let is_crowded = *bytes + channel.bytes_when_sealed() > FEED_BYTES_MAX;
    channel.seal(progress, is_crowded.then_some(share));
    *bytes += channel.bytes();
}

fn snapshot(positions: &[Option<i64>]) -> impl Iterator<Item = i64> {
    let positions = positions.iter();
    positions.map(|position| position.unwrap_or(EARLIEST))
}

/// Positions as clients are told of them. Nothing before offset 0 is "earliest", which is how Zilla writes a partition of which nothing was given.
fn encode(positions: impl Iterator<Item = i64>) -> EncodedProgress {
    let positions = (0..).zip(positions);
    let progress: Progress = positions
        .map(|(partition, position)| (partition, if position == 0 { EARLIEST } else { position }))
        .collect();
    EncodedProgress::from(&progress)
}
