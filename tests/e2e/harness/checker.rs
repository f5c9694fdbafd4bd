//! What was promised to writers against what the log holds.
//!
//! One rule: every 2xx is in the log exactly once, every refusal (503) never, everything else at most once; and what one
//! writer had acknowledged before it sent the next is in the log in that order.

use std::collections::HashMap;

/// What a writer learned about one write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// 2xx.
    Stored,
    /// 503: certainly not.
    Refused,
    /// 504, or no answer.
    Unknown,
}

/// One write; no two have the same value.
#[derive(Clone, Debug)]
pub(crate) struct Write {
    pub(crate) value: String,
    pub(crate) outcome: Outcome,
}

/// Compares each writer's writes, in the order it sent them, with the values in the log, partition by partition.
/// Returns what is wrong.
pub(crate) fn violations(writers: &[Vec<Write>], log: &[Vec<String>]) -> Vec<String> {
    let mut places: HashMap<&str, Vec<(usize, usize)>> = HashMap::new();
    for (partition, values) in log.iter().enumerate() {
        for (at, value) in values.iter().enumerate() {
            places.entry(value).or_default().push((partition, at));
        }
    }
    let mut wrong = Vec::new();
    let mut expected = 0;
    for writes in writers {
        let mut newest = HashMap::new();
        for write in writes {
            let found = places.get(&*write.value).map_or(&[][..], |found| found);
            expected += found.len();
            let allowed = match write.outcome {
                Outcome::Stored => 1..=1,
                Outcome::Refused => 0..=0,
                Outcome::Unknown => 0..=1,
            };
            if !allowed.contains(&found.len()) {
                wrong.push(format!("{write:?} is in the log {} times", found.len()));
            }
            if let (Outcome::Stored, [(partition, at)]) = (write.outcome, found) {
                let newest = newest.entry(partition).or_insert(at);
                if *newest > at {
                    wrong.push(format!("{write:?} is before one acknowledged earlier"));
                }
                *newest = at;
            }
        }
    }
    let held: usize = log.iter().map(Vec::len).sum();
    if held != expected {
        wrong.push(format!(
            "{held} records in the log, {expected} of them written by anyone"
        ));
    }
    wrong
}

mod tests {
    use super::{Outcome, Write, violations};

    fn check(writes: &[(&str, Outcome)], log: &[&str]) -> usize {
        let writes = writes.iter().map(|(value, outcome)| Write {
            value: (*value).to_owned(),
            outcome: *outcome,
        });
        let log = log.iter().map(|value| (*value).to_owned()).collect();
        violations(&[writes.collect()], &[log]).len()
    }

    #[test]
    fn a_log_that_keeps_every_promise_passes() {
        let writes = [
            ("a", Outcome::Stored),
            ("b", Outcome::Refused),
            ("c", Outcome::Unknown),
            ("d", Outcome::Unknown),
        ];
        assert_eq!(check(&writes, &["a", "d"]), 0);
    }

    #[test]
    fn each_broken_promise_is_found() {
        assert_eq!(check(&[("a", Outcome::Stored)], &[]), 1, "lost");
        assert_eq!(check(&[("a", Outcome::Stored)], &["a", "a"]), 1, "twice");
        assert_eq!(
            check(&[("a", Outcome::Refused)], &["a"]),
            1,
            "stored though refused"
        );
        assert_eq!(check(&[("a", Outcome::Unknown)], &["a", "a"]), 1, "twice");
        assert_eq!(check(&[], &["a"]), 1, "from nowhere");
        let both = [("a", Outcome::Stored), ("b", Outcome::Stored)];
        assert_eq!(check(&both, &["b", "a"]), 1, "out of order");
    }
}
