//! The events or messages of one selection of a topic, encoded once for all who follow it.
//!
//! ```text
//!  first                       next_number
//!    │ block │ block │ block │   (being written)
//!        ▲                 ▲
//!   a slow follower    all others
//! ```
//! Rule: a block stays until its last follower has taken it, or until the channel holds too much; whoever has not taken it then has lagged and reads on by himself.

use std::collections::{BTreeSet, VecDeque};
use std::rc::Rc;

use bytes::Bytes;

use super::{Form, SubscriberId};
use crate::kafka::cache::RecordView;
use crate::mapping::http_kafka::fetch::RecordFilter;
use crate::mapping::progress::EncodedProgress;
use crate::mapping::sse_kafka::event::EventRecord;

/// Bytes at which a block is full.
pub(super) const BLOCK_BYTES: usize = 64 << 10;
/// Bytes of blocks that one channel holds for slow followers.
pub const CHANNEL_BYTES_MAX: usize = 1 << 20;
/// Bytes of blocks that all channels of a topic hold; beyond, each keeps an equal part of this when it gets its next block: never more than twice as much in all.
pub const FEED_BYTES_MAX: usize = 32 << 20;

/// What a channel is: which records, and how they are written.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Selection {
    /// A record must match one of these; empty: any record.
    pub filters: Vec<RecordFilter>,
    /// How they are written.
    pub form: Form,
}

impl Selection {
    /// Whether a record is to be given on.
    pub fn wants(&self, record: &RecordView<'_>) -> bool {
        self.form.can_hold(record.value) && self.matches(record.key, &record.headers)
    }

    /// Whether one of the filters lets a record pass.
    pub fn matches<'a>(
        &self,
        key: Option<&[u8]>,
        headers: &(impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)> + Clone),
    ) -> bool {
        let mut filters = self.filters.iter();
        self.filters.is_empty() || filters.any(|filter| filter.matches(key, headers.clone()))
    }

    /// The keys of its records, if it wants those of certain keys alone.
    pub(super) fn keys(&self) -> Option<Vec<&[u8]>> {
        if self.filters.is_empty() {
            return None;
        }
        let keys = self.filters.iter().map(|filter| filter.key.as_deref());
        keys.collect()
    }
}

/// Events or messages that are sent together.
#[derive(Debug)]
struct Block {
    bytes: Bytes,
    events: u32,
    /// How far a client is that has it.
    progress: Rc<[i64]>,
    /// Followers that have not taken it.
    left: usize,
}

/// What a follower takes: one block, or several as one.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) bytes: Bytes,
    pub(super) events: u32,
    /// How far a client is that has it.
    pub(super) progress: Rc<[i64]>,
    /// How many blocks it is.
    pub(super) blocks: u64,
}

impl Block {
    fn take(&mut self) -> Piece {
        self.left = self.left.saturating_sub(1);
        Piece {
            bytes: self.bytes.clone(),
            events: self.events,
            progress: self.progress.clone(),
            blocks: 1,
        }
    }
}

/// A selection with its followers.
#[derive(Debug)]
pub(super) struct Channel {
    pub(super) selection: Selection,
    /// All of its subscribers, those who catch up, too.
    pub(super) subscribers: usize,
    pub(super) followers: BTreeSet<SubscriberId>,
    blocks: VecDeque<Block>,
    /// The number of the first block in `blocks`.
    first: u64,
    bytes: usize,
    /// The block that is being written.
    open: Vec<u8>,
    open_events: u32,
    /// A block was sealed since the followers were last woken.
    pub(super) has_news: bool,
}

impl Channel {
    pub(super) fn new(selection: Selection) -> Self {
        Self {
            selection,
            subscribers: 0,
            followers: BTreeSet::new(),
            blocks: VecDeque::new(),
            first: 0,
            bytes: 0,
            open: Vec::new(),
            open_events: 0,
            has_news: false,
        }
    }

    /// The number that the next block will have.
    pub(super) fn next_number(&self) -> u64 {
        self.first + self.blocks.len() as u64
    }

    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// What [`Channel::bytes`] would be with the block that is being written.
    pub(super) fn bytes_when_sealed(&self) -> usize {
        self.bytes + self.open.len()
    }

    /// Appends a record; says how long the block is now.
    pub(super) fn push(&mut self, progress: &EncodedProgress, record: &EventRecord<'_>) -> usize {
        self.selection.form.write(&mut self.open, progress, record);
        self.open_events += 1;
        self.open.len()
    }

    pub(super) fn is_open(&self) -> bool {
        !self.open.is_empty()
    }

    /// Ends the block that is being written. Holds at most [`CHANNEL_BYTES_MAX`] afterwards, but always this block; or at most `share`, without exception.
    pub(super) fn seal(&mut self, progress: &Rc<[i64]>, share: Option<usize>) {
        let open = std::mem::take(&mut self.open);
        let events = std::mem::take(&mut self.open_events);
        if self.followers.is_empty() || open.is_empty() {
            return;
        }
        self.bytes += open.len();
        self.blocks.push_back(Block {
            // Boxed, or it would keep what it had no need of.
            bytes: Bytes::from(open.into_boxed_slice()),
            events,
            progress: progress.clone(),
            left: self.followers.len(),
        });
        self.has_news = true;
        let (bytes_max, blocks_min) = share.map_or((CHANNEL_BYTES_MAX, 1), |share| (share, 0));
        while self.bytes > bytes_max && self.blocks.len() > blocks_min {
            self.drop_front();
        }
    }

    /// The block with this number, for one who takes it, joined with those behind it that fit into `room` bytes, so that all go out in one write; `None`: it is not
    /// there, no longer or not yet.
    pub(super) fn take(&mut self, number: u64, room: usize) -> Option<Piece> {
        let index = usize::try_from(number.checked_sub(self.first)?).ok()?;
        let bytes_max = room.min(BLOCK_BYTES);
        let mut blocks = self.blocks.iter_mut().skip(index);
        let first = blocks.next()?;
        let mut piece = first.take();
        let mut joined = Vec::new();
        for block in blocks {
            let bytes_so_far = joined.len().max(piece.bytes.len());
            if bytes_so_far + block.bytes.len() > bytes_max {
                break;
            }
            if joined.is_empty() {
                joined.extend_from_slice(&piece.bytes);
            }
            let next = block.take();
            joined.extend_from_slice(&next.bytes);
            piece.events += next.events;
            piece.blocks += next.blocks;
            piece.progress = next.progress;
        }
        if !joined.is_empty() {
            piece.bytes = joined.into();
        }
        self.drop_taken();
        Some(piece)
    }

    /// Whether a follower that waits for this block has lagged too far behind.
    pub(super) fn has_lost(&self, number: u64) -> bool {
        number < self.first
    }

    /// A follower that would have taken this block next does not any more.
    pub(super) fn leave(&mut self, id: SubscriberId, next: u64) {
        if !self.followers.remove(&id) {
            return;
        }
        let untaken = next.saturating_sub(self.first);
        let untaken = usize::try_from(untaken).unwrap_or(usize::MAX);
        for block in self.blocks.iter_mut().skip(untaken) {
            block.left = block.left.saturating_sub(1);
        }
        self.drop_taken();
    }

    fn drop_taken(&mut self) {
        while self.blocks.front().is_some_and(|block| block.left == 0) {
            self.drop_front();
        }
    }

    fn drop_front(&mut self) {
        if let Some(block) = self.blocks.pop_front() {
            self.bytes -= block.bytes.len();
            self.first += 1;
        }
    }
}
