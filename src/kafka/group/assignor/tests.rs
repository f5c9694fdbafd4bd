//! Balance, stickiness and their limits.

use proptest::prelude::*;

use super::*;

fn topics(names: &[&str]) -> BTreeSet<Arc<str>> {
    names.iter().map(|name| (*name).into()).collect()
}

fn counts(counts: &[(&str, i32)]) -> BTreeMap<Arc<str>, i32> {
    counts
        .iter()
        .map(|(topic, count)| ((*topic).into(), *count))
        .collect()
}

fn member(names: &[&str]) -> Subscription {
    Subscription {
        topics: topics(names),
        ..Subscription::default()
    }
}

fn owning(names: &[&str], owned: &[(&str, i32)], generation: Option<i32>) -> Subscription {
    Subscription {
        topics: topics(names),
        owned: keys(owned),
        generation,
    }
}

fn keys(keys: &[(&str, i32)]) -> BTreeSet<PartitionKey> {
    keys.iter()
        .map(|(topic, partition)| ((*topic).into(), *partition))
        .collect()
}

fn members(members: &[(&str, Subscription)]) -> Members {
    members
        .iter()
        .map(|(id, subscription)| ((*id).to_owned(), subscription.clone()))
        .collect()
}

fn sizes(assignments: &Assignments) -> Vec<usize> {
    assignments.values().map(BTreeSet::len).collect()
}

/// The same members with what they were assigned.
fn settled(members: &Members, assignments: &Assignments, generation: i32) -> Members {
    let settle = |(id, subscription): (&String, &Subscription)| {
        let subscription = Subscription {
            topics: subscription.topics.clone(),
            owned: assignments[id].clone(),
            generation: Some(generation),
        };
        (id.clone(), subscription)
    };
    members.iter().map(settle).collect()
}

#[test]
fn the_partitions_of_all_topics_are_counted_together() {
    let three = ["a", "b", "c"].map(|id| (id, member(&["x", "y"])));
    let assignments = assign(&members(&three), &counts(&[("x", 4), ("y", 4)]));
    assert_eq!(sizes(&assignments), [3, 3, 2]);
    for assignment in assignments.values() {
        let of_x = assignment.iter().filter(|key| &*key.0 == "x").count();
        assert!((1..=2).contains(&of_x), "each has of every topic");
    }
}

#[test]
fn members_may_be_more_than_partitions_and_topics_may_be_missing() {
    let three = members(&["a", "b", "c"].map(|id| (id, member(&["x", "later"]))));
    assert_eq!(sizes(&assign(&three, &counts(&[("x", 2)]))), [1, 1, 0]);
    assert_eq!(sizes(&assign(&three, &counts(&[]))), [0, 0, 0]);
    assert_eq!(
        sizes(&assign(&three, &counts(&[("nobody's", 4)]))),
        [0, 0, 0]
    );
    assert!(assign(&Members::new(), &counts(&[("x", 2)])).is_empty());
}

#[test]
fn who_comes_takes_from_those_who_have_most_and_nobody_else_changes() {
    let two = members(&["a", "b"].map(|id| (id, member(&["x"]))));
    let before = assign(&two, &counts(&[("x", 6)]));
    let mut three = settled(&two, &before, 1);
    three.insert("0, sorted first".into(), member(&["x"]));
    let after = assign(&three, &counts(&[("x", 6)]));
    assert_eq!(sizes(&after), [2, 2, 2]);
    for id in ["a", "b"] {
        assert!(after[id].is_subset(&before[id]));
    }
}

#[test]
fn what_is_left_over_stays_where_it_is() {
    let two = members(&[
        ("a", owning(&["x"], &[("x", 0)], Some(3))),
        ("b", owning(&["x"], &[("x", 1), ("x", 2)], Some(3))),
    ]);
    let after = assign(&two, &counts(&[("x", 3)]));
    assert_eq!(after["a"], keys(&[("x", 0)]));
    assert_eq!(after["b"], keys(&[("x", 1), ("x", 2)]));
}

#[test]
fn of_two_who_claim_a_partition_the_later_generation_has_it() {
    let claim = |one, other| {
        let two = members(&[
            ("a", owning(&["x"], &[("x", 1)], one)),
            ("b", owning(&["x"], &[("x", 1)], other)),
        ]);
        assign(&two, &counts(&[("x", 2)]))
    };
    assert_eq!(claim(Some(3), Some(4))["b"], keys(&[("x", 1)]));
    assert_eq!(claim(Some(4), Some(3))["a"], keys(&[("x", 1)]));
    assert_eq!(claim(Some(4), None)["a"], keys(&[("x", 1)]));
    // Neither: dealt out as if nobody had it.
    assert_eq!(claim(Some(3), Some(3))["a"], keys(&[("x", 0)]));
    assert_eq!(claim(None, None)["a"], keys(&[("x", 0)]));
}

