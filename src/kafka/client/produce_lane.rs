//! One broker's produce connection: what is ready goes out as one request, and its answer lets the next one go.

use std::rc::Rc;
use std::time::Duration;

use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{InitProducerIdRequest, ProduceRequest, ProduceResponse, TopicName};

use super::{Client, reconnect_wait};
use crate::clock::Instant;
use crate::kafka::connection::{Connection, ConnectionFault};
use crate::kafka::error_code::ErrorCode;
use crate::kafka::producer::{Acks, PartitionOutcome, ProduceCall};
use crate::observe::ClusterWatch;
use crate::observe::events::ClusterEvent;
use crate::runtime::notify::Notify;
use crate::runtime::{self, with_deadline};

/// How long the broker may take to store a batch on its replicas; told to it, and waited for a little longer.
const BROKER_TIMEOUT: Duration = Duration::from_secs(15);
const CALL_TIMEOUT: Duration = Duration::from_secs(20);
/// How long to wait after the broker had no producer id to give.
const IDENTITY_RETRY: Duration = Duration::from_millis(100);
/// A connection idle for longer is checked before it is written to: brokers close idle ones after ten minutes, middle boxes much earlier.
const TRUSTED_IDLE: Duration = Duration::from_secs(1);

pub(super) async fn run(client: Client, broker: i32, ready: Rc<Notify>) {
    let deadline = client.inner.deadlines.deadline();
    let mut connection: Option<Connection> = None;
    let mut used_at = Instant::ZERO;
    let mut attempts = 0;
    while !client.is_stopped() {
        let due = client.inner.producer.borrow().poll_retry(broker);
        if due.is_none_or(|at| at > runtime::now()) {
            let _ = with_deadline(
                &deadline,
                due.unwrap_or(Instant::FAR_FUTURE),
                ready.notified(),
            )
            .await;
            continue;
        }
        if connection.is_some() && runtime::now().saturating_duration_since(used_at) > TRUSTED_IDLE
        {
            connection = still_open(connection).await;
        }
        if connection.is_none() {
            connection = connect(&client, broker, attempts == 0).await;
            if connection.is_none() {
                let wait = reconnect_wait(attempts, runtime::now());
                attempts += 1;
                runtime::sleep(wait).await;
                continue;
            }
            attempts = 0;
        }
        let Some(open) = connection.as_mut() else {
            continue;
        };
        let outcome = identify_and_send(&client, broker, open).await;
        used_at = runtime::now();
        if let Err(fault) = outcome {
            tracing::warn!(broker, %fault, "produce connection lost");
            connection = None;
        }
        client.drain_producer();
    }
}

/// The connection, unless the broker has closed it meanwhile.
async fn still_open(connection: Option<Connection>) -> Option<Connection> {
    let mut connection = connection?;
    if connection.is_closed_by_peer().await {
        None
    } else {
        Some(connection)
    }
}

async fn connect(client: &Client, broker: i32, is_first: bool) -> Option<Connection> {
    let result = client.connect(broker).await;
    let now = runtime::now();
    let connection = match result {
        Ok(connection) => {
            client.inner.producer.borrow_mut().handle_connected(broker);
            Some(connection)
        }
        Err(fault) => {
            let reason = fault.map_or_else(
                || "its address is not known".to_owned(),
                |fault| fault.to_string(),
            );
            // Once: it is tried about every second for as long as the broker leads something.
            if is_first {
                tracing::warn!(broker, reason, "cannot connect for produce, trying on");
            }
            client
                .inner
                .producer
                .borrow_mut()
                .handle_unreachable(broker, now);
            None
        }
    };
    client.drain_producer();
    connection
}

async fn identify_and_send(
    client: &Client,
    broker: i32,
    connection: &mut Connection,
) -> Result<(), ConnectionFault> {
    let wants_identity = client.inner.producer.borrow().wants_identity();
    if wants_identity {
        identify(client, connection).await?;
    }
    // Also without an id: records that ask for less than all acknowledgements need none.
    send_ready(client, broker, connection).await
}

