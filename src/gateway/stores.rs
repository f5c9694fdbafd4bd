//! Reads key stores anew when their files have changed, or on SIGHUP: the handshakes from then on get what they hold.
//!
//! The configuration stays the one that the process was started with; connections stay on what they began with. Rule: what cannot be used changes nothing, and is said.

use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
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
    /// The key stores.
    pub files: Vec<PathBuf>,
    /// Checks the same configuration again, with the stores as they are now; else says what is wrong.
    pub load: Box<dyn Fn() -> Result<Plan, String> + Send>,
}

impl fmt::Debug for Reload {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Reload")
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

/// By what a file is known to be the same: its number, its length, and when it was last written.
type Mark = Option<(u64, u64, i64, i64)>;

impl Reload {
    fn marks(&self) -> Vec<Mark> {
        let mark = |file: &PathBuf| {
            let facts = fs::metadata(file).ok()?;
            Some((facts.ino(), facts.len(), facts.mtime(), facts.mtime_nsec()))
        };
        self.files.iter().map(mark).collect()
    }
}

/// Starts looking. On the helper thread. Without key stores there is nothing to look at, and SIGHUP ends the process as it does any other.
pub(super) fn start(shared: &Arc<Shared>, reload: Reload) {
    if reload.files.is_empty() {
        return;
    }
    let hangups = signal(SignalKind::hangup());
    let hangups =
        hangups.inspect_err(|error| tracing::warn!(%error, "SIGHUP cannot be waited for"));
    tokio::task::spawn_local(run(shared.clone(), reload, hangups.ok()));
}

async fn run(shared: Arc<Shared>, reload: Reload, mut hangups: Option<Signal>) {
    let mut read = reload.marks();
    let mut seen = read.clone();
    loop {
        let is_told = tokio::select! {
            () = hung_up(&mut hangups) => true,
            () = tokio::time::sleep(LOOK_INTERVAL) => false,
        };
        let now = reload.marks();
        // One that is being written is left alone until it rests.
        let rests = now == seen;
        seen.clone_from(&now);
        if is_told || (rests && now != read) {
            read = now;
            reread(&shared, &reload).await;
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

async fn reread(shared: &Arc<Shared>, reload: &Reload) {
    let loaded = (reload.load)().and_then(|plan| startup::prepare_tls(&plan));
    let servers = match loaded {
        Ok(servers) => Arc::new(servers),
        Err(error) => {
            tracing::error!(%error, "the key stores have changed and cannot be used; going on with what they held before");
            return;
        }
    };
    for mailbox in &shared.mailboxes {
        while mailbox
            .send_data(CoreMessage::TlsServers(servers.clone()))
            .is_err()
        {
            tokio::time::sleep(RESEND_INTERVAL).await;
        }
    }
    tracing::info!(stores = ?reload.files, "keys and certificates were read anew");
}
