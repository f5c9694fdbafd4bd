//! The reply partitions that this core owns: what is fetched is looked through once, and what it says goes to the shard of each id, on whatever core.

use std::future::Future;
use std::rc::Rc;

use super::{RESEND_INTERVAL, Replies, ReplyMessage};
use crate::kafka::client::Client;
use crate::kafka::correlation::{ReplyScan, SeenReply};
use crate::kafka::fetcher::{FetchedPartition, PartitionKey};
use crate::kafka::follow::{Following, Position, Sink, StartAt};
use crate::kafka::metadata::TopicPolicy;
use crate::runtime::deadline::Deadlines;
use crate::runtime::placement::{CoreId, id_owner};
use crate::runtime::{self};

/// A reply partition that this core looks through.
pub(super) struct OwnedScan {
    scan: Option<ReplyScan>,
    horizon_ms: i64,
}

impl Replies {
    /// Looks through a partition from now on.
    pub(super) fn follow(&self, key: PartitionKey, horizon_ms: i64) {
        let is_new = {
            let mut scans = self.inner.scans.borrow_mut();
            let is_new = !scans.contains_key(&key);
            scans.entry(key.clone()).or_insert(OwnedScan {
                scan: None,
                horizon_ms,
            });
            is_new
        };
        if is_new {
            Following::start(self, key);
        }
    }

    /// Tells every core what was seen for it, and how far the looking has come.
    fn spread(
        &self,
        key: &PartitionKey,
        is_reset: bool,
        replies: Vec<SeenReply>,
        next_offset: i64,
    ) {
        let mut by_core: Vec<Vec<SeenReply>> = vec![Vec::new(); self.inner.cores];
        for seen in replies {
            let owner = id_owner(&seen.id.id, self.inner.cores);
            if let Some(share) = by_core.get_mut(owner.0) {
                share.push(seen);
            }
        }
        for (core, replies) in by_core.into_iter().enumerate() {
            let message = ReplyMessage::Indexed {
                key: key.clone(),
                is_reset,
                replies,
                next_offset,
            };
            self.send_or_keep(CoreId(core), message);
        }
    }
}

impl Sink for Replies {
    fn client(&self) -> &Client {
        &self.inner.client
    }

    fn deadlines(&self) -> &Rc<Deadlines> {
        &self.inner.deadlines
    }

    fn following(&self) -> &Following<Self> {
        &self.inner.following
    }

    /// No further back than the horizon, nor than all the shards together remember.
    fn start_at(&self, key: &PartitionKey) -> StartAt {
        let scans = self.inner.scans.borrow();
        let horizon_ms = scans.get(key).map_or(0, |owned| owned.horizon_ms);
        let remembered = self.inner.limits.replies_max * self.inner.cores;
        StartAt::Recent {
            unix_millis: (runtime::unix_now().0 - horizon_ms).max(0),
            records_max: i64::try_from(remembered).unwrap_or(i64::MAX),
        }
    }

    fn position(&self, key: &PartitionKey) -> Option<Position> {
        let scans = self.inner.scans.borrow();
        let scan = scans.get(key)?.scan.as_ref()?;
        Some(Position {
            next_offset: scan.next_offset(),
            is_ready: scan.is_ready(),
        })
    }

    fn begin(&self, key: &PartitionKey, start_offset: i64, _policy: &TopicPolicy) {
        let is_reset = {
            let mut scans = self.inner.scans.borrow_mut();
            let Some(owned) = scans.get_mut(key) else {
                return;
            };
            let names = self.inner.names.clone();
            let scan = ReplyScan::new(key.1, start_offset, names);
            owned.scan.replace(scan).is_some()
        };
        // At once: until the shards know, they take the old log's offsets for the new one's.
        if is_reset {
            self.spread(key, is_reset, Vec::new(), start_offset);
        }
    }

    fn ingest(&self, fetched: &FetchedPartition) -> bool {
        let key = &fetched.key;
        let (scanned, next_offset) = {
            let mut scans = self.inner.scans.borrow_mut();
            let Some(owned) = scans.get_mut(key) else {
                return false;
            };
            let Some(scan) = owned.scan.as_mut() else {
                return false;
            };
            let scanned = scan.ingest(fetched);
            (scanned, scan.next_offset())
        };
        for (offset, error) in &scanned.unreadable {
            tracing::error!(topic = &*key.0, partition = key.1, offset, %error, "a record batch of replies cannot be read and is left out");
        }
        if let Some(error) = &scanned.broken {
            tracing::error!(topic = &*key.0, partition = key.1, offset = next_offset, %error, "the broker's replies cannot be read, asking again");
        }
        self.spread(key, false, scanned.replies, next_offset);
        scanned.broken.is_some()
    }

    fn is_full(&self, _key: &PartitionKey) -> bool {
        self.is_congested()
    }

    fn room(&self, _key: &PartitionKey) -> impl Future<Output = ()> {
        let replies = self.clone();
        async move {
            while replies.is_congested() {
                runtime::sleep(RESEND_INTERVAL).await;
            }
        }
    }
}
