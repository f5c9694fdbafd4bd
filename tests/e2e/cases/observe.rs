//! The gateway seen from outside: the `prometheus` exporter, `sluice metrics`, the events of the `stdout` exporter, the access log.

use crate::harness::config::Crud;
use crate::harness::gateway::{Gateway, command};
use crate::harness::http::Http;
use crate::harness::tool::run;
use crate::harness::{Env, PATIENCE, TempDir, eventually};
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

/// An exporter on a port that the system picks.
const PROMETHEUS: &str = "    prometheus_exporter:
      type: prometheus
      options:
        endpoints:
          - scheme: http
            host: 127.0.0.1
            port: 0
            path: /metrics
  attributes:
    service.name: case
  metrics:
    - stream.opens.received
    - stream.data.sent
    - http.request.size
    - http.active.requests
";

/// Where the gateway said that its metrics are.
pub(super) fn exporter(gateway: &Gateway) -> SocketAddr {
    let said = eventually("the gateway names its exporter", PATIENCE, || {
        let output = gateway.output();
        let (_, rest) = output.split_once("metrics on http://")?;
        let (address, _) = rest.split_once("/metrics\n")?;
        Some(address.to_owned())
    });
    said.parse().expect("an address")
}

/// The value of the only sample of this name that has all of these labels.
#[track_caller]
fn sample(text: &str, name: &str, labels: &[&str]) -> u64 {
    let mut found = text.lines().filter(|line| {
        line.strip_prefix(name)
            .is_some_and(|rest| rest.starts_with(['{', ' ']))
            && labels.iter().all(|label| line.contains(label))
    });
    let (Some(line), None) = (found.next(), found.next()) else {
        panic!("not one {name} {labels:?}\n{text}")
    };
    let value = line.rsplit(' ').next().expect("a value");
    value.parse().unwrap_or_else(|_| panic!("{line}"))
}

pub(crate) fn the_exporter_counts_what_was_asked(env: &Env) {
    let topic = env.compacted(2);
    let gateway = env.gateway(&Crud::over(&topic).telemetry(PROMETHEUS));
    let http = gateway.http();
    for key in 0..5 {
        http.put(&format!("/items/{key}"), b"[1]").expect(204);
        http.get(&format!("/items/{key}")).expect(200);
    }
    http.get("/items/9").expect(404);
    http.get("/nothing/here").expect(404);

    let exporter = exporter(&gateway);
    let metrics = Http::new(exporter);
    let answer = metrics.get("/metrics").expect(200);
    assert_eq!(
        answer.header("content-type"),
        Some("text/plain; version=0.0.4; charset=utf-8")
    );
    let text = answer.text();
    assert_eq!(sample(&text, "sluice_scrape_cores_missing", &[]), 0);
    let route = [
        "namespace=\"example\"",
        "binding=\"north_http_server\"",
        "route=\"/items/{id}\"",
    ];
    let requests = |labels: &[&str]| {
        let all = [&route[..], labels].concat();
        sample(&text, "sluice_requests_total", &all)
    };
    assert_eq!(requests(&["method=\"PUT\"", "status=\"204\""]), 5);
    assert_eq!(requests(&["method=\"GET\"", "status=\"200\""]), 5);
    assert_eq!(requests(&["method=\"GET\"", "status=\"404\""]), 1);
    let unrouted = sample(&text, "sluice_requests_total", &["route=\"none\""]);
    assert_eq!(unrouted, 1);
    // One series for each mapping and path, so reads and writes of a path share their durations.
    let durations = sample(&text, "sluice_request_duration_seconds_count", &route);
    assert_eq!(durations, 11);
    assert!(sample(&text, "sluice_produce_ack_seconds_count", &[]) >= 1);
    assert_eq!(sample(&text, "sluice_produce_batch_records_sum", &[]), 5);
    assert_eq!(sample(&text, "sluice_cache_hits_total", &[]), 6);
    assert!(sample(&text, "sluice_cache_bytes", &[]) > 0);
    let lag = format!("topic=\"{topic}\"");
    assert_eq!(sample(&text, "sluice_fetch_lag_records", &[&lag]), 0);
    assert!(text.contains("service_name=\"case\""), "{text}");
    let server = ["binding=\"north_http_server\""];
    let opens = sample(&text, "stream_opens_received_total", &server);
    assert_eq!(opens, 12, "Zilla's names count the same");
    assert_eq!(sample(&text, "http_request_size_bytes_sum", &server), 15);
    assert!(!text.contains("http_duration"), "nobody asked for it");

    metrics.get("/elsewhere").expect(404);
    metrics
        .request("POST", "/metrics", &[], Some(b"x"))
        .expect(405);
    let url = format!("http://{exporter}/metrics");
    let printed = run(command().args(["metrics", "--url", &url]), b"");
    assert_eq!(printed.code, Some(0), "{printed:?}");
    let row = |binding: &str, metric: &str, value: &str| {
        let wanted = ["example", binding, metric, value];
        printed
            .stdout
            .lines()
            .any(|line| line.split_whitespace().eq(wanted))
    };
    assert!(
        row("north_http_server", "stream.opens.received", "12"),
        "{}",
        printed.stdout
    );
    assert!(
        row("north_http_server", "http.active.requests", "0"),
        "{}",
        printed.stdout
    );
    assert!(printed.stdout.contains("cnt: 12"), "{}", printed.stdout);
}

