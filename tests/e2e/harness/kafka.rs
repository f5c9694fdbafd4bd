//! Kafka clients that are not ours, so that the gateway is never judged by its own code: rskafka for records and
//! offsets, and single requests of the `kafka-protocol` crate for what rskafka cannot do (topic configs, compression,
//! transactions, record headers as they are, who leads a partition).

use super::link::{Answer, Link};
use super::records::{self, Logged};
use super::{PATIENCE, eventually};
use bytes::{Bytes, BytesMut};
use kafka_protocol::indexmap::IndexMap;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    CreateTopicsRequest, DeleteTopicsRequest, MetadataRequest, MetadataResponse, ProduceRequest,
    TopicName, TransactionalId,
};
use kafka_protocol::protocol::{Request, StrBytes};
use kafka_protocol::records::{
    Compression, Record, RecordBatchEncoder, RecordEncodeOptions, TimestampType,
};
use rskafka::BackoffConfig;
use rskafka::chrono::DateTime;
use rskafka::client::partition::{OffsetAt, PartitionClient, UnknownTopicHandling};
use rskafka::client::{Client, ClientBuilder};
use rskafka::record::RecordAndOffset;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::runtime::{Builder, Runtime};

const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
/// A topic that was created this moment: the broker that leads it may not know yet that it does.
const NOT_THERE_YET: [i16; 3] = [UNKNOWN_TOPIC_OR_PARTITION, 5, 6];

/// A client of one cluster.
pub(crate) struct Kafka {
    runtime: Runtime,
    client: Client,
    bootstrap: String,
}

impl Kafka {
    /// Connects to `host:port,…`.
    ///
    /// # Panics
    /// There is no broker.
    #[track_caller]
    pub(crate) fn connect(bootstrap: &str) -> Self {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let servers = bootstrap.split(',').map(str::to_owned).collect();
        let backoff = BackoffConfig {
            max_backoff: Duration::from_secs(1),
            deadline: Some(PATIENCE),
            ..BackoffConfig::default()
        };
        let client = runtime.block_on(ClientBuilder::new(servers).backoff_config(backoff).build());
        let client = client.unwrap_or_else(|error| panic!("kafka at {bootstrap}: {error}"));
        let bootstrap = bootstrap.to_owned();
        Self {
            runtime,
            client,
            bootstrap,
        }
    }

    /// Creates a topic and waits until each of its partitions has a leader.
    ///
    /// # Panics
    /// The broker refuses, or takes too long.
    #[track_caller]
    pub(crate) fn create_topic(
        &self,
        name: &str,
        partitions: i32,
        replicas: i16,
        configs: &[(&str, &str)],
    ) {
        let configs = configs.iter().map(|(name, value)| {
            CreatableTopicConfig::default()
                .with_name(text(name))
                .with_value(Some(text(value)))
        });
        let topic = CreatableTopic::default()
            .with_name(TopicName(text(name)))
            .with_num_partitions(partitions)
            .with_replication_factor(replicas)
            .with_configs(configs.collect());
        let request = CreateTopicsRequest::default()
            .with_topics(vec![topic])
            .with_timeout_ms(30_000);
        let answer = call(self.any_address(), 5, &request);
        let result = &answer.topics[0];
        assert_eq!(
            result.error_code, 0,
            "create {name}: {:?}",
            result.error_message
        );
        for partition in 0..partitions {
            eventually("the partition has a leader", PATIENCE, || {
                self.leader(name, partition).map(drop)
            });
        }
    }

    /// Creates a topic anew: one of the name, perhaps left by an earlier run, is deleted first.
    ///
    /// # Panics
    /// The broker refuses, or takes too long.
    #[track_caller]
    pub(crate) fn recreate_topic(&self, name: &str, partitions: i32, configs: &[(&str, &str)]) {
        let request = DeleteTopicsRequest::default()
            .with_topic_names(vec![TopicName(text(name))])
            .with_timeout_ms(30_000);
        let code = call(self.any_address(), 4, &request).responses[0].error_code;
        assert!(
            code == 0 || code == UNKNOWN_TOPIC_OR_PARTITION,
            "delete {name}: error {code}"
        );
        eventually("the topic is gone", PATIENCE, || {
            self.leader(name, 0).is_none().then_some(())
        });
        self.create_topic(name, partitions, 1, configs);
    }

    /// The node that leads a partition and its address, if there is one now.
    pub(crate) fn leader(&self, topic: &str, partition: i32) -> Option<(i32, String)> {
        let answer = self.metadata(topic)?;
        let topic = answer.topics.first()?;
        let mut partitions = topic.partitions.iter();
        let node = partitions
            .find(|p| p.partition_index == partition)?
            .leader_id;
        let leader = answer
            .brokers
            .iter()
            .find(|broker| broker.node_id == node)?;
        Some((node.0, format!("{}:{}", &*leader.host, leader.port)))
    }

