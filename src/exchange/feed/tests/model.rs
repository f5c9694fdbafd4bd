//! Whatever happens in whatever order: what subscribers see is what Kafka has.
//!
//! Two gateways read the same topic at their own pace; clients come, go, and take their ids from one to the other. Rule: on a topic that is not compacted the next
//! event of a partition is the next record that is wanted, unless a gap was said; on a compacted one offsets ascend, and in the end the newest of each key was seen.

use std::collections::BTreeMap as Map;

use proptest::prelude::*;

use super::*;

const KEYS: [&str; 4] = ["", "a", "b", "c"];
const TAGS: [&str; 3] = ["", "x", "y"];
const PARTITIONS_MAX: usize = 3;
const CLIENTS_MAX: usize = 12;

#[derive(Clone, Debug)]
enum Step {
    Append(usize, Vec<(usize, bool, usize)>),
    Fetch(usize, usize, usize),
    Advance(usize, usize),
    Evict(usize, usize, bool),
    MoveStart(usize, usize),
    Replace(usize),
    AddPartition,
    Subscribe(usize, usize, Option<usize>),
    Take(usize, usize),
    Unsubscribe(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let some = 0..100_usize;
    let record = (0..KEYS.len(), prop::bool::weighted(0.2), 0..TAGS.len());
    let records = prop::collection::vec(record, 1..6);
    prop_oneof![
        6 => (some.clone(), records).prop_map(|(partition, records)| Step::Append(partition, records)),
        8 => (some.clone(), some.clone(), 0..8_usize).prop_map(|(gateway, partition, records)| Step::Fetch(gateway, partition, records)),
        8 => (some.clone(), 1..8_usize).prop_map(|(gateway, records)| Step::Advance(gateway, records)),
        2 => (some.clone(), some.clone(), any::<bool>()).prop_map(|(gateway, partition, all)| Step::Evict(gateway, partition, all)),
        1 => (some.clone(), 1..6_usize).prop_map(|(partition, by)| Step::MoveStart(partition, by)),
        1 => some.clone().prop_map(Step::Replace),
        1 => Just(Step::AddPartition),
        4 => (some.clone(), some.clone(), prop::option::of(some.clone())).prop_map(|(gateway, selection, id)| Step::Subscribe(gateway, selection, id)),
        16 => (some.clone(), prop_oneof![Just(1_usize), Just(100), Just(10_000)]).prop_map(|(client, room)| Step::Take(client, room)),
        1 => some.prop_map(Step::Unsubscribe),
    ]
}

/// What a client has seen of a partition.
#[derive(Clone, Debug)]
struct Seen {
    /// The first offset that may come.
    next: usize,
    /// It may as well begin at the start of the log: it has nothing, or was told of a gap.
    may_restart: bool,
    /// It has had events of this log and has to be told that it is gone.
    is_owed: bool,
    has_any: bool,
}

struct Client {
    gateway: usize,
    id: SubscriberId,
    selection: Selection,
    partitions: Vec<Seen>,
    /// The newest of each key, as it names itself.
    newest: Map<(usize, String), String>,
    /// Where it began.
    began: Vec<usize>,
    /// What was read of Kafka and has not reached it.
    cold: Option<ColdPiece>,
    /// Where it was read from: the log may have begun there then.
    cold_from: usize,
    gaps: usize,
}

struct World {
    policy: Policy,
    kafka: Kafka,
    gateways: [Gateway; 2],
    clients: Vec<Client>,
    ids: Vec<String>,
    /// Records were taken away.
    is_disturbed: bool,
    value: &'static str,
}

fn selection(number: usize) -> Selection {
    let choices: [&[(&str, &str)]; 7] = [
        &[],
        &[],
        &[("a", "")],
        &[("a", ""), ("b", ""), ("a", "")],
        &[("", "x")],
        &[("a", "y")],
        &[("c", "x"), ("", "y")],
    ];
    only(choices[number % choices.len()])
}

impl World {
    fn new(policy: Policy, value: &'static str) -> Self {
        Self {
            policy,
            kafka: Kafka::new(1),
            gateways: [0, 1].map(|partitions| Gateway::new(policy, partitions)),
            clients: Vec::new(),
            ids: Vec::new(),
            is_disturbed: false,
            value,
        }
    }

