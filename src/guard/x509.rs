//! Certificates that TLS has verified, or a proxy has and passes on: from the leaf to who it is.
//!
//! Its one rule: trust is not decided here. It reads names, and refuses only what is over, not yet valid, or no certificate.

use std::collections::BTreeSet;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::names::{ATTRIBUTES, distinguished_name, text};
use super::{Refused, Verified};
use crate::clock::UnixMillis;
use crate::config::X509Guard;
use crate::route::{Braces, Glob};

/// Bytes of certificates as text.
pub const PEM_BYTES_MAX: usize = 64 << 10;
const PEM_BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const PEM_END: &str = "-----END CERTIFICATE-----";

/// What an `x509` guard reads from certificates.
#[derive(Clone, Debug)]
pub struct CertificateRules {
    identity: Field,
    attributes: Vec<(String, Field)>,
    roles: Vec<Role>,
}

/// A role, and its alternatives: all fields of one must match.
#[derive(Clone, Debug)]
struct Role {
    name: String,
    alternatives: Vec<Vec<(Field, Glob)>>,
}

impl CertificateRules {
    /// The rules of `guard`.
    ///
    /// # Errors
    ///
    /// When it names a field that no certificate has.
    pub fn new(guard: &X509Guard) -> Result<Self, FieldFault> {
        let attribute = |(name, field): &(String, String)| Ok((name.clone(), Field::parse(field)?));
        let role = |(name, alternatives): &(String, Vec<Vec<(String, String)>>)| {
            let alternatives = alternatives.iter().map(|fields| alternative(fields));
            Ok(Role {
                name: name.clone(),
                alternatives: alternatives.collect::<Result<_, _>>()?,
            })
        };
        Ok(Self {
            identity: Field::parse(&guard.identity)?,
            attributes: guard
                .attributes
                .iter()
                .map(attribute)
                .collect::<Result<_, _>>()?,
            roles: guard.roles.iter().map(role).collect::<Result<_, _>>()?,
        })
    }

    /// Reads the first certificate of `chain` (DER).
    ///
    /// # Errors
    ///
    /// Says what is wrong with it.
    pub fn verify<C: AsRef<[u8]>>(
        &self,
        chain: &[C],
        now: UnixMillis,
    ) -> Result<Verified, Refused> {
        let leaf = chain.first().ok_or(Refused::Malformed)?;
        let (_, certificate) =
            X509Certificate::from_der(leaf.as_ref()).map_err(|_| Refused::Malformed)?;
        let validity = certificate.validity();
        let millis = |seconds: i64| UnixMillis(seconds.saturating_mul(1000));
        if now < millis(validity.not_before.timestamp()) {
            return Err(Refused::NotYetValid);
        }
        // Valid through the second that it names (RFC 5280 4.1.2.5).
        let expires_at = millis(validity.not_after.timestamp().saturating_add(1));
        if now >= expires_at {
            return Err(Refused::Expired);
        }
        let read = |(name, field): &(String, Field)| Some((name.clone(), field.of(&certificate)?));
        Ok(Verified {
            identity: Some(self.identity.of(&certificate).ok_or(Refused::NoIdentity)?),
            roles: self.roles_of(&certificate),
            attributes: self.attributes.iter().filter_map(read).collect(),
            issuer: distinguished_name(certificate.issuer()),
            expires_at: Some(expires_at),
            challenge: None,
        })
    }

    /// As [`Self::verify`], from certificates as text (RFC 7468), where `\n` may stand for a line's end.
    ///
    /// # Errors
    ///
    /// Says what is wrong with it.
    pub fn verify_pem(&self, text: &str, now: UnixMillis) -> Result<Verified, Refused> {
        if text.len() > PEM_BYTES_MAX {
            return Err(Refused::TooLong);
        }
        self.verify(&certificates(text)?, now)
    }

    /// The roles that it has. None, as with a token that has no roles claim, when there are roles to have and it has not one of them.
    fn roles_of(&self, certificate: &X509Certificate<'_>) -> Option<BTreeSet<String>> {
        let has = |role: &&Role| {
            role.alternatives.iter().any(|fields| {
                fields.iter().all(|(field, pattern)| {
                    let value = field.of(certificate);
                    value.is_some_and(|value| pattern.matches(value.as_bytes()))
                })
            })
        };
        let held: BTreeSet<_> = self
            .roles
            .iter()
            .filter(has)
            .map(|role| role.name.clone())
            .collect();
        (self.roles.is_empty() || !held.is_empty()).then_some(held)
    }
}

