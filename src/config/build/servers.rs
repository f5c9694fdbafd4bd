//! Listeners, and the servers and proxies of requests.

use std::sync::Arc;

use super::Builder;
use crate::config::plan::{
    HttpAuthorization, HttpExit, HttpFilesystem, HttpFilesystemRoute, HttpRoute, HttpServer,
    Listener, ListenerExit, ListenerRoute, ListenerWhen, SseRoute, SseServer,
};
use crate::config::shape::{self, Binding, Kind};

impl Builder<'_> {
    pub(super) fn sse_server(&mut self, binding: &Binding, server: &shape::SseServer) -> SseServer {
        let routes = server.routes.iter().filter_map(|route| {
            let next = self.graph.target(binding, route.exit.as_ref()?)?;
            Some(SseRoute {
                guarded: self.guarded(binding, &route.guarded),
                when: route.when.clone(),
                exit: Arc::clone(self.built.sse_kafka.get(&next)?),
            })
        });
        SseServer {
            namespace: binding.namespace.clone(),
            name: binding.name.clone(),
            retry: server.retry,
            heartbeat: server.heartbeat,
            routes: routes.collect(),
        }
    }

    pub(super) fn http_filesystem(
        &mut self,
        binding: &Binding,
        routes: &[shape::HttpFilesystemRoute],
    ) -> HttpFilesystem {
        let routes = routes.iter().filter_map(|route| {
            let next = self.graph.target(binding, route.exit.as_ref()?)?;
            Some(HttpFilesystemRoute {
                guarded: self.guarded(binding, &route.guarded),
                when: route.when.clone(),
                path: route.path.clone()?,
                exit: Arc::clone(self.built.filesystems.get(&next)?),
            })
        });
        HttpFilesystem {
            namespace: binding.namespace.clone(),
            name: binding.name.clone(),
            routes: routes.collect(),
        }
    }

    pub(super) fn http_server(
        &mut self,
        binding: &Binding,
        server: &shape::HttpServer,
    ) -> HttpServer {
        let authorization = server.authorization.as_ref().and_then(|asked| {
            Some(HttpAuthorization {
                guard: self.guard(binding, &asked.guard.name)?,
                cookies: asked.cookies.clone(),
                headers: asked.headers.clone(),
                query: asked.query.clone(),
            })
        });
        let routes = server.routes.iter().filter_map(|route| {
            let next = self.graph.target(binding, route.exit.as_ref()?)?;
            Some(HttpRoute {
                guarded: self.guarded(binding, &route.guarded),
                when: route.when.clone(),
                overrides: route.overrides.clone(),
                exit: self.http_exit(next)?,
            })
        });
        let routes = routes.collect();
        HttpServer {
            namespace: binding.namespace.clone(),
            name: binding.name.clone(),
            overrides: server.overrides.clone(),
            number: self.built.http.len(),
            metrics: binding.metrics,
            versions: server.versions,
            authorization,
            access_control: server.access_control.clone(),
            limits: server.limits,
            routes,
        }
    }

    fn http_exit(&self, next: usize) -> Option<HttpExit> {
        let built = &self.built;
        let kafka = built.http_kafka.get(&next).cloned().map(HttpExit::Kafka);
        kafka
            .or_else(|| built.sse.get(&next).cloned().map(HttpExit::Sse))
            .or_else(|| {
                let files = built.http_filesystems.get(&next).cloned();
                files.map(HttpExit::Filesystem)
            })
            .or_else(|| built.grpc_servers.get(&next).cloned().map(HttpExit::Grpc))
            .or_else(|| {
                let client = built.http_clients.get(&next).cloned();
                client.map(HttpExit::Client)
            })
            .or_else(|| built.echoes.get(&next).cloned().map(HttpExit::Echo))
    }

    pub(super) fn listeners(&self) -> Vec<Listener> {
        let listener = |binding: &Binding| {
            let Kind::TcpServer(server) = &binding.kind else {
                return None;
            };
            let routes = server.routes.iter();
            Some(Listener {
                namespace: binding.namespace.clone(),
                name: binding.name.clone(),
                host: server.host.clone(),
                ports: server.ports.clone(),
                metrics: binding.metrics,
                routes: routes
                    .filter_map(|route| self.listener_route(binding, route))
                    .collect(),
            })
        };
        self.graph.bindings.iter().filter_map(listener).collect()
    }

    fn listener_route(&self, binding: &Binding, route: &shape::TcpRoute) -> Option<ListenerRoute> {
        let next = self.graph.target(binding, route.exit.as_ref()?)?;
        let built = &self.built;
        let http = built.http.get(&next).cloned().map(ListenerExit::Http);
        let exit = http
            .or_else(|| built.tls.get(&next).cloned().map(ListenerExit::Tls))
            .or_else(|| built.echoes.get(&next).cloned().map(ListenerExit::Echo))?;
        let when = route.when.iter().map(|when| ListenerWhen {
            ports: when.ports.clone(),
            cidr: when.cidr,
        });
        Some(ListenerRoute {
            when: when.collect(),
            exit,
        })
    }
}
