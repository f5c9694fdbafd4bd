//! Keeps the picture of the cluster fresh: asks, hands the answers out, connects elsewhere when a broker does not answer.

use std::time::Duration;

use kafka_protocol::messages::{DescribeConfigsRequest, MetadataRequest};

use super::{Client, reconnect_wait};
use crate::clock::Instant;
use crate::kafka::connection::{Connection, ConnectionFault};
use crate::kafka::wire::WireFault;
use crate::runtime::{self, with_deadline};

const CALL_TIMEOUT: Duration = Duration::from_secs(10);

pub(super) async fn run(client: Client) {
    let deadline = client.inner.deadlines.deadline();
    let mut connection: Option<Connection> = None;
    let mut attempts = 0;
    while !client.is_stopped() {
        let now = runtime::now();
        let request = client.inner.metadata.borrow_mut().poll_request(now);
        let Some(request) = request else {
            let at = client
                .inner
                .metadata
                .borrow()
                .poll_timeout()
                .unwrap_or(Instant::FAR_FUTURE);
            let _ = with_deadline(&deadline, at, client.inner.metadata_wanted.notified()).await;
            continue;
        };
        match refresh(&client, &mut connection, &request).await {
            Ok(()) => attempts = 0,
            Err(fault) => {
                connection = None;
                if attempts == 0 {
                    tracing::warn!(servers = ?client.inner.servers, %fault, "the Kafka cluster does not answer, trying on");
                }
                client.inner.metadata.borrow_mut().handle_failure(&request);
                let wait = reconnect_wait(attempts, runtime::now());
                attempts += 1;
                runtime::sleep(wait).await;
            }
        }
    }
}

async fn refresh(
    client: &Client,
    connection: &mut Option<Connection>,
    request: &MetadataRequest,
) -> Result<(), ConnectionFault> {
    let open = match connection {
        Some(open) => open,
        None => connection.insert(client.connect_any().await?),
    };
    let response = open.call(request, CALL_TIMEOUT).await?;
    let seen = client
        .inner
        .metadata
        .borrow_mut()
        .handle_response(&response);
    // The configuration first: whoever reads the topic must know whether it is compacted before it reads the first record.
    describe(client, open).await;
    hand_out(client, &seen);
    Ok(())
}

async fn describe(client: &Client, connection: &mut Connection) {
    let request: Option<DescribeConfigsRequest> =
        client.inner.metadata.borrow_mut().poll_describe();
    let Some(request) = request else { return };
    match connection.call(&request, CALL_TIMEOUT).await {
        Ok(response) => {
            let described = client
                .inner
                .metadata
                .borrow_mut()
                .handle_described(&response);
            for (topic, error) in described {
                if let Some(error) = error {
                    tracing::warn!(topic, %error, "the topic's configuration cannot be read, assuming cleanup.policy=delete: grant DescribeConfigs on it");
                }
            }
        }
        Err(ConnectionFault::Wire(fault @ WireFault::Unsupported { .. })) => {
            tracing::warn!(%fault, "the topics' configurations cannot be read, assuming cleanup.policy=delete");
            client
                .inner
                .metadata
                .borrow_mut()
                .handle_undescribable(&request);
        }
        Err(fault) => {
            tracing::warn!(%fault, "the topics' configurations could not be read, trying again");
            client
                .inner
                .metadata
                .borrow_mut()
                .handle_describe_failure(&request);
            for resource in &request.resources {
                client.want(&resource.resource_name, false);
            }
        }
    }
}

fn hand_out(client: &Client, seen: &[String]) {
    let now = runtime::now();
    for name in seen {
        let Some(topic) = client.topic(name) else {
            continue;
        };
        let mut producer = client.inner.producer.borrow_mut();
        if let Some(policy) = &topic.policy {
            producer.handle_batch_bytes_max(name, policy.batch_bytes_max);
        }
        match topic.error {
            Some(error) => producer.handle_metadata(name, Err(error), now),
            None => producer.handle_metadata(name, Ok(&topic.leaders), now),
        }
        // Records wait for a topic that does not exist yet: somebody may be creating it.
        if producer
            .unknown_topics()
            .any(|unknown| unknown.as_str() == name)
        {
            client.inner.metadata.borrow_mut().want(name, true);
        }
    }
    client.drain_producer();
    for notify in client.inner.changed.borrow().iter() {
        notify.notify();
    }
}
