//! A call of another gRPC server: messages out, metadata, messages and the status in (gRPC over HTTP/2).
//!
//! The same for calls that clients make through the gateway and for those that it makes of records. Rule: however the other side ends the call, or fails to, there is
//! exactly one status, and it comes last.

use std::collections::VecDeque;
use std::task::{Context, Poll};

use bytes::Bytes;

use super::upstream::{Upstream, UpstreamFault, UpstreamRequest, UpstreamStream};
use crate::clock::Instant;
use crate::grpc::deframer::{Deframer, frame};
use crate::grpc::encoding::Encoding;
use crate::grpc::metadata::{is_reply_metadata, may_send};
use crate::grpc::status::{Code, Status};
use crate::grpc::timeout::encode_timeout;
use crate::grpc::web::ContentType;
use crate::http::{Headers, Method, ResponseHead, Scheme};
use crate::mapping::grpc::Metadata;
use crate::runtime;

/// The largest message that is taken of another server: four times what clients take by default, since records bound it anyway.
const MESSAGE_BYTES_MAX: usize = 16 << 20;
/// Messages that wait for the other side's flow control.
const WAITING_MAX: usize = 4;
/// Bytes of them from which on no further one is taken.
const WAITING_BYTES_MAX: usize = 256 << 10;
/// What the gateway calls itself.
const USER_AGENT: &str = concat!("grpc-sluice/", env!("CARGO_PKG_VERSION"));

/// A call to be made.
pub(crate) struct OutgoingCall<'c> {
    pub(crate) scheme: Scheme,
    pub(crate) authority: Bytes,
    pub(crate) service: &'c str,
    pub(crate) method: &'c str,
    pub(crate) metadata: &'c Metadata,
    /// When it has to be over; [`Instant::FAR_FUTURE`]: never.
    pub(crate) deadline: Instant,
}

/// What the other side says.
pub(crate) enum ClientStep {
    /// Nothing now.
    Pending,
    /// Metadata; comes first, unless the call ends at once.
    Begin(Metadata),
    /// A message.
    Message(Bytes),
    /// How it ended; comes last.
    End(Status, Metadata),
}

/// A call of another server.
pub(crate) struct ClientCall {
    stream: UpstreamStream,
    waiting: VecDeque<Bytes>,
    waiting_bytes: usize,
    sending: Sending,
    deframer: Option<Deframer>,
    is_whole: bool,
    is_over: bool,
    broken: Option<Broken>,
    deadline: Instant,
}

/// How a call broke.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Broken {
    /// By something that may pass: the other side is down, or busy.
    Passing,
    ForGood,
}

/// Whether more messages are to be sent.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sending {
    Open,
    /// There are no more than those that wait.
    Finished,
    /// The other side knows.
    Said,
}

impl ClientCall {
    /// Begins a call; what is wrong with it comes out as its status.
    pub(crate) fn new(upstream: &Upstream, call: &OutgoingCall<'_>, now: Instant) -> Self {
        let mut headers = Headers::new();
        headers.push("content-type", "application/grpc");
        headers.push("te", "trailers");
        headers.push("user-agent", USER_AGENT);
        if call.deadline != Instant::FAR_FUTURE {
            let left = call.deadline.saturating_duration_since(now);
            headers.push("grpc-timeout", encode_timeout(left));
        }
        for (name, value) in call.metadata {
            if may_send(name, value) {
                headers.push(name, value);
            }
        }
        let request = UpstreamRequest {
            method: Method::Post,
            scheme: call.scheme,
            authority: call.authority.clone(),
            target: Bytes::from(format!("/{}/{}", call.service, call.method)),
            headers,
        };
        let mut stream = upstream.open(request, true, call.deadline);
        stream.be_patient();
        Self {
            stream,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            sending: Sending::Open,
            deframer: None,
            is_whole: false,
            is_over: false,
            broken: None,
            deadline: call.deadline,
        }
    }

    /// Whether it can take a message.
    pub(crate) fn wants_message(&self) -> bool {
        self.waiting.len() < WAITING_MAX
            && self.waiting_bytes < WAITING_BYTES_MAX
            && self.sending == Sending::Open
    }

    /// Bytes that it holds of either side.
    pub(crate) fn held_bytes(&self) -> usize {
        let received = self.deframer.as_ref().map_or(0, Deframer::buffered_bytes);
        self.waiting_bytes + received
    }

    /// Sends a message.
    pub(crate) fn send(&mut self, message: &[u8]) {
        let mut framed = Vec::with_capacity(message.len() + 5);
        frame(&mut framed, message, Encoding::Identity);
        self.waiting_bytes += framed.len();
        self.waiting.push_back(Bytes::from(framed));
    }

    /// There are no more messages to send.
    pub(crate) fn finish(&mut self) {
        self.sending = Sending::Finished;
    }

    /// Takes the call back.
    pub(crate) fn cancel(&mut self) {
        self.is_over = true;
        self.stream.cancel();
    }

    /// Goes as far as it can.
    pub(crate) fn poll(&mut self, context: &mut Context<'_>) -> ClientStep {
        if self.is_over {
            return ClientStep::Pending;
        }
        // What is wrong with sending is said by what comes back.
        self.poll_send(context);
        let Some(deframer) = &mut self.deframer else {
            return self.poll_head(context);
        };
        loop {
            match deframer.poll_message() {
                Ok(Some(message)) => return ClientStep::Message(message),
                Ok(None) => {}
                Err(fault) => {
                    self.stream.cancel();
                    return self.end(fault.status(), Metadata::new());
                }
            }
            if self.is_whole {
                break;
            }
            match self.stream.poll_data(context) {
                Poll::Pending => return ClientStep::Pending,
                Poll::Ready(Some(Ok(bytes))) => deframer.push(bytes),
                Poll::Ready(Some(Err(fault))) => return self.fail(&fault),
                Poll::Ready(None) => self.is_whole = true,
            }
        }
        if let Err(fault) = deframer.finish() {
            return self.end(fault.status(), Metadata::new());
        }
        match self.stream.poll_trailers(context) {
            Poll::Pending => ClientStep::Pending,
            Poll::Ready(Err(fault)) => self.fail(&fault),
            Poll::Ready(Ok(trailers)) => {
                let trailers = trailers.unwrap_or_default();
                let status = Status::from_headers(&trailers).unwrap_or_else(|| {
                    Status::new(Code::INTERNAL, "the server ended the call without a status")
                });
                self.end(status, reply_metadata(&trailers))
            }
        }
    }

