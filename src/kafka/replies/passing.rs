//! The core of an id and those who listen to it on other cores: what its shard passes on goes out in one message for each of them, or as a note that it was dropped.
//!
//! Rule: a listener's core that does not keep up costs the core of the id a bounded queue and a few numbers for each listener; the records are in Kafka.

use std::collections::{BTreeMap, VecDeque};

use super::{OUTBOX_PAUSE, Replies, ReplyMessage, Token};
use crate::kafka::correlation::{CorrelationId, Looked, Missed, Place, ReplyRecord};
use crate::runtime::placement::CoreId;

/// What the listeners could not be passed, a span for each partition.
pub(super) type MissedOnes = BTreeMap<Token, Vec<Missed>>;

/// What is to be passed on, by listener.
#[derive(Debug, Default)]
pub(super) struct Passes(BTreeMap<Token, Vec<ReplyRecord>>);

impl Passes {
    /// The first, and those that follow it.
    pub(super) fn gather(
        token: Token,
        record: ReplyRecord,
        mut next: impl FnMut() -> Option<(Token, ReplyRecord)>,
    ) -> Self {
        let mut passes = Self::default();
        let mut pass = Some((token, record));
        while let Some((token, record)) = pass {
            passes.0.entry(token).or_default().push(record);
            pass = next();
        }
        passes
    }
}

impl Replies {
    pub(super) fn listen_here(&self, topic: &str, id: CorrelationId, token: Token, is_fresh: bool) {
        let mut refused = true;
        self.with_shard(topic, |shard| {
            refused = shard.listen(id.clone(), token).is_err()
                || (!is_fresh && shard.look(id, token).is_err());
        });
        if refused {
            self.tell_looked(token, Looked::Overloaded, i64::MIN);
        }
    }

    pub(super) fn look_here(&self, topic: &str, id: CorrelationId, token: Token) {
        let mut refused = true;
        self.with_shard(topic, |shard| refused = shard.look(id, token).is_err());
        if refused {
            self.tell_looked(token, Looked::Overloaded, i64::MIN);
        }
    }

    pub(super) fn tell_looked(&self, token: Token, looked: Looked, indexed: i64) {
        let message = ReplyMessage::Looked {
            slot: token.slot,
            looked,
            indexed,
        };
        self.send_or_keep(token.core, message);
    }

    /// Passes on what was gathered.
    pub(super) fn pass_all(&self, passes: Passes) {
        for (token, records) in passes.0 {
            if self.is_dropping(token) {
                let mut missed = self.inner.missed.borrow_mut();
                note(missed.entry(token).or_default(), &records);
            } else {
                let slot = token.slot;
                self.send_or_keep(token.core, ReplyMessage::Passed { slot, records });
            }
        }
    }

    /// Whether nothing can be passed to a listener: its core does not keep up, or it has not been told yet that it did not.
    fn is_dropping(&self, token: Token) -> bool {
        self.waiting_for(token.core) >= OUTBOX_PAUSE
            || self.inner.missed.borrow().contains_key(&token)
    }

    fn waiting_for(&self, core: CoreId) -> usize {
        let outboxes = self.inner.outboxes.borrow();
        outboxes.get(core.0).map_or(0, VecDeque::len)
    }

    /// Tells listeners what they missed, those whose cores have room; says whether some are left.
    pub(super) fn send_missed(&self) -> bool {
        let mut told = Vec::new();
        for core in (0..self.inner.cores).map(CoreId) {
            let room = OUTBOX_PAUSE.saturating_sub(self.waiting_for(core));
            let tokens = Token { core, slot: 0 }..=Token {
                core,
                slot: u64::MAX,
            };
            let missed = self.inner.missed.borrow();
            told.extend(missed.range(tokens).take(room).map(|(token, _)| *token));
        }
        for token in told {
            let missed = self.inner.missed.borrow_mut().remove(&token);
            let slot = token.slot;
            if let Some(missed) = missed {
                self.send_or_keep(token.core, ReplyMessage::Missed { slot, missed });
            }
        }
        !self.inner.missed.borrow().is_empty()
    }
}

/// Adds records to what was missed.
fn note(missed: &mut Vec<Missed>, records: &[ReplyRecord]) {
    for record in records {
        let Place { partition, offset } = record.reply.place;
        match missed.iter_mut().find(|span| span.partition == partition) {
            Some(span) => {
                span.first = span.first.min(offset);
                span.last = span.last.max(offset);
            }
            None => missed.push(Missed {
                partition,
                first: offset,
                last: offset,
            }),
        }
    }
}
