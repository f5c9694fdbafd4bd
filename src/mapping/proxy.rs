//! http clients: a request goes to another server as it came, but for what was about its connection (RFC 9110 7.6.1).

use std::sync::Arc;

use bytes::Bytes;

use super::request::Request;
use crate::config::HttpClient;
use crate::http::{Headers, Method, RequestHead, Scheme};

/// Headers that are about a connection and go no further (RFC 9110 7.6.1), beside those that `connection` names.
const OF_THE_CONNECTION: [&[u8]; 9] = [
    b"connection",
    b"expect",
    b"host",
    b"http2-settings",
    b"keep-alive",
    b"proxy-connection",
    b"te",
    b"transfer-encoding",
    b"upgrade",
];

/// A request for another server.
#[derive(Debug)]
pub struct ProxyRequest {
    /// Where it goes.
    pub client: Arc<HttpClient>,
    /// The method.
    pub method: Method,
    /// How the client reached us.
    pub scheme: Scheme,
    /// What the client called us.
    pub authority: Bytes,
    /// Path and query.
    pub target: Bytes,
    /// The other headers.
    pub headers: Headers,
}

impl ProxyRequest {
    pub(super) fn of(client: &Arc<HttpClient>, request: Request<'_>) -> Self {
        let head = request.head;
        let mut headers = forwarded(head.headers());
        if takes_trailers(head) {
            headers.push("te", "trailers");
        }
        for (name, value) in request.overrides.into_iter().flatten() {
            if !name.starts_with(':') {
                headers.set(name, value);
            }
        }
        let target = super::path_and_query(head);
        let overridden = |name: &str| request.overridden(name).map(str::as_bytes);
        let copy = Bytes::copy_from_slice;
        Self {
            client: Arc::clone(client),
            method: request
                .overridden(":method")
                .and_then(|method| Method::from_bytes(method.as_bytes()))
                .unwrap_or(head.method),
            scheme: match request.overridden(":scheme") {
                Some("https") => Scheme::Https,
                Some("http") => Scheme::Http,
                Some(_) | None => head.scheme,
            },
            authority: copy(overridden(":authority").unwrap_or(head.authority())),
            target: copy(overridden(":path").unwrap_or(target)),
            headers,
        }
    }
}

/// The headers of a message that go on to the next connection.
pub fn forwarded(headers: &Headers) -> Headers {
    let named: Vec<Vec<u8>> = headers
        .get_all("connection")
        .flat_map(|value| value.split(|byte| *byte == b','))
        .map(|name| name.trim_ascii().to_ascii_lowercase())
        .collect();
    let mut forwarded = Headers::new();
    for (name, value) in headers.iter() {
        let stays = OF_THE_CONNECTION.contains(&name) || named.iter().any(|other| other == name);
        if !stays {
            forwarded.push(name, value);
        }
    }
    forwarded
}

