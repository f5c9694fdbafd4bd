//! The exchanges of one reply topic whose ids belong to one core: who waits, what is in flight, which replies were seen.
//!
//! ```text
//!                        ┌─ reply known ─▶ told where it lies
//!  submit ── key of the ─┤                          ┌─ a reply comes ─▶ told
//!    │       client      └─ LookingUp ──────────────┴─ caught up, none ─▶ Producing ─▶ Stored ── a reply comes ─▶ told
//!    └─ id of our own ───────────────────────────────────────────────────────┘  └─ refused ─▶ told why
//! ```
//! Listeners are apart from all that: every reply to their id is passed to them, in order, whatever exchanges there are. And whoever looks is told what is known of
//! an id once every reply partition was indexed up to where it ended after he asked.
//!
//! Rules: whoever comes with an id that is open joins it; an id that a client chose is produced only after every reply partition was indexed up to where it ended
//! *after* the request came; nothing is produced for an id whose reply was seen.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use super::{CorrelationId, Known, Place, Reply, ReplyIndex, ReplyRecord, Rounds, SeenReply};
use crate::clock::Instant;
use crate::kafka::producer::ProduceFault;

/// Groups of exchanges that wait for different ends.
const CATCH_UPS_MAX: usize = 2;
/// So many may have asked before it is worth to look which of them are gone.
const SORT_OUT_MIN: usize = 1024;

/// Bounds of a shard.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Exchanges that are open at a time.
    pub exchanges_max: usize,
    /// Replies that are remembered.
    pub replies_max: usize,
    /// Listeners at a time, and apart from them looks.
    pub listeners_max: usize,
    /// How long an id that a client chose stays open without anybody waiting: a repeat within joins instead of producing again.
    pub linger: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            exchanges_max: 100_000,
            replies_max: 500_000,
            listeners_max: 100_000,
            linger: Duration::from_secs(300),
        }
    }
}

/// What a waiter wants to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wants {
    /// The reply.
    Reply,
    /// That the request is stored, or that it has its reply already.
    Stored,
    /// The reply if there is one now, else that there is none.
    ReplyNow,
}

/// Who waits for an exchange.
#[derive(Clone, Debug)]
pub struct Waiter<T> {
    /// How to find it again.
    pub token: T,
    /// For what.
    pub wants: Wants,
    /// Until when. It keeps the time itself; here it says how long a record may take to be stored.
    pub deadline: Instant,
}

/// What a waiter is told, once.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// The reply, which just came.
    Reply(Reply),
    /// The reply came before and lies there.
    ReplyAt(Place),
    /// The request is stored.
    Stored,
    /// There is no reply yet.
    NoReply,
    /// The request could not be stored, or nobody knows.
    Fault(ProduceFault),
    /// Kafka cannot say how far the replies go; nothing was produced.
    Unavailable,
    /// Too many exchanges are open; nothing was produced.
    Overloaded,
}

/// What whoever looked is told, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Looked {
    /// What is known of the replies to the id; `None`: there was none.
    Known(Option<Known>),
    /// Kafka cannot say how far the replies go.
    Unavailable,
    /// Too many look, or listen.
    Overloaded,
}

/// What the shell has to do.
#[derive(Debug)]
pub enum ShardOutput<T, R> {
    /// Produce the request and say how that went: [`Shard::handle_stored`].
    Produce {
        /// Its id.
        id: CorrelationId,
        /// What was given to [`Shard::submit`].
        request: R,
        /// When it has to be stored; [`Instant::FAR_FUTURE`]: when its fate is known.
        deadline: Instant,
    },
    /// Tell a waiter.
    Tell {
        /// Whom.
        token: T,
        /// What.
        verdict: Verdict,
    },
    /// Pass a reply to a listener. Those to one listener come in the order of each partition.
    Pass {
        /// To whom.
        token: T,
        /// What.
        record: ReplyRecord,
    },
    /// Tell whoever looked.
    Looked {
        /// Whom.
        token: T,
        /// What.
        looked: Looked,
        /// How far the partition of the first reply was indexed by now: what lies beyond is passed to those who listen already.
        indexed: i64,
    },
    /// Look up where the reply partitions end, and say so: [`Shard::handle_ends`].
    LookUpEnds,
}

