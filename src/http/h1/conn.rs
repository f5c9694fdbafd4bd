//! One HTTP/1.1 server connection: client bytes in, requests out; answers in, bytes out.
//!
//! Sans-IO: feed `handle_*`, drain [`Connection::poll_event`] until `None`, write [`Connection::output`], sleep until
//! [`Connection::poll_timeout`]. While [`Connection::wants_input`] is false the shell does not read, and TCP slows the client down.
//! Its one rule: requests are read one after the other, and the first one that is not understood is the last.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;

use super::answers::{Answers, Asked};
use super::chunked::BodyReader;
use super::decode::{Decoded, RequestLine, decode};
use super::input::Input;
use super::pace::Pace;
use super::scan::Scan;
use super::{Fault, Limits};
use crate::clock::Instant;
use crate::http::chars::is_token_byte;
use crate::http::date::DATE_LEN;
use crate::http::{
    Body, ExchangeId, Method, Problem, RequestBody, RequestHead, ResponseHead, Scheme, Version,
};

/// Empty lines tolerated before a request line (RFC 9112 2.2).
const EMPTY_LINES_MAX: u8 = 4;
/// Bytes of a body read and dropped after an early answer, so that the connection can live on.
const DISCARDED_BYTES_MAX: usize = 64 * 1024;
/// How long the client may go on sending after our half of the connection is closed (RFC 9112 9.6).
const LINGER: Duration = Duration::from_secs(1);

/// What a connection tells its shell.
#[derive(Debug)]
pub enum Event {
    /// A request. Each is to be answered with [`Connection::respond`] or [`Connection::abort`].
    Request {
        /// Names the exchange in all that follows.
        id: ExchangeId,
        /// The checked head.
        head: RequestHead,
        /// The body, or that it follows.
        body: RequestBody,
    },
    /// More of a streaming body.
    Data {
        /// The exchange.
        id: ExchangeId,
        /// At least one byte.
        bytes: Bytes,
    },
    /// A streaming body is whole.
    End {
        /// The exchange.
        id: ExchangeId,
    },
    /// A streaming body will never be whole: nothing of it may be kept. The client was or will be told.
    Aborted {
        /// The exchange.
        id: ExchangeId,
    },
    /// The client closed its half. What is in flight is still answered, since it may wait for that; an endless
    /// stream should end here.
    HalfClosed,
}

/// What the next input byte belongs to.
///
/// ```text
///           ┌──────────────────────────── whole ────────────────────────────┐
///           ▼                                                               │
///  start ─▶ Head ── body to come ──────────────────▶ Body ─────────────────▶┤
///           │ ▲ └─ no body, or all of it at hand     ▲  └ answered first,   │
///           │ └───┘                                  │    little left       │
///           └ expects 100 ─▶ Expecting ─ accept_body ┘         └▶ Discard ──┘
///
///  Head      ── fault, last request, drain ───────────▶ Done
///  Expecting ── answered first ───────────────────────▶ Done
///  Body      ── fault; answered first, much left ─────▶ Done
///  Discard   ── fault, too much, too slow ────────────▶ Done
/// ```
#[derive(Debug)]
enum Reading {
    /// The next request's head, or nothing yet.
    Head,
    /// A body that the client sends only when told to.
    Expecting { id: ExchangeId, body: BodyReader },
    /// A body, given on as it comes.
    Body {
        id: ExchangeId,
        body: BodyReader,
        pace: Pace,
    },
    /// A body that nobody wants any more, read so that the next request can be found.
    Discard {
        body: BodyReader,
        budget: usize,
        pace: Pace,
    },
    /// No request is read any more; what comes is dropped.
    Done,
}

/// The end of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Open,
    /// Our half is closed; the client's bytes are dropped until it closes too.
    Lingering {
        until: Instant,
    },
    Closed,
}

/// One connection, from accept to close.
#[derive(Debug)]
pub struct Connection {
    limits: Rc<Limits>,
    scheme: Scheme,
    phase: Phase,
    reading: Reading,
    scan: Scan,
    /// Input that waits: part of a head, or requests behind a full pipeline.
    input: Input,
    empty_lines: u8,
    eof: bool,
    answers: Answers,
    events: VecDeque<Event>,
    fault: Option<Fault>,
    head_since: Option<Instant>,
    idle_since: Option<Instant>,
    write_since: Option<Instant>,
    /// The shell was told not to read, so the client is not to blame for its silence.
    was_blocked: bool,
}

