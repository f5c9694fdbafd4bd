//! Who the streams of one client connection belong to, and until when.
//!
//! Between a guard's verdict and the streams, which keep an `Rc` of their session. Its one rule: a new token extends only what it
//! covers: the sessions of the same guard, issuer and identity on this connection, and none that may do more than the token.

use std::cell::Cell;
use std::rc::{Rc, Weak};

use super::Verified;
use crate::clock::UnixMillis;
use crate::config::Guarded;

/// Sessions of one connection that can be renewed; one more is handed out all the same, and ends when its own token does.
pub const SESSIONS_MAX: usize = 1000;

/// The sessions of one client connection.
#[derive(Debug, Default)]
pub struct Sessions {
    sessions: Vec<Weak<Session>>,
}

impl Sessions {
    /// The session of somebody whom `guard` has just let in. All sessions that the new token covers live as long as it does from now on,
    /// if that is longer; one that is equal in all else is used again.
    pub fn authorize(&mut self, guard: usize, verified: &Rc<Verified>) -> Rc<Session> {
        let mut equal = None;
        self.sessions.retain(|session| {
            let Some(session) = session.upgrade() else {
                return false;
            };
            if session.guard == guard && session.is_covered_by(verified) {
                session.renew(verified.expires_at);
                let same = session.verified.roles == verified.roles
                    && session.verified.attributes == verified.attributes;
                if same {
                    equal = Some(session);
                }
            }
            true
        });
        equal.unwrap_or_else(|| self.add(guard, verified))
    }

    /// How many sessions somebody still holds.
    pub fn len(&self) -> usize {
        let held = |session: &&Weak<Session>| session.strong_count() > 0;
        self.sessions.iter().filter(held).count()
    }

    /// Whether nobody holds a session.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn add(&mut self, guard: usize, verified: &Rc<Verified>) -> Rc<Session> {
        let session = Rc::new(Session {
            guard,
            verified: verified.clone(),
            expires_at: Cell::new(verified.expires_at),
            is_challenged: Cell::new(false),
            generation: Cell::new(0),
        });
        if self.sessions.len() < SESSIONS_MAX {
            self.sessions.push(Rc::downgrade(&session));
        }
        session
    }
}

/// Somebody on one connection, for one or more of its streams.
#[derive(Debug)]
pub struct Session {
    guard: usize,
    verified: Rc<Verified>,
    expires_at: Cell<Option<UnixMillis>>,
    is_challenged: Cell<bool>,
    generation: Cell<u64>,
}

impl Session {
    /// Which guard let it in.
    pub fn guard(&self) -> usize {
        self.guard
    }

    /// Who it is; what the token said first, whatever renewed it. For its end see [`Self::expires_at`].
    pub fn verified(&self) -> &Verified {
        &self.verified
    }

    /// When its streams must end; `None`: never. A renewal moves it: read it again whenever a timer goes off or the generation changes.
    pub fn expires_at(&self) -> Option<UnixMillis> {
        self.expires_at.get()
    }

    /// Whether its streams must have ended.
    pub fn is_over(&self, now: UnixMillis) -> bool {
        self.expires_at().is_some_and(|end| now >= end)
    }

    /// How often it has been renewed.
    pub fn generation(&self) -> u64 {
        self.generation.get()
    }

    /// When a stream may ask the client for a new token; `None`: not before the next renewal, or never.
    pub fn may_challenge_at(&self) -> Option<UnixMillis> {
        if self.is_challenged.get() || self.verified.identity.is_none() {
            return None;
        }
        let window = i64::try_from(self.verified.challenge?.as_millis()).unwrap_or(i64::MAX);
        let expires_at = self.expires_at.get()?;
        Some(UnixMillis(expires_at.0.saturating_sub(window)))
    }

    /// Whether the stream that asks is to challenge the client now: once for all streams of the session, and again after a renewal.
    pub fn take_challenge(&self, now: UnixMillis) -> bool {
        let is_due =
            !self.is_over(now) && self.may_challenge_at().is_some_and(|start| now >= start);
        if is_due {
            self.is_challenged.set(true);
        }
        is_due
    }

    /// Whether it passes what a route asks: the guard, and all of the roles.
    pub fn passes(&self, guarded: &Guarded, method: &str, path: &str) -> bool {
        self.guard == guarded.guard && self.has_roles(&guarded.roles, method, path)
    }

    /// Whether it has all of `required`, where `${method}` and `${path}` stand for the request's. An empty list asks for a roles claim,
    /// whatever is in it.
    pub fn has_roles(&self, required: &[String], method: &str, path: &str) -> bool {
        let Some(roles) = &self.verified.roles else {
            return false;
        };
        required.iter().all(|role| {
            if role.contains("${") {
                roles.contains(&substitute(role, method, path))
            } else {
                roles.contains(role)
            }
        })
    }

