//! Gateway processes, their clients, a cluster and a service, until all is said and done.
//!
//! Sits on top of the simulation of whole cores. Its one rule: one event at a time, and after each one everything is checked.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::clients::{self, Habits};
use super::core::{Core, Kind};
use super::exchange::{Ask, Outcome, Question};
use super::items::UPDATES_WAITING_MAX;
use super::message::Mailboxes;
use super::service::Service;
use super::truth::{GatewaySummary, ReadBegun, Truth};
use super::{ITEMS, ITEMS_PARTITIONS, OUTBOX_PAUSE, REPLIES, REQUESTS, Shared, WAIT_MAX};
use crate::clock::Instant;
use crate::error::RequestError;
use crate::kafka::correlation;
use crate::kafka::producer;
use crate::kafka::topics::floors::Floors;
use crate::sim::broker::{Cluster, Place};
use crate::sim::checker::Checker;
use crate::sim::event::{Event, GatewayEvent};
use crate::sim::fabric::Fabric;
use crate::sim::faults::Faults;
use crate::sim::mishap;
use crate::sim::random::Random;
use crate::sim::world::BATCH_BYTES_MAX;

/// How long things may go wrong.
const TROUBLE: Duration = Duration::from_secs(6);
/// How long the cores get to find out that all is well again.
const SETTLING: Duration = Duration::from_secs(8);
/// Between the end of a request's time and its outcome.
const SLACK: Duration = Duration::from_secs(1);
const CONSUME_INTERVAL: Duration = Duration::from_millis(50);
/// In thousandths: replies whose request comes again at once.
const REPEATED: u64 = 400;
const REPEATED_WITHIN: Duration = Duration::from_millis(50);
const EVENTS_MAX: u64 = 3_000_000;

/// A gateway process, as it is now.
struct Process {
    number: usize,
    /// The number of its first core.
    first: usize,
    /// Where the items ended when it began.
    born_at: Vec<i64>,
}

/// A simulated world of whole gateways. All of it is drawn from the seed.
pub struct GatewayWorld {
    shared: Shared,
    cluster: Cluster,
    cores: BTreeMap<usize, Core>,
    processes: Vec<Process>,
    kind: Kind,
    habits: Habits,
    service: Service,
    restart_interval: Option<Duration>,
    client_count: usize,
    /// Of each open request: its client, if it has one, and its core.
    open: BTreeMap<u64, (Option<usize>, usize)>,
    /// Requests of no client, and how they ended.
    probes: BTreeMap<u64, Option<Outcome>>,
    requests_made: u64,
    cores_made: usize,
    processes_made: usize,
    /// Where the requests stand that the service has not read yet.
    unread: BTreeMap<u64, Place>,
    read: BTreeSet<u64>,
    is_over: bool,
    events: u64,
}

impl std::fmt::Debug for GatewayWorld {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("GatewayWorld")
            .field("habits", &self.habits)
            .finish_non_exhaustive()
    }
}

