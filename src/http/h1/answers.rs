//! The answers of one connection: given in any order, written in the order of the requests (RFC 9112 9.3.2).
//!
//! Below [`Connection`](super::Connection), which reads. Its one rule: only the oldest exchange writes to the
//! output; a later one writes to a buffer of its own, which is moved over when its turn comes.

use std::collections::VecDeque;

use super::encode::{
    CONTINUE, Delivery, LAST_CHUNK, Persistence, push_chunk, push_fields, push_start,
};
use crate::http::date::DATE_LEN;
use crate::http::{Body, ExchangeId, ResponseHead};

/// An empty buffer keeps no more than this, so that an idle connection costs next to nothing.
pub(super) const IDLE_BYTES_MAX: usize = 1024;

/// How far an answer has come.
///
/// ```text
///  Waiting ──▶ Streaming ──▶ Done
///     │            └───────▶ Aborted
///     └─ whole body at once ▶ Done
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    Waiting,
    Streaming(Delivery),
    Done,
    Aborted,
}

/// What the request says about its answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    /// HEAD: no body is sent.
    pub(super) head_only: bool,
    pub(super) http10: bool,
    pub(super) keep_alive: bool,
}

#[derive(Debug)]
struct Exchange {
    asked: Asked,
    progress: Progress,
    /// `100 Continue` is to be sent when the turn comes, unless the answer has come first.
    continue_owed: bool,
    status: u16,
    /// What was written before the turn came, without the start of the head.
    early: Vec<u8>,
}

/// The exchanges that are not answered in full, and the bytes on their way to the client.
#[derive(Debug, Default)]
pub(super) struct Answers {
    exchanges: VecDeque<Exchange>,
    /// The id of the oldest exchange.
    oldest: u64,
    output: Vec<u8>,
    written: usize,
    early_bytes: usize,
    date: Option<[u8; DATE_LEN]>,
    dropped_headers: u64,
    /// No exchange will be opened any more.
    last_call: bool,
    finished: bool,
    cut: bool,
}

impl Answers {
    /// Adds an exchange behind the others.
    pub(super) fn open(&mut self, asked: Asked) -> ExchangeId {
        let id = ExchangeId(self.oldest + self.exchanges.len() as u64);
        self.exchanges.push_back(Exchange {
            asked,
            progress: Progress::Waiting,
            continue_owed: false,
            status: 0,
            early: Vec::new(),
        });
        id
    }

    pub(super) fn set_date(&mut self, date: [u8; DATE_LEN]) {
        self.date = Some(date);
    }

    /// The number of exchanges not answered in full.
    pub(super) fn len(&self) -> usize {
        self.exchanges.len()
    }

    /// Whether the answer to `id` has not begun.
    pub(super) fn is_waiting(&self, id: ExchangeId) -> bool {
        self.index(id)
            .is_some_and(|index| self.exchanges[index].progress == Progress::Waiting)
    }

    /// Ends the connection with the answer to `id`.
    pub(super) fn close_with(&mut self, id: ExchangeId) {
        if let Some(index) = self.index(id) {
            self.exchanges[index].asked.keep_alive = false;
        }
    }

    /// Says that no exchange will be opened any more: the last one there is ends the connection.
    pub(super) fn last_call(&mut self) {
        self.last_call = true;
    }

    /// Whether no exchange will be opened any more.
    pub(super) fn is_last_call(&self) -> bool {
        self.last_call
    }

    /// Whether the last answer was given; the connection ends when the output is written.
    pub(super) fn is_finished(&self) -> bool {
        self.finished || (self.last_call && self.exchanges.is_empty())
    }

    /// Whether the connection must be seen to break off.
    pub(super) fn is_cut(&self) -> bool {
        self.cut
    }

    pub(super) fn dropped_headers(&self) -> u64 {
        self.dropped_headers
    }

    /// Sends `100 Continue` for `id` when its turn comes.
    pub(super) fn owe_continue(&mut self, id: ExchangeId) {
        match self.index(id) {
            Some(0) => self.output.extend_from_slice(CONTINUE),
            Some(index) => self.exchanges[index].continue_owed = true,
            None => {}
        }
    }

    /// Begins the answer to `id`, which must be waiting, and ends it unless the body is a stream.
    pub(super) fn answer(&mut self, id: ExchangeId, head: &ResponseHead, body: &Body) {
        let Some(index) = self.index(id) else { return };
        let last = self.is_last(index);
        let exchange = &mut self.exchanges[index];
        // An interim or impossible status can come out of a Kafka record, and would leave the client waiting.
        exchange.status = if matches!(head.status, 200..=999) {
            head.status
        } else {
            500
        };
        let asked = exchange.asked;
        let delivery = Delivery::new(exchange.status, body, asked.head_only, asked.http10);
        if delivery == Delivery::UntilClose {
            exchange.asked.keep_alive = false;
            self.last_call = true;
        }
        let out = if index == 0 {
            &mut self.output
        } else {
            &mut exchange.early
        };
        let before = out.len();
        if index == 0 {
            push_start(out, exchange.status, persistence(exchange.asked, last));
        }
        self.dropped_headers += push_fields(out, head, delivery, self.date.as_ref());
        exchange.progress = match body {
            Body::Empty => Progress::Done,
            Body::Full(bytes) => {
                if !asked.head_only && delivery != Delivery::None {
                    out.extend_from_slice(bytes);
                }
                Progress::Done
            }
            Body::Stream | Body::Sized(_) if asked.head_only => Progress::Streaming(Delivery::None),
            Body::Stream | Body::Sized(_) => Progress::Streaming(delivery),
        };
        if index > 0 {
            self.early_bytes += out.len() - before;
        }
        self.take_turns();
    }

