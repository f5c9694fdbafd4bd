//! The helper thread: signals, and whatever is slow and rare. It runs tokio's current-thread runtime, so that no core ever does.

use std::io;
use std::thread::JoinHandle;

use tokio::signal::unix::{SignalKind, signal};
use tokio::task::LocalSet;

/// Starts the thread. Runs `on_signal(n)` for the n-th SIGTERM or SIGINT of the process's life, n from 1, and `begin` first, which may
/// spawn local tasks.
///
/// # Errors
///
/// When the thread or its runtime cannot be started.
pub fn start(
    on_signal: impl Fn(u32) + Send + 'static,
    begin: impl FnOnce() + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()?;
    let (mut terminate, mut interrupt) = {
        let _guard = runtime.enter();
        (
            signal(SignalKind::terminate())?,
            signal(SignalKind::interrupt())?,
        )
    };
    std::thread::Builder::new()
        .name("sluice-helper".into())
        .spawn(move || {
            let tasks = LocalSet::new();
            tasks.block_on(&runtime, async {
                begin();
                for count in 1.. {
                    tokio::select! {
                        received = terminate.recv() => if received.is_none() { return },
                        received = interrupt.recv() => if received.is_none() { return },
                    }
                    on_signal(count);
                }
            });
        })
}
