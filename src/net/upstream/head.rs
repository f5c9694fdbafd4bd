//! Heads of outgoing requests and their answers, between our types and the `http` crate's.
//!
//! Rule: how a message is framed is the connection's to say, so a header of the caller's that speaks of it is left out.

use http::header::{
    CONNECTION, CONTENT_LENGTH, HOST, HeaderMap, HeaderName, HeaderValue, TE, TRANSFER_ENCODING,
    UPGRADE,
};
use http::uri::{Authority, PathAndQuery, Uri};
use http::{Method as HttpMethod, Request, Version as HttpVersion};

use super::{Origin, UpstreamRequest};
use crate::config::HttpClient;
use crate::http::{Headers, Method, ResponseHead, Scheme};

/// Applies what the configuration puts into every request.
pub(super) fn override_with(request: &mut UpstreamRequest, overrides: &[(String, String)]) {
    for (name, value) in overrides {
        let bytes = || bytes::Bytes::copy_from_slice(value.as_bytes());
        match name.as_str() {
            ":authority" => request.authority = bytes(),
            ":path" => request.target = bytes(),
            ":method" => {
                // Checked with the configuration; one that is unknown changes nothing.
                request.method = Method::from_bytes(value.as_bytes()).unwrap_or(request.method);
            }
            ":scheme" => {
                request.scheme = match value.as_str() {
                    "https" => Scheme::Https,
                    _ => Scheme::Http,
                }
            }
            _ => request.headers.set(name, value),
        }
    }
}

/// Where a request goes; `None`: its authority is none, and it would be needed.
pub(super) fn origin(request: &UpstreamRequest, plan: &HttpClient) -> Option<Origin> {
    let authority = Authority::try_from(&*request.authority).ok();
    let host = match &plan.tcp.host {
        Some(host) => host.clone(),
        None => authority.as_ref()?.host().to_ascii_lowercase(),
    };
    if host.is_empty() {
        return None;
    }
    let own = plan.tcp.port;
    let port = own.or_else(|| authority?.port_u16());
    let usual = if plan.tls.is_some() { 443 } else { 80 };
    Some(Origin {
        host,
        port: port.unwrap_or(usual),
    })
}

/// The head as HTTP/2 sends it; `None`: it cannot be written.
pub(super) fn http2(request: &UpstreamRequest, has_body: bool) -> Option<Request<()>> {
    let path = path(request)?;
    let uri = Uri::builder()
        .scheme(request.scheme.as_str())
        .authority(Authority::try_from(&*request.authority).ok()?)
        .path_and_query(path)
        .build()
        .ok()?;
    let mut head = Request::new(());
    *head.version_mut() = HttpVersion::HTTP_2;
    *head.method_mut() = method(request.method);
    *head.uri_mut() = uri;
    *head.headers_mut() = headers(request, has_body)?;
    Some(head)
}

/// The head as HTTP/1.1 sends it; `None`: it cannot be written.
pub(super) fn http1(request: &UpstreamRequest, has_body: bool) -> Option<Request<()>> {
    let mut head = Request::new(());
    *head.method_mut() = method(request.method);
    *head.uri_mut() = Uri::from(path(request)?);
    *head.headers_mut() = headers(request, has_body)?;
    let host = HeaderValue::from_bytes(&request.authority).ok()?;
    // RFC 9112 3.2: always there; first, as RFC 9110 7.2 asks for, is hyper's to write.
    head.headers_mut().insert(HOST, host);
    if has_body && !head.headers().contains_key(CONTENT_LENGTH) {
        // In chunks, also with methods of which hyper would expect no body.
        let chunked = HeaderValue::from_static("chunked");
        head.headers_mut().insert(TRANSFER_ENCODING, chunked);
    }
    Some(head)
}

fn path(request: &UpstreamRequest) -> Option<PathAndQuery> {
    // RFC 9110 9.3.6: a tunnel has no path, and tunnels are not ours to open.
    if request.method == Method::Connect {
        return None;
    }
    PathAndQuery::try_from(&*request.target).ok()
}

fn method(method: Method) -> HttpMethod {
    match method {
        Method::Get => HttpMethod::GET,
        Method::Head => HttpMethod::HEAD,
        Method::Post => HttpMethod::POST,
        Method::Put => HttpMethod::PUT,
        Method::Patch => HttpMethod::PATCH,
        Method::Delete => HttpMethod::DELETE,
        Method::Options => HttpMethod::OPTIONS,
        Method::Trace => HttpMethod::TRACE,
        Method::Connect => HttpMethod::CONNECT,
    }
}

