//! Whoever is behind reads for himself, from where his last event was, and misses nothing on the way.

use super::*;
use crate::config::EventIdForm;
use crate::mapping::sse_kafka::event::EventForm;

fn three_partitions() -> Kafka {
    let mut kafka = Kafka::new(3);
    for step in 0..12 {
        let key = ["a", "b", "c", ""][step % 4];
        kafka.append(step % 3, &[(key, "v", ["x", "y"][step / 3 % 2])]);
    }
    kafka
}

fn sorted(seen: &str) -> Vec<&str> {
    let mut places: Vec<_> = seen.split_whitespace().collect();
    places.sort_unstable();
    places
}

/// Resumes after each event on a gateway that has read `read` records of each partition and then reads the rest.
fn resume_everywhere(form: EventForm, policy: Policy, read: usize) {
    let kafka = three_partitions();
    for mut selection in [all(), only(&[("", "x")]), only(&[("a", ""), ("b", "y")])] {
        selection.form = Form::Event(form);
        let mut first = Gateway::reading(policy, &kafka);
        let reader = first.subscribe(&selection, None);
        let text = first.drain(&kafka, reader);
        let everything = seen(&text);
        for (number, event) in events(&text).enumerate() {
            let mut second = Gateway::new(policy, 3);
            for partition in 0..3 {
                second.fetch(&kafka, partition, read);
            }
            second.advance_all();
            let resumed = second.subscribe(&selection, id_of(event));
            let mut later = second.records(&kafka, resumed);
            second.read(&kafka);
            later = later + " " + &second.records(&kafka, resumed);
            let before: Vec<_> = everything.split(' ').take(number + 1).collect();
            let both = before.join(" ") + " " + &later;
            assert_eq!(sorted(&both), sorted(&everything), "after {event}");
            assert!(second.is_following(resumed));
        }
    }
}

#[test]
fn a_client_resumes_after_any_event_wherever_as_much_was_read_or_less() {
    let keyed = EventForm {
        id: EventIdForm::KeyAndEtag,
        has_timestamp: false,
    };
    for read in [0, 1, 2, 3, 4] {
        resume_everywhere(EventForm::default(), DELETE, read);
        resume_everywhere(keyed, DELETE, read);
    }
}

#[test]
fn a_client_resumes_after_any_event_where_more_was_read() {
    let mut kafka = three_partitions();
    let mut first = Gateway::reading(DELETE, &kafka);
    let reader = first.subscribe(&all(), None);
    let text = first.drain(&kafka, reader);
    kafka.append(1, &[("a", "later", ""), ("b", "-", "")]);
    let mut second = Gateway::reading(DELETE, &kafka);
    for (number, event) in events(&text).enumerate() {
        let resumed = second.subscribe(&all(), id_of(event));
        let later = second.records(&kafka, resumed);
        assert_eq!(later.split(' ').count(), 14 - number - 1);
        assert!(later.contains("1:4") && later.contains("1:5"));
    }
}

#[test]
fn live_ids_resume_as_those_of_history_do() {
    let kafka = three_partitions();
    let mut first = Gateway::new(DELETE, 3);
    for partition in 0..3 {
        first.fetch(&kafka, partition, 0);
    }
    first.advance_all();
    let reader = first.subscribe(&all(), None);
    let mut text = first.drain(&kafka, reader);
    for _ in 0..4 {
        for partition in [2, 0, 1] {
            first.fetch(&kafka, partition, 1);
            first.advance(1);
        }
    }
    first.advance_all();
    text += &first.drain(&kafka, reader);
    let everything = seen(&text);
    assert_eq!(everything.split(' ').count(), 12);
    for (number, event) in events(&text).enumerate() {
        let mut second = Gateway::reading(DELETE, &kafka);
        let resumed = second.subscribe(&all(), id_of(event));
        let before: Vec<_> = everything.split(' ').take(number + 1).collect();
        let both = before.join(" ") + " " + &second.records(&kafka, resumed);
        assert_eq!(sorted(&both), sorted(&everything), "after {event}");
    }
}

#[test]
fn however_small_the_pieces_all_of_it_comes() {
    let kafka = three_partitions();
    for selection in [all(), only(&[("a", "")]), only(&[("", "y")])] {
        let mut gateway = Gateway::reading(DELETE, &kafka);
        let [large, small] = [1 << 20, 1].map(|room| {
            let id = gateway.subscribe(&selection, None);
            gateway.drain_by(&kafka, id, room)
        });
        assert_eq!(sorted(&seen(&large)), sorted(&seen(&small)));
    }
}

