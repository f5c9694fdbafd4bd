//! Mappings: `http-kafka` and `sse-kafka` proxies, each route with its cluster and its guards.

use super::Builder;
use crate::config::mistake::Report;
use crate::config::plan::{Filter, HttpKafka, HttpKafkaRoute, SseKafka, SseKafkaRoute, With};
use crate::config::shape::{self, Binding};
use crate::route::Template;

impl Builder<'_> {
    pub(super) fn http_kafka(
        &mut self,
        binding: &Binding,
        proxy: &shape::HttpKafka,
        report: &mut Report,
    ) -> HttpKafka {
        let routes = proxy.routes.iter();
        let routes = routes
            .filter_map(|route| self.http_kafka_route(binding, route, report))
            .collect();
        HttpKafka {
            namespace: binding.namespace.clone(),
            name: binding.name.clone(),
            idempotency_header: proxy.idempotency_header.clone(),
            timeout: proxy.timeout,
            correlation: proxy.correlation.clone(),
            wait_max: proxy.wait_max,
            horizon: proxy.horizon,
            routes,
        }
    }

    fn http_kafka_route(
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
        let mut with = with.clone();
        for template in with.templates_mut() {
            self.resolve(binding, template);
        }
        Some(HttpKafkaRoute {
            number: self.next_route_number(),
            guarded: self.guarded(binding, &route.guarded),
            when: route.when.clone(),
            with,
            cluster: cluster?,
        })
    }

    pub(super) fn sse_kafka(
        &mut self,
        binding: &Binding,
        routes: &[shape::SseKafkaRoute],
        report: &mut Report,
    ) -> SseKafka {
        let routes = routes.iter();
        let routes = routes
            .filter_map(|route| self.sse_kafka_route(binding, route, report))
            .collect();
        SseKafka {
            namespace: binding.namespace.clone(),
            name: binding.name.clone(),
            routes,
        }
    }

    fn sse_kafka_route(
        &mut self,
        binding: &Binding,
        route: &shape::SseKafkaRoute,
        report: &mut Report,
    ) -> Option<SseKafkaRoute> {
        let next = self.graph.target(binding, route.exit.as_ref()?)?;
        let mut topic = route.topic.clone()?;
        let cluster = self.cluster_for(next, &topic, &route.topic_at, report)?;
        let mut filters = route.filters.clone();
        self.resolve(binding, &mut topic);
        for template in filters.iter_mut().flat_map(Filter::templates_mut) {
            self.resolve(binding, template);
        }
        Some(SseKafkaRoute {
            number: self.next_route_number(),
            guarded: self.guarded(binding, &route.guarded),
            when: route.when.clone(),
            topic,
            filters,
            event_id: route.event_id,
            cluster,
        })
    }

    pub(super) fn next_route_number(&mut self) -> usize {
        self.route_count += 1;
        self.route_count - 1
    }

    /// Tells `template` which guards its names mean.
    pub(super) fn resolve(&mut self, binding: &Binding, template: &mut Template) {
        template.resolve_guards(|name| self.guard(binding, name));
    }
}
