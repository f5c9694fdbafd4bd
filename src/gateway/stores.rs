//! Reads key stores anew when their files have changed, or on SIGHUP: the handshakes from then on get what they hold.
//!
//! The configuration stays the one that the process was started with; connections stay on what they began with. Rule: what cannot be used changes nothing, and is said.

use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::startup::{self, Shared};
use super::{CoreMessage, RESEND_INTERVAL};
use crate::config::Plan;

/// How often the files are looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);

/// How to read them.
pub struct Reload {
    /// The key stores as they were when they were read.
    pub stores: Vec<StoreFile>,
    /// Checks the same configuration again, with the stores as they are now; else says what is wrong.
    pub load: Arc<dyn Fn() -> Result<Plan, String> + Send + Sync>,
}

impl fmt::Debug for Reload {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Reload")
            .field("stores", &self.stores)
            .finish_non_exhaustive()
    }
}

/// A file, and by what it is known to be the same: its number, its length, and when it was last written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreFile {
    path: PathBuf,
    mark: Option<(u64, u64, i64, i64)>,
}

impl StoreFile {
    /// Looks at a file.
    pub fn at(path: &Path) -> Self {
        let facts = fs::metadata(path).ok();
        Self {
            path: path.to_owned(),
            mark: facts.map(|facts| (facts.ino(), facts.len(), facts.mtime(), facts.mtime_nsec())),
        }
    }

    fn now(&self) -> Self {
        Self::at(&self.path)
    }
}

/// Starts looking. On the helper thread. Without key stores there is nothing to look at, and SIGHUP ends the process as it does any other.
pub(super) fn start(shared: &Arc<Shared>, reload: Reload) {
    if reload.stores.is_empty() {
        return;
    }
    let hangups = signal(SignalKind::hangup());
    let hangups =
        hangups.inspect_err(|error| tracing::warn!(%error, "SIGHUP cannot be waited for"));
    tokio::task::spawn_local(run(shared.clone(), reload, hangups.ok()));
}

async fn run(shared: Arc<Shared>, reload: Reload, mut hangups: Option<Signal>) {
    let look = || reload.stores.iter().map(StoreFile::now).collect::<Vec<_>>();
    let mut read = reload.stores.clone();
    let mut seen = read.clone();
    let mut said = None;
    loop {
        let is_told = tokio::select! {
            () = hung_up(&mut hangups) => true,
            () = tokio::time::sleep(LOOK_INTERVAL) => false,
        };
        let now = look();
        // One that is being written is left alone until it rests.
        let rests = now == seen;
        seen.clone_from(&now);
        if !is_told && (!rests || now == read) {
            continue;
        }
        match reread(&shared, &reload).await {
            Ok(()) => {
                tracing::info!("keys and certificates were read anew");
                read = now;
                said = None;
            }
            // It is tried again with every look: it may not be the store that is at fault.
            Err(error) if is_told || said.as_ref() != Some(&error) => {
                tracing::error!(%error, "the key stores have changed and cannot be used; going on with what they held before");
                said = Some(error);
            }
            Err(_) => {}
        }
    }
}

async fn hung_up(hangups: &mut Option<Signal>) {
    let received = match hangups {
        Some(hangups) => hangups.recv().await,
        None => None,
    };
    if received.is_none() {
        std::future::pending::<()>().await;
    }
}

async fn reread(shared: &Arc<Shared>, reload: &Reload) -> Result<(), String> {
    let load = reload.load.clone();
    // Keys are derived from passwords slowly, on purpose.
    let loading = tokio::task::spawn_blocking(move || load());
    let plan = loading.await.map_err(|error| error.to_string())??;
    let servers = Arc::new(startup::prepare_tls(&plan)?);
    for mailbox in &shared.mailboxes {
        while mailbox
            .send_data(CoreMessage::TlsServers(servers.clone()))
            .is_err()
        {
            tokio::time::sleep(RESEND_INTERVAL).await;
        }
    }
    Ok(())
}
