//! A partition that a core follows, as `kafka/follow` does it on real sockets: leader, fetch, fetch again; on any error from the metadata on.
//!
//! Sits between a core and the fabric. Its one rule: what the records are for is the core's business, which it asks where it stands.

use std::time::Duration;

use super::core::Core;
use super::lookup::Lookup;
use super::{ITEMS, REPLIES, RETRY_INTERVAL, Shared};
use crate::clock::Instant;
use crate::kafka::error_code::ErrorCode;
use crate::kafka::fetcher::FetchedPartition;
use crate::sim::event::{Endpoint, EndpointEvent, Purpose, Request, Response};

/// A topic and a partition of it.
pub(super) type Source = (&'static str, i32);

/// How often a follower that may take no more looks whether it may.
const ROOM_INTERVAL: Duration = Duration::from_millis(2);

/// How far the following of a partition has come.
#[derive(Debug, Default)]
pub(super) struct Follower {
    lookup: Option<Lookup>,
    /// Nothing is under way before then.
    pauses_until: Option<Instant>,
    /// Where the partition ended as last told.
    end: Option<i64>,
}

impl Core {
    /// Follows a partition from now on.
    pub(super) fn follow(&mut self, source: Source, shared: &mut Shared) {
        if self.followers.contains_key(&source) {
            return;
        }
        self.followers.insert(source, Follower::default());
        self.fetch(source, shared);
    }

    /// Takes what happened between a follower and its broker.
    pub(super) fn handle_follow(
        &mut self,
        source: Source,
        event: EndpointEvent,
        shared: &mut Shared,
    ) {
        let now = shared.fabric.now();
        let Some(follower) = self.followers.get_mut(&source) else {
            return;
        };
        if matches!(event, EndpointEvent::Wake) {
            if follower.pauses_until.is_some_and(|until| until <= now) {
                follower.pauses_until = None;
                self.fetch(source, shared);
            }
            return;
        }
        let Some(lookup) = &mut follower.lookup else {
            return;
        };
        match lookup.handle(event, &mut shared.fabric) {
            None => {}
            Some(Ok(Response::Fetch(fetched))) => self.take(source, &fetched, shared),
            Some(_) => {
                follower.lookup = None;
                self.shell.want(source.0, &mut shared.fabric);
                self.pause(source, RETRY_INTERVAL, shared);
            }
        }
    }

    fn take(&mut self, source: Source, fetched: &FetchedPartition, shared: &mut Shared) {
        if fetched.error != ErrorCode::NONE {
            self.shell.want(source.0, &mut shared.fabric);
            return self.pause(source, RETRY_INTERVAL, shared);
        }
        // Of a partition without news an incremental fetch session (KIP-227) says nothing.
        let end = Some(fetched.last_stable_offset);
        let follower = self.followers.entry(source).or_default();
        let is_news = follower.end != end || !fetched.records.is_empty();
        follower.end = end;
        if !is_news {
            return self.fetch(source, shared);
        }
        if source.0 == ITEMS {
            self.store_fetched(source.1, fetched, shared);
        } else {
            self.scan_fetched(source.1, fetched, shared);
        }
        self.fetch(source, shared);
    }

    /// Asks for what comes next.
    fn fetch(&mut self, source: Source, shared: &mut Shared) {
        let (topic, partition) = source;
        if topic == REPLIES && self.is_congested(shared) {
            return self.pause(source, ROOM_INTERVAL, shared);
        }
        let index = usize::try_from(partition).unwrap_or(usize::MAX);
        let leader = self.shell.leaders(topic).get(index).copied().flatten();
        let Some(broker) = leader else {
            self.shell.want(topic, &mut shared.fabric);
            return self.pause(source, RETRY_INTERVAL, shared);
        };
        let offset = if topic == ITEMS {
            self.items.next_offset(partition)
        } else {
            self.replies.next_offset(partition)
        };
        let request = Request::Fetch {
            topic,
            partition,
            offset,
        };
        let endpoint = Endpoint {
            core: self.number,
            purpose: Purpose::Follow { topic, partition },
        };
        let Some(follower) = self.followers.get_mut(&source) else {
            return;
        };
        let fabric = &mut shared.fabric;
        match &mut follower.lookup {
            Some(lookup) if lookup.is_open_to(broker, fabric) => lookup.ask(request, fabric),
            lookup => {
                if let Some(lookup) = lookup {
                    lookup.close(fabric);
                }
                *lookup = Some(Lookup::begin(endpoint, broker, request, fabric));
            }
        }
    }

    fn pause(&mut self, source: Source, wait: Duration, shared: &mut Shared) {
        let until = shared.fabric.now() + wait;
        if let Some(follower) = self.followers.get_mut(&source) {
            follower.pauses_until = Some(until);
        }
        let (topic, partition) = source;
        let purpose = Purpose::Follow { topic, partition };
        let core = self.number;
        shared.fabric.wake(Endpoint { core, purpose }, until);
    }
}
