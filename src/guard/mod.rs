//! Guards: who may come in.
//!
//! Between `http` and `route`: credentials are cut out of a request ([`credentials`]), verified by a guard ([`Guards`]), and belong to a
//! session of their connection ([`session`]), which routes ask for roles and streams for their end. Sans-IO: time is an argument, and the
//! keys of issuers are fetched elsewhere and given in. Its one rule: what is presented stands in no log and no error.
//!
//! ```text
//!  request ─▶ Extractor ─▶ Guards::verify ─▶ Sessions::authorize ─▶ Session ─▶ has_roles, expires_at, take_challenge
//!                              ▲
//!                   keys of issuers (gateway::jwks)
//! ```

mod cache;
pub mod credentials;
pub mod inline;
pub mod jwk;
pub mod jwt;
pub mod key_set;
mod names;
mod pattern;
pub mod session;
#[cfg(test)]
mod tests;
mod verdict;
pub mod x509;

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::UnixMillis;
use crate::config::{Guard, GuardKind, JwtGuard, JwtKeys};
use cache::VerifiedTokens;
use inline::InlineRules;
use jwk::Jwk;
use jwt::TokenRules;
use key_set::KeySet;
pub use verdict::{Refused, Verified};
use x509::CertificateRules;

/// How long an unknown key of an issuer asks for no fresh keys again: anybody can name one.
const WANTED_EVERY: Duration = Duration::from_secs(30);

/// The guards of a plan, on one core.
#[derive(Debug, Default)]
pub struct Guards {
    guards: Vec<Kind>,
}

#[derive(Debug)]
enum Kind {
    Jwt(Box<Tokens>),
    Inline(InlineRules),
    X509(CertificateRules),
}

impl Guards {
    /// Guards for those of a plan, by the same numbers.
    ///
    /// # Errors
    ///
    /// The first mistake in one of them.
    pub fn new(guards: &[Guard]) -> Result<Self, GuardFault> {
        let guards = guards.iter().map(|guard| {
            Kind::new(&guard.kind).map_err(|what| GuardFault {
                namespace: guard.namespace.clone(),
                name: guard.name.clone(),
                what,
            })
        });
        Ok(Self {
            guards: guards.collect::<Result<_, _>>()?,
        })
    }

    /// Who presents `presented`: a token, a chain of certificates as text, or anything, as the guard takes it.
    ///
    /// # Errors
    ///
    /// Why nobody comes in with it.
    pub fn verify(
        &self,
        guard: usize,
        presented: &str,
        now: UnixMillis,
    ) -> Result<Rc<Verified>, Refused> {
        match self.guards.get(guard).ok_or(Refused::NoGuard)? {
            Kind::Jwt(tokens) => tokens.verify(presented, now),
            Kind::Inline(rules) => rules.verify(presented).map(Rc::new),
            Kind::X509(rules) => rules.verify_pem(presented, now).map(Rc::new),
        }
    }

    /// Who presents the certificates `chain` (DER, the leaf first), which TLS has verified.
    ///
    /// # Errors
    ///
    /// Why nobody comes in with it; always, when the guard does not take certificates.
    pub fn verify_chain<C: AsRef<[u8]>>(
        &self,
        guard: usize,
        chain: &[C],
        now: UnixMillis,
    ) -> Result<Rc<Verified>, Refused> {
        match self.guards.get(guard).ok_or(Refused::NoGuard)? {
            Kind::X509(rules) => rules.verify(chain, now).map(Rc::new),
            Kind::Jwt(_) | Kind::Inline(_) => Err(Refused::Malformed),
        }
    }

    /// Gives a guard the keys of its issuer, in the place of those before; one that has its keys from the configuration keeps them.
    pub fn set_keys(&self, guard: usize, keys: Arc<KeySet>) {
        if let Some(Kind::Jwt(tokens)) = self.guards.get(guard) {
            tokens.set_keys(keys);
        }
    }

    /// Whether a token named a key that the guard's issuer may have got since its keys were fetched. Says so once, and not again within
    /// thirty seconds.
    pub fn wants_keys(&self, guard: usize) -> bool {
        match self.guards.get(guard) {
            Some(Kind::Jwt(tokens)) => tokens.wants_keys.take(),
            Some(Kind::Inline(_) | Kind::X509(_)) | None => false,
        }
    }
}

