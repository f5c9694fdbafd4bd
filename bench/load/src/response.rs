//! Just enough of an HTTP/1.1 response to know when it ends: a head, and a body of known length.

/// A response at the front of some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Response {
    pub status: u16,
    /// Head and body.
    pub bytes: usize,
}

/// The response at the front of `bytes`; `Ok(None)` while it is incomplete.
///
/// # Errors
///
/// When it is not one that this client understands.
pub fn parse(bytes: &[u8]) -> Result<Option<Response>, &'static str> {
    let Some(head_end) = memchr::memmem::find(bytes, b"\r\n\r\n") else {
        return Ok(None);
    };
    let head = std::str::from_utf8(&bytes[..head_end]).map_err(|_| "a head that is not text")?;
    let mut lines = head.split("\r\n");
    let status = lines
        .next()
        .and_then(|line| line.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok())
        .ok_or("no status line")?;
    let length = if status == 204 || status == 304 {
        Ok(0)
    } else {
        content_length(lines)
    };
    let bytes_total = head_end + 4 + length?;
    Ok((bytes.len() >= bytes_total).then_some(Response {
        status,
        bytes: bytes_total,
    }))
}

fn content_length<'a>(mut lines: impl Iterator<Item = &'a str>) -> Result<usize, &'static str> {
    let value = lines.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length")
            .then_some(value.trim())
    });
    value
        .and_then(|value| value.parse().ok())
        .ok_or("a body without a length")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_ends_where_its_length_says_and_not_before() {
        let whole = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcHTTP";
        for cut in 0..whole.len() - 4 {
            assert_eq!(parse(&whole[..cut]), Ok(None));
        }
        assert_eq!(
            parse(whole),
            Ok(Some(Response {
                status: 200,
                bytes: whole.len() - 4
            }))
        );
        assert_eq!(
            parse(b"HTTP/1.1 204 No Content\r\n\r\n"),
            Ok(Some(Response {
                status: 204,
                bytes: 27
            }))
        );
        assert!(parse(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
    }
}
