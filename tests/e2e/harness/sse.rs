//! A reader of event streams (HTML Living Standard, 9.2) over both versions of HTTP, which keeps every byte.

use super::PATIENCE;
use super::gateway::Gateway;
use super::h2::{Http2, Incoming, Piece};
use super::http::{Connection, Failure, Http, Response, request};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE;
use std::time::{Duration, Instant};

/// What stands between two blank lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Block {
    /// Its lines as they came, without the blank one.
    pub(crate) text: String,
}

impl Block {
    /// The value of the first line of this name.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.text.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            (key == name).then_some(value)
        })
    }

    /// Its id.
    ///
    /// # Panics
    /// It has none.
    #[track_caller]
    pub(crate) fn id(&self) -> &str {
        self.field("id")
            .unwrap_or_else(|| panic!("no id: {self:?}"))
    }

    /// What a script gets: the lines of `data`, joined; one space after the colon is not part of them.
    pub(crate) fn data(&self) -> String {
        let lines = self.text.lines();
        let data = lines.filter_map(|line| line.strip_prefix("data:"));
        let data: Vec<&str> = data
            .map(|line| line.strip_prefix(' ').unwrap_or(line))
            .collect();
        data.join("\n")
    }
}

/// How a stream ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// In order.
    Finished,
    /// Broken off.
    Cut(String),
}

enum Source {
    Http1(Connection),
    Http2(Incoming),
}

/// An event stream whose head was read.
pub(crate) struct Events {
    source: Source,
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    unread: Vec<u8>,
}

impl Events {
    /// Opens one over HTTP/1.1.
    ///
    /// # Panics
    /// It is not one.
    #[track_caller]
    pub(crate) fn open(http: Http, path: &str, headers: &[(&str, &str)]) -> Self {
        let mut connection = http.connect();
        connection.send(request("GET", path, headers, None));
        let head = connection.receive_head();
        let (status, headers) = head.unwrap_or_else(|failure| panic!("GET {path}: {failure}"));
        let chunked = ("transfer-encoding".to_owned(), "chunked".to_owned());
        assert!(headers.contains(&chunked), "{status} {headers:?}");
        Self::of(Source::Http1(connection), status, headers)
    }

    /// The stream that this answer is.
    ///
    /// # Panics
    /// It is none.
    #[track_caller]
    pub(crate) fn over_http2(incoming: Incoming) -> Self {
        let (status, headers) = (incoming.status, incoming.headers.clone());
        Self::of(Source::Http2(incoming), status, headers)
    }

    #[track_caller]
    fn of(source: Source, status: u16, headers: Vec<(String, String)>) -> Self {
        assert_eq!(status, 200, "{headers:?}");
        Self {
            source,
            status,
            headers,
            unread: Vec::new(),
        }
    }

