//! Members against a broker: the embedded one, and by hand a real one (`SLUICE_TEST_KAFKA=host:port`, `--ignored`).

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use uuid::Uuid;

use super::*;
use crate::embedded::{Broker, Config, ErrorCode, Fault, FaultHook};
use crate::kafka::client::NewTopic;
use crate::kafka::producer::Limits;
use crate::observe::metrics::names::Names;
use crate::observe::{ClusterWatch, CoreWatch, Watch};
use crate::runtime::CoreStart;
use crate::runtime::placement::CoreSet;

/// How long anything may take, a first start of a group on a real broker included.
const PATIENCE: Duration = Duration::from_secs(30);
const JOIN_GROUP: i16 = 11;
const HEARTBEAT: i16 = 12;
const SYNC_GROUP: i16 = 14;
const COMMIT: i16 = 8;
/// `OffsetCommit` to `SyncGroup`.
const GROUP_APIS: std::ops::RangeInclusive<i16> = 8..=14;

/// Runs a test as the only task of a core.
fn on_a_core<F: Future<Output = ()> + 'static>(
    test: impl FnOnce(World) -> F + Send + 'static,
    server: SocketAddr,
) {
    let main = move |start: CoreStart| {
        test(World {
            server,
            deadlines: start.deadlines,
            topic: format!("items-{}", Uuid::new_v4()).into(),
        })
    };
    let cores = runtime::start_cores(&CoreSet::Unpinned(1), vec![Box::new(main)]).unwrap();
    cores.join().unwrap();
}

fn broker(fault: Option<FaultHook>) -> Broker {
    let config = Config {
        fault,
        ..Config::default()
    };
    Broker::start(config).unwrap()
}

/// A broker and a topic, of which the group has its name.
struct World {
    server: SocketAddr,
    deadlines: Rc<Deadlines>,
    topic: Arc<str>,
}

/// A member and what it was told.
struct Reader {
    client: Client,
    group: Group,
    notify: Rc<Notify>,
    held: RefCell<BTreeMap<i32, Option<i64>>>,
    events: RefCell<Vec<GroupEvent>>,
    world: Rc<World>,
}

impl World {
    fn client(&self) -> Client {
        let watch = Watch {
            names: Arc::new(Names::default()),
            events: None,
            accesses: None,
        };
        Client::new(
            vec![(self.server.ip().to_string(), self.server.port())],
            Limits::default(),
            0,
            self.deadlines.clone(),
            Box::new(|_, _, _| ()),
            ClusterWatch::new(CoreWatch::new(&watch), 0),
        )
    }

    async fn create_topic(&self, partitions: i32) {
        let topic = NewTopic {
            name: self.topic.to_string(),
            partitions,
            replication_factor: 1,
            configs: Vec::new(),
        };
        let client = self.client();
        let outcome = client.create_topics(&[topic], PATIENCE).await.unwrap();
        assert!(outcome[0].1.is_none(), "{outcome:?}");
        client.stop();
    }

    fn join(self: &Rc<Self>, session_timeout: Duration) -> Reader {
        let mut config = GroupConfig::new(&*self.topic, [self.topic.to_string()])
            .with_session_timeout(session_timeout);
        config.heartbeat_interval = Duration::from_millis(100);
        let client = self.client();
        let notify: Rc<Notify> = Rc::default();
        let group = Group::join(
            client.clone(),
            config,
            self.deadlines.clone(),
            notify.clone(),
        );
        Reader {
            client,
            group,
            notify,
            held: RefCell::default(),
            events: RefCell::default(),
            world: self.clone(),
        }
    }
}

impl Reader {
    fn key(&self, partition: i32) -> PartitionKey {
        (self.world.topic.clone(), partition)
    }

    fn take_events(&self) {
        while let Some(event) = self.group.poll_event() {
            let mut held = self.held.borrow_mut();
            match &event {
                GroupEvent::Assigned(partitions) => {
                    for ((_, partition), offset) in partitions {
                        assert_eq!(held.insert(*partition, *offset), None, "{event:?}");
                    }
                }
                GroupEvent::Revoked(partitions) => {
                    for (_, partition) in partitions {
                        assert!(held.remove(partition).is_some(), "{event:?}");
                    }
                }
            }
            self.events.borrow_mut().push(event);
        }
    }

    /// Waits until this many partitions are held, woken by events alone; returns them with the offsets to begin at.
    async fn holds(&self, count: usize) -> BTreeMap<i32, Option<i64>> {
        let deadline = self.world.deadlines.deadline();
        let held = async {
            loop {
                self.take_events();
                if self.held.borrow().len() == count {
                    return self.held.borrow().clone();
                }
                self.notify.notified().await;
            }
        };
        let until = runtime::now() + PATIENCE;
        let held = with_deadline(&deadline, until, held).await;
        held.unwrap_or_else(|_| panic!("never {count}: {:?}", self.held))
    }

    async fn leave(self) {
        let until = runtime::now() + PATIENCE;
        self.group.leave(until).await;
        assert!(runtime::now() < until);
        self.client.stop();
    }
}

