//! Who leads what, and how topics are configured: the picture one core has of its cluster. Sans-IO.
//!
//! Names are asked for when somebody wants them, when a broker says that the picture is old, and when they are five minutes old.
//! Rule: an error or a missing answer never erases what was known; it only says so.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{
    DescribeConfigsRequest, DescribeConfigsResponse, MetadataRequest, MetadataResponse, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use super::cache::Policy;
use super::error_code::ErrorCode;
use crate::clock::Instant;

/// How old a topic's metadata may get.
const AGE_MAX: Duration = Duration::from_secs(300);
/// The least time between two requests.
const INTERVAL_MIN: Duration = Duration::from_millis(100);
/// The kind of resource that DescribeConfigs calls a topic.
const RESOURCE_TOPIC: i8 = 2;

/// A broker's address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broker {
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
}

/// What of a topic's configuration changes what we do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicPolicy {
    /// `cleanup.policy` has `compact`: only the newest record of a key counts.
    pub compact: bool,
    /// `cleanup.policy` has `delete`: old records go.
    pub delete: bool,
    /// `max.message.bytes`: the largest record batch.
    pub batch_bytes_max: usize,
    /// `delete.retention.ms`: how long a tombstone can be seen.
    pub delete_retention: Duration,
}

impl Default for TopicPolicy {
    /// Kafka's own defaults; also what is assumed without the DescribeConfigs ACL.
    fn default() -> Self {
        Self {
            compact: false,
            delete: true,
            batch_bytes_max: 1_048_588,
            delete_retention: Duration::from_secs(86_400),
        }
    }
}

impl TopicPolicy {
    /// What goes from the topic, as the cache has it.
    pub const fn cleanup(&self) -> Policy {
        Policy {
            compact: self.compact,
            delete: self.delete,
        }
    }
}

/// What is known of a topic.
#[derive(Clone, Debug, Default)]
pub struct Topic {
    /// Its id, nil while no broker has given one: another one means that it was deleted and created again.
    pub id: Uuid,
    /// The leader of each partition; empty while the topic is not known.
    pub leaders: Vec<Option<i32>>,
    /// What the broker said last, if not the leaders.
    pub error: Option<ErrorCode>,
    /// Its configuration, once described.
    pub policy: Option<TopicPolicy>,
    asked_at: Option<Instant>,
    create: bool,
}

/// The cluster as one core sees it.
#[derive(Debug, Default)]
pub struct Metadata {
    brokers: BTreeMap<i32, Broker>,
    topics: HashMap<String, Topic>,
    wanted: BTreeSet<String>,
    undescribed: BTreeSet<String>,
    /// Topics that are created by a request of ours, with a configuration of their own, and by no broker that is asked for them.
    never_created: BTreeSet<String>,
    last_request: Option<Instant>,
}

impl Metadata {
    /// Asks for a topic as soon as may be. With `create`, a broker that creates topics by itself may do so.
    pub fn want(&mut self, name: &str, create: bool) {
        let topic = self.topics.entry(name.to_owned()).or_default();
        topic.create |= create && !self.never_created.contains(name);
        if !self.wanted.contains(name) {
            self.wanted.insert(name.to_owned());
        }
    }

    /// No broker is to create these when they are asked for.
    pub fn never_create(&mut self, names: impl IntoIterator<Item = String>) {
        self.never_created.extend(names);
    }

    /// What is known of a topic.
    pub fn topic(&self, name: &str) -> Option<&Topic> {
        self.topics.get(name)
    }

    /// A broker's address.
    pub fn broker(&self, id: i32) -> Option<&Broker> {
        self.brokers.get(&id)
    }

    /// All brokers.
    pub fn brokers(&self) -> impl Iterator<Item = (i32, &Broker)> {
        self.brokers.iter().map(|(id, broker)| (*id, broker))
    }

    /// The leader of a partition.
    pub fn leader(&self, topic: &str, partition: i32) -> Option<i32> {
        let index = usize::try_from(partition).ok()?;
        self.topics
            .get(topic)?
            .leaders
            .get(index)
            .copied()
            .flatten()
    }

