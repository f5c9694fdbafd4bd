//! A request that another server answers: what the client sends goes on as there is room, and what the server says comes back likewise.

use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;

use super::{Step, Turn};
use crate::clock::Instant;
use crate::error::RequestError;
use crate::http::ResponseHead;
use crate::mapping::proxy::{ProxyRequest, forwarded};
use crate::net::upstream::{UpstreamFault, UpstreamRequest, UpstreamStream};

/// How far the body of the request has come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum RequestBody {
    Coming,
    /// All of it is here.
    Whole,
    /// The server knows that it has all.
    Passed,
}

/// A request that another server answers.
pub(in crate::net) struct Proxy {
    request: Option<ProxyRequest>,
    stream: Option<UpstreamStream>,
    /// What of the body waits for the server.
    piece: Option<Bytes>,
    body: RequestBody,
    has_begun: bool,
    has_length: bool,
    /// How long the server may take nothing of the body.
    timeout: Duration,
    /// While a piece of the body waits: until when.
    stalls_at: Option<Instant>,
    may_have_more: bool,
}

impl Proxy {
    pub(super) const fn new(request: ProxyRequest) -> Self {
        Self {
            request: Some(request),
            stream: None,
            piece: None,
            body: RequestBody::Coming,
            has_begun: false,
            has_length: false,
            timeout: Duration::ZERO,
            stalls_at: None,
            may_have_more: true,
        }
    }

    pub(super) const fn may_have_more(&self) -> bool {
        self.may_have_more
    }

    pub(super) fn wants_data(&self) -> bool {
        // When all of it is here, the connection is read for what comes behind.
        self.piece.is_none() || self.body != RequestBody::Coming
    }

    /// Whether its answer may have no end.
    pub(super) const fn is_endless(&self) -> bool {
        self.has_begun && !self.has_length
    }

    /// When the server has taken nothing of the body for too long.
    pub(super) const fn poll_timeout(&self) -> Option<Instant> {
        if self.has_begun { None } else { self.stalls_at }
    }

    pub(super) fn handle_data(&mut self, bytes: &Bytes) {
        self.may_have_more = true;
        // Over HTTP/1.1 what was read at once comes at once: up to what a socket is read by.
        self.piece = Some(match self.piece.take() {
            Some(first) => [first, bytes.clone()].concat().into(),
            None => bytes.clone(),
        });
    }

    pub(super) const fn handle_end(&mut self) {
        self.body = RequestBody::Whole;
        self.may_have_more = true;
    }

    pub(super) fn poll(&mut self, turn: &mut Turn<'_, '_>) -> Step {
        self.may_have_more = false;
        if self.stream.is_none() && !self.open(turn) {
            let reason = "the gateway has no such http client".to_owned();
            return Step::Fail(RequestError::Upstream {
                status: 502,
                reason,
            });
        }
        let Some(stream) = &mut self.stream else {
            return Step::Pending;
        };
        // What is wrong with sending is said by the answer, or by its lack.
        if let Some(piece) = self.piece.take() {
            if stream.poll_ready(turn.context).is_ready() {
                self.stalls_at = None;
                stream.send_data(piece);
            } else {
                self.piece = Some(piece);
                let stalls_at = *self.stalls_at.get_or_insert(turn.now + self.timeout);
                if stalls_at <= turn.now && !self.has_begun {
                    return Step::Fail(refused(&UpstreamFault::Timeout));
                }
            }
        }
        if self.body == RequestBody::Whole && self.piece.is_none() {
            self.body = RequestBody::Passed;
            stream.finish();
        }
        if !self.has_begun {
            return match stream.poll_head(turn.context) {
                Poll::Pending => Step::Pending,
                Poll::Ready(Ok(head)) => self.begin(&head),
                Poll::Ready(Err(fault)) => Step::Fail(refused(&fault)),
            };
        }
        if turn.room == 0 {
            self.may_have_more = true;
            // What is sent goes on; what comes back of it is said by the answer.
            let _ = stream.poll_ready(turn.context);
            return Step::Pending;
        }
        match stream.poll_data(turn.context) {
            Poll::Pending => Step::Pending,
            Poll::Ready(Some(Ok(bytes))) => {
                self.may_have_more = true;
                Step::Data(bytes)
            }
            Poll::Ready(Some(Err(_))) => Step::Abort,
            Poll::Ready(None) => match stream.poll_trailers(turn.context) {
                Poll::Pending => Step::Pending,
                Poll::Ready(Ok(Some(trailers))) => Step::Trailers(forwarded(&trailers)),
                Poll::Ready(Ok(None)) => Step::Finish(Bytes::new()),
                Poll::Ready(Err(_)) => Step::Abort,
            },
        }
    }