impl Kind {
    fn new(kind: &GuardKind) -> Result<Self, GuardMistake> {
        Ok(match kind {
            GuardKind::Jwt(guard) => Self::Jwt(Box::new(Tokens::new(guard)?)),
            GuardKind::Inline(guard) => {
                Self::Inline(InlineRules::new(guard).map_err(GuardMistake::Format)?)
            }
            GuardKind::X509(guard) => {
                Self::X509(CertificateRules::new(guard).map_err(GuardMistake::Field)?)
            }
        })
    }
}

/// A `jwt` guard, with its keys and the tokens that it knows already.
#[derive(Debug)]
struct Tokens {
    rules: TokenRules,
    /// `None`: not fetched yet.
    keys: RefCell<Option<Arc<KeySet>>>,
    are_fetched: bool,
    verified: RefCell<VerifiedTokens>,
    wants_keys: Cell<bool>,
    wanted_at: Cell<Option<UnixMillis>>,
}

impl Tokens {
    fn new(guard: &JwtGuard) -> Result<Self, GuardMistake> {
        let keys = match &guard.keys {
            JwtKeys::Url(_) => None,
            JwtKeys::Inline(sources) => {
                let key = |(index, source)| {
                    Jwk::new(source).map_err(|fault| GuardMistake::Key { index, fault })
                };
                let keys = sources.iter().enumerate().map(key);
                Some(Arc::new(KeySet::new(keys.collect::<Result<_, _>>()?)))
            }
        };
        Ok(Self {
            rules: TokenRules::new(guard),
            are_fetched: keys.is_none(),
            keys: RefCell::new(keys),
            verified: RefCell::default(),
            wants_keys: Cell::new(false),
            wanted_at: Cell::new(None),
        })
    }

    fn verify(&self, token: &str, now: UnixMillis) -> Result<Rc<Verified>, Refused> {
        if token.len() > jwt::TOKEN_BYTES_MAX {
            return Err(Refused::TooLong);
        }
        if let Some(known) = self.verified.borrow_mut().find(token, now) {
            return known;
        }
        let keys = self.keys.borrow();
        let keys = keys.as_ref().ok_or(Refused::KeysUnavailable)?;
        match self.rules.verify(keys, token, now) {
            Ok(verified) => {
                let verified = Rc::new(verified);
                self.verified.borrow_mut().put(token, verified.clone());
                Ok(verified)
            }
            Err(refused) => {
                if refused == Refused::UnknownKey && self.are_fetched {
                    self.want_keys(now);
                }
                Err(refused)
            }
        }
    }

    fn want_keys(&self, now: UnixMillis) {
        // The distance, not the order: a clock that was set back must not silence it for long.
        let is_soon = self
            .wanted_at
            .get()
            .is_some_and(|before| u128::from(now.0.abs_diff(before.0)) < WANTED_EVERY.as_millis());
        if !is_soon {
            self.wanted_at.set(Some(now));
            self.wants_keys.set(true);
        }
    }

    fn set_keys(&self, keys: Arc<KeySet>) {
        if !self.are_fetched {
            return;
        }
        let mut own = self.keys.borrow_mut();
        if own.as_ref() != Some(&keys) {
            self.verified.borrow_mut().clear();
        }
        *own = Some(keys);
    }
}

/// What is wrong with a guard of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuardFault {
    /// The namespace of the guard.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// What.
    pub what: GuardMistake,
}

/// A mistake in a guard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GuardMistake {
    /// In a key.
    Key {
        /// Which, from 0.
        index: usize,
        /// What.
        fault: jwk::JwkFault,
    },
    /// In the format of an `inline` guard.
    Format(credentials::CredentialsFault),
    /// In the name of a certificate's field.
    Field(x509::FieldFault),
}

impl fmt::Display for GuardFault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "guard {}:{}: ", self.namespace, self.name)?;
        match &self.what {
            GuardMistake::Key { index, fault } => write!(formatter, "keys[{index}] {fault}"),
            GuardMistake::Format(fault) => write!(formatter, "the format {fault}"),
            GuardMistake::Field(fault) => write!(formatter, "a field's name {fault}"),
        }
    }
}

impl std::error::Error for GuardFault {}
