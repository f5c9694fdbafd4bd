//! Faults, pauses, stops and restarts: what a client gets to see.

use super::client::{Batch, Client, TempDir, broker, fetch_request, produce_request};
use crate::embedded::{Broker, Config, ErrorCode, Fault, FaultHook};
use kafka_protocol::messages::{
    ApiKey, ApiVersionsRequest, ApiVersionsResponse, FetchResponse, MetadataRequest,
    MetadataResponse,
};
use std::io::{ErrorKind, Read};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

const PRODUCE: i16 = ApiKey::Produce as i16;
const FETCH: i16 = ApiKey::Fetch as i16;

/// A broker with topic `t` that does `fault` to the first request of the API.
fn faulty(api_key: i16, fault: Fault) -> (Broker, Client) {
    let broker = broker(|config| config.fault = Some(FaultHook::once(api_key, 0, fault)));
    broker.create_topic("t", 1, &[]).unwrap();
    let client = Client::of(&broker);
    (broker, client)
}

#[test]
fn a_disconnect_stores_nothing_and_an_applied_one_stores() {
    for (fault, stored) in [
        (Fault::Disconnect, 0),
        (Fault::ApplyThenDisconnect, 1),
        (Fault::TruncateAnswer(7), 1),
    ] {
        let (broker, mut client) = faulty(PRODUCE, fault);
        let answer = client.try_produce("t", 0, Batch::of("a"));
        assert_eq!(
            answer.unwrap_err().kind(),
            ErrorKind::UnexpectedEof,
            "{fault:?}"
        );
        assert_eq!(
            Client::of(&broker).values("t", 0, 0).len(),
            stored,
            "{fault:?}"
        );
    }
}

#[test]
fn an_idempotent_retry_after_a_lost_answer_is_no_duplicate() {
    let (broker, mut client) = faulty(PRODUCE, Fault::ApplyThenDisconnect);
    client
        .try_produce("t", 0, Batch::idempotent(9, 0, 0, 2))
        .unwrap_err();
    let mut client = Client::of(&broker);
    let retried = client.produce("t", 0, Batch::idempotent(9, 0, 0, 2));
    assert_eq!((retried.error_code, retried.base_offset), (0, 0));
    assert_eq!(client.values("t", 0, 0).len(), 2);
}

#[test]
fn silence_keeps_the_connection_and_answers_nothing() {
    let (broker, mut client) = faulty(PRODUCE, Fault::Silence);
    client
        .stream
        .set_read_timeout(Some(Duration::from_millis(200)))
        .unwrap();
    let answer = client.try_produce("t", 0, Batch::of("a"));
    assert_eq!(answer.unwrap_err().kind(), ErrorKind::WouldBlock);
    let began = Instant::now();
    drop(broker);
    assert!(began.elapsed() < Duration::from_secs(2));
}

#[test]
fn a_delay_is_late_and_a_stop_does_not_wait_for_it() {
    let (_broker, mut client) = faulty(FETCH, Fault::Delay(Duration::from_millis(150)));
    let began = Instant::now();
    client.fetch("t", 0, 0);
    assert!(began.elapsed() >= Duration::from_millis(150));
    let (broker, mut client) = faulty(FETCH, Fault::Delay(Duration::from_secs(60)));
    client.send(ApiKey::Fetch, 12, &fetch_request("t", &[(0, 0)], 0));
    thread::sleep(Duration::from_millis(50));
    let began = Instant::now();
    drop(broker);
    assert!(began.elapsed() < Duration::from_secs(2));
}

#[test]
fn codes_are_answered_without_execution() {
    let not_leader = ErrorCode(6);
    let (_broker, mut client) = faulty(PRODUCE, Fault::Answer(not_leader));
    assert_eq!(
        ErrorCode(client.produce("t", 0, Batch::of("a")).error_code),
        not_leader
    );
    assert_eq!(client.produce("t", 0, Batch::of("b")).base_offset, 0);

    let (_broker, mut client) = faulty(FETCH, Fault::Answer(not_leader));
    assert_eq!(ErrorCode(client.fetch("t", 0, 0).error_code), not_leader);
    assert_eq!(client.fetch("t", 0, 0).error_code, 0);

    let (_broker, mut client) = faulty(FETCH, Fault::Answer(ErrorCode::FETCH_SESSION_ID_NOT_FOUND));
    let response: FetchResponse = client.call(ApiKey::Fetch, 12, &fetch_request("t", &[(0, 0)], 0));
    assert_eq!((response.error_code, response.responses.len()), (70, 0));

    let (_broker, mut client) = faulty(ApiKey::Metadata as i16, Fault::Answer(ErrorCode(5)));
    let topic = kafka_protocol::messages::metadata_request::MetadataRequestTopic::default()
        .with_name(Some(super::client::topic_name("t")));
    let request = MetadataRequest::default().with_topics(Some(vec![topic]));
    let response: MetadataResponse = client.call(ApiKey::Metadata, 9, &request);
    assert_eq!(response.topics[0].error_code, 5);
}

#[test]
fn the_hook_is_told_what_the_request_is() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&seen);
    let broker = broker(|config| {
        config.fault = Some(FaultHook::new(move |request| {
            let numbers = (
                request.api_key,
                request.api_version,
                request.nth,
                request.connection,
                request.nth_on_connection,
            );
            sink.lock().unwrap().push(numbers);
            Fault::None
        }));
    });
    broker.create_topic("t", 1, &[]).unwrap();
    let mut first = Client::of(&broker);
    first.produce("t", 0, Batch::of("a"));
    first.fetch("t", 0, 0);
    Client::of(&broker).produce("t", 0, Batch::of("a"));
    assert_eq!(
        *seen.lock().unwrap(),
        [(0, 9, 0, 0, 0), (1, 12, 0, 0, 1), (0, 9, 1, 1, 0)]
    );
}