    fn open(&mut self, turn: &Turn<'_, '_>) -> bool {
        let Some(request) = self.request.take() else {
            return false;
        };
        let Some(upstream) = turn.service.upstreams.get(request.client.number) else {
            return false;
        };
        self.timeout = request.client.limits.response_timeout;
        let has_body = self.body == RequestBody::Coming || self.piece.is_some();
        let request = UpstreamRequest {
            method: request.method,
            scheme: request.scheme,
            authority: request.authority,
            target: request.target,
            headers: request.headers,
        };
        self.stream = Some(upstream.open(request, has_body, Instant::FAR_FUTURE));
        true
    }

    fn begin(&mut self, head: &ResponseHead) -> Step {
        self.has_begun = true;
        self.may_have_more = true;
        let mut answer = ResponseHead::new(head.status);
        let mut length = None;
        for (name, value) in forwarded(&head.headers).iter() {
            match name {
                b"content-length" => length = parse_length(value),
                // Ours is written with every answer.
                b"date" => {}
                name => answer.headers.push(name, value),
            }
        }
        if matches!(head.status, 204 | 304) {
            length = None;
        }
        self.has_length = length.is_some();
        Step::Begin {
            head: answer,
            length,
        }
    }
}

fn parse_length(value: &[u8]) -> Option<u64> {
    std::str::from_utf8(value).ok()?.trim().parse().ok()
}

fn refused(fault: &UpstreamFault) -> RequestError {
    RequestError::Upstream {
        status: fault.status(),
        reason: fault.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::config::{ClientLimits, HttpClient, HttpVersions, TcpClient};
    use crate::http::{Headers, Method, Scheme};

    fn proxy() -> Proxy {
        let tcp = TcpClient {
            namespace: "example".to_owned(),
            name: "tcp".to_owned(),
            host: None,
            port: None,
        };
        let client = HttpClient {
            namespace: "example".to_owned(),
            name: "web".to_owned(),
            number: 0,
            versions: HttpVersions::Both,
            overrides: Vec::new(),
            tls: None,
            tcp: Arc::new(tcp),
            limits: ClientLimits::default(),
        };
        Proxy::new(ProxyRequest {
            client: Arc::new(client),
            method: Method::Get,
            scheme: Scheme::Http,
            authority: Bytes::from_static(b"example.com"),
            target: Bytes::from_static(b"/"),
            headers: Headers::new(),
        })
    }

    /// The headers of the answer and the length of its body, where the server said this.
    fn begun(status: u16, headers: &[(&str, &str)]) -> (u16, Vec<String>, Option<u64>) {
        let mut head = ResponseHead::new(status);
        for (name, value) in headers {
            head.headers.push(name, value);
        }
        let mut proxy = proxy();
        let Step::Begin { head, length } = proxy.begin(&head) else {
            panic!("an answer begins");
        };
        assert!(proxy.has_begun && proxy.may_have_more());
        let lines = head
            .headers
            .iter()
            .map(|(name, value)| format!("{}: {}", name.escape_ascii(), value.escape_ascii()));
        (head.status, lines.collect(), length)
    }

    #[test]
    fn an_answer_goes_on_without_what_is_about_its_connection() {
        let answer = begun(
            200,
            &[
                ("date", "Thu, 01 Jan 1970 00:00:00 GMT"),
                ("connection", "x-hop"),
                ("x-hop", "1"),
                ("content-type", "text/plain"),
                ("content-length", "5"),
                ("set-cookie", "a"),
                ("set-cookie", "b"),
                ("server", "nginx"),
            ],
        );
        let headers = [
            "content-type: text/plain",
            "set-cookie: a",
            "set-cookie: b",
            "server: nginx",
        ];
        assert_eq!(answer, (200, headers.map(str::to_owned).to_vec(), Some(5)));
    }

    #[test]
    fn the_length_of_an_answer_is_known_if_it_is_a_number() {
        let length = |status, value| begun(status, &[("content-length", value)]).2;
        assert_eq!(length(200, "0"), Some(0));
        assert_eq!(length(200, " 7 "), Some(7));
        assert_eq!(length(404, "18446744073709551615"), Some(u64::MAX));
        assert_eq!(length(200, "18446744073709551616"), None);
        assert_eq!(length(200, "-1"), None);
        assert_eq!(length(200, ""), None);
        assert_eq!(begun(200, &[]).2, None);
        // Neither has a body, whatever its header says (RFC 9110 8.6).
        assert_eq!(length(204, "5"), None);
        assert_eq!(length(304, "5"), None);
    }

    #[test]
    fn a_body_is_taken_a_piece_at_a_time() {
        let mut proxy = proxy();
        assert!(proxy.wants_data());
        proxy.handle_data(&Bytes::from_static(b"one"));
        assert!(!proxy.wants_data());
        proxy.handle_data(&Bytes::from_static(b"two"));
        assert_eq!(proxy.piece.as_deref(), Some(&b"onetwo"[..]));
        assert!(proxy.body == RequestBody::Coming);
        proxy.handle_end();
        assert!(proxy.body == RequestBody::Whole && proxy.may_have_more());
    }
}
