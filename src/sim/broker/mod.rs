//! The model cluster: which broker leads what, and what is asked of it.
//!
//! Sits at the far end of the fabric. Its one rule: it answers as Kafka does, and whatever it stores or loses is entered in the journal that the checker reads.

mod fetch;
mod metadata;
mod produce;

use std::collections::BTreeMap;
use std::time::Duration;

use super::event::{Request, Response};
use super::fabric::Fabric;
use super::log::Log;
use crate::clock::Instant;
use crate::kafka::error_code::ErrorCode;

/// What happened to a record in a log.
#[derive(Clone, Copy, Debug)]
pub(super) struct Change {
    pub(super) place: Place,
    pub(super) token: u64,
    /// Stored, or lost with a leader that had not copied it.
    pub(super) is_stored: bool,
}

/// Where a record stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) partition: i32,
    pub(super) offset: i64,
}

#[derive(Debug)]
pub(super) struct Cluster {
    pub(super) brokers: Vec<i32>,
    pub(super) topics: BTreeMap<&'static str, ModelTopic>,
    pub(super) journal: Vec<Change>,
    pub(super) duplicates: u64,
    /// The epoch new producers start at: near the end, so that it comes.
    pub(super) first_epoch: i16,
    /// Answers a duplicate with an error, as brokers before 1.1 do.
    pub(super) is_old: bool,
    last_producer_id: i64,
}

#[derive(Debug)]
pub(super) struct ModelTopic {
    pub(super) partitions: Vec<Partition>,
    pub(super) batch_bytes_max: usize,
    pub(super) exists: bool,
}

#[derive(Debug, Default)]
pub(super) struct Partition {
    pub(super) leader: Option<i32>,
    log: Log,
    /// What metadata says until the change has got round.
    announced: Option<i32>,
    announced_until: Instant,
}

impl Partition {
    fn lead(&mut self, leader: Option<i32>, announced_at: Instant) {
        self.announced = self.leader;
        self.announced_until = announced_at;
        self.leader = leader;
    }

    fn leader_as_told(&self, now: Instant) -> Option<i32> {
        if now < self.announced_until {
            self.announced
        } else {
            self.leader
        }
    }
}

impl Cluster {
    pub(super) fn new(broker_count: i32) -> Self {
        Self {
            brokers: (1..=broker_count).collect(),
            topics: BTreeMap::new(),
            journal: Vec::new(),
            duplicates: 0,
            first_epoch: 0,
            is_old: false,
            last_producer_id: 0,
        }
    }

    /// Creates a topic, its partitions spread over the brokers.
    pub(super) fn create(
        &mut self,
        name: &'static str,
        partition_count: usize,
        batch_bytes_max: usize,
        exists: bool,
    ) {
        let leaders = self.brokers.iter().cycle().skip(self.topics.len());
        let partition = |leader: &i32| Partition {
            leader: Some(*leader),
            ..Partition::default()
        };
        let partitions = leaders.take(partition_count).map(partition).collect();
        self.topics.insert(
            name,
            ModelTopic {
                partitions,
                batch_bytes_max,
                exists,
            },
        );
    }

    /// The log of a partition.
    pub(super) fn log(&self, topic: &str, partition: i32) -> Option<&Log> {
        let index = usize::try_from(partition).ok()?;
        self.topics
            .get(topic)?
            .partitions
            .get(index)
            .map(|partition| &partition.log)
    }

    /// Makes another broker, or none, the leader. It may lack the newest batches that nobody was promised.
    pub(super) fn move_leader(
        &mut self,
        topic: &'static str,
        index: usize,
        leader: Option<i32>,
        fabric: &mut Fabric,
    ) {
        let announced_at = fabric.now() + fabric.random.between(Duration::ZERO, NEWS_TRAVELS_MAX);
        let lost_count = fabric.random.pick(&[0, 0, 1, 2, usize::MAX]);
        let Some(partition) = self
            .topics
            .get_mut(topic)
            .and_then(|topic| topic.partitions.get_mut(index))
        else {
            return;
        };
        fabric.tell(|| {
            format!(
                "{topic}/{index} is led by {leader:?}, was {:?}",
                partition.leader
            )
        });
        partition.lead(leader, announced_at);
        let number = i32::try_from(index).expect("few partitions");
        for (offset, token) in partition.log.truncate(lost_count) {
            self.journal.push(Change {
                place: Place {
                    partition: number,
                    offset,
                },
                token,
                is_stored: false,
            });
        }
    }

    /// Executes a request: the answer, none when the connection is closed instead, and how long it takes.
    pub(super) fn execute(
        &mut self,
        broker: i32,
        request: &Request,
        fabric: &mut Fabric,
    ) -> (Option<Response>, Duration) {
        let response = match request {
            Request::Produce(call) => return self.produce(broker, call, fabric),
            Request::InitProducerId => Response::InitProducerId(self.init_producer_id(fabric)),
            Request::Metadata(request) => Response::Metadata(self.metadata(request, fabric.now())),
            Request::DescribeConfigs(request) => Response::DescribeConfigs(self.describe(request)),
            Request::Fetch {
                topic,
                partition,
                offset,
            } => {
                let asked = (*topic, *partition, *offset);
                let (response, wait) = self.fetch(broker, asked, fabric);
                return (Some(response), wait);
            }
            Request::EndOffsets { topic, partitions } => {
                self.end_offsets(broker, topic, partitions, fabric)
            }
        };
        (Some(response), Duration::ZERO)
    }

    fn init_producer_id(&mut self, fabric: &mut Fabric) -> Result<(i64, i16), ErrorCode> {
        if fabric.random.chance(fabric.faults.batch_refused) {
            return Err(ErrorCode::COORDINATOR_LOAD_IN_PROGRESS);
        }
        self.last_producer_id += 1;
        Ok((self.last_producer_id, self.first_epoch))
    }
}

/// A topic nobody may write to.
pub(super) const FORBIDDEN: &str = "forbidden";
const NEWS_TRAVELS_MAX: Duration = Duration::from_millis(400);