    /// Whether whoever holds the new token could have opened this session with it.
    fn is_covered_by(&self, token: &Verified) -> bool {
        let own = &self.verified;
        let covers = match (&own.roles, &token.roles) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(own), Some(token)) => own.is_subset(token),
        };
        own.identity.is_some()
            && own.identity == token.identity
            && own.issuer == token.issuer
            && covers
    }

    fn renew(&self, until: Option<UnixMillis>) {
        let is_later = match (self.expires_at.get(), until) {
            (None, _) => false,
            (Some(_), None) => true,
            (Some(old), Some(new)) => new > old,
        };
        if is_later {
            self.expires_at.set(until);
            self.is_challenged.set(false);
            self.generation.set(self.generation.get() + 1);
        }
    }
}

/// Fills in a role's name, in one pass: what is put in is not looked at again.
fn substitute(role: &str, method: &str, path: &str) -> String {
    let mut filled = String::with_capacity(role.len() + path.len());
    let mut rest = role;
    while let Some((before, after)) = rest.split_once("${") {
        filled.push_str(before);
        rest = if let Some(after) = after.strip_prefix("method}") {
            filled.push_str(method);
            after
        } else if let Some(after) = after.strip_prefix("path}") {
            filled.push_str(path);
            after
        } else {
            filled.push_str("${");
            after
        };
    }
    filled.push_str(rest);
    filled
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn token(identity: &str, roles: &[&str], expires_at: i64) -> Rc<Verified> {
        Rc::new(Verified {
            identity: Some(identity.into()),
            roles: Some(roles.iter().map(|role| (*role).to_owned()).collect()),
            attributes: Vec::new(),
            issuer: "issuer".into(),
            expires_at: Some(UnixMillis(expires_at)),
            challenge: Some(Duration::from_millis(30)),
        })
    }

    fn changed(token: &Rc<Verified>, change: impl FnOnce(&mut Verified)) -> Rc<Verified> {
        let mut verified = Verified::clone(token);
        change(&mut verified);
        Rc::new(verified)
    }

    fn end(session: &Session) -> Option<i64> {
        session.expires_at().map(|end| end.0)
    }

    #[test]
    fn one_new_token_renews_every_session_that_it_covers() {
        let mut sessions = Sessions::default();
        let reader = sessions.authorize(0, &token("alice", &["read"], 100));
        let writer = sessions.authorize(0, &token("alice", &["write"], 100));
        let both = sessions.authorize(0, &token("alice", &["read", "write"], 200));
        assert_eq!([end(&reader), end(&writer)], [Some(200); 2]);
        assert_eq!([reader.generation(), both.generation()], [1, 0]);
        assert!(both.has_roles(&["write".into(), "read".into()], "GET", "/"));
        assert!(!reader.has_roles(&["write".into()], "GET", "/"));
        assert_eq!(sessions.len(), 3);
    }

    #[test]
    fn a_token_with_fewer_roles_renews_only_what_it_covers() {
        let mut sessions = Sessions::default();
        let both = sessions.authorize(0, &token("alice", &["read", "write"], 100));
        let reader = sessions.authorize(0, &token("alice", &["read"], 200));
        assert_eq!([end(&both), end(&reader)], [Some(100), Some(200)]);
        assert_eq!(both.generation(), 0);
    }

    #[test]
    fn another_identity_issuer_or_guard_renews_nothing() {
        let mut sessions = Sessions::default();
        let first = token("alice", &[], 100);
        let session = sessions.authorize(0, &first);
        let later = token("alice", &[], 200);
        let others = [
            sessions.authorize(0, &token("bob", &[], 200)),
            sessions.authorize(1, &later),
            sessions.authorize(0, &changed(&later, |token| token.issuer = "other".into())),
            sessions.authorize(0, &changed(&later, |token| token.roles = None)),
            sessions.authorize(0, &changed(&later, |token| token.identity = None)),
        ];
        assert_eq!(end(&session), Some(100));
        assert_eq!(sessions.len(), 1 + others.len());
    }

    #[test]
    fn nobody_speaks_for_a_token_without_an_identity() {
        let mut sessions = Sessions::default();
        let nameless = changed(&token("", &[], 100), |token| token.identity = None);
        let session = sessions.authorize(0, &nameless);
        let _other = sessions.authorize(0, &changed(&nameless, |token| token.expires_at = None));
        assert_eq!(end(&session), Some(100));
        assert!(!session.take_challenge(UnixMillis(90)));
    }

    #[test]
    fn an_equal_session_is_used_again_and_never_ends_earlier() {
        let mut sessions = Sessions::default();
        let first = sessions.authorize(0, &token("alice", &["read"], 200));
        let second = sessions.authorize(0, &token("alice", &["read"], 100));
        assert!(Rc::ptr_eq(&first, &second));
        assert_eq!(end(&first), Some(200));
        assert_eq!(first.generation(), 0);
        let endless = changed(&token("alice", &["read"], 0), |token| {
            token.expires_at = None;
        });
        sessions.authorize(0, &endless);
        sessions.authorize(0, &token("alice", &["read"], 300));
        assert_eq!(end(&first), None);
        assert_eq!(first.generation(), 1);
    }

    #[test]
    fn other_attributes_are_another_session_and_renew_the_first() {
        let mut sessions = Sessions::default();
        let first = sessions.authorize(0, &token("alice", &["read"], 100));
        let moved = changed(&token("alice", &["read"], 200), |token| {
            token.attributes.push(("tenant".into(), "b".into()));
        });
        let second = sessions.authorize(0, &moved);
        assert_eq!(first.verified().attribute("tenant"), None);
        assert_eq!(second.verified().attribute("tenant"), Some("b"));
        assert_eq!(end(&first), Some(200));
    }

    #[test]
    fn a_session_challenges_once_per_window() {
        let mut sessions = Sessions::default();
        let session = sessions.authorize(0, &token("alice", &[], 100));
        assert_eq!(session.may_challenge_at(), Some(UnixMillis(70)));
        assert!(!session.take_challenge(UnixMillis(69)));
        assert!(session.take_challenge(UnixMillis(70)));
        assert_eq!(session.may_challenge_at(), None);
        assert!(!session.take_challenge(UnixMillis(71)));
        sessions.authorize(0, &token("alice", &[], 200));
        assert_eq!(session.may_challenge_at(), Some(UnixMillis(170)));
        assert!(!session.take_challenge(UnixMillis(200)), "it is over");
        assert!(session.take_challenge(UnixMillis(199)));
    }

    #[test]
    fn nothing_is_challenged_without_an_end_or_without_a_window() {
        let mut sessions = Sessions::default();
        let endless = changed(&token("a", &[], 0), |token| token.expires_at = None);
        let session = sessions.authorize(0, &endless);
        assert_eq!(session.may_challenge_at(), None);
        let silent = changed(&token("b", &[], 100), |token| token.challenge = None);
        let session = sessions.authorize(0, &silent);
        assert!(!session.take_challenge(UnixMillis(99)));
    }

    #[test]
    fn an_empty_list_of_roles_asks_for_the_claim() {
        let mut sessions = Sessions::default();
        let with = sessions.authorize(0, &token("a", &[], 100));
        let without = changed(&token("b", &[], 100), |token| token.roles = None);
        let without = sessions.authorize(0, &without);
        assert!(with.has_roles(&[], "GET", "/"));
        assert!(!without.has_roles(&[], "GET", "/"));
        let roles = Vec::new();
        assert!(with.passes(&Guarded { guard: 0, roles }, "GET", "/"));
        let roles = Vec::new();
        assert!(!with.passes(&Guarded { guard: 1, roles }, "GET", "/"));
    }

    #[test]
    fn method_and_path_stand_in_roles_and_are_not_expanded_twice() {
        let mut sessions = Sessions::default();
        let session = sessions.authorize(0, &token("a", &["GET:/items", "${method}", "${x"], 100));
        let has = |role: &str, path| session.has_roles(&[role.to_owned()], "GET", path);
        assert!(has("${method}:${path}", "/items"));
        assert!(!has("${method}:${path}", "/other"));
        assert!(
            has("${path}", "${method}"),
            "as it is, though a path never is"
        );
        assert!(!has("${method}", "/"));
        assert!(has("${x", "/"));
    }

    #[test]
    fn sessions_that_nobody_holds_are_dropped_and_their_number_is_bounded() {
        let mut sessions = Sessions::default();
        for number in 0..3 * SESSIONS_MAX {
            sessions.authorize(0, &token(&number.to_string(), &[], 100));
            assert!(sessions.sessions.len() <= 1);
        }
        let held: Vec<_> = (0..=SESSIONS_MAX)
            .map(|number| sessions.authorize(0, &token(&number.to_string(), &[], 100)))
            .collect();
        assert_eq!(sessions.len(), SESSIONS_MAX);
        sessions.authorize(0, &token(&SESSIONS_MAX.to_string(), &[], 200));
        assert_eq!(held.last().and_then(|session| end(session)), Some(100));
        drop(held);
        assert!(sessions.is_empty());
    }
}
