//! Building the plan from linked bindings: bottom up, each shared thing once.
//!
//! Follows exits, finds each topic's way to a cluster and what vaults hold. Its one rule: a binding that is a mistake is left
//! out, not guessed; the plan is used only when there are no mistakes.

mod clients;
mod grpc;
mod kafka;
mod mapping;
mod servers;
mod tls;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Surroundings;
use super::guarded;
use super::link::{Graph, Linked};
use super::mistake::Report;
use super::plan::{
    Cluster, EchoServer, FilesystemServer, GrpcClient, GrpcKafka, GrpcServer, Guard, Guarded,
    HttpClient, HttpFilesystem, HttpKafka, HttpServer, KafkaGrpc, SseKafka, SseServer, TlsClient,
    TlsServer,
};
use super::shape::{Binding, Kind};

/// Builds listeners, clusters and guards of the bindings that are `reached`; a topic without a way to a cluster or an alias
/// that no store has is a mistake in the others, too.
pub(super) fn build(
    graph: &Graph,
    reached: &BTreeSet<usize>,
    surroundings: &Surroundings<'_>,
    report: &mut Report,
) -> Linked {
    let mut builder = Builder {
        graph,
        surroundings,
        clusters: Vec::new(),
        keys: Vec::new(),
        guards: Vec::new(),
        built: Built::default(),
        route_count: 0,
    };
    builder.build(reached, report);
    builder.add_bootstraps(reached, report);
    let (clusters, guards) = (builder.clusters.len(), builder.guards.len());
    let http_clients = builder.http_clients();
    let remote_servers = builder.built.remote_servers.values().cloned().collect();
    // The rest is built for its mistakes only: nothing is started for what no request can reach.
    let others = (0..graph.bindings.len()).filter(|index| !reached.contains(index));
    let others: BTreeSet<usize> = others.collect();
    builder.build(&others, report);
    for index in others {
        builder.bootstrap(index, report);
    }
    builder.clusters.truncate(clusters);
    builder.guards.truncate(guards);
    Linked {
        listeners: builder.listeners(),
        clusters: builder.clusters,
        guards: builder
            .guards
            .iter()
            .filter_map(|index| guard_of(graph, *index))
            .collect(),
        http_clients,
        remote_servers,
    }
}

fn guard_of(graph: &Graph, index: usize) -> Option<Guard> {
    let guard = &graph.guards[index];
    Some(Guard {
        namespace: guard.namespace.clone(),
        name: guard.name.clone(),
        kind: guard.kind.clone()?,
    })
}

/// Builds the plan's types bottom up; shares what several exits lead to.
struct Builder<'g> {
    graph: &'g Graph,
    surroundings: &'g Surroundings<'g>,
    clusters: Vec<Cluster>,
    /// The kafka client and tcp client that each cluster stands for.
    keys: Vec<(usize, usize)>,
    /// The place in the graph of each guard of the plan, in the order in which they are first named.
    guards: Vec<usize>,
    built: Built,
    route_count: usize,
}

/// What is built, by the place of its binding.
#[derive(Default)]
struct Built {
    http_kafka: BTreeMap<usize, Arc<HttpKafka>>,
    sse_kafka: BTreeMap<usize, Arc<SseKafka>>,
    filesystems: BTreeMap<usize, Arc<FilesystemServer>>,
    echoes: BTreeMap<usize, Arc<EchoServer>>,
    tls_clients: BTreeMap<usize, Arc<TlsClient>>,
    http_clients: BTreeMap<usize, Arc<HttpClient>>,
    grpc_clients: BTreeMap<usize, Arc<GrpcClient>>,
    grpc_kafka: BTreeMap<usize, Arc<GrpcKafka>>,
    grpc_servers: BTreeMap<usize, Arc<GrpcServer>>,
    remote_servers: BTreeMap<usize, Arc<KafkaGrpc>>,
    sse: BTreeMap<usize, Arc<SseServer>>,
    http_filesystems: BTreeMap<usize, Arc<HttpFilesystem>>,
    http: BTreeMap<usize, Arc<HttpServer>>,
    tls: BTreeMap<usize, Arc<TlsServer>>,
}