#[test]
fn a_pause_holds_requests_and_a_resume_serves_them() {
    let broker = broker(|_| {});
    broker.create_topic("t", 1, &[]).unwrap();
    broker.pause();
    let mut client = Client::of(&broker);
    client
        .stream
        .set_read_timeout(Some(Duration::from_millis(150)))
        .unwrap();
    client.send(
        ApiKey::Produce,
        9,
        &produce_request("t", 0, Batch::of("a"), -1),
    );
    assert_eq!(
        client.stream.read(&mut [0; 4]).unwrap_err().kind(),
        ErrorKind::WouldBlock
    );
    client
        .stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    broker.resume();
    let answer: kafka_protocol::messages::ProduceResponse = client.receive(9).unwrap();
    assert_eq!(answer.responses[0].partition_responses[0].base_offset, 0);
    broker.pause();
    client.send(ApiKey::Fetch, 12, &fetch_request("t", &[(0, 0)], 0));
    drop(broker);
    assert_eq!(client.stream.read(&mut [0; 4]).unwrap(), 0);
}

#[test]
fn a_stop_answers_parked_fetches_and_frees_the_port() {
    let broker = broker(|_| {});
    broker.create_topic("t", 1, &[]).unwrap();
    let address = broker.addr();
    let mut client = Client::of(&broker);
    client.send(ApiKey::Fetch, 12, &fetch_request("t", &[(0, 0)], 20_000));
    thread::sleep(Duration::from_millis(50));
    let began = Instant::now();
    broker.stop();
    assert!(began.elapsed() < Duration::from_millis(900));
    let answer: FetchResponse = client.receive(12).unwrap();
    assert_eq!(answer.responses[0].partitions[0].error_code, 0);
    assert_eq!(client.stream.read(&mut [0; 4]).unwrap(), 0);
    TcpListener::bind(address).unwrap();
}

/// Another test, in parallel, may have been given the port that was just freed.
fn start_again(config: &Config) -> Broker {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        match Broker::start(config.clone()) {
            Err(error) if error.kind() == ErrorKind::AddrInUse && Instant::now() < deadline => {
                thread::sleep(Duration::from_millis(20));
            }
            started => return started.unwrap(),
        }
    }
}

#[test]
fn a_killed_broker_comes_back_at_its_port_and_directory() {
    let dir = TempDir::new();
    let config = Config {
        dir: Some(dir.0.clone()),
        ..Config::default()
    };
    let first = Broker::start(config.clone()).unwrap();
    first.create_topic("t", 1, &[]).unwrap();
    let address = first.addr();
    let mut client = Client::of(&first);
    client.produce("t", 0, Batch::of("a"));
    client.send(ApiKey::Fetch, 12, &fetch_request("t", &[(0, 1)], 20_000));
    first.kill();
    assert!(client.receive::<FetchResponse>(12).is_err());
    let second = start_again(&Config {
        listen: address,
        ..config
    });
    assert_eq!(Client::of(&second).values("t", 0, 0).len(), 1);
}

#[test]
fn what_cannot_be_started_says_why() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = taken.local_addr().unwrap();
    let error = Broker::start(Config {
        listen,
        ..Config::default()
    })
    .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AddrInUse);
    assert!(error.to_string().contains(&listen.to_string()), "{error}");

    let dir = TempDir::new();
    let config = |dir: &std::path::Path| Config {
        dir: Some(dir.to_owned()),
        ..Config::default()
    };
    let file = dir.0.join("file");
    std::fs::write(&file, "").unwrap();
    let error = Broker::start(config(&file)).unwrap_err();
    assert!(error.to_string().contains("cannot be used"), "{error}");

    let held = dir.0.join("held");
    let _holder = Broker::start(config(&held)).unwrap();
    let error = Broker::start(config(&held)).unwrap_err();
    assert!(
        error.to_string().contains("in use by another broker"),
        "{error}"
    );

    let odd = dir.0.join("odd");
    std::fs::create_dir(&odd).unwrap();
    std::fs::write(odd.join("topics"), "embedded-broker-1\tc\nt\tnonsense\n").unwrap();
    let error = Broker::start(config(&odd)).unwrap_err();
    assert!(
        error.to_string().contains("topics:2: not a topic"),
        "{error}"
    );
}

#[test]
fn connections_over_the_bound_are_closed_and_room_comes_back() {
    let broker = broker(|config| config.connections_max = 2);
    let versions = |client: &mut Client| {
        client.try_call::<_, ApiVersionsResponse>(
            ApiKey::ApiVersions,
            0,
            &ApiVersionsRequest::default(),
        )
    };
    let mut first = Client::of(&broker);
    let mut second = Client::of(&broker);
    versions(&mut first).unwrap();
    versions(&mut second).unwrap();
    assert!(versions(&mut Client::of(&broker)).is_err());
    drop(first);
    let deadline = Instant::now() + Duration::from_secs(5);
    while versions(&mut Client::of(&broker)).is_err() {
        assert!(Instant::now() < deadline, "no room again");
        thread::sleep(Duration::from_millis(10));
    }
}
