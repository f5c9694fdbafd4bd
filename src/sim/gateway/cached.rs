//! Reads of the cached topic on the core that took them, as `net/exchange` and `net/collection` drive them.
//!
//! Sits under an exchange. Its one rule: a collection opens all its walks at one moment and is written in pieces, whatever happens in between.

use std::time::Duration;

use bytes::Bytes;

use super::core::Core;
use super::exchange::{Ask, Outcome, State};
use super::items::Items;
use super::{ITEMS, Shared, WAIT_MAX};
use crate::clock::Instant;
use crate::error::RequestError;
use crate::exchange::reading::{Behind, CacheAnswer, Next, Opened, Reading};
use crate::http::{Body, Headers, Method, RequestHead, Scheme, Version};
use crate::kafka::cache::{PartitionView, WalkEnd, WalkId, WalkRefused, WalkStep};
use crate::mapping::http_kafka::fetch::{CachedTopic, FetchRequest, JsonArray, RecordFilter};
use crate::mapping::prefer::Prefer;
use crate::sim::event::GatewayEvent;

/// The longest that a client takes for a piece of a collection.
const PIECE_MAX: Duration = Duration::from_millis(60);
type Walks = Vec<(usize, WalkId)>;

/// The state of a read that has just come.
pub(super) fn reading(ask: &Ask, timeout: Duration, now: Instant) -> State {
    let head = RequestHead::new(
        Method::Get,
        Scheme::Http,
        Version::Http11,
        b"gateway",
        b"/items",
        Headers::default(),
    );
    let mut request = match ask {
        Ask::Get { key, .. } => {
            let filter = RecordFilter {
                key: Some(key.to_vec()),
                headers: Vec::new(),
            };
            FetchRequest::new(vec![filter], false, &head)
        }
        _ => FetchRequest::new(Vec::new(), true, &head),
    };
    if let Ask::Get { wait, .. } = ask {
        request.prefer = Prefer {
            respond_async: false,
            wait: *wait,
        };
    }
    let wait = request.prefer.wait_up_to(WAIT_MAX);
    let machine = Reading::new(ITEMS.to_owned(), 0, timeout, wait, false, now);
    State::Reading {
        machine: Box::new(machine),
        request: Box::new(request),
    }
}

impl Core {
    /// The cache may say something else now.
    pub(super) fn poll_readers(&mut self, shared: &mut Shared) {
        let is_reading = |state: &State| matches!(state, State::Reading { .. });
        let readers = self.exchanges.iter();
        let readers = readers.filter(|(_, exchange)| is_reading(&exchange.state));
        let readers: Vec<u64> = readers.map(|(number, _)| *number).collect();
        for number in readers {
            self.poll_reading(number, shared);
        }
    }

    pub(super) fn poll_reading(&mut self, number: u64, shared: &mut Shared) {
        let now = shared.fabric.now();
        let floors: Vec<i64> = (0..self.items.partition_count())
            .map(|partition| self.floor(partition))
            .collect();
        let Some(exchange) = self.exchanges.get_mut(&number) else {
            return;
        };
        let State::Reading { machine, request } = &exchange.state else {
            return;
        };
        match next(machine, request, &mut self.items, &floors, now) {
            // Whoever waits looks at every change here; that a key's waiters sleep through others is the shell's saving.
            Next::WaitUntil(until) | Next::WaitForChange(until) => {
                let wait = until.saturating_duration_since(now);
                let core = self.number;
                let event = GatewayEvent::Poll {
                    core,
                    request: number,
                };
                shared.later(wait, event);
            }
            Next::Answer(answer) => {
                let body = match answer.body {
                    Body::Full(body) => body,
                    _ => Bytes::new(),
                };
                let outcome = match answer.head.status {
                    404 => Outcome::Failed(RequestError::NotFound),
                    status => Outcome::Answered { status, body },
                };
                self.finish(number, outcome, shared);
            }
            Next::Fail(error) => self.finish(number, Outcome::Failed(error), shared),
            Next::Begin((walks, opened_at)) => {
                exchange.state = State::Streaming {
                    walks,
                    opened_at,
                    json: JsonArray::default(),
                    body: Vec::new(),
                };
                self.poll_streaming(number, shared);
            }
            Next::LookOn => self.poll_reading(number, shared),
            Next::Cold => shared.truth.fail(format_args!(
                "an item is not cached, and nothing is evicted"
            )),
        }
    }

