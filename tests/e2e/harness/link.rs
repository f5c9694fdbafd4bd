//! A connection to a broker, for single requests, and for records exactly as they are.
//!
//! One rule: one request at a time, and none is repeated; whoever wants that repeats it.

use super::PATIENCE;
use super::kafka::{now_millis, text};
use super::records::{self, Logged, Record};
use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    BrokerId, FetchRequest, ProduceRequest, RequestHeader, ResponseHeader, TopicName,
};
use kafka_protocol::protocol::{
    Decodable, HeaderVersion, Request, encode_request_header_into_buffer,
};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// What a request is answered.
pub(crate) type Answer<R> = Result<<R as Request>::Response, Box<dyn std::error::Error>>;

/// A connection to one broker; one request at a time.
pub(crate) struct Link(TcpStream);

impl Link {
    /// Connects to `host:port`.
    pub(crate) fn connect(address: &str) -> std::io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Self(stream))
    }

    /// Writes a batch to a partition that the broker leads; the error code.
    ///
    /// # Panics
    /// There is no answer.
    #[track_caller]
    pub(crate) fn append(&mut self, topic: &str, partition: i32, records: &[Record]) -> i16 {
        let batch = records::encode(records, now_millis());
        let data = PartitionProduceData::default()
            .with_index(partition)
            .with_records(Some(Bytes::from(batch)));
        let data = TopicProduceData::default()
            .with_name(TopicName(text(topic)))
            .with_partition_data(vec![data]);
        let request = ProduceRequest::default()
            .with_acks(-1)
            .with_timeout_ms(30_000)
            .with_topic_data(vec![data]);
        let answer = self.try_call(9, &request);
        let answer = answer.unwrap_or_else(|error| panic!("produce to {topic}: {error}"));
        answer.responses[0].partition_responses[0].error_code
    }

    /// Fetches from the partitions 0, 1, … at these offsets (`i64::MAX`: not this one); returns when there are records,
    /// or none after `wait`.
    ///
    /// # Panics
    /// The broker does not lead them, or there is no answer.
    #[track_caller]
    pub(crate) fn poll(&mut self, topic: &str, offsets: &[i64], wait: Duration) -> Vec<Logged> {
        let partitions = (0..).zip(offsets).filter(|(_, from)| **from < i64::MAX);
        let partitions = partitions.map(|(partition, from)| {
            FetchPartition::default()
                .with_partition(partition)
                .with_fetch_offset(*from)
                .with_partition_max_bytes(8_000_000)
        });
        let request = FetchRequest::default()
            .with_replica_id(BrokerId(-1))
            .with_max_wait_ms(i32::try_from(wait.as_millis()).expect("a short wait"))
            .with_min_bytes(1)
            .with_max_bytes(64_000_000)
            .with_session_epoch(-1)
            .with_topics(vec![
                FetchTopic::default()
                    .with_topic(TopicName(text(topic)))
                    .with_partitions(partitions.collect()),
            ]);
        let answer = self.try_call(11, &request);
        let answer = answer.unwrap_or_else(|error| panic!("fetch {topic}: {error}"));
        assert_eq!(answer.error_code, 0, "fetch {topic}");
        let found = answer.responses.iter().flat_map(|topic| &topic.partitions);
        let found = found.flat_map(|found| {
            let partition = found.partition_index;
            assert_eq!(found.error_code, 0, "fetch {topic}/{partition}");
            let from = offsets[usize::try_from(partition).expect("a partition")];
            let records = records::decode(found.records.as_deref().unwrap_or_default());
            // A batch is given whole, also when it begins before the offset.
            let records = records
                .into_iter()
                .filter(move |(offset, _)| *offset >= from);
            records.map(move |(offset, record)| Logged {
                partition,
                offset,
                record,
            })
        });
        found.collect()
    }

    /// Sends one request and reads the answer.
    pub(crate) fn try_call<R: Request>(&mut self, version: i16, request: &R) -> Answer<R> {
        let mut frame = BytesMut::new();
        let header = RequestHeader::default()
            .with_request_api_key(R::KEY)
            .with_request_api_version(version)
            .with_client_id(Some(text("e2e")));
        encode_request_header_into_buffer(&mut frame, &header)?;
        request.encode(&mut frame, version)?;

        let length = u32::try_from(frame.len())?.to_be_bytes();
        self.0.write_all(&[&length[..], &frame].concat())?;
        let mut length = [0; 4];
        self.0.read_exact(&mut length)?;
        let mut answer = vec![0; usize::try_from(u32::from_be_bytes(length))?];
        self.0.read_exact(&mut answer)?;

        let mut answer = Bytes::from(answer);
        ResponseHeader::decode(&mut answer, R::Response::header_version(version))?;
        Ok(R::Response::decode(&mut answer, version)?)
    }
}
