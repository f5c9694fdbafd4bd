//! Calls of other libraries through Kafka to services of other libraries, and back: grpcio and grpc-go.

use crate::harness::gateway::Gateway;
use crate::harness::grpc_site::{Loop, await_settled};
use crate::harness::programs::{Language, Line, Service};
use crate::harness::{Env, PATIENCE, eventually};
use serde_json::Value;
use std::time::{Duration, Instant};

const BOTH: [Language; 2] = [Language::Python, Language::Go];

/// A gateway with both halves before a service.
pub(crate) struct Running {
    service: Service,
    topics: Loop,
    gateway: Gateway,
}

impl Running {
    /// Over topics of three partitions.
    pub(crate) fn new(env: &Env, service: Service) -> Self {
        Self::over(env, service, 3)
    }

    /// Over topics of so many partitions.
    pub(crate) fn over(env: &Env, service: Service, partitions: i32) -> Self {
        let topics = Loop::new(env, partitions, service.port());
        let gateway = env.site(&topics.site());
        // A call whose partition changes hands is made again, and nothing here is about that.
        await_settled(&[&gateway]);
        Self {
            service,
            topics,
            gateway,
        }
    }

    #[track_caller]
    pub(crate) fn call(&self, client: Language, arguments: &[&str]) -> Value {
        client.client(self.gateway.address(), arguments)
    }
}

/// Asserts that so many calls went well, and none otherwise.
#[track_caller]
pub(crate) fn assert_all_well(result: &Value, count: u64) {
    assert_eq!(result["ok"], count, "{result}");
    assert_eq!(result["failed"], 0, "{result}");
}

pub(crate) fn every_kind_of_call_makes_the_loop(env: &Env) {
    let service = Service::start(Language::Go);
    let running = Running::new(env, service);
    for client in BOTH {
        let unary = running.call(client, &["unary", "--text", "hello"]);
        assert_all_well(&unary, 1);
        assert_eq!(unary["answer"], "hello");
        assert_eq!(unary["initial_metadata"]["x-served-by"], "go", "{unary}");
        for arguments in [
            ["client-stream", "--messages", "5"],
            ["server-stream", "--count", "5"],
            ["bidi", "--messages", "5"],
        ] {
            let result = running.call(client, &arguments);
            assert_all_well(&result, 1);
            assert_eq!(result["code"], "OK", "{client:?} {arguments:?}");
            assert_eq!(result["initial_metadata"]["x-served-by"], "go", "{result}");
        }
    }
}

/// Answers of a stream come as they are given, not all at its end.
pub(crate) fn a_stream_of_answers_comes_as_it_is_given(env: &Env) {
    let running = Running::new(env, Service::start(Language::Python));
    let arguments = ["server-stream", "--count", "4", "--text", "sleep=0.5;slow"];
    let result = running.call(Language::Python, &arguments);
    assert_all_well(&result, 1);
    let times = result["times"].as_array().expect("times");
    let time = |n: usize| times[n].as_f64().expect("seconds");
    assert!(time(3) - time(0) > 1.2, "{result}");
}

pub(crate) fn two_hundred_calls_at_once_get_their_own_answers(env: &Env) {
    let running = Running::new(env, Service::start(Language::Go));
    for client in BOTH {
        let arguments = ["unary", "--count", "200", "--concurrency", "50"];
        assert_all_well(&running.call(client, &arguments), 200);
    }
    let mut seen = running.service.begun();
    assert_eq!(seen.len(), 400);
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 400, "each has a key of its own");
}

pub(crate) fn forty_client_streams_at_once_get_their_own_answers(env: &Env) {
    let running = Running::new(env, Service::start(Language::Go));
    for client in BOTH {
        let arguments = ["client-stream", "--streams", "40", "--messages", "5"];
        assert_all_well(&running.call(client, &arguments), 40);
        let arguments = ["bidi", "--streams", "40", "--messages", "5"];
        assert_all_well(&running.call(client, &arguments), 40);
    }
}