/// Two share, one leaves, another comes when all are gone.
async fn share_and_leave(world: World) {
    let world = Rc::new(world);
    world.create_topic(4).await;
    let session = Duration::from_secs(6);
    let one = world.join(session);
    let all = one.holds(4).await;
    assert!(all.values().all(Option::is_none), "nothing is committed");

    let other = world.join(session);
    let others = other.holds(2).await;
    let kept = one.holds(2).await;
    assert_eq!(one.events.borrow().len(), 2, "what stays raises no event");
    assert!(others.keys().all(|partition| !kept.contains_key(partition)));

    for partition in others.keys() {
        other
            .group
            .commit(&other.key(*partition), 100 + i64::from(*partition));
    }
    for partition in kept.keys() {
        one.group
            .commit(&one.key(*partition), 100 + i64::from(*partition));
    }
    other.leave().await;
    let all = one.holds(4).await;
    for partition in others.keys() {
        let committed = Some(100 + i64::from(*partition));
        assert_eq!(all[partition], committed, "before it left");
    }
    assert_eq!(one.events.borrow().len(), 3);
    let left = one.group.clone();
    one.leave().await;
    left.commit(&(world.topic.clone(), 0), 500);

    let third = world.join(session);
    let all = third.holds(4).await;
    for (partition, committed) in all {
        assert_eq!(committed, Some(100 + i64::from(partition)));
    }
    third.leave().await;
}

#[test]
fn two_members_share_and_who_stays_goes_on_where_the_other_was() {
    let broker = broker(None);
    on_a_core(share_and_leave, broker.addr());
}

#[test]
#[ignore = "needs a real broker: SLUICE_TEST_KAFKA=127.0.0.1:9092"]
fn two_members_share_on_a_real_broker() {
    let server = std::env::var("SLUICE_TEST_KAFKA").unwrap();
    on_a_core(share_and_leave, server.parse().unwrap());
}

#[test]
fn a_member_that_is_cut_off_gives_all_up_and_is_replaced_after_the_session() {
    let is_cut = Arc::new(AtomicBool::new(false));
    let hook = {
        let is_cut = is_cut.clone();
        let first = AtomicU64::new(u64::MAX);
        FaultHook::new(move |request| {
            if request.api_key == JOIN_GROUP {
                let _ = first.compare_exchange(
                    u64::MAX,
                    request.connection,
                    Ordering::Relaxed,
                    Ordering::Relaxed,
                );
            }
            let is_first = request.connection == first.load(Ordering::Relaxed);
            let is_group = GROUP_APIS.contains(&request.api_key);
            if is_group && !is_first && is_cut.load(Ordering::Relaxed) {
                Fault::Disconnect
            } else {
                Fault::None
            }
        })
    };
    let broker = broker(Some(hook));
    let test = |world: World| async move {
        let world = Rc::new(world);
        world.create_topic(4).await;
        let session = Duration::from_secs(1);
        let stays = world.join(session);
        stays.holds(4).await;
        let goes = world.join(session);
        goes.holds(2).await;
        stays.holds(2).await;
        is_cut.store(true, Ordering::Relaxed);
        let cut_at = runtime::now();
        goes.holds(0).await;
        stays.holds(4).await;
        assert!(runtime::now() - cut_at > session / 2);
        // Back again, it is a member like before.
        is_cut.store(false, Ordering::Relaxed);
        goes.holds(2).await;
        stays.holds(2).await;
        goes.leave().await;
        stays.leave().await;
    };
    on_a_core(test, broker.addr());
}

#[test]
fn a_topic_that_is_made_later_is_assigned_then() {
    let broker = broker(None);
    let test = |world: World| async move {
        let world = Rc::new(world);
        let reader = world.join(PATIENCE);
        let deadline = world.deadlines.deadline();
        let is_in = async {
            while !reader.group.inner.member.borrow().is_leader() {
                runtime::sleep(Duration::from_millis(5)).await;
            }
        };
        let until = runtime::now() + PATIENCE;
        with_deadline(&deadline, until, is_in).await.unwrap();
        world.create_topic(3).await;
        reader.client.want(&world.topic, false);
        reader.holds(3).await;
        reader.leave().await;
    };
    on_a_core(test, broker.addr());
}

#[test]
fn a_coordinator_that_stumbles_takes_nothing_away() {
    let heartbeats = Arc::new(AtomicU64::new(0));
    let count = heartbeats.clone();
    let hook = FaultHook::new(move |request| {
        if !GROUP_APIS.contains(&request.api_key) {
            return Fault::None;
        }
        if request.api_key == HEARTBEAT {
            count.store(request.nth, Ordering::Relaxed);
        }
        match (request.api_key, request.nth) {
            (HEARTBEAT, 2) => Fault::Answer(ErrorCode(16)), // NOT_COORDINATOR
            (HEARTBEAT, 4) => Fault::Disconnect,
            (HEARTBEAT, 6) => Fault::TruncateAnswer(5),
            (_, 0) => Fault::Answer(ErrorCode(14)), // COORDINATOR_LOAD_IN_PROGRESS
            (JOIN_GROUP | SYNC_GROUP | COMMIT, 2) => Fault::ApplyThenDisconnect,
            _ => Fault::None,
        }
    });
    let broker = broker(Some(hook));
    let test = |world: World| async move {
        let world = Rc::new(world);
        world.create_topic(2).await;
        let reader = world.join(PATIENCE);
        reader.holds(2).await;
        reader.group.commit(&reader.key(0), 10);
        while heartbeats.load(Ordering::Relaxed) < 10 {
            runtime::sleep(Duration::from_millis(5)).await;
        }
        reader.take_events();
        assert_eq!(reader.events.borrow().len(), 1, "{:?}", reader.events);
        reader.group.commit(&reader.key(1), 20);
        reader.leave().await;
        let next = world.join(PATIENCE);
        let offsets = next.holds(2).await;
        assert_eq!(offsets, [(0, Some(10)), (1, Some(20))].into());
        next.leave().await;
    };
    on_a_core(test, broker.addr());
}
