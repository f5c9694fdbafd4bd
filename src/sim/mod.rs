//! A simulated cluster, network and clock, for tests: the machines of the data plane are driven as their shells drive them, and every promise is checked at
//! every step.
//!
//! Sits beside everything and below nothing. Its one rule: a run follows from its seed. No clock, no thread, no map without an order; all chance comes from one
//! generator.
//!
//! ```text
//!  workload ──▶ shell (one per core: producer, metadata) ──▶ fabric (clock, delays, cuts) ──▶ broker (leaders, errors) ──▶ log
//!      ▲               │ outcomes                                    ▲ answers, or none            │                        │ what it holds
//!      └───────────────┴──────────────────────────────▶ checker ◀────┴─────────── mishaps ─────────┴────────────────────────┘
//! ```
//!
//! `SEED=123 cargo test --test sim` replays one run and prints what happens in it; `SIM_SEEDS=20000` tries as many.

mod broker;
mod checker;
mod event;
mod fabric;
mod faults;
mod gateway;
mod log;
mod metadata_task;
mod mishap;
mod random;
mod schedule;
mod shell;
mod workload;
mod world;

pub use checker::Summary;
pub use faults::Faults;
pub use gateway::{GatewaySummary, GatewayWorld};
pub use world::World;

/// Runs of each test when nobody says how many: `cargo test` stays fast.
const SEEDS_DEFAULT: u64 = 200;

/// The seeds to run: the one in `SEED`, or as many as `SIM_SEEDS` says, or 200. What is neither a number nor there counts as not there.
pub fn seeds() -> impl Iterator<Item = u64> {
    let (first, count) = match replayed() {
        Some(seed) => (seed, 1),
        None => (1, variable("SIM_SEEDS").unwrap_or(SEEDS_DEFAULT)),
    };
    (0..count).map(move |index| first.wrapping_add(index))
}

/// The seed that is to be replayed, and told about step by step.
fn replayed() -> Option<u64> {
    variable("SEED")
}

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}
