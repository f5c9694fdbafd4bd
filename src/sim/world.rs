//! A cluster, some cores and their writers, until all is said and done.
//!
//! Sits on top of the simulation. Its one rule: one event at a time, and after each one everything is checked. A further kind of machine is a field here, an
//! [`Event`] and a check in [`World::step`].

use std::time::Duration;

use super::broker::{Cluster, FORBIDDEN};
use super::checker::{Checker, Submission, Summary};
use super::event::Event;
use super::fabric::{CALL_TIMEOUT, Fabric};
use super::faults::Faults;
use super::mishap;
use super::random::Random;
use super::shell::{Shell, Write};
use super::workload::{Writer, value};
use crate::clock::Instant;
use crate::kafka::error_code::ErrorCode;
use crate::kafka::producer::{Acks, Limits, ProduceFault, Record};

/// The largest batch of every topic when nothing is wrong.
pub(super) const BATCH_BYTES_MAX: usize = 4_000;
/// How long things may go wrong.
const TROUBLE: Duration = Duration::from_secs(15);
/// How long the producers get to find out that all is well again: a call that hangs, a wait to reconnect, another look at the metadata.
const SETTLING: Duration = Duration::from_secs(8);
/// Keys for all partitions.
const PROBES: [(&str, &str); 9] = [
    ("items", "a"),
    ("items", "b"),
    ("items", "c"),
    ("items", "d"),
    ("items", "e"),
    ("orders", ""),
    ("later", "a"),
    ("later", "b"),
    (FORBIDDEN, "a"),
];
/// Far more than any run takes.
const EVENTS_MAX: u64 = 3_000_000;

/// A simulated world. What is not said is drawn from the seed.
pub struct World {
    seed: u64,
    cluster: Cluster,
    shells: Vec<Shell>,
    fabric: Fabric,
    writers: Vec<Writer>,
    /// Which writer waits for a record.
    writer_of: Vec<Option<usize>>,
    checker: Checker,
    limits: Limits,
    events: u64,
}

impl std::fmt::Debug for World {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("World")
            .field("seed", &self.seed)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

impl Drop for World {
    /// A panic of the producer itself says nothing of the seed.
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("SEED={}", self.seed);
        }
    }
}

