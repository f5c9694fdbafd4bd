//! Log lines to standard error, from a thread of their own: a core never waits for whoever reads them.
//!
//! Rule: the queue is bounded; when the reader is too slow, lines are dropped and the next line that gets through says how many.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use tracing_subscriber::fmt::MakeWriter;

/// Lines that wait to be written.
const LINES_MAX: usize = 4096;

/// Starts logging at `level` and above.
///
/// # Errors
///
/// When the thread cannot be started.
pub fn start(level: tracing::Level) -> io::Result<()> {
    let (lines, receiver) = sync_channel(LINES_MAX);
    let dropped = Arc::new(AtomicU64::new(0));
    let writer = Queue {
        lines,
        dropped: dropped.clone(),
    };
    std::thread::Builder::new()
        .name("sluice-log".into())
        .spawn(move || write_lines(&receiver, &dropped))?;
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_target(false)
        .with_ansi(false)
        .with_writer(writer)
        .finish();
    // Only a second call fails, and then the first one's logging goes on.
    let _ = tracing::subscriber::set_global_default(subscriber);
    Ok(())
}

fn write_lines(lines: &Receiver<Vec<u8>>, dropped: &AtomicU64) {
    let mut out = io::stderr();
    for line in lines {
        // Standard error is gone: there is nobody left to tell.
        let _ = out.write_all(&line);
        let missing = dropped.swap(0, Ordering::Relaxed);
        if missing > 0 {
            let _ = writeln!(
                out,
                "({missing} log lines were dropped: standard error is read too slowly)"
            );
        }
    }
}

struct Queue {
    lines: SyncSender<Vec<u8>>,
    dropped: Arc<AtomicU64>,
}

/// One event's line, queued when it is dropped.
struct Line<'q> {
    queue: &'q Queue,
    text: Vec<u8>,
}

impl Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line<'_> {
    fn drop(&mut self) {
        if self
            .queue
            .lines
            .try_send(std::mem::take(&mut self.text))
            .is_err()
        {
            self.queue.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl<'q> MakeWriter<'q> for Queue {
    type Writer = Line<'q>;

    fn make_writer(&'q self) -> Line<'q> {
        Line {
            queue: self,
            text: Vec::new(),
        }
    }
}
