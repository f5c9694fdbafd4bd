//! The executors, sockets, timers and clocks: the only code that names glommio or reads a clock.
//!
//! One glommio executor per core, pinned; nothing mutable is shared between them but the mailboxes. Everything above takes time as an argument.
#![expect(
    clippy::disallowed_methods,
    reason = "the one place that reads the clocks"
)]

pub mod deadline;
pub mod helper;
pub mod mailbox;
pub mod net;
pub mod notify;
pub mod placement;
pub mod ring;

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::sync::{OnceLock, mpsc};
use std::task::Poll;
use std::time::Duration;

use futures_lite::FutureExt;
use glommio::{ExecutorJoinHandle, LocalExecutorBuilder, Placement};

use crate::clock::{Instant, UnixMillis};
use deadline::{Deadline, Deadlines, GRANULARITY};
use placement::{CoreId, CoreSet};

/// Bytes registered for direct file I/O by each executor. The gateway does none, and more would hit an 8 MiB memlock limit.
const IO_MEMORY_BYTES: usize = 64 << 10;
/// Entries of each submission ring.
const RING_DEPTH: usize = 1024;
/// How long tasks may run before the executor looks at the rings again. The default of 100 ms starves other cores' messages that long; at 1 ms the timer often
/// expires before the first task runs, and then glommio 0.9 parks with tasks ready (see [`ring`]).
const PREEMPT_TIMER: Duration = Duration::from_millis(10);

/// How long an executor may take to run its first task.
const START_WAIT: Duration = Duration::from_secs(10);

/// Monotonic time since the process asked for the first time.
pub fn now() -> Instant {
    static START: OnceLock<std::time::Instant> = OnceLock::new();
    let elapsed = START.get_or_init(std::time::Instant::now).elapsed();
    // The first call must not return zero: a deadline of zero counts as passed.
    Instant::from_nanos(1) + elapsed
}

/// Wall-clock time, for record timestamps and the `date` header.
pub fn unix_now() -> UnixMillis {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    UnixMillis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// What a core's first task gets.
#[derive(Debug)]
pub struct CoreStart {
    /// This core.
    pub id: CoreId,
    /// How many cores there are.
    pub cores: usize,
    /// The core's timer.
    pub deadlines: Rc<Deadlines>,
}

/// Why no executor could be started.
#[derive(Debug)]
pub enum StartFault {
    /// The kernel refuses io_uring to this process.
    RingRefused(io::Error),
    /// An executor would not start.
    Executor(String),
}

impl fmt::Display for StartFault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RingRefused(error) => match error.raw_os_error() {
                Some(libc::ENOSYS) => write!(
                    formatter,
                    "this kernel has no io_uring ({error}): sluice needs Linux 5.8 or newer, and a sandbox that lets io_uring through"
                ),
                Some(libc::EPERM | libc::EACCES) => write!(
                    formatter,
                    "io_uring is forbidden here ({error}): in a container, allow io_uring_setup, io_uring_enter and io_uring_register in its seccomp profile; \
                     on the host, set kernel.io_uring_disabled to 0"
                ),
                Some(libc::ENOMEM) => write!(
                    formatter,
                    "io_uring found too little lockable memory ({error}): raise the memlock limit to 8 MiB or more (`ulimit -l`)"
                ),
                _ => write!(formatter, "io_uring cannot be set up: {error}"),
            },
            Self::Executor(error) => write!(
                formatter,
                "an executor cannot be started: {error} (a memlock limit of 512 KiB or more is needed: `ulimit -l`)"
            ),
        }
    }
}

impl std::error::Error for StartFault {}

/// The running cores.
pub struct Cores {
    handles: Vec<ExecutorJoinHandle<()>>,
}

impl fmt::Debug for Cores {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Cores")
            .field("count", &self.handles.len())
            .finish()
    }
}

/// How many cores `set` stands for on this machine.
pub fn core_count(set: &CoreSet) -> usize {
    match set {
        CoreSet::Available => available_processors().len(),
        CoreSet::Pinned(processors) => processors.len(),
        CoreSet::Unpinned(count) => *count,
    }
}

/// The processors this process may run on.
fn available_processors() -> Vec<usize> {
    let allowed = std::fs::read_to_string("/proc/self/status")
        .ok()
        .and_then(|status| {
            let list = status
                .lines()
                .find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?
                .trim()
                .to_owned();
            match list.parse() {
                Ok(CoreSet::Pinned(processors)) => Some(processors),
                _ => None,
            }
        });
    allowed.unwrap_or_else(|| {
        (0..std::thread::available_parallelism().map_or(1, usize::from)).collect()
    })
}

