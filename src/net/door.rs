//! Where requests come in, whichever version they are: finds out who asks and for what, and lets it pass or not.
//!
//! ```text
//!  CORS ─▶ answer to a challenge? ─▶ credentials ─▶ session ─▶ routes ─▶ exchange
//! ```
//! One door a connection: sessions are its own, so that a new token renews the streams that came in by the same door.

use std::borrow::Cow;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;

use super::exchange::{Exchange, grpc};
use super::lease::{Due, Lease};
use super::service::Service;
use crate::clock::Instant;
use crate::config::{Guarded, HttpLimits, HttpServer};
use crate::error::RequestError;
use crate::grpc::web::ContentType;
use crate::guard::Refused;
use crate::guard::credentials::{CredentialsFault, Extractor, is_challenge_response};
use crate::guard::session::{Session, Sessions};
use crate::http::cors::{self, Decision, Grant};
use crate::http::{Body, RequestBody, RequestHead, ResponseHead, Scheme, h1};
use crate::mapping::access::Access;
use crate::mapping::http_kafka::Ids;
use crate::mapping::http_kafka::fetch::Answer;
use crate::mapping::{self, Resolved};
use crate::observe::RequestMeter;
use crate::runtime::{self};

/// What a 401 says where the server's own patterns do not say otherwise (RFC 6750 3).
const BEARER: &str = "Bearer error=\"invalid_token\"";

/// What a request is told that has outlived its token before its answer began.
pub(super) const EXPIRED: RequestError = RequestError::Unauthorized { challenge: BEARER };

/// An http server as a core has it.
#[derive(Debug)]
pub struct Server {
    pub(super) plan: Arc<HttpServer>,
    /// What an HTTP/1.1 connection may cost.
    pub(super) limits: Rc<h1::Limits>,
    extractor: Option<Extractor>,
}

impl Server {
    /// Prepares a server of the plan.
    ///
    /// # Errors
    ///
    /// A pattern for credentials that is none.
    pub fn new(plan: &Arc<HttpServer>) -> Result<Rc<Self>, CredentialsFault> {
        let extractor = plan
            .authorization
            .as_ref()
            .map(Extractor::new)
            .transpose()?;
        Ok(Rc::new(Self {
            plan: plan.clone(),
            limits: Rc::new(h1_limits(&plan.limits)),
            extractor,
        }))
    }
}

fn h1_limits(limits: &HttpLimits) -> h1::Limits {
    h1::Limits {
        head_bytes_max: limits.head_bytes_max,
        headers_max: limits.headers_max.min(128),
        body_bytes_max: limits.body_bytes_max as u64,
        pipeline_max: limits.pipeline_max,
        header_timeout: limits.header_timeout,
        idle_timeout: limits.idle_timeout,
        body_timeout: limits.body_timeout,
        write_timeout: limits.write_timeout,
        ..h1::Limits::default()
    }
}

/// The door of one connection.
pub(super) struct Door {
    server: Rc<Server>,
    scheme: Scheme,
    service: Rc<Service>,
    sessions: RefCell<Sessions>,
    /// Whom TLS has verified.
    peer: Option<Rc<Session>>,
}

/// What is kept of a request for its answer.
#[derive(Default)]
pub(super) struct Pass {
    grant: Option<(Rc<Server>, Grant)>,
    sessions: Vec<Rc<Session>>,
    refused: Option<Refused>,
    /// How long it may go on, if that is not for ever.
    lease: Option<Lease>,
    /// What the client calls the form of gRPC that it speaks, if it does.
    grpc: Option<&'static str>,
}

impl Pass {
    /// What is due of the exchange that it let in; `has_begun`: the head of the answer is written.
    pub(super) fn due(&self, exchange: &Exchange, has_begun: bool) -> Due {
        let can_challenge = has_begun && exchange.can_challenge();
        self.lease_of(exchange)
            .map_or(Due::Nothing, |lease| lease.due(can_challenge))
    }