/// Too many exchanges are open, or too many listen or look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overloaded;

#[derive(Debug, PartialEq, Eq)]
enum State {
    /// Nobody knows yet whether it has its reply.
    LookingUp,
    /// The request is on its way.
    Producing,
    /// The request is stored.
    Stored,
    /// The request may be stored.
    OutcomeUnknown,
    /// Others produced it, or nobody: only the reply is waited for.
    Watched,
}

#[derive(Debug)]
struct Exchange<T, R> {
    state: State,
    waiters: Vec<Joined<T>>,
    request: Option<R>,
    /// The id is of the client's choosing: it may come again.
    may_repeat: bool,
    /// Which look-up it waits for, while it is [`State::LookingUp`].
    look_up: LookUp,
    /// Its place in the queue of those that linger.
    lingers: Option<LingerKey>,
}

/// A waiter and when it came, counted in look-ups.
#[derive(Debug)]
struct Joined<T> {
    waiter: Waiter<T>,
    /// The first look-up that says anything to it: earlier ones may have missed a reply that its client knows of.
    since: LookUp,
    /// Whether it wants the request to be produced.
    brings_request: bool,
    /// It waits for the reply alone: its request may be stored already, or it was found to have no reply yet. What becomes of others' attempts is nothing to it.
    is_settled: bool,
}

/// A look-up of one exchange, or one look: an id may come, go and come again while an earlier one is under way, which then says nothing about it.
type LookUp = u64;
type LingerKey = (Instant, u64);

/// Exchanges and looks that wait until the replies are indexed up to `ends`.
#[derive(Debug)]
struct CatchUp {
    ends: Vec<i64>,
    asked: Vec<(CorrelationId, LookUp)>,
    /// How many may have asked before those that are gone are sorted out.
    sort_out_at: usize,
}

impl CatchUp {
    /// Later ones wait with these: their ends cover them.
    fn merge(&mut self, ends: &[i64], asked: Vec<(CorrelationId, LookUp)>) {
        self.ends.resize(self.ends.len().max(ends.len()), i64::MIN);
        for (have, end) in self.ends.iter_mut().zip(ends) {
            *have = (*have).max(*end);
        }
        self.asked.extend(asked);
    }
}

/// One core's share of the exchanges of one reply topic. `T` finds a waiter again, `R` is a request to be produced.
#[derive(Debug)]
pub struct Shard<T, R> {
    limits: Limits,
    index: ReplyIndex,
    /// One past the last offset indexed, of each partition.
    indexed: Vec<i64>,
    exchanges: HashMap<CorrelationId, Exchange<T, R>>,
    rounds: Rounds<(CorrelationId, LookUp)>,
    next_look_up: LookUp,
    /// How many may wait for the next look-up before those that are gone are sorted out.
    sort_out_at: usize,
    /// A log has begun anew since the look-up under way was begun: it may speak of the old one.
    is_round_void: bool,
    /// In the order of their look-ups, two at most: further ones wait with the last.
    catching_up: VecDeque<CatchUp>,
    /// Exchanges that may be closed when nobody waits, by time.
    lingering: BTreeMap<LingerKey, CorrelationId>,
    next_linger: u64,
    listeners: HashMap<CorrelationId, Vec<T>>,
    /// Over all ids.
    listeners_count: usize,
    /// Who waits to be told what is known of an id.
    looks: HashMap<CorrelationId, BTreeMap<LookUp, T>>,
    /// Over all ids.
    looks_count: usize,
    outputs: VecDeque<ShardOutput<T, R>>,
}

