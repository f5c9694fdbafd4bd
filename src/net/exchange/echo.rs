//! An echo: the request's headers and body come back (Zilla's `echo` server).

use std::rc::Rc;

use bytes::{Bytes, BytesMut};

use super::Step;
use crate::http::{Body, RequestHead, ResponseHead};
use crate::mapping::http_kafka::fetch::Answer;
use crate::net::service::{BodyCharge, Service};

/// Request headers that frame the message or speak of the connection: they do not come back (RFC 9110 7.6.1).
const NOT_ECHOED: [&[u8]; 11] = [
    b"connection",
    b"content-length",
    b"expect",
    b"host",
    b"http2-settings",
    b"keep-alive",
    b"proxy-connection",
    b"te",
    b"trailer",
    b"transfer-encoding",
    b"upgrade",
];
/// Credentials are for the gateway alone.
const SECRET: [&[u8]; 3] = [b"authorization", b"cookie", b"proxy-authorization"];

/// A request that comes back.
pub(in crate::net) struct Echo {
    head: ResponseHead,
    received: BytesMut,
    body: Option<Bytes>,
    charge: BodyCharge,
}

impl Echo {
    pub(super) fn new(request: &RequestHead) -> Self {
        let mut head = ResponseHead::new(200);
        for (name, value) in request.headers().iter() {
            if !NOT_ECHOED.contains(&name) && !SECRET.contains(&name) {
                head.headers.push(name, value);
            }
        }
        Self {
            head,
            received: BytesMut::new(),
            body: None,
            charge: BodyCharge::default(),
        }
    }

    pub(super) fn handle_data(&mut self, bytes: &Bytes, service: &Rc<Service>) -> bool {
        let has_room = self.charge.add(service, bytes.len());
        if has_room {
            self.received.extend_from_slice(bytes);
        }
        has_room
    }

    pub(super) fn take_body(&mut self) -> Bytes {
        std::mem::take(&mut self.received).freeze()
    }

    pub(super) fn handle_body(&mut self, body: Bytes) {
        self.body = Some(body);
    }

    pub(super) fn poll(&mut self) -> Step {
        let Some(body) = self.body.take() else {
            return Step::Pending;
        };
        Step::Respond(Box::new(Answer {
            head: std::mem::replace(&mut self.head, ResponseHead::new(500)),
            body: if body.is_empty() {
                Body::Empty
            } else {
                Body::Full(body)
            },
        }))
    }
}