impl World {
    /// A world in which everything is drawn from `seed`: brokers, cores, writers, faults, limits.
    pub fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let faults = Faults::drawn(&mut random);
        let limits = drawn_limits(&mut random);
        let mut cluster = Cluster::new(1 + i32::from(random.chance(800)) * 2);
        cluster.is_old = random.chance(100);
        cluster.first_epoch = random.pick(&[0, 0, i16::MAX - 2]);
        cluster.create("items", 3, BATCH_BYTES_MAX, true);
        cluster.create("orders", 1, BATCH_BYTES_MAX, true);
        cluster.create("later", 2, BATCH_BYTES_MAX, false);
        let (core_count, writer_count) = (1 + random.index(3), 1 + random.index(12));
        let fabric = Fabric::new(random, faults, super::replayed().is_some());
        let checker = Checker::new(seed);
        let world = Self {
            seed,
            cluster,
            shells: Vec::new(),
            fabric,
            writers: Vec::new(),
            writer_of: Vec::new(),
            checker,
            limits,
            events: 0,
        };
        world.cores(core_count).writers(writer_count)
    }

    /// With this many cores, each with a producer of its own.
    ///
    /// # Panics
    ///
    /// When there is none.
    #[must_use]
    pub fn cores(mut self, count: usize) -> Self {
        assert!(count > 0, "somebody has to produce");
        let shell = |core| {
            Shell::new(
                core,
                self.limits.clone(),
                self.seed.wrapping_add(core as u64),
            )
        };
        self.shells = (0..count).map(shell).collect();
        let writer_count = self.writers.len();
        self.writers(writer_count)
    }

    /// With this many writers, of drawn kinds.
    #[must_use]
    pub fn writers(mut self, count: usize) -> Self {
        let (cores, random) = (self.shells.len(), &mut self.fabric.random);
        self.writers = (0..count)
            .map(|number| Writer::drawn(number, cores, random))
            .collect();
        self
    }

    /// With these faults.
    #[must_use]
    pub fn faults(mut self, faults: Faults) -> Self {
        self.fabric.faults = faults;
        self
    }

    /// Runs: trouble first, then none; in the end a record for each partition must get through, and nothing be left.
    ///
    /// # Panics
    ///
    /// When a promise is broken, naming the seed.
    pub fn run_until_idle(mut self) -> Summary {
        let start = self.fabric.now();
        for core in 0..self.shells.len() {
            self.fabric.schedule.at(start, Event::Tick { core });
        }
        for writer in 0..self.writers.len() {
            self.fabric.schedule.at(start, Event::Write { writer });
        }
        self.plan_mishap();
        self.run_until(start + TROUBLE);
        self.fabric.faults = Faults::NONE;
        mishap::mend(&mut self.cluster, self.shells.len(), &mut self.fabric);
        if let Some(topic) = self.cluster.topics.get_mut("later") {
            topic.exists = true;
        }
        self.writers
            .iter_mut()
            .for_each(|writer| writer.bursts_left = 0);
        self.run_until(start + TROUBLE + SETTLING);
        // The first ones find out who leads what; only they are sent again when that was wrong.
        for acks in [Acks::InSyncReplicas, Acks::LeaderOnly, Acks::None] {
            self.probe(acks);
        }
        self.run_until(self.fabric.now() + self.limits.delivery_timeout + CALL_TIMEOUT);
        for shell in &self.shells {
            let (is_idle, queued) = (shell.producer.is_idle(), shell.producer.queued_bytes());
            if !is_idle || queued != 0 {
                self.checker.fail(format_args!(
                    "core {} is not done: {queued} bytes are queued",
                    shell.core
                ));
            }
        }
        self.checker.finish(&self.cluster);
        self.checker.summary.duplicates = self.cluster.duplicates;
        self.checker.summary.late_arrivals = self.fabric.late_arrivals;
        self.checker.summary.clone()
    }

    fn run_until(&mut self, until: Instant) {
        self.fabric.schedule.at(until, Event::Stop);
        while let Some(event) = self.fabric.schedule.next() {
            self.events += 1;
            if self.events > EVENTS_MAX {
                self.checker.fail(format_args!("it never ends"));
            }
            if matches!(event, Event::Stop) {
                return;
            }
            self.step(event);
        }
    }

    fn step(&mut self, event: Event) {
        let Self {
            cluster,
            shells,
            fabric,
            checker,
            ..
        } = self;
        match event {
            Event::Arrival(arrival) => {
                if fabric.is_received(&arrival) {
                    let (response, wait) =
                        cluster.execute(arrival.broker, &arrival.request, fabric);
                    fabric.answer(&arrival, response, wait);
                }
            }
            Event::Endpoint(endpoint, event) => {
                shells[endpoint.core].handle(endpoint.purpose, event, checker, fabric);
            }
            Event::Tick { core } => shells[core].tick(checker, fabric),
            Event::Repair(repair) => mishap::repair(&repair, cluster, fabric),
            Event::Mishap => {
                if fabric.faults.mishap_interval.is_some() {
                    mishap::strike(cluster, shells.len(), fabric);
                }
                self.plan_mishap();
            }
            Event::Write { writer } => self.write(writer),
            Event::Gateway(_) | Event::Stop => {}
        }
        self.check();
    }

    fn check(&mut self) {
        for change in self.cluster.journal.drain(..) {
            self.checker.changed(&change);
        }
        for shell in &self.shells {
            self.checker.step(
                self.fabric.now(),
                shell.producer.queued_bytes(),
                self.limits.queued_bytes_max,
            );
        }
        let completed: Vec<u64> = self
            .shells
            .iter_mut()
            .flat_map(|shell| {
                shell.acked.clear();
                std::mem::take(&mut shell.completed)
            })
            .collect();
        for token in completed {
            self.go_on(token);
        }
    }

    /// A writer whose records all have their outcomes writes on after a pause.
    fn go_on(&mut self, token: u64) {
        let number = usize::try_from(token)
            .ok()
            .and_then(|index| self.writer_of.get(index).copied().flatten());
        let Some(number) = number else { return };
        let writer = &mut self.writers[number];
        writer.waits_for -= 1;
        if writer.waits_for == 0 && writer.bursts_left > 0 {
            let is_refused = !matches!(self.checker.result(token), Some(Ok(_)));
            let wait = writer.pause(is_refused, &mut self.fabric.random);
            self.fabric
                .schedule
                .after(wait, Event::Write { writer: number });
        }
    }

    fn write(&mut self, number: usize) {
        let writer = &mut self.writers[number];
        writer.bursts_left = writer.bursts_left.saturating_sub(1);
        let random = &mut self.fabric.random;
        let (core, topic, acks) = (
            writer.core(self.shells.len(), random),
            writer.topic,
            writer.acks(random),
        );
        let count = writer.burst_len(random);
        writer.waits_for = usize::try_from(count).expect("small");
        for _ in 0..count {
            let (writer, random) = (&self.writers[number], &mut self.fabric.random);
            let record = writer.record(self.checker.next_token(), random);
            let wait = writer.deadline(random);
            self.submit(Some(number), core, topic, acks, record, wait);
        }
    }

    fn submit(
        &mut self,
        writer: Option<usize>,
        core: usize,
        topic: &'static str,
        acks: Acks,
        record: Record,
        wait: Duration,
    ) -> u64 {
        let (token, deadline) = (self.checker.next_token(), self.fabric.now() + wait);
        self.writer_of.push(writer);
        self.fabric.tell(|| {
            format!(
                "core {core}: record {token} for {topic}, key {:?}, {acks:?}, within {wait:?}",
                record.key
            )
        });
        self.checker.submitted(Submission {
            core,
            topic,
            key: record.key.clone(),
            acks,
            deadline,
        });
        let write = Write {
            topic,
            acks,
            record,
            token,
            deadline,
        };
        self.shells[core].produce(write, &mut self.checker, &mut self.fabric);
        token
    }

    /// From each core a record for each partition, which must be stored, and one for the topic that refuses all.
    fn probe(&mut self, acks: Acks) {
        let mut probes = Vec::new();
        for core in 0..self.shells.len() {
            for (topic, key) in PROBES {
                let value = Some(value(self.checker.next_token(), false, 0));
                let record = Record {
                    key: Some(key.into()),
                    value,
                    headers: Vec::new(),
                };
                probes.push((
                    topic,
                    self.submit(None, core, topic, acks, record, SETTLING),
                ));
            }
        }
        self.run_until(self.fabric.now() + SETTLING);
        for (topic, token) in probes {
            let result = self.checker.result(token);
            let is_right = match result {
                Some(Err(ProduceFault::Rejected(error))) => {
                    topic == FORBIDDEN && error == ErrorCode::TOPIC_AUTHORIZATION_FAILED
                }
                Some(Ok(_)) => topic != FORBIDDEN,
                _ => false,
            };
            if !is_right {
                self.checker.fail(format_args!(
                    "all is well, and record {token} for {topic} was told {result:?}"
                ));
            }
        }
    }

    fn plan_mishap(&mut self) {
        if let Some(mean) = self.fabric.faults.mishap_interval {
            let wait = self.fabric.random.between(Duration::ZERO, mean * 2);
            self.fabric.schedule.after(wait, Event::Mishap);
        }
    }
}

fn drawn_limits(random: &mut Random) -> Limits {
    Limits {
        queued_bytes_max: random.pick(&[6_000, 1_000_000, 1_000_000]),
        request_bytes_max: random.pick(&[1_000, 100_000]),
        batch_bytes_max: BATCH_BYTES_MAX,
        delivery_timeout: random.pick(&[Duration::from_secs(3), Duration::from_secs(8)]),
        unavailable_grace: random.pick(&[Duration::from_millis(300), Duration::from_secs(1)]),
        backoff_min: Duration::from_millis(50),
        backoff_max: Duration::from_secs(1),
    }
}
