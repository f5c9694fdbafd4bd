//! Starting, restarting and ending.

use crate::harness::config::Crud;
use crate::harness::gateway::{Gateway, command};
use crate::harness::http::{Connection, request};
use crate::harness::{Env, TempDir, free_ports, tool};
use std::time::Duration;

/// The longest that an orderly end may take.
const DRAIN: Duration = Duration::from_secs(10);

pub(crate) fn a_restarted_gateway_answers_the_same(env: &Env) {
    let topic = env.compacted(3);
    let mut first = env.crud(&topic);
    for n in 0..20 {
        first
            .http()
            .put(&format!("/items/{n}"), n.to_string())
            .expect(204);
    }
    first.http().delete("/items/3").expect(204);
    let etag = first.http().get("/items/7").expect(200).etag();
    let mut collection = first.http().get("/items").expect(200).body;
    first.signal("TERM");
    assert_eq!(first.exit_code(DRAIN), Some(0));

    let second = env.crud(&topic);
    // At once: never "not found" because it has not been read yet.
    assert_eq!(second.http().get("/items/7").expect(200).etag(), etag);
    second.http().get_unless("/items/7", &etag).expect(304);
    second.http().get("/items/3").expect(404);
    let mut again = second.http().get("/items").expect(200).body;
    // The same values, in whatever order the partitions come.
    collection.sort_unstable();
    again.sort_unstable();
    assert_eq!(again, collection);
}

/// Sends a request up to half its body, so that it is certainly in flight: the gateway has answered 100.
fn half_a_put(gateway: &Gateway) -> Connection {
    let mut connection = gateway.http().connect();
    connection.send(
        "PUT /items/1 HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\nexpect: 100-continue\r\n\r\n",
    );
    assert_eq!(
        connection.receive_one("PUT").expect("an answer").status,
        100
    );
    connection.send("ab");
    connection
}

/// A connection that has been served once and waits.
fn idle(gateway: &Gateway) -> Connection {
    let mut connection = gateway.http().connect();
    connection.send(request("GET", "/items", &[], None));
    connection.receive("GET").expect("an answer").expect(200);
    connection
}

pub(crate) fn sigterm_lets_a_request_in_flight_finish(env: &Env) {
    let topic = env.compacted(1);
    let mut gateway = env.crud(&topic);
    let mut in_flight = half_a_put(&gateway);
    let mut idle = idle(&gateway);
    gateway.signal("TERM");
    idle.assert_closes();
    in_flight.send("cd");
    let answer = in_flight.receive("PUT").expect("an answer").expect(204);
    assert_eq!(answer.header("connection"), Some("close"));
    in_flight.assert_closes();
    assert_eq!(gateway.exit_code(DRAIN), Some(0), "{}", gateway.output());
    assert!(
        gateway.http().try_connect().is_err(),
        "nobody listens any more"
    );
    let stored = env
        .kafka
        .newest(&topic, 1, "1")
        .expect("it was acknowledged")
        .record;
    assert_eq!(stored.value.as_deref(), Some(&b"abcd"[..]));
}

pub(crate) fn sigterm_waits_for_the_broker_s_answer(env: &Env) {
    let topic = env.compacted(1);
    let mut gateway = env.crud(&topic);
    let mut idle = idle(&gateway);
    let mut in_flight = half_a_put(&gateway);
    env.broker.pause();
    in_flight.send("cd");
    gateway.signal("TERM");
    idle.assert_closes();
    env.broker.resume();
    in_flight.receive("PUT").expect("an answer").expect(204);
    assert_eq!(gateway.exit_code(DRAIN), Some(0), "{}", gateway.output());
    let stored = env
        .kafka
        .newest(&topic, 1, "1")
        .expect("it was acknowledged")
        .record;
    assert_eq!(stored.value.as_deref(), Some(&b"abcd"[..]));
}

pub(crate) fn sigint_ends_it_in_order(env: &Env) {
    let mut gateway = env.crud(&env.compacted(1));
    let mut idle = idle(&gateway);
    let mut in_flight = half_a_put(&gateway);
    gateway.signal("INT");
    idle.assert_closes();
    in_flight.send("cd");
    in_flight.receive("PUT").expect("an answer").expect(204);
    assert_eq!(gateway.exit_code(DRAIN), Some(0), "{}", gateway.output());
}

pub(crate) fn a_second_signal_ends_it_at_once(env: &Env) {
    let mut gateway = env.crud(&env.compacted(1));
    let mut idle = idle(&gateway);
    let mut in_flight = half_a_put(&gateway);
    gateway.signal("TERM");
    idle.assert_closes();
    gateway.signal("TERM");
    gateway.exit_code(Duration::from_secs(3));
    in_flight.assert_closes();
}

pub(crate) fn a_second_gateway_on_the_port_is_refused(env: &Env) {
    let topic = env.compacted(1);
    let first = env.crud(&topic);
    let port = first.address().port();
    let dir = TempDir::new();
    let file = dir.file("zilla.yaml", &Crud::over(&topic).port(port).yaml());
    let mut second = command();
    second.args(["start", "--cores", "none:2", "-c"]).arg(file);
    second.env("KAFKA_BOOTSTRAP_SERVER", env.broker.bootstrap());
    let finished = tool::run(&mut second, b"");
    assert!(finished.code.is_some_and(|code| code != 0), "{finished:?}");
    assert!(finished.stderr.contains(&port.to_string()), "{finished:?}");
    assert!(finished.stderr.contains("cannot listen"), "{finished:?}");
    first.assert_serves();
}

/// A supervisor starts the next one the moment the last one is gone, however it went.
pub(crate) fn a_gateway_takes_over_the_port_of_the_last_at_once(env: &Env) {
    let topic = env.compacted(1);
    let config = Crud::over(&topic).port(free_ports(1));
    for signal in ["TERM", "KILL", "TERM", "KILL", "KILL"] {
        let mut gateway = env.gateway(&config);
        // Connections that the closing side has to wait for do not keep the port either.
        let mut idle = idle(&gateway);
        gateway.http().put("/items/1", signal).expect(204);
        gateway.signal(signal);
        gateway.exit_code(DRAIN);
        idle.assert_closes();
    }
    env.gateway(&config).assert_serves();
}