    /// The value of a header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        let (_, value) = headers.find(|(n, _)| n == name)?;
        Some(value)
    }

    /// The next event; `retry` and comments, but for `: gap`, are passed over.
    ///
    /// # Panics
    /// There is none in time, or the stream ended.
    #[track_caller]
    pub(crate) fn next(&mut self) -> Block {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let block = match self.next_block(deadline) {
                Ok(Some(block)) => block,
                Ok(None) => panic!("no event in {PATIENCE:?}; unread {:?}", self.shown()),
                Err(end) => panic!("{end:?}; unread {:?}", self.shown()),
            };
            let is_event = block.text.starts_with(": gap")
                || !(block.text.starts_with("retry:") || block.text.starts_with(':'));
            if is_event {
                return block;
            }
        }
    }

    /// The next so many events.
    #[track_caller]
    pub(crate) fn take(&mut self, count: usize) -> Vec<Block> {
        (0..count).map(|_| self.next()).collect()
    }

    /// The data of the next so many events.
    #[track_caller]
    pub(crate) fn take_data(&mut self, count: usize) -> Vec<String> {
        self.take(count).iter().map(Block::data).collect()
    }

    /// The next block, whatever it is; `None` when there is none in time.
    ///
    /// # Errors
    /// The stream ended.
    pub(crate) fn next_block(&mut self, deadline: Instant) -> Result<Option<Block>, End> {
        loop {
            if let Some(at) = self.unread.windows(2).position(|pair| pair == b"\n\n") {
                let mut block: Vec<u8> = self.unread.drain(..at + 2).collect();
                block.truncate(at + 1);
                let text = String::from_utf8(block).expect("event streams are UTF-8");
                return Ok(Some(Block { text }));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || !self.read(left)? {
                return Ok(None);
            }
        }
    }

    /// What comes until the stream ends, and how it does.
    ///
    /// # Panics
    /// It does not end.
    #[track_caller]
    pub(crate) fn rest(&mut self) -> (Vec<Block>, End) {
        let deadline = Instant::now() + PATIENCE;
        let mut blocks = Vec::new();
        loop {
            match self.next_block(deadline) {
                Ok(Some(block)) => blocks.push(block),
                Ok(None) => panic!("it goes on after {blocks:?}"),
                Err(end) => {
                    assert!(self.unread.is_empty(), "half an event: {:?}", self.shown());
                    return (blocks, end);
                }
            }
        }
    }

    /// Reads some more; false when there is none in time.
    fn read(&mut self, patience: Duration) -> Result<bool, End> {
        let piece = match &mut self.source {
            Source::Http1(connection) => match connection.receive_chunk(patience) {
                Ok(piece) if piece.is_empty() => return Err(End::Finished),
                Ok(piece) => piece,
                Err(Failure::Silent) => return Ok(false),
                Err(failure) => return Err(End::Cut(failure.to_string())),
            },
            Source::Http2(incoming) => match incoming.next(patience) {
                Ok(Piece::Bytes(piece)) => piece.to_vec(),
                Ok(Piece::End) => return Err(End::Finished),
                Ok(Piece::Late) => return Ok(false),
                Err(error) => return Err(End::Cut(error.to_string())),
            },
        };
        self.unread.extend_from_slice(&piece);
        Ok(true)
    }

    fn shown(&self) -> String {
        String::from_utf8_lossy(&self.unread).into_owned()
    }
}

/// A version of HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Over {
    Http1,
    Http2,
}

impl Over {
    pub(crate) const BOTH: [Self; 2] = [Self::Http1, Self::Http2];

    /// Opens an event stream over a connection of its own.
    #[track_caller]
    pub(crate) fn open(self, gateway: &Gateway, path: &str, headers: &[(&str, &str)]) -> Events {
        match self {
            Self::Http1 => Events::open(gateway.http(), path, headers),
            Self::Http2 => {
                let client = Http2::connect(gateway.address());
                let pending = client.send("GET", path, headers, None).expect("a stream");
                Events::over_http2(pending.head().expect("an answer"))
            }
        }
    }

    /// Sends one request over a connection of its own and reads its answer.
    #[track_caller]
    pub(crate) fn request(
        self,
        gateway: &Gateway,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Response {
        match self {
            Self::Http1 => gateway.http().request(method, path, headers, None),
            Self::Http2 => Http2::connect(gateway.address()).request(method, path, headers, None),
        }
    }
}

/// The id of a client that has all below these offsets, partition by partition; -2: nothing (Zilla's progress: a tag,
/// the count and the pairs, each zig-zag and seven bits a byte, base64url).
pub(crate) fn progress(next_offsets: &[i64]) -> String {
    let mut bytes = vec![1];
    let mut put = |value: i64| {
        let mut left = (value.cast_unsigned() << 1) ^ (value >> 63).cast_unsigned();
        while left > 0x7f {
            bytes.push(u8::try_from(left & 0x7f).expect("seven bits") | 0x80);
            left >>= 7;
        }
        bytes.push(u8::try_from(left).expect("seven bits"));
    };
    put(i64::try_from(next_offsets.len()).expect("a few"));
    for (partition, offset) in (0..).zip(next_offsets) {
        put(partition);
        put(*offset);
    }
    URL_SAFE.encode(bytes)
}

mod tests {
    use super::progress;

    #[test]
    fn ids_are_as_zilla_writes_them() {
        assert_eq!(progress(&[100]), "AQIAyAE=");
        assert_eq!(progress(&[1, -2]), "AQQAAgID");
        assert_eq!(progress(&[70, 8192, 0]), "AQYAjAECgIABBAA=");
    }
}
