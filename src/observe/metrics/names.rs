//! What the numbers of the plan are called: the labels of metrics, the names in events and access lines.

use std::fmt;

use super::snapshot::Series;
use crate::config::{
    Cluster, GrpcKafka, GuardKind, HttpKafka, MetricSet, Plan, SseKafka, ZillaMetric,
};

/// What a request has as its route when none took it.
pub const NO_ROUTE: &str = "none";

/// A binding's names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Binding {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// `namespace:name`, as events call it.
    pub full_name: String,
    /// The metrics under Zilla's names that it has.
    pub metrics: MetricSet,
}

impl Binding {
    /// The names of a binding.
    pub fn new(namespace: &str, name: &str, metrics: MetricSet) -> Self {
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            full_name: format!("{namespace}:{name}"),
            metrics,
        }
    }
}

/// A route's names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Route {
    /// The name of its mapping.
    pub mapping: String,
    /// The paths, or methods of gRPC, that it takes, `*` for all.
    pub paths: String,
}

/// All names of a plan, by its numbers.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// The tcp servers.
    pub listeners: Vec<Binding>,
    /// The http servers.
    pub servers: Vec<Binding>,
    /// For each http server, the query parameters that carry credentials.
    pub secret_parameters: Vec<Vec<String>>,
    /// The tls servers, as `namespace:name`.
    pub tls_servers: Vec<String>,
    /// The guards, as `namespace:name`, and the kind that events call them by.
    pub guards: Vec<(String, &'static str)>,
    /// The routes of all mappings.
    pub routes: Vec<Route>,
    /// The kafka clients.
    pub clusters: Vec<Binding>,
    /// The tcp clients of the clusters, as `namespace:name`.
    pub tcp_clients: Vec<String>,
    /// What describes the process.
    pub attributes: Vec<(String, String)>,
}

/// Names and values of a series' labels.
pub type Labels = Vec<(String, String)>;

impl Names {
    /// The names of a plan.
    pub fn new(plan: &Plan) -> Self {
        let mut names = Self {
            attributes: plan.telemetry.attributes.clone(),
            ..Self::default()
        };
        for listener in &plan.listeners {
            names.listeners.push(Binding::new(
                &listener.namespace,
                &listener.name,
                listener.metrics,
            ));
        }
        // Servers and routes that no listener leads to have numbers too; nothing is ever counted for them.
        for (number, server) in plan.http_servers() {
            put(&mut names.servers, number, || {
                Binding::new(&server.namespace, &server.name, server.metrics)
            });
            let authorization = server.authorization.iter();
            let parameters = authorization.flat_map(|authorization| &authorization.query);
            put(&mut names.secret_parameters, number, || {
                parameters.map(|(name, _)| name.clone()).collect()
            });
        }
        for (number, server) in plan.tls_servers() {
            put(&mut names.tls_servers, number, || {
                format!("{}:{}", server.namespace, server.name)
            });
        }
        for guard in &plan.guards {
            let kind = match guard.kind {
                GuardKind::Jwt(_) => "JWT",
                GuardKind::Inline(_) => "INLINE",
                GuardKind::X509(_) => "X509",
            };
            let name = format!("{}:{}", guard.namespace, guard.name);
            names.guards.push((name, kind));
        }
        for mapping in plan.http_kafka() {
            names.add_routes(mapping);
        }
        for mapping in plan.sse_kafka() {
            names.add_sse_routes(mapping);
        }
        for mapping in plan.grpc_kafka() {
            names.add_grpc_routes(mapping);
        }
        for cluster in &plan.clusters {
            names.add_cluster(cluster);
        }
        names
    }

    fn add_routes(&mut self, mapping: &HttpKafka) {
        for route in &mapping.routes {
            let paths = route.when.iter().map(|when| when.path.as_ref());
            self.add_route(route.number, &mapping.name, paths);
        }
    }

    fn add_sse_routes(&mut self, mapping: &SseKafka) {
        for route in &mapping.routes {
            let paths = route.when.iter().map(Some);
            self.add_route(route.number, &mapping.name, paths);
        }
    }