impl Connection {
    /// A connection that was just accepted.
    pub fn new(limits: Rc<Limits>, scheme: Scheme, now: Instant) -> Self {
        Self {
            limits,
            scheme,
            phase: Phase::Open,
            reading: Reading::Head,
            scan: Scan::default(),
            input: Input::default(),
            empty_lines: 0,
            eof: false,
            answers: Answers::default(),
            events: VecDeque::new(),
            fault: None,
            head_since: None,
            idle_since: Some(now),
            write_since: None,
            was_blocked: false,
        }
    }

    /// Sets the `date` of the answers to come ([`imf_fixdate`](crate::http::date::imf_fixdate)); none is written before.
    pub fn set_date(&mut self, date: [u8; DATE_LEN]) {
        self.answers.set_date(date);
    }

    /// Takes bytes from the client; all of them, whatever they are.
    pub fn handle_input(&mut self, bytes: &[u8], now: Instant) {
        if self.phase != Phase::Open {
            return;
        }
        if self.input.is_empty() {
            let used = self.advance(bytes, now);
            self.input.extend(&bytes[used..]);
        } else {
            self.input.extend(bytes);
        }
        self.settle(now);
    }

    /// Takes note that the client closed its half of the connection.
    pub fn handle_eof(&mut self, now: Instant) {
        if self.eof {
            return;
        }
        self.eof = true;
        match self.phase {
            Phase::Open if self.answers.len() > 0 => self.events.push_back(Event::HalfClosed),
            Phase::Open | Phase::Closed => {}
            Phase::Lingering { .. } => self.phase = Phase::Closed,
        }
        self.settle(now);
    }

