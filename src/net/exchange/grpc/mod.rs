//! A gRPC call between the connection that brought it and who answers it: takes messages out of the body's bytes, and writes messages and the status into the answer's.
//!
//! ```text
//!  body ─ (base64) ─ deframer ─ (gunzip) ─ messages ─▶ callee ─ messages ─ (gzip) ─ frames ─ (base64) ─▶ answer, trailers
//! ```
//! Rule: the callee is given a message only when it wants one, and nothing more is read of the body until then; so whoever is slow slows the other side down, and nobody
//! but the two of them.

mod callee;
mod fetch;
mod local;
mod produce;
mod remote;

use std::rc::Rc;

use bytes::Bytes;

use super::{Step, Turn};
use crate::clock::Instant;
use crate::error::RequestError;
use crate::grpc::deframer::{Deframer, frame};
use crate::grpc::encoding::Encoding;
use crate::grpc::proto::MethodKind;
use crate::grpc::status::{Code, Status};
use crate::grpc::web::{ContentType, TextDecoder, encode_text, trailers_frame};
use crate::http::{Body, Headers, ResponseHead};
use crate::mapping::grpc::{CallRequest, Metadata};
use crate::mapping::http_kafka::fetch::Answer;
use crate::net::service::{BodyCharge, Service};
use callee::{CallStep, Callee};

/// Messages smaller than this are not worth compressing, bytes.
const COMPRESS_MIN: usize = 256;

/// How far the client's side of a call has come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ClientSide {
    Open,
    /// The client has sent all.
    Ended,
    /// The callee knows that.
    Passed,
}

/// A call.
pub(in crate::net) struct GrpcExchange {
    content_type: ContentType,
    kind: MethodKind,
    callee: Callee,
    /// Until the body is in base64 no more.
    text: Option<TextDecoder>,
    deframer: Deframer,
    /// How messages of the answer are compressed.
    compress: Encoding,
    side: ClientSide,
    /// There may be messages that the callee has not been given.
    has_unpassed: bool,
    /// Messages that the client has sent.
    received: u64,
    /// What ends the call, whatever the callee says.
    fault: Option<Status>,
    /// The head of the answer is written.
    has_begun: bool,
    /// Metadata that the answer begins with, until then.
    metadata: Option<Metadata>,
    /// Frames that are to be written.
    out: Vec<u8>,
    end: Option<(Status, Metadata)>,
    deadline: Option<Instant>,
    charge: BodyCharge,
    may_have_more: bool,
    /// When it ends because the gateway does.
    drain_until: Option<Instant>,
}

impl GrpcExchange {
    pub(super) fn new(call: CallRequest, now: Instant) -> Self {
        let compress = if call.encoding == Encoding::Gzip && call.accepts_gzip {
            Encoding::Gzip
        } else {
            Encoding::Identity
        };
        let deadline = call.timeout.map(|timeout| now + timeout);
        Self {
            content_type: call.content_type,
            kind: call.kind,
            callee: Callee::new(call.target, call.kind, deadline, now),
            text: (call.content_type == ContentType::WebText).then(TextDecoder::new),
            deframer: Deframer::new(call.encoding, call.message_bytes_max),
            compress,
            side: ClientSide::Open,
            has_unpassed: false,
            received: 0,
            fault: None,
            has_begun: false,
            metadata: None,
            out: Vec::new(),
            end: None,
            deadline,
            charge: BodyCharge::default(),
            may_have_more: true,
            drain_until: None,
        }
    }

    /// Whether it has more of its answer to give as soon as there is room.
    pub(super) const fn may_have_more(&self) -> bool {
        self.may_have_more
    }

    /// Whether more of the body is to be read.
    pub(super) fn wants_data(&self) -> bool {
        let is_over = self.fault.is_some() || self.end.is_some();
        // When all of it is here, the connection is read for what comes behind.
        self.side != ClientSide::Open || is_over || self.callee.wants_message()
    }

    /// Takes a piece of the body. Where the core has no room for it, the call ends.
    pub(super) fn handle_data(&mut self, bytes: &Bytes, service: &Rc<Service>) {
        self.may_have_more = true;
        if self.fault.is_some() || self.end.is_some() {
            return;
        }
        match &mut self.text {
            None => self.deframer.push(bytes.clone()),
            Some(text) => {
                let mut decoded = Vec::with_capacity(bytes.len());
                match text.decode(bytes, &mut decoded) {
                    Ok(()) => self.deframer.push(Bytes::from(decoded)),
                    Err(fault) => self.fault = Some(fault.status()),
                }
            }
        }
        self.charge_held(service);
    }