fn alternative(fields: &[(String, String)]) -> Result<Vec<(Field, Glob)>, FieldFault> {
    let compiled = fields.iter().map(|(field, pattern)| {
        let pattern = Glob::parse(pattern, Braces::Literal).map_err(|_| FieldFault)?;
        Ok((Field::parse(field)?, pattern))
    });
    compiled.collect()
}

/// A field of a certificate, such as `subject.cn`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    is_issuer: bool,
    part: Part,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// The whole name.
    Dn,
    /// The most specific attribute of this kind (an object identifier).
    Attribute(&'static str),
}

impl Field {
    /// Reads a field's name; case does not matter.
    ///
    /// # Errors
    ///
    /// When it is neither `subject.` nor `issuer.` and an attribute that is known.
    pub fn parse(text: &str) -> Result<Self, FieldFault> {
        let text = text.to_ascii_lowercase();
        let (name, part) = text.split_once('.').ok_or(FieldFault)?;
        let is_issuer = match name {
            "subject" => false,
            "issuer" => true,
            _ => return Err(FieldFault),
        };
        let attribute = ATTRIBUTES.iter().find(|(short, _, _)| *short == part);
        let part = match (part, attribute) {
            ("dn", _) => Part::Dn,
            (_, Some((_, oid, _))) => Part::Attribute(oid),
            (_, None) => return Err(FieldFault),
        };
        Ok(Self { is_issuer, part })
    }

    fn of(self, certificate: &X509Certificate<'_>) -> Option<String> {
        let name = if self.is_issuer {
            certificate.issuer()
        } else {
            certificate.subject()
        };
        match self.part {
            Part::Dn => Some(distinguished_name(name)).filter(|text| !text.is_empty()),
            Part::Attribute(oid) => {
                // The last is the most specific (RFC 6125 2.3.1 reads a name from its end).
                let of_kind = name
                    .iter_attributes()
                    .filter(|attribute| attribute.attr_type().to_id_string() == oid);
                text(of_kind.last()?.attr_value())
            }
        }
    }
}

/// A field's name that is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FieldFault;

impl fmt::Display for FieldFault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("is not a field of a certificate (`subject.` or `issuer.` and `dn`")?;
        for (name, _, _) in ATTRIBUTES {
            write!(formatter, ", `{name}`")?;
        }
        formatter.write_str(")")
    }
}

impl std::error::Error for FieldFault {}