/// Starts one executor per core and runs `main` as its first task.
///
/// # Errors
///
/// [`StartFault`] when the kernel refuses io_uring or an executor cannot start; says what to do about it.
pub fn start_cores<F>(
    set: &CoreSet,
    mains: Vec<Box<dyn FnOnce(CoreStart) -> F + Send>>,
) -> Result<Cores, StartFault>
where
    F: Future<Output = ()> + 'static,
{
    ring::probe().map_err(StartFault::RingRefused)?;
    let placements: Vec<Placement> = match set {
        CoreSet::Available => available_processors()
            .into_iter()
            .map(Placement::Fixed)
            .collect(),
        CoreSet::Pinned(processors) => processors.iter().copied().map(Placement::Fixed).collect(),
        CoreSet::Unpinned(count) => vec![Placement::Unbound; *count],
    };
    let cores = placements.len();
    let mut handles = Vec::with_capacity(cores);
    for (index, (placement, main)) in placements.into_iter().zip(mains).enumerate() {
        let (started, has_started) = mpsc::channel();
        let handle = LocalExecutorBuilder::new(placement)
            .name(&format!("sluice-{index}"))
            .io_memory(IO_MEMORY_BYTES)
            .ring_depth(RING_DEPTH)
            .preempt_timer(PREEMPT_TIMER)
            .spawn(move || async move {
                // The starting thread waits for it.
                let _ = started.send(());
                let deadlines = Rc::new(Deadlines::default());
                // The first sleep of an executor takes 10 to 80 ms (its first membarrier): take it before anybody waits for us.
                sleep(Duration::from_millis(1)).await;
                spawn(run_deadlines(deadlines.clone()));
                main(CoreStart {
                    id: CoreId(index),
                    cores,
                    deadlines,
                })
                .await;
            })
            .map_err(|error| StartFault::Executor(error.to_string()))?;
        // glommio tells only the one who joins that an executor could not be made: without its first task, join.
        if has_started.recv_timeout(START_WAIT).is_err() {
            let reason = handle.join().err().map_or_else(
                || format!("core {index} did not start"),
                |error| error.to_string(),
            );
            return Err(StartFault::Executor(reason));
        }
        handles.push(handle);
    }
    Ok(Cores { handles })
}

impl Cores {
    /// Waits until every core has ended.
    ///
    /// # Errors
    ///
    /// The core's own error when its executor failed or panicked.
    pub fn join(self) -> Result<(), String> {
        for handle in self.handles {
            handle.join().map_err(|error| error.to_string())?;
        }
        Ok(())
    }
}

async fn run_deadlines(deadlines: Rc<Deadlines>) {
    loop {
        let now = now();
        deadlines.handle_timeout(now);
        let earliest = deadlines.poll_timeout();
        let changed = std::future::poll_fn(|context| deadlines.poll_changed(context, earliest));
        match earliest {
            None => changed.await,
            Some(at) => {
                changed
                    .or(sleep(at.saturating_duration_since(now).max(GRANULARITY)))
                    .await;
            }
        }
    }
}

/// Runs `task` on this core. It starts at once, inside this call, up to its first wait.
///
/// A panic in it aborts the process: it holds state that the rest of the core needs.
pub fn spawn(task: impl Future<Output = ()> + 'static) {
    glommio::spawn_local(async move {
        if std::panic::AssertUnwindSafe(task)
            .catch_unwind()
            .await
            .is_err()
        {
            tracing::error!(
                "a core's own task panicked: stopping the process rather than running half a core"
            );
            std::process::abort();
        }
    })
    .detach();
}

/// Runs `task` on this core; a panic in it ends it alone and is told to `on_panic`.
pub fn spawn_contained(
    task: impl Future<Output = ()> + 'static,
    on_panic: impl FnOnce() + 'static,
) {
    glommio::spawn_local(async move {
        if std::panic::AssertUnwindSafe(task)
            .catch_unwind()
            .await
            .is_err()
        {
            on_panic();
        }
    })
    .detach();
}

/// Lets the other tasks of this core run.
pub async fn yield_now() {
    futures_lite::future::yield_now().await;
}

/// Lets others run if this task has had its share.
pub async fn yield_if_needed() {
    glommio::yield_if_needed().await;
}

/// Runs what may block on a thread of its own.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    glommio::executor().spawn_blocking(work).await
}

/// Sleeps.
pub async fn sleep(duration: Duration) {
    glommio::timer::sleep(duration).await;
}

/// A deadline passed before the work was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elapsed;

/// Awaits `work`, but not beyond `at`; the work is dropped then.
///
/// # Errors
///
/// [`Elapsed`] when the time came first.
pub async fn with_deadline<W: Future>(
    deadline: &Deadline,
    at: Instant,
    work: W,
) -> Result<W::Output, Elapsed> {
    deadline.set(at);
    let mut work = pin!(work);
    let result = std::future::poll_fn(|context| match work.as_mut().poll(context) {
        Poll::Ready(output) => Poll::Ready(Ok(output)),
        Poll::Pending => deadline.poll_expired(context, now()).map(|()| Err(Elapsed)),
    })
    .await;
    deadline.set(Instant::FAR_FUTURE);
    result
}