pub(crate) fn a_failure_comes_back_with_all_that_it_says(env: &Env) {
    for served in BOTH {
        let running = Running::new(env, Service::start(served));
        for client in BOTH {
            let text = "fail=FAILED_PRECONDITION;not \u{fc}ber 100 %";
            let result = running.call(client, &["unary", "--text", text]);
            assert_eq!(result["failed"], 1, "{result}");
            assert_eq!(result["code"], "FAILED_PRECONDITION", "{result}");
            assert_eq!(result["details"], "not \u{fc}ber 100 %", "{result}");
            let by = if served == Language::Go {
                "go"
            } else {
                "python"
            };
            assert_eq!(result["initial_metadata"]["x-served-by"], by, "{result}");
            assert_eq!(result["trailing_metadata"]["x-trailer"], "t", "{result}");
            // After answers, too.
            let said = ["bidi", "--say", "one", "--say", "fail=ABORTED;enough"];
            let result = running.call(client, &said);
            assert_eq!(result["code"], "ABORTED", "{result}");
            assert_eq!(result["details"], "enough", "{result}");
            assert_eq!(result["answers"], serde_json::json!(["one"]), "{result}");
        }
    }
}

pub(crate) fn metadata_makes_the_loop(env: &Env) {
    let running = Running::new(env, Service::start(Language::Python));
    for (client, name) in [(Language::Python, "python"), (Language::Go, "go")] {
        let key = format!("idempotency-key={name}");
        let arguments = [
            "unary",
            "--metadata",
            "x-text=some text",
            "--metadata",
            "x-bytes-bin=AAECA/8=",
            "--metadata",
            &key,
        ];
        assert_all_well(&running.call(client, &arguments), 1);
        let begun = running
            .service
            .await_line("the call", |line| line.correlation == name);
        assert_eq!(begun.metadata["x-text"], "some text", "{begun:?}");
        assert_eq!(begun.metadata["x-bytes-bin"], "AAECA/8=", "{begun:?}");
        assert_eq!(begun.metadata["idempotency-key"], name, "{begun:?}");
    }
}

pub(crate) fn compressed_calls_make_the_loop(env: &Env) {
    let running = Running::new(env, Service::start(Language::Go));
    let text = "compress me ".repeat(500);
    for client in BOTH {
        let result = running.call(client, &["unary", "--gzip", "--text", &text]);
        assert_all_well(&result, 1);
        let result = running.call(client, &["bidi", "--gzip", "--text", &text]);
        assert_all_well(&result, 1);
    }
}

pub(crate) fn what_does_not_exist_is_unimplemented(env: &Env) {
    let running = Running::new(env, Service::start(Language::Go));
    let result = running.call(Language::Python, &["unknown"]);
    assert_eq!(result["method"]["code"], "UNIMPLEMENTED", "{result}");
    assert_eq!(result["service"]["code"], "UNIMPLEMENTED", "{result}");
    assert!(running.service.log().is_empty(), "nobody was asked");
    let ends = env.kafka.end_offsets(&running.topics.requests, 3);
    assert_eq!(ends, [0, 0, 0], "nothing was stored");
}

pub(crate) fn a_service_that_is_down_is_a_deadline_and_later_calls_are_answered(env: &Env) {
    let running = Running::new(env, Service::stopped(Language::Go));
    for client in [Language::Python, Language::Python] {
        let result = running.call(
            client,
            &["deadline", "--timeout", "2", "--text", "too soon"],
        );
        assert_eq!(result["code"], "DEADLINE_EXCEEDED", "{result}");
        let elapsed = result["elapsed"].as_f64().expect("seconds");
        assert!((1.9..4.0).contains(&elapsed), "{result}");
    }
    running.service.run();
    for client in BOTH {
        let result = running.call(client, &["unary", "--text", "later", "--timeout", "20"]);
        assert_all_well(&result, 1);
    }
    // Whom nobody waits for any more is not called.
    let messages = messages(&running.service);
    assert_eq!(messages, ["later", "later"]);
}

fn messages(service: &Service) -> Vec<String> {
    let log = service.log().into_iter();
    log.filter(|line| line.event == "message")
        .map(|line| line.message)
        .collect()
}

