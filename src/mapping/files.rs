//! http-filesystem: a request becomes the name of a file, and a file becomes an answer. Read only: GET and HEAD.
//!
//! Rule: a name never leaves the directory. Here it is checked as text; that links do not lead out either is the kernel's to see to when the file is opened.

use std::path::PathBuf;

use bytes::Bytes;

use super::access::{Access, select};
use super::http_kafka::fetch::Answer;
use super::request::{Request, RequestScope};
use crate::config::{FilesystemWhen, HttpFilesystem};
use crate::error::RequestError;
use crate::http::{Body, ResponseHead};
use crate::route::{MethodPattern, Params};

/// A request for a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileRequest {
    /// The directory.
    pub directory: PathBuf,
    /// The file below it: no empty part, no `.` or `..`, no leading or trailing `/`.
    pub path: String,
    /// Whether symbolic links that stay in the directory are followed.
    pub follows_links: bool,
    /// Only the head is asked for.
    pub is_head: bool,
    if_none_match: Vec<Vec<u8>>,
}

/// What is known of a file that is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileFacts {
    /// Its length, bytes.
    pub length: u64,
    /// Its number in the file system.
    pub inode: u64,
    /// When it was last written, nanoseconds since 1970.
    pub modified_ns: i128,
}

impl FileRequest {
    /// The head of the answer; 304 when the client has the file already.
    pub fn head(&self, facts: &FileFacts) -> ResponseHead {
        let etag = etag(facts);
        let is_known = |line: &Vec<u8>| {
            line.split(|byte| *byte == b',').any(|tag| {
                let tag = tag.trim_ascii();
                tag == b"*" || tag.strip_prefix(b"W/").unwrap_or(tag) == etag.as_bytes()
            })
        };
        if self.if_none_match.iter().any(is_known) {
            return ResponseHead::new(304).with("etag", etag);
        }
        ResponseHead::new(200)
            .with("content-type", content_type(&self.path))
            .with("etag", etag)
            // Kept, but asked for again each time: then it costs a 304.
            .with("cache-control", "no-cache")
            .with("x-content-type-options", "nosniff")
    }

    /// The answer with all of the file.
    pub fn answer(&self, head: ResponseHead, content: Bytes) -> Answer {
        let body = if content.is_empty() {
            Body::Empty
        } else {
            Body::Full(content)
        };
        Answer { head, body }
    }
}

/// Changes whenever the file does: made of its number, length and time, not of its content, which would have to be read for each 304.
fn etag(facts: &FileFacts) -> String {
    format!(
        "\"{:x}-{:x}-{:x}\"",
        facts.inode, facts.length, facts.modified_ns
    )
}

/// Finds the route of a request to an `http-filesystem` proxy, and the file.
///
/// # Errors
///
/// [`RequestError::NoRoute`], [`RequestError::MethodNotAllowed`], [`RequestError::NotFound`] for a name that no file can have, and what `access` says.
pub(super) fn resolve(
    binding: &HttpFilesystem,
    request: Request<'_>,
    access: &dyn Access,
) -> Result<FileRequest, RequestError> {
    let (route, params) = select(&binding.routes, request, access, |route| {
        if route.when.is_empty() {
            return Some(Params::NONE);
        }
        route
            .when
            .iter()
            .find_map(|when| matches_when(when, request))
    })?;
    if !matches!(request.method(), "GET" | "HEAD") {
        return Err(RequestError::MethodNotAllowed { allow: "GET, HEAD" });
    }
    let scope = RequestScope::of_read(request, params, access);
    let path = route.path.render(&scope).map_err(RequestError::Missing)?;
    Ok(FileRequest {
        directory: route.exit.location.clone(),
        path: checked_bytes(path).ok_or(RequestError::NotFound)?,
        follows_links: route.exit.follows_links,
        is_head: request.method() == "HEAD",
        if_none_match: request
            .head
            .headers()
            .get_all("if-none-match")
            .map(<[u8]>::to_vec)
            .collect(),
    })
}

fn matches_when<'p>(when: &'p FilesystemWhen, request: Request<'p>) -> Option<Params<'p>> {
    let is_method = |method: &MethodPattern| {
        // Whoever may GET may HEAD (RFC 9110 9.3.2).
        method.matches(request.method()) || (request.method() == "HEAD" && method.matches("GET"))
    };
    if !when.method.as_ref().is_none_or(is_method) {
        return None;
    }
    match &when.path {
        Some(path) => path.matches(request.path()),
        None => Some(Params::NONE),
    }
}

/// The name, unless it could mean anything but a file below the directory.
fn checked_bytes(path: Vec<u8>) -> Option<String> {
    let path = String::from_utf8(path).ok()?;
    let path = path.strip_prefix('/').unwrap_or(&path);
    let is_name = |part: &str| {
        !matches!(part, "" | "." | "..") && !part.bytes().any(|byte| byte == 0 || byte == b'\\')
    };
    path.split('/').all(is_name).then(|| path.to_owned())
}

/// The type that a name stands for, by its last extension.
fn content_type(path: &str) -> &'static str {
    let name = path.rsplit('/').next().unwrap_or(path);
    let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
    match extension.to_ascii_lowercase().as_str() {
        "html" | "htm" => "text/html; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "json" | "map" => "application/json",
        "txt" | "md" => "text/plain; charset=utf-8",
        "csv" => "text/csv; charset=utf-8",
        "xml" => "application/xml",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "webp" => "image/webp",
        "ico" => "image/x-icon",
        "pdf" => "application/pdf",
        "wasm" => "application/wasm",
        "woff2" => "font/woff2",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_could_lead_out_of_the_directory_is_none() {
        let checked = |path: &str| checked_bytes(path.as_bytes().to_vec());
        assert_eq!(checked("a/b.html").as_deref(), Some("a/b.html"));
        assert_eq!(checked("/a").as_deref(), Some("a"));
        assert_eq!(checked("..a/.b").as_deref(), Some("..a/.b"));
        for path in [
            "", "/", "a/", "a//b", "..", "../a", "a/../b", "./a", "a/.", "a\0b", "a\\..\\b", "//a",
        ] {
            assert_eq!(checked(path), None, "{path:?}");
        }
        assert_eq!(checked_bytes(vec![0xff]), None);
    }

    #[test]
    fn the_type_follows_the_last_extension() {
        assert_eq!(content_type("a.b/c.HTML"), "text/html; charset=utf-8");
        assert_eq!(content_type("a.js/c"), "application/octet-stream");
        assert_eq!(content_type("app.min.js"), "text/javascript; charset=utf-8");
    }

    #[test]
    fn a_client_that_has_the_file_is_told_so() {
        let facts = FileFacts {
            length: 16,
            inode: 10,
            modified_ns: 255,
        };
        let status = |tags: &[&str]| {
            let request = FileRequest {
                directory: PathBuf::new(),
                path: "a.txt".into(),
                follows_links: false,
                is_head: false,
                if_none_match: tags.iter().map(|tag| tag.as_bytes().to_vec()).collect(),
            };
            request.head(&facts).status
        };
        assert_eq!(status(&[]), 200);
        assert_eq!(status(&["\"a-10-fe\""]), 200);
        for tags in [
            &["\"x\", \"a-10-ff\""][..],
            &["\"x\"", "W/\"a-10-ff\""],
            &["*"],
        ] {
            assert_eq!(status(tags), 304, "{tags:?}");
        }
    }
}
