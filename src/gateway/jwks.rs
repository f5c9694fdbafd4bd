//! Keeping the keys of issuers fresh (RFC 7517 5): fetched at the start, from time to time, and when a token names one that is not known.
//!
//! Runs on the helper thread; each request blocks a thread of its own, for ten seconds at most. Its one rule: keys that were fetched once
//! stay good until others are there, whatever the issuer answers meanwhile.

use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::aws_lc_rs;
use tokio::sync::mpsc::Receiver;
use tokio::task::{Id, JoinSet};
use tokio::time::{Instant, sleep_until};
use ureq::Agent;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

use crate::guard::key_set::{KEY_SET_BYTES_MAX, KeySet, KeySetFault};

/// How long a request may take, with its redirects.
const REQUEST_WAIT: Duration = Duration::from_secs(10);
/// Redirects that are followed.
const REDIRECTS_MAX: u32 = 3;

/// When to ask an issuer.
#[derive(Clone, Debug)]
struct Pace {
    /// After an answer that does not say how long it is good for.
    every: Duration,
    /// What an answer may say instead.
    max_age: RangeInclusive<Duration>,
    /// After the first failure; twice as long after each further one.
    retry_min: Duration,
    /// After any number of failures.
    retry_max: Duration,
    /// Between two requests, however many tokens name unknown keys.
    refresh_gap: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            every: Duration::from_secs(300),
            max_age: Duration::from_secs(60)..=Duration::from_secs(24 * 3600),
            retry_min: Duration::from_secs(1),
            retry_max: Duration::from_secs(60),
            refresh_gap: Duration::from_secs(10),
        }
    }
}

/// Fetches the keys of `sources` (guards and their URLs) for as long as it is polled, and gives every set to `deliver`. A guard that
/// comes out of `refresh` is asked for early; those that come faster than ten seconds apart are one.
///
/// To be run on the helper thread.
pub async fn run(
    sources: Vec<(usize, String)>,
    refresh: Receiver<usize>,
    deliver: impl Fn(usize, Arc<KeySet>),
) {
    run_at(Pace::default(), sources, refresh, deliver).await;
}

async fn run_at(
    pace: Pace,
    sources: Vec<(usize, String)>,
    mut refresh: Receiver<usize>,
    deliver: impl Fn(usize, Arc<KeySet>),
) {
    let mut issuers = Issuers::new(pace, sources);
    let mut fetches = JoinSet::new();
    let mut may_refresh = true;
    while !issuers.issuers.is_empty() {
        issuers.start_due(&mut fetches);
        let next_at = issuers.next_at();
        tokio::select! {
            biased;
            Some(ended) = fetches.join_next_with_id() => match ended {
                Ok((id, result)) => issuers.finish(id, result, &deliver),
                Err(panicked) => issuers.finish(panicked.id(), Err(FetchFault::Panicked), &deliver),
            },
            guard = refresh.recv(), if may_refresh => match guard {
                Some(guard) => issuers.refresh(guard),
                None => may_refresh = false,
            },
            () = sleep_until(next_at.unwrap_or_else(Instant::now)), if next_at.is_some() => {}
        }
    }
}

/// All that is asked for keys.
struct Issuers {
    pace: Pace,
    issuers: Vec<Issuer>,
}

/// A URL, and the guards that have their keys from it.
struct Issuer {
    url: Arc<str>,
    /// The URL as the log may have it.
    shown: String,
    guards: Vec<usize>,
    state: State,
    /// When the last request began.
    asked_at: Option<Instant>,
    /// How many have failed since one succeeded.
    failures: u32,
}

enum State {
    /// To be asked then.
    Waiting(Instant),
    /// Being asked.
    Asking(Id),
}

impl Issuers {
    fn new(pace: Pace, sources: Vec<(usize, String)>) -> Self {
        let mut issuers: Vec<Issuer> = Vec::new();
        for (guard, url) in sources {
            match issuers.iter_mut().find(|issuer| *issuer.url == *url) {
                Some(issuer) => issuer.guards.push(guard),
                None => issuers.push(Issuer {
                    shown: without_secrets(&url),
                    url: url.into(),
                    guards: vec![guard],
                    state: State::Waiting(Instant::now()),
                    asked_at: None,
                    failures: 0,
                }),
            }
        }
        Self { pace, issuers }
    }