async fn identify(client: &Client, connection: &mut Connection) -> Result<(), ConnectionFault> {
    let request = InitProducerIdRequest::default()
        .with_transactional_id(None)
        .with_transaction_timeout_ms(60_000)
        .with_producer_id((-1).into())
        .with_producer_epoch(-1);
    let response = connection.call(&request, CALL_TIMEOUT).await?;
    let error = ErrorCode(response.error_code);
    if error.is_none() {
        client
            .inner
            .producer
            .borrow_mut()
            .handle_identity(response.producer_id.0, response.producer_epoch);
    } else {
        // The coordinator of a cluster that has just started says so for a moment.
        tracing::debug!(%error, "no producer id, trying again");
        runtime::sleep(IDENTITY_RETRY).await;
    }
    Ok(())
}

async fn send_ready(
    client: &Client,
    broker: i32,
    connection: &mut Connection,
) -> Result<(), ConnectionFault> {
    let call = client.inner.producer.borrow_mut().poll_request(
        broker,
        runtime::now(),
        runtime::unix_now(),
    );
    let Some(call) = call else { return Ok(()) };
    let acks = call.acks;
    let watch = &client.inner.watch;
    for part in &call.batches {
        watch.metrics().batch_sent(part.records, part.batch.len());
    }
    let sent_at = runtime::now();
    let request = produce_request(call);
    let result = match acks {
        Acks::None => connection.send(&request, CALL_TIMEOUT).await.map(|()| None),
        Acks::LeaderOnly | Acks::InSyncReplicas => {
            connection.call(&request, CALL_TIMEOUT).await.map(Some)
        }
    };
    let now = runtime::now();
    let mut producer = client.inner.producer.borrow_mut();
    match result {
        Ok(Some(response)) => {
            watch.metrics().produce_acknowledged(now - sent_at);
            let outcomes = outcomes(response);
            tell_refused(watch, &outcomes);
            producer.handle_response(broker, &outcomes, now);
        }
        Ok(None) => producer.handle_sent(broker, now),
        Err(fault @ ConnectionFault::Wire(_))
            if connection.version_of::<ProduceRequest>().is_err() =>
        {
            producer.handle_not_sent(broker, now);
            return Err(fault);
        }
        Err(fault) => {
            producer.handle_disconnect(broker, now);
            return Err(fault);
        }
    }
    Ok(())
}

fn tell_refused(watch: &ClusterWatch, outcomes: &[PartitionOutcome]) {
    let refused = outcomes.iter().filter(|outcome| !outcome.error.is_none());
    for outcome in refused {
        watch.tell(ClusterEvent::ProduceError {
            topic: &outcome.topic,
            partition: outcome.partition,
            error: outcome.error.name(),
        });
    }
}

fn produce_request(call: ProduceCall) -> ProduceRequest {
    let mut topics: Vec<TopicProduceData> = Vec::with_capacity(1);
    for part in call.batches {
        let data = PartitionProduceData::default()
            .with_index(part.partition)
            .with_records(Some(part.batch));
        match topics.iter_mut().find(|topic| topic.name.0 == part.topic) {
            Some(topic) => topic.partition_data.push(data),
            None => topics.push(
                TopicProduceData::default()
                    .with_name(TopicName(part.topic))
                    .with_partition_data(vec![data]),
            ),
        }
    }
    let timeout_ms = i32::try_from(BROKER_TIMEOUT.as_millis()).unwrap_or(i32::MAX);
    ProduceRequest::default()
        .with_transactional_id(None)
        .with_acks(call.acks.as_wire())
        .with_timeout_ms(timeout_ms)
        .with_topic_data(topics)
}

fn outcomes(response: ProduceResponse) -> Vec<PartitionOutcome> {
    let mut outcomes = Vec::new();
    for topic in response.responses {
        for partition in topic.partition_responses {
            outcomes.push(PartitionOutcome {
                topic: topic.name.0.clone(),
                partition: partition.index,
                error: ErrorCode(partition.error_code),
                base_offset: partition.base_offset,
            });
        }
    }
    outcomes
}