#[test]
fn what_is_owned_of_a_topic_no_longer_subscribed_to_goes_to_others() {
    let two = members(&[
        ("a", owning(&["y"], &[("x", 0), ("y", 0)], Some(1))),
        ("b", owning(&["x"], &[("x", 7)], Some(1))),
    ]);
    let after = assign(&two, &counts(&[("x", 2), ("y", 1)]));
    assert_eq!(after["a"], keys(&[("y", 0)]));
    assert_eq!(
        after["b"],
        keys(&[("x", 0), ("x", 1)]),
        "and no partition that there is not"
    );
}

#[test]
fn topics_of_all_even_out_what_topics_of_few_gave() {
    let two = members(&[("a", member(&["own", "all"])), ("b", member(&["all"]))]);
    let after = assign(&two, &counts(&[("own", 1), ("all", 3)]));
    assert_eq!(sizes(&after), [2, 2]);
}

const TOPICS: [&str; 3] = ["x", "y", "z"];

prop_compose! {
    fn any_member()(
        subscribed in proptest::collection::btree_set(0..3_usize, 0..=3),
        owned in proptest::collection::btree_set((0..3_usize, 0..12_i32), 0..12),
        generation in proptest::option::of(0..4_i32),
    ) -> Subscription {
        Subscription {
            topics: subscribed.into_iter().map(|topic| TOPICS[topic].into()).collect(),
            owned: owned.into_iter().map(|(topic, partition)| (TOPICS[topic].into(), partition)).collect(),
            generation,
        }
    }
}

prop_compose! {
    fn any_group()(list in proptest::collection::vec(any_member(), 1..7)) -> Members {
        list.into_iter().enumerate().map(|(at, member)| (format!("m{at}"), member)).collect()
    }
}

/// Every partition that anybody wants is with one who wants it, and no class of topics is out of balance.
fn check(
    members: &Members,
    counts: &BTreeMap<Arc<str>, i32>,
    assignments: &Assignments,
) -> Result<(), TestCaseError> {
    prop_assert!(assignments.keys().eq(members.keys()));
    let mut seen = BTreeSet::new();
    for (id, assignment) in assignments {
        for key in assignment {
            prop_assert!(seen.insert(key.clone()), "{key:?} is assigned twice");
            prop_assert!(members[id].topics.contains(&key.0));
        }
    }
    for (subscribers, partitions) in classes(members, counts) {
        prop_assert!(partitions.iter().all(|key| seen.remove(key)));
        let had: Vec<usize> = subscribers
            .iter()
            .map(|id| {
                partitions
                    .iter()
                    .filter(|key| assignments[*id].contains(key))
                    .count()
            })
            .collect();
        let spread = had.iter().max().unwrap() - had.iter().min().unwrap();
        prop_assert!(spread <= 1, "{had:?}");
    }
    prop_assert!(seen.is_empty(), "{seen:?} are not there");
    Ok(())
}

proptest! {
    #[test]
    fn whatever_members_claim_all_is_shared_out_evenly_and_then_nothing_moves(
        members in any_group(),
        sizes in [0..9_i32, 0..9_i32, 0..9_i32],
    ) {
        let counts: BTreeMap<Arc<str>, i32> = TOPICS.iter().zip(sizes).map(|(topic, count)| ((*topic).into(), count)).collect();
        let assignments = assign(&members, &counts);
        check(&members, &counts, &assignments)?;
        let settled = settled(&members, &assignments, 9);
        prop_assert_eq!(assign(&settled, &counts), assignments);
    }

    #[test]
    fn when_one_leaves_the_others_keep_all_that_they_have(
        size in 1..30_i32,
        count in 2..7_usize,
        leaver in 0..7_usize,
    ) {
        let counts = counts(&[("x", size)]);
        let all: Members = (0..count).map(|at| (format!("m{at}"), member(&["x"]))).collect();
        let before = assign(&all, &counts);
        let mut rest = settled(&all, &before, 1);
        rest.remove(&format!("m{}", leaver % count));
        let after = assign(&rest, &counts);
        check(&rest, &counts, &after)?;
        for id in rest.keys() {
            prop_assert!(before[id].is_subset(&after[id]));
        }
    }
}
