//! Building the plan from linked bindings: bottom up, each shared thing once.
//!
//! Follows exits, finds each topic's way to a cluster. Its one rule: a binding that is a mistake is left out, not guessed;
//! the plan is used only when there are no mistakes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::link::{Graph, Linked};
use super::mistake::{At, Report};
use super::plan::{
    AccessControl, Cluster, HttpExit, HttpKafka, HttpKafkaRoute, HttpRoute, HttpServer,
    HttpVersions, Listener, ListenerExit, ListenerRoute, ListenerWhen, With,
};
use super::shape::{self, Binding, Exit, KafkaClient, Kind, TopicRoute};
use crate::route::Template;

/// Builds listeners and clusters of the bindings that are `reached`; a topic without a way to a cluster is a mistake in the
/// others, too.
pub(super) fn build(graph: &Graph, reached: &BTreeSet<usize>, report: &mut Report) -> Linked {
    let builder = Builder {
        graph,
        clusters: Vec::new(),
        keys: Vec::new(),
        proxies: BTreeMap::new(),
        route_count: 0,
    };
    builder.build(reached, report)
}

/// Why a topic has no way to a cluster.
enum NoWay {
    /// An exit on the way is a mistake, reported elsewhere.
    Broken,
    /// No route of this binding takes the topic.
    NoRoute(String),
    /// Routes of this binding depend on the topic, which is known per request only.
    Unknown(String),
}

/// Builds the plan's types bottom up; shares what several exits lead to.
struct Builder<'g> {
    graph: &'g Graph,
    clusters: Vec<Cluster>,
    /// The kafka client and tcp client that each cluster stands for.
    keys: Vec<(usize, usize)>,
    proxies: BTreeMap<usize, Arc<HttpKafka>>,
    route_count: usize,
}

impl<'g> Builder<'g> {
    fn build(mut self, reached: &BTreeSet<usize>, report: &mut Report) -> Linked {
        let graph = self.graph;
        for index in reached {
            self.build_proxy(*index, report);
        }
        let mut added = BTreeSet::new();
        for index in reached {
            for (cluster, topic) in self.bootstrap(*index, report) {
                if added.insert((cluster, topic)) {
                    self.clusters[cluster].bootstrap.push(topic.to_owned());
                }
            }
        }
        // The rest is built for its mistakes only: no cluster is started for what no request can reach.
        let started = self.clusters.len();
        for index in (0..graph.bindings.len()).filter(|index| !reached.contains(index)) {
            self.build_proxy(index, report);
            self.bootstrap(index, report);
        }
        self.clusters.truncate(started);
        let mut servers: BTreeMap<usize, Arc<HttpServer>> = BTreeMap::new();
        for index in 0..graph.bindings.len() {
            servers.extend(
                self.http_server(index, servers.len())
                    .map(|server| (index, Arc::new(server))),
            );
        }
        let listeners = graph
            .bindings
            .iter()
            .filter_map(|binding| self.listener(binding, &servers))
            .collect();
        Linked {
            listeners,
            clusters: self.clusters,
        }
    }

    fn build_proxy(&mut self, index: usize, report: &mut Report) {
        let graph = self.graph;
        let binding = &graph.bindings[index];
        let Kind::HttpKafka(proxy) = &binding.kind else {
            return;
        };
        let routes = proxy.routes.iter();
        let routes = routes
            .filter_map(|route| self.mapping_route(binding, route, report))
            .collect();
        let proxy = HttpKafka {
            namespace: binding.namespace.clone(),
            name: binding.name.clone(),
            idempotency_header: proxy.idempotency_header.clone(),
            timeout: proxy.timeout,
            correlation: proxy.correlation.clone(),
            wait_max: proxy.wait_max,
            horizon: proxy.horizon,
            routes,
        };
        self.proxies.insert(index, Arc::new(proxy));
    }

    fn mapping_route(
        &mut self,
        binding: &Binding,
        route: &shape::HttpKafkaRoute,
        report: &mut Report,
    ) -> Option<HttpKafkaRoute> {
        let with = route.with.as_ref()?;
        let next = self.graph.target(binding, route.exit.as_ref()?)?;
        let cluster = self.cluster_for(next, with.topic(), &route.topic_at, report);
        if let With::Produce {
            reply: Some(reply), ..
        } = with
        {
            let of_reply = self.cluster_for(next, &reply.topic, &route.reply_at, report)?;
            if cluster.is_some_and(|cluster| cluster != of_reply) {
                let (at, path) = &route.reply_at;
                let message = "a reply from another cluster is not supported yet";
                report.mistake(*at, path.as_str(), message);
            }
        }
        let number = self.route_count;
        self.route_count += 1;
        Some(HttpKafkaRoute {
            number,
            guarded: Vec::new(),
            when: route.when.clone(),
            with: with.clone(),
            cluster: cluster?,
        })
    }

    /// The cluster of the topic that stands at `topic_at`; without a way to one that is a mistake there.
    fn cluster_for(
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
        // A way has at most as many steps as there are kinds; a circle is a mistake, reported elsewhere.
        for _ in 0..4 {
            let binding = &graph.bindings[index];
            let (routes, client) = match &binding.kind {
                Kind::CacheClient { routes } | Kind::CacheServer { routes, .. } => (routes, None),
                Kind::KafkaClient(client) => (&client.routes, Some(client)),
                Kind::TcpServer(_)
                | Kind::TcpClient { .. }
                | Kind::HttpServer(_)
                | Kind::HttpKafka(_)
                | Kind::Refused => return Err(NoWay::Broken),
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
    fn bootstrap(&mut self, index: usize, report: &mut Report) -> Vec<(usize, &'g str)> {
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

    fn http_server(&self, index: usize, number: usize) -> Option<HttpServer> {
        let binding = &self.graph.bindings[index];
        let Kind::HttpServer(server) = &binding.kind else {
            return None;
        };
        let route = |route: &shape::HttpRoute| {
            let next = self.graph.target(binding, route.exit.as_ref()?)?;
            let exit = HttpExit::Kafka(Arc::clone(self.proxies.get(&next)?));
            Some(HttpRoute {
                guarded: Vec::new(),
                when: route.when.clone(),
                overrides: route.overrides.clone(),
                exit,
            })
        };
        Some(HttpServer {
            namespace: binding.namespace.clone(),
            name: binding.name.clone(),
            overrides: server.overrides.clone(),
            number,
            metrics: binding.metrics,
            versions: HttpVersions::Http11,
            authorization: None,
            access_control: AccessControl::SameOrigin,
            limits: server.limits,
            routes: server.routes.iter().filter_map(route).collect(),
        })
    }

    fn listener(
        &self,
        binding: &Binding,
        servers: &BTreeMap<usize, Arc<HttpServer>>,
    ) -> Option<Listener> {
        let Kind::TcpServer(server) = &binding.kind else {
            return None;
        };
        let route = |route: &shape::TcpRoute| {
            let next = self.graph.target(binding, route.exit.as_ref()?)?;
            let when = route.when.iter();
            let when = when
                .map(|when| ListenerWhen {
                    ports: when.ports.clone(),
                    cidr: when.cidr,
                })
                .collect();
            Some(ListenerRoute {
                when,
                exit: ListenerExit::Http(Arc::clone(servers.get(&next)?)),
            })
        };
        Some(Listener {
            namespace: binding.namespace.clone(),
            name: binding.name.clone(),
            host: server.host.clone(),
            ports: server.ports.clone(),
            metrics: binding.metrics,
            routes: server.routes.iter().filter_map(route).collect(),
        })
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
