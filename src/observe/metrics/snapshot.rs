//! What one core has counted, as plain values that can go to another thread, and the sum of many of them.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use super::family::Metric;
use super::figures::{Distribution, Powers};
use crate::grpc::status::Code;
use crate::http::Method;

/// Whose value it is within a family. Numbers are places in the plan.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Series {
    /// The process's.
    Process,
    /// A core's.
    Core(usize),
    /// A tcp server's.
    Listener(usize),
    /// An http server's.
    Server(usize),
    /// Of requests to an http server that took a route of a mapping, or none.
    Route {
        /// The http server.
        server: usize,
        /// The route.
        route: Option<usize>,
    },
    /// Of those with a method and a status.
    Request {
        /// The http server.
        server: usize,
        /// The route.
        route: Option<usize>,
        /// The method.
        method: Method,
        /// The status; 0: the client was gone before its answer was whole.
        status: u16,
    },
    /// Of calls that ended with a status of gRPC.
    Code(Code),
    /// A topic's.
    Topic {
        /// The cluster.
        cluster: usize,
        /// The topic.
        topic: Arc<str>,
    },
}

/// A value.
#[derive(Clone, Debug)]
pub enum Value {
    /// Of a counter or gauge.
    Number(u64),
    /// A distribution.
    Distribution(Box<Distribution>),
    /// A distribution in Zilla's buckets.
    Powers(Box<Powers>),
}

impl Value {
    fn merge(&mut self, other: Self) {
        match (self, other) {
            (Self::Number(own), Self::Number(other)) => *own = own.saturating_add(other),
            (Self::Distribution(own), Self::Distribution(other)) => own.merge(&other),
            (Self::Powers(own), Self::Powers(other)) => own.merge(&other),
            // A family has values of one kind.
            (Self::Number(_) | Self::Distribution(_) | Self::Powers(_), _) => {}
        }
    }
}

/// What was counted.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    values: BTreeMap<(Metric, Series), Value>,
}

impl Snapshot {
    /// Adds a value to what is there of its series.
    pub fn add(&mut self, metric: Metric, series: Series, value: Value) {
        match self.values.entry((metric, series)) {
            Entry::Vacant(entry) => {
                entry.insert(value);
            }
            Entry::Occupied(mut entry) => entry.get_mut().merge(value),
        }
    }

    /// Adds a number to what is there of its series.
    pub fn number(&mut self, metric: Metric, series: Series, number: u64) {
        self.add(metric, series, Value::Number(number));
    }

    /// Adds all that another core has counted.
    pub fn merge(&mut self, other: Self) {
        for ((metric, series), value) in other.values {
            self.add(metric, series, value);
        }
    }

    /// All values, family by family.
    pub fn iter(&self) -> impl Iterator<Item = (Metric, &Series, &Value)> {
        self.values
            .iter()
            .map(|((metric, series), value)| (*metric, series, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figures_of_two_cores_add_up() {
        let core = |core: usize| {
            let mut snapshot = Snapshot::default();
            snapshot.number(Metric::CacheHits, Series::Process, 2);
            snapshot.number(Metric::InboxDepth, Series::Core(core), 5);
            let mut distribution = Distribution::new(1_000);
            distribution.record(7);
            let distribution = Value::Distribution(Box::new(distribution));
            snapshot.add(Metric::ProduceAck, Series::Process, distribution);
            snapshot
        };
        let mut both = core(0);
        both.merge(core(1));
        let numbers: Vec<(Metric, Series, u64)> = both
            .iter()
            .map(|(metric, series, value)| {
                let number = match value {
                    Value::Number(number) => *number,
                    Value::Distribution(distribution) => distribution.count(),
                    Value::Powers(powers) => powers.count(),
                };
                (metric, series.clone(), number)
            })
            .collect();
        assert_eq!(
            numbers,
            [
                (Metric::ProduceAck, Series::Process, 2),
                (Metric::CacheHits, Series::Process, 4),
                (Metric::InboxDepth, Series::Core(0), 5),
                (Metric::InboxDepth, Series::Core(1), 5),
            ]
        );
    }
}
