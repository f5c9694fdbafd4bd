//! Who waits for a topic to change: for any change, or for one that touches a key. Ten thousand who wait for keys of their own cost an update nothing but a look
//! at the keys that it brings.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use super::reader::TopicReader;
use crate::kafka::cache::{Update, key_hash};
use crate::runtime::notify::Notify;

/// What a waiter waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest<'k> {
    /// Any change.
    All,
    /// A record with this key, or a change of the whole topic.
    Key(&'k [u8]),
}

type Number = u64;

/// The waiters of one topic.
#[derive(Default)]
pub(super) struct Waiters {
    all: RefCell<BTreeMap<Number, Rc<Notify>>>,
    by_key: RefCell<HashMap<u32, BTreeMap<Number, Rc<Notify>>>>,
    next: Cell<Number>,
}

impl Waiters {
    pub(super) fn is_empty(&self) -> bool {
        self.all.borrow().is_empty() && self.by_key.borrow().is_empty()
    }

    pub(super) fn len(&self) -> usize {
        let by_key = self.by_key.borrow();
        self.all.borrow().len() + by_key.values().map(BTreeMap::len).sum::<usize>()
    }

    fn add(&self, interest: Interest<'_>, notify: &Rc<Notify>) -> (Option<u32>, Number) {
        let number = self.next.get();
        self.next.set(number + 1);
        match interest {
            Interest::All => {
                self.all.borrow_mut().insert(number, notify.clone());
                (None, number)
            }
            Interest::Key(key) => {
                let hash = key_hash(key);
                let mut by_key = self.by_key.borrow_mut();
                by_key
                    .entry(hash)
                    .or_default()
                    .insert(number, notify.clone());
                (Some(hash), number)
            }
        }
    }

    fn remove(&self, hash: Option<u32>, number: Number) {
        let Some(hash) = hash else {
            self.all.borrow_mut().remove(&number);
            return;
        };
        let mut by_key = self.by_key.borrow_mut();
        if let Some(waiters) = by_key.get_mut(&hash) {
            waiters.remove(&number);
            if waiters.is_empty() {
                by_key.remove(&hash);
            }
        }
    }

    /// The whole topic may look different.
    pub(super) fn wake_all(&self) {
        notify_all(&self.all.borrow());
        for waiters in self.by_key.borrow().values() {
            notify_all(waiters);
        }
    }

    /// A partition has changed in this way.
    pub(super) fn wake(&self, updates: &[Update]) {
        notify_all(&self.all.borrow());
        let by_key = self.by_key.borrow();
        if by_key.is_empty() {
            return;
        }
        for update in updates {
            match update {
                Update::Append(chunk) => {
                    let hashes =
                        (0..chunk.record_count()).filter_map(|index| chunk.key_hash(index));
                    for waiters in hashes.filter_map(|hash| by_key.get(&hash)) {
                        notify_all(waiters);
                    }
                }
                // The same records in another place, or how far the log goes: no key has changed.
                Update::Replace { .. } | Update::Evict { .. } | Update::Progress(_) => {}
                Update::Restore { .. } | Update::Reset { .. } => {
                    for waiters in by_key.values() {
                        notify_all(waiters);
                    }
                }
            }
        }
    }
}

fn notify_all(waiters: &BTreeMap<Number, Rc<Notify>>) {
    for waiter in waiters.values() {
        waiter.notify();
    }
}

/// A place among the waiters of a topic, given back when it is dropped.
pub struct Waiting {
    reader: Rc<TopicReader>,
    hash: Option<u32>,
    number: Number,
}

impl std::fmt::Debug for Waiting {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Waiting")
            .field("number", &self.number)
            .finish_non_exhaustive()
    }
}

impl Waiting {
    pub(super) fn new(
        reader: &Rc<TopicReader>,
        interest: Interest<'_>,
        notify: &Rc<Notify>,
    ) -> Self {
        let (hash, number) = reader.waiters().add(interest, notify);
        Self {
            reader: reader.clone(),
            hash,
            number,
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.reader.waiters().remove(self.hash, self.number);
    }
}
