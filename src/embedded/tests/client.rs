//! A plain client for the tests: `kafka-protocol` for requests and responses, record batches by hand.

use crate::embedded::{Broker, Config};
use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::produce_response::PartitionProduceResponse;
use kafka_protocol::messages::{
    ApiKey, FetchRequest, FetchResponse, ListOffsetsRequest, ListOffsetsResponse, ProduceRequest,
    ProduceResponse, RequestHeader, ResponseHeader, TopicName,
};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, StrBytes};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// A broker in memory, with everything else as `change` leaves it.
pub(super) fn broker(change: impl FnOnce(&mut Config)) -> Broker {
    let mut config = Config::default();
    change(&mut config);
    Broker::start(config).unwrap()
}

pub(super) fn string(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

pub(super) fn topic_name(name: &str) -> TopicName {
    TopicName(string(name))
}

pub(super) struct Client {
    pub(super) stream: TcpStream,
    next_id: i32,
}

impl Client {
    pub(super) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        Self { stream, next_id: 0 }
    }

    pub(super) fn of(broker: &Broker) -> Self {
        Self::connect(broker.addr())
    }

    pub(super) fn send<Request: Encodable + HeaderVersion>(
        &mut self,
        api: ApiKey,
        version: i16,
        request: &Request,
    ) {
        let frame = self.frame(api, version, request);
        self.stream.write_all(&frame).unwrap();
    }

    pub(super) fn frame<Request>(
        &mut self,
        api: ApiKey,
        version: i16,
        request: &Request,
    ) -> BytesMut
    where
        Request: Encodable + HeaderVersion,
    {
        self.next_id += 1;
        let header = RequestHeader::default()
            .with_request_api_key(api as i16)
            .with_request_api_version(version)
            .with_correlation_id(self.next_id)
            .with_client_id(Some(string("test")));
        let mut frame = BytesMut::zeroed(4);
        header
            .encode(&mut frame, Request::header_version(version))
            .unwrap();
        request.encode(&mut frame, version).unwrap();
        let length = u32::try_from(frame.len() - 4).unwrap();
        frame[..4].copy_from_slice(&length.to_be_bytes());
        frame
    }

    /// Reads one answer; it must belong to the last request and hold nothing beyond the response.
    pub(super) fn receive<Response: Decodable + HeaderVersion>(
        &mut self,
        version: i16,
    ) -> io::Result<Response> {
        let mut prefix = [0; 4];
        self.stream.read_exact(&mut prefix)?;
        let mut frame = vec![0; u32::from_be_bytes(prefix) as usize];
        self.stream.read_exact(&mut frame)?;
        let mut frame = Bytes::from(frame);
        let header = ResponseHeader::decode(&mut frame, Response::header_version(version)).unwrap();
        assert_eq!(header.correlation_id, self.next_id);
        let response = Response::decode(&mut frame, version).unwrap();
        assert!(frame.is_empty(), "bytes after the response");
        Ok(response)
    }

    pub(super) fn try_call<Request, Response>(
        &mut self,
        api: ApiKey,
        version: i16,
        request: &Request,
    ) -> io::Result<Response>
    where
        Request: Encodable + HeaderVersion,
        Response: Decodable + HeaderVersion,
    {
        let frame = self.frame(api, version, request);
        self.stream.write_all(&frame)?;
        self.receive(version)
    }

    pub(super) fn call<Request, Response>(
        &mut self,
        api: ApiKey,
        version: i16,
        request: &Request,
    ) -> Response
    where
        Request: Encodable + HeaderVersion,
        Response: Decodable + HeaderVersion,
    {
        self.try_call(api, version, request).unwrap()
    }

    /// Produces one batch with acks all to one partition.
    pub(super) fn produce(
        &mut self,
        topic: &str,
        partition: i32,
        batch: Bytes,
    ) -> PartitionProduceResponse {
        self.try_produce(topic, partition, batch).unwrap()
    }

    pub(super) fn try_produce(
        &mut self,
        topic: &str,
        partition: i32,
        batch: Bytes,
    ) -> io::Result<PartitionProduceResponse> {
        let response: ProduceResponse = self.try_call(
            ApiKey::Produce,
            9,
            &produce_request(topic, partition, batch, -1),
        )?;
        Ok(response.responses[0].partition_responses[0].clone())
    }

    /// Fetches one partition without a session and without waiting.
    pub(super) fn fetch(&mut self, topic: &str, partition: i32, offset: i64) -> PartitionData {
        let response: FetchResponse = self.call(
            ApiKey::Fetch,
            12,
            &fetch_request(topic, &[(partition, offset)], 0),
        );
        response.responses[0].partitions[0].clone()
    }

    /// The values of all records from `offset` to the end of a partition.
    pub(super) fn values(
        &mut self,
        topic: &str,
        partition: i32,
        offset: i64,
    ) -> Vec<(i64, Option<Vec<u8>>)> {
        records(
            &self
                .fetch(topic, partition, offset)
                .records
                .unwrap_or_default(),
        )
        .into_iter()
        .filter(|record| record.offset >= offset)
        .map(|record| (record.offset, record.value))
        .collect()
    }

    /// Answers error, timestamp and offset.
    pub(super) fn list_offset(&mut self, topic: &str, timestamp: i64) -> (i16, i64, i64) {
        let partition = ListOffsetsPartition::default().with_timestamp(timestamp);
        let topic = ListOffsetsTopic::default()
            .with_name(topic_name(topic))
            .with_partitions(vec![partition]);
        let request = ListOffsetsRequest::default()
            .with_replica_id((-1).into())
            .with_topics(vec![topic]);
        let response: ListOffsetsResponse = self.call(ApiKey::ListOffsets, 8, &request);
        let partition = &response.topics[0].partitions[0];
        (partition.error_code, partition.timestamp, partition.offset)
    }
}

