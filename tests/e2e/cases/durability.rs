//! What was acknowledged is in the log, once, whatever happened to the broker meanwhile.

use crate::harness::broker::{Broker, Nodes};
use crate::harness::checker::Outcome;
use crate::harness::config::Crud;
use crate::harness::gateway::Gateway;
use crate::harness::kafka::Kafka;
use crate::harness::writers::{Writers, assert_promises_kept};
use crate::harness::{Env, PATIENCE, eventually, unique};
use sluice::embedded::{ErrorCode, Fault, FaultHook, Request};
use std::time::Duration;

const PRODUCE: i16 = 0;

pub(crate) fn no_acknowledged_write_is_lost_when_the_broker_is_killed(env: &Env) {
    let topic = env.topic(3, &[]);
    let gateway = env.gateway(&Crud::over(&topic).timeout("3s"));
    let pool = Writers::start(&gateway, 8);
    for _ in 0..3 {
        pool.await_stored(200);
        env.broker.kill();
        assert!(
            pool.await_other(PATIENCE),
            "writes are not refused while the broker is down"
        );
        env.broker.start();
        pool.await_each_stored(5);
    }
    pool.await_stored(200);
    let writes = pool.stop();
    assert_promises_kept(&writes, &env.kafka, &topic, 3);
    gateway.assert_serves();
}

/// Runs writers against an embedded broker with faults; the faults must not show in any answer.
fn all_stored_with(hook: impl Fn(&Request) -> Fault + Send + Sync + 'static, writes: usize) {
    let env = Env::new(Broker::faulty(FaultHook::new(hook)));
    let topic = env.topic(3, &[]);
    let gateway = env.crud(&topic);
    let pool = Writers::start(&gateway, 8);
    pool.await_stored(writes);
    let writes = pool.stop();
    assert_promises_kept(&writes, &env.kafka, &topic, 3);
    let others: Vec<_> = writes
        .iter()
        .flatten()
        .filter(|write| write.outcome != Outcome::Stored)
        .collect();
    assert!(others.is_empty(), "retried within the deadline: {others:?}");
}

pub(crate) fn answers_that_get_lost() {
    let hook = |request: &Request| match request.nth {
        _ if request.api_key != PRODUCE => Fault::None,
        nth if nth % 17 == 5 => Fault::ApplyThenDisconnect,
        nth if nth % 23 == 7 => Fault::Disconnect,
        nth if nth % 29 == 11 => Fault::TruncateAnswer(7),
        _ => Fault::None,
    };
    all_stored_with(hook, 500);
}

pub(crate) fn retriable_refusals() {
    // Not leader, request timed out, not enough replicas, storage error.
    const CODES: [i16; 4] = [6, 7, 19, 56];
    let hook = |request: &Request| match request.nth {
        _ if request.api_key != PRODUCE => Fault::None,
        nth if nth % 13 == 3 => Fault::Answer(ErrorCode(
            CODES[usize::try_from(nth / 13 % 4).expect("below 4")],
        )),
        _ => Fault::None,
    };
    all_stored_with(hook, 300);
}

pub(crate) fn late_answers() {
    let hook = |request: &Request| match request.nth {
        _ if request.api_key != PRODUCE => Fault::None,
        // Longer than the mapping's deadline, and then as if nothing had been.
        40 => Fault::Delay(Duration::from_secs(5)),
        nth if nth % 19 == 4 => Fault::Delay(Duration::from_millis(300)),
        _ => Fault::None,
    };
    let env = Env::new(Broker::faulty(FaultHook::new(hook)));
    let topic = env.topic(3, &[]);
    let gateway = env.gateway(&Crud::over(&topic).timeout("3s"));
    let pool = Writers::start(&gateway, 8);
    assert!(pool.await_other(PATIENCE), "a deadline passes");
    pool.await_each_stored(20);
    let writes = pool.stop();
    assert_promises_kept(&writes, &env.kafka, &topic, 3);
    assert!(
        writes
            .iter()
            .flatten()
            .any(|write| write.outcome == Outcome::Unknown),
        "the outcome of a write that the broker took is unknown"
    );
}

pub(crate) fn leader_change() {
    let nodes = Nodes::start(3);
    let kafka = Kafka::connect(&nodes.bootstrap());
    let topic = unique("items");
    kafka.create_topic(&topic, 3, 3, &[("min.insync.replicas", "2")]);
    let gateway = Gateway::start(&nodes.bootstrap(), &Crud::over(&topic).timeout("5s").yaml());
    let pool = Writers::start(&gateway, 8);
    for partition in 0..2 {
        pool.await_each_stored(30);
        let (leader, _) = kafka.leader(&topic, partition).expect("a leader");
        nodes.script(&["kill", &leader.to_string()]);
        eventually("another node leads", 2 * PATIENCE, || {
            let (now, _) = kafka.leader(&topic, partition)?;
            (now != leader).then_some(())
        });
        pool.await_each_stored(30);
        nodes.script(&["start", &leader.to_string()]);
        eventually("all replicas are in sync again", 2 * PATIENCE, || {
            (0..3)
                .all(|partition| kafka.in_sync(&topic, partition) == 3)
                .then_some(())
        });
    }
    let writes = pool.stop();
    assert_promises_kept(&writes, &kafka, &topic, 3);
    gateway.assert_serves();
}
