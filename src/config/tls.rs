//! `tls` servers and clients. What they take from a vault is looked up when bindings are linked.

use std::time::Duration;

use super::fields::{Fields, Item};
use super::guarded::{only_guard, read_guarded};
use super::http::read_timeout;
use super::mistake::Report;
use super::plan::{Mutual, TlsVersions};
use super::reference::{Exit, Reference};
use super::shape::{Kind, TlsClient, TlsRoute, TlsServer, TlsWhen};
use super::tcp::read_ranges;
use super::units;
use super::unsupported::{Choice, Place};
use crate::route::{Braces, Glob};

const HANDSHAKE_TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);
/// The longest name of a protocol, in bytes (RFC 7301 section 3.1).
const ALPN_BYTES_MAX: usize = 255;

/// Reads the vault, options, routes and exit of a `tls server`.
pub(super) fn server(binding: &mut Fields<'_>, report: &mut Report) -> Kind {
    let vault = binding.required(report, "vault");
    let vault = vault.and_then(|item| Reference::of(&item, report));
    let mut server = TlsServer {
        vault,
        keys: Vec::new(),
        signers: Vec::new(),
        trust: Vec::new(),
        sni: Vec::new(),
        alpn: Vec::new(),
        versions: TlsVersions::default(),
        mutual: None,
        guard: None,
        handshake_timeout: HANDSHAKE_TIMEOUT_DEFAULT,
        routes: Vec::new(),
    };
    if let Some(options) = binding.optional("options") {
        read_server_options(&options, &mut server, report);
    }
    for item in binding.list(report, "routes") {
        let route = read_route(&item, &server.alpn, report);
        server.routes.push(route);
    }
    if let Some(exit) = Exit::read(binding, report) {
        server.routes.push(TlsRoute {
            guarded: Vec::new(),
            when: Vec::new(),
            exit: Some(exit),
        });
    }
    Exit::require_some(binding, report);
    Kind::TlsServer(server)
}

fn read_server_options(item: &Item<'_>, server: &mut TlsServer, report: &mut Report) {
    let mut options = item.fields(report, Place::Plain);
    options.misplaced("trustcacerts", "only a tls client has it");
    server.versions = read_versions(&mut options, report);
    server.keys = read_keys(&mut options, "keys", report);
    server.signers = read_keys(&mut options, "signers", report);
    server.trust = read_keys(&mut options, "trust", report);
    if options.has("keys") && options.has("signers") {
        item.mistake(
            report,
            "either `keys` or `signers` can stand here, not both",
        );
    }
    if let Some(item) = options.optional("sni") {
        server.sni = item.texts(report, server_name).unwrap_or_default();
    }
    server.alpn = read_alpn(&mut options, report);
    if let Some(item) = options.optional("mutual") {
        let words = [
            ("required", Mutual::Required),
            ("requested", Mutual::Requested),
            ("none", Mutual::None),
        ];
        server.mutual = item.word(report, Choice::Plain, &words);
        if server.mutual == Some(Mutual::None) && options.has("trust") {
            item.mistake(report, "with `trust` clients are asked for certificates");
        }
    }
    if let Some(item) = options.optional("authorization") {
        server.guard = read_authorization(&item, report);
    }
    if let Some(item) = options.optional("handshake-timeout") {
        let timeout = read_timeout(&item, report);
        server.handshake_timeout = timeout.unwrap_or(server.handshake_timeout);
    }
    options.finish(report);
}

/// Reads the vault, options and exit of a `tls client`.
pub(super) fn client(binding: &mut Fields<'_>, report: &mut Report) -> Kind {
    binding.narrow(Place::TlsClient);
    let vault = binding.optional("vault");
    let vault = vault.and_then(|item| Reference::of(&item, report));
    let mut client = TlsClient {
        vault,
        keys: Vec::new(),
        signers: Vec::new(),
        trust: Vec::new(),
        trust_system: true,
        sni: None,
        alpn: Vec::new(),
        versions: TlsVersions::default(),
        exit: None,
    };
    let has_vault = binding.has("vault");
    if let Some(options) = binding.optional("options") {
        read_client_options(&options, &mut client, has_vault, report);
    }
    client.exit = Exit::required(binding, report);
    Kind::TlsClient(client)
}

fn read_client_options(
    item: &Item<'_>,
    client: &mut TlsClient,
    has_vault: bool,
    report: &mut Report,
) {
    let mut options = item.fields(report, Place::Plain);
    for key in ["mutual", "authorization", "handshake-timeout"] {
        options.misplaced(key, "only a tls server has it");
    }
    client.versions = read_versions(&mut options, report);
    client.keys = read_keys(&mut options, "keys", report);
    client.signers = read_keys(&mut options, "signers", report);
    client.trust = read_keys(&mut options, "trust", report);
    let from_vault = ["keys", "signers", "trust"];
    if let Some(key) = from_vault.iter().find(|key| options.has(key))
        && !has_vault
    {
        item.mistake(
            report,
            format!("`{key}` needs the binding to have a `vault`"),
        );
    }
    if options.has("keys") && options.has("signers") {
        item.mistake(
            report,
            "either `keys` or `signers` can stand here, not both",
        );
    }
    client.trust_system = !options.has("trust");
    if let Some(item) = options.optional("trustcacerts") {
        client.trust_system = item.boolean(report).unwrap_or(client.trust_system);
    }
    if let Some(item) = options.optional("sni") {
        let names = item.texts(report, server_name).unwrap_or_default();
        if names.len() > 1 {
            item.warning(report, "a client asks for one name: the first");
        }
        client.sni = names.into_iter().next();
    }
    client.alpn = read_alpn(&mut options, report);
    options.finish(report);
}