    /// When to ask next; `None` when nothing is wanted and nothing ages.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let soonest = self
            .last_request
            .map_or(Instant::ZERO, |last| last + INTERVAL_MIN);
        if !self.wanted.is_empty() {
            return Some(soonest);
        }
        self.topics
            .values()
            .filter_map(|topic| topic.asked_at)
            .min()
            .map(|asked| (asked + AGE_MAX).max(soonest))
    }

    /// The request that is due: all wanted topics, and all aged ones.
    pub fn poll_request(&mut self, now: Instant) -> Option<MetadataRequest> {
        if self.poll_timeout().is_none_or(|at| at > now) {
            return None;
        }
        let mut names = std::mem::take(&mut self.wanted);
        let aged = self
            .topics
            .iter()
            .filter(|(_, topic)| topic.asked_at.is_some_and(|asked| asked + AGE_MAX <= now));
        names.extend(aged.map(|(name, _)| name.clone()));
        // A request is for topics that may be created or for such that may not; the others go with the next one, at once.
        let may_create = |name: &String| self.topics.get(name).is_some_and(|topic| topic.create);
        let create = names.iter().any(may_create);
        if create {
            let (asked, others) = names.into_iter().partition(may_create);
            (names, self.wanted) = (asked, others);
        }
        if self.wanted.is_empty() {
            self.last_request = Some(now);
        }
        for name in &names {
            if let Some(topic) = self.topics.get_mut(name) {
                topic.asked_at = Some(now);
            }
        }
        let topics = names
            .into_iter()
            .map(|name| MetadataRequestTopic::default().with_name(Some(topic_name(&name))))
            .collect();
        Some(
            MetadataRequest::default()
                .with_topics(Some(topics))
                .with_allow_auto_topic_creation(create),
        )
    }

    /// Takes an answer; returns the topics it speaks of. Those in error are wanted again.
    pub fn handle_response(&mut self, response: &MetadataResponse) -> Vec<String> {
        for broker in &response.brokers {
            if let Ok(port) = u16::try_from(broker.port) {
                self.brokers.insert(
                    broker.node_id.0,
                    Broker {
                        host: broker.host.to_string(),
                        port,
                    },
                );
            }
        }
        let mut seen = Vec::new();
        for answer in &response.topics {
            let Some(name) = answer.name.as_ref().map(|name| name.0.to_string()) else {
                continue;
            };
            let topic = self.topics.entry(name.clone()).or_default();
            let error = ErrorCode(answer.error_code);
            if error.is_none() && !answer.partitions.is_empty() {
                // Brokers before 2.8 give no id, and while they are upgraded not all do.
                if !answer.topic_id.is_nil() {
                    if !topic.id.is_nil() && topic.id != answer.topic_id {
                        // Another topic of the same name: what was described is not its configuration.
                        topic.policy = None;
                    }
                    topic.id = answer.topic_id;
                }
                if topic.policy.is_none() {
                    self.undescribed.insert(name.clone());
                }
                topic.error = None;
                topic.leaders = leaders(answer);
                if topic.leaders.contains(&None) {
                    self.wanted.insert(name.clone());
                }
            } else {
                topic.error = Some(error);
                if error.is_retriable() && error != ErrorCode::UNKNOWN_TOPIC_OR_PARTITION {
                    self.wanted.insert(name.clone());
                }
            }
            seen.push(name);
        }
        seen
    }

    /// The request could not be made: its topics are still wanted.
    pub fn handle_failure(&mut self, request: &MetadataRequest) {
        let names = request
            .topics
            .iter()
            .flatten()
            .filter_map(|topic| topic.name.as_ref());
        self.wanted.extend(names.map(|name| name.0.to_string()));
    }

    /// The configurations to ask for.
    pub fn poll_describe(&mut self) -> Option<DescribeConfigsRequest> {
        let names = std::mem::take(&mut self.undescribed);
        if names.is_empty() {
            return None;
        }
        let keys = ["cleanup.policy", "max.message.bytes", "delete.retention.ms"]
            .map(StrBytes::from_static_str)
            .to_vec();
        let resources = names.into_iter().map(|name| {
            DescribeConfigsResource::default()
                .with_resource_type(RESOURCE_TOPIC)
                .with_resource_name(StrBytes::from_string(name))
                .with_configuration_keys(Some(keys.clone()))
        });
        Some(DescribeConfigsRequest::default().with_resources(resources.collect()))
    }

    /// Takes the configurations; returns the topics and, where the broker refused, its reason (the defaults are assumed then).
    pub fn handle_described(
        &mut self,
        response: &DescribeConfigsResponse,
    ) -> Vec<(String, Option<ErrorCode>)> {
        let mut seen = Vec::new();
        for result in &response.results {
            let name = result.resource_name.to_string();
            let error = ErrorCode(result.error_code);
            if error.is_retriable() || error == ErrorCode::UNKNOWN_SERVER_ERROR {
                // Not known yet or no more: the metadata tell which, and lead here again.
                self.wanted.insert(name);
                continue;
            }
            let mut policy = TopicPolicy::default();
            for entry in &result.configs {
                apply_config(
                    &mut policy,
                    entry.name.as_str(),
                    entry.value.as_deref().unwrap_or_default(),
                );
            }
            if let Some(topic) = self.topics.get_mut(&name) {
                topic.policy = Some(policy);
            }
            seen.push((name, (!error.is_none()).then_some(error)));
        }
        seen
    }

    /// The broker tells nobody of configurations: Kafka's defaults are assumed.
    pub fn handle_undescribable(&mut self, request: &DescribeConfigsRequest) {
        for resource in &request.resources {
            if let Some(topic) = self.topics.get_mut(resource.resource_name.as_str()) {
                topic.policy.get_or_insert_default();
            }
        }
    }

    /// The configurations could not be had; the topics are asked for again.
    pub fn handle_describe_failure(&mut self, request: &DescribeConfigsRequest) {
        self.undescribed.extend(
            request
                .resources
                .iter()
                .map(|resource| resource.resource_name.to_string()),
        );
    }
}