    fn start_due(&mut self, fetches: &mut JoinSet<Result<Fetched, FetchFault>>) {
        let now = Instant::now();
        for issuer in &mut self.issuers {
            if matches!(issuer.state, State::Waiting(due) if due <= now) {
                let url = issuer.url.clone();
                let task = fetches.spawn_blocking(move || fetch(&url));
                issuer.state = State::Asking(task.id());
                issuer.asked_at = Some(now);
            }
        }
    }

    /// When the next one is to be asked; `None`: all are being asked.
    fn next_at(&self) -> Option<Instant> {
        let due = self.issuers.iter().filter_map(|issuer| match issuer.state {
            State::Waiting(due) => Some(due),
            State::Asking(_) => None,
        });
        due.min()
    }

    fn refresh(&mut self, guard: usize) {
        let serves = |issuer: &&mut Issuer| issuer.guards.contains(&guard);
        if let Some(issuer) = self.issuers.iter_mut().find(serves)
            && let State::Waiting(due) = &mut issuer.state
            && let Some(asked_at) = issuer.asked_at
        {
            *due = (*due).min(asked_at + self.pace.refresh_gap);
        }
    }

    fn finish(
        &mut self,
        id: Id,
        result: Result<Fetched, FetchFault>,
        deliver: &impl Fn(usize, Arc<KeySet>),
    ) {
        let is_it = |issuer: &&mut Issuer| matches!(issuer.state, State::Asking(own) if own == id);
        let Some(issuer) = self.issuers.iter_mut().find(is_it) else {
            return;
        };
        let pause = match result {
            Ok(fetched) => {
                let pause = fetched.max_age.unwrap_or(self.pace.every);
                issuer.succeed(fetched.keys, deliver);
                pause.clamp(*self.pace.max_age.start(), *self.pace.max_age.end())
            }
            Err(fault) => {
                issuer.fail(&fault);
                let doubled = 2_u32.saturating_pow(issuer.failures - 1);
                let pause = self.pace.retry_min.saturating_mul(doubled);
                pause.min(self.pace.retry_max)
            }
        };
        issuer.state = State::Waiting(Instant::now() + pause);
    }
}

impl Issuer {
    fn succeed(&mut self, keys: KeySet, deliver: &impl Fn(usize, Arc<KeySet>)) {
        if self.failures > 0 {
            tracing::info!(
                url = self.shown,
                "the keys of the issuer can be fetched again"
            );
        }
        self.failures = 0;
        if keys.is_empty() {
            let skipped = keys.skipped();
            tracing::warn!(
                url = self.shown,
                skipped,
                "the issuer has no keys that can be used"
            );
        }
        let keys = Arc::new(keys);
        for guard in &self.guards {
            deliver(*guard, keys.clone());
        }
    }

    fn fail(&mut self, fault: &FetchFault) {
        // Once per outage.
        if self.failures == 0 {
            tracing::warn!(url = self.shown, %fault, "the keys of the issuer cannot be fetched");
        }
        self.failures = self.failures.saturating_add(1);
    }
}

/// Keys, and how long they are good for if the issuer says so.
struct Fetched {
    keys: KeySet,
    max_age: Option<Duration>,
}

/// Why there are no keys.
#[derive(Debug)]
enum FetchFault {
    /// No answer, or one that says no.
    Request(Box<ureq::Error>),
    /// An answer that is neither keys nor a refusal.
    Status(u16),
    /// An answer that is no set of keys.
    KeySet(KeySetFault),
    /// A mistake of ours.
    Panicked,
}

impl fmt::Display for FetchFault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Request(error) => error.fmt(formatter),
            Self::Status(status) => write!(formatter, "answers with status {status}"),
            Self::KeySet(fault) => write!(formatter, "the answer {fault}"),
            Self::Panicked => formatter.write_str("the request panicked"),
        }
    }
}

impl From<ureq::Error> for FetchFault {
    fn from(error: ureq::Error) -> Self {
        Self::Request(Box::new(error))
    }
}

