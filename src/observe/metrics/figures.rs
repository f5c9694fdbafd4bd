//! The plain figures of one core: counters, gauges and distributions. Written by that core alone, so a `Cell` is enough.
//!
//! Rule: recording costs a few nanoseconds and allocates nothing after a figure's first use.

use std::cell::{Cell, RefCell};

use hdrhistogram::Histogram;

/// Significant digits of a distribution: percentiles are right within one per cent.
const DIGITS: u8 = 2;

/// A number that only goes up.
#[derive(Debug, Default)]
pub struct Counter(Cell<u64>);

impl Counter {
    /// Adds one.
    pub fn increment(&self) {
        self.add(1);
    }

    /// Adds `count`.
    pub fn add(&self, count: u64) {
        self.0.set(self.0.get().wrapping_add(count));
    }

    /// The count so far.
    pub fn value(&self) -> u64 {
        self.0.get()
    }
}

/// A number that goes up and down; never below zero.
#[derive(Debug, Default)]
pub struct Gauge(Cell<u64>);

impl Gauge {
    /// Adds `count`.
    pub fn add(&self, count: u64) {
        self.0.set(self.0.get().saturating_add(count));
    }

    /// Takes `count` away.
    pub fn subtract(&self, count: u64) {
        self.0.set(self.0.get().saturating_sub(count));
    }

    /// Sets it.
    pub fn set(&self, value: u64) {
        self.0.set(value);
    }

    /// The value now.
    pub fn value(&self) -> u64 {
        self.0.get()
    }
}

/// A distribution of whole numbers, whose unit is its family's.
#[derive(Clone, Debug)]
pub struct Distribution {
    histogram: Histogram<u64>,
    sum: u64,
}

impl Distribution {
    /// An empty one for values up to `highest`; what is more counts as `highest`.
    ///
    /// # Panics
    ///
    /// Never: two digits and a maximum of two or more are always possible.
    pub fn new(highest: u64) -> Self {
        let histogram = Histogram::new_with_max(highest.max(2), DIGITS)
            .expect("two digits and a maximum of two or more are always possible");
        Self { histogram, sum: 0 }
    }

    /// Adds a value.
    pub fn record(&mut self, value: u64) {
        self.histogram.saturating_record(value);
        self.sum = self.sum.saturating_add(value);
    }

    /// Adds all values of `other`.
    pub fn merge(&mut self, other: &Self) {
        // Fails only for values above our maximum, and both have the one of their family.
        let _ = self.histogram.add(&other.histogram);
        self.sum = self.sum.saturating_add(other.sum);
    }

    /// How many values there are.
    pub fn count(&self) -> u64 {
        self.histogram.len()
    }

    /// The sum of all values.
    pub const fn sum(&self) -> u64 {
        self.sum
    }

    /// How many values are at most each of `bounds`, which ascend; within the precision of two digits.
    pub fn cumulative(&self, bounds: &[u64]) -> Vec<u64> {
        let mut counts = vec![0; bounds.len()];
        let limits: Vec<u64> = bounds
            .iter()
            .map(|bound| self.histogram.highest_equivalent(*bound))
            .collect();
        for step in self.histogram.iter_recorded() {
            let first = limits.partition_point(|limit| *limit < step.value_iterated_to());
            if let Some(count) = counts.get_mut(first) {
                *count += step.count_at_value();
            }
        }
        let mut total = 0;
        for count in &mut counts {
            total += *count;
            *count = total;
        }
        counts
    }
}

/// A distribution that is made at its first value: most routes of most cores never get one.
#[derive(Debug)]
pub struct LazyDistribution {
    highest: u64,
    values: RefCell<Option<Box<Distribution>>>,
}

impl LazyDistribution {
    /// An empty one for values up to `highest`.
    pub const fn new(highest: u64) -> Self {
        Self {
            highest,
            values: RefCell::new(None),
        }
    }

    /// Adds a value.
    pub fn record(&self, value: u64) {
        self.values
            .borrow_mut()
            .get_or_insert_with(|| Box::new(Distribution::new(self.highest)))
            .record(value);
    }

    /// A copy; `None` while it is empty.
    pub fn copy(&self) -> Option<Box<Distribution>> {
        self.values.borrow().clone()
    }
}

/// Buckets of a [`Powers`]: Zilla's.
pub const POWERS: usize = 63;

/// A distribution in Zilla's buckets: below 2, 4, 8 … 2^62, and the rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Powers {
    buckets: [u64; POWERS],
    sum: u64,
}

impl Default for Powers {
    fn default() -> Self {
        Self {
            buckets: [0; POWERS],
            sum: 0,
        }
    }
}

impl Powers {
    /// Adds a value.
    pub fn record(&mut self, value: u64) {
        let bits = (u64::BITS - value.leading_zeros()).saturating_sub(1) as usize;
        self.buckets[bits.min(POWERS - 1)] += 1;
        self.sum = self.sum.saturating_add(value);
    }

    /// Adds all values of `other`.
    pub fn merge(&mut self, other: &Self) {
        for (own, theirs) in self.buckets.iter_mut().zip(other.buckets) {
            *own += theirs;
        }
        self.sum = self.sum.saturating_add(other.sum);
    }

    /// How many values there are.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// The sum of all values.
    pub const fn sum(&self) -> u64 {
        self.sum
    }

    /// Each bucket's upper limit, itself outside, and how many values are below it. The last bucket has no limit and is left out.
    pub fn cumulative(&self) -> impl Iterator<Item = (u64, u64)> {
        let mut total = 0;
        (1..)
            .zip(&self.buckets[..POWERS - 1])
            .map(move |(power, count)| {
                total += count;
                (1 << power, total)
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gauge_never_goes_below_zero() {
        let gauge = Gauge::default();
        gauge.add(2);
        gauge.subtract(5);
        assert_eq!(gauge.value(), 0);
    }

    #[test]
    fn cumulative_counts_are_those_of_the_values() {
        let mut one = Distribution::new(1_000_000);
        let mut other = Distribution::new(1_000_000);
        for value in 1..=50 {
            one.record(value);
            other.record(value * 1_000);
        }
        other.record(u64::MAX);
        one.merge(&other);
        assert_eq!(one.count(), 101);
        assert_eq!(
            one.cumulative(&[0, 1, 10, 50, 25_000, 60_000]),
            [0, 1, 10, 50, 75, 100]
        );
    }

    #[test]
    fn powers_have_exclusive_upper_limits() {
        let mut powers = Powers::default();
        for value in [0, 1, 2, 3, 4, u64::MAX] {
            powers.record(value);
        }
        let mut twice = powers.clone();
        twice.merge(&powers);
        let counts: Vec<(u64, u64)> = twice.cumulative().collect();
        assert_eq!(counts[..3], [(2, 4), (4, 8), (8, 10)]);
        assert_eq!(counts.last(), Some(&(1 << 62, 10)));
        assert_eq!(twice.count(), 12);
    }
}