    /// When to look at the exchange again without being woken.
    pub(super) fn poll_timeout(&self, exchange: &Exchange, now: Instant) -> Option<Instant> {
        let lease = self.lease_of(exchange);
        let lease = lease.and_then(|lease| lease.poll_timeout(now, exchange.can_challenge()));
        let times = [exchange.poll_timeout(), lease];
        times.into_iter().flatten().min()
    }

    /// What waits or streams ends when the sessions do that let it in.
    fn lease_of(&self, exchange: &Exchange) -> Option<&Lease> {
        self.lease.as_ref().filter(|_| exchange.is_waiting())
    }

    /// Whether the client speaks gRPC.
    pub(super) const fn speaks_grpc(&self) -> bool {
        self.grpc.is_some()
    }

    /// The answer that tells of an error, in the client's own protocol.
    pub(super) fn refusal(&self, error: &RequestError) -> Answer {
        match self.grpc {
            // Not a call, whatever it says of itself.
            Some(_) if matches!(error, RequestError::NotPost) => error.problem().into(),
            Some(content_type) => grpc::refusal(error, content_type),
            None => error.problem().into(),
        }
    }

    /// Adds what every answer to this request has.
    pub(super) fn decorate(&self, head: &mut ResponseHead) {
        if let Some((server, grant)) = &self.grant {
            grant.decorate(&server.plan.access_control, head);
        }
    }
}

/// What becomes of a request.
pub(super) struct Opened {
    /// It is under way, or answered at once.
    pub(super) outcome: Result<Exchange, Box<Answer>>,
    /// For its answer.
    pub(super) pass: Pass,
}

impl Door {
    /// The door of a connection whose client TLS knows by `peer`.
    pub(super) fn new(
        server: Rc<Server>,
        scheme: Scheme,
        service: Rc<Service>,
        peer: Option<Rc<Session>>,
    ) -> Self {
        Self {
            server,
            scheme,
            service,
            sessions: RefCell::default(),
            peer,
        }
    }

    /// How clients reach it.
    pub(super) const fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The server's number in the plan.
    pub(super) fn number(&self) -> usize {
        self.server.plan.number
    }

    /// What a connection may cost.
    pub(super) fn limits(&self) -> HttpLimits {
        self.server.plan.limits
    }

    /// Opens the exchange of a request.
    pub(super) fn open(
        &self,
        head: RequestHead,
        body: &RequestBody,
        meter: &mut RequestMeter,
        now: Instant,
    ) -> Opened {
        let mut pass = Pass {
            grpc: grpc_of(&head),
            ..Pass::default()
        };
        let outcome = self.admit(&head, body, &mut pass).and_then(|()| {
            let whole = match body {
                RequestBody::Full(bytes) => Some(bytes),
                RequestBody::Streaming { .. } => None,
            };
            let resolved = self
                .resolve(&head, whole, &pass)
                .map_err(|error| Box::new(pass.refusal(&error)))?;
            if let Some(route) = resolved.route() {
                meter.set_route(route);
            }
            let mut exchange = Exchange::new(resolved, now);
            match whole {
                Some(bytes) => exchange.handle_body(bytes.clone(), &self.service, now),
                None => exchange.keep_head(head),
            }
            pass.lease = Lease::of(&pass.sessions);
            Ok(exchange)
        });
        Opened { outcome, pass }
    }

    /// A body that came in pieces is whole.
    ///
    /// # Errors
    ///
    /// What the body brings to light.
    pub(super) fn handle_body(
        &self,
        exchange: &mut Exchange,
        pass: &Pass,
        now: Instant,
    ) -> Result<(), RequestError> {
        let Some((body, head)) = exchange.take_body() else {
            exchange.handle_end();
            return Ok(());
        };
        if let Some(head) = head {
            exchange.set_resolved(self.resolve(&head, Some(&body), pass)?);
        }
        exchange.handle_body(body, &self.service, now);
        Ok(())
    }