/// The certificates in `text`, as DER; never none.
fn certificates(text: &str) -> Result<Vec<Vec<u8>>, Refused> {
    let mut chain = Vec::new();
    let mut rest = text;
    while let Some((_, after)) = rest.split_once(PEM_BEGIN) {
        let (body, after) = after.split_once(PEM_END).ok_or(Refused::Malformed)?;
        let base64: Vec<u8> = body
            .replace("\\r", "")
            .replace("\\n", "")
            .bytes()
            .filter(|byte| !byte.is_ascii_whitespace())
            .collect();
        chain.push(STANDARD.decode(base64).map_err(|_| Refused::Malformed)?);
        rest = after;
    }
    if chain.is_empty() {
        return Err(Refused::Malformed);
    }
    Ok(chain)
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, DnValue, KeyPair, date_time_ymd};

    use super::*;

    const NOW: UnixMillis = UnixMillis(1_700_000_000_000);

    /// A certificate for `names`, valid from 2020 until the end of the first second of 2030.
    fn certificate(names: &[(DnType, DnValue)]) -> Vec<u8> {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        for (kind, value) in names {
            params.distinguished_name.push(kind.clone(), value.clone());
        }
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2030, 1, 1);
        let key = KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().der().to_vec()
    }

    fn utf8(text: &str) -> DnValue {
        DnValue::Utf8String(text.into())
    }

    fn alice() -> Vec<u8> {
        certificate(&[
            (DnType::CountryName, utf8("NO")),
            (DnType::OrganizationName, utf8("Acme, Inc")),
            (DnType::OrganizationalUnitName, utf8("dev")),
            (DnType::CommonName, utf8("alice")),
        ])
    }

    fn guard() -> X509Guard {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        X509Guard {
            identity: "subject.cn".into(),
            attributes: vec![
                pair("unit", "subject.ou"),
                pair("mail", "subject.emailaddress"),
            ],
            roles: vec![
                (
                    "admin".into(),
                    vec![
                        vec![pair("subject.cn", "root*")],
                        vec![pair("subject.cn", "a*e"), pair("issuer.dn", "*O=Acme*")],
                    ],
                ),
                (
                    "other".into(),
                    vec![vec![pair("subject.cn", "a*"), pair("subject.l", "*")]],
                ),
            ],
        }
    }

    fn rules() -> CertificateRules {
        CertificateRules::new(&guard()).unwrap()
    }

    fn pem(der: &[u8], line_end: &str) -> String {
        let text = STANDARD.encode(der);
        let (first, second) = text.split_at(64);
        [PEM_BEGIN, first, second, PEM_END, ""].join(line_end)
    }

    #[test]
    fn fields_are_read_from_the_first_certificate() {
        let verified = rules().verify(&[alice(), vec![0]], NOW).unwrap();
        assert_eq!(verified.identity.as_deref(), Some("alice"));
        assert_eq!(verified.attributes, [("unit".into(), "dev".into())]);
        assert_eq!(verified.roles, Some(["admin".to_owned()].into()));
        assert_eq!(verified.issuer, "CN=alice,OU=dev,O=Acme\\, Inc,C=NO");
        let end = UnixMillis(1_893_456_001_000);
        assert_eq!(verified.expires_at, Some(end));
        assert_eq!(verified.challenge, None);
    }

    #[test]
    fn the_default_identity_is_the_whole_name() {
        let guard = X509Guard {
            identity: "subject.dn".into(),
            attributes: Vec::new(),
            roles: Vec::new(),
        };
        let rules = CertificateRules::new(&guard).unwrap();
        let odd = certificate(&[
            (
                DnType::from_oid(&[1, 2, 840, 113_549, 1, 9, 1]),
                utf8("a@b"),
            ),
            (DnType::CommonName, utf8(" a=#\"<b>;\\+ ")),
        ]);
        let verified = rules.verify(&[odd], NOW).unwrap();
        assert_eq!(
            verified.identity.as_deref(),
            Some("CN=\\ a\\=\\#\\\"\\<b\\>\\;\\\\\\+\\ ,1.2.840.113549.1.9.1=#0c03614062")
        );
        assert_eq!(
            verified.roles,
            Some(BTreeSet::new()),
            "there are none to have"
        );
        assert_eq!(
            rules.verify(&[certificate(&[])], NOW),
            Err(Refused::NoIdentity)
        );
    }

    #[test]
    fn a_certificate_with_none_of_the_roles_is_as_a_token_without_the_claim() {
        let bob = certificate(&[(DnType::CommonName, utf8("bob"))]);
        assert_eq!(rules().verify(&[bob], NOW).unwrap().roles, None);
    }

    #[test]
    fn a_certificate_is_good_between_its_dates() {
        let chain = [alice()];
        let refused = |now| rules().verify(&chain, UnixMillis(now)).err();
        assert_eq!(refused(1_577_836_799_999), Some(Refused::NotYetValid));
        assert_eq!(refused(1_577_836_800_000), None);
        assert_eq!(refused(1_893_456_000_999), None);
        assert_eq!(refused(1_893_456_001_000), Some(Refused::Expired));
    }

    #[test]
    fn text_is_taken_with_line_ends_and_with_escapes_for_them() {
        for line_end in ["\n", "\r\n", "\\n", "\\r\\n", " ", ""] {
            let text = pem(&alice(), line_end);
            let verified = rules().verify_pem(&text, NOW).unwrap();
            assert_eq!(verified.identity.as_deref(), Some("alice"), "{line_end:?}");
        }
    }

    #[test]
    fn what_is_no_certificate_is_refused() {
        let verify = |text: &str| rules().verify_pem(text, NOW).err();
        assert_eq!(verify(""), Some(Refused::Malformed));
        assert_eq!(verify(PEM_BEGIN), Some(Refused::Malformed));
        assert_eq!(verify(&pem(&[1; 100], "\n")), Some(Refused::Malformed));
        let broken = format!("{PEM_BEGIN}***{PEM_END}");
        assert_eq!(verify(&broken), Some(Refused::Malformed));
        let long = "x".repeat(PEM_BYTES_MAX + 1);
        assert_eq!(verify(&long), Some(Refused::TooLong));
        let none: [Vec<u8>; 0] = [];
        assert_eq!(rules().verify(&none, NOW), Err(Refused::Malformed));
        let whole = alice();
        for cut in 0..whole.len() {
            assert!(rules().verify(&[&whole[..cut]], NOW).is_err());
        }
    }

    #[test]
    fn a_field_that_no_certificate_has_is_a_mistake() {
        assert!(Field::parse("Subject.CN").is_ok());
        for unknown in ["", "subject", "cn", "subject.", "subject.x", "other.cn"] {
            assert_eq!(Field::parse(unknown), Err(FieldFault), "{unknown}");
        }
    }
}
