//! An HTTP/2 client over the `h2` crate, over plain sockets (prior knowledge) and TLS, for cases that block.
//!
//! One thread drives all connections of the process; a case waits for what it asks.

use super::PATIENCE;
use super::http::Response;
use bytes::Bytes;
use h2::client::{Builder, SendRequest};
use h2::{RecvStream, SendStream};
use http::Request;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::sync::watch;

/// Runs a future to its end, on the thread of all HTTP/2 clients as far as sockets are concerned.
///
/// # Panics
/// It takes longer than [`PATIENCE`].
#[track_caller]
pub(crate) fn wait<F: Future>(what: &str, future: F) -> F::Output {
    let done = runtime().block_on(async { tokio::time::timeout(PATIENCE, future).await });
    done.unwrap_or_else(|_| panic!("waited {PATIENCE:?} in vain: {what}"))
}

fn runtime() -> &'static Handle {
    static RUNTIME: OnceLock<Handle> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let handle = runtime.handle().clone();
        thread::spawn(move || runtime.block_on(std::future::pending::<()>()));
        handle
    })
}

/// How a connection ended.
pub(crate) type Ending = Option<Result<(), String>>;

/// A connection.
pub(crate) struct Http2 {
    sender: SendRequest<Bytes>,
    origin: String,
    ending: watch::Receiver<Ending>,
}

impl Http2 {
    /// A connection to a port without TLS.
    #[track_caller]
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self::connect_with(address, None, &Builder::new())
    }

    /// A connection over TLS, to `localhost`.
    #[track_caller]
    pub(crate) fn secure(address: SocketAddr, config: &Arc<ClientConfig>) -> Self {
        Self::connect_with(address, Some(config), &Builder::new())
    }

    /// A connection with settings of its own.
    #[track_caller]
    pub(crate) fn connect_with(
        address: SocketAddr,
        tls: Option<&Arc<ClientConfig>>,
        builder: &Builder,
    ) -> Self {
        let (told, ending) = watch::channel(None);
        let sender = wait("an HTTP/2 connection", async {
            let stream = TcpStream::connect(address).await.expect("a connection");
            stream.set_nodelay(true).expect("a socket option");
            match tls {
                None => {
                    let (sender, driver) = builder.handshake(stream).await.expect("HTTP/2");
                    tokio::spawn(async move { told.send(Some(shown(driver.await))) });
                    sender
                }
                Some(config) => {
                    let connector = tokio_rustls::TlsConnector::from(config.clone());
                    let name = ServerName::try_from("localhost").expect("a name");
                    let stream = connector.connect(name, stream).await.expect("TLS");
                    let (sender, driver) = builder.handshake(stream).await.expect("HTTP/2");
                    tokio::spawn(async move { told.send(Some(shown(driver.await))) });
                    sender
                }
            }
        });
        let scheme = if tls.is_some() { "https" } else { "http" };
        Self {
            sender,
            origin: format!("{scheme}://localhost:{}", address.port()),
            ending,
        }
    }

    /// Sends one request and reads its answer.
    #[track_caller]
    pub(crate) fn request(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&[u8]>,
    ) -> Response {
        let answer = self.try_request(method, path, headers, body);
        answer.unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    pub(crate) fn try_request(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&[u8]>,
    ) -> Result<Response, h2::Error> {
        self.send(method, path, headers, body)?.finish()
    }

    #[track_caller]
    pub(crate) fn get(&self, path: &str) -> Response {
        self.request("GET", path, &[], None)
    }

    /// Sends a request, all of it, and waits for nothing.
    pub(crate) fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&[u8]>,
    ) -> Result<Pending, h2::Error> {
        let (pending, mut upload) = self.begin(method, path, headers, body.is_none())?;
        if let Some(body) = body {
            let body = Bytes::copy_from_slice(body);
            runtime().spawn(async move { upload_all(&mut upload, body).await });
        }
        Ok(pending)
    }

    /// Sends the head of a request; the body is the caller's to send, unless that `is_all`.
    pub(crate) fn begin(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        is_all: bool,
    ) -> Result<(Pending, SendStream<Bytes>), h2::Error> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.origin));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(()).expect("a request");
        wait("room for a stream", async {
            let mut sender = self.sender.clone().ready().await?;
            let (answer, upload) = sender.send_request(request, is_all)?;
            Ok((Pending(answer), upload))
        })
    }

    /// The most streams that the server takes at once; waits for its settings.
    pub(crate) fn streams_max(&self) -> usize {
        self.sender.current_max_send_streams()
    }

    /// How the connection ended; waits for its end.
    #[track_caller]
    pub(crate) fn ending(&self) -> Result<(), String> {
        let mut ending = self.ending.clone();
        wait("the connection ends", async {
            let ended = ending.wait_for(Option::is_some).await;
            ended.expect("its task tells").clone().expect("some")
        })
    }

    /// Whether it is there.
    pub(crate) fn is_open(&self) -> bool {
        self.ending.borrow().is_none()
    }
}

