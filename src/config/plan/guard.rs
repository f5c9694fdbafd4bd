//! Guards in the plan: who may come in, and as whom.

use std::time::Duration;

/// A guard, named by its index in [`super::Plan::guards`].
#[derive(Clone, Debug)]
pub struct Guard {
    /// The namespace of the guard.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// What it takes.
    pub kind: GuardKind,
}

/// What a guard takes.
#[derive(Clone, Debug)]
pub enum GuardKind {
    /// Signed tokens (RFC 7519).
    Jwt(JwtGuard),
    /// Anything, as it is.
    Inline(InlineGuard),
    /// Certificates that TLS has verified.
    X509(X509Guard),
}

/// A `jwt` guard.
#[derive(Clone, Debug)]
pub struct JwtGuard {
    /// What `iss` must be.
    pub issuer: String,
    /// What `aud` must be or contain.
    pub audience: String,
    /// The keys that may sign.
    pub keys: JwtKeys,
    /// The claim that holds the roles, by its path.
    pub roles: Vec<String>,
    /// The claim that holds the identity, by its path.
    pub identity: Vec<String>,
    /// Attributes and the paths of their claims.
    pub attributes: Vec<(String, Vec<String>)>,
    /// How long before its expiry a stream is challenged for a new token.
    pub challenge: Option<Duration>,
}

/// Where a `jwt` guard has its keys from.
#[derive(Clone, Debug)]
pub enum JwtKeys {
    /// From the file.
    Inline(Vec<JwkSource>),
    /// From this `http` or `https` URL (RFC 7517, 5), asked for again and again.
    Url(String),
}

/// A key as the file has it (RFC 7517); what a key type does not need is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JwkSource {
    /// `kty`: `RSA`, `EC` or `OKP`.
    pub kty: String,
    /// `kid`: what tokens call it.
    pub kid: String,
    /// `alg`: the one algorithm that it is for.
    pub alg: Option<String>,
    /// `use`.
    pub usage: Option<String>,
    /// `n`, base64url, or base64 as Zilla's examples have it.
    pub n: Option<String>,
    /// `e`.
    pub e: Option<String>,
    /// `crv`.
    pub crv: Option<String>,
    /// `x`.
    pub x: Option<String>,
    /// `y`.
    pub y: Option<String>,
}

/// An `inline` guard.
#[derive(Clone, Debug, Default)]
pub struct InlineGuard {
    /// How identity and credentials stand in what is presented, such as `{identity}:{credentials}`; `None`: both are all of it.
    pub format: Option<String>,
    /// The identity that is presented by us.
    pub identity: Option<String>,
    /// The credentials that are presented by us.
    pub credentials: Option<Secret>,
}

/// An `x509` guard.
#[derive(Clone, Debug)]
pub struct X509Guard {
    /// The field that is the identity, such as `subject.cn`.
    pub identity: String,
    /// Attributes and their fields.
    pub attributes: Vec<(String, String)>,
    /// Roles, each with its alternatives: all fields of one must match their wildcard patterns.
    pub roles: Vec<(String, Vec<FieldPatterns>)>,
}

/// Fields of a certificate and the wildcard patterns that they must match.
pub type FieldPatterns = Vec<(String, String)>;

/// What a route asks of a guard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guarded {
    /// Which, as an index into [`super::Plan::guards`].
    pub guard: usize,
    /// The roles that the session must have, all of them; `${method}` and `${path}` stand for the request's.
    pub roles: Vec<String>,
}

/// Where an http server finds credentials: `options.authorization`.
#[derive(Clone, Debug)]
pub struct HttpAuthorization {
    /// Whom they are for, as an index into [`super::Plan::guards`].
    pub guard: usize,
    /// Cookies and their patterns; the first of them counts, and before headers.
    pub cookies: Vec<(String, String)>,
    /// Headers (lower case) and their patterns; before the query.
    pub headers: Vec<(String, String)>,
    /// Query parameters and their patterns.
    pub query: Vec<(String, String)>,
}

/// Text that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides `text`.
    pub const fn new(text: String) -> Self {
        Self(text)
    }

    /// The text.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("***")
    }
}
