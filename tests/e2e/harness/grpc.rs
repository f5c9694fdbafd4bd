//! A gRPC client of frames (gRPC over HTTP/2), for what clients of libraries never send: a case says what every DATA frame
//! holds, and sees what came as it came.
//!
//! One rule: what is not framed as the protocol says fails the case.

use super::PATIENCE;
use super::h2::{Http2, Incoming, Pending, Piece};
use bytes::Bytes;
use flate2::Compression;
use flate2::read::{GzDecoder, GzEncoder};
use h2::SendStream;
use std::io::Read;
use std::net::SocketAddr;

/// The service of `tools/grpc/protos/echo.proto`.
pub(crate) const ECHO: &str = "grpc.examples.echo.Echo";

/// A message of one text, `EchoRequest` or `EchoResponse`; the empty text is no bytes at all.
pub(crate) fn said(text: &str) -> Vec<u8> {
    if text.is_empty() {
        return Vec::new();
    }
    let mut message = vec![0x0a];
    let mut left = text.len();
    while left > 0x7f {
        message.push(u8::try_from(left & 0x7f).expect("seven bits") | 0x80);
        left >>= 7;
    }
    message.push(u8::try_from(left).expect("seven bits"));
    message.extend_from_slice(text.as_bytes());
    message
}

/// A message as it goes over the wire.
pub(crate) fn framed(message: &[u8]) -> Vec<u8> {
    flagged(0, message)
}

/// A message as it goes over the wire, compressed.
pub(crate) fn gzipped(message: &[u8]) -> Vec<u8> {
    let mut gzip = Vec::new();
    let mut encoder = GzEncoder::new(message, Compression::default());
    encoder.read_to_end(&mut gzip).expect("memory");
    flagged(1, &gzip)
}

/// A frame of this flag.
pub(crate) fn flagged(flag: u8, bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).expect("a small message");
    [&[flag][..], &length.to_be_bytes(), bytes].concat()
}

/// Takes the first frame out of what has come: its flag and content.
pub(crate) fn take_frame(bytes: &mut Vec<u8>) -> Option<(u8, Vec<u8>)> {
    let length = u32::from_be_bytes(bytes.get(1..5)?.try_into().expect("four bytes"));
    let end = 5 + usize::try_from(length).expect("a small message");
    if bytes.len() < end {
        return None;
    }
    let rest = bytes.split_off(end);
    let frame = std::mem::replace(bytes, rest);
    Some((frame[0], frame[5..].to_vec()))
}

/// A client of Echo, over one connection.
pub(crate) struct Grpc {
    http: Http2,
}

impl Grpc {
    #[track_caller]
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let http = Http2::connect(address);
        Self { http }
    }

    /// The connection.
    pub(crate) fn http(&self) -> &Http2 {
        &self.http
    }

    /// A call of Echo with one message.
    #[track_caller]
    pub(crate) fn unary(&self, text: &str, headers: &[(&str, &str)]) -> Answer {
        self.call("UnaryEcho", headers, &[&framed(&said(text))])
    }

    /// A call of Echo: each piece is a DATA frame of its own.
    #[track_caller]
    pub(crate) fn call(&self, method: &str, headers: &[(&str, &str)], pieces: &[&[u8]]) -> Answer {
        let mut stream = self.begin(method, headers);
        for piece in pieces {
            stream.send(piece);
        }
        stream.finish();
        stream.end()
    }

    /// Begins a call of Echo.
    #[track_caller]
    pub(crate) fn begin(&self, method: &str, headers: &[(&str, &str)]) -> Stream {
        self.begin_at(&format!("/{ECHO}/{method}"), headers)
    }

    /// Begins a call at a path.
    #[track_caller]
    pub(crate) fn begin_at(&self, path: &str, headers: &[(&str, &str)]) -> Stream {
        let mut all = vec![("content-type", "application/grpc"), ("te", "trailers")];
        all.extend(headers);
        let begun = self.http.begin("POST", path, &all, false);
        let (pending, upload) = begun.unwrap_or_else(|error| panic!("{path}: {error}"));
        Stream {
            upload,
            pending: Some(pending),
            incoming: None,
            read: Vec::new(),
        }
    }
}

/// A call under way.
pub(crate) struct Stream {
    upload: SendStream<Bytes>,
    pending: Option<Pending>,
    incoming: Option<Incoming>,
    read: Vec<u8>,
}