    /// Writes a piece of a collection; the next one when the client has taken it.
    pub(super) fn poll_streaming(&mut self, number: u64, shared: &mut Shared) {
        let pieces = 1 + shared.fabric.random.below(3);
        let Some(exchange) = self.exchanges.get_mut(&number) else {
            return;
        };
        let State::Streaming {
            walks,
            opened_at,
            json,
            body,
        } = &mut exchange.state
        else {
            return;
        };
        for _ in 0..pieces {
            let Some((partition, walk)) = walks.last().copied() else {
                json.finish(body);
                let outcome = Outcome::Listed {
                    body: std::mem::take(body).into(),
                    opened_at: std::mem::take(opened_at),
                };
                return self.finish(number, outcome, shared);
            };
            match self.items.walk_next(partition, walk) {
                WalkStep::Record(record) => {
                    let value = record.view().and_then(|record| record.value);
                    json.push(value, body);
                }
                WalkStep::End(WalkEnd::Complete) => {
                    walks.pop();
                    self.items.close_walk(partition, walk);
                }
                WalkStep::End(WalkEnd::Lost) => {
                    return self.finish(number, Outcome::Cut, shared);
                }
            }
        }
        let wait = shared.fabric.random.between(Duration::ZERO, PIECE_MAX);
        let core = self.number;
        let event = GatewayEvent::Poll {
            core,
            request: number,
        };
        shared.later(wait, event);
    }
}

/// The cache's answer, or for what to wait.
fn next(
    machine: &Reading,
    request: &FetchRequest,
    items: &mut Items,
    floors: &[i64],
    now: Instant,
) -> Next<(Walks, Vec<i64>)> {
    let opened = if items.is_open() {
        Opened::Open
    } else {
        Opened::Opening
    };
    if let Some(next) = machine.handle_opened(opened, now) {
        return next;
    }
    let home = request.home_partition(floors.len());
    let has_reached = |(partition, required): (usize, &i64)| {
        let is_read = |view: &PartitionView| view.next_offset() >= *required;
        let is_other = home.is_some_and(|home| home != partition);
        is_other || *required == 0 || items.with_view(partition, is_read).unwrap_or(false)
    };
    let behind = if floors.iter().enumerate().all(has_reached) {
        Behind::Nothing
    } else {
        Behind::Writes
    };
    if let Some(next) = machine.handle_behind(behind, now) {
        return next;
    }
    let answer = if request.merge {
        collection_answer(items)
    } else {
        request.single(items).into()
    };
    machine.handle_cache(answer, behind, now)
}

fn collection_answer(items: &mut Items) -> CacheAnswer<(Walks, Vec<i64>)> {
    let mut walks = Vec::new();
    let mut opened_at = Vec::new();
    let mut refused = None;
    for partition in (0..items.partition_count()).rev() {
        match items.open_walk(partition) {
            Ok(walk) => walks.push((partition, walk)),
            Err(reason) => {
                refused = Some(reason);
                break;
            }
        }
    }
    let Some(reason) = refused else {
        for partition in 0..items.partition_count() {
            let end = items.with_view(partition, PartitionView::next_offset);
            opened_at.push(end.unwrap_or(0));
        }
        return CacheAnswer::Collection((walks, opened_at));
    };
    for (partition, walk) in walks {
        items.close_walk(partition, walk);
    }
    match reason {
        WalkRefused::Warming => CacheAnswer::Warming,
        WalkRefused::NotCached { .. } => CacheAnswer::CollectionNotCached,
        WalkRefused::TooMany => CacheAnswer::TooMany,
    }
}
