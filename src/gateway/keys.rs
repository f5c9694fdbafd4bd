//! Passes the keys that the helper thread fetches on to every core.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::Receiver;

use super::startup::Shared;
use super::{CoreMessage, jwks};
use crate::config::{GuardKind, JwtKeys};
use crate::guard::key_set::KeySet;

/// How long a full core is given before it is sent its keys again.
const RESEND_INTERVAL: Duration = Duration::from_millis(10);

/// Starts fetching. On the helper thread.
pub(super) fn start(shared: &Arc<Shared>, wanted: Receiver<usize>) {
    let guards = shared.plan.guards.iter().enumerate();
    let sources = guards.filter_map(|(number, guard)| match &guard.kind {
        GuardKind::Jwt(jwt) => match &jwt.keys {
            JwtKeys::Url(url) => Some((number, url.clone())),
            JwtKeys::Inline(_) => None,
        },
        GuardKind::Inline(_) | GuardKind::X509(_) => None,
    });
    let sources: Vec<(usize, String)> = sources.collect();
    if sources.is_empty() {
        return;
    }
    let shared = shared.clone();
    let deliver = move |guard, keys: Arc<KeySet>| {
        for core in 0..shared.mailboxes.len() {
            tokio::task::spawn_local(send(shared.clone(), core, guard, keys.clone()));
        }
    };
    tokio::task::spawn_local(jwks::run(sources, wanted, deliver));
}

async fn send(shared: Arc<Shared>, core: usize, guard: usize, keys: Arc<KeySet>) {
    let mut message = CoreMessage::Keys { guard, keys };
    while let Err(refused) = shared.mailboxes[core].send_data(message) {
        message = refused;
        tokio::time::sleep(RESEND_INTERVAL).await;
    }
}