    /// Acts on deadlines that have passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.write_deadline() <= now {
            self.cut();
        } else if self.read_deadline() <= now {
            self.handle_read_timeout();
        }
        self.settle(now);
    }

    /// When [`Self::handle_timeout`] must be called; it may change with every other call.
    pub fn poll_timeout(&self) -> Instant {
        self.read_deadline().min(self.write_deadline())
    }

    /// The next event, in order.
    pub fn poll_event(&mut self) -> Option<Event> {
        let event = self.events.pop_front();
        if event.is_none() && self.events.capacity() > 4 {
            self.events = VecDeque::new();
        }
        event
    }

    /// Whether the shell should read. False while too many exchanges or answer bytes are under way, an event waits,
    /// or the client was not yet told to send its body.
    pub fn wants_input(&self) -> bool {
        !self.eof
            && match self.phase {
                Phase::Open => self.events.is_empty() && self.reads_now(),
                Phase::Lingering { .. } => true,
                Phase::Closed => false,
            }
    }

    /// Lets a streaming body come: sends `100 Continue` if the client waits for it.
    pub fn accept_body(&mut self, id: ExchangeId, now: Instant) {
        let body = match &self.reading {
            Reading::Expecting {
                id: expecting,
                body,
            } if *expecting == id => body.clone(),
            _ => return,
        };
        self.answers.owe_continue(id);
        self.reading = Reading::Body {
            id,
            body,
            pace: Pace::new(now),
        };
        self.settle(now);
    }

    /// Answers an exchange. A stream goes on with [`Self::send_data`]. A second answer is ignored, as is one to an
    /// exchange that is over. An answer that is whole before the body's [`Event::End`] means that the rest of the body
    /// is not wanted; beside one that goes on, the body goes on too.
    pub fn respond(&mut self, id: ExchangeId, head: &ResponseHead, body: &Body, now: Instant) {
        if self.answers.is_waiting(id) {
            let goes_on = matches!(body, Body::Stream | Body::Sized(_))
                && matches!(self.reading, Reading::Body { .. });
            if !goes_on {
                self.leave_body(id, now);
            }
            self.answers.answer(id, head, body);
            if self.answers.is_last_call() && matches!(self.reading, Reading::Head) {
                self.stop_reading();
            }
            self.settle(now);
        }
    }

    /// Sends a piece of a streaming answer.
    pub fn send_data(&mut self, id: ExchangeId, data: &[u8], now: Instant) {
        self.answers.send_data(id, data);
        self.settle(now);
    }

    /// Ends a streaming answer.
    pub fn finish(&mut self, id: ExchangeId, now: Instant) {
        self.leave_body(id, now);
        self.answers.finish(id);
        self.settle(now);
    }

    /// Gives an exchange up: 500 if the answer has not begun; else the connection is cut, so that the client cannot
    /// take a part for the whole.
    pub fn abort(&mut self, id: ExchangeId, now: Instant) {
        if self.answers.is_waiting(id) {
            self.answers.close_with(id);
            let (head, body) = Problem::new(500).into_response();
            return self.respond(id, &head, &body, now);
        }
        self.answers.abort(id);
        self.settle(now);
    }

    /// The body that is coming is not taken for now: its clock begins anew.
    pub fn hold_body(&mut self, now: Instant) {
        if let Reading::Body { pace, .. } = &mut self.reading {
            *pace = Pace::new(now);
        }
    }

    /// How many more bytes of answers should be given now; 0 while the client is slow.
    pub fn stream_room(&self) -> usize {
        self.limits
            .output_bytes_max
            .saturating_sub(self.answers.buffered_bytes())
    }

    /// The bytes to write next.
    pub fn output(&self) -> &[u8] {
        self.answers.output()
    }

    /// Takes note that the first `count` bytes of the output were written.
    pub fn handle_written(&mut self, count: usize, now: Instant) {
        self.answers.handle_written(count);
        if count > 0 {
            self.write_since = None;
        }
        self.settle(now);
    }

    /// Lets what is in flight be answered, reads no further request, then closes.
    pub fn drain(&mut self, now: Instant) {
        self.answers.last_call();
        if matches!(self.reading, Reading::Head | Reading::Discard { .. }) {
            self.stop_reading();
        }
        self.settle(now);
    }

    /// Whether everything is written, and the shell should now shut down its sending half, once. It goes on reading
    /// until [`Self::is_closed`], or the client may lose the last answer to a reset (RFC 9112 9.6).
    pub fn wants_shutdown(&self) -> bool {
        matches!(self.phase, Phase::Lingering { .. })
    }

    /// Whether the connection is over, and the shell should close it.
    pub fn is_closed(&self) -> bool {
        self.phase == Phase::Closed
    }

    /// Whether the shell should close with a reset: to an HTTP/1.0 client an ordinary close would look like the end
    /// of the answer.
    pub fn wants_reset(&self) -> bool {
        self.answers.is_cut()
    }

    /// What the client got wrong, if that ended the connection: for counters and logs.
    pub fn fault(&self) -> Option<Fault> {
        self.fault
    }

    /// The number of requests not answered in full.
    pub fn exchanges_open(&self) -> usize {
        self.answers.len()
    }

    /// The number of answer headers left out because they were malformed.
    pub fn dropped_headers(&self) -> u64 {
        self.answers.dropped_headers()
    }

    /// The memory held by buffers and queues in bytes; the requests handed out and queued bodies not counted.
    pub fn bytes_held(&self) -> usize {
        size_of::<Self>()
            + self.input.bytes_held()
            + self.events.capacity() * size_of::<Event>()
            + self.answers.bytes_held()
    }

    /// Reads as far as it goes and says how many bytes that took.
    fn advance(&mut self, bytes: &[u8], now: Instant) -> usize {
        let mut used = 0;
        while let Some(count) = self.step(&bytes[used..], now) {
            used += count;
        }
        used
    }

    /// Reads one thing. `None`: not without more bytes, or not now.
    fn step(&mut self, bytes: &[u8], now: Instant) -> Option<usize> {
        if bytes.is_empty() {
            return None;
        }
        match self.reading {
            Reading::Head if self.has_room() => self.step_head(bytes, now),
            Reading::Head | Reading::Expecting { .. } => None,
            Reading::Body { .. } => Some(self.step_body(bytes, now)),
            Reading::Discard { .. } => Some(self.step_discard(bytes, now)),
            Reading::Done => Some(bytes.len()),
        }
    }

    fn step_head(&mut self, bytes: &[u8], now: Instant) -> Option<usize> {
        self.head_since.get_or_insert(now);
        let found = match bytes {
            [b'\r'] => return None,
            [b'\r', b'\n', ..] if self.empty_lines < EMPTY_LINES_MAX => {
                self.empty_lines += 1;
                return Some(2);
            }
            [b'\r', b'\n', ..] => Err(Fault::EmptyLines),
            [0x16, ..] => Err(Fault::TlsOnPlainPort),
            [first, ..] if is_token_byte(*first) || matches!(first, b'\r' | b'\n') => {
                self.find_head(bytes)
            }
            _ => Err(Fault::Method),
        };
        match found {
            Ok(len) => Some(len? + self.begin_exchange(&bytes[..len?], &bytes[len?..], now)),
            Err(fault) => {
                self.fail(fault, bytes.starts_with(b"HEAD "));
                Some(bytes.len())
            }
        }
    }

    /// The length of the head at the start of `bytes`, once it is whole.
    fn find_head(&mut self, bytes: &[u8]) -> Result<Option<usize>, Fault> {
        let line_was_seen = self.scan.first_line_end().is_some();
        let found = self.scan.scan(bytes)?;
        if found.unwrap_or(bytes.len() + 1) > self.limits.head_bytes_max {
            let line_end = self
                .scan
                .first_line_end()
                .filter(|&end| end < self.limits.head_bytes_max);
            return Err(if line_end.is_some() {
                Fault::HeadTooLarge
            } else {
                Fault::LineTooLong
            });
        }
        // A request line that is no good is told at once: an HTTP/0.9 client would send nothing more.
        if let (None, false, Some(end)) = (found, line_was_seen, self.scan.first_line_end()) {
            RequestLine::read(&bytes[..end])?;
        }
        Ok(found)
    }

    /// Opens an exchange for a whole head; how many bytes of `rest` belong to its body.
    fn begin_exchange(&mut self, head: &[u8], rest: &[u8], now: Instant) -> usize {
        let line_len = self.scan.first_line_end().unwrap_or(0);
        self.scan = Scan::default();
        self.head_since = None;
        self.empty_lines = 0;
        match decode(head, line_len, self.scheme, &self.limits) {
            Ok(decoded) => self.begin_body(decoded, rest, now),
            Err(fault) => {
                self.fail(fault, head.starts_with(b"HEAD "));
                rest.len()
            }
        }
    }

    fn begin_body(&mut self, decoded: Decoded, rest: &[u8], now: Instant) -> usize {
        let Decoded {
            head,
            framing,
            keep_alive,
            expects_continue,
        } = decoded;
        let asked = Asked {
            head_only: head.method == Method::Head,
            http10: head.version == Version::Http10,
            keep_alive,
        };
        let Some(unread) = BodyReader::new(framing, self.limits.body_bytes_max) else {
            let id = self.answers.open(asked);
            self.after_body(keep_alive);
            self.events.push_back(Event::Request {
                id,
                head,
                body: RequestBody::Full(Bytes::new()),
            });
            return 0;
        };
        let length = unread.length();
        let mut body = unread.clone();
        let piece = match body.read(rest) {
            Ok(piece) => piece,
            Err(fault) => {
                self.fail(fault, asked.head_only);
                return rest.len();
            }
        };
        let id = self.answers.open(asked);
        if piece.done {
            self.after_body(keep_alive);
            self.events.push_back(Event::Request {
                id,
                head,
                body: RequestBody::Full(piece.data),
            });
            return piece.used;
        }
        if !keep_alive {
            // Nothing is read after this body, however it ends.
            self.answers.last_call();
        }
        self.events.push_back(Event::Request {
            id,
            head,
            body: RequestBody::Streaming {
                length,
                expects_continue,
            },
        });
        if expects_continue {
            self.reading = Reading::Expecting { id, body: unread };
            return 0;
        }
        let mut pace = Pace::new(now);
        pace.add(piece.used, now);
        self.reading = Reading::Body { id, body, pace };
        self.push_data(id, piece.data);
        piece.used
    }

    fn step_body(&mut self, bytes: &[u8], now: Instant) -> usize {
        let Reading::Body { id, body, pace } = &mut self.reading else {
            return 0;
        };
        let id = *id;
        match body.read(bytes) {
            Ok(piece) => {
                pace.add(piece.used, now);
                self.push_data(id, piece.data);
                if piece.done {
                    self.events.push_back(Event::End { id });
                    self.after_body(true);
                }
                piece.used
            }
            Err(fault) => {
                self.fail_body(id, fault);
                bytes.len()
            }
        }
    }

    fn step_discard(&mut self, bytes: &[u8], now: Instant) -> usize {
        let Reading::Discard { body, budget, pace } = &mut self.reading else {
            return 0;
        };
        match body.read(bytes) {
            Ok(piece) if piece.used <= *budget => {
                *budget -= piece.used;
                pace.add(piece.used, now);
                if piece.done {
                    self.after_body(true);
                }
                piece.used
            }
            Ok(_) | Err(_) => {
                self.stop_reading();
                bytes.len()
            }
        }
    }

    fn push_data(&mut self, id: ExchangeId, bytes: Bytes) {
        if !bytes.is_empty() {
            self.events.push_back(Event::Data { id, bytes });
        }
    }

    fn after_body(&mut self, keep_alive: bool) {
        self.reading = Reading::Head;
        if !keep_alive || self.answers.is_last_call() {
            self.stop_reading();
        }
    }

    /// Reads no request any more; the connection ends with the last exchange there is.
    fn stop_reading(&mut self) {
        self.reading = Reading::Done;
        self.head_since = None;
        self.answers.last_call();
    }

    /// The rest of the body of `id` is not wanted: an answer comes first.
    fn leave_body(&mut self, id: ExchangeId, now: Instant) {
        match &self.reading {
            Reading::Body {
                id: reading, body, ..
            } if *reading == id => {
                let is_small = body
                    .length()
                    .is_none_or(|length| length <= DISCARDED_BYTES_MAX as u64);
                if is_small && !self.answers.is_last_call() {
                    let body = body.clone();
                    self.reading = Reading::Discard {
                        body,
                        budget: DISCARDED_BYTES_MAX,
                        pace: Pace::new(now),
                    };
                } else {
                    self.stop_reading();
                }
            }
            // The client may send the body or not: where the next request starts cannot be told (RFC 9110 10.1.1).
            Reading::Expecting { id: reading, .. } if *reading == id => self.stop_reading(),
            _ => {}
        }
    }

    /// Answers what cannot be read as a request, behind the answers to what came before it.
    fn fail(&mut self, fault: Fault, head_only: bool) {
        let id = self.answers.open(Asked {
            head_only,
            http10: false,
            keep_alive: false,
        });
        self.stop_reading();
        self.fault = Some(fault);
        let (head, body) = fault.into_response();
        self.answers.answer(id, &head, &body);
    }

    /// Ends an exchange whose body broke off.
    fn fail_body(&mut self, id: ExchangeId, fault: Fault) {
        self.events.push_back(Event::Aborted { id });
        let is_answered = !self.answers.is_waiting(id);
        self.answers.close_with(id);
        self.stop_reading();
        self.fault = Some(fault);
        if is_answered {
            // Its answer is under way, and not whole.
            return self.answers.abort(id);
        }
        let (head, body) = fault.into_response();
        self.answers.answer(id, &head, &body);
    }

    /// After every input: reads what can be read now, notices the end, keeps the clocks.
    fn settle(&mut self, now: Instant) {
        if self.answers.is_finished() {
            self.give_up_reading();
        }
        self.advance_kept_input(now);
        if self.eof {
            self.end_input();
        }
        if self.phase == Phase::Open
            && self.answers.is_finished()
            && self.answers.output().is_empty()
        {
            let over = self.eof || self.answers.is_cut();
            self.phase = if over {
                Phase::Closed
            } else {
                Phase::Lingering {
                    until: now + LINGER,
                }
            };
        }
        self.keep_clocks(now);
    }

    fn advance_kept_input(&mut self, now: Instant) {
        if self.input.is_empty() {
            return;
        }
        // Taken out while it is read from, since reading changes everything else.
        let mut input = std::mem::take(&mut self.input);
        input.consume(self.advance(input.as_slice(), now));
        self.input = input;
    }

    /// Draws the conclusion from the client's end of input, once all that came before it is read.
    fn end_input(&mut self) {
        match self.reading {
            Reading::Head if self.head_since.is_some() && !self.scan.is_new() => {
                self.fail(Fault::HeadCutOff, false);
            }
            Reading::Head if self.input.is_empty() || self.head_since.is_some() => {
                self.stop_reading();
            }
            Reading::Expecting { id, .. } if self.input.is_empty() => {
                self.fail_body(id, Fault::BodyCutOff);
            }
            Reading::Body { id, .. } => self.fail_body(id, Fault::BodyCutOff),
            Reading::Discard { .. } => self.stop_reading(),
            Reading::Head | Reading::Expecting { .. } | Reading::Done => {}
        }
    }

    fn keep_clocks(&mut self, now: Instant) {
        let writing = !self.answers.output().is_empty();
        let idle = matches!(self.reading, Reading::Head) && !writing && self.answers.len() == 0;
        run_clock(&mut self.write_since, writing, now);
        run_clock(&mut self.idle_since, idle, now);
        let blocked = !self.reads_now();
        if self.was_blocked && !blocked {
            self.head_since = self.head_since.map(|_| now);
            if let Reading::Body { pace, .. } | Reading::Discard { pace, .. } = &mut self.reading {
                *pace = Pace::new(now);
            }
        }
        self.was_blocked = blocked;
    }

    fn handle_read_timeout(&mut self) {
        match (self.phase, &self.reading) {
            (Phase::Open, Reading::Head) if self.head_since.is_some() => {
                self.fail(Fault::HeadTimeout, false);
            }
            (Phase::Open, Reading::Head) | (Phase::Lingering { .. }, _) => {
                self.phase = Phase::Closed;
            }
            (Phase::Open, Reading::Body { id, .. }) => self.fail_body(*id, Fault::BodyTimeout),
            (Phase::Open, Reading::Discard { .. }) => self.stop_reading(),
            (Phase::Open, Reading::Expecting { .. } | Reading::Done) | (Phase::Closed, _) => {}
        }
    }

    fn read_deadline(&self) -> Instant {
        match (self.phase, &self.reading) {
            (Phase::Lingering { until }, _) => until,
            (Phase::Open, _) if !self.reads_now() => Instant::FAR_FUTURE,
            (Phase::Open, Reading::Head) => match (self.head_since, self.idle_since) {
                (Some(since), _) => since + self.limits.header_timeout,
                (None, Some(since)) => since + self.limits.idle_timeout,
                (None, None) => Instant::FAR_FUTURE,
            },
            (Phase::Open, Reading::Body { pace, .. } | Reading::Discard { pace, .. }) => {
                pace.deadline(&self.limits)
            }
            (Phase::Open, Reading::Expecting { .. } | Reading::Done) | (Phase::Closed, _) => {
                Instant::FAR_FUTURE
            }
        }
    }

    fn write_deadline(&self) -> Instant {
        self.write_since.map_or(Instant::FAR_FUTURE, |since| {
            since + self.limits.write_timeout
        })
    }

    /// Whether another request may be read.
    fn has_room(&self) -> bool {
        self.answers.len() < self.limits.pipeline_max && self.stream_room() > 0
    }

    /// Whether bytes from the client would be of use now.
    fn reads_now(&self) -> bool {
        match self.reading {
            Reading::Head => self.has_room(),
            Reading::Expecting { .. } => false,
            Reading::Body { .. } | Reading::Discard { .. } => self.stream_room() > 0,
            Reading::Done => true,
        }
    }

    /// Ends the connection here and now.
    fn cut(&mut self) {
        self.give_up_reading();
        self.answers.cut();
        self.phase = Phase::Closed;
    }

    /// Reads nothing more, not even the body under way.
    fn give_up_reading(&mut self) {
        if let Reading::Body { id, .. } | Reading::Expecting { id, .. } = self.reading {
            self.events.push_back(Event::Aborted { id });
        }
        self.stop_reading();
    }
}

/// Starts a clock when `running` begins, stops it when it ends.
fn run_clock(clock: &mut Option<Instant>, running: bool, now: Instant) {
    if running {
        clock.get_or_insert(now);
    } else {
        *clock = None;
    }
}
