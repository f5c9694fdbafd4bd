//! The `inline` guard: everybody is who they say.
//!
//! Its one rule: it vouches for nobody, so a session of it has no roles, and never expires.

use std::collections::BTreeSet;

use super::pattern::{CredentialsFault, Pair};
use super::{Refused, Verified};
use crate::config::InlineGuard;

/// Bytes of what is presented.
pub const PRESENTED_BYTES_MAX: usize = 16 << 10;

/// How identity and credentials stand in what is presented to an `inline` guard.
#[derive(Clone, Debug)]
pub struct InlineRules {
    format: Option<Pair>,
}

impl InlineRules {
    /// The rules of `guard`.
    ///
    /// # Errors
    ///
    /// When its format lacks `{identity}` or `{credentials}`.
    pub fn new(guard: &InlineGuard) -> Result<Self, CredentialsFault> {
        let pair = |format: &String| Pair::parse(format, "{identity}", "{credentials}");
        Ok(Self {
            format: guard.format.as_ref().map(pair).transpose()?,
        })
    }

    /// Identity and credentials in `presented`: both are all of it without a format.
    ///
    /// # Errors
    ///
    /// When it is too long or not of the format.
    pub fn split<'p>(&self, presented: &'p str) -> Result<(&'p str, &'p str), Refused> {
        if presented.len() > PRESENTED_BYTES_MAX {
            return Err(Refused::TooLong);
        }
        match &self.format {
            None => Ok((presented, presented)),
            Some(format) => format.split(presented).ok_or(Refused::Malformed),
        }
    }

    /// Takes `presented` as it is.
    ///
    /// # Errors
    ///
    /// As [`Self::split`].
    pub fn verify(&self, presented: &str) -> Result<Verified, Refused> {
        let (identity, _) = self.split(presented)?;
        Ok(Verified {
            identity: Some(identity.to_owned()),
            roles: Some(BTreeSet::new()),
            ..Verified::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(format: Option<&str>) -> InlineRules {
        InlineRules::new(&InlineGuard {
            format: format.map(str::to_owned),
            ..InlineGuard::default()
        })
        .unwrap()
    }

    #[test]
    fn without_a_format_all_that_is_presented_is_the_identity() {
        let verified = rules(None).verify("a:b").unwrap();
        assert_eq!(verified.identity.as_deref(), Some("a:b"));
        assert_eq!(verified.roles, Some(BTreeSet::new()));
        assert_eq!(verified.expires_at, None);
    }

    #[test]
    fn a_format_tells_identity_and_credentials_apart() {
        let colon = rules(Some("{identity}:{credentials}"));
        assert_eq!(colon.split("a:b:c"), Ok(("a", "b:c")));
        assert_eq!(colon.split("a"), Err(Refused::Malformed));
        let swapped = rules(Some("<{credentials}@{identity}>"));
        assert_eq!(swapped.split("<b@a>"), Ok(("a", "b")));
        assert_eq!(swapped.split("b@a"), Err(Refused::Malformed));
    }

    #[test]
    fn what_is_too_long_is_refused() {
        let long = "x".repeat(PRESENTED_BYTES_MAX + 1);
        assert_eq!(rules(None).verify(&long), Err(Refused::TooLong));
    }

    #[test]
    fn a_format_without_its_placeholders_is_a_mistake() {
        let guard = InlineGuard {
            format: Some("{identity}".into()),
            ..InlineGuard::default()
        };
        assert!(InlineRules::new(&guard).is_err());
    }
}
