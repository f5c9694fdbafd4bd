//! Lines to standard output, events and accesses, from a thread of their own: a core never waits for whoever reads them.
//!
//! Rule: the queue is bounded; when the reader is too slow, lines are dropped, counted, and the next line that gets through says how many.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use std::thread::Thread;
use std::time::Duration;

use crossbeam::queue::ArrayQueue;

/// Lines that wait to be written.
const LINES_MAX: usize = 8_192;
/// Lines written at once.
const BATCH_MAX: usize = 256;
/// How long the writer waits between two looks at the queue. While it does so nobody has to wake it, which would be a system call for each line.
const NAP: Duration = Duration::from_millis(5);
/// Looks in vain after which the writer sleeps until it is woken.
const NAPS_MAX: u32 = 20;
/// How long the end of the process waits for the reader of the last lines.
const FLUSH_WAIT: Duration = Duration::from_secs(1);

/// The way to standard output. Clones are the same.
#[derive(Clone, Debug)]
pub struct Lines {
    shared: Arc<Shared>,
    writer: Thread,
}

#[derive(Debug)]
struct Shared {
    queue: ArrayQueue<Vec<u8>>,
    /// The writer sleeps until it is woken.
    is_asleep: AtomicBool,
    /// Not 0: lines were taken from the queue and are not written yet.
    in_hand: AtomicU64,
    dropped_unsaid: AtomicU64,
    dropped: AtomicU64,
}

impl Lines {
    /// Starts the writing thread.
    ///
    /// # Errors
    ///
    /// When the thread cannot be started.
    pub fn start() -> io::Result<Self> {
        Self::to(io::stdout(), LINES_MAX)
    }

    fn to(out: impl Write + Send + 'static, lines_max: usize) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            queue: ArrayQueue::new(lines_max),
            is_asleep: AtomicBool::new(false),
            in_hand: AtomicU64::new(0),
            dropped_unsaid: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
        });
        let lines = shared.clone();
        // It ends with the process.
        let thread = std::thread::Builder::new()
            .name("sluice-lines".into())
            .spawn(move || write_lines(out, &lines))?;
        Ok(Self {
            shared,
            writer: thread.thread().clone(),
        })
    }

    /// Queues a line, which brings its own line end. When there is no room it is dropped and counted.
    pub fn send(&self, line: Vec<u8>) {
        if self.shared.queue.push(line).is_err() {
            self.shared.dropped_unsaid.fetch_add(1, Ordering::Relaxed);
            self.shared.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        // Pairs with the fence before the writer's last look: either it sees our line, or we see it asleep.
        fence(Ordering::SeqCst);
        let asleep = &self.shared.is_asleep;
        if asleep.load(Ordering::Relaxed) && asleep.swap(false, Ordering::AcqRel) {
            self.writer.unpark();
        }
    }

    /// Lines dropped since the start.
    pub fn dropped(&self) -> u64 {
        self.shared.dropped.load(Ordering::Relaxed)
    }

    /// Waits until what was queued is written, a second at most. Not for cores.
    pub fn flush(&self) {
        let mut waited = Duration::ZERO;
        while waited < FLUSH_WAIT && !self.shared.is_written() {
            self.writer.unpark();
            std::thread::sleep(NAP);
            waited += NAP;
        }
    }
}

impl Shared {
    fn is_written(&self) -> bool {
        self.queue.is_empty() && self.in_hand.load(Ordering::Acquire) == 0
    }

    /// Moves lines from the queue to `text`; says whether there was any.
    fn take(&self, text: &mut Vec<u8>) -> bool {
        text.clear();
        // Before the first is taken: `is_written` must not find the queue empty and nothing in hand meanwhile.
        self.in_hand.store(1, Ordering::SeqCst);
        for _ in 0..BATCH_MAX {
            let Some(line) = self.queue.pop() else { break };
            text.extend_from_slice(&line);
        }
        let missing = self.dropped_unsaid.swap(0, Ordering::Relaxed);
        if missing > 0 {
            // Writing to a vector does not fail.
            let _ = writeln!(
                text,
                "({missing} lines were dropped: standard output is read too slowly)"
            );
        }
        if text.is_empty() {
            self.in_hand.store(0, Ordering::Release);
        }
        !text.is_empty()
    }

    /// Waits for lines, in naps first.
    fn wait(&self, naps: &mut u32) {
        if *naps < NAPS_MAX {
            *naps += 1;
            std::thread::park_timeout(NAP);
            return;
        }
        self.is_asleep.store(true, Ordering::Release);
        fence(Ordering::SeqCst);
        if self.queue.is_empty() {
            std::thread::park();
        }
        self.is_asleep.store(false, Ordering::Relaxed);
        *naps = 0;
    }
}

fn write_lines(mut out: impl Write, shared: &Shared) {
    let mut text = Vec::new();
    let mut naps = 0;
    loop {
        if shared.take(&mut text) {
            naps = 0;
            // Standard output is gone: there is nobody left to tell.
            let _ = out.write_all(&text);
            let _ = out.flush();
            shared.in_hand.store(0, Ordering::Release);
        } else {
            shared.wait(&mut naps);
        }
    }
}

/// Writes bytes that came from outside: whatever could end the line, or pass for more of it, is written as `\xNN`.
pub fn push_escaped(out: &mut Vec<u8>, bytes: &[u8]) {
    for byte in bytes {
        if byte.is_ascii_graphic() && *byte != b'\\' {
            out.push(*byte);
        } else {
            // Writing to a vector does not fail.
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Receiver, Sender, channel};

    /// Passes on what is written, and then waits for a permit.
    struct Slow {
        permits: Receiver<()>,
        written: Sender<Vec<u8>>,
    }

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.written.send(bytes.to_vec());
            let _ = self.permits.recv();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_slow_reader_costs_lines_and_is_told_how_many() {
        let (permit, permits) = channel();
        let (written, output) = channel();
        let lines = Lines::to(Slow { permits, written }, 2).unwrap();
        lines.send(b"line 0\n".to_vec());
        assert_eq!(output.recv().unwrap(), b"line 0\n");
        for number in 1..100 {
            lines.send(format!("line {number}\n").into_bytes());
        }
        assert_eq!(lines.dropped(), 97);
        drop(permit);
        lines.flush();
        let text: Vec<u8> = output.try_iter().flatten().collect();
        let text = String::from_utf8(text).unwrap();
        assert_eq!(
            text,
            "line 1\nline 2\n(97 lines were dropped: standard output is read too slowly)\n"
        );
    }

    #[test]
    fn a_writer_that_fell_asleep_is_woken() {
        let (written, output) = channel();
        let (_, permits) = channel();
        let lines = Lines::to(Slow { permits, written }, 2).unwrap();
        for line in [&b"first\n"[..], b"second\n"] {
            while !lines.shared.is_asleep.load(Ordering::Relaxed) {
                std::thread::sleep(NAP);
            }
            lines.send(line.to_vec());
            assert_eq!(output.recv_timeout(10 * FLUSH_WAIT).as_deref(), Ok(line));
        }
    }

    #[test]
    fn what_comes_from_outside_cannot_forge_a_line() {
        let mut out = Vec::new();
        push_escaped(&mut out, b"/a\r\nexample:http [x] \\ \xff\x1b[0m");
        assert_eq!(
            out,
            br"/a\x0d\x0aexample:http\x20[x]\x20\x5c\x20\xff\x1b[0m"
        );
    }
}
