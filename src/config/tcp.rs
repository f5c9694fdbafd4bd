//! `tcp` bindings: servers (listeners) and clients.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use super::fields::{Fields, Item};
use super::mistake::Report;
use super::reference::Exit;
use super::shape::{Kind, TcpRoute, TcpServer, TcpWhen};
use super::units;
use super::unsupported::Place;

/// Reads the options, routes and exit of a `tcp server`.
pub(super) fn server(binding: &mut Fields<'_>, report: &mut Report) -> Kind {
    let mut host = String::new();
    let mut ports = Vec::new();
    let mut ports_at = (binding.item.at, binding.item.path.clone());
    if let Some(options) = binding.required(report, "options") {
        let mut options = options.fields(report, Place::Plain);
        if let Some(item) = options.required(report, "host") {
            host = read_host(&item, report).unwrap_or_default();
        }
        if let Some(item) = options.required(report, "port") {
            ports_at = (item.at, item.path.clone());
            ports = read_ports(&item, report);
        }
        options.finish(report);
    }
    let exit = Exit::read(binding, report);
    let has_exit = exit.is_some();
    let mut routes: Vec<TcpRoute> = Vec::new();
    for item in binding.list(report, "routes") {
        routes.push(read_route(&item, &ports, exit.as_ref(), report));
    }
    if has_exit {
        routes.push(TcpRoute {
            when: Vec::new(),
            exit,
        });
    }
    Exit::require_some(binding, report);
    Kind::TcpServer(TcpServer {
        host,
        ports,
        ports_at,
        routes,
    })
}

/// Reads the options of a `tcp client`.
pub(super) fn client(binding: &mut Fields<'_>, report: &mut Report) -> Kind {
    binding.narrow(Place::TcpClient);
    binding.misplaced(
        "exit",
        "a tcp client has no exit: it is the end of the line",
    );
    let mut connect_to = None;
    if let Some(options) = binding.optional("options") {
        let mut options = options.fields(report, Place::Plain);
        if options.has("host") || options.has("port") {
            let host = options
                .required(report, "host")
                .and_then(|item| read_host(&item, report));
            let port = options
                .required(report, "port")
                .map(|item| (read_ports(&item, report), item));
            if let Some((ports, item)) = port {
                if ports.first() == Some(&0) {
                    item.mistake(report, "`0` is no port to connect to");
                }
                connect_to = host.zip(ports.first().copied());
            }
        } else {
            let _ = (options.optional("host"), options.optional("port"));
        }
        options.finish(report);
    }
    Kind::TcpClient { connect_to }
}

fn read_host(item: &Item<'_>, report: &mut Report) -> Option<String> {
    item.parsed(report, |text| {
        units::host_name(text).map(|()| text.to_owned())
    })
}

/// The single ports of a list of ports and ranges, each once.
fn read_ports(item: &Item<'_>, report: &mut Report) -> Vec<u16> {
    let mut ports = Vec::new();
    let mut seen = BTreeSet::new();
    for range in read_ranges(item, report) {
        if ports.len() + range.len() > units::PORTS_MAX {
            item.mistake(report, format!("more than {} ports", units::PORTS_MAX));
            break;
        }
        for port in range {
            if seen.insert(port) {
                ports.push(port);
            } else {
                item.mistake(report, format!("port {port} stands here twice"));
            }
        }
    }
    ports
}

/// One port or range, or a list of them.
pub(super) fn read_ranges(item: &Item<'_>, report: &mut Report) -> Vec<RangeInclusive<u16>> {
    if !item.is_list() {
        return item
            .notation(report, "a port", units::ports)
            .into_iter()
            .collect();
    }
    let items = item.list(report);
    if items.is_empty() {
        item.mistake(report, "the list is empty");
    }
    items
        .iter()
        .filter_map(|item| item.notation(report, "a port", units::ports))
        .collect()
}

fn read_route(
    item: &Item<'_>,
    listening: &[u16],
    fallback: Option<&Exit>,
    report: &mut Report,
) -> TcpRoute {
    let mut route = item.fields(report, Place::Route);
    let mut when = Vec::new();
    for item in route.list(report, "when") {
        let mut fields = item.fields(report, Place::TcpWhen);
        let ports = fields.optional("port").map_or_else(Vec::new, |item| {
            let ranges = read_ranges(&item, report);
            if !ranges.is_empty()
                && !listening
                    .iter()
                    .any(|port| ranges.iter().any(|range| range.contains(port)))
            {
                item.warning(report, "never matches: the server does not listen there");
            }
            ranges
        });
        let cidr = fields
            .optional("cidr")
            .and_then(|item| item.parsed(report, units::cidr));
        fields.finish(report);
        when.push(TcpWhen { ports, cidr });
    }
    let exit = match fallback {
        // Zilla 1.x: a route without an exit uses the binding's.
        Some(exit) if !route.has("exit") => {
            item.warning(
                report,
                "a route without `exit` is Zilla 1.x; the `exit` of the binding is used",
            );
            Some(exit.clone())
        }
        _ => Exit::required(&mut route, report),
    };
    route.finish(report);
    TcpRoute { when, exit }
}
