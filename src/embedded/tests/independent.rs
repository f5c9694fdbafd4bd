//! The broker under rskafka, a client that shares no code with it or with `kafka-protocol`.

use super::client::{broker, now_ms};
use rskafka::chrono::DateTime;
use rskafka::client::partition::{Compression, OffsetAt, UnknownTopicHandling};
use rskafka::client::{Client, ClientBuilder};
use rskafka::record::Record;
use std::collections::BTreeMap;

async fn connect(address: std::net::SocketAddr) -> Client {
    ClientBuilder::new(vec![address.to_string()])
        .build()
        .await
        .unwrap()
}

fn record(key: &str, value: Option<&str>) -> Record {
    Record {
        key: Some(key.as_bytes().to_vec()),
        value: value.map(|value| value.as_bytes().to_vec()),
        headers: BTreeMap::from([("h".to_owned(), b"1".to_vec())]),
        timestamp: DateTime::from_timestamp_millis(now_ms()).unwrap(),
    }
}

#[test]
fn rskafka_creates_produces_fetches_and_deletes() {
    let broker = broker(|_| {});
    let address = broker.addr();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let client = connect(address).await;
        let controller = client.controller_client().unwrap();
        controller.create_topic("t", 2, 1, 5_000).await.unwrap();
        assert!(controller.create_topic("t", 2, 1, 5_000).await.is_err());
        let topics = client.list_topics().await.unwrap();
        assert_eq!(
            (topics[0].name.as_str(), topics[0].partitions.len()),
            ("t", 2)
        );

        let partition = client
            .partition_client("t", 1, UnknownTopicHandling::Error)
            .await
            .unwrap();
        let records = vec![record("a", Some("1")), record("b", None)];
        let offsets = partition
            .produce(records.clone(), Compression::NoCompression)
            .await
            .unwrap();
        assert_eq!(offsets, [0, 1]);
        let (fetched, high_watermark) =
            partition.fetch_records(0, 1..1_000_000, 100).await.unwrap();
        assert_eq!(high_watermark, 2);
        assert_eq!(fetched[1].record.value, None, "a tombstone");
        assert_eq!(fetched[0].record.headers, records[0].headers);
        assert_eq!(partition.get_offset(OffsetAt::Earliest).await.unwrap(), 0);
        assert_eq!(partition.get_offset(OffsetAt::Latest).await.unwrap(), 2);
        let time = OffsetAt::Timestamp(records[1].timestamp);
        assert!(partition.get_offset(time).await.unwrap() <= 1);
        controller.delete_topic("t", 5_000).await.unwrap();
        assert_eq!(client.list_topics().await.unwrap().len(), 0);
    });
}