pub(crate) fn a_service_that_comes_late_is_called_again(env: &Env) {
    let running = Running::new(env, Service::stopped(Language::Go));
    std::thread::scope(|scope| {
        for client in BOTH {
            let address = running.gateway.address();
            scope.spawn(move || {
                let begun = Instant::now();
                let arguments = [
                    "unary",
                    "--count",
                    "5",
                    "--concurrency",
                    "5",
                    "--timeout",
                    "20",
                ];
                assert_all_well(&client.client(address, &arguments), 5);
                assert!(
                    begun.elapsed() > Duration::from_secs(1),
                    "{:?}",
                    begun.elapsed()
                );
            });
        }
        // The time is what the case is about: all are under way, and were tried.
        eventually("all requests are stored", PATIENCE, || {
            let ends = env.kafka.end_offsets(&running.topics.requests, 3);
            (ends.iter().sum::<i64>() == 20).then_some(())
        });
        std::thread::sleep(Duration::from_secs(2));
        running.service.run();
    });
    let mut begun = running.service.begun();
    begun.sort();
    begun.dedup();
    assert_eq!(begun.len(), 10);
}

pub(crate) fn a_repeat_gets_the_same_answer_and_is_served_once(env: &Env) {
    let running = Running::new(env, Service::start(Language::Python));
    let key = ["--metadata", "idempotency-key=mine"];
    let first = running.call(
        Language::Python,
        &["unary", "--text", "first", key[0], key[1]],
    );
    assert_eq!(first["answer"], "first", "{first}");
    for client in BOTH {
        let again = running.call(client, &["unary", "--text", "second", key[0], key[1]]);
        assert_eq!(again["answer"], "first", "{again}");
        assert_eq!(
            again["initial_metadata"]["x-served-by"], "python",
            "{again}"
        );
    }
    // Failures are answers too.
    let key = ["--metadata", "idempotency-key=failing"];
    for text in ["fail=NOT_FOUND;the first time", "a second time"] {
        let failed = running.call(Language::Go, &["unary", "--text", text, key[0], key[1]]);
        assert_eq!(failed["code"], "NOT_FOUND", "{failed}");
        assert_eq!(failed["details"], "the first time", "{failed}");
    }
    // A stream of answers is repeated whole.
    let key = ["--metadata", "idempotency-key=stream"];
    for _ in 0..2 {
        let arguments = ["server-stream", "--count", "20", key[0], key[1]];
        assert_all_well(&running.call(Language::Python, &arguments), 1);
    }
    let begun = running.service.begun();
    assert_eq!(begun, ["mine", "failing", "stream"]);
}

pub(crate) fn repeats_at_once_are_served_once(env: &Env) {
    let running = Running::new(env, Service::start(Language::Go));
    std::thread::scope(|scope| {
        for client in [BOTH, BOTH].concat() {
            let address = running.gateway.address();
            scope.spawn(move || {
                let arguments = [
                    "unary",
                    "--text",
                    "sleep=2;slow",
                    "--metadata",
                    "idempotency-key=one",
                ];
                let result = client.client(address, &arguments);
                assert_eq!(result["answer"], "slow", "{result}");
            });
        }
    });
    assert_eq!(running.service.begun(), ["one"]);
}

pub(crate) fn who_leaves_is_said_to_have_left(env: &Env) {
    for served in BOTH {
        let running = Running::new(env, Service::start(served));
        let arguments = [
            "abandon",
            "--hold",
            "2",
            "--metadata",
            "idempotency-key=leaves",
        ];
        let result = running.call(Language::Python, &arguments);
        assert_eq!(result["code"], "CANCELLED", "{result}");
        let is_end = |line: &Line| line.event == "cancelled" || line.event == "end";
        let end = running.service.await_line("the call's end", is_end);
        assert_eq!(end.event, "cancelled", "{served:?}: {end:?}");
        assert_eq!(end.correlation, "leaves");
        assert_eq!(
            messages(&running.service),
            ["hello 0", "hello 1", "hello 2"]
        );
    }
}

pub(crate) fn a_gateway_that_ends_finishes_the_calls_that_it_has(env: &Env) {
    let mut running = Running::new(env, Service::start(Language::Go));
    let address = running.gateway.address();
    let client = std::thread::spawn(move || {
        let arguments = ["unary", "--text", "sleep=2;slow", "--timeout", "30"];
        Language::Python.client(address, &arguments)
    });
    let is_message = |line: &Line| line.event == "message";
    running.service.await_line("the call", is_message);
    running.gateway.signal("TERM");
    let result = client.join().expect("a client");
    assert_eq!(result["answer"], "slow", "{result}");
    assert_eq!(running.gateway.exit_code(Duration::from_secs(15)), Some(0));
    assert_eq!(running.service.begun().len(), 1);
}
