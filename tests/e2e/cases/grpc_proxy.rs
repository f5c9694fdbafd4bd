//! `grpc server` before `grpc client`: calls of other libraries to services of other libraries, without Kafka between them.

use crate::cases::grpc_foreign::assert_all_well;
use crate::harness::certificates::{Authority, vault};
use crate::harness::gateway::Gateway;
use crate::harness::grpc::Grpc;
use crate::harness::grpc_site::{grpc_client, grpc_echo, grpc_server};
use crate::harness::programs::{Language, Line, Service, grpcurl, web};
use crate::harness::{PATIENCE, TempDir, eventually, free_ports};
use serde_json::Value;
use std::time::{Duration, Instant};

const BOTH: [Language; 2] = [Language::Python, Language::Go];

fn proxy(port: u16) -> Gateway {
    let options = "reflection: true";
    grpc_client(grpc_server(options, "west_grpc_client"), "", port).start("")
}

#[track_caller]
fn assert_every_kind(gateway: &Gateway, served: Language) {
    let by = if served == Language::Go {
        "go"
    } else {
        "python"
    };
    for client in BOTH {
        for arguments in [
            ["unary", "--text", "hello"],
            ["client-stream", "--messages", "20"],
            ["server-stream", "--count", "20"],
            ["bidi", "--messages", "20"],
        ] {
            let result = client.client(gateway.address(), &arguments);
            assert_all_well(&result, 1);
            assert_eq!(result["initial_metadata"]["x-served-by"], by, "{result}");
        }
        let text = "fail=FAILED_PRECONDITION;no, said \u{fc}";
        let result = client.client(gateway.address(), &["unary", "--text", text]);
        assert_eq!(result["code"], "FAILED_PRECONDITION", "{result}");
        assert_eq!(result["details"], "no, said \u{fc}", "{result}");
        assert_eq!(result["trailing_metadata"]["x-trailer"], "t", "{result}");
        assert_eq!(result["initial_metadata"]["x-served-by"], by, "{result}");
    }
}

pub(crate) fn calls_of_every_kind_are_passed_on() {
    for served in BOTH {
        let service = Service::start(served);
        let gateway = proxy(service.port());
        assert_every_kind(&gateway, served);
        let arguments = ["unary", "--count", "300", "--concurrency", "60"];
        for client in BOTH {
            assert_all_well(&client.client(gateway.address(), &arguments), 300);
        }
        let large = ["unary", "--size", "3000000", "--count", "3", "--gzip"];
        assert_all_well(&Language::Python.client(gateway.address(), &large), 3);
        let unknown = Language::Python.client(gateway.address(), &["unknown"]);
        assert_eq!(unknown["method"]["code"], "UNIMPLEMENTED", "{unknown}");
        assert_eq!(unknown["service"]["code"], "UNIMPLEMENTED", "{unknown}");
    }
}

pub(crate) fn calls_are_passed_on_over_tls() {
    let authority = Authority::new("Services");
    let service = Service::stopped(Language::Python).secure(&authority.server(&["localhost"]).pem);
    service.run();
    let before = |trusted: &Authority| {
        let vault = "vaults:\n  theirs:\n    type: filesystem\n    options:\n      trust:\n        store: trust.pem\n        type: pem";
        let tls = "vault: theirs\noptions:\n  trust:\n    - services\n  sni:\n    - localhost\n  alpn:\n    - h2";
        let site = grpc_server("", "west_grpc_client")
            .top(vault)
            .file("trust.pem", trusted.pem());
        grpc_client(site, tls, service.port()).start("")
    };
    assert_every_kind(&before(&authority), Language::Python);
    // Whom it does not trust it does not call, whatever he calls himself.
    let gateway = before(&Authority::new("Services"));
    let result = Language::Python.client(gateway.address(), &["unary"]);
    assert_eq!(result["code"], "UNAVAILABLE", "{result}");
}

pub(crate) fn clients_come_over_tls() {
    let authority = Authority::new("Servers");
    let service = Service::start(Language::Go);
    let site = grpc_server("", "west_grpc_client")
        .top(&vault(false))
        .file("server.pem", authority.server(&["localhost"]).pem)
        .tls("vault: mine\noptions:\n  alpn: [h2]\nexit: north_http_server");
    let gateway = grpc_client(site, "", service.port()).start("");
    let dir = TempDir::new();
    let trust = dir.file("trust.pem", &authority.pem());
    let trust = trust.to_str().expect("text");
    let name = format!("localhost:{}", gateway.address().port());
    for client in BOTH {
        let arguments = [
            "bidi",
            "--messages",
            "5",
            "--ca",
            trust,
            "--authority",
            &name,
        ];
        let result = client.client(gateway.address(), &arguments);
        assert_all_well(&result, 1);
        let arguments = [
            "unary",
            "--count",
            "20",
            "--ca",
            trust,
            "--authority",
            &name,
        ];
        assert_all_well(&client.client(gateway.address(), &arguments), 20);
    }
}