/// What both versions carry.
fn headers(request: &UpstreamRequest, has_body: bool) -> Option<HeaderMap> {
    let mut headers = HeaderMap::try_with_capacity(request.headers.len()).ok()?;
    for (name, value) in request.headers.iter() {
        let name = HeaderName::from_bytes(name).ok()?;
        if is_carried(&name, value) {
            let value = HeaderValue::from_bytes(value).ok()?;
            headers.try_append(name, value).ok()?;
        }
    }
    if let Some(length) = length(request, has_body) {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    Some(headers)
}

/// Everything but what is about one connection (RFC 9113 8.2.2), and the length.
fn is_carried(name: &HeaderName, value: &[u8]) -> bool {
    if name == TE {
        return value.eq_ignore_ascii_case(b"trailers");
    }
    let of_the_connection = [CONNECTION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING, UPGRADE];
    !of_the_connection.contains(name) && !matches!(name.as_str(), "keep-alive" | "proxy-connection")
}

/// The length that the request tells. Two that differ, or one without a body, would have the server wait or be led astray: none then.
fn length(request: &UpstreamRequest, has_body: bool) -> Option<u64> {
    if !has_body {
        // RFC 9110 8.6.
        let is_expected = matches!(request.method, Method::Post | Method::Put | Method::Patch);
        return is_expected.then_some(0);
    }
    let mut told = request.headers.get_all("content-length");
    let first = told.next()?;
    if told.any(|other| other != first) || !first.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(first).ok()?.parse().ok()
}

/// The head of an answer.
pub(super) fn response(status: u16, headers: &HeaderMap) -> ResponseHead {
    ResponseHead {
        status,
        headers: fields(headers),
    }
}

/// Headers or trailers; the fields of one name come together, in their order.
pub(super) fn fields(map: &HeaderMap) -> Headers {
    let mut headers = Headers::new();
    for (name, value) in map {
        headers.push(name.as_str(), value.as_bytes());
    }
    headers
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn request(method: Method, headers: &[(&str, &str)]) -> UpstreamRequest {
        let mut list = Headers::new();
        for (name, value) in headers {
            list.push(name, value);
        }
        UpstreamRequest {
            method,
            scheme: Scheme::Https,
            authority: Bytes::from_static(b"a.test:8443"),
            target: Bytes::from_static(b"/a?b=c"),
            headers: list,
        }
    }

    fn names(head: &Request<()>) -> Vec<&str> {
        head.headers().keys().map(HeaderName::as_str).collect()
    }

    #[test]
    fn what_is_about_one_connection_is_left_out_and_trailers_may_be_asked_for() {
        let request = request(
            Method::Post,
            &[
                ("connection", "close"),
                ("transfer-encoding", "gzip"),
                ("host", "b.test"),
                ("te", "trailers"),
                ("x", "1"),
            ],
        );
        let head = http2(&request, true).unwrap();
        assert_eq!(names(&head), ["te", "x"]);
        assert_eq!(head.uri(), "https://a.test:8443/a?b=c");
        let head = http1(&request, true).unwrap();
        assert_eq!(names(&head), ["te", "x", "host", "transfer-encoding"]);
        assert_eq!(head.headers()[TRANSFER_ENCODING], "chunked");
        assert_eq!(head.headers()[HOST], "a.test:8443");
        assert_eq!(head.uri(), "/a?b=c");
    }

    #[test]
    fn a_length_is_told_only_if_it_can_be_true() {
        let sent = |method, has_body, told: &[&str]| {
            let headers: Vec<_> = told.iter().map(|one| ("content-length", *one)).collect();
            length(&request(method, &headers), has_body)
        };
        assert_eq!(sent(Method::Post, true, &["5"]), Some(5));
        assert_eq!(sent(Method::Post, true, &["5", "5"]), Some(5));
        assert_eq!(sent(Method::Post, true, &["5", "6"]), None);
        assert_eq!(sent(Method::Post, true, &["+5"]), None);
        assert_eq!(sent(Method::Post, false, &["5"]), Some(0));
        assert_eq!(sent(Method::Get, false, &["5"]), None);
    }

    #[test]
    fn overrides_replace_also_what_a_request_goes_to() {
        let mut request = request(Method::Get, &[("x", "1")]);
        let overrides = [(":authority", "b.test"), (":path", "/b"), ("x", "2")];
        let overrides = overrides.map(|(name, value)| (name.to_owned(), value.to_owned()));
        override_with(&mut request, &overrides);
        assert_eq!(request.headers.get("x"), Some(&b"2"[..]));
        assert_eq!(http2(&request, false).unwrap().uri(), "https://b.test/b");
        request.target = Bytes::from_static(b"/\x00");
        assert!(http2(&request, false).is_none());
    }
}