impl Builder<'_> {
    fn build(&mut self, wanted: &BTreeSet<usize>, report: &mut Report) {
        // From the ends of the exits to their beginnings: what an exit leads to is built before.
        for stage in [
            Self::build_ends,
            Self::build_http_clients,
            Self::build_grpc_clients,
            Self::build_middle,
            Self::build_http,
            Self::build_tls,
        ] {
            for index in wanted {
                stage(self, *index, report);
            }
        }
    }

    /// Adds the topics that `wanted` bindings read from the start on to their clusters.
    fn add_bootstraps(&mut self, wanted: &BTreeSet<usize>, report: &mut Report) {
        let mut added = BTreeSet::new();
        for index in wanted {
            for (cluster, topic) in self.bootstrap(*index, report) {
                if added.insert((cluster, topic)) {
                    self.clusters[cluster].bootstrap.push(topic.to_owned());
                }
            }
        }
    }

    fn build_ends(&mut self, index: usize, report: &mut Report) {
        let graph = self.graph;
        let binding = &graph.bindings[index];
        match &binding.kind {
            Kind::HttpKafka(proxy) => {
                let proxy = self.http_kafka(binding, proxy, report);
                self.built.http_kafka.insert(index, Arc::new(proxy));
            }
            Kind::GrpcKafka(proxy) => {
                let proxy = self.grpc_kafka(binding, proxy, report);
                self.built.grpc_kafka.insert(index, Arc::new(proxy));
            }
            Kind::TlsClient(client) => {
                let client = tls::client(graph, binding, client, report);
                let client = client.map(|client| (index, Arc::new(client)));
                self.built.tls_clients.extend(client);
            }
            Kind::SseKafka { routes } => {
                let proxy = self.sse_kafka(binding, routes, report);
                self.built.sse_kafka.insert(index, Arc::new(proxy));
            }
            Kind::Filesystem {
                location,
                follows_links,
            } => {
                let server = FilesystemServer {
                    namespace: binding.namespace.clone(),
                    name: binding.name.clone(),
                    location: self.surroundings.directory.join(location),
                    follows_links: *follows_links,
                };
                self.built.filesystems.insert(index, Arc::new(server));
            }
            Kind::Echo => {
                let server = EchoServer {
                    namespace: binding.namespace.clone(),
                    name: binding.name.clone(),
                    metrics: binding.metrics,
                };
                self.built.echoes.insert(index, Arc::new(server));
            }
            _ => {}
        }
    }

    fn build_http_clients(&mut self, index: usize, report: &mut Report) {
        let graph = self.graph;
        let binding = &graph.bindings[index];
        if let Kind::HttpClient(client) = &binding.kind {
            let client = self.http_client(binding, client, report);
            let client = client.map(|client| (index, Arc::new(client)));
            self.built.http_clients.extend(client);
        }
    }

    fn build_grpc_clients(&mut self, index: usize, report: &mut Report) {
        let graph = self.graph;
        let binding = &graph.bindings[index];
        if let Kind::GrpcClient(client) = &binding.kind {
            let client = self.grpc_client(binding, client, report);
            self.built.grpc_clients.insert(index, Arc::new(client));
        }
    }

    fn build_middle(&mut self, index: usize, report: &mut Report) {
        let graph = self.graph;
        let binding = &graph.bindings[index];
        match &binding.kind {
            Kind::Sse(server) => {
                let server = self.sse_server(binding, server);
                self.built.sse.insert(index, Arc::new(server));
            }
            Kind::HttpFilesystem { routes } => {
                let proxy = self.http_filesystem(binding, routes);
                self.built.http_filesystems.insert(index, Arc::new(proxy));
            }
            Kind::GrpcServer(server) => {
                let server = self.grpc_server(binding, server, report);
                let server = server.map(|server| (index, Arc::new(server)));
                self.built.grpc_servers.extend(server);
            }
            Kind::KafkaGrpc(server) => {
                let server = self.remote_server(binding, server, report);
                let server = server.map(|server| (index, Arc::new(server)));
                self.built.remote_servers.extend(server);
            }
            _ => {}
        }
    }

    fn build_http(&mut self, index: usize, _: &mut Report) {
        let graph = self.graph;
        let binding = &graph.bindings[index];
        if let Kind::HttpServer(server) = &binding.kind {
            let server = self.http_server(binding, server);
            self.built.http.insert(index, Arc::new(server));
        }
    }

    fn build_tls(&mut self, index: usize, report: &mut Report) {
        let graph = self.graph;
        let binding = &graph.bindings[index];
        if let Kind::TlsServer(server) = &binding.kind {
            let server = self.tls_server(binding, server, report);
            self.built
                .tls
                .extend(server.map(|server| (index, Arc::new(server))));
        }
    }

    /// The place in the plan of the guard that `binding` calls `name`; an unknown one is a mistake, reported elsewhere.
    fn guard(&mut self, binding: &Binding, name: &str) -> Option<usize> {
        let found = self.graph.guard(binding, name)?;
        let known = self.guards.iter().position(|index| *index == found);
        Some(known.unwrap_or_else(|| {
            self.guards.push(found);
            self.guards.len() - 1
        }))
    }

    fn guarded(&mut self, binding: &Binding, guarded: &[guarded::Guarded]) -> Vec<Guarded> {
        let resolved = guarded.iter().filter_map(|asked| {
            Some(Guarded {
                guard: self.guard(binding, &asked.guard.name)?,
                roles: asked.roles.clone(),
            })
        });
        resolved.collect()
    }
}
