//! librdkafka, set for latency: nothing lingers, and every partition is read by hand, without a group.

use std::error::Error;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, FromClientConfigAndContext};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, ToBytes};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

/// The record headers that Zilla has by default.
pub const REPLY_TO: &str = "zilla:reply-to";
pub const CORRELATION_ID: &str = "zilla:correlation-id";

const PATIENCE: Duration = Duration::from_secs(30);

/// Where to begin to read a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    Beginning,
    /// What is written from now on.
    Now,
}

fn config(bootstrap: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", bootstrap)
        .set("socket.nagle.disable", "true");
    config
}

/// A reader of all partitions that the topic has now.
pub fn consumer(bootstrap: &str, topic: &str, from: From) -> Result<BaseConsumer, Box<dyn Error>> {
    let consumer: BaseConsumer = config(bootstrap)
        .set("group.id", "bench-service")
        .set("enable.auto.commit", "false")
        .set("fetch.min.bytes", "1")
        .create()?;
    let mut assignment = TopicPartitionList::new();
    let metadata = consumer.fetch_metadata(Some(topic), PATIENCE)?;
    for partition in metadata
        .topics()
        .iter()
        .flat_map(|topic| topic.partitions())
    {
        // As a number: `Offset::End` would be looked up later, and what is written meanwhile be missed.
        let (first, end) = consumer.fetch_watermarks(topic, partition.id(), PATIENCE)?;
        let offset = if from == From::Now { end } else { first };
        assignment.add_partition_offset(topic, partition.id(), Offset::Offset(offset))?;
    }
    if assignment.count() == 0 {
        return Err(format!("there is no topic {topic}").into());
    }
    consumer.assign(&assignment)?;
    Ok(consumer)
}

/// Passes on when each record was acknowledged, in [`Producer::serve`].
struct Acks {
    acked: mpsc::Sender<Result<Instant, KafkaError>>,
}

impl ClientContext for Acks {}

impl ProducerContext for Acks {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        #[expect(
            clippy::disallowed_methods,
            reason = "a load generator lives by the clock"
        )]
        let now = Instant::now();
        let stored = result.as_ref().map(|_| now);
        // Nobody listens any more when the process ends.
        let _ = self.acked.send(stored.map_err(|(error, _)| error.clone()));
    }
}

/// Writes records, each at once, and learns of their acks when asked to.
pub struct Producer {
    inner: BaseProducer<Acks>,
    acked: mpsc::Receiver<Result<Instant, KafkaError>>,
}

impl Producer {
    /// Connects; the leaders of `topic` are known afterwards.
    pub fn connect(bootstrap: &str, topic: &str) -> Result<Self, Box<dyn Error>> {
        let (sender, acked) = mpsc::channel();
        let mut config = config(bootstrap);
        config
            .set("acks", "all")
            // With idempotence its broker thread once took a minute of the broker's processor; not seen since without, and the cause is not known.
            .set("enable.idempotence", "false")
            .set("max.in.flight.requests.per.connection", "1")
            .set("linger.ms", "0");
        let inner = BaseProducer::from_config_and_context(&config, Acks { acked: sender })?;
        inner.client().fetch_metadata(Some(topic), PATIENCE)?;
        Ok(Self { inner, acked })
    }

    /// Sends a record, and takes the acks that have come.
    pub fn send<K: ToBytes + ?Sized>(
        &self,
        record: BaseRecord<'_, K, [u8]>,
    ) -> Result<(), Box<dyn Error>> {
        self.submit(record)?;
        self.serve()
    }

    /// Sends a record; a full queue is waited for. No ack is taken.
    pub fn submit<K: ToBytes + ?Sized>(
        &self,
        mut record: BaseRecord<'_, K, [u8]>,
    ) -> Result<(), Box<dyn Error>> {
        loop {
            match self.inner.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), refused)) => {
                    record = refused;
                    self.inner.poll(Duration::from_millis(1));
                }
                Err((error, _)) => return Err(error.into()),
            }
        }
    }

    /// Takes the acks that have come; one that is a refusal is an error.
    pub fn serve(&self) -> Result<(), Box<dyn Error>> {
        self.inner.poll(Duration::ZERO);
        for ack in self.acked.try_iter() {
            ack?;
        }
        Ok(())
    }

    /// Waits for the next ack.
    pub fn next_ack(&self) -> Result<Instant, Box<dyn Error>> {
        loop {
            // Short: it takes reports as they come, but returns only when its time is over.
            self.inner.poll(Duration::from_millis(1));
            if let Ok(ack) = self.acked.try_recv() {
                return Ok(ack?);
            }
        }
    }

    /// Waits until all is stored.
    pub fn finish(&self) -> Result<(), Box<dyn Error>> {
        self.inner.flush(PATIENCE)?;
        self.serve()
    }
}
