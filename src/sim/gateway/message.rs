//! What the cores of a process tell each other, and the bounded queues it goes through.
//!
//! Sits between the cores. Its one rule: as in `runtime::mailbox`, sending never waits: what does not fit is given back.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::kafka::cache::Update;
use crate::kafka::correlation::{CorrelationId, Place, SeenReply, Verdict, Waiter};
use crate::kafka::producer::Record;
use crate::runtime::placement::CoreId;
use crate::sim::event::{Event, GatewayEvent};
use crate::sim::fabric::Fabric;

/// Where a verdict has to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Token {
    pub(super) core: CoreId,
    pub(super) slot: u64,
}

/// `ReplyMessage` and `CacheMessage` of the real cores, for one reply topic and one cached topic.
#[derive(Debug)]
pub(super) enum Message {
    Submit(Box<Submit>),
    Watch {
        id: CorrelationId,
        waiter: Waiter<Token>,
    },
    Cancel {
        id: CorrelationId,
        token: Token,
    },
    Forget {
        id: CorrelationId,
        place: Place,
    },
    Told {
        slot: u64,
        verdict: Verdict,
    },
    Follow {
        partition: i32,
    },
    Indexed {
        partition: i32,
        is_reset: bool,
        replies: Vec<SeenReply>,
        next_offset: i64,
    },
    Subscribe {
        partition: i32,
        reader: CoreId,
    },
    Updates {
        partition: i32,
        updates: Vec<Update>,
        is_fresh: bool,
    },
}

/// A request to be produced, or joined.
#[derive(Debug)]
pub(super) struct Submit {
    pub(super) id: CorrelationId,
    pub(super) is_ours: bool,
    pub(super) record: Record,
    pub(super) waiter: Waiter<Token>,
}

/// The queues of all cores that live.
#[derive(Debug)]
pub(super) struct Mailboxes {
    by_core: BTreeMap<usize, Mailbox>,
    capacity: usize,
    /// The longest that a core does something else before it looks into its mailbox.
    turn_max: Duration,
    pub(super) refused: u64,
}

#[derive(Debug, Default)]
struct Mailbox {
    messages: VecDeque<Message>,
    is_rung: bool,
}

impl Mailboxes {
    pub(super) const fn new(capacity: usize, turn_max: Duration) -> Self {
        Self {
            by_core: BTreeMap::new(),
            capacity,
            turn_max,
            refused: 0,
        }
    }

    pub(super) fn open(&mut self, core: usize) {
        self.by_core.insert(core, Mailbox::default());
    }

    pub(super) fn close(&mut self, core: usize) {
        self.by_core.remove(&core);
    }

    /// Sends to a core of the same process; gives the message back when its queue is full.
    pub(super) fn send(
        &mut self,
        to: usize,
        message: Message,
        fabric: &mut Fabric,
    ) -> Result<(), Message> {
        let Some(mailbox) = self.by_core.get_mut(&to) else {
            return Ok(());
        };
        if mailbox.messages.len() >= self.capacity {
            self.refused += 1;
            return Err(message);
        }
        mailbox.messages.push_back(message);
        if !std::mem::replace(&mut mailbox.is_rung, true) {
            self.ring(to, fabric);
        }
        Ok(())
    }

    /// The next message for a core.
    pub(super) fn take(&mut self, core: usize) -> Option<Message> {
        self.by_core.get_mut(&core)?.messages.pop_front()
    }

    /// A core turns to something else: it comes back if anything is left.
    pub(super) fn leave(&mut self, core: usize, fabric: &mut Fabric) {
        let Some(mailbox) = self.by_core.get_mut(&core) else {
            return;
        };
        mailbox.is_rung = !mailbox.messages.is_empty();
        if mailbox.is_rung {
            self.ring(core, fabric);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        let mut mailboxes = self.by_core.values();
        mailboxes.all(|mailbox| mailbox.messages.is_empty())
    }

    fn ring(&self, core: usize, fabric: &mut Fabric) {
        let wait = fabric.random.between(Duration::ZERO, self.turn_max);
        let event = Event::Gateway(GatewayEvent::Pump { core });
        fabric.schedule.after(wait, event);
    }
}