pub(super) fn produce_request(
    topic: &str,
    partition: i32,
    batch: Bytes,
    acks: i16,
) -> ProduceRequest {
    let partition = PartitionProduceData::default()
        .with_index(partition)
        .with_records(Some(batch));
    let topic = TopicProduceData::default()
        .with_name(topic_name(topic))
        .with_partition_data(vec![partition]);
    ProduceRequest::default()
        .with_acks(acks)
        .with_timeout_ms(1_000)
        .with_topic_data(vec![topic])
}

pub(super) fn fetch_request(
    topic: &str,
    partitions: &[(i32, i64)],
    max_wait_ms: i32,
) -> FetchRequest {
    let partition = |(partition, offset): &(i32, i64)| {
        FetchPartition::default()
            .with_partition(*partition)
            .with_current_leader_epoch(-1)
            .with_fetch_offset(*offset)
            .with_partition_max_bytes(1 << 20)
    };
    let topics = if partitions.is_empty() {
        Vec::new()
    } else {
        let partitions = partitions.iter().map(partition).collect();
        vec![
            FetchTopic::default()
                .with_topic(topic_name(topic))
                .with_partitions(partitions),
        ]
    };
    FetchRequest::default()
        .with_replica_id((-1).into())
        .with_max_wait_ms(max_wait_ms)
        .with_min_bytes(1)
        .with_max_bytes(50 << 20)
        .with_session_epoch(-1)
        .with_topics(topics)
}

/// Timestamp delta, key, value.
type NewRecord = (i64, Option<Vec<u8>>, Option<Vec<u8>>);

/// A record batch in the making.
#[derive(Clone)]
pub(super) struct Batch {
    pub(super) attributes: i16,
    pub(super) producer: Option<(i64, i16, i32)>,
    pub(super) base_timestamp: i64,
    pub(super) records: Vec<NewRecord>,
}

impl Batch {
    pub(super) fn new() -> Self {
        Self {
            attributes: 0,
            producer: None,
            base_timestamp: now_ms(),
            records: Vec::new(),
        }
    }

    /// One record without a key.
    pub(super) fn of(value: &str) -> Bytes {
        Self::new().record(None, Some(value)).bytes()
    }

    pub(super) fn keyed(key: &str, value: Option<&str>) -> Bytes {
        Self::new().record(Some(key), value).bytes()
    }

    pub(super) fn idempotent(id: i64, epoch: i16, sequence: i32, count: usize) -> Bytes {
        let mut batch = Self::new();
        batch.producer = Some((id, epoch, sequence));
        for _ in 0..count {
            batch = batch.record(None, Some("v"));
        }
        batch.bytes()
    }

    pub(super) fn record(self, key: Option<&str>, value: Option<&str>) -> Self {
        self.record_at(0, key, value)
    }

    pub(super) fn record_at(
        mut self,
        timestamp_delta: i64,
        key: Option<&str>,
        value: Option<&str>,
    ) -> Self {
        let owned = |text: Option<&str>| text.map(|text| text.as_bytes().to_vec());
        self.records
            .push((timestamp_delta, owned(key), owned(value)));
        self
    }

