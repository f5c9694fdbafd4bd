//! Each topic's way to a cluster.

use super::Builder;
use crate::config::mistake::{At, Report};
use crate::config::plan::Cluster;
use crate::config::reference::Exit;
use crate::config::shape::{KafkaClient, Kind, TopicRoute};
use crate::route::Template;

/// Why a topic has no way to a cluster.
enum NoWay {
    /// An exit on the way is a mistake, reported elsewhere.
    Broken,
    /// No route of this binding takes the topic.
    NoRoute(String),
    /// Routes of this binding depend on the topic, which is known per request only.
    Unknown(String),
}

impl<'g> Builder<'g> {
    /// The cluster of the topic that stands at `topic_at`; without a way to one that is a mistake there.
    pub(super) fn cluster_for(
        &mut self,
        next: usize,
        topic: &Template,
        (at, path): &(At, String),
        report: &mut Report,
    ) -> Option<usize> {
        match self.cluster(next, topic.as_literal()) {
            Ok(cluster) => Some(cluster),
            Err(reason) => {
                refuse(&reason, topic, (*at, path), report);
                None
            }
        }
    }

    /// The cluster that `topic` (`None`: known per request only) gets to from the kafka binding `from`.
    fn cluster(&mut self, from: usize, topic: Option<&str>) -> Result<usize, NoWay> {
        let graph = self.graph;
        let mut index = from;
        // A way has at most as many steps as there are kinds of kafka bindings; a circle is a mistake, reported elsewhere.
        for _ in 0..4 {
            let binding = &graph.bindings[index];
            let (routes, client) = match &binding.kind {
                Kind::CacheClient { routes } | Kind::CacheServer { routes, .. } => (routes, None),
                Kind::KafkaClient(client) => (&client.routes, Some(client)),
                _ => return Err(NoWay::Broken),
            };
            let exit = select(routes, topic, &binding.name)?;
            let next = graph.target(binding, exit).ok_or(NoWay::Broken)?;
            if let Some(client) = client {
                return self.cluster_of(index, client, next);
            }
            index = next;
        }
        Err(NoWay::Broken)
    }

    fn cluster_of(
        &mut self,
        index: usize,
        client: &KafkaClient,
        tcp: usize,
    ) -> Result<usize, NoWay> {
        if let Some(known) = self.keys.iter().position(|key| *key == (index, tcp)) {
            return Ok(known);
        }
        let Kind::TcpClient { connect_to } = &self.graph.bindings[tcp].kind else {
            return Err(NoWay::Broken);
        };
        let binding = &self.graph.bindings[index];
        self.keys.push((index, tcp));
        self.clusters.push(Cluster {
            namespace: binding.namespace.clone(),
            name: binding.name.clone(),
            servers: client.servers.clone(),
            bootstrap: Vec::new(),
            create: client.create.clone(),
            tcp_client: self.graph.bindings[tcp].full_name(),
            connect_to: connect_to.clone(),
        });
        Ok(self.clusters.len() - 1)
    }

    /// The topics that a `cache_server` reads from the start on, with their clusters.
    pub(super) fn bootstrap(&mut self, index: usize, report: &mut Report) -> Vec<(usize, &'g str)> {
        let graph = self.graph;
        let Kind::CacheServer { bootstrap, .. } = &graph.bindings[index].kind else {
            return Vec::new();
        };
        let mut topics = Vec::new();
        for entry in bootstrap {
            match self.cluster(index, Some(&entry.topic)) {
                Ok(cluster) => topics.push((cluster, entry.topic.as_str())),
                Err(NoWay::NoRoute(name)) => {
                    let message = format!("no route of `{name}` takes the topic `{}`", entry.topic);
                    report.mistake(entry.at, entry.path.as_str(), message);
                }
                Err(NoWay::Broken | NoWay::Unknown(_)) => {}
            }
        }
        topics
    }
}

/// The exit that `topic` takes: that of the first route without a condition or with one that matches.
fn select<'r>(
    routes: &'r [TopicRoute],
    topic: Option<&str>,
    name: &str,
) -> Result<&'r Exit, NoWay> {
    for route in routes {
        let taken = match topic {
            _ if route.when.is_empty() => true,
            Some(topic) => route
                .when
                .iter()
                .any(|pattern| pattern.matches(topic.as_bytes())),
            None => return Err(NoWay::Unknown(name.to_owned())),
        };
        if taken {
            return route.exit.as_ref().ok_or(NoWay::Broken);
        }
    }
    Err(if routes.is_empty() {
        NoWay::Broken
    } else {
        NoWay::NoRoute(name.to_owned())
    })
}

fn refuse(reason: &NoWay, topic: &Template, (at, path): (At, &str), report: &mut Report) {
    let message = match reason {
        NoWay::Broken => return,
        NoWay::NoRoute(name) => {
            let topic = topic.as_literal().unwrap_or_default();
            format!("no route of `{name}` takes the topic `{topic}`")
        }
        NoWay::Unknown(name) => {
            format!(
                "a topic with expressions is not supported yet where routes of `{name}` depend on the topic"
            )
        }
    };
    report.mistake(at, path, message);
}