    /// Whether it ended because the other side could not be asked, or did not answer to the end: the status is ours.
    pub(crate) const fn is_broken(&self) -> bool {
        self.broken.is_some()
    }

    /// Whether it broke because of something that may pass: the other side is down, or busy.
    pub(crate) const fn may_be_repeated(&self) -> bool {
        matches!(self.broken, Some(Broken::Passing))
    }

    fn fail(&mut self, fault: &UpstreamFault) -> ClientStep {
        self.broken = Some(if is_passing(fault) {
            Broken::Passing
        } else {
            Broken::ForGood
        });
        let mut status = status_of(fault);
        if matches!(fault, UpstreamFault::Timeout) && runtime::now() < self.deadline {
            // The call's own time is not over: no connection was to be had.
            status.code = Code::UNAVAILABLE;
        }
        self.end(status, Metadata::new())
    }

    fn end(&mut self, status: Status, trailers: Metadata) -> ClientStep {
        self.is_over = true;
        ClientStep::End(status, trailers)
    }

    fn poll_send(&mut self, context: &mut Context<'_>) {
        while !self.waiting.is_empty() {
            if !matches!(self.stream.poll_ready(context), Poll::Ready(Ok(()))) {
                return;
            }
            if let Some(message) = self.waiting.pop_front() {
                self.waiting_bytes -= message.len();
                self.stream.send_data(message);
            }
        }
        if self.sending == Sending::Finished {
            self.sending = Sending::Said;
            self.stream.finish();
        }
    }

    fn poll_head(&mut self, context: &mut Context<'_>) -> ClientStep {
        let head = match self.stream.poll_head(context) {
            Poll::Pending => return ClientStep::Pending,
            Poll::Ready(Ok(head)) => head,
            Poll::Ready(Err(fault)) => return self.fail(&fault),
        };
        if let Some(status) = refused(&head) {
            self.stream.cancel();
            return self.end(status, reply_metadata(&head.headers));
        }
        if let Some(status) = Status::from_headers(&head.headers) {
            return self.end(status, reply_metadata(&head.headers));
        }
        let encoding = head.headers.get("grpc-encoding");
        let Some(encoding) = encoding.map_or(Some(Encoding::Identity), Encoding::from_name) else {
            self.stream.cancel();
            let status = Status::new(
                Code::INTERNAL,
                "the server compresses as nobody asked it to",
            );
            return self.end(status, Metadata::new());
        };
        self.deframer = Some(Deframer::new(encoding, MESSAGE_BYTES_MAX));
        ClientStep::Begin(reply_metadata(&head.headers))
    }
}

/// The status of an answer that is not one of gRPC.
fn refused(head: &ResponseHead) -> Option<Status> {
    if head.status != 200 {
        return Some(Status::from_headers(&head.headers).unwrap_or_else(|| {
            let message = format!("the server answered with HTTP status {}", head.status);
            Status::new(Code::from_http(head.status), message)
        }));
    }
    let content_type = head.headers.get("content-type");
    let is_grpc = content_type
        .and_then(ContentType::parse)
        .is_some_and(|parsed| parsed == ContentType::Native);
    // What ends at once need not say of what type it is.
    (!is_grpc && Status::from_headers(&head.headers).is_none())
        .then(|| Status::new(Code::UNKNOWN, "the server does not answer in gRPC"))
}

fn reply_metadata(headers: &Headers) -> Metadata {
    headers
        .iter()
        .filter(|(name, _)| is_reply_metadata(name))
        .map(|(name, value)| (Bytes::copy_from_slice(name), Bytes::copy_from_slice(value)))
        .collect()
}

/// What a server says that has not looked at a stream (RFC 9113 8.7).
const REFUSED_STREAM: u32 = 7;

fn is_passing(fault: &UpstreamFault) -> bool {
    match fault {
        UpstreamFault::Reset(reason) => *reason == REFUSED_STREAM,
        UpstreamFault::Resolve(_)
        | UpstreamFault::Connect(_)
        | UpstreamFault::Tls(_)
        | UpstreamFault::Busy
        | UpstreamFault::Timeout
        | UpstreamFault::Lost { .. } => true,
        UpstreamFault::Protocol(_) | UpstreamFault::TooLarge | UpstreamFault::Unsendable => false,
    }
}

/// What a call is told when HTTP fails it.
fn status_of(fault: &UpstreamFault) -> Status {
    let code = match fault {
        UpstreamFault::Timeout => Code::DEADLINE_EXCEEDED,
        UpstreamFault::Reset(reason) => Code::from_h2_reason(*reason),
        UpstreamFault::Protocol(_) | UpstreamFault::TooLarge | UpstreamFault::Unsendable => {
            Code::INTERNAL
        }
        UpstreamFault::Resolve(_)
        | UpstreamFault::Connect(_)
        | UpstreamFault::Tls(_)
        | UpstreamFault::Busy
        | UpstreamFault::Lost { .. } => Code::UNAVAILABLE,
    };
    Status::new(code, fault.to_string())
}