pub(crate) fn taken_port() {
    let taken = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let port = taken.local_addr().expect("bound").port();
    let telemetry = PROMETHEUS.replace("port: 0", &format!("port: {port}"));
    let dir = TempDir::new();
    let config = Crud::over("items").telemetry(&telemetry).yaml();
    let file = dir.file("zilla.yaml", &config);
    let mut start = command();
    start
        .env("KAFKA_BOOTSTRAP_SERVER", "localhost:9092")
        .args(["start", "--cores", "none:1", "-c"])
        .arg(&file);
    let finished = run(&mut start, b"");
    assert_eq!(finished.code, Some(1), "{finished:?}");
    let said = format!("cannot listen on 127.0.0.1:{port}: another process does");
    assert!(finished.stderr.contains(&said), "{finished:?}");
}

pub(crate) fn nobody_answers() {
    let finished = run(
        command().args(["metrics", "--url", "http://127.0.0.1:1/metrics"]),
        b"",
    );
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert!(
        finished.stderr.contains("type: prometheus"),
        "it says what to configure: {finished:?}"
    );
}

pub(crate) fn events_and_accesses_are_lines_that_nobody_can_forge(env: &Env) {
    let dir = TempDir::new();
    let file = dir.file("zilla.yaml", &Crud::over(&env.compacted(1)).yaml());
    let mut start = command();
    start
        .env("KAFKA_BOOTSTRAP_SERVER", env.broker.bootstrap())
        .args(["start", "--access-log", "--cores", "none:1", "-c"])
        .arg(&file);
    let mut gateway = Gateway::spawn(&mut start, dir);
    let target = "/items/1?name=%0aexample:forged";
    gateway.http().put(target, b"[1]").expect(204);

    gateway.signal("TERM");
    assert_eq!(gateway.exit_code(Duration::from_secs(20)), Some(0));
    // All of it was written before the end.
    let output = eventually("the last event", PATIENCE, || {
        let output = gateway.output();
        output.contains("ENGINE_STOPPED").then_some(output)
    });
    assert!(output.contains("ENGINE_STARTED"), "{output}");
    let event = |line: &&str| line.starts_with("example:north_http_server [");
    let events: Vec<&str> = output.lines().filter(event).collect();
    let [accepted] = events[..] else {
        panic!("not one event: {output}")
    };
    let ends = format!("+0000] BINDING_HTTP_REQUEST_ACCEPTED - PUT http://localhost:80{target}");
    assert!(accepted.ends_with(&ends), "{accepted}");
    let access = output.lines().find(|line| line.starts_with("access ["));
    let access = access.expect("an access line");
    assert!(
        access.contains(" PUT /items/1?… 204 0 ")
            && access.ends_with(" example:north_http_server /items/{id}"),
        "{access}"
    );
    assert!(
        !output
            .lines()
            .any(|line| line.starts_with("example:forged"))
    );
}