#[test]
fn what_is_not_wanted_is_looked_at_a_bounded_piece_at_a_time() {
    let mut kafka = Kafka::new(2);
    for _ in 0..5_000 {
        kafka.append(0, &[("a", "v", "x")]);
    }
    kafka.append(1, &[("a", "v", "y")]);
    let mut gateway = Gateway::reading(DELETE, &kafka);
    for selection in [only(&[("", "y")]), only(&[("a", "y")])] {
        let id = gateway.subscribe(&selection, None);
        let mut pieces = Vec::new();
        loop {
            match gateway.take(id, 100) {
                Taken::Nothing => break,
                Taken::Events { count, .. } => pieces.push(count),
                Taken::LookOn => pieces.push(0),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(pieces.iter().sum::<u32>(), 1);
        // The other partition does not wait for the end of the long one.
        assert_eq!(pieces[1], 1);
        assert!(pieces.len() <= 4, "{pieces:?}");
        assert!(gateway.is_following(id));
    }
}

#[test]
fn a_partition_gets_its_turn_however_much_another_one_takes() {
    let mut kafka = Kafka::new(2);
    kafka.append(1, &[("a", "v", "y")]);
    let mut gateway = Gateway::reading(DELETE, &kafka);
    let id = gateway.subscribe(&only(&[("", "y")]), None);
    let mut seen = 0;
    for _ in 0..4 {
        for _ in 0..2_048 {
            kafka.append(0, &[("a", "v", "x")]);
        }
        gateway.read(&kafka);
        if let Taken::Events { count, .. } = gateway.take(id, 100) {
            seen += count;
        }
    }
    assert_eq!(seen, 1);
}

#[test]
fn what_was_let_go_of_is_asked_for_and_then_the_cache_goes_on() {
    let mut kafka = Kafka::new(2);
    kafka.append(0, &[("a", "v", ""), ("b", "v", ""), ("a", "v", "")]);
    kafka.append(1, &[("a", "v", "")]);
    let mut gateway = Gateway::reading(DELETE, &kafka);
    gateway.evict(0, usize::MAX);
    kafka.append(0, &[("a", "v", ""), ("b", "v", "")]);
    gateway.read(&kafka);
    let selection = only(&[("a", "")]);
    let id = gateway.subscribe(&selection, Some(&id_at(&[1, 0])));
    let range = ColdRange {
        partition: 0,
        from: 1,
        until: 3,
    };
    assert_eq!(gateway.take(id, 100), Taken::Cold(range));
    // Nothing of this piece is wanted, but it goes on after it.
    let piece = kafka.read(range, &selection, 1).unwrap();
    assert_eq!(piece.events, []);
    assert_eq!(gateway.feed.handle_cold(id, &piece), Taken::LookOn);
    let Taken::Events {
        bytes, count: 1, ..
    } = gateway.take(id, 100)
    else {
        panic!("the other partition is at hand")
    };
    assert_eq!(seen(std::str::from_utf8(&bytes).unwrap()), "1:0");
    let range = ColdRange { from: 2, ..range };
    assert_eq!(gateway.take(id, 100), Taken::Cold(range));
    let piece = kafka.read(range, &selection, 1).unwrap();
    let Taken::Events {
        bytes, count: 1, ..
    } = gateway.feed.handle_cold(id, &piece)
    else {
        panic!("it is wanted")
    };
    let expected = format!("id:{}/0:2\ndata:v\n\n", id_at(&[3, 1]));
    assert_eq!(bytes, expected);
    assert_eq!(gateway.records(&kafka, id), "0:3");
    assert!(gateway.is_following(id));
    // Twice the same piece is not twice its events.
    assert_eq!(gateway.feed.handle_cold(id, &piece), Taken::Nothing);
}

#[test]
fn what_is_let_go_of_before_it_was_given_is_not_lost() {
    for policy in [DELETE, COMPACT] {
        let mut kafka = Kafka::new(2);
        kafka.append(0, &[("a", "v", "")]);
        let mut gateway = Gateway::reading(policy, &kafka);
        let ids = [all(), only(&[("a", "")]), only(&[("c", "")])]
            .map(|selection| gateway.subscribe(&selection, None));
        assert_eq!(
            ids.map(|id| gateway.records(&kafka, id)),
            ["0:0", "0:0", ""]
        );
        kafka.append(0, &[("b", "v", ""), ("a", "v", "")]);
        kafka.append(1, &[("c", "v", "")]);
        gateway.fetch(&kafka, 0, 10);
        gateway.fetch(&kafka, 1, 10);
        gateway.evict(0, usize::MAX);
        let (_, woken) = gateway.advance(100);
        assert_eq!(woken.len(), 3);
        assert_eq!(
            ids.map(|id| sorted(&gateway.records(&kafka, id)).join(" ")),
            ["0:1 0:2 1:0", "0:2", "1:0"]
        );
        assert_eq!(gateway.feed.follower_count(), 3);
        assert_eq!(gateway.feed.figures().lagged, 3);
    }
}

#[test]
fn whoever_comes_between_two_steps_misses_nothing_and_gets_nothing_twice() {
    let mut kafka = Kafka::new(1);
    for _ in 0..5 {
        kafka.append(0, &[("a", "v", "")]);
    }
    for step in 0..=5 {
        let mut gateway = Gateway::new(DELETE, 1);
        gateway.fetch(&kafka, 0, 0);
        gateway.advance_all();
        gateway.fetch(&kafka, 0, 5);
        gateway.advance(step);
        let id = gateway.subscribe(&all(), None);
        let mut places = gateway.records(&kafka, id);
        assert!(gateway.is_following(id));
        gateway.advance_all();
        places = places + " " + &gateway.records(&kafka, id);
        assert_eq!(places.trim(), "0:0 0:1 0:2 0:3 0:4", "step {step}");
    }
}