    fn add_grpc_routes(&mut self, mapping: &GrpcKafka) {
        for route in &mapping.routes {
            let methods = route.when.iter().map(|when| when.method.as_ref());
            self.add_route(route.number, &mapping.name, methods);
        }
    }

    fn add_route<'p, P: fmt::Display + 'p>(
        &mut self,
        number: usize,
        mapping: &str,
        when: impl Iterator<Item = Option<&'p P>>,
    ) {
        put(&mut self.routes, number, || {
            let mut paths: Vec<String> = Vec::new();
            for path in when {
                let path = path.map_or("*".to_owned(), ToString::to_string);
                if !paths.contains(&path) {
                    paths.push(path);
                }
            }
            if paths.is_empty() {
                paths.push("*".to_owned());
            }
            Route {
                mapping: mapping.to_owned(),
                paths: paths.join("|"),
            }
        });
    }

    fn add_cluster(&mut self, cluster: &Cluster) {
        let metrics = MetricSet::default();
        let binding = Binding::new(&cluster.namespace, &cluster.name, metrics);
        self.clusters.push(binding);
        self.tcp_clients.push(cluster.tcp_client.clone());
    }

    /// Whether a series has a metric under Zilla's name.
    pub fn has(&self, series: &Series, metric: ZillaMetric) -> bool {
        let binding = match series {
            Series::Listener(number) => self.listeners.get(*number),
            Series::Server(number) => self.servers.get(*number),
            Series::Process
            | Series::Core(_)
            | Series::Route { .. }
            | Series::Request { .. }
            | Series::Code(_)
            | Series::Topic { .. } => None,
        };
        binding.is_some_and(|binding| binding.metrics.contains(metric))
    }

    /// The paths of a route, [`NO_ROUTE`] for none.
    pub fn route_paths(&self, route: Option<usize>) -> &str {
        route
            .and_then(|route| self.routes.get(route))
            .map_or(NO_ROUTE, |route| &route.paths)
    }

    /// The labels of a series.
    pub fn labels(&self, series: &Series) -> Labels {
        let label = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        match series {
            Series::Process => Vec::new(),
            Series::Core(core) => vec![("core".to_owned(), core.to_string())],
            Series::Listener(number) => binding_labels(self.listeners.get(*number)),
            Series::Server(number) => binding_labels(self.servers.get(*number)),
            Series::Route { server, route } => self.route_labels(*server, *route),
            Series::Request {
                server,
                route,
                method,
                status,
            } => {
                let mut labels = self.route_labels(*server, *route);
                labels.push(label("method", method.as_str()));
                let status = if *status == 0 {
                    "aborted".to_owned()
                } else {
                    status.to_string()
                };
                labels.push(("status".to_owned(), status));
                labels
            }
            Series::Code(code) => vec![label("status", code.name())],
            Series::Topic { cluster, topic } => {
                let mut labels = binding_labels(self.clusters.get(*cluster));
                labels.push(label("topic", topic));
                labels
            }
        }
    }

    fn route_labels(&self, server: usize, route: Option<usize>) -> Labels {
        let mut labels = binding_labels(self.servers.get(server));
        let known = route.and_then(|route| self.routes.get(route));
        let mapping = known.map_or(NO_ROUTE, |route| &route.mapping);
        labels.push(("mapping".to_owned(), mapping.to_owned()));
        labels.push(("route".to_owned(), self.route_paths(route).to_owned()));
        labels
    }
}

fn binding_labels(binding: Option<&Binding>) -> Labels {
    let (namespace, name) = binding.map_or(("", ""), |binding| (&binding.namespace, &binding.name));
    vec![
        ("namespace".to_owned(), namespace.to_owned()),
        ("binding".to_owned(), name.to_owned()),
    ]
}

/// Puts a value at its number, with empty ones before it.
fn put<T: Default>(list: &mut Vec<T>, number: usize, value: impl FnOnce() -> T) {
    if list.len() <= number {
        list.resize_with(number + 1, T::default);
    }
    list[number] = value();
}