/// Asks `url`, and waits for the answer.
fn fetch(url: &str) -> Result<Fetched, FetchFault> {
    let mut response = agent(url)
        .get(url)
        .header("accept", "application/jwk-set+json, application/json")
        .call()?;
    let status = response.status().as_u16();
    if status != 200 {
        return Err(FetchFault::Status(status));
    }
    let cache_control = response.headers().get("cache-control");
    let max_age = cache_control.and_then(|value| max_age(value.as_bytes()));
    let limit = u64::try_from(KEY_SET_BYTES_MAX).unwrap_or(u64::MAX);
    let json = response
        .body_mut()
        .with_config()
        .limit(limit)
        .read_to_vec()?;
    let keys = KeySet::parse(&json).map_err(FetchFault::KeySet)?;
    Ok(Fetched { keys, max_age })
}

/// A client for one request: no connection is kept for minutes, and the certificates that the system trusts are read as they are now.
fn agent(url: &str) -> Agent {
    let trusted = rustls_native_certs::load_native_certs().certs;
    let trusted = trusted
        .iter()
        .map(|certificate| Certificate::from_der(certificate).to_owned());
    let tls = TlsConfig::builder()
        .unversioned_rustls_crypto_provider(Arc::new(aws_lc_rs::default_provider()))
        .root_certs(RootCerts::Specific(Arc::new(trusted.collect())))
        .build();
    let is_https = url
        .split_once(':')
        .is_some_and(|(scheme, _)| scheme.eq_ignore_ascii_case("https"));
    Agent::config_builder()
        // Also on the way of a redirect: keys that anybody on the way can change sign for anybody.
        .https_only(is_https)
        .max_redirects(REDIRECTS_MAX)
        .max_redirects_will_error(true)
        .timeout_global(Some(REQUEST_WAIT))
        .user_agent(concat!("sluice/", env!("CARGO_PKG_VERSION")))
        .tls_config(tls)
        .build()
        .new_agent()
}

/// `url` without its query and without a user's name and password.
fn without_secrets(url: &str) -> String {
    let url = url.split(['?', '#']).next().unwrap_or_default();
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = authority.rsplit('@').next().unwrap_or_default();
    format!("{scheme}://{host}{path}")
}