fn shown(ending: Result<(), h2::Error>) -> Result<(), String> {
    ending.map_err(|error| error.to_string())
}

async fn upload_all(upload: &mut SendStream<Bytes>, mut body: Bytes) -> Option<()> {
    while !body.is_empty() {
        upload.reserve_capacity(body.len());
        let room = poll_fn(|context| upload.poll_capacity(context))
            .await?
            .ok()?;
        let piece = body.split_to(room.min(body.len()));
        upload.send_data(piece, body.is_empty()).ok()?;
    }
    if body.is_empty() {
        let _ = upload.send_data(Bytes::new(), true);
    }
    Some(())
}

/// A request that was sent.
pub(crate) struct Pending(h2::client::ResponseFuture);

impl Pending {
    /// Waits for the head of the answer.
    pub(crate) fn head(self) -> Result<Incoming, h2::Error> {
        let (head, body) = wait("an answer", self.0)?.into_parts();
        Ok(Incoming {
            status: head.status.as_u16(),
            headers: fields(&head.headers),
            body,
        })
    }

    /// Waits for all of the answer.
    pub(crate) fn finish(self) -> Result<Response, h2::Error> {
        let mut incoming = self.head()?;
        let mut body = Vec::new();
        loop {
            match incoming.next(PATIENCE)? {
                Piece::Bytes(piece) => body.extend_from_slice(&piece),
                Piece::End => break,
                Piece::Late => panic!("no more of an answer in {PATIENCE:?}"),
            }
        }
        Ok(Response {
            status: incoming.status,
            headers: incoming.headers,
            body,
        })
    }
}

/// An answer that comes bit by bit.
pub(crate) struct Incoming {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    body: RecvStream,
}

impl Incoming {
    /// The next piece, without room for another in its place.
    ///
    /// # Errors
    /// The stream was reset, or the connection broke.
    pub(crate) fn peek(&mut self, patience: Duration) -> Result<Piece, h2::Error> {
        let body = &mut self.body;
        let piece = runtime().block_on(async {
            let piece = poll_fn(|context| body.poll_data(context));
            tokio::time::timeout(patience, piece).await
        });
        match piece {
            Err(_) => Ok(Piece::Late),
            Ok(None) => Ok(Piece::End),
            Ok(Some(piece)) => piece.map(Piece::Bytes),
        }
    }

    /// The next piece, and room for as much again.
    ///
    /// # Errors
    /// The stream was reset, or the connection broke.
    pub(crate) fn next(&mut self, patience: Duration) -> Result<Piece, h2::Error> {
        let piece = self.peek(patience)?;
        if let Piece::Bytes(bytes) = &piece {
            self.body.flow_control().release_capacity(bytes.len())?;
        }
        Ok(piece)
    }

    /// What comes behind the body, once its end has come.
    ///
    /// # Errors
    /// The stream was reset, or the connection broke.
    pub(crate) fn trailers(&mut self) -> Result<Vec<(String, String)>, h2::Error> {
        let body = &mut self.body;
        let trailers = wait("trailers", poll_fn(|context| body.poll_trailers(context)))?;
        Ok(trailers.as_ref().map(fields).unwrap_or_default())
    }
}

fn fields(headers: &http::HeaderMap) -> Vec<(String, String)> {
    let fields = headers.iter().map(|(name, value)| {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        (name.as_str().to_owned(), value)
    });
    fields.collect()
}

/// What comes of an answer.
#[derive(Debug)]
pub(crate) enum Piece {
    Bytes(Bytes),
    /// There is no more.
    End,
    /// Nothing came in time.
    Late,
}
