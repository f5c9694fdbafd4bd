//! Bytes that are no requests: the connection ends, the broker goes on.

use super::client::{Batch, Client, broker, fetch_request, produce_request};
use crate::embedded::Broker;
use crate::embedded::api::VERSIONS;
use kafka_protocol::messages::{ApiKey, ApiVersionsRequest, ApiVersionsResponse};
use std::io::{Read, Write};
use std::net::Shutdown;
use std::time::Duration;

fn is_alive(broker: &Broker) -> bool {
    let request = ApiVersionsRequest::default();
    Client::of(broker)
        .try_call::<_, ApiVersionsResponse>(ApiKey::ApiVersions, 0, &request)
        .is_ok()
}

/// Sends bytes as they are and reads until the broker closes.
fn throw(broker: &Broker, bytes: &[u8]) {
    let mut client = Client::of(broker);
    // The broker may close before everything is written.
    let _ = client.stream.write_all(bytes);
    let _ = client.stream.shutdown(Shutdown::Write);
    let _ = client.stream.read_to_end(&mut Vec::new());
}

/// A small generator of numbers, the same in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap()
    }

    fn byte(&mut self) -> u8 {
        // Mostly the bytes that lengths and nulls are made of.
        match self.next() % 4 {
            0 => 0,
            1 => 0xff,
            2 => self.next().to_le_bytes()[0] & 0x0f,
            _ => self.next().to_le_bytes()[0],
        }
    }
}

#[test]
fn frames_that_are_too_long_or_short_or_unknown_end_the_connection() {
    let broker = broker(|_| {});
    for bytes in [
        &[0xff, 0xff, 0xff, 0xff, 0, 0][..],
        &[0x7f, 0, 0, 0],
        &[0, 0, 0, 0],
        &[0, 0, 0, 3, 0, 0, 0],
        &[0, 0],
        &[0, 0, 0, 8, 0, 99, 0, 0, 0, 0, 0, 1],
        &[0, 0, 0, 8, 0, 0, 0, 99, 0, 0, 0, 1],
        &[0, 0, 0, 8, 0x80, 0, 0x80, 0, 0, 0, 0, 1],
    ] {
        throw(&broker, bytes);
    }
    assert!(is_alive(&broker));
}

#[test]
fn random_bodies_of_every_api_and_version_harm_nothing() {
    let broker = broker(|_| {});
    broker.create_topic("t", 1, &[]).unwrap();
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for (api, first, last) in VERSIONS {
        for version in *first..=*last {
            let mut bytes = Vec::new();
            for _ in 0..20 {
                let body: Vec<_> = (0..random.below(80)).map(|_| random.byte()).collect();
                let length = u32::try_from(body.len() + 10).unwrap();
                bytes.clear();
                bytes.extend_from_slice(&length.to_be_bytes());
                bytes.extend_from_slice(&(*api as i16).to_be_bytes());
                bytes.extend_from_slice(&version.to_be_bytes());
                bytes.extend_from_slice(&[0, 0, 0, 1, 0xff, 0xff]);
                bytes.extend_from_slice(&body);
                throw_quickly(&broker, &bytes);
            }
        }
    }
    assert!(is_alive(&broker));
}

/// As `throw`, without waiting for a group or a fetch that took the bytes seriously.
fn throw_quickly(broker: &Broker, bytes: &[u8]) {
    let mut client = Client::of(broker);
    client
        .stream
        .set_read_timeout(Some(Duration::from_millis(20)))
        .unwrap();
    let _ = client.stream.write_all(bytes);
    let _ = client.stream.shutdown(Shutdown::Write);
    let _ = client.stream.read_to_end(&mut Vec::new());
}

#[test]
fn good_requests_with_bytes_changed_or_cut_harm_nothing() {
    let broker = broker(|_| {});
    broker.create_topic("t", 1, &[]).unwrap();
    let mut random = Random(42);
    let mut maker = Client::of(&broker);
    let mut frames = Vec::new();
    for version in [3, 8, 9, 11] {
        frames.push(
            maker
                .frame(
                    ApiKey::Produce,
                    version,
                    &produce_request("t", 0, Batch::of("abc"), -1),
                )
                .to_vec(),
        );
    }
    for version in [4, 7, 12] {
        frames.push(
            maker
                .frame(ApiKey::Fetch, version, &fetch_request("t", &[(0, 0)], 0))
                .to_vec(),
        );
    }
    for frame in &frames {
        for _ in 0..150 {
            let mut changed = frame.clone();
            for _ in 0..=random.below(3) {
                let at = 4 + random.below(changed.len() - 4);
                changed[at] = random.byte();
            }
            if random.below(4) == 0 {
                changed.truncate(4 + random.below(changed.len() - 4));
                let length = u32::try_from(changed.len() - 4).unwrap();
                changed[..4].copy_from_slice(&length.to_be_bytes());
            }
            throw_quickly(&broker, &changed);
        }
    }
    assert!(is_alive(&broker));
}

#[test]
fn an_array_that_claims_more_than_it_has_is_not_believed() {
    let broker = broker(|_| {});
    // Metadata 1: two thousand million topics; CreateTopics 5, compact: as many.
    let metadata = [
        0, 0, 0, 14, 0, 3, 0, 1, 0, 0, 0, 1, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff,
    ];
    let create = [
        0, 0, 0, 16, 0, 19, 0, 5, 0, 0, 0, 1, 0xff, 0xff, 0, 0xff, 0xff, 0xff, 0xff, 0x0f,
    ];
    throw(&broker, &metadata);
    throw(&broker, &create);
    assert!(is_alive(&broker));
}
