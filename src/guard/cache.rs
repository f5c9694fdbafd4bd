//! Tokens of one core that are already verified: a signature costs 30 to 100 µs, a look-up one.
//!
//! In front of `jwt`. Its one rule: nothing stays longer than it is valid, and nothing at all once the keys change.

use std::collections::HashMap;
use std::rc::Rc;

use super::{Refused, Verified};
use crate::clock::UnixMillis;

/// Tokens that are kept.
const TOKENS_MAX: usize = 4096;
/// Bytes of tokens that are kept: a thousand bytes each.
const TOKEN_BYTES_MAX: usize = 4 << 20;

/// Verified tokens by their text, in two generations: when the young one is half of what may be kept, it becomes the old one, and the
/// old one goes. What is asked for becomes young again.
#[derive(Debug, Default)]
pub(super) struct VerifiedTokens {
    young: Generation,
    old: Generation,
}

#[derive(Debug, Default)]
struct Generation {
    tokens: HashMap<Box<str>, Rc<Verified>>,
    bytes: usize,
}

impl VerifiedTokens {
    /// Whom `token` let in before, or that it has expired since; `None`: it must be verified.
    pub(super) fn find(
        &mut self,
        token: &str,
        now: UnixMillis,
    ) -> Option<Result<Rc<Verified>, Refused>> {
        let verified = if let Some(verified) = self.young.tokens.get(token) {
            verified.clone()
        } else {
            let verified = self.old.remove(token)?;
            self.put(token, verified.clone());
            verified
        };
        if verified.expires_at.is_some_and(|end| now >= end) {
            self.young.remove(token);
            return Some(Err(Refused::Expired));
        }
        Some(Ok(verified))
    }

    /// Keeps what `token` was found to be.
    pub(super) fn put(&mut self, token: &str, verified: Rc<Verified>) {
        let is_full = self.young.tokens.len() >= TOKENS_MAX / 2
            || self.young.bytes + token.len() > TOKEN_BYTES_MAX / 2;
        if is_full {
            self.old = std::mem::take(&mut self.young);
        }
        if self.young.tokens.insert(token.into(), verified).is_none() {
            self.young.bytes += token.len();
        }
    }

    /// Forgets all of them.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.young.tokens.len() + self.old.tokens.len()
    }
}

impl Generation {
    fn remove(&mut self, token: &str) -> Option<Rc<Verified>> {
        let verified = self.tokens.remove(token)?;
        self.bytes -= token.len();
        Some(verified)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn until(millis: i64) -> Rc<Verified> {
        Rc::new(Verified {
            expires_at: Some(UnixMillis(millis)),
            ..Verified::default()
        })
    }

    #[test]
    fn a_token_is_found_until_it_expires() {
        let mut tokens = VerifiedTokens::default();
        tokens.put("a", until(10));
        assert_eq!(tokens.find("a", UnixMillis(9)), Some(Ok(until(10))));
        assert_eq!(
            tokens.find("a", UnixMillis(10)),
            Some(Err(Refused::Expired))
        );
        assert_eq!(tokens.find("a", UnixMillis(10)), None);
        assert_eq!(tokens.find("b", UnixMillis(0)), None);
    }

    #[test]
    fn the_number_of_tokens_is_bounded_and_those_in_use_stay() {
        let mut tokens = VerifiedTokens::default();
        tokens.put("in use", until(10));
        for number in 0..3 * TOKENS_MAX {
            tokens.put(&number.to_string(), until(10));
            assert!(tokens.find("in use", UnixMillis(0)).is_some());
            assert!(tokens.len() <= TOKENS_MAX);
        }
    }

    #[test]
    fn the_bytes_of_tokens_are_bounded() {
        let mut tokens = VerifiedTokens::default();
        for number in 0..1000 {
            let token = format!("{number}{}", "x".repeat(16_000));
            tokens.put(&token, until(10));
            assert!(tokens.young.bytes + tokens.old.bytes <= TOKEN_BYTES_MAX);
        }
        assert!(tokens.len() > 200);
        tokens.clear();
        assert_eq!(tokens.len(), 0);
    }
}
