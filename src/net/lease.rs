//! How long a request that waits or streams may go on: as long as the sessions that let it in.
//!
//! Read anew at each look, since a new token may have renewed them. Rule: a record that is on its way is not given up for an expiry; what waits for something is.

use std::rc::Rc;
use std::time::Duration;

use crate::clock::{Instant, UnixMillis};
use crate::guard::session::Session;
use crate::runtime;

/// The sessions of a request that end.
pub(super) struct Lease {
    sessions: Vec<Rc<Session>>,
}

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// Nothing.
    Nothing,
    /// The client is to be asked for new credentials.
    Challenge,
    /// The request is over.
    Over,
}

impl Lease {
    /// The lease of a request with these sessions; `None`: they do not end.
    pub(super) fn of(sessions: &[Rc<Session>]) -> Option<Self> {
        let ending = sessions
            .iter()
            .filter(|session| session.expires_at().is_some());
        let sessions: Vec<Rc<Session>> = ending.cloned().collect();
        (!sessions.is_empty()).then_some(Self { sessions })
    }

    /// What is due now; a challenge is taken by the one who asks, if he `can_challenge`.
    pub(super) fn due(&self, can_challenge: bool) -> Due {
        let now = runtime::unix_now();
        if self.sessions.iter().any(|session| session.is_over(now)) {
            return Due::Over;
        }
        if can_challenge
            && self
                .sessions
                .iter()
                .any(|session| session.take_challenge(now))
        {
            return Due::Challenge;
        }
        Due::Nothing
    }

    /// When to look again.
    pub(super) fn poll_timeout(&self, now: Instant, can_challenge: bool) -> Option<Instant> {
        let times = self.sessions.iter().flat_map(|session| {
            let challenge = session.may_challenge_at().filter(|_| can_challenge);
            [session.expires_at(), challenge]
        });
        let at: UnixMillis = times.flatten().min()?;
        let left = at.0.saturating_sub(runtime::unix_now().0);
        Some(now + Duration::from_millis(u64::try_from(left).unwrap_or(0)))
    }
}