impl<T: Clone + PartialEq, R> Shard<T, R> {
    /// A shard that has seen nothing.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            index: ReplyIndex::new(limits.replies_max),
            indexed: Vec::new(),
            exchanges: HashMap::new(),
            rounds: Rounds::default(),
            next_look_up: 0,
            sort_out_at: SORT_OUT_MIN,
            is_round_void: false,
            catching_up: VecDeque::new(),
            lingering: BTreeMap::new(),
            next_linger: 0,
            listeners: HashMap::new(),
            listeners_count: 0,
            looks: HashMap::new(),
            looks_count: 0,
            outputs: VecDeque::new(),
        }
    }

    /// A request. `is_ours`: nobody can have used its id before.
    ///
    /// # Errors
    ///
    /// [`Overloaded`]; nothing was kept.
    pub fn submit(
        &mut self,
        id: CorrelationId,
        is_ours: bool,
        request: R,
        waiter: Waiter<T>,
    ) -> Result<(), Overloaded> {
        if let Some(place) = self.index.get(&id) {
            self.tell(waiter.token, Verdict::ReplyAt(place));
            return Ok(());
        }
        let joined = Joined {
            waiter,
            since: self.next_look_up,
            brings_request: true,
            is_settled: false,
        };
        if let Some(exchange) = self.exchanges.get_mut(&id) {
            exchange.may_repeat = true;
            match exchange.state {
                State::Stored if joined.waiter.wants == Wants::Stored => {
                    self.tell(joined.waiter.token, Verdict::Stored);
                }
                State::Producing | State::Stored => exchange.waiters.push(joined),
                State::LookingUp => {
                    exchange.request.get_or_insert(request);
                    exchange.waiters.push(joined);
                }
                State::OutcomeUnknown | State::Watched => {
                    exchange.request = Some(request);
                    exchange.waiters.push(joined);
                    self.look_up(&id);
                }
            }
            return Ok(());
        }
        self.make_room()?;
        let mut exchange = Exchange::new(joined, Some(request), !is_ours);
        if is_ours {
            self.produce(&id, &mut exchange);
        }
        let asked = (!is_ours).then(|| id.clone());
        self.exchanges.insert(id, exchange);
        if let Some(id) = asked {
            self.look_up(&id);
        }
        Ok(())
    }

    /// Somebody asks for a reply and brings no request.
    ///
    /// # Errors
    ///
    /// [`Overloaded`]; nothing was kept.
    pub fn watch(&mut self, id: CorrelationId, waiter: Waiter<T>) -> Result<(), Overloaded> {
        if let Some(place) = self.index.get(&id) {
            self.tell(waiter.token, Verdict::ReplyAt(place));
            return Ok(());
        }
        let joined = Joined {
            waiter,
            since: self.next_look_up,
            brings_request: false,
            is_settled: false,
        };
        if let Some(exchange) = self.exchanges.get_mut(&id) {
            // Whoever asks again while it is watched may have heard of a reply since.
            let is_sure = exchange.state != State::Watched;
            if is_sure && exchange.state != State::LookingUp && joined.is_asking() {
                self.tell(joined.waiter.token, Verdict::NoReply);
                return Ok(());
            }
            exchange.waiters.push(joined);
            if !is_sure {
                self.look_up(&id);
            }
            return Ok(());
        }
        self.make_room()?;
        let asked = id.clone();
        self.exchanges.insert(id, Exchange::new(joined, None, true));
        self.look_up(&asked);
        Ok(())
    }

    /// A waiter is gone.
    pub fn cancel(&mut self, id: &CorrelationId, token: &T) {
        let Some(exchange) = self.exchanges.get_mut(id) else {
            return;
        };
        exchange
            .waiters
            .retain(|joined| joined.waiter.token != *token);
        if exchange.waiters.is_empty() && !exchange.is_kept() {
            self.close(id);
        }
    }

    /// Somebody listens: every reply to `id` that is indexed from now on is passed to it. When the log of a partition begins anew, listeners are told nothing: what
    /// they were passed of it before stays said, and what is indexed of the new one is passed like anything else.
    ///
    /// # Errors
    ///
    /// [`Overloaded`]; nothing was kept.
    pub fn listen(&mut self, id: CorrelationId, token: T) -> Result<(), Overloaded> {
        if self.listeners_count >= self.limits.listeners_max {
            return Err(Overloaded);
        }
        self.listeners.entry(id).or_default().push(token);
        self.listeners_count += 1;
        Ok(())
    }

    /// A listener is gone.
    pub fn unlisten(&mut self, id: &CorrelationId, token: &T) {
        let Some(listeners) = self.listeners.get_mut(id) else {
            return;
        };
        let before = listeners.len();
        listeners.retain(|other| other != token);
        self.listeners_count -= before - listeners.len();
        if listeners.is_empty() {
            self.listeners.remove(id);
        }
    }

    /// Somebody wants to know what there is of an id as of now.
    ///
    /// # Errors
    ///
    /// [`Overloaded`]; nothing was kept.
    pub fn look(&mut self, id: CorrelationId, token: T) -> Result<(), Overloaded> {
        // Nothing that comes later changes anything about one that is closed.
        if self
            .index
            .known(&id)
            .is_some_and(|known| known.closing.is_some())
        {
            self.tell_known(&id, token);
            return Ok(());
        }
        if self.looks_count >= self.limits.listeners_max {
            return Err(Overloaded);
        }
        let number = self.next_look_up;
        self.next_look_up += 1;
        self.looks
            .entry(id.clone())
            .or_default()
            .insert(number, token);
        self.looks_count += 1;
        self.ask_for_ends(id, number);
        Ok(())
    }

    /// Whoever looked is gone.
    pub fn cancel_look(&mut self, id: &CorrelationId, token: &T) {
        let Some(looks) = self.looks.get_mut(id) else {
            return;
        };
        let before = looks.len();
        looks.retain(|_, other| other != token);
        self.looks_count -= before - looks.len();
        if looks.is_empty() {
            self.looks.remove(id);
        }
    }

    /// The record at `place` is not the reply to `id`, or not there any more.
    pub fn forget(&mut self, id: &CorrelationId, place: Place) {
        self.index.remove(id, place);
    }

    /// Takes what the owner of a reply partition saw, in order, up to `next_offset`. `is_reset`: the log begins anew, what was seen before is void.
    pub fn handle_indexed(
        &mut self,
        partition: i32,
        is_reset: bool,
        replies: Vec<SeenReply>,
        next_offset: i64,
    ) {
        if is_reset {
            self.index.forget_partition(partition);
            self.look_up_again();
        }
        for seen in replies {
            self.index
                .insert(&seen.id, seen.reply.place, seen.is_closing);
            for waiter in self.close(&seen.id) {
                self.tell(waiter.token, Verdict::Reply(seen.reply.clone()));
            }
            self.pass(seen);
        }
        let Ok(partition) = usize::try_from(partition) else {
            return;
        };
        if self.indexed.len() <= partition {
            self.indexed.resize(partition + 1, i64::MIN);
        }
        self.indexed[partition] = next_offset;
        self.settle_caught_up();
    }

    /// Takes where the reply partitions ended, one offset each; `None` when that could not be found out.
    pub fn handle_ends(&mut self, ends: Option<&[i64]>) {
        let (asked, is_more) = self.rounds.finish();
        self.sort_out_at = SORT_OUT_MIN;
        if is_more {
            self.outputs.push_back(ShardOutput::LookUpEnds);
        }
        if std::mem::take(&mut self.is_round_void) && ends.is_some() {
            return self.look_up_all(asked);
        }
        let Some(ends) = ends else {
            for (id, look_up) in asked {
                if let Some(token) = self.take_look(&id, look_up) {
                    self.tell_looked(token, Looked::Unavailable, i64::MIN);
                } else if self.is_looking_up(&id, look_up) {
                    self.give_up(&id, &Verdict::Unavailable, |_| true);
                }
            }
            return;
        };
        if self.catching_up.len() < CATCH_UPS_MAX {
            self.catching_up.push_back(CatchUp {
                ends: ends.to_vec(),
                asked,
                sort_out_at: SORT_OUT_MIN,
            });
        } else if let Some(mut last) = self.catching_up.pop_back() {
            last.merge(ends, asked);
            if last.asked.len() >= last.sort_out_at {
                last.asked.retain(|(id, look_up)| {
                    self.is_looking_up(id, *look_up) || is_looked_for(&self.looks, id, *look_up)
                });
                last.sort_out_at = SORT_OUT_MIN.max(2 * last.asked.len());
            }
            self.catching_up.push_back(last);
        }
        self.settle_caught_up();
    }

    /// Takes how the producing of a request went.
    pub fn handle_stored(
        &mut self,
        id: &CorrelationId,
        result: Result<(), ProduceFault>,
        now: Instant,
    ) {
        let Some(exchange) = self
            .exchanges
            .get_mut(id)
            .filter(|exchange| exchange.state == State::Producing)
        else {
            return;
        };
        let told = match result {
            Ok(()) => {
                exchange.state = State::Stored;
                Verdict::Stored
            }
            // The reply may come all the same.
            Err(ProduceFault::OutcomeUnknown) => {
                exchange.state = State::OutcomeUnknown;
                Verdict::Fault(ProduceFault::OutcomeUnknown)
            }
            // Whoever only asks for the reply may wait for one to an earlier request.
            Err(fault) => {
                let verdict = Verdict::Fault(fault);
                return self.give_up(id, &verdict, |joined| joined.brings_request);
            }
        };
        let (done, waiting): (Vec<_>, Vec<_>) = std::mem::take(&mut exchange.waiters)
            .into_iter()
            .partition(|joined| joined.waiter.wants == Wants::Stored);
        exchange.waiters = waiting;
        for joined in &mut exchange.waiters {
            joined.is_settled = true;
        }
        if exchange.may_repeat {
            self.linger(id, now);
        } else if exchange.waiters.is_empty() {
            self.close(id);
        }
        for joined in done {
            self.tell(joined.waiter.token, told.clone());
        }
    }

    /// When [`Shard::handle_timeout`] has something to do.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.lingering.keys().next().map(|(at, _)| *at)
    }

    /// Closes exchanges that lingered long enough.
    pub fn handle_timeout(&mut self, now: Instant) {
        while self.poll_timeout().is_some_and(|at| at <= now) {
            let Some((_, id)) = self.lingering.pop_first() else {
                return;
            };
            let Some(exchange) = self.exchanges.get_mut(&id) else {
                continue;
            };
            exchange.lingers = None;
            if exchange.waiters.is_empty() && exchange.state != State::Producing {
                self.exchanges.remove(&id);
            } else {
                self.linger(&id, now);
            }
        }
    }

    /// What there is to do next.
    pub fn poll_output(&mut self) -> Option<ShardOutput<T, R>> {
        self.outputs.pop_front()
    }

    /// What there is to do next, if that is to pass a reply: those that come together can go together.
    pub fn poll_pass(&mut self) -> Option<(T, ReplyRecord)> {
        match self.outputs.pop_front()? {
            ShardOutput::Pass { token, record } => Some((token, record)),
            other => {
                self.outputs.push_front(other);
                None
            }
        }
    }

    /// Exchanges that are open.
    pub fn exchanges_open(&self) -> usize {
        self.exchanges.len()
    }

    /// Replies that are remembered.
    pub fn replies_known(&self) -> usize {
        self.index.len()
    }

    /// Who listens.
    pub const fn listeners(&self) -> usize {
        self.listeners_count
    }

    /// Those who wait for a look-up that has not begun, gone ones that were not sorted out included.
    pub fn look_ups_waiting(&self) -> usize {
        self.rounds.waiting()
    }

    fn tell(&mut self, token: T, verdict: Verdict) {
        self.outputs.push_back(ShardOutput::Tell { token, verdict });
    }

    /// Passes a reply to all who listen for it.
    fn pass(&mut self, seen: SeenReply) {
        let Some(listeners) = self.listeners.get(&seen.id) else {
            return;
        };
        let record = seen.record();
        let passed = listeners.iter().map(|token| ShardOutput::Pass {
            token: token.clone(),
            record: record.clone(),
        });
        self.outputs.extend(passed);
    }

    fn tell_known(&mut self, id: &CorrelationId, token: T) {
        let known = self.index.known(id);
        let partition = known.and_then(|known| usize::try_from(known.first.partition).ok());
        let indexed = partition.and_then(|partition| self.indexed.get(partition));
        let indexed = indexed.copied().unwrap_or(i64::MIN);
        self.tell_looked(token, Looked::Known(known), indexed);
    }

    fn tell_looked(&mut self, token: T, looked: Looked, indexed: i64) {
        self.outputs.push_back(ShardOutput::Looked {
            token,
            looked,
            indexed,
        });
    }

    /// Takes out one who looked, unless it is gone.
    fn take_look(&mut self, id: &CorrelationId, number: LookUp) -> Option<T> {
        let looks = self.looks.get_mut(id)?;
        let token = looks.remove(&number)?;
        if looks.is_empty() {
            self.looks.remove(id);
        }
        self.looks_count -= 1;
        Some(token)
    }

    fn look_up(&mut self, id: &CorrelationId) {
        let Some(exchange) = self.exchanges.get_mut(id) else {
            return;
        };
        let number = self.next_look_up;
        self.next_look_up += 1;
        exchange.state = State::LookingUp;
        exchange.look_up = number;
        self.ask_for_ends(id.clone(), number);
    }

    fn ask_for_ends(&mut self, id: CorrelationId, look_up: LookUp) {
        if self.rounds.ask((id, look_up)) {
            self.outputs.push_back(ShardOutput::LookUpEnds);
        }
        if self.rounds.waiting() >= self.sort_out_at {
            let (exchanges, looks) = (&self.exchanges, &self.looks);
            self.rounds.retain(|(id, look_up)| {
                is_looking_up(exchanges, id, *look_up) || is_looked_for(looks, id, *look_up)
            });
            self.sort_out_at = SORT_OUT_MIN.max(2 * self.rounds.waiting());
        }
    }

    /// A log has begun anew: ends that were looked up before may be beyond what will ever be indexed.
    fn look_up_again(&mut self) {
        self.is_round_void = self.rounds.is_running();
        for CatchUp { asked, .. } in std::mem::take(&mut self.catching_up) {
            self.look_up_all(asked);
        }
    }

    fn look_up_all(&mut self, asked: Vec<(CorrelationId, LookUp)>) {
        for (id, look_up) in asked {
            if is_looked_for(&self.looks, &id, look_up) {
                self.ask_for_ends(id, look_up);
            } else if self.is_looking_up(&id, look_up) {
                self.look_up(&id);
            }
        }
    }

    fn is_looking_up(&self, id: &CorrelationId, look_up: LookUp) -> bool {
        is_looking_up(&self.exchanges, id, look_up)
    }

    /// Takes an exchange out; gives those who wait for it.
    fn close(&mut self, id: &CorrelationId) -> Vec<Waiter<T>> {
        let Some(exchange) = self.exchanges.remove(id) else {
            return Vec::new();
        };
        if let Some(key) = exchange.lingers {
            self.lingering.remove(&key);
        }
        let waiters = exchange.waiters.into_iter();
        waiters.map(|joined| joined.waiter).collect()
    }

    fn linger(&mut self, id: &CorrelationId, now: Instant) {
        let Some(exchange) = self.exchanges.get_mut(id) else {
            return;
        };
        let key = (now + self.limits.linger, self.next_linger);
        self.next_linger += 1;
        if let Some(earlier) = exchange.lingers.replace(key) {
            self.lingering.remove(&earlier);
        }
        self.lingering.insert(key, id.clone());
    }

    fn produce(&mut self, id: &CorrelationId, exchange: &mut Exchange<T, R>) {
        let Some(request) = exchange.request.take() else {
            return;
        };
        exchange.state = State::Producing;
        let deadlines = exchange.waiters.iter().map(|joined| joined.waiter.deadline);
        // One that may be repeated is on its way until its fate is known, however long its clients wait: a repeat must not be stored beside it.
        let deadline = deadlines.max().filter(|_| !exchange.may_repeat);
        self.outputs.push_back(ShardOutput::Produce {
            id: id.clone(),
            request,
            deadline: deadline.unwrap_or(Instant::FAR_FUTURE),
        });
    }

    /// An attempt came to nothing: tells those whose it was, and closes the exchange unless others wait on.
    fn give_up(
        &mut self,
        id: &CorrelationId,
        verdict: &Verdict,
        is_concerned: impl Fn(&Joined<T>) -> bool,
    ) {
        let Some(exchange) = self.exchanges.get_mut(id) else {
            return;
        };
        let (told, waiting): (Vec<_>, Vec<_>) = std::mem::take(&mut exchange.waiters)
            .into_iter()
            .partition(|joined| !joined.is_settled && is_concerned(joined));
        exchange.request = None;
        exchange.state = if waiting.iter().any(|joined| joined.brings_request) {
            State::OutcomeUnknown
        } else {
            State::Watched
        };
        exchange.waiters = waiting;
        if exchange.waiters.is_empty() {
            self.close(id);
        }
        for joined in told {
            self.tell(joined.waiter.token, verdict.clone());
        }
    }

    /// Goes on with the exchanges that are now known to have no reply, and tells those who look.
    fn settle_caught_up(&mut self) {
        while let Some(first) = self.catching_up.front() {
            let is_indexed = |(partition, end): (usize, &i64)| {
                self.indexed.get(partition).copied().unwrap_or(i64::MIN) >= *end
            };
            if !first.ends.iter().enumerate().all(is_indexed) {
                return;
            }
            let Some(CatchUp { asked, .. }) = self.catching_up.pop_front() else {
                return;
            };
            for (id, look_up) in asked {
                if let Some(token) = self.take_look(&id, look_up) {
                    self.tell_known(&id, token);
                } else {
                    self.settle_missing(&id, look_up);
                }
            }
        }
    }

    fn settle_missing(&mut self, id: &CorrelationId, look_up: LookUp) {
        if !self.is_looking_up(id, look_up) {
            return;
        }
        let Some(mut exchange) = self.exchanges.remove(id) else {
            return;
        };
        let is_covered = |joined: &Joined<T>| joined.since <= look_up;
        let is_wanted = exchange
            .waiters
            .iter()
            .any(|joined| joined.brings_request && is_covered(joined));
        let is_open = |joined: &Joined<T>| {
            !is_covered(joined) && (joined.brings_request || joined.is_asking())
        };
        let is_to_go_on = !is_wanted && exchange.waiters.iter().any(is_open);
        if is_wanted {
            self.produce(id, &mut exchange);
        } else if !is_to_go_on {
            exchange.state = State::Watched;
        }
        let (asking, waiting): (Vec<_>, Vec<_>) = std::mem::take(&mut exchange.waiters)
            .into_iter()
            .partition(|joined| joined.is_asking() && (is_wanted || is_covered(joined)));
        exchange.waiters = waiting;
        for joined in &mut exchange.waiters {
            joined.is_settled |= !joined.brings_request && joined.since <= look_up;
        }
        let is_open = !exchange.waiters.is_empty() || exchange.is_kept();
        self.exchanges.insert(id.clone(), exchange);
        if !is_open {
            self.close(id);
        }
        if is_to_go_on {
            self.look_up(id);
        }
        for joined in asking {
            self.tell(joined.waiter.token, Verdict::NoReply);
        }
    }

    /// Those that nobody waits for make room for those that somebody does.
    fn make_room(&mut self) -> Result<(), Overloaded> {
        while self.exchanges.len() >= self.limits.exchanges_max {
            let (_, id) = self.lingering.pop_first().ok_or(Overloaded)?;
            let Some(exchange) = self.exchanges.get_mut(&id) else {
                continue;
            };
            exchange.lingers = None;
            if exchange.waiters.is_empty() && exchange.state != State::Producing {
                self.exchanges.remove(&id);
            } else {
                // It goes with its last waiter.
                exchange.may_repeat = false;
            }
        }
        Ok(())
    }
}