/// Whether the client says that it looks at what comes behind a body (RFC 9110 10.1.4); we do ourselves what it takes to pass that on.
fn takes_trailers(head: &RequestHead) -> bool {
    let mut values = head.headers().get_all("te");
    values.any(|value| {
        value
            .split(|byte| *byte == b',')
            .any(|part| part.trim_ascii().eq_ignore_ascii_case(b"trailers"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, HttpServer};
    use crate::http::Version;
    use crate::mapping::access::Anybody;
    use crate::mapping::http_kafka::Ids;
    use crate::mapping::{self, Resolved};

    const CONFIG: &str = "
name: example
bindings:
  north: {type: tcp, kind: server, options: {host: 0.0.0.0, port: 7114}, exit: http}
  http:
    type: http
    kind: server
    options: {overrides: {SERVER}}
    routes: [{with: {headers: {overrides: {ROUTE}}}, exit: web}]
  web: {type: http, kind: client, options: {overrides: {x-client: ignored}}, exit: tcp}
  tcp: {type: tcp, kind: client}
";

    fn server(overrides: &str, of_route: &str) -> Arc<HttpServer> {
        let nothing = config::Surroundings {
            env: &|_| None,
            directory: "".as_ref(),
            read_file: &|_| Err(std::io::ErrorKind::NotFound.into()),
        };
        let text = CONFIG
            .replace("SERVER", overrides)
            .replace("ROUTE", of_route);
        let plan = config::load("zilla.yaml", &text, &nothing).unwrap_or_else(|mistakes| {
            let lines: Vec<_> = mistakes.iter().map(ToString::to_string).collect();
            panic!("{}\n{text}", lines.join("\n"))
        });
        plan.http_servers()[&0].clone()
    }

    fn headers(list: &[(&str, &str)]) -> Headers {
        let mut headers = Headers::new();
        for (name, value) in list {
            headers.push(name, value);
        }
        headers
    }

    fn pairs(headers: &Headers) -> Vec<(&str, &str)> {
        let text = |bytes| str::from_utf8(bytes).unwrap();
        headers
            .iter()
            .map(|(name, value)| (text(name), text(value)))
            .collect()
    }

    /// A request over HTTPS to `example.com` with these headers.
    fn ask(
        server: &HttpServer,
        method: Method,
        target: &str,
        list: &[(&str, &str)],
    ) -> ProxyRequest {
        let head = RequestHead::new(
            method,
            Scheme::Https,
            Version::Http11,
            b"example.com",
            target.as_bytes(),
            headers(list),
        );
        let ids = Ids {
            fresh_key: &String::new,
            is_own: &|_| true,
        };
        match mapping::resolve(server, &head, None, ids, &Anybody).unwrap() {
            Resolved::Proxy(request) => *request,
            other => panic!("not for another server: {other:?}"),
        }
    }

    fn plain(list: &[(&str, &str)]) -> ProxyRequest {
        ask(&server("", ""), Method::Get, "/a?b=c", list)
    }

    #[test]
    fn a_request_goes_on_as_it_came() {
        let request = ask(
            &server("", ""),
            Method::Put,
            "/a%2fb;c?d=e&d=f",
            &[
                ("accept", "*/*"),
                ("a", "1"),
                ("b", ""),
                ("a", "2"),
                ("cookie", "x=y"),
            ],
        );
        assert_eq!(
            (request.method, request.scheme, &request.authority[..]),
            (Method::Put, Scheme::Https, &b"example.com"[..])
        );
        assert_eq!(request.target, "/a%2fb;c?d=e&d=f");
        assert_eq!(request.client.name, "web");
        assert_eq!(
            pairs(&request.headers),
            [
                ("accept", "*/*"),
                ("a", "1"),
                ("b", ""),
                ("a", "2"),
                ("cookie", "x=y")
            ]
        );
    }

    #[test]
    fn a_question_about_the_whole_server_stays_one() {
        let request = ask(&server("", ""), Method::Options, "*", &[]);
        assert_eq!(
            (request.method, &request.target[..]),
            (Method::Options, &b"*"[..])
        );
    }

    #[test]
    fn what_is_about_the_connection_goes_no_further() {
        let request = plain(&[
            ("host", "example.com"),
            ("connection", "keep-alive, X-Own ,upgrade"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "close"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("http2-settings", "AAMAAABkAAQAAP__"),
            ("x-own", "1"),
            ("x-other", "2"),
            ("connection", "x-second"),
            ("x-second", "3"),
            ("expect", "100-continue"),
            ("content-length", "5"),
        ]);
        assert_eq!(
            pairs(&request.headers),
            [("x-other", "2"), ("content-length", "5")]
        );
    }

    #[test]
    fn of_te_only_trailers_is_passed_on() {
        for (te, expected) in [
            (&["trailers"][..], true),
            (&["gzip;q=0.5, Trailers"], true),
            (&["gzip", "trailers"], true),
            (&["gzip"], false),
            (&["trailers-not"], false),
            (&[], false),
        ] {
            let list: Vec<_> = te.iter().map(|value| ("te", *value)).collect();
            let request = plain(&list);
            let expected: &[(&str, &str)] = if expected { &[("te", "trailers")] } else { &[] };
            assert_eq!(pairs(&request.headers), expected, "{te:?}");
        }
    }

    #[test]
    fn a_connection_may_name_te_too() {
        let request = plain(&[("te", "trailers"), ("connection", "te")]);
        assert_eq!(pairs(&request.headers), [("te", "trailers")]);
    }

    #[test]
    fn the_overrides_of_the_http_bindings_are_in_the_request() {
        let server = server(
            "':authority': elsewhere:1, X-Server: s, accept: text/plain",
            "':path': /other?x=y, x-route: r, x-server: t",
        );
        let request = ask(
            &server,
            Method::Get,
            "/a?b=c",
            &[("accept", "a/b"), ("z", "z"), ("accept", "c/d")],
        );
        assert_eq!(
            (&request.authority[..], &request.target[..]),
            (&b"elsewhere:1"[..], &b"/other?x=y"[..])
        );
        let mut found = pairs(&request.headers);
        found.sort_unstable();
        assert_eq!(
            found,
            [
                ("accept", "text/plain"),
                ("x-route", "r"),
                ("x-server", "t"),
                ("z", "z")
            ],
            "those of the client are put in when it is sent"
        );
    }

    #[test]
    fn method_and_scheme_may_be_overridden() {
        let server = server("':method': POST, ':scheme': http", "");
        let request = ask(&server, Method::Get, "/", &[]);
        assert_eq!(
            (request.method, request.scheme),
            (Method::Post, Scheme::Http)
        );
    }

    #[test]
    fn an_answer_leaves_its_connection_behind_too() {
        let answer = headers(&[
            ("connection", "close, x-hop"),
            ("x-hop", "1"),
            ("transfer-encoding", "chunked"),
            ("set-cookie", "a"),
            ("set-cookie", "b"),
            ("trailer", "x-sum"),
            ("www-authenticate", "Bearer"),
        ]);
        assert_eq!(
            pairs(&forwarded(&answer)),
            [
                ("set-cookie", "a"),
                ("set-cookie", "b"),
                ("trailer", "x-sum"),
                ("www-authenticate", "Bearer")
            ]
        );
    }
}