    fn handle(&mut self, step: &Step) {
        let partitions = self.kafka.logs.len();
        match step {
            Step::Append(partition, records) => {
                for (key, is_tombstone, tag) in records {
                    let value = if *is_tombstone { "-" } else { self.value };
                    let record = (KEYS[*key], value, TAGS[*tag]);
                    self.kafka.append(partition % partitions, &[record]);
                }
            }
            Step::Fetch(gateway, partition, records) => {
                let gateway = &mut self.gateways[gateway % 2];
                gateway.open(partitions);
                gateway.fetch(&self.kafka, partition % partitions, *records);
            }
            Step::Advance(gateway, records) => {
                self.gateways[gateway % 2].advance(*records);
            }
            Step::Evict(gateway, partition, all) => {
                let gateway = &mut self.gateways[gateway % 2];
                gateway.open(partitions);
                gateway.evict(partition % partitions, if *all { usize::MAX } else { 1 });
            }
            Step::MoveStart(partition, by) => {
                let log = &mut self.kafka.logs[partition % partitions];
                log.earlier_starts.push(log.start);
                log.start = (log.start + by).min(log.end());
                self.is_disturbed = true;
            }
            Step::Replace(partition) => self.replace(partition % partitions),
            Step::AddPartition if partitions < PARTITIONS_MAX => {
                self.kafka.logs.push(Log::default());
            }
            Step::AddPartition => {}
            Step::Subscribe(gateway, number, resume) => {
                self.subscribe(gateway % 2, selection(*number), *resume);
            }
            Step::Take(client, room) => {
                if !self.clients.is_empty() {
                    self.take(client % self.clients.len(), *room);
                }
            }
            Step::Unsubscribe(client) => {
                if !self.clients.is_empty() {
                    let client = self.clients.remove(client % self.clients.len());
                    self.gateways[client.gateway].feed.unsubscribe(client.id);
                }
            }
        }
        for gateway in &self.gateways {
            let channels = gateway.feed.channels.values();
            let bytes: usize = channels.map(Channel::bytes).sum();
            assert_eq!(gateway.feed.bytes, bytes);
        }
    }

    fn replace(&mut self, partition: usize) {
        self.kafka.replace(partition);
        self.is_disturbed = true;
        for client in &mut self.clients {
            let positions = &self.gateways[client.gateway].feed.positions;
            let is_known = positions.get(partition).copied().flatten() > Some(0);
            let Some(seen) = client.partitions.get_mut(partition) else {
                continue;
            };
            seen.is_owed |= seen.has_any && is_known;
        }
        for gateway in &mut self.gateways {
            if partition < gateway.stores.len() {
                gateway.reset(partition, 0);
                gateway.advance(1);
            }
        }
    }

    fn subscribe(&mut self, gateway: usize, selection: Selection, resume: Option<usize>) {
        if self.clients.len() >= CLIENTS_MAX {
            return;
        }
        let resume = resume
            .filter(|_| !self.ids.is_empty())
            .map(|number| self.ids[number % self.ids.len()].clone());
        let progress = resume
            .as_ref()
            .map(|id| progress_of(id.as_bytes()).unwrap());
        let began: Vec<_> = (0..)
            .take(PARTITIONS_MAX)
            .map(|partition| {
                let position = progress.as_ref()?.offset(partition)?;
                usize::try_from(position).ok()
            })
            .collect();
        let id = self.gateways[gateway].subscribe(&selection, resume.as_deref());
        self.clients.push(Client {
            gateway,
            id,
            selection,
            partitions: began
                .iter()
                .map(|began| Seen {
                    next: began.unwrap_or(0),
                    may_restart: began.is_none(),
                    is_owed: false,
                    has_any: false,
                })
                .collect(),
            newest: Map::new(),
            began: began.iter().map(|began| began.unwrap_or(0)).collect(),
            cold: None,
            cold_from: 0,
            gaps: 0,
        });
    }

    /// One turn of a client; false: there is nothing for it now.
    fn take(&mut self, number: usize, room: usize) -> bool {
        let client = &mut self.clients[number];
        let gateway = &mut self.gateways[client.gateway];
        let taken = match client.cold.take() {
            Some(piece) => gateway.feed.handle_cold(client.id, &piece),
            None => gateway.take(client.id, room),
        };
        match taken {
            Taken::Nothing => return false,
            Taken::LookOn => {}
            Taken::Cold(range) => {
                assert!(range.from < range.until);
                client.cold_from = index(range.from);
                client.cold = self.kafka.read(range, &client.selection, 3);
                return client.cold.is_some();
            }
            Taken::AskEnds => gateway.feed.handle_ends(client.id, &self.kafka.ends()),
            Taken::Events { bytes, count, .. } => {
                let text = std::str::from_utf8(&bytes).unwrap();
                let ids = events(text).filter_map(id_of).count();
                assert_eq!(ids, usize::try_from(count).unwrap());
                for event in events(text) {
                    self.see(number, event);
                }
            }
        }
        true
    }

