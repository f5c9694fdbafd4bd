//! What members of a group tell each other through the coordinator, which does not look into it: subscriptions one way, assignments the other
//! (Kafka's `ConsumerProtocolSubscription` and `ConsumerProtocolAssignment`). Sans-IO.
//!
//! Rule: it comes from another process, so what does not decode is told apart from what is empty, and no length is believed before its bytes are there.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::{
    ConsumerProtocolAssignment, ConsumerProtocolSubscription, consumer_protocol_assignment,
    consumer_protocol_subscription,
};
use kafka_protocol::protocol::{Encodable, StrBytes};

use crate::kafka::fetcher::PartitionKey;

/// The subscription's version: the first with the generation of what is owned. A reader takes what it knows of a later one.
const SUBSCRIPTION_VERSION: i16 = 2;
/// No later version of the assignment says more.
const ASSIGNMENT_VERSION: i16 = 0;

/// What a member wants, and what it has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Subscription {
    /// The topics that it reads.
    pub(super) topics: BTreeSet<Arc<str>>,
    /// The partitions that it reads at the moment.
    pub(super) owned: BTreeSet<PartitionKey>,
    /// The generation in which it got them, where it says so.
    pub(super) generation: Option<i32>,
}

impl Subscription {
    /// As it is sent. Empty when a topic's name is longer than a broker would let it be.
    pub(super) fn encode(&self) -> Bytes {
        let owned = by_topic(self.owned.iter()).into_iter();
        let owned = owned.map(|(topic, partitions)| {
            consumer_protocol_subscription::TopicPartition::default()
                .with_topic(string(&topic).into())
                .with_partitions(partitions)
        });
        let message = ConsumerProtocolSubscription::default()
            .with_topics(self.topics.iter().map(|topic| string(topic)).collect())
            .with_owned_partitions(owned.collect())
            .with_generation_id(self.generation.unwrap_or(-1));
        encode(&message, SUBSCRIPTION_VERSION)
    }

    /// What another member sent, in any version.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader(bytes);
        let version = reader.int16()?;
        let mut subscription = Self::default();
        for _ in 0..reader.count()? {
            subscription.topics.insert(reader.string()?.into());
        }
        reader.skip_bytes()?;
        if version >= 1 {
            subscription.owned = reader.partitions()?;
        }
        if version >= 2 {
            subscription.generation = Some(reader.int32()?).filter(|id| *id >= 0);
        }
        (version >= 0).then_some(subscription)
    }
}

/// A member's assignment as it is sent. Empty when a topic's name is longer than a broker would let it be.
pub(super) fn encode_assignment(partitions: &BTreeSet<PartitionKey>) -> Bytes {
    let assigned = by_topic(partitions.iter()).into_iter();
    let assigned = assigned.map(|(topic, partitions)| {
        consumer_protocol_assignment::TopicPartition::default()
            .with_topic(string(&topic).into())
            .with_partitions(partitions)
    });
    let message =
        ConsumerProtocolAssignment::default().with_assigned_partitions(assigned.collect());
    encode(&message, ASSIGNMENT_VERSION)
}

/// An assignment that a leader made. A member that the leader has not mentioned gets no bytes at all.
pub(super) fn decode_assignment(bytes: &[u8]) -> Option<BTreeSet<PartitionKey>> {
    if bytes.is_empty() {
        return Some(BTreeSet::new());
    }
    let mut reader = Reader(bytes);
    let version = reader.int16()?;
    let partitions = reader.partitions()?;
    (version >= 0).then_some(partitions)
}

/// Partitions that stand in their order, by topic.
pub(super) fn by_topic<'p>(
    partitions: impl Iterator<Item = &'p PartitionKey>,
) -> Vec<(Arc<str>, Vec<i32>)> {
    let mut topics: Vec<(Arc<str>, Vec<i32>)> = Vec::new();
    for (topic, partition) in partitions {
        match topics.last_mut().filter(|(last, _)| last == topic) {
            Some((_, partitions)) => partitions.push(*partition),
            None => topics.push((topic.clone(), vec![*partition])),
        }
    }
    topics
}

