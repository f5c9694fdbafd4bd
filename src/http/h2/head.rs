//! Heads between the `http` crate's types, which `h2` speaks, and ours.
//!
//! Rule: a request means the same whichever version it came in: repeated fields become one, as over HTTP/1.1 their last would count and here all do (RFC 9110 5.3).

use http::header::{
    CONNECTION, COOKIE, HOST, HeaderMap, HeaderName, HeaderValue, TE, TRANSFER_ENCODING, UPGRADE,
};
use http::{Response, StatusCode, request};

use crate::http::date::DATE_LEN;
use crate::http::{Headers, Method, RequestHead, ResponseHead, Scheme, Version};

/// A method that is none of RFC 9110's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownMethod;

/// The head of a request that came over a connection of this scheme.
///
/// # Errors
///
/// [`UnknownMethod`]: 501.
pub fn request_head(parts: &request::Parts, scheme: Scheme) -> Result<RequestHead, UnknownMethod> {
    let method = Method::from_bytes(parts.method.as_str().as_bytes()).ok_or(UnknownMethod)?;
    let mut headers = Headers::new();
    for name in parts.headers.keys() {
        push_joined(&mut headers, name, &parts.headers);
    }
    let host = parts.headers.get(HOST).map(HeaderValue::as_bytes);
    let authority = parts
        .uri
        .authority()
        .map(|authority| authority.as_str().as_bytes());
    let authority = authority.or(host).unwrap_or_default();
    let target = parts
        .uri
        .path_and_query()
        .map_or("/", http::uri::PathAndQuery::as_str);
    Ok(RequestHead::new(
        method,
        scheme,
        Version::Http2,
        authority,
        target.as_bytes(),
        headers,
    ))
}

/// Appends all fields of a name as one (RFC 9113 8.2.3 for cookies).
fn push_joined(headers: &mut Headers, name: &HeaderName, all: &HeaderMap) {
    let mut values = all.get_all(name).iter();
    let Some(first) = values.next() else {
        return;
    };
    let mut rest = values.peekable();
    if rest.peek().is_none() {
        return headers.push(name.as_str(), first.as_bytes());
    }
    let separator: &[u8] = if name == COOKIE { b"; " } else { b", " };
    let mut joined = first.as_bytes().to_vec();
    for value in rest {
        joined.extend_from_slice(separator);
        joined.extend_from_slice(value.as_bytes());
    }
    headers.push(name.as_str(), joined);
}

/// The head of an answer, with `date` and, if it is known, `content-length`; what HTTP/2 does not carry is left out (RFC 9113 8.2.2).
pub fn response(head: &ResponseHead, length: Option<u64>, date: &[u8; DATE_LEN]) -> Response<()> {
    let mut response = Response::new(());
    // Statuses of ours and of replies are 200 to 999.
    *response.status_mut() = StatusCode::from_u16(head.status).unwrap_or(StatusCode::BAD_GATEWAY);
    let headers = response.headers_mut();
    for (name, value) in head.headers.iter() {
        if let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(name), HeaderValue::from_bytes(value))
            && is_carried(&name)
        {
            headers.append(name, value);
        }
    }
    if let Ok(date) = HeaderValue::from_bytes(date) {
        headers.insert(http::header::DATE, date);
    }
    if let Some(length) = length {
        headers.insert(http::header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    response
}

/// Fields behind an answer; those that a client of HTTP/2 must not be sent are left out.
pub fn trailers(fields: &Headers) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    for (name, value) in fields.iter() {
        if let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(name), HeaderValue::from_bytes(value))
            && is_carried(&name)
        {
            trailers.append(name, value);
        }
    }
    trailers
}

fn is_carried(name: &HeaderName) -> bool {
    let of_the_connection = [CONNECTION, TRANSFER_ENCODING, UPGRADE, TE];
    !of_the_connection.contains(name)
        && !matches!(
            name.as_str(),
            "keep-alive" | "proxy-connection" | "content-length"
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(builder: request::Builder) -> request::Parts {
        builder.body(()).unwrap().into_parts().0
    }

    #[test]
    fn a_request_has_the_path_as_sent_and_repeated_fields_as_one() {
        let request = http::Request::builder()
            .method("PUT")
            .uri("https://example.com/items/a%20b?x=1")
            .header("accept", "a")
            .header("cookie", "a=1")
            .header("accept", "b")
            .header("cookie", "b=2");
        let head = request_head(&parts(request), Scheme::Https).unwrap();
        assert_eq!((head.method, head.version), (Method::Put, Version::Http2));
        assert_eq!(head.target(), b"/items/a%20b?x=1");
        assert_eq!(head.authority(), b"example.com");
        assert_eq!(head.headers().get("accept"), Some(&b"a, b"[..]));
        assert_eq!(head.headers().get("cookie"), Some(&b"a=1; b=2"[..]));
    }

    #[test]
    fn without_authority_the_host_counts_and_an_unknown_method_is_refused() {
        let request = http::Request::builder().uri("/").header("host", "a:1");
        assert_eq!(
            request_head(&parts(request), Scheme::Http)
                .unwrap()
                .authority(),
            b"a:1"
        );
        let request = http::Request::builder().method("BREW").uri("/");
        assert_eq!(
            request_head(&parts(request), Scheme::Http).unwrap_err(),
            UnknownMethod
        );
    }

    #[test]
    fn an_answer_carries_nothing_of_a_connection() {
        let head = ResponseHead::new(201)
            .with("connection", "close")
            .with("x-a", "1")
            .with("x-a", "2");
        let response = response(&head, Some(3), &[b'd'; DATE_LEN]);
        assert_eq!(response.status(), 201);
        assert_eq!(response.headers().get_all("x-a").iter().count(), 2);
        assert!(response.headers().get("connection").is_none());
        assert_eq!(response.headers()["content-length"], "3");
    }
}