pub(crate) fn deadlines_and_ends_are_passed_on() {
    for served in BOTH {
        let service = Service::start(served);
        let gateway = proxy(service.port());
        for client in BOTH {
            let arguments = ["unary", "--text", "sleep=20;late", "--timeout", "1"];
            let begun = Instant::now();
            let result = client.client(gateway.address(), &arguments);
            assert_eq!(result["code"], "DEADLINE_EXCEEDED", "{client:?}: {result}");
            assert!(begun.elapsed() < Duration::from_secs(6), "{client:?}");
        }
        let arguments = ["abandon", "--metadata", "x-correlation=leaves"];
        let result = Language::Python.client(gateway.address(), &arguments);
        assert_eq!(result["code"], "CANCELLED", "{result}");
        let is_end = |line: &Line| {
            line.correlation == "leaves" && (line.event == "cancelled" || line.event == "end")
        };
        let end = service.await_line("the call's end", is_end);
        assert_eq!(end.event, "cancelled", "{served:?}");
    }
}

pub(crate) fn a_service_that_is_not_there_is_unavailable() {
    let gateway = proxy(free_ports(1));
    for client in BOTH {
        let result = client.client(gateway.address(), &["unary"]);
        assert_eq!(result["code"], "UNAVAILABLE", "{result}");
    }
    let service = Service::start(Language::Go);
    let gateway = proxy(service.port());
    let unary = || Language::Go.client(gateway.address(), &["unary"]);
    assert_all_well(&unary(), 1);
    service.kill();
    let gone = unary();
    assert_eq!(gone["code"], "UNAVAILABLE", "{gone}");
    service.run();
    eventually("the service is found again", PATIENCE, || {
        (unary()["ok"] == 1).then_some(())
    });
}

pub(crate) fn browsers_are_passed_on() {
    let service = Service::start(Language::Go);
    let gateway = proxy(service.port());
    for mode in ["binary", "text"] {
        let result = web(
            gateway.address(),
            &["--mode", mode, "--text", "from a page"],
        );
        assert_eq!(
            result["texts"],
            serde_json::json!(["from a page"]),
            "{result}"
        );
        assert_eq!(result["trailers"]["grpc-status"], "0", "{result}");
        assert_eq!(result["headers"]["x-served-by"], "go", "{result}");
        let method = "grpc.examples.echo.Echo/ServerStreamingEcho";
        let text = "count=3;sleep=0.3;n";
        let result = web(gateway.address(), &[method, "--mode", mode, "--text", text]);
        let wanted = serde_json::json!(["n 0", "n 1", "n 2"]);
        assert_eq!(result["texts"], wanted, "{result}");
        let times = result["times"].as_array().expect("times");
        let time = |n: usize| times[n].as_f64().expect("seconds");
        assert!(time(2) - time(0) > 0.4, "one by one: {result}");
        let failing = ["--mode", mode, "--text", "fail=NOT_FOUND;no such thing"];
        let result = web(gateway.address(), &failing);
        let said = |name: &str| -> Value {
            let trailer = &result["trailers"][name];
            if trailer.is_null() {
                result["headers"][name].clone()
            } else {
                trailer.clone()
            }
        };
        assert_eq!(said("grpc-status"), "5", "{result}");
        assert_eq!(said("grpc-message"), "no such thing", "{result}");
    }
}

pub(crate) fn grpcurl_finds_out_what_there_is() {
    let service = Service::start(Language::Python);
    let gateway = proxy(service.port());
    let asked = |before: &[&str], after: &[&str]| {
        let finished = grpcurl(gateway.address(), before, after);
        assert_eq!(finished.code, Some(0), "{finished:?}");
        finished.stdout
    };
    let services = asked(&[], &["list"]);
    for service in ["grpc.examples.echo.Echo", "example.FanoutService"] {
        assert!(services.lines().any(|line| line == service), "{services}");
    }
    let methods = asked(&[], &["list", "grpc.examples.echo.Echo"]);
    let wanted = [
        "grpc.examples.echo.Echo.BidirectionalStreamingEcho",
        "grpc.examples.echo.Echo.ClientStreamingEcho",
        "grpc.examples.echo.Echo.ServerStreamingEcho",
        "grpc.examples.echo.Echo.UnaryEcho",
    ];
    assert_eq!(methods.lines().collect::<Vec<_>>(), wanted);
    let method = asked(&[], &["describe", "grpc.examples.echo.Echo.UnaryEcho"]);
    assert!(
        method.contains(".grpc.examples.echo.EchoRequest"),
        "{method}"
    );
    let message = asked(&[], &["describe", "grpc.examples.echo.EchoRequest"]);
    assert!(message.contains("string message = 1;"), "{message}");
    let fanout = asked(&[], &["describe", "example.FanoutService"]);
    assert!(fanout.contains("stream .example.FanoutMessage"), "{fanout}");
    let call = "grpc.examples.echo.Echo/UnaryEcho";
    let answer = asked(&["-d", "{\"message\": \"without a file\"}"], &[call]);
    let answer: Value = serde_json::from_str(&answer).expect("JSON");
    assert_eq!(answer["message"], "without a file");
    let health = asked(&[], &["grpc.health.v1.Health/Check"]);
    assert!(health.contains("SERVING"), "{health}");
    // Who has not asked for it has it not.
    let silent = grpc_echo("").start("");
    let refused = grpcurl(silent.address(), &[], &["list"]);
    assert_ne!(refused.code, Some(0), "{refused:?}");
    assert!(refused.stderr.contains("reflection"), "{refused:?}");
    Grpc::connect(silent.address())
        .unary("x", &[])
        .expect_texts(&["x"]);
}