impl<T, R> Exchange<T, R> {
    fn new(first: Joined<T>, request: Option<R>, may_repeat: bool) -> Self {
        Self {
            state: State::LookingUp,
            waiters: vec![first],
            request,
            may_repeat,
            look_up: LookUp::MAX,
            lingers: None,
        }
    }

    /// Whether it stays open although nobody waits.
    fn is_kept(&self) -> bool {
        match self.state {
            State::Producing => self.may_repeat,
            // What does not linger would never go.
            State::Stored | State::OutcomeUnknown => self.lingers.is_some(),
            State::LookingUp | State::Watched => false,
        }
    }
}

impl<T> Joined<T> {
    /// Whether it is to be told at once that there is no reply.
    fn is_asking(&self) -> bool {
        self.waiter.wants == Wants::ReplyNow
    }
}

fn is_looking_up<T, R>(
    exchanges: &HashMap<CorrelationId, Exchange<T, R>>,
    id: &CorrelationId,
    look_up: LookUp,
) -> bool {
    exchanges
        .get(id)
        .is_some_and(|exchange| exchange.state == State::LookingUp && exchange.look_up == look_up)
}

fn is_looked_for<T>(
    looks: &HashMap<CorrelationId, BTreeMap<LookUp, T>>,
    id: &CorrelationId,
    look_up: LookUp,
) -> bool {
    looks
        .get(id)
        .is_some_and(|looks| looks.contains_key(&look_up))
}
