//! Incremental fetch sessions (KIP-227): which partitions a client follows, and what it was told of each.
//! Used by the Fetch handler alone.
//!
//! One rule: a session holds a client's wishes and our last answers, never records.

#[cfg(test)]
mod tests;

use super::error::ErrorCode;
use super::topics::TopicKey;
use std::collections::HashMap;
use uuid::Uuid;

/// Partitions of one session; a client that follows more gets full fetches.
const PARTITIONS_MAX: usize = 10_000;
/// The epoch of a request that wants a new session.
const INITIAL_EPOCH: i32 = 0;
/// The epoch of a request that wants none, and closes the one it names.
const FINAL_EPOCH: i32 = -1;
/// Session id of "none".
const NO_SESSION: i32 = 0;

/// A partition, as requests name it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct PartitionKey {
    pub(super) topic: TopicKey,
    pub(super) partition: i32,
}

/// What a client wants of one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wish {
    pub(super) key: PartitionKey,
    pub(super) fetch_offset: i64,
    pub(super) bytes_max: i32,
    pub(super) leader_epoch: i32,
}

/// The session part of a Fetch request.
#[derive(Clone, Debug)]
pub(super) struct SessionRequest {
    pub(super) id: i32,
    pub(super) epoch: i32,
    /// The request is of a version that names topics by id.
    pub(super) uses_topic_ids: bool,
    pub(super) wishes: Vec<Wish>,
    pub(super) forgotten: Vec<PartitionKey>,
}

/// The answer for one partition, as far as a session looks at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) error: ErrorCode,
    pub(super) high_watermark: i64,
    pub(super) log_start_offset: i64,
    pub(super) has_records: bool,
}

/// How one Fetch is to be answered; from [`FetchSessions::begin`] to [`FetchSessions::end`].
#[derive(Debug)]
pub(super) struct Plan {
    /// What to read, in this order.
    pub(super) wishes: Vec<Wish>,
    kind: Kind,
}

#[derive(Debug, PartialEq, Eq)]
enum Kind {
    /// No session: everything is answered.
    Sessionless,
    /// Everything is answered, and a session made of it.
    Full { uses_topic_ids: bool },
    /// Only what is new to the client is answered.
    Incremental { id: i32, epoch: i32 },
}

/// What [`FetchSessions::end`] says about the answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) session_id: i32,
    /// For each wish of the plan: whether its answer is sent.
    pub(super) is_sent: Vec<bool>,
}

/// All sessions of the broker, a bounded number: a new one evicts the one that was used longest ago.
#[derive(Debug)]
pub(super) struct FetchSessions {
    sessions_max: usize,
    sessions: HashMap<i32, Session>,
    /// Counts uses, to order sessions by them.
    uses: u64,
}

#[derive(Debug)]
struct Session {
    /// What the next request must say.
    epoch: i32,
    uses_topic_ids: bool,
    last_use: u64,
    partitions: HashMap<PartitionKey, Followed>,
    /// The turn that the next partition gets.
    next_turn: u64,
}

#[derive(Debug)]
struct Followed {
    wish: Wish,
    told: Option<Told>,
    /// Partitions are read in this order; one that had records goes to the end, so that none starves.
    turn: u64,
}

impl FetchSessions {
    pub(super) fn new(sessions_max: usize) -> Self {
        Self {
            sessions_max,
            sessions: HashMap::new(),
            uses: 0,
        }
    }

    /// Takes the session part of a request.
    ///
    /// # Errors
    /// `FETCH_SESSION_ID_NOT_FOUND`, `INVALID_FETCH_SESSION_EPOCH`, `FETCH_SESSION_TOPIC_ID_ERROR`: for the whole answer.
    pub(super) fn begin(&mut self, request: SessionRequest) -> Result<Plan, ErrorCode> {
        if request.epoch == INITIAL_EPOCH || request.epoch == FINAL_EPOCH {
            self.sessions.remove(&request.id);
            let kind = match request.epoch {
                INITIAL_EPOCH => Kind::Full {
                    uses_topic_ids: request.uses_topic_ids,
                },
                _ => Kind::Sessionless,
            };
            return Ok(Plan {
                wishes: request.wishes,
                kind,
            });
        }
        self.uses += 1;
        let session = self
            .sessions
            .get_mut(&request.id)
            .ok_or(ErrorCode::FETCH_SESSION_ID_NOT_FOUND)?;
        if session.epoch != request.epoch {
            return Err(ErrorCode::INVALID_FETCH_SESSION_EPOCH);
        }
        if session.uses_topic_ids != request.uses_topic_ids {
            return Err(ErrorCode::FETCH_SESSION_TOPIC_ID_ERROR);
        }
        let id = request.id;
        session.last_use = self.uses;
        session.update(request.wishes, &request.forgotten);
        let (epoch, wishes) = (session.next_epoch(), session.wishes());
        let count = wishes.len();
        if count > 0 && count <= PARTITIONS_MAX {
            return Ok(Plan {
                wishes,
                kind: Kind::Incremental { id, epoch },
            });
        }
        // Nothing followed any more: Kafka closes such a session as well. Too much followed: the client has to ask in full.
        self.sessions.remove(&id);
        if count > 0 {
            return Err(ErrorCode::FETCH_SESSION_ID_NOT_FOUND);
        }
        Ok(Plan {
            wishes,
            kind: Kind::Sessionless,
        })
    }