impl Stream {
    /// Sends these bytes as one DATA frame.
    #[track_caller]
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        let bytes = Bytes::copy_from_slice(bytes);
        self.upload.send_data(bytes, false).expect("an open stream");
    }

    /// Sends a message of one text.
    #[track_caller]
    pub(crate) fn say(&mut self, text: &str) {
        self.send(&framed(&said(text)));
    }

    /// There is no more.
    #[track_caller]
    pub(crate) fn finish(&mut self) {
        let end = self.upload.send_data(Bytes::new(), true);
        end.expect("an open stream");
    }

    /// Takes the call back (`CANCEL`).
    pub(crate) fn cancel(mut self) {
        self.upload.send_reset(h2::Reason::CANCEL);
    }

    #[track_caller]
    fn incoming(&mut self) -> &mut Incoming {
        if let Some(pending) = self.pending.take() {
            self.incoming = Some(pending.head().expect("a head"));
        }
        self.incoming.as_mut().expect("it has begun")
    }

    /// The headers that the answer began with.
    #[track_caller]
    pub(crate) fn headers(&mut self) -> Vec<(String, String)> {
        self.incoming().headers.clone()
    }

    /// The next message; `None`: there is no more.
    #[track_caller]
    pub(crate) fn next(&mut self) -> Option<Vec<u8>> {
        loop {
            if let Some((flag, content)) = take_frame(&mut self.read) {
                return Some(match flag {
                    0 => content,
                    1 => inflated(&content),
                    other => panic!("flag {other}"),
                });
            }
            match self.incoming().next(PATIENCE).expect("a piece") {
                Piece::Bytes(bytes) => self.read.extend_from_slice(&bytes),
                Piece::End => {
                    assert!(self.read.is_empty(), "cut off: {:?}", self.read);
                    return None;
                }
                Piece::Late => panic!("nothing came in {PATIENCE:?}"),
            }
        }
    }

    /// Reads all that is left.
    #[track_caller]
    pub(crate) fn end(mut self) -> Answer {
        let mut messages = Vec::new();
        while let Some(message) = self.next() {
            messages.push(message);
        }
        let incoming = self.incoming();
        Answer {
            trailers: incoming.trailers().expect("trailers"),
            status: incoming.status,
            headers: incoming.headers.clone(),
            messages,
        }
    }
}

fn inflated(gzip: &[u8]) -> Vec<u8> {
    let mut message = Vec::new();
    let mut decoder = GzDecoder::new(gzip);
    decoder.read_to_end(&mut message).expect("gzip");
    message
}

/// What came of a call.
#[derive(Debug)]
pub(crate) struct Answer {
    /// Of HTTP.
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) messages: Vec<Vec<u8>>,
    pub(crate) trailers: Vec<(String, String)>,
}

impl Answer {
    /// The value of a header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }

    /// The value of a trailer; of an answer that is nothing but a head, they are there.
    pub(crate) fn trailer(&self, name: &str) -> Option<&str> {
        if self.trailers.is_empty() {
            find(&self.headers, name)
        } else {
            find(&self.trailers, name)
        }
    }

    /// Asserts how the call ended.
    #[track_caller]
    pub(crate) fn expect(self, code: u16) -> Self {
        let code = code.to_string();
        assert_eq!(self.status, 200, "{self:?}");
        assert_eq!(self.trailer("grpc-status"), Some(&*code), "{self:?}");
        self
    }

    /// Asserts that it went well, with these texts.
    #[track_caller]
    pub(crate) fn expect_texts(self, texts: &[&str]) -> Self {
        let answer = self.expect(0);
        let wanted: Vec<_> = texts.iter().map(|text| said(text)).collect();
        assert_eq!(answer.messages, wanted, "{answer:?}");
        // Whoever has anything to say says the status behind it, and only there.
        assert_eq!(answer.header("grpc-status"), None, "{answer:?}");
        answer
    }
}

/// The value of a field.
///
/// # Panics
/// It is there more than once.
#[track_caller]
pub(crate) fn find<'f>(fields: &'f [(String, String)], name: &str) -> Option<&'f str> {
    let mut found = fields.iter().filter(|(other, _)| other == name);
    let value = found.next().map(|(_, value)| value.as_str());
    assert!(found.next().is_none(), "{name} twice: {fields:?}");
    value
}