    /// Charges what is held of either side.
    fn charge_held(&mut self, service: &Rc<Service>) {
        let held = self.deframer.buffered_bytes() + self.callee.held_bytes() + self.out.len();
        if !self.charge.set(service, held) {
            self.fault = Some(RequestError::BodiesOverloaded.status());
        }
    }

    /// What let it in has ended.
    pub(super) fn expire(&mut self, error: &RequestError) {
        self.fault.get_or_insert(error.status());
        self.may_have_more = true;
    }

    /// Whether it waits for something that may never come. What is to be written of it may be written.
    pub(super) const fn is_waiting(&self) -> bool {
        self.fault.is_none() && self.end.is_none()
    }

    /// The client has sent all.
    pub(super) fn handle_end(&mut self) {
        self.side = ClientSide::Ended;
        self.may_have_more = true;
    }

    /// The gateway is ending, and calls that wait are waited for until `until` at most.
    pub(super) fn handle_drain(&mut self, until: Instant) {
        if self.drain_until.is_none() {
            self.drain_until = Some(until);
            self.callee.handle_drain();
            self.may_have_more = true;
        }
    }

    /// When to poll without being woken.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        if self.end.is_some() {
            // Room is what is waited for.
            return None;
        }
        let callee = self.callee.poll_timeout().filter(|_| self.out.is_empty());
        let times = [self.deadline, self.drain_until, callee];
        times.into_iter().flatten().min()
    }

    /// Goes as far as it can.
    pub(super) fn poll(&mut self, mut turn: Turn<'_, '_>) -> Step {
        self.may_have_more = false;
        if self.end.is_none() {
            self.go_on(&mut turn);
        }
        if let Some(metadata) = self.metadata.take() {
            self.has_begun = true;
            self.may_have_more = true;
            return Step::Begin {
                head: self.head(&metadata),
                length: None,
            };
        }
        if !self.out.is_empty() {
            self.may_have_more = true;
            if turn.room == 0 {
                return Step::Pending;
            }
            let frames = Bytes::from(std::mem::take(&mut self.out));
            return Step::Data(self.written(frames));
        }
        // What comes last of an answer to a browser is a piece like any other.
        let needs_room = self.has_begun && self.content_type != ContentType::Native;
        if self.end.is_some() && needs_room && turn.room == 0 {
            self.may_have_more = true;
            return Step::Pending;
        }
        if let Some((status, metadata)) = self.end.take() {
            turn.service.watch.metrics.grpc_calls.increment(status.code);
            return self.finish(&status, &metadata);
        }
        Step::Pending
    }

    /// Passes messages on and takes what comes back, as far as there is room.
    fn go_on(&mut self, turn: &mut Turn<'_, '_>) {
        if self.deadline.is_some_and(|deadline| deadline <= turn.now) {
            let message = "the call took longer than its grpc-timeout";
            self.fault = Some(Status::new(Code::DEADLINE_EXCEEDED, message));
        } else if self.drain_until.is_some_and(|until| until <= turn.now) {
            self.fault = Some(Status::new(Code::UNAVAILABLE, "the gateway is ending"));
        }
        loop {
            self.pass_messages(turn);
            if let Some(status) = self.fault.take() {
                return self.set_end(status, Metadata::new());
            }
            // With no room at all a callee would have nothing to give and could not wait for any.
            let most = turn.room.max(1);
            if self.out.len() >= most {
                self.may_have_more = true;
                return;
            }
            let room = most - self.out.len();
            match self.callee.poll(turn, room) {
                // It may have got rid of a message, and want the next one.
                CallStep::Pending if self.may_pass_more() => {}
                CallStep::Pending => return,
                CallStep::Begin(metadata) => self.begin(metadata),
                CallStep::Message(message) => {
                    self.begin(Metadata::new());
                    let compress = if message.len() < COMPRESS_MIN {
                        Encoding::Identity
                    } else {
                        self.compress
                    };
                    frame(&mut self.out, &message, compress);
                }
                CallStep::Frames(frames) => {
                    self.begin(Metadata::new());
                    self.out.extend_from_slice(&frames);
                }
                CallStep::End(status, trailers) => return self.set_end(status, trailers),
            }
        }
    }

    /// Gives the callee the messages that are here, as many as it wants.
    fn pass_messages(&mut self, turn: &mut Turn<'_, '_>) {
        self.has_unpassed = true;
        while self.fault.is_none() && self.side != ClientSide::Passed && self.callee.wants_message()
        {
            match self.deframer.poll_message() {
                Ok(Some(message)) => {
                    self.received += 1;
                    if self.received > 1 && !self.kind.is_client_streaming() {
                        self.fault = Some(cardinality());
                        return;
                    }
                    self.callee.handle_message(message, turn);
                }
                Ok(None) if self.side == ClientSide::Ended => {
                    let is_whole = self.deframer.finish().map_err(|fault| fault.status());
                    let text = self.text.as_ref().map_or(Ok(()), TextDecoder::finish);
                    let is_whole = is_whole.and(text.map_err(|fault| fault.status()));
                    if let Err(status) = is_whole {
                        self.fault = Some(status);
                    } else if self.received == 0 && !self.kind.is_client_streaming() {
                        self.fault = Some(cardinality());
                    } else {
                        self.side = ClientSide::Passed;
                        self.has_unpassed = false;
                        self.callee.handle_half_close(turn);
                    }
                }
                Ok(None) => {
                    self.has_unpassed = false;
                    break;
                }
                Err(fault) => self.fault = Some(fault.status()),
            }
        }
        self.charge_held(turn.service);
    }

    /// Whether there is a message, or the end of them, that the callee has not been given and would take.
    fn may_pass_more(&self) -> bool {
        self.has_unpassed && self.side != ClientSide::Passed && self.callee.wants_message()
    }

    fn begin(&mut self, metadata: Metadata) {
        if !self.has_begun && self.metadata.is_none() {
            self.metadata = Some(metadata);
        }
    }

    fn set_end(&mut self, status: Status, trailers: Metadata) {
        if !status.is_ok() && self.metadata.is_none() && !self.has_begun {
            // Nothing was said yet: the status is all there is.
            self.out.clear();
        }
        // Who answers is told that nobody listens any more.
        self.callee = Callee::Over;
        self.end = Some((status, trailers));
        self.may_have_more = true;
    }

    fn head(&self, metadata: &Metadata) -> ResponseHead {
        let mut head = ResponseHead::new(200).with("content-type", self.content_type.as_str());
        head.headers.push("grpc-encoding", self.compress.name());
        head.headers.push("grpc-accept-encoding", "gzip");
        for (name, value) in metadata {
            head.headers.push(name, value);
        }
        head
    }

    /// Frames as the client reads them.
    fn written(&self, frames: Bytes) -> Bytes {
        match self.content_type {
            ContentType::Native | ContentType::Web => frames,
            ContentType::WebText => encode_text(&frames),
        }
    }

    fn finish(&mut self, status: &Status, metadata: &Metadata) -> Step {
        let mut trailers = Headers::new();
        status.push_to(&mut trailers);
        for (name, value) in metadata {
            trailers.push(name, value);
        }
        if !self.has_begun {
            let mut head = ResponseHead::new(200).with("content-type", self.content_type.as_str());
            head.headers.push("grpc-accept-encoding", "gzip");
            for (name, value) in trailers.iter() {
                head.headers.push(name, value);
            }
            return Step::Respond(Box::new(Answer {
                head,
                body: Body::Empty,
            }));
        }
        match self.content_type {
            ContentType::Native => Step::Trailers(trailers),
            ContentType::Web | ContentType::WebText => {
                let frame = Bytes::from(trailers_frame(&trailers));
                Step::Finish(self.written(frame))
            }
        }
    }
}

/// The gRPC statuses' table has this for a call that must have one message and has another number of them.
fn cardinality() -> Status {
    Status::new(Code::UNIMPLEMENTED, "the method takes exactly one message")
}

/// What an error of a request is to whoever calls: the answer that is nothing but a status.
pub(in crate::net) fn refusal(error: &RequestError, content_type: &str) -> Answer {
    let status = error.status();
    let mut head = ResponseHead::new(200).with("content-type", content_type);
    status.push_to(&mut head.headers);
    Answer {
        head,
        body: Body::Empty,
    }
}
