//! A small HTTP/1.1 client over plain sockets: what a case writes goes out byte by byte as it is, and what comes back
//! is read strictly (RFC 9112). An answer that is not well-formed fails the case.

use super::PATIENCE;
use std::fmt;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// Where to send requests; each goes over a connection of its own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Http {
    address: SocketAddr,
}

impl Http {
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self { address }
    }

    /// A new connection.
    ///
    /// # Panics
    /// It is refused.
    #[track_caller]
    pub(crate) fn connect(self) -> Connection {
        self.try_connect()
            .unwrap_or_else(|failure| panic!("connect to {}: {failure}", self.address))
    }

    pub(crate) fn try_connect(self) -> Result<Connection, Failure> {
        let stream = TcpStream::connect_timeout(&self.address, PATIENCE);
        let stream = stream.map_err(|error| Failure::Lost(error.to_string()))?;
        stream.set_nodelay(true).expect("a socket option");
        let input = Vec::new();
        Ok(Connection { stream, input })
    }

    /// Sends one request and reads its answer.
    ///
    /// # Panics
    /// There is no well-formed one.
    #[track_caller]
    pub(crate) fn request(
        self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&[u8]>,
    ) -> Response {
        self.try_request(method, path, headers, body)
            .unwrap_or_else(|failure| panic!("{method} {path}: {failure}"))
    }

    pub(crate) fn try_request(
        self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&[u8]>,
    ) -> Result<Response, Failure> {
        let mut connection = self.try_connect()?;
        connection.try_send(&request(method, path, headers, body))?;
        connection.receive(method)
    }

    #[track_caller]
    pub(crate) fn get(self, path: &str) -> Response {
        self.request("GET", path, &[], None)
    }

    /// A GET with `if-none-match`.
    #[track_caller]
    pub(crate) fn get_unless(self, path: &str, etag: &str) -> Response {
        self.request("GET", path, &[("if-none-match", etag)], None)
    }

    #[track_caller]
    pub(crate) fn put(self, path: &str, body: impl AsRef<[u8]>) -> Response {
        self.request("PUT", path, &[], Some(body.as_ref()))
    }

    #[track_caller]
    pub(crate) fn delete(self, path: &str) -> Response {
        self.request("DELETE", path, &[], None)
    }
}

/// The bytes of a request; `content-length` is added when there is a body.
pub(crate) fn request(
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: Option<&[u8]>,
) -> Vec<u8> {
    let mut bytes = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\n").into_bytes();
    for (name, value) in headers {
        bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
    if let Some(body) = body {
        bytes.extend_from_slice(format!("content-length: {}\r\n", body.len()).as_bytes());
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(body.unwrap_or_default());
    bytes
}

/// One answer.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    /// In order; names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Response {
    /// The value of a header.
    ///
    /// # Panics
    /// It is there more than once.
    #[track_caller]
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(n, _)| n == name);
        let value = values.next().map(|(_, value)| value.as_str());
        assert!(values.next().is_none(), "{name} twice: {self:?}");
        value
    }

    /// Asserts that this preference, and nothing else of the name, was applied (RFC 7240, section 3).
    #[track_caller]
    pub(crate) fn expect_applied(self, preference: &str) -> Self {
        let applied = self.header("preference-applied").unwrap_or_default();
        let mut applied = applied.split(',').map(str::trim);
        assert!(applied.any(|one| one == preference), "{self:?}");
        self
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Asserts the status, and shows the whole answer when it is another.
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{} {:?}", self.text(), self.headers);
        self
    }

    /// The etag.
    ///
    /// # Panics
    /// There is none, or it is not a quoted one (RFC 9110, section 8.8.3).
    #[track_caller]
    pub(crate) fn etag(&self) -> String {
        let etag = self
            .header("etag")
            .unwrap_or_else(|| panic!("no etag: {self:?}"));
        let inner = etag
            .strip_prefix('"')
            .and_then(|rest| rest.strip_suffix('"'));
        assert!(
            inner.is_some_and(|inner| !inner.is_empty() && !inner.contains('"')),
            "etag {etag} is not quoted"
        );
        etag.to_owned()
    }
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The peer closed the connection before the first byte of an answer.
    Closed,
    /// The connection broke, or ended within an answer.
    Lost(String),
    /// What came is not HTTP/1.1.
    Malformed(String),
    /// Nothing came in time.
    Silent,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("closed without an answer"),
            Self::Lost(what) => write!(f, "connection lost: {what}"),
            Self::Malformed(what) => write!(f, "malformed answer: {what}"),
            Self::Silent => write!(f, "no answer in {PATIENCE:?}"),
        }
    }
}

/// A connection, for exact bytes.
pub(crate) struct Connection {
    stream: TcpStream,
    /// Read and not yet used.
    input: Vec<u8>,
}