    fn see(&mut self, number: usize, event: &str) {
        let client = &mut self.clients[number];
        let Some(id) = id_of(event) else {
            assert_eq!(event, ": gap");
            assert!(self.is_disturbed, "nothing is gone");
            client.gaps += 1;
            for seen in &mut client.partitions {
                seen.may_restart = true;
                seen.is_owed = false;
                seen.has_any = false;
            }
            return;
        };
        let place = place_of(event).unwrap();
        let (partition, rest) = place.split_once(':').unwrap();
        let partition: usize = partition.parse().unwrap();
        let offset: usize = rest.trim_end_matches('\'').parse().unwrap();
        let log = &self.kafka.logs[partition];
        assert_eq!(
            place,
            etag(partition, offset, log.generation),
            "of a log that is gone"
        );
        let record = log.records[offset];
        assert!(wants(&client.selection, record), "{place} is not wanted");
        let progress = progress_of(id.as_bytes()).unwrap();
        let number = i32::try_from(partition).unwrap();
        assert_eq!(progress.offset(number), Some(super::offset(offset + 1)));
        let seen = &mut client.partitions[partition];
        assert!(!seen.is_owed, "{place} came without a word of the gap");
        let store = self.gateways[client.gateway].stores[partition].as_ref();
        let start = index(store.unwrap().view().log_start_offset());
        let is_next = if self.policy.compact {
            offset >= seen.next || seen.may_restart
        } else {
            let first = |from| next_wanted(log, &client.selection, from);
            let earlier = log.earlier_starts.iter().copied();
            let restarts = earlier.chain([start, client.cold_from]).map(first);
            let restarts: Vec<_> = restarts.collect();
            // A start that has moved on since: what was skipped is gone.
            let skipped = first(seen.next).is_some_and(|next| next < offset)
                && (seen.next..offset).all(|number| {
                    number < log.start || !wants(&client.selection, log.records[number])
                });
            first(seen.next) == Some(offset)
                || seen.may_restart && (restarts.contains(&Some(offset)) || skipped)
        };
        assert!(
            is_next,
            "{place} came after {seen:?}, the log begins at {start}"
        );
        *seen = Seen {
            next: offset + 1,
            may_restart: false,
            is_owed: false,
            has_any: true,
        };
        let key = (partition, record.0.to_owned());
        client.newest.insert(key, place.to_owned());
        self.ids.push(id.to_owned());
    }

    /// Lets everything that is under way come to its end, and looks whether all is there.
    fn settle(&mut self) {
        let partitions = self.kafka.logs.len();
        for gateway in &mut self.gateways {
            gateway.open(partitions);
            gateway.read(&self.kafka);
        }
        for number in 0..self.clients.len() {
            let turns = (0..10_000).take_while(|_| self.take(number, 100)).count();
            assert!(turns < 10_000, "it never comes to an end");
            let client = &self.clients[number];
            // Who came with an id of a log that is gone by now may wait for its like.
            let is_ahead = |(began, log): (&usize, &Log)| *began > log.end();
            let mut began = client.began.iter().zip(&self.kafka.logs);
            let is_following = self.gateways[client.gateway].is_following(client.id);
            assert!(is_following || began.any(is_ahead));
            for (partition, log) in self.kafka.logs.iter().enumerate() {
                self.check_end(client, partition, log);
            }
        }
    }

    fn check_end(&self, client: &Client, partition: usize, log: &Log) {
        let seen = &client.partitions[partition];
        assert!(!seen.is_owed, "nothing was said of the gap in {partition}");
        let missing = |from| next_wanted(log, &client.selection, from);
        if !self.policy.compact {
            let is_all =
                missing(seen.next).is_none() || seen.may_restart && missing(log.start).is_none();
            assert!(is_all, "{partition}: {seen:?}, {:?}", missing(seen.next));
            return;
        }
        if client
            .selection
            .filters
            .iter()
            .any(|filter| !filter.headers.is_empty())
        {
            return;
        }
        let mut newest = Map::new();
        for number in log.start..log.end() {
            newest.insert(log.records[number].0, number);
        }
        for (key, number) in newest {
            if number < client.began[partition] || !wants(&client.selection, log.records[number]) {
                continue;
            }
            let place = etag(partition, number, log.generation);
            assert_eq!(
                client.newest.get(&(partition, key.to_owned())),
                Some(&place)
            );
        }
    }

    fn end(mut self) {
        for client in self.clients.drain(..) {
            self.gateways[client.gateway].feed.unsubscribe(client.id);
        }
        for gateway in &self.gateways {
            assert!(gateway.feed.channels.is_empty() && gateway.feed.by_key.is_empty());
            assert_eq!(gateway.feed.bytes, 0);
        }
    }
}

/// The first record at `from` or after it that is wanted.
fn next_wanted(log: &Log, selection: &Selection, from: usize) -> Option<usize> {
    (from..log.end()).find(|number| wants(selection, log.records[*number]))
}

fn play(policy: Policy, value: &'static str, steps: &[Step]) {
    let mut world = World::new(policy, value);
    for (number, step) in steps.iter().enumerate() {
        world.handle(step);
        if number % 40 == 39 {
            world.settle();
        }
    }
    world.settle();
    world.end();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn whatever_happens_nobody_misses_a_record_or_gets_one_twice(
        steps in prop::collection::vec(step(), 1..120)
    ) {
        play(DELETE, "v", &steps);
    }

    #[test]
    fn whatever_happens_everybody_gets_the_newest_of_a_compacted_topic(
        steps in prop::collection::vec(step(), 1..120)
    ) {
        play(COMPACT, "v", &steps);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn whatever_happens_it_happens_with_long_records_too(
        steps in prop::collection::vec(step(), 1..60)
    ) {
        play(DELETE, "big", &steps);
    }
}
