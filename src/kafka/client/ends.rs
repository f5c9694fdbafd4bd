//! Where the partitions of a topic end, asked of their leaders (ListOffsets, KIP-79).

use std::collections::BTreeMap;
use std::time::Duration;

use super::Client;
use crate::clock::Instant;
use crate::kafka::error_code::ErrorCode;
use crate::kafka::fetcher::{LATEST, offsets_request};
use crate::runtime::notify::Notify;
use crate::runtime::{self, with_deadline};

const RETRY_INTERVAL: Duration = Duration::from_millis(100);

impl Client {
    /// The last stable offset of every partition of `topic`, none older than this call; tried again until `until`, then `None`.
    pub async fn end_offsets(&self, topic: &str, until: Instant) -> Option<Vec<i64>> {
        let changed = std::rc::Rc::new(Notify::default());
        let deadline = self.inner.deadlines.deadline();
        self.on_change(&changed);
        let ends = loop {
            let left = until.saturating_duration_since(runtime::now());
            if left.is_zero() {
                break None;
            }
            if let Some(ends) = self.end_offsets_once(topic, left).await {
                break Some(ends);
            }
            self.want(topic, false);
            let again = until.min(runtime::now() + RETRY_INTERVAL);
            let _ = with_deadline(&deadline, again, changed.notified()).await;
        };
        self.forget_change(&changed);
        ends
    }

    async fn end_offsets_once(&self, topic: &str, timeout: Duration) -> Option<Vec<i64>> {
        let leaders = self.topic(topic)?.leaders;
        let mut by_broker: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
        for (partition, leader) in (0..).zip(&leaders) {
            by_broker.entry((*leader)?).or_default().push(partition);
        }
        let mut ends = vec![None; leaders.len()];
        let questions = by_broker
            .into_iter()
            .map(|(broker, partitions)| self.ends_at(broker, topic, partitions, timeout));
        for answer in join_all(questions).await {
            for (partition, end) in answer? {
                *ends.get_mut(usize::try_from(partition).ok()?)? = Some(end);
            }
        }
        // A topic without partitions is one that is not known.
        ends.into_iter()
            .collect::<Option<Vec<i64>>>()
            .filter(|ends| !ends.is_empty())
    }

    async fn ends_at(
        &self,
        broker: i32,
        topic: &str,
        partitions: Vec<i32>,
        timeout: Duration,
    ) -> Option<Vec<(i32, i64)>> {
        let request = offsets_request(topic, partitions, LATEST);
        let response = self.lookup(broker, &request, timeout).await.ok()?;
        let answers = &response.topics.first()?.partitions;
        answers
            .iter()
            .map(|answer| {
                ErrorCode(answer.error_code)
                    .is_none()
                    .then_some((answer.partition_index, answer.offset))
            })
            .collect()
    }
}

/// Waits for all of them, side by side.
async fn join_all<F: Future>(futures: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut running: Vec<_> = futures.map(|future| (Box::pin(future), None)).collect();
    std::future::poll_fn(|context| {
        let mut is_pending = false;
        for (future, output) in running.iter_mut().filter(|(_, output)| output.is_none()) {
            match future.as_mut().poll(context) {
                std::task::Poll::Ready(ready) => *output = Some(ready),
                std::task::Poll::Pending => is_pending = true,
            }
        }
        if is_pending {
            std::task::Poll::Pending
        } else {
            std::task::Poll::Ready(())
        }
    })
    .await;
    running
        .into_iter()
        .filter_map(|(_, output)| output)
        .collect()
}