/// A name as the protocol's types want it.
pub fn topic_name(name: &str) -> TopicName {
    TopicName(StrBytes::from_string(name.to_owned()))
}

fn leaders(
    answer: &kafka_protocol::messages::metadata_response::MetadataResponseTopic,
) -> Vec<Option<i32>> {
    let mut leaders = vec![None; answer.partitions.len()];
    for partition in &answer.partitions {
        let slot = usize::try_from(partition.partition_index)
            .ok()
            .and_then(|index| leaders.get_mut(index));
        if let Some(slot) = slot {
            *slot = (partition.leader_id.0 >= 0).then_some(partition.leader_id.0);
        }
    }
    leaders
}

fn apply_config(policy: &mut TopicPolicy, key: &str, value: &str) {
    match key {
        "cleanup.policy" => {
            policy.compact = value.split(',').any(|part| part.trim() == "compact");
            policy.delete = value.split(',').any(|part| part.trim() == "delete");
        }
        "max.message.bytes" => {
            policy.batch_bytes_max = value.parse().unwrap_or(policy.batch_bytes_max);
        }
        "delete.retention.ms" => {
            policy.delete_retention = value
                .parse()
                .map_or(policy.delete_retention, Duration::from_millis);
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kafka_protocol::messages::describe_configs_response::DescribeConfigsResult;
    use kafka_protocol::messages::metadata_response::{
        MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
    };

    fn at(millis: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(millis)
    }

    fn answer(name: &str, error: i16, partition_leaders: &[i32]) -> MetadataResponse {
        let partitions = (0..).zip(partition_leaders).map(|(index, leader)| {
            MetadataResponsePartition::default()
                .with_partition_index(index)
                .with_leader_id((*leader).into())
        });
        let topic = MetadataResponseTopic::default()
            .with_name(Some(topic_name(name)))
            .with_error_code(error)
            .with_partitions(partitions.collect());
        let broker = MetadataResponseBroker::default()
            .with_node_id(1.into())
            .with_host(StrBytes::from_static_str("b"))
            .with_port(9092);
        MetadataResponse::default()
            .with_topics(vec![topic])
            .with_brokers(vec![broker])
    }

    #[test]
    fn a_wanted_topic_is_asked_for_once_and_again_when_it_has_aged() {
        let mut metadata = Metadata::default();
        assert!(metadata.poll_request(at(0)).is_none());
        metadata.want("items", false);
        assert_eq!(
            metadata.poll_request(at(1)).unwrap().topics.unwrap().len(),
            1
        );
        assert!(metadata.poll_request(at(1_000)).is_none());
        assert_eq!(
            metadata.handle_response(&answer("items", 0, &[1, 1])),
            ["items"]
        );
        assert_eq!(metadata.leader("items", 1), Some(1));
        assert!(metadata.poll_request(at(200_000)).is_none());
        assert!(metadata.poll_request(at(300_001)).is_some());
    }

    #[test]
    fn an_error_keeps_the_old_picture_and_a_missing_leader_is_asked_for_again() {
        let mut metadata = Metadata::default();
        metadata.want("items", false);
        metadata.poll_request(at(1));
        metadata.handle_response(&answer("items", 0, &[1]));
        metadata.handle_response(&answer("items", 5, &[]));
        assert_eq!(metadata.leader("items", 0), Some(1));
        assert_eq!(
            metadata.topic("items").unwrap().error,
            Some(ErrorCode::LEADER_NOT_AVAILABLE)
        );
        assert!(
            metadata.poll_request(at(50)).is_none(),
            "not within the least interval"
        );
        assert!(metadata.poll_request(at(150)).is_some());
        metadata.handle_response(&answer("items", 0, &[-1]));
        assert_eq!(metadata.leader("items", 0), None);
        assert!(metadata.poll_request(at(300)).is_some());
    }

    #[test]
    fn a_failed_request_is_made_again() {
        let mut metadata = Metadata::default();
        metadata.want("items", true);
        let request = metadata.poll_request(at(1)).unwrap();
        assert!(request.allow_auto_topic_creation);
        metadata.handle_failure(&request);
        assert!(metadata.poll_request(at(200)).is_some());
    }

    #[test]
    fn another_topic_of_the_same_name_is_described_before_its_policy_is_known() {
        let described = || {
            let result = DescribeConfigsResult::default()
                .with_resource_name(StrBytes::from_static_str("items"));
            DescribeConfigsResponse::default().with_results(vec![result])
        };
        let mut metadata = Metadata::default();
        let mut created = answer("items", 0, &[1]);
        for id in [1, 2] {
            created.topics[0].topic_id = Uuid::from_u128(id);
            metadata.handle_response(&created);
            assert_eq!(metadata.leader("items", 0), Some(1));
            assert_eq!(metadata.topic("items").unwrap().policy, None);
            assert!(metadata.poll_describe().is_some());
            metadata.handle_described(&described());
            metadata.handle_response(&created);
            assert!(metadata.topic("items").unwrap().policy.is_some());
            assert!(metadata.poll_describe().is_none());
        }
    }

    #[test]
    fn a_broker_that_gives_no_id_speaks_of_the_same_topic() {
        let mut metadata = Metadata::default();
        let described = || {
            let result = DescribeConfigsResult::default()
                .with_resource_name(StrBytes::from_static_str("items"));
            DescribeConfigsResponse::default().with_results(vec![result])
        };
        let mut answer = answer("items", 0, &[1]);
        for id in [0, 1, 0, 1] {
            answer.topics[0].topic_id = Uuid::from_u128(id);
            metadata.handle_response(&answer);
            metadata.poll_describe();
            metadata.handle_described(&described());
            metadata.handle_response(&answer);
            assert!(metadata.poll_describe().is_none());
        }
        assert_eq!(metadata.topic("items").unwrap().id, Uuid::from_u128(1));
    }

    #[test]
    fn topics_that_a_broker_may_create_are_asked_for_apart() {
        let mut metadata = Metadata::default();
        metadata.never_create(["ours".to_owned()]);
        metadata.want("produced", true);
        metadata.want("ours", true);
        metadata.want("read", false);
        let asked = |metadata: &mut Metadata| {
            let request = metadata.poll_request(at(1)).unwrap();
            let topics = request.topics.unwrap_or_default().into_iter();
            let names: Vec<String> = topics
                .filter_map(|topic| Some(topic.name?.0.to_string()))
                .collect();
            (request.allow_auto_topic_creation, names)
        };
        assert_eq!(asked(&mut metadata), (true, vec!["produced".to_owned()]));
        let others = vec!["ours".to_owned(), "read".to_owned()];
        assert_eq!(asked(&mut metadata), (false, others));
        assert!(metadata.poll_request(at(50)).is_none());
    }

    #[test]
    fn a_configuration_that_cannot_be_had_yet_is_asked_for_again() {
        let refused = |error| {
            let result = DescribeConfigsResult::default()
                .with_resource_name(StrBytes::from_static_str("items"))
                .with_error_code(error);
            DescribeConfigsResponse::default().with_results(vec![result])
        };
        let mut metadata = Metadata::default();
        metadata.handle_response(&answer("items", 0, &[1]));
        assert!(metadata.poll_describe().is_some());
        assert!(metadata.handle_described(&refused(3)).is_empty());
        assert_eq!(metadata.topic("items").unwrap().policy, None);
        assert!(metadata.poll_request(at(1)).is_some());
        metadata.handle_response(&answer("items", 0, &[1]));
        assert!(metadata.poll_describe().is_some());
        // Not authorized: the defaults have to do.
        assert_eq!(metadata.handle_described(&refused(29)).len(), 1);
        assert!(metadata.topic("items").unwrap().policy.is_some());
    }

    #[test]
    fn a_topics_policy_is_read_from_its_configuration() {
        let mut policy = TopicPolicy::default();
        apply_config(&mut policy, "cleanup.policy", "compact, delete");
        apply_config(&mut policy, "max.message.bytes", "2097152");
        apply_config(&mut policy, "delete.retention.ms", "1000");
        apply_config(&mut policy, "max.message.bytes", "nonsense");
        let expected = TopicPolicy {
            compact: true,
            delete: true,
            batch_bytes_max: 2_097_152,
            delete_retention: Duration::from_secs(1),
        };
        assert_eq!(policy, expected);
    }
}