/// What a client's certificates are given to.
fn read_authorization(item: &Item<'_>, report: &mut Report) -> Option<Reference> {
    let entry = only_guard(item, report)?;
    let mut fields = entry.item.fields(report, Place::Plain);
    if let Some(credentials) = fields.required(report, "credentials") {
        let mut credentials = credentials.fields(report, Place::Plain);
        if let Some(item) = credentials.required(report, "certificates") {
            // Zilla's one word; a key on the way here is `credentials`, so the value is not shown.
            if item.text(report).is_some_and(|text| text != "pem") {
                item.mistake(report, "only `pem` can stand here");
            }
        }
        credentials.finish(report);
    }
    fields.finish(report);
    Some(Reference::of_key(&entry))
}

fn read_versions(options: &mut Fields<'_>, report: &mut Report) -> TlsVersions {
    let words = [
        ("TLS", TlsVersions::All),
        ("TLSv1.2", TlsVersions::Tls12),
        ("TLSv1.3", TlsVersions::Tls13),
    ];
    options
        .optional("version")
        .and_then(|item| item.word(report, Choice::Plain, &words))
        .unwrap_or_default()
}

/// A list of aliases in a vault.
fn read_keys(options: &mut Fields<'_>, key: &'static str, report: &mut Report) -> Vec<Reference> {
    let Some(item) = options.optional(key) else {
        return Vec::new();
    };
    let items = item.list(report);
    if items.is_empty() && item.is_list() {
        item.mistake(report, "the list is empty");
    }
    items
        .iter()
        .filter_map(|item| Reference::of(item, report))
        .collect()
}

/// The name of a server as clients ask for it: lower case, without the dot at its end (RFC 6066 section 3).
fn server_name(text: &str) -> Result<String, String> {
    let name = text.strip_suffix('.').unwrap_or(text);
    units::host_name(name)?;
    Ok(name.to_ascii_lowercase())
}

fn protocol(text: &str) -> Result<String, String> {
    if text.is_empty() || text.len() > ALPN_BYTES_MAX {
        return Err(format!(
            "is not the name of a protocol (1 to {ALPN_BYTES_MAX} bytes)"
        ));
    }
    Ok(text.to_owned())
}

fn read_alpn(options: &mut Fields<'_>, report: &mut Report) -> Vec<String> {
    options
        .optional("alpn")
        .and_then(|item| item.texts(report, protocol))
        .unwrap_or_default()
}

fn read_route(item: &Item<'_>, alpn: &[String], report: &mut Report) -> TlsRoute {
    let mut route = item.fields(report, Place::TlsRoute);
    let guarded = read_guarded(&mut route, report);
    let mut when = Vec::new();
    for item in route.list(report, "when") {
        when.push(read_when(&item, alpn, report));
    }
    let exit = Exit::required(&mut route, report);
    route.finish(report);
    TlsRoute {
        guarded,
        when,
        exit,
    }
}

fn read_when(item: &Item<'_>, alpn: &[String], report: &mut Report) -> TlsWhen {
    let mut fields = item.fields(report, Place::Plain);
    let authority = fields.optional("authority").and_then(|item| {
        item.parsed(report, |text| {
            Glob::parse(&text.to_ascii_lowercase(), Braces::Literal)
                .map_err(|fault| fault.to_string())
        })
    });
    let wanted = fields.optional("alpn").and_then(|item| {
        let wanted = item.parsed(report, protocol)?;
        if !alpn.is_empty() && !alpn.contains(&wanted) {
            item.warning(report, "never matches: `options.alpn` does not have it");
        }
        Some(wanted)
    });
    let ports = fields
        .optional("port")
        .map_or_else(Vec::new, |item| read_ranges(&item, report));
    let words = [("required", true), ("none", false)];
    let mutual = fields
        .optional("mutual")
        .and_then(|item| item.word(report, Choice::Plain, &words));
    let trust = read_keys(&mut fields, "trust", report);
    let mutual = if trust.is_empty() {
        mutual
    } else {
        if mutual == Some(false) {
            item.mistake(
                report,
                "with `trust` a client must have shown a certificate",
            );
        }
        Some(true)
    };
    fields.finish(report);
    TlsWhen {
        authority,
        alpn: wanted,
        ports,
        mutual,
        trust,
        at: (item.at, item.path.clone()),
    }
}