impl GatewayWorld {
    /// A world in which everything is drawn from `seed`.
    pub fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let mut faults = Faults::drawn(&mut random);
        faults.read_refused = random.pick(&[0, 10, 50, 200]);
        let mut cluster = Cluster::new(1 + i32::from(random.chance(800)) * 2);
        cluster.is_old = random.chance(100);
        let items = usize::try_from(ITEMS_PARTITIONS).expect("few");
        cluster.create(ITEMS, items, BATCH_BYTES_MAX, true);
        cluster.create(REQUESTS, 2, BATCH_BYTES_MAX, true);
        cluster.create(REPLIES, 1 + random.index(3), BATCH_BYTES_MAX, true);
        let linger = random.pick(&[Duration::from_secs(1), Duration::from_secs(5)]);
        let exchanges_max = random.pick(&[3, 1_000, 1_000]);
        let turn_max = random.pick(&[
            Duration::from_micros(10),
            Duration::from_millis(2),
            Duration::from_millis(40),
        ]);
        let kind = Kind {
            cores: 1 + random.index(4),
            process: 0,
            floors: Arc::default(),
            producer: producer_limits(&mut random),
            replies: correlation::Limits {
                exchanges_max,
                replies_max: 100_000,
                linger,
                ..correlation::Limits::default()
            },
        };
        let mailboxes = Mailboxes::new(random.pick(&[1, 2, 8, 1_000]), turn_max);
        let (habits, service) = (Habits::drawn(&mut random), Service::drawn(&mut random));
        let restart_interval =
            random.pick(&[None, None, Some(Duration::from_secs(2)), Some(TROUBLE)]);
        let (process_count, client_count) = (1 + random.index(3), 2 + random.index(8));
        let shared = Shared {
            fabric: Fabric::new(random, faults, crate::sim::replayed().is_some()),
            checker: Checker::new(seed),
            truth: Truth::new(seed, linger, exchanges_max >= 1_000),
            mailboxes,
        };
        let mut world = Self {
            shared,
            cluster,
            cores: BTreeMap::new(),
            processes: Vec::new(),
            kind,
            habits,
            service,
            restart_interval,
            client_count,
            open: BTreeMap::new(),
            probes: BTreeMap::new(),
            requests_made: 0,
            cores_made: 0,
            processes_made: 0,
            unread: BTreeMap::new(),
            read: BTreeSet::new(),
            is_over: false,
            events: 0,
        };
        for _ in 0..process_count {
            let process = world.start_process();
            world.processes.push(process);
        }
        world
    }

    /// With these faults.
    #[must_use]
    pub fn faults(mut self, faults: Faults) -> Self {
        self.shared.fabric.faults = faults;
        self.restart_interval = None;
        self
    }

    /// Runs: trouble first, then none; in the end every core must do everything, and nothing be left.
    ///
    /// # Panics
    ///
    /// When a promise is broken, naming the seed.
    pub fn run_until_idle(mut self) -> GatewaySummary {
        let start = self.shared.fabric.now();
        for client in 0..self.client_count {
            self.at(start, GatewayEvent::Ask { client });
        }
        self.plan_restart();
        self.plan_mishap();
        self.run_until(start + TROUBLE);
        self.is_over = true;
        self.service.behave();
        let fabric = &mut self.shared.fabric;
        fabric.faults = Faults::NONE;
        mishap::mend(&mut self.cluster, self.cores_made, fabric);
        self.run_until(start + TROUBLE + SETTLING);
        self.probe();
        let left = self.kind.replies.linger + self.kind.producer.delivery_timeout + SLACK * 4;
        self.run_until(self.shared.fabric.now() + left);
        self.check_end();
        self.shared.truth.finish();
        self.shared.checker.finish(&self.cluster);
        self.shared.truth.summary.refused = self.shared.mailboxes.refused;
        self.shared.truth.summary.clone()
    }

    fn at(&mut self, at: Instant, event: GatewayEvent) {
        self.shared.fabric.schedule.at(at, Event::Gateway(event));
    }

    fn after(&mut self, wait: Duration, event: GatewayEvent) {
        self.at(self.shared.fabric.now() + wait, event);
    }

    fn run_until(&mut self, until: Instant) {
        self.shared.fabric.schedule.at(until, Event::Stop);
        while let Some(event) = self.shared.fabric.schedule.next() {
            self.events += 1;
            if self.events > EVENTS_MAX {
                self.shared.truth.fail(format_args!("it never ends"));
            }
            if matches!(event, Event::Stop) {
                return;
            }
            let core = self.step(event);
            self.check(core);
        }
    }

    /// Does what is to happen; gives the core it happened to.
    fn step(&mut self, event: Event) -> Option<usize> {
        let shared = &mut self.shared;
        match event {
            Event::Arrival(arrival) => {
                if shared.fabric.is_received(&arrival) {
                    let (response, wait) =
                        self.cluster
                            .execute(arrival.broker, &arrival.request, &mut shared.fabric);
                    shared.fabric.answer(&arrival, response, wait);
                }
            }
            Event::Endpoint(endpoint, event) => {
                let core = self.cores.get_mut(&endpoint.core)?;
                core.handle_endpoint(endpoint.purpose, event, shared);
                return Some(endpoint.core);
            }
            Event::Tick { core } => {
                let number = core;
                let core = self.cores.get_mut(&number)?;
                core.shell.tick(&mut shared.checker, &mut shared.fabric);
                return Some(number);
            }
            Event::Repair(repair) => {
                mishap::repair(&repair, &mut self.cluster, &mut shared.fabric);
            }
            Event::Mishap => {
                if shared.fabric.faults.mishap_interval.is_some() {
                    mishap::strike(&mut self.cluster, self.cores_made, &mut shared.fabric);
                }
                self.plan_mishap();
            }
            Event::Gateway(event) => return self.step_gateway(event),
            Event::Write { .. } | Event::Stop => {}
        }
        None
    }

    fn step_gateway(&mut self, event: GatewayEvent) -> Option<usize> {
        match event {
            GatewayEvent::Pump { core }
            | GatewayEvent::Resend { core }
            | GatewayEvent::Open { core }
            | GatewayEvent::Linger { core }
            | GatewayEvent::Poll { core, .. } => {
                let number = core;
                let core = self.cores.get_mut(&number)?;
                core.handle_event(&event, &mut self.shared);
                return Some(number);
            }
            GatewayEvent::Ask { client } => return self.next_request(client),
            GatewayEvent::Vanish { request } => return self.vanish(request),
            GatewayEvent::Restart => self.restart(),
            GatewayEvent::Consume { token } => self.consume(token),
            GatewayEvent::Reply { id } => self.reply(&id),
            GatewayEvent::Repeat { id } => return Some(self.repeat(id)),
        }
        None
    }

    /// What happened is entered in the truth, and the core it happened to is looked at.
    fn check(&mut self, core: Option<usize>) {
        for change in std::mem::take(&mut self.cluster.journal) {
            self.shared.checker.changed(&change);
            let (place, token) = (change.place, change.token);
            let truth = &mut self.shared.truth;
            truth.items.changed(place, token, change.is_stored);
            if truth.requests.contains_key(&token) {
                if change.is_stored {
                    truth.request_in_log(token);
                    self.unread.insert(token, place);
                    self.after(CONSUME_INTERVAL / 10, GatewayEvent::Consume { token });
                } else {
                    self.unread.remove(&token);
                }
            }
        }
        let now = self.shared.fabric.now();
        self.shared.truth.step(now);
        let Some(core) = core.and_then(|number| self.cores.get_mut(&number)) else {
            return;
        };
        core.settle(&mut self.shared);
        let queued = core.shell.producer.queued_bytes();
        let queued_max = self.kind.producer.queued_bytes_max;
        self.shared.checker.step(now, queued, queued_max);
        let number = core.number;
        let answers = std::mem::take(&mut core.answers);
        self.check_bounds(number);
        for (request, outcome) in answers {
            self.answered(request, &outcome, number);
        }
    }

    /// Nothing grows past its bound.
    fn check_bounds(&self, number: usize) {
        let truth = &self.shared.truth;
        let Some(core) = self.cores.get(&number) else {
            return;
        };
        let open = core.replies.shard.exchanges_open();
        let open_max = self.kind.replies.exchanges_max;
        if open > open_max {
            truth.fail(format_args!("{open} exchanges are open, {open_max} may be"));
        }
        // Of those that wait beside what was looked through there is one for each waiter at most, told or gone.
        let requests = usize::try_from(self.requests_made).unwrap_or(usize::MAX);
        let outbox_max = OUTBOX_PAUSE + 3 + (4 * self.client_count).min(requests);
        let outbox = core.replies.outbox_len();
        if outbox > outbox_max {
            truth.fail(format_args!(
                "{outbox} messages wait for one core, {outbox_max} may"
            ));
        }
        let (unsent, updates) = core.items_waiting();
        if unsent > 3 || updates > UPDATES_WAITING_MAX {
            truth.fail(format_args!(
                "{unsent} subscriptions and {updates} updates wait"
            ));
        }
        let look_ups = core.replies.shard.look_ups_waiting();
        if look_ups > requests {
            truth.fail(format_args!("{look_ups} wait for a look-up"));
        }
    }

    fn answered(&mut self, request: u64, outcome: &Outcome, core: usize) {
        let now = self.shared.fabric.now();
        let ask = self.shared.truth.answered(request, outcome, now);
        self.shared
            .fabric
            .tell(|| format!("core {core}: request {request} {ask:?}: {outcome:?}"));
        let client = self.open.remove(&request).and_then(|(client, _)| client);
        if let Some(probe) = self.probes.get_mut(&request) {
            *probe = Some(outcome.clone());
        }
        if let Some(client) = client {
            self.think(client);
        }
    }

    fn think(&mut self, client: usize) {
        let random = &mut self.shared.fabric.random;
        let wait = random.between(Duration::from_millis(1), self.habits.pause_max);
        self.after(wait, GatewayEvent::Ask { client });
    }

    fn next_request(&mut self, client: usize) -> Option<usize> {
        if self.is_over {
            return None;
        }
        let random = &mut self.shared.fabric.random;
        let ask = self.habits.ask(random);
        let process = random.index(self.processes.len());
        let core = self.processes[process].first + random.index(self.kind.cores);
        let vanishes = random.chance(self.habits.vanishes);
        let after = random.between(Duration::ZERO, self.habits.timeout);
        let request = self.ask(core, ask, self.habits.timeout, Some(client));
        if vanishes {
            self.after(after, GatewayEvent::Vanish { request });
        }
        Some(core)
    }

    fn ask(&mut self, core: usize, ask: Ask, timeout: Duration, client: Option<usize>) -> u64 {
        self.requests_made += 1;
        let request = self.requests_made;
        let now = self.shared.fabric.now();
        self.shared
            .fabric
            .tell(|| format!("core {core}: request {request} {ask:?}"));
        self.open.insert(request, (client, core));
        let core = self.cores.get_mut(&core).expect("it lives");
        let process = self
            .processes
            .iter()
            .find(|process| process.number == core.process);
        let begun = ReadBegun {
            at: now,
            floors: (0..3).map(|partition| core.floor(partition)).collect(),
            born_at: process.map_or_else(Vec::new, |process| process.born_at.clone()),
        };
        let due = now + timeout.max(WAIT_MAX) + SLACK;
        self.shared.truth.asked(request, ask.clone(), begun, due);
        core.begin(request, ask, timeout, &mut self.shared);
        request
    }

    /// A client leaves, if it still waits.
    fn vanish(&mut self, request: u64) -> Option<usize> {
        let (client, core) = self.open.remove(&request)?;
        self.shared.truth.summary.vanished += 1;
        self.shared.truth.forgotten(request);
        self.shared
            .fabric
            .tell(|| format!("core {core}: request {request} has nobody waiting any more"));
        self.cores.get_mut(&core)?.let_go(request, &mut self.shared);
        if let Some(client) = client {
            self.think(client);
        }
        Some(core)
    }

    fn start_process(&mut self) -> Process {
        let (number, first) = (self.processes_made, self.cores_made);
        self.processes_made += 1;
        self.cores_made += self.kind.cores;
        let kind = Kind {
            process: number,
            floors: Arc::new(Floors::default()),
            ..self.kind.clone()
        };
        for index in 0..kind.cores {
            let core = Core::start(first, index, &kind, &mut self.shared);
            self.cores.insert(core.number, core);
        }
        let end = |partition| {
            let log = self.cluster.log(ITEMS, partition);
            log.map_or(0, crate::sim::log::Log::high_watermark)
        };
        Process {
            number,
            first,
            born_at: (0..3).map(end).collect(),
        }
    }

    /// A process ends, and another one takes its place.
    fn restart(&mut self) {
        if self.is_over {
            return;
        }
        let index = self.shared.fabric.random.index(self.processes.len());
        let Process { number, first, .. } = self.processes[index];
        self.shared
            .fabric
            .tell(|| format!("process {number} is restarted"));
        for core in first..first + self.kind.cores {
            if let Some(core) = self.cores.remove(&core) {
                core.stop(&mut self.shared);
            }
        }
        self.shared.truth.stopped(number);
        self.shared.truth.summary.restarts += 1;
        let cores = first..first + self.kind.cores;
        let cut: Vec<u64> = self
            .open
            .iter()
            .filter(|(_, (_, core))| cores.contains(core))
            .map(|(request, _)| *request)
            .collect();
        for request in cut {
            self.shared.truth.forgotten(request);
            if let Some((Some(client), _)) = self.open.remove(&request) {
                self.think(client);
            }
        }
        self.processes[index] = self.start_process();
        self.plan_restart();
    }

    fn plan_restart(&mut self) {
        if let Some(mean) = self.restart_interval {
            let wait = self.shared.fabric.random.between(Duration::ZERO, mean * 2);
            self.after(wait, GatewayEvent::Restart);
        }
    }

    fn plan_mishap(&mut self) {
        let fabric = &mut self.shared.fabric;
        if let Some(mean) = fabric.faults.mishap_interval {
            let wait = fabric.random.between(Duration::ZERO, mean * 2);
            fabric.schedule.after(wait, Event::Mishap);
        }
    }

    /// The service reads a request, once it is safe.
    fn consume(&mut self, token: u64) {
        let Some(place) = self.unread.get(&token).copied() else {
            return;
        };
        let log = self.cluster.log(REQUESTS, place.partition);
        let end = log.map_or(0, crate::sim::log::Log::high_watermark);
        if place.offset >= end {
            return self.after(CONSUME_INTERVAL, GatewayEvent::Consume { token });
        }
        self.unread.remove(&token);
        let Some(id) = self.shared.truth.request_in_log(token) else {
            return;
        };
        if !self.read.insert(token) {
            return;
        }
        for wait in self.service.answers(&mut self.shared.fabric.random) {
            self.after(wait, GatewayEvent::Reply { id: id.clone() });
        }
    }

    /// The service writes a reply.
    fn reply(&mut self, id: &Bytes) {
        let partitions = self.cluster.partition_count(REPLIES);
        let random = &mut self.shared.fabric.random;
        let (partition, body, batch) = self.service.reply(id, partitions, random);
        if self.cluster.append_foreign(REPLIES, partition, &batch) {
            let now = self.shared.fabric.now();
            self.shared
                .fabric
                .tell(|| format!("reply {body:?} in {partition}"));
            self.shared.truth.replied(id, body, now);
            self.plan_repeat(id);
        } else {
            self.after(CONSUME_INTERVAL, GatewayEvent::Reply { id: id.clone() });
        }
    }

    /// A repeat right behind the reply is the hardest to tell from a first request.
    fn plan_repeat(&mut self, id: &Bytes) {
        let random = &mut self.shared.fabric.random;
        if !self.is_over && random.chance(REPEATED) {
            let wait = random.between(Duration::ZERO, REPEATED_WITHIN);
            self.after(wait, GatewayEvent::Repeat { id: id.clone() });
        }
    }

    fn repeat(&mut self, id: Bytes) -> usize {
        let random = &mut self.shared.fabric.random;
        let process = random.index(self.processes.len());
        let core = self.processes[process].first + random.index(self.kind.cores);
        let question = Question {
            id,
            is_ours: false,
            is_async: random.chance(300),
            wait: None,
        };
        self.ask(core, Ask::Submit(question), self.habits.timeout, None);
        core
    }

    /// Each core does everything once more, and now it has to succeed.
    fn probe(&mut self) {
        let cores: Vec<usize> = self.cores.keys().copied().collect();
        let random = &mut self.shared.fabric.random;
        let (key, own) = (clients::key(random), self.habits.own(random));
        let put = Ask::Put { key: key.clone() };
        let get = Ask::Get { key, wait: None };
        let repeated = self.habits.repeated();
        let asks = [put, get, Ask::List, own, repeated.clone(), repeated];
        for ask in asks {
            let mut asked = Vec::new();
            for core in cores.iter().chain(&cores) {
                let ask = match &ask {
                    Ask::Submit(question) if question.is_ours => {
                        self.habits.own(&mut self.shared.fabric.random)
                    }
                    other => other.clone(),
                };
                let request = self.ask(*core, ask, SETTLING, None);
                self.probes.insert(request, None);
                self.check(Some(*core));
                asked.push(request);
            }
            self.run_until(self.shared.fabric.now() + SETTLING);
            for request in asked {
                let is_right = matches!(
                    &self.probes[&request],
                    Some(
                        Outcome::Answered { .. }
                            | Outcome::Listed { .. }
                            | Outcome::Failed(RequestError::RepliesOverloaded)
                    )
                );
                if !is_right {
                    let outcome = &self.probes[&request];
                    self.shared.truth.fail(format_args!(
                        "all is well, and request {request} {ask:?} ends with {outcome:?}"
                    ));
                }
            }
        }
    }

    /// Nobody is left, and so is nothing that was kept for them.
    fn check_end(&self) {
        let truth = &self.shared.truth;
        for (number, core) in &self.cores {
            let left = [
                ("exchanges", core.replies.shard.exchanges_open()),
                ("requests", core.exchanges.len()),
                ("slots", core.slots.len()),
                ("messages for another core", core.replies.outbox_len()),
                ("updates for another core", core.items_waiting().1),
                ("bytes in the producer", core.shell.producer.queued_bytes()),
            ];
            if let Some((what, count)) = left.iter().find(|(_, count)| *count > 0) {
                truth.fail(format_args!("core {number} keeps {count} {what}"));
            }
        }
        if !self.shared.mailboxes.is_empty() {
            truth.fail(format_args!("messages are left in a mailbox"));
        }
    }
}

fn producer_limits(random: &mut Random) -> producer::Limits {
    producer::Limits {
        queued_bytes_max: random.pick(&[2_000, 1_000_000, 1_000_000]),
        request_bytes_max: random.pick(&[1_000, 100_000]),
        batch_bytes_max: BATCH_BYTES_MAX,
        delivery_timeout: Duration::from_secs(3),
        unavailable_grace: random.pick(&[Duration::from_millis(300), Duration::from_secs(1)]),
        backoff_min: Duration::from_millis(50),
        backoff_max: Duration::from_secs(1),
    }
}
