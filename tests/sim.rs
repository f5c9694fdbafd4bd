//! The data plane in a simulated world: seeds in, promises checked at every step. `SEED=123` replays one, `SIM_SEEDS=20000` runs as many.

use std::time::Duration;

use sluice::sim::{self, Faults, GatewaySummary, GatewayWorld, Summary, World};

#[test]
fn every_record_gets_one_outcome_and_every_outcome_is_true() {
    let mut total = Summary::default();
    let mut runs = 0;
    for seed in sim::seeds() {
        total.add(&World::new(seed).run_until_idle());
        runs += 1;
    }
    // A simulation in which nothing happens proves nothing.
    if runs >= 200 {
        let Summary {
            stored,
            unknown,
            unavailable,
            too_large,
            rejected,
            overloaded,
            duplicates,
            later_epochs,
            late_arrivals,
            truncated,
            ..
        } = total;
        let counts = [
            stored,
            unknown,
            unavailable,
            too_large,
            rejected,
            overloaded,
            duplicates,
            later_epochs,
            late_arrivals,
            truncated,
        ];
        assert!(counts.iter().all(|count| *count >= 50), "{total:?}");
    }
    println!("{runs} runs: {total:?}");
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in sim::seeds().take(20) {
        let [first, second] = [(); 2].map(|()| World::new(seed).run_until_idle());
        assert_eq!(first, second, "SEED={seed}");
    }
}

#[test]
fn a_world_without_faults_stores_what_it_is_given() {
    for seed in sim::seeds().take(20) {
        let summary = World::new(seed).faults(Faults::NONE).run_until_idle();
        assert_eq!(
            (summary.truncated, summary.late_arrivals, summary.duplicates),
            (0, 0, 0),
            "SEED={seed}"
        );
        assert!(summary.stored > 0, "SEED={seed}");
    }
}

#[test]
fn four_cores_share_a_cluster_that_keeps_changing_its_mind() {
    for seed in sim::seeds().take(10) {
        let faults = Faults {
            batch_stored_unsaid: 300,
            request_late: 100,
            mishap_interval: Some(Duration::from_millis(100)),
            ..Faults::NONE
        };
        let summary = World::new(seed).cores(4).faults(faults).run_until_idle();
        assert!(summary.stored > 0, "SEED={seed}");
    }
}

/// A run of whole gateways takes some twenty times as long as one of producers.
const GATEWAY_SEEDS_DEFAULT: usize = 60;

/// As many as asked for, or few: `cargo test` stays fast.
fn gateway_seeds() -> impl Iterator<Item = u64> {
    let is_counted = std::env::var_os("SIM_SEEDS").is_some();
    let count = if is_counted {
        usize::MAX
    } else {
        GATEWAY_SEEDS_DEFAULT
    };
    sim::seeds().take(count)
}

#[test]
fn every_request_ends_with_a_true_answer_and_nothing_is_left() {
    let mut total = GatewaySummary::default();
    let mut runs = 0;
    for seed in gateway_seeds() {
        total.add(&GatewayWorld::new(seed).run_until_idle());
        runs += 1;
    }
    if runs >= GATEWAY_SEEDS_DEFAULT {
        let GatewaySummary {
            written,
            read,
            missing,
            listed,
            replied,
            accepted,
            unknown,
            unavailable,
            overloaded,
            produced,
            replies,
            refused,
            snapshots,
            vanished,
            restarts,
            ..
        } = total;
        let counts = [
            written,
            read,
            missing,
            listed,
            replied,
            accepted,
            unknown,
            unavailable,
            overloaded,
            produced,
            replies,
            refused,
            snapshots,
            vanished,
            restarts,
        ];
        assert!(counts.iter().all(|count| *count >= 10), "{total:?}");
    }
    println!("{runs} runs: {total:?}");
}

#[test]
fn gateways_of_a_world_without_faults_lose_nobody() {
    for seed in sim::seeds().take(20) {
        let summary = GatewayWorld::new(seed)
            .faults(Faults::NONE)
            .run_until_idle();
        assert_eq!(summary.restarts, 0, "SEED={seed}");
        assert!(summary.written > 0, "SEED={seed}");
    }
}

#[test]
fn the_same_seed_gives_the_same_run_of_whole_gateways() {
    for seed in sim::seeds().take(5) {
        let [first, second] = [(); 2].map(|()| GatewayWorld::new(seed).run_until_idle());
        assert_eq!(first, second, "SEED={seed}");
    }
}