    /// How many replicas of a partition are in sync.
    pub(crate) fn in_sync(&self, topic: &str, partition: i32) -> usize {
        let answer = self.metadata(topic);
        let topics = answer.iter().flat_map(|answer| &answer.topics);
        let mut partitions = topics.flat_map(|topic| &topic.partitions);
        let found = partitions.find(|p| p.partition_index == partition);
        found.map_or(0, |found| found.isr_nodes.len())
    }

    fn metadata(&self, topic: &str) -> Option<MetadataResponse> {
        let wanted = MetadataRequestTopic::default().with_name(Some(TopicName(text(topic))));
        let request = MetadataRequest::default()
            .with_topics(Some(vec![wanted]))
            .with_allow_auto_topic_creation(false);
        let mut addresses = self.bootstrap.split(',');
        addresses.find_map(|address| try_call(address, 8, &request).ok())
    }

    /// The offset behind the last record of each partition.
    #[track_caller]
    pub(crate) fn end_offsets(&self, topic: &str, partitions: i32) -> Vec<i64> {
        let offsets = (0..partitions).map(|partition| {
            let client = self.partition(topic, partition);
            self.runtime
                .block_on(client.get_offset(OffsetAt::Latest))
                .unwrap_or_else(|error| panic!("end of {topic}/{partition}: {error}"))
        });
        offsets.collect()
    }

    /// All records of all partitions, each partition's in order.
    #[track_caller]
    pub(crate) fn records(&self, topic: &str, partitions: i32) -> Vec<Vec<RecordAndOffset>> {
        let read = |partition| self.partition_records(topic, partition);
        (0..partitions).map(read).collect()
    }

    fn partition_records(&self, topic: &str, partition: i32) -> Vec<RecordAndOffset> {
        let client = self.partition(topic, partition);
        let mut records: Vec<RecordAndOffset> = Vec::new();
        let mut from = 0;
        loop {
            let fetch = client.fetch_records(from, 1..8_000_000, 100);
            let (batch, end) = self
                .runtime
                .block_on(fetch)
                .unwrap_or_else(|error| panic!("read {topic}/{partition} at {from}: {error}"));
            from = batch.last().map_or(from, |record| record.offset + 1);
            records.extend(batch);
            if from >= end {
                return records;
            }
        }
    }

    /// The newest record of a key, wherever it is.
    pub(crate) fn newest(
        &self,
        topic: &str,
        partitions: i32,
        key: &str,
    ) -> Option<RecordAndOffset> {
        let records = self.records(topic, partitions).into_iter().flatten();
        records
            .filter(|found| found.record.key.as_deref() == Some(key.as_bytes()))
            .max_by_key(|found| found.offset)
    }

    /// Writes one record by rskafka, to this partition.
    #[track_caller]
    pub(crate) fn produce(&self, topic: &str, partition: i32, key: &str, value: Option<&[u8]>) {
        let record = rskafka::record::Record {
            key: Some(key.as_bytes().to_vec()),
            value: value.map(<[u8]>::to_vec),
            headers: std::collections::BTreeMap::new(),
            timestamp: DateTime::from_timestamp_millis(now_millis()).expect("a date"),
        };
        let client = self.partition(topic, partition);
        let compression = rskafka::client::partition::Compression::NoCompression;
        let produced = self
            .runtime
            .block_on(client.produce(vec![record], compression));
        produced.unwrap_or_else(|error| panic!("produce to {topic}/{partition}: {error}"));
    }

    /// Writes records as they are, headers in order, repeated and null, in one batch.
    ///
    /// # Panics
    /// The broker does not store them.
    #[track_caller]
    pub(crate) fn append(&self, topic: &str, partition: i32, records: &[records::Record]) {
        eventually("the records are stored", PATIENCE, || {
            let code = self
                .link(topic, partition)?
                .append(topic, partition, records);
            assert!(
                code == 0 || NOT_THERE_YET.contains(&code),
                "produce: error {code}"
            );
            (code == 0).then_some(())
        });
    }

    /// All records of all partitions as they are, headers in order, repeated and null.
    #[track_caller]
    pub(crate) fn log(&self, topic: &str, partitions: i32) -> Vec<Logged> {
        let mut logged = Vec::new();
        for (partition, end) in (0..).zip(self.end_offsets(topic, partitions)) {
            let mut offsets = vec![i64::MAX; usize::try_from(partition).expect("a partition")];
            offsets.push(0);
            let mut link = (self.link(topic, partition)).expect("the partition has a leader");
            while offsets.last().is_some_and(|from| *from < end) {
                let records = link.poll(topic, &offsets, Duration::from_millis(100));
                if let (Some(last), Some(from)) = (records.last(), offsets.last_mut()) {
                    *from = last.offset + 1;
                }
                logged.extend(records);
            }
        }
        logged
    }