/// How long an answer is good for (RFC 9111 5.2.2.1).
fn max_age(cache_control: &[u8]) -> Option<Duration> {
    let text = str::from_utf8(cache_control).ok()?;
    text.split(',').find_map(|directive| {
        let (name, seconds) = directive.trim().split_once('=')?;
        let seconds = seconds.trim_matches('"').parse().ok()?;
        let is_it = name.eq_ignore_ascii_case("max-age");
        is_it.then(|| Duration::from_secs(seconds))
    })
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::net::{SocketAddr, TcpListener};

    use tokio::sync::mpsc::{self, UnboundedReceiver};
    use tokio::time::timeout;

    use super::*;

    const KEYS: &str = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"a","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;

    /// An issuer that gives these answers, one per connection, and the paths that it was asked for.
    fn issuer(answers: Vec<String>) -> (SocketAddr, UnboundedReceiver<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (paths, asked) = mpsc::unbounded_channel();
        std::thread::Builder::new()
            .spawn(move || {
                for answer in answers {
                    let (mut stream, _) = listener.accept().unwrap();
                    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
                    let line = lines.next().unwrap().unwrap();
                    while lines.next().is_some_and(|line| !line.unwrap().is_empty()) {}
                    let _ = paths.send(line.split(' ').nth(1).unwrap().to_owned());
                    let answer = answer.replace("HERE", &address.to_string());
                    // A client that has read enough may be gone.
                    let _ = stream.write_all(answer.as_bytes());
                }
            })
            .unwrap();
        (address, asked)
    }

    fn answer(status: &str, fields: &str, body: &str) -> String {
        let length = body.len();
        format!(
            "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {length}\r\n{fields}\r\n{body}"
        )
    }

    fn quick() -> Pace {
        let (short, long) = (Duration::from_millis(5), Duration::from_secs(3600));
        Pace {
            every: long,
            max_age: short..=long,
            retry_min: short,
            retry_max: short * 2,
            refresh_gap: short,
        }
    }

    /// What is delivered until there are `count`, with the second guard asking for more keys whenever it gets some.
    fn deliveries(
        pace: Pace,
        sources: &[(usize, String)],
        count: usize,
    ) -> Vec<(usize, Arc<KeySet>)> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let (ask, refresh) = mpsc::channel(4);
            let (delivered, mut deliveries) = mpsc::unbounded_channel();
            let run = run_at(pace, sources.to_vec(), refresh, |guard, keys| {
                if guard == 2 {
                    ask.try_send(guard).unwrap();
                }
                delivered.send((guard, keys)).unwrap();
            });
            let collect = async {
                let mut all = Vec::new();
                while all.len() < count {
                    all.extend(deliveries.recv().await);
                }
                all
            };
            tokio::select! {
                () = run => panic!("it runs until it is dropped"),
                all = timeout(Duration::from_secs(30), collect) => all.unwrap(),
            }
        })
    }

    #[test]
    fn every_guard_of_a_url_gets_its_keys_by_one_request_and_over_redirects() {
        let redirect = answer("302 Found", "location: http://HERE/real\r\n", "");
        let (address, mut asked) = issuer(vec![redirect, answer("200 OK", "", KEYS)]);
        let url = format!("http://{address}/keys");
        let all = deliveries(quick(), &[(0, url.clone()), (1, url)], 2);
        assert_eq!(
            all.iter().map(|(guard, _)| *guard).collect::<Vec<_>>(),
            [0, 1]
        );
        assert!(all.iter().all(|(_, keys)| keys.len() == 1));
        assert_eq!(asked.try_recv().unwrap(), "/keys");
        assert_eq!(asked.try_recv().unwrap(), "/real");
    }

    #[test]
    fn an_issuer_that_fails_is_asked_again() {
        let too_long = format!("{}{KEYS}", " ".repeat(KEY_SET_BYTES_MAX));
        let (address, _asked) = issuer(vec![
            answer("503 Service Unavailable", "", ""),
            answer("204 No Content", "", ""),
            answer("200 OK", "", "<html>"),
            answer("200 OK", "", &too_long),
            "nonsense\r\n\r\n".into(),
            answer("200 OK", "", KEYS),
        ]);
        let all = deliveries(quick(), &[(0, format!("http://{address}/"))], 1);
        assert_eq!(all[0].1.len(), 1);
    }

    #[test]
    fn keys_are_fetched_again_when_the_answer_is_too_old() {
        let short = answer("200 OK", "cache-control: max-age=0\r\n", KEYS);
        let (address, _asked) = issuer(vec![short, answer("200 OK", "", KEYS)]);
        let all = deliveries(quick(), &[(0, format!("http://{address}/"))], 2);
        assert_eq!(all[0].1, all[1].1);
    }

    #[test]
    fn an_unknown_key_has_the_keys_fetched_early() {
        let (address, _asked) = issuer(vec![
            answer("200 OK", "", r#"{"keys":[]}"#),
            answer("200 OK", "", KEYS),
        ]);
        let all = deliveries(quick(), &[(2, format!("http://{address}/"))], 2);
        assert_eq!([all[0].1.len(), all[1].1.len()], [0, 1]);
    }

    #[test]
    fn redirects_end_and_never_leave_https() {
        let redirect = || answer("302 Found", "location: http://HERE/\r\n", "");
        let (address, _asked) = issuer((0..5).map(|_| redirect()).collect());
        let result = fetch(&format!("http://{address}/"));
        assert!(matches!(result, Err(FetchFault::Request(_))));
        assert!(agent("HTTPS://a/").config().https_only());
        assert!(!agent("http://a/").config().https_only());
    }

    #[test]
    fn the_log_has_no_secrets_of_a_url() {
        let shown = without_secrets("https://a:b@c:1/d@e?f#g");
        assert_eq!(shown, "https://c:1/d@e");
        assert_eq!(without_secrets("http://c"), "http://c");
        assert_eq!(without_secrets("x?y"), "x");
    }

    #[test]
    fn the_age_of_an_answer_is_read() {
        let seconds = |text: &str| max_age(text.as_bytes()).map(|age| age.as_secs());
        assert_eq!(seconds("public, Max-Age=\"60\", x"), Some(60));
        assert_eq!(seconds("s-maxage=1, max-age=2"), Some(2));
        for other in ["", "no-store", "max-age", "max-age=x", "max-age=-1"] {
            assert_eq!(seconds(other), None, "{other}");
        }
    }
}
