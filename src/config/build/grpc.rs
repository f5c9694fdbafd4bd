//! gRPC: servers with their services, clients, and the mappings.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Builder;
use crate::config::catalog::read_text;
use crate::config::mistake::{At, Report};
use crate::config::plan::{
    Filter, GrpcClient, GrpcClientRoute, GrpcExit, GrpcKafka, GrpcKafkaRoute, GrpcKafkaWith,
    GrpcRoute, GrpcServer, HttpClient, HttpVersions, KafkaGrpc, KafkaGrpcRoute,
};
use crate::config::reference::Exit;
use crate::config::shape::{self, Binding, Kind};
use crate::grpc::proto::{ProtoFile, ProtoMistake, Services};
use crate::route::Template;

impl Builder<'_> {
    pub(super) fn grpc_client(
        &mut self,
        binding: &Binding,
        client: &shape::GrpcClient,
        report: &mut Report,
    ) -> GrpcClient {
        let routes = client.routes.iter().filter_map(|route| {
            let exit = route.exit.as_ref()?;
            let next = self.graph.target(binding, exit)?;
            let exit_to = self.calling_client(next)?;
            if exit_to.versions == HttpVersions::Http11 {
                let message = format!("calls need HTTP/2, and `{}` does not speak it", exit.name);
                report.mistake(exit.at, exit.path.as_str(), message);
            }
            Some(GrpcClientRoute {
                guarded: self.guarded(binding, &route.guarded),
                when: route.when.clone(),
                exit: exit_to,
            })
        });
        GrpcClient {
            namespace: binding.namespace.clone(),
            name: binding.name.clone(),
            routes: routes.collect(),
        }
    }

    /// The http client of a grpc client. Where nothing says which version it speaks, it is the one that calls need.
    fn calling_client(&mut self, index: usize) -> Option<Arc<HttpClient>> {
        let client = self.built.http_clients.get_mut(&index)?;
        if client.versions == HttpVersions::Both && client.tls.is_none() {
            *client = Arc::new(HttpClient {
                versions: HttpVersions::H2,
                ..(**client).clone()
            });
        }
        Some(Arc::clone(client))
    }

    pub(super) fn grpc_server(
        &mut self,
        binding: &Binding,
        server: &shape::GrpcServer,
        report: &mut Report,
    ) -> Option<GrpcServer> {
        let services = self.services(binding, server, report)?;
        let routes = server.routes.iter().filter_map(|route| {
            let next = self.graph.target(binding, route.exit.as_ref()?)?;
            Some(GrpcRoute {
                guarded: self.guarded(binding, &route.guarded),
                when: route.when.clone(),
                exit: self.grpc_exit(next)?,
            })
        });
        let routes = routes.collect();
        Some(GrpcServer {
            namespace: binding.namespace.clone(),
            name: binding.name.clone(),
            services: Arc::new(services),
            message_bytes_max: server.message_bytes_max,
            health: server.health,
            reflection: server.reflection,
            routes,
        })
    }

    fn grpc_exit(&self, next: usize) -> Option<GrpcExit> {
        let built = &self.built;
        let kafka = built.grpc_kafka.get(&next).cloned().map(GrpcExit::Kafka);
        kafka
            .or_else(|| {
                let client = built.grpc_clients.get(&next).cloned();
                client.map(GrpcExit::Client)
            })
            .or_else(|| built.echoes.get(&next).cloned().map(GrpcExit::Echo))
    }

    /// What the files of a server describe; what is wrong with them is a mistake where they are named.
    fn services(
        &self,
        binding: &Binding,
        server: &shape::GrpcServer,
        report: &mut Report,
    ) -> Option<Services> {
        let mut files = Vec::new();
        let mut places: BTreeMap<String, (At, String)> = BTreeMap::new();
        for wanted in server.catalog.iter().flatten() {
            let catalog = self.graph.catalog(binding, &wanted.catalog.name)?;
            let subject = catalog.find(&wanted.subject, report);
            files.push(subject.and_then(|subject| {
                places.insert(subject.name.clone(), subject.at.clone());
                Some(ProtoFile {
                    name: subject.name.clone(),
                    text: subject.text.clone()?,
                })
            }));
        }
        for wanted in &server.files {
            let (at, path) = &wanted.at;
            let text = read_text(&wanted.path, self.surroundings).map_err(|problem| {
                let message = format!("`{}` {problem}", wanted.path);
                report.mistake(*at, path.as_str(), message);
            });
            places.insert(wanted.path.clone(), wanted.at.clone());
            files.push(text.ok().map(|text| ProtoFile {
                name: wanted.path.clone(),
                text,
            }));
        }
        // Each of them is looked at before one that is missing ends it.
        let mut files: Vec<ProtoFile> = files.into_iter().collect::<Option<_>>()?;
        // Asked for twice, by two subjects or in both forms, a file is one.
        let mut seen = BTreeSet::new();
        files.retain(|file| seen.insert((file.name.clone(), file.text.clone())));
        let mistakes = match self.compile(&mut files, &mut places) {
            Ok(services) => return Some(services),
            Err(mistakes) => mistakes,
        };
        for mistake in mistakes {
            let (at, path) = places.get(&mistake.file).unwrap_or(&server.at);
            let message = format!(
                "{}:{}:{}: {}",
                mistake.file, mistake.line, mistake.column, mistake.message
            );
            report.mistake(*at, path.as_str(), message);
        }
        None
    }

    fn compile(
        &self,
        files: &mut [ProtoFile],
        places: &mut BTreeMap<String, (At, String)>,
    ) -> Result<Services, Vec<ProtoMistake>> {
        let folders: Vec<PathBuf> = files
            .iter()
            .filter_map(|file| Some(Path::new(&file.name).parent()?.to_owned()))
            .collect();
        let mut imported = BTreeMap::new();
        let compiled = Services::compile(files, &mut |name| {
            let (path, text) = self.import(&folders, name)?;
            imported.insert(path, name.to_owned());
            Some(text)
        });
        let mut is_renamed = false;
        for file in &mut *files {
            let Some(name) = imported.get(&file.name) else {
                continue;
            };
            if let Some(place) = places.remove(&file.name) {
                places.insert(name.clone(), place);
            }
            file.name.clone_from(name);
            is_renamed = true;
        }
        if !is_renamed {
            return compiled;
        }
        // A file that is asked for by its path and imported from beside it is one file: the name that the import has is the one that both can have.
        Services::compile(files, &mut |name| {
            self.import(&folders, name).map(|(_, text)| text)
        })
    }

    /// An import is looked for from where the configuration is, and from where the files are that the configuration names.
    fn import(&self, folders: &[PathBuf], name: &str) -> Option<(String, String)> {
        let beside = folders.iter().map(|folder| folder.join(name));
        let mut candidates = std::iter::once(PathBuf::from(name)).chain(beside);
        candidates.find_map(|path| {
            let path = path.to_str()?;
            let text = read_text(path, self.surroundings).ok()?;
            Some((path.to_owned(), text))
        })
    }

    pub(super) fn grpc_kafka(
        &mut self,
        binding: &Binding,
        proxy: &shape::GrpcKafka,
        report: &mut Report,
    ) -> GrpcKafka {
        let routes = proxy.routes.iter();
        let routes = routes
            .filter_map(|route| self.grpc_kafka_route(binding, route, report))
            .collect();
        GrpcKafka {
            namespace: binding.namespace.clone(),
            name: binding.name.clone(),
            reliability_field: proxy.reliability_field,
            reliability_metadata: proxy.reliability_metadata.clone(),
            idempotency_metadata: proxy.idempotency_metadata.clone(),
            correlation: proxy.correlation.clone(),
            timeout: proxy.timeout,
            horizon: proxy.horizon,
            routes,
        }
    }

    fn grpc_kafka_route(
        &mut self,
        binding: &Binding,
        route: &shape::GrpcKafkaRoute,
        report: &mut Report,
    ) -> Option<GrpcKafkaRoute> {
        let mut with = route.with.clone()?;
        let next = self.graph.target(binding, route.exit.as_ref()?)?;
        let (GrpcKafkaWith::Produce { topic, .. } | GrpcKafkaWith::Fetch { topic, .. }) = &with;
        let cluster = self.cluster_for(next, &Template::literal(topic), &route.topic_at, report)?;
        match &mut with {
            GrpcKafkaWith::Produce {
                key,
                overrides,
                reply_to,
                ..
            } => {
                if let Some(reply_to) = reply_to {
                    let reply_to = Template::literal(reply_to);
                    let of_reply = self.cluster_for(next, &reply_to, &route.reply_at, report)?;
                    check_one_cluster((cluster, of_reply), &route.reply_at, report);
                }
                let values = overrides.iter_mut().map(|(_, template)| template);
                for template in key.iter_mut().chain(values) {
                    self.resolve(binding, template);
                }
            }
            GrpcKafkaWith::Fetch { filters, .. } => {
                for template in filters.iter_mut().flat_map(Filter::templates_mut) {
                    self.resolve(binding, template);
                }
            }
        }
        Some(GrpcKafkaRoute {
            number: self.next_route_number(),
            guarded: self.guarded(binding, &route.guarded),
            when: route.when.clone(),
            with,
            cluster,
        })
    }

    pub(super) fn remote_server(
        &mut self,
        binding: &Binding,
        server: &shape::KafkaGrpc,
        report: &mut Report,
    ) -> Option<KafkaGrpc> {
        let entry = server.entry.as_ref()?;
        let next = self.graph.target(binding, entry)?;
        match &self.graph.bindings[next].kind {
            Kind::CacheClient { .. } => {}
            Kind::GrpcClient(_) => {
                return refused(entry, "an entry leads to a kafka cache_client", report);
            }
            _ => return None, // a mistake, reported elsewhere
        }
        let mut routes = Vec::new();
        let mut found = None;
        for route in &server.routes {
            let exit = route.exit.as_ref()?;
            let client = self.graph.target(binding, exit)?;
            if let Kind::CacheClient { .. } = &self.graph.bindings[client].kind {
                return refused(exit, "a route leads to a grpc client", report);
            }
            let client = Arc::clone(self.built.grpc_clients.get(&client)?);
            for (when, [topic_at, reply_at]) in route.when.iter().zip(&route.topics_at) {
                for (topic, at) in [(&when.topic, topic_at), (&when.reply_to, reply_at)] {
                    let of_topic = self.cluster_for(next, &Template::literal(topic), at, report)?;
                    let cluster = *found.get_or_insert(of_topic);
                    check_one_cluster((cluster, of_topic), at, report);
                }
            }
            routes.push(KafkaGrpcRoute {
                when: route.when.clone(),
                scheme: route.scheme,
                authority: route.authority.clone(),
                exit: client,
            });
        }
        Some(KafkaGrpc {
            namespace: binding.namespace.clone(),
            name: binding.name.clone(),
            acks: server.acks,
            idempotency_metadata: server.idempotency_metadata.clone(),
            correlation: server.correlation.clone(),
            timeout: server.timeout,
            horizon: server.horizon,
            session_timeout: server.session_timeout,
            window: server.window,
            routes,
            cluster: found?,
        })
    }
}

fn refused<T>(exit: &Exit, message: &str, report: &mut Report) -> Option<T> {
    report.mistake(exit.at, exit.path.as_str(), message);
    None
}

fn check_one_cluster((one, other): (usize, usize), (at, path): &(At, String), report: &mut Report) {
    if one != other {
        let message = "a topic of another cluster is not supported yet here";
        report.mistake(*at, path.as_str(), message);
    }
}
