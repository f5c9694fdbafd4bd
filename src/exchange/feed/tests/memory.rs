//! What a feed holds: bounded however slow its followers are, and nothing when they are gone.

use super::*;

/// Checks that the sums are right.
fn check(gateway: &Gateway) {
    let channels = gateway.feed.channels.values();
    let bytes: usize = channels.map(Channel::bytes).sum();
    assert_eq!(gateway.feed.bytes, bytes);
}

fn assert_empty(gateway: &Gateway) {
    let feed = &gateway.feed;
    assert!(feed.channels.is_empty() && feed.by_selection.is_empty());
    assert!(feed.by_key.is_empty() && feed.unkeyed.is_empty());
    assert!(feed.subscribers.is_empty() && feed.catching_up.is_empty());
    assert_eq!(feed.bytes, 0);
}

#[test]
fn a_slow_follower_lags_reads_on_by_itself_and_joins_again() {
    let mut kafka = Kafka::new(1);
    let mut gateway = Gateway::reading(DELETE, &kafka);
    let [fast, slow] = [(); 2].map(|()| gateway.subscribe(&all(), None));
    gateway.drain(&kafka, fast);
    gateway.drain(&kafka, slow);
    for round in 1..=3 {
        let mut expected = Vec::new();
        for _ in 0..12 {
            expected.push(format!("0:{}", kafka.logs[0].end()));
            kafka.append(0, &[("a", "big", "")]);
            gateway.read(&kafka);
            assert_eq!(gateway.records(&kafka, fast), *expected.last().unwrap());
            assert!(gateway.held_bytes() <= CHANNEL_BYTES_MAX);
            check(&gateway);
        }
        assert_eq!(gateway.feed.figures().lagged, round - 1);
        assert_eq!(gateway.records(&kafka, slow), expected.join(" "));
        assert_eq!(gateway.feed.figures().lagged, round);
        assert!(gateway.is_following(slow));
        assert_eq!((gateway.feed.bytes, gateway.held_bytes()), (0, 0));
    }
    assert_eq!(gateway.feed.figures().gaps, 0);
}

#[test]
fn a_follower_that_lags_by_less_than_what_is_held_takes_block_by_block() {
    let mut kafka = Kafka::new(1);
    let mut gateway = Gateway::reading(DELETE, &kafka);
    let id = gateway.subscribe(&all(), None);
    gateway.drain(&kafka, id);
    for _ in 0..5 {
        kafka.append(0, &[("a", "big", "")]);
        gateway.read(&kafka);
    }
    assert_eq!(gateway.records(&kafka, id), "0:0 0:1 0:2 0:3 0:4");
    assert_eq!(gateway.feed.figures(), FeedFigures::default());
    assert_eq!(gateway.feed.bytes, 0);
}

#[test]
fn a_block_goes_with_the_last_who_has_it_to_take() {
    let mut kafka = Kafka::new(1);
    let mut gateway = Gateway::reading(DELETE, &kafka);
    let [a, b] = [(); 2].map(|()| gateway.subscribe(&all(), None));
    gateway.drain(&kafka, a);
    gateway.drain(&kafka, b);
    kafka.append(0, &[("a", "1", "")]);
    gateway.read(&kafka);
    // Comes after the first block, before the second.
    let late = gateway.subscribe(&all(), None);
    assert_eq!(gateway.records(&kafka, late), "0:0");
    kafka.append(0, &[("a", "2", "")]);
    gateway.read(&kafka);
    let both = gateway.feed.bytes;
    gateway.feed.unsubscribe(b);
    assert_eq!(gateway.feed.bytes, both, "others want them");
    assert_eq!(gateway.records(&kafka, late), "0:1");
    assert_eq!(gateway.feed.bytes, both, "one has taken neither");
    assert!(matches!(gateway.take(a, 1), Taken::Events { count: 1, .. }));
    assert!(gateway.feed.bytes < both);
    gateway.feed.unsubscribe(a);
    check(&gateway);
    assert_eq!(gateway.feed.bytes, 0);
    kafka.append(0, &[("a", "3", "")]);
    gateway.read(&kafka);
    assert_eq!(gateway.records(&kafka, late), "0:2");
    gateway.feed.unsubscribe(late);
    assert_empty(&gateway);
}

#[test]
fn nothing_is_left_of_those_who_are_gone_whatever_they_were_doing() {
    let mut kafka = Kafka::new(1);
    let mut gateway = Gateway::reading(DELETE, &kafka);
    let selections = [
        all(),
        only(&[("a", ""), ("a", "x"), ("b", "")]),
        only(&[("a", "")]),
        only(&[("", "x")]),
    ];
    let following: Vec<_> = (0..8)
        .map(|number| gateway.subscribe(&selections[number % 4], None))
        .collect();
    for id in &following {
        gateway.drain(&kafka, *id);
    }
    for _ in 0..7 {
        kafka.append(0, &[("a", "big", "x")]);
        gateway.read(&kafka);
    }
    let behind = selections.map(|selection| gateway.subscribe(&selection, None));
    // Some have taken a block, one has lagged, the others have not been heard of.
    for id in following.iter().take(3) {
        gateway.take(*id, 1);
        check(&gateway);
    }
    gateway.take(behind[0], 1);
    for id in following.into_iter().chain(behind) {
        gateway.feed.unsubscribe(id);
        check(&gateway);
    }
    assert_empty(&gateway);
}

#[test]
fn an_event_that_is_longer_than_a_channel_holds_is_given_all_the_same() {
    let mut kafka = Kafka::new(1);
    let mut gateway = Gateway::reading(DELETE, &kafka);
    let id = gateway.subscribe(&all(), None);
    gateway.drain(&kafka, id);
    let long: &'static str = "l".repeat(2 * CHANNEL_BYTES_MAX).leak();
    for _ in 0..2 {
        kafka.append(0, &[("a", long, ""), ("a", "short", "")]);
        gateway.read(&kafka);
        assert!(gateway.held_bytes() < CHANNEL_BYTES_MAX * 3);
    }
    assert_eq!(gateway.records(&kafka, id), "0:0 0:1 0:2 0:3");
}

#[test]
fn a_thousand_slow_followers_of_as_many_selections_are_held_within_bounds() {
    let mut kafka = Kafka::new(1);
    let mut gateway = Gateway::reading(DELETE, &kafka);
    let ids: Vec<_> = (0..1_000)
        .map(|number| {
            // All want the same, each in his own words.
            let selection = only(&[("", "x"), (&format!("k{number}"), "")]);
            let id = gateway.subscribe(&selection, None);
            gateway.drain(&kafka, id);
            id
        })
        .collect();
    let value: &'static str = "v".repeat(12 << 10).leak();
    let mut most = 0;
    for _ in 0..8 {
        kafka.append(0, &[("a", value, "x")]);
        gateway.read(&kafka);
        check(&gateway);
        most = most.max(gateway.held_bytes());
    }
    assert!(
        most > FEED_BYTES_MAX / 2 && most <= 2 * FEED_BYTES_MAX,
        "{most}"
    );
    let everything = "0:0 0:1 0:2 0:3 0:4 0:5 0:6 0:7";
    for id in ids.iter().step_by(50) {
        assert_eq!(gateway.records(&kafka, *id), everything);
    }
    check(&gateway);
    for id in ids {
        gateway.feed.unsubscribe(id);
    }
    assert_empty(&gateway);
}
