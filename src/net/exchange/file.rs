//! A file as an answer: opened and read on a thread that may block, a piece at a time.

use std::fs::File;
use std::future::Future;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use rustix::fs::{Mode, OFlags, ResolveFlags};

use super::Step;
use crate::error::RequestError;
use crate::http::ResponseHead;
use crate::mapping::files::{FileFacts, FileRequest};
use crate::runtime;

/// Bytes read at once. A file that is no longer than this is answered whole.
const PIECE_BYTES: u64 = 256 << 10;

type Work<T> = Pin<Box<dyn Future<Output = io::Result<T>>>>;

/// What is known of a file once it is open.
struct Opened {
    file: Arc<File>,
    facts: FileFacts,
    /// All of it, if it is short.
    whole: Option<Bytes>,
}

enum State {
    Opening(Work<Opened>),
    Reading {
        file: Arc<File>,
        at: u64,
        length: u64,
        work: Option<Work<Bytes>>,
    },
}

/// A file that is being answered.
pub(in crate::net) struct FileExchange {
    request: FileRequest,
    state: State,
    may_have_more: bool,
}

impl FileExchange {
    pub(super) fn new(request: FileRequest) -> Self {
        let asked = request.clone();
        let work = runtime::blocking(move || open(&asked));
        Self {
            request,
            state: State::Opening(Box::pin(work)),
            may_have_more: false,
        }
    }

    pub(super) const fn may_have_more(&self) -> bool {
        self.may_have_more
    }

    pub(super) fn poll(&mut self, context: &mut Context<'_>, room: usize) -> Step {
        match &mut self.state {
            State::Opening(work) => match work.as_mut().poll(context) {
                Poll::Pending => Step::Pending,
                Poll::Ready(Ok(opened)) => self.begin(opened),
                // Not there, or not for us: the client need not know which.
                Poll::Ready(Err(_)) => Step::Fail(RequestError::NotFound),
            },
            State::Reading { work: None, .. } if room == 0 => Step::Pending,
            State::Reading {
                file,
                at,
                length,
                work,
            } => {
                let (file, from, until) = (file.clone(), *at, *length);
                let reading = work.get_or_insert_with(|| {
                    Box::pin(runtime::blocking(move || read(&file, from, until)))
                });
                match reading.as_mut().poll(context) {
                    Poll::Pending => {
                        // The thread that reads wakes the connection.
                        self.may_have_more = false;
                        Step::Pending
                    }
                    Poll::Ready(Ok(bytes)) if !bytes.is_empty() => {
                        *work = None;
                        *at += bytes.len() as u64;
                        if at == length {
                            return Step::Finish(bytes);
                        }
                        self.may_have_more = true;
                        Step::Data(bytes)
                    }
                    // It became shorter than it was.
                    Poll::Ready(_) => Step::Abort,
                }
            }
        }
    }

    fn begin(&mut self, opened: Opened) -> Step {
        let head: ResponseHead = self.request.head(&opened.facts);
        if head.status == 304 {
            return Step::Respond(Box::new(self.request.answer(head, Bytes::new())));
        }
        if let Some(whole) = opened.whole {
            return Step::Respond(Box::new(self.request.answer(head, whole)));
        }
        let length = opened.facts.length;
        self.state = State::Reading {
            file: opened.file,
            // Of an answer to HEAD nothing but the end is written.
            at: if self.request.is_head { length - 1 } else { 0 },
            length,
            work: None,
        };
        self.may_have_more = true;
        Step::Begin {
            head,
            length: Some(length),
        }
    }
}

/// Opens a regular file below the directory. Links that lead out of it are refused by the kernel (openat2, Linux 5.6).
fn open(request: &FileRequest) -> io::Result<Opened> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let directory = rustix::fs::open(&request.directory, flags | OFlags::DIRECTORY, Mode::empty())?;
    let mut resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    if !request.follows_links {
        resolve |= ResolveFlags::NO_SYMLINKS;
    }
    // Without waiting: a pipe would have us wait for a writer.
    let flags = flags | OFlags::NONBLOCK;
    let file = rustix::fs::openat2(&directory, &request.path, flags, Mode::empty(), resolve)?;
    let file = File::from(file);
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::ErrorKind::NotFound.into());
    }
    let length = metadata.len();
    let whole = (length <= PIECE_BYTES)
        .then(|| read(&file, 0, length))
        .transpose()?;
    Ok(Opened {
        file: Arc::new(file),
        facts: FileFacts {
            length,
            inode: metadata.ino(),
            modified_ns: i128::from(metadata.mtime()) * 1_000_000_000
                + i128::from(metadata.mtime_nsec()),
        },
        whole,
    })
}

fn read(file: &File, from: u64, until: u64) -> io::Result<Bytes> {
    let count = (until - from).min(PIECE_BYTES);
    let mut bytes = vec![0; usize::try_from(count).unwrap_or(0)];
    file.read_exact_at(&mut bytes, from)?;
    Ok(Bytes::from(bytes))
}