fn encode(message: &impl Encodable, version: i16) -> Bytes {
    let mut out = BytesMut::new();
    out.put_i16(version);
    match message.encode(&mut out, version) {
        Ok(()) => out.freeze(),
        Err(_) => Bytes::new(),
    }
}

fn string(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

/// The bytes that are left.
struct Reader<'b>(&'b [u8]);

impl<'b> Reader<'b> {
    fn take(&mut self, count: usize) -> Option<&'b [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn int16(&mut self) -> Option<i16> {
        let bytes = self.take(2)?.first_chunk()?;
        Some(i16::from_be_bytes(*bytes))
    }

    fn int32(&mut self) -> Option<i32> {
        let bytes = self.take(4)?.first_chunk()?;
        Some(i32::from_be_bytes(*bytes))
    }

    /// How many elements follow; a null array has none. Each takes a byte at least.
    fn count(&mut self) -> Option<usize> {
        let count = usize::try_from(self.int32()?.max(0)).ok()?;
        (count <= self.0.len()).then_some(count)
    }

    fn string(&mut self) -> Option<&'b str> {
        let length = usize::try_from(self.int16()?).ok()?;
        std::str::from_utf8(self.take(length)?).ok()
    }

    /// Passes over bytes that may be null.
    fn skip_bytes(&mut self) -> Option<()> {
        let length = usize::try_from(self.int32()?.max(0)).ok()?;
        self.take(length).map(drop)
    }

    fn partitions(&mut self) -> Option<BTreeSet<PartitionKey>> {
        let mut partitions = BTreeSet::new();
        for _ in 0..self.count()? {
            let topic: Arc<str> = self.string()?.into();
            for _ in 0..self.count()? {
                partitions.insert((topic.clone(), self.int32()?));
            }
        }
        Some(partitions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kafka_protocol::protocol::Decodable;
    use proptest::prelude::*;

    fn keys(keys: &[(&str, i32)]) -> BTreeSet<PartitionKey> {
        keys.iter()
            .map(|(topic, partition)| ((*topic).into(), *partition))
            .collect()
    }

    fn subscription() -> Subscription {
        Subscription {
            topics: ["items".into(), "other".into()].into(),
            owned: keys(&[("items", 0), ("items", 3), ("other", 1)]),
            generation: Some(7),
        }
    }

    #[test]
    fn a_subscription_reads_back_and_reads_as_the_standard_one() {
        let bytes = subscription().encode();
        assert_eq!(Subscription::decode(&bytes), Some(subscription()));
        let mut rest = bytes.slice(2..);
        let standard = ConsumerProtocolSubscription::decode(&mut rest, 2).unwrap();
        assert_eq!(standard.topics.len(), 2);
        assert_eq!(standard.owned_partitions[0].partitions, [0, 3]);
        assert_eq!((standard.generation_id, rest.len()), (7, 0));
    }

    #[test]
    fn every_version_of_the_subscription_is_understood() {
        let message = ConsumerProtocolSubscription::default()
            .with_topics(vec![StrBytes::from_static_str("items")])
            .with_user_data(Some(Bytes::from_static(b"anything")));
        for version in 0..=3 {
            let decoded = Subscription::decode(&encode(&message, version)).unwrap();
            assert_eq!(decoded.topics, ["items".into()].into());
            assert_eq!((decoded.owned.len(), decoded.generation), (0, None));
        }
    }

    #[test]
    fn an_assignment_reads_back_and_none_at_all_is_an_empty_one() {
        let assigned = keys(&[("items", 1), ("items", 2), ("other", 0)]);
        let bytes = encode_assignment(&assigned);
        assert_eq!(decode_assignment(&bytes), Some(assigned));
        assert_eq!(decode_assignment(&[]), Some(BTreeSet::new()));
        let bytes = encode_assignment(&BTreeSet::new());
        assert_eq!(decode_assignment(&bytes), Some(BTreeSet::new()));
    }

    #[test]
    fn what_is_cut_off_is_no_subscription() {
        let bytes = subscription().encode();
        for end in 0..bytes.len() {
            assert_eq!(Subscription::decode(&bytes[..end]), None);
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_decoders_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = Subscription::decode(&bytes);
            let _ = decode_assignment(&bytes);
        }
    }
}