    /// Sends a piece of a streaming answer.
    pub(super) fn send_data(&mut self, id: ExchangeId, data: &[u8]) {
        let Some((index, delivery)) = self.streaming(id) else {
            return;
        };
        let exchange = &mut self.exchanges[index];
        let out = if index == 0 {
            &mut self.output
        } else {
            &mut exchange.early
        };
        let before = out.len();
        match delivery {
            Delivery::Chunked => push_chunk(out, data),
            Delivery::UntilClose | Delivery::Length(_) => out.extend_from_slice(data),
            Delivery::None | Delivery::Declared => {}
        }
        if index > 0 {
            self.early_bytes += out.len() - before;
        }
    }

    /// Ends a streaming answer.
    pub(super) fn finish(&mut self, id: ExchangeId) {
        let Some((index, delivery)) = self.streaming(id) else {
            return;
        };
        let exchange = &mut self.exchanges[index];
        exchange.progress = Progress::Done;
        if delivery == Delivery::Chunked {
            if index == 0 {
                self.output.extend_from_slice(LAST_CHUNK);
            } else {
                exchange.early.extend_from_slice(LAST_CHUNK);
                self.early_bytes += LAST_CHUNK.len();
            }
        }
        self.take_turns();
    }

    /// Breaks a streaming answer off; the connection ends there, unterminated.
    pub(super) fn abort(&mut self, id: ExchangeId) {
        if let Some((index, _)) = self.streaming(id) {
            self.exchanges[index].progress = Progress::Aborted;
            self.take_turns();
        }
    }

    /// Drops everything, written or not.
    pub(super) fn cut(&mut self) {
        self.finished = true;
        self.cut = true;
        self.exchanges = VecDeque::new();
        self.output = Vec::new();
        self.written = 0;
        self.early_bytes = 0;
    }

    /// The memory held in bytes.
    pub(super) fn bytes_held(&self) -> usize {
        let early: usize = self
            .exchanges
            .iter()
            .map(|exchange| exchange.early.capacity())
            .sum();
        self.output.capacity() + self.exchanges.capacity() * size_of::<Exchange>() + early
    }

    /// Bytes to be written next.
    pub(super) fn output(&self) -> &[u8] {
        &self.output[self.written..]
    }

    /// Answer bytes held, those of later exchanges included.
    pub(super) fn buffered_bytes(&self) -> usize {
        self.output.len() - self.written + self.early_bytes
    }

    /// Takes note of `count` bytes of the output written.
    pub(super) fn handle_written(&mut self, count: usize) {
        self.written = (self.written + count).min(self.output.len());
        if self.written == self.output.len() {
            self.written = 0;
            self.output.clear();
            if self.output.capacity() > IDLE_BYTES_MAX {
                self.output = Vec::new();
            }
        } else if self.written > self.output.len() / 2 {
            self.output.drain(..self.written);
            self.written = 0;
        }
    }

    fn index(&self, id: ExchangeId) -> Option<usize> {
        let index = usize::try_from(id.0.checked_sub(self.oldest)?).ok()?;
        (index < self.exchanges.len()).then_some(index)
    }

    fn streaming(&self, id: ExchangeId) -> Option<(usize, Delivery)> {
        let index = self.index(id)?;
        match self.exchanges[index].progress {
            Progress::Streaming(delivery) => Some((index, delivery)),
            Progress::Waiting | Progress::Done | Progress::Aborted => None,
        }
    }

    fn is_last(&self, index: usize) -> bool {
        self.last_call && index + 1 == self.exchanges.len()
    }

    /// Retires answered exchanges and lets the next one write what it has.
    fn take_turns(&mut self) {
        while let Some(oldest) = self.exchanges.front() {
            match oldest.progress {
                Progress::Waiting | Progress::Streaming(_) => return,
                Progress::Aborted => {
                    self.cut = true;
                    return self.stop();
                }
                Progress::Done if !oldest.asked.keep_alive => return self.stop(),
                Progress::Done => {
                    self.exchanges.pop_front();
                    self.oldest += 1;
                    self.begin_turn();
                }
            }
        }
        if self.exchanges.capacity() > 4 {
            self.exchanges = VecDeque::new();
        }
    }

    /// Nothing is written after this; the output still is.
    fn stop(&mut self) {
        self.finished = true;
        self.exchanges = VecDeque::new();
        self.early_bytes = 0;
    }

    fn begin_turn(&mut self) {
        let last = self.is_last(0);
        let Some(exchange) = self.exchanges.front_mut() else {
            return;
        };
        if exchange.progress != Progress::Waiting {
            push_start(
                &mut self.output,
                exchange.status,
                persistence(exchange.asked, last),
            );
            self.early_bytes -= exchange.early.len();
            self.output.append(&mut std::mem::take(&mut exchange.early));
        } else if exchange.continue_owed {
            self.output.extend_from_slice(CONTINUE);
        }
    }
}

fn persistence(asked: Asked, last: bool) -> Persistence {
    match asked {
        _ if last => Persistence::Close,
        Asked {
            keep_alive: false, ..
        } => Persistence::Close,
        Asked { http10: true, .. } => Persistence::KeepAlive,
        Asked { http10: false, .. } => Persistence::Implied,
    }
}