impl Connection {
    /// Writes exactly these bytes.
    ///
    /// # Panics
    /// The connection does not take them.
    #[track_caller]
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes.as_ref())
            .unwrap_or_else(|failure| panic!("send: {failure}"));
    }

    pub(crate) fn try_send(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.stream
            .set_write_timeout(Some(PATIENCE))
            .expect("a socket option");
        let written = self.stream.write_all(bytes);
        written.map_err(|error| Failure::Lost(error.to_string()))
    }

    /// Sends a body that the peer may refuse half way: writing and reading go on side by side.
    pub(crate) fn upload(&mut self, bytes: &[u8]) -> Result<Response, Failure> {
        let mut stream = self.stream.try_clone().expect("another handle");
        std::thread::scope(|scope| {
            // A refusal closes the connection under it: the answer is what counts.
            scope.spawn(move || drop(stream.write_all(bytes)));
            let answer = self.receive("PUT");
            if answer.is_err() {
                let _ = self.stream.shutdown(Shutdown::Both);
            }
            answer
        })
    }

    /// Says that no more will be sent.
    pub(crate) fn finish(&self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Reads the final answer to a request with this method; interim ones (1xx) are passed over.
    pub(crate) fn receive(&mut self, method: &str) -> Result<Response, Failure> {
        loop {
            let answer = self.receive_one(method)?;
            if answer.status >= 200 {
                return Ok(answer);
            }
        }
    }

    /// Reads the next answer, be it interim or final.
    pub(crate) fn receive_one(&mut self, method: &str) -> Result<Response, Failure> {
        let deadline = Instant::now() + PATIENCE;
        if self.input.is_empty() && self.read(deadline)? == 0 {
            return Err(Failure::Closed);
        }
        let status = status_line(&self.line(deadline)?)?;
        let headers = self.headers(deadline)?;
        let body = self.body(method, status, &headers, deadline)?;
        Ok(Response {
            status,
            headers,
            body,
        })
    }

    /// Reads the head of an answer whose body comes bit by bit.
    pub(crate) fn receive_head(&mut self) -> Result<(u16, Vec<(String, String)>), Failure> {
        let deadline = Instant::now() + PATIENCE;
        if self.input.is_empty() && self.read(deadline)? == 0 {
            return Err(Failure::Closed);
        }
        let status = status_line(&self.line(deadline)?)?;
        Ok((status, self.headers(deadline)?))
    }

    /// Reads one chunk of such a body, the last one being empty. Silence is no failure: what has come stays.
    pub(crate) fn receive_chunk(&mut self, patience: Duration) -> Result<Vec<u8>, Failure> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some((size, at)) = self.whole_chunk()? {
                let chunk = self.input[at..at + size].to_vec();
                self.input.drain(..at + size + 2);
                return Ok(chunk);
            }
            self.read_more(deadline)?;
        }
    }

    /// The size of the chunk that is read already, and where it begins.
    fn whole_chunk(&self) -> Result<Option<(usize, usize)>, Failure> {
        let Some(end) = self.input.windows(2).position(|pair| pair == b"\r\n") else {
            return Ok(None);
        };
        let digits = std::str::from_utf8(&self.input[..end]).unwrap_or_default();
        let Ok(size) = usize::from_str_radix(digits, 16) else {
            return malformed(&format!("chunk size {digits:?}"));
        };
        let at = end + 2;
        match self.input.get(at + size..at + size + 2) {
            None => Ok(None),
            Some(b"\r\n") => Ok(Some((size, at))),
            Some(_) => malformed("no line end after a chunk"),
        }
    }

    /// Asserts that the peer closes the connection and sends nothing more.
    #[track_caller]
    pub(crate) fn assert_closes(&mut self) {
        assert!(
            self.input.is_empty(),
            "left over: {:?}",
            String::from_utf8_lossy(&self.input)
        );
        match self.read(Instant::now() + PATIENCE) {
            Ok(0) | Err(Failure::Lost(_)) => {}
            Ok(_) => panic!(
                "more than expected: {:?}",
                String::from_utf8_lossy(&self.input)
            ),
            Err(failure) => panic!("it stays open: {failure}"),
        }
    }

    /// Everything until the peer closes; a reset is an end too.
    ///
    /// # Panics
    /// It does not close in time.
    #[track_caller]
    pub(crate) fn receive_all(&mut self) -> Vec<u8> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.read(deadline) {
                Ok(0) | Err(Failure::Lost(_)) => return std::mem::take(&mut self.input),
                Ok(_) => {}
                Err(failure) => panic!("it stays open: {failure}"),
            }
        }
    }

    fn headers(&mut self, deadline: Instant) -> Result<Vec<(String, String)>, Failure> {
        let mut headers = Vec::new();
        loop {
            let line = self.line(deadline)?;
            if line.is_empty() {
                return Ok(headers);
            }
            headers.push(header_line(&line)?);
        }
    }

    fn body(
        &mut self,
        method: &str,
        status: u16,
        headers: &[(String, String)],
        deadline: Instant,
    ) -> Result<Vec<u8>, Failure> {
        let all = |name: &str| -> Vec<String> {
            let named = headers.iter().filter(|(n, _)| n == name);
            named.map(|(_, value)| value.clone()).collect()
        };
        let (lengths, codings) = (all("content-length"), all("transfer-encoding"));
        let bodiless = method == "HEAD" || status < 200 || status == 204 || status == 304;
        if (status < 200 || status == 204) && !(lengths.is_empty() && codings.is_empty()) {
            return malformed("a body is announced where there is none (RFC 9110, section 8.6)");
        }
        match (&*lengths, &*codings) {
            _ if bodiless => Ok(Vec::new()),
            ([length], []) if length.bytes().all(|byte| byte.is_ascii_digit()) => {
                let length = length.parse().or_else(|_| malformed("content-length"))?;
                self.take(length, deadline)
            }
            ([], [coding]) if coding == "chunked" => self.chunked(deadline),
            ([], []) => loop {
                if self.read(deadline)? == 0 {
                    return Ok(std::mem::take(&mut self.input));
                }
            },
            _ => malformed(&format!("framing: {headers:?}")),
        }
    }

    fn chunked(&mut self, deadline: Instant) -> Result<Vec<u8>, Failure> {
        let mut body = Vec::new();
        loop {
            let line = self.line(deadline)?;
            let digits = !line.is_empty() && line.bytes().all(|byte| byte.is_ascii_hexdigit());
            let Some(size) = usize::from_str_radix(&line, 16).ok().filter(|_| digits) else {
                return malformed(&format!("chunk size {line:?}"));
            };
            if size == 0 {
                break;
            }
            body.extend(self.take(size, deadline)?);
            if !self.line(deadline)?.is_empty() {
                return malformed("no line end after a chunk");
            }
        }
        if self.line(deadline)?.is_empty() {
            return Ok(body);
        }
        malformed("trailers that nobody asked for")
    }

    fn line(&mut self, deadline: Instant) -> Result<String, Failure> {
        let mut searched = 0;
        loop {
            if let Some(at) = self.input[searched..]
                .iter()
                .position(|byte| *byte == b'\n')
            {
                let mut line: Vec<u8> = self.input.drain(..=searched + at).collect();
                line.pop();
                if line.pop() != Some(b'\r') || line.contains(&b'\r') {
                    return malformed("a line does not end in CR LF");
                }
                return String::from_utf8(line).or_else(|_| malformed("a head that is not text"));
            }
            searched = self.input.len();
            self.read_more(deadline)?;
        }
    }

    fn take(&mut self, count: usize, deadline: Instant) -> Result<Vec<u8>, Failure> {
        while self.input.len() < count {
            self.read_more(deadline)?;
        }
        Ok(self.input.drain(..count).collect())
    }

    fn read_more(&mut self, deadline: Instant) -> Result<(), Failure> {
        if self.read(deadline)? == 0 {
            let input = String::from_utf8_lossy(&self.input);
            return Err(Failure::Lost(format!("it ends after {input:?}")));
        }
        Ok(())
    }

    /// Reads what there is; 0 at the end.
    fn read(&mut self, deadline: Instant) -> Result<usize, Failure> {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = left.max(Duration::from_millis(1));
        self.stream
            .set_read_timeout(Some(left))
            .expect("a socket option");
        let mut bytes = vec![0; 64 << 10];
        match self.stream.read(&mut bytes) {
            Ok(count) => {
                self.input.extend_from_slice(&bytes[..count]);
                Ok(count)
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                Err(Failure::Silent)
            }
            Err(error) => Err(Failure::Lost(error.to_string())),
        }
    }
}

fn malformed<T>(what: &str) -> Result<T, Failure> {
    Err(Failure::Malformed(what.to_owned()))
}

fn status_line(line: &str) -> Result<u16, Failure> {
    let status = line
        .strip_prefix("HTTP/1.1 ")
        .and_then(|rest| rest.split_once(' '));
    match status {
        Some((code, _)) if code.len() == 3 && code.as_bytes()[0] != b'0' => code
            .parse()
            .or_else(|_| malformed(&format!("status {line:?}"))),
        _ => malformed(&format!("status line {line:?}")),
    }
}

fn header_line(line: &str) -> Result<(String, String), Failure> {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    match line.split_once(':') {
        Some((name, value)) if !name.is_empty() && name.bytes().all(is_token) => Ok((
            name.to_ascii_lowercase(),
            value.trim_matches([' ', '\t']).to_owned(),
        )),
        _ => malformed(&format!("header line {line:?}")),
    }
}
