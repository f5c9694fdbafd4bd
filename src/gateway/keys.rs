//! Passes the keys that the helper thread fetches on to every core.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::mpsc::Receiver;

use super::startup::Shared;
use super::{CoreMessage, RESEND_INTERVAL, jwks};
use crate::config::{GuardKind, JwtKeys};
use crate::guard::key_set::KeySet;

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
    let latest: Rc<RefCell<BTreeMap<usize, Arc<KeySet>>>> = Rc::default();
    let deliver = move |guard, keys: Arc<KeySet>| {
        latest.borrow_mut().insert(guard, keys.clone());
        for core in 0..shared.mailboxes.len() {
            tokio::task::spawn_local(send(
                (shared.clone(), core),
                latest.clone(),
                guard,
                keys.clone(),
            ));
        }
    };
    tokio::task::spawn_local(jwks::run(sources, wanted, deliver));
}

async fn send(
    (shared, core): (Arc<Shared>, usize),
    latest: Rc<RefCell<BTreeMap<usize, Arc<KeySet>>>>,
    guard: usize,
    keys: Arc<KeySet>,
) {
    // Older keys must not come after newer ones.
    let is_latest = || {
        let latest = latest.borrow();
        latest
            .get(&guard)
            .is_some_and(|latest| Arc::ptr_eq(latest, &keys))
    };
    while is_latest() {
        let keys = keys.clone();
        let message = CoreMessage::Keys { guard, keys };
        if shared.mailboxes[core].send_data(message).is_ok() {
            return;
        }
        tokio::time::sleep(RESEND_INTERVAL).await;
    }
}