    /// Waits until the topic holds so many records, and returns them all.
    ///
    /// # Panics
    /// It holds more, or there are not so many in time.
    #[track_caller]
    pub(crate) fn await_log(&self, topic: &str, partitions: i32, count: usize) -> Vec<Logged> {
        let log = eventually(&format!("{topic} holds {count} records"), PATIENCE, || {
            let log = self.log(topic, partitions);
            (log.len() >= count).then_some(log)
        });
        assert_eq!(log.len(), count, "{log:?}");
        log
    }

    fn link(&self, topic: &str, partition: i32) -> Option<Link> {
        let (_, address) = self.leader(topic, partition)?;
        Link::connect(&address).ok()
    }

    /// Writes a batch by the `kafka-protocol` crate.
    #[track_caller]
    pub(crate) fn produce_batch(&self, topic: &str, partition: i32, batch: &Batch<'_>) {
        let mut records = BytesMut::new();
        let options = RecordEncodeOptions {
            version: 2,
            compression: batch.compression,
        };
        let encoded: Vec<Record> = (0..)
            .zip(batch.items)
            .map(|(n, item)| batch.record(n, *item))
            .collect();
        RecordBatchEncoder::encode(&mut records, &encoded, &options).expect("a batch");
        let data = PartitionProduceData::default()
            .with_index(partition)
            .with_records(Some(records.freeze()));
        let topic_data = TopicProduceData::default()
            .with_name(TopicName(text(topic)))
            .with_partition_data(vec![data]);
        let transactional_id = batch.transaction.as_ref().map(|t| t.id.clone());
        let request = ProduceRequest::default()
            .with_transactional_id(transactional_id)
            .with_acks(-1)
            .with_timeout_ms(30_000)
            .with_topic_data(vec![topic_data]);
        // A topic that has just been made may take a moment to be known everywhere.
        eventually("the batch is stored", PATIENCE, || {
            let (_, address) = self.leader(topic, partition)?;
            let answer = call(&address, 9, &request);
            let code = answer.responses[0].partition_responses[0].error_code;
            assert!(
                code == 0 || NOT_THERE_YET.contains(&code),
                "produce: error {code}"
            );
            (code == 0).then_some(())
        });
    }

    /// One of the bootstrap servers.
    pub(crate) fn any_address(&self) -> &str {
        self.bootstrap.split(',').next().expect("one at least")
    }

    fn partition(&self, topic: &str, partition: i32) -> PartitionClient {
        let client = self
            .client
            .partition_client(topic, partition, UnknownTopicHandling::Retry);
        self.runtime
            .block_on(client)
            .unwrap_or_else(|error| panic!("{topic}/{partition}: {error}"))
    }
}

/// What [`Kafka::produce_batch`] writes.
pub(crate) struct Batch<'a> {
    pub(crate) compression: Compression,
    /// Keys and values.
    pub(crate) items: &'a [(&'a str, &'a str)],
    pub(crate) transaction: Option<Transaction>,
}

/// The transaction that a batch is part of.
pub(crate) struct Transaction {
    pub(crate) id: TransactionalId,
    pub(crate) producer_id: i64,
    pub(crate) producer_epoch: i16,
}

impl Batch<'_> {
    fn record(&self, nth: i32, (key, value): (&str, &str)) -> Record {
        let producer = self.transaction.as_ref();
        Record {
            transactional: producer.is_some(),
            control: false,
            delete_horizon: false,
            partition_leader_epoch: -1,
            producer_id: producer.map_or(-1, |p| p.producer_id),
            producer_epoch: producer.map_or(-1, |p| p.producer_epoch),
            timestamp_type: TimestampType::Creation,
            offset: i64::from(nth),
            // Consecutive, or the encoder begins a batch with each; the first counts.
            sequence: if producer.is_some() { nth } else { nth - 1 },
            timestamp: now_millis(),
            key: Some(Bytes::copy_from_slice(key.as_bytes())),
            value: Some(Bytes::copy_from_slice(value.as_bytes())),
            headers: IndexMap::new(),
        }
    }
}

/// Milliseconds since 1970.
pub(crate) fn now_millis() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    i64::try_from(now.expect("after 1970").as_millis()).expect("fits")
}

/// Kafka's string type.
pub(crate) fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

/// Sends one request over a connection of its own and reads the answer.
///
/// # Panics
/// There is none.
#[track_caller]
pub(crate) fn call<R: Request>(address: &str, version: i16, request: &R) -> R::Response {
    try_call(address, version, request)
        .unwrap_or_else(|error| panic!("kafka request {} to {address}: {error}", R::KEY))
}

fn try_call<R: Request>(address: &str, version: i16, request: &R) -> Answer<R> {
    Link::connect(address)?.try_call(version, request)
}