    /// Ends what `begin` began: `told` are the answers, in the order of the plan's wishes.
    ///
    /// # Errors
    /// The session is gone or was used by another request meanwhile.
    pub(super) fn end(&mut self, plan: Plan, told: &[Told]) -> Result<Verdict, ErrorCode> {
        let all = |session_id| Verdict {
            session_id,
            is_sent: vec![true; told.len()],
        };
        match plan.kind {
            Kind::Sessionless => Ok(all(NO_SESSION)),
            Kind::Full { uses_topic_ids } => Ok(all(self.open(plan.wishes, told, uses_topic_ids))),
            Kind::Incremental { id, epoch } => {
                let session = self
                    .sessions
                    .get_mut(&id)
                    .ok_or(ErrorCode::FETCH_SESSION_ID_NOT_FOUND)?;
                if session.epoch != epoch {
                    return Err(ErrorCode::INVALID_FETCH_SESSION_EPOCH);
                }
                let is_sent = plan
                    .wishes
                    .iter()
                    .zip(told)
                    .map(|(wish, told)| session.tell(&wish.key, *told))
                    .collect();
                Ok(Verdict {
                    session_id: id,
                    is_sent,
                })
            }
        }
    }

    fn open(&mut self, wishes: Vec<Wish>, told: &[Told], uses_topic_ids: bool) -> i32 {
        if wishes.is_empty() || wishes.len() > PARTITIONS_MAX || self.sessions_max == 0 {
            return NO_SESSION;
        }
        self.evict();
        self.uses += 1;
        let mut session = Session {
            epoch: 1,
            uses_topic_ids,
            last_use: self.uses,
            partitions: HashMap::new(),
            next_turn: 0,
        };
        let keys: Vec<_> = wishes.iter().map(|wish| wish.key.clone()).collect();
        session.update(wishes, &[]);
        for (key, told) in keys.iter().zip(told) {
            session.tell(key, *told);
        }
        let id = self.fresh_id();
        self.sessions.insert(id, session);
        id
    }

    fn evict(&mut self) {
        while self.sessions.len() >= self.sessions_max {
            let idlest = self
                .sessions
                .iter()
                .min_by_key(|(_, session)| session.last_use)
                .map(|(id, _)| *id);
            let Some(id) = idlest else { return };
            self.sessions.remove(&id);
        }
    }

    /// Random, so that a client's session from before a restart is not taken for somebody else's.
    fn fresh_id(&self) -> i32 {
        loop {
            let id = i32::from_be_bytes(first_four(Uuid::new_v4())) & i32::MAX;
            if id != NO_SESSION && !self.sessions.contains_key(&id) {
                return id;
            }
        }
    }
}

fn first_four(id: Uuid) -> [u8; 4] {
    let [a, b, c, d, ..] = id.into_bytes();
    [a, b, c, d]
}

impl Session {
    fn update(&mut self, wishes: Vec<Wish>, forgotten: &[PartitionKey]) {
        for wish in wishes {
            if let Some(followed) = self.partitions.get_mut(&wish.key) {
                followed.wish = wish;
                continue;
            }
            let key = wish.key.clone();
            let followed = Followed {
                wish,
                told: None,
                turn: self.next_turn,
            };
            self.next_turn += 1;
            self.partitions.insert(key, followed);
        }
        for key in forgotten {
            self.partitions.remove(key);
        }
    }

    /// Epochs go from 1 to `i32::MAX` and to 1 again.
    fn next_epoch(&mut self) -> i32 {
        self.epoch = self.epoch.checked_add(1).unwrap_or(1);
        self.epoch
    }

    fn wishes(&self) -> Vec<Wish> {
        let mut followed: Vec<_> = self.partitions.values().collect();
        followed.sort_unstable_by_key(|followed| followed.turn);
        followed
            .into_iter()
            .map(|followed| followed.wish.clone())
            .collect()
    }

    /// Notes an answer; says whether it is news: records, an error, another watermark or start, or the first answer.
    fn tell(&mut self, key: &PartitionKey, told: Told) -> bool {
        let Some(followed) = self.partitions.get_mut(key) else {
            return true;
        };
        let is_news =
            told.has_records || told.error != ErrorCode::NONE || followed.told != Some(told);
        if told.has_records {
            followed.turn = self.next_turn;
            self.next_turn += 1;
        }
        // With the records gone the next, empty, answer is no news. After an error, the first good answer is.
        followed.told = (told.error == ErrorCode::NONE).then_some(Told {
            has_records: false,
            ..told
        });
        is_news
    }
}