    /// Finds out who asks; an answer when the request goes no further.
    fn admit(
        &self,
        head: &RequestHead,
        body: &RequestBody,
        pass: &mut Pass,
    ) -> Result<(), Box<Answer>> {
        match cors::decide(&self.server.plan.access_control, head) {
            Decision::Allowed(grant) => pass.grant = Some((self.server.clone(), grant)),
            Decision::Refused => return Err(Box::new(RequestError::Origin.problem().into())),
            Decision::Preflight(head) => return Err(Box::new(empty(head))),
        }
        self.identify(head, pass);
        let has_no_body = matches!(body, RequestBody::Full(bytes) if bytes.is_empty());
        if has_no_body && is_challenge_response(head) {
            // Whom it renews, it has renewed; it is told nothing (Zilla).
            return Err(Box::new(empty(ResponseHead::new(204))));
        }
        Ok(())
    }

    fn identify(&self, head: &RequestHead, pass: &mut Pass) {
        if let Some(peer) = &self.peer
            && !peer.is_over(runtime::unix_now())
        {
            pass.sessions.push(peer.clone());
        }
        let server = &self.server;
        let (Some(extractor), Some(authorization)) =
            (&server.extractor, &server.plan.authorization)
        else {
            return;
        };
        let Some(presented) = extractor.extract(head) else {
            return;
        };
        let (guard, guards) = (authorization.guard, &self.service.guards);
        match guards.verify(guard, &presented, runtime::unix_now()) {
            Ok(verified) => {
                let session = self.sessions.borrow_mut().authorize(guard, &verified);
                pass.sessions.push(session);
            }
            Err(refused) => {
                self.service.watch.authorization_failed(guard, refused);
                pass.refused = Some(refused);
            }
        }
        if guards.wants_keys(guard) {
            self.service.refresh_keys(guard);
        }
    }

    fn resolve(
        &self,
        head: &RequestHead,
        body: Option<&Bytes>,
        pass: &Pass,
    ) -> Result<Resolved, RequestError> {
        let replies = self.service.replies.first();
        let ids = Ids {
            fresh_key: &|| uuid::Uuid::new_v4().to_string(),
            is_own: &|id| replies.is_none_or(|replies| replies.is_own(id)),
        };
        let extractor = self.server.extractor.as_ref();
        let asker = Asker {
            pass,
            challenge: extractor.map_or(BEARER, |extractor| extractor.www_authenticate(true)),
        };
        mapping::resolve(&self.server.plan, head, body, ids, &asker)
    }
}

/// Who asks, to the routes.
struct Asker<'p> {
    pass: &'p Pass,
    challenge: &'static str,
}

impl Asker<'_> {
    fn of(&self, guard: usize) -> Option<&Session> {
        let mut sessions = self.pass.sessions.iter();
        sessions
            .find(|session| session.guard() == guard)
            .map(|session| &**session)
    }
}

impl Access for Asker<'_> {
    fn may_pass(&self, guarded: &[Guarded], method: &str, path: &[u8]) -> bool {
        let path = String::from_utf8_lossy(path);
        guarded.iter().all(|guarded| {
            let mut sessions = self.pass.sessions.iter();
            sessions.any(|session| session.passes(guarded, method, &path))
        })
    }

    fn refusal(&self) -> RequestError {
        match self.pass.refused {
            Some(Refused::KeysUnavailable) => RequestError::KeysUnavailable,
            None if !self.pass.sessions.is_empty() => RequestError::Forbidden,
            Some(_) | None => RequestError::Unauthorized {
                challenge: self.challenge,
            },
        }
    }

    fn identity(&self, guard: usize) -> Option<Cow<'_, [u8]>> {
        let identity = self.of(guard)?.verified().identity.as_ref()?;
        Some(Cow::Borrowed(identity.as_bytes()))
    }

    fn attribute(&self, guard: usize, name: &str) -> Option<Cow<'_, [u8]>> {
        let attribute = self.of(guard)?.verified().attribute(name)?;
        Some(Cow::Borrowed(attribute.as_bytes()))
    }
}

/// The form of gRPC that a request is in, as its answer calls it.
fn grpc_of(head: &RequestHead) -> Option<&'static str> {
    let content_type = head.headers().get_last("content-type")?;
    Some(ContentType::parse(content_type)?.as_str())
}

const fn empty(head: ResponseHead) -> Answer {
    let body = Body::Empty;
    Answer { head, body }
}
