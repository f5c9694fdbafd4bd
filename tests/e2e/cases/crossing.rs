//! Many requests and replies at once: each gets its own, in whatever order and on whatever core they cross.

use crate::harness::config::{Mapping, correlated};
use crate::harness::http::{Connection, request};
use crate::harness::replier::{Reply, Service};
use crate::harness::{Correlated, Env, PATIENCE, eventually};
use std::time::Duration;

#[track_caller]
fn answered(client: &mut Connection, text: &str) {
    let answer = client
        .receive("PUT")
        .unwrap_or_else(|failure| panic!("{text}: {failure}"));
    assert_eq!(answer.expect(200).text(), text);
}

/// The service answers when it has seen them all, the last first.
pub(crate) fn four_hundred_at_once_each_get_their_own_answer(env: &Env) {
    const COUNT: usize = 400;
    let topics = Correlated {
        requests: env.topic(3, &[]),
        ..env.correlated(2)
    };
    let service = Service::reading(&topics.requests, 3)
        .reply_partitions(2)
        .hold(COUNT);
    let service = service.start(env, |request| vec![Reply::echo(request)]);
    let gateway = env.mapping(&Mapping::sync(&topics));
    let http = gateway.http();
    let begin = |n: usize| {
        let mut client = http.connect();
        client.send(request(
            "PUT",
            &format!("/items/{n}"),
            &[],
            Some(n.to_string().as_bytes()),
        ));
        client
    };
    let mut clients: Vec<Connection> = (0..COUNT).map(begin).collect();
    for (n, client) in clients.iter_mut().enumerate() {
        answered(client, &format!("/items/{n} {n}"));
    }
    // And again on the same connections, now that the service answers at once.
    for (n, client) in clients.iter_mut().enumerate() {
        client.send(request(
            "PUT",
            &format!("/items/again-{n}"),
            &[],
            Some(b"{}"),
        ));
    }
    for (n, client) in clients.iter_mut().enumerate() {
        answered(client, &format!("/items/again-{n} {{}}"));
    }
    let counts = service.counts();
    assert_eq!(counts.len(), 2 * COUNT);
    assert!(counts.values().all(|count| *count == 1), "{counts:?}");
    env.kafka.await_log(&topics.requests, 3, 2 * COUNT);
}

pub(crate) fn pipelined_requests_are_answered_in_their_order(env: &Env) {
    const COUNT: usize = 30;
    let topics = env.correlated(2);
    // One after the other: requests that are not safe may not be made side by side (RFC 9112, section 9.3.2).
    let service = Service::reading(&topics.requests, 1).reply_partitions(2);
    let _service = service.start(env, |request| vec![Reply::echo(request)]);
    let gateway = env.mapping(&Mapping::sync(&topics));
    let mut client = gateway.http().connect();
    let requests = (0..COUNT).map(|n| request("PUT", &format!("/items/{n}"), &[], Some(b"{}")));
    client.send(requests.collect::<Vec<_>>().concat());
    for n in 0..COUNT {
        answered(&mut client, &format!("/items/{n} {{}}"));
    }
}

pub(crate) fn of_several_replies_the_first_one_counts(env: &Env) {
    let topics = env.correlated(2);
    let service = Service::reading(&topics.requests, 1);
    let _service = service.start(env, |request| {
        let second = |value: &str| Reply::status("500", value).on_partition(0);
        vec![
            Reply::echo(request).on_partition(0),
            second("at once"),
            second("later").after(Duration::from_millis(20)),
            second("elsewhere")
                .after(Duration::from_millis(40))
                .on_partition(1),
        ]
    });
    let gateway = env.mapping(&Mapping::sync(&topics));
    let mut client = gateway.http().connect();
    // What comes late falls between later requests of the connection.
    for n in 0..40 {
        let path = format!("/items/{n}");
        let key = n.to_string();
        let put = request("PUT", &path, &[("idempotency-key", &key)], Some(b"{}"));
        client.send(&put);
        answered(&mut client, &format!("{path} {{}}"));
    }
    // And whoever repeats is answered the same, when all copies are there.
    eventually("all replies are written", PATIENCE, || {
        let ends = env.kafka.end_offsets(&topics.replies, 2);
        (ends == [120, 40]).then_some(())
    });
    for n in 0..40 {
        let path = format!("/items/{n}");
        let key = n.to_string();
        client.send(request(
            "PUT",
            &path,
            &[("idempotency-key", &key)],
            Some(b"{}"),
        ));
        answered(&mut client, &format!("{path} {{}}"));
    }
    env.kafka.await_log(&topics.requests, 1, 40);
}

/// Half of the clients go away at the very moment that the replies come.
pub(crate) fn whoever_leaves_takes_nobody_s_answer(env: &Env) {
    const COUNT: usize = 60;
    let topics = env.correlated(2);
    let service = Service::reading(&topics.requests, 1)
        .reply_partitions(2)
        .hold(COUNT);
    let service = service.start(env, |request| vec![Reply::echo(request)]);
    let gateway = env.mapping(&Mapping::sync(&topics));
    let http = gateway.http();
    let put = |n: usize| {
        let mut client = http.connect();
        client.send(request("PUT", &format!("/items/{n}"), &[], Some(b"{}")));
        client
    };
    let mut leaves = Vec::new();
    let mut stays = Vec::new();
    for n in 0..COUNT - 1 {
        let client = put(n);
        if n % 2 == 0 {
            leaves.push(client);
        } else {
            stays.push((n, client));
        }
    }
    eventually("all but one were seen", PATIENCE, || {
        (service.requests().len() == COUNT - 1).then_some(())
    });
    // Some leave before, some with the last request, which lets the replies go, some after it.
    let mut third = leaves.len() / 3;
    leaves.drain(..third).for_each(drop);
    stays.push((COUNT - 1, put(COUNT - 1)));
    third = leaves.len() / 2;
    leaves.drain(..third).for_each(drop);
    for client in &leaves {
        client.finish();
    }
    drop(leaves);
    for (n, client) in &mut stays {
        answered(client, &format!("/items/{n} {{}}"));
    }
    // It goes on, on those connections and new ones.
    for (n, client) in &mut stays {
        client.send(request(
            "PUT",
            &format!("/items/after-{n}"),
            &[],
            Some(b"{}"),
        ));
        answered(client, &format!("/items/after-{n} {{}}"));
    }
    answered(&mut put(1_000), "/items/1000 {}");
    let output = gateway.output();
    assert!(!output.contains("panic"), "{output}");
}

/// Mappings that share a reply topic, and those that do not, keep apart.
pub(crate) fn routes_with_different_reply_topics_keep_apart(env: &Env) {
    let (left, right) = (env.correlated(1), env.correlated(2));
    let mapping = Mapping::default()
        .route(&[("", "/left/{id}")], &correlated(&left))
        .route(&[("", "/right/{id}")], &correlated(&right));
    let _services = [&left, &right].map(|topics| {
        let name = topics.requests.clone();
        let service = Service::reading(&topics.requests, 1);
        service.start(env, move |request| {
            let path = request.record.get(":path").unwrap_or_default();
            vec![Reply::status("200", &format!("{name} {path}"))]
        })
    });
    let gateway = env.mapping(&mapping);
    for n in 0..10 {
        for (side, topics) in [("left", &left), ("right", &right)] {
            let path = format!("/{side}/{n}");
            let answer = gateway.http().put(&path, "{}").expect(200);
            assert_eq!(answer.text(), format!("{} {path}", topics.requests));
        }
    }
}