    pub(super) fn bytes(&self) -> Bytes {
        let count = i32::try_from(self.records.len()).unwrap();
        let newest = self
            .records
            .iter()
            .map(|record| record.0)
            .max()
            .unwrap_or(0);
        let (id, epoch, sequence) = self.producer.unwrap_or((-1, -1, -1));
        let mut body = BytesMut::new();
        body.put_i16(self.attributes);
        body.put_i32(count - 1);
        body.put_i64(self.base_timestamp);
        body.put_i64(self.base_timestamp + newest);
        body.put_i64(id);
        body.put_i16(epoch);
        body.put_i32(sequence);
        body.put_i32(count);
        for (offset, (timestamp, key, value)) in (0..).zip(&self.records) {
            put_record(
                &mut body,
                *timestamp,
                offset,
                key.as_deref(),
                value.as_deref(),
            );
        }
        let mut batch = BytesMut::new();
        batch.put_i64(0);
        batch.put_i32(i32::try_from(body.len()).unwrap() + 9);
        batch.put_i32(-1);
        batch.put_i8(2);
        batch.put_u32(crc32c::crc32c(&body));
        batch.put_slice(&body);
        batch.freeze()
    }
}

fn put_record(
    out: &mut BytesMut,
    timestamp: i64,
    offset: i64,
    key: Option<&[u8]>,
    value: Option<&[u8]>,
) {
    let mut record = BytesMut::new();
    record.put_i8(0);
    put_varint(&mut record, timestamp);
    put_varint(&mut record, offset);
    for field in [key, value] {
        put_varint(
            &mut record,
            field.map_or(-1, |field| i64::try_from(field.len()).unwrap()),
        );
        record.put_slice(field.unwrap_or_default());
    }
    put_varint(&mut record, 0);
    put_varint(out, i64::try_from(record.len()).unwrap());
    out.put_slice(&record);
}

fn put_varint(out: &mut BytesMut, value: i64) {
    let mut left = ((value << 1) ^ (value >> 63)).cast_unsigned();
    while left >= 0x80 {
        out.put_u8(left.to_le_bytes()[0] | 0x80);
        left >>= 7;
    }
    out.put_u8(u8::try_from(left).unwrap());
}

/// A record as fetched.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fetched {
    pub(super) offset: i64,
    pub(super) key: Option<Vec<u8>>,
    pub(super) value: Option<Vec<u8>>,
}

/// The records of fetched batches, read independently of the broker's own reader.
pub(super) fn records(set: &[u8]) -> Vec<Fetched> {
    let mut found = Vec::new();
    let mut left = set;
    while left.len() > 12 {
        let size = 12 + u32::from_be_bytes(left[8..12].try_into().unwrap()) as usize;
        let (batch, rest) = left.split_at(size);
        left = rest;
        let base = i64::from_be_bytes(batch[..8].try_into().unwrap());
        assert_eq!(
            crc32c::crc32c(&batch[21..]).to_be_bytes(),
            batch[17..21],
            "checksum"
        );
        let mut body = &batch[61..];
        while !body.is_empty() {
            let _length = take_varint(&mut body);
            body = &body[1..];
            let _timestamp = take_varint(&mut body);
            let offset = base + take_varint(&mut body);
            let key = take_field(&mut body);
            let value = take_field(&mut body);
            for _ in 0..take_varint(&mut body) {
                take_field(&mut body);
                take_field(&mut body);
            }
            found.push(Fetched { offset, key, value });
        }
    }
    found
}

fn take_field(from: &mut &[u8]) -> Option<Vec<u8>> {
    let length = usize::try_from(take_varint(from)).ok()?;
    let (field, rest) = from.split_at(length);
    *from = rest;
    Some(field.to_vec())
}

fn take_varint(from: &mut &[u8]) -> i64 {
    let mut value = 0u64;
    for shift in (0..).step_by(7) {
        let byte = from[0];
        *from = &from[1..];
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            break;
        }
    }
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}

pub(super) fn now_ms() -> i64 {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    i64::try_from(now.as_millis()).unwrap()
}

/// A directory of its own for one test, removed in the end.
pub(super) struct TempDir(pub(super) std::path::PathBuf);

impl TempDir {
    pub(super) fn new() -> Self {
        let dir = std::env::temp_dir().join(format!("embedded-broker-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir_all(&dir).unwrap();
        Self(dir)
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
